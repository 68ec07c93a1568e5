/* The reader on files that plain HDF5 wrote: every type and layout. */
#include "sonde/reader.h"
#include "tests/support/h5_file.h"

#include <math.h>
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

/* --- minimal captures --- */

static void test_open_minimal(void **state)
{
    (void)state;
    h5_minimal(path, 10);
    sonde_reader *reader = open_good();
    assert_true(sonde_reader_is_minimal(reader));
    assert_true(sonde_reader_is_sealed(reader));
    assert_string_equal(sonde_reader_path(reader), path);
    assert_string_equal(sonde_reader_attr(reader, "format_version"), "1");
    assert_null(sonde_reader_attr(reader, "model"));
    assert_null(sonde_reader_manifest(reader));
    assert_int_equal(sonde_reader_rows(reader), 10);
    assert_int_equal(sonde_reader_sequences(reader), 0);
    assert_int_equal(sonde_reader_table_count(reader), 0);
    assert_true(sonde_reader_file_bytes(reader) > 160);
    uint64_t sequence[3];
    uint32_t position[3], token[3];
    uint8_t phase[3] = {9, 9, 9};
    float logprob[3];
    sonde_row_columns columns = {.sequence = sequence,
                                 .position = position,
                                 .token = token,
                                 .phase = phase,
                                 .segment = NULL,
                                 .logprob = logprob};
    assert_int_equal(sonde_reader_rows_read(reader, 4, 3, &columns, NULL), SONDE_OK);
    assert_int_equal(sequence[0], 0);
    assert_int_equal(sequence[1], 1);
    assert_int_equal(position[0], 4);
    assert_int_equal(position[2], 1);
    assert_int_equal(token[2], 106);
    assert_int_equal(phase[1], 0);
    assert_true(isnan(logprob[0]));
    sonde_reader_close(&reader);
    assert_null(reader);
    sonde_reader_close(&reader);
}

static void test_read_gives_any_rows(void **state)
{
    (void)state;
    float values[40];
    uint64_t map[2];
    sonde_error err = {0};
    h5_minimal(path, 10);
    sonde_reader *reader = open_good();
    for (int64_t first = 0; first <= 10; first++)
        for (int64_t n = 0; n <= 10 - first; n++) {
            assert_int_equal(sonde_reader_read(reader, 0, first, n, values, &err), SONDE_OK);
            for (int64_t i = 0; i < 4 * n; i++) assert_true(values[i] == (float)(4 * first + i));
        }
    assert_int_equal(sonde_reader_rowmap(reader, 0, 7, 2, map, NULL), SONDE_OK);
    assert_int_equal(map[1], 8);
    assert_int_equal(sonde_reader_read(reader, 0, 8, 3, values, &err), SONDE_USAGE);
    assert_int_equal(sonde_reader_read(reader, 0, -1, 1, values, &err), SONDE_USAGE);
    assert_int_equal(sonde_reader_read(reader, 0, INT64_MAX, INT64_MAX, values, &err), SONDE_USAGE);
    assert_int_equal(sonde_reader_read(reader, 1, 0, 1, values, &err), SONDE_USAGE);
    assert_int_equal(sonde_reader_ragged_read(reader, 0, 0, 1, values, &err), SONDE_USAGE);
    assert_non_null(strstr(err.message, "not ragged"));
    assert_int_equal(sonde_reader_rows_read(reader, 0, 11, &(sonde_row_columns){0}, &err),
                     SONDE_USAGE);
    sonde_reader_close(&reader);
}

static void test_points_in_natural_or_given_order(void **state)
{
    (void)state;
    static const char *const names[] = {"blocks.10.x", "blocks.2.x", "blocks/2/a", "embed"};
    static const char *const natural[] = {"blocks.2.a", "blocks.2.x", "blocks.10.x", "embed"};
    static const char *const given[] = {"embed", "blocks.10.x", "blocks.2.a", "blocks.2.x"};
    const char order[2][12] = {"embed", "blocks.10.x"};
    float values[10] = {0};
    for (int ordered = 0; ordered < 2; ordered++) {
        hid_t file = h5_create(path, ordered == 0);
        h5_put_rows(file, 10);
        for (size_t i = 0; i < SONDE_COUNT(names); i++) {
            char full[64];
            snprintf(full, sizeof full, "/activations/%s", names[i]);
            h5_put(file, full, H5T_NATIVE_FLOAT, 1, (const int64_t[]){10}, values, NULL);
        }
        if (ordered) {
            hid_t type = H5Tcopy(H5T_C_S1);
            H5Tset_size(type, 12);
            h5_put(file, "/activations/order", type, 1, (const int64_t[]){2}, order, NULL);
            H5Tclose(type);
        }
        H5Fclose(file);
        sonde_reader *reader = open_good();
        assert_int_equal(sonde_reader_point_count(reader), 4);
        for (int64_t i = 0; i < 4; i++) {
            sonde_point_info info;
            assert_int_equal(sonde_reader_point(reader, i, &info, NULL), SONDE_OK);
            assert_string_equal(info.name, ordered ? given[i] : natural[i]);
            assert_int_equal(sonde_reader_find(reader, info.name), i);
            assert_int_equal(info.n_dims, 0);
            assert_int_equal(info.width, 1);
        }
        assert_int_equal(sonde_reader_find(reader, "nothing"), -1);
        sonde_reader_close(&reader);
    }
}

