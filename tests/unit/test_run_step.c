/*
 * test_run_step.c - one step of a run: what it refuses and leaves as it was, views, narrowing,
 * labels, writing points, rounded caches. Bits across ways of running: test_run_same_bits.c.
 */
#include "run/run.h"
#include "support/captured.h"
#include "support/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 20
#define VOCAB 211

/* ---- a run of one sequence ------------------------------------------------------------------------ */

typedef struct recorder {
    const sonde_model *model;
    kept_rows *points; /* [n_points] */
    int64_t n_views;
    int64_t fail_at_view; /* 0: never */
    int64_t write;        /* point that is written; -1: none */
    float factor;         /* by which it is multiplied */
    uint64_t last_block;
    bool two_blocks;
} recorder;

static sonde_status record(void *context, const sonde_tap_view *view, sonde_error *err)
{
    recorder *c = context;
    c->n_views++;
    c->two_blocks = c->two_blocks || (c->n_views > 1 && view->block != c->last_block);
    c->last_block = view->block;
    if (c->n_views == c->fail_at_view) return sonde_fail(err, SONDE_PROBE, "view %lld", (long long)c->n_views);
    kept_rows *rows = &c->points[view->point];
    for (int64_t r = 0; r < view->n_rows; r++) {
        int64_t n = view->indptr ? view->indptr[r + 1] - view->indptr[r] : view->width;
        float *from = view->indptr ? view->data + view->indptr[r] : view->data + r * view->stride;
        if (!sonde_grow(&rows->data, &rows->capacity, (size_t)(rows->count + n), 4))
            return sonde_no_memory(err, "a row", 4);
        memcpy(rows->data + rows->count, from, (size_t)n * 4);
        rows->count += n;
        rows->next_position++;
        if (view->point != c->write) continue;
        if (!view->writable) return sonde_fail(err, SONDE_INTERNAL, "not writable");
        for (int64_t i = 0; i < n; i++) from[i] *= c->factor;
    }
    return SONDE_OK;
}

typedef struct bench {
    sonde_model *model;
    sonde_plan *plan;
    sonde_run *run;
    sonde_sequence *sequence;
    recorder seen;
} bench;

static void bench_open(bench *b, sonde_plan_options options, int64_t write, float factor)
{
    sonde_error err = {0};
    uint8_t wants[512];
    memset(b, 0, sizeof *b);
    b->model = case_model("llama", "cpu", NULL, 0);
    int64_t n = sonde_model_point_count(b->model);
    memset(wants, SONDE_WANT_READ, sizeof wants);
    if (write >= 0) wants[write] |= SONDE_WANT_WRITE;
    if (!options.wants) options.wants = wants;
    options.batch_rows = 64;
    options.max_sequences = 4;
    options.max_positions = 80;
    if (sonde_plan_create(b->model, &options, &b->plan, &err) != SONDE_OK) fail_msg("%s", err.message);
    b->seen = (recorder){.model = b->model, .write = write, .factor = factor};
    b->seen.points = sonde_alloc((size_t)n, sizeof *b->seen.points);
    sonde_run_options run_options = {.threads = 1, .tap = record, .tap_context = &b->seen};
    assert_int_equal(sonde_run_create(b->plan, &run_options, &b->run, &err), SONDE_OK);
    assert_int_equal(sonde_sequence_create(b->run, 40, ROWS, NULL, &b->sequence, &err), SONDE_OK);
}

static void bench_close(bench *b)
{
    for (int64_t i = 0; i < sonde_model_point_count(b->model); i++) sonde_free(b->seen.points[i].data);
    sonde_free(b->seen.points);
    sonde_sequence_destroy(&b->sequence);
    sonde_run_destroy(&b->run);
    sonde_plan_destroy(&b->plan);
    sonde_model_close(&b->model);
}

static const uint32_t *some_tokens(void)
{
    static uint32_t tokens[64];
    for (uint32_t i = 0; i < 64; i++) tokens[i] = (i * 37 + 11) % VOCAB;
    return tokens;
}

