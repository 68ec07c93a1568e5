/*
 * probes_options.c - the options of a probe: checking a plugin's table, finding what was typed,
 * filling the instance memory. Numbers, flags and choices go through sonde_options_set, so that
 * bounds and messages are those of the command line.
 */
#include "probes_internal.h"
#include "sonde/options.h"

#include <string.h>

int64_t sonde_probe_option_count(const sonde_probe *probe)
{
    int64_t n = 0;
    if (probe->options)
        while (n <= SONDE_PROBE_MAX_OPTIONS && probe->options[n].name) n++;
    return n;
}

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [SONDE_PROBE_OPTION_FLAG] = {"flag", sizeof(int64_t)},
    [SONDE_PROBE_OPTION_INT] = {"int", sizeof(int64_t)},
    [SONDE_PROBE_OPTION_FLOAT] = {"float", sizeof(double)},
    [SONDE_PROBE_OPTION_TEXT] = {"text", sizeof(const char *)},
    [SONDE_PROBE_OPTION_CHOICE] = {"choice", sizeof(int64_t)},
    [SONDE_PROBE_OPTION_SELECTION] = {"points", sizeof(sonde_probe_selection)},
    [SONDE_PROBE_OPTION_TENSOR] = {"tensor", sizeof(sonde_probe_tensor)},
};

const char *sonde_probe_option_type_name(uint32_t type)
{
    return type < SONDE_COUNT(types) ? types[type].name : "?";
}

/* ---- the table ------------------------------------------------------------------------------- */

static bool is_host_option(const char *name)
{
    return strcmp(name, "points") == 0 || strcmp(name, "rows") == 0;
}

static const sonde_probe_option *find_option(const sonde_probe *probe, const char *name)
{
    for (int64_t i = 0; i < sonde_probe_option_count(probe); i++)
        if (strcmp(probe->options[i].name, name) == 0) return &probe->options[i];
    return NULL;
}

static bool option_name_good(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return name[0] >= 'a' && name[0] <= 'z' && !name[n] && n <= 64;
}

static sonde_status check_option(const sonde_probe *probe, const sonde_probe_option *o,
                                 sonde_error *err)
{
    if (!option_name_good(o->name) || is_host_option(o->name))
        return sonde_fail(err, SONDE_PROBE, "%s: an option is called '%.80s'; expected "
                          "[a-z][a-z0-9_-]*, and not points or rows", probe->name, o->name);
    if (find_option(probe, o->name) != o)
        return sonde_fail(err, SONDE_PROBE, "%s: it has two options '%s'", probe->name, o->name);
    if (o->type >= SONDE_COUNT(types))
        return sonde_fail(err, SONDE_PROBE, "%s: option %s has type %u, which ABI %u.%u does not "
                          "know", probe->name, o->name, o->type, SONDE_PROBE_ABI_MAJOR,
                          SONDE_PROBE_ABI_MINOR);
    size_t bytes = types[o->type].bytes;
    if (o->offset % 8 != 0 || o->offset > probe->instance_bytes ||
        probe->instance_bytes - o->offset < bytes)
        return sonde_fail(err, SONDE_PROBE, "%s: option %s lies at bytes %llu..%llu of the "
                          "instance memory, which has %llu (offsets are multiples of 8)",
                          probe->name, o->name, (unsigned long long)o->offset,
                          (unsigned long long)o->offset + bytes,
                          (unsigned long long)probe->instance_bytes);
    if (o->type == SONDE_PROBE_OPTION_CHOICE && (!o->choices || !o->choices[0]))
        return sonde_fail(err, SONDE_PROBE, "%s: option %s has no choices", probe->name, o->name);
    return SONDE_OK;
}

sonde_status sonde_probe_options_check(const sonde_probe *probe, sonde_error *err)
{
    int64_t count = sonde_probe_option_count(probe);
    if (count > SONDE_PROBE_MAX_OPTIONS)
        return sonde_fail(err, SONDE_PROBE, "%s: it has more than %d options, or its table has no "
                          "end", probe->name, SONDE_PROBE_MAX_OPTIONS);
    for (int64_t i = 0; i < count; i++)
        SONDE_TRY(check_option(probe, &probe->options[i], err));
    return SONDE_OK;
}

/* ---- what was typed -------------------------------------------------------------------------- */

