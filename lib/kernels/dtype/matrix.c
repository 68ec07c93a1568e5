/* matrix.c - rows of a weight matrix as the product wants them, from how the file stores them. */
#include "blocks.h"
#include "split.h"

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

static const uint8_t *block_at(const sonde_matrix_source *s, int64_t element)
{
    int64_t block = sonde_dtype_block_elements(s->dtype), size = sonde_dtype_block_bytes(s->dtype);
    return (const uint8_t *)s->data + element / block * size;
}

static float scale_at(const sonde_matrix_source *s, int64_t row, int64_t column)
{
    int64_t at = row / s->scale_rows * s->stored_scale_cols + column / s->scale_cols;
    const uint8_t *bytes = s->scales;
    float scale;
    sonde_decode_f32(s->scale_dtype, bytes + sonde_dtype_bytes(s->scale_dtype, at), &scale, 1);
    return scale;
}

/* ---- stored columns: one element of every stored row --------------------------------------------- */

static void column_f32(const uint8_t *bytes, int64_t stride, float *dst, int64_t n)
{
    for (int64_t c = 0; c < n; c++) memcpy(&dst[c], bytes + 4 * c * stride, 4);
}

static void column_16(const uint8_t *bytes, int64_t stride, float *dst, int64_t n,
                      float (*decode)(uint16_t))
{
    for (int64_t c = 0; c < n; c++) {
        uint16_t bits;
        memcpy(&bits, bytes + 2 * c * stride, 2);
        dst[c] = decode(bits);
    }
}

#define MAX_BLOCK 256 /* the longest block of any dtype, in elements */

static void column_blocks(const sonde_matrix_source *s, int64_t column, int64_t begin, float *dst,
                          int64_t n)
{
    int64_t block = sonde_dtype_block_elements(s->dtype);
    float values[MAX_BLOCK];
    for (int64_t c = 0; c < n; c++) {
        int64_t element = (begin + c) * s->stored_cols + column;
        sonde_decode_f32(s->dtype, block_at(s, element), values, block);
        dst[c] = values[element % block];
        if (s->scales) dst[c] *= scale_at(s, begin + c, column);
    }
}

static void matrix_column(const sonde_matrix_source *s, int64_t column, int64_t begin, int64_t n,
                          float *dst)
{
    int64_t element = begin * s->stored_cols + column;
    if (s->dtype == SONDE_DTYPE_F32 && !s->scales)
        column_f32(block_at(s, element), s->stored_cols, dst, n);
    else if (s->dtype == SONDE_DTYPE_F16 && !s->scales)
        column_16(block_at(s, element), s->stored_cols, dst, n, sonde_f16_to_f32);
    else if (s->dtype == SONDE_DTYPE_BF16 && !s->scales)
        column_16(block_at(s, element), s->stored_cols, dst, n, sonde_bf16_to_f32);
    else
        column_blocks(s, column, begin, dst, n);
}

/* ---- stored rows ----------------------------------------------------------------------------------- */

/* One multiplication for each element, as the files' own software does. */
static void multiply_scales(const sonde_matrix_source *s, int64_t row, int64_t begin, int64_t n,
                            float *dst)
{
    for (int64_t c = begin; c < begin + n;) {
        int64_t end = SONDE_MIN((c / s->scale_cols + 1) * s->scale_cols, begin + n);
        float scale = scale_at(s, row, c);
        for (; c < end; c++) dst[c - begin] *= scale;
    }
}

void sonde_matrix_slice(const sonde_matrix_source *source, int64_t r, int64_t begin, int64_t n,
                        float *dst)
{
    int64_t row = stored_row(source, r), at = row * source->stored_cols + begin;
    if (source->transposed) {
        matrix_column(source, row, source->first_input + begin, n, dst);
    } else if (source->scales && source->dtype == SONDE_DTYPE_MXFP4) {
        sonde_decode_mxfp4_apart((const uint8_t *)source->data + at / 2,
                                 (const uint8_t *)source->scales + at / 32, dst, n);
    } else {
        sonde_decode_f32(source->dtype, block_at(source, at), dst, n);
        if (source->scales) multiply_scales(source, row, begin, n, dst);
    }
}

void sonde_matrix_release(const sonde_matrix_source *s)
{
    int64_t last = s->rows - 1;
    int64_t first = s->transposed ? s->first_input : s->first_row;
    int64_t end = s->transposed ? first + s->cols
                                : first + 1 + (s->take <= 0 ? last : last / s->take * s->stride + last % s->take);
    size_t from = sonde_dtype_bytes(s->dtype, first * s->stored_cols);
    size_t to = sonde_dtype_bytes(s->dtype, end * s->stored_cols);
    if (s->dtype == SONDE_DTYPE_MXFP4 && s->scales) {
        from = (size_t)(first * s->stored_cols / 2);
        to = (size_t)(end * s->stored_cols / 2);
    }
    sonde_pages_release((const uint8_t *)s->data + from, to - from);
}

const void *sonde_matrix_stored_row(const sonde_matrix_source *source, int64_t r)
{
    bool plain = !source->transposed && !source->scales && sonde_dtype_block_elements(source->dtype) == 1;
    return plain ? block_at(source, stored_row(source, r) * source->stored_cols) : NULL;
}

const void *sonde_matrix_stored_blocks(const sonde_matrix_source *source, int64_t r)
{
    if (source->transposed || source->scales) return NULL;
    return block_at(source, stored_row(source, r) * source->stored_cols);
}

void sonde_matrix_row(const sonde_matrix_source *source, int64_t r, float *dst)
{
    sonde_matrix_slice(source, r, 0, source->cols, dst);
}
