/* capture_case.c - the capture that tests of the store write. */
#include "capture_case.h"

#include <math.h>
#include <string.h>

#define INPUT_INDEX(sequence) ((uint64_t)(sequence) * 2 + 1)

int64_t case_rows(int64_t sequence)
{
    return 5 + 7 * sequence % 23;
}

uint16_t case_bf16(int64_t row, int64_t channel)
{
    uint64_t z = (uint64_t)(row * 1315423911 + channel * 2654435761) * 0x9E3779B97F4A7C15u;
    z ^= z >> 29;
    uint16_t exponent = (uint16_t)(120 + (z >> 8) % 5), mantissa = (uint16_t)(z & 0x7F);
    return (uint16_t)((z >> 40 & 1) << 15 | (uint64_t)exponent << 7 | mantissa);
}

float case_score(int64_t row, int64_t element)
{
    return (float)row + (float)element / 1024.0f;
}

/* ---- declaring ------------------------------------------------------------------------------- */

static sonde_status declare_points(capture_run *run, sonde_error *err)
{
    int32_t other;
    sonde_schema_point dense = {.name = "blocks.0.resid_post",
                                .layer = 0,
                                .stored = SONDE_DTYPE_BF16,
                                .logical = "f32",
                                .n_dims = 1,
                                .shape = {CAPTURE_WIDTH}};
    sonde_schema_point scalar = {.name = "blocks.0.norm", .layer = 0, .stored = SONDE_DTYPE_F32};
    sonde_schema_point ragged = {.name = "blocks.1.attn.scores",
                                 .layer = 1,
                                 .stored = SONDE_DTYPE_F32,
                                 .ragged = true,
                                 .shape = {CAPTURE_HEADS}};
    sonde_schema_point mapped = {.name = "blocks.1.mlp.post", .layer = 1, .stored = SONDE_DTYPE_F16,
                                 .n_dims = 2, .shape = {2, 4}, .rowmap = true, .parts = "[0,4]"};
    SONDE_TRY(sonde_schema_add_point(run->schema, &dense, &run->dense, err));
    SONDE_TRY(sonde_schema_link_point(run->schema, run->dense, "blocks.1.resid_pre", err));
    SONDE_TRY(sonde_schema_add_point(run->schema, &scalar, &run->scalar, err));
    SONDE_TRY(sonde_schema_add_point(run->schema, &ragged, &run->ragged, err));
    SONDE_TRY(sonde_schema_add_point(run->schema, &mapped, &run->mapped, err));
    SONDE_TRY(sonde_schema_add_column(run->schema, "entropy", SONDE_DTYPE_F32, &run->entropy, err));
    SONDE_TRY(sonde_schema_add_rows(run->schema, "norms", "l2", run->dense, SONDE_DTYPE_F64, 1,
                                    (int64_t[]){2}, &run->norms, err));
    SONDE_TRY(sonde_schema_add_rows(run->schema, "hits", "found/data", -2, SONDE_DTYPE_I32, 0, NULL,
                                    &run->hits, err));
    SONDE_TRY(sonde_schema_add_rows(run->schema, "hits", "found/sequence", -2, SONDE_DTYPE_U64, 0,
                                    NULL, &run->hit_sequence, err));
    return sonde_schema_add_rows(run->schema, "hits", "found/position", -2, SONDE_DTYPE_U32, 0,
                                 NULL, &other, err);
}

