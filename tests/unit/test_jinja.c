/*
 * test_jinja.c - the language of chat templates: what Jinja2 renders (tests/goldens/make_chat.py),
 * tags that follow every byte of data, and what is refused when it is parsed.
 */
#include "core/json.h"
#include "text/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1721952000 /* 2024-07-26 */

static sonde_status render(const char *text, size_t bytes, const json_t *globals, jinja_buffer *out,
                           sonde_error *err)
{
    jinja_program *program = NULL;
    SONDE_TRY(jinja_parse(text, bytes, &program, err));
    jinja_arena *arena = jinja_arena_create();
    jinja_call call = {arena, jinja_from_json(arena, globals, 9), NOW};
    sonde_status status = jinja_render(program, &call, out, err);
    jinja_arena_destroy(&arena);
    jinja_destroy(&program);
    return status;
}

static void test_jinja_render(void **state)
{
    json_t *root = NULL, *test;
    sonde_error err = {0};
    size_t i;
    int bad = 0;
    (void)state;
    assert_int_equal(sonde_json_load_flags("tests/goldens/chat/jinja.json", 1 << 24, JSON_ALLOW_NUL,
                                           SONDE_BAD_FILE, &root, &err), SONDE_OK);
    json_array_foreach(json_object_get(root, "cases"), i, test) {
        const json_t *template = json_object_get(test, "template"), *want = json_object_get(test, "text");
        const json_t *error = json_object_get(test, "error");
        jinja_buffer out = {0};
        sonde_status status = render(json_string_value(template), json_string_length(template),
                                     json_object_get(root, "globals"), &out, &err);
        const char *text = out.bytes.data ? out.bytes.data : "";
        bool same = error ? status == SONDE_BAD_PROMPT && strstr(err.message, json_string_value(error))
                          : status == SONDE_OK && out.bytes.length == json_string_length(want) &&
                                memcmp(text, json_string_value(want), out.bytes.length) == 0;
        if (!same) {
            bad++;
            print_error("%s\nexpected: %s\ngot:      %s\n", json_string_value(template),
                        error ? "a refusal" : json_string_value(want),
                        status == SONDE_OK ? text : err.message);
        }
        jinja_buffer_reset(&out);
    }
    assert_int_equal(bad, 0);
    json_decref(root);
}

/* Data is 9, the template's own text 0, whatever is done to them. */
static void test_jinja_tags(void **state)
{
    static const struct {
        const char *template, *text, *tags;
    } cases[] = {
        {"a{{ s }}b", "a x yb", "099990"},
        {"{{ '<' + s | trim + '>' }}", "<x y>", "09990"},
        {"{{ s.split(' ')[2] ~ '|' ~ s[1:2] }}", "y|x", "909"},
        {"{{ s.replace('x', '--') }}", " -- y", "90099"},
        {"{{ s | tojson }}", "\" x y\"", "999999"},
        {"{% set v %}({{ s }}){% endset %}{{ v | upper }}", "( X Y)", "099990"},
        {"{{ [s, 'k'] | join('') }}", " x yk", "99990"},
    };
    json_t *globals = json_pack("{s:s}", "s", " x y");
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        jinja_buffer out = {0};
        sonde_error err = {0};
        if (render(cases[i].template, strlen(cases[i].template), globals, &out, &err) != SONDE_OK)
            fail_msg("%s", err.message);
        assert_string_equal(out.bytes.data, cases[i].text);
        assert_int_equal(out.tags.length, strlen(cases[i].tags));
        for (size_t k = 0; k < out.tags.length; k++)
            assert_int_equal(out.tags.data[k], cases[i].tags[k] - '0');
        jinja_buffer_reset(&out);
    }
    json_decref(globals);
}

static void test_jinja_parse_refuses(void **state)
{
    static const char *const cases[] = {
        "{{ a", "{% if a %}b", "{% for %}", "{{ a | nofilter }}", "{{ a is notest }}", "{% include 'x' %}",
        "{{ 'a }}", "{# a", "{% set a b %}", "{{ a. }}", "{{ [1, 2 }}", "{{ a[ }}", "{{ a[::1:2] }}", "{{ @ }}",
        "{% endif %}", "{{ '\\q' }}", "{% macro m( %}", "{{ 99999999999999999999 }}", "{{ }}", "{% %}"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        jinja_program *program = NULL;
        sonde_error err = {0};
        assert_int_equal(jinja_parse(cases[i], strlen(cases[i]), &program, &err), SONDE_UNSUPPORTED);
        assert_non_null(strstr(err.message, "line 1"));
    }
}

/* Deep nesting and endless macros end with a message. */
static void test_jinja_bounds(void **state)
{
    sonde_string deep = {0};
    jinja_program *program = NULL;
    jinja_buffer out = {0};
    sonde_error err = {0};
    (void)state;
    sonde_string_text(&deep, "{{ ");
    for (int i = 0; i < 100000; i++) sonde_string_text(&deep, "(");
    assert_int_equal(jinja_parse(deep.data, deep.length, &program, &err), SONDE_UNSUPPORTED);
    sonde_string_reset(&deep);
    static const char endless[] = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    static const char doubled[] = "{% set n = namespace(s='a') %}{% for i in range(50) %}"
                                  "{% set n.s = n.s + n.s %}{% endfor %}";
    json_t *globals = json_object();
    assert_int_equal(render(endless, strlen(endless), globals, &out, &err), SONDE_BAD_PROMPT);
    assert_int_equal(render(doubled, strlen(doubled), globals, &out, &err), SONDE_BAD_PROMPT);
    assert_non_null(strstr(err.message, "more than 512 MiB"));
    jinja_buffer_reset(&out);
    json_decref(globals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jinja_render),
        cmocka_unit_test(test_jinja_tags),
        cmocka_unit_test(test_jinja_parse_refuses),
        cmocka_unit_test(test_jinja_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
