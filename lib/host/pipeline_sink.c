/* pipeline_sink.c - what probes emit: checked, converted once to the stored type, put or held. */
#include "pipeline_internal.h"

#include <stdlib.h>
#include <string.h>

static int32_t say(sonde_probe_error *pe, const char *format, ...) SONDE_PRINTF(2, 3);
static int32_t say(sonde_probe_error *pe, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (pe) vsnprintf(pe->message, sizeof pe->message, format, args);
    va_end(args);
    return 1;
}

static int32_t store_failed(sonde_emitting *e, sonde_status status, const sonde_error *error,
                            sonde_probe_error *pe)
{
    e->status = status;
    e->error = *error;
    return say(pe, "%s", error->message);
}

void sonde_held_free(sonde_held *held)
{
    if (!held) return;
    sonde_free(held->positions);
    sonde_free(held->data);
    sonde_free(held);
}

/* ---- into the store ---------------------------------------------------------------------------------- */

static sonde_status put_rowmap(sonde_pipeline *p, const sonde_flow *flow,
                               const sonde_pipe_output *o, uint64_t first, const int64_t *positions,
                               int64_t n, sonde_error *err)
{
    if (!o->rowmap) return SONDE_OK;
    uint64_t *rows = sonde_alloc((size_t)n, sizeof *rows);
    if (!rows) return sonde_no_memory(err, "a row map", (size_t)n * sizeof *rows);
    for (int64_t i = 0; i < n; i++) rows[i] = flow->union_base + flow->union_rank[positions[i]];
    sonde_status status =
        o->declared->kind == SONDE_OUTPUT_POINT
            ? sonde_schema_put_rowmap(p->spec.schema, o->dataset, (int64_t)first, n, rows, err)
            : sonde_store_put(p->spec.store, o->sequence_column, (int64_t)first, n, rows, err);
    sonde_free(rows);
    return status;
}

static sonde_status put_ragged(sonde_pipeline *p, const sonde_flow *flow,
                               const sonde_pipe_output *o, uint64_t first, const int64_t *positions,
                               int64_t n, const void *data, sonde_error *err)
{
    const sonde_ragged_class *c = &p->classes[o->ragged_class];
    const uint64_t *visible = flow->visible[o->ragged_class];
    uint64_t base = flow->visible_base[o->ragged_class], heads = (uint64_t)o->width;
    uint64_t *offsets = sonde_alloc((size_t)n + 1, sizeof *offsets);
    uint32_t *keys = sonde_alloc((size_t)n, sizeof *keys);
    sonde_status status = SONDE_OK;
    if (!offsets || !keys) status = sonde_no_memory(err, "offsets of ragged rows", (size_t)n * 12);
    for (int64_t i = 0; status == SONDE_OK && i < n; i++) {
        int64_t at = positions[i];
        offsets[i] = heads * (base + visible[at]);
        offsets[i + 1] = heads * (base + visible[at + 1]);
        keys[i] = (uint32_t)sonde_point_first_key(c->point, at);
    }
    if (status == SONDE_OK)
        status = sonde_schema_put_ragged(p->spec.schema, o->dataset, (int64_t)first, n, offsets,
                                         keys, data, err);
    sonde_free(offsets);
    sonde_free(keys);
    return status;
}

/* Rows of ranks [rank, rank + n) of a placed flow. */
static sonde_status put_rows(sonde_pipeline *p, const sonde_flow *flow, const sonde_pipe_output *o,
                             int64_t rank, const int64_t *positions, int64_t n, const void *data,
                             sonde_error *err)
{
    uint64_t first = flow->lines[o->slot].base + (uint64_t)rank;
    SONDE_TRY(put_rowmap(p, flow, o, first, positions, n, err));
    if (o->ragged_class >= 0) return put_ragged(p, flow, o, first, positions, n, data, err);
    if (o->declared->kind == SONDE_OUTPUT_POINT)
        return sonde_schema_put(p->spec.schema, o->dataset, (int64_t)first, n, data, err);
    return sonde_store_put(p->spec.store, o->dataset, (int64_t)first, n, data, err);
}

sonde_status sonde_pipeline_put_held(sonde_pipeline *p, sonde_flow *flow, const sonde_held *held,
                                     sonde_error *err)
{
    const sonde_pipe_output *o = held->output;
    if (o->declared->kind != SONDE_OUTPUT_SPARSE)
        return put_rows(p, flow, o, held->first, held->positions, held->n_rows, held->data, err);
    size_t n = (size_t)held->n_rows;
    int64_t at = (int64_t)p->sparse_rows[o - p->outputs];
    uint64_t *sequence = sonde_alloc(n, sizeof *sequence);
    uint32_t *position = sonde_alloc(n, sizeof *position);
    sonde_status status = SONDE_OK;
    if (!sequence || !position) status = sonde_no_memory(err, "rows of a probe", n * 12);
    for (size_t i = 0; status == SONDE_OK && i < n; i++) {
        sequence[i] = flow->prompt.index;
        position[i] = (uint32_t)held->positions[i];
    }
    if (status == SONDE_OK)
        status = sonde_store_put(p->spec.store, o->dataset, at, held->n_rows, held->data, err);
    if (status == SONDE_OK)
        status = sonde_store_put(p->spec.store, o->sequence_column, at, held->n_rows, sequence, err);
    if (status == SONDE_OK)
        status = sonde_store_put(p->spec.store, o->position_column, at, held->n_rows, position, err);
    p->sparse_rows[o - p->outputs] += n;
    sonde_free(sequence);
    sonde_free(position);
    return status;
}

