/*
 * plain_block.h - the block of the families with LayerNorm: attention that knows positions by rope,
 * by ALiBi or not at all, and an MLP of one branch or a gated one, one after the other or side by
 * side.
 */
#ifndef SONDE_MODELS_PLAIN_BLOCK_H
#define SONDE_MODELS_PLAIN_BLOCK_H

#include "parts.h"

typedef enum plain_order {
    PLAIN_SEQUENTIAL = 0, /* x + attention(norm(x)), then x + MLP(norm(x)) */
    PLAIN_PARALLEL,       /* x + attention(norm(x)) + MLP(another norm(x)) */
    PLAIN_ONE_NORM,       /* the same with one norm for both */
} plain_order;

#define PLAIN_NO_ROPE (-1)

/* Zeros are the simplest of each. */
typedef struct plain_model {
    sonde_dims dims;
    double eps, scale, clip; /* clip: q, k and v are clamped to +-clip; 0: not */
    double logit_scale;      /* factor of the logits; 0: none */
    sonde_act act;
    plain_order order;
    bool qkv_bias, out_bias, mlp_bias, norm_bias, head_bias; /* what has a bias */
    bool bare_norms; /* norms without weights */
    bool head_norms; /* LayerNorms of each head of q and k, with weights of their own */
    bool gated, tied;
    bool positions; /* a learned embedding of the position is added to the token's */
    int64_t window; /* of every layer; 0: none */
    const double *slopes;       /* ALiBi, or NULL */
    sonde_alibi_kind alibi;
    int32_t rope; /* table, where there are no slopes; or PLAIN_NO_ROPE */
} plain_model;

/* Attention and the MLP have biases, or have none. */
void plain_biases(plain_model *m, bool has);
/* A whole block with its hooks; x [rows, H] in, the block's output out. */
sonde_buf plain_block(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x);
/* The embedding before the blocks. */
sonde_buf plain_begin(sonde_recipe *r, const plain_model *m);
/* A norm with its hooks; scale_name NULL: without. */
sonde_buf plain_norm(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x,
                     sonde_role weight, const char *name, const char *scale_name);
/* Projections, dot products, output projection; hooks attn.*. n [rows, H] in, [rows, H] out. */
sonde_buf plain_attention(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n);
/* Hooks mlp.*; n [rows, H] in, [rows, H] out. */
sonde_buf plain_mlp(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n);
/* The norm and logits behind the blocks. */
void plain_end(sonde_recipe *r, const plain_model *m, sonde_buf x);
/* Says which points the family lacks, from a model that is filled. */
void plain_absent_points(sonde_recipe *r, const plain_model *m);
/* q, k and v of each head side by side, [N, 3, d], as rows of one stored tensor. */
void plain_slice_by_head(sonde_recipe *r, int64_t head_dim);

#endif
