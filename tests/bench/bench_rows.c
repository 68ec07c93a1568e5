/*
 * bench_rows.c - the row-wise steps at the sizes of SmolLM2-135M, 512 rows: nanoseconds an element and
 * the share of the rate at which this thread reads memory (bytes read and written once); the labels of
 * a row of logits and the choice of a token, in microseconds. One thread, medians of its processor time.
 *
 *   bench_rows [--rounds 9] [--level 0|1|2]
 */
#include "bench.h"
#include "run/sample.h"
#include "support/linear_case.h"

#include <stdlib.h>
#include <string.h>

#define ROWS 512
#define HIDDEN 576
#define INNER 1536
#define MOST 1552 /* of a row, apart so that rows share no sets of a cache */

typedef struct subject {
    const sonde_backend *backend;
    float *x, *y, *z, *table;
    int32_t entry[ROWS];
    void *pages[ROWS / SONDE_PAGE_POSITIONS];
} subject;

static void *memory(size_t n, size_t each)
{
    void *block = sonde_alloc(n, each);
    if (block) return block;
    fprintf(stderr, "out of memory: %zu of %zu bytes\n", n, each);
    exit(1);
}

/* ---- steps: what each runs, elements and bytes of all rows ------------------------------------------ */

static void run_norm(subject *s)
{
    sonde_norm_args args = {.kind = SONDE_NORM_RMS, .x = s->x, .x_stride = MOST, .y = s->y,
                            .y_stride = MOST, .weight = s->table, .m = ROWS, .group = HIDDEN,
                            .groups = 1, .eps = 1e-5};
    s->backend->norm(&args, 0, ROWS);
}

static void run_rope(subject *s)
{
    sonde_rope_args args = {.pairing = SONDE_ROPE_HALF, .x = s->x, .x_stride = MOST, .y = s->y,
                            .y_stride = MOST, .m = ROWS, .n_heads = 9, .head_dim = 64,
                            .rotary_dims = 64, .cos = s->table, .sin = s->table + ROWS * 32,
                            .entry = s->entry};
    s->backend->rope(&args, 0, ROWS);
}

static void run_map(subject *s, sonde_map_op op, int64_t width)
{
    sonde_map_args args = {.op = op, .act = SONDE_ACT_SILU, .a = s->x, .a_stride = MOST, .b = s->y,
                           .b_stride = MOST, .y = s->z, .y_stride = MOST, .m = ROWS, .width = width};
    s->backend->map(&args, 0, ROWS);
}

static void run_glu(subject *s) { run_map(s, SONDE_MAP_GLU, INNER); }
static void run_add(subject *s) { run_map(s, SONDE_MAP_ADD, HIDDEN); }

static void run_cache_of(subject *s, sonde_dtype dtype)
{
    sonde_span span = {.n_rows = ROWS, .pages = s->pages};
    sonde_cache_args args = {.layout = {dtype, 3, 64, 64}, .k = s->x, .v = s->y, .k_stride = MOST,
                             .v_stride = MOST, .spans = &span, .n_spans = 1};
    s->backend->cache(&args, 0, s->backend->cache_units(&args));
}

static void run_cache(subject *s) { run_cache_of(s, SONDE_DTYPE_F32); }
static void run_cache_bf16(subject *s) { run_cache_of(s, SONDE_DTYPE_BF16); }

typedef struct step {
    const char *name;
    void (*run)(subject *s);
    int64_t elements, bytes; /* of a row */
} step;

static const step steps[] = {
    {"norm, 576", run_norm, HIDDEN, 8 * HIDDEN},
    {"rope, 9 heads of 64", run_rope, HIDDEN, 8 * HIDDEN},
    {"silu(gate) * up, 1536", run_glu, INNER, 12 * INNER},
    {"add, 576", run_add, HIDDEN, 12 * HIDDEN},
    {"cache f32, 3 heads of 64", run_cache, 384, 8 * 384},
    {"cache bf16, 3 heads of 64", run_cache_bf16, 384, 6 * 384},
};

