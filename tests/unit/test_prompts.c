/* Prompt sources: lines, bad lines, ids, which prompts are taken; the message of every refusal. */
#include "support/prompt_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- lines ----------------------------------------------------------------------------------- */

static void test_lines(void **state)
{
    (void)state;
    static const struct {
        const char *suffix, *text, *expected;
    } cases[] = {
        {".txt", "ab\ncd", "0:0 2/2 | 1:1 2/2"},
        {".txt", "ab\r\ncd\r\n", "0:0 2/2 | 1:1 2/2"},
        {".txt", "\n \t\nab\n\n\ncd\n\n", "0:0 2/2 | 1:1 2/2"},
        {".txt",
         "\xEF\xBB\xBF"
         "ab\n",
         "0:0 2/2"},
        {".TXT", "{}\n", "0:0 2/2"},
        {".txt", "a\rb\n", "0:0 3/3"},
        {".jsonl", "{\"text\":\"ab\"}", "0:0 2/2"},
        {".jsonl", "\xEF\xBB\xBF{\"text\":\"ab\"}\r\n{\"tokens\":[1,2,3]}\r\n",
         "0:0 2/2 | 1:1 3/3"},
        {".jsonl", "{\"text\":\"ab\"}\n\n \n\t\n", "0:0 2/2"},
        {".jsonl", "{\"text\":\"a\\u0000b\"}\n", "0:0 3/3"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        prompts_check(cases[i].suffix, cases[i].text, prompts_no_bos, SONDE_OK, cases[i].expected);
}

static void test_lines_counts(void **state)
{
    (void)state;
    prompt_source s;
    sonde_string out;
    sonde_prompts_stats stats;
    const char *text = "\nab\n\n \ncd\n\n";
    prompt_source_open(&s, ".txt", text, strlen(text), prompts_no_bos);
    assert_int_equal(prompt_source_read(&s, &out, NULL, &stats), SONDE_OK);
    assert_int_equal(stats.lines, 6);
    assert_int_equal(stats.blank_lines, 4);
    assert_int_equal(stats.given, 2);
    assert_int_equal(stats.tokens, 4);
    sonde_string_reset(&out);
    prompt_source_close(&s);
}

static void test_lines_longer_than_a_block(void **state)
{
    (void)state;
    size_t n = 200000;
    char *text = malloc(2 * n + 3);
    assert_non_null(text);
    memset(text, 'b', 2 * n + 2);
    text[n] = '\r';
    text[n + 1] = '\n';
    text[2 * n + 2] = '\0';
    prompt_source s;
    prompt_source_open(&s, ".txt", text, 2 * n + 2, OPTIONS("add-bos", "no", "max-seq", "1000000"));
    prompt_source_check(&s, SONDE_OK, "0:0 200000/200000 | 1:1 200000/200000");
    prompt_source_close(&s);
    free(text);
}

static void test_lines_over_the_bound(void **state)
{
    (void)state;
    size_t n = SONDE_PROMPT_MAX_LINE + 1;
    char *text = malloc(n + 4);
    assert_non_null(text);
    memset(text, 'b', n);
    memcpy(text + n, "\nab\n", 4);
    prompt_source s;
    prompt_source_open(&s, ".txt", text, n + 4, OPTIONS("add-bos", "no"));
    prompt_source_check(&s, SONDE_BAD_PROMPT, "FILE:1: the line is longer than 64 MiB");
    s.options.bad_prompt = 1;
    prompt_source_check(&s, SONDE_OK,
                        "0:0 skipped (FILE:1: the line is longer than 64 MiB) | 1:1 2/2");
    prompt_source_close(&s);
    free(text);
}

static void test_inline_texts(void **state)
{
    (void)state;
    const char *texts[] = {"ab", " ", "", "a\xC3"};
    prompt_source s;
    prompt_source_open(&s, ".txt", "", 0, prompts_no_bos);
    s.spec.path = NULL;
    s.spec.inline_texts = texts;
    s.spec.n_inline_texts = 2;
    prompt_source_check(&s, SONDE_OK, "0:0 2/2 | 1:1 1/1");
    s.spec.n_inline_texts = 3;
    prompt_source_check(&s, SONDE_BAD_PROMPT, "prompt text 3: the text is empty");
    s.spec.inline_texts = texts + 3;
    s.spec.n_inline_texts = 1;
    prompt_source_check(&s, SONDE_BAD_PROMPT,
                        "prompt text 1: not valid UTF-8 at byte 2 of the line (0xc3)");
    s.spec.n_inline_texts = 0;
    prompt_source_check(&s, SONDE_BAD_PROMPT, "prompt texts: there is no prompt in it");
    prompt_source_close(&s);
}

static void test_standard_input(void **state)
{
    (void)state;
    prompt_source s;
    const char *text = "{\"text\":\"ab\"}\n[\n";
    prompt_source_open(&s, ".jsonl", text, strlen(text), prompts_no_bos);
    int kept = dup(STDIN_FILENO);
    assert_non_null(freopen(s.path, "r", stdin));
    s.spec.path = "-";
    prompt_source_check(
        &s, SONDE_BAD_PROMPT,
        "standard input:2: not valid JSON at column 1: ']' expected near end of file");
    dup2(kept, STDIN_FILENO);
    close(kept);
    prompt_source_close(&s);
}

/* ---- sources that cannot be read ------------------------------------------------------------- */

static void test_open_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        sonde_status status;
        const char *message;
    } cases[] = {
        {"prompts.json", SONDE_USAGE,
         "prompts 'prompts.json': expected a file .jsonl (one JSON object a line) or .txt (one "
         "text a "
         "line), or - (JSON lines from standard input)"},
        {".txt", SONDE_USAGE,
         "prompts '.txt': expected a file .jsonl (one JSON object a line) or .txt (one text a "
         "line), "
         "or - (JSON lines from standard input)"},
        {"/tmp/sonde-absent/p.txt", SONDE_BAD_FILE,
         "cannot open prompts /tmp/sonde-absent/p.txt: No such file or directory"},
    };
    prompt_source s;
    prompt_source_open(&s, ".txt", "a", 1, prompts_no_bos);
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        s.spec.path = cases[i].path;
        prompt_source_check(&s, cases[i].status, cases[i].message);
    }
    s.spec.path = s.path;
    s.spec.max_seq = 0;
    prompt_source_check(&s, SONDE_USAGE, "longest sequence: expected at least 1 token, got 0");
    prompt_source_close(&s);
    char folder[] = "/tmp/sonde-prompts-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64], message[128];
    snprintf(path, sizeof path, "%s.txt", folder);
    assert_int_equal(rename(folder, path), 0);
    snprintf(message, sizeof message, "prompts %s: expected a file, got a folder", path);
    s.spec.path = path;
    s.spec.max_seq = 9;
    prompt_source_check(&s, SONDE_BAD_FILE, message);
    rmdir(path);
}

