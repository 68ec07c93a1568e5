/*
 * The schema: what is put is what the reader and plain HDF5 calls find. With --write FILE [CODEC
 * [TARGET]] this program writes the capture of capture_case.h and ends, for check_capture.py.
 */
#include "sonde/reader.h"
#include "tests/support/capture_case.h"
#include "tests/support/h5_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[256], part[300];

static int make_path(void **state)
{
    (void)state;
    h5_fresh("schema.h5", path, part);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    h5_remove(path, part);
    return 0;
}

static void good(sonde_status status, const sonde_error *err)
{
    if (status != SONDE_OK) fail_msg("status %d: %s", (int)status, err->message);
}

static sonde_reader *open_capture(void)
{
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    good(sonde_reader_open(path, &reader, &err), &err);
    return reader;
}

/* ---- checks of what is there, up to a number of sequences ------------------------------------ */

static int64_t rows_of(int64_t sequences)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < sequences; i++) rows += case_rows(i);
    return rows;
}

static int64_t find(const sonde_reader *reader, const char *name, sonde_point_info *info)
{
    sonde_error err = {0};
    int64_t point = sonde_reader_find(reader, name);
    assert_true(point >= 0);
    good(sonde_reader_point(reader, point, info, &err), &err);
    return point;
}

static void check_dense(sonde_reader *reader, int64_t rows)
{
    sonde_error err = {0};
    sonde_point_info info;
    uint16_t values[CAPTURE_WIDTH];
    int64_t point = find(reader, "blocks.0.resid_post", &info);
    assert_int_equal(info.rows, rows);
    assert_int_equal(info.stored, SONDE_DTYPE_BF16);
    assert_int_equal(info.width, CAPTURE_WIDTH);
    for (int64_t row = 0; row < rows; row++) {
        good(sonde_reader_read_raw(reader, point, row, 1, values, &err), &err);
        for (int64_t c = 0; c < CAPTURE_WIDTH; c++) assert_int_equal(values[c], case_bf16(row, c));
    }
    assert_true(find(reader, "blocks.1.resid_pre", &info) == point + 1);
    assert_int_equal(info.rows, rows);
}

static void check_ragged(sonde_reader *reader, int64_t sequences)
{
    sonde_error err = {0};
    sonde_point_info info;
    float values[CAPTURE_HEADS * 32];
    int64_t point = find(reader, "blocks.1.attn.scores", &info), row = 0;
    assert_true(info.ragged);
    assert_int_equal(info.rows, rows_of(sequences));
    for (int64_t i = 0; i < sequences; i++)
        for (int64_t k = 0; k < case_rows(i); k++, row++) {
            uint64_t indptr[2], n = (uint64_t)(CAPTURE_HEADS * (k + 1));
            uint32_t first_key;
            good(sonde_reader_ragged_rows(reader, point, row, 1, indptr, &first_key, &err), &err);
            assert_int_equal(indptr[1] - indptr[0], n);
            assert_int_equal(first_key, 0);
            good(sonde_reader_ragged_read(reader, point, indptr[0], n, values, &err), &err);
            for (uint64_t e = 0; e < n; e++)
                assert_true(values[e] == case_score(row, (int64_t)e));
        }
}

static void check_mapped(sonde_reader *reader, int64_t sequences)
{
    sonde_error err = {0};
    sonde_point_info info;
    int64_t point = find(reader, "blocks.1.mlp.post", &info), at = 0, row = 0;
    assert_true(info.has_rowmap);
    for (int64_t i = 0; i < sequences; row += case_rows(i), i++)
        for (int64_t k = 0; k < case_rows(i); k += 4, at++) {
            uint64_t mapped;
            uint16_t values[8];
            good(sonde_reader_rowmap(reader, point, at, 1, &mapped, &err), &err);
            assert_int_equal(mapped, row + k);
            good(sonde_reader_read_raw(reader, point, at, 1, values, &err), &err);
            assert_int_equal(values[7], 0x3C00 + (row + k + 7) % 512);
        }
    assert_int_equal(info.rows, at);
}

static void check_rows(sonde_reader *reader, int64_t sequences)
{
    sonde_error err = {0};
    int64_t row = 0;
    assert_int_equal(sonde_reader_rows(reader), rows_of(sequences));
    for (int64_t i = 0; i < sequences; i++)
        for (int64_t k = 0; k < case_rows(i); k++, row++) {
            uint64_t sequence;
            uint32_t position, token;
            uint8_t phase, segment;
            float logprob;
            sonde_row_columns columns = {&sequence, &position, &token, &phase, &segment, &logprob};
            good(sonde_reader_rows_read(reader, row, 1, &columns, &err), &err);
            assert_int_equal(sequence, 2 * i + 1);
            assert_int_equal(position, k);
            assert_int_equal(token, (i * 31 + k * 7) % 500);
            assert_int_equal(phase, i % 2 == 1 && k >= case_rows(i) - 2);
            assert_int_equal(segment, i % 3 == 2 ? 0 : k % 7);
            if (i % 3 == 2 || k == 0) assert_true(isnan(logprob));
            else assert_true(logprob == -0.25f * (float)k);
        }
}

