/* One side of a comparison: its row tables, its sequences, and the places in them. */
#include "analysis/diff_internal.h"

#include <stdlib.h>
#include <string.h>

static sonde_status load_rows(diff_side *side, sonde_error *err)
{
    diff_rows *rows = &side->rows;
    size_t n;
    rows->count = sonde_reader_rows(side->reader);
    if (rows->count < 0) rows->count = 0;
    n = (size_t)rows->count;
    SONDE_TRY(diff_alloc(n, sizeof *rows->sequence, "/rows/sequence", &rows->sequence, err));
    SONDE_TRY(diff_alloc(n, sizeof *rows->position, "/rows/position", &rows->position, err));
    SONDE_TRY(diff_alloc(n, sizeof *rows->token, "/rows/token", &rows->token, err));
    if (n == 0) return SONDE_OK;
    const sonde_row_columns columns = {
        .sequence = rows->sequence, .position = rows->position, .token = rows->token};
    return sonde_reader_rows_read(side->reader, 0, rows->count, &columns, err);
}

static sonde_status load_entry(diff_side *side, int64_t entry, sonde_error *err)
{
    diff_sequence *s = &side->sequences[side->n_sequences];
    sonde_sequence_info info = {0};
    SONDE_TRY(sonde_reader_sequence(side->reader, entry, &info, err));
    *s = (diff_sequence){.sequence = info.sequence,
                         .entry = entry,
                         .xxh3 = info.xxh3,
                         .id_is_given = info.id_is_given && info.id,
                         .last_token = info.last_token,
                         .peer = -1};
    if (info.id) {
        size_t bytes = strlen(info.id) + 1;
        SONDE_TRY(diff_alloc(bytes, 1, "the id of a sequence", &s->id, err));
        memcpy(s->id, info.id, bytes);
    }
    side->n_sequences++;
    return SONDE_OK;
}

/* Where /rows goes from one sequence to another. */
static bool is_start(const diff_rows *rows, int64_t row)
{
    return row == 0 || rows->sequence[row] != rows->sequence[row - 1];
}

sonde_status diff_side_load(diff_side *side, sonde_error *err)
{
    SONDE_TRY(load_rows(side, err));
    int64_t entries = sonde_reader_sequences(side->reader), starts = 0;
    if (entries < 0) entries = 0;
    for (int64_t row = 0; row < side->rows.count; row++) starts += is_start(&side->rows, row);
    SONDE_TRY(diff_alloc((size_t)(entries + starts), sizeof *side->sequences, "the sequences",
                         &side->sequences, err));
    for (int64_t i = 0; i < entries; i++) SONDE_TRY(load_entry(side, i, err));
    for (int64_t row = 0; row < side->rows.count; row++)
        if (is_start(&side->rows, row))
            side->sequences[side->n_sequences++] = (diff_sequence){
                .sequence = side->rows.sequence[row], .entry = -1, .last_token = -1, .peer = -1};
    diff_sequences_unique(side);
    return SONDE_OK;
}

void diff_side_reset(diff_side *side)
{
    for (int64_t i = 0; side->sequences && i < side->n_sequences; i++) free(side->sequences[i].id);
    free(side->sequences);
    free(side->rows.sequence);
    free(side->rows.position);
    free(side->rows.token);
    sonde_reader_close(&side->reader);
    memset(side, 0, sizeof *side);
}

/* The first position at which the token runs of a pair differ; -1: nowhere. Borrowed tokens live
 * until the next call on their own reader, so both can be held. */
static sonde_status compare_run(diff_context *ctx, const diff_sequence *a, const diff_sequence *b,
                                bool *differ, sonde_error *err)
{
    const uint32_t *ta = NULL, *tb = NULL;
    int64_t na = 0, nb = 0;
    SONDE_TRY(sonde_reader_tokens(ctx->a.reader, a->entry, &ta, &na, err));
    SONDE_TRY(sonde_reader_tokens(ctx->b.reader, b->entry, &tb, &nb, err));
    int64_t common = na < nb ? na : nb, at = 0;
    while (at < common && ta[at] == tb[at]) at++;
    *differ = na > 0 && nb > 0 && (at < na || at < nb || a->last_token != b->last_token);
    sonde_diff_place *place = &ctx->report->matching.token_place;
    if (*differ && at < common && !place->present) {
        *place = (sonde_diff_place){.present = true,
                                    .has_row = true,
                                    .sequence = a->sequence,
                                    .position = (uint32_t)at,
                                    .token = ta[at]};
        ctx->report->matching.token_b = tb[at];
    }
    return SONDE_OK;
}

sonde_status diff_compare_runs(diff_context *ctx, sonde_error *err)
{
    if (sonde_reader_is_minimal(ctx->a.reader) || sonde_reader_is_minimal(ctx->b.reader))
        return SONDE_OK;
    for (int64_t i = 0; i < ctx->a.n_sequences; i++) {
        const diff_sequence *a = &ctx->a.sequences[i];
        const diff_sequence *b = a->peer >= 0 ? &ctx->b.sequences[a->peer] : NULL;
        bool differ = false;
        if (!b || a->entry < 0 || b->entry < 0) continue;
        SONDE_TRY(compare_run(ctx, a, b, &differ, err));
        ctx->report->matching.runs_differ += differ;
    }
    return SONDE_OK;
}

sonde_status diff_place_fill(diff_context *ctx, int64_t row_a, sonde_diff_place *place,
                             sonde_error *err)
{
    const diff_side *a = &ctx->a;
    const char *piece = NULL;
    size_t n = 0;
    if (row_a < 0 || row_a >= a->rows.count) return SONDE_OK;
    place->present = place->has_row = true;
    place->sequence = a->rows.sequence[row_a];
    place->position = a->rows.position[row_a];
    place->token = a->rows.token[row_a];
    int64_t entry = diff_sequence_find(a, place->sequence);
    const char *id = entry >= 0 ? a->sequences[entry].id : NULL;
    if (id) diff_printable(id, strlen(id), place->id, sizeof place->id);
    SONDE_TRY(sonde_reader_piece(a->reader, place->token, &piece, &n, err));
    if (piece) diff_printable(piece, n, place->piece, sizeof place->piece);
    return SONDE_OK;
}

void diff_place_index(const int64_t *shape, int32_t n_dims, int64_t flat, sonde_diff_place *place)
{
    int32_t n = n_dims < 0 ? 0 : n_dims > 4 ? 4 : n_dims;
    place->n_index = n;
    for (int32_t d = n - 1; d >= 0; d--) {
        int64_t size = shape[d] > 0 ? shape[d] : 1;
        place->index[d] = flat % size;
        flat /= size;
    }
}
