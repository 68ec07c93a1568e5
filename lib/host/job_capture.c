/* job_capture.c - a capture from the first declaration to the seal, also when something failed. */
#include "job_internal.h"

#include "core/cpu.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES ((uint64_t)64 << 20)

/* ---- begin ----------------------------------------------------------------------------------------------- */

static sonde_status open_store(sonde_job_run *run, const char *output, sonde_error *err)
{
    sonde_store_options options = {.path = output, .overwrite = run->job->options.overwrite,
                                   .codec_threads = sonde_cpu_count() > 4 ? 2 : 1,
                                   .queue_bytes = QUEUE_BYTES};
    return sonde_store_create(&options, &run->store, err);
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static sonde_status open_schema(sonde_job_run *run, sonde_error *err)
{
    const sonde_job *job = run->job;
    const char *hash;
    sonde_model_info info;
    sonde_model_info_get(job->model, &info);
    SONDE_TRY(sonde_model_hash(job->model, &hash, err));
    sonde_schema_options options = {
        .codec = job->codec, .model = name_of(info.path), .model_hash = hash,
        .tokenizer_hash = job->tokenizer ? sonde_tokenizer_hash(job->tokenizer) : NULL,
        .backend = info.backend, .mode = info.mode};
    SONDE_TRY(sonde_schema_create(run->store, &options, &run->schema, err));
    return sonde_store_attr_int(run->store, "/", "hook_vocabulary", SONDE_HOOK_VOCABULARY, err);
}

/* ---- end -------------------------------------------------------------------------------------------------- */

static const char *piece_of(void *context, uint32_t token, size_t *bytes)
{
    const char *piece;
    if (sonde_tokenizer_piece(context, token, &piece, bytes, NULL) == SONDE_OK) return piece;
    *bytes = 0;
    return "";
}

static void *constant_pointer(const sonde_tokenizer *tokenizer)
{
    void *pointer;
    memcpy(&pointer, &tokenizer, sizeof pointer);
    return pointer;
}

static sonde_status write_json(sonde_job_run *run, const char *name,
                               sonde_status (*make)(sonde_job_run *, sonde_string *, sonde_error *),
                               sonde_error *err)
{
    sonde_string text = {0};
    sonde_status status = make(run, &text, err);
    if (status == SONDE_OK)
        status = sonde_schema_write_text(run->schema, name, text.data, text.length, err);
    sonde_string_reset(&text);
    return status;
}

static sonde_status describe(sonde_job_run *run, sonde_error *err)
{
    if (run->job->tokenizer)
        SONDE_TRY(sonde_schema_write_vocab(run->schema, piece_of,
                                           constant_pointer(run->job->tokenizer), err));
    SONDE_TRY(write_json(run, "manifest", sonde_job_manifest, err));
    return write_json(run, "run", sonde_job_run_text, err);
}

static sonde_status seal_whole(sonde_job_run *run, sonde_error *err)
{
    SONDE_TRY(sonde_pipeline_finish(run->pipeline, err));
    SONDE_TRY(describe(run, err));
    return sonde_schema_seal(run->schema, true, -1, -1, err);
}

/* Nothing that any probe could see. */
static sonde_status check_kept(const sonde_job_run *run, sonde_error *err)
{
    sonde_pipeline_stats stats;
    sonde_pipeline_stats_get(run->pipeline, &stats);
    if (stats.kept > 0) return SONDE_OK;
    const char *rows = run->job->options.rows;
    return sonde_fail(err, SONDE_NOTHING, "nothing is kept: %s%s%s keeps no row of %llu sequence%s "
                      "(%llu prompt tokens)", rows ? "--rows '" : "the selection", rows ? rows : "",
                      rows ? "'" : "", (unsigned long long)stats.sequences,
                      stats.sequences == 1 ? "" : "s", (unsigned long long)stats.prompt_tokens);
}

/* After a failure: what was retired is sealed as an incomplete file. True when there is a file. */
static bool seal_partial(sonde_job_run *run, sonde_status failed)
{
    sonde_pipeline_stats stats = {0};
    int64_t rows = 0, sequences = 0;
    if (!run->pipeline || !run->schema) return false;
    sonde_pipeline_stats_get(run->pipeline, &stats);
    if (sonde_schema_safe_rows(run->schema, &rows, &sequences, NULL) != SONDE_OK) return false;
    rows = SONDE_MIN(rows, (int64_t)stats.rows);
    sequences = SONDE_MIN(sequences, (int64_t)stats.sequences);
    if (sequences == 0) return false;
    if (failed != SONDE_PROBE) sonde_pipeline_finish(run->pipeline, NULL);
    describe(run, NULL);
    sonde_schema_seal(run->schema, false, rows, sequences, NULL);
    run->sealed_rows = rows;
    run->sealed_sequences = sequences;
    return sonde_store_is_sealed(run->store);
}

static void say_what_is_left(const sonde_job_run *run, const char *output, bool sealed,
                             sonde_error *err)
{
    char message[sizeof err->message];
    if (!err) return;
    snprintf(message, sizeof message, "%s", err->message);
    bool one = run->sealed_sequences == 1;
    if (sealed)
        sonde_fail(err, err->status, "%.380s; the rows of %lld finished sequence%s (%lld) are sealed in "
                   "%.80s (complete = 0)", message, (long long)run->sealed_sequences, one ? "" : "s",
                   (long long)run->sealed_rows, output);
    else
        sonde_fail(err, err->status, "%.420s; %s, no file is left", message,
                   run->sealed_sequences > 0 ? "what was finished could not be sealed"
                                             : "no sequence was finished");
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

static sonde_status run_capture(sonde_job_run *run, const char *output, sonde_error *err)
{
    SONDE_TRY(sonde_job_check_memory(run->job, output, err));
    SONDE_TRY(open_store(run, output, err));
    SONDE_TRY(open_schema(run, err));
    SONDE_TRY(sonde_job_run_open(run, err));
    run->started = true;
    SONDE_TRY(sonde_job_run_schedule(run, err));
    run->rows_done_ns = sonde_now_ns();
    SONDE_TRY(check_kept(run, err));
    return seal_whole(run, err);
}

sonde_status sonde_job_run_capture(sonde_job_run *run, const char *output,
                                   sonde_job_summary *summary, sonde_error *err)
{
    run->begin_ns = sonde_now_ns();
    *summary = (sonde_job_summary){0};
    sonde_status status = run_capture(run, output, err);
    bool keep = status != SONDE_OK && status != SONDE_NOTHING && run->started;
    bool sealed = status == SONDE_OK || (keep && seal_partial(run, status));
    if (keep) say_what_is_left(run, output, sealed, err);
    sonde_job_run_summary(run, summary);
    summary->sealed = sealed;
    summary->complete = status == SONDE_OK;
    if (sealed && run->rows_done_ns) summary->seal_ns = sonde_now_ns() - run->rows_done_ns;
    sonde_job_run_close(run);
    sonde_schema_destroy(&run->schema);
    sonde_store_destroy(&run->store, true);
    return status;
}

sonde_status sonde_job_capture(sonde_job *job, const char *output, const sonde_job_watch *watch,
                               sonde_job_summary *summary, sonde_error *err)
{
    sonde_job_run run = {.job = job, .watch = watch};
    return sonde_job_run_capture(&run, output, summary, err);
}
