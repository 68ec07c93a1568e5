/*
 * text_internal.h - the parts of a tokenizer, in the order text goes through them:
 * added tokens -> normaliser -> added tokens -> pre-tokenizer -> model -> template; and back.
 */
#ifndef SONDE_TEXT_INTERNAL_H
#define SONDE_TEXT_INTERNAL_H

#include "core/json.h"
#include "regex.h"
#include "sonde/text.h"
#include "trie.h"
#include "unicode.h"

#include <stdatomic.h>

#define SONDE_MAX_STAGES 16
#define SONDE_MATCH_BYTES 4096 /* of a text that is looked for at every position */
#define SONDE_UNDERLINE                                                                            \
    0x2581u /* the character that stands for a space in SentencePiece's pieces */

/* ---- vocabulary ------------------------------------------------------------------------------ */

typedef struct sonde_piece {
    const char *text;  /* NUL-terminated: raw bytes of a byte-level piece, else as in the file */
    const char *shown; /* what it decodes to on its own */
    uint32_t length, shown_length;
    bool present, in_model, special, added;
    bool
        outside; /* byte-level: the text is not in the byte alphabet, so the model never meets it */
    bool is_byte; /* <0xXX> under a decoder with byte fallback */
} sonde_piece;

/* Blocks of text that stay where they are. Zero-initialise. */
typedef struct sonde_arena {
    char **blocks;
    size_t count, capacity, used, size;
} sonde_arena;

typedef struct sonde_merge {
    uint64_t key; /* left << 32 | right, plus one; 0: empty */
    uint32_t rank, result;
} sonde_merge;

typedef struct sonde_merge_table {
    sonde_merge *rows;
    size_t mask;
} sonde_merge_table;

/* A model's piece: id + 1, 0: empty; bits of its text's hash that the slot does not tell. */
typedef struct sonde_piece_slot {
    uint32_t id, tag;
} sonde_piece_slot;

/* Open-addressed: the model's pieces by text. */
typedef struct sonde_piece_table {
    sonde_piece_slot *slots;
    size_t mask;
    uint32_t longest; /* bytes of the longest piece */
} sonde_piece_table;

typedef enum sonde_model_kind { SONDE_MODEL_BPE, SONDE_MODEL_UNIGRAM } sonde_model_kind;

/* Scratches of BPE that no encode uses (bpe.c). */
#define SONDE_BPE_MOST_IDLE 4
typedef struct sonde_bpe_idle {
    _Atomic(struct sonde_bpe_scratch *) scratches[SONDE_BPE_MOST_IDLE];
} sonde_bpe_idle;

typedef struct sonde_model {
    sonde_model_kind kind;
    bool byte_level; /* BPE over bytes, whose pieces are written in the byte-level alphabet */
    bool mapped;     /* ... and so is the text that the pre-tokenizers give it */
    bool ignore_merges, byte_fallback, fuse_unknown;
    int64_t unknown; /* -1: none */
    sonde_merge_table merges;
    sonde_piece_table by_text;
    int64_t byte_ids[256];          /* byte-level: the byte's own piece, -1: none */
    int64_t fallback_ids[256];      /* <0xXX>, -1: none */
    uint32_t *char_keys, *char_ids; /* open-addressed: code point + 1 to its piece */
    size_t char_mask;
    /* What is known of a piece's own text: 0 nothing, 1 it becomes this one id, 2 it does not. */
    atomic_uchar *whole;
    sonde_bpe_idle *idle;
    bool breaks; /* no merge joins x with the underline behind it, unless x is one of these */
    sonde_chars joined;
    sonde_trie trie; /* unigram: pieces by text, value id + 1 */
    double *scores;  /* unigram: [n_pieces] */
    double least_score;
} sonde_model;

/* ---- added tokens ---------------------------------------------------------------------------- */

typedef struct sonde_added {
    char *text;    /* what is matched: normalised where `normalized` says so */
    char *content; /* as in the file */
    uint32_t length, id;
    bool lstrip, rstrip, single_word, normalized, special;
} sonde_added;

/* Added tokens that match in the same stage: the longest at the leftmost position. */
typedef struct sonde_matcher {
    sonde_added *tokens;
    size_t count, capacity;
    sonde_trie trie; /* value: index in tokens + 1 */
} sonde_matcher;

/* ---- stages ---------------------------------------------------------------------------------- */

