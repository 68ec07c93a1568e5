/* fp64.c - pow, log, sin and cos in double for tables made once: fixed polynomials, no libm. */
#include "functions.h"

/* log x = k ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), by its series: |s| < 0.172. */
double sonde_log64(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint64_t shifted = bits - 0x3FE6A09E667F3BCDull;
    int64_t k = (int64_t)shifted >> 52;
    uint64_t mantissa = (shifted & 0x000FFFFFFFFFFFFFull) + 0x3FE6A09E667F3BCDull;
    double m;
    memcpy(&m, &mantissa, sizeof m);
    double s = (m - 1.0) / (m + 1.0), u = s * s, sum = 0.0;
    for (int i = 23; i >= 3; i -= 2) sum = fma(sum, u, 1.0 / i);
    double artanh2 = 2.0 * fma(sum * u, s, s);
    return fma((double)k, 0x1.62e42fefa3800p-1, fma((double)k, 0x1.ef35793c76730p-45, artanh2));
}

/* e^x by reduction to |r| < ln 2 / 2 and the Taylor series. */
static double exp64(double x)
{
    double n = (double)(int64_t)(x * 0x1.71547652b82fep0 + (x < 0 ? -0.5 : 0.5));
    double r = fma(n, -0x1.62e42fefa3800p-1, x);
    r = fma(n, -0x1.ef35793c76730p-45, r);
    double sum = 1.0;
    for (int i = 16; i >= 1; i--) sum = fma(sum * r, 1.0 / i, 1.0);
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

double sonde_pow64(double base, double x)
{
    return exp64(x * sonde_log64(base));
}

static double sin_series(double r)
{
    double u = r * r, sum = 0.0;
    for (int i = 19; i >= 3; i -= 2) sum = (sum + 1.0) * u * (-1.0 / (i * (i - 1.0)));
    return fma(sum, r, r);
}

static double cos_series(double r)
{
    double u = r * r, sum = 0.0;
    for (int i = 20; i >= 2; i -= 2) sum = (sum + 1.0) * u * (-1.0 / (i * (i - 1.0)));
    return sum + 1.0;
}

/* Reduction by multiples of pi / 2 held in three parts: |x| < 2^30 leaves 1e-16 absolute. */
void sonde_sincos64(double x, double *sine, double *cosine)
{
    double scaled = x * 0x1.45f306dc9c883p-1;
    int64_t n = (int64_t)(scaled + (x < 0 ? -0.5 : 0.5));
    double k = (double)n;
    double r = fma(k, -0x1.921fb54400000p0, x);
    r = fma(k, -0x1.0b4611a600000p-34, r);
    r = fma(k, -0x1.3198a2e037073p-69, r);
    double s = sin_series(r), c = cos_series(r);
    switch (n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}
