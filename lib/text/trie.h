/* trie.h - texts by their characters, for the longest match at a position. */
#ifndef SONDE_TEXT_TRIE_H
#define SONDE_TEXT_TRIE_H

#include "core/core.h"

/* Zero-initialise. Node 0 is the root. */
typedef struct sonde_trie {
    uint64_t *keys; /* open-addressed edges: node << 21 | code point, plus one; 0: empty */
    uint32_t *children;
    size_t mask, n_edges;
    uint32_t *values; /* [n_nodes]; 0: no text ends here */
    size_t n_nodes, capacity;
    uint64_t ascii[2]; /* first characters below 128 */
    uint64_t others;   /* a bit for each group of other first characters */
} sonde_trie;

/* Adds UTF-8 text; a text that is there keeps its value. false: no memory. */
bool sonde_trie_add(sonde_trie *trie, const char *text, size_t bytes, uint32_t value);
void sonde_trie_reset(sonde_trie *trie);

/* True when some text may begin with the character; quick, and wrong at times for c >= 128. */
static inline bool sonde_trie_may_begin(const sonde_trie *trie, uint32_t c)
{
    if (c < 128) return trie->ascii[c >> 6] >> (c & 63) & 1;
    return trie->others >> (c & 63) & 1;
}

/* The node behind `node` by a character, or 0. */
static inline uint32_t sonde_trie_child(const sonde_trie *trie, uint32_t node, uint32_t c)
{
    if (!trie->keys) return 0;
    uint64_t key = ((uint64_t)node << 21 | c) + 1;
    size_t slot = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & trie->mask;
    for (; trie->keys[slot]; slot = (slot + 1) & trie->mask)
        if (trie->keys[slot] == key) return trie->children[slot];
    return 0;
}

#endif
