/*
 * What a mixture of experts is made of: the choice, the sum, the maps that came with them, and
 * products whose output rows are spread. Every level gives the bits of the rules, which are written
 * out here one value at a time.
 */
#include "kernels/functions.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 6
#define MOST 70 /* experts */

/* ---- the choice ------------------------------------------------------------------------------------- */

static float sum_of_lanes(const float *x, int64_t n)
{
    float lanes[16] = {0};
    for (int64_t i = 0; i < n; i++) lanes[i % 16] = lanes[i % 16] + x[i];
    return sum_by_rule(lanes);
}

static void softmax_by_rule(float *x, int64_t n)
{
    float top = x[0];
    for (int64_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < n; i++) x[i] = sonde_exp_f32(x[i] - top);
    float inverse = 1.0f / sum_of_lanes(x, n);
    for (int64_t i = 0; i < n; i++) x[i] = x[i] * inverse;
}

/* How many of n come before number i: larger, or equal and of lower index. */
static int64_t rank_by_rule(const float *x, int64_t n, int64_t i)
{
    int64_t before = 0;
    for (int64_t j = 0; j < n; j++) before += x[j] > x[i] || (x[j] == x[i] && j < i);
    return before;
}

static float group_by_rule(const sonde_route_spec *s, const float *value, int64_t size)
{
    float best[2] = {0, 0};
    for (int64_t i = 0; i < size; i++)
        if (rank_by_rule(value, size, i) < 2) best[rank_by_rule(value, size, i)] = value[i];
    return s->group_score == SONDE_GROUP_TOP_TWO && size > 1 ? best[0] + best[1] : best[0];
}

/* Values of experts in groups that are not kept become -inf. */
static void drop_groups(const sonde_route_spec *s, float *value)
{
    float scores[MOST];
    int64_t size = s->n_experts / s->n_groups;
    for (int64_t g = 0; g < s->n_groups; g++) scores[g] = group_by_rule(s, value + g * size, size);
    for (int64_t i = 0; i < s->n_experts; i++)
        if (rank_by_rule(scores, s->n_groups, i / size) >= s->kept_groups) value[i] = -INFINITY;
}

static void weigh_by_rule(const sonde_route_spec *s, const float *x, const float *scores,
                          const int32_t *chosen, float *raw)
{
    for (int64_t j = 0; j < s->n_chosen; j++) {
        float logit = x[chosen[j]];
        raw[j] = s->weight == SONDE_ROUTE_WEIGHT_SCORE     ? scores[chosen[j]]
                 : s->weight == SONDE_ROUTE_WEIGHT_SIGMOID ? sonde_sigmoid_f32(logit)
                                                           : logit;
    }
    if (s->weight == SONDE_ROUTE_WEIGHT_SOFTMAX) softmax_by_rule(raw, s->n_chosen);
}

static void route_by_rule(const sonde_route_spec *s, const float *x, const float *correction,
                          int32_t *ids, float *weights)
{
    float scores[MOST], value[MOST], raw[MOST];
    int32_t chosen[MOST];
    for (int64_t i = 0; i < s->n_experts; i++)
        scores[i] = s->score == SONDE_ROUTE_SIGMOID ? sonde_sigmoid_f32(x[i]) : x[i];
    if (s->score == SONDE_ROUTE_SOFTMAX) softmax_by_rule(scores, s->n_experts);
    for (int64_t i = 0; i < s->n_experts; i++)
        value[i] = correction ? scores[i] + correction[i] : scores[i];
    if (s->n_groups > 1) drop_groups(s, value);
    for (int64_t i = 0; i < s->n_experts; i++) {
        int64_t rank = rank_by_rule(value, s->n_experts, i);
        if (rank < s->n_chosen) chosen[rank] = (int32_t)i;
    }
    weigh_by_rule(s, x, scores, chosen, raw);
    for (int64_t j = 0; j < s->n_chosen; j++) {
        int64_t before = 0;
        for (int64_t i = 0; i < s->n_chosen; i++)
            before += raw[i] > raw[j] || (raw[i] == raw[j] && chosen[i] < chosen[j]);
        ids[before] = chosen[j];
        weights[before] = raw[j];
    }
    float sum = sum_of_lanes(weights, s->n_chosen) + (float)s->epsilon;
    for (int64_t j = 0; j < s->n_chosen; j++) {
        if (s->renormalise) weights[j] = weights[j] / sum;
        weights[j] = weights[j] * (float)s->scaling;
    }
}

