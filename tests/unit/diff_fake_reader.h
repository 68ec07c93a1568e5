/* A reader of captures in memory, linked into test_diff alone: it stands in for lib/store's functions. */
#ifndef TESTS_DIFF_FAKE_READER_H
#define TESTS_DIFF_FAKE_READER_H

#include "sonde/reader.h"

#include <stddef.h>

#define FAKE_MAX 16

typedef struct fake_point {
    sonde_point_info info;
    float values[FAKE_MAX * 4];
    uint64_t rowmap[FAKE_MAX];
    uint64_t indptr[FAKE_MAX + 1];
    uint32_t first_key[FAKE_MAX];
} fake_point;

typedef struct fake_table {
    sonde_table_info info;
    double values[FAKE_MAX];
} fake_table;

/* A capture; `path` is what it is opened by. */
struct sonde_reader {
    const char *path;
    bool minimal;
    const char *model_hash, *vocabulary, *manifest;
    int64_t n_rows, n_sequences, n_points, n_tables;
    uint64_t sequence[FAKE_MAX];
    uint32_t position[FAKE_MAX], token[FAKE_MAX];
    uint8_t phase[FAKE_MAX], segment[FAKE_MAX];
    float logprob[FAKE_MAX];
    sonde_sequence_info sequences[FAKE_MAX];
    uint32_t run[FAKE_MAX][FAKE_MAX];
    int64_t run_length[FAKE_MAX];
    fake_point points[3];
    fake_table tables[2];
};

typedef struct fake_pair {
    sonde_reader a, b;
} fake_pair;

/* Two files that are open by their names; tests change them before they run a comparison. */
extern fake_pair *fake_files;

#endif
