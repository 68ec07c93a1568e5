/* flow.c - one prompt on its way: its token run, which of its rows are kept, its text. */
#include "pipeline_internal.h"


#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ----------------------------------------------------------------------------------------- */

static bool grow_array(void *array_pointer, size_t old_n, size_t n, size_t bytes_each)
{
    void **array = array_pointer;
    void *bigger = sonde_realloc(*array, old_n * bytes_each, n, bytes_each);
    if (bigger) *array = bigger;
    return bigger != NULL;
}

static bool grow_rows(sonde_flow *flow, size_t old_n, size_t n)
{
    const sonde_pipeline *p = flow->pipeline;
    bool good = grow_array(&flow->union_rank, old_n, n, sizeof *flow->union_rank);
    for (int32_t i = 0; i < p->n_slots && good; i++) {
        good = grow_array(&flow->lines[i].keep, old_n, n, 1);
        good = good && grow_array(&flow->lines[i].rank, old_n, n, sizeof *flow->lines[i].rank);
    }
    for (int32_t i = 0; i < p->n_classes && good; i++)
        good = grow_array(&flow->visible[i], old_n, n, sizeof *flow->visible[i]);
    return good;
}

static bool grow_labels(sonde_flow *flow, size_t old_n, size_t n)
{
    const sonde_pipeline_spec *spec = &flow->pipeline->spec;
    bool good = grow_array(&flow->logprob, old_n, n, sizeof(float));
    if (good && (spec->labels & SONDE_LABEL_ENTROPY))
        good = grow_array(&flow->entropy, old_n, n, sizeof(float));
    if (good && (spec->labels & SONDE_LABEL_RANK))
        good = grow_array(&flow->rank_label, old_n, n, sizeof(int32_t));
    for (size_t i = old_n; good && i < n; i++) {
        flow->logprob[i] = NAN;
        if (flow->entropy) flow->entropy[i] = NAN;
        if (flow->rank_label) flow->rank_label[i] = -1;
    }
    return good;
}

sonde_status sonde_flow_grow(sonde_flow *flow, int64_t wanted, sonde_error *err)
{
    if (wanted <= flow->capacity) return SONDE_OK;
    size_t old_n = flow->capacity ? (size_t)flow->capacity + 1 : 0;
    size_t n = (size_t)SONDE_MAX(wanted, flow->capacity + flow->capacity / 2) + 1;
    pthread_mutex_lock(&flow->lock);
    bool good = grow_array(&flow->tokens, old_n, n, sizeof *flow->tokens) &&
                grow_array(&flow->segments, old_n, n, 1) &&
                grow_rows(flow, old_n, n) && grow_labels(flow, old_n, n);
    pthread_mutex_unlock(&flow->lock);
    if (!good) return sonde_no_memory(err, "a sequence's rows", n * 16);
    flow->capacity = (int64_t)n - 1;
    return SONDE_OK;
}

/* ---- creation ---------------------------------------------------------------------------------------- */

/* A prompt's own expression replaces the default one. */
static sonde_status set_lines(sonde_flow *flow, sonde_error *err)
{
    const sonde_pipeline *p = flow->pipeline;
    for (int32_t i = 0; i < p->n_slots; i++) flow->lines[i].expr = p->slots[i].expr;
    if (flow->prompt.rows) {
        SONDE_TRY(sonde_rows_compile(flow->prompt.rows, &flow->own_rows, err));
        flow->lines[0].expr = flow->own_rows;
    }
    bool generates = flow->prompt.max_new > 1;
    int32_t used = 0;
    for (int32_t i = 0; i < p->n_slots; i++) {
        sonde_line *line = &flow->lines[i];
        line->deferred = generates && line->expr && p->slots[i].used &&
                         !sonde_rows_is_causal(line->expr);
        flow->undecided = flow->undecided || line->deferred;
        used += p->slots[i].used;
    }
    if (used <= 1) flow->undecided = false;
    return SONDE_OK;
}

