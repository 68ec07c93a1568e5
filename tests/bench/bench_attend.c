/*
 * bench_attend.c - attention against the machine: prefill of T rows against the peak loop (the pairs
 * of query and visible key count, 4 head_dim operations each), and one decode row at position T
 * against a stream over the same pages. One thread, medians of this thread's processor time.
 *
 *   bench_attend [--rounds 7] [--level 0|1|2] [--only N]
 */
#include "bench.h"
#include "support/linear_case.h"

#include <math.h>
#include <stdlib.h>

typedef struct problem {
    int64_t heads, kv_heads, head_dim, positions;
    sonde_dtype dtype;
    bool decode;
} problem;

typedef struct operands {
    float *q, *z, *kv;
    char *pages_memory;
    void **pages;
    void *scratch;
    sonde_span span;
    sonde_attend_args args;
} operands;

static void *memory(int64_t n, size_t each)
{
    void *block = sonde_alloc((size_t)n, each);
    if (block) return block;
    fprintf(stderr, "out of memory: %lld of %zu bytes\n", (long long)n, each);
    exit(1);
}

static size_t cache_bytes(const operands *o, const problem *p)
{
    return sonde_kv_page_bytes(&o->args.layout) * (size_t)((p->positions + 63) / 64);
}

static void operands_init(operands *o, const sonde_backend *backend, const problem *p)
{
    test_random random = {9};
    int64_t rows = p->decode ? 1 : p->positions, n_pages = (p->positions + 63) / 64;
    int64_t q_width = p->heads * p->head_dim + 16, kv_width = p->kv_heads * p->head_dim;
    sonde_kv_layout layout = {p->dtype, p->kv_heads, p->head_dim, p->head_dim};
    o->q = memory(rows * q_width, sizeof(float));
    o->z = memory(rows * q_width, sizeof(float));
    o->kv = memory(p->positions * kv_width, sizeof(float));
    o->pages = memory(n_pages, sizeof *o->pages);
    o->pages_memory = memory(n_pages, sonde_kv_page_bytes(&layout));
    test_fill_normal(&random, o->q, rows * q_width);
    test_fill_normal(&random, o->kv, p->positions * kv_width);
    for (int64_t i = 0; i < n_pages; i++)
        o->pages[i] = o->pages_memory + (size_t)i * sonde_kv_page_bytes(&layout);
    o->span = (sonde_span){.n_rows = p->positions, .pages = o->pages};
    sonde_cache_args cache = {.layout = layout, .k = o->kv, .v = o->kv, .k_stride = kv_width,
                              .v_stride = kv_width, .spans = &o->span, .n_spans = 1};
    backend->cache(&cache, 0, backend->cache_units(&cache));
    if (p->decode) o->span = (sonde_span){.n_rows = 1, .position = p->positions - 1, .pages = o->pages};
    o->args = (sonde_attend_args){.layout = layout, .q = o->q, .q_stride = q_width, .z = o->z,
                                  .z_stride = q_width, .spans = &o->span, .n_spans = 1,
                                  .n_heads = p->heads, .scale = 1.0 / sqrt((double)p->head_dim),
                                  .phases = SONDE_ATTEND_ALL};
    o->scratch = memory(1, backend->attend_scratch(&o->args));
}

static void operands_reset(operands *o)
{
    sonde_free(o->q);
    sonde_free(o->z);
    sonde_free(o->kv);
    sonde_free(o->pages);
    sonde_free(o->pages_memory);
    sonde_free(o->scratch);
}

static void measure(const sonde_backend *backend, const problem *p, int64_t rounds)
{
    static volatile uint64_t sink;
    sonde_cpu_level level;
    if (!sonde_cpu_level_from_name(backend->level, &level)) exit(1);
    operands o;
    operands_init(&o, backend, p);
    double pairs = p->decode ? (double)p->positions : 0.5 * (double)p->positions * (double)(p->positions + 1);
    double flops = 4.0 * pairs * (double)(p->heads * p->head_dim);
    bench_times peak = {0}, stream = {0}, own = {0};
    for (int64_t round = -1; round < rounds; round++) {
        int repeats = p->decode ? 8 : 1;
        double begin = bench_cpu(), loop = bench_peak(level, 40);
        loop = (bench_cpu() - begin) / loop;
        begin = bench_cpu();
        sink = sink + bench_stream(o.pages_memory, cache_bytes(&o, p));
        double memory_time = bench_cpu() - begin;
        begin = bench_cpu();
        for (int i = 0; i < repeats; i++)
            backend->attend(&o.args, 0, backend->attend_units(&o.args), o.scratch);
        double subject = (bench_cpu() - begin) / repeats;
        if (round < 0) continue;
        bench_add(&peak, loop);
        bench_add(&stream, memory_time);
        bench_add(&own, subject);
    }
    double time = bench_median(&own);
    printf("%-7s %2lld/%lld heads of %3lld, %5lld positions, %-4s %9.3f ms  %5.2f of peak  %5.2f of "
           "stream\n", p->decode ? "decode" : "prefill", (long long)p->heads, (long long)p->kv_heads,
           (long long)p->head_dim, (long long)p->positions, sonde_dtype_name(p->dtype), 1e3 * time,
           flops * bench_median(&peak) / time, bench_median(&stream) / time);
    fflush(stdout);
    operands_reset(&o);
}

int main(int argc, char **argv)
{
    static const problem problems[] = {
        {9, 3, 64, 512, SONDE_DTYPE_F32, false},   {9, 3, 64, 2048, SONDE_DTYPE_F32, false},
        {9, 3, 64, 2048, SONDE_DTYPE_BF16, false}, {8, 8, 64, 2048, SONDE_DTYPE_F32, false},
        {8, 2, 128, 1024, SONDE_DTYPE_F32, false}, {9, 3, 64, 4096, SONDE_DTYPE_F32, true},
        {9, 3, 64, 4096, SONDE_DTYPE_BF16, true},  {8, 8, 128, 4096, SONDE_DTYPE_F32, true},
    };
    const sonde_backend *backend = NULL;
    sonde_error err = {0};
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    if (sonde_backend_get("cpu", level, &backend, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    bench_load load;
    bench_load_begin(&load);
    printf("attention, %s, one thread\n", backend->level);
    int64_t only = bench_option(argc, argv, "--only", -1);
    for (int64_t i = 0; i < (int64_t)SONDE_COUNT(problems); i++)
        if (only < 0 || only == i) measure(backend, &problems[i], bench_option(argc, argv, "--rounds", 7));
    bench_load_say(&load);
    return 0;
}
