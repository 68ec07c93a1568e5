/*
 * plan.c - which steps run, and how neighbours are joined.
 *
 * Needed steps are found from the end: a step runs when a wanted point, the logits or a step that
 * runs reads what it writes. Then, by the rules that --off names: products that share x become one
 * call, a residual add joins the product before it, and behind the last cache write only rows that
 * somebody needs go on. None of these changes a bit (kernels.md).
 */
#include "plan_internal.h"

#include <string.h>

#define MAX_LOGITS_BYTES ((size_t)128 << 20)

typedef struct planner {
    sonde_plan *plan;
    const sonde_recipe *r;
    bool *needed_step; /* [n_steps] */
    bool *needed_buf;  /* [n_buffers] */
    bool *done;        /* [n_steps] already part of an op */
} planner;

static bool on(const sonde_plan *plan, uint32_t rule)
{
    return (plan->options.off & rule) == 0;
}

static uint8_t want_of(const sonde_plan *plan, const sonde_step *hook)
{
    return plan->wants[hook->hook];
}

static bool wants_logits(const sonde_plan *plan)
{
    return plan->options.want_logits || plan->options.want_labels;
}

/* ---- needed steps ---------------------------------------------------------------------------------- */

static void need_inputs(planner *p, const sonde_step *s)
{
    for (int i = 0; i < SONDE_STEP_INPUTS; i++)
        if (s->in[i] != SONDE_NO_BUF) p->needed_buf[s->in[i]] = true;
}

static bool feeds_needed_attention(const planner *p, int64_t index)
{
    const sonde_step *cache = &p->r->steps[index];
    for (int64_t i = index + 1; i < p->r->n_steps; i++) {
        const sonde_step *s = &p->r->steps[i];
        if (s->kind == SONDE_STEP_ATTEND && s->layer == cache->layer && p->needed_step[i]) return true;
    }
    return false;
}

static bool is_needed(const planner *p, int64_t index)
{
    const sonde_step *s = &p->r->steps[index];
    if (s->kind == SONDE_STEP_HOOK) return want_of(p->plan, s) != 0;
    if (!on(p->plan, SONDE_OFF_DROP) && !s->logits) return true;
    if (s->kind == SONDE_STEP_CACHE) return feeds_needed_attention(p, index);
    for (int i = 0; i < 3; i++)
        if (s->out[i] != SONDE_NO_BUF && p->needed_buf[s->out[i]]) return true;
    return false;
}

/* The buffer that the logits end in: the last logits buffer of the recipe. */
static sonde_buf logits_buffer(const sonde_recipe *r)
{
    for (int64_t i = r->n_buffers - 1; i >= 0; i--)
        if (r->buffers[i].logits) return (sonde_buf)i;
    return SONDE_NO_BUF;
}

static void find_needed(planner *p)
{
    if (wants_logits(p->plan)) p->needed_buf[p->plan->logits] = true;
    for (int64_t i = p->r->n_steps - 1; i >= 0; i--) {
        p->needed_step[i] = is_needed(p, i);
        if (p->needed_step[i]) need_inputs(p, &p->r->steps[i]);
    }
}

/* ---- joining ------------------------------------------------------------------------------------------ */

/* Is the value of `buf` looked at by a wanted hook, or read by more than `readers` steps? */
static bool is_private(const planner *p, sonde_buf buf, int64_t readers)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->r->n_steps; i++) {
        const sonde_step *s = &p->r->steps[i];
        if (!p->needed_step[i] || !sonde_step_reads(s, buf)) continue;
        if (s->kind == SONDE_STEP_HOOK) return false;
        n++;
    }
    return n <= readers;
}

