/*
 * diff_internal.h - the parts of a comparison. diff_metrics.c, diff_match.c and diff_text.c are
 * pure: they read no file.
 */
#ifndef SONDE_DIFF_INTERNAL_H
#define SONDE_DIFF_INTERNAL_H

#include "analysis/analysis.h"
#include "sonde/reader.h"

/* --- text --- */

enum {
    DIFF_WAIVE_MODEL = 1,
    DIFF_WAIVE_POINTS = 2,
    DIFF_WAIVE_ROWS = 4,
    DIFF_WAIVE_TOKENS = 8,
    DIFF_WAIVE_DTYPE = 16,
    DIFF_WAIVE_VOCABULARY = 32,
};
extern const char *const diff_waive_names[]; /* bit i is name i; NULL-terminated */
/* Bits of a comma-separated list (NULL: none); USAGE names what is unknown. */
sonde_status diff_waive_parse(const char *text, unsigned *waived, sonde_error *err);
/* True when one of the comma-separated globs matches all of `name`. */
bool diff_glob_match(const char *globs, const char *name);
/* USAGE, naming the option, when braces do not pair or there are too many stars. */
sonde_status diff_glob_check(const char *option, const char *globs, sonde_error *err);
/* Printable copy, cut to fit: control bytes, backslashes and broken UTF-8 become \xNN. */
void diff_printable(const char *bytes, size_t n, char *out, size_t out_bytes);

/* --- metrics --- */

typedef struct diff_sums {
    int64_t elements, unequal, nonfinite, over, ulp_above_1;
    double max_abs, max_ulp;
    double ulp;            /* sum of distances */
    double dd, aa, bb, ab; /* sums of (a-b)^2, a^2, b^2, ab */
} diff_sums;

typedef struct diff_accumulator {
    double atol, rtol;
    sonde_dtype unit; /* whose units in the last place are counted */
    diff_sums total, row;
    int64_t row_index;           /* of the open row: the caller's number */
    int64_t first_row, first_element; /* -1: all equal so far */
    double first_a, first_b;
    int64_t worst_row; /* -1: none */
    double worst_rel_l2;
} diff_accumulator;

void diff_accumulator_init(diff_accumulator *acc, const sonde_diff_limits *limits,
                           sonde_dtype unit);
void diff_row_begin(diff_accumulator *acc, int64_t row);
/* Elements [offset, offset + n) of the open row. */
void diff_row_add(diff_accumulator *acc, const double *a, const double *b, int64_t n,
                  int64_t offset);
void diff_row_end(diff_accumulator *acc);
double diff_sums_rel_l2(const diff_sums *sums);
double diff_sums_cosine(const diff_sums *sums);
void diff_sums_metrics(const diff_sums *sums, sonde_diff_metrics *metrics);
/* The verdict of what was compared, without regard to what was not. */
sonde_diff_verdict diff_judge(const sonde_diff_metrics *metrics, const sonde_diff_limits *limits);
double diff_rounding_floor(sonde_dtype dtype);
/* Which of two has the greater rounding floor. */
sonde_dtype diff_coarser(sonde_dtype a, sonde_dtype b);
/* Steps between two finite values on the line of a dtype's values. */
double diff_ulp_distance(sonde_dtype unit, double a, double b);

/* --- limits --- */

/* Limits of the points that globs match. */
typedef struct diff_limit {
    char *globs;  /* owned */
    unsigned set; /* bit i: key i is given */
    sonde_diff_limits limits;
} diff_limit;
/* Parses options->limit into *list, to be freed with diff_limits_free, also after a failure. */
sonde_status diff_limits_parse(const sonde_option_list *texts, diff_limit **list, int64_t *n,
                               sonde_error *err);
void diff_limits_free(diff_limit *list, int64_t n);
/* The limits that hold for a name. */
void diff_limits_of(const sonde_diff_limits *base, const diff_limit *list, int64_t n,
                    const char *name, sonde_diff_limits *limits);

/* --- matching --- */

typedef struct diff_rows {
    int64_t count;
    uint64_t *sequence;
    uint32_t *position, *token;
} diff_rows;

