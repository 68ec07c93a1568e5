/*
 * gguf.c - parser of one GGUF image, versions 2 and 3: header, key-value pairs, tensor infos,
 * padding, data. Every length is bounded by the file before anything is allocated for it.
 */
#include "gguf_internal.h"

#include <stdlib.h>
#include <string.h>

#define BAD(r, ...) sonde_fail((r)->err, SONDE_BAD_MODEL, __VA_ARGS__)
#define MAX_DIMS 4
#define MIN_VALUE_BYTES 13 /* empty key, kind, one byte */
#define MIN_INFO_BYTES 24  /* empty name, no dimension, type, offset */

/* X(id, sonde dtype or NONE, name): ggml's tensor types, those that were removed too. */
#define TYPE_LIST(X)                                                                               \
    X(0, F32, "F32")                                                                               \
    X(1, F16, "F16")                                                                               \
    X(2, Q4_0, "Q4_0")                                                                             \
    X(3, Q4_1, "Q4_1")                                                                             \
    X(4, NONE, "Q4_2 (removed from GGUF)")                                                         \
    X(5, NONE, "Q4_3 (removed from GGUF)")                                                         \
    X(6, Q5_0, "Q5_0")                                                                             \
    X(7, Q5_1, "Q5_1")                                                                             \
    X(8, Q8_0, "Q8_0")                                                                             \
    X(9, Q8_1, "Q8_1")                                                                             \
    X(10, Q2_K, "Q2_K")                                                                            \
    X(11, Q3_K, "Q3_K")                                                                            \
    X(12, Q4_K, "Q4_K")                                                                            \
    X(13, Q5_K, "Q5_K")                                                                            \
    X(14, Q6_K, "Q6_K")                                                                            \
    X(15, Q8_K, "Q8_K")                                                                            \
    X(16, IQ2_XXS, "IQ2_XXS")                                                                      \
    X(17, IQ2_XS, "IQ2_XS")                                                                        \
    X(18, IQ3_XXS, "IQ3_XXS")                                                                      \
    X(19, IQ1_S, "IQ1_S")                                                                          \
    X(20, IQ4_NL, "IQ4_NL")                                                                        \
    X(21, IQ3_S, "IQ3_S")                                                                          \
    X(22, IQ2_S, "IQ2_S")                                                                          \
    X(23, IQ4_XS, "IQ4_XS")                                                                        \
    X(24, I8, "I8")                                                                                \
    X(25, I16, "I16")                                                                              \
    X(26, I32, "I32")                                                                              \
    X(27, I64, "I64")                                                                              \
    X(28, F64, "F64")                                                                              \
    X(29, IQ1_M, "IQ1_M")                                                                          \
    X(30, BF16, "BF16")                                                                            \
    X(31, NONE, "Q4_0_4_4 (removed from GGUF)")                                                    \
    X(32, NONE, "Q4_0_4_8 (removed from GGUF)")                                                    \
    X(33, NONE, "Q4_0_8_8 (removed from GGUF)")                                                    \
    X(34, TQ1_0, "TQ1_0")                                                                          \
    X(35, TQ2_0, "TQ2_0")                                                                          \
    X(36, NONE, "IQ4_NL_4_4 (removed from GGUF)")                                                  \
    X(37, NONE, "IQ4_NL_4_8 (removed from GGUF)")                                                  \
    X(38, NONE, "IQ4_NL_8_8 (removed from GGUF)")                                                  \
    X(39, MXFP4, "MXFP4")                                                                          \
    X(40, NVFP4, "NVFP4")                                                                          \
    X(41, Q1_0, "Q1_0")                                                                            \
    X(42, Q2_0, "Q2_0")

static const struct {
    uint32_t id;
    sonde_dtype dtype;
    const char *name;
} types[] = {
#define TYPE_ENTRY(id, dtype, name) {id, SONDE_DTYPE_##dtype, name},
    TYPE_LIST(TYPE_ENTRY)
#undef TYPE_ENTRY
};

