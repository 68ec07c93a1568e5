/*
 * store_scratch.c - a file without a name beside the output: for what comes while rows are put and
 * is written at the seal. It goes with the process, whatever ends it.
 */
#include "store_internal.h"

#include <errno.h>
#include <string.h>

/* A scratch file in the folder of the output. */
static int open_beside(const char *part_path)
{
    char *folder = sonde_strdup(part_path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    errno = ENOMEM;
    int fd = folder ? sonde_scratch_open(slash ? folder : ".") : -1;
    int error_number = errno;
    sonde_free(folder);
    errno = error_number;
    return fd;
}

static sonde_status scratch_failed(sonde_store *store, int error_number, sonde_error *err)
{
    sonde_error why = {0};
    sonde_fail(&why, sonde_status_of_errno(error_number), "writing scratch beside %.300s: %s",
               store->part_path, strerror(error_number));
    sonde_store_fail(store, why.status, "%s", why.message);
    return sonde_fail(err, why.status, "%s", why.message);
}

sonde_status sonde_store_scratch_write(sonde_store *store, const void *bytes, size_t n,
                                       uint64_t *at, sonde_error *err)
{
    sonde_h5_lock();
    bool room = sonde_store_check_room(store, n, err);
    sonde_h5_unlock();
    if (!room) return SONDE_DISK_FULL;
    if (store->scratch < 0) store->scratch = open_beside(store->part_path);
    if (store->scratch < 0 || !sonde_scratch_write(store->scratch, store->scratch_bytes, bytes, n))
        return scratch_failed(store, errno, err);
    *at = store->scratch_bytes;
    store->scratch_bytes += n;
    return SONDE_OK;
}

sonde_status sonde_store_scratch_read(sonde_store *store, uint64_t at, void *bytes, size_t n,
                                      sonde_error *err)
{
    if (sonde_scratch_read(store->scratch, at, bytes, n)) return SONDE_OK;
    return sonde_fail(err, SONDE_IO, "%s: scratch beside it cannot be read back: %s",
                      store->part_path, strerror(errno));
}