sonde_status case_open(const capture_case *spec, capture_run *run, sonde_error *err)
{
    *run = (capture_run){0};
    sonde_store_options options = {
        .path = spec->path, .overwrite = spec->overwrite, .no_sync = true};
    sonde_schema_options schema = {.codec = spec->codec, .model = "case", .model_hash = "00ff",
                                   .tokenizer_hash = "ff00", .backend = "cpu", .mode = "exact",
                                   .chunk_target_bytes = spec->chunk_target_bytes};
    SONDE_TRY(sonde_store_create(&options, &run->store, err));
    SONDE_TRY(sonde_schema_create(run->store, &schema, &run->schema, err));
    return declare_points(run, err);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static sonde_status put_labels(capture_run *run, int64_t sequence, int64_t n, sonde_error *err)
{
    uint64_t index[32];
    uint32_t position[32], token[32];
    uint8_t phase[32], segment[32];
    float logprob[32], entropy[32];
    for (int64_t i = 0; i < n; i++) {
        index[i] = INPUT_INDEX(sequence);
        position[i] = (uint32_t)i;
        token[i] = (uint32_t)(sequence * 31 + i * 7) % 500;
        phase[i] = sequence % 2 == 1 && i >= n - 2;
        segment[i] = (uint8_t)(i % 7);
        logprob[i] = i == 0 ? NAN : -0.25f * (float)i;
        entropy[i] = 0.5f * (float)i;
    }
    bool plain = sequence % 3 == 2;
    sonde_schema_rows rows = {.sequence = index, .position = position, .token = token,
                              .phase = phase, .segment = plain ? NULL : segment,
                              .logprob = plain ? NULL : logprob};
    SONDE_TRY(sonde_schema_put_rows(run->schema, run->rows, n, &rows, err));
    return sonde_store_put(run->store, run->entropy, run->rows, n, entropy, err);
}

static sonde_status put_dense(capture_run *run, int64_t n, sonde_error *err)
{
    uint16_t values[32][CAPTURE_WIDTH];
    float norms[32];
    double l2[32][2];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < CAPTURE_WIDTH; c++) values[i][c] = case_bf16(run->rows + i, c);
        norms[i] = case_score(run->rows + i, 1);
        l2[i][0] = (double)(run->rows + i);
        l2[i][1] = -l2[i][0];
    }
    /* The second half first: order does not matter. */
    int64_t half = n / 2;
    SONDE_TRY(
        sonde_schema_put(run->schema, run->dense, run->rows + half, n - half, values[half], err));
    SONDE_TRY(sonde_schema_put(run->schema, run->dense, run->rows, half, values[0], err));
    SONDE_TRY(sonde_schema_put(run->schema, run->scalar, run->rows, n, norms, err));
    return sonde_store_put(run->store, run->norms, run->rows, n, l2, err);
}

static sonde_status put_ragged(capture_run *run, int64_t n, sonde_error *err)
{
    uint64_t offsets[33];
    uint32_t keys[32];
    float values[CAPTURE_HEADS * 32 * 33 / 2];
    int64_t at = 0;
    offsets[0] = (uint64_t)run->elements;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t e = 0; e < CAPTURE_HEADS * (i + 1); e++)
            values[at++] = case_score(run->rows + i, e);
        offsets[i + 1] = (uint64_t)(run->elements + at);
        keys[i] = 0;
    }
    SONDE_TRY(sonde_schema_put_ragged(run->schema, run->ragged, run->rows, n, offsets, keys, values,
                                      err));
    run->elements += at;
    return SONDE_OK;
}

/* Every fourth row of a sequence. */
static sonde_status put_mapped(capture_run *run, int64_t n, sonde_error *err)
{
    for (int64_t i = 0; i < n; i += 4) {
        uint16_t values[8];
        uint64_t row = (uint64_t)(run->rows + i);
        for (int k = 0; k < 8; k++) values[k] = (uint16_t)(0x3C00 + (row + (uint64_t)k) % 512);
        SONDE_TRY(
            sonde_schema_put_rowmap(run->schema, run->mapped, run->mapped_rows, 1, &row, err));
        SONDE_TRY(sonde_schema_put(run->schema, run->mapped, run->mapped_rows, 1, values, err));
        run->mapped_rows++;
    }
    return SONDE_OK;
}

static sonde_status put_hits(capture_run *run, int64_t sequence, sonde_error *err)
{
    for (int64_t i = 0; i < sequence % 3; i++) {
        int32_t value = (int32_t)(sequence * 10 + i);
        uint64_t index = INPUT_INDEX(sequence);
        uint32_t position = (uint32_t)i;
        SONDE_TRY(sonde_store_put(run->store, run->hits, run->hit_rows, 1, &value, err));
        SONDE_TRY(sonde_store_put(run->store, run->hit_sequence, run->hit_rows, 1, &index, err));
        SONDE_TRY(
            sonde_store_put(run->store, run->hit_sequence + 1, run->hit_rows, 1, &position, err));
        run->hit_rows++;
    }
    return SONDE_OK;
}

/* ---- sequences ------------------------------------------------------------------------------- */

static json_t *make_meta(int64_t i)
{
    json_t *meta =
        json_pack("{s:I, s:f, s:b, s:s}", "count", (json_int_t)(i * i), "score", 0.5 * (double)i,
                  "good", (int)(i % 2), "label", i % 3 ? "caf\xC3\xA9" : "tea");
    if (i % 4) json_object_set_new(meta, "some_count", json_integer(i));
    if (i % 4 == 1) json_object_set_new(meta, "some_flag", json_true());
    if (i % 4 == 2) json_object_set_new(meta, "some_label", json_string(i % 8 == 2 ? "x" : ""));
    json_object_set_new(meta, "mixed", i % 2 ? json_integer(i) : json_string("text"));
    json_object_set_new(meta, "nested", json_pack("{s:[i,i]}", "a", (int)i, 2));
    json_object_set_new(meta, "a/b %", json_real(1.5));
    json_object_set_new(meta, "none", json_null());
    return meta;
}

