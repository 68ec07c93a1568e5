/*
 * The cache and attention: every level gives the bits of kernels.md 4 and 6, written out here over
 * plain arrays of keys and values without pages or tiles, whatever the batch is cut into; phases on
 * their own give what they give together; error against double.
 */
#include "kernels/functions.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST_SPANS 3

/* Spans are {position of the first row, rows}; each is a sequence of its own. */
typedef struct attend_case {
    sonde_dtype dtype;
    int64_t heads, kv_heads, head_dim, value_dim;
    sonde_mask_kind mask;
    int64_t window;
    double softcap;
    bool sinks;
    int64_t spans[MOST_SPANS][2];
} attend_case;

typedef struct fixture {
    attend_case c;
    int64_t rows, n_spans, ragged_total;
    sonde_kv_layout layout;
    sonde_span spans[MOST_SPANS];
    int64_t ragged[64];
    float *keys[MOST_SPANS], *values[MOST_SPANS]; /* [positions][kv][d], as they enter the cache */
    float *q, *sinks;
    int64_t q_stride, z_stride;
    float *scores, *pattern, *z; /* expected; z [rows][z_stride] */
} fixture;

static float *floats(int64_t n)
{
    float *block = sonde_alloc((size_t)n, sizeof *block);
    assert_non_null(block);
    return block;
}

/* kernels.md 6 through lib/kernels/dtype, which has tests of its own. */
static float as_cached(sonde_dtype dtype, float x)
{
    if (dtype == SONDE_DTYPE_BF16) return sonde_bf16_to_f32(sonde_f32_to_bf16(x));
    return dtype == SONDE_DTYPE_F16 ? sonde_f16_to_f32(sonde_f32_to_f16(x)) : x;
}

/* ---- the rule ----------------------------------------------------------------------------------------- */

static bool visible(const attend_case *c, int64_t query, int64_t key)
{
    if (key > query) return false;
    if (c->mask == SONDE_MASK_SLIDING) return key > query - c->window;
    if (c->mask == SONDE_MASK_CHUNKED) return key / c->window == query / c->window;
    return true;
}

static float score_by_rule(const fixture *f, int64_t span, const float *q, int64_t kv, int64_t key)
{
    const attend_case *c = &f->c;
    float s = 0.0f, cap = (float)c->softcap;
    const float *k = f->keys[span] + (key * c->kv_heads + kv) * c->head_dim;
    for (int64_t d = 0; d < c->head_dim; d++) s = fmaf(q[d], as_cached(c->dtype, k[d]), s);
    s = s * (float)(1.0 / sqrt((double)c->head_dim));
    return c->softcap != 0.0 ? cap * sonde_tanh_f32(s / cap) : s;
}

static void softmax_by_rule(const fixture *f, int64_t first, int64_t n, int64_t head,
                            const float *s, float *p)
{
    float m = s[0], lanes[16] = {0};
    for (int64_t i = 1; i < n; i++) m = fmaxf(m, s[i]);
    if (f->c.sinks) m = fmaxf(m, f->sinks[head]);
    for (int64_t i = 0; i < n; i++) {
        p[i] = sonde_exp_f32(s[i] - m);
        lanes[(first + i) % 16] = lanes[(first + i) % 16] + p[i];
    }
    float l = sum_by_rule(lanes);
    if (f->c.sinks) l = l + sonde_exp_f32(f->sinks[head] - m);
    for (int64_t i = 0; i < n; i++) p[i] = p[i] * (1.0f / l);
}

/* One dim of z: chains inside blocks of 256 positions, then their sums in order. */
static float value_by_rule(const fixture *f, int64_t span, int64_t first, int64_t n, int64_t kv,
                           int64_t d, const float *p)
{
    const attend_case *c = &f->c;
    float total = 0.0f, chain = 0.0f;
    bool any = false;
    for (int64_t i = 0; i < n; i++) {
        float v = f->values[span][((first + i) * c->kv_heads + kv) * c->value_dim + d];
        chain = fmaf(p[i], as_cached(c->dtype, v), chain);
        if ((first + i + 1) % 256 != 0 && i + 1 < n) continue;
        total = any ? total + chain : chain;
        any = true;
        chain = 0.0f;
    }
    return total;
}

