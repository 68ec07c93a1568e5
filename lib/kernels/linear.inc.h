/*
 * linear.inc.h - the tile kernel, included once per vector level with LINEAR_NAME, LINEAR_ROWS,
 * LINEAR_WIDE, LINEAR_WHOLE and the level's functions of quant.h defined. A tile of LINEAR_ROWS rows
 * by LINEAR_WIDE times 16 outputs fills the registers; so does one of LINEAR_WHOLE rows by all 32
 * outputs of a panel.
 *
 * A unit is a block of rows by one panel of 32 outputs. A product works slice by slice: a block of k
 * of one panel. Few rows take the slices as memory holds them, panel after panel. More rows stay in
 * the second cache for a block of k while the slices of panel after panel pass. Of a slice
 * 16 * LINEAR_WIDE outputs at a time stay in the first cache while tiles of rows sweep over them, a
 * broadcast of x for each row and a load of W for 16 outputs a step of k; for many rows two-byte
 * elements are first made fp32 in scratch. Meanwhile the next slice is fetched into the second
 * cache, a little at every step of k. Block sums are added up in y (the last panel of a part in
 * scratch, where it is not full).
 */
#include "linear.h"
#include "quant.h"
#include "vec16.h"

#define LINEAR_WIDEN 4 /* tiles of rows from which elements of two bytes are made fp32 once for all */
#define LINEAR_FEW (2 * LINEAR_ROWS) /* rows that are few: panels outside, k inside */
#define LINEAR_AHEAD 512 /* elements of two bytes: further on where memory is read in order */
#define LINEAR_STEP (16 * LINEAR_WIDE)

typedef struct tile {
    const float *x[LINEAR_ROWS];
    const void *panel;          /* elements of the first step of k, from the tile's first output */
    float *totals[LINEAR_ROWS]; /* of each row, from the tile's first output */
    const char *fetch;          /* what will be needed, so many bytes of it at each step of k */
    int64_t fetch_step;
} tile;

SONDE_INLINE vec16 load_weight(const void *panel, int64_t at, sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) return v_load((const float *)panel + at);
    if (dtype == SONDE_DTYPE_BF16) return v_load_bf16((const uint16_t *)panel + at);
    return v_load_f16((const uint16_t *)panel + at);
}

/* What a tile is made for: rows, groups of 16 outputs, elements from one k to the next, their type,
 * and whether it fetches. */
typedef struct tile_kind {
    int rows, wide, stride;
    sonde_dtype dtype;
    bool fetch;
} tile_kind;

/* Chains over k in [begin, end) from +0; their sums start the totals or are added to them. */
SONDE_INLINE void run_tile(const tile *t, int64_t begin, int64_t end, const tile_kind kind)
{
    const float *x[LINEAR_ROWS];
    const char *fetch = t->fetch;
    vec16 acc[LINEAR_ROWS][2];
    SONDE_UNROLL
    for (int r = 0; r < kind.rows; r++) {
        x[r] = t->x[r];
        acc[r][0] = acc[r][1] = v_set(0.0f);
        for (int j = 0; j < kind.wide; j++) SONDE_PREFETCH_WRITE(t->totals[r] + 16 * j);
    }
    int64_t at = 0;
    for (int64_t k = begin; k < end; k++, at += kind.stride) {
        vec16 w0 = load_weight(t->panel, at, kind.dtype), w1 = w0;
        if (kind.wide > 1) w1 = load_weight(t->panel, at + 16, kind.dtype);
        if (kind.fetch) {
            SONDE_PREFETCH(fetch);
            fetch += t->fetch_step;
        } else if (kind.dtype != SONDE_DTYPE_F32) {
            SONDE_PREFETCH((const uint16_t *)t->panel + at + LINEAR_AHEAD);
        }
        SONDE_UNROLL
        for (int r = 0; r < kind.rows; r++) {
            vec16 value = v_set(x[r][k]);
            acc[r][0] = v_fma(value, w0, acc[r][0]);
            if (kind.wide > 1) acc[r][1] = v_fma(value, w1, acc[r][1]);
        }
    }
    SONDE_UNROLL
    for (int r = 0; r < kind.rows; r++)
        for (int j = 0; j < kind.wide; j++) {
            float *total = t->totals[r] + 16 * j;
            v_store(total, begin == 0 ? acc[r][j] : v_add(v_load(total), acc[r][j]));
        }
}

#define ROWS_CASE(n)                                                                               \
    case n: run_tile(t, begin, end, (tile_kind){n, LINEAR_WIDE, stride, dtype, true}); break
#define WHOLE_CASE(n)                                                                              \
    case n: run_tile(t, begin, end, (tile_kind){n, 2, SONDE_PANEL, dtype, false}); break

