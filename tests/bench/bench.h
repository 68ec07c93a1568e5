/*
 * bench.h - what the benchmarks share: clocks, medians, the load of the machine, a loop of fused
 * multiply-adds and a loop that reads memory. Benchmarks print ratios taken inside one process with
 * the loops interleaved; they are never tests and never fail because of a time.
 */
#ifndef SONDE_BENCH_H
#define SONDE_BENCH_H

#include "core/core.h"
#include "core/cpu.h"

#define BENCH_MOST 64

/* Seconds: of the wall, and that this thread has spent on a processor. */
double bench_wall(void);
double bench_cpu(void);

/* Repeated timings of one subject. */
typedef struct bench_times {
    double seconds[BENCH_MOST];
    int n;
} bench_times;
void bench_add(bench_times *times, double seconds);
double bench_median(const bench_times *times);

/* Share of one core that others used since `begin` was taken. bench_load_say prints a word when it
 * is above 8 %: such figures are not to be quoted. */
typedef struct bench_load {
    double wall, busy, own;
} bench_load;
void bench_load_begin(bench_load *load);
double bench_load_others(const bench_load *load);
void bench_load_say(const bench_load *load);

/* Runs about `millions` million fused multiply-adds of 8 or 16 lanes in independent chains; returns
 * the floating-point operations done. level: SCALAR counts one lane. */
double bench_peak(sonde_cpu_level level, int64_t millions);
double bench_peak_avx2(int64_t millions, float *out);
double bench_peak_avx512(int64_t millions, float *out);
/* Reads `bytes` (a multiple of 64) once; returns a sum so that the loop stays. */
uint64_t bench_stream(const void *data, size_t bytes);

/* Value of "--name N" or the fallback. */
int64_t bench_option(int argc, char **argv, const char *name, int64_t fallback);
/* What stands behind the option, or NULL. */
const char *bench_text(int argc, char **argv, const char *name);

#endif
