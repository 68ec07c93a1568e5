/* schedule.c - sequences over workers: handing out, failing, winding down. */
#include "schedule_internal.h"

#include "core/cpu.h"

#include <string.h>

#define WAIT_NS 50000000L /* longest sleep of an idle worker before it asks `next` again */

/* ---- shared ------------------------------------------------------------------------------------- */

void sonde_schedule_fail(shared_state *shared, uint64_t index, const sonde_error *error)
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

/* *changes: what wait_for_change is told later. */
static bool winding_down(shared_state *shared, uint64_t *limit, uint64_t *changes)
{
    const sonde_schedule_callbacks *callbacks = shared->callbacks;
    pthread_mutex_lock(&shared->lock);
    if (!shared->cancelled && callbacks->cancelled && callbacks->cancelled(callbacks->context)) {
        shared->cancelled = true;
        pthread_cond_broadcast(&shared->changed);
    }
    bool down = shared->cancelled || shared->failed;
    *limit = shared->cancelled ? 0 : shared->failed ? shared->failed_index : UINT64_MAX;
    *changes = shared->n_changes;
    pthread_mutex_unlock(&shared->lock);
    return down;
}

void sonde_schedule_wake(shared_state *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->n_changes++;
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
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
            shared->n_changes++;
            pthread_cond_broadcast(&shared->changed);
        }
    }
    pthread_mutex_unlock(&shared->lock);
    return what;
}

/* Sleeps unless something changed since `changes` was read. */
static void wait_for_change(shared_state *shared, uint64_t changes)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT_NS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&shared->lock);
    if (shared->n_changes == changes && !shared->failed && !shared->cancelled)
        pthread_cond_timedwait(&shared->changed, &shared->lock, &until);
    pthread_mutex_unlock(&shared->lock);
}

/* ---- flights ------------------------------------------------------------------------------------ */

static void free_flight(flight *f)
{
    sonde_free(f->made);
    sonde_free(f);
}

void sonde_schedule_remove(worker *w, int32_t at)
{
    flight *f = w->flights[at];
    for (int32_t i = at; i + 1 < w->n_flights; i++) w->flights[i] = w->flights[i + 1];
    w->n_flights--;
    sonde_schedule_close(w, f);
    free_flight(f);
}

void sonde_schedule_see(worker *w, flight *f, int64_t n)
{
    int64_t prompt = f->request.n_tokens;
    if (n <= f->seen) return;
    w->stats.prompt_tokens += (uint64_t)(SONDE_MIN(n, prompt) - SONDE_MIN(f->seen, prompt));
    f->seen = n;
}

/* Rows at the beginning of a prompt that nobody wants: never the last, which is sampled from. */
static int64_t count_unwanted(const shared_state *shared, const sonde_request *r)
{
    int64_t n = 0;
    while (n < r->n_tokens - 1 && (!shared->shows || (r->keep && !r->keep[n]))) n++;
    return shared->labels ? 0 : n;
}

static sonde_status admit(worker *w, const sonde_request *request, sonde_error *err)
{
    flight *f = sonde_alloc(1, sizeof *f);
    if (!f) return sonde_no_memory(err, "a sequence in flight", sizeof *f);
    f->request = *request;
    int64_t limit = w->shared->max_positions;
    if (request->n_tokens < 1 || request->n_tokens > limit) {
        sonde_free(f);
        return sonde_fail(err, SONDE_BAD_PROMPT, "sequence %llu has %lld tokens: expected 1 to %lld",
                          (unsigned long long)request->index, (long long)request->n_tokens,
                          (long long)limit);
    }
    /* The last sampled token is never run: it needs no position. */
    f->max_new = SONDE_MIN(SONDE_MAX(request->max_new, 0), limit - request->n_tokens + 1);
    f->unwanted = count_unwanted(w->shared, request);
    sonde_status status = sonde_schedule_check_fits(w->shared, f, err);
    if (status != SONDE_OK) {
        free_flight(f);
        return status;
    }
    w->flights[w->n_flights++] = f;
    return SONDE_OK;
}

/* Rows that the flights can give to the next step; none that waits for pages or a prefix. */
static int64_t rows_at_hand(const worker *w, bool *all_begun)
{
    int64_t rows = 0;
    *all_begun = true;
    for (int32_t i = 0; i < w->n_flights; i++) {
        const flight *f = w->flights[i];
        int64_t left = f->request.n_tokens - f->ran;
        if (!f->sequence) *all_begun = false;
        if (f->settled) rows += left > 0 ? SONDE_MIN(left, w->shared->options.chunk) : 1;
    }
    return rows;
}

