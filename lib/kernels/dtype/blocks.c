/*
 * blocks.c - decoders of GGUF's quantised blocks and of plain numbers. Each gives the bits of
 * ggml's own C dequantisation: one rounding per operation, never a fused multiply-add.
 * Layouts: ggml's block structures, little endian; d and m are f16.
 */
#include "convert.h"

#include <string.h>

static float half_at(const uint8_t *p)
{
    return sonde_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* d, qs[16]: element j is the low nibble of qs[j], j + 16 the high one; d * (q - 8). */
static void decode_q4_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 18, dst += 32) {
        float d = half_at(block);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)((block[2 + j] & 15) - 8);
            dst[j + 16] = d * (float)((block[2 + j] >> 4) - 8);
        }
    }
}

/* d, m, qs[16]: d * q + m. */
static void decode_q4_1(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 20, dst += 32) {
        float d = half_at(block), m = half_at(block + 2);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)(block[4 + j] & 15) + m;
            dst[j + 16] = d * (float)(block[4 + j] >> 4) + m;
        }
    }
}

/* d, int8[32]: d * q. */
static void decode_q8_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 34, dst += 32) {
        float d = half_at(block);
        for (int j = 0; j < 32; j++) dst[j] = d * (float)(int8_t)block[2 + j];
    }
}

static const struct {
    sonde_dtype dtype;
    sonde_block_decoder *decode;
} decoders[] = {
    {SONDE_DTYPE_Q4_0, decode_q4_0},
    {SONDE_DTYPE_Q4_1, decode_q4_1},
    {SONDE_DTYPE_Q8_0, decode_q8_0},
};

sonde_block_decoder *sonde_block_decoder_of(sonde_dtype dtype)
{
    for (size_t i = 0; i < SONDE_COUNT(decoders); i++)
        if (decoders[i].dtype == dtype) return decoders[i].decode;
    return NULL;
}
