/* hostile.h - the hostile checkpoint files and their verdicts (tests/goldens/hostile/README.md). */
#ifndef SONDE_TESTS_HOSTILE_H
#define SONDE_TESTS_HOSTILE_H

#include "core/core.h"

typedef struct hostile_case {
    const char *file, *verdict, *level, *why;
    const char *path;
    const void *data; /* in a heap block of exactly `bytes`, so that a sanitizer sees over-reads */
    size_t bytes;
} hostile_case;

/* Calls `check` for every case of a format ("gguf", "safetensors", "index"); returns how many. */
int hostile_each(const char *format, void (*check)(const hostile_case *));
/* Fails the test when a verdict and what happened differ. */
void hostile_judge(const hostile_case *c, sonde_status status, const sonde_error *err);

#endif
