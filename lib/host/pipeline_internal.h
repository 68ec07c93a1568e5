/*
 * pipeline_internal.h - the state of a pipeline.
 *
 * Locks. `lock` guards the list of flows, row counts and `placed`; retiring happens under
 * `retiring`, one thread at a time. A flow's own lock guards its `held` list, `undecided`, and the
 * arrays of its rows while it runs: its worker alone makes them longer, under the lock, and fills
 * in rows behind those that others read. Order: retiring, then lock, then a flow's.
 */
#ifndef SONDE_HOST_PIPELINE_INTERNAL_H
#define SONDE_HOST_PIPELINE_INTERNAL_H

#include "kernels/dtype/dtype.h"
#include "pipeline.h"

#include <pthread.h>
#include <stdatomic.h>

/* A rows expression in use. Slot 0 is the default one, which a prompt's own `rows` replaces. */
typedef struct sonde_slot {
    char *text; /* NULL: all */
    sonde_rows_expr *expr;
    bool used;  /* by a point; slot 0 also when there is no point at all */
} sonde_slot;

/* Ragged rows of one slot and mask: equal numbers of visible keys. */
typedef struct sonde_ragged_class {
    int32_t slot;
    const sonde_hook_point *point; /* one of those with the mask */
} sonde_ragged_class;

/* An output of an instance and its place in the file. */
typedef struct sonde_pipe_output {
    const sonde_probe_output *declared;
    int32_t instance;
    int32_t slot, ragged_class; /* ragged_class -1: dense */
    int32_t dataset;   /* POINT: schema point; else store dataset */
    bool twin;         /* an earlier output stores the same values: a second name, no rows */
    int32_t sequence_column, position_column; /* SPARSE */
    sonde_dtype stored;
    int64_t width;     /* elements of a row; ragged: heads */
    size_t row_bytes;  /* stored; ragged: of one key */
    bool rowmap;
} sonde_pipe_output;

/* A hook point as one instance wants it. */
typedef struct sonde_pipe_point {
    int32_t instance;
    uint32_t index; /* in the instance's points */
    const sonde_selected_point *selected;
    const sonde_hook_point *point;
    int32_t slot;
    bool writes;
    int32_t next;   /* of the same hook point, or -1 */
} sonde_pipe_point;

/* Emitted rows that wait for the flow to be placed; POINT and ROWS of consecutive ranks, or SPARSE. */
typedef struct sonde_held {
    struct sonde_held *next;
    const sonde_pipe_output *output;
    int64_t first, n_rows;  /* rank of the first row in its slot */
    int64_t *positions;     /* [n_rows], SPARSE and ragged */
    void *data;
    size_t bytes;
} sonde_held;

/* Rows of one point kept until it is known which are wanted (expressions that look back). */
typedef struct sonde_deferred {
    struct sonde_deferred *next;
    int32_t pipe_point;
    uint64_t block;
    int64_t position, n_rows; /* consecutive positions */
    int64_t *offset, *first_key; /* [n_rows + 1] elements in data; [n_rows], NULL: dense */
    float *data;
} sonde_deferred;

/* The rows of a flow that one slot keeps. */
typedef struct sonde_line {
    const sonde_rows_expr *expr; /* NULL: all */
    bool deferred;  /* decided at the end */
    uint8_t *keep;  /* [capacity] */
    uint32_t *rank; /* [capacity + 1] kept rows before each position */
    uint64_t base;  /* row number of rank 0 in the datasets of the slot; valid when placed */
} sonde_line;

struct sonde_flow {
    sonde_pipeline *pipeline;
    sonde_flow *next; /* in input order */
    sonde_prompt prompt;
    uint64_t order;
    pthread_mutex_t lock;
    /* the token run */
    uint32_t *tokens;   /* [capacity] prompt, then sampled ones */
    uint8_t *segments;  /* [capacity] codes of sonde_segment, all 0 without a conversation */
    int64_t n_tokens;   /* known so far; the last sampled one may never run */
    int64_t n_run;      /* tokens the model runs on: set when done, prompt tokens before */
    int64_t n_decided;  /* positions whose keep is known */
    int64_t n_counted;  /* tokens whose rows count: set before counts_known */
    int64_t capacity;
    float *logprob, *entropy; /* [capacity]; NULL: not asked for */
    int32_t *rank_label;
    /* which rows */
    sonde_line *lines;  /* [n_slots] */
    sonde_rows_expr *own_rows; /* the prompt's own expression, or NULL */
    uint8_t *keep;      /* [prompt tokens] union, for the scheduler */
    uint32_t *union_rank; /* [capacity + 1] */
    uint64_t union_base;
    uint64_t **visible;  /* [n_classes][capacity + 1] keys of kept rows before each position */
    uint64_t *visible_base; /* [n_classes] */
    bool counts_known, placed, done;
    bool undecided; /* rows are numbered among others that are only known when the sequence ends */
    /* probes */
    char *meta_text; /* of the prompt's metadata, made at the first view; by jansson */
    void **states, **scratch; /* [n_instances] */
    size_t *scratch_bytes;
    uint64_t *scratch_block;
    sonde_held *held, **held_end;
    sonde_held *sparse, **sparse_end;
    sonde_deferred *deferred, **deferred_end;
    int worker; /* that runs the flow: valid once a point was shown */
    sonde_error failure; /* of a probe on its rows: ends this flow when the scheduler asks */
    uint64_t reserved_bytes;
    /* generation */
    sonde_finish finish;
    bool stopped_by_text;
    sonde_decoder *decoder;
    sonde_string text; /* of the sampled tokens */
    size_t text_cut;   /* SIZE_MAX: no stop text found */
};

