/* The reader on damaged files: any byte may be anything, and nothing may crash. Run under ASan. */
#include "sonde/reader.h"

#include "tests/support/capture_file.h"
#include "tests/support/h5_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MOST_ELEMENTS 100000

/* HDF5 1.10 forgets an object header that it cannot parse; that no handle of ours stays open is
 * asserted below. */
SONDE_API const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5_serial\n";
}

static char path[256];

static int make_path(void **state)
{
    (void)state;
    h5_temporary("damage.h5", path);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void read_point(sonde_reader *reader, int64_t index)
{
    sonde_point_info info;
    assert_int_equal(sonde_reader_point(reader, index, &info, NULL), SONDE_OK);
    assert_int_equal(sonde_reader_find(reader, info.name), index);
    if (info.elements > MOST_ELEMENTS || info.rows > MOST_ELEMENTS) return;
    float *values = malloc((size_t)(info.elements + 1) * sizeof *values);
    uint64_t *numbers = malloc((size_t)(info.rows + 1) * sizeof *numbers);
    assert_true(values && numbers);
    sonde_reader_rowmap(reader, index, 0, info.rows, numbers, NULL);
    if (info.ragged) {
        sonde_reader_ragged_rows(reader, index, 0, info.rows, numbers, NULL, NULL);
        sonde_reader_ragged_read(reader, index, 0, (uint64_t)info.elements, values, NULL);
    } else {
        sonde_reader_read(reader, index, 0, info.rows, values, NULL);
    }
    free(values);
    free(numbers);
}

static void read_rows(sonde_reader *reader)
{
    int64_t n = sonde_reader_rows(reader);
    if (n > MOST_ELEMENTS) return;
    size_t count = (size_t)n + 1;
    sonde_row_columns c = {.sequence = calloc(count, 8),
                           .position = calloc(count, 4),
                           .token = calloc(count, 4),
                           .phase = calloc(count, 1),
                           .segment = calloc(count, 1),
                           .logprob = calloc(count, 4)};
    sonde_reader_rows_read(reader, 0, n, &c, NULL);
    free(c.sequence);
    free(c.position);
    free(c.token);
    free(c.phase);
    free(c.segment);
    free(c.logprob);
}

static void read_sequences(sonde_reader *reader)
{
    sonde_sequence_info info;
    const uint32_t *tokens;
    const char *piece;
    int64_t n, count = sonde_reader_sequences(reader);
    size_t bytes;
    for (int64_t i = 0; i < SONDE_MIN(count, 100); i++) {
        if (sonde_reader_sequence(reader, i, &info, NULL) == SONDE_OK && info.text)
            assert_true(strlen(info.text) < MOST_ELEMENTS);
        if (sonde_reader_tokens(reader, i, &tokens, &n, NULL) == SONDE_OK && n > 0)
            sonde_reader_piece(reader, tokens[n - 1], &piece, &bytes, NULL);
    }
}

static void read_tables(sonde_reader *reader)
{
    for (int64_t i = 0; i < sonde_reader_table_count(reader); i++) {
        sonde_table_info info;
        int64_t n = 1;
        assert_int_equal(sonde_reader_table(reader, i, &info, NULL), SONDE_OK);
        for (int32_t d = 0; d < info.n_dims; d++) n *= SONDE_MIN(info.dims[d], MOST_ELEMENTS);
        if (n > MOST_ELEMENTS) continue;
        double *values = malloc((size_t)(n + 1) * sizeof *values);
        assert_non_null(values);
        sonde_reader_table_read(reader, i, values, NULL);
        free(values);
    }
}

/* Everything there is to read; whether it succeeds does not matter. */
static bool read_all(void)
{
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    sonde_status status = sonde_reader_open(path, &reader, &err);
    if (status != SONDE_OK) {
        assert_true(err.message[0] != '\0');
        assert_null(reader);
        assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
        return false;
    }
    for (int64_t i = 0; i < sonde_reader_point_count(reader); i++) read_point(reader, i);
    read_rows(reader);
    read_sequences(reader);
    read_tables(reader);
    sonde_reader_close(&reader);
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    return true;
}

static void save(const char *data, size_t bytes)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, bytes, out), bytes);
    assert_int_equal(fclose(out), 0);
}

/* Flips bits, sets bytes to extremes, swaps pieces: `rounds` files of one to four changes. */
static void damage(int rounds, uint32_t seed)
{
    static const uint8_t extremes[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    char *data;
    size_t bytes;
    int opened = 0;
    assert_int_equal(sonde_read_file(path, 1 << 24, &data, &bytes, NULL), SONDE_OK);
    assert_true(read_all());
    char *copy = malloc(bytes);
    assert_non_null(copy);
    for (int round = 0; round < rounds; round++) {
        memcpy(copy, data, bytes);
        for (uint32_t changes = 1 + next_random(&seed) % 4; changes > 0; changes--) {
            size_t at = next_random(&seed) % bytes;
            uint32_t kind = next_random(&seed) % 3;
            if (kind == 0) copy[at] = (char)(copy[at] ^ 1 << next_random(&seed) % 8);
            else if (kind == 1) copy[at] = (char)extremes[next_random(&seed) % sizeof extremes];
            else
                memmove(copy + at, data + next_random(&seed) % (bytes - 8),
                        SONDE_MIN(8, bytes - at));
        }
        save(copy, bytes);
        opened += read_all();
    }
    free(copy);
    sonde_free(data);
    assert_in_range(opened, 1, rounds);
}

static void put_everything(hid_t file)
{
    static const uint64_t indptr[] = {0, 2, 6, 6, 12, 20, 22, 24, 26, 28, 30};
    const h5_layout chunks = {.chunk = {4, 4}, .shuffle = true, .deflate = true};
    float values[40];
    uint64_t map[2] = {1, 7};
    for (int i = 0; i < 40; i++) values[i] = (float)i;
    h5_put_rows(file, 10);
    h5_put(file, "/activations/p", H5T_NATIVE_FLOAT, 2, (const int64_t[]){10, 4}, values, &chunks);
    h5_put(file, "/activations/q", H5T_NATIVE_FLOAT, 1, (const int64_t[]){2}, values, NULL);
    h5_put(file, "/activations/g/data", H5T_NATIVE_FLOAT, 1, (const int64_t[]){30}, values, NULL);
    h5_put(file, "/activations/g/indptr", H5T_NATIVE_UINT64, 1, (const int64_t[]){11}, indptr,
           NULL);
    h5_put(file, "/rowmap/q", H5T_NATIVE_UINT64, 1, (const int64_t[]){2}, map, NULL);
    h5_put(file, "/probes/m/mean", H5T_NATIVE_FLOAT, 1, (const int64_t[]){9}, values, NULL);
}

static void test_damaged_minimal_captures(void **state)
{
    (void)state;
    hid_t file = h5_create(path, true);
    put_everything(file);
    H5Fclose(file);
    damage(500, 1);
}

static void test_damaged_captures(void **state)
{
    (void)state;
    sonde_error err = {0};
    const capture_file_options options = {.path = path, .chunk_target_bytes = 512};
    if (capture_file_write(&options, &err) != SONDE_OK) fail_msg("%s", err.message);
    damage(200, 2);
    ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_minimal_captures),
        cmocka_unit_test(test_damaged_captures),
    };
    return cmocka_run_group_tests_name("reader, damaged files", tests, make_path, remove_path);
}
