/* llama.c - Llama 1, 2 and 3.x, SmolLM2 and their distillations; GGUF architecture `llama`. */
#include "llama_block.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    static const llama_defaults defaults = {.max_positions = 2048, .eps = 1e-6, .theta = 10000.0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    bool gguf = sonde_from_gguf(r);
    m.qkv_bias = gguf ? sonde_has_weight(r, SONDE_ROLE_ATTN_Q_BIAS, 0)
                      : sonde_get_bool(r, "attention_bias", false);
    m.out_bias = gguf ? sonde_has_weight(r, SONDE_ROLE_ATTN_OUT_BIAS, 0) : m.qkv_bias;
    m.mlp_bias = gguf ? sonde_has_weight(r, SONDE_ROLE_MLP_GATE_BIAS, 0)
                      : sonde_get_bool(r, "mlp_bias", false);
    llama_unpermute_gguf(r, &m);
    if (sonde_has(r, "num_local_experts") || sonde_has(r, "expert_count"))
        sonde_refuse(r, "mixture-of-experts layers in a llama model");
    return llama_describe(r, &m, 0, err);
}

static const char *const model_types[] = {"llama", NULL};
static const char *const archs[] = {"llama", NULL};

const sonde_family sonde_family_llama = {
    .name = "llama", .title = "Llama 1 to 3.3, SmolLM2", .model_types = model_types,
    .gguf_archs = archs, .weights = llama_weights, .ignored_weights = part_ignored_weights,
    .describe = describe,
};
