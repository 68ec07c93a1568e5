/*
 * bind.c - weights to roles: every tensor that the recipe uses is found and its shape checked; what
 * is missing, misshaped or unused is named. Matrices are only described: pack.c makes them ready.
 */
#include "model_internal.h"

#include <string.h>

const sonde_bound *sonde_model_bound(const sonde_model *model, sonde_role role, int64_t layer)
{
    for (int64_t i = 0; i < model->n_bound; i++)
        if (model->bound[i].role == role && model->bound[i].layer == layer) return &model->bound[i];
    return NULL;
}

void sonde_model_unbind(sonde_model *model)
{
    for (int64_t i = 0; i < model->n_bound; i++) {
        for (int64_t j = 0; j < model->bound[i].n_matrices; j++)
            sonde_free(model->bound[i].matrices[j].data);
        sonde_free(model->bound[i].matrices);
        sonde_free(model->bound[i].vector);
    }
    sonde_free(model->bound);
    model->bound = NULL;
    model->n_bound = 0;
}

static bool is_global(sonde_role role)
{
    return strstr(sonde_role_gguf_name(role), "%d") == NULL;
}

static void expected_name(const sonde_model *model, sonde_role role, int64_t layer, char name[160])
{
    const char *pattern = sonde_role_gguf_name(role);
    for (const sonde_weight_name *w = model->family->weights;
         !model->recipe->gguf && w->role != SONDE_ROLE_NONE; w++)
        if (w->role == role) pattern = w->pattern;
    sonde_weight_pattern(pattern, layer, 0, name);
}

/* ---- shapes -------------------------------------------------------------------------------------------- */

static void shape_text(const sonde_tensor *t, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (int32_t i = 0; i < t->n_dims && used < bytes; i++) {
        int n = snprintf(text + used, bytes - used, "%s%lld", i ? ", " : "",
                         (long long)t->shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

static sonde_status wrong_shape(const sonde_tensor *t, int64_t rows, int64_t cols, sonde_error *err)
{
    char got[96], expected[64];
    shape_text(t, got, sizeof got);
    if (cols > 0)
        snprintf(expected, sizeof expected, "%lld, %lld", (long long)rows, (long long)cols);
    else
        snprintf(expected, sizeof expected, "%lld", (long long)rows);
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: expected [%s], file has [%s]", t->file,
                      t->name, expected, got);
}

/* Rows that all roles stored in the same tensor take together. */
static int64_t stored_rows(const sonde_model *model, const sonde_tensor *tensor, sonde_role role,
                           int64_t layer, int64_t rows)
{
    int64_t sum = 0;
    uint32_t flags;
    sonde_role_rows slice;
    for (int64_t i = 0; i < model->recipe->n_steps; i++) {
        const sonde_step *s = &model->recipe->steps[i];
        if (s->kind != SONDE_STEP_LINEAR || s->layer != layer) continue;
        int64_t width = model->recipe->buffers[s->out[0]].width;
        const sonde_role used[2] = {s->weight, s->bias};
        for (int j = 0; j < 2; j++)
            if (used[j] != SONDE_ROLE_NONE &&
                sonde_recipe_tensor(model->recipe, used[j], layer, &flags, &slice) == tensor)
                sum += width;
    }
    (void)role;
    return sum > 0 ? sum : rows;
}

static sonde_status check_dtype(const sonde_tensor *t, sonde_error *err)
{
    if (sonde_dtype_decodes(t->dtype)) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: element type %s cannot be read by this "
                      "build", t->file, t->name, sonde_dtype_name(t->dtype));
}

static sonde_status find_tensor(const sonde_model *model, sonde_role role, int64_t layer,
                                const sonde_tensor **tensor, uint32_t *flags, sonde_role_rows *rows,
                                sonde_error *err)
{
    *tensor = sonde_recipe_tensor(model->recipe, role, layer, flags, rows);
    if (*tensor) return check_dtype(*tensor, err);
    char name[160];
    expected_name(model, role, layer, name);
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s is missing",
                      sonde_weights_path(model->weights), name);
}

/* ---- matrices ------------------------------------------------------------------------------------------ */

