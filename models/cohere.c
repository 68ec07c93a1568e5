/*
 * cohere.c - Cohere 2024, Command-R and Command-R+.
 *
 *   x = embed_tokens[token]            [rows, H]
 *   n = layernorm(x)                   no bias; the only norm of a block
 *   q, k, v = n W                      [rows, N d], [rows, K d] x 2
 *   q, k = layernorm by head           where `use_qk_norm`: each head has weights of its own
 *   q, k = rope(q, k)                  pairs (2i, 2i + 1), the whole head
 *   x = x + (softmax(q k d^-1/2) v Wo + (silu(n Wg) * n Wu) Wd)
 *   logits = layernorm(x) W logit_scale
 */
#include "plain_read.h"

static const sonde_weight_name weights[] = {
    NAMES_OF_ENDS(0)
    {SONDE_ROLE_ATTN_NORM, NAMES_OF_LAYER "input_layernorm.weight", 0},
    NAMES_OF_QKV
    NAMES_OF_QK_NORMS(0)
    NAMES_OF_ATTN_OUT
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_NONE, NULL, 0},
};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const sonde_dims defaults = {.n_layers = 40, .hidden = 8192, .n_heads = 64, .ffn = 22528,
                                        .vocab = 256000, .max_positions = 8192};
    static const char *const neutral[] = {"model_max_length", NULL};
    plain_model m = {.order = PLAIN_ONE_NORM, .gated = true};
    plain_read_sizes(r, &m, &defaults, true);
    m.eps = sonde_get_float(r, "layer_norm_eps", 1e-5);
    m.act = sonde_get_act(r, "hidden_act", "silu");
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.head_norms = sonde_get_bool(r, "use_qk_norm", false);
    m.logit_scale = sonde_get_float(r, "logit_scale", 0.0625);
    if (!(m.logit_scale > 0.0)) sonde_refuse(r, "logit_scale %g", m.logit_scale);
    plain_read_rope(r, &m, m.dims.head_dim, 500000.0, SONDE_ROPE_INTERLEAVED);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"cohere", NULL};
static const char *const archs[] = {"command-r", NULL};

const sonde_family sonde_family_cohere = {
    .name = "cohere", .title = "Cohere, Command-R", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = part_ignored_weights, .describe = describe,
};
