/*
 * test_run_same_bits.c - the second promise: what a row computes depends on the model, its sequence
 * and the backend build only. Every way of running below gives the bits of the plainest one.
 */
#include "core/cpu.h"
#include "support/captured.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const families[] = {"llama",        "gpt2",   "qwen2_sliding", "gpt_oss",
                                       "llama4",       "cohere", "gemma3_text",   "phi3_longrope",
                                       "falcon_alibi", "mpt",    "deepseek_v2",   "kimi_k2"};

/* One sequence at a time, all rows in one chunk, nothing left out, nothing joined. */
static const run_case plainest = {
    .name = "plainest", .batch_sequences = 1,
    .off = SONDE_OFF_DROP | SONDE_OFF_FUSE | SONDE_OFF_NARROW | SONDE_OFF_ALIAS};

static const run_case ways[] = {
    {.name = "as planned"},
    {.name = "three sequences", .batch_sequences = 3},
    {.name = "one sequence", .batch_sequences = 1},
    {.name = "chunks of 1", .chunk = 1},
    {.name = "chunks of 7", .chunk = 7},
    {.name = "chunks of 7, two sequences", .chunk = 7, .batch_sequences = 2},
    {.name = "steps of 5 rows", .batch_tokens = 5},
    {.name = "steps of 1 row", .batch_tokens = 1, .batch_sequences = 1},
    {.name = "two threads", .threads = 2},
    {.name = "two workers", .workers = 2, .batch_sequences = 2},
    {.name = "two workers of two threads", .workers = 2, .threads = 2, .chunk = 7},
    {.name = "little ragged memory", .ragged_bytes = 16384},
    {.name = "no drop", .off = SONDE_OFF_DROP},
    {.name = "no fuse", .off = SONDE_OFF_FUSE},
    {.name = "no narrow", .off = SONDE_OFF_NARROW},
    {.name = "no alias", .off = SONDE_OFF_ALIAS},
    {.name = "a cache for one sequence", .kv_blocks = 2},
    {.name = "a cache for two, two workers", .workers = 2, .kv_blocks = 4, .chunk = 7},
    {.name = "a cache of 3 blocks, three workers", .workers = 3, .kv_blocks = 3},
    {.name = "a cache of 5 blocks, no narrow", .kv_blocks = 5, .off = SONDE_OFF_NARROW},
    {.name = "no labels", .no_labels = true},
    {.name = "no labels, no narrow", .no_labels = true, .off = SONDE_OFF_NARROW},
};

/* Prompts that begin alike, without labels: nobody wants to see their first rows. */
static const run_case alike[] = {
    {.name = "shared"},
    {.name = "shared, not switched on", .off = SONDE_OFF_PREFIX},
    {.name = "shared, one sequence", .batch_sequences = 1},
    {.name = "shared, chunks of 7", .chunk = 7},
    {.name = "shared, steps of 5 rows", .batch_tokens = 5},
    {.name = "shared, two threads", .threads = 2},
    {.name = "shared, two workers", .workers = 2, .batch_sequences = 2},
    {.name = "shared, three workers, chunks of 7", .workers = 3, .chunk = 7},
    {.name = "shared, no narrow", .off = SONDE_OFF_NARROW},
    {.name = "shared, a cache for one sequence", .kv_blocks = 2},
    {.name = "shared, a cache of 3 blocks, two workers", .workers = 2, .kv_blocks = 3},
    {.name = "shared, a cache of 4 blocks, three workers", .workers = 3, .kv_blocks = 4, .chunk = 7},
};
static const int64_t prefixes[] = {3, 29, 64, 68};

/* A point is written: sequences wait for all of their pages, nothing runs twice, nothing is shared. */
static const run_case written[] = {
    {.name = "written"},
    {.name = "written, chunks of 7, two workers", .chunk = 7, .workers = 2},
    {.name = "written, steps of 5 rows", .batch_tokens = 5},
    {.name = "written, a cache for one sequence", .kv_blocks = 2},
    {.name = "written, a cache of 3 blocks, two workers", .workers = 2, .kv_blocks = 3},
    {.name = "written, a cache of 5 blocks, three workers", .workers = 3, .kv_blocks = 5, .chunk = 7},
};

static const run_case mapped = {.name = "weights left in the file", .threads = 2};

static const char *const single_points[] = {
    "embed", "resid_pre", "resid_post", "resid_mid", "attn_norm", "attn.q_rot", "attn.k", "attn.v",
    "attn.scores", "attn.pattern", "attn.z", "attn.out", "mlp.pre", "mlp.post", "mlp.out",
    "mlp_norm.scale", "final_norm", "logits", "moe.expert_ids", "moe.expert_weights", "moe.post",
    "moe.expert_out", "moe.shared_out", "attn.k_rot", "attn.q_latent", "attn.kv_latent", "attn.k_pe"};

static int compare(const sonde_model *model, const captured *want, const run_case *how)
{
    captured got;
    sonde_error err = {0};
    if (captured_run(model, how, &got, &err) != SONDE_OK) fail_msg("%s: %s", how->name, err.message);
    int n = captured_differences(model, want, &got, how->name);
    captured_reset(&got);
    return n;
}

