/*
 * schedule_internal.h - what workers share, and a worker. One mutex guards the source of requests,
 * the first failure and what workers tell each other; a worker owns everything else it touches.
 */
#ifndef SONDE_SCHEDULE_INTERNAL_H
#define SONDE_SCHEDULE_INTERNAL_H

#include "schedule.h"

#include <pthread.h>

/* Rows of a decode step from which reading the weights costs little beside the arithmetic
 * (bench_schedule: with 8 a worker one of all threads is 1.07 times as fast, with 16 0.98
 * times). */
#define SONDE_ENOUGH_ROWS 12

typedef struct flight flight;

/* What a worker tells the others; under the lock. */
typedef struct worker_report {
    uint64_t oldest;  /* lowest index of a sequence that has begun; UINT64_MAX */
    bool at_end;      /* nothing more comes for it: its threads are free */
    int64_t rows;     /* that its sequences decode in a step; -1: they have other work */
    int64_t n_flights; /* as many as it may have before it takes in more of them */
    flight **handed;  /* [n_handed <= most_flights] what others gave it, until it takes them in */
    int32_t n_handed;
} worker_report;

typedef struct shared_state {
    const sonde_plan *plan;
    sonde_schedule_options options; /* within the plan's limits */
    int64_t max_positions;
    bool shows;  /* rows of prompts are wanted by points, or all of them by labels */
    bool labels;
    bool writes; /* a point is written: nothing that ran can be run again */
    sonde_kv *kv;
    const sonde_schedule_callbacks *callbacks;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a step was taken, or the run is winding down */
    uint64_t n_changes;
    worker_report *reports; /* [workers] */
    int64_t most_flights;   /* of a worker */
    uint64_t starved;       /* index of the first of all, when it found no page; UINT64_MAX */
    bool ended;             /* `next` said END */
    bool cancelled;
    bool failed;
    uint64_t failed_index; /* lowest sequence index of a failure; valid when failed */
    sonde_error failure;
    sonde_schedule_stats stats;
} shared_state;

/* A sequence in flight. */
struct flight {
    sonde_request request;
    sonde_sequence *sequence; /* NULL: it holds no pages */
    bool settled;       /* it has found its prefix, or need not look: it may run */
    int64_t committed;  /* blocks that it was promised */
    int64_t unwanted;   /* rows at the beginning that nobody wants to see */
    int64_t ran;        /* tokens of the request that are in the cache */
    int64_t seen;       /* rows that were shown, labelled and sampled from */
    uint32_t *made;     /* [generated] the last of them runs next (when ran == n_tokens) */
    size_t made_capacity;
    int64_t generated;  /* tokens sampled */
    int64_t max_new;    /* of the request, or what the plan's positions leave */
    int64_t count;      /* rows in the step being built; 0: none */
    int64_t first_row;  /* of them in the batch */
    int32_t item;       /* its item in that step */
    uint8_t keep_one;   /* keep flag of a decode row */
};

typedef struct worker {
    shared_state *shared;
    int index;
    int32_t threads; /* of its run: its own, and those that others lend */
    sonde_run *run;
    sonde_sampler *sampler;
    flight **flights; /* [most_flights] in order of admission */
    int32_t n_flights;
    sonde_batch_item *items;
    int64_t n_rows; /* of the step being built */
    bool starves;   /* its first flight is the one that is starved */
    sonde_schedule_stats stats;
} worker;

/* schedule_step.c: one step over the worker's flights: rows, labels, sampling, ends. False: none of
 * them can go on before something changes. */
bool sonde_schedule_step(worker *w);
/* schedule_lend.c. Takes in what others handed over; false: nothing is left, the worker is at its
 * end. */
bool sonde_schedule_goes_on(worker *w, bool more);
/* Threads of workers that are at their end. */
void sonde_schedule_borrow(worker *w);
/* Gives all flights away and ends where others can decode them in the same steps. `more`: the
 * source has not ended. */
bool sonde_schedule_hand_over(worker *w, bool more);
/* schedule_pages.c: who holds pages of the cache. */
sonde_status sonde_schedule_check_fits(const shared_state *shared, const flight *f, sonde_error *err);
/* Flights without pages begin where there is room for them; those that wait for a prefix look again. */
void sonde_schedule_begin_flights(worker *w);
/* Pages for the next `count` rows, if need be those of the worker's youngest flights behind this one
 * that are not in the step being built. False: none. */
bool sonde_schedule_reserve(worker *w, flight *f, int64_t count);
/* No flight found a page: the first of the worker gives up its own, or waits as the first of all; it
 * fails when nobody else holds any. */
void sonde_schedule_unblock(worker *w);
void sonde_schedule_close(worker *w, flight *f); /* gives its pages back */
/* schedule.c */
void sonde_schedule_fail(shared_state *shared, uint64_t index, const sonde_error *error);
void sonde_schedule_wake(shared_state *shared); /* a step was taken */
void sonde_schedule_remove(worker *w, int32_t at);
/* Rows before `n` of a flight need not be shown any more. */
void sonde_schedule_see(worker *w, flight *f, int64_t n);
void sonde_schedule_drop_from(worker *w, uint64_t limit); /* flights of index >= limit */

#endif
