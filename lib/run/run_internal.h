/*
 * run_internal.h - a run: the memory of one worker and the state of the step it is in.
 *
 *   arena   [plan->arena_bytes]    row buffers, laid out by the plan
 *   ragged  [plan->ragged_bytes]   scores, then pattern (what is wanted of them), of one layer
 *   scratch [threads][scratch]     grown when a longer sequence comes
 *   kv                             blocks of the cache, which may be shared with other runs
 */
#ifndef SONDE_RUN_INTERNAL_H
#define SONDE_RUN_INTERNAL_H

#include "kv.h"

struct sonde_sequence {
    sonde_run *run;
    void *user;
    int64_t length, max_positions, rope_length;
    int64_t n_blocks, max_blocks;
    sonde_kv_block **blocks; /* [max_blocks] held */
    void **layer_pages;      /* [n_layers][max_blocks] pointers into the blocks */
    sonde_kv_node **nodes;   /* [max_blocks] of the prefix tree that this sequence fills, or NULL */
    int64_t n_nodes;         /* one behind the last that it fills */
};

/* Rows of the step as they stand: all of them, or those that narrowing left. */
typedef struct sonde_row_set {
    int64_t n_rows;
    sonde_batch_row *rows; /* [batch_rows] */
    int32_t *origin;       /* [batch_rows] row of the whole batch */
    sonde_span *spans;     /* [batch_rows]; pages are set per layer */
    int32_t *span_item;    /* [batch_rows] */
    int64_t n_spans;
    sonde_tap_span *taps;  /* [batch_rows] */
    int64_t n_taps;
} sonde_row_set;

/* Products of one step, whose units are one range for the threads. */
typedef struct sonde_products {
    sonde_linear_args *args; /* [plan->most_products] */
    int64_t *first_unit;     /* [plan->most_products + 1] */
    int64_t n;
} sonde_products;

/* Virtual rows (row times slots + slot) of a step by the expert that they chose. */
typedef struct sonde_expert_rows {
    int32_t *first;            /* [most + 1] */
    int32_t *x_rows, *y_rows;  /* [batch_rows * plan->most_slots] */
    int64_t most;              /* experts of any step: plan->most_experts */
} sonde_expert_rows;

struct sonde_run {
    const sonde_plan *plan;
    sonde_run_options options;
    sonde_pool *pool;
    char *arena, *ragged;
    char *scratch;
    size_t scratch_bytes; /* of one thread */
    void *prepared; /* rows of x for the product at hand, shared by the threads */
    size_t prepared_bytes;
    float *convert;
    sonde_kv *kv, *own_kv; /* own: NULL where the caller gave one */
    bool muted;
    /* the step at hand */
    const sonde_batch_item *items;
    int32_t n_items;
    int64_t n_batch_rows;
    sonde_row_set set;
    int32_t *token_ids, *position_ids, *entries; /* [batch_rows] */
    void *factors;                               /* reals [batch_rows] */
    int64_t *indptr, *first_key;                 /* [batch_rows + 1] */
    void **rope_cos, **rope_sin;                 /* [n_ropes] tables of ropes by row */
    int32_t *logits_rows;                        /* [logits_rows] rows of the set */
    int64_t n_logits;
    int32_t *item_logits;                        /* [batch_rows] item -> logits row, or -1 */
    sonde_row_labels *labels;                    /* [batch_rows] or NULL */
    void **users;                                /* [batch_rows] */
    sonde_products products;
    sonde_expert_rows experts;
    uint64_t block_number;
    sonde_run_stats stats;
};

/* sequence.c: `count` more positions are in the cache. */
void sonde_sequence_advance(sonde_sequence *sequence, int64_t count);

/* run_rows.c: the rows of a step, and which of them go on behind the last cache write. */
sonde_status sonde_run_set_rows(sonde_run *run, sonde_error *err);
void sonde_run_narrow(sonde_run *run);
void sonde_run_set_logits(sonde_run *run);

/* run_ops.c: `sonde_run_call` gives units [0, units) of a call to the threads, each of which has
 * scratch of at least what was last needed. */
sonde_status sonde_run_op(sonde_run *run, const sonde_op *op, sonde_error *err);
void *sonde_run_buffer(const sonde_run *run, sonde_buf buf);
sonde_status sonde_run_need_scratch(sonde_run *run, size_t bytes, sonde_error *err);
void sonde_run_call(sonde_run *run, sonde_op_kind kind, const void *args, int64_t units);

/* run_experts.c */
sonde_status sonde_run_route(sonde_run *run, const sonde_op *op, sonde_error *err);
sonde_status sonde_run_experts(sonde_run *run, const sonde_op *op, sonde_error *err);
void sonde_run_combine(sonde_run *run, const sonde_op *op);

/* run_products.c: steps that are many products, one for each head. */
sonde_status sonde_run_heads(sonde_run *run, const sonde_op *op, sonde_error *err);
/* Runs run->products.args [0, n); products of no rows are left out. */
sonde_status sonde_run_products(sonde_run *run, sonde_op_kind kind, sonde_error *err);
/* Lets go of the pages of mapped weights that a product has read. */
void sonde_run_release_mapped(const sonde_linear_args *args);
/* Units [begin, end) of all of them together. */
void sonde_product_units(const sonde_backend *backend, const sonde_products *products, int64_t begin,
                         int64_t end, void *scratch);

#endif
