/*
 * pack.c - weights made ready to be multiplied with: packed into panels, or left where the file has
 * them. Both give the same bits; a packed matrix is faster, a mapped one takes no memory but the
 * page cache's, which gives way.
 */
#include "model_internal.h"

#include <string.h>

/* Weights may take this much of the memory that is free. */
#define FREE_SHARE 0.8
#define HUGE_PAGE ((size_t)2 << 20)

/* ---- which ------------------------------------------------------------------------------------------ */

static uint64_t budget_of(const sonde_model *model)
{
    if (model->memory > 0) return model->memory;
    uint64_t free_bytes = sonde_memory_available();
    return free_bytes > 0 ? (uint64_t)(FREE_SHARE * (double)free_bytes) : UINT64_MAX;
}

static uint64_t all_bytes(const sonde_model *model)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < model->n_bound; i++)
        for (int64_t j = 0; j < model->bound[i].n_matrices; j++)
            sum += model->bound[i].matrices[j].bytes;
    return sum;
}

/* Those that every row uses come first; of the others as many as still fit. */
static void choose(sonde_model *model)
{
    uint64_t left = model->off & SONDE_OFF_PACK ? 0 : budget_of(model);
    bool all = !(model->off & SONDE_OFF_PACK) && all_bytes(model) <= left;
    for (int rare = 0; rare < 2; rare++)
        for (int64_t i = 0; i < model->n_bound; i++) {
            sonde_bound *b = &model->bound[i];
            for (int64_t j = 0; j < b->n_matrices && b->rare == (rare == 1); j++) {
                sonde_packed *m = &b->matrices[j];
                m->mapped = !all && m->bytes > left;
                if (!m->mapped) left -= m->bytes;
            }
        }
}

/* ---- packing ------------------------------------------------------------------------------------------ */

typedef struct packer {
    const sonde_backend *backend;
    sonde_pool *pool;
    const sonde_packed *matrix;
    float *scratch; /* of each thread in turn */
    size_t scratch_floats;
} packer;

static void pack_range(void *context, int64_t begin, int64_t end, int thread)
{
    const packer *p = context;
    p->backend->pack(&p->matrix->source, p->matrix, begin, end,
                     p->scratch + (size_t)thread * p->scratch_floats);
}

static size_t aligned_bytes(const sonde_packed *m)
{
    return (m->bytes + SONDE_ALIGNMENT - 1) / SONDE_ALIGNMENT * SONDE_ALIGNMENT;
}

/* One block for all packed matrices, one after the other: huge pages then cover all of it, where
 * blocks of a few MB would end within such pages. A decode step reads it once; on an EPYC Milan
 * one thread reads it 1.3 times, two 1.15 times as fast as in small pages. */
static sonde_status place(sonde_model *model, sonde_error *err)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < model->n_bound; i++)
        for (int64_t j = 0; j < model->bound[i].n_matrices; j++)
            if (!model->bound[i].matrices[j].mapped)
                bytes += aligned_bytes(&model->bound[i].matrices[j]);
    if (bytes == 0) return SONDE_OK;
    size_t slack = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
    model->packed = sonde_alloc_raw(bytes + slack, 1);
    if (!model->packed) return sonde_no_memory(err, "the packed weights", bytes);
    char *at = model->packed;
    if (slack > 0) at += (HUGE_PAGE - (uintptr_t)at % HUGE_PAGE) % HUGE_PAGE;
    sonde_pages_huge(at, bytes);
    for (int64_t i = 0; i < model->n_bound; i++)
        for (int64_t j = 0; j < model->bound[i].n_matrices; j++) {
            sonde_packed *m = &model->bound[i].matrices[j];
            if (m->mapped) continue;
            m->data = at;
            at += aligned_bytes(m);
        }
    return SONDE_OK;
}

static sonde_status pack_matrix(packer *p, const sonde_packed *matrix, sonde_error *err)
{
    p->matrix = matrix;
    p->scratch_floats = sonde_pack_scratch_floats(matrix->cols);
    p->scratch = sonde_alloc_raw(p->scratch_floats * (size_t)sonde_pool_threads(p->pool),
                                 sizeof(float));
    if (!p->scratch) return sonde_no_memory(err, "packing scratch", p->scratch_floats * 4);
    sonde_pool_for(p->pool, (matrix->rows + SONDE_PANEL - 1) / SONDE_PANEL, 4, pack_range, p);
    sonde_free(p->scratch);
    return SONDE_OK;
}

