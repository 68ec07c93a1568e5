/*
 * attend_case.h - attention for tests: kernels.md 4 and 6 written out over plain arrays of keys and
 * values without pages or tiles, and a backend's own cache and attention to compare with it.
 * [one thread; cmocka's assertions]
 */
#ifndef SONDE_TEST_ATTEND_CASE_H
#define SONDE_TEST_ATTEND_CASE_H

#include "support/kernel_case.h"

#define ATTEND_MOST_SPANS 3

/* Spans are {position of the first row, rows}; each is a sequence of its own. */
typedef struct attend_case {
    sonde_dtype dtype;
    int64_t heads, kv_heads, head_dim, value_dim;
    sonde_mask_kind mask;
    int64_t window;
    double softcap;
    bool sinks;
    int64_t spans[ATTEND_MOST_SPANS][2];
    bool slopes; /* ALiBi of this kind: */
    sonde_alibi_kind alibi;
} attend_case;

typedef struct attend_fixture {
    attend_case c;
    int64_t rows, n_spans, ragged_total;
    sonde_kv_layout layout;
    sonde_span spans[ATTEND_MOST_SPANS];
    int64_t ragged[64];
    float *keys[ATTEND_MOST_SPANS], *values[ATTEND_MOST_SPANS]; /* [positions][kv][d], as they enter the cache */
    float *q, *sinks;
    double *slopes; /* [heads] */
    int64_t q_stride, z_stride;
    float *scores, *pattern, *z; /* expected; z [rows][z_stride] */
} attend_fixture;

typedef struct attend_outputs {
    float *scores, *pattern, *z;
} attend_outputs;

/* Random operands and what the rule makes of them; slopes of the heads fall by 2^-0.7. */
void attend_fixture_init(attend_fixture *f, const attend_case *c, test_random *random);
void attend_fixture_reset(attend_fixture *f);
/* Row r of a span by the rule, for all heads, into the expected outputs. */
void attend_row_by_rule(attend_fixture *f, int64_t span, int64_t r);
int64_t attend_positions(const attend_fixture *f, int64_t span); /* of the whole sequence */

/* Pages of a span, written by the backend's own cache step in pieces of `piece` rows. What no
 * position was written to holds NaN. */
void **attend_make_pages(const attend_fixture *f, const sonde_backend *backend, int64_t span,
                         int64_t piece);
void attend_free_pages(const attend_fixture *f, int64_t span, void **pages);
sonde_attend_args attend_args_of(const attend_fixture *f, const sonde_span *spans,
                                 const attend_outputs *o, uint32_t phases);
/* All units, in one call or one by one from the last. */
void attend_run(const sonde_backend *backend, const sonde_attend_args *args, bool one_by_one);
/* Bits of one backend, in all phases, alone and together; spans have its pages. */
void attend_check_level(const attend_fixture *f, const sonde_backend *backend,
                        const sonde_span *spans);
/* Bits of every level. */
void attend_check_case(const attend_case *c, test_random *random);

#endif
