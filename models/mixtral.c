/*
 * mixtral.c - Jiang et al. 2024, "Mixtral of Experts": the Mistral block with a mixture of experts for
 * its MLP; the weights of the chosen are divided by their sum. GGUF files are of architecture `llama`.
 */
#include "llama_block.h"
#include "moe.h"

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const llama_defaults defaults = {.kv_heads = 8, .max_positions = 131072, .eps = 1e-5,
                                            .theta = 1e6};
    llama_model m = {0};
    moe_model moe = {0};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    llama_unpermute_gguf(r, &m);
    moe_read(r, &moe, 8, 2);
    moe.route.renormalise = true;
    moe.hidden = m.dims.hidden;
    moe.width = m.dims.ffn;
    moe.act = m.act;
    int64_t window = part_window(r, 0);
    sonde_weight_rows(r, SONDE_ROLE_EXPERT_UP, m.dims.ffn, 0, 0);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        x = llama_attend(r, &m, layer, x, window);
        x = moe_feed(r, &moe, layer, x, llama_mlp_norm(r, &m, layer, x));
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

#define EXPERT NAMES_OF_LAYER "block_sparse_moe.experts.%d."
static const sonde_weight_name weights[] = {
    LLAMA_NAMES_BUT_MLP
    {SONDE_ROLE_ROUTER, NAMES_OF_LAYER "block_sparse_moe.gate.weight", 0},
    {SONDE_ROLE_ROUTER, NAMES_OF_LAYER "mlp.gate.weight", 0},
    {SONDE_ROLE_EXPERT_GATE, EXPERT "w1.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_GATE, NAMES_OF_LAYER "mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_UP, EXPERT "w3.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_UP, NAMES_OF_LAYER "mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_DOWN, EXPERT "w2.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_DOWN, NAMES_OF_LAYER "mlp.experts.down_proj", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* Older files have a tensor for each expert. */
static const sonde_weight_name gguf_weights[] = {
    {SONDE_ROLE_EXPERT_GATE, "blk.%d.ffn_gate.%d.weight", 0},
    {SONDE_ROLE_EXPERT_UP, "blk.%d.ffn_up.%d.weight", 0},
    {SONDE_ROLE_EXPERT_DOWN, "blk.%d.ffn_down.%d.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const model_types[] = {"mixtral", NULL};
static const char *const archs[] = {"llama", NULL};

const sonde_family sonde_family_mixtral = {
    .name = "mixtral", .title = "Mixtral", .model_types = model_types,
    .gguf_archs = archs, .weights = weights, .gguf_weights = gguf_weights,
    .ignored_weights = part_ignored_weights, .describe = describe,
};
