/* gemma_weights.c - four norms a block, each multiplying by 1 + w; Gemma 3 norms q and k too. */
#include "gemma_weights.h"

const sonde_weight_name gemma_weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},
    {SONDE_ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_ATTN_Q, "model.layers.%d.self_attn.q_proj.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, "model.layers.%d.self_attn.q_proj.bias", 0},
    {SONDE_ROLE_ATTN_K, "model.layers.%d.self_attn.k_proj.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, "model.layers.%d.self_attn.k_proj.bias", 0},
    {SONDE_ROLE_ATTN_V, "model.layers.%d.self_attn.v_proj.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, "model.layers.%d.self_attn.v_proj.bias", 0},
    {SONDE_ROLE_ATTN_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_ATTN_K_NORM, "model.layers.%d.self_attn.k_norm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_ATTN_OUT, "model.layers.%d.self_attn.o_proj.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, "model.layers.%d.self_attn.o_proj.bias", 0},
    {SONDE_ROLE_ATTN_POST_NORM, "model.layers.%d.post_attention_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_MLP_NORM, "model.layers.%d.pre_feedforward_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_MLP_GATE, "model.layers.%d.mlp.gate_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, "model.layers.%d.mlp.up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, "model.layers.%d.mlp.down_proj.weight", 0},
    {SONDE_ROLE_MLP_POST_NORM, "model.layers.%d.post_feedforward_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_FINAL_NORM, "model.norm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

const char *const gemma_ignored_weights[] = {
    "*.rotary_emb.inv_freq", "vision_tower.*", "model.vision_tower.*", "multi_modal_projector.*",
    "model.multi_modal_projector.*", "language_model.lm_head.weight", NULL};
