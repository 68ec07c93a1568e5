/* convert_avx512.c - sixteen values at a time; see convert_avx2.c for the rounding. */
#if defined(__x86_64__)
#include "convert.h"

#include <immintrin.h>

static void encode_bf16(const float *src, void *dst, int64_t n)
{
    unsigned char *out = dst;
    const __m512i one = _mm512_set1_epi32(1), bias = _mm512_set1_epi32(0x7FFF);
    const __m512i quiet = _mm512_set1_epi32(SONDE_BF16_NAN);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 x = _mm512_loadu_ps(src + i);
        __m512i bits = _mm512_castps_si512(x);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
        __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, bias), odd);
        __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        __m512i words = _mm512_mask_mov_epi32(_mm512_srli_epi32(rounded, 16), nan, quiet);
        _mm256_storeu_si256((__m256i *)(void *)(out + 2 * i), _mm512_cvtepi32_epi16(words));
    }
    sonde_convert_scalar.encode_bf16(src + i, out + 2 * i, n - i);
}

static void encode_f16(const float *src, void *dst, int64_t n)
{
    unsigned char *out = dst;
    const __m256i quiet = _mm256_set1_epi16(SONDE_F16_NAN);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 x = _mm512_loadu_ps(src + i);
        __m256i half = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        _mm256_storeu_si256((__m256i *)(void *)(out + 2 * i),
                            _mm256_mask_mov_epi16(half, nan, quiet));
    }
    sonde_convert_scalar.encode_f16(src + i, out + 2 * i, n - i);
}

static void decode_bf16(const void *src, float *dst, int64_t n)
{
    const unsigned char *in = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(in + 2 * i));
        __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
        _mm512_storeu_ps(dst + i, _mm512_castsi512_ps(bits));
    }
    sonde_convert_scalar.decode_bf16(in + 2 * i, dst + i, n - i);
}

static void decode_f16(const void *src, float *dst, int64_t n)
{
    const unsigned char *in = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(in + 2 * i));
        _mm512_storeu_ps(dst + i, _mm512_cvtph_ps(half));
    }
    sonde_convert_scalar.decode_f16(in + 2 * i, dst + i, n - i);
}

const sonde_convert_table sonde_convert_avx512 = {
    .encode_bf16 = encode_bf16,
    .encode_f16 = encode_f16,
    .decode_bf16 = decode_bf16,
    .decode_f16 = decode_f16,
};
#else
typedef int sonde_convert_avx512_is_x86_only;
#endif
