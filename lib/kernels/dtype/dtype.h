/*
 * dtype.h - conversions between stored element types and fp32, and block decoders. These are the
 * definition: integer rounding to nearest even with subnormals, NaN stored as the type's quiet NaN
 * (kernels.md 6); a quantised block decodes to the bits of ggml's own dequantisation.
 */
#ifndef SONDE_KERNELS_DTYPE_H
#define SONDE_KERNELS_DTYPE_H

#include "core/core.h"

/* Scalar definitions. */
uint16_t sonde_f32_to_bf16(float x);
float sonde_bf16_to_f32(uint16_t bits);
uint16_t sonde_f32_to_f16(float x);
float sonde_f16_to_f32(uint16_t bits);

/* True when elements of this dtype can be decoded to fp32 by sonde_decode_f32. */
bool sonde_dtype_decodes(sonde_dtype dtype);
/* Decodes n elements (n a multiple of the block) starting at `src` (any alignment) to fp32. */
void sonde_decode_f32(sonde_dtype dtype, const void *src, float *dst, int64_t n);
/* Converts n fp32 values to F32, BF16 or F16 at dst (any alignment). Vectorised where the processor
 * can; equal bits always. */
void sonde_encode_f32(sonde_dtype dtype, const float *src, void *dst, int64_t n);

/* A weight matrix as it lies in a file, and how its rows become [rows, cols] of the product
 * y = x W^T: output feature r of `rows`, input feature c of `cols`. */
typedef struct sonde_matrix_source {
    sonde_dtype dtype;
    const void *data;    /* first element of the stored tensor */
    int64_t rows, cols;  /* after all transforms */
    int64_t stored_cols; /* elements in one stored row (transposed: stored outputs) */
    int64_t first_row, take, stride; /* output row r is stored row  first_row + (r / take) * stride
                                        + r % take; take 0: contiguous from first_row */
    int32_t transposed;  /* stored [in, out] (GPT-2's Conv1D) instead of [out, in] */
    int64_t first_input; /* transposed: input feature c is stored row first_input + c */
    int64_t unpermute;   /* nonzero: rows per head d; output row j*d/2+i of a head is stored row
                            2i+j (GGUF `llama` q and k back to Hugging Face order); applied before
                            first_row, take and stride */
    /* Scales that are stored apart, or NULL: element (r, c) of the stored matrix is multiplied by
     * scales[r / scale_rows][c / scale_cols], one rounding. MXFP4 with scales: blocks of 16 bytes
     * whose byte b holds elements 2b (low nibble) and 2b + 1, one scale byte for each; never
     * transposed. */
    const void *scales;
    sonde_dtype scale_dtype;
    int64_t scale_rows, scale_cols, stored_scale_cols; /* elements a scale covers; scales in a row */
} sonde_matrix_source;

#define SONDE_MATRIX_SLICE 256 /* a multiple of every block */

/* Writes output feature r (cols fp32 values) to dst. [any thread] */
void sonde_matrix_row(const sonde_matrix_source *source, int64_t r, float *dst);
/* Writes input features [begin, begin + n) of output feature r to dst; begin and n are multiples of
 * the dtype's block. */
void sonde_matrix_slice(const sonde_matrix_source *source, int64_t r, int64_t begin, int64_t n,
                        float *dst);
/* The pages of a mapped file that hold this matrix may leave the process's memory; they come back
 * from the system's page cache when they are read again. */
void sonde_matrix_release(const sonde_matrix_source *source);
/* Where the elements of output feature r lie one after the other, as they are: its first one; NULL
 * for columns, blocks and scaled elements. Any alignment. */
const void *sonde_matrix_stored_row(const sonde_matrix_source *source, int64_t r);

#endif
