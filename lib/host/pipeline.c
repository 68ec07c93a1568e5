/* pipeline.c - the life of a pipeline, and the callbacks of the scheduler. */
#include "pipeline_internal.h"

#include <string.h>

#define MOST_FLOWS 16384 /* flows that may wait for earlier ones */

/* ---- life -------------------------------------------------------------------------------------------- */

static sonde_status alloc_counters(sonde_pipeline *p, sonde_error *err)
{
    size_t instances = p->spec.probes ? (size_t)p->spec.probes->count : 0;
    p->totals = sonde_alloc(instances, sizeof *p->totals);
    p->rows_seen = sonde_alloc(instances, sizeof *p->rows_seen);
    p->workers = sonde_alloc((size_t)p->spec.workers, sizeof *p->workers);
    p->slot_rows = sonde_alloc((size_t)p->n_slots, sizeof *p->slot_rows);
    p->class_keys = sonde_alloc((size_t)p->n_classes, sizeof *p->class_keys);
    p->sparse_rows = sonde_alloc((size_t)p->n_outputs, sizeof *p->sparse_rows);
    bool good = p->totals && p->rows_seen && p->workers && p->slot_rows && p->class_keys &&
                p->sparse_rows;
    for (size_t i = 0; good && i < instances; i++) {
        p->totals[i] = sonde_alloc(p->spec.probes->instances[i].state_bytes, 1);
        good = p->totals[i] != NULL;
    }
    for (int32_t i = 0; good && i < p->spec.workers; i++) {
        p->workers[i].emitted = sonde_alloc((size_t)p->n_outputs, 1);
        good = p->workers[i].emitted != NULL;
    }
    return good ? SONDE_OK : sonde_no_memory(err, "a pipeline", instances * 64);
}

sonde_status sonde_pipeline_open(const sonde_pipeline_spec *spec, sonde_pipeline **out,
                                 sonde_error *err)
{
    sonde_pipeline *p = sonde_alloc(1, sizeof *p);
    if (!p) return sonde_no_memory(err, "a pipeline", sizeof *p);
    p->spec = *spec;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->retiring, NULL);
    sonde_status status = sonde_pipeline_declare(p, err);
    if (status == SONDE_OK) status = alloc_counters(p, err);
    if (status == SONDE_OK) *out = p;
    else sonde_pipeline_close(&p);
    return status;
}

static void free_worker(sonde_pipe_worker *w)
{
    void *blocks[] = {w->offset, w->length,  w->first_key, w->position, w->token,
                      w->phase,  w->segment, w->gathered,  w->emitted};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

void sonde_pipeline_close(sonde_pipeline **pipeline)
{
    sonde_pipeline *p = *pipeline;
    if (!p) return;
    for (sonde_flow *flow = p->head, *next; flow; flow = next) {
        next = flow->next;
        sonde_flow_destroy(flow);
    }
    sonde_prompt_reset(&p->pending);
    for (int32_t i = 0; p->totals && p->spec.probes && i < p->spec.probes->count; i++)
        sonde_free(p->totals[i]);
    for (int32_t i = 0; p->workers && i < p->spec.workers; i++) free_worker(&p->workers[i]);
    void *blocks[] = {p->totals, p->rows_seen, p->workers, p->slot_rows, p->class_keys,
                      p->sparse_rows};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    sonde_pipeline_undeclare(p);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->retiring);
    sonde_free(p);
    *pipeline = NULL;
}

const uint8_t *sonde_pipeline_wants(const sonde_pipeline *pipeline)
{
    return pipeline->wants;
}

void sonde_pipeline_stats_get(sonde_pipeline *p, sonde_pipeline_stats *stats)
{
    pthread_mutex_lock(&p->retiring);
    *stats = p->stats;
    pthread_mutex_unlock(&p->retiring);
    stats->raw_bytes = atomic_load(&p->raw_bytes);
    int32_t instances = p->spec.probes ? p->spec.probes->count : 0;
    stats->kept = 0;
    for (int32_t i = 0; i < instances; i++)
        stats->kept += atomic_load(&p->rows_seen[i]);
}

static bool stores_as(const sonde_pipeline *p, sonde_dtype dtype)
{
    for (int32_t i = 0; i < p->n_outputs; i++)
        if (p->outputs[i].declared->kind == SONDE_OUTPUT_POINT && p->outputs[i].stored == dtype)
            return true;
    return false;
}

