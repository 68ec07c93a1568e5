/*
 * prompts_chat.c - prompts that are conversations: rendered by the model's template, and every token
 * labelled with its segment.
 */
#include "prompts_internal.h"

#include "text/chat.h"

#include <string.h>

void sonde_prompt_encoder_reset(sonde_prompt_encoder *e)
{
    sonde_tokens_reset(&e->whole);
    sonde_tokens_reset(&e->head);
    sonde_chat_text_reset(&e->rendered);
    sonde_free(e->plain);
    e->plain = NULL;
}

static sonde_status render(sonde_prompt_encoder *e, const json_t *messages,
                           const sonde_prompt_draft *d, sonde_error *err)
{
    sonde_conversation conversation = {.messages = messages,
                                       .tools = d->tools,
                                       .args = e->chat_args,
                                       .own_args = d->chat,
                                       .open = e->open};
    return sonde_chat_render_json(e->chat, &conversation, &e->rendered, err);
}

/* Which bytes of text and continuation are content; all of the continuation is. */
static sonde_status set_plain(sonde_prompt_encoder *e, const sonde_prompt_draft *d, sonde_error *err)
{
    size_t n = e->rendered.bytes, all = n + d->continuation_bytes;
    e->plain = sonde_alloc(all + 1, 1);
    if (!e->plain) return sonde_no_memory(err, "a conversation", all);
    memcpy(e->plain, e->rendered.plain, n);
    memset(e->plain + n, 1, d->continuation_bytes);
    return SONDE_OK;
}

sonde_status sonde_prompt_render(sonde_prompt_encoder *e, sonde_prompt_draft *d, sonde_error *err)
{
    bool wrap = d->text && e->all_chat;
    sonde_free(e->plain);
    e->plain = NULL;
    if (!d->messages && !wrap) {
        if (!d->tools && !d->chat) return SONDE_OK;
        return sonde_fail(err, SONDE_BAD_PROMPT, "'%s' belongs to a conversation: give 'messages', or "
                          "--chat", d->tools ? "tools" : "chat");
    }
    if (!e->chat) {
        const sonde_error *why = e->no_chat;
        return why && why->status != SONDE_OK ? sonde_fail(err, why->status, "%s", why->message)
                                              : sonde_fail(err, SONDE_BAD_TOKENIZER, "this model has no "
                                                           "chat template; give rendered 'text'");
    }
    json_t *user = wrap ? sonde_chat_user(d->text, d->text_bytes) : NULL;
    if (wrap && !user) return sonde_no_memory(err, "a conversation", d->text_bytes);
    sonde_status status = render(e, wrap ? user : d->messages, d, err);
    json_decref(user);
    if (status == SONDE_OK) status = set_plain(e, d, err);
    if (status != SONDE_OK) return status;
    d->text = e->rendered.text;
    d->text_bytes = e->rendered.bytes;
    return d->text_bytes > 0 ? SONDE_OK
                             : sonde_fail(err, SONDE_BAD_PROMPT, "the conversation gives no text");
}

sonde_status sonde_prompt_label(const sonde_prompt_encoder *e, sonde_prompt *p, sonde_error *err)
{
    if (!e->plain) return SONDE_OK;
    p->segments = sonde_alloc((size_t)p->n_tokens, 1);
    if (!p->segments) return sonde_no_memory(err, "the segments of a prompt", (size_t)p->n_tokens);
    p->segmenter = e->rendered.end;
    for (int64_t i = 0; i < p->n_tokens; i++)
        p->segments[i] = (uint8_t)(i < p->n_prompt
                                       ? sonde_segment_of(e->rendered.segments, p->text_start[i],
                                                          p->text_end[i])
                                       : sonde_segmenter_push(&p->segmenter, p->tokens[i]));
    return SONDE_OK;
}
