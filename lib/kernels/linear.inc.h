/*
 * linear.inc.h - the tile kernel, included once per vector level with LINEAR_NAME, LINEAR_WHOLE,
 * LINEAR_STREAM, LINEAR_ROWS, LINEAR_WIDE and the level's functions of quant.h defined. A tile of
 * LINEAR_WHOLE rows by the 32 outputs of a panel fills the registers; so does one of LINEAR_ROWS
 * rows by LINEAR_WIDE times 16 outputs. Up to LINEAR_STREAM rows a tile waits for memory, not
 * arithmetic.
 *
 * A unit is a block of rows by one panel of 32 outputs. A product works slice by slice: a block of
 * k of one panel. Where the rows of x stay in the second cache the slices pass as memory holds
 * them, panel after panel; otherwise the rows stay there for a block of k while the slices of
 * panel after panel pass. Of a slice of fp32 tiles of LINEAR_WHOLE rows take all outputs: the
 * first of them reads it in order, then it is in the first cache. Elements of two bytes are made
 * fp32 in scratch for many rows; for fewer, tiles of LINEAR_ROWS rows take 16 * LINEAR_WIDE
 * outputs at a time, so that each is converted for more rows. A step of k is a broadcast of x for
 * each row and a load of W for 16 outputs. Meanwhile the next slice is fetched into the second
 * cache, a little at every step of k. Block sums are added up in y (the last panel of a part in
 * scratch, where it is not full).
 */
#include "linear.h"
#include "quant.h"
#include "vec16.h"

#define LINEAR_WIDEN 4 /* tiles of rows from which elements of two bytes are made fp32 once for all */
#define LINEAR_FEW (2 * LINEAR_ROWS) /* rows that are few however long */
#define LINEAR_X_FLOATS (64 << 10) /* all rows of x by all k stay in the second cache up to here */
#define LINEAR_NEAR 3 /* a tile fetches at most a third of the next slice: memory takes its time */
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

#define WHOLE_CASE(n)                                                                              \
    case n: run_tile(t, begin, end, (tile_kind){n, 2, SONDE_PANEL, dtype, fetch}); break
#define STEP_CASE(n)                                                                               \
    case n: run_tile(t, begin, end, (tile_kind){n, LINEAR_WIDE, SONDE_PANEL, dtype, true}); break

/* All 32 outputs of up to LINEAR_WHOLE rows. */
SONDE_INLINE void run_whole(const tile *t, int64_t begin, int64_t end, int64_t rows,
                            const bool fetch, const sonde_dtype dtype)
{
    switch (rows) {
        WHOLE_CASE(1);
        WHOLE_CASE(2);
#if LINEAR_WHOLE > 3
        WHOLE_CASE(3);
        WHOLE_CASE(4);
        WHOLE_CASE(5);
        WHOLE_CASE(6);
        WHOLE_CASE(7);
        WHOLE_CASE(8);
        WHOLE_CASE(9);
        WHOLE_CASE(10);
        WHOLE_CASE(11);
#endif
    default:
        run_tile(t, begin, end, (tile_kind){LINEAR_WHOLE, 2, SONDE_PANEL, dtype, fetch});
        break;
    }
}

