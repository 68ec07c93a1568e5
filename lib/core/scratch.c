/* scratch.c - files without a name, for what would take too much memory. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int sonde_scratch_open(const char *folder)
{
    sonde_string named = {0};
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    sonde_string_format(&named, "%s/sonde-XXXXXX", folder);
    fd = named.failed ? -1 : mkostemp(named.data, O_CLOEXEC);
    if (fd >= 0) unlink(named.data);
    int error_number = errno;
    sonde_string_reset(&named);
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

bool sonde_scratch_write(int fd, uint64_t at, const void *bytes, size_t n)
{
    const char *from = bytes;
    if (!within_limit(at + n)) {
        errno = EFBIG;
        return false;
    }
    while (n > 0) {
        ssize_t done = pwrite(fd, from, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        from += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return true;
}

bool sonde_scratch_read(int fd, uint64_t at, void *bytes, size_t n)
{
    char *to = bytes;
    while (n > 0) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = EIO;
        if (got <= 0) return false;
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return true;
}