static const sonde_route_spec specs[] = {
    {.n_experts = 8, .n_chosen = 2, .score = SONDE_ROUTE_SOFTMAX, .renormalise = true, .scaling = 1},
    {.n_experts = 67, .n_chosen = 17, .score = SONDE_ROUTE_SOFTMAX, .scaling = 2.5},
    {.n_experts = 16, .n_chosen = 16, .score = SONDE_ROUTE_LOGITS,
     .weight = SONDE_ROUTE_WEIGHT_SOFTMAX, .scaling = 1},
    {.n_experts = 5, .n_chosen = 1, .score = SONDE_ROUTE_LOGITS,
     .weight = SONDE_ROUTE_WEIGHT_SIGMOID, .scaling = 1},
    {.n_experts = 1, .n_chosen = 1, .score = SONDE_ROUTE_SOFTMAX, .scaling = 1},
    {.n_experts = 64, .n_chosen = 6, .score = SONDE_ROUTE_SIGMOID, .n_groups = 8, .kept_groups = 3,
     .group_score = SONDE_GROUP_TOP_TWO, .renormalise = true, .epsilon = 1e-20, .scaling = 1.7},
    {.n_experts = 36, .n_chosen = 5, .score = SONDE_ROUTE_SOFTMAX, .n_groups = 4, .kept_groups = 2,
     .group_score = SONDE_GROUP_MAX, .scaling = 16},
    {.n_experts = 6, .n_chosen = 3, .score = SONDE_ROUTE_SIGMOID, .n_groups = 6, .kept_groups = 4,
     .group_score = SONDE_GROUP_TOP_TWO, .renormalise = true, .scaling = 1},
};

/* Numbers of few values, so that there are ties; one row of equal numbers, one of huge ones. */
static void fill_logits(test_random *random, float *x, int64_t width, int64_t stride)
{
    test_fill_normal(random, x, ROWS * stride);
    for (int64_t i = 0; i < width; i++) {
        x[1 * stride + i] = rintf(x[1 * stride + i] * 2.0f) * 0.5f;
        x[2 * stride + i] = 0.25f;
        x[3 * stride + i] = x[3 * stride + i] * 1e30f;
        x[4 * stride + i] = i & 1 ? 0.0f : -0.0f;
    }
}

static void check_route(const sonde_route_spec *spec, const float *correction,
                        const kernel_levels *levels, test_random *random)
{
    int64_t stride = spec->n_experts + 3, k = spec->n_chosen, n = ROWS * stride;
    float *x = guarded(n), *weights = guarded(n), *ids = guarded(n), expected[MOST];
    int32_t chosen[MOST];
    fill_logits(random, x, spec->n_experts, stride);
    sonde_route_args a = {.spec = spec, .logits = x, .logits_stride = stride,
                          .correction = correction, .weights = weights, .weights_stride = stride,
                          .ids = ids, .ids_stride = stride, .m = ROWS};
    void *scratch = sonde_alloc_raw(sonde_route_scratch(&a), 1);
    assert_non_null(scratch);
    for (int l = 0; l < levels->n; l++) {
        fill_unwritten(weights, n);
        fill_unwritten(ids, n);
        levels->backend[l]->route(&a, 2, ROWS, scratch);
        levels->backend[l]->route(&a, 0, 2, scratch);
        for (int64_t m = 0; m < ROWS; m++) {
            route_by_rule(spec, x + m * stride, correction, chosen, expected);
            assert_memory_equal(ids + m * stride, chosen, (size_t)k * sizeof *chosen);
            check_same(weights + m * stride, expected, k, levels->backend[l]->level);
            for (int64_t i = k; i < stride; i++)
                assert_true(is_unwritten(weights[m * stride + i]) && is_unwritten(ids[m * stride + i]));
        }
    }
    sonde_free(scratch);
    guarded_free(x, n);
    guarded_free(weights, n);
    guarded_free(ids, n);
}

