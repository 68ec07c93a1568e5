/*
 * llama4.c - Meta 2025, Llama 4 (text). Layers of two kinds:
 *
 *   rope layers   q, k = rope(q, k) by interleaved pairs, then q, k = rms(q, k) over each head without
 *                 weights (`use_qk_norm`); keys of the same chunk of positions are visible
 *   NoPE layers   no rope and no norm; q = q (log1p(floor((p + 1) / floor_scale)) attn_scale + 1); all
 *                 keys are visible
 *
 * The MLP of some layers is a mixture of experts whose scores weigh the input of the expert:
 *
 *   l = n Wr                         [rows, E]
 *   e, w = top-k of l                [rows, k] x 2  w = sigmoid(l[e])
 *   m = w n                          [rows, k, H]
 *   y = sum_k (act(m Wg[e]) m Wu[e]) Wd[e] + shared(n)
 */
#include "llama_block.h"
#include "moe.h"

#include <math.h>
#include <string.h>

typedef struct llama4_model {
    llama_model base;
    moe_model moe;
    int64_t chunk; /* 0: attention is full everywhere */
    bool qk_norm, temperature;
    double floor_scale, attn_scale;
} llama4_model;

/* ---- attention ------------------------------------------------------------------------------------- */

static bool has_rope(sonde_recipe *r, int64_t layer)
{
    int64_t interval = sonde_get_int(r, "no_rope_layer_interval", 4, 1, INT32_MAX);
    return sonde_get_list_int(r, "no_rope_layers", layer, (layer + 1) % interval != 0) != 0;
}

static bool is_chunked(sonde_recipe *r, int64_t layer, bool rope)
{
    const char *type = sonde_get_list_text(r, "layer_types", layer);
    if (!type) return rope;
    bool chunked = strcmp(type, "chunked_attention") == 0;
    if (!chunked && strcmp(type, "full_attention") != 0) sonde_refuse(r, "layer type '%s'", type);
    return chunked;
}

static sonde_buf project(sonde_recipe *r, const llama4_model *m, int64_t layer, sonde_buf n,
                         sonde_role weight, sonde_role bias, const char *name, int64_t n_heads)
{
    return part_linear(r, layer, n, weight, part_if(m->base.qkv_bias, bias),
                       n_heads * m->base.dims.head_dim, name, n_heads);
}

/* What a rope layer does to q or k. */
static sonde_buf turn(sonde_recipe *r, const llama4_model *m, int64_t layer, sonde_buf x,
                      int64_t n_heads)
{
    int64_t head_dim = m->base.dims.head_dim;
    x = sonde_rope(r, m->base.rope, x, n_heads, head_dim, 0);
    sonde_norm_spec spec = {.kind = SONDE_NORM_RMS, .weight = SONDE_ROLE_NONE, .bias = SONDE_ROLE_NONE,
                            .group = head_dim, .eps = m->base.eps};
    return m->qk_norm ? sonde_norm(r, layer, x, &spec) : x;
}

static sonde_buf attention(sonde_recipe *r, const llama4_model *m, int64_t layer, sonde_buf n)
{
    const sonde_dims *d = &m->base.dims;
    bool rope = has_rope(r, layer), chunked = is_chunked(r, layer, rope) && m->chunk > 0;
    sonde_buf q = project(r, m, layer, n, SONDE_ROLE_ATTN_Q, SONDE_ROLE_ATTN_Q_BIAS, "attn.q",
                          d->n_heads);
    sonde_buf k = project(r, m, layer, n, SONDE_ROLE_ATTN_K, SONDE_ROLE_ATTN_K_BIAS, "attn.k",
                          d->n_kv_heads);
    sonde_buf v = project(r, m, layer, n, SONDE_ROLE_ATTN_V, SONDE_ROLE_ATTN_V_BIAS, "attn.v",
                          d->n_kv_heads);
    if (rope) {
        q = turn(r, m, layer, q, d->n_heads);
        k = turn(r, m, layer, k, d->n_kv_heads);
    } else if (m->temperature) {
        q = sonde_scale_by_position(r, q, m->floor_scale, m->attn_scale);
    }
    sonde_hook(r, layer, "attn.q_rot", q, d->n_heads);
    sonde_hook(r, layer, "attn.k_rot", k, d->n_kv_heads);
    sonde_attend_spec spec = {.n_heads = d->n_heads, .n_kv_heads = d->n_kv_heads,
                              .head_dim = d->head_dim, .value_dim = d->value_dim,
                              .scale = 1.0 / sqrt((double)d->head_dim),
                              .mask = chunked ? SONDE_MASK_CHUNKED : SONDE_MASK_FULL,
                              .window = m->chunk, .sinks = SONDE_ROLE_NONE};
    return part_attend(r, layer, q, k, v, &spec, part_if(m->base.out_bias, SONDE_ROLE_ATTN_OUT_BIAS),
                       d->hidden);
}

/* ---- the MLP ----------------------------------------------------------------------------------------- */

