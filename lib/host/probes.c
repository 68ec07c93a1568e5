/* probes.c - a set of probe instances: opened, set up, put into order of calls, released. */
#include "probes_internal.h"

#include <string.h>

sonde_dtype sonde_probe_element_dtype(uint32_t element)
{
    static const sonde_dtype dtypes[] = {
        [SONDE_ELEMENT_F32] = SONDE_DTYPE_F32, [SONDE_ELEMENT_I32] = SONDE_DTYPE_I32,
        [SONDE_ELEMENT_F64] = SONDE_DTYPE_F64, [SONDE_ELEMENT_I64] = SONDE_DTYPE_I64,
        [SONDE_ELEMENT_U8] = SONDE_DTYPE_U8,
    };
    return element < SONDE_COUNT(dtypes) ? dtypes[element] : SONDE_DTYPE_NONE;
}

sonde_status sonde_probe_failed(const sonde_probe_instance *instance, const char *callback,
                                const sonde_probe_error *pe, sonde_error *err)
{
    const sonde_probe_work *work = instance->host;
    size_t length = strnlen(pe->message, sizeof pe->message);
    if (length == 0)
        return sonde_fail(err, SONDE_PROBE, "%s: %s failed without a message", work->label,
                          callback);
    return sonde_fail(err, SONDE_PROBE, "%s: %.*s", work->label, (int)length, pe->message);
}

/* ---- one instance ---------------------------------------------------------------------------- */

static sonde_status name_instance(sonde_probe_set *set, sonde_probe_instance *instance,
                                  sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    const char *name = work->text.instance ? work->text.instance : instance->probe.name;
    sonde_string label = {0};
    for (int32_t i = 0; i < set->count - 1; i++)
        if (strcmp(set->instances[i].name, name) == 0)
            return sonde_fail(err, SONDE_USAGE, "probe %s: there is an instance '%s' already; name "
                              "this one: %s=NAME", instance->probe.name, name, work->text.name);
    sonde_string_format(&label, "probe %s (instance %s)", instance->probe.name, name);
    if (!label.failed) work->label = sonde_probe_own_text(&work->owner, label.data, label.length);
    instance->name = sonde_probe_own_text(&work->owner, name, strlen(name));
    sonde_string_reset(&label);
    if (!work->label || !instance->name) return sonde_no_memory(err, "a probe's name", 64);
    return SONDE_OK;
}

static sonde_status prepare(sonde_probe_instance *instance, const sonde_probe_set_spec *spec,
                            sonde_error *err)
{
    sonde_probe_work *work = instance->host;
    size_t bytes = SONDE_MAX((size_t)instance->probe.instance_bytes, 1);
    SONDE_TRY(sonde_probe_keys_check(&instance->probe, &work->text, err));
    instance->memory = sonde_probe_own(&work->owner, bytes, 1);
    if (!instance->memory) return sonde_no_memory(err, "the memory of an instance", bytes);
    SONDE_TRY(sonde_probe_points_resolve(instance, spec, err));
    SONDE_TRY(sonde_probe_options_fill(instance, err));
    return sonde_probe_options_json(instance, err);
}

static sonde_status open_instance(sonde_probe_set *set, const sonde_probe_set_spec *spec,
                                  const char *typed, sonde_error *err)
{
    sonde_probe_instance *instance = &set->instances[set->count];
    sonde_probe_work *work = sonde_alloc(1, sizeof *work);
    if (!work) return sonde_no_memory(err, "a probe", sizeof *work);
    set->count++;
    instance->host = work;
    work->model = spec->model;
    SONDE_TRY(sonde_probe_parse(&work->owner, typed, &work->text, err));
    SONDE_TRY(sonde_probe_find(set->loaded, &work->text, &instance->probe, &instance->file, err));
    SONDE_TRY(name_instance(set, instance, err));
    sonde_error why = {0};
    sonde_status status = prepare(instance, spec, &why);
    bool typed_by_nobody = spec->n_probes == 0; /* the default probe: its name would only puzzle */
    if (status != SONDE_OK && typed_by_nobody) return sonde_fail(err, status, "%s", why.message);
    if (status != SONDE_OK) return sonde_fail(err, status, "%s: %s", work->label, why.message);
    return sonde_probe_setup_call(instance, err);
}

