/* blocks.h - the block decoders of blocks_*.c that the table in blocks.c lists. */
#ifndef SONDE_KERNELS_BLOCKS_H
#define SONDE_KERNELS_BLOCKS_H

#include "convert.h"

/* The f16 at p, little endian. */
static inline float sonde_half_at(const uint8_t *p)
{
    return sonde_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Six-bit scale and minimum of group g out of 12 bytes (Q4_K, Q5_K). */
static inline void sonde_k_scale_min(const uint8_t *b, int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = b[g] & 63;
        *min = b[g + 4] & 63;
    } else {
        *scale = (b[g + 4] & 15) | (b[g - 4] >> 6) << 4;
        *min = b[g + 4] >> 4 | (b[g] >> 6) << 4;
    }
}

/* 256 elements a block, scales per 16 or 32 of them. */
sonde_block_decoder sonde_decode_q2_k, sonde_decode_q3_k, sonde_decode_q4_k, sonde_decode_q5_k,
    sonde_decode_q6_k;
/* Values from a table of 16. */
sonde_block_decoder sonde_decode_iq4_nl, sonde_decode_iq4_xs, sonde_decode_mxfp4;
/* Points of a grid of 8 or 4 values. */
sonde_block_decoder sonde_decode_iq1_s, sonde_decode_iq1_m, sonde_decode_iq2_xxs,
    sonde_decode_iq2_xs, sonde_decode_iq2_s, sonde_decode_iq3_xxs, sonde_decode_iq3_s;
/* One bit and two bits an element, and FP4 with scales of 16 elements. */
sonde_block_decoder sonde_decode_q1_0, sonde_decode_q2_0, sonde_decode_nvfp4;
/* As mxfp4, scales apart: n / 2 bytes of blocks, n / 32 scales. */
void sonde_decode_mxfp4_apart(const uint8_t *blocks, const uint8_t *scales, float *dst, int64_t n);
/* Eight-bit floats, exact. */
sonde_block_decoder sonde_decode_f8_e4m3, sonde_decode_f8_e5m2, sonde_decode_f8_e8m0;
/* Ternary. */
sonde_block_decoder sonde_decode_tq1_0, sonde_decode_tq2_0;

#endif
