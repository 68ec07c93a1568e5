/*
 * quant_int_avx2.c - `--mode int` with AVX2: digits of x against the stored integers.
 *
 * Nibbles: products of 8-bit digits and 0..15 are summed in pairs by vpmaddubsw; the eight sums of a
 * group's 32 k in one 16-bit lane stay below 8 * 2 * 15 * 128 = 30720. Bytes: widened to 16 bits, even
 * and odd k apart, vpmaddwd with 12-bit digits; sums of a group stay below 2^24. Either way the exact
 * sum of a group is  high * 2^n + low  with both parts exact in fp32, so that one fused multiply-add
 * rounds it once.
 *
 * Tiles are 16 outputs by a few rows whose sums fill the registers; with more rows than a tile the
 * integers of a slice are unpacked into scratch once.
 */
#include "kernels/quant_int.h"

#include "core/compiler.h"

#include <immintrin.h>
#include <string.h>

#define NIBBLE_ROWS 2
#define BYTE_ROWS 3
#define AHEAD 2048     /* bytes of a panel fetched before they are needed */
#define HEAD_FLOATS 96 /* of an opened group: two rows of scales, one of lows */

/* ---- rows of x ------------------------------------------------------------------------------------- */

/* Four of these are a group's integers, k in order. */
typedef struct group_x {
    __m256i x[4];
} group_x;

SONDE_INLINE int largest_of(const __m256 *x)
{
    __m256i mask = _mm256_set1_epi32(0x7FFFFFFF), most = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++)
        most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_castps_si256(x[i]), mask));
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xB1));
    return _mm_cvtsi128_si32(m);
}

static float power_of_two(int biased)
{
    uint32_t bits = (uint32_t)biased << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

SONDE_INLINE int sum_of(__m256i x)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

/* Digits of 8 bits: x + 0x808080 has the bytes digit + 128. */
SONDE_INLINE void store_nibbles(const group_x *g, char *digits, sonde_int_group *group)
{
    const __m256i order = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4,
                                           8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i bias = _mm256_set1_epi32(0x808080), eight = _mm256_set1_epi8(8);
    __m256i sums = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        __m256i d = _mm256_xor_si256(_mm256_add_epi32(g->x[i], bias), bias);
        d = _mm256_shuffle_epi8(d, order);
        _mm256_storeu_si256((void *)(digits + 32 * i), d);
        sums = _mm256_sub_epi16(sums, _mm256_maddubs_epi16(eight, d));
    }
    __m128i both = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    _mm_storeu_si128((void *)group->begin, both);
}

/* Digits of 12 bits, the low one from -2048 to 2047. */
SONDE_INLINE void store_bytes(const group_x *g, char *digits)
{
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1,
                                           4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    __m256i half = _mm256_set1_epi32(2048);
    for (int i = 0; i < 4; i++) {
        __m256i high = _mm256_srai_epi32(_mm256_add_epi32(g->x[i], half), 12);
        __m256i low = _mm256_sub_epi32(g->x[i], _mm256_slli_epi32(high, 12));
        __m256i d = _mm256_shuffle_epi8(_mm256_packs_epi32(high, low), order);
        _mm256_storeu_si256((void *)(digits + 32 * i), d);
    }
}

