/* Whole captures of the writer through the reader: every value, every fact, and damage to them. */
#include "sonde/reader.h"

#include "tests/support/capture_file.h"
#include "tests/support/h5_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[256], part[272];

static int make_path(void **state)
{
    (void)state;
    h5_temporary("capture.h5", path);
    snprintf(part, sizeof part, "%s.part", path);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    unlink(part);
    return 0;
}

static void write_file(capture_file_options options)
{
    sonde_error err = {0};
    options.path = path;
    if (capture_file_write(&options, &err) != SONDE_OK) fail_msg("%s", err.message);
}

static sonde_reader *open_good(const char *name)
{
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    if (sonde_reader_open(name, &reader, &err) != SONDE_OK) fail_msg("%s", err.message);
    return reader;
}

/* --- facts --- */

static void test_facts_of_a_sealed_capture(void **state)
{
    (void)state;
    write_file((capture_file_options){0});
    sonde_reader *reader = open_good(path);
    assert_false(sonde_reader_is_minimal(reader));
    assert_true(sonde_reader_is_sealed(reader));
    assert_true(sonde_reader_is_complete(reader));
    assert_string_equal(sonde_reader_attr(reader, "model"), "tiny");
    assert_string_equal(sonde_reader_attr(reader, "model_hash"), "00ff");
    assert_string_equal(sonde_reader_attr(reader, "format"), "sonde-capture");
    assert_string_equal(sonde_reader_attr(reader, "mode"), "exact");
    assert_non_null(strstr(sonde_reader_manifest(reader), "\"as\": \"auto\""));
    assert_string_equal(sonde_reader_run(reader), "{\"host\": \"here\"}");
    assert_int_equal(sonde_reader_rows(reader), CAPTURE_ROWS);
    assert_int_equal(sonde_reader_sequences(reader), CAPTURE_SEQUENCES);
    sonde_reader_close(&reader);

    write_file((capture_file_options){.incomplete = true});
    reader = open_good(path);
    assert_true(sonde_reader_is_sealed(reader));
    assert_false(sonde_reader_is_complete(reader));
    sonde_reader_close(&reader);
}

static void test_points_in_execution_order(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        sonde_dtype stored;
        int n_dims, width;
        bool ragged, rowmap;
    } expected[] = {
        {"embed", SONDE_DTYPE_F32, 1, 6, false, false},
        {"blocks.0.attn.q", SONDE_DTYPE_F16, 2, 6, false, false},
        {"blocks.0.attn.scores", SONDE_DTYPE_F32, 1, 0, true, false},
        {"blocks.0.attn.pattern", SONDE_DTYPE_BF16, 1, 0, true, false},
        {"blocks.0.resid_post", SONDE_DTYPE_BF16, 1, 6, false, false},
        {"blocks.1.resid_pre", SONDE_DTYPE_BF16, 1, 6, false, false},
        {"blocks.1.bits", SONDE_DTYPE_BF16, 1, 6, false, false},
        {"blocks.1.experts", SONDE_DTYPE_I32, 1, 2, false, false},
        {"final", SONDE_DTYPE_F32, 0, 1, false, true},
    };
    write_file((capture_file_options){.codec = SONDE_CODEC_RAW});
    sonde_reader *reader = open_good(path);
    assert_int_equal(sonde_reader_point_count(reader), SONDE_COUNT(expected));
    for (size_t i = 0; i < SONDE_COUNT(expected); i++) {
        sonde_point_info info;
        assert_int_equal(sonde_reader_point(reader, (int64_t)i, &info, NULL), SONDE_OK);
        assert_string_equal(info.name, expected[i].name);
        assert_int_equal(info.stored, expected[i].stored);
        assert_int_equal(info.n_dims, expected[i].n_dims);
        assert_int_equal(info.width, expected[i].width);
        assert_int_equal(info.ragged, expected[i].ragged);
        assert_int_equal(info.has_rowmap, expected[i].rowmap);
        assert_int_equal(info.rows, info.has_rowmap ? CAPTURE_SEQUENCES : CAPTURE_ROWS);
        if (info.ragged) assert_int_equal(info.shape[0], 2);
        if (!info.ragged) assert_string_equal(info.codec, "raw");
    }
    sonde_reader_close(&reader);
}

/* --- values --- */

static void check_dense(sonde_reader *reader, const char *name, int point)
{
    int64_t index = sonde_reader_find(reader, name);
    sonde_point_info info;
    assert_int_equal(sonde_reader_point(reader, index, &info, NULL), SONDE_OK);
    float *values = calloc((size_t)info.elements, sizeof *values);
    assert_non_null(values);
    assert_int_equal(sonde_reader_read(reader, index, 0, info.rows, values, NULL), SONDE_OK);
    for (int64_t i = 0; i < info.elements; i++) {
        int64_t row = i / info.width, e = i % info.width;
        uint64_t map;
        assert_int_equal(sonde_reader_rowmap(reader, index, row, 1, &map, NULL), SONDE_OK);
        float value = capture_file_value(point, (int64_t)map, e);
        uint32_t bits, expected = (uint32_t)capture_file_bits((int64_t)map, e) << 16;
        memcpy(&bits, &values[i], sizeof bits);
        if (point == CAPTURE_BITS) assert_int_equal(bits, expected);
        else assert_true(values[i] == (point == CAPTURE_EXPERTS ? 4.0f * value : value));
    }
    free(values);
}

