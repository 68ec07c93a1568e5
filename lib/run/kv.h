/*
 * kv.h - the cache of keys and values, shared by the workers of a run: blocks of 64 positions of all
 * planned layers, within a limit; and the prefixes that prompts have in common.
 *
 *   root -> [64 tokens] -> [64 tokens] -> [n <= 64 tokens]     a node is a block of some prompt
 *                      \-> [64 tokens] -> ...
 *
 * A sequence begins with the longest prefix that the tree holds: whole blocks are held in common and
 * never written again, positions of the block in which it parts ways are copied. What it computes
 * itself becomes nodes of its own, ready as far as its rows have run; a sequence that comes meanwhile
 * may wait for them. Blocks that no sequence holds stay while there is room for idle ones, the last
 * used longest. Rope tables that depend on the prompt's length make a tree of each length.
 *
 * Thread safe: one lock inside, held for bookkeeping only.
 */
#ifndef SONDE_RUN_KV_H
#define SONDE_RUN_KV_H

#include "plan_internal.h"

#include <pthread.h>

#define SONDE_KV_WAIT_TOKENS 16 /* shorter prefixes are not worth waiting for */

typedef struct sonde_kv_node sonde_kv_node;

typedef struct sonde_kv_block {
    struct sonde_kv_block *next; /* while it is free */
    sonde_kv_node *node;         /* that it belongs to, or NULL */
    int64_t refs;                /* sequences that hold it, and its node */
} sonde_kv_block;

struct sonde_kv_node {
    sonde_kv_node *parent, *children, *sibling;
    sonde_kv_node *older, *newer; /* among the idle ones */
    sonde_kv_block *block;        /* NULL: its owner has not come to it */
    int64_t rope_length;          /* of a root's child; 0 where it does not matter */
    bool owned;                   /* by a sequence that has not computed all of it */
    bool idle;
    int32_t n_tokens, n_ready;    /* known, and computed */
    uint32_t tokens[SONDE_PAGE_POSITIONS];
};

struct sonde_kv {
    const sonde_plan *plan;
    uint64_t most, most_idle; /* blocks */
    pthread_mutex_t lock;
    sonde_kv_block *free_blocks;
    uint64_t n_free, n_live, n_idle; /* live: all that are not free, idle ones too */
    uint64_t committed;              /* blocks promised to sequences that hold on to them */
    sonde_kv_node root;
    sonde_kv_node *oldest, *newest;  /* idle */
    sonde_kv_stats stats;
};

/* kv.c. A block of which nothing is known, held once; NULL when the limit, or the machine's memory,
 * leaves none. */
sonde_kv_block *sonde_kv_take(sonde_kv *kv);
/* Lets go of blocks [0, n), the last first. */
void sonde_kv_release(sonde_kv *kv, sonde_kv_block *const *blocks, int64_t n);
/* Under the lock. */
void sonde_kv_drop(sonde_kv *kv, sonde_kv_block *block);
static inline char *sonde_kv_pages(sonde_kv_block *block)
{
    return (char *)block + SONDE_ALIGNMENT;
}
/* Copies the first `n` positions of all layers. */
void sonde_kv_copy(const sonde_plan *plan, sonde_kv_block *to, sonde_kv_block *from, int64_t n);

/* What a prompt shares with the tree. */
typedef struct sonde_kv_match {
    sonde_kv_block **whole; /* [n_whole] caller's room for all of the prompt's blocks: held */
    int64_t n_whole;
    sonde_kv_block *part;   /* held while it is copied, or NULL */
    int64_t n_part;         /* positions of it */
    bool wait;              /* more is on its way: nothing is held */
} sonde_kv_match;

/* prefix.c. The longest prefix of `tokens` [n_tokens] that is of at most `most`, and nodes [blocks of
 * the prompt] of what is left, where the tree has none: NULL elsewhere. Nothing when it says wait. */
void sonde_kv_find(sonde_kv *kv, const uint32_t *tokens, int64_t n_tokens, int64_t most,
                   int64_t rope_length, sonde_kv_match *match, sonde_kv_node **nodes);
/* `node` has its block, or NULL; positions before `n_ready` of it are computed. */
void sonde_kv_ready(sonde_kv *kv, sonde_kv_node *node, sonde_kv_block *block, int64_t n_ready);
/* Their owner goes away: what is not computed is forgotten. nodes [n]: some may be NULL. */
void sonde_kv_abandon(sonde_kv *kv, sonde_kv_node *const *nodes, int64_t n);
/* Under the lock. */
void sonde_kv_rest(sonde_kv *kv, sonde_kv_node *node);    /* nobody holds its block any more */
void sonde_kv_use(sonde_kv *kv, sonde_kv_node *node);     /* somebody does */
bool sonde_kv_forget_oldest(sonde_kv *kv);                /* false: nothing is idle */

#endif
