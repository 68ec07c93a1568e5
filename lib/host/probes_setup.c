/*
 * probes_setup.c - an instance's points, the services a plugin has during setup, and the checks of
 * what it declares. The first failure of a service is kept: it stands even when the plugin goes on.
 */
#include "probes_internal.h"

#include <string.h>

#define FALLBACK_POINTS "blocks.*.resid_post"

/* ---- points ---------------------------------------------------------------------------------- */

static void describe_point(const sonde_hook_point *hook, const sonde_selected_point *selected,
                           sonde_probe_point *out)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < selected->n_parts; i++)
        kept += selected->parts[i].end - selected->parts[i].begin;
    *out = (sonde_probe_point){
        .name = hook->name,
        .layer = hook->layer,
        .element = hook->element == SONDE_DTYPE_I32 ? SONDE_ELEMENT_I32 : SONDE_ELEMENT_F32,
        .ragged = hook->ragged,
        .n_dims = (uint32_t)hook->n_dims,
        .writable = hook->writable,
        .shape = {selected->parts ? kept : hook->shape[0], hook->n_dims == 2 ? hook->shape[1] : 0},
    };
    out->width = out->shape[0] * (hook->n_dims == 2 && !hook->ragged ? out->shape[1] : 1);
}

/* What `points` is: typed for the instance, else --points, else the probe's, else everyone's. */
static sonde_status find_point_texts(sonde_probe_instance *instance,
                                     const sonde_probe_set_spec *spec, sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    const sonde_probe_text *text = &work->text;
    const char **texts = sonde_probe_own(&work->owner, (size_t)text->n_pairs + 1, sizeof *texts);
    if (!texts) return sonde_no_memory(err, "the points of a probe", 64);
    work->point_texts = texts;
    for (int64_t i = 0; i < text->n_pairs; i++)
        if (strcmp(text->pairs[i].key, "points") == 0)
            texts[work->n_point_texts++] = text->pairs[i].value;
    if (work->n_point_texts > 0) return SONDE_OK;
    if (spec->n_points > 0) {
        work->point_texts = spec->points;
        work->n_point_texts = spec->n_points;
    } else {
        texts[0] = instance->probe.points ? instance->probe.points : FALLBACK_POINTS;
        work->n_point_texts = 1;
    }
    return SONDE_OK;
}

/* The points and those of every selection option, as one selection. */
static sonde_status select_all(sonde_probe_instance *instance, sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    int64_t n = work->n_point_texts, options = sonde_probe_option_count(&instance->probe);
    const char **texts = sonde_alloc((size_t)(n + options), sizeof *texts);
    if (!texts) return sonde_no_memory(err, "the points of a probe", 64);
    for (int64_t i = 0; i < n; i++) texts[i] = work->point_texts[i];
    for (int64_t i = 0; i < options; i++) {
        const sonde_probe_option *o = &instance->probe.options[i];
        const char *text = sonde_probe_option_text(o, &work->text);
        if (o->type == SONDE_PROBE_OPTION_SELECTION && text) texts[n++] = text;
    }
    sonde_status status = sonde_points_select(work->model, texts, n, &instance->selection, err);
    sonde_free(texts);
    return status;
}

static sonde_status check_rows(const char *rows, sonde_error *err)
{
    sonde_rows_expr *expr = NULL;
    if (!rows) return SONDE_OK;
    sonde_status status = sonde_rows_compile(rows, &expr, err);
    sonde_rows_destroy(&expr);
    return status;
}

