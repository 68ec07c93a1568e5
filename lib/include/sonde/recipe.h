/*
 * sonde/recipe.h - how a model family is written down once and runs on every backend.
 *
 * A family is one file in models/ that includes this header only. Its `describe` function reads
 * the checkpoint's hyperparameters and writes a recipe: a flat list of steps over named row
 * buffers, in the order of the paper, with the hook points standing between them as steps of their
 * own. Nothing outside models/ knows a family by name.
 *
 * Every value is one row per token. A buffer is made by the step that writes it and written once
 * (steps never overwrite); the plan that binds a recipe to a backend drops steps that nobody needs,
 * lays the buffers out in one arena, fuses neighbours and never changes a bit by it.
 *
 * Errors are sticky: the first failure (a missing key, a wrong type, a bad number) is kept in the
 * recipe, later calls do nothing and return harmless values, and `describe` ends by returning
 * sonde_recipe_status(r, err). So a recipe reads straight down.
 *
 * All functions: [one thread at a time per object]. Strings given to them are string literals or
 * live as long as the recipe.
 */
#ifndef SONDE_RECIPE_H
#define SONDE_RECIPE_H

#include "sonde/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_config sonde_config; /* hyperparameters: config.json or GGUF metadata */
typedef struct sonde_recipe sonde_recipe;
typedef int32_t sonde_buf; /* a row buffer of the recipe; negative: none */
#define SONDE_NO_BUF (-1)
#define SONDE_GLOBAL (-1) /* "layer" of things outside the blocks */

/* ---- reading the configuration (keys in Hugging Face's spelling whatever the file) ---------- */

#define SONDE_REQUIRED INT64_MIN /* as fallback: a missing key is an error */
#define SONDE_REQUIRED_FLOAT (-1e300)

/* Every read marks the key as honoured. Absent or null gives the fallback. Integers must lie in
 * [min, max]; floats must be finite. */
SONDE_API int64_t sonde_get_int(sonde_recipe *r, const char *key, int64_t fallback, int64_t min,
                                int64_t max);
SONDE_API double sonde_get_float(sonde_recipe *r, const char *key, double fallback);
SONDE_API bool sonde_get_bool(sonde_recipe *r, const char *key, bool fallback);
SONDE_API const char *sonde_get_text(sonde_recipe *r, const char *key, const char *fallback);
SONDE_API bool sonde_has(sonde_recipe *r, const char *key);
/* True when the key is written as null (which elsewhere counts as absent). */
SONDE_API bool sonde_is_null(sonde_recipe *r, const char *key);
/* Entry `index` of a list of texts, or NULL when the list is absent or shorter. */
SONDE_API const char *sonde_get_list_text(sonde_recipe *r, const char *key, int64_t index);
/* Entries of a list of integers or numbers; a list that is absent or shorter gives the fallback. */
SONDE_API int64_t sonde_get_list_int(sonde_recipe *r, const char *key, int64_t index,
                                     int64_t fallback);
SONDE_API double sonde_get_list_float(sonde_recipe *r, const char *key, int64_t index,
                                      double fallback);
/* Entries of a list; 0 when it is absent. */
SONDE_API int64_t sonde_list_length(sonde_recipe *r, const char *key);
SONDE_API bool sonde_from_gguf(const sonde_recipe *r);
/* Names keys that this family knows and that do not change the forward pass (NULL-terminated). */
SONDE_API void sonde_ignore_keys(sonde_recipe *r, const char *const *keys);
/* Refuses the model: UNSUPPORTED-by-name inside a BAD_MODEL error. */
SONDE_API void sonde_refuse(sonde_recipe *r, const char *format, ...) SONDE_PRINTF(2, 3);
SONDE_API sonde_status sonde_recipe_status(const sonde_recipe *r, sonde_error *err);

/* What every family has; fill before the first step. */
typedef struct sonde_dims {
    int64_t n_layers, hidden, n_heads, n_kv_heads, head_dim, value_dim, ffn, vocab, max_positions;
} sonde_dims;
SONDE_API void sonde_set_dims(sonde_recipe *r, const sonde_dims *dims);

/* ---- weights: named by role ------------------------------------------------------------------ */

/* X(constant, GGUF name); %d is the layer. One shared table of GGUF names; a family whose files say
 * otherwise has gguf_weights. Experts' weights are one stacked tensor [experts, out, in] there. */