static void check_sequences(sonde_reader *reader, int64_t sequences)
{
    sonde_error err = {0};
    int64_t row = 0;
    assert_int_equal(sonde_reader_sequences(reader), sequences);
    for (int64_t i = 0; i < sequences; row += case_rows(i), i++) {
        sonde_sequence_info info;
        const uint32_t *tokens;
        char id[32];
        int64_t n;
        good(sonde_reader_sequence(reader, i, &info, &err), &err);
        snprintf(id, sizeof id, "line-%lld", (long long)i);
        assert_string_equal(info.id, id);
        assert_int_equal(info.sequence, 2 * i + 1);
        assert_int_equal(info.row_start, row);
        assert_int_equal(info.row_count, case_rows(i));
        assert_int_equal(info.status, i % 4);
        assert_int_equal(info.last_token, i % 2 ? 777 : -1);
        assert_int_equal(info.id_is_given, i % 2 == 0);
        assert_int_equal(strlen(info.text), case_rows(i));
        good(sonde_reader_tokens(reader, i, &tokens, &n, &err), &err);
        assert_int_equal(n, case_rows(i));
        assert_int_equal(tokens[n - 1], (i * 31 + (n - 1) * 7) % 500);
        assert_int_equal(info.xxh3, sonde_hash64(tokens, info.n_prompt * sizeof *tokens));
    }
}

static void check_all(int64_t sequences)
{
    sonde_reader *reader = open_capture();
    check_dense(reader, rows_of(sequences));
    check_ragged(reader, sequences);
    check_mapped(reader, sequences);
    check_rows(reader, sequences);
    check_sequences(reader, sequences);
    sonde_reader_close(&reader);
}

/* Every record of /chunklog names bytes of the file that have its hash. */
typedef struct chunk_record {
    uint32_t dataset, codec;
    uint64_t first_row, offset, csize, xxh3;
} chunk_record;

static void read_log(chunk_record **records, size_t *n)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT),
          log = H5Dopen2(file, "chunklog", H5P_DEFAULT);
    hid_t type = H5Dget_type(log), space = H5Dget_space(log);
    *n = (size_t)H5Sget_simple_extent_npoints(space);
    assert_int_equal(H5Tget_size(type), sizeof **records);
    *records = sonde_alloc(*n, sizeof **records);
    assert_true(H5Dread(log, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *records) >= 0);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(log);
    H5Fclose(file);
}

