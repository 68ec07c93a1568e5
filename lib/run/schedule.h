/*
 * schedule.h - many sequences over workers: prefill, insert, generate.
 *
 * Workers (one thread each, with intra-op threads of their own when asked) share one plan and its
 * packed weights. A worker keeps up to max_sequences sequences: every step takes one decode row of
 * each running sequence and fills the rest of its token budget with prefill chunks of sequences
 * that are starting. Sequences are handed out in input order; what a row computes never depends on
 * the worker or the company it ran in.
 *
 * The cache is one for all workers. A prompt begins with the rows that it shares with an earlier one
 * and that nobody wants to see; a sequence whose beginning is just being computed waits for it. When
 * the cache is full, sequences wait to begin; when one that runs finds no page, the youngest of its
 * worker gives up its own and is run again later, unseen as far as it had come. Sequences of a plan
 * that writes to points are promised all of their pages before they begin.
 *
 * A worker at its end, for which nothing more comes, lends its threads to the others; where few
 * sequences decode and none can begin, they go on in one worker.
 *
 * All callbacks are called from worker threads; `next` one call at a time, the others concurrently
 * for different sequences and in order within one. The first failure (by lowest sequence index
 * among those seen when the run winds down) is what sonde_schedule_run returns.
 */
#ifndef SONDE_SCHEDULE_H
#define SONDE_SCHEDULE_H

#include "run.h"
#include "sample.h"

typedef enum sonde_finish {
    SONDE_FINISH_DONE = 0,    /* all tokens ran: max_new reached, or nothing to generate */
    SONDE_FINISH_STOPPED = 1, /* a stop token was sampled */
    SONDE_FINISH_CUT = 2,     /* the plan's positions are full: fewer tokens than max_new */
} sonde_finish;

/* A sequence to run. Pointers stay valid until `done` for it returned. */
typedef struct sonde_request {
    uint64_t index;          /* input index in the whole run: order and sampling key */
    const uint32_t *tokens;  /* [n_tokens] prompt and continuation: run as given; none, or more than
                                the plan's positions, is BAD_PROMPT */
    int64_t n_tokens;
    int64_t max_new;         /* tokens to sample after them */
    uint64_t seed;
    sonde_sampling sampling;
    const uint32_t *stop;    /* [n_stop] ids that end generation (sampled, recorded, never run) */
    int64_t n_stop;
    const uint8_t *keep;     /* [n_tokens] rows wanted from points, or NULL: all */
    bool keep_generated;     /* rows of generated tokens are wanted */
    bool label_next;         /* logprob of each sampled token is wanted */
    void *user;              /* handed to every callback */
} sonde_request;

typedef enum sonde_next {
    SONDE_NEXT_GIVEN = 0,
    SONDE_NEXT_LATER = 1, /* none right now (back-pressure): ask again after something finished */
    SONDE_NEXT_END = 2,
} sonde_next;

typedef struct sonde_schedule_callbacks {
    void *context;
    sonde_status (*next)(void *context, sonde_request *request, sonde_next *what,
                         sonde_error *err);
    /* Hook points; view->users are the requests' user pointers. NULL: none. */
    sonde_status (*point)(void *context, int worker, const sonde_tap_view *view, sonde_error *err);
    /* Labels of rows [first, first + count) of a sequence's token run; labels[i] is of the token at
     * position first + i + 1. Only for plans with want_labels. */
    sonde_status (*labels)(void *context, void *user, int64_t first, int64_t count,
                           const sonde_row_labels *labels, sonde_error *err);
    /* A token was sampled for `position`; label: NaN / -1 when not asked for. Set *stop to end the
     * sequence after it (stop texts). */
    sonde_status (*token)(void *context, void *user, int64_t position, uint32_t token,
                          sonde_row_labels label, bool *stop, sonde_error *err);
    /* The sequence ended; nothing more comes for it and its request may be released. */
    sonde_status (*done)(void *context, void *user, sonde_finish finish, sonde_error *err);
    /* True: stop handing out and wind down at once (Ctrl-C). May be NULL. */
    bool (*cancelled)(void *context);
} sonde_schedule_callbacks;

typedef struct sonde_schedule_options {
    int32_t workers, threads; /* workers x threads per worker */
    int64_t batch_tokens;     /* rows of a step at most; lowered to the plan's batch_rows */
    int64_t batch_sequences;  /* sequences at once in a worker; lowered to the plan's */
    int64_t chunk;            /* prefill tokens of one sequence in a step */
    int64_t n_sequences;      /* that will come at most, so that no worker takes more than its share of
                                 them at once; 0: not known */
    uint64_t kv_bytes;        /* of the cache, all workers; 0: no limit. A sequence that does not fit
                                 alone is TOO_BIG */
} sonde_schedule_options;

typedef struct sonde_schedule_stats {
    sonde_run_stats run; /* summed over workers */
    sonde_kv_stats kv;
    uint64_t prompt_tokens, generated_tokens, sequences;
    uint64_t preempted, rows_again; /* sequences that gave up their pages; rows run once more */
    uint64_t handed; /* sequences that went on in another worker */
} sonde_schedule_stats;

/* Runs until `next` says END and all sequences are done, or something fails or is cancelled
 * (INTERRUPTED). */
sonde_status sonde_schedule_run(const sonde_plan *plan, const sonde_schedule_options *options,
                                const sonde_schedule_callbacks *callbacks,
                                sonde_schedule_stats *stats, sonde_error *err);

/* The work at hand, as far as it is known beforehand. */
typedef struct sonde_schedule_work {
    int64_t n_sequences;     /* at most; negative: not known, many */
    int64_t prompt_tokens;   /* of one, about; 0: not known */
    int64_t max_new;         /* tokens to generate after each */
    int64_t batch_sequences; /* at once in a worker */
    int32_t cores;           /* 0: those of the machine */
} sonde_schedule_work;
/* What `auto` means. One-thread workers share nothing but weights and lose the least; one worker with
 * all threads is better where there are too few sequences to keep all cores busy to the end, and where
 * few sequences generate: their rows then read the weights together. `why` gets a sentence. */
void sonde_schedule_auto(const sonde_schedule_work *work, int32_t *workers, int32_t *threads,
                         char why[160]);

#endif
