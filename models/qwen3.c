/*
 * qwen3.c - Yang et al. 2025, "Qwen3 Technical Report": the Llama block with RMS norms over each head
 * of q and k before rope. Sliding layers as in Qwen2.
 */
#include "llama_block.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {.qk_norm = LLAMA_QK_BY_HEAD};
    static const llama_defaults defaults = {.kv_heads = 32, .head_dim = 128, .max_positions = 32768,
                                            .eps = 1e-6, .theta = 10000.0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    bool sliding = sonde_get_bool(r, "use_sliding_window", false);
    int64_t window = part_window(r, 4096);
    int64_t first_sliding = sonde_get_int(r, "max_window_layers", 28, 0, INT32_MAX);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++)
        x = llama_block(r, &m, layer, x,
                        llama_window(r, layer, sliding && layer >= first_sliding, window));
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"qwen3", NULL};
static const char *const archs[] = {"qwen3", NULL};

const sonde_family sonde_family_qwen3 = {
    .name = "qwen3", .title = "Qwen3 (dense)", .model_types = model_types, .gguf_archs = archs,
    .weights = llama_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
