/* `--mode int`: every level gives the bits of ref/linear_int.c, for every kind, any rows and split into
 * units, prepared or not, packed or in the file; the definition is checked against the rule of
 * quant_int.h written out again here, and its error against double. */
#include "kernels/quant_int.h"
#include "support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const sonde_backend *backend_of(sonde_cpu_level level)
{
    const sonde_backend *backend = kernel_backend(level);
    assert_non_null(backend->integers);
    return backend->integers;
}

static void *memory(int64_t n, size_t each)
{
    void *block = sonde_alloc((size_t)n, each);
    assert_non_null(block);
    return block;
}

/* ---- operands: one or two parts that share x ---------------------------------------------------------- */

typedef struct product {
    linear_weight weights[2];
    sonde_packed mapped[2];
    int64_t m, n, k;
    float *x, *y, *expected, *edge;
    int32_t *x_rows, *y_rows;
    sonde_linear_args args;
} product;

static void product_init(product *p, sonde_dtype first, sonde_dtype second, int64_t m, int64_t n,
                         int64_t k, test_random *random)
{
    *p = (product){.m = m, .n = n, .k = k, .x = memory(m * k, 4), .y = memory(2 * m * n, 4),
                   .expected = memory(2 * m * n, 4), .edge = memory(m * n, 4),
                   .x_rows = memory(m, 4), .y_rows = memory(m, 4)};
    test_fill_normal(random, p->x, m * k);
    test_fill_normal(random, p->edge, m * n);
    for (int64_t i = 0; i < m; i++) {
        p->x_rows[i] = (int32_t)(test_random_u64(random) % (uint64_t)m);
        p->y_rows[i] = (int32_t)(m - 1 - i);
    }
    p->args = (sonde_linear_args){.x = p->x, .x_stride = k, .m = m,
                                  .n_parts = second == SONDE_DTYPE_NONE ? 1 : 2};
    for (int32_t i = 0; i < p->args.n_parts; i++) {
        sonde_dtype kind = i ? second : first;
        assert_true(linear_weight_init(&p->weights[i], backend_of(SONDE_CPU_AVX512), kind, n, k, random));
        p->mapped[i] = linear_weight_mapped(&p->weights[i]);
        p->args.parts[i] = (sonde_linear_part){.weight = &p->weights[i].packed,
                                               .y = p->y + i * m * n, .y_stride = n};
    }
}

