/* reader_rows.c - rows of points, and the columns of /rows that say whose they are. */
#include "reader_internal.h"

#include <math.h>
#include <string.h>

/* --- points --- */

static sonde_status take_point(sonde_reader *reader, int64_t index, bool ragged, int64_t first,
                               int64_t n, reader_point **point, sonde_error *err)
{
    SONDE_TRY(sonde_reader_check_range(reader, "points", index, 1, (int64_t)reader->n_points, err));
    *point = reader->points[index];
    if ((*point)->ragged != ragged)
        return sonde_fail(err, SONDE_USAGE, "%s: point %s is %s", reader->path, (*point)->name,
                          ragged ? "not ragged" : "ragged");
    return sonde_reader_check_range(reader, (*point)->name, first, n, (*point)->rows, err);
}

sonde_status sonde_reader_read(sonde_reader *reader, int64_t point, int64_t first, int64_t n,
                               float *dst, sonde_error *err)
{
    reader_point *p;
    SONDE_TRY(take_point(reader, point, false, first, n, &p, err));
    return sonde_set_read_f32(reader, &p->data, first, n, dst, err);
}

sonde_status sonde_reader_read_raw(sonde_reader *reader, int64_t point, int64_t first, int64_t n,
                                   void *dst, sonde_error *err)
{
    reader_point *p;
    SONDE_TRY(take_point(reader, point, false, first, n, &p, err));
    return sonde_set_read(reader, &p->data, first, n, dst, err);
}

sonde_status sonde_reader_offsets(sonde_reader *reader, sonde_set *indptr, const sonde_set *data,
                                  int64_t first, int64_t n, uint64_t *dst, sonde_error *err)
{
    SONDE_TRY(sonde_set_read_u64(reader, indptr, first, n + 1, (uint64_t)data->rows, dst, err));
    for (int64_t i = 0; i < n; i++)
        if (dst[i] > dst[i + 1])
            return sonde_reader_bad(reader, indptr->path, err,
                                    "offsets must not fall: entry %lld is %llu, the next %llu",
                                    (long long)(first + i), (unsigned long long)dst[i],
                                    (unsigned long long)dst[i + 1]);
    return SONDE_OK;
}

sonde_status sonde_reader_ragged_rows(sonde_reader *reader, int64_t point, int64_t first, int64_t n,
                                      uint64_t *indptr, uint32_t *first_key, sonde_error *err)
{
    reader_point *p;
    SONDE_TRY(take_point(reader, point, true, first, n, &p, err));
    if (indptr && p->indptr.rows == 0) indptr[0] = 0;
    else if (indptr)
        SONDE_TRY(sonde_reader_offsets(reader, &p->indptr, &p->data, first, n, indptr, err));
    if (!first_key) return SONDE_OK;
    if (p->first_key.path)
        return sonde_set_read_u32(reader, &p->first_key, first, n, first_key, err);
    memset(first_key, 0, (size_t)n * sizeof *first_key);
    return SONDE_OK;
}

sonde_status sonde_reader_ragged_read(sonde_reader *reader, int64_t point, uint64_t first,
                                      uint64_t n, float *dst, sonde_error *err)
{
    reader_point *p;
    SONDE_TRY(take_point(reader, point, true, 0, 0, &p, err));
    SONDE_TRY(sonde_reader_check_range(reader, p->data.path,
                                       first > INT64_MAX ? -1 : (int64_t)first,
                                       n > INT64_MAX ? -1 : (int64_t)n, p->data.rows, err));
    return sonde_set_read_f32(reader, &p->data, (int64_t)first, (int64_t)n, dst, err);
}

sonde_status sonde_reader_rowmap(sonde_reader *reader, int64_t point, int64_t first, int64_t n,
                                 uint64_t *dst, sonde_error *err)
{
    SONDE_TRY(sonde_reader_check_range(reader, "points", point, 1, (int64_t)reader->n_points, err));
    reader_point *p = reader->points[point];
    SONDE_TRY(sonde_reader_check_range(reader, p->name, first, n, p->rows, err));
    if (!p->rowmap.path) {
        for (int64_t i = 0; i < n; i++) dst[i] = (uint64_t)(first + i);
        return SONDE_OK;
    }
    if (n > 0 && reader->n_rows == 0)
        return sonde_reader_bad(reader, p->rowmap.path, err, "it names rows, but /rows has none");
    return sonde_set_read_u64(reader, &p->rowmap, first, n,
                              (uint64_t)SONDE_MAX(reader->n_rows - 1, 0), dst, err);
}

