/* attend_case.c - attention written out a second time, and comparisons with it. */
#include "support/attend_case.h"

#include "kernels/functions.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static float bf16(float x)
{
    return sonde_bf16_to_f32(sonde_f32_to_bf16(x));
}

static float alibi_by_rule(const attend_case *c, float slope, float scale, float s, int64_t key,
                           int64_t query)
{
    if (c->alibi == SONDE_ALIBI_KEY) return fmaf(slope, (float)key, s);
    if (c->alibi == SONDE_ALIBI_RELATIVE) return fmaf(slope, (float)(key - query), s);
    return fmaf(scale, bf16(bf16(slope) * bf16((float)key)), s);
}

static float score_by_rule(const attend_fixture *f, int64_t span, const float *q, int64_t head,
                           int64_t key, int64_t query)
{
    const attend_case *c = &f->c;
    int64_t kv = head / (c->heads / c->kv_heads);
    float s = 0.0f, cap = (float)c->softcap;
    const float *k = f->keys[span] + (key * c->kv_heads + kv) * c->head_dim;
    for (int64_t d = 0; d < c->head_dim; d++) s = fmaf(q[d], as_cached(c->dtype, k[d]), s);
    float scale = (float)(1.0 / sqrt((double)c->head_dim));
    s = s * scale;
    if (c->slopes) s = alibi_by_rule(c, (float)f->slopes[head], scale, s, key, query);
    return c->softcap != 0.0 ? cap * sonde_tanh_f32(s / cap) : s;
}

