/*
 * probes_tensor_capture.c - tensor options from capture files: capture.h5:/path[row], where path is
 * activations/<point> (one row) or probes/<instance>/<table> (whole, or one index of its first
 * dimension).
 */
#include "probes_internal.h"
#include "sonde/reader.h"

#include <string.h>

typedef struct place {
    const char *source; /* as typed, for messages */
    char file[4096];
    char path[512]; /* without the leading slash */
    int64_t row;    /* -1: not given */
} place;

static sonde_status parse_place(const char *source, place *p, sonde_error *err)
{
    const char *colon = NULL;
    for (const char *at = strstr(source, ":/"); at; at = strstr(at + 1, ":/")) colon = at;
    size_t file = (size_t)(colon - source), path = strcspn(colon + 2, "[");
    const char *bracket = colon + 2 + path;
    p->source = source;
    p->row = -1;
    if (file == 0 || file >= sizeof p->file || path == 0 || path >= sizeof p->path)
        return sonde_fail(err, SONDE_USAGE, "'%s': expected capture.h5:/path[row]", source);
    snprintf(p->file, sizeof p->file, "%.*s", (int)file, source);
    snprintf(p->path, sizeof p->path, "%.*s", (int)path, colon + 2);
    if (!*bracket) return SONDE_OK;
    char digits[24];
    size_t n = strspn(bracket + 1, "0123456789");
    snprintf(digits, sizeof digits, "%.*s", (int)SONDE_MIN(n, 20), bracket + 1);
    if (strcmp(bracket + 1 + n, "]") != 0 || !sonde_parse_i64(digits, 0, INT64_MAX, &p->row))
        return sonde_fail(err, SONDE_USAGE, "'%s': expected a row number in [] at the end", source);
    return SONDE_OK;
}

static sonde_status check_row(const place *p, int64_t rows, sonde_error *err)
{
    if (p->row < rows) return SONDE_OK;
    return sonde_fail(err, SONDE_USAGE, "'%s': it has rows 0 to %lld", p->source,
                      (long long)rows - 1);
}

static sonde_status load_point(sonde_reader *reader, const place *p, sonde_probe_owner *owner,
                               sonde_probe_tensor *tensor, sonde_error *err)
{
    sonde_point_info info;
    int64_t elements, point = sonde_reader_find(reader, p->path + strlen("activations/"));
    if (point < 0)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "'%s': the file has no /%s", p->source, p->path);
    SONDE_TRY(sonde_reader_point(reader, point, &info, err));
    if (info.ragged)
        return sonde_fail(err, SONDE_USAGE, "'%s': its rows have no fixed shape", p->source);
    if (p->row < 0)
        return sonde_fail(err, SONDE_USAGE, "'%s': say which row: %s[0]", p->source, p->source);
    SONDE_TRY(check_row(p, info.rows, err));
    tensor->n_dims = (uint32_t)SONDE_MAX(info.n_dims, 1);
    tensor->dims[0] = 1;
    for (int32_t i = 0; i < info.n_dims && i < 4; i++) tensor->dims[i] = info.shape[i];
    SONDE_TRY(sonde_probe_shape_elements(p->source, tensor->n_dims, tensor->dims, &elements, err));
    float *data = sonde_probe_own(owner, (size_t)elements, sizeof *data);
    if (!data) return sonde_no_memory(err, "a tensor", (size_t)elements * sizeof *data);
    tensor->data = data;
    return sonde_reader_read(reader, point, p->row, 1, data, err);
}

static int64_t find_table(sonde_reader *reader, const char *path, sonde_table_info *info)
{
    for (int64_t i = 0; i < sonde_reader_table_count(reader); i++)
        if (sonde_reader_table(reader, i, info, NULL) == SONDE_OK && strcmp(info->path, path) == 0)
            return i;
    return -1;
}

/* Whole, or the part at index `row` of the first dimension. */
static sonde_status load_table(sonde_reader *reader, const place *p, sonde_probe_owner *owner,
                               sonde_probe_tensor *tensor, sonde_error *err)
{
    sonde_table_info info;
    int64_t all, elements, table = find_table(reader, p->path + strlen("probes/"), &info);
    if (table < 0)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "'%s': the file has no table /%s", p->source,
                          p->path);
    SONDE_TRY(sonde_probe_shape_elements(p->source, (uint32_t)info.n_dims, info.dims, &all, err));
    SONDE_TRY(check_row(p, info.dims[0], err));
    int32_t first = p->row >= 0 && info.n_dims > 1;
    elements = p->row >= 0 ? all / info.dims[0] : all;
    tensor->n_dims = (uint32_t)(info.n_dims - first);
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        tensor->dims[i] = info.dims[i + (uint32_t)first];
    if (p->row >= 0 && info.n_dims == 1) tensor->dims[0] = 1;
    double *wide = sonde_alloc_raw((size_t)all, sizeof *wide);
    float *data = sonde_probe_own(owner, (size_t)elements, sizeof *data);
    sonde_status status = wide && data ? sonde_reader_table_read(reader, table, wide, err)
                                       : sonde_no_memory(err, "a tensor", (size_t)all * 8);
    int64_t begin = p->row >= 0 ? p->row * elements : 0;
    for (int64_t i = 0; status == SONDE_OK && i < elements; i++) data[i] = (float)wide[begin + i];
    sonde_free(wide);
    tensor->data = data;
    return status;
}

sonde_status sonde_probe_capture_load(sonde_probe_owner *owner, const char *source,
                                      sonde_probe_tensor *tensor, sonde_error *err)
{
    place p;
    sonde_reader *reader = NULL;
    SONDE_TRY(parse_place(source, &p, err));
    SONDE_TRY(sonde_reader_open(p.file, &reader, err));
    sonde_status status;
    if (strncmp(p.path, "activations/", 12) == 0)
        status = load_point(reader, &p, owner, tensor, err);
    else if (strncmp(p.path, "probes/", 7) == 0)
        status = load_table(reader, &p, owner, tensor, err);
    else
        status = sonde_fail(err, SONDE_USAGE, "'%s': expected /activations/<point>[row] or "
                            "/probes/<instance>/<table>", source);
    sonde_reader_close(&reader);
    return status;
}
