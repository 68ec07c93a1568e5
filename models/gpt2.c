/*
 * gpt2.c - Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
 *
 *   x = wte[token] + wpe[position]     [rows, H]
 *   n = layernorm(x)                   ln_1
 *   q | k | v = n c_attn               [rows, 3H], stored [H, 3H]
 *   z = softmax(q k d^-1/2) v          causal, no rope
 *   x = x + z c_proj
 *   n = layernorm(x)                   ln_2
 *   x = x + gelu(n c_fc) c_proj        [rows, I] inside
 *   logits = layernorm(x) wte^T        ln_f
 */
#include "sonde/recipe.h"

#include <math.h>

typedef struct gpt2_model {
    sonde_dims dims;
    double eps;
    sonde_act act;
    bool scale_scores, scale_by_layer, tied;
} gpt2_model;

static const sonde_weight_name weights[] = {
    {SONDE_ROLE_TOKEN_EMBED, "transformer.wte.weight", 0},
    {SONDE_ROLE_POSITION_EMBED, "transformer.wpe.weight", 0},
    {SONDE_ROLE_ATTN_NORM, "transformer.h.%d.ln_1.weight", 0},
    {SONDE_ROLE_ATTN_NORM_BIAS, "transformer.h.%d.ln_1.bias", 0},
    {SONDE_ROLE_ATTN_Q, "transformer.h.%d.attn.c_attn.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_Q_BIAS, "transformer.h.%d.attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_K, "transformer.h.%d.attn.c_attn.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_K_BIAS, "transformer.h.%d.attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_V, "transformer.h.%d.attn.c_attn.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_V_BIAS, "transformer.h.%d.attn.c_attn.bias", 0},
    {SONDE_ROLE_ATTN_OUT, "transformer.h.%d.attn.c_proj.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_OUT_BIAS, "transformer.h.%d.attn.c_proj.bias", 0},
    {SONDE_ROLE_MLP_NORM, "transformer.h.%d.ln_2.weight", 0},
    {SONDE_ROLE_MLP_NORM_BIAS, "transformer.h.%d.ln_2.bias", 0},
    {SONDE_ROLE_MLP_UP, "transformer.h.%d.mlp.c_fc.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_MLP_UP_BIAS, "transformer.h.%d.mlp.c_fc.bias", 0},
    {SONDE_ROLE_MLP_DOWN, "transformer.h.%d.mlp.c_proj.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_MLP_DOWN_BIAS, "transformer.h.%d.mlp.c_proj.bias", 0},
    {SONDE_ROLE_FINAL_NORM, "transformer.ln_f.weight", 0},
    {SONDE_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", 0},
    {SONDE_ROLE_LM_HEAD, "lm_head.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};
static const char *const ignored[] = {"*h.*.attn.bias", "*h.*.attn.masked_bias", NULL};

static void read_model(sonde_recipe *r, gpt2_model *m)
{
    const int64_t most = 1 << 24;
    sonde_dims *d = &m->dims;
    d->n_layers = sonde_get_int(r, "num_hidden_layers", 12, 1, 4096);
    d->hidden = sonde_get_int(r, "hidden_size", 768, 1, most);
    d->n_heads = sonde_get_int(r, "num_attention_heads", 12, 1, most);
    d->n_kv_heads = d->n_heads;
    d->head_dim = d->value_dim = d->hidden / d->n_heads;
    d->ffn = sonde_get_int(r, "intermediate_size", 4 * d->hidden, 1, most);
    d->vocab = sonde_get_int(r, "vocab_size", 50257, 1, most);
    d->max_positions = sonde_get_int(r, "max_position_embeddings", 1024, 1, INT32_MAX);
    if (d->hidden % d->n_heads != 0)
        sonde_refuse(r, "hidden size %lld with %lld heads", (long long)d->hidden,
                     (long long)d->n_heads);
    sonde_set_dims(r, d);
    m->eps = sonde_get_float(r, "layer_norm_epsilon", 1e-5);
    m->act = sonde_get_act(r, "activation_function", "gelu_new");
    m->scale_scores = sonde_get_bool(r, "scale_attn_weights", true);
    m->scale_by_layer = sonde_get_bool(r, "scale_attn_by_inverse_layer_idx", false);
    m->tied = sonde_get_bool(r, "tie_word_embeddings", true);
    if (sonde_get_bool(r, "add_cross_attention", false)) sonde_refuse(r, "add_cross_attention");
}

/* q, k and v are column ranges of one stored matrix. */
static void slice_qkv(sonde_recipe *r, int64_t hidden)
{
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K, hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_BIAS, hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V, 2 * hidden, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V_BIAS, 2 * hidden, 0, 0);
}

static sonde_buf layer_norm(sonde_recipe *r, const gpt2_model *m, int64_t layer, sonde_buf x,
                            sonde_role weight, sonde_role bias, const char *name,
                            const char *scale_name)
{
    sonde_buf scale;
    sonde_norm_spec spec = {.kind = SONDE_NORM_LAYER, .weight = weight, .bias = bias,
                            .eps = m->eps, .scale = &scale};
    sonde_buf n = sonde_norm(r, layer, x, &spec);
    sonde_hook(r, layer, scale_name, scale, 0);
    sonde_hook(r, layer, name, n, 0);
    return n;
}

static sonde_buf project(sonde_recipe *r, const gpt2_model *m, int64_t layer, sonde_buf n,
                         sonde_role weight, sonde_role bias, const char *name)
{
    sonde_buf out = sonde_linear(r, layer, n, weight, bias, m->dims.hidden);
    sonde_hook(r, layer, name, out, m->dims.n_heads);
    return out;
}

static sonde_buf attention(sonde_recipe *r, const gpt2_model *m, int64_t layer, sonde_buf n)
{
    const sonde_dims *d = &m->dims;
    double scale = m->scale_scores ? 1.0 / sqrt((double)d->head_dim) : 1.0;
    if (m->scale_by_layer) scale /= (double)(layer + 1);
    sonde_buf q = project(r, m, layer, n, SONDE_ROLE_ATTN_Q, SONDE_ROLE_ATTN_Q_BIAS, "attn.q");
    sonde_buf k = project(r, m, layer, n, SONDE_ROLE_ATTN_K, SONDE_ROLE_ATTN_K_BIAS, "attn.k");
    sonde_buf v = project(r, m, layer, n, SONDE_ROLE_ATTN_V, SONDE_ROLE_ATTN_V_BIAS, "attn.v");
    sonde_hook(r, layer, "attn.q_rot", q, d->n_heads);
    sonde_hook(r, layer, "attn.k_rot", k, d->n_heads);
    sonde_cache(r, layer, k, v);
    sonde_attend_spec spec = {.n_heads = d->n_heads, .n_kv_heads = d->n_kv_heads,
                              .head_dim = d->head_dim, .value_dim = d->value_dim, .scale = scale,
                              .mask = SONDE_MASK_FULL, .sinks = SONDE_ROLE_NONE};
    sonde_attended a = sonde_attend(r, layer, q, &spec);
    sonde_hook(r, layer, "attn.scores", a.scores, d->n_heads);
    sonde_hook(r, layer, "attn.pattern", a.pattern, d->n_heads);
    sonde_hook(r, layer, "attn.z", a.z, d->n_heads);
    sonde_buf out = sonde_linear(r, layer, a.z, SONDE_ROLE_ATTN_OUT, SONDE_ROLE_ATTN_OUT_BIAS,
                                 d->hidden);
    sonde_hook(r, layer, "attn.out", out, 0);
    return out;
}

static sonde_buf mlp(sonde_recipe *r, const gpt2_model *m, int64_t layer, sonde_buf n)
{
    sonde_buf pre = sonde_linear(r, layer, n, SONDE_ROLE_MLP_UP, SONDE_ROLE_MLP_UP_BIAS,
                                 m->dims.ffn);
    sonde_hook(r, layer, "mlp.pre", pre, 0);
    sonde_buf post = sonde_activate(r, m->act, pre);
    sonde_hook(r, layer, "mlp.post", post, 0);
    sonde_buf out = sonde_linear(r, layer, post, SONDE_ROLE_MLP_DOWN, SONDE_ROLE_MLP_DOWN_BIAS,
                                 m->dims.hidden);
    sonde_hook(r, layer, "mlp.out", out, 0);
    return out;
}

static sonde_buf block(sonde_recipe *r, const gpt2_model *m, int64_t layer, sonde_buf x)
{
    sonde_hook(r, layer, "resid_pre", x, 0);
    sonde_buf n = layer_norm(r, m, layer, x, SONDE_ROLE_ATTN_NORM, SONDE_ROLE_ATTN_NORM_BIAS,
                             "attn_norm", "attn_norm.scale");
    x = sonde_add(r, x, attention(r, m, layer, n));
    sonde_hook(r, layer, "resid_mid", x, 0);
    n = layer_norm(r, m, layer, x, SONDE_ROLE_MLP_NORM, SONDE_ROLE_MLP_NORM_BIAS, "mlp_norm",
                   "mlp_norm.scale");
    x = sonde_add(r, x, mlp(r, m, layer, n));
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

static void name_absent_points(sonde_recipe *r)
{
    sonde_absent(r, "attn.q_normed", "queries and keys are not normed");
    sonde_absent(r, "attn.k_normed", "queries and keys are not normed");
    sonde_absent(r, "attn.out_normed", "the attention output is not normed before it is added");
    sonde_absent(r, "mlp.up", "its MLP is not gated: there is one branch, mlp.pre");
    sonde_absent(r, "mlp.out_normed", "the MLP output is not normed before it is added");
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    gpt2_model m = {0};
    read_model(r, &m);
    slice_qkv(r, m.dims.hidden);
    name_absent_points(r);
    sonde_buf token = sonde_embed(r, SONDE_ROLE_TOKEN_EMBED, m.dims.hidden);
    sonde_hook(r, SONDE_GLOBAL, "embed", token, 0);
    sonde_buf position = sonde_embed(r, SONDE_ROLE_POSITION_EMBED, m.dims.hidden);
    sonde_hook(r, SONDE_GLOBAL, "pos_embed", position, 0);
    sonde_buf x = sonde_add(r, token, position);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) x = block(r, &m, layer, x);
    sonde_buf n = layer_norm(r, &m, SONDE_GLOBAL, x, SONDE_ROLE_FINAL_NORM,
                             SONDE_ROLE_FINAL_NORM_BIAS, "final_norm", "final_norm.scale");
    sonde_role head = m.tied ? SONDE_ROLE_TOKEN_EMBED : SONDE_ROLE_LM_HEAD;
    sonde_buf logits = sonde_logits(r, n, head, SONDE_ROLE_NONE, m.dims.vocab);
    sonde_hook(r, SONDE_GLOBAL, "logits", logits, 0);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"gpt2", NULL};
static const char *const archs[] = {"gpt2", NULL};

const sonde_family sonde_family_gpt2 = {
    .name = "gpt2", .title = "GPT-2", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
