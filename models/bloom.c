/*
 * bloom.c - BigScience 2022, "BLOOM: A 176B-Parameter Open-Access Multilingual Language Model".
 *
 *   x = layernorm(wte[token])          [rows, H]
 *   n = layernorm(x)                   input_layernorm
 *   x = x + attention(n)               ALiBi: slope of the head times the position of the key
 *   n = layernorm(x)                   post_attention_layernorm
 *   x = x + gelu(n Wu + b) Wd + b      tanh form, 4 H inside
 *   logits = layernorm(x) wte^T
 *
 * With `apply_residual_connection_post_layernorm` n is added to, not x.
 */
#include "plain_read.h"

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.word_embeddings.weight", 0},
    {SONDE_ROLE_EMBED_NORM, "transformer.word_embeddings_layernorm.weight", 0},
    {SONDE_ROLE_EMBED_NORM_BIAS, "transformer.word_embeddings_layernorm.bias", 0},
    {SONDE_ROLE_ATTN_NORM, "transformer.h.%d.input_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, "transformer.h.%d.input_layernorm.bias", 0},
    {SONDE_ROLE_ATTN_Q, "transformer.h.%d.self_attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, "transformer.h.%d.self_attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_K, "transformer.h.%d.self_attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, "transformer.h.%d.self_attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_V, "transformer.h.%d.self_attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, "transformer.h.%d.self_attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_OUT, "transformer.h.%d.self_attention.dense.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, "transformer.h.%d.self_attention.dense.bias", 0},
    {SONDE_ROLE_MLP_NORM, "transformer.h.%d.post_attention_layernorm.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, "transformer.h.%d.post_attention_layernorm.bias", 0},
    {SONDE_ROLE_MLP_UP, "transformer.h.%d.mlp.dense_h_to_4h.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, "transformer.h.%d.mlp.dense_h_to_4h.bias", 0},
    {SONDE_ROLE_MLP_DOWN, "transformer.h.%d.mlp.dense_4h_to_h.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, "transformer.h.%d.mlp.dense_4h_to_h.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.ln_f.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* Notes on training, and on a slicing that orders sums otherwise. */
static const char *const neutral[] = {
    "slow_but_exact", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "masked_softmax_fusion",
    "bias_dropout_fusion", "attention_softmax_in_fp32", "unk_token_id", "seq_length", NULL};

static void read_model(sonde_recipe *r, plain_model *m)
{
    sonde_dims defaults = {.n_layers = 2, .hidden = 64, .n_heads = 8, .vocab = 250880};
    defaults.max_positions = sonde_get_int(r, "seq_length", 2048, 1, INT32_MAX);
    plain_read_sizes(r, m, &defaults, true);
    plain_refuse_groups(r, m);
    plain_refuse_widths(r, m);
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->act = SONDE_ACT_GELU_TANH;
    plain_biases(m, true);
    m->norm_bias = true;
    m->slopes = sonde_alibi_slopes(r, m->dims.n_heads, 8.0);
    m->alibi = SONDE_ALIBI_KEY;
    sonde_ignore_keys(r, neutral);
}

static sonde_buf block(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x, bool post)
{
    sonde_hook(r, layer, "resid_pre", x, 0);
    sonde_buf n = plain_norm(r, m, layer, x, SONDE_ROLE_ATTN_NORM, "attn_norm", "attn_norm.scale");
    x = sonde_add(r, post ? n : x, plain_attention(r, m, layer, n));
    sonde_hook(r, layer, "resid_mid", x, 0);
    n = plain_norm(r, m, layer, x, SONDE_ROLE_MLP_NORM, "mlp_norm", "mlp_norm.scale");
    x = sonde_add(r, post ? n : x, plain_mlp(r, m, layer, n));
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    plain_model m = {0};
    read_model(r, &m);
    bool post = sonde_get_bool(r, "apply_residual_connection_post_layernorm", false);
    plain_slice_by_head(r, m.dims.head_dim);
    plain_absent_points(r, &m);
    sonde_buf x = plain_begin(r, &m);
    x = plain_norm(r, &m, SONDE_GLOBAL, x, SONDE_ROLE_EMBED_NORM, NULL, NULL);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) x = block(r, &m, layer, x, post);
    plain_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"bloom", NULL};
static const char *const archs[] = {"bloom", NULL};

const sonde_family sonde_family_bloom = {
    .name = "bloom", .title = "BLOOM", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .describe = describe,
};