static sonde_status new_matrices(sonde_bound *bound, const sonde_tensor *t, int64_t n,
                                 sonde_error *err)
{
    bound->tensor = t;
    bound->matrices = sonde_alloc((size_t)n, sizeof *bound->matrices);
    if (!bound->matrices) return sonde_no_memory(err, t->name, (size_t)n * sizeof *bound->matrices);
    bound->n_matrices = n;
    return SONDE_OK;
}

static void set_matrix(const sonde_model *model, sonde_packed *m, const sonde_matrix_source *source)
{
    /* Products of scales have more digits than their factors. */
    bool scaled = source->scales && source->dtype != SONDE_DTYPE_MXFP4;
    sonde_dtype stored = scaled ? SONDE_DTYPE_F32 : source->dtype;
    *m = (sonde_packed){.dtype = model->backend->packed_dtype(stored), .rows = source->rows,
                        .cols = source->cols, .source = *source};
    m->bytes = model->backend->packed_bytes(m->dtype, m->rows, m->cols);
}

static sonde_status bind_matrix(sonde_model *model, sonde_bound *bound, int64_t rows, int64_t cols,
                                sonde_error *err)
{
    const sonde_tensor *t;
    uint32_t flags;
    sonde_role_rows slice;
    SONDE_TRY(find_tensor(model, bound->role, bound->layer, &t, &flags, &slice, err));
    bool transposed = (flags & SONDE_WEIGHT_TRANSPOSED) != 0 && !t->output_major;
    int64_t stored = stored_rows(model, t, bound->role, bound->layer, rows);
    int64_t first = transposed ? cols : stored, second = transposed ? stored : cols;
    if (t->n_dims != 2 || t->shape[0] != first || t->shape[1] != second)
        return wrong_shape(t, first, second, err);
    if (transposed && sonde_dtype_block_elements(t->dtype) != 1)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: %s blocks cannot be transposed",
                          t->file, t->name, sonde_dtype_name(t->dtype));
    sonde_matrix_source source;
    sonde_tensor_matrix(t, 0, &source);
    source.rows = rows;
    source.cols = cols;
    source.first_row = slice.first;
    source.take = slice.take;
    source.stride = slice.stride;
    source.transposed = transposed;
    source.unpermute = slice.unpermute_gguf;
    model->n_parameters += rows * cols;
    SONDE_TRY(new_matrices(bound, t, 1, err));
    set_matrix(model, &bound->matrices[0], &source);
    return SONDE_OK;
}

/* ---- a matrix for each head ---------------------------------------------------------------------------- */

typedef struct head_shape {
    int64_t n_heads, width, in; /* W[h] is [width, in] */
    bool transposed;            /* stored as [in, width] */
    int64_t stride, first;      /* stored rows from one head to the next; of the first head's first */
} head_shape;

static sonde_status head_shape_of(const sonde_tensor *t, uint32_t flags, const sonde_role_rows *slice,
                                  head_shape *shape, sonde_error *err)
{
    shape->transposed = slice->transpose_heads || (flags & SONDE_WEIGHT_TRANSPOSED) != 0;
    int64_t taken = shape->transposed ? shape->in : shape->width;
    int64_t cols = shape->transposed ? shape->width : shape->in;
    shape->stride = slice->take > 0 ? slice->stride : taken;
    shape->first = slice->first;
    int64_t rows = shape->n_heads * shape->stride;
    bool flat = t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols;
    bool stacked = t->n_dims == 3 && t->shape[0] == shape->n_heads && t->shape[1] == shape->stride &&
                   t->shape[2] == cols;
    return flat || stacked ? SONDE_OK : wrong_shape(t, rows, cols, err);
}

/* Rows of one head: outputs, or, where they are stored transposed, inputs. */
static sonde_matrix_source head_source(const sonde_tensor *t, const head_shape *shape, int64_t head)
{
    int64_t row = shape->first + head * shape->stride;
    sonde_matrix_source source;
    sonde_tensor_matrix(t, 0, &source);
    source.rows = shape->width;
    source.cols = shape->in;
    source.first_row = shape->transposed ? 0 : row;
    source.first_input = shape->transposed ? row : 0;
    source.transposed = shape->transposed;
    return source;
}