/* Each level's own plainest run, then this level's other ways against it. */
static void check_ways(const char *backend, const char *level)
{
    int n = 0;
    for (size_t f = 0; f < SONDE_COUNT(families); f++) {
        captured want;
        sonde_error err = {0};
        sonde_model *model = case_model(families[f], backend, level, 0);
        if (captured_run(model, &plainest, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
        for (size_t i = 0; i < SONDE_COUNT(ways); i++) n += compare(model, &want, &ways[i]);
        sonde_model_close(&model);
        model = case_model(families[f], backend, level, SONDE_OFF_PACK);
        n += compare(model, &want, &mapped);
        captured_reset(&want);
        sonde_model_close(&model);
    }
    assert_int_equal(n, 0);
}

static void test_batches_chunks_threads_workers_and_switches(void **state)
{
    (void)state;
    check_ways("cpu", NULL);
}

static void test_the_oracle_keeps_its_bits(void **state)
{
    (void)state;
    check_ways("oracle", NULL);
}

static int compare_alike(const sonde_model *model, int64_t prefix, uint64_t *shared,
                         uint64_t *preempted)
{
    captured want, got;
    sonde_error err = {0};
    run_case how = plainest;
    int n = 0;
    how.prefix = prefix;
    how.no_labels = true;
    how.off |= SONDE_OFF_PREFIX;
    if (captured_run(model, &how, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_int_equal(want.stats.kv.shared_tokens, 0);
    for (size_t i = 0; i < SONDE_COUNT(alike); i++) {
        how = alike[i];
        how.prefix = prefix;
        how.no_labels = true;
        if (captured_run(model, &how, &got, &err) != SONDE_OK) fail_msg("%s: %s", how.name, err.message);
        n += captured_differences(model, &want, &got, how.name);
        assert_int_equal(got.stats.prompt_tokens, want.stats.prompt_tokens);
        if (how.off & SONDE_OFF_PREFIX) assert_int_equal(got.stats.kv.shared_tokens, 0);
        *shared += got.stats.kv.shared_tokens;
        *preempted += got.stats.preempted;
        captured_reset(&got);
    }
    captured_reset(&want);
    return n;
}

static void check_alike(const char *family, const char *backend, size_t first_prefix)
{
    uint64_t shared = 0, preempted = 0;
    int n = 0;
    sonde_model *model = case_model(family, backend, NULL, 0);
    for (size_t i = first_prefix; i < SONDE_COUNT(prefixes); i++)
        n += compare_alike(model, prefixes[i], &shared, &preempted);
    sonde_model_close(&model);
    print_message("%s, %s: %llu tokens shared, %llu sequences gave up their pages\n", family, backend,
                  (unsigned long long)shared, (unsigned long long)preempted);
    assert_true(shared > 0 && preempted > 0);
    assert_int_equal(n, 0);
}

static void test_prefixes_and_short_caches(void **state)
{
    (void)state;
    for (size_t f = 0; f < SONDE_COUNT(families); f++) check_alike(families[f], "cpu", 0);
}

/* Doubles in the cache: the longest prefix, a whole page and a part of the next. */
static void test_prefixes_and_short_caches_of_the_oracle(void **state)
{
    (void)state;
    for (size_t f = 0; f < SONDE_COUNT(families); f++)
        check_alike(families[f], "oracle", SONDE_COUNT(prefixes) - 1);
}

static void test_written_points_and_short_caches(void **state)
{
    int n = 0, meant = 0;
    (void)state;
    for (size_t f = 0; f < SONDE_COUNT(families); f++)
        for (int64_t prefix = 0; prefix <= 68; prefix += 68) {
            captured want;
            sonde_error err = {0};
            sonde_model *model = case_model(families[f], "cpu", NULL, 0);
            run_case how = plainest, untouched = {.name = "not written, which must differ",
                                                  .prefix = prefix};
            how.writes = true;
            how.prefix = prefix;
            if (captured_run(model, &how, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
            for (size_t i = 0; i < SONDE_COUNT(written); i++) {
                how = written[i];
                how.writes = true;
                how.prefix = prefix;
                how.no_labels = prefix > 0;
                n += compare(model, &want, &how);
            }
            meant += compare(model, &want, &untouched) > 0;
            captured_reset(&want);
            sonde_model_close(&model);
        }
    assert_int_equal(n, 0);
    assert_int_equal(meant, 2 * SONDE_COUNT(families));
}

/* Another instruction set against the scalar level, which is the definition. */
static void check_level(sonde_cpu_level level)
{
    int n = 0;
    if (sonde_cpu_best() < level) {
        print_message("this processor has no %s\n", sonde_cpu_level_name(level));
        skip();
    }
    for (size_t f = 0; f < SONDE_COUNT(families); f++) {
        captured want;
        sonde_error err = {0};
        run_case how = {.name = sonde_cpu_level_name(level), .chunk = 7};
        sonde_model *scalar = case_model(families[f], "cpu", "scalar", 0);
        sonde_model *model = case_model(families[f], "cpu", how.name, 0);
        if (captured_run(scalar, &how, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
        n += compare(model, &want, &how);
        captured_reset(&want);
        sonde_model_close(&model);
        sonde_model_close(&scalar);
    }
    assert_int_equal(n, 0);
}

static void test_avx2_is_scalar(void **state)
{
    (void)state;
    check_level(SONDE_CPU_AVX2);
}

static void test_avx512_is_scalar(void **state)
{
    (void)state;
    check_level(SONDE_CPU_AVX512);
}

static void test_one_point_alone(void **state)
{
    int n = 0;
    (void)state;
    for (size_t f = 0; f < SONDE_COUNT(families); f++) {
        captured want;
        sonde_error err = {0};
        sonde_model *model = case_model(families[f], "cpu", NULL, 0);
        if (captured_run(model, &plainest, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
        for (size_t i = 0; i < SONDE_COUNT(single_points); i++) {
            run_case how = {.name = single_points[i], .only = single_points[i], .no_labels = i % 2};
            n += compare(model, &want, &how);
            how.last_block = true;
            n += compare(model, &want, &how);
        }
        captured_reset(&want);
        sonde_model_close(&model);
    }
    assert_int_equal(n, 0);
}

static void test_rounded_caches_keep_their_bits_too(void **state)
{
    static const sonde_dtype types[] = {SONDE_DTYPE_BF16, SONDE_DTYPE_F16};
    int n = 0, meant = 0;
    (void)state;
    for (size_t t = 0; t < SONDE_COUNT(types); t++) {
        captured want;
        sonde_error err = {0};
        sonde_model *model = case_model("llama", "cpu", NULL, 0);
        run_case first = plainest, second = {.name = "rounded, chunks of 7", .chunk = 7};
        run_case full = {.name = "the f32 cache, which must differ"};
        first.kv_dtype = second.kv_dtype = types[t];
        if (captured_run(model, &first, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
        n += compare(model, &want, &second);
        meant += compare(model, &want, &full) > 0;
        captured_reset(&want);
        sonde_model_close(&model);
    }
    assert_int_equal(n, 0);
    assert_int_equal(meant, SONDE_COUNT(types));
}

/* A plan of very many positions has no table of them all. */
static void test_ropes_of_long_contexts_are_made_row_by_row(void **state)
{
    static const char *const names[] = {"llama", "llama_rope_llama3", "gemma3_text", "deepseek_v2"};
    static const char *const points[] = {"attn.q_rot", "attn.k_rot", "resid_post"};
    int n = 0;
    (void)state;
    for (size_t f = 0; f < SONDE_COUNT(names); f++) {
        captured want;
        sonde_error err = {0};
        sonde_model *model = case_model(names[f], "cpu", NULL, 0);
        if (captured_run(model, &plainest, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
        for (size_t i = 0; i < SONDE_COUNT(points); i++) {
            run_case how = {.name = "16 million positions", .only = points[i], .positions = 1 << 24};
            sonde_plan *plan = case_plan(model, &how, &err);
            sonde_plan_info info;
            sonde_plan_info_get(plan, &info);
            assert_int_equal(info.rope_bytes, 0);
            sonde_plan_destroy(&plan);
            n += compare(model, &want, &how);
        }
        captured_reset(&want);
        sonde_model_close(&model);
    }
    assert_int_equal(n, 0);
}

/* Every point of the plainest run holds every row: the comparisons above are not of nothing. */
static void test_nothing_is_missing(void **state)
{
    captured c;
    sonde_error err = {0};
    (void)state;
    sonde_model *model = case_model("llama", "cpu", NULL, 0);
    assert_int_equal(captured_run(model, &plainest, &c, &err), SONDE_OK);
    for (int64_t i = 0; i < CASE_SEQUENCES; i++) {
        const kept_sequence *s = &c.sequences[i];
        assert_int_equal(s->n_tokens, 6);
        for (int64_t p = 0; p < c.n_points; p++) /* the last token is sampled, never run */
            assert_int_equal(s->points[p].next_position, s->n_prompt + 5);
        for (int64_t t = 1; t < s->n_prompt; t++) assert_true(s->logprobs[t] < 0.0f);
        for (int64_t t = 0; t < s->n_tokens; t++) assert_true(s->sampled_logprobs[t] < 0.0f);
    }
    captured_reset(&c);
    sonde_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ropes_of_long_contexts_are_made_row_by_row),
        cmocka_unit_test(test_nothing_is_missing),
        cmocka_unit_test(test_batches_chunks_threads_workers_and_switches),
        cmocka_unit_test(test_prefixes_and_short_caches),
        cmocka_unit_test(test_prefixes_and_short_caches_of_the_oracle),
        cmocka_unit_test(test_written_points_and_short_caches),
        cmocka_unit_test(test_the_oracle_keeps_its_bits),
        cmocka_unit_test(test_avx2_is_scalar),
        cmocka_unit_test(test_avx512_is_scalar),
        cmocka_unit_test(test_one_point_alone),
        cmocka_unit_test(test_rounded_caches_keep_their_bits_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
