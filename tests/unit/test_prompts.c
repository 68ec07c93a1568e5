/* Prompt sources: lines, keys, ids, spans, continuations, lengths, and the message of every refusal. */
#include "host/prompts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Bytes as tokens with a few merges ("aa", "aaaa", "th", "the", " a", " the"); [S] 279 goes before a
 * text and <x> 277 behind it. */
#define TOKENIZER "tests/goldens/text/bytes-plain"

static sonde_tokenizer *tokenizer;

/* ---- reading a source into one line of text ------------------------------------------------------- */

typedef struct source {
    char path[64];
    sonde_job_options options;
    sonde_prompts_spec spec;
} source;

static void set_options(sonde_job_options *options, const char *const *names_and_values)
{
    sonde_error err = {0};
    memset(options, 0, sizeof *options);
    assert_int_equal(sonde_options_defaults(sonde_job_options_table, options, &err), SONDE_OK);
    for (; names_and_values && *names_and_values; names_and_values += 2)
        if (sonde_options_set(sonde_job_options_table, options, names_and_values[0],
                              names_and_values[1], &err) != SONDE_OK)
            fail_msg("%s", err.message);
}

/* A file that holds `bytes`; removed by source_close. Names in messages are cut after the '/'. */
static void source_open(source *s, const char *suffix, const char *text, size_t bytes,
                        const char *const *options)
{
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "/tmp/sonde-prompts-XXXXXX%s", suffix);
    int fd = mkstemps(s->path, (int)strlen(suffix));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), bytes);
    close(fd);
    set_options(&s->options, options);
    s->spec = (sonde_prompts_spec){.path = s->path, .options = &s->options, .tokenizer = tokenizer,
                                   .vocab = sonde_tokenizer_size(tokenizer), .max_seq = 1000};
    if (s->options.max_seq > 0) s->spec.max_seq = s->options.max_seq;
}

static void source_close(source *s)
{
    unlink(s->path);
}

/* The source's path in messages becomes FILE. */
static void hide_path(const char *path, const char *message, sonde_string *out)
{
    const char *at = *path ? strstr(message, path) : NULL;
    if (at) {
        sonde_string_append(out, message, (size_t)(at - message));
        sonde_string_text(out, "FILE");
    }
    sonde_string_text(out, at ? at + strlen(path) : message);
}

static void describe(const source *s, const sonde_prompt *p, sonde_string *out)
{
    static const char *const states[] = {"", " cut", " skipped"};
    sonde_string_format(out, "%s%llu:%s%s", out->length ? " | " : "", (unsigned long long)p->index,
                        p->id, states[p->state]);
    if (p->state != SONDE_PROMPT_SKIPPED)
        sonde_string_format(out, " %lld/%lld", (long long)p->n_prompt, (long long)p->n_tokens);
    if (p->why) {
        sonde_string_text(out, " (");
        hide_path(s->path, p->why, out);
        sonde_string_text(out, ")");
    }
}

/* All prompts as text; the status and message of a failure instead. */
static sonde_status read_all(const source *s, sonde_string *out, char hash[33],
                             sonde_prompts_stats *stats)
{
    sonde_error err = {0};
    sonde_prompts *prompts = NULL;
    sonde_prompt prompt = {0};
    bool end = false;
    memset(out, 0, sizeof *out);
    sonde_status status = sonde_prompts_open(&s->spec, &prompts, &err);
    while (status == SONDE_OK && !end) {
        status = sonde_prompts_next(prompts, &prompt, &end, &err);
        if (status == SONDE_OK && !end) describe(s, &prompt, out);
    }
    if (status == SONDE_OK && hash) sonde_prompts_hash(prompts, hash);
    if (status == SONDE_OK && stats) sonde_prompts_stats_get(prompts, stats);
    sonde_prompt_reset(&prompt);
    sonde_prompts_close(&prompts);
    if (status != SONDE_OK) {
        sonde_string_reset(out);
        hide_path(s->path, err.message, out);
        assert_int_equal(err.status, status);
    }
    sonde_string_append(out, "", 0);
    return status;
}

static void check_source(const source *s, sonde_status expected, const char *text)
{
    sonde_string out;
    sonde_status status = read_all(s, &out, NULL, NULL);
    if (status != expected || strcmp(out.data, text) != 0)
        fail_msg("expected %d '%s'\n     got %d '%s'", (int)expected, text, (int)status, out.data);
    sonde_string_reset(&out);
}

static void check(const char *suffix, const char *text, const char *const *options,
                  sonde_status expected, const char *result)
{
    source s;
    source_open(&s, suffix, text, strlen(text), options);
    check_source(&s, expected, result);
    source_close(&s);
}

