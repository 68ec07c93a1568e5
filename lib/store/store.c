/* store.c - creating a store, declaring datasets, taking rows. */
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_QUEUE_BYTES ((uint64_t)64 << 20)
#define DEFAULT_CHUNK_BYTES ((int64_t)1 << 20)
#define MOST_CHUNK_ROWS 4096
#define COMPACT_ATTRIBUTES 48 /* of a dataset, kept in its header */

sonde_status sonde_store_io_error(const sonde_store *store, const char *what, sonde_error *err)
{
    return sonde_fail(err, SONDE_IO, "%s: HDF5 could not write %s", store->part_path, what);
}

/* ---- creation -------------------------------------------------------------------------------- */

/* Makes the .part file, or takes an old one over when no process holds it (HDF5 locks what it writes
 * by flock). */
static sonde_status take_part(const sonde_store *store, sonde_error *err)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (store->options.overwrite ? 0 : O_EXCL);
    int fd = open(store->part_path, flags, 0666);
    if (fd < 0 && errno == EEXIST)
        return sonde_fail(err, SONDE_EXISTS, "output %s exists; --overwrite replaces it",
                          store->part_path);
    if (fd < 0)
        return sonde_fail(err, errno == ENOSPC || errno == EDQUOT ? SONDE_DISK_FULL : SONDE_IO,
                          "cannot write %s: %s", store->part_path, strerror(errno));
    bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return taken ? sonde_fail(err, SONDE_EXISTS, "output %s is being written by another process",
                              store->part_path)
                 : SONDE_OK;
}

/* Only a file is ever replaced: a device or a pipe under the output's name is never renamed over. */
static sonde_status check_output(const sonde_store *store, sonde_error *err)
{
    struct stat there;
    bool exists = stat(store->path, &there) == 0;
    if (!*store->path)
        return sonde_fail(err, SONDE_USAGE, "output: expected the name of a file, got an empty one");
    if (exists && S_ISDIR(there.st_mode))
        return sonde_fail(err, SONDE_EXISTS, "output %s is a folder", store->path);
    if (exists && !S_ISREG(there.st_mode))
        return sonde_fail(err, SONDE_EXISTS, "output %s is no regular file", store->path);
    if (!store->options.overwrite && sonde_path_exists(store->path))
        return sonde_fail(err, SONDE_EXISTS, "output %s exists; --overwrite replaces it",
                          store->path);
    return take_part(store, err);
}

static sonde_status create_file(sonde_store *store, sonde_error *err)
{
    sonde_h5_lock();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
    H5Pset_small_data_block_size(access, 0);
    H5Pset_file_locking(access, true, true);
    store->file = H5Fcreate(store->part_path, H5F_ACC_TRUNC, create, access);
    bool good = store->file >= 0 && sonde_h5_put_int(store->file, "sealed", 0) &&
                sonde_h5_put_int(store->file, "complete", 0);
    H5Pclose(access);
    H5Pclose(create);
    sonde_h5_unlock();
    return good ? SONDE_OK
                : sonde_fail(err, SONDE_IO, "cannot create %s as an HDF5 file", store->part_path);
}

sonde_status sonde_store_create(const sonde_store_options *options, sonde_store **out,
                                sonde_error *err)
{
    sonde_store *store = sonde_alloc(1, sizeof *store);
    if (!store) return sonde_no_memory(err, "a store", sizeof *store);
    store->file = H5I_INVALID_HID;
    store->scratch = -1;
    store->options = *options;
    if (!store->options.queue_bytes) store->options.queue_bytes = DEFAULT_QUEUE_BYTES;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->work, NULL);
    pthread_cond_init(&store->room, NULL);
    store->path = sonde_strdup(options->path);
    sonde_string part = {0};
    sonde_string_format(&part, "%s.part", options->path);
    store->part_path = part.data;
    sonde_status status = store->path && !part.failed ? check_output(store, err)
                                                      : sonde_no_memory(err, "a path", 64);
    bool made = status == SONDE_OK;
    if (made) status = create_file(store, err);
    if (status == SONDE_OK) status = sonde_store_start_threads(store, err);
    if (status == SONDE_OK) *out = store;
    else sonde_store_destroy(&store, made);
    return status;
}

static void free_set(sonde_store *store, sonde_stored *set)
{
    for (size_t i = 0; i < set->n_open; i++) sonde_chunk_free(store, set->open[i]);
    sonde_free(set->open);
    sonde_free(set->written);
    sonde_free(set->path);
    sonde_free(set);
}

static void close_handles(sonde_store *store)
{
    sonde_h5_lock();
    for (int32_t i = 0; i < store->n_sets; i++)
        if (store->sets[i]->id >= 0) H5Dclose(store->sets[i]->id);
    if (store->file >= 0) H5Fclose(store->file);
    sonde_h5_unlock();
}