/* ---- holding -------------------------------------------------------------------------------------------- */

static sonde_held *make_held(const sonde_pipe_output *o, int64_t first, const int64_t *positions,
                             int64_t n, const void *data, size_t bytes)
{
    sonde_held *held = sonde_alloc(1, sizeof *held);
    if (!held) return NULL;
    *held = (sonde_held){.output = o, .first = first, .n_rows = n, .bytes = bytes};
    held->positions = sonde_alloc((size_t)n, sizeof *held->positions);
    held->data = sonde_alloc_raw(bytes, 1);
    if (!held->positions || !held->data) {
        sonde_held_free(held);
        return NULL;
    }
    memcpy(held->positions, positions, (size_t)n * sizeof *positions);
    memcpy(held->data, data, bytes);
    return held;
}

/* Direct when the flow is placed and its rows have numbers, else kept until then. */
static sonde_status put_or_hold(sonde_emitting *e, const sonde_pipe_output *o, int64_t rank,
                                const void *data, size_t bytes, sonde_error *err)
{
    sonde_flow *flow = e->flow;
    const sonde_probe_view *view = e->view;
    pthread_mutex_lock(&flow->lock);
    bool numbered = flow->placed && !flow->undecided;
    sonde_held *held = NULL;
    if (!numbered) {
        held = make_held(o, rank, view->position, view->n_rows, data, bytes);
        if (held) {
            *flow->held_end = held;
            flow->held_end = &held->next;
        }
    }
    pthread_mutex_unlock(&flow->lock);
    if (numbered) return put_rows(e->pipeline, flow, o, rank, view->position, view->n_rows, data, err);
    return held ? SONDE_OK : sonde_no_memory(err, "rows that wait for earlier sequences", bytes);
}

/* ---- emit ------------------------------------------------------------------------------------------------ */

static const sonde_pipe_output *output_of(sonde_emitting *e, uint32_t output, bool sparse,
                                          sonde_probe_error *pe)
{
    const sonde_probe_instance *instance = &e->pipeline->spec.probes->instances[e->instance];
    if (output >= instance->n_outputs) {
        say(pe, "emitted to output %u; %u were declared", output, instance->n_outputs);
        return NULL;
    }
    bool is_sparse = instance->outputs[output].kind == SONDE_OUTPUT_SPARSE;
    if (is_sparse != sparse) {
        say(pe, "output %u is %s: use %s", output, is_sparse ? "sparse" : "not sparse",
            is_sparse ? "emit_sparse" : "emit");
        return NULL;
    }
    return &e->pipeline->outputs[e->pipeline->first_output[e->instance] + (int32_t)output];
}

static int32_t check_emit(sonde_emitting *e, uint32_t output, int64_t n_rows, const void *data,
                          sonde_probe_error *pe)
{
    const sonde_probe_instance *instance = &e->pipeline->spec.probes->instances[e->instance];
    const sonde_probe_output *declared = &instance->outputs[output];
    if (!e->view) return say(pe, "output %u: rows are emitted from within `rows` only", output);
    if (declared->point != e->view->point)
        return say(pe, "output %u follows %s, but was emitted at %s", output,
                   instance->points[declared->point].name, instance->points[e->view->point].name);
    if (n_rows != e->view->n_rows)
        return say(pe, "output %u at %s: expected %lld rows, one for each of the view, got %lld",
                   output, instance->points[e->view->point].name, (long long)e->view->n_rows,
                   (long long)n_rows);
    if (e->emitted[output]) return say(pe, "output %u was emitted twice in one call", output);
    if (!data) return say(pe, "output %u was emitted without data", output);
    return 0;
}

static int64_t row_elements(const sonde_emitting *e, const sonde_pipe_output *o, int64_t row)
{
    return o->ragged_class >= 0 ? e->view->length[row] : o->width;
}

/* True when the rows lie one behind the other. */
static bool is_packed(const sonde_emitting *e, const sonde_pipe_output *o, const int64_t *offset)
{
    if (!offset) return true;
    for (int64_t i = 0; i + 1 < e->view->n_rows; i++)
        if (offset[i + 1] - offset[i] != row_elements(e, o, i)) return false;
    return true;
}

static void encode(const sonde_pipe_output *o, const void *data, int64_t at, int64_t n, uint8_t *dst)
{
    if (o->declared->element == SONDE_ELEMENT_F32) {
        sonde_encode_f32(o->stored, (const float *)data + at, dst, n);
        return;
    }
    size_t element = sonde_dtype_bytes(o->stored, 1);
    memcpy(dst, (const uint8_t *)data + (size_t)at * element, (size_t)n * element);
}

