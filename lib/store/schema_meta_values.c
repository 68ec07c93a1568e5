/* schema_meta_values.c - values of a key of metadata as tagged bytes, in blocks of the scratch. */
#include "schema_meta.h"

#include <string.h>

#define VALUE_HEAD 5u /* sequence and kind */

/* ---- adding ---------------------------------------------------------------------------------- */

static sonde_status put_block_away(sonde_store *store, meta_column *column, sonde_error *err)
{
    uint64_t at;
    SONDE_TRY(sonde_store_scratch_write(store, column->block, column->used, &at, err));
    if (!sonde_grow(&column->blocks, &column->blocks_capacity, column->n_blocks + 1,
                    sizeof *column->blocks))
        return sonde_no_memory(err, "metadata of prompts", column->n_blocks * sizeof at);
    column->blocks[column->n_blocks++] = at;
    column->used = 0;
    return SONDE_OK;
}

static sonde_status append_bytes(sonde_store *store, meta_column *column, const void *bytes,
                                 size_t n, sonde_error *err)
{
    const char *from = bytes;
    while (n > 0) {
        size_t part = SONDE_MIN(n, META_BLOCK_BYTES - column->used);
        if (!sonde_grow(&column->block, &column->block_capacity, column->used + part, 1))
            return sonde_no_memory(err, "metadata of prompts", META_BLOCK_BYTES);
        memcpy(column->block + column->used, from, part);
        column->used += part;
        from += part;
        n -= part;
        if (column->used == META_BLOCK_BYTES) SONDE_TRY(put_block_away(store, column, err));
    }
    return SONDE_OK;
}

sonde_status sonde_schema_meta_append(sonde_store *store, meta_column *column,
                                      const meta_value *value, sonde_error *err)
{
    char head[VALUE_HEAD + 8];
    bool text = value->kind == META_TEXT || value->kind == META_JSON;
    uint32_t length = (uint32_t)SONDE_MIN(value->bytes, (size_t)UINT32_MAX);
    memcpy(head, &value->sequence, 4);
    head[4] = (char)value->kind;
    if (text) memcpy(head + VALUE_HEAD, &length, 4);
    else if (value->kind == META_REAL) memcpy(head + VALUE_HEAD, &value->real, 8);
    else memcpy(head + VALUE_HEAD, &value->integer, 8);
    SONDE_TRY(append_bytes(store, column, head, VALUE_HEAD + (text ? 4 : 8), err));
    return text ? append_bytes(store, column, value->text, length, err) : SONDE_OK;
}

void sonde_schema_meta_column_reset(meta_column *column)
{
    sonde_free(column->key);
    sonde_free(column->block);
    sonde_free(column->blocks);
    *column = (meta_column){0};
}

/* ---- reading back ---------------------------------------------------------------------------- */

void sonde_schema_meta_start(meta_cursor *cursor, sonde_store *store, const meta_column *column,
                             int64_t end, sonde_error *err)
{
    *cursor = (meta_cursor){.store = store, .column = column, .end = end, .err = err};
}

void sonde_schema_meta_stop(meta_cursor *cursor)
{
    sonde_free(cursor->window);
    cursor->window = NULL;
}

/* Adds the next block to the window. */
static sonde_status read_block(meta_cursor *c)
{
    const meta_column *column = c->column;
    bool last = c->block == column->n_blocks;
    size_t n = last ? column->used : META_BLOCK_BYTES;
    if (c->at > 0) memmove(c->window, c->window + c->at, c->filled - c->at);
    c->filled -= c->at;
    c->at = 0;
    if (!sonde_grow(&c->window, &c->capacity, c->filled + n + 1, 1))
        return sonde_no_memory(c->err, "metadata of prompts", c->filled + n);
    if (last && n > 0) memcpy(c->window + c->filled, column->block, n);
    if (!last)
        SONDE_TRY(sonde_store_scratch_read(c->store, column->blocks[c->block],
                                           c->window + c->filled, n, c->err));
    c->filled += n;
    c->block++;
    return SONDE_OK;
}

/* The next n bytes, not taken; NULL: there are fewer, or they cannot be read. */
static const char *look(meta_cursor *c, size_t n)
{
    while (c->filled - c->at < n && c->block <= c->column->n_blocks && c->status == SONDE_OK)
        c->status = read_block(c);
    return c->status == SONDE_OK && c->filled - c->at >= n ? c->window + c->at : NULL;
}

bool sonde_schema_meta_next(meta_cursor *c)
{
    const char *p = look(c, VALUE_HEAD + 4);
    size_t bytes = VALUE_HEAD + 8;
    uint32_t length = 0;
    if (!p) return false;
    c->value = (meta_value){.kind = (meta_kind)(uint8_t)p[4]};
    memcpy(&c->value.sequence, p, 4);
    if ((int64_t)c->value.sequence >= c->end) return false;
    bool text = c->value.kind == META_TEXT || c->value.kind == META_JSON;
    if (text) {
        memcpy(&length, p + VALUE_HEAD, 4);
        bytes = VALUE_HEAD + 4 + (size_t)length;
    }
    p = look(c, bytes);
    if (!p) return false;
    if (text) c->value.text = p + VALUE_HEAD + 4;
    else if (c->value.kind == META_REAL) memcpy(&c->value.real, p + VALUE_HEAD, 8);
    else memcpy(&c->value.integer, p + VALUE_HEAD, 8);
    c->value.bytes = length;
    c->at += bytes;
    return true;
}
