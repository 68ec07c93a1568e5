/*
 * test_chat_goldens.c - conversations rendered as transformers renders them, text and ids, for every
 * template and case of the shared goldens (when they are there) and of the small goldens of the
 * tree; harmony streams parsed as OpenAI's library parses them.
 *
 * A content that spells special tokens must not become them: there the ids differ from those of
 * Hugging Face on purpose, and the test asks that no special token comes from content.
 */
#include "core/json.h"
#include "sonde/chat.h"
#include "support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct counts {
    int cases, errors, forged, bad;
} counts;

static void report(counts *n, const char *name, const json_t *test, const char *what, const char *why)
{
    n->bad++;
    print_error("%s, %s: %s: %s\n", name, json_string_value(json_object_get(test, "name")), what, why);
}

/* ---- templates ---------------------------------------------------------------------------------- */

static char *conversation_of(const json_t *test)
{
    json_t *object = json_object();
    json_object_set(object, "messages", json_object_get(test, "messages"));
    if (json_object_get(test, "tools")) json_object_set(object, "tools", json_object_get(test, "tools"));
    if (json_object_get(test, "kwargs")) json_object_set(object, "chat", json_object_get(test, "kwargs"));
    char *text = json_dumps(object, 0);
    json_decref(object);
    return text;
}

/* Content is covered by no added token but ordinary ones; true when there is anything to cover. */
static bool check_content(const sonde_tokenizer *t, const sonde_chat_text *text,
                          const sonde_tokens *tokens, counts *n, const char *name, const json_t *test)
{
    for (size_t i = 0; i < tokens->count; i++) {
        uint32_t from = tokens->text_start[i], to = tokens->text_end[i];
        if (sonde_tokenizer_is_special(t, tokens->ids[i]) && memchr(text->plain + from, 1, to - from))
            report(n, name, test, "content", "became a special token");
    }
    return strstr(json_string_value(json_object_get(test, "name")), "special tokens") != NULL;
}

static void check_ids(const sonde_tokenizer *t, const sonde_chat_text *text, counts *n,
                      const char *name, const json_t *test)
{
    sonde_encode_options options = {sizeof options, 0, SONDE_BOS_NO, text->plain};
    const json_t *want = json_object_get(test, "ids");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    assert_int_equal(sonde_tokenizer_encode(t, text->text, text->bytes, &options, &tokens, &err), SONDE_OK);
    bool same = tokens.count == json_array_size(want);
    for (size_t i = 0; same && i < tokens.count; i++)
        same = tokens.ids[i] == (uint32_t)json_integer_value(json_array_get(want, i));
    if (check_content(t, text, &tokens, n, name, test)) n->forged++;
    else if (!same) report(n, name, test, "ids", "differ");
    for (size_t i = 0; i < tokens.count; i++) {
        sonde_segment s = sonde_segment_of(text->segments, tokens.text_start[i], tokens.text_end[i]);
        if (sonde_tokenizer_is_special(t, tokens.ids[i]) && s != SONDE_SEGMENT_MARKUP)
            report(n, name, test, "segments", "a special token is no markup");
    }
    sonde_tokens_reset(&tokens);
}

static void check_case(const sonde_chat *chat, const sonde_tokenizer *t, const char *date,
                       const json_t *test, counts *n)
{
    char *json = conversation_of(test), args[64];
    const char *name = sonde_chat_name(chat);
    const json_t *want = json_object_get(test, "text"), *refused = json_object_get(test, "error");
    bool open = json_is_true(json_object_get(test, "add_generation_prompt"));
    snprintf(args, sizeof args, "{\"date\": \"%s\"}", date);
    sonde_chat_options options = {sizeof options, open ? 1 : 2, args};
    sonde_chat_text text = {0};
    sonde_error err = {0};
    sonde_status status = sonde_chat_render(chat, json, strlen(json), &options, &text, &err);
    n->cases++;
    if (refused) {
        n->errors++;
        if (status != SONDE_BAD_PROMPT) report(n, name, test, "expected a refusal", err.message);
        else if (!strstr(err.message, json_string_value(refused)))
            report(n, name, test, "refused in other words", err.message);
    } else if (status != SONDE_OK) {
        report(n, name, test, "refused", err.message);
    } else if (text.bytes != json_string_length(want) ||
               memcmp(text.text, json_string_value(want), text.bytes) != 0) {
        report(n, name, test, "text", text.text);
    } else {
        check_ids(t, &text, n, name, test);
    }
    sonde_chat_text_reset(&text);
    free(json);
}

