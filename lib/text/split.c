/*
 * split.c - the published split regexes as small scanners. Alternatives are tried in the order of
 * the regex; the first that matches wins.
 *
 * GPT2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * LLAMA3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
 *         |\s*[\r\n]+|\s+(?!\S)|\s+
 * QWEN    LLAMA3 with \p{N}
 */
#include "text_internal.h"

#include <string.h>

#define LETTER SONDE_CLASS_LETTER
#define NUMBER SONDE_CLASS_NUMBER
#define SPACE SONDE_CLASS_SPACE
#define OTHER_THAN (LETTER | NUMBER | SPACE)

typedef struct view {
    const sonde_char *c;
    size_t n;
} view;

static bool is(const view *v, size_t at, uint32_t classes)
{
    return at < v->n && (v->c[at].classes & classes) != 0;
}

static bool is_other(const view *v, size_t at)
{
    return at < v->n && (v->c[at].classes & OTHER_THAN) == 0;
}

static bool is_newline(const view *v, size_t at)
{
    return at < v->n && (v->c[at].code_point == '\r' || v->c[at].code_point == '\n');
}

static size_t run_of(const view *v, size_t at, uint32_t classes)
{
    while (is(v, at, classes)) at++;
    return at;
}

static size_t run_of_other(const view *v, size_t at)
{
    while (is_other(v, at)) at++;
    return at;
}

/* A letter of a contraction; (?i:s) also matches U+017F. */
static uint32_t letter(const view *v, size_t at, bool fold)
{
    if (at >= v->n) return 0;
    uint32_t c = v->c[at].code_point;
    if (fold && c >= 'A' && c <= 'Z') return c + 32;
    return fold && c == 0x17F ? 's' : c;
}

/* Length of a contraction at `at` ('s 't 're 've 'm 'll 'd), or 0. */
static size_t contraction(const view *v, size_t at, bool fold)
{
    if (v->c[at].code_point != '\'') return 0;
    uint32_t a = letter(v, at + 1, fold), b = letter(v, at + 2, fold);
    if (a == 's' || a == 't') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e')) return 3;
    if (a == 'm') return 2;
    if (a == 'l' && b == 'l') return 3;
    return a == 'd' ? 2 : 0;
}

/* \s+(?!\S)|\s+ : all of a run but its last character when text follows, if that leaves any. */
static size_t spaces(const view *v, size_t at)
{
    size_t end = run_of(v, at, SPACE);
    return end < v->n && end - at > 1 ? end - 1 : end;
}

static size_t next_gpt2(const view *v, size_t at)
{
    size_t length = contraction(v, at, false);
    if (length) return at + length;
    size_t body = v->c[at].code_point == ' ' ? at + 1 : at;
    if (is(v, body, LETTER)) return run_of(v, body, LETTER);
    if (is(v, body, NUMBER)) return run_of(v, body, NUMBER);
    if (is_other(v, body)) return run_of_other(v, body);
    return spaces(v, at);
}

/* \s*[\r\n]+ : up to the last newline of the run of spaces, or 0 when it has none. */
static size_t newlines(const view *v, size_t at)
{
    size_t end = run_of(v, at, SPACE);
    while (end > at && !is_newline(v, end - 1)) end--;
    return end > at ? end : 0;
}

static size_t next_llama3(const view *v, size_t at, size_t most_digits)
{
    size_t length = contraction(v, at, true);
    if (length) return at + length;
    bool lead = !is_newline(v, at) && !is(v, at, LETTER | NUMBER);
    if (is(v, at, LETTER)) return run_of(v, at, LETTER);
    if (lead && is(v, at + 1, LETTER)) return run_of(v, at + 1, LETTER);
    if (is(v, at, NUMBER)) {
        size_t end = at + 1;
        while (end - at < most_digits && is(v, end, NUMBER)) end++;
        return end;
    }
    size_t body = v->c[at].code_point == ' ' ? at + 1 : at;
    if (is_other(v, body)) {
        size_t end = run_of_other(v, body);
        while (is_newline(v, end)) end++;
        return end;
    }
    size_t end = newlines(v, at);
    return end ? end : spaces(v, at);
}

static size_t next_digits(const view *v, size_t at, bool individual)
{
    bool digit = is(v, at, SONDE_CLASS_DIGIT);
    size_t end = at + 1;
    if (digit && individual) return end;
    while (end < v->n && is(v, end, SONDE_CLASS_DIGIT) == digit) end++;
    return end;
}

size_t sonde_split_next(sonde_split_rule rule, const sonde_char *chars, size_t n, size_t at)
{
    view v = {chars, n};
    switch (rule) {
    case SONDE_SPLIT_GPT2: return next_gpt2(&v, at);
    case SONDE_SPLIT_LLAMA3: return next_llama3(&v, at, 3);
    case SONDE_SPLIT_QWEN: return next_llama3(&v, at, 1);
    case SONDE_SPLIT_DIGITS: return next_digits(&v, at, true);
    case SONDE_SPLIT_DIGIT_RUNS: return next_digits(&v, at, false);
    }
    return n;
}

bool sonde_split_of_regex(const char *regex, sonde_split_rule *rule)
{
    static const struct {
        const char *regex;
        sonde_split_rule rule;
    } known[] = {
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         SONDE_SPLIT_GPT2},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", SONDE_SPLIT_LLAMA3},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", SONDE_SPLIT_QWEN},
    };
    for (size_t i = 0; i < SONDE_COUNT(known); i++) {
        if (strcmp(known[i].regex, regex) != 0) continue;
        *rule = known[i].rule;
        return true;
    }
    return false;
}
