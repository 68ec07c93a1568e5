/* A dense point: chunks of a's rows against spans of b's. */
#include "analysis/diff_internal.h"

#include <string.h>

/* Stored bits to fp64, where fp32 would lose some: false for types the reader decodes exactly. */
static bool widen_raw(sonde_dtype dtype, const void *raw, int64_t n, double *dst)
{
    const char *at = raw;
    for (int64_t i = 0; i < n; i++) {
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        switch (dtype) {
        case SONDE_DTYPE_I32: memcpy(&i32, at + i * 4, 4), dst[i] = (double)i32; break;
        case SONDE_DTYPE_U32: memcpy(&u32, at + i * 4, 4), dst[i] = (double)u32; break;
        case SONDE_DTYPE_I64: memcpy(&i64, at + i * 8, 8), dst[i] = (double)i64; break;
        case SONDE_DTYPE_U64: memcpy(&u64, at + i * 8, 8), dst[i] = (double)u64; break;
        case SONDE_DTYPE_F64: memcpy(&dst[i], at + i * 8, 8); break;
        default: return false;
        }
    }
    return true;
}

static bool needs_raw(sonde_dtype dtype)
{
    return dtype == SONDE_DTYPE_I32 || dtype == SONDE_DTYPE_U32 || dtype == SONDE_DTYPE_I64 ||
           dtype == SONDE_DTYPE_U64 || dtype == SONDE_DTYPE_F64;
}

/* Rows [first, first + n) as fp64 [n, width]. */
static sonde_status load_rows(diff_context *ctx, sonde_reader *reader, int64_t point,
                              const sonde_point_info *info, int64_t first, int64_t n, double *dst,
                              sonde_error *err)
{
    const float *values = ctx->staging;
    int64_t elements = n * info->width;
    if (point < 0) return diff_column_read(reader, point, first, n, ctx->staging, dst, err);
    if (needs_raw(info->stored)) {
        SONDE_TRY(sonde_reader_read_raw(reader, point, first, n, ctx->staging, err));
        widen_raw(info->stored, ctx->staging, elements, dst);
        return SONDE_OK;
    }
    SONDE_TRY(sonde_reader_read(reader, point, first, n, ctx->staging, err));
    for (int64_t i = 0; i < elements; i++) dst[i] = (double)values[i];
    return SONDE_OK;
}

/* The longest run of pairs from `from` whose rows of b lie within `most` rows; gives that span. */
static int64_t next_span(const diff_pairs *pairs, int64_t from, int64_t most, int64_t *low,
                         int64_t *high)
{
    int64_t i = from;
    *low = *high = -1;
    for (; i < pairs->n; i++) {
        int64_t row = pairs->point_b[i];
        if (row < 0) continue;
        int64_t l = *low < 0 || row < *low ? row : *low, h = row > *high ? row : *high;
        if (h - l >= most) break;
        *low = l;
        *high = h;
    }
    return i;
}

static void add_pairs(diff_context *ctx, const diff_pairs *pairs, int64_t from, int64_t to,
                      int64_t first, int64_t low, int64_t width, diff_accumulator *acc,
                      sonde_diff_point *point)
{
    for (int64_t i = from; i < to; i++) {
        if (pairs->point_b[i] < 0) continue;
        diff_row_begin(acc, first + i);
        diff_row_add(acc, ctx->values_a + i * width,
                     ctx->values_b + (pairs->point_b[i] - low) * width, width, 0);
        diff_row_end(acc);
        point->rows++;
    }
}

sonde_status diff_dense(diff_context *ctx, int64_t ia, int64_t ib, diff_accumulator *acc,
                        sonde_diff_point *point, sonde_error *err)
{
    sonde_point_info a, b;
    diff_pairs pairs;
    SONDE_TRY(diff_source_info(ctx->a.reader, ia, &a, err));
    SONDE_TRY(diff_source_info(ctx->b.reader, ib, &b, err));
    if (a.width <= 0) return SONDE_OK;
    SONDE_TRY(diff_buffers_reserve(ctx, a.width, err));
    int64_t most = ctx->capacity / a.width;
    if (most > DIFF_CHUNK_ROWS) most = DIFF_CHUNK_ROWS;
    for (int64_t first = 0; first < a.rows; first += most) {
        int64_t n = a.rows - first < most ? a.rows - first : most;
        SONDE_TRY(diff_pairs_load(ctx, ia, &a, first, n, &pairs, err));
        SONDE_TRY(load_rows(ctx, ctx->a.reader, ia, &a, first, n, ctx->values_a, err));
        for (int64_t from = 0, to, low, high; from < n; from = to) {
            to = next_span(&pairs, from, most, &low, &high);
            if (low < 0) continue;
            SONDE_TRY(load_rows(ctx, ctx->b.reader, ib, &b, low, high - low + 1, ctx->values_b,
                                err));
            add_pairs(ctx, &pairs, from, to, first, low, a.width, acc, point);
        }
    }
    return SONDE_OK;
}