/* --- types --- */

static hid_t small_float(size_t exponent_bits, size_t bias)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    size_t mantissa_bits = 15 - exponent_bits;
    H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, bias);
    return type;
}

/* Every 16-bit pattern as stored, against the definition. */
static void test_read_every_pattern_of_small_floats(void **state)
{
    (void)state;
    enum { ROWS = 256 };
    static uint16_t patterns[65536];
    static float values[65536];
    for (uint32_t i = 0; i < 65536; i++) patterns[i] = (uint16_t)i;
    for (int half = 0; half < 2; half++) {
        hid_t type = half ? small_float(5, 15) : small_float(8, 127);
        const h5_layout layout = {.chunk = {64, 256}, .shuffle = half, .deflate = true};
        hid_t file = h5_create(path, true);
        h5_put_rows(file, ROWS);
        h5_put(file, "/activations/p", type, 2, (const int64_t[]){ROWS, 256}, patterns, &layout);
        H5Fclose(file);
        H5Tclose(type);
        sonde_reader *reader = open_good();
        sonde_point_info info;
        sonde_reader_point(reader, 0, &info, NULL);
        assert_int_equal(info.stored, half ? SONDE_DTYPE_F16 : SONDE_DTYPE_BF16);
        assert_string_equal(info.codec, "deflate");
        assert_int_equal(sonde_reader_read(reader, 0, 0, ROWS, values, NULL), SONDE_OK);
        for (uint32_t i = 0; i < 65536; i++) {
            uint32_t bits, mantissa_bits = half ? 10 : 7, most = half ? 31 : 255;
            uint32_t exponent = (i & 0x7FFF) >> mantissa_bits,
                     fraction = i & ((1u << mantissa_bits) - 1);
            memcpy(&bits, &values[i], sizeof bits);
            assert_int_equal(bits >> 31, i >> 15);
            if (exponent == most) {
                assert_int_equal(bits & 0x7FFFFFFF, 0x7F800000u | fraction << (23 - mantissa_bits));
                continue;
            }
            double value = ldexp(fraction + (exponent ? ldexp(1, (int)mantissa_bits) : 0),
                                 (int)SONDE_MAX(exponent, 1) - (half ? 25 : 134));
            assert_true(fabs((double)values[i]) == value);
        }
        sonde_reader_close(&reader);
    }
}

typedef struct number_case {
    hid_t stored;
    sonde_dtype dtype;
} number_case;

