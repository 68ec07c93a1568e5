/*
 * unicode.h - the character classes and the NFC that Hugging Face `tokenizers` uses: three Unicode
 * versions in one engine (make_tables.py says where the tables come from).
 */
#ifndef SONDE_TEXT_UNICODE_H
#define SONDE_TEXT_UNICODE_H

#include "core/core.h"

#define SONDE_CLASS_LETTER 1u
#define SONDE_CLASS_NUMBER 2u
#define SONDE_CLASS_SPACE 4u
#define SONDE_CLASS_DIGIT 8u   /* what the Digits pre-tokenizer takes */
#define SONDE_CLASS_UPPER 16u  /* Lu, Lt */
#define SONDE_CLASS_LOWER 32u  /* Ll */
#define SONDE_CLASS_CASELESS 64u /* Lm, Lo */
#define SONDE_CLASS_PUNCTUATION 128u
#define SONDE_CLASS_SYMBOL 256u
#define SONDE_CLASS_HAN 512u
#define SONDE_CLASS_MARK 1024u

/* Class bits of a code point. */
uint32_t sonde_unicode_class(uint32_t code_point);

/* A character with the bytes of the original text it came from. */
typedef struct sonde_char {
    uint32_t code_point;
    uint32_t classes;
    uint32_t start, end; /* byte offsets in the text as given */
} sonde_char;

/* A growing run of characters; zero-initialise, free `data` with sonde_free. */
typedef struct sonde_chars {
    sonde_char *data;
    size_t count, capacity;
} sonde_chars;

/* Appends the characters of valid UTF-8 text[begin, end). false: no memory. */
bool sonde_chars_append(sonde_chars *chars, const char *text, size_t begin, size_t end);
bool sonde_chars_push(sonde_chars *chars, uint32_t code_point, uint32_t start, uint32_t end);
/* Brings characters [from, count) into NFC in place (the run may shrink or grow). */
bool sonde_chars_nfc(sonde_chars *chars, size_t from);
/* Writes a code point as UTF-8; returns its length (1 to 4). */
size_t sonde_utf8_put(uint32_t code_point, char bytes[4]);
/* Reads the character at bytes[0..n) of valid UTF-8; returns its length. */
size_t sonde_utf8_get(const char *bytes, uint32_t *code_point);

/* Generated tables. */
extern const uint32_t sonde_unicode_segments[];    /* first code point << 11 | class bits */
extern const size_t sonde_unicode_n_segments;
extern const uint32_t sonde_unicode_ccc[];         /* code point << 8 | class */
extern const size_t sonde_unicode_n_ccc;
extern const uint32_t sonde_unicode_compose[][3];  /* a, b, composed; sorted */
extern const size_t sonde_unicode_n_compose;
extern const uint32_t sonde_unicode_decompose[][4]; /* code point, one to three parts; sorted */
extern const size_t sonde_unicode_n_decompose;

#endif
