/* file.c - mapping and reading files. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a regular file for reading; *fd is the caller's. */
static sonde_status open_regular(const char *path, int *fd, struct stat *info, sonde_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return sonde_fail(err, SONDE_BAD_FILE, "cannot open %s: %s", path, strerror(errno));
    if (fstat(*fd, info) == 0 && S_ISREG(info->st_mode)) return SONDE_OK;
    close(*fd);
    return sonde_fail(err, SONDE_BAD_FILE, "%s: expected a regular file, got %s", path,
                      S_ISDIR(info->st_mode) ? "a folder" : "something else");
}

sonde_status sonde_mapping_open(const char *path, sonde_mapping *mapping, sonde_error *err)
{
    int fd;
    struct stat info;
    memset(mapping, 0, sizeof *mapping);
    SONDE_TRY(open_regular(path, &fd, &info, err));
    if (info.st_size == 0) {
        close(fd);
        return SONDE_OK;
    }
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int error_number = errno;
    close(fd);
    if (data == MAP_FAILED)
        return sonde_fail(err, SONDE_IO, "cannot map %s: %s", path, strerror(error_number));
    mapping->data = data;
    mapping->bytes = (size_t)info.st_size;
    return SONDE_OK;
}

void sonde_mapping_close(sonde_mapping *mapping)
{
    void *data;
    memcpy(&data, &mapping->data, sizeof data);
    if (data) munmap(data, mapping->bytes);
    memset(mapping, 0, sizeof *mapping);
}

void sonde_pages_release(const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    uintptr_t begin = (at + page - 1) / page * page, end = (at + bytes) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void sonde_pages_huge(void *data, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t page = (uintptr_t)2 << 20, at = (uintptr_t)data;
    uintptr_t begin = (at + page - 1) / page * page, end = (at + bytes) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)data;
    (void)bytes;
#endif
}

static sonde_status read_all(int fd, const char *path, char *data, size_t bytes, sonde_error *err)
{
    size_t got = 0;
    while (got < bytes) {
        ssize_t n = read(fd, data + got, bytes - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return sonde_fail(err, SONDE_IO, "reading %s: got %zu of %zu bytes%s%s", path, got,
                              bytes, n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
        got += (size_t)n;
    }
    return SONDE_OK;
}

sonde_status sonde_read_file(const char *path, size_t max_bytes, char **data, size_t *bytes,
                             sonde_error *err)
{
    int fd;
    struct stat info;
    SONDE_TRY(open_regular(path, &fd, &info, err));
    size_t size = (size_t)info.st_size;
    sonde_status status = SONDE_OK;
    char *text = NULL;
    if (size > max_bytes)
        status = sonde_fail(err, SONDE_BAD_FILE, "%s: expected at most %zu bytes, file has %zu",
                            path, max_bytes, size);
    else if (!(text = sonde_alloc_raw(size + 1, 1)))
        status = sonde_no_memory(err, path, size + 1);
    else
        status = read_all(fd, path, text, size, err);
    close(fd);
    if (status != SONDE_OK) {
        sonde_free(text);
        return status;
    }
    text[size] = '\0';
    *data = text;
    *bytes = size;
    return SONDE_OK;
}

bool sonde_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool sonde_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *sonde_path_join(const char *folder, const char *name)
{
    sonde_string path = {0};
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    sonde_string_append(&path, folder, length);
    if (length == 0 || folder[length - 1] != '/') sonde_string_text(&path, "/");
    sonde_string_text(&path, name);
    if (path.failed) sonde_string_reset(&path);
    return path.data;
}

sonde_status sonde_status_of_errno(int error_number)
{
    bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
    return full ? SONDE_DISK_FULL : SONDE_IO;
}
