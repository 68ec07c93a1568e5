/*
 * convert.h - the loops behind sonde_encode_f32 and sonde_decode_f32, one table per instruction
 * set. All tables give the same bits as the scalar definitions of dtype.h. Private to this folder
 * and its tests.
 */
#ifndef SONDE_KERNELS_CONVERT_H
#define SONDE_KERNELS_CONVERT_H

#include "core/cpu.h"
#include "dtype.h"

#define SONDE_BF16_NAN 0x7FC0u /* the quiet NaN that every fp32 NaN becomes */
#define SONDE_F16_NAN 0x7E00u

typedef struct sonde_convert_table {
    /* n values; the 16-bit side has any alignment. */
    void (*encode_bf16)(const float *src, void *dst, int64_t n);
    void (*encode_f16)(const float *src, void *dst, int64_t n);
    void (*decode_bf16)(const void *src, float *dst, int64_t n);
    void (*decode_f16)(const void *src, float *dst, int64_t n);
} sonde_convert_table;

extern const sonde_convert_table sonde_convert_scalar;
#if defined(__x86_64__)
extern const sonde_convert_table sonde_convert_avx2, sonde_convert_avx512;
#endif

/* The table of a level, or NULL when this processor or build lacks it. [any thread] */
const sonde_convert_table *sonde_convert_level(sonde_cpu_level level);

/* Block decoders: n elements, a multiple of the block, to fp32; `src` has any alignment. */
typedef void sonde_block_decoder(const void *src, float *dst, int64_t n);
/* The decoder of a dtype other than f32, f16 and bf16, or NULL when there is none. */
sonde_block_decoder *sonde_block_decoder_of(sonde_dtype dtype);

#endif
