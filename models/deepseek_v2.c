/*
 * deepseek_v2.c - DeepSeek-V2 and V2-Lite: softmax over all experts, of which the most probable are
 * taken, from the groups with the most probable expert where `topk_method` is group_limited_greedy.
 * Weights are not renormalised, whatever `norm_topk_prob` says. The scale holds the square of yarn's
 * mscale, as in the authors' code; Hugging Face before July 2026 left it out.
 */
#include "deepseek_block.h"

#include <string.h>

static void read_router(sonde_recipe *r, sonde_route_spec *s)
{
    static const char *const without_effect[] = {"norm_topk_prob", NULL};
    const char *method = sonde_get_text(r, "topk_method", "greedy");
    const char *scoring = sonde_get_text(r, "scoring_func", "softmax");
    bool grouped = strcmp(method, "group_limited_greedy") == 0;
    if (!grouped && strcmp(method, "greedy") != 0) sonde_refuse(r, "topk_method '%s'", method);
    if (strcmp(scoring, "softmax") != 0) sonde_refuse(r, "scoring_func '%s'", scoring);
    int64_t groups = sonde_get_int(r, "n_group", 1, 1, s->n_experts);
    int64_t kept = sonde_get_int(r, "topk_group", 1, 1, groups);
    if (groups > 0 && s->n_experts % groups != 0)
        sonde_refuse(r, "%lld experts in %lld groups", (long long)s->n_experts, (long long)groups);
    s->score = SONDE_ROUTE_SOFTMAX;
    s->n_groups = grouped ? groups : 1;
    s->kept_groups = grouped ? kept : 1;
    s->group_score = SONDE_GROUP_MAX;
    s->weight = SONDE_ROUTE_WEIGHT_SCORE;
    sonde_ignore_keys(r, without_effect);
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    deepseek_model m = {0};
    deepseek_read(r, &m, SONDE_ROPE_INTERLEAVED);
    read_router(r, &m.moe.route);
    deepseek_write(r, &m);
    return sonde_recipe_status(r, err);
}

static const char *const model_types[] = {"deepseek_v2", NULL};
static const char *const archs[] = {"deepseek2", NULL};

const sonde_family sonde_family_deepseek_v2 = {
    .name = "deepseek_v2", .title = "DeepSeek-V2, V2-Lite", .model_types = model_types,
    .gguf_archs = archs, .weights = deepseek_weights, .gguf_weights = deepseek_gguf_weights,
    .ignored_weights = part_ignored_weights, .describe = describe,
};
