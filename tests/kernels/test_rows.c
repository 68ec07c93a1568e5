/* Norm, rope, map, join and labels: every level gives the bits of the rules of kernels.md 3, 5 and 7,
 * written out here one value at a time, and keeps inside its rows; error against double. */
#include "kernels/functions.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 5

static const sonde_backend *oracle(void)
{
    const sonde_backend *backend = NULL;
    assert_int_equal(sonde_backend_get("oracle", SONDE_CPU_SCALAR, &backend, NULL), SONDE_OK);
    return backend;
}

/* Rows of normal numbers; one row of zeros of both signs, one with the ends of fp32 in it. */
static void fill_rows(test_random *random, float *x, int64_t width, int64_t stride)
{
    static const float odd[] = {1e-40f, -1e-45f, 3e38f, -2e-30f, 0.0f, -0.0f, 1e20f};
    test_fill_normal(random, x, ROWS * stride);
    for (int64_t i = 0; i < width; i++) {
        x[2 * stride + i] = i & 1 ? 0.0f : -0.0f;
        if (i % 3 == 0) x[3 * stride + i] = odd[(size_t)i % SONDE_COUNT(odd)];
    }
}

static double *widened(const float *x, int64_t n)
{
    double *wide = sonde_alloc((size_t)n, sizeof *wide);
    assert_non_null(wide);
    for (int64_t i = 0; i < n; i++) wide[i] = (double)x[i];
    return wide;
}

/* Rows [0, ROWS) of `width` are the expected ones, what lies between them was left alone. */
static void check_rows(const float *got, const float *expected, int64_t width, int64_t stride,
                       const char *what)
{
    for (int64_t m = 0; m < ROWS; m++) {
        check_same(got + m * stride, expected + m * width, width, what);
        for (int64_t i = width; i < stride; i++) assert_true(is_unwritten(got[m * stride + i]));
    }
}

/* ---- norm ------------------------------------------------------------------------------------------ */

static void norm_by_rule(const sonde_norm_args *a, const float *x, int64_t g, float *y, float *scale)
{
    int64_t n = a->group, shift = a->weight_per_group ? g * n : 0;
    const float *w = a->weight, *b = a->bias;
    float lanes[16] = {0}, mean = 0.0f;
    for (int64_t i = 0; i < n; i++) lanes[i % 16] = lanes[i % 16] + x[i];
    if (a->kind == SONDE_NORM_LAYER) mean = sum_by_rule(lanes) / (float)n;
    memset(lanes, 0, sizeof lanes);
    for (int64_t i = 0; i < n; i++) lanes[i % 16] = fmaf(x[i] - mean, x[i] - mean, lanes[i % 16]);
    *scale = sqrtf(sum_by_rule(lanes) / (float)n + (float)a->eps);
    float inverse = 1.0f / *scale;
    for (int64_t i = 0; i < n; i++) {
        y[i] = (x[i] - mean) * inverse;
        if (w) y[i] = y[i] * w[shift + i];
        if (b) y[i] = y[i] + b[shift + i];
    }
}

typedef struct norm_case {
    sonde_norm_kind kind;
    int64_t group, groups;
    bool weight, bias, per_group, scale;
} norm_case;

static void check_norm(const norm_case *c, const kernel_levels *levels, test_random *random)
{
    int64_t width = c->group * c->groups, stride = width + 5, n = ROWS * stride;
    float *x = guarded(n), *y = guarded(n), *scale = guarded(ROWS * (c->groups + 1));
    float *w = guarded(width), *b = guarded(width), *expected = guarded(ROWS * width), factor;
    fill_rows(random, x, width, stride);
    test_fill_normal(random, w, width);
    test_fill_normal(random, b, width);
    sonde_norm_args a = {.kind = c->kind, .x = x, .x_stride = stride, .y = y, .y_stride = stride,
                         .scale = c->scale ? scale : NULL, .scale_stride = c->groups + 1,
                         .weight = c->weight ? w : NULL, .bias = c->bias ? b : NULL,
                         .weight_per_group = c->per_group, .m = ROWS, .group = c->group,
                         .groups = c->groups, .eps = 1e-5};
    for (int l = 0; l < levels->n; l++) {
        fill_unwritten(y, n);
        fill_unwritten(scale, ROWS * (c->groups + 1));
        levels->backend[l]->norm(&a, 2, ROWS);
        levels->backend[l]->norm(&a, 0, 2);
        for (int64_t m = 0; m < ROWS; m++)
            for (int64_t g = 0; g < c->groups; g++) {
                int64_t at = m * width + g * c->group;
                norm_by_rule(&a, x + m * stride + g * c->group, g, expected + at, &factor);
                float got = scale[m * (c->groups + 1) + g];
                assert_true(c->scale ? same_bits(got, factor) : is_unwritten(got));
            }
        check_rows(y, expected, width, stride, levels->backend[l]->level);
    }
    guarded_free(x, n);
    guarded_free(y, n);
    guarded_free(scale, ROWS * (c->groups + 1));
    guarded_free(w, width);
    guarded_free(b, width);
    guarded_free(expected, ROWS * width);
}