static void test_route_levels_follow_the_rule(void **state)
{
    (void)state;
    kernel_levels levels = kernel_levels_get();
    test_random random = {71};
    float correction[MOST];
    test_fill_normal(&random, correction, MOST);
    for (size_t i = 0; i < SONDE_COUNT(specs); i++) {
        check_route(&specs[i], NULL, &levels, &random);
        check_route(&specs[i], correction, &levels, &random);
    }
}

/* A row that is not a number still chooses experts that are there, each once. */
static void test_route_of_nan(void **state)
{
    (void)state;
    kernel_levels levels = kernel_levels_get();
    for (size_t i = 0; i < SONDE_COUNT(specs); i++) {
        const sonde_route_spec *spec = &specs[i];
        float x[MOST], weights[MOST];
        int32_t ids[MOST];
        for (int64_t j = 0; j < spec->n_experts; j++) x[j] = j % 3 == 1 ? INFINITY : NAN;
        sonde_route_args a = {.spec = spec, .logits = x, .weights = weights, .ids = ids, .m = 1};
        void *scratch = sonde_alloc_raw(sonde_route_scratch(&a), 1);
        assert_non_null(scratch);
        for (int l = 0; l < levels.n; l++) {
            bool seen[MOST] = {false};
            levels.backend[l]->route(&a, 0, 1, scratch);
            for (int64_t j = 0; j < spec->n_chosen; j++) {
                assert_in_range(ids[j], 0, spec->n_experts - 1);
                assert_false(seen[ids[j]]);
                seen[ids[j]] = true;
            }
        }
        sonde_free(scratch);
    }
}

/* In double the same experts are chosen, and the weights differ by fp32's rounding: relative, at most
 * that of exp or sigmoid (2 to 3 ulp), a sum, a division and a product. */
static void test_route_error(void **state)
{
    (void)state;
    const sonde_backend *oracle = NULL;
    assert_int_equal(sonde_backend_get("oracle", SONDE_CPU_SCALAR, &oracle, NULL), SONDE_OK);
    kernel_levels levels = kernel_levels_get();
    test_random random = {72};
    for (size_t i = 0; i < SONDE_COUNT(specs); i++)
        for (int turn = 0; turn < 20; turn++) {
            const sonde_route_spec *spec = &specs[i];
            float x[MOST], weights[MOST];
            double wide[MOST], exact[MOST], wide_ids[MOST];
            int32_t ids[MOST];
            test_fill_normal(&random, x, spec->n_experts);
            for (int64_t j = 0; j < spec->n_experts; j++) wide[j] = (double)x[j];
            sonde_route_args a = {.spec = spec, .logits = x, .weights = weights, .ids = ids, .m = 1};
            void *scratch = sonde_alloc_raw(sonde_route_scratch(&a), 1);
            assert_non_null(scratch);
            levels.backend[0]->route(&a, 0, 1, scratch);
            a.logits = wide;
            a.weights = exact;
            a.ids = wide_ids;
            oracle->route(&a, 0, 1, scratch);
            sonde_free(scratch);
            assert_memory_equal(ids, wide_ids, (size_t)spec->n_chosen * sizeof *ids);
            for (int64_t j = 0; j < spec->n_chosen; j++)
                assert_true(fabs((double)weights[j] - exact[j]) <= 1e-6 * fabs(exact[j]));
        }
}

/* ---- the sum ---------------------------------------------------------------------------------------- */

