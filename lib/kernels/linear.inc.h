/*
 * linear.inc.h - the tile kernel, included once per vector level with LINEAR_NAME, LINEAR_ROWS,
 * LINEAR_WIDE, LINEAR_QUANT_FEW and LINEAR_QUANT_SLICE defined: the rows of a tile of LINEAR_WIDE times 16 outputs that fill the registers.
 *
 * A unit is a block of rows by one panel of 32 outputs; units of one block of rows run together.
 * For each block of k those rows of x stay in the second cache while panel after panel passes; of a
 * panel 16 * LINEAR_WIDE outputs stay in the first one while tiles of rows sweep over them, one
 * broadcast of x a row and a load of W for 16 outputs a step of k. Block sums are added up in y (the
 * last panel of a part in scratch, where it is not full). So few rows that a tile of all 32 outputs
 * fits the registers take panel after panel as memory holds it.
 */
#include "linear.h"
#include "quant.h"
#include "vec16.h"

/* Rows of a tile of all 32 outputs: as many as leave room for the weights. */
#define LINEAR_FEW (LINEAR_WIDE > 1 ? LINEAR_ROWS : 2)

typedef struct tile {
    const float *x[LINEAR_ROWS];
    const void *panel; /* [cols - first][32] */
    int64_t first;     /* k of its first row: 0 in a packed panel */
    int64_t column;    /* first output within the panel */
    float *totals[LINEAR_ROWS]; /* of each row, from output 0 of the panel */
} tile;

SONDE_INLINE vec16 load_weight(const void *panel, int64_t at, sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) return v_load((const float *)panel + at);
    if (dtype == SONDE_DTYPE_BF16) return v_load_bf16((const uint16_t *)panel + at);
    return v_load_f16((const uint16_t *)panel + at);
}

/* Chains over k in [begin, end) from +0; their sums start the totals or are added to them. */
SONDE_INLINE void run_tile(const tile *t, int64_t begin, int64_t end, const int rows, const int wide,
                           const sonde_dtype dtype)
{
    const float *x[LINEAR_ROWS];
    vec16 acc[LINEAR_ROWS][2];
    SONDE_UNROLL
    for (int r = 0; r < rows; r++) {
        x[r] = t->x[r];
        acc[r][0] = acc[r][1] = v_set(0.0f);
    }
    const void *panel = t->panel;
    int64_t at = (begin - t->first) * SONDE_PANEL + t->column;
    for (int64_t k = begin; k < end; k++, at += SONDE_PANEL) {
        vec16 w0 = load_weight(panel, at, dtype), w1 = w0;
        if (wide > 1) w1 = load_weight(panel, at + 16, dtype);
        SONDE_UNROLL
        for (int r = 0; r < rows; r++) {
            vec16 value = v_set(x[r][k]);
            acc[r][0] = v_fma(value, w0, acc[r][0]);
            if (wide > 1) acc[r][1] = v_fma(value, w1, acc[r][1]);
        }
    }
    SONDE_UNROLL
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < wide; j++) {
            float *total = t->totals[r] + t->column + 16 * j;
            v_store(total, begin == 0 ? acc[r][j] : v_add(v_load(total), acc[r][j]));
        }
}

#define ROWS_CASE(n, wide)                                                                         \
    case n: run_tile(t, begin, end, n, wide, dtype); break

/* All 32 outputs of up to LINEAR_FEW rows. */
SONDE_INLINE void run_few(const tile *t, int64_t begin, int64_t end, int64_t rows,
                          const sonde_dtype dtype)
{
    switch (rows) {
        ROWS_CASE(1, 2);
#if LINEAR_WIDE > 1
        ROWS_CASE(2, 2);
        ROWS_CASE(3, 2);
        ROWS_CASE(4, 2);
        ROWS_CASE(5, 2);
        ROWS_CASE(6, 2);
        ROWS_CASE(7, 2);
        ROWS_CASE(8, 2);
        ROWS_CASE(9, 2);
        ROWS_CASE(10, 2);
        ROWS_CASE(11, 2);
#endif
    default: run_tile(t, begin, end, LINEAR_FEW, 2, dtype); break;
    }
}

/* One group of outputs of up to LINEAR_ROWS rows. */
SONDE_INLINE void run_many(const tile *t, int64_t begin, int64_t end, int64_t rows,
                           const sonde_dtype dtype)
{
#if LINEAR_WIDE > 1
    run_few(t, begin, end, rows, dtype);
#else
    switch (rows) {
        ROWS_CASE(1, 1);
        ROWS_CASE(2, 1);
        ROWS_CASE(3, 1);
        ROWS_CASE(4, 1);
        ROWS_CASE(5, 1);
    default: run_tile(t, begin, end, LINEAR_ROWS, 1, dtype); break;
    }
#endif
}