static bool prepare(const float *x, int64_t cols, char *nibbles, char *bytes)
{
    int64_t n = 0, sum = 0, most = 0;
    char *rows[2] = {nibbles, bytes};
    for (int64_t k = 0; k < cols; k += SONDE_QUANT_GROUP) {
        __m256 values[4];
        for (int i = 0; i < 4; i++) values[i] = _mm256_loadu_ps(x + k + 8 * i);
        int largest = largest_of(values);
        int e = SONDE_MAX((int)(((uint32_t)largest + 0x10101u) >> 23), 23);
        if (largest != 0) {
            n++;
            sum += e;
            most = SONDE_MAX(most, e);
        }
        e = SONDE_MIN(e, 254); /* of a row that is left to exact mode */
        __m256 inverse = _mm256_set1_ps(power_of_two(276 - e));
        group_x g;
        for (int i = 0; i < 4; i++) g.x[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
        __m256i all = _mm256_add_epi32(_mm256_add_epi32(g.x[0], g.x[1]), _mm256_add_epi32(g.x[2], g.x[3]));
        sonde_int_group group = {.scale = power_of_two(e - 22)};
        group.sum = (float)sum_of(all) * group.scale;
        if (nibbles) store_nibbles(&g, nibbles + 4 * k, &group);
        if (bytes) store_bytes(&g, bytes + 4 * k);
        for (int i = 0; i < 2; i++)
            if (rows[i]) memcpy(rows[i] + 4 * cols + k, &group, sizeof group);
    }
    return most >= 255 || n * most - sum > SONDE_INT_MASSIVE * n;
}

/* ---- weights of a group, for 16 outputs ------------------------------------------------------------- */

SONDE_INLINE __m256i load(const char *p)
{
    return _mm256_loadu_si256((const void *)p);
}

SONDE_INLINE void load_scales(const char *p, bool wide, int64_t lane, __m256 *out)
{
    for (int i = 0; i < 2; i++, lane += 8)
        out[i] = wide ? _mm256_loadu_ps((const float *)(const void *)p + lane)
                      : _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 2 * lane)));
}

/* Two scales and the low of a packed group, [2]: 8 outputs each. */
typedef struct head16 {
    __m256 scale[2][2], low[2];
} head16;

SONDE_INLINE head16 head_of(const char *group, int64_t column, const sonde_quant_form f, bool opened)
{
    head16 h;
    int64_t bytes = SONDE_PANEL * (opened || f.wide ? 4 : 2);
    load_scales(group, opened || f.wide, column, h.scale[0]);
    if (f.halves) load_scales(group + bytes, opened || f.wide, column, h.scale[1]);
    int64_t at = opened ? 2 * bytes : bytes * (f.halves ? 2 : 1);
    if (f.low) load_scales(group + at, opened || f.wide, column, h.low);
    return h;
}

static void open_head(const char *group, const sonde_quant_form *f, float *to)
{
    for (int64_t column = 0; column < SONDE_PANEL; column += 16) {
        head16 h = head_of(group, column, *f, false);
        for (int i = 0; i < 2; i++) {
            _mm256_storeu_ps(to + column + 8 * i, h.scale[0][i]);
            if (f->halves) _mm256_storeu_ps(to + 32 + column + 8 * i, h.scale[1][i]);
            if (f->low) _mm256_storeu_ps(to + 64 + column + 8 * i, h.low[i]);
        }
    }
}

/* ---- nibbles ----------------------------------------------------------------------------------------- */

/* Sums of a row: digit, 8 outputs of 16 bits twice. */
typedef struct nibble_sums {
    __m256i digit[3][2];
} nibble_sums;

/* Four k: words of 16 outputs against the digits at `x`. */
SONDE_INLINE void add_nibbles(nibble_sums *s, const char *const *x, int64_t at, const __m256i *w,
                              const int rows)
{
    SONDE_UNROLL
    for (int r = 0; r < rows; r++)
        SONDE_UNROLL
        for (int d = 0; d < 3; d++) {
            int32_t four;
            memcpy(&four, x[r] + at + 4 * d, sizeof four);
            __m256i digits = _mm256_set1_epi32(four);
            SONDE_IN_ORDER(digits);
            for (int i = 0; i < 2; i++) {
                s[r].digit[d][i] = _mm256_add_epi16(s[r].digit[d][i], _mm256_maddubs_epi16(w[i], digits));
                SONDE_IN_ORDER(s[r].digit[d][i]);
            }
        }
}

/* fl32 of the sum of a group. */
SONDE_INLINE __m256 nibble_value(const nibble_sums *s, int i)
{
    __m256i one = _mm256_set1_epi16(1);
    __m256i low = _mm256_add_epi32(_mm256_madd_epi16(s->digit[1][i], _mm256_set1_epi16(256)),
                                   _mm256_madd_epi16(s->digit[0][i], one));
    __m256i high = _mm256_madd_epi16(s->digit[2][i], one);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), _mm256_set1_ps(65536.0f), _mm256_cvtepi32_ps(low));
}

typedef struct chains {
    __m256 sum[2];
} chains;

