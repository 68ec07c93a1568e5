/*
 * stablelm.c - Bellagente et al. 2024, "Stable LM 2 1.6B"; StableLM 3B, Stable LM 2 12B.
 *
 *   x = embed_tokens[token]            [rows, H]
 *   n = layernorm(x)                   input_layernorm
 *   q, k, v = n W (+ b)                [rows, N d], [rows, K d] x 2
 *   q, k = layernorm by head           where `qk_layernorm`: a tensor of weights for each head
 *   q, k = rope(q, k)                  half-split, the first `partial_rotary_factor` of each head
 *   x = x + softmax(q k d^-1/2) v Wo
 *   n = layernorm(x)                   post_attention_layernorm
 *   x = x + (silu(n Wg) * n Wu) Wd
 *
 * With `use_parallel_residual` both read the first norm, and there is no other.
 */
#include "plain_read.h"

static const sonde_weight_name weights[] = {
    NAMES_OF_ENDS(0)
    NAMES_OF_NORMS(0)
    NAMES_OF_QKV
    {SONDE_ROLE_ATTN_Q_NORM, NAMES_OF_LAYER "self_attn.q_layernorm.norms.%d.weight", 0},
    {SONDE_ROLE_ATTN_K_NORM, NAMES_OF_LAYER "self_attn.k_layernorm.norms.%d.weight", 0},
    NAMES_OF_ATTN_OUT
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_NONE, NULL, 0},
};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const char *const neutral[] = {"norm_eps", "num_heads", "rope_pct",
                                          "rotary_scaling_factor", NULL};
    static const sonde_dims defaults = {.n_layers = 32, .hidden = 2560, .n_heads = 32,
                                        .n_kv_heads = 32, .ffn = 6912, .vocab = 50304,
                                        .max_positions = 4096};
    plain_model m = {.norm_bias = true, .gated = true};
    plain_read_sizes(r, &m, &defaults, false);
    m.eps = sonde_get_float(r, "layer_norm_eps", 1e-5);
    m.act = sonde_get_act(r, "hidden_act", "silu");
    m.qkv_bias = sonde_get_bool(r, "use_qkv_bias", false);
    m.order = sonde_get_bool(r, "use_parallel_residual", false) ? PLAIN_ONE_NORM : PLAIN_SEQUENTIAL;
    m.head_norms = sonde_get_bool(r, "qk_layernorm", false);
    plain_read_rope(r, &m, plain_rotary_dims(r, &m, 0.25), 10000.0, SONDE_ROPE_HALF);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"stablelm", NULL};
static const char *const archs[] = {"stablelm", NULL};

const sonde_family sonde_family_stablelm = {
    .name = "stablelm", .title = "StableLM", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