static void row_by_rule(fixture *f, int64_t span, int64_t r)
{
    const attend_case *c = &f->c;
    int64_t m = f->spans[span].row + r, query = f->spans[span].position + r, first = 0;
    while (!visible(c, query, first)) first++;
    int64_t n = query + 1 - first;
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t kv = h / (c->heads / c->kv_heads), at = f->ragged[m] + h * n;
        const float *q = f->q + m * f->q_stride + h * c->head_dim;
        for (int64_t i = 0; i < n; i++) f->scores[at + i] = score_by_rule(f, span, q, kv, first + i);
        softmax_by_rule(f, first, n, h, f->scores + at, f->pattern + at);
        for (int64_t d = 0; d < c->value_dim; d++)
            f->z[m * f->z_stride + h * c->value_dim + d] =
                value_by_rule(f, span, first, n, kv, d, f->pattern + at);
    }
}

/* ---- a case -------------------------------------------------------------------------------------------- */

static int64_t positions_of(const fixture *f, int64_t span)
{
    return f->spans[span].position + f->spans[span].n_rows;
}

static void init_spans(fixture *f, test_random *random)
{
    const attend_case *c = &f->c;
    for (int64_t i = 0; i < MOST_SPANS && c->spans[i][1] > 0; i++) {
        f->spans[i] = (sonde_span){.row = f->rows, .n_rows = c->spans[i][1], .position = c->spans[i][0]};
        f->rows += c->spans[i][1];
        int64_t n = positions_of(f, i) * c->kv_heads;
        f->keys[i] = floats(n * c->head_dim);
        f->values[i] = floats(n * c->value_dim);
        test_fill_normal(random, f->keys[i], n * c->head_dim);
        test_fill_normal(random, f->values[i], n * c->value_dim);
        f->n_spans++;
    }
}

static void init_ragged(fixture *f)
{
    for (int64_t i = 0, m = 0; i < f->n_spans; i++)
        for (int64_t r = 0; r < f->spans[i].n_rows; r++, m++) {
            int64_t query = f->spans[i].position + r, n = 0;
            for (int64_t key = 0; key <= query; key++) n += visible(&f->c, query, key);
            f->ragged[m + 1] = f->ragged[m] + f->c.heads * n;
        }
    f->ragged_total = f->ragged[f->rows];
}

static void fixture_init(fixture *f, const attend_case *c, test_random *random)
{
    *f = (fixture){.c = *c, .layout = {c->dtype, c->kv_heads, c->head_dim, c->value_dim}};
    init_spans(f, random);
    assert_true(f->rows < (int64_t)SONDE_COUNT(f->ragged));
    init_ragged(f);
    f->q_stride = c->heads * c->head_dim + 3;
    f->z_stride = c->heads * c->value_dim + 2;
    f->q = floats(f->rows * f->q_stride);
    f->sinks = floats(c->heads);
    f->scores = floats(f->ragged_total);
    f->pattern = floats(f->ragged_total);
    f->z = floats(f->rows * f->z_stride);
    test_fill_normal(random, f->q, f->rows * f->q_stride);
    test_fill_normal(random, f->sinks, c->heads);
    for (int64_t i = 0; i < f->rows * f->q_stride; i++) f->q[i] *= 3.0f; /* sharp patterns */
    f->sinks[0] = 9.0f; /* above every score of its head */
    for (int64_t i = 0; i < f->n_spans; i++)
        for (int64_t r = 0; r < f->spans[i].n_rows; r++) row_by_rule(f, i, r);
}

