/*
 * sonde/model.h - a checkpoint opened for running: immutable, shared by all workers.
 *
 * Opening reads the configuration, lets the family write its recipe, and (unless only the shape is
 * asked for) checks every tensor and packs the weights for the backend. The hook points of a model
 * are known without reading a weight. [any thread] unless said otherwise.
 */
#ifndef SONDE_MODEL_H
#define SONDE_MODEL_H

#include "sonde/base.h"
#include "sonde/chat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sonde_model sonde_model;

/* Optimisations that can be switched off; the bits never change. X(constant, bit, name, help) */
#define SONDE_OFF_LIST(X)                                                                          \
    X(DROP, 0, "drop", "run dead steps too: nothing is left out that no one wants")                \
    X(FUSE, 1, "fuse", "run every step of the recipe on its own")                                  \
    X(NARROW, 2, "narrow", "run every row through the last block and the logits")                  \
    X(ALIAS, 3, "alias", "give every buffer memory of its own")                                    \
    X(PACK, 4, "pack", "leave the weights in the file: no packed copies")                          \
    X(QUANT, 5, "quant", "widen quantised weights when they are packed (in mode exact)")           \
    X(PREFIX, 6, "prefix", "run every row of prompts that begin alike")                             \
    X(LEND, 7, "lend", "workers with few sequences left keep them and their threads")
#define SONDE_OFF_ENUM(name, bit, text, help) SONDE_OFF_##name = 1u << (bit),
#define SONDE_OFF_OR(name, bit, text, help) | 1u << (bit)
enum {
    SONDE_OFF_LIST(SONDE_OFF_ENUM) SONDE_OFF_NONE = 0,
    SONDE_OFF_ALL = 0 SONDE_OFF_LIST(SONDE_OFF_OR)
};
#undef SONDE_OFF_ENUM
#undef SONDE_OFF_OR

typedef struct sonde_model_options {
    uint32_t struct_size;
    const char *backend; /* "cpu" (NULL), "blas", "oracle" */
    const char *cpu_level; /* highest level used: "avx512" (NULL: best), "avx2", "scalar" */
    int32_t threads;     /* for packing; 0: all */
    bool shape_only;     /* read no weights: hook points and dims only */
    bool measure;        /* check every tensor and count packed bytes, but pack nothing: for
                            plans. Nothing can be run */
    uint64_t memory;     /* for packed weights: those that do not fit stay in the file and are read
                            when they are used; 0: four fifths of what the machine has free */
    uint32_t off;        /* SONDE_OFF_PACK: none is packed; SONDE_OFF_QUANT: none stays quantised */
    bool hash;           /* sonde_model_hash will be called: bytes are read once for both */
    const char *mode;    /* "exact" (NULL); "int": quantised weights are multiplied as exact integers,
                            with bits of their own (UNSUPPORTED where there are none) */
} sonde_model_options;

/* BAD_MODEL / BAD_FILE with the offending name; UNKNOWN_NAME for a backend. Given to the caller. */
SONDE_API sonde_status sonde_model_open(const char *path, const sonde_model_options *options,
                                        sonde_model **model, sonde_error *err);
SONDE_API void sonde_model_close(sonde_model **model);

/* Matrices of one stored type that are kept alike. */
typedef struct sonde_weight_kept {
    const char *stored, *kept; /* dtypes */
    bool mapped;               /* left in the file; kept is as stored */
    int64_t n_matrices;
    uint64_t stored_bytes, kept_bytes; /* in the file, in memory (0 when mapped) */
} sonde_weight_kept;

