/* Linear: every level of `cpu` gives the bits of the definition, for any shape, stride, row map,
 * part, weight type and split into units. The definition itself is checked against the rule of
 * kernels.md 1 written out again here, from the stored rows, without panels. */
#include "kernels/linear.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 0x7FA5A5A5u /* a NaN that no product gives */

static const sonde_dtype dtypes[] = {SONDE_DTYPE_F32, SONDE_DTYPE_BF16, SONDE_DTYPE_F16};
static const sonde_cpu_level levels[] = {SONDE_CPU_SCALAR, SONDE_CPU_AVX2, SONDE_CPU_AVX512};

/* NULL, with a word, when this processor lacks the level. */
static const sonde_backend *backend_of(sonde_cpu_level level)
{
    const sonde_backend *backend = NULL;
    if (sonde_cpu_best() < level) {
        print_message("skipped: this processor has no %s\n", sonde_cpu_level_name(level));
        return NULL;
    }
    assert_int_equal(sonde_backend_get("cpu", level, &backend, NULL), SONDE_OK);
    return backend;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* ---- a case: operands of m rows, room for outputs with guards ----------------------------------- */

typedef struct shape {
    int64_t m, n, k;
    sonde_dtype dtype;
    bool bias, residual, gather;
    int32_t n_parts;
    int64_t x_pad, y_pad; /* what strides have beyond the width */
} shape;

typedef struct product {
    shape s;
    linear_weight weights[SONDE_LINEAR_PARTS];
    float *x, *bias, *residual;
    float *y[SONDE_LINEAR_PARTS]; /* [1 + m rows of y_stride + 1 row] */
    int32_t *x_rows;
    int64_t y_stride;
    sonde_linear_args args;
} product;

static float *floats(int64_t n)
{
    float *block = sonde_alloc((size_t)n, sizeof *block);
    assert_non_null(block);
    return block;
}

static void fill_guard(product *p)
{
    for (int32_t i = 0; i < p->s.n_parts; i++)
        for (int64_t at = 0; at < (p->s.m + 2) * p->y_stride; at++) {
            uint32_t guard = GUARD;
            memcpy(&p->y[i][at], &guard, sizeof guard);
        }
}

static void product_init(product *p, const shape *s, test_random *random)
{
    const sonde_backend *scalar = backend_of(SONDE_CPU_SCALAR);
    int64_t x_stride = s->k + s->x_pad, widest = s->n + 8 * s->n_parts;
    *p = (product){.s = *s, .y_stride = widest + s->y_pad};
    p->x = floats(s->m * x_stride);
    p->bias = floats(widest);
    p->residual = floats(s->m * (widest + 3));
    test_fill_normal(random, p->x, s->m * x_stride);
    test_fill_normal(random, p->bias, widest);
    test_fill_normal(random, p->residual, s->m * (widest + 3));
    p->x_rows = sonde_alloc((size_t)s->m, sizeof *p->x_rows);
    assert_non_null(p->x_rows);
    for (int64_t m = 0; m < s->m; m++)
        p->x_rows[m] = (int32_t)(test_random_u64(random) % (uint64_t)s->m);
    p->args = (sonde_linear_args){.x = p->x, .x_stride = x_stride, .m = s->m, .n_parts = s->n_parts,
                                  .x_rows = s->gather ? p->x_rows : NULL};
    for (int32_t i = 0; i < s->n_parts; i++) {
        p->y[i] = floats((s->m + 2) * p->y_stride);
        assert_true(linear_weight_init(&p->weights[i], scalar, s->dtype, s->n + 8 * i, s->k, random));
        p->args.parts[i] = (sonde_linear_part){
            .weight = &p->weights[i].packed, .bias = s->bias ? p->bias : NULL,
            .residual = s->residual ? p->residual : NULL, .residual_stride = widest + 3,
            .y = p->y[i] + p->y_stride, .y_stride = p->y_stride};
    }
    fill_guard(p);
}

static void product_reset(product *p)
{
    for (int32_t i = 0; i < p->s.n_parts; i++) {
        linear_weight_reset(&p->weights[i]);
        sonde_free(p->y[i]);
    }
    sonde_free(p->x);
    sonde_free(p->bias);
    sonde_free(p->residual);
    sonde_free(p->x_rows);
}

/* Outputs of every part, in a copy that later runs are compared with. */
static float *outputs_of(const product *p)
{
    int64_t each = (p->s.m + 2) * p->y_stride;
    float *copy = floats(each * p->s.n_parts);
    for (int32_t i = 0; i < p->s.n_parts; i++)
        memcpy(copy + i * each, p->y[i], (size_t)each * sizeof *copy);
    return copy;
}

/* Rows [0, m) equal the expected ones; all else still holds the guard. */
static void check_outputs(const product *p, const float *expected, int64_t m, const char *what)
{
    int64_t each = (p->s.m + 2) * p->y_stride;
    for (int32_t i = 0; i < p->s.n_parts; i++)
        for (int64_t at = 0; at < each; at++) {
            int64_t row = at / p->y_stride - 1, column = at % p->y_stride;
            bool inside = row >= 0 && row < m && column < p->weights[i].packed.rows;
            float y = p->y[i][at], e = expected[i * each + at];
            if (inside ? same_bits(y, e) : bits_of(y) == GUARD) continue;
            fail_msg("%s: m %lld n %lld k %lld %s: part %d row %lld column %lld is %a, expected %a",
                     what, (long long)m, (long long)p->s.n, (long long)p->s.k,
                     sonde_dtype_name(p->s.dtype), i, (long long)row, (long long)column, (double)y,
                     inside ? (double)e : NAN);
        }
}

/* ---- the definition ------------------------------------------------------------------------------ */

static void test_blocks_of_k(void **state)
{
    (void)state;
    static const struct {
        int64_t k, begins[5];
    } cases[] = {
        {1, {0, 1}},          {31, {0, 31}},         {256, {0, 256}},
        {257, {0, 128, 257}}, {288, {0, 128, 288}},  {512, {0, 256, 512}},
        {576, {0, 192, 384, 576}}, {600, {0, 192, 384, 600}}, {1000, {0, 256, 512, 768, 1000}},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        int64_t blocks = sonde_linear_blocks(cases[i].k);
        for (int64_t b = 0; b <= blocks; b++)
            assert_int_equal(sonde_linear_block_begin(cases[i].k, b), cases[i].begins[b]);
        assert_int_equal(cases[i].begins[blocks], cases[i].k);
    }
}

/* kernels.md 1, from a row as it is stored. */
static float by_rule(const product *p, int32_t part, const float *w, const float *x, int64_t m,
                     int64_t n)
{
    int64_t k_all = p->s.k, blocks = (k_all + 255) / 256, units = (k_all + 31) / 32;
    float total = 0.0f;
    for (int64_t b = 0; b < blocks; b++) {
        float chain = 0.0f;
        for (int64_t k = 32 * (b * units / blocks); k < 32 * ((b + 1) * units / blocks); k++)
            if (k < k_all) chain = fmaf(x[k], w[k], chain);
        total = b ? total + chain : chain;
    }
    const sonde_linear_part *a = &p->args.parts[part];
    if (a->bias) total = total + p->bias[n];
    if (a->residual) total = p->residual[m * a->residual_stride + n] + total;
    return total;
}

static void test_scalar_follows_the_rule(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {3, 5, 1, SONDE_DTYPE_F32, false, false, false, 1, 0, 0},
        {4, 33, 257, SONDE_DTYPE_F32, true, false, true, 2, 3, 1},
        {5, 40, 600, SONDE_DTYPE_BF16, true, true, false, 1, 1, 2},
        {3, 31, 300, SONDE_DTYPE_F16, false, true, true, 3, 0, 0},
        {4, 64, 544, SONDE_DTYPE_Q8_0, true, true, false, 1, 0, 5},
    };
    test_random random = {1};
    for (size_t i = 0; i < SONDE_COUNT(shapes); i++) {
        product p;
        product_init(&p, &shapes[i], &random);
        linear_run(backend_of(SONDE_CPU_SCALAR), &p.args);
        float *expected = outputs_of(&p), *w = floats(shapes[i].k);
        for (int32_t part = 0; part < p.s.n_parts; part++)
            for (int64_t n = 0; n < p.weights[part].packed.rows; n++) {
                sonde_matrix_row(&p.weights[part].source, n, w);
                for (int64_t m = 0; m < p.s.m; m++) {
                    const float *x = p.x + (p.s.gather ? p.x_rows[m] : m) * p.args.x_stride;
                    expected[(part * (p.s.m + 2) + m + 1) * p.y_stride + n] =
                        by_rule(&p, part, w, x, m, n);
                }
            }
        check_outputs(&p, expected, p.s.m, "the rule");
        sonde_free(w);
        sonde_free(expected);
        product_reset(&p);
    }
}

