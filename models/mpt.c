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
#include "plain_read.h"

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
    static const sonde_dims defaults = {.n_layers = 24, .hidden = 2048, .n_heads = 16, .vocab = 50368,
                                        .max_positions = 2048};
    plain_read_sizes(r, m, &defaults, true);
    plain_refuse_groups(r, m);
    plain_refuse_widths(r, m);
    int64_t ratio = sonde_get_int(r, "expansion_ratio", 4, 1, 256);
    if (ratio != 4) sonde_refuse(r, "expansion_ratio %lld", (long long)ratio);
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->act = SONDE_ACT_GELU;
    m->scale = sonde_get_float(r, "attn_config.softmax_scale",
                               sonde_get_float(r, "softmax_scale", m->scale));
    m->clip = sonde_get_float(r, "attn_config.clip_qkv", sonde_get_float(r, "clip_qkv", 0.0));
    if (m->clip < 0.0) sonde_refuse(r, "clip_qkv %g", m->clip);
    double most = sonde_get_float(r, "attn_config.alibi_bias_max",
                                  sonde_get_float(r, "alibi_bias_max", 8.0));
    if (!(most > 0.0)) sonde_refuse(r, "alibi_bias_max %g", most);
    m->slopes = sonde_alibi_slopes(r, m->dims.n_heads, most);
    m->alibi = SONDE_ALIBI_RELATIVE;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    plain_model m = {0};
    refuse_variants(r);
    read_model(r, &m);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, m.dims.hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, 2 * m.dims.hidden, 0, 0);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"mpt", NULL};
static const char *const archs[] = {"mpt", NULL};

const sonde_family sonde_family_mpt = {
    .name = "mpt", .title = "MPT", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .describe = describe,
};
