/*
 * test_sample.c - the sampler against a definition written here in doubles from kernels' rule 8:
 * sort by (logit falling, id rising); temperature, top-k, top-p, min-p in that order; take the first
 * whose running sum exceeds u times the total. Draws that fall within 1e-5 of a border between two
 * tokens are left out, since the sampler's own exp has fp32 accuracy there.
 */
#include "run/sample.h"

#include "support/linear_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB 300
#define BORDER 1e-5

static void test_philox_known_answers(void **state)
{
    /* philox4x32-10 of Random123's kat_vectors: counter, key, result */
    static const uint32_t cases[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        sonde_philox4x32(cases[i], cases[i] + 4, out);
        assert_memory_equal(out, cases[i] + 6, sizeof out);
    }
}

/* ---- the definition ------------------------------------------------------------------------------- */

typedef struct ranked {
    double logit;
    uint32_t id;
} ranked;

static int by_logit(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int64_t keep_top_p(const double *p, int64_t n, double total, double top_p)
{
    double running = 0;
    for (int64_t i = 0; i < n; i++)
        if ((running += p[i]) >= top_p * total) return i + 1;
    return n;
}

/* The token, or -1 when the draw is too near a border to say. */
static int64_t define(const float *logits, int64_t vocab, const sonde_sampling *s, uint64_t seed,
                      uint64_t index, uint64_t position)
{
    ranked order[VOCAB];
    double p[VOCAB], total = 0, running = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < vocab; i++)
        if (!isnan(logits[i])) order[n++] = (ranked){(double)logits[i], (uint32_t)i};
    qsort(order, (size_t)n, sizeof *order, by_logit);
    if (s->top_k > 0 && s->top_k < n) n = s->top_k;
    for (int64_t i = 0; i < n; i++)
        total += p[i] = exp((order[i].logit - order[0].logit) / (double)(float)s->temperature);
    if (s->top_p < 1.0) n = keep_top_p(p, n, total, s->top_p);
    if (s->min_p > 0.0)
        for (int64_t i = 0; i < n; i++)
            if (p[i] < s->min_p * p[0]) n = i;
    total = 0;
    for (int64_t i = 0; i < n; i++) total += p[i];
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)index,
                           (uint32_t)(index >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, word[4];
    sonde_philox4x32(counter, key, word);
    double target = (double)(word[0] >> 8) * 0x1p-24 * total;
    for (int64_t i = 0; i < n; i++) {
        running += p[i];
        if (fabs(running - target) < BORDER * total) return -1;
        if (running > target) return order[i].id;
    }
    return -1;
}

static const sonde_sampling samplings[] = {
    {.temperature = 1.0, .top_p = 1.0},
    {.temperature = 0.3, .top_p = 1.0},
    {.temperature = 2.5, .top_p = 1.0},
    {.temperature = 1.0, .top_k = 1, .top_p = 1.0},
    {.temperature = 1.0, .top_k = 7, .top_p = 1.0},
    {.temperature = 1.0, .top_k = 10 * VOCAB, .top_p = 1.0},
    {.temperature = 1.0, .top_p = 0.5},
    {.temperature = 1.0, .top_p = 1e-9},
    {.temperature = 1.5, .top_p = 1.0, .min_p = 0.2},
    {.temperature = 1.5, .top_p = 1.0, .min_p = 1.0},
    {.temperature = 1.3, .top_k = 40, .top_p = 0.9, .min_p = 0.05},
};

static void test_draws_follow_the_definition(void **state)
{
    sonde_sampler *sampler;
    test_random random = {.state = 3};
    float logits[VOCAB];
    int borders = 0, draws = 0;
    (void)state;
    assert_int_equal(sonde_sampler_create(VOCAB, &sampler, NULL), SONDE_OK);
    for (size_t c = 0; c < SONDE_COUNT(samplings); c++) {
        for (uint64_t position = 0; position < 300; position++, draws++) {
            uint32_t token;
            test_fill_normal(&random, logits, VOCAB);
            for (int i = 0; i < VOCAB; i++) logits[i] = roundf(logits[i] * 8) / 4; /* many ties */
            int64_t want = define(logits, VOCAB, &samplings[c], c << 40, position * 3, position);
            assert_int_equal(sonde_sample(sampler, logits, &samplings[c], c << 40, position * 3,
                                          position, &token, NULL),
                             SONDE_OK);
            borders += want < 0;
            if (want >= 0) assert_int_equal(token, want);
        }
    }
    assert_true(borders < draws / 20);
    sonde_sampler_destroy(&sampler);
}

/* A million-fold check would be a statistic; this one only asks that frequencies are near. */
static void test_frequencies_are_near_the_probabilities(void **state)
{
    static const float logits[4] = {0.0f, 1.0f, 2.0f, -INFINITY};
    static const sonde_sampling plain = {.temperature = 1.0, .top_p = 1.0};
    double total = 1 + exp(1.0) + exp(2.0);
    int seen[4] = {0};
    sonde_sampler *sampler;
    (void)state;
    assert_int_equal(sonde_sampler_create(4, &sampler, NULL), SONDE_OK);
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t token;
        sonde_sample(sampler, logits, &plain, 1, i, 0, &token, NULL);
        seen[token]++;
    }
    for (int i = 0; i < 3; i++) /* 5 standard deviations: below 0.018 */
        assert_true(fabs(seen[i] / 20000.0 - exp(i) / total) < 0.018);
    assert_int_equal(seen[3], 0);
    sonde_sampler_destroy(&sampler);
}

