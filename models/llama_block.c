/*
 * llama_block.c - Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models".
 *
 *   x                     [rows, H]        embed(token)
 *   n = rms(x) w          [rows, H]        input_layernorm
 *   q, k, v = n W         [rows, N d], [rows, K d] x 2
 *   q, k = rope(q, k)     half-split pairs over the whole head
 *   z = softmax(q k d^-1/2) v   [rows, N d]
 *   x = x + z Wo
 *   n = rms(x) w          [rows, H]        post_attention_layernorm
 *   x = x + (act(n Wg) * n Wu) Wd          [rows, I] inside
 */
#include "llama_block.h"

#include <math.h>
#include <string.h>

const sonde_weight_name llama_weights[] = {
    LLAMA_NAMES_BUT_MLP
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_NONE, NULL, 0},
};

static int64_t or_required(int64_t number)
{
    return number ? number : SONDE_REQUIRED;
}

void llama_read_dims(sonde_recipe *r, llama_model *m, const llama_defaults *defaults)
{
    const int64_t most = 1 << 24;
    sonde_dims *d = &m->dims;
    d->n_layers = sonde_get_int(r, "num_hidden_layers", or_required(defaults->layers), 1, 4096);
    d->hidden = sonde_get_int(r, "hidden_size", or_required(defaults->hidden), 1, most);
    d->n_heads = sonde_get_int(r, "num_attention_heads", or_required(defaults->heads), 1, most);
    int64_t kv = defaults->kv_heads ? defaults->kv_heads : d->n_heads;
    d->n_kv_heads = sonde_get_int(r, "num_key_value_heads", kv, 1, most);
    int64_t head_dim = d->hidden % d->n_heads == 0 ? d->hidden / d->n_heads : SONDE_REQUIRED;
    d->head_dim = sonde_get_int(r, "head_dim", defaults->head_dim ? defaults->head_dim : head_dim, 1,
                                most);
    d->value_dim = d->head_dim;
    d->ffn = sonde_get_int(r, "intermediate_size", or_required(defaults->ffn), 1, most);
    d->vocab = sonde_get_int(r, "vocab_size", or_required(defaults->vocab), 1, most);
    d->max_positions =
        sonde_get_int(r, "max_position_embeddings", defaults->max_positions, 1, INT32_MAX);
    sonde_set_dims(r, d);
    m->eps = sonde_get_float(r, "rms_norm_eps", defaults->eps);
    m->act = sonde_get_act(r, defaults->act_key ? defaults->act_key : "hidden_act",
                           defaults->act ? defaults->act : "silu");
    m->tied = sonde_get_bool(r, "tie_word_embeddings", defaults->tied);
}

void llama_read(sonde_recipe *r, llama_model *m, const llama_defaults *defaults)
{
    llama_read_dims(r, m, defaults);
    sonde_rope_spec rope = sonde_get_rope(r, NULL, m->dims.head_dim, defaults->theta);
    if (sonde_from_gguf(r) && sonde_has_weight(r, SONDE_ROLE_ROPE_FREQS, SONDE_GLOBAL))
        rope.freq_divisors = SONDE_ROLE_ROPE_FREQS;
    m->rope = sonde_rope_table(r, &rope);
}

void llama_absent(sonde_recipe *r, const llama_model *m)
{
    sonde_absent(r, "pos_embed", "positions enter by rope, not by a learned embedding");
    if (m->qk_norm == LLAMA_QK_PLAIN) {
        sonde_absent(r, "attn.q_normed", "queries and keys are not normed");
        sonde_absent(r, "attn.k_normed", "queries and keys are not normed");
    }
    if (!m->post_norms) {
        sonde_absent(r, "attn.out_normed", "the attention output is not normed before it is added");
        sonde_absent(r, "mlp.out_normed", "the MLP output is not normed before it is added");
    }
    if (m->bare_inputs) {
        sonde_absent(r, "attn_norm", "attention reads the residual without a norm");
        sonde_absent(r, "mlp_norm", "the MLP reads the residual without a norm");
    }
}