void sonde_store_destroy(sonde_store **out, bool discard)
{
    sonde_store *store = *out;
    if (!store) return;
    if (!store->finished) sonde_store_fail(store, SONDE_INTERRUPTED, "the store was given up");
    sonde_store_stop_threads(store);
    close_handles(store);
    if (store->scratch >= 0) close(store->scratch);
    if (discard && !store->sealed && store->part_path) unlink(store->part_path);
    for (int32_t i = 0; i < store->n_sets; i++) free_set(store, store->sets[i]);
    sonde_spare_free(store);
    sonde_free(store->sets);
    sonde_free(store->log);
    sonde_free(store->path);
    sonde_free(store->part_path);
    pthread_cond_destroy(&store->room);
    pthread_cond_destroy(&store->work);
    pthread_mutex_destroy(&store->lock);
    sonde_free(store);
    *out = NULL;
}

/* ---- declaration ----------------------------------------------------------------------------- */

/* A power of two nearest target / row bytes, from 8 to 4096 rows. */
static int64_t chunk_rows_for(size_t row_bytes, int64_t target)
{
    double wanted = (double)target / (double)row_bytes;
    int64_t rows = 8;
    while (rows < MOST_CHUNK_ROWS && (double)rows * 1.41421356 < wanted) rows *= 2;
    return rows;
}

static hid_t create_dataset(sonde_store *store, const sonde_stored *set)
{
    hsize_t dims[SONDE_STORE_MAX_DIMS + 1] = {0}, most[SONDE_STORE_MAX_DIMS + 1] = {H5S_UNLIMITED};
    hsize_t chunk[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)set->chunk_rows};
    for (int32_t i = 0; i < set->spec.n_dims; i++)
        dims[i + 1] = most[i + 1] = chunk[i + 1] = (hsize_t)set->spec.shape[i];
    if (!sonde_h5_make_parents(store->file, set->path)) return H5I_INVALID_HID;
    hid_t space = H5Screate_simple(set->spec.n_dims + 1, dims, most);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), type = sonde_h5_type(set->spec.dtype);
    H5Pset_chunk(create, set->spec.n_dims + 1, chunk);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    H5Pset_attr_phase_change(create, COMPACT_ATTRIBUTES, COMPACT_ATTRIBUTES - 8);
    if (set->spec.codec == SONDE_CODEC_DEFLATE) {
        H5Pset_shuffle(create);
        H5Pset_deflate(create, 1);
    }
    hid_t id = H5Dcreate2(store->file, set->path, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Tclose(type);
    H5Pclose(create);
    H5Sclose(space);
    return id;
}

/* Bytes of a row and of a chunk; HDF5's chunks are below 4 GiB. */
static sonde_status measure(sonde_stored *set, sonde_error *err)
{
    const sonde_dataset_spec *spec = &set->spec;
    bool good = spec->n_dims >= 0 && spec->n_dims <= SONDE_STORE_MAX_DIMS &&
                sonde_dtype_bytes(spec->dtype, 1) <= 8 && spec->chunk_rows >= 0;
    set->element_bytes = good ? sonde_dtype_bytes(spec->dtype, 1) : 1;
    set->row_bytes = set->element_bytes;
    for (int32_t i = 0; good && i < spec->n_dims; i++)
        good = spec->shape[i] > 0 &&
               sonde_mul_size(set->row_bytes, (size_t)spec->shape[i], &set->row_bytes);
    int64_t target = spec->chunk_target_bytes ? spec->chunk_target_bytes : DEFAULT_CHUNK_BYTES;
    set->chunk_rows = spec->chunk_rows ? spec->chunk_rows : chunk_rows_for(set->row_bytes, target);
    good = good && sonde_mul_size(set->row_bytes, (size_t)set->chunk_rows, &set->chunk_bytes) &&
           set->chunk_bytes < UINT32_MAX;
    set->planar = spec->codec == SONDE_CODEC_DEFLATE;
    return good ? SONDE_OK : sonde_fail(err, SONDE_INTERNAL, "dataset %s: a bad shape", spec->path);
}

static sonde_status append_set(sonde_store *store, sonde_stored *set, sonde_error *err)
{
    pthread_mutex_lock(&store->lock);
    bool grown = sonde_grow(&store->sets, &store->set_capacity, (size_t)store->n_sets + 1,
                            sizeof(sonde_stored *));
    set->number = store->n_sets;
    if (grown) store->sets[store->n_sets++] = set;
    pthread_mutex_unlock(&store->lock);
    return grown ? SONDE_OK : sonde_no_memory(err, set->path, sizeof *set);
}

