/* convert_avx2.c - eight values at a time. bf16 is rounded with integers (vcvtneps2bf16 flushes
 * subnormals); vcvtps2ph rounds as the definition does and only its NaNs are replaced. */
#if defined(__x86_64__)
#include "convert.h"

#include <immintrin.h>

static __m128i pack_u16(__m256i words)
{
    __m256i packed = _mm256_packus_epi32(words, words);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

static void encode_bf16(const float *src, void *dst, int64_t n)
{
    unsigned char *out = dst;
    const __m256i one = _mm256_set1_epi32(1), bias = _mm256_set1_epi32(0x7FFF);
    const __m256i quiet = _mm256_set1_epi32(SONDE_BF16_NAN);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(src + i);
        __m256i bits = _mm256_castps_si256(x);
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
        __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, bias), odd);
        __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        __m256i words = _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), quiet, nan);
        _mm_storeu_si128((__m128i *)(void *)(out + 2 * i), pack_u16(words));
    }
    sonde_convert_scalar.encode_bf16(src + i, out + 2 * i, n - i);
}

static void encode_f16(const float *src, void *dst, int64_t n)
{
    unsigned char *out = dst;
    const __m128i quiet = _mm_set1_epi16(SONDE_F16_NAN);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(src + i);
        __m128i half = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        __m128i nan16 = pack_u16(_mm256_srli_epi32(nan, 16));
        _mm_storeu_si128((__m128i *)(void *)(out + 2 * i), _mm_blendv_epi8(half, quiet, nan16));
    }
    sonde_convert_scalar.encode_f16(src + i, out + 2 * i, n - i);
}

static void decode_bf16(const void *src, float *dst, int64_t n)
{
    const unsigned char *in = src;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(in + 2 * i));
        __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(bits));
    }
    sonde_convert_scalar.decode_bf16(in + 2 * i, dst + i, n - i);
}

static void decode_f16(const void *src, float *dst, int64_t n)
{
    const unsigned char *in = src;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(in + 2 * i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(half));
    }
    sonde_convert_scalar.decode_f16(in + 2 * i, dst + i, n - i);
}

const sonde_convert_table sonde_convert_avx2 = {
    .encode_bf16 = encode_bf16,
    .encode_f16 = encode_f16,
    .decode_bf16 = decode_bf16,
    .decode_f16 = decode_f16,
};
#else
typedef int sonde_convert_avx2_is_x86_only;
#endif
