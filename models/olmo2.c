/*
 * olmo2.c - OLMo team 2024, "2 OLMo 2 Furious"; OLMo 3.
 *
 *   q, k, v = x W                      of the residual itself: no norm before attention or MLP
 *   q, k = rms(q) w, rms(k) w          over the whole projected vector, before rope
 *   x = x + rms(softmax(q k d^-1/2) v Wo) w         post_attention_layernorm
 *   x = x + rms((silu(x Wg) * x Wu) Wd) w           post_feedforward_layernorm
 *
 * OLMo 3: three of four layers slide, or those that `layer_types` names; rope scaling is for the full
 * layers only. Where a file has one rope_theta it is that of both kinds, as the models were trained
 * (transformers 5.23 takes 10000 for the sliding ones then).
 */
#include "llama_block.h"

static const sonde_weight_name weights[] = {
    NAMES_OF_ENDS(0)
    NAMES_OF_QKV
    NAMES_OF_QK_NORMS(0)
    NAMES_OF_ATTN_OUT
    {SONDE_ROLE_ATTN_POST_NORM, "model.layers.%d.post_attention_layernorm.weight", 0},
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_MLP_POST_NORM, "model.layers.%d.post_feedforward_layernorm.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static void read_model(sonde_recipe *r, llama_model *m)
{
    static const llama_defaults defaults = {.max_positions = 2048, .eps = 1e-5, .theta = 10000.0};
    m->qk_norm = LLAMA_QK_WHOLE;
    m->bare_inputs = m->post_norms = true;
    llama_read_dims(r, m, &defaults);
    llama_absent(r, m);
    m->qkv_bias = m->out_bias = sonde_get_bool(r, "attention_bias", false);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    read_model(r, &m);
    sonde_rope_spec rope = sonde_get_rope(r, NULL, m.dims.head_dim, 10000.0);
    m.rope = sonde_rope_table(r, &rope);
    return llama_describe(r, &m, 0, err);
}

static sonde_status describe_third(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    read_model(r, &m);
    int64_t window = part_needed_window(r, 4096);
    sonde_rope_spec full = sonde_get_rope(r, "full_attention", m.dims.head_dim, 10000.0);
    sonde_rope_spec local = sonde_get_rope(r, "sliding_attention", m.dims.head_dim, full.theta);
    int32_t full_table = sonde_rope_table(r, &full), local_table = sonde_rope_table(r, &local);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        int64_t reach = llama_window(r, layer, (layer + 1) % 4 != 0, window);
        m.rope = reach ? local_table : full_table;
        x = llama_block(r, &m, layer, x, reach);
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const second[] = {"olmo2", NULL};
static const char *const third[] = {"olmo3", NULL};
static const char *const archs[] = {"olmo2", NULL};

const sonde_family sonde_family_olmo2 = {
    .name = "olmo2", .title = "OLMo 2", .model_types = second, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};

/* Its GGUF files are of architecture olmo2 with a window; lib/weights names them. */
const sonde_family sonde_family_olmo3 = {
    .name = "olmo3", .title = "OLMo 3", .model_types = third, .gguf_archs = archs, .weights = weights,
    .ignored_weights = part_ignored_weights, .describe = describe_third,
};
