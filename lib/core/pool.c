/*
 * pool.c - threads that run one loop together. A new loop bumps `generation`; workers spin a little
 * for it, then sleep. Each thread has a share of neighbouring items and takes it from its front in
 * pieces that get smaller towards the end: what follows a piece is nearly always the same thread's
 * next one. A thread that is done takes half of what another has left, from its end.
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

/* Items [low 32 bits, high 32 bits) that nobody has taken yet, in a cache line of their own. */
typedef struct pool_share {
    alignas(64) _Atomic uint64_t range;
} pool_share;

struct sonde_pool {
    int n_threads, n_started;
    pthread_t *threads;
    pool_share *shares; /* [n_threads] */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic int sleeping;
    _Atomic bool quit;
    /* the loop at hand */
    sonde_pool_function *function;
    void *context;
    int64_t first, grain; /* item 0 of the shares; least piece */
    /* what threads spin on, and what they all write, in cache lines of their own */
    alignas(64) _Atomic uint64_t generation;
    alignas(64) _Atomic int busy;
};

typedef struct pool_thread {
    sonde_pool *pool;
    int index;
} pool_thread;

static uint64_t range_of(int64_t begin, int64_t end)
{
    return (uint64_t)begin | (uint64_t)end << 32;
}

/* Takes from a share: its owner from the front a quarter of what is left, others from the end half
 * of it, at least the grain. */
static bool take(sonde_pool *pool, int from, bool own, int64_t *begin, int64_t *end)
{
    _Atomic uint64_t *share = &pool->shares[from].range;
    uint64_t range = atomic_load(share), rest;
    do {
        int64_t first = (int64_t)(range & UINT32_MAX), last = (int64_t)(range >> 32);
        int64_t left = last - first;
        if (left <= 0) return false;
        int64_t piece = SONDE_MIN(left, SONDE_MAX(pool->grain, left / (own ? 4 : 2)));
        *begin = own ? first : last - piece;
        *end = *begin + piece;
        rest = own ? range_of(*end, last) : range_of(first, *begin);
    } while (!atomic_compare_exchange_weak(share, &range, rest));
    return true;
}

static void claim(sonde_pool *pool, int thread)
{
    int64_t begin, end;
    for (int i = 0; i < pool->n_threads; i++) {
        int from = (thread + i) % pool->n_threads;
        while (take(pool, from, i == 0, &begin, &end))
            pool->function(pool->context, pool->first + begin, pool->first + end, thread);
    }
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
    pool->shares = sonde_alloc((size_t)n_threads, sizeof *pool->shares);
    sonde_status status = pool->threads && pool->shares ? start_threads(pool, err)
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
    sonde_free(pool->shares);
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

/* At most INT32_MAX items. */
static void run_loop(sonde_pool *pool, int64_t first, int64_t n)
{
    pool->first = first;
    for (int t = 0; t < pool->n_threads; t++)
        atomic_store(&pool->shares[t].range,
                     range_of(n * t / pool->n_threads, n * (t + 1) / pool->n_threads));
    atomic_store(&pool->busy, pool->n_threads - 1);
    start_generation(pool);
    claim(pool, 0);
    for (int i = 0; atomic_load(&pool->busy) > 0; i++)
        if (i < SPINS) RELAX();
        else sched_yield();
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
    pool->grain = grain;
    for (int64_t first = 0; first < n; first += INT32_MAX)
        run_loop(pool, first, SONDE_MIN(n - first, INT32_MAX));
}