static sonde_status alloc_probes(sonde_flow *flow, sonde_error *err)
{
    const sonde_probe_set *probes = flow->pipeline->spec.probes;
    if (!probes) return SONDE_OK;
    size_t n = (size_t)probes->count;
    flow->states = sonde_alloc(n, sizeof *flow->states);
    flow->scratch = sonde_alloc(n, sizeof *flow->scratch);
    flow->scratch_bytes = sonde_alloc(n, sizeof *flow->scratch_bytes);
    flow->scratch_block = sonde_alloc(n, sizeof *flow->scratch_block);
    if (!flow->states || !flow->scratch || !flow->scratch_bytes || !flow->scratch_block)
        return sonde_no_memory(err, "states of the probes", n * 32);
    for (size_t i = 0; i < n; i++) {
        flow->scratch_block[i] = UINT64_MAX;
        if (probes->instances[i].state_bytes == 0) continue;
        flow->states[i] = sonde_alloc(probes->instances[i].state_bytes, 1);
        if (!flow->states[i])
            return sonde_no_memory(err, "a probe's state", probes->instances[i].state_bytes);
    }
    return SONDE_OK;
}

static sonde_status fill_flow(sonde_flow *flow, sonde_error *err)
{
    const sonde_pipeline *p = flow->pipeline;
    flow->lines = sonde_alloc((size_t)p->n_slots, sizeof *flow->lines);
    flow->visible = sonde_alloc((size_t)p->n_classes, sizeof *flow->visible);
    flow->visible_base = sonde_alloc((size_t)p->n_classes, sizeof *flow->visible_base);
    if (!flow->lines || !flow->visible || !flow->visible_base)
        return sonde_no_memory(err, "a sequence", sizeof *flow);
    SONDE_TRY(set_lines(flow, err));
    SONDE_TRY(alloc_probes(flow, err));
    int64_t n = flow->prompt.n_tokens;
    SONDE_TRY(sonde_flow_grow(flow, SONDE_MAX(n, 1), err));
    if (n > 0) memcpy(flow->tokens, flow->prompt.tokens, (size_t)n * sizeof *flow->tokens);
    if (flow->prompt.segments) memcpy(flow->segments, flow->prompt.segments, (size_t)n);
    flow->n_tokens = flow->n_run = flow->n_counted = n;
    SONDE_TRY(sonde_flow_decide(flow, n, false, err));
    flow->keep = sonde_alloc((size_t)n + 1, 1);
    if (!flow->keep) return sonde_no_memory(err, "a sequence's rows", (size_t)n);
    for (int64_t i = 0; i < n; i++) flow->keep[i] = sonde_flow_wants_row(flow, i);
    return SONDE_OK;
}

sonde_status sonde_flow_create(sonde_pipeline *p, sonde_prompt *prompt, sonde_flow **out,
                               sonde_error *err)
{
    sonde_flow *flow = sonde_alloc(1, sizeof *flow);
    if (!flow) return sonde_no_memory(err, "a sequence", sizeof *flow);
    flow->pipeline = p;
    flow->prompt = *prompt;
    memset(prompt, 0, sizeof *prompt);
    pthread_mutex_init(&flow->lock, NULL);
    flow->held_end = &flow->held;
    flow->sparse_end = &flow->sparse;
    flow->deferred_end = &flow->deferred;
    flow->text_cut = SIZE_MAX;
    flow->finish = SONDE_FINISH_DONE;
    sonde_status status = fill_flow(flow, err);
    if (status == SONDE_OK) *out = flow;
    else sonde_flow_destroy(flow);
    return status;
}

void sonde_deferred_free(sonde_deferred *deferred)
{
    sonde_free(deferred->offset);
    sonde_free(deferred->first_key);
    sonde_free(deferred->data);
    sonde_free(deferred);
}

static void free_lists(sonde_flow *flow)
{
    sonde_held *lists[] = {flow->held, flow->sparse};
    for (size_t i = 0; i < SONDE_COUNT(lists); i++)
        for (sonde_held *h = lists[i], *next; h; h = next) {
            next = h->next;
            sonde_held_free(h);
        }
    for (sonde_deferred *d = flow->deferred, *next; d; d = next) {
        next = d->next;
        sonde_deferred_free(d);
    }
}

void sonde_flow_destroy(sonde_flow *flow)
{
    const sonde_pipeline *p = flow->pipeline;
    int32_t n_instances = p->spec.probes ? p->spec.probes->count : 0;
    free_lists(flow);
    for (int32_t i = 0; flow->lines && i < p->n_slots; i++) {
        sonde_free(flow->lines[i].keep);
        sonde_free(flow->lines[i].rank);
    }
    for (int32_t i = 0; flow->visible && i < p->n_classes; i++) sonde_free(flow->visible[i]);
    for (int32_t i = 0; i < n_instances; i++) {
        if (flow->states) sonde_free(flow->states[i]);
        if (flow->scratch) sonde_free(flow->scratch[i]);
    }
    void *blocks[] = {flow->lines, flow->visible, flow->visible_base, flow->states, flow->scratch,
                      flow->scratch_bytes, flow->scratch_block, flow->tokens, flow->segments, flow->logprob,
                      flow->entropy, flow->rank_label, flow->keep, flow->union_rank};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    free(flow->meta_text);
    sonde_rows_destroy(&flow->own_rows);
    sonde_decoder_destroy(&flow->decoder);
    sonde_string_reset(&flow->text);
    sonde_prompt_reset(&flow->prompt);
    pthread_mutex_destroy(&flow->lock);
    sonde_free(flow);
}

