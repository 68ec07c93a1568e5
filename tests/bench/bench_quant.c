/*
 * bench_quant.c - products of quantised weights, in exact mode and `--mode int`, against the machine:
 * the peak loop of fused multiply-adds on every thread, a stream over the same packed bytes, and the
 * subject in turn; medians (one thread: of its processor time). For M = 1 the ratio that counts is to the stream, else to
 * the peak.
 *
 *   bench_quant [--threads 1] [--rounds 5] [--level 0|1|2] [--m M] [--n 1536 --k 576] [--kind Q]
 */
#include "team.h"
#include "support/linear_case.h"

#include <stdlib.h>
#include <string.h>

typedef struct problem {
    int64_t m, n, k, copies; /* copies of W that M = 1 walks through: more than the caches hold */
    sonde_dtype dtype;
} problem;

typedef struct operands {
    const sonde_backend *backend;
    bench_team team;
    linear_weight *weights;
    float *x, *y;
    char *scratch, *prepared;
    size_t scratch_bytes;
    sonde_linear_args args;
} operands;

static void *memory(size_t n, size_t each)
{
    void *block = sonde_alloc(n, each);
    if (block) return block;
    fprintf(stderr, "out of memory: %zu bytes\n", n * each);
    exit(1);
}

static void operands_init(operands *o, const problem *p)
{
    test_random random = {7};
    int64_t x_stride = p->k % 256 == 0 ? p->k + 16 : p->k; /* as lib/run lays out its buffers */
    o->weights = memory((size_t)p->copies, sizeof *o->weights);
    o->x = memory((size_t)(p->m * x_stride), sizeof(float));
    o->y = memory((size_t)(p->m * (p->n + 16)), sizeof(float));
    test_fill_normal(&random, o->x, p->m * x_stride);
    for (int64_t i = 0; i < p->copies; i++)
        if (!linear_weight_init(&o->weights[i], o->backend, p->dtype, p->n, p->k, &random)) exit(1);
    o->args = (sonde_linear_args){.x = o->x, .x_stride = x_stride, .m = p->m, .n_parts = 1};
    o->args.parts[0] = (sonde_linear_part){.weight = &o->weights[0].packed, .y = o->y,
                                           .y_stride = p->n + 16};
    size_t prepared = o->backend->linear_prepared ? o->backend->linear_prepared(&o->args) : 0;
    if (prepared > 0) o->prepared = memory(prepared, 1);
    o->scratch_bytes = (o->backend->linear_scratch(&o->args) + 63) & ~(size_t)63;
    o->scratch = memory(o->scratch_bytes, (size_t)o->team.threads);
}

static void operands_reset(operands *o, int64_t copies)
{
    for (int64_t i = 0; i < copies; i++) linear_weight_reset(&o->weights[i]);
    void *blocks[] = {o->weights, o->x, o->y, o->scratch, o->prepared};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    o->prepared = NULL;
}

static void prepare_rows(void *context, int64_t begin, int64_t end, int thread)
{
    operands *o = context;
    (void)thread;
    o->backend->linear_prepare(&o->args, begin, end, o->prepared);
}

/* As lib/run calls a step. */
static double run_subject(operands *o, const problem *p, int repeats)
{
    double begin = bench_team_clock(&o->team);
    for (int i = 0; i < repeats; i++) {
        o->args.parts[0].weight = &o->weights[i % p->copies].packed;
        o->args.prepared = NULL;
        if (o->prepared)
            sonde_pool_for(o->team.pool, p->m, sonde_pool_grain(o->team.pool, p->m), prepare_rows, o);
        o->args.prepared = o->prepared;
        bench_team_linear(&o->team, o->backend, &o->args, o->scratch, o->scratch_bytes);
    }
    return (bench_team_clock(&o->team) - begin) / repeats;
}

static double run_stream(operands *o, const problem *p)
{
    double seconds = 0.0;
    for (int64_t i = 0; i < p->copies; i++)
        seconds += bench_team_stream(&o->team, o->weights[i].packed.data, o->weights[i].packed.bytes);
    return seconds / (double)p->copies;
}

static void measure(operands *o, const problem *p, int64_t rounds)
{
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    int repeats = (int)SONDE_MAX(p->copies, (int64_t)(5e8 / flops) + 1);
    operands_init(o, p);
    bench_times peaks = {0}, streams = {0}, own = {0};
    for (int64_t round = -1; round < rounds; round++) {
        double loop = bench_team_peak(&o->team), memory_time = run_stream(o, p), subject = run_subject(o, p, repeats);
        if (round < 0) continue;
        bench_add(&peaks, loop);
        bench_add(&streams, memory_time);
        bench_add(&own, subject);
    }
    double time = bench_median(&own);
    printf("%-5s %-5s m %3lld n %5lld k %4lld  %8.1f us  %5.2f of peak  %5.2f of stream\n",
           sonde_dtype_name(p->dtype), o->backend->mode, (long long)p->m, (long long)p->n,
           (long long)p->k, 1e6 * time, flops * bench_median(&peaks) / time,
           bench_median(&streams) / time);
    fflush(stdout);
    operands_reset(o, p->copies);
}

static void measure_all(operands *o, int argc, char **argv, sonde_dtype dtype)
{
    static const int64_t ms[] = {1, 4, 16, 64, 256, 512};
    int64_t only = bench_option(argc, argv, "--m", 0);
    problem p = {.n = bench_option(argc, argv, "--n", 1536), .k = bench_option(argc, argv, "--k", 576),
                 .dtype = dtype};
    if (p.k % sonde_dtype_block_elements(dtype)) p.k = (p.k / 256 + 1) * 256;
    for (size_t i = 0; i < SONDE_COUNT(ms); i++) {
        if (only && ms[i] != only) continue;
        p.m = ms[i];
        p.copies = p.m == 1 ? (int64_t)(1.2e8 / (double)(p.n * p.k)) + 1 : 1;
        measure(o, &p, bench_option(argc, argv, "--rounds", 5));
    }
}

int main(int argc, char **argv)
{
    static const sonde_dtype kinds[] = {SONDE_DTYPE_Q8_0, SONDE_DTYPE_Q4_0, SONDE_DTYPE_Q4_1,
                                        SONDE_DTYPE_Q4_K, SONDE_DTYPE_Q6_K};
    const sonde_backend *exact = NULL;
    sonde_error err = {0};
    operands o = {0};
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    int threads = (int)bench_option(argc, argv, "--threads", 1);
    sonde_dtype only = (sonde_dtype)bench_option(argc, argv, "--kind", 0);
    if (sonde_backend_get("cpu", level, &exact, &err) != SONDE_OK ||
        !sonde_cpu_level_from_name(exact->level, &level)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    bench_team_open(&o.team, threads, level);
    bench_load load;
    bench_load_begin(&load);
    printf("quantised weights, %s, threads: %d\n", exact->level, threads);
    for (size_t i = 0; i < SONDE_COUNT(kinds); i++)
        for (int mode = 0; mode < 2; mode++) {
            if (only && kinds[i] != only) continue;
            o.backend = mode ? exact->integers : exact;
            measure_all(&o, argc, argv, kinds[i]);
        }
    bench_load_say(&load);
    bench_team_close(&o.team);
    return 0;
}
