/* Any text as a conversation, rendered by a template with all that the known ones do (and, as `chat`
 * asks, in harmony's terms): refused with a message, or a text of valid UTF-8 whose content gives no
 * special token. The bytes are then tokens of a stream, for the segmenter and the harmony parser. */
#include "text/chat_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_BYTES 256
static const char *const specials[] = {"<unk>",       "<|start|>", "<|channel|>", "<|constrain|>",
                                       "<|message|>", "<|end|>",   "<|call|>",    "<|return|>"};
#define N_TOKENS (N_BYTES + SONDE_COUNT(specials))

static const char template[] =
    "{{ bos_token }}{% set n = namespace(last=none) %}{% macro show(v) %}{% if v is mapping %}"
    "{% for k, w in v.items() %}{{ k }}={{ show(w) }};{% endfor %}{% elif v is string %}{{ v | "
    "trim }}"
    "{% else %}{{ v | tojson }}{% endif %}{% endmacro %}"
    "{% for m in messages[::-1] %}{% if m.role == 'tool' %}{% set n.last = m.name %}{% endif %}{% "
    "endfor %}"
    "{% for m in messages %}<|start|>{{ m.role }}<|channel|>{{ 'final' if loop.last }}<|message|>"
    "{% if m.content is string %}{{ m.content.split('<think>')[-1].strip('\\n') + '\\n' }}{{ "
    "m.content[1:-1] }}"
    "{% elif m.content is iterable %}{{ m.content | join(', ') }}{{ m.content | tojson(indent=4) "
    "}}{% else %}"
    "{{ m.content }}{% endif %}{% for c in m.tool_calls %}{{ show(c) }}{{ c.function | string | "
    "upper }}"
    "{% endfor %}{{ m | length }}<|end|>{% endfor %}{% if tools %}{{ tools }}{{ show(tools) }}{% "
    "endif %}"
    "{{ n.last }}{{ strftime_now('%d %b %Y') }}{% if add_generation_prompt %}<|start|>assistant{% "
    "endif %}";

/* A vocabulary of single bytes: no merge makes a special token. */
static sonde_tokenizer *make_tokenizer(void)
{
    static char names[N_BYTES][8];
    const char *tokens[N_TOKENS];
    size_t lengths[N_TOKENS];
    int32_t types[N_TOKENS];
    float scores[N_TOKENS] = {0};
    for (size_t i = 0; i < N_TOKENS; i++) {
        if (i < N_BYTES) snprintf(names[i], sizeof names[i], "<0x%02X>", (unsigned)i);
        tokens[i] = i < N_BYTES ? names[i] : specials[i - N_BYTES];
        lengths[i] = strlen(tokens[i]);
        types[i] = i < N_BYTES ? 6 : i == N_BYTES ? 2 : 3;
    }
    sonde_vocabulary v = {.model = "llama",
                          .n_tokens = N_TOKENS,
                          .tokens = tokens,
                          .token_bytes = lengths,
                          .scores = scores,
                          .types = types,
                          .bos_id = -1,
                          .eos_id = -1,
                          .unknown_id = N_BYTES,
                          .add_bos = 0,
                          .add_eos = 0,
                          .add_space_prefix = 0};
    sonde_tokenizer *t = NULL;
    if (sonde_tokenizer_create(&v, &t, NULL) != SONDE_OK) abort();
    return t;
}

static void make_chat(sonde_chat *chat, const sonde_tokenizer *t)
{
    *chat = (sonde_chat){.tokenizer = t,
                         .known = sonde_chat_find("263b899cbc2e65c8b619f5c43a935065"),
                         .dated = true,
                         .variables = json_object()};
    if (!chat->known ||
        jinja_parse(template, sizeof template - 1, &chat->program, NULL) != SONDE_OK)
        abort();
    for (size_t i = 0; chat->known->marks->list[i].text; i++)
        chat->ids[i] = sonde_tokenizer_find(t, chat->known->marks->list[i].text);
}

static void check_text(const sonde_tokenizer *t, const sonde_chat_text *text)
{
    sonde_encode_options options = {sizeof options, 0, SONDE_BOS_NO, text->plain};
    sonde_tokens tokens = {0};
    if (sonde_utf8_valid_prefix(text->text, text->bytes) != text->bytes) abort();
    for (size_t i = 0; i < text->bytes; i++)
        if (text->segments[i] > SONDE_SEGMENT_MARKUP || text->plain[i] > 1) abort();
    if (sonde_tokenizer_encode(t, text->text, text->bytes, &options, &tokens, NULL) != SONDE_OK)
        abort();
    for (size_t i = 0; i < tokens.count; i++) {
        uint32_t from = tokens.text_start[i], to = tokens.text_end[i];
        if (sonde_tokenizer_is_special(t, tokens.ids[i]) &&
            memchr(text->plain + from, 1, to - from))
            abort();
    }
    sonde_tokens_reset(&tokens);
}

/* Bytes from 0xF8 on are special tokens: they begin no character. */
static void push_stream(const sonde_tokenizer *t, sonde_segmenter *segmenter, const uint8_t *data,
                        size_t size)
{
    sonde_harmony *h = NULL;
    sonde_harmony_step step;
    sonde_status status =
        sonde_harmony_create(t, size > 0 && data[0] & 1 ? "assistant" : NULL, &h, NULL);
    if (status != SONDE_OK) abort();
    for (size_t i = 0; i < size; i++) {
        uint32_t id = data[i] >= 0xF8 ? N_BYTES + (data[i] - 0xF8u) : data[i];
        if (sonde_segmenter_push(segmenter, id) > SONDE_SEGMENT_MARKUP) abort();
        if (status != SONDE_OK) continue;
        status = sonde_harmony_push(h, id, &step, NULL);
        if (status == SONDE_OK && step.delta &&
            sonde_utf8_valid_prefix(step.delta, step.delta_bytes) != step.delta_bytes)
            abort();
    }
    if (status == SONDE_OK) status = sonde_harmony_finish(h, NULL);
    if (status != SONDE_OK && status != SONDE_BAD_PROMPT) abort();
    sonde_harmony_destroy(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const sonde_chat_options options = {sizeof options, 0, "{\"date\": \"2024-07-26\"}"};
    sonde_tokenizer *t = make_tokenizer();
    sonde_chat chat;
    sonde_chat_text text = {0};
    sonde_error err = {0};
    make_chat(&chat, t);
    sonde_status status = sonde_chat_render(&chat, (const char *)data, size, &options, &text, &err);
    if (status == SONDE_OK) check_text(t, &text);
    else if (status != SONDE_BAD_PROMPT || err.message[0] == '\0') abort();
    sonde_segmenter segmenter = status == SONDE_OK ? text.end : (sonde_segmenter){.chat = &chat};
    push_stream(t, &segmenter, data, size);
    sonde_chat_text_reset(&text);
    jinja_destroy(&chat.program);
    json_decref(chat.variables);
    sonde_tokenizer_destroy(&t);
    return 0;
}
