/*
 * reader_internal.h - a capture file being read.
 *
 *   sonde_set    one dataset: what it is (always) and an open handle with one decoded block (while
 *                it is among the sets used last)
 *   block        rows that are decoded together: a chunk of the file where it has our layout, else
 *                a hyperslab of about a mebibyte that HDF5 reads
 *
 * Nothing in a file is believed: every function here checks what it takes and names the object.
 * Functions take sonde_h5_lock themselves; those that expect it held say so.
 */
#ifndef SONDE_STORE_READER_INTERNAL_H
#define SONDE_STORE_READER_INTERNAL_H

#include "h5.h"
#include "sonde/reader.h"

#include <libdeflate.h>

#define READER_MAX_DIMS 5       /* rows and SONDE_STORE_MAX_DIMS */
#define READER_OPEN_SETS 24     /* handles and blocks kept at once */
#define READER_MAX_DEPTH 8      /* of groups below /activations and /probes */
#define READER_MAX_LINKS 262144 /* visited when listing them */
#define READER_MAX_NAME 255
#define READER_MAX_TEXT ((size_t)1 << 28)
#define READER_MAX_CHUNK ((size_t)1 << 28) /* decoded here; bigger ones are left to HDF5 */

typedef struct sonde_set {
    char *path;        /* "/rows/sequence" */
    sonde_dtype dtype; /* of the elements as they are read: little-endian, plain */
    bool is_raw;       /* the file's own bits; else HDF5 converts to `dtype` */
    size_t element_bytes, row_bytes;
    int32_t n_dims; /* with rows; 0: one number */
    int64_t dims[READER_MAX_DIMS];
    int64_t rows, width; /* width: elements of a row */
    uint64_t stored_bytes;
    const char *codec;
    bool is_direct;         /* chunks of whole rows in a pipeline that is decoded here */
    int32_t missing_filter; /* that HDF5 does not have here: it can be listed, not read; 0: none */
    int32_t shuffle_at, inflate_at; /* places in the filter pipeline; -1: not there */
    int64_t block_rows;
    /* while open */
    hid_t id, memory_type;
    uint64_t used;  /* clock of the last use */
    int64_t block;  /* number of the block in `bytes`; -1: none */
    uint8_t *bytes; /* [block_rows, row_bytes] */
} sonde_set;

typedef struct reader_point {
    char *name;
    sonde_set data;
    sonde_set indptr, first_key; /* ragged; first_key.path NULL: zeros */
    sonde_set rowmap;            /* path NULL: none */
    bool ragged;
    int64_t rows, heads;
} reader_point;

typedef struct reader_attr {
    char *name, *text;
} reader_attr;

/* {data, indptr} of bytes or numbers, one run per entry. path NULL: absent. */
typedef struct reader_runs {
    sonde_set data, indptr;
} reader_runs;

enum {
    ROWS_SEQUENCE,
    ROWS_POSITION,
    ROWS_TOKEN,
    ROWS_PHASE,
    ROWS_SEGMENT,
    ROWS_LOGPROB,
    ROWS_COUNT
};
enum {
    SEQ_SEQUENCE,
    SEQ_ROW_START,
    SEQ_ROW_COUNT,
    SEQ_N_PROMPT,
    SEQ_XXH3,
    SEQ_STATUS,
    SEQ_LAST_TOKEN,
    SEQ_LAST_LOGPROB,
    SEQ_ID_GIVEN,
    SEQ_COUNT
};

struct sonde_reader {
    char *path;
    hid_t file, links; /* links: access list that follows no link into another file */
    uint64_t file_bytes;
    bool minimal, sealed, complete;
    char *manifest, *run;
    reader_attr *attrs;
    size_t n_attrs, attr_capacity;
    reader_point **points;
    size_t n_points, point_capacity;
    int64_t *by_name; /* [n_points] indices, in strcmp order of names */
    sonde_set rows[ROWS_COUNT];
    int64_t n_rows;
    sonde_set sequences[SEQ_COUNT];
    int64_t n_sequences;
    reader_runs ids, texts, tokens, vocab;
    sonde_set vocab_id;
    uint64_t *vocab_order; /* [vocab_id.rows] id << 32 | entry, rising; made at first use */
    sonde_set *tables;
    size_t n_tables, table_capacity;
    /* scratch */
    sonde_set *open_sets[READER_OPEN_SETS];
    uint64_t clock;
    struct libdeflate_decompressor *inflate;
    uint8_t *encoded, *shuffled;
    size_t encoded_bytes, shuffled_bytes;
    char *id_text, *sequence_text, *piece;
    uint32_t *run_tokens;
};

/* BAD_CAPTURE: "<file>: <object>: <what>". */
sonde_status sonde_reader_bad(const sonde_reader *reader, const char *object, sonde_error *err,
                              const char *format, ...) SONDE_PRINTF(4, 5);
