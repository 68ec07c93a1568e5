/* From a prompt to token ids: BOS, continuations, spans, what is too long; the hash of it all. */
#include "support/prompt_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- ids of tokens --------------------------------------------------------------------------- */

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
        prompt_read_one(".txt", "a<x>", cases[i].options, &p);
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
    prompt_read_one(".jsonl", "{\"text\":\"t\",\"continuation\":\" the\"}", prompts_no_bos, &p);
    assert_int_equal(p.n_prompt, 1);
    assert_int_equal(p.n_tokens, 2);
    assert_string_equal(p.text, "t the");
    assert_int_equal(p.text_start[1], 1);
    assert_int_equal(p.text_end[1], 5);
    sonde_prompt_reset(&p);
    prompt_read_one(".jsonl", "{\"text\":\"t\",\"continuation\":\"he\"}", prompts_no_bos, &p);
    check_tokens(&p, 3, (const uint32_t[]){83, 71, 68});
    assert_int_equal(p.n_prompt, 1);
    assert_int_equal(p.text_start[1], 1);
    assert_int_equal(p.text_end[2], 3);
    assert_string_equal(p.text, "the");
    sonde_prompt_reset(&p);
    prompt_read_one(".jsonl", "{\"tokens\":[5,6],\"continuation\":[7]}", prompts_no_bos, &p);
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
    prompt_read_one(
        ".jsonl",
        "{\"text\":\"a\",\"max_new_tokens\":9,\"seed\":3,\"rows\":\"last:1\",\"z\":null,"
        "\"tag\":\"x\",\"meta\":{\"text\":\"m\",\"n\":[1]}}",
        given, &p);
    assert_int_equal(p.max_new, 9);
    assert_int_equal(p.seed, 3);
    assert_string_equal(p.rows, "last:1");
    char *meta = json_dumps(p.meta, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(meta, "{\"n\":[1],\"tag\":\"x\",\"text\":\"m\",\"z\":null}");
    free(meta);
    sonde_prompt_reset(&p);
    prompt_read_one(".jsonl", "{\"text\":\"a\"}", given, &p);
    assert_int_equal(p.max_new, 4);
    assert_int_equal(p.seed, 11);
    assert_null(p.rows);
    assert_null(p.marked);
    assert_int_equal(json_object_size(p.meta), 0);
    sonde_prompt_reset(&p);
}

static void take_line(void *context, sonde_log_level level, const char *line)
{
    assert_int_equal(level, SONDE_LOG_WARN);
    sonde_string_format(context, "%s\n", line);
}

/* Metadata that looks like an option misspelt: said once, kept all the same. */
static void test_odd_keys(void **state)
{
    (void)state;
    prompt_source s;
    sonde_string out, log = {0};
    const char *text =
        "{\"text\":\"a\",\"maxLength\":3}\n{\"text\":\"a\",\"continuations\":\"b\"}\n"
        "{\"text\":\"a\",\"max_new_token\":1}\n";
    prompt_source_open(&s, ".jsonl", text, strlen(text), prompts_no_bos);
    sonde_log_set(take_line, &log, SONDE_LOG_WARN);
    assert_int_equal(prompt_source_read(&s, &out, NULL, NULL), SONDE_OK);
    sonde_log_set(NULL, NULL, SONDE_LOG_WARN);
    assert_string_equal(out.data, "0:0 1/1 | 1:1 1/1 | 2:2 1/1");
    assert_non_null(strstr(log.data, ".jsonl:2: 'continuations' is kept as metadata; did you mean "
                                     "'continuation'?\n"));
    assert_ptr_equal(strchr(log.data, '\n'), strrchr(log.data, '\n'));
    sonde_string_reset(&out);
    sonde_string_reset(&log);
    prompt_source_close(&s);
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
        prompt_read_one(".jsonl", cases[i].line, prompts_no_bos, &p);
        assert_int_equal(p.n_tokens, strlen(cases[i].marks));
        for (int64_t k = 0; k < p.n_tokens; k++)
            assert_int_equal(p.marked[k], cases[i].marks[k] - '0');
        sonde_prompt_reset(&p);
    }
    sonde_prompt p;
    prompt_read_one(".jsonl", "{\"text\":\"ab\",\"spans\":[[0,2]]}", NULL, &p);
    assert_memory_equal(p.marked, ((const uint8_t[]){0, 1, 1, 0}), 4); /* [S] and <x> are no text */
    sonde_prompt_reset(&p);
}

