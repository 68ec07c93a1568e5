/*
 * kernels.h - a backend: one function per kind of step, over plain arguments.
 *
 * Concept. A backend computes rows: every function takes the arguments of one step for a whole
 * batch and a range of work units [begin, end). Units divide outputs only, never a sum, so that any
 * split over threads gives the same bits. The caller (lib/run) asks for the number of units, lets
 * its threads claim ranges, and gives each thread its own scratch.
 *
 * Exact mode. lib/kernels/ref fills every slot in plain fp32 C with explicit fmaf, in the order of
 * kernels.md: that is the definition, and the scalar level of `cpu`. AVX2 and AVX-512 override
 * slots upwards and give the same bits. `blas` is `cpu` with matrix products by OpenBLAS. `oracle`
 * computes in double everywhere (real = double) and measures error.
 *
 * Types. `real` is the element of every activation: float, in the oracle double. Activation
 * pointers are void * and point to reals; strides count reals. Row r of an operand starts at
 * base + r * stride. All functions: [any thread], no state but their arguments.
 */
#ifndef SONDE_KERNELS_H
#define SONDE_KERNELS_H

#include "core/core.h"
#include "core/cpu.h"
#include "kernels/dtype/dtype.h"
#include "sonde/recipe.h"

#define SONDE_PAGE_POSITIONS 64
#define SONDE_PANEL 32

/* A weight matrix in a backend's own layout, or left where the file has it: then products and
 * embeddings decode the part they need into scratch, and give the same bits. */
typedef struct sonde_packed {
    sonde_dtype dtype;  /* precision kept: F32, BF16, F16, or a quantised kind (oracle: F64) */
    int64_t rows, cols; /* [out, in] */
    void *data;         /* owned by whoever allocated it (64-byte aligned); NULL when mapped */
    size_t bytes;       /* of `data` once packed */
    bool mapped;
    sonde_matrix_source source; /* when mapped */
} sonde_packed;

/* Floats that making panels takes: a slice of 32 outputs by SONDE_MATRIX_SLICE, and the tile of rows
 * (a little apart, so that they share no sets of a cache) that it is turned from; or a whole row. */
#define SONDE_SLICE_STRIDE (SONDE_MATRIX_SLICE + 16)
#define SONDE_SLICE_FLOATS (SONDE_PANEL * (SONDE_MATRIX_SLICE + SONDE_SLICE_STRIDE))
static inline size_t sonde_pack_scratch_floats(int64_t cols)
{
    return (size_t)(cols > SONDE_SLICE_FLOATS ? cols : SONDE_SLICE_FLOATS);
}

/* ---- linear ------------------------------------------------------------------------------------ */

#define SONDE_LINEAR_PARTS 4
/* One product y = x W^T + bias (+ residual). Horizontally fused products share x. */
typedef struct sonde_linear_part {
    const sonde_packed *weight;
    const void *bias;     /* real [rows of weight], or NULL */
    const void *residual; /* real rows added last (y = residual + product), or NULL; of the same
                             row as y */
    int64_t residual_stride;
    void *y;
    int64_t y_stride;
} sonde_linear_part;
typedef struct sonde_linear_args {
    const void *x; /* [.., cols] */
    int64_t x_stride;
    const int32_t *x_rows; /* NULL: output row m reads x row m; else x row x_rows[m] */
    const int32_t *y_rows; /* NULL: output row m is y row m; else y row y_rows[m], each once */
    int64_t m;             /* output rows */
    int32_t n_parts;
    sonde_linear_part parts[SONDE_LINEAR_PARTS]; /* equal cols */
    void *prepared;        /* what linear_prepare made of x, or NULL: then each call makes its own */
} sonde_linear_args;

/* Rows of an embedding matrix: y[m] = W[ids[m]]. */
typedef struct sonde_embed_args {
    const sonde_packed *weight;
    const int32_t *ids; /* [m], within range */
    int64_t m;
    void *y;
    int64_t y_stride;
} sonde_embed_args;

