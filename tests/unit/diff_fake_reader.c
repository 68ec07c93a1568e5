/* diff_fake_reader.c - the reader of captures in memory. */
#include "unit/diff_fake_reader.h"

#include <string.h>

fake_pair *fake_files;

sonde_status sonde_reader_open(const char *path, sonde_reader **reader, sonde_error *err)
{
    if (strcmp(path, "a") != 0 && strcmp(path, "b") != 0)
        return sonde_fail(err, SONDE_BAD_CAPTURE, "%s: no capture", path);
    *reader = path[0] == 'a' ? &fake_files->a : &fake_files->b;
    return SONDE_OK;
}
void sonde_reader_close(sonde_reader **reader) { *reader = NULL; }
const char *sonde_reader_path(const sonde_reader *r) { return r->path; }
bool sonde_reader_is_minimal(const sonde_reader *r) { return r->minimal; }
const char *sonde_reader_manifest(const sonde_reader *r) { return r->manifest; }
int64_t sonde_reader_rows(const sonde_reader *r) { return r->n_rows; }
int64_t sonde_reader_sequences(const sonde_reader *r) { return r->n_sequences; }
int64_t sonde_reader_point_count(const sonde_reader *r) { return r->n_points; }
int64_t sonde_reader_table_count(const sonde_reader *r) { return r->n_tables; }

const char *sonde_reader_attr(const sonde_reader *r, const char *name)
{
    if (strcmp(name, "model_hash") == 0) return r->model_hash;
    return strcmp(name, "hook_vocabulary") == 0 ? r->vocabulary : NULL;
}

sonde_status sonde_reader_point(const sonde_reader *r, int64_t index, sonde_point_info *info,
                                sonde_error *err)
{
    (void)err;
    *info = r->points[index].info;
    return SONDE_OK;
}

int64_t sonde_reader_find(const sonde_reader *r, const char *name)
{
    for (int64_t i = 0; i < r->n_points; i++)
        if (strcmp(r->points[i].info.name, name) == 0) return i;
    return -1;
}

sonde_status sonde_reader_read(sonde_reader *r, int64_t point, int64_t first, int64_t n,
                               float *dst, sonde_error *err)
{
    const fake_point *p = &r->points[point];
    if (first < 0 || first + n > p->info.rows)
        return sonde_fail(err, SONDE_INTERNAL, "rows outside of the point");
    memcpy(dst, p->values + first * p->info.width, (size_t)(n * p->info.width) * sizeof *dst);
    return SONDE_OK;
}

sonde_status sonde_reader_read_raw(sonde_reader *r, int64_t point, int64_t first, int64_t n,
                                   void *dst, sonde_error *err)
{
    const fake_point *p = &r->points[point];
    int32_t *out = dst;
    if (p->info.stored != SONDE_DTYPE_I32) return sonde_fail(err, SONDE_INTERNAL, "raw floats");
    for (int64_t i = 0; i < n * p->info.width; i++)
        out[i] = (int32_t)p->values[first * p->info.width + i];
    return SONDE_OK;
}

sonde_status sonde_reader_ragged_rows(sonde_reader *r, int64_t point, int64_t first, int64_t n,
                                      uint64_t *indptr, uint32_t *first_key, sonde_error *err)
{
    (void)err;
    memcpy(indptr, r->points[point].indptr + first, (size_t)(n + 1) * sizeof *indptr);
    memcpy(first_key, r->points[point].first_key + first, (size_t)n * sizeof *first_key);
    return SONDE_OK;
}

sonde_status sonde_reader_ragged_read(sonde_reader *r, int64_t point, uint64_t first, uint64_t n,
                                      float *dst, sonde_error *err)
{
    (void)err;
    memcpy(dst, r->points[point].values + first, n * sizeof *dst);
    return SONDE_OK;
}

sonde_status sonde_reader_rowmap(sonde_reader *r, int64_t point, int64_t first, int64_t n,
                                 uint64_t *dst, sonde_error *err)
{
    const fake_point *p = &r->points[point];
    (void)err;
    for (int64_t i = 0; i < n; i++)
        dst[i] = p->info.has_rowmap ? p->rowmap[first + i] : (uint64_t)(first + i);
    return SONDE_OK;
}

sonde_status sonde_reader_rows_read(sonde_reader *r, int64_t first, int64_t n,
                                    const sonde_row_columns *columns, sonde_error *err)
{
    (void)err;
#define FAKE_COLUMN(name)                                                                          \
    if (columns->name) memcpy(columns->name, r->name + first, (size_t)n * sizeof *r->name)
    FAKE_COLUMN(sequence);
    FAKE_COLUMN(position);
    FAKE_COLUMN(token);
    FAKE_COLUMN(phase);
    FAKE_COLUMN(segment);
    FAKE_COLUMN(logprob);
    return SONDE_OK;
}

sonde_status sonde_reader_sequence(sonde_reader *r, int64_t index, sonde_sequence_info *info,
                                   sonde_error *err)
{
    (void)err;
    *info = r->sequences[index];
    return SONDE_OK;
}

sonde_status sonde_reader_tokens(sonde_reader *r, int64_t index, const uint32_t **tokens,
                                 int64_t *count, sonde_error *err)
{
    (void)err;
    *tokens = r->run[index];
    *count = r->run_length[index];
    return SONDE_OK;
}

sonde_status sonde_reader_piece(sonde_reader *r, uint32_t token, const char **bytes, size_t *n,
                                sonde_error *err)
{
    (void)r;
    (void)err;
    *bytes = token == 12 ? " the\n" : NULL;
    *n = token == 12 ? 5 : 0;
    return SONDE_OK;
}

sonde_status sonde_reader_table(const sonde_reader *r, int64_t index, sonde_table_info *info,
                                sonde_error *err)
{
    (void)err;
    *info = r->tables[index].info;
    return SONDE_OK;
}

sonde_status sonde_reader_table_read(sonde_reader *r, int64_t index, double *dst, sonde_error *err)
{
    (void)err;
    memcpy(dst, r->tables[index].values, (size_t)r->tables[index].info.dims[0] * sizeof *dst);
    return SONDE_OK;
}
