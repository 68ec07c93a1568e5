/*
 * run.h - from a model to activations: plan, run, sequences. Private to the tree (lib/host, tests).
 *
 * model (immutable, shared) -> plan (model + wants + limits; immutable, shared by workers)
 * -> run (one per worker: arena, KV pages, threads) -> sequences (one per prompt in flight).
 *
 * A batch is a ragged list of rows: each row one token of one sequence at one position. A step of
 * a run takes items (a sequence and its next tokens, prefill chunk or decode token alike), runs the
 * plan over all rows and calls the tap at every wanted hook point. What a row computes depends on
 * the model, its sequence and the backend only.
 */
#ifndef SONDE_RUN_H
#define SONDE_RUN_H

#include "core/core.h"
#include "core/pool.h"
#include "sonde/model.h"

typedef struct sonde_plan sonde_plan;
typedef struct sonde_run sonde_run;
typedef struct sonde_sequence sonde_sequence;

#define SONDE_WANT_READ 1u
#define SONDE_WANT_WRITE 2u

typedef struct sonde_plan_options {
    const uint8_t *wants;  /* [n_points] of SONDE_WANT_*; NULL: none. Kept as a copy */
    bool want_logits;      /* logits of rows that ask for them (sampling) */
    bool want_labels;      /* logits of every row, reduced to labels (logprob, entropy, rank) */
    int64_t batch_rows;    /* most rows of a step; with ragged points lowered so that they fit
                              ragged_bytes */
    int64_t max_sequences; /* at once in a run */
    int64_t max_positions; /* longest sequence */
    uint64_t ragged_bytes; /* memory for scores and pattern of one step; 0: 64 MiB */
    sonde_dtype kv_dtype;  /* F32, BF16, F16 */
    uint32_t off;          /* SONDE_OFF_* */
} sonde_plan_options;

sonde_status sonde_plan_create(const sonde_model *model, const sonde_plan_options *options,
                               sonde_plan **plan, sonde_error *err);
void sonde_plan_destroy(sonde_plan **plan);
const sonde_model *sonde_plan_model(const sonde_plan *plan);

typedef struct sonde_plan_info {
    int64_t recipe_steps; /* of the recipe without hooks */
    int64_t planned_steps; /* kernel calls of one full step after dropping and fusing */
    int64_t last_layer;   /* highest block with a planned step; -1: none */
    int64_t batch_rows;   /* after lowering */
    int64_t max_sequences, max_positions;
    uint64_t arena_bytes, ragged_bytes, scratch_bytes_per_thread, rope_bytes;
    int64_t ragged_keys; /* that ragged_bytes has room for in each of batch_rows rows */
    uint64_t kv_bytes_per_page_all_layers; /* 64 positions of one sequence, planned layers only */
    double weight_bytes; /* that every step reads, experts apart */
    double expert_bytes, expert_bytes_per_row; /* of all experts; of those that a row chooses */
} sonde_plan_info;
void sonde_plan_info_get(const sonde_plan *plan, sonde_plan_info *info);
/* Rows of one sequence: `prompt` given ones, of which points keep `kept`, then generated ones. */
typedef struct sonde_plan_sequence {
    int64_t prompt, kept, generated;
    bool samples; /* the last row of the prompt, and each generated one, gets logits */
} sonde_plan_sequence;
/* Multiplications and additions of the planned products and attention for these rows: behind the
 * last cache write only for those that go on, in layers with a window for the keys inside it. */
double sonde_plan_flops(const sonde_plan *plan, const sonde_plan_sequence *sequence);
/* Multiplications and additions a second that one thread does with the model's backend, from a
 * product of a few milliseconds; 0: not known. */
double sonde_model_flops_per_second(const sonde_model *model);
/* Bytes of one run (arena, ragged, scratch of its threads) without KV pages. */
uint64_t sonde_plan_run_bytes(const sonde_plan *plan, int threads);
/* The planned kernel calls as text, a line each; given to the caller (sonde_text_free). */
sonde_status sonde_plan_text(const sonde_plan *plan, char **text, sonde_error *err);

