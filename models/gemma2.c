/*
 * gemma2.c - Gemma team 2024, "Gemma 2: Improving Open Language Models at a Practical Size".
 *
 *   x = embed(token) sqrt(H)
 *   s = c tanh(q k qpas^-1/2 / c)                  qpas: query_pre_attn_scalar; even layers slide
 *   x = x + rms(softmax(s) v Wo) (1 + w)           every norm multiplies by 1 + w
 *   x = x + rms((gelu(n Wg) * n Wu) Wd) (1 + w)    n = rms(x) (1 + w); tanh form
 *   logits = c' tanh(n W / c')
 */
#include "gemma_weights.h"
#include "llama_block.h"

#include <math.h>

/* Absent: the default; null: none. */
static double cap(sonde_recipe *r, const char *key, double fallback)
{
    double value = sonde_get_float(r, key, sonde_is_null(r, key) ? 0.0 : fallback);
    if (value < 0.0) sonde_refuse(r, "%s %g", key, value);
    return value;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const llama_defaults defaults = {
        .layers = 26, .hidden = 2304, .heads = 8, .kv_heads = 4, .head_dim = 256, .ffn = 9216,
        .vocab = 256000, .max_positions = 8192, .eps = 1e-6, .theta = 10000.0, .tied = true,
        .act_key = "hidden_activation", .act = "gelu_pytorch_tanh"};
    static const char *const neutral[] = {"hidden_act", "cache_implementation", "sliding_window_size",
                                          NULL};
    llama_model m = {.post_norms = true};
    llama_read(r, &m, &defaults);
    llama_absent(r, &m);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", false);
    m.embed_scale = sqrt((double)m.dims.hidden);
    m.score_scale = 1.0 / sqrt(sonde_get_float(r, "query_pre_attn_scalar", 256.0));
    m.score_cap = cap(r, "attn_logit_softcapping", 50.0);
    m.logit_cap = cap(r, "final_logit_softcapping", 30.0);
    if (!(m.score_scale > 0.0 && isfinite(m.score_scale))) sonde_refuse(r, "query_pre_attn_scalar");
    int64_t window = part_needed_window(r, 4096);
    sonde_ignore_keys(r, neutral);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++)
        x = llama_block(r, &m, layer, x, llama_window(r, layer, layer % 2 == 0, window));
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"gemma2", NULL};
static const char *const archs[] = {"gemma2", NULL};

const sonde_family sonde_family_gemma2 = {
    .name = "gemma2", .title = "Gemma 2", .model_types = model_types, .gguf_archs = archs,
    .weights = gemma_weights, .ignored_weights = gemma_ignored_weights, .describe = describe,
};