/* All 32 outputs of up to LINEAR_WHOLE rows. */
SONDE_INLINE void run_whole(const tile *t, int64_t begin, int64_t end, int64_t rows,
                            const sonde_dtype dtype)
{
    switch (rows) {
        WHOLE_CASE(1);
#if LINEAR_WHOLE > 2
        WHOLE_CASE(2);
#endif
#if LINEAR_WHOLE > 3
        WHOLE_CASE(3);
        WHOLE_CASE(4);
        WHOLE_CASE(5);
#endif
    default:
        run_tile(t, begin, end, (tile_kind){LINEAR_WHOLE, 2, SONDE_PANEL, dtype, false});
        break;
    }
}

/* LINEAR_STEP outputs of up to LINEAR_ROWS rows. */
SONDE_INLINE void run_many(const tile *t, int64_t begin, int64_t end, int64_t rows,
                           const int stride, const sonde_dtype dtype)
{
    switch (rows) {
        ROWS_CASE(1);
        ROWS_CASE(2);
        ROWS_CASE(3);
        ROWS_CASE(4);
        ROWS_CASE(5);
#if LINEAR_ROWS > 6
        ROWS_CASE(6);
        ROWS_CASE(7);
        ROWS_CASE(8);
        ROWS_CASE(9);
        ROWS_CASE(10);
        ROWS_CASE(11);
#endif
    default:
        run_tile(t, begin, end, (tile_kind){LINEAR_ROWS, LINEAR_WIDE, stride, dtype, true});
        break;
    }
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

/* Rows [first, first + rows) of a unit, from output `column` of its panel. */
static void set_rows(tile *t, const sonde_linear_args *args, const sonde_linear_unit *u,
                     int64_t first, int64_t rows, int64_t column, float *scratch)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t m = u->first_row + first + r, from = args->x_rows ? args->x_rows[m] : m;
        t->x[r] = (const float *)args->x + from * args->x_stride;
        t->totals[r] = totals_of(args, u, first + r, scratch) + column;
    }
}

/* A block of k of one panel: [end - begin][32] elements. */
typedef struct slice {
    const sonde_linear_unit *unit;
    int64_t begin, end;
} slice;

static const char *slice_start(const slice *s)
{
    const sonde_packed *w = s->unit->part->weight;
    int64_t at = (s->unit->panel * w->cols + s->begin) * SONDE_PANEL;
    return (const char *)w->data + sonde_dtype_bytes(w->dtype, at);
}

/* Spreads the fetching of a slice over the steps of k of so many tiles. */
static void set_fetch(tile *t, const slice *next, int64_t steps)
{
    const sonde_packed *w = next->unit->part->weight;
    t->fetch = (const char *)next->unit; /* nothing to fetch: what is near */
    t->fetch_step = 0;
    if (w->mapped || sonde_quant_packed(w)) return;
    int64_t elements = (next->end - next->begin) * SONDE_PANEL;
    t->fetch = slice_start(next);
    t->fetch_step = ((int64_t)sonde_dtype_bytes(w->dtype, elements) + steps - 1) / steps;
}

/* What a thread works with: outputs made fp32, the slice of a mapped matrix, the totals. */
typedef struct workspace {
    float *widened, *slice, *totals;
} workspace;

/* LINEAR_STEP outputs of a slice of n steps of k, as fp32 [n][LINEAR_STEP]. */
SONDE_INLINE void widen(const void *panel, int64_t at, int64_t n, float *to,
                               const sonde_dtype dtype)
{
    for (int64_t k = 0; k < n; k++, at += SONDE_PANEL)
        for (int j = 0; j < LINEAR_WIDE; j++, to += 16)
            v_store(to, load_weight(panel, at + 16 * j, dtype));
}

/* All rows of the unit by LINEAR_STEP outputs, tiles of equal heights. */
SONDE_INLINE void run_tiles(const sonde_linear_args *args, const slice *s, tile *t, int64_t tiles,
                            int64_t column, float *totals, const int stride,
                            const sonde_dtype dtype)
{
    int64_t all = s->unit->n_rows;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t first = all * i / tiles, rows = all * (i + 1) / tiles - first;
        set_rows(t, args, s->unit, first, rows, column, totals);
        run_many(t, s->begin, s->end, rows, stride, dtype);
        t->fetch += t->fetch_step * (s->end - s->begin);
    }
}

