/*
 * qwen3_moe.c - Yang et al. 2025, "Qwen3 Technical Report": the Qwen3 block with a mixture of experts
 * for its MLP on every `decoder_sparse_step`-th layer that `mlp_only_layers` does not name.
 */
#include "llama_block.h"
#include "moe.h"

static bool is_sparse(sonde_recipe *r, int64_t layer, int64_t step)
{
    int64_t n = sonde_list_length(r, "mlp_only_layers");
    for (int64_t i = 0; i < n; i++)
        if (sonde_get_list_int(r, "mlp_only_layers", i, -1) == layer) return false;
    return (layer + 1) % step == 0;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const llama_defaults defaults = {.kv_heads = 4, .max_positions = 32768, .eps = 1e-6,
                                            .theta = 10000.0};
    llama_model m = {.qk_norm = LLAMA_QK_BY_HEAD};
    moe_model moe = {0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    moe_read(r, &moe, 128, 8);
    moe.route.renormalise = sonde_get_bool(r, "norm_topk_prob", false);
    moe.hidden = m.dims.hidden;
    moe.width = sonde_get_int(r, "moe_intermediate_size", 768, 1, 1 << 24);
    moe.act = m.act;
    int64_t step = sonde_get_int(r, "decoder_sparse_step", 1, 1, INT32_MAX);
    int64_t window = part_window(r, 4096);
    bool slides = sonde_get_bool(r, "use_sliding_window", false);
    if (!slides) window = 0;
    sonde_weight_rows(r, SONDE_ROLE_EXPERT_UP, moe.width, 0, 0);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        x = llama_attend(r, &m, layer, x, window);
        x = is_sparse(r, layer, step) ? moe_feed(r, &moe, layer, x, llama_mlp_norm(r, &m, layer, x))
                                      : llama_feed(r, &m, layer, x);
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"qwen3_moe", NULL};
static const char *const archs[] = {"qwen3moe", NULL};

const sonde_family sonde_family_qwen3_moe = {
    .name = "qwen3_moe", .title = "Qwen3 (mixtures of experts)", .model_types = model_types,
    .gguf_archs = archs, .weights = moe_weights, .ignored_weights = part_ignored_weights,
    .describe = describe,
};