static void product_reset(product *p)
{
    for (int32_t i = 0; i < p->args.n_parts; i++) linear_weight_reset(&p->weights[i]);
    void *blocks[] = {p->x, p->y, p->expected, p->edge, p->x_rows, p->y_rows};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

static size_t output_bytes(const product *p)
{
    return (size_t)(p->args.n_parts * p->m * p->n) * sizeof(float);
}

static void check(const product *p, const char *what)
{
    for (int64_t i = 0; i < p->args.n_parts * p->m * p->n; i++)
        if (!same_bits(p->y[i], p->expected[i]))
            fail_msg("%s %s, m %lld n %lld k %lld: output %lld is %a, expected %a",
                     sonde_dtype_name(p->weights[0].packed.dtype), what, (long long)p->args.m,
                     (long long)p->n, (long long)p->k, (long long)i, (double)p->y[i],
                     (double)p->expected[i]);
}

/* Outputs that no row is written to keep the canary in both. */
static void clear(const product *p, float *y)
{
    memset(y, 0xA5, output_bytes(p));
}

static void expect_scalar(product *p)
{
    clear(p, p->y);
    linear_run(backend_of(SONDE_CPU_SCALAR), &p->args);
    memcpy(p->expected, p->y, output_bytes(p));
}

/* Rows prepared once, as lib/run does; then unit by unit from the last one. */
static void run_prepared(const product *p, const sonde_backend *backend)
{
    sonde_linear_args args = p->args;
    size_t bytes = backend->linear_prepared ? backend->linear_prepared(&args) : 0;
    if (bytes == 0) return;
    void *prepared = memory(1, bytes);
    for (int64_t m = args.m - 1; m >= 0; m--) backend->linear_prepare(&args, m, m + 1, prepared);
    args.prepared = prepared;
    void *scratch = memory(1, backend->linear_scratch(&args));
    clear(p, p->y);
    for (int64_t unit = backend->linear_units(&args) - 1; unit >= 0; unit--)
        backend->linear(&args, unit, unit + 1, scratch);
    check(p, "prepared, unit by unit");
    sonde_free(prepared);
    sonde_free(scratch);
}

static void check_levels(product *p)
{
    expect_scalar(p);
    for (size_t l = 0; l < SONDE_COUNT(all_levels); l++) {
        if (sonde_cpu_best() < all_levels[l]) continue;
        const sonde_backend *backend = backend_of(all_levels[l]);
        clear(p, p->y);
        linear_run(backend, &p->args);
        check(p, backend->level);
        run_prepared(p, backend);
        for (int32_t i = 0; i < p->args.n_parts; i++) p->args.parts[i].weight = &p->mapped[i];
        clear(p, p->y);
        linear_run(backend, &p->args);
        check(p, "left in the file");
        for (int32_t i = 0; i < p->args.n_parts; i++) p->args.parts[i].weight = &p->weights[i].packed;
    }
}

/* ---- the definition ------------------------------------------------------------------------------------ */

/* quant_int.h again, with long double for what is exact. */
static float by_rule(const product *p, int64_t n, const float *x)
{
    sonde_dtype kind = p->weights[0].packed.dtype;
    bool halves = kind == SONDE_DTYPE_Q6_K;
    float total = 0.0f;
    for (int64_t b = 0; b < sonde_linear_blocks(p->k); b++) {
        float chain = 0.0f;
        for (int64_t k = sonde_linear_block_begin(p->k, b); k < sonde_linear_block_begin(p->k, b + 1); k += 32) {
            sonde_split_group g;
            sonde_splitter_of(kind)(sonde_matrix_stored_blocks(&p->weights[0].source, n), k / 32, &g);
            float most = 0.0f;
            int e;
            for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[k + i]));
            frexpf(most, &e); /* most < 2^e */
            long double s = ldexpl(1.0L, e - 23);
            if (rintl(most / s) > 0x7F7F7F) s *= 2;
            long double sums[2] = {0, 0}, all = 0;
            for (int i = 0; i < 32; i++) {
                long double integer = rintl(x[k + i] / s);
                sums[halves ? i / 16 : 0] += g.q[i] * integer;
                all += integer;
            }
            for (int half = 0; half < (halves ? 2 : 1); half++)
                chain = fmaf(g.scale[half], (float)sums[half] * (float)s, chain);
            if (sonde_quant_form_of(kind)->low) chain = fmaf(g.low, (float)all * (float)s, chain);
        }
        total = b ? total + chain : chain;
    }
    return total;
}

static void test_scalar_follows_the_rule(void **state)
{
    (void)state;
    test_random random = {21};
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++) {
        product p;
        product_init(&p, quant_kinds[i], SONDE_DTYPE_NONE, 6, 40, 512, &random);
        for (int64_t k = 0; k < 512; k++) p.x[k] *= k % 32 == 5 ? 300.0f : 1.0f;
        p.x[512 + 7] = 0x1.FDFDFEp3f; /* the largest that keeps its step, and the next one up */
        p.x[1024 + 7] = 0x1.FDFDFCp3f;
        clear(&p, p.y);
        linear_run(backend_of(SONDE_CPU_SCALAR), &p.args);
        for (int64_t m = 0; m < p.m; m++)
            for (int64_t n = 0; n < p.n; n++)
                p.expected[m * p.n + n] = by_rule(&p, n, p.x + m * p.k);
        check(&p, "the rule");
        product_reset(&p);
    }
}

