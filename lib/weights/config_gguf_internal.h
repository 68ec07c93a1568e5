/*
 * config_gguf_internal.h - building a config from GGUF metadata: what config_gguf.c (values),
 * config_gguf_rope.c (rope.*) and config_gguf_arch.c (what is particular to an architecture) share.
 */
#ifndef SONDE_WEIGHTS_CONFIG_GGUF_INTERNAL_H
#define SONDE_WEIGHTS_CONFIG_GGUF_INTERNAL_H

#include "container.h"

typedef enum value_form { FORM_INT, FORM_FLOAT, FORM_BOOL, FORM_TEXT } value_form;

/* A key under "<architecture>." (or a whole one) and its Hugging Face name; NULL: read elsewhere. */
typedef struct key_map {
    const char *gguf, *key;
    value_form form;
    int64_t min, max; /* of an integer */
} key_map;

typedef struct gguf_builder {
    const sonde_gguf *gguf;
    const char *file;
    char arch[SONDE_PRINTABLE_BYTES];
    json_t *root;
    sonde_error *err;
} gguf_builder;

#define GGUF_BAD(b, ...) sonde_fail((b)->err, SONDE_BAD_MODEL, __VA_ARGS__)

/* ---- values (config_gguf.c); `value` is given to the object, also on failure -------------------- */

sonde_status gguf_put(gguf_builder *b, json_t *object, const char *key, json_t *value);
/* Puts a metadata value in the form of the map under map->key; an array of equal values as one. */
sonde_status gguf_put_value(gguf_builder *b, json_t *object, const gguf_value *value,
                            const key_map *map);
sonde_status gguf_bad_kind(gguf_builder *b, const gguf_value *value, const char *expected);
/* "<architecture>.<suffix>", or NULL. */
const gguf_value *gguf_arch_key(const gguf_builder *b, const char *suffix);
int64_t gguf_root_int(const gguf_builder *b, const char *key); /* 0: absent */
/* A tensor of the file (its name may hold %d for the layer), or NULL. */
const sonde_tensor *gguf_find_tensor(const gguf_builder *b, const char *name, int64_t layer);

/* ---- rope (config_gguf_rope.c) ------------------------------------------------------------------- */

sonde_status gguf_read_rope(gguf_builder *b);
bool gguf_is_rope_key(const char *suffix, size_t n);

/* ---- architectures (config_gguf_arch.c) ------------------------------------------------------------ */

/* The Hugging Face model_type of the architecture: its own name when it is not in the table. */
const char *gguf_model_type(const char *arch);
/* The map that the architecture has for a key, where it is not the common one. */
const key_map *gguf_arch_map(const gguf_builder *b, const char *suffix, size_t n);
/* What the files of the architecture do not say but its tensors and converters imply; last. */
sonde_status gguf_finish_arch(gguf_builder *b);

#endif