#define SONDE_ROLE_LIST(X)                                                                         \
    X(TOKEN_EMBED, "token_embd.weight")                                                            \
    X(POSITION_EMBED, "position_embd.weight")                                                      \
    X(EMBED_NORM, "token_embd_norm.weight")                                                        \
    X(EMBED_NORM_BIAS, "token_embd_norm.bias")                                                     \
    X(FINAL_NORM, "output_norm.weight")                                                            \
    X(FINAL_NORM_BIAS, "output_norm.bias")                                                         \
    X(LM_HEAD, "output.weight")                                                                    \
    X(LM_HEAD_BIAS, "output.bias")                                                                 \
    X(ROPE_FREQS, "rope_freqs.weight")                                                             \
    X(ROPE_LONG, "rope_factors_long.weight")                                                       \
    X(ROPE_SHORT, "rope_factors_short.weight")                                                     \
    X(ATTN_NORM, "blk.%d.attn_norm.weight")                                                        \
    X(ATTN_NORM_BIAS, "blk.%d.attn_norm.bias")                                                     \
    X(ATTN_NORM_2, "blk.%d.attn_norm_2.weight")                                                    \
    X(ATTN_NORM_2_BIAS, "blk.%d.attn_norm_2.bias")                                                 \
    X(ATTN_Q, "blk.%d.attn_q.weight")                                                              \
    X(ATTN_Q_BIAS, "blk.%d.attn_q.bias")                                                           \
    X(ATTN_K, "blk.%d.attn_k.weight")                                                              \
    X(ATTN_K_BIAS, "blk.%d.attn_k.bias")                                                           \
    X(ATTN_V, "blk.%d.attn_v.weight")                                                              \
    X(ATTN_V_BIAS, "blk.%d.attn_v.bias")                                                           \
    X(ATTN_QKV, "blk.%d.attn_qkv.weight")                                                          \
    X(ATTN_QKV_BIAS, "blk.%d.attn_qkv.bias")                                                       \
    X(ATTN_OUT, "blk.%d.attn_output.weight")                                                       \
    X(ATTN_OUT_BIAS, "blk.%d.attn_output.bias")                                                    \
    X(ATTN_Q_NORM, "blk.%d.attn_q_norm.weight")                                                    \
    X(ATTN_Q_NORM_BIAS, "blk.%d.attn_q_norm.bias")                                                 \
    X(ATTN_K_NORM, "blk.%d.attn_k_norm.weight")                                                    \
    X(ATTN_K_NORM_BIAS, "blk.%d.attn_k_norm.bias")                                                 \
    X(ATTN_Q_A, "blk.%d.attn_q_a.weight")                                                          \
    X(ATTN_Q_A_BIAS, "blk.%d.attn_q_a.bias")                                                       \
    X(ATTN_Q_A_NORM, "blk.%d.attn_q_a_norm.weight")                                                \
    X(ATTN_Q_B, "blk.%d.attn_q_b.weight")                                                          \
    X(ATTN_KV_LATENT, "blk.%d.attn_kv_a_mqa.weight")                                               \
    X(ATTN_KV_LATENT_BIAS, "blk.%d.attn_kv_a_mqa.bias")                                            \
    X(ATTN_K_PE, "blk.%d.attn_kv_a_mqa.weight")                                                    \
    X(ATTN_K_PE_BIAS, "blk.%d.attn_kv_a_mqa.bias")                                                 \
    X(ATTN_KV_NORM, "blk.%d.attn_kv_a_norm.weight")                                                \
    X(ATTN_K_ABSORB, "blk.%d.attn_k_b.weight")                                                     \
    X(ATTN_K_UP, "blk.%d.attn_k_b.weight")                                                         \
    X(ATTN_V_UP, "blk.%d.attn_v_b.weight")                                                         \
    X(ATTN_SINKS, "blk.%d.attn_sinks.weight")                                                      \
    X(ATTN_POST_NORM, "blk.%d.post_attention_norm.weight")                                         \
    X(MLP_NORM, "blk.%d.ffn_norm.weight")                                                          \
    X(MLP_NORM_BIAS, "blk.%d.ffn_norm.bias")                                                       \
    X(MLP_GATE, "blk.%d.ffn_gate.weight")                                                          \
    X(MLP_GATE_BIAS, "blk.%d.ffn_gate.bias")                                                       \
    X(MLP_UP, "blk.%d.ffn_up.weight")                                                              \
    X(MLP_UP_BIAS, "blk.%d.ffn_up.bias")                                                           \
    X(MLP_DOWN, "blk.%d.ffn_down.weight")                                                          \
    X(MLP_DOWN_BIAS, "blk.%d.ffn_down.bias")                                                       \
    X(MLP_POST_NORM, "blk.%d.post_ffw_norm.weight")                                                \
    X(ROUTER, "blk.%d.ffn_gate_inp.weight")                                                        \
    X(ROUTER_BIAS, "blk.%d.ffn_gate_inp.bias")                                                     \
    X(ROUTER_CORRECTION, "blk.%d.exp_probs_b.bias")                                                \
    X(EXPERT_GATE, "blk.%d.ffn_gate_exps.weight")                                                  \
    X(EXPERT_GATE_BIAS, "blk.%d.ffn_gate_exps.bias")                                               \
    X(EXPERT_UP, "blk.%d.ffn_up_exps.weight")                                                      \
    X(EXPERT_UP_BIAS, "blk.%d.ffn_up_exps.bias")                                                   \
    X(EXPERT_DOWN, "blk.%d.ffn_down_exps.weight")                                                  \
    X(EXPERT_DOWN_BIAS, "blk.%d.ffn_down_exps.bias")                                               \
    X(SHARED_GATE, "blk.%d.ffn_gate_shexp.weight")                                                 \
    X(SHARED_UP, "blk.%d.ffn_up_shexp.weight")                                                     \
    X(SHARED_DOWN, "blk.%d.ffn_down_shexp.weight")

