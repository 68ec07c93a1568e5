/*
 * test_probe_options.c - from what a person types to the instance memory of a plugin: every type of
 * option, tensors from .npy files and captures, the JSON that a file records; hostile files.
 */
#include "support/h5_file.h"
#include "support/npy.h"
#include "support/plugins.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The instance memory of tests/abi/plugins/frozen_v1.c. */
typedef struct frozen {
    int64_t flag, whole, choice;
    double number;
    const char *text;
    sonde_probe_selection selection;
    sonde_probe_tensor tensor;
} frozen;

static sonde_model *model;
static char npy[256], h5[256];

static int set_up(void **state)
{
    (void)state;
    test_use_plugins();
    model = test_model_shape("llama");
    npy_temporary("options.npy", npy);
    h5_temporary("options.h5", h5);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sonde_model_close(&model);
    unlink(npy);
    unlink(h5);
    return 0;
}

static sonde_status open_one(const char *typed, sonde_probe_set *set, sonde_error *err)
{
    sonde_probe_set_spec spec = {.model = model, .probes = &typed, .n_probes = 1};
    memset(set, 0, sizeof *set);
    return sonde_probe_set_open(&spec, set, err);
}

static const frozen *open_frozen(const char *typed, sonde_probe_set *set)
{
    sonde_error err = {0};
    if (open_one(typed, set, &err) != SONDE_OK) fail_msg("%s: %s", typed, err.message);
    return set->instances[0].memory;
}

/* `source` as the tensor option; `message` must be in what is said. */
static void refuse_tensor(sonde_status status, const char *source, const char *message)
{
    char typed[512];
    sonde_probe_set set;
    sonde_error err = {0};
    snprintf(typed, sizeof typed, "frozen:tensor=%s", source);
    sonde_status got = open_one(typed, &set, &err);
    if (got != status) fail_msg("%s: status %d: %s", source, got, err.message);
    if (!strstr(err.message, message)) fail_msg("%s: no '%s' in: %s", source, message, err.message);
    if (!strstr(err.message, "probe frozen (instance frozen): option tensor: "))
        fail_msg("nobody is named in: %s", err.message);
}

/* ---- plain values ---------------------------------------------------------------------------- */

static void test_defaults(void **state)
{
    (void)state;
    sonde_probe_set set;
    const frozen *f = open_frozen("frozen", &set);
    assert_int_equal(f->flag, 0);
    assert_int_equal(f->whole, 7);
    assert_int_equal(f->choice, 1);
    assert_true(f->number == 0.5);
    assert_null(f->text);
    assert_int_equal(f->selection.count, 0);
    assert_null(f->tensor.data);
    assert_string_equal(set.instances[0].options_json,
                        "{\"points\": [\"blocks.0.*\"], \"rows\": null, \"flag\": false, "
                        "\"whole\": 7, \"number\": 0.5, \"text\": null, \"choice\": \"second\", "
                        "\"select\": null, \"tensor\": null}");
    sonde_probe_set_reset(&set);
}

static void test_every_type(void **state)
{
    (void)state;
    sonde_probe_set set;
    const frozen *f = open_frozen("frozen=f:flag,whole=100,number=0.125,choice=first,"
                                  "text={a,b:c=d},rows=prompt&last:1", &set);
    assert_int_equal(f->flag, 1);
    assert_int_equal(f->whole, 100);
    assert_true(f->number == 0.125);
    assert_int_equal(f->choice, 0);
    assert_string_equal(f->text, "{a,b:c=d}");
    json_t *json = json_loads(set.instances[0].options_json, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "rows")), "prompt&last:1");
    assert_string_equal(json_string_value(json_object_get(json, "text")), "{a,b:c=d}");
    assert_true(json_is_true(json_object_get(json, "flag")));
    json_decref(json);
    sonde_probe_set_reset(&set);
}

