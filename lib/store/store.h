/*
 * store.h - the writer of capture files. Knows datasets, rows, chunks and codecs; nothing of models
 * or probes. Schema: FORMAT.md beside this file.
 *
 * Concept. A store is one file being written: NAME.h5.part until it is sealed, then NAME.h5.
 * Datasets are declared first; then rows are put, by any thread, in any order, each row of a
 * dataset exactly once, in the stored element type. A put brings rows into open chunks (put_from
 * converts them on the way: the one copy between a model's memory and the codec); a
 * full chunk goes to a codec thread and from there to the one thread that calls HDF5. When too many
 * bytes wait for codec or disk, put waits: that is the back-pressure. Open (partly filled) chunks
 * never wait.
 *
 * Failure. The first failure of a codec or of the disk is kept and returned by every later put.
 * What was written before it can still be sealed: before every write the room left is checked, so
 * that what describes the file (datasets with keep_room, attributes, whole datasets, the chunk log)
 * still finds its place. finish, whole_rows and read then say and show what there is.
 *
 * Put, write, attributes and queries: [any thread]. create, declare, finish, seal, destroy:
 * [one thread at a time per object].
 */
#ifndef SONDE_STORE_H
#define SONDE_STORE_H

#include "core/core.h"

typedef struct sonde_store sonde_store;

typedef enum sonde_codec {
    SONDE_CODEC_DEFLATE = 0, /* shuffle + planar deflate: stock HDF5 readers */
    SONDE_CODEC_RAW = 1,
} sonde_codec;

typedef struct sonde_store_options {
    const char *path;       /* final name; "<path>.part" is written */
    bool overwrite;         /* replace an existing file when sealing */
    int32_t codec_threads;  /* 1 to 16; 0: 1 */
    uint64_t queue_bytes;   /* bytes allowed to wait for codec and disk; 0: 64 MiB */
    bool no_sync;           /* skip fsync at seal (benchmarks, tests) */
} sonde_store_options;

/* EXISTS when the output (or its .part) is there and overwrite is not set, or when another process
 * writes it; IO or DISK_FULL when unwritable. Given to the caller. */
sonde_status sonde_store_create(const sonde_store_options *options, sonde_store **store,
                                sonde_error *err);

/* --- attributes: on "/", a group (made when missing) or a dataset; encoding as FORMAT.md says ------ */
/* A text above 60,000 bytes becomes a text dataset "<object>/<name>". */
sonde_status sonde_store_attr_text(sonde_store *store, const char *object, const char *name,
                                   const char *value, sonde_error *err);
sonde_status sonde_store_attr_int(sonde_store *store, const char *object, const char *name,
                                  int64_t value, sonde_error *err);
sonde_status sonde_store_attr_float(sonde_store *store, const char *object, const char *name,
                                    double value, sonde_error *err);
/* A list of texts as a fixed-length string array attribute (or, when it would pass 60,000 bytes, a
 * dataset named "<object>/<name>"); an empty list has no elements. */
sonde_status sonde_store_attr_texts(sonde_store *store, const char *object, const char *name,
                                    const char *const *values, int64_t count, sonde_error *err);
/* A list of numbers. */
sonde_status sonde_store_attr_array(sonde_store *store, const char *object, const char *name,
                                    sonde_dtype dtype, int64_t count, const void *values,
                                    sonde_error *err);
/* Marks a dataset as an HDF5 dimension scale. */
sonde_status sonde_store_make_scale(sonde_store *store, const char *object, const char *name,
                                    sonde_error *err);

/* --- datasets that grow by rows --------------------------------------------------------------- */

#define SONDE_STORE_MAX_DIMS 4
typedef struct sonde_dataset_spec {
    const char *path;        /* "activations/blocks.0.resid_post"; groups are made as needed */
    sonde_dtype dtype;       /* stored element type: any plain dtype of base.h incl. BF16 and F64 */
    int32_t n_dims;          /* of one row; 0: a column */
    int64_t shape[SONDE_STORE_MAX_DIMS];
    sonde_codec codec;
    int64_t chunk_rows;      /* 0: chosen from the target */
    int64_t chunk_target_bytes; /* 0: 1 MiB */
    bool keep_room; /* small, and needed to understand the file: still written when the disk is
                                full, because room is kept for what was put */
} sonde_dataset_spec;
/* Declares a dataset; its id is given in *id: 0, 1, ... in order of the calls. */
sonde_status sonde_store_declare(sonde_store *store, const sonde_dataset_spec *spec, int32_t *id,
                                 sonde_error *err);
/* A second name (hard link) of a declared dataset, as resid_pre(i+1) is of resid_post(i). */
sonde_status sonde_store_link(sonde_store *store, int32_t id, const char *path, sonde_error *err);
/* A second name of any object. */
sonde_status sonde_store_link_path(sonde_store *store, const char *from, const char *path,
                                   sonde_error *err);
/* Copies rows [first_row, first_row + n_rows) (stored dtype, packed) in. INTERNAL when one of them
 * was put before. */
sonde_status sonde_store_put(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                             const void *rows, sonde_error *err);
/* Where rows of a put lie in an open chunk: elements one behind the other (plane_stride 0), or, before
 * a codec that shuffles, as planes: byte b of element i at data + b * plane_stride + i. */
