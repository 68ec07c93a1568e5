/* convert.c - the scalar definitions, and the choice of a table at run time. */
#include "convert.h"

#include <stdatomic.h>
#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint16_t sonde_f32_to_bf16(float x)
{
    uint32_t bits = bits_of(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return SONDE_BF16_NAN;
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

float sonde_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

/* Rounds value / 2^shift to nearest, ties to even; 1 <= shift <= 31. */
static uint32_t shift_round(uint32_t value, unsigned shift)
{
    uint32_t half = 1u << (shift - 1);
    uint32_t odd = (value >> shift) & 1u;
    return (value + half - 1u + odd) >> shift;
}

uint16_t sonde_f32_to_f16(float x)
{
    uint32_t bits = bits_of(x);
    uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return SONDE_F16_NAN;
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7C00u); /* 65536 and above */
    if (magnitude < 0x33000000u) return (uint16_t)sign;              /* below 2^-25: zero */
    uint32_t exponent = magnitude >> 23;
    if (exponent >= 113) /* normal: a carry out of the fraction raises the exponent, to inf too */
        return (uint16_t)(sign | shift_round(magnitude - (112u << 23), 13));
    uint32_t fraction = (magnitude & 0x7FFFFFu) | 0x800000u;
    return (uint16_t)(sign | shift_round(fraction, 126u - exponent));
}

float sonde_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, magnitude = bits & 0x7FFFu;
    if (magnitude > 0x7C00u) return float_of(sign | 0x7FC00000u | (magnitude & 0x3FFu) << 13);
    if (magnitude == 0x7C00u) return float_of(sign | 0x7F800000u);
    if (magnitude >= 0x0400u) return float_of(sign | ((magnitude << 13) + (112u << 23)));
    /* A subnormal is a whole multiple of 2^-24: exact in fp32. */
    return float_of(sign | bits_of((float)magnitude * 0x1p-24f));
}

static void encode_bf16(const float *src, void *dst, int64_t n)
{
    unsigned char *out = dst;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits = sonde_f32_to_bf16(src[i]);
        memcpy(out + 2 * i, &bits, 2);
    }
}

static void encode_f16(const float *src, void *dst, int64_t n)
{
    unsigned char *out = dst;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits = sonde_f32_to_f16(src[i]);
        memcpy(out + 2 * i, &bits, 2);
    }
}

static void decode_bf16(const void *src, float *dst, int64_t n)
{
    const unsigned char *in = src;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, in + 2 * i, 2);
        dst[i] = sonde_bf16_to_f32(bits);
    }
}

static void decode_f16(const void *src, float *dst, int64_t n)
{
    const unsigned char *in = src;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, in + 2 * i, 2);
        dst[i] = sonde_f16_to_f32(bits);
    }
}

const sonde_convert_table sonde_convert_scalar = {
    .encode_bf16 = encode_bf16,
    .encode_f16 = encode_f16,
    .decode_bf16 = decode_bf16,
    .decode_f16 = decode_f16,
};

const sonde_convert_table *sonde_convert_level(sonde_cpu_level level)
{
    if (level > sonde_cpu_best()) return NULL;
#if defined(__x86_64__)
    if (level == SONDE_CPU_AVX512) return &sonde_convert_avx512;
    if (level == SONDE_CPU_AVX2) return &sonde_convert_avx2;
#endif
    return level == SONDE_CPU_SCALAR ? &sonde_convert_scalar : NULL;
}

/* cpuid traps in virtual machines, so the answer is asked for once. It is the same whoever asks,
 * and every table gives the same bits: a race writes one value twice. */
static const sonde_convert_table *best_table(void)
{
    static _Atomic(const sonde_convert_table *) known;
    const sonde_convert_table *table = atomic_load_explicit(&known, memory_order_relaxed);
    if (table) return table;
    table = sonde_convert_level(sonde_cpu_best());
    atomic_store_explicit(&known, table, memory_order_relaxed);
    return table;
}

bool sonde_dtype_decodes(sonde_dtype dtype)
{
    return dtype == SONDE_DTYPE_F32 || dtype == SONDE_DTYPE_F16 || dtype == SONDE_DTYPE_BF16 ||
           sonde_block_decoder_of(dtype) != NULL;
}

void sonde_decode_f32(sonde_dtype dtype, const void *src, float *dst, int64_t n)
{
    if (n <= 0) return;
    switch (dtype) {
    case SONDE_DTYPE_F32: memcpy(dst, src, (size_t)n * sizeof *dst); return;
    case SONDE_DTYPE_F16: best_table()->decode_f16(src, dst, n); return;
    case SONDE_DTYPE_BF16: best_table()->decode_bf16(src, dst, n); return;
    default: sonde_block_decoder_of(dtype)(src, dst, n); return;
    }
}

void sonde_encode_f32(sonde_dtype dtype, const float *src, void *dst, int64_t n)
{
    if (n <= 0) return;
    switch (dtype) {
    case SONDE_DTYPE_F16: best_table()->encode_f16(src, dst, n); return;
    case SONDE_DTYPE_BF16: best_table()->encode_bf16(src, dst, n); return;
    default: memcpy(dst, src, (size_t)n * sizeof *src); return;
    }
}
