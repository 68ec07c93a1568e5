/*
 * pool.h - a fixed set of threads that run one loop together. The caller is one of the threads.
 * Work items are claimed dynamically; which thread runs which item never decides a bit, because
 * items only divide outputs.
 */
#ifndef SONDE_CORE_POOL_H
#define SONDE_CORE_POOL_H

#include "core.h"

typedef struct sonde_pool sonde_pool;

/* Runs items [begin, end); `thread` in [0, n_threads) picks per-thread scratch. */
typedef void sonde_pool_function(void *context, int64_t begin, int64_t end, int thread);

/* n_threads >= 1; 1 makes no thread at all. [any thread] */
sonde_status sonde_pool_create(int n_threads, sonde_pool **pool, sonde_error *err);
void sonde_pool_destroy(sonde_pool **pool);
int sonde_pool_threads(const sonde_pool *pool);
/* A grain for a loop over n items that cost about the same: so small that the last pieces are a few
 * hundredths of a thread's share. */
int64_t sonde_pool_grain(const sonde_pool *pool, int64_t n);
/* Calls `function` over [0, n) in pieces of at least `grain` (but for a thread's last) and returns when
 * all are done. Each thread begins with a share of neighbours, in order, then takes what others have
 * left. A NULL pool runs everything in the calling thread. [one thread at a time per object] */
void sonde_pool_for(sonde_pool *pool, int64_t n, int64_t grain, sonde_pool_function *function,
                    void *context);

#endif
