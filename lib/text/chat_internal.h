/*
 * chat_internal.h - what is known of a chat format, and the parts that render and label it.
 */
#ifndef SONDE_TEXT_CHAT_INTERNAL_H
#define SONDE_TEXT_CHAT_INTERNAL_H

#include "chat.h"
#include "jinja.h"

#include <string.h>

typedef enum sonde_mark {
    SONDE_MARK_PLAIN,      /* markup that changes nothing */
    SONDE_MARK_HEADER,     /* a turn's header begins */
    SONDE_MARK_HEADER_END,
    SONDE_MARK_FIELD,      /* within a header: part of it (harmony's channel) */
    SONDE_MARK_TURN,       /* content of `segment` begins without a header */
    SONDE_MARK_END,        /* of a turn */
    SONDE_MARK_OPEN,       /* within a turn of `within`: an inner part of `segment` */
    SONDE_MARK_CLOSE,
} sonde_mark;

typedef struct sonde_chat_mark {
    const char *text; /* as it stands in the template and in the vocabulary; NULL ends a list */
    sonde_mark kind;
    sonde_segment segment, within;
} sonde_chat_mark;

#define SONDE_CHAT_MAX_MARKS 24

/* How a family marks its turns. */
typedef struct sonde_chat_marks {
    const sonde_chat_mark *list;
    bool newline_ends_header;
    bool harmony; /* headers hold channel and recipient */
} sonde_chat_marks;

/* A known template: its name, the XXH3-128 of its text without white space at both ends. */
typedef struct sonde_chat_known {
    const char *name, *hash;
    const sonde_chat_marks *marks;
} sonde_chat_known;

struct sonde_chat {
    const sonde_tokenizer *tokenizer;
    const sonde_chat_known *known;
    jinja_program *program;
    bool dated; /* asks what day it is */
    json_t *variables; /* bos_token and the like, as transformers hands them over */
    sonde_chat_mark ends[3]; /* the variables bos_token and eos_token, where they are texts */
    int64_t ids[SONDE_CHAT_MAX_MARKS]; /* of the marks; -1: not in the vocabulary */
};

/* Tags of data in a rendered text: a segment, or one of these; 0 is the template's own text. */
#define SONDE_TAG_UNKNOWN 7 /* of a message whose role is not known: segment NONE */
#define SONDE_TAG_PLACE 8   /* belongs to the turn that it stands in: tools, arguments */

/* chat_table.c: by hash; NULL: not known. */
const sonde_chat_known *sonde_chat_find(const char *hash);

/* chat_segments.c */
sonde_segment sonde_role_segment(const char *role, size_t bytes); /* NONE: not known */
/* Fills text->segments and text->end from the tags. */
sonde_status sonde_chat_label(const sonde_chat *chat, const uint8_t *tags, sonde_chat_text *text,
                              sonde_error *err);

/* chat_args.c: seconds since 1970 of the date in an object's `date`; false: none. */
bool sonde_chat_date(const json_t *args, int64_t *seconds);
/* What is wrong with arguments of a template, those of --chat-args and those of a prompt; NULL:
 * nothing. */
const char *sonde_chat_check_args(const json_t *args);

/* harmony.c */
typedef struct sonde_harmony_header {
    char *role, *name, *channel, *recipient, *content_type; /* NULL: none */
} sonde_harmony_header;
/* Reads a header's text; `role` NULL: its first word says. BAD_PROMPT. */
sonde_status sonde_harmony_read_header(const char *text, size_t bytes, const char *role,
                                       sonde_harmony_header *header, sonde_error *err);
void sonde_harmony_header_reset(sonde_harmony_header *header);
bool sonde_harmony_is_role(const char *word);
/* harmony_render.c: are these messages of harmony (one has a channel, recipient or content type)? */
bool sonde_harmony_is(const json_t *messages);
/* Writes them, as OpenAI's library does; `open` adds the assistant's beginning. BAD_PROMPT. */
sonde_status sonde_harmony_render(const json_t *messages, bool open, jinja_buffer *out,
                                  sonde_error *err);

#endif
