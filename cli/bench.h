/*
 * bench.h - what sonde bench measures: the machine (bench_machine.c) and the model
 * (bench_model.c), in rounds that interleave both (cmd_bench.c).
 */
#ifndef SONDE_BENCH_H
#define SONDE_BENCH_H

#include "cli/cli.h"

/* ---- the machine ----------------------------------------------------------------------------- */

/* Loops compiled for one instruction set. What they return only keeps them from being removed. */
typedef struct bench_loops {
    const char *level; /* "avx512", "avx2", "scalar" */
    double flops_per_iteration;
    float (*multiply_add)(int64_t iterations);
    float (*read)(const float *data, size_t n); /* n: a multiple of 128 */
} bench_loops;
extern const bench_loops bench_loops_scalar, bench_loops_avx2, bench_loops_avx512;
const bench_loops *bench_loops_find(const char *level); /* scalar for a level that is not known */

typedef struct bench_memory {
    float *data; /* [n] */
    size_t n;
} bench_memory;
/* Big enough that no cache holds it. NO_MEMORY. */
sonde_status bench_memory_create(bench_memory *memory, sonde_error *err);
void bench_memory_destroy(bench_memory *memory);

#define BENCH_MAX_THREADS 64
/* fp32 multiply-adds of `threads` threads, in GFLOP/s (two a multiply-add). */
double bench_gflops(const bench_loops *loops, int threads);
/* Rate of `threads` threads reading the memory once, in GB/s. */
double bench_read_gbs(const bench_loops *loops, int threads, const bench_memory *memory);

/* The machine in words and numbers, as far as the system tells. */
typedef struct bench_machine {
    char cpu[128], system[200]; /* "Linux 6.1.0 x86_64" */
    int cores;                  /* that this process may run on */
    uint64_t memory_bytes;
} bench_machine;
void bench_machine_look(bench_machine *machine);

/* How busy others keep the machine, between two looks. */
typedef struct bench_load {
    double all, own, idle; /* processor seconds so far */
} bench_load;
void bench_load_look(bench_load *load);
/* Share of the machine's processor time, 0 to 1, that others used; negative: not known. */
double bench_load_others(const bench_load *before, const bench_load *after);

double bench_now(void); /* seconds */

/* ---- the model ------------------------------------------------------------------------------- */

typedef struct bench_spec {
    const char *model;
    const sonde_job_options *options; /* of the line: backend, kv-dtype, cpumask, off */
    int64_t tokens;                   /* of a prefill */
    int64_t vocab;
    char folder[64]; /* for prompts and captures; removed at the end */
} bench_spec;
sonde_status bench_folder_create(bench_spec *spec, sonde_error *err);
void bench_folder_remove(const bench_spec *spec);

/* Prefill of one prompt: tokens/s. */
sonde_status bench_prefill(const bench_spec *spec, int threads, double *rate, sonde_error *err);
/* Tokens/s of one sequence after a short prompt; NaN where the model stopped at once. */
sonde_status bench_decode(const bench_spec *spec, int threads, double *rate, sonde_error *err);
/* Four prompts with every blocks.*.resid_post captured, and the same plan with one row captured. */
typedef struct bench_capture_result {
    double seconds_with, seconds_without;
    double cpu_with, cpu_without; /* processor seconds: others on the machine change them little */
    double codec_gbs, ratio; /* uncompressed bytes per second of one codec thread; raw / stored */
} bench_capture_result;
sonde_status bench_capture(const bench_spec *spec, int threads, bench_capture_result *result,
                           sonde_error *err);

#endif
