/* schema.c - the groups and columns that every capture has. */
#include "schema_internal.h"

#include <math.h>
#include <string.h>

#define TABLE_CHUNK_ROWS 4096
#define LIST_CHUNK_BYTES 65536
#define PIECE 512 /* rows of a filled-in column at a time */

/* ---- helpers --------------------------------------------------------------------------------- */

sonde_status sonde_schema_declare(sonde_schema *schema, const char *path, sonde_dtype dtype,
                                  int64_t chunk_rows, bool compressed, int32_t *id,
                                  sonde_error *err)
{
    sonde_dataset_spec spec = {.path = path, .dtype = dtype, .chunk_rows = chunk_rows,
                               .codec = compressed ? SONDE_CODEC_DEFLATE : SONDE_CODEC_RAW,
                               .keep_room = true};
    return sonde_store_declare(schema->store, &spec, id, err);
}

sonde_status sonde_schema_encoding(sonde_schema *schema, const char *object, const char *type,
                                   const char *version, sonde_error *err)
{
    SONDE_TRY(sonde_store_attr_text(schema->store, object, "encoding-type", type, err));
    return sonde_store_attr_text(schema->store, object, "encoding-version", version, err);
}

sonde_status sonde_schema_is_array(sonde_schema *schema, const char *path, sonde_error *err)
{
    return sonde_schema_encoding(schema, path, "array", "0.2.0", err);
}

sonde_status sonde_schema_flags(sonde_schema *schema, const char *path, int32_t n,
                                const char *meanings, sonde_error *err)
{
    uint8_t values[16];
    for (int32_t i = 0; i < n; i++) values[i] = (uint8_t)i;
    SONDE_TRY(sonde_store_attr_array(schema->store, path, "flag_values", SONDE_DTYPE_U8, n, values,
                                     err));
    return sonde_store_attr_text(schema->store, path, "flag_meanings", meanings, err);
}

sonde_status sonde_schema_declare_lists(sonde_schema *schema, const char *path, sonde_dtype dtype,
                                        schema_lists *lists, sonde_error *err)
{
    char member[64];
    uint64_t zero = 0;
    int64_t elements = LIST_CHUNK_BYTES / (int64_t)sonde_dtype_bytes(dtype, 1);
    snprintf(member, sizeof member, "%s/data", path);
    SONDE_TRY(sonde_schema_declare(schema, member, dtype, elements, true, &lists->data, err));
    snprintf(member, sizeof member, "%s/indptr", path);
    SONDE_TRY(sonde_schema_declare(schema, member, SONDE_DTYPE_U64, TABLE_CHUNK_ROWS, true,
                                   &lists->indptr, err));
    return sonde_store_put(schema->store, lists->indptr, 0, 1, &zero, err);
}

/* ---- the root -------------------------------------------------------------------------------- */

static sonde_status write_root(sonde_schema *schema, const sonde_schema_options *options,
                               sonde_error *err)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"format", SONDE_FORMAT},
                 {"model", options->model},
                 {"model_hash", options->model_hash},
                 {"tokenizer_hash", options->tokenizer_hash},
                 {"backend", options->backend},
                 {"mode", options->mode}};
    bool whole = options->shard_index == 0 && options->shard_count == 0;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"format_version", SONDE_FORMAT_VERSION},
                   {"hook_vocabulary", SONDE_HOOK_VOCABULARY},
                   {"shard_index", options->shard_index},
                   {"shard_count", whole ? 1 : options->shard_count}};
    for (size_t i = 0; i < SONDE_COUNT(texts); i++)
        if (texts[i].value)
            SONDE_TRY(
                sonde_store_attr_text(schema->store, "/", texts[i].name, texts[i].value, err));
    for (size_t i = 0; i < SONDE_COUNT(numbers); i++)
        SONDE_TRY(sonde_store_attr_int(schema->store, "/", numbers[i].name, numbers[i].value, err));
    return SONDE_OK;
}

/* ---- /rows ----------------------------------------------------------------------------------- */

