/*
 * plan_memory.c - where a plan's buffers lie.
 *
 * A dense buffer takes batch_rows (or logits_rows) rows of its width rounded up to 16 reals, and 16
 * more where rows would lie whole kibibytes apart and share the same few sets of a cache. Buffers
 * that are never live at the same time share memory: each is placed at the lowest offset that is
 * free during its life. Ragged buffers have an arena of their own: [scores | pattern], or the one of
 * them that is wanted.
 */
#include "plan_internal.h"

#include "kernels/functions.h"

#include <string.h>

#define MAX_ROPE_BYTES ((size_t)64 << 20) /* of a table of all positions */

static size_t align_up(size_t bytes)
{
    return (bytes + SONDE_ALIGNMENT - 1) & ~(size_t)(SONDE_ALIGNMENT - 1);
}

/* ---- life of buffers ------------------------------------------------------------------------------- */

static void touch(sonde_plan *plan, sonde_buf buf, int64_t op)
{
    if (buf == SONDE_NO_BUF) return;
    sonde_plan_buffer *b = &plan->buffers[buf];
    if (!b->used) b->first_op = op;
    b->used = true;
    b->last_op = op;
}

static void touch_op(sonde_plan *plan, int64_t index)
{
    const sonde_op *op = &plan->ops[index];
    for (int32_t i = 0; i < op->n_steps; i++) {
        const sonde_step *s = op->steps[i];
        for (int j = 0; j < SONDE_STEP_INPUTS; j++) touch(plan, s->in[j], index);
        if (op->kind == SONDE_OP_HOOK) continue;
        if (op->kind == SONDE_OP_LINEAR) {
            touch(plan, op->residual[i], index);
            touch(plan, op->out[i], index);
            continue;
        }
        touch(plan, s->out[0], index);
        if (op->kind == SONDE_OP_NORM || op->kind == SONDE_OP_ROUTE) touch(plan, s->out[1], index);
    }
}

static bool port_wanted(const sonde_plan *plan, sonde_buf buf)
{
    const sonde_recipe *r = plan->model->recipe;
    for (int64_t i = 0; i < r->n_hooks; i++)
        if (r->hooks[i].buf == buf && plan->wants[i]) return true;
    return false;
}

static void find_lives(sonde_plan *plan)
{
    const sonde_recipe *r = plan->model->recipe;
    for (int64_t i = 0; i < plan->n_ops; i++) touch_op(plan, i);
    for (int64_t i = 0; i < r->n_buffers; i++) {
        sonde_plan_buffer *b = &plan->buffers[i];
        b->width = r->buffers[i].width;
        b->stride = (b->width + 15) & ~(int64_t)15;
        if (b->stride % 256 == 0) b->stride += 16;
        if (r->buffers[i].slots > 0) b->stride = b->width; /* the rows of all experts are in a line */
        b->logits = r->buffers[i].logits;
        if (r->buffers[i].ragged) b->used = port_wanted(plan, (sonde_buf)i);
        if (b->logits) b->last_op = plan->n_ops;
        if (plan->options.off & SONDE_OFF_ALIAS) b->last_op = plan->n_ops;
    }
}

/* ---- the arena ---------------------------------------------------------------------------------------- */

static size_t buffer_bytes(const sonde_plan *plan, const sonde_plan_buffer *b)
{
    int64_t rows = b->logits ? plan->logits_rows : plan->batch_rows;
    return align_up((size_t)(rows * b->stride) * plan->model->backend->real_bytes);
}

static bool overlap_in_time(const sonde_plan_buffer *a, const sonde_plan_buffer *b)
{
    return a->first_op <= b->last_op && b->first_op <= a->last_op;
}

/* Lowest offset where `b` fits beside the buffers already placed (indices in `placed`). */
static size_t find_offset(const sonde_plan *plan, const sonde_plan_buffer *b, const int64_t *placed,
                          int64_t n_placed)
{
    size_t bytes = buffer_bytes(plan, b), offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int64_t i = 0; i < n_placed; i++) {
            const sonde_plan_buffer *other = &plan->buffers[placed[i]];
            size_t end = other->offset + buffer_bytes(plan, other);
            if (!overlap_in_time(b, other) || offset >= end || other->offset >= offset + bytes)
                continue;
            offset = end;
            moved = true;
        }
    }
    return offset;
}

