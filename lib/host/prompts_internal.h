/*
 * prompts_internal.h - the steps from a line to a prompt: source (lines), json (keys), tokens (ids,
 * spans), fit (too long), then prompts.c (order, options, hash).
 */
#ifndef SONDE_HOST_PROMPTS_INTERNAL_H
#define SONDE_HOST_PROMPTS_INTERNAL_H

#include "prompts.h"

/* ---- prompts_source.c: lines ----------------------------------------------------------------- */

typedef struct sonde_line_source {
    char *name; /* "prompts.jsonl", "standard input"; NULL: inline texts */
    bool jsonl;
    int fd; /* -1: none */
    bool owns_fd;
    const char *const *inline_texts;
    int64_t n_inline_texts;
    char *buffer; /* what was read and not yet cut into lines: [at, filled) */
    size_t at, filled;
    bool ended, began; /* began: the mark at the beginning was looked for */
    char *line;        /* the current line, NUL added */
    size_t length, capacity;
    size_t mark_bytes; /* of the byte order mark before this line */
    bool over;         /* longer than SONDE_PROMPT_MAX_LINE: `line` holds its beginning */
    uint64_t number, blank_lines; /* lines read; blank ones passed over */
    uint64_t held_blanks;         /* jsonl: blank lines that turned out to stand before `line` */
} sonde_line_source;

/* A line as it is handed on; borrowed until the next. */
typedef struct sonde_source_line {
    const char *text; /* NUL added */
    size_t bytes, mark_bytes;
    uint64_t number;
    bool blank, over;
} sonde_source_line;

sonde_status sonde_line_source_open(const sonde_prompts_spec *spec, sonde_line_source *source,
                                    sonde_error *err);
void sonde_line_source_close(sonde_line_source *source);
/* *end true: nothing given, no line is left. */
sonde_status sonde_line_source_next(sonde_line_source *source, sonde_source_line *line, bool *end,
                                    sonde_error *err);

/* ---- prompts_json.c: keys -------------------------------------------------------------------- */

/* What a line said about text and tokens; borrows from the line and from `root`. */
typedef struct sonde_prompt_draft {
    json_t *root;                    /* owned; NULL: a plain text */
    const char *text, *continuation; /* NULL: none */
    size_t text_bytes, continuation_bytes;
    const json_t *tokens, *continuation_tokens, *spans; /* arrays, or NULL */
    const json_t *messages, *tools, *chat;              /* any JSON, or NULL */
    const char *odd_key, *meant; /* metadata that may be a key of ours misspelt; NULL: none */
} sonde_prompt_draft;

/* Reads a line of JSON: the draft, and id, max_new, seed, rows and meta of the prompt (which holds
 * their defaults). BAD_PROMPT without the place. */
sonde_status sonde_prompt_read_json(const sonde_source_line *line, sonde_prompt_draft *draft,
                                    sonde_prompt *prompt, sonde_error *err);

/* ---- prompts_tokens.c: ids and marks --------------------------------------------------------- */

typedef struct sonde_prompt_encoder {
    const sonde_tokenizer *tokenizer; /* or NULL */
    const sonde_chat *chat;           /* or NULL: no_chat says why */
    const sonde_error *no_chat;
    const json_t *chat_args;
    bool all_chat; /* texts are messages too */
    int32_t open;
    sonde_chat_text rendered; /* of the current prompt, when it is a conversation */
    uint8_t *plain;           /* [text] of the current prompt; NULL: no conversation */
    sonde_encode_options options;
    int64_t vocab;
    sonde_tokens whole, head; /* reused */
    uint64_t tokenize_ns;
} sonde_prompt_encoder;

/* text, tokens, text spans, n_tokens, n_prompt and marked of the prompt. */
sonde_status sonde_prompt_encode(sonde_prompt_encoder *encoder, sonde_prompt_draft *draft,
                                 sonde_prompt *prompt, sonde_error *err);
/* prompts_chat.c: renders a conversation: text and plain of the encoder, text of the draft. */
sonde_status sonde_prompt_render(sonde_prompt_encoder *encoder, sonde_prompt_draft *draft,
                                 sonde_error *err);
/* Segments and segmenter of a prompt that has its tokens. */
sonde_status sonde_prompt_label(const sonde_prompt_encoder *encoder, sonde_prompt *prompt,
                                sonde_error *err);
void sonde_prompt_encoder_reset(sonde_prompt_encoder *encoder);
/* prompts_spans.c: marked of a prompt that has its tokens. */
sonde_status sonde_prompt_mark(const json_t *spans, sonde_prompt *prompt, sonde_error *err);

/* ---- prompts_fit.c: too long ----------------------------------------------------------------- */

typedef enum sonde_too_long { /* order of the option's choices */
                              SONDE_TOO_LONG_REFUSE,
                              SONDE_TOO_LONG_CUT,
                              SONDE_TOO_LONG_SPLIT,
                              SONDE_TOO_LONG_SKIP,
} sonde_too_long;

/* Makes the prompt fit: READY, CUT or SKIPPED; *pieces > 1 where it is to be split. BAD_PROMPT
 * when it is refused. */
sonde_status sonde_prompt_fit(sonde_prompt *prompt, int64_t max_seq, sonde_too_long choice,
                              int64_t *pieces, sonde_error *err);
/* Piece `number` of `whole` into a reset prompt. */
sonde_status sonde_prompt_piece(const sonde_prompt *whole, int64_t max_seq, int64_t number,
                                sonde_prompt *piece, sonde_error *err);
/* Keeps index, line and id only. */
void sonde_prompt_empty(sonde_prompt *prompt);

/* ---- prompts_known.c: hashes of ids, in bounded memory ---------------------------------------- */

typedef struct sonde_known_ids sonde_known_ids;
sonde_known_ids *sonde_known_ids_create(void); /* NULL: no memory */
void sonde_known_ids_destroy(sonde_known_ids **known);
sonde_status sonde_known_ids_find(const sonde_known_ids *known, sonde_hash128_value hash,
                                  bool *found, sonde_error *err);
/* A hash that is not there yet. */
sonde_status sonde_known_ids_add(sonde_known_ids *known, sonde_hash128_value hash,
                                 sonde_error *err);

/* ---- prompts_ids.c: ids that were used, and the hash of what was given ----------------------- */

typedef struct sonde_prompt_ids {
    sonde_known_ids *given;
    struct sonde_index_run {
        uint64_t begin, end;
    } * runs; /* indexes that stand for ids */
    size_t n_runs, runs_capacity;
} sonde_prompt_ids;

/* Takes the prompt's id; BAD_PROMPT when another prompt has it. */
sonde_status sonde_prompt_ids_claim(sonde_prompt_ids *ids, const char *id, bool is_given,
                                    uint64_t index, sonde_error *err);
void sonde_prompt_ids_reset(sonde_prompt_ids *ids);
/* The hash so far with one more prompt. */
sonde_status sonde_prompt_hash(sonde_hash128_value *hash, const sonde_prompt *prompt,
                               sonde_error *err);

#endif
