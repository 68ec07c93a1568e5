/*
 * bench_linear.c - matrix products against the machine: the peak loop of fused multiply-adds, a
 * stream over the same bytes of weights, OpenBLAS and the subject in turn, medians. As in a model no
 * matrix is used twice in a row: products walk through copies that the caches do not hold
 * (--warm 1: one copy, which may stay in a cache). `limit` is what the machine allows at best, the
 * longer of the two loops; OpenBLAS has fp32 weights, whatever the subject has. On one thread times
 * are the thread's processor time, on more the wall's.
 *
 *   bench_linear [--rounds 7] [--tries 3] [--level 0|1|2] [--warm 0|1] [--busy 0|1]
 *                [--threads T] [--m M] [--n N --k K] [--dtype f32|bf16|f16] [--table FILE]
 *
 * Where others use more than 8 % of a core while the products of a matrix are timed, they are timed
 * again, at last a word stands in place of the figures, unless --busy 1. --table writes
 * tab-separated values with a header line.
 */
#include "bench.h"
#include "support/linear_case.h"
#include "team.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLD_BYTES ((size_t)96 << 20)
#define MOST_LOAD 0.08
#define MOST_FLOPS 4e10 /* of one product: larger ones are left out */
#define BLAS_REST_NS 300000000 /* its threads go on spinning for a while */
#define SETTLE_SECONDS 0.1

static const int64_t rows_of_x[] = {1, 4, 16, 64, 256, 512};
#define N_ROWS SONDE_COUNT(rows_of_x)
static const int64_t shapes[][2] = { /* [outputs, inputs]: SmolLM2-135M, Qwen2.5-0.5B */
    {576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576},
    {896, 896}, {128, 896}, {4864, 896}, {896, 4864}, {151936, 896},
};
static const sonde_dtype dtypes[] = {SONDE_DTYPE_F32, SONDE_DTYPE_BF16, SONDE_DTYPE_F16};

typedef struct options {
    int64_t rounds, tries, m, n, k, threads;
    bool warm, busy;
    const char *dtype;
    FILE *table;
} options;

/* A matrix to be timed. */
typedef struct matrix {
    sonde_dtype dtype;
    int64_t n, k, copies;
    size_t bytes;      /* of one copy */
    char *weights;     /* all copies */
    const float *blas; /* what OpenBLAS multiplies with: the same where weights are fp32 */
    int64_t blas_copies;
} matrix;

typedef struct result {
    int64_t m;
    double peak, stream, blas, own; /* seconds of the product */
} result;

static const sonde_backend *backend;

static void *memory(size_t bytes)
{
    void *block = sonde_alloc_raw(1, bytes);
    if (block) {
        sonde_pages_huge(block, bytes); /* as lib/run does for weights */
        return block;
    }
    fprintf(stderr, "out of memory: %zu bytes\n", bytes);
    exit(1);
}

/* Numbers near normal; their order repeats after a million. */
static void fill(sonde_dtype dtype, char *data, size_t bytes)
{
    test_random random = {7};
    size_t period = (size_t)1 << 20, each = sonde_dtype_bytes(dtype, 1);
    for (size_t at = 0; at < bytes; at += each) {
        float x = test_random_normal(&random);
        if (at < period * each) sonde_encode_f32(dtype, &x, data + at, 1);
        else break;
    }
    for (size_t at = period * each; at < bytes; at += period * each)
        memcpy(data + at, data, SONDE_MIN(period * each, bytes - at));
}

/* ---- one product -------------------------------------------------------------------------------- */

typedef struct operands {
    float *x, *y;
    char *scratch;
    size_t scratch_bytes;
    sonde_packed weight;
    sonde_linear_args args;
} operands;

