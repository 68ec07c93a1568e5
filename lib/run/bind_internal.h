/* bind_internal.h - what the files that bind weights to roles share. */
#ifndef SONDE_BIND_INTERNAL_H
#define SONDE_BIND_INTERNAL_H

#include "model_internal.h"

/* How one matrix of a role lies in its tensor. */
typedef struct sonde_bind_shape {
    int64_t n;             /* matrices stacked in the tensor; 0: it is one matrix */
    int64_t rows, cols;    /* of one as the product sees it */
    int64_t stored_rows;   /* outputs of the tensor, which several roles may share */
    bool transposed;
    sonde_role_rows slice;
} sonde_bind_shape;

/* Checks the tensor against the shape. */
sonde_status sonde_bind_check(const sonde_tensor *t, const sonde_bind_shape *shape, sonde_error *err);
/* Describes matrix `index` of the tensor as matrix `at` of the role. */
void sonde_bind_set(const sonde_model *model, sonde_bound *bound, int64_t at, const sonde_tensor *t,
                    const sonde_bind_shape *shape, int64_t index);
sonde_status sonde_bind_alloc(sonde_bound *bound, int64_t n, sonde_error *err);
/* Marks a tensor as used and refuses an element type that cannot be read. */
sonde_status sonde_bind_use(sonde_model *model, const sonde_tensor *t, sonde_error *err);
/* After all roles are bound: tensors that were not used are refused, but for harmless ones. Warns of an
 * output matrix that differs from the embedding it is tied to. */
sonde_status sonde_bind_check_rest(const sonde_model *model, sonde_error *err);
sonde_status sonde_bind_missing(const sonde_model *model, sonde_role role, int64_t layer,
                                int64_t expert, sonde_error *err);
/* Outputs that all roles stored in the same tensor take together; `rows` where no product is. */
int64_t sonde_bind_stored_rows(const sonde_model *model, const sonde_tensor *tensor, int64_t layer,
                               int64_t rows);
/* Decodes elements [0, n) of a vector's source, adding one where the flags say so, into reals. */
void sonde_bind_decode(const sonde_model *model, const sonde_matrix_source *source, uint32_t flags,
                       void *reals);

/* bind_experts.c: a matrix of [rows, cols], or a vector of `rows`, for each of n experts. */
sonde_status sonde_bind_experts(sonde_model *model, sonde_bound *bound, int64_t n, int64_t rows,
                                int64_t cols, sonde_error *err);
sonde_status sonde_bind_own_vectors(sonde_model *model, sonde_bound *bound, int64_t n, int64_t rows,
                                      sonde_error *err);

#endif
