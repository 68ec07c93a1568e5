/*
 * pipeline_sink.c - what probes emit: checked, then converted to the stored type on its way into the
 * store, or into memory of its own where the rows have no numbers yet.
 */
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

/* ---- rows on their way ------------------------------------------------------------------------------- */

/* What a probe emitted in one call: where the elements of its rows are. */
typedef struct emission {
    const sonde_pipe_output *output;
    const sonde_probe_view *view;
    const void *data;      /* of the declared element type */
    const int64_t *offset; /* [n_rows] elements; NULL: packed */
    bool packed;           /* one row behind the other from offset[0] on */
} emission;

static int64_t row_elements(const emission *m, int64_t row)
{
    return m->output->ragged_class >= 0 ? m->view->length[row] : m->output->width;
}

static int64_t all_elements(const emission *m)
{
    if (m->output->ragged_class < 0) return m->view->n_rows * m->output->width;
    int64_t n = 0;
    for (int64_t i = 0; i < m->view->n_rows; i++) n += row_elements(m, i);
    return n;
}

static bool is_packed(const emission *m)
{
    for (int64_t i = 0; m->offset && i + 1 < m->view->n_rows; i++)
        if (m->offset[i + 1] - m->offset[i] != row_elements(m, i)) return false;
    return true;
}

/* Elements [at, at + n) of the emission's data to element `to` of the place. Where the place holds
 * planes, a piece at a time, which stays in the nearest cache between the two steps. */
static void convert(const emission *m, int64_t at, int64_t n, const sonde_store_place *place,
                    int64_t to)
{
    uint8_t piece[4096];
    sonde_dtype stored = m->output->stored;
    size_t bytes = place->element_bytes;
    int64_t most = (int64_t)(sizeof piece / bytes);
    if (m->output->declared->element != SONDE_ELEMENT_F32 || stored == SONDE_DTYPE_F32) {
        sonde_store_place_copy(place, (size_t)to, (size_t)n,
                               (const uint8_t *)m->data + (size_t)at * bytes);
    } else if (place->plane_stride == 0) {
        sonde_encode_f32(stored, (const float *)m->data + at, place->data + (size_t)to * bytes, n);
    } else {
        for (int64_t done = 0; done < n; done += most) {
            int64_t part = SONDE_MIN(most, n - done);
            sonde_encode_f32(stored, (const float *)m->data + at + done, piece, part);
            sonde_store_place_copy(place, (size_t)(to + done), (size_t)part, piece);
        }
    }
}

/* A sonde_store_fill. Rows of the store are rows of the view or, of ragged ones, elements. */
static void fill_emitted(void *context, int64_t row, int64_t n_rows, const sonde_store_place *place)
{
    const emission *m = context;
    int64_t unit = (int64_t)(place->row_bytes / place->element_bytes);
    int64_t begin = row * unit, end = begin + n_rows * unit, at = 0;
    if (m->packed) {
        convert(m, (m->offset ? m->offset[0] : 0) + begin, end - begin, place, 0);
        return;
    }
    for (int64_t r = 0; r < m->view->n_rows && at < end; r++) {
        int64_t n = row_elements(m, r);
        int64_t from = SONDE_MAX(at, begin), to = SONDE_MIN(at + n, end);
        if (from < to) convert(m, m->offset[r] + from - at, to - from, place, from - begin);
        at += n;
    }
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
                               int64_t n, sonde_store_fill *fill, void *context, sonde_error *err)
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
        status = sonde_schema_put_ragged_from(p->spec.schema, o->dataset, (int64_t)first, n,
                                              offsets, keys, fill, context, err);
    sonde_free(offsets);
    sonde_free(keys);
    return status;
}

/* Rows of ranks [rank, rank + n) of a placed flow. */
static sonde_status put_rows(sonde_pipeline *p, const sonde_flow *flow, const sonde_pipe_output *o,
                             int64_t rank, const int64_t *positions, int64_t n,
                             sonde_store_fill *fill, void *context, sonde_error *err)
{
    int64_t first = (int64_t)flow->lines[o->slot].base + rank;
    SONDE_TRY(put_rowmap(p, flow, o, (uint64_t)first, positions, n, err));
    if (o->ragged_class >= 0)
        return put_ragged(p, flow, o, (uint64_t)first, positions, n, fill, context, err);
    if (o->declared->kind == SONDE_OUTPUT_POINT)
        return sonde_schema_put_from(p->spec.schema, o->dataset, first, n, fill, context, err);
    return sonde_store_put_from(p->spec.store, o->dataset, first, n, fill, context, err);
}

sonde_status sonde_pipeline_put_held(sonde_pipeline *p, sonde_flow *flow, const sonde_held *held,
                                     sonde_error *err)
{
    const sonde_pipe_output *o = held->output;
    const void *rows = held->data;
    if (o->declared->kind != SONDE_OUTPUT_SPARSE)
        return put_rows(p, flow, o, held->first, held->positions, held->n_rows,
                        sonde_store_fill_packed, &rows, err);
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

/* `bytes` of memory for the rows, not filled. */
static sonde_held *make_held(const sonde_pipe_output *o, int64_t first, const int64_t *positions,
                             int64_t n, size_t bytes)
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
    return held;
}

static sonde_held *hold_emitted(emission *m, int64_t rank, size_t bytes)
{
    const sonde_pipe_output *o = m->output;
    sonde_held *held = make_held(o, rank, m->view->position, m->view->n_rows, bytes);
    if (!held) return NULL;
    size_t element = sonde_dtype_bytes(o->stored, 1);
    sonde_store_place place = {.data = held->data, .element_bytes = element, .row_bytes = element};
    fill_emitted(m, 0, (int64_t)(bytes / element), &place);
    return held;
}

/* Direct when the flow is placed and its rows have numbers, else kept until then. */
static sonde_status put_or_hold(sonde_emitting *e, emission *m, size_t bytes, sonde_error *err)
{
    sonde_flow *flow = e->flow;
    const sonde_probe_view *view = m->view;
    int64_t rank = flow->lines[m->output->slot].rank[view->position[0]];
    pthread_mutex_lock(&flow->lock);
    bool numbered = flow->placed && !flow->undecided;
    sonde_held *held = NULL;
    if (!numbered) {
        held = hold_emitted(m, rank, bytes);
        if (held) {
            *flow->held_end = held;
            flow->held_end = &held->next;
        }
    }
    pthread_mutex_unlock(&flow->lock);
    if (numbered)
        return put_rows(e->pipeline, flow, m->output, rank, view->position, view->n_rows,
                        fill_emitted, m, err);
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

static int32_t emit(void *self, uint32_t output, int64_t n_rows, const void *data,
                    const int64_t *offset, sonde_probe_error *pe)
{
    sonde_emitting *e = self;
    const sonde_pipe_output *o = output_of(e, output, false, pe);
    if (!o || check_emit(e, output, n_rows, data, pe) != 0) return 1;
    e->emitted[output] = 1;
    if (!e->pipeline->spec.schema || o->twin) return 0;
    emission m = {.output = o, .view = e->view, .data = data, .offset = offset};
    m.packed = is_packed(&m);
    sonde_error error = {0};
    size_t bytes = (size_t)all_elements(&m) * sonde_dtype_bytes(o->stored, 1);
    sonde_status status = put_or_hold(e, &m, bytes, &error);
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
    sonde_held *held = make_held(o, 0, position, n_rows, bytes);
    sonde_error error = {0};
    if (!held)
        return store_failed(e, sonde_no_memory(&error, "rows of a probe", bytes), &error, pe);
    memcpy(held->data, data, bytes);
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
