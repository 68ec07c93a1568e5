/*
 * The cache and attention: every level gives the bits of kernels.md 4 and 6, written out here over
 * plain arrays of keys and values without pages or tiles, whatever the batch is cut into; phases on
 * their own give what they give together; error against double.
 */
#include "support/attend_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- tests -------------------------------------------------------------------------------------------------- */

#define F32 SONDE_DTYPE_F32
#define BF16 SONDE_DTYPE_BF16
#define F16 SONDE_DTYPE_F16
#define NO_ALIBI false, SONDE_ALIBI_KEY
#define FULL SONDE_MASK_FULL, 0
#define SLIDING(w) SONDE_MASK_SLIDING, (w)
#define CHUNKED(w) SONDE_MASK_CHUNKED, (w)

/* Head sizes that fill vectors and that do not, groups of heads, cache types. */
static void test_shapes_follow_the_rule(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 2, 1, 8, 8, FULL, 0, false, {{0, 3}}, NO_ALIBI},
        {F32, 3, 3, 1, 1, FULL, 0, false, {{0, 9}}, NO_ALIBI},
        {F32, 4, 2, 16, 16, FULL, 0, false, {{0, 9}, {5, 1}}, NO_ALIBI},
        {BF16, 9, 3, 64, 64, FULL, 0, false, {{0, 7}, {61, 6}}, NO_ALIBI},
        {F16, 4, 4, 80, 80, FULL, 0, false, {{60, 8}}, NO_ALIBI},
        {F32, 6, 1, 96, 96, FULL, 0, false, {{62, 5}}, NO_ALIBI},
        {F32, 2, 2, 33, 47, FULL, 0, false, {{13, 6}}, NO_ALIBI},
        {BF16, 2, 1, 7, 31, FULL, 0, false, {{70, 9}}, NO_ALIBI},
        {F16, 8, 1, 24, 40, FULL, 0, false, {{3, 2}, {9, 3}, {70, 4}}, NO_ALIBI},
        {F32, 2, 1, 128, 128, FULL, 0, false, {{127, 5}}, NO_ALIBI},
        {BF16, 1, 1, 192, 128, FULL, 0, false, {{30, 9}}, NO_ALIBI},
        {F32, 1, 1, 256, 256, FULL, 0, false, {{250, 9}}, NO_ALIBI},
        {F32, 13, 1, 20, 20, FULL, 0, false, {{40, 3}}, NO_ALIBI},
    };
    test_random random = {31};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) attend_check_case(&cases[i], &random);
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
                             {{positions[p], rows}}, NO_ALIBI};
            attend_check_case(&c, &random);
        }
}

/* As many queries as a unit takes and more, in tiles of rows that see different keys. */
static void test_many_rows_follow_the_rule(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 4, 1, 16, 16, FULL, 0, false, {{240, 30}, {0, 21}}, NO_ALIBI},
        {BF16, 3, 1, 8, 24, SLIDING(13), 0, true, {{50, 35}}, NO_ALIBI},
        {F32, 2, 2, 16, 32, CHUNKED(9), 0, false, {{247, 60}}, NO_ALIBI},
        {F16, 7, 1, 12, 16, SLIDING(70), 4.0, false, {{300, 11}, {3, 20}}, true, SONDE_ALIBI_KEY},
    };
    test_random random = {39};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) attend_check_case(&cases[i], &random);
}

/* Windows that begin inside a page, a block and a run of 16 keys; single keys; chunks that end
 * inside a tile of rows. */
static void test_windows_follow_the_rule(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 2, 1, 16, 16, SLIDING(1), 0, false, {{0, 9}, {250, 9}}, NO_ALIBI},
        {F32, 2, 1, 16, 20, SLIDING(4), 0, false, {{0, 9}, {61, 6}}, NO_ALIBI},
        {BF16, 4, 2, 32, 32, SLIDING(17), 0, false, {{0, 5}, {260, 9}}, NO_ALIBI},
        {F32, 2, 2, 16, 48, SLIDING(256), 0, false, {{253, 9}, {509, 5}}, NO_ALIBI},
        {F16, 2, 1, 16, 16, SLIDING(300), 0, false, {{298, 6}, {520, 9}}, NO_ALIBI},
        {F32, 3, 1, 8, 40, SLIDING(3), 0, false, {{254, 7}}, NO_ALIBI},
        {F32, 2, 1, 16, 16, CHUNKED(8), 0, false, {{0, 9}, {250, 9}}, NO_ALIBI},
        {BF16, 2, 1, 16, 36, CHUNKED(5), 0, false, {{0, 9}, {63, 9}}, NO_ALIBI},
        {F32, 4, 1, 16, 16, CHUNKED(300), 0, false, {{295, 9}, {598, 4}}, NO_ALIBI},
        {F32, 2, 1, 16, 16, CHUNKED(1), 0, false, {{255, 4}}, NO_ALIBI},
    };
    test_random random = {33};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) attend_check_case(&cases[i], &random);
}

/* Biases by position: near 0, beyond 256 where bf16 rounds positions, with a soft-cap behind. */
static void test_alibi_follows_the_rule(void **state)
{
    (void)state;
    static const sonde_alibi_kind kinds[] = {SONDE_ALIBI_KEY, SONDE_ALIBI_RELATIVE,
                                             SONDE_ALIBI_ROUNDED};
    test_random random = {37};
    for (size_t i = 0; i < SONDE_COUNT(kinds); i++) {
        attend_case c = {F32, 4, 2, 16, 24, FULL, 0, false, {{0, 9}, {61, 5}, {509, 3}}, true, kinds[i]};
        attend_check_case(&c, &random);
        c = (attend_case){BF16, 5, 1, 24, 24, SLIDING(20), 3.0, true, {{255, 4}}, true, kinds[i]};
        attend_check_case(&c, &random);
    }
}

