/*
 * bench_attend.c - attention against the machine: prefill of T rows against the peak loop (the pairs
 * of query and visible key count, 4 head_dim operations each), whole and in windows, and one decode
 * row at position T against a stream over the same pages. Medians: of this thread's processor time on
 * one thread, of the wall on more.
 *
 *   bench_attend [--rounds 5] [--level 0|1|2] [--only N] [--threads 1] [--huge 1]
 */
#include "bench.h"
#include "support/linear_case.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    int64_t heads, kv_heads, head_dim, positions;
    sonde_dtype dtype;
    bool decode;
    sonde_mask_kind mask;
    int64_t window;
    bool huge; /* pages of the cache in big pages of the system */
} problem;

typedef struct operands {
    float *q, *z, *kv;
    char *pages_memory;
    void **pages;
    char *scratch;
    size_t scratch_bytes; /* of a thread */
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

static void operands_init(operands *o, const sonde_backend *backend, const problem *p, int threads)
{
    test_random random = {9};
    int64_t rows = p->decode ? 1 : p->positions, n_pages = (p->positions + 63) / 64;
    int64_t q_width = p->heads * p->head_dim + 16, kv_width = p->kv_heads * p->head_dim;
    sonde_kv_layout layout = {p->dtype, p->kv_heads, p->head_dim, p->head_dim};
    o->q = memory(rows * q_width, sizeof(float));
    o->z = memory(rows * q_width, sizeof(float));
    o->kv = memory(p->positions * kv_width, sizeof(float));
    o->pages = memory(n_pages, sizeof *o->pages);
    size_t cache_size = (size_t)n_pages * sonde_kv_page_bytes(&layout);
    o->pages_memory = sonde_alloc_raw(cache_size, 1);
    if (!o->pages_memory) exit(1);
    if (p->huge) sonde_pages_huge(o->pages_memory, cache_size);
    memset(o->pages_memory, 0, cache_size);
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
                                  .mask = p->mask, .window = p->window,
                                  .phases = SONDE_ATTEND_ALL};
    o->scratch_bytes = (backend->attend_scratch(&o->args) + 63) & ~(size_t)63;
    o->scratch = memory(threads, o->scratch_bytes);
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

typedef struct attend_call {
    const sonde_backend *backend;
    operands *o;
} attend_call;

static void attend_share(void *context, int64_t begin, int64_t end, int thread)
{
    const attend_call *c = context;
    c->backend->attend(&c->o->args, begin, end, c->o->scratch + (size_t)thread * c->o->scratch_bytes);
}

static double pairs_of(const problem *p)
{
    double pairs = 0.0;
    for (int64_t at = p->decode ? p->positions - 1 : 0; at < p->positions; at++)
        pairs += (double)(at + 1 - sonde_first_visible(p->mask, p->window, at));
    return pairs;
}

static void measure(const sonde_backend *backend, const problem *p, const bench_team *team,
                    int64_t rounds)
{
    operands o;
    operands_init(&o, backend, p, team->threads);
    attend_call call = {backend, &o};
    double flops = 4.0 * pairs_of(p) * (double)(p->heads * p->head_dim);
    bench_times peak = {0}, stream = {0}, own = {0};
    for (int64_t round = -1; round < rounds; round++) {
        int repeats = p->decode ? 8 : 1;
        double loop = bench_team_peak(team);
        double memory_time = bench_team_stream(team, o.pages_memory, cache_bytes(&o, p));
        double begin = bench_team_clock(team);
        for (int i = 0; i < repeats; i++)
            sonde_pool_for(team->pool, backend->attend_units(&o.args), 1, attend_share, &call);
        double subject = (bench_team_clock(team) - begin) / repeats;
        if (round < 0) continue;
        bench_add(&peak, loop);
        bench_add(&stream, memory_time);
        bench_add(&own, subject);
    }
    double time = bench_median(&own);
    char mask[32] = "all keys";
    if (p->mask != SONDE_MASK_FULL)
        snprintf(mask, sizeof mask, "%s %lld", p->mask == SONDE_MASK_SLIDING ? "window" : "chunks",
                 (long long)p->window);
    printf("%-7s %2lld/%lld heads of %3lld, %5lld positions, %-11s %-4s %9.3f ms  %5.2f of peak",
           p->decode ? "decode" : "prefill", (long long)p->heads, (long long)p->kv_heads,
           (long long)p->head_dim, (long long)p->positions, mask, sonde_dtype_name(p->dtype),
           1e3 * time, flops * bench_median(&peak) / time);
    bool all = p->mask == SONDE_MASK_FULL; /* a window reads a part of what the stream reads */
    if (p->decode && all) printf("  %5.2f of stream", bench_median(&stream) / time);
    printf("\n");
    fflush(stdout);
    operands_reset(&o);
}

int main(int argc, char **argv)
{
    static const problem problems[] = {
        {9, 3, 64, 512, SONDE_DTYPE_F32, false, SONDE_MASK_FULL, 0, false},
        {9, 3, 64, 2048, SONDE_DTYPE_F32, false, SONDE_MASK_FULL, 0, false},
        {9, 3, 64, 2048, SONDE_DTYPE_BF16, false, SONDE_MASK_FULL, 0, false},
        {14, 2, 64, 2048, SONDE_DTYPE_F32, false, SONDE_MASK_FULL, 0, false},
        {32, 8, 128, 2048, SONDE_DTYPE_F32, false, SONDE_MASK_FULL, 0, false},
        {8, 8, 64, 2048, SONDE_DTYPE_F32, false, SONDE_MASK_FULL, 0, false},
        {9, 3, 64, 2048, SONDE_DTYPE_F32, false, SONDE_MASK_SLIDING, 256, false},
        {9, 3, 64, 2048, SONDE_DTYPE_F32, false, SONDE_MASK_CHUNKED, 256, false},
        {9, 3, 64, 4096, SONDE_DTYPE_F32, true, SONDE_MASK_FULL, 0, false},
        {9, 3, 64, 4096, SONDE_DTYPE_BF16, true, SONDE_MASK_FULL, 0, false},
        {14, 2, 64, 4096, SONDE_DTYPE_F32, true, SONDE_MASK_FULL, 0, false},
        {32, 8, 128, 4096, SONDE_DTYPE_F32, true, SONDE_MASK_FULL, 0, false},
        {32, 8, 128, 4096, SONDE_DTYPE_BF16, true, SONDE_MASK_FULL, 0, false},
        {9, 3, 64, 1024, SONDE_DTYPE_F32, true, SONDE_MASK_FULL, 0, false},
        {9, 3, 64, 32768, SONDE_DTYPE_F32, true, SONDE_MASK_SLIDING, 1024, false},
        {9, 3, 64, 32768, SONDE_DTYPE_F32, true, SONDE_MASK_FULL, 0, false},
    };
    const sonde_backend *backend = NULL;
    sonde_error err = {0};
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    if (sonde_backend_get("cpu", level, &backend, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (!sonde_cpu_level_from_name(backend->level, &level)) return 1;
    int threads = (int)bench_option(argc, argv, "--threads", 1);
    bench_team team;
    bench_team_open(&team, threads, level);
    bench_load load;
    bench_load_begin(&load);
    printf("attention, %s, %d threads\n", backend->level, threads);
    int64_t only = bench_option(argc, argv, "--only", -1);
    for (int64_t i = 0; i < (int64_t)SONDE_COUNT(problems); i++) {
        problem p = problems[i];
        p.huge = bench_option(argc, argv, "--huge", 1) != 0;
        if (only < 0 || only == i) measure(backend, &p, &team, bench_option(argc, argv, "--rounds", 5));
    }
    bench_team_close(&team);
    bench_load_say(&load);
    return 0;
}
