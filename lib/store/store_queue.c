/* store_queue.c - codec threads and the writer thread. */
#include "store_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

/* Room kept for the metadata that sealing writes. */
#define SEAL_RESERVE_BYTES ((uint64_t)256 << 10)
#define SEAL_RESERVE_PER_SET ((uint64_t)8 << 10)
#define SEAL_RESERVE_PER_CHUNK 128u

void sonde_chunk_free(sonde_chunk *chunk)
{
    sonde_free(chunk->data);
    sonde_free(chunk->encoded);
    sonde_free(chunk);
}

void sonde_store_fail(sonde_store *store, sonde_status status, const char *format, ...)
{
    pthread_mutex_lock(&store->lock);
    if (store->failed == SONDE_OK) {
        va_list args;
        va_start(args, format);
        vsnprintf(store->failure.message, sizeof store->failure.message, format, args);
        va_end(args);
        store->failure.status = store->failed = status;
    }
    pthread_cond_broadcast(&store->room);
    pthread_mutex_unlock(&store->lock);
}

static void push(sonde_chunk_queue *queue, sonde_chunk *chunk)
{
    chunk->next = NULL;
    if (queue->last) queue->last->next = chunk;
    else queue->first = chunk;
    queue->last = chunk;
}

static sonde_chunk *pop(sonde_chunk_queue *queue)
{
    sonde_chunk *chunk = queue->first;
    if (!chunk) return NULL;
    queue->first = chunk->next;
    if (!queue->first) queue->last = NULL;
    return chunk;
}

void sonde_store_enqueue(sonde_store *store, sonde_chunk *chunk)
{
    store->queued_bytes += chunk->data_bytes;
    store->stats.peak_queue_bytes = SONDE_MAX(store->stats.peak_queue_bytes, store->queued_bytes);
    push(store->sets[chunk->dataset].spec.codec == SONDE_CODEC_RAW ? &store->to_write
                                                                   : &store->to_encode, chunk);
    pthread_cond_broadcast(&store->work);
}

/* ---- codec threads -------------------------------------------------------------------------------------- */

static void encode_chunk(sonde_store *store, sonde_chunk *chunk, uint8_t **scratch, size_t *capacity)
{
    size_t bound = sonde_codec_bound(SONDE_CODEC_DEFLATE, chunk->data_bytes);
    if (*capacity < chunk->data_bytes) {
        sonde_free(*scratch);
        *scratch = sonde_alloc_raw(chunk->data_bytes, 1);
        *capacity = *scratch ? chunk->data_bytes : 0;
    }
    chunk->encoded = *scratch ? sonde_alloc_raw(bound, 1) : NULL;
    if (!chunk->encoded) {
        sonde_store_fail(store, SONDE_NO_MEMORY, "out of memory: a codec needs %zu bytes", bound);
        return;
    }
    size_t element = store->sets[chunk->dataset].element_bytes;
    chunk->encoded_bytes =
        sonde_deflate_encode(chunk->data, chunk->data_bytes, element, *scratch, chunk->encoded);
    if (chunk->encoded_bytes > 0) return;
    sonde_free(chunk->encoded);
    chunk->encoded = NULL;
}

static void *codec_main(void *argument)
{
    sonde_store *store = argument;
    uint8_t *scratch = NULL;
    size_t capacity = 0;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        sonde_chunk *chunk = pop(&store->to_encode);
        if (!chunk && store->closing) break;
        if (!chunk) {
            pthread_cond_wait(&store->work, &store->lock);
            continue;
        }
        store->encoding++;
        pthread_mutex_unlock(&store->lock);
        uint64_t begin = sonde_now_ns();
        encode_chunk(store, chunk, &scratch, &capacity);
        uint64_t took = sonde_now_ns() - begin;
        pthread_mutex_lock(&store->lock);
        store->stats.codec_ns += took;
        store->encoding--;
        push(&store->to_write, chunk);
        pthread_cond_broadcast(&store->work);
    }
    pthread_mutex_unlock(&store->lock);
    sonde_free(scratch);
    return NULL;
}

/* ---- the writer ------------------------------------------------------------------------------------------ */

/* Is there room for `bytes` more, and for sealing? Names what is needed when there is not. */
static bool check_room(sonde_store *store, uint64_t bytes)
{
    hsize_t size = 0;
    H5Fget_filesize(store->file, &size);
    uint64_t need = bytes + SEAL_RESERVE_BYTES + SEAL_RESERVE_PER_SET * (uint64_t)store->n_sets +
                    SEAL_RESERVE_PER_CHUNK * store->n_log;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (uint64_t)size + need > limit.rlim_cur) {
        sonde_store_fail(store, SONDE_DISK_FULL, "writing %s: the file may not grow past %llu bytes "
                         "(RLIMIT_FSIZE): %llu more are needed", store->part_path,
                         (unsigned long long)limit.rlim_cur, (unsigned long long)need);
        return false;
    }
    struct statvfs disk;
    if (statvfs(store->part_path, &disk) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize < need) {
        sonde_store_fail(store, SONDE_DISK_FULL, "writing %s: the disk is full: %llu bytes are needed, "
                         "%llu are free", store->part_path, (unsigned long long)need,
                         (unsigned long long)disk.f_bavail * disk.f_frsize);
        return false;
    }
    return true;
}