static sonde_status cut(gguf_reader *r, const char *what)
{
    return BAD(r, "%s: the file is cut or its counts are wrong: %s at byte %zu of %zu", r->file,
               what, r->at, r->bytes);
}

static bool take_u32(gguf_reader *r, uint32_t *out)
{
    if (r->bytes - r->at < 4) return false;
    *out = (uint32_t)gguf_load(r->image + r->at, 4);
    r->at += 4;
    return true;
}

static bool take_u64(gguf_reader *r, uint64_t *out)
{
    if (r->bytes - r->at < 8) return false;
    *out = gguf_load(r->image + r->at, 8);
    r->at += 8;
    return true;
}

static bool take_string(gguf_reader *r, const char **bytes, size_t *n)
{
    uint64_t length;
    if (!take_u64(r, &length) || length > r->bytes - r->at) return false;
    *bytes = (const char *)(r->image + r->at);
    *n = (size_t)length;
    r->at += (size_t)length;
    return true;
}

static sonde_status read_header(gguf_reader *r, uint64_t *n_tensors, uint64_t *n_values)
{
    uint32_t version;
    if (r->bytes < 4 || memcmp(r->image, "GGUF", 4) != 0)
        return BAD(r, "%s: not a GGUF file: it does not begin with \"GGUF\"", r->file);
    r->at = 4;
    if (!take_u32(r, &version)) return cut(r, "the version");
    if (version == 0x02000000u || version == 0x03000000u)
        return BAD(r, "%s: a big-endian GGUF file: only little-endian ones are read", r->file);
    if (version != 2 && version != 3)
        return BAD(r, "%s: expected GGUF version 2 or 3, got %u", r->file, version);
    if (!take_u64(r, n_tensors) || !take_u64(r, n_values)) return cut(r, "the counts");
    size_t rest = r->bytes - r->at;
    if (*n_tensors > rest / MIN_INFO_BYTES || *n_values > rest / MIN_VALUE_BYTES)
        return BAD(r, "%s: %llu tensors and %llu metadata keys do not fit into %zu bytes", r->file,
                   (unsigned long long)*n_tensors, (unsigned long long)*n_values, r->bytes);
    return SONDE_OK;
}

/* Steps over `count` values of one kind. */
static sonde_status skip_elements(gguf_reader *r, gguf_kind kind, uint64_t count)
{
    size_t rest = r->bytes - r->at;
    if (kind == GGUF_STRING) {
        const char *bytes;
        size_t n;
        if (count > rest / 8) return cut(r, "an array of strings");
        for (uint64_t i = 0; i < count; i++)
            if (!take_string(r, &bytes, &n)) return cut(r, "an array of strings");
        return SONDE_OK;
    }
    size_t size = gguf_kind_bytes(kind);
    if (count > rest / size) return cut(r, "a value");
    for (uint64_t i = 0; kind == GGUF_BOOL && i < count; i++)
        if (r->image[r->at + i] > 1)
            return BAD(r, "%s: a boolean at byte %zu is neither 0 nor 1", r->file,
                       r->at + (size_t)i);
    r->at += (size_t)count * size;
    return SONDE_OK;
}

static sonde_status read_array(gguf_reader *r, gguf_value *value)
{
    uint32_t kind;
    if (!take_u32(r, &kind) || !take_u64(r, &value->count)) return cut(r, "the head of an array");
    if (kind == GGUF_ARRAY)
        return BAD(r, "%s: metadata key %.*s is an array of arrays, which no known key is", r->file,
                   (int)value->key_bytes, value->key);
    if (kind >= GGUF_KIND_COUNT)
        return BAD(r, "%s: metadata key %.*s: unknown element kind %u", r->file,
                   (int)value->key_bytes, value->key, kind);
    value->element = (gguf_kind)kind;
    value->data = r->image + r->at;
    return skip_elements(r, value->element, value->count);
}

