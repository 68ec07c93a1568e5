/* reader_sequences.c - /sequences, token runs, and the pieces of /vocab. */
#include "reader_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- opening --- */

typedef struct sequence_column {
    const char *path;
    bool required, integers;
} sequence_column;

static const sequence_column columns_of_sequences[SEQ_COUNT] = {
    [SEQ_SEQUENCE] = {"/sequences/sequence", false, true},
    [SEQ_ROW_START] = {"/sequences/row_start", true, true},
    [SEQ_ROW_COUNT] = {"/sequences/row_count", true, true},
    [SEQ_N_PROMPT] = {"/sequences/n_prompt", true, true},
    [SEQ_XXH3] = {"/sequences/xxh3", true, true},
    [SEQ_STATUS] = {"/sequences/status", true, true},
    [SEQ_LAST_TOKEN] = {"/sequences/last_token", true, true},
    [SEQ_LAST_LOGPROB] = {"/sequences/last_logprob", true, false},
    [SEQ_ID_GIVEN] = {"/sequences/id_is_given", false, true},
};

/* A group {data, indptr}; left without paths when it is not there. */
static sonde_status load_runs(const sonde_reader *reader, const char *path, reader_runs *runs,
                              sonde_error *err)
{
    char full[64];
    if (sonde_reader_kind(reader, path) == READER_ABSENT) return SONDE_OK;
    snprintf(full, sizeof full, "%s/data", path);
    SONDE_TRY(sonde_set_column(reader, full, true, &runs->data, err));
    snprintf(full, sizeof full, "%s/indptr", path);
    return sonde_set_column(reader, full, true, &runs->indptr, err);
}

/* Texts lie as bytes: they are handed out as they are. */
static sonde_status load_bytes(const sonde_reader *reader, const char *path, reader_runs *runs,
                               sonde_error *err)
{
    SONDE_TRY(load_runs(reader, path, runs, err));
    if (!runs->data.path || runs->data.element_bytes == 1) return SONDE_OK;
    return sonde_reader_bad(reader, runs->data.path, err, "expected bytes (u8), found %s",
                            sonde_dtype_name(runs->data.dtype));
}

static sonde_status check_runs(const sonde_reader *reader, const reader_runs *runs, int64_t entries,
                               sonde_error *err)
{
    if (!runs->data.path || !reader->sealed || runs->indptr.rows == entries + 1) return SONDE_OK;
    if (entries == 0 && runs->indptr.rows == 0) return SONDE_OK;
    return sonde_reader_bad(reader, runs->indptr.path, err, "expected %lld offsets, found %lld",
                            (long long)entries + 1, (long long)runs->indptr.rows);
}

static sonde_status load_vocab(sonde_reader *reader, sonde_error *err)
{
    if (sonde_reader_kind(reader, "/vocab") == READER_ABSENT) return SONDE_OK;
    SONDE_TRY(sonde_set_column(reader, "/vocab/id", true, &reader->vocab_id, err));
    SONDE_TRY(load_bytes(reader, "/vocab", &reader->vocab, err));
    return check_runs(reader, &reader->vocab, reader->vocab_id.rows, err);
}

sonde_status sonde_reader_load_sequences(sonde_reader *reader, sonde_error *err)
{
    if (reader->minimal || sonde_reader_kind(reader, "/sequences") == READER_ABSENT)
        return SONDE_OK;
    reader->n_sequences = INT64_MAX;
    for (int i = 0; i < SEQ_COUNT; i++) {
        const sequence_column *c = &columns_of_sequences[i];
        sonde_set *set = &reader->sequences[i];
        if (!c->required && sonde_reader_kind(reader, c->path) == READER_ABSENT) continue;
        SONDE_TRY(sonde_set_column(reader, c->path, c->integers, set, err));
        int64_t expected = reader->sequences[SEQ_ROW_START].path
                               ? reader->sequences[SEQ_ROW_START].rows
                               : set->rows;
        if (reader->sealed && set->rows != expected)
            return sonde_reader_bad(reader, c->path, err, "expected %lld entries, found %lld",
                                    (long long)expected, (long long)set->rows);
        reader->n_sequences = SONDE_MIN(reader->n_sequences, set->rows);
    }
    SONDE_TRY(load_bytes(reader, "/sequences/id", &reader->ids, err));
    SONDE_TRY(load_bytes(reader, "/sequences/text", &reader->texts, err));
    SONDE_TRY(load_runs(reader, "/sequences/tokens", &reader->tokens, err));
    SONDE_TRY(check_runs(reader, &reader->ids, reader->n_sequences, err));
    SONDE_TRY(check_runs(reader, &reader->texts, reader->n_sequences, err));
    SONDE_TRY(check_runs(reader, &reader->tokens, reader->n_sequences, err));
    return load_vocab(reader, err);
}

