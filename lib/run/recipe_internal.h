/*
 * recipe_internal.h - what a recipe is made of. A recipe is a flat list of steps over buffers;
 * families write it through sonde/recipe.h, the plan reads it here.
 */
#ifndef SONDE_RECIPE_INTERNAL_H
#define SONDE_RECIPE_INTERNAL_H

#include "core/core.h"
#include "sonde/recipe.h"
#include "weights/weights.h"

typedef enum sonde_step_kind {
    SONDE_STEP_EMBED = 0,
    SONDE_STEP_LINEAR = 1,
    SONDE_STEP_NORM = 2,
    SONDE_STEP_ROPE = 3,
    SONDE_STEP_CACHE = 4,
    SONDE_STEP_ATTEND = 5,
    SONDE_STEP_MAP = 6,
    SONDE_STEP_HOOK = 7,
    SONDE_STEP_HEADS = 8,
    SONDE_STEP_JOIN = 9,
    SONDE_STEP_ROUTE = 10,
    SONDE_STEP_EXPERTS = 11,
    SONDE_STEP_COMBINE = 12,
    SONDE_STEP_KINDS
} sonde_step_kind;

/* The sub-operation of a MAP step; numbers as in kernels.h. */
typedef struct sonde_map_spec {
    int32_t op;
    sonde_act act;
    double c, d;
} sonde_map_spec;

#define SONDE_STEP_INPUTS 3
typedef struct sonde_step {
    sonde_step_kind kind;
    int64_t layer;
    sonde_buf in[SONDE_STEP_INPUTS]; /* CACHE: k, v; EXPERTS: x, ids; COMBINE: y, weights, shared */
    sonde_buf out[3]; /* NORM: y, scale; ATTEND: z, scores, pattern; ROUTE: weights, ids */
    sonde_role weight, bias;
    bool logits; /* LINEAR: only rows whose logits somebody needs; MAP behind it too */
    int64_t hook; /* HOOK: index into hooks */
    union {
        sonde_norm_spec norm;
        sonde_map_spec map;
        sonde_attend_spec attend;
        struct {
            int32_t table;
            int64_t n_heads, head_dim, offset;
        } rope;
        struct {
            int64_t n_heads;
            sonde_head_dims part[2]; /* HEADS: the first alone */
        } heads;
        sonde_route_spec route;
    } u;
} sonde_step;

typedef struct sonde_buffer {
    int64_t width; /* elements of a row; ragged: heads */
    bool ragged, logits;
    bool ids;      /* elements are int32: numbers of experts */
    int64_t experts; /* of ids: how many there are */
    int64_t slots; /* chosen experts: a row is [slots, width / slots]; 0: none */
} sonde_buffer;

typedef struct sonde_hook_entry {
    char *name;             /* "blocks.3.attn.q" */
    const char *local_name; /* points into name */
    int64_t layer, n_heads;
    sonde_buf buf;
    int64_t step; /* index of its HOOK step */
} sonde_hook_entry;

/* How the rows of a role lie in the stored tensor. */
typedef struct sonde_role_rows {
    int64_t first, take, stride; /* Hugging Face files */
    int64_t unpermute_gguf;      /* head size, or 0 */
    bool transpose_heads;        /* `take` stored rows a head are its inputs */
} sonde_role_rows;

typedef struct sonde_absent_entry {
    const char *name, *why;
} sonde_absent_entry;

struct sonde_recipe {
    const sonde_family *family;
    const sonde_config *config;
    const sonde_weights *weights; /* tensors may be absent (shape only) */
    bool gguf;
    sonde_dims dims;
    sonde_step *steps;
    int64_t n_steps;
    size_t step_capacity;
    sonde_buffer *buffers;
    int64_t n_buffers;
    size_t buffer_capacity;
    sonde_hook_entry *hooks;
    int64_t n_hooks;
    size_t hook_capacity;
    sonde_rope_spec *ropes;
    int64_t n_ropes;
    size_t rope_capacity;
    double **numbers; /* lists that specs point to: ALiBi slopes, factors of longrope */
    int64_t n_numbers;
    size_t numbers_capacity;
    sonde_role_rows rows[SONDE_ROLE_COUNT];
    int64_t ignored_layers[2]; /* first, count */
    sonde_absent_entry absent[64];
    int64_t n_absent;
    const char *honoured[256]; /* keys read or ignored on purpose */
    int64_t n_honoured;
    sonde_error error; /* sticky */
};

