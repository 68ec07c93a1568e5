/*
 * moments.c - mean, variance, minimum, maximum and norm of every channel of every selected point,
 * over all rows seen. Nothing of the rows themselves is stored.
 *
 * Tables of a point, /probes/<instance>/<point>/...:
 *   count          [1]            rows
 *   mean variance  [row shape]    variance: the mean squared distance from the mean (divided by n)
 *   min max        [row shape]
 *   norm           [row shape]    root of the channel's sum of squares over the rows
 *   row_norm_mean  [1]            of the L2 norms of the rows
 *   row_norm_max   [1]
 *
 * Arithmetic is fp64 and its order is fixed: rows one by one in order of position (Welford's
 * update), sequences merged in input order (Chan's formula). So the bits do not depend on how rows
 * were cut into blocks or who ran them. A NaN makes mean, variance and norm of its channel NaN, and
 * row_norm_mean; min, max and row_norm_max pass over it. Without rows, means and variance are NaN,
 * min is +inf, max -inf.
 */
#include "sonde/probe.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- instance and state ---------------------------------------------------------------------- */

typedef struct moments {
    const sonde_probe_point *points; /* the host's */
    uint32_t n_points;
    uint64_t *offsets; /* [n_points] of the point's part in a state, in doubles; ours */
} moments;

/* A point's part of a state is one of these and then four arrays of width doubles: mean, sum of
 * squared distances, min, max. */
typedef struct head {
    double count, norm_sum, norm_max, reserved;
} head;
#define HEAD_DOUBLES 4

typedef struct part {
    head *head;
    double *mean, *m2, *min, *max; /* [width] */
    int64_t width;
} part;

static part part_of(const moments *m, void *state, uint32_t point)
{
    double *at = (double *)state + m->offsets[point];
    int64_t width = m->points[point].width;
    double *mean = at + HEAD_DOUBLES;
    return (part){.head = (head *)at, .mean = mean, .m2 = mean + width, .min = mean + 2 * width,
                  .max = mean + 3 * width, .width = width};
}

static uint64_t part_doubles(int64_t width)
{
    return HEAD_DOUBLES + 4 * (uint64_t)width;
}

/* ---- setup ----------------------------------------------------------------------------------- */

static int32_t check_point(const sonde_probe_point *point, sonde_probe_error *err)
{
    if (!point->ragged && point->element == SONDE_ELEMENT_F32) return 0;
    snprintf(err->message, sizeof err->message, "point %s: %s", point->name,
             point->ragged ? "its rows have no fixed channels; capture it instead"
                           : "it holds ids, not numbers");
    return 1;
}

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    moments *m = instance;
    uint64_t doubles = 0;
    m->points = setup->points;
    m->n_points = setup->n_points;
    m->offsets = calloc(setup->n_points ? setup->n_points : 1, sizeof *m->offsets);
    if (!m->offsets) {
        snprintf(err->message, sizeof err->message, "out of memory for %u points",
                 (unsigned)setup->n_points);
        return 1;
    }
    for (uint32_t i = 0; i < setup->n_points; i++) {
        if (check_point(&setup->points[i], err) != 0) return 1;
        m->offsets[i] = doubles;
        doubles += part_doubles(setup->points[i].width);
    }
    setup->state_bytes = doubles * sizeof(double);
    return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void begin(part *p)
{
    for (int64_t c = 0; c < p->width; c++) {
        p->min[c] = HUGE_VAL;
        p->max[c] = -HUGE_VAL;
    }
}

/* Sum of squares in eight running sums by channel number mod 8: an order of the width alone. */
static double sum_of_squares(const float *row, int64_t width)
{
    double sums[8] = {0};
    int64_t c = 0;
    for (; c + 8 <= width; c += 8)
        for (int k = 0; k < 8; k++) sums[k] += (double)row[c + k] * (double)row[c + k];
    for (; c < width; c++) sums[c & 7] += (double)row[c] * (double)row[c];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

static void add_row(part *p, const float *row)
{
    double *restrict mean = p->mean, *restrict m2 = p->m2;
    double *restrict min = p->min, *restrict max = p->max;
    if (p->head->count == 0) begin(p);
    p->head->count += 1;
    double share = 1 / p->head->count, norm = sqrt(sum_of_squares(row, p->width));
    p->head->norm_sum += norm;
    if (norm > p->head->norm_max) p->head->norm_max = norm;
    for (int64_t c = 0; c < p->width; c++) {
        double x = (double)row[c], away = x - mean[c], centre = mean[c] + away * share;
        m2[c] += away * (x - centre);
        mean[c] = centre;
        min[c] = x < min[c] ? x : min[c];
        max[c] = x > max[c] ? x : max[c];
    }
}

static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    part p = part_of(instance, state, view->point);
    (void)sink;
    (void)err;
    for (int64_t i = 0; i < view->n_rows; i++) add_row(&p, view->data + view->offset[i]);
    return 0;
}

/* ---- merge ----------------------------------------------------------------------------------- */

