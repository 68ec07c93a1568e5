/* The safetensors parser: hostile files, what it says of sound ones, every prefix, no memory. */
#include "weights/weights.h"

#include "tests/support/hostile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_verdict(const hostile_case *c)
{
    sonde_error err = {0};
    sonde_safetensors *st = NULL;
    sonde_status status = sonde_safetensors_parse(c->data, c->bytes, c->file, &st, &err);
    hostile_judge(c, status, &err);
    if (status != SONDE_OK) {
        assert_null(st);
        assert_int_equal(status, SONDE_BAD_MODEL);
        assert_int_equal(err.status, status);
        assert_non_null(strstr(err.message, c->file));
    }
    sonde_safetensors_close(&st);
}

static void test_hostile_files_get_their_verdict(void **state)
{
    (void)state;
    assert_int_equal(hostile_each("safetensors", check_verdict), 76);
}

/* An image from a header and n data bytes; free() it. */
static unsigned char *make_image(const char *header, size_t n_data, size_t *bytes)
{
    size_t length = strlen(header);
    unsigned char *image = calloc(1, 8 + length + n_data);
    assert_non_null(image);
    for (int i = 0; i < 8; i++) image[i] = (unsigned char)(length >> (8 * i));
    memcpy(image + 8, header, length);
    for (size_t i = 0; i < n_data; i++) image[8 + length + i] = (unsigned char)i;
    *bytes = 8 + length + n_data;
    return image;
}

static void test_parse_describes_tensors(void **state)
{
    (void)state;
    size_t bytes;
    unsigned char *image =
        make_image("{\"b.w\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                   "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                   "\"__metadata__\":{\"format\":\"pt\"}}",
                   16, &bytes);
    sonde_error err = {0};
    sonde_safetensors *st;
    assert_int_equal(sonde_safetensors_parse(image, bytes, "x.safetensors", &st, &err), SONDE_OK);
    assert_int_equal(sonde_safetensors_count(st), 2);
    const sonde_tensor *a = sonde_safetensors_at(st, 0), *b = sonde_safetensors_at(st, 1);
    assert_string_equal(a->name, "a");
    assert_int_equal(a->dtype, SONDE_DTYPE_F32);
    assert_int_equal(a->n_dims, 0);
    assert_int_equal(a->bytes, 4);
    assert_string_equal(b->name, "b.w");
    assert_string_equal(b->file, "x.safetensors");
    assert_int_equal(b->dtype, SONDE_DTYPE_BF16);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->bytes, 12);
    assert_ptr_equal(b->data, image + bytes - 12);
    sonde_safetensors_close(&st);
    assert_null(st);
    free(image);
}

/* Every dtype of the format, with the bytes of 8 elements. */
static void test_parse_knows_every_dtype(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        sonde_dtype dtype;
        size_t bytes;
    } cases[] = {
        {"F64", SONDE_DTYPE_F64, 64},        {"F32", SONDE_DTYPE_F32, 32},
        {"F16", SONDE_DTYPE_F16, 16},        {"BF16", SONDE_DTYPE_BF16, 16},
        {"I64", SONDE_DTYPE_I64, 64},        {"I32", SONDE_DTYPE_I32, 32},
        {"I16", SONDE_DTYPE_I16, 16},        {"I8", SONDE_DTYPE_I8, 8},
        {"U64", SONDE_DTYPE_U64, 64},        {"U32", SONDE_DTYPE_U32, 32},
        {"U16", SONDE_DTYPE_U16, 16},        {"U8", SONDE_DTYPE_U8, 8},
        {"BOOL", SONDE_DTYPE_BOOL, 8},       {"F8_E4M3", SONDE_DTYPE_F8_E4M3, 8},
        {"F8_E5M2", SONDE_DTYPE_F8_E5M2, 8}, {"F8_E8M0", SONDE_DTYPE_F8_E8M0, 8},
        {"C64", SONDE_DTYPE_C64, 64},        {"F4", SONDE_DTYPE_F4, 4},
        {"F6_E2M3", SONDE_DTYPE_F6_E2M3, 6}, {"F6_E3M2", SONDE_DTYPE_F6_E3M2, 6},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char header[128];
        size_t bytes;
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%zu]}}",
                 cases[i].name, cases[i].bytes);
        unsigned char *image = make_image(header, cases[i].bytes, &bytes);
        sonde_error err = {0};
        sonde_safetensors *st;
        if (sonde_safetensors_parse(image, bytes, "x", &st, &err) != SONDE_OK)
            fail_msg("%s", err.message);
        assert_int_equal(sonde_safetensors_at(st, 0)->dtype, cases[i].dtype);
        sonde_safetensors_close(&st);
        free(image);
    }
}

static void test_messages_name_tensor_and_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *header, *message;
    } cases[] = {
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}",
         "m: tensor w: f32 of [3] has another size, data_offsets hold 8"},
        {"{\"w\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "m: tensor w: unknown dtype F99"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,80]}}",
         "m: tensor w: data_offsets [0, 80] do not lie in the 8 bytes of data"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         "m: tensor w: data begins at byte 4, expected 0 (a hole)"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
         "m: tensor w: expected at most 8 dimensions, got 9"},
        {"{\"a\\u001b[2J\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "m: tensor name 'a?[2J' is empty or has control characters"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        size_t bytes;
        unsigned char *image = make_image(cases[i].header, 8, &bytes);
        sonde_error err = {0};
        sonde_safetensors *st;
        assert_int_equal(sonde_safetensors_parse(image, bytes, "m", &st, &err), SONDE_BAD_MODEL);
        assert_string_equal(err.message, cases[i].message);
        free(image);
    }
}

/* Only the whole file is sound: every prefix must be refused, and none may crash. */
static void check_prefixes(const hostile_case *c)
{
    if (strcmp(c->verdict, "accept") != 0) return;
    for (size_t n = 0; n < c->bytes; n++) {
        sonde_safetensors *st;
        void *prefix = malloc(n ? n : 1);
        assert_non_null(prefix);
        memcpy(prefix, c->data, n);
        sonde_status status = sonde_safetensors_parse(prefix, n, c->file, &st, NULL);
        if (status != SONDE_BAD_MODEL) fail_msg("%s: prefix of %zu bytes accepted", c->file, n);
        free(prefix);
    }
}

static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    hostile_each("safetensors", check_prefixes);
}

static void test_no_memory_is_reported(void **state)
{
    (void)state;
    size_t bytes;
    unsigned char *image =
        make_image("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, &bytes);
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    for (; status != SONDE_OK && n < 100; n++) {
        sonde_safetensors *st;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        status = sonde_safetensors_parse(image, bytes, "m", &st, &err);
        sonde_alloc_fail_after(-1);
        assert_int_equal(status, err.status);
        if (status != SONDE_OK) assert_int_equal(status, SONDE_NO_MEMORY);
        sonde_safetensors_close(&st);
    }
    assert_in_range(n, 4, 99);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_files_get_their_verdict),
        cmocka_unit_test(test_parse_describes_tensors),
        cmocka_unit_test(test_parse_knows_every_dtype),
        cmocka_unit_test(test_messages_name_tensor_and_numbers),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