void sonde_pipeline_dtypes(const sonde_pipeline *p, char *text, size_t bytes)
{
    static const sonde_dtype all[] = {SONDE_DTYPE_BF16, SONDE_DTYPE_F16, SONDE_DTYPE_F32,
                                      SONDE_DTYPE_F64, SONDE_DTYPE_I32, SONDE_DTYPE_I64,
                                      SONDE_DTYPE_U8};
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < SONDE_COUNT(all) && used < bytes; i++)
        if (stores_as(p, all[i]))
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? ", " : "",
                                     sonde_dtype_name(all[i]));
}

/* ---- admission ------------------------------------------------------------------------------------------ */

/* Stored bytes of all rows a prompt may make, generated ones included. */
static uint64_t worst_bytes(const sonde_pipeline *p, const sonde_prompt *prompt)
{
    uint64_t rows = (uint64_t)(prompt->n_tokens + SONDE_MAX(prompt->max_new - 1, 0)), bytes = 0;
    for (int32_t i = 0; p->spec.schema && i < p->n_outputs; i++) {
        const sonde_pipe_output *o = &p->outputs[i];
        if (o->twin || o->declared->kind == SONDE_OUTPUT_SPARSE) continue;
        bytes += rows * o->row_bytes * (o->ragged_class >= 0 ? (rows + 1) / 2 : 1);
    }
    return bytes;
}

/* States of the probes live from admission to retiring: they count in the window too. */
static bool states_fill_window(const sonde_pipeline *p)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; p->spec.probes && i < p->spec.probes->count; i++)
        bytes += p->spec.probes->instances[i].state_bytes;
    return p->n_flows > 0 && bytes > 0 && p->n_flows >= p->spec.window_bytes / bytes;
}

static bool must_wait(sonde_pipeline *p, uint64_t *reserve)
{
    pthread_mutex_lock(&p->lock);
    *reserve = sonde_pipeline_can_place(p) ? 0 : worst_bytes(p, &p->pending);
    bool wait = p->n_flows >= MOST_FLOWS || states_fill_window(p);
    if (*reserve > 0 && p->window_used + *reserve > p->spec.window_bytes) wait = true;
    pthread_mutex_unlock(&p->lock);
    return wait;
}

static void fill_request(const sonde_pipeline *p, sonde_flow *flow, sonde_request *request)
{
    const sonde_job_options *o = p->spec.options;
    const sonde_prompt *prompt = &flow->prompt;
    *request = (sonde_request){
        .index = prompt->index, .tokens = prompt->tokens, .n_tokens = prompt->n_tokens,
        .max_new = prompt->max_new, .seed = prompt->seed,
        .sampling = {o->temperature, o->top_k, o->top_p, o->min_p}, .stop = p->spec.stop_ids,
        .n_stop = p->spec.n_stop_ids, .keep = flow->keep,
        .keep_generated = sonde_flow_wants_generated(flow), .label_next = prompt->max_new > 0,
        .user = flow};
}

/* A flow that needs no run: skipped, or nothing of it is kept and nothing generated. */
static bool needs_no_run(const sonde_flow *flow)
{
    if (flow->prompt.state == SONDE_PROMPT_SKIPPED) return true;
    return flow->prompt.max_new == 0 && !flow->pipeline->spec.generates &&
           flow->union_rank[flow->n_run] == 0;
}

static sonde_status admit(sonde_pipeline *p, uint64_t reserve, sonde_request *request, bool *given,
                          sonde_error *err)
{
    sonde_flow *flow;
    p->has_pending = false;
    SONDE_TRY(sonde_flow_create(p, &p->pending, &flow, err));
    flow->reserved_bytes = reserve;
    flow->counts_known = flow->prompt.max_new <= 1 || !sonde_flow_wants_generated(flow);
    *given = !needs_no_run(flow);
    flow->done = !*given;
    fill_request(p, flow, request);
    pthread_mutex_lock(&p->lock);
    p->window_used += reserve;
    sonde_pipeline_append(p, flow);
    sonde_pipeline_place(p);
    pthread_mutex_unlock(&p->lock);
    return *given ? SONDE_OK : sonde_pipeline_retire(p, err);
}

