/* Quantised panels: every kind that is kept gives, at every level, the bits of its decoded weights
 * through the definition of the linear step; rows, slices of rows, embeddings; odd widths, scales that
 * are no numbers, subnormal or negative. */
#include "kernels/quant.h"
#include "kernels/linear.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *memory(int64_t n, size_t each)
{
    void *block = sonde_alloc((size_t)n, each);
    assert_non_null(block);
    return block;
}

/* kernels.md 1, from a row as the decoder gives it. */
static float by_rule(const float *w, const float *x, int64_t cols)
{
    float total = 0.0f;
    for (int64_t b = 0; b < sonde_linear_blocks(cols); b++) {
        float chain = 0.0f;
        for (int64_t k = sonde_linear_block_begin(cols, b); k < sonde_linear_block_begin(cols, b + 1); k++)
            chain = fmaf(x[k], w[k], chain);
        total = b ? total + chain : chain;
    }
    return total;
}

/* Operands of one kind, and what the rule gives. */
typedef struct product {
    linear_weight weight;
    int64_t m, n, k;
    float *x, *y, *expected, *row;
} product;

static void product_init(product *p, sonde_dtype kind, int64_t m, int64_t n, int64_t k,
                         test_random *random)
{
    *p = (product){.m = m, .n = n, .k = k, .x = memory(m * k, 4), .y = memory(m * n, 4),
                   .expected = memory(m * n, 4), .row = memory(k, 4)};
    test_fill_normal(random, p->x, m * k);
    const sonde_backend *best = kernel_backend(SONDE_CPU_AVX512);
    assert_true(linear_weight_init(&p->weight, best, kind, n, k, random));
    assert_int_equal(p->weight.packed.dtype, kind);
}

static void set_expected(product *p)
{
    for (int64_t n = 0; n < p->n; n++) {
        sonde_matrix_row(&p->weight.source, n, p->row);
        for (int64_t m = 0; m < p->m; m++)
            p->expected[m * p->n + n] = by_rule(p->row, p->x + m * p->k, p->k);
    }
}

static void product_reset(product *p)
{
    linear_weight_reset(&p->weight);
    sonde_free(p->x);
    sonde_free(p->y);
    sonde_free(p->expected);
    sonde_free(p->row);
}

static void check(const product *p, int64_t m, const char *level)
{
    for (int64_t i = 0; i < m * p->n; i++)
        if (!same_bits(p->y[i], p->expected[i]))
            fail_msg("%s %s, m %lld n %lld k %lld: output %lld is %a, expected %a",
                     sonde_dtype_name(p->weight.packed.dtype), level, (long long)m,
                     (long long)p->n, (long long)p->k, (long long)i, (double)p->y[i],
                     (double)p->expected[i]);
}

/* The first m rows at every level, whole and unit by unit from the last one. */
static void check_levels(product *p, int64_t m)
{
    sonde_linear_args args = {.x = p->x, .x_stride = p->k, .m = m, .n_parts = 1};
    args.parts[0] = (sonde_linear_part){.weight = &p->weight.packed, .y = p->y, .y_stride = p->n};
    for (size_t l = 0; l < SONDE_COUNT(all_levels); l++) {
        if (sonde_cpu_best() < all_levels[l]) continue;
        const sonde_backend *backend = kernel_backend(all_levels[l]);
        memset(p->y, 0xA5, (size_t)(p->m * p->n) * sizeof *p->y);
        linear_run(backend, &args);
        check(p, m, backend->level);
        memset(p->y, 0xA5, (size_t)(p->m * p->n) * sizeof *p->y);
        void *scratch = memory(1, backend->linear_scratch(&args));
        for (int64_t unit = backend->linear_units(&args) - 1; unit >= 0; unit--)
            backend->linear(&args, unit, unit + 1, scratch);
        sonde_free(scratch);
        check(p, m, "unit by unit");
    }
}

