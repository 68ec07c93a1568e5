/* gguf_internal.h - the parsed GGUF file and the reader that fills it; for gguf*.c only. */
#ifndef SONDE_WEIGHTS_GGUF_INTERNAL_H
#define SONDE_WEIGHTS_GGUF_INTERNAL_H

#include "container.h"

struct sonde_gguf {
    sonde_tensor *tensors; /* sorted by name once parsed */
    int64_t count;
    char *names;        /* all tensor names, each with its NUL */
    gguf_value *values; /* sorted by key */
    int64_t n_values;
    char *file;
};

typedef struct gguf_reader {
    sonde_gguf *gguf;
    const uint8_t *image;
    size_t bytes, at; /* at <= bytes always */
    const char *file;
    sonde_error *err;
} gguf_reader;

/* `size` bytes, little endian, any alignment. */
uint64_t gguf_load(const uint8_t *bytes, size_t size);
/* Bytes of one value; 0 for strings and arrays. */
size_t gguf_kind_bytes(gguf_kind kind);
/* Sorts by key; returns a key that stands twice, or NULL. */
const gguf_value *gguf_sort_values(sonde_gguf *gguf);

#endif
