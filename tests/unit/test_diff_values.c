/* analysis: metrics, judgement, limits, globs, waivers and pairing, each on its own. */
#include "analysis/diff_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_metrics(void **state)
{
    (void)state;
    static const struct {
        double a[2], b[2];
        int64_t unequal, nonfinite, over; /* atol 0.5, rtol 0.1 */
        double max_abs, rel_l2, cosine;
    } cases[] = {
        {{3, 4}, {3, 4}, 0, 0, 0, 0, 0, 1},
        {{0, 0}, {0, 0}, 0, 0, 0, 0, 0, 1},
        {{0.0, 1}, {-0.0, 1}, 1, 0, 0, 0, 0, 1},
        {{3, 0}, {3, 4}, 1, 0, 1, 4, 0.8, 0.6},
        {{0, 1}, {0, 0}, 1, 0, 1, 1, INFINITY, 0},
        {{0, 10.5}, {0, 10}, 1, 0, 0, 0.5, 0.05, 1},
        {{NAN, 1}, {NAN, 1}, 0, 0, 0, 0, 0, 1},
        {{NAN, 1}, {2, 1}, 1, 1, 0, 0, 0, 1},
        {{INFINITY, 1}, {INFINITY, 1}, 0, 0, 0, 0, 0, 1},
        {{INFINITY, 1}, {-INFINITY, 1}, 1, 1, 0, 0, 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        diff_accumulator acc;
        sonde_diff_metrics m;
        const sonde_diff_limits limits = {.atol = 0.5, .rtol = 0.1};
        diff_accumulator_init(&acc, &limits, SONDE_DTYPE_F32);
        diff_row_begin(&acc, 0);
        diff_row_add(&acc, cases[i].a, cases[i].b, 1, 0);
        diff_row_add(&acc, cases[i].a + 1, cases[i].b + 1, 1, 1);
        diff_row_end(&acc);
        diff_sums_metrics(&acc.total, &m);
        assert_int_equal(m.elements, 2);
        assert_int_equal(m.unequal, cases[i].unequal);
        assert_int_equal(m.nonfinite, cases[i].nonfinite);
        assert_int_equal(m.over, cases[i].over);
        assert_true(m.max_abs == cases[i].max_abs);
        assert_true(m.rel_l2 == cases[i].rel_l2 || fabs(m.rel_l2 - cases[i].rel_l2) < 1e-15);
        assert_true(fabs(m.cosine - cases[i].cosine) < 1e-15);
    }
}

static void test_judge(void **state)
{
    (void)state;
    const sonde_diff_metrics bad = {
        .elements = 9, .unequal = 1, .over = 1, .max_abs = 1, .rel_l2 = 0.01, .cosine = 0.99,
        .max_ulp = 3};
    static const struct {
        double atol, max_rel_l2, min_cosine, max_ulp;
        sonde_diff_verdict expected;
    } cases[] = {
        {0, 0, 0, 0, SONDE_DIFF_DIFFERS},    {1, 0, 0, 0, SONDE_DIFF_DIFFERS},
        {0, 0.01, 0, 0, SONDE_DIFF_WITHIN},  {0, 0.009, 0, 0, SONDE_DIFF_DIFFERS},
        {0, 0, 0.99, 0, SONDE_DIFF_WITHIN},  {0, 0, 0.991, 0, SONDE_DIFF_DIFFERS},
        {0, 0, 0, 3, SONDE_DIFF_WITHIN},     {0, 0, 0, 2, SONDE_DIFF_DIFFERS},
        {0, 0.5, 0.991, 0, SONDE_DIFF_DIFFERS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const sonde_diff_limits o = {.atol = cases[i].atol,
                                     .max_rel_l2 = cases[i].max_rel_l2,
                                     .min_cosine = cases[i].min_cosine,
                                     .max_ulp = cases[i].max_ulp};
        assert_int_equal(diff_judge(&bad, &o), cases[i].expected);
    }
    const sonde_diff_limits o = {.max_rel_l2 = 1};
    sonde_diff_metrics nan = bad;
    nan.rel_l2 = NAN;
    assert_int_equal(diff_judge(&nan, &o), SONDE_DIFF_DIFFERS);
    nan = bad;
    nan.nonfinite = 1;
    assert_int_equal(diff_judge(&nan, &o), SONDE_DIFF_DIFFERS);
}

static void test_ulp_distance(void **state)
{
    (void)state;
    static const struct {
        sonde_dtype unit;
        double a, b, expected;
    } cases[] = {
        {SONDE_DTYPE_F32, 1.0, 1.0 + 0x1p-23, 1},
        {SONDE_DTYPE_F32, 1.0, 1.0 - 0x1p-24, 1},
        {SONDE_DTYPE_F32, 1.0, 2.0, 0x1p23},
        {SONDE_DTYPE_F32, 0x1p-149, -0x1p-149, 2},
        {SONDE_DTYPE_F32, 0.0, 0x1p-126, 0x1p23},
        {SONDE_DTYPE_F32, 0.0, -0.0, 0},
        {SONDE_DTYPE_F32, -0x1.fffffep127, 0x1.fffffep127, 2.0 * 0x7f7fffff},
        {SONDE_DTYPE_BF16, 1.0, 1.0 + 0x1p-7, 1},
        {SONDE_DTYPE_BF16, 1.0, 1.0 + 0x1p-9, 0}, /* rounded to bf16 first */
        {SONDE_DTYPE_BF16, -3.0, -4.0, 64},
        {SONDE_DTYPE_F16, 1.0, 1.0 + 0x1p-10, 1},
        {SONDE_DTYPE_F16, 0x1p-24, 0x1p-14, 1023},
        {SONDE_DTYPE_F64, 1.0, 1.0 + 0x1p-52, 1},
        {SONDE_DTYPE_F64, 0x1p-1074, -0x1p-1074, 2},
        {SONDE_DTYPE_I32, 7, -2, 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double ab = diff_ulp_distance(cases[i].unit, cases[i].a, cases[i].b);
        double ba = diff_ulp_distance(cases[i].unit, cases[i].b, cases[i].a);
        if (ab != cases[i].expected || ba != ab)
            fail_msg("%s: %a to %a: %g and %g, expected %g", sonde_dtype_name(cases[i].unit),
                     cases[i].a, cases[i].b, ab, ba, cases[i].expected);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const sonde_option_list texts = {
        2, {"blocks.*.{q,k}:atol=1e-5,max-ulp=2", "blocks.1.*:max-ulp=0,min-cosine=0.5"}};
    const sonde_diff_limits base = {.rtol = 3.0, .max_ulp = 9.0};
    sonde_diff_limits got;
    diff_limit *list = NULL;
    int64_t n = 0;
    assert_int_equal(diff_limits_parse(&texts, &list, &n, NULL), SONDE_OK);
    diff_limits_of(&base, list, n, "logits", &got);
    assert_memory_equal(&got, &base, sizeof got);
    diff_limits_of(&base, list, n, "blocks.0.q", &got);
    assert_true(got.atol == 1e-5 && got.rtol == 3.0 && got.max_ulp == 2.0);
    diff_limits_of(&base, list, n, "blocks.1.k", &got);
    assert_true(got.atol == 1e-5 && got.max_ulp == 0.0 && got.min_cosine == 0.5);
    diff_limits_free(list, n);

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"atol=1", "expected GLOBS:KEY=X"},      {":atol=1", "expected GLOBS:KEY=X"},
        {"q:atlo=1", "'atlo=1' is none of"},     {"q:atol", "'atol' is none of"},
        {"q:atol=", "a number of 0 or more"},    {"q:atol=1x,rtol=2", "got '1x'"},
        {"q:atol=-1", "a number of 0 or more"},  {"q:atol=nan", "a number of 0 or more"},
        {"q:atol=1,", "'' is none of"},          {"q{:atol=1", "--limit q{: expected globs"},
        {"q:", "'' is none of"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const sonde_option_list one = {1, {bad[i].text}};
        sonde_error err = {0};
        assert_int_equal(diff_limits_parse(&one, &list, &n, &err), SONDE_USAGE);
        if (!strstr(err.message, bad[i].message)) fail_msg("%s: %s", bad[i].text, err.message);
        diff_limits_free(list, n);
    }
}

static void test_glob(void **state)
{
    (void)state;
    static const struct {
        const char *globs, *name;
        bool expected;
    } cases[] = {
        {"*", "logits", true},
        {"", "logits", false},
        {"logit", "logits", false},
        {"logit?", "logits", true},
        {"blocks.*.resid_post", "blocks.11.resid_post", true},
        {"blocks.*.resid_post", "blocks.11.resid_pre", false},
        {"blocks.{0,5}.attn.{q,k}", "blocks.5.attn.k", true},
        {"blocks.{0,5}.attn.{q,k}", "blocks.1.attn.k", false},
        {"a{b,c{d,e}}f", "acef", true},
        {"a{b,c{d,e}}f", "abef", false},
        {"a{,x}b", "ab", true},
        {"x,y*", "yes", true},
        {"x{a,b},y", "xb", true},
        {"x{a,b},y", "xa,b", false},
        {"{*.q,logits}", "blocks.0.q", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (diff_glob_match(cases[i].globs, cases[i].name) != cases[i].expected)
            fail_msg("glob %s against %s", cases[i].globs, cases[i].name);
    assert_int_equal(diff_glob_check("", "a{b,c", NULL), SONDE_USAGE);
    assert_int_equal(diff_glob_check("", "a}", NULL), SONDE_USAGE);
    assert_int_equal(diff_glob_check("", "*********", NULL), SONDE_USAGE);
    assert_int_equal(diff_glob_check("", "a{b,c}", NULL), SONDE_OK);
}

static void test_waive_and_printable(void **state)
{
    (void)state;
    unsigned waived = 0;
    sonde_error err = {0};
    assert_int_equal(diff_waive_parse("rows,model", &waived, &err), SONDE_OK);
    assert_int_equal(waived, DIFF_WAIVE_ROWS | DIFF_WAIVE_MODEL);
    assert_int_equal(diff_waive_parse("rows,modle", &waived, &err), SONDE_USAGE);
    assert_non_null(strstr(err.message, "'modle' is none of"));
    char out[16];
    diff_printable("a\x1b\xc3\xa9\xff", 5, out, sizeof out);
    assert_string_equal(out, "a\\x1b\xc3\xa9\\xff");
    diff_printable("abcdefghijklmn\xc3\xa9", 16, out, sizeof out);
    assert_string_equal(out, "abcdefghijklmn");
}

/* Equal prompts pair by index first, the rest in order; what has no partner stays alone. */
static void test_match_sequences_of_equal_prompts(void **state)
{
    (void)state;
    diff_sequence la[] = {{.sequence = 0, .xxh3 = 5}, {.sequence = 1, .xxh3 = 5},
                          {.sequence = 2, .xxh3 = 6}, {.sequence = 3}};
    diff_sequence lb[] = {{.sequence = 1, .xxh3 = 5}, {.sequence = 2, .xxh3 = 5},
                          {.sequence = 3, .xxh3 = 9}};
    diff_side a = {.sequences = la, .n_sequences = 4}, b = {.sequences = lb, .n_sequences = 3};
    diff_matching m = {0};
    assert_int_equal(diff_match_sequences(&a, &b, false, &m, NULL), SONDE_OK);
    assert_int_equal(la[1].peer, 0);
    assert_int_equal(la[0].peer, 1);
    assert_int_equal(la[2].peer, -1);
    assert_int_equal(la[3].peer, 2); /* its tokens are unknown: by index */
    assert_int_equal(m.by_tokens, 2);
    assert_int_equal(m.by_index, 1);
    assert_int_equal(m.sequences_only_a, 1);
    assert_int_equal(m.sequences_only_b, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_ulp_distance),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_glob),
        cmocka_unit_test(test_waive_and_printable),
        cmocka_unit_test(test_match_sequences_of_equal_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
