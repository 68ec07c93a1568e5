/* gguf_values.c - look-up and conversion of GGUF metadata values. */
#include "gguf_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} kinds[GGUF_KIND_COUNT] = {
    [GGUF_U8] = {"u8", 1},          [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},        [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},        [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"a text", 0},
    [GGUF_ARRAY] = {"an array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

uint64_t gguf_load(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

size_t gguf_kind_bytes(gguf_kind kind)
{
    return kinds[kind].bytes;
}

const char *gguf_kind_name(gguf_kind kind)
{
    return kinds[kind].name;
}

static int by_key(const void *a, const void *b)
{
    const gguf_value *x = a, *y = b;
    size_t shorter = SONDE_MIN(x->key_bytes, y->key_bytes);
    int order = memcmp(x->key, y->key, shorter);
    if (order != 0) return order;
    return x->key_bytes < y->key_bytes ? -1 : x->key_bytes > y->key_bytes;
}

const gguf_value *gguf_sort_values(sonde_gguf *gguf)
{
    if (gguf->n_values < 2) return NULL;
    qsort(gguf->values, (size_t)gguf->n_values, sizeof *gguf->values, by_key);
    for (int64_t i = 1; i < gguf->n_values; i++)
        if (by_key(&gguf->values[i - 1], &gguf->values[i]) == 0) return &gguf->values[i];
    return NULL;
}

const gguf_value *gguf_find(const sonde_gguf *gguf, const char *key)
{
    gguf_value wanted = {.key = key, .key_bytes = strlen(key)};
    if (gguf->n_values == 0) return NULL;
    return bsearch(&wanted, gguf->values, (size_t)gguf->n_values, sizeof wanted, by_key);
}

const char *gguf_file(const sonde_gguf *gguf)
{
    return gguf->file;
}

int64_t gguf_value_count(const sonde_gguf *gguf)
{
    return gguf->n_values;
}

const gguf_value *gguf_value_at(const sonde_gguf *gguf, int64_t index)
{
    return &gguf->values[index];
}

/* The element's kind and first byte; false past the end. */
static bool locate(const gguf_value *value, uint64_t index, gguf_kind *kind, const uint8_t **data)
{
    *kind = value->kind == GGUF_ARRAY ? value->element : value->kind;
    if (*kind == GGUF_STRING || *kind == GGUF_ARRAY || index >= value->count) return false;
    *data = value->data + index * kinds[*kind].bytes;
    return true;
}

bool gguf_integer(const gguf_value *value, uint64_t index, int64_t *out)
{
    gguf_kind kind;
    const uint8_t *data;
    if (!locate(value, index, &kind, &data)) return false;
    uint64_t bits = gguf_load(data, kinds[kind].bytes);
    switch (kind) {
    case GGUF_F32:
    case GGUF_F64: return false;
    case GGUF_I8: *out = (int8_t)bits; return true;
    case GGUF_I16: *out = (int16_t)bits; return true;
    case GGUF_I32: *out = (int32_t)bits; return true;
    case GGUF_I64: *out = (int64_t)bits; return true;
    default: *out = (int64_t)bits; return bits <= INT64_MAX;
    }
}

bool gguf_number(const gguf_value *value, uint64_t index, double *out)
{
    gguf_kind kind;
    const uint8_t *data;
    int64_t integer;
    if (!locate(value, index, &kind, &data)) return false;
    if (kind == GGUF_F32) {
        float x;
        memcpy(&x, data, sizeof x);
        *out = (double)x;
    } else if (kind == GGUF_F64) {
        memcpy(out, data, sizeof *out);
    } else {
        if (!gguf_integer(value, index, &integer)) return false;
        *out = (double)integer;
    }
    return true;
}

void gguf_next_string(const gguf_value *value, const uint8_t **at, const char **bytes, size_t *n)
{
    const uint8_t *here = *at ? *at : value->data;
    *n = (size_t)gguf_load(here, 8);
    *bytes = (const char *)(here + 8);
    *at = here + 8 + *n;
}
