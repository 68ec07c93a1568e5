/*
 * team.h - loops of the benchmarks on one or more threads: what the machine can do (fused
 * multiply-adds, reading memory) and the subject, through the same pool and shares as lib/run.
 */
#ifndef SONDE_BENCH_TEAM_H
#define SONDE_BENCH_TEAM_H

#include "bench.h"
#include "core/pool.h"
#include "kernels/kernels.h"

typedef struct bench_team {
    sonde_pool *pool;
    int threads;
    sonde_cpu_level level;
} bench_team;

/* Ends the program with a word when the threads cannot be had. */
void bench_team_open(bench_team *team, int threads, sonde_cpu_level level);
void bench_team_close(bench_team *team);

/* Seconds so far: of this thread's processor time for one thread, else of the wall. */
double bench_team_clock(const bench_team *team);
/* Seconds that one floating-point operation takes in the peak loop, all threads together. */
double bench_team_peak(const bench_team *team);
/* Seconds that all threads together take to read the bytes once. */
double bench_team_stream(const bench_team *team, const void *data, size_t bytes);
/* All units of a product; scratch: `scratch_bytes` for each thread. */
void bench_team_linear(const bench_team *team, const sonde_backend *backend,
                       const sonde_linear_args *args, char *scratch, size_t scratch_bytes);

#endif