static int64_t encode_rows(sonde_emitting *e, const sonde_pipe_output *o, const void *data,
                           const int64_t *offset)
{
    int64_t elements = 0;
    size_t element = sonde_dtype_bytes(o->stored, 1);
    for (int64_t i = 0; i < e->view->n_rows; i++) elements += row_elements(e, o, i);
    if (is_packed(e, o, offset)) {
        encode(o, data, offset ? offset[0] : 0, elements, e->worker->encoded);
        return elements;
    }
    int64_t done = 0;
    for (int64_t i = 0; i < e->view->n_rows; i++) {
        int64_t n = row_elements(e, o, i);
        encode(o, data, offset[i], n, e->worker->encoded + (size_t)done * element);
        done += n;
    }
    return elements;
}

static sonde_status need_encoded(sonde_emitting *e, const sonde_pipe_output *o, sonde_error *err)
{
    sonde_pipe_worker *w = e->worker;
    size_t elements = 0;
    for (int64_t i = 0; i < e->view->n_rows; i++) elements += (size_t)row_elements(e, o, i);
    size_t bytes = elements * sonde_dtype_bytes(o->stored, 1);
    if (bytes <= w->encoded_capacity) return SONDE_OK;
    sonde_free(w->encoded);
    w->encoded_capacity = 0;
    w->encoded = sonde_alloc_raw(bytes, 1);
    if (!w->encoded) return sonde_no_memory(err, "emitted rows", bytes);
    w->encoded_capacity = bytes;
    return SONDE_OK;
}

static int32_t emit(void *self, uint32_t output, int64_t n_rows, const void *data,
                    const int64_t *offset, sonde_probe_error *pe)
{
    sonde_emitting *e = self;
    const sonde_pipe_output *o = output_of(e, output, false, pe);
    if (!o || check_emit(e, output, n_rows, data, pe) != 0) return 1;
    e->emitted[output] = 1;
    if (!e->pipeline->spec.schema || o->twin) return 0;
    sonde_error error = {0};
    sonde_status status = need_encoded(e, o, &error);
    if (status != SONDE_OK) return store_failed(e, status, &error, pe);
    size_t bytes = (size_t)encode_rows(e, o, data, offset) * sonde_dtype_bytes(o->stored, 1);
    int64_t rank = e->flow->lines[o->slot].rank[e->view->position[0]];
    status = put_or_hold(e, o, rank, e->worker->encoded, bytes, &error);
    if (status != SONDE_OK) return store_failed(e, status, &error, pe);
    atomic_fetch_add(&e->pipeline->raw_bytes, bytes);
    return 0;
}

/* ---- sparse ------------------------------------------------------------------------------------------------ */

static int32_t emit_sparse(void *self, uint32_t output, int64_t n_rows, const int64_t *position,
                           const void *data, sonde_probe_error *pe)
{
    sonde_emitting *e = self;
    const sonde_pipe_output *o = output_of(e, output, true, pe);
    if (!o) return 1;
    if (n_rows < 0 || (n_rows > 0 && (!data || !position)))
        return say(pe, "output %u: %lld sparse rows without data or positions", output,
                   (long long)n_rows);
    for (int64_t i = 0; i < n_rows; i++)
        if (position[i] < 0 || position[i] >= e->flow->n_tokens)
            return say(pe, "output %u: position %lld; the sequence has %lld tokens", output,
                       (long long)position[i], (long long)e->flow->n_tokens);
    if (n_rows == 0 || !e->pipeline->spec.schema) return 0;
    size_t bytes = (size_t)n_rows * o->row_bytes;
    sonde_held *held = make_held(o, 0, position, n_rows, data, bytes);
    sonde_error error = {0};
    if (!held)
        return store_failed(e, sonde_no_memory(&error, "rows of a probe", bytes), &error, pe);
    *e->flow->sparse_end = held;
    e->flow->sparse_end = &held->next;
    atomic_fetch_add(&e->pipeline->raw_bytes, bytes);
    return 0;
}

static int32_t no_table(void *self, const char *name, uint32_t element, uint32_t n_dims,
                        const int64_t *dims, const void *data, sonde_probe_error *pe)
{
    (void)self, (void)element, (void)n_dims, (void)dims, (void)data;
    return say(pe, "table %s: tables are written from finish only", name ? name : "?");
}

static int32_t no_note(void *self, const char *name, const char *text, sonde_probe_error *pe)
{
    (void)self, (void)text;
    return say(pe, "note %s: notes are written from finish only", name ? name : "?");
}

sonde_probe_sink sonde_row_sink(sonde_emitting *emitting)
{
    return (sonde_probe_sink){.struct_size = sizeof(sonde_probe_sink), .self = emitting,
                              .emit = emit, .emit_sparse = emit_sparse, .table = no_table,
                              .note = no_note};
}
