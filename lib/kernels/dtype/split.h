/*
 * split.h - quantised blocks as the integers and scales that they are made of:
 * w = scale * q (+ low), one rounding each, is the value that the block's decoder gives.
 */
#ifndef SONDE_KERNELS_SPLIT_H
#define SONDE_KERNELS_SPLIT_H

#include "dtype.h"

#define SONDE_SPLIT_GROUP 32

/* Group g (elements 32 g to 32 g + 31) of a stored row. */
typedef struct sonde_split_group {
    int8_t q[SONDE_SPLIT_GROUP]; /* with `zero` of the kind already subtracted */
    float scale[2];              /* of elements 0-15 and 16-31; equal but for groups of 16 */
    float low;                   /* 0 for kinds that have none */
} sonde_split_group;
typedef void sonde_splitter(const void *row, int64_t group, sonde_split_group *out);

/* NULL: this kind is not split. */
sonde_splitter *sonde_splitter_of(sonde_dtype dtype);
/* Where the blocks of output feature r lie one after the other; NULL for columns and scales that are
 * stored apart. Any alignment. */
const void *sonde_matrix_stored_blocks(const sonde_matrix_source *source, int64_t r);

#endif
