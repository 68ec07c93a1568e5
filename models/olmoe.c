/*
 * olmoe.c - Muennighoff et al. 2024, "OLMoE: Open Mixture-of-Experts Language Models": the Llama block
 * with RMS norms over all of q and all of k before they are split into heads, and a mixture of experts
 * for its MLP. `clip_qkv` clamps q, k (behind their norms) and v.
 */
#include "llama_block.h"
#include "moe.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const llama_defaults defaults = {.max_positions = 4096, .eps = 1e-5, .theta = 10000.0};
    llama_model m = {.qk_norm = LLAMA_QK_WHOLE};
    moe_model moe = {0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    m.clip = sonde_get_float(r, "clip_qkv", 0.0);
    if (m.clip < 0.0) sonde_refuse(r, "clip_qkv %g", m.clip);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    moe_read(r, &moe, 64, 8);
    moe.route.renormalise = sonde_get_bool(r, "norm_topk_prob", false);
    moe.hidden = m.dims.hidden;
    moe.width = m.dims.ffn;
    moe.act = m.act;
    sonde_weight_rows(r, SONDE_ROLE_EXPERT_UP, moe.width, 0, 0);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        x = llama_attend(r, &m, layer, x, 0);
        x = moe_feed(r, &moe, layer, x, llama_mlp_norm(r, &m, layer, x));
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"olmoe", NULL};
static const char *const archs[] = {"olmoe", NULL};

const sonde_family sonde_family_olmoe = {
    .name = "olmoe", .title = "OLMoE", .model_types = model_types, .gguf_archs = archs,
    .weights = moe_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
