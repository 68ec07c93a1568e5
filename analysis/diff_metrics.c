/* Sums over pairs of values, one pass, fp64. */
#include "analysis/diff_internal.h"

#include <math.h>
#include <string.h>

void diff_accumulator_init(diff_accumulator *acc, const sonde_diff_limits *limits,
                           sonde_dtype unit)
{
    memset(acc, 0, sizeof *acc);
    acc->atol = limits->atol;
    acc->rtol = limits->rtol;
    acc->unit = unit;
    acc->first_row = acc->first_element = acc->worst_row = -1;
}

void diff_row_begin(diff_accumulator *acc, int64_t row)
{
    memset(&acc->row, 0, sizeof acc->row);
    acc->row_index = row;
}

/* Equal by value, by sign of zero, or both NaN (payloads are not compared). */
static bool is_equal(double a, double b)
{
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    return a == b && (a != 0.0 || signbit(a) == signbit(b));
}

static void note_unequal(diff_accumulator *acc, double a, double b, int64_t element)
{
    diff_sums *s = &acc->row;
    s->unequal++;
    if (isfinite(a) && isfinite(b)) {
        double ulp = diff_ulp_distance(acc->unit, a, b);
        s->ulp += ulp;
        if (ulp > s->max_ulp) s->max_ulp = ulp;
        s->ulp_above_1 += ulp > 1.0;
    } else {
        s->nonfinite++;
    }
    if (acc->first_row >= 0) return;
    acc->first_row = acc->row_index;
    acc->first_element = element;
    acc->first_a = a;
    acc->first_b = b;
}

void diff_row_add(diff_accumulator *acc, const double *a, const double *b, int64_t n,
                  int64_t offset)
{
    diff_sums *s = &acc->row;
    s->elements += n;
    for (int64_t i = 0; i < n; i++) {
        double x = a[i], y = b[i];
        if (!is_equal(x, y)) note_unequal(acc, x, y, offset + i);
        if (!isfinite(x) || !isfinite(y)) continue;
        double d = x - y, size = fabs(d);
        if (size > s->max_abs) s->max_abs = size;
        if (size > acc->atol + acc->rtol * fabs(y)) s->over++;
        s->dd += d * d;
        s->aa += x * x;
        s->bb += y * y;
        s->ab += x * y;
    }
}

void diff_row_end(diff_accumulator *acc)
{
    const diff_sums *r = &acc->row;
    diff_sums *t = &acc->total;
    double rel = diff_sums_rel_l2(r);
    if (r->unequal > 0 && (acc->worst_row < 0 || rel > acc->worst_rel_l2)) {
        acc->worst_row = acc->row_index;
        acc->worst_rel_l2 = rel;
    }
    t->elements += r->elements;
    t->unequal += r->unequal;
    t->nonfinite += r->nonfinite;
    t->over += r->over;
    t->ulp_above_1 += r->ulp_above_1;
    t->ulp += r->ulp;
    if (r->max_abs > t->max_abs) t->max_abs = r->max_abs;
    if (r->max_ulp > t->max_ulp) t->max_ulp = r->max_ulp;
    t->dd += r->dd;
    t->aa += r->aa;
    t->bb += r->bb;
    t->ab += r->ab;
}

double diff_sums_rel_l2(const diff_sums *sums)
{
    if (sums->dd == 0.0) return 0.0;
    return sums->bb == 0.0 ? INFINITY : sqrt(sums->dd / sums->bb);
}

double diff_sums_cosine(const diff_sums *sums)
{
    if (sums->unequal == 0) return 1.0;
    if (sums->aa == 0.0 || sums->bb == 0.0) return sums->aa == sums->bb ? 1.0 : 0.0;
    if (!isfinite(sums->aa) || !isfinite(sums->bb)) return NAN; /* squares above 1e308 */
    return sums->ab / (sqrt(sums->aa) * sqrt(sums->bb));
}