/* ---- row-wise steps: a unit is a row ------------------------------------------------------------ */

typedef struct sonde_norm_args {
    sonde_norm_kind kind;
    const void *x;
    int64_t x_stride;
    void *y;
    int64_t y_stride;
    void *scale;          /* [m, groups] what the norm divides by, or NULL */
    int64_t scale_stride;
    const void *weight, *bias; /* real [group] each (shared by the groups) or [group * groups] when
                                  weight_per_group; NULL: none */
    bool weight_per_group;
    int64_t m, group, groups;
    double eps;
} sonde_norm_args;

typedef struct sonde_rope_args {
    sonde_rope_pairing pairing;
    const void *x;
    int64_t x_stride;
    void *y;
    int64_t y_stride;
    int64_t m, n_heads, head_dim, offset, rotary_dims;
    const void *cos, *sin;  /* tables [entries, rotary_dims / 2], attention scaling included */
    const int32_t *entry;   /* [m] table row of each row */
} sonde_rope_args;

typedef enum sonde_map_op {
    SONDE_MAP_ADD = 0,      /* a + b */
    SONDE_MAP_SCALE = 1,    /* a * c */
    SONDE_MAP_SOFTCAP = 2,  /* c * tanh(a / c) */
    SONDE_MAP_ACTIVATE = 3, /* act(a) */
    SONDE_MAP_GLU = 4,      /* act(a) * b */
    SONDE_MAP_OFFSET = 5,   /* a + c */
    SONDE_MAP_CLAMP = 6,    /* between c and d; NaN stays */
    SONDE_MAP_SCALE_BY_POSITION = 7, /* a * b[row] */
    SONDE_MAP_WEIGH = 8,    /* a times each of the k weights of its row */
} sonde_map_op;
typedef struct sonde_map_args {
    sonde_map_op op;
    sonde_act act;
    const void *a, *b; /* y may be a or b */
    int64_t a_stride, b_stride;
    void *y;
    int64_t y_stride;
    int64_t m, width; /* of y */
    int64_t slots;    /* WEIGH: weights of a row */
    double c, d;
} sonde_map_args;

/* y = head by head the dims of one operand, then those of another: copies. */
typedef struct sonde_join_part {
    const void *x;
    int64_t x_stride, head_stride; /* head_stride 0: the same dims for every head */
    int64_t dims;
} sonde_join_part;
typedef struct sonde_join_args {
    sonde_join_part part[2];
    void *y; /* [m, n_heads, dims of both] */
    int64_t y_stride, m, n_heads;
} sonde_join_args;

/* The choice of experts of each row. In this order: scores (softmax as in attention: e times 1 / sum,
 * the sum by lanes over all experts); + correction for the choice only; groups by falling score,
 * each the maximum or the sum of its two largest, the larger one first; the n_chosen largest of the
 * groups kept; their weights (a softmax over them: lanes in the order of choice); sorted by falling
 * weight; / (sum by lanes + epsilon); * scaling. All ties to the lower index. */
typedef struct sonde_route_args {
    const sonde_route_spec *spec;
    const void *logits; /* [m, n_experts] */
    int64_t logits_stride;
    const void *correction; /* real [n_experts], or NULL */
    void *weights;          /* [m, n_chosen] */
    int64_t weights_stride;
    void *ids; /* int32 [n_chosen] at the begin of each row */
    int64_t ids_stride; /* reals */
    int64_t m;
} sonde_route_args;
/* Bytes of scratch of one thread. */
static inline size_t sonde_route_scratch(const sonde_route_args *args)
{
    return (size_t)(2 * args->spec->n_experts + 8) * sizeof(double);
}

/* y = fma(weights[j], x[j], y) from +0 over the slots in order (without weights y + x[j]), then
 * + shared. */
