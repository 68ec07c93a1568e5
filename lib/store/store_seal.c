/* store_seal.c - what is in the file, and sealing it. */
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- state ----------------------------------------------------------------------------------- */

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

bool sonde_store_is_sealed(const sonde_store *store)
{
    return store->sealed;
}

int32_t sonde_store_count(const sonde_store *store)
{
    return store->n_sets;
}

const char *sonde_store_path_of(const sonde_store *store, int32_t id)
{
    return store->sets[id]->path;
}

int64_t sonde_store_rows_put(sonde_store *store, int32_t id)
{
    pthread_mutex_lock(&store->lock);
    int64_t rows = store->sets[id]->rows_put;
    pthread_mutex_unlock(&store->lock);
    return rows;
}

static int64_t whole_rows(const sonde_stored *set)
{
    int64_t rows = 0;
    for (size_t i = 0; i < set->n_written && set->written[i] > 0; i++) {
        rows += set->written[i];
        if (set->written[i] < set->chunk_rows) break;
    }
    return rows;
}

int64_t sonde_store_whole_rows(sonde_store *store, int32_t id)
{
    pthread_mutex_lock(&store->lock);
    int64_t rows = whole_rows(store->sets[id]);
    pthread_mutex_unlock(&store->lock);
    return rows;
}

int32_t sonde_store_first_hole(sonde_store *store)
{
    for (int32_t i = 0; i < store->n_sets; i++)
        if (whole_rows(store->sets[i]) < store->sets[i]->rows_put) return i;
    return -1;
}

/* ---- finishing ------------------------------------------------------------------------------- */

/* What describes the file goes first. */
static void close_chunks(sonde_store *store, bool keep_room)
{
    for (int32_t i = 0; i < store->n_sets; i++) {
        sonde_stored *set = store->sets[i];
        if (set->spec.keep_room != keep_room) continue;
        while (set->n_open > 0) sonde_chunk_close(store, set->open[set->n_open - 1]);
    }
}

void sonde_store_finish(sonde_store *store)
{
    pthread_mutex_lock(&store->lock);
    if (!store->finished) {
        store->finished = true;
        close_chunks(store, true);
        close_chunks(store, false);
    }
    sonde_store_drain(store);
    pthread_mutex_unlock(&store->lock);
}

/* libhdf5 1.10 remembers a chunk that was written directly, but not which filters it skipped: before
 * it reads what we wrote, the dataset is closed and opened again. */
static bool reopen(sonde_store *store, sonde_stored *set)
{
    if (set->reopened) return true;
    H5Dclose(set->id);
    set->id = H5Dopen2(store->file, set->path, H5P_DEFAULT);
    set->reopened = set->id >= 0;
    return set->reopened;
}

sonde_status sonde_store_read(sonde_store *store, int32_t id, int64_t first_row, int64_t n_rows,
                              void *rows, sonde_error *err)
{
    sonde_stored *set = store->sets[id];
    hsize_t start[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)first_row};
    hsize_t count[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)n_rows};
    for (int32_t i = 0; i < set->spec.n_dims; i++) count[i + 1] = (hsize_t)set->spec.shape[i];
    if (first_row < 0 || n_rows < 0 || first_row + n_rows > sonde_store_whole_rows(store, id)) {
        SONDE_TRY(sonde_store_failure(store, err));
        return sonde_fail(err, SONDE_IO, "%s: row %lld of /%s is not in the file", store->part_path,
                          (long long)(first_row + n_rows - 1), set->path);
    }
    sonde_h5_lock();
    bool good = reopen(store, set);
    hid_t space = H5Dget_space(set->id),
          memory = H5Screate_simple(set->spec.n_dims + 1, count, NULL);
    hid_t type = sonde_h5_type(set->spec.dtype);
    good = good && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                H5Dread(set->id, type, memory, space, H5P_DEFAULT, rows) >= 0;
    H5Tclose(type);
    H5Sclose(memory);
    H5Sclose(space);
    sonde_h5_unlock();
    return good ? SONDE_OK
                : sonde_fail(err, SONDE_IO, "%s: /%s cannot be read back", store->part_path,
                             set->path);
}

/* ---- cutting --------------------------------------------------------------------------------- */

static void drop_records(sonde_store *store, const sonde_stored *set, int64_t rows)
{
    size_t kept = 0;
    for (size_t i = 0; i < store->n_log; i++)
        if (store->log[i].dataset != (uint32_t)set->number ||
            store->log[i].first_row < (uint64_t)rows)
            store->log[kept++] = store->log[i];
    store->n_log = kept;
}