void llama_unpermute_gguf(sonde_recipe *r, const llama_model *m)
{
    sonde_weight_unpermute_gguf(r, SONDE_ROLE_ATTN_Q, m->dims.head_dim);
    sonde_weight_unpermute_gguf(r, SONDE_ROLE_ATTN_K, m->dims.head_dim);
    sonde_weight_unpermute_gguf(r, SONDE_ROLE_ATTN_Q_BIAS, m->dims.head_dim);
    sonde_weight_unpermute_gguf(r, SONDE_ROLE_ATTN_K_BIAS, m->dims.head_dim);
}

int64_t llama_window(sonde_recipe *r, int64_t layer, bool slides, int64_t window)
{
    const char *type = sonde_get_list_text(r, "layer_types", layer);
    if (!type) return slides ? window : 0;
    if (strcmp(type, "full_attention") == 0) return 0;
    if (strcmp(type, "sliding_attention") == 0 && window > 0) return window;
    sonde_refuse(r, "layer type '%s'%s", type,
                 strcmp(type, "sliding_attention") == 0 ? " without a sliding_window" : "");
    return 0;
}

static sonde_buf rms(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                     sonde_role weight, const char *name, const char *scale_name)
{
    sonde_buf scale;
    sonde_norm_spec spec = {.kind = SONDE_NORM_RMS, .weight = weight, .bias = SONDE_ROLE_NONE,
                            .eps = m->eps, .scale = &scale};
    sonde_buf n = sonde_norm(r, layer, x, &spec);
    if (scale_name) sonde_hook(r, layer, scale_name, scale, 0);
    sonde_hook(r, layer, name, n, 0);
    return n;
}

static sonde_buf project(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf n,
                         sonde_role weight, sonde_role bias, const char *name, int64_t n_heads)
{
    return part_linear(r, layer, n, weight, part_if(m->qkv_bias, bias), n_heads * m->dims.head_dim,
                       name, n_heads);
}

static sonde_buf norm_heads(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                            sonde_role weight, const char *name, int64_t n_heads)
{
    if (m->qk_norm == LLAMA_QK_PLAIN) return x;
    sonde_norm_spec spec = {.kind = SONDE_NORM_RMS, .weight = weight, .bias = SONDE_ROLE_NONE,
                            .group = m->qk_norm == LLAMA_QK_BY_HEAD ? m->dims.head_dim : 0,
                            .eps = m->eps};
    sonde_buf n = sonde_norm(r, layer, x, &spec);
    sonde_hook(r, layer, name, n, n_heads);
    return n;
}

static sonde_buf rotate(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                        int64_t n_heads, const char *name)
{
    if (m->rope != LLAMA_NO_ROPE) x = sonde_rope(r, m->rope, x, n_heads, m->dims.head_dim, 0);
    sonde_hook(r, layer, name, x, n_heads);
    return x;
}

static sonde_buf clip(sonde_recipe *r, const llama_model *m, sonde_buf x)
{
    return m->clip > 0.0 ? sonde_clamp(r, x, -m->clip, m->clip) : x;
}

static sonde_buf attention(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf n,
                           int64_t window)
{
    const sonde_dims *d = &m->dims;
    double scale = m->score_scale != 0.0 ? m->score_scale : 1.0 / sqrt((double)d->head_dim);
    sonde_buf q = project(r, m, layer, n, SONDE_ROLE_ATTN_Q, SONDE_ROLE_ATTN_Q_BIAS, "attn.q",
                          d->n_heads);
    sonde_buf k = project(r, m, layer, n, SONDE_ROLE_ATTN_K, SONDE_ROLE_ATTN_K_BIAS, "attn.k",
                          d->n_kv_heads);
    sonde_buf v = project(r, m, layer, n, SONDE_ROLE_ATTN_V, SONDE_ROLE_ATTN_V_BIAS, "attn.v",
                          d->n_kv_heads);
    q = clip(r, m, norm_heads(r, m, layer, q, SONDE_ROLE_ATTN_Q_NORM, "attn.q_normed", d->n_heads));
    k = clip(r, m, norm_heads(r, m, layer, k, SONDE_ROLE_ATTN_K_NORM, "attn.k_normed", d->n_kv_heads));
    v = clip(r, m, v);
    sonde_buf q_rot = rotate(r, m, layer, q, d->n_heads, "attn.q_rot");
    sonde_buf k_rot = rotate(r, m, layer, k, d->n_kv_heads, "attn.k_rot");
    sonde_attend_spec spec = {.n_heads = d->n_heads, .n_kv_heads = d->n_kv_heads,
                              .head_dim = d->head_dim, .value_dim = d->value_dim,
                              .scale = scale, .softcap = m->score_cap,
                              .mask = window ? SONDE_MASK_SLIDING : SONDE_MASK_FULL,
                              .window = window,
                              .sinks = m->sinks ? SONDE_ROLE_ATTN_SINKS : SONDE_ROLE_NONE};
    return part_attend(r, layer, q_rot, k_rot, v, &spec,
                       part_if(m->out_bias, SONDE_ROLE_ATTN_OUT_BIAS), d->hidden);
}

