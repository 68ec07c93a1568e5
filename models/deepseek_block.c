/*
 * deepseek_block.c - DeepSeek-AI 2024, "DeepSeek-V2" and "DeepSeek-V3 Technical Report".
 *
 *   n = rms(x) w                        [rows, H]
 *   q = rms(n Wqa) Wqb                  [rows, N (nope + rope)], or n Wq
 *   c = rms(n Wc)                       [rows, R]       the compressed keys and values
 *   p = rope(n Wp)                      [rows, rope]    one key for all heads
 *   per head: k = [c Wk, p], v = c Wv, z = softmax(q k scale) v, where q's last dims are rotated
 *   x = x + z Wo
 *   n = rms(x) w
 *   x = x + MLP(n), or on later layers x + sum over the chosen of weight E(n) + shared(n)
 *
 * Attention runs absorbed: q k = (q_nope Wk^T) c + q_rope p and z = (softmax c) Wv, so that the
 * cache holds [c, p] as the only key and c as its value, and the k and v of the heads are made only
 * where somebody looks at them.
 */
#include "deepseek_block.h"

#include <math.h>

const sonde_weight_name deepseek_weights[] = {
    NAMES_OF_ENDS(0)
    NAMES_OF_NORMS(0)
    NAMES_OF_QKV
    {SONDE_ROLE_ATTN_Q_A, "model.layers.%d.self_attn.q_a_proj.weight", 0},
    {SONDE_ROLE_ATTN_Q_A_BIAS, "model.layers.%d.self_attn.q_a_proj.bias", 0},
    {SONDE_ROLE_ATTN_Q_A_NORM, "model.layers.%d.self_attn.q_a_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_Q_B, "model.layers.%d.self_attn.q_b_proj.weight", 0},
    {SONDE_ROLE_ATTN_KV_LATENT, "model.layers.%d.self_attn.kv_a_proj_with_mqa.weight", 0},
    {SONDE_ROLE_ATTN_KV_LATENT_BIAS, "model.layers.%d.self_attn.kv_a_proj_with_mqa.bias", 0},
    {SONDE_ROLE_ATTN_K_PE, "model.layers.%d.self_attn.kv_a_proj_with_mqa.weight", 0},
    {SONDE_ROLE_ATTN_K_PE_BIAS, "model.layers.%d.self_attn.kv_a_proj_with_mqa.bias", 0},
    {SONDE_ROLE_ATTN_KV_NORM, "model.layers.%d.self_attn.kv_a_layernorm.weight", 0},
    {SONDE_ROLE_ATTN_K_ABSORB, "model.layers.%d.self_attn.kv_b_proj.weight", 0},
    {SONDE_ROLE_ATTN_K_UP, "model.layers.%d.self_attn.kv_b_proj.weight", 0},
    {SONDE_ROLE_ATTN_V_UP, "model.layers.%d.self_attn.kv_b_proj.weight", 0},
    NAMES_OF_ATTN_OUT
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_ROUTER, "model.layers.%d.mlp.gate.weight", 0},
    {SONDE_ROLE_ROUTER_CORRECTION, "model.layers.%d.mlp.gate.e_score_correction_bias", 0},
    {SONDE_ROLE_EXPERT_GATE, "model.layers.%d.mlp.experts.%d.gate_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_GATE, "model.layers.%d.mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_UP, "model.layers.%d.mlp.experts.%d.up_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_UP, "model.layers.%d.mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_DOWN, "model.layers.%d.mlp.experts.%d.down_proj.weight", 0},
    {SONDE_ROLE_EXPERT_DOWN, "model.layers.%d.mlp.experts.down_proj", 0},
    {SONDE_ROLE_SHARED_GATE, "model.layers.%d.mlp.shared_experts.gate_proj.weight", 0},
    {SONDE_ROLE_SHARED_UP, "model.layers.%d.mlp.shared_experts.up_proj.weight", 0},
    {SONDE_ROLE_SHARED_DOWN, "model.layers.%d.mlp.shared_experts.down_proj.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* Newer files have attn_k_b [N, R, nope] and attn_v_b [N, v, R], older ones kv_b whole. */
const sonde_weight_name deepseek_gguf_weights[] = {
    {SONDE_ROLE_ATTN_KV_LATENT, "blk.%d.attn_kv_a_mqa.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_ATTN_KV_LATENT_BIAS, "blk.%d.attn_kv_a_mqa.bias", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_ATTN_K_PE, "blk.%d.attn_kv_a_mqa.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_ATTN_K_PE_BIAS, "blk.%d.attn_kv_a_mqa.bias", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_ATTN_K_ABSORB, "blk.%d.attn_kv_b.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_ATTN_K_UP, "blk.%d.attn_kv_b.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_ATTN_K_UP, "blk.%d.attn_k_b.weight", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_ATTN_V_UP, "blk.%d.attn_kv_b.weight", SONDE_WEIGHT_SLICED},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* ---- configuration ------------------------------------------------------------------------------------ */

static void read_dims(sonde_recipe *r, deepseek_model *m)
{
    const int64_t most = 1 << 20;
    sonde_dims *d = &m->dims;
    d->n_layers = sonde_get_int(r, "num_hidden_layers", SONDE_REQUIRED, 1, 4096);
    d->hidden = sonde_get_int(r, "hidden_size", SONDE_REQUIRED, 1, most);
    d->n_heads = d->n_kv_heads = sonde_get_int(r, "num_attention_heads", SONDE_REQUIRED, 1, 4096);
    d->ffn = sonde_get_int(r, "intermediate_size", SONDE_REQUIRED, 1, most);
    d->vocab = sonde_get_int(r, "vocab_size", SONDE_REQUIRED, 1, 1 << 24);
    d->max_positions = sonde_get_int(r, "max_position_embeddings", SONDE_REQUIRED, 1, INT32_MAX);
    m->q_rank = sonde_get_int(r, "q_lora_rank", 0, 0, most);
    m->kv_rank = sonde_get_int(r, "kv_lora_rank", SONDE_REQUIRED, 1, most);
    m->nope = sonde_get_int(r, "qk_nope_head_dim", SONDE_REQUIRED, 1, most);
    m->rotary = sonde_get_int(r, "qk_rope_head_dim", SONDE_REQUIRED, 2, most);
    d->head_dim = m->nope + m->rotary;
    d->value_dim = sonde_get_int(r, "v_head_dim", SONDE_REQUIRED, 1, most);
    sonde_set_dims(r, d);
}

static void read_experts(sonde_recipe *r, deepseek_model *m)
{
    const int64_t most = 1 << 20;
    sonde_route_spec *s = &m->moe.route;
    int64_t layers = m->dims.n_layers;
    m->dense_layers = sonde_get_int(r, "first_k_dense_replace", SONDE_REQUIRED, 0, INT32_MAX);
    if (m->dense_layers >= layers) m->dense_layers = layers;
    s->n_experts = sonde_get_int(r, "num_local_experts", SONDE_REQUIRED, 1, 1 << 16);
    s->n_chosen = sonde_get_int(r, "num_experts_per_tok", SONDE_REQUIRED, 1, s->n_experts);
    s->scaling = sonde_get_float(r, "routed_scaling_factor", SONDE_REQUIRED_FLOAT);
    s->correction = SONDE_ROLE_NONE;
    m->moe.width = sonde_get_int(r, "moe_intermediate_size", SONDE_REQUIRED, 1, most);
    m->moe.shared_width = m->moe.width * sonde_get_int(r, "n_shared_experts", 0, 0, 1024);
    int64_t every = sonde_get_int(r, "moe_layer_freq", 1, 1, INT32_MAX);
    if (every != 1) sonde_refuse(r, "experts on every layer but each %lldth", (long long)every);
    int64_t ahead = sonde_get_int(r, "num_nextn_predict_layers", 1, 0, 64);
    sonde_ignore_layers(r, layers, ahead);
}

/* Rows of kv_a are [c, p], those of kv_b for each head [k without rope, v]. */
static void slice_weights(sonde_recipe *r, const deepseek_model *m)
{
    int64_t both = m->nope + m->dims.value_dim;
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_PE, m->kv_rank, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_PE_BIAS, m->kv_rank, 0, 0);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_ABSORB, 0, m->nope, both);
    sonde_weight_transpose_heads(r, SONDE_ROLE_ATTN_K_ABSORB);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_K_UP, 0, m->nope, both);
    sonde_weight_rows(r, SONDE_ROLE_ATTN_V_UP, m->nope, m->dims.value_dim, both);
    sonde_weight_rows(r, SONDE_ROLE_EXPERT_UP, m->moe.width, 0, 0);
}

