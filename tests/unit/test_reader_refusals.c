/* What the reader refuses, and how it says so. */
#include "sonde/reader.h"

#include "tests/support/h5_file.h"

#include <libdeflate.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[256];

static int make_path(void **state)
{
    (void)state;
    h5_temporary("reader.h5", path);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static sonde_reader *open_good(void)
{
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    if (sonde_reader_open(path, &reader, &err) != SONDE_OK) fail_msg("%s", err.message);
    return reader;
}

/* Opening fails with BAD_CAPTURE and a message that holds every given part. */
static void refuse(const char *part, const char *other)
{
    sonde_error err = {0};
    sonde_reader *reader = NULL;
    sonde_status status = sonde_reader_open(path, &reader, &err);
    assert_null(reader);
    if (status != SONDE_BAD_CAPTURE) fail_msg("status %d: %s", status, err.message);
    if (!strstr(err.message, part)) fail_msg("no '%s' in: %s", part, err.message);
    if (other && !strstr(err.message, other)) fail_msg("no '%s' in: %s", other, err.message);
}

static void put_ragged(hid_t file, const uint64_t *indptr, int64_t n_indptr, int64_t n_data)
{
    float values[64];
    int32_t heads = 2;
    for (int i = 0; i < 64; i++) values[i] = (float)i;
    h5_put(file, "/activations/g/data", H5T_NATIVE_FLOAT, 1, &n_data, values, NULL);
    h5_put(file, "/activations/g/indptr", H5T_NATIVE_UINT64, 1, &n_indptr, indptr, NULL);
    h5_put_number(file, "/activations/g", "heads", H5T_NATIVE_INT32, &heads);
}

static void test_ragged_offsets_are_checked(void **state)
{
    (void)state;
    static const uint64_t falling[] = {0, 6, 2, 6, 12, 20}, past[] = {0, 2, 6, 6, 12, 21};
    static const uint64_t late[] = {1, 2, 6, 6, 12, 20}, wild[] = {0, 2, UINT64_MAX, 6, 12, 20};
    const uint64_t *const cases[] = {falling, past, late, wild};
    for (size_t c = 0; c < SONDE_COUNT(cases); c++) {
        hid_t file = h5_create(path, true);
        h5_put_rows(file, 5);
        put_ragged(file, cases[c], 6, 20);
        H5Fclose(file);
        if (c == 1) refuse("/activations/g/indptr", "entry 5 is 21: expected 0 to 20");
        if (c == 2) refuse("/activations/g/indptr", "found 1 to 20");
        if (c == 1 || c == 2) continue;
        sonde_error err = {0};
        uint64_t indptr[6];
        sonde_reader *reader = open_good();
        assert_int_equal(sonde_reader_ragged_rows(reader, 0, 0, 5, indptr, NULL, &err),
                         SONDE_BAD_CAPTURE);
        assert_non_null(
            strstr(err.message, c == 0 ? "entry 1 is 6, the next 2" : "entry 2 is 184"));
        assert_non_null(strstr(err.message, "/activations/g/indptr"));
        sonde_reader_close(&reader);
    }
    hid_t file = h5_create(path, true);
    h5_put_rows(file, 4);
    put_ragged(file, (const uint64_t[]){0, 2, 6, 6, 12, 20}, 6, 20);
    H5Fclose(file);
    refuse("/activations/g", "expected 4 rows as /rows has, found 5");
}

static void test_refuses_what_is_no_file(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_reader *reader;
    assert_int_equal(sonde_reader_open("/nowhere/x.h5", &reader, &err), SONDE_BAD_FILE);
    assert_non_null(strstr(err.message, "/nowhere/x.h5"));
    assert_int_equal(sonde_reader_open("/tmp", &reader, &err), SONDE_BAD_FILE);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fclose(out);
    refuse("empty", path);
    out = fopen(path, "w");
    assert_non_null(out);
    fputs("not a capture, but long enough to look at it for a signature of HDF5\n", out);
    fclose(out);
    refuse("HDF5 cannot open it", "signature");
}

static void test_refuses_truncated(void **state)
{
    (void)state;
    h5_minimal(path, 10);
    char *data;
    size_t bytes;
    assert_int_equal(sonde_read_file(path, 1 << 20, &data, &bytes, NULL), SONDE_OK);
    for (size_t keep = 1; keep < bytes; keep += 97) {
        assert_int_equal(truncate(path, (off_t)keep), 0);
        refuse("HDF5 cannot open it", path);
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        assert_int_equal(fwrite(data, 1, bytes, out), bytes);
        fclose(out);
    }
    sonde_free(data);
}

/* Changes one thing in a good file. */
typedef void spoil(hid_t file);
typedef struct hostile {
    spoil *change;
    const char *part, *other;
} hostile;

static void replace(hid_t file, const char *object, hid_t type, int n_dims, const int64_t *dims)
{
    static const double zeros[64] = {0};
    H5Ldelete(file, object, H5P_DEFAULT);
    h5_put(file, object, type, n_dims, dims, zeros, NULL);
}

static void no_version(hid_t f)
{
    H5Adelete(f, "format_version");
}
static void text_version(hid_t f)
{
    no_version(f);
    h5_put_text(f, "/", "format_version", "one");
}
static void later_version(hid_t f)
{
    int8_t version = 2;
    no_version(f);
    h5_put_number(f, "/", "format_version", H5T_NATIVE_INT8, &version);
}
static void other_format(hid_t f)
{
    h5_put_text(f, "/", "format", "zarr");
}
static void text_sealed(hid_t f)
{
    h5_put_text(f, "/", "sealed", "yes");
}
static void no_token(hid_t f)
{
    H5Ldelete(f, "/rows/token", H5P_DEFAULT);
}
static void no_rows(hid_t f)
{
    H5Ldelete(f, "/rows", H5P_DEFAULT);
}
static void no_points(hid_t f)
{
    H5Ldelete(f, "/activations", H5P_DEFAULT);
}
static void float_token(hid_t f)
{
    replace(f, "/rows/token", H5T_NATIVE_DOUBLE, 1, (const int64_t[]){10});
}
static void short_token(hid_t f)
{
    replace(f, "/rows/token", H5T_NATIVE_INT32, 1, (const int64_t[]){9});
}
static void square_token(hid_t f)
{
    replace(f, "/rows/token", H5T_NATIVE_INT32, 2, (const int64_t[]){10, 1});
}
static void group_token(hid_t f)
{
    no_token(f);
    H5Gclose(H5Gcreate2(f, "/rows/token", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}
static void text_token(hid_t f)
{
    replace(f, "/rows/token", H5T_C_S1, 1, (const int64_t[]){10});
}
static void short_point(hid_t f)
{
    replace(f, "/activations/p", H5T_NATIVE_FLOAT, 2, (const int64_t[]){9, 4});
}
static void scalar_point(hid_t f)
{
    replace(f, "/activations/p", H5T_NATIVE_FLOAT, 0, NULL);
}
static void text_point(hid_t f)
{
    replace(f, "/activations/p", H5T_C_S1, 1, (const int64_t[]){10});
}
static void control_point(hid_t f)
{
    h5_put(f, "/activations/a\x1B[2J", H5T_NATIVE_FLOAT, 1, (const int64_t[]){10}, NULL, NULL);
}
static void doubled_point(hid_t f)
{
    h5_put(f, "/activations/a/b", H5T_NATIVE_FLOAT, 1, (const int64_t[]){10}, NULL, NULL);
    h5_put(f, "/activations/a.b", H5T_NATIVE_FLOAT, 1, (const int64_t[]){10}, NULL, NULL);
}
static void circle(hid_t f)
{
    hid_t group = H5Gcreate2(f, "/activations/g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(f, "/activations", group, "again", H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(group);
}
static void soft_circle(hid_t f)
{
    H5Lcreate_soft("/activations/b", f, "/activations/a", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/activations/a", f, "/activations/b", H5P_DEFAULT, H5P_DEFAULT);
}
static void outside_link(hid_t f)
{
    H5Lcreate_external(path, "/activations/p", f, "/activations/q", H5P_DEFAULT, H5P_DEFAULT);
}
static void outside_data(hid_t f)
{
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(2, (const hsize_t[]){10, 4}, NULL);
    H5Pset_external(create, "/etc/passwd", 0, 160);
    H5Dclose(
        H5Dcreate2(f, "/activations/q", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, create, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(create);
}
static void huge_point(hid_t f)
{
    const h5_layout layout = {.chunk = {1, 4}};
    no_rows(f);
    for (int i = 0; i < 3; i++)
        h5_put(f,
               i == 0   ? "/rows/sequence"
               : i == 1 ? "/rows/position"
                        : "/rows/token",
               H5T_NATIVE_INT32, 1, (const int64_t[]){(int64_t)1 << 60}, NULL, &layout);
}
static void overflowing_point(hid_t f)
{
    const h5_layout layout = {.chunk = {1, 4}};
    h5_put(f, "/activations/q", H5T_NATIVE_FLOAT, 2,
           (const int64_t[]){(int64_t)1 << 40, (int64_t)1 << 40}, NULL, &layout);
}
static void number_order(hid_t f)
{
    int32_t one = 1;
    h5_put_number(f, "/activations", "order", H5T_NATIVE_INT32, &one);
}
static void missing_order(hid_t f)
{
    h5_put_text(f, "/activations", "order", "q");
}
static void number_manifest(hid_t f)
{
    int32_t one = 1;
    h5_put(f, "/manifest", H5T_NATIVE_INT32, 0, NULL, &one, NULL);
}
static void group_rowmap(hid_t f)
{
    H5Gclose(H5Gcreate2(f, "/rowmap", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(H5Gcreate2(f, "/rowmap/p", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void test_refuses_by_name(void **state)
{
    (void)state;
    static const hostile cases[] = {
        {no_version, "format_version", "found none"},
        {text_version, "format_version", "found one"},
        {later_version, "format_version is 2", "reads 1"},
        {other_format, "zarr", "sonde-capture"},
        {text_sealed, "sealed", "found yes"},
        {no_token, "/rows/token", "found nothing"},
        {no_rows, "/rows/sequence", "found nothing"},
        {no_points, "/activations", "found nothing"},
        {float_token, "/rows/token", "expected whole numbers, found f64"},
        {short_token, "/rows/token", "expected 10 entries as /rows/sequence has, found 9"},
        {square_token, "/rows/token", "expected 1 dimension, found 2"},
        {group_token, "/rows/token", "found a group"},
        {text_token, "/rows/token", "expected numbers"},
        {short_point, "/activations/p", "expected 10 rows as /rows has, found 9"},
        {scalar_point, "/activations/p", "found one number"},
        {text_point, "/activations/p", "expected numbers"},
        {control_point, "/activations", "no readable text"},
        {doubled_point, "/activations", "two points are called a.b"},
        {circle, "nested more than", NULL},
        {soft_circle, "/activations/a", "leads nowhere"},
        {outside_link, "/activations/q", "into another file"},
        {outside_data, "/activations/q", "other files"},
        {huge_point, "/rows/sequence", "only 0 bytes are stored"},
        {overflowing_point, "/activations/q", "2^63"},
        {number_order, "/activations", "order: expected a list of texts"},
        {missing_order, "its order names q, which is not there", NULL},
        {number_manifest, "/manifest", "expected one text"},
        {group_rowmap, "/rowmap/p", "found a group"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        h5_minimal(path, 10);
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(file >= 0);
        cases[i].change(file);
        H5Fclose(file);
        refuse(cases[i].part, cases[i].other);
        assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    }
}

static void test_negative_values_are_refused_where_they_are(void **state)
{
    (void)state;
    int32_t token[10] = {0, 1, 2, -3};
    uint32_t read[10];
    sonde_error err = {0};
    h5_minimal(path, 10);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    no_token(file);
    h5_put(file, "/rows/token", H5T_NATIVE_INT32, 1, (const int64_t[]){10}, token, NULL);
    H5Fclose(file);
    sonde_reader *reader = open_good();
    sonde_row_columns columns = {.token = read};
    assert_int_equal(sonde_reader_rows_read(reader, 0, 3, &columns, &err), SONDE_OK);
    assert_int_equal(sonde_reader_rows_read(reader, 0, 4, &columns, &err), SONDE_BAD_CAPTURE);
    assert_non_null(strstr(err.message, "/rows/token: entry 3 is -3: expected 0 to 4294967295"));
    sonde_reader_close(&reader);
}

/* A chunk whose bytes are no deflate stream, one of another length, one that is not there. */
static void test_bad_chunks_are_named(void **state)
{
    (void)state;
    static const char *const expected[] = {"damaged", "another length", "not in the file",
                                           "expected 64 bytes, found 63"};
    float values[16] = {0}, read[40];
    uint8_t encoded[256] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(1);
    for (int c = 0; c < 4; c++) {
        const h5_layout layout = {.chunk = {4, 4}, .deflate = true};
        const hsize_t offset[2] = {4, 0};
        hid_t file = h5_create(path, true);
        h5_put_rows(file, 10);
        h5_put(file, "/activations/p", H5T_NATIVE_FLOAT, 2, (const int64_t[]){10, 4}, NULL,
               &layout);
        hid_t set = H5Dopen2(file, "/activations/p", H5P_DEFAULT);
        for (hsize_t row = 0; row < 12; row += 4)
            assert_true(
                H5Dwrite_chunk(set, H5P_DEFAULT, 1, (const hsize_t[]){row, 0}, 64, values) >= 0);
        size_t bytes = c == 0 ? 8 : 63;
        if (c == 1) bytes = libdeflate_zlib_compress(deflate, values, 32, encoded, sizeof encoded);
        if (c == 2) {
            H5Dset_extent(set, (const hsize_t[]){4, 4});
            H5Dset_extent(set, (const hsize_t[]){10, 4});
        } else {
            assert_true(bytes > 0 &&
                        H5Dwrite_chunk(set, H5P_DEFAULT, c == 3, offset, bytes, encoded) >= 0);
        }
        H5Dclose(set);
        H5Fclose(file);
        sonde_error err = {0};
        sonde_reader *reader = open_good();
        assert_int_equal(sonde_reader_read(reader, 0, 0, 4, read, &err), SONDE_OK);
        assert_int_equal(sonde_reader_read(reader, 0, 0, 10, read, &err), SONDE_BAD_CAPTURE);
        if (!strstr(err.message, expected[c])) fail_msg("%s", err.message);
        assert_non_null(strstr(err.message, "/activations/p: chunk 1"));
        assert_int_equal(sonde_reader_read(reader, 0, 0, 4, read, &err), SONDE_OK);
        sonde_reader_close(&reader);
    }
    libdeflate_free_compressor(deflate);
}

static void test_no_memory_is_reported(void **state)
{
    (void)state;
    float read[40];
    h5_minimal(path, 10);
    for (long n = 0; n < 500; n++) {
        sonde_error err = {0};
        sonde_reader *reader = NULL;
        sonde_alloc_fail_after(n);
        sonde_status status = sonde_reader_open(path, &reader, &err);
        if (status == SONDE_OK) status = sonde_reader_read(reader, 0, 0, 10, read, &err);
        sonde_alloc_fail_after(-1);
        sonde_reader_close(&reader);
        assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
        if (status == SONDE_OK) return;
        assert_true(err.message[0] != '\0');
    }
    fail_msg("still no success after 500 allocations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ragged_offsets_are_checked),
        cmocka_unit_test(test_refuses_what_is_no_file),
        cmocka_unit_test(test_refuses_truncated),
        cmocka_unit_test(test_refuses_by_name),
        cmocka_unit_test(test_negative_values_are_refused_where_they_are),
        cmocka_unit_test(test_bad_chunks_are_named),
        cmocka_unit_test(test_no_memory_is_reported),
    };
    return cmocka_run_group_tests_name("reader, refusals", tests, make_path, remove_path);
}
