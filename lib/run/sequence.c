/* sequence.c - sequences and their KV pages. */
#include "run_internal.h"

#include <string.h>

static int64_t blocks_for(int64_t positions)
{
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
    s->max_blocks = run->plan->kv_block_bytes ? blocks_for(max_positions) : 0;
    s->blocks = sonde_alloc((size_t)s->max_blocks, sizeof *s->blocks);
    s->layer_pages = sonde_alloc((size_t)s->max_blocks * layers, sizeof *s->layer_pages);
    if (!s->blocks || !s->layer_pages) {
        sonde_sequence_destroy(&s);
        return sonde_no_memory(err, "a sequence's page table", (size_t)max_positions * layers / 8);
    }
    *out = s;
    return SONDE_OK;
}

static void give_back(sonde_run *run, void *block)
{
    bool kept = sonde_grow(&run->free_blocks, &run->free_capacity, run->n_free + 1,
                           sizeof *run->free_blocks);
    if (kept) run->free_blocks[run->n_free++] = block;
    else sonde_free(block);
}

void sonde_sequence_destroy(sonde_sequence **out)
{
    sonde_sequence *s = *out;
    if (!s) return;
    for (int64_t i = 0; i < s->n_blocks; i++) give_back(s->run, s->blocks[i]);
    s->run->blocks_live -= (uint64_t)s->n_blocks;
    sonde_free(s->blocks);
    sonde_free(s->layer_pages);
    sonde_free(s);
    *out = NULL;
}

int64_t sonde_sequence_length(const sonde_sequence *sequence)
{
    return sequence->length;
}

static void *take_block(sonde_run *run)
{
    if (run->n_free > 0) return run->free_blocks[--run->n_free];
    return sonde_alloc(run->plan->kv_block_bytes, 1);
}

sonde_status sonde_sequence_reserve(sonde_sequence *s, int64_t count, sonde_error *err)
{
    sonde_run *run = s->run;
    if (count > s->max_positions - s->length)
        return sonde_fail(err, SONDE_BAD_PROMPT, "%lld tokens at position %lld do not fit in a "
                          "sequence of %lld positions", (long long)count, (long long)s->length,
                          (long long)s->max_positions);
    int64_t need = SONDE_MIN(blocks_for(s->length + count), s->max_blocks);
    while (s->n_blocks < need) {
        char *block = take_block(run);
        if (!block) return sonde_no_memory(err, "the KV cache", run->plan->kv_block_bytes);
        for (int64_t layer = 0; layer < run->plan->model->recipe->dims.n_layers; layer++)
            if (run->plan->kv_offset[layer] != SIZE_MAX)
                s->layer_pages[layer * s->max_blocks + s->n_blocks] =
                    block + run->plan->kv_offset[layer];
        s->blocks[s->n_blocks++] = block;
        run->blocks_live++;
    }
    uint64_t bytes = run->blocks_live * run->plan->kv_block_bytes;
    run->stats.kv_bytes_peak = SONDE_MAX(run->stats.kv_bytes_peak, bytes);
    return SONDE_OK;
}

void sonde_run_free_blocks(sonde_run *run)
{
    for (size_t i = 0; i < run->n_free; i++) sonde_free(run->free_blocks[i]);
    sonde_free(run->free_blocks);
}