static sonde_status bind_heads(sonde_model *model, sonde_bound *bound, int64_t n_heads,
                               int64_t width, int64_t in, sonde_error *err)
{
    const sonde_tensor *t;
    uint32_t flags;
    sonde_role_rows slice;
    head_shape shape = {.n_heads = n_heads, .width = width, .in = in};
    SONDE_TRY(find_tensor(model, bound->role, bound->layer, &t, &flags, &slice, err));
    SONDE_TRY(head_shape_of(t, flags, &slice, &shape, err));
    SONDE_TRY(new_matrices(bound, t, n_heads, err));
    for (int64_t h = 0; h < n_heads; h++) {
        sonde_matrix_source source = head_source(t, &shape, h);
        set_matrix(model, &bound->matrices[h], &source);
    }
    if (!shape.transposed) model->n_parameters += n_heads * width * in;
    return SONDE_OK;
}

/* ---- vectors ------------------------------------------------------------------------------------------- */

/* A vector is a matrix of one column: the same slices and orders apply. */
static sonde_status bind_vector(sonde_model *model, sonde_bound *bound, int64_t length,
                                sonde_error *err)
{
    const sonde_tensor *t;
    uint32_t flags;
    sonde_role_rows slice;
    SONDE_TRY(find_tensor(model, bound->role, bound->layer, &t, &flags, &slice, err));
    int64_t stored = stored_rows(model, t, bound->role, bound->layer, length);
    if (t->n_dims != 1 || t->shape[0] != stored) return wrong_shape(t, stored, 0, err);
    if (sonde_dtype_block_elements(t->dtype) != 1)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: a vector stored as %s", t->file,
                          t->name, sonde_dtype_name(t->dtype));
    sonde_matrix_source source = {.dtype = t->dtype, .data = t->data, .rows = length, .cols = 1,
                                  .stored_cols = 1, .first_row = slice.first, .take = slice.take,
                                  .stride = slice.stride, .unpermute = slice.unpermute_gguf};
    bound->length = length;
    bound->vector = sonde_alloc((size_t)length + 32, model->backend->real_bytes);
    if (!bound->vector) return sonde_no_memory(err, t->name, (size_t)length * 8);
    for (int64_t i = 0; i < length; i++) {
        float value;
        sonde_matrix_row(&source, i, &value);
        if (flags & SONDE_WEIGHT_ADD_ONE) value = 1.0f + value;
        if (model->backend->real_bytes == sizeof(double)) ((double *)bound->vector)[i] = (double)value;
        else ((float *)bound->vector)[i] = value;
    }
    model->n_parameters += length;
    return SONDE_OK;
}

/* A new entry, or NULL when the role is bound already (or none, or there is no memory). */
static sonde_status new_bound(sonde_model *model, sonde_role role, int64_t layer, sonde_bound **out,
                              sonde_error *err)
{
    *out = NULL;
    if (role == SONDE_ROLE_NONE) return SONDE_OK;
    if (is_global(role)) layer = SONDE_GLOBAL;
    if (sonde_model_bound(model, role, layer)) return SONDE_OK;
    if (!sonde_grow(&model->bound, &model->bound_capacity, (size_t)model->n_bound + 1,
                    sizeof *model->bound))
        return sonde_no_memory(err, "the table of weights", 4096);
    *out = &model->bound[model->n_bound++];
    memset(*out, 0, sizeof **out);
    (*out)->role = role;
    (*out)->layer = layer;
    return SONDE_OK;
}

static sonde_status bind_role(sonde_model *model, sonde_role role, int64_t layer,
                              int64_t rows, int64_t cols, sonde_error *err)
{
    sonde_bound *bound;
    SONDE_TRY(new_bound(model, role, layer, &bound, err));
    if (!bound) return SONDE_OK;
    return cols > 0 ? bind_matrix(model, bound, rows, cols, err)
                    : bind_vector(model, bound, rows, err);
}

