/* cmd_capture.c - sonde capture: prompts through a model into a capture file. */
#include "cli/cli.h"

#include <string.h>

/* Rows, bytes, stored dtypes, rate, and the command that looks at the file. */
static void print_closing(const char *output, const sonde_job_summary *s)
{
    char rows[48], sequences[48], raw[32], stored[32], time[32];
    const sonde_job_progress *t = &s->totals;
    fprintf(stderr, "sonde: %s of %s, %s (%s in the file), %s; %.0f tokens/s, %s\n",
            cli_format_things(t->rows, "row", rows),
            cli_format_things(t->sequences, "sequence", sequences),
            sonde_format_bytes(t->bytes_raw, raw), sonde_format_bytes(t->bytes_stored, stored),
            s->stored_dtypes && s->stored_dtypes[0] ? s->stored_dtypes : "no activations",
            t->tokens_per_second, cli_format_seconds(t->seconds, time));
    fprintf(stderr, "sonde: look at it with: sonde info %s\n", output);
}

/* A run that ended early: what happened, then how to go on. main.c has nothing more to say. */
static void print_early_end(const cli_call *call, const sonde_job_summary *s, sonde_error *err)
{
    fprintf(stderr, "sonde: %s\n", err->message);
    err->message[0] = '\0';
    if (!s->sealed || call->job.quiet) return;
    fprintf(stderr, "sonde: look at it with: sonde info %s\n", call->own.output);
    fprintf(stderr, "sonde: for all of it: the same line again with --overwrite\n");
}

static sonde_status finish(const cli_call *call, const sonde_job_summary *s, sonde_status status,
                           sonde_error *err)
{
    if (!call->job.quiet) cli_print_notes(s);
    if (call->job.verbose) cli_print_timings(s);
    if (status != SONDE_OK) {
        print_early_end(call, s, err);
        return status;
    }
    if (!call->job.quiet) print_closing(call->own.output, s);
    return call->job.json ? cli_print_json(cli_summary_json(s), true, err) : SONDE_OK;
}

sonde_status cmd_capture(cli_call *call, sonde_error *err)
{
    sonde_job *job;
    sonde_job_spec spec;
    if (!call->own.output)
        return sonde_fail(err, SONDE_USAGE, "capture: expected -o FILE.h5");
    SONDE_TRY(cli_job_spec(call, &spec, err));
    SONDE_TRY(sonde_job_open(&spec, &job, err));
    cli_progress progress;
    sonde_job_watch watch = {.context = &progress,
                             .progress = cli_progress_show,
                             .cancelled = cli_progress_cancelled};
    sonde_job_summary summary;
    memset(&summary, 0, sizeof summary);
    cli_progress_start(&progress, call->job.quiet);
    sonde_status status = sonde_job_capture(job, call->own.output, &watch, &summary, err);
    cli_progress_stop(&progress);
    if (status == SONDE_OK || summary.sealed) status = finish(call, &summary, status, err);
    sonde_job_close(&job);
    return status;
}
