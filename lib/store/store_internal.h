/*
 * store_internal.h - a store being written.
 *
 *   put (any thread) -> open chunks -> encode queue -> codec threads -> write queue -> writer thread
 *
 * `lock` guards everything below it; HDF5 is called under its own lock (h5.h), never while `lock` is
 * held.
 */
#ifndef SONDE_STORE_INTERNAL_H
#define SONDE_STORE_INTERNAL_H

#include "codec.h"
#include "h5.h"

#include <pthread.h>

typedef struct sonde_chunk {
    struct sonde_chunk *next;
    int32_t dataset;
    int64_t index;      /* chunk number */
    int64_t rows;       /* rows put so far */
    uint8_t *data;      /* [chunk_bytes] */
    size_t data_bytes;
    uint8_t *encoded;   /* NULL: raw */
    size_t encoded_bytes;
} sonde_chunk;

typedef struct sonde_chunk_queue {
    sonde_chunk *first, *last;
} sonde_chunk_queue;

typedef struct sonde_stored {
    char *path;
    sonde_dataset_spec spec; /* path points to the copy */
    hid_t id;
    size_t row_bytes, element_bytes;
    int64_t chunk_rows;
    int64_t extent;   /* rows the file's dataset has now */
    int64_t rows_put; /* highest row put + 1 */
    sonde_chunk *open;
} sonde_stored;

typedef struct sonde_chunk_record {
    uint32_t dataset, codec;
    uint64_t first_row, offset, bytes, hash;
} sonde_chunk_record;

struct sonde_store {
    char *path, *part_path;
    sonde_store_options options;
    hid_t file;
    pthread_mutex_t lock;
    pthread_cond_t work, room;
    sonde_stored *sets;
    int32_t n_sets;
    size_t set_capacity;
    sonde_chunk_queue to_encode, to_write;
    uint64_t queued_bytes;
    bool closing, writer_busy;
    int32_t encoding;
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

/* store_queue.c */
sonde_status sonde_store_start_threads(sonde_store *store, sonde_error *err);
/* Waits until nothing is queued, then ends the threads. */
void sonde_store_stop_threads(sonde_store *store);
void sonde_store_enqueue(sonde_store *store, sonde_chunk *chunk); /* under the lock */
void sonde_store_fail(sonde_store *store, sonde_status status, const char *format, ...)
    SONDE_PRINTF(3, 4);
void sonde_chunk_free(sonde_chunk *chunk);

#endif