/* ---- too long -------------------------------------------------------------------------------- */

static void test_too_long(void **state)
{
    (void)state;
    const char *text = "abc\nabcdefghij\nab\n";
#define LIMIT(choice) OPTIONS("add-bos", "no", "max-seq", "4", "too-long", choice)
    prompts_check(".txt", text, LIMIT("refuse"), SONDE_BAD_PROMPT,
                  "FILE:2: the prompt has 10 tokens, the limit is 4 (--max-seq); --too-long "
                  "refuse, cut, split "
                  "or skip says what to do");
    prompts_check(".txt", text, LIMIT("cut"), SONDE_OK,
                  "0:0 3/3 | 1:1 cut 4/4 (the prompt has 10 tokens, the limit is 4) | 2:2 2/2");
    prompts_check(".txt", text, LIMIT("split"), SONDE_OK,
                  "0:0 3/3 | 1:1#0 4/4 | 1:1#1 4/4 | 1:1#2 2/2 | 2:2 2/2");
    prompts_check(".txt", text, LIMIT("skip"), SONDE_OK,
                  "0:0 3/3 | 1:1 skipped (the prompt has 10 tokens, the limit is 4) | 2:2 2/2");
    prompts_check(
        ".txt", text, OPTIONS("add-bos", "no", "max-seq", "4", "bad-prompt", "skip"), SONDE_OK,
        "0:0 3/3 | 1:1 skipped (FILE:2: the prompt has 10 tokens, the limit is 4 (--max-seq); "
        "--too-long refuse, cut, split or skip says what to do) | 2:2 2/2");
}

static void test_too_long_with_continuation(void **state)
{
    (void)state;
    const char *text = "{\"text\":\"abc\",\"continuation\":\"defg\"}\n";
    prompts_check(
        ".jsonl", text, LIMIT("refuse"), SONDE_BAD_PROMPT,
        "FILE:1: the prompt with its continuation has 7 tokens, the limit is 4 (--max-seq); "
        "--too-long refuse, cut, split or skip says what to do");
    prompts_check(".jsonl", text, LIMIT("cut"), SONDE_OK,
                  "0:0 cut 3/4 (the prompt with its continuation has 7 tokens, the limit is 4)");
    prompts_check(
        ".jsonl", text, LIMIT("split"), SONDE_BAD_PROMPT,
        "FILE:1: the prompt with its continuation has 7 tokens, the limit is 4; a prompt with a "
        "continuation is not split: --too-long cut or skip");
}

static void test_cut_keeps_text_of_its_tokens(void **state)
{
    (void)state;
    sonde_prompt p;
    prompt_read_one(".jsonl",
                    "{\"text\":\"abc\xC3\xA9"
                    "fgh\",\"spans\":[[1,2]]}",
                    LIMIT("cut"), &p);
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
    prompt_source s;
    sonde_error err = {0};
    sonde_prompts *prompts = NULL;
    sonde_prompt p = {0};
    bool end;
    const char *line =
        "{\"id\":\"p\",\"text\":\"abcdef\xC3\xA9h\",\"spans\":[[3,6]],\"rows\":\"all\","
        "\"max_new_tokens\":3,\"k\":1}\n{\"id\":\"p#1\",\"text\":\"a\"}\n";
    prompt_source_open(&s, ".jsonl", line, strlen(line), LIMIT("split"));
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
    prompt_source_close(&s);
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
        prompt_read_one(".txt", "ab",
                        OPTIONS("add-bos", "no", "max-seq", "4", "too-long", cases[i].too_long,
                                "max-new-tokens", cases[i].max_new),
                        &p);
        assert_int_equal(p.max_new, cases[i].expected);
        assert_int_equal(p.state, cases[i].state);
        if (p.why)
            assert_string_equal(p.why, "3 tokens generated at most instead of 4: the limit is 4");
        sonde_prompt_reset(&p);
    }
}

