/* jinja_methods.c - methods of texts and dictionaries that chat templates call. */
#include "jinja_internal.h"

#include "unicode.h"

/* ---- white space and characters ---------------------------------------------------------------- */

static bool is_stripped(const char *character, size_t n, const jinja_value *chars)
{
    uint32_t code_point;
    if (chars) return chars->count > 0 && memmem(chars->as.text.bytes, chars->count, character, n);
    sonde_utf8_get(character, &code_point);
    return jinja_is_space(code_point);
}

jinja_value *jinja_strip(jinja_arena *arena, const jinja_value *text, const jinja_value *chars,
                         bool left, bool right)
{
    const char *bytes = text->as.text.bytes;
    size_t begin = 0, end = text->count, n;
    for (uint32_t c; left && begin < end; begin += n) {
        n = sonde_utf8_get(bytes + begin, &c);
        if (!is_stripped(bytes + begin, n, chars)) break;
    }
    while (right && end > begin) {
        size_t at = end - 1;
        while (at > begin && (bytes[at] & 0xC0) == 0x80) at--;
        if (!is_stripped(bytes + at, end - at, chars)) break;
        end = at;
    }
    return jinja_slice(arena, text, begin, end);
}

/* Where `part` next stands in text[from, ...), or the text's end. */
static size_t find(const jinja_value *text, size_t from, const jinja_value *part)
{
    if (text->count - from < part->count) return text->count;
    const char *at = memmem(text->as.text.bytes + from, text->count - from, part->as.text.bytes,
                            part->count);
    return at ? (size_t)(at - text->as.text.bytes) : text->count;
}

/* ---- methods of texts --------------------------------------------------------------------------- */

static sonde_status strip(jinja_run *run, jinja_value *text, const jinja_arguments *arguments,
                          bool left, bool right, jinja_value **out)
{
    const jinja_value *chars = jinja_argument(arguments, 0, "chars");
    if (chars && chars->kind != JINJA_STRING) chars = NULL;
    return jinja_give(run, jinja_strip(run->arena, text, chars, left, right), out);
}

static sonde_status method_strip(jinja_run *run, jinja_value *text,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    return strip(run, text, arguments, true, true, out);
}

static sonde_status method_lstrip(jinja_run *run, jinja_value *text,
                                  const jinja_arguments *arguments, jinja_value **out)
{
    return strip(run, text, arguments, true, false, out);
}

static sonde_status method_rstrip(jinja_run *run, jinja_value *text,
                                  const jinja_arguments *arguments, jinja_value **out)
{
    return strip(run, text, arguments, false, true, out);
}

/* The place-th argument, which has to be a text. */
static sonde_status text_argument(jinja_run *run, const jinja_arguments *arguments, size_t place,
                                  const char *name, jinja_value **out)
{
    *out = jinja_argument(arguments, place, name);
    if (*out && (*out)->kind == JINJA_STRING) return SONDE_OK;
    return jinja_fail(run, "expected a text, got %s", *out ? jinja_kind_name(*out) : "nothing");
}

/* Without a separator: at runs of white space, none at the ends. */
static sonde_status split_space(jinja_run *run, jinja_value *text, jinja_value *list)
{
    size_t begin = 0;
    for (size_t at = 0, n; at < text->count; at += n) {
        uint32_t c;
        n = sonde_utf8_get(text->as.text.bytes + at, &c);
        if (!jinja_is_space(c)) continue;
        if (at > begin && !jinja_list_push(run->arena, list, jinja_slice(run->arena, text, begin, at)))
            return jinja_no_memory(run);
        begin = at + n;
    }
    if (begin == text->count) return SONDE_OK;
    return jinja_list_push(run->arena, list, jinja_slice(run->arena, text, begin, text->count))
               ? SONDE_OK
               : jinja_no_memory(run);
}

static sonde_status method_split(jinja_run *run, jinja_value *text,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    jinja_value *by = jinja_argument(arguments, 0, "sep"), *limit = jinja_argument(arguments, 1, "maxsplit");
    int64_t left = limit && limit->kind == JINJA_INT && limit->as.integer >= 0 ? limit->as.integer
                                                                             : INT64_MAX;
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), out));
    if (!by || by->kind == JINJA_NONE) return split_space(run, text, *out);
    if (by->kind != JINJA_STRING || by->count == 0) return jinja_fail(run, "empty separator");
    size_t begin = 0;
    for (bool more = true; more;) {
        size_t at = left-- > 0 ? find(text, begin, by) : text->count;
        more = at < text->count;
        if (!jinja_list_push(run->arena, *out, jinja_slice(run->arena, text, begin, at)))
            return jinja_no_memory(run);
        begin = at + by->count;
    }
    return SONDE_OK;
}

/* startswith, endswith: of a text or of any of a list. */
static sonde_status ends_with(jinja_run *run, jinja_value *text, const jinja_arguments *arguments,
                              bool start, jinja_value **out)
{
    jinja_value *given = jinja_argument(arguments, 0, NULL), *one[1] = {given};
    bool many = given && given->kind == JINJA_LIST, good = false;
    if (!given) return jinja_fail(run, "expected a text, got nothing");
    jinja_value **parts = many ? given->as.list.items : one;
    for (size_t i = 0; i < (many ? given->count : 1); i++) {
        const jinja_value *part = parts[i];
        if (part->kind != JINJA_STRING)
            return jinja_fail(run, "expected a text, got %s", jinja_kind_name(part));
        if (part->count > text->count) continue;
        size_t at = start ? 0 : text->count - part->count;
        good = good || part->count == 0 ||
               memcmp(text->as.text.bytes + at, part->as.text.bytes, part->count) == 0;
    }
    return jinja_give(run, jinja_bool(run->arena, good), out);
}

