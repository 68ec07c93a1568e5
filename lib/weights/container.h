/*
 * container.h - what the two container parsers share, and how the rest of lib/weights reads the
 * metadata of a GGUF file. Private to this folder.
 */
#ifndef SONDE_WEIGHTS_CONTAINER_H
#define SONDE_WEIGHTS_CONTAINER_H

#include "core/json.h"
#include "weights.h"

/* --- names and tensors ------------------------------------------------------------------------ */

/* True for a name that may be used as it is: not empty, UTF-8, no control characters. */
bool sonde_name_is_clean(const char *bytes, size_t n);

void sonde_tensors_sort_by_name(sonde_tensor *tensors, int64_t count);
void sonde_tensors_sort_by_data(sonde_tensor *tensors, int64_t count);
/* In an array sorted by name; NULL when absent. */
const sonde_tensor *sonde_tensors_find(const sonde_tensor *tensors, int64_t count,
                                       const char *name);

/* --- tensors in two parts --- */

/* Tensors as the model sees them: scaled ones joined with their scales (scaled.c). */
typedef struct sonde_joined {
    sonde_tensor *tensors; /* sorted by name; `scales` point into the stored ones */
    int64_t count;
    char **names; /* made for joined tensors */
    int64_t n_names;
} sonde_joined;
/* `stored` is sorted by name and borrowed. BAD_MODEL for a way of quantising that is not known, and
 * for parts that are missing or do not fit. `out` is given to the caller, also on failure. */
sonde_status sonde_tensors_join(const sonde_config *config, const sonde_tensor *stored, int64_t count,
                                sonde_joined *out, sonde_error *err);
void sonde_joined_reset(sonde_joined *joined);

/* --- GGUF metadata -----------------------------------------------------------------------------
 */

typedef enum gguf_kind {
    GGUF_U8 = 0,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_KIND_COUNT
} gguf_kind;

/* A value as it lies in the file; checked when the container was parsed. */
typedef struct gguf_value {
    const char *key; /* key_bytes of clean UTF-8, no NUL */
    size_t key_bytes;
    gguf_kind kind;
    gguf_kind element;   /* of an array */
    uint64_t count;      /* elements of an array, bytes of a string, else 1 */
    const uint8_t *data; /* first element, first byte of a string */
} gguf_value;

const char *gguf_kind_name(gguf_kind kind);
/* NULL when there is no such key. */
const gguf_value *gguf_find(const sonde_gguf *gguf, const char *key);
const char *gguf_file(const sonde_gguf *gguf);
int64_t gguf_value_count(const sonde_gguf *gguf);
const gguf_value *gguf_value_at(const sonde_gguf *gguf, int64_t index); /* sorted by key */

/* Element `index` of an array, or the value itself (index 0), as an integer (any integer kind or
 * bool) or a number (integers too). False for another kind or one that does not fit int64. */
bool gguf_integer(const gguf_value *value, uint64_t index, int64_t *out);
bool gguf_number(const gguf_value *value, uint64_t index, double *out);
/* Walks an array of strings: *at starts NULL; gives the next string. */
void gguf_next_string(const gguf_value *value, const uint8_t **at, const char **bytes, size_t *n);

/* A GGUF file, or the parts of a split one in order. The first has all tensors once opened. */
typedef struct sonde_gguf_part {
    char *path;
    sonde_mapping mapping;
    sonde_gguf *gguf;
} sonde_gguf_part;
typedef struct sonde_gguf_parts {
    sonde_gguf_part *files;
    int64_t count;
} sonde_gguf_parts;
/* `parts` is given to the caller, also on failure: release with sonde_gguf_parts_reset. */
sonde_status sonde_gguf_open(const char *path, sonde_gguf_parts *parts, sonde_error *err);
void sonde_gguf_parts_reset(sonde_gguf_parts *parts);

/* --- from containers to a config and a tokenizer ------------------------------------------------
 */

/* Puts a config into one spelling (config.h), in place; `source` is for messages. */
sonde_status sonde_config_normalise(json_t *root, const char *source, sonde_error *err);
/* The config of a GGUF file in Hugging Face's keys. Given to the caller. */
sonde_status sonde_config_from_gguf(const sonde_gguf *gguf, json_t **root, sonde_error *err);
sonde_status sonde_gguf_tokenizer(const sonde_gguf *gguf, sonde_tokenizer **tokenizer,
                                  sonde_error *err);
sonde_status sonde_gguf_chat(const sonde_gguf *gguf, const sonde_tokenizer *tokenizer,
                             sonde_chat **chat, sonde_error *err);

/* The folder or file that a model name means: `path` itself when it exists, else "org/name" in the
 * local Hugging Face cache. Given to the caller (sonde_free). */
sonde_status sonde_model_path(const char *path, char **found, sonde_error *err);

/* The shards of a folder. `files` and `tensors` (sorted by name, borrowing from the files) are
 * given to the caller also on failure: release with sonde_shards_reset. */
typedef struct sonde_shard {
    char *path;
    const char *name; /* the end of `path`: as the index spells it */
    sonde_mapping mapping;
    sonde_safetensors *container;
} sonde_shard;
typedef struct sonde_shards {
    sonde_shard *files;
    size_t n_files, capacity;
    sonde_tensor *tensors;
    int64_t n_tensors;
} sonde_shards;
sonde_status sonde_shards_open(const char *folder, sonde_shards *shards, sonde_error *err);
void sonde_shards_reset(sonde_shards *shards);

#endif