/* LINEAR_STEP outputs of up to LINEAR_ROWS rows. */
SONDE_INLINE void run_step(const tile *t, int64_t begin, int64_t end, int64_t rows,
                           const sonde_dtype dtype)
{
    switch (rows) {
        STEP_CASE(1);
        STEP_CASE(2);
        STEP_CASE(3);
        STEP_CASE(4);
        STEP_CASE(5);
#if LINEAR_ROWS > 6
        STEP_CASE(6);
        STEP_CASE(7);
        STEP_CASE(8);
        STEP_CASE(9);
        STEP_CASE(10);
        STEP_CASE(11);
#endif
    default:
        run_tile(t, begin, end, (tile_kind){LINEAR_ROWS, LINEAR_WIDE, SONDE_PANEL, dtype, true});
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
    if (w->mapped) return;
    int64_t elements = (next->end - next->begin) * SONDE_PANEL, bytes;
    if (sonde_quant_packed(w)) {
        t->fetch = sonde_quant_group_at(w, next->unit->panel, next->begin);
        bytes = sonde_quant_group_at(w, next->unit->panel, next->end) - t->fetch;
    } else {
        t->fetch = slice_start(next);
        bytes = (int64_t)sonde_dtype_bytes(w->dtype, elements);
    }
    t->fetch_step = (bytes + steps - 1) / steps;
}

/* What a thread works with: outputs made fp32, the slice of a mapped matrix, the totals. */
typedef struct workspace {
    float *widened, *slice, *totals;
} workspace;

/* A slice of n steps of k as fp32 [n][32]. */
SONDE_INLINE void widen(const void *panel, int64_t n, float *to, const sonde_dtype dtype)
{
    for (int64_t at = 0; at < n * SONDE_PANEL; at += 16)
        v_store(to + at, load_weight(panel, at, dtype));
}

/* All rows of the unit by 32 outputs, tiles of equal heights. Where a tile has few rows the first one
 * takes the slice as memory holds it and fetches nothing. */
SONDE_INLINE void sweep_whole(const sonde_linear_args *args, const slice *s, const slice *next,
                              float *totals, const void *panel, const sonde_dtype dtype)
{
    int64_t all = s->unit->n_rows, tiles = (all + LINEAR_WHOLE - 1) / LINEAR_WHOLE;
    int64_t n = s->end - s->begin, streams = SONDE_MIN(all, LINEAR_WHOLE) <= LINEAR_STREAM ? 1 : 0;
    tile t = {.panel = panel};
    set_fetch(&t, next, n * (streams ? SONDE_MAX(tiles - 1, LINEAR_NEAR) : tiles));
    for (int64_t i = 0; i < tiles; i++) {
        int64_t first = all * i / tiles, rows = all * (i + 1) / tiles - first;
        set_rows(&t, args, s->unit, first, rows, 0, totals);
        if (i < streams) {
            run_whole(&t, s->begin, s->end, rows, false, dtype);
        } else {
            run_whole(&t, s->begin, s->end, rows, true, dtype);
            t.fetch += t.fetch_step * n;
        }
    }
}

/* The same, LINEAR_STEP outputs after the other. */
SONDE_INLINE void sweep_steps(const sonde_linear_args *args, const slice *s, const slice *next,
                              float *totals, const uint16_t *panel, const sonde_dtype dtype)
{
    int64_t all = s->unit->n_rows, tiles = (all + LINEAR_ROWS - 1) / LINEAR_ROWS;
    int64_t n = s->end - s->begin;
    tile t = {0};
    set_fetch(&t, next, SONDE_PANEL / LINEAR_STEP * tiles * n);
    for (int64_t column = 0; column < SONDE_PANEL; column += LINEAR_STEP) {
        t.panel = panel + column;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t first = all * i / tiles, rows = all * (i + 1) / tiles - first;
            set_rows(&t, args, s->unit, first, rows, column, totals);
            run_step(&t, s->begin, s->end, rows, dtype);
            t.fetch += t.fetch_step * n;
        }
    }
}

/* A packed slice of elements of two bytes. */
SONDE_INLINE void sweep_narrow(const sonde_linear_args *args, const slice *s, const slice *next,
                               const workspace *work, const sonde_dtype dtype)
{
    const void *panel = slice_start(s);
    int64_t rows = s->unit->n_rows;
    if (rows <= LINEAR_STREAM) {
        sweep_whole(args, s, next, work->totals, panel, dtype);
    } else if (rows > (LINEAR_WIDEN - 1) * LINEAR_ROWS) {
        widen(panel, s->end - s->begin, work->widened, dtype);
        sweep_whole(args, s, next, work->totals, work->widened, SONDE_DTYPE_F32);
    } else {
        sweep_steps(args, s, next, work->totals, panel, dtype);
    }
}

