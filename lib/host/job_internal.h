/* job_internal.h - an opened job: its options read, its model and probes open, nothing run yet. */
#ifndef SONDE_HOST_JOB_INTERNAL_H
#define SONDE_HOST_JOB_INTERNAL_H

#include "pipeline.h"
#include "sonde/job.h"

#include <pthread.h>

#define SONDE_JOB_WINDOW_BYTES ((uint64_t)256 << 20) /* for rows of flows that are not placed yet */

/* What a look at the source told, before a prompt is read. */
typedef struct sonde_source_scan {
    bool known;            /* false: standard input */
    int64_t lines;         /* at most this many prompts */
    uint64_t longest_line; /* bytes */
    uint64_t bytes;        /* of all lines */
    uint64_t own_max_new;  /* no line asks for more tokens itself; 0: none asks */
    bool messages;         /* some line may be a conversation */
} sonde_source_scan;

struct sonde_job {
    sonde_job_spec spec;
    sonde_job_options options; /* a copy; texts are the caller's */
    sonde_model *model;
    const sonde_tokenizer *tokenizer; /* NULL: none that works */
    const sonde_chat *chat; /* NULL: not asked for, or none that works: no_chat says why */
    sonde_error no_chat;
    json_t *chat_args; /* of the templates, with a date */
    sonde_probe_set probes;
    sonde_source_scan scan;
    sonde_codec codec;
    uint32_t labels, off;
    int32_t workers, threads;
    char why[160];
    int64_t n_sequences;   /* at most; 0: not known */
    int64_t max_seq;       /* longest sequence allowed */
    int64_t max_positions; /* longest that can occur: what the plan is made for */
    uint32_t stop_ids[32];
    int64_t n_stop_ids;
    uint64_t kv_bytes;     /* what --memory leaves for the cache, once estimated; 0: no limit */
    uint64_t load_ns, opened_ns;
    /* results kept for the caller */
    sonde_point_cost *costs;
    char dtypes[64];
};

/* job.c */
sonde_status sonde_job_prompts(const sonde_job *job, sonde_prompts **prompts, sonde_error *err);
/* The plan of a job whose probes want these points. */
sonde_status sonde_job_plan(const sonde_job *job, const uint8_t *wants, sonde_plan **plan,
                            sonde_error *err);
sonde_schedule_options sonde_job_schedule(const sonde_job *job, const sonde_plan *plan);
/* job_estimate.c: holds a run against --memory, where its prompts can be read twice. */
sonde_status sonde_job_check_memory(sonde_job *job, const char *output, sonde_error *err);
/* job_options_check.c: lists of words to what they mean. */
sonde_status sonde_job_options_read(sonde_job *job, sonde_error *err);
sonde_status sonde_job_scan(sonde_job *job, sonde_error *err);

/* A job that runs: pipeline, plan, counters for the watcher. */
typedef struct sonde_job_run {
    sonde_job *job;
    const sonde_job_watch *watch;
    sonde_prompts *prompts;
    sonde_pipeline *pipeline;
    sonde_plan *plan;
    sonde_store *store;   /* NULL: generate */
    sonde_schema *schema;
    sonde_schedule_stats stats;
    uint64_t window_bytes; /* for rows of flows that are not placed yet; 0: the default */
    bool started; /* rows may have been put */
    int64_t sealed_rows, sealed_sequences; /* after a failure */
    uint64_t begin_ns, last_progress_ns, rows_done_ns; /* rows_done: the schedule ended well */
    sonde_status (*retired)(void *context, const sonde_flow *flow, sonde_error *err);
    sonde_status (*token)(void *context, sonde_flow *flow, sonde_error *err);
    pthread_mutex_t streaming; /* guards the two below: generate */
    uint64_t streamed_order;   /* the flow whose text is being streamed */
    size_t streamed_bytes;
} sonde_job_run;

/* job_run.c */
sonde_status sonde_job_run_open(sonde_job_run *run, sonde_error *err);
sonde_status sonde_job_run_schedule(sonde_job_run *run, sonde_error *err);
void sonde_job_run_close(sonde_job_run *run);
void sonde_job_run_progress(sonde_job_run *run, sonde_job_progress *progress);
void sonde_job_run_summary(sonde_job_run *run, sonde_job_summary *summary);

/* job_capture.c: sonde_job_capture on a run that holds job and watch. */
sonde_status sonde_job_run_capture(sonde_job_run *run, const char *output,
                                   sonde_job_summary *summary, sonde_error *err);

/* job_texts.c: what is written about the job. */
sonde_status sonde_job_manifest(sonde_job_run *run, sonde_string *text, sonde_error *err);
sonde_status sonde_job_run_text(sonde_job_run *run, sonde_string *text, sonde_error *err);

#endif
