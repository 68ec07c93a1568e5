/*
 * schedule_internal.h - what workers share, and a worker. One mutex guards the source of requests
 * and the first failure; a worker owns everything else it touches.
 */
#ifndef SONDE_SCHEDULE_INTERNAL_H
#define SONDE_SCHEDULE_INTERNAL_H

#include "schedule.h"

#include <pthread.h>

typedef struct shared_state {
    const sonde_plan *plan;
    sonde_schedule_options options; /* within the plan's limits */
    int64_t max_positions;
    const sonde_schedule_callbacks *callbacks;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a sequence ended, or the run is winding down */
    bool ended;             /* `next` said END */
    bool cancelled;
    bool failed;
    uint64_t failed_index; /* lowest sequence index of a failure; valid when failed */
    sonde_error failure;
    sonde_schedule_stats stats;
} shared_state;

/* A sequence in flight. */
typedef struct flight {
    sonde_request request;
    sonde_sequence *sequence;
    int64_t ran;        /* tokens of the request that are in the cache */
    int64_t generated;  /* tokens sampled */
    int64_t max_new;    /* of the request, or what the plan's positions leave */
    uint32_t pending;   /* the sampled token that runs next (when ran == n_tokens) */
    int64_t count;      /* rows in the step being built; 0: none */
    int64_t first_row;  /* of them in the batch */
    int32_t item;       /* its item in that step */
    uint8_t keep_one;   /* keep flag of a decode row */
} flight;

typedef struct worker {
    shared_state *shared;
    int index;
    sonde_run *run;
    sonde_sampler *sampler;
    flight **flights; /* [batch_sequences] in order of admission */
    int32_t n_flights;
    sonde_batch_item *items;
    int64_t n_rows; /* of the step being built */
    sonde_schedule_stats stats;
} worker;

/* schedule_step.c: one step over the worker's flights: rows, labels, sampling, ends. */
void sonde_schedule_step(worker *w);
/* schedule.c */
void sonde_schedule_fail(shared_state *shared, uint64_t index, const sonde_error *error);
void sonde_schedule_wake(shared_state *shared); /* a sequence ended */
void sonde_schedule_remove(worker *w, int32_t at);
void sonde_schedule_drop_from(worker *w, uint64_t limit); /* flights of index >= limit */

#endif
