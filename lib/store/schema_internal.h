/* schema_internal.h - what the files of the schema share. */
#ifndef SONDE_STORE_SCHEMA_INTERNAL_H
#define SONDE_STORE_SCHEMA_INTERNAL_H

#include "schema.h"

/* A hook point's datasets; -1: it has none of that kind. */
typedef struct schema_point {
    char *name;
    int32_t data;      /* dense rows, or flat elements of ragged ones */
    int32_t indptr;    /* ragged */
    int32_t first_key; /* ragged */
    int32_t rowmap;
} schema_point;

/* What decides the length of a dataset of rows beside the points. */
typedef enum schema_length {
    SCHEMA_LENGTH_ROWS,  /* as /rows */
    SCHEMA_LENGTH_POINT, /* as a point */
    SCHEMA_LENGTH_OWN,   /* its own, equal within its group */
} schema_length;

typedef struct schema_set {
    int32_t id;
    schema_length length;
    int32_t point;
    char *group;      /* OWN: datasets of one group have one length */
    bool by_row;      /* OWN: holds the row of /rows of each entry */
    bool by_sequence; /* OWN: holds the input index of each entry */
} schema_set;

enum {
    SEQUENCES_SEQUENCE,
    SEQUENCES_ROW_START,
    SEQUENCES_ROW_COUNT,
    SEQUENCES_N_PROMPT,
    SEQUENCES_XXH3,
    SEQUENCES_STATUS,
    SEQUENCES_LAST_TOKEN,
    SEQUENCES_LAST_LOGPROB,
    SEQUENCES_ID_IS_GIVEN,
    SEQUENCES_COLUMNS
};
enum {
    ROWS_SEQUENCE,
    ROWS_POSITION,
    ROWS_TOKEN,
    ROWS_PHASE,
    ROWS_SEGMENT,
    ROWS_LOGPROB,
    ROWS_COLUMNS
};

/* Lists of one length per entry: data [indptr[n]] and indptr [n + 1]; tokens have two more columns
 * beside data. */
typedef struct schema_lists {
    int32_t data, indptr;
    uint64_t end; /* elements so far */
} schema_lists;

/* Metadata of prompts until the seal (schema_meta.h). */
typedef struct schema_meta schema_meta;

struct sonde_schema {
    sonde_store *store;
    sonde_codec codec;
    int64_t chunk_target_bytes;
    schema_point *points;
    int32_t n_points;
    size_t point_capacity;
    char **order; /* names of points and of links, as declared */
    size_t n_order, order_capacity;
    char **columns; /* names of further columns of /rows */
    size_t n_columns, column_capacity;
    schema_set *sets; /* every dataset of rows that is no point's */
    size_t n_sets, set_capacity;
    int32_t rows[ROWS_COLUMNS];
    int32_t sequences[SEQUENCES_COLUMNS];
    schema_lists ids, texts, tokens;
    int32_t text_start, text_end;
    int64_t n_sequences;
    schema_meta *meta;
    uint64_t *seen; /* a bit per token id */
    size_t seen_words;
};

/* schema.c */
sonde_status sonde_schema_declare(sonde_schema *schema, const char *path, sonde_dtype dtype,
                                  int64_t chunk_rows, bool compressed, int32_t *id,
                                  sonde_error *err);
sonde_status sonde_schema_encoding(sonde_schema *schema, const char *object, const char *type,
                                   const char *version, sonde_error *err);
/* A column of numbers as AnnData names it. */
sonde_status sonde_schema_is_array(sonde_schema *schema, const char *path, sonde_error *err);
/* CF's flag_values and flag_meanings: code i means the i-th word. */
sonde_status sonde_schema_flags(sonde_schema *schema, const char *path, int32_t n,
                                const char *meanings, sonde_error *err);
/* data and indptr below `path`, with indptr[0] put. */
sonde_status sonde_schema_declare_lists(sonde_schema *schema, const char *path, sonde_dtype dtype,
                                        schema_lists *lists, sonde_error *err);

/* schema_points.c */
sonde_status sonde_schema_write_order(sonde_schema *schema, sonde_error *err);

/* schema_sequences.c */
sonde_status sonde_schema_declare_sequences(sonde_schema *schema, sonde_error *err);

/* schema_vocab.c */
sonde_status sonde_schema_see_tokens(sonde_schema *schema, const uint32_t *tokens, int64_t n,
                                     sonde_error *err);

/* schema_meta.c */
schema_meta *sonde_schema_meta_create(sonde_store *store);
void sonde_schema_meta_destroy(schema_meta *meta);
/* Bytes that the columns will take in the file, about. */
uint64_t sonde_schema_meta_bytes(const schema_meta *meta);
sonde_status sonde_schema_meta_add(schema_meta *meta, int64_t sequence, const json_t *object,
                                   sonde_error *err);
/* Writes /sequences/meta with the first `n` entries. */
sonde_status sonde_schema_meta_write(sonde_schema *schema, int64_t n, sonde_error *err);

#endif
