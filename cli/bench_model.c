/* bench_model.c - the jobs that sonde bench times. Each is opened anew; only the run is timed. */
#include "cli/bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CAPTURE_PROMPTS 4
#define DECODE_PROMPT 16
#define DECODE_TOKENS 64

static const char *const files[] = {"prefill.jsonl", "decode.jsonl", "capture.jsonl", "capture.h5",
                                    "capture.h5.part", "capture.log"};

static void path_of(const bench_spec *spec, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", spec->folder, name);
}

/* `n` prompts of ids that look like nothing: a multiplicative walk over the vocabulary. */
static sonde_status write_prompts(const bench_spec *spec, const char *name, int n, int64_t tokens,
                                  sonde_error *err)
{
    char path[128];
    uint64_t state = 88172645463325252u;
    path_of(spec, name, path);
    FILE *file = fopen(path, "w");
    if (!file) return sonde_fail(err, SONDE_IO, "%s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        for (int64_t t = 0; t < tokens; t++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            fprintf(file, "%s%llu", t ? ", " : "{\"tokens\": [",
                    (unsigned long long)((state >> 33) % (uint64_t)spec->vocab));
        }
        fprintf(file, "]}\n");
    }
    bool good = !ferror(file);
    if (fclose(file) != 0 || !good)
        return sonde_fail(err, SONDE_IO, "%s: %s", path, strerror(errno));
    return SONDE_OK;
}

sonde_status bench_folder_create(bench_spec *spec, sonde_error *err)
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(spec->folder, sizeof spec->folder, "%s/sonde-bench-XXXXXX",
                     base && base[0] ? base : "/tmp");
    if (n >= (int)sizeof spec->folder)
        snprintf(spec->folder, sizeof spec->folder, "/tmp/sonde-bench-XXXXXX");
    if (!mkdtemp(spec->folder)) {
        sonde_fail(err, SONDE_IO, "%s: %s", spec->folder, strerror(errno));
        spec->folder[0] = '\0';
        return SONDE_IO;
    }
    SONDE_TRY(write_prompts(spec, "prefill.jsonl", 1, spec->tokens, err));
    SONDE_TRY(write_prompts(spec, "decode.jsonl", 1, DECODE_PROMPT, err));
    return write_prompts(spec, "capture.jsonl", CAPTURE_PROMPTS, spec->tokens, err);
}

void bench_folder_remove(const bench_spec *spec)
{
    char path[128];
    if (!spec->folder[0]) return;
    for (size_t i = 0; i < CLI_COUNT(files); i++) {
        path_of(spec, files[i], path);
        unlink(path);
    }
    rmdir(spec->folder);
}

/* ---- one job --------------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return NAN;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* What a run came to; `cpu` counts the run alone, not the opening of the model. */
typedef struct outcome {
    sonde_job_summary summary;
    double cpu;
} outcome;

static sonde_status run_job(const bench_spec *spec, const char *prompts, sonde_job_options *options,
                            int threads, bool capture, outcome *o, sonde_error *err)
{
    char count[16], in[128], out[128];
    snprintf(count, sizeof count, "%d", threads);
    path_of(spec, prompts, in);
    path_of(spec, "capture.h5", out);
    options->workers = "1";
    options->threads = count;
    options->overwrite = true;
    sonde_job_spec job_spec = {
        .model = spec->model, .prompts = in, .options = options, .generate = !capture};
    cli_progress progress = {.quiet = true};
    sonde_job_watch watch = {.context = &progress, .cancelled = cli_progress_cancelled};
    sonde_job *job;
    memset(o, 0, sizeof *o);
    SONDE_TRY(sonde_job_open(&job_spec, &job, err));
    double before = cpu_seconds();
    sonde_status status = capture ? sonde_job_capture(job, out, &watch, &o->summary, err)
                                  : sonde_job_generate(job, &watch, &o->summary, err);
    o->cpu = cpu_seconds() - before;
    sonde_job_close(&job);
    return status;
}

sonde_status bench_prefill(const bench_spec *spec, int threads, double *rate, sonde_error *err)
{
    sonde_job_options options = *spec->options;
    outcome o;
    options.max_new_tokens = 1;
    SONDE_TRY(run_job(spec, "prefill.jsonl", &options, threads, false, &o, err));
    *rate = (double)spec->tokens / ((double)o.summary.prefill_ns * 1e-9);
    return SONDE_OK;
}

sonde_status bench_decode(const bench_spec *spec, int threads, double *rate, sonde_error *err)
{
    sonde_job_options options = *spec->options;
    outcome o;
    options.max_new_tokens = DECODE_TOKENS;
    SONDE_TRY(run_job(spec, "decode.jsonl", &options, threads, false, &o, err));
    /* the first token comes of the prefill, and the last one is not run */
    double steps = (double)o.summary.totals.generated_tokens - 1;
    *rate = steps < 1 || o.summary.decode_ns == 0
                ? NAN
                : steps / ((double)o.summary.decode_ns * 1e-9);
    return SONDE_OK;
}

sonde_status bench_capture(const bench_spec *spec, int threads, bench_capture_result *result,
                           sonde_error *err)
{
    /* --off narrow: every row runs through the last block in both, captured or not */
    sonde_job_options all = *spec->options, one;
    char off[128];
    bool more = all.off && all.off[0];
    snprintf(off, sizeof off, "narrow%s%s", more ? "," : "", more ? all.off : "");
    all.off = off;
    all.points = (sonde_option_list){.count = 1, .values = {"blocks.*.resid_post"}};
    one = all;
    one.points.values[0] = "blocks.-1.resid_post";
    one.rows = "last:1";
    outcome with, without;
    SONDE_TRY(run_job(spec, "capture.jsonl", &one, threads, true, &without, err));
    SONDE_TRY(run_job(spec, "capture.jsonl", &all, threads, true, &with, err));
    const sonde_job_summary *s = &with.summary;
    double raw = (double)s->totals.bytes_raw, stored = (double)s->totals.bytes_stored;
    *result = (bench_capture_result){.seconds_with = s->totals.seconds,
                                     .seconds_without = without.summary.totals.seconds,
                                     .cpu_with = with.cpu,
                                     .cpu_without = without.cpu,
                                     .codec_gbs = s->codec_ns > 0 ? raw / (double)s->codec_ns : NAN,
                                     .ratio = stored > 0 ? raw / stored : NAN};
    return SONDE_OK;
}
