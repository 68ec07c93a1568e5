/*
 * regex.h - split rules: the part of Oniguruma's syntax (Ruby's) that published tokenizers use, as
 * a small backtracking program over sets of characters.
 *
 * Known: literals, . \s \S \d \D \w \W \h \H \n \r \t \f \v \xHH \x{H} \uHHHH \p{..} \P{..},
 * classes with ranges, nested classes and &&, alternation in order, groups, (?i: ) over ASCII,
 * greedy, lazy and possessive repeats, {n,m}, (?> ), lookahead, lookbehind of one character, ^ $ \A
 * \z \b \B. Anything else is refused by name when the rule is compiled.
 */
#ifndef SONDE_TEXT_REGEX_H
#define SONDE_TEXT_REGEX_H

#include "unicode.h"

typedef struct sonde_regex sonde_regex;

/* Compiles `bytes` of UTF-8. BAD_TOKENIZER names the rule and what is not known. Given to the
 * caller; immutable, for any number of threads. */
sonde_status sonde_regex_compile(const char *pattern, size_t bytes, sonde_regex **regex,
                                 sonde_error *err);
void sonde_regex_destroy(sonde_regex **regex);
/* Appends an expression that matches exactly `text` (UTF-8). */
void sonde_regex_quote(const char *text, size_t bytes, sonde_string *out);

/* Scratch of a thread, and what it may still spend: every step back costs one, so that no rule can
 * take for ever. Zero-initialise, set `budget`, free `stack` with sonde_free. */
typedef struct sonde_regex_work {
    struct sonde_regex_entry *stack;
    size_t count, capacity;
    uint64_t budget;
} sonde_regex_work;

typedef enum sonde_regex_result {
    SONDE_REGEX_NONE,
    SONDE_REGEX_FOUND,
    SONDE_REGEX_SPENT, /* the budget is used up */
    SONDE_REGEX_NO_MEMORY,
} sonde_regex_result;

/* Where a walk over the matches of a text stands; zero-initialise. */
typedef struct sonde_regex_cursor {
    size_t from, done; /* where the search goes on; the end of the last match */
    bool matched;
} sonde_regex_cursor;

/* The next match [*start, *end) in chars[0, n), leftmost first; an empty one right behind a match
 * is passed over. */
sonde_regex_result sonde_regex_next(const sonde_regex *regex, sonde_regex_work *work,
                                    const sonde_char *chars, size_t n, sonde_regex_cursor *cursor,
                                    size_t *start, size_t *end);

#endif