typedef enum sonde_role {
#define SONDE_ROLE_ENUM(name, gguf) SONDE_ROLE_##name,
    SONDE_ROLE_LIST(SONDE_ROLE_ENUM)
#undef SONDE_ROLE_ENUM
    SONDE_ROLE_COUNT,
    SONDE_ROLE_NONE = -1
} sonde_role;

#define SONDE_WEIGHT_TRANSPOSED 1u /* stored [in, out] */
#define SONDE_WEIGHT_ADD_ONE 2u    /* the vector stored is w, the norm multiplies by 1 + w */
#define SONDE_WEIGHT_WHOLE 4u      /* the tensor is the role's alone: sonde_weight_rows does not apply */
#define SONDE_WEIGHT_SLICED 8u     /* in a table of GGUF names: sonde_weight_rows does apply */

/* Names of weights of one family. Patterns hold %d for the layer, and a second one where every
 * expert has a tensor of its own; the optional leading "model." or "transformer." is written in the
 * pattern and may be absent in the file. A role may have several names: the first that the file has
 * counts. Stacked experts: [experts, out, in], with TRANSPOSED [experts, in, out]. The table ends
 * with role SONDE_ROLE_NONE. */
typedef struct sonde_weight_name {
    sonde_role role;
    const char *pattern;
    uint32_t flags;
} sonde_weight_name;

/* Says that in a Hugging Face checkpoint the rows of `role` are part of a bigger stored tensor:
 * output row r is stored row  first + (r / take) * stride + r % take  (take 0: contiguous). */
SONDE_API void sonde_weight_rows(sonde_recipe *r, sonde_role role, int64_t first, int64_t take,
                                 int64_t stride);
/* Says that GGUF files store the rows of each head of `role` interleaved (`llama` q and k); they
 * are put back into Hugging Face order at load. */
SONDE_API void sonde_weight_unpermute_gguf(sonde_recipe *r, sonde_role role, int64_t head_dim);
/* Says that the checkpoint may hold tensors of `count` more layers from `first` on, which are left
 * alone (DeepSeek's prediction of several tokens). */
SONDE_API void sonde_ignore_layers(sonde_recipe *r, int64_t first, int64_t count);
/* True when the checkpoint holds a tensor for the role (layer or SONDE_GLOBAL). When no weights are
 * open (`sonde points`), what the config says about tying decides: false. */
SONDE_API bool sonde_has_weight(sonde_recipe *r, sonde_role role, int64_t layer);

/* ---- steps ----------------------------------------------------------------------------------- */

/* Row of the token (or, for POSITION_EMBED, of the position) from an embedding matrix. */
SONDE_API sonde_buf sonde_embed(sonde_recipe *r, sonde_role role, int64_t width);

