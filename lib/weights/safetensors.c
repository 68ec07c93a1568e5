/*
 * safetensors.c - parser of one safetensors image: u64 header length, a JSON object of
 * name -> {dtype, shape, data_offsets}, then data that the tensors tile without gap or overlap.
 */
#include "container.h"

#include <string.h>

#define MAX_HEADER_BYTES 100000000u

struct sonde_safetensors {
    sonde_tensor *tensors; /* sorted by name */
    int64_t count;
    char *names; /* all names, each with its NUL */
    char *file;
};

/* What the functions below work on. */
typedef struct reader {
    sonde_safetensors *st;
    const uint8_t *data; /* first byte after the header */
    size_t data_bytes;
    const char *file;
    sonde_error *err;
} reader;

static const struct {
    const char *name;
    sonde_dtype dtype;
} dtype_names[] = {
    {"F32", SONDE_DTYPE_F32},         {"F16", SONDE_DTYPE_F16},
    {"BF16", SONDE_DTYPE_BF16},       {"F64", SONDE_DTYPE_F64},
    {"I8", SONDE_DTYPE_I8},           {"U8", SONDE_DTYPE_U8},
    {"I16", SONDE_DTYPE_I16},         {"U16", SONDE_DTYPE_U16},
    {"I32", SONDE_DTYPE_I32},         {"U32", SONDE_DTYPE_U32},
    {"I64", SONDE_DTYPE_I64},         {"U64", SONDE_DTYPE_U64},
    {"BOOL", SONDE_DTYPE_BOOL},       {"F8_E4M3", SONDE_DTYPE_F8_E4M3},
    {"F8_E5M2", SONDE_DTYPE_F8_E5M2}, {"F8_E8M0", SONDE_DTYPE_F8_E8M0},
    {"C64", SONDE_DTYPE_C64},         {"F4", SONDE_DTYPE_F4},
    {"F6_E2M3", SONDE_DTYPE_F6_E2M3}, {"F6_E3M2", SONDE_DTYPE_F6_E3M2},
};

#define BAD(r, ...) sonde_fail((r)->err, SONDE_BAD_MODEL, __VA_ARGS__)

static sonde_status read_dtype(reader *r, const json_t *entry, sonde_tensor *tensor)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return BAD(r, "%s: tensor %s: expected \"dtype\" to be a text", r->file, tensor->name);
    for (size_t i = 0; i < SONDE_COUNT(dtype_names); i++) {
        if (strcmp(name, dtype_names[i].name) != 0) continue;
        tensor->dtype = dtype_names[i].dtype;
        return SONDE_OK;
    }
    char shown[SONDE_PRINTABLE_BYTES];
    return BAD(r, "%s: tensor %s: unknown dtype %s", r->file, tensor->name,
               sonde_printable(name, strlen(name), shown));
}

static sonde_status read_shape(reader *r, const json_t *entry, sonde_tensor *tensor,
                               int64_t *n_elements)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return BAD(r, "%s: tensor %s: expected \"shape\" to be a list", r->file, tensor->name);
    if (json_array_size(shape) > SONDE_TENSOR_MAX_DIMS)
        return BAD(r, "%s: tensor %s: expected at most %d dimensions, got %zu", r->file,
                   tensor->name, SONDE_TENSOR_MAX_DIMS, json_array_size(shape));
    tensor->n_dims = (int32_t)json_array_size(shape);
    *n_elements = 1;
    for (int32_t i = 0; i < tensor->n_dims; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return BAD(r, "%s: tensor %s: dimension %d is no non-negative integer", r->file,
                       tensor->name, i);
        tensor->shape[i] = json_integer_value(dim);
        if (!sonde_mul_i64(*n_elements, tensor->shape[i], n_elements))
            return BAD(r, "%s: tensor %s: the shape has more than 2^63 elements", r->file,
                       tensor->name);
    }
    return SONDE_OK;
}

static sonde_status read_range(reader *r, const json_t *entry, sonde_tensor *tensor)
{
    const json_t *range = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(range, 0), *end = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return BAD(r, "%s: tensor %s: expected \"data_offsets\" to be two integers", r->file,
                   tensor->name);
    json_int_t from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || to < from || (uint64_t)to > r->data_bytes)
        return BAD(r,
                   "%s: tensor %s: data_offsets [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
                   "] do not lie in the %zu bytes of data",
                   r->file, tensor->name, from, to, r->data_bytes);
    tensor->data = r->data + from;
    tensor->bytes = (size_t)(to - from);
    return SONDE_OK;
}

static sonde_status read_entry(reader *r, const json_t *entry, sonde_tensor *tensor)
{
    int64_t n_elements;
    if (!json_is_object(entry))
        return BAD(r, "%s: tensor %s: expected an object", r->file, tensor->name);
    SONDE_TRY(read_dtype(r, entry, tensor));
    SONDE_TRY(read_shape(r, entry, tensor, &n_elements));
    SONDE_TRY(read_range(r, entry, tensor));
    size_t expected = sonde_dtype_bytes(tensor->dtype, n_elements);
    if (expected == tensor->bytes) return SONDE_OK;
    char shape[SONDE_SHAPE_BYTES];
    return BAD(r, "%s: tensor %s: %s of %s %s, data_offsets hold %zu", r->file, tensor->name,
               sonde_dtype_name(tensor->dtype), sonde_shape_text(tensor, shape),
               expected == SIZE_MAX ? "is no whole number of bytes" : "has another size",
               tensor->bytes);
}