static void name_absent_points(sonde_recipe *r, const deepseek_model *m)
{
    sonde_absent(r, "pos_embed", "positions enter by rope, not by a learned embedding");
    sonde_absent(r, "attn.q_normed", "its norms are of the latents: attn.q_latent, attn.kv_latent");
    sonde_absent(r, "attn.k_normed", "its norms are of the latents: attn.q_latent, attn.kv_latent");
    sonde_absent(r, "attn.out_normed", "the attention output is not normed before it is added");
    sonde_absent(r, "mlp.out_normed", "the MLP output is not normed before it is added");
    if (m->q_rank == 0) sonde_absent(r, "attn.q_latent", "its queries have no low-rank form");
    if (m->moe.shared_width == 0) sonde_absent(r, "moe.shared_out", "it has no shared expert");
}

void deepseek_read(sonde_recipe *r, deepseek_model *m, sonde_rope_pairing pairing)
{
    static const char *const neutral[] = {"num_key_value_heads", "head_dim", "qk_head_dim", "ep_size",
                                          "seq_aux", "aux_loss_alpha", "num_mtp_layers",
                                          "output_router_logits", "router_aux_loss_coef", NULL};
    read_dims(r, m);
    read_experts(r, m);
    sonde_ignore_keys(r, neutral);
    m->eps = sonde_get_float(r, "rms_norm_eps", 1e-6);
    m->moe.act = sonde_get_act(r, "hidden_act", "silu");
    m->moe.hidden = m->dims.hidden;
    m->attention_bias = sonde_get_bool(r, "attention_bias", false);
    if (sonde_get_bool(r, "mlp_bias", false)) sonde_refuse(r, "mlp_bias");
    m->tied = sonde_get_bool(r, "tie_word_embeddings", false);
    sonde_rope_spec rope = sonde_get_rope(r, NULL, m->rotary, 10000.0);
    rope.pairing = pairing;
    m->rope = sonde_rope_table(r, &rope);
    m->scale = 1.0 / sqrt((double)m->dims.head_dim);
    double all = sonde_get_float(r, "rope_parameters.mscale_all_dim", 0.0);
    double stretch = all != 0.0 ? sonde_yarn_mscale(rope.factor, all) : 1.0;
    m->scale *= stretch * stretch;
    slice_weights(r, m);
    name_absent_points(r, m);
}

