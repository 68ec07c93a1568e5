/* visit.c - looks at the first number of every row and keeps nothing: what visiting alone costs. */
#include "sonde/probe.h"

typedef struct visit_state {
    double sum;
} visit_state;

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    (void)instance, (void)err;
    setup->state_bytes = sizeof(visit_state);
    return 0;
}

static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    visit_state *s = state;
    (void)instance, (void)sink, (void)err;
    for (int64_t i = 0; i < view->n_rows; i++) s->sum += (double)view->data[view->offset[i]];
    return 0;
}

static int32_t merge(void *instance, void *into, const void *from, sonde_probe_error *err)
{
    (void)instance, (void)err;
    ((visit_state *)into)->sum += ((const visit_state *)from)->sum;
    return 0;
}

static const sonde_probe probe = {
    .struct_size = sizeof probe,
    .name = "visit",
    .version = "1",
    .help = "looks at rows and keeps nothing",
    .points = "blocks.*.resid_post",
    .instance_bytes = 8,
    .setup = setup,
    .rows = rows,
    .merge = merge,
};

static const sonde_probe *get(uint32_t index)
{
    return index == 0 ? &probe : (const sonde_probe *)0;
}

const sonde_probe_entry_v1 sonde_probe_entry = {
    .abi_major = SONDE_PROBE_ABI_MAJOR,
    .abi_minor = SONDE_PROBE_ABI_MINOR,
    .struct_size = sizeof sonde_probe_entry,
    .count = 1,
    .get = get,
};
