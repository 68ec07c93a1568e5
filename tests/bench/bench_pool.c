/*
 * bench_pool.c - what a loop over threads costs when there is nothing to do in it: begun while the
 * workers still wait for work, and after a pause in which they fell asleep. Medians, microseconds.
 *
 *   bench_pool [--rounds 9] [--threads 2]
 */
#include "bench.h"
#include "core/pool.h"

#include <time.h>

#define LOOPS 2000

static void nothing(void *context, int64_t begin, int64_t end, int thread)
{
    (void)context;
    (void)begin;
    (void)end;
    (void)thread;
}

static double awake(sonde_pool *pool, int64_t items)
{
    double begin = bench_wall();
    for (int i = 0; i < LOOPS; i++) sonde_pool_for(pool, items, 1, nothing, NULL);
    return (bench_wall() - begin) / LOOPS;
}

static double asleep(sonde_pool *pool, int64_t items)
{
    double seconds = 0.0;
    for (int i = 0; i < 5; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        double begin = bench_wall();
        sonde_pool_for(pool, items, 1, nothing, NULL);
        seconds += bench_wall() - begin;
    }
    return seconds / 5;
}

int main(int argc, char **argv)
{
    static const int64_t items[] = {2, 18, 54};
    int64_t rounds = bench_option(argc, argv, "--rounds", 9);
    int threads = (int)bench_option(argc, argv, "--threads", 2);
    sonde_pool *pool = NULL;
    sonde_error err = {0};
    if (sonde_pool_create(threads, &pool, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    bench_load load;
    bench_load_begin(&load);
    for (size_t i = 0; i < SONDE_COUNT(items); i++) {
        bench_times waiting = {0}, sleeping = {0};
        for (int64_t round = 0; round < rounds; round++) {
            bench_add(&waiting, awake(pool, items[i]));
            bench_add(&sleeping, asleep(pool, items[i]));
        }
        printf("loop of %2lld items, %d threads: %6.2f us, %6.1f us after a pause of 5 ms\n",
               (long long)items[i], threads, 1e6 * bench_median(&waiting),
               1e6 * bench_median(&sleeping));
    }
    bench_load_say(&load);
    sonde_pool_destroy(&pool);
    return 0;
}
