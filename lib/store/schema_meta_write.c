/*
 * schema_meta_write.c - the columns of /sequences/meta, typed by the values they hold. Every dataset
 * is written in pieces from a pass over the values of its key: none is ever whole in memory.
 */
#include "schema_meta.h"

#include <math.h>
#include <string.h>

/* Padding texts to one length must not blow the file up: above this, and four times the texts
 * themselves, they are written one after the other. */
#define MOST_PADDED_BYTES ((uint64_t)32 << 20)
#define PIECE_BYTES ((size_t)1 << 18)
#define EXACT_IN_DOUBLE (INT64_C(1) << 53)

typedef struct meta_writer {
    sonde_schema *schema;
    const meta_column *column;
    const char *path;       /* "sequences/meta/<name>" */
    int64_t n;              /* entries of /sequences */
    int64_t present;        /* of them with a value */
    unsigned kinds;         /* meta_kind, or-ed */
    bool big;               /* an integer that no double holds */
    bool json;              /* its texts are JSON */
    uint64_t widest, total; /* bytes of its texts */
    sonde_string text;      /* the text in hand */
} meta_writer;

/* ---- cells ----------------------------------------------------------------------------------- */

/* Writes the cell of an entry; `value` is NULL where the entry has none. */
typedef void meta_cell(void *context, const meta_value *value, uint8_t *cell);

/* What a member of a column is made of: numbers of `dtype`, or strings of `width` bytes. */
typedef struct meta_member {
    const char *name; /* NULL: the column itself */
    sonde_dtype dtype;
    size_t width;
    int64_t rows;
    meta_cell *fill;
    void *context;
} meta_member;

static void member_path(const meta_writer *w, const char *member, char path[600])
{
    snprintf(path, 600, "%s%s%s", w->path, member ? "/" : "", member ? member : "");
}

static size_t bytes_of_cell(const meta_member *m)
{
    return m->width ? m->width : sonde_dtype_bytes(m->dtype, 1);
}

/* The cells of all entries, `piece` of them at a time in `cells`. */
static sonde_status put_cells(const meta_writer *w, const meta_member *m, int64_t piece,
                              uint8_t *cells, sonde_store_column *column, sonde_error *err)
{
    sonde_store *store = w->schema->store;
    size_t each = bytes_of_cell(m);
    meta_cursor at;
    sonde_status status = SONDE_OK;
    sonde_schema_meta_start(&at, store, w->column, w->n, err);
    bool more = sonde_schema_meta_next(&at);
    for (int64_t row = 0; row < m->rows && status == SONDE_OK;) {
        int64_t n = SONDE_MIN(piece, m->rows - row);
        for (int64_t i = 0; i < n; i++, row++) {
            bool here = more && (int64_t)at.value.sequence == row;
            m->fill(m->context, here ? &at.value : NULL, cells + (size_t)i * each);
            if (here) more = sonde_schema_meta_next(&at);
        }
        status = at.status != SONDE_OK ? at.status
                                       : sonde_store_column_put(store, column, n, cells, err);
    }
    sonde_schema_meta_stop(&at);
    return status;
}

