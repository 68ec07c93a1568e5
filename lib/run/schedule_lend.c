/*
 * schedule_lend.c - workers that have little left: their threads, and sequences that only decode, go to
 * another worker.
 *
 * A worker at its end lends its threads: those that still run share all threads of the run. Where few
 * sequences decode and none can begin (the source has ended, or the cache has no room), the workers
 * read all weights for a few rows each; then one of them hands its sequences over and ends, so that the
 * rows of both read the weights together.
 */
#include "schedule_internal.h"

/* Takes in what others handed over, in order of admission. Under the lock. */
static void take_handed(worker *w, worker_report *own)
{
    for (int32_t i = 0; i < own->n_handed; i++) {
        flight *f = own->handed[i];
        int32_t at = w->n_flights++;
        for (; at > 0 && w->flights[at - 1]->request.index > f->request.index; at--)
            w->flights[at] = w->flights[at - 1];
        w->flights[at] = f;
        if (f->sequence) sonde_sequence_move(f->sequence, w->run);
    }
    own->n_handed = 0;
}

/* Rows that its flights decode in a step; -1: one of them has other work to do. */
static int64_t decode_rows(const worker *w)
{
    int64_t rows = 0;
    for (int32_t i = 0; i < w->n_flights; i++) {
        const flight *f = w->flights[i];
        bool decodes = f->settled && f->ran == f->request.n_tokens &&
                       sonde_sequence_length(f->sequence) >= f->seen;
        if (f->sequence && !decodes) return -1;
        rows += f->sequence != NULL;
    }
    return rows;
}

bool sonde_schedule_goes_on(worker *w, bool more)
{
    worker_report *own = &w->shared->reports[w->index];
    pthread_mutex_lock(&w->shared->lock);
    take_handed(w, own);
    own->rows = decode_rows(w);
    own->n_flights = more ? SONDE_MAX(w->n_flights, w->shared->options.batch_sequences) : w->n_flights;
    own->at_end = !more && w->n_flights == 0;
    bool goes_on = !own->at_end;
    pthread_mutex_unlock(&w->shared->lock);
    return goes_on;
}

void sonde_schedule_borrow(worker *w)
{
    const shared_state *shared = w->shared;
    int32_t workers = shared->options.workers, running = 0, before = 0;
    if (workers == 1 || !sonde_plan_lends_threads(shared->plan)) return;
    pthread_mutex_lock(&w->shared->lock);
    for (int32_t i = 0; i < workers; i++) {
        running += !shared->reports[i].at_end;
        before += i < w->index && !shared->reports[i].at_end;
    }
    pthread_mutex_unlock(&w->shared->lock);
    int32_t all = workers * shared->options.threads;
    int32_t threads = all / running + (before < all % running);
    if (threads == w->threads) return;
    w->threads = threads;
    sonde_run_set_threads(w->run, threads, NULL); /* a run that gets no more goes on with its own */
}

/* A worker whose few rows, with ours, are still few. Under the lock. */
static worker_report *find_taker(const worker *w, int64_t rows)
{
    const shared_state *shared = w->shared;
    for (int32_t i = 0; i < shared->options.workers; i++) {
        worker_report *r = &shared->reports[i];
        if (i == w->index || r->at_end || r->rows < 0) continue;
        if (r->rows + rows < 2 * SONDE_ENOUGH_ROWS && r->n_flights + w->n_flights <= shared->most_flights)
            return r;
    }
    return NULL;
}

static bool waits_for_room(const worker *w)
{
    return w->n_flights > 0 && !w->flights[w->n_flights - 1]->sequence;
}

bool sonde_schedule_hand_over(worker *w, bool more)
{
    shared_state *shared = w->shared;
    int64_t rows = decode_rows(w);
    if (rows <= 0 || w->starves || (more && !waits_for_room(w))) return false;
    if (!sonde_plan_lends_threads(shared->plan)) return false;
    pthread_mutex_lock(&shared->lock);
    worker_report *own = &shared->reports[w->index], *taker = find_taker(w, rows);
    bool hands = taker && own->n_handed == 0;
    for (int32_t i = 0; hands && i < w->n_flights; i++) taker->handed[taker->n_handed++] = w->flights[i];
    if (hands) {
        w->stats.handed += (uint64_t)w->n_flights;
        taker->rows += rows;
        taker->n_flights += w->n_flights;
        taker->oldest = SONDE_MIN(taker->oldest, own->oldest);
        w->n_flights = 0;
        own->oldest = UINT64_MAX;
        own->at_end = true;
        shared->n_changes++;
        pthread_cond_broadcast(&shared->changed);
    }
    pthread_mutex_unlock(&shared->lock);
    return hands;
}
