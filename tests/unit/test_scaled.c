/* Tensors stored in two parts: values against numpy's (tests/goldens/make_scaled.py), and what is
 * refused. */
#include "kernels/kernels.h"
#include "support/golden.h"
#include "weights/weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- values --------------------------------------------------------------------------------------- */

static int64_t rows_of(const sonde_tensor *t)
{
    return t->shape[t->n_dims - 2];
}

/* Equal bits, or both NaN. */
static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void expect_row(const float *got, const float *want, int64_t n, const char *name, int64_t row)
{
    for (int64_t c = 0; c < n; c++)
        if (!same(got[c], want[c]))
            fail_msg("%s row %lld column %lld: %a, expected %a", name, (long long)row, (long long)c,
                     (double)got[c], (double)want[c]);
}

/* All matrices of a tensor, row by row; slices and stored columns too. */
static void check_tensor(const sonde_tensor *t, const float *want)
{
    float row[64], slice[64];
    int64_t rows = rows_of(t), cols = t->shape[t->n_dims - 1];
    int64_t block = sonde_dtype_block_elements(t->dtype), n = t->n_dims == 3 ? t->shape[0] : 1;
    for (int64_t i = 0; i < n * rows; i++, want += cols) {
        sonde_matrix_source source;
        sonde_tensor_matrix(t, i / rows, &source);
        source.rows = rows;
        source.cols = cols;
        sonde_matrix_row(&source, i % rows, row);
        expect_row(row, want, cols, t->name, i);
        for (int64_t at = 0; at < cols; at += block) {
            sonde_matrix_slice(&source, i % rows, at, block, slice);
            expect_row(slice, want + at, block, t->name, i);
        }
        if (block > 1) continue;
        sonde_matrix_source turned = source;
        turned.transposed = true;
        turned.rows = cols;
        turned.cols = rows;
        for (int64_t c = 0; c < cols; c++) {
            sonde_matrix_row(&turned, c, slice);
            expect_row(slice + i % rows, want + c, 1, t->name, i);
        }
    }
}

static void check_model(const char *name, int64_t expected_tensors)
{
    char path[128];
    golden g;
    sonde_weights *w;
    sonde_error err = {0};
    snprintf(path, sizeof path, "tests/goldens/scaled/%s", name);
    if (sonde_weights_open(path, &w, &err) != SONDE_OK) fail_msg("%s", err.message);
    snprintf(path, sizeof path, "tests/goldens/scaled/%s/expected.bin", name);
    assert_true(golden_load(path, &g));
    assert_int_equal(sonde_weights_count(w), expected_tensors);
    for (int64_t i = 0; i < expected_tensors; i++) {
        const sonde_tensor *t = sonde_weights_at(w, i);
        snprintf(path, sizeof path, "values/%s", t->name);
        const golden_entry *want = golden_find(&g, path);
        assert_non_null(want);
        assert_true(t->n_dims == 2 || want->count == t->shape[0] * rows_of(t) * t->shape[2]);
        check_tensor(t, want->data);
    }
    golden_reset(&g);
    sonde_weights_close(&w);
}

static void test_eight_bit_floats_with_scales(void **state)
{
    (void)state;
    check_model("fp8", 8);
}

static void test_mxfp4_blocks_and_scales(void **state)
{
    (void)state;
    check_model("mxfp4", 2);
}

/* ---- what is refused --------------------------------------------------------------------------------- */

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* A safetensors file of zeros with this header. */
static void write_safetensors(const char *path, const char *header, size_t data_bytes)
{
    sonde_string image = {0};
    size_t length = strlen(header);
    for (size_t i = 0; i < 8; i++) {
        char byte = (char)(unsigned char)(length >> (8 * i));
        sonde_string_append(&image, &byte, 1);
    }
    sonde_string_append(&image, header, length);
    for (size_t i = 0; i < data_bytes; i++) sonde_string_append(&image, "", 1);
    write_file(path, image.data, image.length);
    sonde_string_reset(&image);
}

#define FP8 "\"quantization_config\":{\"quant_method\":\"fp8\"}"
#define F8_AND(rest)                                                                                \
    "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,4],\"data_offsets\":[0,8]}" rest "}"
#define BLOCKS_AND(rest)                                                                            \
    "{\"a_blocks\":{\"dtype\":\"U8\",\"shape\":[1,2,1,16],\"data_offsets\":[0,32]}" rest "}"

static const struct {
    const char *config, *header;
    size_t bytes;
    const char *message;
} refused[] = {
    {FP8, F8_AND(""), 8, "tensor a: its scales a_scale_inv are missing"},
    {FP8, F8_AND(",\"a_scale_inv\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]}"), 16,
     "tensor a_scale_inv: expected a scale for every block of 128 by 128 for a of [2, 4], file has "
     "[2, 1] of f32"},
    {FP8, F8_AND(",\"a_scale_inv\":{\"dtype\":\"I32\",\"shape\":[1,1],\"data_offsets\":[8,12]}"), 12,
     "of i32"},
    {"\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[0,4]}", F8_AND(""), 8,
     "weight_block_size': expected two sizes"},
    {"\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}", F8_AND(""), 8,
     "weights quantised by 'gptq' (known: fp8, mxfp4); use the checkpoint that was not quantised"},
    {"\"quantization_config\":{\"bits\":4}", F8_AND(""), 8, "an unnamed method"},
    {"\"a\":1", BLOCKS_AND(""), 32, "tensor a_blocks: its scales a_scales are missing"},
    {"\"a\":1",
     BLOCKS_AND(",\"a_scales\":{\"dtype\":\"U8\",\"shape\":[1,2,2],\"data_offsets\":[32,36]}"), 36,
     "tensor a_scales: expected a byte for every block of 16 bytes for a_blocks of [1, 2, 1, 16]"},
    {"\"a\":1",
     BLOCKS_AND(",\"a_scales\":{\"dtype\":\"U8\",\"shape\":[1,2,1],\"data_offsets\":[32,34]}"
                ",\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[34,35]}"), 35,
     "tensor a is there as numbers and as blocks"},
};

static void test_parts_that_do_not_fit_are_refused(void **state)
{
    char folder[] = "/tmp/sonde-test-XXXXXX", path[96], text[256];
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < SONDE_COUNT(refused); i++) {
        sonde_weights *w = NULL;
        sonde_error err = {0};
        snprintf(text, sizeof text, "{\"model_type\":\"llama\",%s}", refused[i].config);
        snprintf(path, sizeof path, "%s/config.json", folder);
        write_file(path, text, strlen(text));
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        write_safetensors(path, refused[i].header, refused[i].bytes);
        assert_int_equal(sonde_weights_open(folder, &w, &err), SONDE_BAD_MODEL);
        if (!strstr(err.message, refused[i].message)) fail_msg("%zu: %s", i, err.message);
        assert_null(w);
    }
    snprintf(path, sizeof path, "rm -rf %s", folder);
    assert_int_equal(system(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eight_bit_floats_with_scales),
        cmocka_unit_test(test_mxfp4_blocks_and_scales),
        cmocka_unit_test(test_parts_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
