/* npy.c - see npy.h. */
#include "npy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void npy_temporary(const char *name, char path[256])
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, 256, "%s/sonde-%ld-%s", folder ? folder : "/tmp", (long)getpid(), name);
}

void npy_write_raw(const char *path, int major, const char *header, const void *data, size_t bytes)
{
    size_t n = strlen(header);
    unsigned char head[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)major, 0,
                              (unsigned char)(n & 255), (unsigned char)(n >> 8), 0, 0};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(head, 1, major == 1 ? 10 : 12, file);
    fwrite(header, 1, n, file);
    if (bytes) fwrite(data, 1, bytes, file);
    assert_int_equal(fclose(file), 0);
}

void npy_write(const char *path, const char *descr, int n_dims, const int64_t *dims,
               const void *data, size_t bytes)
{
    sonde_string header = {0};
    sonde_string_format(&header, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < n_dims; i++) sonde_string_format(&header, "%lld, ", (long long)dims[i]);
    sonde_string_text(&header, "), }");
    while ((header.length + 11) % 64 != 0) sonde_string_text(&header, " ");
    sonde_string_text(&header, "\n");
    npy_write_raw(path, 1, header.data, data, bytes);
    sonde_string_reset(&header);
}