static void test_rows_are_the_decoded_ones(void **state)
{
    (void)state;
    test_random random = {11};
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++) {
        product p;
        product_init(&p, quant_kinds[i], 1, 71, 512, &random);
        float *row = memory(512, 4);
        int32_t ids[71];
        for (int32_t n = 0; n < 71; n++) ids[n] = (n * 13) % 71;
        float *y = memory((int64_t)71 * 512, 4);
        sonde_embed_args embed = {.weight = &p.weight.packed, .ids = ids, .m = 71, .y = y,
                                  .y_stride = 512};
        kernel_backend(SONDE_CPU_AVX512)->embed(&embed, 0, 71);
        for (int64_t n = 0; n < 71; n++) {
            sonde_matrix_row(&p.weight.source, n, p.row);
            sonde_quant_row(&p.weight.packed, n, row);
            assert_memory_equal(row, p.row, 512 * sizeof *row);
        }
        for (int64_t m = 0; m < 71; m++) {
            sonde_matrix_row(&p.weight.source, ids[m], p.row);
            assert_memory_equal(y + m * 512, p.row, 512 * sizeof *row);
        }
        sonde_free(row);
        sonde_free(y);
        product_reset(&p);
    }
}

static void test_products_are_those_of_decoded_weights(void **state)
{
    (void)state;
    static const int64_t ns[] = {1, 31, 64, 100}, ks[] = {256, 1024};
    static const int64_t ms[] = {1, 2, 3, 4, 5, 6, 7, 13, 30};
    test_random random = {12};
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++)
        for (size_t n = 0; n < SONDE_COUNT(ns); n++)
            for (size_t k = 0; k < SONDE_COUNT(ks); k++) {
                product p;
                bool blocks = sonde_dtype_block_elements(quant_kinds[i]) == 32;
                product_init(&p, quant_kinds[i], 30, ns[n],
                             blocks ? ks[k] + 32 * (int64_t)n : ks[k], &random);
                set_expected(&p);
                for (size_t m = 0; m < SONDE_COUNT(ms); m++) check_levels(&p, ms[m]);
                product_reset(&p);
            }
}

/* Any byte is a block: scales that are infinite, NaN, subnormal, zero; and rows of x that are. */
static void test_odd_numbers(void **state)
{
    (void)state;
    static const uint16_t halves[] = {0x7C00, 0xFC00, 0x7E01, 0x0001, 0x8003, 0x0000, 0x8000, 0x7BFF};
    static const float odd[] = {INFINITY, -INFINITY, NAN, 0x1p-149f, -0x1p-130f, 3e38f, -0.0f, 0.0f};
    test_random random = {13};
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++) {
        product p;
        product_init(&p, quant_kinds[i], 9, 64, 512, &random);
        int64_t size = sonde_dtype_block_bytes(quant_kinds[i]);
        int64_t elements = sonde_dtype_block_elements(quant_kinds[i]);
        int64_t at = quant_kinds[i] == SONDE_DTYPE_Q6_K ? 208 : 0;
        for (int64_t n = 0; n < 64; n += 3) {
            uint8_t *block = (uint8_t *)p.weight.stored + (n * 512 / elements + n % 2) * size;
            memcpy(block + at, &halves[n / 3 % 8], 2);
        }
        for (int64_t m = 1; m < 9; m++) p.x[m * 512 + 37 * m] = odd[m - 1];
        kernel_backend(SONDE_CPU_AVX512)->pack(&p.weight.source, &p.weight.packed, 0, 2, p.row);
        set_expected(&p);
        check_levels(&p, 1);
        check_levels(&p, 4);
        check_levels(&p, 9);
        product_reset(&p);
    }
}

/* What cannot be kept as it is stored: columns, scales apart. */
static void test_keeps_whole_blocks_only(void **state)
{
    (void)state;
    sonde_matrix_source source = {.dtype = SONDE_DTYPE_Q4_1, .rows = 64, .cols = 64, .stored_cols = 64};
    assert_true(sonde_quant_keeps(&source));
    source.transposed = 1;
    assert_false(sonde_quant_keeps(&source));
    source.transposed = 0;
    source.dtype = SONDE_DTYPE_F16;
    assert_false(sonde_quant_keeps(&source));
    assert_int_equal(sonde_quant_bytes(sonde_quant_form_of(SONDE_DTYPE_Q4_1), 33, 64), 2 * 2 * 640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_the_decoded_ones),
        cmocka_unit_test(test_products_are_those_of_decoded_weights),
        cmocka_unit_test(test_odd_numbers),
        cmocka_unit_test(test_keeps_whole_blocks_only),
    };
    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
