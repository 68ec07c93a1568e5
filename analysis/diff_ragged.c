/* A ragged point (pattern, scores): rows of heads x visible keys, compared element by element. */
#include "analysis/diff_internal.h"

#include <string.h>

#define RAGGED_ROWS 1024

/* Offsets and first keys of one block of rows. */
typedef struct block {
    int64_t first, n;
    uint64_t indptr[RAGGED_ROWS + 1];
    uint32_t first_key[RAGGED_ROWS];
} block;

typedef struct ragged {
    diff_context *ctx;
    int64_t ia, ib;
    const sonde_point_info *a, *b;
    block block_a, block_b;
    diff_accumulator *acc;
    sonde_diff_point *point;
} ragged;

static sonde_status load_block(sonde_reader *reader, int64_t point, const sonde_point_info *info,
                               int64_t first, block *blk, sonde_error *err)
{
    blk->first = first;
    blk->n = info->rows - first < RAGGED_ROWS ? info->rows - first : RAGGED_ROWS;
    SONDE_TRY(sonde_reader_ragged_rows(reader, point, first, blk->n, blk->indptr, blk->first_key,
                                       err));
    for (int64_t i = 0; i < blk->n; i++)
        if (blk->indptr[i] > blk->indptr[i + 1] ||
            blk->indptr[i + 1] > (uint64_t)info->elements)
            return sonde_fail(err, SONDE_BAD_CAPTURE,
                              "%s: point %s: indptr falls or passes the end of data at row %lld",
                              sonde_reader_path(reader), info->name, (long long)(first + i));
    return SONDE_OK;
}

/* Makes block_b hold row `row`. */
static sonde_status seek_b(ragged *r, int64_t row, sonde_error *err)
{
    const block *blk = &r->block_b;
    if (row >= blk->first && row < blk->first + blk->n) return SONDE_OK;
    return load_block(r->ctx->b.reader, r->ib, r->b, row, &r->block_b, err);
}

static sonde_status load_values(diff_context *ctx, sonde_reader *reader, int64_t point,
                                uint64_t first, uint64_t n, double *dst, sonde_error *err)
{
    const float *values = ctx->staging;
    if (n == 0) return SONDE_OK;
    SONDE_TRY(sonde_reader_ragged_read(reader, point, first, n, ctx->staging, err));
    for (uint64_t i = 0; i < n; i++) dst[i] = (double)values[i];
    return SONDE_OK;
}

/* One pair whose row is longer than the buffers: in pieces. */
static sonde_status add_long_row(ragged *r, int64_t i, int64_t j, sonde_error *err)
{
    diff_context *ctx = r->ctx;
    uint64_t start_a = r->block_a.indptr[i], start_b = r->block_b.indptr[j];
    uint64_t length = r->block_a.indptr[i + 1] - start_a;
    for (uint64_t at = 0; at < length;) {
        uint64_t n = length - at;
        if (n > (uint64_t)ctx->capacity) n = (uint64_t)ctx->capacity;
        SONDE_TRY(load_values(ctx, ctx->a.reader, r->ia, start_a + at, n, ctx->values_a, err));
        SONDE_TRY(load_values(ctx, ctx->b.reader, r->ib, start_b + at, n, ctx->values_b, err));
        diff_row_add(r->acc, ctx->values_a, ctx->values_b, (int64_t)n, (int64_t)at);
        at += n;
    }
    return SONDE_OK;
}

static bool rows_fit(const ragged *r, int64_t i, int64_t j)
{
    const block *a = &r->block_a, *b = &r->block_b;
    return a->indptr[i + 1] - a->indptr[i] == b->indptr[j + 1] - b->indptr[j] &&
           a->first_key[i] == b->first_key[j];
}

/* How many pairs from (i, j) are neighbours in both files, fit, and go into the buffers at once. */
static int64_t group_length(const ragged *r, const diff_pairs *pairs, int64_t i, int64_t j)
{
    const block *a = &r->block_a, *b = &r->block_b;
    int64_t n = 0;
    while (i + n < a->n && j + n < b->n && pairs->point_b[i + n] == b->first + j + n &&
           rows_fit(r, i + n, j + n) &&
           a->indptr[i + n + 1] - a->indptr[i] <= (uint64_t)r->ctx->capacity)
        n++;
    return n;
}

