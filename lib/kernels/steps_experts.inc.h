/*
 * steps_experts.inc.h - the choice of experts and the sum over them, one row at a time: the order is
 * written down at sonde_route_args and sonde_combine_args. Included once per level, behind
 * steps_rows.inc.h.
 */
#include "steps.h"
#include "vec16.h"

/* ---- scores ----------------------------------------------------------------------------------------- */

static void softmax_row(float *x, int64_t n)
{
    float top = largest_of(x, n);
    for (int64_t i = 0; i < n; i++) x[i] = sonde_exp_f32(x[i] - top);
    float inverse = 1.0f / sum_of(x, n);
    for (int64_t i = 0; i < n; i++) x[i] = x[i] * inverse;
}

static void route_scores(const sonde_route_spec *spec, const float *logits, float *scores)
{
    int64_t n = spec->n_experts;
    for (int64_t i = 0; i < n; i++)
        scores[i] = spec->score == SONDE_ROUTE_SIGMOID ? sonde_sigmoid_f32(logits[i]) : logits[i];
    if (spec->score == SONDE_ROUTE_SOFTMAX) softmax_row(scores, n);
}

/* ---- the choice ------------------------------------------------------------------------------------- */

/* The largest of those that are left, or -1; what is not comparable stays where it is. */
static int64_t route_best(const float *value, const bool *left, int64_t n)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (left[i] && (best < 0 || value[i] > value[best])) best = i;
    return best;
}

static float route_group_score(sonde_group_score kind, const float *value, int64_t n)
{
    float first = value[0], second = -HUGE_VALF;
    for (int64_t i = 1; i < n; i++) {
        if (value[i] > first) {
            second = first;
            first = value[i];
        } else if (value[i] > second) {
            second = value[i];
        }
    }
    return kind == SONDE_GROUP_TOP_TWO && n > 1 ? first + second : first;
}

/* Leaves the experts of the groups kept. */
static void route_groups(const sonde_route_spec *spec, const float *value, bool *left)
{
    int64_t size = spec->n_experts / spec->n_groups;
    for (int64_t i = 0; i < spec->n_experts; i++) left[i] = false;
    for (int64_t kept = 0; kept < spec->kept_groups; kept++) {
        int64_t best = -1;
        float most = 0.0f;
        for (int64_t g = 0; g < spec->n_groups; g++) {
            float score = route_group_score(spec->group_score, value + g * size, size);
            if (left[g * size] || (best >= 0 && !(score > most))) continue;
            best = g;
            most = score;
        }
        for (int64_t i = 0; i < size; i++) left[best * size + i] = true;
    }
}

static void route_choose(const sonde_route_spec *spec, const float *value, bool *left, int32_t *ids)
{
    if (spec->n_groups > 1) route_groups(spec, value, left);
    else
        for (int64_t i = 0; i < spec->n_experts; i++) left[i] = true;
    for (int64_t j = 0; j < spec->n_chosen; j++) {
        int64_t best = route_best(value, left, spec->n_experts);
        ids[j] = (int32_t)best;
        left[best] = false;
    }
}

/* ---- weights ---------------------------------------------------------------------------------------- */

static void route_weights(const sonde_route_spec *spec, const float *logits, const float *scores,
                          const int32_t *ids, float *weights)
{
    bool score = spec->weight == SONDE_ROUTE_WEIGHT_SCORE;
    for (int64_t j = 0; j < spec->n_chosen; j++) {
        weights[j] = score ? scores[ids[j]] : logits[ids[j]];
        if (spec->weight == SONDE_ROUTE_WEIGHT_SIGMOID) weights[j] = sonde_sigmoid_f32(weights[j]);
    }
    if (spec->weight == SONDE_ROUTE_WEIGHT_SOFTMAX) softmax_row(weights, spec->n_chosen);
}

/* By falling weight, equal ones by rising id. */
static void route_sort(int32_t *ids, float *weights, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = i; j > 0; j--) {
            bool before = weights[j] > weights[j - 1] ||
                          (weights[j] == weights[j - 1] && ids[j] < ids[j - 1]);
            if (!before) break;
            int32_t id = ids[j];
            float weight = weights[j];
            ids[j] = ids[j - 1];
            weights[j] = weights[j - 1];
            ids[j - 1] = id;
            weights[j - 1] = weight;
        }
}

static void route_scale(const sonde_route_spec *spec, float *weights)
{
    float sum = sum_of(weights, spec->n_chosen) + (float)spec->epsilon;
    float scaling = (float)spec->scaling;
    for (int64_t j = 0; j < spec->n_chosen; j++) {
        if (spec->renormalise) weights[j] = weights[j] / sum;
        weights[j] = weights[j] * scaling;
    }
}

/* Scratch: scores, values that are compared, experts that are left. */
static void route(const sonde_route_args *a, int64_t begin, int64_t end, void *scratch)
{
    const sonde_route_spec *spec = a->spec;
    const float *correction = a->correction;
    float *scores = scratch, *value = scores + spec->n_experts;
    bool *left = (bool *)(value + spec->n_experts);
    for (int64_t m = begin; m < end; m++) {
        const float *logits = (const float *)a->logits + m * a->logits_stride;
        float *weights = (float *)a->weights + m * a->weights_stride;
        int32_t *ids = (int32_t *)(void *)((float *)a->ids + m * a->ids_stride);
        route_scores(spec, logits, scores);
        for (int64_t i = 0; i < spec->n_experts; i++)
            value[i] = correction ? scores[i] + correction[i] : scores[i];
        route_choose(spec, value, left, ids);
        route_weights(spec, logits, scores, ids, weights);
        route_sort(ids, weights, spec->n_chosen);
        route_scale(spec, weights);
    }
}

/* ---- the sum ---------------------------------------------------------------------------------------- */

static void combine(const sonde_combine_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        const float *x = (const float *)a->x + m * a->x_stride;
        const float *weights =
            a->weights ? (const float *)a->weights + m * a->weights_stride : NULL;
        const float *shared = a->shared ? (const float *)a->shared + m * a->shared_stride : NULL;
        float *y = (float *)a->y + m * a->y_stride;
        for (int64_t i = 0; i < a->width; i++) y[i] = 0.0f;
        for (int64_t j = 0; j < a->slots; j++, x += a->width) {
            if (weights)
                for (int64_t i = 0; i < a->width; i++) y[i] = fmaf(weights[j], x[i], y[i]);
            else
                for (int64_t i = 0; i < a->width; i++) y[i] = y[i] + x[i];
        }
        for (int64_t i = 0; shared && i < a->width; i++) y[i] = y[i] + shared[i];
    }
}