/* ---- steps -------------------------------------------------------------------------------------------- */

static sonde_buf rms(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight, double eps,
                     sonde_buf *scale)
{
    sonde_norm_spec spec = {.kind = SONDE_NORM_RMS, .weight = weight, .bias = SONDE_ROLE_NONE,
                            .eps = eps, .scale = scale};
    return sonde_norm(r, layer, x, &spec);
}

/* A norm of the residual stream, with its hooks. */
static sonde_buf outer_norm(sonde_recipe *r, const deepseek_model *m, int64_t layer, sonde_buf x,
                            sonde_role weight, const char *name, const char *scale_name)
{
    sonde_buf scale, n = rms(r, layer, x, weight, m->eps, &scale);
    sonde_hook(r, layer, scale_name, scale, 0);
    sonde_hook(r, layer, name, n, 0);
    return n;
}

static sonde_role bias_of(const deepseek_model *m, sonde_role role)
{
    return part_if(m->attention_bias, role);
}

/* Rotated queries [rows, N, nope + rope]. The norms of latents have an eps of their own. */
static sonde_buf queries(sonde_recipe *r, const deepseek_model *m, int64_t layer, sonde_buf n)
{
    const sonde_dims *d = &m->dims;
    sonde_role weight = SONDE_ROLE_ATTN_Q;
    if (m->q_rank > 0) {
        n = sonde_linear(r, layer, n, SONDE_ROLE_ATTN_Q_A, bias_of(m, SONDE_ROLE_ATTN_Q_A_BIAS),
                         m->q_rank);
        n = rms(r, layer, n, SONDE_ROLE_ATTN_Q_A_NORM, 1e-6, NULL);
        sonde_hook(r, layer, "attn.q_latent", n, 0);
        weight = SONDE_ROLE_ATTN_Q_B;
    }
    sonde_buf q = sonde_linear(r, layer, n, weight, SONDE_ROLE_NONE, d->n_heads * d->head_dim);
    sonde_hook(r, layer, "attn.q", q, d->n_heads);
    sonde_buf rotated = sonde_rope(r, m->rope, q, d->n_heads, d->head_dim, m->nope);
    sonde_hook(r, layer, "attn.q_rot", rotated, d->n_heads);
    return rotated;
}

/* What the heads' own keys and values would be: no step reads them. */
static void show_keys_and_values(sonde_recipe *r, const deepseek_model *m, int64_t layer,
                                 sonde_buf c, sonde_buf p, sonde_buf p_rotated)
{
    int64_t heads = m->dims.n_heads;
    sonde_head_dims latent = {c, 1, 0, m->kv_rank};
    sonde_buf nope = sonde_linear_heads(r, layer, &latent, SONDE_ROLE_ATTN_K_UP, heads, m->nope);
    sonde_head_dims k = {nope, heads, 0, m->nope}, before = {p, 1, 0, m->rotary};
    sonde_head_dims after = {p_rotated, 1, 0, m->rotary};
    sonde_hook(r, layer, "attn.k", sonde_join(r, heads, &k, &before), heads);
    sonde_hook(r, layer, "attn.k_rot", sonde_join(r, heads, &k, &after), heads);
    sonde_buf v =
        sonde_linear_heads(r, layer, &latent, SONDE_ROLE_ATTN_V_UP, heads, m->dims.value_dim);
    sonde_hook(r, layer, "attn.v", v, heads);
}

