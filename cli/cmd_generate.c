/* cmd_generate.c - sonde generate: prompts continued, as text or as lines of JSON. */
#include "cli/cli.h"

#include <string.h>

/* The watch's context begins with the progress, which is also that of progress.c's callbacks. */
typedef struct generation {
    cli_progress progress;
    bool streaming; /* text goes out as it comes: one prompt, for people */
    bool wrote;
    char last; /* byte written */
} generation;

/* A reader of stdout that went away, or a full disk, ends the job; main.c says so. */
static void check_stdout(generation *g)
{
    if (!cli_stdout_works()) g->progress.stopped = true;
}

static void on_text(void *context, uint64_t index, const char *text, size_t bytes)
{
    generation *g = context;
    (void)index;
    if (!g->streaming || bytes == 0) return;
    if (!g->wrote) cli_progress_stop(&g->progress);
    g->wrote = true;
    g->progress.quiet = true;
    g->last = text[bytes - 1];
    fwrite(text, 1, bytes, stdout);
    check_stdout(g);
}

static json_t *generated_json(const sonde_generated *s)
{
    json_t *tokens = json_array(), *logprobs = json_array(), *value = json_object();
    for (int64_t i = 0; i < s->n_tokens; i++) {
        json_array_append_new(tokens, json_integer((json_int_t)s->tokens[i]));
        if (s->logprobs) json_array_append_new(logprobs, cli_json_real((double)s->logprobs[i]));
    }
    json_object_set_new(value, "index", json_integer((json_int_t)s->index));
    json_object_set_new(value, "id", cli_json_string(s->id));
    json_object_set_new(value, "prompt_tokens", json_integer(s->n_prompt));
    json_object_set_new(value, "tokens", tokens);
    json_object_set_new(value, "text", cli_json_text(s->text, s->text_bytes));
    json_object_set_new(value, "logprobs", logprobs);
    json_object_set_new(value, "stop", cli_json_string(s->stop));
    return value;
}

static void on_generated(void *context, const sonde_generated *generated)
{
    generation *g = context;
    if (g->streaming) return;
    if (g->progress.shown && g->progress.terminal) cli_progress_stop(&g->progress);
    if (cli_print_json(generated_json(generated), false, NULL) != SONDE_OK)
        g->progress.stopped = true;
    check_stdout(g);
}

static void print_closing(const sonde_job_summary *s)
{
    char generated[48], prompt[32], sequences[48], time[32];
    const sonde_job_progress *t = &s->totals;
    double decode = (double)s->decode_ns * 1e-9;
    fprintf(stderr, "sonde: %s generated after %s of %s, %s",
            cli_format_things(t->generated_tokens, "token", generated),
            cli_format_count(t->prompt_tokens, prompt),
            cli_format_things(t->sequences, "prompt", sequences),
            cli_format_seconds(t->seconds, time));
    if (decode > 0) fprintf(stderr, "; %.1f tokens/s", (double)t->generated_tokens / decode);
    fputc('\n', stderr);
}

static sonde_status run(const cli_call *call, sonde_job *job, generation *g, sonde_error *err)
{
    sonde_job_watch watch = {.context = g,
                             .progress = cli_progress_show,
                             .generated = on_generated,
                             .text = g->streaming ? on_text : NULL,
                             .cancelled = cli_progress_cancelled};
    sonde_job_summary summary;
    memset(&summary, 0, sizeof summary);
    cli_progress_start(&g->progress, call->job.quiet);
    sonde_status status = sonde_job_generate(job, &watch, &summary, err);
    cli_progress_stop(&g->progress);
    if (g->streaming && g->wrote && g->last != '\n') putchar('\n');
    check_stdout(g);
    if (g->progress.stopped && !cli_was_interrupted()) return cli_flush(err);
    if (!call->job.quiet) cli_print_notes(&summary);
    if (!call->job.quiet && status == SONDE_OK) print_closing(&summary);
    if (call->job.verbose) cli_print_timings(&summary);
    return status;
}

sonde_status cmd_generate(cli_call *call, sonde_error *err)
{
    sonde_job *job;
    sonde_job_spec spec;
    SONDE_TRY(cli_job_spec(call, &spec, err));
    spec.generate = true;
    SONDE_TRY(sonde_job_open(&spec, &job, err));
    generation g = {.streaming = !spec.prompts && spec.n_inline_texts == 1 && !call->job.json};
    sonde_status status = run(call, job, &g, err);
    sonde_job_close(&job);
    return status;
}
