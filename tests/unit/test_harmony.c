/*
 * test_harmony.c - the format of GPT-OSS without a model of it: headers, conversations and streams of
 * single bytes, each as openai-harmony 0.0.8 has it. test_chat_goldens has whole streams of its tokens.
 */
#include "core/json.h"
#include "text/chat_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *or_dash(const char *text)
{
    return text ? text : "-";
}

/* "role|name|channel|recipient|type", or what the refusal says. */
static void test_harmony_read_header(void **state)
{
    static const struct {
        const char *role, *text, *want;
    } cases[] = {
        {"assistant", "", "assistant|-|-|-|-"},
        {"assistant", "<|channel|>final", "assistant|-|final|-|-"},
        {"assistant", " to=functions.f<|channel|>commentary <|constrain|>json",
         "assistant|-|commentary|functions.f|<|constrain|>json"},
        {"assistant", "<|channel|>commentary to=functions.f<|constrain|>json",
         "assistant|-|commentary|functions.f|<|constrain|>json"},
        {"assistant", "<|channel|>analysis code", "assistant|-|analysis|code|-"},
        {"assistant", "assistant<|channel|>final\u00A0\u3000", "assistant|-|final|-|-"},
        {"assistant", "\u2003x\u2003", "assistant|-|-|x|-"},
        {"assistant", "a\vb c", "assistant|-|-|a\vb|c"},
        {"assistant", "a b c", "unexpected tokens remaining"},
        {"assistant", "<|channel|> final", "no channel value"},
        {"assistant", "to=a to=b", "unexpected tokens remaining"},
        {"assistant", "a\xC3", "could not decode header"},
        {NULL, "user", "user|-|-|-|-"},
        {NULL, "user:bob", "Unknown role: user:bob"},
        {NULL, "", "did not contain a role"},
        {NULL, "functions.f", "Unknown role: functions.f"},
        {NULL, "functions.f to=assistant<|channel|>commentary", "tool|functions.f|commentary|assistant|-"},
        {NULL, "functions.f tool to=assistant json", "tool|functions.f|-|assistant|json"},
        {NULL, "tool", "tool|tool|-|-|-"},
        {NULL, "tool x", "tool|tool|-|x|-"},
        {NULL, "to=x", "tool|to=x|-|-|-"},
        {NULL, "assistant<|channel|>a<b<|channel|>c", "Unknown role: assistant<b<|channel|>c"},
        {"tool", "tool x", "tool|-|-|x|-"},
        {"user", "assistant", "user|-|-|assistant|-"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_harmony_header h;
        sonde_error err = {0};
        char got[256];
        if (sonde_harmony_read_header(cases[i].text, strlen(cases[i].text), cases[i].role, &h, &err) != SONDE_OK) {
            if (!strstr(err.message, cases[i].want)) fail_msg("%s: %s", cases[i].text, err.message);
            continue;
        }
        snprintf(got, sizeof got, "%s|%s|%s|%s|%s", h.role, or_dash(h.name), or_dash(h.channel),
                 or_dash(h.recipient), or_dash(h.content_type));
        assert_string_equal(got, cases[i].want);
        sonde_harmony_header_reset(&h);
    }
    sonde_harmony_header h;
    assert_int_equal(sonde_harmony_read_header("a\0b", 3, NULL, &h, NULL), SONDE_BAD_PROMPT);
}

static void test_harmony_render(void **state)
{
    static const struct {
        const char *messages, *want;
    } cases[] = {
        {"[{'role':'user','name':'bob','content':'a<|end|>'}]", "<|start|>user:bob<|message|>a<|end|><|end|>"},
        {"[{'role':'assistant','recipient':'all','content':'x'}]", "<|start|>assistant<|message|>x<|call|>"},
        {"[{'role':'user','recipient':'all','channel':null,'content':''}]", "<|start|>user<|message|><|end|>"},
        {"[{'role':'tool','name':'functions.f','recipient':'assistant','channel':'commentary','content':'1'}]",
         "<|start|>functions.f to=assistant<|channel|>commentary<|message|>1<|end|>"},
        {"[{'role':'assistant','channel':'analysis','content':'t'},{'role':'assistant','channel':'final',"
         "'content_type':'<|constrain|>json','content':'1'}]",
         "<|start|>assistant<|channel|>final <|constrain|>json<|message|>1<|end|>"},
        {"[{'role':'tool','content':'1'}]", "messages[0]: a tool in a harmony message needs a \"name\""},
        {"[{'role':'user','content':'1'},{'role':'wizard','content':'1'}]",
         "messages[1]: role: expected system, developer, user, assistant or tool in a harmony message, got 'wizard'"},
        {"[{'role':'user','content':['1']}]",
         "messages[0]: expected texts \"role\" and \"content\" in a harmony message"},
        {"[{'role':'user','channel':5,'content':'1'}]", "messages[0]: channel: expected a text"},
        {"[{'role':'user','name':'a\\u0000b','content':'1'}]", "messages[0]: name: expected a text"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        jinja_buffer out = {0};
        sonde_error err = {0};
        char *text = strdup(cases[i].messages);
        for (char *c = text; *c; c++) *c = *c == '\'' ? '"' : *c;
        json_t *messages = json_loads(text, JSON_ALLOW_NUL, NULL);
        assert_non_null(messages);
        sonde_status status = sonde_harmony_render(messages, false, &out, &err);
        assert_string_equal(status == SONDE_OK ? out.bytes.data : err.message, cases[i].want);
        jinja_buffer_reset(&out);
        json_decref(messages);
        free(text);
    }
}

/* The small byte-level tokenizer with the special tokens of harmony. */
static sonde_tokenizer *open_bytes(void)
{
    static const char *const names[] = {"<|start|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>", "<|channel|>"};
    char folder[] = "/tmp/sonde_harmony_XXXXXX", path[64];
    json_t *root = NULL;
    sonde_tokenizer *t = NULL;
    sonde_error err = {0};
    assert_int_equal(sonde_json_load("tests/goldens/text/bytes-plain/tokenizer.json", 1 << 24, SONDE_BAD_FILE,
                                     &root, &err), SONDE_OK);
    json_t *model = json_object_get(root, "model"), *added = json_array();
    json_object_set_new(model, "merges", json_array());
    json_object_set_new(root, "post_processor", json_null());
    for (size_t i = 0; i < SONDE_COUNT(names); i++)
        json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", 1000 + (int)i, "content",
                                               names[i], "special", 1, "normalized", 0, "lstrip", 0, "rstrip", 0,
                                               "single_word", 0));
    json_object_set_new(root, "added_tokens", added);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    if (sonde_tokenizer_open(folder, &t, &err) != SONDE_OK) fail_msg("%s", err.message);
    unlink(path);
    rmdir(folder);
    json_decref(root);
    return t;
}