typedef enum sonde_normalizer_kind {
    SONDE_NORMALIZE_FORM,
    SONDE_NORMALIZE_LOWER,
    SONDE_NORMALIZE_PREPEND, /* `text` in front, unless there is nothing */
    SONDE_NORMALIZE_REPLACE, /* what `regex` finds by `text` */
    SONDE_NORMALIZE_MAP,     /* the character `from` by the one of `text` */
    SONDE_NORMALIZE_STRIP,
} sonde_normalizer_kind;

typedef struct sonde_normalizer {
    sonde_normalizer_kind kind;
    sonde_normal_form form;
    bool left, right; /* STRIP */
    uint32_t from;    /* MAP */
    sonde_regex *regex;
    sonde_chars text;
} sonde_normalizer;

typedef enum sonde_split_behaviour {
    SONDE_SPLIT_ISOLATED,
    SONDE_SPLIT_REMOVED,
    SONDE_SPLIT_MERGED_WITH_PREVIOUS,
    SONDE_SPLIT_MERGED_WITH_NEXT,
    SONDE_SPLIT_CONTIGUOUS,
} sonde_split_behaviour;

typedef enum sonde_prepend {
    SONDE_PREPEND_NEVER,
    SONDE_PREPEND_FIRST,
    SONDE_PREPEND_ALWAYS
} sonde_prepend;

/* SPLIT by `regex`; or BYTES: every byte becomes its character of the byte-level alphabet; or SPACES:
 * every space becomes `space`, which is also put in front of a piece that does not begin with it
 * (FIRST: only of the piece at the start of the text). */
typedef struct sonde_pretokenizer {
    sonde_regex *regex; /* NULL: BYTES or SPACES */
    bool bytes;
    sonde_split_behaviour behaviour;
    bool invert;
    uint32_t space;
    sonde_prepend prepend;
} sonde_pretokenizer;

typedef enum sonde_decoder_kind {
    SONDE_DECODE_BYTES,  /* the bytes of all pieces, bad UTF-8 replaced */
    SONDE_DECODE_PIECES, /* the texts of the pieces */
    SONDE_DECODE_SPACED, /* no decoder in the file: texts with spaces between */
} sonde_decoder_kind;

typedef struct sonde_replacement {
    char *from, *to;
} sonde_replacement;

typedef struct sonde_decoding {
    sonde_decoder_kind kind;
    sonde_replacement replace[4]; /* in every piece */
    size_t n_replace;
    bool byte_fallback;
    bool drop_first; /* the first piece loses every `space` */
    uint32_t space;
    uint32_t strip;                   /* this character goes, */
    uint32_t strip_start, strip_stop; /* up to so often, from the ends of the text */
} sonde_decoding;

struct sonde_tokenizer {
    sonde_arena arena;
    sonde_piece *pieces; /* [n_pieces] by id */
    size_t n_pieces, piece_capacity;
    sonde_matcher raw, normalized; /* added tokens on the text as given, and after normalising */
    sonde_normalizer normalizers[SONDE_MAX_STAGES];
    size_t n_normalizers;
    sonde_pretokenizer pretokenizers[SONDE_MAX_STAGES];
    size_t n_pretokenizers;
    sonde_model model;
    sonde_decoding decoding;
    uint32_t prefix[8], suffix[8]; /* the template's ids */
    size_t n_prefix, n_suffix;
    int64_t bos, eos;
    size_t most_chars;  /* a text is cut after so many characters first; 0: never */
    size_t most_run;    /* and inside a longer run of spaces or of other characters; 0: never */
    sonde_string rules; /* the stages in words, for the hash */
    char hash[33];
};

/* tokenizer.c */
sonde_status sonde_tokenizer_new(sonde_tokenizer **tokenizer, sonde_error *err);
/* After everything is set: the hash. */
sonde_status sonde_tokenizer_seal(sonde_tokenizer *t, sonde_error *err);

/* vocabulary.c: pieces and the tables of the model. */
/* Slots of an open-addressed table for n rows: a power of two, at most half full. */
size_t sonde_table_size(size_t n);
char *sonde_arena_copy(sonde_arena *arena, const char *bytes, size_t n);
void sonde_arena_reset(sonde_arena *arena);
/* A piece of the model as the file writes it. */
sonde_status sonde_vocabulary_add(sonde_tokenizer *t, uint32_t id, const char *text, size_t bytes,
                                  sonde_error *err);
/* Room for id, and its piece; NULL on failure. */
sonde_status sonde_vocabulary_slot(sonde_tokenizer *t, uint32_t id, sonde_piece **piece,
                                   sonde_error *err);