static void test_empty_source(void **state)
{
    (void)state;
    prompts_check(".txt", "", prompts_no_bos, SONDE_BAD_PROMPT, "FILE: there is no prompt in it");
    prompts_check(".txt", " \n\n", prompts_no_bos, SONDE_BAD_PROMPT,
                  "FILE: there is no prompt in it");
    prompts_check(".jsonl", "", prompts_no_bos, SONDE_BAD_PROMPT, "FILE: there is no prompt in it");
    prompts_check(".jsonl", "\xEF\xBB\xBF", prompts_no_bos, SONDE_BAD_PROMPT,
                  "FILE: there is no prompt in it");
}

/* ---- bad lines ------------------------------------------------------------------------------- */

static const struct {
    const char *line, *message;
} bad_lines[] = {
    {"", "the line is blank"},
    {"{\"text\":\"a\xFF\"}", "not valid UTF-8 at byte 11 of the line (0xff)"},
    {"{\"text\":\"a\xED\xA0\x80\"}", "not valid UTF-8 at byte 11 of the line (0xed)"},
    {"{\"text\":\"a\"", "not valid JSON at column 11: '}' expected near end of file"},
    {"{\"text\":\"a\",\"text\":\"b\"}",
     "not valid JSON at column 18: duplicate object key near '\"text\"'"},
    {"{\"text\":\"\\ud800\"}",
     "not valid JSON at column 16: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
    {"{\"text\":NaN}", "not valid JSON at column 11: invalid token near 'NaN'"},
    {"[1]", "expected a JSON object, got an array"},
    {"\"a\"", "not valid JSON at column 3: '[' or '{' expected near '\"a\"'"},
    {"{}", "expected 'text', 'tokens' or 'messages', got none"},
    {"{\"text\":null}", "expected 'text', 'tokens' or 'messages', got none"},
    {"{\"txt\":\"a\"}",
     "expected 'text', 'tokens' or 'messages'; 'txt' is not known: did you mean 'text'?"},
    {"{\"Token\":[1]}",
     "expected 'text', 'tokens' or 'messages'; 'Token' is not known: did you mean 'tokens'?"},
    {"{\"text\":\"a\",\"tokens\":[1]}", 
     "expected one of 'text', 'tokens' and 'messages', got both 'text' and 'tokens'"},
    {"{\"text\":\"\"}", "'text' is empty"},
    {"{\"text\":[\"a\"]}", "'text': expected a text, got an array"},
    {"{\"tokens\":[]}", "'tokens' is empty"},
    {"{\"tokens\":\"1 2\"}", "'tokens': expected an array of token ids, got a text"},
    {"{\"tokens\":[1,\"2\"]}", "'tokens'[1]: expected a token id"},
    {"{\"tokens\":[1,2.0]}", "'tokens'[1]: expected a token id"},
    {"{\"tokens\":[280]}",
     "'tokens'[0]: token id 280 is out of range, the model's vocabulary has 0 to 279"},
    {"{\"tokens\":[0,-1]}",
     "'tokens'[1]: token id -1 is out of range, the model's vocabulary has 0 to 279"},
    {"{\"tokens\":[18446744073709551616]}",
     "not valid JSON at column 31: too big integer near '18446744073709551616'"},
    {"{\"id\":1.5,\"text\":\"a\"}",
     "'id': expected a text or a whole number, got a number with a fraction"},
    {"{\"id\":\"\",\"text\":\"a\"}", "'id' is empty"},
    {"{\"id\":\"a\\u0000\",\"text\":\"a\"}", "'id' contains the character U+0000"},
    {"{\"text\":\"a\",\"continuation\":\"\"}", "'continuation' is empty"},
    {"{\"text\":\"a\",\"continuation\":5}",
     "'continuation': expected a text or an array of token ids, got a whole number"},
    {"{\"text\":\"a\",\"continuation\":[1]}",
     "'continuation' of a 'text': expected a text, got an array"},
    {"{\"tokens\":[1],\"continuation\":\"a\"}",
     "'continuation' of 'tokens': expected an array of token ids, got a text"},
    {"{\"tokens\":[1],\"continuation\":[999]}",
     "'continuation'[0]: token id 999 is out of range, the model's vocabulary has 0 to 279"},
    {"{\"text\":\"a\",\"max_new_tokens\":-1}",
     "'max_new_tokens': expected 0 to 1000000000, got -1"},
    {"{\"text\":\"a\",\"max_new_tokens\":\"5\"}",
     "'max_new_tokens': expected a whole number, got a text"},
    {"{\"text\":\"a\",\"seed\":-5}", "'seed': expected 0 to 9223372036854775807, got -5"},
    {"{\"text\":\"a\",\"seed\":true}", "'seed': expected a whole number, got true or false"},
    {"{\"text\":\"a\",\"rows\":1}", "'rows': expected a rows expression, got a whole number"},
    {"{\"text\":\"a\",\"rows\":\"lst:1\"}",
     "rows expression 'lst:1': no term 'lst'; did you mean 'last'?"},
    {"{\"text\":\"a\",\"rows\":\"file:/etc/hostname\"}",
     "rows expression 'file:/etc/hostname': file:/etc/hostname: expected no list: a prompt's rows "
     "do "
     "not read files"},
    {"{\"text\":\"a\",\"spans\":5}", "'spans': expected [[begin, end], ...], got a whole number"},
    {"{\"text\":\"a\",\"spans\":[5]}", "'spans'[0]: expected [begin, end]"},
    {"{\"text\":\"a\",\"spans\":[[0,1],[0,1,2]]}", "'spans'[1]: expected [begin, end]"},
    {"{\"text\":\"\xC3\xA9\",\"spans\":[[0,2]]}",
     "'spans'[0]: expected 0 <= begin < end <= 1 characters, got [0, 2]"},
    {"{\"text\":\"ab\",\"spans\":[[1,1]]}",
     "'spans'[0]: expected 0 <= begin < end <= 2 characters, got [1, 1]"},
    {"{\"tokens\":[1,2],\"spans\":[[0,3]]}",
     "'spans'[0]: expected 0 <= begin < end <= 2 tokens, got [0, 3]"},
    {"{\"text\":\"a\",\"meta\":[]}", "'meta': expected an object, got an array"},
    {"{\"text\":\"a\",\"x\":1,\"meta\":{\"x\":2}}",
     "metadata 'x' is given twice, as a key of its own and in 'meta'"},
    {"{\"messages\":[]}", "'messages' is empty"},
    {"{\"messages\":{}}", "'messages': expected an array of messages, got an object"},
    {"{\"messages\":[1],\"text\":\"a\"}",
     "expected one of 'text', 'tokens' and 'messages', got both 'text' and 'messages'"},
    {"{\"text\":\"a\",\"edits\":[]}",
     "'edits' is reserved and not supported by this build; metadata of this name goes into 'meta'"},
    {"{\"text\":\"a\",\"pair\":1}",
     "'pair' is reserved and not supported by this build; metadata of this name goes into 'meta'"},
    {"{\"text\":\"a\",\"tools\":{}}",
     "'tools': expected an array of tools, got an object"},
    {"{\"text\":\"a\",\"tools\":[]}",
     "'tools' belongs to a conversation: give 'messages', or --chat"},
    {"{\"text\":\"a\",\"chat\":false}",
     "'chat': expected an object of template arguments, got true or false"},
    {"{\"tokens\":[1],\"chat\":{}}", "'chat' belongs to a conversation, not to 'tokens'"},
};

/* Refused with the place; with --bad-prompt skip listed, and nobody's index changes. */
static void test_bad_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(bad_lines); i++) {
        char text[256], refused[512], skipped[600];
        snprintf(text, sizeof text, "{\"text\":\"ab\"}\n%s\n{\"text\":\"abc\"}\n",
                 bad_lines[i].line);
        snprintf(refused, sizeof refused, "FILE:2: %s", bad_lines[i].message);
        snprintf(skipped, sizeof skipped, "0:0 2/2 | 1:1 skipped (%s) | 2:2 3/3", refused);
        prompts_check(".jsonl", text, prompts_no_bos, SONDE_BAD_PROMPT, refused);
        prompts_check(".jsonl", text, OPTIONS("add-bos", "no", "bad-prompt", "skip"), SONDE_OK,
                      skipped);
    }
}

