/*
 * capture_case.h - a small capture with every kind of dataset that the schema has, whose every value
 * follows from its place, so that tests can check a file without keeping another copy.
 */
#ifndef SONDE_TEST_CAPTURE_CASE_H
#define SONDE_TEST_CAPTURE_CASE_H

#include "store/schema.h"

#define CAPTURE_SEQUENCES 60
#define CAPTURE_WIDTH 48
#define CAPTURE_HEADS 3

typedef struct capture_case {
    const char *path;
    sonde_codec codec;
    int64_t chunk_target_bytes; /* 0: the default */
    int64_t sequences;          /* 0: CAPTURE_SEQUENCES */
    bool no_meta;
    bool overwrite;
} capture_case;

typedef struct capture_run {
    sonde_store *store;
    sonde_schema *schema;
    int32_t dense, scalar, ragged, mapped;  /* points */
    int32_t entropy, norms, hits, hit_sequence; /* datasets */
    int64_t rows, mapped_rows, hit_rows, sequences;
    int64_t elements; /* of the ragged point */
} capture_run;

/* Rows of sequence i: 5 + 7 i mod 23, of which the last two were generated when i is odd. */
int64_t case_rows(int64_t sequence);
uint16_t case_bf16(int64_t row, int64_t channel);
float case_score(int64_t row, int64_t element);

/* Create, declare, put everything, describe: each returns the first failure. */
sonde_status case_open(const capture_case *spec, capture_run *run, sonde_error *err);
sonde_status case_put(const capture_case *spec, capture_run *run, sonde_error *err);
sonde_status case_describe(capture_run *run, sonde_error *err);
void case_close(capture_run *run, bool discard);
/* All of it and a seal. */
sonde_status case_write(const capture_case *spec, sonde_error *err);

#endif
