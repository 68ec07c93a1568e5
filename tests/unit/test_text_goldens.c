/*
 * test_text_goldens.c - ids and text identical to Hugging Face `tokenizers`: every string of the
 * shared goldens when they are there, and small tokenizers of the tree always.
 */
#include "core/json.h"
#include "sonde/text.h"
#include "support/golden.h"
#include "support/text_case.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_small_tokenizers_of_the_tree(void **state)
{
    static const char *const names[] = {"bytes-plain",
                                        "bytes-nfc-prefix-space",
                                        "bytes-nfkc-lower",
                                        "bytes-nfd",
                                        "bytes-falcon",
                                        "spm",
                                        "spm-no-prefix",
                                        "spm-gaps",
                                        "spm-unknown",
                                        "unigram",
                                        "unigram-bytes",
                                        "metaspace-first",
                                        "metaspace-always",
                                        "metaspace-never",
                                        "tiktoken"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char folder[160], lines[200];
        snprintf(folder, sizeof folder, "tests/goldens/text/%s", names[i]);
        snprintf(lines, sizeof lines, "%s/strings.jsonl.gz", folder);
        sonde_tokenizer *t = text_case_open(folder);
        text_case_check(t, lines, text_case_line);
        snprintf(lines, sizeof lines, "%s/decode.jsonl.gz", folder);
        if (sonde_path_exists(lines)) text_case_check(t, lines, text_case_decode_line);
        sonde_tokenizer_destroy(&t);
    }
}

static void test_published_tokenizers(void **state)
{
    static const char *const names[] = {"gpt2",         "llama-3.1", "qwen3",       "smollm2",
                                        "mistral-v0.1", "gemma-3",   "deepseek-v3", "gpt-oss"};
    (void)state;
    const char *shared = test_shared();
    if (!shared) skip();
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tokenizers/%s", shared, names[i]);
        sonde_tokenizer *t = text_case_open(path);
        snprintf(path, sizeof path, "%s/goldens/text/%s.jsonl.gz", shared, names[i]);
        text_case_check(t, path, text_case_line);
        snprintf(path, sizeof path, "%s/goldens/text/%s.decode.jsonl.gz", shared, names[i]);
        text_case_check(t, path, text_case_decode_line);
        sonde_tokenizer_destroy(&t);
    }
}

/* The made-up tokenizers of the shared goldens: flags of added tokens, normalisers, Metaspace. */
static void test_features(void **state)
{
    static const char *const names[] = {
        "bytes-plain",      "bytes-nfc-prefix-space", "bytes-nfkc-lower", "metaspace-first",
        "metaspace-always", "metaspace-never",        "prepend"};
    (void)state;
    const char *shared = test_shared();
    if (!shared) skip();
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char path[512], folder[160];
        snprintf(folder, sizeof folder, "build/features/%s", names[i]);
        snprintf(path, sizeof path,
                 "mkdir -p %s && cp %s/goldens/text/features/%s.tokenizer.json "
                 "%s/tokenizer.json",
                 folder, shared, names[i], folder);
        assert_int_equal(system(path), 0);
        sonde_tokenizer *t = text_case_open(folder);
        snprintf(path, sizeof path, "%s/goldens/text/features/%s.jsonl.gz", shared, names[i]);
        text_case_check(t, path, text_case_line);
        sonde_tokenizer_destroy(&t);
    }
}

