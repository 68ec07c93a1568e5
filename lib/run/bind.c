/*
 * bind.c - weights to roles: every tensor that the recipe uses is found and its shape checked; what
 * is missing, misshaped or unused is named. Matrices are only described: pack.c makes them ready.
 */
#include "bind_internal.h"

#include <string.h>

/* One place for each role and layer, SONDE_GLOBAL first. */
static int64_t place_of(sonde_role role, int64_t layer)
{
    return (layer + 1) * SONDE_ROLE_COUNT + role;
}

const sonde_bound *sonde_model_bound(const sonde_model *model, sonde_role role, int64_t layer)
{
    if (!model->bound_at || layer >= model->recipe->dims.n_layers) return NULL;
    int32_t at = model->bound_at[place_of(role, layer)];
    return at > 0 ? &model->bound[at - 1] : NULL;
}

void sonde_model_unbind(sonde_model *model)
{
    for (int64_t i = 0; i < model->n_bound; i++) {
        sonde_free(model->bound[i].matrices);
        sonde_free(model->bound[i].tensors);
        sonde_free(model->bound[i].vector);
    }
    sonde_free(model->bound);
    sonde_free(model->bound_at);
    sonde_free(model->used);
    sonde_free(model->packed);
    model->packed = NULL;
    model->bound = NULL;
    model->bound_at = NULL;
    model->used = NULL;
    model->n_bound = 0;
}

static bool is_global(sonde_role role)
{
    return strstr(sonde_role_gguf_name(role), "%d") == NULL;
}

/* ---- shapes -------------------------------------------------------------------------------------------- */

static sonde_status wrong_shape(const sonde_tensor *t, int64_t n, int64_t rows, int64_t cols,
                                sonde_error *err)
{
    char got[SONDE_SHAPE_BYTES], expected[96] = "";
    int64_t want[3] = {n, rows, cols};
    size_t used = 0;
    for (int i = 0; i < 3; i++)
        if (want[i] > 0)
            used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%lld",
                                     used ? ", " : "", (long long)want[i]);
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: expected [%s], file has %s", t->file,
                      t->name, expected, sonde_shape_text(t, got));
}

sonde_status sonde_bind_check(const sonde_tensor *t, const sonde_bind_shape *s, sonde_error *err)
{
    bool turned = s->transposed && s->cols > 0;
    int64_t rows = turned ? s->cols : s->stored_rows, cols = turned ? s->stored_rows : s->cols;
    int32_t first = s->n > 0, n_dims = first + (s->cols > 0 ? 2 : 1);
    bool good = t->n_dims == n_dims && (s->n == 0 || t->shape[0] == s->n) && t->shape[first] == rows;
    if (!good || (s->cols > 0 && t->shape[first + 1] != cols)) return wrong_shape(t, s->n, rows, cols, err);
    if (sonde_dtype_block_elements(t->dtype) == 1) return SONDE_OK;
    if (s->cols == 0)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: a vector stored as %s", t->file,
                          t->name, sonde_dtype_name(t->dtype));
    if (s->transposed)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: %s blocks cannot be transposed",
                          t->file, t->name, sonde_dtype_name(t->dtype));
    return SONDE_OK;
}

/* Outputs of a step's weight: of one expert. */
static int64_t outputs_of(const sonde_recipe *r, const sonde_step *s)
{
    const sonde_buffer *out = &r->buffers[s->out[0]];
    return s->kind == SONDE_STEP_EXPERTS ? out->width / out->slots : out->width;
}

static bool lies_in(const sonde_recipe *r, const sonde_step *s, sonde_role role, const sonde_tensor *t)
{
    uint32_t flags;
    sonde_role_rows slice;
    if (role == SONDE_ROLE_NONE) return false;
    if (sonde_recipe_tensor(r, role, s->layer, &flags, &slice) == t) return true;
    return s->kind == SONDE_STEP_EXPERTS &&
           sonde_recipe_expert_tensor(r, role, s->layer, 0, &flags, &slice) == t;
}

