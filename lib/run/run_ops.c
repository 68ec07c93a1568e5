/* run_ops.c - one planned call: arguments from the plan, units to the threads, hooks to the tap. */
#include "run_internal.h"

#include "kernels/functions.h"

#include <math.h>
#include <string.h>

void *sonde_run_buffer(const sonde_run *run, sonde_buf buf)
{
    const sonde_plan_buffer *b = &run->plan->buffers[buf];
    bool ragged = run->plan->model->recipe->buffers[buf].ragged;
    return (ragged ? run->ragged : run->arena) + b->offset;
}

static int64_t stride_of(const sonde_run *run, sonde_buf buf)
{
    return run->plan->buffers[buf].stride;
}

static int64_t rows_of(const sonde_run *run, sonde_buf buf)
{
    return run->plan->buffers[buf].logits ? run->n_logits : run->set.n_rows;
}

/* ---- threads ------------------------------------------------------------------------------------------ */

typedef struct kernel_call {
    const sonde_run *run;
    sonde_op_kind kind;
    const void *args;
} kernel_call;

static void run_units(void *context, int64_t begin, int64_t end, int thread)
{
    const kernel_call *c = context;
    const sonde_backend *backend = c->run->plan->model->backend;
    void *scratch = c->run->scratch + (size_t)thread * c->run->scratch_bytes;
    unsigned fpu = sonde_fpu_enter();
    switch (c->kind) {
    case SONDE_OP_EMBED: backend->embed(c->args, begin, end); break;
    case SONDE_OP_PREPARE: backend->linear_prepare(c->args, begin, end, c->run->prepared); break;
    case SONDE_OP_LINEAR: backend->linear(c->args, begin, end, scratch); break;
    case SONDE_OP_NORM: backend->norm(c->args, begin, end); break;
    case SONDE_OP_ROPE: backend->rope(c->args, begin, end); break;
    case SONDE_OP_CACHE: backend->cache(c->args, begin, end); break;
    case SONDE_OP_ATTEND: backend->attend(c->args, begin, end, scratch); break;
    case SONDE_OP_MAP: backend->map(c->args, begin, end); break;
    case SONDE_OP_JOIN: backend->join(c->args, begin, end); break;
    case SONDE_OP_HEADS:
    case SONDE_OP_EXPERTS: sonde_product_units(backend, c->args, begin, end, scratch); break;
    case SONDE_OP_ROUTE: backend->route(c->args, begin, end, scratch); break;
    case SONDE_OP_COMBINE: backend->combine(c->args, begin, end); break;
    default: break;
    }
    sonde_fpu_restore(fpu);
}

void sonde_run_call(sonde_run *run, sonde_op_kind kind, const void *args, int64_t units)
{
    kernel_call c = {run, kind, args};
    /* Units of attention are large, and the last ones of a prompt the largest. */
    int64_t grain = kind == SONDE_OP_ATTEND ? 1 : sonde_pool_grain(run->pool, units);
    sonde_pool_for(run->pool, units, grain, run_units, &c);
    run->stats.kernel_calls++;
}

sonde_status sonde_run_need_scratch(sonde_run *run, size_t bytes, sonde_error *err)
{
    bytes = (bytes + 63) & ~(size_t)63;
    if (bytes <= run->scratch_bytes) return SONDE_OK;
    size_t threads = (size_t)sonde_pool_threads(run->pool);
    char *bigger = sonde_alloc_raw(threads, bytes);
    if (!bigger) return sonde_no_memory(err, "scratch of the threads", threads * bytes);
    sonde_free(run->scratch);
    run->scratch = bigger;
    run->scratch_bytes = bytes;
    return SONDE_OK;
}

/* ---- steps -------------------------------------------------------------------------------------------- */

static void run_embed(sonde_run *run, const sonde_op *op)
{
    const sonde_step *s = op->steps[0];
    bool token = s->weight == SONDE_ROLE_TOKEN_EMBED;
    sonde_embed_args args = {.weight = op->matrix[0],
                             .ids = token ? run->token_ids : run->position_ids,
                             .m = run->set.n_rows,
                             .y = sonde_run_buffer(run, s->out[0]),
                             .y_stride = stride_of(run, s->out[0])};
    sonde_run_call(run, SONDE_OP_EMBED, &args, args.m);
}

/* Where a backend works on x first (--mode int): once, for all threads. */
static sonde_status prepare_linear(sonde_run *run, sonde_linear_args *args, sonde_error *err)
{
    const sonde_backend *backend = run->plan->model->backend;
    size_t bytes = backend->linear_prepared ? backend->linear_prepared(args) : 0;
    if (bytes == 0) return SONDE_OK;
    if (bytes > run->prepared_bytes) {
        void *bigger = sonde_alloc_raw(1, bytes);
        if (!bigger) return sonde_no_memory(err, "rows prepared for products", bytes);
        sonde_free(run->prepared);
        run->prepared = bigger;
        run->prepared_bytes = bytes;
    }
    sonde_run_call(run, SONDE_OP_PREPARE, args, args->m);
    args->prepared = run->prepared;
    return SONDE_OK;
}

