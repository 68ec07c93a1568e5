/*
 * deepseek_block.h - the decoder block that DeepSeek V2, V3, R1 and Kimi K2 share: latent attention
 * (MLA) and a mixture of experts with experts that every row shares.
 */
#ifndef SONDE_MODELS_DEEPSEEK_BLOCK_H
#define SONDE_MODELS_DEEPSEEK_BLOCK_H

#include "moe.h"

typedef struct deepseek_model {
    sonde_dims dims;
    double eps, scale;
    int32_t rope;              /* table */
    int64_t q_rank, kv_rank;   /* q_rank 0: queries are projected directly */
    int64_t nope, rotary;      /* dims of a head without and with rope */
    int64_t dense_layers;      /* the first ones have a plain MLP */
    moe_model moe;
    bool attention_bias, tied;
} deepseek_model;

/* Reads what the families have in common; the pairing is that of their rope. The router's rule is
 * left to them, but for the number of experts and their scaling. */
void deepseek_read(sonde_recipe *r, deepseek_model *m, sonde_rope_pairing pairing);
/* Embedding, blocks, final norm and logits. */
void deepseek_write(sonde_recipe *r, const deepseek_model *m);

extern const sonde_weight_name deepseek_weights[], deepseek_gguf_weights[];

#endif