static const struct {
    const char *path;
    sonde_dtype dtype;
} row_columns[ROWS_COLUMNS] = {
    [ROWS_SEQUENCE] = {"rows/sequence", SONDE_DTYPE_U64},
    [ROWS_POSITION] = {"rows/position", SONDE_DTYPE_U32},
    [ROWS_TOKEN] = {"rows/token", SONDE_DTYPE_U32},
    [ROWS_PHASE] = {"rows/phase", SONDE_DTYPE_U8},
    [ROWS_SEGMENT] = {"rows/segment", SONDE_DTYPE_U8},
    [ROWS_LOGPROB] = {"rows/logprob", SONDE_DTYPE_F32},
};

static sonde_status remember_set(sonde_schema *schema, const schema_set *set, sonde_error *err)
{
    if (!sonde_grow(&schema->sets, &schema->set_capacity, schema->n_sets + 1, sizeof *schema->sets))
        return sonde_no_memory(err, "datasets of a capture", schema->n_sets * sizeof *schema->sets);
    schema->sets[schema->n_sets++] = *set;
    return SONDE_OK;
}

static sonde_status declare_rows(sonde_schema *schema, sonde_error *err)
{
    for (int i = 0; i < ROWS_COLUMNS; i++) {
        SONDE_TRY(sonde_schema_declare(schema, row_columns[i].path, row_columns[i].dtype,
                                       TABLE_CHUNK_ROWS, true, &schema->rows[i], err));
        SONDE_TRY(sonde_schema_is_array(schema, row_columns[i].path, err));
        SONDE_TRY(remember_set(schema, &(schema_set){.id = schema->rows[i]}, err));
    }
    SONDE_TRY(sonde_store_make_scale(schema->store, "rows/position", "position", err));
    SONDE_TRY(sonde_schema_flags(schema, "rows/phase", 3, "prompt generated continuation", err));
    return sonde_schema_flags(schema, "rows/segment", 7,
                              "none system user assistant reasoning tool markup", err);
}

sonde_status sonde_schema_add_column(sonde_schema *schema, const char *name, sonde_dtype dtype,
                                     int32_t *id, sonde_error *err)
{
    char path[128];
    if (strchr(name, '/') || snprintf(path, sizeof path, "rows/%s", name) >= (int)sizeof path)
        return sonde_fail(err, SONDE_INTERNAL, "a column of /rows cannot be called %.80s", name);
    SONDE_TRY(sonde_schema_declare(schema, path, dtype, TABLE_CHUNK_ROWS, true, id, err));
    SONDE_TRY(remember_set(schema, &(schema_set){.id = *id}, err));
    if (!sonde_grow(&schema->columns, &schema->column_capacity, schema->n_columns + 1,
                    sizeof *schema->columns))
        return sonde_no_memory(err, "columns of /rows", sizeof *schema->columns);
    schema->columns[schema->n_columns] = sonde_strdup(name);
    if (!schema->columns[schema->n_columns]) return sonde_no_memory(err, name, strlen(name));
    schema->n_columns++;
    return sonde_schema_is_array(schema, path, err);
}

static sonde_status put_constant(sonde_schema *schema, int32_t id, int64_t first, int64_t n,
                                 const void *piece, sonde_error *err)
{
    for (int64_t at = 0; at < n; at += PIECE)
        SONDE_TRY(sonde_store_put(schema->store, id, first + at, SONDE_MIN(n - at, PIECE), piece,
                                  err));
    return SONDE_OK;
}

sonde_status sonde_schema_put_rows(sonde_schema *schema, int64_t first_row, int64_t n,
                                   const sonde_schema_rows *rows, sonde_error *err)
{
    static const uint8_t zeros[PIECE];
    float nans[PIECE];
    const void *columns[ROWS_COLUMNS] = {rows->sequence, rows->position, rows->token,
                                         rows->phase,    rows->segment,  rows->logprob};
    for (int i = 0; i < PIECE && !rows->logprob; i++) nans[i] = NAN;
    for (int i = 0; i < ROWS_COLUMNS; i++) {
        if (columns[i])
            SONDE_TRY(
                sonde_store_put(schema->store, schema->rows[i], first_row, n, columns[i], err));
        else if (i == ROWS_LOGPROB)
            SONDE_TRY(put_constant(schema, schema->rows[i], first_row, n, nans, err));
        else if (i == ROWS_PHASE || i == ROWS_SEGMENT)
            SONDE_TRY(put_constant(schema, schema->rows[i], first_row, n, zeros, err));
        else
            return sonde_fail(err, SONDE_INTERNAL, "rows without %s", row_columns[i].path);
    }
    return SONDE_OK;
}

