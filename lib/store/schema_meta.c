/*
 * schema_meta.c - metadata of prompts: kept in memory as tagged bytes, written as typed columns at
 * the seal (schema_meta_write.c), when every value of a key is known. FORMAT.md, "Metadata".
 */
#include "schema_meta.h"

#include <stdlib.h>
#include <string.h>

schema_meta *sonde_schema_meta_create(void)
{
    return sonde_alloc(1, sizeof(schema_meta));
}

void sonde_schema_meta_destroy(schema_meta *meta)
{
    if (!meta) return;
    for (size_t i = 0; i < meta->n; i++) {
        sonde_free(meta->columns[i].key);
        sonde_string_reset(&meta->columns[i].values);
    }
    sonde_string_reset(&meta->more.values);
    sonde_free(meta->columns);
    sonde_free(meta);
}

uint64_t sonde_schema_meta_bytes(const schema_meta *meta)
{
    return meta->file_bytes;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static meta_kind kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_INTEGER: return META_INT;
    case JSON_REAL: return META_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return META_BOOL;
    case JSON_STRING:
        return memchr(json_string_value(value), '\0', json_string_length(value)) ? META_JSON
                                                                                 : META_TEXT;
    default: return META_JSON;
    }
}

static void append_text(sonde_string *values, const char *text, size_t bytes)
{
    uint32_t length = (uint32_t)SONDE_MIN(bytes, (size_t)UINT32_MAX);
    sonde_string_append(values, (const char *)&length, sizeof length);
    if (length > 0) sonde_string_append(values, text, length);
}

static void append_json(sonde_string *values, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) append_text(values, text, strlen(text));
    else values->failed = true;
    free(text);
}

static bool append_value(sonde_string *values, uint32_t sequence, const json_t *value)
{
    uint8_t kind = (uint8_t)kind_of(value);
    sonde_string_append(values, (const char *)&sequence, sizeof sequence);
    sonde_string_append(values, (const char *)&kind, 1);
    if (kind == META_JSON) {
        append_json(values, value);
    } else if (kind == META_TEXT) {
        append_text(values, json_string_value(value), json_string_length(value));
    } else if (kind == META_REAL) {
        double real = json_real_value(value);
        sonde_string_append(values, (const char *)&real, sizeof real);
    } else {
        int64_t integer = kind == META_BOOL ? json_is_true(value) : json_integer_value(value);
        sonde_string_append(values, (const char *)&integer, sizeof integer);
    }
    return !values->failed;
}

/* The column of a key; one more where there is room, else NULL. */
static meta_column *find_column(schema_meta *meta, const char *key, bool *failed)
{
    uint64_t hash = sonde_hash64(key, strlen(key));
    for (size_t i = 0; i < meta->n; i++)
        if (meta->columns[i].hash == hash && strcmp(meta->columns[i].key, key) == 0)
            return &meta->columns[i];
    if (meta->n >= META_MOST_COLUMNS) return NULL;
    char *copy = sonde_strdup(key);
    if (!copy || !sonde_grow(&meta->columns, &meta->capacity, meta->n + 1, sizeof *meta->columns)) {
        sonde_free(copy);
        *failed = true;
        return NULL;
    }
    meta->columns[meta->n] = (meta_column){.key = copy, .hash = hash};
    return &meta->columns[meta->n++];
}

static bool add_value(schema_meta *meta, meta_column *column, uint32_t sequence,
                      const json_t *value)
{
    size_t before = column->values.length;
    bool good = append_value(&column->values, sequence, value);
    meta->file_bytes += 2 * (column->values.length - before);
    return good;
}

/* jansson's iterators take no pointer to const, though they change nothing. */
static json_t *unlocked(const json_t *object)
{
    json_t *same;
    memcpy(&same, &object, sizeof same);
    return same;
}

sonde_status sonde_schema_meta_add(schema_meta *meta, int64_t sequence, const json_t *object,
                                   sonde_error *err)
{
    const char *key;
    json_t *value, *more = NULL;
    bool good = true, failed = false;
    if (!json_is_object(object)) return SONDE_OK;
    if (sequence > (int64_t)UINT32_MAX)
        return sonde_fail(err, SONDE_TOO_BIG, "metadata of more than 2^32 prompts in one file");
    json_object_foreach(unlocked(object), key, value)
    {
        if (!good || failed) break;
        if (json_is_null(value)) continue;
        meta_column *column = find_column(meta, key, &failed);
        if (column) {
            good = add_value(meta, column, (uint32_t)sequence, value);
        } else if (!failed) {
            if (!more) more = json_object();
            good = more && json_object_set(more, key, value) == 0;
        }
    }
    if (good && !failed && more) good = add_value(meta, &meta->more, (uint32_t)sequence, more);
    json_decref(more);
    return good && !failed ? SONDE_OK
                           : sonde_no_memory(err, "metadata of prompts", meta->file_bytes);
}

/* ---- reading back ---------------------------------------------------------------------------- */

bool sonde_schema_meta_next(const meta_column *column, size_t *at, int64_t end, meta_value *value)
{
    const char *p = column->values.data + *at;
    uint32_t length;
    if (*at >= column->values.length) return false;
    *value = (meta_value){0};
    memcpy(&value->sequence, p, 4);
    value->kind = (meta_kind)(uint8_t)p[4];
    if ((int64_t)value->sequence >= end) return false;
    *at += 5 + 8;
    if (value->kind == META_REAL) {
        memcpy(&value->real, p + 5, 8);
    } else if (value->kind == META_INT || value->kind == META_BOOL) {
        memcpy(&value->integer, p + 5, 8);
    } else {
        memcpy(&length, p + 5, 4);
        value->text = p + 9;
        value->bytes = length;
        *at += length - (size_t)4;
    }
    return true;
}
