/* The option table: defaults, every type, bounds, near names, formatting back. */
#include "core/core.h"
#include "sonde/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

typedef struct target {
    bool flag;
    int64_t whole, free_whole;
    double real;
    const char *text;
    int32_t choice;
    uint64_t bytes;
    sonde_option_list list;
} target;

static const char *const colours[] = {"red", "green", "blue", NULL};

#define AT(member) offsetof(target, member)
static const sonde_option table[] = {
    {.name = "flag", .type = SONDE_OPTION_FLAG, .offset = AT(flag)},
    {.name = "whole", .type = SONDE_OPTION_INT, .offset = AT(whole), .fallback = "4", .min = 1,
     .max = 64},
    {.name = "free-whole", .type = SONDE_OPTION_INT, .offset = AT(free_whole)},
    {.name = "real", .type = SONDE_OPTION_FLOAT, .offset = AT(real), .fallback = "0.5", .min = 0,
     .max = 1},
    {.name = "text", .type = SONDE_OPTION_TEXT, .offset = AT(text), .fallback = "here"},
    {.name = "colour", .type = SONDE_OPTION_CHOICE, .offset = AT(choice), .fallback = "green",
     .choices = colours},
    {.name = "bytes", .type = SONDE_OPTION_BYTES, .offset = AT(bytes), .fallback = "64K"},
    {.name = "points", .type = SONDE_OPTION_LIST, .offset = AT(list)},
    {.name = "resume", .type = SONDE_OPTION_FLAG, .offset = AT(flag), .flags = SONDE_OPTION_LATER},
    {.name = NULL},
};

static void test_defaults(void **state)
{
    target t = {0};
    (void)state;
    assert_int_equal(sonde_options_defaults(table, &t, NULL), SONDE_OK);
    assert_false(t.flag);
    assert_int_equal(t.whole, 4);
    assert_true(t.real == 0.5);
    assert_string_equal(t.text, "here");
    assert_int_equal(t.choice, 1);
    assert_int_equal(t.bytes, 65536);
    assert_int_equal(t.list.count, 0);
}

static void test_every_type_is_set_and_formatted_back(void **state)
{
    static const struct {
        const char *name, *given, *formatted;
    } cases[] = {{"flag", NULL, "yes"}, {"flag", "no", "no"}, {"flag", "1", "yes"},
                 {"whole", "64", "64"}, {"free-whole", "-9223372036854775808", "-9223372036854775808"},
                 {"real", "0.25", "0.25"}, {"text", "", ""}, {"text", "a b", "a b"},
                 {"colour", "blue", "blue"}, {"bytes", "1.5M", "1572864"}, {"points", "a", "a"},
                 {"points", "b", "a b"}};
    target t = {0};
    char buffer[64];
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        assert_int_equal(sonde_options_set(table, &t, cases[i].name, cases[i].given, NULL), SONDE_OK);
        const sonde_option *option = sonde_options_find(table, cases[i].name);
        assert_string_equal(sonde_options_format(option, &t, buffer, sizeof buffer),
                            cases[i].formatted);
    }
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *name, *given;
        sonde_status status;
        const char *message;
    } cases[] = {
        {"whole", "65", SONDE_USAGE, "option whole: expected a whole number from 1 to 64, got '65'"},
        {"whole", "0", SONDE_USAGE, "option whole: expected a whole number from 1 to 64, got '0'"},
        {"whole", "3.5", SONDE_USAGE, "option whole: expected a whole number from 1 to 64, got '3.5'"},
        {"free-whole", "x", SONDE_USAGE, "option free-whole: expected a whole number, got 'x'"},
        {"real", "nan", SONDE_USAGE, "option real: expected a number from 0 to 1, got 'nan'"},
        {"real", "1.5", SONDE_USAGE, "option real: expected a number from 0 to 1, got '1.5'"},
        {"flag", "maybe", SONDE_USAGE, "option flag: expected yes or no, got 'maybe'"},
        {"bytes", "lots", SONDE_USAGE, "option bytes: expected a size like 512M or 8G, got 'lots'"},
        {"colour", "gren", SONDE_USAGE,
         "option colour: expected one of red, green, blue; got 'gren'; did you mean 'green'?"},
        {"colour", "zebra", SONDE_USAGE,
         "option colour: expected one of red, green, blue; got 'zebra'"},
        {"text", NULL, SONDE_USAGE, "option text: expected a value"},
        {"pionts", "a", SONDE_UNKNOWN_NAME, "no option 'pionts'; did you mean 'points'?"},
        {"zebra", "a", SONDE_UNKNOWN_NAME, "no option 'zebra'"},
        {"resume", NULL, SONDE_UNSUPPORTED, "option resume is not built yet"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        target t = {0};
        sonde_error err = {0};
        assert_int_equal(sonde_options_set(table, &t, cases[i].name, cases[i].given, &err),
                         cases[i].status);
        assert_string_equal(err.message, cases[i].message);
        const target blank = {0};
        assert_memory_equal(&t, &blank, sizeof t);
    }
}

static void test_list_has_an_end(void **state)
{
    target t = {0};
    sonde_error err = {0};
    (void)state;
    for (int i = 0; i < SONDE_OPTION_LIST_MAX; i++)
        assert_int_equal(sonde_options_set(table, &t, "points", "x", &err), SONDE_OK);
    assert_int_equal(sonde_options_set(table, &t, "points", "x", &err), SONDE_USAGE);
    char small[8];
    sonde_options_format(sonde_options_find(table, "points"), &t, small, sizeof small);
    assert_string_equal(small, "x x x x");
}

static void test_choice_refused_without_memory(void **state)
{
    target t = {0};
    sonde_error err = {0};
    (void)state;
    sonde_alloc_fail_after(0);
    sonde_status status = sonde_options_set(table, &t, "colour", "gren", &err);
    sonde_alloc_fail_after(-1);
    assert_int_equal(status, SONDE_USAGE);
    assert_string_equal(err.message,
                        "option colour: expected one of its choices; got 'gren'; did you mean 'green'?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_type_is_set_and_formatted_back),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_list_has_an_end),
        cmocka_unit_test(test_choice_refused_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