/* A folder as a checkpoint has it: the golden's tokenizer, template and names of special tokens. */
static void make_folder(const char *place, const json_t *root, const char *folder)
{
    char *from = sonde_path_join(place, "tokenizer.json"), *to = sonde_path_join(folder, "tokenizer.json");
    char *config = sonde_path_join(folder, "tokenizer_config.json");
    json_t *value = json_object();
    json_object_set(value, "chat_template", json_object_get(root, "template"));
    json_object_set(value, "bos_token", json_object_get(root, "bos_token"));
    json_object_set(value, "eos_token", json_object_get(root, "eos_token"));
    unlink(to);
    assert_int_equal(symlink(from, to), 0);
    assert_int_equal(json_dump_file(value, config, 0), 0);
    json_decref(value);
    sonde_free(from);
    sonde_free(to);
    sonde_free(config);
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char *path = sonde_path_join(folder, names[i]);
        unlink(path);
        sonde_free(path);
    }
    rmdir(folder);
}

/* One file of goldens; tokenizers stand in `tokenizers`. */
static void check_template(const char *path, const char *tokenizers, counts *n)
{
    sonde_error err = {0};
    json_t *root = NULL;
    const json_t *test;
    sonde_tokenizer *t = NULL;
    sonde_chat *chat = NULL;
    char folder[] = "/tmp/sonde_chat_XXXXXX";
    size_t i;
    assert_int_equal(sonde_json_load(path, (size_t)64 << 20, SONDE_BAD_FILE, &root, &err), SONDE_OK);
    char *place = sonde_path_join(tokenizers, json_string_value(json_object_get(root, "tokenizer")));
    char *whole = realpath(place, NULL);
    assert_non_null(whole);
    assert_non_null(mkdtemp(folder));
    make_folder(whole, root, folder);
    if (sonde_tokenizer_open(folder, &t, &err) != SONDE_OK) fail_msg("%s: %s", place, err.message);
    if (sonde_chat_open(folder, t, &chat, &err) != SONDE_OK) fail_msg("%s: %s", path, err.message);
    json_array_foreach(json_object_get(root, "cases"), i, test)
        check_case(chat, t, json_string_value(json_object_get(root, "date")), test, n);
    sonde_chat_destroy(&chat);
    sonde_tokenizer_destroy(&t);
    remove_folder(folder);
    sonde_free(place);
    free(whole);
    json_decref(root);
}

static void test_chat_own_templates(void **state)
{
    counts n = {0};
    (void)state;
    check_template("tests/goldens/chat/mistral-v0.1.json", "tests/goldens/text", &n);
    check_template("tests/goldens/chat/smollm2.json", "tests/goldens/text", &n);
    assert_int_equal(n.cases, 16);
    assert_int_equal(n.errors, 2);
    assert_int_equal(n.bad, 0);
}

/* ---- no memory ---------------------------------------------------------------------------------- */

