/* linear_common.c - packing, embedding rows and units: the same for every level. */
#include "linear.h"

#include <string.h>

sonde_dtype sonde_packed_dtype(sonde_dtype stored)
{
    bool kept = stored == SONDE_DTYPE_BF16 || stored == SONDE_DTYPE_F16;
    return kept ? stored : SONDE_DTYPE_F32;
}

static int64_t panels_of(int64_t rows)
{
    return (rows + SONDE_PANEL - 1) / SONDE_PANEL;
}

size_t sonde_packed_bytes(sonde_dtype packed, int64_t rows, int64_t cols)
{
    int64_t elements;
    if (!sonde_mul_i64(panels_of(rows) * SONDE_PANEL, cols, &elements)) return SIZE_MAX;
    return sonde_dtype_bytes(packed, elements);
}

/* One panel as fp32 [cols][32] at `wide`. */
static void widen_panel(const sonde_matrix_source *source, int64_t panel, float *wide, float *row)
{
    for (int64_t lane = 0; lane < SONDE_PANEL; lane++) {
        int64_t r = panel * SONDE_PANEL + lane;
        if (r < source->rows) sonde_matrix_row(source, r, row);
        for (int64_t k = 0; k < source->cols; k++)
            wide[k * SONDE_PANEL + lane] = r < source->rows ? row[k] : 0.0f;
    }
}

void sonde_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                int64_t end, float *scratch)
{
    size_t panel_elements = (size_t)(source->cols * SONDE_PANEL);
    float *wide = scratch, *row = scratch + panel_elements;
    for (int64_t panel = begin; panel < end; panel++) {
        size_t at = (size_t)panel * panel_elements;
        if (packed->dtype == SONDE_DTYPE_F32) {
            widen_panel(source, panel, (float *)packed->data + at, row);
            continue;
        }
        widen_panel(source, panel, wide, row);
        sonde_encode_f32(packed->dtype, wide, (uint16_t *)packed->data + at,
                         (int64_t)panel_elements);
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

/* For every part the totals of a block of rows by the panel that is not full. */
size_t sonde_linear_scratch(const sonde_linear_args *args)
{
    int64_t rows = SONDE_MIN(args->m, SONDE_LINEAR_ROW_BLOCK);
    return (size_t)(args->n_parts * rows * SONDE_PANEL) * sizeof(float);
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
