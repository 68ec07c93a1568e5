/*
 * sonde/text.h - text to token ids and back.
 *
 * A tokenizer is immutable after creation and may be used by any number of threads. Ids and text
 * equal those of Hugging Face `tokenizers` for the same files; a component that is not known (a
 * split rule, a normaliser, a model type) is refused by name when the tokenizer is opened, never
 * approximated. Text is UTF-8; invalid UTF-8 is refused with the byte where it begins.
 */
#ifndef SONDE_TEXT_H
#define SONDE_TEXT_H

#include "sonde/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_tokenizer sonde_tokenizer;

/* A vocabulary as plain arrays (how a GGUF file stores it). All borrowed for the call. */
typedef struct sonde_vocabulary {
    const char *model; /* tokenizer.ggml.model: "gpt2" */
    const char *pre;   /* tokenizer.ggml.pre: the split rule, "smollm", "llama-bpe", ... */
    int64_t n_tokens;
    const char *const *tokens;    /* [n_tokens], NUL-terminated, in the byte-level alphabet */
    const size_t *token_bytes;    /* [n_tokens] lengths */
    const float *scores;          /* [n_tokens] or NULL */
    const int32_t *types;         /* [n_tokens] or NULL: 1 normal 2 unknown 3 control 4 user 5 unused
                                     6 byte */
    int64_t n_merges;
    const char *const *merges;    /* [n_merges], "a b" */
    const size_t *merge_bytes;
    int64_t bos_id, eos_id, unknown_id; /* -1: none */
    int32_t add_bos, add_eos;     /* 1 yes, 0 no, -1 not said */
    int32_t add_space_prefix;
} sonde_vocabulary;

/* Opens the tokenizer files of a folder: tokenizer.json, else vocab.json with merges.txt;
 * tokenizer_config.json beside it gives bos/eos when present. BAD_TOKENIZER names what is wrong.
 * Given to the caller. [any thread] */
SONDE_API sonde_status sonde_tokenizer_open(const char *folder, sonde_tokenizer **tokenizer,
                                            sonde_error *err);
/* From a GGUF vocabulary; the arrays are not kept. [any thread] */
SONDE_API sonde_status sonde_tokenizer_create(const sonde_vocabulary *vocabulary,
                                              sonde_tokenizer **tokenizer, sonde_error *err);
SONDE_API void sonde_tokenizer_destroy(sonde_tokenizer **tokenizer);

typedef enum sonde_bos_mode {
    SONDE_BOS_AUTO = 0, /* as the tokenizer's own post-processor does */
    SONDE_BOS_YES = 1,
    SONDE_BOS_NO = 2,
} sonde_bos_mode;

typedef struct sonde_encode_options {
    uint32_t struct_size;
    int32_t literal_special; /* 0: special-token text is parsed (Hugging Face's plain call);
                                1: added tokens with special = true are read as plain text */
    sonde_bos_mode bos;
    const uint8_t *plain; /* [bytes] or NULL: no added token is matched over a byte that is 1, but
                             for white space and HTML elements that are tokens (Gemma) */
} sonde_encode_options;

/* Token ids with the byte span of the input each came from. Zero-initialise; arrays grow and are
 * reused by later calls; release with sonde_tokens_reset. Added BOS/EOS have an empty span. */
typedef struct sonde_tokens {
    uint32_t *ids;
    uint32_t *text_start, *text_end; /* byte offsets into the text as given */
    size_t count, capacity;
} sonde_tokens;
SONDE_API void sonde_tokens_reset(sonde_tokens *tokens);

/* Encodes `bytes` of UTF-8 text, replacing what *tokens held. options may be NULL (defaults).
 * BAD_PROMPT for invalid UTF-8 (names the byte). [any thread] */
SONDE_API sonde_status sonde_tokenizer_encode(const sonde_tokenizer *tokenizer, const char *text,
                                              size_t bytes, const sonde_encode_options *options,
                                              sonde_tokens *tokens, sonde_error *err);

/* Decodes ids into new text (given to the caller, free with sonde_text_free; NUL added, not
 * counted). Bad byte sequences become U+FFFD as Hugging Face does. An id outside the vocabulary is
 * BAD_PROMPT. */
SONDE_API sonde_status sonde_tokenizer_decode(const sonde_tokenizer *tokenizer, const uint32_t *ids,
                                              size_t count, bool skip_special, char **text,
                                              size_t *bytes, sonde_error *err);
SONDE_API void sonde_text_free(char *text);

/* A streaming decoder: push ids one by one; text comes out only at character boundaries, and the
 * concatenation of all output (finish included) equals sonde_tokenizer_decode of all ids. */
typedef struct sonde_decoder sonde_decoder;
SONDE_API sonde_status sonde_decoder_create(const sonde_tokenizer *tokenizer, bool skip_special,
                                            sonde_decoder **decoder, sonde_error *err);
SONDE_API void sonde_decoder_destroy(sonde_decoder **decoder);
/* *text is borrowed until the next call on this decoder; may be empty. */
SONDE_API sonde_status sonde_decoder_push(sonde_decoder *decoder, uint32_t id, const char **text,
                                          size_t *bytes, sonde_error *err);
SONDE_API sonde_status sonde_decoder_finish(sonde_decoder *decoder, const char **text,
                                            size_t *bytes, sonde_error *err);

/* The piece of one id as raw bytes (byte-level pieces mapped back to bytes; may be no UTF-8 on its
 * own); borrowed for the tokenizer's life. UNKNOWN_NAME for an id without a piece. */
SONDE_API sonde_status sonde_tokenizer_piece(const sonde_tokenizer *tokenizer, uint32_t id,
                                             const char **bytes, size_t *n, sonde_error *err);
SONDE_API int64_t sonde_tokenizer_size(const sonde_tokenizer *tokenizer); /* highest id + 1 */
SONDE_API bool sonde_tokenizer_is_special(const sonde_tokenizer *tokenizer, uint32_t id);
SONDE_API int64_t sonde_tokenizer_bos(const sonde_tokenizer *tokenizer); /* -1: none */
SONDE_API int64_t sonde_tokenizer_eos(const sonde_tokenizer *tokenizer); /* -1: none */
/* Id of a piece given as in the file ("<|endoftext|>"), or -1. */
SONDE_API int64_t sonde_tokenizer_find(const sonde_tokenizer *tokenizer, const char *piece);
/* XXH3-128 over vocabulary, merges, rules and added tokens, as 32 hex digits: equal for two files
 * that describe the same tokenizer the same way. Borrowed. */
SONDE_API const char *sonde_tokenizer_hash(const sonde_tokenizer *tokenizer);
/* Merge steps done by all encode calls of this thread so far (for cost tests). */
SONDE_API uint64_t sonde_tokenizer_merge_steps(void);

#ifdef __cplusplus
}
#endif
#endif
