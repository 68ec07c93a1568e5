/* jinja_value.c - values of templates, their memory, and buffers of tagged bytes. */
#include "jinja_internal.h"

#include "unicode.h"

/* ---- memory ----------------------------------------------------------------------------------- */

#define BLOCK_BYTES ((size_t)64 << 10)

typedef struct block {
    struct block *next;
    size_t used, bytes;
} block;

struct jinja_arena {
    block *blocks;
    size_t bytes; /* of the blocks */
    bool full;
    jinja_value truths[2]; /* false, true: every BOOL that is made */
};

jinja_arena *jinja_arena_create(void)
{
    jinja_arena *arena = sonde_alloc(1, sizeof *arena);
    for (int i = 0; arena && i < 2; i++)
        arena->truths[i] = (jinja_value){.kind = JINJA_BOOL, .as.integer = i};
    return arena;
}

void jinja_arena_destroy(jinja_arena **arena)
{
    if (!*arena) return;
    for (block *b = (*arena)->blocks, *next; b; b = next) {
        next = b->next;
        sonde_free(b);
    }
    sonde_free(*arena);
    *arena = NULL;
}

void *jinja_arena_alloc(jinja_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 4) return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    block *b = arena->blocks;
    if (!b || b->bytes - b->used < bytes) {
        size_t head = (sizeof *b + 15) & ~(size_t)15, size = SONDE_MAX(BLOCK_BYTES, head + bytes);
        arena->full = arena->full || size > JINJA_MOST_BYTES - arena->bytes;
        b = arena->full ? NULL : sonde_alloc(1, size);
        if (!b) return NULL;
        arena->bytes += size;
        *b = (block){.next = arena->blocks, .used = head, .bytes = size};
        arena->blocks = b;
    }
    void *memory = (char *)b + b->used;
    b->used += bytes;
    return memory;
}

bool jinja_arena_is_full(const jinja_arena *arena)
{
    return arena->full;
}

/* ---- makers ----------------------------------------------------------------------------------- */

jinja_value *jinja_new(jinja_arena *arena, jinja_kind kind)
{
    jinja_value *value = jinja_arena_alloc(arena, sizeof *value);
    if (value) value->kind = kind;
    return value;
}

jinja_value *jinja_int(jinja_arena *arena, int64_t value)
{
    jinja_value *v = jinja_new(arena, JINJA_INT);
    if (v) v->as.integer = value;
    return v;
}

jinja_value *jinja_bool(jinja_arena *arena, bool value)
{
    return &arena->truths[value];
}

jinja_value *jinja_text(jinja_arena *arena, const char *bytes, size_t n, const uint8_t *tags)
{
    jinja_value *v = jinja_new(arena, JINJA_STRING);
    if (!v) return NULL;
    v->count = n;
    v->as.text.bytes = bytes;
    v->as.text.tags = tags;
    return v;
}

jinja_value *jinja_tagged(jinja_arena *arena, const char *bytes, size_t n, uint8_t tag)
{
    char *copy = jinja_arena_alloc(arena, n + 1);
    uint8_t *tags = tag ? jinja_arena_alloc(arena, n + 1) : NULL;
    if (!copy || (tag && !tags)) return NULL;
    memcpy(copy, bytes, n);
    if (tags) memset(tags, tag, n);
    return jinja_text(arena, copy, n, tags);
}

jinja_value *jinja_slice(jinja_arena *arena, const jinja_value *text, size_t begin, size_t end)
{
    const uint8_t *tags = text->as.text.tags;
    return jinja_text(arena, text->as.text.bytes + begin, end - begin, tags ? tags + begin : NULL);
}

/* Room for one more element of `parts` pointers. */
static bool reserve(jinja_arena *arena, jinja_value *v, size_t parts)
{
    if (v->count < v->as.list.capacity) return true;
    size_t capacity = v->as.list.capacity ? 2 * v->as.list.capacity : 4;
    jinja_value **items = jinja_arena_alloc(arena, capacity * parts * sizeof *items);
    if (!items) return false;
    if (v->count) memcpy(items, v->as.list.items, v->count * parts * sizeof *items);
    v->as.list.items = items;
    v->as.list.capacity = capacity;
    return true;
}