/* The record of the chunk that a cut to `rows` goes through; NULL: the cut is between chunks. */
static sonde_chunk_record *record_at(sonde_store *store, const sonde_stored *set, int64_t rows)
{
    for (size_t i = 0; rows % set->chunk_rows != 0 && i < store->n_log; i++)
        if (store->log[i].dataset == (uint32_t)set->number &&
            store->log[i].first_row == (uint64_t)(rows / set->chunk_rows * set->chunk_rows))
            return &store->log[i];
    return NULL;
}

static bool set_rows(const sonde_stored *set, int64_t rows)
{
    hsize_t dims[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)rows};
    for (int32_t i = 0; i < set->spec.n_dims; i++) dims[i + 1] = (hsize_t)set->spec.shape[i];
    return H5Dset_extent(set->id, dims) >= 0;
}

/* Writes a chunk that was dropped back as it was, and notes where. */
static bool put_back(const sonde_stored *set, sonde_chunk_record *record, uint32_t filters,
                     const uint8_t *bytes)
{
    hsize_t at[SONDE_STORE_MAX_DIMS + 1] = {record->first_row}, size = 0;
    haddr_t address;
    unsigned mask;
    if (H5Dwrite_chunk(set->id, H5P_DEFAULT, filters, at, record->bytes, bytes) < 0 ||
        H5Dget_chunk_info_by_coord(set->id, at, &mask, &address, &size) < 0)
        return false;
    record->offset = address;
    return size == record->bytes;
}

/* HDF5 would code the chunk anew that a cut goes through: larger than ours, at the end of a disk that
 * may be full. So the chunk is dropped by a cut before it, and put back into its place. */
static bool cut_through(const sonde_stored *set, int64_t rows, sonde_chunk_record *record)
{
    hsize_t at[SONDE_STORE_MAX_DIMS + 1] = {record->first_row};
    uint32_t filters = 0;
    uint8_t *bytes = sonde_alloc_raw((size_t)record->bytes, 1);
    bool good = bytes && H5Dread_chunk(set->id, H5P_DEFAULT, at, &filters, bytes) >= 0 &&
                set_rows(set, (int64_t)record->first_row) && set_rows(set, rows) &&
                put_back(set, record, filters, bytes);
    sonde_free(bytes);
    return good;
}

/* Cuts a dataset to fewer rows than the file has of it. */
static bool cut(sonde_store *store, sonde_stored *set, int64_t rows)
{
    if (rows >= set->extent) return true;
    sonde_chunk_record *record = record_at(store, set, rows);
    if (!reopen(store, set) || !(record ? cut_through(set, rows, record) : set_rows(set, rows)) ||
        H5Dflush(set->id) < 0)
        return false;
    set->extent = rows;
    drop_records(store, set, rows);
    return true;
}

static bool cut_all(sonde_store *store, const int64_t *rows)
{
    bool good = true;
    for (int32_t i = 0; i < store->n_sets; i++) {
        sonde_stored *set = store->sets[i];
        int64_t keep = rows && rows[i] >= 0 ? rows[i] : set->rows_put;
        if (store->failed != SONDE_OK) keep = SONDE_MIN(keep, whole_rows(set));
        good = cut(store, set, keep) && good;
    }
    return good;
}

/* ---- the end of the file --------------------------------------------------------------------- */

static hid_t record_type(void)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(sonde_chunk_record));
    H5Tinsert(type, "dataset", HOFFSET(sonde_chunk_record, dataset), H5T_STD_U32LE);
    H5Tinsert(type, "codec", HOFFSET(sonde_chunk_record, codec), H5T_STD_U32LE);
    H5Tinsert(type, "first_row", HOFFSET(sonde_chunk_record, first_row), H5T_STD_U64LE);
    H5Tinsert(type, "offset", HOFFSET(sonde_chunk_record, offset), H5T_STD_U64LE);
    H5Tinsert(type, "csize", HOFFSET(sonde_chunk_record, bytes), H5T_STD_U64LE);
    H5Tinsert(type, "xxh3", HOFFSET(sonde_chunk_record, hash), H5T_STD_U64LE);
    return type;
}

static bool name_datasets(sonde_store *store)
{
    const char **names = sonde_alloc((size_t)store->n_sets + 1, sizeof *names);
    if (!names) return false;
    for (int32_t i = 0; i < store->n_sets; i++) names[i] = store->sets[i]->path;
    bool good = sonde_h5_put_texts(store->file, "chunklog_datasets", names, store->n_sets);
    sonde_free(names);
    return good;
}

