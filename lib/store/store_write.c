/* store_write.c - what reaches the file: chunks, attributes, whole datasets; and room for them. */
#include "store_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

/* Room kept for what sealing writes: HDF5's own records, attributes, the chunk log. */
#define RESERVE_BYTES ((uint64_t)192 << 10)
#define RESERVE_PER_SET ((uint64_t)2 << 10)
#define RESERVE_PER_CHUNK 128u
#define AFTER_FAILURE_BYTES ((uint64_t)16 << 10)
#define MOST_ATTRIBUTE_BYTES 60000u

/* ---- failure and room ------------------------------------------------------------------------ */

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

void sonde_store_reserve(sonde_store *store, uint64_t bytes)
{
    pthread_mutex_lock(&store->lock);
    store->reserved_bytes += bytes;
    pthread_mutex_unlock(&store->lock);
}

/* Bytes that may still be written, and what limits them. */
static uint64_t room_left(const sonde_store *store, uint64_t size, const char **limited_by)
{
    uint64_t left = UINT64_MAX;
    struct rlimit limit;
    struct statvfs disk;
    *limited_by = "the disk is full";
    if (statvfs(store->part_path, &disk) == 0) left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        uint64_t own = limit.rlim_cur > size ? limit.rlim_cur - size : 0;
        if (own < left) *limited_by = "the file would pass the limit of the process (ulimit -f)";
        left = SONDE_MIN(left, own);
    }
    return left;
}

static uint64_t reserve_of(sonde_store *store, uint64_t *written)
{
    pthread_mutex_lock(&store->lock);
    uint64_t reserve = AFTER_FAILURE_BYTES;
    if (store->failed == SONDE_OK)
        reserve = RESERVE_BYTES + RESERVE_PER_SET * (uint64_t)store->n_sets +
                  RESERVE_PER_CHUNK * store->n_log + store->kept_bytes + store->reserved_bytes;
    *written = store->stats.stored_bytes;
    pthread_mutex_unlock(&store->lock);
    return reserve;
}

bool sonde_store_check_room(sonde_store *store, uint64_t bytes, sonde_error *err)
{
    hsize_t size = 0;
    uint64_t written, need = bytes + reserve_of(store, &written);
    const char *limited_by;
    char needed[32], free_text[32], done[32];
    H5Fget_filesize(store->file, &size);
    uint64_t left = room_left(store, size, &limited_by);
    if (left >= need) return true;
    sonde_error full = {0};
    sonde_fail(&full, SONDE_DISK_FULL,
               "writing %.300s: %s: %s more are needed to go on, %s are left "
               "(%s of rows were written)",
               store->part_path, limited_by, sonde_format_bytes(need, needed),
               sonde_format_bytes(left, free_text), sonde_format_bytes(written, done));
    sonde_store_fail(store, SONDE_DISK_FULL, "%s", full.message);
    if (err) *err = full;
    return false;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Only ever to rows that are there: cutting an extent makes HDF5 rewrite the chunk it cuts. */
static bool extend(sonde_stored *set, int64_t rows)
{
    if (rows <= set->extent) return true;
    hsize_t dims[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)rows};
    for (int32_t i = 0; i < set->spec.n_dims; i++) dims[i + 1] = (hsize_t)set->spec.shape[i];
    if (H5Dset_extent(set->id, dims) < 0) return false;
    set->extent = rows;
    return true;
}

/* Writes bytes where HDF5 puts them and finds where that was: at the file's end before the write,
 * unless HDF5 wrote records of its own beside them. */
static bool write_bytes(sonde_store *store, const sonde_chunk *chunk, const uint8_t *bytes,
                        size_t n, uint32_t skipped_filters, uint64_t *offset)
{
    const sonde_stored *set = chunk->set;
    hsize_t at[SONDE_STORE_MAX_DIMS + 1] = {(hsize_t)(chunk->index * set->chunk_rows)};
    hsize_t before = 0, after = 0, size;
    haddr_t address;
    unsigned mask;
    if (H5Fget_filesize(store->file, &before) < 0 ||
        H5Dwrite_chunk(set->id, H5P_DEFAULT, skipped_filters, at, n, bytes) < 0 ||
        H5Fget_filesize(store->file, &after) < 0)
        return false;
    *offset = before;
    if (after - before == n) return true;
    if (H5Dget_chunk_info_by_coord(set->id, at, &mask, &address, &size) < 0) return false;
    *offset = address;
    return true;
}

