/* recipe_steps.c - the steps of a recipe and its hooks. */
#include "recipe_internal.h"

#include "kernels/functions.h"
#include "kernels/kernels.h"

#include <string.h>

/* ---- buffers and steps --------------------------------------------------------------------------- */

sonde_buf sonde_recipe_buffer(sonde_recipe *r, int64_t width)
{
    if (!sonde_recipe_good(r)) return 0;
    if (!sonde_grow(&r->buffers, &r->buffer_capacity, (size_t)r->n_buffers + 1,
                    sizeof *r->buffers)) {
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's buffers");
        return 0;
    }
    r->buffers[r->n_buffers] = (sonde_buffer){.width = width};
    return (sonde_buf)r->n_buffers++;
}

static sonde_buf new_buffer(sonde_recipe *r, int64_t width, bool ragged, bool logits)
{
    sonde_buf buf = sonde_recipe_buffer(r, width);
    if (!sonde_recipe_good(r)) return 0;
    r->buffers[buf].ragged = ragged;
    r->buffers[buf].logits = logits;
    return buf;
}

sonde_step *sonde_recipe_step(sonde_recipe *r, sonde_step_kind kind, int64_t layer)
{
    static const sonde_step blank = {.in = {SONDE_NO_BUF, SONDE_NO_BUF, SONDE_NO_BUF},
                                     .out = {SONDE_NO_BUF, SONDE_NO_BUF, SONDE_NO_BUF},
                                     .weight = SONDE_ROLE_NONE,
                                     .bias = SONDE_ROLE_NONE};
    if (!sonde_recipe_good(r)) return NULL;
    if (!sonde_grow(&r->steps, &r->step_capacity, (size_t)r->n_steps + 1, sizeof *r->steps)) {
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's steps");
        return NULL;
    }
    sonde_step *step = &r->steps[r->n_steps++];
    *step = blank;
    step->kind = kind;
    step->layer = layer;
    return step;
}

const char *sonde_step_kind_name(sonde_step_kind kind)
{
    static const char *const names[SONDE_STEP_KINDS] = {
        "embed", "linear", "norm", "rope", "cache", "attend", "map", "hook", "heads", "join", "route",
        "experts", "combine"};
    return names[kind];
}

static bool is_logits(const sonde_recipe *r, sonde_buf buf)
{
    return sonde_recipe_good(r) && r->buffers[buf].logits;
}

static int64_t width_of(const sonde_recipe *r, sonde_buf buf)
{
    return sonde_recipe_good(r) ? r->buffers[buf].width : 0;
}

sonde_buf sonde_embed(sonde_recipe *r, sonde_role role, int64_t width)
{
    sonde_buf out = new_buffer(r, width, false, false);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_EMBED, SONDE_GLOBAL);
    if (!step) return 0;
    step->weight = role;
    step->out[0] = out;
    return out;
}

static sonde_buf add_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight,
                            sonde_role bias, int64_t width, bool logits)
{
    sonde_buf out = new_buffer(r, width, false, logits);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_LINEAR, layer);
    if (!step) return 0;
    step->in[0] = x;
    step->weight = weight;
    step->bias = bias;
    step->logits = logits;
    step->out[0] = out;
    return out;
}

sonde_buf sonde_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight,
                       sonde_role bias, int64_t width)
{
    return add_linear(r, layer, x, weight, bias, width, false);
}

sonde_buf sonde_logits(sonde_recipe *r, sonde_buf x, sonde_role weight, sonde_role bias,
                       int64_t width)
{
    return add_linear(r, SONDE_GLOBAL, x, weight, bias, width, true);
}

sonde_buf sonde_norm(sonde_recipe *r, int64_t layer, sonde_buf x, const sonde_norm_spec *spec)
{
    int64_t width = width_of(r, x), group = spec->group ? spec->group : width;
    sonde_buf out = new_buffer(r, width, false, is_logits(r, x));
    sonde_buf scale = new_buffer(r, group ? width / group : 1, false, is_logits(r, x));
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_NORM, layer);
    if (spec->scale) *spec->scale = scale;
    if (!step) return 0;
    step->in[0] = x;
    step->weight = spec->weight;
    step->bias = spec->bias;
    step->out[0] = out;
    step->out[1] = scale;
    step->u.norm = *spec;
    step->u.norm.group = group;
    step->u.norm.scale = NULL;
    return out;
}

sonde_buf sonde_rope(sonde_recipe *r, int32_t table, sonde_buf x, int64_t n_heads, int64_t head_dim,
                     int64_t offset)
{
    sonde_buf out = new_buffer(r, width_of(r, x), false, false);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_ROPE, SONDE_GLOBAL);
    if (!step) return 0;
    step->in[0] = x;
    step->out[0] = out;
    step->u.rope.table = table;
    step->u.rope.n_heads = n_heads;
    step->u.rope.head_dim = head_dim;
    step->u.rope.offset = offset;
    return out;
}

static void fill_slopes(double *slopes, int64_t n_heads, double max_bias)
{
    int64_t c = 1;
    while (2 * c <= n_heads) c *= 2;
    for (int64_t i = 0; i < n_heads; i++) {
        double steps = i < c ? (double)(i + 1) : (double)(i - c) + 0.5;
        slopes[i] = sonde_pow64(2.0, -max_bias * steps / (double)c);
    }
}