SONDE_INLINE void add_group(chains *c, const __m256 *value, const sonde_int_group *g,
                            const __m256 *scale, const __m256 *low)
{
    for (int i = 0; i < 2; i++) {
        c->sum[i] = _mm256_fmadd_ps(scale[i], _mm256_mul_ps(value[i], _mm256_set1_ps(g->scale)), c->sum[i]);
        if (low) c->sum[i] = _mm256_fmadd_ps(low[i], _mm256_set1_ps(g->sum), c->sum[i]);
    }
}

SONDE_INLINE void store_totals(const sonde_int_sweep *t, const chains *c, int64_t row, int64_t column,
                               const int rows)
{
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 2; i++) {
            float *total = t->totals[row + r] + column + 8 * i;
            __m256 sum = c[r].sum[i];
            if (t->first_group > 0) sum = _mm256_add_ps(_mm256_loadu_ps(total), sum);
            _mm256_storeu_ps(total, sum);
        }
}

/* Where digits and groups of rows from `row` on begin. */
typedef struct row_x {
    const char *digits[BYTE_ROWS];
    const sonde_int_group *groups[BYTE_ROWS];
} row_x;

SONDE_INLINE row_x rows_at(const sonde_int_sweep *t, int64_t row, const int rows)
{
    row_x x;
    for (int r = 0; r < rows; r++) {
        const char *base = t->x + (row + r) * 5 * t->cols;
        x.digits[r] = base + 128 * t->first_group;
        x.groups[r] = (const sonde_int_group *)(const void *)(base + 4 * t->cols) + t->first_group;
    }
    return x;
}

/* Sums of one group for 16 outputs; `words` are those of its first k. */
SONDE_INLINE void sum_nibbles(nibble_sums *s, const row_x *x, int64_t g, const char *words,
                              const int rows, const bool opened, const sonde_quant_form f)
{
    const __m256i mask = _mm256_set1_epi8(15);
    int64_t at = 128 * g;
    for (int r = 0; r < rows; r++)
        for (int d = 0; d < 3; d++) {
            int32_t begin;
            memcpy(&begin, x->groups[r][g].begin + 2 * d, sizeof begin);
            s[r].digit[d][0] = s[r].digit[d][1] = _mm256_set1_epi32(f.zero ? begin : 0);
        }
    SONDE_NO_UNROLL
    for (int i = 0; opened && i < 8; i++, at += 16, words += 128) {
        __m256i w[2] = {load(words), load(words + 32)};
        add_nibbles(s, x->digits, at, w, rows);
    }
    SONDE_NO_UNROLL
    for (int i = 0; !opened && i < 4; i++, at += 32, words += 128) {
        __m256i both[2] = {load(words), load(words + 32)}, w[2];
        SONDE_PREFETCH(words + AHEAD);
        for (int j = 0; j < 2; j++) w[j] = _mm256_and_si256(both[j], mask);
        add_nibbles(s, x->digits, at, w, rows);
        for (int j = 0; j < 2; j++) w[j] = _mm256_and_si256(_mm256_srli_epi16(both[j], 4), mask);
        add_nibbles(s, x->digits, at + 16, w, rows);
    }
}

/* Rows by `columns` times 16 outputs: all 32 together read packed panels in order. */
SONDE_INLINE void nibble_tile(const sonde_int_sweep *t, const char *group, int64_t row, int64_t column,
                              const int rows, const int columns, const bool opened,
                              const sonde_quant_form f)
{
    int64_t head = opened ? HEAD_FLOATS * 4 : sonde_quant_head_bytes(&f);
    int64_t bytes = opened ? head + 1024 : sonde_quant_group_bytes(&f);
    row_x x = rows_at(t, row, rows);
    chains c[2][NIBBLE_ROWS];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 2; i++) c[i][r].sum[0] = c[i][r].sum[1] = _mm256_setzero_ps();
    for (int64_t g = 0; g < t->n_groups; g++, group += bytes)
        for (int i = 0; i < columns; i++) {
            nibble_sums s[NIBBLE_ROWS];
            int64_t lane = column + 16 * i;
            sum_nibbles(s, &x, g, group + head + 4 * lane, rows, opened, f);
            head16 h = head_of(group, lane, f, opened);
            for (int r = 0; r < rows; r++) {
                __m256 value[2] = {nibble_value(&s[r], 0), nibble_value(&s[r], 1)};
                add_group(&c[i][r], value, &x.groups[r][g], h.scale[0], f.low ? h.low : NULL);
            }
        }
    for (int i = 0; i < columns; i++) store_totals(t, c[i], row, column + 16 * i, rows);
}

