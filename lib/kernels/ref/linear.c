/*
 * linear.c - the definition of y = x W^T + bias (+ residual), kernels.md 1: one fma chain in k order
 * from +0 inside each block of k, block sums added in order, then the bias, then the residual.
 */
#include "kernels/linear.h"
#include "kernels/quant.h"

#include <math.h>

static float weight_at(const sonde_packed *w, int64_t panel, int64_t k, int64_t lane)
{
    size_t at = (size_t)((panel * w->cols + k) * SONDE_PANEL + lane);
    if (w->dtype == SONDE_DTYPE_F32) return ((const float *)w->data)[at];
    uint16_t bits = ((const uint16_t *)w->data)[at];
    return w->dtype == SONDE_DTYPE_BF16 ? sonde_bf16_to_f32(bits) : sonde_f16_to_f32(bits);
}

/* Row n of W as fp32: of a mapped matrix decoded into `row`, else gathered there from its panel. */
static void widen_row(const sonde_packed *w, int64_t panel, int64_t lane, float *row)
{
    if (w->mapped) {
        sonde_matrix_row(&w->source, panel * SONDE_PANEL + lane, row);
        return;
    }
    if (sonde_quant_packed(w)) {
        sonde_quant_row(w, panel * SONDE_PANEL + lane, row);
        return;
    }
    for (int64_t k = 0; k < w->cols; k++) row[k] = weight_at(w, panel, k, lane);
}

static float dot(const float *w, const float *x, int64_t cols)
{
    float total = 0.0f;
    for (int64_t block = 0; block < sonde_linear_blocks(cols); block++) {
        int64_t end = sonde_linear_block_begin(cols, block + 1);
        float sum = 0.0f;
        for (int64_t k = sonde_linear_block_begin(cols, block); k < end; k++)
            sum = fmaf(x[k], w[k], sum);
        total = block == 0 ? sum : total + sum;
    }
    return total;
}

/* Output n of the rows of a unit. */
static void one_output(const sonde_linear_args *args, const sonde_linear_unit *u, int64_t n,
                       const float *row)
{
    const sonde_linear_part *p = u->part;
    for (int64_t m = u->first_row; m < u->first_row + u->n_rows; m++) {
        int64_t from = args->x_rows ? args->x_rows[m] : m, to = sonde_linear_y_row(args, m);
        float value = dot(row, (const float *)args->x + from * args->x_stride, p->weight->cols);
        if (p->bias) value = value + ((const float *)p->bias)[n];
        if (p->residual) value = ((const float *)p->residual)[to * p->residual_stride + n] + value;
        ((float *)p->y)[to * p->y_stride + n] = value;
    }
}

void sonde_linear_scalar(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_linear_unit u = sonde_linear_unit_at(args, unit);
        const sonde_packed *w = u.part->weight;
        for (int64_t lane = 0; lane < SONDE_PANEL; lane++) {
            int64_t n = u.panel * SONDE_PANEL + lane;
            if (n >= w->rows) break;
            widen_row(w, u.panel, lane, scratch);
            one_output(args, &u, n, scratch);
        }
    }
}