static bool is_full(const sonde_linear_unit *u)
{
    return (u->panel + 1) * SONDE_PANEL <= u->part->weight->rows;
}

/* Where the totals of a row of a unit are kept: y, or scratch for a panel that y has no room for. */
SONDE_INLINE float *totals_of(const sonde_linear_args *args, const sonde_linear_unit *u, int64_t r,
                              float *scratch)
{
    const sonde_linear_part *p = u->part;
    if (!is_full(u)) return scratch + ((p - args->parts) * u->n_rows + r) * SONDE_PANEL;
    return (float *)p->y + sonde_linear_y_row(args, u->first_row + r) * p->y_stride +
           u->panel * SONDE_PANEL;
}

static void set_rows(tile *t, const sonde_linear_args *args, const sonde_linear_unit *u,
                     int64_t first, int64_t rows, float *scratch)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t m = u->first_row + first + r, from = args->x_rows ? args->x_rows[m] : m;
        t->x[r] = (const float *)args->x + from * args->x_stride;
        t->totals[r] = totals_of(args, u, first + r, scratch);
    }
}

/* A block of k of one panel, [cols][32] elements from `begin`. */
typedef struct slice {
    const sonde_linear_unit *unit;
    int64_t begin, end;
} slice;

static const char *slice_start(const slice *s, int64_t k)
{
    const sonde_packed *w = s->unit->part->weight;
    int64_t at = (s->unit->panel * w->cols + k) * SONDE_PANEL;
    return (const char *)w->data + sonde_dtype_bytes(w->dtype, at);
}

/* The slice that comes next, fetched in pieces while this one is worked on. */
typedef struct ahead {
    const char *at, *end;
    int64_t piece;
} ahead;

static ahead ahead_of(const slice *next, int64_t calls)
{
    const sonde_packed *w = next->unit->part->weight;
    if (w->mapped || sonde_quant_packed(w)) return (ahead){NULL, NULL, 0};
    const char *at = slice_start(next, next->begin), *end = slice_start(next, next->end);
    return (ahead){at, end, (end - at) / calls + 64};
}

static void look_ahead(ahead *a)
{
    for (int64_t i = 0; i < a->piece && a->at < a->end; i += 64, a->at += 64) SONDE_PREFETCH(a->at);
}

/* `wide` is the slice as fp32, or NULL: it lies packed. */
SONDE_INLINE void sweep(const sonde_linear_args *args, const slice *s, const slice *next,
                        float *scratch, const float *wide, const sonde_dtype dtype)
{
    const sonde_linear_unit *u = s->unit;
    bool few = u->n_rows <= LINEAR_FEW;
    int64_t most = few ? LINEAR_FEW : LINEAR_ROWS, tiles = (u->n_rows + most - 1) / most;
    int64_t step = few ? SONDE_PANEL : 16 * LINEAR_WIDE;
    tile t = {.panel = wide ? wide : (const void *)slice_start(s, 0), .first = wide ? s->begin : 0};
    ahead a = ahead_of(next, SONDE_PANEL / step * tiles);
    for (t.column = 0; t.column < SONDE_PANEL; t.column += step)
        for (int64_t i = 0; i < tiles; i++) {
            int64_t first = u->n_rows * i / tiles, rows = u->n_rows * (i + 1) / tiles - first;
            set_rows(&t, args, u, first, rows, scratch);
            if (!few) look_ahead(&a);
            if (few) run_few(&t, s->begin, s->end, rows, dtype);
            else run_many(&t, s->begin, s->end, rows, dtype);
        }
}

/* What a thread works with: the slice of a mapped matrix, the totals. */
typedef struct workspace {
    float *slice, *totals;
} workspace;

/* Quantised panels: few rows straight from them, more share a slice as fp32. */
static void sweep_quant(const sonde_linear_args *args, const slice *s, const slice *next,
                        const workspace *work)
{
    const sonde_linear_unit *u = s->unit;
    const sonde_packed *w = u->part->weight;
    if (u->n_rows > SONDE_QUANT_FEW) {
        LINEAR_QUANT_SLICE(w, u->panel, s->begin, s->end, work->slice);
        sweep(args, s, next, work->totals, work->slice, SONDE_DTYPE_F32);
        return;
    }
    sonde_quant_few few = {.w = w, .panel = u->panel, .begin = s->begin, .end = s->end,
                           .rows = u->n_rows};
    for (int64_t r = 0; r < u->n_rows; r++) {
        int64_t m = u->first_row + r, from = args->x_rows ? args->x_rows[m] : m;
        few.x[r] = (const float *)args->x + from * args->x_stride;
        few.totals[r] = totals_of(args, u, r, work->totals);
    }
    LINEAR_QUANT_FEW(&few);
}