/* x + branch, normed or scaled before, where the family does so. */
static sonde_buf add_branch(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                            sonde_buf branch, sonde_role norm, const char *name)
{
    if (m->post_norms) branch = rms(r, m, layer, branch, norm, name, NULL);
    if (m->branch_scale != 0.0) branch = sonde_scale(r, branch, m->branch_scale);
    return sonde_add(r, x, branch);
}

sonde_buf llama_attn_norm(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x)
{
    if (m->bare_inputs) return x;
    return rms(r, m, layer, x, SONDE_ROLE_ATTN_NORM, "attn_norm", "attn_norm.scale");
}

sonde_buf llama_attend(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                       int64_t window)
{
    sonde_hook(r, layer, "resid_pre", x, 0);
    sonde_buf out = attention(r, m, layer, llama_attn_norm(r, m, layer, x), window);
    x = add_branch(r, m, layer, x, out, SONDE_ROLE_ATTN_POST_NORM, "attn.out_normed");
    sonde_hook(r, layer, "resid_mid", x, 0);
    return x;
}

sonde_buf llama_mlp_norm(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x)
{
    if (m->bare_inputs) return x;
    return rms(r, m, layer, x, SONDE_ROLE_MLP_NORM, "mlp_norm", "mlp_norm.scale");
}

sonde_buf llama_feed(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x)
{
    sonde_buf out = part_gated_mlp(r, layer, llama_mlp_norm(r, m, layer, x), m->act, &m->dims,
                                   m->mlp_bias);
    x = add_branch(r, m, layer, x, out, SONDE_ROLE_MLP_POST_NORM, "mlp.out_normed");
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

sonde_buf llama_block(sonde_recipe *r, const llama_model *m, int64_t layer, sonde_buf x,
                      int64_t window)
{
    return llama_feed(r, m, layer, llama_attend(r, m, layer, x, window));
}

sonde_buf llama_begin(sonde_recipe *r, const llama_model *m)
{
    sonde_buf x = sonde_embed(r, SONDE_ROLE_TOKEN_EMBED, m->dims.hidden);
    if (m->embed_scale != 0.0) x = sonde_scale(r, x, m->embed_scale);
    sonde_hook(r, SONDE_GLOBAL, "embed", x, 0);
    return x;
}

void llama_end(sonde_recipe *r, const llama_model *m, sonde_buf x)
{
    sonde_buf n = rms(r, m, SONDE_GLOBAL, x, SONDE_ROLE_FINAL_NORM, "final_norm", "final_norm.scale");
    sonde_role head = m->tied ? SONDE_ROLE_TOKEN_EMBED : SONDE_ROLE_LM_HEAD;
    sonde_buf logits = sonde_logits(r, n, head, SONDE_ROLE_NONE, m->dims.vocab);
    if (m->logit_scale != 0.0) logits = sonde_scale(r, logits, m->logit_scale);
    if (m->logit_cap != 0.0) logits = sonde_softcap(r, logits, m->logit_cap);
    sonde_hook(r, SONDE_GLOBAL, "logits", logits, 0);
}

sonde_status llama_describe(sonde_recipe *r, const llama_model *m, int64_t window, sonde_error *err)
{
    sonde_buf x = llama_begin(r, m);
    for (int64_t layer = 0; layer < m->dims.n_layers; layer++) x = llama_block(r, m, layer, x, window);
    llama_end(r, m, x);
    return sonde_recipe_status(r, err);
}
