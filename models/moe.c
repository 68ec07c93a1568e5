/*
 * moe.c - Shazeer et al. 2017, "Outrageously Large Neural Networks", as Jiang et al. 2024, "Mixtral of
 * Experts", write it.
 *
 *   l = n Wr                         [rows, E]      router logits
 *   e, w = top-k of softmax(l)       [rows, k] x 2  perhaps w / sum w
 *   h = act(n Wg[e]) * n Wu[e]       [rows, k, I]   for each chosen expert
 *   y = sum_k w h Wd[e]              [rows, H]      + shared(n)
 *
 * or, weighed at the input, w n in place of n in the experts and no w in the sum.
 */
#include "moe.h"

#include "llama_block.h"

void moe_read(sonde_recipe *r, moe_model *m, int64_t default_experts, int64_t default_chosen)
{
    m->route = (sonde_route_spec){.score = SONDE_ROUTE_SOFTMAX, .correction = SONDE_ROLE_NONE,
                                  .weight = SONDE_ROUTE_WEIGHT_SCORE, .scaling = 1.0};
    m->route.n_experts = sonde_get_int(r, "num_local_experts", default_experts, 1, 65536);
    m->route.n_chosen = sonde_get_int(r, "num_experts_per_tok", default_chosen, 1, 1024);
}

sonde_routed moe_route(sonde_recipe *r, const sonde_route_spec *spec, int64_t layer, sonde_buf n,
                       sonde_role bias)
{
    sonde_buf logits = sonde_linear(r, layer, n, SONDE_ROLE_ROUTER, bias, spec->n_experts);
    sonde_hook(r, layer, "moe.router_logits", logits, 0);
    sonde_routed chosen = sonde_route(r, layer, logits, spec);
    sonde_hook(r, layer, "moe.expert_ids", chosen.ids, 0);
    sonde_hook(r, layer, "moe.expert_weights", chosen.weights, 0);
    return chosen;
}

/* What each chosen expert makes of x, [rows, k, H]. */
static sonde_buf run_experts(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf x,
                             sonde_buf ids)
{
    int64_t k = m->route.n_chosen;
    sonde_buf gate =
        sonde_experts(r, layer, x, ids, SONDE_ROLE_EXPERT_GATE, SONDE_ROLE_NONE, m->width);
    sonde_hook(r, layer, "moe.pre", gate, k);
    sonde_buf up = sonde_experts(r, layer, x, ids, SONDE_ROLE_EXPERT_UP, SONDE_ROLE_NONE, m->width);
    sonde_hook(r, layer, "moe.up", up, k);
    sonde_buf post = sonde_glu(r, m->act, gate, up);
    sonde_hook(r, layer, "moe.post", post, k);
    sonde_buf y =
        sonde_experts(r, layer, post, ids, SONDE_ROLE_EXPERT_DOWN, SONDE_ROLE_NONE, m->hidden);
    sonde_hook(r, layer, "moe.expert_out", y, k);
    return y;
}

static sonde_buf run_shared(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf n)
{
    if (m->shared_width == 0) return SONDE_NO_BUF;
    sonde_buf gate =
        sonde_linear(r, layer, n, SONDE_ROLE_SHARED_GATE, SONDE_ROLE_NONE, m->shared_width);
    sonde_buf up = sonde_linear(r, layer, n, SONDE_ROLE_SHARED_UP, SONDE_ROLE_NONE, m->shared_width);
    return part_linear(r, layer, sonde_glu(r, m->act, gate, up), SONDE_ROLE_SHARED_DOWN,
                       SONDE_ROLE_NONE, m->hidden, "moe.shared_out", 0);
}

sonde_buf moe_mlp(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf n)
{
    sonde_routed chosen = moe_route(r, &m->route, layer, n, SONDE_ROLE_NONE);
    sonde_buf x = m->weigh_input ? sonde_weigh(r, n, chosen.weights) : n;
    sonde_buf y = run_experts(r, m, layer, x, chosen.ids);
    sonde_buf weights = m->weigh_input ? SONDE_NO_BUF : chosen.weights;
    sonde_buf out = sonde_combine(r, y, weights, run_shared(r, m, layer, n));
    sonde_hook(r, layer, "mlp.out", out, 0);
    return out;
}

sonde_buf moe_feed(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf x, sonde_buf n)
{
    x = sonde_add(r, x, moe_mlp(r, m, layer, n));
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

const sonde_weight_name moe_weights[] = {
    LLAMA_NAMES_BUT_MLP
    NAMES_OF_GATED_MLP
    {SONDE_ROLE_ROUTER, NAMES_OF_LAYER "mlp.gate.weight", 0},
    {SONDE_ROLE_EXPERT_GATE, NAMES_OF_LAYER "mlp.experts.%d.gate_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_GATE, NAMES_OF_LAYER "mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_UP, NAMES_OF_LAYER "mlp.experts.%d.up_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_UP, NAMES_OF_LAYER "mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_DOWN, NAMES_OF_LAYER "mlp.experts.%d.down_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_DOWN, NAMES_OF_LAYER "mlp.experts.down_proj", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_NONE, NULL, 0},
};