typedef struct diff_sequence {
    uint64_t sequence; /* input index */
    int64_t entry;     /* index into /sequences; -1: seen in /rows only */
    char *id;          /* NULL: none; owned */
    bool id_is_given;
    uint64_t xxh3;     /* of the prompt's tokens; 0: unknown */
    int64_t last_token;
    int64_t peer;      /* index into the other side's list; -1: none */
} diff_sequence;

typedef struct diff_side {
    sonde_reader *reader;
    diff_rows rows;
    diff_sequence *sequences; /* ascending by input index */
    int64_t n_sequences;
} diff_side;

typedef struct diff_matching {
    int64_t by_id, by_tokens, by_index; /* pairs of sequences */
    int64_t sequences_only_a, sequences_only_b;
    int64_t rows, rows_only_a, rows_only_b;     /* of /rows */
    int64_t tokens_differ;                      /* rows at one place with unequal token ids */
    int64_t runs_differ;                        /* pairs of sequences with unequal token runs */
    sonde_diff_place token_place;               /* the first of them; `token` is a's */
    uint32_t token_b;
} diff_matching;

/* Sorts and joins the list of a side: one entry per input index, /sequences before /rows. */
void diff_sequences_unique(diff_side *side);
/* Pairs the two lists. `loose`: sequences of unequal tokens may be paired by index. */
sonde_status diff_match_sequences(diff_side *a, diff_side *b, bool loose, diff_matching *m,
                                  sonde_error *err);
/* peer[i], for each row i of a: its row in b, or -1. Rows of unequal token ids are paired only when
 * `loose`. */
sonde_status diff_match_rows(const diff_side *a, const diff_side *b, bool loose, int64_t *peer,
                             diff_matching *m, sonde_error *err);
/* The entry of an input index, or -1. */
int64_t diff_sequence_find(const diff_side *side, uint64_t sequence);

/* --- the comparison --- */

typedef struct diff_fact {
    const char *name;
    char a[96], b[96]; /* printable; empty: absent */
    bool same, waived, fails;
} diff_fact;
#define DIFF_FACTS 8

/* Where the options that decide content are unequal. */
typedef struct diff_manifest {
    bool compared; /* both files have one */
    int64_t count; /* of differences; the first DIFF_OPTIONS are kept */
    struct {
        char key[96];      /* "options.points" */
        char a[128], b[128]; /* JSON, printable, cut to fit; empty: absent */
    } first[32];
} diff_manifest;
#define DIFF_OPTIONS 32
/* Compares two manifests (JSON texts); BAD_CAPTURE names the file whose text is no JSON object. */
sonde_status diff_manifest_compare(const sonde_reader *a, const sonde_reader *b,
                                   diff_manifest *manifest, sonde_error *err);

struct sonde_diff_report {
    sonde_status status;
    char reason[256];
    char *path_a, *path_b;
    sonde_diff_options options; /* texts are not kept */
    unsigned waived;
    diff_fact facts[DIFF_FACTS];
    int32_t n_facts;
    diff_manifest manifest;
    diff_matching matching;
    sonde_diff_point *points, *tables;
    int64_t n_points, n_tables;
    int64_t n_columns; /* how many of tables, at their end, are columns of /rows */
};

typedef struct diff_context {
    diff_side a, b;
    int64_t *peer;    /* [rows of a] row of b, or -1 */
    int64_t *inverse; /* [rows of b] row of the present point in b, or -1 */
    double *values_a, *values_b; /* [DIFF_CHUNK_ELEMENTS] or one row */
    int64_t capacity;            /* elements of each */
    void *staging;               /* 8 bytes an element */
    const sonde_diff_options *options;
    diff_limit *limit;
    int64_t n_limit;
    sonde_diff_report *report;
} diff_context;

/* Values of one chunk and side: 8 MiB of doubles. */
#define DIFF_CHUNK_ELEMENTS ((int64_t)1 << 20)
#define DIFF_CHUNK_ROWS 4096

/* Zeroed memory or NO_MEMORY; freed by free(). */
sonde_status diff_alloc(size_t count, size_t bytes_each, const char *what, void *pointer,
                        sonde_error *err);
