/*
 * schema_meta.c - metadata of prompts: put away as tagged bytes (schema_meta_values.c), written as
 * typed columns at the seal (schema_meta_write.c), when every value of a key is known. FORMAT.md,
 * "Metadata".
 */
#include "schema_meta.h"

#include <stdlib.h>
#include <string.h>

schema_meta *sonde_schema_meta_create(sonde_store *store)
{
    schema_meta *meta = sonde_alloc(1, sizeof *meta);
    if (meta) meta->store = store;
    return meta;
}

void sonde_schema_meta_destroy(schema_meta *meta)
{
    if (!meta) return;
    for (size_t i = 0; i < meta->n; i++) sonde_schema_meta_column_reset(&meta->columns[i]);
    sonde_schema_meta_column_reset(&meta->more);
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

static sonde_status add_value(schema_meta *meta, meta_column *column, int64_t sequence,
                              const json_t *value, sonde_error *err)
{
    meta_value v = {.sequence = (uint32_t)sequence, .kind = kind_of(value)};
    char *json = v.kind == META_JSON ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (v.kind == META_JSON && !json) return sonde_no_memory(err, "metadata of a prompt", 64);
    v.real = json_real_value(value);
    v.integer = v.kind == META_BOOL ? json_is_true(value) : json_integer_value(value);
    v.text = json ? json : json_string_value(value);
    v.bytes = json ? strlen(json) : json_string_length(value);
    sonde_status status = sonde_schema_meta_append(meta->store, column, &v, err);
    meta->file_bytes += 2 * (13 + v.bytes);
    free(json);
    return status;
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
    bool failed = false;
    sonde_status status = SONDE_OK;
    if (!json_is_object(object)) return SONDE_OK;
    if (sequence > (int64_t)UINT32_MAX)
        return sonde_fail(err, SONDE_TOO_BIG, "metadata of more than 2^32 prompts in one file");
    json_object_foreach(unlocked(object), key, value)
    {
        if (status != SONDE_OK || failed) break;
        if (json_is_null(value)) continue;
        meta_column *column = find_column(meta, key, &failed);
        if (column) {
            status = add_value(meta, column, sequence, value, err);
        } else if (!failed) {
            if (!more) more = json_object();
            failed = !more || json_object_set(more, key, value) != 0;
        }
    }
    if (status == SONDE_OK && !failed && more)
        status = add_value(meta, &meta->more, sequence, more, err);
    json_decref(more);
    return failed ? sonde_no_memory(err, "metadata of prompts", META_BLOCK_BYTES) : status;
}
