/* schema_meta_write.c - the columns of /sequences/meta, typed by the values they hold. */
#include "schema_meta.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Padding texts to one length must not blow the file up: above this, and four times the texts
 * themselves, they are written one after the other. */
#define MOST_PADDED_BYTES ((uint64_t)32 << 20)
#define EXACT_IN_DOUBLE (INT64_C(1) << 53)

typedef struct meta_writer {
    sonde_schema *schema;
    const meta_column *column;
    const char *path; /* "sequences/meta/<name>" */
    int64_t n;        /* entries of /sequences */
    int64_t present;  /* of them with a value */
    unsigned kinds;   /* meta_kind, or-ed */
    bool big;         /* an integer that no double holds */
} meta_writer;

typedef struct text_cell {
    const char *text;
    size_t bytes;
} text_cell;

/* ---- numbers --------------------------------------------------------------------------------- */

static sonde_status write_member(const meta_writer *w, const char *member, sonde_dtype dtype,
                                 const void *data, sonde_error *err)
{
    char path[600];
    int64_t dims[1] = {w->n};
    snprintf(path, sizeof path, "%s%s%s", w->path, member ? "/" : "", member ? member : "");
    SONDE_TRY(sonde_store_write(w->schema->store, path, dtype, 1, dims, data, err));
    return sonde_schema_is_array(w->schema, path, err);
}

/* A plain column, or values and mask (true: missing) where some are missing. */
static sonde_status write_maybe(const meta_writer *w, sonde_dtype dtype, const void *values,
                                const uint8_t *mask, const char *nullable, sonde_error *err)
{
    if (w->present == w->n) return write_member(w, NULL, dtype, values, err);
    SONDE_TRY(write_member(w, "values", dtype, values, err));
    SONDE_TRY(write_member(w, "mask", SONDE_DTYPE_BOOL, mask, err));
    return sonde_schema_encoding(w->schema, w->path, nullable, "0.1.0", err);
}

static sonde_status write_integers(const meta_writer *w, sonde_error *err)
{
    int64_t *values = sonde_alloc((size_t)w->n, sizeof *values);
    uint8_t *flags = sonde_alloc((size_t)w->n, 1), *mask = sonde_alloc((size_t)w->n, 1);
    sonde_status status = SONDE_OK;
    meta_value v;
    if (!values || !flags || !mask) {
        status = sonde_no_memory(err, w->path, (size_t)w->n * 10);
    } else {
        memset(mask, 1, (size_t)w->n);
        for (size_t at = 0; sonde_schema_meta_next(w->column, &at, w->n, &v);) {
            values[v.sequence] = v.integer;
            flags[v.sequence] = (uint8_t)(v.integer != 0);
            mask[v.sequence] = 0;
        }
        status = w->kinds == META_BOOL
                     ? write_maybe(w, SONDE_DTYPE_BOOL, flags, mask, "nullable-boolean", err)
                     : write_maybe(w, SONDE_DTYPE_I64, values, mask, "nullable-integer", err);
    }
    sonde_free(values);
    sonde_free(flags);
    sonde_free(mask);
    return status;
}

