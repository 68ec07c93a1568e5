/* Columns of /rows that hold results or labels: compared as points of one number a row. */
#include "analysis/diff_internal.h"

#include <math.h>

sonde_status diff_source_info(const sonde_reader *reader, int64_t source, sonde_point_info *info,
                              sonde_error *err)
{
    if (source >= 0) return sonde_reader_point(reader, source, info, err);
    bool logprob = source == DIFF_COLUMN_LOGPROB;
    *info = (sonde_point_info){.name = logprob                       ? "/rows/logprob"
                                       : source == DIFF_COLUMN_PHASE ? "/rows/phase"
                                                                     : "/rows/segment",
                               .stored = logprob ? SONDE_DTYPE_F32 : SONDE_DTYPE_U8,
                               .width = 1,
                               .rows = sonde_reader_rows(reader)};
    return SONDE_OK;
}

sonde_status diff_source_rowmap(sonde_reader *reader, int64_t source, int64_t first, int64_t n,
                                uint64_t *dst, sonde_error *err)
{
    if (source >= 0) return sonde_reader_rowmap(reader, source, first, n, dst, err);
    for (int64_t i = 0; i < n; i++) dst[i] = (uint64_t)(first + i);
    return SONDE_OK;
}

sonde_status diff_column_read(sonde_reader *reader, int64_t column, int64_t first, int64_t n,
                              void *staging, double *dst, sonde_error *err)
{
    sonde_row_columns wanted = {0};
    const float *numbers = staging;
    const uint8_t *codes = staging;
    bool logprob = column == DIFF_COLUMN_LOGPROB;
    if (logprob) wanted.logprob = staging;
    if (column == DIFF_COLUMN_PHASE) wanted.phase = staging;
    if (column == DIFF_COLUMN_SEGMENT) wanted.segment = staging;
    SONDE_TRY(sonde_reader_rows_read(reader, first, n, &wanted, err));
    for (int64_t i = 0; i < n; i++) dst[i] = logprob ? (double)numbers[i] : (double)codes[i];
    return SONDE_OK;
}

/* Log-probabilities are NaN where they were not computed: does a file hold any? */
static sonde_status has_logprobs(sonde_reader *reader, bool *has, sonde_error *err)
{
    float values[DIFF_CHUNK_ROWS];
    double wide[DIFF_CHUNK_ROWS];
    int64_t rows = sonde_reader_rows(reader);
    *has = false;
    for (int64_t first = 0; first < rows && !*has; first += DIFF_CHUNK_ROWS) {
        int64_t n = rows - first < DIFF_CHUNK_ROWS ? rows - first : DIFF_CHUNK_ROWS;
        SONDE_TRY(diff_column_read(reader, DIFF_COLUMN_LOGPROB, first, n, values, wide, err));
        for (int64_t i = 0; i < n && !*has; i++) *has = !isnan(wide[i]);
    }
    return SONDE_OK;
}

static sonde_status compare_column(diff_context *ctx, int64_t column, sonde_error *err)
{
    sonde_diff_report *report = ctx->report;
    sonde_point_info info;
    sonde_diff_point *table;
    bool in_a = true, in_b = true;
    SONDE_TRY(diff_source_info(ctx->a.reader, column, &info, err));
    if (!diff_is_selected(ctx, info.name)) return SONDE_OK;
    if (column == DIFF_COLUMN_LOGPROB) {
        SONDE_TRY(has_logprobs(ctx->a.reader, &in_a, err));
        SONDE_TRY(has_logprobs(ctx->b.reader, &in_b, err));
    }
    if (!in_a || !in_b) return SONDE_OK;
    SONDE_TRY(diff_list_add(report->tables, &report->n_tables, info.name, &table, err));
    report->n_columns++;
    return diff_compare_point(ctx, column, column, table, err);
}

sonde_status diff_columns(diff_context *ctx, sonde_error *err)
{
    if (sonde_reader_is_minimal(ctx->a.reader) || sonde_reader_is_minimal(ctx->b.reader))
        return SONDE_OK;
    for (int64_t column = DIFF_COLUMN_PHASE; column >= DIFF_COLUMN_LOGPROB; column--)
        SONDE_TRY(compare_column(ctx, column, err));
    return SONDE_OK;
}