/* ---- hash ------------------------------------------------------------------------------------ */

static void hash_of(const char *suffix, const char *text, const char *const *options, char hash[33])
{
    prompt_source s;
    sonde_string out;
    prompt_source_open(&s, suffix, text, strlen(text), options);
    assert_int_equal(prompt_source_read(&s, &out, hash, NULL), SONDE_OK);
    sonde_string_reset(&out);
    prompt_source_close(&s);
}

static void test_hash(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{\"text\":\"ab\",\"x\":1,\"y\":2}\n", "{\"y\": 2, \"text\": \"\\u0061b\", \"x\": 1}\n\n",
        "{\"meta\":{\"x\":1},\"y\":2,\"text\":\"ab\",\"seed\":0,\"id\":null}"};
    static const char *const other[] = {"{\"text\":\"ac\",\"x\":1,\"y\":2}\n",
                                        "{\"text\":\"ab\",\"x\":1,\"y\":3}\n",
                                        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"id\":1}\n",
                                        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"seed\":1}\n",
                                        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"rows\":\"all\"}\n",
                                        "{\"text\":\"a\",\"continuation\":\"b\",\"x\":1,\"y\":2}\n",
                                        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"spans\":[[0,1]]}\n",
                                        "{\"text\":\"ab\",\"x\":1,\"y\":2,\"max_new_tokens\":1}\n",
                                        "{\"tokens\":[64,65],\"x\":1,\"y\":2}\n"};
    char first[33], hash[33];
    hash_of(".jsonl", same[0], prompts_no_bos, first);
    for (size_t i = 1; i < SONDE_COUNT(same); i++) {
        hash_of(".jsonl", same[i], prompts_no_bos, hash);
        assert_string_equal(hash, first);
    }
    for (size_t i = 0; i < SONDE_COUNT(other); i++) {
        hash_of(".jsonl", other[i], prompts_no_bos, hash);
        assert_string_not_equal(hash, first);
    }
    hash_of(".txt", "ab\ncd\n", prompts_no_bos, first);
    hash_of(".jsonl", "{\"text\":\"ab\"}\n{\"text\":\"cd\"}\n", prompts_no_bos, hash);
    assert_string_equal(hash, first);
    hash_of(".txt", "cd\nab\n", prompts_no_bos, hash);
    assert_string_not_equal(hash, first);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_failing_allocations(void **state)
{
    (void)state;
    prompt_source s;
    const char *text =
        "{\"id\":\"p\",\"text\":\"abcdefgh\",\"spans\":[[3,6]],\"rows\":\"last:1&!bos\"}\n"
        "{\"text\":\"t\",\"continuation\":\"he\"}\n[\n{\"id\":\"p\",\"tokens\":[]}\n";
    prompt_source_open(
        &s, ".jsonl", text, strlen(text),
        OPTIONS("bad-prompt", "skip", "max-seq", "5", "too-long", "split", "add-bos", "no"));
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    for (; status == SONDE_NO_MEMORY && n < 1000; n++) {
        sonde_error err = {0};
        sonde_prompts *prompts = NULL;
        sonde_prompt prompt = {0};
        bool end = false;
        sonde_alloc_fail_after(n);
        status = sonde_prompts_open(&s.spec, &prompts, &err);
        while (status == SONDE_OK && !end)
            status = sonde_prompts_next(prompts, &prompt, &end, &err);
        sonde_prompt_reset(&prompt);
        sonde_prompts_close(&prompts);
        sonde_alloc_fail_after(-1);
    }
    assert_int_equal(status, SONDE_OK);
    assert_in_range(n, 30, 900);
    prompt_source_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_and_bos),
        cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_own_options),
        cmocka_unit_test(test_odd_keys),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_too_long_with_continuation),
        cmocka_unit_test(test_cut_keeps_text_of_its_tokens),
        cmocka_unit_test(test_split_pieces),
        cmocka_unit_test(test_max_new_fits),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, prompt_case_set_up, prompt_case_tear_down);
}
