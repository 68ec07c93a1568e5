/*
 * sonde/chat.h - conversations as a model was trained to read them.
 *
 * A chat format is the template that a checkpoint ships (chat_template.jinja, tokenizer_config.json
 * or the GGUF's), rendered as transformers renders it, plus what sonde knows of it: where turns,
 * reasoning and tool calls begin and end. Only templates that are known (a table of hashes) are
 * taken. Immutable after opening; any number of threads may render with it.
 *
 * Every byte of a rendered conversation is either the template's own text or content of a message.
 * Content never becomes a control token: sonde_encode_options.plain keeps added tokens out of it.
 */
#ifndef SONDE_CHAT_H
#define SONDE_CHAT_H

#include "sonde/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_chat sonde_chat;

/* What a token of a conversation belongs to; the codes of /rows/segment. */
typedef enum sonde_segment {
    SONDE_SEGMENT_NONE = 0,
    SONDE_SEGMENT_SYSTEM = 1,
    SONDE_SEGMENT_USER = 2,
    SONDE_SEGMENT_ASSISTANT = 3,
    SONDE_SEGMENT_REASONING = 4,
    SONDE_SEGMENT_TOOL = 5, /* calls of tools and their answers */
    SONDE_SEGMENT_MARKUP = 6,
} sonde_segment;
/* "none", "system", ... ; "none" for a code that is not known. */
SONDE_API const char *sonde_segment_name(int segment);

/* The template of a folder with tokenizer files, or of a text (a GGUF's). BAD_TOKENIZER when there
 * is none or it is not a known one; the message says what to do. The tokenizer is kept until
 * destroy; the result is given to the caller. [any thread] */
SONDE_API sonde_status sonde_chat_open(const char *folder, const sonde_tokenizer *tokenizer,
                                       sonde_chat **chat, sonde_error *err);
SONDE_API sonde_status sonde_chat_create(const char *text, size_t bytes,
                                         const sonde_tokenizer *tokenizer, sonde_chat **chat,
                                         sonde_error *err);
SONDE_API void sonde_chat_destroy(sonde_chat **chat);
/* Of the template: "llama-3.1-tools". Borrowed. */
SONDE_API const char *sonde_chat_name(const sonde_chat *chat);
/* XXH3-128 of the template's text, 32 hex digits. Borrowed. */
SONDE_API const char *sonde_chat_hash(const sonde_chat *chat);
/* Does the template ask what day it is? */
SONDE_API bool sonde_chat_is_dated(const sonde_chat *chat);

typedef struct sonde_chat_options {
    uint32_t struct_size;
    int32_t open;     /* the assistant's turn: 0 unless the last message is its, 1 yes, 2 no */
    const char *args; /* JSON object: variables of the template, `tools`, `date`; NULL: none */
} sonde_chat_options;

/* Where in a conversation a stream of tokens is: what labels generated tokens. Plain data, copied
 * at will; it borrows from the chat. */
typedef struct sonde_segmenter {
    const sonde_chat *chat; /* NULL: no conversation, every token is NONE */
    uint8_t base, inner;    /* segment of the turn; of reasoning or a tool call within it, or 0 */
    uint8_t in_header, at_start;
    uint8_t header_bytes;
    char header[128]; /* role, and for harmony channel and recipient, as far as they came */
} sonde_segmenter;
/* The segment of the next token. [one thread at a time per object] */
SONDE_API sonde_segment sonde_segmenter_push(sonde_segmenter *segmenter, uint32_t id);

/* A rendered conversation; release with sonde_chat_text_reset. */
typedef struct sonde_chat_text {
    char *text; /* NUL added */
    size_t bytes;
    uint8_t *plain;      /* [bytes] 1: content of a message; for sonde_encode_options.plain */
    uint8_t *segments;   /* [bytes] codes */
    sonde_segmenter end; /* the state after the text */
} sonde_chat_text;
/* Renders JSON: a list of messages, or an object with `messages`, `tools` (a list) and `chat` (an
 * object of arguments in place of those of the options). BAD_PROMPT for what is no conversation and
 * where the template refuses; USAGE for bad options. *text is replaced. [any thread] */
SONDE_API sonde_status sonde_chat_render(const sonde_chat *chat, const char *json, size_t bytes,
                                         const sonde_chat_options *options, sonde_chat_text *text,
                                         sonde_error *err);
SONDE_API void sonde_chat_text_reset(sonde_chat_text *text);
/* Segment of a token that came from text[start, end): the first that is not markup. */
SONDE_API sonde_segment sonde_segment_of(const uint8_t *segments, uint32_t start, uint32_t end);

/* --- harmony, the format of GPT-OSS --------------------------------------------------------------- */

typedef struct sonde_harmony sonde_harmony;

/* The state after a token; texts are borrowed until the next call and NULL where there are none. */
typedef struct sonde_harmony_step {
    const char *role, *channel, *recipient, *content_type;
    const char *delta; /* content that the token added, whole characters */
    size_t delta_bytes;
} sonde_harmony_step;

/* A parser of a token stream that begins in the header of a message by `role` (what stands after
 * <|start|>role), or, with NULL, at a <|start|>. Given to the caller; keeps the tokenizer. */
SONDE_API sonde_status sonde_harmony_create(const sonde_tokenizer *tokenizer, const char *role,
                                            sonde_harmony **harmony, sonde_error *err);
SONDE_API void sonde_harmony_destroy(sonde_harmony **harmony);
/* BAD_PROMPT where the stream is not harmony; after that only destroy. */
SONDE_API sonde_status sonde_harmony_push(sonde_harmony *harmony, uint32_t id,
                                          sonde_harmony_step *step, sonde_error *err);
/* The stream ended: closes a message that was cut in its content. */
SONDE_API sonde_status sonde_harmony_finish(sonde_harmony *harmony, sonde_error *err);

typedef struct sonde_harmony_message {
    const char *role, *name, *channel, *recipient, *content_type; /* NULL: none */
    const char *content;
    size_t content_bytes;
} sonde_harmony_message;
SONDE_API int64_t sonde_harmony_count(const sonde_harmony *harmony);
/* A finished message; borrowed until destroy. */
SONDE_API sonde_harmony_message sonde_harmony_get(const sonde_harmony *harmony, int64_t index);

#ifdef __cplusplus
}
#endif
#endif
