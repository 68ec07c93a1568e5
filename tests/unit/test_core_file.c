/* Mapping and reading files, paths, JSON files, hashes. */
#include "core/core.h"
#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/sonde-test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static char *write_file(const char *name, const char *bytes, size_t n)
{
    char *path = sonde_path_join(folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

static void test_mapping_shows_the_bytes(void **state)
{
    sonde_mapping mapping;
    (void)state;
    char *path = write_file("bytes", "a\0b", 3);
    assert_int_equal(sonde_mapping_open(path, &mapping, NULL), SONDE_OK);
    assert_int_equal(mapping.bytes, 3);
    assert_memory_equal(mapping.data, "a\0b", 3);
    sonde_mapping_close(&mapping);
    assert_null(mapping.data);
    sonde_mapping_close(&mapping);
    sonde_free(path);
}

static void test_mapping_of_an_empty_file(void **state)
{
    sonde_mapping mapping;
    (void)state;
    char *path = write_file("empty", "", 0);
    assert_int_equal(sonde_mapping_open(path, &mapping, NULL), SONDE_OK);
    assert_int_equal(mapping.bytes, 0);
    sonde_mapping_close(&mapping);
    sonde_free(path);
}

static void test_only_regular_files_are_opened(void **state)
{
    sonde_mapping mapping;
    sonde_error err = {0};
    char *data;
    size_t bytes;
    (void)state;
    assert_int_equal(sonde_mapping_open("/nonexistent/x", &mapping, &err), SONDE_BAD_FILE);
    assert_string_equal(err.message, "cannot open /nonexistent/x: No such file or directory");
    assert_int_equal(sonde_mapping_open(folder, &mapping, &err), SONDE_BAD_FILE);
    assert_non_null(strstr(err.message, "expected a regular file, got a folder"));
    assert_int_equal(sonde_read_file("/dev/null", 10, &data, &bytes, &err), SONDE_BAD_FILE);
    assert_string_equal(err.message, "/dev/null: expected a regular file, got something else");
}

static void test_read_file_has_a_limit_and_a_nul(void **state)
{
    sonde_error err = {0};
    char *data;
    size_t bytes;
    (void)state;
    char *path = write_file("text", "sonde", 5);
    assert_int_equal(sonde_read_file(path, 5, &data, &bytes, &err), SONDE_OK);
    assert_int_equal(bytes, 5);
    assert_string_equal(data, "sonde");
    sonde_free(data);
    assert_int_equal(sonde_read_file(path, 4, &data, &bytes, &err), SONDE_BAD_FILE);
    assert_non_null(strstr(err.message, "expected at most 4 bytes, file has 5"));
    sonde_alloc_fail_after(0);
    sonde_status status = sonde_read_file(path, 5, &data, &bytes, &err);
    sonde_alloc_fail_after(-1);
    assert_int_equal(status, SONDE_NO_MEMORY);
    sonde_free(path);
}

static void test_paths(void **state)
{
    static const struct {
        const char *folder, *name, *path;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a//", "b", "a/b"}, {"/", "b", "/b"},
                 {"", "b", "/b"}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char *path = sonde_path_join(cases[i].folder, cases[i].name);
        assert_string_equal(path, cases[i].path);
        sonde_free(path);
    }
    assert_true(sonde_path_exists(folder));
    assert_true(sonde_path_is_dir(folder));
    assert_false(sonde_path_exists("/nonexistent"));
    assert_false(sonde_path_is_dir("/dev/null"));
    sonde_alloc_fail_after(0);
    char *none = sonde_path_join("a", "b");
    sonde_alloc_fail_after(-1);
    assert_null(none);
}

static void test_json_parse_names_the_place(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"a\": 1, \"a\": 2}", "x.json: not valid JSON at line 1, column 12: duplicate object key"},
        {"{\n\"a\": NaN}", "x.json: not valid JSON at line 2"},
        {"[1,]", "x.json: not valid JSON at line 1"},
        {"{} x", "x.json: not valid JSON at line 1"},
        {"\"\xFF\"", "x.json: not valid JSON at line 1"},
        {"[1e999]", "x.json: not valid JSON at line 1"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        json_t *root;
        sonde_error err = {0};
        assert_int_equal(sonde_json_parse(cases[i].text, strlen(cases[i].text), "x.json",
                                          SONDE_BAD_MODEL, &root, &err),
                         SONDE_BAD_MODEL);
        assert_int_equal(strncmp(err.message, cases[i].message, strlen(cases[i].message)), 0);
    }
}

static void test_json_parse_refuses_deep_nesting(void **state)
{
    char deep[5000];
    json_t *root;
    sonde_error err = {0};
    (void)state;
    memset(deep, '[', sizeof deep);
    assert_int_equal(sonde_json_parse(deep, sizeof deep, "deep", SONDE_BAD_MODEL, &root, &err),
                     SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, "maximum parsing depth"));
}

static void test_json_load(void **state)
{
    json_t *root;
    sonde_error err = {0};
    (void)state;
    char *path = write_file("a.json", "{\"a\": [1, 2]}", 13);
    assert_int_equal(sonde_json_load(path, 100, SONDE_BAD_MODEL, &root, &err), SONDE_OK);
    assert_int_equal(json_array_size(json_object_get(root, "a")), 2);
    json_decref(root);
    assert_int_equal(sonde_json_load(path, 5, SONDE_BAD_MODEL, &root, &err), SONDE_BAD_FILE);
    sonde_free(path);
    path = write_file("empty.json", "", 0);
    assert_int_equal(sonde_json_load(path, 100, SONDE_BAD_MODEL, &root, &err), SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, "the file is empty"));
    sonde_free(path);
}

/* Known answers of XXH3 with seed 0 (xxHash's own test vectors of the empty input, and of xxhsum). */
static void test_hashes(void **state)
{
    char hex[33];
    (void)state;
    assert_true(sonde_hash64("", 0) == 0x2D06800538D394C2u);
    sonde_hash128_hex(sonde_hash128("", 0), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
    assert_true(sonde_hash64("a", 1) != sonde_hash64("b", 1));
}

static void test_clock_does_not_go_back(void **state)
{
    (void)state;
    uint64_t before = sonde_now_ns();
    assert_true(sonde_now_ns() >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapping_shows_the_bytes),
        cmocka_unit_test(test_mapping_of_an_empty_file),
        cmocka_unit_test(test_only_regular_files_are_opened),
        cmocka_unit_test(test_read_file_has_a_limit_and_a_nul),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_json_parse_names_the_place),
        cmocka_unit_test(test_json_parse_refuses_deep_nesting),
        cmocka_unit_test(test_json_load),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_clock_does_not_go_back),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
