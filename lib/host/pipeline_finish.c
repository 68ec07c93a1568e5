/* pipeline_finish.c - the end of a capture: tables, notes and groups of the probes, interventions. */
#include "pipeline_internal.h"


typedef struct finishing {
    sonde_pipeline *pipeline;
    const sonde_probe_instance *instance;
    sonde_status status;
    sonde_error error;
} finishing;

static int32_t refuse(sonde_probe_error *pe, const char *what, const char *why)
{
    snprintf(pe->message, sizeof pe->message, "%.60s: %.180s", what, why);
    return 1;
}

static int32_t table(void *self, const char *name, uint32_t element, uint32_t n_dims,
                     const int64_t *dims, const void *data, sonde_probe_error *pe)
{
    finishing *f = self;
    sonde_dtype dtype = sonde_probe_element_dtype(element);
    int64_t n = 1;
    if (!sonde_probe_path_good(name)) return refuse(pe, "a table", "its name is empty, too long or odd");
    if (dtype == SONDE_DTYPE_NONE) return refuse(pe, name, "unknown element type");
    if (n_dims > 4 || (n_dims > 0 && !dims)) return refuse(pe, name, "expected at most 4 dimensions");
    for (uint32_t i = 0; i < n_dims; i++)
        if (dims[i] < 0 || !sonde_mul_i64(n, dims[i], &n)) return refuse(pe, name, "bad dimensions");
    if (n > 0 && !data) return refuse(pe, name, "no data");
    if (!f->pipeline->spec.schema) return 0;
    f->status = sonde_schema_write_table(f->pipeline->spec.schema, f->instance->name, name, dtype,
                                         (int32_t)n_dims, dims, data, &f->error);
    return f->status == SONDE_OK ? 0 : refuse(pe, name, f->error.message);
}

static int32_t note(void *self, const char *name, const char *text, sonde_probe_error *pe)
{
    finishing *f = self;
    char object[192];
    if (!sonde_probe_path_good(name) || !text) return refuse(pe, "a note", "its name is empty, too long or odd");
    if (!f->pipeline->spec.store) return 0;
    snprintf(object, sizeof object, "probes/%s", f->instance->name);
    f->status = sonde_store_attr_text(f->pipeline->spec.store, object, name, text, &f->error);
    return f->status == SONDE_OK ? 0 : refuse(pe, name, f->error.message);
}

static int32_t no_emit(void *self, uint32_t output, int64_t n_rows, const void *data,
                       const int64_t *offset, sonde_probe_error *pe)
{
    (void)self, (void)output, (void)n_rows, (void)data, (void)offset;
    return refuse(pe, "emit", "rows are emitted from within `rows` only");
}

static int32_t no_emit_sparse(void *self, uint32_t output, int64_t n_rows, const int64_t *position,
                              const void *data, sonde_probe_error *pe)
{
    (void)self, (void)output, (void)n_rows, (void)position, (void)data;
    return refuse(pe, "emit_sparse", "rows are emitted from `rows` or `done` only");
}

static sonde_status write_group(sonde_pipeline *p, int32_t index, sonde_error *err)
{
    const sonde_probe_instance *instance = &p->spec.probes->instances[index];
    if (!p->spec.schema) return SONDE_OK;
    const char **names = sonde_alloc((size_t)instance->n_points, sizeof *names);
    if (!names) return sonde_no_memory(err, "points of a probe", instance->n_points * sizeof *names);
    for (uint32_t i = 0; i < instance->n_points; i++) names[i] = instance->points[i].name;
    sonde_schema_probe group = {.instance = instance->name, .probe = instance->probe.name,
                                .version = instance->probe.version,
                                .options = instance->options_json, .points = names,
                                .n_points = instance->n_points,
                                .rows_seen = (int64_t)p->rows_seen[index]};
    sonde_status status = sonde_schema_write_probe(p->spec.schema, &group, err);
    sonde_free(names);
    return status;
}

static sonde_status finish_instance(sonde_pipeline *p, int32_t index, sonde_error *err)
{
    const sonde_probe_instance *instance = &p->spec.probes->instances[index];
    SONDE_TRY(write_group(p, index, err));
    if (!instance->probe.finish) return SONDE_OK;
    finishing f = {.pipeline = p, .instance = instance};
    sonde_probe_sink sink = {.struct_size = sizeof sink, .self = &f, .emit = no_emit,
                             .emit_sparse = no_emit_sparse, .table = table, .note = note};
    sonde_probe_error pe = {{0}};
    int32_t failed = instance->probe.finish(instance->memory, p->totals[index], &sink, &pe);
    if (f.status != SONDE_OK) return sonde_fail(err, f.status, "%s", f.error.message);
    return failed != 0 ? sonde_probe_failed(instance, "finish", &pe, err) : SONDE_OK;
}

/* /interventions: every instance that writes, where, and with which options. */
static sonde_status write_interventions(sonde_pipeline *p, sonde_error *err)
{
    sonde_string text = {0};
    int n = 0;
    for (int32_t i = 0; i < p->spec.probes->count; i++) {
        const sonde_probe_instance *instance = &p->spec.probes->instances[i];
        if (!instance->writes) continue;
        sonde_string_format(&text, "%s{\"instance\": \"%s\", \"probe\": \"%s\", \"version\": \"%s\", "
                            "\"options\": %s, \"points\": [", n++ ? ", " : "[", instance->name,
                            instance->probe.name,
                            instance->probe.version ? instance->probe.version : "",
                            instance->options_json ? instance->options_json : "{}");
        int written = 0;
        for (uint32_t j = 0; j < instance->n_points; j++)
            if (instance->access[j] & SONDE_ACCESS_WRITE)
                sonde_string_format(&text, "%s\"%s\"", written++ ? ", " : "", instance->points[j].name);
        sonde_string_text(&text, "]}");
    }
    sonde_string_text(&text, n ? "]" : "[]");
    sonde_status status =
        text.failed ? sonde_no_memory(err, "interventions", text.length)
                    : sonde_schema_write_text(p->spec.schema, "interventions", text.data,
                                              text.length, err);
    sonde_string_reset(&text);
    return status;
}

sonde_status sonde_pipeline_finish(sonde_pipeline *p, sonde_error *err)
{
    if (!p->spec.probes) return SONDE_OK;
    for (int32_t i = 0; i < p->spec.probes->count; i++) SONDE_TRY(finish_instance(p, i, err));
    return p->spec.schema ? write_interventions(p, err) : SONDE_OK;
}
