/* schema_vocab.c - /vocab, texts and what probes leave. */
#include "schema_internal.h"

#include <string.h>

#define MOST_TOKEN ((uint32_t)1 << 27)
#define PIECE_BYTES 64 /* room kept in the file for the piece of an id */

/* ---- tokens that occur ----------------------------------------------------------------------- */

sonde_status sonde_schema_see_token(sonde_schema *schema, uint32_t token, sonde_error *err)
{
    return sonde_schema_see_tokens(schema, &token, 1, err);
}

sonde_status sonde_schema_see_tokens(sonde_schema *schema, const uint32_t *tokens, int64_t n,
                                     sonde_error *err)
{
    uint64_t fresh = 0;
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] >= MOST_TOKEN)
            return sonde_fail(err, SONDE_INTERNAL, "token id %lu is out of range",
                              (unsigned long)tokens[i]);
        if (!sonde_grow(&schema->seen, &schema->seen_words, tokens[i] / 64 + 1,
                        sizeof *schema->seen))
            return sonde_no_memory(err, "the ids that occur", tokens[i] / 8);
        uint64_t bit = UINT64_C(1) << tokens[i] % 64;
        fresh += !(schema->seen[tokens[i] / 64] & bit);
        schema->seen[tokens[i] / 64] |= bit;
    }
    sonde_store_reserve(schema->store, fresh * PIECE_BYTES);
    return SONDE_OK;
}

typedef struct vocab {
    uint32_t *ids;
    uint64_t *indptr;
    size_t n, id_capacity, indptr_capacity;
    sonde_string data;
} vocab;

static bool add_piece(vocab *v, uint32_t id, const char *piece, size_t bytes)
{
    if (!sonde_grow(&v->ids, &v->id_capacity, v->n + 1, sizeof *v->ids) ||
        !sonde_grow(&v->indptr, &v->indptr_capacity, v->n + 2, sizeof *v->indptr))
        return false;
    if (bytes > 0) sonde_string_append(&v->data, piece, bytes);
    v->ids[v->n++] = id;
    v->indptr[v->n] = v->data.length;
    return !v->data.failed;
}

static bool collect(const sonde_schema *schema, sonde_schema_piece *piece, void *context, vocab *v)
{
    if (!sonde_grow(&v->indptr, &v->indptr_capacity, 1, sizeof *v->indptr)) return false;
    for (size_t word = 0; word < schema->seen_words; word++)
        for (uint32_t bit = 0; bit < 64; bit++) {
            if (!(schema->seen[word] >> bit & 1u)) continue;
            uint32_t id = (uint32_t)word * 64 + bit;
            size_t bytes = 0;
            const char *text = piece(context, id, &bytes);
            if (!add_piece(v, id, text, text ? bytes : 0)) return false;
        }
    return true;
}

sonde_status sonde_schema_write_vocab(sonde_schema *schema, sonde_schema_piece *piece,
                                      void *context, sonde_error *err)
{
    vocab v = {0};
    sonde_status status = SONDE_OK;
    if (!collect(schema, piece, context, &v))
        status = sonde_no_memory(err, "the vocabulary", v.n * 16);
    int64_t n[1] = {(int64_t)v.n}, ends[1] = {(int64_t)v.n + 1},
            bytes[1] = {(int64_t)v.data.length};
    if (status == SONDE_OK)
        status = sonde_store_write(schema->store, "vocab/id", SONDE_DTYPE_U32, 1, n, v.ids, err);
    if (status == SONDE_OK)
        status = sonde_store_write(schema->store, "vocab/indptr", SONDE_DTYPE_U64, 1, ends,
                                   v.indptr, err);
    if (status == SONDE_OK)
        status = sonde_store_write(schema->store, "vocab/data", SONDE_DTYPE_U8, 1, bytes,
                                   v.data.data, err);
    sonde_free(v.ids);
    sonde_free(v.indptr);
    sonde_string_reset(&v.data);
    return status;
}

/* ---- texts ----------------------------------------------------------------------------------- */

sonde_status sonde_schema_write_text(sonde_schema *schema, const char *name, const char *json,
                                     size_t bytes, sonde_error *err)
{
    char hash[33];
    SONDE_TRY(sonde_store_write_text(schema->store, name, json, bytes, err));
    sonde_hash128_hex(sonde_hash128(bytes ? json : "", bytes), hash);
    return sonde_store_attr_text(schema->store, name, "xxh3_128", hash, err);
}

/* ---- probes ---------------------------------------------------------------------------------- */

sonde_status sonde_schema_write_probe(sonde_schema *schema, const sonde_schema_probe *probe,
                                      sonde_error *err)
{
    char path[300];
    if (snprintf(path, sizeof path, "probes/%s", probe->instance) >= (int)sizeof path)
        return sonde_fail(err, SONDE_INTERNAL, "a probe cannot be called %.80s", probe->instance);
    SONDE_TRY(sonde_store_attr_text(schema->store, path, "probe", probe->probe, err));
    SONDE_TRY(sonde_store_attr_text(schema->store, path, "version",
                                    probe->version ? probe->version : "", err));
    SONDE_TRY(sonde_store_attr_text(schema->store, path, "options",
                                    probe->options ? probe->options : "{}", err));
    SONDE_TRY(sonde_store_attr_texts(schema->store, path, "points", probe->points, probe->n_points,
                                     err));
    return sonde_store_attr_int(schema->store, path, "rows_seen", probe->rows_seen, err);
}

sonde_status sonde_schema_write_table(sonde_schema *schema, const char *instance, const char *name,
                                      sonde_dtype dtype, int32_t n_dims, const int64_t *dims,
                                      const void *data, sonde_error *err)
{
    char path[400];
    if (snprintf(path, sizeof path, "probes/%s/%s", instance, name) >= (int)sizeof path)
        return sonde_fail(err, SONDE_INTERNAL, "a table cannot be called %.80s", name);
    SONDE_TRY(sonde_store_write(schema->store, path, dtype, n_dims, dims, data, err));
    return sonde_schema_is_array(schema, path, err);
}