/* One prompt, for its fields; the caller resets it. */
static void read_one(const char *suffix, const char *text, const char *const *options,
                     sonde_prompt *prompt)
{
    source s;
    sonde_error err = {0};
    sonde_prompts *prompts = NULL;
    bool end;
    memset(prompt, 0, sizeof *prompt);
    source_open(&s, suffix, text, strlen(text), options);
    assert_int_equal(sonde_prompts_open(&s.spec, &prompts, &err), SONDE_OK);
    if (sonde_prompts_next(prompts, prompt, &end, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_false(end);
    sonde_prompts_close(&prompts);
    source_close(&s);
}

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})
static const char *const no_bos[] = {"add-bos", "no", NULL};

/* ---- lines ------------------------------------------------------------------------------------------ */

static void test_lines(void **state)
{
    (void)state;
    static const struct {
        const char *suffix, *text, *expected;
    } cases[] = {
        {".txt", "ab\ncd", "0:0 2/2 | 1:1 2/2"},
        {".txt", "ab\r\ncd\r\n", "0:0 2/2 | 1:1 2/2"},
        {".txt", "\n \t\nab\n\n\ncd\n\n", "0:0 2/2 | 1:1 2/2"},
        {".txt", "\xEF\xBB\xBF" "ab\n", "0:0 2/2"},
        {".TXT", "{}\n", "0:0 2/2"},
        {".txt", "a\rb\n", "0:0 3/3"},
        {".jsonl", "{\"text\":\"ab\"}", "0:0 2/2"},
        {".jsonl", "\xEF\xBB\xBF{\"text\":\"ab\"}\r\n{\"tokens\":[1,2,3]}\r\n", "0:0 2/2 | 1:1 3/3"},
        {".jsonl", "{\"text\":\"ab\"}\n\n \n\t\n", "0:0 2/2"},
        {".jsonl", "{\"text\":\"a\\u0000b\"}\n", "0:0 3/3"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        check(cases[i].suffix, cases[i].text, no_bos, SONDE_OK, cases[i].expected);
}

static void test_lines_counts(void **state)
{
    (void)state;
    source s;
    sonde_string out;
    sonde_prompts_stats stats;
    const char *text = "\nab\n\n \ncd\n\n";
    source_open(&s, ".txt", text, strlen(text), no_bos);
    assert_int_equal(read_all(&s, &out, NULL, &stats), SONDE_OK);
    assert_int_equal(stats.lines, 6);
    assert_int_equal(stats.blank_lines, 4);
    assert_int_equal(stats.given, 2);
    assert_int_equal(stats.tokens, 4);
    sonde_string_reset(&out);
    source_close(&s);
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
    source s;
    source_open(&s, ".txt", text, 2 * n + 2, OPTIONS("add-bos", "no", "max-seq", "1000000"));
    check_source(&s, SONDE_OK, "0:0 200000/200000 | 1:1 200000/200000");
    source_close(&s);
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
    source s;
    source_open(&s, ".txt", text, n + 4, OPTIONS("add-bos", "no"));
    check_source(&s, SONDE_BAD_PROMPT, "FILE:1: the line is longer than 64 MiB");
    s.options.bad_prompt = 1;
    check_source(&s, SONDE_OK, "0:0 skipped (FILE:1: the line is longer than 64 MiB) | 1:1 2/2");
    source_close(&s);
    free(text);
}

static void test_inline_texts(void **state)
{
    (void)state;
    const char *texts[] = {"ab", " ", "", "a\xC3"};
    source s;
    source_open(&s, ".txt", "", 0, no_bos);
    s.spec.path = NULL;
    s.spec.inline_texts = texts;
    s.spec.n_inline_texts = 2;
    check_source(&s, SONDE_OK, "0:0 2/2 | 1:1 1/1");
    s.spec.n_inline_texts = 3;
    check_source(&s, SONDE_BAD_PROMPT, "prompt text 3: the text is empty");
    s.spec.inline_texts = texts + 3;
    s.spec.n_inline_texts = 1;
    check_source(&s, SONDE_BAD_PROMPT,
                 "prompt text 1: not valid UTF-8 at byte 2 of the line (0xc3)");
    s.spec.n_inline_texts = 0;
    check_source(&s, SONDE_BAD_PROMPT, "prompt texts: there is no prompt in it");
    source_close(&s);
}

static void test_standard_input(void **state)
{
    (void)state;
    source s;
    const char *text = "{\"text\":\"ab\"}\n[\n";
    source_open(&s, ".jsonl", text, strlen(text), no_bos);
    int kept = dup(STDIN_FILENO);
    assert_non_null(freopen(s.path, "r", stdin));
    s.spec.path = "-";
    check_source(&s, SONDE_BAD_PROMPT,
                 "standard input:2: not valid JSON at column 1: ']' expected near end of file");
    dup2(kept, STDIN_FILENO);
    close(kept);
    source_close(&s);
}

/* ---- sources that cannot be read ---------------------------------------------------------------------- */

static void test_open_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        sonde_status status;
        const char *message;
    } cases[] = {
        {"prompts.json", SONDE_USAGE,
         "prompts 'prompts.json': expected a file .jsonl (one JSON object a line) or .txt (one text a "
         "line), or - (JSON lines from standard input)"},
        {".txt", SONDE_USAGE,
         "prompts '.txt': expected a file .jsonl (one JSON object a line) or .txt (one text a line), "
         "or - (JSON lines from standard input)"},
        {"/tmp/sonde-absent/p.txt", SONDE_BAD_FILE,
         "cannot open prompts /tmp/sonde-absent/p.txt: No such file or directory"},
    };
    source s;
    source_open(&s, ".txt", "a", 1, no_bos);
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        s.spec.path = cases[i].path;
        check_source(&s, cases[i].status, cases[i].message);
    }
    s.spec.path = s.path;
    s.spec.max_seq = 0;
    check_source(&s, SONDE_USAGE, "longest sequence: expected at least 1 token, got 0");
    source_close(&s);
    char folder[] = "/tmp/sonde-prompts-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64], message[128];
    snprintf(path, sizeof path, "%s.txt", folder);
    assert_int_equal(rename(folder, path), 0);
    snprintf(message, sizeof message, "prompts %s: expected a file, got a folder", path);
    s.spec.path = path;
    s.spec.max_seq = 9;
    check_source(&s, SONDE_BAD_FILE, message);
    rmdir(path);
}

