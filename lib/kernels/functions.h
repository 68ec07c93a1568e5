/*
 * functions.h - exp, tanh, erf, sigmoid, log and the activations in fp32: the definition.
 *
 * Plain branch-free C of add, mul, div, fmaf and integer operations, so that a loop over these
 * functions may be vectorised by any compiler for any instruction set and keeps every bit. The
 * coefficients come from fit_functions.py. Largest errors against the exact value, measured by
 * tests/kernels/test_functions.c: exp 2 ulp (subnormal results included), log 1 ulp, sigmoid
 * 3 ulp, tanh 2 ulp, erf 3 ulp; NaN gives NaN.
 */
#ifndef SONDE_KERNELS_FUNCTIONS_H
#define SONDE_KERNELS_FUNCTIONS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "sonde/recipe.h"

static inline float sonde_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t sonde_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x. Clamped to [-104, 88.8]: 0 below, infinity above. n = round(x / ln 2), r = x - n ln 2 in two
 * steps, 1 + r + r^2 p(r), scaled by 2^n in two factors so that subnormals round once. */
static inline float sonde_exp_f32(float x)
{
    float c = x < -104.0f ? -104.0f : x;
    c = c > 88.8f ? 88.8f : c;
    float shifted = fmaf(c, 1.44269504f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = fmaf(n, -0.693359375f, c);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = fmaf(1.39336439e-3f, r, 8.36317521e-3f);
    p = fmaf(p, r, 4.16664667e-2f);
    p = fmaf(p, r, 1.66665763e-1f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r * r, r) + 1.0f;
    int32_t k = (int32_t)(sonde_float_bits(shifted) - 0x4B400000u);
    int32_t half = k >> 1;
    float first = sonde_bits_float((uint32_t)(half + 127) << 23);
    float second = sonde_bits_float((uint32_t)(k - half + 127) << 23);
    return p * first * second;
}

static inline float sonde_sigmoid_f32(float x)
{
    return 1.0f / (1.0f + sonde_exp_f32(-x));
}

/* Odd polynomial below 0.625, else 1 - 2 / (e^2|x| + 1); the sign of x, of zeros too. */
static inline float sonde_tanh_f32(float x)
{
    float a = fabsf(x), u = x * x;
    float p = fmaf(-8.53114063e-4f, u, 3.29643022e-3f);
    p = fmaf(p, u, -8.78707133e-3f);
    p = fmaf(p, u, 2.18591765e-2f);
    p = fmaf(p, u, -5.39675802e-2f);
    p = fmaf(p, u, 1.3333331e-1f);
    p = fmaf(p, u, -3.33333343e-1f);
    float small = fmaf(x * u, p, x);
    float large = 1.0f - 2.0f / (sonde_exp_f32(a + a) + 1.0f);
    return copysignf(a < 0.625f ? small : a >= 0.625f ? large : x, x);
}

/* x p(x^2) below 1, else 1 - e^q(|x|), q the logarithm of erfc; 1 above 4. */
static inline float sonde_erf_f32(float x)
{
    float a = fabsf(x), u = x * x;
    float p = fmaf(-9.67358665e-6f, u, 1.12682523e-4f);
    p = fmaf(p, u, -8.48439639e-4f);
    p = fmaf(p, u, 5.22105349e-3f);
    p = fmaf(p, u, -2.68654376e-2f);
    p = fmaf(p, u, 1.12837829e-1f);
    p = fmaf(p, u, -3.76126379e-1f);
    p = fmaf(p, u, 1.12837923f);
    float b = a > 4.0f ? 4.0f : a;
    float q = fmaf(7.34213813e-7f, b, -1.16350893e-5f);
    q = fmaf(q, b, 5.85485395e-5f);
    q = fmaf(q, b, 1.25243372e-4f);
    q = fmaf(q, b, -3.42031894e-3f);
    q = fmaf(q, b, 2.39369962e-2f);
    q = fmaf(q, b, -1.07071593e-1f);
    q = fmaf(q, b, -6.34119928e-1f);
    q = fmaf(q, b, -1.12923408f);
    q = fmaf(q, b, 1.3053992e-4f);
    float large = copysignf(1.0f - sonde_exp_f32(q), x);
    return a < 1.0f ? x * p : a >= 1.0f ? large : x;
}

/* Natural logarithm of a positive normal number; x = 2^k (1 + f), f - f^2/2 + f^3 p(f). */
static inline float sonde_log_f32(float x)
{
    uint32_t bits = sonde_float_bits(x), shifted = bits - 0x3F3504F3u;
    int32_t k = (int32_t)shifted >> 23;
    float f = sonde_bits_float((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float n = (float)k, u = f * f;
    float p = fmaf(7.14975372e-2f, f, -1.15712009e-1f);
    p = fmaf(p, f, 1.16615109e-1f);
    p = fmaf(p, f, -1.24110505e-1f);
    p = fmaf(p, f, 1.42499372e-1f);
    p = fmaf(p, f, -1.66684806e-1f);
    p = fmaf(p, f, 2.00007081e-1f);
    p = fmaf(p, f, -2.49999896e-1f);
    p = fmaf(p, f, 3.33333313e-1f);
    float tail = fmaf(p, f * u, n * -2.12194440e-4f);
    tail = fmaf(u, -0.5f, tail) + f;
    return x == x ? fmaf(n, 0.693359375f, tail) : x;
}

static inline float sonde_act_silu(float x)
{
    return x * sonde_sigmoid_f32(x);
}

static inline float sonde_act_gelu(float x)
{
    return 0.5f * x * (1.0f + sonde_erf_f32(x * 0.707106781f));
}

static inline float sonde_act_gelu_tanh(float x)
{
    float inner = 0.797884561f * fmaf(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + sonde_tanh_f32(inner));
}

static inline float sonde_act_quick_gelu(float x)
{
    return x * sonde_sigmoid_f32(1.702f * x);
}

static inline float sonde_act_relu(float x)
{
    return x > 0.0f ? x : x <= 0.0f ? 0.0f : x;
}

/* Double-precision pow(base, x) for base > 0 and |x log base| < 700, sin and cos for |x| < 2^30,
 * relative error below 1e-14 (absolute for sin and cos): for tables that are rounded to fp32. */
double sonde_pow64(double base, double x);
double sonde_log64(double x);
void sonde_sincos64(double x, double *sine, double *cosine);

#endif
