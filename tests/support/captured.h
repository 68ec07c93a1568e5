/*
 * captured.h - a scheduled run of made-up sequences with every wanted row, label and token kept, so
 * that two ways of running can be compared bit for bit.
 */
#ifndef SONDE_TEST_CAPTURED_H
#define SONDE_TEST_CAPTURED_H

#include "run/schedule.h"

#define CASE_SEQUENCES 8
#define CASE_POSITIONS 80 /* of the smallest golden model */

/* One way to run. Zero members mean: workers 1, threads 1, batch 64, tokens 256, chunk 512, f32. */
typedef struct run_case {
    const char *name;
    const char *backend, *level;
    int32_t workers, threads;
    int64_t batch_sequences, batch_tokens, chunk;
    int64_t positions; /* of the plan; 0: CASE_POSITIONS */
    uint32_t off;
    sonde_dtype kv_dtype;
    const char *only; /* local name of the one point that is wanted; NULL: all points */
    bool last_block;  /* with `only`: of the last block alone */
    bool no_labels;
    int64_t prefix;    /* tokens that all prompts begin with; > 0: long prompts, of which only the last 3
                          rows are wanted */
    int64_t kv_blocks; /* the cache's limit; 0: none */
    bool writes;       /* block 0's resid_post is changed by a rule on position and channel */
    uint64_t ragged_bytes;
} run_case;

typedef struct kept_rows {
    float *data; /* rows in order of position */
    int64_t count, next_position;
    size_t capacity;
} kept_rows;

typedef struct kept_sequence {
    struct captured *captured;
    int64_t index;
    uint32_t prompt[CASE_POSITIONS];
    int64_t n_prompt;
    int64_t first_kept; /* position of the first row that is wanted */
    uint8_t keep[CASE_POSITIONS];
    kept_rows *points; /* [n_points] */
    uint32_t tokens[CASE_POSITIONS];
    float logprobs[CASE_POSITIONS]; /* of the prompt's tokens, by position; NaN: none came */
    float sampled_logprobs[CASE_POSITIONS];
    int64_t n_tokens;
    bool done;
    sonde_finish finish;
} kept_sequence;

typedef struct captured {
    int64_t n_points, next;
    kept_sequence sequences[CASE_SEQUENCES];
    sonde_schedule_stats stats;
    sonde_plan_info plan;
} captured;

/* Opens a golden model of the tree with SONDE_OFF_PACK or 0; fails the test when it cannot. */
sonde_model *case_model(const char *family, const char *backend, const char *level, uint32_t off);
/* The plan of a case over a model; NULL with *err filled. */
sonde_plan *case_plan(const sonde_model *model, const run_case *how, sonde_error *err);
/* Runs the sequences of `how`: lengths 1 to 70 tokens (30 to 74 with a common prefix), each followed by 6 sampled ones (greedy for
 * even indices). */
sonde_status captured_run(const sonde_model *model, const run_case *how, captured *c,
                          sonde_error *err);
void captured_reset(captured *c);
/* Points, tokens and labels of `got` that differ in any bit from `want`; points that were not
 * captured in `got` are left out. Prints the first of them. */
int captured_differences(const sonde_model *model, const captured *want, const captured *got,
                         const char *name);

#endif
