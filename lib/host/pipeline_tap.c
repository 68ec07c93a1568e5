/* pipeline_tap.c - from the rows of a batch to the views that probes see. */
#include "pipeline_internal.h"

#include <string.h>

/* Rows of one flow at one point, before any selection: consecutive positions, or what narrowing
 * left of them. `data` is the run's own memory, or a deferred copy. */
typedef struct rows_source {
    float *data;
    uint64_t block;
    int64_t n_rows;
    const sonde_batch_row *rows; /* [n_rows], or NULL: positions from `position` on */
    int64_t position;
    const int64_t *offset;    /* [n_rows + 1] ragged or deferred; NULL: row i at i * stride */
    int64_t stride, width;
    const int64_t *first_key; /* [n_rows] or NULL */
    bool selected_parts;      /* parts were taken already */
} rows_source;

static int64_t position_of(const rows_source *source, int64_t row)
{
    return source->rows ? source->rows[row].position : source->position + row;
}

/* ---- worker buffers ----------------------------------------------------------------------------------- */

static sonde_status need_rows(sonde_pipe_worker *w, int64_t rows, sonde_error *err)
{
    size_t n = (size_t)rows;
    if (n <= w->rows_capacity) return SONDE_OK;
    void **arrays[] = {(void **)&w->offset, (void **)&w->length, (void **)&w->first_key,
                       (void **)&w->position, (void **)&w->token, (void **)&w->phase,
                       (void **)&w->segment};
    for (size_t i = 0; i < SONDE_COUNT(arrays); i++) {
        sonde_free(*arrays[i]);
        *arrays[i] = sonde_alloc(n, sizeof(int64_t));
        if (!*arrays[i]) {
            w->rows_capacity = 0;
            return sonde_no_memory(err, "a view's labels", n * sizeof(int64_t));
        }
    }
    w->rows_capacity = n;
    return SONDE_OK;
}

static sonde_status need_gathered(sonde_pipe_worker *w, size_t elements, sonde_error *err)
{
    if (elements <= w->gathered_capacity) return SONDE_OK;
    sonde_free(w->gathered);
    w->gathered_capacity = 0;
    w->gathered = sonde_alloc_raw(elements, sizeof(float));
    if (!w->gathered) return sonde_no_memory(err, "a view's parts", elements * sizeof(float));
    w->gathered_capacity = elements;
    return SONDE_OK;
}

/* ---- selection ------------------------------------------------------------------------------------------ */

/* Which rows of the source the slot keeps, with their labels, into the worker's arrays. */
static int64_t select_rows(const sonde_flow *flow, const sonde_pipe_point *pp,
                           const rows_source *source, sonde_pipe_worker *w)
{
    const uint8_t *keep = flow->lines[pp->slot].keep;
    int64_t n = 0;
    for (int64_t r = 0; r < source->n_rows; r++) {
        int64_t position = position_of(source, r);
        if (!keep[position]) continue;
        w->position[n] = position;
        w->token[n] = flow->tokens[position];
        w->phase[n] = sonde_flow_phase(flow, position);
        w->segment[n] = flow->segments[position];
        w->first_key[n] = source->first_key ? source->first_key[r] : 0;
        w->offset[n] = source->offset ? source->offset[r] : r * source->stride;
        w->length[n] = source->offset ? source->offset[r + 1] - source->offset[r] : source->width;
        n++;
    }
    return n;
}

/* Elements of one unit of a part: a head's share of the row, or one channel. */
static int64_t unit_of(const sonde_pipe_point *pp, int64_t row_length)
{
    return pp->selected->parts_are_heads ? row_length / pp->point->shape[0] : 1;
}

typedef enum copy_way { GATHER, SCATTER } copy_way;

/* Copies the parts of n rows between the source and the worker's packed buffer. */
static void copy_parts(const sonde_pipe_point *pp, float *data, const sonde_pipe_worker *w,
                       int64_t n, copy_way way)
{
    float *packed = w->gathered;
    for (int64_t r = 0; r < n; r++) {
        int64_t unit = unit_of(pp, w->length[r]);
        for (int64_t i = 0; i < pp->selected->n_parts; i++) {
            const sonde_part *part = &pp->selected->parts[i];
            float *there = data + w->offset[r] + part->begin * unit;
            size_t bytes = (size_t)((part->end - part->begin) * unit) * sizeof *there;
            memcpy(way == GATHER ? packed : there, way == GATHER ? there : packed, bytes);
            packed += (part->end - part->begin) * unit;
        }
    }
}

