/*
 * parts.h - steps with their hooks as most decoders have them, and the usual names of their weights.
 */
#ifndef SONDE_MODELS_PARTS_H
#define SONDE_MODELS_PARTS_H

#include "sonde/recipe.h"

/* A role that only some models of a family have. */
static inline sonde_role part_if(bool has, sonde_role role)
{
    return has ? role : SONDE_ROLE_NONE;
}

/* `sliding_window`: null is none, absent the fallback (0: none). */
int64_t part_window(sonde_recipe *r, int64_t fallback);
/* The same for families some of whose layers always slide: null is refused. */
int64_t part_needed_window(sonde_recipe *r, int64_t fallback);
/* A product with its hook; n_heads as for sonde_hook. */
sonde_buf part_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight, sonde_role bias,
                      int64_t width, const char *name, int64_t n_heads);
/* From rotated q and k, and v, to the output of attention [rows, hidden]; the cache, and the hooks
 * attn.scores, .pattern, .z and .out. */
sonde_buf part_attend(sonde_recipe *r, int64_t layer, sonde_buf q, sonde_buf k, sonde_buf v,
                      const sonde_attend_spec *spec, sonde_role out_bias, int64_t hidden);
/* (act(n Wg) * n Wu) Wd, perhaps with biases; hooks mlp.pre, .up, .post and .out. */
sonde_buf part_gated_mlp(sonde_recipe *r, int64_t layer, sonde_buf n, sonde_act act,
                         const sonde_dims *dims, bool has_bias);

/* Hugging Face's names since Llama; entries of a table of weights. */
#define NAMES_OF_LAYER "model.layers.%d."
#define NAMES_OF_QKV                                                                               \
    {SONDE_ROLE_ATTN_Q, NAMES_OF_LAYER "self_attn.q_proj.weight", 0},                              \
    {SONDE_ROLE_ATTN_Q_BIAS, NAMES_OF_LAYER "self_attn.q_proj.bias", 0},                           \
    {SONDE_ROLE_ATTN_K, NAMES_OF_LAYER "self_attn.k_proj.weight", 0},                              \
    {SONDE_ROLE_ATTN_K_BIAS, NAMES_OF_LAYER "self_attn.k_proj.bias", 0},                           \
    {SONDE_ROLE_ATTN_V, NAMES_OF_LAYER "self_attn.v_proj.weight", 0},                              \
    {SONDE_ROLE_ATTN_V_BIAS, NAMES_OF_LAYER "self_attn.v_proj.bias", 0},
#define NAMES_OF_ATTN_OUT                                                                          \
    {SONDE_ROLE_ATTN_OUT, NAMES_OF_LAYER "self_attn.o_proj.weight", 0},                            \
    {SONDE_ROLE_ATTN_OUT_BIAS, NAMES_OF_LAYER "self_attn.o_proj.bias", 0},
#define NAMES_OF_QK_NORMS(flags)                                                                   \
    {SONDE_ROLE_ATTN_Q_NORM, NAMES_OF_LAYER "self_attn.q_norm.weight", flags},                     \
    {SONDE_ROLE_ATTN_K_NORM, NAMES_OF_LAYER "self_attn.k_norm.weight", flags},
#define NAMES_OF_GATED_MLP                                                                         \
    {SONDE_ROLE_MLP_GATE, NAMES_OF_LAYER "mlp.gate_proj.weight", 0},                               \
    {SONDE_ROLE_MLP_GATE_BIAS, NAMES_OF_LAYER "mlp.gate_proj.bias", 0},                            \
    {SONDE_ROLE_MLP_UP, NAMES_OF_LAYER "mlp.up_proj.weight", 0},                                   \
    {SONDE_ROLE_MLP_UP_BIAS, NAMES_OF_LAYER "mlp.up_proj.bias", 0},                                \
    {SONDE_ROLE_MLP_DOWN, NAMES_OF_LAYER "mlp.down_proj.weight", 0},                               \
    {SONDE_ROLE_MLP_DOWN_BIAS, NAMES_OF_LAYER "mlp.down_proj.bias", 0},
/* Embedding, output matrix and the norm before it. */
#define NAMES_OF_ENDS(flags)                                                                       \
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},                                      \
    {SONDE_ROLE_FINAL_NORM, "model.norm.weight", flags},                                           \
    {SONDE_ROLE_FINAL_NORM_BIAS, "model.norm.bias", 0},                                            \
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
#define NAMES_OF_NORMS(flags)                                                                      \
    {SONDE_ROLE_ATTN_NORM, NAMES_OF_LAYER "input_layernorm.weight", flags},                        \
    {SONDE_ROLE_ATTN_NORM_BIAS, NAMES_OF_LAYER "input_layernorm.bias", 0},                         \
    {SONDE_ROLE_MLP_NORM, NAMES_OF_LAYER "post_attention_layernorm.weight", flags},                \
    {SONDE_ROLE_MLP_NORM_BIAS, NAMES_OF_LAYER "post_attention_layernorm.bias", 0},

/* Tensors that hold nothing but rope's frequencies. */
extern const char *const part_ignored_weights[];

#endif
