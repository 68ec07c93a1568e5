/* prompts_json.c - the keys of a prompt given as JSON: types checked, the rest kept as metadata. */
#include "prompts_internal.h"

#include "select.h"

#include <string.h>

typedef struct reader {
    sonde_prompt_draft *draft;
    sonde_prompt *prompt;
    sonde_error *err;
} reader;

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a text";
    case JSON_INTEGER: return "a whole number";
    case JSON_REAL: return "a number with a fraction";
    case JSON_NULL: return "null";
    default: return "true or false";
    }
}

static sonde_status wrong_type(reader *r, const char *key, const char *expected,
                               const json_t *value)
{
    return sonde_fail(r->err, SONDE_BAD_PROMPT, "'%s': expected %s, got %s", key, expected,
                      kind_of(value));
}

static sonde_status empty_value(reader *r, const char *key)
{
    return sonde_fail(r->err, SONDE_BAD_PROMPT, "'%s' is empty", key);
}

/* ---- one function per key -------------------------------------------------------------------- */

static sonde_status read_string(reader *r, const char *key, const json_t *value, const char **text,
                                size_t *bytes)
{
    if (!json_is_string(value)) return wrong_type(r, key, "a text", value);
    *text = json_string_value(value);
    *bytes = json_string_length(value);
    return *bytes == 0 ? empty_value(r, key) : SONDE_OK;
}

static sonde_status read_text(reader *r, const char *key, const json_t *value)
{
    return read_string(r, key, value, &r->draft->text, &r->draft->text_bytes);
}

static sonde_status read_array(reader *r, const char *key, const json_t *value,
                               const json_t **array)
{
    if (!json_is_array(value)) return wrong_type(r, key, "an array of token ids", value);
    *array = value;
    return json_array_size(value) == 0 ? empty_value(r, key) : SONDE_OK;
}

static sonde_status read_tokens(reader *r, const char *key, const json_t *value)
{
    return read_array(r, key, value, &r->draft->tokens);
}

static sonde_status read_continuation(reader *r, const char *key, const json_t *value)
{
    if (json_is_array(value)) return read_array(r, key, value, &r->draft->continuation_tokens);
    if (!json_is_string(value)) return wrong_type(r, key, "a text or an array of token ids", value);
    return read_string(r, key, value, &r->draft->continuation, &r->draft->continuation_bytes);
}

static sonde_status read_id(reader *r, const char *key, const json_t *value)
{
    char number[24];
    const char *text = json_string_value(value);
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        text = number;
    } else if (!text) {
        return wrong_type(r, key, "a text or a whole number", value);
    } else if (strlen(text) != json_string_length(value)) {
        return sonde_fail(r->err, SONDE_BAD_PROMPT, "'id' contains the character U+0000");
    }
    if (!*text) return empty_value(r, key);
    char *copy = sonde_strdup(text);
    if (!copy) return sonde_no_memory(r->err, "an id", strlen(text));
    sonde_free(r->prompt->id);
    r->prompt->id = copy;
    r->prompt->id_is_given = true;
    return SONDE_OK;
}

static sonde_status read_whole(reader *r, const char *key, const json_t *value, int64_t max,
                               int64_t *out)
{
    if (!json_is_integer(value)) return wrong_type(r, key, "a whole number", value);
    *out = json_integer_value(value);
    if (*out >= 0 && *out <= max) return SONDE_OK;
    return sonde_fail(r->err, SONDE_BAD_PROMPT, "'%s': expected 0 to %lld, got %lld", key,
                      (long long)max, (long long)*out);
}

static sonde_status read_max_new(reader *r, const char *key, const json_t *value)
{
    return read_whole(r, key, value, 1000000000, &r->prompt->max_new);
}

static sonde_status read_seed(reader *r, const char *key, const json_t *value)
{
    int64_t seed = 0;
    SONDE_TRY(read_whole(r, key, value, INT64_MAX, &seed));
    r->prompt->seed = (uint64_t)seed;
    return SONDE_OK;
}

static sonde_status read_rows(reader *r, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text) return wrong_type(r, key, "a rows expression", value);
    sonde_rows_expr *expr = NULL;
    sonde_status status = sonde_rows_compile_without_files(text, &expr, r->err);
    if (status != SONDE_OK)
        return status == SONDE_NO_MEMORY
                   ? status
                   : sonde_fail(r->err, SONDE_BAD_PROMPT, "%s", r->err->message);
    sonde_rows_destroy(&expr);
    r->prompt->rows = sonde_strdup(text);
    return r->prompt->rows ? SONDE_OK : sonde_no_memory(r->err, "a rows expression", strlen(text));
}

static sonde_status read_spans(reader *r, const char *key, const json_t *value)
{
    if (!json_is_array(value)) return wrong_type(r, key, "[[begin, end], ...]", value);
    r->draft->spans = value;
    return SONDE_OK;
}

static sonde_status check_meta(reader *r, const char *key, const json_t *value)
{
    return json_is_object(value) ? SONDE_OK : wrong_type(r, key, "an object", value);
}

static sonde_status refuse(reader *r, const char *key, const json_t *value)
{
    (void)value;
    return sonde_fail(r->err, SONDE_BAD_PROMPT,
                      "'%s' is reserved and not supported by this build; "
                      "metadata of this name goes into 'meta'",
                      key);
}

static sonde_status read_messages(reader *r, const char *key, const json_t *value)
{
    if (!json_is_array(value)) return wrong_type(r, key, "an array of messages", value);
    r->draft->messages = value;
    return json_array_size(value) == 0 ? empty_value(r, key) : SONDE_OK;
}

static sonde_status read_tools(reader *r, const char *key, const json_t *value)
{
    if (!json_is_array(value)) return wrong_type(r, key, "an array of tools", value);
    r->draft->tools = value;
    return SONDE_OK;
}

