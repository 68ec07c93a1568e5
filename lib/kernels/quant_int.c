/* quant_int.c - `--mode int` around what a vector level has of its own: prepared rows, units, rows that
 * are left to exact mode. */
#include "quant_int.h"

#include <string.h>

enum { NIBBLES = 1, BYTES = 2 };

/* Rows that take panel after panel as memory holds it. */
#define FEW_ROWS 8

const sonde_quant_form *sonde_int_form(const sonde_packed *w)
{
    if (w->mapped) return sonde_quant_keeps(&w->source) ? sonde_quant_form_of(w->source.dtype) : NULL;
    return sonde_quant_form_of(w->dtype);
}

static unsigned digits_of(const sonde_linear_args *args)
{
    unsigned digits = 0;
    for (int32_t i = 0; i < args->n_parts; i++) {
        const sonde_quant_form *form = sonde_int_form(args->parts[i].weight);
        if (form) digits |= form->bits == 4 ? NIBBLES : BYTES;
    }
    return digits;
}

static int64_t row_bytes(const sonde_linear_args *args)
{
    return 5 * args->parts[0].weight->cols;
}

static size_t flag_bytes(int64_t rows)
{
    return ((size_t)rows * sizeof(int32_t) + 63) & ~(size_t)63;
}

static size_t prepared_bytes(const sonde_linear_args *args, int64_t rows)
{
    unsigned digits = digits_of(args);
    int64_t kinds = (digits & NIBBLES ? 1 : 0) + (digits & BYTES ? 1 : 0);
    return kinds ? flag_bytes(rows) + (size_t)(kinds * rows * row_bytes(args)) : 0;
}

size_t sonde_int_prepared_bytes(const sonde_linear_args *args)
{
    return prepared_bytes(args, args->m);
}

/* ---- scratch: the slice, a packed slice of a mapped matrix, rows prepared here, then exact mode's ------ */

#define PACKED_BYTES (SONDE_INT_SLICE_GROUPS * 2048)

static size_t own_rows_bytes(const sonde_linear_args *args)
{
    if (args->prepared) return 0;
    return (prepared_bytes(args, SONDE_MIN(args->m, SONDE_LINEAR_ROW_BLOCK)) + 63) & ~(size_t)63;
}

size_t sonde_int_scratch(const sonde_linear_args *args)
{
    return SONDE_INT_SLICE_BYTES + PACKED_BYTES + own_rows_bytes(args) + sonde_linear_scratch(args);
}

typedef struct workspace {
    char *slice, *packed, *rows;
    void *exact;
} workspace;

static workspace workspace_of(const sonde_linear_args *args, void *scratch)
{
    workspace w = {.slice = scratch};
    w.packed = w.slice + SONDE_INT_SLICE_BYTES;
    w.rows = w.packed + PACKED_BYTES;
    w.exact = w.rows + own_rows_bytes(args);
    return w;
}

/* ---- prepared rows ----------------------------------------------------------------------------------- */

/* Prepared rows [first, first + count) of the product. */
typedef struct prepared {
    int32_t *flags;
    char *nibbles, *bytes;
    int64_t first;
} prepared;

static prepared prepared_at(const sonde_linear_args *args, void *memory, int64_t first, int64_t count)
{
    unsigned digits = digits_of(args);
    prepared p = {.flags = memory, .first = first};
    char *rows = (char *)memory + flag_bytes(count);
    if (digits & NIBBLES) p.nibbles = rows;
    if (digits & BYTES) p.bytes = rows + (digits & NIBBLES ? count * row_bytes(args) : 0);
    return p;
}

static void prepare_rows(const sonde_int_level *level, const sonde_linear_args *args,
                         const prepared *p, int64_t begin, int64_t end)
{
    int64_t cols = args->parts[0].weight->cols, bytes = row_bytes(args);
    for (int64_t m = begin; m < end; m++) {
        int64_t from = args->x_rows ? args->x_rows[m] : m, at = m - p->first;
        p->flags[at] = level->prepare((const float *)args->x + from * args->x_stride, cols,
                                      p->nibbles ? p->nibbles + at * bytes : NULL,
                                      p->bytes ? p->bytes + at * bytes : NULL);
    }
}

void sonde_int_prepare(const sonde_int_level *level, const sonde_linear_args *args, int64_t begin,
                       int64_t end, void *memory)
{
    prepared p = prepared_at(args, memory, 0, args->m);
    prepare_rows(level, args, &p, begin, end);
}

/* Those of a unit's rows: made before, or here. */
static prepared rows_of_unit(const sonde_int_level *level, const sonde_linear_args *args,
                             const sonde_linear_unit *u, const workspace *work)
{
    if (args->prepared) return prepared_at(args, args->prepared, 0, args->m);
    prepared p = prepared_at(args, work->rows, u->first_row, u->n_rows);
    prepare_rows(level, args, &p, u->first_row, u->first_row + u->n_rows);
    return p;
}

/* ---- units ------------------------------------------------------------------------------------------- */

static bool in_place(const sonde_linear_unit *u)
{
    return (u->panel + 1) * SONDE_PANEL <= u->part->weight->rows;
}