bool jinja_list_push(jinja_arena *arena, jinja_value *list, jinja_value *item)
{
    if (!item || !reserve(arena, list, 1)) return false;
    list->as.list.items[list->count++] = item;
    return true;
}

bool jinja_dict_add(jinja_arena *arena, jinja_value *dict, jinja_value *key, jinja_value *value)
{
    if (!key || !value || !reserve(arena, dict, 2)) return false;
    dict->as.list.items[2 * dict->count] = key;
    dict->as.list.items[2 * dict->count++ + 1] = value;
    return true;
}

bool jinja_dict_set(jinja_arena *arena, jinja_value *dict, jinja_value *key, jinja_value *value)
{
    if (!key || !value) return false;
    for (size_t i = 0; i < dict->count; i++) {
        if (!jinja_equal(dict->as.list.items[2 * i], key)) continue;
        dict->as.list.items[2 * i + 1] = value;
        return true;
    }
    return jinja_dict_add(arena, dict, key, value);
}

bool jinja_dict_put(jinja_arena *arena, jinja_value *dict, const char *key, jinja_value *value)
{
    return jinja_dict_set(arena, dict, jinja_text(arena, key, strlen(key), NULL), value);
}

jinja_value *jinja_dict_get(const jinja_value *dict, const char *key, size_t n)
{
    for (size_t i = 0; i < dict->count; i++) {
        const jinja_value *k = dict->as.list.items[2 * i];
        if (k->kind == JINJA_STRING && k->count == n && memcmp(k->as.text.bytes, key, n) == 0)
            return dict->as.list.items[2 * i + 1];
    }
    return NULL;
}

/* ---- from JSON -------------------------------------------------------------------------------- */

static jinja_value *list_of_json(jinja_arena *arena, const json_t *json, uint8_t tag)
{
    jinja_value *list = jinja_new(arena, JINJA_LIST);
    for (size_t i = 0; list && i < json_array_size(json); i++)
        if (!jinja_list_push(arena, list, jinja_from_json(arena, json_array_get(json, i), tag)))
            return NULL;
    return list;
}

/* Keys of a JSON object are different already: they are put down without looking for each other. */
static jinja_value *dict_of_json(jinja_arena *arena, const json_t *json, uint8_t tag)
{
    jinja_value *dict = jinja_new(arena, JINJA_DICT);
    json_t *object = (json_t *)(uintptr_t)json;
    for (void *at = json_object_iter(object); dict && at; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        jinja_value *k = jinja_tagged(arena, key, strlen(key), tag);
        jinja_value *v = jinja_from_json(arena, json_object_iter_value(at), tag);
        if (!jinja_dict_add(arena, dict, k, v)) return NULL;
    }
    return dict;
}

jinja_value *jinja_from_json(jinja_arena *arena, const json_t *json, uint8_t tag)
{
    jinja_value *v;
    switch (json_typeof(json)) {
    case JSON_OBJECT: return dict_of_json(arena, json, tag);
    case JSON_ARRAY: return list_of_json(arena, json, tag);
    case JSON_STRING:
        return jinja_tagged(arena, json_string_value(json), json_string_length(json), tag);
    case JSON_INTEGER: return jinja_int(arena, json_integer_value(json));
    case JSON_REAL:
        v = jinja_new(arena, JINJA_FLOAT);
        if (v) v->as.real = json_real_value(json);
        return v;
    case JSON_NULL: return jinja_new(arena, JINJA_NONE);
    default: return jinja_bool(arena, json_is_true(json));
    }
}

/* ---- questions -------------------------------------------------------------------------------- */

bool jinja_truth(const jinja_value *v)
{
    switch (v->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE: return false;
    case JINJA_BOOL:
    case JINJA_INT: return v->as.integer != 0;
    case JINJA_FLOAT: return v->as.real != 0;
    case JINJA_STRING:
    case JINJA_LIST: return v->count > 0;
    case JINJA_DICT: return v->count > 0 || v->is_namespace;
    default: return true;
    }
}

