/*
 * bench_capture.c - what a capture costs, over paired runs of one program: each subject between two
 * runs of the base, which runs the same steps over the same rows and keeps one row. A run is a whole
 * job, from the first prompt to the sealed and synced file.
 *
 *   bench_capture [--model FOLDER] [--folder FOR_FILES] [--prompts 4] [--tokens 512] [--workers N]
 *                 [--threads N] [--rounds 5] [--raw 1]
 *
 * Subjects: every resid_post in bf16 with the default codec; one layer's; every hook point but
 * logits, scores and pattern visited and none copied. With --raw 1 instead: every hook point of every
 * layer with --codec raw into FOR_FILES (a RAM disk): what each stage moves beside the memory's read rate.
 */
#include "bench.h"
#include "checkpoint.h"
#include "core/cpu.h"
#include "sonde/job.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MADE "build/bench/smollm2-135m-random"
#define VISITED                                                                                    \
    "embed,blocks.*.resid_*,blocks.*.attn_norm*,blocks.*.attn.{q,k,v,q_rot,k_rot,z,out},"          \
    "blocks.*.mlp_norm*,blocks.*.mlp.*,final_norm"

typedef struct subject {
    const char *name, *points, *rows, *probe, *codec;
    sonde_job_options options;
    sonde_job *job;
    double wall[BENCH_MOST], cpu[BENCH_MOST]; /* a round: its run over the base's, less 1 */
    int n;
    sonde_job_summary last;
} subject;

static char prompts[600], output[600], workers[16], threads[16];