static void check_ragged(sonde_reader *reader, const char *name, int point)
{
    int64_t index = sonde_reader_find(reader, name), rows = sonde_reader_rows(reader);
    for (int64_t row = 0; row < rows; row++) {
        uint64_t ends[2];
        uint32_t first, position = capture_file_position(row);
        float values[64];
        assert_int_equal(sonde_reader_ragged_rows(reader, index, row, 1, ends, &first, NULL),
                         SONDE_OK);
        assert_int_equal(first, point == CAPTURE_PATTERN && position > 2 ? position - 2 : 0);
        int64_t keys = (int64_t)position + 1 - first;
        assert_int_equal(ends[1] - ends[0], 2 * keys);
        assert_int_equal(
            sonde_reader_ragged_read(reader, index, ends[0], ends[1] - ends[0], values, NULL),
            SONDE_OK);
        for (int64_t i = 0; i < 2 * keys; i++)
            assert_true(values[i] == capture_file_value(point, row, 64 * (i / keys) + i % keys));
    }
}

static void test_every_value(void **state)
{
    (void)state;
    static const capture_file_options layouts[] = {
        {.codec = SONDE_CODEC_DEFLATE},
        {.codec = SONDE_CODEC_RAW},
        {.codec = SONDE_CODEC_DEFLATE, .chunk_target_bytes = 64, .times = 30},
        {.codec = SONDE_CODEC_RAW, .chunk_target_bytes = 64, .times = 30},
        {.codec = SONDE_CODEC_DEFLATE, .times = 120},
    };
    for (size_t i = 0; i < SONDE_COUNT(layouts); i++) {
        write_file(layouts[i]);
        sonde_reader *reader = open_good(path);
        check_dense(reader, "embed", CAPTURE_EMBED);
        check_dense(reader, "blocks.0.attn.q", CAPTURE_Q);
        check_dense(reader, "blocks.0.resid_post", CAPTURE_RESID);
        check_dense(reader, "blocks.1.resid_pre", CAPTURE_RESID);
        check_dense(reader, "blocks.1.bits", CAPTURE_BITS);
        check_dense(reader, "blocks.1.experts", CAPTURE_EXPERTS);
        check_dense(reader, "final", CAPTURE_FINAL);
        check_ragged(reader, "blocks.0.attn.scores", CAPTURE_SCORES);
        check_ragged(reader, "blocks.0.attn.pattern", CAPTURE_PATTERN);
        sonde_reader_close(&reader);
    }
}

static void test_rows_and_labels(void **state)
{
    (void)state;
    enum { ROWS = 10 * CAPTURE_ROWS };
    uint64_t sequence[ROWS];
    uint32_t position[ROWS], token[ROWS];
    uint8_t phase[ROWS], segment[ROWS];
    float logprob[ROWS];
    const sonde_row_columns columns = {sequence, position, token, phase, segment, logprob};
    write_file((capture_file_options){.times = 10});
    sonde_reader *reader = open_good(path);
    assert_int_equal(sonde_reader_rows_read(reader, 0, ROWS, &columns, NULL), SONDE_OK);
    for (int64_t row = 0; row < ROWS; row++) {
        assert_int_equal(sequence[row], capture_file_sequence(row));
        assert_int_equal(position[row], capture_file_position(row));
        assert_int_equal(token[row], capture_file_token(row));
        assert_int_equal(phase[row], sequence[row] % 3 == 2 && position[row] >= 4);
        assert_int_equal(segment[row], row % 3);
        if (position[row] == 0) assert_true(isnan(logprob[row]));
        else assert_true(logprob[row] == -0.5f * (float)position[row]);
    }
    sonde_reader_close(&reader);
}

