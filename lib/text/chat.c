/* chat.c - chat templates: found, recognised, rendered. */
#include "chat_internal.h"

#include "unicode.h"

#include <ctype.h>

#define MAX_TEMPLATE ((size_t)4 << 20)
#define ELSEWHERE "render the conversation elsewhere and give it as \"text\""

/* ---- opening ------------------------------------------------------------------------------------ */

void sonde_chat_destroy(sonde_chat **chat)
{
    if (!*chat) return;
    jinja_destroy(&(*chat)->program);
    json_decref((*chat)->variables);
    sonde_free(*chat);
    *chat = NULL;
}

const char *sonde_chat_name(const sonde_chat *chat)
{
    return chat->known->name;
}

const char *sonde_chat_hash(const sonde_chat *chat)
{
    return chat->known->hash;
}

bool sonde_chat_is_dated(const sonde_chat *chat)
{
    return chat->dated;
}

/* Looks up the text without white space at its ends and with newlines as "\n"; *known NULL: none. */
static sonde_status recognise(const char *text, size_t bytes, char hash[33],
                              const sonde_chat_known **known, sonde_error *err)
{
    sonde_string plain = {0};
    while (bytes > 0 && isspace((unsigned char)*text)) text++, bytes--;
    while (bytes > 0 && isspace((unsigned char)text[bytes - 1])) bytes--;
    sonde_string_append(&plain, "", 0);
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != '\r' || text[i + 1] != '\n') sonde_string_append(&plain, text + i, 1);
    bool failed = plain.failed;
    if (!failed) sonde_hash128_hex(sonde_hash128(plain.data, plain.length), hash);
    sonde_string_reset(&plain);
    if (failed) return sonde_no_memory(err, "a chat template", bytes);
    *known = sonde_chat_find(hash);
    return SONDE_OK;
}

static void find_marks(sonde_chat *chat)
{
    const sonde_chat_mark *list = chat->known->marks->list;
    for (size_t i = 0; list[i].text; i++)
        chat->ids[i] = sonde_tokenizer_find(chat->tokenizer, list[i].text);
    static const char *const names[] = {"bos_token", "eos_token"};
    size_t n = 0;
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        const char *text = json_string_value(json_object_get(chat->variables, names[i]));
        sonde_mark kind = i == 0 ? SONDE_MARK_PLAIN : SONDE_MARK_END;
        if (text && *text) chat->ends[n++] = (sonde_chat_mark){text, kind, 0, 0};
    }
}

/* The variables are kept (also on failure, when they are released). */
static sonde_status create(const char *text, size_t bytes, const sonde_tokenizer *tokenizer,
                           json_t *variables, sonde_chat **chat, sonde_error *err)
{
    sonde_chat *c = sonde_alloc(1, sizeof *c);
    sonde_status status = SONDE_OK;
    if (!c || !variables) {
        json_decref(variables);
        sonde_free(c);
        return sonde_no_memory(err, "a chat format", sizeof *c);
    }
    c->tokenizer = tokenizer;
    c->variables = variables;
    c->dated = memmem(text, bytes, "strftime_now", 12) != NULL;
    char hash[33];
    status = recognise(text, bytes, hash, &c->known, err);
    if (status == SONDE_OK && !c->known)
        status = sonde_fail(err, SONDE_BAD_TOKENIZER, "this model's chat template (hash %s) is not one "
                            "that is known here; " ELSEWHERE, hash);
    if (status == SONDE_OK) status = jinja_parse(text, bytes, &c->program, err);
    if (status == SONDE_OK) {
        find_marks(c);
        *chat = c;
        return SONDE_OK;
    }
    sonde_chat_destroy(&c);
    return status;
}

/* bos_token and eos_token by the tokenizer's own ids. */
static json_t *tokens_of(const sonde_tokenizer *tokenizer)
{
    const int64_t ids[2] = {sonde_tokenizer_bos(tokenizer), sonde_tokenizer_eos(tokenizer)};
    static const char *const names[2] = {"bos_token", "eos_token"};
    json_t *variables = json_object();
    for (int i = 0; i < 2; i++) {
        const char *piece;
        size_t n;
        if (ids[i] < 0) continue;
        if (sonde_tokenizer_piece(tokenizer, (uint32_t)ids[i], &piece, &n, NULL) == SONDE_OK)
            json_object_set_new(variables, names[i], json_stringn(piece, n));
    }
    return variables;
}