static void check_combine(int64_t slots, int64_t width, bool weighted, bool shared,
                          const kernel_levels *levels, test_random *random)
{
    int64_t x_stride = slots * width, stride = width + 3, n = ROWS * stride;
    float *x = guarded(ROWS * x_stride), *w = guarded(ROWS * slots), *s = guarded(n);
    float *y = guarded(n), *expected = guarded(width);
    test_fill_normal(random, x, ROWS * x_stride);
    test_fill_normal(random, w, ROWS * slots);
    test_fill_normal(random, s, n);
    for (int64_t i = 0; i < width; i++) x[i] = i & 1 ? -0.0f : 1e-40f;
    sonde_combine_args a = {.x = x, .x_stride = x_stride, .weights = weighted ? w : NULL,
                            .weights_stride = slots, .shared = shared ? s : NULL,
                            .shared_stride = stride, .y = y, .y_stride = stride, .m = ROWS,
                            .slots = slots, .width = width};
    for (int l = 0; l < levels->n; l++) {
        fill_unwritten(y, n);
        levels->backend[l]->combine(&a, 3, ROWS);
        levels->backend[l]->combine(&a, 0, 3);
        for (int64_t m = 0; m < ROWS; m++) {
            for (int64_t i = 0; i < width; i++) {
                float sum = 0.0f;
                for (int64_t j = 0; j < slots; j++) {
                    float value = x[m * x_stride + j * width + i];
                    sum = weighted ? fmaf(w[m * slots + j], value, sum) : sum + value;
                }
                expected[i] = shared ? sum + s[m * stride + i] : sum;
            }
            check_same(y + m * stride, expected, width, levels->backend[l]->level);
            for (int64_t i = width; i < stride; i++) assert_true(is_unwritten(y[m * stride + i]));
        }
    }
    guarded_free(x, ROWS * x_stride);
    guarded_free(w, ROWS * slots);
    guarded_free(s, n);
    guarded_free(y, n);
    guarded_free(expected, width);
}

static void test_combine_levels_follow_the_rule(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 15, 16, 17, 48, 101};
    kernel_levels levels = kernel_levels_get();
    test_random random = {73};
    for (size_t i = 0; i < SONDE_COUNT(widths); i++)
        for (unsigned turn = 0; turn < 4; turn++)
            check_combine(1 + (int64_t)turn * 2, widths[i], (turn & 1) != 0, (turn & 2) != 0, &levels,
                          &random);
}

/* ---- maps ------------------------------------------------------------------------------------------- */

static float map_by_rule(const sonde_map_args *a, const float *x, const float *b, int64_t i)
{
    int64_t n = a->slots > 0 ? a->width / a->slots : a->width;
    float c = (float)a->c, d = (float)a->d;
    switch (a->op) {
    case SONDE_MAP_OFFSET: return x[i] + c;
    case SONDE_MAP_CLAMP: return x[i] < c ? c : x[i] > d ? d : x[i];
    case SONDE_MAP_SCALE_BY_POSITION: return x[i] * b[0];
    default: return b[i / n] * x[i % n];
    }
}

static void check_map(sonde_map_op op, int64_t width, int64_t slots, const kernel_levels *levels,
                      test_random *random)
{
    int64_t stride = width + 3, n = ROWS * stride;
    float *x = guarded(n), *b = guarded(n), *y = guarded(n), *expected = guarded(width);
    test_fill_normal(random, x, n);
    test_fill_normal(random, b, n);
    for (int64_t i = 0; i < width; i++) x[i] = i % 3 == 0 ? -0.0f : i % 3 == 1 ? INFINITY : NAN;
    sonde_map_args a = {.op = op, .a = x, .a_stride = stride, .b = b, .b_stride = stride, .y = y,
                        .y_stride = stride, .m = ROWS, .width = width, .slots = slots,
                        .c = op == SONDE_MAP_CLAMP ? -0.5 : 1.25, .d = 0.75};
    for (int l = 0; l < levels->n; l++) {
        fill_unwritten(y, n);
        levels->backend[l]->map(&a, 1, ROWS);
        levels->backend[l]->map(&a, 0, 1);
        for (int64_t m = 0; m < ROWS; m++) {
            for (int64_t i = 0; i < width; i++)
                expected[i] = map_by_rule(&a, x + m * stride, b + m * stride, i);
            check_same(y + m * stride, expected, width, levels->backend[l]->level);
            for (int64_t i = width; i < stride; i++) assert_true(is_unwritten(y[m * stride + i]));
        }
    }
    guarded_free(x, n);
    guarded_free(b, n);
    guarded_free(y, n);
    guarded_free(expected, width);
}

static void test_map_levels_follow_the_rule(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 15, 16, 33, 70};
    kernel_levels levels = kernel_levels_get();
    test_random random = {74};
    for (size_t i = 0; i < SONDE_COUNT(widths); i++) {
        check_map(SONDE_MAP_OFFSET, widths[i], 0, &levels, &random);
        check_map(SONDE_MAP_CLAMP, widths[i], 0, &levels, &random);
        check_map(SONDE_MAP_SCALE_BY_POSITION, widths[i], 0, &levels, &random);
        for (int64_t slots = 1; slots <= 5; slots++)
            check_map(SONDE_MAP_WEIGH, widths[i] * slots, slots, &levels, &random);
    }
}