/* The needed ADD that alone reads the product's output, or -1. */
static int64_t following_add(const planner *p, int64_t index)
{
    sonde_buf out = p->r->steps[index].out[0];
    if (!on(p->plan, SONDE_OFF_FUSE) || !is_private(p, out, 1)) return -1;
    for (int64_t i = index + 1; i < p->r->n_steps; i++) {
        const sonde_step *s = &p->r->steps[i];
        if (!p->needed_step[i] || !sonde_step_reads(s, out)) continue;
        bool add = s->kind == SONDE_STEP_MAP && s->u.map.op == SONDE_MAP_ADD && s->in[0] != s->in[1];
        return add ? i : -1;
    }
    return -1;
}

/* The other operand must be complete before the product: written by an earlier step. */
static bool written_before(const planner *p, sonde_buf buf, int64_t index)
{
    for (int64_t i = 0; i < index; i++) {
        const sonde_step *s = &p->r->steps[i];
        if (s->out[0] == buf || s->out[1] == buf || s->out[2] == buf) return true;
    }
    return false;
}

/* A wanted writer of `buf` between two steps would change what the second one reads. */
static bool written_between(const planner *p, sonde_buf buf, int64_t from, int64_t to)
{
    for (int64_t i = from + 1; i < to; i++) {
        const sonde_step *s = &p->r->steps[i];
        if (s->kind == SONDE_STEP_HOOK && s->in[0] == buf &&
            (want_of(p->plan, s) & SONDE_WANT_WRITE))
            return true;
    }
    return false;
}

static void add_part(planner *p, sonde_op *op, int64_t index)
{
    const sonde_step *s = &p->r->steps[index];
    int32_t at = op->n_steps++;
    op->steps[at] = s;
    op->out[at] = s->out[0];
    op->residual[at] = SONDE_NO_BUF;
    p->done[index] = true;
    int64_t add = s->kind == SONDE_STEP_LINEAR && !s->logits ? following_add(p, index) : -1;
    if (add < 0) return;
    const sonde_step *sum = &p->r->steps[add];
    sonde_buf other = sum->in[0] == s->out[0] ? sum->in[1] : sum->in[0];
    if (!written_before(p, other, index) || written_between(p, other, index, add)) return;
    op->out[at] = sum->out[0];
    op->residual[at] = other;
    p->done[add] = true;
}

/* Products of the same x that may run in the same call. */
static void add_siblings(planner *p, sonde_op *op, int64_t index)
{
    const sonde_step *first = &p->r->steps[index];
    for (int64_t i = index + 1; i < p->r->n_steps && op->n_steps < SONDE_LINEAR_PARTS; i++) {
        const sonde_step *s = &p->r->steps[i];
        bool sibling = s->kind == first->kind && s->in[0] == first->in[0] && s->in[1] == first->in[1] &&
                       p->needed_step[i] && !p->done[i] && s->logits == first->logits;
        if (sibling && !written_between(p, first->in[0], index, i)) add_part(p, op, i);
    }
}

static bool wants_write(const planner *p, sonde_buf buf)
{
    for (int64_t i = 0; i < p->r->n_hooks; i++)
        if (p->r->hooks[i].buf == buf && (p->plan->wants[i] & SONDE_WANT_WRITE)) return true;
    return false;
}

/* Weights that lie outside the blocks are bound once for all layers. */
static const sonde_bound *bound_of(const planner *p, sonde_role role, int64_t layer)
{
    if (role == SONDE_ROLE_NONE) return NULL;
    const sonde_bound *bound = sonde_model_bound(p->plan->model, role, layer);
    return bound ? bound : sonde_model_bound(p->plan->model, role, SONDE_GLOBAL);
}

static const sonde_attend_spec *attend_of_layer(const sonde_recipe *r, int64_t layer)
{
    for (int64_t i = 0; i < r->n_steps; i++)
        if (r->steps[i].kind == SONDE_STEP_ATTEND && r->steps[i].layer == layer)
            return &r->steps[i].u.attend;
    return NULL;
}

