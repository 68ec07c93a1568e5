/*
 * phi.c - Gunasekar et al. 2023, "Textbooks Are All You Need"; Phi-1, Phi-1.5 and Phi-2.
 *
 *   x = embed_tokens[token]            [rows, H]
 *   n = layernorm(x)                   input_layernorm, the only norm of a block
 *   q, k, v = n W + b                  [rows, N d], [rows, K d] x 2
 *   q, k = rope(q, k)                  half-split, the first `partial_rotary_factor` of each head
 *   x = x + (softmax(q k d^-1/2) v Wo + b + (gelu(n Wi + b) Wd + b))
 *   logits = layernorm(x) W + b        the output matrix has a bias
 */
#include "plain_read.h"

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},
    {SONDE_ROLE_ATTN_NORM, NAMES_OF_LAYER "input_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, NAMES_OF_LAYER "input_layernorm.bias", 0},
    NAMES_OF_QKV
    {SONDE_ROLE_ATTN_OUT, NAMES_OF_LAYER "self_attn.dense.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, NAMES_OF_LAYER "self_attn.dense.bias", 0},
    {SONDE_ROLE_MLP_UP, NAMES_OF_LAYER "mlp.fc1.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, NAMES_OF_LAYER "mlp.fc1.bias", 0},
    {SONDE_ROLE_MLP_DOWN, NAMES_OF_LAYER "mlp.fc2.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, NAMES_OF_LAYER "mlp.fc2.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "model.final_layernorm.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "model.final_layernorm.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_LM_HEAD_BIAS, "lm_head.bias", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const sonde_dims defaults = {.n_layers = 24, .hidden = 2048, .n_heads = 32, .ffn = 8192,
                                        .vocab = 51200, .max_positions = 2048};
    plain_model m = {.order = PLAIN_ONE_NORM, .norm_bias = true, .head_bias = true};
    plain_read_sizes(r, &m, &defaults, false);
    m.eps = sonde_get_float(r, "layer_norm_eps", 1e-5);
    m.act = sonde_get_act(r, "hidden_act", "gelu_new");
    plain_biases(&m, true);
    if (sonde_get_bool(r, "qk_layernorm", false)) sonde_refuse(r, "qk_layernorm");
    plain_read_rope(r, &m, plain_rotary_dims(r, &m, 0.5), 10000.0, SONDE_ROPE_HALF);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"phi", NULL};
static const char *const archs[] = {"phi2", NULL};

const sonde_family sonde_family_phi = {
    .name = "phi", .title = "Phi-1, Phi-1.5, Phi-2", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