static uint32_t draw(sonde_sampler *sampler, const float *logits, const sonde_sampling *sampling,
                     uint64_t seed, uint64_t index, uint64_t position)
{
    uint32_t token = 0;
    assert_int_equal(sonde_sample(sampler, logits, sampling, seed, index, position, &token, NULL),
                     SONDE_OK);
    return token;
}

/* All 64 bits of seed, index and position count, and nothing else does. */
static void test_draws_are_keyed(void **state)
{
    static const sonde_sampling plain = {.temperature = 1.0, .top_p = 1.0};
    static const uint64_t steps[] = {1, (uint64_t)1 << 31, (uint64_t)1 << 32, (uint64_t)1 << 63};
    float logits[VOCAB] = {0};
    sonde_sampler *sampler, *other;
    (void)state;
    assert_int_equal(sonde_sampler_create(VOCAB, &sampler, NULL), SONDE_OK);
    assert_int_equal(sonde_sampler_create(VOCAB, &other, NULL), SONDE_OK);
    uint32_t base = draw(sampler, logits, &plain, 0, 0, 0);
    for (size_t i = 0; i < SONDE_COUNT(steps); i++) {
        uint32_t seed = draw(sampler, logits, &plain, steps[i], 0, 0);
        uint32_t index = draw(sampler, logits, &plain, 0, steps[i], 0);
        uint32_t position = draw(sampler, logits, &plain, 0, 0, steps[i]);
        assert_false(seed == base && index == base && position == base);
        assert_false(seed == index && index == position);
    }
    assert_int_equal(draw(other, logits, &plain, 0, 0, 0), base);
    assert_int_equal(draw(sampler, logits, &plain, 0, 0, 0), base);
    sonde_sampler_destroy(&sampler);
    sonde_sampler_destroy(&other);
}

static void test_greedy_takes_the_lowest_of_equals(void **state)
{
    static const sonde_sampling greedy = {.temperature = 0.0, .top_p = 1.0, .top_k = 3};
    static const struct {
        float logits[5];
        uint32_t token;
    } cases[] = {{{0, 3, 1, 3, 2}, 1},
                 {{-1, -1, -1, -1, -1}, 0},
                 {{NAN, -5, NAN, -4, NAN}, 3},
                 {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0},
                 {{1, INFINITY, 2, INFINITY, 3}, 1},
                 {{-0.0f, 0.0f, -1, -1, -1}, 0}};
    sonde_sampler *sampler;
    (void)state;
    assert_int_equal(sonde_sampler_create(5, &sampler, NULL), SONDE_OK);
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        assert_int_equal(draw(sampler, cases[i].logits, &greedy, 9, 9, i), cases[i].token);
    sonde_sampler_destroy(&sampler);
}

static void test_odd_logits_are_never_chosen(void **state)
{
    static const sonde_sampling plain = {.temperature = 1.0, .top_p = 1.0};
    static const float odd[6] = {NAN, -INFINITY, 1.0f, NAN, 1.0f, -INFINITY};
    static const float endless[3] = {INFINITY, 5.0f, NAN};
    sonde_sampler *six, *three;
    (void)state;
    assert_int_equal(sonde_sampler_create(6, &six, NULL), SONDE_OK);
    assert_int_equal(sonde_sampler_create(3, &three, NULL), SONDE_OK);
    for (uint64_t i = 0; i < 500; i++) {
        uint32_t token = draw(six, odd, &plain, 4, 4, i);
        assert_true(token == 2 || token == 4);
        assert_int_equal(draw(three, endless, &plain, 4, 4, i), 0);
    }
    sonde_sampler_destroy(&six);
    sonde_sampler_destroy(&three);
}

static void test_all_nan_is_a_bad_model(void **state)
{
    static const float logits[3] = {NAN, NAN, NAN};
    static const double temperatures[] = {0.0, 1.0};
    sonde_sampler *sampler;
    (void)state;
    assert_int_equal(sonde_sampler_create(3, &sampler, NULL), SONDE_OK);
    for (size_t i = 0; i < 2; i++) {
        uint32_t token;
        sonde_error err = {0};
        sonde_sampling sampling = {.temperature = temperatures[i], .top_p = 1.0};
        assert_int_equal(sonde_sample(sampler, logits, &sampling, 1, 7, 12, &token, &err),
                         SONDE_BAD_MODEL);
        assert_string_equal(err.message,
                            "sampling position 12 of sequence 7: every logit is NaN");
    }
    sonde_sampler_destroy(&sampler);
}

static void test_create_survives_failing_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 4; n++) {
        sonde_sampler *sampler = NULL;
        sonde_alloc_fail_after(n);
        sonde_status status = sonde_sampler_create(100, &sampler, NULL);
        sonde_alloc_fail_after(-1);
        assert_int_equal(status, SONDE_NO_MEMORY);
        assert_null(sampler);
    }
    sonde_sampler *none = NULL;
    sonde_sampler_destroy(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_draws_follow_the_definition),
        cmocka_unit_test(test_frequencies_are_near_the_probabilities),
        cmocka_unit_test(test_draws_are_keyed),
        cmocka_unit_test(test_greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(test_odd_logits_are_never_chosen),
        cmocka_unit_test(test_all_nan_is_a_bad_model),
        cmocka_unit_test(test_create_survives_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
