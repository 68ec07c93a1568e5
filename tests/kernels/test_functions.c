/* The functions of exact mode against long double: the error that functions.h states, over every
 * exponent, and what happens at clamps, NaN, infinities and subnormals. */
#include "kernels/functions.h"
#include "kernels/vec16.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

typedef long double exact_function(long double x);
typedef float tested_function(float x);

/* One unit in the last place of a float of this size; 2^-149 among the subnormals. */
static long double ulp_of(long double x)
{
    int exponent;
    if (x == 0.0L) return 0x1p-149L;
    frexpl(fabsl(x), &exponent);
    return ldexpl(1.0L, SONDE_MAX(exponent - 24, -149));
}

/* Worst error in ulp of the exact value over `per_exponent` mantissas of each exponent and sign. */
static double worst_ulp(tested_function *f, exact_function *exact, float from, float to,
                        int per_exponent)
{
    double worst = 0.0;
    for (uint32_t exponent = 0; exponent < 255; exponent++)
        for (int j = 0; j < per_exponent; j++)
            for (uint32_t sign = 0; sign < 2; sign++) {
                uint32_t mantissa = (uint32_t)j * (0x800000u / (uint32_t)per_exponent) +
                                    (uint32_t)j * 2654435761u % 997u;
                float x = sonde_bits_float(sign << 31 | exponent << 23 | (mantissa & 0x7FFFFFu));
                if (!(x >= from && x <= to)) continue;
                long double e = exact((long double)x);
                double error = (double)(fabsl((long double)f(x) - e) / ulp_of(e));
                if (!(error <= worst)) worst = error;
            }
    return worst;
}

/* What attention takes for differences that are never above 0. */
static void test_exp_of_negative_numbers_is_exp(void **state)
{
    (void)state;
    float x[16], y[16];
    for (uint32_t bits = 0x80000000u; bits < 0xFF800000u; bits += 16 * 1021) {
        for (uint32_t j = 0; j < 16; j++) x[j] = sonde_bits_float(bits + j * 1021);
        v_store(y, v_exp_negative(v_load(x)));
        for (int j = 0; j < 16; j++) {
            uint32_t expected = sonde_float_bits(sonde_exp_f32(x[j]));
            if (sonde_float_bits(y[j]) != expected) fail_msg("exp(%a) is %a", (double)x[j], (double)y[j]);
        }
    }
}

static long double sigmoid_exact(long double x)
{
    return 1.0L / (1.0L + expl(-x));
}

/* Clamped arguments are looked at apart: below -104 and above 88.8 exp is 0 and infinity. */
static void test_errors_are_those_stated(void **state)
{
    static const struct {
        const char *name;
        tested_function *f;
        exact_function *exact;
        float from, to;
        double bound;
    } cases[] = {
        {"exp", sonde_exp_f32, expl, -103.9f, 88.72f, 2.0},
        {"log", sonde_log_f32, logl, 0x1p-126f, 3.4e38f, 1.0},
        {"sigmoid", sonde_sigmoid_f32, sigmoid_exact, -87.0f, 3.4e38f, 3.0},
        {"tanh", sonde_tanh_f32, tanhl, -3.4e38f, 3.4e38f, 2.0},
        {"erf", sonde_erf_f32, erfl, -3.4e38f, 3.4e38f, 3.0},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        double worst = worst_ulp(cases[i].f, cases[i].exact, cases[i].from, cases[i].to, 2048);
        print_message("%s: %.2f ulp\n", cases[i].name, worst);
        assert_true(worst <= cases[i].bound);
        assert_true(worst > 0.4); /* the measure sees the rounding at all */
    }
}

/* Every float between, where polynomials meet and where exponents change. */
static void test_errors_near_the_seams(void **state)
{
    (void)state;
    static const float exp_seams[] = {0.34657359f, -0.34657359f, 1.0397207f, -87.33654f, -103.0f, 88.69f};
    for (size_t i = 0; i < SONDE_COUNT(exp_seams); i++)
        for (int32_t d = -4000; d < 4000; d++) {
            float x = sonde_bits_float(sonde_float_bits(exp_seams[i]) + (uint32_t)d);
            long double e = expl((long double)x);
            assert_true(fabsl((long double)sonde_exp_f32(x) - e) <= 2.0L * ulp_of(e));
        }
    for (int32_t d = -4000; d < 4000; d++) {
        float t = sonde_bits_float(sonde_float_bits(0.625f) + (uint32_t)d);
        float u = sonde_bits_float(sonde_float_bits(1.0f) + (uint32_t)d);
        long double a = tanhl((long double)t), b = erfl((long double)u), c = logl((long double)u);
        assert_true(fabsl((long double)sonde_tanh_f32(t) - a) <= 2.0L * ulp_of(a));
        assert_true(fabsl((long double)sonde_erf_f32(u) - b) <= 3.0L * ulp_of(b));
        assert_true(fabsl((long double)sonde_log_f32(u) - c) <= 1.0L * ulp_of(c));
    }
}

