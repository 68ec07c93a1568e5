/* pipeline_order.c - input order: which flow's rows go where, and the end of finished flows. */
#include "pipeline_internal.h"

#include <math.h>
#include <string.h>

/* ---- placing: under p->lock ---------------------------------------------------------------------------- */

void sonde_pipeline_append(sonde_pipeline *p, sonde_flow *flow)
{
    flow->order = p->admitted++;
    if (p->tail) p->tail->next = flow;
    else p->head = flow;
    p->tail = flow;
    p->n_flows++;
    if (!p->unplaced) p->unplaced = flow;
}

/* Row numbers go on behind a flow whose counts are known; it may be running still. */
static void count_flow(sonde_pipeline *p, sonde_flow *flow)
{
    pthread_mutex_lock(&flow->lock);
    int64_t n = flow->n_counted;
    for (int32_t s = 0; s < p->n_slots; s++) p->slot_rows[s] += flow->lines[s].rank[n];
    for (int32_t c = 0; c < p->n_classes; c++) p->class_keys[c] += flow->visible[c][n];
    p->union_rows += flow->union_rank[n];
    pthread_mutex_unlock(&flow->lock);
}

static void place_flow(sonde_pipeline *p, sonde_flow *flow)
{
    pthread_mutex_lock(&flow->lock);
    for (int32_t s = 0; s < p->n_slots; s++) flow->lines[s].base = p->slot_rows[s];
    for (int32_t c = 0; c < p->n_classes; c++) flow->visible_base[c] = p->class_keys[c];
    flow->union_base = p->union_rows;
    flow->placed = true;
    pthread_mutex_unlock(&flow->lock);
    p->window_used -= flow->reserved_bytes;
    flow->reserved_bytes = 0;
}

bool sonde_pipeline_can_place(const sonde_pipeline *p)
{
    return !p->unplaced && (!p->frontier || p->frontier->counts_known);
}

void sonde_pipeline_place(sonde_pipeline *p)
{
    if (p->frontier && !p->frontier->counts_known) return;
    if (p->frontier) count_flow(p, p->frontier);
    p->frontier = NULL;
    while (p->unplaced) {
        sonde_flow *flow = p->unplaced;
        place_flow(p, flow);
        p->unplaced = flow->next;
        if (!flow->counts_known) {
            p->frontier = flow;
            return;
        }
        count_flow(p, flow);
    }
}

/* ---- what a placed flow holds ---------------------------------------------------------------------------- */

/* The flow's lock is kept: its worker may want to make the arrays longer that are read here. */
static sonde_status flush_held(sonde_pipeline *p, sonde_flow *flow, sonde_error *err)
{
    sonde_status status = SONDE_OK;
    pthread_mutex_lock(&flow->lock);
    while (flow->held && !flow->undecided && status == SONDE_OK) {
        sonde_held *held = flow->held;
        status = sonde_pipeline_put_held(p, flow, held, err);
        flow->held = held->next;
        sonde_held_free(held);
    }
    if (!flow->held) flow->held_end = &flow->held;
    pthread_mutex_unlock(&flow->lock);
    return status;
}

/* ---- columns of /rows -------------------------------------------------------------------------------------- */

typedef struct row_block {
    uint64_t *sequence;
    uint32_t *position, *token;
    uint8_t *phase, *segment;
    float *logprob, *entropy;
    int32_t *rank;
    int64_t n;
} row_block;

static bool alloc_block(row_block *b, size_t n)
{
    b->sequence = sonde_alloc(n, sizeof *b->sequence);
    b->position = sonde_alloc(n, sizeof *b->position);
    b->token = sonde_alloc(n, sizeof *b->token);
    b->phase = sonde_alloc(n, sizeof *b->phase);
    b->segment = sonde_alloc(n, sizeof *b->segment);
    b->logprob = sonde_alloc(n, sizeof *b->logprob);
    b->entropy = sonde_alloc(n, sizeof *b->entropy);
    b->rank = sonde_alloc(n, sizeof *b->rank);
    return b->sequence && b->position && b->token && b->phase && b->segment && b->logprob &&
           b->entropy && b->rank;
}