static void test_selection_adds_its_points(void **state)
{
    (void)state;
    sonde_probe_set set;
    const frozen *f = open_frozen("frozen:points=blocks.1.resid_post,points=embed,"
                                  "select={blocks.0.attn.q,blocks.1.resid_post}", &set);
    const sonde_probe_instance *in = &set.instances[0];
    assert_int_equal(in->n_points, 3);
    assert_int_equal(f->selection.count, 2);
    assert_string_equal(in->points[f->selection.points[0]].name, "blocks.0.attn.q");
    assert_string_equal(in->points[f->selection.points[1]].name, "blocks.1.resid_post");
    sonde_probe_set_reset(&set);
}

/* ---- tensors from .npy ----------------------------------------------------------------------- */

static void expect_npy(const char *descr, const void *data, size_t bytes, int64_t n,
                       const float *expected)
{
    char typed[512];
    int64_t dims[2] = {1, n};
    sonde_probe_set set;
    npy_write(npy, descr, 2, dims, data, bytes);
    snprintf(typed, sizeof typed, "frozen:tensor=%s", npy);
    const frozen *f = open_frozen(typed, &set);
    assert_int_equal(f->tensor.n_dims, 2);
    assert_int_equal(f->tensor.dims[0], 1);
    assert_int_equal(f->tensor.dims[1], n);
    assert_string_equal(f->tensor.source, npy);
    if (memcmp(f->tensor.data, expected, (size_t)n * sizeof *expected) != 0)
        fail_msg("%s: other values", descr);
    assert_non_null(strstr(set.instances[0].options_json, "\"shape\": [1, "));
    assert_non_null(strstr(set.instances[0].options_json, "\"xxh3\": \""));
    sonde_probe_set_reset(&set);
}

static void test_npy_of_every_type(void **state)
{
    (void)state;
    static const float wide[] = {-1.5f, 0.25f, 3}, whole[] = {-128, 0, 127}, plain[] = {255, 0, 1};
    static const uint16_t half[] = {0xBE00, 0x3400, 0x4200};
    static const double number[] = {-1.5, 0.25, 3};
    static const int8_t i1[] = {-128, 0, 127};
    static const int16_t i2[] = {-128, 0, 127};
    static const int32_t i4[] = {-128, 0, 127};
    static const int64_t i8[] = {-128, 0, 127};
    static const uint8_t u1[] = {255, 0, 1};
    static const uint16_t u2[] = {255, 0, 1};
    static const uint32_t u4[] = {255, 0, 1};
    static const uint64_t u8[] = {255, 0, 1};
    expect_npy("<f4", wide, sizeof wide, 3, wide);
    expect_npy("<f2", half, sizeof half, 3, wide);
    expect_npy("<f8", number, sizeof number, 3, wide);
    expect_npy("|i1", i1, sizeof i1, 3, whole);
    expect_npy("<i2", i2, sizeof i2, 3, whole);
    expect_npy("<i4", i4, sizeof i4, 3, whole);
    expect_npy("<i8", i8, sizeof i8, 3, whole);
    expect_npy("|u1", u1, sizeof u1, 3, plain);
    expect_npy("<u2", u2, sizeof u2, 3, plain);
    expect_npy("<u4", u4, sizeof u4, 3, plain);
    expect_npy("<u8", u8, sizeof u8, 3, plain);
}

static void test_npy_of_later_versions(void **state)
{
    (void)state;
    static const float values[] = {1, 2};
    char typed[512];
    for (int major = 1; major <= 3; major++) {
        sonde_probe_set set;
        npy_write_raw(npy, major, "{'shape':(2,),'fortran_order':False,'descr':'<f4'}", values,
                      sizeof values);
        snprintf(typed, sizeof typed, "frozen:tensor=%s", npy);
        const frozen *f = open_frozen(typed, &set);
        assert_int_equal(f->tensor.n_dims, 1);
        assert_true(f->tensor.data[1] == 2);
        sonde_probe_set_reset(&set);
    }
}

#define HEADER(descr, order, shape)                                                                \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape "}\n"