static sonde_status place_buffers(sonde_plan *plan, sonde_error *err)
{
    const sonde_recipe *r = plan->model->recipe;
    int64_t n_placed = 0;
    int64_t *placed = sonde_alloc((size_t)r->n_buffers, sizeof *placed);
    if (!placed) return sonde_no_memory(err, "a plan's arena", (size_t)r->n_buffers * 8);
    for (int64_t i = 0; i < r->n_buffers; i++) {
        sonde_plan_buffer *b = &plan->buffers[i];
        if (!b->used || r->buffers[i].ragged) continue;
        b->offset = find_offset(plan, b, placed, n_placed);
        placed[n_placed++] = i;
        plan->arena_bytes = SONDE_MAX(plan->arena_bytes, b->offset + buffer_bytes(plan, b));
    }
    sonde_free(placed);
    return SONDE_OK;
}

int64_t sonde_plan_most_keys(const sonde_plan *plan, sonde_buf buf)
{
    const sonde_recipe *r = plan->model->recipe;
    int64_t most = plan->options.max_positions;
    for (int64_t i = 0; i < r->n_steps; i++) {
        const sonde_step *s = &r->steps[i];
        bool port = s->kind == SONDE_STEP_ATTEND && (s->out[1] == buf || s->out[2] == buf);
        if (port && s->u.attend.mask != SONDE_MASK_FULL) most = SONDE_MIN(most, s->u.attend.window);
    }
    return most;
}

/* Is port `port` (1: scores, 2: pattern) of any layer wanted? */
static bool any_port_wanted(const sonde_plan *plan, int port)
{
    const sonde_recipe *r = plan->model->recipe;
    for (int64_t i = 0; i < r->n_steps; i++)
        if (r->steps[i].kind == SONDE_STEP_ATTEND && port_wanted(plan, r->steps[i].out[port])) return true;
    return false;
}

int sonde_plan_ragged_ports(const sonde_plan *plan)
{
    return any_port_wanted(plan, 1) + any_port_wanted(plan, 2);
}

static void place_ragged(sonde_plan *plan)
{
    const sonde_recipe *r = plan->model->recipe;
    size_t real = plan->model->backend->real_bytes, one = 0;
    for (int64_t i = 0; i < r->n_buffers; i++) {
        if (!r->buffers[i].ragged || !plan->buffers[i].used) continue;
        int64_t keys = sonde_plan_most_keys(plan, (sonde_buf)i);
        one = SONDE_MAX(one, align_up((size_t)(plan->batch_rows * keys * plan->buffers[i].width) * real));
    }
    for (int64_t i = 0; i < r->n_steps; i++) {
        const sonde_step *s = &r->steps[i];
        if (s->kind != SONDE_STEP_ATTEND) continue;
        plan->buffers[s->out[1]].offset = 0;
        plan->buffers[s->out[2]].offset = any_port_wanted(plan, 1) ? one : 0;
    }
    plan->ragged_bytes = (size_t)sonde_plan_ragged_ports(plan) * one;
}

/* ---- the cache ---------------------------------------------------------------------------------------- */

static sonde_status lay_out_cache(sonde_plan *plan, sonde_error *err)
{
    size_t layers = (size_t)plan->model->recipe->dims.n_layers;
    plan->kv_offset = sonde_alloc(layers, sizeof *plan->kv_offset);
    plan->kv_layouts = sonde_alloc(layers, sizeof *plan->kv_layouts);
    if (!plan->kv_offset || !plan->kv_layouts) return sonde_no_memory(err, "a plan's cache", layers * 8);
    for (size_t i = 0; i < layers; i++) plan->kv_offset[i] = SIZE_MAX;
    for (int64_t i = 0; i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        if (op->kind != SONDE_OP_ATTEND || plan->kv_offset[op->steps[0]->layer] != SIZE_MAX) continue;
        const sonde_attend_spec *a = &op->steps[0]->u.attend;
        sonde_dtype dtype = plan->model->backend->real_bytes == sizeof(double)
                                ? SONDE_DTYPE_F64 : plan->options.kv_dtype;
        sonde_kv_layout layout = {dtype, a->n_kv_heads, a->head_dim, a->value_dim};
        plan->kv_layouts[op->steps[0]->layer] = layout;
        plan->kv_offset[op->steps[0]->layer] = plan->kv_block_bytes;
        plan->kv_block_bytes += align_up(sonde_kv_page_bytes(&layout));
    }
    return SONDE_OK;
}

static void set_convert_size(sonde_plan *plan)
{
    const sonde_recipe *r = plan->model->recipe;
    if (plan->model->backend->real_bytes == sizeof(float)) return;
    for (int64_t i = 0; i < r->n_hooks; i++) {
        if (!plan->wants[i]) continue;
        sonde_buf buf = r->hooks[i].buf;
        int64_t keys = r->buffers[buf].ragged ? sonde_plan_most_keys(plan, buf) : 1;
        plan->convert_elements = SONDE_MAX(plan->convert_elements,
                                           plan->batch_rows * plan->buffers[buf].stride * keys);
    }
    plan->convert_elements = SONDE_MAX(plan->convert_elements, r->dims.vocab);
}