static void operands_init(operands *o, const matrix *w, int64_t m, int threads)
{
    int64_t x_stride = w->k % 256 == 0 ? w->k + 16 : w->k; /* as lib/run lays out its buffers */
    o->x = memory((size_t)(m * x_stride) * sizeof(float));
    o->y = memory((size_t)(m * (w->n + 16)) * sizeof(float));
    fill(SONDE_DTYPE_F32, (char *)o->x, (size_t)(m * x_stride) * sizeof(float));
    o->weight = (sonde_packed){.dtype = w->dtype, .rows = w->n, .cols = w->k, .bytes = w->bytes};
    o->args = (sonde_linear_args){.x = o->x, .x_stride = x_stride, .m = m, .n_parts = 1};
    o->args.parts[0] = (sonde_linear_part){.weight = &o->weight, .y = o->y, .y_stride = w->n + 16};
    o->scratch_bytes = (backend->linear_scratch(&o->args) + 63) / 64 * 64;
    o->scratch = memory((size_t)threads * o->scratch_bytes);
}

static void operands_reset(operands *o)
{
    sonde_free(o->x);
    sonde_free(o->y);
    sonde_free(o->scratch);
}

static double run_subject(const bench_team *team, operands *o, const matrix *w, int64_t repeats,
                          int64_t first)
{
    double begin = bench_team_clock(team);
    for (int64_t i = 0; i < repeats; i++) {
        o->weight.data = w->weights + (size_t)((first + i) % w->copies) * w->bytes;
        bench_team_linear(team, backend, &o->args, o->scratch, o->scratch_bytes);
    }
    return (bench_team_clock(team) - begin) / (double)repeats;
}

static double run_blas(const bench_team *team, const operands *o, const matrix *w, int64_t repeats,
                       int64_t first)
{
    double begin = bench_team_clock(team);
    for (int64_t i = 0; i < repeats; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)o->args.m, (int)w->n, (int)w->k,
                    1.0f, o->x, (int)o->args.x_stride,
                    w->blas + (first + i) % w->blas_copies * w->n * w->k, (int)w->k, 0.0f, o->y,
                    (int)w->n + 16);
    return (bench_team_clock(team) - begin) / (double)repeats;
}

/* Lets OpenBLAS's threads fall asleep, then the team's find a core each: a thread that is woken after
 * a rest may share the core of the one that wakes it for some milliseconds. */
static void settle(const bench_team *team)
{
    if (team->threads == 1) return;
    nanosleep(&(struct timespec){.tv_nsec = BLAS_REST_NS}, NULL);
    double begin = bench_team_clock(team);
    while (bench_team_clock(team) - begin < SETTLE_SECONDS) bench_team_peak(team);
}

static double run_stream(const bench_team *team, const matrix *w, int64_t repeats, int64_t first)
{
    double seconds = 0.0;
    for (int64_t i = 0; i < repeats; i++)
        seconds += bench_team_stream(
            team, w->weights + (size_t)((first + i) % w->copies) * w->bytes, w->bytes);
    return seconds / (double)repeats;
}

/* So often that a turn takes some milliseconds, whatever the size. */
static int64_t repeats_of(const matrix *w, int64_t m)
{
    double flops = 2.0 * (double)m * (double)w->n * (double)w->k;
    double seconds = flops / 5e10 + (double)w->bytes / 2e10;
    return SONDE_MAX(1, (int64_t)(6e-3 / seconds));
}

static result measure(const bench_team *team, const matrix *w, int64_t m, const options *o)
{
    operands product;
    operands_init(&product, w, m, team->threads);
    bench_times peak = {0}, stream = {0}, blas = {0}, own = {0};
    int64_t repeats = repeats_of(w, m), rounds = o->rounds, at = 0;
    for (int64_t round = -1; round < rounds; round++, at += 2 * repeats) {
        settle(team);
        double loop = bench_team_peak(team);
        double memory_loop = run_stream(team, w, SONDE_MIN(repeats, 50), at + repeats);
        double subject = run_subject(team, &product, w, repeats, at + repeats);
        double other = run_blas(team, &product, w, repeats, at);
        if (round < 0) continue;
        bench_add(&peak, loop);
        bench_add(&stream, memory_loop);
        bench_add(&blas, other);
        bench_add(&own, subject);
    }
    operands_reset(&product);
    double flops = 2.0 * (double)m * (double)w->n * (double)w->k;
    return (result){m, flops * bench_median(&peak), bench_median(&stream), bench_median(&blas),
                    bench_median(&own)};
}