static void test_ends_and_odd_numbers(void **state)
{
    (void)state;
    assert_true(sonde_exp_f32(-104.0f) == 0.0f && sonde_exp_f32(-INFINITY) == 0.0f);
    assert_true(sonde_exp_f32(-3e38f) == 0.0f && sonde_exp_f32(0.0f) == 1.0f);
    assert_true(sonde_exp_f32(-0.0f) == 1.0f && sonde_exp_f32(1e-45f) == 1.0f);
    assert_true(isinf(sonde_exp_f32(88.8f)) && isinf(sonde_exp_f32(INFINITY)));
    assert_true(sonde_exp_f32(-103.5f) > 0.0f && sonde_exp_f32(88.72f) < INFINITY);
    assert_true(sonde_sigmoid_f32(INFINITY) == 1.0f && sonde_sigmoid_f32(-INFINITY) == 0.0f);
    assert_true(sonde_tanh_f32(INFINITY) == 1.0f && sonde_tanh_f32(-INFINITY) == -1.0f);
    assert_true(sonde_erf_f32(INFINITY) == 1.0f && sonde_erf_f32(-INFINITY) == -1.0f);
    assert_true(sonde_log_f32(1.0f) == 0.0f && isnan(sonde_log_f32(NAN)));
    tested_function *const all[] = {sonde_exp_f32, sonde_sigmoid_f32, sonde_tanh_f32, sonde_erf_f32,
                                    sonde_act_silu, sonde_act_gelu, sonde_act_gelu_tanh,
                                    sonde_act_quick_gelu, sonde_act_relu};
    for (size_t i = 0; i < SONDE_COUNT(all); i++) assert_true(isnan(all[i](NAN)));
    tested_function *const odd[] = {sonde_tanh_f32, sonde_erf_f32, sonde_act_silu, sonde_act_gelu,
                                    sonde_act_gelu_tanh, sonde_act_quick_gelu};
    for (size_t i = 0; i < SONDE_COUNT(odd); i++) {
        assert_true(same_bits(odd[i](0.0f), 0.0f) && same_bits(odd[i](-0.0f), -0.0f));
        for (uint32_t bits = 1; bits < 0x800000u; bits += 4099) { /* subnormals keep their sign */
            float x = sonde_bits_float(bits);
            assert_true(odd[i](x) >= 0.0f && odd[i](x) <= 2.0f * x);
            assert_true(same_bits(odd[i](-x), -odd[i](x)));
        }
    }
    assert_true(same_bits(sonde_act_relu(-0.0f), 0.0f) && sonde_act_relu(-3.0f) == 0.0f);
}

/* Larger than it was, never smaller: what softmax and ranks lean on, over every 64th float. */
static void test_exp_never_falls(void **state)
{
    (void)state;
    float before = 0.0f;
    for (uint32_t bits = 0x42D00000u; bits >= 0x33000000u; bits -= 64) {
        float e = sonde_exp_f32(sonde_bits_float(bits | 0x80000000u));
        assert_true(e >= before);
        before = e;
    }
    assert_true(before == 1.0f);
}

static long double silu_exact(long double x)
{
    return x * sigmoid_exact(x);
}

static long double gelu_exact(long double x)
{
    return 0.5L * x * (1.0L + erfl(x * sqrtl(0.5L)));
}

static long double gelu_tanh_exact(long double x)
{
    return 0.5L * x * (1.0L + tanhl(sqrtl(2.0L / acosl(-1.0L)) * (x + 0.044715L * x * x * x)));
}

static long double quick_gelu_exact(long double x)
{
    return x * sigmoid_exact(1.702L * x);
}

/* Activations: error over |x|. 1 + erf and 1 + tanh lose relative, not absolute, accuracy in the
 * left tail, as they do in every fp32 model; each bound is a few roundings of a factor up to 1. */
static void test_errors_of_activations(void **state)
{
    static const struct {
        const char *name;
        tested_function *f;
        exact_function *exact;
        double bound;
    } cases[] = {
        {"silu", sonde_act_silu, silu_exact, 3 * 0x1p-24},
        {"gelu", sonde_act_gelu, gelu_exact, 4 * 0x1p-24},
        {"gelu_tanh", sonde_act_gelu_tanh, gelu_tanh_exact, 4 * 0x1p-24},
        {"quick_gelu", sonde_act_quick_gelu, quick_gelu_exact, 3 * 0x1p-24},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        double worst = 0.0;
        for (float x = -100.0f; x < 100.0f; x += 0x1.003p-11f) {
            long double e = cases[i].exact((long double)x);
            double error = (double)(fabsl((long double)cases[i].f(x) - e) / fabsl((long double)x));
            if (x != 0.0f && !(error <= worst)) worst = error;
        }
        print_message("%s: %.2f x 2^-24 |x|\n", cases[i].name, worst * 0x1p24);
        assert_true(worst <= cases[i].bound);
    }
}