/* ---- which rows ---------------------------------------------------------------------------------------- */

uint8_t sonde_flow_phase(const sonde_flow *flow, int64_t position)
{
    if (position < flow->prompt.n_prompt) return 0;
    return position < flow->prompt.n_tokens ? 2 : 1;
}

static sonde_status evaluate_line(const sonde_flow *flow, sonde_line *line, int64_t n,
                                  sonde_error *err)
{
    const sonde_tokenizer *tokenizer = flow->pipeline->spec.tokenizer;
    uint8_t *codes = sonde_alloc((size_t)n + 1, 3);
    if (!codes) return sonde_no_memory(err, "a rows expression", (size_t)n * 3);
    uint8_t *phase = codes, *special = codes + n, *marked = codes + 2 * n;
    for (int64_t i = 0; i < n; i++) {
        phase[i] = sonde_flow_phase(flow, i);
        special[i] = tokenizer && sonde_tokenizer_is_special(tokenizer, flow->tokens[i]);
        if (flow->prompt.marked && i < flow->prompt.n_tokens) marked[i] = flow->prompt.marked[i];
    }
    sonde_rows_context context = {.n_rows = n, .tokens = flow->tokens, .phase = phase,
                                  .segment = flow->segments, .special = special, .marked = marked,
                                  .bos = tokenizer ? sonde_tokenizer_bos(tokenizer) : -1,
                                  .id = flow->prompt.id, .index = flow->prompt.index,
                                  .seed = (uint64_t)flow->pipeline->spec.options->seed};
    sonde_status status = sonde_rows_evaluate(line->expr, &context, line->keep, err);
    sonde_free(codes);
    return status;
}

static int64_t visible_keys(const sonde_ragged_class *c, int64_t position)
{
    return position + 1 - sonde_point_first_key(c->point, position);
}

static void count_rows(sonde_flow *flow, int64_t from, int64_t n)
{
    const sonde_pipeline *p = flow->pipeline;
    for (int32_t s = 0; s < p->n_slots; s++)
        for (int64_t i = from; i < n; i++)
            flow->lines[s].rank[i + 1] = flow->lines[s].rank[i] + flow->lines[s].keep[i];
    for (int64_t i = from; i < n; i++)
        flow->union_rank[i + 1] = flow->union_rank[i] + sonde_flow_keeps_row(flow, i);
    for (int32_t c = 0; c < p->n_classes; c++) {
        const uint8_t *keep = flow->lines[p->classes[c].slot].keep;
        for (int64_t i = from; i < n; i++)
            flow->visible[c][i + 1] =
                flow->visible[c][i] + (keep[i] ? (uint64_t)visible_keys(&p->classes[c], i) : 0);
    }
}

sonde_status sonde_flow_decide(sonde_flow *flow, int64_t n, bool all, sonde_error *err)
{
    int64_t from = all ? 0 : flow->n_decided;
    for (int32_t s = 0; s < flow->pipeline->n_slots; s++) {
        sonde_line *line = &flow->lines[s];
        if (!line->expr) memset(line->keep + from, 1, (size_t)(n - from));
        else if (line->deferred && !all) memset(line->keep + from, 0, (size_t)(n - from));
        else SONDE_TRY(evaluate_line(flow, line, n, err));
    }
    count_rows(flow, from, n);
    flow->n_decided = n;
    return SONDE_OK;
}

/* In the union: kept by a slot in use. */
bool sonde_flow_keeps_row(const sonde_flow *flow, int64_t position)
{
    for (int32_t s = 0; s < flow->pipeline->n_slots; s++)
        if (flow->pipeline->slots[s].used && flow->lines[s].keep[position]) return true;
    return false;
}

/* Must the run show the row: it is kept, or may turn out to be. */
bool sonde_flow_wants_row(const sonde_flow *flow, int64_t position)
{
    for (int32_t s = 0; s < flow->pipeline->n_slots; s++)
        if (flow->lines[s].deferred) return true;
    return sonde_flow_keeps_row(flow, position);
}

