/* store_chunk.c - open chunks: which rows of them were put, and the memory they go round in. */
#include "store_internal.h"

#include <string.h>

/* Spare memory: what the open chunks took at their most, and this much for those on their way. */
#define MOST_SPARE_BYTES ((uint64_t)16 << 20)
/* What a partly filled chunk takes in the file above its rows: headers of the codec, runs. */
#define CHUNK_OVERHEAD 2048u

/* ---- memory ---------------------------------------------------------------------------------- */

uint8_t *sonde_spare_take(sonde_store *store, size_t bytes)
{
    for (sonde_spare **at = &store->spares; *at; at = &(*at)->next) {
        sonde_spare *block = *at;
        if (block->bytes != bytes) continue;
        *at = block->next;
        store->spare_bytes -= bytes;
        return (uint8_t *)block;
    }
    return sonde_alloc_raw(SONDE_MAX(bytes, sizeof(sonde_spare)), 1);
}

void sonde_spare_give(sonde_store *store, uint8_t *block, size_t bytes)
{
    if (!block) return;
    uint64_t in_use = store->stats.open_bytes + store->queued_bytes + store->spare_bytes;
    if (in_use + bytes > store->stats.peak_open_bytes + MOST_SPARE_BYTES) {
        sonde_free(block);
        return;
    }
    sonde_spare *spare = (sonde_spare *)(void *)block;
    *spare = (sonde_spare){store->spares, bytes};
    store->spares = spare;
    store->spare_bytes += bytes;
}

void sonde_spare_free(sonde_store *store)
{
    for (sonde_spare *at = store->spares, *next; at; at = next) {
        next = at->next;
        sonde_free(at);
    }
    store->spares = NULL;
    store->spare_bytes = 0;
}

void sonde_chunk_free(sonde_store *store, sonde_chunk *chunk)
{
    if (!chunk) return;
    sonde_spare_give(store, chunk->data, chunk->set->chunk_bytes);
    sonde_free(chunk->spans);
    sonde_free(chunk);
}

/* ---- claims ---------------------------------------------------------------------------------- */

/* Where the chunk of an index is among the open ones, or would be. */
static size_t place_of(const sonde_stored *set, int64_t index)
{
    size_t low = 0, high = set->n_open;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->open[middle]->index < index) low = middle + 1;
        else high = middle;
    }
    return low;
}

static sonde_chunk *open_chunk(sonde_store *store, sonde_stored *set, int64_t index)
{
    size_t at = place_of(set, index);
    if (at < set->n_open && set->open[at]->index == index) return set->open[at];
    if (!sonde_grow(&set->open, &set->open_capacity, set->n_open + 1, sizeof(sonde_chunk *)) ||
        !sonde_grow(&set->written, &set->written_capacity, (size_t)index + 1, sizeof *set->written))
        return NULL;
    set->n_written = SONDE_MAX(set->n_written, (size_t)index + 1);
    sonde_chunk *chunk = sonde_alloc(1, sizeof *chunk);
    if (!chunk) return NULL;
    chunk->set = set;
    chunk->index = index;
    chunk->data = sonde_spare_take(store, set->chunk_bytes);
    if (!chunk->data) {
        sonde_free(chunk);
        return NULL;
    }
    memmove(set->open + at + 1, set->open + at, (set->n_open - at) * sizeof(sonde_chunk *));
    set->open[at] = chunk;
    set->n_open++;
    if (set->spec.keep_room) store->kept_bytes += CHUNK_OVERHEAD;
    store->stats.open_bytes += set->chunk_bytes;
    store->stats.peak_open_bytes = SONDE_MAX(store->stats.peak_open_bytes, store->stats.open_bytes);
    return chunk;
}

