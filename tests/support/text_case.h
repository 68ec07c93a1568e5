/*
 * text_case.h - golden lines of tokenizers. A line is JSON: text, ids (special text taken
 * literally, nothing added), ids_special (parsed, with the template), decoded and decoded_special
 * where they differ from the text; or ids with the text and text_skip they decode to.
 */
#ifndef SONDE_TEST_TEXT_CASE_H
#define SONDE_TEST_TEXT_CASE_H

#include "core/json.h"
#include "sonde/text.h"

typedef struct text_case_counts {
    int64_t lines, bad;
} text_case_counts;

typedef void text_case_function(const sonde_tokenizer *t, const json_t *line, const char *name,
                                text_case_counts *tally);
text_case_function text_case_line, text_case_decode_line;

/* The tokenizer of a folder; fails the test where it does not open. */
sonde_tokenizer *text_case_open(const char *folder);
/* Fails the test unless every line of the file is as it should be. */
void text_case_check(const sonde_tokenizer *t, const char *path, text_case_function *check);

/* Fails the test unless every line {"model", "text", "ids"} of that model has its ids: special text
 * taken literally, nothing added. nfc_only: lines whose text is not in NFC are left out. */
void text_case_check_ids(const sonde_tokenizer *t, const char *path, const char *model,
                         bool nfc_only);

#endif