/* ---- levels give the bits of the definition --------------------------------------------------------- */

/* Runs the first m rows at each level, whole and unit by unit from the last to the first. */
static void check_levels(product *p, const float *expected, int64_t m)
{
    sonde_linear_args args = p->args;
    args.m = m;
    for (size_t l = 0; l < SONDE_COUNT(levels); l++) {
        if (sonde_cpu_best() < levels[l] || (levels[l] == SONDE_CPU_SCALAR && m == p->s.m)) continue;
        const sonde_backend *backend = backend_of(levels[l]);
        fill_guard(p);
        linear_run(backend, &args);
        check_outputs(p, expected, m, backend->level);
        fill_guard(p);
        void *scratch = sonde_alloc_raw(1, backend->linear_scratch(&args));
        assert_non_null(scratch);
        for (int64_t unit = backend->linear_units(&args) - 1; unit >= 0; unit--)
            backend->linear(&args, unit, unit + 1, scratch);
        sonde_free(scratch);
        check_outputs(p, expected, m, "unit by unit");
    }
}

static void check_shape(const shape *s, const int64_t *rows, size_t n_rows, test_random *random)
{
    product p;
    product_init(&p, s, random);
    linear_run(backend_of(SONDE_CPU_SCALAR), &p.args);
    float *expected = outputs_of(&p);
    check_outputs(&p, expected, s->m, "scalar");
    for (size_t i = 0; i < n_rows; i++) check_levels(&p, expected, rows[i]);
    sonde_free(expected);
    product_reset(&p);
}

