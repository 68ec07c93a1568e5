/* linear_common.c - packing, embedding rows and units: the same for every level. */
#include "linear.h"
#include "quant.h"

#include <string.h>

/* Sixteen bits where they hold every value of the stored type. */
sonde_dtype sonde_packed_dtype(sonde_dtype stored)
{
    switch (stored) {
    case SONDE_DTYPE_BF16:
    case SONDE_DTYPE_F8_E4M3:
    case SONDE_DTYPE_F8_E5M2:
    case SONDE_DTYPE_F8_E8M0:
    case SONDE_DTYPE_MXFP4: return SONDE_DTYPE_BF16;
    case SONDE_DTYPE_F16:
    case SONDE_DTYPE_TQ1_0:
    case SONDE_DTYPE_TQ2_0: return SONDE_DTYPE_F16;
    default: return SONDE_DTYPE_F32;
    }
}

static int64_t panels_of(int64_t rows)
{
    return (rows + SONDE_PANEL - 1) / SONDE_PANEL;
}

size_t sonde_packed_bytes(sonde_dtype packed, int64_t rows, int64_t cols)
{
    const sonde_quant_form *form = sonde_quant_form_of(packed);
    int64_t elements;
    if (form) return sonde_quant_bytes(form, rows, cols);
    if (!sonde_mul_i64(panels_of(rows) * SONDE_PANEL, cols, &elements)) return SIZE_MAX;
    return sonde_dtype_bytes(packed, elements);
}

/* tile [32][SONDE_SLICE_STRIDE] to slice [n][32]. */
static void turn(const float *tile, int64_t n, float *slice)
{
    for (int64_t k = 0; k < n; k++)
        for (int64_t lane = 0; lane < SONDE_PANEL; lane++)
            slice[k * SONDE_PANEL + lane] = tile[lane * SONDE_SLICE_STRIDE + k];
}

/* At most SONDE_MATRIX_SLICE of k, through a tile of rows. */
static void make_slice(const sonde_matrix_source *source, int64_t panel, int64_t begin, int64_t n,
                       float *tile, float *slice)
{
    for (int64_t lane = 0; lane < SONDE_PANEL; lane++) {
        int64_t r = panel * SONDE_PANEL + lane;
        float *row = tile + lane * SONDE_SLICE_STRIDE;
        if (r < source->rows) sonde_matrix_slice(source, r, begin, n, row);
        else memset(row, 0, (size_t)n * sizeof *row);
    }
    turn(tile, n, slice);
}

void sonde_panel_slice(const sonde_matrix_source *source, int64_t panel, int64_t begin, int64_t end,
                       float *slice)
{
    make_slice(source, panel, begin, end - begin, slice + SONDE_PANEL * SONDE_MATRIX_SLICE, slice);
}

/* A slice of elements of two bytes that are kept as they are stored, through a tile as above. */
static void copy_slice(const sonde_matrix_source *source, int64_t panel, int64_t begin, int64_t n,
                       uint16_t *tile, uint16_t *slice)
{
    for (int64_t lane = 0; lane < SONDE_PANEL; lane++) {
        int64_t r = panel * SONDE_PANEL + lane;
        uint16_t *row = tile + lane * SONDE_SLICE_STRIDE;
        if (r < source->rows)
            memcpy(row, (const uint8_t *)sonde_matrix_stored_row(source, r) + 2 * begin,
                   (size_t)n * sizeof *row);
        else
            memset(row, 0, (size_t)n * sizeof *row);
    }
    for (int64_t k = 0; k < n; k++)
        for (int64_t lane = 0; lane < SONDE_PANEL; lane++)
            slice[k * SONDE_PANEL + lane] = tile[lane * SONDE_SLICE_STRIDE + k];
}

static void pack_slice(const sonde_matrix_source *source, const sonde_packed *packed, int64_t panel,
                       int64_t begin, int64_t n, float *scratch)
{
    float *tile = scratch + SONDE_PANEL * SONDE_MATRIX_SLICE;
    size_t at = (size_t)((panel * source->cols + begin) * SONDE_PANEL);
    if (packed->dtype == SONDE_DTYPE_F32) {
        make_slice(source, panel, begin, n, tile, (float *)packed->data + at);
        return;
    }
    uint16_t *to = (uint16_t *)packed->data + at;
    if (packed->dtype == source->dtype && sonde_matrix_stored_row(source, 0)) {
        copy_slice(source, panel, begin, n, (uint16_t *)(void *)tile, to);
        return;
    }
    make_slice(source, panel, begin, n, tile, scratch);
    sonde_encode_f32(packed->dtype, scratch, to, n * SONDE_PANEL);
}

