/*
 * probes_tensor.c - tensor options from .npy files (format versions 1 to 3 of NumPy). The header is
 * a small Python literal; a strict scanner reads the three keys it must have. Everything is checked
 * against the size of the file before a value is touched.
 */
#include "kernels/dtype/dtype.h"
#include "probes_internal.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

typedef struct npy_header {
    char kind;  /* 'f', 'i', 'u' */
    int bytes;  /* of an element */
    bool fortran;
    uint32_t n_dims;
    int64_t dims[4];
    size_t data_at;
} npy_header;

typedef struct scanner {
    const char *at, *end;
    const char *source; /* for messages */
    sonde_error *err;
} scanner;

sonde_status sonde_probe_shape_elements(const char *source, uint32_t n_dims, const int64_t *dims,
                                        int64_t *elements, sonde_error *err)
{
    *elements = 1;
    if (n_dims < 1 || n_dims > 4)
        return sonde_fail(err, SONDE_USAGE, "%s: it has %u dimensions; expected 1 to 4", source,
                          n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        if (dims[i] < 1 || !sonde_mul_i64(*elements, dims[i], elements) ||
            *elements > SONDE_PROBE_MAX_ELEMENTS)
            return sonde_fail(err, SONDE_USAGE, "%s: dimension %u is %lld; every one must be at "
                              "least 1, and their product at most %lld", source, i,
                              (long long)dims[i], (long long)SONDE_PROBE_MAX_ELEMENTS);
    return SONDE_OK;
}

/* ---- the header's literal -------------------------------------------------------------------- */

static sonde_status bad_header(scanner *s, const char *expected)
{
    return sonde_fail(s->err, SONDE_BAD_FILE, "%s: bad .npy header: expected %s", s->source,
                      expected);
}

static void skip_space(scanner *s)
{
    while (s->at < s->end && isspace((unsigned char)*s->at)) s->at++;
}

static bool take(scanner *s, char c)
{
    skip_space(s);
    if (s->at >= s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static bool take_word(scanner *s, const char *word)
{
    size_t n = strlen(word);
    skip_space(s);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) return false;
    s->at += n;
    return true;
}

static sonde_status take_quoted(scanner *s, char buffer[32])
{
    size_t n = 0;
    if (!take(s, '\'')) return bad_header(s, "a quoted text");
    while (s->at < s->end && *s->at != '\'' && n < 31) buffer[n++] = *s->at++;
    buffer[n] = '\0';
    return take(s, '\'') ? SONDE_OK : bad_header(s, "a quoted text of at most 31 bytes");
}

static sonde_status take_shape(scanner *s, npy_header *h)
{
    if (!take(s, '(')) return bad_header(s, "a shape in parentheses");
    while (!take(s, ')')) {
        char digits[24];
        size_t n = 0;
        skip_space(s);
        while (s->at < s->end && isdigit((unsigned char)*s->at) && n < 20) digits[n++] = *s->at++;
        digits[n] = '\0';
        if (h->n_dims == 4) return bad_header(s, "a shape of 1 to 4 dimensions");
        if (!sonde_parse_i64(digits, 0, INT64_MAX, &h->dims[h->n_dims++]))
            return bad_header(s, "whole numbers in the shape");
        if (take(s, ',')) continue;
        if (!take(s, ')')) return bad_header(s, "',' or ')' in the shape");
        return SONDE_OK;
    }
    return SONDE_OK;
}

static sonde_status take_descr(scanner *s, npy_header *h)
{
    char descr[32];
    SONDE_TRY(take_quoted(s, descr));
    static const char *const known[] = {"<f2", "<f4", "<f8", "|i1", "|u1", "<i2", "<u2",
                                        "<i4", "<u4", "<i8", "<u8", NULL};
    for (int i = 0; known[i]; i++)
        if (strcmp(descr, known[i]) == 0) {
            h->kind = descr[1];
            h->bytes = descr[2] - '0';
            return SONDE_OK;
        }
    return sonde_fail(s->err, SONDE_USAGE, "%s: its element type is '%s'; expected little-endian "
                      "floats or whole numbers: save it with .astype('<f4')", s->source, descr);
}

static sonde_status take_entry(scanner *s, npy_header *h, unsigned *seen)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    char key[32];
    unsigned k = 0;
    SONDE_TRY(take_quoted(s, key));
    while (k < 3 && strcmp(key, keys[k]) != 0) k++;
    if (k == 3 || (*seen & 1u << k))
        return bad_header(s, "descr, fortran_order and shape, once each");
    *seen |= 1u << k;
    if (!take(s, ':')) return bad_header(s, "':' after a key");
    if (k == 0) return take_descr(s, h);
    if (k == 2) return take_shape(s, h);
    h->fortran = take_word(s, "True");
    return h->fortran || take_word(s, "False") ? SONDE_OK : bad_header(s, "True or False");
}

static sonde_status parse_dict(scanner *s, npy_header *h)
{
    unsigned seen = 0;
    if (!take(s, '{')) return bad_header(s, "'{'");
    while (!take(s, '}')) {
        SONDE_TRY(take_entry(s, h, &seen));
        if (take(s, ',')) continue;
        if (!take(s, '}')) return bad_header(s, "',' or '}'");
        break;
    }
    return seen == 7 ? SONDE_OK : bad_header(s, "descr, fortran_order and shape");
}

static sonde_status parse_header(const sonde_mapping *map, const char *source, npy_header *h,
                                 sonde_error *err)
{
    static const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    const uint8_t *d = map->data;
    memset(h, 0, sizeof *h);
    if (map->bytes < 12 || memcmp(d, magic, sizeof magic) != 0 || d[6] < 1 || d[6] > 3)
        return sonde_fail(err, SONDE_BAD_FILE, "%s: it is no .npy file of version 1 to 3", source);
    size_t head = d[6] == 1 ? 10 : 12, length = (size_t)d[8] | (size_t)d[9] << 8;
    if (d[6] > 1) length |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
    if (length > map->bytes - head)
        return sonde_fail(err, SONDE_BAD_FILE, "%s: cut off: its header of %zu bytes goes past the "
                          "end of the file (%zu bytes)", source, length, map->bytes);
    scanner s = {.at = (const char *)d + head, .end = (const char *)d + head + length,
                 .source = source, .err = err};
    h->data_at = head + length;
    return parse_dict(&s, h);
}

/* ---- values ---------------------------------------------------------------------------------- */

static double whole_value(const npy_header *h, const uint8_t *at)
{
    uint64_t bits = 0;
    for (int i = 0; i < h->bytes; i++) bits |= (uint64_t)at[i] << (8 * i);
    if (h->kind == 'u') return (double)bits;
    uint64_t sign = UINT64_C(1) << (8 * h->bytes - 1);
    if (!(bits & sign)) return (double)bits;
    return -(double)((sign - 1 - (bits & (sign - 1))) + 1);
}

static float value(const npy_header *h, const uint8_t *at)
{
    double wide;
    uint16_t half;
    float single;
    if (h->kind != 'f') return (float)whole_value(h, at);
    switch (h->bytes) {
    case 2: memcpy(&half, at, sizeof half); return sonde_f16_to_f32(half);
    case 4: memcpy(&single, at, sizeof single); return single;
    default: memcpy(&wide, at, sizeof wide); return (float)wide;
    }
}

static bool overflowed(const npy_header *h, const uint8_t *at, float converted)
{
    double wide;
    if (h->kind != 'f' || h->bytes != 8 || !isinf(converted)) return false;
    memcpy(&wide, at, sizeof wide);
    return !isinf(wide);
}

static sonde_status read_values(const sonde_mapping *map, const char *source, const npy_header *h,
                                sonde_probe_owner *owner, sonde_probe_tensor *tensor,
                                sonde_error *err)
{
    int64_t elements;
    SONDE_TRY(sonde_probe_shape_elements(source, h->n_dims, h->dims, &elements, err));
    size_t bytes = (size_t)elements * (size_t)h->bytes;
    if (map->bytes - h->data_at != bytes)
        return sonde_fail(err, SONDE_BAD_FILE, "%s: expected %zu bytes of values, the file has %zu",
                          source, bytes, map->bytes - h->data_at);
    if (h->fortran && h->n_dims > 1)
        return sonde_fail(err, SONDE_USAGE, "%s: it is in Fortran order; save it with "
                          "numpy.ascontiguousarray", source);
    float *data = sonde_probe_own(owner, (size_t)elements, sizeof *data);
    if (!data) return sonde_no_memory(err, "a tensor", (size_t)elements * sizeof *data);
    const uint8_t *at = map->data + h->data_at;
    for (int64_t i = 0; i < elements; i++, at += h->bytes) {
        data[i] = value(h, at);
        if (overflowed(h, at, data[i]))
            return sonde_fail(err, SONDE_USAGE, "%s: value %lld does not fit into float32", source,
                              (long long)i);
    }
    tensor->n_dims = h->n_dims;
    memcpy(tensor->dims, h->dims, sizeof tensor->dims);
    tensor->data = data;
    return SONDE_OK;
}

static sonde_status load_npy(sonde_probe_owner *owner, const char *source,
                             sonde_probe_tensor *tensor, sonde_error *err)
{
    sonde_mapping map = {0};
    npy_header header;
    SONDE_TRY(sonde_mapping_open(source, &map, err));
    sonde_status status = parse_header(&map, source, &header, err);
    if (status == SONDE_OK) status = read_values(&map, source, &header, owner, tensor, err);
    sonde_mapping_close(&map);
    return status;
}

sonde_status sonde_probe_tensor_load(sonde_probe_owner *owner, const char *source,
                                     sonde_probe_tensor *tensor, sonde_error *err)
{
    size_t n = strlen(source);
    memset(tensor, 0, sizeof *tensor);
    tensor->source = sonde_probe_own_text(owner, source, n);
    if (!tensor->source) return sonde_no_memory(err, "a tensor", n);
    if (n > 4 && strcmp(source + n - 4, ".npy") == 0) return load_npy(owner, source, tensor, err);
    if (strstr(source, ":/")) return sonde_probe_capture_load(owner, source, tensor, err);
    return sonde_fail(err, SONDE_USAGE, "'%s': expected file.npy or capture.h5:/path[row]", source);
}
