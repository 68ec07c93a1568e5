/*
 * plain_block.c - Radford et al. 2019, with rope (Su et al. 2021) or ALiBi (Press et al. 2022):
 *
 *   n = layernorm(x)           [rows, H]
 *   q, k, v = n W + b          [rows, N d], [rows, K d] x 2; q and k normed by head, if they are
 *   s = q k scale, of rotated q and k, or + bias of the key's position
 *   z = softmax(s) v           [rows, N d]
 *   attention = z Wo + b       [rows, H]
 *   MLP = act(n Wu + b) Wd + b, or (act(n Wg + b) * (n Wu + b)) Wd + b       [rows, I] inside
 */
#include "plain_block.h"

void plain_biases(plain_model *m, bool has)
{
    m->qkv_bias = m->out_bias = m->mlp_bias = has;
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
    sonde_norm_spec spec = {.kind = SONDE_NORM_LAYER,
                            .weight = part_if(!m->bare_norms, weight),
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
    sonde_buf out = part_linear(r, layer, n, weight, part_if(m->qkv_bias, bias),
                                n_heads * m->dims.head_dim, name, n_heads);
    return m->clip > 0.0 ? sonde_clamp(r, out, -m->clip, m->clip) : out;
}

static sonde_buf norm_heads(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x,
                            sonde_role weight, int64_t n_heads, const char *name)
{
    if (!m->head_norms) return x;
    sonde_norm_spec spec = {.kind = SONDE_NORM_LAYER, .weight = weight, .bias = SONDE_ROLE_NONE,
                            .group = m->dims.head_dim, .weight_per_group = true, .eps = m->eps};
    sonde_buf n = sonde_norm(r, layer, x, &spec);
    sonde_hook(r, layer, name, n, n_heads);
    return n;
}

static sonde_buf place(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x,
                       int64_t n_heads, const char *name)
{
    if (!m->slopes && m->rope != PLAIN_NO_ROPE)
        x = sonde_rope(r, m->rope, x, n_heads, m->dims.head_dim, 0);
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
    q = norm_heads(r, m, layer, q, SONDE_ROLE_ATTN_Q_NORM, d->n_heads, "attn.q_normed");
    k = norm_heads(r, m, layer, k, SONDE_ROLE_ATTN_K_NORM, d->n_kv_heads, "attn.k_normed");
    q = place(r, m, layer, q, d->n_heads, "attn.q_rot");
    k = place(r, m, layer, k, d->n_kv_heads, "attn.k_rot");
    sonde_attend_spec spec = {.n_heads = d->n_heads, .n_kv_heads = d->n_kv_heads,
                              .head_dim = d->head_dim, .value_dim = d->head_dim, .scale = m->scale,
                              .mask = m->window ? SONDE_MASK_SLIDING : SONDE_MASK_FULL,
                              .window = m->window, .sinks = SONDE_ROLE_NONE,
                              .slopes = m->slopes, .alibi = m->alibi};
    return part_attend(r, layer, q, k, v, &spec, part_if(m->out_bias, SONDE_ROLE_ATTN_OUT_BIAS),
                       d->hidden);
}

sonde_buf plain_mlp(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf n)
{
    if (m->gated) return part_gated_mlp(r, layer, n, m->act, &m->dims, m->mlp_bias);
    sonde_buf pre = part_linear(r, layer, n, SONDE_ROLE_MLP_UP,
                                part_if(m->mlp_bias, SONDE_ROLE_MLP_UP_BIAS), m->dims.ffn, "mlp.pre", 0);
    sonde_buf post = sonde_activate(r, m->act, pre);
    sonde_hook(r, layer, "mlp.post", post, 0);
    return part_linear(r, layer, post, SONDE_ROLE_MLP_DOWN,
                       part_if(m->mlp_bias, SONDE_ROLE_MLP_DOWN_BIAS), m->dims.hidden, "mlp.out", 0);
}

/* Both read the same x. */
static sonde_buf parallel(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x)
{
    sonde_buf n = plain_norm(r, m, layer, x, SONDE_ROLE_ATTN_NORM, "attn_norm", "attn_norm.scale");
    sonde_buf out = plain_attention(r, m, layer, n);
    if (m->order == PLAIN_PARALLEL)
        n = plain_norm(r, m, layer, x, SONDE_ROLE_MLP_NORM, "mlp_norm", "mlp_norm.scale");
    else
        sonde_hook(r, layer, "mlp_norm", n, 0);
    return sonde_add(r, x, sonde_add(r, plain_mlp(r, m, layer, n), out));
}

static sonde_buf sequential(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x)
{
    sonde_buf n = plain_norm(r, m, layer, x, SONDE_ROLE_ATTN_NORM, "attn_norm", "attn_norm.scale");
    x = sonde_add(r, x, plain_attention(r, m, layer, n));
    sonde_hook(r, layer, "resid_mid", x, 0);
    n = plain_norm(r, m, layer, x, SONDE_ROLE_MLP_NORM, "mlp_norm", "mlp_norm.scale");
    return sonde_add(r, x, plain_mlp(r, m, layer, n));
}

sonde_buf plain_block(sonde_recipe *r, const plain_model *m, int64_t layer, sonde_buf x)
{
    sonde_hook(r, layer, "resid_pre", x, 0);
    x = m->order == PLAIN_SEQUENTIAL ? sequential(r, m, layer, x) : parallel(r, m, layer, x);
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

sonde_buf plain_begin(sonde_recipe *r, const plain_model *m)
{
    sonde_buf x = sonde_embed(r, SONDE_ROLE_TOKEN_EMBED, m->dims.hidden);
    sonde_hook(r, SONDE_GLOBAL, "embed", x, 0);
    if (!m->positions) return x;
    sonde_buf position = sonde_embed(r, SONDE_ROLE_POSITION_EMBED, m->dims.hidden);
    sonde_hook(r, SONDE_GLOBAL, "pos_embed", position, 0);
    return sonde_add(r, x, position);
}

void plain_end(sonde_recipe *r, const plain_model *m, sonde_buf x)
{
    sonde_buf n = plain_norm(r, m, SONDE_GLOBAL, x, SONDE_ROLE_FINAL_NORM, "final_norm",
                             "final_norm.scale");
    sonde_role head = m->tied ? SONDE_ROLE_TOKEN_EMBED : SONDE_ROLE_LM_HEAD;
    sonde_buf logits = sonde_logits(r, n, head, part_if(m->head_bias, SONDE_ROLE_LM_HEAD_BIAS),
                                    m->dims.vocab);
    if (m->logit_scale != 0.0) logits = sonde_scale(r, logits, m->logit_scale);
    sonde_hook(r, SONDE_GLOBAL, "logits", logits, 0);
}

void plain_absent_points(sonde_recipe *r, const plain_model *m)
{
    if (!m->positions)
        sonde_absent(r, "pos_embed", "positions enter in attention, not by a learned embedding");
    if (!m->head_norms) {
        sonde_absent(r, "attn.q_normed", "queries and keys are not normed");
        sonde_absent(r, "attn.k_normed", "queries and keys are not normed");
    }
    sonde_absent(r, "attn.out_normed", "the attention output is not normed before it is added");
    if (!m->gated) sonde_absent(r, "mlp.up", "its MLP is not gated: there is one branch, mlp.pre");
    sonde_absent(r, "mlp.out_normed", "the MLP output is not normed before it is added");
    if (m->order != PLAIN_SEQUENTIAL)
        sonde_absent(r, "resid_mid", "attention and MLP are added to it together");
}

void plain_slice_by_head(sonde_recipe *r, int64_t d)
{
    static const sonde_role roles[3][2] = {{SONDE_ROLE_ATTN_Q, SONDE_ROLE_ATTN_Q_BIAS},
                                           {SONDE_ROLE_ATTN_K, SONDE_ROLE_ATTN_K_BIAS},
                                           {SONDE_ROLE_ATTN_V, SONDE_ROLE_ATTN_V_BIAS}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) sonde_weight_rows(r, roles[i][j], i * d, d, 3 * d);
}
