/* matrix.c - rows of a weight matrix as the product wants them, from how the file stores them. */
#include "dtype.h"

#include <string.h>

/* The stored row (or, transposed, the stored column) that output feature r comes from. */
static int64_t stored_row(const sonde_matrix_source *source, int64_t r)
{
    if (source->unpermute > 0) {
        int64_t d = source->unpermute, half = d / 2;
        int64_t head = r / d, within = r % d;
        r = head * d + 2 * (within % half) + within / half;
    }
    if (source->take <= 0) return source->first_row + r;
    return source->first_row + r / source->take * source->stride + r % source->take;
}

/* The column `index` of a [count, stride] matrix, one element a row. */
static void column_f32(const uint8_t *bytes, int64_t index, int64_t stride, float *dst, int64_t n)
{
    for (int64_t c = 0; c < n; c++) memcpy(&dst[c], bytes + 4 * (c * stride + index), 4);
}

static void column_16(const uint8_t *bytes, int64_t index, int64_t stride, float *dst, int64_t n,
                      float (*decode)(uint16_t))
{
    for (int64_t c = 0; c < n; c++) {
        uint16_t bits;
        memcpy(&bits, bytes + 2 * (c * stride + index), 2);
        dst[c] = decode(bits);
    }
}

#define MAX_BLOCK 256 /* the longest block of any dtype, in elements */

static void column_blocks(sonde_dtype dtype, const uint8_t *bytes, int64_t index, int64_t stride,
                          float *dst, int64_t n)
{
    int64_t block = sonde_dtype_block_elements(dtype), size = sonde_dtype_block_bytes(dtype);
    float values[MAX_BLOCK];
    for (int64_t c = 0; c < n; c++) {
        int64_t element = c * stride + index;
        sonde_decode_f32(dtype, bytes + element / block * size, values, block);
        dst[c] = values[element % block];
    }
}

static void matrix_column(const sonde_matrix_source *s, int64_t column, float *dst)
{
    switch (s->dtype) {
    case SONDE_DTYPE_F32: column_f32(s->data, column, s->stored_cols, dst, s->cols); return;
    case SONDE_DTYPE_F16:
        column_16(s->data, column, s->stored_cols, dst, s->cols, sonde_f16_to_f32);
        return;
    case SONDE_DTYPE_BF16:
        column_16(s->data, column, s->stored_cols, dst, s->cols, sonde_bf16_to_f32);
        return;
    default: column_blocks(s->dtype, s->data, column, s->stored_cols, dst, s->cols); return;
    }
}

void sonde_matrix_row(const sonde_matrix_source *source, int64_t r, float *dst)
{
    int64_t row = stored_row(source, r);
    if (source->transposed) {
        matrix_column(source, row, dst);
        return;
    }
    const uint8_t *bytes = source->data;
    int64_t block = sonde_dtype_block_elements(source->dtype);
    int64_t row_bytes = source->stored_cols / block * sonde_dtype_block_bytes(source->dtype);
    sonde_decode_f32(source->dtype, bytes + row * row_bytes, dst, source->cols);
}
