/* Whole checkpoints: folders, shards, GGUF files, models by hub id, hashes, vocabularies. */
#include "weights/config.h"
#include "weights/weights.h"

#include "tests/support/hostile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* --- folders in a temporary place ----------------------------------------------------------------
 */

static void make_folder(char path[64])
{
    strcpy(path, "/tmp/sonde-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static void write_file(const char *folder, const char *name, const void *data, size_t bytes)
{
    char *path = sonde_path_join(folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    sonde_free(path);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    write_file(folder, name, text, strlen(text));
}

/* A safetensors file of F32 tensors "names[i]" of 2 elements, bytes counted from `first`. */
static void write_tensors(const char *folder, const char *file, const char *names, int first)
{
    sonde_string header = {0}, image = {0};
    size_t n = strlen(names);
    for (size_t i = 0; i < n; i++)
        sonde_string_format(&header,
                            "%c\"%c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[%zu,%zu]}",
                            i ? ',' : '{', names[i], 8 * i, 8 * i + 8);
    sonde_string_text(&header, "}");
    for (size_t i = 0; i < 8; i++) {
        char byte = (char)(unsigned char)(header.length >> (8 * i));
        sonde_string_append(&image, &byte, 1);
    }
    sonde_string_append(&image, header.data, header.length);
    for (size_t i = 0; i < 8 * n; i++) {
        char byte = (char)(first + (int)i);
        sonde_string_append(&image, &byte, 1);
    }
    write_file(folder, file, image.data, image.length);
    sonde_string_reset(&header);
    sonde_string_reset(&image);
}

static void remove_folder(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static sonde_status open_path(const char *path, sonde_weights **w, sonde_error *err)
{
    memset(err, 0, sizeof *err);
    sonde_status status = sonde_weights_open(path, w, err);
    assert_int_equal(err->status, status);
    if (status != SONDE_OK) assert_null(*w);
    return status;
}

static void check_index(const hostile_case *c)
{
    char folder[64];
    sonde_weights *w = NULL;
    sonde_error err;
    make_folder(folder);
    write_text(folder, "config.json", "{\"model_type\":\"llama\"}");
    write_file(folder, "model.safetensors.index.json", c->data, c->bytes);
    write_file(folder, c->file, c->data, c->bytes);
    sonde_status status = open_path(folder, &w, &err);
    hostile_judge(c, status, &err);
    sonde_weights_close(&w);
    remove_folder(folder);
}

static void test_hostile_indexes_get_their_verdict(void **state)
{
    (void)state;
    assert_int_equal(hostile_each("index", check_index), 7);
}

static void test_open_single_and_sharded_folder(void **state)
{
    (void)state;
    char folder[64], first[40];
    const char *hex;
    sonde_weights *w;
    sonde_error err;
    make_folder(folder);
    write_text(folder, "config.json", "{\"model_type\":\"llama\",\"n_embd\":4}");
    write_tensors(folder, "model.safetensors", "ab", 0);
    if (open_path(folder, &w, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_int_equal(sonde_weights_container(w), SONDE_CONTAINER_SAFETENSORS);
    assert_string_equal(sonde_weights_path(w), folder);
    assert_int_equal(sonde_weights_count(w), 2);
    assert_int_equal(json_integer_value(sonde_config_find(sonde_weights_config(w), "hidden_size")),
                     4);
    assert_null(sonde_weights_find(w, "c"));
    assert_non_null(strstr(sonde_weights_find(w, "b")->file, "model.safetensors"));
    assert_int_equal(*(const unsigned char *)sonde_weights_find(w, "b")->data, 8);
    assert_int_equal(sonde_weights_hash(w, &hex, &err), SONDE_OK);
    assert_int_equal(strlen(hex), 32);
    snprintf(first, sizeof first, "%s", hex);
    sonde_weights_close(&w);
    assert_null(w);

    /* The same tensors in two shards: the same hash; other bytes: another. */
    for (int other = 0; other < 2; other++) {
        char path[96];
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        unlink(path);
        write_tensors(folder, "s1.safetensors", "b", 8 + other);
        write_tensors(folder, "s2.safetensors", "a", 0);
        write_text(folder, "model.safetensors.index.json",
                   "{\"weight_map\":{\"b\":\"s1.safetensors\",\"a\":\"s2.safetensors\"}}");
        if (open_path(folder, &w, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_string_equal(sonde_weights_at(w, 0)->name, "a");
        assert_string_equal(sonde_weights_at(w, 1)->name, "b");
        assert_int_equal(sonde_weights_hash(w, &hex, &err), SONDE_OK);
        assert_int_equal(strcmp(hex, first) == 0, other == 0);
        sonde_weights_close(&w);
    }
    write_tensors(folder, "s2.safetensors", "x", 0);
    assert_int_equal(open_path(folder, &w, &err), SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, "no tensor a"));
    remove_folder(folder);
}

static void test_open_says_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *config; /* NULL: no config.json */
        const char *message;
    } cases[] = {
        {NULL, "it has no config.json"},
        {"", "config.json: the file is empty"},
        {"[]", "config.json: expected a JSON object"},
        {"{\"a\":1,\"a\":2}", "config.json: not valid JSON at line 1, column 10: duplicate"},
        {"{}", "no weights: expected model.safetensors or model.safetensors.index.json"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char folder[64];
        sonde_weights *w;
        sonde_error err;
        make_folder(folder);
        if (cases[i].config) write_text(folder, "config.json", cases[i].config);
        write_text(folder, "pytorch_model.bin", "x");
        assert_int_equal(open_path(folder, &w, &err), SONDE_BAD_MODEL);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s", err.message);
        assert_non_null(strstr(err.message, folder));
        remove_folder(folder);
    }
}

static void test_open_config_reads_no_weights(void **state)
{
    (void)state;
    char folder[64];
    sonde_weights *w;
    sonde_error err = {0};
    make_folder(folder);
    write_text(folder, "config.json", "{\"model_type\":\"llama\"}");
    assert_int_equal(sonde_weights_open_config(folder, &w, &err), SONDE_OK);
    assert_int_equal(sonde_weights_count(w), 0);
    assert_null(sonde_weights_find(w, "a"));
    assert_non_null(sonde_config_find(sonde_weights_config(w), "model_type"));
    sonde_weights_close(&w);
    remove_folder(folder);
}

/* A checkpoint of 16 GB that is all hole on disk: opening it reads the header only. */
static void test_open_touches_no_weight_byte(void **state)
{
    (void)state;
    static const char header[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296],\"data_offsets\":[0,17179869184]}}";
    char folder[64], path[96];
    unsigned char image[8 + sizeof header - 1] = {sizeof header - 1};
    sonde_weights *w;
    sonde_error err;
    struct rusage before, after;
    make_folder(folder);
    write_text(folder, "config.json", "{}");
    memcpy(image + 8, header, sizeof header - 1);
    write_file(folder, "model.safetensors", image, sizeof image);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (truncate(path, (off_t)sizeof image + ((off_t)16 << 30)) != 0) {
        print_message("[  SKIP  ] no sparse files of 16 GB here\n");
        remove_folder(folder);
        skip();
    }
    getrusage(RUSAGE_SELF, &before);
    if (open_path(folder, &w, &err) != SONDE_OK) fail_msg("%s", err.message);
    getrusage(RUSAGE_SELF, &after);
    assert_true(sonde_weights_find(w, "a")->bytes == (size_t)16 << 30);
    assert_true(after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt < 500);
    sonde_weights_close(&w);
    remove_folder(folder);
}

static void test_hub_id_is_found_in_the_cache(void **state)
{
    (void)state;
    char cache[64], path[192];
    sonde_weights *w;
    sonde_error err;
    make_folder(cache);
    setenv("HF_HUB_CACHE", cache, 1);
    assert_int_equal(open_path("org/name", &w, &err), SONDE_BAD_FILE);
    assert_non_null(strstr(err.message, "org/name: no such file or folder, and not in"));
    static const char *const folders[] = {"models--org--name", "models--org--name/refs",
                                          "models--org--name/snapshots",
                                          "models--org--name/snapshots/0a1b"};
    for (size_t i = 0; i < SONDE_COUNT(folders); i++) {
        snprintf(path, sizeof path, "%s/%s", cache, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    write_text(path, "config.json", "{\"model_type\":\"llama\"}");
    write_tensors(path, "model.safetensors", "a", 0);
    write_text(cache, "models--org--name/refs/main", "0a1b\n");
    if (open_path("org/name", &w, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_string_equal(sonde_weights_path(w), path);
    sonde_weights_close(&w);
    write_text(cache, "models--org--name/refs/main", "../../x");
    assert_int_equal(open_path("org/name", &w, &err), SONDE_BAD_FILE);
    assert_non_null(strstr(err.message, "expected a commit"));
    unsetenv("HF_HUB_CACHE");
    remove_folder(cache);
    static const char *const bad[] = {"/no/such", "a/b/c", "nothing", "../x", "a/..", "a b/c"};
    for (size_t i = 0; i < SONDE_COUNT(bad); i++) {
        assert_int_equal(open_path(bad[i], &w, &err), SONDE_BAD_FILE);
        assert_non_null(strstr(err.message, "no such file or folder"));
    }
}

/* Tokenizer verdicts come when the vocabulary is asked for, the others when the file is opened. */
static void check_gguf(const hostile_case *c)
{
    sonde_error err = {0};
    sonde_weights *w = NULL;
    sonde_tokenizer *tokenizer = NULL;
    bool whole = strcmp(c->level, "model") == 0;
    sonde_status status = whole ? sonde_weights_open(c->path, &w, &err)
                                : sonde_weights_open_config(c->path, &w, &err);
    if (strcmp(c->level, "tokenizer") == 0) {
        assert_int_equal(status, SONDE_OK);
        status = sonde_weights_tokenizer(w, &tokenizer, &err);
        if (status != SONDE_OK) assert_int_equal(status, SONDE_BAD_TOKENIZER);
    }
    hostile_judge(c, status, &err);
    if (status != SONDE_OK && !strstr(err.message, c->file)) fail_msg("%s", err.message);
    sonde_tokenizer_destroy(&tokenizer);
    sonde_weights_close(&w);
}

static void test_hostile_gguf_files_get_their_verdict(void **state)
{
    (void)state;
    assert_int_equal(hostile_each("gguf", check_gguf), 93);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_indexes_get_their_verdict),
        cmocka_unit_test(test_open_single_and_sharded_folder),
        cmocka_unit_test(test_open_says_what_is_missing),
        cmocka_unit_test(test_open_config_reads_no_weights),
        cmocka_unit_test(test_open_touches_no_weight_byte),
        cmocka_unit_test(test_hub_id_is_found_in_the_cache),
        cmocka_unit_test(test_hostile_gguf_files_get_their_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