static sonde_status write_cells(const meta_writer *w, const meta_member *m, sonde_error *err)
{
    char path[600];
    sonde_store_column column;
    size_t each = bytes_of_cell(m);
    int64_t piece = m->width ? sonde_store_string_rows(m->width) : (int64_t)(PIECE_BYTES / each);
    piece = SONDE_MAX(SONDE_MIN(piece, m->rows), 1);
    member_path(w, m->name, path);
    uint8_t *cells = sonde_alloc_raw((size_t)piece, each);
    if (!cells) return sonde_no_memory(err, path, (size_t)piece * each);
    sonde_status status =
        sonde_store_column_begin(w->schema->store, path, m->dtype, m->width, m->rows, &column, err);
    if (status == SONDE_OK) {
        status = put_cells(w, m, piece, cells, &column, err);
        sonde_store_column_end(&column);
    }
    sonde_free(cells);
    return status;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void fill_integer(void *context, const meta_value *value, uint8_t *cell)
{
    int64_t integer = value ? value->integer : 0;
    (void)context;
    memcpy(cell, &integer, sizeof integer);
}

static void fill_flag(void *context, const meta_value *value, uint8_t *cell)
{
    (void)context;
    *cell = value && value->integer != 0;
}

static void fill_mask(void *context, const meta_value *value, uint8_t *cell)
{
    (void)context;
    *cell = value == NULL;
}

static void fill_real(void *context, const meta_value *value, uint8_t *cell)
{
    double real = !value ? NAN : value->kind == META_INT ? (double)value->integer : value->real;
    (void)context;
    memcpy(cell, &real, sizeof real);
}

static sonde_status write_numbers(const meta_writer *w, const char *name, sonde_dtype dtype,
                                  meta_cell *fill, sonde_error *err)
{
    char path[600];
    meta_member member = {.name = name, .dtype = dtype, .rows = w->n, .fill = fill};
    SONDE_TRY(write_cells(w, &member, err));
    member_path(w, name, path);
    return sonde_schema_is_array(w->schema, path, err);
}

/* A plain column, or values and mask (true: missing) where some are missing. */
static sonde_status write_integers(const meta_writer *w, sonde_error *err)
{
    bool flags = w->kinds == META_BOOL;
    sonde_dtype dtype = flags ? SONDE_DTYPE_BOOL : SONDE_DTYPE_I64;
    meta_cell *fill = flags ? fill_flag : fill_integer;
    if (w->present == w->n) return write_numbers(w, NULL, dtype, fill, err);
    SONDE_TRY(write_numbers(w, "values", dtype, fill, err));
    SONDE_TRY(write_numbers(w, "mask", SONDE_DTYPE_BOOL, fill_mask, err));
    return sonde_schema_encoding(w->schema, w->path,
                                 flags ? "nullable-boolean" : "nullable-integer", "0.1.0", err);
}

/* ---- texts ----------------------------------------------------------------------------------- */

static void append_as_json(sonde_string *s, const meta_value *v)
{
    if (v->kind == META_BOOL) sonde_string_text(s, v->integer ? "true" : "false");
    else if (v->kind == META_INT) sonde_string_format(s, "%lld", (long long)v->integer);
    else if (v->kind == META_REAL) sonde_string_format(s, "%.17g", v->real);
    else if (v->kind == META_TEXT) sonde_string_json(s, v->text, v->bytes);
    else sonde_string_append(s, v->text, v->bytes);
}

/* A value as the column writes it; borrowed until the next. */
static const char *text_of(meta_writer *w, const meta_value *value, size_t *bytes)
{
    *bytes = value->bytes;
    if (!w->json) return value->text;
    w->text.length = 0;
    append_as_json(&w->text, value);
    *bytes = w->text.length;
    return w->text.data;
}

static void fill_text(void *context, const meta_value *value, uint8_t *cell)
{
    meta_writer *w = context;
    size_t bytes = 0, width = (size_t)SONDE_MAX(w->widest, 1u);
    const char *text = value ? text_of(w, value, &bytes) : NULL;
    bytes = SONDE_MIN(bytes, width);
    if (bytes > 0) memcpy(cell, text, bytes);
    memset(cell + bytes, 0, width - bytes);
}

typedef struct list_ends {
    meta_writer *w;
    uint64_t end;
} list_ends;

static void fill_start(void *context, const meta_value *value, uint8_t *cell)
{
    list_ends *ends = context;
    size_t bytes = 0;
    memcpy(cell, &ends->end, sizeof ends->end);
    if (value) text_of(ends->w, value, &bytes);
    ends->end += bytes;
}

/* The texts of a list, one after the other. */
static sonde_status put_texts(meta_writer *w, sonde_store_column *column, sonde_error *err)
{
    sonde_store *store = w->schema->store;
    sonde_string piece = {0};
    meta_cursor at;
    sonde_status status = SONDE_OK;
    sonde_schema_meta_start(&at, store, w->column, w->n, err);
    while (status == SONDE_OK && sonde_schema_meta_next(&at)) {
        size_t bytes = 0;
        const char *text = text_of(w, &at.value, &bytes);
        if (bytes > 0) sonde_string_append(&piece, text, bytes);
        if (piece.length < PIECE_BYTES) continue;
        status = sonde_store_column_put(store, column, (int64_t)piece.length, piece.data, err);
        piece.length = 0;
    }
    if (status == SONDE_OK) status = at.status;
    if (status == SONDE_OK && piece.failed) status = sonde_no_memory(err, w->path, piece.length);
    if (status == SONDE_OK)
        status = sonde_store_column_put(store, column, (int64_t)piece.length, piece.data, err);
    sonde_schema_meta_stop(&at);
    sonde_string_reset(&piece);
    return status;
}

/* Texts one after the other: data and indptr. */
static sonde_status write_lists(meta_writer *w, sonde_error *err)
{
    char path[600];
    list_ends ends = {.w = w};
    meta_member indptr = {.name = "indptr",
                          .dtype = SONDE_DTYPE_U64,
                          .rows = w->n + 1,
                          .fill = fill_start,
                          .context = &ends};
    sonde_store_column column;
    SONDE_TRY(write_cells(w, &indptr, err));
    member_path(w, "data", path);
    SONDE_TRY(sonde_store_column_begin(w->schema->store, path, SONDE_DTYPE_U8, 0, (int64_t)w->total,
                                       &column, err));
    sonde_status status = put_texts(w, &column, err);
    sonde_store_column_end(&column);
    return status;
}

/* Padded to the longest, or as lists when that is too big: *padded says which. */
static sonde_status write_texts(meta_writer *w, bool *padded, sonde_error *err)
{
    size_t width = (size_t)SONDE_MAX(w->widest, 1u);
    meta_member member = {.width = width, .rows = w->n, .fill = fill_text, .context = w};
    *padded = width * (uint64_t)w->n <= SONDE_MAX(MOST_PADDED_BYTES, 4 * w->total);
    if (!*padded) return write_lists(w, err);
    SONDE_TRY(write_cells(w, &member, err));
    return sonde_schema_encoding(w->schema, w->path, "string-array", "0.2.0", err);
}

/* ---- what a column holds --------------------------------------------------------------------- */

static void note_text(meta_writer *w, uint64_t bytes)
{
    w->widest = SONDE_MAX(w->widest, bytes);
    w->total += bytes;
}

static sonde_status survey(meta_writer *w, sonde_error *err)
{
    meta_cursor at;
    sonde_schema_meta_start(&at, w->schema->store, w->column, w->n, err);
    while (sonde_schema_meta_next(&at)) {
        const meta_value *v = &at.value;
        w->kinds |= (unsigned)v->kind;
        w->present++;
        if (v->kind == META_INT && (v->integer > EXACT_IN_DOUBLE || v->integer < -EXACT_IN_DOUBLE))
            w->big = true;
        note_text(w, v->bytes);
    }
    sonde_schema_meta_stop(&at);
    return at.status;
}

/* From here on the column's texts are JSON. */
static sonde_status turn_to_json(meta_writer *w, sonde_error *err)
{
    meta_cursor at;
    w->json = true;
    w->widest = w->total = 0;
    sonde_schema_meta_start(&at, w->schema->store, w->column, w->n, err);
    while (sonde_schema_meta_next(&at)) {
        size_t bytes;
        text_of(w, &at.value, &bytes);
        note_text(w, bytes);
    }
    sonde_schema_meta_stop(&at);
    if (at.status != SONDE_OK) return at.status;
    return w->text.failed ? sonde_no_memory(err, w->path, w->widest) : SONDE_OK;
}

/* Values of several types, or nested ones: JSON text each, empty for a missing one. */
static sonde_status write_json(meta_writer *w, bool *is_column, sonde_error *err)
{
    SONDE_TRY(turn_to_json(w, err));
    SONDE_TRY(write_texts(w, is_column, err));
    return sonde_store_attr_text(w->schema->store, w->path, "content", "json", err);
}

/* ---- categories ------------------------------------------------------------------------------ */

static void fill_code(void *context, const meta_value *value, uint8_t *cell)
{
    int32_t code = value ? sonde_schema_meta_code(context, value) : -1;
    memcpy(cell, &code, sizeof code);
}

/* Texts of which some are missing: AnnData's categorical, code -1 for a missing one. */
static sonde_status write_categories(const meta_writer *w, meta_categories *categories,
                                     bool *is_column, sonde_error *err)
{
    char path[600];
    meta_member codes = {.name = "codes",
                         .dtype = SONDE_DTYPE_I32,
                         .rows = w->n,
                         .fill = fill_code,
                         .context = categories};
    SONDE_TRY(write_cells(w, &codes, err));
    member_path(w, "codes", path);
    SONDE_TRY(sonde_schema_is_array(w->schema, path, err));
    member_path(w, "categories", path);
    meta_column sorted = {0};
    meta_writer own = {.schema = w->schema, .column = &sorted, .path = path};
    sonde_status status =
        sonde_schema_meta_sorted(categories, w->schema->store, &sorted, &own.n, err);
    if (status == SONDE_OK) status = survey(&own, err);
    if (status == SONDE_OK) status = write_texts(&own, is_column, err);
    sonde_schema_meta_column_reset(&sorted);
    if (status != SONDE_OK || !*is_column) return status;
    SONDE_TRY(sonde_schema_encoding(w->schema, w->path, "categorical", "0.2.0", err));
    return sonde_store_attr_int(w->schema->store, w->path, "ordered", 0, err);
}

static sonde_status write_text_column(meta_writer *w, bool *is_column, sonde_error *err)
{
    if (w->kinds != META_TEXT) return write_json(w, is_column, err);
    if (w->present == w->n) return write_texts(w, is_column, err);
    meta_categories *categories = NULL;
    SONDE_TRY(sonde_schema_meta_distinct(w->schema->store, w->column, w->n, &categories, err));
    sonde_status status = categories ? write_categories(w, categories, is_column, err)
                                     : write_json(w, is_column, err);
    sonde_schema_meta_categories_destroy(&categories);
    return status;
}

/* ---- columns --------------------------------------------------------------------------------- */

/* A key as the name of an HDF5 object: '/', '%', control bytes, a leading '_' or '.', as %XX; the
 * empty key is "%". Longer than 240 bytes: cut, with its hash. */
static void name_of_key(const char *key, char name[300])
{
    size_t n = 0;
    if (!key[0]) snprintf(name, 300, "%%");
    for (const char *c = key; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        bool escape =
            byte < 32 || byte == '/' || byte == '%' || (c == key && (byte == '_' || byte == '.'));
        if (n > 240) {
            snprintf(name + n, 300 - n, "%%%016llx",
                     (unsigned long long)sonde_hash64(key, strlen(key)));
            return;
        }
        n += (size_t)snprintf(name + n, 300 - n, escape ? "%%%02X" : "%c", byte);
    }
}

static sonde_status write_typed(meta_writer *w, bool *is_column, sonde_error *err)
{
    if (w->kinds == META_INT || w->kinds == META_BOOL) return write_integers(w, err);
    if (w->kinds == META_REAL || (w->kinds == (META_INT | META_REAL) && !w->big))
        return write_numbers(w, NULL, SONDE_DTYPE_F64, fill_real, err);
    return write_text_column(w, is_column, err);
}

/* Writes one column; its name goes into *name where a table of AnnData can hold it, else NULL. */
static sonde_status write_column(sonde_schema *schema, const meta_column *column, int64_t n,
                                 char **name, sonde_error *err)
{
    char encoded[300] = "_more", path[400];
    if (column->key) name_of_key(column->key, encoded);
    snprintf(path, sizeof path, "sequences/meta/%s", encoded);
    meta_writer w = {.schema = schema, .column = column, .path = path, .n = n};
    *name = NULL;
    SONDE_TRY(survey(&w, err));
    if (w.present == 0) return SONDE_OK;
    bool is_column = true;
    sonde_status status = write_typed(&w, &is_column, err);
    sonde_string_reset(&w.text);
    SONDE_TRY(status);
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
