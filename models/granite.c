/*
 * granite.c - Granite team 2024, Granite 3.x: the Llama block with four multipliers.
 *
 *   x = embed(token) embedding_multiplier
 *   x = x + attention(n) residual_multiplier        scores times attention_multiplier, not d^-1/2
 *   x = x + MLP(n) residual_multiplier
 *   logits = n W / logits_scaling
 */
#include "llama_block.h"

static double positive(sonde_recipe *r, const char *key, double value)
{
    if (!(value > 0.0)) sonde_refuse(r, "%s %g", key, value);
    return value > 0.0 ? value : 1.0;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    static const llama_defaults defaults = {.max_positions = 2048, .eps = 1e-6, .theta = 10000.0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    llama_unpermute_gguf(r, &m);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.mlp_bias = sonde_get_bool(r, "mlp_bias", false);
    double embed = sonde_get_float(r, "embedding_multiplier", 1.0);
    double branch = sonde_get_float(r, "residual_multiplier", 1.0);
    double scores = sonde_get_float(r, "attention_multiplier", 1.0);
    double logits = sonde_get_float(r, "logits_scaling", 1.0);
    m.embed_scale = positive(r, "embedding_multiplier", embed);
    m.branch_scale = positive(r, "residual_multiplier", branch);
    m.score_scale = positive(r, "attention_multiplier", scores);
    m.logit_scale = 1.0 / positive(r, "logits_scaling", logits);
    return llama_describe(r, &m, 0, err);
}

static const char *const model_types[] = {"granite", NULL};
static const char *const archs[] = {"granite", NULL};

const sonde_family sonde_family_granite = {
    .name = "granite", .title = "Granite 3.x (dense)", .model_types = model_types, .gguf_archs = archs,
    .weights = llama_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
