/* reader_set.c - datasets of a file: what they are, and handles to them. */
#include "reader_internal.h"

#include <string.h>

sonde_status sonde_reader_bad(const sonde_reader *reader, const char *object, sonde_error *err,
                              const char *format, ...)
{
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return sonde_fail(err, SONDE_BAD_CAPTURE, "%s: %s: %s", reader->path, object, what);
}

static herr_t take_reason(unsigned n, const H5E_error2_t *entry, void *context)
{
    char *text = context;
    (void)n;
    if (!text[0] && entry->desc) snprintf(text, 160, "%s", entry->desc);
    return 0;
}

void sonde_reader_reason(char text[160])
{
    text[0] = '\0';
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_reason, text);
}

/* --- objects --- */

/* Whether every link of a path is there; lock held. */
static bool link_exists(hid_t file, const char *path)
{
    char part[4 * READER_MAX_NAME];
    size_t length = strlen(path);
    if (length >= sizeof part) return false;
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0) return false;
    }
    return true;
}

static reader_kind kind_of(const sonde_reader *reader, const char *path)
{
    if (strcmp(path, "/") == 0) return READER_GROUP;
    if (!link_exists(reader->file, path)) return READER_ABSENT;
    hid_t id = H5Oopen(reader->file, path, reader->links);
    if (id < 0) return READER_BROKEN;
    H5I_type_t type = H5Iget_type(id);
    H5Oclose(id);
    return type == H5I_GROUP ? READER_GROUP : type == H5I_DATASET ? READER_DATASET : READER_BROKEN;
}

reader_kind sonde_reader_kind(const sonde_reader *reader, const char *path)
{
    sonde_h5_lock();
    reader_kind kind = kind_of(reader, path);
    sonde_h5_unlock();
    return kind;
}

/* --- types --- */

bool sonde_dtype_is_integer(sonde_dtype dtype)
{
    return dtype >= SONDE_DTYPE_I8 && dtype <= SONDE_DTYPE_U64;
}

/* Whether a float type is laid out as IEEE does it (or bf16), not only of the same widths. */
static bool float_is_plain(hid_t type, sonde_dtype dtype)
{
    size_t sign, exponent, exponent_bits, mantissa, mantissa_bits, bits = 8 * H5Tget_size(type);
    size_t bias = dtype == SONDE_DTYPE_F64 ? 1023 : dtype == SONDE_DTYPE_F16 ? 15 : 127;
    return H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) >= 0 &&
           sign == bits - 1 && mantissa == 0 && exponent == mantissa_bits &&
           exponent_bits + mantissa_bits + 1 == bits && H5Tget_ebias(type) == bias &&
           H5Tget_norm(type) == H5T_NORM_IMPLIED;
}

static sonde_dtype plain_dtype(hid_t type)
{
    sonde_dtype dtype = sonde_h5_dtype(type);
    if (dtype == SONDE_DTYPE_NONE || H5Tget_precision(type) != 8 * H5Tget_size(type) ||
        H5Tget_offset(type) != 0)
        return SONDE_DTYPE_NONE;
    return H5Tget_class(type) == H5T_INTEGER || float_is_plain(type, dtype) ? dtype
                                                                            : SONDE_DTYPE_NONE;
}

/* dtype and is_raw from a file's type: plain little-endian ones as they are, an enumeration (h5py's
 * bool) as its integers, any other number through HDF5's conversion. */
static bool choose_dtype(hid_t type, sonde_set *set)
{
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_ENUM) {
        hid_t super = H5Tget_super(type);
        set->dtype = super >= 0 ? plain_dtype(super) : SONDE_DTYPE_NONE;
        set->is_raw = true;
        if (super >= 0) H5Tclose(super);
        return set->dtype != SONDE_DTYPE_NONE;
    }
    if (class != H5T_INTEGER && class != H5T_FLOAT) return false;
    set->dtype = plain_dtype(type);
    set->is_raw = set->dtype != SONDE_DTYPE_NONE;
    if (set->is_raw) return true;
    hid_t swapped = H5Tcopy(type);
    if (swapped >= 0 && H5Tset_order(swapped, H5T_ORDER_LE) >= 0) set->dtype = plain_dtype(swapped);
    if (swapped >= 0) H5Tclose(swapped);
    if (set->dtype == SONDE_DTYPE_NONE)
        set->dtype = class == H5T_FLOAT                  ? SONDE_DTYPE_F64
                     : H5Tget_sign(type) == H5T_SGN_NONE ? SONDE_DTYPE_U64
                                                         : SONDE_DTYPE_I64;
    return true;
}