/* ---- tables in double ------------------------------------------------------------------------------- */

/* The float nearest to the exact value, but for values within a millionth of an ulp of a tie. */
static void check_rounding(double got, long double exact)
{
    assert_true(fabsl((long double)(float)got - exact) <= 0.500001L * ulp_of(exact));
}

static void test_pow_for_inverse_frequencies(void **state)
{
    (void)state;
    static const double bases[] = {10000.0, 500000.0, 1e6, 100000.0, 25.0, 1.0001, 3.7e9};
    static const int64_t dims[] = {2, 16, 20, 64, 80, 96, 128, 256};
    for (size_t b = 0; b < SONDE_COUNT(bases); b++)
        for (size_t d = 0; d < SONDE_COUNT(dims); d++)
            for (int64_t i = 0; i < dims[d]; i += 2) {
                double x = -(double)i / (double)dims[d], got = sonde_pow64(bases[b], x);
                long double exact = powl((long double)bases[b], (long double)x);
                assert_true(fabsl((long double)got - exact) <= 1e-14L * exact);
                check_rounding(got, exact);
            }
}

static void test_log_in_double(void **state)
{
    (void)state;
    test_random random = {11};
    for (int i = 0; i < 20000; i++) {
        double x = exp(12.0 * (double)test_random_normal(&random));
        long double exact = logl((long double)x);
        assert_true(fabsl((long double)sonde_log64(x) - exact) <= 1e-14L * fabsl(exact) + 1e-17L);
    }
    assert_true(sonde_log64(1.0) == 0.0);
}

/* Angles of positions up to a million, as fp32 products, and exact multiples near pi / 2. */
static void test_sine_and_cosine_of_angles(void **state)
{
    (void)state;
    test_random random = {12};
    for (int i = 0; i < 60000; i++) {
        float position = (float)(test_random_u64(&random) % 1048576u);
        float inv_freq = (float)sonde_pow64(10000.0, -(double)(i % 64) / 64.0);
        double angle = (double)(position * inv_freq), sine, cosine;
        if (i % 16 == 0) angle = (double)((float)(i / 16) * 1.5707963f);
        sonde_sincos64(angle, &sine, &cosine);
        long double s = sinl((long double)angle), c = cosl((long double)angle);
        assert_true(fabsl((long double)sine - s) <= 1e-14L && fabsl((long double)cosine - c) <= 1e-14L);
        if (fabsl(s) > 1e-6L) check_rounding(sine, s);
        if (fabsl(c) > 1e-6L) check_rounding(cosine, c);
    }
}

static void test_rope_entries_of_levels_and_oracle(void **state)
{
    (void)state;
    kernel_levels levels = kernel_levels_get();
    const sonde_backend *oracle = NULL;
    assert_int_equal(sonde_backend_get("oracle", SONDE_CPU_SCALAR, &oracle, NULL), SONDE_OK);
    float inv_freq[16], c[16], s[16], first[32];
    double wide[32];
    for (int i = 0; i < 16; i++) inv_freq[i] = (float)sonde_pow64(10000.0, -i / 16.0);
    for (int64_t position = 0; position < 5000; position += 37)
        for (int l = 0; l < levels.n; l++) {
            levels.backend[l]->rope_entry(inv_freq, 32, position, 1.25, c, s);
            if (l == 0) {
                memcpy(first, c, sizeof c);
                memcpy(first + 16, s, sizeof s);
            }
            assert_memory_equal(c, first, sizeof c);
            assert_memory_equal(s, first + 16, sizeof s);
            oracle->rope_entry(inv_freq, 32, position, 1.25, wide, wide + 16);
            /* the angle is rounded to fp32: half an ulp of it, and two roundings of the value */
            for (int i = 0; i < 16; i++) {
                double bound = 1.25 * ((double)position * (double)inv_freq[i] + 2.0) * 0x1p-24;
                assert_true(fabs((double)c[i] - wide[i]) <= bound);
                assert_true(fabs((double)s[i] - wide[16 + i]) <= bound);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_those_stated),
        cmocka_unit_test(test_errors_near_the_seams),
        cmocka_unit_test(test_ends_and_odd_numbers),
        cmocka_unit_test(test_exp_never_falls),
        cmocka_unit_test(test_exp_of_negative_numbers_is_exp),
        cmocka_unit_test(test_errors_of_activations),
        cmocka_unit_test(test_pow_for_inverse_frequencies),
        cmocka_unit_test(test_log_in_double),
        cmocka_unit_test(test_sine_and_cosine_of_angles),
        cmocka_unit_test(test_rope_entries_of_levels_and_oracle),
    };
    return cmocka_run_group_tests_name("functions", tests, NULL, NULL);
}