/* Any number type, of either byte order, as a point and as a column. */
static void test_read_every_number_type(void **state)
{
    (void)state;
    const number_case cases[] = {
        {H5T_STD_I8LE, SONDE_DTYPE_I8},        {H5T_STD_U8BE, SONDE_DTYPE_U8},
        {H5T_STD_I16LE, SONDE_DTYPE_I16},      {H5T_STD_I16BE, SONDE_DTYPE_I16},
        {H5T_STD_U16BE, SONDE_DTYPE_U16},      {H5T_STD_U16LE, SONDE_DTYPE_U16},
        {H5T_STD_I32BE, SONDE_DTYPE_I32},      {H5T_STD_U32LE, SONDE_DTYPE_U32},
        {H5T_STD_U32BE, SONDE_DTYPE_U32},      {H5T_STD_I64LE, SONDE_DTYPE_I64},
        {H5T_STD_I64BE, SONDE_DTYPE_I64},      {H5T_STD_U64BE, SONDE_DTYPE_U64},
        {H5T_STD_U64LE, SONDE_DTYPE_U64},      {H5T_IEEE_F32BE, SONDE_DTYPE_F32},
        {H5T_IEEE_F64LE, SONDE_DTYPE_F64},     {H5T_IEEE_F64BE, SONDE_DTYPE_F64},
        {H5T_NATIVE_LDOUBLE, SONDE_DTYPE_F64},
    };
    int32_t values[10];
    for (int i = 0; i < 10; i++) values[i] = i * 7;
    for (size_t c = 0; c < SONDE_COUNT(cases); c++) {
        const h5_layout layout = {.stored = cases[c].stored};
        bool is_float = H5Tget_class(cases[c].stored) == H5T_FLOAT;
        hid_t file = h5_create(path, c % 2);
        h5_put_rows(file, 10);
        h5_put(file, "/activations/p", H5T_NATIVE_INT32, 1, (const int64_t[]){10}, values, &layout);
        if (!is_float) {
            H5Ldelete(file, "/rows/token", H5P_DEFAULT);
            h5_put(file, "/rows/token", H5T_NATIVE_INT32, 1, (const int64_t[]){10}, values,
                   &layout);
        }
        H5Fclose(file);
        sonde_reader *reader = open_good();
        sonde_point_info info;
        float read[10];
        uint32_t token[10];
        sonde_reader_point(reader, 0, &info, NULL);
        assert_int_equal(info.stored, cases[c].dtype);
        assert_int_equal(sonde_reader_read(reader, 0, 0, 10, read, NULL), SONDE_OK);
        assert_int_equal(
            sonde_reader_rows_read(reader, 0, 10, &(sonde_row_columns){.token = token}, NULL),
            SONDE_OK);
        for (int i = 0; i < 10; i++) {
            assert_true(read[i] == (float)values[i]);
            assert_int_equal(token[i], is_float ? 100 + i : values[i]);
        }
        sonde_reader_close(&reader);
    }
}

/* --- layouts --- */

static void test_read_every_layout(void **state)
{
    (void)state;
    static const h5_layout layouts[] = {
        {.chunk = {0}},
        {.chunk = {16, 6}},
        {.chunk = {16, 6}, .deflate = true},
        {.chunk = {16, 6}, .shuffle = true},
        {.chunk = {16, 6}, .shuffle = true, .deflate = true},
        {.chunk = {1, 6}, .deflate = true},
        {.chunk = {256, 6}, .shuffle = true, .deflate = true},
        {.chunk = {16, 4}, .shuffle = true, .deflate = true},
        {.chunk = {16, 6}, .shuffle = true, .deflate = true, .fletcher = true},
    };
    static float values[100 * 6], read[100 * 6];
    for (unsigned i = 0; i < 600; i++)
        values[i] = ldexpf((float)(i * 2654435761u % 1000), (int)(i % 40) - 20);
    for (size_t c = 0; c < 2 * SONDE_COUNT(layouts); c++) {
        hid_t file = h5_create(path, c % 2);
        h5_put_rows(file, 100);
        h5_put(file, "/activations/p", H5T_NATIVE_FLOAT, 2, (const int64_t[]){100, 6}, values,
               &layouts[c / 2]);
        H5Fclose(file);
        sonde_reader *reader = open_good();
        static const int64_t ranges[][2] = {{0, 100}, {0, 16},  {16, 64},
                                            {17, 3},  {90, 10}, {15, 33}};
        for (size_t k = 0; k < SONDE_COUNT(ranges); k++) {
            int64_t first = ranges[k][0], n = ranges[k][1];
            memset(read, 0, sizeof read);
            assert_int_equal(sonde_reader_read(reader, 0, first, n, read, NULL), SONDE_OK);
            assert_memory_equal(read, values + 6 * first, (size_t)n * 24);
            memset(read, 0, sizeof read);
            assert_int_equal(sonde_reader_read_raw(reader, 0, first, n, read, NULL), SONDE_OK);
            assert_memory_equal(read, values + 6 * first, (size_t)n * 24);
        }
        sonde_reader_close(&reader);
    }
}

/* More datasets than handles that are kept, in turns. */
static void test_read_many_points_in_turns(void **state)
{
    (void)state;
    enum { POINTS = 60 };
    hid_t file = h5_create(path, true);
    h5_put_rows(file, 10);
    for (int p = 0; p < POINTS; p++) {
        char full[64];
        float values[10];
        for (int i = 0; i < 10; i++) values[i] = (float)(100 * p + i);
        snprintf(full, sizeof full, "/activations/blocks.%d.x", p);
        h5_put(file, full, H5T_NATIVE_FLOAT, 1, (const int64_t[]){10}, values, NULL);
    }
    H5Fclose(file);
    sonde_reader *reader = open_good();
    for (int64_t row = 0; row < 10; row++)
        for (int64_t p = 0; p < POINTS; p++) {
            float value;
            assert_int_equal(sonde_reader_read(reader, p, row, 1, &value, NULL), SONDE_OK);
            assert_true(value == (float)(100 * p + row));
        }
    sonde_reader_close(&reader);
}

