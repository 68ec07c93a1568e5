/* schema_points.c - /activations and /rowmap. */
#include "schema_internal.h"

#include <string.h>

#define TABLE_CHUNK_ROWS 4096
#define DEFAULT_CHUNK_BYTES ((int64_t)1 << 20)

/* ---- declaring ------------------------------------------------------------------------------- */

static sonde_status check_point(const sonde_schema_point *spec, sonde_error *err)
{
    if (spec->n_dims < 0 || spec->n_dims > SONDE_STORE_MAX_DIMS)
        return sonde_fail(err, SONDE_INTERNAL, "point %.80s: %d dimensions", spec->name,
                          (int)spec->n_dims);
    if (spec->ragged && spec->shape[0] < 1)
        return sonde_fail(err, SONDE_INTERNAL, "point %.80s: %lld heads", spec->name,
                          (long long)spec->shape[0]);
    if (sonde_dtype_bytes(spec->stored, 1) == SIZE_MAX)
        return sonde_fail(err, SONDE_INTERNAL, "point %.80s: cannot be stored as %s", spec->name,
                          sonde_dtype_name(spec->stored));
    return SONDE_OK;
}

static sonde_status declare_dense(sonde_schema *schema, const sonde_schema_point *spec,
                                  const char *path, schema_point *point, sonde_error *err)
{
    sonde_dataset_spec set = {.path = path, .dtype = spec->stored, .n_dims = spec->n_dims,
                              .codec = schema->codec,
                              .chunk_target_bytes = schema->chunk_target_bytes};
    memcpy(set.shape, spec->shape, sizeof set.shape);
    SONDE_TRY(sonde_store_declare(schema->store, &set, &point->data, err));
    return sonde_schema_is_array(schema, path, err);
}

/* A power of two of elements nearest the target. */
static int64_t ragged_chunk(const sonde_schema *schema, sonde_dtype dtype)
{
    int64_t target = schema->chunk_target_bytes ? schema->chunk_target_bytes : DEFAULT_CHUNK_BYTES;
    int64_t elements = 64, wanted = target / (int64_t)sonde_dtype_bytes(dtype, 1);
    while (elements * 3 / 2 <= wanted) elements *= 2;
    return elements;
}

static sonde_status declare_ragged(sonde_schema *schema, const sonde_schema_point *spec,
                                   const char *path, schema_point *point, sonde_error *err)
{
    char member[320];
    uint64_t zero = 0;
    snprintf(member, sizeof member, "%s/data", path);
    sonde_dataset_spec set = {.path = member, .dtype = spec->stored, .codec = schema->codec,
                              .chunk_rows = ragged_chunk(schema, spec->stored)};
    SONDE_TRY(sonde_store_declare(schema->store, &set, &point->data, err));
    snprintf(member, sizeof member, "%s/indptr", path);
    SONDE_TRY(sonde_schema_declare(schema, member, SONDE_DTYPE_U64, TABLE_CHUNK_ROWS, true,
                                   &point->indptr, err));
    SONDE_TRY(sonde_store_put(schema->store, point->indptr, 0, 1, &zero, err));
    snprintf(member, sizeof member, "%s/first_key", path);
    SONDE_TRY(sonde_schema_declare(schema, member, SONDE_DTYPE_U32, TABLE_CHUNK_ROWS, true,
                                   &point->first_key, err));
    return sonde_store_attr_int(schema->store, path, "heads", spec->shape[0], err);
}

static sonde_status declare_rowmap(sonde_schema *schema, const sonde_schema_point *spec,
                                   const char *path, schema_point *point, sonde_error *err)
{
    char map[320];
    snprintf(map, sizeof map, "rowmap/%s", spec->name);
    SONDE_TRY(sonde_schema_declare(schema, map, SONDE_DTYPE_U64, TABLE_CHUNK_ROWS, true,
                                   &point->rowmap, err));
    snprintf(map, sizeof map, "/rowmap/%s", spec->name);
    return sonde_store_attr_text(schema->store, path, "rowmap", map, err);
}

static sonde_status describe_point(sonde_schema *schema, const sonde_schema_point *spec,
                                   const char *path, sonde_error *err)
{
    const struct {
        const char *name, *value;
    } texts[] = {
        {"hook_point", spec->hook_point ? spec->hook_point : spec->name},
        {"logical_dtype", spec->logical ? spec->logical : sonde_dtype_name(spec->stored)},
        {"lossy", spec->lossy ? spec->lossy : "none"},
        {"parts", spec->parts && spec->parts[0] ? spec->parts : NULL},
        {"coordinates", spec->rowmap ? NULL : "/rows/sequence /rows/position /rows/token"}};
    for (size_t i = 0; i < SONDE_COUNT(texts); i++)
        if (texts[i].value)
            SONDE_TRY(
                sonde_store_attr_text(schema->store, path, texts[i].name, texts[i].value, err));
    return sonde_store_attr_int(schema->store, path, "layer", spec->layer, err);
}

static sonde_status add_to_order(sonde_schema *schema, const char *name, sonde_error *err)
{
    char *copy = sonde_strdup(name);
    if (!copy || !sonde_grow(&schema->order, &schema->order_capacity, schema->n_order + 1,
                             sizeof *schema->order)) {
        sonde_free(copy);
        return sonde_no_memory(err, "the order of points", schema->n_order * sizeof *schema->order);
    }
    schema->order[schema->n_order++] = copy;
    return SONDE_OK;
}

static sonde_status point_path(const char *name, char path[300], sonde_error *err)
{
    bool good = name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 &&
                snprintf(path, 300, "activations/%s", name) < 300;
    return good ? SONDE_OK
                : sonde_fail(err, SONDE_INTERNAL, "a point cannot be stored as '%.80s'", name);
}

