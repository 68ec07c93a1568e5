/*
 * sonde/probe.h - the probe plugin ABI, version 1. All that a probe author ever includes.
 *
 * A probe is a shared object that exports one constant, `sonde_probe_entry`. It declares which hook
 * points it wants and what it emits; the host calls it with views of row blocks during the forward
 * pass and stores what it emits. A probe never sees HDF5 and never learns how the model is run.
 *
 * Life of one instance (one --probe on the command line):
 *   setup   once: options and points are resolved; declare outputs and sizes of state and scratch
 *   rows    for every wanted point of every block of rows, sequences in any order and on several
 *           threads at once, positions rising within one sequence
 *   done    after the last row of a sequence (optional)
 *   merge   fold a finished sequence's state into the total, in input order whatever ran first
 *   finish  once, with the total: write the tables of results
 *   reset   once, also after a failure: release what setup acquired
 * `instance` memory is shared and must not change after setup; everything that grows lives in
 * `state`: flat, pointer-free bytes that the host owns, one zeroed copy per sequence in flight. So
 * results never depend on workers, batches or threads.
 *
 * Growth: structs carry struct_size and only ever gain members at the end; the host refuses a
 * plugin of another major version and never calls what a smaller struct does not hold. Only
 * fixed-width types cross the border; no memory changes owner except where stated. Every callback
 * returns 0 for success; anything else stops the run with the message in *err.
 *
 * Thread tags: [setup thread] one call at a time per process; [row thread] concurrent for different
 * sequences of one instance, never for the same state.
 */
#ifndef SONDE_PROBE_H
#define SONDE_PROBE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SONDE_PROBE_ABI_MAJOR 1
#define SONDE_PROBE_ABI_MINOR 0
#if defined(__GNUC__)
#define SONDE_PROBE_EXPORT __attribute__((visibility("default")))
#else
#define SONDE_PROBE_EXPORT
#endif

typedef struct sonde_probe_error {
    char message[256];
} sonde_probe_error;

/* ---- options ------------------------------------------------------------------------------------ */

#define SONDE_PROBE_OPTION_FLAG 0u      /* int64_t 0 or 1 */
#define SONDE_PROBE_OPTION_INT 1u       /* int64_t */
#define SONDE_PROBE_OPTION_FLOAT 2u     /* double */
#define SONDE_PROBE_OPTION_TEXT 3u      /* const char *, lives as long as the instance */
#define SONDE_PROBE_OPTION_CHOICE 4u    /* int64_t: index into choices */
#define SONDE_PROBE_OPTION_SELECTION 5u /* sonde_probe_selection: hook points, resolved */
#define SONDE_PROBE_OPTION_TENSOR 6u    /* sonde_probe_tensor: file.npy or capture.h5:/path[row] */

/* Values are written at `offset` into the instance memory before setup. Every instance also takes
 * the options `points` and `rows`, which the host handles itself. Ends with name NULL. */
typedef struct sonde_probe_option {
    const char *name, *help;
    uint32_t type;
    uint32_t required;    /* nonzero: must be given */
    uint64_t offset;
    const char *fallback; /* default as a person would type it, or NULL (zero) */
    double min, max;      /* of INT and FLOAT, inclusive; both 0: none */
    const char *const *choices; /* NULL-terminated */
} sonde_probe_option;

/* Indices into sonde_probe_setup.points. Lives as long as the instance. */
typedef struct sonde_probe_selection {
    uint32_t count;
    uint32_t reserved;
    const uint32_t *points;
} sonde_probe_selection;

/* Row-major fp32, slowest dimension first. Lives as long as the instance. */
typedef struct sonde_probe_tensor {
    uint32_t n_dims;
    uint32_t reserved;
    int64_t dims[4];
    const float *data;
    const char *source; /* as given, for messages */
} sonde_probe_tensor;

/* ---- points and outputs -------------------------------------------------------------------------- */

#define SONDE_ELEMENT_F32 0u
#define SONDE_ELEMENT_I32 1u
#define SONDE_ELEMENT_F64 2u
#define SONDE_ELEMENT_I64 3u
#define SONDE_ELEMENT_U8 4u

#define SONDE_ACCESS_READ 1u
#define SONDE_ACCESS_WRITE 2u

