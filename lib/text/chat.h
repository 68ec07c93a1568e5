/*
 * chat.h - chat formats for the library's own code: conversations as JSON that was read already.
 */
#ifndef SONDE_TEXT_CHAT_H
#define SONDE_TEXT_CHAT_H

#include "core/json.h"
#include "sonde/chat.h"

/* A conversation and what goes with it; all borrowed. */
typedef struct sonde_conversation {
    const json_t *messages; /* a list of objects */
    const json_t *tools;    /* a list, or NULL */
    const json_t *args;     /* object of variables, or NULL */
    const json_t *own_args; /* the conversation's own, in place of those of the same name, or NULL */
    int32_t open;           /* as in sonde_chat_options */
} sonde_conversation;

sonde_status sonde_chat_render_json(const sonde_chat *chat, const sonde_conversation *conversation,
                                    sonde_chat_text *text, sonde_error *err);
/* Reads --chat-args: an object whose `date` is a date and whose `tools` is a list. *args is given
 * to the caller (NULL: no text). Where no date is given and the template asks for one, today's is
 * put in, so that what is recorded renders the same text again. USAGE names what is wrong. */
sonde_status sonde_chat_read_args(const char *text, json_t **args, sonde_error *err);
/* A plain text becomes the only message: a new list [{role: user, content: text}], or NULL. */
json_t *sonde_chat_user(const char *text, size_t bytes);

#endif