int64_t sonde_bind_stored_rows(const sonde_model *model, const sonde_tensor *tensor, int64_t layer,
                               int64_t rows)
{
    int64_t sum = 0;
    const sonde_recipe *r = model->recipe;
    for (int64_t i = 0; i < r->n_steps; i++) {
        const sonde_step *s = &r->steps[i];
        bool product = s->kind == SONDE_STEP_LINEAR || s->kind == SONDE_STEP_EXPERTS;
        if (!product || s->layer != layer) continue;
        if (lies_in(r, s, s->weight, tensor)) sum += outputs_of(r, s);
        if (lies_in(r, s, s->bias, tensor)) sum += outputs_of(r, s);
    }
    return sum > 0 ? sum : rows;
}

/* ---- finding ------------------------------------------------------------------------------------------- */

/* A name that the weight would have: the family's first one. */
sonde_status sonde_bind_missing(const sonde_model *model, sonde_role role, int64_t layer,
                                int64_t expert, sonde_error *err)
{
    char name[SONDE_WEIGHT_NAME_BYTES];
    const char *pattern = sonde_role_gguf_name(role);
    const sonde_weight_name *w = model->recipe->gguf ? NULL : model->family->weights;
    while (w && w->role != SONDE_ROLE_NONE && w->role != role) w++;
    if (w && w->role == role) pattern = w->pattern;
    sonde_weight_pattern(pattern, layer, expert, name);
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s is missing",
                      sonde_weights_path(model->weights), name);
}

/* Whole numbers in safetensors are quants whose scales stand elsewhere: never weights themselves. */
static bool is_readable(const sonde_model *model, sonde_dtype dtype)
{
    bool whole = dtype == SONDE_DTYPE_I8 || dtype == SONDE_DTYPE_I16 || dtype == SONDE_DTYPE_I32 ||
                 dtype == SONDE_DTYPE_I64;
    return sonde_dtype_decodes(dtype) && (model->recipe->gguf || !whole);
}

sonde_status sonde_bind_use(sonde_model *model, const sonde_tensor *t, sonde_error *err)
{
    model->used[t - sonde_weights_at(model->weights, 0)] = true;
    if (is_readable(model, t->dtype)) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s: element type %s cannot be read by this "
                      "build", t->file, t->name, sonde_dtype_name(t->dtype));
}

static sonde_status find_tensor(sonde_model *model, const sonde_bound *bound, const sonde_tensor **tensor,
                                uint32_t *flags, sonde_role_rows *rows, sonde_error *err)
{
    *tensor = sonde_recipe_tensor(model->recipe, bound->role, bound->layer, flags, rows);
    if (*tensor) return sonde_bind_use(model, *tensor, err);
    return sonde_bind_missing(model, bound->role, bound->layer, 0, err);
}

/* ---- matrices ------------------------------------------------------------------------------------------ */

sonde_status sonde_bind_alloc(sonde_bound *bound, int64_t n, sonde_error *err)
{
    bound->matrices = sonde_alloc((size_t)n, sizeof *bound->matrices);
    bound->tensors = sonde_alloc((size_t)n, sizeof *bound->tensors);
    if (!bound->matrices || !bound->tensors)
        return sonde_no_memory(err, "the table of weights", (size_t)n * sizeof *bound->matrices);
    bound->n_matrices = n;
    return SONDE_OK;
}

static void set_matrix(const sonde_model *model, sonde_bound *bound, int64_t at, const sonde_tensor *t,
                       const sonde_matrix_source *source)
{
    /* Products of scales have more digits than their factors. */
    bool scaled = source->scales && source->dtype != SONDE_DTYPE_MXFP4;
    sonde_dtype stored = scaled ? SONDE_DTYPE_F32 : source->dtype;
    sonde_packed *m = &bound->matrices[at];
    *m = (sonde_packed){.dtype = model->backend->packed_dtype(stored), .rows = source->rows,
                        .cols = source->cols, .source = *source};
    /* Products of integers have no widened form. */
    bool widen = (model->off & SONDE_OFF_QUANT) && model->backend->exact;
    if (!widen && model->backend->keeps && model->backend->keeps(source)) m->dtype = source->dtype;
    m->bytes = model->backend->packed_bytes(m->dtype, m->rows, m->cols);
    bound->tensors[at] = t;
}