static sonde_status run_linear(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_step *first = op->steps[0];
    bool gather = first->logits && !run->plan->buffers[first->in[0]].logits;
    sonde_linear_args args = {.x = sonde_run_buffer(run, first->in[0]),
                              .x_stride = stride_of(run, first->in[0]),
                              .x_rows = gather ? run->logits_rows : NULL,
                              .m = rows_of(run, op->out[0]),
                              .n_parts = op->n_steps};
    for (int32_t i = 0; i < op->n_steps; i++) {
        bool add = op->residual[i] != SONDE_NO_BUF;
        args.parts[i] = (sonde_linear_part){
            .weight = op->matrix[i], .bias = op->bias[i],
            .residual = add ? sonde_run_buffer(run, op->residual[i]) : NULL,
            .residual_stride = add ? stride_of(run, op->residual[i]) : 0,
            .y = sonde_run_buffer(run, op->out[i]), .y_stride = stride_of(run, op->out[i])};
    }
    if (args.m == 0) return SONDE_OK;
    const sonde_backend *backend = run->plan->model->backend;
    SONDE_TRY(prepare_linear(run, &args, err));
    SONDE_TRY(sonde_run_need_scratch(run, backend->linear_scratch(&args), err));
    sonde_run_call(run, SONDE_OP_LINEAR, &args, backend->linear_units(&args));
    sonde_run_release_mapped(&args);
    return SONDE_OK;
}

static void run_norm(sonde_run *run, const sonde_op *op)
{
    const sonde_step *s = op->steps[0];
    const sonde_norm_spec *spec = &s->u.norm;
    sonde_norm_args args = {.kind = spec->kind,
                            .x = sonde_run_buffer(run, s->in[0]),
                            .x_stride = stride_of(run, s->in[0]),
                            .y = sonde_run_buffer(run, s->out[0]),
                            .y_stride = stride_of(run, s->out[0]),
                            .scale = sonde_run_buffer(run, s->out[1]),
                            .scale_stride = stride_of(run, s->out[1]),
                            .weight = op->weight,
                            .bias = op->bias[0],
                            .m = rows_of(run, s->out[0]),
                            .group = spec->group,
                            .weight_per_group = spec->weight_per_group,
                            .groups = run->plan->buffers[s->in[0]].width / spec->group,
                            .eps = spec->eps};
    sonde_run_call(run, SONDE_OP_NORM, &args, args.m);
}

static void run_rope(sonde_run *run, const sonde_step *s)
{
    int32_t table = s->u.rope.table;
    const sonde_rope_spec *spec = &run->plan->model->recipe->ropes[table];
    bool per_row = run->rope_cos[table] != NULL;
    for (int64_t m = 0; m < run->set.n_rows; m++)
        run->entries[m] = per_row ? run->set.origin[m] : (int32_t)run->set.rows[m].position;
    sonde_rope_args args = {.pairing = spec->pairing,
                            .x = sonde_run_buffer(run, s->in[0]),
                            .x_stride = stride_of(run, s->in[0]),
                            .y = sonde_run_buffer(run, s->out[0]),
                            .y_stride = stride_of(run, s->out[0]),
                            .m = run->set.n_rows,
                            .n_heads = s->u.rope.n_heads,
                            .head_dim = s->u.rope.head_dim,
                            .offset = s->u.rope.offset,
                            .rotary_dims = spec->rotary_dims,
                            .cos = per_row ? run->rope_cos[table] : run->plan->ropes[table].cos,
                            .sin = per_row ? run->rope_sin[table] : run->plan->ropes[table].sin,
                            .entry = run->entries};
    sonde_run_call(run, SONDE_OP_ROPE, &args, args.m);
}

/* Llama 4's temperature of each row. */
static void set_factors(sonde_run *run, const sonde_map_spec *spec)
{
    bool wide = run->plan->model->backend->real_bytes == sizeof(double);
    for (int64_t m = 0; m < run->set.n_rows; m++) {
        double steps = floor((double)(run->set.rows[m].position + 1) / spec->c);
        double factor = sonde_log64(1.0 + steps) * spec->d + 1.0;
        if (wide) ((double *)run->factors)[m] = factor;
        else ((float *)run->factors)[m] = (float)factor;
    }
}

