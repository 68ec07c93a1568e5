/*
 * analysis.h - comparing capture files.
 *
 * `a` is the subject, `b` the reference: relative numbers are normalised by b. Sequences are paired
 * by the ids that a user gave where both files have them, else by the hash of their prompt's
 * tokens, else by their index; rows by (position, token id) inside a pair of sequences; points and
 * probe tables by name. Columns of /rows that hold results or labels (phase, segment, logprob) are
 * compared where both files hold them. Memory: about 60 bytes per row of /rows and a fixed amount
 * for values; no point is ever held whole. All sums are fp64.
 *
 * Verdicts. A point is *identical* when every bit of every paired value is equal (two NaNs are
 * equal, +0 and -0 are not), *within limits* when it is not but keeps every static limit that was
 * given, else it *differs*. A NaN or infinity on one side only always fails. Without limits any
 * difference fails. Unmatched points, rows (and sequences), token ids, stored dtypes, the version
 * of the hook vocabulary and the model's hash fail unless waived by name. A fact that a file does
 * not hold (minimal captures hold few) is no mismatch.
 *
 * Rounding floor. Half a unit in the last place of a stored value v is between f|v| and 2f|v|,
 * with f = 2^-9 for bf16, 2^-12 for f16, 2^-25 for f32 (8, 11, 24 bits of significand) and 0 for
 * integers. One correct rounding of everything gives a relative L2 a little below f (bf16: 1.7e-3
 * against 1.95e-3); a relative L2 of many floors is no rounding of the stored value.
 *
 * Depends on the public headers only. [any thread], one call at a time per report.
 */
#ifndef SONDE_ANALYSIS_H
#define SONDE_ANALYSIS_H

#include "sonde/options.h"

#include <stdio.h>

/* Static limits; those that are given must all be kept. 0: no such limit. */
typedef struct sonde_diff_limits {
    double atol, rtol; /* every |a - b| <= atol + rtol |b|; both 0: no such limit */
    double max_rel_l2; /* of the point */
    double min_cosine; /* of the point */
    double max_ulp;    /* every distance in units of the coarser stored dtype's last place */
} sonde_diff_limits;

typedef struct sonde_diff_options {
    uint32_t struct_size;
    const char *waive;  /* names of model, points, rows, tokens, dtype, vocabulary; commas */
    const char *points; /* globs (* ? and brace lists), commas, of points, probe tables' paths and
                         * columns; NULL: all */
    sonde_diff_limits limits; /* of every point and table */
    /* "GLOBS:KEY=X,KEY=X": limits of some; the keys are those of the table (atol, max-ulp, ...).
     * A later one goes before an earlier one, and all before `limits`, key by key. */
    sonde_option_list limit;
    bool json; /* for the caller: which of the two printers */
} sonde_diff_options;

/* What a person may type, for sonde/options.h. */
extern const sonde_option sonde_diff_options_table[];
void sonde_diff_options_init(sonde_diff_options *options);

typedef enum sonde_diff_verdict {
    SONDE_DIFF_IDENTICAL = 0,
    SONDE_DIFF_WITHIN = 1,
    SONDE_DIFF_DIFFERS = 2,
    SONDE_DIFF_UNMATCHED = 3, /* in one file only, or of another shape: nothing was compared */
    SONDE_DIFF_EMPTY = 4,     /* in both, but no row in common */
} sonde_diff_verdict;
const char *sonde_diff_verdict_name(sonde_diff_verdict verdict);

typedef struct sonde_diff_metrics {
    int64_t elements;  /* compared */
    int64_t unequal;   /* by their bits */
    int64_t nonfinite; /* NaN or infinity on one side only, or infinities of unequal sign */
    int64_t over;      /* |a - b| > atol + rtol |b| */
    double max_abs;    /* of a - b, finite pairs; as all below */
    double rel_l2;     /* |a - b| / |b|; infinite when b is 0 and a is not */
    double cosine;     /* 1 when identical, 0 when one is 0, NaN when squares overflow */
    double max_ulp;    /* distances of finite pairs in the coarser stored dtype, to which the */
    double mean_ulp;   /* finer value is rounded; integers: a - b */
    int64_t ulp_above_1;
} sonde_diff_metrics;

typedef struct sonde_diff_place {
    bool present;
    bool has_row; /* sequence, position, token are known (not in probe tables) */
    uint64_t sequence; /* input index in a */
    uint32_t position, token;
    char id[64], piece[64]; /* printable, cut to fit; empty when absent */
    int32_t n_index;
    int64_t index[4]; /* of the element in its row: [channel], [head, channel], [head, key] */
    double a, b;      /* the two values (places of elements only) */
} sonde_diff_place;

/* One point; or one table: of a probe, by its path below /probes (`rows` is then 0 and `worst`
 * absent), or a column of /rows, as "/rows/logprob". */
typedef struct sonde_diff_point {
    char *name; /* printable: odd bytes are \xNN */
    sonde_diff_verdict verdict;
    bool fails;         /* makes the whole comparison fail */
    char why[96];       /* empty, or why it fails, or what was waived */
    bool ragged;
    sonde_dtype stored_a, stored_b; /* SONDE_DTYPE_NONE: not in that file */
    double floor;                   /* rounding floor of the coarser of the two */
    sonde_diff_limits limits;       /* that it was judged by */
    int64_t rows, rows_only_a, rows_only_b;
    int64_t rows_misfit; /* ragged rows of unequal length or first key */
    sonde_diff_metrics metrics;
    sonde_diff_place first; /* first unequal element, in a's order */
    sonde_diff_place worst; /* row of the greatest relative L2 */
    double worst_rel_l2;
} sonde_diff_point;

typedef struct sonde_diff_report sonde_diff_report;

/* Compares capture files `a` and `b`. OK: identical or within the limits. DIFFERS and NOTHING (no
 * value was compared): *err says why in one line. These three give a report, to be destroyed;
 * any other status (BAD_CAPTURE, USAGE, NO_MEMORY, ...) gives none. */
sonde_status sonde_diff_run(const char *a, const char *b, const sonde_diff_options *options,
                            sonde_diff_report **report, sonde_error *err);
void sonde_diff_report_destroy(sonde_diff_report **report);

/* OK, DIFFERS or NOTHING, as sonde_diff_run returned. */
sonde_status sonde_diff_report_status(const sonde_diff_report *report);
/* Points in execution order of a, then those of b alone. Borrowed for the report's life. */
int64_t sonde_diff_report_point_count(const sonde_diff_report *report);
const sonde_diff_point *sonde_diff_report_point(const sonde_diff_report *report, int64_t index);
int64_t sonde_diff_report_table_count(const sonde_diff_report *report);
const sonde_diff_point *sonde_diff_report_table(const sonde_diff_report *report, int64_t index);

/* A table for people; JSON of README.md's schema. IO when the stream takes no more. */
sonde_status sonde_diff_print_text(const sonde_diff_report *report, FILE *out, sonde_error *err);
sonde_status sonde_diff_print_json(const sonde_diff_report *report, FILE *out, sonde_error *err);

#endif