/* Rows that are not finite, or massive, have the bits of exact mode; others none of them. */
static void test_rows_left_to_exact_mode(void **state)
{
    (void)state;
    test_random random = {22};
    const sonde_backend *exact = NULL;
    assert_int_equal(sonde_backend_get("cpu", SONDE_CPU_AVX512, &exact, NULL), SONDE_OK);
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++) {
        product p;
        product_init(&p, quant_kinds[i], SONDE_DTYPE_NONE, 6, 64, 512, &random);
        p.x[0 * 512 + 100] = INFINITY;
        p.x[1 * 512 + 511] = NAN;
        p.x[2 * 512 + 3] = 20000.0f; /* 2^13 above 15 other groups */
        p.x[3 * 512 + 3] = 3.4e38f;
        check_levels(&p);
        clear(&p, p.y);
        linear_run(exact, &p.args);
        for (int64_t j = 0; j < 4 * p.n; j++) assert_true(same_bits(p.y[j], p.expected[j]));
        int64_t equal = 0;
        for (int64_t j = 4 * p.n; j < 6 * p.n; j++) equal += same_bits(p.y[j], p.expected[j]);
        assert_true(equal < p.n);
        product_reset(&p);
    }
}

/* ---- levels ---------------------------------------------------------------------------------------------- */

static void test_levels_equal_the_definition(void **state)
{
    (void)state;
    static const int64_t ms[] = {1, 2, 3, 4, 5, 9, 10}, ns[] = {1, 33, 64, 95};
    test_random random = {23};
    unsigned turn = 0;
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++)
        for (size_t m = 0; m < SONDE_COUNT(ms); m++, turn++) {
            product p;
            bool blocks = sonde_dtype_block_elements(quant_kinds[i]) == 32;
            int64_t k = blocks ? 32 * (1 + turn * 7 % 23) : 256 * (1 + turn % 3);
            product_init(&p, quant_kinds[i], SONDE_DTYPE_NONE, ms[m], ns[turn % 4], k, &random);
            if (turn % 2) p.args.x_rows = p.x_rows;
            if (turn % 3 == 1) p.args.y_rows = p.y_rows;
            if (turn % 5 < 2) p.args.parts[0].bias = p.edge;
            if (turn % 7 < 4) {
                p.args.parts[0].residual = p.edge;
                p.args.parts[0].residual_stride = p.n;
            }
            if (ms[m] > 2) p.x[2 * k + k / 2] = turn % 2 ? NAN : 5e4f;
            check_levels(&p);
            product_reset(&p);
        }
}

/* Sums at their ends: the largest digits against the largest integers. */
static void test_largest_sums(void **state)
{
    (void)state;
    static const float ends[] = {0x7F7F7Fp0f, -0x7F7F7Fp0f, 0x7F8080p0f, -0x7F8080p0f,
                                 0x7F7800p0f, -0x7F7800p0f, 0x7F87FFp0f, 0x800800p-1f};
    test_random random = {24};
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++)
        for (int bytes = 0; bytes < 3; bytes++) {
            product p;
            product_init(&p, quant_kinds[i], SONDE_DTYPE_NONE, 16, 32, 256, &random);
            int64_t size = sonde_dtype_block_bytes(quant_kinds[i]);
            int64_t n_blocks = 32 * 256 / sonde_dtype_block_elements(quant_kinds[i]);
            for (int64_t b = 0; b < n_blocks; b++) {
                uint8_t *block = (uint8_t *)p.weights[0].stored + b * size;
                uint16_t one = 0x3C00;
                memset(block, bytes == 0 ? 0xFF : bytes == 1 ? 0x80 : 0x7F, (size_t)size);
                memcpy(block + (quant_kinds[i] == SONDE_DTYPE_Q6_K ? 208 : 0), &one, 2);
                if (quant_kinds[i] != SONDE_DTYPE_Q6_K && sonde_quant_form_of(quant_kinds[i])->low)
                    memcpy(block + 2, &one, 2);
            }
            for (int64_t m = 0; m < 16; m++)
                for (int64_t k = 0; k < 256; k++)
                    p.x[m * 256 + k] = m < 8 ? ends[m] : ends[(k + m) % 8] * (k % 2 ? 1.0f : -1.0f);
            const sonde_backend *cpu = backend_of(SONDE_CPU_AVX512);
            cpu->pack(&p.weights[0].source, &p.weights[0].packed, 0, 1, p.edge);
            check_levels(&p);
            product_reset(&p);
        }
}

