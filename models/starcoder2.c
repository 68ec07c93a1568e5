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

static const sonde_weight_name weights[] = {
    NAMES_OF_ENDS(0)
    NAMES_OF_NORMS(0)
    NAMES_OF_QKV
    NAMES_OF_ATTN_OUT
    {SONDE_ROLE_MLP_UP, NAMES_OF_LAYER "mlp.c_fc.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, NAMES_OF_LAYER "mlp.c_fc.bias", 0},
    {SONDE_ROLE_MLP_DOWN, NAMES_OF_LAYER "mlp.c_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, NAMES_OF_LAYER "mlp.c_proj.bias", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

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
    m.window = part_window(r, 0);
    plain_read_rope(r, &m, m.dims.head_dim, 10000.0, SONDE_ROPE_HALF);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"starcoder2", NULL};
static const char *const archs[] = {"starcoder2", NULL};

const sonde_family sonde_family_starcoder2 = {
    .name = "starcoder2", .title = "StarCoder2", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
