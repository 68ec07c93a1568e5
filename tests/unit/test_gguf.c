/* The GGUF parser: hostile files, dimensions and types, every prefix, no memory. */
#include "weights/config.h"
#include "weights/container.h"

#include "tests/support/hostile.h"
#include "tests/support/gguf_image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Container verdicts come from the parser, model verdicts from it or from the configuration; a
 * missing tensor is found when the checkpoint is opened, a vocabulary when it is asked for. */
static void check_verdict(const hostile_case *c)
{
    sonde_error err = {0};
    sonde_gguf *gguf = NULL;
    sonde_status status = sonde_gguf_parse(c->data, c->bytes, c->file, &gguf, &err);
    bool model = strcmp(c->level, "model") == 0;
    if (strcmp(c->level, "container") != 0) assert_int_equal(status, SONDE_OK);
    if (model) {
        json_t *root;
        status = sonde_config_from_gguf(gguf, &root, &err);
        if (status == SONDE_OK) json_decref(root);
    }
    if (strcmp(c->level, "container") == 0 ||
        (model && strcmp(c->file, "tensors-missing.gguf") != 0))
        hostile_judge(c, status, &err);
    if (status != SONDE_OK) {
        assert_int_equal(status, SONDE_BAD_MODEL);
        assert_non_null(strstr(err.message, c->file));
    }
    sonde_gguf_close(&gguf);
    assert_null(gguf);
}

static void test_hostile_files_get_their_verdict(void **state)
{
    (void)state;
    assert_int_equal(hostile_each("gguf", check_verdict), 93);
}

/* --- a writer of small images ------------------------------------------------------------------
 */

static void put_info(sonde_string *s, const char *name, uint32_t type, const uint64_t *dims,
                     uint32_t n_dims, uint64_t offset)
{
    gguf_put_text(s, name);
    gguf_put_int(s, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) gguf_put_int(s, dims[i], 8);
    gguf_put_int(s, type, 4);
    gguf_put_int(s, offset, 8);
}

static void put_padding(sonde_string *s, size_t data)
{
    while (s->length % 32 != 0) gguf_put_int(s, 0, 1);
    for (size_t i = 0; i < data; i++) gguf_put_int(s, i & 255, 1);
}

/* Two tensors, out of name order, the second of another type. */
static sonde_string two_tensors(void)
{
    sonde_string s = {0};
    sonde_string_text(&s, "GGUF");
    gguf_put_int(&s, 3, 4);
    gguf_put_int(&s, 2, 8);
    gguf_put_int(&s, 1, 8);
    gguf_put_text(&s, "general.architecture");
    gguf_put_int(&s, GGUF_STRING, 4);
    gguf_put_text(&s, "llama");
    put_info(&s, "z", 0, (const uint64_t[]){3, 2}, 2, 0);
    put_info(&s, "blk.0.q", 12, (const uint64_t[]){256, 1, 2}, 3, 32);
    put_padding(&s, 32 + 288);
    return s;
}

static void test_parse_reverses_dimensions(void **state)
{
    (void)state;
    sonde_string s = two_tensors();
    sonde_error err = {0};
    sonde_gguf *gguf;
    if (sonde_gguf_parse(s.data, s.length, "x.gguf", &gguf, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sonde_gguf_count(gguf), 2);
    const sonde_tensor *q = sonde_gguf_at(gguf, 0), *z = sonde_gguf_at(gguf, 1);
    assert_string_equal(z->name, "z");
    assert_int_equal(z->dtype, SONDE_DTYPE_F32);
    assert_int_equal(z->n_dims, 2);
    assert_int_equal(z->shape[0], 2);
    assert_int_equal(z->shape[1], 3);
    assert_int_equal(z->bytes, 24);
    assert_ptr_equal(z->data, s.data + s.length - 320);
    assert_string_equal(q->name, "blk.0.q");
    assert_int_equal(q->dtype, SONDE_DTYPE_Q4_K);
    assert_int_equal(q->n_dims, 3);
    assert_int_equal(q->shape[0], 2);
    assert_int_equal(q->shape[1], 1);
    assert_int_equal(q->shape[2], 256);
    assert_int_equal(q->bytes, 288);
    sonde_gguf_close(&gguf);
    sonde_string_reset(&s);
}

/* id, elements per block, bytes per block: every type of ggml is known, decodable or not. */
static void test_parse_knows_every_type(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *name;
        uint64_t block, bytes;
    } types[] = {
        {0, "f32", 1, 4},         {1, "f16", 1, 2},         {2, "q4_0", 32, 18},
        {3, "q4_1", 32, 20},      {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},
        {8, "q8_0", 32, 34},      {9, "q8_1", 32, 36},      {10, "q2_k", 256, 84},
        {11, "q3_k", 256, 110},   {12, "q4_k", 256, 144},   {13, "q5_k", 256, 176},
        {14, "q6_k", 256, 210},   {15, "q8_k", 256, 292},   {16, "iq2_xxs", 256, 66},
        {17, "iq2_xs", 256, 74},  {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},
        {20, "iq4_nl", 32, 18},   {21, "iq3_s", 256, 110},  {22, "iq2_s", 256, 82},
        {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},         {25, "i16", 1, 2},
        {26, "i32", 1, 4},        {27, "i64", 1, 8},        {28, "f64", 1, 8},
        {29, "iq1_m", 256, 56},   {30, "bf16", 1, 2},       {34, "tq1_0", 256, 54},
        {35, "tq2_0", 256, 66},   {39, "mxfp4", 32, 17},    {40, "nvfp4", 64, 36},
        {41, "q1_0", 128, 18},    {42, "q2_0", 64, 18},
    };
    for (size_t i = 0; i < SONDE_COUNT(types); i++) {
        sonde_string s = {0};
        sonde_error err = {0};
        sonde_gguf *gguf;
        sonde_string_text(&s, "GGUF");
        gguf_put_int(&s, 2, 4);
        gguf_put_int(&s, 1, 8);
        gguf_put_int(&s, 0, 8);
        put_info(&s, "t", types[i].id, (const uint64_t[]){types[i].block, 3}, 2, 0);
        put_padding(&s, 3 * types[i].bytes);
        if (sonde_gguf_parse(s.data, s.length, "x", &gguf, &err) != SONDE_OK)
            fail_msg("%s", err.message);
        assert_string_equal(sonde_dtype_name(sonde_gguf_at(gguf, 0)->dtype), types[i].name);
        assert_int_equal(sonde_gguf_at(gguf, 0)->bytes, 3 * types[i].bytes);
        sonde_gguf_close(&gguf);
        sonde_string_reset(&s);
    }
}

