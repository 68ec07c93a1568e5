/*
 * llama_block.h - the decoder block that Llama, Mistral and Qwen2 share: RMS norm, grouped-query
 * attention with half-split rope, gated MLP.
 */
#ifndef SONDE_MODELS_LLAMA_BLOCK_H
#define SONDE_MODELS_LLAMA_BLOCK_H

#include "sonde/recipe.h"

typedef struct llama_model {
    sonde_dims dims;
    double eps;
    sonde_act act;
    int32_t rope;                     /* table */
    bool qkv_bias, out_bias, mlp_bias; /* projections that have a bias */
    bool tied;
} llama_model;

/* Reads what the three families have in common; dims, eps, act and rope are filled. */
void llama_read(sonde_recipe *r, llama_model *m, int64_t default_kv_heads,
                int64_t default_max_positions, bool default_tied);
/* For families whose GGUF files (architecture `llama` and its kin) hold the rows of q and k as pairs. */
void llama_unpermute_gguf(sonde_recipe *r, const llama_model *m);
/* Block `layer`; x [rows, hidden] in, the block's output out. window 0: full attention. */
sonde_buf llama_block(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                      int64_t window);
/* The embedding before the blocks, and the norm and logits behind them. */
sonde_buf llama_begin(sonde_recipe *r, const llama_model *m);
void llama_end(sonde_recipe *r, const llama_model *m, sonde_buf x);

extern const sonde_weight_name llama_weights[];
extern const char *const llama_ignored_weights[];

#endif
