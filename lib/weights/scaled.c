/*
 * scaled.c - tensors that a safetensors file stores in two parts, as one: eight-bit floats with a
 * scale for each block (`X` and `X_scale_inv`, DeepSeek and Kimi), and MXFP4 blocks with a scale
 * byte for each (`X_blocks` and `X_scales`, GPT-OSS). Also which ways of quantising are known.
 */
#include "container.h"

#include "config.h"

#include <string.h>

#define DEFAULT_BLOCK 128 /* of DeepSeek's files */
#define MXFP4_BYTES 16    /* of a block of 32 elements without its scale */

/* How config.json says that weights are quantised. */
typedef struct scheme {
    bool fp8;
    int64_t block[2]; /* rows and columns that a scale covers; 0: all of them */
} scheme;

typedef struct joiner {
    const sonde_tensor *stored;
    int64_t count;
    scheme scheme;
    sonde_joined *out;
    sonde_error *err;
} joiner;

/* ---- the scheme --------------------------------------------------------------------------------- */

static sonde_status read_block_size(const sonde_config *config, scheme *s, sonde_error *err)
{
    const json_t *all = sonde_config_find(config, "quantization_config");
    const json_t *size = json_object_get(all, "weight_block_size");
    if (!size) return SONDE_OK;
    if (json_is_null(size)) { /* one scale for a tensor */
        s->block[0] = s->block[1] = 0;
        return SONDE_OK;
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *entry = json_array_get(size, i);
        s->block[i] = json_is_integer(entry) ? json_integer_value(entry) : 0;
        if (json_array_size(size) != 2 || s->block[i] < 1 || s->block[i] > INT32_MAX)
            return sonde_fail(err, SONDE_BAD_MODEL, "%s: key 'quantization_config.weight_block_size': "
                              "expected two sizes", sonde_config_source(config));
    }
    return SONDE_OK;
}

static sonde_status read_scheme(const sonde_config *config, scheme *s, sonde_error *err)
{
    *s = (scheme){.block = {DEFAULT_BLOCK, DEFAULT_BLOCK}};
    if (!sonde_config_find(config, "quantization_config")) return SONDE_OK;
    const char *method =
        json_string_value(sonde_config_find(config, "quantization_config.quant_method"));
    s->fp8 = method && strcmp(method, "fp8") == 0;
    if (s->fp8) return read_block_size(config, s, err);
    if (method && strcmp(method, "mxfp4") == 0) return SONDE_OK;
    char shown[SONDE_PRINTABLE_BYTES];
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: not supported: weights quantised by '%s' (known: fp8, "
                      "mxfp4); use the checkpoint that was not quantised, or a GGUF file of it",
                      sonde_config_source(config),
                      method ? sonde_printable(method, strlen(method), shown) : "an unnamed method");
}

/* ---- pairs ---------------------------------------------------------------------------------------- */

static const sonde_tensor *find_beside(const joiner *j, const char *name, size_t length,
                                       const char *ending)
{
    sonde_string text = {0};
    sonde_string_append(&text, name, length);
    sonde_string_text(&text, ending);
    const sonde_tensor *found =
        text.failed ? NULL : sonde_tensors_find(j->stored, j->count, text.data);
    sonde_string_reset(&text);
    return found;
}

/* Length of the name without `ending`, or 0. */
static size_t stem(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcmp(name + length - tail, ending) == 0 ? length - tail : 0;
}

static bool is_float8(const sonde_tensor *t)
{
    return t->dtype == SONDE_DTYPE_F8_E4M3 || t->dtype == SONDE_DTYPE_F8_E5M2;
}

