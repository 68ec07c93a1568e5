/* sample.c - Philox 4x32-10 and the choice of a token. See sample.h for the definition. */
#include "sample.h"

#include "kernels/functions.h"

#include <math.h>
#include <string.h>

#define PHILOX_ROUNDS 10
#define RADIX_BITS 11
#define RADIX_SIZE (1u << RADIX_BITS)
#define RADIX_PASSES 3

typedef struct candidate {
    uint32_t key; /* smaller: larger logit */
    uint32_t id;
} candidate;

struct sonde_sampler {
    int64_t vocab;
    candidate *candidates, *swap; /* [vocab] */
    float *weights;               /* [vocab] unnormalised probabilities in sorted order */
};

void sonde_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0];
        uint64_t b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof c);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

sonde_status sonde_sampler_create(int64_t vocab, sonde_sampler **sampler, sonde_error *err)
{
    sonde_sampler *s = sonde_alloc(1, sizeof *s);
    if (!s) return sonde_no_memory(err, "the sampler", sizeof *s);
    s->vocab = vocab;
    s->candidates = sonde_alloc((size_t)vocab, sizeof *s->candidates);
    s->swap = sonde_alloc((size_t)vocab, sizeof *s->swap);
    s->weights = sonde_alloc((size_t)vocab, sizeof *s->weights);
    if (!s->candidates || !s->swap || !s->weights) {
        sonde_sampler_destroy(&s);
        return sonde_no_memory(err, "the sampler's candidates", (size_t)vocab * 20);
    }
    *sampler = s;
    return SONDE_OK;
}

void sonde_sampler_destroy(sonde_sampler **sampler)
{
    if (!*sampler) return;
    sonde_free((*sampler)->candidates);
    sonde_free((*sampler)->swap);
    sonde_free((*sampler)->weights);
    sonde_free(*sampler);
    *sampler = NULL;
}

/* A key that falls as the logit rises; -0 and +0 are one value. */
static uint32_t falling_key(float logit)
{
    float value = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rising = bits >> 31 ? ~bits : bits | 0x80000000u;
    return ~rising;
}

static float key_logit(uint32_t key)
{
    uint32_t rising = ~key;
    uint32_t bits = rising >> 31 ? rising & 0x7FFFFFFFu : ~rising;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

static int64_t gather(sonde_sampler *s, const float *logits)
{
    int64_t n = 0;
    for (int64_t id = 0; id < s->vocab; id++) {
        if (isnan(logits[id])) continue;
        s->candidates[n].key = falling_key(logits[id]);
        s->candidates[n++].id = (uint32_t)id;
    }
    return n;
}

/* Leaves those whose keys begin with digits up to that of the k-th smallest: at least k, in order. */
static int64_t keep_smallest(sonde_sampler *s, int64_t n, int64_t k)
{
    uint32_t count[RADIX_SIZE] = {0}, last = 0;
    int64_t sum = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) count[s->candidates[i].key >> (32 - RADIX_BITS)]++;
    while ((sum += count[last]) < k) last++;
    for (int64_t i = 0; i < n; i++)
        if (s->candidates[i].key >> (32 - RADIX_BITS) <= last) s->candidates[kept++] = s->candidates[i];
    return kept;
}

/* Stable, least significant digit first: equal logits stay in rising order of id. */
static void sort_candidates(sonde_sampler *s, int64_t n)
{
    candidate *from = s->candidates, *to = s->swap;
    for (int pass = 0; pass < RADIX_PASSES; pass++) {
        uint32_t start[RADIX_SIZE] = {0}, sum = 0;
        int shift = pass * RADIX_BITS;
        for (int64_t i = 0; i < n; i++) start[(from[i].key >> shift) & (RADIX_SIZE - 1)]++;
        for (uint32_t digit = 0; digit < RADIX_SIZE; digit++) {
            uint32_t count = start[digit];
            start[digit] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) to[start[(from[i].key >> shift) & (RADIX_SIZE - 1)]++] = from[i];
        candidate *swap = from;
        from = to;
        to = swap;
    }
    s->candidates = from;
    s->swap = to;
}

