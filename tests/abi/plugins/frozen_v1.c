/*
 * frozen_v1.c - a plugin as it was written for ABI 1.0, with the header as it was then. Neither
 * this file nor frozen_probe_v1.h is ever brought up to date: as long as the major version is 1,
 * the host must load and run what they make.
 */
#include "frozen_probe_v1.h"

#include <stdio.h>
#include <string.h>

typedef struct frozen {
    int64_t flag, whole, choice;
    double number;
    const char *text;
    sonde_probe_selection selection;
    sonde_probe_tensor tensor;
    uint32_t output, sparse;
} frozen;

typedef struct frozen_state {
    int64_t rows, tokens;
} frozen_state;

static const char *const choices[] = {"first", "second", NULL};
static const sonde_probe_option options[] = {
    {"flag", "a flag", SONDE_PROBE_OPTION_FLAG, 0, offsetof(frozen, flag), NULL, 0, 0, NULL},
    {"whole", "a number", SONDE_PROBE_OPTION_INT, 0, offsetof(frozen, whole), "7", 1, 100, NULL},
    {"number", "a share", SONDE_PROBE_OPTION_FLOAT, 0, offsetof(frozen, number), "0.5", 0, 1, NULL},
    {"text", "a text", SONDE_PROBE_OPTION_TEXT, 0, offsetof(frozen, text), NULL, 0, 0, NULL},
    {"choice", "one of two", SONDE_PROBE_OPTION_CHOICE, 0, offsetof(frozen, choice), "second", 0, 0,
     choices},
    {"select", "points", SONDE_PROBE_OPTION_SELECTION, 0, offsetof(frozen, selection), NULL, 0, 0,
     NULL},
    {"tensor", "values", SONDE_PROBE_OPTION_TENSOR, 0, offsetof(frozen, tensor), NULL, 0, 0, NULL},
    {NULL, NULL, 0, 0, 0, NULL, 0, 0, NULL},
};

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    frozen *f = instance;
    sonde_probe_output rows = {0};
    rows.struct_size = sizeof rows;
    rows.kind = SONDE_OUTPUT_ROWS;
    rows.name = "first_value";
    rows.element = SONDE_ELEMENT_F32;
    rows.n_dims = 1;
    rows.shape[0] = 1;
    sonde_probe_output sparse = rows;
    sparse.kind = SONDE_OUTPUT_SPARSE;
    sparse.name = "tokens";
    sparse.element = SONDE_ELEMENT_I64;
    if (setup->host->declare(setup->host->self, &rows, &f->output, err) != 0) return 1;
    if (setup->host->declare(setup->host->self, &sparse, &f->sparse, err) != 0) return 1;
    setup->host->log(setup->host->self, "frozen since 1.0");
    setup->state_bytes = sizeof(frozen_state);
    return 0;
}

static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    const frozen *f = instance;
    frozen_state *s = state;
    s->rows += view->n_rows;
    for (int64_t i = 0; i < view->n_rows; i++) s->tokens += view->token[i];
    if (view->point != 0) return 0;
    return sink->emit(sink->self, f->output, view->n_rows, view->data, view->offset, err);
}

static int32_t done(void *instance, void *state, const sonde_probe_sequence *sequence,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    const frozen *f = instance;
    const frozen_state *s = state;
    int64_t last = sequence->n_tokens - 1;
    return sink->emit_sparse(sink->self, f->sparse, 1, &last, &s->tokens, err);
}

static int32_t merge(void *instance, void *dst, const void *src, sonde_probe_error *err)
{
    frozen_state *into = dst;
    const frozen_state *from = src;
    (void)instance;
    (void)err;
    into->rows += from->rows;
    into->tokens += from->tokens;
    return 0;
}

static int32_t finish(void *instance, void *total, const sonde_probe_sink *sink,
                      sonde_probe_error *err)
{
    const frozen_state *s = total;
    int64_t dims[1] = {2}, values[2] = {s->rows, s->tokens};
    (void)instance;
    if (sink->table(sink->self, "totals", SONDE_ELEMENT_I64, 1, dims, values, err) != 0) return 1;
    return sink->note(sink->self, "about", "rows and tokens", err);
}

static int32_t state_save(void *instance, const void *state, void *out, uint64_t *bytes,
                          sonde_probe_error *err)
{
    (void)instance;
    (void)err;
    if (out) memcpy(out, state, sizeof(frozen_state));
    *bytes = sizeof(frozen_state);
    return 0;
}

static int32_t state_load(void *instance, void *state, const void *in, uint64_t bytes,
                          sonde_probe_error *err)
{
    (void)instance;
    if (bytes != sizeof(frozen_state)) {
        snprintf(err->message, sizeof err->message, "a state of another size");
        return 1;
    }
    memcpy(state, in, sizeof(frozen_state));
    return 0;
}

static const sonde_probe probe = {
    sizeof probe, 0,      "frozen", "1.0", "a plugin of ABI 1.0", "blocks.0.*",
    options,      sizeof(frozen), setup, rows, done, merge, finish, NULL, state_save, state_load,
};

static const sonde_probe *get(uint32_t index)
{
    return index == 0 ? &probe : NULL;
}

const sonde_probe_entry_v1 sonde_probe_entry = {1, 0, sizeof sonde_probe_entry, 1, get};