static int64_t part_elements(const sonde_pipe_point *pp, int64_t row_length)
{
    int64_t units = 0;
    for (int64_t i = 0; i < pp->selected->n_parts; i++)
        units += pp->selected->parts[i].end - pp->selected->parts[i].begin;
    return units * unit_of(pp, row_length);
}

/* One part is a window into the source; several are gathered. *data is what the view shows. */
static sonde_status take_parts(const sonde_pipe_point *pp, const rows_source *source,
                               sonde_pipe_worker *w, int64_t n, float **data, sonde_error *err)
{
    *data = source->data;
    if (pp->selected->n_parts == 0 || source->selected_parts) return SONDE_OK;
    if (pp->selected->n_parts == 1) {
        const sonde_part *part = &pp->selected->parts[0];
        for (int64_t r = 0; r < n; r++) {
            int64_t unit = unit_of(pp, w->length[r]);
            w->offset[r] += part->begin * unit;
            w->length[r] = (part->end - part->begin) * unit;
        }
        return SONDE_OK;
    }
    size_t elements = 0;
    for (int64_t r = 0; r < n; r++) elements += (size_t)part_elements(pp, w->length[r]);
    SONDE_TRY(need_gathered(w, elements, err));
    copy_parts(pp, source->data, w, n, GATHER);
    *data = w->gathered;
    return SONDE_OK;
}

static void packed_offsets(const sonde_pipe_point *pp, sonde_pipe_worker *w, int64_t n)
{
    int64_t at = 0;
    for (int64_t r = 0; r < n; r++) {
        w->length[r] = part_elements(pp, w->length[r]);
        w->offset[r] = at;
        at += w->length[r];
    }
}

/* ---- scratch --------------------------------------------------------------------------------------------- */

/* Zeroed at the first wanted point of a block, kept to its last. */
static sonde_status block_scratch(sonde_flow *flow, const sonde_pipe_point *pp,
                                  const rows_source *source, void **scratch, sonde_error *err)
{
    const sonde_probe_instance *instance =
        &flow->pipeline->spec.probes->instances[pp->instance];
    int32_t i = pp->instance;
    *scratch = flow->scratch[i];
    if (flow->scratch_block[i] == source->block) return SONDE_OK;
    flow->scratch_block[i] = source->block;
    size_t bytes = (size_t)instance->scratch_bytes_per_row * (size_t)source->n_rows;
    if (!sonde_add_size(bytes, (size_t)instance->scratch_bytes, &bytes))
        return sonde_no_memory(err, "a probe's scratch", SIZE_MAX);
    if (bytes > flow->scratch_bytes[i]) {
        sonde_free(flow->scratch[i]);
        flow->scratch_bytes[i] = 0;
        flow->scratch[i] = sonde_alloc(bytes, 1);
        if (!flow->scratch[i]) return sonde_no_memory(err, "a probe's scratch", bytes);
        flow->scratch_bytes[i] = bytes;
    } else if (flow->scratch[i]) {
        memset(flow->scratch[i], 0, flow->scratch_bytes[i]);
    }
    *scratch = flow->scratch[i];
    return SONDE_OK;
}

/* ---- the call ---------------------------------------------------------------------------------------------- */

static char *meta_text(sonde_flow *flow)
{
    if (!flow->meta_text) flow->meta_text = json_dumps(flow->prompt.meta, JSON_COMPACT);
    return flow->meta_text;
}

static sonde_status check_emitted(const sonde_emitting *e, const sonde_pipe_point *pp,
                                  const sonde_probe_view *view, sonde_error *err)
{
    const sonde_pipeline *p = e->pipeline;
    const sonde_probe_instance *instance = &p->spec.probes->instances[pp->instance];
    for (uint32_t i = 0; i < instance->n_outputs; i++) {
        const sonde_probe_output *output = &instance->outputs[i];
        if (output->kind == SONDE_OUTPUT_SPARSE || output->point != pp->index || e->emitted[i])
            continue;
        return sonde_fail(err, SONDE_PROBE, "probe %s (instance %s): rows of %s: expected %lld rows "
                          "for output %u (%s), got none", instance->probe.name, instance->name,
                          pp->point->name, (long long)view->n_rows, i,
                          output->name ? output->name : "the point's rows");
    }
    return SONDE_OK;
}

static sonde_status call_rows(sonde_flow *flow, const sonde_pipe_point *pp, sonde_pipe_worker *w,
                              const sonde_probe_view *view, sonde_error *err)
{
    sonde_pipeline *p = flow->pipeline;
    const sonde_probe_instance *instance = &p->spec.probes->instances[pp->instance];
    sonde_emitting emitting = {.pipeline = p, .flow = flow, .worker = w, .instance = pp->instance,
                               .view = view, .emitted = w->emitted};
    memset(w->emitted, 0, (size_t)instance->n_outputs);
    sonde_probe_sink sink = sonde_row_sink(&emitting);
    sonde_probe_error pe = {{0}};
    int32_t failed = instance->probe.rows(instance->memory, flow->states[pp->instance], view, &sink,
                                          &pe);
    if (emitting.status != SONDE_OK)
        return sonde_fail(err, emitting.status, "%s", emitting.error.message);
    if (failed != 0) return sonde_probe_failed(instance, "rows", &pe, err);
    return check_emitted(&emitting, pp, view, err);
}