typedef struct sonde_store_place {
    uint8_t *data;
    size_t plane_stride, element_bytes, row_bytes;
} sonde_store_place;
/* Copies `n` packed elements to element `at` of a place. */
void sonde_store_place_copy(const sonde_store_place *place, size_t at, size_t n,
                            const void *elements);
/* Writes rows [row, row + n_rows), counted from the put's first, to the place. */
typedef void sonde_store_fill(void *context, int64_t row, int64_t n_rows,
                              const sonde_store_place *place);
/* The fill of rows that lie packed in the stored dtype; the context is a const void ** to them. */
void sonde_store_fill_packed(void *context, int64_t row, int64_t n_rows,
                             const sonde_store_place *place);
/* As put, of rows that `fill` makes where they belong: called for a piece of each chunk, before
 * put_from returns. Nothing may be put from within. */
sonde_status sonde_store_put_from(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                                  sonde_store_fill *fill, void *context, sonde_error *err);
/* Writes a whole small dataset at once (vocabulary, probe tables); dims slowest first, at most 8. BOOL
 * is the enum that h5py reads as bool. */
sonde_status sonde_store_write(sonde_store *store, const char *path, sonde_dtype dtype,
                               int32_t n_dims, const int64_t *dims, const void *data,
                               sonde_error *err);
/* Writes a text as a scalar fixed-length UTF-8 string dataset (JSON of /manifest, /run). */
sonde_status sonde_store_write_text(sonde_store *store, const char *path, const char *text,
                                    size_t bytes, sonde_error *err);
/* A whole dataset of one dimension, written at the end piece by piece: begin, put until all `rows`
 * are there, end (also after a failure). Numbers of `dtype`, or, where width is not 0, fixed-length
 * UTF-8 strings of `width` bytes, padded with NUL; sizes of their pieces are best multiples of
 * string_rows. [one thread at a time per object] */
typedef struct sonde_store_column {
    int64_t dataset, type; /* of HDF5 */
    int64_t done;          /* rows put */
    const char *path;      /* borrowed until end */
} sonde_store_column;
sonde_status sonde_store_column_begin(sonde_store *store, const char *path, sonde_dtype dtype,
                                      size_t width, int64_t rows, sonde_store_column *column,
                                      sonde_error *err);
sonde_status sonde_store_column_put(sonde_store *store, sonde_store_column *column, int64_t n,
                                    const void *data, sonde_error *err);
void sonde_store_column_end(sonde_store_column *column);
int64_t sonde_store_string_rows(size_t width); /* strings of a chunk */
/* Keeps room in the file for so many bytes more, which will be written at the end. */
void sonde_store_reserve(sonde_store *store, uint64_t bytes);

/* Puts bytes away in a file without a name beside the output, and reads them back; *at is where
 * they are. For what is written into the file only at the end and may be more than memory should
 * hold. A write that fails is the store's failure. [one thread at a time per object] */
sonde_status sonde_store_scratch_write(sonde_store *store, const void *bytes, size_t n,
                                       uint64_t *at, sonde_error *err);
sonde_status sonde_store_scratch_read(sonde_store *store, uint64_t at, void *bytes, size_t n,
                                      sonde_error *err);

/* --- state ------------------------------------------------------------------------------------ */

typedef struct sonde_store_stats {
    uint64_t raw_bytes, stored_bytes; /* of chunks written so far, before and after the codec */
    uint64_t open_bytes, peak_open_bytes, peak_queue_bytes;
    uint64_t codec_ns, write_ns, wait_ns; /* summed over threads; wait: puts held back */
    int64_t chunks;
} sonde_store_stats;
void sonde_store_stats_get(sonde_store *store, sonde_store_stats *stats);
/* The first failure so far (OK: none). */
sonde_status sonde_store_failure(sonde_store *store, sonde_error *err);

/* No more rows will be put: writes what is open (after a failure: of datasets with keep_room) and
 * waits until nothing is queued. Later puts fail. Seal does it too. */
void sonde_store_finish(sonde_store *store);
int32_t sonde_store_count(const sonde_store *store); /* declared datasets */
const char *sonde_store_path_of(const sonde_store *store, int32_t id);
int64_t sonde_store_rows_put(sonde_store *store, int32_t id); /* highest row put + 1 */
/* After finish: leading rows of a dataset that are in the file, up to the first that is missing. */
int64_t sonde_store_whole_rows(sonde_store *store, int32_t id);
/* After finish: the first dataset that has rows missing below its highest; -1: none. */
int32_t sonde_store_first_hole(sonde_store *store);
/* After finish: reads whole rows back, [n_rows] of the stored dtype. */
sonde_status sonde_store_read(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                              void *rows, sonde_error *err);

/* Finishes, cuts each dataset to `rows[id]` (NULL, or -1: highest row put + 1; never more than
 * whole_rows after a failure), writes /chunklog and the attributes sealed = 1 and complete, closes,
 * fsyncs, renames, fsyncs the folder. After a failure it seals what holds, with complete = 0, and
 * returns that first failure (is_sealed says whether there is a file). EXISTS when the output
 * appeared meanwhile and overwrite is not set; then the .part file stays. */
sonde_status sonde_store_seal(sonde_store *store, bool complete, const int64_t *rows,
                              sonde_error *err);
/* Is the file under its final name? */
bool sonde_store_is_sealed(const sonde_store *store);
/* Releases everything; an unsealed .part file is removed when `discard`, else left. */
void sonde_store_destroy(sonde_store **store, bool discard);

#endif
