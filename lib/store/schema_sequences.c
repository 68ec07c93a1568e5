/* schema_sequences.c - /sequences, streamed: one entry per call. */
#include "schema_internal.h"

#include <string.h>

#define TABLE_CHUNK_ROWS 4096
#define TOKENS_CHUNK 16384

static const struct {
    const char *path;
    sonde_dtype dtype;
} columns[SEQUENCES_COLUMNS] = {
    [SEQUENCES_SEQUENCE] = {"sequences/sequence", SONDE_DTYPE_U64},
    [SEQUENCES_ROW_START] = {"sequences/row_start", SONDE_DTYPE_U64},
    [SEQUENCES_ROW_COUNT] = {"sequences/row_count", SONDE_DTYPE_U32},
    [SEQUENCES_N_PROMPT] = {"sequences/n_prompt", SONDE_DTYPE_U32},
    [SEQUENCES_XXH3] = {"sequences/xxh3", SONDE_DTYPE_U64},
    [SEQUENCES_STATUS] = {"sequences/status", SONDE_DTYPE_U8},
    [SEQUENCES_LAST_TOKEN] = {"sequences/last_token", SONDE_DTYPE_I64},
    [SEQUENCES_LAST_LOGPROB] = {"sequences/last_logprob", SONDE_DTYPE_F32},
    [SEQUENCES_ID_IS_GIVEN] = {"sequences/id_is_given", SONDE_DTYPE_U8},
};

sonde_status sonde_schema_declare_sequences(sonde_schema *schema, sonde_error *err)
{
    for (int i = 0; i < SEQUENCES_COLUMNS; i++) {
        SONDE_TRY(sonde_schema_declare(schema, columns[i].path, columns[i].dtype, TABLE_CHUNK_ROWS,
                                       true, &schema->sequences[i], err));
        SONDE_TRY(sonde_schema_is_array(schema, columns[i].path, err));
    }
    SONDE_TRY(sonde_schema_flags(schema, "sequences/status", 4, "done stopped cut skipped", err));
    SONDE_TRY(
        sonde_schema_declare_lists(schema, "sequences/id", SONDE_DTYPE_U8, &schema->ids, err));
    SONDE_TRY(sonde_schema_declare_lists(schema, "sequences/text", SONDE_DTYPE_U8, &schema->texts,
                                         err));
    SONDE_TRY(sonde_schema_declare_lists(schema, "sequences/tokens", SONDE_DTYPE_U32,
                                         &schema->tokens, err));
    SONDE_TRY(sonde_schema_declare(schema, "sequences/tokens/text_start", SONDE_DTYPE_U32,
                                   TOKENS_CHUNK, true, &schema->text_start, err));
    return sonde_schema_declare(schema, "sequences/tokens/text_end", SONDE_DTYPE_U32, TOKENS_CHUNK,
                                true, &schema->text_end, err);
}

/* ---- one entry ------------------------------------------------------------------------------- */

static sonde_status put_list(sonde_schema *schema, schema_lists *lists, const void *data,
                             uint64_t n, sonde_error *err)
{
    uint64_t end = lists->end + n;
    SONDE_TRY(
        sonde_store_put(schema->store, lists->data, (int64_t)lists->end, (int64_t)n, data, err));
    SONDE_TRY(sonde_store_put(schema->store, lists->indptr, schema->n_sequences + 1, 1, &end, err));
    lists->end = end;
    return SONDE_OK;
}

/* Byte spans of tokens; zeros where none are known. */
static sonde_status put_span(sonde_schema *schema, int32_t id, const uint32_t *span, int64_t n,
                             sonde_error *err)
{
    static const uint32_t zeros[512];
    int64_t first = (int64_t)schema->tokens.end;
    if (span) return sonde_store_put(schema->store, id, first, n, span, err);
    for (int64_t at = 0; at < n; at += (int64_t)SONDE_COUNT(zeros))
        SONDE_TRY(sonde_store_put(schema->store, id, first + at,
                                  SONDE_MIN(n - at, (int64_t)SONDE_COUNT(zeros)), zeros, err));
    return SONDE_OK;
}

static sonde_status put_tokens(sonde_schema *schema, const sonde_schema_sequence *s,
                               sonde_error *err)
{
    SONDE_TRY(sonde_schema_see_tokens(schema, s->tokens, s->n_tokens, err));
    if (s->last_token >= 0) SONDE_TRY(sonde_schema_see_token(schema, (uint32_t)s->last_token, err));
    SONDE_TRY(put_span(schema, schema->text_start, s->text_start, s->n_tokens, err));
    SONDE_TRY(put_span(schema, schema->text_end, s->text_end, s->n_tokens, err));
    return put_list(schema, &schema->tokens, s->tokens, (uint64_t)s->n_tokens, err);
}

static sonde_status put_columns(sonde_schema *schema, const sonde_schema_sequence *s,
                                sonde_error *err)
{
    size_t hashed = (size_t)SONDE_MIN((int64_t)s->n_prompt, s->n_tokens);
    uint64_t xxh3 =
        sonde_hash64(s->tokens ? (const void *)s->tokens : "", hashed * sizeof *s->tokens);
    uint8_t status = (uint8_t)s->status, given = s->id_is_given;
    const void *values[SEQUENCES_COLUMNS] = {
        [SEQUENCES_SEQUENCE] = &s->sequence,     [SEQUENCES_ROW_START] = &s->row_start,
        [SEQUENCES_ROW_COUNT] = &s->row_count,   [SEQUENCES_N_PROMPT] = &s->n_prompt,
        [SEQUENCES_XXH3] = &xxh3,                [SEQUENCES_STATUS] = &status,
        [SEQUENCES_LAST_TOKEN] = &s->last_token, [SEQUENCES_LAST_LOGPROB] = &s->last_logprob,
        [SEQUENCES_ID_IS_GIVEN] = &given,
    };
    for (int i = 0; i < SEQUENCES_COLUMNS; i++)
        SONDE_TRY(sonde_store_put(schema->store, schema->sequences[i], schema->n_sequences, 1,
                                  values[i], err));
    return SONDE_OK;
}

sonde_status sonde_schema_add_sequence(sonde_schema *schema, const sonde_schema_sequence *s,
                                       sonde_error *err)
{
    const char *id = s->id ? s->id : "";
    if (s->n_tokens < 0 || (s->n_tokens > 0 && !s->tokens))
        return sonde_fail(err, SONDE_INTERNAL, "sequence %llu: %lld tokens",
                          (unsigned long long)s->sequence, (long long)s->n_tokens);
    SONDE_TRY(sonde_store_failure(schema->store, err));
    uint64_t before = sonde_schema_meta_bytes(schema->meta);
    SONDE_TRY(sonde_schema_meta_add(schema->meta, schema->n_sequences, s->meta, err));
    sonde_store_reserve(schema->store, sonde_schema_meta_bytes(schema->meta) - before);
    SONDE_TRY(put_columns(schema, s, err));
    SONDE_TRY(put_list(schema, &schema->ids, id, strlen(id), err));
    SONDE_TRY(put_list(schema, &schema->texts, s->text, s->text ? s->text_bytes : 0, err));
    SONDE_TRY(put_tokens(schema, s, err));
    schema->n_sequences++;
    return SONDE_OK;
}
