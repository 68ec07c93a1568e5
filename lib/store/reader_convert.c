/* reader_convert.c - stored bits as numbers. Every conversion to a wider type is exact. */
#include "reader_internal.h"

#include <string.h>

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Normal, subnormal (through the float whose exponent makes its last place 2^-24), inf and NaN with
 * their payload. */
static float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7FFFu;
    if (rest >= 0x7C00u) return float_of(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
    if (rest >= 0x0400u) return float_of(sign | ((rest << 13) + ((127u - 15u) << 23)));
    float small = (float)rest * 0x1p-24f;
    return sign ? -small : small;
}

/* The bytes come from decoded blocks, which are aligned for every element type. */
#define EACH(type, value)                                                                          \
    do {                                                                                           \
        const type *in = src;                                                                      \
        for (int64_t i = 0; i < n; i++) dst[i] = (value);                                          \
    } while (0)

void sonde_bits_to_f32(sonde_dtype dtype, const void *src, int64_t n, float *dst)
{
    switch (dtype) {
    case SONDE_DTYPE_F32: memcpy(dst, src, (size_t)n * sizeof *dst); break;
    case SONDE_DTYPE_BF16: EACH(uint16_t, float_of((uint32_t)in[i] << 16)); break;
    case SONDE_DTYPE_F16: EACH(uint16_t, f16_to_f32(in[i])); break;
    case SONDE_DTYPE_F64: EACH(double, (float)in[i]); break;
    case SONDE_DTYPE_I8: EACH(int8_t, (float)in[i]); break;
    case SONDE_DTYPE_U8: EACH(uint8_t, (float)in[i]); break;
    case SONDE_DTYPE_I16: EACH(int16_t, (float)in[i]); break;
    case SONDE_DTYPE_U16: EACH(uint16_t, (float)in[i]); break;
    case SONDE_DTYPE_I32: EACH(int32_t, (float)in[i]); break;
    case SONDE_DTYPE_U32: EACH(uint32_t, (float)in[i]); break;
    case SONDE_DTYPE_I64: EACH(int64_t, (float)in[i]); break;
    default: EACH(uint64_t, (float)in[i]); break;
    }
}

void sonde_bits_to_f64(sonde_dtype dtype, const void *src, int64_t n, double *dst)
{
    switch (dtype) {
    case SONDE_DTYPE_F32: EACH(float, (double)in[i]); break;
    case SONDE_DTYPE_BF16: EACH(uint16_t, (double)float_of((uint32_t)in[i] << 16)); break;
    case SONDE_DTYPE_F16: EACH(uint16_t, (double)f16_to_f32(in[i])); break;
    case SONDE_DTYPE_F64: memcpy(dst, src, (size_t)n * sizeof *dst); break;
    case SONDE_DTYPE_I8: EACH(int8_t, in[i]); break;
    case SONDE_DTYPE_U8: EACH(uint8_t, in[i]); break;
    case SONDE_DTYPE_I16: EACH(int16_t, in[i]); break;
    case SONDE_DTYPE_U16: EACH(uint16_t, in[i]); break;
    case SONDE_DTYPE_I32: EACH(int32_t, in[i]); break;
    case SONDE_DTYPE_U32: EACH(uint32_t, in[i]); break;
    case SONDE_DTYPE_I64: EACH(int64_t, (double)in[i]); break;
    default: EACH(uint64_t, (double)in[i]); break;
    }
}

#define EACH_SIGNED(type)                                                                          \
    do {                                                                                           \
        const type *in = src;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                          \
            if (in[i] < 0 || (uint64_t)in[i] > most) return i;                                     \
            dst[i] = (uint64_t)in[i];                                                              \
        }                                                                                          \
    } while (0)
#define EACH_UNSIGNED(type)                                                                        \
    do {                                                                                           \
        const type *in = src;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                          \
            if (in[i] > most) return i;                                                            \
            dst[i] = in[i];                                                                        \
        }                                                                                          \
    } while (0)

int64_t sonde_bits_to_u64(sonde_dtype dtype, const void *src, int64_t n, uint64_t most,
                          uint64_t *dst)
{
    switch (dtype) {
    case SONDE_DTYPE_I8: EACH_SIGNED(int8_t); break;
    case SONDE_DTYPE_U8: EACH_UNSIGNED(uint8_t); break;
    case SONDE_DTYPE_I16: EACH_SIGNED(int16_t); break;
    case SONDE_DTYPE_U16: EACH_UNSIGNED(uint16_t); break;
    case SONDE_DTYPE_I32: EACH_SIGNED(int32_t); break;
    case SONDE_DTYPE_U32: EACH_UNSIGNED(uint32_t); break;
    case SONDE_DTYPE_I64: EACH_SIGNED(int64_t); break;
    case SONDE_DTYPE_U64: EACH_UNSIGNED(uint64_t); break;
    default: return 0;
    }
    return n;
}
