/* Rows expressions: what every term keeps, how terms combine, what is known before a sequence is
 * whole, and the message of every refusal. */
#include "host/select.h"
#include "sonde/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Twelve rows: six of the prompt, two of its continuation, four generated. */
#define ROWS 12
static const uint32_t tokens[ROWS] = {1, 5, 7, 5, 9, 1, 7, 7, 5, 2, 9, 5};
static const uint8_t phase[ROWS] = {0, 0, 0, 0, 0, 0, 2, 2, 1, 1, 1, 1};
static const uint8_t segment[ROWS] = {6, 1, 1, 2, 2, 6, 3, 3, 4, 4, 5, 0};
static const uint8_t special[ROWS] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0};
static const uint8_t marked[ROWS] = {0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0};

static sonde_rows_context context_of(int64_t n_rows)
{
    return (sonde_rows_context){.n_rows = n_rows,
                                .tokens = tokens,
                                .phase = phase,
                                .segment = segment,
                                .special = special,
                                .marked = marked,
                                .bos = 1,
                                .id = "p q",
                                .index = 7,
                                .seed = 3};
}

/* "110..." of the rows kept, or the message. */
static sonde_status keep(const char *text, const sonde_rows_context *context, char *out,
                         size_t bytes)
{
    sonde_error err = {0};
    sonde_rows_expr *expr = NULL;
    uint8_t keeps[64];
    sonde_status status = sonde_rows_compile(text, &expr, &err);
    if (status == SONDE_OK) status = sonde_rows_evaluate(expr, context, keeps, &err);
    snprintf(out, bytes, "%s", err.message);
    for (int64_t i = 0; status == SONDE_OK && i < context->n_rows; i++) {
        out[i] = (char)('0' + keeps[i]);
        out[i + 1] = '\0';
    }
    sonde_rows_destroy(&expr);
    assert_null(expr);
    return status;
}

static void check(const char *text, const char *expected)
{
    char out[512];
    sonde_rows_context context = context_of(ROWS);
    assert_int_equal(keep(text, &context, out, sizeof out), SONDE_OK);
    if (strcmp(out, expected) != 0) fail_msg("'%s': expected %s, got %s", text, expected, out);
}

static void check_refused(const char *text, const char *message)
{
    char out[512];
    sonde_rows_context context = context_of(ROWS);
    assert_int_equal(keep(text, &context, out, sizeof out), SONDE_USAGE);
    if (strcmp(out, message) != 0) fail_msg("'%s'\nexpected %s\n     got %s", text, message, out);
}

typedef struct rows_case {
    const char *text, *result;
} rows_case;

/* ---- terms ----------------------------------------------------------------------------------- */

