/*
 * gpt_bigcode.c - Li et al. 2023, "StarCoder: may the source be with you!"; SantaCoder.
 *
 *   x = wte[token] + wpe[position]     [rows, H]
 *   n = layernorm(x)                   ln_1
 *   q | k | v = n W + b                [rows, H + 2 d]: all query heads share one key and value; or,
 *                                      where `multi_query` is false, [rows, N, 3, d]
 *   x = x + softmax(q k d^-1/2) v Wo + b
 *   n = layernorm(x)                   ln_2
 *   x = x + gelu(n Wi + b) Wd + b
 *   logits = layernorm(x) wte^T        ln_f
 */
#include "plain_read.h"

#define LAYER "transformer.h.%d."

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.wte.weight", 0},
    {SONDE_ROLE_POSITION_EMBED, "transformer.wpe.weight", 0},
    {SONDE_ROLE_ATTN_NORM, LAYER "ln_1.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, LAYER "ln_1.bias", 0},
    {SONDE_ROLE_ATTN_Q, LAYER "attn.c_attn.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, LAYER "attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_K, LAYER "attn.c_attn.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, LAYER "attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_V, LAYER "attn.c_attn.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, LAYER "attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_OUT, LAYER "attn.c_proj.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, LAYER "attn.c_proj.bias", 0},
    {SONDE_ROLE_MLP_NORM, LAYER "ln_2.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, LAYER "ln_2.bias", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.c_fc.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, LAYER "mlp.c_fc.bias", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.c_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, LAYER "mlp.c_proj.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.ln_f.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const ignored[] = {"*h.*.attn.bias", "*h.*.attn.masked_bias", NULL};

/* Softmax is in fp32 anyway; the others are notes of the authors' own server. */
static const char *const neutral[] = {
    "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "inference_runner",
    "max_batch_size", "max_sequence_length", "pad_key_length", "pre_allocate_kv_cache",
    "validate_runner_input", NULL};

static void slice_qkv(sonde_recipe *r, const sonde_dims *d)
{
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, d->hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_BIAS, d->hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, d->hidden + d->head_dim, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V_BIAS, d->hidden + d->head_dim, 0, 0);
}

static void read_model(sonde_recipe *r, plain_model *m)
{
    static const sonde_dims defaults = {.n_layers = 12, .hidden = 768, .n_heads = 12, .vocab = 50257,
                                        .max_positions = 1024};
    sonde_dims sizes = defaults;
    bool one = sonde_get_bool(r, "multi_query", true);
    if (one) sizes.n_kv_heads = 1;
    plain_read_sizes(r, m, &sizes, true);
    if (m->dims.n_kv_heads != (one ? 1 : m->dims.n_heads))
        sonde_refuse(r, "%lld KV heads where multi_query is %s", (long long)m->dims.n_kv_heads,
                     one ? "true" : "false");
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->act = sonde_get_act(r, "activation_function", "gelu_pytorch_tanh");
    if (!sonde_get_bool(r, "scale_attn_weights", true)) m->scale = 1.0;
    if (sonde_get_bool(r, "add_cross_attention", false)) sonde_refuse(r, "add_cross_attention");
    plain_biases(m, true);
    m->norm_bias = m->positions = true;
    if (one) slice_qkv(r, &m->dims);
    else plain_slice_by_head(r, m->dims.head_dim);
    sonde_ignore_keys(r, neutral);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    plain_model m = {0};
    read_model(r, &m);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"gpt_bigcode", NULL};
static const char *const archs[] = {"starcoder", NULL};

const sonde_family sonde_family_gpt_bigcode = {
    .name = "gpt_bigcode", .title = "GPT-BigCode, StarCoder 1", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