void diff_sums_metrics(const diff_sums *sums, sonde_diff_metrics *metrics)
{
    *metrics = (sonde_diff_metrics){
        .elements = sums->elements,
        .unequal = sums->unequal,
        .nonfinite = sums->nonfinite,
        .over = sums->over,
        .max_abs = sums->max_abs,
        .rel_l2 = diff_sums_rel_l2(sums),
        .cosine = diff_sums_cosine(sums),
        .max_ulp = sums->max_ulp,
        .mean_ulp = sums->elements > 0 ? sums->ulp / (double)sums->elements : 0.0,
        .ulp_above_1 = sums->ulp_above_1,
    };
}

sonde_diff_verdict diff_judge(const sonde_diff_metrics *metrics, const sonde_diff_limits *limits)
{
    bool elements = limits->atol > 0 || limits->rtol > 0, l2 = limits->max_rel_l2 > 0;
    bool cosine = limits->min_cosine > 0, ulp = limits->max_ulp > 0;
    if (metrics->unequal == 0) return SONDE_DIFF_IDENTICAL;
    if (metrics->nonfinite > 0 || !(elements || l2 || cosine || ulp)) return SONDE_DIFF_DIFFERS;
    if (elements && metrics->over > 0) return SONDE_DIFF_DIFFERS;
    if (ulp && metrics->max_ulp > limits->max_ulp) return SONDE_DIFF_DIFFERS;
    /* Written so that a NaN, from sums that overflowed, fails. */
    if (l2 && !(metrics->rel_l2 <= limits->max_rel_l2)) return SONDE_DIFF_DIFFERS;
    if (cosine && !(metrics->cosine >= limits->min_cosine)) return SONDE_DIFF_DIFFERS;
    return SONDE_DIFF_WITHIN;
}

/* Bits of significand (the hidden one counted) and least normal exponent; 0 bits: integers. */
typedef struct format {
    int bits, least;
} format;

static format format_of(sonde_dtype dtype)
{
    switch (dtype) {
    case SONDE_DTYPE_BF16: return (format){8, -126};
    case SONDE_DTYPE_F16: return (format){11, -14};
    case SONDE_DTYPE_F32: return (format){24, -126};
    case SONDE_DTYPE_F64: return (format){53, -1022};
    case SONDE_DTYPE_F8_E4M3: return (format){4, -6};
    case SONDE_DTYPE_F8_E5M2: return (format){3, -14};
    default: return (format){0, 0};
    }
}

double diff_rounding_floor(sonde_dtype dtype)
{
    int bits = format_of(dtype).bits;
    return bits ? ldexp(1.0, -bits - 1) : 0.0;
}

sonde_dtype diff_coarser(sonde_dtype a, sonde_dtype b)
{
    return diff_rounding_floor(b) > diff_rounding_floor(a) ? b : a;
}

/* How many values of the format lie between 0 and |v|, rounded to it. The count grows by
 * 2^(bits - 1) from one power of two to the next, so it is exact in a double below 53 bits. */
static double count_to(format f, double v)
{
    int exponent;
    double size = fabs(v);
    frexp(size, &exponent);
    if (--exponent < f.least || size == 0.0) exponent = f.least;
    double count = rint(ldexp(size, f.bits - 1 - exponent));
    count += ldexp((double)(exponent - f.least), f.bits - 1);
    return v < 0 ? -count : count;
}

static double distance_f64(double a, double b)
{
    uint64_t x, y;
    double sizes[2] = {fabs(a), fabs(b)};
    memcpy(&x, &sizes[0], sizeof x);
    memcpy(&y, &sizes[1], sizeof y);
    if (signbit(a) != signbit(b)) return (double)(x + y);
    return (double)(x > y ? x - y : y - x);
}

double diff_ulp_distance(sonde_dtype unit, double a, double b)
{
    format f = format_of(unit);
    if (unit == SONDE_DTYPE_F64) return distance_f64(a, b);
    return f.bits ? fabs(count_to(f, a) - count_to(f, b)) : fabs(a - b);
}

const char *sonde_diff_verdict_name(sonde_diff_verdict verdict)
{
    switch (verdict) {
    case SONDE_DIFF_IDENTICAL: return "identical";
    case SONDE_DIFF_WITHIN: return "within limits";
    case SONDE_DIFF_DIFFERS: return "differs";
    case SONDE_DIFF_UNMATCHED: return "unmatched";
    case SONDE_DIFF_EMPTY: return "no common rows";
    }
    return "?";
}