static sonde_status read_value(gguf_reader *r, gguf_value *value)
{
    uint32_t kind;
    char shown[SONDE_PRINTABLE_BYTES];
    if (!take_string(r, &value->key, &value->key_bytes)) return cut(r, "a metadata key");
    if (value->key_bytes > 65535 || !sonde_name_is_clean(value->key, value->key_bytes))
        return BAD(r,
                   "%s: metadata key '%s' is empty, too long, no UTF-8 or has control characters",
                   r->file, sonde_printable(value->key, value->key_bytes, shown));
    if (!take_u32(r, &kind)) return cut(r, "the kind of a value");
    if (kind >= GGUF_KIND_COUNT)
        return BAD(r, "%s: metadata key %.*s: unknown value kind %u", r->file,
                   (int)value->key_bytes, value->key, kind);
    value->kind = (gguf_kind)kind;
    value->count = 1;
    if (value->kind == GGUF_ARRAY) return read_array(r, value);
    value->data = r->image + r->at;
    if (value->kind != GGUF_STRING) return skip_elements(r, value->kind, 1);
    const char *bytes;
    size_t n;
    if (!take_string(r, &bytes, &n)) return cut(r, "a text");
    value->data = (const uint8_t *)bytes;
    value->count = n;
    return SONDE_OK;
}

static sonde_status read_values(gguf_reader *r, uint64_t n_values)
{
    sonde_gguf *gguf = r->gguf;
    gguf->values = sonde_alloc((size_t)n_values + 1, sizeof *gguf->values);
    if (!gguf->values) return sonde_no_memory(r->err, r->file, (size_t)n_values);
    for (; (uint64_t)gguf->n_values < n_values; gguf->n_values++)
        SONDE_TRY(read_value(r, &gguf->values[gguf->n_values]));
    const gguf_value *twice = gguf_sort_values(gguf);
    if (twice)
        return BAD(r, "%s: metadata key %.*s stands twice", r->file, (int)twice->key_bytes,
                   twice->key);
    return SONDE_OK;
}

static sonde_status read_type(gguf_reader *r, sonde_tensor *tensor)
{
    uint32_t id;
    if (!take_u32(r, &id)) return cut(r, "a tensor's type");
    for (size_t i = 0; i < SONDE_COUNT(types); i++) {
        if (types[i].id != id) continue;
        tensor->dtype = types[i].dtype;
        if (tensor->dtype != SONDE_DTYPE_NONE) return SONDE_OK;
        return BAD(r, "%s: tensor %s: type %s is not supported", r->file, tensor->name,
                   types[i].name);
    }
    return BAD(r, "%s: tensor %s: unknown tensor type %u", r->file, tensor->name, id);
}

/* Dimensions stand fastest first in the file and slowest first in sonde_tensor. */
static sonde_status read_shape(gguf_reader *r, sonde_tensor *tensor, int64_t *n_elements)
{
    uint32_t n_dims;
    if (!take_u32(r, &n_dims)) return cut(r, "a tensor's dimensions");
    if (n_dims > MAX_DIMS)
        return BAD(r, "%s: tensor %s: expected at most %d dimensions, got %u", r->file,
                   tensor->name, MAX_DIMS, n_dims);
    tensor->n_dims = (int32_t)n_dims;
    *n_elements = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t dim;
        if (!take_u64(r, &dim)) return cut(r, "a tensor's dimensions");
        if (dim > INT64_MAX || !sonde_mul_i64(*n_elements, (int64_t)dim, n_elements))
            return BAD(r, "%s: tensor %s: the shape has more than 2^63 elements", r->file,
                       tensor->name);
        tensor->shape[n_dims - 1 - i] = (int64_t)dim;
    }
    return SONDE_OK;
}

