/* capture_file.c - a small capture with everything in it, through the writer. */
#include "capture_file.h"

#include <math.h>
#include <string.h>

static const int64_t lengths[CAPTURE_SEQUENCES] = {5, 1, 7};
static const int64_t starts[CAPTURE_SEQUENCES] = {0, 5, 6};

static int place_of(int64_t row)
{
    int64_t at = row % CAPTURE_ROWS;
    return at < 5 ? 0 : at < 6 ? 1 : 2;
}

uint64_t capture_file_sequence(int64_t row)
{
    return (uint64_t)(row / CAPTURE_ROWS * CAPTURE_SEQUENCES + place_of(row));
}

uint32_t capture_file_position(int64_t row)
{
    return (uint32_t)(row % CAPTURE_ROWS - starts[place_of(row)]);
}

uint32_t capture_file_token(int64_t row)
{
    return (uint32_t)(row * 37 % 101);
}

float capture_file_value(int point, int64_t row, int64_t e)
{
    return 0.25f * (float)((row * 7 + e * 3 + point * 5) % 61 - 30);
}

uint16_t capture_file_bits(int64_t row, int64_t e)
{
    static const uint16_t odd[] = {0x7F80, 0xFF80, 0x7FC1, 0xFF81, 0x0001, 0x8000};
    if (row % 5 == 0) return odd[e % 6];
    return (uint16_t)((uint32_t)(row * CAPTURE_WIDTH + e) * 40503u);
}

/* --- encoding --- */

static uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Quarters below 8 have few bits: a normal half, exactly. */
static uint16_t f16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFF) == 0) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits >> 16 & 0x8000) | ((bits >> 13 & 0x3FFFF) - ((127u - 15u) << 10)));
}

static void encode(sonde_dtype dtype, float value, uint8_t *dst)
{
    uint16_t small = dtype == SONDE_DTYPE_F16 ? f16_of(value) : bf16_of(value);
    int32_t whole = (int32_t)(value * 4.0f);
    if (dtype == SONDE_DTYPE_F32) memcpy(dst, &value, 4);
    else if (dtype == SONDE_DTYPE_I32) memcpy(dst, &whole, 4);
    else memcpy(dst, &small, 2);
}

/* --- points --- */

static const sonde_schema_point points[CAPTURE_POINTS] = {
    [CAPTURE_EMBED] =
        {.name = "embed", .layer = -1, .stored = SONDE_DTYPE_F32, .n_dims = 1, .shape = {6}},
    [CAPTURE_Q] = {.name = "blocks.0.attn.q",
                   .stored = SONDE_DTYPE_F16,
                   .n_dims = 2,
                   .shape = {2, 3},
                   .parts = "[0:2]"},
    [CAPTURE_SCORES] = {.name = "blocks.0.attn.scores",
                        .stored = SONDE_DTYPE_F32,
                        .ragged = true,
                        .n_dims = 1,
                        .shape = {2}},
    [CAPTURE_PATTERN] = {.name = "blocks.0.attn.pattern",
                         .stored = SONDE_DTYPE_BF16,
                         .ragged = true,
                         .n_dims = 1,
                         .shape = {2}},
    [CAPTURE_RESID] = {.name = "blocks.0.resid_post",
                       .stored = SONDE_DTYPE_BF16,
                       .n_dims = 1,
                       .shape = {6}},
    [CAPTURE_BITS] = {.name = "blocks.1.bits",
                      .layer = 1,
                      .stored = SONDE_DTYPE_BF16,
                      .n_dims = 1,
                      .shape = {6}},
    [CAPTURE_EXPERTS] = {.name = "blocks.1.experts",
                         .layer = 1,
                         .stored = SONDE_DTYPE_I32,
                         .n_dims = 1,
                         .shape = {2}},
    [CAPTURE_FINAL] = {.name = "final", .layer = -1, .stored = SONDE_DTYPE_F32, .rowmap = true},
};

static sonde_status add_points(sonde_schema *schema, int32_t ids[CAPTURE_POINTS], sonde_error *err)
{
    for (int p = 0; p < CAPTURE_POINTS; p++) {
        SONDE_TRY(sonde_schema_add_point(schema, &points[p], &ids[p], err));
        if (p == CAPTURE_RESID)
            SONDE_TRY(sonde_schema_link_point(schema, ids[p], "blocks.1.resid_pre", err));
    }
    return SONDE_OK;
}