static void test_empty_source(void **state)
{
    (void)state;
    check(".txt", "", no_bos, SONDE_BAD_PROMPT, "FILE: there is no prompt in it");
    check(".txt", " \n\n", no_bos, SONDE_BAD_PROMPT, "FILE: there is no prompt in it");
    check(".jsonl", "", no_bos, SONDE_BAD_PROMPT, "FILE: there is no prompt in it");
    check(".jsonl", "\xEF\xBB\xBF", no_bos, SONDE_BAD_PROMPT, "FILE: there is no prompt in it");
}

/* ---- bad lines ------------------------------------------------------------------------------------------ */

static const struct {
    const char *line, *message;
} bad_lines[] = {
    {"", "the line is blank"},
    {"{\"text\":\"a\xFF\"}", "not valid UTF-8 at byte 11 of the line (0xff)"},
    {"{\"text\":\"a\xED\xA0\x80\"}", "not valid UTF-8 at byte 11 of the line (0xed)"},
    {"{\"text\":\"a\"", "not valid JSON at column 11: '}' expected near end of file"},
    {"{\"text\":\"a\",\"text\":\"b\"}", "not valid JSON at column 18: duplicate object key near '\"text\"'"},
    {"{\"text\":\"\\ud800\"}", "not valid JSON at column 16: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
    {"{\"text\":NaN}", "not valid JSON at column 11: invalid token near 'NaN'"},
    {"[1]", "expected a JSON object, got an array"},
    {"\"a\"", "not valid JSON at column 3: '[' or '{' expected near '\"a\"'"},
    {"{}", "expected 'text' or 'tokens', got neither"},
    {"{\"text\":null}", "expected 'text' or 'tokens', got neither"},
    {"{\"txt\":\"a\"}", "expected 'text' or 'tokens'; 'txt' is not known: did you mean 'text'?"},
    {"{\"Token\":[1]}", "expected 'text' or 'tokens'; 'Token' is not known: did you mean 'tokens'?"},
    {"{\"text\":\"a\",\"tokens\":[1]}", "expected 'text' or 'tokens', got both"},
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
    {"{\"id\":1.5,\"text\":\"a\"}", "'id': expected a text or a whole number, got a number with a fraction"},
    {"{\"id\":\"\",\"text\":\"a\"}", "'id' is empty"},
    {"{\"id\":\"a\\u0000\",\"text\":\"a\"}", "'id' contains the character U+0000"},
    {"{\"text\":\"a\",\"continuation\":\"\"}", "'continuation' is empty"},
    {"{\"text\":\"a\",\"continuation\":5}",
     "'continuation': expected a text or an array of token ids, got a whole number"},
    {"{\"text\":\"a\",\"continuation\":[1]}", "'continuation' of a 'text': expected a text, got an array"},
    {"{\"tokens\":[1],\"continuation\":\"a\"}",
     "'continuation' of 'tokens': expected an array of token ids, got a text"},
    {"{\"tokens\":[1],\"continuation\":[999]}",
     "'continuation'[0]: token id 999 is out of range, the model's vocabulary has 0 to 279"},
    {"{\"text\":\"a\",\"max_new_tokens\":-1}", "'max_new_tokens': expected 0 to 1000000000, got -1"},
    {"{\"text\":\"a\",\"max_new_tokens\":\"5\"}", "'max_new_tokens': expected a whole number, got a text"},
    {"{\"text\":\"a\",\"seed\":-5}", "'seed': expected 0 to 9223372036854775807, got -5"},
    {"{\"text\":\"a\",\"seed\":true}", "'seed': expected a whole number, got true or false"},
    {"{\"text\":\"a\",\"rows\":1}", "'rows': expected a rows expression, got a whole number"},
    {"{\"text\":\"a\",\"rows\":\"lst:1\"}", "rows expression 'lst:1': no term 'lst'; did you mean 'last'?"},
    {"{\"text\":\"a\",\"rows\":\"file:/etc/hostname\"}",
     "rows expression 'file:/etc/hostname': file:/etc/hostname: expected no list: a prompt's rows do "
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
    {"{\"messages\":[]}",
     "'messages' (chat) is not supported by this build; give the rendered text as 'text'"},
    {"{\"text\":\"a\",\"edits\":[]}",
     "'edits' is reserved and not supported by this build; metadata of this name goes into 'meta'"},
    {"{\"text\":\"a\",\"pair\":1}",
     "'pair' is reserved and not supported by this build; metadata of this name goes into 'meta'"},
    {"{\"text\":\"a\",\"tools\":{}}",
     "'tools' is reserved and not supported by this build; metadata of this name goes into 'meta'"},
    {"{\"text\":\"a\",\"chat\":false}",
     "'chat' is reserved and not supported by this build; metadata of this name goes into 'meta'"},
};

/* Refused with the place; with --bad-prompt skip listed, and nobody's index changes. */
static void test_bad_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(bad_lines); i++) {
        char text[256], refused[512], skipped[600];
        snprintf(text, sizeof text, "{\"text\":\"ab\"}\n%s\n{\"text\":\"abc\"}\n", bad_lines[i].line);
        snprintf(refused, sizeof refused, "FILE:2: %s", bad_lines[i].message);
        snprintf(skipped, sizeof skipped, "0:0 2/2 | 1:1 skipped (%s) | 2:2 3/3", refused);
        check(".jsonl", text, no_bos, SONDE_BAD_PROMPT, refused);
        check(".jsonl", text, OPTIONS("add-bos", "no", "bad-prompt", "skip"), SONDE_OK, skipped);
    }
}

