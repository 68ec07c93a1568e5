/* split.c - the integers and scales of quantised blocks; layouts as in blocks.c and blocks_k.c. */
#include "split.h"

#include "blocks.h"

static void set_scale(sonde_split_group *out, float scale, float low)
{
    out->scale[0] = out->scale[1] = scale;
    out->low = low;
}

/* Element j is the low nibble of byte j, j + 16 the high one. */
static void nibbles(const uint8_t *bytes, int zero, int8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((bytes[j] & 15) - zero);
        q[j + 16] = (int8_t)((bytes[j] >> 4) - zero);
    }
}

static void split_q4_0(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 18 * group;
    set_scale(out, sonde_half_at(block), 0.0f);
    nibbles(block + 2, 8, out->q);
}

static void split_q4_1(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 20 * group;
    set_scale(out, sonde_half_at(block), sonde_half_at(block + 2));
    nibbles(block + 4, 0, out->q);
}

/* Bit j of the four bytes at `high` is worth 16 to element j. */
static void fifth_bits(const uint8_t *high, int8_t *q)
{
    for (int j = 0; j < 32; j++) q[j] = (int8_t)(q[j] + (high[j / 8] >> j % 8 & 1) * 16);
}

static void split_q5_0(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 22 * group;
    set_scale(out, sonde_half_at(block), 0.0f);
    nibbles(block + 6, 16, out->q);
    fifth_bits(block + 2, out->q);
}

static void split_q5_1(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 24 * group;
    set_scale(out, sonde_half_at(block), sonde_half_at(block + 2));
    nibbles(block + 8, 0, out->q);
    fifth_bits(block + 4, out->q);
}

static void split_q8_0(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 34 * group;
    set_scale(out, sonde_half_at(block), 0.0f);
    for (int j = 0; j < 32; j++) out->q[j] = (int8_t)block[2 + j];
}

/* d, dmin, scales[12] of Q4_K and Q5_K. */
static void scale_of_k(const uint8_t *block, int g, sonde_split_group *out)
{
    int scale, min;
    sonde_k_scale_min(block + 4, g, &scale, &min);
    set_scale(out, sonde_half_at(block) * (float)scale, -(sonde_half_at(block + 2) * (float)min));
}

static void split_q4_k(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 144 * (group / 8);
    int g = (int)(group % 8);
    const uint8_t *q = block + 16 + g / 2 * 32;
    scale_of_k(block, g, out);
    for (int j = 0; j < 32; j++) out->q[j] = (int8_t)(g % 2 ? q[j] >> 4 : q[j] & 15);
}

static void split_q5_k(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 176 * (group / 8);
    int g = (int)(group % 8);
    const uint8_t *high = block + 16, *q = block + 48 + g / 2 * 32;
    scale_of_k(block, g, out);
    for (int j = 0; j < 32; j++)
        out->q[j] = (int8_t)((g % 2 ? q[j] >> 4 : q[j] & 15) | (high[j] >> g & 1) << 4);
}

static void split_q6_k(const void *row, int64_t group, sonde_split_group *out)
{
    const uint8_t *block = (const uint8_t *)row + 210 * (group / 8);
    int run = (int)(group % 8);
    const uint8_t *low = block + run / 4 * 64 + run % 2 * 32, *high = block + 128 + run / 4 * 32;
    float d = sonde_half_at(block + 208);
    out->low = 0.0f;
    for (int half = 0; half < 2; half++)
        out->scale[half] = d * (float)(int8_t)block[192 + run * 2 + half];
    for (int j = 0; j < 32; j++) {
        int nibble = run % 4 < 2 ? low[j] & 15 : low[j] >> 4;
        out->q[j] = (int8_t)((nibble | (high[j] >> (2 * (run % 4)) & 3) << 4) - 32);
    }
}

static const struct {
    sonde_dtype dtype;
    sonde_splitter *split;
} splitters[] = {
    {SONDE_DTYPE_Q4_0, split_q4_0}, {SONDE_DTYPE_Q4_1, split_q4_1}, {SONDE_DTYPE_Q5_0, split_q5_0},
    {SONDE_DTYPE_Q5_1, split_q5_1}, {SONDE_DTYPE_Q8_0, split_q8_0}, {SONDE_DTYPE_Q4_K, split_q4_k},
    {SONDE_DTYPE_Q5_K, split_q5_k}, {SONDE_DTYPE_Q6_K, split_q6_k},
};

sonde_splitter *sonde_splitter_of(sonde_dtype dtype)
{
    for (size_t i = 0; i < SONDE_COUNT(splitters); i++)
        if (splitters[i].dtype == dtype) return splitters[i].split;
    return NULL;
}
