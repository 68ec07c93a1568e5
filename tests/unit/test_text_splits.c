/*
 * test_text_splits.c - pre-tokenizers cut where Hugging Face's do. The model under test has one
 * piece, the unknown one, which fuses: every piece of a split becomes one token with the piece's
 * bytes.
 */
#include "support/golden.h"
#include "text/text_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define LINE_BYTES (4u << 20)

static sonde_tokenizer *splitter(json_t *pre)
{
    json_t *root =
        json_pack("{s:O, s:{s:s, s:{s:i}, s:[], s:s, s:b}}", "pre_tokenizer", pre, "model", "type",
                  "BPE", "vocab", "<unk>", 0, "merges", "unk_token", "<unk>", "fuse_unk", 1);
    sonde_tokenizer *t;
    sonde_error err = {0};
    assert_non_null(root);
    assert_int_equal(sonde_tokenizer_new(&t, &err), SONDE_OK);
    if (sonde_tokenizer_load_json(t, root, "split", &err) != SONDE_OK) fail_msg("%s", err.message);
    json_decref(root);
    return t;
}

static void encode(const sonde_tokenizer *t, const json_t *text, sonde_tokens *tokens)
{
    sonde_error err = {0};
    if (sonde_tokenizer_encode(t, json_string_value(text), json_string_length(text), NULL, tokens,
                               &err) != SONDE_OK)
        fail_msg("%s", err.message);
}

static int64_t integer(const json_t *list, size_t i)
{
    return json_integer_value(json_array_get(list, i));
}

static bool same_spans(const sonde_tokens *got, const json_t *want)
{
    if (got->count != json_array_size(want)) return false;
    for (size_t i = 0; i < got->count; i++) {
        const json_t *span = json_array_get(want, i);
        if (got->text_start[i] != integer(span, 0) || got->text_end[i] != integer(span, 1))
            return false;
    }
    return true;
}

static gzFile open_lines(const char *path)
{
    gzFile file = gzopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    return file;
}

static json_t *next_line(gzFile file, char *buffer)
{
    if (!gzgets(file, buffer, LINE_BYTES)) return NULL;
    json_t *line = json_loads(buffer, JSON_ALLOW_NUL, NULL);
    assert_non_null(line);
    return line;
}

/* ---- goldens of the tree --------------------------------------------------------------------- */

/* Cuts the cases of a line; returns how many pieces lists are wrong, and says which. */
static size_t check_cases(const sonde_tokenizer *t, const json_t *line, const char *name)
{
    const json_t *cases = json_object_get(line, "cases");
    sonde_tokens tokens = {0};
    size_t bad = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *text = json_array_get(json_array_get(cases, i), 0);
        encode(t, text, &tokens);
        if (same_spans(&tokens, json_array_get(json_array_get(cases, i), 1)) || bad++ > 9) continue;
        print_error("%s: '%s' is cut wrongly\n", name, json_string_value(text));
    }
    sonde_tokens_reset(&tokens);
    return bad;
}

static void test_rules_cut_as_in_the_goldens(void **state)
{
    (void)state;
    gzFile file = open_lines("tests/goldens/text/splits.jsonl.gz");
    char *buffer = sonde_alloc_raw(LINE_BYTES, 1);
    size_t bad = 0, rules = 0;
    for (json_t *line; (line = next_line(file, buffer)) != NULL; json_decref(line), rules++) {
        sonde_tokenizer *t = splitter(json_object_get(line, "pre"));
        bad += check_cases(t, line, json_string_value(json_object_get(line, "name")));
        sonde_tokenizer_destroy(&t);
    }
    sonde_free(buffer);
    gzclose(file);
    assert_true(rules > 30);
    assert_int_equal(bad, 0);
}

/* The rules that GGUF names, and the goldens of the models they are named for. */
static const char *const named[][2] = {
    {"gpt-2", "gpt2"},           {"phi-2", "gpt2"},
    {"olmo", "gpt2"},            {"mpt", "gpt2"},
    {"bloom", "bloom"},          {"smollm", "digits gpt2"},
    {"starcoder", "digits gpt2"}, {"refact", "digits gpt2"},
    {"command-r", "digits gpt2"}, {"llama-bpe", "llama3"},
    {"dbrx", "llama3"},          {"qwen2", "qwen"},
    {"gpt-4o", "gpt4o"},         {"llama4", "gpt4o"},
    {"tekken", "tekken"},        {"kimi-k2", "kimi"},
    {"deepseek-v3", "dsv3"},     {"deepseek-llm", "dsv2"},
    {"deepseek-coder", "deepseek-coder"}, {"falcon", "falcon"}};