/* Buffers of one worker, grown as needed. */
typedef struct sonde_pipe_worker {
    int64_t *offset, *length, *first_key, *position;
    uint32_t *token;
    uint8_t *phase, *segment;
    size_t rows_capacity;
    float *gathered;
    size_t gathered_capacity;
    uint8_t *emitted; /* [n_outputs] */
} sonde_pipe_worker;

struct sonde_pipeline {
    sonde_pipeline_spec spec;
    sonde_slot *slots;
    int32_t n_slots;
    size_t slot_capacity;
    sonde_ragged_class *classes;
    int32_t n_classes;
    size_t class_capacity;
    sonde_pipe_point *points;
    int32_t n_points;
    int32_t *first_point; /* [points of the model] index into points, or -1 */
    uint8_t *wants;
    sonde_pipe_output *outputs; /* of all instances */
    int32_t n_outputs;
    int32_t *first_output;      /* [n_instances + 1] */
    int32_t entropy_column, rank_column;
    void **totals;              /* [n_instances] merged states */
    atomic_ullong *rows_seen;   /* [n_instances] */
    atomic_ullong raw_bytes;    /* emitted, in stored dtypes */
    sonde_pipe_worker *workers;

    pthread_mutex_t lock, retiring;
    sonde_flow *head, *tail;    /* not retired, input order */
    sonde_flow *unplaced;       /* first that is not placed; NULL: all are */
    sonde_flow *frontier;       /* the last placed one while its counts are not known, or NULL */
    uint64_t n_flows;           /* in the list */
    uint64_t admitted;
    uint64_t *slot_rows;        /* [n_slots] running row numbers of placed flows */
    uint64_t union_rows, *class_keys;
    uint64_t *sparse_rows;      /* [n_outputs] */
    uint64_t window_used;
    sonde_prompt pending;       /* read, not admitted yet */
    bool has_pending, ended;
    atomic_bool failing;        /* a probe failed: nothing more is admitted */
    bool broken;                /* retiring failed: nothing retires any more */
    sonde_pipeline_stats stats;
};

/* pipeline_slots.c: expressions, classes, points and outputs. */
sonde_status sonde_pipeline_declare(sonde_pipeline *p, sonde_error *err);
void sonde_pipeline_undeclare(sonde_pipeline *p);

/* flow.c */
sonde_status sonde_flow_create(sonde_pipeline *p, sonde_prompt *prompt, sonde_flow **flow,
                               sonde_error *err);
void sonde_flow_destroy(sonde_flow *flow);
/* Makes room for `n` tokens. */
sonde_status sonde_flow_grow(sonde_flow *flow, int64_t n, sonde_error *err);
/* Decides which of the positions below `n` are kept (all: also what was deferred). */
sonde_status sonde_flow_decide(sonde_flow *flow, int64_t n, bool all, sonde_error *err);
uint8_t sonde_flow_phase(const sonde_flow *flow, int64_t position);
bool sonde_flow_keeps_row(const sonde_flow *flow, int64_t position);
bool sonde_flow_wants_row(const sonde_flow *flow, int64_t position);
bool sonde_flow_wants_generated(const sonde_flow *flow);
void sonde_deferred_free(sonde_deferred *deferred);
/* Adds a sampled token's text and looks for stop texts. */
sonde_status sonde_flow_add_text(sonde_flow *flow, uint32_t token, bool *stop, sonde_error *err);
sonde_status sonde_flow_end_text(sonde_flow *flow, sonde_error *err);

/* pipeline_order.c: placing and retiring. Under `lock`. */
void sonde_pipeline_append(sonde_pipeline *p, sonde_flow *flow);
void sonde_pipeline_place(sonde_pipeline *p);
/* Would a flow appended now be placed at once? */
bool sonde_pipeline_can_place(const sonde_pipeline *p);
/* Without `lock`: retires every finished flow at the head, then sends what placed flows held. */
sonde_status sonde_pipeline_retire(sonde_pipeline *p, sonde_error *err);

/* pipeline_tap.c: views of rows to probes. */
sonde_status sonde_pipeline_point(void *context, int worker, const sonde_tap_view *view,
                                  sonde_error *err);
sonde_status sonde_flow_deliver_deferred(sonde_flow *flow, sonde_error *err);
sonde_status sonde_flow_call_done(sonde_flow *flow, sonde_error *err);

/* pipeline_sink.c: what probes emit. */
typedef struct sonde_emitting {
    sonde_pipeline *pipeline;
    sonde_flow *flow;
    sonde_pipe_worker *worker;
    int32_t instance;
    const sonde_probe_view *view; /* NULL: from done */
    uint8_t *emitted; /* [outputs of the instance] 1: emitted in this call */
    sonde_status status;          /* of the store, when that failed */
    sonde_error error;
} sonde_emitting;
sonde_probe_sink sonde_row_sink(sonde_emitting *emitting);
sonde_status sonde_pipeline_put_held(sonde_pipeline *p, sonde_flow *flow, const sonde_held *held,
                                     sonde_error *err);
void sonde_held_free(sonde_held *held);

#endif
