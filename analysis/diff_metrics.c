/* Sums over pairs of values, one pass, fp64. */
#include "analysis/diff_internal.h"

#include <math.h>
#include <string.h>

void diff_accumulator_init(diff_accumulator *acc, double atol, double rtol)
{
    memset(acc, 0, sizeof *acc);
    acc->atol = atol;
    acc->rtol = rtol;
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
    acc->row.unequal++;
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
        if (!isfinite(x) || !isfinite(y)) {
            if (!is_equal(x, y)) s->nonfinite++;
            continue;
        }
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
    if (r->max_abs > t->max_abs) t->max_abs = r->max_abs;
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
    if (sums->aa == 0.0 || sums->bb == 0.0) return sums->aa == sums->bb ? 1.0 : 0.0;
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
    };
}

sonde_diff_verdict diff_judge(const sonde_diff_metrics *metrics, const sonde_diff_options *options)
{
    bool elements = options->atol > 0 || options->rtol > 0;
    bool l2 = options->max_rel_l2 > 0, cosine = options->min_cosine > 0;
    if (metrics->unequal == 0) return SONDE_DIFF_IDENTICAL;
    if (metrics->nonfinite > 0 || (!elements && !l2 && !cosine)) return SONDE_DIFF_DIFFERS;
    if (elements && metrics->over > 0) return SONDE_DIFF_DIFFERS;
    /* Written so that a NaN, from sums that overflowed, fails. */
    if (l2 && !(metrics->rel_l2 <= options->max_rel_l2)) return SONDE_DIFF_DIFFERS;
    if (cosine && !(metrics->cosine >= options->min_cosine)) return SONDE_DIFF_DIFFERS;
    return SONDE_DIFF_WITHIN;
}

double diff_rounding_floor(sonde_dtype dtype)
{
    switch (dtype) {
    case SONDE_DTYPE_BF16: return 0x1p-9;
    case SONDE_DTYPE_F16: return 0x1p-12;
    case SONDE_DTYPE_F32: return 0x1p-25;
    case SONDE_DTYPE_F64: return 0x1p-54;
    case SONDE_DTYPE_F8_E4M3: return 0x1p-5;
    case SONDE_DTYPE_F8_E5M2: return 0x1p-4;
    default: return 0.0;
    }
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
