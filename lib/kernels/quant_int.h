/*
 * quant_int.h - `--mode int`: products of quantised weights in exact integers. ref/linear_int.c is
 * the definition; the vector levels give its bits.
 *
 * A row of x is cut into groups of 32 elements, each with a power of two s and integers X:
 *
 *   m  the largest of the bit patterns of |x|;  E = max((m + 0x10101) >> 23, 23)
 *   s = 2^(E - 149);  X = x / s, rounded to nearest even:  |X| <= 0x7F7F7F (three balanced digits)
 *
 * For an output with scale d and integers q in the group (and `low` where the kind has one):
 *
 *   S = sum of q X, exact;  chain = fma(d, fl32(S) * s, chain)  (two sums and scales for groups of 16)
 *   T = sum of X, exact;    chain = fma(low, fl32(T) * s, chain)
 *
 * Groups come in order, in the blocks of k of kernels.md 1: a chain from +0 in each block, block sums
 * added in order, then bias and residual. fl32 rounds once, to nearest even; products with s are exact.
 *
 * A row is left to exact mode, for all outputs, when one of its E is 255 (elements that are not finite,
 * or next to it), or when it has a massive activation: over its n groups that are not all zero, n times
 * the largest E is more than their sum by over 10 n. So is a matrix whose kind is not kept quantised.
 *
 * How X is cut is each level's own affair, since S is exact: for nibbles three digits of 8 bits, so
 * that 16 bits hold the sums of a group; for bytes two of 12 bits. Prepared rows of x:
 *
 *   flags [m] int32    nonzero: left to exact mode; padded to 64 bytes
 *   then for nibbles (if a part has them), then for bytes, [m] rows of 5 cols bytes:
 *     digits [cols / 4][16]     of four neighbouring k;  nibbles: the lowest digit of each, the next,
 *                               the highest, unused;  bytes: high halves k 0 2 1 3, then low ones
 *     groups [cols / 32][8]     s, fl32(T) * s, two unused; for nibbles what the 16-bit sums begin
 *                               with where 8 is subtracted from every nibble
 */
#ifndef SONDE_KERNELS_QUANT_INT_H
#define SONDE_KERNELS_QUANT_INT_H

#include "kernels/linear.h"
#include "kernels/quant.h"

#define SONDE_INT_MASSIVE 10

typedef struct sonde_int_group {
    float scale, sum;
    int32_t unused[2];
    int16_t begin[8];
} sonde_int_group;
_Static_assert(sizeof(sonde_int_group) == 32, "prepared rows have 5 bytes for each column");

/* The form of a weight that is multiplied in integers, packed or in the file; NULL: exact mode. */
const sonde_quant_form *sonde_int_form(const sonde_packed *w);

/* Bytes of prepared rows, 0 when no part needs them; rows [begin, end) are made at a time. */
size_t sonde_int_prepared_bytes(const sonde_linear_args *args);
size_t sonde_int_scratch(const sonde_linear_args *args);
/* ref/linear_int.c; takes no prepared rows. */
void sonde_linear_int_scalar(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);

/* Groups of one panel times rows. */
#define SONDE_INT_SLICE_GROUPS 8
#define SONDE_INT_SLICE_BYTES (SONDE_INT_SLICE_GROUPS * (3 * 128 + 2048))
typedef struct sonde_int_sweep {
    const sonde_quant_form *form;
    const char *groups; /* packed, the first of n_groups <= SONDE_INT_SLICE_GROUPS */
    int64_t first_group, n_groups, cols;
    const char *x;      /* prepared rows of the form's digits */
    int64_t rows;
    float *const *totals; /* [rows] of 32: set when first_group is 0, else added to */
    void *slice;          /* scratch of SONDE_INT_SLICE_BYTES */
} sonde_int_sweep;
/* What a vector level has of its own. */
typedef struct sonde_int_level {
    void (*exact)(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);
    /* One row of x, into rows for nibbles and for bytes (NULL: not wanted). True: left to exact mode. */
    bool (*prepare)(const float *x, int64_t cols, char *nibbles, char *bytes);
    void (*sweep)(const sonde_int_sweep *sweep);
} sonde_int_level;
void sonde_int_prepare(const sonde_int_level *level, const sonde_linear_args *args, int64_t begin,
                       int64_t end, void *prepared);
void sonde_int_linear(const sonde_int_level *level, const sonde_linear_args *args, int64_t begin,
                      int64_t end, void *scratch);
#if defined(__x86_64__)
void sonde_int_prepare_avx2(const sonde_linear_args *args, int64_t begin, int64_t end, void *prepared);
void sonde_linear_int_avx2(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);
void sonde_linear_int_avx512(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);
#endif

#endif