/* Reads /rows and /sequences of an open side. */
sonde_status diff_side_load(diff_side *side, sonde_error *err);
void diff_side_reset(diff_side *side);
/* Compares the token runs of paired sequences. */
sonde_status diff_compare_runs(diff_context *ctx, sonde_error *err);
/* Fills a place from a row of a's /rows and an element of a point. */
sonde_status diff_place_fill(diff_context *ctx, int64_t row_a, sonde_diff_place *place,
                             sonde_error *err);

/* Rows of one point of a, with their partners in b: for each, the row in a's /rows and the row of
 * the point in b, or -1. */
typedef struct diff_pairs {
    int64_t n;
    uint64_t rows_a[DIFF_CHUNK_ROWS];
    int64_t point_b[DIFF_CHUNK_ROWS];
} diff_pairs;
/* Fills ctx->inverse for a point of b. */
sonde_status diff_inverse_load(diff_context *ctx, int64_t point, const sonde_point_info *info,
                               sonde_error *err);
/* Partners of rows [first, first + n) of a point of a; n <= DIFF_CHUNK_ROWS. */
sonde_status diff_pairs_load(diff_context *ctx, int64_t point, const sonde_point_info *info,
                             int64_t first, int64_t n, diff_pairs *pairs, sonde_error *err);
/* Buffers for at least `elements` values a side. */
sonde_status diff_buffers_reserve(diff_context *ctx, int64_t elements, sonde_error *err);

/* Columns of /rows stand beside the points, under numbers below 0: dense, of one number a row,
 * without a row map. */
enum { DIFF_COLUMN_PHASE = -1, DIFF_COLUMN_SEGMENT = -2, DIFF_COLUMN_LOGPROB = -3 };
sonde_status diff_source_info(const sonde_reader *reader, int64_t source, sonde_point_info *info,
                              sonde_error *err);
/* As sonde_reader_rowmap. */
sonde_status diff_source_rowmap(sonde_reader *reader, int64_t source, int64_t first, int64_t n,
                                uint64_t *dst, sonde_error *err);
/* Rows [first, first + n) of a column as fp64; `staging` has room for n doubles. */
sonde_status diff_column_read(sonde_reader *reader, int64_t column, int64_t first, int64_t n,
                              void *staging, double *dst, sonde_error *err);

/* Compares points `ia` of a and `ib` of b (dense, or both ragged) into *point. */
sonde_status diff_dense(diff_context *ctx, int64_t ia, int64_t ib, diff_accumulator *acc,
                        sonde_diff_point *point, sonde_error *err);
sonde_status diff_ragged(diff_context *ctx, int64_t ia, int64_t ib, diff_accumulator *acc,
                         sonde_diff_point *point, sonde_error *err);
/* [head, key] of element `flat` of row `row_a` of a ragged point. */
sonde_status diff_ragged_index(diff_context *ctx, int64_t point, int64_t point_row, int64_t flat,
                               sonde_diff_place *place, sonde_error *err);
/* Appends to a list that has room: `name` printable, unmatched so far. */
sonde_status diff_list_add(sonde_diff_point *list, int64_t *n, const char *name,
                           sonde_diff_point **point, sonde_error *err);
bool diff_is_selected(const diff_context *ctx, const char *name);
/* Compares two points of one name, or two columns, from values to the verdict. */
sonde_status diff_compare_point(diff_context *ctx, int64_t ia, int64_t ib, sonde_diff_point *point,
                                sonde_error *err);
/* Notes what makes a point fail, or what a waiver lets pass. */
void diff_blame(sonde_diff_point *point, bool waived, const char *why);
/* Every point; every probe table; every column that both hold. Fill report->points and ->tables. */
sonde_status diff_points(diff_context *ctx, sonde_error *err);
sonde_status diff_tables(diff_context *ctx, sonde_error *err);
sonde_status diff_columns(diff_context *ctx, sonde_error *err);
/* "identical", "within limits", "differs" or "nothing compared". */
const char *diff_verdict_text(const sonde_diff_report *report);
/* Splits flat element `flat` of a row of `shape` into place->index. */
void diff_place_index(const int64_t *shape, int32_t n_dims, int64_t flat, sonde_diff_place *place);

#endif
