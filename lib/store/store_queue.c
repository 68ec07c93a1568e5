/* store_queue.c - codec threads and the writer thread. */
#include "store_internal.h"

#include <signal.h>
#include <string.h>

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
    store->n_queued++;
    store->queued_bytes += chunk->set->chunk_bytes;
    store->stats.peak_queue_bytes = SONDE_MAX(store->stats.peak_queue_bytes, store->queued_bytes);
    push(chunk->set->spec.codec == SONDE_CODEC_RAW ? &store->to_write : &store->to_encode, chunk);
    pthread_cond_broadcast(&store->work);
}

/* ---- codec threads --------------------------------------------------------------------------- */

/* A chunk that does not get smaller goes raw. */
static void encode_chunk(sonde_chunk *chunk, uint8_t *out)
{
    const sonde_stored *set = chunk->set;
    size_t n = set->chunk_bytes / set->element_bytes;
    chunk->encoded = out;
    chunk->encoded_bytes = sonde_deflate_encode(chunk->data, set->chunk_bytes, chunk->filled_bytes,
                                                set->element_bytes, out);
    if (chunk->encoded_bytes > 0) return;
    sonde_unshuffle(chunk->data, chunk->filled_bytes / set->element_bytes, set->element_bytes, n,
                    out);
    memset(out + chunk->filled_bytes, 0, set->chunk_bytes - chunk->filled_bytes);
    chunk->encoded_bytes = set->chunk_bytes;
    chunk->raw = true;
}

/* Under the lock, which is let go while the chunk is coded. */
static void code_one(sonde_store *store, sonde_chunk *chunk)
{
    size_t bound = sonde_codec_bound(SONDE_CODEC_DEFLATE, chunk->set->chunk_bytes);
    bool wanted = store->failed == SONDE_OK || chunk->set->spec.keep_room;
    uint8_t *out = wanted ? sonde_spare_take(store, bound) : NULL;
    pthread_mutex_unlock(&store->lock);
    uint64_t begin = sonde_now_ns();
    if (out) encode_chunk(chunk, out);
    else if (wanted)
        sonde_store_fail(store, SONDE_NO_MEMORY, "%s: no memory to code a chunk", store->part_path);
    uint64_t took = sonde_now_ns() - begin;
    pthread_mutex_lock(&store->lock);
    store->stats.codec_ns += took;
    push(&store->to_write, chunk);
    pthread_cond_broadcast(&store->work);
}

static void *codec_main(void *argument)
{
    sonde_store *store = argument;
    pthread_mutex_lock(&store->lock);
    while (store->to_encode.first || !store->closing) {
        sonde_chunk *chunk = pop(&store->to_encode);
        if (chunk) code_one(store, chunk);
        else pthread_cond_wait(&store->work, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

void sonde_store_drain(sonde_store *store)
{
    while (store->n_queued > 0) {
        sonde_chunk *chunk = pop(&store->to_encode);
        if (chunk) code_one(store, chunk);
        else pthread_cond_wait(&store->room, &store->lock);
    }
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void write_one(sonde_store *store, sonde_chunk *chunk)
{
    pthread_mutex_unlock(&store->lock);
    uint64_t begin = sonde_now_ns();
    sonde_store_write_chunk(store, chunk);
    uint64_t took = sonde_now_ns() - begin;
    pthread_mutex_lock(&store->lock);
    store->stats.write_ns += took;
    store->queued_bytes -= chunk->set->chunk_bytes;
    store->n_queued--;
    sonde_spare_give(store, chunk->encoded,
                     sonde_codec_bound(SONDE_CODEC_DEFLATE, chunk->set->chunk_bytes));
    sonde_chunk_free(store, chunk);
    pthread_cond_broadcast(&store->room);
    if (store->n_queued == 0) pthread_cond_broadcast(&store->work);
}

static void *writer_main(void *argument)
{
    sonde_store *store = argument;
    pthread_mutex_lock(&store->lock);
    while (store->n_queued > 0 || !store->closing) {
        sonde_chunk *chunk = pop(&store->to_write);
        if (chunk) write_one(store, chunk);
        else pthread_cond_wait(&store->work, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static sonde_status start_threads(sonde_store *store, sonde_error *err)
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

/* The threads take no signals: those are for the program's own, and a file that may not grow fails
 * by an error number. */
sonde_status sonde_store_start_threads(sonde_store *store, sonde_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    sonde_status status = start_threads(store, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

void sonde_store_stop_threads(sonde_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_broadcast(&store->work);
    pthread_mutex_unlock(&store->lock);
    for (int32_t i = 0; i < store->n_codecs; i++) pthread_join(store->codecs[i], NULL);
    if (store->writer_started) pthread_join(store->writer, NULL);
    store->n_codecs = 0;
    store->writer_started = false;
}
