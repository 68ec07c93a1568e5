/*
 * gemma3.c - Gemma team 2025, "Gemma 3 Technical Report"; the text model.
 *
 *   x = embed(token) sqrt(H)
 *   q, k = rms by head (1 + w)                     before rope
 *   q, k = rope(q, k)                              sliding layers with a base of their own, unscaled
 *   x = x + rms(softmax(q k qpas^-1/2) v Wo) (1 + w)
 *   x = x + rms((gelu(n Wg) * n Wu) Wd) (1 + w)    n = rms(x) (1 + w); tanh form
 *
 * Every `sliding_window_pattern`-th layer is full, or those that `layer_types` names. The multimodal
 * wrapper (`gemma3`) says only what differs from the defaults below.
 */
#include "gemma_weights.h"
#include "llama_block.h"

#include <math.h>

static void read_model(sonde_recipe *r, llama_model *m)
{
    static const llama_defaults defaults = {
        .layers = 26, .hidden = 2304, .heads = 8, .kv_heads = 4, .head_dim = 256, .ffn = 9216,
        .vocab = 262208, .max_positions = 131072, .eps = 1e-6, .tied = true,
        .act_key = "hidden_activation", .act = "gelu_pytorch_tanh"};
    static const char *const neutral[] = {"cache_implementation", "_sliding_window_pattern", NULL};
    m->qk_norm = LLAMA_QK_BY_HEAD;
    m->post_norms = true;
    llama_read_dims(r, m, &defaults);
    llama_absent(r, m);
    m->qkv_bias = m->out_bias = sonde_get_bool(r, "attention_bias", false);
    m->embed_scale = sqrt((double)m->dims.hidden);
    m->score_scale = 1.0 / sqrt(sonde_get_float(r, "query_pre_attn_scalar", 256.0));
    m->logit_cap = sonde_get_float(r, "final_logit_softcapping", 0.0);
    if (!(m->score_scale > 0.0 && isfinite(m->score_scale))) sonde_refuse(r, "query_pre_attn_scalar");
    if (m->logit_cap < 0.0) sonde_refuse(r, "final_logit_softcapping %g", m->logit_cap);
    sonde_ignore_keys(r, neutral);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    llama_model m = {0};
    read_model(r, &m);
    sonde_rope_spec full = sonde_get_rope(r, "full_attention", m.dims.head_dim, 1000000.0);
    sonde_rope_spec local = sonde_get_rope(r, "sliding_attention", m.dims.head_dim, 10000.0);
    int32_t full_table = sonde_rope_table(r, &full), local_table = sonde_rope_table(r, &local);
    int64_t window = part_needed_window(r, 4096);
    int64_t pattern = sonde_get_int(r, "sliding_window_pattern", 6, 1, INT32_MAX);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        int64_t reach = llama_window(r, layer, (layer + 1) % pattern != 0, window);
        m.rope = reach ? local_table : full_table;
        x = llama_block(r, &m, layer, x, reach);
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"gemma3_text", "gemma3", NULL};
static const char *const archs[] = {"gemma3", NULL};

const sonde_family sonde_family_gemma3 = {
    .name = "gemma3", .title = "Gemma 3 (text)", .model_types = model_types, .gguf_archs = archs,
    .weights = gemma_weights, .ignored_weights = gemma_ignored_weights, .describe = describe,
};