static sonde_status next(void *context, sonde_request *request, sonde_next *what, sonde_error *err)
{
    sonde_pipeline *p = context;
    for (;;) {
        if (!p->has_pending && !p->ended) {
            SONDE_TRY(sonde_prompts_next(p->spec.prompts, &p->pending, &p->ended, err));
            p->has_pending = !p->ended;
        }
        *what = SONDE_NEXT_END;
        if (p->ended || atomic_load(&p->failing)) return SONDE_OK;
        uint64_t reserve;
        *what = SONDE_NEXT_LATER;
        if (must_wait(p, &reserve)) return SONDE_OK;
        bool given;
        SONDE_TRY(admit(p, reserve, request, &given, err));
        *what = SONDE_NEXT_GIVEN;
        if (given) return SONDE_OK;
    }
}

/* ---- while a flow runs ------------------------------------------------------------------------------------ */

static void set_label(sonde_flow *flow, int64_t position, const sonde_row_labels *label)
{
    flow->logprob[position] = label->logprob;
    if (flow->entropy) flow->entropy[position] = label->entropy;
    if (flow->rank_label) flow->rank_label[position] = label->rank;
}

static sonde_status labels(void *context, void *user, int64_t first, int64_t count,
                           const sonde_row_labels *values, sonde_error *err)
{
    sonde_flow *flow = user;
    (void)context, (void)err;
    for (int64_t i = 0; i < count; i++)
        if (first + i + 1 < flow->n_tokens) set_label(flow, first + i + 1, &values[i]);
    return SONDE_OK;
}

static sonde_status failure_of(const sonde_flow *flow, sonde_error *err)
{
    if (flow->failure.status == SONDE_OK) return SONDE_OK;
    return sonde_fail(err, flow->failure.status, "%s", flow->failure.message);
}

static sonde_status token(void *context, void *user, int64_t position, uint32_t id,
                          sonde_row_labels label, bool *stop, sonde_error *err)
{
    sonde_pipeline *p = context;
    sonde_flow *flow = user;
    SONDE_TRY(failure_of(flow, err));
    SONDE_TRY(sonde_flow_grow(flow, position + 1, err));
    flow->tokens[position] = id;
    flow->segments[position] = (uint8_t)sonde_segmenter_push(&flow->prompt.segmenter, id);
    set_label(flow, position, &label);
    flow->n_tokens = position + 1;
    /* A token that is never run has no row, and `last` is not to count one. */
    if (flow->prompt.max_new > 1) SONDE_TRY(sonde_flow_decide(flow, position + 1, false, err));
    SONDE_TRY(sonde_flow_add_text(flow, id, stop, err));
    return p->spec.token ? p->spec.token(p->spec.context, flow, err) : SONDE_OK;
}

static bool has_deferred(const sonde_flow *flow)
{
    for (int32_t s = 0; s < flow->pipeline->n_slots; s++)
        if (flow->lines[s].deferred) return true;
    return false;
}

/* The last sampled token never runs: the rows are those before it. */
static sonde_status settle(sonde_flow *flow, sonde_error *err)
{
    flow->n_run = flow->n_tokens - (flow->n_tokens > flow->prompt.n_tokens ? 1 : 0);
    if (has_deferred(flow)) SONDE_TRY(sonde_flow_decide(flow, flow->n_run, true, err));
    pthread_mutex_lock(&flow->lock);
    flow->undecided = false;
    pthread_mutex_unlock(&flow->lock);
    return sonde_flow_end_text(flow, err);
}

static sonde_status done(void *context, void *user, sonde_finish finish, sonde_error *err)
{
    sonde_pipeline *p = context;
    sonde_flow *flow = user;
    flow->finish = finish;
    SONDE_TRY(failure_of(flow, err));
    SONDE_TRY(settle(flow, err));
    SONDE_TRY(sonde_flow_deliver_deferred(flow, err));
    SONDE_TRY(sonde_flow_call_done(flow, err));
    pthread_mutex_lock(&p->lock);
    if (!flow->counts_known) flow->n_counted = flow->n_run;
    flow->counts_known = flow->done = true;
    sonde_pipeline_place(p);
    pthread_mutex_unlock(&p->lock);
    return sonde_pipeline_retire(p, err);
}

static bool cancelled(void *context)
{
    sonde_pipeline *p = context;
    return p->spec.cancelled && p->spec.cancelled(p->spec.context);
}

sonde_schedule_callbacks sonde_pipeline_callbacks(sonde_pipeline *p)
{
    return (sonde_schedule_callbacks){.context = p, .next = next,
                                      .point = p->n_points > 0 ? sonde_pipeline_point : NULL,
                                      .labels = labels, .token = token, .done = done,
                                      .cancelled = cancelled};
}
