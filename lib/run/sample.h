/*
 * sample.h - choosing the next token (kernels.md 8). The definition, and the only version.
 *
 * Generator: Philox 4x32-10, key = seed (low, high word), counter = (position low, high, input index
 * low, high); u = (first word >> 8) * 2^-24. Candidates are sorted by logit falling, id rising; then
 * temperature, top-k, top-p, min-p in that order; probabilities are summed in sorted order, and the
 * first whose running sum exceeds u times the total is taken.
 */
#ifndef SONDE_SAMPLE_H
#define SONDE_SAMPLE_H

#include "core/core.h"

typedef struct sonde_sampling {
    double temperature; /* 0: greedy (the lowest id among equal maxima) */
    int64_t top_k;      /* 0: all */
    double top_p;       /* 1: all; keeps the smallest sorted set whose sum reaches top_p */
    double min_p;       /* 0: all; keeps p >= min_p * p_max */
} sonde_sampling;

typedef struct sonde_sampler sonde_sampler; /* scratch for one vocabulary; one per worker */
sonde_status sonde_sampler_create(int64_t vocab, sonde_sampler **sampler, sonde_error *err);
void sonde_sampler_destroy(sonde_sampler **sampler);
/* Chooses a token for `position` (of the token being drawn) of the sequence with this input index.
 * NaN logits are never chosen; BAD_MODEL when all are NaN. [one thread at a time per object] */
sonde_status sonde_sample(sonde_sampler *sampler, const float *logits,
                          const sonde_sampling *sampling, uint64_t seed, uint64_t sequence_index,
                          uint64_t position, uint32_t *token, sonde_error *err);
/* First word of Philox 4x32-10 (exposed for its known-answer test). */
void sonde_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
