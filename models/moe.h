/*
 * moe.h - a mixture of experts in place of the MLP, as Mixtral and its kin have it: gated experts,
 * each weighed at its output or, as in Llama 4, at its input, and perhaps one that every row shares.
 */
#ifndef SONDE_MODELS_MOE_H
#define SONDE_MODELS_MOE_H

#include "parts.h"

typedef struct moe_model {
    sonde_route_spec route;
    int64_t hidden, width; /* of the model; inside an expert */
    int64_t shared_width;  /* inside the expert that every row takes too; 0: none */
    bool weigh_input;      /* weights scale what enters an expert, not what it makes */
    sonde_act act;
} moe_model;

/* Reads the number of experts and how many each token takes; `route` is a softmax over all experts
 * with the chosen ones' values as weights. */
void moe_read(sonde_recipe *r, moe_model *m, int64_t default_experts, int64_t default_chosen);
/* n [rows, hidden] -> mlp.out [rows, hidden]. */
sonde_buf moe_mlp(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf n);
/* The second half of a block: x + experts(n), n being x normed; hooks up to resid_post. */
sonde_buf moe_feed(sonde_recipe *r, const moe_model *m, int64_t layer, sonde_buf x, sonde_buf n);
/* Router logits with their hook, and the choice with its two. bias SONDE_ROLE_NONE: none. */
sonde_routed moe_route(sonde_recipe *r, const sonde_route_spec *spec, int64_t layer, sonde_buf n,
                       sonde_role bias);

/* Names of a Llama-like block with experts, and with an MLP on some layers: Qwen3, OLMoE. */
extern const sonde_weight_name moe_weights[];

#endif
