/* Tables of probes: whole, by path. They hold sums and statistics, so they are small. */
#include "analysis/diff_internal.h"

#include <string.h>

#define TABLE_MAX_ELEMENTS ((int64_t)1 << 28)

/* Index of a table by its path, or -1. */
static int64_t find_table(const sonde_reader *reader, const char *path)
{
    for (int64_t i = 0; i < sonde_reader_table_count(reader); i++) {
        sonde_table_info info;
        if (sonde_reader_table(reader, i, &info, NULL) == SONDE_OK && strcmp(info.path, path) == 0)
            return i;
    }
    return -1;
}

static bool dims_equal(const sonde_table_info *a, const sonde_table_info *b)
{
    if (a->n_dims != b->n_dims) return false;
    for (int32_t d = 0; d < a->n_dims && d < 4; d++)
        if (a->dims[d] != b->dims[d]) return false;
    return true;
}

/* Elements of a table; -1 when there are more than can be compared. */
static int64_t table_elements(const sonde_table_info *info)
{
    int64_t n = 1;
    for (int32_t d = 0; d < info->n_dims && d < 4; d++) {
        if (info->dims[d] <= 0) return 0;
        if (info->dims[d] > TABLE_MAX_ELEMENTS / n) return -1;
        n *= info->dims[d];
    }
    return n;
}

static void judge_table(const diff_context *ctx, const sonde_table_info *a,
                        const diff_accumulator *acc, sonde_diff_point *table)
{
    diff_sums_metrics(&acc->total, &table->metrics);
    table->verdict = diff_judge(&table->metrics, &table->limits);
    if (table->verdict == SONDE_DIFF_DIFFERS) table->fails = true;
    if (table->metrics.nonfinite > 0) diff_blame(table, false, "NaN or infinity on one side");
    if (table->stored_a != table->stored_b)
        diff_blame(table, ctx->report->waived & DIFF_WAIVE_DTYPE, "stored dtypes differ");
    if (acc->first_row < 0) return;
    table->first.present = true;
    table->first.a = acc->first_a;
    table->first.b = acc->first_b;
    diff_place_index(a->dims, a->n_dims, acc->first_element, &table->first);
}

static sonde_status compare_values(diff_context *ctx, int64_t ia, int64_t ib,
                                   const sonde_table_info *a, int64_t n, sonde_diff_point *table,
                                   sonde_error *err)
{
    diff_accumulator acc;
    SONDE_TRY(diff_buffers_reserve(ctx, n, err));
    SONDE_TRY(sonde_reader_table_read(ctx->a.reader, ia, ctx->values_a, err));
    SONDE_TRY(sonde_reader_table_read(ctx->b.reader, ib, ctx->values_b, err));
    diff_accumulator_init(&acc, &table->limits, diff_coarser(table->stored_a, table->stored_b));
    diff_row_begin(&acc, 0);
    diff_row_add(&acc, ctx->values_a, ctx->values_b, n, 0);
    diff_row_end(&acc);
    judge_table(ctx, a, &acc, table);
    return SONDE_OK;
}

static sonde_status compare_table(diff_context *ctx, int64_t ia, const sonde_table_info *a,
                                  sonde_diff_point *table, sonde_error *err)
{
    sonde_table_info b;
    int64_t ib = find_table(ctx->b.reader, a->path), n = table_elements(a);
    bool waived = ctx->report->waived & DIFF_WAIVE_POINTS;
    table->stored_a = a->dtype;
    if (ib < 0) {
        diff_blame(table, waived, "only in the first file");
        return SONDE_OK;
    }
    SONDE_TRY(sonde_reader_table(ctx->b.reader, ib, &b, err));
    table->stored_b = b.dtype;
    table->floor = diff_rounding_floor(diff_coarser(a->dtype, b.dtype));
    diff_limits_of(&ctx->options->limits, ctx->limit, ctx->n_limit, a->path, &table->limits);
    if (!dims_equal(a, &b) || n < 0) {
        diff_blame(table, waived, n < 0 ? "too big to be compared" : "shapes differ");
        return SONDE_OK;
    }
    return compare_values(ctx, ia, ib, a, n, table, err);
}

static sonde_status tables_of_b(diff_context *ctx, sonde_error *err)
{
    sonde_diff_report *report = ctx->report;
    for (int64_t i = 0; i < sonde_reader_table_count(ctx->b.reader); i++) {
        sonde_table_info info;
        sonde_diff_point *table;
        SONDE_TRY(sonde_reader_table(ctx->b.reader, i, &info, err));
        if (!diff_is_selected(ctx, info.path) || find_table(ctx->a.reader, info.path) >= 0)
            continue;
        SONDE_TRY(diff_list_add(report->tables, &report->n_tables, info.path, &table, err));
        table->stored_b = info.dtype;
        diff_blame(table, report->waived & DIFF_WAIVE_POINTS, "only in the second file");
    }
    return SONDE_OK;
}

sonde_status diff_tables(diff_context *ctx, sonde_error *err)
{
    sonde_diff_report *report = ctx->report;
    int64_t na = sonde_reader_table_count(ctx->a.reader);
    int64_t most = na + sonde_reader_table_count(ctx->b.reader) - DIFF_COLUMN_LOGPROB;
    SONDE_TRY(diff_alloc((size_t)most, sizeof *report->tables, "the tables",
                         &report->tables, err));
    for (int64_t i = 0; i < na; i++) {
        sonde_table_info info;
        sonde_diff_point *table;
        SONDE_TRY(sonde_reader_table(ctx->a.reader, i, &info, err));
        if (!diff_is_selected(ctx, info.path)) continue;
        SONDE_TRY(diff_list_add(report->tables, &report->n_tables, info.path, &table, err));
        SONDE_TRY(compare_table(ctx, i, &info, table, err));
    }
    return tables_of_b(ctx, err);
}
