/*
 * gemma.c - Gemma team 2024, "Gemma: Open Models Based on Gemini Research and Technology": the Llama
 * block with embeddings times sqrt(H), norms that multiply by 1 + w, heads of their own width and
 * gelu in its tanh form, which the files of the first release spell "gelu".
 */
#include "llama_block.h"

#include <math.h>

static const sonde_weight_name weights[] = {
    NAMES_OF_ENDS(SONDE_WEIGHT_ADD_ONE)
    NAMES_OF_NORMS(SONDE_WEIGHT_ADD_ONE)
    NAMES_OF_QKV
    NAMES_OF_ATTN_OUT
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_NONE, NULL, 0},
};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const char *const neutral[] = {"hidden_activation", NULL};
    static const llama_defaults defaults = {
        .layers = 28, .hidden = 3072, .heads = 16, .kv_heads = 16, .head_dim = 256, .ffn = 24576,
        .vocab = 256000, .max_positions = 8192, .eps = 1e-6, .theta = 10000.0, .tied = true,
        .act = "gelu_pytorch_tanh"};
    llama_model m = {0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    if (m.act == SONDE_ACT_GELU) m.act = SONDE_ACT_GELU_TANH;
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.embed_scale = sqrt((double)m.dims.hidden);
    sonde_ignore_keys(r, neutral);
    return llama_describe(r, &m, 0, err);
}

static const char *const model_types[] = {"gemma", NULL};
static const char *const archs[] = {"gemma", NULL};

const sonde_family sonde_family_gemma = {
    .name = "gemma", .title = "Gemma 1", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