sonde_status sonde_probe_points_resolve(sonde_probe_instance *instance,
                                        const sonde_probe_set_spec *spec, sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    SONDE_TRY(find_point_texts(instance, spec, err));
    SONDE_TRY(select_all(instance, err));
    size_t n = (size_t)instance->selection.count;
    instance->points = sonde_probe_own(&work->owner, n, sizeof *instance->points);
    instance->access = sonde_probe_own(&work->owner, n, sizeof *instance->access);
    if (!instance->points || !instance->access)
        return sonde_no_memory(err, "the points of a probe", n * sizeof *instance->points);
    for (size_t i = 0; i < n; i++) {
        const sonde_selected_point *selected = &instance->selection.points[i];
        describe_point(sonde_model_point(work->model, selected->point), selected,
                       &instance->points[i]);
        instance->access[i] = SONDE_ACCESS_READ;
    }
    for (int64_t i = 0; i < work->text.n_pairs; i++)
        if (strcmp(work->text.pairs[i].key, "rows") == 0)
            instance->rows = work->text.pairs[i].value;
    instance->n_points = work->n_points = (uint32_t)n;
    work->points = instance->points;
    work->access = instance->access;
    work->selection = &instance->selection;
    return check_rows(instance->rows, err);
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* True when a and b are the same name or one lies below the other. */
static bool names_collide(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] && a[i] == b[i]) i++;
    return (!a[i] && (!b[i] || b[i] == '/')) || (!b[i] && a[i] == '/');
}

