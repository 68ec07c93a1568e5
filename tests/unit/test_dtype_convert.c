/* Conversions f32 <-> bf16, f16: every 16-bit pattern, every rounding border, every instruction
 * set, against values computed another way (ldexp, exact doubles). All comparisons are of bits. */
#include "kernels/dtype/convert.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The value of a finite f16 pattern from its definition. */
static double half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void test_f16_decode_every_pattern(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint32_t magnitude = h & 0x7FFF, bits = bits_of(sonde_f16_to_f32((uint16_t)h));
        if (magnitude > 0x7C00) {
            assert_true((bits & 0x7FC00000u) == 0x7FC00000u);
            continue;
        }
        double value = magnitude == 0x7C00 ? (h & 0x8000 ? -INFINITY : INFINITY) : half_value(h);
        assert_int_equal(bits, bits_of((float)value));
    }
}

static void test_bf16_decode_every_pattern(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++)
        assert_int_equal(bits_of(sonde_bf16_to_f32((uint16_t)h)), h << 16);
}

static void test_every_pattern_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        bool nan16 = (h & 0x7FFF) > 0x7C00, nanb = (h & 0x7FFF) > 0x7F80;
        assert_int_equal(sonde_f32_to_f16(sonde_f16_to_f32((uint16_t)h)), nan16 ? 0x7E00 : h);
        assert_int_equal(sonde_f32_to_bf16(sonde_bf16_to_f32((uint16_t)h)), nanb ? 0x7FC0 : h);
    }
}

/* Between neighbours: the middle goes to the even one, a step to either side to the nearer one. */
static void test_f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        float middle = (float)((half_value(h) + half_value(h + 1)) / 2);
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(sonde_f32_to_f16(middle), even);
        assert_int_equal(sonde_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(sonde_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(sonde_f32_to_f16(-middle), even | 0x8000);
    }
}

static void test_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7F80; h++) {
        uint32_t middle = h << 16 | 0x8000;
        assert_int_equal(sonde_f32_to_bf16(float_of(middle)), h & 1 ? h + 1 : h);
        assert_int_equal(sonde_f32_to_bf16(float_of(middle - 1)), h);
        assert_int_equal(sonde_f32_to_bf16(float_of(middle + 1)), h + 1);
    }
}

static void test_encode_edges(void **state)
{
    (void)state;
    static const struct {
        uint32_t f32, f16, bf16;
    } cases[] = {
        {0x477FEFFF, 0x7BFF, 0x4780}, /* just below 65520 */
        {0x477FF000, 0x7C00, 0x4780}, /* 65520: the middle to what would be 65536 */
        {0x7F7FFFFF, 0x7C00, 0x7F80}, /* FLT_MAX */
        {0x7F800000, 0x7C00, 0x7F80}, {0xFF800000, 0xFC00, 0xFF80},
        {0x7F800001, 0x7E00, 0x7FC0}, /* signalling NaN */
        {0xFFC12345, 0x7E00, 0x7FC0}, /* negative NaN with a payload */
        {0x33000000, 0x0000, 0x3300}, /* 2^-25: half of the smallest, to even */
        {0x33000001, 0x0001, 0x3300}, {0x00000001, 0x0000, 0x0000},
        {0x80000001, 0x8000, 0x8000}, {0x0000FFFF, 0x0000, 0x0001}, /* subnormals of fp32 */
        {0x00018000, 0x0000, 0x0002}, {0x80000000, 0x8000, 0x8000},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        assert_int_equal(sonde_f32_to_f16(float_of(cases[i].f32)), cases[i].f16);
        assert_int_equal(sonde_f32_to_bf16(float_of(cases[i].f32)), cases[i].bf16);
    }
}

#define LONGEST 83
#define CANARY 0xA5

/* Random fp32 patterns, thick with NaN, infinities, subnormals and rounding borders. */
static uint32_t random_pattern(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    uint32_t x = (uint32_t)(*seed >> 32), kind = (uint32_t)(*seed >> 20) & 7;
    if (kind == 0) return x | 0x7F800000u;
    if (kind == 1) return x & 0x807FFFFFu;
    if (kind == 2) return (x & 0x807FFFFFu) | (98u + (x >> 23 & 15)) << 23; /* f16 subnormals */
    if (kind == 3) return (x & 0xFFFF0000u) | 0x8000u;
    if (kind == 4) return (x & 0x807FE000u) | 0x1000u | (110u + (x >> 23 & 31)) << 23;
    return x;
}

static void compare_encoder(void (*scalar)(const float *, void *, int64_t),
                            void (*level)(const float *, void *, int64_t), const float *x, int n,
                            size_t shift)
{
    unsigned char want[2 * LONGEST + 8], got[2 * LONGEST + 8];
    memset(want, CANARY, sizeof want);
    memset(got, CANARY, sizeof got);
    scalar(x, want + shift, n);
    level(x, got + shift, n);
    assert_memory_equal(want, got, sizeof want);
    for (size_t i = shift + 2 * (size_t)n; i < sizeof got; i++) assert_int_equal(got[i], CANARY);
}