static void sweep_floats(const sonde_linear_args *args, const slice *s, const slice *next,
                         const workspace *work, const void *panel)
{
    sweep_whole(args, s, next, work->totals, panel, SONDE_DTYPE_F32);
}

/* Quantised panels: few rows straight from them, more share a slice as fp32. */
static void sweep_quant(const sonde_linear_args *args, const slice *s, const slice *next,
                        const workspace *work)
{
    const sonde_linear_unit *u = s->unit;
    const sonde_packed *w = u->part->weight;
    if (u->n_rows > SONDE_QUANT_FEW) {
        LINEAR_QUANT_SLICE(w, u->panel, s->begin, s->end, work->slice);
        sweep_floats(args, s, next, work, work->slice);
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
        sweep_floats(args, s, next, work, work->slice);
    } else if (sonde_quant_form_of(w->dtype)) {
        sweep_quant(args, s, next, work);
    } else if (w->dtype == SONDE_DTYPE_F32) {
        sweep_floats(args, s, next, work, slice_start(s));
    } else if (w->dtype == SONDE_DTYPE_BF16) {
        sweep_narrow(args, s, next, work, SONDE_DTYPE_BF16);
    } else {
        sweep_narrow(args, s, next, work, SONDE_DTYPE_F16);
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

/* What is likely to be taken after a unit: its neighbour, whose claim is still to come. */
static sonde_linear_unit unit_after(const sonde_linear_args *args, int64_t unit)
{
    int64_t last = sonde_linear_units(args) - 1;
    return sonde_linear_unit_at(args, SONDE_MIN(unit + 1, last));
}

/* Units [begin, end) share their rows, which are near: panels outside, k inside. */
static void run_panels(const sonde_linear_args *args, int64_t begin, int64_t end,
                       const workspace *work)
{
    int64_t blocks = sonde_linear_blocks(args->parts[0].weight->cols);
    sonde_linear_unit u = sonde_linear_unit_at(args, begin), v;
    for (int64_t unit = begin; unit < end; unit++, u = v) {
        v = unit_after(args, unit);
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
            bool last = unit + 1 == end, done = last && block + 1 == blocks;
            v = last && !done ? sonde_linear_unit_at(args, begin) : unit_after(args, unit);
            slice s = slice_of(&u, block);
            slice next = slice_of(&v, done ? 0 : last ? block + 1 : block);
            sweep_any(args, &s, &next, work);
            if (block + 1 == blocks) finish(args, &u, work->totals);
        }
    }
}

/* Panels of a mapped matrix that pass together for each block of k: so many that rows of x stay near,
 * so few that the file is read in stretches. */
#define LINEAR_MAPPED_PANELS 8

/* All of the rows of x that a unit takes stay in the second cache beside the slices that pass. */
static bool x_is_near(const sonde_linear_args *args, int64_t unit)
{
    int64_t rows = sonde_linear_unit_at(args, unit).n_rows;
    return rows <= LINEAR_FEW || rows * args->parts[0].weight->cols <= LINEAR_X_FLOATS;
}

void LINEAR_NAME(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch)
{
    int64_t panels = sonde_linear_panels(args);
    bool mapped = sonde_linear_mapped(args);
    workspace work = {.widened = scratch};
    work.slice = work.widened + SONDE_WIDENED_FLOATS;
    work.totals = work.slice + (sonde_linear_sliced(args) ? SONDE_SLICE_FLOATS : 0);
    while (begin < end) {
        bool near = x_is_near(args, begin);
        int64_t last = (begin / panels + 1) * panels;
        if (mapped && !near) last = SONDE_MIN(last, begin + LINEAR_MAPPED_PANELS);
        last = SONDE_MIN(end, last);
        if (near) run_panels(args, begin, last, &work);
        else run_group(args, begin, last, &work);
        begin = last;
    }
}
