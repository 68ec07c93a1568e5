/* jinja_filters.c - the filters and tests that chat templates use, one function each, in two tables. */
#include "jinja_internal.h"

#include "unicode.h"

#include <stdlib.h>

/* ---- filters ---------------------------------------------------------------------------------- */

/* Anything as a text, as str() has it. */
static sonde_status as_text(jinja_run *run, jinja_value *value, jinja_value **out)
{
    *out = value;
    if (value->kind == JINJA_STRING) return SONDE_OK;
    jinja_buffer buffer = {0};
    jinja_print(&buffer, value);
    sonde_status status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}

static sonde_status filter_trim(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                                jinja_value **out)
{
    jinja_value *text, *chars = jinja_argument(arguments, 0, "chars");
    SONDE_TRY(as_text(run, value, &text));
    if (chars && chars->kind != JINJA_STRING) chars = NULL;
    return jinja_give(run, jinja_strip(run->arena, text, chars, true, true), out);
}

static sonde_status filter_tojson(jinja_run *run, jinja_value *value,
                                  const jinja_arguments *arguments, jinja_value **out)
{
    const jinja_value *indent = jinja_argument(arguments, 1, "indent");
    jinja_buffer buffer = {0};
    if (value->kind == JINJA_UNDEFINED)
        return jinja_fail(run, "'%.80s' is undefined and no JSON", value->as.missing);
    bool lines = indent && indent->kind == JINJA_INT;
    int64_t spaces = lines ? SONDE_MIN(SONDE_MAX(indent->as.integer, 0), 16) : -1;
    jinja_print_json(&buffer, value, (int)spaces);
    sonde_status status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}

static sonde_status filter_length(jinja_run *run, jinja_value *value,
                                  const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    size_t n = value->count;
    if (value->kind != JINJA_STRING && value->kind != JINJA_LIST && value->kind != JINJA_DICT &&
        value->kind != JINJA_UNDEFINED)
        return jinja_fail(run, "object of type '%s' has no length", jinja_kind_name(value));
    for (size_t i = 0; value->kind == JINJA_STRING && i < value->count; i++)
        n -= (value->as.text.bytes[i] & 0xC0) == 0x80;
    return jinja_give(run, jinja_int(run->arena, (int64_t)n), out);
}

static sonde_status filter_default(jinja_run *run, jinja_value *value,
                                   const jinja_arguments *arguments, jinja_value **out)
{
    jinja_value *other = jinja_argument(arguments, 0, "default_value");
    const jinja_value *falsy = jinja_argument(arguments, 1, "boolean");
    bool good = value->kind != JINJA_UNDEFINED && !(falsy && jinja_truth(falsy) && !jinja_truth(value));
    *out = value;
    return good ? SONDE_OK : jinja_give(run, other ? other : jinja_text(run->arena, "", 0, NULL), out);
}

static sonde_status filter_join(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                                jinja_value **out)
{
    jinja_value *list;
    const jinja_value *between = jinja_argument(arguments, 0, "d");
    jinja_buffer buffer = {0};
    SONDE_TRY(jinja_items(run, value, &list));
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0 && between) jinja_print(&buffer, between);
        jinja_print(&buffer, list->as.list.items[i]);
    }
    sonde_status status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}

/* A dictionary as pairs, also the method items(). */
static sonde_status filter_items(jinja_run *run, jinja_value *value,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    bool known;
    jinja_value *name = jinja_text(run->arena, "items", 5, NULL);
    if (!name) return jinja_no_memory(run);
    if (value->kind == JINJA_UNDEFINED)
        return jinja_give(run, jinja_new(run->arena, JINJA_LIST), out);
    if (value->kind != JINJA_DICT) return jinja_fail(run, "can only get item pairs from a mapping");
    return jinja_method(run, value, name, arguments, &known, out);
}

static sonde_status filter_list(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                                jinja_value **out)
{
    (void)arguments;
    return jinja_items(run, value, out);
}

static sonde_status end_item(jinja_run *run, jinja_value *value, int64_t place, jinja_value **out)
{
    jinja_value *list, *index = jinja_int(run->arena, place);
    if (!index) return jinja_no_memory(run);
    SONDE_TRY(jinja_items(run, value, &list));
    return jinja_item_at(run, list, index, out);
}

static sonde_status filter_first(jinja_run *run, jinja_value *value,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return end_item(run, value, 0, out);
}

static sonde_status filter_last(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                                jinja_value **out)
{
    (void)arguments;
    return end_item(run, value, -1, out);
}

static sonde_status filter_string(jinja_run *run, jinja_value *value,
                                  const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return as_text(run, value, out);
}

/* Nothing is ever escaped here, so nothing needs to be marked as safe. */
static sonde_status filter_safe(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                                jinja_value **out)
{
    return filter_string(run, value, arguments, out);
}

