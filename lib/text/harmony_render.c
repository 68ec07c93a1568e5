/*
 * harmony_render.c - conversations that are written in harmony's own terms (a message has a channel,
 * a recipient or a content type), rendered as OpenAI's library does. The template knows none of
 * these keys; conversations without them go through the template.
 */
#include "chat_internal.h"

static const char *text_of(const json_t *message, const char *key)
{
    return json_string_value(json_object_get(message, key));
}

bool sonde_harmony_is(const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        if (text_of(m, "channel") || text_of(m, "recipient") || text_of(m, "content_type")) return true;
    }
    return false;
}

/* The index of the first final message of a conversation whose last assistant message is final;
 * analysis before it is over and dropped. Else 0. */
static size_t finished(const json_t *messages)
{
    size_t first = SIZE_MAX, n = json_array_size(messages);
    bool last_is_final = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = text_of(m, "role"), *channel = text_of(m, "channel");
        bool final = channel && strcmp(channel, "final") == 0;
        if (final && first == SIZE_MAX) first = i;
        if (role && strcmp(role, "assistant") == 0) last_is_final = final;
    }
    return last_is_final && first != SIZE_MAX ? first : 0;
}

static void add(jinja_buffer *out, const char *text)
{
    jinja_buffer_add(out, text, strlen(text), 0);
}

static void add_data(jinja_buffer *out, const char *text, uint8_t tag)
{
    jinja_buffer_add(out, text, strlen(text), tag);
}

/* "<|constrain|>json": the mark is markup, the rest is not. */
static void add_type(jinja_buffer *out, const char *type)
{
    static const char mark[] = "<|constrain|>";
    bool marked = strncmp(type, mark, sizeof mark - 1) == 0;
    add(out, " ");
    if (marked) add(out, mark);
    add_data(out, type + (marked ? sizeof mark - 1 : 0), SONDE_TAG_PLACE);
}

static sonde_status check_message(const json_t *m, size_t index, sonde_error *err)
{
    static const char *const keys[] = {"role", "name", "channel", "recipient", "content_type"};
    const char *role = text_of(m, "role");
    for (size_t i = 0; i < SONDE_COUNT(keys); i++) {
        const json_t *value = json_object_get(m, keys[i]);
        if (!value || json_is_null(value)) continue;
        if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
            return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: %s: expected a text", index, keys[i]);
    }
    if (!role || !json_is_string(json_object_get(m, "content")))
        return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: expected texts \"role\" and "
                          "\"content\" in a harmony message", index);
    if (!sonde_harmony_is_role(role))
        return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: role: expected system, developer, user, "
                          "assistant or tool in a harmony message, got '%.40s'", index, role);
    if (strcmp(role, "tool") == 0 && !text_of(m, "name"))
        return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: a tool in a harmony message needs a "
                          "\"name\"", index);
    return SONDE_OK;
}

/* "user", "user:bob"; of a tool its name alone. */
static void add_author(jinja_buffer *out, const char *role, const char *name)
{
    bool tool = strcmp(role, "tool") == 0;
    if (!tool) add_data(out, role, SONDE_TAG_PLACE);
    if (name && !tool) add(out, ":");
    if (name) add_data(out, name, SONDE_TAG_PLACE);
}

static sonde_status add_message(const json_t *m, size_t index, jinja_buffer *out, sonde_error *err)
{
    SONDE_TRY(check_message(m, index, err));
    const json_t *content = json_object_get(m, "content");
    const char *role = text_of(m, "role"), *channel = text_of(m, "channel");
    const char *to = text_of(m, "recipient"), *type = text_of(m, "content_type");
    bool assistant = strcmp(role, "assistant") == 0;
    add(out, "<|start|>");
    add_author(out, role, text_of(m, "name"));
    if (to && strcmp(to, "all") != 0) {
        add(out, " to=");
        add_data(out, to, SONDE_TAG_PLACE);
    }
    if (channel) {
        add(out, "<|channel|>");
        add_data(out, channel, SONDE_TAG_PLACE);
    }
    if (type) add_type(out, type);
    add(out, "<|message|>");
    jinja_buffer_add(out, json_string_value(content), json_string_length(content),
                     assistant ? SONDE_TAG_PLACE : (uint8_t)sonde_role_segment(role, strlen(role)));
    add(out, assistant && to ? "<|call|>" : "<|end|>");
    return SONDE_OK;
}

sonde_status sonde_harmony_render(const json_t *messages, bool open, jinja_buffer *out,
                                  sonde_error *err)
{
    size_t over = finished(messages);
    jinja_buffer_reset(out);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *channel = text_of(m, "channel");
        if (i < over && channel && strcmp(channel, "analysis") == 0) continue;
        SONDE_TRY(add_message(m, i, out, err));
    }
    if (open) add(out, "<|start|>assistant");
    return out->bytes.failed || out->tags.failed ? sonde_no_memory(err, "rendering a chat", 64)
                                                 : SONDE_OK;
}