static void open_nibbles(const sonde_int_sweep *t, char *slice)
{
    const __m256i mask = _mm256_set1_epi8(15);
    const char *group = t->groups;
    for (int64_t g = 0; g < t->n_groups; g++, group += sonde_quant_group_bytes(t->form)) {
        open_head(group, t->form, (float *)(void *)slice);
        const char *words = group + sonde_quant_head_bytes(t->form);
        slice += HEAD_FLOATS * 4;
        for (int i = 0; i < 4; i++, slice += 256)
            for (int j = 0; j < 4; j++, words += 32) {
                __m256i w = load(words);
                _mm256_storeu_si256((void *)(slice + 32 * j), _mm256_and_si256(w, mask));
                w = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
                _mm256_storeu_si256((void *)(slice + 128 + 32 * j), w);
            }
    }
}

/* ---- bytes ------------------------------------------------------------------------------------------- */

/* Sums of a row: high and low digits, 8 outputs of 32 bits twice. */
typedef struct byte_sums {
    __m256i digit[2][2];
} byte_sums;

/* Two k (`odd` 0: the first and third of four). */
SONDE_INLINE void add_bytes(byte_sums *s, const char *const *x, int64_t at, const __m256i *w,
                            const int rows)
{
    SONDE_UNROLL
    for (int r = 0; r < rows; r++)
        SONDE_UNROLL
        for (int d = 0; d < 2; d++) {
            int32_t two;
            memcpy(&two, x[r] + at + 8 * d, sizeof two);
            __m256i digits = _mm256_set1_epi32(two);
            SONDE_IN_ORDER(digits);
            for (int i = 0; i < 2; i++) {
                s[r].digit[d][i] = _mm256_add_epi32(s[r].digit[d][i], _mm256_madd_epi16(w[i], digits));
                SONDE_IN_ORDER(s[r].digit[d][i]);
            }
        }
}

SONDE_INLINE __m256i even_bytes(__m256i w)
{
    return _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
}

SONDE_INLINE __m256i odd_bytes(__m256i w)
{
    return _mm256_srai_epi16(w, 8);
}

SONDE_INLINE __m256 byte_value(const byte_sums *s, int i)
{
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(s->digit[0][i]), _mm256_set1_ps(4096.0f),
                           _mm256_cvtepi32_ps(s->digit[1][i]));
}

/* Sums of a group, or of half of one: `words` are those of its first k, digits begin at `at`. */
SONDE_INLINE void sum_bytes(byte_sums *s, const row_x *x, int64_t at, const char *words, const int rows,
                            const int fours, const bool opened)
{
    for (int r = 0; r < rows; r++)
        for (int d = 0; d < 2; d++) s[r].digit[d][0] = s[r].digit[d][1] = _mm256_setzero_si256();
    SONDE_NO_UNROLL
    for (int i = 0; i < fours; i++, at += 16, words += opened ? 256 : 128) {
        __m256i w[2] = {load(words), load(words + 32)}, odd[2];
        if (!opened) SONDE_PREFETCH(words + AHEAD);
        for (int j = 0; j < 2; j++) {
            odd[j] = opened ? load(words + 128 + 32 * j) : odd_bytes(w[j]);
            if (!opened) w[j] = even_bytes(w[j]);
        }
        add_bytes(s, x->digits, at, w, rows);
        add_bytes(s, x->digits, at + 4, odd, rows);
    }
}

