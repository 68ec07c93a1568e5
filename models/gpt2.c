/*
 * gpt2.c - Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
 *
 *   x = wte[token] + wpe[position]     [rows, H]
 *   n = layernorm(x)                   ln_1
 *   q | k | v = n c_attn               [rows, 3H], stored [H, 3H]
 *   z = softmax(q k d^-1/2) v          causal, no rope
 *   x = x + z c_proj
 *   n = layernorm(x)                   ln_2
 *   x = x + gelu(n c_fc) c_proj        [rows, I] inside
 *   logits = layernorm(x) wte^T        ln_f
 */
#include "plain_read.h"

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.wte.weight", 0},
    {SONDE_ROLE_POSITION_EMBED, "transformer.wpe.weight", 0},
    {SONDE_ROLE_ATTN_NORM, "transformer.h.%d.ln_1.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, "transformer.h.%d.ln_1.bias", 0},
    {SONDE_ROLE_ATTN_Q, "transformer.h.%d.attn.c_attn.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_Q_BIAS, "transformer.h.%d.attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_K, "transformer.h.%d.attn.c_attn.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_K_BIAS, "transformer.h.%d.attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_V, "transformer.h.%d.attn.c_attn.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_V_BIAS, "transformer.h.%d.attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_OUT, "transformer.h.%d.attn.c_proj.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_OUT_BIAS, "transformer.h.%d.attn.c_proj.bias", 0},
    {SONDE_ROLE_MLP_NORM, "transformer.h.%d.ln_2.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, "transformer.h.%d.ln_2.bias", 0},
    {SONDE_ROLE_MLP_UP, "transformer.h.%d.mlp.c_fc.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_MLP_UP_BIAS, "transformer.h.%d.mlp.c_fc.bias", 0},
    {SONDE_ROLE_MLP_DOWN, "transformer.h.%d.mlp.c_proj.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_MLP_DOWN_BIAS, "transformer.h.%d.mlp.c_proj.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.ln_f.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};
static const char *const ignored[] = {"*h.*.attn.bias", "*h.*.attn.masked_bias", NULL};

/* q, k and v are column ranges of one stored matrix. */
static void slice_qkv(sonde_recipe *r, int64_t hidden)
{
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_BIAS, hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, 2 * hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V_BIAS, 2 * hidden, 0, 0);
}

static void read_model(sonde_recipe *r, plain_model *m)
{
    static const sonde_dims defaults = {.n_layers = 12, .hidden = 768, .n_heads = 12, .vocab = 50257,
                                        .max_positions = 1024};
    plain_read_sizes(r, m, &defaults, true);
    plain_refuse_groups(r, m);
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->act = sonde_get_act(r, "activation_function", "gelu_new");
    if (!sonde_get_bool(r, "scale_attn_weights", true)) m->scale = 1.0;
    if (sonde_get_bool(r, "add_cross_attention", false)) sonde_refuse(r, "add_cross_attention");
    plain_biases(m, true);
    m->norm_bias = m->positions = true;
    slice_qkv(r, m->dims.hidden);
}

/* With `scale_attn_by_inverse_layer_idx` scores are divided by the number of the layer, from 1. */
static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    plain_model m = {0};
    read_model(r, &m);
    bool by_layer = sonde_get_bool(r, "scale_attn_by_inverse_layer_idx", false);
    plain_absent_points(r, &m);
    sonde_buf x = plain_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        plain_model of_layer = m;
        if (by_layer) of_layer.scale /= (double)(layer + 1);
        x = plain_block(r, &of_layer, layer, x);
    }
    plain_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"gpt2", NULL};
static const char *const archs[] = {"gpt2", NULL};

const sonde_family sonde_family_gpt2 = {
    .name = "gpt2", .title = "GPT-2", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