/* Shows the rows of a source that the point's slot keeps to one probe. */
static sonde_status show(sonde_flow *flow, sonde_pipe_worker *w, const sonde_pipe_point *pp,
                         const rows_source *source, sonde_error *err)
{
    SONDE_TRY(need_rows(w, source->n_rows, err));
    int64_t n = select_rows(flow, pp, source, w);
    if (n == 0) return SONDE_OK;
    float *data;
    void *scratch;
    SONDE_TRY(take_parts(pp, source, w, n, &data, err));
    SONDE_TRY(block_scratch(flow, pp, source, &scratch, err));
    bool gathered = data == w->gathered;
    if (gathered) packed_offsets(pp, w, n);
    sonde_probe_view view = {
        .struct_size = sizeof view, .point = pp->index, .block = source->block, .n_rows = n,
        .data = data, .offset = w->offset, .length = w->length,
        .first_key = source->first_key ? w->first_key : NULL, .writable = pp->writes,
        .position = w->position, .token = w->token, .phase = w->phase, .segment = w->segment,
        .sequence = flow->prompt.index, .n_prompt = flow->prompt.n_prompt, .id = flow->prompt.id,
        .meta = meta_text(flow), .scratch = scratch};
    if (!view.meta) return sonde_no_memory(err, "a prompt's metadata", 64);
    SONDE_TRY(call_rows(flow, pp, w, &view, err));
    if (gathered && pp->writes) {
        select_rows(flow, pp, source, w);
        copy_parts(pp, source->data, w, n, SCATTER);
    }
    atomic_fetch_add(&flow->pipeline->rows_seen[pp->instance], (unsigned long long)n);
    return SONDE_OK;
}

/* ---- deferred rows ------------------------------------------------------------------------------------------ */

static sonde_status fill_deferred(sonde_deferred *d, const sonde_pipe_point *pp,
                                  const rows_source *source, sonde_pipe_worker *w, sonde_error *err)
{
    SONDE_TRY(need_rows(w, source->n_rows, err));
    size_t n = (size_t)source->n_rows, elements = 0;
    d->offset = sonde_alloc(n + 1, sizeof *d->offset);
    if (source->first_key) d->first_key = sonde_alloc(n, sizeof *d->first_key);
    if (!d->offset || (source->first_key && !d->first_key))
        return sonde_no_memory(err, "rows that wait for a decision", n * 16);
    for (size_t r = 0; r < n; r++) {
        w->offset[r] = source->offset ? source->offset[r] : (int64_t)r * source->stride;
        w->length[r] = source->offset ? source->offset[r + 1] - source->offset[r] : source->width;
        elements += (size_t)(pp->selected->n_parts ? part_elements(pp, w->length[r]) : w->length[r]);
        d->offset[r + 1] = (int64_t)elements;
        if (d->first_key) d->first_key[r] = source->first_key[r];
    }
    d->data = sonde_alloc_raw(elements, sizeof *d->data);
    if (!d->data) return sonde_no_memory(err, "rows that wait for a decision", elements * 4);
    float *from = source->data;
    if (pp->selected->n_parts) SONDE_TRY(take_parts(pp, source, w, source->n_rows, &from, err));
    bool gathered = from == w->gathered;
    for (size_t r = 0; r < n; r++) {
        int64_t at = gathered ? d->offset[r] : w->offset[r];
        memcpy(d->data + d->offset[r], from + at,
               (size_t)(d->offset[r + 1] - d->offset[r]) * sizeof *d->data);
    }
    return SONDE_OK;
}

static sonde_status defer(sonde_flow *flow, sonde_pipe_worker *w, const sonde_pipe_point *pp,
                          const rows_source *source, sonde_error *err)
{
    const sonde_probe_instance *instance = &flow->pipeline->spec.probes->instances[pp->instance];
    if (pp->writes)
        return sonde_fail(err, SONDE_USAGE, "probe %s (instance %s) writes %s on rows that are only "
                          "known when the sequence ends; choose rows from what comes before them "
                          "(prompt&last:1)", instance->probe.name, instance->name, pp->point->name);
    sonde_deferred *d = sonde_alloc(1, sizeof *d);
    if (!d) return sonde_no_memory(err, "rows that wait for a decision", sizeof *d);
    d->pipe_point = (int32_t)(pp - flow->pipeline->points);
    d->block = source->block;
    d->position = position_of(source, 0);
    d->n_rows = source->n_rows;
    sonde_status status = fill_deferred(d, pp, source, w, err);
    if (status != SONDE_OK) {
        sonde_deferred_free(d);
        return status;
    }
    *flow->deferred_end = d;
    flow->deferred_end = &d->next;
    return SONDE_OK;
}