static sonde_status put_dense(sonde_schema *schema, int32_t id, int p, int64_t row, float shift,
                              sonde_error *err)
{
    uint8_t data[32];
    int64_t width = points[p].n_dims == 2 ? 6 : points[p].shape[0];
    size_t bytes = sonde_dtype_bytes(points[p].stored, 1);
    for (int64_t e = 0; e < width; e++) {
        uint16_t bits = capture_file_bits(row, e);
        if (p == CAPTURE_BITS) memcpy(data + 2 * e, &bits, 2);
        else
            encode(points[p].stored, capture_file_value(p, row, e) + shift,
                   data + (size_t)e * bytes);
    }
    return sonde_schema_put(schema, id, row, 1, data, err);
}

/* `end` is where the row's values begin, then where they end. */
static sonde_status put_ragged(sonde_schema *schema, int32_t id, int p, int64_t row, uint64_t *end,
                               sonde_error *err)
{
    uint8_t data[2 * 64 * 4];
    uint32_t position = capture_file_position(row);
    uint32_t first = p == CAPTURE_PATTERN && position > 2 ? position - 2 : 0;
    int64_t keys = (int64_t)position + 1 - first;
    size_t bytes = sonde_dtype_bytes(points[p].stored, 1);
    for (int64_t head = 0; head < 2; head++)
        for (int64_t key = 0; key < keys; key++)
            encode(points[p].stored, capture_file_value(p, row, 64 * head + key),
                   data + (size_t)(head * keys + key) * bytes);
    const uint64_t offsets[2] = {*end, *end + (uint64_t)(2 * keys)};
    *end = offsets[1];
    return sonde_schema_put_ragged(schema, id, row, 1, offsets, &first, data, err);
}

static sonde_status put_final(sonde_schema *schema, int32_t id, int64_t row, sonde_error *err)
{
    int place = place_of(row);
    if ((int64_t)capture_file_position(row) != lengths[place] - 1) return SONDE_OK;
    int64_t entry = (int64_t)capture_file_sequence(row);
    uint64_t map = (uint64_t)row;
    float value = capture_file_value(CAPTURE_FINAL, row, 0);
    SONDE_TRY(sonde_schema_put(schema, id, entry, 1, &value, err));
    return sonde_schema_put_rowmap(schema, id, entry, 1, &map, err);
}

static sonde_status put_labels(sonde_schema *schema, int64_t row, sonde_error *err)
{
    uint64_t sequence = capture_file_sequence(row);
    uint32_t position = capture_file_position(row), token = capture_file_token(row);
    uint8_t phase = place_of(row) == 2 && position >= 4, segment = (uint8_t)(row % 3);
    float logprob = position == 0 ? NAN : -0.5f * (float)position;
    const sonde_schema_rows labels = {.sequence = &sequence,
                                      .position = &position,
                                      .token = &token,
                                      .phase = &phase,
                                      .segment = &segment,
                                      .logprob = &logprob};
    return sonde_schema_put_rows(schema, row, 1, &labels, err);
}

static sonde_status put_rows(sonde_schema *schema, const int32_t ids[CAPTURE_POINTS],
                             const capture_file_options *o, int64_t n, sonde_error *err)
{
    uint64_t ends[CAPTURE_POINTS] = {0};
    for (int64_t row = 0; row < n; row++) {
        for (int p = 0; p < CAPTURE_FINAL; p++) {
            float shift = p == CAPTURE_RESID && row == n - 1 ? o->shift : 0.0f;
            SONDE_TRY(points[p].ragged ? put_ragged(schema, ids[p], p, row, &ends[p], err)
                                       : put_dense(schema, ids[p], p, row, shift, err));
        }
        SONDE_TRY(put_final(schema, ids[CAPTURE_FINAL], row, err));
        SONDE_TRY(put_labels(schema, row, err));
    }
    return SONDE_OK;
}

/* --- the rest --- */

static const char *piece_of(void *context, uint32_t token, size_t *bytes)
{
    char *buffer = context;
    *bytes = (size_t)snprintf(buffer, 16, token == 7 ? "\xC3" : " t%u", token);
    return buffer;
}