void sonde_bind_set(const sonde_model *model, sonde_bound *bound, int64_t at, const sonde_tensor *t,
                    const sonde_bind_shape *shape, int64_t index)
{
    sonde_matrix_source source;
    sonde_tensor_matrix(t, index, &source);
    source.rows = shape->rows;
    source.cols = shape->cols;
    source.first_row = shape->slice.first;
    source.take = shape->slice.take;
    source.stride = shape->slice.stride;
    source.transposed = shape->transposed;
    source.unpermute = shape->slice.unpermute_gguf;
    set_matrix(model, bound, at, t, &source);
}

static sonde_status bind_matrix(sonde_model *model, sonde_bound *bound, int64_t rows, int64_t cols,
                                sonde_error *err)
{
    const sonde_tensor *t;
    uint32_t flags;
    sonde_bind_shape shape = {.rows = rows, .cols = cols};
    SONDE_TRY(find_tensor(model, bound, &t, &flags, &shape.slice, err));
    shape.transposed = (flags & SONDE_WEIGHT_TRANSPOSED) != 0 && !t->output_major;
    shape.stored_rows = sonde_bind_stored_rows(model, t, bound->layer, rows);
    SONDE_TRY(sonde_bind_check(t, &shape, err));
    model->n_parameters += rows * cols;
    SONDE_TRY(sonde_bind_alloc(bound, 1, err));
    sonde_bind_set(model, bound, 0, t, &shape, 0);
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
    return flat || stacked ? SONDE_OK : wrong_shape(t, 0, rows, cols, err);
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
    SONDE_TRY(find_tensor(model, bound, &t, &flags, &slice, err));
    SONDE_TRY(head_shape_of(t, flags, &slice, &shape, err));
    SONDE_TRY(sonde_bind_alloc(bound, n_heads, err));
    for (int64_t h = 0; h < n_heads; h++) {
        sonde_matrix_source source = head_source(t, &shape, h);
        set_matrix(model, bound, h, t, &source);
    }
    if (!shape.transposed) model->n_parameters += n_heads * width * in;
    return SONDE_OK;
}

/* ---- vectors ------------------------------------------------------------------------------------------- */

void sonde_bind_decode(const sonde_model *model, const sonde_matrix_source *source, uint32_t flags,
                       void *reals)
{
    for (int64_t i = 0; i < source->rows; i++) {
        float value;
        sonde_matrix_row(source, i, &value);
        if (flags & SONDE_WEIGHT_ADD_ONE) value = 1.0f + value;
        if (model->backend->real_bytes == sizeof(double)) ((double *)reals)[i] = (double)value;
        else ((float *)reals)[i] = value;
    }
}

/* A vector is a matrix of one column: the same slices and orders apply. One
 * of groups > 0 may be stored as [groups, length / groups] too. */
static sonde_status bind_vector(sonde_model *model, sonde_bound *bound, int64_t length,
                                int64_t groups, sonde_error *err)
{
    const sonde_tensor *t;
    uint32_t flags;
    sonde_role_rows slice;
    SONDE_TRY(find_tensor(model, bound, &t, &flags, &slice, err));
    sonde_bind_shape shape = {.stored_rows =
                                  sonde_bind_stored_rows(model, t, bound->layer, length)};
    if (groups > 0 && t->n_dims == 2)
        shape = (sonde_bind_shape){.n = groups, .stored_rows = length / groups};
    SONDE_TRY(sonde_bind_check(t, &shape, err));
    sonde_matrix_source source = {.dtype = t->dtype, .data = t->data, .rows = length, .cols = 1,
                                  .stored_cols = 1, .first_row = slice.first, .take = slice.take,
                                  .stride = slice.stride, .unpermute = slice.unpermute_gguf};
    bound->length = length;
    bound->vector = sonde_alloc((size_t)length + 32, model->backend->real_bytes);
    if (!bound->vector) return sonde_no_memory(err, t->name, (size_t)length * 8);
    sonde_bind_decode(model, &source, flags, bound->vector);
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
    model->bound_at[place_of(role, layer)] = (int32_t)model->n_bound;
    return SONDE_OK;
}

static sonde_status bind_role(sonde_model *model, sonde_role role, int64_t layer,
                              int64_t rows, int64_t cols, sonde_error *err)
{
    sonde_bound *bound;
    SONDE_TRY(new_bound(model, role, layer, &bound, err));
    if (!bound) return SONDE_OK;
    return cols > 0 ? bind_matrix(model, bound, rows, cols, err)
                    : bind_vector(model, bound, rows, 0, err);
}