/* Takes in sequences while there is room; *more false when the source has ended. */
static void admit_sequences(worker *w, bool *more)
{
    bool all_begun;
    sonde_schedule_begin_flights(w);
    int64_t rows = rows_at_hand(w, &all_begun);
    while (*more && all_begun && w->n_flights < w->shared->options.batch_sequences &&
           rows < w->shared->options.batch_tokens) {
        sonde_request request;
        sonde_next what = ask_next(w->shared, &request);
        if (what == SONDE_NEXT_END) *more = false;
        if (what != SONDE_NEXT_GIVEN) return;
        sonde_error error = {0};
        if (admit(w, &request, &error) != SONDE_OK) {
            sonde_schedule_fail(w->shared, request.index, &error);
            return;
        }
        sonde_schedule_begin_flights(w);
        rows = rows_at_hand(w, &all_begun);
    }
}

void sonde_schedule_drop_from(worker *w, uint64_t limit)
{
    for (int32_t i = w->n_flights - 1; i >= 0; i--)
        if (w->flights[i]->request.index >= limit) sonde_schedule_remove(w, i);
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
    while (sonde_schedule_goes_on(w, more)) {
        uint64_t limit, changes;
        if (winding_down(w->shared, &limit, &changes)) sonde_schedule_drop_from(w, limit);
        sonde_schedule_borrow(w);
        admit_sequences(w, &more);
        if (sonde_schedule_hand_over(w, more)) return;
        bool ran = w->n_flights > 0 && sonde_schedule_step(w);
        if (!ran && (more || w->n_flights > 0)) wait_for_change(w->shared, changes);
    }
}

static sonde_status worker_open(worker *w, tap_context *tap_of, sonde_error *err)
{
    const sonde_schedule_options *options = &w->shared->options;
    sonde_run_options run_options = {.threads = options->threads, .kv = w->shared->kv};
    if (w->shared->callbacks->point) {
        run_options.tap = tap;
        run_options.tap_context = tap_of;
    }
    w->threads = options->threads;
    SONDE_TRY(sonde_run_create(w->shared->plan, &run_options, &w->run, err));
    sonde_model_info info;
    sonde_model_info_get(sonde_plan_model(w->shared->plan), &info);
    SONDE_TRY(sonde_sampler_create(info.vocab, &w->sampler, err));
    size_t most = (size_t)w->shared->most_flights;
    w->flights = sonde_alloc(most, sizeof *w->flights);
    w->items = sonde_alloc(most, sizeof *w->items);
    if (w->flights && w->items) return SONDE_OK;
    return sonde_no_memory(err, "a worker's batch", most * 64);
}

static void add_run_stats(sonde_run_stats *sum, const sonde_run_stats *add)
{
    sum->steps += add->steps;
    sum->rows += add->rows;
    sum->kernel_calls += add->kernel_calls;
    sum->prefill_ns += add->prefill_ns;
    sum->decode_ns += add->decode_ns;
    sum->hook_ns += add->hook_ns;
    for (size_t i = 0; i < SONDE_COUNT(sum->step_ns); i++) sum->step_ns[i] += add->step_ns[i];
}

static void worker_close(worker *w)
{
    shared_state *shared = w->shared;
    while (w->n_flights > 0) sonde_schedule_remove(w, w->n_flights - 1);
    pthread_mutex_lock(&shared->lock);
    shared->reports[w->index].at_end = true;
    if (w->run) {
        sonde_run_stats run_stats;
        sonde_run_stats_get(w->run, &run_stats);
        add_run_stats(&shared->stats.run, &run_stats);
    }
    shared->stats.prompt_tokens += w->stats.prompt_tokens;
    shared->stats.generated_tokens += w->stats.generated_tokens;
    shared->stats.sequences += w->stats.sequences;
    shared->stats.preempted += w->stats.preempted;
    shared->stats.rows_again += w->stats.rows_again;
    shared->stats.handed += w->stats.handed;
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
    else sonde_schedule_fail(start->shared, 0, &error);
    worker_close(&w);
    return NULL;
}

/* Starts all workers but the first, runs the first here, joins. */
static void run_workers(shared_state *shared, worker_start *starts, pthread_t *threads)
{
    int started = 1;
    while (started < shared->options.workers &&
           pthread_create(&threads[started], NULL, worker_main, &starts[started]) == 0)
        started++;
    pthread_mutex_lock(&shared->lock);
    for (int i = started; i < shared->options.workers; i++) shared->reports[i].at_end = true;
    pthread_mutex_unlock(&shared->lock);
    worker_main(&starts[0]);
    for (int i = 1; i < started; i++) pthread_join(threads[i], NULL);
}

/* A plan may hold fewer rows than were asked for (ragged points). */
static void set_limits(shared_state *shared, const sonde_schedule_options *options)
{
    sonde_plan_info info;
    sonde_plan_info_get(shared->plan, &info);
    shared->max_positions = info.max_positions;
    shared->most_flights = info.max_sequences;
    shared->options = *options;
    sonde_schedule_options *o = &shared->options;
    o->workers = SONDE_MAX(o->workers, 1);
    o->threads = SONDE_MAX(o->threads, 1);
    o->batch_tokens = SONDE_MAX(SONDE_MIN(o->batch_tokens, info.batch_rows), 1);
    o->batch_sequences = SONDE_MAX(SONDE_MIN(o->batch_sequences, info.max_sequences), 1);
    if (o->n_sequences > 0)
        o->batch_sequences = SONDE_MIN(o->batch_sequences,
                                       (o->n_sequences + o->workers - 1) / o->workers);
    o->chunk = SONDE_MAX(o->chunk, 1);
}