/* Opens and renders once for every allocation that fails; in the end as if none had. */
static void check_memory(const char *path, const char *tokenizers)
{
    json_t *root = NULL;
    sonde_tokenizer *t = NULL;
    sonde_chat *chat = NULL;
    sonde_chat_text text = {0}, want = {0};
    sonde_error err = {0};
    sonde_status status = SONDE_NO_MEMORY;
    assert_int_equal(sonde_json_load(path, (size_t)64 << 20, SONDE_BAD_FILE, &root, &err), SONDE_OK);
    const char *template = json_string_value(json_object_get(root, "template"));
    char *folder = sonde_path_join(tokenizers, json_string_value(json_object_get(root, "tokenizer")));
    assert_int_equal(sonde_tokenizer_open(folder, &t, &err), SONDE_OK);
    for (long n = 0; status == SONDE_NO_MEMORY; n++) {
        sonde_alloc_fail_after(n);
        status = sonde_chat_create(template, strlen(template), t, &chat, &err);
        sonde_alloc_fail_after(-1);
    }
    assert_int_equal(status, SONDE_OK);
    const json_t *cases = json_object_get(root, "cases");
    char *json = conversation_of(json_array_get(cases, json_array_size(cases) - 1));
    assert_int_equal(sonde_chat_render(chat, json, strlen(json), NULL, &want, &err), SONDE_OK);
    status = SONDE_NO_MEMORY;
    for (long n = 0; status == SONDE_NO_MEMORY; n++) {
        sonde_alloc_fail_after(n);
        status = sonde_chat_render(chat, json, strlen(json), NULL, &text, &err);
        sonde_alloc_fail_after(-1);
    }
    assert_int_equal(status, SONDE_OK);
    assert_string_equal(text.text, want.text);
    assert_memory_equal(text.segments, want.segments, want.bytes);
    sonde_chat_text_reset(&text);
    sonde_chat_text_reset(&want);
    sonde_chat_destroy(&chat);
    sonde_tokenizer_destroy(&t);
    sonde_free(folder);
    free(json);
    json_decref(root);
}

static void test_chat_out_of_memory(void **state)
{
    const char *shared = test_shared();
    char path[512], folder[512];
    (void)state;
    check_memory("tests/goldens/chat/smollm2.json", "tests/goldens/text");
    if (!shared) return;
    snprintf(folder, sizeof folder, "%s/tokenizers", shared);
    snprintf(path, sizeof path, "%s/goldens/chat/gpt-oss.json", shared);
    check_memory(path, folder);
}

/* ---- of the shared goldens ---------------------------------------------------------------------- */

static void test_chat_shared_templates(void **state)
{
    static const char *const names[] = {"llama-3.1",   "llama-3.1-tools", "llama-3.2-tools",
                                        "qwen3",       "gemma-3",         "deepseek-v3",
                                        "mistral-v0.1", "gpt-oss",        "smollm2"};
    const char *shared = test_shared();
    counts n = {0};
    char path[512], folder[512];
    (void)state;
    if (!shared) skip();
    snprintf(folder, sizeof folder, "%s/tokenizers", shared);
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/goldens/chat/%s.json", shared, names[i]);
        check_template(path, folder, &n);
    }
    print_message("%d cases: %d refused as they should be, %d with special tokens in content\n", n.cases,
                  n.errors, n.forged);
    assert_int_equal(n.bad, 0);
}

/* ---- harmony ------------------------------------------------------------------------------------ */

static bool same_text(const char *got, const json_t *want)
{
    const char *text = json_string_value(want);
    return got && text ? strcmp(got, text) == 0 : !got == !text;
}

static bool same_step(const sonde_harmony_step *s, const json_t *want)
{
    const json_t *delta = json_array_get(want, 4);
    bool same = !s->delta == json_is_null(delta) || !s->delta == !json_is_string(delta);
    if (s->delta && json_is_string(delta))
        same = s->delta_bytes == json_string_length(delta) &&
               memcmp(s->delta, json_string_value(delta), s->delta_bytes) == 0;
    return same && same_text(s->role, json_array_get(want, 0)) &&
           same_text(s->channel, json_array_get(want, 1)) &&
           same_text(s->recipient, json_array_get(want, 2)) &&
           same_text(s->content_type, json_array_get(want, 3));
}

static bool same_message(const sonde_harmony *h, int64_t i, const json_t *want)
{
    sonde_harmony_message m = sonde_harmony_get(h, i);
    const json_t *content = json_object_get(json_array_get(json_object_get(want, "content"), 0), "text");
    return same_text(m.role, json_object_get(want, "role")) &&
           same_text(m.name, json_object_get(want, "name")) &&
           same_text(m.channel, json_object_get(want, "channel")) &&
           same_text(m.recipient, json_object_get(want, "recipient")) &&
           same_text(m.content_type, json_object_get(want, "content_type")) &&
           m.content_bytes == json_string_length(content) &&
           memcmp(m.content, json_string_value(content), m.content_bytes) == 0;
}