typedef struct sonde_combine_args {
    const void *x; /* [m, slots, width] */
    int64_t x_stride;
    const void *weights; /* [m, slots] or NULL */
    int64_t weights_stride;
    const void *shared; /* [m, width] or NULL */
    int64_t shared_stride;
    void *y; /* [m, width] */
    int64_t y_stride;
    int64_t m, slots, width;
} sonde_combine_args;

/* Labels of rows from raw logits at temperature 1: log p(token), entropy (nats), rank (0: the
 * largest; ties count lower ids first). */
typedef struct sonde_label_args {
    const void *logits; /* [m, vocab] */
    int64_t logits_stride, m, vocab;
    const int32_t *tokens; /* [m] the token whose probability is asked; negative: NaN, rank -1 */
    float *logprob, *entropy; /* [m]; NULL: not wanted */
    int32_t *rank;            /* [m]; NULL: not wanted */
} sonde_label_args;

/* ---- cache and attention ------------------------------------------------------------------------ */

/* One page of one layer holds 64 positions, for each KV head in turn: K as [head_dim][64], then V
 * as [64][value_dim], elements of `dtype` (F32, BF16, F16; the oracle: F64). */
typedef struct sonde_kv_layout {
    sonde_dtype dtype;
    int64_t n_kv_heads, head_dim, value_dim;
} sonde_kv_layout;
static inline size_t sonde_kv_page_bytes(const sonde_kv_layout *l)
{
    return sonde_dtype_bytes(l->dtype, l->n_kv_heads * (l->head_dim + l->value_dim) *
                                           SONDE_PAGE_POSITIONS);
}

/* Consecutive rows of the batch that are consecutive positions of one sequence. */
typedef struct sonde_span {
    int64_t row, n_rows;   /* rows [row, row + n_rows) of the batch */
    int64_t position;      /* of the first one */
    void *const *pages;    /* of this layer; page p holds positions [64 p, 64 p + 64) */
} sonde_span;

typedef struct sonde_cache_args {
    sonde_kv_layout layout;
    const void *k, *v; /* [m, n_kv * head_dim], [m, n_kv * value_dim] */
    int64_t k_stride, v_stride;
    const sonde_span *spans;
    int64_t n_spans;
} sonde_cache_args;

#define SONDE_ATTEND_SCORES 1u  /* q, K -> scores */
#define SONDE_ATTEND_SOFTMAX 2u /* scores -> pattern */
#define SONDE_ATTEND_VALUES 4u  /* pattern, V -> z */
#define SONDE_ATTEND_ALL 7u
typedef struct sonde_attend_args {
    sonde_kv_layout layout;
    const void *q; /* [m, n_heads * head_dim] */
    int64_t q_stride;
    void *z; /* [m, n_heads * value_dim] */
    int64_t z_stride;
    const sonde_span *spans;
    int64_t n_spans;
    int64_t n_heads;
    double scale, softcap; /* softcap 0: none */
    sonde_mask_kind mask;
    int64_t window;
    const void *sinks; /* real [n_heads] or NULL */
    /* ALiBi, behind the product with scale and before the soft-cap; slopes [n_heads] or NULL. With
     * key position t and query position p, in fp32: KEY s = fma(slope, t, s); RELATIVE
     * s = fma(slope, t - p, s); ROUNDED s = fma(scale, bf16(bf16(slope) * bf16(t)), s). */
    const double *slopes;
    sonde_alibi_kind alibi;
    /* Phases run, consecutive bits. When they do not begin with SCORES the input is read from the
     * ragged buffer; when they do not end with VALUES the result is left there. A non-NULL ragged
     * buffer is always written by the phase that makes it. */
    uint32_t phases;
    void *scores, *pattern; /* real, or NULL; row r of the batch is [ragged[r], ragged[r + 1]):
                               n_heads x T visible keys, heads slowest, oldest key first */
    const int64_t *ragged;  /* [m + 1] */
} sonde_attend_args;