static void test_terms(void **state)
{
    (void)state;
    static const rows_case cases[] = {
        {"all", "111111111111"},         {"prompt", "111111000000"},
        {"generated", "000000001111"},   {"continuation", "000000110000"},
        {"system", "011000000000"},      {"user", "000110000000"},
        {"assistant", "000000110000"},   {"reasoning", "000000001100"},
        {"tool", "000000000010"},        {"markup", "100001000000"},
        {"special", "100001000100"},     {"bos", "100001000000"},
        {"marked", "001100010000"},      {"first:3", "111000000000"},
        {"last:2", "000000000011"},      {"every:5", "100001000010"},
        {"first:99", "111111111111"},    {"pos:2..5", "001110000000"},
        {"pos:..2", "110000000000"},     {"pos:9..", "000000000111"},
        {"pos:..", "111111111111"},      {"token:7", "001000110000"},
        {"token:9,2,9", "000010000110"}, {"sample:1", "111111111111"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check(cases[i].text, cases[i].result);
}

static void test_missing_columns(void **state)
{
    (void)state;
    sonde_rows_context context = {.n_rows = 4, .tokens = tokens, .bos = -1};
    static const rows_case cases[] = {{"prompt", "1111"},  {"generated", "0000"},
                                      {"special", "0000"}, {"bos", "0000"},
                                      {"marked", "0000"},  {"user", "0000"}};
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char out[512];
        assert_int_equal(keep(cases[i].text, &context, out, sizeof out), SONDE_OK);
        assert_string_equal(out, cases[i].result);
    }
}

static void test_no_rows(void **state)
{
    (void)state;
    sonde_rows_context context = {.n_rows = 0, .bos = -1};
    char out[512];
    assert_int_equal(keep("!(last:1|token:3)", &context, out, sizeof out), SONDE_OK);
    assert_string_equal(out, "");
}

/* ---- how terms combine ----------------------------------------------------------------------- */

static void test_operators(void **state)
{
    (void)state;
    static const rows_case cases[] = {
        {"prompt&last:1", "000001000000"},
        {"last:1&prompt", "000000000000"}, /* counts within what stands before it */
        {"prompt & first:2", "110000000000"},
        {"generated&every:2", "000000001010"},
        {"token:5&last:2&first:1", "000000001000"},
        {"first:1|last:1", "100000000001"},
        {"prompt&(first:1|last:1)", "100001000000"},
        {"prompt|generated&last:1", "111111000001"}, /* & binds tighter */
        {"(prompt|generated)&last:1", "000000000001"},
        {"!prompt", "000000111111"},
        {"!last:1", "111111111110"},
        {"prompt&!last:1", "111110000000"},
        {"prompt&!bos&first:1", "010000000000"},
        {"!!bos", "100001000000"},
        {"!(bos|special)", "011110111011"},
        {"!bos&special", "000000000100"}, /* ! binds tightest */
        {"first:1|pos:2..4|last:1", "101100000001"},
        {" ( ( all ) ) ", "111111111111"},
        {"marked&last:1|continuation", "000000110000"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check(cases[i].text, cases[i].result);
}

static void test_long_chains(void **state)
{
    (void)state;
    sonde_string text = {0};
    for (int i = 0; i < 2000; i++) sonde_string_format(&text, "%stoken:5", i ? "|" : "");
    check(text.data, "010100001001");
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] == '|') text.data[i] = '&';
    check(text.data, "010100001001");
    sonde_string_reset(&text);
}

/* Which rows a sample keeps is fixed by seed, index and position; the share is about right. */
static void test_sample(void **state)
{
    (void)state;
    enum { N = 4000 };
    static uint32_t ids[N];
    static uint8_t keeps[4][N];
    sonde_rows_expr *expr = NULL;
    assert_int_equal(sonde_rows_compile("sample:0.25", &expr, NULL), SONDE_OK);
    sonde_rows_context context = {.n_rows = N, .tokens = ids, .bos = -1, .index = 1, .seed = 2};
    assert_int_equal(sonde_rows_evaluate(expr, &context, keeps[0], NULL), SONDE_OK);
    context.n_rows = N / 2; /* a shorter sequence has the same rows */
    assert_int_equal(sonde_rows_evaluate(expr, &context, keeps[1], NULL), SONDE_OK);
    assert_memory_equal(keeps[0], keeps[1], N / 2);
    context.n_rows = N;
    context.seed = 3;
    assert_int_equal(sonde_rows_evaluate(expr, &context, keeps[2], NULL), SONDE_OK);
    context.seed = 2;
    context.index = 2;
    assert_int_equal(sonde_rows_evaluate(expr, &context, keeps[3], NULL), SONDE_OK);
    int count = 0;
    for (int i = 0; i < N; i++) count += keeps[0][i];
    assert_in_range(count, 863, 1137); /* 1000 +- 5 standard deviations of 27.4 */
    assert_memory_not_equal(keeps[0], keeps[2], N);
    assert_memory_not_equal(keeps[0], keeps[3], N);
    sonde_rows_destroy(&expr);
}

/* ---- lists from files ------------------------------------------------------------------------ */

static void write_list(char path[40], const char *text, size_t bytes)
{
    strcpy(path, "/tmp/sonde-rows-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), bytes);
    close(fd);
}

static void test_file(void **state)
{
    (void)state;
    char path[40], text[64];
    const char *list = "p q 3\n7 1\r\n\nother 2\n8 4\n7 11\np q 3\n7 99\n"; /* id "p q", index 7 */
    write_list(path, list, strlen(list));
    snprintf(text, sizeof text, "file:%s", path);
    check(text, "010100000001");
    snprintf(text, sizeof text, "!file:%s&first:2", path);
    check(text, "101000000000");
    unlink(path);
    write_list(path, "", 0);
    snprintf(text, sizeof text, "file:%s", path);
    check(text, "000000000000");
    unlink(path);
}

static void test_file_refused(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        size_t bytes;
        const char *message;
    } cases[] = {
        {"a 1\nb\n", 6, "%s:2: expected 'ID POSITION', got 'b'"},
        {"a 1\nb x\n", 8, "%s:2: expected 'ID POSITION', got 'b x'"},
        {" 5\n", 3, "%s:1: expected 'ID POSITION', got ' 5'"},
        {"a -1\n", 5, "%s:1: expected 'ID POSITION', got 'a -1'"},
        {"a 1 \n", 5, "%s:1: expected 'ID POSITION', got 'a 1 '"},
        {"a 1\n\0b 1\n", 9, "%s: expected text, got a NUL at byte 5"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char path[40], text[64], message[160];
        write_list(path, cases[i].list, cases[i].bytes);
        snprintf(text, sizeof text, "file:%s", path);
        snprintf(message, sizeof message, "%s%s", path, cases[i].message + 2);
        check_refused(text, message);
        unlink(path);
    }
    char out[512];
    sonde_rows_context context = context_of(ROWS);
    assert_int_equal(keep("file:/tmp/sonde-absent", &context, out, sizeof out), SONDE_BAD_FILE);
    assert_string_equal(out, "cannot open /tmp/sonde-absent: No such file or directory");
    sonde_error err = {0};
    sonde_rows_expr *expr = NULL;
    assert_int_equal(sonde_rows_compile_without_files("bos|file:x", &expr, &err), SONDE_USAGE);
    assert_string_equal(err.message,
                        "rows expression 'bos|file:x': file:x: expected no list: a prompt's "
                        "rows do not read files");
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
#define REFUSED(text, rest)                                                                        \
    {                                                                                              \
        text, "rows expression '" text "': " rest                                                  \
    }
    static const rows_case cases[] = {
        REFUSED("", "expected a term at character 1, got the end"),
        REFUSED("  ", "expected a term at character 3, got the end"),
        REFUSED("prompt&", "expected a term at character 8, got the end"),
        REFUSED("prompt||bos", "expected a term at character 8, got '|bos'"),
        REFUSED("prompt bos", "expected '&', '|' or the end at character 8, got 'bos'"),
        REFUSED("(prompt", "expected ')' at character 8, got the end"),
        REFUSED("prompt)", "expected '&', '|' or the end at character 7, got ')'"),
        REFUSED("!", "expected a term at character 2, got the end"),
        REFUSED("5", "expected a term at character 1, got '5'"),
        REFUSED("lst:1", "no term 'lst'; did you mean 'last'?"),
        REFUSED("generate", "no term 'generate'; did you mean 'generated'?"),
        REFUSED("Prompt", "no term 'Prompt'; did you mean 'prompt'?"),
        REFUSED("qqqqqq",
                "no term 'qqqqqq'; terms are all prompt generated continuation system user "
                "assistant reasoning tool markup special bos marked first:N last:N pos:A..B "
                "every:N sample:P token:ID,... file:LIST"),
        REFUSED("prompt:3", "expected no value at character 7, got ':3'"),
        REFUSED("last", "expected ':' and a value at character 5, got the end"),
        REFUSED("last:", "last:: expected a whole number of at least 1"),
        REFUSED("last:0", "last:0: expected a whole number of at least 1"),
        REFUSED("first:-2", "first:-2: expected a whole number of at least 1"),
        REFUSED("every:1.5", "every:1.5: expected a whole number of at least 1"),
        REFUSED("last:99999999999999999999",
                "last:99999999999999999999: expected a whole number of at "
                "least 1"),
        REFUSED("pos:3",
                "pos:3: expected A..B (rows with A <= position < B; either may be left out)"),
        REFUSED("pos:5..5", "pos:5..5: expected A..B with 0 <= A < B"),
        REFUSED("pos:-1..5", "pos:-1..5: expected A..B with 0 <= A < B"),
        REFUSED("pos:a..b", "pos:a..b: expected A..B with 0 <= A < B"),
        REFUSED("sample:0", "sample:0: expected a share with 0 < P <= 1"),
        REFUSED("sample:1.01", "sample:1.01: expected a share with 0 < P <= 1"),
        REFUSED("sample:nan", "sample:nan: expected a share with 0 < P <= 1"),
        REFUSED("token:", "token:: expected token ids joined by commas, without spaces"),
        REFUSED("token:1,,2", "token:: expected token ids joined by commas, without spaces"),
        REFUSED("token:1,x", "token:x: expected token ids joined by commas, without spaces"),
        REFUSED("token:4294967296",
                "token:4294967296: expected token ids joined by commas, without spaces"),
        REFUSED("token:1, 2", "token:: expected token ids joined by commas, without spaces"),
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check_refused(cases[i].text, cases[i].result);
}

static void test_bounds_of_texts(void **state)
{
    (void)state;
    char text[17000];
    memset(text, '(', sizeof text);
    text[100] = '\0';
    char message[256];
    snprintf(message, sizeof message,
             "rows expression '%.80s...': expected fewer nested parentheses at "
             "character 65, got '%.20s'",
             text, text);
    check_refused(text, message);
    memset(text, '!', 64);
    strcpy(text + 64, "all");
    check_refused(
        text,
        "rows expression '!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!all'"
        ": expected fewer nested parentheses at character 65, got 'all'");
    check(text + 1, "000000000000");
    check(text + 2, "111111111111");
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    check_refused(
        text, "rows expression 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...': longer than 16384 "
              "bytes; put long lists into a file (file:LIST)");
}

/* ---- before a sequence is whole -------------------------------------------------------------- */

typedef struct known {
    const char *text;
    bool causal, may_keep_generated, all;
} known;

/* What is said of an expression, and that it is so: a causal one keeps the same rows of every
 * beginning that holds the prompt and its continuation. */
static void check_known(const known *k)
{
    sonde_rows_expr *expr = NULL;
    uint8_t whole[ROWS], part[ROWS];
    assert_int_equal(sonde_rows_compile(k->text, &expr, NULL), SONDE_OK);
    if (sonde_rows_is_causal(expr) != k->causal || sonde_rows_is_all(expr) != k->all ||
        sonde_rows_may_keep_generated(expr) != k->may_keep_generated)
        fail_msg("'%s': causal %d, generated %d, all %d", k->text, sonde_rows_is_causal(expr),
                 sonde_rows_may_keep_generated(expr), sonde_rows_is_all(expr));
    sonde_rows_context context = context_of(ROWS);
    assert_int_equal(sonde_rows_evaluate(expr, &context, whole, NULL), SONDE_OK);
    for (int64_t n = 8; n < ROWS; n++) {
        context = context_of(n);
        assert_int_equal(sonde_rows_evaluate(expr, &context, part, NULL), SONDE_OK);
        if (k->causal) assert_memory_equal(whole, part, (size_t)n);
        if (!k->may_keep_generated) assert_int_equal(whole[n], 0);
    }
    sonde_rows_destroy(&expr);
}

static void test_known_before_the_end(void **state)
{
    (void)state;
    static const known cases[] = {
        {"all", true, true, true},
        {"(all)", true, true, true},
        {"prompt", true, false, false},
        {"prompt|continuation", true, false, false},
        {"first:3", true, true, false},
        {"every:3&sample:0.5", true, true, false},
        {"last:1", false, true, false},
        {"!last:1", false, true, false},
        {"prompt&last:1", true, false, false},
        {"last:2&prompt", false, false, false},
        {"(prompt|continuation)&last:2", true, false, false},
        {"continuation&last:1|generated", true, true, false},
        {"prompt|generated&last:1", false, true, false},
        {"!generated&last:1", true, false, false},
        {"!prompt&last:1", false, true, false},
        {"marked&last:1", true, false, false},
        {"prompt&(first:1|last:1)", true, false, false},
        {"prompt&!last:1", true, false, false},
        {"pos:2..&prompt", true, false, false},
        {"generated&first:1", true, true, false},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) check_known(&cases[i]);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void test_rows_match(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_tokenizer *tokenizer = NULL;
    assert_int_equal(sonde_tokenizer_open("tests/goldens/text/bytes-plain", &tokenizer, &err),
                     SONDE_OK);
    const uint32_t ids[] = {279, 64, 277, 65}; /* [S] a <x> b */
    bool keeps[4];
    assert_int_equal(sonde_rows_match("special|last:1", ids, NULL, 4, tokenizer, keeps, &err), SONDE_OK);
    assert_true(keeps[0] && !keeps[1] && keeps[2] && keeps[3]);
    assert_int_equal(sonde_rows_match("special|last:1", ids, NULL, 4, NULL, keeps, &err), SONDE_OK);
    assert_true(!keeps[0] && !keeps[1] && !keeps[2] && keeps[3]);
    assert_int_equal(sonde_rows_match("prompt", ids, NULL, 0, NULL, keeps, &err), SONDE_OK);
    assert_int_equal(sonde_rows_match("prmpt", ids, NULL, 4, tokenizer, keeps, &err), SONDE_USAGE);
    assert_string_equal(err.message,
                        "rows expression 'prmpt': no term 'prmpt'; did you mean 'prompt'?");
    sonde_tokenizer_destroy(&tokenizer);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    char path[40], text[128];
    write_list(path, "a 1\nb 2\n", 8);
    snprintf(text, sizeof text, "(token:1,2|file:%s)&!(bos|last:2)", path);
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    for (; status == SONDE_NO_MEMORY && n < 200; n++) {
        char out[512];
        sonde_rows_context context = context_of(ROWS);
        sonde_alloc_fail_after(n);
        status = keep(text, &context, out, sizeof out);
        sonde_alloc_fail_after(-1);
    }
    assert_int_equal(status, SONDE_OK);
    assert_in_range(n, 15, 100);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_missing_columns),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_refused),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds_of_texts),
        cmocka_unit_test(test_known_before_the_end),
        cmocka_unit_test(test_rows_match),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
