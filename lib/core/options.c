/* options.c - the option table: defaults, parsing, bounds, formatting. */
#include "core.h"
#include "sonde/options.h"

#include <string.h>

static void *value_at(void *target, const sonde_option *option)
{
    return (char *)target + option->offset;
}

const sonde_option *sonde_options_find(const sonde_option *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0) return table;
    return NULL;
}

static sonde_status unknown_option(const sonde_option *table, const char *name, sonde_error *err)
{
    const char *names[128];
    size_t n = 0;
    for (; table->name && n + 1 < SONDE_COUNT(names); table++) names[n++] = table->name;
    names[n] = NULL;
    const char *near = sonde_near_name(name, names);
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "no option '%s'%s%s%s", name,
                      near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static sonde_status set_int(const sonde_option *o, int64_t *value, const char *text,
                            sonde_error *err)
{
    bool bounded = o->min != 0 || o->max != 0;
    int64_t min = bounded ? (int64_t)o->min : INT64_MIN;
    int64_t max = bounded && o->max < 0x1p62 ? (int64_t)o->max : INT64_MAX;
    if (sonde_parse_i64(text, min, max, value)) return SONDE_OK;
    if (!bounded)
        return sonde_fail(err, SONDE_USAGE, "option %s: expected a whole number, got '%s'", o->name,
                          text);
    return sonde_fail(err, SONDE_USAGE, "option %s: expected a whole number from %lld to %lld, got "
                      "'%s'", o->name, (long long)min, (long long)max, text);
}

static sonde_status set_float(const sonde_option *o, double *value, const char *text,
                              sonde_error *err)
{
    bool bounded = o->min != 0 || o->max != 0;
    double min = bounded ? o->min : -1e300, max = bounded ? o->max : 1e300;
    if (sonde_parse_f64(text, min, max, value)) return SONDE_OK;
    if (!bounded)
        return sonde_fail(err, SONDE_USAGE, "option %s: expected a number, got '%s'", o->name, text);
    return sonde_fail(err, SONDE_USAGE, "option %s: expected a number from %g to %g, got '%s'",
                      o->name, min, max, text);
}

static sonde_status set_choice(const sonde_option *o, int32_t *value, const char *text,
                               sonde_error *err)
{
    sonde_string list = {0};
    for (int32_t i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], text) == 0) {
            *value = i;
            sonde_string_reset(&list);
            return SONDE_OK;
        }
        sonde_string_format(&list, "%s%s", i ? ", " : "", o->choices[i]);
    }
    const char *near = sonde_near_name(text, o->choices);
    sonde_status status =
        sonde_fail(err, SONDE_USAGE, "option %s: expected one of %s; got '%s'%s%s%s", o->name,
                   list.failed ? "its choices" : list.data, text, near ? "; did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
    sonde_string_reset(&list);
    return status;
}

static sonde_status add_to_list(const sonde_option *o, sonde_option_list *list, const char *text,
                                sonde_error *err)
{
    if (list->count == SONDE_OPTION_LIST_MAX)
        return sonde_fail(err, SONDE_USAGE, "option %s: given more than %d times", o->name,
                          SONDE_OPTION_LIST_MAX);
    list->values[list->count++] = text;
    return SONDE_OK;
}

static sonde_status set_value(const sonde_option *o, void *value, const char *text,
                              sonde_error *err)
{
    switch (o->type) {
    case SONDE_OPTION_INT: return set_int(o, value, text, err);
    case SONDE_OPTION_FLOAT: return set_float(o, value, text, err);
    case SONDE_OPTION_CHOICE: return set_choice(o, value, text, err);
    case SONDE_OPTION_LIST: return add_to_list(o, value, text, err);
    case SONDE_OPTION_TEXT: memcpy(value, &text, sizeof text); return SONDE_OK;
    case SONDE_OPTION_BYTES:
        if (sonde_parse_bytes(text, value)) return SONDE_OK;
        return sonde_fail(err, SONDE_USAGE, "option %s: expected a size like 512M or 8G, got '%s'",
                          o->name, text);
    case SONDE_OPTION_FLAG: break;
    }
    bool on = strcmp(text, "yes") == 0 || strcmp(text, "1") == 0;
    if (!on && strcmp(text, "no") != 0 && strcmp(text, "0") != 0)
        return sonde_fail(err, SONDE_USAGE, "option %s: expected yes or no, got '%s'", o->name,
                          text);
    *(bool *)value = on;
    return SONDE_OK;
}

sonde_status sonde_options_defaults(const sonde_option *table, void *target, sonde_error *err)
{
    for (; table->name; table++)
        if (table->fallback && table->type != SONDE_OPTION_LIST)
            SONDE_TRY(set_value(table, value_at(target, table), table->fallback, err));
    return SONDE_OK;
}

sonde_status sonde_options_set(const sonde_option *table, void *target, const char *name,
                               const char *text, sonde_error *err)
{
    const sonde_option *option = sonde_options_find(table, name);
    if (!option) return unknown_option(table, name, err);
    if (option->flags & SONDE_OPTION_LATER)
        return sonde_fail(err, SONDE_UNSUPPORTED, "option %s is not built yet", name);
    if (!text && option->type != SONDE_OPTION_FLAG)
        return sonde_fail(err, SONDE_USAGE, "option %s: expected a value", name);
    return set_value(option, value_at(target, option), text ? text : "yes", err);
}

static void format_list(const sonde_option_list *list, char *buffer, size_t bytes)
{
    size_t used = 0;
    buffer[0] = '\0';
    for (int32_t i = 0; i < list->count && used + 1 < bytes; i++) {
        int n = snprintf(buffer + used, bytes - used, "%s%s", i ? " " : "", list->values[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

const char *sonde_options_format(const sonde_option *option, const void *target, char *buffer,
                                 size_t bytes)
{
    const void *value = (const char *)target + option->offset;
    const char *text;
    switch (option->type) {
    case SONDE_OPTION_FLAG:
        snprintf(buffer, bytes, "%s", *(const bool *)value ? "yes" : "no");
        break;
    case SONDE_OPTION_INT:
        snprintf(buffer, bytes, "%lld", (long long)*(const int64_t *)value);
        break;
    case SONDE_OPTION_FLOAT: snprintf(buffer, bytes, "%.17g", *(const double *)value); break;
    case SONDE_OPTION_BYTES:
        snprintf(buffer, bytes, "%llu", (unsigned long long)*(const uint64_t *)value);
        break;
    case SONDE_OPTION_CHOICE:
        snprintf(buffer, bytes, "%s", option->choices[*(const int32_t *)value]);
        break;
    case SONDE_OPTION_LIST: format_list(value, buffer, bytes); break;
    case SONDE_OPTION_TEXT:
        memcpy(&text, value, sizeof text);
        snprintf(buffer, bytes, "%s", text ? text : "");
        break;
    }
    return buffer;
}