/* --- entries --- */

/* Bytes of entry `index` in new memory with a NUL behind; *text NULL when the runs are absent. */
static sonde_status read_bytes(sonde_reader *reader, reader_runs *runs, int64_t index, char **text,
                               size_t *n, sonde_error *err)
{
    uint64_t ends[2];
    sonde_free(*text);
    *text = NULL;
    *n = 0;
    if (!runs->data.path || index + 1 >= runs->indptr.rows) return SONDE_OK;
    SONDE_TRY(sonde_reader_offsets(reader, &runs->indptr, &runs->data, index, 1, ends, err));
    if (ends[1] - ends[0] > READER_MAX_TEXT)
        return sonde_reader_bad(reader, runs->data.path, err,
                                "entry %lld has %llu bytes, at most %zu", (long long)index,
                                (unsigned long long)(ends[1] - ends[0]), READER_MAX_TEXT);
    size_t bytes = (size_t)(ends[1] - ends[0]);
    *text = sonde_alloc_raw(bytes + 1, 1);
    if (!*text) return sonde_no_memory(err, runs->data.path, bytes + 1);
    (*text)[bytes] = '\0';
    *n = bytes;
    return sonde_set_read(reader, &runs->data, (int64_t)ends[0], (int64_t)bytes, *text, err);
}

static sonde_status read_number(sonde_reader *reader, int column, int64_t index, uint64_t most,
                                uint64_t *value, sonde_error *err)
{
    sonde_set *set = &reader->sequences[column];
    if (!set->path) return SONDE_OK;
    return sonde_set_read_u64(reader, set, index, 1, most, value, err);
}

/* last_token is -1 or a token id. */
static sonde_status read_last_token(sonde_reader *reader, int64_t index, int64_t *token,
                                    sonde_error *err)
{
    double value;
    sonde_set *set = &reader->sequences[SEQ_LAST_TOKEN];
    SONDE_TRY(sonde_set_read_f64(reader, set, index, 1, &value, err));
    if (!(value >= -1.0 && value <= (double)UINT32_MAX))
        return sonde_reader_bad(reader, set->path, err,
                                "entry %lld is %.0f: expected -1 or a token id", (long long)index,
                                value);
    *token = (int64_t)value;
    return SONDE_OK;
}

static sonde_status check_span(const sonde_reader *reader, int64_t index,
                               const sonde_sequence_info *info, sonde_error *err)
{
    uint64_t rows = (uint64_t)reader->n_rows;
    if (!reader->sealed || info->row_count == 0) return SONDE_OK;
    if (info->row_start <= rows && info->row_count <= rows - info->row_start) return SONDE_OK;
    return sonde_reader_bad(reader, "/sequences", err,
                            "entry %lld: rows %llu and the next %u pass the end of /rows (%llu)",
                            (long long)index, (unsigned long long)info->row_start, info->row_count,
                            (unsigned long long)rows);
}

static sonde_status read_numbers(sonde_reader *reader, int64_t index, sonde_sequence_info *info,
                                 sonde_error *err)
{
    uint64_t value[SEQ_COUNT] = {[SEQ_SEQUENCE] = (uint64_t)index};
    static const uint64_t most[SEQ_COUNT] = {
        [SEQ_SEQUENCE] = UINT64_MAX, [SEQ_ROW_START] = UINT64_MAX, [SEQ_ROW_COUNT] = UINT32_MAX,
        [SEQ_N_PROMPT] = UINT32_MAX, [SEQ_XXH3] = UINT64_MAX,      [SEQ_STATUS] = UINT8_MAX,
        [SEQ_ID_GIVEN] = 1};
    for (int i = 0; i < SEQ_COUNT; i++)
        if (i != SEQ_LAST_TOKEN && i != SEQ_LAST_LOGPROB)
            SONDE_TRY(read_number(reader, i, index, most[i], &value[i], err));
    info->sequence = value[SEQ_SEQUENCE];
    info->row_start = value[SEQ_ROW_START];
    info->row_count = (uint32_t)value[SEQ_ROW_COUNT];
    info->n_prompt = (uint32_t)value[SEQ_N_PROMPT];
    info->xxh3 = value[SEQ_XXH3];
    info->status = (uint8_t)value[SEQ_STATUS];
    info->id_is_given = value[SEQ_ID_GIVEN] == 1;
    SONDE_TRY(read_last_token(reader, index, &info->last_token, err));
    SONDE_TRY(sonde_set_read_f32(reader, &reader->sequences[SEQ_LAST_LOGPROB], index, 1,
                                 &info->last_logprob, err));
    return check_span(reader, index, info, err);
}

