/*
 * mpt.c - MosaicML 2023, MPT: GPT-2's block without any bias, with ALiBi.
 *
 *   x = wte[token]                     [rows, H]
 *   n = layernorm(x)                   norm_1, no bias
 *   x = x + attention(n)               slope of the head times (position of the key - of the query)
 *   n = layernorm(x)                   norm_2
 *   x = x + gelu(n Wu) Wd              erf form
 *   logits = layernorm(x) wte^T        norm_f
 *
 * With `clip_qkv` q, k and v are clamped behind their hooks. Hugging Face biases the rows of a prompt
 * by their distance from its last token, which softmax does not see; scores here are those of the
 * row itself, as in decode. `alibi_bias_max` is honoured as the authors' code does (StoryWriter has
 * 16); Hugging Face's own takes 8 whatever it says.
 */
#include "plain_block.h"

#include <math.h>
#include <string.h>

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.wte.weight", 0},
    {SONDE_ROLE_ATTN_NORM, "transformer.blocks.%d.norm_1.weight", 0},
    {SONDE_ROLE_ATTN_Q, "transformer.blocks.%d.attn.Wqkv.weight", 0},
    {SONDE_ROLE_ATTN_K, "transformer.blocks.%d.attn.Wqkv.weight", 0},
    {SONDE_ROLE_ATTN_V, "transformer.blocks.%d.attn.Wqkv.weight", 0},
    {SONDE_ROLE_ATTN_OUT, "transformer.blocks.%d.attn.out_proj.weight", 0},
    {SONDE_ROLE_MLP_NORM, "transformer.blocks.%d.norm_2.weight", 0},
    {SONDE_ROLE_MLP_UP, "transformer.blocks.%d.ffn.up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, "transformer.blocks.%d.ffn.down_proj.weight", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.norm_f.weight", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* Hugging Face's code reads none of these. */
static const char *const neutral[] = {
    "learned_pos_emb", "init_device", "embedding_fraction", "init_config", "verbose",
    "tokenizer_name", "emb_pdrop", "attn_config.attn_pdrop", "attn_config.attn_impl",
    "attn_config.attn_uses_sequence_id", NULL};

static void refuse_variants(sonde_recipe *r)
{
    const char *type = sonde_get_text(r, "attn_config.attn_type", "multihead_attention");
    const char *norm = sonde_get_text(r, "norm_type", "low_precision_layernorm");
    if (!strstr(norm, "layernorm")) sonde_refuse(r, "norm_type '%s'", norm);
    if (strcmp(type, "multihead_attention") != 0) sonde_refuse(r, "attn_type '%s'", type);
    if (!sonde_get_bool(r, "attn_config.alibi", true)) sonde_refuse(r, "attention without alibi");
    if (sonde_get_bool(r, "attn_config.prefix_lm", false)) sonde_refuse(r, "prefix_lm");
    if (sonde_get_bool(r, "attn_config.qk_ln", false)) sonde_refuse(r, "qk_ln");
    if (sonde_get_bool(r, "attn_config.rope", false)) sonde_refuse(r, "rope in attn_config");
    if (!sonde_get_bool(r, "no_bias", true)) sonde_refuse(r, "projections with a bias");
    if (sonde_has(r, "logit_scale")) sonde_refuse(r, "logit_scale");
    sonde_ignore_keys(r, neutral);
}

static void read_model(sonde_recipe *r, plain_model *m)
{
    sonde_dims *d = &m->dims;
    d->n_layers = sonde_get_int(r, "num_hidden_layers", 24, 1, 4096);
    d->hidden = sonde_get_int(r, "hidden_size", 2048, 1, 1 << 24);
    d->n_heads = d->n_kv_heads = sonde_get_int(r, "num_attention_heads", 16, 1, 1 << 16);
    d->head_dim = d->value_dim = d->hidden / d->n_heads;
    int64_t ratio = sonde_get_int(r, "expansion_ratio", 4, 1, 256);
    if (ratio != 4) sonde_refuse(r, "expansion_ratio %lld", (long long)ratio);
    d->ffn = 4 * d->hidden;
    d->vocab = sonde_get_int(r, "vocab_size", 50368, 1, 1 << 24);
    d->max_positions = sonde_get_int(r, "max_position_embeddings", 2048, 1, INT32_MAX);
    if (d->hidden % d->n_heads != 0)
        sonde_refuse(r, "hidden size %lld with %lld heads", (long long)d->hidden,
                     (long long)d->n_heads);
    if (sonde_get_int(r, "intermediate_size", d->ffn, 1, INT32_MAX) != d->ffn)
        sonde_refuse(r, "an MLP that is not %lld wide", (long long)d->ffn);
    sonde_set_dims(r, d);
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->act = SONDE_ACT_GELU;
    m->tied = sonde_get_bool(r, "tie_word_embeddings", true);
    m->scale = sonde_get_float(r, "attn_config.softmax_scale",
                               sonde_get_float(r, "softmax_scale", 1.0 / sqrt((double)d->head_dim)));
    m->clip = sonde_get_float(r, "attn_config.clip_qkv", sonde_get_float(r, "clip_qkv", 0.0));
    if (m->clip < 0.0) sonde_refuse(r, "clip_qkv %g", m->clip);
    double most = sonde_get_float(r, "attn_config.alibi_bias_max",
                                  sonde_get_float(r, "alibi_bias_max", 8.0));
    if (!(most > 0.0)) sonde_refuse(r, "alibi_bias_max %g", most);
    m->slopes = sonde_alibi_slopes(r, d->n_heads, most);
    m->alibi = SONDE_ALIBI_RELATIVE;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    plain_model m = {0};
    refuse_variants(r);
    read_model(r, &m);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, m.dims.hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, 2 * m.dims.hidden, 0, 0);
    plain_absent_points(r, &m);
    sonde_buf x = plain_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) x = plain_block(r, &m, layer, x);
    plain_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"mpt", NULL};
static const char *const archs[] = {"mpt", NULL};

const sonde_family sonde_family_mpt = {
    .name = "mpt", .title = "MPT", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .describe = describe,
};