/* [c, p] as the only key, c as its value. */
static sonde_buf cache_latent(sonde_recipe *r, const deepseek_model *m, int64_t layer, sonde_buf n)
{
    sonde_buf c = sonde_linear(r, layer, n, SONDE_ROLE_ATTN_KV_LATENT,
                               bias_of(m, SONDE_ROLE_ATTN_KV_LATENT_BIAS), m->kv_rank);
    sonde_buf p = sonde_linear(r, layer, n, SONDE_ROLE_ATTN_K_PE,
                               bias_of(m, SONDE_ROLE_ATTN_K_PE_BIAS), m->rotary);
    c = rms(r, layer, c, SONDE_ROLE_ATTN_KV_NORM, 1e-6, NULL);
    sonde_hook(r, layer, "attn.kv_latent", c, 0);
    sonde_buf rotated = sonde_rope(r, m->rope, p, 1, m->rotary, 0);
    sonde_hook(r, layer, "attn.k_pe", rotated, 0);
    show_keys_and_values(r, m, layer, c, p, rotated);
    sonde_head_dims latent = {c, 1, 0, m->kv_rank}, shared = {rotated, 1, 0, m->rotary};
    sonde_cache(r, layer, sonde_join(r, 1, &latent, &shared), c);
    return c;
}

static sonde_buf attention(sonde_recipe *r, const deepseek_model *m, int64_t layer, sonde_buf n)
{
    const sonde_dims *d = &m->dims;
    int64_t heads = d->n_heads;
    sonde_buf q = queries(r, m, layer, n);
    cache_latent(r, m, layer, n);
    sonde_head_dims nope = {q, heads, 0, m->nope}, rotated = {q, heads, m->nope, m->rotary};
    sonde_buf q_latent =
        sonde_linear_heads(r, layer, &nope, SONDE_ROLE_ATTN_K_ABSORB, heads, m->kv_rank);
    sonde_head_dims absorbed = {q_latent, heads, 0, m->kv_rank};
    sonde_attend_spec spec = {.n_heads = heads, .n_kv_heads = 1, .head_dim = m->kv_rank + m->rotary,
                              .value_dim = m->kv_rank, .scale = m->scale, .mask = SONDE_MASK_FULL,
                              .sinks = SONDE_ROLE_NONE};
    sonde_attended a = sonde_attend(r, layer, sonde_join(r, heads, &absorbed, &rotated), &spec);
    sonde_hook(r, layer, "attn.scores", a.scores, heads);
    sonde_hook(r, layer, "attn.pattern", a.pattern, heads);
    sonde_head_dims mixed = {a.z, heads, 0, m->kv_rank};
    sonde_buf z = sonde_linear_heads(r, layer, &mixed, SONDE_ROLE_ATTN_V_UP, heads, d->value_dim);
    sonde_hook(r, layer, "attn.z", z, heads);
    return part_linear(r, layer, z, SONDE_ROLE_ATTN_OUT, bias_of(m, SONDE_ROLE_ATTN_OUT_BIAS),
                       d->hidden, "attn.out", 0);
}

static sonde_buf block(sonde_recipe *r, const deepseek_model *m, int64_t layer, sonde_buf x)
{
    sonde_hook(r, layer, "resid_pre", x, 0);
    sonde_buf n = outer_norm(r, m, layer, x, SONDE_ROLE_ATTN_NORM, "attn_norm", "attn_norm.scale");
    x = sonde_add(r, x, attention(r, m, layer, n));
    sonde_hook(r, layer, "resid_mid", x, 0);
    n = outer_norm(r, m, layer, x, SONDE_ROLE_MLP_NORM, "mlp_norm", "mlp_norm.scale");
    if (layer >= m->dense_layers) return moe_feed(r, &m->moe, layer, x, n);
    x = sonde_add(r, x, part_gated_mlp(r, layer, n, m->moe.act, &m->dims, false));
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

void deepseek_write(sonde_recipe *r, const deepseek_model *m)
{
    sonde_buf x = sonde_embed(r, SONDE_ROLE_TOKEN_EMBED, m->dims.hidden);
    sonde_hook(r, SONDE_GLOBAL, "embed", x, 0);
    for (int64_t layer = 0; layer < m->dims.n_layers; layer++) x = block(r, m, layer, x);
    sonde_buf n = outer_norm(r, m, SONDE_GLOBAL, x, SONDE_ROLE_FINAL_NORM, "final_norm",
                             "final_norm.scale");
    sonde_role head = m->tied ? SONDE_ROLE_TOKEN_EMBED : SONDE_ROLE_LM_HEAD;
    sonde_hook(r, SONDE_GLOBAL, "logits", sonde_logits(r, n, head, SONDE_ROLE_NONE, m->dims.vocab), 0);
}
