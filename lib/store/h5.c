/* h5.c - HDF5 types, attributes and the lock. */
#include "h5.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

void sonde_h5_lock(void)
{
    pthread_mutex_lock(&library_lock);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void sonde_h5_unlock(void)
{
    pthread_mutex_unlock(&library_lock);
}

/* ---- types ----------------------------------------------------------------------------------- */

/* A 2-byte float: sign in bit 15, exponent below it, mantissa at the bottom. */
static hid_t small_float(size_t exponent_bits, size_t bias)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    size_t mantissa_bits = 15 - exponent_bits;
    H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, bias);
    return type;
}

/* As h5py stores bool. */
static hid_t bool_type(void)
{
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    int8_t value = 0;
    H5Tenum_insert(type, "FALSE", &value);
    value = 1;
    H5Tenum_insert(type, "TRUE", &value);
    return type;
}

hid_t sonde_h5_type(sonde_dtype dtype)
{
    switch (dtype) {
    case SONDE_DTYPE_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case SONDE_DTYPE_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case SONDE_DTYPE_BF16: return small_float(8, 127);
    case SONDE_DTYPE_F16: return small_float(5, 15);
    case SONDE_DTYPE_I8: return H5Tcopy(H5T_STD_I8LE);
    case SONDE_DTYPE_U8: return H5Tcopy(H5T_STD_U8LE);
    case SONDE_DTYPE_I16: return H5Tcopy(H5T_STD_I16LE);
    case SONDE_DTYPE_U16: return H5Tcopy(H5T_STD_U16LE);
    case SONDE_DTYPE_I32: return H5Tcopy(H5T_STD_I32LE);
    case SONDE_DTYPE_U32: return H5Tcopy(H5T_STD_U32LE);
    case SONDE_DTYPE_I64: return H5Tcopy(H5T_STD_I64LE);
    case SONDE_DTYPE_U64: return H5Tcopy(H5T_STD_U64LE);
    case SONDE_DTYPE_BOOL: return bool_type();
    default: return H5I_INVALID_HID;
    }
}

static sonde_dtype float_dtype(hid_t type, size_t size)
{
    size_t sign, exponent, exponent_bits, mantissa, mantissa_bits;
    if (H5Tget_order(type) != H5T_ORDER_LE) return SONDE_DTYPE_NONE;
    if (H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) < 0)
        return SONDE_DTYPE_NONE;
    if (size == 8 && mantissa_bits == 52) return SONDE_DTYPE_F64;
    if (size == 4 && mantissa_bits == 23) return SONDE_DTYPE_F32;
    if (size == 2 && mantissa_bits == 7 && exponent_bits == 8) return SONDE_DTYPE_BF16;
    if (size == 2 && mantissa_bits == 10 && exponent_bits == 5) return SONDE_DTYPE_F16;
    return SONDE_DTYPE_NONE;
}

sonde_dtype sonde_h5_dtype(hid_t type)
{
    size_t size = H5Tget_size(type);
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_FLOAT) return float_dtype(type, size);
    if (class != H5T_INTEGER || (size > 1 && H5Tget_order(type) != H5T_ORDER_LE))
        return SONDE_DTYPE_NONE;
    bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    switch (size) {
    case 1: return is_signed ? SONDE_DTYPE_I8 : SONDE_DTYPE_U8;
    case 2: return is_signed ? SONDE_DTYPE_I16 : SONDE_DTYPE_U16;
    case 4: return is_signed ? SONDE_DTYPE_I32 : SONDE_DTYPE_U32;
    case 8: return is_signed ? SONDE_DTYPE_I64 : SONDE_DTYPE_U64;
    default: return SONDE_DTYPE_NONE;
    }
}

/* ---- attributes ------------------------------------------------------------------------------ */

hid_t sonde_h5_text_type(size_t bytes)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes ? bytes : 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    return type;
}

static bool put_attribute(hid_t object, const char *name, hid_t type, hid_t space,
                          const void *value)
{
    if (H5Aexists(object, name) > 0) H5Adelete(object, name);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 &&
                (H5Sget_simple_extent_npoints(space) == 0 || H5Awrite(attribute, type, value) >= 0);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return good;
}

bool sonde_h5_put_text(hid_t object, const char *name, const char *value)
{
    hid_t type = sonde_h5_text_type(strlen(value));
    bool good = put_attribute(object, name, type, H5Screate(H5S_SCALAR), value);
    H5Tclose(type);
    return good;
}