/* Where totals of a unit's rows are kept: y, or scratch for a panel that y has no room for. */
static void set_totals(const sonde_linear_args *args, const sonde_linear_unit *u, float *scratch,
                       float **totals)
{
    const sonde_linear_part *p = u->part;
    for (int64_t r = 0; r < u->n_rows; r++)
        totals[r] = !in_place(u) ? scratch + ((p - args->parts) * u->n_rows + r) * SONDE_PANEL
                                 : (float *)p->y + sonde_linear_y_row(args, u->first_row + r) * p->y_stride +
                                       u->panel * SONDE_PANEL;
}

static const char *groups_of(const sonde_linear_unit *u, const sonde_quant_form *form, int64_t begin,
                             int64_t end, char *packed)
{
    const sonde_packed *w = u->part->weight;
    if (!w->mapped) return sonde_quant_group_at(w, u->panel, begin);
    sonde_quant_pack_slice(&w->source, form, u->panel, begin, end, packed);
    return packed;
}

/* Bias, then residual. */
static void finish(const sonde_linear_args *args, const sonde_linear_unit *u, float *const *totals)
{
    const sonde_linear_part *p = u->part;
    int64_t n = u->panel * SONDE_PANEL, outputs = SONDE_MIN(SONDE_PANEL, p->weight->rows - n);
    if (in_place(u) && !p->bias && !p->residual) return;
    for (int64_t r = 0; r < u->n_rows; r++) {
        int64_t m = sonde_linear_y_row(args, u->first_row + r);
        const float *bias = p->bias ? (const float *)p->bias + n : NULL;
        const float *residual =
            p->residual ? (const float *)p->residual + m * p->residual_stride + n : NULL;
        float *y = (float *)p->y + m * p->y_stride + n;
        for (int64_t i = 0; i < outputs; i++) {
            float value = bias ? totals[r][i] + bias[i] : totals[r][i];
            y[i] = residual ? residual[i] + value : value;
        }
    }
}

/* One panel by one block of k. */
static void run_block(const sonde_int_level *level, const sonde_linear_args *args,
                      const sonde_linear_unit *u, const prepared *rows, int64_t block,
                      const workspace *work)
{
    const sonde_packed *w = u->part->weight;
    const sonde_quant_form *form = sonde_int_form(w);
    float *totals[SONDE_LINEAR_ROW_BLOCK];
    int64_t begin = sonde_linear_block_begin(w->cols, block);
    int64_t end = sonde_linear_block_begin(w->cols, block + 1);
    set_totals(args, u, work->exact, totals);
    const char *x = form->bits == 4 ? rows->nibbles : rows->bytes;
    sonde_int_sweep sweep = {.form = form, .groups = groups_of(u, form, begin, end, work->packed),
                             .first_group = begin / SONDE_QUANT_GROUP,
                             .n_groups = (end - begin) / SONDE_QUANT_GROUP, .cols = w->cols,
                             .x = x + (u->first_row - rows->first) * row_bytes(args),
                             .rows = u->n_rows, .totals = totals, .slice = work->slice};
    level->sweep(&sweep);
    if (end == w->cols) finish(args, u, totals);
}

/* Rows of unit `unit` that are left to exact mode. */
static void run_exact_rows(const sonde_int_level *level, const sonde_linear_args *args, int64_t unit,
                           const prepared *rows, const workspace *work)
{
    sonde_linear_unit u = sonde_linear_unit_at(args, unit);
    int64_t panel = unit % sonde_linear_panels(args);
    for (int64_t m = u.first_row; m < u.first_row + u.n_rows; m++) {
        if (!rows->flags[m - rows->first]) continue;
        sonde_linear_args one = sonde_linear_one_row(args, m);
        level->exact(&one, panel, panel + 1, work->exact);
    }
}

/* Units [begin, end) of integer weights that share their rows: k outside, panels inside. */
static void run_group(const sonde_int_level *level, const sonde_linear_args *args, int64_t begin,
                      int64_t end, const prepared *rows, const workspace *work)
{
    int64_t blocks = sonde_linear_blocks(args->parts[0].weight->cols);
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t unit = begin; unit < end; unit++) {
            sonde_linear_unit u = sonde_linear_unit_at(args, unit);
            run_block(level, args, &u, rows, block, work);
        }
    for (int64_t unit = begin; unit < end; unit++) run_exact_rows(level, args, unit, rows, work);
}

static bool is_integer(const sonde_linear_args *args, int64_t unit)
{
    return sonde_int_form(sonde_linear_unit_at(args, unit).part->weight) != NULL;
}

void sonde_int_linear(const sonde_int_level *level, const sonde_linear_args *args, int64_t begin,
                      int64_t end, void *scratch)
{
    int64_t panels = sonde_linear_panels(args), block = -1;
    workspace work = workspace_of(args, scratch);
    prepared rows = {0};
    while (begin < end) {
        sonde_linear_unit u = sonde_linear_unit_at(args, begin);
        int64_t last = SONDE_MIN(end, (begin / panels + 1) * panels), next = begin + 1;
        bool integer = is_integer(args, begin);
        while (next < last && is_integer(args, next) == integer) next++;
        if (!integer) {
            level->exact(args, begin, next, work.exact);
            begin = next;
            continue;
        }
        if (begin / panels != block) rows = rows_of_unit(level, args, &u, &work);
        block = begin / panels;
        int64_t step = u.n_rows <= FEW_ROWS ? 1 : next - begin;
        for (; begin < next; begin += step) run_group(level, args, begin, begin + step, &rows, &work);
    }
}