static bool is_sparse(sonde_recipe *r, int64_t layer)
{
    int64_t step = sonde_get_int(r, "interleave_moe_layer_step", 1, 1, INT32_MAX);
    if (!sonde_has(r, "moe_layers")) return (layer + 1) % step == 0;
    int64_t n = sonde_list_length(r, "moe_layers");
    for (int64_t i = 0; i < n; i++)
        if (sonde_get_list_int(r, "moe_layers", i, -1) == layer) return true;
    return false;
}

/* ---- the whole --------------------------------------------------------------------------------------- */

static sonde_buf block(sonde_recipe *r, const llama4_model *m, int64_t layer, sonde_buf x)
{
    sonde_hook(r, layer, "resid_pre", x, 0);
    x = sonde_add(r, x, attention(r, m, layer, llama_attn_norm(r, &m->base, layer, x)));
    sonde_hook(r, layer, "resid_mid", x, 0);
    if (!is_sparse(r, layer)) return llama_feed(r, &m->base, layer, x);
    return moe_feed(r, &m->moe, layer, x, llama_mlp_norm(r, &m->base, layer, x));
}

static void read_rope(sonde_recipe *r, llama4_model *m)
{
    sonde_rope_spec rope = sonde_get_rope(r, NULL, m->base.dims.head_dim, 500000.0);
    rope.pairing = SONDE_ROPE_INTERLEAVED;
    if (sonde_from_gguf(r) && sonde_has_weight(r, SONDE_ROLE_ROPE_FREQS, SONDE_GLOBAL))
        rope.freq_divisors = SONDE_ROLE_ROPE_FREQS;
    m->base.rope = sonde_rope_table(r, &rope);
}

static void read_model(sonde_recipe *r, llama4_model *m)
{
    static const char *const neutral[] = {"for_llm_compressor", "cache_implementation", NULL};
    sonde_ignore_keys(r, neutral);
    static const llama_defaults defaults = {.kv_heads = 8, .head_dim = 128, .max_positions = 131072,
                                            .eps = 1e-5, .theta = 500000.0};
    llama_read_dims(r, &m->base, &defaults);
    llama_absent(r, &m->base);
    read_rope(r, m);
    m->base.qkv_bias = m->base.out_bias = sonde_get_bool(r, "attention_bias", false);
    moe_read(r, &m->moe, 16, 1);
    m->moe.route.score = SONDE_ROUTE_LOGITS;
    m->moe.route.weight = SONDE_ROUTE_WEIGHT_SIGMOID;
    m->moe.hidden = m->base.dims.hidden;
    m->moe.width = m->moe.shared_width = m->base.dims.ffn;
    m->moe.weigh_input = true;
    m->moe.act = m->base.act;
    m->base.dims.ffn = sonde_get_int(r, "intermediate_size_mlp", 16384, 1, 1 << 24);
    m->chunk = sonde_get_int(r, "attention_chunk_size", 8192, 1, INT32_MAX);
    if (sonde_is_null(r, "attention_chunk_size")) m->chunk = 0;
    m->qk_norm = sonde_get_bool(r, "use_qk_norm", true);
    m->temperature = sonde_get_bool(r, "attn_temperature_tuning", true);
    m->floor_scale = sonde_get_float(r, "floor_scale", 8192.0);
    m->attn_scale = sonde_get_float(r, "attn_scale", 0.1);
    if (!(m->floor_scale > 0.0)) sonde_refuse(r, "floor_scale %g", m->floor_scale);
    sonde_weight_rows(r, SONDE_ROLE_EXPERT_UP, m->moe.width, 0, 0);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama4_model m = {0};
    read_model(r, &m);
    sonde_buf x = llama_begin(r, &m.base);
    for (int64_t layer = 0; layer < m.base.dims.n_layers; layer++) x = block(r, &m, layer, x);
    llama_end(r, &m.base, x);
    return sonde_recipe_status(r, err);
}

#define FEED "model.layers.%d.feed_forward."
static const sonde_weight_name weights[] = {
    LLAMA_NAMES_BUT_MLP
    {SONDE_ROLE_MLP_GATE, FEED "gate_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, FEED "up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, FEED "down_proj.weight", 0},
    {SONDE_ROLE_ROUTER, FEED "router.weight", 0},
    {SONDE_ROLE_EXPERT_GATE, FEED "experts.gate_up_proj", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_EXPERT_UP, FEED "experts.gate_up_proj", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_EXPERT_DOWN, FEED "experts.down_proj", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_SHARED_GATE, FEED "shared_expert.gate_proj.weight", 0},
    {SONDE_ROLE_SHARED_UP, FEED "shared_expert.up_proj.weight", 0},
    {SONDE_ROLE_SHARED_DOWN, FEED "shared_expert.down_proj.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};
static const char *const ignored[] = {"*.rotary_emb.inv_freq", "*vision_model*",
                                      "*multi_modal_projector*", NULL};

static const char *const model_types[] = {"llama4_text", "llama4", NULL};
static const char *const archs[] = {"llama4", NULL};

const sonde_family sonde_family_llama4 = {
    .name = "llama4", .title = "Llama 4 (text)", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .ignored_weights = ignored, .describe = describe,
};
