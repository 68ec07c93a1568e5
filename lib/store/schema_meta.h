/* schema_meta.h - metadata of prompts on its way from add_sequence to the seal. */
#ifndef SONDE_STORE_SCHEMA_META_H
#define SONDE_STORE_SCHEMA_META_H

#include "schema_internal.h"

#define META_MOST_COLUMNS 256 /* further keys of the run go into the column _more, as JSON */
#define META_BLOCK_BYTES ((size_t)16384)
#define META_MOST_CATEGORIES 262144u /* a power of two */
#define META_MOST_CATEGORY_BYTES ((size_t)16 << 20)

typedef enum meta_kind {
    META_INT = 1,
    META_REAL = 2,
    META_BOOL = 4,
    META_TEXT = 8,  /* without a NUL */
    META_JSON = 16, /* nested, or a text with a NUL */
} meta_kind;

/* Values of one key: for each, the number of its sequence (u32), the kind (u8), then a number (8
 * bytes) or a length (u32) and that many bytes. null is as good as absent. Full blocks of these
 * bytes lie in the store's scratch, the last one is here. */
typedef struct meta_column {
    char *key;
    uint64_t hash;
    char *block; /* the last block: `used` bytes of it */
    size_t used, block_capacity;
    uint64_t *blocks; /* where the full ones lie in the scratch */
    size_t n_blocks, blocks_capacity;
} meta_column;

struct schema_meta {
    sonde_store *store;
    meta_column *columns; /* in order of appearance */
    size_t n, capacity;
    meta_column more;
    uint64_t file_bytes;
};

/* One value as it is added or read back; text is borrowed, read back until the next value. */
typedef struct meta_value {
    uint32_t sequence;
    meta_kind kind;
    int64_t integer;
    double real;
    const char *text;
    size_t bytes;
} meta_value;

sonde_status sonde_schema_meta_append(sonde_store *store, meta_column *column,
                                      const meta_value *value, sonde_error *err);
void sonde_schema_meta_column_reset(meta_column *column);

/* Reads the values of a column from its first on: next until it says false, then look at status. */
typedef struct meta_cursor {
    sonde_store *store;
    const meta_column *column;
    int64_t end; /* values of sequences from here on do not count */
    meta_value value;
    sonde_status status;
    sonde_error *err;
    char *window; /* bytes [at, filled) are read and not taken */
    size_t at, filled, capacity;
    size_t block; /* comes next into the window; n_blocks: the last one, n_blocks + 1: none */
} meta_cursor;

void sonde_schema_meta_start(meta_cursor *cursor, sonde_store *store, const meta_column *column,
                             int64_t end, sonde_error *err);
bool sonde_schema_meta_next(meta_cursor *cursor);
void sonde_schema_meta_stop(meta_cursor *cursor);

/* The distinct texts of a column, while they are few. */
typedef struct meta_categories meta_categories;

/* NULL in *out: more than META_MOST_CATEGORIES, or than META_MOST_CATEGORY_BYTES of text. */
sonde_status sonde_schema_meta_distinct(sonde_store *store, const meta_column *column, int64_t end,
                                        meta_categories **out, sonde_error *err);
void sonde_schema_meta_categories_destroy(meta_categories **categories);
/* Number of a text among them, sorted by bytes. */
int32_t sonde_schema_meta_code(const meta_categories *categories, const meta_value *value);
/* The sorted texts as a column of *n entries; reset it. */
sonde_status sonde_schema_meta_sorted(const meta_categories *categories, sonde_store *store,
                                      meta_column *column, int64_t *n, sonde_error *err);

#endif