/* A hook point as this instance sees it: after the selection of heads or channels. */
typedef struct sonde_probe_point {
    const char *name; /* "blocks.3.attn.q" */
    int64_t layer;    /* -1 outside the blocks */
    uint32_t element; /* SONDE_ELEMENT_F32 or I32 */
    uint32_t ragged;  /* nonzero: a row is shape[0] heads x T visible keys, heads slowest */
    uint32_t n_dims;  /* of a row; ragged: 2 with shape[1] = 0 */
    uint32_t writable; /* nonzero: a later step of the model reads it */
    int64_t shape[4];
    int64_t width; /* elements of a row; ragged: number of heads */
} sonde_probe_point;

/* An output of rows: what an instance emits while the model runs. */
#define SONDE_OUTPUT_POINT 0u /* one row per row of the point, stored as /activations/<point> */
#define SONDE_OUTPUT_ROWS 1u  /* one row per row of the point, stored as /probes/<instance>/<name> */
#define SONDE_OUTPUT_SPARSE 2u /* any rows, each with its position; /probes/<instance>/<name>/... */
/* POINT: the rows emitted are the point's own, unchanged. The host may then store two names of one
 * buffer (resid_post of a block, resid_pre of the next) once. */
#define SONDE_OUTPUT_UNCHANGED 1u
typedef struct sonde_probe_output {
    uint32_t struct_size;
    uint32_t kind;
    const char *name;  /* ROWS, SPARSE: dataset name */
    uint32_t point;    /* POINT, ROWS: index of the point whose rows it follows */
    uint32_t element;  /* F32 (stored as --as says for POINT), I32, U8, F64, I64 */
    uint32_t n_dims;   /* of a row; POINT with a ragged point: ignored */
    uint32_t flags;    /* SONDE_OUTPUT_UNCHANGED or 0 */
    int64_t shape[4];
} sonde_probe_output;

/* ---- setup ---------------------------------------------------------------------------------------- */

typedef struct sonde_probe_host sonde_probe_host;

typedef struct sonde_probe_setup {
    uint32_t struct_size;
    uint32_t n_points;              /* points of `points` and of selection options, each once */
    const sonde_probe_point *points; /* in execution order; live as long as the instance */
    const char *instance;           /* its name */
    const char *model, *family;
    int64_t n_layers, hidden, n_heads, n_kv_heads, head_dim, ffn, vocab;
    const sonde_probe_host *host;
    /* Written by setup: */
    uint64_t state_bytes;           /* per sequence, zeroed at its start; 0: none */
    uint64_t scratch_bytes;         /* per block, zeroed, kept from its first wanted point to its
                                       last */
    uint64_t scratch_bytes_per_row; /* added for every row of the block */
} sonde_probe_setup;

/* Services of the host. `self` is the first argument of each. */
struct sonde_probe_host {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;
    /* Declares an output; its id is written to *id. Only during setup. [setup thread] */
    int32_t (*declare)(void *self, const sonde_probe_output *output, uint32_t *id,
                       sonde_probe_error *err);
    /* Says how point `index` is used (SONDE_ACCESS_*); READ is what every point has unless said
     * otherwise. WRITE on a point that no later step reads is refused by name. [setup thread] */
    int32_t (*access)(void *self, uint32_t point, uint32_t access, sonde_probe_error *err);
    /* One line for the log. [any thread] */
    void (*log)(void *self, const char *line);
};

/* ---- views ------------------------------------------------------------------------------------------ */

/* Rows of one point that belong to one sequence; already reduced to the rows and parts selected.
 * Valid until the callback returns. */
typedef struct sonde_probe_view {
    uint32_t struct_size;
    uint32_t point;          /* index into setup's points */
    uint64_t block;          /* equal for all points of one block of rows */
    int64_t n_rows;
    float *data;             /* fp32, or int32 when the point's element is I32 */
    const int64_t *offset;   /* [n_rows] first element of each row in data */
    const int64_t *length;   /* [n_rows] elements of each row */
    const int64_t *first_key; /* ragged: [n_rows] position of the first visible key; else NULL */
    uint32_t writable;       /* nonzero: changes are seen by later steps and later probes */
    uint32_t reserved;
    const int64_t *position; /* [n_rows] labels of the rows */
    const uint32_t *token;
    const uint8_t *phase;    /* 0 prompt, 1 generated, 2 continuation */
    const uint8_t *segment;  /* 0 none, 1 system, 2 user, 3 assistant, 4 reasoning, 5 tool, 6 markup */
    uint64_t sequence;       /* input index */
    int64_t n_prompt;        /* tokens of the prompt */
    const char *id;          /* of the prompt */
    const char *meta;        /* its metadata as JSON text ("{}" when there is none) */
    void *scratch;           /* of this block and instance */
} sonde_probe_view;