/* ---- spread rows ------------------------------------------------------------------------------------ */

typedef struct spread {
    int64_t rows, cols, m; /* of the weight; rows of the product */
    sonde_dtype dtype;
    bool bias, residual, mapped;
} spread;

/* The rows of a product in another order, and the same ones in a line, have the same bits. */
static void check_spread(const spread *c, const sonde_backend *backend, test_random *random)
{
    enum { MOST_ROWS = 300 };
    int64_t stride = c->rows + 5, n = c->m * stride;
    float *x = guarded(c->m * c->cols), *bias = guarded(c->rows + 32), *residual = guarded(n);
    float *y = guarded(n), *plain = guarded(n), *shuffled = guarded(n);
    int32_t to[MOST_ROWS], from[MOST_ROWS];
    linear_weight w;
    assert_true(linear_weight_init(&w, backend, c->dtype, c->rows, c->cols, random));
    sonde_packed mapped = linear_weight_mapped(&w);
    test_fill_normal(random, x, c->m * c->cols);
    test_fill_normal(random, bias, c->rows + 32);
    test_fill_normal(random, residual, n);
    for (int64_t i = 0; i < c->m; i++) {
        to[i] = (int32_t)((i * 7 + 3) % c->m);
        from[i] = (int32_t)((i * 11 + 5) % c->m);
    }
    for (int64_t i = 0; i < c->m; i++)
        memcpy(shuffled + i * stride, residual + to[i] * stride, (size_t)stride * sizeof *residual);
    sonde_linear_args a = {.x = x, .x_stride = c->cols, .x_rows = from, .m = c->m, .n_parts = 1};
    a.parts[0] = (sonde_linear_part){.weight = c->mapped ? &mapped : &w.packed,
                                     .bias = c->bias ? bias : NULL,
                                     .residual = c->residual ? shuffled : NULL,
                                     .residual_stride = stride, .y = plain, .y_stride = stride};
    linear_run(backend, &a);
    fill_unwritten(y, n);
    a.y_rows = to;
    a.parts[0].residual = c->residual ? residual : NULL;
    a.parts[0].y = y;
    linear_run(backend, &a);
    for (int64_t i = 0; i < c->m; i++) {
        check_same(y + to[i] * stride, plain + i * stride, c->rows, backend->level);
        for (int64_t j = c->rows; j < stride; j++) assert_true(is_unwritten(y[i * stride + j]));
    }
    linear_weight_reset(&w);
    guarded_free(x, c->m * c->cols);
    guarded_free(bias, c->rows + 32);
    guarded_free(residual, n);
    guarded_free(y, n);
    guarded_free(plain, n);
    guarded_free(shuffled, n);
}

static void test_spread_rows_have_the_same_bits(void **state)
{
    (void)state;
    static const spread cases[] = {
        {32, 48, 1, SONDE_DTYPE_F32, false, false, false},
        {64, 300, 5, SONDE_DTYPE_BF16, false, false, false},
        {70, 300, 13, SONDE_DTYPE_F16, true, false, false},
        {97, 64, 50, SONDE_DTYPE_F32, true, true, false},
        {96, 288, 50, SONDE_DTYPE_Q8_0, false, true, true},
        {33, 40, 257, SONDE_DTYPE_F32, true, true, false},
    };
    const sonde_backend *blas = NULL;
    assert_int_equal(sonde_backend_get("blas", SONDE_CPU_AVX512, &blas, NULL), SONDE_OK);
    kernel_levels levels = kernel_levels_get();
    test_random random = {75};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        for (int l = 0; l < levels.n; l++) check_spread(&cases[i], levels.backend[l], &random);
        check_spread(&cases[i], blas, &random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_levels_follow_the_rule),
        cmocka_unit_test(test_route_of_nan),
        cmocka_unit_test(test_route_error),
        cmocka_unit_test(test_combine_levels_follow_the_rule),
        cmocka_unit_test(test_map_levels_follow_the_rule),
        cmocka_unit_test(test_spread_rows_have_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