static void fixture_reset(fixture *f)
{
    for (int64_t i = 0; i < f->n_spans; i++) {
        sonde_free(f->keys[i]);
        sonde_free(f->values[i]);
    }
    float *blocks[] = {f->q, f->sinks, f->scores, f->pattern, f->z};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

/* Pages of a span, written by the backend's own cache step in pieces of `piece` rows. What no
 * position was written to holds NaN. */
static void **make_pages(const fixture *f, const sonde_backend *backend, int64_t span, int64_t piece)
{
    const attend_case *c = &f->c;
    int64_t n = positions_of(f, span), n_pages = (n + SONDE_PAGE_POSITIONS - 1) / SONDE_PAGE_POSITIONS;
    void **pages = sonde_alloc((size_t)n_pages, sizeof *pages);
    assert_non_null(pages);
    for (int64_t p = 0; p < n_pages; p++) {
        pages[p] = sonde_alloc_raw(1, sonde_kv_page_bytes(&f->layout));
        assert_non_null(pages[p]);
        memset(pages[p], 0xFF, sonde_kv_page_bytes(&f->layout));
    }
    for (int64_t at = 0; at < n; at += piece) {
        sonde_span s = {.row = at, .n_rows = SONDE_MIN(piece, n - at), .position = at, .pages = pages};
        sonde_cache_args args = {.layout = f->layout, .k = f->keys[span], .v = f->values[span],
                                 .k_stride = c->kv_heads * c->head_dim,
                                 .v_stride = c->kv_heads * c->value_dim, .spans = &s, .n_spans = 1};
        int64_t units = backend->cache_units(&args);
        for (int64_t unit = units - 1; unit >= 0; unit--) backend->cache(&args, unit, unit + 1);
    }
    return pages;
}

static void free_pages(const fixture *f, int64_t span, void **pages)
{
    for (int64_t p = 0; p * SONDE_PAGE_POSITIONS < positions_of(f, span); p++) sonde_free(pages[p]);
    sonde_free(pages);
}

/* ---- comparisons ----------------------------------------------------------------------------------------- */

typedef struct outputs {
    float *scores, *pattern, *z;
} outputs;

static sonde_attend_args args_of(const fixture *f, const sonde_span *spans, const outputs *o,
                                 uint32_t phases)
{
    return (sonde_attend_args){
        .layout = f->layout, .q = f->q, .q_stride = f->q_stride, .z = o->z, .z_stride = f->z_stride,
        .spans = spans, .n_spans = f->n_spans, .n_heads = f->c.heads,
        .scale = 1.0 / sqrt((double)f->c.head_dim), .softcap = f->c.softcap, .mask = f->c.mask,
        .window = f->c.window, .sinks = f->c.sinks ? f->sinks : NULL, .phases = phases,
        .scores = o->scores, .pattern = o->pattern, .ragged = f->ragged};
}

/* All units, in one call or one by one from the last. */
static void run_attend(const sonde_backend *backend, const sonde_attend_args *args, bool one_by_one)
{
    int64_t units = backend->attend_units(args);
    size_t bytes = backend->attend_scratch(args);
    void *scratch = malloc(bytes); /* exact, so that a sanitizer sees what lies outside */
    assert_non_null(scratch);
    memset(scratch, 0xFF, bytes);
    if (!one_by_one) backend->attend(args, 0, units, scratch);
    for (int64_t unit = units - 1; one_by_one && unit >= 0; unit--)
        backend->attend(args, unit, unit + 1, scratch);
    free(scratch);
}

static void check_z(const fixture *f, const float *z, const char *what)
{
    int64_t width = f->c.heads * f->c.value_dim;
    for (int64_t m = 0; m < f->rows; m++) {
        check_same(z + m * f->z_stride, f->z + m * f->z_stride, width, what);
        for (int64_t i = width; i < f->z_stride; i++) assert_true(is_unwritten(z[m * f->z_stride + i]));
    }
}

static void check_level(const fixture *f, const sonde_backend *backend, const sonde_span *spans)
{
    int64_t n_z = f->rows * f->z_stride;
    outputs o = {guarded(f->ragged_total), guarded(f->ragged_total), guarded(n_z)}, none = {.z = o.z};
    sonde_attend_args args = args_of(f, spans, &o, SONDE_ATTEND_ALL);
    run_attend(backend, &args, false);
    check_same(o.scores, f->scores, f->ragged_total, "scores");
    check_same(o.pattern, f->pattern, f->ragged_total, "pattern");
    check_z(f, o.z, "z");
    fill_unwritten(o.z, n_z);
    args = args_of(f, spans, &none, SONDE_ATTEND_ALL);
    run_attend(backend, &args, true);
    check_z(f, o.z, "z without ports, unit by unit");
    static const uint32_t parts[][3] = {
        {SONDE_ATTEND_SCORES, SONDE_ATTEND_SOFTMAX, SONDE_ATTEND_VALUES},
        {SONDE_ATTEND_SCORES | SONDE_ATTEND_SOFTMAX, 0, SONDE_ATTEND_VALUES},
        {SONDE_ATTEND_SCORES, 0, SONDE_ATTEND_SOFTMAX | SONDE_ATTEND_VALUES}};
    for (size_t i = 0; i < SONDE_COUNT(parts); i++) {
        fill_unwritten(o.scores, f->ragged_total);
        fill_unwritten(o.pattern, f->ragged_total);
        fill_unwritten(o.z, n_z);
        for (int j = 0; j < 3; j++) {
            args = args_of(f, spans, &o, parts[i][j]);
            if (parts[i][j]) run_attend(backend, &args, i == 0);
        }
        check_same(o.scores, f->scores, f->ragged_total, "scores of phases");
        check_same(o.pattern, f->pattern, f->ragged_total, "pattern of phases");
        check_z(f, o.z, "z of phases");
    }
    guarded_free(o.scores, f->ragged_total);
    guarded_free(o.pattern, f->ragged_total);
    guarded_free(o.z, n_z);
}

static void check_case(const attend_case *c, test_random *random)
{
    kernel_levels levels = kernel_levels_get();
    fixture f;
    fixture_init(&f, c, random);
    for (int l = 0; l < levels.n; l++) {
        sonde_span spans[MOST_SPANS];
        for (int64_t i = 0; i < f.n_spans; i++) {
            spans[i] = f.spans[i];
            spans[i].pages = make_pages(&f, levels.backend[l], i, l == 0 ? 1000 : 7);
        }
        check_level(&f, levels.backend[l], spans);
        for (int64_t i = 0; i < f.n_spans; i++) {
            void *pages;
            memcpy(&pages, &spans[i].pages, sizeof pages);
            free_pages(&f, i, pages);
        }
    }
    fixture_reset(&f);
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

#define F32 SONDE_DTYPE_F32
#define BF16 SONDE_DTYPE_BF16
#define F16 SONDE_DTYPE_F16
#define FULL SONDE_MASK_FULL, 0
#define SLIDING(w) SONDE_MASK_SLIDING, (w)
#define CHUNKED(w) SONDE_MASK_CHUNKED, (w)

/* Head sizes that fill vectors and that do not, groups of heads, cache types. */
static void test_shapes_follow_the_rule(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 2, 1, 8, 8, FULL, 0, false, {{0, 3}}},
        {F32, 3, 3, 1, 1, FULL, 0, false, {{0, 9}}},
        {F32, 4, 2, 16, 16, FULL, 0, false, {{0, 9}, {5, 1}}},
        {BF16, 9, 3, 64, 64, FULL, 0, false, {{0, 7}, {61, 6}}},
        {F16, 4, 4, 80, 80, FULL, 0, false, {{60, 8}}},
        {F32, 6, 1, 96, 96, FULL, 0, false, {{62, 5}}},
        {F32, 2, 2, 33, 47, FULL, 0, false, {{13, 6}}},
        {BF16, 2, 1, 7, 31, FULL, 0, false, {{70, 9}}},
        {F16, 8, 1, 24, 40, FULL, 0, false, {{3, 2}, {9, 3}, {70, 4}}},
        {F32, 2, 1, 128, 128, FULL, 0, false, {{127, 5}}},
        {BF16, 1, 1, 192, 128, FULL, 0, false, {{30, 9}}},
        {F32, 1, 1, 256, 256, FULL, 0, false, {{250, 9}}},
        {F32, 13, 1, 20, 20, FULL, 0, false, {{40, 3}}},
    };
    test_random random = {31};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check_case(&cases[i], &random);
}

