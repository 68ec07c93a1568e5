/* rows_internal.h - a rows expression as a tree: made by rows_compile.c, evaluated by rows.c. */
#ifndef SONDE_HOST_ROWS_INTERNAL_H
#define SONDE_HOST_ROWS_INTERNAL_H

#include "select.h"

typedef enum sonde_rows_kind {
    SONDE_ROWS_ALL,
    SONDE_ROWS_PHASE,
    SONDE_ROWS_SEGMENT,
    SONDE_ROWS_SPECIAL,
    SONDE_ROWS_BOS,
    SONDE_ROWS_MARKED,
    SONDE_ROWS_FIRST,
    SONDE_ROWS_LAST,
    SONDE_ROWS_EVERY,
    SONDE_ROWS_POS,
    SONDE_ROWS_SAMPLE,
    SONDE_ROWS_TOKEN,
    SONDE_ROWS_FILE,
    SONDE_ROWS_AND,
    SONDE_ROWS_OR,
    SONDE_ROWS_NOT,
} sonde_rows_kind;

typedef struct sonde_listed_row {
    char *id;
    int64_t position;
} sonde_listed_row;

typedef struct sonde_rows_node {
    sonde_rows_kind kind;
    int64_t a, b;             /* numbers of a term: code, N, first and end position */
    double share;             /* sample:P */
    uint32_t *tokens;         /* sorted */
    sonde_listed_row *listed; /* sorted */
    int64_t n_listed;         /* tokens or listed rows */
    struct sonde_rows_node *left, *right;
} sonde_rows_node;

struct sonde_rows_expr {
    sonde_rows_node *root;
};

/* Order of `listed`: by id, then by position. For qsort and bsearch. */
int sonde_listed_row_compare(const void *a, const void *b);
/* Order of `tokens`. */
int sonde_token_compare(const void *a, const void *b);

#endif