static sonde_status method_startswith(jinja_run *run, jinja_value *text,
                                      const jinja_arguments *arguments, jinja_value **out)
{
    return ends_with(run, text, arguments, true, out);
}

static sonde_status method_endswith(jinja_run *run, jinja_value *text,
                                    const jinja_arguments *arguments, jinja_value **out)
{
    return ends_with(run, text, arguments, false, out);
}

static sonde_status method_replace(jinja_run *run, jinja_value *text,
                                   const jinja_arguments *arguments, jinja_value **out)
{
    jinja_value *old, *new;
    SONDE_TRY(text_argument(run, arguments, 0, "old", &old));
    SONDE_TRY(text_argument(run, arguments, 1, "new", &new));
    if (old->count == 0) return jinja_fail(run, "an empty text cannot be replaced");
    jinja_buffer buffer = {0};
    size_t begin = 0;
    for (bool more = true; more;) {
        size_t at = find(text, begin, old);
        more = at < text->count;
        jinja_value *part = jinja_slice(run->arena, text, begin, at);
        if (!part) buffer.bytes.failed = true;
        else jinja_buffer_add_text(&buffer, part);
        if (more) jinja_buffer_add_text(&buffer, new);
        begin = at + old->count;
    }
    sonde_status status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}

/* Letters of ASCII; a template asks for no others. */
static sonde_status change_case(jinja_run *run, jinja_value *text, bool first_up, bool rest_up,
                                jinja_value **out)
{
    char *bytes = jinja_arena_alloc(run->arena, text->count + 1);
    if (!bytes) return jinja_no_memory(run);
    for (size_t i = 0; i < text->count; i++) {
        char c = text->as.text.bytes[i];
        bool up = i == 0 ? first_up : rest_up;
        if (up && c >= 'a' && c <= 'z') c = (char)(c - 32);
        else if (!up && c >= 'A' && c <= 'Z') c = (char)(c + 32);
        bytes[i] = c;
    }
    return jinja_give(run, jinja_text(run->arena, bytes, text->count, text->as.text.tags), out);
}

static sonde_status method_upper(jinja_run *run, jinja_value *text,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return change_case(run, text, true, true, out);
}

static sonde_status method_lower(jinja_run *run, jinja_value *text,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return change_case(run, text, false, false, out);
}

static sonde_status method_capitalize(jinja_run *run, jinja_value *text,
                                      const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return change_case(run, text, true, false, out);
}

/* ---- methods of dictionaries --------------------------------------------------------------------- */

/* keys, values, or pairs of both. */
static sonde_status list_of(jinja_run *run, jinja_value *dict, bool keys, bool values,
                            jinja_value **out)
{
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), out));
    for (size_t i = 0; i < dict->count; i++) {
        jinja_value *key = dict->as.list.items[2 * i], *value = dict->as.list.items[2 * i + 1];
        jinja_value *item = keys ? key : value;
        if (keys && values) {
            item = jinja_new(run->arena, JINJA_LIST);
            if (!item || !jinja_list_push(run->arena, item, key) ||
                !jinja_list_push(run->arena, item, value))
                return jinja_no_memory(run);
        }
        if (!jinja_list_push(run->arena, *out, item)) return jinja_no_memory(run);
    }
    return SONDE_OK;
}

static sonde_status method_items(jinja_run *run, jinja_value *dict,
                                 const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return list_of(run, dict, true, true, out);
}

static sonde_status method_keys(jinja_run *run, jinja_value *dict, const jinja_arguments *arguments,
                                jinja_value **out)
{
    (void)arguments;
    return list_of(run, dict, true, false, out);
}

static sonde_status method_values(jinja_run *run, jinja_value *dict,
                                  const jinja_arguments *arguments, jinja_value **out)
{
    (void)arguments;
    return list_of(run, dict, false, true, out);
}

static sonde_status method_get(jinja_run *run, jinja_value *dict, const jinja_arguments *arguments,
                               jinja_value **out)
{
    jinja_value *key, *other = jinja_argument(arguments, 1, "default");
    SONDE_TRY(text_argument(run, arguments, 0, "key", &key));
    *out = jinja_dict_get(dict, key->as.text.bytes, key->count);
    if (!*out) *out = other;
    return *out ? SONDE_OK : jinja_give(run, jinja_new(run->arena, JINJA_NONE), out);
}

typedef sonde_status method_function(jinja_run *run, jinja_value *value,
                                     const jinja_arguments *arguments, jinja_value **out);
static const struct {
    const char *name;
    jinja_kind of;
    method_function *call;
} methods[] = {
    {"strip", JINJA_STRING, method_strip},
    {"lstrip", JINJA_STRING, method_lstrip},
    {"rstrip", JINJA_STRING, method_rstrip},
    {"split", JINJA_STRING, method_split},
    {"startswith", JINJA_STRING, method_startswith},
    {"endswith", JINJA_STRING, method_endswith},
    {"replace", JINJA_STRING, method_replace},
    {"upper", JINJA_STRING, method_upper},
    {"lower", JINJA_STRING, method_lower},
    {"capitalize", JINJA_STRING, method_capitalize},
    {"items", JINJA_DICT, method_items},
    {"keys", JINJA_DICT, method_keys},
    {"values", JINJA_DICT, method_values},
    {"get", JINJA_DICT, method_get},
};

sonde_status jinja_method(jinja_run *run, jinja_value *value, const jinja_value *name,
                          const jinja_arguments *arguments, bool *known, jinja_value **out)
{
    for (size_t i = 0; i < SONDE_COUNT(methods); i++) {
        if (methods[i].of != value->kind || !jinja_is_text(name, methods[i].name)) continue;
        *known = true;
        return methods[i].call(run, value, arguments, out);
    }
    *known = false;
    return SONDE_OK;
}
