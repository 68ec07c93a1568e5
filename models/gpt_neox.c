/*
 * gpt_neox.c - Black et al. 2022, "GPT-NeoX-20B"; Biderman et al. 2023, "Pythia".
 *
 *   x = embed_in[token]                [rows, H]
 *   n, m = layernorm(x) twice          input_layernorm, post_attention_layernorm: of the same x
 *   q | k | v of each head = n W + b   [rows, N, 3, d]
 *   q, k = rope(q, k)                  half-split, the first `rotary_pct` of each head
 *   x = x + (softmax(q k d^-1/2) v Wo + b + (gelu(m Wi + b) Wd + b))
 *
 * With `use_parallel_residual` false the MLP follows attention, and m is of what that made.
 */
#include "plain_read.h"

#define LAYER "gpt_neox.layers.%d."

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "gpt_neox.embed_in.weight", 0},
    {SONDE_ROLE_ATTN_NORM, LAYER "input_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, LAYER "input_layernorm.bias", 0},
    {SONDE_ROLE_ATTN_Q, LAYER "attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, LAYER "attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_K, LAYER "attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, LAYER "attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_V, LAYER "attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, LAYER "attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_OUT, LAYER "attention.dense.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, LAYER "attention.dense.bias", 0},
    {SONDE_ROLE_MLP_NORM, LAYER "post_attention_layernorm.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, LAYER "post_attention_layernorm.bias", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.dense_h_to_4h.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, LAYER "mlp.dense_h_to_4h.bias", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.dense_4h_to_h.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, LAYER "mlp.dense_4h_to_h.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "gpt_neox.final_layer_norm.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "gpt_neox.final_layer_norm.bias", 0},
    {SONDE_ROLE_LM_HEAD, "embed_out.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const ignored[] = {"*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq", NULL};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const sonde_dims defaults = {.n_layers = 44, .hidden = 6144, .n_heads = 64, .ffn = 24576,
                                        .vocab = 50432, .max_positions = 2048};
    static const char *const neutral[] = {"attention_probs_dropout_prob", "hidden_dropout_prob", NULL};
    plain_model m = {.mlp_bias = true, .norm_bias = true};
    plain_read_sizes(r, &m, &defaults, false);
    plain_refuse_groups(r, &m);
    m.eps = sonde_get_float(r, "layer_norm_eps", 1e-5);
    m.act = sonde_get_act(r, "hidden_act", "gelu");
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", true);
    m.order = sonde_get_bool(r, "use_parallel_residual", true) ? PLAIN_PARALLEL : PLAIN_SEQUENTIAL;
    plain_read_rope(r, &m, plain_rotary_dims(r, &m, 0.25), 10000.0, SONDE_ROPE_HALF);
    plain_slice_by_head(r, m.dims.head_dim);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"gpt_neox", NULL};
static const char *const archs[] = {"gptneox", NULL};

const sonde_family sonde_family_gpt_neox = {
    .name = "gpt_neox", .title = "GPT-NeoX, Pythia", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
