/* conformance_synth.c - made-up sequences and values, and memory between guards. */
#include "conformance.h"

#include <stdlib.h>
#include <string.h>

#define GUARD 64
#define GUARD_BYTE 0xA7

synth_sequence synth[N_SEQUENCES];

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* One sequence of one row, one whose selection keeps every other row, one without any row. */
void synth_init(void)
{
    static const int64_t tokens[] = {9, 1, 14, 6, 70}, prompt[] = {5, 1, 8, 6, 40};
    static const int64_t step[] = {1, 1, 2, 1000, 1}, first[] = {0, 0, 1, 1000, 0};
    for (int64_t s = 0; s < N_SEQUENCES; s++) {
        synth[s] = (synth_sequence){.n_tokens = tokens[s], .n_prompt = prompt[s]};
        snprintf(synth[s].id, sizeof synth[s].id, "prompt-%d", (int)s);
        for (int64_t i = 0; i < tokens[s]; i++)
            synth[s].tokens[i] = (uint32_t)(mix((uint64_t)(s * 1000 + i)) % 50);
        for (int64_t i = first[s]; i < tokens[s]; i += step[s])
            synth[s].kept[synth[s].n_kept++] = i;
    }
}

int64_t synth_row_length(const sonde_hook_point *hook, const sonde_probe_point *point,
                         int64_t position, int64_t *first_key)
{
    *first_key = 0;
    if (!point->ragged) return point->width;
    *first_key = sonde_point_first_key(hook, position);
    return point->width * (position - *first_key + 1);
}

/* Ordinary values of both signs and many sizes; now and then -0 and a subnormal. */
void synth_row(uint32_t element, int64_t sequence, uint32_t point, int64_t position, int64_t n,
               float *out)
{
    uint64_t key = mix((uint64_t)sequence << 40 ^ (uint64_t)point << 20 ^ (uint64_t)position);
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = mix(key + (uint64_t)i);
        int32_t id = (int32_t)(bits % 8);
        float value = (float)((double)(int64_t)(bits >> 20) * 0x1p-43 - 1) * (float)(1 + bits % 5);
        if (bits % 61 == 0) value = -0.0f;
        if (bits % 67 == 0) value = 1e-41f;
        if (element == SONDE_ELEMENT_I32) memcpy(&out[i], &id, sizeof id);
        else out[i] = value;
    }
}

guarded guarded_alloc(size_t bytes)
{
    guarded g = {.raw = malloc(bytes + 2 * GUARD), .bytes = bytes};
    if (!g.raw) abort();
    memset(g.raw, GUARD_BYTE, bytes + 2 * GUARD);
    g.data = bytes ? g.raw + GUARD : NULL;
    if (bytes) memset(g.data, 0, bytes);
    return g;
}

bool guarded_intact(const guarded *g)
{
    for (size_t i = 0; i < GUARD; i++)
        if (g->raw[i] != GUARD_BYTE || g->raw[GUARD + g->bytes + i] != GUARD_BYTE) return false;
    return true;
}

void guarded_free(guarded *g)
{
    free(g->raw);
    memset(g, 0, sizeof *g);
}
