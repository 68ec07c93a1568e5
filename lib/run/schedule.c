/*
 * schedule.c - sequences over workers. One mutex guards what workers share: the source of requests
 * and the first failure. A worker owns everything else it touches.
 */
#include "schedule.h"

#include "core/cpu.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define WAIT_NS 50000000L /* longest sleep of an idle worker before it asks `next` again */

typedef struct shared_state {
    const sonde_plan *plan;
    const sonde_schedule_options *options;
    const sonde_schedule_callbacks *callbacks;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a sequence ended, or the run is winding down */
    bool ended;             /* `next` said END */
    bool cancelled;
    bool failed;
    uint64_t failed_index; /* lowest sequence index of a failure; valid when failed */
    sonde_error failure;
    sonde_schedule_stats stats;
} shared_state;

/* A sequence in flight. */
typedef struct flight {
    sonde_request request;
    sonde_sequence *sequence;
    int64_t ran;        /* tokens of the request that are in the cache */
    int64_t generated;  /* tokens sampled */
    uint32_t pending;   /* the sampled token that runs next (when ran == n_tokens) */
    int64_t count;      /* rows in the step being built; 0: none */
    int32_t item;       /* its item in that step */
    uint8_t keep_one;   /* keep flag of a decode row */
} flight;

typedef struct worker {
    shared_state *shared;
    int index;
    sonde_run *run;
    sonde_sampler *sampler;
    flight **flights; /* [batch_sequences] in order of admission */
    int32_t n_flights;
    sonde_batch_item *items;
    sonde_schedule_stats stats;
} worker;

/* ---- shared ------------------------------------------------------------------------------------- */

static void record_failure(shared_state *shared, uint64_t index, const sonde_error *error)
{
    pthread_mutex_lock(&shared->lock);
    if (!shared->failed || index < shared->failed_index) {
        shared->failed = true;
        shared->failed_index = index;
        shared->failure = *error;
    }
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
}

static bool winding_down(shared_state *shared, uint64_t *limit)
{
    const sonde_schedule_callbacks *callbacks = shared->callbacks;
    pthread_mutex_lock(&shared->lock);
    if (!shared->cancelled && callbacks->cancelled && callbacks->cancelled(callbacks->context)) {
        shared->cancelled = true;
        pthread_cond_broadcast(&shared->changed);
    }
    bool down = shared->cancelled || shared->failed;
    *limit = shared->cancelled ? 0 : shared->failed ? shared->failed_index : UINT64_MAX;
    pthread_mutex_unlock(&shared->lock);
    return down;
}

/* Asks for one more request; GIVEN, LATER or END. A failure of `next` is recorded and reads END. */
static sonde_next ask_next(shared_state *shared, sonde_request *request)
{
    sonde_next what = SONDE_NEXT_END;
    sonde_error error = {0};
    pthread_mutex_lock(&shared->lock);
    if (!shared->ended && !shared->failed && !shared->cancelled) {
        memset(request, 0, sizeof *request);
        sonde_status status =
            shared->callbacks->next(shared->callbacks->context, request, &what, &error);
        if (status != SONDE_OK) {
            shared->failed = true;
            shared->failed_index = UINT64_MAX - 1;
            shared->failure = error;
            what = SONDE_NEXT_END;
        }
        if (what == SONDE_NEXT_END) {
            shared->ended = true;
            pthread_cond_broadcast(&shared->changed);
        }
    }
    pthread_mutex_unlock(&shared->lock);
    return what;
}

static void wait_for_change(shared_state *shared)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT_NS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&shared->lock);
    if (!shared->ended && !shared->failed && !shared->cancelled)
        pthread_cond_timedwait(&shared->changed, &shared->lock, &until);
    pthread_mutex_unlock(&shared->lock);
}

/* ---- flights ------------------------------------------------------------------------------------ */

static void flight_destroy(flight *f)
{
    sonde_sequence_destroy(&f->sequence);
    sonde_free(f);
}

static void remove_flight(worker *w, int32_t at)
{
    flight_destroy(w->flights[at]);
    for (int32_t i = at; i + 1 < w->n_flights; i++) w->flights[i] = w->flights[i + 1];
    w->n_flights--;
}

