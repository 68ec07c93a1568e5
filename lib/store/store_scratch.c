/*
 * store_scratch.c - a file without a name beside the output: for what comes while rows are put and
 * is written at the seal. It goes with the process, whatever ends it.
 */
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A file that has no name from the start, or loses it at once where the file system has no such. */
static int open_unnamed(const char *part_path)
{
    char *folder = sonde_strdup(part_path), *slash = folder ? strrchr(folder, '/') : NULL;
    sonde_string named = {0};
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    int fd = folder ? open(slash ? folder : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (fd < 0 && folder) {
        sonde_string_format(&named, "%s.XXXXXX", part_path);
        fd = named.failed ? -1 : mkostemp(named.data, O_CLOEXEC);
        if (fd >= 0) unlink(named.data);
    }
    int error_number = errno;
    sonde_string_reset(&named);
    sonde_free(folder);
    errno = error_number;
    return fd;
}

/* A file's size may be limited: a write behind the limit would end the process. */
static bool within_limit(uint64_t size)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
           size <= limit.rlim_cur;
}

static bool write_at(int fd, const uint8_t *bytes, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, bytes, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        bytes += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return true;
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
    if (store->scratch < 0 && (store->scratch = open_unnamed(store->part_path)) < 0)
        return scratch_failed(store, errno, err);
    if (!within_limit(store->scratch_bytes + n)) return scratch_failed(store, EFBIG, err);
    if (!write_at(store->scratch, bytes, n, store->scratch_bytes))
        return scratch_failed(store, errno, err);
    *at = store->scratch_bytes;
    store->scratch_bytes += n;
    return SONDE_OK;
}

sonde_status sonde_store_scratch_read(sonde_store *store, uint64_t at, void *bytes, size_t n,
                                      sonde_error *err)
{
    uint8_t *to = bytes;
    while (n > 0) {
        ssize_t got = pread(store->scratch, to, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return sonde_fail(err, SONDE_IO, "%s: scratch beside it cannot be read back: %s",
                              store->part_path, got < 0 ? strerror(errno) : "it is too short");
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return SONDE_OK;
}
