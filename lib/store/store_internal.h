/*
 * store_internal.h - a store being written.
 *
 *   put (any thread) -> open chunks -> encode queue -> codec threads -> write queue -> writer thread
 *
 * Chunks that a codec will shuffle are open as planes: rows are split into bytes as they come in.
 *
 * `lock` guards everything below it in sonde_store and in its sets; it is held for bookkeeping only:
 * rows are copied, encoded and written outside it. HDF5 is called under its own lock (h5.h), and
 * `lock` is never held while that one is waited for.
 */
#ifndef SONDE_STORE_INTERNAL_H
#define SONDE_STORE_INTERNAL_H

#include "codec.h"
#include "h5.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct sonde_stored sonde_stored;

/* Rows [begin, end) of a chunk. */
typedef struct sonde_span {
    int64_t begin, end;
} sonde_span;

typedef struct sonde_chunk {
    struct sonde_chunk *next; /* in a queue */
    sonde_stored *set;
    int64_t index;            /* chunk number */
    sonde_span *spans;        /* rows that puts have claimed: rising, apart from each other */
    size_t n_spans, span_capacity;
    _Atomic int64_t landed;   /* rows copied in; all of them: the chunk is full */
    uint8_t *data; /* [chunk_rows, row_bytes], or planes of it (set->planar); rows outside
                                 spans: see fill_gaps */
    size_t filled_bytes;      /* when queued: zeros from here on, not written to memory */
    uint8_t *encoded;         /* planar sets: what goes into the file */
    size_t encoded_bytes;
    bool raw; /* encoded holds the chunk as it is: it does not get smaller */
} sonde_chunk;

#define SONDE_CHUNK_ON_ITS_WAY (-1)

typedef struct sonde_chunk_queue {
    sonde_chunk *first, *last;
} sonde_chunk_queue;

struct sonde_stored {
    int32_t number;
    char *path;
    sonde_dataset_spec spec; /* path points to the copy */
    hid_t id;
    size_t row_bytes, element_bytes, chunk_bytes;
    int64_t chunk_rows;
    bool planar;        /* open chunks hold the planes that the codec takes */
    int64_t extent;     /* rows the file's dataset has now (writer, seal) */
    bool reopened;      /* since its last chunk was written: HDF5 may read it */
    int64_t rows_put;   /* highest row put + 1 */
    sonde_chunk **open; /* by rising index */
    size_t n_open, open_capacity;
    int64_t *written;   /* per chunk: its leading rows that are in the file, or ON_ITS_WAY */
    size_t n_written, written_capacity;
};

typedef struct sonde_chunk_record {
    uint32_t dataset, codec;
    uint64_t first_row, offset, bytes, hash;
} sonde_chunk_record;

/* A free block of memory of chunks, linked through itself. */
typedef struct sonde_spare {
    struct sonde_spare *next;
    size_t bytes;
} sonde_spare;

struct sonde_store {
    char *path, *part_path;
    sonde_store_options options;
    hid_t file;
    pthread_mutex_t lock;
    pthread_cond_t work; /* something to encode or to write, or the end */
    pthread_cond_t room; /* less is queued */
    sonde_stored **sets;
    int32_t n_sets;
    size_t set_capacity;
    sonde_chunk_queue to_encode, to_write;
    uint64_t queued_bytes;
    int64_t n_queued; /* chunks between the open ones and the file */
    sonde_spare *spares;
    uint64_t spare_bytes;
    uint64_t kept_bytes;     /* of rows put into open or queued chunks with keep_room */
    uint64_t reserved_bytes; /* sonde_store_reserve */
    int scratch;             /* file descriptor; -1: nothing went there yet */
    uint64_t scratch_bytes;
    bool finished, closing;
    pthread_t writer, codecs[16];
    int32_t n_codecs;
    bool writer_started;
    sonde_chunk_record *log;
    size_t n_log, log_capacity;
    sonde_status failed;
    sonde_error failure;
    sonde_store_stats stats;
    bool sealed;
};

/* store.c */
sonde_status sonde_store_io_error(const sonde_store *store, const char *what, sonde_error *err);

/* store_chunk.c: under the lock */
/* The open chunk of that number with rows [begin, end) of it claimed; NULL: *err says why. */
sonde_chunk *sonde_chunk_claim(sonde_store *store, sonde_stored *set, int64_t index,
                               sonde_span rows, sonde_error *err);
/* Takes an open chunk out and queues it. */
void sonde_chunk_close(sonde_store *store, sonde_chunk *chunk);
/* Leading rows of a chunk that were put. */
int64_t sonde_chunk_prefix(const sonde_chunk *chunk);
/* What a chunk with keep_room counts in kept_bytes. */
uint64_t sonde_chunk_kept_bytes(const sonde_chunk *chunk);
void sonde_chunk_free(sonde_store *store, sonde_chunk *chunk);
/* Memory that goes round; NULL: none left. */
uint8_t *sonde_spare_take(sonde_store *store, size_t bytes);
void sonde_spare_give(sonde_store *store, uint8_t *block, size_t bytes);
void sonde_spare_free(sonde_store *store);

/* store_queue.c */
sonde_status sonde_store_start_threads(sonde_store *store, sonde_error *err);
/* Waits until nothing is queued, then ends the threads. */
void sonde_store_stop_threads(sonde_store *store);
void sonde_store_enqueue(sonde_store *store, sonde_chunk *chunk); /* under the lock */
/* Waits until nothing is queued, coding chunks meanwhile. Under the lock. */
void sonde_store_drain(sonde_store *store);

/* store_write.c */
/* Keeps the first failure. [any thread, lock not held] */
void sonde_store_fail(sonde_store *store, sonde_status status, const char *format, ...)
    SONDE_PRINTF(3, 4);
/* Is there room for `bytes` more and, unless something failed before, for all that sealing writes?
 * Else fails the store and *err. Under the HDF5 lock. */
bool sonde_store_check_room(sonde_store *store, uint64_t bytes, sonde_error *err);
void sonde_store_write_chunk(sonde_store *store, sonde_chunk *chunk);

#endif
