/* prefix.c - the tree of prefixes that prompts have in common: finding, growing, forgetting. */
#include "kv.h"

#include <string.h>

#define PAGE SONDE_PAGE_POSITIONS

/* ---- idle nodes --------------------------------------------------------------------------------------- */

void sonde_kv_rest(sonde_kv *kv, sonde_kv_node *node)
{
    node->idle = true;
    node->newer = NULL;
    node->older = kv->newest;
    if (kv->newest) kv->newest->newer = node;
    else kv->oldest = node;
    kv->newest = node;
    kv->n_idle++;
}

void sonde_kv_use(sonde_kv *kv, sonde_kv_node *node)
{
    if (!node->idle) return;
    if (node->older) node->older->newer = node->newer;
    else kv->oldest = node->newer;
    if (node->newer) node->newer->older = node->older;
    else kv->newest = node->older;
    node->older = node->newer = NULL;
    node->idle = false;
    kv->n_idle--;
}

/* Takes a node without children out of the tree. */
static void forget(sonde_kv *kv, sonde_kv_node *node)
{
    sonde_kv_node **link = &node->parent->children;
    while (*link != node) link = &(*link)->sibling;
    *link = node->sibling;
    sonde_kv_use(kv, node);
    if (node->block) {
        node->block->node = NULL;
        sonde_kv_drop(kv, node->block);
    }
    sonde_free(node);
}

/* Sequences hold the blocks before those that they hold: below an idle node all are idle. */
bool sonde_kv_forget_oldest(sonde_kv *kv)
{
    sonde_kv_node *node = kv->oldest;
    while (node && node->children) node = node->newer;
    if (node) forget(kv, node);
    return node != NULL;
}

/* ---- finding ------------------------------------------------------------------------------------------- */

static int64_t common(const sonde_kv_node *node, const uint32_t *tokens, int64_t n)
{
    int64_t most = SONDE_MIN(n, (int64_t)node->n_tokens), i = 0;
    while (i < most && node->tokens[i] == tokens[i]) i++;
    return i;
}

/* The child that has most of `tokens` [n] at its beginning. */
static sonde_kv_node *best_child(const sonde_kv_node *parent, int64_t rope_length,
                                 const uint32_t *tokens, int64_t n, int64_t *length)
{
    sonde_kv_node *best = NULL;
    *length = 0;
    for (sonde_kv_node *node = parent->children; node; node = node->sibling) {
        if (node->rope_length != rope_length) continue;
        int64_t here = common(node, tokens, n);
        if (here <= *length) continue;
        best = node;
        *length = here;
    }
    return best;
}

/* Walks down as far as tokens agree; holds nothing yet. Returns the last whole node. */
static sonde_kv_node *walk(sonde_kv *kv, const uint32_t *tokens, int64_t most, int64_t rope_length,
                           sonde_kv_match *match)
{
    sonde_kv_node *at = &kv->root;
    for (;;) {
        int64_t length, first = match->n_whole * PAGE, left = SONDE_MIN(most - first, PAGE);
        sonde_kv_node *child = best_child(at, rope_length, tokens + first, left, &length);
        if (!child) return at;
        int64_t ready = SONDE_MIN(length, (int64_t)child->n_ready);
        match->wait = ready < length && child->owned && first + length >= SONDE_KV_WAIT_TOKENS;
        if (match->wait) return at;
        if (ready < PAGE) {
            match->part = ready > 0 ? child->block : NULL;
            match->n_part = ready;
            return at;
        }
        match->whole[match->n_whole++] = child->block;
        at = child;
    }
}

static void hold(sonde_kv *kv, sonde_kv_block *block)
{
    sonde_kv_use(kv, block->node);
    block->refs++;
}

/* ---- growing ------------------------------------------------------------------------------------------- */

static sonde_kv_node *grow(sonde_kv_node *parent, const uint32_t *tokens, int64_t n,
                           int64_t rope_length)
{
    sonde_kv_node *node = sonde_alloc(1, sizeof *node);
    if (!node) return NULL;
    node->parent = parent;
    node->sibling = parent->children;
    parent->children = node;
    node->rope_length = rope_length;
    node->owned = true;
    node->n_tokens = (int32_t)n;
    memcpy(node->tokens, tokens, (size_t)n * sizeof *tokens);
    return node;
}

/* Nodes for the blocks behind `parent`; none where the tree has the same tokens already, and none
 * when there is no memory for one: a prefix less to find. */
static void grow_rest(sonde_kv_node *parent, const uint32_t *tokens, int64_t n_tokens, int64_t first,
                      int64_t rope_length, sonde_kv_node **nodes)
{
    for (int64_t at = first * PAGE; at < n_tokens && parent; at += PAGE) {
        int64_t length, n = SONDE_MIN(n_tokens - at, PAGE);
        best_child(parent, rope_length, tokens + at, n, &length);
        if (length == n) return;
        parent = nodes[at / PAGE] = grow(parent, tokens + at, n, rope_length);
    }
}

void sonde_kv_find(sonde_kv *kv, const uint32_t *tokens, int64_t n_tokens, int64_t most,
                   int64_t rope_length, sonde_kv_match *match, sonde_kv_node **nodes)
{
    pthread_mutex_lock(&kv->lock);
    sonde_kv_node *last = walk(kv, tokens, most, rope_length, match);
    if (match->wait) {
        match->n_whole = 0;
    } else {
        for (int64_t i = 0; i < match->n_whole; i++) hold(kv, match->whole[i]);
        if (match->part) hold(kv, match->part);
        grow_rest(last, tokens, n_tokens, match->n_whole, rope_length, nodes);
        int64_t shared = match->n_whole * PAGE + match->n_part;
        kv->stats.shared_tokens += (uint64_t)shared;
        kv->stats.shared_sequences += shared > 0;
    }
    pthread_mutex_unlock(&kv->lock);
}

/* ---- owners -------------------------------------------------------------------------------------------- */

void sonde_kv_ready(sonde_kv *kv, sonde_kv_node *node, sonde_kv_block *block, int64_t n_ready)
{
    pthread_mutex_lock(&kv->lock);
    if (!node->block && block) {
        node->block = block;
        block->node = node;
        block->refs++;
    }
    node->n_ready = (int32_t)SONDE_MIN(n_ready, (int64_t)node->n_tokens);
    node->owned = node->n_ready < node->n_tokens;
    pthread_mutex_unlock(&kv->lock);
}

void sonde_kv_abandon(sonde_kv *kv, sonde_kv_node *const *nodes, int64_t n)
{
    pthread_mutex_lock(&kv->lock);
    for (int64_t i = n - 1; i >= 0; i--) {
        sonde_kv_node *node = nodes[i];
        if (!node || !node->owned) continue;
        node->owned = false;
        node->n_tokens = node->n_ready;
        if (node->n_ready == 0) forget(kv, node);
    }
    pthread_mutex_unlock(&kv->lock);
}
