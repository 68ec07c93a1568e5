/* oracle_experts.c - the choice of experts and the sum over them in double; see oracle.c. */
#include "kernels/linear.h"

#include <math.h>

static void softmax(double *x, int64_t n)
{
    double top = x[0], sum = 0.0;
    for (int64_t i = 1; i < n; i++) top = fmax(top, x[i]);
    for (int64_t i = 0; i < n; i++) sum += x[i] = exp(x[i] - top);
    for (int64_t i = 0; i < n; i++) x[i] /= sum;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double group_score(const sonde_route_spec *spec, const double *value, int64_t size)
{
    double first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < size; i++) {
        second = fmax(second, fmin(first, value[i]));
        first = fmax(first, value[i]);
    }
    return spec->group_score == SONDE_GROUP_TOP_TWO && size > 1 ? first + second : first;
}

/* A group is kept when fewer than `kept_groups` are better, or equal and before it. */
static bool is_kept(const sonde_route_spec *spec, const double *value, int64_t group)
{
    int64_t size = spec->n_experts / SONDE_MAX(spec->n_groups, 1), better = 0;
    if (spec->n_groups <= 1) return true;
    double own = group_score(spec, value + group * size, size);
    for (int64_t g = 0; g < spec->n_groups; g++) {
        double other = group_score(spec, value + g * size, size);
        better += other > own || (other == own && g < group);
    }
    return better < spec->kept_groups;
}

/* Is `id` among the first `n`? */
static bool is_among(const int32_t *ids, int64_t n, int64_t id)
{
    for (int64_t j = 0; j < n; j++)
        if (ids[j] == id) return true;
    return false;
}

static void choose(const sonde_route_spec *spec, const double *value, int32_t *ids)
{
    int64_t size = spec->n_experts / SONDE_MAX(spec->n_groups, 1);
    for (int64_t j = 0; j < spec->n_chosen; j++) {
        int64_t best = -1;
        for (int64_t i = 0; i < spec->n_experts; i++) {
            if (is_among(ids, j, i) || !is_kept(spec, value, i / size)) continue;
            if (best < 0 || value[i] > value[best]) best = i;
        }
        ids[j] = (int32_t)SONDE_MAX(best, 0);
    }
}

static void sort(int32_t *ids, double *weights, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) {
            if (weights[i] > weights[j] || (weights[i] == weights[j] && ids[i] < ids[j])) continue;
            double weight = weights[i];
            int32_t id = ids[i];
            weights[i] = weights[j];
            ids[i] = ids[j];
            weights[j] = weight;
            ids[j] = id;
        }
}

static void weigh(const sonde_route_spec *spec, const double *logits, const double *scores,
                  int32_t *ids, double *weights)
{
    double sum = 0.0;
    for (int64_t j = 0; j < spec->n_chosen; j++) {
        double logit = logits[ids[j]];
        weights[j] = spec->weight == SONDE_ROUTE_WEIGHT_SCORE     ? scores[ids[j]]
                     : spec->weight == SONDE_ROUTE_WEIGHT_SIGMOID ? sigmoid(logit)
                                                                  : logit;
    }
    if (spec->weight == SONDE_ROUTE_WEIGHT_SOFTMAX) softmax(weights, spec->n_chosen);
    sort(ids, weights, spec->n_chosen);
    for (int64_t j = 0; j < spec->n_chosen; j++) sum += weights[j];
    for (int64_t j = 0; j < spec->n_chosen; j++)
        weights[j] *= spec->scaling / (spec->renormalise ? sum + spec->epsilon : 1.0);
}

void sonde_oracle_route(const sonde_route_args *a, int64_t begin, int64_t end, void *scratch)
{
    const sonde_route_spec *spec = a->spec;
    const double *correction = a->correction;
    double *scores = scratch, *value = scores + spec->n_experts;
    for (int64_t m = begin; m < end; m++) {
        const double *logits = (const double *)a->logits + m * a->logits_stride;
        int32_t *ids = (int32_t *)(void *)((double *)a->ids + m * a->ids_stride);
        for (int64_t i = 0; i < spec->n_experts; i++)
            scores[i] = spec->score == SONDE_ROUTE_SIGMOID ? sigmoid(logits[i]) : logits[i];
        if (spec->score == SONDE_ROUTE_SOFTMAX) softmax(scores, spec->n_experts);
        for (int64_t i = 0; i < spec->n_experts; i++)
            value[i] = scores[i] + (correction ? correction[i] : 0.0);
        choose(spec, value, ids);
        weigh(spec, logits, scores, ids, (double *)a->weights + m * a->weights_stride);
    }
}

void sonde_oracle_combine(const sonde_combine_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        const double *x = (const double *)a->x + m * a->x_stride;
        const double *weights =
            a->weights ? (const double *)a->weights + m * a->weights_stride : NULL;
        const double *shared = a->shared ? (const double *)a->shared + m * a->shared_stride : NULL;
        double *y = (double *)a->y + m * a->y_stride;
        for (int64_t i = 0; i < a->width; i++) {
            double sum = shared ? shared[i] : 0.0;
            for (int64_t j = 0; j < a->slots; j++)
                sum += (weights ? weights[j] : 1.0) * x[j * a->width + i];
            y[i] = sum;
        }
    }
}