static sonde_status admit(worker *w, const sonde_request *request, sonde_error *err)
{
    flight *f = sonde_alloc(1, sizeof *f);
    if (!f) return sonde_no_memory(err, "a sequence in flight", sizeof *f);
    f->request = *request;
    int64_t positions = request->n_tokens + (request->max_new > 0 ? request->max_new - 1 : 0);
    sonde_status status = sonde_sequence_create(w->run, positions, request->n_tokens, request->user,
                                                &f->sequence, err);
    if (status != SONDE_OK) {
        sonde_free(f);
        return status;
    }
    w->flights[w->n_flights++] = f;
    return SONDE_OK;
}

/* Takes in sequences while there is room; *more false when the source has ended. */
static void admit_sequences(worker *w, bool *more)
{
    int64_t rows = 0;
    for (int32_t i = 0; i < w->n_flights; i++) {
        const sonde_request *r = &w->flights[i]->request;
        int64_t left = r->n_tokens - w->flights[i]->ran;
        rows += left > 0 ? SONDE_MIN(left, w->shared->options->chunk) : 1;
    }
    *more = true;
    while (w->n_flights < w->shared->options->batch_sequences &&
           rows < w->shared->options->batch_tokens) {
        sonde_request request;
        sonde_next what = ask_next(w->shared, &request);
        if (what == SONDE_NEXT_END) *more = false;
        if (what != SONDE_NEXT_GIVEN) return;
        sonde_error error = {0};
        if (admit(w, &request, &error) != SONDE_OK) {
            record_failure(w->shared, request.index, &error);
            return;
        }
        rows += SONDE_MIN(request.n_tokens, w->shared->options->chunk);
    }
}

/* ---- one step ------------------------------------------------------------------------------------- */

static void add_item(worker *w, flight *f, int32_t *n_items, const uint32_t *tokens, int64_t count,
                     const uint8_t *keep, bool want_logits)
{
    f->item = *n_items;
    f->count = count;
    sonde_batch_item *item = &w->items[(*n_items)++];
    item->sequence = f->sequence;
    item->tokens = tokens;
    item->count = count;
    item->keep = keep;
    item->want_logits = want_logits;
}

static void add_decode(worker *w, flight *f, int32_t *n_items)
{
    f->keep_one = f->request.keep_generated ? 1 : 0;
    add_item(w, f, n_items, &f->pending, 1, &f->keep_one, true);
}

static void add_prefill(worker *w, flight *f, int64_t budget, int32_t *n_items)
{
    const sonde_request *r = &f->request;
    int64_t left = r->n_tokens - f->ran;
    int64_t count = SONDE_MIN(SONDE_MIN(left, w->shared->options->chunk), budget);
    if (count <= 0) return;
    bool last = count == left;
    add_item(w, f, n_items, r->tokens + f->ran, count, r->keep ? r->keep + f->ran : NULL,
             last && r->max_new > 0);
}

/* Decode rows first, the rest of the token budget to prefill in order of admission. */
static int32_t build_items(worker *w)
{
    int64_t budget = w->shared->options->batch_tokens;
    int32_t n_items = 0;
    for (int32_t i = 0; i < w->n_flights; i++) {
        flight *f = w->flights[i];
        f->count = 0;
        if (f->ran < f->request.n_tokens || budget == 0) continue;
        add_decode(w, f, &n_items);
        budget--;
    }
    for (int32_t i = 0; i < w->n_flights && budget > 0; i++) {
        flight *f = w->flights[i];
        if (f->ran >= f->request.n_tokens) continue;
        add_prefill(w, f, budget, &n_items);
        budget -= f->count;
    }
    return n_items;
}

static sonde_status give_labels(worker *w, flight *f, int64_t first_row, int64_t before,
                                sonde_error *err)
{
    const sonde_schedule_callbacks *callbacks = w->shared->callbacks;
    const sonde_row_labels *labels = sonde_run_labels(w->run);
    if (!labels || !callbacks->labels) return SONDE_OK;
    int64_t count = f->count - 1;
    if (count > 0)
        SONDE_TRY(callbacks->labels(callbacks->context, f->request.user, before, count,
                                    labels + first_row, err));
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
    SONDE_TRY(sonde_sample(w->sampler, sonde_run_logits(w->run, f->item), &r->sampling, r->seed,
                           r->index, (uint64_t)position, &f->pending, err));
    f->generated++;
    w->stats.generated_tokens++;
    sonde_row_labels label = {.logprob = NAN, .entropy = NAN, .rank = -1};
    if (r->label_next) label = sonde_run_label_row(w->run, f->item, f->pending);
    bool stop = false;
    if (callbacks->token)
        SONDE_TRY(callbacks->token(callbacks->context, r->user, position, f->pending, label, &stop,
                                   err));
    for (int64_t i = 0; i < r->n_stop; i++) stop = stop || r->stop[i] == f->pending;
    *ended = stop || f->generated >= r->max_new;
    *finish = stop ? SONDE_FINISH_STOPPED : SONDE_FINISH_DONE;
    return SONDE_OK;
}

