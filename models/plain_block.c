/*
 * plain_block.c - Press et al. 2022, "Train Short, Test Long" (ALiBi), in the block of GPT-2:
 *
 *   q, k, v = n W + b          [rows, N d], [rows, K d] x 2
 *   s = q k scale + bias of the key's position, or q and k rotated and no bias
 *   z = softmax(s) v           [rows, N d]
 *   attention = z Wo + b       [rows, H]
 *   MLP = act(n Wu + b) Wd + b [rows, I] inside
 */
#include "plain_block.h"

static sonde_role bias_of(const plain_model *m, sonde_role role)
{
    return m->bias ? role : SONDE_ROLE_NONE;
}

static sonde_role norm_bias(const plain_model *m, sonde_role weight)
{
    if (!m->norm_bias) return SONDE_ROLE_NONE;
    switch (weight) {
    case SONDE_ROLE_EMBED_NORM: return SONDE_ROLE_EMBED_NORM_BIAS;
    case SONDE_ROLE_ATTN_NORM: return SONDE_ROLE_ATTN_NORM_BIAS;
    case SONDE_ROLE_MLP_NORM: return SONDE_ROLE_MLP_NORM_BIAS;
    default: return SONDE_ROLE_FINAL_NORM_BIAS;
    }
}

sonde_buf plain_norm(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x,
                     sonde_role weight, const char *name, const char *scale_name)
{
    sonde_buf scale;
    sonde_norm_spec spec = {.kind = SONDE_NORM_LAYER, .weight = weight,
                            .bias = norm_bias(m, weight), .eps = m->eps, .scale = &scale};
    sonde_buf n = sonde_norm(r, layer, x, &spec);
    if (scale_name) sonde_hook(r, layer, scale_name, scale, 0);
    if (name) sonde_hook(r, layer, name, n, 0);
    return n;
}

/* A projection of heads; what is clamped is what enters the dot product. */
static sonde_buf project(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n,
                         sonde_role weight, sonde_role bias, int64_t n_heads, const char *name)
{
    sonde_buf out = sonde_linear(r, layer, n, weight, bias_of(m, bias), n_heads * m->dims.head_dim);
    sonde_hook(r, layer, name, out, n_heads);
    return m->clip > 0.0 ? sonde_clamp(r, out, -m->clip, m->clip) : out;
}

static sonde_buf place(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x,
                       int64_t n_heads, const char *name)
{
    if (!m->slopes) x = sonde_rope(r, m->rope, x, n_heads, m->dims.head_dim, 0);
    sonde_hook(r, layer, name, x, n_heads);
    return x;
}

sonde_buf plain_attention(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n)
{
    const sonde_dims *d = &m->dims;
    sonde_buf q = project(r, m, layer, n, SONDE_ROLE_ATTN_Q, SONDE_ROLE_ATTN_Q_BIAS, d->n_heads,
                          "attn.q");
    sonde_buf k = project(r, m, layer, n, SONDE_ROLE_ATTN_K, SONDE_ROLE_ATTN_K_BIAS, d->n_kv_heads,
                          "attn.k");
    sonde_buf v = project(r, m, layer, n, SONDE_ROLE_ATTN_V, SONDE_ROLE_ATTN_V_BIAS, d->n_kv_heads,
                          "attn.v");
    q = place(r, m, layer, q, d->n_heads, "attn.q_rot");
    k = place(r, m, layer, k, d->n_kv_heads, "attn.k_rot");
    sonde_cache(r, layer, k, v);
    sonde_attend_spec spec = {.n_heads = d->n_heads, .n_kv_heads = d->n_kv_heads,
                              .head_dim = d->head_dim, .value_dim = d->head_dim, .scale = m->scale,
                              .mask = SONDE_MASK_FULL, .sinks = SONDE_ROLE_NONE,
                              .slopes = m->slopes, .alibi = m->alibi};
    sonde_attended a = sonde_attend(r, layer, q, &spec);
    sonde_hook(r, layer, "attn.scores", a.scores, d->n_heads);
    sonde_hook(r, layer, "attn.pattern", a.pattern, d->n_heads);
    sonde_hook(r, layer, "attn.z", a.z, d->n_heads);
    sonde_buf out = sonde_linear(r, layer, a.z, SONDE_ROLE_ATTN_OUT,
                                 bias_of(m, SONDE_ROLE_ATTN_OUT_BIAS), d->hidden);
    sonde_hook(r, layer, "attn.out", out, 0);
    return out;
}

sonde_buf plain_mlp(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n)
{
    sonde_buf pre = sonde_linear(r, layer, n, SONDE_ROLE_MLP_UP, bias_of(m, SONDE_ROLE_MLP_UP_BIAS),
                                 m->dims.ffn);
    sonde_hook(r, layer, "mlp.pre", pre, 0);
    sonde_buf post = sonde_activate(r, m->act, pre);
    sonde_hook(r, layer, "mlp.post", post, 0);
    sonde_buf out = sonde_linear(r, layer, post, SONDE_ROLE_MLP_DOWN,
                                 bias_of(m, SONDE_ROLE_MLP_DOWN_BIAS), m->dims.hidden);
    sonde_hook(r, layer, "mlp.out", out, 0);
    return out;
}

void plain_end(sonde_recipe *r, const plain_model *m, sonde_buf x)
{
    sonde_buf n = plain_norm(r, m, SONDE_GLOBAL, x, SONDE_ROLE_FINAL_NORM, "final_norm",
                             "final_norm.scale");
    sonde_role head = m->tied ? SONDE_ROLE_TOKEN_EMBED : SONDE_ROLE_LM_HEAD;
    sonde_hook(r, SONDE_GLOBAL, "logits", sonde_logits(r, n, head, SONDE_ROLE_NONE, m->dims.vocab), 0);
}

void plain_absent_points(sonde_recipe *r)
{
    sonde_absent(r, "pos_embed", "positions enter in attention, not by a learned embedding");
    sonde_absent(r, "attn.q_normed", "queries and keys are not normed");
    sonde_absent(r, "attn.k_normed", "queries and keys are not normed");
    sonde_absent(r, "attn.out_normed", "the attention output is not normed before it is added");
    sonde_absent(r, "mlp.up", "its MLP is not gated: there is one branch, mlp.pre");
    sonde_absent(r, "mlp.out_normed", "the MLP output is not normed before it is added");
}

void plain_slice_by_head(sonde_recipe *r, int64_t d)
{
    static const sonde_role roles[3][2] = {{SONDE_ROLE_ATTN_Q, SONDE_ROLE_ATTN_Q_BIAS},
                                           {SONDE_ROLE_ATTN_K, SONDE_ROLE_ATTN_K_BIAS},
                                           {SONDE_ROLE_ATTN_V, SONDE_ROLE_ATTN_V_BIAS}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) sonde_weight_rows(r, roles[i][j], i * d, d, 3 * d);
}