/* The largest number, in lanes so that a compiler may compare many at once, then its first place. */
static uint32_t greedy(const float *logits, int64_t vocab)
{
    enum { LANES = 16 };
    float lanes[LANES], largest = -INFINITY;
    int64_t whole = vocab - vocab % LANES;
    for (int j = 0; j < LANES; j++) lanes[j] = -INFINITY;
    for (int64_t id = 0; id < whole; id += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = logits[id + j] > lanes[j] ? logits[id + j] : lanes[j];
    for (int64_t id = whole; id < vocab; id++)
        lanes[0] = logits[id] > lanes[0] ? logits[id] : lanes[0];
    for (int j = 0; j < LANES; j++) largest = lanes[j] > largest ? lanes[j] : largest;
    for (int64_t id = 0; id < vocab; id++)
        if (logits[id] == largest) return (uint32_t)id;
    return UINT32_MAX;
}

/* Weights of the first n candidates relative to the largest, at this temperature. */
static void weigh(sonde_sampler *s, int64_t n, double temperature)
{
    float largest = key_logit(s->candidates[0].key);
    float t = (float)temperature;
    for (int64_t i = 0; i < n; i++) {
        float logit = key_logit(s->candidates[i].key);
        s->weights[i] = logit == largest ? 1.0f : sonde_exp_f32((logit - largest) / t);
    }
}

static double sum_of(const float *weights, int64_t n)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) total += (double)weights[i];
    return total;
}

static int64_t cut_top_p(const float *weights, int64_t n, double top_p)
{
    double limit = top_p * sum_of(weights, n), running = 0.0;
    for (int64_t i = 0; i < n; i++) {
        running += (double)weights[i];
        if (running >= limit) return i + 1;
    }
    return n;
}

static int64_t cut_min_p(const float *weights, int64_t n, double min_p)
{
    double limit = min_p * (double)weights[0];
    int64_t kept = 1;
    while (kept < n && (double)weights[kept] >= limit) kept++;
    return kept;
}

static double uniform(uint64_t seed, uint64_t sequence_index, uint64_t position)
{
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)sequence_index,
                           (uint32_t)(sequence_index >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t word[4];
    sonde_philox4x32(counter, key, word);
    return (double)(word[0] >> 8) * 0x1p-24;
}

sonde_status sonde_sample(sonde_sampler *s, const float *logits, const sonde_sampling *sampling,
                          uint64_t seed, uint64_t sequence_index, uint64_t position,
                          uint32_t *token, sonde_error *err)
{
    if (sampling->temperature <= 0.0) {
        *token = greedy(logits, s->vocab);
        if (*token != UINT32_MAX) return SONDE_OK;
        return sonde_fail(err, SONDE_BAD_MODEL, "sampling position %llu of sequence %llu: every "
                          "logit is NaN", (unsigned long long)position,
                          (unsigned long long)sequence_index);
    }
    int64_t n = gather(s, logits);
    if (n == 0)
        return sonde_fail(err, SONDE_BAD_MODEL, "sampling position %llu of sequence %llu: every "
                          "logit is NaN", (unsigned long long)position,
                          (unsigned long long)sequence_index);
    bool some = sampling->top_k > 0 && sampling->top_k < n;
    if (some) n = keep_smallest(s, n, sampling->top_k);
    sort_candidates(s, n);
    if (some) n = sampling->top_k;
    weigh(s, n, sampling->temperature);
    if (sampling->top_p < 1.0) n = cut_top_p(s->weights, n, sampling->top_p);
    if (sampling->min_p > 0.0) n = cut_min_p(s->weights, n, sampling->min_p);
    double target = uniform(seed, sequence_index, position) * sum_of(s->weights, n);
    double running = 0.0;
    int64_t chosen = n - 1;
    for (int64_t i = 0; i < n; i++) {
        running += (double)s->weights[i];
        if (running > target) {
            chosen = i;
            break;
        }
    }
    *token = s->candidates[chosen].id;
    return SONDE_OK;
}
