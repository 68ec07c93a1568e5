/* parts.c - steps with their hooks as most decoders have them. */
#include "parts.h"

const char *const part_ignored_weights[] = {"*.rotary_emb.inv_freq", NULL};

int64_t part_window(sonde_recipe *r, int64_t fallback)
{
    if (sonde_is_null(r, "sliding_window")) return 0;
    return sonde_get_int(r, "sliding_window", fallback, fallback > 0, INT32_MAX);
}

int64_t part_needed_window(sonde_recipe *r, int64_t fallback)
{
    if (sonde_is_null(r, "sliding_window")) sonde_refuse(r, "sliding_window null where layers slide");
    return part_window(r, fallback);
}

sonde_buf part_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight, sonde_role bias,
                      int64_t width, const char *name, int64_t n_heads)
{
    sonde_buf out = sonde_linear(r, layer, x, weight, bias, width);
    sonde_hook(r, layer, name, out, n_heads);
    return out;
}

sonde_buf part_attend(sonde_recipe *r, int64_t layer, sonde_buf q, sonde_buf k, sonde_buf v,
                      const sonde_attend_spec *spec, sonde_role out_bias, int64_t hidden)
{
    sonde_cache(r, layer, k, v);
    sonde_attended a = sonde_attend(r, layer, q, spec);
    sonde_hook(r, layer, "attn.scores", a.scores, spec->n_heads);
    sonde_hook(r, layer, "attn.pattern", a.pattern, spec->n_heads);
    sonde_hook(r, layer, "attn.z", a.z, spec->n_heads);
    return part_linear(r, layer, a.z, SONDE_ROLE_ATTN_OUT, out_bias, hidden, "attn.out", 0);
}

sonde_buf part_gated_mlp(sonde_recipe *r, int64_t layer, sonde_buf n, sonde_act act,
                         const sonde_dims *dims, bool has_bias)
{
    sonde_buf gate = part_linear(r, layer, n, SONDE_ROLE_MLP_GATE,
                                 part_if(has_bias, SONDE_ROLE_MLP_GATE_BIAS), dims->ffn, "mlp.pre", 0);
    sonde_buf up = part_linear(r, layer, n, SONDE_ROLE_MLP_UP,
                               part_if(has_bias, SONDE_ROLE_MLP_UP_BIAS), dims->ffn, "mlp.up", 0);
    sonde_buf post = sonde_glu(r, act, gate, up);
    sonde_hook(r, layer, "mlp.post", post, 0);
    return part_linear(r, layer, post, SONDE_ROLE_MLP_DOWN,
                       part_if(has_bias, SONDE_ROLE_MLP_DOWN_BIAS), dims->hidden, "mlp.out", 0);
}
