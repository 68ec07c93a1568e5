/*
 * run_experts.c - a mixture of experts: the choice for each row, one product for each expert over
 * the rows that chose it, the sum.
 *
 * Slot j of row r is virtual row r k + j of buffers [rows, k, width], whose rows lie in a line. The
 * lists of virtual rows by expert are made anew for each step: no bit sees the order.
 */
#include "run_internal.h"

#include <string.h>

static const int32_t *ids_of(const sonde_run *run, sonde_buf buf, int64_t row)
{
    size_t stride = (size_t)run->plan->buffers[buf].stride * run->plan->model->backend->real_bytes;
    const char *base = sonde_run_buffer(run, buf);
    return (const int32_t *)(const void *)(base + (size_t)row * stride);
}

sonde_status sonde_run_route(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_step *s = op->steps[0];
    const sonde_plan_buffer *buffers = run->plan->buffers;
    sonde_route_args args = {.spec = &s->u.route,
                             .logits = sonde_run_buffer(run, s->in[0]),
                             .logits_stride = buffers[s->in[0]].stride,
                             .correction = op->weight,
                             .weights = sonde_run_buffer(run, s->out[0]),
                             .weights_stride = buffers[s->out[0]].stride,
                             .ids = sonde_run_buffer(run, s->out[1]),
                             .ids_stride = buffers[s->out[1]].stride,
                             .m = run->set.n_rows};
    SONDE_TRY(sonde_run_need_scratch(run, sonde_route_scratch(&args), err));
    sonde_run_call(run, SONDE_OP_ROUTE, &args, args.m);
    return SONDE_OK;
}

/* Lists by expert: first[e] is where those of expert e begin in x_rows and y_rows. */
static void group_rows(sonde_run *run, const sonde_step *s)
{
    sonde_expert_rows *rows = &run->experts;
    int64_t k = run->plan->buffers[s->in[1]].width, n = run->set.n_rows, at = 0;
    bool each = run->plan->model->recipe->buffers[s->in[0]].slots > 0;
    memset(rows->first, 0, (size_t)(rows->most + 1) * sizeof *rows->first);
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < k; j++) rows->first[ids_of(run, s->in[1], r)[j]]++;
    for (int64_t e = 0; e <= rows->most; e++) {
        int32_t count = rows->first[e];
        rows->first[e] = (int32_t)at;
        at += count;
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < k; j++) {
            int32_t place = rows->first[ids_of(run, s->in[1], r)[j]]++;
            rows->y_rows[place] = (int32_t)(r * k + j);
            rows->x_rows[place] = (int32_t)(each ? r * k + j : r);
        }
}

static sonde_linear_part expert_part(const sonde_run *run, const sonde_op *op, int32_t i, int64_t expert)
{
    const sonde_step *s = op->steps[i];
    int64_t width = op->matrix[i][expert].rows;
    size_t skip = (size_t)(expert * width) * run->plan->model->backend->real_bytes;
    return (sonde_linear_part){.weight = &op->matrix[i][expert],
                               .bias = op->bias[i] ? (const char *)op->bias[i] + skip : NULL,
                               .y = sonde_run_buffer(run, s->out[0]), .y_stride = width};
}

sonde_status sonde_run_experts(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_step *s = op->steps[0];
    const sonde_plan_buffer *x = &run->plan->buffers[s->in[0]];
    int64_t slots = run->plan->model->recipe->buffers[s->in[0]].slots, begin = 0;
    group_rows(run, s);
    run->products.n = 0;
    for (int64_t e = 0; e < run->experts.most; e++) {
        int64_t end = run->experts.first[e]; /* filled: where the next one's begin */
        if (end == begin) continue;
        sonde_linear_args *args = &run->products.args[run->products.n++];
        *args = (sonde_linear_args){.x = sonde_run_buffer(run, s->in[0]),
                                    .x_stride = slots > 0 ? x->width / slots : x->stride,
                                    .x_rows = run->experts.x_rows + begin,
                                    .y_rows = run->experts.y_rows + begin,
                                    .m = end - begin, .n_parts = op->n_steps};
        for (int32_t i = 0; i < op->n_steps; i++) args->parts[i] = expert_part(run, op, i, e);
        begin = end;
    }
    return sonde_run_products(run, SONDE_OP_EXPERTS, err);
}

void sonde_run_combine(sonde_run *run, const sonde_op *op)
{
    const sonde_step *s = op->steps[0];
    const sonde_plan_buffer *buffers = run->plan->buffers;
    bool weighted = s->in[1] != SONDE_NO_BUF, shared = s->in[2] != SONDE_NO_BUF;
    sonde_combine_args args = {.x = sonde_run_buffer(run, s->in[0]),
                               .x_stride = buffers[s->in[0]].stride,
                               .weights = weighted ? sonde_run_buffer(run, s->in[1]) : NULL,
                               .weights_stride = weighted ? buffers[s->in[1]].stride : 0,
                               .shared = shared ? sonde_run_buffer(run, s->in[2]) : NULL,
                               .shared_stride = shared ? buffers[s->in[2]].stride : 0,
                               .y = sonde_run_buffer(run, s->out[0]),
                               .y_stride = buffers[s->out[0]].stride,
                               .m = run->set.n_rows,
                               .slots = run->plan->model->recipe->buffers[s->in[0]].slots,
                               .width = buffers[s->out[0]].width};
    sonde_run_call(run, SONDE_OP_COMBINE, &args, args.m);
}
