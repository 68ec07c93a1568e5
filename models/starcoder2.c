/*
 * starcoder2.c - Lozhkov et al. 2024, "StarCoder 2 and The Stack v2".
 *
 *   x = embed_tokens[token]            [rows, H]
 *   n = layernorm(x)                   input_layernorm
 *   q, k, v = n W + b                  [rows, N d], [rows, K d] x 2
 *   q, k = rope(q, k)                  half-split, the whole head
 *   x = x + softmax(q k d^-1/2) v Wo + b       in a window, where `sliding_window` says one
 *   n = layernorm(x)                   post_attention_layernorm
 *   x = x + gelu(n Wi + b) Wd + b      tanh form; no gate
 */
#include "plain_read.h"

#define LAYER "model.layers.%d."

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},
    {SONDE_ROLE_ATTN_NORM, LAYER "input_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, LAYER "input_layernorm.bias", 0},
    {SONDE_ROLE_ATTN_Q, LAYER "self_attn.q_proj.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, LAYER "self_attn.q_proj.bias", 0},
    {SONDE_ROLE_ATTN_K, LAYER "self_attn.k_proj.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, LAYER "self_attn.k_proj.bias", 0},
    {SONDE_ROLE_ATTN_V, LAYER "self_attn.v_proj.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, LAYER "self_attn.v_proj.bias", 0},
    {SONDE_ROLE_ATTN_OUT, LAYER "self_attn.o_proj.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, LAYER "self_attn.o_proj.bias", 0},
    {SONDE_ROLE_MLP_NORM, LAYER "post_attention_layernorm.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, LAYER "post_attention_layernorm.bias", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.c_fc.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, LAYER "mlp.c_fc.bias", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.c_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, LAYER "mlp.c_proj.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "model.norm.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "model.norm.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const ignored[] = {"*.rotary_emb.inv_freq", NULL};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const char *const neutral[] = {"mlp_type", "norm_type", NULL};
    static const sonde_dims defaults = {.n_layers = 30, .hidden = 3072, .n_heads = 24,
                                        .n_kv_heads = 2, .ffn = 12288, .vocab = 49152,
                                        .max_positions = 4096};
    plain_model m = {.norm_bias = true};
    plain_read_sizes(r, &m, &defaults, true);
    m.eps = sonde_get_float(r, "norm_epsilon", 1e-5);
    m.act = sonde_get_act(r, "hidden_act", "gelu_pytorch_tanh");
    plain_biases(&m, sonde_get_bool(r, "use_bias", true));
    m.window = plain_read_window(r);
    plain_read_rope(r, &m, m.dims.head_dim, 10000.0, SONDE_ROPE_HALF);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"starcoder2", NULL};
static const char *const archs[] = {"starcoder2", NULL};

const sonde_family sonde_family_starcoder2 = {
    .name = "starcoder2", .title = "StarCoder2", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
