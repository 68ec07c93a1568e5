/* schedule_step.c - one step of a worker: rows of every flight, then labels, tokens and ends. */
#include "schedule_internal.h"

#include <math.h>

/* ---- what runs ------------------------------------------------------------------------------------ */

static void add_item(worker *w, flight *f, int32_t *n_items, const uint32_t *tokens, int64_t count,
                     const uint8_t *keep, bool want_logits)
{
    f->item = *n_items;
    f->count = count;
    f->first_row = w->n_rows;
    w->n_rows += count;
    sonde_batch_item *item = &w->items[(*n_items)++];
    item->sequence = f->sequence;
    item->tokens = tokens;
    item->count = count;
    item->keep = keep;
    item->want_logits = want_logits;
}

static void add_decode(worker *w, flight *f, int32_t *n_items)
{
    if (!sonde_schedule_reserve(w, f, 1)) return;
    f->keep_one = f->request.keep_generated ? 1 : 0;
    add_item(w, f, n_items, &f->made[f->generated - 1], 1, &f->keep_one, true);
}

static void add_prefill(worker *w, flight *f, int64_t budget, int32_t *n_items)
{
    const sonde_request *r = &f->request;
    int64_t left = r->n_tokens - f->ran;
    int64_t count = SONDE_MIN(SONDE_MIN(left, w->shared->options.chunk), budget);
    if (count <= 0 || !sonde_schedule_reserve(w, f, count)) return;
    bool last = count == left;
    add_item(w, f, n_items, r->tokens + f->ran, count, r->keep ? r->keep + f->ran : NULL,
             last && f->max_new > 0);
}

/* Rows that were seen, up to the end of the prompt or of what was sampled. */
static void add_again(worker *w, flight *f, int64_t budget, int32_t *n_items)
{
    const sonde_request *r = &f->request;
    int64_t length = sonde_sequence_length(f->sequence), end = f->seen;
    const uint32_t *tokens = f->made ? f->made + (length - r->n_tokens) : NULL;
    if (length < r->n_tokens) {
        tokens = r->tokens + length;
        end = SONDE_MIN(end, r->n_tokens);
    }
    int64_t count = SONDE_MIN(SONDE_MIN(end - length, w->shared->options.chunk), budget);
    if (count > 0 && sonde_schedule_reserve(w, f, count))
        add_item(w, f, n_items, tokens, count, NULL, false);
}

static bool is_behind(const flight *f)
{
    return f->settled && sonde_sequence_length(f->sequence) < f->seen;
}

/* Flights that gave up their pages catch up in steps of their own, before all else. */
static int32_t build_again(worker *w)
{
    int64_t budget = w->shared->options.batch_tokens;
    int32_t n_items = 0;
    w->n_rows = 0;
    for (int32_t i = 0; i < w->n_flights; i++) w->flights[i]->count = 0;
    for (int32_t i = 0; i < w->n_flights; i++)
        if (is_behind(w->flights[i])) add_again(w, w->flights[i], budget - w->n_rows, &n_items);
    return n_items;
}

/* Decode rows first, the rest of the token budget to prefill in order of admission. */
static int32_t build_items(worker *w)
{
    int64_t budget = w->shared->options.batch_tokens;
    int32_t n_items = 0;
    w->n_rows = 0;
    for (int32_t i = 0; i < w->n_flights; i++) w->flights[i]->count = 0;
    for (int32_t i = 0; i < w->n_flights && w->n_rows < budget; i++) {
        flight *f = w->flights[i];
        if (f->settled && !is_behind(f) && f->ran == f->request.n_tokens) add_decode(w, f, &n_items);
    }
    for (int32_t i = 0; i < w->n_flights && w->n_rows < budget; i++) {
        flight *f = w->flights[i];
        if (f->settled && !is_behind(f) && f->ran < f->request.n_tokens)
            add_prefill(w, f, budget - w->n_rows, &n_items);
    }
    return n_items;
}

/* ---- what comes of it ---------------------------------------------------------------------------- */

static sonde_status give_labels(worker *w, flight *f, int64_t before, sonde_error *err)
{
    const sonde_schedule_callbacks *callbacks = w->shared->callbacks;
    const sonde_row_labels *labels = sonde_run_labels(w->run);
    if (!labels || !callbacks->labels) return SONDE_OK;
    int64_t count = f->count - 1;
    if (count > 0)
        SONDE_TRY(callbacks->labels(callbacks->context, f->request.user, before, count,
                                    labels + f->first_row, err));
    bool more_prompt = before + f->count < f->request.n_tokens;
    if (!more_prompt) return SONDE_OK;
    sonde_row_labels edge =
        sonde_run_label_row(w->run, f->item, f->request.tokens[before + f->count]);
    return callbacks->labels(callbacks->context, f->request.user, before + f->count - 1, 1, &edge,
                             err);
}

