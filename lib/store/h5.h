/*
 * h5.h - the few HDF5 calls that writer and reader share. Only lib/store includes <hdf5.h>; every
 * call is made under one process-wide lock, because the library is one.
 */
#ifndef SONDE_STORE_H5_H
#define SONDE_STORE_H5_H

#include "store.h"

#include <hdf5.h>

void sonde_h5_lock(void);
void sonde_h5_unlock(void);
/* HDF5 type of a stored element (BF16 as a 2-byte float, BOOL as h5py's enum); close with H5Tclose. */
hid_t sonde_h5_type(sonde_dtype dtype);
/* Fixed-length UTF-8, padded with NUL; close with H5Tclose. */
hid_t sonde_h5_text_type(size_t bytes);
/* The dtype of a file's type, or NONE. */
sonde_dtype sonde_h5_dtype(hid_t type);
/* Writes a text attribute (fixed-length UTF-8), replacing one of that name; true when good. */
bool sonde_h5_put_text(hid_t object, const char *name, const char *value);
bool sonde_h5_put_int(hid_t object, const char *name, int64_t value);
bool sonde_h5_put_float(hid_t object, const char *name, double value);
bool sonde_h5_put_texts(hid_t object, const char *name, const char *const *values, int64_t count);
/* A list of numbers. */
bool sonde_h5_put_array(hid_t object, const char *name, sonde_dtype dtype, int64_t count,
                        const void *values);
/* Marks a dataset as a dimension scale, as H5DSset_scale does. */
bool sonde_h5_make_scale(hid_t dataset, const char *name);
/* Reads a scalar text attribute (fixed or variable length) into given memory, or NULL. */
char *sonde_h5_get_text(hid_t object, const char *name);
bool sonde_h5_get_int(hid_t object, const char *name, int64_t *value);
/* Creates the missing groups of a path's parents; true when good. */
bool sonde_h5_make_parents(hid_t file, const char *path);

#endif