static sonde_status read_chat(reader *r, const char *key, const json_t *value)
{
    if (!json_is_object(value)) return wrong_type(r, key, "an object of template arguments", value);
    r->draft->chat = value;
    return SONDE_OK;
}

typedef struct prompt_key {
    const char *name;
    sonde_status (*read)(reader *r, const char *key, const json_t *value);
} prompt_key;

/* The id first: what is bad about a prompt is then reported under its id. */
static const prompt_key keys[] = {
    {"id", read_id},
    {"text", read_text},
    {"tokens", read_tokens},
    {"messages", read_messages},
    {"continuation", read_continuation},
    {"max_new_tokens", read_max_new},
    {"seed", read_seed},
    {"rows", read_rows},
    {"spans", read_spans},
    {"meta", check_meta},
    {"edits", refuse},
    {"pair", refuse},
    {"tools", read_tools},
    {"chat", read_chat},
};

/* ---- the whole ------------------------------------------------------------------------------- */

static bool is_key(const char *name)
{
    for (size_t i = 0; i < SONDE_COUNT(keys); i++)
        if (strcmp(keys[i].name, name) == 0) return true;
    return false;
}

/* Only keys so long that a near one is hardly meant as metadata. */
static void note_odd_key(sonde_prompt_draft *draft, const char *name)
{
    static const char *const long_keys[] = {"continuation", "max_new_tokens"};
    for (size_t i = 0; i < SONDE_COUNT(long_keys); i++) {
        if (sonde_edit_distance(name, long_keys[i], 3) > 3) continue;
        draft->odd_key = name;
        draft->meant = long_keys[i];
    }
}

/* Metadata: every key that is not ours, and what is in `meta`. */
static sonde_status collect_meta(reader *r)
{
    const char *name;
    json_t *value, *root = r->draft->root, *meta = json_object_get(root, "meta");
    json_object_foreach(root, name, value)
    {
        if (is_key(name)) continue;
        note_odd_key(r->draft, name);
        if (json_object_set(r->prompt->meta, name, value) != 0)
            return sonde_no_memory(r->err, "metadata of a prompt", 64);
    }
    if (!meta || json_is_null(meta)) return SONDE_OK;
    json_object_foreach(meta, name, value)
    {
        if (json_object_get(r->prompt->meta, name))
            return sonde_fail(r->err, SONDE_BAD_PROMPT,
                              "metadata '%s' is given twice, as a key of its "
                              "own and in 'meta'",
                              name);
        if (json_object_set(r->prompt->meta, name, value) != 0)
            return sonde_no_memory(r->err, "metadata of a prompt", 64);
    }
    return SONDE_OK;
}

static sonde_status no_text(reader *r)
{
    static const char *const names[] = {"text", "tokens", "messages", NULL};
    const char *name, *near = NULL, *typed = NULL;
    json_t *value;
    json_object_foreach(r->draft->root, name, value)
    {
        const char *found = is_key(name) ? NULL : sonde_near_name(name, names);
        if (!found || near) continue;
        near = found;
        typed = name;
    }
    if (near)
        return sonde_fail(r->err, SONDE_BAD_PROMPT,
                          "expected 'text', 'tokens' or 'messages'; '%s' is not known: "
                          "did you mean '%s'?",
                          typed, near);
    return sonde_fail(r->err, SONDE_BAD_PROMPT, "expected 'text', 'tokens' or 'messages', got none");
}

static sonde_status check_together(reader *r)
{
    const sonde_prompt_draft *d = r->draft;
    if (!d->text && !d->tokens && !d->messages) return no_text(r);
    if ((d->text != NULL) + (d->tokens != NULL) + (d->messages != NULL) > 1)
        return sonde_fail(r->err, SONDE_BAD_PROMPT, "expected one of 'text', 'tokens' and 'messages', "
                          "got %s", !d->messages ? "both 'text' and 'tokens'"
                          : !d->tokens ? "both 'text' and 'messages'" : "'messages' and 'tokens'");
    if (!d->tokens && d->continuation_tokens)
        return sonde_fail(r->err, SONDE_BAD_PROMPT,
                          "'continuation' of a 'text': expected a text, got "
                          "an array");
    if (d->tokens && (d->tools || d->chat))
        return sonde_fail(r->err, SONDE_BAD_PROMPT, "'%s' belongs to a conversation, not to 'tokens'",
                          d->tools ? "tools" : "chat");
    if (d->tokens && d->continuation)
        return sonde_fail(r->err, SONDE_BAD_PROMPT,
                          "'continuation' of 'tokens': expected an array of "
                          "token ids, got a text");
    return SONDE_OK;
}

static sonde_status parse(const sonde_source_line *line, json_t **root, sonde_error *err)
{
    json_error_t error;
    *root = json_loadb(line->text, line->bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!*root)
        return sonde_fail(err, SONDE_BAD_PROMPT, "not valid JSON at column %d: %s", error.column,
                          error.text);
    if (json_is_object(*root)) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_PROMPT, "expected a JSON object, got %s", kind_of(*root));
}

sonde_status sonde_prompt_read_json(const sonde_source_line *line, sonde_prompt_draft *draft,
                                    sonde_prompt *prompt, sonde_error *err)
{
    reader r = {.draft = draft, .prompt = prompt, .err = err};
    SONDE_TRY(parse(line, &draft->root, err));
    for (size_t i = 0; i < SONDE_COUNT(keys); i++) {
        const json_t *value = json_object_get(draft->root, keys[i].name);
        if (value && !json_is_null(value)) SONDE_TRY(keys[i].read(&r, keys[i].name, value));
    }
    SONDE_TRY(check_together(&r));
    return collect_meta(&r);
}
