/* Every point of both files, in execution order of a. */
#include "analysis/diff_internal.h"

#include <stdio.h>
#include <string.h>

bool diff_is_selected(const diff_context *ctx, const char *name)
{
    return !ctx->options->points || diff_glob_match(ctx->options->points, name);
}

sonde_status diff_list_add(sonde_diff_point *list, int64_t *n, const char *name,
                           sonde_diff_point **point, sonde_error *err)
{
    size_t length = strlen(name), bytes = 4 * length + 1;
    *point = &list[*n];
    SONDE_TRY(diff_alloc(bytes, 1, "the name of a point", &(*point)->name, err));
    diff_printable(name, length, (*point)->name, bytes);
    (*point)->stored_a = (*point)->stored_b = SONDE_DTYPE_NONE;
    (*point)->verdict = SONDE_DIFF_UNMATCHED;
    ++*n;
    return SONDE_OK;
}

static bool shapes_fit(const sonde_point_info *a, const sonde_point_info *b)
{
    if (a->ragged != b->ragged || a->width != b->width || a->n_dims != b->n_dims) return false;
    for (int32_t d = 0; d < a->n_dims && d < 4; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

void diff_blame(sonde_diff_point *point, bool waived, const char *why)
{
    size_t used = strlen(point->why);
    if (!waived) point->fails = true;
    snprintf(point->why + used, sizeof point->why - used, "%s%s%s", used ? "; " : "", why,
             waived ? " (waived)" : "");
}

static sonde_status fill_places(diff_context *ctx, int64_t ia, const sonde_point_info *a,
                                const diff_accumulator *acc, sonde_diff_point *point,
                                sonde_error *err)
{
    uint64_t row = 0;
    if (acc->first_row < 0) return SONDE_OK;
    SONDE_TRY(diff_source_rowmap(ctx->a.reader, ia, acc->first_row, 1, &row, err));
    SONDE_TRY(diff_place_fill(ctx, (int64_t)row, &point->first, err));
    point->first.a = acc->first_a;
    point->first.b = acc->first_b;
    if (a->ragged)
        SONDE_TRY(diff_ragged_index(ctx, ia, acc->first_row, acc->first_element, &point->first,
                                    err));
    else
        diff_place_index(a->shape, a->n_dims, acc->first_element, &point->first);
    if (acc->worst_row < 0) return SONDE_OK;
    point->worst_rel_l2 = acc->worst_rel_l2;
    SONDE_TRY(diff_source_rowmap(ctx->a.reader, ia, acc->worst_row, 1, &row, err));
    return diff_place_fill(ctx, (int64_t)row, &point->worst, err);
}

/* From what was compared and what was not to the verdict of a point. Unmatched rows are the fault
 * of points, not of columns too. */
static void judge_point(const diff_context *ctx, bool is_column, sonde_diff_point *point)
{
    unsigned waived = ctx->report->waived;
    point->verdict = diff_judge(&point->metrics, &point->limits);
    if (point->rows == 0) point->verdict = SONDE_DIFF_EMPTY;
    if (point->rows_misfit > 0) point->verdict = SONDE_DIFF_DIFFERS;
    if (point->verdict == SONDE_DIFF_DIFFERS) point->fails = true;
    if (point->metrics.nonfinite > 0) diff_blame(point, false, "NaN or infinity on one side");
    if (point->rows_misfit > 0)
        diff_blame(point, false, "ragged rows of unequal length or first key");
    if (!is_column && (point->rows_only_a > 0 || point->rows_only_b > 0))
        diff_blame(point, waived & DIFF_WAIVE_ROWS, "unmatched rows");
    if (point->stored_a != point->stored_b)
        diff_blame(point, waived & DIFF_WAIVE_DTYPE, "stored dtypes differ");
}

sonde_status diff_compare_point(diff_context *ctx, int64_t ia, int64_t ib, sonde_diff_point *point,
                                sonde_error *err)
{
    sonde_point_info a, b;
    diff_accumulator acc;
    SONDE_TRY(diff_source_info(ctx->a.reader, ia, &a, err));
    SONDE_TRY(diff_source_info(ctx->b.reader, ib, &b, err));
    sonde_dtype unit = diff_coarser(a.stored, b.stored);
    point->stored_a = a.stored;
    point->stored_b = b.stored;
    point->ragged = a.ragged;
    point->floor = diff_rounding_floor(unit);
    diff_limits_of(&ctx->options->limits, ctx->limit, ctx->n_limit, a.name, &point->limits);
    if (!shapes_fit(&a, &b)) {
        diff_blame(point, ctx->report->waived & DIFF_WAIVE_POINTS, "shapes of a row differ");
        return SONDE_OK;
    }
    diff_accumulator_init(&acc, &point->limits, unit);
    SONDE_TRY(diff_inverse_load(ctx, ib, &b, err));
    SONDE_TRY(a.ragged ? diff_ragged(ctx, ia, ib, &acc, point, err)
                       : diff_dense(ctx, ia, ib, &acc, point, err));
    diff_sums_metrics(&acc.total, &point->metrics);
    point->rows_only_a = a.rows - point->rows;
    point->rows_only_b = b.rows - point->rows;
    judge_point(ctx, ia < 0, point);
    return fill_places(ctx, ia, &a, &acc, point, err);
}

/* Points of a, each with its partner in b. */
static sonde_status points_of_a(diff_context *ctx, sonde_error *err)
{
    sonde_diff_report *report = ctx->report;
    for (int64_t ia = 0; ia < sonde_reader_point_count(ctx->a.reader); ia++) {
        sonde_point_info info;
        sonde_diff_point *point;
        SONDE_TRY(sonde_reader_point(ctx->a.reader, ia, &info, err));
        if (!diff_is_selected(ctx, info.name)) continue;
        SONDE_TRY(diff_list_add(report->points, &report->n_points, info.name, &point, err));
        point->stored_a = info.stored;
        point->ragged = info.ragged;
        int64_t ib = sonde_reader_find(ctx->b.reader, info.name);
        if (ib >= 0)
            SONDE_TRY(diff_compare_point(ctx, ia, ib, point, err));
        else
            diff_blame(point, report->waived & DIFF_WAIVE_POINTS, "only in the first file");
    }
    return SONDE_OK;
}

static sonde_status points_of_b(diff_context *ctx, sonde_error *err)
{
    sonde_diff_report *report = ctx->report;
    for (int64_t ib = 0; ib < sonde_reader_point_count(ctx->b.reader); ib++) {
        sonde_point_info info;
        sonde_diff_point *point;
        SONDE_TRY(sonde_reader_point(ctx->b.reader, ib, &info, err));
        if (!diff_is_selected(ctx, info.name) || sonde_reader_find(ctx->a.reader, info.name) >= 0)
            continue;
        SONDE_TRY(diff_list_add(report->points, &report->n_points, info.name, &point, err));
        point->stored_b = info.stored;
        point->ragged = info.ragged;
        diff_blame(point, report->waived & DIFF_WAIVE_POINTS, "only in the second file");
    }
    return SONDE_OK;
}

sonde_status diff_points(diff_context *ctx, sonde_error *err)
{
    int64_t most =
        sonde_reader_point_count(ctx->a.reader) + sonde_reader_point_count(ctx->b.reader);
    SONDE_TRY(diff_alloc((size_t)most, sizeof *ctx->report->points, "the points",
                         &ctx->report->points, err));
    SONDE_TRY(diff_alloc((size_t)ctx->b.rows.count, sizeof *ctx->inverse, "a row map",
                         &ctx->inverse, err));
    SONDE_TRY(points_of_a(ctx, err));
    return points_of_b(ctx, err);
}
