/*
 * test_same_bits.c - the content of a capture file depends on model, prompts and options only.
 *
 * For the shipped model and three goldens: every hook point (and generated text, labels and the
 * tables of `moments`) is captured once, then again with one thing changed at a time; the bits must
 * be those of the first file. One hook instead of all: the bits of that point.
 */
#include "support/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PROMPTS "build/same_bits.jsonl"

static const char *const models[] = {"data/model", "tests/goldens/families/llama",
                                     "tests/goldens/families/qwen2_sliding",
                                     "tests/goldens/families/kimi_k2"};

/* Lengths 1, 2, 17, 40, 70: within a page, on its edge, beyond it; token ids fit every model. */
static void write_prompts(void)
{
    static const int lengths[] = {17, 1, 40, 2, 70};
    sonde_string text = {0};
    uint32_t state = 7;
    for (size_t p = 0; p < SONDE_COUNT(lengths); p++) {
        sonde_string_text(&text, "{\"tokens\": [");
        for (int i = 0; i < lengths[p]; i++) {
            state = state * 1664525u + 1013904223u;
            sonde_string_format(&text, "%s%u", i ? ", " : "", 1 + (state >> 16) % 60);
        }
        sonde_string_format(&text, "], \"max_new_tokens\": %d, \"kind\": \"k%zu\"}\n",
                            p == 1 ? 9 : (int)p, p % 2);
    }
    write_text_file(PROMPTS, text.data);
    sonde_string_reset(&text);
}

static void capture(const char *model, const char *output, const char *const *more, int64_t n_more,
                    bool all)
{
    const char *words[48] = {"--points", all ? "*" : "blocks.1.attn.z", "--temperature", "0.8",
                             "--labels", "logprob,entropy,rank"};
    int64_t n = 6;
    sonde_job_summary summary;
    sonde_error err = {0};
    if (all) {
        static const char *const probes[] = {"--probe", "capture", "--probe",
                                             "moments:points=blocks.*.{resid_post,mlp.out}"};
        for (size_t i = 0; i < SONDE_COUNT(probes); i++) words[n++] = probes[i];
    }
    for (int64_t i = 0; i < n_more; i++) words[n++] = more[i];
    if (job_capture(model, PROMPTS, output, words, n, &summary, &err) != SONDE_OK)
        fail_msg("%s: %s", model, err.message);
}

typedef struct variant {
    const char *what;
    const char *words[8];
} variant;

static const variant variants[] = {
    {"avx2", {"--cpumask", "avx2"}},
    {"scalar", {"--cpumask", "scalar"}},
    {"batch 1", {"--batch", "1"}},
    {"batch 3", {"--batch", "3"}},
    {"chunk 1", {"--chunk", "1"}},
    {"chunk 7", {"--chunk", "7"}},
    {"2 workers", {"--workers", "2", "--threads", "1"}},
    {"2 threads", {"--workers", "1", "--threads", "2"}},
    {"19 rows a step", {"--batch-tokens", "19", "--workers", "2"}},
    {"fusion off", {"--off", "fuse"}},
    {"all optimisations off", {"--off", "all"}},
    {"weights left in the file", {"--off", "pack", "--threads", "2"}},
    {"weights left in the file, scalar", {"--off", "pack", "--cpumask", "scalar"}},
};

static int64_t count_words(const variant *v)
{
    int64_t n = 0;
    while (n < 8 && v->words[n]) n++;
    return n;
}

static int check_variant(const char *model, const variant *v, const char *expected)
{
    char hex[33];
    capture(model, "build/same_bits_b.h5", v->words, count_words(v), true);
    capture_hash("build/same_bits_b.h5", hex);
    if (strcmp(hex, expected) == 0) return 0;
    print_error("%s: the content differs with %s\n", model, v->what);
    return 1;
}

static void check_model(const char *model)
{
    static const char *const base[] = {"--workers", "1", "--threads", "1"};
    char all[33], one[33], alone[33];
    int bad = 0;
    capture(model, "build/same_bits_a.h5", base, 4, true);
    capture_hash("build/same_bits_a.h5", all);
    for (size_t i = 0; i < SONDE_COUNT(variants); i++) bad += check_variant(model, &variants[i], all);
    capture(model, "build/same_bits_b.h5", base, 4, false);
    capture_point_hash("build/same_bits_a.h5", "blocks.1.attn.z", one);
    capture_point_hash("build/same_bits_b.h5", "blocks.1.attn.z", alone);
    assert_string_equal(one, alone);
    assert_int_equal(bad, 0);
}

static void test_content_of_every_model(void **state)
{
    (void)state;
    use_built_probes();
    write_prompts();
    for (size_t i = 0; i < SONDE_COUNT(models); i++) check_model(models[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_content_of_every_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