static void say_missing_levels(void)
{
    for (size_t l = 0; l < SONDE_COUNT(levels); l++) backend_of(levels[l]);
}

/* Every width and depth that a tile can be cut at, with the options taken in turn; the rows of a
 * smaller m are those of the largest one. */
static void test_levels_equal_the_definition(void **state)
{
    (void)state;
    static const int64_t ks[] = {1, 2, 31, 32, 33, 255, 256, 257, 288, 513, 576, 777};
    static const int64_t ns[] = {1, 7, 16, 31, 32, 33, 64, 95, 130};
    static const int64_t few[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25};
    test_random random = {2};
    unsigned turn = 0;
    for (size_t k = 0; k < SONDE_COUNT(ks); k++)
        for (size_t n = 0; n < SONDE_COUNT(ns); n++, turn += 5) {
            shape s = {25, ns[n], ks[k], dtypes[turn % 3], turn & 1, turn & 2, turn & 4,
                       1 + (int32_t)(turn % 7 % 4), turn % 5, turn % 3 * 7};
            check_shape(&s, few, SONDE_COUNT(few), &random);
        }
    say_missing_levels();
}

/* Every tile height, row blocks and what follows them; 1,024 makes the rows of x alias in cache. */
static void test_levels_equal_the_definition_for_any_m(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {64, 48, 320, SONDE_DTYPE_F32, true, true, false, 1, 0, 0},
        {64, 70, 290, SONDE_DTYPE_BF16, false, true, true, 2, 6, 2},
        {40, 20, 1024, SONDE_DTYPE_F16, true, false, false, 1, 0, 12},
    };
    static const shape tight = {9, 8, 64, SONDE_DTYPE_F32, false, false, false, 3, 0, 0};
    int64_t rows[64];
    for (int64_t m = 0; m < 64; m++) rows[m] = m + 1;
    test_random random = {3};
    for (size_t i = 0; i < SONDE_COUNT(shapes); i++)
        check_shape(&shapes[i], rows, (size_t)shapes[i].m, &random);
    check_shape(&tight, rows, 9, &random); /* rows of y as far apart as those of a panel */
    for (size_t d = 0; d < SONDE_COUNT(dtypes); d++) {
        static const int64_t big[] = {239, 240, 241, 480, 481, 500};
        shape s = {500, 33, 65, dtypes[d], d != 1, d != 2, d == 0, 1, 5, 5};
        check_shape(&s, big, SONDE_COUNT(big), &random);
        static const int64_t far[] = {204, 205, 240}; /* x in the second cache, and too much for it */
        shape t = {240, 70, 320, dtypes[d], d != 2, d != 0, d == 1, 2, 0, 3};
        check_shape(&t, far, SONDE_COUNT(far), &random);
    }
}