/* --- shape and layout --- */

/* NULL, or what is wrong with the shape. */
static const char *take_shape(hid_t id, sonde_set *set)
{
    hsize_t dims[H5S_MAX_RANK];
    hid_t space = H5Dget_space(id);
    H5S_class_t class = space >= 0 ? H5Sget_simple_extent_type(space) : H5S_NO_CLASS;
    int n = class == H5S_SIMPLE ? H5Sget_simple_extent_dims(space, dims, NULL) : 0;
    if (space >= 0) H5Sclose(space);
    if (class != H5S_SIMPLE && class != H5S_SCALAR) return "it has no shape";
    if (n < 0 || n > READER_MAX_DIMS) return "it has more than 5 dimensions";
    set->n_dims = n;
    int64_t elements = 1, width = 1;
    for (int i = 0; i < n; i++) {
        if (dims[i] > INT64_MAX) return "a dimension is above 2^63";
        set->dims[i] = (int64_t)dims[i];
        if (!sonde_mul_i64(elements, SONDE_MAX(set->dims[i], 1), &elements))
            return "its dimensions multiply to more than 2^63";
        if (i > 0) width *= set->dims[i];
    }
    set->rows = n > 0 ? set->dims[0] : 1;
    set->width = width;
    set->element_bytes = sonde_dtype_bytes(set->dtype, 1);
    if (!sonde_mul_i64(elements, (int64_t)set->element_bytes, &elements))
        return "its dimensions multiply to more than 2^63 bytes";
    set->row_bytes = (size_t)width * set->element_bytes;
    return NULL;
}

/* Filters in order; true when they are none, shuffle, deflate, or shuffle then deflate. */
static bool take_filters(hid_t create, sonde_set *set)
{
    int n = H5Pget_nfilters(create);
    bool known = true;
    set->codec = n == 0 ? "raw" : "other";
    set->shuffle_at = set->inflate_at = -1;
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        H5Z_filter_t filter = H5Pget_filter2(create, (unsigned)i, &flags, &n_values, NULL, 0, NULL,
                                             &config);
        if (filter == H5Z_FILTER_SHUFFLE && i == 0) set->shuffle_at = 0;
        else if (filter == H5Z_FILTER_DEFLATE && i == n - 1) set->inflate_at = i;
        else known = false;
        if (filter == H5Z_FILTER_DEFLATE) set->codec = "deflate";
        if (filter == 32015) set->codec = "zstd";
        if (filter < 0 || H5Zfilter_avail(filter) <= 0) set->missing_filter = filter;
    }
    return known && n <= 2;
}

static bool chunks_are_rows(hid_t create, sonde_set *set)
{
    hsize_t chunk[H5S_MAX_RANK];
    size_t bytes;
    if (H5Pget_layout(create) != H5D_CHUNKED || set->n_dims < 1 || set->width < 1) return false;
    if (H5Pget_chunk(create, H5S_MAX_RANK, chunk) != set->n_dims || chunk[0] > INT32_MAX)
        return false;
    for (int32_t i = 1; i < set->n_dims; i++)
        if (chunk[i] != (hsize_t)set->dims[i]) return false;
    if (!sonde_mul_size((size_t)chunk[0], set->row_bytes, &bytes) || bytes > READER_MAX_CHUNK)
        return false;
    set->block_rows = (int64_t)chunk[0];
    return true;
}

/* NULL, or what is wrong with how the data lies in the file. */
static const char *take_layout(hid_t id, sonde_set *set)
{
    hid_t create = H5Dget_create_plist(id);
    if (create < 0) return "its properties cannot be read";
    bool outside = H5Pget_layout(create) == H5D_VIRTUAL || H5Pget_external_count(create) > 0;
    bool filters = take_filters(create, set);
    set->is_direct = set->is_raw && filters && chunks_are_rows(create, set);
    H5Pclose(create);
    if (outside) return "its data lies in other files, which are not followed: open those";
    if (!set->is_direct)
        set->block_rows = (int64_t)SONDE_MAX(((size_t)1 << 20) / SONDE_MAX(set->row_bytes, 1), 1);
    set->stored_bytes = H5Dget_storage_size(id);
    return NULL;
}

/* Deflate shrinks 1032 times at most: more declared than that is no data, only a number. */
static bool is_hollow(const sonde_set *set)
{
    double declared = (double)set->rows * (double)set->row_bytes;
    return declared > 1100.0 * (double)set->stored_bytes + 67108864.0;
}