static sonde_status write_reals(const meta_writer *w, sonde_error *err)
{
    double *values = sonde_alloc((size_t)w->n, sizeof *values);
    meta_value v;
    if (!values) return sonde_no_memory(err, w->path, (size_t)w->n * sizeof *values);
    for (int64_t i = 0; i < w->n; i++) values[i] = NAN;
    for (size_t at = 0; sonde_schema_meta_next(w->column, &at, w->n, &v);)
        values[v.sequence] = v.kind == META_INT ? (double)v.integer : v.real;
    sonde_status status = write_member(w, NULL, SONDE_DTYPE_F64, values, err);
    sonde_free(values);
    return status;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Texts one after the other: data and indptr. */
static sonde_status write_lists(const meta_writer *w, const char *path, const text_cell *cells,
                                int64_t n, sonde_error *err)
{
    char member[600];
    sonde_string data = {0};
    uint64_t *indptr = sonde_alloc((size_t)n + 1, sizeof *indptr);
    for (int64_t i = 0; indptr && i < n; i++) {
        if (cells[i].bytes > 0) sonde_string_append(&data, cells[i].text, cells[i].bytes);
        indptr[i + 1] = data.length;
    }
    int64_t dims[1] = {n + 1}, bytes[1] = {(int64_t)data.length};
    sonde_status status =
        !indptr || data.failed ? sonde_no_memory(err, path, data.length) : SONDE_OK;
    snprintf(member, sizeof member, "%s/indptr", path);
    if (status == SONDE_OK)
        status = sonde_store_write(w->schema->store, member, SONDE_DTYPE_U64, 1, dims, indptr, err);
    snprintf(member, sizeof member, "%s/data", path);
    if (status == SONDE_OK)
        status =
            sonde_store_write(w->schema->store, member, SONDE_DTYPE_U8, 1, bytes, data.data, err);
    sonde_free(indptr);
    sonde_string_reset(&data);
    return status;
}

/* Padded to the longest, or as lists when that is too big: *padded says which. */
static sonde_status write_texts(const meta_writer *w, const char *path, const text_cell *cells,
                                int64_t n, bool *padded, sonde_error *err)
{
    uint64_t widest = 1, total = 0;
    for (int64_t i = 0; i < n; i++) {
        widest = SONDE_MAX(widest, cells[i].bytes);
        total += cells[i].bytes;
    }
    *padded = widest * (uint64_t)n <= SONDE_MAX(MOST_PADDED_BYTES, 4 * total);
    if (!*padded) return write_lists(w, path, cells, n, err);
    char *flat = sonde_alloc((size_t)n, (size_t)widest);
    if (!flat) return sonde_no_memory(err, path, (size_t)(widest * (uint64_t)n));
    for (int64_t i = 0; i < n; i++)
        if (cells[i].bytes > 0) memcpy(flat + (size_t)i * widest, cells[i].text, cells[i].bytes);
    sonde_status status = sonde_store_write_strings(w->schema->store, path, n, (size_t)widest, flat,
                                                    err);
    sonde_free(flat);
    return status == SONDE_OK ? sonde_schema_encoding(w->schema, path, "string-array", "0.2.0", err)
                              : status;
}

static int compare_cells(const void *a, const void *b)
{
    const text_cell *x = a, *y = b;
    size_t n = SONDE_MIN(x->bytes, y->bytes);
    int order = n ? memcmp(x->text, y->text, n) : 0;
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Sorted distinct texts of the cells that are there into `unique`; returns how many. */
static int64_t distinct(const text_cell *cells, int64_t n, text_cell *unique)
{
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (cells[i].text) unique[count++] = cells[i];
    qsort(unique, (size_t)count, sizeof *unique, compare_cells);
    for (int64_t i = 0; i < count; i++)
        if (kept == 0 || compare_cells(&unique[kept - 1], &unique[i]) != 0)
            unique[kept++] = unique[i];
    return kept;
}

static sonde_status write_codes(const meta_writer *w, const text_cell *cells,
                                const text_cell *unique, int64_t count, sonde_error *err)
{
    int32_t *codes = sonde_alloc((size_t)w->n, sizeof *codes);
    if (!codes) return sonde_no_memory(err, w->path, (size_t)w->n * sizeof *codes);
    for (int64_t i = 0; i < w->n; i++) {
        const text_cell *at =
            cells[i].text ? bsearch(&cells[i], unique, (size_t)count, sizeof *unique, compare_cells)
                          : NULL;
        codes[i] = at ? (int32_t)(at - unique) : -1;
    }
    sonde_status status = write_member(w, "codes", SONDE_DTYPE_I32, codes, err);
    sonde_free(codes);
    return status;
}

/* Texts of which some are missing: AnnData's categorical, code -1 for a missing one. */
static sonde_status write_categories(const meta_writer *w, const text_cell *cells, bool *is_column,
                                     sonde_error *err)
{
    char path[600];
    text_cell *unique = sonde_alloc((size_t)w->n, sizeof *unique);
    if (!unique) return sonde_no_memory(err, w->path, (size_t)w->n * sizeof *unique);
    int64_t count = distinct(cells, w->n, unique);
    sonde_status status = write_codes(w, cells, unique, count, err);
    snprintf(path, sizeof path, "%s/categories", w->path);
    if (status == SONDE_OK) status = write_texts(w, path, unique, count, is_column, err);
    if (status == SONDE_OK && *is_column) {
        status = sonde_schema_encoding(w->schema, w->path, "categorical", "0.2.0", err);
        if (status == SONDE_OK)
            status = sonde_store_attr_int(w->schema->store, w->path, "ordered", 0, err);
    }
    sonde_free(unique);
    return status;
}

static void append_as_json(sonde_string *s, const meta_value *v)
{
    if (v->kind == META_BOOL) sonde_string_text(s, v->integer ? "true" : "false");
    else if (v->kind == META_INT) sonde_string_format(s, "%lld", (long long)v->integer);
    else if (v->kind == META_REAL) sonde_string_format(s, "%.17g", v->real);
    else if (v->kind == META_TEXT) sonde_string_json(s, v->text, v->bytes);
    else sonde_string_append(s, v->text, v->bytes);
}

/* Values of several types, or nested ones: JSON text each, empty for a missing one. */
static sonde_status write_json(const meta_writer *w, text_cell *cells, bool *is_column,
                               sonde_error *err)
{
    sonde_string all = {0};
    meta_value v;
    uint64_t *ends = sonde_alloc((size_t)w->n, sizeof *ends);
    if (!ends) return sonde_no_memory(err, w->path, (size_t)w->n * sizeof *ends);
    for (size_t at = 0; sonde_schema_meta_next(w->column, &at, w->n, &v);) {
        cells[v.sequence].bytes = all.length;
        append_as_json(&all, &v);
        ends[v.sequence] = all.length;
    }
    for (int64_t i = 0; i < w->n; i++) {
        cells[i].text = all.data + cells[i].bytes;
        cells[i].bytes = ends[i] > 0 ? (size_t)ends[i] - cells[i].bytes : 0;
    }
    sonde_status status = all.failed ? sonde_no_memory(err, w->path, all.length)
                                     : write_texts(w, w->path, cells, w->n, is_column, err);
    if (status == SONDE_OK)
        status = sonde_store_attr_text(w->schema->store, w->path, "content", "json", err);
    sonde_free(ends);
    sonde_string_reset(&all);
    return status;
}

static sonde_status write_text_column(const meta_writer *w, bool *is_column, sonde_error *err)
{
    text_cell *cells = sonde_alloc((size_t)w->n, sizeof *cells);
    meta_value v;
    if (!cells) return sonde_no_memory(err, w->path, (size_t)w->n * sizeof *cells);
    sonde_status status;
    if (w->kinds != META_TEXT) {
        status = write_json(w, cells, is_column, err);
    } else {
        for (size_t at = 0; sonde_schema_meta_next(w->column, &at, w->n, &v);)
            cells[v.sequence] = (text_cell){v.text, v.bytes};
        status = w->present == w->n ? write_texts(w, w->path, cells, w->n, is_column, err)
                                    : write_categories(w, cells, is_column, err);
    }
    sonde_free(cells);
    return status;
}

/* ---- columns --------------------------------------------------------------------------------- */

static void survey(meta_writer *w)
{
    meta_value v;
    for (size_t at = 0; sonde_schema_meta_next(w->column, &at, w->n, &v);) {
        w->kinds |= (unsigned)v.kind;
        w->present++;
        if (v.kind == META_INT && (v.integer > EXACT_IN_DOUBLE || v.integer < -EXACT_IN_DOUBLE))
            w->big = true;
    }
}

/* A key as the name of an HDF5 object: '/', '%', control bytes, a leading '_' or '.', as %XX; the
 * empty key is "%". Longer than 240 bytes: cut, with its hash. */
static void name_of_key(const char *key, char name[300])
{
    size_t n = 0;
    if (!key[0]) snprintf(name, 300, "%%");
    for (const char *c = key; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        bool escape = byte < 32 || byte == '/' || byte == '%' ||
                      (c == key && (byte == '_' || byte == '.'));
        if (n > 240) {
            snprintf(name + n, 300 - n, "%%%016llx",
                     (unsigned long long)sonde_hash64(key, strlen(key)));
            return;
        }
        n += (size_t)snprintf(name + n, 300 - n, escape ? "%%%02X" : "%c", byte);
    }
}

/* Writes one column; its name goes into *name where a table of AnnData can hold it, else NULL. */
static sonde_status write_column(sonde_schema *schema, const meta_column *column, int64_t n,
                                 char **name, sonde_error *err)
{
    char encoded[300] = "_more", path[400];
    if (column->key) name_of_key(column->key, encoded);
    snprintf(path, sizeof path, "sequences/meta/%s", encoded);
    meta_writer w = {.schema = schema, .column = column, .path = path, .n = n};
    survey(&w);
    *name = NULL;
    if (w.present == 0) return SONDE_OK;
    bool is_column = true;
    if (w.kinds == META_INT || w.kinds == META_BOOL)
        SONDE_TRY(write_integers(&w, err));
    else if (w.kinds == META_REAL || (w.kinds == (META_INT | META_REAL) && !w.big))
        SONDE_TRY(write_reals(&w, err));
    else
        SONDE_TRY(write_text_column(&w, &is_column, err));
    if (column->key && strlen(column->key) < 60000)
        SONDE_TRY(sonde_store_attr_text(schema->store, path, "key", column->key, err));
    if (!is_column) return SONDE_OK;
    *name = sonde_strdup(encoded);
    return *name ? SONDE_OK : sonde_no_memory(err, path, sizeof path);
}

static sonde_status write_columns(sonde_schema *schema, int64_t n, char **names, int64_t *count,
                                  sonde_error *err)
{
    schema_meta *meta = schema->meta;
    for (size_t i = 0; i <= meta->n; i++) {
        const meta_column *column = i < meta->n ? &meta->columns[i] : &meta->more;
        SONDE_TRY(write_column(schema, column, n, &names[*count], err));
        *count += names[*count] != NULL;
    }
    return SONDE_OK;
}

sonde_status sonde_schema_meta_write(sonde_schema *schema, int64_t n, sonde_error *err)
{
    int64_t count = 0;
    char **names = sonde_alloc(schema->meta->n + 2, sizeof *names);
    if (!names) return sonde_no_memory(err, "/sequences/meta", schema->meta->n * sizeof *names);
    const char *const group = "sequences/meta";
    sonde_status status = sonde_schema_encoding(schema, group, "dataframe", "0.2.0", err);
    if (status == SONDE_OK)
        status = sonde_store_link(schema->store, schema->sequences[SEQUENCES_SEQUENCE],
                                  "sequences/meta/_index", err);
    if (status == SONDE_OK)
        status = sonde_store_attr_text(schema->store, group, "_index", "_index", err);
    if (status == SONDE_OK) status = write_columns(schema, n, names, &count, err);
    if (status == SONDE_OK)
        status = sonde_store_attr_texts(schema->store, group, "column-order",
                                        (const char *const *)names, count, err);
    for (int64_t i = 0; i < count; i++) sonde_free(names[i]);
    sonde_free(names);
    return status;
}