static bool extend(sonde_stored *set, int64_t rows)
{
    if (rows <= set->extent) return true;
    hsize_t dims[SONDE_STORE_MAX_DIMS + 1];
    dims[0] = (hsize_t)rows;
    for (int32_t i = 0; i < set->spec.n_dims; i++) dims[i + 1] = (hsize_t)set->spec.shape[i];
    if (H5Dset_extent(set->id, dims) < 0) return false;
    set->extent = rows;
    return true;
}

/* Writes one chunk where HDF5 puts it: at the end of the file. */
static void write_chunk(sonde_store *store, sonde_chunk *chunk)
{
    pthread_mutex_lock(&store->lock);
    sonde_stored *set = &store->sets[chunk->dataset];
    bool failed = store->failed != SONDE_OK;
    pthread_mutex_unlock(&store->lock);
    if (failed) return;
    const uint8_t *bytes = chunk->encoded ? chunk->encoded : chunk->data;
    size_t n = chunk->encoded ? chunk->encoded_bytes : chunk->data_bytes;
    bool filtered = set->spec.codec != SONDE_CODEC_RAW;
    uint32_t skip = filtered && !chunk->encoded ? 3u : 0u;
    hsize_t at[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)(chunk->index * set->chunk_rows)};
    hsize_t size = 0;
    sonde_h5_lock();
    errno = 0;
    bool room = check_room(store, n);
    bool good = room && extend(set, (chunk->index + 1) * set->chunk_rows) &&
                H5Dwrite_chunk(set->id, H5P_DEFAULT, skip, at, n, bytes) >= 0 &&
                H5Fget_filesize(store->file, &size) >= 0;
    int error_number = errno;
    sonde_h5_unlock();
    if (room && !good)
        sonde_store_fail(store, error_number ? sonde_status_of_errno(error_number) : SONDE_IO,
                         "writing %s: %s", store->part_path,
                         error_number ? strerror(error_number) : "HDF5 refused a chunk");
    if (!good) return;
    pthread_mutex_lock(&store->lock);
    if (sonde_grow(&store->log, &store->log_capacity, store->n_log + 1, sizeof *store->log))
        store->log[store->n_log++] = (sonde_chunk_record){
            (uint32_t)chunk->dataset, chunk->encoded ? SONDE_CODEC_DEFLATE : SONDE_CODEC_RAW,
            (uint64_t)(chunk->index * set->chunk_rows), (uint64_t)size - n, n, sonde_hash64(bytes, n)};
    store->stats.raw_bytes += chunk->data_bytes;
    store->stats.stored_bytes += n;
    store->stats.chunks++;
    pthread_mutex_unlock(&store->lock);
}

static void *writer_main(void *argument)
{
    sonde_store *store = argument;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        sonde_chunk *chunk = pop(&store->to_write);
        bool idle = !store->to_encode.first && store->encoding == 0;
        if (!chunk && store->closing && idle) break;
        if (!chunk) {
            pthread_cond_wait(&store->work, &store->lock);
            continue;
        }
        pthread_mutex_unlock(&store->lock);
        uint64_t begin = sonde_now_ns();
        write_chunk(store, chunk);
        uint64_t took = sonde_now_ns() - begin;
        size_t bytes = chunk->data_bytes;
        sonde_chunk_free(chunk);
        pthread_mutex_lock(&store->lock);
        store->stats.write_ns += took;
        store->queued_bytes -= bytes;
        pthread_cond_broadcast(&store->room);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

sonde_status sonde_store_start_threads(sonde_store *store, sonde_error *err)
{
    int32_t wanted = SONDE_MAX(1, SONDE_MIN(store->options.codec_threads, 16));
    if (pthread_create(&store->writer, NULL, writer_main, store) != 0)
        return sonde_fail(err, SONDE_NO_MEMORY, "cannot start the writer thread");
    store->writer_started = true;
    for (; store->n_codecs < wanted; store->n_codecs++)
        if (pthread_create(&store->codecs[store->n_codecs], NULL, codec_main, store) != 0)
            return sonde_fail(err, SONDE_NO_MEMORY, "cannot start a codec thread");
    return SONDE_OK;
}

void sonde_store_stop_threads(sonde_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_broadcast(&store->work);
    pthread_mutex_unlock(&store->lock);
    for (int32_t i = 0; i < store->n_codecs; i++) pthread_join(store->codecs[i], NULL);
    pthread_mutex_lock(&store->lock);
    pthread_cond_broadcast(&store->work);
    pthread_mutex_unlock(&store->lock);
    if (store->writer_started) pthread_join(store->writer, NULL);
    store->n_codecs = 0;
    store->writer_started = false;
}