sonde_status sonde_chat_create(const char *text, size_t bytes, const sonde_tokenizer *tokenizer,
                               sonde_chat **chat, sonde_error *err)
{
    return create(text, bytes, tokenizer, tokens_of(tokenizer), chat, err);
}

/* Every "..._token" of tokenizer_config.json is a variable, as transformers has it. */
static void add_config_tokens(json_t *variables, const json_t *config)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, key, value) {
        size_t n = strlen(key);
        const json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
        if (n > 6 && strcmp(key + n - 6, "_token") == 0 && json_is_string(text))
            json_object_set_new(variables, key, json_string(json_string_value(text)));
    }
}

/* A template, or a list of named ones of which "default" is taken. */
static const json_t *template_of(const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0) return json_object_get(item, "template");
    }
    return value;
}

static sonde_status find_template(const char *folder, const json_t *config, char **text,
                                  size_t *bytes, sonde_error *err)
{
    char *path = sonde_path_join(folder, "chat_template.jinja");
    sonde_status status = SONDE_OK;
    if (!path) {
        status = sonde_no_memory(err, "a path", strlen(folder));
    } else if (sonde_path_exists(path)) {
        status = sonde_read_file(path, MAX_TEMPLATE, text, bytes, err);
    } else {
        const json_t *value = template_of(config);
        if (!json_is_string(value))
            status = sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: this model has no chat template (neither "
                                "chat_template.jinja nor chat_template in tokenizer_config.json); "
                                ELSEWHERE, folder);
        else if (!(*text = sonde_strndup(json_string_value(value), json_string_length(value))))
            status = sonde_no_memory(err, "a chat template", json_string_length(value));
        else
            *bytes = json_string_length(value);
    }
    sonde_free(path);
    return status;
}

sonde_status sonde_chat_open(const char *folder, const sonde_tokenizer *tokenizer,
                             sonde_chat **chat, sonde_error *err)
{
    char *text = NULL, *path = sonde_path_join(folder, "tokenizer_config.json");
    size_t bytes = 0;
    json_t *config = NULL;
    if (!path) return sonde_no_memory(err, "a path", strlen(folder));
    sonde_status status = SONDE_OK;
    if (sonde_path_exists(path))
        status = sonde_json_load_flags(path, (size_t)512 << 20, JSON_DECODE_INT_AS_REAL,
                                       SONDE_BAD_TOKENIZER, &config, err);
    if (status == SONDE_OK) status = find_template(folder, config, &text, &bytes, err);
    if (status == SONDE_OK) {
        json_t *variables = config ? json_object() : tokens_of(tokenizer);
        if (config && variables) add_config_tokens(variables, config);
        status = create(text, bytes, tokenizer, variables, chat, err);
        if (status != SONDE_OK) sonde_error_prefix(err, "%s", folder);
    }
    json_decref(config);
    sonde_free(text);
    sonde_free(path);
    return status;
}

/* ---- what the template sees --------------------------------------------------------------------- */

static bool is_key(const char *key, const char *const *keys)
{
    for (; *keys; keys++)
        if (strcmp(key, *keys) == 0) return true;
    return false;
}

/* A message with every text tagged: reasoning and tool calls by their keys, the rest by the role. */
static jinja_value *message_value(jinja_arena *arena, const json_t *message)
{
    static const char *const reasoning[] = {"reasoning_content", "reasoning", "thinking", NULL};
    static const char *const calls[] = {"tool_calls", NULL};
    const char *role = json_string_value(json_object_get(message, "role"));
    sonde_segment segment = role ? sonde_role_segment(role, strlen(role)) : SONDE_SEGMENT_NONE;
    uint8_t own = segment ? (uint8_t)segment : SONDE_TAG_UNKNOWN;
    jinja_value *dict = jinja_new(arena, JINJA_DICT);
    json_t *object = (json_t *)(uintptr_t)message;
    for (void *at = json_object_iter(object); dict && at; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        uint8_t tag = is_key(key, reasoning) ? SONDE_SEGMENT_REASONING
                      : is_key(key, calls)   ? SONDE_SEGMENT_TOOL
                                             : own;
        jinja_value *name = jinja_tagged(arena, key, strlen(key), own);
        jinja_value *value = jinja_from_json(arena, json_object_iter_value(at), tag);
        if (!jinja_dict_add(arena, dict, name, value)) return NULL;
    }
    return dict;
}

