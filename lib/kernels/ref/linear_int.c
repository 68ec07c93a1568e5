/* linear_int.c - the definition of `--mode int` (quant_int.h), for every bit. */
#include "kernels/quant_int.h"

#include <math.h>
#include <string.h>

typedef struct integers {
    int32_t value[SONDE_QUANT_GROUP];
    float scale;
} integers;

static uint32_t magnitude(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFFu;
}

/* E of a group; 0: all zero. */
static int exponent_of(const float *x)
{
    uint32_t largest = 0;
    for (int i = 0; i < SONDE_QUANT_GROUP; i++) largest = SONDE_MAX(largest, magnitude(x[i]));
    if (largest == 0) return 0;
    return SONDE_MAX((int)((largest + 0x10101u) >> 23), 23);
}

static bool left_to_exact(const float *x, int64_t cols)
{
    int64_t n = 0, sum = 0, most = 0;
    for (int64_t k = 0; k < cols; k += SONDE_QUANT_GROUP) {
        int e = exponent_of(x + k);
        most = SONDE_MAX(most, e);
        sum += e;
        n += e > 0;
    }
    return most >= 255 || n * most - sum > SONDE_INT_MASSIVE * n;
}

static void to_integers(const float *x, integers *out)
{
    int e = SONDE_MAX(exponent_of(x), 23);
    double inverse = ldexp(1.0, 149 - e);
    out->scale = ldexpf(1.0f, e - 149);
    for (int i = 0; i < SONDE_QUANT_GROUP; i++)
        out->value[i] = (int32_t)rint((double)x[i] * inverse);
}

/* ---- a row of W as its integers ------------------------------------------------------------------------ */

static void split_of(const sonde_packed *w, int64_t r, int64_t group, sonde_split_group *out)
{
    if (w->mapped)
        sonde_splitter_of(w->source.dtype)(sonde_matrix_stored_blocks(&w->source, r), group, out);
    else
        sonde_quant_split(w, r, group, out);
}

static float chain_on(float chain, const sonde_quant_form *f, const sonde_split_group *w,
                      const integers *x)
{
    int halves = f->halves ? 2 : 1, n = SONDE_QUANT_GROUP / halves;
    int64_t all = 0;
    for (int half = 0; half < halves; half++) {
        int64_t sum = 0;
        for (int i = half * n; i < (half + 1) * n; i++) {
            sum += (int64_t)w->q[i] * x->value[i];
            all += x->value[i];
        }
        chain = fmaf(w->scale[half], (float)sum * x->scale, chain);
    }
    return f->low ? fmaf(w->low, (float)all * x->scale, chain) : chain;
}

static float dot(const sonde_packed *w, int64_t r, const float *x)
{
    const sonde_quant_form *f = sonde_int_form(w);
    float total = 0.0f;
    for (int64_t block = 0; block < sonde_linear_blocks(w->cols); block++) {
        int64_t end = sonde_linear_block_begin(w->cols, block + 1);
        float chain = 0.0f;
        for (int64_t k = sonde_linear_block_begin(w->cols, block); k < end; k += SONDE_QUANT_GROUP) {
            sonde_split_group group;
            integers row;
            split_of(w, r, k / SONDE_QUANT_GROUP, &group);
            to_integers(x + k, &row);
            chain = chain_on(chain, f, &group, &row);
        }
        total = block == 0 ? chain : total + chain;
    }
    return total;
}

/* ---- units ------------------------------------------------------------------------------------------- */

static void one_row(const sonde_linear_args *args, const sonde_linear_unit *u, int64_t m, void *scratch)
{
    const sonde_linear_part *p = u->part;
    int64_t from = args->x_rows ? args->x_rows[m] : m, to = sonde_linear_y_row(args, m);
    const float *x = (const float *)args->x + from * args->x_stride;
    if (left_to_exact(x, p->weight->cols)) {
        sonde_linear_args one = sonde_linear_one_row(args, m);
        int64_t unit = u->panel;
        for (const sonde_linear_part *q = args->parts; q < p; q++)
            unit += (q->weight->rows + SONDE_PANEL - 1) / SONDE_PANEL;
        sonde_linear_scalar(&one, unit, unit + 1, scratch);
        return;
    }
    int64_t n = u->panel * SONDE_PANEL, end = SONDE_MIN(n + SONDE_PANEL, p->weight->rows);
    for (; n < end; n++) {
        float value = dot(p->weight, n, x);
        if (p->bias) value = value + ((const float *)p->bias)[n];
        if (p->residual) value = ((const float *)p->residual)[to * p->residual_stride + n] + value;
        ((float *)p->y)[to * p->y_stride + n] = value;
    }
}

void sonde_linear_int_scalar(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_linear_unit u = sonde_linear_unit_at(args, unit);
        if (!sonde_int_form(u.part->weight)) {
            sonde_linear_scalar(args, unit, unit + 1, scratch);
            continue;
        }
        for (int64_t m = u.first_row; m < u.first_row + u.n_rows; m++) one_row(args, &u, m, scratch);
    }
}