static sonde_status step(bench *b, int64_t from, int64_t count, const uint8_t *keep, sonde_error *err)
{
    sonde_batch_item item = {.sequence = b->sequence, .tokens = some_tokens() + from,
                             .count = count, .keep = keep, .want_logits = true};
    return sonde_run_step(b->run, &item, 1, err);
}

static void must_step(bench *b, int64_t from, int64_t count, const uint8_t *keep)
{
    sonde_error err = {0};
    if (step(b, from, count, keep, &err) != SONDE_OK) fail_msg("%s", err.message);
}

static const kept_rows *rows_of(const bench *b, const char *point)
{
    return &b->seen.points[sonde_model_find_point(b->model, point)];
}

static const sonde_plan_options with_logits = {.want_logits = true};

/* ---- views ---------------------------------------------------------------------------------------- */

static void test_views_of_one_step_share_a_block(void **state)
{
    bench b;
    (void)state;
    bench_open(&b, with_logits, -1, 1);
    must_step(&b, 0, ROWS, NULL);
    assert_int_equal(b.seen.n_views, sonde_model_point_count(b.model));
    assert_false(b.seen.two_blocks);
    must_step(&b, ROWS, 1, NULL);
    assert_true(b.seen.two_blocks);
    assert_int_equal(sonde_sequence_length(b.sequence), ROWS + 1);
    bench_close(&b);
}

static void test_pattern_rows_sum_to_one_and_make_z(void **state)
{
    bench b;
    (void)state;
    bench_open(&b, with_logits, -1, 1);
    must_step(&b, 0, ROWS, NULL);
    const float *pattern = rows_of(&b, "blocks.1.attn.pattern")->data;
    for (int64_t p = 0; p < ROWS; p++)
        for (int64_t head = 0; head < 4; head++, pattern += p + 1) {
            double sum = 0;
            for (int64_t t = 0; t <= p; t++) sum += (double)pattern[t];
            assert_true(fabs(sum - 1) < 1e-6); /* 20 terms of fp32 */
        }
    const float *v = rows_of(&b, "blocks.1.attn.v")->data, *z = rows_of(&b, "blocks.1.attn.z")->data;
    pattern = rows_of(&b, "blocks.1.attn.pattern")->data;
    for (int64_t p = 0; p < ROWS; p++)
        for (int64_t head = 0; head < 4; head++, pattern += p + 1)
            for (int64_t d = 0; d < 12; d++) { /* the stated rule: one fma chain in key order */
                float sum = 0.0f;
                for (int64_t t = 0; t <= p; t++)
                    sum = fmaf(pattern[t], v[t * 24 + head / 2 * 12 + d], sum);
                assert_memory_equal(&sum, &z[p * 48 + head * 12 + d], 4);
            }
    bench_close(&b);
}

/* ---- refusals ------------------------------------------------------------------------------------- */

static void test_a_refused_step_changes_nothing(void **state)
{
    bench b, calm;
    sonde_error err = {0};
    uint32_t wrong[3] = {1, 2, VOCAB};
    (void)state;
    bench_open(&b, with_logits, -1, 1);
    bench_open(&calm, with_logits, -1, 1);
    must_step(&b, 0, 8, NULL);
    must_step(&calm, 0, 8, NULL);
    sonde_batch_item item = {.sequence = b.sequence, .tokens = wrong, .count = 3};
    assert_int_equal(sonde_run_step(b.run, &item, 1, &err), SONDE_BAD_PROMPT);
    assert_int_equal(step(&b, 8, 33, NULL, &err), SONDE_BAD_PROMPT);
    assert_string_equal(err.message, "33 tokens at position 8 do not fit in a sequence of 40 positions");
    assert_int_equal(step(&b, 0, 65, NULL, &err), SONDE_INTERNAL);
    assert_int_equal(step(&b, 8, 0, NULL, &err), SONDE_INTERNAL);
    assert_int_equal(sonde_sequence_length(b.sequence), 8);
    must_step(&b, 8, 12, NULL);
    must_step(&calm, 8, 12, NULL);
    assert_memory_equal(sonde_run_logits(b.run, 0), sonde_run_logits(calm.run, 0), VOCAB * 4);
    bench_close(&b);
    bench_close(&calm);
}