bool sonde_h5_put_int(hid_t object, const char *name, int64_t value)
{
    return put_attribute(object, name, H5T_STD_I64LE, H5Screate(H5S_SCALAR), &value);
}

bool sonde_h5_put_float(hid_t object, const char *name, double value)
{
    return put_attribute(object, name, H5T_IEEE_F64LE, H5Screate(H5S_SCALAR), &value);
}

bool sonde_h5_put_array(hid_t object, const char *name, sonde_dtype dtype, int64_t count,
                        const void *values)
{
    hsize_t dims[1] = {(hsize_t)count};
    hid_t type = sonde_h5_type(dtype);
    bool good =
        type >= 0 && put_attribute(object, name, type, H5Screate_simple(1, dims, NULL), values);
    if (type >= 0) H5Tclose(type);
    return good;
}

bool sonde_h5_put_texts(hid_t object, const char *name, const char *const *values, int64_t count)
{
    size_t widest = 1;
    for (int64_t i = 0; i < count; i++) widest = SONDE_MAX(widest, strlen(values[i]));
    char *flat = sonde_alloc((size_t)count, widest);
    if (!flat) return false;
    for (int64_t i = 0; i < count; i++)
        memcpy(flat + (size_t)i * widest, values[i], strlen(values[i]));
    hid_t type = sonde_h5_text_type(widest);
    hsize_t dims[1] = {(hsize_t)count};
    bool good;
    if ((size_t)count * widest <= 60000) {
        good = put_attribute(object, name, type, H5Screate_simple(1, dims, NULL), flat);
    } else {
        hid_t space = H5Screate_simple(1, dims, NULL);
        hid_t set = H5Dcreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        good = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat) >= 0;
        if (set >= 0) H5Dclose(set);
        H5Sclose(space);
    }
    H5Tclose(type);
    sonde_free(flat);
    return good;
}

/* The high-level library wants these texts in ASCII and with their NUL. */
static bool put_c_string(hid_t object, const char *name, const char *value)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    bool good = put_attribute(object, name, type, H5Screate(H5S_SCALAR), value);
    H5Tclose(type);
    return good;
}

bool sonde_h5_make_scale(hid_t dataset, const char *name)
{
    return put_c_string(dataset, "CLASS", "DIMENSION_SCALE") && put_c_string(dataset, "NAME", name);
}

char *sonde_h5_get_text(hid_t object, const char *name)
{
    if (H5Aexists(object, name) <= 0) return NULL;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute);
    char *text = NULL;
    if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) > 0) {
        char *value = NULL;
        hid_t memory = H5Tcopy(type);
        if (H5Aread(attribute, memory, &value) >= 0 && value) {
            text = sonde_strdup(value);
            H5free_memory(value);
        }
        H5Tclose(memory);
    } else if (H5Tget_class(type) == H5T_STRING && H5Tget_size(type) < ((size_t)1 << 26)) {
        size_t bytes = H5Tget_size(type);
        hid_t space = H5Aget_space(attribute);
        text = H5Sget_simple_extent_npoints(space) == 1 ? sonde_alloc(bytes + 1, 1) : NULL;
        if (text && H5Aread(attribute, type, text) < 0) text[0] = '\0';
        H5Sclose(space);
    }
    H5Tclose(type);
    H5Aclose(attribute);
    return text;
}

bool sonde_h5_get_int(hid_t object, const char *name, int64_t *value)
{
    if (H5Aexists(object, name) <= 0) return false;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    bool good = H5Sget_simple_extent_npoints(space) == 1 &&
                (H5Tget_class(type) == H5T_INTEGER || H5Tget_class(type) == H5T_ENUM) &&
                H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    H5Tclose(type);
    H5Sclose(space);
    H5Aclose(attribute);
    return good;
}

bool sonde_h5_make_parents(hid_t file, const char *path)
{
    char part[512];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t n = (size_t)(slash - path);
        if (n == 0 || n >= sizeof part) continue;
        memcpy(part, path, n);
        part[n] = '\0';
        if (H5Lexists(file, part, H5P_DEFAULT) > 0) continue;
        hid_t group = H5Gcreate2(file, part, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (group < 0) return false;
        H5Gclose(group);
    }
    return true;
}