static const char chain[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,"
    "\"aaaa\":2,\"aaaaaaaa\":3},\"merges\":[\"a a\",\"aa aa\",\"aaaa aaaa\"]}}";

/* Steps of a run of equal letters: n log n, so ten times the letters may cost 15 times the
 * steps. */
static void test_merge_steps_of_long_runs(void **state)
{
    (void)state;
    assert_int_equal(system("mkdir -p build/chain"), 0);
    FILE *file = fopen("build/chain/tokenizer.json", "w");
    assert_non_null(file);
    fputs(chain, file);
    fclose(file);
    sonde_tokenizer *t = text_case_open("build/chain");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    char *text = sonde_alloc_raw(100000, 1);
    memset(text, 'a', 100000);
    uint64_t before = sonde_tokenizer_merge_steps();
    assert_int_equal(sonde_tokenizer_encode(t, text, 10000, NULL, &tokens, &err), SONDE_OK);
    assert_int_equal(tokens.count, 1250);
    uint64_t small = sonde_tokenizer_merge_steps() - before;
    assert_int_equal(sonde_tokenizer_encode(t, text, 100000, NULL, &tokens, &err), SONDE_OK);
    assert_int_equal(tokens.count, 12500);
    uint64_t large = sonde_tokenizer_merge_steps() - before - small;
    assert_true(small >= 8750);
    assert_true(large <= 15 * small);
    sonde_free(text);
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
}

static void test_bad_utf8_is_refused_with_its_byte(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/bytes-plain");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    assert_int_equal(sonde_tokenizer_encode(t, "abc\xC0\xAF", 5, NULL, &tokens, &err),
                     SONDE_BAD_PROMPT);
    assert_non_null(strstr(err.message, "byte 3"));
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
}

static void test_failed_allocations_are_reported(void **state)
{
    (void)state;
    for (long n = 0; n < 400; n++) {
        sonde_tokenizer *t = NULL;
        sonde_error err = {0};
        sonde_alloc_fail_after(n * 7);
        sonde_status status = sonde_tokenizer_open("tests/goldens/text/bytes-plain", &t, &err);
        sonde_alloc_fail_after(-1);
        if (status != SONDE_OK && status != SONDE_NO_MEMORY) fail_msg("%s", err.message);
        sonde_tokenizer_destroy(&t);
        if (status == SONDE_OK) return;
    }
    fail_msg("the tokenizer never opened");
}

/* What one thread encodes, again and again: short and long texts in turn. */
typedef struct encoding_thread {
    pthread_t thread;
    const sonde_tokenizer *tokenizer;
    const char *text;
    size_t bytes;
    const sonde_tokens *expected;
    bool good;
} encoding_thread;

static void *encode_again(void *context)
{
    encoding_thread *e = context;
    sonde_tokens tokens = {0};
    e->good = true;
    for (int i = 0; i < 20 && e->good; i++) {
        size_t bytes = i % 3 == 0 ? e->bytes : 40;
        e->good =
            sonde_tokenizer_encode(e->tokenizer, e->text, bytes, NULL, &tokens, NULL) == SONDE_OK;
        if (e->good && bytes == e->bytes)
            e->good = tokens.count == e->expected->count &&
                      memcmp(tokens.ids, e->expected->ids, 4 * tokens.count) == 0;
    }
    sonde_tokens_reset(&tokens);
    return NULL;
}

static void test_threads_share_a_tokenizer(void **state)
{
    (void)state;
    encoding_thread threads[6];
    sonde_tokens expected = {0};
    char *text;
    size_t bytes;
    assert_int_equal(sonde_read_file("data/prompts.txt", 1 << 24, &text, &bytes, NULL), SONDE_OK);
    sonde_tokenizer *t = text_case_open("tests/goldens/text/bytes-plain");
    sonde_tokenizer *alone = text_case_open("tests/goldens/text/bytes-plain");
    assert_int_equal(sonde_tokenizer_encode(alone, text, bytes, NULL, &expected, NULL), SONDE_OK);
    for (size_t i = 0; i < SONDE_COUNT(threads); i++) {
        threads[i] = (encoding_thread){
            .tokenizer = t, .text = text, .bytes = bytes, .expected = &expected};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, encode_again, &threads[i]), 0);
    }
    for (size_t i = 0; i < SONDE_COUNT(threads); i++) {
        pthread_join(threads[i].thread, NULL);
        assert_true(threads[i].good);
    }
    sonde_tokens_reset(&expected);
    sonde_tokenizer_destroy(&alone);
    sonde_tokenizer_destroy(&t);
    sonde_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_tokenizers_of_the_tree),
        cmocka_unit_test(test_published_tokenizers),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_merge_steps_of_long_runs),
        cmocka_unit_test(test_bad_utf8_is_refused_with_its_byte),
        cmocka_unit_test(test_failed_allocations_are_reported),
        cmocka_unit_test(test_threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