static void test_bad_lines_of_text(void **state)
{
    (void)state;
    prompts_check(".txt",
                  "\xEF\xBB\xBF"
                  "ab\xC0\n",
                  prompts_no_bos, SONDE_BAD_PROMPT,
                  "FILE:1: not valid UTF-8 at byte 6 of the line (0xc0)");
    prompts_check(".txt", "ab\n\n\xF5", OPTIONS("add-bos", "no", "bad-prompt", "skip"), SONDE_OK,
                  "0:0 2/2 | 1:1 skipped (FILE:3: not valid UTF-8 at byte 1 of the line (0xf5))");
}

/* A bad prompt that got as far as its id is listed under it, and the id is taken. */
static void test_bad_lines_keep_their_id(void **state)
{
    (void)state;
    prompts_check(
        ".jsonl",
        "{\"id\":\"a\",\"tokens\":[]}\n{\"id\":\"a\",\"text\":\"b\"}\n{\"id\":\"a\",\"tokens\":7}"
        "\n",
        OPTIONS("add-bos", "no", "bad-prompt", "skip"), SONDE_OK,
        "0:a skipped (FILE:1: 'tokens' is empty) | "
        "1:1 skipped (FILE:2: id 'a' is the id of an earlier prompt) | "
        "2:2 skipped (FILE:3: 'tokens': expected an array of token ids, got a whole number)");
}