/* Adds rows to the spans, joining neighbours. *clash: some of them were there. */
static bool claim_rows(sonde_chunk *chunk, sonde_span rows, bool *clash)
{
    size_t at = chunk->n_spans;
    while (at > 0 && chunk->spans[at - 1].begin >= rows.end) at--;
    sonde_span *before = at > 0 ? &chunk->spans[at - 1] : NULL;
    sonde_span *after = at < chunk->n_spans ? &chunk->spans[at] : NULL;
    *clash = before && before->end > rows.begin;
    if (*clash) return false;
    bool joins_before = before && before->end == rows.begin;
    bool joins_after = after && after->begin == rows.end;
    if (joins_before && joins_after) {
        before->end = after->end;
        memmove(after, after + 1, (chunk->n_spans - at - 1) * sizeof *after);
        chunk->n_spans--;
    } else if (joins_before) {
        before->end = rows.end;
    } else if (joins_after) {
        after->begin = rows.begin;
    } else {
        if (!sonde_grow(&chunk->spans, &chunk->span_capacity, chunk->n_spans + 1,
                        sizeof *chunk->spans))
            return false;
        memmove(chunk->spans + at + 1, chunk->spans + at,
                (chunk->n_spans - at) * sizeof *chunk->spans);
        chunk->spans[at] = rows;
        chunk->n_spans++;
    }
    return true;
}

sonde_chunk *sonde_chunk_claim(sonde_store *store, sonde_stored *set, int64_t index,
                               sonde_span rows, sonde_error *err)
{
    bool clash = (size_t)index < set->n_written && set->written[index] != 0;
    sonde_chunk *chunk = clash ? NULL : open_chunk(store, set, index);
    if (chunk && claim_rows(chunk, rows, &clash)) {
        int64_t n = rows.end - rows.begin;
        if (set->spec.keep_room) store->kept_bytes += (uint64_t)n * set->row_bytes;
        set->rows_put = SONDE_MAX(set->rows_put, index * set->chunk_rows + rows.end);
        return chunk;
    }
    if (clash)
        sonde_fail(err, SONDE_INTERNAL, "%s: rows %lld to %lld of /%s are put twice",
                   store->part_path, (long long)(index * set->chunk_rows + rows.begin),
                   (long long)(index * set->chunk_rows + rows.end - 1), set->path);
    else
        sonde_no_memory(err, "an open chunk", set->chunk_bytes);
    return NULL;
}

int64_t sonde_chunk_prefix(const sonde_chunk *chunk)
{
    return chunk->n_spans > 0 && chunk->spans[0].begin == 0 ? chunk->spans[0].end : 0;
}

uint64_t sonde_chunk_kept_bytes(const sonde_chunk *chunk)
{
    return CHUNK_OVERHEAD + (uint64_t)chunk->landed * chunk->set->row_bytes;
}

/* Zeros in rows [begin, end). */
static void clear_rows(sonde_chunk *chunk, int64_t begin, int64_t end)
{
    const sonde_stored *set = chunk->set;
    size_t planes = set->planar ? set->element_bytes : 1, row = set->row_bytes / planes;
    for (size_t p = 0; p < planes && begin < end; p++)
        memset(chunk->data + p * (set->chunk_bytes / planes) + (size_t)begin * row, 0,
               (size_t)(end - begin) * row);
}

/* Rows that were never put are zeros: written between the spans, only counted behind the last. */
static void fill_gaps(sonde_chunk *chunk)
{
    int64_t at = 0;
    for (size_t i = 0; i < chunk->n_spans; i++) {
        clear_rows(chunk, at, chunk->spans[i].begin);
        at = chunk->spans[i].end;
    }
    chunk->filled_bytes = (size_t)at * chunk->set->row_bytes;
}

void sonde_chunk_close(sonde_store *store, sonde_chunk *chunk)
{
    sonde_stored *set = chunk->set;
    size_t at = place_of(set, chunk->index);
    memmove(set->open + at, set->open + at + 1, (set->n_open - at - 1) * sizeof(sonde_chunk *));
    set->n_open--;
    set->written[chunk->index] = SONDE_CHUNK_ON_ITS_WAY;
    store->stats.open_bytes -= set->chunk_bytes;
    fill_gaps(chunk);
    sonde_store_enqueue(store, chunk);
}