bool jinja_is_number(const jinja_value *v)
{
    return v->kind == JINJA_INT || v->kind == JINJA_BOOL || v->kind == JINJA_FLOAT;
}

double jinja_number_of(const jinja_value *v)
{
    return v->kind == JINJA_FLOAT ? v->as.real : (double)v->as.integer;
}

static bool dicts_equal(const jinja_value *a, const jinja_value *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const jinja_value *key = a->as.list.items[2 * i], *found = NULL;
        for (size_t j = 0; j < b->count && !found; j++)
            if (jinja_equal(key, b->as.list.items[2 * j])) found = b->as.list.items[2 * j + 1];
        if (!found || !jinja_equal(a->as.list.items[2 * i + 1], found)) return false;
    }
    return true;
}

bool jinja_equal(const jinja_value *a, const jinja_value *b)
{
    if (jinja_is_number(a) && jinja_is_number(b)) {
        if (a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT)
            return a->as.integer == b->as.integer;
        return jinja_number_of(a) == jinja_number_of(b);
    }
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case JINJA_STRING:
        return a->count == b->count && memcmp(a->as.text.bytes, b->as.text.bytes, a->count) == 0;
    case JINJA_LIST:
        if (a->count != b->count) return false;
        for (size_t i = 0; i < a->count; i++)
            if (!jinja_equal(a->as.list.items[i], b->as.list.items[i])) return false;
        return true;
    case JINJA_DICT: return a == b || (!a->is_namespace && dicts_equal(a, b));
    case JINJA_UNDEFINED:
    case JINJA_NONE: return true;
    default: return a == b;
    }
}

bool jinja_is_text(const jinja_value *v, const char *text)
{
    return v->kind == JINJA_STRING && v->count == strlen(text) &&
           memcmp(v->as.text.bytes, text, v->count) == 0;
}

const char *jinja_kind_name(const jinja_value *v)
{
    static const char *const names[] = {"undefined", "None",     "bool",  "int",      "float",
                                        "str",       "list",     "dict",  "function", "function"};
    return names[v->kind];
}

bool jinja_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* ---- buffers ---------------------------------------------------------------------------------- */

void jinja_buffer_reset(jinja_buffer *buffer)
{
    sonde_string_reset(&buffer->bytes);
    sonde_string_reset(&buffer->tags);
    buffer->full = false;
}

static bool has_room(jinja_buffer *buffer, size_t n)
{
    if (n > JINJA_MOST_BYTES / 2 - buffer->bytes.length) buffer->full = buffer->bytes.failed = true;
    return !buffer->full;
}

void jinja_buffer_add(jinja_buffer *buffer, const char *bytes, size_t n, uint8_t tag)
{
    if (!has_room(buffer, n)) return;
    sonde_string_append(&buffer->bytes, bytes, n);
    char run[256];
    memset(run, tag, SONDE_MIN(n, sizeof run));
    for (size_t done = 0; done < n; done += sizeof run)
        sonde_string_append(&buffer->tags, run, SONDE_MIN(sizeof run, n - done));
}

void jinja_buffer_add_text(jinja_buffer *buffer, const jinja_value *text)
{
    if (!text->as.text.tags) {
        jinja_buffer_add(buffer, text->as.text.bytes, text->count, 0);
        return;
    }
    if (!has_room(buffer, text->count)) return;
    sonde_string_append(&buffer->bytes, text->as.text.bytes, text->count);
    sonde_string_append(&buffer->tags, (const char *)text->as.text.tags, text->count);
}

jinja_value *jinja_buffer_take(jinja_arena *arena, jinja_buffer *buffer)
{
    size_t n = buffer->bytes.length;
    arena->full = arena->full || buffer->full;
    if (buffer->bytes.failed || buffer->tags.failed) return NULL;
    char *bytes = jinja_arena_alloc(arena, n + 1);
    uint8_t *tags = jinja_arena_alloc(arena, n + 1);
    if (!bytes || !tags) return NULL;
    if (n > 0) {
        memcpy(bytes, buffer->bytes.data, n);
        memcpy(tags, buffer->tags.data, n);
    }
    return jinja_text(arena, bytes, n, tags);
}