static void test_npy_refuses_hostile_files(void **state)
{
    (void)state;
    static const struct {
        int major;
        const char *header;
        sonde_status status;
        const char *message;
    } cases[] = {
        {1, HEADER("'<f4'", "False", "(3,)"), SONDE_BAD_FILE, "expected 12 bytes of values, the "
                                                              "file has 8"},
        {1, HEADER("'<f4'", "False", "(1,)"), SONDE_BAD_FILE, "expected 4 bytes"},
        {1, HEADER("'<f4'", "False", "()"), SONDE_USAGE, "it has 0 dimensions; expected 1 to 4"},
        {1, HEADER("'<f4'", "False", "(0,)"), SONDE_USAGE, "dimension 0 is 0"},
        {1, HEADER("'<f4'", "False", "(2,1,1,1,1)"), SONDE_BAD_FILE, "shape of 1 to 4 dimensions"},
        {1, HEADER("'<f4'", "False", "(4294967296,4294967296)"), SONDE_USAGE, "product at most"},
        {1, HEADER("'<f4'", "False", "(99999999999999999999999,)"), SONDE_BAD_FILE, "the shape"},
        {1, HEADER("'<f4'", "False", "(-2,)"), SONDE_BAD_FILE, "whole numbers in the shape"},
        {1, HEADER("'<f4'", "False", "(2"), SONDE_BAD_FILE, "',' or ')' in the shape"},
        {1, HEADER("'>f4'", "False", "(2,)"), SONDE_USAGE, "'>f4'; expected little-endian"},
        {1, HEADER("'<c8'", "False", "(1,)"), SONDE_USAGE, "'<c8'"},
        {1, HEADER("[('x', '<f4')]", "False", "(2,)"), SONDE_BAD_FILE, "a quoted text"},
        {1, HEADER("'<f4'", "True", "(1, 2)"), SONDE_USAGE, "numpy.ascontiguousarray"},
        {1, HEADER("'<f4'", "Maybe", "(2,)"), SONDE_BAD_FILE, "True or False"},
        {1, "{'descr': '<f4', 'shape': (2,)}", SONDE_BAD_FILE, "descr, fortran_order and shape"},
        {1, "{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", SONDE_BAD_FILE, "once each"},
        {1, "{'other': 1}", SONDE_BAD_FILE, "once each"},
        {1, "{'descr", SONDE_BAD_FILE, "quoted text"},
        {1, "", SONDE_BAD_FILE, "expected '{'"},
        {4, HEADER("'<f4'", "False", "(2,)"), SONDE_BAD_FILE, "no .npy file of version 1 to 3"},
    };
    static const float values[] = {1, 2};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        npy_write_raw(npy, cases[i].major, cases[i].header, values, sizeof values);
        refuse_tensor(cases[i].status, npy, cases[i].message);
    }
}

static void test_npy_refuses_cut_files_and_lost_values(void **state)
{
    (void)state;
    static const double huge[] = {1e300};
    int64_t dims[1] = {1};
    npy_write(npy, "<f8", 1, dims, huge, sizeof huge);
    refuse_tensor(SONDE_USAGE, npy, "value 0 does not fit into float32");
    for (long keep = 0; keep < 136; keep += 9) {
        npy_write(npy, "<f8", 1, dims, huge, sizeof huge);
        assert_int_equal(truncate(npy, keep), 0);
        refuse_tensor(SONDE_BAD_FILE, npy, npy);
    }
    refuse_tensor(SONDE_BAD_FILE, "/nowhere/x.npy", "/nowhere/x.npy");
    refuse_tensor(SONDE_USAGE, "x.txt", "'x.txt': expected file.npy or capture.h5:/path[row]");
}

/* ---- tensors from captures ------------------------------------------------------------------- */

static void make_capture(void)
{
    static const double table[6] = {0, 1, 2, 3, 4, 5};
    static const float points[20] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    hid_t file = h5_create(h5, false);
    h5_put_rows(file, 5);
    h5_put(file, "activations/p", H5T_NATIVE_FLOAT, 2, (int64_t[]){5, 4}, points, NULL);
    h5_put(file, "probes/m/p/mean", H5T_NATIVE_DOUBLE, 2, (int64_t[]){2, 3}, table, NULL);
    H5Fclose(file);
}