/* ---- the products of a matrix --------------------------------------------------------------------- */

/* kernels.md's targets: of the peak, for one row of the stream. */
static double target_of(const matrix *w, int64_t m, int threads)
{
    bool small = w->n == w->k && w->n < 640;
    if (m == 1) return 0.85;
    if (m <= 4) return small ? 0.45 : 0.55;
    if (m <= 16) return small ? 0.60 : 0.70;
    if (m <= 64) return small ? 0.70 : 0.80;
    if (threads == 1) return small ? 0.75 : 0.85;
    return small ? 0.70 : 0.82;
}

static void print_result(const bench_team *team, const matrix *w, const result *r, FILE *table)
{
    double flops = 2.0 * (double)r->m * (double)w->n * (double)w->k, own = r->own;
    double limit = SONDE_MAX(r->peak, r->stream), share = r->m == 1 ? r->stream : r->peak;
    double target = target_of(w, r->m, team->threads);
    printf("%2d %4lld %6lld %4lld %-4s %6.1f GF/s  %4.2f of peak %5.1f  %4.2f of stream %4.1f GB/s  "
           "%4.2f of limit  %5.2f x OpenBLAS  %s %.2f\n",
           team->threads, (long long)r->m, (long long)w->n, (long long)w->k,
           sonde_dtype_name(w->dtype), 1e-9 * flops / own, r->peak / own, 1e-9 * flops / r->peak,
           r->stream / own, 1e-9 * (double)w->bytes / r->stream, limit / own, r->blas / own,
           share / own >= target ? "reaches" : "below", target);
    if (table)
        fprintf(table, "%s\t%d\t%lld\t%lld\t%lld\t%s\t%lld\t%.9g\t%.9g\t%.9g\t%.9g\t%.2f\n",
                backend->level, team->threads, (long long)r->m, (long long)w->n, (long long)w->k,
                sonde_dtype_name(w->dtype), (long long)w->copies, r->peak, r->stream, r->blas, own,
                target);
}

/* Measures all rows; the share of a core that others used meanwhile. */
static double measure_rows(const bench_team *team, const matrix *w, const options *o,
                           result results[N_ROWS], size_t *n)
{
    bench_load load;
    bench_load_begin(&load);
    *n = 0;
    for (size_t i = 0; i < N_ROWS; i++) {
        double flops = 2.0 * (double)rows_of_x[i] * (double)w->n * (double)w->k;
        if (flops > MOST_FLOPS || (o->m > 0 && rows_of_x[i] != o->m)) continue;
        results[(*n)++] = measure(team, w, rows_of_x[i], o);
    }
    return bench_load_others(&load);
}

static void measure_matrix(const bench_team *team, const matrix *w, const options *o)
{
    result results[N_ROWS];
    size_t n = 0;
    double others = 1.0;
    for (int64_t i = 0; i < o->tries && others > MOST_LOAD; i++)
        others = measure_rows(team, w, o, results, &n);
    if (others > MOST_LOAD)
        printf("%2d      %6lld %4lld %-4s others used %.0f %% of a core%s\n", team->threads,
               (long long)w->n, (long long)w->k, sonde_dtype_name(w->dtype), 100.0 * others,
               o->busy ? ": do not quote" : ": skipped");
    for (size_t i = 0; i < n && (others <= MOST_LOAD || o->busy); i++)
        print_result(team, w, &results[i], o->table);
    fflush(stdout);
}

static bool wanted(const options *o, int64_t n, int64_t k)
{
    return (o->n == 0 || o->n == n) && (o->k == 0 || o->k == k);
}

