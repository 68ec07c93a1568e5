/*
 * conformance.h - drives a probe plugin through the ABI with made-up rows and watches what it does.
 *
 *   synth   sequences, kept rows and values that depend on nothing but their place
 *   sink    takes what is emitted, and notes every breach of the header
 *   drive   one *way* of cutting the same rows into blocks, from setup to finish
 *   main    several ways must give one outcome
 */
#ifndef SONDE_TEST_CONFORMANCE_H
#define SONDE_TEST_CONFORMANCE_H

#include "core/core.h"
#include "host/probes.h"

#include <pthread.h>

/* --- synth ------------------------------------------------------------------------------------ */

#define N_SEQUENCES 5
typedef struct synth_sequence {
    int64_t n_tokens, n_prompt;
    int64_t n_kept; /* rows that the selection keeps, in order */
    int64_t kept[96];
    uint32_t tokens[96];
    char id[16];
} synth_sequence;
extern synth_sequence synth[N_SEQUENCES];
void synth_init(void);
/* Elements of the row of a point at a position; *first_key of ragged points. */
int64_t synth_row_length(const sonde_hook_point *hook, const sonde_probe_point *point,
                         int64_t position, int64_t *first_key);
void synth_row(uint32_t element, int64_t sequence, uint32_t point, int64_t position, int64_t n,
               float *out);

/* Memory between two guards. */
typedef struct guarded {
    uint8_t *raw, *data; /* data is what a plugin sees, zeroed; NULL when bytes is 0 */
    size_t bytes;
} guarded;
guarded guarded_alloc(size_t bytes);
bool guarded_intact(const guarded *g);
void guarded_free(guarded *g);

/* --- outcome and sink ------------------------------------------------------------------------- */

typedef struct result_table {
    char name[256];
    uint32_t element, n_dims;
    int64_t dims[4];
    sonde_string data;
} result_table;

typedef struct outcome {
    uint32_t n_outputs, n_points;
    sonde_string *emitted; /* [n_outputs * N_SEQUENCES] rows in order of position */
    sonde_string *written; /* [n_points * N_SEQUENCES] rows of written points after the call */
    sonde_string notes;
    result_table *tables;
    size_t n_tables, tables_capacity;
    pthread_mutex_t lock;
    sonde_string breaches; /* a line each */
    int n_breaches;
} outcome;
void outcome_init(outcome *o, const sonde_probe_instance *instance);
void outcome_reset(outcome *o);
/* Notes a breach. [any thread] */
void breach(outcome *o, const char *format, ...) SONDE_PRINTF(2, 3);

typedef enum stage { STAGE_ROWS, STAGE_DONE, STAGE_FINISH } stage;
/* What `self` of the sink points to, for one callback. */
typedef struct taker {
    outcome *outcome;
    const sonde_probe_instance *instance;
    stage stage;
    int64_t sequence;
    const sonde_probe_view *view; /* STAGE_ROWS */
    uint8_t *emitted;             /* [n_outputs] in this call */
    bool refuse;                  /* everything fails */
    int refused;                  /* how often it did */
} taker;
sonde_probe_sink taker_sink(taker *t);

/* --- drive ------------------------------------------------------------------------------------ */

typedef struct way {
    const char *name;
    int64_t block_rows; /* at most, of one sequence; 0: all at once */
    bool interleaved;   /* all sequences advance together, else one after another */
    bool reversed;      /* the last sequence first */
    bool moving;        /* states are saved, loaded and moved between blocks */
    bool threads;       /* two threads share the sequences */
    bool regrouped;     /* merge by two groups of sequences: equal up to rounding only */
    int64_t padding;    /* guard elements between rows */
} way;

typedef struct target {
    const sonde_model *model;
    const char *typed; /* the plugin as for --probe */
} target;

/* Sets up the plugin, drives it one way and resets it. False (with a breach) when it failed. */
bool drive(const target *t, const way *w, outcome *o);
/* The sink refuses everything: every callback that emits must say that it failed. */
bool drive_refusing(const target *t, outcome *o);

#endif
