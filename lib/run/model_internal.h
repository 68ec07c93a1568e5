/*
 * model_internal.h - an opened checkpoint: its recipe, hook table and weights packed for a backend.
 */
#ifndef SONDE_MODEL_INTERNAL_H
#define SONDE_MODEL_INTERNAL_H

#include "core/pool.h"
#include "kernels/kernels.h"
#include "recipe_internal.h"
#include "sonde/model.h"

#include <pthread.h>

/* A weight of the recipe: a matrix (LINEAR, EMBED), one for each head or expert (HEADS, EXPERTS), or
 * a vector. */
typedef struct sonde_bound {
    sonde_role role;
    int64_t layer;
    bool rare; /* some rows use it only (an expert): the first to stay in the file */
    sonde_packed *matrices;       /* [n_matrices] */
    const sonde_tensor **tensors; /* [n_matrices] where each is stored */
    int64_t n_matrices;           /* 0: a vector */
    void *vector; /* reals [length] */
    int64_t length;
} sonde_bound;

struct sonde_model {
    sonde_weights *weights;
    const sonde_family *family;
    sonde_recipe *recipe;
    const sonde_backend *backend;
    bool shape_only;
    sonde_hook_point *points;
    int64_t n_points;
    sonde_bound *bound;
    int64_t n_bound;
    size_t bound_capacity;
    int32_t *bound_at; /* [n_layers + 1][roles] place in `bound` + 1; 0: not bound */
    bool *used;        /* [tensors] read by some step */
    int64_t n_parameters;
    uint64_t memory; /* bound on packed weights; 0: what the machine has */
    uint32_t off;    /* SONDE_OFF_PACK */
    bool hash_early; /* tensors are hashed as they are packed: their bytes are read once */
    void *packed;    /* all packed matrices, one block */
    uint64_t file_bytes, packed_bytes, mapped_bytes;
    sonde_weight_kept kept[32];
    int64_t n_kept;
    char stored_dtypes[160], packed_note[256];
    int64_t eos[16];
    int64_t n_eos;
    pthread_mutex_t lock; /* guards what is made at the first call */
    sonde_tokenizer *tokenizer;
    sonde_chat *chat;
};

/* Finds every weight the recipe uses, and refuses what is missing, misshaped or left over. */
sonde_status sonde_model_bind(sonde_model *model, sonde_error *err);
/* Decides what is packed and what stays mapped, and packs (unless the model is measured only). */
sonde_status sonde_model_pack(sonde_model *model, int threads, sonde_error *err);
void sonde_model_unbind(sonde_model *model);
/* The bound weight, or NULL (not used by the recipe, or shape only). */
const sonde_bound *sonde_model_bound(const sonde_model *model, sonde_role role, int64_t layer);
/* Makes the table of hook points from the recipe. */
sonde_status sonde_model_make_points(sonde_model *model, sonde_error *err);

#endif