/* y = W x + b; in [rows, in], out [rows, width]. bias SONDE_ROLE_NONE: none. */
SONDE_API sonde_buf sonde_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight,
                                 sonde_role bias, int64_t width);
/* The same, run only for rows whose logits somebody needs. */
SONDE_API sonde_buf sonde_logits(sonde_recipe *r, sonde_buf x, sonde_role weight, sonde_role bias,
                                 int64_t width);

typedef enum sonde_norm_kind {
    SONDE_NORM_RMS = 0,   /* x / sqrt(mean(x^2) + eps) * w */
    SONDE_NORM_LAYER = 1, /* (x - mean) / sqrt(var + eps) * w + b, biased variance */
} sonde_norm_kind;
typedef struct sonde_norm_spec {
    sonde_norm_kind kind;
    sonde_role weight, bias; /* SONDE_ROLE_NONE: none */
    int64_t group;           /* width normalised together; 0: the whole row */
    bool weight_per_group;   /* every group has weights of its own: [groups, group] */
    double eps;
    sonde_buf *scale; /* out, may be NULL: buffer [rows, groups] of what the norm divides by */
} sonde_norm_spec;
SONDE_API sonde_buf sonde_norm(sonde_recipe *r, int64_t layer, sonde_buf x,
                               const sonde_norm_spec *spec);

typedef enum sonde_rope_type {
    SONDE_ROPE_DEFAULT = 0,
    SONDE_ROPE_LINEAR = 1,
    SONDE_ROPE_DYNAMIC = 2,
    SONDE_ROPE_LLAMA3 = 3,
    SONDE_ROPE_YARN = 4,
    SONDE_ROPE_LONGROPE = 5,
} sonde_rope_type;
typedef enum sonde_rope_pairing {
    SONDE_ROPE_HALF = 0,        /* pairs (i, i + r/2) */
    SONDE_ROPE_INTERLEAVED = 1, /* pairs (2i, 2i + 1) */
    SONDE_ROPE_DEINTERLEAVE = 2 /* reads (2i, 2i + 1), writes (i, i + r/2): DeepSeek V3 */
} sonde_rope_pairing;
typedef struct sonde_rope_spec {
    sonde_rope_type type;
    sonde_rope_pairing pairing;
    int64_t rotary_dims, max_positions, original_max_positions;
    double theta, factor, attention_scaling;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    bool truncate;                            /* yarn */
    sonde_role freq_divisors; /* tensor [r/2] that divides inv_freq (GGUF rope_freqs), or NONE */
    /* longrope: [r/2] each, up to original_max_positions and beyond; the recipe keeps them. GGUF
     * files have them as tensors: the roles, or NONE. */
    const double *short_factors, *long_factors;
    sonde_role short_divisors, long_divisors;
} sonde_rope_spec;
/* Reads rope_parameters (or rope_theta and rope_scaling) into a spec; `section` picks a nested
 * dictionary ("full_attention"), NULL the plain one. An unknown rope_type is refused by name. */
SONDE_API sonde_rope_spec sonde_get_rope(sonde_recipe *r, const char *section,
                                         int64_t rotary_dims, double default_theta);
/* yarn's 0.1 mscale ln(factor) + 1, or 1 where the factor does not stretch. */
SONDE_API double sonde_yarn_mscale(double factor, double mscale);
/* A table that rope steps use; returns its index. */
SONDE_API int32_t sonde_rope_table(sonde_recipe *r, const sonde_rope_spec *spec);
/* Rotates dims [offset, offset + rotary_dims) of each head, copies the others. */
SONDE_API sonde_buf sonde_rope(sonde_recipe *r, int32_t table, sonde_buf x, int64_t n_heads,
                               int64_t head_dim, int64_t offset);

/* Writes k [rows, n_kv, d] and v [rows, n_kv, dv] of a layer into the sequence's cache. */
SONDE_API void sonde_cache(sonde_recipe *r, int64_t layer, sonde_buf k, sonde_buf v);