/* What the calls need at every step is found once: weights, and the shape of the layer's cache. */
static void resolve_op(const planner *p, sonde_op *op)
{
    for (int32_t i = 0; i < op->n_steps; i++) {
        const sonde_step *s = op->steps[i];
        const sonde_bound *weight = bound_of(p, s->weight, s->layer);
        const sonde_bound *bias = bound_of(p, s->bias, s->layer);
        if (weight && weight->n_matrices > 0) op->matrix[i] = weight->matrices;
        if (weight && i == 0) op->weight = weight->vector;
        if (bias) op->bias[i] = bias->vector;
        if (s->kind == SONDE_STEP_CACHE || s->kind == SONDE_STEP_ATTEND)
            op->attend = attend_of_layer(p->r, s->layer);
    }
}

static sonde_op *new_op(planner *p, sonde_op_kind kind)
{
    sonde_op *op = &p->plan->ops[p->plan->n_ops++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    return op;
}

static void add_hook(planner *p, int64_t index)
{
    sonde_op *op = new_op(p, SONDE_OP_HOOK);
    op->n_steps = 1;
    op->steps[0] = &p->r->steps[index];
    op->writable = (want_of(p->plan, op->steps[0]) & SONDE_WANT_WRITE) != 0;
    p->done[index] = true;
}

/* Hooks on a ragged port come between the phases when they may write. */
static void add_port_hooks(planner *p, sonde_buf port)
{
    for (int64_t i = 0; i < p->r->n_steps; i++) {
        const sonde_step *s = &p->r->steps[i];
        if (s->kind == SONDE_STEP_HOOK && s->in[0] == port && p->needed_step[i]) add_hook(p, i);
    }
}

static void add_attend_op(planner *p, const sonde_step *s, uint32_t phases)
{
    sonde_op *op = new_op(p, SONDE_OP_ATTEND);
    op->n_steps = 1;
    op->steps[0] = s;
    op->phases = phases;
}

static void add_attend(planner *p, int64_t index)
{
    const sonde_step *s = &p->r->steps[index];
    uint32_t phases = 0;
    p->done[index] = true;
    phases |= SONDE_ATTEND_SCORES;
    if (wants_write(p, s->out[1])) {
        add_attend_op(p, s, phases);
        add_port_hooks(p, s->out[1]);
        phases = 0;
    }
    phases |= SONDE_ATTEND_SOFTMAX;
    if (wants_write(p, s->out[2])) {
        add_attend_op(p, s, phases);
        add_port_hooks(p, s->out[2]);
        phases = 0;
    }
    add_attend_op(p, s, phases | SONDE_ATTEND_VALUES);
}

static int64_t last_cache(const planner *p)
{
    for (int64_t i = p->r->n_steps - 1; i >= 0; i--)
        if (p->r->steps[i].kind == SONDE_STEP_CACHE && p->needed_step[i]) return i;
    return -1;
}

static void add_step(planner *p, int64_t index)
{
    const sonde_step *s = &p->r->steps[index];
    if (s->kind == SONDE_STEP_HOOK) {
        add_hook(p, index);
    } else if (s->kind == SONDE_STEP_ATTEND) {
        add_attend(p, index);
    } else {
        sonde_op *op = new_op(p, (sonde_op_kind)s->kind);
        add_part(p, op, index);
        bool product = s->kind == SONDE_STEP_LINEAR || s->kind == SONDE_STEP_EXPERTS;
        bool join = product && on(p->plan, SONDE_OFF_FUSE);
        if (join) add_siblings(p, op, index);
    }
}

/* What a run must have room for. */
static void count_products(const planner *p, const sonde_op *op)
{
    sonde_plan *plan = p->plan;
    const sonde_step *s = op->n_steps > 0 ? op->steps[0] : NULL;
    if (op->kind == SONDE_OP_HEADS)
        plan->most_products = SONDE_MAX(plan->most_products, s->u.heads.n_heads);
    if (op->kind != SONDE_OP_ROUTE) return;
    plan->most_experts = SONDE_MAX(plan->most_experts, s->u.route.n_experts);
    plan->most_slots = SONDE_MAX(plan->most_slots, s->u.route.n_chosen);
    plan->most_products = SONDE_MAX(plan->most_products, s->u.route.n_experts);
}

static void build_ops(planner *p)
{
    int64_t narrow_after = on(p->plan, SONDE_OFF_NARROW) ? last_cache(p) : -1;
    p->plan->narrow_op = -1;
    for (int64_t i = 0; i < p->r->n_steps; i++) {
        if (p->needed_step[i] && !p->done[i]) add_step(p, i);
        if (i != narrow_after) continue;
        p->plan->narrow_op = p->plan->n_ops;
        new_op(p, SONDE_OP_NARROW);
    }
    for (int64_t i = p->plan->narrow_op + 1; i < p->plan->n_ops; i++)
        if (p->plan->ops[i].kind == SONDE_OP_HOOK) p->plan->points_after_narrow = true;
    for (int64_t i = 0; i < p->plan->n_ops; i++) {
        sonde_op *op = &p->plan->ops[i];
        resolve_op(p, op);
        count_products(p, op);
    }
}

/* ---- batch size --------------------------------------------------------------------------------------- */

static bool hook_wanted_on_logits(const sonde_plan *plan)
{
    const sonde_recipe *r = plan->model->recipe;
    for (int64_t i = 0; i < r->n_hooks; i++)
        if (plan->wants[i] && r->buffers[r->hooks[i].buf].logits) return true;
    return false;
}

static void lower(int64_t *rows, size_t bytes_per_row, size_t limit)
{
    if (bytes_per_row == 0) return;
    int64_t fit = (int64_t)(limit / bytes_per_row);
    *rows = SONDE_MAX(1, SONDE_MIN(*rows, fit));
}

static void set_batch_rows(sonde_plan *plan)
{
    const sonde_recipe *r = plan->model->recipe;
    size_t real = plan->model->backend->real_bytes, ragged = 0;
    size_t ports = (size_t)sonde_plan_ragged_ports(plan);
    for (int64_t i = 0; i < r->n_hooks; i++) {
        if (!plan->wants[i] || !r->buffers[r->hooks[i].buf].ragged) continue;
        size_t keys = (size_t)sonde_plan_most_keys(plan, r->hooks[i].buf);
        ragged = SONDE_MAX(ragged, ports * keys * (size_t)r->buffers[r->hooks[i].buf].width * real);
    }
    plan->batch_rows = plan->options.batch_rows;
    lower(&plan->batch_rows, ragged,
          plan->options.ragged_bytes ? plan->options.ragged_bytes : (size_t)64 << 20);
    plan->all_logits = plan->options.want_labels || hook_wanted_on_logits(plan) ||
                       (!on(plan, SONDE_OFF_NARROW) && wants_logits(plan));
    if (plan->all_logits) lower(&plan->batch_rows, (size_t)r->dims.vocab * real, MAX_LOGITS_BYTES);
    plan->logits_rows = plan->all_logits ? plan->batch_rows
                                         : SONDE_MIN(plan->batch_rows, plan->options.max_sequences);
}

/* ---- creation ------------------------------------------------------------------------------------------ */

static sonde_status make_ops(sonde_plan *plan, sonde_error *err)
{
    const sonde_recipe *r = plan->model->recipe;
    size_t steps = (size_t)r->n_steps, bufs = (size_t)r->n_buffers;
    planner p = {.plan = plan, .r = r};
    p.needed_step = sonde_alloc(steps, sizeof(bool));
    p.done = sonde_alloc(steps, sizeof(bool));
    p.needed_buf = sonde_alloc(bufs, sizeof(bool));
    plan->ops = sonde_alloc(steps * 2 + 2, sizeof *plan->ops);
    sonde_status status = SONDE_OK;
    if (!p.needed_step || !p.done || !p.needed_buf || !plan->ops) {
        status = sonde_no_memory(err, "a plan", steps * sizeof *plan->ops);
    } else {
        find_needed(&p);
        build_ops(&p);
    }
    sonde_free(p.needed_step);
    sonde_free(p.done);
    sonde_free(p.needed_buf);
    return status;
}

static sonde_status check_wants(const sonde_plan *plan, sonde_error *err)
{
    for (int64_t i = 0; i < plan->model->n_points; i++) {
        const sonde_hook_point *point = &plan->model->points[i];
        if ((plan->wants[i] & SONDE_WANT_WRITE) && !point->writable)
            return sonde_fail(err, SONDE_USAGE, "hook point %s cannot be written: %s", point->name,
                              point->not_writable_why);
    }
    return SONDE_OK;
}

static sonde_status check_limits(const sonde_plan *plan, sonde_error *err)
{
    const sonde_plan_options *o = &plan->options;
    const sonde_recipe *r = plan->model->recipe;
    if (o->kv_dtype != SONDE_DTYPE_F32 && o->kv_dtype != SONDE_DTYPE_BF16 &&
        o->kv_dtype != SONDE_DTYPE_F16)
        return sonde_fail(err, SONDE_USAGE, "KV cache of type %s: expected f32, bf16 or f16",
                          sonde_dtype_name(o->kv_dtype));
    if (o->batch_rows < 1 || o->max_positions < 1)
        return sonde_fail(err, SONDE_USAGE, "a plan of %lld rows and %lld positions: expected at "
                          "least 1 of each", (long long)o->batch_rows, (long long)o->max_positions);
    for (int64_t i = 0; i < r->n_steps; i++)
        if (r->steps[i].kind == SONDE_STEP_EMBED && r->steps[i].weight != SONDE_ROLE_TOKEN_EMBED &&
            o->max_positions > r->dims.max_positions)
            return sonde_fail(err, SONDE_USAGE, "a context of %lld positions: the model has learned "
                              "embeddings for %lld", (long long)o->max_positions,
                              (long long)r->dims.max_positions);
    return SONDE_OK;
}

static sonde_status fill_plan(sonde_plan *plan, const sonde_plan_options *options, sonde_error *err)
{
    size_t points = (size_t)plan->model->n_points;
    plan->wants = sonde_alloc(points, 1);
    if (!plan->wants) return sonde_no_memory(err, "a plan's wants", points);
    if (options->wants) memcpy(plan->wants, options->wants, points);
    plan->options.wants = plan->wants;
    SONDE_TRY(check_limits(plan, err));
    SONDE_TRY(check_wants(plan, err));
    plan->logits = logits_buffer(plan->model->recipe);
    set_batch_rows(plan);
    SONDE_TRY(make_ops(plan, err));
    SONDE_TRY(sonde_plan_lay_out(plan, err));
    return sonde_plan_make_ropes(plan, err);
}

sonde_status sonde_plan_create(const sonde_model *model, const sonde_plan_options *options,
                               sonde_plan **out, sonde_error *err)
{
    sonde_plan *plan = sonde_alloc(1, sizeof *plan);
    if (!plan) return sonde_no_memory(err, "a plan", sizeof *plan);
    plan->model = model;
    plan->options = *options;
    plan->options.max_sequences = SONDE_MAX(1, options->max_sequences);
    sonde_status status = fill_plan(plan, options, err);
    if (status == SONDE_OK) *out = plan;
    else sonde_plan_destroy(&plan);
    return status;
}

void sonde_plan_destroy(sonde_plan **out)
{
    sonde_plan *plan = *out;
    if (!plan) return;
    sonde_plan_free_ropes(plan);
    sonde_free(plan->kv_offset);
    sonde_free(plan->kv_layouts);
    sonde_free(plan->buffers);
    sonde_free(plan->ops);
    sonde_free(plan->wants);
    sonde_free(plan);
    *out = NULL;
}

const sonde_model *sonde_plan_model(const sonde_plan *plan)
{
    return plan->model;
}