static sonde_status check_size(gguf_reader *r, sonde_tensor *tensor, int64_t n_elements)
{
    int64_t block = sonde_dtype_block_elements(tensor->dtype);
    int64_t row = tensor->n_dims > 0 ? tensor->shape[tensor->n_dims - 1] : 1;
    if (row % block != 0)
        return BAD(r,
                   "%s: tensor %s: rows of %lld are no multiple of the %lld elements of a %s block",
                   r->file, tensor->name, (long long)row, (long long)block,
                   sonde_dtype_name(tensor->dtype));
    tensor->bytes = sonde_dtype_bytes(tensor->dtype, n_elements);
    if (tensor->bytes != SIZE_MAX) return SONDE_OK;
    return BAD(r, "%s: tensor %s: the size in bytes does not fit into 64 bits", r->file,
               tensor->name);
}

/* Reads one info; *offset counts from the start of the data. The name is copied to *names. */
static sonde_status read_info(gguf_reader *r, sonde_tensor *tensor, char **names, uint64_t *offset)
{
    const char *name;
    size_t length;
    int64_t n_elements;
    char shown[SONDE_PRINTABLE_BYTES];
    if (!take_string(r, &name, &length)) return cut(r, "a tensor's name");
    if (!sonde_name_is_clean(name, length))
        return BAD(r, "%s: tensor name '%s' is empty, no UTF-8 or has control characters", r->file,
                   sonde_printable(name, length, shown));
    memcpy(*names, name, length);
    (*names)[length] = '\0';
    tensor->name = *names;
    tensor->file = r->gguf->file;
    *names += length + 1;
    SONDE_TRY(read_shape(r, tensor, &n_elements));
    SONDE_TRY(read_type(r, tensor));
    SONDE_TRY(check_size(r, tensor, n_elements));
    return take_u64(r, offset) ? SONDE_OK : cut(r, "a tensor's offset");
}

static sonde_status read_alignment(gguf_reader *r, uint64_t *alignment)
{
    const gguf_value *value = gguf_find(r->gguf, "general.alignment");
    *alignment = 32;
    if (!value) return SONDE_OK;
    if (value->kind != GGUF_U32)
        return BAD(r, "%s: expected general.alignment to be a u32, got %s", r->file,
                   gguf_kind_name(value->kind));
    *alignment = gguf_load(value->data, 4);
    if (*alignment != 0 && (*alignment & (*alignment - 1)) == 0) return SONDE_OK;
    return BAD(r, "%s: expected general.alignment to be a power of two, got %llu", r->file,
               (unsigned long long)*alignment);
}

/* Turns offsets into pointers: aligned, inside the file, no two on one byte. */
static sonde_status place_tensors(gguf_reader *r, const uint64_t *offsets)
{
    sonde_gguf *gguf = r->gguf;
    uint64_t alignment;
    SONDE_TRY(read_alignment(r, &alignment));
    uint64_t start = (r->at + alignment - 1) / alignment * alignment;
    uint64_t room = start < r->bytes ? r->bytes - start : 0;
    for (int64_t i = 0; i < gguf->count; i++) {
        sonde_tensor *tensor = &gguf->tensors[i];
        if (offsets[i] % alignment != 0)
            return BAD(r, "%s: tensor %s: offset %llu is no multiple of the alignment %llu",
                       r->file, tensor->name, (unsigned long long)offsets[i],
                       (unsigned long long)alignment);
        if (offsets[i] > room || tensor->bytes > room - offsets[i])
            return BAD(
                r, "%s: tensor %s: %zu bytes at offset %llu do not lie in the %llu bytes of data",
                r->file, tensor->name, tensor->bytes, (unsigned long long)offsets[i],
                (unsigned long long)room);
        tensor->data = tensor->bytes ? r->image + start + offsets[i] : r->image;
    }
    sonde_tensors_sort_by_data(gguf->tensors, gguf->count);
    for (int64_t i = 1; i < gguf->count; i++) {
        const sonde_tensor *a = &gguf->tensors[i - 1], *b = &gguf->tensors[i];
        if (a->bytes > 0 && (const uint8_t *)b->data < (const uint8_t *)a->data + a->bytes)
            return BAD(r, "%s: tensors %s and %s overlap", r->file, a->name, b->name);
    }
    return SONDE_OK;
}