/* One key of all heads, wider than its value, as latent attention has it: groups of more heads than
 * a tile takes are cut into units. */
static void test_large_groups_follow_the_rule(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 128, 1, 36, 32, FULL, 0, false, {{62, 3}}, NO_ALIBI},
        {BF16, 25, 1, 17, 9, FULL, 0, false, {{255, 2}, {0, 1}}, NO_ALIBI},
        {F32, 26, 2, 8, 16, FULL, 0, false, {{5, 4}}, true, SONDE_ALIBI_RELATIVE},
        {F16, 13, 1, 576, 512, FULL, 0, false, {{63, 2}}, NO_ALIBI},
    };
    test_random random = {38};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) attend_check_case(&cases[i], &random);
}

static void test_sinks_and_softcap(void **state)
{
    (void)state;
    static const attend_case cases[] = {
        {F32, 4, 2, 16, 16, FULL, 0, true, {{0, 9}}, NO_ALIBI},
        {BF16, 4, 1, 64, 64, SLIDING(20), 0, true, {{100, 6}}, NO_ALIBI},
        {F32, 2, 1, 16, 16, FULL, 5.0, false, {{0, 7}, {258, 3}}, NO_ALIBI},
        {F16, 3, 1, 24, 24, CHUNKED(50), 2.0, true, {{45, 9}}, NO_ALIBI},
    };
    test_random random = {34};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) attend_check_case(&cases[i], &random);
}

/* A score that is NaN makes its row and head NaN, and no other; a value that is infinite stays in
 * its dim and key; what the cache holds behind the last position is never looked at. */
static void test_nan_and_infinity_stay_where_they_are(void **state)
{
    (void)state;
    attend_case c = {F32, 2, 2, 16, 32, FULL, 0, false, {{66, 5}}, NO_ALIBI};
    test_random random = {35};
    kernel_levels levels = kernel_levels_get();
    for (int l = 0; l < levels.n; l++) {
        attend_fixture f;
        attend_fixture_init(&f, &c, &random);
        f.q[1 * f.q_stride + 3] = NAN;           /* row 1, head 0 */
        f.values[0][(20 * 2 + 1) * 32 + 5] = INFINITY; /* key 20, head 1, dim 5 */
        f.values[0][(70 * 2 + 0) * 32 + 6] = NAN;      /* key 70: the last row alone */
        for (int64_t r = 0; r < 5; r++) attend_row_by_rule(&f, 0, r);
        assert_true(isnan(f.z[f.z_stride + 7]) && !isnan(f.z[f.z_stride + 32 + 7]));
        assert_true(isinf(f.z[2 * f.z_stride + 32 + 5]) && !isinf(f.z[2 * f.z_stride + 32 + 6]));
        assert_true(isnan(f.z[4 * f.z_stride + 6]) && !isnan(f.z[3 * f.z_stride + 6]));
        sonde_span span = f.spans[0];
        void **pages = attend_make_pages(&f, levels.backend[l], 0, 1000);
        span.pages = pages;
        attend_check_level(&f, levels.backend[l], &span);
        attend_free_pages(&f, 0, pages);
        attend_fixture_reset(&f);
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
    attend_case c = {F32, 3, 1, 64, 64, FULL, 0, true, {{700, 6}}, NO_ALIBI};
    test_random random = {36};
    attend_fixture f;
    attend_fixture_init(&f, &c, &random);
    const sonde_backend *oracle = NULL;
    assert_int_equal(sonde_backend_get("oracle", SONDE_CPU_SCALAR, &oracle, NULL), SONDE_OK);
    int64_t n = attend_positions(&f, 0);
    double *q = widened(f.q, f.rows * f.q_stride), *z = widened(f.z, f.rows * f.z_stride);
    double *keys = widened(f.keys[0], n * 64), *values = widened(f.values[0], n * 64);
    double *sinks = widened(f.sinks, 3);
    attend_fixture wide = f;
    wide.layout.dtype = SONDE_DTYPE_F64;
    void *pages[16];
    for (int p = 0; p < 12; p++) pages[p] = sonde_alloc_raw(1, sonde_kv_page_bytes(&wide.layout));
    sonde_span all = {.row = 0, .n_rows = n, .pages = pages}, span = f.spans[0];
    sonde_cache_args cache = {.layout = wide.layout, .k = keys, .v = values, .k_stride = 64,
                              .v_stride = 64, .spans = &all, .n_spans = 1};
    oracle->cache(&cache, 0, oracle->cache_units(&cache));
    span.pages = pages;
    attend_outputs none = {0};
    sonde_attend_args args = attend_args_of(&wide, &span, &none, SONDE_ATTEND_ALL);
    args.q = q, args.z = z, args.sinks = sinks;
    attend_run(oracle, &args, false);
    double error = error_of(f.z, z, f.rows * f.z_stride);
    print_message("z: %.1e of its rms\n", error);
    assert_true(error > 1e-9 && error < 4e-6);
    for (int p = 0; p < 12; p++) sonde_free(pages[p]);
    double *blocks[] = {q, z, keys, values, sinks};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    attend_fixture_reset(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_follow_the_rule),
        cmocka_unit_test(test_row_counts_and_borders),
        cmocka_unit_test(test_many_rows_follow_the_rule),
        cmocka_unit_test(test_windows_follow_the_rule),
        cmocka_unit_test(test_alibi_follows_the_rule),
        cmocka_unit_test(test_large_groups_follow_the_rule),
        cmocka_unit_test(test_sinks_and_softcap),
        cmocka_unit_test(test_nan_and_infinity_stay_where_they_are),
        cmocka_unit_test(test_error_against_double),
    };
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