static uint32_t id_of(const sonde_tokenizer *t, unsigned char byte)
{
    for (uint32_t id = 0;; id++) {
        const char *piece;
        size_t n;
        assert_int_equal(sonde_tokenizer_piece(t, id, &piece, &n, NULL), SONDE_OK);
        if (n == 1 && (unsigned char)*piece == byte) return id;
    }
}

/* What every byte of a content adds, "." for nothing, and the content in the end. */
static void test_harmony_bad_bytes(void **state)
{
    static const struct {
        const char *bytes, *deltas, *content;
    } cases[] = {
        {"\xF0\x9F\x91\xA9", "...\U0001F469", "\U0001F469"},
        {"\xF0\x9F" "AB", "..\uFFFDAB", "\uFFFDAB"},
        {"\xE0\x80\x80" "A", ".\uFFFD\uFFFD\uFFFD", "\uFFFD\uFFFD\uFFFDA"},
        {"\xC3\xC3\xA9", ".\uFFFD\u00E9", "\uFFFD\u00E9"},
        {"\xFF\xF0" "A", "\uFFFD.\uFFFD", "\uFFFD\uFFFDA"},
        {"\xF0\x9F", "..", "\uFFFD"},
        {"\xE2\x82\xE2\x82\xAC", "..\uFFFD.\u20AC", "\uFFFD\u20AC"},
    };
    sonde_tokenizer *t = open_bytes();
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_harmony *h = NULL;
        sonde_harmony_step step;
        sonde_error err = {0};
        sonde_string deltas = {0};
        assert_int_equal(sonde_harmony_create(t, "assistant", &h, &err), SONDE_OK);
        assert_int_equal(sonde_harmony_push(h, 1001, &step, &err), SONDE_OK);
        for (const char *c = cases[i].bytes; *c; c++) {
            assert_int_equal(sonde_harmony_push(h, id_of(t, (unsigned char)*c), &step, &err), SONDE_OK);
            if (step.delta) sonde_string_append(&deltas, step.delta, step.delta_bytes);
            else sonde_string_text(&deltas, ".");
        }
        assert_int_equal(sonde_harmony_push(h, 1002, &step, &err), SONDE_OK);
        assert_string_equal(deltas.data, cases[i].deltas);
        assert_string_equal(sonde_harmony_get(h, 0).content, cases[i].content);
        sonde_string_reset(&deltas);
        sonde_harmony_destroy(&h);
    }
    sonde_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_harmony_read_header),
        cmocka_unit_test(test_harmony_render),
        cmocka_unit_test(test_harmony_bad_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
