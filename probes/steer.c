/*
 * steer.c - changes the rows of the selected points while the model runs; later steps and later
 * probes see the changed rows. With the strength s, the vector v and a row x:
 *
 *   add      x + s v          (steering; s = 0 leaves every bit as it is)
 *   replace  s v              (patching in a row of another run)
 *   project  x - s u (u . x)  u = v / |v|: s = 1 removes the direction, 0 leaves every bit
 *   scale    s x              no vector: s = 0 ablates, 1 writes the same bits back
 *
 * The vector has as many elements as a row of every selected point. `points` says where, down to
 * heads and channels; `rows` says at which tokens.
 */
#include "sonde/probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- instance -------------------------------------------------------------------------------- */

enum { MODE_ADD, MODE_REPLACE, MODE_PROJECT, MODE_SCALE };
static const char *const modes[] = {"add", "replace", "project", "scale", NULL};

typedef struct steer {
    int64_t mode;
    double strength;
    sonde_probe_tensor vector;
    double inverse_square; /* 1 / |v|^2 */
    int64_t width;         /* elements of v */
} steer;

static const sonde_probe_option options[] = {
    {.name = "vector", .help = "file.npy or capture.h5:/path[row]; not for scale",
     .type = SONDE_PROBE_OPTION_TENSOR, .offset = offsetof(steer, vector)},
    {.name = "strength", .help = "how much of it", .type = SONDE_PROBE_OPTION_FLOAT,
     .offset = offsetof(steer, strength), .fallback = "1", .min = -1e6, .max = 1e6},
    {.name = "mode", .help = "what is done to a row", .type = SONDE_PROBE_OPTION_CHOICE,
     .offset = offsetof(steer, mode), .fallback = "add", .choices = modes},
    {.name = NULL},
};

/* ---- setup ----------------------------------------------------------------------------------- */

static int32_t measure_vector(steer *s, sonde_probe_error *err)
{
    double square = 0;
    s->width = 1;
    for (uint32_t i = 0; i < s->vector.n_dims; i++) s->width *= s->vector.dims[i];
    for (int64_t i = 0; i < s->width; i++)
        square += (double)s->vector.data[i] * (double)s->vector.data[i];
    if (isfinite(square) && (square > 0 || s->mode != MODE_PROJECT)) {
        s->inverse_square = square > 0 ? 1 / square : 0;
        return 0;
    }
    snprintf(err->message, sizeof err->message, "vector %.120s: %s", s->vector.source,
             square == 0 ? "it is zero and has no direction"
                         : "it holds values that are not finite");
    return 1;
}

static int32_t check_point(const steer *s, const sonde_probe_point *point, sonde_probe_error *err)
{
    if (point->element != SONDE_ELEMENT_F32)
        snprintf(err->message, sizeof err->message, "point %s: it holds ids, not numbers",
                 point->name);
    else if (point->ragged && s->mode != MODE_SCALE)
        snprintf(err->message, sizeof err->message, "point %s: its rows have no fixed channels; "
                 "only mode=scale can change them", point->name);
    else if (s->mode != MODE_SCALE && point->width != s->width)
        snprintf(err->message, sizeof err->message, "vector %.80s: it has %" PRId64 " elements, a "
                 "row of %s has %" PRId64, s->vector.source, s->width, point->name, point->width);
    else
        return 0;
    return 1;
}

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    steer *s = instance;
    if (s->mode != MODE_SCALE && !s->vector.data) {
        snprintf(err->message, sizeof err->message, "mode=%s needs vector=file.npy or "
                 "vector=capture.h5:/path[row]", modes[s->mode]);
        return 1;
    }
    if (s->mode != MODE_SCALE && measure_vector(s, err) != 0) return 1;
    for (uint32_t i = 0; i < setup->n_points; i++) {
        if (check_point(s, &setup->points[i], err) != 0) return 1;
        if (setup->host->access(setup->host->self, i, SONDE_ACCESS_READ | SONDE_ACCESS_WRITE, err))
            return 1;
    }
    return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void change_row(const steer *s, float *x, int64_t n)
{
    const float *v = s->vector.data;
    float strength = (float)s->strength;
    double along = 0;
    switch (s->mode) {
    case MODE_ADD:
        for (int64_t i = 0; i < n; i++) x[i] += strength * v[i];
        break;
    case MODE_REPLACE:
        for (int64_t i = 0; i < n; i++) x[i] = strength * v[i];
        break;
    case MODE_PROJECT:
        for (int64_t i = 0; i < n; i++) along += (double)x[i] * (double)v[i];
        along *= s->strength * s->inverse_square;
        for (int64_t i = 0; i < n; i++) x[i] = (float)((double)x[i] - along * (double)v[i]);
        break;
    default:
        for (int64_t i = 0; i < n; i++) x[i] *= strength;
        break;
    }
}

static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    const steer *s = instance;
    (void)state;
    (void)sink;
    (void)err;
    /* x + 0 v is not always x: -0 becomes +0. */
    if (s->strength == 0 && (s->mode == MODE_ADD || s->mode == MODE_PROJECT)) return 0;
    for (int64_t i = 0; i < view->n_rows; i++)
        change_row(s, view->data + view->offset[i], view->length[i]);
    return 0;
}

/* ---- descriptor ------------------------------------------------------------------------------ */

static const sonde_probe probe = {
    .struct_size = sizeof probe,
    .flags = SONDE_PROBE_WRITES,
    .name = "steer",
    .version = "1",
    .help = "adds, replaces, projects out or scales rows while the model runs",
    .points = "blocks.*.resid_post",
    .options = options,
    .instance_bytes = sizeof(steer),
    .setup = setup,
    .rows = rows,
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