static sonde_status check_metadata(reader *r, json_t *metadata)
{
    if (json_is_null(metadata)) return SONDE_OK;
    if (!json_is_object(metadata))
        return BAD(r, "%s: expected \"__metadata__\" to be an object of texts", r->file);
    for (void *at = json_object_iter(metadata); at; at = json_object_iter_next(metadata, at)) {
        const char *key = json_object_iter_key(at);
        char shown[SONDE_PRINTABLE_BYTES];
        if (!json_is_string(json_object_iter_value(at)))
            return BAD(r, "%s: expected \"__metadata__\" entry %s to be a text", r->file,
                       sonde_printable(key, strlen(key), shown));
    }
    return SONDE_OK;
}

/* The tensors must cover the data from its first byte to its last, each byte once. */
static sonde_status check_tiling(reader *r)
{
    sonde_tensors_sort_by_data(r->st->tensors, r->st->count);
    size_t covered = 0;
    for (int64_t i = 0; i < r->st->count; i++) {
        const sonde_tensor *tensor = &r->st->tensors[i];
        size_t begin = (size_t)((const uint8_t *)tensor->data - r->data);
        if (begin != covered)
            return BAD(r, "%s: tensor %s: data begins at byte %zu, expected %zu (%s)", r->file,
                       tensor->name, begin, covered, begin > covered ? "a hole" : "an overlap");
        covered = begin + tensor->bytes;
    }
    if (covered != r->data_bytes)
        return BAD(r, "%s: the tensors end at byte %zu of the data, the file has %zu", r->file,
                   covered, r->data_bytes);
    return SONDE_OK;
}

/* Room for all names and tensors. */
static sonde_status make_room(reader *r, json_t *root)
{
    size_t bytes = 1;
    for (void *at = json_object_iter(root); at; at = json_object_iter_next(root, at))
        bytes += strlen(json_object_iter_key(at)) + 1;
    r->st->names = sonde_alloc(bytes, 1);
    r->st->tensors = sonde_alloc(json_object_size(root) + 1, sizeof *r->st->tensors);
    if (r->st->names && r->st->tensors) return SONDE_OK;
    return sonde_no_memory(r->err, r->file, bytes);
}

static sonde_status read_entries(reader *r, json_t *root)
{
    SONDE_TRY(make_room(r, root));
    char *names = r->st->names;
    for (void *at = json_object_iter(root); at; at = json_object_iter_next(root, at)) {
        const char *key = json_object_iter_key(at);
        json_t *value = json_object_iter_value(at);
        if (strcmp(key, "__metadata__") == 0) {
            SONDE_TRY(check_metadata(r, value));
            continue;
        }
        char shown[SONDE_PRINTABLE_BYTES];
        size_t length = strlen(key);
        if (!sonde_name_is_clean(key, length))
            return BAD(r, "%s: tensor name '%s' is empty or has control characters", r->file,
                       sonde_printable(key, length, shown));
        sonde_tensor *tensor = &r->st->tensors[r->st->count++];
        memcpy(names, key, length + 1);
        tensor->name = names;
        tensor->file = r->st->file;
        names += length + 1;
        SONDE_TRY(read_entry(r, value, tensor));
    }
    return SONDE_OK;
}

static sonde_status read_header(reader *r, const uint8_t *bytes, uint64_t length)
{
    json_t *root = NULL;
    if (bytes[0] != '{') return BAD(r, "%s: the header does not begin with '{'", r->file);
    SONDE_TRY(sonde_json_parse((const char *)bytes, (size_t)length, r->file, SONDE_BAD_MODEL, &root,
                               r->err));
    sonde_status status = read_entries(r, root);
    json_decref(root);
    if (status == SONDE_OK) status = check_tiling(r);
    if (status == SONDE_OK) sonde_tensors_sort_by_name(r->st->tensors, r->st->count);
    return status;
}

static sonde_status read_image(reader *r, const uint8_t *image, size_t bytes)
{
    if (bytes < 8)
        return BAD(r, "%s: not a safetensors file: expected at least 8 bytes, file has %zu",
                   r->file, bytes);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | image[i];
    if (length > MAX_HEADER_BYTES || length < 2 || length > bytes - 8)
        return BAD(r,
                   "%s: not a sound safetensors file: the header length is %llu bytes, the file "
                   "has %zu after it (limit %u)",
                   r->file, (unsigned long long)length, bytes - 8, MAX_HEADER_BYTES);
    r->data = image + 8 + length;
    r->data_bytes = bytes - 8 - (size_t)length;
    return read_header(r, image + 8, length);
}

sonde_status sonde_safetensors_parse(const void *data, size_t bytes, const char *file,
                                     sonde_safetensors **out, sonde_error *err)
{
    *out = NULL;
    reader r = {.file = file, .err = err};
    r.st = sonde_alloc(1, sizeof *r.st);
    if (!r.st || !(r.st->file = sonde_strdup(file))) {
        sonde_safetensors_close(&r.st);
        return sonde_no_memory(err, file, sizeof *r.st);
    }
    sonde_status status = read_image(&r, data, bytes);
    if (status != SONDE_OK) sonde_safetensors_close(&r.st);
    *out = r.st;
    return status;
}

void sonde_safetensors_close(sonde_safetensors **st)
{
    if (!st || !*st) return;
    sonde_free((*st)->tensors);
    sonde_free((*st)->names);
    sonde_free((*st)->file);
    sonde_free(*st);
    *st = NULL;
}

int64_t sonde_safetensors_count(const sonde_safetensors *st)
{
    return st->count;
}

const sonde_tensor *sonde_safetensors_at(const sonde_safetensors *st, int64_t index)
{
    return &st->tensors[index];
}