/* Rows 1 to 9 of a batch, across borders of pages and of blocks of 256 keys. */
static void test_row_counts_and_borders(void **state)
{
    (void)state;
    static const int64_t positions[] = {0, 15, 60, 63, 64, 120, 250, 255, 256, 257, 509};
    test_random random = {32};
    for (size_t p = 0; p < SONDE_COUNT(positions); p++)
        for (int64_t rows = 1 + (int64_t)p % 2; rows <= 9; rows += 2) {
            attend_case c = {p % 3 == 0 ? F32 : p % 3 == 1 ? BF16 : F16, 3, 1, 16, 32, FULL, 0, false,
                             {{positions[p], rows}}};
            check_case(&c, &random);
        }
}

/* Windows that begin inside a page, a block and a run of 16 keys; single keys; chunks that end
 * inside a tile of rows. */
static void test_windows_follow_the_rule(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 2, 1, 16, 16, SLIDING(1), 0, false, {{0, 9}, {250, 9}}},
        {F32, 2, 1, 16, 20, SLIDING(4), 0, false, {{0, 9}, {61, 6}}},
        {BF16, 4, 2, 32, 32, SLIDING(17), 0, false, {{0, 5}, {260, 9}}},
        {F32, 2, 2, 16, 48, SLIDING(256), 0, false, {{253, 9}, {509, 5}}},
        {F16, 2, 1, 16, 16, SLIDING(300), 0, false, {{298, 6}, {520, 9}}},
        {F32, 3, 1, 8, 40, SLIDING(3), 0, false, {{254, 7}}},
        {F32, 2, 1, 16, 16, CHUNKED(8), 0, false, {{0, 9}, {250, 9}}},
        {BF16, 2, 1, 16, 36, CHUNKED(5), 0, false, {{0, 9}, {63, 9}}},
        {F32, 4, 1, 16, 16, CHUNKED(300), 0, false, {{295, 9}, {598, 4}}},
        {F32, 2, 1, 16, 16, CHUNKED(1), 0, false, {{255, 4}}},
    };
    test_random random = {33};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check_case(&cases[i], &random);
}

