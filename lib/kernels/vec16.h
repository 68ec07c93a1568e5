/*
 * vec16.h - sixteen floats, as one AVX-512 register, two AVX registers or a plain array, picked by
 * the instruction set that the including file is compiled for. Every operation is element-wise, so
 * the bits are the same in all three.
 */
#ifndef SONDE_KERNELS_VEC16_H
#define SONDE_KERNELS_VEC16_H

#include "core/compiler.h"
#include "kernels/dtype/dtype.h"
#include "kernels/functions.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
typedef __m512 vec16;
SONDE_INLINE vec16 v_load(const float *p) { return _mm512_loadu_ps(p); }
SONDE_INLINE void v_store(float *p, vec16 a) { _mm512_storeu_ps(p, a); }
SONDE_INLINE vec16 v_set(float x) { return _mm512_set1_ps(x); }
SONDE_INLINE vec16 v_add(vec16 a, vec16 b) { return _mm512_add_ps(a, b); }
SONDE_INLINE vec16 v_mul(vec16 a, vec16 b) { return _mm512_mul_ps(a, b); }
SONDE_INLINE vec16 v_fma(vec16 a, vec16 b, vec16 c) { return _mm512_fmadd_ps(a, b, c); }
SONDE_INLINE vec16 v_max(vec16 a, vec16 b) { return _mm512_max_ps(a, b); }
SONDE_INLINE vec16 v_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
SONDE_INLINE vec16 v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
/* Lanes [from, to) of a, the others of b. */
SONDE_INLINE vec16 v_keep(vec16 a, vec16 b, int64_t from, int64_t to)
{
    unsigned below = from <= 0 ? 0 : from >= 16 ? 0xFFFF : (1u << from) - 1;
    unsigned within = to <= 0 ? 0 : to >= 16 ? 0xFFFF : (1u << to) - 1;
    return _mm512_mask_blend_ps((__mmask16)(within & ~below), b, a);
}
/* The float with the bits of a, shifted left by 23, plus `add` in the exponent. */
SONDE_INLINE vec16 v_power(vec16 a, int32_t add)
{
    __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(a), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(add << 23)));
}
#elif defined(__AVX2__)
typedef struct vec16 {
    __m256 a, b;
} vec16;
SONDE_INLINE vec16 v_load(const float *p)
{
    return (vec16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
SONDE_INLINE void v_store(float *p, vec16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
SONDE_INLINE vec16 v_set(float x) { return (vec16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SONDE_INLINE vec16 v_add(vec16 x, vec16 y)
{
    return (vec16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
SONDE_INLINE vec16 v_mul(vec16 x, vec16 y)
{
    return (vec16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
SONDE_INLINE vec16 v_fma(vec16 x, vec16 y, vec16 z)
{
    return (vec16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
SONDE_INLINE vec16 v_max(vec16 x, vec16 y)
{
    return (vec16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
SONDE_INLINE __m256 bf16_half(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
SONDE_INLINE vec16 v_load_bf16(const uint16_t *p)
{
    return (vec16){bf16_half(p), bf16_half(p + 8)};
}
SONDE_INLINE vec16 v_load_f16(const uint16_t *p)
{
    return (vec16){_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 8)))};
}
SONDE_INLINE __m256 keep_half(__m256 a, __m256 b, __m256i lane, int64_t from, int64_t to)
{
    __m256i low = _mm256_set1_epi32((int)(from < 0 ? 0 : from > 16 ? 16 : from) - 1);
    __m256i high = _mm256_set1_epi32((int)(to < 0 ? 0 : to > 16 ? 16 : to));
    __m256i kept = _mm256_and_si256(_mm256_cmpgt_epi32(lane, low), _mm256_cmpgt_epi32(high, lane));
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(kept));
}
SONDE_INLINE vec16 v_keep(vec16 x, vec16 y, int64_t from, int64_t to)
{
    __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i second = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
    return (vec16){keep_half(x.a, y.a, first, from, to), keep_half(x.b, y.b, second, from, to)};
}
SONDE_INLINE __m256 power_half(__m256 a, int32_t add)
{
    __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(a), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(add << 23)));
}
SONDE_INLINE vec16 v_power(vec16 x, int32_t add)
{
    return (vec16){power_half(x.a, add), power_half(x.b, add)};
}
#else
typedef struct vec16 {
    float v[16];
} vec16;
#define V_EACH(expression)                                                                         \
    vec16 r;                                                                                       \
    for (int i = 0; i < 16; i++) r.v[i] = (expression);                                            \
    return r
SONDE_INLINE vec16 v_load(const float *p) { V_EACH(p[i]); }
SONDE_INLINE void v_store(float *p, vec16 a) { memcpy(p, a.v, sizeof a.v); }
SONDE_INLINE vec16 v_set(float x) { V_EACH(x); }
SONDE_INLINE vec16 v_add(vec16 a, vec16 b) { V_EACH(a.v[i] + b.v[i]); }
SONDE_INLINE vec16 v_mul(vec16 a, vec16 b) { V_EACH(a.v[i] * b.v[i]); }
SONDE_INLINE vec16 v_fma(vec16 a, vec16 b, vec16 c) { V_EACH(fmaf(a.v[i], b.v[i], c.v[i])); }
SONDE_INLINE vec16 v_max(vec16 a, vec16 b) { V_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
SONDE_INLINE vec16 v_load_bf16(const uint16_t *p) { V_EACH(sonde_bf16_to_f32(p[i])); }
SONDE_INLINE vec16 v_load_f16(const uint16_t *p) { V_EACH(sonde_f16_to_f32(p[i])); }
SONDE_INLINE vec16 v_keep(vec16 a, vec16 b, int64_t from, int64_t to)
{
    V_EACH(i >= from && i < to ? a.v[i] : b.v[i]);
}
SONDE_INLINE vec16 v_power(vec16 a, int32_t add)
{
    V_EACH(sonde_bits_float((sonde_float_bits(a.v[i]) + (uint32_t)add) << 23));
}
#undef V_EACH
#endif

/* Sum of 16 lanes by the fixed tree: lane i += lane i + 8, then + 4, + 2, + 1. */
SONDE_INLINE float v_tree(vec16 a)
{
    float lanes[16];
    v_store(lanes, a);
    for (int half = 8; half >= 1; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

/* sonde_exp_f32 of x <= 0 (or NaN), the same bits: 2^n is one factor of n + 64, and 2^-64 rounds where
 * the result is subnormal. */
SONDE_INLINE vec16 v_exp_negative(vec16 x)
{
    vec16 c = v_max(v_set(-104.0f), x);
    vec16 shifted = v_fma(c, v_set(1.44269504f), v_set(12582912.0f));
    vec16 n = v_add(shifted, v_set(-12582912.0f));
    vec16 r = v_fma(n, v_set(-0.693359375f), c);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vec16 p = v_fma(v_set(1.39336439e-3f), r, v_set(8.36317521e-3f));
    p = v_fma(p, r, v_set(4.16664667e-2f));
    p = v_fma(p, r, v_set(1.66665763e-1f));
    p = v_fma(p, r, v_set(0.5f));
    p = v_add(v_fma(p, v_mul(r, r), r), v_set(1.0f));
    return v_mul(v_mul(p, v_power(shifted, 127 + 64)), v_set(0x1p-64f));
}

#endif