static void test_a_failing_tap_leaves_the_sequence(void **state)
{
    bench b, calm;
    sonde_error err = {0};
    (void)state;
    bench_open(&calm, with_logits, -1, 1);
    must_step(&calm, 0, ROWS, NULL);
    for (int64_t at = 1; at < 40; at += 13) {
        bench_open(&b, with_logits, -1, 1);
        b.seen.fail_at_view = at;
        assert_int_equal(step(&b, 0, ROWS, NULL, &err), SONDE_PROBE);
        assert_int_equal(sonde_sequence_length(b.sequence), 0);
        must_step(&b, 0, ROWS, NULL);
        assert_memory_equal(sonde_run_logits(b.run, 0), sonde_run_logits(calm.run, 0), VOCAB * 4);
        bench_close(&b);
    }
    bench_close(&calm);
}

static void test_sequences_and_logits_out_of_the_plan(void **state)
{
    bench b;
    sonde_error err = {0};
    sonde_sequence *sequence = NULL;
    (void)state;
    bench_open(&b, (sonde_plan_options){.want_logits = false}, -1, 1);
    assert_int_equal(sonde_sequence_create(b.run, 81, 81, NULL, &sequence, &err), SONDE_INTERNAL);
    assert_string_equal(err.message, "a sequence of 81 positions in a plan of 80");
    assert_int_equal(step(&b, 0, 4, NULL, &err), SONDE_INTERNAL);
    assert_string_equal(err.message, "logits of a plan that makes none");
    bench_close(&b);
}

static void test_pages_are_used_again(void **state)
{
    bench b;
    sonde_run_stats stats;
    sonde_kv_stats kv;
    sonde_plan_info info;
    (void)state;
    bench_open(&b, with_logits, -1, 1);
    sonde_plan_info_get(b.plan, &info);
    must_step(&b, 0, ROWS, NULL);
    float first[VOCAB];
    memcpy(first, sonde_run_logits(b.run, 0), sizeof first);
    for (int i = 0; i < 5; i++) {
        sonde_sequence_destroy(&b.sequence);
        assert_int_equal(sonde_sequence_create(b.run, 40, ROWS, NULL, &b.sequence, NULL), SONDE_OK);
        must_step(&b, 0, ROWS, NULL);
        assert_memory_equal(sonde_run_logits(b.run, 0), first, sizeof first);
    }
    sonde_run_stats_get(b.run, &stats);
    sonde_kv_stats_get(sonde_run_kv(b.run), &kv);
    assert_int_equal(kv.bytes_peak, info.kv_bytes_per_page_all_layers);
    assert_int_equal(stats.steps, 6);
    bench_close(&b);
}

/* ---- narrowing ------------------------------------------------------------------------------------ */

static void test_narrow_rows_have_the_same_bits(void **state)
{
    bench all, few;
    uint8_t keep[ROWS] = {0};
    (void)state;
    keep[0] = keep[4] = keep[5] = 1;
    static const int kept[] = {0, 4, 5, ROWS - 1}; /* the last row has logits */
    bench_open(&all, with_logits, -1, 1);
    bench_open(&few, with_logits, -1, 1);
    must_step(&all, 0, ROWS, NULL);
    must_step(&few, 0, ROWS, keep);
    assert_int_equal(rows_of(&few, "blocks.1.resid_post")->next_position, ROWS);
    assert_int_equal(rows_of(&few, "blocks.2.attn.k_rot")->next_position, ROWS);
    static const char *const points[] = {"blocks.2.attn.z", "blocks.2.resid_post", "final_norm", "logits"};
    for (size_t i = 0; i < SONDE_COUNT(points); i++) {
        const kept_rows *a = rows_of(&all, points[i]), *f = rows_of(&few, points[i]);
        int64_t width = a->count / ROWS;
        assert_int_equal(f->next_position, 4);
        for (int64_t r = 0; r < 4; r++)
            assert_memory_equal(f->data + r * width, a->data + kept[r] * width, (size_t)width * 4);
    }
    bench_close(&all);
    bench_close(&few);
}