static void expect_tensor(const char *place, int64_t n, float first)
{
    char typed[512];
    sonde_probe_set set;
    snprintf(typed, sizeof typed, "frozen:tensor=%s:%s", h5, place);
    const frozen *f = open_frozen(typed, &set);
    int64_t elements = 1;
    for (uint32_t i = 0; i < f->tensor.n_dims; i++) elements *= f->tensor.dims[i];
    assert_int_equal(elements, n);
    for (int64_t i = 0; i < n; i++) assert_true(f->tensor.data[i] == first + (float)i);
    sonde_probe_set_reset(&set);
}

static void refuse_place(sonde_status status, const char *place, const char *message)
{
    char source[512];
    snprintf(source, sizeof source, "%s:%s", h5, place);
    refuse_tensor(status, source, message);
}

static void test_tensor_from_a_capture(void **state)
{
    (void)state;
    make_capture();
    expect_tensor("/activations/p[2]", 4, 8);
    expect_tensor("/probes/m/p/mean", 6, 0);
    expect_tensor("/probes/m/p/mean[1]", 3, 3);
    refuse_place(SONDE_USAGE, "/activations/p", "say which row");
    refuse_place(SONDE_USAGE, "/activations/p[5]", "it has rows 0 to 4");
    refuse_place(SONDE_USAGE, "/activations/p[x]", "expected a row number in [] at the end");
    refuse_place(SONDE_USAGE, "/activations/p[1]x", "expected a row number in [] at the end");
    refuse_place(SONDE_USAGE, "/activations/p[-1]", "expected a row number in [] at the end");
    refuse_place(SONDE_UNKNOWN_NAME, "/activations/q[0]", "the file has no /activations/q");
    refuse_place(SONDE_UNKNOWN_NAME, "/probes/m/q", "the file has no table /probes/m/q");
    refuse_place(SONDE_USAGE, "/probes/m/p/mean[2]", "it has rows 0 to 1");
    refuse_place(SONDE_USAGE, "/rows/token", "expected /activations/<point>[row] or");
    refuse_tensor(SONDE_USAGE, ":/x", "expected capture.h5:/path[row]");
    refuse_tensor(SONDE_BAD_CAPTURE, "Makefile:/activations/p[0]", "Makefile");
}

/* `also`: what a reader short of memory may call the file instead. */
static void fail_every_allocation(const char *source, sonde_status also)
{
    char typed[512];
    sonde_status status = SONDE_NO_MEMORY;
    snprintf(typed, sizeof typed, "frozen:tensor=%s", source);
    for (long n = 0; status != SONDE_OK; n++) {
        sonde_probe_set set;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        status = open_one(typed, &set, &err);
        sonde_alloc_fail_after(-1);
        if (status != SONDE_OK && status != SONDE_NO_MEMORY && status != also)
            fail_msg("after %ld allocations: status %d: %s", n, status, err.message);
        sonde_probe_set_reset(&set);
        assert_true(n < 5000);
    }
}

static void test_tensors_without_memory(void **state)
{
    (void)state;
    static const float values[] = {1, 2};
    char source[512];
    npy_write(npy, "<f4", 1, (int64_t[]){2}, values, sizeof values);
    fail_every_allocation(npy, SONDE_NO_MEMORY);
    make_capture();
    snprintf(source, sizeof source, "%s:/activations/p[2]", h5);
    fail_every_allocation(source, SONDE_BAD_CAPTURE);
    snprintf(source, sizeof source, "%s:/probes/m/p/mean", h5);
    fail_every_allocation(source, SONDE_BAD_CAPTURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_selection_adds_its_points),
        cmocka_unit_test(test_npy_of_every_type),
        cmocka_unit_test(test_npy_of_later_versions),
        cmocka_unit_test(test_npy_refuses_hostile_files),
        cmocka_unit_test(test_npy_refuses_cut_files_and_lost_values),
        cmocka_unit_test(test_tensor_from_a_capture),
        cmocka_unit_test(test_tensors_without_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
