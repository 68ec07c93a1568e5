/* job.c - whole jobs in tests. */
#include "support/job.h"

#include "sonde/reader.h"
#include "support/plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void job_options(sonde_job_options *options, const char *const *words, int64_t n)
{
    sonde_error err = {0};
    memset(options, 0, sizeof *options);
    if (sonde_options_defaults(sonde_job_options_table, options, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    for (int64_t i = 0; i < n; i++) {
        const char *name = words[i] + 2, *value = NULL;
        const sonde_option *option = sonde_options_find(sonde_job_options_table, name);
        if (option && option->type != SONDE_OPTION_FLAG) value = words[++i];
        if (sonde_options_set(sonde_job_options_table, options, name, value, &err) != SONDE_OK)
            fail_msg("%s", err.message);
    }
}

sonde_status job_capture(const char *model, const char *prompts, const char *output,
                         const char *const *words, int64_t n, sonde_job_summary *summary,
                         sonde_error *err)
{
    sonde_job_options options;
    sonde_job *job = NULL;
    test_use_plugins();
    job_options(&options, words, n);
    options.overwrite = true;
    sonde_job_spec spec = {.model = model, .prompts = prompts, .options = &options};
    SONDE_TRY(sonde_job_open(&spec, &job, err));
    sonde_status status = sonde_job_capture(job, output, NULL, summary, err);
    sonde_job_close(&job);
    return status;
}

void use_built_probes(void)
{
    char path[1024];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 3; i++) *strrchr(path, '/') = '\0';
    strcat(path, "/probes");
    assert_int_equal(setenv("SONDE_PROBE_PATH", path, 1), 0);
}

void write_text_file(const char *path, const char *text)
{
    mkdir("build", 0755);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, strlen(text), out), strlen(text));
    assert_int_equal(fclose(out), 0);
}

/* ---- content ------------------------------------------------------------------------------------------ */

typedef struct content {
    sonde_reader *reader;
    sonde_string bytes;
} content;

#define GOOD(expr)                                                                                 \
    do {                                                                                           \
        sonde_error err_ = {0};                                                                    \
        sonde_error *err = &err_;                                                                  \
        if ((expr) != SONDE_OK) fail_msg("%s", err_.message);                                      \
    } while (0)

static void *memory(size_t n, size_t bytes)
{
    void *block = sonde_alloc(n, bytes);
    assert_non_null(block);
    return block;
}

static void add_dense(content *c, int64_t index, const sonde_point_info *info)
{
    size_t bytes = (size_t)(info->rows * info->width) * sonde_dtype_bytes(info->stored, 1);
    void *data = memory(bytes + 1, 1);
    GOOD(sonde_reader_read_raw(c->reader, index, 0, info->rows, data, err));
    sonde_string_append(&c->bytes, data, bytes);
    sonde_free(data);
}

static void add_ragged(content *c, int64_t index, const sonde_point_info *info)
{
    size_t n = (size_t)info->rows;
    uint64_t *indptr = memory(n + 1, sizeof *indptr);
    uint32_t *first = memory(n + 1, sizeof *first);
    GOOD(sonde_reader_ragged_rows(c->reader, index, 0, info->rows, indptr, first, err));
    sonde_string_append(&c->bytes, (char *)indptr, (n + 1) * sizeof *indptr);
    sonde_string_append(&c->bytes, (char *)first, n * sizeof *first);
    float *data = memory((size_t)info->elements + 1, sizeof *data);
    GOOD(sonde_reader_ragged_read(c->reader, index, 0, (uint64_t)info->elements, data, err));
    sonde_string_append(&c->bytes, (char *)data, (size_t)info->elements * sizeof *data);
    sonde_free(indptr);
    sonde_free(first);
    sonde_free(data);
}