/* Parts of both kinds of digits, and one that has no integers, share rows of x. */
static void test_parts_of_several_kinds(void **state)
{
    (void)state;
    static const sonde_dtype second[] = {SONDE_DTYPE_Q8_0, SONDE_DTYPE_F32, SONDE_DTYPE_BF16};
    test_random random = {25};
    for (size_t i = 0; i < SONDE_COUNT(second); i++)
        for (int swap = 0; swap < 2; swap++) {
            product p;
            sonde_dtype a = SONDE_DTYPE_Q4_1, b = second[i];
            product_init(&p, swap ? b : a, swap ? a : b, 11, 70, 576, &random);
            p.x[3 * 576] = INFINITY;
            check_levels(&p);
            product_reset(&p);
        }
}

/* A row alone has the bits that it has among many: more rows than a block of them. */
static void test_rows_do_not_depend_on_others(void **state)
{
    (void)state;
    test_random random = {26};
    const sonde_backend *backend = backend_of(SONDE_CPU_AVX512);
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++) {
        product p;
        product_init(&p, quant_kinds[i], SONDE_DTYPE_NONE, 300, 40, 256, &random);
        p.x[250 * 256] = NAN;
        linear_run(backend, &p.args);
        memcpy(p.expected, p.y, output_bytes(&p));
        clear(&p, p.y);
        for (int64_t m = 0; m < p.m; m++) {
            sonde_linear_args one = sonde_linear_one_row(&p.args, m);
            linear_run(backend, &one);
        }
        check(&p, "rows alone");
        product_reset(&p);
    }
}

/* ---- error ------------------------------------------------------------------------------------------------ */

/* Half a step of x (at most 2^-22 of the group's largest) by every weight, two roundings a term and one
 * for each group and block: against double, with one outlier of 100 in every third row. */
static void test_error_is_that_of_fp32(void **state)
{
    (void)state;
    test_random random = {27};
    for (size_t i = 0; i < SONDE_COUNT(quant_kinds); i++) {
        product p;
        product_init(&p, quant_kinds[i], SONDE_DTYPE_NONE, 30, 48, 1536, &random);
        for (int64_t m = 0; m < p.m; m += 3) p.x[m * p.k + 77] = 100.0f;
        linear_run(backend_of(SONDE_CPU_AVX512), &p.args);
        double squares = 0.0, errors = 0.0;
        float *row = memory(p.k, 4);
        for (int64_t n = 0; n < p.n; n++) {
            sonde_matrix_row(&p.weights[0].source, n, row);
            for (int64_t m = 0; m < p.m; m++) {
                double sum = 0.0, size = 0.0, step = 0.0, most = 0.0;
                for (int64_t k = 0; k < p.k; k++) {
                    const float *x = p.x + m * p.k;
                    if (k % 32 == 0)
                        for (int j = 0; j < 32; j++)
                            most = fmax(j ? most : 0.0, fabs((double)x[k + j]));
                    sum += (double)x[k] * (double)row[k];
                    size += fabs((double)x[k] * (double)row[k]);
                    step += 0x1p-23 * 1.01 * most * fabs((double)row[k]);
                }
                double error = fabs((double)p.y[m * p.n + n] - sum);
                /* lows: a sum of x and a product each, of no larger size than 16 times the weights' */
                assert_true(error <= step + (48 + 6 + 2) * 17.0 * 0x1p-24 * size);
                squares += sum * sum;
                errors += error * error;
            }
        }
        sonde_free(row);
        double rms = sqrt(errors / squares);
        if (!(rms < 6e-7 && rms > 1e-9)) fail_msg("%s: %g", sonde_dtype_name(quant_kinds[i]), rms);
        product_reset(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar_follows_the_rule),
        cmocka_unit_test(test_rows_left_to_exact_mode),
        cmocka_unit_test(test_levels_equal_the_definition),
        cmocka_unit_test(test_largest_sums),
        cmocka_unit_test(test_parts_of_several_kinds),
        cmocka_unit_test(test_rows_do_not_depend_on_others),
        cmocka_unit_test(test_error_is_that_of_fp32),
    };
    return cmocka_run_group_tests_name("quant_int", tests, NULL, NULL);
}