static bool add_object(jinja_arena *arena, jinja_value *globals, const json_t *json, uint8_t tag)
{
    json_t *object = (json_t *)(uintptr_t)json;
    bool good = true;
    for (void *at = json_object_iter(object); good && at; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        jinja_value *name = jinja_tagged(arena, key, strlen(key), 0);
        good = jinja_dict_set(arena, globals, name,
                              jinja_from_json(arena, json_object_iter_value(at), tag));
    }
    return good;
}

/* transformers hands over tools and documents also when there are none. */
static jinja_value *make_globals(jinja_arena *arena, const sonde_chat *chat,
                                 const sonde_conversation *c, bool open)
{
    jinja_value *globals = jinja_new(arena, JINJA_DICT), *messages = jinja_new(arena, JINJA_LIST);
    bool good = globals && messages;
    for (size_t i = 0; good && i < json_array_size(c->messages); i++)
        good = jinja_list_push(arena, messages,
                               message_value(arena, json_array_get(c->messages, i)));
    good = good && jinja_dict_put(arena, globals, "messages", messages) &&
           jinja_dict_put(arena, globals, "tools", jinja_new(arena, JINJA_NONE)) &&
           jinja_dict_put(arena, globals, "documents", jinja_new(arena, JINJA_NONE)) &&
           add_object(arena, globals, chat->variables, 0) &&
           add_object(arena, globals, c->args, SONDE_TAG_PLACE) &&
           add_object(arena, globals, c->own_args, SONDE_TAG_PLACE) &&
           jinja_dict_put(arena, globals, "add_generation_prompt", jinja_bool(arena, open));
    if (good && c->tools)
        good = jinja_dict_put(arena, globals, "tools",
                              jinja_from_json(arena, c->tools, SONDE_TAG_PLACE));
    return good ? globals : NULL;
}

/* ---- rendering ---------------------------------------------------------------------------------- */

static sonde_status check(const sonde_conversation *c, sonde_error *err)
{
    size_t n = json_array_size(c->messages);
    if (!json_is_array(c->messages))
        return sonde_fail(err, SONDE_BAD_PROMPT, "messages: expected a list of objects with \"role\" "
                          "and \"content\"");
    if (n == 0) return sonde_fail(err, SONDE_BAD_PROMPT, "messages: expected at least one message");
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(c->messages, i);
        if (!json_is_object(m))
            return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: expected an object with \"role\" "
                              "and \"content\"", i);
        if (!json_is_string(json_object_get(m, "role")))
            return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: role: expected a text (system, user, "
                              "assistant, tool)", i);
        if (!json_object_get(m, "content") && !json_object_get(m, "tool_calls"))
            return sonde_fail(err, SONDE_BAD_PROMPT, "messages[%zu]: expected \"content\"", i);
    }
    if (c->tools && !json_is_array(c->tools))
        return sonde_fail(err, SONDE_BAD_PROMPT, "tools: expected a list");
    const char *wrong = c->own_args ? sonde_chat_check_args(c->own_args) : NULL;
    return wrong ? sonde_fail(err, SONDE_BAD_PROMPT, "chat: %s", wrong) : SONDE_OK;
}