/* Scales of a tensor that another one has: not a tensor of its own. */
static bool is_part(const joiner *j, const sonde_tensor *t)
{
    size_t length = stem(t->name, "_scale_inv");
    if (length > 0) {
        const sonde_tensor *weight = find_beside(j, t->name, length, "");
        return weight && is_float8(weight);
    }
    length = t->dtype == SONDE_DTYPE_U8 ? stem(t->name, "_scales") : 0;
    const sonde_tensor *blocks = length > 0 ? find_beside(j, t->name, length, "_blocks") : NULL;
    return blocks && blocks->dtype == SONDE_DTYPE_U8;
}

static sonde_status wrong_scales(const joiner *j, const sonde_tensor *t, const sonde_tensor *scales,
                                 const char *expected)
{
    char got[SONDE_SHAPE_BYTES], of[SONDE_SHAPE_BYTES];
    return sonde_fail(j->err, SONDE_BAD_MODEL, "%s: tensor %s: expected %s for %s of %s, file has %s of "
                      "%s", scales->file, scales->name, expected, t->name, sonde_shape_text(t, of),
                      sonde_shape_text(scales, got), sonde_dtype_name(scales->dtype));
}

static int64_t blocks_of(int64_t size, int64_t block)
{
    return size / block + (size % block != 0);
}

/* One scale for all, or [.., ceil(rows / block), ceil(columns / block)]. */
static sonde_status attach_scales(const joiner *j, sonde_tensor *t, const sonde_tensor *scales)
{
    int32_t n = t->n_dims;
    int64_t rows = n >= 2 ? t->shape[n - 2] : 1, columns = n >= 1 ? t->shape[n - 1] : 1;
    bool single = scales->n_dims == 0 || (scales->n_dims == 1 && scales->shape[0] == 1);
    t->scale_rows = single || j->scheme.block[0] == 0 ? SONDE_MAX(rows, 1) : j->scheme.block[0];
    t->scale_cols = single || j->scheme.block[1] == 0 ? SONDE_MAX(columns, 1) : j->scheme.block[1];
    bool good = single ? n == 2 : scales->n_dims == n && n >= 2;
    for (int32_t i = 0; good && !single && i + 2 < n; i++) good = scales->shape[i] == t->shape[i];
    if (good && !single)
        good = scales->shape[n - 2] == blocks_of(rows, t->scale_rows) &&
               scales->shape[n - 1] == blocks_of(columns, t->scale_cols);
    bool number = scales->dtype == SONDE_DTYPE_F32 || scales->dtype == SONDE_DTYPE_BF16 ||
                  scales->dtype == SONDE_DTYPE_F16 || scales->dtype == SONDE_DTYPE_F8_E8M0;
    char expected[96];
    snprintf(expected, sizeof expected, "a scale for every block of %lld by %lld",
             (long long)t->scale_rows, (long long)t->scale_cols);
    if (!good || !number) return wrong_scales(j, t, scales, expected);
    t->scales = scales;
    return SONDE_OK;
}

static sonde_status join_float8(const joiner *j, sonde_tensor *t)
{
    const sonde_tensor *scales = find_beside(j, t->name, strlen(t->name), "_scale_inv");
    if (scales) return attach_scales(j, t, scales);
    if (!j->scheme.fp8) return SONDE_OK;
    return sonde_fail(j->err, SONDE_BAD_MODEL, "%s: tensor %s: its scales %s_scale_inv are missing",
                      t->file, t->name, t->name);
}

/* [.., rows, n, 16] bytes and [.., rows, n] scales are [.., rows, 32 n] of MXFP4. */
static sonde_status join_blocks(const joiner *j, sonde_tensor *t, size_t length)
{
    const sonde_tensor *scales = find_beside(j, t->name, length, "_scales");
    if (!scales)
        return sonde_fail(j->err, SONDE_BAD_MODEL, "%s: tensor %s: its scales %.*s_scales are missing",
                          t->file, t->name, (int)length, t->name);
    int32_t n = t->n_dims;
    bool good = n >= 3 && t->shape[n - 1] == MXFP4_BYTES && scales->n_dims == n - 1 &&
                scales->dtype == SONDE_DTYPE_U8;
    for (int32_t i = 0; good && i < n - 1; i++) good = scales->shape[i] == t->shape[i];
    if (!good) return wrong_scales(j, t, scales, "a byte for every block of 16 bytes");
    char *name = sonde_strndup(t->name, length);
    if (!name) return sonde_no_memory(j->err, t->name, length);
    j->out->names[j->out->n_names++] = name;
    t->name = name;
    t->dtype = SONDE_DTYPE_MXFP4;
    t->n_dims = n - 1;
    t->shape[n - 2] *= 32;
    t->scales = scales;
    t->scale_rows = 1;
    t->scale_cols = 32;
    t->output_major = true;
    return SONDE_OK;
}