sonde_status sonde_reader_sequence(sonde_reader *reader, int64_t index, sonde_sequence_info *info,
                                   sonde_error *err)
{
    size_t bytes;
    SONDE_TRY(sonde_reader_check_range(reader, "/sequences", index, 1, reader->n_sequences, err));
    memset(info, 0, sizeof *info);
    SONDE_TRY(read_numbers(reader, index, info, err));
    SONDE_TRY(read_bytes(reader, &reader->ids, index, &reader->id_text, &bytes, err));
    SONDE_TRY(read_bytes(reader, &reader->texts, index, &reader->sequence_text, &bytes, err));
    info->id = reader->id_text;
    info->text = reader->sequence_text;
    return SONDE_OK;
}

sonde_status sonde_reader_tokens(sonde_reader *reader, int64_t index, const uint32_t **tokens,
                                 int64_t *count, sonde_error *err)
{
    uint64_t ends[2];
    SONDE_TRY(sonde_reader_check_range(reader, "/sequences", index, 1, reader->n_sequences, err));
    *tokens = NULL;
    *count = 0;
    reader_runs *runs = &reader->tokens;
    if (!runs->data.path || index + 1 >= runs->indptr.rows) return SONDE_OK;
    SONDE_TRY(sonde_reader_offsets(reader, &runs->indptr, &runs->data, index, 1, ends, err));
    int64_t n = (int64_t)(ends[1] - ends[0]);
    sonde_free(reader->run_tokens);
    reader->run_tokens = sonde_alloc_raw((size_t)n, sizeof *reader->run_tokens);
    if (!reader->run_tokens) return sonde_no_memory(err, runs->data.path, (size_t)n * 4);
    SONDE_TRY(
        sonde_set_read_u32(reader, &runs->data, (int64_t)ends[0], n, reader->run_tokens, err));
    *tokens = reader->run_tokens;
    *count = n;
    return SONDE_OK;
}

/* --- pieces --- */

static int compare_u64(const void *pa, const void *pb)
{
    const uint64_t *a = pa, *b = pb;
    return *a < *b ? -1 : *a > *b;
}

static sonde_status order_vocab(sonde_reader *reader, sonde_error *err)
{
    int64_t n = reader->vocab_id.rows;
    if (n > UINT32_MAX)
        return sonde_reader_bad(reader, "/vocab/id", err,
                                "%lld entries are more than there are ids", (long long)n);
    uint64_t *order = sonde_alloc_raw((size_t)n, sizeof *order);
    if (!order) return sonde_no_memory(err, "/vocab/id", (size_t)n * sizeof *order);
    sonde_status status = sonde_set_read_u64(reader, &reader->vocab_id, 0, n, UINT32_MAX, order,
                                             err);
    if (status != SONDE_OK) {
        sonde_free(order);
        return status;
    }
    for (int64_t i = 0; i < n; i++) order[i] = order[i] << 32 | (uint64_t)i;
    if (n > 1) qsort(order, (size_t)n, sizeof *order, compare_u64);
    reader->vocab_order = order;
    return SONDE_OK;
}

/* Entry of a token id, or -1. */
static int64_t find_token(const sonde_reader *reader, uint32_t token)
{
    int64_t low = 0, high = reader->vocab_id.rows;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (reader->vocab_order[middle] >> 32 < token) low = middle + 1;
        else high = middle;
    }
    if (low == reader->vocab_id.rows || reader->vocab_order[low] >> 32 != token) return -1;
    return (int64_t)(reader->vocab_order[low] & UINT32_MAX);
}

sonde_status sonde_reader_piece(sonde_reader *reader, uint32_t token, const char **bytes, size_t *n,
                                sonde_error *err)
{
    *bytes = NULL;
    *n = 0;
    if (!reader->vocab_id.path) return SONDE_OK;
    if (!reader->vocab_order) SONDE_TRY(order_vocab(reader, err));
    int64_t entry = find_token(reader, token);
    if (entry < 0) return SONDE_OK;
    SONDE_TRY(read_bytes(reader, &reader->vocab, entry, &reader->piece, n, err));
    *bytes = reader->piece;
    return SONDE_OK;
}
