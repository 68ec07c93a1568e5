/*
 * blocks_grid.c - blocks whose quants are points of a grid; after ggml's dequantize_row_iq1_s, _iq1_m,
 * _iq2_xxs, _iq2_xs, _iq2_s, _iq3_xxs and _iq3_s. 256 elements a block, d first but in iq1_m.
 */
#include "blocks.h"
#include "grids.h"

static const float iq2_values[4] = {8, 25, 43, 0};
static const float iq3_xxs_values[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float iq3_s_values[8] = {1, 3, 5, 7, 9, 11, 13, 15};

static uint32_t u16_at(const uint8_t *p)
{
    return (uint32_t)(p[0] | p[1] << 8);
}

static uint32_t u32_at(const uint8_t *p)
{
    return u16_at(p) | u16_at(p + 2) << 16;
}

/* Seven signs are stored; the eighth makes their number even. */
static uint32_t eight_signs(uint32_t seven)
{
    uint32_t parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

static void put_eight(float *y, float scale, uint32_t point, uint32_t signs)
{
    for (int i = 0; i < 8; i++)
        y[i] = scale * iq2_values[point >> 2 * i & 3] * (signs >> i & 1 ? -1.0f : 1.0f);
}

static void put_four(float *y, float scale, uint32_t point, const float *values, uint32_t signs)
{
    for (int i = 0; i < 4; i++)
        y[i] = scale * values[point >> 3 * i & 7] * (signs >> i & 1 ? -1.0f : 1.0f);
}

static float quarter_scale(float d, uint32_t nibble)
{
    return d * (0.5f + (float)nibble) * 0.25f;
}

/* d, then for 32 elements: 4 points, 4 x 7 signs and a scale of 4 bits. */
void sonde_decode_iq2_xxs(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 66)
        for (int g = 0; g < 8; g++, dst += 32) {
            const uint8_t *q = block + 2 + 8 * g;
            uint32_t rest = u32_at(q + 4);
            float scale = quarter_scale(sonde_half_at(block), rest >> 28);
            for (int j = 0; j < 4; j++)
                put_eight(dst + 8 * j, scale, sonde_grid_iq2_xxs[q[j]],
                          eight_signs(rest >> 7 * j & 127));
        }
}

/* d, 32 x (point of 9 bits, 7 signs), scales of 4 bits for 16 elements. */
void sonde_decode_iq2_xs(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 74)
        for (int k = 0; k < 32; k++, dst += 8) {
            uint32_t q = u16_at(block + 2 + 2 * k);
            uint32_t nibble = (uint32_t)block[66 + k / 4] >> (k & 2 ? 4 : 0) & 15;
            put_eight(dst, quarter_scale(sonde_half_at(block), nibble), sonde_grid_iq2_xs[q & 511],
                      eight_signs(q >> 9));
        }
}

/* d, low bits of 32 points, signs[32], high 2 bits[8], scales of 4 bits for 16 elements. */
void sonde_decode_iq2_s(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 82)
        for (int k = 0; k < 32; k++, dst += 8) {
            uint32_t high = (uint32_t)block[66 + k / 4] >> 2 * (k % 4) & 3;
            uint32_t nibble = (uint32_t)block[74 + k / 4] >> (k & 2 ? 4 : 0) & 15;
            put_eight(dst, quarter_scale(sonde_half_at(block), nibble),
                      sonde_grid_iq2_s[block[2 + k] | high << 8], block[34 + k]);
        }
}

/* d, 64 points, then for 32 elements 4 x 7 signs and a scale of 4 bits. */
void sonde_decode_iq3_xxs(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 98)
        for (int k = 0; k < 64; k++, dst += 4) {
            uint32_t rest = u32_at(block + 66 + 4 * (k / 8));
            uint32_t signs = eight_signs(rest >> 7 * (k / 2 % 4) & 127) >> 4 * (k % 2);
            float scale = sonde_half_at(block) * (0.5f + (float)(rest >> 28)) * 0.5f;
            put_four(dst, scale, sonde_grid_iq3_xxs[block[2 + k]], iq3_xxs_values, signs);
        }
}

/* d, low bits of 64 points, high bits[8], signs[32], scales of 4 bits for 32 elements. */
void sonde_decode_iq3_s(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 110)
        for (int k = 0; k < 64; k++, dst += 4) {
            uint32_t high = (uint32_t)block[66 + k / 8] >> k % 8 & 1;
            uint32_t signs = (uint32_t)block[74 + k / 2] >> 4 * (k % 2);
            uint32_t nibble = (uint32_t)block[106 + k / 16] >> (k / 8 % 2 ? 4 : 0) & 15;
            float scale = sonde_half_at(block) * (float)(1 + 2 * nibble);
            put_four(dst, scale, sonde_grid_iq3_s[block[2 + k] | high << 8], iq3_s_values, signs);
        }
}

static void put_ternary(float *y, float scale, uint32_t point, float delta)
{
    for (int i = 0; i < 8; i++) y[i] = scale * ((float)(point >> 2 * i & 3) - 1.0f + delta);
}

/* d, low bits of 32 points, then for 32 elements 4 x 3 high bits, a scale of 3 bits and a shift. */
void sonde_decode_iq1_s(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 50)
        for (int k = 0; k < 32; k++, dst += 8) {
            uint32_t high = u16_at(block + 34 + 2 * (k / 4));
            float scale = sonde_half_at(block) * (float)(2 * (high >> 12 & 7) + 1);
            uint32_t point = block[2 + k] | (high >> 3 * (k % 4) & 7) << 8;
            put_ternary(dst, scale, sonde_grid_iq1[point], high & 0x8000 ? -0.125f : 0.125f);
        }
}

/* Low bits of 32 points, a nibble for each (3 high bits, a shift), scales of 3 bits for 16 elements
 * in four words whose high nibbles are d. */
void sonde_decode_iq1_m(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 56) {
        uint32_t d = 0;
        for (int w = 0; w < 4; w++) d |= (u16_at(block + 48 + 2 * w) >> 12) << 4 * w;
        float unit = sonde_f16_to_f32((uint16_t)d);
        for (int k = 0; k < 32; k++, dst += 8) {
            uint32_t nibble = (uint32_t)block[32 + k / 2] >> 4 * (k % 2) & 15;
            uint32_t three = u16_at(block + 48 + 2 * (k / 8)) >> 3 * (k / 2 % 4) & 7;
            put_ternary(dst, unit * (float)(2 * three + 1),
                        sonde_grid_iq1[block[k] | (nibble & 7) << 8], nibble & 8 ? -0.125f : 0.125f);
        }
    }
}