const double *sonde_alibi_slopes(sonde_recipe *r, int64_t n_heads, double max_bias)
{
    double *slopes = sonde_recipe_numbers(r, n_heads);
    if (slopes) fill_slopes(slopes, n_heads, max_bias);
    return slopes;
}

void sonde_cache(sonde_recipe *r, int64_t layer, sonde_buf k, sonde_buf v)
{
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_CACHE, layer);
    if (!step) return;
    step->in[0] = k;
    step->in[1] = v;
}

sonde_attended sonde_attend(sonde_recipe *r, int64_t layer, sonde_buf q,
                            const sonde_attend_spec *spec)
{
    sonde_attended out = {0, 0, 0};
    out.scores = new_buffer(r, spec->n_heads, true, false);
    out.pattern = new_buffer(r, spec->n_heads, true, false);
    out.z = new_buffer(r, spec->n_heads * spec->value_dim, false, false);
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_ATTEND, layer);
    if (!step) return out;
    step->in[0] = q;
    step->weight = spec->sinks;
    step->out[0] = out.z;
    step->out[1] = out.scores;
    step->out[2] = out.pattern;
    step->u.attend = *spec;
    return out;
}

static sonde_buf add_map(sonde_recipe *r, int32_t op, sonde_act act, double c, sonde_buf a,
                         sonde_buf b)
{
    sonde_buf out = new_buffer(r, width_of(r, a), false, is_logits(r, a));
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_MAP, SONDE_GLOBAL);
    if (!step) return 0;
    step->in[0] = a;
    step->in[1] = b;
    step->out[0] = out;
    step->logits = is_logits(r, a);
    step->u.map = (sonde_map_spec){.op = op, .act = act, .c = c};
    r->buffers[out].slots = r->buffers[a].slots;
    return out;
}

sonde_buf sonde_add(sonde_recipe *r, sonde_buf a, sonde_buf b)
{
    return add_map(r, SONDE_MAP_ADD, SONDE_ACT_SILU, 0, a, b);
}

sonde_buf sonde_scale(sonde_recipe *r, sonde_buf a, double factor)
{
    return add_map(r, SONDE_MAP_SCALE, SONDE_ACT_SILU, factor, a, SONDE_NO_BUF);
}

sonde_buf sonde_offset(sonde_recipe *r, sonde_buf a, double offset)
{
    return add_map(r, SONDE_MAP_OFFSET, SONDE_ACT_SILU, offset, a, SONDE_NO_BUF);
}

static sonde_buf add_map_of_two(sonde_recipe *r, int32_t op, sonde_buf a, double c, double d)
{
    sonde_buf out = add_map(r, op, SONDE_ACT_SILU, c, a, SONDE_NO_BUF);
    if (sonde_recipe_good(r)) r->steps[r->n_steps - 1].u.map.d = d;
    return out;
}

sonde_buf sonde_clamp(sonde_recipe *r, sonde_buf a, double low, double high)
{
    return add_map_of_two(r, SONDE_MAP_CLAMP, a, low, high);
}

sonde_buf sonde_scale_by_position(sonde_recipe *r, sonde_buf a, double floor_scale, double scale)
{
    return add_map_of_two(r, SONDE_MAP_SCALE_BY_POSITION, a, floor_scale, scale);
}

sonde_buf sonde_softcap(sonde_recipe *r, sonde_buf a, double cap)
{
    return add_map(r, SONDE_MAP_SOFTCAP, SONDE_ACT_SILU, cap, a, SONDE_NO_BUF);
}

sonde_buf sonde_activate(sonde_recipe *r, sonde_act act, sonde_buf a)
{
    return add_map(r, SONDE_MAP_ACTIVATE, act, 0, a, SONDE_NO_BUF);
}

sonde_buf sonde_glu(sonde_recipe *r, sonde_act act, sonde_buf gate, sonde_buf up)
{
    return add_map(r, SONDE_MAP_GLU, act, 0, gate, up);
}

/* ---- hooks ------------------------------------------------------------------------------------------ */

void sonde_hook(sonde_recipe *r, int64_t layer, const char *name, sonde_buf buf, int64_t n_heads)
{
    sonde_step *step = sonde_recipe_step(r, SONDE_STEP_HOOK, layer);
    if (!step) return;
    step->in[0] = buf;
    step->hook = r->n_hooks;
    sonde_string full = {0};
    if (layer >= 0) sonde_string_format(&full, "blocks.%lld.", (long long)layer);
    size_t head = full.length;
    sonde_string_text(&full, name);
    if (full.failed || !sonde_grow(&r->hooks, &r->hook_capacity, (size_t)r->n_hooks + 1,
                                   sizeof *r->hooks)) {
        sonde_string_reset(&full);
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's hook points");
        return;
    }
    r->hooks[r->n_hooks++] = (sonde_hook_entry){.name = full.data,
                                                .local_name = full.data + head,
                                                .layer = layer,
                                                .n_heads = n_heads,
                                                .buf = buf,
                                                .step = r->n_steps - 1};
}

void sonde_absent(sonde_recipe *r, const char *name, const char *why)
{
    if (r->n_absent < (int64_t)SONDE_COUNT(r->absent))
        r->absent[r->n_absent++] = (sonde_absent_entry){name, why};
}