/* After the pieces: the tables that find them. */
sonde_status sonde_vocabulary_index(sonde_tokenizer *t, sonde_error *err);
/* Id of a piece of the model by the text in its table, or -1. */
int64_t sonde_vocabulary_find(const sonde_tokenizer *t, const char *text, size_t bytes);
/* The same by the text in the file. */
int64_t sonde_vocabulary_find_written(const sonde_tokenizer *t, const char *text, size_t bytes);
int64_t sonde_vocabulary_find_char(const sonde_tokenizer *t, uint32_t code_point);
/* The byte-level alphabet: the byte that a character stands for (-1: it is outside), and back. */
int sonde_byte_of_char(uint32_t code_point);
uint32_t sonde_char_of_byte(unsigned char byte);
/* Byte-level alphabet to raw bytes, in memory of at least `bytes`; false: a character is
 * outside. */
bool sonde_unmap_bytes(const char *text, size_t bytes, char *raw, size_t *length);

/* merges.c: ranks in order; both parts and the result must be pieces. */
typedef struct sonde_ranked_merge {
    uint32_t left, right, result, rank;
} sonde_ranked_merge;
sonde_status sonde_merges_set(sonde_tokenizer *t, const sonde_ranked_merge *merges, size_t n,
                              sonde_error *err);
/* The parts of a merge as written, and their union; *known: all three are pieces. */
sonde_status sonde_merges_resolve(const sonde_tokenizer *t, const char *left, size_t n_left,
                                  const char *right, size_t n_right, sonde_ranked_merge *merge,
                                  bool *known, sonde_error *err);
/* Merges of a vocabulary without a list: every pair of pieces whose union is a piece that takes
 * part, by the rank of the union. ranks [n_pieces], UINT32_MAX: takes no part as a union. */
sonde_status sonde_merges_from_ranks(sonde_tokenizer *t, const uint32_t *ranks, sonde_error *err);

/* Is the piece one character, or the union of two others? Costs a look-up for each of its cuts. */
bool sonde_merges_can_make(const sonde_tokenizer *t, uint32_t id);

/* added.c */
sonde_status sonde_added_add(sonde_tokenizer *t, const sonde_added *token, sonde_error *err);
void sonde_matcher_reset(sonde_matcher *m);
/* Longest token at chars[at], or NULL; *length in characters. */
const sonde_added *sonde_matcher_at(const sonde_matcher *m, const sonde_char *chars, size_t n,
                                    size_t at, size_t *length);
/* First position from `at` on where a token may begin, or n. */
size_t sonde_matcher_skip(const sonde_matcher *m, const sonde_char *chars, size_t n, size_t at);

/* stages.c: adding stages; regex and text are taken over, also on failure. */
sonde_status sonde_add_normalizer(sonde_tokenizer *t, sonde_normalizer *stage, const char *rule,
                                  sonde_error *err);
sonde_status sonde_add_split(sonde_tokenizer *t, const char *regex, size_t bytes,
                             sonde_split_behaviour behaviour, bool invert, sonde_error *err);
sonde_status sonde_add_spaces(sonde_tokenizer *t, uint32_t space, sonde_prepend prepend,
                              sonde_error *err);
/* Later stages, and the model, see the byte-level alphabet. */
sonde_status sonde_add_bytes(sonde_tokenizer *t, sonde_error *err);
/* Added normalisers by what they do, for readers of formats. */
sonde_status sonde_add_form(sonde_tokenizer *t, sonde_normal_form form, sonde_error *err);
sonde_status sonde_add_prepend(sonde_tokenizer *t, const char *text, size_t bytes,
                               sonde_error *err);
sonde_status sonde_add_replace(sonde_tokenizer *t, const char *regex, size_t bytes,
                               const char *text, size_t text_bytes, sonde_error *err);
/* named_rules.c: a byte-level model with the split rules that GGUF names so; *bos: a beginning of
 * sequence is usual. */
sonde_status sonde_named_rule_apply(sonde_tokenizer *t, const char *name, bool *bos,
                                    sonde_error *err);
void sonde_stages_reset(sonde_tokenizer *t);

/* normalize.c: is it plain to see that no normaliser changes these characters? */
bool sonde_is_normalized(const sonde_tokenizer *t, const sonde_char *chars, size_t n);
/* n > 0 characters through all normalisers into `out`, which is empty; its data are the caller's,
 * also on failure. */
sonde_status sonde_normalize(const sonde_tokenizer *t, sonde_regex_work *work,
                             const sonde_char *chars, size_t n, sonde_chars *out, sonde_error *err);

