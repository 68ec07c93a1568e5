/*
 * bench_loops.inc.h - the machine's own limits, as two loops for one instruction set. The including
 * file is compiled for that set and defines LOOPS_NAME and LOOPS_LEVEL.
 */
#include "cli/bench.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
typedef __m512 vec;
#define LANES 16
#define CHAINS 16
#define V_SET(x) _mm512_set1_ps(x)
#define V_LOAD(p) _mm512_loadu_ps(p)
#define V_ADD(a, b) _mm512_add_ps(a, b)
#define V_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define V_STORE(p, a) _mm512_storeu_ps(p, a)
#elif defined(__AVX2__)
typedef __m256 vec;
#define LANES 8
#define CHAINS 12
#define V_SET(x) _mm256_set1_ps(x)
#define V_LOAD(p) _mm256_loadu_ps(p)
#define V_ADD(a, b) _mm256_add_ps(a, b)
#define V_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define V_STORE(p, a) _mm256_storeu_ps(p, a)
#else
typedef float vec;
#define LANES 1
#define CHAINS 8
#define V_SET(x) (x)
#define V_LOAD(p) (*(p))
#define V_ADD(a, b) ((a) + (b))
#define V_FMA(a, b, c) ((a) * (b) + (c))
#define V_STORE(p, a) (*(p) = (a))
#endif

static float lanes_sum(const vec *v, int n)
{
    float sum = 0, lanes[LANES];
    for (int i = 0; i < n; i++) {
        V_STORE(lanes, v[i]);
        for (int j = 0; j < LANES; j++) sum += lanes[j];
    }
    return sum;
}

/* CHAINS independent chains of multiply-adds, enough to hide the latency of one. */
static float multiply_add(int64_t iterations)
{
    vec chain[CHAINS], factor = V_SET(0.999f), term = V_SET(1e-3f);
    for (int i = 0; i < CHAINS; i++) chain[i] = V_SET((float)i);
    for (int64_t n = 0; n < iterations; n++)
        for (int i = 0; i < CHAINS; i++) chain[i] = V_FMA(chain[i], factor, term);
    return lanes_sum(chain, CHAINS);
}

/* One pass over n floats, a multiple of 8 * LANES. */
static float read_all(const float *data, size_t n)
{
    vec sum[8];
    for (int i = 0; i < 8; i++) sum[i] = V_SET(0.0f);
    for (size_t at = 0; at < n; at += 8 * LANES)
        for (size_t i = 0; i < 8; i++) sum[i] = V_ADD(sum[i], V_LOAD(data + at + i * LANES));
    return lanes_sum(sum, 8);
}

const bench_loops LOOPS_NAME = {LOOPS_LEVEL, (double)CHAINS * LANES * 2, multiply_add, read_all};