/* As `splitter`, with a named rule; normalisers are left out, the goldens have none. */
static sonde_tokenizer *named_splitter(const char *name)
{
    bool bos;
    sonde_tokenizer *t;
    sonde_error err = {0};
    assert_int_equal(sonde_tokenizer_new(&t, &err), SONDE_OK);
    if (sonde_named_rule_apply(t, name, &bos, &err) != SONDE_OK) fail_msg("%s", err.message);
    t->n_normalizers = 0;
    t->model.byte_level = t->model.mapped = false;
    t->model.fuse_unknown = true;
    t->model.unknown = 0;
    assert_int_equal(sonde_vocabulary_add(t, 0, "<unk>", 5, &err), SONDE_OK);
    assert_int_equal(sonde_vocabulary_index(t, &err), SONDE_OK);
    assert_int_equal(sonde_merges_set(t, NULL, 0, &err), SONDE_OK);
    return t;
}

static void test_named_rules_cut_as_their_models(void **state)
{
    (void)state;
    gzFile file = open_lines("tests/goldens/text/splits.jsonl.gz");
    char *buffer = sonde_alloc_raw(LINE_BYTES, 1);
    size_t bad = 0, checked = 0;
    for (json_t *line; (line = next_line(file, buffer)) != NULL; json_decref(line)) {
        const char *rule = json_string_value(json_object_get(line, "name"));
        for (size_t i = 0; i < SONDE_COUNT(named); i++) {
            if (strcmp(named[i][1], rule) != 0) continue;
            sonde_tokenizer *t = named_splitter(named[i][0]);
            bad += check_cases(t, line, named[i][0]);
            sonde_tokenizer_destroy(&t);
            checked++;
        }
    }
    sonde_free(buffer);
    gzclose(file);
    assert_int_equal(checked, SONDE_COUNT(named));
    assert_int_equal(bad, 0);
}

/* ---- shared goldens -------------------------------------------------------------------------- */

/* Bytes of a piece as Metaspace leaves it: a space has become an underline of three bytes. */
static int64_t piece_bytes(const char *text, const sonde_tokens *tokens, size_t i, bool underlines)
{
    int64_t n = tokens->text_end[i] - tokens->text_start[i];
    for (uint32_t at = tokens->text_start[i]; underlines && at < tokens->text_end[i]; at++)
        n += text[at] == ' ' ? 2 : 0;
    return n;
}

static bool same_pieces(const sonde_tokens *got, const json_t *want, const char *text,
                        bool underlines)
{
    if (got->count != json_array_size(want)) return false;
    bool front = underlines && text[0] != ' ' && strncmp(text, "\xE2\x96\x81", 3) != 0;
    for (size_t i = 0; i < got->count; i++) {
        int64_t extra = i == 0 && front ? 3 : 0;
        if (piece_bytes(text, got, i, underlines) + extra != integer(want, i)) return false;
    }
    return true;
}

static json_t *shared_rules(const char *shared)
{
    char path[512];
    snprintf(path, sizeof path, "%s/goldens/text/features/splits.json", shared);
    json_t *rules = json_load_file(path, 0, NULL);
    assert_non_null(rules);
    return rules;
}