static sonde_status add_sequence(sonde_schema *schema, int64_t index, sonde_error *err)
{
    static const char *const texts[] = {"f\xC3\xBCnf Zeichen", "", "four and three more"};
    uint32_t tokens[8];
    int place = (int)(index % CAPTURE_SEQUENCES);
    int64_t start = index / CAPTURE_SEQUENCES * CAPTURE_ROWS + starts[place];
    char id[32];
    snprintf(id, sizeof id, place == 1 ? "given-%lld" : "%lld", (long long)index);
    for (int64_t i = 0; i < lengths[place]; i++) tokens[i] = capture_file_token(start + i);
    json_t *meta = json_pack("{s:i, s:s}", "level", (int)index, "topic", place ? "b" : "a");
    if (place == 2 && meta) json_object_set_new(meta, "score", json_real(0.5 + (double)index));
    const sonde_schema_sequence sequence = {.sequence = (uint64_t)index,
                                            .row_start = (uint64_t)start,
                                            .row_count = (uint32_t)lengths[place],
                                            .n_prompt = place == 2 ? 4 : (uint32_t)lengths[place],
                                            .status = place == 2 ? SONDE_SEQUENCE_STOPPED
                                                                 : SONDE_SEQUENCE_DONE,
                                            .last_token = place == 2 ? 7 : -1,
                                            .last_logprob = place == 2 ? -2.5f : NAN,
                                            .id = id,
                                            .id_is_given = place == 1,
                                            .text = texts[place],
                                            .text_bytes = strlen(texts[place]),
                                            .tokens = tokens,
                                            .n_tokens = lengths[place],
                                            .meta = meta};
    sonde_status status = sonde_schema_add_sequence(schema, &sequence, err);
    json_decref(meta);
    return status;
}

static sonde_status write_ends(sonde_schema *schema, int64_t rows, sonde_error *err)
{
    static const char manifest[] = "{\"model\": \"tiny\", \"options\": {\"as\": \"auto\"}}";
    static const char run[] = "{\"host\": \"here\"}";
    static const char *const seen[] = {"blocks.0.resid_post"};
    const double mean[CAPTURE_WIDTH] = {0.5, -1.25, NAN, 1e300, 0.0, 3.0};
    const int64_t width = CAPTURE_WIDTH;
    char buffer[16];
    const sonde_schema_probe probe = {.instance = "moments",
                                      .probe = "moments",
                                      .version = "1",
                                      .points = seen,
                                      .n_points = 1,
                                      .rows_seen = rows};
    SONDE_TRY(sonde_schema_write_vocab(schema, piece_of, buffer, err));
    SONDE_TRY(sonde_schema_write_probe(schema, &probe, err));
    SONDE_TRY(
        sonde_schema_write_table(schema, "moments", "mean", SONDE_DTYPE_F64, 1, &width, mean, err));
    SONDE_TRY(
        sonde_schema_write_table(schema, "moments", "count", SONDE_DTYPE_I64, 0, NULL, &rows, err));
    SONDE_TRY(sonde_schema_write_text(schema, "manifest", manifest, sizeof manifest - 1, err));
    return sonde_schema_write_text(schema, "run", run, sizeof run - 1, err);
}

static sonde_status fill(sonde_schema *schema, const capture_file_options *o, sonde_error *err)
{
    int32_t ids[CAPTURE_POINTS];
    int64_t times = o->times ? o->times : 1, rows = times * CAPTURE_ROWS;
    SONDE_TRY(add_points(schema, ids, err));
    SONDE_TRY(put_rows(schema, ids, o, rows, err));
    for (int64_t i = 0; i < times * CAPTURE_SEQUENCES; i++) SONDE_TRY(add_sequence(schema, i, err));
    SONDE_TRY(write_ends(schema, rows, err));
    return o->unsealed ? SONDE_OK : sonde_schema_seal(schema, !o->incomplete, -1, -1, err);
}

sonde_status capture_file_write(const capture_file_options *o, sonde_error *err)
{
    const sonde_store_options options = {.path = o->path, .overwrite = true, .no_sync = true};
    const sonde_schema_options root = {.codec = o->codec,
                                       .chunk_target_bytes = o->chunk_target_bytes,
                                       .model = "tiny",
                                       .model_hash = "00ff",
                                       .tokenizer_hash = "aa",
                                       .backend = "cpu",
                                       .mode = "exact"};
    sonde_store *store = NULL;
    sonde_schema *schema = NULL;
    sonde_status status = sonde_store_create(&options, &store, err);
    if (status == SONDE_OK) status = sonde_schema_create(store, &root, &schema, err);
    if (status == SONDE_OK) status = fill(schema, o, err);
    sonde_schema_destroy(&schema);
    sonde_store_destroy(&store, false);
    return status;
}
