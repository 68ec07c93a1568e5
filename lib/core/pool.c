/*
 * pool.c - threads that run one loop together. A new loop bumps `generation`; workers spin a little
 * for it, then sleep. Items are claimed from one atomic counter in pieces that get smaller towards
 * the end: neighbours stay together, and no thread is left with much when the others are done.
 */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#else
#define RELAX() ((void)0)
#endif

#define SPINS 4000

struct sonde_pool {
    int n_threads, n_started;
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic int sleeping;
    _Atomic bool quit;
    /* the loop at hand */
    sonde_pool_function *function;
    void *context;
    int64_t n, grain;
    /* what threads spin on, and what they all write, in cache lines of their own */
    alignas(64) _Atomic uint64_t generation;
    alignas(64) _Atomic int64_t next;
    alignas(64) _Atomic int busy;
};

typedef struct pool_thread {
    sonde_pool *pool;
    int index;
} pool_thread;

/* The next piece, or nothing: a share of what is left, at least the grain. */
static bool take(sonde_pool *pool, int64_t *begin, int64_t *end)
{
    int64_t at = atomic_load(&pool->next);
    do {
        int64_t left = pool->n - at;
        if (left <= 0) return false;
        int64_t piece = SONDE_MAX(pool->grain, left / (4 * pool->n_threads));
        *begin = at;
        *end = at + SONDE_MIN(piece, left);
    } while (!atomic_compare_exchange_weak(&pool->next, &at, *end));
    return true;
}

static void claim(sonde_pool *pool, int thread)
{
    int64_t begin, end;
    while (take(pool, &begin, &end)) pool->function(pool->context, begin, end, thread);
}

static void wait_generation(sonde_pool *pool, uint64_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->generation) != seen) return;
        RELAX();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleeping, 1);
    while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *thread_main(void *argument)
{
    pool_thread self = *(pool_thread *)argument;
    sonde_free(argument);
    uint64_t seen = 0;
    for (;;) {
        wait_generation(self.pool, seen);
        seen++;
        if (atomic_load(&self.pool->quit)) return NULL;
        claim(self.pool, self.index);
        atomic_fetch_sub(&self.pool->busy, 1);
    }
}

/* A worker counts itself as sleeping before it looks at the generation for the last time, and holds
 * the lock from there until it waits: it sees the new one, or is seen here and woken. */
static void start_generation(sonde_pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleeping) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static sonde_status start_threads(sonde_pool *pool, sonde_error *err)
{
    for (int i = 1; i < pool->n_threads; i++) {
        pool_thread *start = sonde_alloc(1, sizeof *start);
        if (!start) return sonde_no_memory(err, "a thread", sizeof *start);
        *start = (pool_thread){pool, i};
        if (pthread_create(&pool->threads[i], NULL, thread_main, start) != 0) {
            sonde_free(start);
            return sonde_fail(err, SONDE_NO_MEMORY, "cannot start thread %d of %d", i + 1,
                              pool->n_threads);
        }
        pool->n_started++;
    }
    return SONDE_OK;
}

sonde_status sonde_pool_create(int n_threads, sonde_pool **out, sonde_error *err)
{
    sonde_pool *pool = sonde_alloc(1, sizeof *pool);
    if (!pool) return sonde_no_memory(err, "a thread pool", sizeof *pool);
    pool->n_threads = n_threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = sonde_alloc((size_t)n_threads, sizeof *pool->threads);
    sonde_status status = pool->threads ? start_threads(pool, err)
                                        : sonde_no_memory(err, "a thread pool", 64);
    if (status == SONDE_OK) *out = pool;
    else sonde_pool_destroy(&pool);
    return status;
}

void sonde_pool_destroy(sonde_pool **out)
{
    sonde_pool *pool = *out;
    if (!pool) return;
    atomic_store(&pool->quit, true);
    start_generation(pool);
    for (int i = 1; i <= pool->n_started; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    sonde_free(pool->threads);
    sonde_free(pool);
    *out = NULL;
}

int sonde_pool_threads(const sonde_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

int64_t sonde_pool_grain(const sonde_pool *pool, int64_t n)
{
    return SONDE_MAX(1, n / (sonde_pool_threads(pool) * 32));
}

void sonde_pool_for(sonde_pool *pool, int64_t n, int64_t grain, sonde_pool_function *function,
                    void *context)
{
    if (n <= 0) return;
    if (!pool || pool->n_threads == 1 || n <= grain) {
        function(context, 0, n, 0);
        return;
    }
    pool->function = function;
    pool->context = context;
    pool->n = n;
    pool->grain = grain;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->busy, pool->n_threads - 1);
    start_generation(pool);
    claim(pool, 0);
    for (int i = 0; atomic_load(&pool->busy) > 0; i++)
        if (i < SPINS) RELAX();
        else sched_yield();
}
