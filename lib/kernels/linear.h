/*
 * linear.h - matrix products, packing and embedding rows. The definition is ref/linear.c; the
 * levels share one packed layout.
 *
 * Packed layout: panels of 32 outputs, each [cols][32] elements of the kept precision; the last
 * panel is padded with zeros. Quantised kinds have panels of their own (quant.h). A mapped matrix has
 * no panels: a product makes the slice of one that it works on (a block of k, fp32) in the thread's
 * scratch, just before its use.
 */
#ifndef SONDE_KERNELS_LINEAR_H
#define SONDE_KERNELS_LINEAR_H

#include "kernels/kernels.h"

/* kernels.md 1: blocks of the k range. Block b of `blocks` covers [begin(b), begin(b + 1)). */
static inline int64_t sonde_linear_blocks(int64_t k)
{
    return (k + 255) / 256;
}
static inline int64_t sonde_linear_block_begin(int64_t k, int64_t block)
{
    int64_t units = (k + 31) / 32, begin = 32 * (block * units / sonde_linear_blocks(k));
    return begin < k ? begin : k;
}

sonde_dtype sonde_packed_dtype(sonde_dtype stored);
size_t sonde_packed_bytes(sonde_dtype packed, int64_t rows, int64_t cols);
void sonde_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                int64_t end, float *scratch);
/* Slice k in [begin, end) of a panel of a mapped matrix as fp32 [end - begin][32]; outputs beyond the
 * rows are zero. `slice` has room for SONDE_SLICE_FLOATS: the slice, then scratch. */
void sonde_panel_slice(const sonde_matrix_source *source, int64_t panel, int64_t begin, int64_t end,
                       float *slice);
void sonde_embed_rows(const sonde_embed_args *args, int64_t begin, int64_t end);

/* Units: (part, panel, block of rows). */
#define SONDE_LINEAR_ROW_BLOCK 240
int64_t sonde_linear_panels(const sonde_linear_args *args); /* of one block of rows */
int64_t sonde_linear_units(const sonde_linear_args *args);
/* Bytes: a row of W for the scalar level; for the others SONDE_WIDENED_FLOATS (a slice of a two-byte
 * type), SONDE_SLICE_FLOATS (only when slices of a part are made fp32: sonde_linear_sliced), then the
 * totals. */
#define SONDE_WIDENED_FLOATS (SONDE_PANEL * 256)
size_t sonde_linear_scratch(const sonde_linear_args *args);
bool sonde_linear_mapped(const sonde_linear_args *args);
bool sonde_linear_sliced(const sonde_linear_args *args); /* a part is mapped, or quantised panels */
typedef struct sonde_linear_unit {
    const sonde_linear_part *part;
    int64_t panel, first_row, n_rows;
} sonde_linear_unit;
sonde_linear_unit sonde_linear_unit_at(const sonde_linear_args *args, int64_t unit);
/* Row of y and of the residual that output row m is. */
static inline int64_t sonde_linear_y_row(const sonde_linear_args *args, int64_t m)
{
    return args->y_rows ? args->y_rows[m] : m;
}

/* The same product for output row m alone. */
sonde_linear_args sonde_linear_one_row(const sonde_linear_args *args, int64_t m);

void sonde_linear_scalar(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);
#if defined(__x86_64__)
void sonde_linear_avx2(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);
void sonde_linear_avx512(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);
#endif

/* OpenBLAS: packed row-major fp32; units are blocks of rows. */
sonde_dtype sonde_blas_packed_dtype(sonde_dtype stored);
size_t sonde_blas_packed_bytes(sonde_dtype packed, int64_t rows, int64_t cols);
void sonde_blas_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                     int64_t end, float *scratch);
void sonde_blas_embed(const sonde_embed_args *args, int64_t begin, int64_t end);
size_t sonde_blas_linear_scratch(const sonde_linear_args *args);
int64_t sonde_blas_linear_units(const sonde_linear_args *args);
void sonde_blas_linear(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);

extern const sonde_backend sonde_backend_oracle;
/* ref/oracle_experts.c */
void sonde_oracle_route(const sonde_route_args *args, int64_t begin, int64_t end, void *scratch);
void sonde_oracle_combine(const sonde_combine_args *args, int64_t begin, int64_t end);

#endif
