/*
 * prompts.h - prompts as they are read: one line at a time, checked, turned into token ids.
 *
 * A source is a .jsonl file (one object a line), a .txt file (a text a line), "-" (jsonl from
 * standard input) or texts given on the command line. Only what is being read is held in memory
 * (and at most 64 bytes per id that a user gave, to refuse a second one). A prompt's index is its
 * place among all prompts of the source, whatever --skip, --limit, --part, --max-tokens or a
 * skipped prompt leave out. Messages name the source and the line: "prompts.jsonl:17: ...".
 *
 * Lines end with LF or CRLF and hold at most SONDE_PROMPT_MAX_LINE bytes of UTF-8; a byte order
 * mark at the very beginning is passed over. A blank line (nothing but spaces and tabs) takes no
 * index in .txt; in jsonl blank lines may end the source, elsewhere they are bad prompts. A source
 * without any prompt is BAD_PROMPT.
 *
 * Which prompts: --skip and --limit choose indexes [skip, skip + limit), --part takes those of them
 * with index mod N = I, --max-tokens ends before the prompt that would pass it (counted over what
 * this part gives). Lines outside the choice are not looked at; ids are unique among the others.
 *
 * Keys of a jsonl prompt (null stands for a key left out):
 *   id              text, or a whole number taken as text; default the index
 *   text | tokens | messages   exactly one; messages are rendered by the model's chat template, and
 *                   with --chat a text becomes one message of the user. Content of messages never
 *                   becomes a control token. `edits`, `pair` are refused by name
 *   tools, chat     of a conversation: a list of tools; an object of template arguments, in place of
 *                   those of --chat-args
 *   continuation    text after `text`, or ids after `tokens`. A text is encoded together with its
 *                   continuation where the ids of `text` alone begin those of both, else on its own
 *   max_new_tokens, seed, rows   in place of the options; `rows` may not name files
 *   spans           [[begin, end], ...] marks characters (code points, from 0, end not included) of
 *                   text then continuation, or tokens of `tokens`
 *   meta            an object of metadata; every other key is metadata too (the first that looks
 *                   like one of ours misspelt gives a warning in the log)
 *
 * Too long is a prompt with its continuation of more than max_seq tokens. A prompt with a
 * continuation is never split.
 *
 * [one thread at a time per object]
 */
#ifndef SONDE_HOST_PROMPTS_H
#define SONDE_HOST_PROMPTS_H

#include "core/core.h"
#include "sonde/chat.h"
#include "sonde/job.h"

#include <jansson.h>

#define SONDE_PROMPT_MAX_LINE ((size_t)64 << 20)

typedef struct sonde_prompts sonde_prompts;

typedef enum sonde_prompt_state {
    SONDE_PROMPT_READY = 0,
    SONDE_PROMPT_CUT = 1,     /* too long: its first tokens (--too-long cut) */
    SONDE_PROMPT_SKIPPED = 2, /* bad or too long, and skipped: index, id and why only; no tokens */
} sonde_prompt_state;

typedef struct sonde_prompt {
    uint64_t index; /* input index; pieces of a split prompt share it */
    uint64_t line;  /* 1-based line of the source; inline texts: 1, 2, ... */
    sonde_prompt_state state;
    char *why; /* CUT, SKIPPED: one line for people; else NULL */
    char *id;  /* the user's, or the index as decimal text; pieces of a split one: "id#0", ... */
    bool id_is_given;
    char *text; /* text then continuation as given, NUL added; NULL: tokens were given */
    size_t text_bytes;
    uint32_t *tokens;                /* [n_tokens] prompt, then continuation; never empty */
    uint32_t *text_start, *text_end; /* [n_tokens] bytes of `text`; NULL when there is no text */
    int64_t n_tokens, n_prompt;      /* the first n_prompt are the prompt */
    int64_t max_new; /* tokens to generate: the prompt's own key, else --max-new-tokens; lowered so
                          that the sequence fits (state CUT when --too-long cut did that) */
    uint64_t seed;   /* the prompt's own key, else --seed */
    char *rows;      /* the prompt's own rows expression, or NULL */
    uint8_t *marked; /* [n_tokens] 1: the token overlaps one of `spans`; NULL: no spans */
    uint8_t *segments; /* [n_tokens] codes of sonde_segment; NULL: no conversation */
    sonde_segmenter segmenter; /* the state after the last token, for generated ones */
    json_t *meta;    /* object of the metadata keys, never NULL */
} sonde_prompt;

typedef struct sonde_prompts_spec {
    const char *path;                /* as in cli.md; NULL: inline texts */
    const char *const *inline_texts; /* [n_inline_texts] */
    int64_t n_inline_texts;
    const sonde_job_options *options;
    const sonde_tokenizer *tokenizer; /* NULL: only `tokens` prompts can be read */
    const sonde_chat *chat;           /* NULL: no conversation can be read, because of ... */
    const sonde_error *no_chat;       /* ... this (kept until close; NULL: no tokenizer) */
    const json_t *chat_args;          /* object, or NULL; kept until close */
    int64_t vocab;                    /* ids lie below it */
    int64_t max_seq;                  /* longest sequence: prompt, continuation and generated tokens
                                         that the model runs on (n_tokens + max_new - 1) */
} sonde_prompts_spec;

/* Opens the source; nothing is read yet. BAD_FILE when it cannot be opened, USAGE for an extension
 * that is not known. The spec's texts and options are kept until close. */
sonde_status sonde_prompts_open(const sonde_prompts_spec *spec, sonde_prompts **prompts,
                                sonde_error *err);
void sonde_prompts_close(sonde_prompts **prompts);
/* The next prompt that the options keep, into *prompt (reset first: zero-initialise it once);
 * *end true and nothing given after the last one. Skipped prompts are given too (state SKIPPED).
 * BAD_PROMPT with source and line; after a failure only close. */
sonde_status sonde_prompts_next(sonde_prompts *prompts, sonde_prompt *prompt, bool *end,
                                sonde_error *err);
void sonde_prompt_reset(sonde_prompt *prompt);

typedef struct sonde_prompts_stats {
    uint64_t lines, blank_lines;         /* blank ones of .txt, which take no index */
    uint64_t given, skipped, cut, split; /* split: prompts that became several sequences */
    uint64_t tokens;                     /* of the prompts given */
    uint64_t tokenize_ns;
} sonde_prompts_stats;
void sonde_prompts_stats_get(const sonde_prompts *prompts, sonde_prompts_stats *stats);
/* XXH3-128 as 32 hex digits over what decided the sequences given so far (ids, token ids, own
 * options, metadata), whatever the file's spelling. */
void sonde_prompts_hash(const sonde_prompts *prompts, char text[33]);

#endif
