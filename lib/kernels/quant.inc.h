/*
 * quant.inc.h - products and fp32 slices of quantised panels, included once per vector level with
 * QUANT_FEW and QUANT_SLICE defined. Exact mode: what ref/linear.c gives for the decoded weights.
 * A word of a panel holds four or eight neighbouring k of one output; each is shifted into place,
 * made a float and multiplied with its scale, for 16 outputs at a time.
 */
#include "quant.h"
#include "vec16.h"

#define AHEAD 2048 /* bytes of a panel fetched before they are needed */

/* Sixteen words. */
#if defined(__AVX512F__)
typedef __m512i words16;
SONDE_INLINE words16 w_load(const char *p) { return _mm512_loadu_si512((const void *)p); }
SONDE_INLINE words16 w_left(words16 x, int n) { return _mm512_sllv_epi32(x, _mm512_set1_epi32(n)); }
SONDE_INLINE words16 w_right(words16 x, int n) { return _mm512_srlv_epi32(x, _mm512_set1_epi32(n)); }
SONDE_INLINE words16 w_top_byte(words16 x) { return _mm512_srai_epi32(x, 24); }
SONDE_INLINE words16 w_nibble(words16 x) { return _mm512_and_si512(x, _mm512_set1_epi32(15)); }
SONDE_INLINE words16 w_minus(words16 x, int n) { return _mm512_sub_epi32(x, _mm512_set1_epi32(n)); }
SONDE_INLINE vec16 w_float(words16 x) { return _mm512_cvtepi32_ps(x); }
#else
typedef struct words16 {
    __m256i a, b;
} words16;
SONDE_INLINE words16 w_load(const char *p)
{
    return (words16){_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 32))};
}
SONDE_INLINE words16 w_left(words16 x, int n)
{
    return (words16){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
SONDE_INLINE words16 w_right(words16 x, int n)
{
    return (words16){_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}
SONDE_INLINE words16 w_top_byte(words16 x)
{
    return (words16){_mm256_srai_epi32(x.a, 24), _mm256_srai_epi32(x.b, 24)};
}
SONDE_INLINE words16 w_nibble(words16 x)
{
    __m256i mask = _mm256_set1_epi32(15);
    return (words16){_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
SONDE_INLINE words16 w_minus(words16 x, int n)
{
    __m256i zero = _mm256_set1_epi32(n);
    return (words16){_mm256_sub_epi32(x.a, zero), _mm256_sub_epi32(x.b, zero)};
}
SONDE_INLINE vec16 w_float(words16 x)
{
    return (vec16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
#endif

/* `f` is a constant in every caller: what it says costs nothing. */
SONDE_INLINE vec16 load_scale(const char *scales, int64_t lane, const sonde_quant_form f)
{
    if (f.wide) return v_load((const float *)(const void *)scales + lane);
    return v_load_f16((const uint16_t *)(const void *)scales + lane);
}

/* The integers of the i-th k of a word. */
SONDE_INLINE vec16 integers(words16 word, int i, const sonde_quant_form f)
{
    if (f.bits == 8) return w_float(w_top_byte(i == 3 ? word : w_left(word, 24 - 8 * i)));
    int shift = 8 * (i % 4) + 4 * (i / 4);
    words16 q = shift ? w_right(word, shift) : word;
    if (shift != 28) q = w_nibble(q);
    return w_float(f.zero ? w_minus(q, f.zero) : q);
}

/* A group's scales and lows for 16 outputs. */
typedef struct group_head {
    vec16 scale, low;
} group_head;

SONDE_INLINE group_head head_of(const char *group, int half, int64_t lane, const sonde_quant_form f)
{
    int64_t bytes = SONDE_PANEL * (f.wide ? 4 : 2);
    group_head h = {load_scale(group + half * bytes, lane, f), v_set(0.0f)};
    if (f.low) h.low = load_scale(group + bytes * (f.halves ? 2 : 1), lane, f);
    return h;
}

/* The product has at most 24 bits, so that one rounding gives what two give. */
SONDE_INLINE vec16 value_of(group_head h, vec16 q, const sonde_quant_form f)
{
    return f.low ? v_fma(h.scale, q, h.low) : v_mul(h.scale, q);
}

/* `wide` times 16 outputs from `column`. */
SONDE_INLINE void few_rows(const sonde_quant_few *t, int64_t column, const int rows, const int wide,
                           const sonde_quant_form f)
{
    vec16 acc[SONDE_QUANT_FEW][2];
    SONDE_UNROLL
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = v_set(0.0f);
    const char *group = sonde_quant_group_at(t->w, t->panel, t->begin);
    const int per = f.bits == 4 ? 8 : 4, halves = f.halves ? 2 : 1, words = 32 / per / halves;
    for (int64_t k = t->begin; k < t->end; group += sonde_quant_group_bytes(&f)) {
        const char *at = group + sonde_quant_head_bytes(&f) + 4 * column;
        for (int half = 0; half < halves; half++) {
            group_head head[2] = {head_of(group, half, column, f), head_of(group, half, column, f)};
            if (wide > 1) head[1] = head_of(group, half, column + 16, f);
            for (int i = 0; i < words; i++, k += per, at += 4 * SONDE_PANEL) {
                words16 word[2] = {w_load(at), w_load(at + (wide > 1 ? 64 : 0))};
                SONDE_PREFETCH(at + AHEAD);
                if (wide > 1) SONDE_PREFETCH(at + AHEAD + 64);
                SONDE_UNROLL
                for (int j = 0; j < per; j++) {
                    vec16 w0 = value_of(head[0], integers(word[0], j, f), f), w1 = w0;
                    if (wide > 1) w1 = value_of(head[1], integers(word[1], j, f), f);
                    SONDE_UNROLL
                    for (int r = 0; r < rows; r++) {
                        vec16 x = v_set(t->x[r][k + j]);
                        acc[r][0] = v_fma(x, w0, acc[r][0]);
                        if (wide > 1) acc[r][1] = v_fma(x, w1, acc[r][1]);
                    }
                }
            }
        }
    }
    SONDE_UNROLL
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < wide; j++) {
            float *total = t->totals[r] + column + 16 * j;
            v_store(total, t->begin == 0 ? acc[r][j] : v_add(v_load(total), acc[r][j]));
        }
}

SONDE_INLINE void few_of_form(const sonde_quant_few *t, const sonde_quant_form f)
{
    switch (t->rows) {
    case 1: few_rows(t, 0, 1, 2, f); break;
    case 2:
        few_rows(t, 0, 2, 1, f);
        few_rows(t, 16, 2, 1, f);
        break;
    case 3:
        few_rows(t, 0, 3, 1, f);
        few_rows(t, 16, 3, 1, f);
        break;
    default:
        few_rows(t, 0, 4, 1, f);
        few_rows(t, 16, 4, 1, f);
        break;
    }
}

SONDE_INLINE void slice_of_form(const char *group, int64_t n, float *slice, const sonde_quant_form f)
{
    const int per = f.bits == 4 ? 8 : 4, halves = f.halves ? 2 : 1, words = 32 / per / halves;
    for (int64_t k = 0; k < n; k += 32, group += sonde_quant_group_bytes(&f))
        for (int64_t column = 0; column < SONDE_PANEL; column += 16) {
            const char *at = group + sonde_quant_head_bytes(&f) + 4 * column;
            float *to = slice + k * SONDE_PANEL + column;
            for (int half = 0; half < halves; half++) {
                group_head head = head_of(group, half, column, f);
                for (int i = 0; i < words; i++, at += 4 * SONDE_PANEL) {
                    words16 word = w_load(at);
                    SONDE_UNROLL
                    for (int j = 0; j < per; j++, to += SONDE_PANEL)
                        v_store(to, value_of(head, integers(word, j, f), f));
                }
            }
        }
}

void QUANT_FEW(const sonde_quant_few *few)
{
    SONDE_EACH_QUANT_FORM(few->w->dtype, few_of_form, few)
}

void QUANT_SLICE(const sonde_packed *w, int64_t panel, int64_t begin, int64_t end, float *slice)
{
    SONDE_EACH_QUANT_FORM(w->dtype, slice_of_form, sonde_quant_group_at(w, panel, begin), end - begin, slice)
}