static void measure_step(subject *s, const step *t, int64_t rounds)
{
    static volatile uint64_t sink;
    bench_times own = {0}, stream = {0};
    size_t bytes = (size_t)ROWS * MOST * sizeof(float);
    for (int64_t round = -1; round < rounds; round++) {
        double begin = bench_cpu();
        sink = sink + bench_stream(s->x, bytes);
        double reading = (bench_cpu() - begin) / (double)bytes;
        begin = bench_cpu();
        for (int i = 0; i < 8; i++) t->run(s);
        double subject_time = (bench_cpu() - begin) / 8;
        if (round < 0) continue;
        bench_add(&stream, reading);
        bench_add(&own, subject_time);
    }
    double time = bench_median(&own);
    printf("%-27s %8.1f us  %5.2f ns an element  %5.2f of stream\n", t->name, 1e6 * time,
           1e9 * time / (double)(ROWS * t->elements),
           bench_median(&stream) * (double)(ROWS * t->bytes) / time);
}

/* ---- a row of logits --------------------------------------------------------------------------------- */

static void measure_choice(const char *name, const float *logits, int64_t vocab,
                           const sonde_sampling *sampling, const sonde_backend *backend, int64_t rounds)
{
    sonde_sampler *sampler = NULL;
    sonde_error err = {0};
    bench_times own = {0};
    if (sonde_sampler_create(vocab, &sampler, &err) != SONDE_OK) exit(1);
    for (int64_t round = -1; round < rounds; round++) {
        uint32_t token = 0;
        float logprob, entropy;
        int32_t rank, asked = (int32_t)(vocab / 2);
        sonde_label_args label = {.logits = logits, .logits_stride = vocab, .m = 1, .vocab = vocab,
                                  .tokens = &asked, .logprob = &logprob, .entropy = &entropy,
                                  .rank = &rank};
        double begin = bench_cpu();
        if (!sampling) backend->label(&label, 0, 1);
        else if (sonde_sample(sampler, logits, sampling, 1, 2, (uint64_t)round + 9, &token, &err) != SONDE_OK)
            exit(1);
        if (round >= 0) bench_add(&own, bench_cpu() - begin);
    }
    printf("%-27s %8.1f us a row of %lld logits\n", name, 1e6 * bench_median(&own), (long long)vocab);
    sonde_sampler_destroy(&sampler);
}

static void measure_logits(const sonde_backend *backend, int64_t vocab, int64_t rounds)
{
    static const sonde_sampling greedy = {.temperature = 0.0, .top_p = 1.0};
    static const sonde_sampling some = {.temperature = 1.0, .top_k = 50, .top_p = 1.0};
    static const sonde_sampling all = {.temperature = 1.0, .top_p = 1.0};
    test_random random = {5};
    float *logits = memory((size_t)vocab, sizeof *logits);
    test_fill_normal(&random, logits, vocab);
    measure_choice("labels", logits, vocab, NULL, backend, rounds);
    measure_choice("greedy choice", logits, vocab, &greedy, backend, rounds);
    measure_choice("choice of the top 50", logits, vocab, &some, backend, rounds);
    measure_choice("choice of all", logits, vocab, &all, backend, rounds);
    sonde_free(logits);
}

int main(int argc, char **argv)
{
    subject s = {0};
    test_random random = {4};
    sonde_error err = {0};
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    if (sonde_backend_get("cpu", level, &s.backend, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int64_t rounds = bench_option(argc, argv, "--rounds", 9);
    float **operands[] = {&s.x, &s.y, &s.z, &s.table};
    for (size_t i = 0; i < SONDE_COUNT(operands); i++) {
        *operands[i] = memory((size_t)ROWS * MOST, sizeof(float));
        test_fill_normal(&random, *operands[i], ROWS * MOST);
    }
    for (int32_t i = 0; i < ROWS; i++) s.entry[i] = i;
    for (size_t i = 0; i < SONDE_COUNT(s.pages); i++)
        s.pages[i] = memory(3 * 128 * SONDE_PAGE_POSITIONS, sizeof(float));
    bench_load load;
    bench_load_begin(&load);
    printf("row-wise steps, 512 rows, %s, one thread\n", s.backend->level);
    for (size_t i = 0; i < SONDE_COUNT(steps); i++) measure_step(&s, &steps[i], rounds);
    measure_logits(s.backend, 49152, rounds);
    measure_logits(s.backend, 151936, rounds);
    bench_load_say(&load);
    for (size_t i = 0; i < SONDE_COUNT(s.pages); i++) sonde_free(s.pages[i]);
    for (size_t i = 0; i < SONDE_COUNT(operands); i++) sonde_free(*operands[i]);
    return 0;
}
