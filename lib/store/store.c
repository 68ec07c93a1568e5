/* store.c - creating a store, declaring datasets, taking rows, sealing. */
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_QUEUE_BYTES ((uint64_t)64 << 20)
#define DEFAULT_CHUNK_BYTES ((int64_t)1 << 20)
#define MOST_CHUNK_ROWS 4096

static sonde_status io_error(const sonde_store *store, const char *what, sonde_error *err)
{
    return sonde_fail(err, SONDE_IO, "%s: HDF5 could not write %s", store->part_path, what);
}

/* ---- creation --------------------------------------------------------------------------------------- */

static sonde_status check_output(const sonde_store *store, sonde_error *err)
{
    const char *taken = sonde_path_exists(store->path) ? store->path
                        : sonde_path_exists(store->part_path) ? store->part_path : NULL;
    if (taken && !store->options.overwrite)
        return sonde_fail(err, SONDE_EXISTS, "output %s exists; --overwrite replaces it", taken);
    int fd = open(store->part_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return sonde_fail(err, SONDE_IO, "cannot write %s: %s", store->part_path, strerror(errno));
    close(fd);
    return SONDE_OK;
}

static sonde_status create_file(sonde_store *store, sonde_error *err)
{
    sonde_h5_lock();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
    H5Pset_small_data_block_size(access, 0);
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

void sonde_store_destroy(sonde_store **out, bool discard)
{
    sonde_store *store = *out;
    if (!store) return;
    if (store->writer_started) sonde_store_stop_threads(store);
    sonde_h5_lock();
    for (int32_t i = 0; i < store->n_sets; i++)
        if (store->sets[i].id >= 0) H5Dclose(store->sets[i].id);
    if (store->file >= 0) H5Fclose(store->file);
    sonde_h5_unlock();
    if (discard && !store->sealed && store->part_path) unlink(store->part_path);
    for (int32_t i = 0; i < store->n_sets; i++) {
        for (sonde_chunk *c = store->sets[i].open, *next; c; c = next) {
            next = c->next;
            sonde_chunk_free(c);
        }
        sonde_free(store->sets[i].path);
    }
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

/* ---- attributes ---------------------------------------------------------------------------------------- */

static hid_t open_object(sonde_store *store, const char *object)
{
    const char *path = object[0] == '/' && object[1] ? object + 1 : object;
    sonde_h5_make_parents(store->file, path);
    if (strcmp(path, "/") != 0 && H5Lexists(store->file, path, H5P_DEFAULT) <= 0) {
        hid_t made = H5Gcreate2(store->file, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (made >= 0) H5Gclose(made);
    }
    return H5Oopen(store->file, path, H5P_DEFAULT);
}

#define WITH_OBJECT(expression)                                                                    \
    sonde_h5_lock();                                                                               \
    hid_t id = open_object(store, object);                                                         \
    bool good = id >= 0 && (expression);                                                           \
    if (id >= 0) H5Oclose(id);                                                                     \
    sonde_h5_unlock();                                                                             \
    return good ? SONDE_OK : io_error(store, name, err)

sonde_status sonde_store_attr_text(sonde_store *store, const char *object, const char *name,
                                   const char *value, sonde_error *err)
{
    WITH_OBJECT(sonde_h5_put_text(id, name, value));
}

sonde_status sonde_store_attr_int(sonde_store *store, const char *object, const char *name,
                                  int64_t value, sonde_error *err)
{
    WITH_OBJECT(sonde_h5_put_int(id, name, value));
}

sonde_status sonde_store_attr_float(sonde_store *store, const char *object, const char *name,
                                    double value, sonde_error *err)
{
    WITH_OBJECT(sonde_h5_put_float(id, name, value));
}

sonde_status sonde_store_attr_texts(sonde_store *store, const char *object, const char *name,
                                    const char *const *values, int64_t count, sonde_error *err)
{
    if (count == 0) return SONDE_OK;
    WITH_OBJECT(sonde_h5_put_texts(id, name, values, count));
}

/* ---- declaration --------------------------------------------------------------------------------------- */

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

sonde_status sonde_store_declare(sonde_store *store, const sonde_dataset_spec *spec, int32_t *id,
                                 sonde_error *err)
{
    int64_t elements = 1;
    for (int32_t i = 0; i < spec->n_dims; i++)
        if (spec->shape[i] <= 0 || !sonde_mul_i64(elements, spec->shape[i], &elements))
            return sonde_fail(err, SONDE_INTERNAL, "dataset %s: a bad shape", spec->path);
    pthread_mutex_lock(&store->lock);
    bool grown = sonde_grow(&store->sets, &store->set_capacity, (size_t)store->n_sets + 1,
                            sizeof *store->sets);
    sonde_stored *set = grown ? &store->sets[store->n_sets] : NULL;
    if (set) {
        memset(set, 0, sizeof *set);
        set->path = sonde_strdup(spec->path);
        set->spec = *spec;
        set->spec.path = set->path;
        set->element_bytes = sonde_dtype_bytes(spec->dtype, 1);
        set->row_bytes = set->element_bytes * (size_t)elements;
        int64_t target = spec->chunk_target_bytes ? spec->chunk_target_bytes : DEFAULT_CHUNK_BYTES;
        set->chunk_rows = spec->chunk_rows ? spec->chunk_rows : chunk_rows_for(set->row_bytes, target);
        *id = store->n_sets++;
    }
    pthread_mutex_unlock(&store->lock);
    if (!set || !set->path) return sonde_no_memory(err, spec->path, sizeof *set);
    sonde_h5_lock();
    set->id = create_dataset(store, set);
    sonde_h5_unlock();
    return set->id >= 0 ? SONDE_OK : io_error(store, spec->path, err);
}

sonde_status sonde_store_link(sonde_store *store, int32_t id, const char *path, sonde_error *err)
{
    sonde_h5_lock();
    bool good = sonde_h5_make_parents(store->file, path) &&
                H5Lcreate_hard(store->file, store->sets[id].path, store->file, path, H5P_DEFAULT,
                               H5P_DEFAULT) >= 0;
    sonde_h5_unlock();
    return good ? SONDE_OK : io_error(store, path, err);
}

/* ---- rows ------------------------------------------------------------------------------------------------ */

static sonde_chunk *open_chunk(sonde_store *store, int32_t id, int64_t index)
{
    sonde_stored *set = &store->sets[id];
    for (sonde_chunk *c = set->open; c; c = c->next)
        if (c->index == index) return c;
    sonde_chunk *chunk = sonde_alloc(1, sizeof *chunk);
    if (!chunk) return NULL;
    chunk->dataset = id;
    chunk->index = index;
    chunk->data_bytes = (size_t)set->chunk_rows * set->row_bytes;
    chunk->data = sonde_alloc(chunk->data_bytes, 1);
    if (!chunk->data) {
        sonde_free(chunk);
        return NULL;
    }
    chunk->next = set->open;
    set->open = chunk;
    store->stats.open_bytes += chunk->data_bytes;
    store->stats.peak_open_bytes = SONDE_MAX(store->stats.peak_open_bytes, store->stats.open_bytes);
    return chunk;
}

static void take_out(sonde_store *store, sonde_stored *set, sonde_chunk *chunk)
{
    sonde_chunk **at = &set->open;
    while (*at != chunk) at = &(*at)->next;
    *at = chunk->next;
    store->stats.open_bytes -= chunk->data_bytes;
}

static sonde_status put_rows(sonde_store *store, int32_t id, int64_t first, int64_t n,
                             const uint8_t *rows, sonde_error *err)
{
    sonde_stored *set = &store->sets[id];
    while (n > 0) {
        int64_t index = first / set->chunk_rows, at = first % set->chunk_rows;
        int64_t count = SONDE_MIN(n, set->chunk_rows - at);
        sonde_chunk *chunk = open_chunk(store, id, index);
        if (!chunk) return sonde_no_memory(err, "an open chunk", (size_t)set->chunk_rows * set->row_bytes);
        memcpy(chunk->data + (size_t)at * set->row_bytes, rows, (size_t)count * set->row_bytes);
        chunk->rows += count;
        if (chunk->rows == set->chunk_rows) {
            take_out(store, set, chunk);
            sonde_store_enqueue(store, chunk);
        }
        rows += (size_t)count * set->row_bytes;
        first += count;
        n -= count;
    }
    set->rows_put = SONDE_MAX(set->rows_put, first);
    return SONDE_OK;
}

sonde_status sonde_store_put(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                             const void *rows, sonde_error *err)
{
    pthread_mutex_lock(&store->lock);
    uint64_t begin = 0;
    while (store->failed == SONDE_OK && store->queued_bytes > store->options.queue_bytes) {
        if (!begin) begin = sonde_now_ns();
        pthread_cond_wait(&store->room, &store->lock);
    }
    if (begin) store->stats.wait_ns += sonde_now_ns() - begin;
    sonde_status status = store->failed;
    if (status == SONDE_OK) status = put_rows(store, id, first_row, n_rows, rows, err);
    else sonde_fail(err, status, "%s", store->failure.message);
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* ---- whole datasets -------------------------------------------------------------------------------------- */

sonde_status sonde_store_write(sonde_store *store, const char *path, sonde_dtype dtype,
                               int32_t n_dims, const int64_t *dims, const void *data,
                               sonde_error *err)
{
    hsize_t sizes[8] = {0};
    for (int32_t i = 0; i < n_dims && i < 8; i++) sizes[i] = (hsize_t)dims[i];
    sonde_h5_lock();
    hid_t type = sonde_h5_type(dtype);
    hid_t space = n_dims > 0 ? H5Screate_simple(n_dims, sizes, NULL) : H5Screate(H5S_SCALAR);
    hid_t id = sonde_h5_make_parents(store->file, path)
                   ? H5Dcreate2(store->file, path, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)
                   : H5I_INVALID_HID;
    bool empty = H5Sget_simple_extent_npoints(space) == 0;
    bool good = id >= 0 && (empty || H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    if (id >= 0) H5Dclose(id);
    H5Sclose(space);
    H5Tclose(type);
    sonde_h5_unlock();
    return good ? SONDE_OK : io_error(store, path, err);
}

sonde_status sonde_store_write_text(sonde_store *store, const char *path, const char *text,
                                    size_t bytes, sonde_error *err)
{
    sonde_h5_lock();
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, bytes ? bytes : 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    hid_t id = sonde_h5_make_parents(store->file, path)
                   ? H5Dcreate2(store->file, path, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)
                   : H5I_INVALID_HID;
    bool good = id >= 0 && H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes ? text : "") >= 0;
    if (id >= 0) H5Dclose(id);
    H5Sclose(space);
    H5Tclose(type);
    sonde_h5_unlock();
    return good ? SONDE_OK : io_error(store, path, err);
}

/* ---- state and seal ---------------------------------------------------------------------------------------- */

void sonde_store_stats_get(sonde_store *store, sonde_store_stats *stats)
{
    pthread_mutex_lock(&store->lock);
    *stats = store->stats;
    pthread_mutex_unlock(&store->lock);
}

sonde_status sonde_store_failure(sonde_store *store, sonde_error *err)
{
    pthread_mutex_lock(&store->lock);
    sonde_status status = store->failed;
    if (status != SONDE_OK) sonde_fail(err, status, "%s", store->failure.message);
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* Rows of a dataset that are all in the file, from the chunks written. */
static int64_t rows_on_disk(const sonde_store *store, int32_t id)
{
    const sonde_stored *set = &store->sets[id];
    int64_t next = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < store->n_log; i++) {
            if (store->log[i].dataset != (uint32_t)id || (int64_t)store->log[i].first_row != next) continue;
            next += set->chunk_rows;
            moved = true;
        }
    }
    return next;
}

/* Tail chunks go out with what they hold. */
static void flush_open(sonde_store *store)
{
    pthread_mutex_lock(&store->lock);
    for (int32_t i = 0; i < store->n_sets && store->failed == SONDE_OK; i++)
        while (store->sets[i].open) {
            sonde_chunk *chunk = store->sets[i].open;
            take_out(store, &store->sets[i], chunk);
            sonde_store_enqueue(store, chunk);
        }
    pthread_mutex_unlock(&store->lock);
}

static bool write_log(sonde_store *store)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(sonde_chunk_record));
    H5Tinsert(type, "dataset", HOFFSET(sonde_chunk_record, dataset), H5T_STD_U32LE);
    H5Tinsert(type, "codec", HOFFSET(sonde_chunk_record, codec), H5T_STD_U32LE);
    H5Tinsert(type, "first_row", HOFFSET(sonde_chunk_record, first_row), H5T_STD_U64LE);
    H5Tinsert(type, "offset", HOFFSET(sonde_chunk_record, offset), H5T_STD_U64LE);
    H5Tinsert(type, "csize", HOFFSET(sonde_chunk_record, bytes), H5T_STD_U64LE);
    H5Tinsert(type, "xxh3", HOFFSET(sonde_chunk_record, hash), H5T_STD_U64LE);
    hsize_t dims[1] = {store->n_log};
    hid_t space = H5Screate_simple(1, dims, NULL);
    hid_t id = H5Dcreate2(store->file, "chunklog", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool good = id >= 0 && (store->n_log == 0 || H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                                                          store->log) >= 0);
    const char **names = sonde_alloc((size_t)store->n_sets + 1, sizeof *names);
    for (int32_t i = 0; names && i < store->n_sets; i++) names[i] = store->sets[i].path;
    if (good && names && store->n_sets > 0)
        good = sonde_h5_put_texts(store->file, "chunklog_datasets", names, store->n_sets);
    sonde_free(names);
    if (id >= 0) H5Dclose(id);
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

static bool trim(sonde_stored *set, int64_t rows)
{
    hsize_t dims[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)rows};
    for (int32_t i = 0; i < set->spec.n_dims; i++) dims[i + 1] = (hsize_t)set->spec.shape[i];
    return rows == set->extent || H5Dset_extent(set->id, dims) >= 0;
}

static bool close_file(sonde_store *store, bool complete, const int64_t *rows)
{
    bool good = write_log(store) && sonde_h5_put_int(store->file, "sealed", 1) &&
                sonde_h5_put_int(store->file, "complete", complete ? 1 : 0);
    for (int32_t i = 0; i < store->n_sets; i++) {
        sonde_stored *set = &store->sets[i];
        int64_t keep = rows ? rows[i] : set->rows_put;
        if (store->failed != SONDE_OK) keep = SONDE_MIN(keep, rows_on_disk(store, i));
        good = good && trim(set, keep);
        if (H5Dclose(set->id) < 0) good = false;
        set->id = H5I_INVALID_HID;
    }
    if (H5Fclose(store->file) < 0) good = false;
    store->file = H5I_INVALID_HID;
    return good;
}

static sonde_status publish(sonde_store *store, sonde_error *err)
{
    int fd = open(store->part_path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && (store->options.no_sync || fsync(fd) == 0);
    if (fd >= 0) close(fd);
    good = good && rename(store->part_path, store->path) == 0;
    if (!good)
        return sonde_fail(err, sonde_status_of_errno(errno), "sealing %s: %s", store->path,
                          strerror(errno));
    char *folder = sonde_strdup(store->path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) *(slash == folder ? slash + 1 : slash) = '\0';
    int dir = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        if (!store->options.no_sync) fsync(dir);
        close(dir);
    }
    sonde_free(folder);
    store->sealed = true;
    return SONDE_OK;
}

sonde_status sonde_store_seal(sonde_store *store, bool complete, const int64_t *rows,
                              sonde_error *err)
{
    flush_open(store);
    sonde_store_stop_threads(store);
    sonde_status failed = sonde_store_failure(store, err);
    sonde_h5_lock();
    bool good = close_file(store, complete && failed == SONDE_OK, rows);
    sonde_h5_unlock();
    if (!good && failed == SONDE_OK) return io_error(store, "its end", err);
    sonde_status status = good ? publish(store, failed == SONDE_OK ? err : NULL) : failed;
    return failed != SONDE_OK ? failed : status;
}