static void log_chunk(sonde_store *store, const sonde_chunk *chunk,
                      const sonde_chunk_record *record)
{
    sonde_stored *set = chunk->set;
    pthread_mutex_lock(&store->lock);
    bool grown =
        sonde_grow(&store->log, &store->log_capacity, store->n_log + 1, sizeof *store->log);
    if (grown) {
        store->log[store->n_log++] = *record;
        set->written[chunk->index] = sonde_chunk_prefix(chunk);
    }
    store->stats.raw_bytes += set->chunk_bytes;
    store->stats.stored_bytes += record->bytes;
    store->stats.chunks++;
    pthread_mutex_unlock(&store->lock);
    if (!grown)
        sonde_store_fail(store, SONDE_NO_MEMORY, "%s: no memory for the chunk log",
                         store->part_path);
}

/* Encoded or not: what goes into the file. NULL: it could not be encoded. */
static const uint8_t *bytes_of(sonde_chunk *chunk, size_t *n)
{
    const sonde_stored *set = chunk->set;
    *n = set->planar ? chunk->encoded_bytes : set->chunk_bytes;
    if (set->planar) return chunk->encoded;
    memset(chunk->data + chunk->filled_bytes, 0, set->chunk_bytes - chunk->filled_bytes);
    return chunk->data;
}

static void count_kept(sonde_store *store, const sonde_chunk *chunk)
{
    if (!chunk->set->spec.keep_room) return;
    pthread_mutex_lock(&store->lock);
    store->kept_bytes -= sonde_chunk_kept_bytes(chunk);
    pthread_mutex_unlock(&store->lock);
}

void sonde_store_write_chunk(sonde_store *store, sonde_chunk *chunk)
{
    sonde_stored *set = chunk->set;
    bool failed = sonde_store_failure(store, NULL) != SONDE_OK;
    if (failed && !set->spec.keep_room) return;
    size_t n;
    const uint8_t *bytes = bytes_of(chunk, &n);
    if (!bytes) return;
    bool coded = set->planar && !chunk->raw;
    int64_t first = chunk->index * set->chunk_rows;
    sonde_chunk_record record = {
        (uint32_t)set->number, coded ? SONDE_CODEC_DEFLATE : SONDE_CODEC_RAW, (uint64_t)first, 0, n,
        sonde_hash64(bytes, n)};
    sonde_h5_lock();
    errno = 0;
    bool room = sonde_store_check_room(store, n, NULL);
    bool good =
        room && extend(set, first + (int64_t)(chunk->filled_bytes / set->row_bytes)) &&
        write_bytes(store, chunk, bytes, n, set->planar && !coded ? 3u : 0u, &record.offset);
    int error_number = errno;
    sonde_h5_unlock();
    count_kept(store, chunk);
    if (good) log_chunk(store, chunk, &record);
    else if (room)
        sonde_store_fail(store, error_number ? sonde_status_of_errno(error_number) : SONDE_IO,
                         "writing %s: %s", store->part_path,
                         error_number ? strerror(error_number) : "HDF5 refused a chunk");
}

/* ---- attributes ------------------------------------------------------------------------------ */

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
    hid_t id = store->file >= 0 ? open_object(store, object) : H5I_INVALID_HID;                    \
    bool good = id >= 0 && (expression);                                                           \
    if (id >= 0) H5Oclose(id);                                                                     \
    sonde_h5_unlock();                                                                             \
    return good ? SONDE_OK : sonde_store_io_error(store, name, err)

sonde_status sonde_store_attr_text(sonde_store *store, const char *object, const char *name,
                                   const char *value, sonde_error *err)
{
    if (strlen(value) > MOST_ATTRIBUTE_BYTES) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", strcmp(object, "/") == 0 ? "" : object, name);
        return sonde_store_write_text(store, path, value, strlen(value), err);
    }
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
    WITH_OBJECT(sonde_h5_put_texts(id, name, values, count));
}

