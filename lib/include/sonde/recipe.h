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

/* X(constant, GGUF name); %d is the layer. One shared table of GGUF names. */
#define SONDE_ROLE_LIST(X)                                                                         \
    X(TOKEN_EMBED, "token_embd.weight")                                                            \
    X(POSITION_EMBED, "position_embd.weight")                                                      \
    X(FINAL_NORM, "output_norm.weight")                                                            \
    X(FINAL_NORM_BIAS, "output_norm.bias")                                                         \
    X(LM_HEAD, "output.weight")                                                                    \
    X(LM_HEAD_BIAS, "output.bias")                                                                 \
    X(ROPE_FREQS, "rope_freqs.weight")                                                             \
    X(ATTN_NORM, "blk.%d.attn_norm.weight")                                                        \
    X(ATTN_NORM_BIAS, "blk.%d.attn_norm.bias")                                                     \
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
    X(ATTN_K_NORM, "blk.%d.attn_k_norm.weight")                                                    \
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
    X(MLP_POST_NORM, "blk.%d.post_ffw_norm.weight")

typedef enum sonde_role {
#define SONDE_ROLE_ENUM(name, gguf) SONDE_ROLE_##name,
    SONDE_ROLE_LIST(SONDE_ROLE_ENUM)
#undef SONDE_ROLE_ENUM
    SONDE_ROLE_COUNT,
    SONDE_ROLE_NONE = -1
} sonde_role;

#define SONDE_WEIGHT_TRANSPOSED 1u /* stored [in, out] */
#define SONDE_WEIGHT_ADD_ONE 2u    /* the vector stored is w, the norm multiplies by 1 + w */

/* Hugging Face names of one family. Patterns hold %d for the layer; the optional leading
 * "model." or "transformer." is written in the pattern and may be absent in the file. The table
 * ends with role SONDE_ROLE_NONE. */
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
} sonde_rope_spec;
/* Reads rope_parameters (or rope_theta and rope_scaling) into a spec; `section` picks a nested
 * dictionary ("full_attention"), NULL the plain one. An unknown rope_type is refused by name. */
SONDE_API sonde_rope_spec sonde_get_rope(sonde_recipe *r, const char *section,
                                         int64_t rotary_dims, double default_theta);
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
typedef struct sonde_attend_spec {
    int64_t n_heads, n_kv_heads, head_dim, value_dim;
    double scale, softcap; /* softcap 0: none */
    sonde_mask_kind mask;
    int64_t window;
    sonde_role sinks; /* one logit a head, or SONDE_ROLE_NONE */
} sonde_attend_spec;
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
SONDE_API sonde_buf sonde_softcap(sonde_recipe *r, sonde_buf a, double cap); /* cap*tanh(a/cap) */
SONDE_API sonde_buf sonde_activate(sonde_recipe *r, sonde_act act, sonde_buf a);
SONDE_API sonde_buf sonde_glu(sonde_recipe *r, sonde_act act, sonde_buf gate, sonde_buf up);

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
    const char *const *ignored_weights;  /* globs of tensors to leave alone, NULL-terminated */
    sonde_status (*describe)(sonde_recipe *r, sonde_error *err);
} sonde_family;

/* All families, NULL-terminated; defined by models/families.c. */
SONDE_API extern const sonde_family *const sonde_families[];

#ifdef __cplusplus
}
#endif
#endif