static void compare_decoder(void (*scalar)(const void *, float *, int64_t),
                            void (*level)(const void *, float *, int64_t), const void *x, int n)
{
    float want[LONGEST + 2], got[LONGEST + 2];
    memset(want, CANARY, sizeof want);
    memset(got, CANARY, sizeof got);
    scalar(x, want, n);
    level(x, got, n);
    assert_memory_equal(want, got, sizeof want);
}

static void test_levels_give_equal_bits(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int level = SONDE_CPU_AVX2; level <= SONDE_CPU_AVX512; level++) {
        const sonde_convert_table *table = sonde_convert_level((sonde_cpu_level)level);
        if (!table) {
            print_message("[  SKIP  ] this processor has no %s\n",
                          sonde_cpu_level_name((sonde_cpu_level)level));
            continue;
        }
        for (int round = 0; round < 4000; round++) {
            int n = round % (LONGEST + 1);
            size_t shift = (size_t)round % 3;
            float x[LONGEST];
            unsigned char halves[2 * LONGEST + 2];
            for (int i = 0; i < n; i++) x[i] = float_of(random_pattern(&seed));
            for (int i = 0; i < n; i++) {
                uint32_t pattern = random_pattern(&seed) >> 8;
                memcpy(halves + shift % 2 + 2 * i, &pattern, 2);
            }
            compare_encoder(sonde_convert_scalar.encode_bf16, table->encode_bf16, x, n, shift);
            compare_encoder(sonde_convert_scalar.encode_f16, table->encode_f16, x, n, shift);
            compare_decoder(sonde_convert_scalar.decode_bf16, table->decode_bf16,
                            halves + shift % 2, n);
            compare_decoder(sonde_convert_scalar.decode_f16, table->decode_f16, halves + shift % 2,
                            n);
        }
    }
}

/* All 65536 patterns through the vector decoders, and their values through the encoders. */
static void test_levels_on_every_pattern(void **state)
{
    (void)state;
    uint16_t *halves = malloc(65536 * sizeof *halves), *back = malloc(65536 * sizeof *back);
    float *want = malloc(65536 * sizeof *want), *got = malloc(65536 * sizeof *got);
    assert_true(halves && back && want && got);
    for (uint32_t h = 0; h < 65536; h++) halves[h] = (uint16_t)h;
    for (int level = SONDE_CPU_SCALAR; level <= SONDE_CPU_AVX512; level++) {
        const sonde_convert_table *table = sonde_convert_level((sonde_cpu_level)level);
        if (!table) continue;
        sonde_convert_scalar.decode_f16(halves, want, 65536);
        table->decode_f16(halves, got, 65536);
        assert_memory_equal(want, got, 65536 * sizeof *want);
        table->encode_f16(got, back, 65536);
        for (uint32_t h = 0; h < 65536; h++)
            assert_int_equal(back[h], (h & 0x7FFF) > 0x7C00 ? 0x7E00 : h);
        sonde_convert_scalar.decode_bf16(halves, want, 65536);
        table->decode_bf16(halves, got, 65536);
        assert_memory_equal(want, got, 65536 * sizeof *want);
    }
    free(halves);
    free(back);
    free(want);
    free(got);
}

static void test_dispatch_by_dtype(void **state)
{
    (void)state;
    const float x[3] = {1.0f, -2.5f, 3.0e-5f};
    float back[3];
    unsigned char bytes[13];
    static const sonde_dtype dtypes[] = {SONDE_DTYPE_F32, SONDE_DTYPE_F16, SONDE_DTYPE_BF16};
    for (size_t i = 0; i < SONDE_COUNT(dtypes); i++) {
        assert_true(sonde_dtype_decodes(dtypes[i]));
        sonde_encode_f32(dtypes[i], x, bytes + 1, 3);
        sonde_decode_f32(dtypes[i], bytes + 1, back, 3);
        assert_int_equal(bits_of(back[0]), bits_of(1.0f));
        assert_int_equal(bits_of(back[1]), bits_of(-2.5f));
    }
    assert_false(sonde_dtype_decodes(SONDE_DTYPE_NONE));
    assert_false(sonde_dtype_decodes(SONDE_DTYPE_BOOL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_decode_every_pattern),
        cmocka_unit_test(test_bf16_decode_every_pattern),
        cmocka_unit_test(test_every_pattern_comes_back),
        cmocka_unit_test(test_f16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_encode_edges),
        cmocka_unit_test(test_levels_give_equal_bits),
        cmocka_unit_test(test_levels_on_every_pattern),
        cmocka_unit_test(test_dispatch_by_dtype),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
