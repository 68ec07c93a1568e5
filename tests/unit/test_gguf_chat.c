/* The chat template of a GGUF file: with the beginning of its own vocabulary, missing, not known. */
#include "core/json.h"
#include "sonde/chat.h"
#include "weights/config.h"
#include "weights/container.h"
#include "support/gguf_image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEMPLATE "tokenizer.chat_template"

static void put_key(sonde_string *s, const char *key, gguf_kind kind)
{
    gguf_put_text(s, key);
    gguf_put_int(s, kind, 4);
}

static void put_array(sonde_string *s, const char *key, gguf_kind element, size_t n)
{
    put_key(s, key, GGUF_ARRAY);
    gguf_put_int(s, element, 4);
    gguf_put_int(s, n, 8);
}

/* A SentencePiece vocabulary with `</s>` as control piece 1 and `<s>` as 2, and the value of a key
 * (a string, or NULL: a number). */
static sonde_gguf *open_file(sonde_string *image, const char *key, const char *text)
{
    static const char *const tokens[] = {"<unk>", "</s>", "<s>", "\u2581", "a", "<", "s", ">", "[", "I", "N", "S", "T", "]", "/"};
    static const unsigned types[] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    sonde_gguf *gguf = NULL;
    sonde_error err = {0};
    memset(image, 0, sizeof *image);
    sonde_string_text(image, "GGUF");
    gguf_put_int(image, 3, 4);
    gguf_put_int(image, 0, 8);
    gguf_put_int(image, 7, 8);
    put_key(image, "tokenizer.ggml.model", GGUF_STRING);
    gguf_put_text(image, "llama");
    put_array(image, "tokenizer.ggml.tokens", GGUF_STRING, SONDE_COUNT(tokens));
    for (size_t i = 0; i < SONDE_COUNT(tokens); i++) gguf_put_text(image, tokens[i]);
    put_array(image, "tokenizer.ggml.scores", GGUF_F32, SONDE_COUNT(tokens));
    for (size_t i = 0; i < SONDE_COUNT(tokens); i++) gguf_put_int(image, 0, 4);
    put_array(image, "tokenizer.ggml.token_type", GGUF_U32, SONDE_COUNT(tokens));
    for (size_t i = 0; i < SONDE_COUNT(tokens); i++) gguf_put_int(image, types[i], 4);
    put_key(image, "tokenizer.ggml.bos_token_id", GGUF_U32);
    gguf_put_int(image, 2, 4);
    put_key(image, "tokenizer.ggml.eos_token_id", GGUF_U32);
    gguf_put_int(image, 1, 4);
    put_key(image, key, text ? GGUF_STRING : GGUF_U32);
    if (text) gguf_put_text(image, text);
    else gguf_put_int(image, 7, 4);
    if (sonde_gguf_parse(image->data, image->length, "x.gguf", &gguf, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    return gguf;
}

static void test_gguf_chat_renders(void **state)
{
    static const char messages[] = "[{\"role\": \"user\", \"content\": \"a<s>\"}, {\"role\": \"assistant\", \"content\": \"a\"}]";
    static const uint32_t want[] = {2, 3, 8, 9, 10, 11, 12, 13, 3, 4, 5, 6, 7, 3, 8, 14, 9, 10, 11, 12, 13, 4, 1};
    json_t *root = NULL;
    sonde_string image;
    sonde_tokenizer *t = NULL;
    sonde_chat *chat = NULL;
    sonde_chat_text text = {0};
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    (void)state;
    assert_int_equal(sonde_json_load("tests/goldens/chat/mistral-v0.1.json", 1 << 24, SONDE_BAD_FILE, &root, &err), SONDE_OK);
    sonde_gguf *gguf = open_file(&image, TEMPLATE, json_string_value(json_object_get(root, "template")));
    if (sonde_gguf_tokenizer(gguf, &t, &err) != SONDE_OK) fail_msg("%s", err.message);
    if (sonde_gguf_chat(gguf, t, &chat, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_string_equal(sonde_chat_name(chat), "mistral-v0.1");
    if (sonde_chat_render(chat, messages, strlen(messages), NULL, &text, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_string_equal(text.text, "<s>[INST] a<s> [/INST]a</s> ");
    sonde_encode_options options = {sizeof options, 0, SONDE_BOS_NO, text.plain};
    assert_int_equal(sonde_tokenizer_encode(t, text.text, text.bytes, &options, &tokens, &err), SONDE_OK);
    for (size_t i = 0; i < tokens.count && i < SONDE_COUNT(want); i++) assert_int_equal(tokens.ids[i], want[i]);
    assert_true(tokens.count >= SONDE_COUNT(want));
    sonde_tokens_reset(&tokens);
    sonde_chat_text_reset(&text);
    sonde_chat_destroy(&chat);
    sonde_tokenizer_destroy(&t);
    sonde_gguf_close(&gguf);
    sonde_string_reset(&image);
    json_decref(root);
}

static void test_gguf_chat_refuses(void **state)
{
    static const struct {
        const char *key, *text, *message;
    } cases[] = {
        {"tokenizer.chat_template.tool_use", "{{ messages }}", "x.gguf: this model has no chat template (no metadata key " TEMPLATE ")"},
        {TEMPLATE, NULL, "x.gguf: this model has no chat template"},
        {TEMPLATE, "", "x.gguf: this model's chat template (hash "},
        {TEMPLATE, "{{ messages }}", "x.gguf: this model's chat template (hash "},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_string image;
        sonde_tokenizer *t = NULL;
        sonde_chat *chat = NULL;
        sonde_error err = {0};
        sonde_gguf *gguf = open_file(&image, cases[i].key, cases[i].text);
        if (sonde_gguf_tokenizer(gguf, &t, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(sonde_gguf_chat(gguf, t, &chat, &err), SONDE_BAD_TOKENIZER);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s", err.message);
        assert_non_null(strstr(err.message, "render the conversation elsewhere and give it as \"text\""));
        sonde_tokenizer_destroy(&t);
        sonde_gguf_close(&gguf);
        sonde_string_reset(&image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_chat_renders),
        cmocka_unit_test(test_gguf_chat_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
