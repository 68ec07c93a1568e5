/* jinja_functions.c - the functions that transformers gives to chat templates. */
#include "jinja_internal.h"

#include <time.h>

typedef sonde_status function(jinja_run *run, const jinja_arguments *arguments, jinja_value **out);

static sonde_status make_namespace(jinja_run *run, const jinja_arguments *arguments,
                                   jinja_value **out)
{
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_DICT), out));
    (*out)->is_namespace = true;
    for (size_t i = 0; i < arguments->named->count; i++)
        if (!jinja_dict_set(run->arena, *out, arguments->named->as.list.items[2 * i],
                            arguments->named->as.list.items[2 * i + 1]))
            return jinja_no_memory(run);
    return SONDE_OK;
}

#define MAX_RANGE 100000 /* Jinja's sandbox has this bound too */

static sonde_status range(jinja_run *run, const jinja_arguments *arguments, jinja_value **out)
{
    int64_t bounds[3] = {0, 0, 1};
    size_t n = SONDE_MIN(arguments->count, (size_t)3);
    for (size_t i = 0; i < n; i++) {
        if (arguments->items[i]->kind != JINJA_INT) return jinja_fail(run, "range needs whole numbers");
        bounds[n == 1 ? 1 : i] = arguments->items[i]->as.integer;
    }
    if (n == 0 || bounds[2] == 0) return jinja_fail(run, "range needs a step other than 0");
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), out));
    for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1];) {
        if ((*out)->count == MAX_RANGE) return jinja_fail(run, "range too big");
        if (!jinja_list_push(run->arena, *out, jinja_int(run->arena, i))) return jinja_no_memory(run);
        if (__builtin_add_overflow(i, bounds[2], &i)) break;
    }
    return SONDE_OK;
}

static sonde_status raise_exception(jinja_run *run, const jinja_arguments *arguments,
                                    jinja_value **out)
{
    const jinja_value *text = jinja_argument(arguments, 0, "message");
    *out = NULL;
    if (!text || text->kind != JINJA_STRING) return jinja_fail(run, "refused");
    return sonde_fail(run->err, SONDE_BAD_PROMPT, "the chat template refuses: %.*s",
                      (int)SONDE_MIN(text->count, (size_t)400), text->as.text.bytes);
}

static sonde_status strftime_now(jinja_run *run, const jinja_arguments *arguments,
                                 jinja_value **out)
{
    const jinja_value *given = jinja_argument(arguments, 0, "format");
    char format[64], text[256];
    time_t now = (time_t)run->call->now;
    struct tm parts;
    if (!given || given->kind != JINJA_STRING || given->count == 0 || given->count >= sizeof format)
        return jinja_fail(run, "strftime_now needs a format");
    memcpy(format, given->as.text.bytes, given->count);
    format[given->count] = '\0';
    gmtime_r(&now, &parts);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof text, format, &parts);
#pragma GCC diagnostic pop
    return jinja_give(run, jinja_tagged(run->arena, text, n, 0), out);
}

static const struct {
    const char *name;
    function *call;
} functions[] = {{"namespace", make_namespace},
                 {"range", range},
                 {"raise_exception", raise_exception},
                 {"strftime_now", strftime_now}};

jinja_value *jinja_function(jinja_arena *arena, const jinja_value *name)
{
    for (size_t i = 0; i < SONDE_COUNT(functions); i++) {
        if (!jinja_is_text(name, functions[i].name)) continue;
        jinja_value *value = jinja_new(arena, JINJA_FUNCTION);
        if (value) value->as.integer = (int64_t)i;
        return value;
    }
    return NULL;
}

sonde_status jinja_call_function(jinja_run *run, const jinja_value *called,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    return functions[called->as.integer].call(run, arguments, out);
}