static sonde_status bind_heads_step(sonde_model *model, const sonde_step *s,
                                    sonde_error *err)
{
    sonde_bound *bound;
    int64_t n = s->u.heads.n_heads, width = model->recipe->buffers[s->out[0]].width / n;
    SONDE_TRY(new_bound(model, s->weight, s->layer, &bound, err));
    if (!bound) return SONDE_OK;
    return bind_heads(model, bound, n, width, s->u.heads.part[0].dims, err);
}

static sonde_status bind_step(sonde_model *model, const sonde_step *s,
                              sonde_error *err)
{
    const sonde_recipe *r = model->recipe;
    int64_t out = s->out[0] >= 0 ? r->buffers[s->out[0]].width : 0;
    switch (s->kind) {
    case SONDE_STEP_EMBED: {
        bool token = s->weight == SONDE_ROLE_TOKEN_EMBED;
        return bind_role(model, s->weight, SONDE_GLOBAL,
                         token ? r->dims.vocab : r->dims.max_positions, out, err);
    }
    case SONDE_STEP_LINEAR:
        SONDE_TRY(bind_role(model, s->weight, s->layer, out, r->buffers[s->in[0]].width, err));
        return bind_role(model, s->bias, s->layer, out, 0, err);
    case SONDE_STEP_NORM:
        SONDE_TRY(bind_role(model, s->weight, s->layer, s->u.norm.group, 0, err));
        return bind_role(model, s->bias, s->layer, s->u.norm.group, 0, err);
    case SONDE_STEP_HEADS: return bind_heads_step(model, s, err);
    case SONDE_STEP_ATTEND:
        return bind_role(model, s->weight, s->layer, s->u.attend.n_heads, 0, err);
    default: return SONDE_OK;
    }
}

/* ---- extra tensors ------------------------------------------------------------------------------------- */

static bool glob(const char *pattern, const char *text)
{
    if (*pattern == '\0') return *text == '\0';
    if (*pattern == '*') return glob(pattern + 1, text) || (*text && glob(pattern, text + 1));
    return *pattern == *text && glob(pattern + 1, text + 1);
}

static bool is_used(const sonde_model *model, const sonde_tensor *t)
{
    uint32_t flags;
    sonde_role_rows rows;
    for (int64_t i = 0; i < model->n_bound; i++)
        if (sonde_recipe_tensor(model->recipe, model->bound[i].role, model->bound[i].layer, &flags,
                                &rows) == t)
            return true;
    for (const char *const *p = model->family->ignored_weights; p && *p; p++)
        if (glob(*p, t->name)) return true;
    bool tied_copy = strcmp(t->name, "lm_head.weight") == 0 &&
                     !sonde_model_bound(model, SONDE_ROLE_LM_HEAD, SONDE_GLOBAL);
    return tied_copy;
}

static sonde_status refuse_extra(const sonde_model *model, sonde_error *err)
{
    int64_t extra = 0;
    const sonde_tensor *first = NULL;
    for (int64_t i = 0; i < sonde_weights_count(model->weights); i++) {
        const sonde_tensor *t = sonde_weights_at(model->weights, i);
        if (is_used(model, t)) continue;
        if (extra++ == 0) first = t;
    }
    if (extra == 0) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: %lld tensor%s that the %s family does not know, the "
                      "first is %s: the forward pass would leave it out", first->file,
                      (long long)extra, extra == 1 ? "" : "s", model->family->name, first->name);
}

sonde_status sonde_model_bind(sonde_model *model, sonde_error *err)
{
    sonde_status status = SONDE_OK;
    const sonde_recipe *r = model->recipe;
    for (int64_t i = 0; i < r->n_steps && status == SONDE_OK; i++)
        status = bind_step(model, &r->steps[i], err);
    for (int64_t i = 0; i < r->n_ropes && status == SONDE_OK; i++)
        if (r->ropes[i].freq_divisors != SONDE_ROLE_NONE)
            status = bind_role(model, r->ropes[i].freq_divisors, SONDE_GLOBAL,
                               r->ropes[i].rotary_dims / 2, 0, err);
    if (status == SONDE_OK) status = refuse_extra(model, err);
    return status;
}