sonde_status sonde_flow_deliver_deferred(sonde_flow *flow, sonde_error *err)
{
    sonde_pipeline *p = flow->pipeline;
    sonde_status status = SONDE_OK;
    while (flow->deferred && status == SONDE_OK) {
        sonde_deferred *d = flow->deferred;
        rows_source source = {.data = d->data, .block = d->block, .n_rows = d->n_rows,
                              .position = d->position, .offset = d->offset,
                              .first_key = d->first_key, .selected_parts = true};
        status = show(flow, &p->workers[flow->worker], &p->points[d->pipe_point], &source, err);
        flow->deferred = d->next;
        sonde_deferred_free(d);
    }
    if (!flow->deferred) flow->deferred_end = &flow->deferred;
    return status;
}

/* ---- the tap --------------------------------------------------------------------------------------------------- */

/* One point of one flow. A probe that fails ends that flow, not its neighbours in the step: what is
 * kept of a failing run must not depend on the batch. */
static sonde_status tap_span(sonde_pipeline *p, int worker, const sonde_tap_view *view,
                             const sonde_tap_span *span, const sonde_pipe_point *pp,
                             sonde_error *err)
{
    sonde_pipe_worker *w = &p->workers[worker];
    sonde_flow *flow = view->users[span->item];
    if (flow->failure.status != SONDE_OK) return SONDE_OK;
    flow->worker = worker;
    rows_source source = {
        .data = view->indptr ? view->data : view->data + span->first * view->stride,
        .block = ((uint64_t)worker << 48) | view->block, .n_rows = span->count,
        .rows = view->rows + span->first, .stride = view->stride, .width = view->width,
        .offset = view->indptr ? view->indptr + span->first : NULL,
        .first_key = view->indptr ? view->first_key + span->first : NULL};
    sonde_error why = {0};
    bool later = flow->lines[pp->slot].deferred;
    sonde_status status =
        later ? defer(flow, w, pp, &source, &why) : show(flow, w, pp, &source, &why);
    if (status == SONDE_OK) return SONDE_OK;
    if (status != SONDE_PROBE) return sonde_fail(err, status, "%s", why.message);
    flow->failure = why;
    atomic_store(&p->failing, true);
    return SONDE_OK;
}

sonde_status sonde_pipeline_point(void *context, int worker, const sonde_tap_view *view,
                                  sonde_error *err)
{
    sonde_pipeline *p = context;
    for (int32_t i = p->first_point[view->point]; i >= 0; i = p->points[i].next)
        for (int64_t s = 0; s < view->n_spans; s++)
            SONDE_TRY(tap_span(p, worker, view, &view->spans[s], &p->points[i], err));
    return SONDE_OK;
}

sonde_status sonde_flow_call_done(sonde_flow *flow, sonde_error *err)
{
    const sonde_pipeline *p = flow->pipeline;
    for (int32_t i = 0; p->spec.probes && i < p->spec.probes->count; i++) {
        const sonde_probe_instance *instance = &p->spec.probes->instances[i];
        if (!instance->probe.done) continue;
        sonde_emitting emitting = {.pipeline = flow->pipeline, .flow = flow, .instance = i};
        sonde_probe_sink sink = sonde_row_sink(&emitting);
        bool stopped = flow->finish == SONDE_FINISH_STOPPED;
        sonde_probe_sequence sequence = {
            .struct_size = sizeof sequence,
            .status = stopped ? 1u : flow->prompt.state == SONDE_PROMPT_CUT ? 2u : 0u,
            .sequence = flow->prompt.index, .n_prompt = flow->prompt.n_prompt,
            .n_tokens = flow->n_run, .tokens = flow->tokens, .id = flow->prompt.id,
            .meta = meta_text(flow)};
        sonde_probe_error pe = {{0}};
        int32_t failed = instance->probe.done(instance->memory, flow->states[i], &sequence, &sink, &pe);
        if (emitting.status != SONDE_OK)
            return sonde_fail(err, emitting.status, "%s", emitting.error.message);
        if (failed != 0) return sonde_probe_failed(instance, "done", &pe, err);
    }
    return SONDE_OK;
}