static void test_values_convert(void **state)
{
    (void)state;
    sonde_string s = {0};
    sonde_error err = {0};
    sonde_gguf *gguf;
    int64_t integer;
    double number;
    sonde_string_text(&s, "GGUF");
    gguf_put_int(&s, 3, 4);
    gguf_put_int(&s, 0, 8);
    gguf_put_int(&s, 4, 8);
    gguf_put_text(&s, "b");
    gguf_put_int(&s, GGUF_I8, 4);
    gguf_put_int(&s, 0xFE, 1);
    gguf_put_text(&s, "a");
    gguf_put_int(&s, GGUF_U64, 4);
    gguf_put_int(&s, UINT64_MAX, 8);
    gguf_put_text(&s, "d");
    gguf_put_int(&s, GGUF_F32, 4);
    gguf_put_int(&s, 0x3FC00000, 4);
    gguf_put_text(&s, "c");
    gguf_put_int(&s, GGUF_ARRAY, 4);
    gguf_put_int(&s, GGUF_U16, 4);
    gguf_put_int(&s, 2, 8);
    gguf_put_int(&s, 7, 2);
    gguf_put_int(&s, 65535, 2);
    if (sonde_gguf_parse(s.data, s.length, "x", &gguf, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    assert_true(gguf_integer(gguf_find(gguf, "b"), 0, &integer));
    assert_int_equal(integer, -2);
    assert_false(gguf_integer(gguf_find(gguf, "a"), 0, &integer));
    assert_false(gguf_integer(gguf_find(gguf, "d"), 0, &integer));
    assert_true(gguf_number(gguf_find(gguf, "d"), 0, &number));
    assert_true(number >= 1.5 && number <= 1.5);
    assert_true(gguf_integer(gguf_find(gguf, "c"), 1, &integer));
    assert_int_equal(integer, 65535);
    assert_false(gguf_integer(gguf_find(gguf, "c"), 2, &integer));
    assert_null(gguf_find(gguf, "e"));
    assert_null(gguf_find(gguf, ""));
    sonde_gguf_close(&gguf);
    sonde_string_reset(&s);
}

/* A prefix may be whole (bytes after the last tensor are harmless), but none may crash. */
static void check_prefixes(const hostile_case *c)
{
    if (strcmp(c->verdict, "accept") != 0) return;
    for (size_t n = 0; n < c->bytes; n++) {
        sonde_gguf *gguf;
        json_t *root;
        void *prefix = malloc(n ? n : 1);
        assert_non_null(prefix);
        memcpy(prefix, c->data, n);
        sonde_status status = sonde_gguf_parse(prefix, n, c->file, &gguf, NULL);
        assert_true(status == SONDE_OK || status == SONDE_BAD_MODEL);
        if (n < 24) assert_int_equal(status, SONDE_BAD_MODEL);
        if (status == SONDE_OK && sonde_config_from_gguf(gguf, &root, NULL) == SONDE_OK)
            json_decref(root);
        sonde_gguf_close(&gguf);
        free(prefix);
    }
}

static void test_every_prefix_is_judged(void **state)
{
    (void)state;
    hostile_each("gguf", check_prefixes);
}

static void test_every_prefix_of_two_tensors_is_refused(void **state)
{
    (void)state;
    sonde_string s = two_tensors();
    for (size_t n = 0; n < s.length; n++) {
        sonde_gguf *gguf;
        assert_int_equal(sonde_gguf_parse(s.data, n, "x", &gguf, NULL), SONDE_BAD_MODEL);
    }
    sonde_string_reset(&s);
}

static void test_no_memory_is_reported(void **state)
{
    (void)state;
    sonde_string s = two_tensors();
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    for (; status != SONDE_OK && n < 100; n++) {
        sonde_gguf *gguf;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        status = sonde_gguf_parse(s.data, s.length, "m", &gguf, &err);
        sonde_alloc_fail_after(-1);
        assert_int_equal(status, err.status);
        if (status != SONDE_OK) assert_int_equal(status, SONDE_NO_MEMORY);
        sonde_gguf_close(&gguf);
    }
    assert_in_range(n, 5, 99);
    sonde_string_reset(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_files_get_their_verdict),
        cmocka_unit_test(test_parse_reverses_dimensions),
        cmocka_unit_test(test_parse_knows_every_type),
        cmocka_unit_test(test_values_convert),
        cmocka_unit_test(test_every_prefix_is_judged),
        cmocka_unit_test(test_every_prefix_of_two_tensors_is_refused),
        cmocka_unit_test(test_no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
