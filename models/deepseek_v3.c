/*
 * deepseek_v3.c - DeepSeek-V3, R1 and Kimi K2: sigmoid scores; a correction is added to them for the
 * choice alone, of experts from the groups whose two best sum to the most; weights are the scores of
 * the chosen over their sum. Rotated parts are laid out as Hugging Face does: even dims, then odd
 * ones (`rope_interleave` false: the halves are pairs already).
 */
#include "deepseek_block.h"

#include <string.h>

static void read_router(sonde_recipe *r, sonde_route_spec *s)
{
    const char *method = sonde_get_text(r, "topk_method", "noaux_tc");
    const char *scoring = sonde_get_text(r, "scoring_func", "sigmoid");
    if (strcmp(method, "noaux_tc") != 0) sonde_refuse(r, "topk_method '%s'", method);
    if (strcmp(scoring, "sigmoid") != 0) sonde_refuse(r, "scoring_func '%s'", scoring);
    s->score = SONDE_ROUTE_SIGMOID;
    s->correction = SONDE_ROLE_ROUTER_CORRECTION;
    s->n_groups = sonde_get_int(r, "n_group", sonde_from_gguf(r) ? 1 : 8, 1, s->n_experts);
    s->kept_groups = sonde_get_int(r, "topk_group", s->n_groups < 4 ? s->n_groups : 4, 1, s->n_groups);
    if (s->n_groups > 1 && (s->n_experts % s->n_groups != 0 || s->n_experts < 2 * s->n_groups))
        sonde_refuse(r, "%lld experts in %lld groups", (long long)s->n_experts,
                     (long long)s->n_groups);
    s->group_score = SONDE_GROUP_TOP_TWO;
    s->weight = SONDE_ROUTE_WEIGHT_SCORE;
    s->renormalise = sonde_get_bool(r, "norm_topk_prob", true);
    s->epsilon = 1e-20;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    deepseek_model m = {0};
    bool interleaved = sonde_get_bool(r, "rope_interleave", true);
    deepseek_read(r, &m, interleaved ? SONDE_ROPE_DEINTERLEAVE : SONDE_ROPE_HALF);
    read_router(r, &m.moe.route);
    deepseek_write(r, &m);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"deepseek_v3", "kimi_k2", NULL};
static const char *const archs[] = {"deepseek2", NULL};

const sonde_family sonde_family_deepseek_v3 = {
    .name = "deepseek_v3", .title = "DeepSeek-V3, R1, Kimi K2", .model_types = model_types,
    .gguf_archs = archs, .weights = deepseek_weights, .gguf_weights = deepseek_gguf_weights,
    .ignored_weights = part_ignored_weights, .describe = describe,
};
