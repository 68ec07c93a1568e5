/*
 * bench_linear.c - matrix products against the machine: the peak loop of fused multiply-adds, a
 * stream over the same bytes of weights, OpenBLAS and the subject in turn, on one thread, medians of
 * this thread's processor time. For M = 1 the ratio that counts is to the stream, else to the peak.
 *
 *   bench_linear [--rounds 9] [--level 0|1|2] [--m M --n N --k K]
 */
#include "bench.h"
#include "support/linear_case.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    int64_t m, n, k, copies; /* copies of W that M = 1 walks through: more than the caches hold */
    sonde_dtype dtype;
} problem;

typedef struct operands {
    linear_weight *weights;
    float *x, *y, *row_major;
    int64_t x_stride;
    void *scratch;
    sonde_linear_args args;
} operands;

static float *floats(int64_t n)
{
    float *block = sonde_alloc((size_t)n, sizeof *block);
    if (block) return block;
    fprintf(stderr, "out of memory: %lld floats\n", (long long)n);
    exit(1);
}

static void operands_init(operands *o, const sonde_backend *backend, const problem *p)
{
    test_random random = {7};
    o->weights = sonde_alloc((size_t)p->copies, sizeof *o->weights);
    o->x_stride = p->k % 256 == 0 ? p->k + 16 : p->k; /* as lib/run lays out its buffers */
    o->x = floats(p->m * o->x_stride);
    o->y = floats(p->m * (p->n + 16));
    o->row_major = floats(p->n * p->k);
    test_fill_normal(&random, o->x, p->m * o->x_stride);
    for (int64_t i = 0; i < p->copies; i++)
        if (!linear_weight_init(&o->weights[i], backend, p->dtype, p->n, p->k, &random)) exit(1);
    for (int64_t n = 0; n < p->n; n++)
        sonde_matrix_row(&o->weights[0].source, n, o->row_major + n * p->k);
    o->args = (sonde_linear_args){.x = o->x, .x_stride = o->x_stride, .m = p->m, .n_parts = 1};
    o->args.parts[0] = (sonde_linear_part){.weight = &o->weights[0].packed, .y = o->y,
                                           .y_stride = p->n + 16};
    o->scratch = floats((int64_t)(backend->linear_scratch(&o->args) / sizeof(float)) + 1);
}

static void operands_reset(operands *o, int64_t copies)
{
    for (int64_t i = 0; i < copies; i++) linear_weight_reset(&o->weights[i]);
    sonde_free(o->weights);
    sonde_free(o->x);
    sonde_free(o->y);
    sonde_free(o->row_major);
    sonde_free(o->scratch);
}

static double run_subject(const sonde_backend *backend, operands *o, const problem *p, int repeats)
{
    double begin = bench_cpu();
    for (int i = 0; i < repeats; i++) {
        o->args.parts[0].weight = &o->weights[i % p->copies].packed;
        backend->linear(&o->args, 0, backend->linear_units(&o->args), o->scratch);
    }
    return (bench_cpu() - begin) / repeats;
}

static double run_blas(const operands *o, const problem *p, int repeats)
{
    double begin = bench_cpu();
    for (int i = 0; i < repeats; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)p->m, (int)p->n, (int)p->k, 1.0f,
                    o->x, (int)o->x_stride, o->row_major, (int)p->k, 0.0f, o->y, (int)p->n + 16);
    return (bench_cpu() - begin) / repeats;
}

static double run_stream(const operands *o, const problem *p, int repeats)
{
    static volatile uint64_t sink;
    double begin = bench_cpu();
    for (int i = 0; i < repeats; i++) {
        const sonde_packed *w = &o->weights[i % p->copies].packed;
        sink = sink + bench_stream(w->data, w->bytes);
    }
    return (bench_cpu() - begin) / repeats;
}

static void measure(const sonde_backend *backend, const problem *p, int64_t rounds)
{
    sonde_cpu_level level;
    if (!sonde_cpu_level_from_name(backend->level, &level)) exit(1);
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    int repeats = (int)SONDE_MAX(p->copies, (int64_t)(2e9 / flops) + 1);
    repeats = (int)SONDE_MIN(repeats, 4 * p->copies + 20000);
    operands o;
    operands_init(&o, backend, p);
    bench_times peak = {0}, stream = {0}, blas = {0}, subject = {0};
    for (int64_t round = -1; round < rounds; round++) {
        double begin = bench_cpu();
        double done = bench_peak(level, 40);
        double loop = (bench_cpu() - begin) / done;
        double memory = run_stream(&o, p, (int)SONDE_MIN(repeats, 2 * p->copies));
        double other = run_blas(&o, p, SONDE_MAX(repeats / 2, 1));
        double own = run_subject(backend, &o, p, repeats);
        if (round < 0) continue;
        bench_add(&peak, loop);
        bench_add(&stream, memory);
        bench_add(&blas, other);
        bench_add(&subject, own);
    }
    double own = bench_median(&subject);
    printf("%5lld %5lld %5lld  %-5s %7.1f GF/s  %5.2f of peak %5.1f  %5.2f of stream %5.1f GB/s  "
           "%5.2f x OpenBLAS\n",
           (long long)p->m, (long long)p->n, (long long)p->k, sonde_dtype_name(p->dtype),
           flops / own * 1e-9, flops * bench_median(&peak) / own, 1e-9 / bench_median(&peak),
           bench_median(&stream) / own, 1e-9 * (double)o.weights[0].packed.bytes / bench_median(&stream),
           bench_median(&blas) / own);
    fflush(stdout);
    operands_reset(&o, p->copies);
}

int main(int argc, char **argv)
{
    static const problem problems[] = {
        {512, 576, 576, 1, SONDE_DTYPE_F32},    {512, 1536, 576, 1, SONDE_DTYPE_F32},
        {512, 576, 1536, 1, SONDE_DTYPE_F32},   {512, 2048, 2048, 1, SONDE_DTYPE_F32},
        {512, 1536, 576, 1, SONDE_DTYPE_BF16},  {64, 1536, 576, 1, SONDE_DTYPE_F32},
        {16, 1536, 576, 1, SONDE_DTYPE_F32},    {4, 1536, 576, 1, SONDE_DTYPE_F32},
        {64, 2048, 2048, 1, SONDE_DTYPE_F32},   {16, 2048, 2048, 1, SONDE_DTYPE_F32},
        {4, 2048, 2048, 1, SONDE_DTYPE_F32},    {1, 1536, 576, 40, SONDE_DTYPE_F32},
        {1, 1536, 576, 40, SONDE_DTYPE_BF16},   {1, 2048, 2048, 12, SONDE_DTYPE_F32},
    };
    const sonde_backend *backend = NULL;
    sonde_error err = {0};
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    int64_t rounds = bench_option(argc, argv, "--rounds", 9);
    problem one = {bench_option(argc, argv, "--m", 0), bench_option(argc, argv, "--n", 576),
                   bench_option(argc, argv, "--k", 576), 1, SONDE_DTYPE_F32};
    if (sonde_backend_get("cpu", level, &backend, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    openblas_set_num_threads(1);
    bench_load load;
    bench_load_begin(&load);
    printf("linear, %s, one thread:  M     N     K\n", backend->level);
    if (one.m > 0) measure(backend, &one, rounds);
    for (size_t i = 0; one.m == 0 && i < SONDE_COUNT(problems); i++)
        measure(backend, &problems[i], rounds);
    bench_load_say(&load);
    return 0;
}
