/*
 * stablelm.c - Bellagente et al. 2024, "Stable LM 2 1.6B"; StableLM 3B, Stable LM 2 12B.
 *
 *   x = embed_tokens[token]            [rows, H]
 *   n = layernorm(x)                   input_layernorm
 *   q, k, v = n W (+ b)                [rows, N d], [rows, K d] x 2
 *   q, k = layernorm by head           where `qk_layernorm`: a tensor of weights for each head
 *   q, k = rope(q, k)                  half-split, the first `partial_rotary_factor` of each head
 *   x = x + softmax(q k d^-1/2) v Wo
 *   n = layernorm(x)                   post_attention_layernorm
 *   x = x + (silu(n Wg) * n Wu) Wd
 *
 * With `use_parallel_residual` both read the first norm, and there is no other.
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
    {SONDE_ROLE_ATTN_Q_NORM, LAYER "self_attn.q_layernorm.norms.%d.weight", 0},
    {SONDE_ROLE_ATTN_K_NORM, LAYER "self_attn.k_layernorm.norms.%d.weight", 0},
    {SONDE_ROLE_ATTN_OUT, LAYER "self_attn.o_proj.weight", 0},
    {SONDE_ROLE_MLP_NORM, LAYER "post_attention_layernorm.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, LAYER "post_attention_layernorm.bias", 0},
    {SONDE_ROLE_MLP_GATE, LAYER "mlp.gate_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.down_proj.weight", 0},
    {SONDE_ROLE_FINAL_NORM, "model.norm.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "model.norm.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const ignored[] = {"*.rotary_emb.inv_freq", NULL};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const char *const neutral[] = {"norm_eps", "num_heads", "rope_pct",
                                          "rotary_scaling_factor", NULL};
    static const sonde_dims defaults = {.n_layers = 32, .hidden = 2560, .n_heads = 32,
                                        .n_kv_heads = 32, .ffn = 6912, .vocab = 50304,
                                        .max_positions = 4096};
    plain_model m = {.norm_bias = true, .gated = true};
    plain_read_sizes(r, &m, &defaults, false);
    m.eps = sonde_get_float(r, "layer_norm_eps", 1e-5);
    m.act = sonde_get_act(r, "hidden_act", "silu");
    m.qkv_bias = sonde_get_bool(r, "use_qkv_bias", false);
    m.order = sonde_get_bool(r, "use_parallel_residual", false) ? PLAIN_ONE_NORM : PLAIN_SEQUENTIAL;
    m.head_norms = sonde_get_bool(r, "qk_layernorm", false);
    plain_read_rope(r, &m, plain_rotary_dims(r, &m, 0.25), 10000.0, SONDE_ROPE_HALF);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"stablelm", NULL};
static const char *const archs[] = {"stablelm", NULL};

const sonde_family sonde_family_stablelm = {
    .name = "stablelm", .title = "StableLM", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
