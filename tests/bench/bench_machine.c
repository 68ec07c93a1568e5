/*
 * bench_machine.c - what the machine itself can do, as one line of JSON: fused multiply-adds and
 * memory read, each by 1 and by N threads. peers.py runs it between its subjects.
 *
 *   bench_machine [--threads 2]
 */
#include "bench.h"
#include "core/pool.h"

#include <stdlib.h>
#include <string.h>

#define MILLIONS 60
#define THREAD_BYTES ((size_t)256 << 20)

typedef struct loops {
    sonde_cpu_level level;
    char *data; /* [threads][THREAD_BYTES] */
    double flops;
    uint64_t sum; /* keeps the reading; not told */
} loops;

static void multiply_add(void *context, int64_t begin, int64_t end, int thread)
{
    loops *l = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        double flops = bench_peak(l->level, MILLIONS);
        if (i == 0) l->flops = flops;
    }
}

static void read_memory(void *context, int64_t begin, int64_t end, int thread)
{
    loops *l = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        uint64_t sum = bench_stream(l->data + (size_t)i * THREAD_BYTES, THREAD_BYTES);
        if (i == 0) l->sum += sum;
    }
}

static double seconds_of(sonde_pool *pool, int threads, sonde_pool_function *loop, loops *l)
{
    double begin = bench_wall();
    sonde_pool_for(pool, threads, 1, loop, l);
    return bench_wall() - begin;
}

static void measure(loops *l, int threads, const char *before)
{
    sonde_pool *pool;
    sonde_error err = {0};
    if (sonde_pool_create(threads, &pool, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    double peak = seconds_of(pool, threads, multiply_add, l);
    double read = seconds_of(pool, threads, read_memory, l);
    printf("%s{\"threads\": %d, \"gflops\": %.1f, \"read_gbs\": %.2f}", before, threads,
           threads * l->flops * 1e-9 / peak, threads * (double)THREAD_BYTES * 1e-9 / read);
    sonde_pool_destroy(&pool);
}

int main(int argc, char **argv)
{
    int threads = (int)bench_option(argc, argv, "--threads", 2);
    loops l = {.level = sonde_cpu_best(), .data = NULL};
    if (threads < 1 || !(l.data = malloc((size_t)threads * THREAD_BYTES))) {
        fprintf(stderr, "bench_machine: %d threads: too few or too much memory\n", threads);
        return 1;
    }
    memset(l.data, 1, (size_t)threads * THREAD_BYTES);
    printf("{\"level\": \"%s\", \"loops\": [", sonde_cpu_level_name(l.level));
    measure(&l, 1, "");
    if (threads > 1) measure(&l, threads, ", ");
    printf("]}\n");
    free(l.data);
    return 0;
}