typedef enum sonde_mask_kind {
    SONDE_MASK_FULL = 0,    /* key t visible to query p: t <= p */
    SONDE_MASK_SLIDING = 1, /* and t > p - window */
    SONDE_MASK_CHUNKED = 2, /* and t / window == p / window */
} sonde_mask_kind;
/* ALiBi: what is added to the scaled score of a key, before the soft-cap. Positions count from 0. */
typedef enum sonde_alibi_kind {
    SONDE_ALIBI_KEY = 0,      /* slope * position of the key: BLOOM */
    SONDE_ALIBI_RELATIVE = 1, /* slope * (position of the key - that of the query): MPT */
    SONDE_ALIBI_ROUNDED = 2,  /* scale * (slope * position of the key, all three in bf16): Falcon */
} sonde_alibi_kind;
typedef struct sonde_attend_spec {
    int64_t n_heads, n_kv_heads, head_dim, value_dim;
    double scale, softcap; /* softcap 0: none */
    sonde_mask_kind mask;
    int64_t window;
    sonde_role sinks; /* one logit a head, or SONDE_ROLE_NONE */
    const double *slopes; /* [n_heads], NULL: no ALiBi; kept by sonde_alibi_slopes */
    sonde_alibi_kind alibi;
} sonde_attend_spec;
/* Slopes of Press et al. 2022 for any number of heads: with c the largest power of two of at most
 * n_heads, 2^(-max_bias i / c) for i = 1 to c, then every other one of those for 2c heads. Lives as
 * long as the recipe; NULL once that has failed. */
SONDE_API const double *sonde_alibi_slopes(sonde_recipe *r, int64_t n_heads, double max_bias);
/* Ports of an attention step: z [rows, N, dv] and two ragged ones, N heads x T visible keys. */
typedef struct sonde_attended {
    sonde_buf scores, pattern, z;
} sonde_attended;
SONDE_API sonde_attended sonde_attend(sonde_recipe *r, int64_t layer, sonde_buf q,
                                      const sonde_attend_spec *spec);

typedef enum sonde_act {
    SONDE_ACT_SILU = 0,
    SONDE_ACT_GELU = 1,      /* erf */
    SONDE_ACT_GELU_TANH = 2, /* gelu_new, gelu_pytorch_tanh, gelu_fast */
    SONDE_ACT_QUICK_GELU = 3,
    SONDE_ACT_RELU = 4,
} sonde_act;
/* The activation that a config key names; an unknown one is refused by name. */
SONDE_API sonde_act sonde_get_act(sonde_recipe *r, const char *key, const char *fallback);

SONDE_API sonde_buf sonde_add(sonde_recipe *r, sonde_buf a, sonde_buf b); /* a + b */
SONDE_API sonde_buf sonde_scale(sonde_recipe *r, sonde_buf a, double factor);
SONDE_API sonde_buf sonde_offset(sonde_recipe *r, sonde_buf a, double offset); /* a + offset */
SONDE_API sonde_buf sonde_clamp(sonde_recipe *r, sonde_buf a, double low, double high);
/* a * (log1p(floor((position + 1) / floor_scale)) * scale + 1): Llama 4's temperature. */
SONDE_API sonde_buf sonde_scale_by_position(sonde_recipe *r, sonde_buf a, double floor_scale,
                                            double scale);
SONDE_API sonde_buf sonde_softcap(sonde_recipe *r, sonde_buf a, double cap); /* cap*tanh(a/cap) */
SONDE_API sonde_buf sonde_activate(sonde_recipe *r, sonde_act act, sonde_buf a);
SONDE_API sonde_buf sonde_glu(sonde_recipe *r, sonde_act act, sonde_buf gate, sonde_buf up);

/* ---- heads one by one: latent attention -------------------------------------------------------- */

/* Dims [first, first + dims) of each head of a buffer of `n_heads` heads (1: shared by all heads). */
typedef struct sonde_head_dims {
    sonde_buf buf;
    int64_t n_heads, first, dims;
} sonde_head_dims;

/* A product of its own for every head: y [rows, n_heads * width], head h is W[h] x[h] with W[h]
 * [width, x.dims]. Roles of such weights: the rows of all heads one after the other; rows rules as
 * for any role. */
SONDE_API sonde_buf sonde_linear_heads(sonde_recipe *r, int64_t layer, const sonde_head_dims *x,
                                       sonde_role weight, int64_t n_heads, int64_t width);
/* Says that every head of the role is stored as [in, out], stored rows by sonde_weight_rows with
 * `take` rows a head (DeepSeek's kv_b_proj read as keys' transpose). */
SONDE_API void sonde_weight_transpose_heads(sonde_recipe *r, sonde_role role);
/* Head by head the dims of a, then those of b: [rows, n_heads * (a.dims + b.dims)]. */
SONDE_API sonde_buf sonde_join(sonde_recipe *r, int64_t n_heads, const sonde_head_dims *a,
                               const sonde_head_dims *b);