static bool opens_turn(const sonde_conversation *c)
{
    size_t n = json_array_size(c->messages);
    const json_t *last = json_array_get(c->messages, n - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    bool assistants = sonde_role_segment(role, strlen(role)) == SONDE_SEGMENT_ASSISTANT;
    return c->open == 1 || (c->open == 0 && !assistants);
}

static sonde_status render_template(const sonde_chat *chat, const sonde_conversation *c, bool open,
                                    jinja_buffer *out, sonde_error *err)
{
    jinja_arena *arena = jinja_arena_create();
    jinja_call call = {.arena = arena};
    call.globals = arena ? make_globals(arena, chat, c, open) : NULL;
    sonde_status status = SONDE_OK;
    if (!sonde_chat_date(c->own_args, &call.now)) sonde_chat_date(c->args, &call.now);
    if (arena && !call.globals && jinja_arena_is_full(arena))
        status = sonde_fail(err, SONDE_BAD_PROMPT, "this conversation takes more than 512 MiB of memory");
    else if (!call.globals)
        status = sonde_no_memory(err, "rendering a chat", 64);
    if (status == SONDE_OK) status = jinja_render(chat->program, &call, out, err);
    jinja_arena_destroy(&arena);
    return status;
}

/* Text, plain and segments from what was rendered. */
static sonde_status finish(const sonde_chat *chat, jinja_buffer *out, sonde_chat_text *text,
                           sonde_error *err)
{
    size_t n = out->bytes.length;
    sonde_string_append(&out->bytes, "", 0);
    sonde_string_append(&out->tags, "", 0);
    text->plain = sonde_alloc(n + 1, 1);
    if (out->bytes.failed || out->tags.failed || !text->plain)
        return sonde_no_memory(err, "rendering a chat", n);
    const uint8_t *tags = (const uint8_t *)out->tags.data;
    for (size_t i = 0; i < n; i++) text->plain[i] = tags[i] != 0;
    text->text = out->bytes.data;
    text->bytes = n;
    memset(&out->bytes, 0, sizeof out->bytes);
    return sonde_chat_label(chat, tags, text, err);
}

sonde_status sonde_chat_render_json(const sonde_chat *chat, const sonde_conversation *c,
                                    sonde_chat_text *text, sonde_error *err)
{
    jinja_buffer out = {0};
    sonde_chat_text_reset(text);
    SONDE_TRY(check(c, err));
    bool open = opens_turn(c);
    bool harmony = json_is_true(json_object_get(c->args, "harmony")) ||
                   json_is_true(json_object_get(c->own_args, "harmony")) ||
                   sonde_harmony_is(c->messages);
    harmony = harmony && chat->known->marks->harmony;
    if (harmony && json_array_size(c->tools) > 0)
        return sonde_fail(err, SONDE_BAD_PROMPT, "tools: in a conversation of harmony messages the "
                          "developer's message states them");
    sonde_status status = harmony ? sonde_harmony_render(c->messages, open, &out, err)
                                  : render_template(chat, c, open, &out, err);
    if (status == SONDE_OK) status = finish(chat, &out, text, err);
    jinja_buffer_reset(&out);
    if (status != SONDE_OK) sonde_chat_text_reset(text);
    return status;
}

sonde_status sonde_chat_render(const sonde_chat *chat, const char *json, size_t bytes,
                               const sonde_chat_options *options, sonde_chat_text *text,
                               sonde_error *err)
{
    json_error_t why;
    json_t *args = NULL;
    json_t *root = json_loadb(json, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!root) return sonde_fail(err, SONDE_BAD_PROMPT, "no JSON: %s", why.text);
    const json_t *tools = json_object_get(root, "tools");
    sonde_conversation c = {.messages = json_is_object(root) ? json_object_get(root, "messages") : root,
                            .tools = json_is_null(tools) ? NULL : tools,
                            .own_args = json_object_get(root, "chat"),
                            .open = options ? options->open : 0};
    sonde_status status = sonde_chat_read_args(options ? options->args : NULL, &args, err);
    c.args = args;
    if (status == SONDE_OK) status = sonde_chat_render_json(chat, &c, text, err);
    json_decref(args);
    json_decref(root);
    return status;
}

void sonde_chat_text_reset(sonde_chat_text *text)
{
    sonde_free(text->text);
    sonde_free(text->plain);
    sonde_free(text->segments);
    memset(text, 0, sizeof *text);
}
