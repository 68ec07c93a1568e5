/* sonde_matrix_row: every way a checkpoint may store a matrix. Element (row, column) of the stored
 * matrix is a number that tells its place, exact in every dtype used. */
#include "kernels/dtype/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 12
#define COLS 32

static float place(int64_t row, int64_t column)
{
    float magnitude = (float)(row * 16 + column % 16 + 1);
    return column < 16 ? magnitude : -magnitude;
}

/* The stored matrix in one dtype; q8_0 rows have scale 1/8 and integers of their own. */
static void store(sonde_dtype dtype, unsigned char *bytes)
{
    for (int64_t r = 0; r < ROWS; r++) {
        float row[COLS];
        for (int64_t c = 0; c < COLS; c++) row[c] = place(r, c);
        if (dtype != SONDE_DTYPE_Q8_0) {
            size_t size = sonde_dtype_bytes(dtype, COLS);
            sonde_encode_f32(dtype, row, bytes + (size_t)r * size, COLS);
            continue;
        }
        bytes[r * 34] = 0x00;
        bytes[r * 34 + 1] = 0x30;
        for (int64_t c = 0; c < COLS; c++)
            bytes[r * 34 + 2 + c] = (unsigned char)((int)(r * COLS + c) % 128);
    }
}

static float stored(sonde_dtype dtype, int64_t row, int64_t column)
{
    if (dtype == SONDE_DTYPE_Q8_0) return (float)((row * COLS + column) % 128) * 0.125f;
    return place(row, column);
}

static const sonde_dtype dtypes[] = {SONDE_DTYPE_F32, SONDE_DTYPE_F16, SONDE_DTYPE_BF16,
                                     SONDE_DTYPE_Q8_0};

static const struct {
    const char *what;
    int64_t first, take, stride, unpermute;
    int64_t rows[4], expected[4]; /* output rows and the stored rows they come from */
} cases[] = {
    {"plain", 0, 0, 0, 0, {0, 1, 5, 11}, {0, 1, 5, 11}},
    {"a slice from row 4", 4, 0, 0, 0, {0, 1, 2, 7}, {4, 5, 6, 11}},
    {"two of every six, from 2 on", 2, 2, 6, 0, {0, 1, 2, 3}, {2, 3, 8, 9}},
    {"heads of 4, halves put back", 0, 0, 0, 4, {0, 1, 2, 3}, {0, 2, 1, 3}},
    {"the second head of 4", 0, 0, 0, 4, {4, 5, 6, 7}, {4, 6, 5, 7}},
    {"heads of 6", 0, 0, 0, 6, {1, 2, 3, 8}, {2, 4, 1, 10}},
    {"unpermuted, then sliced", 4, 0, 0, 4, {0, 1, 2, 3}, {4, 6, 5, 7}},
};

static void test_rows_of_stored_matrices(void **state)
{
    (void)state;
    unsigned char bytes[ROWS * COLS * 4 + 1];
    for (size_t d = 0; d < SONDE_COUNT(dtypes); d++) {
        store(dtypes[d], bytes + 1);
        for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
            sonde_matrix_source source = {.dtype = dtypes[d],
                                          .data = bytes + 1,
                                          .rows = ROWS,
                                          .cols = COLS,
                                          .stored_cols = COLS,
                                          .first_row = cases[i].first,
                                          .take = cases[i].take,
                                          .stride = cases[i].stride,
                                          .unpermute = cases[i].unpermute};
            for (int k = 0; k < 4; k++) {
                float row[COLS];
                sonde_matrix_row(&source, cases[i].rows[k], row);
                for (int64_t c = 0; c < COLS; c++) {
                    float want = stored(dtypes[d], cases[i].expected[k], c);
                    if (memcmp(&want, &row[c], sizeof want) != 0)
                        fail_msg("%s, %s: row %lld column %lld: expected %g, got %g", cases[i].what,
                                 sonde_dtype_name(dtypes[d]), (long long)cases[i].rows[k],
                                 (long long)c, (double)want, (double)row[c]);
                }
            }
        }
    }
}

/* Stored [in = ROWS, out = COLS]: output feature r is stored column r; slices count columns. */
static void test_transposed(void **state)
{
    (void)state;
    unsigned char bytes[ROWS * COLS * 4 + 1];
    for (size_t d = 0; d < SONDE_COUNT(dtypes); d++) {
        store(dtypes[d], bytes + 1);
        for (int64_t first = 0; first <= 16; first += 16) {
            int64_t row_of_input = first / 16; /* inputs that begin at a later stored row */
            sonde_matrix_source source = {.dtype = dtypes[d],
                                          .data = bytes + 1,
                                          .rows = 16,
                                          .cols = ROWS - row_of_input,
                                          .stored_cols = COLS,
                                          .first_row = first,
                                          .first_input = row_of_input,
                                          .transposed = 1};
            for (int64_t r = 0; r < 16; r++) {
                float row[ROWS];
                sonde_matrix_row(&source, r, row);
                for (int64_t c = 0; c < source.cols; c++) {
                    float want = stored(dtypes[d], row_of_input + c, first + r);
                    assert_memory_equal(&want, &row[c], sizeof want);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_stored_matrices),
        cmocka_unit_test(test_transposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
