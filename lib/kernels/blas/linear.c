/*
 * linear.c - matrix products of the `blas` backend: W as row-major fp32, one sgemm per part and
 * block of rows. OpenBLAS runs on one thread; our threads divide the rows. Its result may depend on
 * the rows of a block, so this backend is not exact.
 */
#include "kernels/linear.h"

#include <cblas.h>
#include <pthread.h>
#include <string.h>

#define BLAS_ROWS 256
#define BLAS_MAPPED_OUTPUTS 128 /* of a mapped matrix, decoded together */
#define BLAS_GATHERED 64        /* rows of x that lie apart, copied together */

static void one_thread(void)
{
    openblas_set_num_threads(1);
}

sonde_dtype sonde_blas_packed_dtype(sonde_dtype stored)
{
    (void)stored;
    return SONDE_DTYPE_F32;
}

size_t sonde_blas_packed_bytes(sonde_dtype packed, int64_t rows, int64_t cols)
{
    int64_t elements;
    return sonde_mul_i64(rows, cols, &elements) ? sonde_dtype_bytes(packed, elements) : SIZE_MAX;
}

void sonde_blas_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                     int64_t end, float *scratch)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, one_thread);
    (void)scratch;
    int64_t last = SONDE_MIN(end * SONDE_PANEL, source->rows);
    for (int64_t r = begin * SONDE_PANEL; r < last; r++)
        sonde_matrix_row(source, r, (float *)packed->data + r * source->cols);
}

void sonde_blas_embed(const sonde_embed_args *args, int64_t begin, int64_t end)
{
    size_t bytes = (size_t)args->weight->cols * sizeof(float);
    for (int64_t m = begin; m < end; m++) {
        float *y = (float *)args->y + m * args->y_stride;
        if (args->weight->mapped)
            sonde_matrix_row(&args->weight->source, args->ids[m], y);
        else
            memcpy(y, (const float *)args->weight->data + args->ids[m] * args->weight->cols, bytes);
    }
}

int64_t sonde_blas_linear_units(const sonde_linear_args *args)
{
    return args->n_parts * ((args->m + BLAS_ROWS - 1) / BLAS_ROWS);
}

static void add_edges(const sonde_linear_part *p, int64_t m)
{
    float *y = (float *)p->y + m * p->y_stride;
    const float *bias = p->bias;
    const float *residual = p->residual ? (const float *)p->residual + m * p->residual_stride : NULL;
    for (int64_t n = 0; n < p->weight->rows; n++) {
        if (bias) y[n] = y[n] + bias[n];
        if (residual) y[n] = residual[n] + y[n];
    }
}

/* Outputs [first, first + n) of W, which lie at `w`. */
typedef struct outputs {
    const float *w;
    int64_t first, n;
} outputs;

/* Rows of x by outputs `o` into y, both in a line. */
static void multiply(const sonde_linear_part *p, const outputs *o, const float *x, int64_t x_stride,
                     float *y, int64_t y_stride, int64_t rows)
{
    int cols = (int)p->weight->cols;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)o->n, cols, 1.0f, x,
                (int)x_stride, o->w, cols, 0.0f, y, (int)y_stride);
}

/* The same for output rows [first, first + rows) that lie apart in x, and perhaps in y: they are
 * gathered in scratch, and spread from there. */
static void multiply_apart(const sonde_linear_args *args, const sonde_linear_part *p,
                           const outputs *o, int64_t first, int64_t rows, float *scratch)
{
    int64_t cols = p->weight->cols, stride = args->y_rows ? o->n : p->y_stride;
    float *x = scratch, *y = (float *)p->y + first * p->y_stride + o->first;
    if (args->y_rows) y = scratch + BLAS_GATHERED * cols;
    for (int64_t i = 0; i < rows; i++) {
        int64_t from = args->x_rows ? args->x_rows[first + i] : first + i;
        memcpy(x + i * cols, (const float *)args->x + from * args->x_stride,
               (size_t)cols * sizeof *x);
    }
    multiply(p, o, x, cols, y, stride, rows);
    for (int64_t i = 0; args->y_rows && i < rows; i++)
        memcpy((float *)p->y + args->y_rows[first + i] * p->y_stride + o->first, y + i * stride,
               (size_t)o->n * sizeof *y);
}

static void multiply_rows(const sonde_linear_args *args, const sonde_linear_part *p,
                          const outputs *o, int64_t first, int64_t rows, float *scratch)
{
    bool apart = args->x_rows || args->y_rows;
    if (!apart)
        multiply(p, o, (const float *)args->x + first * args->x_stride, args->x_stride,
                 (float *)p->y + first * p->y_stride + o->first, p->y_stride, rows);
    for (int64_t at = 0; apart && at < rows; at += BLAS_GATHERED)
        multiply_apart(args, p, o, first + at, SONDE_MIN(BLAS_GATHERED, rows - at), scratch);
}

/* Scratch: outputs of a mapped matrix, then gathered rows. */
static void multiply_part(const sonde_linear_args *args, const sonde_linear_part *p, int64_t first,
                          int64_t rows, float *scratch)
{
    const sonde_packed *w = p->weight;
    int64_t step = w->mapped ? BLAS_MAPPED_OUTPUTS : w->rows;
    float *gathered = scratch + (sonde_linear_mapped(args) ? BLAS_MAPPED_OUTPUTS * w->cols : 0);
    for (int64_t n = 0; n < w->rows; n += step) {
        outputs o = {w->data, n, SONDE_MIN(step, w->rows - n)};
        for (int64_t i = 0; w->mapped && i < o.n; i++)
            sonde_matrix_row(&w->source, n + i, scratch + i * w->cols);
        if (w->mapped) o.w = scratch;
        multiply_rows(args, p, &o, first, rows, gathered);
    }
}

size_t sonde_blas_linear_scratch(const sonde_linear_args *args)
{
    size_t cols = (size_t)args->parts[0].weight->cols, most = 0;
    for (int32_t i = 0; args->y_rows && i < args->n_parts; i++)
        most = SONDE_MAX(most, (size_t)args->parts[i].weight->rows);
    bool apart = args->x_rows || args->y_rows;
    size_t gathered = apart ? BLAS_GATHERED * (cols + most) : 0;
    return (gathered + (sonde_linear_mapped(args) ? BLAS_MAPPED_OUTPUTS * cols : 0)) * sizeof(float);
}

void sonde_blas_linear(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t unit = begin; unit < end; unit++) {
        const sonde_linear_part *p = &args->parts[unit % args->n_parts];
        int64_t first = unit / args->n_parts * BLAS_ROWS;
        int64_t rows = SONDE_MIN(BLAS_ROWS, args->m - first);
        multiply_part(args, p, first, rows, scratch);
        for (int64_t m = first; m < first + rows; m++) add_edges(p, sonde_linear_y_row(args, m));
    }
}
