#include "support/checkpoint_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put(sonde_string *s, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char byte = (char)(unsigned char)(value >> (8 * i));
        sonde_string_append(s, &byte, 1);
    }
}

/* The parts one after the other; releases them. */
static void write_parts(const char *path, sonde_string *const *parts, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < n; i++) {
        assert_false(parts[i]->failed);
        assert_int_equal(fwrite(parts[i]->data, 1, parts[i]->length, file), parts[i]->length);
        sonde_string_reset(parts[i]);
    }
    assert_int_equal(fclose(file), 0);
}

void write_file_text(const char *path, const char *text)
{
    sonde_string whole = {0}, *const parts[] = {&whole};
    sonde_string_text(&whole, text);
    write_parts(path, parts, 1);
}

/* ---- safetensors ------------------------------------------------------------------------------------- */

void safetensors_add(safetensors_file *f, const char *name, const char *dtype, const int64_t *shape,
                     int32_t n_dims, const void *bytes, size_t n_bytes)
{
    sonde_string_format(&f->header, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", f->header.length ? ',' : '{',
                        name, dtype);
    for (int32_t i = 0; i < n_dims; i++)
        sonde_string_format(&f->header, "%s%lld", i ? "," : "", (long long)shape[i]);
    sonde_string_format(&f->header, "],\"data_offsets\":[%zu,%zu]}", f->data.length,
                        f->data.length + n_bytes);
    sonde_string_append(&f->data, bytes, n_bytes);
}

void safetensors_write(safetensors_file *f, const char *path)
{
    sonde_string length = {0}, *const parts[] = {&length, &f->header, &f->data};
    sonde_string_text(&f->header, "}");
    put(&length, f->header.length, 8);
    write_parts(path, parts, SONDE_COUNT(parts));
}

/* ---- GGUF ---------------------------------------------------------------------------------------------- */

#define ALIGNMENT 32

static void put_text(sonde_string *s, const char *text)
{
    put(s, strlen(text), 8);
    sonde_string_text(s, text);
}

static void put_key(gguf_file *f, const char *key, uint32_t kind)
{
    put_text(&f->values, key);
    put(&f->values, kind, 4);
    f->n_values++;
}

void gguf_add_text(gguf_file *f, const char *key, const char *text)
{
    put_key(f, key, 8);
    put_text(&f->values, text);
}

void gguf_add_u32(gguf_file *f, const char *key, uint32_t value)
{
    put_key(f, key, 4);
    put(&f->values, value, 4);
}

void gguf_add_u16(gguf_file *f, const char *key, uint16_t value)
{
    put_key(f, key, 2);
    put(&f->values, value, 2);
}

void gguf_add_f32(gguf_file *f, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(f, key, 6);
    put(&f->values, bits, 4);
}

static void align(sonde_string *s, size_t at)
{
    for (; at % ALIGNMENT != 0; at++) sonde_string_append(s, "", 1);
}

void gguf_add_tensor(gguf_file *f, const char *name, uint32_t type, const int64_t *shape,
                     int32_t n_dims, const void *bytes, size_t n_bytes)
{
    align(&f->data, f->data.length);
    put_text(&f->infos, name);
    put(&f->infos, (uint64_t)n_dims, 4);
    for (int32_t i = n_dims; i-- > 0;) put(&f->infos, (uint64_t)shape[i], 8);
    put(&f->infos, type, 4);
    put(&f->infos, f->data.length, 8);
    sonde_string_append(&f->data, bytes, n_bytes);
    f->n_tensors++;
}

void gguf_write(gguf_file *f, const char *path)
{
    sonde_string head = {0}, *const parts[] = {&head, &f->values, &f->infos, &f->data};
    sonde_string_text(&head, "GGUF");
    put(&head, 3, 4);
    put(&head, f->n_tensors, 8);
    put(&head, f->n_values, 8);
    align(&f->infos, head.length + f->values.length + f->infos.length);
    write_parts(path, parts, SONDE_COUNT(parts));
    *f = (gguf_file){0};
}