/* Weights of a norm: of one group for all of them, or for each its own (in one tensor, or a tensor
 * each). */
static sonde_status bind_norm(sonde_model *model, const sonde_step *s, sonde_role role,
                              sonde_error *err)
{
    sonde_bound *bound;
    const sonde_norm_spec *spec = &s->u.norm;
    int64_t width = model->recipe->buffers[s->in[0]].width;
    SONDE_TRY(new_bound(model, role, s->layer, &bound, err));
    if (!bound) return SONDE_OK;
    if (!spec->weight_per_group) return bind_vector(model, bound, spec->group, 0, err);
    uint32_t flags;
    sonde_role_rows slice;
    if (!sonde_recipe_tensor(model->recipe, role, s->layer, &flags, &slice))
        return sonde_bind_own_vectors(model, bound, width / spec->group, spec->group, err);
    return bind_vector(model, bound, width, width / spec->group, err);
}

static sonde_status bind_heads_step(sonde_model *model, const sonde_step *s, sonde_error *err)
{
    sonde_bound *bound;
    int64_t n = s->u.heads.n_heads, width = model->recipe->buffers[s->out[0]].width / n;
    SONDE_TRY(new_bound(model, s->weight, s->layer, &bound, err));
    if (!bound) return SONDE_OK;
    return bind_heads(model, bound, n, width, s->u.heads.part[0].dims, err);
}

static sonde_status bind_experts_step(sonde_model *model, const sonde_step *s, int64_t n_experts,
                                      sonde_error *err)
{
    sonde_bound *bound;
    const sonde_buffer *x = &model->recipe->buffers[s->in[0]];
    int64_t rows = outputs_of(model->recipe, s);
    SONDE_TRY(new_bound(model, s->weight, s->layer, &bound, err));
    if (bound)
        SONDE_TRY(sonde_bind_experts(model, bound, n_experts, rows, x->width / SONDE_MAX(x->slots, 1),
                                     err));
    SONDE_TRY(new_bound(model, s->bias, s->layer, &bound, err));
    return bound ? sonde_bind_own_vectors(model, bound, n_experts, rows, err) : SONDE_OK;
}

static sonde_status bind_rope(sonde_model *model, const sonde_rope_spec *spec, sonde_error *err)
{
    const sonde_role roles[3] = {spec->freq_divisors, spec->short_divisors, spec->long_divisors};
    for (int i = 0; i < 3; i++)
        SONDE_TRY(bind_role(model, roles[i], SONDE_GLOBAL, spec->rotary_dims / 2, 0, err));
    return SONDE_OK;
}

static sonde_status bind_step(sonde_model *model, const sonde_step *s, sonde_error *err)
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
        SONDE_TRY(bind_norm(model, s, s->weight, err));
        return bind_norm(model, s, s->bias, err);
    case SONDE_STEP_HEADS: return bind_heads_step(model, s, err);
    case SONDE_STEP_EXPERTS: return bind_experts_step(model, s, r->buffers[s->in[1]].experts, err);
    case SONDE_STEP_ROUTE:
        return bind_role(model, s->weight, s->layer, s->u.route.n_experts, 0, err);
    case SONDE_STEP_ATTEND:
        return bind_role(model, s->weight, s->layer, s->u.attend.n_heads, 0, err);
    default: return SONDE_OK;
    }
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

sonde_status sonde_model_bind(sonde_model *model, sonde_error *err)
{
    sonde_status status = SONDE_OK;
    const sonde_recipe *r = model->recipe;
    size_t places = (size_t)place_of(0, r->dims.n_layers);
    model->bound_at = sonde_alloc(places, sizeof *model->bound_at);
    model->used = sonde_alloc((size_t)sonde_weights_count(model->weights) + 1, sizeof *model->used);
    if (!model->bound_at || !model->used) return sonde_no_memory(err, "the table of weights", places);
    for (int64_t i = 0; i < r->n_steps && status == SONDE_OK; i++)
        status = bind_step(model, &r->steps[i], err);
    for (int64_t i = 0; i < r->n_ropes && status == SONDE_OK; i++)
        status = bind_rope(model, &r->ropes[i], err);
    if (status == SONDE_OK) status = sonde_bind_check_rest(model, err);
    return status;
}