static void test_bad_lines_of_text(void **state)
{
    (void)state;
    check(".txt", "\xEF\xBB\xBF" "ab\xC0\n", no_bos, SONDE_BAD_PROMPT,
          "FILE:1: not valid UTF-8 at byte 6 of the line (0xc0)");
    check(".txt", "ab\n\n\xF5", OPTIONS("add-bos", "no", "bad-prompt", "skip"), SONDE_OK,
          "0:0 2/2 | 1:1 skipped (FILE:3: not valid UTF-8 at byte 1 of the line (0xf5))");
}

/* A bad prompt that got as far as its id is listed under it, and the id is taken. */
static void test_bad_lines_keep_their_id(void **state)
{
    (void)state;
    check(".jsonl",
          "{\"id\":\"a\",\"tokens\":[]}\n{\"id\":\"a\",\"text\":\"b\"}\n{\"id\":\"a\",\"tokens\":7}\n",
          OPTIONS("add-bos", "no", "bad-prompt", "skip"), SONDE_OK,
          "0:a skipped (FILE:1: 'tokens' is empty) | "
          "1:1 skipped (FILE:2: id 'a' is the id of an earlier prompt) | "
          "2:2 skipped (FILE:3: 'tokens': expected an array of token ids, got a whole number)");
}

static void test_tokenizer_and_model_disagree(void **state)
{
    (void)state;
    source s;
    source_open(&s, ".txt", "ab", 2, OPTIONS("add-bos", "no", "bad-prompt", "skip"));
    s.spec.vocab = 66; /* a is 64, b is 65 */
    check_source(&s, SONDE_OK, "0:0 2/2");
    s.spec.vocab = 65;
    check_source(&s, SONDE_BAD_TOKENIZER, "FILE:1: the tokenizer gives id 65, but the model's vocabulary "
                                          "has 0 to 64: they do not belong together");
    s.spec.tokenizer = NULL;
    s.options.bad_prompt = 0;
    check_source(&s, SONDE_BAD_PROMPT, "FILE:1: a text cannot be read: the model has no tokenizer; give "
                                       "token ids ('tokens')");
    source_close(&s);
}