static void test_tokenizer_and_model_disagree(void **state)
{
    (void)state;
    prompt_source s;
    prompt_source_open(&s, ".txt", "ab", 2, OPTIONS("add-bos", "no", "bad-prompt", "skip"));
    s.spec.vocab = 66; /* a is 64, b is 65 */
    prompt_source_check(&s, SONDE_OK, "0:0 2/2");
    s.spec.vocab = 65;
    prompt_source_check(&s, SONDE_BAD_TOKENIZER,
                        "FILE:1: the tokenizer gives id 65, but the model's vocabulary "
                        "has 0 to 64: they do not belong together");
    s.spec.tokenizer = NULL;
    s.options.bad_prompt = 0;
    prompt_source_check(&s, SONDE_BAD_PROMPT,
                        "FILE:1: a text cannot be read: the model has no tokenizer; give "
                        "token ids ('tokens')");
    prompt_source_close(&s);
}

/* ---- ids ------------------------------------------------------------------------------------- */

static void test_ids(void **state)
{
    (void)state;
#define LINE(id) "{\"id\":" id ",\"text\":\"a\"}\n"
#define PLAIN "{\"text\":\"a\"}\n"
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {LINE("\"x\"") LINE("7") LINE("null"), "0:x 1/1 | 1:7 1/1 | 2:2 1/1"},
        {LINE("1") LINE("0"), "0:1 1/1 | 1:0 1/1"},
        {LINE("\"1\"") PLAIN, "FILE:2: id '1' is the id of an earlier prompt"},
        {PLAIN LINE("0"), "FILE:2: id '0' is the id of an earlier prompt"},
        {PLAIN LINE("\"00\""), "0:0 1/1 | 1:00 1/1"},
        {LINE("5") PLAIN LINE("3") PLAIN LINE("1"),
         "FILE:4: id '3' is the id of an earlier prompt"},
        {PLAIN LINE("5") PLAIN LINE("2"), "FILE:4: id '2' is the id of an earlier prompt"},
        {PLAIN LINE("5") PLAIN LINE("1"), "0:0 1/1 | 1:5 1/1 | 2:2 1/1 | 3:1 1/1"},
        {LINE("\"x\"") LINE("\"x\""), "FILE:2: id 'x' is the id of an earlier prompt"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        prompts_check(".jsonl", cases[i].text, prompts_no_bos,
                      cases[i].expected[0] == 'F' ? SONDE_BAD_PROMPT : SONDE_OK, cases[i].expected);
}

static void test_ids_many(void **state)
{
    (void)state;
    sonde_string text = {0}, out;
    for (int i = 0; i < 5000; i++)
        sonde_string_format(&text, "{\"id\":\"p%d\",\"text\":\"a\"}\n", i);
    sonde_string_text(&text, "{\"id\":\"p4321\",\"text\":\"a\"}\n");
    prompt_source s;
    prompt_source_open(&s, ".jsonl", text.data, text.length, prompts_no_bos);
    assert_int_equal(prompt_source_read(&s, &out, NULL, NULL), SONDE_BAD_PROMPT);
    assert_string_equal(out.data, "FILE:5001: id 'p4321' is the id of an earlier prompt");
    sonde_string_reset(&out);
    sonde_string_reset(&text);
    prompt_source_close(&s);
}

/* ---- which prompts --------------------------------------------------------------------------- */

static void test_choice_of_prompts(void **state)
{
    (void)state;
    const char *text = "a\nbb\nccc\ndddd\neeeee\nffffff\n";
    static const struct {
        const char *options[9], *expected;
    } cases[] = {
        {{"skip", "4"}, "4:4 5/5 | 5:5 6/6"},
        {{"limit", "2"}, "0:0 1/1 | 1:1 2/2"},
        {{"skip", "1", "limit", "2"}, "1:1 2/2 | 2:2 3/3"},
        {{"part", "1/3"}, "1:1 2/2 | 4:4 5/5"},
        {{"part", "0/2", "skip", "1", "limit", "4"}, "2:2 3/3 | 4:4 5/5"},
        {{"max-tokens", "6"}, "0:0 1/1 | 1:1 2/2 | 2:2 3/3"},
        {{"max-tokens", "9"}, "0:0 1/1 | 1:1 2/2 | 2:2 3/3"},
        {{"max-tokens", "10"}, "0:0 1/1 | 1:1 2/2 | 2:2 3/3 | 3:3 4/4"},
        {{"skip", "9"}, ""},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        const char *options[12] = {"add-bos", "no"};
        for (size_t k = 0; cases[i].options[k]; k++) options[2 + k] = cases[i].options[k];
        prompts_check(".txt", text, options, SONDE_OK, cases[i].expected);
    }
}

/* Lines outside the choice are not looked at. */
static void test_choice_passes_over_bad_lines(void **state)
{
    (void)state;
    prompts_check(".jsonl", "[\n{\"text\":\"ab\"}\n]\n",
                  OPTIONS("add-bos", "no", "skip", "1", "limit", "1"), SONDE_OK, "1:1 2/2");
}

static void test_part_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"3", "1/", "/2", "2/2", "-1/2", "0/0", "1/2/3", "a/b", ""};
    for (size_t i = 0; i < SONDE_COUNT(bad); i++) {
        char message[64];
        snprintf(message, sizeof message, "--part %s: expected I/N with 0 <= I < N", bad[i]);
        prompts_check(".txt", "a", OPTIONS("part", bad[i]), SONDE_USAGE, message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_counts),
        cmocka_unit_test(test_lines_longer_than_a_block),
        cmocka_unit_test(test_lines_over_the_bound),
        cmocka_unit_test(test_inline_texts),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_empty_source),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_bad_lines_of_text),
        cmocka_unit_test(test_bad_lines_keep_their_id),
        cmocka_unit_test(test_tokenizer_and_model_disagree),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_ids_many),
        cmocka_unit_test(test_choice_of_prompts),
        cmocka_unit_test(test_choice_passes_over_bad_lines),
        cmocka_unit_test(test_part_refused),
    };
    return cmocka_run_group_tests(tests, prompt_case_set_up, prompt_case_tear_down);
}