static sonde_status unknown_key(const sonde_probe *probe, const char *key, sonde_error *err)
{
    const char *names[SONDE_PROBE_MAX_OPTIONS + 3];
    sonde_string list = {0};
    int64_t n = sonde_probe_option_count(probe);
    for (int64_t i = 0; i < n; i++) names[i] = probe->options[i].name;
    names[n++] = "points";
    names[n++] = "rows";
    names[n] = NULL;
    for (int64_t i = 0; i < n; i++) sonde_string_format(&list, "%s%s", i ? ", " : "", names[i]);
    const char *near = sonde_near_name(key, names);
    sonde_status status =
        sonde_fail(err, SONDE_UNKNOWN_NAME, "no option '%s'%s%s%s (it has %s)", key,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
                   list.failed ? "others" : list.data);
    sonde_string_reset(&list);
    return status;
}

sonde_status sonde_probe_keys_check(const sonde_probe *probe, const sonde_probe_text *text,
                                    sonde_error *err)
{
    for (int64_t i = 0; i < text->n_pairs; i++) {
        const sonde_probe_pair *pair = &text->pairs[i];
        const sonde_probe_option *option = find_option(probe, pair->key);
        if (!option && !is_host_option(pair->key)) return unknown_key(probe, pair->key, err);
        bool flag = option && option->type == SONDE_PROBE_OPTION_FLAG;
        if (!flag && (!pair->value || !*pair->value))
            return sonde_fail(err, SONDE_USAGE, "option %s: expected a value", pair->key);
        if (strcmp(pair->key, "points") == 0) continue;
        for (int64_t k = 0; k < i; k++)
            if (strcmp(text->pairs[k].key, pair->key) == 0)
                return sonde_fail(err, SONDE_USAGE, "option %s: given twice", pair->key);
    }
    return SONDE_OK;
}

