/*
 * kernel_case.h - what the tests of the kernels share: the levels of this processor, buffers with
 * canaries on both sides, comparison of bits, and the reduction of kernels.md 3 in its plainest form.
 */
#ifndef SONDE_TEST_KERNEL_CASE_H
#define SONDE_TEST_KERNEL_CASE_H

#include "kernels/kernels.h"
#include "support/linear_case.h"

/* The levels of `cpu` that this processor has, lowest first; says which are missing. */
typedef struct kernel_levels {
    const sonde_backend *backend[3];
    int n;
} kernel_levels;
kernel_levels kernel_levels_get(void);
/* `cpu` at a level, or at the processor's best where that is lower. */
const sonde_backend *kernel_backend(sonde_cpu_level level);
extern const sonde_cpu_level all_levels[3];
/* The quantised kinds that `cpu` keeps packed. */
extern const sonde_dtype quant_kinds[8];

/* n floats between canaries; freed by guarded_free, which fails the test when one was changed. */
float *guarded(int64_t n);
void guarded_free(float *block, int64_t n);
/* Sets all to a NaN that no kernel gives, so that what was not written shows. */
void fill_unwritten(float *block, int64_t n);
bool is_unwritten(float x);

/* Equal bits, or both NaN. */
bool same_bits(float a, float b);
/* Fails naming the first of n values whose bits differ. */
void check_same(const float *got, const float *expected, int64_t n, const char *what);
/* Largest |got - exact| over the rms of exact. */
double error_of(const float *got, const double *exact, int64_t n);

/* kernels.md 3: 16 lanes (lane = index mod 16), then lane i += lane i + 8, + 4, + 2, + 1. */
float sum_by_rule(const float lanes[16]);

#endif
