/*
 * gptj.c - Wang & Komatsuzaki 2021, GPT-J-6B.
 *
 *   x = wte[token]                     [rows, H]
 *   n = layernorm(x)                   ln_1, the only norm of a block
 *   q, k, v = n W                      no bias
 *   q, k = rope(q, k)                  pairs (2i, 2i + 1) of the first `rotary_dim` of each head
 *   x = x + (softmax(q k d^-1/2) v Wo + (gelu(n Wi + b) Wd + b))
 *   logits = layernorm(x) W + b        ln_f; the output matrix has a bias
 */
#include "plain_read.h"

#define LAYER "transformer.h.%d."

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.wte.weight", 0},
    {SONDE_ROLE_ATTN_NORM, LAYER "ln_1.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, LAYER "ln_1.bias", 0},
    {SONDE_ROLE_ATTN_Q, LAYER "attn.q_proj.weight", 0},
    {SONDE_ROLE_ATTN_K, LAYER "attn.k_proj.weight", 0},
    {SONDE_ROLE_ATTN_V, LAYER "attn.v_proj.weight", 0},
    {SONDE_ROLE_ATTN_OUT, LAYER "attn.out_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.fc_in.weight", 0},
    {SONDE_ROLE_MLP_UP_BIAS, LAYER "mlp.fc_in.bias", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.fc_out.weight", 0},
    {SONDE_ROLE_MLP_DOWN_BIAS, LAYER "mlp.fc_out.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.ln_f.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_LM_HEAD_BIAS, "lm_head.bias", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const ignored[] = {"*h.*.attn.bias", "*h.*.attn.masked_bias", NULL};

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const sonde_dims defaults = {.n_layers = 28, .hidden = 4096, .n_heads = 16, .vocab = 50400,
                                        .max_positions = 2048};
    /* Hugging Face reads neither: it always rotates and always scales. */
    static const char *const neutral[] = {"rotary", "scale_attn_weights", NULL};
    plain_model m = {.order = PLAIN_ONE_NORM, .mlp_bias = true, .norm_bias = true, .head_bias = true};
    plain_read_sizes(r, &m, &defaults, false);
    plain_refuse_groups(r, &m);
    m.eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m.act = sonde_get_act(r, "activation_function", "gelu_new");
    if (sonde_is_null(r, "rotary_dim")) sonde_refuse(r, "rotary_dim null");
    int64_t rotary_dims = sonde_get_int(r, "rotary_dim", 64, 2, m.dims.head_dim);
    plain_read_rope(r, &m, rotary_dims, 10000.0, SONDE_ROPE_INTERLEAVED);
    sonde_ignore_keys(r, neutral);
    return plain_describe(r, &m, err);
}

static const char *const model_types[] = {"gptj", NULL};

const sonde_family sonde_family_gptj = {
    .name = "gptj", .title = "GPT-J", .model_types = model_types,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
