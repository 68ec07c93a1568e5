/* plain_read.c - sizes, rope and the whole of a family whose blocks are all alike. */
#include "plain_read.h"

#include <math.h>

void plain_read_sizes(sonde_recipe *r, plain_model *m, const sonde_dims *defaults, bool tied)
{
    const int64_t most = 1 << 24;
    sonde_dims *d = &m->dims;
    d->n_layers = sonde_get_int(r, "num_hidden_layers", defaults->n_layers, 1, 4096);
    d->hidden = sonde_get_int(r, "hidden_size", defaults->hidden, 1, most);
    d->n_heads = sonde_get_int(r, "num_attention_heads", defaults->n_heads, 1, most);
    int64_t kv_heads = defaults->n_kv_heads ? defaults->n_kv_heads : d->n_heads;
    d->n_kv_heads = sonde_get_int(r, "num_key_value_heads", kv_heads, 1, most);
    d->head_dim = d->value_dim = d->hidden / d->n_heads;
    d->ffn = sonde_get_int(r, "intermediate_size", defaults->ffn ? defaults->ffn : 4 * d->hidden, 1,
                           1 << 28);
    d->vocab = sonde_get_int(r, "vocab_size", defaults->vocab, 1, most);
    d->max_positions =
        sonde_get_int(r, "max_position_embeddings", defaults->max_positions, 1, INT32_MAX);
    if (d->hidden % d->n_heads != 0)
        sonde_refuse(r, "hidden size %lld with %lld heads", (long long)d->hidden,
                     (long long)d->n_heads);
    sonde_set_dims(r, d);
    m->tied = sonde_get_bool(r, "tie_word_embeddings", tied);
    m->scale = 1.0 / sqrt((double)d->head_dim);
    m->rope = PLAIN_NO_ROPE;
}

void plain_refuse_groups(sonde_recipe *r, const plain_model *m)
{
    if (m->dims.n_kv_heads == m->dims.n_heads) return;
    sonde_refuse(r, "grouped queries: num_key_value_heads %lld with %lld heads",
                 (long long)m->dims.n_kv_heads, (long long)m->dims.n_heads);
}

void plain_refuse_widths(sonde_recipe *r, const plain_model *m)
{
    int64_t width = 4 * m->dims.hidden;
    if (m->dims.ffn != width) sonde_refuse(r, "an MLP that is not %lld wide", (long long)width);
}

void plain_read_rope(sonde_recipe *r, plain_model *m, int64_t rotary_dims, double theta,
                     sonde_rope_pairing pairing)
{
    sonde_rope_spec rope = sonde_get_rope(r, NULL, rotary_dims, theta);
    rope.pairing = pairing;
    m->rope = sonde_rope_table(r, &rope);
}

int64_t plain_rotary_dims(sonde_recipe *r, const plain_model *m, double fallback)
{
    double factor = sonde_get_float(r, "rope_parameters.partial_rotary_factor",
                                    sonde_from_gguf(r) ? 1.0 : fallback);
    if (!(factor > 0.0 && factor <= 1.0)) sonde_refuse(r, "partial_rotary_factor %g", factor);
    return factor > 0.0 && factor <= 1.0 ? (int64_t)((double)m->dims.head_dim * factor) : 2;
}

sonde_status plain_describe(sonde_recipe *r, const plain_model *m, sonde_error *err)
{
    plain_absent_points(r, m);
    sonde_buf x = plain_begin(r, m);
    for (int64_t layer = 0; layer < m->dims.n_layers; layer++) x = plain_block(r, m, layer, x);
    plain_end(r, m, x);
    return sonde_recipe_status(r, err);
}