sonde_status sonde_schema_add_point(sonde_schema *schema, const sonde_schema_point *spec,
                                    int32_t *number, sonde_error *err)
{
    char path[300];
    SONDE_TRY(point_path(spec->name, path, err));
    SONDE_TRY(check_point(spec, err));
    if (!sonde_grow(&schema->points, &schema->point_capacity, (size_t)schema->n_points + 1,
                    sizeof *schema->points))
        return sonde_no_memory(err, "points of a capture", sizeof *schema->points);
    schema_point *point = &schema->points[schema->n_points];
    *point = (schema_point){.name = sonde_strdup(spec->name), .data = -1, .indptr = -1,
                            .first_key = -1, .rowmap = -1};
    if (!point->name) return sonde_no_memory(err, "the name of a point", strlen(spec->name));
    *number = schema->n_points++;
    SONDE_TRY(spec->ragged ? declare_ragged(schema, spec, path, point, err)
                           : declare_dense(schema, spec, path, point, err));
    if (spec->rowmap) SONDE_TRY(declare_rowmap(schema, spec, path, point, err));
    SONDE_TRY(describe_point(schema, spec, path, err));
    return add_to_order(schema, spec->name, err);
}

sonde_status sonde_schema_link_point(sonde_schema *schema, int32_t number, const char *name,
                                     sonde_error *err)
{
    char path[300], first[300], map[300];
    SONDE_TRY(point_path(name, path, err));
    const schema_point *point = &schema->points[number];
    snprintf(first, sizeof first, "activations/%s", point->name);
    SONDE_TRY(sonde_store_link_path(schema->store, first, path, err));
    if (point->rowmap >= 0) {
        snprintf(map, sizeof map, "rowmap/%s", name);
        SONDE_TRY(sonde_store_link(schema->store, point->rowmap, map, err));
    }
    return add_to_order(schema, name, err);
}

sonde_status sonde_schema_write_order(sonde_schema *schema, sonde_error *err)
{
    const char **names = sonde_alloc(schema->n_order, sizeof *names);
    if (!names) return sonde_no_memory(err, "the order of points", schema->n_order * sizeof *names);
    for (size_t i = 0; i < schema->n_order; i++) names[i] = schema->order[i];
    sonde_status status = sonde_store_attr_texts(schema->store, "activations", "order", names,
                                                 (int64_t)schema->n_order, err);
    sonde_free(names);
    return status;
}

/* ---- putting --------------------------------------------------------------------------------- */

static const schema_point *find_point(const sonde_schema *schema, int32_t number, bool ragged,
                                      sonde_error *err)
{
    const schema_point *point =
        number >= 0 && number < schema->n_points ? &schema->points[number] : NULL;
    if (point && (point->indptr >= 0) == ragged) return point;
    sonde_fail(err, SONDE_INTERNAL, "%s rows for point %d, which is none",
               ragged ? "ragged" : "dense", (int)number);
    return NULL;
}

sonde_status sonde_schema_put_from(sonde_schema *schema, int32_t number, int64_t first_row,
                                   int64_t n, sonde_store_fill *fill, void *context,
                                   sonde_error *err)
{
    const schema_point *point = find_point(schema, number, false, err);
    return point
               ? sonde_store_put_from(schema->store, point->data, first_row, n, fill, context, err)
               : SONDE_INTERNAL;
}

sonde_status sonde_schema_put(sonde_schema *schema, int32_t number, int64_t first_row, int64_t n,
                              const void *data, sonde_error *err)
{
    return sonde_schema_put_from(schema, number, first_row, n, sonde_store_fill_packed, &data, err);
}

sonde_status sonde_schema_put_ragged_from(sonde_schema *schema, int32_t number, int64_t first_row,
                                          int64_t n, const uint64_t *offsets,
                                          const uint32_t *first_key, sonde_store_fill *fill,
                                          void *context, sonde_error *err)
{
    const schema_point *point = find_point(schema, number, true, err);
    if (!point) return SONDE_INTERNAL;
    if (n <= 0) return SONDE_OK;
    for (int64_t i = 0; i < n; i++)
        if (offsets[i] > offsets[i + 1])
            return sonde_fail(err, SONDE_INTERNAL, "point %.80s: the offset of row %lld falls",
                              point->name, (long long)(first_row + i));
    SONDE_TRY(sonde_store_put(schema->store, point->indptr, first_row + 1, n, offsets + 1, err));
    SONDE_TRY(sonde_store_put(schema->store, point->first_key, first_row, n, first_key, err));
    return sonde_store_put_from(schema->store, point->data, (int64_t)offsets[0],
                                (int64_t)(offsets[n] - offsets[0]), fill, context, err);
}

sonde_status sonde_schema_put_ragged(sonde_schema *schema, int32_t number, int64_t first_row,
                                     int64_t n, const uint64_t *offsets, const uint32_t *first_key,
                                     const void *data, sonde_error *err)
{
    return sonde_schema_put_ragged_from(schema, number, first_row, n, offsets, first_key,
                                        sonde_store_fill_packed, &data, err);
}

sonde_status sonde_schema_put_rowmap(sonde_schema *schema, int32_t number, int64_t first_row,
                                     int64_t n, const uint64_t *rows, sonde_error *err)
{
    if (number < 0 || number >= schema->n_points || schema->points[number].rowmap < 0)
        return sonde_fail(err, SONDE_INTERNAL, "a row map for point %d, which has none",
                          (int)number);
    return sonde_store_put(schema->store, schema->points[number].rowmap, first_row, n, rows, err);
}