/* Where a probe puts what it found. */
typedef struct sonde_probe_sink {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;
    /* Emits the rows of a POINT or ROWS output: in every call of `rows` at its point, once, as many
     * as the view has. Row i has its values at data + offset[i] (offset NULL: packed) in elements;
     * ragged: length[i] elements. Values are copied before return. [row thread] */
    int32_t (*emit)(void *self, uint32_t output, int64_t n_rows, const void *data,
                    const int64_t *offset, sonde_probe_error *err);
    /* Emits n rows of a SPARSE output with the positions they belong to; from rows or done. */
    int32_t (*emit_sparse)(void *self, uint32_t output, int64_t n_rows, const int64_t *position,
                           const void *data, sonde_probe_error *err);
    /* Writes a table of results, /probes/<instance>/<name>: from finish only; dims slowest first. */
    int32_t (*table)(void *self, const char *name, uint32_t element, uint32_t n_dims,
                     const int64_t *dims, const void *data, sonde_probe_error *err);
    /* Text attribute on /probes/<instance>: from finish only. */
    int32_t (*note)(void *self, const char *name, const char *text, sonde_probe_error *err);
} sonde_probe_sink;

/* A finished sequence, for `done`. */
typedef struct sonde_probe_sequence {
    uint32_t struct_size;
    uint32_t status; /* 0 done, 1 stopped, 2 cut */
    uint64_t sequence;
    int64_t n_prompt, n_tokens;
    const uint32_t *tokens; /* [n_tokens] prompt then generated */
    const char *id, *meta;
} sonde_probe_sequence;

/* ---- the probe --------------------------------------------------------------------------------------- */

#define SONDE_PROBE_WRITES 1u /* may change what it sees: runs before all readers */

typedef struct sonde_probe {
    uint32_t struct_size;
    uint32_t flags;
    const char *name;    /* [a-z][a-z0-9_]* */
    const char *version;
    const char *help;    /* one line */
    const char *points;  /* default of the `points` option; NULL: blocks.*.resid_post */
    const sonde_probe_option *options; /* may be NULL */
    uint64_t instance_bytes; /* zeroed by the host, options filled in */

    int32_t (*setup)(void *instance, sonde_probe_setup *setup, sonde_probe_error *err);
    int32_t (*rows)(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err);
    int32_t (*done)(void *instance, void *state, const sonde_probe_sequence *sequence,
                    const sonde_probe_sink *sink, sonde_probe_error *err); /* may be NULL */
    /* dst starts as zero bytes; called once per finished sequence in input order. NULL only when
     * state_bytes is 0. */
    int32_t (*merge)(void *instance, void *dst, const void *src, sonde_probe_error *err);
    int32_t (*finish)(void *instance, void *total, const sonde_probe_sink *sink,
                      sonde_probe_error *err); /* may be NULL */
    void (*reset)(void *instance); /* may be NULL */
    /* Portable form of a state, for checkpoints: save writes at most *bytes at `out` (NULL: only
     * says how many) and sets *bytes; load is its inverse. NULL: the state's own bytes. */
    int32_t (*state_save)(void *instance, const void *state, void *out, uint64_t *bytes,
                          sonde_probe_error *err);
    int32_t (*state_load)(void *instance, void *state, const void *in, uint64_t bytes,
                          sonde_probe_error *err);
} sonde_probe;

/* The one exported symbol of a plugin. */
typedef struct sonde_probe_entry_v1 {
    uint32_t abi_major, abi_minor, struct_size, count;
    const sonde_probe *(*get)(uint32_t index); /* index < count; a constant of the plugin */
} sonde_probe_entry_v1;
#define SONDE_PROBE_ENTRY_SYMBOL "sonde_probe_entry"
extern SONDE_PROBE_EXPORT const sonde_probe_entry_v1 sonde_probe_entry;

#ifdef __cplusplus
}
#endif
#endif