static sonde_status filter_int(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                               jinja_value **out)
{
    (void)arguments;
    int64_t number = 0;
    char text[32] = "";
    if (value->kind == JINJA_INT || value->kind == JINJA_BOOL) number = value->as.integer;
    if (value->kind == JINJA_FLOAT && value->as.real > -9e18 && value->as.real < 9e18)
        number = (int64_t)value->as.real;
    if (value->kind == JINJA_STRING && value->count < sizeof text) {
        memcpy(text, value->as.text.bytes, value->count);
        if (!sonde_parse_i64(text, INT64_MIN, INT64_MAX, &number)) number = 0;
    }
    return jinja_give(run, jinja_int(run->arena, number), out);
}

/* A filter that is a method of texts: upper, lower, replace, ... */
static sonde_status text_method(jinja_run *run, jinja_value *value, const char *method,
                                const jinja_arguments *arguments, jinja_value **out)
{
    bool known;
    jinja_value *text, *name = jinja_text(run->arena, method, strlen(method), NULL);
    if (!name) return jinja_no_memory(run);
    SONDE_TRY(as_text(run, value, &text));
    return jinja_method(run, text, name, arguments, &known, out);
}

#define TEXT_FILTER(method)                                                                        \
    static sonde_status filter_##method(jinja_run *run, jinja_value *value,                        \
                                        const jinja_arguments *arguments, jinja_value **out)       \
    {                                                                                              \
        return text_method(run, value, #method, arguments, out);                                   \
    }
TEXT_FILTER(upper)
TEXT_FILTER(lower)
TEXT_FILTER(capitalize)
TEXT_FILTER(replace)

/* ---- filters that pick or map ------------------------------------------------------------------ */

/* Arguments from `skip` on, as those of a test that a filter names. */
static jinja_arguments rest_of(const jinja_arguments *arguments, size_t skip)
{
    jinja_arguments rest = *arguments;
    rest.items += SONDE_MIN(skip, rest.count);
    rest.count -= SONDE_MIN(skip, rest.count);
    return rest;
}

/* select, reject: (test, ...); selectattr, rejectattr: (attribute, test, ...). */
static sonde_status pick(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                         bool attribute, bool wanted, jinja_value **out)
{
    jinja_value *list, *item;
    size_t named = attribute ? 1 : 0;
    jinja_arguments rest = rest_of(arguments, named + 1);
    if (attribute && arguments->count == 0) return jinja_fail(run, "an attribute's name is missing");
    SONDE_TRY(jinja_items(run, value, &list));
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), out));
    for (size_t i = 0; i < list->count; i++) {
        bool good;
        item = list->as.list.items[i];
        if (attribute) SONDE_TRY(jinja_member(run, item, arguments->items[0], &item));
        good = jinja_truth(item);
        if (arguments->count > named)
            SONDE_TRY(jinja_test(run, arguments->items[named], item, &rest, &good));
        if (good == wanted && !jinja_list_push(run->arena, *out, list->as.list.items[i]))
            return jinja_no_memory(run);
    }
    return SONDE_OK;
}

#define PICK_FILTER(name, attribute, wanted)                                                       \
    static sonde_status filter_##name(jinja_run *run, jinja_value *value,                          \
                                      const jinja_arguments *arguments, jinja_value **out)         \
    {                                                                                              \
        return pick(run, value, arguments, attribute, wanted, out);                                \
    }
PICK_FILTER(select, false, true)
PICK_FILTER(reject, false, false)
PICK_FILTER(selectattr, true, true)
PICK_FILTER(rejectattr, true, false)

static sonde_status filter_map(jinja_run *run, jinja_value *value, const jinja_arguments *arguments,
                               jinja_value **out)
{
    jinja_value *list, *item, *attribute = jinja_dict_get(arguments->named, "attribute", 9);
    jinja_arguments rest = rest_of(arguments, 1);
    if (!attribute && arguments->count == 0) return jinja_fail(run, "map needs a filter");
    SONDE_TRY(jinja_items(run, value, &list));
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), out));
    for (size_t i = 0; i < list->count; i++) {
        item = list->as.list.items[i];
        if (attribute) SONDE_TRY(jinja_member(run, item, attribute, &item));
        else SONDE_TRY(jinja_filter(run, arguments->items[0], item, &rest, &item));
        if (!jinja_list_push(run->arena, *out, item)) return jinja_no_memory(run);
    }
    return SONDE_OK;
}

typedef sonde_status filter_function(jinja_run *run, jinja_value *value,
                                     const jinja_arguments *arguments, jinja_value **out);
static const struct {
    const char *name;
    filter_function *apply;
} filters[] = {
    {"trim", filter_trim},           {"tojson", filter_tojson},         {"length", filter_length},
    {"count", filter_length},        {"default", filter_default},       {"d", filter_default},
    {"join", filter_join},           {"items", filter_items},           {"list", filter_list},
    {"first", filter_first},         {"last", filter_last},             {"string", filter_string},
    {"safe", filter_safe},           {"int", filter_int},               {"upper", filter_upper},
    {"lower", filter_lower},         {"capitalize", filter_capitalize}, {"replace", filter_replace},
    {"select", filter_select},       {"reject", filter_reject},         {"map", filter_map},
    {"selectattr", filter_selectattr}, {"rejectattr", filter_rejectattr},
};

