/*
 * linear.inc.h - the tile kernel, included once per vector level with LINEAR_NAME and LINEAR_ROWS
 * (rows of the largest tile) defined.
 *
 * A tile is R rows of x by one panel of 32 outputs: 2 R accumulators in registers, one broadcast of
 * x and two loads of W a step of k. M rows are split into equal tiles of at most LINEAR_ROWS.
 */
#include "linear.h"
#include "vec16.h"

typedef struct tile {
    const float *x[LINEAR_ROWS];
    float *y[LINEAR_ROWS];
    const float *residual[LINEAR_ROWS];
    const sonde_packed *weight;
    int64_t panel;
    const float *bias;
    int64_t n_outputs; /* of this panel: 32, or fewer in the last */
} tile;

SONDE_INLINE vec16 load_weight(const void *panel, int64_t at, sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) return v_load((const float *)panel + at);
    if (dtype == SONDE_DTYPE_BF16) return v_load_bf16((const uint16_t *)panel + at);
    return v_load_f16((const uint16_t *)panel + at);
}

/* Bias, residual and the store of one row's 32 outputs; the order of the definition. */
static void finish_row(const tile *t, int row, const float *totals)
{
    float *y = t->y[row];
    for (int64_t n = 0; n < t->n_outputs; n++) {
        float value = totals[n];
        if (t->bias) value = value + t->bias[n];
        if (t->residual[row]) value = t->residual[row][n] + value;
        y[n] = value;
    }
}

SONDE_INLINE void run_tile(const tile *t, const int rows, const sonde_dtype dtype)
{
    const sonde_packed *w = t->weight;
    size_t panel_bytes = (size_t)(w->cols * SONDE_PANEL) * (dtype == SONDE_DTYPE_F32 ? 4u : 2u);
    const void *panel = (const char *)w->data + (size_t)t->panel * panel_bytes;
    float totals[LINEAR_ROWS][SONDE_PANEL];
    int64_t blocks = sonde_linear_blocks(w->cols);
    for (int64_t block = 0; block < blocks; block++) {
        int64_t end = sonde_linear_block_begin(w->cols, block + 1);
        vec16 acc[LINEAR_ROWS][2];
        SONDE_UNROLL
        for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = v_set(0.0f);
        for (int64_t k = sonde_linear_block_begin(w->cols, block); k < end; k++) {
            vec16 w0 = load_weight(panel, k * SONDE_PANEL, dtype);
            vec16 w1 = load_weight(panel, k * SONDE_PANEL + 16, dtype);
            SONDE_UNROLL
            for (int r = 0; r < rows; r++) {
                vec16 x = v_set(t->x[r][k]);
                acc[r][0] = v_fma(x, w0, acc[r][0]);
                acc[r][1] = v_fma(x, w1, acc[r][1]);
            }
        }
        SONDE_UNROLL
        for (int r = 0; r < rows; r++) {
            bool first = block == 0;
            v_store(totals[r], first ? acc[r][0] : v_add(v_load(totals[r]), acc[r][0]));
            v_store(totals[r] + 16, first ? acc[r][1] : v_add(v_load(totals[r] + 16), acc[r][1]));
        }
    }
    for (int r = 0; r < rows; r++) finish_row(t, r, totals[r]);
}

SONDE_INLINE void run_tile_rows(const tile *t, int rows, const sonde_dtype dtype)
{
    switch (rows) {
    case 1: run_tile(t, 1, dtype); break;
    case 2: run_tile(t, 2, dtype); break;
    case 3: run_tile(t, 3, dtype); break;
#if LINEAR_ROWS > 3
    case 4: run_tile(t, 4, dtype); break;
    case 5: run_tile(t, 5, dtype); break;
    case 6: run_tile(t, 6, dtype); break;
    case 7: run_tile(t, 7, dtype); break;
    case 8: run_tile(t, 8, dtype); break;
    case 9: run_tile(t, 9, dtype); break;
    case 10: run_tile(t, 10, dtype); break;
    case 11: run_tile(t, 11, dtype); break;
    default: run_tile(t, 12, dtype); break;
#endif
    }
}

static void run_any_tile(const tile *t, int rows)
{
    if (t->weight->dtype == SONDE_DTYPE_F32) run_tile_rows(t, rows, SONDE_DTYPE_F32);
    else if (t->weight->dtype == SONDE_DTYPE_BF16) run_tile_rows(t, rows, SONDE_DTYPE_BF16);
    else run_tile_rows(t, rows, SONDE_DTYPE_F16);
}

static void set_tile_rows(tile *t, const sonde_linear_args *args, const sonde_linear_part *p,
                          int64_t first, int64_t rows)
{
    int64_t n = t->panel * SONDE_PANEL;
    for (int64_t r = 0; r < rows; r++) {
        int64_t m = first + r, from = args->x_rows ? args->x_rows[m] : m;
        t->x[r] = (const float *)args->x + from * args->x_stride;
        t->y[r] = (float *)p->y + m * p->y_stride + n;
        t->residual[r] =
            p->residual ? (const float *)p->residual + m * p->residual_stride + n : NULL;
    }
}

void LINEAR_NAME(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_linear_unit u = sonde_linear_unit_at(args, unit);
        const sonde_linear_part *p = u.part;
        int64_t n = u.panel * SONDE_PANEL;
        tile t = {.weight = p->weight, .panel = u.panel,
                  .bias = p->bias ? (const float *)p->bias + n : NULL,
                  .n_outputs = SONDE_MIN(SONDE_PANEL, p->weight->rows - n)};
        int64_t tiles = (u.n_rows + LINEAR_ROWS - 1) / LINEAR_ROWS;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t first = u.n_rows * i / tiles, last = u.n_rows * (i + 1) / tiles;
            set_tile_rows(&t, args, p, u.first_row + first, last - first);
            run_any_tile(&t, (int)(last - first));
        }
    }
}
