/*
 * qwen2.c - Yang et al. 2024, "Qwen2 Technical Report": the Llama block with biases on q, k and v,
 * and a sliding window on the layers from `max_window_layers` up when `use_sliding_window` is true
 * (or on those that `layer_types` names).
 */
#include "llama_block.h"

#include <string.h>

static int64_t window_of(sonde_recipe *r, int64_t layer, bool sliding, int64_t window,
                         int64_t first_sliding)
{
    const char *type = sonde_get_list_text(r, "layer_types", layer);
    if (!type) return sliding && layer >= first_sliding ? window : 0;
    if (strcmp(type, "full_attention") == 0) return 0;
    if (strcmp(type, "sliding_attention") == 0) return window;
    sonde_refuse(r, "layer type '%s'", type);
    return 0;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    llama_read(r, &m, 32, 32768, false);
    m.qkv_bias = true;
    bool sliding = sonde_get_bool(r, "use_sliding_window", false);
    int64_t window = sonde_get_int(r, "sliding_window", 4096, 1, INT32_MAX);
    int64_t first_sliding = sonde_get_int(r, "max_window_layers", 28, 0, INT32_MAX);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++)
        x = llama_block(r, &m, layer, x, window_of(r, layer, sliding, window, first_sliding));
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"qwen2", NULL};
static const char *const archs[] = {"qwen2", NULL};

const sonde_family sonde_family_qwen2 = {
    .name = "qwen2", .title = "Qwen2, Qwen2.5", .model_types = model_types, .gguf_archs = archs,
    .weights = llama_weights, .ignored_weights = llama_ignored_weights, .describe = describe,
};
