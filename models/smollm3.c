/*
 * smollm3.c - Hugging Face 2025, SmolLM3: the Llama block, without rope on every fourth layer (or where
 * `no_rope_layers` holds a 0). With `use_sliding_window` the layers without rope slide.
 */
#include "llama_block.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    static const llama_defaults defaults = {.kv_heads = 4, .max_positions = 32768, .eps = 1e-6,
                                            .theta = 2000000.0, .tied = true};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    llama_unpermute_gguf(r, &m);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.mlp_bias = sonde_get_bool(r, "mlp_bias", false);
    bool sliding = sonde_get_bool(r, "use_sliding_window", false);
    int64_t window = part_window(r, 0);
    int64_t interval = sonde_get_int(r, "no_rope_layer_interval", 4, 1, INT32_MAX);
    int32_t table = m.rope;
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        bool has_rope = sonde_get_list_int(r, "no_rope_layers", layer, (layer + 1) % interval) != 0;
        m.rope = has_rope ? table : LLAMA_NO_ROPE;
        x = llama_block(r, &m, layer, x, llama_window(r, layer, sliding && !has_rope, window));
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"smollm3", NULL};
static const char *const archs[] = {"smollm3", NULL};

const sonde_family sonde_family_smollm3 = {
    .name = "smollm3", .title = "SmolLM3", .model_types = model_types, .gguf_archs = archs,
    .weights = llama_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