/* ---- ids ------------------------------------------------------------------------------------------------- */

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
        {LINE("5") PLAIN LINE("3") PLAIN LINE("1"), "FILE:4: id '3' is the id of an earlier prompt"},
        {PLAIN LINE("5") PLAIN LINE("2"), "FILE:4: id '2' is the id of an earlier prompt"},
        {PLAIN LINE("5") PLAIN LINE("1"), "0:0 1/1 | 1:5 1/1 | 2:2 1/1 | 3:1 1/1"},
        {LINE("\"x\"") LINE("\"x\""), "FILE:2: id 'x' is the id of an earlier prompt"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        check(".jsonl", cases[i].text, no_bos,
              cases[i].expected[0] == 'F' ? SONDE_BAD_PROMPT : SONDE_OK, cases[i].expected);
}

static void test_ids_many(void **state)
{
    (void)state;
    sonde_string text = {0}, out;
    for (int i = 0; i < 5000; i++) sonde_string_format(&text, "{\"id\":\"p%d\",\"text\":\"a\"}\n", i);
    sonde_string_text(&text, "{\"id\":\"p4321\",\"text\":\"a\"}\n");
    source s;
    source_open(&s, ".jsonl", text.data, text.length, no_bos);
    assert_int_equal(read_all(&s, &out, NULL, NULL), SONDE_BAD_PROMPT);
    assert_string_equal(out.data, "FILE:5001: id 'p4321' is the id of an earlier prompt");
    sonde_string_reset(&out);
    sonde_string_reset(&text);
    source_close(&s);
}

/* ---- which prompts --------------------------------------------------------------------------------------- */

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
        check(".txt", text, options, SONDE_OK, cases[i].expected);
    }
}

/* Lines outside the choice are not looked at. */
static void test_choice_passes_over_bad_lines(void **state)
{
    (void)state;
    check(".jsonl", "[\n{\"text\":\"ab\"}\n]\n", OPTIONS("add-bos", "no", "skip", "1", "limit", "1"),
          SONDE_OK, "1:1 2/2");
}

static void test_part_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"3", "1/", "/2", "2/2", "-1/2", "0/0", "1/2/3", "a/b", ""};
    for (size_t i = 0; i < SONDE_COUNT(bad); i++) {
        char message[64];
        snprintf(message, sizeof message, "--part %s: expected I/N with 0 <= I < N", bad[i]);
        check(".txt", "a", OPTIONS("part", bad[i]), SONDE_USAGE, message);
    }
}

/* ---- ids of tokens ------------------------------------------------------------------------------------------ */

static void check_tokens(const sonde_prompt *p, int64_t n, const uint32_t *tokens)
{
    assert_int_equal(p->n_tokens, n);
    assert_memory_equal(p->tokens, tokens, (size_t)n * sizeof *tokens);
}

static void test_special_and_bos(void **state)
{
    (void)state;
    static const struct {
        const char *options[5];
        int64_t n;
        uint32_t tokens[8];
    } cases[] = {
        {{"special", "parse"}, 4, {279, 64, 277, 277}},
        {{"special", "text"}, 6, {279, 64, 27, 87, 29, 277}},
        {{"add-bos", "no"}, 2, {64, 277}},
        {{"add-bos", "no", "special", "text"}, 4, {64, 27, 87, 29}},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_prompt p;
        read_one(".txt", "a<x>", cases[i].options, &p);
        check_tokens(&p, cases[i].n, cases[i].tokens);
        assert_string_equal(p.text, "a<x>");
        sonde_prompt_reset(&p);
    }
}

/* "the" is one token, so is " the"; "t" then "he" are not. */
static void test_continuation(void **state)
{
    (void)state;
    sonde_prompt p;
    read_one(".jsonl", "{\"text\":\"t\",\"continuation\":\" the\"}", no_bos, &p);
    assert_int_equal(p.n_prompt, 1);
    assert_int_equal(p.n_tokens, 2);
    assert_string_equal(p.text, "t the");
    assert_int_equal(p.text_start[1], 1);
    assert_int_equal(p.text_end[1], 5);
    sonde_prompt_reset(&p);
    read_one(".jsonl", "{\"text\":\"t\",\"continuation\":\"he\"}", no_bos, &p);
    check_tokens(&p, 3, (const uint32_t[]){83, 71, 68});
    assert_int_equal(p.n_prompt, 1);
    assert_int_equal(p.text_start[1], 1);
    assert_int_equal(p.text_end[2], 3);
    assert_string_equal(p.text, "the");
    sonde_prompt_reset(&p);
    read_one(".jsonl", "{\"tokens\":[5,6],\"continuation\":[7]}", no_bos, &p);
    check_tokens(&p, 3, (const uint32_t[]){5, 6, 7});
    assert_int_equal(p.n_prompt, 2);
    assert_null(p.text);
    sonde_prompt_reset(&p);
}