static void softmax_by_rule(const attend_fixture *f, int64_t first, int64_t n, int64_t head,
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
static float value_by_rule(const attend_fixture *f, int64_t span, int64_t first, int64_t n, int64_t kv,
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

void attend_row_by_rule(attend_fixture *f, int64_t span, int64_t r)
{
    const attend_case *c = &f->c;
    int64_t m = f->spans[span].row + r, query = f->spans[span].position + r, first = 0;
    while (!visible(c, query, first)) first++;
    int64_t n = query + 1 - first;
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t kv = h / (c->heads / c->kv_heads), at = f->ragged[m] + h * n;
        const float *q = f->q + m * f->q_stride + h * c->head_dim;
        for (int64_t i = 0; i < n; i++)
            f->scores[at + i] = score_by_rule(f, span, q, h, first + i, query);
        softmax_by_rule(f, first, n, h, f->scores + at, f->pattern + at);
        for (int64_t d = 0; d < c->value_dim; d++)
            f->z[m * f->z_stride + h * c->value_dim + d] =
                value_by_rule(f, span, first, n, kv, d, f->pattern + at);
    }
}

/* ---- a case -------------------------------------------------------------------------------------------- */

int64_t attend_positions(const attend_fixture *f, int64_t span)
{
    return f->spans[span].position + f->spans[span].n_rows;
}

static void init_spans(attend_fixture *f, test_random *random)
{
    const attend_case *c = &f->c;
    for (int64_t i = 0; i < ATTEND_MOST_SPANS && c->spans[i][1] > 0; i++) {
        f->spans[i] = (sonde_span){.row = f->rows, .n_rows = c->spans[i][1], .position = c->spans[i][0]};
        f->rows += c->spans[i][1];
        int64_t n = attend_positions(f, i) * c->kv_heads;
        f->keys[i] = floats(n * c->head_dim);
        f->values[i] = floats(n * c->value_dim);
        test_fill_normal(random, f->keys[i], n * c->head_dim);
        test_fill_normal(random, f->values[i], n * c->value_dim);
        f->n_spans++;
    }
}

static void init_ragged(attend_fixture *f)
{
    for (int64_t i = 0, m = 0; i < f->n_spans; i++)
        for (int64_t r = 0; r < f->spans[i].n_rows; r++, m++) {
            int64_t query = f->spans[i].position + r, n = 0;
            for (int64_t key = 0; key <= query; key++) n += visible(&f->c, query, key);
            f->ragged[m + 1] = f->ragged[m] + f->c.heads * n;
        }
    f->ragged_total = f->ragged[f->rows];
}

void attend_fixture_init(attend_fixture *f, const attend_case *c, test_random *random)
{
    *f = (attend_fixture){.c = *c, .layout = {c->dtype, c->kv_heads, c->head_dim, c->value_dim}};
    init_spans(f, random);
    assert_true(f->rows < (int64_t)SONDE_COUNT(f->ragged));
    init_ragged(f);
    f->q_stride = c->heads * c->head_dim + 3;
    f->z_stride = c->heads * c->value_dim + 2;
    f->q = floats(f->rows * f->q_stride);
    f->sinks = floats(c->heads);
    f->slopes = sonde_alloc((size_t)c->heads, sizeof *f->slopes);
    assert_non_null(f->slopes);
    for (int64_t h = 0; h < c->heads; h++) f->slopes[h] = pow(2.0, -0.7 * (double)(h + 1));
    f->scores = floats(f->ragged_total);
    f->pattern = floats(f->ragged_total);
    f->z = floats(f->rows * f->z_stride);
    test_fill_normal(random, f->q, f->rows * f->q_stride);
    test_fill_normal(random, f->sinks, c->heads);
    for (int64_t i = 0; i < f->rows * f->q_stride; i++) f->q[i] *= 3.0f; /* sharp patterns */
    f->sinks[0] = 9.0f; /* above every score of its head */
    for (int64_t i = 0; i < f->n_spans; i++)
        for (int64_t r = 0; r < f->spans[i].n_rows; r++) attend_row_by_rule(f, i, r);
}

void attend_fixture_reset(attend_fixture *f)
{
    for (int64_t i = 0; i < f->n_spans; i++) {
        sonde_free(f->keys[i]);
        sonde_free(f->values[i]);
    }
    sonde_free(f->slopes);
    float *blocks[] = {f->q, f->sinks, f->scores, f->pattern, f->z};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

void **attend_make_pages(const attend_fixture *f, const sonde_backend *backend, int64_t span, int64_t piece)
{
    const attend_case *c = &f->c;
    int64_t n = attend_positions(f, span), n_pages = (n + SONDE_PAGE_POSITIONS - 1) / SONDE_PAGE_POSITIONS;
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

void attend_free_pages(const attend_fixture *f, int64_t span, void **pages)
{
    for (int64_t p = 0; p * SONDE_PAGE_POSITIONS < attend_positions(f, span); p++) sonde_free(pages[p]);
    sonde_free(pages);
}

/* ---- comparisons ----------------------------------------------------------------------------------------- */

sonde_attend_args attend_args_of(const attend_fixture *f, const sonde_span *spans, const attend_outputs *o,
                                 uint32_t phases)
{
    return (sonde_attend_args){
        .layout = f->layout, .q = f->q, .q_stride = f->q_stride, .z = o->z, .z_stride = f->z_stride,
        .spans = spans, .n_spans = f->n_spans, .n_heads = f->c.heads,
        .scale = 1.0 / sqrt((double)f->c.head_dim), .softcap = f->c.softcap, .mask = f->c.mask,
        .window = f->c.window, .sinks = f->c.sinks ? f->sinks : NULL,
        .slopes = f->c.slopes ? f->slopes : NULL, .alibi = f->c.alibi, .phases = phases,
        .scores = o->scores, .pattern = o->pattern, .ragged = f->ragged};
}

void attend_run(const sonde_backend *backend, const sonde_attend_args *args, bool one_by_one)
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

static void check_z(const attend_fixture *f, const float *z, const char *what)
{
    int64_t width = f->c.heads * f->c.value_dim;
    for (int64_t m = 0; m < f->rows; m++) {
        check_same(z + m * f->z_stride, f->z + m * f->z_stride, width, what);
        for (int64_t i = width; i < f->z_stride; i++) assert_true(is_unwritten(z[m * f->z_stride + i]));
    }
}

void attend_check_level(const attend_fixture *f, const sonde_backend *backend, const sonde_span *spans)
{
    int64_t n_z = f->rows * f->z_stride;
    attend_outputs o = {guarded(f->ragged_total), guarded(f->ragged_total), guarded(n_z)}, none = {.z = o.z};
    sonde_attend_args args = attend_args_of(f, spans, &o, SONDE_ATTEND_ALL);
    attend_run(backend, &args, false);
    check_same(o.scores, f->scores, f->ragged_total, "scores");
    check_same(o.pattern, f->pattern, f->ragged_total, "pattern");
    check_z(f, o.z, "z");
    fill_unwritten(o.z, n_z);
    args = attend_args_of(f, spans, &none, SONDE_ATTEND_ALL);
    attend_run(backend, &args, true);
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
            args = attend_args_of(f, spans, &o, parts[i][j]);
            if (parts[i][j]) attend_run(backend, &args, i == 0);
        }
        check_same(o.scores, f->scores, f->ragged_total, "scores of phases");
        check_same(o.pattern, f->pattern, f->ragged_total, "pattern of phases");
        check_z(f, o.z, "z of phases");
    }
    guarded_free(o.scores, f->ragged_total);
    guarded_free(o.pattern, f->ragged_total);
    guarded_free(o.z, n_z);
}

void attend_check_case(const attend_case *c, test_random *random)
{
    kernel_levels levels = kernel_levels_get();
    attend_fixture f;
    attend_fixture_init(&f, c, random);
    for (int l = 0; l < levels.n; l++) {
        sonde_span spans[ATTEND_MOST_SPANS];
        for (int64_t i = 0; i < f.n_spans; i++) {
            spans[i] = f.spans[i];
            spans[i].pages = attend_make_pages(&f, levels.backend[l], i, l == 0 ? 1000 : 7);
        }
        attend_check_level(&f, levels.backend[l], spans);
        for (int64_t i = 0; i < f.n_spans; i++) {
            void *pages;
            memcpy(&pages, &spans[i].pages, sizeof pages);
            attend_free_pages(&f, i, pages);
        }
    }
    attend_fixture_reset(&f);
}
