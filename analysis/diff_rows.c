/* Rows of one point and their partners in the other file. */
#include "analysis/diff_internal.h"

#include <inttypes.h>
#include <stdlib.h>

static sonde_status bad_row(const diff_side *side, const sonde_point_info *info, uint64_t row,
                            sonde_error *err)
{
    return sonde_fail(err, SONDE_BAD_CAPTURE,
                      "%s: point %s: a row of it is row %" PRIu64 " of /rows, which has %" PRId64,
                      sonde_reader_path(side->reader), info->name, row, side->rows.count);
}

sonde_status diff_inverse_load(diff_context *ctx, int64_t point, const sonde_point_info *info,
                               sonde_error *err)
{
    uint64_t map[DIFF_CHUNK_ROWS];
    for (int64_t i = 0; i < ctx->b.rows.count; i++) ctx->inverse[i] = -1;
    for (int64_t first = 0; first < info->rows; first += DIFF_CHUNK_ROWS) {
        int64_t n = info->rows - first < DIFF_CHUNK_ROWS ? info->rows - first : DIFF_CHUNK_ROWS;
        SONDE_TRY(diff_source_rowmap(ctx->b.reader, point, first, n, map, err));
        for (int64_t i = 0; i < n; i++) {
            if (map[i] >= (uint64_t)ctx->b.rows.count) return bad_row(&ctx->b, info, map[i], err);
            ctx->inverse[map[i]] = first + i;
        }
    }
    return SONDE_OK;
}

sonde_status diff_pairs_load(diff_context *ctx, int64_t point, const sonde_point_info *info,
                             int64_t first, int64_t n, diff_pairs *pairs, sonde_error *err)
{
    pairs->n = n;
    SONDE_TRY(diff_source_rowmap(ctx->a.reader, point, first, n, pairs->rows_a, err));
    for (int64_t i = 0; i < n; i++) {
        if (pairs->rows_a[i] >= (uint64_t)ctx->a.rows.count)
            return bad_row(&ctx->a, info, pairs->rows_a[i], err);
        int64_t row = ctx->peer[pairs->rows_a[i]];
        pairs->point_b[i] = row < 0 ? -1 : ctx->inverse[row];
    }
    return SONDE_OK;
}

sonde_status diff_buffers_reserve(diff_context *ctx, int64_t elements, sonde_error *err)
{
    int64_t need = elements > DIFF_CHUNK_ELEMENTS ? elements : DIFF_CHUNK_ELEMENTS;
    if (ctx->capacity >= need) return SONDE_OK;
    ctx->capacity = 0;
    free(ctx->values_a);
    free(ctx->values_b);
    free(ctx->staging);
    ctx->values_a = ctx->values_b = ctx->staging = NULL;
    size_t n = (size_t)need;
    SONDE_TRY(diff_alloc(n, sizeof(double), "values of a row", &ctx->values_a, err));
    SONDE_TRY(diff_alloc(n, sizeof(double), "values of a row", &ctx->values_b, err));
    SONDE_TRY(diff_alloc(n, sizeof(double), "values of a row", &ctx->staging, err));
    ctx->capacity = need;
    return SONDE_OK;
}