sonde_status sonde_plan_lay_out(sonde_plan *plan, sonde_error *err)
{
    size_t n = (size_t)plan->model->recipe->n_buffers;
    plan->buffers = sonde_alloc(n, sizeof *plan->buffers);
    if (!plan->buffers) return sonde_no_memory(err, "a plan's buffers", n * 64);
    find_lives(plan);
    SONDE_TRY(place_buffers(plan, err));
    place_ragged(plan);
    set_convert_size(plan);
    return lay_out_cache(plan, err);
}

/* ---- rope tables ---------------------------------------------------------------------------------------- */

/* The divisors of a role as floats; given to the caller, NULL where there are none. */
static sonde_status copy_divisors(const sonde_plan *plan, sonde_role role, float **copy,
                                  sonde_error *err)
{
    if (role == SONDE_ROLE_NONE) return SONDE_OK;
    const sonde_bound *bound = sonde_model_bound(plan->model, role, SONDE_GLOBAL);
    if (!bound) return SONDE_OK;
    float *divisors = sonde_alloc((size_t)bound->length, sizeof(float));
    if (!divisors) return sonde_no_memory(err, "rope divisors", (size_t)bound->length * 4);
    bool wide = plan->model->backend->real_bytes == sizeof(double);
    for (int64_t i = 0; i < bound->length; i++)
        divisors[i] = wide ? (float)((double *)bound->vector)[i] : ((float *)bound->vector)[i];
    *copy = divisors;
    return SONDE_OK;
}

/* A table of every position; of very long contexts, and where lengths of sequences matter, runs make
 * those of their rows. */
static sonde_status make_table(sonde_plan *plan, int64_t index, sonde_error *err)
{
    const sonde_rope_spec *spec = &plan->model->recipe->ropes[index];
    const sonde_backend *backend = plan->model->backend;
    sonde_plan_rope *rope = &plan->ropes[index];
    size_t half = (size_t)spec->rotary_dims / 2;
    size_t n = (size_t)plan->options.max_positions * half;
    rope->by_row = sonde_rope_depends_on_length(spec) || 2 * n * backend->real_bytes > MAX_ROPE_BYTES;
    if (rope->by_row) return SONDE_OK;
    plan->rope_bytes += 2 * n * backend->real_bytes;
    if (plan->model->shape_only) return SONDE_OK;
    rope->cos = sonde_alloc_raw(n, backend->real_bytes);
    rope->sin = sonde_alloc_raw(n, backend->real_bytes);
    float *inv_freq = sonde_alloc(half, sizeof *inv_freq);
    if (!rope->cos || !rope->sin || !inv_freq) {
        sonde_free(inv_freq);
        return sonde_no_memory(err, "rope tables", 2 * n * backend->real_bytes);
    }
    sonde_rope_frequencies(spec, 1, rope->divisors, inv_freq);
    for (int64_t p = 0; p < plan->options.max_positions; p++)
        backend->rope_entry(inv_freq, spec->rotary_dims, p, spec->attention_scaling,
                            (char *)rope->cos + (size_t)p * half * backend->real_bytes,
                            (char *)rope->sin + (size_t)p * half * backend->real_bytes);
    sonde_free(inv_freq);
    return SONDE_OK;
}

sonde_status sonde_plan_make_ropes(sonde_plan *plan, sonde_error *err)
{
    const sonde_recipe *r = plan->model->recipe;
    plan->ropes = sonde_alloc((size_t)r->n_ropes, sizeof *plan->ropes);
    if (!plan->ropes) return sonde_no_memory(err, "rope tables", 64);
    for (int64_t i = 0; i < r->n_ropes; i++) {
        const sonde_rope_spec *spec = &r->ropes[i];
        bool two = spec->short_divisors != SONDE_ROLE_NONE;
        sonde_role divisors = two ? spec->short_divisors : spec->freq_divisors;
        SONDE_TRY(copy_divisors(plan, divisors, &plan->ropes[i].divisors, err));
        SONDE_TRY(copy_divisors(plan, spec->long_divisors, &plan->ropes[i].long_divisors, err));
        SONDE_TRY(make_table(plan, i, err));
    }
    return SONDE_OK;
}

void sonde_plan_free_ropes(sonde_plan *plan)
{
    for (int64_t i = 0; plan->ropes && i < plan->model->recipe->n_ropes; i++) {
        sonde_free(plan->ropes[i].cos);
        sonde_free(plan->ropes[i].sin);
        sonde_free(plan->ropes[i].divisors);
        sonde_free(plan->ropes[i].long_divisors);
    }
    sonde_free(plan->ropes);
}
