/*
 * pipeline.h - from prompts to rows in a file: what stands between the scheduler and the store.
 *
 *   prompts -> admit -> (scheduler, run) -> tap -> views -> probes -> sink -> store
 *                                        done -> placed -> retired in input order
 *
 * Each prompt becomes a *flow*. What of its rows is kept is decided by rows expressions (*slots*);
 * a row's number in the file is known once the flow is *placed*: all flows before it have known row
 * counts. A prompt-only flow is placed when it is admitted and its rows go straight into their
 * chunks; a generating one holds what its probes emitted until the flows before it are done, within
 * a window of bytes that admission respects. The first unfinished flow is always placed, so the
 * run never stands still. Flows retire in input order: columns of /rows, /sequences, merged states.
 *
 * So the content of the file depends on the prompts and the options only, never on which worker ran
 * what and when.
 */
#ifndef SONDE_HOST_PIPELINE_H
#define SONDE_HOST_PIPELINE_H

#include "probes.h"
#include "prompts.h"
#include "run/schedule.h"
#include "store/schema.h"

typedef struct sonde_pipeline sonde_pipeline;
typedef struct sonde_flow sonde_flow;

#define SONDE_LABEL_LOGPROB 1u
#define SONDE_LABEL_ENTROPY 2u
#define SONDE_LABEL_RANK 4u

typedef struct sonde_pipeline_spec {
    const sonde_model *model;
    const sonde_tokenizer *tokenizer; /* NULL: none; then no text is stored */
    sonde_prompts *prompts;
    sonde_probe_set *probes;          /* NULL: none */
    const sonde_job_options *options;
    const uint32_t *stop_ids;         /* [n_stop_ids] ids that end generation */
    int64_t n_stop_ids;
    uint32_t labels;                  /* SONDE_LABEL_*: asked for on every row */
    bool generates;                   /* a text is made for every prompt: ask for labels of tokens */
    sonde_schema *schema;             /* NULL: nothing is stored */
    sonde_store *store;               /* of the schema */
    sonde_codec codec;
    int32_t workers;
    uint64_t window_bytes;            /* for rows of flows that are not placed yet */
    /* In input order, one at a time: a flow is finished. NULL: none. */
    sonde_status (*retired)(void *context, const sonde_flow *flow, sonde_error *err);
    /* A token was sampled for a flow, in position order. Concurrent for different flows. */
    sonde_status (*token)(void *context, sonde_flow *flow, sonde_error *err);
    /* Called now and then by a worker; true: wind down. */
    bool (*cancelled)(void *context);
    void *context;
} sonde_pipeline_spec;

/* Declares the outputs of all instances in the schema. Everything in the spec is kept until
 * close. */
sonde_status sonde_pipeline_open(const sonde_pipeline_spec *spec, sonde_pipeline **pipeline,
                                 sonde_error *err);
void sonde_pipeline_close(sonde_pipeline **pipeline);

/* Which points the run must show: [points of the model] of SONDE_WANT_*. Lives as long. */
const uint8_t *sonde_pipeline_wants(const sonde_pipeline *pipeline);
/* The callbacks for sonde_schedule_run. */
sonde_schedule_callbacks sonde_pipeline_callbacks(sonde_pipeline *pipeline);

/* After the schedule: writes what the probes made of all retired flows (tables, notes), their
 * groups and interventions. */
sonde_status sonde_pipeline_finish(sonde_pipeline *pipeline, sonde_error *err);

typedef struct sonde_pipeline_stats {
    uint64_t rows;      /* of /rows, in retired flows */
    uint64_t sequences; /* entries of /sequences: retired flows */
    uint64_t kept;      /* rows given to probes, summed over instances' points */
    uint64_t prompt_tokens, generated_tokens;
    uint64_t raw_bytes; /* emitted, in stored dtypes */
} sonde_pipeline_stats;
void sonde_pipeline_stats_get(sonde_pipeline *pipeline, sonde_pipeline_stats *stats);

/* Names of the types that points are stored in: "bf16, f32". */
void sonde_pipeline_dtypes(const sonde_pipeline *pipeline, char *text, size_t bytes);

/* --- a flow, as the callbacks see it -------------------------------------------------------------- */

const sonde_prompt *sonde_flow_prompt(const sonde_flow *flow);
uint64_t sonde_flow_order(const sonde_flow *flow); /* 0, 1, ... as admitted */
/* Sampled tokens, the last one (never run) included, and their log-probabilities. */
int64_t sonde_flow_generated(const sonde_flow *flow, const uint32_t **tokens,
                             const float **logprobs);
/* Text of the sampled tokens so far, special tokens left out, whole characters only until the flow
 * is done; cut before a stop text. */
const char *sonde_flow_text(const sonde_flow *flow, size_t *bytes);
const char *sonde_flow_stop(const sonde_flow *flow); /* "length", "eos", "text", "context", ... */

#endif
