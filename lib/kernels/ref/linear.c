/*
 * linear.c - the definition of y = x W^T + bias (+ residual), kernels.md 1: one fma chain in k order
 * from +0 inside each block of k, block sums added in order, then the bias, then the residual.
 */
#include "kernels/linear.h"

#include <math.h>

static float weight_at(const sonde_packed *w, int64_t panel, int64_t k, int64_t lane)
{
    size_t at = (size_t)((panel * w->cols + k) * SONDE_PANEL + lane);
    if (w->dtype == SONDE_DTYPE_F32) return ((const float *)w->data)[at];
    uint16_t bits = ((const uint16_t *)w->data)[at];
    return w->dtype == SONDE_DTYPE_BF16 ? sonde_bf16_to_f32(bits) : sonde_f16_to_f32(bits);
}

static float dot(const sonde_packed *w, int64_t panel, int64_t lane, const float *x)
{
    float total = 0.0f;
    for (int64_t block = 0; block < sonde_linear_blocks(w->cols); block++) {
        int64_t end = sonde_linear_block_begin(w->cols, block + 1);
        float sum = 0.0f;
        for (int64_t k = sonde_linear_block_begin(w->cols, block); k < end; k++)
            sum = fmaf(x[k], weight_at(w, panel, k, lane), sum);
        total = block == 0 ? sum : total + sum;
    }
    return total;
}

static void one_row(const sonde_linear_args *args, const sonde_linear_unit *u, int64_t m)
{
    const sonde_linear_part *p = u->part;
    const float *x = (const float *)args->x + (args->x_rows ? args->x_rows[m] : m) * args->x_stride;
    float *y = (float *)p->y + m * p->y_stride;
    for (int64_t lane = 0; lane < SONDE_PANEL; lane++) {
        int64_t n = u->panel * SONDE_PANEL + lane;
        if (n >= p->weight->rows) break;
        float value = dot(p->weight, u->panel, lane, x);
        if (p->bias) value = value + ((const float *)p->bias)[n];
        if (p->residual) value = ((const float *)p->residual)[m * p->residual_stride + n] + value;
        y[n] = value;
    }
}

void sonde_linear_scalar(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_linear_unit u = sonde_linear_unit_at(args, unit);
        for (int64_t m = u.first_row; m < u.first_row + u.n_rows; m++) one_row(args, &u, m);
    }
}