static const char *describe_open(hid_t id, sonde_set *set, char buffer[160])
{
    hid_t type = H5Dget_type(id);
    bool is_number = type >= 0 && choose_dtype(type, set);
    if (type >= 0) H5Tclose(type);
    if (!is_number) return "expected numbers, found another type of data";
    const char *wrong = take_shape(id, set);
    if (!wrong) wrong = take_layout(id, set);
    if (!wrong && is_hollow(set)) {
        snprintf(buffer, 160, "it declares %lld rows of %zu bytes, but only %llu bytes are stored",
                 (long long)set->rows, set->row_bytes, (unsigned long long)set->stored_bytes);
        wrong = buffer;
    }
    return wrong;
}

sonde_status sonde_set_describe(const sonde_reader *reader, const char *path, sonde_set *set,
                                sonde_error *err)
{
    char buffer[160];
    memset(set, 0, sizeof *set);
    set->id = set->memory_type = H5I_INVALID_HID;
    set->block = -1;
    sonde_h5_lock();
    reader_kind kind = kind_of(reader, path);
    hid_t id = kind == READER_DATASET ? H5Oopen(reader->file, path, reader->links) : -1;
    const char *wrong = kind == READER_ABSENT  ? "expected a dataset, found nothing"
                        : kind == READER_GROUP ? "expected a dataset, found a group"
                        : id < 0               ? "expected a dataset, found what cannot be opened"
                                               : describe_open(id, set, buffer);
    if (id >= 0) H5Oclose(id);
    sonde_h5_unlock();
    if (wrong) return sonde_reader_bad(reader, path, err, "%s", wrong);
    set->path = sonde_strdup(path);
    return set->path ? SONDE_OK : sonde_no_memory(err, path, strlen(path) + 1);
}

sonde_status sonde_set_column(const sonde_reader *reader, const char *path, bool integers,
                              sonde_set *set, sonde_error *err)
{
    SONDE_TRY(sonde_set_describe(reader, path, set, err));
    if (set->n_dims != 1)
        return sonde_reader_bad(reader, path, err, "expected 1 dimension, found %d", set->n_dims);
    if (integers && !sonde_dtype_is_integer(set->dtype))
        return sonde_reader_bad(reader, path, err, "expected whole numbers, found %s",
                                sonde_dtype_name(set->dtype));
    return SONDE_OK;
}

/* --- handles --- */

void sonde_set_close(sonde_set *set)
{
    if (set->id >= 0) H5Dclose(set->id);
    if (set->memory_type >= 0) H5Tclose(set->memory_type);
    set->id = set->memory_type = H5I_INVALID_HID;
    sonde_free(set->bytes);
    set->bytes = NULL;
    set->block = -1;
}

void sonde_set_reset(sonde_reader *reader, sonde_set *set)
{
    for (size_t i = 0; i < READER_OPEN_SETS; i++)
        if (reader->open_sets[i] == set) {
            sonde_set_close(set);
            reader->open_sets[i] = NULL;
        }
    sonde_free(set->path);
    set->path = NULL;
}

/* A free place among the open sets, or that of the one not used for longest. */
static sonde_set **place_for(sonde_reader *reader)
{
    sonde_set **place = &reader->open_sets[0];
    for (size_t i = 0; i < READER_OPEN_SETS; i++) {
        sonde_set **at = &reader->open_sets[i];
        if (!*at) return at;
        if ((*at)->used < (*place)->used) place = at;
    }
    return place;
}

sonde_status sonde_set_open(sonde_reader *reader, sonde_set *set, sonde_error *err)
{
    set->used = ++reader->clock;
    if (set->id >= 0) return SONDE_OK;
    if (set->missing_filter && !set->is_direct)
        return sonde_reader_bad(reader, set->path, err,
                                "it needs filter %d%s, which HDF5 does not have here",
                                set->missing_filter, set->missing_filter == 32015 ? " (zstd)" : "");
    char reason[160] = "";
    sonde_h5_lock();
    sonde_set **place = place_for(reader);
    if (*place) sonde_set_close(*place);
    *place = NULL;
    set->id = H5Oopen(reader->file, set->path, reader->links);
    if (set->id >= 0)
        set->memory_type = set->is_raw ? H5Dget_type(set->id) : sonde_h5_type(set->dtype);
    bool good = set->id >= 0 && set->memory_type >= 0;
    if (good) *place = set;
    else sonde_reader_reason(reason);
    if (!good) sonde_set_close(set);
    sonde_h5_unlock();
    return good ? SONDE_OK
                : sonde_reader_bad(reader, set->path, err, "cannot be opened: %s", reason);
}