static filter_function *find_filter(const jinja_value *name)
{
    for (size_t i = 0; i < SONDE_COUNT(filters); i++)
        if (jinja_is_text(name, filters[i].name)) return filters[i].apply;
    return NULL;
}

bool jinja_filter_is_known(const jinja_value *name)
{
    return find_filter(name) != NULL;
}

sonde_status jinja_filter(jinja_run *run, const jinja_value *name, jinja_value *value,
                          const jinja_arguments *arguments, jinja_value **out)
{
    filter_function *apply = find_filter(name);
    return apply ? apply(run, value, arguments, out) : jinja_fail(run, "a filter that is not known");
}

/* ---- tests ------------------------------------------------------------------------------------ */

typedef enum test {
    IS_DEFINED, IS_UNDEFINED, IS_NONE, IS_STRING, IS_MAPPING, IS_ITERABLE, IS_SEQUENCE, IS_NUMBER,
    IS_INTEGER, IS_FLOAT, IS_BOOLEAN, IS_TRUE, IS_FALSE, IS_CALLABLE, IS_EQUAL, IS_UNEQUAL, IS_IN,
    IS_ODD, IS_EVEN, N_TESTS
} test;

static const struct {
    const char *name;
    test test;
} tests[] = {
    {"defined", IS_DEFINED},   {"undefined", IS_UNDEFINED}, {"none", IS_NONE},
    {"string", IS_STRING},     {"mapping", IS_MAPPING},     {"iterable", IS_ITERABLE},
    {"sequence", IS_SEQUENCE}, {"number", IS_NUMBER},       {"integer", IS_INTEGER},
    {"float", IS_FLOAT},       {"boolean", IS_BOOLEAN},     {"true", IS_TRUE},
    {"false", IS_FALSE},       {"callable", IS_CALLABLE},   {"equalto", IS_EQUAL},
    {"eq", IS_EQUAL},          {"==", IS_EQUAL},            {"ne", IS_UNEQUAL},
    {"in", IS_IN},             {"odd", IS_ODD},             {"even", IS_EVEN},
};

static test find_test(const jinja_value *name)
{
    for (size_t i = 0; i < SONDE_COUNT(tests); i++)
        if (jinja_is_text(name, tests[i].name)) return tests[i].test;
    return N_TESTS;
}

bool jinja_test_is_known(const jinja_value *name)
{
    return find_test(name) != N_TESTS;
}

/* Tests of one value by its kind. */
static bool kind_is(test what, const jinja_value *v)
{
    bool list = v->kind == JINJA_STRING || v->kind == JINJA_LIST || v->kind == JINJA_DICT ||
                v->kind == JINJA_UNDEFINED;
    switch (what) {
    case IS_DEFINED: return v->kind != JINJA_UNDEFINED;
    case IS_UNDEFINED: return v->kind == JINJA_UNDEFINED;
    case IS_NONE: return v->kind == JINJA_NONE;
    case IS_STRING: return v->kind == JINJA_STRING;
    case IS_MAPPING: return v->kind == JINJA_DICT && !v->is_namespace;
    case IS_ITERABLE:
    case IS_SEQUENCE: return list && !v->is_namespace;
    case IS_NUMBER: return jinja_is_number(v);
    case IS_INTEGER: return v->kind == JINJA_INT;
    case IS_FLOAT: return v->kind == JINJA_FLOAT;
    case IS_BOOLEAN: return v->kind == JINJA_BOOL;
    case IS_TRUE: return v->kind == JINJA_BOOL && v->as.integer;
    case IS_FALSE: return v->kind == JINJA_BOOL && !v->as.integer;
    case IS_CALLABLE: return v->kind == JINJA_MACRO || v->kind == JINJA_FUNCTION;
    case IS_ODD: return v->kind == JINJA_INT && (v->as.integer & 1);
    case IS_EVEN: return v->kind == JINJA_INT && !(v->as.integer & 1);
    default: return false;
    }
}

sonde_status jinja_test(jinja_run *run, const jinja_value *name, jinja_value *value,
                        const jinja_arguments *arguments, bool *out)
{
    test what = find_test(name);
    jinja_value *other = jinja_argument(arguments, 0, NULL), *found;
    if (what == N_TESTS) return jinja_fail(run, "a test that is not known");
    *out = kind_is(what, value);
    if (what != IS_EQUAL && what != IS_UNEQUAL && what != IS_IN) return SONDE_OK;
    if (!other) return jinja_fail(run, "a test needs something to compare with");
    jinja_op op = what == IS_IN ? JINJA_IN : what == IS_EQUAL ? JINJA_EQUAL : JINJA_UNEQUAL;
    SONDE_TRY(jinja_operate(run, op, value, other, &found));
    *out = jinja_truth(found);
    return SONDE_OK;
}
