/* conformance_sink.c - takes what a plugin emits; every breach of the header is noted. */
#include "conformance.h"

#include <stdlib.h>
#include <string.h>

#define ELEMENT_BYTES(element) sonde_dtype_bytes(sonde_probe_element_dtype(element), 1)

void outcome_init(outcome *o, const sonde_probe_instance *instance)
{
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->lock, NULL);
    o->n_outputs = instance->n_outputs;
    o->n_points = instance->n_points;
    o->emitted = calloc((size_t)o->n_outputs * N_SEQUENCES + 1, sizeof *o->emitted);
    o->written = calloc((size_t)o->n_points * N_SEQUENCES + 1, sizeof *o->written);
    if (!o->emitted || !o->written) abort();
}

void outcome_reset(outcome *o)
{
    for (uint32_t i = 0; o->emitted && i < o->n_outputs * N_SEQUENCES; i++)
        sonde_string_reset(&o->emitted[i]);
    for (uint32_t i = 0; o->written && i < o->n_points * N_SEQUENCES; i++)
        sonde_string_reset(&o->written[i]);
    for (size_t i = 0; i < o->n_tables; i++) sonde_string_reset(&o->tables[i].data);
    sonde_string_reset(&o->notes);
    sonde_string_reset(&o->breaches);
    sonde_free(o->tables);
    free(o->emitted);
    free(o->written);
    memset(o, 0, sizeof *o);
}

void breach(outcome *o, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&o->lock);
    if (o->n_breaches++ < 8) sonde_string_format(&o->breaches, "     %s\n", line);
    pthread_mutex_unlock(&o->lock);
}

/* True when the taker refuses: then the plugin must pass the failure on. */
static bool refuses(taker *t, sonde_probe_error *err)
{
    if (!t->refuse) return false;
    t->refused++;
    snprintf(err->message, sizeof err->message, "the sink refuses");
    return true;
}

static int32_t no(taker *t, sonde_probe_error *err, const char *what)
{
    breach(t->outcome, "%s", what);
    snprintf(err->message, sizeof err->message, "%s", what);
    return 1;
}

static const sonde_probe_output *declared(const taker *t, uint32_t output)
{
    return output < t->instance->n_outputs ? &t->instance->outputs[output] : NULL;
}

static size_t row_bytes(const sonde_probe_output *output)
{
    size_t bytes = ELEMENT_BYTES(output->element);
    for (uint32_t i = 0; i < output->n_dims; i++) bytes *= (size_t)output->shape[i];
    return bytes;
}

static int32_t emit(void *self, uint32_t output, int64_t n_rows, const void *data,
                    const int64_t *offset, sonde_probe_error *err)
{
    taker *t = self;
    const sonde_probe_output *o = declared(t, output);
    if (t->stage != STAGE_ROWS) return no(t, err, "emit is called outside `rows`");
    if (!o || o->kind == SONDE_OUTPUT_SPARSE) return no(t, err, "emit to no output of rows");
    if (o->point != t->view->point) return no(t, err, "emit to an output of another point");
    if (n_rows != t->view->n_rows) return no(t, err, "emit of more or fewer rows than the view's");
    if (t->emitted[output]++) return no(t, err, "emit twice in one call");
    if (!data) return no(t, err, "emit without data");
    if (refuses(t, err)) return 1;
    bool ragged = o->kind == SONDE_OUTPUT_POINT && t->instance->points[o->point].ragged;
    size_t element = ELEMENT_BYTES(o->element), at = 0;
    sonde_string *rows = &t->outcome->emitted[output * N_SEQUENCES + (uint32_t)t->sequence];
    for (int64_t i = 0; i < n_rows; i++) {
        size_t bytes = ragged ? (size_t)t->view->length[i] * element : row_bytes(o);
        size_t from = offset ? (size_t)offset[i] * element : at;
        sonde_string_append(rows, (const char *)data + from, bytes);
        at += bytes;
    }
    return 0;
}

/* Sparse rows may come in another order when blocks are cut otherwise: kept as records, sorted
 * when outcomes are compared. */
static int32_t emit_sparse(void *self, uint32_t output, int64_t n_rows, const int64_t *position,
                           const void *data, sonde_probe_error *err)
{
    taker *t = self;
    const sonde_probe_output *o = declared(t, output);
    if (t->stage == STAGE_FINISH) return no(t, err, "emit_sparse is called from `finish`");
    if (!o || o->kind != SONDE_OUTPUT_SPARSE) return no(t, err, "emit_sparse to no sparse output");
    if (n_rows < 0 || (n_rows > 0 && (!position || !data)))
        return no(t, err, "emit_sparse without positions or data");
    if (refuses(t, err)) return 1;
    size_t bytes = row_bytes(o);
    for (int64_t i = 0; i < n_rows; i++) {
        if (position[i] < 0 || position[i] >= synth[t->sequence].n_tokens)
            return no(t, err, "emit_sparse at a position that the sequence does not have");
        sonde_string *rows = &t->outcome->emitted[output * N_SEQUENCES + (uint32_t)t->sequence];
        sonde_string_append(rows, (const char *)&position[i], sizeof position[i]);
        sonde_string_append(rows, (const char *)data + (size_t)i * bytes, bytes);
    }
    return 0;
}

static int32_t table(void *self, const char *name, uint32_t element, uint32_t n_dims,
                     const int64_t *dims, const void *data, sonde_probe_error *err)
{
    taker *t = self;
    outcome *o = t->outcome;
    int64_t elements = 1;
    if (t->stage != STAGE_FINISH) return no(t, err, "table is called outside `finish`");
    if (!sonde_probe_path_good(name)) return no(t, err, "table with a bad name");
    if (ELEMENT_BYTES(element) > 8) return no(t, err, "table with an unknown element");
    if (n_dims > 4 || (n_dims > 0 && !dims)) return no(t, err, "table of more than 4 dimensions");
    for (uint32_t i = 0; i < n_dims; i++)
        if (dims[i] < 0 || !sonde_mul_i64(elements, dims[i], &elements))
            return no(t, err, "table with bad dimensions");
    if (elements > 0 && !data) return no(t, err, "table without data");
    for (size_t i = 0; i < o->n_tables; i++)
        if (strcmp(o->tables[i].name, name) == 0) return no(t, err, "two tables of one name");
    if (refuses(t, err)) return 1;
    if (!sonde_grow(&o->tables, &o->tables_capacity, o->n_tables + 1, sizeof *o->tables)) abort();
    result_table *made = &o->tables[o->n_tables++];
    *made = (result_table){.element = element, .n_dims = n_dims};
    snprintf(made->name, sizeof made->name, "%s", name);
    for (uint32_t i = 0; i < n_dims; i++) made->dims[i] = dims[i];
    sonde_string_append(&made->data, data, (size_t)elements * ELEMENT_BYTES(element));
    return 0;
}

static int32_t note(void *self, const char *name, const char *text, sonde_probe_error *err)
{
    taker *t = self;
    if (t->stage != STAGE_FINISH) return no(t, err, "note is called outside `finish`");
    if (!sonde_probe_path_good(name) || !text) return no(t, err, "note with a bad name or no text");
    if (refuses(t, err)) return 1;
    sonde_string_format(&t->outcome->notes, "%s=%s\n", name, text);
    return 0;
}

sonde_probe_sink taker_sink(taker *t)
{
    return (sonde_probe_sink){.struct_size = sizeof(sonde_probe_sink), .self = t, .emit = emit,
                              .emit_sparse = emit_sparse, .table = table, .note = note};
}
