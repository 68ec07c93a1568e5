/* golden.h - expected tensors packed by tests/golden/pack_goldens.py, and where tests find files. */
#ifndef SONDE_TEST_GOLDEN_H
#define SONDE_TEST_GOLDEN_H

#include "core/core.h"

typedef struct golden_entry {
    char *name;
    int kind; /* 0 f32, 1 i32, 2 i64 */
    double floor;
    int64_t count;
    const void *data;
} golden_entry;

typedef struct golden {
    char *bytes;
    golden_entry *entries;
    int64_t count;
} golden;

/* false (with a message on stderr) when the file is missing or malformed. */
bool golden_load(const char *path, golden *g);
void golden_reset(golden *g);
const golden_entry *golden_find(const golden *g, const char *name); /* NULL: absent */

/* The folder of shared goldens, or NULL; says once that it is absent. */
const char *test_shared(void);
/* Largest |a - b| over the rms of b. NaN anywhere gives infinity. */
double relative_error(const float *a, const float *b, int64_t n);

#endif