void sonde_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                int64_t end, float *scratch)
{
    if (sonde_quant_packed(packed)) {
        sonde_quant_pack(source, packed, begin, end);
        return;
    }
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t k = 0; k < source->cols; k += SONDE_MATRIX_SLICE) {
            int64_t n = SONDE_MIN(SONDE_MATRIX_SLICE, source->cols - k);
            pack_slice(source, packed, panel, k, n, scratch);
        }
}

static float panel_value(const sonde_packed *w, int64_t r, int64_t k)
{
    size_t at = (size_t)((r / SONDE_PANEL * w->cols + k) * SONDE_PANEL + r % SONDE_PANEL);
    if (w->dtype == SONDE_DTYPE_F32) return ((const float *)w->data)[at];
    uint16_t bits = ((const uint16_t *)w->data)[at];
    return w->dtype == SONDE_DTYPE_BF16 ? sonde_bf16_to_f32(bits) : sonde_f16_to_f32(bits);
}

void sonde_embed_rows(const sonde_embed_args *args, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        float *y = (float *)args->y + m * args->y_stride;
        if (args->weight->mapped) {
            sonde_matrix_row(&args->weight->source, args->ids[m], y);
            continue;
        }
        if (sonde_quant_packed(args->weight)) {
            sonde_quant_row(args->weight, args->ids[m], y);
            continue;
        }
        for (int64_t k = 0; k < args->weight->cols; k++)
            y[k] = panel_value(args->weight, args->ids[m], k);
    }
}

static int64_t row_blocks(const sonde_linear_args *args)
{
    return (args->m + SONDE_LINEAR_ROW_BLOCK - 1) / SONDE_LINEAR_ROW_BLOCK;
}

int64_t sonde_linear_panels(const sonde_linear_args *args)
{
    int64_t panels = 0;
    for (int32_t i = 0; i < args->n_parts; i++) panels += panels_of(args->parts[i].weight->rows);
    return panels;
}

int64_t sonde_linear_units(const sonde_linear_args *args)
{
    return sonde_linear_panels(args) * row_blocks(args);
}

bool sonde_linear_mapped(const sonde_linear_args *args)
{
    for (int32_t i = 0; i < args->n_parts; i++)
        if (args->parts[i].weight->mapped) return true;
    return false;
}

bool sonde_linear_sliced(const sonde_linear_args *args)
{
    for (int32_t i = 0; i < args->n_parts; i++)
        if (args->parts[i].weight->mapped || sonde_quant_packed(args->parts[i].weight)) return true;
    return false;
}

/* For every part the totals of a block of rows by the panel that is not full. */
size_t sonde_linear_scratch(const sonde_linear_args *args)
{
    int64_t rows = SONDE_MIN(args->m, SONDE_LINEAR_ROW_BLOCK);
    int64_t floats = SONDE_WIDENED_FLOATS + args->n_parts * rows * SONDE_PANEL;
    if (sonde_linear_sliced(args)) floats += SONDE_SLICE_FLOATS;
    return (size_t)SONDE_MAX(floats, args->parts[0].weight->cols) * sizeof(float);
}

/* Row blocks outermost, so that neighbouring units share their rows of x; blocks are equal. */
sonde_linear_unit sonde_linear_unit_at(const sonde_linear_args *args, int64_t unit)
{
    int64_t blocks = row_blocks(args), panels = sonde_linear_panels(args);
    int64_t block = unit / panels, panel = unit % panels, first = args->m * block / blocks;
    const sonde_linear_part *part = args->parts;
    while (panel >= panels_of(part->weight->rows)) panel -= panels_of((part++)->weight->rows);
    return (sonde_linear_unit){part, panel, first, args->m * (block + 1) / blocks - first};
}

sonde_linear_args sonde_linear_one_row(const sonde_linear_args *args, int64_t m)
{
    sonde_linear_args one = *args;
    int64_t from = args->x_rows ? args->x_rows[m] : m, to = sonde_linear_y_row(args, m);
    one.x = (const float *)args->x + from * args->x_stride;
    one.x_rows = one.y_rows = NULL;
    one.prepared = NULL;
    one.m = 1;
    for (int32_t i = 0; i < args->n_parts; i++) {
        sonde_linear_part *p = &one.parts[i];
        p->y = (float *)p->y + to * p->y_stride;
        if (p->residual) p->residual = (const float *)p->residual + to * p->residual_stride;
    }
    return one;
}
