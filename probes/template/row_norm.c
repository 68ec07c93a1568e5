/*
 * row_norm.c - a probe to start from: copy this folder, rename, change.
 *
 * It emits one number for every row of every selected point (its norm), and at the end one table
 * with the mean norm per point. sonde/probe.h is the only header of sonde that a probe needs; it is
 * also the manual.
 *
 *   make                                              builds row_norm.so (needs `make install`)
 *   sonde capture MODEL PROMPTS -o out.h5 --probe ./row_norm.so:norm=max,points=blocks.*.mlp.out
 *
 * In the file: /probes/row_norm/<point>/norm [rows] and /probes/row_norm/mean_norm [points].
 */
#include <sonde/probe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- 1. instance: what one --probe knows --------------------------------------------------------
 * The host allocates it zeroed and fills in the options before `setup`. Several threads read it at
 * once: after `setup` it must not change. */

enum { NORM_L2, NORM_MAX };
static const char *const norms[] = {"l2", "max", NULL};

typedef struct row_norm {
    int64_t norm;        /* a CHOICE option: index into norms */
    uint32_t *outputs;   /* [n_points] ours: from setup to reset */
    uint32_t n_points;
} row_norm;

static const sonde_probe_option options[] = {
    {.name = "norm", .help = "which norm of a row", .type = SONDE_PROBE_OPTION_CHOICE,
     .offset = offsetof(row_norm, norm), .fallback = "l2", .choices = norms},
    {.name = NULL}, /* the end */
};

/* ---- 2. state: what one sequence adds up --------------------------------------------------------
 * Flat bytes without pointers, zeroed by the host, one per sequence in flight. Here: one of these
 * per point. */

typedef struct tally {
    double count, sum;
} tally;

/* ---- 3. callbacks: 0 is success; otherwise say why in err ------------------------------------ */

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    row_norm *self = instance;
    self->n_points = setup->n_points;
    self->outputs = calloc(setup->n_points + 1, sizeof *self->outputs);
    if (!self->outputs) {
        snprintf(err->message, sizeof err->message, "out of memory");
        return 1;
    }
    for (uint32_t i = 0; i < setup->n_points; i++) {
        const sonde_probe_point *point = &setup->points[i];
        char name[256];
        if (point->element != SONDE_ELEMENT_F32) {
            snprintf(err->message, sizeof err->message, "point %s: not made of numbers",
                     point->name);
            return 1;
        }
        snprintf(name, sizeof name, "%s/norm", point->name);
        /* One float32 per row of the point: n_dims 0. The host copies what it needs. */
        sonde_probe_output output = {.struct_size = sizeof output, .kind = SONDE_OUTPUT_ROWS,
                                     .name = name, .point = i, .element = SONDE_ELEMENT_F32};
        if (setup->host->declare(setup->host->self, &output, &self->outputs[i], err)) return 1;
    }
    setup->state_bytes = setup->n_points * sizeof(tally);
    setup->scratch_bytes_per_row = sizeof(float); /* where `rows` collects what it emits */
    return 0;
}

static float norm_of(int64_t norm, const float *row, int64_t n)
{
    double sum = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)row[i] * (double)row[i];
        largest = fmax(largest, fabs((double)row[i]));
    }
    return (float)(norm == NORM_MAX ? largest : sqrt(sum));
}

/* Called with some rows of one sequence at one point. Nothing may depend on how many at a time. */
static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    const row_norm *self = instance;
    tally *t = (tally *)state + view->point;
    float *values = view->scratch;
    for (int64_t i = 0; i < view->n_rows; i++) {
        values[i] = norm_of(self->norm, view->data + view->offset[i], view->length[i]);
        t->count += 1;
        t->sum += (double)values[i];
    }
    /* One call for each output that follows this point, one emitted row per row of the view. */
    return sink->emit(sink->self, self->outputs[view->point], view->n_rows, values, NULL, err);
}

/* Called once per finished sequence, in the order of the input whoever finished first. */
static int32_t merge(void *instance, void *dst, const void *src, sonde_probe_error *err)
{
    const row_norm *self = instance;
    const tally *from = src;
    tally *into = dst;
    (void)err;
    for (uint32_t i = 0; i < self->n_points; i++) {
        into[i].count += from[i].count;
        into[i].sum += from[i].sum;
    }
    return 0;
}

/* Called once at the end: write the results. */
static int32_t finish(void *instance, void *total, const sonde_probe_sink *sink,
                      sonde_probe_error *err)
{
    const row_norm *self = instance;
    const tally *t = total;
    int64_t dims[1] = {self->n_points};
    double *means = calloc(self->n_points + 1, sizeof *means);
    if (!means) {
        snprintf(err->message, sizeof err->message, "out of memory");
        return 1;
    }
    for (uint32_t i = 0; i < self->n_points; i++)
        means[i] = t[i].count > 0 ? t[i].sum / t[i].count : 0;
    int32_t failed = sink->table(sink->self, "mean_norm", SONDE_ELEMENT_F64, 1, dims, means, err);
    if (!failed) failed = sink->note(sink->self, "norm", norms[self->norm], err);
    free(means);
    return failed;
}

/* Called once in every case, also after a setup that failed: release what setup took. */
static void reset(void *instance)
{
    row_norm *self = instance;
    free(self->outputs);
    self->outputs = NULL;
}

/* ---- 4. descriptor and the one exported symbol ----------------------------------------------- */

static const sonde_probe probe = {
    .struct_size = sizeof probe, /* tells the host which version of the struct this is */
    .name = "row_norm",
    .version = "1",
    .help = "the norm of every row, and their mean per point",
    .points = "blocks.*.resid_post", /* when the user names none */
    .options = options,
    .instance_bytes = sizeof(row_norm),
    .setup = setup,
    .rows = rows,
    .merge = merge,
    .finish = finish,
    .reset = reset,
};

static const sonde_probe *get(uint32_t index)
{
    return index == 0 ? &probe : NULL;
}

const sonde_probe_entry_v1 sonde_probe_entry = {
    .abi_major = SONDE_PROBE_ABI_MAJOR,
    .abi_minor = SONDE_PROBE_ABI_MINOR,
    .struct_size = sizeof sonde_probe_entry,
    .count = 1,
    .get = get,
};
