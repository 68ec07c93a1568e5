/*
 * test_writing.c - probes in whole captures of a small model: a writing plugin changes what follows
 * and nothing before; a plugin that fails ends the run with its message, and what was captured is
 * kept.
 */
#include "sonde/reader.h"
#include "support/job.h"
#include "support/plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL "tests/goldens/families/llama"
#define PROMPTS "build/writing.jsonl"
#define GENERATING "build/writing-generating.jsonl" /* the same, with tokens to generate */
#define PLAIN "build/writing-plain.h5"
#define OTHER "build/writing-other.h5"

static sonde_model *model;
static const char *prompts = PROMPTS;
static int set_up(void **state)
{
    (void)state;
    model = test_model_shape("llama");
    write_text_file(PROMPTS, "{\"tokens\": [1, 7]}\n"
                             "{\"tokens\": [3, 9, 27, 5, 44, 12, 30, 2, 51, 8, 19]}\n"
                             "{\"tokens\": [11, 4, 6, 35, 21]}\n");
    write_text_file(GENERATING, "{\"tokens\": [1, 7], \"max_new_tokens\": 5}\n"
                                "{\"tokens\": [3, 9, 27, 5, 44, 12, 30, 2, 51, 8, 19]}\n"
                                "{\"tokens\": [11, 4, 6, 35, 21], \"max_new_tokens\": 6}\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sonde_model_close(&model);
    return 0;
}

/* A capture of `points` in fp32 with further probes before the capturing one. */
static sonde_status capture(const char *output, const char *points, const char *const *probes,
                            int64_t n, sonde_error *err)
{
    const char *words[40] = {"--points", points, "--as", "f32"};
    int64_t n_words = 4;
    sonde_job_summary summary;
    for (int64_t i = 0; i < n; i++) {
        words[n_words++] = "--probe";
        words[n_words++] = probes[i];
    }
    words[n_words++] = "--probe";
    words[n_words++] = "capture";
    return job_capture(MODEL, prompts, output, words, n_words, &summary, err);
}

static void capture_good(const char *output, const char *points, const char *const *probes,
                         int64_t n)
{
    sonde_error err = {0};
    if (capture(output, points, probes, n, &err) != SONDE_OK) fail_msg("%s", err.message);
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct rows {
    float *data; /* [n, width] */
    uint32_t *position;
    int64_t n, width;
} rows;

static rows read_point(const char *path, const char *point)
{
    sonde_reader *reader = NULL;
    sonde_point_info info;
    sonde_error err = {0};
    if (sonde_reader_open(path, &reader, &err) != SONDE_OK) fail_msg("%s", err.message);
    int64_t index = sonde_reader_find(reader, point);
    assert_true(index >= 0);
    assert_int_equal(sonde_reader_point(reader, index, &info, &err), SONDE_OK);
    rows r = {.n = info.rows, .width = info.width};
    r.data = sonde_alloc((size_t)(r.n * r.width), sizeof *r.data);
    r.position = sonde_alloc((size_t)r.n, sizeof *r.position);
    assert_true(r.data && r.position);
    sonde_row_columns columns = {.position = r.position};
    if (sonde_reader_read(reader, index, 0, r.n, r.data, &err) != SONDE_OK ||
        sonde_reader_rows_read(reader, 0, r.n, &columns, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    sonde_reader_close(&reader);
    return r;
}

static void rows_free(rows *r)
{
    sonde_free(r->data);
    sonde_free(r->position);
}

static bool same_point(const char *point)
{
    char a[33], b[33];
    capture_point_hash(PLAIN, point, a);
    capture_point_hash(OTHER, point, b);
    return strcmp(a, b) == 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void test_writing_the_own_value_back_changes_nothing(void **state)
{
    (void)state;
    sonde_string probe = {0};
    char plain[33], other[33];
    int64_t written = 0;
    sonde_string_text(&probe, "steer:mode=scale,strength=1");
    for (int64_t i = 0; i < sonde_model_point_count(model); i++) {
        const sonde_hook_point *point = sonde_model_point(model, i);
        if (!point->writable) continue;
        sonde_string_format(&probe, ",points=%s", point->name);
        written++;
    }
    assert_true(written > 20);
    const char *probes[] = {probe.data};
    prompts = GENERATING;
    capture_good(PLAIN, "*", NULL, 0);
    capture_good(OTHER, "*", probes, 1);
    prompts = PROMPTS;
    capture_hash(PLAIN, plain);
    capture_hash(OTHER, other);
    assert_string_equal(plain, other);
    sonde_string_reset(&probe);
}

static void test_writing_changes_what_follows_and_nothing_before(void **state)
{
    (void)state;
    static const char *const probes[] = {"steer:mode=scale,strength=0,points=blocks.1.attn.z[1]"};
    static const char *const follow[] = {"blocks.1.attn.z",     "blocks.1.attn.out",
                                         "blocks.1.resid_mid",  "blocks.1.resid_post",
                                         "blocks.2.attn.q",     "blocks.2.attn.pattern",
                                         "blocks.2.resid_post", "logits"};
    int64_t at = sonde_model_find_point(model, "blocks.1.attn.z");
    assert_true(at > 10);
    capture_good(PLAIN, "*", NULL, 0);
    capture_good(OTHER, "*", probes, 1);
    for (int64_t i = 0; i < at; i++)
        if (!same_point(sonde_model_point(model, i)->name))
            fail_msg("%s lies before blocks.1.attn.z, and changed",
                     sonde_model_point(model, i)->name);
    for (size_t i = 0; i < SONDE_COUNT(follow); i++)
        if (same_point(follow[i])) fail_msg("%s follows blocks.1.attn.z, and did not", follow[i]);
}

static void test_readers_see_what_was_written(void **state)
{
    (void)state;
    static const char *const probes[] = {"steer:mode=scale,strength=0,points=blocks.1.attn.z[1]"};
    capture_good(PLAIN, "blocks.1.attn.z", NULL, 0);
    capture_good(OTHER, "blocks.1.attn.z", probes, 1);
    rows plain = read_point(PLAIN, "blocks.1.attn.z"), other = read_point(OTHER, "blocks.1.attn.z");
    const sonde_hook_point *z = sonde_model_point(
        model, sonde_model_find_point(model, "blocks.1.attn.z"));
    for (int64_t r = 0; r < plain.n; r++)
        for (int64_t c = 0; c < plain.width; c++) {
            bool ablated = c / z->shape[1] == 1;
            float expected = ablated ? 0 : plain.data[r * plain.width + c];
            assert_true(other.data[r * plain.width + c] == expected);
        }
    rows_free(&plain);
    rows_free(&other);
}

/* Written at position 3 only: earlier rows keep their bits, later ones feel it by attention. */
static void test_writing_at_chosen_rows(void **state)
{
    (void)state;
    static const char *const probes[] = {
        "steer:mode=scale,strength=3,points=blocks.0.resid_post,rows=pos:3..4"};
    capture_good(PLAIN, "blocks.2.resid_post", NULL, 0);
    capture_good(OTHER, "blocks.2.resid_post", probes, 1);
    rows plain = read_point(PLAIN, "blocks.2.resid_post");
    rows other = read_point(OTHER, "blocks.2.resid_post");
    for (int64_t r = 0; r < plain.n; r++) {
        bool same = memcmp(plain.data + r * plain.width, other.data + r * plain.width,
                           (size_t)plain.width * sizeof(float)) == 0;
        assert_int_equal(plain.position[r], other.position[r]);
        if (same != (plain.position[r] < 3))
            fail_msg("row %d at position %u: %s", (int)r, plain.position[r],
                     same ? "not changed" : "changed");
    }
    rows_free(&plain);
    rows_free(&other);
}

static void test_writers_run_in_the_order_given(void **state)
{
    (void)state;
    static const char *const two[] = {"steer=first:mode=scale,strength=3,points=final_norm",
                                      "steer=second:vector=build/writing-plain.h5:"
                                      "/activations/final_norm[0],points=final_norm"};
    capture_good(PLAIN, "final_norm", NULL, 0);
    capture_good(OTHER, "final_norm", two, 2);
    rows plain = read_point(PLAIN, "final_norm"), other = read_point(OTHER, "final_norm");
    for (int64_t r = 0; r < plain.n; r++)
        for (int64_t c = 0; c < plain.width; c++)
            assert_true(other.data[r * plain.width + c] ==
                        plain.data[r * plain.width + c] * 3 + plain.data[c]);
    rows_free(&plain);
    rows_free(&other);
}

/* ---- failing --------------------------------------------------------------------------------- */

static void expect_kept(int64_t sequences, bool complete)
{
    sonde_reader *reader = NULL;
    sonde_error err = {0};
    if (sonde_reader_open(OTHER, &reader, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_int_equal(sonde_reader_sequences(reader), sequences);
    assert_true(sonde_reader_is_sealed(reader));
    assert_true(sonde_reader_is_complete(reader) == complete);
    sonde_reader_close(&reader);
}

static void test_a_failing_probe_ends_the_run_and_keeps_the_rows(void **state)
{
    (void)state;
    static const char *const in_rows[] = {"rows_fail"}, *const in_finish[] = {"finish_fail=f"};
    sonde_error err = {0};
    remove(OTHER);
    assert_int_equal(capture(OTHER, "blocks.0.resid_post", in_rows, 1, &err), SONDE_PROBE);
    assert_non_null(strstr(err.message, "probe rows_fail (instance rows_fail): position 3 is one "
                                        "too many"));
    expect_kept(1, false);
    assert_int_equal(capture(OTHER, "blocks.0.resid_post", in_finish, 1, &err), SONDE_PROBE);
    assert_non_null(strstr(err.message, "probe finish_fail (instance f): nothing came of it"));
    expect_kept(3, false);
}

static void test_a_silent_probe_is_told_what_is_missing(void **state)
{
    (void)state;
    static const char *const silent[] = {"rows_silent"};
    sonde_error err = {0};
    assert_int_equal(capture(OTHER, "blocks.0.resid_post", silent, 1, &err), SONDE_PROBE);
    assert_non_null(strstr(err.message, "expected 2 rows for output 0 (x), got none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writing_the_own_value_back_changes_nothing),
        cmocka_unit_test(test_writing_changes_what_follows_and_nothing_before),
        cmocka_unit_test(test_readers_see_what_was_written),
        cmocka_unit_test(test_writing_at_chosen_rows),
        cmocka_unit_test(test_writers_run_in_the_order_given),
        cmocka_unit_test(test_a_failing_probe_ends_the_run_and_keeps_the_rows),
        cmocka_unit_test(test_a_silent_probe_is_told_what_is_missing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
