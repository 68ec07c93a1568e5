/* blocks_k.c - ggml's K-quants: 256 elements a block; layouts and the order of the arithmetic are
 * those of ggml's dequantize_row_q*_K. */
#include "blocks.h"

/* scales[16], qs[64], d, dmin; 16 elements a scale: (d * low nibble) * q - dmin * high nibble. */
void sonde_decode_q2_k(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 84) {
        float d = sonde_half_at(block + 80), dmin = sonde_half_at(block + 82);
        for (int group = 0; group < 16; group++, dst += 16) {
            const uint8_t *q = block + 16 + group / 8 * 32 + group % 2 * 16;
            int shift = group % 8 / 2 * 2;
            float scale = d * (float)(block[group] & 15), low = dmin * (float)(block[group] >> 4);
            for (int j = 0; j < 16; j++) dst[j] = scale * (float)(q[j] >> shift & 3) - low;
        }
    }
}

/* Six-bit scale of 16 elements: low four bits in bytes 0-7, high two in bytes 8-11; minus 32. */
static int q3_scale(const uint8_t *scales, int group)
{
    int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    int high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
    return (low | high << 4) - 32;
}

/* hmask[32], qs[64], scales[12], d: (d * scale) * (q - (mask bit ? 0 : 4)). */
void sonde_decode_q3_k(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 110) {
        float d = sonde_half_at(block + 108);
        for (int group = 0; group < 16; group++, dst += 16) {
            const uint8_t *q = block + 32 + group / 8 * 32 + group % 2 * 16;
            const uint8_t *mask = block + group % 2 * 16;
            int shift = group % 8 / 2 * 2, bit = group / 2;
            float scale = d * (float)q3_scale(block + 96, group);
            for (int j = 0; j < 16; j++) {
                int value = (q[j] >> shift & 3) - (mask[j] >> bit & 1 ? 0 : 4);
                dst[j] = scale * (float)value;
            }
        }
    }
}

/* d, dmin, scales[12], qs[128]; 32 elements a group: (d * scale) * q - dmin * min. */
void sonde_decode_q4_k(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 144) {
        float d = sonde_half_at(block), dmin = sonde_half_at(block + 2);
        for (int group = 0; group < 8; group++, dst += 32) {
            const uint8_t *q = block + 16 + group / 2 * 32;
            int s, m;
            sonde_k_scale_min(block + 4, group, &s, &m);
            float scale = d * (float)s, low = dmin * (float)m;
            for (int j = 0; j < 32; j++)
                dst[j] = scale * (float)(group % 2 ? q[j] >> 4 : q[j] & 15) - low;
        }
    }
}

/* d, dmin, scales[12], qh[32], qs[128]: as Q4_K with bit `group` of qh[j] as the fifth. */
void sonde_decode_q5_k(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 176) {
        float d = sonde_half_at(block), dmin = sonde_half_at(block + 2);
        for (int group = 0; group < 8; group++, dst += 32) {
            const uint8_t *high = block + 16, *q = block + 48 + group / 2 * 32;
            int s, m;
            sonde_k_scale_min(block + 4, group, &s, &m);
            float scale = d * (float)s, low = dmin * (float)m;
            for (int j = 0; j < 32; j++) {
                int value = (group % 2 ? q[j] >> 4 : q[j] & 15) | (high[j] >> group & 1) << 4;
                dst[j] = scale * (float)value - low;
            }
        }
    }
}

/* ql[128], qh[64], scales int8[16], d; runs of 32 with two high bits: (d * scale) * (q - 32). */
void sonde_decode_q6_k(const void *src, float *dst, int64_t n)
{
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += 256, block += 210) {
        float d = sonde_half_at(block + 208);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *low = block + run / 4 * 64 + run % 2 * 32,
                          *high = block + 128 + run / 4 * 32;
            for (int j = 0; j < 32; j++) {
                int nibble = run % 4 < 2 ? low[j] & 15 : low[j] >> 4;
                int value = (nibble | (high[j] >> (2 * (run % 4)) & 3) << 4) - 32;
                float scale = d * (float)(int8_t)block[192 + run * 2 + j / 16];
                dst[j] = scale * (float)value;
            }
        }
    }
}