static void test_norm_levels_follow_the_rule(void **state)
{
    (void)state;
    static const int64_t groups[] = {1, 2, 15, 16, 17, 31, 33, 64, 100, 576, 769};
    kernel_levels levels = kernel_levels_get();
    test_random random = {21};
    for (size_t i = 0; i < SONDE_COUNT(groups); i++)
        for (unsigned turn = 0; turn < 8; turn++) {
            norm_case c = {turn & 1 ? SONDE_NORM_LAYER : SONDE_NORM_RMS, groups[i], 1 + turn % 3,
                           turn != 2, turn & 4, turn & 2, turn != 5};
            check_norm(&c, &levels, &random);
        }
}

/* Sums of 16 lanes of n / 16 roundings and a tree; division, square root, products: a few ulp. */
static void test_norm_error(void **state)
{
    (void)state;
    enum { WIDTH = 576 };
    test_random random = {22};
    float x[WIDTH], w[WIDTH], y[WIDTH];
    double exact[WIDTH];
    test_fill_normal(&random, x, WIDTH);
    test_fill_normal(&random, w, WIDTH);
    for (int i = 0; i < WIDTH; i++) x[i] = x[i] * 3.0f + 1.0f;
    double *wide_x = widened(x, WIDTH), *wide_w = widened(w, WIDTH);
    kernel_levels levels = kernel_levels_get();
    for (int kind = 0; kind < 2; kind++) {
        sonde_norm_args a = {.kind = (sonde_norm_kind)kind, .x = x, .y = y, .weight = w, .bias = w,
                             .m = 1, .group = WIDTH, .groups = 1, .eps = 1e-5};
        levels.backend[levels.n - 1]->norm(&a, 0, 1);
        a.x = wide_x, a.y = exact, a.weight = wide_w, a.bias = wide_w;
        oracle()->norm(&a, 0, 1);
        double error = error_of(y, exact, WIDTH);
        assert_true(error > 1e-9 && error < 1e-6);
    }
    sonde_free(wide_x);
    sonde_free(wide_w);
}

/* ---- rope ------------------------------------------------------------------------------------------ */

typedef struct rope_case {
    int64_t n_heads, head_dim, offset, rotary;
} rope_case;

static void rope_by_rule(const sonde_rope_args *a, int64_t m, float *y)
{
    int64_t half = a->rotary_dims / 2;
    const float *x = (const float *)a->x + m * a->x_stride;
    for (int64_t h = 0; h < a->n_heads; h++)
        for (int64_t d = 0; d < a->head_dim; d++) y[h * a->head_dim + d] = x[h * a->head_dim + d];
    for (int64_t h = 0; h < a->n_heads; h++)
        for (int64_t i = 0; i < half; i++) {
            int64_t base = h * a->head_dim + a->offset;
            bool halves = a->pairing == SONDE_ROPE_HALF, apart = a->pairing != SONDE_ROPE_INTERLEAVED;
            float p = x[base + (halves ? i : 2 * i)], q = x[base + (halves ? i + half : 2 * i + 1)];
            float c = ((const float *)a->cos)[a->entry[m] * half + i];
            float s = ((const float *)a->sin)[a->entry[m] * half + i];
            y[base + (apart ? i : 2 * i)] = fmaf(p, c, -(q * s));
            y[base + (apart ? i + half : 2 * i + 1)] = fmaf(q, c, p * s);
        }
}

