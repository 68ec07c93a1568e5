/* Block decoders against ggml's own values (goldens/dequant, made by make_dequant.py): equal bits,
 * except that any NaN equals any NaN. The blocks hold scales of zero, subnormal, largest, infinite
 * and NaN beside random ones. */
#include "kernels/dtype/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void compare_file(sonde_dtype dtype)
{
    sonde_error err = {0};
    char path[128], *data;
    size_t bytes;
    uint32_t head[3];
    snprintf(path, sizeof path, "tests/goldens/dequant/%s.bin", sonde_dtype_name(dtype));
    if (sonde_read_file(path, 1 << 22, &data, &bytes, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    assert_memory_equal(data, "SNDQ", 4);
    memcpy(head, data + 4, sizeof head);
    int64_t n = head[0], block = head[1], size = head[2];
    assert_int_equal(block, sonde_dtype_block_elements(dtype));
    assert_int_equal(size, sonde_dtype_block_bytes(dtype));
    assert_int_equal((int64_t)bytes, 16 + n * (size + 4 * block));
    const char *expect = data + 16 + n * size;
    float *got = sonde_alloc((size_t)(n * block), sizeof *got);
    assert_non_null(got);
    sonde_decode_f32(dtype, data + 16, got, n * block);
    for (int64_t i = 0; i < n * block; i++) {
        float want;
        memcpy(&want, expect + 4 * i, sizeof want);
        if ((isnan(want) && isnan(got[i])) || memcmp(&want, &got[i], sizeof want) == 0) continue;
        fail_msg("%s: block %lld, element %lld: expected %a, got %a", sonde_dtype_name(dtype),
                 (long long)(i / block), (long long)(i % block), (double)want, (double)got[i]);
    }
    sonde_free(got);
    sonde_free(data);
}

static void test_decode_gives_the_bits_of_ggml(void **state)
{
    (void)state;
    static const sonde_dtype dtypes[] = {SONDE_DTYPE_Q4_0,  SONDE_DTYPE_Q4_1,   SONDE_DTYPE_Q5_0,
                                         SONDE_DTYPE_Q5_1,  SONDE_DTYPE_Q8_0,   SONDE_DTYPE_Q2_K,
                                         SONDE_DTYPE_Q3_K,  SONDE_DTYPE_Q4_K,   SONDE_DTYPE_Q5_K,
                                         SONDE_DTYPE_Q6_K,  SONDE_DTYPE_IQ4_NL, SONDE_DTYPE_IQ4_XS,
                                         SONDE_DTYPE_MXFP4, SONDE_DTYPE_TQ1_0,  SONDE_DTYPE_TQ2_0,
                                         SONDE_DTYPE_IQ1_S, SONDE_DTYPE_IQ1_M,  SONDE_DTYPE_IQ2_XXS,
                                         SONDE_DTYPE_IQ2_XS, SONDE_DTYPE_IQ2_S, SONDE_DTYPE_IQ3_XXS,
                                         SONDE_DTYPE_IQ3_S, SONDE_DTYPE_NVFP4,  SONDE_DTYPE_Q1_0,
                                         SONDE_DTYPE_Q2_0,  SONDE_DTYPE_I8,     SONDE_DTYPE_I16,
                                         SONDE_DTYPE_I32,   SONDE_DTYPE_I64,    SONDE_DTYPE_F64};
    for (size_t i = 0; i < SONDE_COUNT(dtypes); i++) {
        assert_true(sonde_dtype_decodes(dtypes[i]));
        compare_file(dtypes[i]);
    }
}

static void test_decode_from_any_alignment(void **state)
{
    (void)state;
    unsigned char block[34 + 3] = {0};
    float got[32];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(block, 0, sizeof block);
        block[shift] = 0x00; /* d = 0.5 */
        block[shift + 1] = 0x38;
        for (size_t j = 0; j < 32; j++) block[shift + 2 + j] = (unsigned char)(j - 16);
        sonde_decode_f32(SONDE_DTYPE_Q8_0, block + shift, got, 32);
        for (int j = 0; j < 32; j++) {
            float want = 0.5f * (float)(j - 16);
            assert_memory_equal(&want, &got[j], sizeof want);
        }
    }
}

static void test_unsupported_kinds_say_so(void **state)
{
    (void)state;
    static const sonde_dtype dtypes[] = {SONDE_DTYPE_Q8_1, SONDE_DTYPE_Q8_K, SONDE_DTYPE_C64,
                                         SONDE_DTYPE_F4, SONDE_DTYPE_NONE};
    for (size_t i = 0; i < SONDE_COUNT(dtypes); i++) assert_false(sonde_dtype_decodes(dtypes[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_gives_the_bits_of_ggml),
        cmocka_unit_test(test_decode_from_any_alignment),
        cmocka_unit_test(test_unsupported_kinds_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