static sonde_status open_shared(shared_state *shared, sonde_error *err)
{
    const sonde_plan *plan = shared->plan;
    size_t n = (size_t)shared->options.workers, most = (size_t)shared->most_flights;
    shared->reports = sonde_alloc(n, sizeof *shared->reports);
    if (!shared->reports) return sonde_no_memory(err, "the workers", n * sizeof *shared->reports);
    for (size_t i = 0; i < n; i++) {
        shared->reports[i] = (worker_report){.oldest = UINT64_MAX, .rows = -1};
        shared->reports[i].handed = sonde_alloc(most, sizeof(flight *));
        if (!shared->reports[i].handed)
            return sonde_no_memory(err, "the workers", most * sizeof(flight *));
    }
    shared->starved = UINT64_MAX;
    sonde_plan_wants(plan, &shared->shows, &shared->writes, &shared->labels);
    return sonde_kv_create(plan, shared->options.kv_bytes, &shared->kv, err);
}

static sonde_status outcome(const shared_state *shared, sonde_error *err)
{
    if (shared->failed)
        return sonde_fail(err, shared->failure.status, "%s", shared->failure.message);
    return shared->cancelled ? sonde_fail(err, SONDE_INTERRUPTED, "interrupted") : SONDE_OK;
}

sonde_status sonde_schedule_run(const sonde_plan *plan, const sonde_schedule_options *options,
                                const sonde_schedule_callbacks *callbacks,
                                sonde_schedule_stats *stats, sonde_error *err)
{
    shared_state shared = {.plan = plan, .callbacks = callbacks};
    set_limits(&shared, options);
    size_t n = (size_t)shared.options.workers;
    worker_start *starts = sonde_alloc(n, sizeof *starts);
    pthread_t *threads = sonde_alloc(n, sizeof *threads);
    sonde_status status = starts && threads ? open_shared(&shared, err)
                                            : sonde_no_memory(err, "the workers", n * sizeof *starts);
    if (status == SONDE_OK) {
        pthread_mutex_init(&shared.lock, NULL);
        pthread_cond_init(&shared.changed, NULL);
        for (size_t i = 0; i < n; i++) starts[i] = (worker_start){&shared, (int)i};
        run_workers(&shared, starts, threads);
        pthread_cond_destroy(&shared.changed);
        pthread_mutex_destroy(&shared.lock);
        sonde_kv_stats_get(shared.kv, &shared.stats.kv);
        status = outcome(&shared, err);
    }
    if (stats) *stats = shared.stats;
    sonde_kv_destroy(&shared.kv);
    for (size_t i = 0; shared.reports && i < n; i++) sonde_free(shared.reports[i].handed);
    sonde_free(shared.reports);
    sonde_free(starts);
    sonde_free(threads);
    return status;
}

/* A generated token of few rows costs a worker as much more as so many prompt tokens cost two threads. */
#define PROMPT_FOR_NEW 6

/* Would the last sequences leave cores idle for more than a twentieth of the run? */
static bool ends_unevenly(int64_t n_sequences, int64_t cores)
{
    if (n_sequences < 0) return false;
    int64_t turns = (n_sequences + cores - 1) / cores;
    return (turns * cores - n_sequences) * 20 > turns * cores;
}

void sonde_schedule_auto(const sonde_schedule_work *work, int32_t *workers, int32_t *threads,
                         char why[160])
{
    int32_t cores = work->cores > 0 ? work->cores : sonde_cpu_count();
    int64_t n = work->n_sequences, rows = work->batch_sequences;
    if (n >= 0 && n < rows * cores) rows = (n + cores - 1) / cores;
    bool decodes = work->max_new > 1 && rows < SONDE_ENOUGH_ROWS &&
                   work->max_new * PROMPT_FOR_NEW > work->prompt_tokens;
    bool together = cores > 1 && (decodes || ends_unevenly(n, cores));
    *workers = together ? 1 : cores;
    *threads = together ? cores : 1;
    char many[40] = "many sequences";
    if (n >= 0) snprintf(many, sizeof many, "%lld sequence%s", (long long)n, n == 1 ? "" : "s");
    if (together && decodes && n != 1)
        snprintf(why, 160, "one worker of %d threads: %s that generate read the weights together", cores,
                 many);
    else if (together)
        snprintf(why, 160, "one worker of %d threads: %s on %d cores", cores, many, cores);
    else
        snprintf(why, 160, "%d one-thread worker%s: %s on %d core%s", cores, cores == 1 ? "" : "s", many,
                 cores, cores == 1 ? "" : "s");
}