static void run_map(sonde_run *run, const sonde_step *s)
{
    bool two = s->in[1] != SONDE_NO_BUF, by_row = s->u.map.op == SONDE_MAP_SCALE_BY_POSITION;
    if (by_row) set_factors(run, &s->u.map);
    sonde_map_args args = {.op = (sonde_map_op)s->u.map.op,
                           .act = s->u.map.act,
                           .a = sonde_run_buffer(run, s->in[0]),
                           .a_stride = stride_of(run, s->in[0]),
                           .b = two ? sonde_run_buffer(run, s->in[1]) : by_row ? run->factors : NULL,
                           .b_stride = two ? stride_of(run, s->in[1]) : 1,
                           .y = sonde_run_buffer(run, s->out[0]),
                           .y_stride = stride_of(run, s->out[0]),
                           .m = rows_of(run, s->out[0]),
                           .width = run->plan->buffers[s->out[0]].width,
                           .slots = run->plan->model->recipe->buffers[s->out[0]].slots,
                           .c = s->u.map.c,
                           .d = s->u.map.d};
    sonde_run_call(run, SONDE_OP_MAP, &args, args.m);
}

static sonde_join_part join_part(const sonde_run *run, const sonde_head_dims *d)
{
    int64_t of_head = run->plan->buffers[d->buf].width / d->n_heads;
    char *base = sonde_run_buffer(run, d->buf);
    return (sonde_join_part){.x = base + (size_t)d->first * run->plan->model->backend->real_bytes,
                             .x_stride = stride_of(run, d->buf),
                             .head_stride = d->n_heads > 1 ? of_head : 0,
                             .dims = d->dims};
}

static void run_join(sonde_run *run, const sonde_step *s)
{
    sonde_join_args args = {.part = {join_part(run, &s->u.heads.part[0]),
                                     join_part(run, &s->u.heads.part[1])},
                            .y = sonde_run_buffer(run, s->out[0]),
                            .y_stride = stride_of(run, s->out[0]),
                            .m = run->set.n_rows,
                            .n_heads = s->u.heads.n_heads};
    sonde_run_call(run, SONDE_OP_JOIN, &args, args.m);
}

static sonde_kv_layout layout_of(const sonde_run *run, int64_t n_kv, int64_t head_dim,
                                 int64_t value_dim)
{
    bool wide = run->plan->model->backend->real_bytes == sizeof(double);
    return (sonde_kv_layout){wide ? SONDE_DTYPE_F64 : run->plan->options.kv_dtype, n_kv, head_dim,
                             value_dim};
}

static void set_pages(sonde_run *run, int64_t layer)
{
    for (int64_t i = 0; i < run->set.n_spans; i++) {
        const sonde_sequence *s = run->items[run->set.span_item[i]].sequence;
        run->set.spans[i].pages = s->layer_pages + layer * s->max_blocks;
    }
}

static void run_cache(sonde_run *run, const sonde_op *op)
{
    const sonde_step *s = op->steps[0];
    const sonde_attend_spec *a = op->attend;
    set_pages(run, s->layer);
    sonde_cache_args args = {.layout = layout_of(run, a->n_kv_heads, a->head_dim, a->value_dim),
                             .k = sonde_run_buffer(run, s->in[0]),
                             .v = sonde_run_buffer(run, s->in[1]),
                             .k_stride = stride_of(run, s->in[0]),
                             .v_stride = stride_of(run, s->in[1]),
                             .spans = run->set.spans,
                             .n_spans = run->set.n_spans};
    sonde_run_call(run, SONDE_OP_CACHE, &args, run->plan->model->backend->cache_units(&args));
}

static void set_ragged(sonde_run *run, const sonde_attend_spec *a)
{
    run->indptr[0] = 0;
    for (int64_t m = 0; m < run->set.n_rows; m++) {
        int64_t position = run->set.rows[m].position;
        run->first_key[m] = sonde_first_visible(a->mask, a->window, position);
        run->indptr[m + 1] = run->indptr[m] + a->n_heads * (position + 1 - run->first_key[m]);
    }
}

static sonde_status run_attend(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_step *s = op->steps[0];
    const sonde_attend_spec *a = op->attend;
    const sonde_plan_buffer *buffers = run->plan->buffers;
    if (run->set.n_rows == 0) return SONDE_OK;
    set_pages(run, s->layer);
    set_ragged(run, a);
    sonde_attend_args args = {
        .layout = layout_of(run, a->n_kv_heads, a->head_dim, a->value_dim),
        .q = sonde_run_buffer(run, s->in[0]), .q_stride = stride_of(run, s->in[0]),
        .z = sonde_run_buffer(run, s->out[0]), .z_stride = stride_of(run, s->out[0]),
        .spans = run->set.spans, .n_spans = run->set.n_spans, .n_heads = a->n_heads,
        .scale = a->scale, .softcap = a->softcap, .mask = a->mask, .window = a->window,
        .sinks = op->weight, .slopes = a->slopes, .alibi = a->alibi, .phases = op->phases,
        .scores = buffers[s->out[1]].used ? sonde_run_buffer(run, s->out[1]) : NULL,
        .pattern = buffers[s->out[2]].used ? sonde_run_buffer(run, s->out[2]) : NULL,
        .ragged = run->indptr};
    const sonde_backend *backend = run->plan->model->backend;
    SONDE_TRY(sonde_run_need_scratch(run, backend->attend_scratch(&args), err));
    sonde_run_call(run, SONDE_OP_ATTEND, &args, backend->attend_units(&args));
    return SONDE_OK;
}