static void test_no_row_wanted_is_no_work(void **state)
{
    bench b;
    uint8_t keep[ROWS] = {0};
    (void)state;
    bench_open(&b, with_logits, -1, 1);
    sonde_batch_item item = {.sequence = b.sequence, .tokens = some_tokens(), .count = ROWS,
                             .keep = keep};
    assert_int_equal(sonde_run_step(b.run, &item, 1, NULL), SONDE_OK);
    assert_int_equal(rows_of(&b, "blocks.2.resid_post")->count, 0);
    assert_int_equal(rows_of(&b, "logits")->count, 0);
    must_step(&b, ROWS, 1, NULL); /* its keys and values were written all the same */
    bench all;
    bench_open(&all, with_logits, -1, 1);
    must_step(&all, 0, ROWS + 1, NULL);
    assert_memory_equal(sonde_run_logits(b.run, 0), sonde_run_logits(all.run, 0), VOCAB * 4);
    bench_close(&all);
    bench_close(&b);
}

/* ---- labels --------------------------------------------------------------------------------------- */

/* Against doubles: logprob and entropy of 211 fp32 terms to 1e-5, the rank exactly. */
static void check_label(sonde_row_labels label, const float *logits, uint32_t token)
{
    double total = 0, entropy = 0, most = -INFINITY;
    int32_t rank = 0;
    for (int i = 0; i < VOCAB; i++) most = fmax(most, (double)logits[i]);
    for (int i = 0; i < VOCAB; i++) total += exp((double)logits[i] - most);
    for (int i = 0; i < VOCAB; i++) {
        double p = exp((double)logits[i] - most) / total;
        entropy -= p * log(p);
        rank += logits[i] > logits[token] || (logits[i] == logits[token] && i < (int)token);
    }
    assert_true(fabs((double)label.logprob - ((double)logits[token] - most - log(total))) < 1e-5);
    assert_true(fabs((double)label.entropy - entropy) < 1e-5);
    assert_int_equal(label.rank, rank);
}