static void close_instance(sonde_probe_instance *instance)
{
    sonde_probe_work *work = instance->host;
    if (work->was_set_up && instance->probe.reset) instance->probe.reset(instance->memory);
    sonde_points_reset(&instance->selection);
    sonde_free(work->outputs);
    sonde_probe_owner_reset(&work->owner);
    sonde_free(work);
}

/* ---- the set --------------------------------------------------------------------------------- */

/* The probe that already stores a point under /activations, or NULL. */
static const sonde_probe_instance *other_storing(const sonde_probe_set *set, int32_t before,
                                                 int64_t point)
{
    for (int32_t i = 0; i < before; i++)
        for (uint32_t k = 0; k < set->instances[i].n_outputs; k++) {
            const sonde_probe_output *output = &set->instances[i].outputs[k];
            if (output->kind == SONDE_OUTPUT_POINT &&
                set->instances[i].selection.points[output->point].point == point)
                return &set->instances[i];
        }
    return NULL;
}

static sonde_status check_stored_once(const sonde_probe_set *set, sonde_error *err)
{
    for (int32_t i = 0; i < set->count; i++)
        for (uint32_t k = 0; k < set->instances[i].n_outputs; k++) {
            const sonde_probe_instance *instance = &set->instances[i];
            const sonde_probe_output *output = &instance->outputs[k];
            if (output->kind != SONDE_OUTPUT_POINT) continue;
            const sonde_probe_instance *other =
                other_storing(set, i, instance->selection.points[output->point].point);
            if (other)
                return sonde_fail(err, SONDE_USAGE, "probes %s and %s both store the rows of %s; "
                                  "give one of them other points", other->name, instance->name,
                                  instance->points[output->point].name);
        }
    return SONDE_OK;
}

/* Stable: writers, then the rest. */
static void writers_first(sonde_probe_set *set)
{
    int32_t writers = 0;
    for (int32_t i = 0; i < set->count; i++) {
        if (!set->instances[i].writes) continue;
        sonde_probe_instance writer = set->instances[i];
        memmove(&set->instances[writers + 1], &set->instances[writers],
                (size_t)(i - writers) * sizeof writer);
        set->instances[writers++] = writer;
    }
    for (int32_t i = 0; i < set->count; i++)
        ((sonde_probe_work *)set->instances[i].host)->selection = &set->instances[i].selection;
}

sonde_status sonde_probe_set_open(const sonde_probe_set_spec *spec, sonde_probe_set *set,
                                  sonde_error *err)
{
    static const char *const fallback[] = {"capture"};
    const char *const *probes = spec->n_probes > 0 ? spec->probes : fallback;
    int64_t count = SONDE_MAX(spec->n_probes, 1);
    memset(set, 0, sizeof *set);
    set->instances = sonde_alloc((size_t)count, sizeof *set->instances);
    set->loaded = sonde_alloc(1, sizeof(sonde_probe_plugins));
    sonde_status status = set->instances && set->loaded
                              ? SONDE_OK
                              : sonde_no_memory(err, "the probes", (size_t)count);
    for (int64_t i = 0; i < count && status == SONDE_OK; i++)
        status = open_instance(set, spec, probes[i], err);
    if (status == SONDE_OK) status = check_stored_once(set, err);
    if (status == SONDE_OK) writers_first(set);
    else sonde_probe_set_reset(set);
    return status;
}

void sonde_probe_set_reset(sonde_probe_set *set)
{
    for (int32_t i = 0; i < set->count; i++) close_instance(&set->instances[i]);
    if (set->loaded) sonde_probe_plugins_reset(set->loaded);
    sonde_free(set->loaded);
    sonde_free(set->instances);
    memset(set, 0, sizeof *set);
}