/* What HDF5 said of its last failure, innermost first ("" when nothing). Lock held. */
void sonde_reader_reason(char text[160]);

/* --- reader_set.c --- */
typedef enum reader_kind {
    READER_ABSENT,
    READER_GROUP,
    READER_DATASET,
    READER_BROKEN, /* a link that leads nowhere, into another file, or to what cannot be read */
} reader_kind;
reader_kind sonde_reader_kind(const sonde_reader *reader, const char *path);
/* Describes a dataset of numbers; the caller owns set->path (sonde_set_reset). */
sonde_status sonde_set_describe(const sonde_reader *reader, const char *path, sonde_set *set,
                                sonde_error *err);
/* The same for one dimension; `integers`: whole numbers only. */
sonde_status sonde_set_column(const sonde_reader *reader, const char *path, bool integers,
                              sonde_set *set, sonde_error *err);
bool sonde_dtype_is_integer(sonde_dtype dtype);
sonde_status sonde_set_open(sonde_reader *reader, sonde_set *set, sonde_error *err);
void sonde_set_close(sonde_set *set);                       /* lock held */
void sonde_set_reset(sonde_reader *reader, sonde_set *set); /* lock held */

/* --- reader_block.c --- */
/* Pointer to row `row` decoded, and how many rows follow it in the block. Valid until the next
 * READER_OPEN_SETS - 1 other sets were used. */
sonde_status sonde_set_view(sonde_reader *reader, sonde_set *set, int64_t row,
                            const uint8_t **bytes, int64_t *n, sonde_error *err);
/* Rows [first, first + n), which must lie in the set, as stored (dtype), as fp32, fp64, or whole
 * numbers of at most `most` (read from any integer type; others are refused by index). */
sonde_status sonde_set_read(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                            void *dst, sonde_error *err);
sonde_status sonde_set_read_f32(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                float *dst, sonde_error *err);
sonde_status sonde_set_read_f64(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                double *dst, sonde_error *err);
sonde_status sonde_set_read_u64(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                uint64_t most, uint64_t *dst, sonde_error *err);
sonde_status sonde_set_read_u32(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                uint32_t *dst, sonde_error *err);
/* USAGE when [first, first + n) is no range of 0..rows. */
sonde_status sonde_reader_check_range(const sonde_reader *reader, const char *object, int64_t first,
                                      int64_t n, int64_t rows, sonde_error *err);

/* --- reader_convert.c --- */
void sonde_bits_to_f32(sonde_dtype dtype, const void *src, int64_t n, float *dst);
void sonde_bits_to_f64(sonde_dtype dtype, const void *src, int64_t n, double *dst);
/* Returns the index of the first value below 0 or above `most`, or n. */
int64_t sonde_bits_to_u64(sonde_dtype dtype, const void *src, int64_t n, uint64_t most,
                          uint64_t *dst);

/* --- reader_text.c --- */
/* A scalar text dataset, or NULL in *text when there is none. */
sonde_status sonde_reader_load_text(const sonde_reader *reader, const char *path, char **text,
                                    sonde_error *err);
sonde_status sonde_reader_load_attrs(sonde_reader *reader, sonde_error *err);
/* A whole number in a scalar attribute of an object (any integer type, 1.0, or "1"). */
sonde_status sonde_reader_attr_int(const sonde_reader *reader, const char *object, const char *name,
                                   bool *found, int64_t *value, sonde_error *err);
/* A list of texts: the attribute of a group, or the dataset of that name in it. *count -1: absent.
 * Given to the caller: release with sonde_reader_free_names. */
sonde_status sonde_reader_load_names(const sonde_reader *reader, const char *group,
                                     const char *name, char ***names, int64_t *count,
                                     sonde_error *err);
void sonde_reader_free_names(char **names, int64_t count);

/* --- reader_walk.c --- */
/* Calls `visit` for every dataset below a group, and for every group that holds `data` and
 * `indptr`, with its path and its name (the path below the group, with dots for slashes). */
typedef sonde_status reader_visit(sonde_reader *reader, const char *path, const char *name,
                                  bool is_group, sonde_error *err);
sonde_status sonde_reader_walk(sonde_reader *reader, const char *group, reader_visit *visit,
                               sonde_error *err);

/* --- the parts of a file --- */
sonde_status sonde_reader_load_rows(sonde_reader *reader, sonde_error *err);
sonde_status sonde_reader_load_points(sonde_reader *reader, sonde_error *err);
sonde_status sonde_reader_load_sequences(sonde_reader *reader, sonde_error *err);
sonde_status sonde_reader_load_tables(sonde_reader *reader, sonde_error *err);
/* Offsets [first, first + n] of runs: rising and within `data`. */
sonde_status sonde_reader_offsets(sonde_reader *reader, sonde_set *indptr, const sonde_set *data,
                                  int64_t first, int64_t n, uint64_t *dst, sonde_error *err);

#endif
