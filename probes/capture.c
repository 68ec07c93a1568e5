/*
 * capture.c - stores the rows of every selected hook point as they are, under /activations/<point>.
 *
 * The default probe. Which points, which parts of them and which rows is the host's business
 * (`points`, `rows`), and so are the stored dtype and the codec; nothing is left to opt for here.
 */
#include "sonde/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- instance --------------------------------------------------------------------------------------- */

typedef struct capture {
    uint32_t *outputs; /* [n_points] output of each point; ours, from setup to reset */
} capture;

/* ---- callbacks -------------------------------------------------------------------------------------- */

static int32_t declare_point(const sonde_probe_host *host, const sonde_probe_point *point,
                             uint32_t index, uint32_t *id, sonde_probe_error *err)
{
    sonde_probe_output output = {.struct_size = sizeof output,
                                 .kind = SONDE_OUTPUT_POINT,
                                 .point = index,
                                 .element = point->element,
                                 .n_dims = point->n_dims,
                                 .flags = SONDE_OUTPUT_UNCHANGED};
    memcpy(output.shape, point->shape, sizeof output.shape);
    return host->declare(host->self, &output, id, err);
}

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    capture *c = instance;
    c->outputs = calloc(setup->n_points, sizeof *c->outputs);
    if (!c->outputs && setup->n_points > 0) {
        snprintf(err->message, sizeof err->message, "out of memory for %u points",
                 (unsigned)setup->n_points);
        return 1;
    }
    for (uint32_t i = 0; i < setup->n_points; i++)
        if (declare_point(setup->host, &setup->points[i], i, &c->outputs[i], err) != 0) return 1;
    return 0;
}

static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    const capture *c = instance;
    (void)state;
    return sink->emit(sink->self, c->outputs[view->point], view->n_rows, view->data, view->offset,
                      err);
}

static void reset(void *instance)
{
    capture *c = instance;
    free(c->outputs);
    c->outputs = NULL;
}

/* ---- descriptor ------------------------------------------------------------------------------------- */

static const sonde_probe probe = {
    .struct_size = sizeof probe,
    .name = "capture",
    .version = "1",
    .help = "stores the rows of the selected points as they are",
    .points = "blocks.*.resid_post",
    .instance_bytes = sizeof(capture),
    .setup = setup,
    .rows = rows,
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
