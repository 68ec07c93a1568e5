/* Everything that sonde/reader.h says of a capture, as plain files for test_sonde_py.py:
 *   dump_capture FILE FOLDER
 * points.txt: name, ragged, rows, heads or width; N.f32, N.indptr, N.first, N.map of point N;
 * rows.{sequence,position,token,phase,segment,logprob}; sequences.txt, N.tokens, N.text. */
#include "core/core.h"
#include "sonde/reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *folder;

static void check(sonde_status status, const sonde_error *err)
{
    if (status == SONDE_OK) return;
    fprintf(stderr, "dump_capture: %s\n", err->message);
    exit(1);
}

static FILE *create(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    if (out) return out;
    perror(path);
    exit(1);
}

static void save(int64_t index, const char *what, const void *data, size_t bytes)
{
    char name[64];
    if (index >= 0) snprintf(name, sizeof name, "%" PRId64 ".%s", index, what);
    else snprintf(name, sizeof name, "rows.%s", what);
    FILE *out = create(name);
    if (fwrite(data, 1, bytes, out) != bytes || fclose(out) != 0) exit(1);
}

static void *take(size_t count, size_t bytes_each)
{
    void *block = sonde_alloc(count, bytes_each);
    if (!block) exit(1);
    return block;
}

static void dump_ragged(sonde_reader *r, int64_t index, const sonde_point_info *info)
{
    sonde_error err = {0};
    size_t n = (size_t)info->rows;
    uint64_t *indptr = take(n + 1, sizeof *indptr);
    uint32_t *first = take(n, sizeof *first);
    float *values = take((size_t)info->elements, sizeof *values);
    check(sonde_reader_ragged_rows(r, index, 0, info->rows, indptr, first, &err), &err);
    check(sonde_reader_ragged_read(r, index, 0, (uint64_t)info->elements, values, &err), &err);
    save(index, "indptr", indptr, (n + 1) * sizeof *indptr);
    save(index, "first", first, n * sizeof *first);
    save(index, "f32", values, (size_t)info->elements * sizeof *values);
    sonde_free(indptr);
    sonde_free(first);
    sonde_free(values);
}

static void dump_point(sonde_reader *r, int64_t index, FILE *list)
{
    sonde_error err = {0};
    sonde_point_info info;
    check(sonde_reader_point(r, index, &info, &err), &err);
    fprintf(list, "%s\t%d\t%" PRId64 "\t%" PRId64 "\n", info.name, info.ragged, info.rows,
            info.ragged ? info.shape[0] : info.width);
    uint64_t *map = take((size_t)info.rows, sizeof *map);
    check(sonde_reader_rowmap(r, index, 0, info.rows, map, &err), &err);
    save(index, "map", map, (size_t)info.rows * sizeof *map);
    sonde_free(map);
    if (info.ragged) {
        dump_ragged(r, index, &info);
        return;
    }
    float *values = take((size_t)info.elements, sizeof *values);
    check(sonde_reader_read(r, index, 0, info.rows, values, &err), &err);
    save(index, "f32", values, (size_t)info.elements * sizeof *values);
    sonde_free(values);
}

static void dump_rows(sonde_reader *r)
{
    sonde_error err = {0};
    size_t n = (size_t)sonde_reader_rows(r);
    sonde_row_columns c = {.sequence = take(n, 8),
                           .position = take(n, 4),
                           .token = take(n, 4),
                           .phase = take(n, 1),
                           .segment = take(n, 1),
                           .logprob = take(n, 4)};
    check(sonde_reader_rows_read(r, 0, (int64_t)n, &c, &err), &err);
    save(-1, "sequence", c.sequence, n * 8);
    save(-1, "position", c.position, n * 4);
    save(-1, "token", c.token, n * 4);
    save(-1, "phase", c.phase, n);
    save(-1, "segment", c.segment, n);
    save(-1, "logprob", c.logprob, n * 4);
    void *const blocks[] = {c.sequence, c.position, c.token, c.phase, c.segment, c.logprob};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

static void dump_sequence(sonde_reader *r, int64_t index, FILE *list)
{
    sonde_error err = {0};
    sonde_sequence_info s;
    const uint32_t *tokens;
    int64_t n;
    check(sonde_reader_sequence(r, index, &s, &err), &err);
    fprintf(list,
            "%" PRIu64 "\t%" PRIu64 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu64 "\t%d\t%" PRId64
            "\t%.9g\t%s\n",
            s.sequence, s.row_start, s.row_count, s.n_prompt, s.xxh3, s.status, s.last_token,
            (double)s.last_logprob, s.id ? s.id : "");
    save(index, "text", s.text ? s.text : "", s.text ? strlen(s.text) : 0);
    check(sonde_reader_tokens(r, index, &tokens, &n, &err), &err);
    save(index, "tokens", tokens, (size_t)n * sizeof *tokens);
}

static void dump_tables(sonde_reader *r)
{
    sonde_error err = {0};
    FILE *list = create("tables.txt");
    for (int64_t i = 0; i < sonde_reader_table_count(r); i++) {
        sonde_table_info info;
        int64_t n = 1;
        check(sonde_reader_table(r, i, &info, &err), &err);
        for (int32_t d = 0; d < info.n_dims; d++) n *= info.dims[d];
        double *values = take((size_t)n, sizeof *values);
        check(sonde_reader_table_read(r, i, values, &err), &err);
        fprintf(list, "%s\n", info.path);
        save(i, "f64", values, (size_t)n * sizeof *values);
        sonde_free(values);
    }
    fclose(list);
}

int main(int argc, char **argv)
{
    sonde_error err = {0};
    sonde_reader *r;
    if (argc != 3) return 2;
    folder = argv[2];
    check(sonde_reader_open(argv[1], &r, &err), &err);
    FILE *list = create("points.txt");
    for (int64_t i = 0; i < sonde_reader_point_count(r); i++) dump_point(r, i, list);
    fclose(list);
    dump_rows(r);
    list = create("sequences.txt");
    for (int64_t i = 0; i < sonde_reader_sequences(r); i++) dump_sequence(r, i, list);
    fclose(list);
    dump_tables(r);
    sonde_reader_close(&r);
    return 0;
}
