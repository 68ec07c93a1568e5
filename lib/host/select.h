/*
 * select.h - the selection language of cli.md: which hook points, which parts of them, which rows.
 *
 * Points: comma-separated globs with brace lists, `blocks.*.resid_post`, `blocks.{0,5}.attn.{q,k}`,
 * `blocks.-1.resid_post`, each optionally with parts `[0,4,8:16]` (heads of points with heads, else
 * channels) and rows `@EXPR`. Commas inside {} [] () never split.
 * Rows: terms joined by & | ! and parentheses; `first:N last:N every:N sample:P` count within what
 * the terms before them in the same conjunction left.
 */
#ifndef SONDE_HOST_SELECT_H
#define SONDE_HOST_SELECT_H

#include "core/core.h"
#include "sonde/model.h"

/* --- rows ------------------------------------------------------------------------------------- */

typedef struct sonde_rows_expr sonde_rows_expr;

/* What a rows expression looks at: one sequence's rows in order. Borrowed for the call. */
typedef struct sonde_rows_context {
    int64_t n_rows;                 /* positions 0 .. n_rows - 1 */
    const uint32_t *tokens;         /* [n_rows] */
    const uint8_t *phase, *segment; /* [n_rows] codes of storage.md; NULL: all 0 */
    const uint8_t *special;         /* [n_rows] 1: a special token; NULL: none */
    const uint8_t *marked;          /* [n_rows] 1: inside one of the prompt's spans; NULL: none */
    int64_t bos;                    /* id of the beginning-of-sequence token, or -1 */
    const char *id;                 /* of the prompt, for file:LIST */
    uint64_t index, seed;           /* for sample:P and file:LIST */
} sonde_rows_context;

/* Compiles an expression; USAGE errors point at the place and name the near term. `!` binds
 * tightest, then `&`, then `|`; spaces may stand between terms, not within one. pos:A..B keeps
 * A <= position < B, either may be left out; every:N keeps the first and each N-th after it;
 * sample:P draws by (seed, index, position) alone. file:LIST names a text file (at most 256 MiB)
 * with a line "ID POSITION" per kept row, ID being a prompt's id or its index; it is read here. */
sonde_status sonde_rows_compile(const char *text, sonde_rows_expr **expr, sonde_error *err);
/* The same for an expression that came with a prompt: file:LIST is refused. */
sonde_status sonde_rows_compile_without_files(const char *text, sonde_rows_expr **expr,
                                              sonde_error *err);
void sonde_rows_destroy(sonde_rows_expr **expr);
/* keeps[i] = 1 where row i is kept. [any thread] */
sonde_status sonde_rows_evaluate(const sonde_rows_expr *expr, const sonde_rows_context *context,
                                 uint8_t *keeps, sonde_error *err);
/* True when a row is decided by the prompt, its continuation and the rows before it: then rows of
 * generated tokens can be decided while they are made. Only last:N can need more, where it counts
 * within rows that may be generated. */
bool sonde_rows_is_causal(const sonde_rows_expr *expr);
bool sonde_rows_is_all(const sonde_rows_expr *expr); /* keeps everything */
/* True when the expression can keep rows of generated tokens. */
bool sonde_rows_may_keep_generated(const sonde_rows_expr *expr);

/* --- points ----------------------------------------------------------------------------------- */

/* A run of elements of a row (dense: of the whole row; ragged: heads). */
typedef struct sonde_part {
    int64_t begin, end;
} sonde_part;

typedef struct sonde_selected_point {
    int64_t point;     /* index into the model's points */
    sonde_part *parts; /* NULL: whole rows */
    int64_t n_parts;
    bool parts_are_heads;
    char *rows; /* text after @, or NULL */
} sonde_selected_point;

typedef struct sonde_points_selection {
    sonde_selected_point *points; /* in execution order; a point at most once */
    int64_t count;
} sonde_points_selection;

/* Resolves selections (each as typed) against a model. UNKNOWN_NAME: nothing matches (near names,
 * or why the family lacks it); USAGE: syntax, parts out of range or named twice, rows that do not
 * compile, the same point with different parts or rows twice. Parts keep the order in which they
 * were typed. A prefix (tl: hf: vllm: gguf:, hook-points.md) takes another tool's name, where that
 * tool has a tensor equal to the point. Release with sonde_points_reset. */
sonde_status sonde_points_select(const sonde_model *model, const char *const *texts, int64_t count,
                                 sonde_points_selection *selection, sonde_error *err);
void sonde_points_reset(sonde_points_selection *selection);
/* Splits at top-level commas; pieces are given (each and the array by sonde_free). */
sonde_status sonde_split_commas(const char *text, char ***pieces, int64_t *count, sonde_error *err);
/* Full-match of `text` by a glob of * ? and brace lists. */
bool sonde_glob_match(const char *pattern, const char *text);

#endif
