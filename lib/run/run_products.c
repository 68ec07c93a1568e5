/*
 * run_products.c - steps that are many products: their units are laid one after the other in one
 * range, so that threads share them however few each product has. Which products are together never
 * changes a bit: each keeps its own order of sums.
 */
#include "run_internal.h"

void sonde_product_units(const sonde_backend *backend, const sonde_products *products, int64_t begin,
                         int64_t end, void *scratch)
{
    const int64_t *first = products->first_unit;
    int64_t low = 0, high = products->n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (first[middle] <= begin) low = middle;
        else high = middle;
    }
    for (int64_t i = low; begin < end; i++) {
        int64_t last = SONDE_MIN(end, first[i + 1]);
        if (begin < last)
            backend->linear(&products->args[i], begin - first[i], last - first[i], scratch);
        begin = SONDE_MAX(begin, last);
    }
}

/* What a product read from the file stays in the system's cache only: this process holds no more of
 * it than one step's matrices. */
void sonde_run_release_mapped(const sonde_linear_args *args)
{
    for (int32_t i = 0; i < args->n_parts && args->m > 0; i++)
        if (args->parts[i].weight->mapped) sonde_matrix_release(&args->parts[i].weight->source);
}

sonde_status sonde_run_products(sonde_run *run, sonde_op_kind kind, sonde_error *err)
{
    const sonde_backend *backend = run->plan->model->backend;
    sonde_products *products = &run->products;
    size_t scratch = 0;
    int64_t units = 0;
    for (int64_t i = 0; i < products->n; i++) {
        const sonde_linear_args *args = &products->args[i];
        products->first_unit[i] = units;
        if (args->m == 0) continue;
        units += backend->linear_units(args);
        scratch = SONDE_MAX(scratch, backend->linear_scratch(args));
    }
    products->first_unit[products->n] = units;
    if (units == 0) return SONDE_OK;
    SONDE_TRY(sonde_run_need_scratch(run, scratch, err));
    sonde_run_call(run, kind, products, units);
    for (int64_t i = 0; i < products->n; i++) sonde_run_release_mapped(&products->args[i]);
    return SONDE_OK;
}

/* y[:, h] = W[h] x[:, h] for every head h, over the dims of each head that the step names. */
sonde_status sonde_run_heads(sonde_run *run, const sonde_op *op, sonde_error *err)
{
    const sonde_step *s = op->steps[0];
    const sonde_head_dims *d = &s->u.heads.part[0];
    const sonde_plan_buffer *in = &run->plan->buffers[d->buf], *out = &run->plan->buffers[s->out[0]];
    size_t real = run->plan->model->backend->real_bytes;
    int64_t n = s->u.heads.n_heads, in_head = d->n_heads > 1 ? in->width / d->n_heads : 0;
    char *x = sonde_run_buffer(run, d->buf), *y = sonde_run_buffer(run, s->out[0]);
    run->products.n = n;
    for (int64_t h = 0; h < n; h++) {
        sonde_linear_args *args = &run->products.args[h];
        *args = (sonde_linear_args){.x = x + (size_t)(h * in_head + d->first) * real,
                                    .x_stride = in->stride, .m = run->set.n_rows, .n_parts = 1};
        args->parts[0] = (sonde_linear_part){.weight = &op->matrix[0][h],
                                             .y = y + (size_t)(h * (out->width / n)) * real,
                                             .y_stride = out->stride};
    }
    return sonde_run_products(run, SONDE_OP_HEADS, err);
}