/* ---- hooks -------------------------------------------------------------------------------------------- */

/* Elements of a view of doubles that the tap sees as floats. */
static int64_t view_elements(const sonde_run *run, const sonde_tap_view *view)
{
    if (view->indptr) return view->indptr[view->n_rows];
    return view->n_rows * run->plan->buffers[run->plan->model->recipe->hooks[view->point].buf].stride;
}

static sonde_status tap_wide(sonde_run *run, sonde_tap_view *view, double *wide, sonde_error *err)
{
    int64_t n = view_elements(run, view);
    for (int64_t i = 0; i < n; i++) run->convert[i] = (float)wide[i];
    view->data = run->convert;
    SONDE_TRY(run->options.tap(run->options.tap_context, view, err));
    for (int64_t i = 0; view->writable && i < n; i++)
        if (run->convert[i] != (float)wide[i]) wide[i] = (double)run->convert[i];
    return SONDE_OK;
}

/* The ids of experts are int32 in rows of doubles, too. */
static sonde_status tap_wide_ids(sonde_run *run, sonde_tap_view *view, const double *wide,
                                 sonde_error *err)
{
    for (int64_t r = 0; r < view->n_rows; r++)
        memcpy(run->convert + r * view->stride, wide + r * view->stride,
               (size_t)view->width * sizeof(int32_t));
    view->data = run->convert;
    return run->options.tap(run->options.tap_context, view, err);
}

static sonde_status run_hook(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_recipe *r = run->plan->model->recipe;
    sonde_buf buf = op->steps[0]->in[0];
    if (!run->options.tap || run->muted || run->set.n_rows == 0) return SONDE_OK;
    bool ragged = r->buffers[buf].ragged;
    sonde_tap_view view = {.point = op->steps[0]->hook,
                           .block = run->block_number,
                           .n_rows = run->set.n_rows,
                           .rows = run->set.rows,
                           .spans = run->set.taps,
                           .n_spans = run->set.n_taps,
                           .data = sonde_run_buffer(run, buf),
                           .stride = stride_of(run, buf),
                           .width = run->plan->buffers[buf].width,
                           .indptr = ragged ? run->indptr : NULL,
                           .first_key = ragged ? run->first_key : NULL,
                           .writable = op->writable,
                           .users = run->users};
    uint64_t begin = sonde_now_ns();
    sonde_status status;
    bool wide = run->plan->model->backend->real_bytes == sizeof(double);
    if (wide && r->buffers[buf].ids)
        status = tap_wide_ids(run, &view, sonde_run_buffer(run, buf), err);
    else if (wide)
        status = tap_wide(run, &view, sonde_run_buffer(run, buf), err);
    else
        status = run->options.tap(run->options.tap_context, &view, err);
    run->stats.hook_ns += sonde_now_ns() - begin;
    return status;
}

sonde_status sonde_run_op(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_step *s = op->n_steps > 0 ? op->steps[0] : NULL;
    if (op->kind == SONDE_OP_NARROW) {
        sonde_run_narrow(run);
        return SONDE_OK;
    }
    switch (op->kind) {
    case SONDE_OP_EMBED: run_embed(run, op); return SONDE_OK;
    case SONDE_OP_LINEAR:
        if (s->logits && !run->plan->buffers[s->in[0]].logits) sonde_run_set_logits(run);
        return run_linear(run, op, err);
    case SONDE_OP_NORM: run_norm(run, op); return SONDE_OK;
    case SONDE_OP_ROPE: run_rope(run, s); return SONDE_OK;
    case SONDE_OP_CACHE: run_cache(run, op); return SONDE_OK;
    case SONDE_OP_ATTEND: return run_attend(run, op, err);
    case SONDE_OP_MAP: run_map(run, s); return SONDE_OK;
    case SONDE_OP_HEADS: return sonde_run_heads(run, op, err);
    case SONDE_OP_JOIN: run_join(run, s); return SONDE_OK;
    case SONDE_OP_ROUTE: return sonde_run_route(run, op, err);
    case SONDE_OP_EXPERTS: return sonde_run_experts(run, op, err);
    case SONDE_OP_COMBINE: sonde_run_combine(run, op); return SONDE_OK;
    default: return run_hook(run, op, err);
    }
}