static void sweep_any(const sonde_linear_args *args, const slice *s, const slice *next,
                      const workspace *work)
{
    const sonde_packed *w = s->unit->part->weight;
    float *totals = work->totals;
    if (w->mapped) {
        sonde_panel_slice(&w->source, s->unit->panel, s->begin, s->end, work->slice);
        sweep(args, s, next, totals, work->slice, SONDE_DTYPE_F32);
    } else if (sonde_quant_form_of(w->dtype)) {
        sweep_quant(args, s, next, work);
    } else if (w->dtype == SONDE_DTYPE_F32) {
        sweep(args, s, next, totals, NULL, SONDE_DTYPE_F32);
    } else if (w->dtype == SONDE_DTYPE_BF16) {
        sweep(args, s, next, totals, NULL, SONDE_DTYPE_BF16);
    } else {
        sweep(args, s, next, totals, NULL, SONDE_DTYPE_F16);
    }
}

/* Bias, then residual, then the store of output row m; the order of the definition. */
static void finish_row(const sonde_linear_part *p, int64_t m, int64_t n, const float *totals)
{
    int64_t outputs = SONDE_MIN(SONDE_PANEL, p->weight->rows - n), i = 0;
    const float *bias = p->bias ? (const float *)p->bias + n : NULL;
    const float *residual =
        p->residual ? (const float *)p->residual + m * p->residual_stride + n : NULL;
    float *y = (float *)p->y + m * p->y_stride + n;
    for (; i + 16 <= outputs; i += 16) {
        vec16 value = v_load(totals + i);
        if (bias) value = v_add(value, v_load(bias + i));
        if (residual) value = v_add(v_load(residual + i), value);
        v_store(y + i, value);
    }
    for (; i < outputs; i++) {
        float value = bias ? totals[i] + bias[i] : totals[i];
        y[i] = residual ? residual[i] + value : value;
    }
}

static void finish(const sonde_linear_args *args, const sonde_linear_unit *u, float *scratch)
{
    const sonde_linear_part *p = u->part;
    if (is_full(u) && !p->bias && !p->residual) return;
    for (int64_t r = 0; r < u->n_rows; r++)
        finish_row(p, sonde_linear_y_row(args, u->first_row + r), u->panel * SONDE_PANEL,
                   totals_of(args, u, r, scratch));
}

/* Units [begin, end) share their rows: k outside, panels inside. */
static void run_group(const sonde_linear_args *args, int64_t begin, int64_t end,
                      const workspace *work)
{
    int64_t cols = args->parts[0].weight->cols, blocks = sonde_linear_blocks(cols);
    for (int64_t block = 0; block < blocks; block++) {
        int64_t from = sonde_linear_block_begin(cols, block);
        int64_t to = sonde_linear_block_begin(cols, block + 1);
        sonde_linear_unit u = sonde_linear_unit_at(args, begin), v;
        for (int64_t unit = begin; unit < end; unit++, u = v) {
            bool last = unit + 1 == end;
            v = last ? sonde_linear_unit_at(args, begin) : sonde_linear_unit_at(args, unit + 1);
            slice s = {&u, from, to}, next = {&v, from, to};
            if (last) next = (slice){&v, to, sonde_linear_block_begin(cols, SONDE_MIN(block + 2, blocks))};
            sweep_any(args, &s, &next, work);
            if (block + 1 == blocks) finish(args, &u, work->totals);
        }
    }
}

/* Panels of a mapped matrix that pass together for each block of k: so many that rows of x stay near,
 * so few that the file is read in stretches. */
#define LINEAR_MAPPED_PANELS 8

void LINEAR_NAME(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    int64_t panels = sonde_linear_panels(args);
    bool mapped = sonde_linear_mapped(args);
    float *floats = scratch;
    workspace work = {floats, sonde_linear_sliced(args) ? floats + SONDE_SLICE_FLOATS : floats};
    while (begin < end) {
        sonde_linear_unit u = sonde_linear_unit_at(args, begin);
        int64_t group = u.n_rows <= LINEAR_FEW ? begin + 1 : (begin / panels + 1) * panels;
        if (mapped) group = SONDE_MIN(group, begin + LINEAR_MAPPED_PANELS);
        int64_t last = SONDE_MIN(end, group);
        run_group(args, begin, last, &work);
        begin = last;
    }
}
