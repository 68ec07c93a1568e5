/* h5_file.c - capture files written by plain HDF5 calls. */
#include "h5_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

void h5_temporary(const char *name, char path[256])
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, 256, "%s/sonde-test-%ld-%s", folder ? folder : "/tmp", (long)getpid(), name);
}

void h5_fresh(const char *name, char path[256], char part[300])
{
    h5_temporary(name, path);
    snprintf(part, 300, "%s.part", path);
    h5_remove(path, part);
}

void h5_remove(const char *path, const char *part)
{
    unlink(path);
    unlink(part);
}

hid_t h5_create(const char *path, bool latest)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (latest) H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    assert_true(file >= 0);
    return file;
}

void h5_put(hid_t file, const char *path, hid_t type, int n_dims, const int64_t *dims,
            const void *data, const h5_layout *layout)
{
    static const h5_layout plain = {0};
    if (!layout) layout = &plain;
    hsize_t size[3] = {0}, most[3] = {0}, chunk[3] = {0};
    for (int i = 0; i < n_dims; i++) {
        size[i] = most[i] = (hsize_t)dims[i];
        chunk[i] = (hsize_t)layout->chunk[i];
    }
    if (layout->chunk[0]) most[0] = H5S_UNLIMITED;
    hid_t links = H5Pcreate(H5P_LINK_CREATE), create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = n_dims > 0 ? H5Screate_simple(n_dims, size, most) : H5Screate(H5S_SCALAR);
    H5Pset_create_intermediate_group(links, 1);
    if (layout->chunk[0]) H5Pset_chunk(create, n_dims, chunk);
    if (layout->shuffle) H5Pset_shuffle(create);
    if (layout->deflate) H5Pset_deflate(create, 1);
    if (layout->fletcher) H5Pset_fletcher32(create);
    hid_t id = H5Dcreate2(file, path, layout->stored ? layout->stored : type, space, links, create,
                          H5P_DEFAULT);
    assert_true(id >= 0);
    if (data) assert_true(H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(id);
    H5Sclose(space);
    H5Pclose(create);
    H5Pclose(links);
}

void h5_put_number(hid_t file, const char *object, const char *name, hid_t type, const void *value)
{
    hid_t id = H5Oopen(file, object, H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0 && H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Oclose(id);
}

void h5_put_text(hid_t file, const char *object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    h5_put_number(file, object, name, type, &text);
    H5Tclose(type);
}

void h5_put_rows(hid_t file, int64_t n)
{
    int32_t sequence[256], position[256], token[256], version = 1;
    assert_true(n <= 256);
    for (int32_t i = 0; i < n; i++) {
        sequence[i] = i / 5;
        position[i] = i % 5;
        token[i] = 100 + i;
    }
    h5_put(file, "/rows/sequence", H5T_NATIVE_INT32, 1, &n, sequence, NULL);
    h5_put(file, "/rows/position", H5T_NATIVE_INT32, 1, &n, position, NULL);
    h5_put(file, "/rows/token", H5T_NATIVE_INT32, 1, &n, token, NULL);
    h5_put_number(file, "/", "format_version", H5T_NATIVE_INT32, &version);
}

void h5_minimal(const char *path, int64_t n)
{
    float values[1024];
    for (int i = 0; i < 4 * n; i++) values[i] = (float)i;
    hid_t file = h5_create(path, true);
    h5_put_rows(file, n);
    h5_put(file, "/activations/p", H5T_NATIVE_FLOAT, 2, (const int64_t[]){n, 4}, values, NULL);
    H5Fclose(file);
}
