/* sequence.c - sequences and their KV pages. */
#include "run_internal.h"

#include <string.h>

int64_t sonde_plan_kv_blocks(const sonde_plan *plan, int64_t positions)
{
    if (plan->kv_block_bytes == 0) return 0;
    return (positions + SONDE_PAGE_POSITIONS - 1) / SONDE_PAGE_POSITIONS;
}

sonde_status sonde_sequence_create(sonde_run *run, int64_t max_positions, int64_t rope_length,
                                   void *user, sonde_sequence **out, sonde_error *err)
{
    if (max_positions > run->plan->options.max_positions)
        return sonde_fail(err, SONDE_INTERNAL, "a sequence of %lld positions in a plan of %lld",
                          (long long)max_positions, (long long)run->plan->options.max_positions);
    sonde_sequence *s = sonde_alloc(1, sizeof *s);
    if (!s) return sonde_no_memory(err, "a sequence", sizeof *s);
    size_t layers = (size_t)run->plan->model->recipe->dims.n_layers;
    s->run = run;
    s->user = user;
    s->max_positions = max_positions;
    s->rope_length = rope_length;
    s->max_blocks = sonde_plan_kv_blocks(run->plan, max_positions);
    s->blocks = sonde_alloc((size_t)s->max_blocks, sizeof *s->blocks);
    s->nodes = sonde_alloc((size_t)s->max_blocks, sizeof *s->nodes);
    s->layer_pages = sonde_alloc((size_t)s->max_blocks * layers, sizeof *s->layer_pages);
    if (!s->blocks || !s->nodes || !s->layer_pages) {
        sonde_sequence_destroy(&s);
        return sonde_no_memory(err, "a sequence's page table", (size_t)max_positions * layers / 8);
    }
    *out = s;
    return SONDE_OK;
}

void sonde_sequence_destroy(sonde_sequence **out)
{
    sonde_sequence *s = *out;
    if (!s) return;
    if (s->n_nodes > 0) sonde_kv_abandon(s->run->kv, s->nodes, s->n_nodes);
    if (s->n_blocks > 0) sonde_kv_release(s->run->kv, s->blocks, s->n_blocks);
    sonde_free(s->blocks);
    sonde_free(s->nodes);
    sonde_free(s->layer_pages);
    sonde_free(s);
    *out = NULL;
}

void sonde_sequence_move(sonde_sequence *sequence, sonde_run *run)
{
    sequence->run = run;
}

int64_t sonde_sequence_length(const sonde_sequence *sequence)
{
    return sequence->length;
}

int64_t sonde_sequence_blocks(const sonde_sequence *sequence)
{
    return sequence->n_blocks;
}

/* ---- pages -------------------------------------------------------------------------------------------- */

static void map_block(sonde_sequence *s, int64_t index)
{
    const sonde_plan *plan = s->run->plan;
    char *pages = sonde_kv_pages(s->blocks[index]);
    for (int64_t layer = 0; layer < plan->model->recipe->dims.n_layers; layer++)
        if (plan->kv_offset[layer] != SIZE_MAX)
            s->layer_pages[layer * s->max_blocks + index] = pages + plan->kv_offset[layer];
}

sonde_status sonde_sequence_reserve(sonde_sequence *s, int64_t count, sonde_error *err)
{
    sonde_run *run = s->run;
    if (count > s->max_positions - s->length)
        return sonde_fail(err, SONDE_BAD_PROMPT, "%lld tokens at position %lld do not fit in a "
                          "sequence of %lld positions", (long long)count, (long long)s->length,
                          (long long)s->max_positions);
    int64_t need = SONDE_MIN(sonde_plan_kv_blocks(run->plan, s->length + count), s->max_blocks);
    while (s->n_blocks < need) {
        sonde_kv_block *block = sonde_kv_take(run->kv);
        if (!block) return sonde_no_memory(err, "the KV cache", run->plan->kv_block_bytes);
        s->blocks[s->n_blocks] = block;
        map_block(s, s->n_blocks++);
    }
    return SONDE_OK;
}

/* ---- prefixes ------------------------------------------------------------------------------------------ */

/* Tells the nodes of positions [length, length + count) that they are computed. */
static void tell(sonde_sequence *s, int64_t count)
{
    int64_t end = s->length + count;
    for (int64_t i = s->length / SONDE_PAGE_POSITIONS; i < s->n_nodes; i++) {
        int64_t first = i * SONDE_PAGE_POSITIONS;
        if (first >= end) return;
        if (s->nodes[i]) sonde_kv_ready(s->run->kv, s->nodes[i], s->blocks[i], end - first);
    }
}

void sonde_sequence_advance(sonde_sequence *s, int64_t count)
{
    tell(s, count);
    s->length += count;
}

static bool depends_on_length(const sonde_plan *plan)
{
    const sonde_recipe *r = plan->model->recipe;
    for (int64_t i = 0; i < r->n_ropes; i++)
        if (sonde_rope_depends_on_length(&r->ropes[i])) return true;
    return false;
}

/* Positions of the block in which this sequence and an earlier one part; none without a block. */
static void copy_part(sonde_sequence *s, const sonde_kv_match *match)
{
    if (sonde_sequence_reserve(s, match->n_part, NULL) == SONDE_OK) {
        sonde_kv_copy(s->run->plan, s->blocks[s->n_blocks - 1], match->part, match->n_part);
        sonde_sequence_advance(s, match->n_part);
    }
    sonde_kv_release(s->run->kv, &match->part, 1);
}

void sonde_sequence_share(sonde_sequence *s, const uint32_t *tokens, int64_t n_tokens, int64_t most,
                          bool *wait)
{
    const sonde_plan *plan = s->run->plan;
    *wait = false;
    if (most <= 0 || !sonde_plan_shares_prefixes(plan)) return;
    sonde_kv_match match = {.whole = s->blocks};
    int64_t length = depends_on_length(plan) ? s->rope_length : 0;
    sonde_kv_find(s->run->kv, tokens, n_tokens, most, length, &match, s->nodes);
    *wait = match.wait;
    if (match.wait) return;
    s->n_nodes = sonde_plan_kv_blocks(plan, n_tokens);
    s->n_blocks = match.n_whole;
    s->length = match.n_whole * SONDE_PAGE_POSITIONS;
    for (int64_t i = 0; i < match.n_whole; i++) map_block(s, i);
    if (match.part) copy_part(s, &match);
}