/* --- /rows --- */

typedef struct row_column {
    const char *path;
    bool required, integers;
} row_column;

static const row_column columns_of_rows[ROWS_COUNT] = {
    [ROWS_SEQUENCE] = {"/rows/sequence", true, true},
    [ROWS_POSITION] = {"/rows/position", true, true},
    [ROWS_TOKEN] = {"/rows/token", true, true},
    [ROWS_PHASE] = {"/rows/phase", false, true},
    [ROWS_SEGMENT] = {"/rows/segment", false, true},
    [ROWS_LOGPROB] = {"/rows/logprob", false, false},
};

sonde_status sonde_reader_load_rows(sonde_reader *reader, sonde_error *err)
{
    reader->n_rows = INT64_MAX;
    for (int i = 0; i < ROWS_COUNT; i++) {
        const row_column *c = &columns_of_rows[i];
        sonde_set *set = &reader->rows[i];
        if (!c->required && sonde_reader_kind(reader, c->path) == READER_ABSENT) continue;
        SONDE_TRY(sonde_set_column(reader, c->path, c->integers, set, err));
        if (reader->sealed && set->rows != reader->rows[0].rows)
            return sonde_reader_bad(reader, c->path, err,
                                    "expected %lld entries as /rows/sequence has, found %lld",
                                    (long long)reader->rows[0].rows, (long long)set->rows);
        reader->n_rows = SONDE_MIN(reader->n_rows, set->rows);
    }
    return SONDE_OK;
}

/* phase and segment: bytes of any integer column, zeros without one. */
static sonde_status read_bytes(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                               uint8_t *dst, sonde_error *err)
{
    uint64_t piece[512];
    if (!set->path) memset(dst, 0, (size_t)n);
    while (set->path && n > 0) {
        int64_t count = SONDE_MIN(n, (int64_t)SONDE_COUNT(piece));
        SONDE_TRY(sonde_set_read_u64(reader, set, first, count, UINT8_MAX, piece, err));
        for (int64_t i = 0; i < count; i++) dst[i] = (uint8_t)piece[i];
        dst += count;
        first += count;
        n -= count;
    }
    return SONDE_OK;
}

static sonde_status read_logprob(sonde_reader *reader, int64_t first, int64_t n, float *dst,
                                 sonde_error *err)
{
    sonde_set *set = &reader->rows[ROWS_LOGPROB];
    if (set->path) return sonde_set_read_f32(reader, set, first, n, dst, err);
    for (int64_t i = 0; i < n; i++) dst[i] = NAN;
    return SONDE_OK;
}

sonde_status sonde_reader_rows_read(sonde_reader *reader, int64_t first, int64_t n,
                                    const sonde_row_columns *columns, sonde_error *err)
{
    sonde_set *sets = reader->rows;
    SONDE_TRY(sonde_reader_check_range(reader, "/rows", first, n, reader->n_rows, err));
    if (columns->sequence)
        SONDE_TRY(sonde_set_read_u64(reader, &sets[ROWS_SEQUENCE], first, n, UINT64_MAX,
                                     columns->sequence, err));
    if (columns->position)
        SONDE_TRY(
            sonde_set_read_u32(reader, &sets[ROWS_POSITION], first, n, columns->position, err));
    if (columns->token)
        SONDE_TRY(sonde_set_read_u32(reader, &sets[ROWS_TOKEN], first, n, columns->token, err));
    if (columns->phase)
        SONDE_TRY(read_bytes(reader, &sets[ROWS_PHASE], first, n, columns->phase, err));
    if (columns->segment)
        SONDE_TRY(read_bytes(reader, &sets[ROWS_SEGMENT], first, n, columns->segment, err));
    return columns->logprob ? read_logprob(reader, first, n, columns->logprob, err) : SONDE_OK;
}
