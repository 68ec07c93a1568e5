/*
 * plain_block.h - pieces that BLOOM, MPT and Falcon are made of: LayerNorm, attention that knows
 * positions by ALiBi or by rope, an MLP of one branch.
 */
#ifndef SONDE_MODELS_PLAIN_BLOCK_H
#define SONDE_MODELS_PLAIN_BLOCK_H

#include "sonde/recipe.h"

typedef struct plain_model {
    sonde_dims dims;
    double eps, scale, clip; /* clip: q, k and v are clamped to +-clip; 0: not */
    sonde_act act;
    bool bias, norm_bias, tied; /* projections and norms that have a bias */
    const double *slopes;       /* ALiBi, or NULL */
    sonde_alibi_kind alibi;
    int32_t rope; /* table, where there are no slopes */
} plain_model;

/* A norm with its hooks; scale_name NULL: without. */
sonde_buf plain_norm(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x,
                     sonde_role weight, const char *name, const char *scale_name);
/* Projections, dot products, output projection; hooks attn.*. n [rows, H] in, [rows, H] out. */
sonde_buf plain_attention(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n);
/* Hooks mlp.*; n [rows, H] in, [rows, H] out. */
sonde_buf plain_mlp(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n);
/* The norm and logits behind the blocks. */
void plain_end(sonde_recipe *r, const plain_model *m, sonde_buf x);
/* Says which points these families lack. */
void plain_absent_points(sonde_recipe *r);
/* q, k and v of each head side by side, [N, 3, d], as rows of one stored tensor. */
void plain_slice_by_head(sonde_recipe *r, int64_t head_dim);

#endif