/* One row of a batch, for labels. */
typedef struct sonde_batch_row {
    int32_t item;     /* index into the items of the step */
    uint32_t token;
    int64_t position;
} sonde_batch_row;

/* Consecutive rows [first, first + count) of a batch that belong to one item. */
typedef struct sonde_tap_span {
    int32_t item;
    int64_t first, count;
} sonde_tap_span;

/* What the tap sees: all rows of a batch at one point. Valid until the tap returns. With `narrow`
 * planning a point behind the last needed row holds fewer rows: `rows` names them. */
typedef struct sonde_tap_view {
    int64_t point;          /* index into the model's points */
    uint64_t block;         /* number of the step of this run */
    int64_t n_rows;
    const sonde_batch_row *rows; /* [n_rows] */
    const sonde_tap_span *spans; /* the items of these rows in order */
    int64_t n_spans;
    float *data;            /* dense: row r at data + r * stride; ragged: flat */
    int64_t stride, width;
    const int64_t *indptr;  /* ragged: [n_rows + 1] offsets into data; else NULL */
    const int64_t *first_key; /* ragged: [n_rows] position of the first visible key */
    bool writable;          /* this plan wants the point written: changes are used by later steps */
    void *const *users;     /* [items] the user pointers of the items' sequences */
} sonde_tap_view;
/* Element I32 points (expert ids) come as int32 in the same 4 bytes. A failure ends the step. */
typedef sonde_status sonde_tap_function(void *context, const sonde_tap_view *view,
                                        sonde_error *err);

/* Pages of the cache, in blocks of 64 positions of all planned layers: shared by the runs of one plan,
 * as are the prefixes of prompts. Outlives them. [any thread] */
typedef struct sonde_kv sonde_kv;
typedef struct sonde_kv_stats {
    uint64_t bytes_peak;
    uint64_t shared_tokens, shared_sequences; /* positions that were found, not run */
} sonde_kv_stats;
/* most_bytes: blocks beyond it are not taken; 0: no limit. */
sonde_status sonde_kv_create(const sonde_plan *plan, uint64_t most_bytes, sonde_kv **kv,
                             sonde_error *err);
void sonde_kv_destroy(sonde_kv **kv);
void sonde_kv_stats_get(sonde_kv *kv, sonde_kv_stats *stats);
uint64_t sonde_kv_limit(const sonde_kv *kv); /* blocks; UINT64_MAX: none */
/* Blocks that can still be taken within the limit; blocks that sequences hold. */
uint64_t sonde_kv_room(sonde_kv *kv);
uint64_t sonde_kv_held(sonde_kv *kv);
/* Promises blocks to a sequence that never gives any back before its end; false: not so many. */
bool sonde_kv_commit(sonde_kv *kv, int64_t blocks);
void sonde_kv_uncommit(sonde_kv *kv, int64_t blocks);
/* Does a plan share prefixes: it has a cache, nobody writes to a point, and it is not switched off. */
bool sonde_plan_shares_prefixes(const sonde_plan *plan);
/* Do workers without sequences lend their threads to the others? */
bool sonde_plan_lends_threads(const sonde_plan *plan);
/* Are points shown, written, and labels made of every row? */
void sonde_plan_wants(const sonde_plan *plan, bool *shows, bool *writes, bool *labels);
/* At most so many bytes stay with prefixes that no sequence holds. */
uint64_t sonde_kv_idle_bytes(const sonde_plan *plan);

typedef struct sonde_run_options {
    int32_t threads; /* >= 1 */
    sonde_tap_function *tap; /* NULL: none */
    void *tap_context;
    sonde_kv *kv; /* borrowed for the run's life; NULL: one of its own without a limit */
} sonde_run_options;
sonde_status sonde_run_create(const sonde_plan *plan, const sonde_run_options *options,
                              sonde_run **run, sonde_error *err);