sonde_status sonde_store_declare(sonde_store *store, const sonde_dataset_spec *spec, int32_t *id,
                                 sonde_error *err)
{
    sonde_stored *set = sonde_alloc(1, sizeof *set);
    if (!set) return sonde_no_memory(err, spec->path, sizeof *set);
    set->id = H5I_INVALID_HID;
    set->spec = *spec;
    set->spec.path = set->path = sonde_strdup(spec->path);
    sonde_status status = set->path ? measure(set, err) : sonde_no_memory(err, spec->path, 64);
    if (status == SONDE_OK) status = append_set(store, set, err);
    if (status != SONDE_OK) {
        free_set(store, set);
        return status;
    }
    *id = set->number;
    sonde_h5_lock();
    set->id = create_dataset(store, set);
    sonde_h5_unlock();
    return set->id >= 0 ? SONDE_OK : sonde_store_io_error(store, spec->path, err);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A set that rows may be put into, when there is room in the queue. NULL: *status says why. */
static sonde_stored *wait_for_room(sonde_store *store, int32_t id, sonde_status *status,
                                   sonde_error *err)
{
    sonde_stored *set = NULL;
    uint64_t begin = 0;
    pthread_mutex_lock(&store->lock);
    while (store->failed == SONDE_OK && store->queued_bytes > store->options.queue_bytes) {
        if (!begin) begin = sonde_now_ns();
        pthread_cond_wait(&store->room, &store->lock);
    }
    if (begin) store->stats.wait_ns += sonde_now_ns() - begin;
    if (store->failed != SONDE_OK)
        *status = sonde_fail(err, store->failed, "%s", store->failure.message);
    else if (store->finished || id < 0 || id >= store->n_sets)
        *status = sonde_fail(err, SONDE_INTERNAL, "%s: rows for dataset %d %s", store->part_path,
                             (int)id, store->finished ? "after the last" : "which is none");
    else
        set = store->sets[id];
    pthread_mutex_unlock(&store->lock);
    return set;
}

void sonde_store_place_copy(const sonde_store_place *place, size_t at, size_t n,
                            const void *elements)
{
    size_t bytes = place->element_bytes;
    if (place->plane_stride == 0) memcpy(place->data + at * bytes, elements, n * bytes);
    else sonde_shuffle(elements, n, bytes, place->plane_stride, place->data + at);
}

static sonde_store_place place_in(const sonde_chunk *chunk, int64_t row)
{
    const sonde_stored *set = chunk->set;
    size_t at = (size_t)row * set->row_bytes / (set->planar ? set->element_bytes : 1);
    return (sonde_store_place){.data = chunk->data + at,
                               .element_bytes = set->element_bytes,
                               .row_bytes = set->row_bytes,
                               .plane_stride =
                                   set->planar ? set->chunk_bytes / set->element_bytes : 0};
}

/* What a put brings. */
typedef struct put_source {
    sonde_store_fill *fill;
    void *context;
} put_source;

/* Rows of one chunk: claimed under the lock, filled outside it; who lands the last row queues it. */
static sonde_status put_part(sonde_store *store, sonde_stored *set, int64_t index, sonde_span rows,
                             const put_source *source, int64_t row, sonde_error *err)
{
    sonde_error why = {0};
    int64_t n = rows.end - rows.begin;
    pthread_mutex_lock(&store->lock);
    sonde_chunk *chunk = sonde_chunk_claim(store, set, index, rows, &why);
    pthread_mutex_unlock(&store->lock);
    if (!chunk) {
        sonde_store_fail(store, why.status, "%s", why.message);
        return sonde_fail(err, why.status, "%s", why.message);
    }
    sonde_store_place place = place_in(chunk, rows.begin);
    source->fill(source->context, row, n, &place);
    if (atomic_fetch_add_explicit(&chunk->landed, n, memory_order_acq_rel) + n < set->chunk_rows)
        return SONDE_OK;
    pthread_mutex_lock(&store->lock);
    sonde_chunk_close(store, chunk);
    pthread_mutex_unlock(&store->lock);
    return SONDE_OK;
}

sonde_status sonde_store_put_from(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                                  sonde_store_fill *fill, void *context, sonde_error *err)
{
    put_source source = {fill, context};
    sonde_status status = SONDE_OK;
    sonde_stored *set = wait_for_room(store, id, &status, err);
    if (!set || n_rows == 0) return status;
    if (first_row < 0 || n_rows < 0 || first_row > INT64_MAX - n_rows)
        return sonde_fail(err, SONDE_INTERNAL, "/%s: rows from %lld, %lld of them", set->path,
                          (long long)first_row, (long long)n_rows);
    for (int64_t row = 0; row < n_rows;) {
        int64_t index = (first_row + row) / set->chunk_rows,
                at = (first_row + row) % set->chunk_rows;
        int64_t n = SONDE_MIN(n_rows - row, set->chunk_rows - at);
        SONDE_TRY(put_part(store, set, index, (sonde_span){at, at + n}, &source, row, err));
        row += n;
    }
    return SONDE_OK;
}

void sonde_store_fill_packed(void *context, int64_t row, int64_t n_rows,
                             const sonde_store_place *place)
{
    const uint8_t *rows = *(const void *const *)context;
    sonde_store_place_copy(place, 0, (size_t)n_rows * place->row_bytes / place->element_bytes,
                           rows + (size_t)row * place->row_bytes);
}

sonde_status sonde_store_put(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                             const void *rows, sonde_error *err)
{
    return sonde_store_put_from(store, id, first_row, n_rows, sonde_store_fill_packed, &rows, err);
}