static void test_sinks_and_softcap(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 4, 2, 16, 16, FULL, 0, true, {{0, 9}}},
        {BF16, 4, 1, 64, 64, SLIDING(20), 0, true, {{100, 6}}},
        {F32, 2, 1, 16, 16, FULL, 5.0, false, {{0, 7}, {258, 3}}},
        {F16, 3, 1, 24, 24, CHUNKED(50), 2.0, true, {{45, 9}}},
    };
    test_random random = {34};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check_case(&cases[i], &random);
}

/* A score that is NaN makes its row and head NaN, and no other; a value that is infinite stays in
 * its dim and key; what the cache holds behind the last position is never looked at. */
static void test_nan_and_infinity_stay_where_they_are(void **state)
{
    (void)state;
    attend_case c = {F32, 2, 2, 16, 32, FULL, 0, false, {{66, 5}}};
    test_random random = {35};
    kernel_levels levels = kernel_levels_get();
    for (int l = 0; l < levels.n; l++) {
        fixture f;
        fixture_init(&f, &c, &random);
        f.q[1 * f.q_stride + 3] = NAN;           /* row 1, head 0 */
        f.values[0][(20 * 2 + 1) * 32 + 5] = INFINITY; /* key 20, head 1, dim 5 */
        f.values[0][(70 * 2 + 0) * 32 + 6] = NAN;      /* key 70: the last row alone */
        for (int64_t r = 0; r < 5; r++) row_by_rule(&f, 0, r);
        assert_true(isnan(f.z[f.z_stride + 7]) && !isnan(f.z[f.z_stride + 32 + 7]));
        assert_true(isinf(f.z[2 * f.z_stride + 32 + 5]) && !isinf(f.z[2 * f.z_stride + 32 + 6]));
        assert_true(isnan(f.z[4 * f.z_stride + 6]) && !isnan(f.z[3 * f.z_stride + 6]));
        sonde_span span = f.spans[0];
        void **pages = make_pages(&f, levels.backend[l], 0, 1000);
        span.pages = pages;
        check_level(&f, levels.backend[l], &span);
        free_pages(&f, 0, pages);
        fixture_reset(&f);
    }
}