static void test_sequences_tokens_and_pieces(void **state)
{
    (void)state;
    sonde_sequence_info info;
    const uint32_t *tokens;
    const char *piece;
    int64_t n;
    size_t bytes;
    write_file((capture_file_options){.times = 2});
    sonde_reader *reader = open_good(path);
    assert_int_equal(sonde_reader_sequences(reader), 6);
    assert_int_equal(sonde_reader_sequence(reader, 5, &info, NULL), SONDE_OK);
    assert_int_equal(info.sequence, 5);
    assert_int_equal(info.row_start, CAPTURE_ROWS + 6);
    assert_int_equal(info.row_count, 7);
    assert_int_equal(info.n_prompt, 4);
    assert_int_equal(info.status, SONDE_SEQUENCE_STOPPED);
    assert_int_equal(info.last_token, 7);
    assert_true(info.last_logprob == -2.5f);
    assert_string_equal(info.id, "5");
    assert_false(info.id_is_given);
    assert_string_equal(info.text, "four and three more");
    assert_int_equal(sonde_reader_tokens(reader, 5, &tokens, &n, NULL), SONDE_OK);
    assert_int_equal(n, 7);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(tokens[i], capture_file_token(CAPTURE_ROWS + 6 + i));
    assert_int_equal(info.xxh3, sonde_hash64(tokens, 4 * sizeof *tokens));
    assert_int_equal(sonde_reader_sequence(reader, 1, &info, NULL), SONDE_OK);
    assert_string_equal(info.id, "given-1");
    assert_true(info.id_is_given);
    assert_int_equal(info.last_token, -1);
    assert_true(isnan(info.last_logprob));
    assert_int_equal(sonde_reader_piece(reader, 7, &piece, &bytes, NULL), SONDE_OK);
    assert_int_equal(bytes, 1);
    assert_int_equal((unsigned char)piece[0], 0xC3);
    assert_int_equal(sonde_reader_piece(reader, capture_file_token(3), &piece, &bytes, NULL),
                     SONDE_OK);
    assert_string_equal(piece, " t10");
    assert_int_equal(sonde_reader_piece(reader, 4000000000u, &piece, &bytes, NULL), SONDE_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(sonde_reader_sequence(reader, 6, &info, NULL), SONDE_USAGE);
    assert_int_equal(sonde_reader_tokens(reader, -1, &tokens, &n, NULL), SONDE_USAGE);
    sonde_reader_close(&reader);
}

static void test_tables(void **state)
{
    (void)state;
    double values[CAPTURE_WIDTH];
    int found = 0;
    write_file((capture_file_options){0});
    sonde_reader *reader = open_good(path);
    assert_int_equal(sonde_reader_table_count(reader), 2);
    for (int64_t i = 0; i < 2; i++) {
        sonde_table_info info;
        assert_int_equal(sonde_reader_table(reader, i, &info, NULL), SONDE_OK);
        assert_int_equal(sonde_reader_table_read(reader, i, values, NULL), SONDE_OK);
        if (strcmp(info.path, "moments/mean") == 0) {
            assert_int_equal(info.dtype, SONDE_DTYPE_F64);
            assert_int_equal(info.n_dims, 1);
            assert_int_equal(info.dims[0], CAPTURE_WIDTH);
            assert_true(values[1] == -1.25 && isnan(values[2]) && values[3] == 1e300);
            found |= 1;
        } else {
            assert_string_equal(info.path, "moments/count");
            assert_int_equal(info.n_dims, 0);
            assert_true(values[0] == CAPTURE_ROWS);
            found |= 2;
        }
    }
    assert_int_equal(found, 3);
    sonde_reader_close(&reader);
}

/* What a crash leaves: nothing is promised but an answer. */
static void test_an_unsealed_file_opens_or_is_refused(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    unlink(path);
    write_file((capture_file_options){.unsealed = true});
    assert_false(sonde_path_exists(path));
    sonde_status status = sonde_reader_open(part, &reader, &err);
    if (status == SONDE_OK) assert_false(sonde_reader_is_sealed(reader));
    else assert_int_equal(status, SONDE_BAD_CAPTURE);
    sonde_reader_close(&reader);
}

/* A sealed file whose attribute says that it is not. */
static void test_unsealed_counts_may_disagree(void **state)
{
    (void)state;
    float values[12];
    write_file((capture_file_options){0});
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    int64_t zero = 0;
    assert_true(H5Adelete(file, "sealed") >= 0);
    h5_put_number(file, "/", "sealed", H5T_NATIVE_INT64, &zero);
    hid_t set = H5Dopen2(file, "/rows/token", H5P_DEFAULT);
    assert_true(H5Dset_extent(set, (const hsize_t[]){11}) >= 0);
    H5Dclose(set);
    H5Fclose(file);
    sonde_reader *reader = open_good(path);
    assert_false(sonde_reader_is_sealed(reader));
    assert_false(sonde_reader_is_complete(reader));
    assert_int_equal(sonde_reader_rows(reader), 11);
    sonde_point_info info;
    assert_int_equal(sonde_reader_point(reader, 0, &info, NULL), SONDE_OK);
    assert_int_equal(info.rows, 11);
    assert_int_equal(sonde_reader_read(reader, 0, 9, 2, values, NULL), SONDE_OK);
    assert_int_equal(sonde_reader_read(reader, 0, 9, 3, values, NULL), SONDE_USAGE);
    sonde_reader_close(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_of_a_sealed_capture),
        cmocka_unit_test(test_points_in_execution_order),
        cmocka_unit_test(test_every_value),
        cmocka_unit_test(test_rows_and_labels),
        cmocka_unit_test(test_sequences_tokens_and_pieces),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_an_unsealed_file_opens_or_is_refused),
        cmocka_unit_test(test_unsealed_counts_may_disagree),
    };
    return cmocka_run_group_tests_name("reader, whole captures", tests, make_path, remove_path);
}