static void check_rope(const rope_case *c, sonde_rope_pairing pairing, const kernel_levels *levels,
                       test_random *random)
{
    static const int32_t entry[ROWS] = {3, 0, 6, 6, 1};
    int64_t width = c->n_heads * c->head_dim, stride = width + 3, n = ROWS * stride;
    int64_t table = 7 * c->rotary / 2;
    float *x = guarded(n), *y = guarded(n), *expected = guarded(ROWS * width);
    float *cosines = guarded(table), *sines = guarded(table);
    fill_rows(random, x, width, stride);
    test_fill_normal(random, cosines, table);
    test_fill_normal(random, sines, table);
    sonde_rope_args a = {.pairing = pairing, .x = x, .x_stride = stride, .y = y, .y_stride = stride,
                         .m = ROWS, .n_heads = c->n_heads, .head_dim = c->head_dim,
                         .offset = c->offset, .rotary_dims = c->rotary, .cos = cosines,
                         .sin = sines, .entry = entry};
    for (int64_t m = 0; m < ROWS; m++) rope_by_rule(&a, m, expected + m * width);
    for (int l = 0; l < levels->n; l++) {
        fill_unwritten(y, n);
        levels->backend[l]->rope(&a, 1, ROWS);
        levels->backend[l]->rope(&a, 0, 1);
        check_rows(y, expected, width, stride, levels->backend[l]->level);
    }
    double *wide_x = widened(x, n), *wide_c = widened(cosines, table), *wide_s = widened(sines, table);
    double *exact = widened(x, n);
    a.x = wide_x, a.y = exact, a.cos = wide_c, a.sin = wide_s;
    oracle()->rope(&a, 0, 2); /* the rows of ordinary numbers: two roundings */
    for (int64_t i = 0; i < width; i++)
        assert_true(fabs((double)expected[i] - exact[i]) <= 3e-7 * (fabs(exact[i]) + 4.0));
    double *wide[] = {wide_x, wide_c, wide_s, exact};
    for (size_t i = 0; i < SONDE_COUNT(wide); i++) sonde_free(wide[i]);
    guarded_free(x, n);
    guarded_free(y, n);
    guarded_free(expected, ROWS * width);
    guarded_free(cosines, table);
    guarded_free(sines, table);
}

static void test_rope_levels_follow_the_rule(void **state)
{
    (void)state;
    static const rope_case cases[] = {{3, 64, 0, 64}, {2, 80, 0, 20},   {1, 2, 0, 2},   {2, 96, 32, 64},
                                      {2, 10, 4, 6},  {4, 34, 0, 34},   {1, 256, 0, 256}, {3, 66, 0, 66},
                                      {2, 192, 128, 64}};
    kernel_levels levels = kernel_levels_get();
    test_random random = {23};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        for (int pairing = 0; pairing < 3; pairing++)
            check_rope(&cases[i], (sonde_rope_pairing)pairing, &levels, &random);
}

/* ---- map ------------------------------------------------------------------------------------------- */

static float act_by_rule(sonde_act act, float x)
{
    switch (act) {
    case SONDE_ACT_SILU: return x * (1.0f / (1.0f + sonde_exp_f32(-x)));
    case SONDE_ACT_GELU: return 0.5f * x * (1.0f + sonde_erf_f32(x * 0.707106781f));
    case SONDE_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + sonde_tanh_f32(0.797884561f * fmaf(0.044715f * x * x, x, x)));
    case SONDE_ACT_QUICK_GELU: return x * (1.0f / (1.0f + sonde_exp_f32(-(1.702f * x))));
    default: return isnan(x) || x > 0.0f ? x : 0.0f;
    }
}

static float map_by_rule(const sonde_map_args *a, float x, float b)
{
    float c = (float)a->c;
    switch (a->op) {
    case SONDE_MAP_ADD: return x + b;
    case SONDE_MAP_SCALE: return x * c;
    case SONDE_MAP_SOFTCAP: return c * sonde_tanh_f32(x / c);
    case SONDE_MAP_ACTIVATE: return act_by_rule(a->act, x);
    default: return act_by_rule(a->act, x) * b;
    }
}

