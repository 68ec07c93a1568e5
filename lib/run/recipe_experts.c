/* recipe_experts.c - steps that work head by head, and those of a mixture of experts. */
#include "recipe_internal.h"

#include "kernels/kernels.h"

/* A buffer's property, or `otherwise` in a recipe that has failed. */
static int64_t slots_of(const sonde_recipe *r, sonde_buf buf)
{
    return sonde_recipe_good(r) && buf != SONDE_NO_BUF ? r->buffers[buf].slots : 0;
}

static int64_t width_of(const sonde_recipe *r, sonde_buf buf)
{
    return sonde_recipe_good(r) && buf != SONDE_NO_BUF ? r->buffers[buf].width : 0;
}

static void check(sonde_recipe *r, bool holds, const char *what)
{
    if (!holds) sonde_recipe_fail(r, SONDE_INTERNAL, "a recipe's %s", what);
}

/* ---- heads ------------------------------------------------------------------------------------------ */

static void check_dims(sonde_recipe *r, const sonde_head_dims *d, int64_t n_heads)
{
    bool heads = d->n_heads == n_heads || d->n_heads == 1;
    check(r, heads && d->first >= 0 && d->dims > 0 &&
                 d->first + d->dims <= width_of(r, d->buf) / SONDE_MAX(d->n_heads, 1),
          "dims of heads that do not fit their buffer");
}

sonde_buf sonde_linear_heads(sonde_recipe *r, int64_t layer, const sonde_head_dims *x,
                             sonde_role weight, int64_t n_heads, int64_t width)
{
    check_dims(r, x, n_heads);
    sonde_buf out = sonde_recipe_buffer(r, n_heads * width);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_HEADS, layer);
    if (!step) return 0;
    step->in[0] = x->buf;
    step->out[0] = out;
    step->weight = weight;
    step->u.heads.n_heads = n_heads;
    step->u.heads.part[0] = *x;
    return out;
}

sonde_buf sonde_join(sonde_recipe *r, int64_t n_heads, const sonde_head_dims *a,
                     const sonde_head_dims *b)
{
    check_dims(r, a, n_heads);
    check_dims(r, b, n_heads);
    sonde_buf out = sonde_recipe_buffer(r, n_heads * (a->dims + b->dims));
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_JOIN, SONDE_GLOBAL);
    if (!step) return 0;
    step->in[0] = a->buf;
    step->in[1] = b->buf;
    step->out[0] = out;
    step->u.heads.n_heads = n_heads;
    step->u.heads.part[0] = *a;
    step->u.heads.part[1] = *b;
    return out;
}

/* ---- experts ---------------------------------------------------------------------------------------- */

/* Numbers that come from the configuration. */
static void check_route(sonde_recipe *r, const sonde_route_spec *spec)
{
    bool grouped = spec->n_groups > 1;
    int64_t groups = grouped ? spec->n_groups : 1, kept = grouped ? spec->kept_groups : 1;
    if (spec->n_experts % groups != 0 || kept < 1 || kept > groups)
        sonde_refuse(r, "%lld experts in %lld groups of which %lld are kept",
                     (long long)spec->n_experts, (long long)groups, (long long)kept);
    else if (spec->n_chosen < 1 || spec->n_chosen > spec->n_experts / groups * kept)
        sonde_refuse(r, "a choice of %lld out of %lld experts", (long long)spec->n_chosen,
                     (long long)(spec->n_experts / groups * kept));
}

sonde_routed sonde_route(sonde_recipe *r, int64_t layer, sonde_buf logits,
                         const sonde_route_spec *spec)
{
    sonde_routed out = {0, 0};
    check(r, width_of(r, logits) == spec->n_experts, "choice of experts that does not fit its logits");
    check_route(r, spec);
    out.weights = sonde_recipe_buffer(r, spec->n_chosen);
    out.ids = sonde_recipe_buffer(r, spec->n_chosen);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_ROUTE, layer);
    if (!step) return out;
    r->buffers[out.ids].ids = true;
    r->buffers[out.ids].experts = spec->n_experts;
    step->in[0] = logits;
    step->out[0] = out.weights;
    step->out[1] = out.ids;
    step->weight = spec->correction;
    step->u.route = *spec;
    return out;
}

sonde_buf sonde_experts(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_buf ids,
                        sonde_role weight, sonde_role bias, int64_t width)
{
    int64_t chosen = width_of(r, ids);
    check(r, slots_of(r, x) == 0 || slots_of(r, x) == chosen, "rows of experts that do not match");
    sonde_buf out = sonde_recipe_buffer(r, chosen * width);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_EXPERTS, layer);
    if (!step) return 0;
    r->buffers[out].slots = chosen;
    step->in[0] = x;
    step->in[1] = ids;
    step->out[0] = out;
    step->weight = weight;
    step->bias = bias;
    return out;
}

sonde_buf sonde_weigh(sonde_recipe *r, sonde_buf x, sonde_buf weights)
{
    int64_t chosen = width_of(r, weights);
    sonde_buf out = sonde_recipe_buffer(r, chosen * width_of(r, x));
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_MAP, SONDE_GLOBAL);
    if (!step) return 0;
    r->buffers[out].slots = chosen;
    step->in[0] = x;
    step->in[1] = weights;
    step->out[0] = out;
    step->u.map.op = SONDE_MAP_WEIGH;
    return out;
}

sonde_buf sonde_combine(sonde_recipe *r, sonde_buf y, sonde_buf weights, sonde_buf shared)
{
    int64_t chosen = slots_of(r, y), width = width_of(r, y) / SONDE_MAX(chosen, 1);
    check(r, chosen > 0 && (weights == SONDE_NO_BUF || width_of(r, weights) == chosen) &&
                 (shared == SONDE_NO_BUF || width_of(r, shared) == width),
          "sum over experts whose parts do not match");
    sonde_buf out = sonde_recipe_buffer(r, width);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_COMBINE, SONDE_GLOBAL);
    if (!step) return 0;
    step->in[0] = y;
    step->in[1] = weights;
    step->in[2] = shared;
    step->out[0] = out;
    return out;
}
