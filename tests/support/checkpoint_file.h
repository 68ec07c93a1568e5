/*
 * checkpoint_file.h - small checkpoints written by tests: safetensors and GGUF files tensor by tensor.
 * Errors fail the test. [one thread]
 */
#ifndef SONDE_TEST_CHECKPOINT_FILE_H
#define SONDE_TEST_CHECKPOINT_FILE_H

#include "core/core.h"

/* A safetensors file in the making; zero-initialise it. */
typedef struct safetensors_file {
    sonde_string header, data;
} safetensors_file;
/* `dtype` as safetensors spells it ("F32"). */
void safetensors_add(safetensors_file *f, const char *name, const char *dtype, const int64_t *shape,
                     int32_t n_dims, const void *bytes, size_t n_bytes);
/* Writes it and releases what it holds. */
void safetensors_write(safetensors_file *f, const char *path);

/* A GGUF file (version 3) in the making; zero-initialise it. */
typedef struct gguf_file {
    sonde_string values, infos, data;
    uint64_t n_values, n_tensors;
} gguf_file;
void gguf_add_text(gguf_file *f, const char *key, const char *text);
void gguf_add_u32(gguf_file *f, const char *key, uint32_t value);
void gguf_add_u16(gguf_file *f, const char *key, uint16_t value);
void gguf_add_f32(gguf_file *f, const char *key, float value);
/* `shape` row-major, `type` a ggml number. */
void gguf_add_tensor(gguf_file *f, const char *name, uint32_t type, const int64_t *shape,
                     int32_t n_dims, const void *bytes, size_t n_bytes);
void gguf_write(gguf_file *f, const char *path);

/* A whole file of text. */
void write_file_text(const char *path, const char *text);

#endif
