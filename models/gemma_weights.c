/* gemma_weights.c - four norms a block, each multiplying by 1 + w; Gemma 3 norms q and k too. */
#include "gemma_weights.h"

#include "parts.h"

const sonde_weight_name gemma_weights[] = {
    NAMES_OF_ENDS(SONDE_WEIGHT_ADD_ONE)
    {SONDE_ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    NAMES_OF_QKV
    NAMES_OF_QK_NORMS(SONDE_WEIGHT_ADD_ONE)
    NAMES_OF_ATTN_OUT
    {SONDE_ROLE_ATTN_POST_NORM, "model.layers.%d.post_attention_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_MLP_NORM, "model.layers.%d.pre_feedforward_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_MLP_POST_NORM, "model.layers.%d.post_feedforward_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_NONE, NULL, 0},
};

const char *const gemma_ignored_weights[] = {
    "*.rotary_emb.inv_freq", "vision_tower.*", "model.vision_tower.*", "multi_modal_projector.*",
    "model.multi_modal_projector.*", "language_model.lm_head.weight", NULL};