static sonde_status add_sequence(const capture_case *spec, capture_run *run, int64_t i,
                                 sonde_error *err)
{
    uint32_t tokens[32], starts[32], ends[32];
    char id[32], text[64];
    int64_t n = case_rows(i);
    for (int64_t k = 0; k < n; k++) {
        tokens[k] = (uint32_t)(i * 31 + k * 7) % 500;
        starts[k] = (uint32_t)k;
        ends[k] = (uint32_t)k + 1;
    }
    snprintf(id, sizeof id, "line-%lld", (long long)i);
    snprintf(text, sizeof text, "%.*s", (int)n, "abcdefghijklmnopqrstuvwxyz0123456789");
    json_t *meta = spec->no_meta ? NULL : make_meta(i);
    sonde_schema_sequence sequence = {.sequence = INPUT_INDEX(i),
                                      .row_start = (uint64_t)(run->rows - n),
                                      .row_count = (uint32_t)n,
                                      .n_prompt = (uint32_t)(i % 2 ? n - 2 : n),
                                      .status = (sonde_sequence_status)(i % 4),
                                      .last_token = i % 2 ? 777 : -1,
                                      .last_logprob = i % 2 ? -1.5f : NAN,
                                      .id = id,
                                      .id_is_given = i % 2 == 0,
                                      .text = text,
                                      .text_bytes = strlen(text),
                                      .tokens = tokens,
                                      .n_tokens = n,
                                      .text_start = i % 5 ? starts : NULL,
                                      .text_end = i % 5 ? ends : NULL,
                                      .meta = meta};
    sonde_status status = sonde_schema_add_sequence(run->schema, &sequence, err);
    json_decref(meta);
    run->sequences += status == SONDE_OK;
    return status;
}

sonde_status case_put(const capture_case *spec, capture_run *run, sonde_error *err)
{
    int64_t count = spec->sequences ? spec->sequences : CAPTURE_SEQUENCES;
    for (int64_t i = 0; i < count; i++) {
        int64_t n = case_rows(i);
        SONDE_TRY(put_dense(run, n, err));
        SONDE_TRY(put_ragged(run, n, err));
        SONDE_TRY(put_mapped(run, n, err));
        SONDE_TRY(put_labels(run, i, n, err));
        run->rows += n;
        SONDE_TRY(put_hits(run, i, err));
        SONDE_TRY(add_sequence(spec, run, i, err));
    }
    return SONDE_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

static const char *piece_of(void *context, uint32_t token, size_t *bytes)
{
    char *piece = context;
    *bytes = token == 7 ? 0 : (size_t)snprintf(piece, 16, "t%u", (unsigned)token);
    return piece;
}

sonde_status case_describe(capture_run *run, sonde_error *err)
{
    static const char manifest[] = "{\"model\": \"case\"}", facts[] = "{\"uuid\": \"0\"}";
    const char *points[] = {"blocks.0.resid_post", "blocks.1.attn.scores"};
    double table[2][3] = {{1, 2, 3}, {4, 5, 6}};
    char piece[16];
    sonde_schema_probe probe = {.instance = "norms", .probe = "moments", .version = "1.0",
                                .options = "{\"k\": 1}", .points = points, .n_points = 2,
                                .rows_seen = run->rows};
    sonde_schema_probe none = {.instance = "hits", .probe = "hits", .version = "2"};
    SONDE_TRY(sonde_schema_write_vocab(run->schema, piece_of, piece, err));
    SONDE_TRY(sonde_schema_write_probe(run->schema, &probe, err));
    SONDE_TRY(sonde_schema_write_probe(run->schema, &none, err));
    SONDE_TRY(sonde_schema_write_table(run->schema, "norms", "mean", SONDE_DTYPE_F64, 2,
                                       (int64_t[]){2, 3}, table, err));
    SONDE_TRY(sonde_schema_write_text(run->schema, "interventions", "[]", 2, err));
    SONDE_TRY(sonde_schema_write_text(run->schema, "manifest", manifest, sizeof manifest - 1, err));
    return sonde_schema_write_text(run->schema, "run", facts, sizeof facts - 1, err);
}

void case_close(capture_run *run, bool discard)
{
    sonde_schema_destroy(&run->schema);
    sonde_store_destroy(&run->store, discard);
}

sonde_status case_write(const capture_case *spec, sonde_error *err)
{
    capture_run run;
    sonde_status status = case_open(spec, &run, err);
    if (status == SONDE_OK) status = case_put(spec, &run, err);
    if (status == SONDE_OK) status = case_describe(&run, err);
    if (status == SONDE_OK) status = sonde_schema_seal(run.schema, true, -1, -1, err);
    case_close(&run, true);
    return status;
}
