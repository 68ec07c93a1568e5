/* h5_file.h - capture files written by plain HDF5 calls, as anyone may write them. */
#ifndef SONDE_TESTS_H5_FILE_H
#define SONDE_TESTS_H5_FILE_H

#include "core/core.h"

#include <hdf5.h>

typedef struct h5_layout {
    hid_t stored;     /* type in the file; 0: that of the data */
    int64_t chunk[3]; /* 0: contiguous */
    bool shuffle, deflate, fletcher;
} h5_layout;

/* A path for a temporary file of this process (in TMPDIR or /tmp). */
void h5_temporary(const char *name, char path[256]);
/* The same, with nothing there and no .part beside it; both are taken away again by h5_remove. */
void h5_fresh(const char *name, char path[256], char part[300]);
void h5_remove(const char *path, const char *part);
hid_t h5_create(const char *path, bool latest);
/* Writes a dataset, its groups included. */
void h5_put(hid_t file, const char *path, hid_t type, int n_dims, const int64_t *dims,
            const void *data, const h5_layout *layout);
void h5_put_number(hid_t file, const char *object, const char *name, hid_t type, const void *value);
void h5_put_text(hid_t file, const char *object, const char *name, const char *text);
/* /rows of `n` rows: sequence i / 5, position i % 5, token 100 + i; format_version 1. */
void h5_put_rows(hid_t file, int64_t n);
/* A minimal capture: /rows and one point "p" of [n, 4] floats, value i at flat index i. */
void h5_minimal(const char *path, int64_t n);

#endif