/* Samples the next token of a flight whose last row has logits. *ended when it was the last. */
static sonde_status sample_next(worker *w, flight *f, bool *ended, sonde_finish *finish,
                                sonde_error *err)
{
    const sonde_request *r = &f->request;
    const sonde_schedule_callbacks *callbacks = w->shared->callbacks;
    int64_t position = sonde_sequence_length(f->sequence);
    if (!sonde_grow(&f->made, &f->made_capacity, (size_t)f->generated + 1, sizeof *f->made))
        return sonde_no_memory(err, "generated tokens", (size_t)f->generated * sizeof *f->made);
    uint32_t *sampled = &f->made[f->generated];
    SONDE_TRY(sonde_sample(w->sampler, sonde_run_logits(w->run, f->item), &r->sampling, r->seed,
                           r->index, (uint64_t)position, sampled, err));
    f->generated++;
    w->stats.generated_tokens++;
    sonde_row_labels label = {.logprob = NAN, .entropy = NAN, .rank = -1};
    if (r->label_next) label = sonde_run_label_row(w->run, f->item, *sampled);
    bool stop = false;
    if (callbacks->token)
        SONDE_TRY(callbacks->token(callbacks->context, r->user, position, *sampled, label, &stop,
                                   err));
    for (int64_t i = 0; i < r->n_stop; i++) stop = stop || r->stop[i] == *sampled;
    *ended = stop || f->generated >= f->max_new;
    *finish = stop                     ? SONDE_FINISH_STOPPED
              : f->max_new < r->max_new ? SONDE_FINISH_CUT
                                        : SONDE_FINISH_DONE;
    return SONDE_OK;
}

/* After a step: labels, sampling and the end of one flight. */
static sonde_status advance(worker *w, flight *f, bool *ended, sonde_error *err)
{
    sonde_finish finish = SONDE_FINISH_DONE;
    int64_t before = sonde_sequence_length(f->sequence) - f->count;
    SONDE_TRY(give_labels(w, f, before, err));
    f->ran = SONDE_MIN(before + f->count, f->request.n_tokens);
    sonde_schedule_see(w, f, before + f->count);
    *ended = false;
    if (f->ran < f->request.n_tokens) return SONDE_OK;
    *ended = true;
    if (f->max_new > 0) SONDE_TRY(sample_next(w, f, ended, &finish, err));
    if (!*ended) return SONDE_OK;
    w->stats.sequences++;
    const sonde_schedule_callbacks *callbacks = w->shared->callbacks;
    if (!callbacks->done) return SONDE_OK;
    return callbacks->done(callbacks->context, f->request.user, finish, err);
}

static uint64_t lowest_index(const worker *w)
{
    uint64_t lowest = UINT64_MAX - 1;
    for (int32_t i = 0; i < w->n_flights; i++)
        if (w->flights[i]->count > 0) lowest = SONDE_MIN(lowest, w->flights[i]->request.index);
    return lowest;
}

static bool run_items(worker *w, int32_t n_items)
{
    sonde_error error = {0};
    if (sonde_run_step(w->run, w->items, n_items, &error) == SONDE_OK) return true;
    uint64_t index = lowest_index(w);
    sonde_schedule_fail(w->shared, index, &error);
    sonde_schedule_drop_from(w, index);
    return false;
}

static void run_again(worker *w, int32_t n_items)
{
    sonde_run_mute(w->run, true);
    bool good = run_items(w, n_items);
    sonde_run_mute(w->run, false);
    for (int32_t i = 0; good && i < w->n_flights; i++) {
        flight *f = w->flights[i];
        if (f->count == 0) continue;
        f->ran = SONDE_MIN(sonde_sequence_length(f->sequence), f->request.n_tokens);
        w->stats.rows_again += (uint64_t)f->count;
    }
}

static void run_ahead(worker *w, int32_t n_items)
{
    sonde_error error = {0};
    if (!run_items(w, n_items)) return;
    for (int32_t i = 0; i < w->n_flights; i++) {
        flight *f = w->flights[i];
        if (f->count == 0) continue;
        bool ended = false;
        if (advance(w, f, &ended, &error) != SONDE_OK) {
            sonde_schedule_fail(w->shared, f->request.index, &error);
            ended = true;
        }
        if (ended) sonde_schedule_remove(w, i--);
    }
}

bool sonde_schedule_step(worker *w)
{
    int32_t n_items = build_again(w);
    if (n_items > 0) {
        run_again(w, n_items);
    } else {
        n_items = build_items(w);
        if (n_items > 0) run_ahead(w, n_items);
        else sonde_schedule_unblock(w);
    }
    if (n_items > 0) sonde_schedule_wake(w->shared);
    return n_items > 0;
}