/* After a step: labels, sampling and the end of one flight. */
static sonde_status advance(worker *w, flight *f, int64_t first_row, bool *ended, sonde_error *err)
{
    sonde_finish finish = SONDE_FINISH_DONE;
    int64_t before = sonde_sequence_length(f->sequence) - f->count;
    SONDE_TRY(give_labels(w, f, first_row, before, err));
    if (f->ran < f->request.n_tokens) {
        f->ran += f->count;
        w->stats.prompt_tokens += (uint64_t)f->count;
    }
    *ended = false;
    if (f->ran < f->request.n_tokens) return SONDE_OK;
    *ended = true;
    if (f->request.max_new > 0) SONDE_TRY(sample_next(w, f, ended, &finish, err));
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

static void drop_flights_from(worker *w, uint64_t limit)
{
    for (int32_t i = w->n_flights - 1; i >= 0; i--)
        if (w->flights[i]->request.index >= limit) remove_flight(w, i);
}

static void wake_others(shared_state *shared)
{
    pthread_mutex_lock(&shared->lock);
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
}

/* Decode rows come first in a batch, then prefill: the order in which items were made. */
static void step(worker *w)
{
    sonde_error error = {0};
    int32_t n_items = build_items(w);
    if (n_items == 0) return;
    if (sonde_run_step(w->run, w->items, n_items, &error) != SONDE_OK) {
        uint64_t index = lowest_index(w);
        record_failure(w->shared, index, &error);
        drop_flights_from(w, index);
        return;
    }
    bool any_ended = false;
    for (int32_t i = 0; i < w->n_flights; i++) {
        flight *f = w->flights[i];
        if (f->count == 0) continue;
        int64_t first_row = 0;
        for (int32_t item = 0; item < f->item; item++) first_row += w->items[item].count;
        bool ended = false;
        if (advance(w, f, first_row, &ended, &error) != SONDE_OK) {
            record_failure(w->shared, f->request.index, &error);
            ended = true;
        }
        if (!ended) continue;
        remove_flight(w, i--);
        any_ended = true;
    }
    if (any_ended) wake_others(w->shared);
}

/* ---- workers ---------------------------------------------------------------------------------------- */

typedef struct tap_context {
    const sonde_schedule_callbacks *callbacks;
    int worker;
} tap_context;

static sonde_status tap(void *context, const sonde_tap_view *view, sonde_error *err)
{
    tap_context *c = context;
    return c->callbacks->point(c->callbacks->context, c->worker, view, err);
}

static void run_loop(worker *w)
{
    bool more = true;
    while (more || w->n_flights > 0) {
        uint64_t limit;
        if (winding_down(w->shared, &limit)) drop_flights_from(w, limit);
        admit_sequences(w, &more);
        if (w->n_flights > 0) step(w);
        else if (more) wait_for_change(w->shared);
    }
}

static sonde_status worker_open(worker *w, tap_context *tap_of, sonde_error *err)
{
    const sonde_schedule_options *options = w->shared->options;
    sonde_run_options run_options = {.threads = options->threads};
    if (w->shared->callbacks->point) {
        run_options.tap = tap;
        run_options.tap_context = tap_of;
    }
    SONDE_TRY(sonde_run_create(w->shared->plan, &run_options, &w->run, err));
    sonde_model_info info;
    sonde_model_info_get(sonde_plan_model(w->shared->plan), &info);
    SONDE_TRY(sonde_sampler_create(info.vocab, &w->sampler, err));
    w->flights = sonde_alloc((size_t)options->batch_sequences, sizeof *w->flights);
    w->items = sonde_alloc((size_t)options->batch_sequences, sizeof *w->items);
    if (w->flights && w->items) return SONDE_OK;
    return sonde_no_memory(err, "a worker's batch", (size_t)options->batch_sequences * 64);
}

static void add_run_stats(sonde_run_stats *sum, const sonde_run_stats *add)
{
    sum->steps += add->steps;
    sum->rows += add->rows;
    sum->kernel_calls += add->kernel_calls;
    sum->prefill_ns += add->prefill_ns;
    sum->decode_ns += add->decode_ns;
    sum->hook_ns += add->hook_ns;
    sum->kv_bytes_peak += add->kv_bytes_peak;
    for (size_t i = 0; i < SONDE_COUNT(sum->step_ns); i++) sum->step_ns[i] += add->step_ns[i];
}

static void worker_close(worker *w)
{
    shared_state *shared = w->shared;
    while (w->n_flights > 0) remove_flight(w, w->n_flights - 1);
    pthread_mutex_lock(&shared->lock);
    if (w->run) {
        sonde_run_stats run_stats;
        sonde_run_stats_get(w->run, &run_stats);
        add_run_stats(&shared->stats.run, &run_stats);
    }
    shared->stats.prompt_tokens += w->stats.prompt_tokens;
    shared->stats.generated_tokens += w->stats.generated_tokens;
    shared->stats.sequences += w->stats.sequences;
    pthread_mutex_unlock(&shared->lock);
    sonde_sampler_destroy(&w->sampler);
    sonde_run_destroy(&w->run);
    sonde_free(w->flights);
    sonde_free(w->items);
}

typedef struct worker_start {
    shared_state *shared;
    int index;
} worker_start;

static void *worker_main(void *argument)
{
    worker_start *start = argument;
    worker w = {.shared = start->shared, .index = start->index};
    tap_context tap_of = {.callbacks = start->shared->callbacks, .worker = start->index};
    sonde_error error = {0};
    if (worker_open(&w, &tap_of, &error) == SONDE_OK) run_loop(&w);
    else record_failure(start->shared, 0, &error);
    worker_close(&w);
    return NULL;
}

/* Starts all workers but the first, runs the first here, joins. */
static void run_workers(shared_state *shared, worker_start *starts, pthread_t *threads)
{
    int started = 0;
    for (int i = 1; i < shared->options->workers; i++) {
        if (pthread_create(&threads[i], NULL, worker_main, &starts[i]) != 0) break;
        started++;
    }
    worker_main(&starts[0]);
    for (int i = 1; i <= started; i++) pthread_join(threads[i], NULL);
}

sonde_status sonde_schedule_run(const sonde_plan *plan, const sonde_schedule_options *options,
                                const sonde_schedule_callbacks *callbacks,
                                sonde_schedule_stats *stats, sonde_error *err)
{
    shared_state shared = {.plan = plan, .options = options, .callbacks = callbacks};
    size_t n = (size_t)options->workers;
    worker_start *starts = sonde_alloc(n, sizeof *starts);
    pthread_t *threads = sonde_alloc(n, sizeof *threads);
    sonde_status status = SONDE_OK;
    if (!starts || !threads) {
        status = sonde_no_memory(err, "the workers", n * sizeof *starts);
    } else {
        pthread_mutex_init(&shared.lock, NULL);
        pthread_cond_init(&shared.changed, NULL);
        for (size_t i = 0; i < n; i++) starts[i] = (worker_start){&shared, (int)i};
        run_workers(&shared, starts, threads);
        pthread_cond_destroy(&shared.changed);
        pthread_mutex_destroy(&shared.lock);
        if (shared.failed)
            status = sonde_fail(err, shared.failure.status, "%s", shared.failure.message);
        else if (shared.cancelled)
            status = sonde_fail(err, SONDE_INTERRUPTED, "interrupted");
    }
    if (stats) *stats = shared.stats;
    sonde_free(starts);
    sonde_free(threads);
    return status;
}

void sonde_schedule_auto(int64_t n_sequences, int32_t *workers, int32_t *threads, char why[160])
{
    int cores = sonde_cpu_count();
    bool many = n_sequences < 0 || n_sequences >= cores;
    *workers = many ? cores : 1;
    *threads = many ? 1 : cores;
    if (many)
        snprintf(why, 160, "%d one-thread workers: at least as many sequences as cores", cores);
    else
        snprintf(why, 160, "one worker of %d threads: %lld sequence%s on %d cores", cores,
                 (long long)n_sequences, n_sequences == 1 ? "" : "s", cores);
}
