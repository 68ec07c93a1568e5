/* speed.c - how fast this machine multiplies with a model's backend: one short product, timed. */
#include "model_internal.h"
#include "run.h"

#define ROWS 96
#define OUT 512
#define IN 512

typedef struct trial {
    const sonde_backend *backend;
    float *source;
    void *x, *y, *scratch;
    sonde_packed packed;
} trial;

static bool alloc_trial(trial *t)
{
    t->source = sonde_alloc((size_t)OUT * IN, sizeof *t->source);
    t->packed = (sonde_packed){.dtype = t->backend->packed_dtype(SONDE_DTYPE_F32), .rows = OUT,
                               .cols = IN};
    t->packed.bytes = t->backend->packed_bytes(t->packed.dtype, OUT, IN);
    t->packed.data = sonde_alloc(t->packed.bytes, 1);
    t->x = sonde_alloc((size_t)ROWS * IN, t->backend->real_bytes);
    t->y = sonde_alloc((size_t)ROWS * OUT, t->backend->real_bytes);
    return t->source && t->packed.data && t->x && t->y;
}

static void free_trial(trial *t)
{
    void *blocks[] = {t->source, t->packed.data, t->x, t->y, t->scratch};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

static bool pack_trial(trial *t)
{
    sonde_matrix_source source = {.dtype = SONDE_DTYPE_F32, .data = t->source, .rows = OUT,
                                  .cols = IN, .stored_cols = IN};
    float *scratch = sonde_alloc(sonde_pack_scratch_floats(IN), sizeof *scratch);
    if (!scratch) return false;
    t->backend->pack(&source, &t->packed, 0, OUT / SONDE_PANEL, scratch);
    sonde_free(scratch);
    return true;
}

/* The best of a few: others on the machine only ever slow it down. */
static double best_seconds(trial *t)
{
    sonde_linear_args args = {.x = t->x, .x_stride = IN, .m = ROWS, .n_parts = 1};
    args.parts[0] = (sonde_linear_part){.weight = &t->packed, .y = t->y, .y_stride = OUT};
    t->scratch = sonde_alloc(t->backend->linear_scratch(&args), 1);
    if (!t->scratch) return 0.0;
    double best = 0.0;
    for (int i = 0; i < 8; i++) {
        uint64_t begin = sonde_now_ns();
        t->backend->linear(&args, 0, t->backend->linear_units(&args), t->scratch);
        double took = (double)(sonde_now_ns() - begin) * 1e-9;
        if (i == 0 || took < best) best = took;
    }
    return best;
}

double sonde_model_flops_per_second(const sonde_model *model)
{
    trial t = {.backend = model->backend};
    double seconds = alloc_trial(&t) && pack_trial(&t) ? best_seconds(&t) : 0.0;
    free_trial(&t);
    return seconds > 0.0 ? 2.0 * ROWS * OUT * IN / seconds : 0.0;
}