void sonde_run_destroy(sonde_run **run);
sonde_kv *sonde_run_kv(const sonde_run *run);
/* Steps that follow run on so many threads, which no bit depends on. On failure the run keeps those
 * that it has. [run thread] */
sonde_status sonde_run_set_threads(sonde_run *run, int32_t threads, sonde_error *err);

/* A sequence with room for max_positions tokens; pages are taken as it grows. `rope_length` is the
 * prompt's length (dynamic and longrope: kernels.md 9). [run thread] */
sonde_status sonde_sequence_create(sonde_run *run, int64_t max_positions, int64_t rope_length,
                                   void *user, sonde_sequence **sequence, sonde_error *err);
void sonde_sequence_destroy(sonde_sequence **sequence);
/* Goes on in another run of the same plan and cache, between steps of both. [run threads] */
void sonde_sequence_move(sonde_sequence *sequence, sonde_run *run);
int64_t sonde_sequence_length(const sonde_sequence *sequence); /* positions in the cache */
/* For a sequence that has run nothing: finds the longest beginning of at most `most` of these tokens
 * that is in the cache, and makes the rest known to others as it runs. Where a longer one is being
 * computed by another sequence *wait is set and nothing happens: ask again after some step. */
void sonde_sequence_share(sonde_sequence *sequence, const uint32_t *tokens, int64_t n_tokens,
                          int64_t most, bool *wait);
/* Takes pages for the next `count` positions, as a step does. NO_MEMORY: none are left. */
sonde_status sonde_sequence_reserve(sonde_sequence *sequence, int64_t count, sonde_error *err);
int64_t sonde_sequence_blocks(const sonde_sequence *sequence); /* that it holds */
/* Blocks for so many positions: 0 for a plan without a cache. */
int64_t sonde_plan_kv_blocks(const sonde_plan *plan, int64_t positions);

typedef struct sonde_batch_item {
    sonde_sequence *sequence;
    const uint32_t *tokens; /* [count] next tokens */
    int64_t count;
    bool want_logits;       /* of its last row */
    const uint8_t *keep;    /* [count] rows that anyone wants from points (narrowing); NULL: all */
} sonde_batch_item;
/* Runs one step over sum(count) <= batch_rows rows. On failure the sequences of the step are as
 * before it. Ids out of range are BAD_PROMPT. [run thread] */
sonde_status sonde_run_step(sonde_run *run, const sonde_batch_item *items, int32_t n_items,
                            sonde_error *err);
/* Rows of the steps that follow go to no tap and get neither logits nor labels: they were seen before,
 * and only the cache needs them again. */
void sonde_run_mute(sonde_run *run, bool mute);
/* After a step: logits [vocab] of the last row of an item that asked for them (the written values,
 * where a probe writes `logits`). Valid until the next step. */
const float *sonde_run_logits(const sonde_run *run, int32_t item);
/* After a step of a plan with want_labels: per batch row, of the token that FOLLOWS the row in its
 * item: NULL when not planned. The label of an item's last row is computed for `next` tokens by
 * sonde_run_label_row. [n_rows] */
typedef struct sonde_row_labels {
    float logprob, entropy;
    int32_t rank;
} sonde_row_labels;
const sonde_row_labels *sonde_run_labels(const sonde_run *run);
/* Label of one token from the logits of an item's last row (needs want_logits for that item). */
sonde_row_labels sonde_run_label_row(const sonde_run *run, int32_t item, uint32_t token);

typedef struct sonde_run_stats {
    uint64_t steps, rows, kernel_calls;
    uint64_t prefill_ns, decode_ns, hook_ns; /* a step of items with count > 1 counts as prefill */
    uint64_t step_ns[16]; /* per kind of step, in the order of sonde_step_kind (recipe_internal.h) */
} sonde_run_stats;
void sonde_run_stats_get(const sonde_run *run, sonde_run_stats *stats);
/* "embed", "linear", ... as step_ns counts them; NULL: no such kind. */
const char *sonde_step_name(int32_t kind);

#endif