/* Bytes of all names with their NULs; stops quietly where the infos are cut, as reading them will
 * find the same place. */
static size_t measure_names(gguf_reader r, uint64_t n_tensors)
{
    const char *name;
    size_t length, total = 1;
    uint32_t n_dims;
    for (uint64_t i = 0; i < n_tensors && take_string(&r, &name, &length); i++) {
        total += length + 1;
        if (!take_u32(&r, &n_dims) || n_dims > MAX_DIMS) break;
        size_t rest = 8 * (size_t)n_dims + 4 + 8;
        if (r.bytes - r.at < rest) break;
        r.at += rest;
    }
    return total;
}

static sonde_status read_tensors(gguf_reader *r, uint64_t n_tensors)
{
    sonde_gguf *gguf = r->gguf;
    gguf->tensors = sonde_alloc((size_t)n_tensors + 1, sizeof *gguf->tensors);
    gguf->names = sonde_alloc(measure_names(*r, n_tensors), 1);
    uint64_t *offsets = sonde_alloc((size_t)n_tensors + 1, sizeof *offsets);
    char *names = gguf->names;
    sonde_status status = SONDE_OK;
    if (!gguf->tensors || !gguf->names || !offsets)
        status = sonde_no_memory(r->err, r->file, (size_t)n_tensors * sizeof *gguf->tensors);
    for (; status == SONDE_OK && (uint64_t)gguf->count < n_tensors; gguf->count++)
        status = read_info(r, &gguf->tensors[gguf->count], &names, &offsets[gguf->count]);
    if (status == SONDE_OK) status = place_tensors(r, offsets);
    sonde_free(offsets);
    if (status != SONDE_OK) return status;
    sonde_tensors_sort_by_name(gguf->tensors, gguf->count);
    for (int64_t i = 0; i < gguf->count; i++) gguf->tensors[i].stored = i;
    for (int64_t i = 1; i < gguf->count; i++)
        if (strcmp(gguf->tensors[i - 1].name, gguf->tensors[i].name) == 0)
            return BAD(r, "%s: tensor %s stands twice", r->file, gguf->tensors[i].name);
    return SONDE_OK;
}

static sonde_status read_image(gguf_reader *r)
{
    uint64_t n_tensors = 0, n_values = 0;
    SONDE_TRY(read_header(r, &n_tensors, &n_values));
    SONDE_TRY(read_values(r, n_values));
    return read_tensors(r, n_tensors);
}

sonde_status sonde_gguf_parse(const void *data, size_t bytes, const char *file, sonde_gguf **out,
                              sonde_error *err)
{
    *out = NULL;
    gguf_reader r = {.image = data, .bytes = bytes, .file = file, .err = err};
    r.gguf = sonde_alloc(1, sizeof *r.gguf);
    if (!r.gguf || !(r.gguf->file = sonde_strdup(file))) {
        sonde_gguf_close(&r.gguf);
        return sonde_no_memory(err, file, sizeof *r.gguf);
    }
    sonde_status status = read_image(&r);
    if (status != SONDE_OK) sonde_gguf_close(&r.gguf);
    *out = r.gguf;
    return status;
}

void sonde_gguf_close(sonde_gguf **gguf)
{
    if (!gguf || !*gguf) return;
    sonde_free((*gguf)->tensors);
    sonde_free((*gguf)->names);
    sonde_free((*gguf)->values);
    sonde_free((*gguf)->file);
    sonde_free(*gguf);
    *gguf = NULL;
}

int64_t sonde_gguf_count(const sonde_gguf *gguf)
{
    return gguf->count;
}

const sonde_tensor *sonde_gguf_at(const sonde_gguf *gguf, int64_t index)
{
    return &gguf->tensors[index];
}
