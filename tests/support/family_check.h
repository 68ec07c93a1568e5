/*
 * family_check.h - a model against its golden: every hook point in prefill and decode, generated
 * tokens, and decode against prefill bit for bit. [one thread; cmocka's assertions]
 */
#ifndef SONDE_TEST_FAMILY_CHECK_H
#define SONDE_TEST_FAMILY_CHECK_H

#include "core/core.h"

/* Sums over calls; start from zeros. */
typedef struct family_report {
    int bad;             /* comparisons that failed; each is printed */
    int64_t n_compared;  /* points compared with the golden */
    double worst_share;  /* largest error as a share of its bound, */
    double worst_error;  /* that error */
    char worst_point[96]; /* and where it is */
} family_report;

/* `model`: a folder or a .gguf file; `expected`: packed by tests/golden/pack_goldens.py; `name` for
 * messages. */
void family_check(const char *model, const char *expected, const char *name, const char *backend,
                  family_report *report);

/* Names in a folder of goldens, sorted; given to the caller (family_goldens_free). */
int64_t family_goldens(const char *folder, char ***names);
void family_goldens_free(char **names, int64_t n);
/* False when no family of this build takes the model. */
bool family_is_built(const char *folder);

#endif