/* All that lies in a tensor is packed: its pages may go, hashed before if that will be wanted. */
static void leave(const sonde_model *model, const sonde_tensor *tensor)
{
    if (!tensor) return;
    if (model->hash_early) sonde_weights_hash_tensor(model->weights, tensor);
    sonde_pages_release(tensor->data, tensor->bytes);
}

static sonde_status pack_all(sonde_model *model, packer *p, sonde_error *err)
{
    const sonde_tensor *last = NULL;
    for (int64_t i = 0; i < model->n_bound; i++) {
        sonde_bound *b = &model->bound[i];
        for (int64_t j = 0; j < b->n_matrices; j++) {
            if (b->matrices[j].mapped) continue;
            if (last != b->tensors[j]) leave(model, last);
            last = b->tensors[j];
            SONDE_TRY(pack_matrix(p, &b->matrices[j], err));
        }
    }
    leave(model, last);
    return SONDE_OK;
}

/* Pages that reading vectors brought in: the machine maps their neighbours too. */
static void release_tensors(const sonde_model *model)
{
    for (int64_t i = 0; i < sonde_weights_count(model->weights); i++) {
        const sonde_tensor *tensor = sonde_weights_at(model->weights, i);
        sonde_pages_release(tensor->data, tensor->bytes);
    }
}

/* ---- what became of them -------------------------------------------------------------------------------- */

static sonde_weight_kept *kept_group(sonde_model *model, const sonde_packed *m)
{
    const char *stored = sonde_dtype_name(m->source.dtype);
    const char *kept = sonde_dtype_name(m->mapped ? m->source.dtype : m->dtype);
    for (int64_t i = 0; i < model->n_kept; i++) {
        sonde_weight_kept *group = &model->kept[i];
        if (group->mapped == m->mapped && strcmp(group->stored, stored) == 0 &&
            strcmp(group->kept, kept) == 0)
            return group;
    }
    if (model->n_kept == (int64_t)SONDE_COUNT(model->kept)) return &model->kept[model->n_kept - 1];
    model->kept[model->n_kept] =
        (sonde_weight_kept){.stored = stored, .kept = kept, .mapped = m->mapped};
    return &model->kept[model->n_kept++];
}

static void count_matrix(sonde_model *model, const sonde_packed *m)
{
    sonde_weight_kept *group = kept_group(model, m);
    uint64_t stored = sonde_dtype_bytes(m->source.dtype, m->rows * m->cols);
    group->n_matrices++;
    group->stored_bytes += stored;
    if (m->mapped) {
        model->mapped_bytes += stored;
        return;
    }
    group->kept_bytes += m->bytes;
    model->packed_bytes += m->bytes;
}

static void count(sonde_model *model)
{
    for (int64_t i = 0; i < model->n_bound; i++)
        for (int64_t j = 0; j < model->bound[i].n_matrices; j++)
            count_matrix(model, &model->bound[i].matrices[j]);
}

/* "q4_k widened to f32, 3.1 GB read from the file" */
static void write_note(sonde_model *model)
{
    sonde_string note = {0};
    char bytes[32];
    for (int64_t i = 0; i < model->n_kept; i++) {
        const sonde_weight_kept *k = &model->kept[i];
        if (k->mapped || strcmp(k->stored, k->kept) == 0) continue;
        sonde_string_format(&note, "%s%s widened to %s", note.length ? ", " : "", k->stored, k->kept);
    }
    if (model->mapped_bytes > 0)
        sonde_string_format(&note, "%s%s more read from the file when they are used",
                            note.length ? ", " : "", sonde_format_bytes(model->mapped_bytes, bytes));
    if (!note.failed && note.length)
        snprintf(model->packed_note, sizeof model->packed_note, "%s", note.data);
    sonde_string_reset(&note);
}

sonde_status sonde_model_pack(sonde_model *model, int threads, sonde_error *err)
{
    char packed[32];
    choose(model);
    count(model);
    write_note(model);
    if (model->mapped_bytes > 0)
        sonde_log(SONDE_LOG_INFO, "%s: weights packed into %s of memory, %s",
                  sonde_weights_path(model->weights), sonde_format_bytes(model->packed_bytes, packed),
                  model->packed_note);
    packer p = {.backend = model->backend};
    sonde_status status = SONDE_OK;
    if (!model->shape_only) {
        SONDE_TRY(place(model, err));
        SONDE_TRY(sonde_pool_create(threads, &p.pool, err));
        status = pack_all(model, &p, err);
        sonde_pool_destroy(&p.pool);
    }
    release_tensors(model);
    return status;
}
