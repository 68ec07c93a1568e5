/*
 * bad.c - probes that break the rules of sonde/probe.h, each in one way: in setup (the host must
 * refuse them), in a callback (the run must stop with their message), or quietly (the conformance
 * program must catch them).
 */
#include "sonde/probe.h"

#include <stdio.h>
#include <string.h>

extern SONDE_PROBE_EXPORT int32_t bad_resets;
int32_t bad_resets; /* how often reset was called */

typedef struct bad {
    int64_t seen; /* what `remembers` grows */
    uint32_t output;
} bad;

static int32_t fail(sonde_probe_error *err, const char *text)
{
    snprintf(err->message, sizeof err->message, "%s", text);
    return 1;
}

static int32_t declare(bad *b, sonde_probe_setup *s, sonde_probe_error *err, sonde_probe_output o)
{
    o.struct_size = o.struct_size ? o.struct_size : sizeof o;
    return s->host->declare(s->host->self, &o, &b->output, err);
}

/* ---- setup ----------------------------------------------------------------------------------- */

#define SETUP(name)                                                                                \
    static int32_t name(void *instance, sonde_probe_setup *s, sonde_probe_error *err)
#define DECLARES(name, ...)                                                                        \
    SETUP(name) { return declare(instance, s, err, (sonde_probe_output){__VA_ARGS__}); }

SETUP(good_setup) { (void)instance, (void)s, (void)err; return 0; }
SETUP(setup_fails) { (void)instance, (void)s; return fail(err, "no luck today\x1b[31m"); }
SETUP(setup_silent) { (void)instance, (void)s, (void)err; return -5; }
SETUP(setup_unended)
{
    (void)instance, (void)s;
    memset(err->message, 'x', sizeof err->message);
    return 1;
}
SETUP(setup_huge) { (void)instance, (void)err; s->state_bytes = UINT64_C(1) << 60; return 0; }
SETUP(setup_scratch) { (void)instance, (void)err; s->scratch_bytes_per_row = UINT64_MAX; return 0; }
SETUP(setup_state) { (void)instance, (void)err; s->state_bytes = 8; return 0; }
DECLARES(out_small, .struct_size = 8, .kind = SONDE_OUTPUT_ROWS, .name = "x")
DECLARES(out_kind, .kind = 9, .name = "x")
DECLARES(out_element, .kind = SONDE_OUTPUT_ROWS, .name = "x", .element = 77)
DECLARES(out_point, .kind = SONDE_OUTPUT_ROWS, .name = "x", .point = 1000)
DECLARES(out_name, .kind = SONDE_OUTPUT_ROWS, .name = "../x")
DECLARES(out_zero, .kind = SONDE_OUTPUT_ROWS, .name = "x", .n_dims = 1)
DECLARES(out_big, .kind = SONDE_OUTPUT_ROWS, .name = "x", .n_dims = 2,
         .shape = {INT64_MAX, INT64_MAX})
DECLARES(out_dims, .kind = SONDE_OUTPUT_ROWS, .name = "x", .n_dims = 5, .shape = {1, 1, 1, 1})
DECLARES(out_shape, .kind = SONDE_OUTPUT_POINT, .n_dims = 1, .shape = {3})
DECLARES(out_id, .kind = SONDE_OUTPUT_POINT, .element = SONDE_ELEMENT_I64)
DECLARES(one_number, .kind = SONDE_OUTPUT_ROWS, .name = "x")
SETUP(out_twice)
{
    if (one_number(instance, s, err) != 0) return 1;
    declare(instance, s, err, (sonde_probe_output){.kind = SONDE_OUTPUT_ROWS, .name = "x/y"});
    return 0; /* the host must not forget */
}
SETUP(access_write)
{
    (void)instance;
    return s->host->access(s->host->self, 0, SONDE_ACCESS_READ | SONDE_ACCESS_WRITE, err);
}
SETUP(access_odd) { (void)instance; return s->host->access(s->host->self, 0, 12, err); }

/* ---- rows, merge, finish --------------------------------------------------------------------- */

#define ROWS(name)                                                                                 \
    static int32_t name(void *instance, void *state, const sonde_probe_view *view,                 \
                        const sonde_probe_sink *sink, sonde_probe_error *err)

