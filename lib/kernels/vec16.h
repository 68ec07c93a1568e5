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

#endif
