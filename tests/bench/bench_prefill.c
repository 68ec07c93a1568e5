/*
 * bench_prefill.c - a whole prefill and some decode steps of a model in the shape of SmolLM2-135M
 * with random weights, plain and with every residual captured, interleaved: tokens a second, what
 * capture costs, and where the time goes.
 *
 *   bench_prefill [--tokens 512] [--threads 1] [--rounds 5] [--decode 16] [--level 0|1|2]
 */
#include "bench.h"
#include "checkpoint.h"
#include "run/run.h"

#include <stdlib.h>
#include <string.h>

typedef struct subject {
    sonde_plan *plan;
    sonde_run *run;
    char *kept; /* where the tap puts what it sees */
    size_t at, bytes;
    bench_times wall, cpu, decode;
    sonde_run_stats stats;
} subject;

static void check(sonde_status status, const sonde_error *err)
{
    if (status == SONDE_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

/* A capture without a file: every row is copied. */
static sonde_status keep(void *context, const sonde_tap_view *view, sonde_error *err)
{
    subject *s = context;
    (void)err;
    for (int64_t r = 0; r < view->n_rows; r++) {
        size_t bytes = (size_t)view->width * sizeof(float);
        if (s->at + bytes > s->bytes) s->at = 0;
        memcpy(s->kept + s->at, view->data + r * view->stride, bytes);
        s->at += bytes;
    }
    return SONDE_OK;
}

static void subject_init(subject *s, const sonde_model *model, bool capture, int64_t tokens,
                         int64_t decode, int threads)
{
    sonde_error err = {0};
    int64_t n = sonde_model_point_count(model);
    uint8_t *wants = calloc((size_t)n, 1);
    for (int64_t i = 0; wants && capture && i < n; i++)
        if (strcmp(sonde_model_point(model, i)->local_name, "resid_post") == 0)
            wants[i] = SONDE_WANT_READ;
    sonde_plan_options options = {.wants = wants, .want_logits = true, .batch_rows = tokens,
                                  .max_sequences = 1, .max_positions = tokens + decode + 1};
    sonde_run_options run_options = {.threads = threads, .tap = capture ? keep : NULL,
                                     .tap_context = s};
    *s = (subject){.bytes = (size_t)64 << 20};
    s->kept = sonde_alloc(1, s->bytes);
    check(sonde_plan_create(model, &options, &s->plan, &err), &err);
    check(sonde_run_create(s->plan, &run_options, &s->run, &err), &err);
    free(wants);
}

static void step(subject *s, sonde_sequence *sequence, const uint32_t *tokens, int64_t n)
{
    sonde_error err = {0};
    sonde_batch_item item = {.sequence = sequence, .tokens = tokens, .count = n, .want_logits = true};
    check(sonde_run_step(s->run, &item, 1, &err), &err);
}

static void one_round(subject *s, const uint32_t *tokens, int64_t n, int64_t decode, bool count)
{
    sonde_error err = {0};
    sonde_sequence *sequence = NULL;
    sonde_run_stats before, after;
    check(sonde_sequence_create(s->run, n + decode, n, NULL, &sequence, &err), &err);
    sonde_run_stats_get(s->run, &before);
    double wall = bench_wall(), cpu = bench_cpu();
    step(s, sequence, tokens, n);
    wall = bench_wall() - wall;
    cpu = bench_cpu() - cpu;
    sonde_run_stats_get(s->run, &after);
    double begin = bench_wall();
    for (int64_t i = 0; i < decode; i++) step(s, sequence, tokens + i % n, 1);
    double decoded = bench_wall() - begin;
    sonde_sequence_destroy(&sequence);
    if (!count) return;
    bench_add(&s->wall, wall);
    bench_add(&s->cpu, cpu);
    bench_add(&s->decode, decoded);
    for (size_t i = 0; i < SONDE_COUNT(after.step_ns); i++)
        s->stats.step_ns[i] += after.step_ns[i] - before.step_ns[i];
}

static void print_steps(const subject *s)
{
    static const char *const kinds[] = {"embed", "linear", "norm", "rope", "cache", "attend", "map",
                                        "hook"};
    uint64_t all = 0;
    for (size_t i = 0; i < SONDE_COUNT(s->stats.step_ns); i++) all += s->stats.step_ns[i];
    for (size_t i = 0; i < SONDE_COUNT(kinds); i++)
        printf("  %-7s %8.2f ms %5.1f %%\n", kinds[i],
               1e-6 * (double)s->stats.step_ns[i] / (double)s->wall.n,
               100.0 * (double)s->stats.step_ns[i] / (double)all);
}

static void subject_print(const subject *s, const char *name, int64_t tokens, int64_t decode)
{
    printf("%-9s prefill %7.1f tokens/s (%.1f ms; this thread's processor time %.1f ms), decode "
           "%.1f tokens/s\n", name, (double)tokens / bench_median(&s->wall),
           1e3 * bench_median(&s->wall), 1e3 * bench_median(&s->cpu),
           decode ? (double)decode / bench_median(&s->decode) : 0.0);
    print_steps(s);
}

int main(int argc, char **argv)
{
    const char *folder = "build/bench/smollm2-135m-random";
    int64_t n = bench_option(argc, argv, "--tokens", 512);
    int64_t decode = bench_option(argc, argv, "--decode", 16);
    int64_t rounds = bench_option(argc, argv, "--rounds", 5);
    int threads = (int)bench_option(argc, argv, "--threads", 1);
    sonde_cpu_level level = (sonde_cpu_level)bench_option(argc, argv, "--level", SONDE_CPU_AVX512);
    if (!bench_checkpoint(folder, &bench_smollm2)) return 1;
    sonde_error err = {0};
    sonde_model *model = NULL;
    sonde_model_options options = {.threads = threads, .cpu_level = sonde_cpu_level_name(level)};
    check(sonde_model_open(folder, &options, &model, &err), &err);
    uint32_t *tokens = sonde_alloc((size_t)n, sizeof *tokens);
    for (int64_t i = 0; i < n; i++) tokens[i] = (uint32_t)(i * 7919 % bench_smollm2.vocab);
    subject plain, capture;
    subject_init(&plain, model, false, n, decode, threads);
    subject_init(&capture, model, true, n, decode, threads);
    bench_load load;
    bench_load_begin(&load);
    for (int64_t round = -1; round < rounds; round++) {
        one_round(&plain, tokens, n, decode, round >= 0);
        one_round(&capture, tokens, n, decode, round >= 0);
    }
    printf("SmolLM2-135M shape, float32, %lld tokens, %d threads, %s\n", (long long)n, threads,
           sonde_cpu_level_name(SONDE_MIN(level, sonde_cpu_best())));
    subject_print(&plain, "plain", n, decode);
    subject_print(&capture, "captured", n, decode);
    printf("capture of every residual costs %.1f %% (processor time %.1f %%)\n",
           100.0 * (bench_median(&capture.wall) / bench_median(&plain.wall) - 1.0),
           100.0 * (bench_median(&capture.cpu) / bench_median(&plain.cpu) - 1.0));
    bench_load_say(&load);
    for (subject *s = &plain; s; s = s == &plain ? &capture : NULL) {
        sonde_run_destroy(&s->run);
        sonde_plan_destroy(&s->plan);
        sonde_free(s->kept);
    }
    sonde_free(tokens);
    sonde_model_close(&model);
    return 0;
}