/* What one encode call works with. */
typedef struct sonde_encoder {
    const sonde_tokenizer *t;
    const char *text;
    size_t bytes;
    bool literal;
    bool as_given;        /* characters that the model gets are those of the text, in order */
    const uint8_t *plain; /* [bytes] or NULL, as in sonde_encode_options */
    sonde_tokens *out;
    struct sonde_bpe_scratch *bpe;
    struct sonde_unigram_scratch *unigram;
    sonde_regex_work regex;
    sonde_chars chars;                    /* the whole text */
    sonde_chars written[SONDE_MAX_STAGES]; /* what SPACES or BYTES of each stage made */
    sonde_error *err;
} sonde_encoder;

/* encode.c */
sonde_status sonde_tokens_push(sonde_tokens *tokens, uint32_t id, uint32_t start, uint32_t end,
                               sonde_error *err);
sonde_status sonde_regex_failed(sonde_regex_result result, sonde_error *err);
/* pretokenize.c: chars[0, n) through the pre-tokenizers from `stage` on, then the model. */
sonde_status sonde_pretokenize(sonde_encoder *e, const sonde_char *chars, size_t n, size_t stage);

/* bpe.c, unigram.c: append the ids of one piece. */
typedef struct sonde_bpe_scratch sonde_bpe_scratch;
sonde_status sonde_bpe_encode(sonde_encoder *e, const sonde_char *chars, size_t n);
/* A scratch for a text, of an earlier encode where one is idle: its pieces are still known. NULL:
 * no memory. Give it back; what idles goes with the tokenizer. [any thread] */
sonde_bpe_scratch *sonde_bpe_scratch_take(const sonde_tokenizer *t, size_t text_bytes);
void sonde_bpe_scratch_give(const sonde_tokenizer *t, sonde_bpe_scratch **scratch);
void sonde_bpe_idle_reset(sonde_tokenizer *t);
typedef struct sonde_unigram_scratch sonde_unigram_scratch;
sonde_status sonde_unigram_encode(sonde_encoder *e, const sonde_char *chars, size_t n);
sonde_unigram_scratch *sonde_unigram_scratch_create(void);
void sonde_unigram_scratch_destroy(sonde_unigram_scratch **scratch);

/* load_*.c. What readers of tokenizer.json work with. */
typedef struct sonde_loader {
    sonde_tokenizer *t;
    const char *path;
    sonde_error *err;
} sonde_loader;
/* BAD_TOKENIZER: "PATH: WHAT 'GOT' is not supported". */
sonde_status sonde_loader_refuse(const sonde_loader *l, const char *what, const char *got);
/* The type that a component names, or "?". */
const char *sonde_loader_type(const json_t *component);
bool sonde_loader_flag(const json_t *object, const char *key, bool missing);
sonde_status sonde_tokenizer_load_json(sonde_tokenizer *t, const json_t *root, const char *path,
                                       sonde_error *err);
sonde_status sonde_load_normalizer(sonde_tokenizer *t, const json_t *json, const char *path,
                                   sonde_error *err);
/* *byte_level: the chain ends in the byte-level alphabet. */
sonde_status sonde_load_pretokenizer(sonde_tokenizer *t, const json_t *json, const char *path,
                                     bool *byte_level, sonde_error *err);
sonde_status sonde_load_decoder(sonde_tokenizer *t, const json_t *json, const char *path,
                                sonde_error *err);
/* `path` is a tiktoken file, `config` the tokenizer_config.json beside it or NULL. */
sonde_status sonde_tokenizer_load_tiktoken(sonde_tokenizer *t, const char *path,
                                           const json_t *config, sonde_error *err);
sonde_status sonde_tokenizer_load_vocabulary(sonde_tokenizer *t, const sonde_vocabulary *v,
                                             sonde_error *err);
/* The decoder of SentencePiece vocabularies: underlines to spaces, byte fallback, one space
 * stripped. */
sonde_status sonde_decode_like_sentencepiece(sonde_tokenizer *t, bool strip, sonde_error *err);

/* decode.c: what each piece shows, from the decoder. */
sonde_status sonde_decoding_prepare(sonde_tokenizer *t, sonde_error *err);
/* Bytes of the maximal subpart at bytes[0..n), n > 0: the longest start of a valid character. *open:
 * more bytes could complete it. */
size_t sonde_utf8_subpart(const char *bytes, size_t n, bool *open);
/* Replaces every maximal bad subpart by U+FFFD; with `more`, an incomplete character at the end is
 * left alone. Returns the bytes consumed. */
size_t sonde_utf8_lossy(const char *bytes, size_t n, bool more, sonde_string *out);

#endif
