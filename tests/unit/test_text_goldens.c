/*
 * test_text_goldens.c - ids and text identical to Hugging Face `tokenizers`: every string of the
 * shared goldens when they are there, and small tokenizers of the tree always.
 *
 * A golden line is JSON: text, ids (special text taken literally, nothing added), ids_special
 * (parsed, with the template), decoded and decoded_special where they differ from the text.
 */
#include "core/json.h"
#include "sonde/text.h"
#include "support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define LINE_BYTES (4u << 20)

typedef struct counts {
    int64_t lines, bad;
} counts;

static void report(counts *t, const char *name, const char *what, int64_t line)
{
    if (t->bad++ < 5) print_error("%s line %lld: %s differs\n", name, (long long)line, what);
}

static bool same_ids(const sonde_tokens *got, const json_t *want)
{
    if (got->count != json_array_size(want)) return false;
    for (size_t i = 0; i < got->count; i++)
        if (got->ids[i] != (uint32_t)json_integer_value(json_array_get(want, i))) return false;
    return true;
}

static bool same_text(const sonde_tokenizer *t, const uint32_t *ids, size_t n, bool skip,
                      const json_t *want)
{
    char *text = NULL;
    size_t bytes;
    sonde_error err = {0};
    if (sonde_tokenizer_decode(t, ids, n, skip, &text, &bytes, &err) != SONDE_OK) return false;
    bool same = bytes == json_string_length(want) && memcmp(text, json_string_value(want), bytes) == 0;
    sonde_string streamed = {0};
    sonde_decoder *decoder = NULL;
    assert_int_equal(sonde_decoder_create(t, skip, &decoder, &err), SONDE_OK);
    for (size_t i = 0; i <= n; i++) {
        const char *piece;
        size_t length;
        sonde_status status = i < n ? sonde_decoder_push(decoder, ids[i], &piece, &length, &err)
                                    : sonde_decoder_finish(decoder, &piece, &length, &err);
        assert_int_equal(status, SONDE_OK);
        assert_int_equal(sonde_utf8_valid_prefix(piece, length), length);
        sonde_string_append(&streamed, piece, length);
    }
    same = same && streamed.length == bytes && memcmp(streamed.data, text, bytes) == 0;
    sonde_decoder_destroy(&decoder);
    sonde_string_reset(&streamed);
    sonde_text_free(text);
    return same;
}

static void check_line(const sonde_tokenizer *t, const json_t *line, const char *name, counts *tally)
{
    const json_t *text = json_object_get(line, "text"), *ids = json_object_get(line, "ids");
    const json_t *special = json_object_get(line, "ids_special");
    const json_t *decoded = json_object_get(line, "decoded");
    const json_t *decoded_special = json_object_get(line, "decoded_special");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    sonde_encode_options literal = {.literal_special = 1, .bos = SONDE_BOS_NO};
    size_t bytes = json_string_length(text);
    sonde_tokenizer_encode(t, json_string_value(text), bytes, &literal, &tokens, &err);
    if (!same_ids(&tokens, ids)) report(tally, name, "ids", tally->lines);
    if (!decoded) decoded = text;
    if (!same_text(t, tokens.ids, tokens.count, false, decoded))
        report(tally, name, "decoded", tally->lines);
    for (size_t i = 0; i < tokens.count; i++)
        if (tokens.text_start[i] > tokens.text_end[i] || tokens.text_end[i] > bytes)
            report(tally, name, "a byte span", tally->lines);
    sonde_tokenizer_encode(t, json_string_value(text), bytes, NULL, &tokens, &err);
    if (special && !same_ids(&tokens, special)) report(tally, name, "ids_special", tally->lines);
    if (!decoded_special) decoded_special = decoded;
    if (special && !same_text(t, tokens.ids, tokens.count, true, decoded_special))
        report(tally, name, "decoded_special", tally->lines);
    sonde_tokens_reset(&tokens);
}

static void check_decode_line(const sonde_tokenizer *t, const json_t *line, const char *name,
                              counts *tally)
{
    const json_t *list = json_object_get(line, "ids"), *text = json_object_get(line, "text");
    const json_t *skip = json_object_get(line, "text_skip");
    size_t n = json_array_size(list);
    uint32_t *ids = sonde_alloc(n, sizeof *ids);
    for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    if (!same_text(t, ids, n, false, text)) report(tally, name, "text", tally->lines);
    if (!same_text(t, ids, n, true, skip ? skip : text)) report(tally, name, "text_skip", tally->lines);
    sonde_free(ids);
}

typedef void check_function(const sonde_tokenizer *t, const json_t *line, const char *name,
                            counts *tally);

