/*
 * store.h - the writer of capture files. Knows datasets, rows, chunks and codecs; nothing of models
 * or probes. Schema: FORMAT.md beside this file.
 *
 * Concept. A store is one file being written: NAME.h5.part until it is sealed, then NAME.h5.
 * Datasets are declared first; then rows are put, by any thread, in any order, each row of a
 * dataset exactly once, already in the stored element type. A put copies rows into open chunks; a
 * full chunk goes to a codec thread and from there to the one thread that calls HDF5. When too many
 * bytes wait for codec or disk, put waits: that is the back-pressure. Open (partly filled) chunks
 * never wait. The first failure of a codec or of the disk is kept and returned by every later call;
 * what was written before it can still be sealed.
 *
 * Put and queries: [any thread]. create, declare, seal, destroy: [one thread at a time per object].
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
    int32_t codec_threads;  /* >= 1; 0: encode in the calling thread of put */
    uint64_t queue_bytes;   /* bytes allowed to wait for codec and disk; 0: 64 MiB */
    bool no_sync;           /* skip fsync at seal (benchmarks) */
} sonde_store_options;

/* EXISTS when the output (or its .part) is there and overwrite is not set; IO when unwritable.
 * Given to the caller. */
sonde_status sonde_store_create(const sonde_store_options *options, sonde_store **store,
                                sonde_error *err);

/* --- attributes: on "/" , a group or a dataset; encoding as FORMAT.md says ----------------------- */
sonde_status sonde_store_attr_text(sonde_store *store, const char *object, const char *name,
                                   const char *value, sonde_error *err);
sonde_status sonde_store_attr_int(sonde_store *store, const char *object, const char *name,
                                  int64_t value, sonde_error *err);
sonde_status sonde_store_attr_float(sonde_store *store, const char *object, const char *name,
                                    double value, sonde_error *err);
/* A list of texts as a fixed-length string array attribute (or, when it would pass 60 KB, a
 * dataset named "<object>/<name>"). */
sonde_status sonde_store_attr_texts(sonde_store *store, const char *object, const char *name,
                                    const char *const *values, int64_t count, sonde_error *err);

/* --- datasets that grow by rows ------------------------------------------------------------------- */

#define SONDE_STORE_MAX_DIMS 4
typedef struct sonde_dataset_spec {
    const char *path;        /* "activations/blocks.0.resid_post"; groups are made as needed */
    sonde_dtype dtype;       /* stored element type: any plain dtype of base.h incl. BF16 and F64 */
    int32_t n_dims;          /* of one row; 0: a column */
    int64_t shape[SONDE_STORE_MAX_DIMS];
    sonde_codec codec;
    int64_t chunk_rows;      /* 0: chosen from the target */
    int64_t chunk_target_bytes; /* 0: 1 MiB for activations */
} sonde_dataset_spec;
/* Declares a dataset; its id (>= 0) is given in *id. */
sonde_status sonde_store_declare(sonde_store *store, const sonde_dataset_spec *spec, int32_t *id,
                                 sonde_error *err);
/* A second name (hard link) of a declared dataset, as resid_pre(i+1) is of resid_post(i). */
sonde_status sonde_store_link(sonde_store *store, int32_t id, const char *path, sonde_error *err);
/* Copies rows [first_row, first_row + n_rows) (stored dtype, packed) in. */
sonde_status sonde_store_put(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                             const void *rows, sonde_error *err);
/* Writes a whole small dataset at once (manifest, vocabulary, probe tables); dims slowest first. */
sonde_status sonde_store_write(sonde_store *store, const char *path, sonde_dtype dtype,
                               int32_t n_dims, const int64_t *dims, const void *data,
                               sonde_error *err);
/* Writes a text as a scalar fixed-length UTF-8 string dataset (JSON of /manifest, /run). */
sonde_status sonde_store_write_text(sonde_store *store, const char *path, const char *text,
                                    size_t bytes, sonde_error *err);

/* --- state ------------------------------------------------------------------------------------------ */

typedef struct sonde_store_stats {
    uint64_t raw_bytes, stored_bytes; /* of chunks written so far, before and after the codec */
    uint64_t open_bytes, peak_open_bytes, peak_queue_bytes;
    uint64_t codec_ns, write_ns, wait_ns; /* summed over threads; wait: puts held back */
    int64_t chunks;
} sonde_store_stats;
void sonde_store_stats_get(sonde_store *store, sonde_store_stats *stats);
/* The first failure so far (OK: none). */
sonde_status sonde_store_failure(sonde_store *store, sonde_error *err);

/* Flushes open chunks, trims extents to `rows` of each dataset (rows[id]; NULL: highest row put + 1),
 * writes /chunklog and the attributes sealed = 1 and complete, closes, fsyncs, renames. After a
 * failed write it still seals what holds (rows before the first hole of each dataset are the
 * caller's to give) and returns that first failure. */
sonde_status sonde_store_seal(sonde_store *store, bool complete, const int64_t *rows,
                              sonde_error *err);
/* Is the file under its final name? */
bool sonde_store_is_sealed(const sonde_store *store);
/* Releases everything; an unsealed .part file is removed when `discard`, else left. */
void sonde_store_destroy(sonde_store **store, bool discard);

#endif