static double *widened(const float *x, int64_t n)
{
    double *wide = sonde_alloc((size_t)n, sizeof *wide);
    assert_non_null(wide);
    for (int64_t i = 0; i < n; i++) wide[i] = (double)x[i];
    return wide;
}

/* Chains of 64, sums of 16 lanes, chains of 256: errors of a few roundings of the largest terms;
 * 4e-6 of the rms of z where scores reach 30, whose rounding exp multiplies. */
static void test_error_against_double(void **state)
{
    (void)state;
    attend_case c = {F32, 3, 1, 64, 64, FULL, 0, true, {{700, 6}}};
    test_random random = {36};
    fixture f;
    fixture_init(&f, &c, &random);
    const sonde_backend *oracle = NULL;
    assert_int_equal(sonde_backend_get("oracle", SONDE_CPU_SCALAR, &oracle, NULL), SONDE_OK);
    int64_t n = positions_of(&f, 0);
    double *q = widened(f.q, f.rows * f.q_stride), *z = widened(f.z, f.rows * f.z_stride);
    double *keys = widened(f.keys[0], n * 64), *values = widened(f.values[0], n * 64);
    double *sinks = widened(f.sinks, 3);
    fixture wide = f;
    wide.layout.dtype = SONDE_DTYPE_F64;
    void *pages[16];
    for (int p = 0; p < 12; p++) pages[p] = sonde_alloc_raw(1, sonde_kv_page_bytes(&wide.layout));
    sonde_span all = {.row = 0, .n_rows = n, .pages = pages}, span = f.spans[0];
    sonde_cache_args cache = {.layout = wide.layout, .k = keys, .v = values, .k_stride = 64,
                              .v_stride = 64, .spans = &all, .n_spans = 1};
    oracle->cache(&cache, 0, oracle->cache_units(&cache));
    span.pages = pages;
    outputs none = {0};
    sonde_attend_args args = args_of(&wide, &span, &none, SONDE_ATTEND_ALL);
    args.q = q, args.z = z, args.sinks = sinks;
    run_attend(oracle, &args, false);
    double error = error_of(f.z, z, f.rows * f.z_stride);
    print_message("z: %.1e of its rms\n", error);
    assert_true(error > 1e-9 && error < 4e-6);
    for (int p = 0; p < 12; p++) sonde_free(pages[p]);
    double *blocks[] = {q, z, keys, values, sinks};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    fixture_reset(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_follow_the_rule),
        cmocka_unit_test(test_row_counts_and_borders),
        cmocka_unit_test(test_windows_follow_the_rule),
        cmocka_unit_test(test_sinks_and_softcap),
        cmocka_unit_test(test_nan_and_infinity_stay_where_they_are),
        cmocka_unit_test(test_error_against_double),
    };
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