static matrix matrix_of(const options *o, sonde_dtype dtype, int64_t n, int64_t k, char *weights,
                        const char *blas)
{
    matrix w = {.dtype = dtype, .n = n, .k = k, .weights = weights,
                .bytes = backend->packed_bytes(dtype, n, k)};
    w.blas = (const float *)(const void *)blas;
    size_t fp32 = (size_t)(n * k) * sizeof(float);
    w.copies = o->warm ? 1 : (int64_t)((COLD_BYTES + w.bytes - 1) / w.bytes);
    w.blas_copies = o->warm ? 1 : (int64_t)((COLD_BYTES + fp32 - 1) / fp32);
    return w;
}

/* Bytes that the copies of any wanted matrix take. */
static size_t most_bytes(const options *o, sonde_dtype dtype)
{
    size_t most = 0;
    for (size_t i = 0; i < SONDE_COUNT(shapes); i++) {
        if (!wanted(o, shapes[i][0], shapes[i][1])) continue;
        matrix w = matrix_of(o, dtype, shapes[i][0], shapes[i][1], NULL, NULL);
        most = SONDE_MAX(most, w.bytes * (size_t)w.copies);
    }
    return most;
}

static void measure_all(const bench_team *team, const options *o)
{
    size_t fp32_bytes = most_bytes(o, SONDE_DTYPE_F32);
    char *fp32 = memory(fp32_bytes);
    fill(SONDE_DTYPE_F32, fp32, fp32_bytes);
    for (size_t d = 0; d < SONDE_COUNT(dtypes); d++) {
        sonde_dtype dtype = dtypes[d];
        if (o->dtype && strcmp(o->dtype, sonde_dtype_name(dtype)) != 0) continue;
        size_t bytes = most_bytes(o, dtype);
        char *weights = dtype == SONDE_DTYPE_F32 ? fp32 : memory(bytes);
        if (weights != fp32) fill(dtype, weights, bytes);
        for (size_t i = 0; i < SONDE_COUNT(shapes); i++) {
            matrix w = matrix_of(o, dtype, shapes[i][0], shapes[i][1], weights, fp32);
            if (wanted(o, w.n, w.k)) measure_matrix(team, &w, o);
        }
        if (weights != fp32) sonde_free(weights);
    }
    sonde_free(fp32);
}

static options options_of(int argc, char **argv)
{
    const char *table = bench_text(argc, argv, "--table");
    options o = {.rounds = bench_option(argc, argv, "--rounds", 7),
                 .tries = bench_option(argc, argv, "--tries", 3),
                 .threads = bench_option(argc, argv, "--threads", 0),
                 .m = bench_option(argc, argv, "--m", 0), .n = bench_option(argc, argv, "--n", 0),
                 .k = bench_option(argc, argv, "--k", 0),
                 .warm = bench_option(argc, argv, "--warm", 0) != 0,
                 .busy = bench_option(argc, argv, "--busy", 0) != 0,
                 .dtype = bench_text(argc, argv, "--dtype"),
                 .table = table ? fopen(table, "w") : NULL};
    if (table && !o.table) {
        fprintf(stderr, "%s: cannot be written\n", table);
        exit(1);
    }
    if (o.table)
        fprintf(o.table, "level\tthreads\tm\tn\tk\tdtype\tcopies\tpeak_s\tstream_s\topenblas_s\t"
                         "sonde_s\ttarget\n");
    return o;
}

int main(int argc, char **argv)
{
    options o = options_of(argc, argv);
    sonde_error err = {0};
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    if (sonde_backend_get("cpu", level, &backend, &err) != SONDE_OK ||
        !sonde_cpu_level_from_name(backend->level, &level)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("linear, %s:\n T    M      N    K\n", backend->level);
    for (int threads = 1; threads <= 2; threads++) {
        if (o.threads > 0 && o.threads != threads) continue;
        bench_team team;
        bench_team_open(&team, threads, level);
        openblas_set_num_threads(threads);
        measure_all(&team, &o);
        bench_team_close(&team);
    }
    if (o.table) fclose(o.table);
    return 0;
}