/* `place`: 0: y is apart, 1: y is a, 2: y is b. */
static void check_map(sonde_map_op op, sonde_act act, int64_t width, int place,
                      const kernel_levels *levels, test_random *random)
{
    int64_t stride = width + 4, n = ROWS * stride;
    float *x = guarded(n), *b = guarded(n), *y = guarded(n), *expected = guarded(ROWS * width);
    float *first = guarded(n), *second = guarded(n);
    fill_rows(random, first, width, stride);
    fill_rows(random, second, width, stride);
    for (int64_t i = 0; i < width; i++) first[4 * stride + i] = i % 5 ? (float)(i % 41) * 5.3f - 100.0f
                                                                      : i % 2 ? INFINITY : NAN;
    sonde_map_args a = {.op = op, .act = act, .a = x, .a_stride = stride, .b = b, .b_stride = stride,
                        .y = place == 0 ? y : place == 1 ? x : b, .y_stride = stride, .m = ROWS,
                        .width = width, .c = 30.0};
    for (int64_t i = 0; i < ROWS * width; i++) {
        int64_t at = i / width * stride + i % width;
        expected[i] = map_by_rule(&a, first[at], second[at]);
    }
    for (int l = 0; l < levels->n; l++) {
        fill_unwritten(x, n);
        fill_unwritten(b, n);
        fill_unwritten(y, n);
        for (int64_t m = 0; m < ROWS; m++) {
            memcpy(x + m * stride, first + m * stride, (size_t)width * sizeof *x);
            memcpy(b + m * stride, second + m * stride, (size_t)width * sizeof *b);
        }
        levels->backend[l]->map(&a, 0, 3);
        levels->backend[l]->map(&a, 3, ROWS);
        check_rows(a.y, expected, width, stride, levels->backend[l]->level);
    }
    float *blocks[] = {x, b, y, first, second};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) guarded_free(blocks[i], n);
    guarded_free(expected, ROWS * width);
}

static void test_map_levels_follow_the_rule(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 7, 16, 33, 300};
    kernel_levels levels = kernel_levels_get();
    test_random random = {24};
    for (size_t w = 0; w < SONDE_COUNT(widths); w++)
        for (int op = SONDE_MAP_ADD; op <= SONDE_MAP_GLU; op++)
            for (int act = SONDE_ACT_SILU; act <= SONDE_ACT_RELU; act++) {
                bool acts = op >= SONDE_MAP_ACTIVATE, two = op == SONDE_MAP_ADD || op == SONDE_MAP_GLU;
                if (!acts && act > 0) continue;
                for (int place = 0; place < (two ? 3 : 2); place++)
                    check_map((sonde_map_op)op, (sonde_act)act, widths[w], place, &levels, &random);
            }
}

/* ---- join ------------------------------------------------------------------------------------------ */

/* Dims of two operands head by head, one of them the same for all heads. */
static void test_join_levels_copy(void **state)
{
    (void)state;
    enum { HEADS = 3, A = 19, B = 6, X = 8, OUT = HEADS * (A + B), STRIDE = OUT + 5 };
    static float a[ROWS * HEADS * (A + 2)], b[ROWS * X], expected[ROWS * OUT];
    static double wide[ROWS * STRIDE];
    test_random random = {24};
    fill_rows(&random, a, HEADS * (A + 2), HEADS * (A + 2));
    fill_rows(&random, b, X, X);
    sonde_join_args args = {.part = {{a + 1, HEADS * (A + 2), A + 2, A}, {b + 2, X, 0, B}},
                            .y_stride = STRIDE, .m = ROWS, .n_heads = HEADS};
    for (int64_t i = 0; i < ROWS * OUT; i++) {
        int64_t m = i / OUT, h = i % OUT / (A + B), d = i % (A + B);
        expected[i] = d < A ? a[(m * HEADS + h) * (A + 2) + 1 + d] : b[m * X + 2 + d - A];
    }
    kernel_levels levels = kernel_levels_get();
    for (int l = 0; l < levels.n; l++) {
        float *y = guarded(ROWS * STRIDE);
        args.y = y;
        levels.backend[l]->join(&args, 3, ROWS);
        levels.backend[l]->join(&args, 0, 3);
        check_rows(y, expected, OUT, STRIDE, "join");
        guarded_free(y, ROWS * STRIDE);
    }
    double *wide_a = widened(a, ROWS * HEADS * (A + 2)), *wide_b = widened(b, ROWS * X);
    args.part[0].x = wide_a + 1, args.part[1].x = wide_b + 2, args.y = wide;
    oracle()->join(&args, 0, ROWS);
    for (int64_t i = 0; i < ROWS * OUT; i++)
        assert_true(same_bits((float)wide[i / OUT * STRIDE + i % OUT], expected[i]));
    sonde_free(wide_a);
    sonde_free(wide_b);
}

/* ---- labels ---------------------------------------------------------------------------------------- */