static void test_rules_cut_as_in_the_shared_goldens(void **state)
{
    (void)state;
    const char *shared = test_shared();
    if (!shared) skip();
    char path[512], name[64] = "";
    json_t *rules = shared_rules(shared);
    snprintf(path, sizeof path, "%s/goldens/text/features/pretok.jsonl.gz", shared);
    gzFile file = open_lines(path);
    char *buffer = sonde_alloc_raw(LINE_BYTES, 1);
    sonde_tokens tokens = {0};
    sonde_tokenizer *t = NULL;
    size_t bad = 0, lines = 0;
    for (json_t *line; (line = next_line(file, buffer)) != NULL; json_decref(line), lines++) {
        const char *rule = json_string_value(json_object_get(line, "split"));
        if (strcmp(rule, name) != 0) {
            sonde_tokenizer_destroy(&t);
            t = splitter(json_object_get(rules, rule));
            snprintf(name, sizeof name, "%s", rule);
        }
        const json_t *text = json_object_get(line, "text");
        encode(t, text, &tokens);
        if (same_pieces(&tokens, json_object_get(line, "pieces"), json_string_value(text),
                        strncmp(rule, "metaspace", 9) == 0) ||
            bad++ > 9)
            continue;
        print_error("%s: '%s' is cut wrongly\n", rule, json_string_value(text));
    }
    sonde_tokenizer_destroy(&t);
    sonde_tokens_reset(&tokens);
    sonde_free(buffer);
    json_decref(rules);
    gzclose(file);
    assert_true(lines > 30000);
    assert_int_equal(bad, 0);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_unknown_syntax_is_refused_by_name(void **state)
{
    static const struct {
        const char *rule, *message;
    } cases[] = {
        {"a(?<name>b)", "an unknown kind of group"},
        {"\\p{Klingon}", "an unknown property"},
        {"[[:alpha:]]", "a POSIX bracket"},
        {"(?i:\xC3\xA9)", "other than ASCII"},
        {"(?i:ss)", "fold to one character"},
        {"(?<=ab)c", "lookbehind"},
        {"(a*)*", "a repeat of what may be empty"},
        {"\\1", "an unknown escape"},
        {"a{2}?", "{n}?"},
        {"(a", "a group without its end"},
        {"a)", "a closing bracket"},
        {"[a", "a class without its end"},
        {"*a", "an operator without its operand"},
        {"[b-a]", "ends before it begins"},
        {"(?:(?:ab){100}){100}", "too long"},
        {"a\\", "an escape without its letter"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_regex *regex = NULL;
        sonde_error err = {0};
        sonde_status status =
            sonde_regex_compile(cases[i].rule, strlen(cases[i].rule), &regex, &err);
        if (status != SONDE_BAD_TOKENIZER || regex)
            fail_msg("%s: status %d", cases[i].rule, (int)status);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s: %s", cases[i].rule, err.message);
    }
}

/* A rule that would take for ever stops with a message; the same text in a real rule is linear. */
static void test_runaway_rules_stop(void **state)
{
    (void)state;
    json_t *pre = json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern", "Regex", "(a|aa)+b",
                            "behavior", "Isolated");
    sonde_tokenizer *t = splitter(pre);
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    char text[4000];
    memset(text, 'a', sizeof text);
    assert_int_equal(sonde_tokenizer_encode(t, text, sizeof text, NULL, &tokens, &err),
                     SONDE_BAD_PROMPT);
    assert_non_null(strstr(err.message, "too many steps"));
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
    json_decref(pre);
}

/* A rule that fails behind a run fails once for all of it, not once for each of its characters. */
static void test_failing_runs_are_linear(void **state)
{
    static const char rule[] = "\\s+$";
    (void)state;
    sonde_regex *regex = NULL;
    sonde_error err = {0};
    sonde_chars chars = {0};
    size_t start, end;
    assert_int_equal(sonde_regex_compile(rule, sizeof rule - 1, &regex, &err), SONDE_OK);
    for (uint32_t i = 0; i < 100000; i++)
        assert_true(sonde_chars_push(&chars, i == 99990 ? '7' : ' ', i, i + 1));
    sonde_regex_work work = {.budget = 300000};
    sonde_regex_cursor cursor = {0};
    assert_int_equal(
        sonde_regex_next(regex, &work, chars.data, chars.count, &cursor, &start, &end),
        SONDE_REGEX_FOUND);
    assert_int_equal(start, 99991);
    assert_int_equal(end, 100000);
    sonde_free(work.stack);
    sonde_free(chars.data);
    sonde_regex_destroy(&regex);
}

static void test_failed_allocations_of_rules_are_reported(void **state)
{
    static const char rule[] = "(?i:'s|'t)|(?:a b?){2,3}|[\\p{L}&&[^x]]++|(?>a|b)c|\\s+(?!\\S)";
    (void)state;
    for (long n = 0; n < 2000; n++) {
        sonde_regex *regex = NULL;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        sonde_status status = sonde_regex_compile(rule, sizeof rule - 1, &regex, &err);
        sonde_alloc_fail_after(-1);
        if (status != SONDE_OK && status != SONDE_NO_MEMORY) fail_msg("%s", err.message);
        sonde_regex_destroy(&regex);
        if (status == SONDE_OK) return;
    }
    fail_msg("the rule never compiled");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_cut_as_in_the_goldens),
        cmocka_unit_test(test_named_rules_cut_as_their_models),
        cmocka_unit_test(test_rules_cut_as_in_the_shared_goldens),
        cmocka_unit_test(test_unknown_syntax_is_refused_by_name),
        cmocka_unit_test(test_runaway_rules_stop),
        cmocka_unit_test(test_failing_runs_are_linear),
        cmocka_unit_test(test_failed_allocations_of_rules_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