SONDE_INLINE void byte_tile(const sonde_int_sweep *t, const char *group, int64_t row, int64_t column,
                            const int rows, const int columns, const bool opened,
                            const sonde_quant_form f)
{
    int64_t head = opened ? HEAD_FLOATS * 4 : sonde_quant_head_bytes(&f);
    int64_t bytes = opened ? head + 2048 : sonde_quant_group_bytes(&f);
    const int halves = f.halves ? 2 : 1, fours = 8 / halves;
    row_x x = rows_at(t, row, rows);
    chains c[2][BYTE_ROWS];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 2; i++) c[i][r].sum[0] = c[i][r].sum[1] = _mm256_setzero_ps();
    for (int64_t g = 0; g < t->n_groups; g++, group += bytes)
        for (int i = 0; i < columns; i++) {
            int64_t lane = column + 16 * i;
            head16 h = head_of(group, lane, f, opened);
            for (int half = 0; half < halves; half++) {
                byte_sums s[BYTE_ROWS];
                const char *words = group + head + 4 * lane + half * fours * (opened ? 256 : 128);
                sum_bytes(s, &x, 128 * g + half * 16 * fours, words, rows, fours, opened);
                bool low = f.low && half + 1 == halves;
                for (int r = 0; r < rows; r++) {
                    __m256 value[2] = {byte_value(&s[r], 0), byte_value(&s[r], 1)};
                    add_group(&c[i][r], value, &x.groups[r][g], h.scale[half], low ? h.low : NULL);
                }
            }
        }
    for (int i = 0; i < columns; i++) store_totals(t, c[i], row, column + 16 * i, rows);
}

static void open_bytes(const sonde_int_sweep *t, char *slice)
{
    const char *group = t->groups;
    for (int64_t g = 0; g < t->n_groups; g++, group += sonde_quant_group_bytes(t->form)) {
        open_head(group, t->form, (float *)(void *)slice);
        const char *words = group + sonde_quant_head_bytes(t->form);
        slice += HEAD_FLOATS * 4;
        for (int i = 0; i < 8; i++, slice += 256)
            for (int j = 0; j < 4; j++, words += 32) {
                __m256i w = load(words);
                _mm256_storeu_si256((void *)(slice + 32 * j), even_bytes(w));
                _mm256_storeu_si256((void *)(slice + 128 + 32 * j), odd_bytes(w));
            }
    }
}

/* ---- all rows of a slice ------------------------------------------------------------------------------ */

/* Rows from `row` on that one tile takes. */
SONDE_INLINE void one_tile(const sonde_int_sweep *t, const char *group, int64_t row, int64_t column,
                           int64_t rows, const int columns, const bool opened, const sonde_quant_form f)
{
    if (f.bits == 4) {
        if (rows > 1) nibble_tile(t, group, row, column, 2, columns, opened, f);
        else nibble_tile(t, group, row, column, 1, columns, opened, f);
        return;
    }
    if (rows > 2) byte_tile(t, group, row, column, 3, columns, opened, f);
    else if (rows > 1) byte_tile(t, group, row, column, 2, columns, opened, f);
    else byte_tile(t, group, row, column, 1, columns, opened, f);
}

SONDE_INLINE void sweep_form(const sonde_int_sweep *t, const sonde_quant_form f)
{
    const int64_t most = f.bits == 4 ? NIBBLE_ROWS : BYTE_ROWS;
    if (t->rows <= most) {
        one_tile(t, t->groups, 0, 0, t->rows, 2, false, f);
        return;
    }
    if (f.bits == 4) open_nibbles(t, t->slice);
    else open_bytes(t, t->slice);
    for (int64_t column = 0; column < SONDE_PANEL; column += 16)
        for (int64_t row = 0; row < t->rows; row += most)
            one_tile(t, t->slice, row, column, t->rows - row, 1, true, f);
}

static void sweep(const sonde_int_sweep *t)
{
    SONDE_EACH_QUANT_FORM(t->form->dtype, sweep_form, t)
}

static const sonde_int_level avx2 = {sonde_linear_avx2, prepare, sweep};
static const sonde_int_level avx512 = {sonde_linear_avx512, prepare, sweep};

void sonde_int_prepare_avx2(const sonde_linear_args *args, int64_t begin, int64_t end, void *prepared)
{
    sonde_int_prepare(&avx2, args, begin, end, prepared);
}

void sonde_linear_int_avx2(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    sonde_int_linear(&avx2, args, begin, end, scratch);
}

/* The integers have no wider version; what is left to exact mode has. */
void sonde_linear_int_avx512(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    sonde_int_linear(&avx512, args, begin, end, scratch);
}