typedef struct sonde_model_info {
    const char *path, *family, *title, *container; /* "safetensors", "gguf" */
    const char *backend, *level;
    bool exact;
    const char *mode; /* what captures record: "exact", "int", or the backend's name */
    const char *stored_dtypes; /* "f32", "q4_1 q8_0 f32": kinds in the file, most bytes first */
    const char *packed_note;   /* "q4_1 widened to f32, q8_0 widened to f32", or "" */
    int64_t n_layers, hidden, n_heads, n_kv_heads, head_dim, value_dim, ffn, vocab, max_positions;
    int64_t n_parameters;
    uint64_t file_bytes;
    uint64_t packed_bytes, mapped_bytes; /* of matrices: in memory; in the file, read when used */
    const sonde_weight_kept *kept;       /* [n_kept]; borrowed for the model's life */
    int64_t n_kept;
    int64_t n_points;
} sonde_model_info;
SONDE_API void sonde_model_info_get(const sonde_model *model, sonde_model_info *info);
/* What a model costs when no point is wanted. */
typedef struct sonde_model_cost {
    double prefill_flops; /* of one prompt whose last row gets logits: products and attention */
    double weight_bytes;  /* that one token reads, logits included: of the experts the chosen ones */
} sonde_model_cost;
SONDE_API sonde_status sonde_model_cost_get(const sonde_model *model, int64_t prompt_tokens,
                                            sonde_model_cost *cost, sonde_error *err);
/* 32 hex digits over all tensors; computed at the first call. */
SONDE_API sonde_status sonde_model_hash(sonde_model *model, const char **hex, sonde_error *err);
/* The checkpoint's tokenizer, opened at the first call; borrowed for the model's life. */
SONDE_API sonde_status sonde_model_tokenizer(sonde_model *model, const sonde_tokenizer **tokenizer,
                                             sonde_error *err);
/* The checkpoint's chat format, opened at the first call; borrowed for the model's life.
 * BAD_TOKENIZER when it has no template or one that is not known. */
SONDE_API sonde_status sonde_model_chat(sonde_model *model, const sonde_chat **chat,
                                        sonde_error *err);
/* Ids that end generation (config's eos_token_id, generation_config.json); returns the count. */
SONDE_API int64_t sonde_model_eos(const sonde_model *model, const int64_t **ids);

/* A hook point of this model. */
typedef struct sonde_hook_point {
    const char *name; /* "blocks.3.attn.q" */
    int64_t layer;    /* -1: outside the blocks */
    const char *local_name; /* "attn.q" */
    int32_t n_dims;   /* of one row: 1 or 2; ragged points: [n_heads, T] */
    int64_t shape[2]; /* ragged: {n_heads, 0} */
    int64_t width;    /* product; ragged: n_heads */
    bool ragged;      /* n_heads x T visible keys */
    bool writable;    /* a later step reads it */
    const char *not_writable_why;
    sonde_dtype element; /* F32, or I32 for expert ids */
    int64_t same_as;  /* index of an earlier point that is the same buffer with the same value
                         (resid_pre of block i+1), or -1 */
    /* Visible keys of a query at position p: min(p + 1, window), or p % window + 1 when chunked. */
    int32_t mask;     /* sonde_mask_kind of recipe.h; for ragged points */
    int64_t window;
} sonde_hook_point;
/* Position of the first key that a query at `position` sees at a ragged point. */
SONDE_API int64_t sonde_point_first_key(const sonde_hook_point *point, int64_t position);
/* In execution order. Borrowed for the model's life. */
SONDE_API int64_t sonde_model_point_count(const sonde_model *model);
SONDE_API const sonde_hook_point *sonde_model_point(const sonde_model *model, int64_t index);
SONDE_API int64_t sonde_model_find_point(const sonde_model *model, const char *name); /* or -1 */
/* Why this family lacks a point of the vocabulary ("blocks.*.moe.router_logits": "..."), or NULL
 * when the name is not in the vocabulary at all. `local_name` as "resid_mid". */
SONDE_API const char *sonde_model_absent(const sonde_model *model, const char *local_name);
/* The recipe as text, a step a line (for --help of developers and `sonde points -v`): given to the
 * caller, free with sonde_text_free. */
SONDE_API sonde_status sonde_model_recipe_text(const sonde_model *model, char **text,
                                               sonde_error *err);

/* Families of this build, NULL-terminated names and titles, for tables. */
SONDE_API int64_t sonde_family_count(void);
SONDE_API const char *sonde_family_name(int64_t index);
SONDE_API const char *sonde_family_title(int64_t index);

#ifdef __cplusplus
}
#endif
#endif
