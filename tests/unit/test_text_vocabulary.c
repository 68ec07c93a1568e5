/*
 * test_text_vocabulary.c - tokenizers from plain arrays, as GGUF files keep them, give the ids that
 * the same vocabulary gives as tokenizer.json. The arrays are made here from tokenizer.json files.
 */
#include "support/golden.h"
#include "support/text_case.h"
#include "weights/container.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, BYTE = 6 };

typedef struct arrays {
    sonde_vocabulary v;
    const char **tokens, **merges;
    size_t *token_bytes, *merge_bytes;
    int32_t *types;
    float *scores;
    json_t *root, *texts; /* what the pointers point into */
} arrays;

static json_t *read_json(const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    json_t *root = NULL;
    sonde_error err = {0};
    if (sonde_json_load(path, 1u << 30, SONDE_BAD_TOKENIZER, &root, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    return root;
}

static void set_token(arrays *a, int64_t id, const char *text, int32_t type)
{
    a->tokens[id] = text;
    a->token_bytes[id] = strlen(text);
    a->types[id] = type;
}

static int32_t piece_type(const char *text)
{
    if (strcmp(text, "<unk>") == 0) return UNKNOWN;
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 ? BYTE : NORMAL;
}

static void set_tokens(arrays *a, bool byte_level)
{
    json_t *vocab = json_object_get(json_object_get(a->root, "model"), "vocab"), *value;
    json_t *added = json_object_get(a->root, "added_tokens");
    const char *text;
    json_object_foreach(vocab, text, value)
        set_token(a, json_integer_value(value), text, byte_level ? NORMAL : piece_type(text));
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        int64_t id = json_integer_value(json_object_get(token, "id"));
        int32_t type = json_is_true(json_object_get(token, "special")) ? CONTROL : USER;
        if (a->types[id] != UNKNOWN)
            set_token(a, id, json_string_value(json_object_get(token, "content")), type);
    }
}

static void set_merges(arrays *a)
{
    const json_t *merges = json_object_get(json_object_get(a->root, "model"), "merges");
    size_t n = json_array_size(merges);
    a->merges = sonde_alloc(n, sizeof *a->merges);
    a->merge_bytes = sonde_alloc(n, sizeof *a->merge_bytes);
    a->texts = json_array();
    for (size_t i = 0; i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        json_t *text = json_is_string(merge)
                           ? json_string(json_string_value(merge))
                           : json_sprintf("%s %s", json_string_value(json_array_get(merge, 0)),
                                          json_string_value(json_array_get(merge, 1)));
        json_array_append_new(a->texts, text);
        a->merges[i] = json_string_value(text);
        a->merge_bytes[i] = json_string_length(text);
    }
    a->v.n_merges = (int64_t)n;
    a->v.merges = a->merges;
    a->v.merge_bytes = a->merge_bytes;
}

/* Arrays of a tokenizer.json; ids from `n_tokens` on are left out (0: none are). */
static void make_arrays(arrays *a, const char *folder, const char *model, const char *pre,
                        int64_t n_tokens)
{
    memset(a, 0, sizeof *a);
    sonde_tokenizer *t = text_case_open(folder);
    bool byte_level = strcmp(model, "gpt2") == 0;
    size_t n = (size_t)sonde_tokenizer_size(t);
    a->root = read_json(folder);
    a->tokens = sonde_alloc(n, sizeof *a->tokens);
    a->token_bytes = sonde_alloc(n, sizeof *a->token_bytes);
    a->types = sonde_alloc(n, sizeof *a->types);
    a->scores = sonde_alloc(n, sizeof *a->scores);
    set_tokens(a, byte_level);
    if (byte_level) set_merges(a);
    for (size_t i = 0; i < n; i++) a->scores[i] = -(float)i;
    a->v.model = model;
    a->v.pre = pre;
    a->v.n_tokens = n_tokens ? n_tokens : (int64_t)n;
    a->v.tokens = a->tokens;
    a->v.token_bytes = a->token_bytes;
    a->v.types = a->types;
    a->v.scores = a->scores;
    a->v.bos_id = sonde_tokenizer_bos(t);
    a->v.eos_id = -1;
    a->v.unknown_id = byte_level ? -1 : sonde_tokenizer_find(t, "<unk>");
    a->v.add_space_prefix = -1;
    sonde_tokens tokens = {0};
    sonde_tokenizer_encode(t, "", 0, NULL, &tokens, NULL);
    a->v.add_bos = tokens.count > 0;
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
}

static void reset_arrays(arrays *a)
{
    sonde_free(a->tokens);
    sonde_free(a->token_bytes);
    sonde_free(a->merges);
    sonde_free(a->merge_bytes);
    sonde_free(a->types);
    sonde_free(a->scores);
    json_decref(a->root);
    json_decref(a->texts);
}

static sonde_tokenizer *create(const arrays *a)
{
    sonde_tokenizer *t = NULL;
    sonde_error err = {0};
    if (sonde_tokenizer_create(&a->v, &t, &err) != SONDE_OK) fail_msg("%s", err.message);
    return t;
}

/* Characters of a text of underlines alone, or 0. */
static size_t underlines(const char *text)
{
    size_t n = 0;
    while (text && strncmp(text + 3 * n, "\xE2\x96\x81", 3) == 0) n++;
    return text && text[3 * n] == '\0' ? n : 0;
}

/* Runs of underlines have the score -1e9 (they merge last), or are user-defined: then their score
 * is 0 and GGUF has spaces in their place. */
static void score_like_sentencepiece(arrays *a, int64_t id)
{
    static const char spaces[] = "                                                                ";
    size_t n = underlines(a->tokens[id]);
    if (n > 1) a->scores[id] = -1e9f;
    if (a->types[id] != USER) return;
    a->scores[id] = 0;
    if (n == 0 || n >= sizeof spaces) return;
    a->tokens[id] = spaces + sizeof spaces - 1 - n;
    a->token_bytes[id] = n;
}

static void check_published(const char *name, const char *model, const char *pre,
                            int32_t space_prefix)
{
    char path[512];
    arrays a;
    snprintf(path, sizeof path, "%s/tokenizers/%s", test_shared(), name);
    make_arrays(&a, path, model, pre, 0);
    for (int64_t i = 0; i < a.v.n_tokens; i++) score_like_sentencepiece(&a, i);
    a.v.add_space_prefix = space_prefix;
    sonde_tokenizer *t = create(&a);
    snprintf(path, sizeof path, "%s/goldens/text/%s.jsonl.gz", test_shared(), name);
    text_case_check(t, path, text_case_line);
    snprintf(path, sizeof path, "%s/goldens/text/%s.decode.jsonl.gz", test_shared(), name);
    text_case_check(t, path, text_case_decode_line);
    sonde_tokenizer_destroy(&t);
    reset_arrays(&a);
}

static void test_published_byte_level_vocabularies(void **state)
{
    static const char *const names[][2] = {{"llama-3.1", "llama-bpe"},
                                           {"qwen3", "qwen2"},
                                           {"smollm2", "smollm"},
                                           {"gpt-oss", "gpt-4o"},
                                           {"deepseek-v3", "deepseek-v3"}};
    (void)state;
    if (!test_shared()) skip();
    for (size_t i = 0; i < SONDE_COUNT(names); i++)
        check_published(names[i][0], "gpt2", names[i][1], -1);
}

static void test_published_scored_vocabularies(void **state)
{
    (void)state;
    if (!test_shared()) skip();
    check_published("mistral-v0.1", "llama", NULL, -1);
    check_published("gemma-3", "llama", NULL, 0);
}

/* The tiny GGUF models of the shared goldens. Their qwen2 was trained without the NFC that every
 * published tokenizer of that name has, and that the name therefore stands for. */
static void check_gguf(const char *file, const char *model, bool nfc_only)
{
    char path[512];
    sonde_gguf_parts parts;
    sonde_tokenizer *t = NULL;
    sonde_error err = {0};
    snprintf(path, sizeof path, "%s/goldens/gguf/models/%s", test_shared(), file);
    if (sonde_gguf_open(path, &parts, &err) != SONDE_OK ||
        sonde_gguf_tokenizer(parts.files[0].gguf, &t, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    snprintf(path, sizeof path, "%s/goldens/gguf/models/tokens.jsonl.gz", test_shared());
    text_case_check_ids(t, path, model, nfc_only);
    sonde_tokenizer_destroy(&t);
    sonde_gguf_parts_reset(&parts);
}

static void test_tiny_gguf_models(void **state)
{
    (void)state;
    if (!test_shared()) skip();
    check_gguf("llama-f16.gguf", "llama", false);
    check_gguf("qwen2-f16.gguf", "qwen2", true);
    check_gguf("gpt2-f16.gguf", "gpt2", false);
    check_gguf("gemma3-q8_0.gguf", "gemma3", false);
}

/* Ids of `text` by both tokenizers. */
static void check_same(const sonde_tokenizer *a, const sonde_tokenizer *b, const char *text)
{
    sonde_tokens x = {0}, y = {0};
    sonde_error err = {0};
    assert_int_equal(sonde_tokenizer_encode(a, text, strlen(text), NULL, &x, &err), SONDE_OK);
    assert_int_equal(sonde_tokenizer_encode(b, text, strlen(text), NULL, &y, &err), SONDE_OK);
    bool same = x.count == y.count &&
                (x.count == 0 || (memcmp(x.ids, y.ids, x.count * 4) == 0 &&
                                  memcmp(x.text_start, y.text_start, x.count * 4) == 0 &&
                                  memcmp(x.text_end, y.text_end, x.count * 4) == 0));
    if (!same) fail_msg("'%s' has other ids or spans", text);
    sonde_tokens_reset(&x);
    sonde_tokens_reset(&y);
}

static const char *const samples[] = {"",
                                      "a",
                                      " a",
                                      "the word",
                                      "  the  word",
                                      "aaaaaaaa",
                                      "a<s>b",
                                      "</s>the</s>",
                                      "\xE4\xBD\xA0\xE5\xA5\xBD",
                                      "\xF0\x9F\x98\x80 caf\xC3\xA9",
                                      "<0x41>",
                                      "\n\n\n",
                                      "\xE2\x96\x81the",
                                      "a, the, word"};

/* The small tokenizer's last two ids are tokens that only a list can add: they stay out here. */
static void test_scores_give_the_ids_of_a_list_of_merges(void **state)
{
    (void)state;
    arrays a;
    sonde_tokenizer *json = text_case_open("tests/goldens/text/spm");
    make_arrays(&a, "tests/goldens/text/spm", "llama", NULL, sonde_tokenizer_size(json) - 2);
    sonde_tokenizer *scored = create(&a);
    for (size_t i = 0; i < SONDE_COUNT(samples); i++) check_same(json, scored, samples[i]);
    sonde_tokenizer_destroy(&scored);
    sonde_tokenizer_destroy(&json);
    reset_arrays(&a);
}

static void test_add_space_prefix_and_template_are_honoured(void **state)
{
    (void)state;
    arrays a;
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    make_arrays(&a, "tests/goldens/text/spm", "llama", NULL, 0);
    a.v.add_space_prefix = a.v.add_bos = 0;
    a.v.add_eos = 1;
    a.v.eos_id = 2;
    sonde_tokenizer *t = create(&a);
    assert_int_equal(sonde_tokenizer_encode(t, "the", 3, NULL, &tokens, &err), SONDE_OK);
    assert_int_equal(tokens.count, 2);
    assert_int_equal(tokens.ids[0], sonde_tokenizer_find(t, "the"));
    assert_int_equal(tokens.ids[1], 2);
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
    reset_arrays(&a);
}

/* A SentencePiece vocabulary of n pieces, the first of which is the unknown one. */
static sonde_tokenizer *scored(int64_t n, const char *const *tokens, const size_t *bytes,
                               const int32_t *types, const float *scores)
{
    arrays a = {.v = {.model = "llama",
                      .n_tokens = n,
                      .tokens = tokens,
                      .token_bytes = bytes,
                      .types = types,
                      .scores = scores,
                      .bos_id = -1,
                      .eos_id = -1}};
    return create(&a);
}

/* A user-defined run of spaces: its underlines match literal ones, spaces merge by score. */
static void test_user_defined_spaces_are_underlines(void **state)
{
    static const char *const tokens[] = {"<unk>", "\xE2\x96\x81", "a", "  ", "<0x41>"};
    static const size_t bytes[] = {5, 3, 1, 2, 6};
    static const int32_t types[] = {UNKNOWN, NORMAL, NORMAL, USER, BYTE};
    static const float scores[] = {0, -1, -2, 0, 0};
    (void)state;
    sonde_tokenizer *t = scored(5, tokens, bytes, types, scores);
    sonde_tokens out = {0};
    sonde_error err = {0};
    assert_int_equal(
        sonde_tokenizer_encode(t, "a  a \xE2\x96\x81\xE2\x96\x81", 11, NULL, &out, &err), SONDE_OK);
    static const uint32_t want[] = {2, 3, 2, 1, 3};
    assert_int_equal(out.count, 5);
    assert_memory_equal(out.ids, want, sizeof want);
    sonde_tokens_reset(&out);
    sonde_tokenizer_destroy(&t);
}

/* Types are as the file says; a name such as </s> makes no token special. */
static void test_types_are_not_guessed_from_names(void **state)
{
    static const char *const tokens[] = {"<unk>", "a", "</s>", "\xE2\x96\x81"};
    static const size_t bytes[] = {5, 1, 4, 3};
    static const int32_t types[] = {UNKNOWN, NORMAL, USER, NORMAL};
    static const float scores[4] = {0};
    (void)state;
    sonde_tokenizer *t = scored(4, tokens, bytes, types, scores);
    sonde_tokens out = {0};
    sonde_error err = {0};
    sonde_encode_options literal = {.literal_special = 1, .bos = SONDE_BOS_NO};
    assert_int_equal(sonde_tokenizer_encode(t, "a</s>", 5, &literal, &out, &err), SONDE_OK);
    assert_int_equal(out.ids[out.count - 1], 2);
    assert_false(sonde_tokenizer_is_special(t, 2));
    sonde_tokens_reset(&out);
    sonde_tokenizer_destroy(&t);
}

static void test_what_is_not_known_is_refused(void **state)
{
    static const char *const tokens[] = {"a"};
    static const size_t bytes[] = {1};
    static const float nan_score[] = {(float)(0.0 / 0.0)};
    static const struct {
        const char *model, *pre;
        const float *scores;
        const char *message;
    } cases[] = {{"t5", NULL, NULL, "tokenizer.ggml.model 't5' is not supported"},
                 {"bert", NULL, NULL, "'bert'"},
                 {"gpt2", "viking-9", NULL, "tokenizer.ggml.pre 'viking-9'"},
                 {"llama", NULL, NULL, "without tokenizer.ggml.scores"},
                 {"llama", NULL, nan_score, "is not a number"}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_vocabulary v = {.model = cases[i].model,
                              .pre = cases[i].pre,
                              .n_tokens = 1,
                              .tokens = tokens,
                              .token_bytes = bytes,
                              .scores = cases[i].scores,
                              .bos_id = -1,
                              .eos_id = -1,
                              .unknown_id = -1};
        sonde_tokenizer *t = NULL;
        sonde_error err = {0};
        assert_int_equal(sonde_tokenizer_create(&v, &t, &err), SONDE_BAD_TOKENIZER);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s", err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_byte_level_vocabularies),
        cmocka_unit_test(test_published_scored_vocabularies),
        cmocka_unit_test(test_tiny_gguf_models),
        cmocka_unit_test(test_scores_give_the_ids_of_a_list_of_merges),
        cmocka_unit_test(test_add_space_prefix_and_template_are_honoured),
        cmocka_unit_test(test_user_defined_spaces_are_underlines),
        cmocka_unit_test(test_types_are_not_guessed_from_names),
        cmocka_unit_test(test_what_is_not_known_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
