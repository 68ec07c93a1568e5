/*
 * cmd_bench.c - sonde bench: a model's speed beside the machine's own, measured in turns, so that a
 * machine that slows down slows both; medians over the rounds.
 */
#include "cli/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COUNTS 8
#define MAX_ROUNDS 1000
#define BUSY 0.03 /* share of the machine that others may use before it is told */

/* One number, measured once a round. */
typedef struct series {
    int32_t n;
    double values[MAX_ROUNDS];
} series;

typedef struct bench {
    bench_spec spec;
    sonde_model *model; /* measured, not packed; the texts of info are its */
    sonde_model_info info;
    const bench_loops *loops;
    bench_memory memory;
    int32_t n_counts;
    int32_t counts[MAX_COUNTS]; /* of threads */
    double flops_per_token, bytes_per_token; /* of a prefill; weights that a decoded token reads */
    series gflops[MAX_COUNTS], read[MAX_COUNTS], prefill[MAX_COUNTS], decode[MAX_COUNTS];
    series of_peak[MAX_COUNTS], of_read[MAX_COUNTS];
    series with, without, overhead, cpu_overhead, codec, ratio;
    double others;
    bench_machine machine;
} bench;

static void add(series *s, double value)
{
    if (isfinite(value) && s->n < MAX_ROUNDS) s->values[s->n++] = value;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* NaN when nothing was measured. */
static double median(const series *s)
{
    static double sorted[MAX_ROUNDS];
    if (s->n == 0) return NAN;
    memcpy(sorted, s->values, (size_t)s->n * sizeof sorted[0]);
    qsort(sorted, (size_t)s->n, sizeof sorted[0], compare);
    return (sorted[(s->n - 1) / 2] + sorted[s->n / 2]) / 2;
}

/* Half of the 95 % interval of the mean (Student's t); NaN for a single value. */
static double half_interval(const series *s, double *mean)
{
    static const double t[] = {0,    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36,
                               2.31, 2.26,  2.23, 2.20, 2.18, 2.16, 2.14, 2.13};
    double squares = 0;
    *mean = 0;
    for (int32_t i = 0; i < s->n; i++) *mean += s->values[i] / s->n;
    for (int32_t i = 0; i < s->n; i++) squares += (s->values[i] - *mean) * (s->values[i] - *mean);
    if (s->n < 2) return NAN;
    double factor = s->n <= 16 ? t[s->n - 1] : 1.96 + 2.4 / (s->n - 1);
    return factor * sqrt(squares / (s->n - 1) / s->n);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static sonde_status read_counts(bench *b, const char *text, sonde_error *err)
{
    const char *at = text;
    do {
        char *end;
        long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > BENCH_MAX_THREADS || (*end && *end != ',') ||
            b->n_counts == MAX_COUNTS)
            return sonde_fail(err, SONDE_USAGE, "bench: option thread-counts: expected up to %d "
                              "numbers from 1 to %d with commas, got '%s'", MAX_COUNTS,
                              BENCH_MAX_THREADS, text);
        b->counts[b->n_counts++] = (int32_t)n;
        at = *end ? end + 1 : end;
    } while (*at);
    return SONDE_OK;
}

static const char *level_of(const sonde_model_info *info)
{
    return strcmp(info->backend, "cpu") == 0 ? info->level : "avx2";
}

static sonde_status look_at_model(bench *b, const cli_call *call, sonde_error *err)
{
    static const char *const backends[] = {"cpu", "blas", "oracle"};
    static const char *const modes[] = {"exact", "int"};
    sonde_model_options options = {.struct_size = (uint32_t)sizeof options,
                                   .backend = backends[call->job.backend],
                                   .cpu_level = call->job.cpumask,
                                   .mode = modes[call->job.mode],
                                   .measure = true};
    SONDE_TRY(sonde_model_open(call->words[0], &options, &b->model, err));
    sonde_model_info_get(b->model, &b->info);
    int64_t tokens = call->own.bench_tokens;
    if (b->info.max_positions > 0 && tokens >= b->info.max_positions)
        tokens = b->info.max_positions - 1;
    sonde_model_cost cost;
    SONDE_TRY(sonde_model_cost_get(b->model, tokens, &cost, err));
    b->flops_per_token = cost.prefill_flops / (double)tokens;
    b->bytes_per_token = cost.weight_bytes;
    b->loops = bench_loops_find(level_of(&b->info));
    b->spec = (bench_spec){.model = call->words[0], .options = &call->job, .tokens = tokens,
                           .vocab = b->info.vocab};
    if (tokens < call->own.bench_tokens && !call->job.quiet)
        fprintf(stderr, "sonde: prefill of %lld tokens: the model's context is no longer\n",
                (long long)tokens);
    return SONDE_OK;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static sonde_status measure_threads(bench *b, int32_t i, sonde_error *err)
{
    double prefill, decode;
    int threads = b->counts[i];
    double gflops = bench_gflops(b->loops, threads);
    SONDE_TRY(bench_prefill(&b->spec, threads, &prefill, err));
    double read = bench_read_gbs(b->loops, threads, &b->memory);
    SONDE_TRY(bench_decode(&b->spec, threads, &decode, err));
    add(&b->gflops[i], gflops);
    add(&b->read[i], read);
    add(&b->prefill[i], prefill);
    add(&b->decode[i], decode);
    add(&b->of_peak[i], prefill * b->flops_per_token * 1e-9 / gflops);
    add(&b->of_read[i], decode * b->bytes_per_token * 1e-9 / read);
    return SONDE_OK;
}

static sonde_status measure_round(bench *b, sonde_error *err)
{
    bench_capture_result capture;
    for (int32_t i = 0; i < b->n_counts; i++) SONDE_TRY(measure_threads(b, i, err));
    SONDE_TRY(bench_capture(&b->spec, b->counts[b->n_counts - 1], &capture, err));
    add(&b->with, capture.seconds_with);
    add(&b->without, capture.seconds_without);
    add(&b->overhead, capture.seconds_with / capture.seconds_without - 1);
    add(&b->cpu_overhead, capture.cpu_with / capture.cpu_without - 1);
    add(&b->codec, capture.codec_gbs);
    add(&b->ratio, capture.ratio);
    return SONDE_OK;
}

static sonde_status measure(bench *b, const cli_call *call, sonde_error *err)
{
    bench_load before, after;
    cli_progress progress;
    cli_progress_start(&progress, true);
    bench_load_look(&before);
    for (int64_t i = 0; i < call->own.rounds; i++) {
        if (!call->job.quiet)
            fprintf(stderr, "sonde: round %lld of %lld\n", (long long)i + 1,
                    (long long)call->own.rounds);
        SONDE_TRY(measure_round(b, err));
        if (cli_was_interrupted()) return sonde_fail(err, SONDE_INTERRUPTED, "bench: interrupted");
    }
    bench_load_look(&after);
    b->others = bench_load_others(&before, &after);
    return SONDE_OK;
}

/* ---- what came out --------------------------------------------------------------------------- */

static json_t *threads_json(const bench *b, int32_t i)
{
    json_t *value = json_object();
    json_object_set_new(value, "threads", json_integer(b->counts[i]));
    json_object_set_new(value, "machine_gflops", cli_json_real(median(&b->gflops[i])));
    json_object_set_new(value, "machine_read_gb_per_second", cli_json_real(median(&b->read[i])));
    json_object_set_new(value, "prefill_tokens_per_second", cli_json_real(median(&b->prefill[i])));
    json_object_set_new(value, "prefill_of_peak", cli_json_real(median(&b->of_peak[i])));
    json_object_set_new(value, "decode_tokens_per_second", cli_json_real(median(&b->decode[i])));
    json_object_set_new(value, "decode_of_read", cli_json_real(median(&b->of_read[i])));
    return value;
}

static json_t *machine_json(const bench *b)
{
    json_t *value = json_object();
    json_object_set_new(value, "cpu", cli_json_string(b->machine.cpu));
    json_object_set_new(value, "cores", json_integer(b->machine.cores));
    json_object_set_new(value, "level", cli_json_string(b->info.level));
    json_object_set_new(value, "memory_bytes", json_integer((json_int_t)b->machine.memory_bytes));
    json_object_set_new(value, "system", cli_json_string(b->machine.system));
    return value;
}

static json_t *capture_json(const bench *b)
{
    json_t *value = json_object();
    double mean, half = half_interval(&b->overhead, &mean);
    json_object_set_new(value, "points", json_string("blocks.*.resid_post"));
    json_object_set_new(value, "threads", json_integer(b->counts[b->n_counts - 1]));
    json_object_set_new(value, "seconds_with", cli_json_real(median(&b->with)));
    json_object_set_new(value, "seconds_without", cli_json_real(median(&b->without)));
    json_object_set_new(value, "overhead", cli_json_real(median(&b->overhead)));
    json_object_set_new(value, "cpu_overhead", cli_json_real(median(&b->cpu_overhead)));
    json_object_set_new(value, "overhead_low", cli_json_real(mean - half));
    json_object_set_new(value, "overhead_high", cli_json_real(mean + half));
    json_object_set_new(value, "codec_gb_per_second", cli_json_real(median(&b->codec)));
    json_object_set_new(value, "codec_ratio", cli_json_real(median(&b->ratio)));
    return value;
}

static json_t *bench_json(const bench *b, const cli_call *call)
{
    json_t *value = json_object(), *threads = json_array();
    for (int32_t i = 0; i < b->n_counts; i++) json_array_append_new(threads, threads_json(b, i));
    json_object_set_new(value, "format", json_string("sonde-bench"));
    json_object_set_new(value, "version", json_integer(1));
    json_object_set_new(value, "model", cli_json_string(call->words[0]));
    json_object_set_new(value, "backend", cli_json_string(b->info.backend));
    json_object_set_new(value, "mode", cli_json_string(b->info.mode));
    json_object_set_new(value, "level", cli_json_string(b->info.level));
    json_object_set_new(value, "parameters", json_integer(b->info.n_parameters));
    json_object_set_new(value, "packed_bytes", json_integer((json_int_t)b->info.packed_bytes));
    json_object_set_new(value, "rounds", json_integer(call->own.rounds));
    json_object_set_new(value, "prefill_tokens", json_integer(b->spec.tokens));
    json_object_set_new(value, "flops_per_token", cli_json_real(b->flops_per_token));
    json_object_set_new(value, "bytes_per_token", cli_json_real(b->bytes_per_token));
    json_object_set_new(value, "by_threads", threads);
    json_object_set_new(value, "capture", capture_json(b));
    json_object_set_new(value, "others_share", cli_json_real(b->others < 0 ? NAN : b->others));
    json_object_set_new(value, "machine", machine_json(b));
    return value;
}

static void print_result(const bench *b)
{
    char memory[32];
    printf("%s, %d cores, %s, %s of memory, %s\n\n", b->machine.cpu, b->machine.cores,
           b->info.level, sonde_format_bytes(b->machine.memory_bytes, memory), b->machine.system);
    printf("%7s %15s %12s %8s %13s %14s %8s\n", "threads", "machine GFLOP/s", "prefill t/s",
           "of peak", "machine GB/s", "decode t/s", "of read");
    for (int32_t i = 0; i < b->n_counts; i++)
        printf("%7d %15.1f %12.1f %7.0f%% %13.1f %14.1f %7.0f%%\n", b->counts[i],
               median(&b->gflops[i]), median(&b->prefill[i]), 100 * median(&b->of_peak[i]),
               median(&b->read[i]), median(&b->decode[i]), 100 * median(&b->of_read[i]));
    printf("\ncapture of blocks.*.resid_post: %.3f s with, %.3f s without: %+.1f %% of "
           "time, %+.1f %% of processor time\n", median(&b->with), median(&b->without),
           100 * median(&b->overhead), 100 * median(&b->cpu_overhead));
    printf("codec: %.2f GB/s of a core, ratio %.2f\n", median(&b->codec), median(&b->ratio));
    if (b->others > BUSY)
        printf("\nothers used %.0f %% of the machine meanwhile: it can do more than this\n",
               100 * b->others);
}

sonde_status cmd_bench(cli_call *call, sonde_error *err)
{
    bench *b = calloc(1, sizeof *b);
    if (!b) return sonde_fail(err, SONDE_NO_MEMORY, "bench: out of memory");
    sonde_status status = read_counts(b, call->own.bench_threads, err);
    if (status == SONDE_OK) status = look_at_model(b, call, err);
    bench_machine_look(&b->machine);
    if (status == SONDE_OK) status = bench_memory_create(&b->memory, err);
    if (status == SONDE_OK) status = bench_folder_create(&b->spec, err);
    if (status == SONDE_OK) status = measure(b, call, err);
    if (status == SONDE_OK && call->job.json)
        status = cli_print_json(bench_json(b, call), true, err);
    else if (status == SONDE_OK)
        print_result(b);
    bench_folder_remove(&b->spec);
    bench_memory_destroy(&b->memory);
    sonde_model_close(&b->model);
    free(b);
    return status;
}
