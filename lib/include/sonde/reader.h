/*
 * sonde/reader.h - reading capture files.
 *
 * Opens any file of lib/store/FORMAT.md, and minimal captures that anyone wrote with plain h5py
 * (/activations/<point>, /rows/{sequence, position, token}, format_version). Values come back as
 * fp32 through the raw stored bits and our own decoding, so reads are fast and exact. Every file is
 * untrusted: sizes and offsets are checked; BAD_CAPTURE names what is wrong.
 *
 * [one thread at a time per object]; HDF5 is called under one process-wide lock, so different
 * objects may be used from different threads.
 */
#ifndef SONDE_READER_H
#define SONDE_READER_H

#include "sonde/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_reader sonde_reader;

SONDE_API sonde_status sonde_reader_open(const char *path, sonde_reader **reader,
                                         sonde_error *err);
SONDE_API void sonde_reader_close(sonde_reader **reader);

/* Facts of the file. Texts are borrowed for the reader's life; NULL when absent. */
SONDE_API const char *sonde_reader_path(const sonde_reader *reader);
SONDE_API bool sonde_reader_is_minimal(const sonde_reader *reader);
SONDE_API bool sonde_reader_is_sealed(const sonde_reader *reader);
SONDE_API bool sonde_reader_is_complete(const sonde_reader *reader);
/* A root attribute as text ("model", "model_hash", "tokenizer_hash", "backend", "mode", ...). */
SONDE_API const char *sonde_reader_attr(const sonde_reader *reader, const char *name);
SONDE_API const char *sonde_reader_manifest(const sonde_reader *reader); /* JSON text */
SONDE_API const char *sonde_reader_run(const sonde_reader *reader);      /* JSON text */
SONDE_API int64_t sonde_reader_rows(const sonde_reader *reader);      /* length of /rows */
SONDE_API int64_t sonde_reader_sequences(const sonde_reader *reader); /* length of /sequences */
SONDE_API uint64_t sonde_reader_file_bytes(const sonde_reader *reader);

typedef struct sonde_point_info {
    const char *name; /* hook point */
    sonde_dtype stored;
    int32_t n_dims; /* of one row */
    int64_t shape[4];
    int64_t width; /* product of shape; ragged: 0 */
    int64_t rows;
    bool ragged;       /* data, indptr, first_key */
    bool has_rowmap;   /* keeps other rows than /rows */
    int64_t elements;
    uint64_t stored_bytes; /* on disk */
    const char *codec; /* "deflate", "raw" */
} sonde_point_info;
/* Points in execution order (group attribute `order`; minimal files: natural order of names). */
SONDE_API int64_t sonde_reader_point_count(const sonde_reader *reader);
SONDE_API sonde_status sonde_reader_point(const sonde_reader *reader, int64_t index,
                                          sonde_point_info *info, sonde_error *err);
/* Index of a point, or -1. */
SONDE_API int64_t sonde_reader_find(const sonde_reader *reader, const char *name);

/* Rows [first, first + n) of a dense point as fp32 [n, width]. */
SONDE_API sonde_status sonde_reader_read(sonde_reader *reader, int64_t point, int64_t first,
                                         int64_t n, float *dst, sonde_error *err);
/* The same in the stored bits ([n, width] of the stored dtype). */
SONDE_API sonde_status sonde_reader_read_raw(sonde_reader *reader, int64_t point, int64_t first,
                                             int64_t n, void *dst, sonde_error *err);
/* Ragged: indptr of rows [first, first + n] (n + 1 values) and first_key [n] (either NULL). */
SONDE_API sonde_status sonde_reader_ragged_rows(sonde_reader *reader, int64_t point, int64_t first,
                                                int64_t n, uint64_t *indptr, uint32_t *first_key,
                                                sonde_error *err);
/* Ragged: flat elements [first, first + n) as fp32. */
SONDE_API sonde_status sonde_reader_ragged_read(sonde_reader *reader, int64_t point, uint64_t first,
                                                uint64_t n, float *dst, sonde_error *err);
/* Row map of a point: rows [first, first + n) -> indices into /rows (identity without a map). */
SONDE_API sonde_status sonde_reader_rowmap(sonde_reader *reader, int64_t point, int64_t first,
                                           int64_t n, uint64_t *dst, sonde_error *err);

/* Columns of /rows, [first, first + n): any pointer may be NULL. Absent columns: phase and segment
 * 0, logprob NaN. */
typedef struct sonde_row_columns {
    uint64_t *sequence;
    uint32_t *position, *token;
    uint8_t *phase, *segment;
    float *logprob;
} sonde_row_columns;
SONDE_API sonde_status sonde_reader_rows_read(sonde_reader *reader, int64_t first, int64_t n,
                                              const sonde_row_columns *columns, sonde_error *err);

typedef struct sonde_sequence_info {
    uint64_t sequence; /* input index */
    uint64_t row_start;
    uint32_t row_count, n_prompt;
    uint64_t xxh3; /* of the prompt's token ids */
    uint8_t status;
    int64_t last_token;
    float last_logprob;
    const char *id, *text; /* borrowed until the next call on this reader; NULL: absent */
    bool id_is_given;      /* a user gave the id (not the line's index) */
} sonde_sequence_info;
SONDE_API sonde_status sonde_reader_sequence(sonde_reader *reader, int64_t index,
                                             sonde_sequence_info *info, sonde_error *err);
/* Token run of a sequence (prompt, then generated); *tokens borrowed until the next call. */
SONDE_API sonde_status sonde_reader_tokens(sonde_reader *reader, int64_t index,
                                           const uint32_t **tokens, int64_t *count,
                                           sonde_error *err);
/* Piece of a token id from /vocab as raw bytes; *n 0 when the file does not hold it. */
SONDE_API sonde_status sonde_reader_piece(sonde_reader *reader, uint32_t token, const char **bytes,
                                          size_t *n, sonde_error *err);

/* Probe tables: paths below /probes ("moments/mean"), their shape and a read as fp64. */
typedef struct sonde_table_info {
    const char *path;
    sonde_dtype dtype;
    int32_t n_dims;
    int64_t dims[4];
} sonde_table_info;
SONDE_API int64_t sonde_reader_table_count(const sonde_reader *reader);
SONDE_API sonde_status sonde_reader_table(const sonde_reader *reader, int64_t index,
                                          sonde_table_info *info, sonde_error *err);
SONDE_API sonde_status sonde_reader_table_read(sonde_reader *reader, int64_t index, double *dst,
                                               sonde_error *err);

#ifdef __cplusplus
}
#endif
#endif