static void test_labels_are_of_the_next_token(void **state)
{
    bench b;
    (void)state;
    bench_open(&b, (sonde_plan_options){.want_labels = true, .want_logits = true}, -1, 1);
    must_step(&b, 0, ROWS, NULL);
    const float *logits = rows_of(&b, "logits")->data;
    const sonde_row_labels *labels = sonde_run_labels(b.run);
    for (int64_t r = 0; r + 1 < ROWS; r++)
        check_label(labels[r], logits + r * VOCAB, some_tokens()[r + 1]);
    check_label(sonde_run_label_row(b.run, 0, 77), logits + (ROWS - 1) * VOCAB, 77);
    bench_close(&b);
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* Differences of all points between a plain run and one that multiplies `point` by `factor`. */
static void compare_writing(const char *point, float factor, int64_t *before, int64_t *after)
{
    bench plain, written;
    bench_open(&plain, with_logits, -1, 1);
    int64_t write = sonde_model_find_point(plain.model, point);
    bench_open(&written, with_logits, write, factor);
    must_step(&plain, 0, ROWS, NULL);
    must_step(&written, 0, ROWS, NULL);
    *before = *after = 0;
    for (int64_t i = 0; i < sonde_model_point_count(plain.model); i++) {
        const kept_rows *a = &plain.seen.points[i], *b = &written.seen.points[i];
        assert_int_equal(a->count, b->count);
        if (memcmp(a->data, b->data, (size_t)a->count * 4) != 0) *(i <= write ? before : after) += 1;
    }
    bench_close(&plain);
    bench_close(&written);
}

static void test_writing_changes_what_follows_only(void **state)
{
    static const char *const points[] = {"embed", "blocks.0.resid_post", "blocks.1.attn_norm",
                                         "blocks.1.attn.k_rot", "blocks.1.attn.scores",
                                         "blocks.1.attn.pattern", "blocks.1.attn.z",
                                         "blocks.1.attn.out", "blocks.1.resid_mid", "blocks.1.mlp.up",
                                         "blocks.2.mlp.post", "final_norm"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(points); i++) {
        int64_t before, after;
        compare_writing(points[i], 1.0f, &before, &after);
        if (before || after) fail_msg("%s written with its own value: %lld points changed", points[i],
                                      (long long)(before + after));
        compare_writing(points[i], 1.5f, &before, &after);
        if (before || !after) fail_msg("%s times 1.5: %lld points before it changed, %lld behind it",
                                       points[i], (long long)before, (long long)after);
    }
}

/* ---- rounded caches ------------------------------------------------------------------------------- */

static void test_rounded_caches_are_near(void **state)
{
    static const struct {
        sonde_dtype dtype;
        double bound; /* largest error of 4,220 logits over their rms: 40 roundings of 2^-9, 2^-12 */
    } cases[] = {{SONDE_DTYPE_BF16, 0.08}, {SONDE_DTYPE_F16, 0.01}};
    (void)state;
    bench full;
    sonde_plan_info info, wide;
    bench_open(&full, with_logits, -1, 1);
    must_step(&full, 0, ROWS, NULL);
    sonde_plan_info_get(full.plan, &wide);
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        bench b;
        bench_open(&b, (sonde_plan_options){.want_logits = true, .kv_dtype = cases[i].dtype}, -1, 1);
        must_step(&b, 0, ROWS, NULL);
        sonde_plan_info_get(b.plan, &info);
        assert_int_equal(info.kv_bytes_per_page_all_layers * 2, wide.kv_bytes_per_page_all_layers);
        const kept_rows *k = rows_of(&b, "blocks.0.attn.k_rot"), *k32 = rows_of(&full, "blocks.0.attn.k_rot");
        assert_memory_equal(k->data, k32->data, (size_t)k->count * 4); /* the value before rounding */
        const kept_rows *got = rows_of(&b, "logits"), *want = rows_of(&full, "logits");
        double error = relative_error(got->data, want->data, want->count);
        if (!(error > 0 && error < cases[i].bound)) fail_msg("error %g", error);
        bench_close(&b);
    }
    bench_close(&full);
}

static void test_create_survives_failing_memory(void **state)
{
    bench b;
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    (void)state;
    bench_open(&b, with_logits, -1, 1);
    for (; n < 1000 && status == SONDE_NO_MEMORY; n++) {
        sonde_run *run = NULL;
        sonde_run_options options = {.threads = 2};
        sonde_alloc_fail_after(n);
        status = sonde_run_create(b.plan, &options, &run, NULL);
        sonde_alloc_fail_after(-1);
        sonde_run_destroy(&run);
    }
    assert_int_equal(status, SONDE_OK);
    assert_true(n > 10);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_of_one_step_share_a_block),
        cmocka_unit_test(test_pattern_rows_sum_to_one_and_make_z),
        cmocka_unit_test(test_a_refused_step_changes_nothing),
        cmocka_unit_test(test_a_failing_tap_leaves_the_sequence),
        cmocka_unit_test(test_sequences_and_logits_out_of_the_plan),
        cmocka_unit_test(test_pages_are_used_again),
        cmocka_unit_test(test_narrow_rows_have_the_same_bits),
        cmocka_unit_test(test_no_row_wanted_is_no_work),
        cmocka_unit_test(test_labels_are_of_the_next_token),
        cmocka_unit_test(test_writing_changes_what_follows_only),
        cmocka_unit_test(test_rounded_caches_are_near),
        cmocka_unit_test(test_create_survives_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
