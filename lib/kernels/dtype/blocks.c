/*
 * blocks.c - decoders of GGUF's quantised blocks, and the list of all. Each gives the bits of
 * ggml's own C dequantisation: one rounding per operation, never a fused multiply-add. Layouts:
 * ggml's block structures, little endian; d and m are f16.
 */
#include "blocks.h"

#include <string.h>

/* d, qs[16]: element j is the low nibble of qs[j], j + 16 the high one; d * (q - 8). */
static void decode_q4_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 18, dst += 32) {
        float d = sonde_half_at(block);
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
        float d = sonde_half_at(block), m = sonde_half_at(block + 2);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)(block[4 + j] & 15) + m;
            dst[j + 16] = d * (float)(block[4 + j] >> 4) + m;
        }
    }
}

/* qh: bit j is the fifth bit of element j. */
static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* d, qh (u32), qs[16]: d * (q - 16). */
static void decode_q5_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 22, dst += 32) {
        float d = sonde_half_at(block);
        uint32_t high = load_u32(block + 2);
        for (int j = 0; j < 16; j++) {
            uint32_t a = (block[6 + j] & 15u) | (high >> j & 1) << 4;
            uint32_t b = (uint32_t)(block[6 + j] >> 4) | (high >> (j + 16) & 1) << 4;
            dst[j] = d * (float)((int)a - 16);
            dst[j + 16] = d * (float)((int)b - 16);
        }
    }
}

/* d, m, qh (u32), qs[16]: d * q + m. */
static void decode_q5_1(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 24, dst += 32) {
        float d = sonde_half_at(block), m = sonde_half_at(block + 2);
        uint32_t high = load_u32(block + 4);
        for (int j = 0; j < 16; j++) {
            uint32_t a = (block[8 + j] & 15u) | (high >> j & 1) << 4;
            uint32_t b = (uint32_t)(block[8 + j] >> 4) | (high >> (j + 16) & 1) << 4;
            dst[j] = d * (float)a + m;
            dst[j + 16] = d * (float)b + m;
        }
    }
}

/* d, int8[32]: d * q. */
static void decode_q8_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 34, dst += 32) {
        float d = sonde_half_at(block);
        for (int j = 0; j < 32; j++) dst[j] = d * (float)(int8_t)block[2 + j];
    }
}

/* Plain numbers, rounded to fp32. */
#define PLAIN_DECODER(name, type)                                                                  \
    static void decode_##name(const void *src, float *dst, int64_t n)                              \
    {                                                                                              \
        const char *at = src;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                          \
            type value;                                                                            \
            memcpy(&value, at + (size_t)i * sizeof value, sizeof value);                           \
            dst[i] = (float)value;                                                                 \
        }                                                                                          \
    }
PLAIN_DECODER(i8, int8_t)
PLAIN_DECODER(i16, int16_t)
PLAIN_DECODER(i32, int32_t)
PLAIN_DECODER(i64, int64_t)
PLAIN_DECODER(f64, double)

static const struct {
    sonde_dtype dtype;
    sonde_block_decoder *decode;
} decoders[] = {
    {SONDE_DTYPE_I8, decode_i8},               {SONDE_DTYPE_I16, decode_i16},
    {SONDE_DTYPE_I32, decode_i32},             {SONDE_DTYPE_I64, decode_i64},
    {SONDE_DTYPE_F64, decode_f64},
    {SONDE_DTYPE_Q4_0, decode_q4_0},           {SONDE_DTYPE_Q4_1, decode_q4_1},
    {SONDE_DTYPE_Q8_0, decode_q8_0},           {SONDE_DTYPE_Q5_0, decode_q5_0},
    {SONDE_DTYPE_Q5_1, decode_q5_1},           {SONDE_DTYPE_Q2_K, sonde_decode_q2_k},
    {SONDE_DTYPE_Q3_K, sonde_decode_q3_k},     {SONDE_DTYPE_Q4_K, sonde_decode_q4_k},
    {SONDE_DTYPE_Q5_K, sonde_decode_q5_k},     {SONDE_DTYPE_Q6_K, sonde_decode_q6_k},
    {SONDE_DTYPE_IQ4_NL, sonde_decode_iq4_nl}, {SONDE_DTYPE_IQ4_XS, sonde_decode_iq4_xs},
    {SONDE_DTYPE_MXFP4, sonde_decode_mxfp4},   {SONDE_DTYPE_TQ1_0, sonde_decode_tq1_0},
    {SONDE_DTYPE_TQ2_0, sonde_decode_tq2_0},   {SONDE_DTYPE_F8_E4M3, sonde_decode_f8_e4m3},
    {SONDE_DTYPE_F8_E5M2, sonde_decode_f8_e5m2}, {SONDE_DTYPE_F8_E8M0, sonde_decode_f8_e8m0},
    {SONDE_DTYPE_IQ1_S, sonde_decode_iq1_s},   {SONDE_DTYPE_IQ1_M, sonde_decode_iq1_m},
    {SONDE_DTYPE_IQ2_XXS, sonde_decode_iq2_xxs}, {SONDE_DTYPE_IQ2_XS, sonde_decode_iq2_xs},
    {SONDE_DTYPE_IQ2_S, sonde_decode_iq2_s},   {SONDE_DTYPE_IQ3_XXS, sonde_decode_iq3_xxs},
    {SONDE_DTYPE_IQ3_S, sonde_decode_iq3_s},   {SONDE_DTYPE_NVFP4, sonde_decode_nvfp4},
    {SONDE_DTYPE_Q1_0, sonde_decode_q1_0},     {SONDE_DTYPE_Q2_0, sonde_decode_q2_0},
};

sonde_block_decoder *sonde_block_decoder_of(sonde_dtype dtype)
{
    for (size_t i = 0; i < SONDE_COUNT(decoders); i++)
        if (decoders[i].dtype == dtype) return decoders[i].decode;
    return NULL;
}
