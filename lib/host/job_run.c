/* job_run.c - what capture and generate share: plan, pipeline, schedule, progress, summary. */
#include "job_internal.h"

#include <string.h>
#include <sys/resource.h>

#define PROGRESS_NS 100000000u

/* ---- progress ------------------------------------------------------------------------------------------ */

void sonde_job_run_progress(sonde_job_run *run, sonde_job_progress *progress)
{
    sonde_pipeline_stats stats = {0};
    sonde_store_stats stored = {0};
    if (run->pipeline) sonde_pipeline_stats_get(run->pipeline, &stats);
    if (run->store) sonde_store_stats_get(run->store, &stored);
    double seconds = (double)(sonde_now_ns() - run->begin_ns) * 1e-9;
    uint64_t tokens = stats.prompt_tokens + stats.generated_tokens;
    *progress = (sonde_job_progress){
        .rows = stats.rows, .prompt_tokens = stats.prompt_tokens,
        .generated_tokens = stats.generated_tokens, .sequences = stats.sequences,
        .bytes_raw = stats.raw_bytes, .bytes_stored = stored.stored_bytes, .seconds = seconds,
        .sequences_expected = run->job->scan.known ? (uint64_t)run->job->scan.lines : 0,
        .tokens_per_second = seconds > 0.0 ? (double)tokens / seconds : 0.0};
}

/* Polled by workers, one at a time: also the clock of the progress line. */
static bool cancelled(void *context)
{
    sonde_job_run *run = context;
    const sonde_job_watch *watch = run->watch;
    if (!watch) return false;
    uint64_t now = sonde_now_ns();
    if (watch->progress && now - run->last_progress_ns >= PROGRESS_NS) {
        sonde_job_progress progress;
        run->last_progress_ns = now;
        sonde_job_run_progress(run, &progress);
        watch->progress(watch->context, &progress);
    }
    return watch->cancelled && watch->cancelled(watch->context);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

sonde_status sonde_job_run_open(sonde_job_run *run, sonde_error *err)
{
    sonde_job *job = run->job;
    SONDE_TRY(sonde_job_prompts(job, &run->prompts, err));
    sonde_pipeline_spec spec = {
        .model = job->model, .tokenizer = job->tokenizer, .prompts = run->prompts,
        .probes = job->spec.generate ? NULL : &job->probes, .options = &job->options,
        .stop_ids = job->stop_ids, .n_stop_ids = job->n_stop_ids, .labels = job->labels,
        .generates = job->spec.generate, .schema = run->schema, .store = run->store,
        .workers = job->workers, .retired = run->retired,
        .window_bytes = run->window_bytes ? run->window_bytes : SONDE_JOB_WINDOW_BYTES,
        .token = run->token, .cancelled = cancelled, .context = run};
    SONDE_TRY(sonde_pipeline_open(&spec, &run->pipeline, err));
    return sonde_job_plan(job, sonde_pipeline_wants(run->pipeline), &run->plan, err);
}

sonde_status sonde_job_run_schedule(sonde_job_run *run, sonde_error *err)
{
    sonde_schedule_options options = sonde_job_schedule(run->job, run->plan);
    sonde_schedule_callbacks callbacks = sonde_pipeline_callbacks(run->pipeline);
    run->begin_ns = sonde_now_ns();
    SONDE_TRY(sonde_schedule_run(run->plan, &options, &callbacks, &run->stats, err));
    sonde_prompts_stats read;
    sonde_prompts_stats_get(run->prompts, &read);
    if (read.given > 0) return SONDE_OK;
    return sonde_fail(err, SONDE_NOTHING, "%s: no prompts are left by --skip, --limit, --part and "
                      "--max-tokens", run->job->spec.prompts ? run->job->spec.prompts
                                                             : "the command line");
}

void sonde_job_run_close(sonde_job_run *run)
{
    sonde_plan_destroy(&run->plan);
    sonde_pipeline_close(&run->pipeline);
    sonde_prompts_close(&run->prompts);
}

/* ---- summary ----------------------------------------------------------------------------------------------- */

static void sum_steps(const sonde_job_run *run, sonde_job_summary *summary)
{
    const char *name;
    summary->n_steps = 0;
    for (int32_t i = 0; i < (int32_t)SONDE_COUNT(summary->steps) && (name = sonde_step_name(i));
         i++) {
        summary->steps[i].name = name;
        summary->steps[i].ns = run->stats.run.step_ns[i];
        summary->n_steps = i + 1;
    }
}

void sonde_job_run_summary(sonde_job_run *run, sonde_job_summary *summary)
{
    sonde_prompts_stats read = {0};
    sonde_store_stats stored = {0};
    sonde_plan_info info = {0};
    struct rusage usage;
    sonde_job_run_progress(run, &summary->totals);
    if (run->prompts) sonde_prompts_stats_get(run->prompts, &read);
    if (run->store) sonde_store_stats_get(run->store, &stored);
    if (run->plan) sonde_plan_info_get(run->plan, &info);
    summary->blank_lines = read.blank_lines;
    summary->skipped_prompts = read.skipped;
    summary->cut_prompts = read.cut;
    summary->split_prompts = read.split;
    summary->steps_planned = (uint64_t)info.planned_steps;
    if (run->pipeline)
        sonde_pipeline_dtypes(run->pipeline, run->job->dtypes, sizeof run->job->dtypes);
    summary->stored_dtypes = run->job->dtypes;
    summary->workers = run->job->workers;
    summary->threads = run->job->threads;
    summary->why = run->job->why;
    summary->shared_tokens = run->stats.kv.shared_tokens;
    summary->kv_bytes_peak = run->stats.kv.bytes_peak;
    summary->preempted = run->stats.preempted;
    summary->rows_again = run->stats.rows_again;
    sum_steps(run, summary);
    summary->load_ns = run->job->load_ns;
    summary->tokenize_ns = read.tokenize_ns;
    summary->prefill_ns = run->stats.run.prefill_ns;
    summary->decode_ns = run->stats.run.decode_ns;
    summary->hook_ns = run->stats.run.hook_ns;
    summary->codec_ns = stored.codec_ns;
    summary->write_ns = stored.write_ns;
    summary->wait_ns = stored.wait_ns;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        summary->peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024u;
}
