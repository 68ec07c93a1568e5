/* Growing strings, JSON texts, whole-string numbers, sizes, near names, UTF-8. */
#include "core/core.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_string_grows(void **state)
{
    sonde_string s = {0};
    (void)state;
    for (int i = 0; i < 500; i++) sonde_string_format(&s, "%d,", i % 10);
    sonde_string_append(&s, "\0x", 2);
    sonde_string_text(&s, "end");
    assert_false(s.failed);
    assert_int_equal(s.length, 1005);
    assert_memory_equal(s.data + 998, "9,\0xend", 8);
    sonde_string_reset(&s);
    assert_null(s.data);
    assert_int_equal(s.length, 0);
}

static void test_string_failure_is_sticky(void **state)
{
    sonde_string s = {0};
    (void)state;
    sonde_string_text(&s, "kept");
    sonde_alloc_fail_after(0);
    sonde_string_format(&s, "%0100d", 1);
    sonde_alloc_fail_after(-1);
    sonde_string_text(&s, "not added");
    assert_true(s.failed);
    assert_string_equal(s.data, "kept");
    sonde_string_reset(&s);
    assert_false(s.failed);
}

static void test_string_json_escapes(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *json;
    } cases[] = {
        {"", 0, "\"\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\n\r\t\b\f", 5, "\"\\n\\r\\t\\b\\f\""},
        {"\0\x01\x1F", 3, "\"\\u0000\\u0001\\u001f\""},
        {"\xC3\xA9\xF0\x9F\x99\x82", 6, "\"\xC3\xA9\xF0\x9F\x99\x82\""},
        {"\xFF", 1, "\"\xEF\xBF\xBD\""},
        {"a\xE2\x82z", 4, "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\""},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_string s = {0};
        sonde_string_json(&s, cases[i].bytes, cases[i].n);
        assert_string_equal(s.data, cases[i].json);
        sonde_string_reset(&s);
    }
}

static void test_parse_i64(void **state)
{
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {{"0", true, 0}, {"-12", true, -12}, {"9223372036854775807", true, INT64_MAX},
                 {"007", true, 7}, {"9223372036854775808", false, 0}, {"", false, 0},
                 {"-", false, 0}, {" 1", false, 0}, {"1 ", false, 0}, {"+1", false, 0},
                 {"1.0", false, 0}, {"0x10", false, 0}, {"1e3", false, 0}, {"- 1", false, 0},
                 {"nan", false, 0}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        int64_t value = 77;
        assert_int_equal(sonde_parse_i64(cases[i].text, INT64_MIN, INT64_MAX, &value),
                         cases[i].good);
        assert_int_equal(value, cases[i].good ? cases[i].value : 77);
    }
    int64_t value;
    assert_true(sonde_parse_i64("5", 5, 5, &value));
    assert_false(sonde_parse_i64("4", 5, 6, &value));
    assert_false(sonde_parse_i64("7", 5, 6, &value));
}

static void test_parse_f64(void **state)
{
    static const struct {
        const char *text;
        bool good;
        double value;
    } cases[] = {{"0", true, 0}, {"-1.5", true, -1.5}, {".25", true, .25}, {"1e-3", true, 1e-3},
                 {"", false, 0}, {"nan", false, 0}, {"-nan", false, 0}, {"inf", false, 0},
                 {"-inf", false, 0}, {"0x1p3", false, 0}, {"1e999", false, 0}, {"1.5x", false, 0},
                 {"1,5", false, 0}, {" 1", false, 0}, {"1 ", false, 0}, {"-", false, 0},
                 {".", false, 0}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        double value = 77;
        assert_int_equal(sonde_parse_f64(cases[i].text, -1e300, 1e300, &value), cases[i].good);
        assert_true(value == (cases[i].good ? cases[i].value : 77));
    }
    double value;
    assert_false(sonde_parse_f64("1.01", 0, 1, &value));
}

