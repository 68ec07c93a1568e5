/*
 * schedule_pages.c - who holds pages of the cache: beginning, waiting, giving up.
 *
 * A flight that finds no page takes them from the youngest flights of its worker that come after it.
 * The first of a worker has nobody to take from: unless it is the first of all workers it gives up its
 * own, so that those before it can go on. The first of all waits, and meanwhile no other begins; it
 * fits alone, so that every run ends.
 */
#include "schedule_internal.h"

static int64_t positions_of(const flight *f)
{
    return f->request.n_tokens + (f->max_new > 0 ? f->max_new - 1 : 0);
}

static uint64_t page_bytes(const shared_state *shared)
{
    sonde_plan_info info;
    sonde_plan_info_get(shared->plan, &info);
    return info.kv_bytes_per_page_all_layers;
}

sonde_status sonde_schedule_check_fits(const shared_state *shared, const flight *f, sonde_error *err)
{
    uint64_t blocks = (uint64_t)sonde_plan_kv_blocks(shared->plan, positions_of(f));
    uint64_t most = sonde_kv_limit(shared->kv);
    if (blocks <= most) return SONDE_OK;
    char needed[32], there[32];
    uint64_t bytes = page_bytes(shared);
    return sonde_fail(err, SONDE_TOO_BIG, "sequence %llu: a KV cache of %lld positions takes %s, there "
                      "is room for %s", (unsigned long long)f->request.index,
                      (long long)positions_of(f), sonde_format_bytes(blocks * bytes, needed),
                      sonde_format_bytes(shared->options.kv_bytes, there));
}

/* ---- between workers -------------------------------------------------------------------------------- */

static void tell_oldest(worker *w)
{
    uint64_t oldest = UINT64_MAX;
    for (int32_t i = 0; i < w->n_flights; i++)
        if (w->flights[i]->sequence) oldest = SONDE_MIN(oldest, w->flights[i]->request.index);
    pthread_mutex_lock(&w->shared->lock);
    w->shared->reports[w->index].oldest = oldest;
    pthread_mutex_unlock(&w->shared->lock);
}

static bool is_first_of_all(shared_state *shared, uint64_t index)
{
    bool first = true;
    pthread_mutex_lock(&shared->lock);
    for (int32_t i = 0; i < shared->options.workers; i++)
        first = first && shared->reports[i].oldest >= index;
    pthread_mutex_unlock(&shared->lock);
    return first;
}

static void set_starved(shared_state *shared, uint64_t index)
{
    pthread_mutex_lock(&shared->lock);
    shared->starved = index;
    pthread_mutex_unlock(&shared->lock);
}

static bool others_starve(shared_state *shared, uint64_t index)
{
    pthread_mutex_lock(&shared->lock);
    bool starve = shared->starved < index;
    pthread_mutex_unlock(&shared->lock);
    return starve;
}

/* ---- beginning and giving up ------------------------------------------------------------------------ */

void sonde_schedule_close(worker *w, flight *f)
{
    sonde_sequence_destroy(&f->sequence);
    if (f->committed > 0) sonde_kv_uncommit(w->shared->kv, f->committed);
    f->committed = 0;
    f->settled = false;
    f->ran = 0;
    if (w->starves) set_starved(w->shared, UINT64_MAX);
    w->starves = false;
    tell_oldest(w);
}

static void give_up(worker *w, flight *f)
{
    if (sonde_sequence_blocks(f->sequence) > 0) w->stats.preempted++;
    sonde_schedule_close(w, f);
}

/* Has the cache room for a flight to begin? *room is what is left within the limit. */
static bool has_room(worker *w, flight *f, uint64_t *room)
{
    sonde_kv *kv = w->shared->kv;
    int64_t all = positions_of(f), soon = SONDE_MIN(SONDE_MAX(f->request.n_tokens, f->seen + 1), all);
    if (w->shared->writes) {
        f->committed = sonde_plan_kv_blocks(w->shared->plan, all);
        if (sonde_kv_commit(kv, f->committed)) return true;
        f->committed = 0;
        return false;
    }
    uint64_t need = (uint64_t)sonde_plan_kv_blocks(w->shared->plan, soon);
    bool alone = sonde_kv_held(kv) == 0;
    if (others_starve(w->shared, f->request.index) || (need > *room && !alone)) return false;
    *room -= SONDE_MIN(need, *room);
    return true;
}

static void share(worker *w, flight *f)
{
    const sonde_request *r = &f->request;
    bool wait;
    int64_t most = SONDE_MAX(f->unwanted, SONDE_MIN(f->seen, r->n_tokens));
    sonde_sequence_share(f->sequence, r->tokens, r->n_tokens, most, &wait);
    f->settled = !wait;
    f->ran = sonde_sequence_length(f->sequence);
    sonde_schedule_see(w, f, f->ran);
}

static sonde_status begin(worker *w, flight *f, sonde_error *err)
{
    SONDE_TRY(sonde_sequence_create(w->run, positions_of(f), f->request.n_tokens, f->request.user,
                                    &f->sequence, err));
    tell_oldest(w);
    return SONDE_OK;
}

void sonde_schedule_begin_flights(worker *w)
{
    sonde_error error = {0};
    uint64_t room = sonde_kv_room(w->shared->kv);
    for (int32_t i = 0; i < w->n_flights; i++) {
        flight *f = w->flights[i];
        if (!f->sequence && !has_room(w, f, &room)) return;
        if (!f->sequence && begin(w, f, &error) != SONDE_OK) {
            sonde_schedule_fail(w->shared, f->request.index, &error);
            return;
        }
        if (!f->settled) share(w, f);
    }
}

/* ---- when none is left -------------------------------------------------------------------------------- */

static flight *youngest_behind(const worker *w, const flight *f)
{
    for (int32_t i = w->n_flights - 1; i >= 0 && w->flights[i] != f; i--)
        if (w->flights[i]->sequence && w->flights[i]->settled && w->flights[i]->count == 0)
            return w->flights[i];
    return NULL;
}

bool sonde_schedule_reserve(worker *w, flight *f, int64_t count)
{
    while (sonde_sequence_reserve(f->sequence, count, NULL) != SONDE_OK) {
        flight *victim = w->shared->writes ? NULL : youngest_behind(w, f);
        if (!victim) return false;
        give_up(w, victim);
    }
    if (w->starves) set_starved(w->shared, UINT64_MAX);
    w->starves = false;
    return true;
}

static void starve(worker *w, flight *f)
{
    sonde_error error = {0};
    uint64_t own = (uint64_t)sonde_sequence_blocks(f->sequence);
    if (w->shared->writes || sonde_kv_held(w->shared->kv) <= own) {
        sonde_no_memory(&error, "the KV cache", (own + 1) * page_bytes(w->shared));
        sonde_schedule_fail(w->shared, f->request.index, &error);
        return;
    }
    set_starved(w->shared, f->request.index);
    w->starves = true;
}

void sonde_schedule_unblock(worker *w)
{
    flight *f = NULL;
    for (int32_t i = 0; i < w->n_flights && !f; i++)
        if (w->flights[i]->sequence && w->flights[i]->settled) f = w->flights[i];
    if (!f) return;
    if (w->shared->writes || is_first_of_all(w->shared, f->request.index)) {
        starve(w, f);
    } else {
        give_up(w, f);
        sonde_schedule_wake(w->shared);
    }
}