/* Zeros of both signs, subnormals, the largest numbers, infinities and NaN go the same way. */
static void test_levels_equal_the_definition_for_odd_numbers(void **state)
{
    (void)state;
    static const float odd[] = {0.0f, -0.0f, 1e-42f, -1e-45f, 3e38f, -3e38f, INFINITY, NAN, 1e-20f};
    test_random random = {4};
    for (size_t d = 0; d < SONDE_COUNT(dtypes); d++) {
        shape s = {14, 37, 300, dtypes[d], d == 1, d == 2, false, 1, 0, 0};
        product p;
        product_init(&p, &s, &random);
        for (int64_t m = 0; m < s.m; m++) /* row 0 all zero, row m has m - 1 odd numbers */
            for (int64_t k = 0; k < s.k; k++)
                if (m == 0) p.x[k] = k & 1 ? 0.0f : -0.0f;
                else if (k % 23 < m - 1) p.x[m * s.k + k] = odd[(size_t)k % (size_t)SONDE_MIN(m, 9)];
        linear_run(backend_of(SONDE_CPU_SCALAR), &p.args);
        float *expected = outputs_of(&p);
        check_levels(&p, expected, s.m);
        check_levels(&p, expected, 1);
        check_levels(&p, expected, 5);
        sonde_free(expected);
        product_reset(&p);
    }
}

/* ---- mapped weights ------------------------------------------------------------------------------- */

/* Every part left where it is stored; every second one only when `mixed`. */
static void map_weights(product *p, bool mixed, sonde_packed mapped[SONDE_LINEAR_PARTS])
{
    for (int32_t i = 0; i < p->s.n_parts; i++) {
        mapped[i] = linear_weight_mapped(&p->weights[i]);
        p->args.parts[i].weight = mixed && i % 2 ? &p->weights[i].packed : &mapped[i];
    }
}

/* A weight left in the file gives the bits of its packed copy, at every level and for any m. */
static void test_mapped_weights_give_the_bits_of_packed_ones(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {13, 70, 290, SONDE_DTYPE_F32, true, true, false, 1, 0, 0},
        {25, 33, 777, SONDE_DTYPE_BF16, true, false, true, 2, 3, 2},
        {7, 130, 65, SONDE_DTYPE_F16, false, true, false, 3, 1, 0},
        {26, 300, 608, SONDE_DTYPE_Q8_0, true, true, true, 2, 0, 5},
        {250, 40, 288, SONDE_DTYPE_BF16, false, false, false, 2, 0, 0},
    };
    static const int64_t few[] = {1, 2, 6, 7};
    test_random random = {6};
    for (size_t i = 0; i < SONDE_COUNT(shapes); i++)
        for (int mixed = 0; mixed < 2; mixed++) {
            product p;
            sonde_packed mapped[SONDE_LINEAR_PARTS];
            product_init(&p, &shapes[i], &random);
            linear_run(backend_of(SONDE_CPU_SCALAR), &p.args);
            float *expected = outputs_of(&p);
            map_weights(&p, mixed == 1, mapped);
            for (size_t m = 0; m < SONDE_COUNT(few); m++) check_levels(&p, expected, few[m]);
            check_levels(&p, expected, p.s.m);
            fill_guard(&p);
            linear_run(backend_of(SONDE_CPU_SCALAR), &p.args);
            check_outputs(&p, expected, p.s.m, "scalar, mapped");
            sonde_free(expected);
            product_reset(&p);
        }
}