static void test_parse_bytes(void **state)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {{"0", true, 0}, {"123", true, 123}, {"64K", true, 65536}, {"64k", true, 65536},
                 {"1.5G", true, 1610612736}, {"2MiB", true, 2097152}, {"2MB", true, 2097152},
                 {"1T", true, 1099511627776}, {"7B", true, 7}, {"", false, 0}, {"-1", false, 0},
                 {"5 ", false, 0}, {"5 K", false, 0}, {"5X", false, 0}, {"5KX", false, 0},
                 {"K", false, 0}, {"0x10", false, 0}, {"1e3", false, 0}, {"99999999999T", false, 0},
                 {"5iB", false, 0}, {"nan", false, 0}, {"1.2.3", false, 0}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        uint64_t value = 77;
        if (sonde_parse_bytes(cases[i].text, &value) != cases[i].good ||
            value != (cases[i].good ? cases[i].value : 77))
            fail_msg("'%s' gave %llu", cases[i].text, (unsigned long long)value);
    }
}

static void test_format_bytes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.0 kB"}, {1550, "1.6 kB"}, {999949, "999.9 kB"},
                 {999950, "1.0 MB"}, {2500000000, "2.5 GB"}, {UINT64_MAX, "18446744.1 TB"}};
    char buffer[32];
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        assert_string_equal(sonde_format_bytes(cases[i].bytes, buffer), cases[i].text);
}

static void test_edit_distance(void **state)
{
    static const struct {
        const char *a, *b;
        size_t distance;
    } cases[] = {{"", "", 0}, {"a", "", 1}, {"resid_post", "resid_psot", 2}, {"abc", "abd", 1},
                 {"kitten", "sitting", 3}, {"abcdef", "ghijkl", 6}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        assert_int_equal(sonde_edit_distance(cases[i].a, cases[i].b, 10), cases[i].distance);
        assert_int_equal(sonde_edit_distance(cases[i].b, cases[i].a, 10), cases[i].distance);
    }
    assert_int_equal(sonde_edit_distance("abcdef", "ghijkl", 2), 3);
    char wide[400];
    memset(wide, 'a', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    assert_int_equal(sonde_edit_distance(wide, wide, 2), 3); /* too long to look at */
}

static void test_near_name(void **state)
{
    static const char *const names[] = {"resid_pre", "resid_post", "attn.q", "logits", NULL};
    (void)state;
    assert_string_equal(sonde_near_name("resid_psot", names), "resid_post");
    assert_string_equal(sonde_near_name("logit", names), "logits");
    assert_null(sonde_near_name("zebra", names));
}

static void test_utf8_valid_prefix(void **state)
{
    static const struct {
        const char *bytes;
        size_t n, valid;
    } cases[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"a\0b", 3, 3},
        {"\xC3\xA9", 2, 2},
        {"\xE2\x82\xAC", 3, 3},
        {"\xF0\x9F\x99\x82", 4, 4},
        {"\xF4\x8F\xBF\xBF", 4, 4}, /* U+10FFFF */
        {"\xF4\x90\x80\x80", 4, 0}, /* above it */
        {"\xED\x9F\xBF", 3, 3},
        {"\xED\xA0\x80", 3, 0},     /* a surrogate */
        {"\xC0\x80", 2, 0},         /* overlong forms */
        {"\xC1\xBF", 2, 0},
        {"\xE0\x9F\xBF", 3, 0},
        {"\xF0\x8F\xBF\xBF", 4, 0},
        {"ab\x80", 3, 2},           /* a lone continuation */
        {"ab\xE2\x82", 4, 2},       /* cut short */
        {"\xF5\x80\x80\x80", 4, 0},
        {"\xC3(", 2, 0},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        assert_int_equal(sonde_utf8_valid_prefix(cases[i].bytes, cases[i].n), cases[i].valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_string_grows),
        cmocka_unit_test(test_string_failure_is_sticky),
        cmocka_unit_test(test_string_json_escapes),
        cmocka_unit_test(test_parse_i64),
        cmocka_unit_test(test_parse_f64),
        cmocka_unit_test(test_parse_bytes),
        cmocka_unit_test(test_format_bytes),
        cmocka_unit_test(test_edit_distance),
        cmocka_unit_test(test_near_name),
        cmocka_unit_test(test_utf8_valid_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