static void check_file(const sonde_tokenizer *t, const char *path, check_function *check)
{
    gzFile file = gzopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    char *buffer = sonde_alloc_raw(LINE_BYTES, 1);
    counts tally = {0, 0};
    while (gzgets(file, buffer, LINE_BYTES)) {
        json_t *line = json_loads(buffer, JSON_ALLOW_NUL, NULL);
        if (!line) fail_msg("%s: a line is not JSON", path);
        tally.lines++;
        check(t, line, path, &tally);
        json_decref(line);
    }
    sonde_free(buffer);
    gzclose(file);
    assert_true(tally.lines > 0);
    if (tally.bad) fail_msg("%s: %lld of %lld lines differ", path, (long long)tally.bad, (long long)tally.lines);
}

static sonde_tokenizer *open_folder(const char *folder)
{
    sonde_tokenizer *t = NULL;
    sonde_error err = {0};
    if (sonde_tokenizer_open(folder, &t, &err) != SONDE_OK) fail_msg("%s", err.message);
    return t;
}

static void test_small_tokenizers_of_the_tree(void **state)
{
    static const char *const names[] = {"bytes-plain", "bytes-nfc-prefix-space", "bytes-nfkc-lower", "bytes-nfd",
                                        "spm", "spm-no-prefix", "spm-gaps", "spm-unknown", "unigram",
                                        "unigram-bytes", "metaspace-first", "metaspace-always",
                                        "metaspace-never", "tiktoken"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char folder[160], lines[200];
        snprintf(folder, sizeof folder, "tests/goldens/text/%s", names[i]);
        snprintf(lines, sizeof lines, "%s/strings.jsonl.gz", folder);
        sonde_tokenizer *t = open_folder(folder);
        check_file(t, lines, check_line);
        snprintf(lines, sizeof lines, "%s/decode.jsonl.gz", folder);
        if (sonde_path_exists(lines)) check_file(t, lines, check_decode_line);
        sonde_tokenizer_destroy(&t);
    }
}

static void test_published_tokenizers(void **state)
{
    static const char *const names[] = {"gpt2", "llama-3.1", "qwen3", "smollm2", "mistral-v0.1", "gemma-3",
                                        "deepseek-v3", "gpt-oss"};
    (void)state;
    const char *shared = test_shared();
    if (!shared) skip();
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tokenizers/%s", shared, names[i]);
        sonde_tokenizer *t = open_folder(path);
        snprintf(path, sizeof path, "%s/goldens/text/%s.jsonl.gz", shared, names[i]);
        check_file(t, path, check_line);
        snprintf(path, sizeof path, "%s/goldens/text/%s.decode.jsonl.gz", shared, names[i]);
        check_file(t, path, check_decode_line);
        sonde_tokenizer_destroy(&t);
    }
}

/* The made-up tokenizers of the shared goldens: flags of added tokens, normalisers, Metaspace. */
static void test_features(void **state)
{
    static const char *const names[] = {"bytes-plain", "bytes-nfc-prefix-space", "bytes-nfkc-lower",
                                        "metaspace-first", "metaspace-always", "metaspace-never",
                                        "prepend"};
    (void)state;
    const char *shared = test_shared();
    if (!shared) skip();
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char path[512], folder[160];
        snprintf(folder, sizeof folder, "build/features/%s", names[i]);
        snprintf(path, sizeof path, "mkdir -p %s && cp %s/goldens/text/features/%s.tokenizer.json "
                 "%s/tokenizer.json", folder, shared, names[i], folder);
        assert_int_equal(system(path), 0);
        sonde_tokenizer *t = open_folder(folder);
        snprintf(path, sizeof path, "%s/goldens/text/features/%s.jsonl.gz", shared, names[i]);
        check_file(t, path, check_line);
        sonde_tokenizer_destroy(&t);
    }
}

static const char chain[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,"
    "\"aaaa\":2,\"aaaaaaaa\":3},\"merges\":[\"a a\",\"aa aa\",\"aaaa aaaa\"]}}";

/* Steps of a run of equal letters: n log n, so ten times the letters may cost 15 times the steps. */
static void test_merge_steps_of_long_runs(void **state)
{
    (void)state;
    assert_int_equal(system("mkdir -p build/chain"), 0);
    FILE *file = fopen("build/chain/tokenizer.json", "w");
    assert_non_null(file);
    fputs(chain, file);
    fclose(file);
    sonde_tokenizer *t = open_folder("build/chain");
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
    sonde_tokenizer *t = open_folder("tests/goldens/text/bytes-plain");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    assert_int_equal(sonde_tokenizer_encode(t, "abc\xC0\xAF", 5, NULL, &tokens, &err), SONDE_BAD_PROMPT);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_tokenizers_of_the_tree),
        cmocka_unit_test(test_published_tokenizers),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_merge_steps_of_long_runs),
        cmocka_unit_test(test_bad_utf8_is_refused_with_its_byte),
        cmocka_unit_test(test_failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