/* `panel` is the slice: elements of `dtype`, packed or decoded. */
SONDE_INLINE void sweep(const sonde_linear_args *args, const slice *s, const slice *next,
                        const workspace *work, const void *panel, const sonde_dtype dtype)
{
    int64_t n = s->end - s->begin, rows = s->unit->n_rows;
    int64_t tiles = (rows + LINEAR_ROWS - 1) / LINEAR_ROWS;
    tile t = {.panel = panel};
    if (rows <= LINEAR_WHOLE) {
        set_rows(&t, args, s->unit, 0, rows, 0, work->totals);
        run_whole(&t, s->begin, s->end, rows, dtype);
        return;
    }
    set_fetch(&t, next, SONDE_PANEL / LINEAR_STEP * tiles * n);
    for (int64_t column = 0; column < SONDE_PANEL; column += LINEAR_STEP) {
        if (dtype != SONDE_DTYPE_F32 && tiles >= LINEAR_WIDEN) {
            widen(panel, column, n, work->widened, dtype);
            t.panel = work->widened;
            run_tiles(args, s, &t, tiles, column, work->totals, LINEAR_STEP, SONDE_DTYPE_F32);
        } else {
            t.panel = (const char *)panel + (size_t)column * (dtype == SONDE_DTYPE_F32 ? 4 : 2);
            run_tiles(args, s, &t, tiles, column, work->totals, SONDE_PANEL, dtype);
        }
    }
}

/* Quantised panels: few rows straight from them, more share a slice as fp32. */
static void sweep_quant(const sonde_linear_args *args, const slice *s, const slice *next,
                        const workspace *work)
{
    const sonde_linear_unit *u = s->unit;
    const sonde_packed *w = u->part->weight;
    if (u->n_rows > SONDE_QUANT_FEW) {
        LINEAR_QUANT_SLICE(w, u->panel, s->begin, s->end, work->slice);
        sweep(args, s, next, work, work->slice, SONDE_DTYPE_F32);
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
    if (w->mapped) {
        sonde_panel_slice(&w->source, s->unit->panel, s->begin, s->end, work->slice);
        sweep(args, s, next, work, work->slice, SONDE_DTYPE_F32);
    } else if (sonde_quant_form_of(w->dtype)) {
        sweep_quant(args, s, next, work);
    } else if (w->dtype == SONDE_DTYPE_F32) {
        sweep(args, s, next, work, slice_start(s), SONDE_DTYPE_F32);
    } else if (w->dtype == SONDE_DTYPE_BF16) {
        sweep(args, s, next, work, slice_start(s), SONDE_DTYPE_BF16);
    } else {
        sweep(args, s, next, work, slice_start(s), SONDE_DTYPE_F16);
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

static slice slice_of(const sonde_linear_unit *u, int64_t block)
{
    int64_t cols = u->part->weight->cols;
    return (slice){.unit = u,
                   .begin = sonde_linear_block_begin(cols, block),
                   .end = sonde_linear_block_begin(cols, block + 1)};
}

/* Units [begin, end) share their rows, which are few: panels outside, k inside. */
static void run_panels(const sonde_linear_args *args, int64_t begin, int64_t end,
                       const workspace *work)
{
    int64_t blocks = sonde_linear_blocks(args->parts[0].weight->cols);
    sonde_linear_unit u = sonde_linear_unit_at(args, begin), v;
    for (int64_t unit = begin; unit < end; unit++, u = v) {
        v = unit + 1 < end ? sonde_linear_unit_at(args, unit + 1) : u;
        for (int64_t block = 0; block < blocks; block++) {
            slice s = slice_of(&u, block);
            slice next = block + 1 < blocks ? slice_of(&u, block + 1) : slice_of(&v, 0);
            sweep_any(args, &s, &next, work);
        }
        finish(args, &u, work->totals);
    }
}

/* Units [begin, end) share their rows: k outside, panels inside. */
static void run_group(const sonde_linear_args *args, int64_t begin, int64_t end,
                      const workspace *work)
{
    int64_t blocks = sonde_linear_blocks(args->parts[0].weight->cols);
    for (int64_t block = 0; block < blocks; block++) {
        sonde_linear_unit u = sonde_linear_unit_at(args, begin), v;
        for (int64_t unit = begin; unit < end; unit++, u = v) {
            bool last = unit + 1 == end;
            v = last ? sonde_linear_unit_at(args, begin) : sonde_linear_unit_at(args, unit + 1);
            slice s = slice_of(&u, block);
            slice next = slice_of(&v, last ? SONDE_MIN(block + 1, blocks - 1) : block);
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
    workspace work = {.widened = scratch};
    work.slice = work.widened + SONDE_WIDENED_FLOATS;
    work.totals = work.slice + (sonde_linear_sliced(args) ? SONDE_SLICE_FLOATS : 0);
    while (begin < end) {
        bool few = sonde_linear_unit_at(args, begin).n_rows <= LINEAR_FEW;
        int64_t last = (begin / panels + 1) * panels;
        if (mapped && !few) last = SONDE_MIN(last, begin + LINEAR_MAPPED_PANELS);
        last = SONDE_MIN(end, last);
        if (few) run_panels(args, begin, last, &work);
        else run_group(args, begin, last, &work);
        begin = last;
    }
}
