/*
 * olmo.c - Groeneveld et al. 2024, "OLMo: Accelerating the Science of Language Models".
 *
 *   x = embed_tokens[token]            [rows, H]
 *   n = layernorm(x)                   without weights, eps 1e-5
 *   q, k, v = n W                      clamped to +-clip_qkv behind their hooks, where it is set
 *   q, k = rope(q, k)                  half-split, the whole head
 *   x = x + softmax(q k d^-1/2) v Wo
 *   n = layernorm(x)                   without weights
 *   x = x + (silu(n Wg) * n Wu) Wd
 */
#include "plain_read.h"

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0},
    NAMES_OF_QKV
    NAMES_OF_ATTN_OUT
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const sonde_dims defaults = {.n_layers = 32, .hidden = 4096, .n_heads = 32, .ffn = 11008,
                                        .vocab = 50304, .max_positions = 2048};
    plain_model m = {.bare_norms = true, .gated = true, .eps = 1e-5};
    plain_read_sizes(r, &m, &defaults, false);
    m.act = sonde_get_act(r, "hidden_act", "silu");
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.clip = sonde_get_float(r, "clip_qkv", 0.0);
    plain_read_rope(r, &m, m.dims.head_dim, 10000.0, SONDE_ROPE_HALF);
    sonde_weight_unpermute_gguf(r, SONDE_ROLE_ATTN_Q, m.dims.head_dim);
    sonde_weight_unpermute_gguf(r, SONDE_ROLE_ATTN_K, m.dims.head_dim);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"olmo", NULL};
static const char *const archs[] = {"olmo", NULL};

const sonde_family sonde_family_olmo = {
    .name = "olmo", .title = "OLMo 1", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
