/*
 * plan_internal.h - a plan: the kernel calls of one step and where their buffers lie.
 *
 * Made once, shared by workers, never written after creation.
 */
#ifndef SONDE_PLAN_INTERNAL_H
#define SONDE_PLAN_INTERNAL_H

#include "model_internal.h"
#include "run.h"

typedef enum sonde_op_kind {
    SONDE_OP_EMBED = SONDE_STEP_EMBED,
    SONDE_OP_LINEAR = SONDE_STEP_LINEAR,
    SONDE_OP_NORM = SONDE_STEP_NORM,
    SONDE_OP_ROPE = SONDE_STEP_ROPE,
    SONDE_OP_CACHE = SONDE_STEP_CACHE,
    SONDE_OP_ATTEND = SONDE_STEP_ATTEND,
    SONDE_OP_MAP = SONDE_STEP_MAP,
    SONDE_OP_HOOK = SONDE_STEP_HOOK,
    SONDE_OP_HEADS = SONDE_STEP_HEADS,
    SONDE_OP_JOIN = SONDE_STEP_JOIN,
    SONDE_OP_ROUTE = SONDE_STEP_ROUTE,
    SONDE_OP_EXPERTS = SONDE_STEP_EXPERTS,
    SONDE_OP_COMBINE = SONDE_STEP_COMBINE,
    SONDE_OP_NARROW = SONDE_STEP_KINDS, /* keep the needed rows of the live buffers */
    SONDE_OP_PREPARE, /* never planned: rows of x made ready for a product, inside LINEAR */
} sonde_op_kind;

/* One kernel call. A LINEAR may run several steps that share x, each perhaps with the residual add
 * that follows it; EXPERTS several that share x and the choice. Weights are found when the plan is made; NULL in a plan of the shape only. */
typedef struct sonde_op {
    sonde_op_kind kind;
    int32_t n_steps;
    const sonde_step *steps[SONDE_LINEAR_PARTS];
    const sonde_packed *matrix[SONDE_LINEAR_PARTS]; /* LINEAR, EMBED; HEADS, EXPERTS: one for each */
    const void *weight;                             /* NORM, ATTEND (sinks), ROUTE: reals, or NULL */
    const void *bias[SONDE_LINEAR_PARTS];           /* LINEAR, NORM, EXPERTS: reals, or NULL */
    const sonde_attend_spec *attend;                /* CACHE, ATTEND */
    sonde_buf out[SONDE_LINEAR_PARTS];      /* LINEAR: the sum's buffer when the add is fused */
    sonde_buf residual[SONDE_LINEAR_PARTS]; /* SONDE_NO_BUF: none */
    uint32_t phases;                        /* ATTEND */
    bool writable;                          /* HOOK */
} sonde_op;

typedef struct sonde_plan_buffer {
    bool used;
    bool logits;
    int64_t width, stride; /* reals */
    int64_t first_op, last_op;
    size_t offset; /* in the arena, bytes; ragged buffers: in the ragged arena */
} sonde_plan_buffer;

typedef struct sonde_plan_rope {
    bool by_row;     /* runs make the entries of their rows */
    void *cos, *sin; /* reals [max_positions, rotary_dims / 2]; NULL when by row */
    float *divisors; /* [rotary_dims / 2] or NULL; longrope: the short ones */
    float *long_divisors; /* the same of longrope beyond the original length */
} sonde_plan_rope;

struct sonde_plan {
    const sonde_model *model;
    sonde_plan_options options; /* wants is a copy */
    uint8_t *wants;
    sonde_op *ops;
    int64_t n_ops;
    sonde_plan_buffer *buffers; /* by recipe buffer */
    size_t arena_bytes, ragged_bytes;
    int64_t batch_rows, logits_rows;
    int64_t narrow_op;       /* -1: none */
    bool points_after_narrow;
    bool all_logits;         /* logits of every row are made */
    sonde_buf logits;        /* where they end; SONDE_NO_BUF: the recipe has none */
    sonde_plan_rope *ropes;
    uint64_t rope_bytes;
    size_t *kv_offset;  /* [n_layers] of a layer's page in a block; SIZE_MAX: no cache */
    sonde_kv_layout *kv_layouts; /* [n_layers] */
    size_t kv_block_bytes;
    int64_t most_products;    /* of one step that is many of them */
    int64_t most_experts, most_slots; /* of any step of experts */
    int64_t convert_elements; /* floats of the tap's conversion buffer (oracle) */
};

/* plan_memory.c */
sonde_status sonde_plan_lay_out(sonde_plan *plan, sonde_error *err);
sonde_status sonde_plan_make_ropes(sonde_plan *plan, sonde_error *err);
void sonde_plan_free_ropes(sonde_plan *plan);
/* How many of scores and pattern are wanted, of whatever layers: 0 to 2. */
int sonde_plan_ragged_ports(const sonde_plan *plan);
/* Most visible keys of a row in this plan's ragged points. */
int64_t sonde_plan_most_keys(const sonde_plan *plan, sonde_buf buf);

#endif