/* NULL when all is as it should be. */
static const char *check_stream(const sonde_tokenizer *t, const json_t *test, bool *refused)
{
    sonde_harmony *h = NULL;
    sonde_harmony_step step;
    sonde_error err = {0};
    const json_t *ids = json_object_get(test, "ids"), *steps = json_object_get(test, "steps");
    const json_t *messages = json_object_get(test, "messages"), *error = json_object_get(test, "error");
    const char *wrong = NULL;
    size_t at = 0;
    assert_int_equal(sonde_harmony_create(t, "assistant", &h, &err), SONDE_OK);
    sonde_status status = SONDE_OK;
    for (; at < json_array_size(ids); at++) {
        status = sonde_harmony_push(h, (uint32_t)json_integer_value(json_array_get(ids, at)), &step, &err);
        if (status != SONDE_OK) break;
        if (!same_step(&step, json_array_get(steps, at))) wrong = "a step differs";
    }
    if (at != json_array_size(steps)) wrong = "refused at another token";
    if (status == SONDE_OK) status = sonde_harmony_finish(h, &err);
    *refused = status != SONDE_OK;
    if (*refused != (error != NULL)) wrong = *refused ? err.message : "not refused";
    if (messages && sonde_harmony_count(h) != (int64_t)json_array_size(messages))
        wrong = "another number of messages";
    for (size_t i = 0; !wrong && i < json_array_size(messages); i++)
        if (!same_message(h, (int64_t)i, json_array_get(messages, i))) wrong = "a message differs";
    sonde_harmony_destroy(&h);
    return wrong;
}

