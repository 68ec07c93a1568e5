/*
 * linear_case.h - matrix products for tests and benchmarks: random operands, weights packed by a
 * backend, outputs with guard values around every row.
 */
#ifndef SONDE_TEST_LINEAR_CASE_H
#define SONDE_TEST_LINEAR_CASE_H

#include "kernels/kernels.h"

/* A generator of its own (splitmix64), so that a seed gives the same operands everywhere. */
typedef struct test_random {
    uint64_t state;
} test_random;
uint64_t test_random_u64(test_random *random);
/* Sum of four uniforms, centred, variance 1: near normal, never huge. */
float test_random_normal(test_random *random);
void test_fill_normal(test_random *random, float *values, int64_t n);

/* A weight [rows, cols] as a file of `dtype` stores it, and packed for `backend`. */
typedef struct linear_weight {
    void *stored;
    sonde_matrix_source source;
    sonde_packed packed;
} linear_weight;
/* false: out of memory. dtype: F32, BF16, F16 or a quantised kind that `cpu` keeps (cols a multiple
 * of its block). */
bool linear_weight_init(linear_weight *w, const sonde_backend *backend, sonde_dtype dtype,
                        int64_t rows, int64_t cols, test_random *random);
/* The same weight left where it is stored: not packed, owns nothing. */
sonde_packed linear_weight_mapped(const linear_weight *w);
void linear_weight_reset(linear_weight *w);

/* Runs every unit of a product in one call, with scratch of its own. */
void linear_run(const sonde_backend *backend, const sonde_linear_args *args);

#endif
