/*
 * moe.c - Shazeer et al. 2017, "Outrageously Large Neural Networks", as Jiang et al. 2024, "Mixtral of
 * Experts", write it.
 *
 *   l = n Wr                         [rows, E]      router logits
 *   e, w = top-k of softmax(l)       [rows, k] x 2  perhaps w / sum w
 *   h = act(n Wg[e]) * n Wu[e]       [rows, k, I]   for each chosen expert
 *   y = sum_k w h Wd[e]              [rows, H]      + shared
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

sonde_buf moe_mlp(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf n, sonde_buf shared)
{
    int64_t k = m->route.n_chosen;
    sonde_routed chosen = moe_route(r, &m->route, layer, n, SONDE_ROLE_NONE);
    sonde_buf gate = sonde_experts(r, layer, n, chosen.ids, SONDE_ROLE_EXPERT_GATE, SONDE_ROLE_NONE,
                                   m->width);
    sonde_hook(r, layer, "moe.pre", gate, k);
    sonde_buf up = sonde_experts(r, layer, n, chosen.ids, SONDE_ROLE_EXPERT_UP, SONDE_ROLE_NONE,
                                 m->width);
    sonde_hook(r, layer, "moe.up", up, k);
    sonde_buf post = sonde_glu(r, m->act, gate, up);
    sonde_hook(r, layer, "moe.post", post, k);
    sonde_buf y = sonde_experts(r, layer, post, chosen.ids, SONDE_ROLE_EXPERT_DOWN, SONDE_ROLE_NONE,
                                m->hidden);
    sonde_hook(r, layer, "moe.expert_out", y, k);
    sonde_buf out = sonde_combine(r, y, chosen.weights, shared);
    sonde_hook(r, layer, "mlp.out", out, 0);
    return out;
}

sonde_buf moe_feed(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf x, sonde_buf n)
{
    x = sonde_add(r, x, moe_mlp(r, m, layer, n, SONDE_NO_BUF));
    sonde_hook(r, layer, "resid_post", x, 0);
    return x;
}

#define LAYER "model.layers.%d."
const sonde_weight_name moe_weights[] = {
    LLAMA_NAMES_BUT_MLP
    {SONDE_ROLE_MLP_GATE, LAYER "mlp.gate_proj.weight", 0},
    {SONDE_ROLE_MLP_UP, LAYER "mlp.up_proj.weight", 0},
    {SONDE_ROLE_MLP_DOWN, LAYER "mlp.down_proj.weight", 0},
    {SONDE_ROLE_ROUTER, LAYER "mlp.gate.weight", 0},
    {SONDE_ROLE_EXPERT_GATE, LAYER "mlp.experts.%d.gate_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_GATE, LAYER "mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_UP, LAYER "mlp.experts.%d.up_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_UP, LAYER "mlp.experts.gate_up_proj", 0},
    {SONDE_ROLE_EXPERT_DOWN, LAYER "mlp.experts.%d.down_proj.weight", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_EXPERT_DOWN, LAYER "mlp.experts.down_proj", SONDE_WEIGHT_WHOLE},
    {SONDE_ROLE_NONE, NULL, 0},
};
