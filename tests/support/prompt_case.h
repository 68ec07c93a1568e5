/* prompt_case.h - prompt sources made of a text, and what comes out of them as one line of text. */
#ifndef SONDE_TEST_PROMPT_CASE_H
#define SONDE_TEST_PROMPT_CASE_H

#include "host/prompts.h"

/* Bytes as tokens with a few merges ("aa", "aaaa", "th", "the", " a", " the"); [S] 279 goes before
 * a text and <x> 277 behind it. */
extern sonde_tokenizer *prompt_tokenizer;
/* For cmocka_run_group_tests. */
int prompt_case_set_up(void **state);
int prompt_case_tear_down(void **state);

typedef struct prompt_source {
    char path[64];
    sonde_job_options options;
    sonde_prompts_spec spec;
} prompt_source;

/* Names and values of options, as typed. */
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})
extern const char *const prompts_no_bos[];

/* A file that holds `bytes`, with a max_seq of 1000 where the options have none. */
void prompt_source_open(prompt_source *s, const char *suffix, const char *text, size_t bytes,
                        const char *const *options);
void prompt_source_close(prompt_source *s);
/* All prompts as "INDEX:ID [state] PROMPT/TOTAL (why) | ...", or the message of the failure; the
 * path becomes FILE. hash and stats may be NULL. */
sonde_status prompt_source_read(const prompt_source *s, sonde_string *out, char hash[33],
                                sonde_prompts_stats *stats);
void prompt_source_check(const prompt_source *s, sonde_status expected, const char *text);
void prompts_check(const char *suffix, const char *text, const char *const *options,
                   sonde_status expected, const char *result);
/* One prompt, for its fields; the caller resets it. */
void prompt_read_one(const char *suffix, const char *text, const char *const *options,
                     sonde_prompt *prompt);

#endif
