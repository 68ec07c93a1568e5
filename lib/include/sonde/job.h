/*
 * sonde/job.h - the main jobs: capture, generate, and what they would cost.
 *
 * A job is a model, a list of prompts and the options a person typed. It reads prompts as they are
 * needed, schedules them over workers, shows hook points to probes and hands what they emit to the
 * store in input order. The option structs hold text as typed; one table drives the command line,
 * bounds, help and what the capture file records.
 */
#ifndef SONDE_JOB_H
#define SONDE_JOB_H

#include "sonde/base.h"
#include "sonde/model.h"
#include "sonde/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_job sonde_job;

/* Every option of cli.md that decides content or the run; names in sonde_job_options_table. */
typedef struct sonde_job_options {
    /* content */
    sonde_option_list points, probes;
    const char *rows, *as, *codec, *labels;
    int64_t max_new_tokens, top_k, seed, max_seq, limit, skip, max_tokens;
    double temperature, top_p, min_p;
    sonde_option_list stop;
    int32_t too_long, bad_prompt, special, add_bos;
    const char *part;
    bool chat;
    int32_t mode, kv_dtype, backend;
    /* run */
    const char *workers, *threads; /* "auto" or a number */
    int64_t batch_tokens, batch, chunk;
    const char *cpumask, *off;
    uint64_t memory; /* 0: no limit */
    bool overwrite, quiet, json, verbose;
    /* known, refused until built */
    bool resume;
    const char *shard_size, *config, *chat_args;
    int32_t chat_open; /* auto, yes, no */
} sonde_job_options;
/* struct_size-free: filled by sonde_options_defaults with this table. */
SONDE_API extern const sonde_option sonde_job_options_table[];

/* What the caller may watch. All members may be NULL. Called from worker threads, one at a time. */
typedef struct sonde_job_progress {
    uint64_t rows, prompt_tokens, generated_tokens, sequences, bytes_raw, bytes_stored;
    uint64_t sequences_expected; /* at most; 0: not known */
    double seconds, tokens_per_second;
} sonde_job_progress;
typedef struct sonde_generated {
    uint64_t index;
    const char *id;
    int64_t n_prompt, n_tokens; /* generated tokens */
    const uint32_t *tokens;
    const char *text; /* of the generated tokens, special ones left out */
    size_t text_bytes;
    const float *logprobs; /* [n_tokens] */
    const char *stop; /* "length", "eos", "text", "context", "skipped" */
} sonde_generated;
typedef struct sonde_job_watch {
    void *context;
    void (*progress)(void *context, const sonde_job_progress *progress);
    /* generate: in input order, when a sequence ends. */
    void (*generated)(void *context, const sonde_generated *generated);
    /* generate: text of the first unfinished sequence as it comes (streaming), input order. */
    void (*text)(void *context, uint64_t index, const char *text, size_t bytes);
    bool (*cancelled)(void *context);
} sonde_job_watch;

/* Opens model and prompts and checks every option; nothing runs yet. `prompts` as in cli.md
 * (.jsonl, .txt, "-"), or NULL with `inline_texts`. `shape_only`: for plans, reads no weight. */
typedef struct sonde_job_spec {
    const char *model, *prompts;
    const char *const *inline_texts; /* -p TEXT, in order */
    int64_t n_inline_texts;
    const sonde_job_options *options;
    bool generate;   /* generate: no capture, text is made */
    bool shape_only;
} sonde_job_spec;
SONDE_API sonde_status sonde_job_open(const sonde_job_spec *spec, sonde_job **job,
                                      sonde_error *err);
SONDE_API void sonde_job_close(sonde_job **job);
SONDE_API const sonde_model *sonde_job_model(const sonde_job *job);

