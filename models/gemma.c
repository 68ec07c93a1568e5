/*
 * gemma.c - Gemma team 2024, "Gemma: Open Models Based on Gemini Research and Technology": the Llama
 * block with embeddings times sqrt(H), norms that multiply by 1 + w, heads of their own width and
 * gelu in its tanh form, which the files of the first release spell "gelu".
 */
#include "llama_block.h"

#include <math.h>

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},
    {SONDE_ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_ATTN_Q, "model.layers.%d.self_attn.q_proj.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, "model.layers.%d.self_attn.q_proj.bias", 0},
    {SONDE_ROLE_ATTN_K, "model.layers.%d.self_attn.k_proj.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, "model.layers.%d.self_attn.k_proj.bias", 0},
    {SONDE_ROLE_ATTN_V, "model.layers.%d.self_attn.v_proj.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, "model.layers.%d.self_attn.v_proj.bias", 0},
    {SONDE_ROLE_ATTN_OUT, "model.layers.%d.self_attn.o_proj.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, "model.layers.%d.self_attn.o_proj.bias", 0},
    {SONDE_ROLE_MLP_NORM, "model.layers.%d.post_attention_layernorm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_MLP_GATE, "model.layers.%d.mlp.gate_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, "model.layers.%d.mlp.up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, "model.layers.%d.mlp.down_proj.weight", 0},
    {SONDE_ROLE_FINAL_NORM, "model.norm.weight", SONDE_WEIGHT_ADD_ONE},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const char *const neutral[] = {"hidden_activation", NULL};
    static const llama_defaults defaults = {
        .layers = 28, .hidden = 3072, .heads = 16, .kv_heads = 16, .head_dim = 256, .ffn = 24576,
        .vocab = 256000, .max_positions = 8192, .eps = 1e-6, .theta = 10000.0, .tied = true,
        .act = "gelu_pytorch_tanh"};
    llama_model m = {0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    if (m.act == SONDE_ACT_GELU) m.act = SONDE_ACT_GELU_TANH;
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.embed_scale = sqrt((double)m.dims.hidden);
    sonde_ignore_keys(r, neutral);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) x = llama_block(r, &m, layer, x, 0);
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"gemma", NULL};
static const char *const archs[] = {"gemma", NULL};

const sonde_family sonde_family_gemma = {
    .name = "gemma", .title = "Gemma 1", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = llama_ignored_weights, .describe = describe,
};