/* ---- mixtures of experts ------------------------------------------------------------------------- */

typedef enum sonde_route_score {
    SONDE_ROUTE_LOGITS = 0,
    SONDE_ROUTE_SOFTMAX = 1, /* over all experts */
    SONDE_ROUTE_SIGMOID = 2,
} sonde_route_score;
typedef enum sonde_group_score {
    SONDE_GROUP_MAX = 0,
    SONDE_GROUP_TOP_TWO = 1, /* the sum of the two largest */
} sonde_group_score;
typedef enum sonde_route_weight {
    SONDE_ROUTE_WEIGHT_SCORE = 0,   /* the score itself, without the correction */
    SONDE_ROUTE_WEIGHT_SOFTMAX = 1, /* softmax over the logits of the chosen */
    SONDE_ROUTE_WEIGHT_SIGMOID = 2, /* sigmoid of the chosen one's logit */
} sonde_route_weight;
typedef struct sonde_route_spec {
    int64_t n_experts, n_chosen;
    sonde_route_score score;
    sonde_role correction;        /* [n_experts], added to the scores for the choice only; or NONE */
    int64_t n_groups, kept_groups; /* 0 or 1 groups: none */
    sonde_group_score group_score;
    sonde_route_weight weight;
    bool renormalise; /* weights / (their sum + epsilon) */
    double epsilon, scaling; /* scaling: factor of the weights in the end */
} sonde_route_spec;
/* The chosen experts of each row, by falling weight (equal ones: lower index first), and their
 * weights, [rows, n_chosen] each. Choices tie to the lower index. ids are int32: a hook may stand on
 * them, no step but experts reads them. */
typedef struct sonde_routed {
    sonde_buf ids, weights;
} sonde_routed;
SONDE_API sonde_routed sonde_route(sonde_recipe *r, int64_t layer, sonde_buf logits,
                                   const sonde_route_spec *spec);
/* Products of the chosen experts: y [rows, n_chosen, width]. x is one row for all of them, or one
 * for each (made by sonde_experts, sonde_weigh, or a map of such). Maps work on y as on any buffer. */
SONDE_API sonde_buf sonde_experts(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_buf ids,
                                  sonde_role weight, sonde_role bias, int64_t width);
/* weights[j] * x for every chosen expert j: [rows, n_chosen, width of x]. */
SONDE_API sonde_buf sonde_weigh(sonde_recipe *r, sonde_buf x, sonde_buf weights);
/* Sum over the chosen of weights[j] * y[j] in the order of ids (weights SONDE_NO_BUF: of y[j]), then
 * + shared (SONDE_NO_BUF: none). */
SONDE_API sonde_buf sonde_combine(sonde_recipe *r, sonde_buf y, sonde_buf weights, sonde_buf shared);

/* ---- hook points ------------------------------------------------------------------------------ */

/* Names a boundary: `name` is the part after "blocks.{i}." (or the whole name for SONDE_GLOBAL).
 * n_heads > 0 gives the shape per row [n_heads, width / n_heads], else [width]. A point may be
 * written when a later step reads its buffer; the plan finds that out. */
SONDE_API void sonde_hook(sonde_recipe *r, int64_t layer, const char *name, sonde_buf buf,
                          int64_t n_heads);
/* Says why the family lacks a point of the vocabulary, for the message of a selection. */
SONDE_API void sonde_absent(sonde_recipe *r, const char *name, const char *why);

/* ---- families --------------------------------------------------------------------------------- */

typedef struct sonde_family {
    const char *name;                    /* "llama" */
    const char *title;                   /* "Llama 1-3, SmolLM2", for tables */
    const char *const *model_types;      /* Hugging Face model_type values, NULL-terminated */
    const char *const *gguf_archs;       /* GGUF architectures, NULL-terminated; may be NULL */
    const sonde_weight_name *weights;    /* Hugging Face names */
    const sonde_weight_name *gguf_weights; /* where GGUF names differ from the roles'; may be NULL */
    const char *const *ignored_weights;  /* globs of tensors to leave alone, NULL-terminated */
    sonde_status (*describe)(sonde_recipe *r, sonde_error *err);
} sonde_family;

/* All families, NULL-terminated; defined by models/families.c. */
SONDE_API extern const sonde_family *const sonde_families[];

#ifdef __cplusplus
}
#endif
#endif
