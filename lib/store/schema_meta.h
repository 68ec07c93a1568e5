/* schema_meta.h - metadata of prompts while it is kept in memory. */
#ifndef SONDE_STORE_SCHEMA_META_H
#define SONDE_STORE_SCHEMA_META_H

#include "schema_internal.h"

#define META_MOST_COLUMNS 256 /* further keys of the run go into the column _more, as JSON */

typedef enum meta_kind {
    META_INT = 1,
    META_REAL = 2,
    META_BOOL = 4,
    META_TEXT = 8,  /* without a NUL */
    META_JSON = 16, /* nested, or a text with a NUL */
} meta_kind;

/* Values of one key: for each, the number of its sequence (u32), the kind (u8), then a number (8
 * bytes) or a length (u32) and that many bytes. null is as good as absent. */
typedef struct meta_column {
    char *key;
    uint64_t hash;
    sonde_string values;
} meta_column;

struct schema_meta {
    meta_column *columns; /* in order of appearance */
    size_t n, capacity;
    meta_column more;
    uint64_t file_bytes;
};

/* One value as it is read back; text is borrowed. */
typedef struct meta_value {
    uint32_t sequence;
    meta_kind kind;
    int64_t integer;
    double real;
    const char *text;
    size_t bytes;
} meta_value;

/* The value at *at, which moves on; false at the end, or from sequence `end` on. */
bool sonde_schema_meta_next(const meta_column *column, size_t *at, int64_t end, meta_value *value);

#endif
