/* store_column.c - whole datasets of one dimension that are written piece by piece at the end. */
#include "store_internal.h"

#define STRING_CHUNK_BYTES ((size_t)1 << 18)

int64_t sonde_store_string_rows(size_t width)
{
    return (int64_t)SONDE_MAX(STRING_CHUNK_BYTES / (width ? width : 1), (size_t)1);
}

/* Numbers lie in one piece, strings in chunks with deflate: the padding of most is long. */
static hid_t create_column(const sonde_store *store, const sonde_store_column *column, size_t width,
                           int64_t rows)
{
    hsize_t dims[1] = {(hsize_t)rows};
    hsize_t chunk[1] = {(hsize_t)SONDE_MAX(1, SONDE_MIN(sonde_store_string_rows(width), rows))};
    if (!sonde_h5_make_parents(store->file, column->path)) return H5I_INVALID_HID;
    hid_t space = H5Screate_simple(1, dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    if (width && rows > 1) {
        H5Pset_chunk(create, 1, chunk);
        H5Pset_deflate(create, 1);
    }
    hid_t id = H5Dcreate2(store->file, column->path, (hid_t)column->type, space, H5P_DEFAULT,
                          create, H5P_DEFAULT);
    H5Pclose(create);
    H5Sclose(space);
    return id;
}

sonde_status sonde_store_column_begin(sonde_store *store, const char *path, sonde_dtype dtype,
                                      size_t width, int64_t rows, sonde_store_column *column,
                                      sonde_error *err)
{
    size_t each = width ? width : sonde_dtype_bytes(dtype, 1);
    sonde_status status = SONDE_OK;
    *column = (sonde_store_column){.path = path, .dataset = H5I_INVALID_HID};
    sonde_h5_lock();
    column->type = width ? sonde_h5_text_type(width) : sonde_h5_type(dtype);
    if (!sonde_store_check_room(store, (uint64_t)rows * each, err)) status = SONDE_DISK_FULL;
    else column->dataset = create_column(store, column, width, rows);
    sonde_h5_unlock();
    if (status == SONDE_OK && column->dataset < 0) status = sonde_store_io_error(store, path, err);
    if (status != SONDE_OK) sonde_store_column_end(column);
    return status;
}

sonde_status sonde_store_column_put(sonde_store *store, sonde_store_column *column, int64_t n,
                                    const void *data, sonde_error *err)
{
    hsize_t start[1] = {(hsize_t)column->done}, count[1] = {(hsize_t)n};
    if (n == 0) return SONDE_OK;
    sonde_h5_lock();
    hid_t space = H5Dget_space((hid_t)column->dataset), memory = H5Screate_simple(1, count, NULL);
    bool good = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                H5Dwrite((hid_t)column->dataset, (hid_t)column->type, memory, space, H5P_DEFAULT,
                         data) >= 0;
    H5Sclose(memory);
    H5Sclose(space);
    sonde_h5_unlock();
    column->done += n;
    return good ? SONDE_OK : sonde_store_io_error(store, column->path, err);
}

void sonde_store_column_end(sonde_store_column *column)
{
    sonde_h5_lock();
    if (column->dataset >= 0) H5Dclose((hid_t)column->dataset);
    if (column->type >= 0) H5Tclose((hid_t)column->type);
    sonde_h5_unlock();
    column->dataset = column->type = H5I_INVALID_HID;
}
