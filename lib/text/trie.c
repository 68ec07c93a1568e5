/* trie.c - growing a trie: its edges are one hash table, doubled at half load. */
#include "trie.h"

#include "unicode.h"

#include <string.h>

static void put_edge(sonde_trie *t, uint64_t key, uint32_t child)
{
    size_t slot = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & t->mask;
    while (t->keys[slot]) slot = (slot + 1) & t->mask;
    t->keys[slot] = key;
    t->children[slot] = child;
}

static bool grow_edges(sonde_trie *t)
{
    if (t->keys && 2 * (t->n_edges + 1) <= t->mask) return true;
    sonde_trie larger = *t;
    size_t size = t->keys ? 2 * (t->mask + 1) : 64;
    larger.keys = sonde_alloc(size, sizeof *larger.keys);
    larger.children = sonde_alloc(size, sizeof *larger.children);
    larger.mask = size - 1;
    if (!larger.keys || !larger.children) {
        sonde_free(larger.keys);
        sonde_free(larger.children);
        return false;
    }
    for (size_t i = 0; t->keys && i <= t->mask; i++)
        if (t->keys[i]) put_edge(&larger, t->keys[i], t->children[i]);
    sonde_free(t->keys);
    sonde_free(t->children);
    *t = larger;
    return true;
}

static bool add_node(sonde_trie *t, uint32_t *node)
{
    if (!sonde_grow(&t->values, &t->capacity, t->n_nodes + 1, sizeof *t->values)) return false;
    t->values[t->n_nodes] = 0;
    *node = (uint32_t)t->n_nodes++;
    return true;
}

bool sonde_trie_add(sonde_trie *t, const char *text, size_t bytes, uint32_t value)
{
    uint32_t node = 0;
    if (t->n_nodes == 0 && !add_node(t, &node)) return false;
    for (size_t at = 0; at < bytes;) {
        uint32_t c, child;
        size_t length = sonde_utf8_get(text + at, &c);
        child = sonde_trie_child(t, node, c);
        if (at == 0 && c < 128) t->ascii[c >> 6] |= (uint64_t)1 << (c & 63);
        if (at == 0 && c >= 128) t->others |= (uint64_t)1 << (c & 63);
        if (child == 0) {
            if (!grow_edges(t) || !add_node(t, &child)) return false;
            put_edge(t, ((uint64_t)node << 21 | c) + 1, child);
            t->n_edges++;
        }
        node = child;
        at += length;
    }
    if (t->values[node] == 0) t->values[node] = value;
    return true;
}

void sonde_trie_reset(sonde_trie *t)
{
    sonde_free(t->keys);
    sonde_free(t->children);
    sonde_free(t->values);
    memset(t, 0, sizeof *t);
}