static void check_render(const sonde_chat *chat, const sonde_tokenizer *t, const json_t *test, counts *n)
{
    char *json = json_dumps(json_object_get(test, "messages"), 0);
    sonde_chat_options options = {sizeof options, json_is_true(json_object_get(test, "completion")) ? 1 : 2,
                                  "{\"harmony\": true}"};
    const json_t *want = json_object_get(test, "text"), *ids = json_object_get(test, "ids");
    sonde_chat_text text = {0};
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    sonde_encode_options encode = {sizeof encode, 0, SONDE_BOS_NO, NULL};
    n->cases++;
    if (sonde_chat_render(chat, json, strlen(json), &options, &text, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    encode.plain = text.plain;
    assert_int_equal(sonde_tokenizer_encode(t, text.text, text.bytes, &encode, &tokens, &err), SONDE_OK);
    bool same = tokens.count == json_array_size(ids) && strcmp(text.text, json_string_value(want)) == 0;
    for (size_t i = 0; same && i < tokens.count; i++)
        same = tokens.ids[i] == (uint32_t)json_integer_value(json_array_get(ids, i));
    if (!same) report(n, "harmony", test, "rendered", text.text);
    sonde_tokens_reset(&tokens);
    sonde_chat_text_reset(&text);
    free(json);
}

static void test_harmony_shared(void **state)
{
    const char *shared = test_shared();
    char path[512];
    json_t *root = NULL, *test, *templates = NULL;
    sonde_tokenizer *t = NULL;
    sonde_chat *chat = NULL;
    sonde_error err = {0};
    counts n = {0};
    int streams = 0;
    size_t i;
    (void)state;
    if (!shared) skip();
    snprintf(path, sizeof path, "%s/tokenizers/gpt-oss", shared);
    assert_int_equal(sonde_tokenizer_open(path, &t, &err), SONDE_OK);
    snprintf(path, sizeof path, "%s/goldens/chat/gpt-oss.json", shared);
    assert_int_equal(sonde_json_load(path, (size_t)64 << 20, SONDE_BAD_FILE, &templates, &err), SONDE_OK);
    const json_t *template = json_object_get(templates, "template");
    assert_int_equal(sonde_chat_create(json_string_value(template), json_string_length(template), t, &chat,
                                       &err), SONDE_OK);
    snprintf(path, sizeof path, "%s/goldens/chat/harmony.json", shared);
    assert_int_equal(sonde_json_load_flags(path, (size_t)64 << 20, JSON_ALLOW_NUL, SONDE_BAD_FILE, &root, &err), SONDE_OK);
    json_array_foreach(json_object_get(root, "parse"), i, test) {
        bool refused;
        const char *wrong = check_stream(t, test, &refused);
        streams++;
        n.errors += refused;
        if (!wrong) continue;
        n.bad++;
        print_error("stream %zu '%.60s': %s\n", i, json_string_value(json_object_get(test, "text")), wrong);
    }
    json_array_foreach(json_object_get(root, "render"), i, test) check_render(chat, t, test, &n);
    print_message("%d streams, %d refused; %d conversations\n", streams, n.errors, n.cases);
    assert_int_equal(n.bad, 0);
    json_decref(root);
    json_decref(templates);
    sonde_chat_destroy(&chat);
    sonde_tokenizer_destroy(&t);
}

/* ---- segments ----------------------------------------------------------------------------------- */

static void add_segment(sonde_string *out, const sonde_tokenizer *t, uint32_t id, sonde_segment segment,
                        sonde_segment *last)
{
    const char *piece;
    size_t n;
    if (segment != *last) sonde_string_format(out, "|%.2s:", sonde_segment_name((int)segment));
    *last = segment;
    assert_int_equal(sonde_tokenizer_piece(t, id, &piece, &n, NULL), SONDE_OK);
    for (size_t i = 0; i < n; i++) sonde_string_append(out, piece[i] == '\n' ? "/" : piece + i, 1);
}

/* A conversation and what is generated after it, as "|segment:text" with newlines as slashes. */
static void check_segments(const char *name, const char *messages, const char *generated, const char *want)
{
    char path[512];
    json_t *root = NULL;
    sonde_tokenizer *t = NULL;
    sonde_chat *chat = NULL;
    sonde_chat_text text = {0};
    sonde_tokens tokens = {0};
    sonde_string out = {0};
    sonde_error err = {0};
    sonde_segment last = SONDE_SEGMENT_NONE;
    snprintf(path, sizeof path, "%s/tokenizers/%s", test_shared(), name);
    assert_int_equal(sonde_tokenizer_open(path, &t, &err), SONDE_OK);
    snprintf(path, sizeof path, "%s/goldens/chat/%s.json", test_shared(), name);
    assert_int_equal(sonde_json_load(path, (size_t)64 << 20, SONDE_BAD_FILE, &root, &err), SONDE_OK);
    const json_t *template = json_object_get(root, "template");
    assert_int_equal(sonde_chat_create(json_string_value(template), json_string_length(template), t, &chat,
                                       &err), SONDE_OK);
    if (sonde_chat_render(chat, messages, strlen(messages), NULL, &text, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    sonde_encode_options encode = {sizeof encode, 0, SONDE_BOS_NO, text.plain};
    assert_int_equal(sonde_tokenizer_encode(t, text.text, text.bytes, &encode, &tokens, &err), SONDE_OK);
    for (size_t i = 0; i < tokens.count; i++)
        add_segment(&out, t, tokens.ids[i],
                    sonde_segment_of(text.segments, tokens.text_start[i], tokens.text_end[i]), &last);
    sonde_string_text(&out, "||");
    encode.plain = NULL;
    last = SONDE_SEGMENT_NONE;
    assert_int_equal(sonde_tokenizer_encode(t, generated, strlen(generated), &encode, &tokens, &err), SONDE_OK);
    for (size_t i = 0; i < tokens.count; i++)
        add_segment(&out, t, tokens.ids[i], sonde_segmenter_push(&text.end, tokens.ids[i]), &last);
    assert_string_equal(out.data, want);
    sonde_string_reset(&out);
    sonde_tokens_reset(&tokens);
    sonde_chat_text_reset(&text);
    sonde_chat_destroy(&chat);
    sonde_tokenizer_destroy(&t);
    json_decref(root);
}

static void test_chat_segments(void **state)
{
    (void)state;
    if (!test_shared()) skip();
    check_segments("qwen3",
                   "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"Q<think>\"},"
                   "{\"role\":\"assistant\",\"content\":\"A\",\"tool_calls\":[{\"function\":{\"name\":\"f\","
                   "\"arguments\":{\"a\":1}}}]},{\"role\":\"tool\",\"content\":\"21\"}]",
                   "<think>\nhm\n</think>\n\nIt.<tool_call>\n{}\n</tool_call><|im_end|>",
                   "|ma:<|im_start|>system/|sy:S|ma:<|im_end|>/<|im_start|>user/|us:Q<think>|ma:<|im_end|>/"
                   "<|im_start|>assistant/|as:A|ma:/<tool_call>/|to:{\"name\": \"f\", "
                   "\"arguments\": {\"a\": 1}}/|ma:</tool_call><|im_end|>/<|im_start|>user/<tool_response>/"
                   "|to:21|ma:/</tool_response><|im_end|>/<|im_start|>assistant/|||ma:<think>/|re:hm/"
                   "|ma:</think>//|as:It.|ma:<tool_call>/|to:{}/|ma:</tool_call><|im_end|>");
    check_segments("llama-3.1", "[{\"role\":\"user\",\"content\":\"<|eot_id|> \"},{\"role\":\"ipython\","
                   "\"content\":\"1\"},{\"role\":\"wizard\",\"content\":\"w\"}]", "Hi<|eot_id|>",
                   "|ma:<|begin_of_text|><|start_header_id|>user<|end_header_id|>//|us:<|eot_id|>|ma:<|eot_id|>"
                   "<|start_header_id|>ipython<|end_header_id|>//|to:1|ma:<|eot_id|><|start_header_id|>wizard"
                   "<|end_header_id|>//|no:w|ma:<|eot_id|><|start_header_id|>assistant<|end_header_id|>//"
                   "|||as:Hi|ma:<|eot_id|>");
    check_segments("gpt-oss", "[{\"role\":\"assistant\",\"channel\":\"analysis\",\"content\":\"t\"},"
                   "{\"role\":\"tool\",\"name\":\"functions.f\",\"recipient\":\"assistant\","
                   "\"channel\":\"commentary\",\"content\":\"1\"}]",
                   "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.f<|channel|>commentary"
                   "<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>Yes<|return|>",
                   "|ma:<|start|>assistant<|channel|>analysis<|message|>|re:t|ma:<|end|><|start|>functions.f "
                   "to=assistant<|channel|>commentary<|message|>|to:1|ma:<|end|><|start|>assistant|||ma:"
                   "<|channel|>analysis<|message|>|re:hm|ma:<|end|><|start|>assistant to=functions.f<|channel|>"
                   "commentary<|message|>|to:{}|ma:<|call|><|start|>assistant<|channel|>final<|message|>|as:Yes"
                   "|ma:<|return|>");
    check_segments("gpt-oss", "[{\"role\":\"user\",\"name\":\"bob\",\"content\":\"q\",\"channel\":\"final\"},"
                   "{\"role\":\"assistant\",\"name\":\"al\",\"channel\":\"analysis\",\"content\":\"t\"}]", "",
                   "|ma:<|start|>user:bob<|channel|>final<|message|>|us:q|ma:<|end|><|start|>assistant:al<|channel|>"
                   "analysis<|message|>|re:t|ma:<|end|>||");
    check_segments("gemma-3", "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"model\",\"content\":\"b\"}]", "",
                   "|ma:<bos><start_of_turn>user/|us:a|ma:<end_of_turn>/<start_of_turn>model/|as:b|ma:<end_of_turn>/||");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_own_templates),
        cmocka_unit_test(test_chat_out_of_memory),
        cmocka_unit_test(test_chat_shared_templates),
        cmocka_unit_test(test_harmony_shared),
        cmocka_unit_test(test_chat_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
