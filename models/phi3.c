/*
 * phi3.c - Abdin et al. 2024, "Phi-3 Technical Report"; Phi-3.5, Phi-4, Phi-4-mini.
 *
 *   q | k | v = n Wqkv                 [rows, (N + 2 K) d]: rows of one stored tensor
 *   q, k = rope(q, k)                  half-split, the first `partial_rotary_factor` of each head;
 *                                      longrope for the long contexts
 *   x = x + softmax(q k d^-1/2) v Wo   every layer in a window, where `sliding_window` says one
 *   gate | up = n Wgu                  [rows, 2 I]: likewise
 *   x = x + (silu(gate) * up) Wd
 */
#include "llama_block.h"

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},
    {SONDE_ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_Q, "model.layers.%d.self_attn.qkv_proj.weight", 0},
    {SONDE_ROLE_ATTN_K, "model.layers.%d.self_attn.qkv_proj.weight", 0},
    {SONDE_ROLE_ATTN_V, "model.layers.%d.self_attn.qkv_proj.weight", 0},
    {SONDE_ROLE_ATTN_OUT, "model.layers.%d.self_attn.o_proj.weight", 0},
    {SONDE_ROLE_MLP_NORM, "model.layers.%d.post_attention_layernorm.weight", 0},
    {SONDE_ROLE_MLP_GATE, "model.layers.%d.mlp.gate_up_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, "model.layers.%d.mlp.gate_up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, "model.layers.%d.mlp.down_proj.weight", 0},
    {SONDE_ROLE_FINAL_NORM, "model.norm.weight", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* GGUF keeps gate and up together too. */
static const sonde_weight_name gguf_weights[] = {
    {SONDE_ROLE_MLP_GATE, "blk.%d.ffn_up.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_MLP_UP, "blk.%d.ffn_up.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_NONE, NULL, 0},
};

static void slice(sonde_recipe *r, const sonde_dims *d)
{
    int64_t q = d->n_heads * d->head_dim, k = d->n_kv_heads * d->head_dim;
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, q, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, q + k, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_MLP_UP, d->ffn, 0, 0);
}

static void read_rope(sonde_recipe *r, llama_model *m)
{
    double factor = sonde_get_float(r, "rope_parameters.partial_rotary_factor", 1.0);
    if (!(factor > 0.0 && factor <= 1.0)) {
        sonde_refuse(r, "partial_rotary_factor %g", factor);
        return;
    }
    int64_t rotary_dims = (int64_t)((double)m->dims.head_dim * factor);
    sonde_rope_spec rope = sonde_get_rope(r, NULL, rotary_dims, 10000.0);
    m->rope = sonde_rope_table(r, &rope);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    static const llama_defaults defaults = {.max_positions = 4096, .eps = 1e-5, .theta = 10000.0};
    static const char *const neutral[] = {"full_attn_mod", "interpolate_factor", NULL};
    llama_read_dims(r, &m, &defaults);
    llama_absent(r, &m);
    read_rope(r, &m);
    slice(r, &m.dims);
    if (sonde_get_bool(r, "lm_head_bias", false)) sonde_refuse(r, "lm_head_bias");
    sonde_ignore_keys(r, neutral);
    int64_t window = part_window(r, 0);
    return llama_describe(r, &m, window, err);
}

static const char *const model_types[] = {"phi3", NULL};
static const char *const archs[] = {"phi3", NULL};

const sonde_family sonde_family_phi3 = {
    .name = "phi3", .title = "Phi-3, Phi-3.5, Phi-4", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .gguf_weights = gguf_weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