/* Runs the family's describe over a config. *recipe is given to the caller. */
sonde_status sonde_recipe_create(const sonde_family *family, const sonde_weights *weights,
                                 sonde_recipe **recipe, sonde_error *err);
void sonde_recipe_destroy(sonde_recipe **recipe);
/* Keeps the first failure. */
void sonde_recipe_fail(sonde_recipe *r, sonde_status status, const char *format, ...)
    SONDE_PRINTF(3, 4);
bool sonde_recipe_good(const sonde_recipe *r);
void sonde_recipe_honour(sonde_recipe *r, const char *key);
/* Honours the keys that no family's forward pass depends on. */
void sonde_recipe_ignore_neutral(sonde_recipe *r);
/* After `describe`: refuses keys that were not read and would change the result, warns of others. */
void sonde_recipe_check_keys(sonde_recipe *r);
const char *sonde_role_name(sonde_role role);      /* "ATTN_Q" */
const char *sonde_role_gguf_name(sonde_role role); /* "blk.%d.attn_q.weight" */
/* New entries; 0 and NULL once the recipe has failed. A step's buffers are SONDE_NO_BUF, its roles
 * SONDE_ROLE_NONE. A pointer to a step is good until the next one is made. */
sonde_buf sonde_recipe_buffer(sonde_recipe *r, int64_t width);
sonde_step *sonde_recipe_step(sonde_recipe *r, sonde_step_kind kind, int64_t layer);
static inline bool sonde_step_reads(const sonde_step *step, sonde_buf buf)
{
    return step->in[0] == buf || step->in[1] == buf || step->in[2] == buf;
}
/* A list of n numbers that lives as long as the recipe; NULL once the recipe has failed. */
double *sonde_recipe_numbers(sonde_recipe *r, int64_t n);
const char *sonde_step_kind_name(sonde_step_kind kind); /* "linear" */
/* The tensor of a role and layer, or NULL; flags of the table's entry (SONDE_WEIGHT_*). The slice
 * rule that applies is written to *rows. */
const sonde_tensor *sonde_recipe_tensor(const sonde_recipe *r, sonde_role role, int64_t layer,
                                        uint32_t *flags, sonde_role_rows *rows);
/* The same where every expert has a tensor of its own; NULL when they are stacked. */
const sonde_tensor *sonde_recipe_expert_tensor(const sonde_recipe *r, sonde_role role, int64_t layer,
                                               int64_t expert, uint32_t *flags,
                                               sonde_role_rows *rows);
#define SONDE_WEIGHT_NAME_BYTES 160
/* A pattern with its %d filled in: the layer, then (where there is a second one) the expert. */
void sonde_weight_pattern(const char *pattern, int64_t layer, int64_t expert,
                          char name[SONDE_WEIGHT_NAME_BYTES]);

#define SONDE_ROPE_DIMS_MAX 1024
/* inv_freq [rotary_dims / 2] for a sequence of `rope_length`; divisors NULL or [rotary_dims / 2], for
 * longrope those of sonde_rope_is_long. */
void sonde_rope_frequencies(const sonde_rope_spec *spec, int64_t rope_length, const float *divisors,
                            float *inv_freq);
/* cos and sin are multiplied by this. */
double sonde_rope_attention_scaling(const sonde_rope_spec *spec);
/* True when a longrope sequence of `rope_length` takes its long factors. */
bool sonde_rope_is_long(const sonde_rope_spec *spec, int64_t rope_length);
/* True when frequencies depend on the sequence's length. */
bool sonde_rope_depends_on_length(const sonde_rope_spec *spec);

#endif