static void merge_channels(const part *into, double n, const double *from)
{
    int64_t width = into->width;
    const double *mean = from, *m2 = from + width, *min = m2 + width, *max = min + width;
    double share = n / (into->head->count + n), both = into->head->count * share;
    for (int64_t c = 0; c < width; c++) {
        double away = mean[c] - into->mean[c];
        into->mean[c] += away * share;
        into->m2[c] += m2[c] + away * away * both;
        into->min[c] = min[c] < into->min[c] ? min[c] : into->min[c];
        into->max[c] = max[c] > into->max[c] ? max[c] : into->max[c];
    }
}

static void merge_part(const part *into, const double *from)
{
    head other;
    memcpy(&other, from, sizeof other);
    if (other.count == 0) return;
    if (into->head->count == 0) {
        memcpy(into->head, from, part_doubles(into->width) * sizeof(double));
        return;
    }
    merge_channels(into, other.count, from + HEAD_DOUBLES);
    into->head->count += other.count;
    into->head->norm_sum += other.norm_sum;
    if (other.norm_max > into->head->norm_max) into->head->norm_max = other.norm_max;
}

static int32_t merge(void *instance, void *dst, const void *src, sonde_probe_error *err)
{
    const moments *m = instance;
    (void)err;
    for (uint32_t i = 0; i < m->n_points; i++) {
        part into = part_of(m, dst, i);
        merge_part(&into, (const double *)src + m->offsets[i]);
    }
    return 0;
}

/* ---- finish ---------------------------------------------------------------------------------- */

static int32_t write_table(const sonde_probe_sink *sink, const sonde_probe_point *point,
                           const char *name, const double *values, bool per_channel,
                           sonde_probe_error *err)
{
    static const int64_t one[] = {1};
    char path[256];
    int n = snprintf(path, sizeof path, "%s/%s", point->name, name);
    if (n < 0 || (size_t)n >= sizeof path) {
        snprintf(err->message, sizeof err->message, "point %.100s: its name is too long",
                 point->name);
        return 1;
    }
    return sink->table(sink->self, path, SONDE_ELEMENT_F64, per_channel ? point->n_dims : 1,
                       per_channel ? point->shape : one, values, err);
}

static int32_t write_scalars(const sonde_probe_sink *sink, const sonde_probe_point *point,
                             const head *h, sonde_probe_error *err)
{
    static const int64_t one[] = {1};
    char path[256];
    int64_t count = (int64_t)h->count;
    double mean = h->norm_sum / h->count;
    snprintf(path, sizeof path, "%s/count", point->name);
    return sink->table(sink->self, path, SONDE_ELEMENT_I64, 1, one, &count, err) ||
           write_table(sink, point, "row_norm_mean", &mean, false, err) ||
           write_table(sink, point, "row_norm_max", &h->norm_max, false, err);
}

/* Turns the sums of a point into its results, in place: m2 becomes the variance. */
static int32_t write_channels(const sonde_probe_sink *sink, const sonde_probe_point *point,
                              const part *p, double *norm, sonde_probe_error *err)
{
    double n = p->head->count;
    if (n == 0) {
        part empty = *p;
        begin(&empty);
    }
    for (int64_t c = 0; c < p->width; c++) {
        norm[c] = sqrt(p->m2[c] + n * p->mean[c] * p->mean[c]);
        p->m2[c] /= n;
        if (n == 0) p->mean[c] = p->m2[c];
    }
    return write_table(sink, point, "mean", p->mean, true, err) ||
           write_table(sink, point, "variance", p->m2, true, err) ||
           write_table(sink, point, "min", p->min, true, err) ||
           write_table(sink, point, "max", p->max, true, err) ||
           write_table(sink, point, "norm", norm, true, err);
}

static int32_t finish(void *instance, void *total, const sonde_probe_sink *sink,
                      sonde_probe_error *err)
{
    const moments *m = instance;
    for (uint32_t i = 0; i < m->n_points; i++) {
        part p = part_of(m, total, i);
        double *norm = malloc((size_t)p.width * sizeof *norm);
        if (!norm) {
            snprintf(err->message, sizeof err->message, "out of memory for %lld channels",
                     (long long)p.width);
            return 1;
        }
        int32_t failed = write_scalars(sink, &m->points[i], p.head, err) ||
                         write_channels(sink, &m->points[i], &p, norm, err);
        free(norm);
        if (failed) return 1;
    }
    return 0;
}

static void reset(void *instance)
{
    moments *m = instance;
    free(m->offsets);
    m->offsets = NULL;
}

/* ---- descriptor ------------------------------------------------------------------------------ */

static const sonde_probe probe = {
    .struct_size = sizeof probe,
    .name = "moments",
    .version = "1",
    .help = "mean, variance, min, max and norms per channel and point; stores no rows",
    .points = "blocks.*.resid_post",
    .instance_bytes = sizeof(moments),
    .setup = setup,
    .rows = rows,
    .merge = merge,
    .finish = finish,
    .reset = reset,
};

static const sonde_probe *get(uint32_t index)
{
    return index == 0 ? &probe : NULL;
}

const sonde_probe_entry_v1 sonde_probe_entry = {
    .abi_major = SONDE_PROBE_ABI_MAJOR,
    .abi_minor = SONDE_PROBE_ABI_MINOR,
    .struct_size = sizeof sonde_probe_entry,
    .count = 1,
    .get = get,
};
