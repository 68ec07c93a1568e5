/*
 * bind_experts.c - the weights of experts: all stacked in one tensor ([experts, out, in], or
 * [experts, in, out]), or each in a tensor of its own.
 */
#include "bind_internal.h"

/* The tensor of an expert that has one of its own. */
static sonde_status find_own(sonde_model *model, const sonde_bound *bound, int64_t expert,
                             const sonde_tensor **t, uint32_t *flags, sonde_role_rows *slice,
                             sonde_error *err)
{
    *t = sonde_recipe_expert_tensor(model->recipe, bound->role, bound->layer, expert, flags, slice);
    if (!*t) return sonde_bind_missing(model, bound->role, bound->layer, expert, err);
    return sonde_bind_use(model, *t, err);
}

static sonde_status bind_stack(sonde_model *model, sonde_bound *bound, const sonde_tensor *t,
                               sonde_bind_shape *shape, sonde_error *err)
{
    SONDE_TRY(sonde_bind_use(model, t, err));
    SONDE_TRY(sonde_bind_check(t, shape, err));
    for (int64_t e = 0; e < shape->n; e++) sonde_bind_set(model, bound, e, t, shape, e);
    return SONDE_OK;
}

static sonde_status bind_own(sonde_model *model, sonde_bound *bound, int64_t n,
                             sonde_bind_shape *shape, sonde_error *err)
{
    for (int64_t e = 0; e < n; e++) {
        const sonde_tensor *t;
        uint32_t flags;
        SONDE_TRY(find_own(model, bound, e, &t, &flags, &shape->slice, err));
        if (e == 0)
            shape->stored_rows = sonde_bind_stored_rows(model, t, bound->layer, shape->rows);
        shape->transposed = (flags & SONDE_WEIGHT_TRANSPOSED) != 0 && !t->output_major;
        SONDE_TRY(sonde_bind_check(t, shape, err));
        sonde_bind_set(model, bound, e, t, shape, 0);
    }
    return SONDE_OK;
}

sonde_status sonde_bind_experts(sonde_model *model, sonde_bound *bound, int64_t n, int64_t rows,
                                int64_t cols, sonde_error *err)
{
    uint32_t flags;
    sonde_bind_shape shape = {.rows = rows, .cols = cols};
    const sonde_tensor *t =
        sonde_recipe_tensor(model->recipe, bound->role, bound->layer, &flags, &shape.slice);
    bound->rare = true;
    model->n_parameters += n * rows * cols;
    SONDE_TRY(sonde_bind_alloc(bound, n, err));
    if (!t) return bind_own(model, bound, n, &shape, err);
    shape.n = n;
    shape.stored_rows = sonde_bind_stored_rows(model, t, bound->layer, rows);
    shape.transposed = (flags & SONDE_WEIGHT_TRANSPOSED) != 0 && !t->output_major;
    return bind_stack(model, bound, t, &shape, err);
}

/* Biases are one vector [experts, rows]; stored, a row for each expert, or a tensor for each. */
sonde_status sonde_bind_own_vectors(sonde_model *model, sonde_bound *bound, int64_t n, int64_t rows,
                                      sonde_error *err)
{
    uint32_t flags;
    sonde_role_rows slice;
    const sonde_tensor *t =
        sonde_recipe_tensor(model->recipe, bound->role, bound->layer, &flags, &slice);
    bool stacked = t != NULL;
    size_t real = model->backend->real_bytes;
    bound->length = n * rows;
    bound->vector = sonde_alloc((size_t)bound->length + 32, real);
    if (!bound->vector) return sonde_no_memory(err, "biases of experts", (size_t)bound->length * real);
    for (int64_t e = 0; e < n; e++) {
        if (!stacked) SONDE_TRY(find_own(model, bound, e, &t, &flags, &slice, err));
        if (stacked && e == 0) SONDE_TRY(sonde_bind_use(model, t, err));
        int64_t stored = sonde_bind_stored_rows(model, t, bound->layer, rows);
        sonde_bind_shape shape = {.n = stacked ? n : 0, .rows = rows, .stored_rows = stored};
        SONDE_TRY(sonde_bind_check(t, &shape, err));
        size_t skip = stacked ? sonde_dtype_bytes(t->dtype, e * stored) : 0;
        sonde_matrix_source source = {.dtype = t->dtype, .data = (const char *)t->data + skip,
                                      .rows = rows, .cols = 1, .stored_cols = 1,
                                      .first_row = slice.first, .take = slice.take,
                                      .stride = slice.stride};
        sonde_bind_decode(model, &source, flags, (char *)bound->vector + (size_t)(e * rows) * real);
    }
    model->n_parameters += bound->length;
    return SONDE_OK;
}