static void add_point(content *c, int64_t index)
{
    sonde_point_info info;
    GOOD(sonde_reader_point(c->reader, index, &info, err));
    sonde_string_format(&c->bytes, "%s %s %lld %lld;", info.name, sonde_dtype_name(info.stored),
                        (long long)info.rows, (long long)info.width);
    uint64_t *map = memory((size_t)info.rows + 1, sizeof *map);
    GOOD(sonde_reader_rowmap(c->reader, index, 0, info.rows, map, err));
    sonde_string_append(&c->bytes, (char *)map, (size_t)info.rows * sizeof *map);
    sonde_free(map);
    if (info.ragged) add_ragged(c, index, &info);
    else add_dense(c, index, &info);
}

static void add_rows(content *c)
{
    size_t n = (size_t)sonde_reader_rows(c->reader) + 1;
    sonde_row_columns columns = {memory(n, 8), memory(n, 4), memory(n, 4), memory(n, 1),
                                 memory(n, 1), memory(n, 4)};
    GOOD(sonde_reader_rows_read(c->reader, 0, (int64_t)n - 1, &columns, err));
    void *blocks[] = {columns.sequence, columns.position, columns.token, columns.phase,
                      columns.segment, columns.logprob};
    const size_t bytes[] = {8, 4, 4, 1, 1, 4};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) {
        sonde_string_append(&c->bytes, blocks[i], (n - 1) * bytes[i]);
        sonde_free(blocks[i]);
    }
}

static void add_sequences(content *c)
{
    for (int64_t i = 0; i < sonde_reader_sequences(c->reader); i++) {
        sonde_sequence_info info;
        const uint32_t *tokens;
        int64_t count;
        GOOD(sonde_reader_sequence(c->reader, i, &info, err));
        sonde_string_format(&c->bytes, "%llu %llu %u %u %llx %d %lld %a %s %s;",
                            (unsigned long long)info.sequence, (unsigned long long)info.row_start,
                            info.row_count, info.n_prompt, (unsigned long long)info.xxh3, info.status,
                            (long long)info.last_token, (double)info.last_logprob,
                            info.id ? info.id : "", info.text ? info.text : "");
        GOOD(sonde_reader_tokens(c->reader, i, &tokens, &count, err));
        sonde_string_append(&c->bytes, (const char *)tokens, (size_t)count * sizeof *tokens);
    }
}

static void add_tables(content *c)
{
    for (int64_t i = 0; i < sonde_reader_table_count(c->reader); i++) {
        sonde_table_info info;
        int64_t n = 1;
        GOOD(sonde_reader_table(c->reader, i, &info, err));
        for (int32_t d = 0; d < info.n_dims; d++) n *= info.dims[d];
        double *data = memory((size_t)n + 1, sizeof *data);
        GOOD(sonde_reader_table_read(c->reader, i, data, err));
        sonde_string_format(&c->bytes, "%s %lld;", info.path, (long long)n);
        sonde_string_append(&c->bytes, (char *)data, (size_t)n * sizeof *data);
        sonde_free(data);
    }
}

static void hash_content(content *c, char hex[33])
{
    assert_false(c->bytes.failed);
    sonde_hash128_hex(sonde_hash128(c->bytes.data, c->bytes.length), hex);
    sonde_string_reset(&c->bytes);
    sonde_reader_close(&c->reader);
}

void capture_hash(const char *path, char hex[33])
{
    content c = {0};
    GOOD(sonde_reader_open(path, &c.reader, err));
    for (int64_t i = 0; i < sonde_reader_point_count(c.reader); i++) add_point(&c, i);
    add_rows(&c);
    add_sequences(&c);
    add_tables(&c);
    hash_content(&c, hex);
}

void capture_point_hash(const char *path, const char *point, char hex[33])
{
    content c = {0};
    GOOD(sonde_reader_open(path, &c.reader, err));
    int64_t index = sonde_reader_find(c.reader, point);
    if (index < 0) fail_msg("%s: no point %s", path, point);
    add_point(&c, index);
    hash_content(&c, hex);
}