typedef struct sonde_point_cost {
    const char *name;
    const char *stored; /* dtype */
    uint64_t rows, bytes; /* before the codec */
} sonde_point_cost;
typedef struct sonde_job_cost {
    uint64_t sequences, skipped_sequences, prompt_tokens, generated_tokens_max, rows;
    bool rows_exact; /* false: an upper bound (generation may stop early) */
    uint64_t bytes_raw, bytes_stored_estimate, disk_free;
    uint64_t memory_weights, memory_run, memory_kv, memory_store, memory_peak;
    uint64_t memory_kv_least; /* of memory_kv: below it the longest sequence does not fit */
    bool kv_held_back;       /* --memory leaves memory_kv less than would be used: sequences wait */
    uint64_t mapped_weights; /* stay in the file: read when used, not in memory_peak */
    int64_t steps_recipe, steps_planned, last_layer, workers, threads, batch_rows;
    double seconds_estimate; /* 0: not known */
    const char *why; /* of workers and threads */
    const sonde_point_cost *points;
    int64_t n_points;
} sonde_job_cost;
/* Reads all prompts. TOO_BIG when --memory or the disk cannot hold it. *cost borrows from the job.*/
SONDE_API sonde_status sonde_job_estimate(sonde_job *job, const char *output, sonde_job_cost *cost,
                                          sonde_error *err);

typedef struct sonde_job_summary {
    sonde_job_progress totals;
    uint64_t blank_lines, skipped_prompts, cut_prompts, split_prompts;
    uint64_t steps_planned;
    const char *stored_dtypes; /* "bf16, f32" */
    bool sealed, complete;
    int32_t workers, threads;
    const char *why; /* of workers and threads; borrowed from the job */
    uint64_t shared_tokens; /* of the prompts: found in the cache, not run */
    uint64_t kv_bytes_peak;
    uint64_t preempted, rows_again; /* sequences whose pages others needed; rows run once more */
    uint64_t load_ns, tokenize_ns, prefill_ns, decode_ns, hook_ns, codec_ns, write_ns, wait_ns;
    uint64_t peak_rss_bytes;
    /* Of prefill and decode by kind of step, hooks among them; summed over workers. */
    struct {
        const char *name; /* "linear" */
        uint64_t ns;
    } steps[16];
    int32_t n_steps;
    uint64_t seal_ns; /* from the last row to the sealed file; 0: not there yet */
} sonde_job_summary;
/* Runs the capture into `output`. On failure what was acknowledged is sealed when there is any, and
 * the summary says so. */
SONDE_API sonde_status sonde_job_capture(sonde_job *job, const char *output,
                                         const sonde_job_watch *watch, sonde_job_summary *summary,
                                         sonde_error *err);
SONDE_API sonde_status sonde_job_generate(sonde_job *job, const sonde_job_watch *watch,
                                          sonde_job_summary *summary, sonde_error *err);

/* --- selections on their own (sonde points, sonde tokens --rows) -------------------------------- */

/* Marks the points that a --points selection (a list of texts as typed) matches: marks[n_points]
 * of bool. UNKNOWN_NAME with near names, or why the family lacks the point. */
SONDE_API sonde_status sonde_points_match(const sonde_model *model, const char *const *selections,
                                          int64_t count, bool *marks, sonde_error *err);
/* Which of the n tokens of one prompt a rows expression keeps; segments (codes of sonde_segment) may
 * be NULL: no conversation. */
SONDE_API sonde_status sonde_rows_match(const char *expression, const uint32_t *tokens,
                                        const uint8_t *segments, int64_t n,
                                        const sonde_tokenizer *tokenizer, bool *keeps,
                                        sonde_error *err);

/* Whether a text of --as can be read: USAGE names what is wrong. */
SONDE_API sonde_status sonde_as_check(const char *as, sonde_error *err);
/* Stored dtype of a point under --as, checked before. */
SONDE_API sonde_dtype sonde_as_dtype(const char *as, const sonde_hook_point *point);

/* --- probes that can be found -------------------------------------------------------------------- */

typedef struct sonde_probe_listing {
    const char *name, *version, *help, *file, *default_points;
    bool writes;
    int64_t n_options;
    struct {
        const char *name, *type, *help, *fallback, *bounds;
    } options[32];
} sonde_probe_listing;
/* Calls `each` for every probe in SONDE_PROBE_PATH (colon-separated), beside the program's build
 * and in the installed folder; a plugin that cannot be loaded gives a warning in the log. */
SONDE_API sonde_status sonde_probes_list(void (*each)(void *context,
                                                      const sonde_probe_listing *listing),
                                         void *context, sonde_error *err);

#ifdef __cplusplus
}
#endif
#endif