const char *sonde_probe_option_text(const sonde_probe_option *option, const sonde_probe_text *text)
{
    for (int64_t i = 0; i < text->n_pairs; i++)
        if (strcmp(text->pairs[i].key, option->name) == 0)
            return text->pairs[i].value ? text->pairs[i].value : "yes";
    return option->fallback;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* FLAG, INT, FLOAT and CHOICE by the rules of sonde/options.h. */
static sonde_status set_plain(const sonde_probe_option *o, const char *text, char *at,
                              sonde_error *err)
{
    static const sonde_option_type as[] = {
        [SONDE_PROBE_OPTION_FLAG] = SONDE_OPTION_FLAG,
        [SONDE_PROBE_OPTION_INT] = SONDE_OPTION_INT,
        [SONDE_PROBE_OPTION_FLOAT] = SONDE_OPTION_FLOAT,
        [SONDE_PROBE_OPTION_CHOICE] = SONDE_OPTION_CHOICE,
    };
    union {
        bool flag;
        int64_t whole;
        double number;
        int32_t choice;
    } value = {.whole = 0};
    sonde_option table[2] = {{.name = o->name, .type = as[o->type], .min = o->min, .max = o->max,
                              .choices = o->choices}};
    SONDE_TRY(sonde_options_set(table, &value, o->name, text, err));
    int64_t whole = value.whole;
    if (o->type == SONDE_PROBE_OPTION_FLAG) whole = value.flag;
    if (o->type == SONDE_PROBE_OPTION_CHOICE) whole = value.choice;
    memcpy(at, o->type == SONDE_PROBE_OPTION_FLOAT ? (const void *)&value.number : &whole, 8);
    return SONDE_OK;
}

static sonde_status set_text(sonde_probe_work *work, const char *text, char *at, sonde_error *err)
{
    const char *copy = sonde_probe_own_text(&work->owner, text, strlen(text));
    if (!copy) return sonde_no_memory(err, "a text option", strlen(text));
    memcpy(at, &copy, sizeof copy);
    return SONDE_OK;
}

static uint32_t index_of_point(const sonde_points_selection *all, int64_t point)
{
    uint32_t i = 0;
    while (i < all->count && all->points[i].point != point) i++;
    return i;
}

static sonde_status set_selection(sonde_probe_work *work, const char *text, char *at,
                                  sonde_error *err)
{
    sonde_points_selection chosen = {0};
    SONDE_TRY(sonde_points_select(work->model, &text, 1, &chosen, err));
    uint32_t *points = sonde_probe_own(&work->owner, (size_t)chosen.count, sizeof *points);
    sonde_probe_selection value = {.count = (uint32_t)chosen.count, .points = points};
    for (int64_t i = 0; points && i < chosen.count; i++)
        points[i] = index_of_point(work->selection, chosen.points[i].point);
    sonde_points_reset(&chosen);
    if (!points) return sonde_no_memory(err, "a selection", 64);
    memcpy(at, &value, sizeof value);
    return SONDE_OK;
}

static sonde_status set_tensor(sonde_probe_work *work, const char *text, char *at,
                               sonde_error *err)
{
    sonde_probe_tensor tensor = {0};
    SONDE_TRY(sonde_probe_tensor_load(&work->owner, text, &tensor, err));
    memcpy(at, &tensor, sizeof tensor);
    return SONDE_OK;
}

static sonde_status set_option(sonde_probe_instance *instance, const sonde_probe_option *o,
                               sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    const char *text = sonde_probe_option_text(o, &work->text);
    char *at = (char *)instance->memory + o->offset;
    if (!text && o->required)
        return sonde_fail(err, SONDE_USAGE, "option %s must be given: %s", o->name,
                          o->help ? o->help : sonde_probe_option_type_name(o->type));
    if (!text) return SONDE_OK;
    sonde_error why = {0};
    sonde_status status;
    switch (o->type) {
    case SONDE_PROBE_OPTION_TEXT: return set_text(work, text, at, err);
    case SONDE_PROBE_OPTION_SELECTION: status = set_selection(work, text, at, &why); break;
    case SONDE_PROBE_OPTION_TENSOR: status = set_tensor(work, text, at, &why); break;
    default: return set_plain(o, text, at, err);
    }
    if (status == SONDE_OK) return status;
    return sonde_fail(err, status, "option %s: %s", o->name, why.message);
}

sonde_status sonde_probe_options_fill(sonde_probe_instance *instance, sonde_error *err)
{
    for (int64_t i = 0; i < sonde_probe_option_count(&instance->probe); i++)
        SONDE_TRY(set_option(instance, &instance->probe.options[i], err));
    return SONDE_OK;
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static void json_text(sonde_string *out, const char *text)
{
    if (text) sonde_string_json(out, text, strlen(text));
    else sonde_string_text(out, "null");
}

/* The tensor's own values are named by their hash: a file of the same name may change. */
static void json_tensor(sonde_string *out, const sonde_probe_tensor *tensor)
{
    if (!tensor->data) {
        sonde_string_text(out, "null");
        return;
    }
    size_t elements = 1;
    char hex[33];
    sonde_string_text(out, "{\"source\": ");
    json_text(out, tensor->source);
    sonde_string_text(out, ", \"shape\": [");
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        sonde_string_format(out, "%s%lld", i ? ", " : "", (long long)tensor->dims[i]);
        elements *= (size_t)tensor->dims[i];
    }
    sonde_hash128_hex(sonde_hash128(tensor->data, elements * sizeof(float)), hex);
    sonde_string_format(out, "], \"xxh3\": \"%s\"}", hex);
}

static void json_value(sonde_string *out, const sonde_probe_instance *instance,
                       const sonde_probe_option *o)
{
    const sonde_probe_work *work = instance->host;
    const char *at = (const char *)instance->memory + o->offset;
    sonde_probe_tensor tensor;
    int64_t whole;
    double number;
    memcpy(&whole, at, sizeof whole);
    memcpy(&number, at, sizeof number);
    switch (o->type) {
    case SONDE_PROBE_OPTION_FLAG: sonde_string_text(out, whole ? "true" : "false"); break;
    case SONDE_PROBE_OPTION_INT: sonde_string_format(out, "%lld", (long long)whole); break;
    case SONDE_PROBE_OPTION_FLOAT: sonde_string_format(out, "%.17g", number); break;
    case SONDE_PROBE_OPTION_CHOICE: json_text(out, o->choices[whole]); break;
    case SONDE_PROBE_OPTION_TENSOR:
        memcpy(&tensor, at, sizeof tensor);
        json_tensor(out, &tensor);
        break;
    default: json_text(out, sonde_probe_option_text(o, &work->text)); break;
    }
}

sonde_status sonde_probe_options_json(sonde_probe_instance *instance, sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    sonde_string out = {0};
    sonde_string_text(&out, "{\"points\": [");
    for (int64_t i = 0; i < work->n_point_texts; i++) {
        if (i) sonde_string_text(&out, ", ");
        json_text(&out, work->point_texts[i]);
    }
    sonde_string_text(&out, "], \"rows\": ");
    json_text(&out, instance->rows);
    for (int64_t i = 0; i < sonde_probe_option_count(&instance->probe); i++) {
        sonde_string_text(&out, ", ");
        json_text(&out, instance->probe.options[i].name);
        sonde_string_text(&out, ": ");
        json_value(&out, instance, &instance->probe.options[i]);
    }
    sonde_string_text(&out, "}");
    if (!out.failed)
        instance->options_json = sonde_probe_own_text(&work->owner, out.data, out.length);
    sonde_string_reset(&out);
    return instance->options_json ? SONDE_OK : sonde_no_memory(err, "a probe's options", 256);
}
