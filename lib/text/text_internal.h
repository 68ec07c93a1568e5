/*
 * text_internal.h - the parts of a tokenizer, in the order text goes through them:
 * added tokens -> normaliser -> splits -> byte-level BPE -> template; and back.
 */
#ifndef SONDE_TEXT_INTERNAL_H
#define SONDE_TEXT_INTERNAL_H

#include "core/json.h"
#include "sonde/text.h"
#include "unicode.h"

typedef enum sonde_split_rule {
    SONDE_SPLIT_GPT2,
    SONDE_SPLIT_LLAMA3, /* numbers in threes */
    SONDE_SPLIT_QWEN,   /* numbers one by one */
    SONDE_SPLIT_DIGITS, /* every digit a piece of its own, other text between them kept */
    SONDE_SPLIT_DIGIT_RUNS,
} sonde_split_rule;

#define SONDE_MAX_SPLITS 8

typedef struct sonde_piece {
    char *bytes; /* raw bytes, NUL-terminated */
    uint32_t length;
    bool present, special, added;
} sonde_piece;

typedef struct sonde_added {
    char *text;
    uint32_t length, id;
    bool lstrip, rstrip, single_word, normalized, special;
} sonde_added;

/* Added tokens that match in the same stage, for longest match at a position. */
typedef struct sonde_matcher {
    sonde_added *tokens; /* sorted by first byte, then by falling length */
    size_t count, capacity;
    uint32_t first[257]; /* tokens of first byte b: [first[b], first[b + 1]) */
} sonde_matcher;

typedef struct sonde_pair_table {
    uint64_t *keys;   /* left << 32 | right, plus one; 0: empty */
    uint32_t *ranks, *results;
    size_t mask;
} sonde_pair_table;

typedef struct sonde_bytes_table {
    uint32_t *ids; /* id + 1; 0: empty */
    size_t mask;
} sonde_bytes_table;

struct sonde_tokenizer {
    sonde_piece *pieces; /* [n_pieces] by id */
    size_t n_pieces, piece_capacity;
    sonde_matcher raw, normalized; /* added tokens on the text as given, and after normalising */
    bool nfc;
    bool prefix_space;
    sonde_split_rule splits[SONDE_MAX_SPLITS];
    size_t n_splits;
    bool ignore_merges;
    sonde_pair_table merges;
    sonde_bytes_table by_bytes; /* pieces of the model's vocabulary */
    int64_t byte_ids[256];      /* -1: the vocabulary lacks the byte */
    uint32_t prefix[8], suffix[8]; /* the template's ids */
    size_t n_prefix, n_suffix;
    int64_t bos, eos;
    char hash[33];
};

/* tokenizer.c: building. */
sonde_status sonde_tokenizer_add_piece(sonde_tokenizer *t, uint32_t id, const char *text,
                                       size_t bytes, sonde_error *err);
sonde_status sonde_tokenizer_add_token(sonde_tokenizer *t, const sonde_added *token,
                                       sonde_error *err);
/* Ranks are given in order; both parts and the result must be pieces. */
sonde_status sonde_tokenizer_set_merges(sonde_tokenizer *t, size_t n, const uint32_t (*pairs)[3],
                                        sonde_error *err);
/* After pieces and added tokens: tables, byte ids, hash. */
sonde_status sonde_tokenizer_finish(sonde_tokenizer *t, sonde_error *err);
/* Id of a piece of the model by raw bytes, or -1. */
int64_t sonde_tokenizer_lookup(const sonde_tokenizer *t, const char *bytes, size_t n);
/* Byte-level alphabet to raw bytes (in place into new memory); text with characters outside the
 * alphabet is copied as it is. */
char *sonde_unmap_bytes(const char *text, size_t bytes, size_t *length);

/* bpe.c: appends the ids of one piece; chars[begin, end) with their source offsets. */
typedef struct sonde_bpe_scratch sonde_bpe_scratch;
sonde_status sonde_bpe_encode(const sonde_tokenizer *t, const sonde_char *chars, size_t n,
                              sonde_bpe_scratch *scratch, sonde_tokens *out, sonde_error *err);
sonde_bpe_scratch *sonde_bpe_scratch_create(void);
void sonde_bpe_scratch_destroy(sonde_bpe_scratch **scratch);
sonde_status sonde_tokens_push(sonde_tokens *tokens, uint32_t id, uint32_t start, uint32_t end,
                               sonde_error *err);

/* split.c: end of the piece that begins at chars[at]; n > at. */
size_t sonde_split_next(sonde_split_rule rule, const sonde_char *chars, size_t n, size_t at);
/* The rule of a published split regex, false when it is not known. */
bool sonde_split_of_regex(const char *regex, sonde_split_rule *rule);

/* load_json.c, load_gguf.c */
sonde_status sonde_tokenizer_load_json(sonde_tokenizer *t, const json_t *root, const char *path,
                                       sonde_error *err);

/* decode.c: replaces every maximal bad subpart by U+FFFD; with `more`, an incomplete character at
 * the end is left alone. Returns the bytes consumed. */
size_t sonde_utf8_lossy(const char *bytes, size_t n, bool more, sonde_string *out);

#endif