/* ---- rows of probes -------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* "<name>/data", "<name>/sequence" and "<name>/position" go together, and "<name>" with
 * "<name>_row". */
static char *group_of(const char *path, const char *name)
{
    size_t n = strlen(path);
    const char *slash = strrchr(name, '/');
    if (slash) n -= strlen(slash);
    else if (ends_with(name, "_row")) n -= 4;
    return sonde_strndup(path, n);
}

sonde_status sonde_schema_add_rows(sonde_schema *schema, const char *instance, const char *name,
                                   int32_t point, sonde_dtype dtype, int32_t n_dims,
                                   const int64_t *shape, int32_t *id, sonde_error *err)
{
    char path[400];
    if (snprintf(path, sizeof path, "probes/%s/%s", instance, name) >= (int)sizeof path)
        return sonde_fail(err, SONDE_INTERNAL, "rows of a probe: the name %.80s is too long", name);
    if (point < -2 || point >= schema->n_points || n_dims < 0 || n_dims > SONDE_STORE_MAX_DIMS)
        return sonde_fail(err, SONDE_INTERNAL, "/%s: no such point or shape", path);
    sonde_dataset_spec spec = {.path = path, .dtype = dtype, .n_dims = n_dims,
                               .codec = schema->codec,
                               .chunk_target_bytes = schema->chunk_target_bytes};
    if (n_dims > 0) memcpy(spec.shape, shape, (size_t)n_dims * sizeof *shape);
    SONDE_TRY(sonde_store_declare(schema->store, &spec, id, err));
    schema_set set = {.id = *id, .point = point,
                      .length = point == -1  ? SCHEMA_LENGTH_ROWS
                                : point >= 0 ? SCHEMA_LENGTH_POINT
                                             : SCHEMA_LENGTH_OWN};
    if (set.length == SCHEMA_LENGTH_OWN) {
        bool whole = dtype == SONDE_DTYPE_U64 && n_dims == 0;
        set.group = group_of(path, name);
        set.by_row = whole && ends_with(name, "_row");
        set.by_sequence = whole && ends_with(name, "/sequence");
        if (!set.group) return sonde_no_memory(err, path, sizeof path);
    }
    sonde_status status = remember_set(schema, &set, err);
    if (status != SONDE_OK) sonde_free(set.group);
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

sonde_status sonde_schema_create(sonde_store *store, const sonde_schema_options *options,
                                 sonde_schema **out, sonde_error *err)
{
    sonde_schema *schema = sonde_alloc(1, sizeof *schema);
    if (!schema) return sonde_no_memory(err, "the schema of a capture", sizeof *schema);
    schema->store = store;
    schema->codec = options->codec;
    schema->chunk_target_bytes = options->chunk_target_bytes;
    schema->meta = sonde_schema_meta_create(store);
    sonde_status status = schema->meta ? write_root(schema, options, err)
                                       : sonde_no_memory(err, "metadata of prompts", 64);
    if (status == SONDE_OK) status = declare_rows(schema, err);
    if (status == SONDE_OK) status = sonde_schema_declare_sequences(schema, err);
    if (status == SONDE_OK) *out = schema;
    else sonde_schema_destroy(&schema);
    return status;
}

void sonde_schema_destroy(sonde_schema **out)
{
    sonde_schema *schema = *out;
    if (!schema) return;
    for (int32_t i = 0; i < schema->n_points; i++) sonde_free(schema->points[i].name);
    for (size_t i = 0; i < schema->n_order; i++) sonde_free(schema->order[i]);
    for (size_t i = 0; i < schema->n_columns; i++) sonde_free(schema->columns[i]);
    for (size_t i = 0; i < schema->n_sets; i++) sonde_free(schema->sets[i].group);
    sonde_free(schema->points);
    sonde_free(schema->order);
    sonde_free(schema->columns);
    sonde_free(schema->sets);
    sonde_free(schema->seen);
    sonde_schema_meta_destroy(schema->meta);
    sonde_free(schema);
    *out = NULL;
}