static sonde_status join_all(const joiner *j)
{
    sonde_joined *out = j->out;
    for (int64_t i = 0; i < j->count; i++) {
        if (is_part(j, &j->stored[i])) continue;
        sonde_tensor *t = &out->tensors[out->count++];
        *t = j->stored[i];
        t->stored = i;
        size_t length = t->dtype == SONDE_DTYPE_U8 ? stem(t->name, "_blocks") : 0;
        if (is_float8(t)) SONDE_TRY(join_float8(j, t));
        if (length > 0) SONDE_TRY(join_blocks(j, t, length));
    }
    sonde_tensors_sort_by_name(out->tensors, out->count);
    for (int64_t i = 1; i < out->count; i++)
        if (strcmp(out->tensors[i - 1].name, out->tensors[i].name) == 0)
            return sonde_fail(j->err, SONDE_BAD_MODEL, "%s: tensor %s is there as numbers and as blocks",
                              out->tensors[i].file, out->tensors[i].name);
    return SONDE_OK;
}

sonde_status sonde_tensors_join(const sonde_config *config, const sonde_tensor *stored, int64_t count,
                                sonde_joined *out, sonde_error *err)
{
    joiner j = {.stored = stored, .count = count, .out = out, .err = err};
    *out = (sonde_joined){0};
    SONDE_TRY(read_scheme(config, &j.scheme, err));
    out->tensors = sonde_alloc((size_t)count + 1, sizeof *out->tensors);
    out->names = sonde_alloc((size_t)count + 1, sizeof *out->names);
    if (!out->tensors || !out->names)
        return sonde_no_memory(err, "the table of tensors", (size_t)count * sizeof *out->tensors);
    return join_all(&j);
}

void sonde_joined_reset(sonde_joined *joined)
{
    for (int64_t i = 0; i < joined->n_names; i++) sonde_free(joined->names[i]);
    sonde_free(joined->names);
    sonde_free(joined->tensors);
    *joined = (sonde_joined){0};
}

/* ---- matrices --------------------------------------------------------------------------------------- */

void sonde_tensor_matrix(const sonde_tensor *t, int64_t index, sonde_matrix_source *source)
{
    int32_t n = t->n_dims;
    int64_t rows = n >= 2 ? t->shape[n - 2] : 1, columns = n >= 1 ? t->shape[n - 1] : 1;
    int64_t elements = index * rows * columns;
    bool apart = t->scales && t->dtype == SONDE_DTYPE_MXFP4;
    size_t skip = apart ? (size_t)(elements / 2) : sonde_dtype_bytes(t->dtype, elements);
    *source = (sonde_matrix_source){.dtype = t->dtype, .data = (const uint8_t *)t->data + skip,
                                    .stored_cols = columns};
    if (!t->scales) return;
    source->scale_dtype = t->scales->dtype;
    source->scale_rows = t->scale_rows;
    source->scale_cols = t->scale_cols;
    source->stored_scale_cols = blocks_of(columns, t->scale_cols);
    int64_t each = blocks_of(rows, t->scale_rows) * source->stored_scale_cols;
    source->scales = (const uint8_t *)t->scales->data + sonde_dtype_bytes(t->scales->dtype, index * each);
}