static void free_block(row_block *b)
{
    void *blocks[] = {b->sequence, b->position, b->token, b->phase,
                      b->segment,  b->logprob,  b->entropy, b->rank};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

static void fill_block(row_block *b, const sonde_flow *flow)
{
    for (int64_t i = 0; i < flow->n_run; i++) {
        if (!sonde_flow_keeps_row(flow, i)) continue;
        int64_t at = b->n++;
        b->sequence[at] = flow->prompt.index;
        b->position[at] = (uint32_t)i;
        b->token[at] = flow->tokens[i];
        b->phase[at] = sonde_flow_phase(flow, i);
        b->segment[at] = flow->segments[i];
        b->logprob[at] = flow->logprob[i];
        if (flow->entropy) b->entropy[at] = flow->entropy[i];
        if (flow->rank_label) b->rank[at] = flow->rank_label[i];
    }
}

static sonde_status put_block(sonde_pipeline *p, const sonde_flow *flow, const row_block *b,
                              sonde_error *err)
{
    int64_t first = (int64_t)flow->union_base;
    sonde_schema_rows rows = {.sequence = b->sequence, .position = b->position, .token = b->token,
                              .phase = b->phase, .segment = b->segment,
                              .logprob = b->logprob};
    SONDE_TRY(sonde_schema_put_rows(p->spec.schema, first, b->n, &rows, err));
    if (p->entropy_column >= 0)
        SONDE_TRY(sonde_store_put(p->spec.store, p->entropy_column, first, b->n, b->entropy, err));
    if (p->rank_column >= 0)
        SONDE_TRY(sonde_store_put(p->spec.store, p->rank_column, first, b->n, b->rank, err));
    return SONDE_OK;
}

static sonde_status put_row_columns(sonde_pipeline *p, const sonde_flow *flow, sonde_error *err)
{
    size_t n = flow->union_rank[flow->n_run];
    row_block block = {0};
    if (n == 0) return SONDE_OK;
    sonde_status status = SONDE_OK;
    if (!alloc_block(&block, n)) status = sonde_no_memory(err, "columns of /rows", n * 29);
    if (status == SONDE_OK) fill_block(&block, flow);
    if (status == SONDE_OK) status = put_block(p, flow, &block, err);
    free_block(&block);
    return status;
}

/* ---- /sequences --------------------------------------------------------------------------------------------- */

/* Text of the token run with every token's bytes in it. */
typedef struct run_text {
    sonde_string text;
    uint32_t *start, *end; /* [n_run] */
} run_text;

static sonde_status decode_from(const sonde_flow *flow, int64_t first, run_text *t, sonde_error *err)
{
    const sonde_tokenizer *tokenizer = flow->pipeline->spec.tokenizer;
    sonde_decoder *decoder = NULL;
    if (first >= flow->n_run) return SONDE_OK;
    SONDE_TRY(sonde_decoder_create(tokenizer, false, &decoder, err));
    sonde_status status = SONDE_OK;
    const char *text;
    size_t bytes;
    for (int64_t i = first; i < flow->n_run && status == SONDE_OK; i++) {
        t->start[i] = (uint32_t)t->text.length;
        status = sonde_decoder_push(decoder, flow->tokens[i], &text, &bytes, err);
        if (status == SONDE_OK) sonde_string_append(&t->text, text, bytes);
        t->end[i] = (uint32_t)t->text.length;
    }
    if (status == SONDE_OK) status = sonde_decoder_finish(decoder, &text, &bytes, err);
    if (status == SONDE_OK) sonde_string_append(&t->text, text, bytes);
    if (status == SONDE_OK) t->end[flow->n_run - 1] = (uint32_t)t->text.length;
    sonde_decoder_destroy(&decoder);
    return status;
}

/* The text as given, then what the generated tokens decode to; all decoded where only token ids
 * were given. */
static sonde_status make_text(const sonde_flow *flow, run_text *t, sonde_error *err)
{
    const sonde_prompt *prompt = &flow->prompt;
    size_t n = (size_t)flow->n_run;
    bool given = prompt->text != NULL;
    if (!flow->pipeline->spec.tokenizer && !given) return SONDE_OK;
    t->start = sonde_alloc(n, sizeof *t->start);
    t->end = sonde_alloc(n, sizeof *t->end);
    if (!t->start || !t->end) return sonde_no_memory(err, "spans of tokens", n * 8);
    int64_t first = given ? prompt->n_tokens : 0;
    if (given) {
        sonde_string_append(&t->text, prompt->text, prompt->text_bytes);
        memcpy(t->start, prompt->text_start, (size_t)first * sizeof *t->start);
        memcpy(t->end, prompt->text_end, (size_t)first * sizeof *t->end);
    }
    if (flow->pipeline->spec.tokenizer) SONDE_TRY(decode_from(flow, first, t, err));
    if (t->text.failed) return sonde_no_memory(err, "a sequence's text", t->text.length);
    return SONDE_OK;
}

static sonde_sequence_status status_of(const sonde_flow *flow)
{
    if (flow->prompt.state == SONDE_PROMPT_SKIPPED) return SONDE_SEQUENCE_SKIPPED;
    if (flow->prompt.state == SONDE_PROMPT_CUT) return SONDE_SEQUENCE_CUT;
    return flow->finish == SONDE_FINISH_STOPPED ? SONDE_SEQUENCE_STOPPED : SONDE_SEQUENCE_DONE;
}

static sonde_status add_sequence(sonde_pipeline *p, const sonde_flow *flow, sonde_error *err)
{
    const sonde_prompt *prompt = &flow->prompt;
    run_text text = {0};
    bool sampled = flow->n_tokens > flow->n_run;
    sonde_status status = flow->n_run > 0 ? make_text(flow, &text, err) : SONDE_OK;
    sonde_schema_sequence sequence = {
        .sequence = prompt->index, .row_start = flow->union_base,
        .row_count = flow->union_rank[flow->n_run], .n_prompt = (uint32_t)prompt->n_prompt,
        .status = status_of(flow), .last_token = sampled ? (int64_t)flow->tokens[flow->n_run] : -1,
        .last_logprob = sampled ? flow->logprob[flow->n_run] : NAN, .id = prompt->id,
        .id_is_given = prompt->id_is_given, .text = text.text.data,
        .text_bytes = text.text.length, .tokens = flow->tokens, .n_tokens = flow->n_run,
        .text_start = text.start, .text_end = text.end, .meta = prompt->meta};
    if (status == SONDE_OK) status = sonde_schema_add_sequence(p->spec.schema, &sequence, err);
    sonde_string_reset(&text.text);
    sonde_free(text.start);
    sonde_free(text.end);
    return status;
}

/* ---- retiring: under p->retiring ------------------------------------------------------------------------------ */

static sonde_status merge_states(sonde_pipeline *p, const sonde_flow *flow, sonde_error *err)
{
    for (int32_t i = 0; p->spec.probes && i < p->spec.probes->count; i++) {
        const sonde_probe_instance *instance = &p->spec.probes->instances[i];
        if (instance->state_bytes == 0 || flow->n_run == 0) continue;
        sonde_probe_error pe = {{0}};
        if (instance->probe.merge(instance->memory, p->totals[i], flow->states[i], &pe) != 0)
            return sonde_probe_failed(instance, "merge", &pe, err);
    }
    return SONDE_OK;
}

static sonde_status put_sparse(sonde_pipeline *p, sonde_flow *flow, sonde_error *err)
{
    for (const sonde_held *held = flow->sparse; held; held = held->next)
        SONDE_TRY(sonde_pipeline_put_held(p, flow, held, err));
    return SONDE_OK;
}

static sonde_status retire_flow(sonde_pipeline *p, sonde_flow *flow, sonde_error *err)
{
    SONDE_TRY(flush_held(p, flow, err));
    if (p->spec.schema) {
        SONDE_TRY(put_sparse(p, flow, err));
        SONDE_TRY(put_row_columns(p, flow, err));
        SONDE_TRY(add_sequence(p, flow, err));
    }
    SONDE_TRY(merge_states(p, flow, err));
    p->stats.rows += flow->union_rank[flow->n_run];
    p->stats.sequences++;
    p->stats.prompt_tokens += (uint64_t)flow->prompt.n_tokens;
    p->stats.generated_tokens += (uint64_t)(flow->n_tokens - flow->prompt.n_tokens);
    return p->spec.retired ? p->spec.retired(p->spec.context, flow, err) : SONDE_OK;
}

/* The first flow when it is finished and placed, taken from the list. */
static sonde_flow *take_finished(sonde_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    sonde_flow *flow = p->head;
    bool ready = flow && flow->placed && flow->done && flow != p->frontier;
    if (ready) {
        p->head = flow->next;
        if (!p->head) p->tail = NULL;
        p->n_flows--;
    }
    pthread_mutex_unlock(&p->lock);
    return ready ? flow : NULL;
}

static sonde_flow *next_placed(sonde_pipeline *p, sonde_flow *flow)
{
    pthread_mutex_lock(&p->lock);
    sonde_flow *next = flow ? flow->next : p->head;
    if (next && !next->placed) next = NULL;
    pthread_mutex_unlock(&p->lock);
    return next;
}

sonde_status sonde_pipeline_retire(sonde_pipeline *p, sonde_error *err)
{
    sonde_status status = SONDE_OK;
    pthread_mutex_lock(&p->retiring);
    for (sonde_flow *flow; status == SONDE_OK && !p->broken && (flow = take_finished(p));) {
        status = retire_flow(p, flow, err);
        sonde_flow_destroy(flow);
    }
    if (status != SONDE_OK) p->broken = true;
    sonde_flow *flow = NULL;
    while (status == SONDE_OK && !p->broken && (flow = next_placed(p, flow)))
        status = flush_held(p, flow, err);
    pthread_mutex_unlock(&p->retiring);
    return status;
}
