/*
 * qwen2.c - Yang et al. 2024, "Qwen2 Technical Report": the Llama block with biases on q, k and v,
 * and a sliding window on the layers from `max_window_layers` up when `use_sliding_window` is true
 * (or on those that `layer_types` names).
 */
#include "llama_block.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    static const llama_defaults defaults = {.kv_heads = 32, .max_positions = 32768, .eps = 1e-6,
                                            .theta = 10000.0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    m.qkv_bias = true;
    bool sliding = sonde_get_bool(r, "use_sliding_window", false);
    int64_t window = part_window(r, 4096);
    int64_t first_sliding = sonde_get_int(r, "max_window_layers", 28, 0, INT32_MAX);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++)
        x = llama_block(r, &m, layer, x, llama_window(r, layer, sliding && layer >= first_sliding, window));
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"qwen2", NULL};
static const char *const archs[] = {"qwen2", NULL};

const sonde_family sonde_family_qwen2 = {
    .name = "qwen2", .title = "Qwen2, Qwen2.5", .model_types = model_types, .gguf_archs = archs,
    .weights = llama_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