static sonde_status check_shape(const char *what, uint32_t n_dims, const int64_t *shape,
                                sonde_error *err)
{
    int64_t elements = 1;
    if (n_dims > 4)
        return sonde_fail(err, SONDE_PROBE, "output %s: a row has %u dimensions; at most 4", what,
                          n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        if (shape[i] < 1 || !sonde_mul_i64(elements, shape[i], &elements) ||
            elements > SONDE_PROBE_MAX_ELEMENTS)
            return sonde_fail(err, SONDE_PROBE, "output %s: dimension %u of a row is %lld; every "
                              "one must be at least 1, and their product at most %lld", what, i,
                              (long long)shape[i], (long long)SONDE_PROBE_MAX_ELEMENTS);
    return SONDE_OK;
}

static sonde_status check_point_output(const sonde_probe_work *work, sonde_probe_output *output,
                                       sonde_error *err)
{
    const sonde_probe_point *point = &work->points[output->point];
    if (output->element != point->element)
        return sonde_fail(err, SONDE_PROBE, "output of point %s: its elements are %s, the point's "
                          "own are %s", point->name,
                          sonde_dtype_name(sonde_probe_element_dtype(output->element)),
                          sonde_dtype_name(sonde_probe_element_dtype(point->element)));
    if (point->ragged) {
        output->n_dims = point->n_dims;
        memcpy(output->shape, point->shape, sizeof output->shape);
    }
    bool same = output->n_dims == point->n_dims;
    for (uint32_t i = 0; same && i < point->n_dims; i++) same = output->shape[i] == point->shape[i];
    if (!same)
        return sonde_fail(err, SONDE_PROBE, "output of point %s: its rows have another shape than "
                          "the point's; emit them as rows of a name of their own", point->name);
    for (uint32_t i = 0; i < work->n_outputs; i++)
        if (work->outputs[i].kind == SONDE_OUTPUT_POINT && work->outputs[i].point == output->point)
            return sonde_fail(err, SONDE_PROBE, "output of point %s: declared twice", point->name);
    output->name = point->name;
    return SONDE_OK;
}

static sonde_status check_named_output(sonde_probe_work *work, sonde_probe_output *output,
                                       sonde_error *err)
{
    if (!sonde_probe_path_good(output->name))
        return sonde_fail(err, SONDE_PROBE, "output '%.80s': expected a name of letters, digits, "
                          "'_', '-', '.' and '/'", output->name ? output->name : "");
    for (uint32_t i = 0; i < work->n_outputs; i++)
        if (work->outputs[i].kind != SONDE_OUTPUT_POINT &&
            names_collide(work->outputs[i].name, output->name))
            return sonde_fail(err, SONDE_PROBE, "output %s: %s is declared already", output->name,
                              work->outputs[i].name);
    SONDE_TRY(check_shape(output->name, output->n_dims, output->shape, err));
    output->name = sonde_probe_own_text(&work->owner, output->name, strlen(output->name));
    return output->name ? SONDE_OK : sonde_no_memory(err, "an output's name", 64);
}

static sonde_status check_output(sonde_probe_work *work, const sonde_probe_output *given,
                                 sonde_probe_output *output, sonde_error *err)
{
    if (!work->in_setup)
        return sonde_fail(err, SONDE_PROBE, "`declare` is called outside setup");
    if (!given || given->struct_size < sizeof *given)
        return sonde_fail(err, SONDE_PROBE, "an output has struct_size %u, ABI 1 needs %zu",
                          given ? given->struct_size : 0, sizeof *given);
    memcpy(output, given, sizeof *output);
    output->struct_size = sizeof *output;
    if (output->kind > SONDE_OUTPUT_SPARSE)
        return sonde_fail(err, SONDE_PROBE, "an output has kind %u, which ABI %u.%u does not know",
                          output->kind, SONDE_PROBE_ABI_MAJOR, SONDE_PROBE_ABI_MINOR);
    if (sonde_probe_element_dtype(output->element) == SONDE_DTYPE_NONE)
        return sonde_fail(err, SONDE_PROBE, "an output has element %u, which ABI %u.%u does not "
                          "know", output->element, SONDE_PROBE_ABI_MAJOR, SONDE_PROBE_ABI_MINOR);
    if (output->kind == SONDE_OUTPUT_SPARSE) output->point = 0;
    else if (output->point >= work->n_points)
        return sonde_fail(err, SONDE_PROBE, "an output follows point %u; the instance has %u "
                          "points", output->point, work->n_points);
    if (work->n_outputs == SONDE_PROBE_MAX_OUTPUTS)
        return sonde_fail(err, SONDE_PROBE, "more than %u outputs", SONDE_PROBE_MAX_OUTPUTS);
    return output->kind == SONDE_OUTPUT_POINT ? check_point_output(work, output, err)
                                              : check_named_output(work, output, err);
}

/* ---- services -------------------------------------------------------------------------------- */

/* Tells the plugin, and keeps the first failure. */
static int32_t service_result(sonde_probe_work *work, sonde_status status, const sonde_error *why,
                              sonde_probe_error *err)
{
    if (status == SONDE_OK) return 0;
    if (work->in_setup && work->first.status == SONDE_OK) {
        work->first = *why;
        work->first.status = status;
    }
    if (err) snprintf(err->message, sizeof err->message, "%.*s", (int)sizeof err->message - 1,
                      why->message);
    return 1;
}

static int32_t declare(void *self, const sonde_probe_output *given, uint32_t *id,
                       sonde_probe_error *err)
{
    sonde_probe_work *work = self;
    sonde_probe_output output;
    sonde_error why = {0};
    sonde_status status = check_output(work, given, &output, &why);
    if (status == SONDE_OK && !sonde_grow(&work->outputs, &work->outputs_capacity,
                                          (size_t)work->n_outputs + 1, sizeof output))
        status = sonde_no_memory(&why, "an output", sizeof output);
    if (status == SONDE_OK) {
        if (id) *id = work->n_outputs;
        work->outputs[work->n_outputs++] = output;
    }
    return service_result(work, status, &why, err);
}

static sonde_status check_access(const sonde_probe_work *work, uint32_t point, uint32_t access,
                                 sonde_error *err)
{
    if (!work->in_setup) return sonde_fail(err, SONDE_PROBE, "`access` is called outside setup");
    if (point >= work->n_points)
        return sonde_fail(err, SONDE_PROBE, "access to point %u; the instance has %u points", point,
                          work->n_points);
    if (access == 0 || (access & ~(SONDE_ACCESS_READ | SONDE_ACCESS_WRITE)))
        return sonde_fail(err, SONDE_PROBE, "access %u to %s; expected READ (1), WRITE (2) or both",
                          access, work->points[point].name);
    if (!(access & SONDE_ACCESS_WRITE)) return SONDE_OK;
    const sonde_hook_point *hook =
        sonde_model_point(work->model, work->selection->points[point].point);
    if (!(work->flags & SONDE_PROBE_WRITES))
        return sonde_fail(err, SONDE_PROBE, "it asks to write %s, but its descriptor lacks the "
                          "flag SONDE_PROBE_WRITES", hook->name);
    if (!hook->writable)
        return sonde_fail(err, SONDE_USAGE, "%s cannot be written: %s", hook->name,
                          hook->not_writable_why ? hook->not_writable_why : "nothing reads it");
    return SONDE_OK;
}

static int32_t set_access(void *self, uint32_t point, uint32_t access, sonde_probe_error *err)
{
    sonde_probe_work *work = self;
    sonde_error why = {0};
    sonde_status status = check_access(work, point, access, &why);
    if (status == SONDE_OK) work->access[point] = access;
    return service_result(work, status, &why, err);
}

static void log_line(void *self, const char *line)
{
    const sonde_probe_work *work = self;
    sonde_log(SONDE_LOG_INFO, "%s: %.400s", work->label, line ? line : "");
}

/* ---- setup ----------------------------------------------------------------------------------- */

static sonde_status check_sizes(const sonde_probe_instance *instance,
                                const sonde_probe_setup *setup, sonde_error *err)
{
    static const char *const names[] = {"state", "scratch", "scratch per row"};
    const uint64_t bytes[] = {setup->state_bytes, setup->scratch_bytes,
                              setup->scratch_bytes_per_row};
    static const uint64_t most[] = {SONDE_PROBE_MAX_STATE_BYTES, SONDE_PROBE_MAX_STATE_BYTES,
                                    SONDE_PROBE_MAX_ROW_BYTES};
    for (size_t i = 0; i < SONDE_COUNT(bytes); i++)
        if (bytes[i] > most[i])
            return sonde_fail(err, SONDE_PROBE, "setup: it asks for %llu bytes of %s; at most %llu "
                              "are given", (unsigned long long)bytes[i], names[i],
                              (unsigned long long)most[i]);
    if (setup->state_bytes > 0 && !instance->probe.merge)
        return sonde_fail(err, SONDE_PROBE, "setup: it has state (%llu bytes) but no `merge`",
                          (unsigned long long)setup->state_bytes);
    return SONDE_OK;
}

static void fill_setup(const sonde_probe_instance *instance, sonde_probe_setup *setup)
{
    sonde_probe_work *work = instance->host;
    sonde_model_info info;
    sonde_model_info_get(work->model, &info);
    work->services = (sonde_probe_host){.struct_size = sizeof work->services, .self = work,
                                        .declare = declare, .access = set_access, .log = log_line};
    *setup = (sonde_probe_setup){
        .struct_size = sizeof *setup, .n_points = instance->n_points, .points = instance->points,
        .instance = instance->name, .model = info.path, .family = info.family,
        .n_layers = info.n_layers, .hidden = info.hidden, .n_heads = info.n_heads,
        .n_kv_heads = info.n_kv_heads, .head_dim = info.head_dim, .ffn = info.ffn,
        .vocab = info.vocab, .host = &work->services};
}

sonde_status sonde_probe_setup_call(sonde_probe_instance *instance, sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    sonde_probe_setup setup;
    sonde_probe_error said = {0};
    fill_setup(instance, &setup);
    work->flags = instance->probe.flags;
    work->in_setup = work->was_set_up = true;
    int32_t result = instance->probe.setup(instance->memory, &setup, &said);
    work->in_setup = false;
    if (work->first.status != SONDE_OK)
        return sonde_fail(err, work->first.status, "%s: %s", work->label, work->first.message);
    if (result != 0) return sonde_probe_failed(instance, "setup", &said, err);
    sonde_error why = {0};
    sonde_status status = check_sizes(instance, &setup, &why);
    if (status != SONDE_OK) return sonde_fail(err, status, "%s: %s", work->label, why.message);
    instance->outputs = work->outputs;
    instance->n_outputs = work->n_outputs;
    instance->state_bytes = setup.state_bytes;
    instance->scratch_bytes = setup.scratch_bytes;
    instance->scratch_bytes_per_row = setup.scratch_bytes_per_row;
    for (uint32_t i = 0; i < instance->n_points; i++)
        if (instance->access[i] & SONDE_ACCESS_WRITE) instance->writes = true;
    return SONDE_OK;
}
