#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool read_entry(const char *bytes, size_t size, size_t *at, golden_entry *e)
{
    uint32_t length;
    uint64_t count;
    uint8_t kind;
    if (size - *at < 4) return false;
    memcpy(&length, bytes + *at, 4);
    *at += 4;
    if (size - *at < (size_t)length + 17) return false;
    e->name = sonde_strndup(bytes + *at, length);
    *at += length;
    memcpy(&kind, bytes + *at, 1);
    memcpy(&e->floor, bytes + *at + 1, 8);
    memcpy(&count, bytes + *at + 9, 8);
    *at += 17;
    size_t need = (size_t)count * (kind == 2 ? 8 : 4);
    if (size - *at < need) return false;
    e->kind = kind;
    e->count = (int64_t)count;
    void *copy = sonde_alloc_raw(need, 1);
    memcpy(copy, bytes + *at, need);
    e->data = copy;
    *at += need;
    return true;
}

bool golden_load(const char *path, golden *g)
{
    size_t size, at = 6, capacity = 0;
    sonde_error err;
    memset(g, 0, sizeof *g);
    if (sonde_read_file(path, (size_t)1 << 30, &g->bytes, &size, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return false;
    }
    if (size < 6 || memcmp(g->bytes, "SGLD1\n", 6) != 0) return false;
    while (at < size) {
        if (!sonde_grow(&g->entries, &capacity, (size_t)g->count + 1, sizeof *g->entries))
            return false;
        if (!read_entry(g->bytes, size, &at, &g->entries[g->count++])) return false;
    }
    return true;
}

void golden_reset(golden *g)
{
    for (int64_t i = 0; i < g->count; i++) {
        void *data;
        memcpy(&data, &g->entries[i].data, sizeof data);
        sonde_free(data);
        sonde_free(g->entries[i].name);
    }
    sonde_free(g->entries);
    sonde_free(g->bytes);
    memset(g, 0, sizeof *g);
}

const golden_entry *golden_find(const golden *g, const char *name)
{
    for (int64_t i = 0; i < g->count; i++)
        if (strcmp(g->entries[i].name, name) == 0) return &g->entries[i];
    return NULL;
}

const char *test_shared(void)
{
    const char *path = getenv("SONDE_SHARED");
    if (path && *path) return path;
    fprintf(stderr, "SONDE_SHARED is not set: the shared goldens are left out\n");
    return NULL;
}

double relative_error(const float *a, const float *b, int64_t n)
{
    double worst = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= 1e300)) return INFINITY;
        worst = fmax(worst, difference);
        squares += (double)b[i] * (double)b[i];
    }
    return worst == 0.0 ? 0.0 : worst / sqrt(squares / (double)n);
}