bool sonde_flow_wants_generated(const sonde_flow *flow)
{
    for (int32_t s = 0; s < flow->pipeline->n_slots; s++) {
        const sonde_line *line = &flow->lines[s];
        if (!flow->pipeline->slots[s].used) continue;
        if (line->deferred || !line->expr || sonde_rows_may_keep_generated(line->expr)) return true;
    }
    return false;
}

/* ---- text ------------------------------------------------------------------------------------------------ */

static void look_for_stop(sonde_flow *flow, size_t before, bool *stop)
{
    const sonde_option_list *texts = &flow->pipeline->spec.options->stop;
    for (int32_t i = 0; i < texts->count; i++) {
        size_t length = strlen(texts->values[i]);
        size_t from = before >= length ? before - length + 1 : 0;
        if (length == 0 || flow->text.length < length) continue;
        const char *found = memmem(flow->text.data + from, flow->text.length - from,
                                   texts->values[i], length);
        if (!found) continue;
        flow->text_cut = SONDE_MIN(flow->text_cut, (size_t)(found - flow->text.data));
        flow->stopped_by_text = *stop = true;
    }
}

sonde_status sonde_flow_add_text(sonde_flow *flow, uint32_t token, bool *stop, sonde_error *err)
{
    const sonde_pipeline_spec *spec = &flow->pipeline->spec;
    bool needed = spec->tokenizer && (spec->generates || spec->options->stop.count > 0);
    if (!needed) return SONDE_OK;
    if (!flow->decoder)
        SONDE_TRY(sonde_decoder_create(spec->tokenizer, true, &flow->decoder, err));
    const char *text;
    size_t bytes, before = flow->text.length;
    SONDE_TRY(sonde_decoder_push(flow->decoder, token, &text, &bytes, err));
    sonde_string_append(&flow->text, text, bytes);
    if (flow->text.failed) return sonde_no_memory(err, "generated text", before + bytes);
    look_for_stop(flow, before, stop);
    return SONDE_OK;
}

sonde_status sonde_flow_end_text(sonde_flow *flow, sonde_error *err)
{
    if (!flow->decoder) return SONDE_OK;
    const char *text;
    size_t bytes;
    SONDE_TRY(sonde_decoder_finish(flow->decoder, &text, &bytes, err));
    sonde_string_append(&flow->text, text, bytes);
    return flow->text.failed ? sonde_no_memory(err, "generated text", bytes) : SONDE_OK;
}

/* ---- queries --------------------------------------------------------------------------------------------- */

const sonde_prompt *sonde_flow_prompt(const sonde_flow *flow)
{
    return &flow->prompt;
}

uint64_t sonde_flow_order(const sonde_flow *flow)
{
    return flow->order;
}

int64_t sonde_flow_generated(const sonde_flow *flow, const uint32_t **tokens,
                             const float **logprobs)
{
    *tokens = flow->tokens + flow->prompt.n_tokens;
    *logprobs = flow->logprob + flow->prompt.n_tokens;
    return flow->n_tokens - flow->prompt.n_tokens;
}

/* What may still turn out to be the beginning of a stop text is held back, at a character's start. */
static size_t settled_bytes(const sonde_flow *flow)
{
    const sonde_option_list *texts = &flow->pipeline->spec.options->stop;
    size_t bytes = SONDE_MIN(flow->text.length, flow->text_cut), longest = 1;
    if (flow->done || flow->text_cut != SIZE_MAX) return bytes;
    for (int32_t i = 0; i < texts->count; i++)
        longest = SONDE_MAX(longest, strlen(texts->values[i]));
    bytes = bytes > longest - 1 ? bytes - (longest - 1) : 0;
    while (bytes > 0 && bytes < flow->text.length &&
           ((unsigned char)flow->text.data[bytes] & 0xC0) == 0x80)
        bytes--;
    return bytes;
}

const char *sonde_flow_text(const sonde_flow *flow, size_t *bytes)
{
    *bytes = settled_bytes(flow);
    return flow->text.data ? flow->text.data : "";
}

const char *sonde_flow_stop(const sonde_flow *flow)
{
    if (flow->prompt.state == SONDE_PROMPT_SKIPPED) return "skipped";
    if (flow->stopped_by_text) return "text";
    if (flow->finish == SONDE_FINISH_STOPPED) return "eos";
    return flow->finish == SONDE_FINISH_CUT || flow->prompt.state == SONDE_PROMPT_CUT ? "context"
                                                                                   : "length";
}
