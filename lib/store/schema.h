/*
 * schema.h - the schema of a capture file (FORMAT.md) in one place: what is called what, of which
 * type, with which attributes. Stands on store.h; knows nothing of models or probes.
 *
 * How it is used, by whoever runs a capture:
 *
 *   sonde_store_create                      the file
 *   sonde_schema_create                     root attributes, /rows, /sequences
 *   sonde_schema_add_point, _link_point     /activations/<point>, in execution order
 *   sonde_schema_add_column, _add_rows      further columns of /rows; row datasets of probes
 *     put_rows, put, put_ragged, put_rowmap any thread, any order, each row once; the caller gives
 *                                           every row its number (and ragged rows their offsets)
 *     sonde_schema_add_sequence             one call per sequence, in input order
 *   sonde_schema_write_vocab, _probe, _table, _text     at the end
 *   sonde_schema_seal                       extents, metadata columns, /chunklog; then the file is
 *                                           under its final name
 *   sonde_schema_destroy, sonde_store_destroy
 *
 * All declarations come before the first put.
 *
 * After a failure, of the disk or of anything else: put and add_sequence return the store's;
 * sonde_schema_safe_rows says how many leading rows and sequences the file still has; write what
 * describes them (vocab, texts, tables) and seal with complete = false and that many rows and
 * sequences. Room in the file is kept for /rows, /sequences, offsets, metadata and the vocabulary,
 * by what was put; for tables of probes and long texts, say so (sonde_store_reserve).
 *
 * Hard links, lists of points, attributes of one's own: store.h works beside this header; objects
 * are named as in FORMAT.md ("activations/<name>", "probes/<instance>").
 */
#ifndef SONDE_STORE_SCHEMA_H
#define SONDE_STORE_SCHEMA_H

#include "store.h"

#include <jansson.h>

#define SONDE_FORMAT "sonde-capture"
#define SONDE_FORMAT_VERSION 1

typedef struct sonde_schema sonde_schema;

typedef struct sonde_schema_options {
    sonde_codec codec;          /* of activations and of probes' rows; tables are always deflate */
    int64_t chunk_target_bytes; /* 0: 1 MiB */
    /* Root attributes; NULL: left out. Copied. */
    const char *model, *model_hash, *tokenizer_hash, *backend, *mode;
    int64_t shard_index, shard_count; /* 0 of 1 when both are 0 */
} sonde_schema_options;

/* Declares /rows and /sequences. `store` is kept until destroy and stays the caller's. */
sonde_status sonde_schema_create(sonde_store *store, const sonde_schema_options *options,
                                 sonde_schema **schema, sonde_error *err);
void sonde_schema_destroy(sonde_schema **schema);

/* --- points ----------------------------------------------------------------------------------- */

typedef struct sonde_schema_point {
    const char *name;       /* of the dataset below /activations */
    const char *hook_point; /* NULL: the name */
    int64_t layer;          /* -1: none */
    sonde_dtype stored;     /* F32 BF16 F16 I32 U8 I64 F64 */
    const char *logical;    /* logical dtype; NULL: the stored one's name */
    const char *lossy;      /* lossy mode; NULL: none */
    bool ragged;            /* flat values, row offsets, first keys */
    int32_t n_dims;         /* dense: of one row, 0 for one number */
    int64_t shape[4];       /* ragged: shape[0] heads, heads slowest in a row */
    bool rowmap;            /* keeps other rows than /rows: put_rowmap tells which, rising */
    const char *parts;      /* selected parts as typed ("[0,4]"); NULL: whole rows */
} sonde_schema_point;

/* Number of the point in *point, from 0 in order of the calls (execution order). The name has no
 * slash. Everything in the spec is borrowed. */
sonde_status sonde_schema_add_point(sonde_schema *schema, const sonde_schema_point *spec,
                                    int32_t *point, sonde_error *err);
/* A second name of a point's data (resid_pre of a block is resid_post of the one before). It takes
 * its place in the order here, and its row map; attributes are those of the first name. */
