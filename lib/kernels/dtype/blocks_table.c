/* blocks_table.c - blocks whose quants index a table of 16 values, and ternary ones; after ggml's
 * dequantize_row_iq4_nl, _iq4_xs, _mxfp4, _nvfp4, _q1_0, _q2_0, _tq1_0 and _tq2_0. */
#include "blocks.h"

#include <string.h>

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
/* FP4 (E2M1) times two, for scales halved. */
static const float fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* d, qs[16]: d * table; low nibbles are elements 0-15, high ones 16-31. */
void sonde_decode_iq4_nl(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 18, dst += 32) {
        float d = sonde_half_at(block);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * iq4_values[block[2 + j] & 15];
            dst[j + 16] = d * iq4_values[block[2 + j] >> 4];
        }
    }
}

/* d, scales_h (u16), scales_l[4], qs[128]; 32 elements a group: (d * (scale - 32)) * table. */
void sonde_decode_iq4_xs(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 136) {
        float d = sonde_half_at(block);
        int scales_high = block[2] | block[3] << 8;
        for (int group = 0; group < 8; group++, dst += 32) {
            const uint8_t *q = block + 8 + group * 16;
            int low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
            int scale = (low | (scales_high >> (2 * group) & 3) << 4) - 32;
            float product = d * (float)scale;
            for (int j = 0; j < 16; j++) {
                dst[j] = product * iq4_values[q[j] & 15];
                dst[j + 16] = product * iq4_values[q[j] >> 4];
            }
        }
    }
}

/* 2^(e - 128): half of the scale, so that e = 255 stays finite (OCP microscaling, E8M0). */
static float half_scale(uint8_t e)
{
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* e, qs[16]: 2^(e - 127) * FP4; nibbles as in IQ4_NL. */
void sonde_decode_mxfp4(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 32, block += 17, dst += 32) {
        float scale = half_scale(block[0]);
        for (int j = 0; j < 16; j++) {
            dst[j] = scale * fp4_values[block[1 + j] & 15];
            dst[j + 16] = scale * fp4_values[block[1 + j] >> 4];
        }
    }
}

static const float fp4_signed[16] = {0,  1,  2,  3,  4,  6,  8,  12,
                                     -0.0f, -1, -2, -3, -4, -6, -8, -12};

/* The same with scales apart, the zero of nibble 8 negative, and byte b holding elements 2b and 2b + 1 (GPT-OSS in safetensors). */
void sonde_decode_mxfp4_apart(const uint8_t *blocks, const uint8_t *scales, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n; i += 32, blocks += 16, scales++, dst += 32) {
        float scale = half_scale(*scales);
        for (int j = 0; j < 16; j++) {
            dst[2 * j] = scale * fp4_signed[blocks[j] & 15];
            dst[2 * j + 1] = scale * fp4_signed[blocks[j] >> 4];
        }
    }
}

/* ---- eight-bit floats ------------------------------------------------------------------------------ */

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 1 sign, 4 exponent (bias 7), 3 fraction; 0x7F is NaN, no infinity. */
void sonde_decode_f8_e4m3(const void *src, float *dst, int64_t n)
{
    const uint8_t *bytes = src;
    for (int64_t i = 0; i < n; i++) {
        uint32_t magnitude = bytes[i] & 0x7Fu, sign = (uint32_t)(bytes[i] & 0x80u) << 24;
        float value = magnitude < 8 ? (float)magnitude * 0x1p-9f
                                    : float_of((magnitude << 20) + (120u << 23));
        if (magnitude == 0x7F) value = float_of(0x7FC00000u);
        dst[i] = sign ? -value : value;
    }
}

/* 1 sign, 5 exponent (bias 15), 2 fraction: the upper byte of an f16. */
void sonde_decode_f8_e5m2(const void *src, float *dst, int64_t n)
{
    const uint8_t *bytes = src;
    for (int64_t i = 0; i < n; i++) dst[i] = sonde_f16_to_f32((uint16_t)(bytes[i] << 8));
}

/* 2^(e - 127); 0xFF is NaN. */
void sonde_decode_f8_e8m0(const void *src, float *dst, int64_t n)
{
    const uint8_t *bytes = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = float_of(bytes[i] == 0xFF ? 0x7FC00000u
                                           : bytes[i] == 0 ? 0x00400000u : (uint32_t)bytes[i] << 23);
}

/* ---- ternary --------------------------------------------------------------------------------------- */

/* Five base-3 digits a byte, stored as a fraction of 256: digit k of `width` bytes is
 * ((byte * 3^k mod 256) * 3) / 256, minus 1. */
static float *ternary_digits(const uint8_t *bytes, int width, int digits, float d, float *dst)
{
    uint8_t power = 1;
    for (int k = 0; k < digits; k++, power = (uint8_t)(power * 3))
        for (int j = 0; j < width; j++) {
            uint8_t shifted = (uint8_t)(bytes[j] * power);
            *dst++ = (float)((shifted * 3 >> 8) - 1) * d;
        }
    return dst;
}

/* qs[48], qh[4], d: runs of 32, 16 and 4 bytes. */
void sonde_decode_tq1_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 54) {
        float d = sonde_half_at(block + 52);
        dst = ternary_digits(block, 32, 5, d, dst);
        dst = ternary_digits(block + 32, 16, 5, d, dst);
        dst = ternary_digits(block + 48, 4, 4, d, dst);
    }
}

/* qs[64], d: two bits an element, runs of 32: (q - 1) * d. */
void sonde_decode_tq2_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 66) {
        float d = sonde_half_at(block + 64);
        for (int run = 0; run < 8; run++)
            for (int j = 0; j < 32; j++)
                *dst++ = (float)((block[run / 4 * 32 + j] >> (2 * (run % 4)) & 3) - 1) * d;
    }
}

/* d, a bit an element: d or -d. */
void sonde_decode_q1_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 128, block += 18, dst += 128) {
        float d = sonde_half_at(block);
        for (int j = 0; j < 128; j++) dst[j] = block[2 + j / 8] >> j % 8 & 1 ? d : -d;
    }
}

/* d, two bits an element: d * (q - 1). */
void sonde_decode_q2_0(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 64, block += 18, dst += 64) {
        float d = sonde_half_at(block);
        for (int j = 0; j < 64; j++)
            dst[j] = d * (float)((block[2 + j / 4] >> 2 * (j % 4) & 3) - 1);
    }
}

/* Half of an unsigned E4M3 of four exponent bits; the top bit is ignored, and 0x7F is zero. */
static float half_of_e4m3(uint8_t byte)
{
    int exponent = byte >> 3 & 15;
    float mantissa = (float)(byte & 7);
    if (byte == 0x7F) return 0.0f;
    if (exponent == 0) return mantissa * 0x1p-10f;
    float value = (1.0f + mantissa / 8.0f) * 0x1p-8f;
    for (int i = 0; i < exponent; i++) value *= 2.0f;
    return value;
}

/* Scales of 4 groups, then 8 bytes a group: low nibbles are elements 0-7, high ones 8-15. */
void sonde_decode_nvfp4(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 64, block += 36)
        for (int g = 0; g < 4; g++, dst += 16) {
            float scale = half_of_e4m3(block[g]);
            for (int j = 0; j < 8; j++) {
                dst[j] = scale * fp4_values[block[4 + 8 * g + j] & 15];
                dst[j + 8] = scale * fp4_values[block[4 + 8 * g + j] >> 4];
            }
        }
}
