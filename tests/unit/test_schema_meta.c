/* Metadata of prompts: what plain HDF5 calls find of them in a sealed file. */
#include "store/schema.h"
#include "tests/support/h5_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char path[256], part[300];

static int make_path(void **state)
{
    (void)state;
    h5_fresh("schema_meta.h5", path, part);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    h5_remove(path, part);
    return 0;
}

static void good(sonde_status status, const sonde_error *err)
{
    if (status != SONDE_OK) fail_msg("status %d: %s", (int)status, err->message);
}

/* One long text among many must not be paid for by all; keys beyond the 256th share a column. */
static void test_unusual_metadata(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_schema *schema = NULL;
    sonde_store *store = NULL;
    sonde_store_options options = {.path = path, .no_sync = true};
    good(sonde_store_create(&options, &store, &err), &err);
    good(sonde_schema_create(store, &(sonde_schema_options){.model = "m"}, &schema, &err), &err);
    char *book = sonde_alloc(200001, 1);
    memset(book, 'x', 200000);
    for (int64_t i = 0; i < 400; i++) {
        json_t *meta =
            json_pack("{s:s, s:s%}", "book", i == 7 ? book : "", "nul", "a\0b", (size_t)3);
        char key[16];
        snprintf(key, sizeof key, "k%d", (int)i);
        json_object_set_new(meta, key, json_integer(i));
        json_object_set_new(meta, "", json_integer(INT64_MAX));
        if (i == 3) json_object_set_new(meta, "", json_real(0.5));
        sonde_schema_sequence s = {.sequence = (uint64_t)i, .last_token = -1, .meta = meta};
        good(sonde_schema_add_sequence(schema, &s, &err), &err);
        json_decref(meta);
    }
    sonde_free(book);
    good(sonde_schema_seal(schema, true, -1, -1, &err), &err);
    sonde_schema_destroy(&schema);
    sonde_store_destroy(&store, true);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Lexists(file, "sequences/meta/book/indptr", H5P_DEFAULT) > 0);
    assert_true(H5Lexists(file, "sequences/meta/_more", H5P_DEFAULT) > 0);
    assert_true(H5Lexists(file, "sequences/meta/k200/mask", H5P_DEFAULT) > 0);
    hid_t mixed = H5Dopen2(file, "sequences/meta/%", H5P_DEFAULT);
    assert_true(H5Aexists(mixed, "content") > 0);
    H5Dclose(mixed);
    H5Fclose(file);
}

#define MANY_PROMPTS 600
#define PAGE_BYTES 60000

/* An entry whose metadata are a number, a word that every other lacks, and a page of its own that
 * every third has. */
static sonde_status add_with_metadata(sonde_schema *schema, int64_t i, char *page, sonde_error *err)
{
    char word[16];
    snprintf(word, sizeof word, "w%03d", (int)(MANY_PROMPTS - i));
    json_t *meta = json_pack("{s:I}", "number", (json_int_t)(i * i));
    if (i % 2 == 0) json_object_set_new(meta, "word", json_string(word));
    page[0] = (char)('a' + i % 7);
    snprintf(page + PAGE_BYTES - 8, 8, "%07d", (int)i);
    if (i % 2 == 1) json_object_set_new(meta, "page", json_string(page));
    sonde_schema_sequence s = {.sequence = (uint64_t)i, .last_token = -1, .meta = meta};
    sonde_status status = sonde_schema_add_sequence(schema, &s, err);
    json_decref(meta);
    return status;
}

static void read_all(hid_t file, const char *name, hid_t type, void *to)
{
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) >= 0);
    H5Dclose(set);
}

static void check_metadata(int64_t kept)
{
    static int64_t numbers[MANY_PROMPTS];
    static int32_t codes[MANY_PROMPTS];
    static char words[MANY_PROMPTS][4];
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, 4);
    H5Tset_cset(text, H5T_CSET_UTF8);
    H5Tset_strpad(text, H5T_STR_NULLPAD);
    read_all(file, "sequences/meta/number", H5T_NATIVE_INT64, numbers);
    read_all(file, "sequences/meta/word/codes", H5T_NATIVE_INT32, codes);
    read_all(file, "sequences/meta/word/categories", text, words);
    for (int64_t i = 0; i < kept; i++) {
        char word[16];
        snprintf(word, sizeof word, "w%03d", (int)(MANY_PROMPTS - i));
        assert_int_equal(numbers[i], i * i);
        if (i % 2) assert_int_equal(codes[i], -1);
        else assert_memory_equal(words[codes[i]], word, 4);
    }
    H5Tset_size(text, PAGE_BYTES + 2);
    char *pages = sonde_alloc((size_t)kept, PAGE_BYTES + 2), quoted[8];
    hid_t set = H5Dopen2(file, "sequences/meta/page", H5P_DEFAULT);
    assert_true(H5Aexists(set, "content") > 0);
    H5Dclose(set);
    read_all(file, "sequences/meta/page", text, pages);
    for (int64_t i = 0; i < kept; i++) {
        const char *page = pages + (size_t)i * (PAGE_BYTES + 2);
        snprintf(quoted, sizeof quoted, "\"%cxx", (char)('a' + i % 7));
        assert_memory_equal(page, i % 2 ? quoted : "\0\0\0", i % 2 ? 4 : 3);
    }
    sonde_free(pages);
    H5Tclose(text);
    H5Fclose(file);
}

/* Far more metadata than stays in memory, and more distinct texts than categories hold; the second
 * file is cut to fewer entries than were added. */
static void test_metadata_goes_through_scratch(void **state)
{
    (void)state;
    char *page = sonde_alloc(PAGE_BYTES + 1, 1);
    memset(page, 'x', PAGE_BYTES - 8);
    for (int64_t kept = MANY_PROMPTS; kept > 550; kept -= 39) {
        sonde_error err = {0};
        sonde_schema *schema = NULL;
        sonde_store *store = NULL;
        sonde_store_options options = {.path = path, .no_sync = true, .overwrite = true};
        sonde_schema_options named = {.model = "m"};
        good(sonde_store_create(&options, &store, &err), &err);
        good(sonde_schema_create(store, &named, &schema, &err), &err);
        for (int64_t i = 0; i < MANY_PROMPTS; i++)
            good(add_with_metadata(schema, i, page, &err), &err);
        good(sonde_schema_seal(schema, kept == MANY_PROMPTS, -1, kept, &err), &err);
        sonde_schema_destroy(&schema);
        sonde_store_destroy(&store, true);
        check_metadata(kept);
    }
    sonde_free(page);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)
    const struct CMUnitTest tests[] = {
        TEST(test_unusual_metadata),
        TEST(test_metadata_goes_through_scratch),
    };
    return cmocka_run_group_tests_name("schema_meta", tests, NULL, NULL);
}