sonde_status sonde_schema_link_point(sonde_schema *schema, int32_t point, const char *name,
                                     sonde_error *err);
/* Dense rows [first_row, first_row + n): [n, ...shape] of the stored dtype. [any thread] */
sonde_status sonde_schema_put(sonde_schema *schema, int32_t point, int64_t first_row, int64_t n,
                              const void *data, sonde_error *err);
/* Ragged rows (not for dense points): offsets[i] .. offsets[i + 1] are the flat elements of row
 * first_row + i in the whole dataset (n + 1 values); first_key [n]; data holds
 * offsets[n] - offsets[0] elements. [any thread] */
sonde_status sonde_schema_put_ragged(sonde_schema *schema, int32_t point, int64_t first_row,
                                     int64_t n, const uint64_t *offsets, const uint32_t *first_key,
                                     const void *data, sonde_error *err);
/* The same of rows that `fill` makes where they belong (store.h); of ragged ones it counts elements. */
sonde_status sonde_schema_put_from(sonde_schema *schema, int32_t point, int64_t first_row,
                                   int64_t n, sonde_store_fill *fill, void *context,
                                   sonde_error *err);
sonde_status sonde_schema_put_ragged_from(sonde_schema *schema, int32_t point, int64_t first_row,
                                          int64_t n, const uint64_t *offsets,
                                          const uint32_t *first_key, sonde_store_fill *fill,
                                          void *context, sonde_error *err);
/* Which rows of /rows a point's rows are: [n]. [any thread] */
sonde_status sonde_schema_put_rowmap(sonde_schema *schema, int32_t point, int64_t first_row,
                                     int64_t n, const uint64_t *rows, sonde_error *err);

/* --- rows ------------------------------------------------------------------------------------- */

/* Columns of /rows, [n] each. phase, segment NULL: 0; logprob NULL: NaN. */
typedef struct sonde_schema_rows {
    const uint64_t *sequence;
    const uint32_t *position, *token;
    const uint8_t *phase, *segment;
    const float *logprob;
} sonde_schema_rows;
/* [any thread] */
sonde_status sonde_schema_put_rows(sonde_schema *schema, int64_t first_row, int64_t n,
                                   const sonde_schema_rows *rows, sonde_error *err);
/* A further column of /rows ("entropy" F32, "rank" I32); every row of it must be filled, with
 * sonde_store_put by its id. */
sonde_status sonde_schema_add_column(sonde_schema *schema, const char *name, sonde_dtype dtype,
                                     int32_t *id, sonde_error *err);
/* Rows that a probe emits, /probes/<instance>/<name> [rows, ...shape]; as many as `point` has
 * (-1: as /rows; -2: a length of its own, the highest row put). Filled by sonde_store_put.
 * Datasets of own length belong together when they are called "<x>/data", "<x>/sequence",
 * "<x>/position", or "<x>" and "<x>_row": they are cut to one length, and when a file is sealed
 * with fewer rows than were put, to the rows ("_row", U64, rising) or sequences ("/sequence", U64
 * input indices, rising) that are left. */
sonde_status sonde_schema_add_rows(sonde_schema *schema, const char *instance, const char *name,
                                   int32_t point, sonde_dtype dtype, int32_t n_dims,
                                   const int64_t *shape, int32_t *id, sonde_error *err);

/* --- sequences -------------------------------------------------------------------------------- */

typedef enum sonde_sequence_status {
    SONDE_SEQUENCE_DONE = 0,
    SONDE_SEQUENCE_STOPPED = 1, /* by a stop token or text */
    SONDE_SEQUENCE_CUT = 2,     /* too long: cut */
    SONDE_SEQUENCE_SKIPPED = 3, /* a bad or too long prompt */
} sonde_sequence_status;