sonde_status sonde_store_attr_array(sonde_store *store, const char *object, const char *name,
                                    sonde_dtype dtype, int64_t count, const void *values,
                                    sonde_error *err)
{
    WITH_OBJECT(sonde_h5_put_array(id, name, dtype, count, values));
}

sonde_status sonde_store_make_scale(sonde_store *store, const char *object, const char *name,
                                    sonde_error *err)
{
    WITH_OBJECT(sonde_h5_make_scale(id, name));
}

/* ---- whole datasets -------------------------------------------------------------------------- */

typedef struct whole_dataset {
    const char *path;
    hid_t type, space, create; /* closed by write_whole */
    uint64_t bytes;
    const void *data;
} whole_dataset;

static sonde_status write_whole(sonde_store *store, const whole_dataset *w, sonde_error *err)
{
    sonde_status status = SONDE_OK;
    const char *path = w->path[0] == '/' ? w->path + 1 : w->path;
    if (w->type < 0 || w->space < 0 || w->create < 0 || store->file < 0) {
        status = sonde_store_io_error(store, path, err);
    } else if (!sonde_store_check_room(store, w->bytes, err)) {
        status = SONDE_DISK_FULL;
    } else {
        bool parents = sonde_h5_make_parents(store->file, path);
        hid_t id = parents ? H5Dcreate2(store->file, path, w->type, w->space, H5P_DEFAULT,
                                        w->create, H5P_DEFAULT)
                           : H5I_INVALID_HID;
        bool good = id >= 0 && (w->bytes == 0 ||
                                H5Dwrite(id, w->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, w->data) >= 0);
        if (id >= 0) H5Dclose(id);
        if (!good) status = sonde_store_io_error(store, path, err);
    }
    if (w->type >= 0) H5Tclose(w->type);
    if (w->space >= 0) H5Sclose(w->space);
    if (w->create >= 0) H5Pclose(w->create);
    return status;
}

sonde_status sonde_store_write(sonde_store *store, const char *path, sonde_dtype dtype,
                               int32_t n_dims, const int64_t *dims, const void *data,
                               sonde_error *err)
{
    hsize_t sizes[8] = {0};
    size_t bytes = sonde_dtype_bytes(dtype, 1);
    bool good = n_dims >= 0 && n_dims <= 8 && bytes <= 8;
    for (int32_t i = 0; good && i < n_dims; i++) {
        sizes[i] = (hsize_t)dims[i];
        good = dims[i] >= 0 && sonde_mul_size(bytes, (size_t)dims[i], &bytes);
    }
    if (!good) return sonde_fail(err, SONDE_INTERNAL, "dataset %s: a bad shape", path);
    sonde_h5_lock();
    whole_dataset w = {.path = path, .type = sonde_h5_type(dtype), .bytes = bytes, .data = data,
                       .space = n_dims > 0 ? H5Screate_simple(n_dims, sizes, NULL)
                                           : H5Screate(H5S_SCALAR),
                       .create = H5Pcreate(H5P_DATASET_CREATE)};
    sonde_status status = write_whole(store, &w, err);
    sonde_h5_unlock();
    return status;
}

sonde_status sonde_store_write_text(sonde_store *store, const char *path, const char *text,
                                    size_t bytes, sonde_error *err)
{
    sonde_h5_lock();
    whole_dataset w = {.path = path, .type = sonde_h5_text_type(bytes),
                       .space = H5Screate(H5S_SCALAR),
                       .create = H5Pcreate(H5P_DATASET_CREATE), .bytes = bytes ? bytes : 1,
                       .data = bytes ? text : ""};
    sonde_status status = write_whole(store, &w, err);
    sonde_h5_unlock();
    return status;
}

sonde_status sonde_store_link_path(sonde_store *store, const char *from, const char *path,
                                   sonde_error *err)
{
    sonde_h5_lock();
    bool good = store->file >= 0 && sonde_h5_make_parents(store->file, path) &&
                H5Lcreate_hard(store->file, from, store->file, path, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    sonde_h5_unlock();
    return good ? SONDE_OK : sonde_store_io_error(store, path, err);
}

sonde_status sonde_store_link(sonde_store *store, int32_t id, const char *path, sonde_error *err)
{
    return sonde_store_link_path(store, sonde_store_path_of(store, id), path, err);
}