static void label_by_rule(const float *x, int64_t n, int32_t token, float *logprob, float *entropy,
                          int32_t *rank)
{
    float m = x[0], lanes[16] = {0}, mixed[16] = {0};
    for (int64_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    for (int64_t i = 0; i < n; i++) {
        float e = sonde_exp_f32(x[i] - m);
        lanes[i % 16] = lanes[i % 16] + e;
        if (e > 0.0f) mixed[i % 16] = fmaf(e, x[i] - m, mixed[i % 16]);
        if (isnan(e)) mixed[i % 16] = NAN;
    }
    float sum = sum_by_rule(lanes), log_sum = sonde_log_f32(sum);
    *entropy = log_sum - sum_by_rule(mixed) / sum;
    *logprob = token < 0 ? NAN : (x[token] - m) - log_sum;
    *rank = token < 0 ? -1 : 0;
    for (int64_t i = 0; i < n && token >= 0; i++)
        *rank += x[i] > x[token] || (x[i] == x[token] && i < token);
}

static void check_labels(int64_t vocab, const kernel_levels *levels, test_random *random)
{
    int64_t stride = vocab + 6;
    float *x = guarded(ROWS * stride), *logprob = guarded(ROWS), *entropy = guarded(ROWS);
    int32_t tokens[ROWS], rank[ROWS + 1], expected_rank;
    test_fill_normal(random, x, ROWS * stride);
    for (int64_t i = 0; i < vocab; i++) {
        x[stride + i] = x[stride + i] * 40.0f;                 /* most of it far below the top */
        x[2 * stride + i] = i % 3 ? -INFINITY : 0.0f;          /* ties and masked tokens */
        if (i % 4 == 1) x[3 * stride + i] = x[3 * stride];     /* ties */
    }
    for (int m = 0; m < ROWS; m++) tokens[m] = m == 4 ? -1 : (int32_t)((int64_t)m * 7 % vocab);
    sonde_label_args a = {.logits = x, .logits_stride = stride, .m = ROWS, .vocab = vocab,
                          .tokens = tokens, .logprob = logprob, .entropy = entropy, .rank = rank};
    double *wide = widened(x, ROWS * stride);
    for (int l = 0; l <= levels->n; l++) {
        rank[ROWS] = 77;
        a.logits = l < levels->n ? (const void *)x : (const void *)wide;
        const sonde_backend *backend = l < levels->n ? levels->backend[l] : oracle();
        backend->label(&a, 1, ROWS);
        backend->label(&a, 0, 1);
        assert_int_equal(rank[ROWS], 77);
        for (int m = 0; m < ROWS; m++) {
            float p, h;
            label_by_rule(x + m * stride, vocab, tokens[m], &p, &h, &expected_rank);
            assert_int_equal(rank[m], expected_rank);
            if (l < levels->n) {
                assert_true(same_bits(logprob[m], p) && same_bits(entropy[m], h));
            } else { /* sums of vocab / 16 roundings, and a logit rounded once */
                assert_true(isnan(p) ? isnan(logprob[m]) : logprob[m] == p ||
                            fabsf(logprob[m] - p) <= 2e-6f * (1.0f + fabsf(p)));
                assert_true(fabsf(entropy[m] - h) <= 1e-5f);
            }
        }
    }
    sonde_free(wide);
    guarded_free(x, ROWS * stride);
    guarded_free(logprob, ROWS);
    guarded_free(entropy, ROWS);
}

static void test_label_levels_follow_the_rule(void **state)
{
    (void)state;
    static const int64_t vocabs[] = {1, 2, 15, 16, 17, 50, 1000, 3001};
    kernel_levels levels = kernel_levels_get();
    test_random random = {25};
    for (size_t i = 0; i < SONDE_COUNT(vocabs); i++) check_labels(vocabs[i], &levels, &random);
}

/* A NaN anywhere is a NaN in what is made of all logits, wherever it stands. */
static void test_label_of_nan(void **state)
{
    (void)state;
    kernel_levels levels = kernel_levels_get();
    for (int l = 0; l < levels.n; l++)
        for (int at = 0; at < 40; at++) {
            float x[40], logprob, entropy;
            int32_t token = 3, rank;
            for (int i = 0; i < 40; i++) x[i] = (float)(i % 7);
            x[at] = NAN;
            sonde_label_args a = {.logits = x, .logits_stride = 40, .m = 1, .vocab = 40,
                                  .tokens = &token, .logprob = &logprob, .entropy = &entropy,
                                  .rank = &rank};
            levels.backend[l]->label(&a, 0, 1);
            assert_true(isnan(logprob) && isnan(entropy));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_levels_follow_the_rule),
        cmocka_unit_test(test_norm_error),
        cmocka_unit_test(test_rope_levels_follow_the_rule),
        cmocka_unit_test(test_map_levels_follow_the_rule),
        cmocka_unit_test(test_join_levels_copy),
        cmocka_unit_test(test_label_levels_follow_the_rule),
        cmocka_unit_test(test_label_of_nan),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