/* Everything is borrowed for the call. */
typedef struct sonde_schema_sequence {
    uint64_t sequence;  /* input index */
    uint64_t row_start; /* first of its rows in /rows */
    uint32_t row_count;
    uint32_t n_prompt;  /* tokens of the prompt */
    sonde_sequence_status status;
    int64_t last_token; /* sampled last and not run; -1: none */
    float last_logprob;
    const char *id;     /* NULL: "" */
    bool id_is_given;   /* by the user, not the line's index */
    const char *text;   /* UTF-8, prompt then generated; NULL: none */
    size_t text_bytes;
    const uint32_t
        *tokens; /* [n_tokens] prompt then generated; xxh3 is taken of the first n_prompt */
    int64_t n_tokens;
    const uint32_t *text_start, *text_end; /* [n_tokens] bytes in text; NULL: 0 */
    const json_t *meta;     /* object: metadata of the prompt; NULL: none */
} sonde_schema_sequence;
/* The next entry of /sequences, in order of input index and of row_start. Metadata waits in the
 * store's scratch until the seal, where the types of its columns are known; 16 KiB a key stay in
 * memory. [one thread at a time per object] */
sonde_status sonde_schema_add_sequence(sonde_schema *schema, const sonde_schema_sequence *sequence,
                                       sonde_error *err);

/* --- the rest --------------------------------------------------------------------------------- */

/* Writes /vocab: for every id that occurs in a token run, as last_token, or was added by
 * sonde_schema_see_token, the piece that `piece` gives: raw bytes, borrowed until its next call. */
typedef const char *sonde_schema_piece(void *context, uint32_t token, size_t *bytes);
sonde_status sonde_schema_write_vocab(sonde_schema *schema, sonde_schema_piece *piece,
                                      void *context, sonde_error *err);
sonde_status sonde_schema_see_token(sonde_schema *schema, uint32_t token, sonde_error *err);

/* JSON texts: /manifest, /run, /interventions. `name` without the slash. Their XXH3-128 goes into
 * the attribute xxh3_128. */
sonde_status sonde_schema_write_text(sonde_schema *schema, const char *name, const char *json,
                                     size_t bytes, sonde_error *err);

/* The group /probes/<instance> with its attributes. */
typedef struct sonde_schema_probe {
    const char *instance, *probe, *version;
    const char *options; /* JSON; NULL: "{}" */
    const char *const *points;
    int64_t n_points;
    int64_t rows_seen;
} sonde_schema_probe;
sonde_status sonde_schema_write_probe(sonde_schema *schema, const sonde_schema_probe *probe,
                                      sonde_error *err);
/* A whole table of results, /probes/<instance>/<name>; dims slowest first. */
sonde_status sonde_schema_write_table(sonde_schema *schema, const char *instance, const char *name,
                                      sonde_dtype dtype, int32_t n_dims, const int64_t *dims,
                                      const void *data, sonde_error *err);

/* No row will be put any more: writes what is open (after a failure: only what describes rows) and
 * waits. Then *sequences is how many leading sequences have all of their rows in every dataset, and
 * *rows how many rows those are (or, where no sequence was ever added, the leading rows that every
 * dataset has): less than what was put only after a failure. */
sonde_status sonde_schema_safe_rows(sonde_schema *schema, int64_t *rows, int64_t *sequences,
                                    sonde_error *err);
/* Seals with the first `rows` rows of /rows and of every point without a row map, and the first
 * `sequences` entries of /sequences (-1: all that were put; never more than the file has, and where
 * that is less than what was put, only whole sequences and their rows). Points with a row map keep
 * those of their rows that lie below `rows`. Returns the first failure of the store; the file is
 * sealed all the same where that was possible (sonde_store_is_sealed).
 * A complete seal checks that nothing is missing: INTERNAL names a dataset with a hole or of another
 * length than /rows, and the file is sealed with complete = 0. */
sonde_status sonde_schema_seal(sonde_schema *schema, bool complete, int64_t rows, int64_t sequences,
                               sonde_error *err);

#endif