static sonde_status add_group(ragged *r, int64_t i, int64_t j, int64_t n, sonde_error *err)
{
    diff_context *ctx = r->ctx;
    const uint64_t *start = r->block_a.indptr + i;
    uint64_t elements = start[n] - start[0];
    SONDE_TRY(load_values(ctx, ctx->a.reader, r->ia, start[0], elements, ctx->values_a, err));
    SONDE_TRY(load_values(ctx, ctx->b.reader, r->ib, r->block_b.indptr[j], elements,
                          ctx->values_b, err));
    for (int64_t k = 0; k < n; k++) {
        uint64_t at = start[k] - start[0];
        diff_row_begin(r->acc, r->block_a.first + i + k);
        diff_row_add(r->acc, ctx->values_a + at, ctx->values_b + at,
                     (int64_t)(start[k + 1] - start[k]), 0);
        diff_row_end(r->acc);
    }
    r->point->rows += n;
    return SONDE_OK;
}

/* Compares the pairs of block_a. */
static sonde_status add_block(ragged *r, const diff_pairs *pairs, sonde_error *err)
{
    for (int64_t i = 0; i < pairs->n;) {
        if (pairs->point_b[i] < 0) {
            i++;
            continue;
        }
        SONDE_TRY(seek_b(r, pairs->point_b[i], err));
        int64_t j = pairs->point_b[i] - r->block_b.first;
        int64_t n = group_length(r, pairs, i, j);
        if (n > 0) {
            SONDE_TRY(add_group(r, i, j, n, err));
        } else if (rows_fit(r, i, j)) {
            diff_row_begin(r->acc, r->block_a.first + i);
            SONDE_TRY(add_long_row(r, i, j, err));
            diff_row_end(r->acc);
            r->point->rows++;
        } else {
            r->point->rows++;
            r->point->rows_misfit++;
        }
        i += n > 0 ? n : 1;
    }
    return SONDE_OK;
}

static sonde_status compare_blocks(ragged *r, sonde_error *err)
{
    diff_pairs pairs;
    for (int64_t first = 0; first < r->a->rows; first += r->block_a.n) {
        SONDE_TRY(load_block(r->ctx->a.reader, r->ia, r->a, first, &r->block_a, err));
        SONDE_TRY(diff_pairs_load(r->ctx, r->ia, r->a, first, r->block_a.n, &pairs, err));
        SONDE_TRY(add_block(r, &pairs, err));
    }
    return SONDE_OK;
}

sonde_status diff_ragged(diff_context *ctx, int64_t ia, int64_t ib, diff_accumulator *acc,
                         sonde_diff_point *point, sonde_error *err)
{
    sonde_point_info a, b;
    SONDE_TRY(sonde_reader_point(ctx->a.reader, ia, &a, err));
    SONDE_TRY(sonde_reader_point(ctx->b.reader, ib, &b, err));
    SONDE_TRY(diff_buffers_reserve(ctx, 0, err));
    ragged r = {.ctx = ctx, .ia = ia, .ib = ib, .a = &a, .b = &b, .acc = acc, .point = point};
    return compare_blocks(&r, err);
}

sonde_status diff_ragged_index(diff_context *ctx, int64_t point, int64_t point_row, int64_t flat,
                               sonde_diff_place *place, sonde_error *err)
{
    sonde_point_info info;
    uint64_t indptr[2];
    uint32_t first_key = 0;
    SONDE_TRY(sonde_reader_point(ctx->a.reader, point, &info, err));
    SONDE_TRY(sonde_reader_ragged_rows(ctx->a.reader, point, point_row, 1, indptr, &first_key,
                                       err));
    int64_t length = (int64_t)(indptr[1] - indptr[0]);
    int64_t heads = info.n_dims > 0 ? info.shape[0] : 0;
    if (heads <= 0 || length % heads != 0) {
        diff_place_index(&length, 1, flat, place);
        return SONDE_OK;
    }
    const int64_t shape[2] = {heads, length / heads};
    diff_place_index(shape, 2, flat, place);
    place->index[1] += first_key;
    return SONDE_OK;
}