/* --- ragged points and row maps --- */

static void put_ragged(hid_t file, const uint64_t *indptr, int64_t n_indptr, int64_t n_data)
{
    float values[64];
    int32_t heads = 2;
    for (int i = 0; i < 64; i++) values[i] = (float)i;
    h5_put(file, "/activations/g/data", H5T_NATIVE_FLOAT, 1, &n_data, values, NULL);
    h5_put(file, "/activations/g/indptr", H5T_NATIVE_UINT64, 1, &n_indptr, indptr, NULL);
    h5_put_number(file, "/activations/g", "heads", H5T_NATIVE_INT32, &heads);
}

static void test_read_ragged(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {0, 2, 6, 6, 12, 20};
    hid_t file = h5_create(path, true);
    h5_put_rows(file, 5);
    put_ragged(file, offsets, 6, 20);
    H5Fclose(file);
    sonde_reader *reader = open_good();
    sonde_point_info info;
    sonde_reader_point(reader, 0, &info, NULL);
    assert_true(info.ragged);
    assert_int_equal(info.rows, 5);
    assert_int_equal(info.width, 0);
    assert_int_equal(info.n_dims, 1);
    assert_int_equal(info.shape[0], 2);
    assert_int_equal(info.elements, 20);
    uint64_t indptr[6];
    uint32_t first_key[5] = {7, 7, 7, 7, 7};
    float values[20];
    assert_int_equal(sonde_reader_ragged_rows(reader, 0, 0, 5, indptr, first_key, NULL), SONDE_OK);
    assert_memory_equal(indptr, offsets, sizeof offsets);
    assert_int_equal(first_key[4], 0);
    assert_int_equal(sonde_reader_ragged_rows(reader, 0, 2, 1, indptr, NULL, NULL), SONDE_OK);
    assert_int_equal(indptr[1], 6);
    assert_int_equal(sonde_reader_ragged_read(reader, 0, 6, 14, values, NULL), SONDE_OK);
    assert_true(values[0] == 6.0f && values[13] == 19.0f);
    assert_int_equal(sonde_reader_ragged_read(reader, 0, 6, 15, values, NULL), SONDE_USAGE);
    assert_int_equal(sonde_reader_ragged_read(reader, 0, UINT64_MAX, 1, values, NULL), SONDE_USAGE);
    assert_int_equal(sonde_reader_read(reader, 0, 0, 1, values, NULL), SONDE_USAGE);
    sonde_reader_close(&reader);
}

static void test_rowmap_is_followed_and_checked(void **state)
{
    (void)state;
    float values[3] = {1.0f, 2.0f, 3.0f};
    for (uint32_t last = 9; last <= 10; last++) {
        const uint32_t map[3] = {0, 4, last};
        uint64_t rows[3];
        sonde_error err = {0};
        hid_t file = h5_create(path, true);
        h5_put_rows(file, 10);
        h5_put(file, "/activations/p", H5T_NATIVE_FLOAT, 1, (const int64_t[]){3}, values, NULL);
        h5_put(file, "/rowmap/p", H5T_NATIVE_UINT32, 1, (const int64_t[]){3}, map, NULL);
        H5Fclose(file);
        sonde_reader *reader = open_good();
        sonde_point_info info;
        sonde_reader_point(reader, 0, &info, NULL);
        assert_true(info.has_rowmap);
        sonde_status status = sonde_reader_rowmap(reader, 0, 0, 3, rows, &err);
        assert_int_equal(status, last == 9 ? SONDE_OK : SONDE_BAD_CAPTURE);
        if (status == SONDE_OK) assert_int_equal(rows[2], 9);
        else assert_non_null(strstr(err.message, "/rowmap/p: entry 2 is 10: expected 0 to 9"));
        sonde_reader_close(&reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_minimal),
        cmocka_unit_test(test_read_gives_any_rows),
        cmocka_unit_test(test_points_in_natural_or_given_order),
        cmocka_unit_test(test_read_every_pattern_of_small_floats),
        cmocka_unit_test(test_read_every_number_type),
        cmocka_unit_test(test_read_every_layout),
        cmocka_unit_test(test_read_many_points_in_turns),
        cmocka_unit_test(test_read_ragged),
        cmocka_unit_test(test_rowmap_is_followed_and_checked),
    };
    return cmocka_run_group_tests_name("reader", tests, make_path, remove_path);
}
