/*
 * mistral.c - Jiang et al. 2023, "Mistral 7B": the Llama block with a sliding window on every
 * layer. `sliding_window`: 4096 when the key is absent, none when it is null.
 */
#include "llama_block.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    static const llama_defaults defaults = {.kv_heads = 8, .max_positions = 131072, .eps = 1e-6,
                                            .theta = 10000.0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    llama_unpermute_gguf(r, &m);
    return llama_describe(r, &m, part_window(r, 4096), err);
}

static const char *const model_types[] = {"mistral", NULL};
static const char *const archs[] = {"llama", NULL};

const sonde_family sonde_family_mistral = {
    .name = "mistral", .title = "Mistral", .model_types = model_types, .gguf_archs = archs,
    .weights = llama_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