static void test_own_options(void **state)
{
    (void)state;
    static const char *const given[] = {"max-new-tokens", "4", "seed", "11", NULL};
    sonde_prompt p;
    read_one(".jsonl", "{\"text\":\"a\",\"max_new_tokens\":9,\"seed\":3,\"rows\":\"last:1\",\"z\":null,"
                       "\"tag\":\"x\",\"meta\":{\"text\":\"m\",\"n\":[1]}}", given, &p);
    assert_int_equal(p.max_new, 9);
    assert_int_equal(p.seed, 3);
    assert_string_equal(p.rows, "last:1");
    char *meta = json_dumps(p.meta, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(meta, "{\"n\":[1],\"tag\":\"x\",\"text\":\"m\",\"z\":null}");
    free(meta);
    sonde_prompt_reset(&p);
    read_one(".jsonl", "{\"text\":\"a\"}", given, &p);
    assert_int_equal(p.max_new, 4);
    assert_int_equal(p.seed, 11);
    assert_null(p.rows);
    assert_null(p.marked);
    assert_int_equal(json_object_size(p.meta), 0);
    sonde_prompt_reset(&p);
}

static void test_spans(void **state)
{
    (void)state;
    static const struct {
        const char *line, *marks;
    } cases[] = {
        {"{\"text\":\"abcd\",\"spans\":[[1,3]]}", "0110"},
        {"{\"text\":\"abcd\",\"spans\":[]}", "0000"},
        {"{\"text\":\"abcd\",\"spans\":[[0,1],[3,4],[0,1]]}", "1001"},
        {"{\"text\":\"a\xC3\xA9z\",\"spans\":[[1,2]]}", "0110"}, /* one character, two tokens */
        {"{\"text\":\"a\xF0\x9F\x99\x82z\",\"spans\":[[2,3]]}", "000001"},
        {"{\"text\":\"x the\",\"spans\":[[3,4]]}", "01"}, /* inside a token */
        {"{\"text\":\"ab\",\"continuation\":\"cd\",\"spans\":[[1,3]]}", "0110"},
        {"{\"tokens\":[5,6,7],\"continuation\":[8],\"spans\":[[2,4]]}", "0011"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_prompt p;
        read_one(".jsonl", cases[i].line, no_bos, &p);
        assert_int_equal(p.n_tokens, strlen(cases[i].marks));
        for (int64_t k = 0; k < p.n_tokens; k++)
            assert_int_equal(p.marked[k], cases[i].marks[k] - '0');
        sonde_prompt_reset(&p);
    }
    sonde_prompt p;
    read_one(".jsonl", "{\"text\":\"ab\",\"spans\":[[0,2]]}", NULL, &p);
    assert_memory_equal(p.marked, ((const uint8_t[]){0, 1, 1, 0}), 4); /* [S] and <x> are no text */
    sonde_prompt_reset(&p);
}

/* ---- too long --------------------------------------------------------------------------------------------- */

static void test_too_long(void **state)
{
    (void)state;
    const char *text = "abc\nabcdefghij\nab\n";
#define LIMIT(choice) OPTIONS("add-bos", "no", "max-seq", "4", "too-long", choice)
    check(".txt", text, LIMIT("refuse"), SONDE_BAD_PROMPT,
          "FILE:2: the prompt has 10 tokens, the limit is 4 (--max-seq); --too-long refuse, cut, split "
          "or skip says what to do");
    check(".txt", text, LIMIT("cut"), SONDE_OK,
          "0:0 3/3 | 1:1 cut 4/4 (the prompt has 10 tokens, the limit is 4) | 2:2 2/2");
    check(".txt", text, LIMIT("split"), SONDE_OK,
          "0:0 3/3 | 1:1#0 4/4 | 1:1#1 4/4 | 1:1#2 2/2 | 2:2 2/2");
    check(".txt", text, LIMIT("skip"), SONDE_OK,
          "0:0 3/3 | 1:1 skipped (the prompt has 10 tokens, the limit is 4) | 2:2 2/2");
    check(".txt", text, OPTIONS("add-bos", "no", "max-seq", "4", "bad-prompt", "skip"), SONDE_OK,
          "0:0 3/3 | 1:1 skipped (FILE:2: the prompt has 10 tokens, the limit is 4 (--max-seq); "
          "--too-long refuse, cut, split or skip says what to do) | 2:2 2/2");
}

static void test_too_long_with_continuation(void **state)
{
    (void)state;
    const char *text = "{\"text\":\"abc\",\"continuation\":\"defg\"}\n";
    check(".jsonl", text, LIMIT("refuse"), SONDE_BAD_PROMPT,
          "FILE:1: the prompt with its continuation has 7 tokens, the limit is 4 (--max-seq); "
          "--too-long refuse, cut, split or skip says what to do");
    check(".jsonl", text, LIMIT("cut"), SONDE_OK,
          "0:0 cut 3/4 (the prompt with its continuation has 7 tokens, the limit is 4)");
    check(".jsonl", text, LIMIT("split"), SONDE_BAD_PROMPT,
          "FILE:1: the prompt with its continuation has 7 tokens, the limit is 4; a prompt with a "
          "continuation is not split: --too-long cut or skip");
}

static void test_cut_keeps_text_of_its_tokens(void **state)
{
    (void)state;
    sonde_prompt p;
    read_one(".jsonl", "{\"text\":\"abc\xC3\xA9" "fgh\",\"spans\":[[1,2]]}", LIMIT("cut"), &p);
    assert_int_equal(p.n_tokens, 4);
    assert_string_equal(p.text, "abc\xC3\xA9"); /* the whole character of the last token */
    assert_memory_equal(p.marked, ((const uint8_t[]){0, 1, 0, 0}), 4);
    sonde_prompt_reset(&p);
}

typedef struct piece {
    const char *id, *text;
    int64_t n, max_new;
    uint32_t first_start, last_end;
    uint8_t marked[4];
} piece;

static void test_split_pieces(void **state)
{
    (void)state;
    static const piece pieces[] = {
        {"p#0", "abcd", 4, 0, 0, 4, {0, 0, 0, 1}},
        {"p#1", "ef\xC3\xA9", 4, 0, 0, 4, {1, 1, 0, 0}},
        {"p#2", "h", 1, 3, 0, 1, {0}},
    };
    source s;
    sonde_error err = {0};
    sonde_prompts *prompts = NULL;
    sonde_prompt p = {0};
    bool end;
    const char *line = "{\"id\":\"p\",\"text\":\"abcdef\xC3\xA9h\",\"spans\":[[3,6]],\"rows\":\"all\","
                       "\"max_new_tokens\":3,\"k\":1}\n{\"id\":\"p#1\",\"text\":\"a\"}\n";
    source_open(&s, ".jsonl", line, strlen(line), LIMIT("split"));
    assert_int_equal(sonde_prompts_open(&s.spec, &prompts, &err), SONDE_OK);
    for (size_t i = 0; i < SONDE_COUNT(pieces); i++) {
        assert_int_equal(sonde_prompts_next(prompts, &p, &end, &err), SONDE_OK);
        assert_string_equal(p.id, pieces[i].id);
        assert_string_equal(p.text, pieces[i].text);
        assert_string_equal(p.rows, "all");
        assert_int_equal(p.index, 0);
        assert_int_equal(p.n_tokens, pieces[i].n);
        assert_int_equal(p.n_prompt, pieces[i].n);
        assert_int_equal(p.max_new, pieces[i].max_new);
        assert_int_equal(p.text_start[0], pieces[i].first_start);
        assert_int_equal(p.text_end[p.n_tokens - 1], pieces[i].last_end);
        assert_memory_equal(p.marked, pieces[i].marked, (size_t)p.n_tokens);
        assert_int_equal(json_object_size(p.meta), 1);
    }
    assert_int_equal(sonde_prompts_next(prompts, &p, &end, &err), SONDE_BAD_PROMPT);
    assert_non_null(strstr(err.message, ":2: id 'p#1' is the id of an earlier prompt"));
    sonde_prompt_reset(&p);
    sonde_prompts_close(&prompts);
    source_close(&s);
}

/* Tokens to generate are lowered so that those that are run on fit; the last is never run. */
static void test_max_new_fits(void **state)
{
    (void)state;
    static const struct {
        const char *max_new, *too_long;
        int64_t expected;
        sonde_prompt_state state;
    } cases[] = {
        {"2", "refuse", 2, SONDE_PROMPT_READY}, {"3", "refuse", 3, SONDE_PROMPT_READY},
        {"4", "refuse", 3, SONDE_PROMPT_READY}, {"4", "skip", 3, SONDE_PROMPT_READY},
        {"4", "cut", 3, SONDE_PROMPT_CUT},      {"3", "cut", 3, SONDE_PROMPT_READY},
        {"0", "cut", 0, SONDE_PROMPT_READY},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_prompt p;
        read_one(".txt", "ab", OPTIONS("add-bos", "no", "max-seq", "4", "too-long", cases[i].too_long,
                                       "max-new-tokens", cases[i].max_new), &p);
        assert_int_equal(p.max_new, cases[i].expected);
        assert_int_equal(p.state, cases[i].state);
        if (p.why)
            assert_string_equal(p.why, "3 tokens generated at most instead of 4: the limit is 4");
        sonde_prompt_reset(&p);
    }
}

/* ---- hash ---------------------------------------------------------------------------------------------------- */

static void hash_of(const char *suffix, const char *text, const char *const *options, char hash[33])
{
    source s;
    sonde_string out;
    source_open(&s, suffix, text, strlen(text), options);
    assert_int_equal(read_all(&s, &out, hash, NULL), SONDE_OK);
    sonde_string_reset(&out);
    source_close(&s);
}

static void test_hash(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{\"text\":\"ab\",\"x\":1,\"y\":2}\n", "{\"y\": 2, \"text\": \"\\u0061b\", \"x\": 1}\n\n",
        "{\"meta\":{\"x\":1},\"y\":2,\"text\":\"ab\",\"seed\":0,\"id\":null}"};
    static const char *const other[] = {
        "{\"text\":\"ac\",\"x\":1,\"y\":2}\n",           "{\"text\":\"ab\",\"x\":1,\"y\":3}\n",
        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"id\":1}\n",  "{\"text\":\"ab\",\"x\":1,\"y\":2,\"seed\":1}\n",
        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"rows\":\"all\"}\n",
        "{\"text\":\"a\",\"continuation\":\"b\",\"x\":1,\"y\":2}\n",
        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"spans\":[[0,1]]}\n",
        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"max_new_tokens\":1}\n",
        "{\"tokens\":[64,65],\"x\":1,\"y\":2}\n"};
    char first[33], hash[33];
    hash_of(".jsonl", same[0], no_bos, first);
    for (size_t i = 1; i < SONDE_COUNT(same); i++) {
        hash_of(".jsonl", same[i], no_bos, hash);
        assert_string_equal(hash, first);
    }
    for (size_t i = 0; i < SONDE_COUNT(other); i++) {
        hash_of(".jsonl", other[i], no_bos, hash);
        assert_string_not_equal(hash, first);
    }
    hash_of(".txt", "ab\ncd\n", no_bos, first);
    hash_of(".jsonl", "{\"text\":\"ab\"}\n{\"text\":\"cd\"}\n", no_bos, hash);
    assert_string_equal(hash, first);
    hash_of(".txt", "cd\nab\n", no_bos, hash);
    assert_string_not_equal(hash, first);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static void test_failing_allocations(void **state)
{
    (void)state;
    source s;
    const char *text = "{\"id\":\"p\",\"text\":\"abcdefgh\",\"spans\":[[3,6]],\"rows\":\"last:1&!bos\"}\n"
                       "{\"text\":\"t\",\"continuation\":\"he\"}\n[\n";
    source_open(&s, ".jsonl", text, strlen(text), OPTIONS("bad-prompt", "skip", "max-seq", "5", "too-long",
                                                          "split", "add-bos", "no"));
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    for (; status == SONDE_NO_MEMORY && n < 1000; n++) {
        sonde_error err = {0};
        sonde_prompts *prompts = NULL;
        sonde_prompt prompt = {0};
        bool end = false;
        sonde_alloc_fail_after(n);
        status = sonde_prompts_open(&s.spec, &prompts, &err);
        while (status == SONDE_OK && !end) status = sonde_prompts_next(prompts, &prompt, &end, &err);
        sonde_prompt_reset(&prompt);
        sonde_prompts_close(&prompts);
        sonde_alloc_fail_after(-1);
    }
    assert_int_equal(status, SONDE_OK);
    assert_in_range(n, 30, 900);
    source_close(&s);
}

static int open_tokenizer(void **state)
{
    (void)state;
    sonde_error err = {0};
    return sonde_tokenizer_open(TOKENIZER, &tokenizer, &err) == SONDE_OK ? 0 : -1;
}

static int close_tokenizer(void **state)
{
    (void)state;
    sonde_tokenizer_destroy(&tokenizer);
    return 0;
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
        cmocka_unit_test(test_special_and_bos),
        cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_own_options),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_too_long_with_continuation),
        cmocka_unit_test(test_cut_keeps_text_of_its_tokens),
        cmocka_unit_test(test_split_pieces),
        cmocka_unit_test(test_max_new_fits),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
