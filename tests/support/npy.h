/* npy.h - .npy files for tests. */
#ifndef SONDE_TEST_NPY_H
#define SONDE_TEST_NPY_H

#include "core/core.h"

/* A path for a temporary file of this process (in TMPDIR or /tmp). */
void npy_temporary(const char *name, char path[256]);
/* A file of format version 1 with `descr` ("<f4"); data of `bytes` as they are. */
void npy_write(const char *path, const char *descr, int n_dims, const int64_t *dims,
               const void *data, size_t bytes);
/* Any header text and data, in format version `major`. */
void npy_write_raw(const char *path, int major, const char *header, const void *data, size_t bytes);

#endif