ROWS(good_rows) { (void)instance, (void)state, (void)view, (void)sink, (void)err; return 0; }
ROWS(rows_fail)
{
    (void)instance, (void)state, (void)sink;
    return view->position[view->n_rows - 1] < 3 ? 0 : fail(err, "position 3 is one too many");
}
ROWS(rows_scribble)
{
    (void)instance, (void)state, (void)sink, (void)err;
    view->data[view->offset[0]] = 1;
    return 0;
}
ROWS(rows_outside)
{
    (void)instance, (void)state, (void)sink, (void)err;
    if (view->n_rows > 1) view->data[view->offset[0] + view->length[0]] = 1;
    return 0;
}
ROWS(rows_remember)
{
    bad *b = instance;
    (void)state;
    float count[96];
    b->seen += view->n_rows;
    for (int64_t i = 0; i < view->n_rows && i < 96; i++) count[i] = (float)b->seen;
    return view->point ? 0 : sink->emit(sink->self, b->output, view->n_rows, count, NULL, err);
}
ROWS(rows_blocks)
{
    const bad *b = instance;
    float count[96];
    (void)state;
    for (int64_t i = 0; i < view->n_rows && i < 96; i++) count[i] = (float)view->n_rows;
    return view->point ? 0 : sink->emit(sink->self, b->output, view->n_rows, count, NULL, err);
}
ROWS(rows_swallow)
{
    const bad *b = instance;
    float zero[96] = {0};
    (void)state;
    if (view->point == 0) sink->emit(sink->self, b->output, view->n_rows, zero, NULL, err);
    return 0;
}
ROWS(rows_overrun)
{
    (void)instance, (void)view, (void)sink, (void)err;
    memset(state, 1, 9);
    return 0;
}

static int32_t merge_none(void *instance, void *dst, const void *src, sonde_probe_error *err)
{
    (void)instance, (void)dst, (void)src, (void)err;
    return 0;
}

static int32_t finish_fail(void *instance, void *total, const sonde_probe_sink *sink,
                           sonde_probe_error *err)
{
    (void)instance, (void)total, (void)sink;
    return fail(err, "nothing came of it");
}

static void reset(void *instance)
{
    (void)instance;
    bad_resets++;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

#define BAD(n, ...)                                                                                \
    {.struct_size = sizeof(sonde_probe), .name = n, .version = "1", .help = "bad",                 \
     .points = "blocks.*.resid_post", .instance_bytes = sizeof(bad), .setup = good_setup,          \
     .rows = good_rows, .reset = reset, __VA_ARGS__}

#if defined(__GNUC__) /* a row overrides the defaults of BAD on purpose */
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
#endif
static const sonde_probe probes[] = {
    BAD("setup_fails", .setup = setup_fails),
    BAD("setup_silent", .setup = setup_silent),
    BAD("setup_unended", .setup = setup_unended),
    BAD("huge_state", .setup = setup_huge, .merge = merge_none),
    BAD("huge_scratch", .setup = setup_scratch),
    BAD("no_merge", .setup = setup_state),
    BAD("out_small", .setup = out_small),
    BAD("out_kind", .setup = out_kind),
    BAD("out_element", .setup = out_element),
    BAD("out_point", .setup = out_point),
    BAD("out_name", .setup = out_name),
    BAD("out_zero", .setup = out_zero),
    BAD("out_big", .setup = out_big),
    BAD("out_dims", .setup = out_dims),
    BAD("out_shape", .setup = out_shape),
    BAD("out_id", .setup = out_id),
    BAD("out_twice", .setup = out_twice),
    BAD("access_unsaid", .setup = access_write),
    BAD("access_write", .setup = access_write, .flags = SONDE_PROBE_WRITES),
    BAD("access_odd", .setup = access_odd),
    BAD("rows_fail", .rows = rows_fail),
    BAD("finish_fail", .finish = finish_fail),
    BAD("rows_scribble", .rows = rows_scribble),
    BAD("rows_outside", .rows = rows_outside, .flags = SONDE_PROBE_WRITES, .setup = access_write),
    BAD("rows_remember", .rows = rows_remember, .setup = one_number),
    BAD("rows_blocks", .rows = rows_blocks, .setup = one_number),
    BAD("rows_swallow", .rows = rows_swallow, .setup = one_number),
    BAD("rows_silent", .setup = one_number),
    BAD("rows_overrun", .rows = rows_overrun, .setup = setup_state, .merge = merge_none),
};

static const sonde_probe *get(uint32_t index)
{
    return index < sizeof probes / sizeof probes[0] ? &probes[index] : NULL;
}

const sonde_probe_entry_v1 sonde_probe_entry = {
    .abi_major = SONDE_PROBE_ABI_MAJOR,
    .abi_minor = SONDE_PROBE_ABI_MINOR,
    .struct_size = sizeof sonde_probe_entry,
    .count = sizeof probes / sizeof probes[0],
    .get = get,
};
