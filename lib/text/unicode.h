/*
 * unicode.h - the character classes and the normal forms that Hugging Face `tokenizers` uses: four
 * Unicode versions in one engine (make_tables.py says where the tables come from).
 */
#ifndef SONDE_TEXT_UNICODE_H
#define SONDE_TEXT_UNICODE_H

#include "core/core.h"

/* General categories: the low four bits of a class. */
enum {
    SONDE_CATEGORY_OTHER,
    SONDE_CATEGORY_LU,
    SONDE_CATEGORY_LL,
    SONDE_CATEGORY_LT,
    SONDE_CATEGORY_LM,
    SONDE_CATEGORY_LO,
    SONDE_CATEGORY_MN,
    SONDE_CATEGORY_MC,
    SONDE_CATEGORY_ME,
    SONDE_CATEGORY_ND,
    SONDE_CATEGORY_NL,
    SONDE_CATEGORY_NO,
    SONDE_CATEGORY_P,
    SONDE_CATEGORY_S,
    SONDE_CATEGORY_ZS,
};
#define SONDE_CLASS_CATEGORY 15u
#define SONDE_CLASS_SPACE 16u /* \s */
#define SONDE_CLASS_DIGIT 32u /* what the Digits pre-tokenizer takes */
#define SONDE_CLASS_HAN 64u
#define SONDE_CLASS_WORD 128u       /* what single_word and the Whitespace pre-tokenizer take */
#define SONDE_CLASS_REGEX_WORD 256u /* \w of a split rule */
#define SONDE_CLASS_PUNCTUATION 512u /* what the Punctuation pre-tokenizer takes */
#define SONDE_UNICODE_END 0x110000u

/* Class of a code point. */
uint32_t sonde_unicode_class(uint32_t code_point);

/* A character with the bytes of the original text it came from. */
typedef struct sonde_char {
    uint32_t code_point;
    uint32_t start, end; /* byte offsets in the text as given */
} sonde_char;

/* A growing run of characters; zero-initialise, free `data` with sonde_free. */
typedef struct sonde_chars {
    sonde_char *data;
    size_t count, capacity;
} sonde_chars;

/* Appends the characters of valid UTF-8 text[begin, end). false: no memory. */
bool sonde_chars_append(sonde_chars *chars, const char *text, size_t begin, size_t end);
/* Room for n > 0 characters in an empty run that has none yet; not zeroed. false: no memory. */
bool sonde_chars_room(sonde_chars *chars, size_t n);
bool sonde_chars_push(sonde_chars *chars, uint32_t code_point, uint32_t start, uint32_t end);

typedef enum sonde_normal_form {
    SONDE_FORM_D,
    SONDE_FORM_C,
    SONDE_FORM_KD,
    SONDE_FORM_KC,
} sonde_normal_form;

/* Is it plain to see that a normal form leaves these characters alone? false: perhaps not. */
bool sonde_chars_are_normal(const sonde_char *chars, size_t n, sonde_normal_form form);
/* Their normal form into `out`, which is empty; its data are the caller's, also on failure. */
bool sonde_chars_normalized(const sonde_char *chars, size_t n, sonde_normal_form form,
                            sonde_chars *out);
/* Brings the characters into a normal form in place (the run may shrink or grow). */
bool sonde_chars_normalize(sonde_chars *chars, sonde_normal_form form);
/* Lower case, character by character, as Rust's char::to_lowercase. */
bool sonde_chars_lower(sonde_chars *chars);

/* Writes a code point as UTF-8; returns its length (1 to 4). */
size_t sonde_utf8_put(uint32_t code_point, char bytes[4]);
/* Reads the character at bytes[0..n) of valid UTF-8; returns its length. */
size_t sonde_utf8_get(const char *bytes, uint32_t *code_point);

/* Generated tables. */
extern const uint32_t sonde_unicode_segments[]; /* first code point << 11 | class */
extern const size_t sonde_unicode_n_segments;
extern const uint32_t sonde_unicode_ccc[]; /* code point << 8 | combining class */
extern const size_t sonde_unicode_n_ccc;
extern const uint32_t sonde_unicode_compose[][3]; /* a, b, composed; sorted */
extern const size_t sonde_unicode_n_compose;
extern const uint32_t sonde_unicode_decompose[][4]; /* code point, one to three parts; sorted */
extern const size_t sonde_unicode_n_decompose;
/* Code point, and offset << 8 | length of its full compatibility decomposition in the pool, where
 * that differs from the canonical one; its lower case likewise. Sorted. */
extern const uint32_t sonde_unicode_compat[][2];
extern const size_t sonde_unicode_n_compat;
extern const uint32_t sonde_unicode_lower[][2];
extern const size_t sonde_unicode_n_lower;
extern const uint32_t sonde_unicode_pool[];

#endif