static void check(sonde_status status, const sonde_error *err)
{
    if (status == SONDE_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void write_prompts(int64_t count, int64_t tokens, int64_t vocab)
{
    FILE *file = fopen(prompts, "w");
    uint64_t state = 1;
    for (int64_t i = 0; file && i < count * tokens; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        fprintf(file, "%s%llu%s", i % tokens ? ", " : "{\"tokens\": [",
                (unsigned long long)((state >> 33) % (uint64_t)vocab),
                (i + 1) % tokens ? "" : "]}\n");
    }
    if (file && fclose(file) == 0) return;
    fprintf(stderr, "cannot write %s\n", prompts);
    exit(1);
}

/* --off narrow: every row runs through the last block, kept or not. */
static void subject_open(subject *s, const char *model)
{
    sonde_error err = {0};
    check(sonde_options_defaults(sonde_job_options_table, &s->options, &err), &err);
    s->options.off = "narrow";
    s->options.workers = workers;
    s->options.threads = threads;
    s->options.overwrite = true;
    if (s->codec) s->options.codec = s->codec;
    s->options.rows = s->rows;
    s->options.points = (sonde_option_list){.count = 1, .values = {s->points}};
    if (s->probe) s->options.probes = (sonde_option_list){.count = 1, .values = {s->probe}};
    sonde_job_spec spec = {.model = model, .prompts = prompts, .options = &s->options};
    check(sonde_job_open(&spec, &s->job, &err), &err);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Seconds of the wall and of all processors that one run takes. The file of the run before is removed
 * first: on some disks that takes as long as writing it, and it is not this run's. */
static void run(subject *s, double *wall, double *cpu)
{
    sonde_error err = {0};
    unlink(output);
    double begin = bench_wall(), begin_cpu = cpu_seconds();
    check(sonde_job_capture(s->job, output, NULL, &s->last, &err), &err);
    *wall = bench_wall() - begin;
    *cpu = cpu_seconds() - begin_cpu;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* How many of the smallest and of the largest of n values a 95 % interval of their median leaves out: the
 * binomial(n, 1/2) below it is at most 2.5 %. -1: n is too small. */
static int left_out(int n)
{
    double below = 0, term = pow(0.5, n);
    for (int k = 0; k < n; k++) {
        below += term;
        if (below > 0.025) return k - 1;
        term *= (double)(n - k) / (k + 1);
    }
    return -1;
}

/* The median and its interval, which holds whatever the distribution is: a machine that others use
 * has runs that are late by any amount. */
static void print_interval(const char *what, const double *x, int n)
{
    double sorted[BENCH_MOST];
    memcpy(sorted, x, (size_t)n * sizeof *x);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    int k = left_out(n);
    double low = k < 0 ? -INFINITY : sorted[k], high = k < 0 ? INFINITY : sorted[n - 1 - k];
    printf("  %-14s %+6.2f %% (95 %% interval of the median: %+.2f to %+.2f; %d pairs)\n", what,
           50 * (sorted[(n - 1) / 2] + sorted[n / 2]), 100 * low, 100 * high, n);
}

static void print_subject(const subject *s)
{
    const sonde_job_summary *l = &s->last;
    printf(
        "%s: %.1f MB, %.1f MB in the file; in the last run hooks %.3f s, codec %.3f, write %.3f, "
        "wait %.3f\n",
        s->name, 1e-6 * (double)l->totals.bytes_raw, 1e-6 * (double)l->totals.bytes_stored,
        1e-9 * (double)l->hook_ns, 1e-9 * (double)l->codec_ns, 1e-9 * (double)l->write_ns,
        1e-9 * (double)l->wait_ns);
    print_interval("wall", s->wall, s->n);
    print_interval("processor time", s->cpu, s->n);
}

static void rounds_of(subject *base, subject *subjects, int n_subjects, int64_t rounds)
{
    double wall, cpu, before, before_cpu, after, after_cpu;
    run(base, &wall, &cpu);
    for (int i = 0; i < n_subjects; i++) run(&subjects[i], &wall, &cpu);
    run(base, &before, &before_cpu);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < n_subjects; i++) {
            subject *s = &subjects[i];
            run(s, &wall, &cpu);
            run(base, &after, &after_cpu);
            s->wall[s->n] = 2 * wall / (before + after) - 1;
            s->cpu[s->n++] = 2 * cpu / (before_cpu + after_cpu) - 1;
            before = after;
            before_cpu = after_cpu;
        }
}

#define STREAM_BYTES ((size_t)256 << 20)

/* GB/s that a team reads memory at. */
static double read_rate(const bench_team *team, const char *data)
{
    double begin = bench_wall();
    bench_team_stream(team, data, STREAM_BYTES);
    return (double)STREAM_BYTES / (bench_wall() - begin) * 1e-9;
}

/* What a stage moves in the seconds that its threads spend in it, beside what one thread reads. */
static void print_stage(const char *what, double bytes, uint64_t ns, double one)
{
    double rate = ns > 0 ? bytes / (double)ns : NAN;
    printf("  %-62s %7.1f MB in %6.3f s: %5.2f GB/s, %3.0f %% of what one thread reads\n", what,
           1e-6 * bytes, 1e-9 * (double)ns, rate, 100 * rate / one);
}

/* Bytes that pass through registers or a copy of the system's: lines that a write fetches first and what
 * caches keep are not counted. Stored as f32, so that a row has as many bytes in the run and in the file. */
static void print_raw(subject *s, int64_t rounds)
{
    bench_times walls = {0}, one = {0}, all = {0};
    bench_team teams[2];
    char *data = malloc(STREAM_BYTES);
    double wall, cpu;
    if (!data) exit(1);
    memset(data, 1, STREAM_BYTES);
    bench_team_open(&teams[0], 1, sonde_cpu_best());
    bench_team_open(&teams[1], sonde_cpu_count(), sonde_cpu_best());
    run(s, &wall, &cpu);
    for (int64_t r = 0; r < rounds; r++) {
        run(s, &wall, &cpu);
        bench_add(&walls, wall);
        bench_add(&one, read_rate(&teams[0], data));
        bench_add(&all, read_rate(&teams[1], data));
    }
    const sonde_job_summary *l = &s->last;
    double rows = (double)l->totals.bytes_raw, stored = (double)l->totals.bytes_stored;
    double seconds = bench_median(&walls), reads = bench_median(&all);
    printf("every hook point, raw: %.1f MB in %.2f s, %.2f GB/s of rows into the file; memory is read at "
           "%.1f GB/s by one thread, %.1f by %d\n", 1e-6 * rows, seconds, 1e-9 * rows / seconds,
           bench_median(&one), reads, sonde_cpu_count());
    print_stage("hooks (all workers): rows read, chunks written", 2 * rows, l->hook_ns,
                bench_median(&one));
    print_stage("writer: chunks hashed, read, the file's pages written", 3 * stored, l->write_ns,
                bench_median(&one));
    double moved = 2 * rows + 3 * stored;
    printf("  both over the whole run: %.2f GB/s, %.0f %% of what %d threads read; prefill %.3f s over all "
           "workers, wait %.3f\n", 1e-9 * moved / seconds, 1e-7 * moved / seconds / reads,
           sonde_cpu_count(), 1e-9 * (double)l->prefill_ns, 1e-9 * (double)l->wait_ns);
    for (int i = 0; i < 2; i++) bench_team_close(&teams[i]);
    free(data);
}

static const char *text_option(int argc, char **argv, const char *name, const char *fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    return fallback;
}

/* build/CONFIG/tests/bench/bench_capture: probes and the visiting plugin lie near it. */
static void find_probes(const char *program)
{
    char path[1200];
    const char *slash = strrchr(program, '/');
    int n = slash ? (int)(slash - program) : 1;
    const char *folder = slash ? program : ".";
    snprintf(path, sizeof path, "%.*s/../../probes:%.*s/../abi/plugins", n, folder, n, folder);
    setenv("SONDE_PROBE_PATH", path, 0);
}

static int64_t vocab_of(const char *model)
{
    sonde_error err = {0};
    sonde_model *m = NULL;
    sonde_model_info info;
    sonde_model_options options = {.struct_size = sizeof options, .shape_only = true};
    check(sonde_model_open(model, &options, &m, &err), &err);
    sonde_model_info_get(m, &info);
    int64_t vocab = info.vocab;
    sonde_model_close(&m);
    return vocab;
}

int main(int argc, char **argv)
{
    const char *model = text_option(argc, argv, "--model", MADE);
    const char *folder = text_option(argc, argv, "--folder", "/tmp");
    int64_t n = bench_option(argc, argv, "--prompts", 4);
    int64_t tokens = bench_option(argc, argv, "--tokens", 512);
    int64_t rounds = SONDE_MIN(bench_option(argc, argv, "--rounds", 5), BENCH_MOST);
    bool raw = bench_option(argc, argv, "--raw", 0) != 0;
    int cores = sonde_cpu_count();
    snprintf(workers, sizeof workers, "%lld",
             (long long)bench_option(argc, argv, "--workers", cores));
    snprintf(threads, sizeof threads, "%lld", (long long)bench_option(argc, argv, "--threads", 1));
    snprintf(prompts, sizeof prompts, "%s/bench-capture-%ld.jsonl", folder, (long)getpid());
    snprintf(output, sizeof output, "%s/bench-capture-%ld.h5", folder, (long)getpid());
    find_probes(argv[0]);
    if (strcmp(model, MADE) == 0 && !bench_checkpoint(model, &bench_smollm2)) return 1;
    write_prompts(n, tokens, vocab_of(model));
    subject base = {.name = "base", .points = "blocks.-1.resid_post", .rows = "last:1"};
    subject subjects[] = {
        {.name = "every resid_post, bf16, deflate", .points = "blocks.*.resid_post"},
        {.name = "one layer's resid_post", .points = "blocks.-1.resid_post"},
        {.name = "every point visited, none copied", .points = VISITED, .probe = "visit"}};
    subject all = {.name = "raw", .points = "*", .codec = "raw"};
    if (raw) subject_open(&all, model);
    for (size_t i = 0; !raw && i < SONDE_COUNT(subjects); i++) subject_open(&subjects[i], model);
    if (!raw) subject_open(&base, model);
    printf("%s: %lld prompts of %lld tokens, %s workers of %s threads\n", model, (long long)n,
           (long long)tokens, workers, threads);
    setvbuf(stdout, NULL, _IOLBF, 0);
    bench_load load;
    bench_load_begin(&load);
    if (raw) print_raw(&all, rounds);
    else rounds_of(&base, subjects, (int)SONDE_COUNT(subjects), rounds);
    for (size_t i = 0; !raw && i < SONDE_COUNT(subjects); i++) print_subject(&subjects[i]);
    bench_load_say(&load);
    for (size_t i = 0; i < SONDE_COUNT(subjects); i++) sonde_job_close(&subjects[i].job);
    sonde_job_close(&base.job);
    sonde_job_close(&all.job);
    unlink(prompts);
    unlink(output);
    return 0;
}
