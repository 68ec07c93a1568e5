/*
 * What can go wrong under a store: no room for the file (RLIMIT_FSIZE stands for a full disk), no
 * memory, outputs that cannot be. What was acknowledged is sealed and reads back.
 */
#include "sonde/reader.h"
#include "tests/support/capture_case.h"
#include "tests/support/h5_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[256], part[300];

static int make_path(void **state)
{
    (void)state;
    h5_fresh("faults.h5", path, part);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    h5_remove(path, part);
    return 0;
}

static void limit_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* ---- a full disk ----------------------------------------------------------------------------- */

/* Rows that a sealed file has are right, in every point. */
static int64_t check_sealed(int64_t rows)
{
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    if (sonde_reader_open(path, &reader, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_false(sonde_reader_is_complete(reader));
    assert_int_equal(sonde_reader_rows(reader), rows);
    int64_t dense = sonde_reader_find(reader, "blocks.0.resid_post");
    for (int64_t row = 0; row < rows; row += 1 + rows / 300) {
        uint16_t values[CAPTURE_WIDTH];
        uint64_t sequence;
        sonde_row_columns columns = {.sequence = &sequence};
        if (sonde_reader_read_raw(reader, dense, row, 1, values, &err) != SONDE_OK)
            fail_msg("%s", err.message);
        for (int64_t c = 0; c < CAPTURE_WIDTH; c++) assert_int_equal(values[c], case_bf16(row, c));
        if (sonde_reader_rows_read(reader, row, 1, &columns, &err) != SONDE_OK)
            fail_msg("row %lld: %s", (long long)row, err.message);
    }
    int64_t sequences = sonde_reader_sequences(reader), end = 0;
    for (int64_t i = 0; i < sequences; i++) {
        sonde_sequence_info info;
        if (sonde_reader_sequence(reader, i, &info, &err) != SONDE_OK)
            fail_msg("sequence %lld: %s", (long long)i, err.message);
        end = (int64_t)info.row_start + info.row_count;
    }
    assert_int_equal(end, rows);
    sonde_reader_close(&reader);
    return sequences;
}

/* As a job does it: put until it fails, then seal what is safe. Returns sequences in the file, or -1
 * when nothing could be written at all. */
static int64_t capture_within(rlim_t limit, sonde_codec codec, sonde_status *status)
{
    sonde_error err = {0}, first = {0};
    capture_run run;
    int64_t rows = 0, sequences = 0, found = -1;
    capture_case spec = {.path = path, .codec = codec, .overwrite = true, .sequences = 1500,
                         .chunk_target_bytes = 8192, .no_meta = false};
    limit_size(limit);
    *status = case_open(&spec, &run, &first);
    if (*status == SONDE_OK) *status = case_put(&spec, &run, &first);
    if (*status == SONDE_OK) *status = case_describe(&run, &first);
    if (*status == SONDE_OK) *status = sonde_schema_seal(run.schema, true, -1, -1, &first);
    bool complete = *status == SONDE_OK;
    if (!complete && run.schema && !sonde_store_is_sealed(run.store) &&
        sonde_schema_safe_rows(run.schema, &rows, &sequences, &err) == SONDE_OK) {
        case_describe(&run, &err);
        sonde_schema_seal(run.schema, false, rows, sequences, &err);
    }
    bool sealed = run.store && sonde_store_is_sealed(run.store);
    case_close(&run, true);
    limit_size(RLIM_INFINITY);
    if (!complete) {
        assert_int_equal(*status, SONDE_DISK_FULL);
        assert_int_equal(first.status, SONDE_DISK_FULL);
        assert_non_null(strstr(first.message, path));
        assert_non_null(strstr(first.message, "more are needed"));
    }
    if (sealed && !complete) {
        sonde_reader *reader = NULL;
        assert_int_equal(sonde_reader_open(path, &reader, &err), SONDE_OK);
        rows = sonde_reader_rows(reader);
        sonde_reader_close(&reader);
        found = check_sealed(rows);
    }
    if (!sealed) assert_int_not_equal(access(part, F_OK), 0);
    return complete ? 1500 : found;
}

static void test_a_full_disk_keeps_whole_sequences(void **state)
{
    (void)state;
    int64_t most = 0, last = 0;
    for (sonde_codec codec = SONDE_CODEC_DEFLATE; codec <= SONDE_CODEC_RAW; codec++) {
        for (rlim_t limit = 1 << 18; limit <= 16 << 20; limit += limit / 2) {
            sonde_status status;
            last = capture_within(limit, codec, &status);
            if (status != SONDE_OK) most = SONDE_MAX(most, last);
        }
        assert_int_equal(last, 1500);
    }
    assert_true(most > 500);
}

static void test_a_full_disk_does_not_hang_many_threads(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_store *store = NULL;
    sonde_store_options options = {.path = path, .codec_threads = 4, .queue_bytes = 1 << 16,
                                   .no_sync = true};
    sonde_dataset_spec spec = {.path = "d", .dtype = SONDE_DTYPE_U8, .codec = SONDE_CODEC_RAW,
                               .chunk_rows = 16384};
    uint8_t bytes[16384] = {1};
    int32_t id;
    limit_size(1 << 20);
    assert_int_equal(sonde_store_create(&options, &store, &err), SONDE_OK);
    assert_int_equal(sonde_store_declare(store, &spec, &id, &err), SONDE_OK);
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; status == SONDE_OK && i < 1000; i++)
        status = sonde_store_put(store, id, i * 16384, 16384, bytes, &err);
    assert_int_equal(status, SONDE_DISK_FULL);
    assert_int_equal(sonde_store_put(store, id, 0, 1, bytes, &err), SONDE_DISK_FULL);
    assert_int_equal(sonde_store_seal(store, true, NULL, &err), SONDE_DISK_FULL);
    assert_true(sonde_store_is_sealed(store));
    sonde_store_destroy(&store, true);
    limit_size(RLIM_INFINITY);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- outputs that cannot be ------------------------------------------------------------------ */

static sonde_status create(const char *where, bool overwrite, sonde_error *err)
{
    sonde_store *store = NULL;
    sonde_store_options options = {.path = where, .overwrite = overwrite, .no_sync = true};
    sonde_status status = sonde_store_create(&options, &store, err);
    sonde_store_destroy(&store, true);
    return status;
}

static void touch(const char *name)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fclose(file);
}

/* Metadata that wait for the seal count as what will be written: they stop a run before it is too
 * late to write them. */
static void test_a_disk_full_of_metadata(void **state)
{
    (void)state;
    sonde_error err = {0}, first = {0};
    sonde_schema *schema = NULL;
    sonde_store *store = NULL;
    sonde_store_options options = {.path = path, .no_sync = true};
    char text[2001] = {0};
    int64_t rows, sequences;
    memset(text, 'x', sizeof text - 1);
    limit_size(2 << 20);
    assert_int_equal(sonde_store_create(&options, &store, &err), SONDE_OK);
    sonde_schema_options named = {.model = "m"};
    assert_int_equal(sonde_schema_create(store, &named, &schema, &err), SONDE_OK);
    for (int64_t i = 0; first.status == SONDE_OK && i < 10000; i++) {
        json_t *meta = json_pack("{s:s, s:I}", "text", text, "i", (json_int_t)i);
        sonde_schema_sequence s = {.sequence = (uint64_t)i, .last_token = -1, .meta = meta};
        sonde_schema_add_sequence(schema, &s, &first);
        json_decref(meta);
    }
    assert_int_equal(first.status, SONDE_DISK_FULL);
    assert_non_null(strstr(first.message, path));
    assert_int_equal(sonde_schema_safe_rows(schema, &rows, &sequences, &err), SONDE_OK);
    assert_true(sequences > 100);
    assert_int_equal(sonde_schema_seal(schema, false, rows, sequences, &err), SONDE_DISK_FULL);
    assert_true(sonde_store_is_sealed(store));
    sonde_schema_destroy(&schema);
    sonde_store_destroy(&store, true);
    limit_size(RLIM_INFINITY);
    sonde_reader *reader = NULL;
    assert_int_equal(sonde_reader_open(path, &reader, &err), SONDE_OK);
    assert_int_equal(sonde_reader_sequences(reader), sequences);
    sonde_reader_close(&reader);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t set = H5Dopen2(file, "sequences/meta/i", H5P_DEFAULT);
    int64_t *numbers = sonde_alloc((size_t)sequences, sizeof *numbers);
    assert_true(H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    for (int64_t i = 0; i < sequences; i++) assert_int_equal(numbers[i], i);
    sonde_free(numbers);
    H5Dclose(set);
    H5Fclose(file);
}

static void test_outputs_that_are_there(void **state)
{
    (void)state;
    sonde_error err = {0};
    touch(path);
    assert_int_equal(create(path, false, &err), SONDE_EXISTS);
    assert_non_null(strstr(err.message, "--overwrite"));
    assert_int_not_equal(access(part, F_OK), 0);
    assert_int_equal(create(path, true, &err), SONDE_OK);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    touch(part);
    assert_int_equal(create(path, false, &err), SONDE_EXISTS);
    assert_int_equal(access(part, F_OK), 0);
    assert_int_equal(create(path, true, &err), SONDE_OK);
    assert_int_equal(create("/tmp", true, &err), SONDE_EXISTS);
    assert_int_equal(create("/no/such/folder/a.h5", false, &err), SONDE_IO);
    assert_non_null(strstr(err.message, "/no/such/folder/a.h5.part"));
}

static void test_a_file_in_use_is_not_taken(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_store *store = NULL;
    sonde_store_options options = {.path = path, .overwrite = true, .no_sync = true};
    assert_int_equal(sonde_store_create(&options, &store, &err), SONDE_OK);
    assert_int_equal(create(path, true, &err), SONDE_EXISTS);
    assert_non_null(strstr(err.message, "being written"));
    sonde_store_destroy(&store, true);
}

/* An output that appears while another is written is not replaced, and nothing is lost. */
static void test_an_output_that_appears_meanwhile(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_store *store = NULL;
    struct stat info;
    sonde_store_options options = {.path = path, .no_sync = true};
    assert_int_equal(sonde_store_create(&options, &store, &err), SONDE_OK);
    touch(path);
    assert_int_equal(sonde_store_seal(store, true, NULL, &err), SONDE_EXISTS);
    sonde_store_destroy(&store, false);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 0);
    assert_int_equal(access(part, F_OK), 0);
}

static void test_unwritable_folder(void **state)
{
    (void)state;
    char folder[280], inside[300];
    sonde_error err = {0};
    if (geteuid() == 0) {
        print_message("root may write into any folder\n");
        skip();
    }
    snprintf(folder, sizeof folder, "%s.d", path);
    snprintf(inside, sizeof inside, "%s/a.h5", folder);
    assert_int_equal(mkdir(folder, 0500), 0);
    assert_int_equal(create(inside, false, &err), SONDE_IO);
    assert_non_null(strstr(err.message, "Permission denied"));
    rmdir(folder);
}

static void test_destroy_without_a_seal(void **state)
{
    (void)state;
    for (int discard = 0; discard <= 1; discard++) {
        sonde_error err = {0};
        capture_run run;
        capture_case spec = {.path = path, .sequences = 5, .overwrite = true};
        assert_int_equal(case_open(&spec, &run, &err), SONDE_OK);
        assert_int_equal(case_put(&spec, &run, &err), SONDE_OK);
        case_close(&run, discard);
        assert_int_equal(access(part, F_OK) != 0, discard);
        assert_int_not_equal(access(path, F_OK), 0);
    }
}

/* ---- no memory ------------------------------------------------------------------------------- */

/* The n-th allocation fails, and all later ones: an error, or a file that is good. */
static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    sonde_status status = SONDE_NO_MEMORY;
    for (long n = 0; status != SONDE_OK; n += 1 + n / 40) {
        sonde_error err = {0};
        capture_case spec = {.path = path, .sequences = 4, .overwrite = true,
                             .chunk_target_bytes = 1024};
        assert_true(n < 100000);
        sonde_alloc_fail_after(n);
        status = case_write(&spec, &err);
        sonde_alloc_fail_after(-1);
        if (status != SONDE_OK) assert_true(status == SONDE_NO_MEMORY || status == SONDE_IO);
        assert_int_not_equal(access(part, F_OK), 0);
    }
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    assert_int_equal(sonde_reader_open(path, &reader, &err), SONDE_OK);
    assert_true(sonde_reader_is_complete(reader));
    sonde_reader_close(&reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)
    const struct CMUnitTest tests[] = {
        TEST(test_a_full_disk_keeps_whole_sequences),
        TEST(test_a_full_disk_does_not_hang_many_threads),
        TEST(test_a_disk_full_of_metadata),
        TEST(test_outputs_that_are_there),
        TEST(test_a_file_in_use_is_not_taken),
        TEST(test_an_output_that_appears_meanwhile),
        TEST(test_unwritable_folder),
        TEST(test_destroy_without_a_seal),
        TEST(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("store, faults", tests, NULL, NULL);
}
