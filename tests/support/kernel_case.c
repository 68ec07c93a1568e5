#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CANARY 16
#define UNWRITTEN 0x7FA5A5A5u

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

const sonde_cpu_level all_levels[3] = {SONDE_CPU_SCALAR, SONDE_CPU_AVX2, SONDE_CPU_AVX512};
const sonde_dtype quant_kinds[8] = {SONDE_DTYPE_Q4_0, SONDE_DTYPE_Q4_1, SONDE_DTYPE_Q5_0,
                                    SONDE_DTYPE_Q5_1, SONDE_DTYPE_Q8_0, SONDE_DTYPE_Q4_K,
                                    SONDE_DTYPE_Q5_K, SONDE_DTYPE_Q6_K};

const sonde_backend *kernel_backend(sonde_cpu_level level)
{
    const sonde_backend *backend = NULL;
    assert_int_equal(sonde_backend_get("cpu", level, &backend, NULL), SONDE_OK);
    return backend;
}

kernel_levels kernel_levels_get(void)
{
    kernel_levels levels = {0};
    for (int i = SONDE_CPU_SCALAR; i <= SONDE_CPU_AVX512; i++) {
        sonde_cpu_level level = (sonde_cpu_level)i;
        if (level > sonde_cpu_best()) {
            print_message("skipped: this processor has no %s\n", sonde_cpu_level_name(level));
            continue;
        }
        assert_int_equal(sonde_backend_get("cpu", level, &levels.backend[levels.n++], NULL), SONDE_OK);
    }
    return levels;
}

float *guarded(int64_t n)
{
    float *block = sonde_alloc_raw((size_t)n + 2 * CANARY, sizeof *block);
    assert_non_null(block);
    fill_unwritten(block, n + 2 * CANARY);
    return block + CANARY;
}

void guarded_free(float *block, int64_t n)
{
    for (int64_t i = 1; i <= CANARY; i++)
        if (!is_unwritten(block[-i]) || !is_unwritten(block[n + i - 1]))
            fail_msg("a canary %lld floats outside a buffer of %lld was changed", (long long)i,
                     (long long)n);
    sonde_free(block - CANARY);
}

void fill_unwritten(float *block, int64_t n)
{
    uint32_t bits = UNWRITTEN;
    for (int64_t i = 0; i < n; i++) memcpy(&block[i], &bits, sizeof bits);
}

bool is_unwritten(float x)
{
    return bits_of(x) == UNWRITTEN;
}

bool same_bits(float a, float b)
{
    return bits_of(a) == bits_of(b) || (isnan(a) && isnan(b) && !is_unwritten(a));
}

void check_same(const float *got, const float *expected, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (!same_bits(got[i], expected[i]))
            fail_msg("%s: value %lld of %lld is %a, expected %a", what, (long long)i, (long long)n,
                     (double)got[i], (double)expected[i]);
}

double error_of(const float *got, const double *exact, int64_t n)
{
    double worst = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - exact[i]);
        if (!(difference <= 1e300)) return INFINITY;
        worst = fmax(worst, difference);
        squares += exact[i] * exact[i];
    }
    return worst == 0.0 ? 0.0 : worst / sqrt(squares / (double)n);
}

float sum_by_rule(const float lanes[16])
{
    float s[16];
    memcpy(s, lanes, sizeof s);
    for (int i = 0; i < 8; i++) s[i] = s[i] + s[i + 8];
    for (int i = 0; i < 4; i++) s[i] = s[i] + s[i + 4];
    for (int i = 0; i < 2; i++) s[i] = s[i] + s[i + 2];
    return s[0] + s[1];
}
