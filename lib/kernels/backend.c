/* backend.c - choosing a backend by name and level. */
#include "steps.h"

#include <string.h>

typedef struct backend_levels {
    const char *name;
    const sonde_backend *levels[3]; /* by sonde_cpu_level */
} backend_levels;

static const backend_levels backends[] = {
#if defined(__x86_64__)
    {"cpu", {&sonde_backend_cpu_scalar, &sonde_backend_cpu_avx2, &sonde_backend_cpu_avx512}},
    {"blas", {&sonde_backend_blas_scalar, &sonde_backend_blas_avx2, &sonde_backend_blas_avx512}},
#else
    {"cpu", {&sonde_backend_cpu_scalar, NULL, NULL}},
    {"blas", {&sonde_backend_blas_scalar, NULL, NULL}},
#endif
    {"oracle", {&sonde_backend_oracle, NULL, NULL}},
};
static const char *const names[] = {"cpu", "blas", "oracle", NULL};

sonde_status sonde_backend_get(const char *name, sonde_cpu_level max_level,
                               const sonde_backend **backend, sonde_error *err)
{
    if (strcmp(name, "cuda") == 0)
        return sonde_fail(err, SONDE_UNSUPPORTED, "backend cuda is not built yet");
    sonde_cpu_level best = sonde_cpu_best();
    for (size_t i = 0; i < SONDE_COUNT(backends); i++) {
        if (strcmp(backends[i].name, name) != 0) continue;
        int level = (int)SONDE_MIN(best, max_level);
        while (!backends[i].levels[level]) level--;
        *backend = backends[i].levels[level];
        return SONDE_OK;
    }
    const char *near = sonde_near_name(name, names);
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "no backend '%s' (cpu, blas, oracle)%s%s%s", name,
                      near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