static void check_log(size_t least)
{
    sonde_error err = {0};
    sonde_mapping map;
    chunk_record *records;
    size_t n;
    read_log(&records, &n);
    assert_true(n >= least);
    good(sonde_mapping_open(path, &map, &err), &err);
    for (size_t i = 0; i < n; i++) {
        assert_true(records[i].offset + records[i].csize <= map.bytes);
        assert_true(sonde_hash64(map.data + records[i].offset, records[i].csize) ==
                    records[i].xxh3);
    }
    sonde_mapping_close(&map);
    sonde_free(records);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_a_capture_reads_back(void **state)
{
    (void)state;
    sonde_error err = {0};
    for (int64_t target = 0; target <= 2048; target += 2048)
        for (int codec = SONDE_CODEC_DEFLATE; codec <= SONDE_CODEC_RAW; codec++) {
            capture_case spec = {.path = path, .codec = (sonde_codec)codec, .overwrite = true,
                                 .chunk_target_bytes = target};
            good(case_write(&spec, &err), &err);
            check_all(CAPTURE_SEQUENCES);
            check_log(target ? 100 : 30);
        }
}

static void test_many_chunks_lie_where_the_log_says(void **state)
{
    (void)state;
    sonde_error err = {0};
    capture_case spec = {
        .path = path, .sequences = 1500, .chunk_target_bytes = 512, .no_meta = true};
    good(case_write(&spec, &err), &err);
    check_log(6000);
}

static void test_facts_of_the_file(void **state)
{
    (void)state;
    sonde_error err = {0};
    const char *piece;
    size_t bytes;
    good(case_write(&(capture_case){.path = path}, &err), &err);
    sonde_reader *reader = open_capture();
    assert_true(sonde_reader_is_sealed(reader));
    assert_true(sonde_reader_is_complete(reader));
    assert_string_equal(sonde_reader_attr(reader, "model"), "case");
    assert_string_equal(sonde_reader_manifest(reader), "{\"model\": \"case\"}");
    assert_string_equal(sonde_reader_run(reader), "{\"uuid\": \"0\"}");
    assert_int_equal(sonde_reader_point_count(reader), 5);
    good(sonde_reader_piece(reader, 777, &piece, &bytes, &err), &err);
    assert_int_equal(bytes, 4);
    assert_memory_equal(piece, "t777", 4);
    sonde_reader_close(&reader);
}

/* Sealed with fewer sequences than were put: as if the others had never been. */
static void test_a_cut_file_has_whole_sequences(void **state)
{
    (void)state;
    for (int64_t keep = 0; keep <= 50; keep += 10) {
        sonde_error err = {0};
        capture_run run;
        int64_t rows, sequences;
        capture_case spec = {.path = path, .overwrite = true, .chunk_target_bytes = 2048};
        good(case_open(&spec, &run, &err), &err);
        good(case_put(&spec, &run, &err), &err);
        good(sonde_schema_safe_rows(run.schema, &rows, &sequences, &err), &err);
        assert_int_equal(sequences, CAPTURE_SEQUENCES);
        assert_int_equal(rows, run.rows);
        good(case_describe(&run, &err), &err);
        good(sonde_schema_seal(run.schema, false, rows_of(keep), keep, &err), &err);
        case_close(&run, true);
        check_all(keep);
        check_log(keep > 0 ? 20 : 4);
    }
}

static void test_own_lengths_are_cut_together(void **state)
{
    (void)state;
    sonde_error err = {0};
    capture_run run;
    sonde_table_info info;
    capture_case spec = {.path = path};
    good(case_open(&spec, &run, &err), &err);
    good(case_put(&spec, &run, &err), &err);
    good(sonde_schema_seal(run.schema, false, rows_of(30), 30, &err), &err);
    case_close(&run, true);
    sonde_reader *reader = open_capture();
    int found = 0;
    for (int64_t i = 0; i < sonde_reader_table_count(reader); i++) {
        good(sonde_reader_table(reader, i, &info, &err), &err);
        if (strncmp(info.path, "hits/", 5) != 0) continue;
        assert_int_equal(info.dims[0], 30);
        found++;
    }
    assert_int_equal(found, 3);
    sonde_reader_close(&reader);
}

static void test_a_lost_row_is_an_error(void **state)
{
    (void)state;
    sonde_error err = {0};
    capture_run run;
    uint16_t values[2 * CAPTURE_WIDTH] = {0};
    capture_case spec = {.path = path, .sequences = 3};
    good(case_open(&spec, &run, &err), &err);
    good(case_put(&spec, &run, &err), &err);
    good(sonde_schema_put(run.schema, run.dense, run.rows + 1, 1, values, &err), &err);
    assert_int_equal(sonde_schema_seal(run.schema, true, -1, -1, &err), SONDE_INTERNAL);
    assert_non_null(strstr(err.message, "activations/blocks.0.resid_post: row"));
    assert_true(sonde_store_is_sealed(run.store));
    case_close(&run, true);
    sonde_reader *reader = open_capture();
    assert_false(sonde_reader_is_complete(reader));
    sonde_reader_close(&reader);
    check_all(3);
}

static void test_a_row_put_twice_is_an_error(void **state)
{
    (void)state;
    sonde_error err = {0};
    capture_run run;
    uint16_t values[2 * CAPTURE_WIDTH] = {0};
    capture_case spec = {.path = path, .sequences = 3};
    good(case_open(&spec, &run, &err), &err);
    good(case_put(&spec, &run, &err), &err);
    assert_int_equal(sonde_schema_put(run.schema, run.dense, 2, 2, values, &err), SONDE_INTERNAL);
    assert_non_null(strstr(err.message, "rows 2 to 3 of /activations/blocks.0.resid_post"));
    case_close(&run, true);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(part, F_OK), 0);
}

static void test_an_empty_capture(void **state)
{
    (void)state;
    sonde_error err = {0};
    capture_run run;
    capture_case spec = {.path = path};
    good(case_open(&spec, &run, &err), &err);
    good(case_describe(&run, &err), &err);
    good(sonde_schema_seal(run.schema, true, -1, -1, &err), &err);
    case_close(&run, true);
    check_all(0);
}

static int write_one(int argc, char **argv)
{
    sonde_error err = {0};
    capture_case spec = {.path = argv[2], .overwrite = true,
                         .codec = argc > 3 && strcmp(argv[3], "raw") == 0 ? SONDE_CODEC_RAW
                                                                          : SONDE_CODEC_DEFLATE,
                         .chunk_target_bytes = argc > 4 ? strtol(argv[4], NULL, 10) : 0};
    sonde_status status = case_write(&spec, &err);
    if (status != SONDE_OK) fprintf(stderr, "%s\n", err.message);
    return status == SONDE_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--write") == 0) return write_one(argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)
    const struct CMUnitTest tests[] = {
        TEST(test_a_capture_reads_back),
        TEST(test_many_chunks_lie_where_the_log_says),
        TEST(test_facts_of_the_file),
        TEST(test_a_cut_file_has_whole_sequences),
        TEST(test_own_lengths_are_cut_together),
        TEST(test_a_lost_row_is_an_error),
        TEST(test_a_row_put_twice_is_an_error),
        TEST(test_an_empty_capture),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