static bool write_log(sonde_store *store)
{
    hsize_t dims[1] = {store->n_log};
    hid_t type = record_type(), space = H5Screate_simple(1, dims, NULL);
    hid_t id =
        H5Dcreate2(store->file, "chunklog", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool good = id >= 0 && (store->n_log == 0 || H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                                                          store->log) >= 0);
    if (id >= 0) H5Dclose(id);
    H5Sclose(space);
    H5Tclose(type);
    return good && name_datasets(store);
}

static bool close_file(sonde_store *store, bool complete, const int64_t *rows)
{
    bool good = cut_all(store, rows) && write_log(store) &&
                sonde_h5_put_int(store->file, "sealed", 1) &&
                sonde_h5_put_int(store->file, "complete", complete ? 1 : 0);
    for (int32_t i = 0; i < store->n_sets; i++) {
        if (store->sets[i]->id >= 0 && H5Dclose(store->sets[i]->id) < 0) good = false;
        store->sets[i]->id = H5I_INVALID_HID;
    }
    if (H5Fclose(store->file) < 0) good = false;
    store->file = H5I_INVALID_HID;
    return good;
}

/* As close_file; a limit on the file's size then gives an error, not a signal that ends the process. */
static bool close_quietly(sonde_store *store, bool complete, const int64_t *rows, int *error_number)
{
    sigset_t size_signal, before, pending;
    const struct timespec now = {0};
    sigemptyset(&size_signal);
    sigaddset(&size_signal, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &size_signal, &before);
    sonde_h5_lock();
    errno = 0;
    bool good = close_file(store, complete, rows);
    *error_number = errno;
    sonde_h5_unlock();
    bool blocked_before = sigismember(&before, SIGXFSZ) == 1;
    if (!blocked_before && sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1)
        sigtimedwait(&size_signal, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int move_in_place(const sonde_store *store)
{
    if (store->options.overwrite) return rename(store->part_path, store->path);
    int result = renameat2(AT_FDCWD, store->part_path, AT_FDCWD, store->path, RENAME_NOREPLACE);
    if (result == 0 || (errno != EINVAL && errno != ENOSYS)) return result;
    if (sonde_path_exists(store->path)) {
        errno = EEXIST;
        return -1;
    }
    return rename(store->part_path, store->path);
}

static bool sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fsync(fd) == 0;
    int error_number = errno;
    close(fd);
    errno = error_number;
    return good;
}

/* The name of a new file lasts when its folder was synced. */
static bool sync_folder(const char *path)
{
    char *folder = sonde_strdup(path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) *(slash == folder ? slash + 1 : slash) = '\0';
    bool good =
        folder && (sync_path(slash ? folder : ".", O_RDONLY | O_DIRECTORY) || errno == EINVAL);
    sonde_free(folder);
    return good;
}

static sonde_status publish(sonde_store *store, sonde_error *err)
{
    bool sync = !store->options.no_sync;
    if (sync && !sync_path(store->part_path, O_RDONLY))
        return sonde_fail(err, sonde_status_of_errno(errno), "sealing %s: fsync: %s",
                          store->part_path, strerror(errno));
    if (move_in_place(store) != 0)
        return sonde_fail(err, errno == EEXIST ? SONDE_EXISTS : SONDE_IO,
                          "sealing %s: %s; what was written is in %s", store->path, strerror(errno),
                          store->part_path);
    store->sealed = true;
    if (sync && !sync_folder(store->path))
        return sonde_fail(err, SONDE_IO, "sealing %s: fsync of its folder: %s", store->path,
                          strerror(errno));
    return SONDE_OK;
}

sonde_status sonde_store_seal(sonde_store *store, bool complete, const int64_t *rows,
                              sonde_error *err)
{
    int error_number = 0;
    sonde_store_finish(store);
    sonde_store_stop_threads(store);
    sonde_status failed = sonde_store_failure(store, err);
    bool good = close_quietly(store, complete && failed == SONDE_OK, rows, &error_number);
    if (good) {
        sonde_status status = publish(store, failed == SONDE_OK ? err : NULL);
        return failed != SONDE_OK ? failed : status;
    }
    if (failed != SONDE_OK) return failed;
    if (!error_number) return sonde_store_io_error(store, "its end", err);
    return sonde_fail(err, sonde_status_of_errno(error_number), "sealing %s: %s", store->part_path,
                      strerror(error_number));
}