/* ---- packed weights ------------------------------------------------------------------------------ */

static void test_embed_gives_the_stored_rows(void **state)
{
    (void)state;
    static const sonde_dtype stored[] = {SONDE_DTYPE_F32, SONDE_DTYPE_BF16, SONDE_DTYPE_F16,
                                         SONDE_DTYPE_Q8_0};
    static const int32_t ids[] = {0, 69, 31, 32, 64, 1, 31};
    enum { ROWS = 70, COLS = 96, COUNT = 7 };
    test_random random = {5};
    for (size_t d = 0; d < SONDE_COUNT(stored); d++) {
        linear_weight w;
        const sonde_backend *backend = backend_of(SONDE_CPU_AVX512 < sonde_cpu_best()
                                                      ? SONDE_CPU_AVX512 : sonde_cpu_best());
        assert_true(linear_weight_init(&w, backend, stored[d], ROWS, COLS, &random));
        float y[COUNT][COLS + 3], row[COLS];
        memset(y, 0x5A, sizeof y);
        uint32_t guard = bits_of(y[0][COLS]);
        sonde_embed_args args = {.weight = &w.packed, .ids = ids, .m = COUNT, .y = y,
                                 .y_stride = COLS + 3};
        backend->embed(&args, 0, 3);
        backend->embed(&args, 3, COUNT);
        float twice[COUNT][COLS + 3];
        sonde_packed mapped = linear_weight_mapped(&w);
        memset(twice, 0x5A, sizeof twice);
        args.weight = &mapped;
        args.y = twice;
        backend->embed(&args, 0, COUNT);
        assert_memory_equal(y, twice, sizeof y);
        for (int m = 0; m < COUNT; m++) {
            sonde_matrix_row(&w.source, ids[m], row);
            assert_memory_equal(y[m], row, sizeof row);
            assert_int_equal(bits_of(y[m][COLS]), guard);
        }
        linear_weight_reset(&w);
    }
}

/* Precision is kept where it is two bytes; the size counts whole panels and reports overflow. */
static void test_packed_sizes(void **state)
{
    (void)state;
    const sonde_backend *cpu = backend_of(SONDE_CPU_SCALAR);
    assert_int_equal(cpu->packed_dtype(SONDE_DTYPE_F32), SONDE_DTYPE_F32);
    assert_int_equal(cpu->packed_dtype(SONDE_DTYPE_BF16), SONDE_DTYPE_BF16);
    assert_int_equal(cpu->packed_dtype(SONDE_DTYPE_F16), SONDE_DTYPE_F16);
    assert_int_equal(cpu->packed_dtype(SONDE_DTYPE_Q4_K), SONDE_DTYPE_F32);
    assert_int_equal(cpu->packed_dtype(SONDE_DTYPE_MXFP4), SONDE_DTYPE_BF16);
    assert_int_equal(cpu->packed_dtype(SONDE_DTYPE_TQ2_0), SONDE_DTYPE_F16);
    assert_int_equal(cpu->packed_bytes(SONDE_DTYPE_F32, 33, 5), 64 * 5 * 4);
    assert_true(cpu->packed_bytes(SONDE_DTYPE_BF16, 32, 5) >= 32 * 5 * 2);
    assert_true(cpu->packed_bytes(SONDE_DTYPE_F32, INT64_MAX / 4, 1000) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_of_k),
        cmocka_unit_test(test_scalar_follows_the_rule),
        cmocka_unit_test(test_levels_equal_the_definition),
        cmocka_unit_test(test_levels_equal_the_definition_for_any_m),
        cmocka_unit_test(test_levels_equal_the_definition_for_odd_numbers),
        cmocka_unit_test(test_mapped_weights_give_the_bits_of_packed_ones),
        cmocka_unit_test(test_embed_gives_the_stored_rows),
        cmocka_unit_test(test_packed_sizes),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
