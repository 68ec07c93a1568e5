/*
 * falcon.c - Almazrouei et al. 2023, "The Falcon Series of Open Language Models".
 *
 *   x = wte[token]                     [rows, H]
 *   n = layernorm(x)                   input_layernorm, or ln_attn
 *   m = n, or layernorm(x)             ln_mlp, where `num_ln_in_parallel_attn` is 2
 *   x = x + (gelu(m Wu) Wd + attention(n))       erf form
 *
 * or, where `parallel_attn` is false, one after the other with a norm before each. Heads share one
 * key and value (7B), each group has its own (`new_decoder_architecture`: 40B, 180B, 11B), or each
 * head. Rope over the whole head, half-split; with `alibi` (the RW models) biases of the keys'
 * positions instead, which Hugging Face makes in bf16. They enter once, as the models were trained
 * and as its sdpa attention has them; its eager attention (5.23) adds them a second time.
 */
#include "plain_read.h"

#include <math.h>

#define LAYER "transformer.h.%d."

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.word_embeddings.weight", 0},
    {SONDE_ROLE_ATTN_NORM, LAYER "ln_attn.weight", 0},
    {SONDE_ROLE_ATTN_NORM, LAYER "input_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, LAYER "ln_attn.bias", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, LAYER "input_layernorm.bias", 0},
    {SONDE_ROLE_ATTN_Q, LAYER "self_attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_Q_BIAS, LAYER "self_attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_K, LAYER "self_attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_K_BIAS, LAYER "self_attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_V, LAYER "self_attention.query_key_value.weight", 0},
    {SONDE_ROLE_ATTN_V_BIAS, LAYER "self_attention.query_key_value.bias", 0},
    {SONDE_ROLE_ATTN_OUT, LAYER "self_attention.dense.weight", 0},
    {SONDE_ROLE_ATTN_OUT_BIAS, LAYER "self_attention.dense.bias", 0},
    {SONDE_ROLE_MLP_NORM, LAYER "ln_mlp.weight", 0},
    {SONDE_ROLE_MLP_NORM, LAYER "post_attention_layernorm.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, LAYER "ln_mlp.bias", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, LAYER "post_attention_layernorm.bias", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.dense_h_to_4h.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, LAYER "mlp.dense_h_to_4h.bias", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.dense_4h_to_h.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, LAYER "mlp.dense_4h_to_h.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.ln_f.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* Where there are two norms, attn_norm is the MLP's. */
static const sonde_weight_name gguf_weights[] = {
    {SONDE_ROLE_ATTN_NORM, "blk.%d.attn_norm_2.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, "blk.%d.attn_norm_2.bias", 0},
    {SONDE_ROLE_MLP_NORM, "blk.%d.ffn_norm.weight", 0},
    {SONDE_ROLE_MLP_NORM, "blk.%d.attn_norm.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, "blk.%d.ffn_norm.bias", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, "blk.%d.attn_norm.bias", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static void read_dims(sonde_recipe *r, sonde_dims *d)
{
    d->n_layers = sonde_get_int(r, "num_hidden_layers", 32, 1, 4096);
    d->hidden = sonde_get_int(r, "hidden_size", 4544, 1, 1 << 24);
    d->n_heads = sonde_get_int(r, "num_attention_heads", 71, 1, 1 << 16);
    d->head_dim = d->value_dim = d->hidden / d->n_heads;
    int64_t width = sonde_get_int(r, "intermediate_size", 4 * d->hidden, 1, 1 << 28);
    d->ffn = sonde_get_int(r, "ffn_hidden_size", width, 1, 1 << 28);
    d->vocab = sonde_get_int(r, "vocab_size", 65024, 1, 1 << 24);
    d->max_positions = sonde_get_int(r, "max_position_embeddings", 2048, 1, INT32_MAX);
    if (d->hidden % d->n_heads != 0)
        sonde_refuse(r, "hidden size %lld with %lld heads", (long long)d->hidden,
                     (long long)d->n_heads);
}

/* Rows of each group of q heads, then its k and v. */
static void slice_by_group(sonde_recipe *r, const sonde_dims *d)
{
    int64_t q = d->n_heads / d->n_kv_heads * d->head_dim, all = q + 2 * d->head_dim;
    sonde_weight_rows(r, SONDE_ROLE_ATTN_Q, 0, q, all);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_Q_BIAS, 0, q, all);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, q, d->head_dim, all);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_BIAS, q, d->head_dim, all);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, q + d->head_dim, d->head_dim, all);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V_BIAS, q + d->head_dim, d->head_dim, all);
}

/* Groups, one group, or groups of one head: the same layout of rows. */
static void read_heads(sonde_recipe *r, plain_model *m)
{
    sonde_dims *d = &m->dims;
    bool groups = sonde_get_bool(r, "new_decoder_architecture", false);
    bool one = sonde_get_bool(r, "multi_query", true);
    int64_t kv_heads = sonde_get_int(r, "num_kv_heads", d->n_heads, 1, d->n_heads);
    d->n_kv_heads = groups ? kv_heads : one ? 1 : d->n_heads;
    sonde_set_dims(r, d);
    if (d->n_heads % d->n_kv_heads == 0) slice_by_group(r, d);
    bool parallel = sonde_get_bool(r, "parallel_attn", true) || groups;
    int64_t norms = sonde_get_int(r, "num_ln_in_parallel_attn", groups ? 2 : 1, 1, 2);
    if (norms == 2 && !groups) sonde_refuse(r, "two norms without new_decoder_architecture");
    m->order = !parallel ? PLAIN_SEQUENTIAL : norms == 2 ? PLAIN_PARALLEL : PLAIN_ONE_NORM;
}

static void read_model(sonde_recipe *r, plain_model *m)
{
    static const char *const neutral[] = {"apply_residual_connection_post_layernorm", NULL};
    static const char *const of_rope[] = {"rope_parameters", NULL};
    read_dims(r, &m->dims);
    read_heads(r, m);
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->scale = 1.0 / sqrt((double)m->dims.head_dim);
    m->act = sonde_get_act(r, "activation", "gelu");
    plain_biases(m, sonde_get_bool(r, "bias", false));
    m->norm_bias = true;
    m->tied = sonde_get_bool(r, "tie_word_embeddings", true);
    m->alibi = SONDE_ALIBI_ROUNDED;
    if (sonde_get_bool(r, "alibi", false)) {
        m->slopes = sonde_alibi_slopes(r, m->dims.n_heads, 8.0);
        sonde_ignore_keys(r, of_rope);
    } else {
        sonde_rope_spec rope = sonde_get_rope(r, NULL, m->dims.head_dim, 10000.0);
        m->rope = sonde_rope_table(r, &rope);
    }
    sonde_ignore_keys(r, neutral);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    plain_model m = {0};
    read_model(r, &m);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"falcon", NULL};
static const char *const archs[] = {"falcon", NULL};

const sonde_family sonde_family_falcon = {
    .name = "falcon", .title = "Falcon", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .gguf_weights = gguf_weights, .ignored_weights = part_ignored_weights,
    .describe = describe,
};