/* First visible key of a query (position of the query, mask); keys [first, position] are seen. */
static inline int64_t sonde_first_visible(sonde_mask_kind mask, int64_t window, int64_t position)
{
    if (mask == SONDE_MASK_SLIDING) return position - window + 1 > 0 ? position - window + 1 : 0;
    if (mask == SONDE_MASK_CHUNKED) return position - position % window;
    return 0;
}

/* ---- the table ---------------------------------------------------------------------------------- */

typedef struct sonde_backend {
    const char *name;  /* "cpu", "blas", "oracle" */
    const char *level; /* "avx512", "avx2", "scalar"; "double" */
    size_t real_bytes;
    bool exact; /* gives the bits of kernels.md's exact mode */
    const char *mode; /* as captures record it: "exact", "int"; "blas", "oracle" */
    const struct sonde_backend *integers; /* the same with exact integer products (--mode int), or NULL */

    /* Precision a stored matrix is kept in, and the bytes it takes packed. */
    sonde_dtype (*packed_dtype)(sonde_dtype stored);
    /* NULL, or: can the stored integers and scales of this matrix be kept (packed as its own dtype)? */
    bool (*keeps)(const sonde_matrix_source *source);
    size_t (*packed_bytes)(sonde_dtype packed, int64_t rows, int64_t cols);
    /* Packs panels [begin, end) of ceil(rows / 32) into packed->data (allocated by the caller). The
     * scratch is sonde_pack_scratch_floats(cols). */
    void (*pack)(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                 int64_t end, float *scratch);

    /* NULL, or: rows of x made ready once for all threads. Bytes they take (0: none are needed), and
     * output rows [begin, end) of them, into memory that `prepared` will point to. */
    size_t (*linear_prepared)(const sonde_linear_args *args);
    void (*linear_prepare)(const sonde_linear_args *args, int64_t begin, int64_t end, void *prepared);
    int64_t (*linear_units)(const sonde_linear_args *args);
    size_t (*linear_scratch)(const sonde_linear_args *args); /* bytes for one thread */
    void (*linear)(const sonde_linear_args *args, int64_t begin, int64_t end, void *scratch);

    void (*embed)(const sonde_embed_args *args, int64_t begin, int64_t end);
    void (*norm)(const sonde_norm_args *args, int64_t begin, int64_t end);
    void (*rope)(const sonde_rope_args *args, int64_t begin, int64_t end);
    void (*map)(const sonde_map_args *args, int64_t begin, int64_t end);
    void (*join)(const sonde_join_args *args, int64_t begin, int64_t end);
    void (*route)(const sonde_route_args *args, int64_t begin, int64_t end, void *scratch);
    void (*combine)(const sonde_combine_args *args, int64_t begin, int64_t end);
    void (*label)(const sonde_label_args *args, int64_t begin, int64_t end);

    int64_t (*cache_units)(const sonde_cache_args *args);
    void (*cache)(const sonde_cache_args *args, int64_t begin, int64_t end);
    int64_t (*attend_units)(const sonde_attend_args *args);
    size_t (*attend_scratch)(const sonde_attend_args *args); /* bytes for one thread */
    void (*attend)(const sonde_attend_args *args, int64_t begin, int64_t end, void *scratch);

    /* Rope tables: fills cos and sin (reals [rotary_dims / 2]) for one position. inv_freq is fp32;
     * the angle is the fp32 product of position and inv_freq (oracle: the double product). */
    void (*rope_entry)(const float *inv_freq, int64_t rotary_dims, int64_t position,
                       double attention_scaling, void *cos, void *sin);
} sonde_backend;

/* The backend of a name ("cpu", "blas", "oracle") at the highest level that the processor has and
 * `max_level` allows. UNKNOWN_NAME names the near one; UNSUPPORTED when it is not in this build. */
sonde_status sonde_backend_get(const char *name, sonde_cpu_level max_level,
                               const sonde_backend **backend, sonde_error *err);

#endif
