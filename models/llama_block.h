/*
 * llama_block.h - the decoder block that Llama and its kin share: RMS norm, grouped-query attention
 * with half-split rope, gated MLP.
 */
#ifndef SONDE_MODELS_LLAMA_BLOCK_H
#define SONDE_MODELS_LLAMA_BLOCK_H

#include "parts.h"

/* RMS norms of queries and keys before rope. */
typedef enum llama_qk_norm {
    LLAMA_QK_PLAIN = 0,
    LLAMA_QK_BY_HEAD, /* over each head */
    LLAMA_QK_WHOLE,   /* over the whole projected vector */
} llama_qk_norm;

#define LLAMA_NO_ROPE (-1)

/* Zeros are Llama's own. */
typedef struct llama_model {
    sonde_dims dims;
    double eps;
    sonde_act act;
    int32_t rope; /* table, or LLAMA_NO_ROPE; may change from layer to layer */
    bool qkv_bias, out_bias, mlp_bias; /* projections that have a bias */
    bool tied;
    llama_qk_norm qk_norm;
    double clip; /* q and k (normed) and v are clamped to [-clip, clip]; 0: not */
    bool sinks;  /* a logit a head that takes part in the softmax */
    bool bare_inputs; /* attention and MLP read the residual itself, without a norm */
    bool post_norms;  /* what attention and MLP make is normed before it is added */
    double score_scale, score_cap;              /* 0: d^-1/2, no cap */
    double embed_scale, branch_scale;           /* of the embedding, of what is added; 0: 1 */
    double logit_scale, logit_cap;              /* 0: 1, no cap */
} llama_model;

/* What a family assumes where config.json is silent. */
typedef struct llama_defaults {
    int64_t layers, hidden, heads, ffn, vocab; /* 0: the key must be there */
    int64_t kv_heads; /* 0: as many as query heads */
    int64_t head_dim; /* 0: hidden size / heads */
    int64_t max_positions;
    double eps, theta;
    bool tied;
    const char *act_key, *act; /* NULL: "hidden_act", "silu" */
} llama_defaults;

/* Reads what these families have in common; dims, eps, act and tied are filled. The second also makes
 * the rope table. */
void llama_read_dims(sonde_recipe *r, llama_model *m, const llama_defaults *defaults);
void llama_read(sonde_recipe *r, llama_model *m, const llama_defaults *defaults);
/* Says which points of the vocabulary the block lacks; after everything in `m` is known. */
void llama_absent(sonde_recipe *r, const llama_model *m);
/* Window of a layer, 0: none. `layer_types` decides where it is written, else `slides`. */
int64_t llama_window(sonde_recipe *r, int64_t layer, bool slides, int64_t window);
/* For families whose GGUF files (architecture `llama` and its kin) hold the rows of q and k as pairs. */
void llama_unpermute_gguf(sonde_recipe *r, const llama_model *m);
/* Block `layer`; x [rows, hidden] in, the block's output out. window 0: full attention. */
sonde_buf llama_block(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                      int64_t window);
/* Its two halves, for blocks of which one is different: x + attention(norm(x)), hooks up to
 * resid_mid; x + mlp(norm(x)). And the norms of both. */
sonde_buf llama_attend(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                       int64_t window);
sonde_buf llama_feed(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x);
sonde_buf llama_attn_norm(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x);
sonde_buf llama_mlp_norm(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x);
/* Embedding, blocks that are all alike, final norm and logits, from a model that is filled. */
sonde_status llama_describe(sonde_recipe *r, const llama_model *m, int64_t window, sonde_error *err);
/* The embedding before the blocks, and the norm and logits behind them. */
sonde_buf llama_begin(sonde_recipe *r, const llama_model *m);
void llama_end(sonde_recipe *r, const llama_model *m, sonde_buf x);

/* Names of the weights outside the MLP; those inside it are in llama_weights, or in the table of a
 * family that has something else there. */
#define LLAMA_NAMES_BUT_MLP                                                                        \
    NAMES_OF_ENDS(0) NAMES_OF_NORMS(0) NAMES_OF_QKV NAMES_OF_QK_NORMS(0) NAMES_OF_ATTN_OUT
extern const sonde_weight_name llama_weights[];

#endif
