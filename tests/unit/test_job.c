/*
 * test_job.c - whole captures: which rows end where, what happens when a run ends early, and that an
 * estimate tells what the run then does.
 */
#include "host/job_internal.h"
#include "sonde/reader.h"
#include "support/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL "tests/goldens/families/llama"
#define PROMPTS "build/test_job.jsonl"
#define OUT "build/test_job.h5"

static const char three_prompts[] =
    "{\"tokens\": [5, 9, 17, 3, 22, 8], \"kind\": \"a\"}\n"
    "{\"tokens\": [1, 2], \"id\": \"mine\", \"max_new_tokens\": 4}\n"
    "{\"tokens\": [7, 7, 7, 8, 9]}\n";

static sonde_job_summary good_capture(const char *const *words, int64_t n)
{
    sonde_job_summary summary;
    sonde_error err = {0};
    if (job_capture(MODEL, PROMPTS, OUT, words, n, &summary, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    assert_true(summary.sealed && summary.complete);
    return summary;
}

static sonde_reader *open_capture(void)
{
    sonde_reader *reader = NULL;
    sonde_error err = {0};
    if (sonde_reader_open(OUT, &reader, &err) != SONDE_OK) fail_msg("%s", err.message);
    return reader;
}

static sonde_point_info point_of(const sonde_reader *reader, const char *name)
{
    sonde_point_info info;
    int64_t index = sonde_reader_find(reader, name);
    assert_true(index >= 0);
    assert_int_equal(sonde_reader_point(reader, index, &info, NULL), SONDE_OK);
    return info;
}

/* Rows of a point as (sequence, position) numbers: 100 * sequence + position. */
static int64_t places(sonde_reader *reader, const char *name, uint64_t *out)
{
    sonde_point_info info = point_of(reader, name);
    uint64_t map[64], sequence[64];
    uint32_t position[64];
    int64_t n = sonde_reader_rows(reader);
    sonde_row_columns columns = {.sequence = sequence, .position = position};
    assert_true(n <= 64 && info.rows <= 64);
    assert_int_equal(sonde_reader_rows_read(reader, 0, n, &columns, NULL), SONDE_OK);
    assert_int_equal(sonde_reader_rowmap(reader, sonde_reader_find(reader, name), 0, info.rows, map,
                                         NULL), SONDE_OK);
    for (int64_t i = 0; i < info.rows; i++) out[i] = 100 * sequence[map[i]] + position[map[i]];
    return info.rows;
}

static void assert_places(sonde_reader *reader, const char *name, const uint64_t *expected, int64_t n)
{
    uint64_t got[64];
    assert_int_equal(places(reader, name, got), n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(got[i], expected[i]);
}

/* ---- which rows ----------------------------------------------------------------------------------------- */

static void test_rows_of_points_with_their_own_expressions(void **state)
{
    static const char *const words[] = {
        "--points", "blocks.0.resid_post@last:1,blocks.1.resid_post@prompt&first:2,embed@generated"};
    static const uint64_t last[] = {5, 104, 204}, first[] = {0, 1, 100, 101, 200, 201},
                          generated[] = {102, 103, 104};
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    good_capture(words, 2);
    sonde_reader *reader = open_capture();
    assert_int_equal(sonde_reader_rows(reader), 11);
    assert_places(reader, "blocks.0.resid_post", last, 3);
    assert_places(reader, "blocks.1.resid_post", first, 6);
    assert_places(reader, "embed", generated, 3);
    sonde_reader_close(&reader);
}

/* The one sampled token is never run: it is not among the last rows. */
static void test_last_rows_before_one_sampled_token(void **state)
{
    static const char *const words[] = {"--max-new-tokens", "1", "--rows", "last:2", "--points",
                                        "embed@last:3,blocks.0.resid_post"};
    static const uint64_t two[] = {4, 5, 101, 102, 203, 204},
                          three[] = {3, 4, 5, 100, 101, 102, 202, 203, 204};
    (void)state;
    write_text_file(PROMPTS, "{\"tokens\": [5, 9, 17, 3, 22, 8]}\n"
                             "{\"tokens\": [1, 2], \"max_new_tokens\": 2}\n"
                             "{\"tokens\": [7, 7, 7, 8, 9]}\n");
    good_capture(words, SONDE_COUNT(words));
    sonde_reader *reader = open_capture();
    assert_places(reader, "blocks.0.resid_post", two, SONDE_COUNT(two));
    assert_places(reader, "embed", three, SONDE_COUNT(three));
    sonde_reader_close(&reader);
}

/* A point's rows are numbered among rows of another point that are known at the end only. */
static void test_rows_among_rows_known_at_the_end(void **state)
{
    static const char *const words[] = {"--max-new-tokens", "5", "--points",
                                        "embed@generated,blocks.0.resid_post@last:100"};
    static const uint64_t generated[] = {6, 7, 8, 9, 102, 103, 104, 205, 206, 207, 208};
    uint64_t last[64];
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    good_capture(words, 4);
    sonde_reader *reader = open_capture();
    assert_int_equal(sonde_reader_rows(reader), 24);
    assert_places(reader, "embed", generated, SONDE_COUNT(generated));
    assert_int_equal(places(reader, "blocks.0.resid_post", last), 24);
    sonde_reader_close(&reader);
}

/* Rows that are only known at the end hold the values that a capture of all rows holds. */
static void test_rows_known_at_the_end_hold_the_same_values(void **state)
{
    static const char *const all[] = {"--as", "f32", "--points", "blocks.2.mlp.post[3:9,40],blocks.1.attn.pattern[1]"};
    static const char *const late[] = {"--as", "f32", "--points", "blocks.2.mlp.post[3:9,40],blocks.1.attn.pattern[1]",
                                       "--rows", "last:1|every:3"};
    float dense[64][7], ragged[512], few[7], few_ragged[64];
    uint64_t indptr[64], few_indptr[64], sequence[64];
    uint32_t position[64];
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    good_capture(all, 4);
    sonde_reader *reader = open_capture();
    int64_t n = sonde_reader_rows(reader), post = sonde_reader_find(reader, "blocks.2.mlp.post");
    int64_t pattern = sonde_reader_find(reader, "blocks.1.attn.pattern");
    assert_int_equal(n, 16);
    assert_int_equal(sonde_reader_read(reader, post, 0, n, dense[0], NULL), SONDE_OK);
    assert_int_equal(sonde_reader_ragged_rows(reader, pattern, 0, n, indptr, NULL, NULL), SONDE_OK);
    assert_int_equal(sonde_reader_ragged_read(reader, pattern, 0, indptr[n], ragged, NULL), SONDE_OK);
    sonde_reader_close(&reader);
    good_capture(late, 6);
    reader = open_capture();
    static const int64_t rows[] = {0, 3, 5, 6, 9, 10, 11, 14, 15};
    assert_int_equal(sonde_reader_rows(reader), SONDE_COUNT(rows));
    sonde_row_columns columns = {.sequence = sequence, .position = position};
    assert_int_equal(sonde_reader_rows_read(reader, 0, SONDE_COUNT(rows), &columns, NULL), SONDE_OK);
    pattern = sonde_reader_find(reader, "blocks.1.attn.pattern");
    assert_int_equal(sonde_reader_ragged_rows(reader, pattern, 0, SONDE_COUNT(rows), few_indptr, NULL,
                                              NULL), SONDE_OK);
    for (size_t i = 0; i < SONDE_COUNT(rows); i++) {
        assert_int_equal(sonde_reader_read(reader, sonde_reader_find(reader, "blocks.2.mlp.post"),
                                           (int64_t)i, 1, few, NULL), SONDE_OK);
        assert_memory_equal(few, dense[rows[i]], sizeof few);
        uint64_t keys = few_indptr[i + 1] - few_indptr[i];
        assert_int_equal(keys, indptr[rows[i] + 1] - indptr[rows[i]]);
        assert_int_equal(sonde_reader_ragged_read(reader, pattern, few_indptr[i], keys, few_ragged,
                                                  NULL), SONDE_OK);
        assert_memory_equal(few_ragged, ragged + indptr[rows[i]], keys * sizeof *ragged);
    }
    sonde_reader_close(&reader);
}

static void test_sequences_say_how_they_ended(void **state)
{
    static const char *const words[] = {"--max-new-tokens", "3"};
    sonde_sequence_info info;
    const uint32_t *tokens;
    int64_t count;
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    sonde_job_summary summary = good_capture(words, 2);
    assert_int_equal(summary.totals.generated_tokens, 10);
    sonde_reader *reader = open_capture();
    assert_int_equal(sonde_reader_sequences(reader), 3);
    assert_int_equal(sonde_reader_sequence(reader, 1, &info, NULL), SONDE_OK);
    assert_string_equal(info.id, "mine");
    assert_int_equal(info.n_prompt, 2);
    assert_int_equal(info.row_start, 8);
    assert_int_equal(info.row_count, 5);
    assert_true(info.last_token >= 0 && info.last_logprob < 0.0f);
    assert_int_equal(sonde_reader_tokens(reader, 1, &tokens, &count, NULL), SONDE_OK);
    assert_int_equal(count, 5);
    sonde_reader_close(&reader);
}

/* ---- a small window changes nothing ------------------------------------------------------------------------ */

static void test_a_small_window_changes_no_content(void **state)
{
    static const char *const words[] = {"--workers", "2", "--threads", "1", "--max-new-tokens", "6",
                                        "--batch", "2", "--batch-tokens", "4", "--probe", "capture",
                                        "--probe", "moments"};
    char wide[33], narrow[33];
    sonde_job_options options;
    sonde_job *job = NULL;
    sonde_job_summary summary;
    sonde_error err = {0};
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    good_capture(words, SONDE_COUNT(words));
    capture_hash(OUT, wide);
    job_options(&options, words, SONDE_COUNT(words));
    options.overwrite = true;
    sonde_job_spec spec = {.model = MODEL, .prompts = PROMPTS, .options = &options};
    if (sonde_job_open(&spec, &job, &err) != SONDE_OK) fail_msg("%s", err.message);
    sonde_job_run run = {.job = job, .window_bytes = 1};
    if (sonde_job_run_capture(&run, OUT, &summary, &err) != SONDE_OK) fail_msg("%s", err.message);
    sonde_job_close(&job);
    capture_hash(OUT, narrow);
    assert_string_equal(wide, narrow);
}

/* Row counts of some prompts are known while they still run, behind others whose counts are not. */
static void test_rows_placed_while_a_sequence_runs(void **state)
{
    static const char *const words[] = {
        "--workers", "2", "--threads", "1", "--max-new-tokens", "40", "--points",
        "blocks.1.attn.pattern,embed@generated,blocks.0.resid_post@every:3", "--batch", "3"};
    static const char *const single[] = {
        "--workers", "1", "--threads", "1", "--max-new-tokens", "40", "--points",
        "blocks.1.attn.pattern,embed@generated,blocks.0.resid_post@every:3", "--batch", "1"};
    static const char *const alone[] = {"--workers", "2", "--threads", "1", "--batch", "3",
                                        "--max-new-tokens", "40"};
    static const char *const alone_single[] = {"--workers", "1", "--threads", "1", "--batch", "1",
                                               "--max-new-tokens", "40"};
    sonde_string text = {0};
    char together[33], apart[33];
    (void)state;
    for (int i = 0; i < 24; i++)
        sonde_string_format(&text, "{\"tokens\": [%d, 3, %d], \"rows\": \"%s\"}\n", i + 1, 2 * i,
                            i % 2 ? "prompt" : "generated&every:2");
    write_text_file(PROMPTS, text.data);
    sonde_string_reset(&text);
    good_capture(words, SONDE_COUNT(words));
    capture_hash(OUT, together);
    good_capture(single, SONDE_COUNT(single));
    capture_hash(OUT, apart);
    assert_string_equal(together, apart);
    good_capture(alone, SONDE_COUNT(alone));
    capture_hash(OUT, together);
    good_capture(alone_single, SONDE_COUNT(alone_single));
    capture_hash(OUT, apart);
    assert_string_equal(together, apart);
}

/* ---- ends that are no success -------------------------------------------------------------------------------- */

static void test_nothing_kept_leaves_no_file(void **state)
{
    static const char *const words[] = {"--rows", "pos:50..60"};
    sonde_job_summary summary;
    sonde_error err = {0};
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    remove(OUT);
    assert_int_equal(job_capture(MODEL, PROMPTS, OUT, words, 2, &summary, &err), SONDE_NOTHING);
    assert_non_null(strstr(err.message, "pos:50..60"));
    assert_false(sonde_path_exists(OUT) || sonde_path_exists(OUT ".part"));
}

typedef struct stopper {
    int polls, stop_at;
} stopper;

static bool stop_after(void *context)
{
    stopper *s = context;
    return ++s->polls > s->stop_at;
}

static sonde_status interrupted_capture(int stop_at, sonde_job_summary *summary, sonde_error *err)
{
    static const char *const words[] = {"--batch", "1", "--workers", "1"};
    sonde_job_options options;
    sonde_job *job = NULL;
    stopper s = {.stop_at = stop_at};
    sonde_job_watch watch = {.context = &s, .cancelled = stop_after};
    job_options(&options, words, 4);
    options.overwrite = true;
    sonde_job_spec spec = {.model = MODEL, .prompts = PROMPTS, .options = &options};
    if (sonde_job_open(&spec, &job, err) != SONDE_OK) fail_msg("%s", err->message);
    sonde_status status = sonde_job_capture(job, OUT, &watch, summary, err);
    sonde_job_close(&job);
    return status;
}

static void test_an_interrupted_run_seals_what_is_finished(void **state)
{
    sonde_job_summary summary;
    int sealed = 0;
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    for (int stop_at = 0; stop_at < 5; stop_at++) {
        sonde_error err = {0};
        remove(OUT);
        sonde_status status = interrupted_capture(stop_at, &summary, &err);
        if (status == SONDE_OK) continue;
        assert_int_equal(status, SONDE_INTERRUPTED);
        assert_int_equal(summary.sealed, sonde_path_exists(OUT));
        assert_false(summary.complete || sonde_path_exists(OUT ".part"));
        if (!summary.sealed) continue;
        sealed++;
        sonde_reader *reader = open_capture();
        assert_true(sonde_reader_is_sealed(reader));
        assert_false(sonde_reader_is_complete(reader));
        int64_t sequences = sonde_reader_sequences(reader);
        assert_true(sequences == 1 || sequences == 2);
        assert_int_equal(sonde_reader_rows(reader), sequences == 1 ? 6 : 11);
        assert_int_equal(point_of(reader, "blocks.2.resid_post").rows, sonde_reader_rows(reader));
        sonde_reader_close(&reader);
    }
    assert_true(sealed > 0);
}

static void test_a_bad_prompt_seals_those_before_it(void **state)
{
    static const char *const words[] = {"--workers", "1"};
    sonde_job_summary summary;
    sonde_error err = {0};
    (void)state;
    write_text_file(PROMPTS, "{\"tokens\": [5, 9]}\n{\"tokens\": [1, 2]}\n{\"tokens\": [1, 9999]}\n");
    remove(OUT);
    assert_int_equal(job_capture(MODEL, PROMPTS, OUT, words, 2, &summary, &err), SONDE_BAD_PROMPT);
    assert_non_null(strstr(err.message, "test_job.jsonl:3"));
    assert_non_null(strstr(err.message, "9999"));
    assert_int_equal(summary.sealed, sonde_path_exists(OUT));
}

/* ---- estimates ------------------------------------------------------------------------------------------------- */

static sonde_job_cost estimate(const char *const *words, int64_t n, sonde_job **job)
{
    static sonde_job_options options;
    sonde_job_cost cost;
    sonde_error err = {0};
    job_options(&options, words, n);
    sonde_job_spec spec = {.model = MODEL, .prompts = PROMPTS, .options = &options, .shape_only = true};
    if (sonde_job_open(&spec, job, &err) != SONDE_OK) fail_msg("%s", err.message);
    if (sonde_job_estimate(*job, OUT, &cost, &err) != SONDE_OK) fail_msg("%s", err.message);
    return cost;
}

static void test_an_estimate_is_what_the_run_does(void **state)
{
    static const char *const words[] = {"--points", "*", "--rows", "first:4"};
    sonde_job *job;
    (void)state;
    write_text_file(PROMPTS, "{\"tokens\": [5, 9, 17, 3, 22, 8]}\n{\"tokens\": [1, 2]}\n");
    sonde_job_cost cost = estimate(words, 4, &job);
    sonde_job_summary summary = good_capture(words, 4);
    assert_true(cost.rows_exact);
    assert_int_equal(cost.rows, summary.totals.rows);
    assert_int_equal(cost.rows, 6);
    assert_int_equal(cost.steps_planned, summary.steps_planned);
    uint64_t values = 0;
    for (int64_t i = 0; i < cost.n_points; i++) {
        sonde_reader *reader = open_capture();
        sonde_point_info info = point_of(reader, cost.points[i].name);
        assert_int_equal(info.rows, cost.points[i].rows);
        assert_string_equal(sonde_dtype_name(info.stored), cost.points[i].stored);
        values += cost.points[i].bytes - (info.ragged ? 12 * cost.points[i].rows : 0);
        sonde_reader_close(&reader);
    }
    assert_int_equal(values, summary.totals.bytes_raw);
    sonde_job_close(&job);
}

static void test_an_estimate_bounds_generated_rows(void **state)
{
    static const char *const words[] = {"--max-new-tokens", "7"};
    sonde_job *job;
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    sonde_job_cost cost = estimate(words, 2, &job);
    assert_false(cost.rows_exact);
    assert_int_equal(cost.rows, 6 + 6 + 2 + 3 + 5 + 6);
    assert_int_equal(cost.generated_tokens_max, 7 + 4 + 7);
    sonde_job_close(&job);
}

static void test_an_early_block_leaves_later_steps_out(void **state)
{
    static const char *const early[] = {"--points", "blocks.0.resid_post"};
    static const char *const late[] = {"--points", "blocks.2.resid_post"};
    sonde_job *job;
    (void)state;
    write_text_file(PROMPTS, "{\"tokens\": [5, 9]}\n");
    sonde_job_cost first = estimate(early, 2, &job);
    sonde_job_close(&job);
    sonde_job_cost last = estimate(late, 2, &job);
    sonde_job_close(&job);
    assert_int_equal(first.last_layer, 0);
    assert_int_equal(last.last_layer, 2);
    assert_true(first.steps_planned * 2 < last.steps_planned);
    assert_true(last.steps_planned < last.steps_recipe);
}

static void test_memory_over_the_limit_is_refused(void **state)
{
    static const char *const words[] = {"--memory", "1K"};
    sonde_job_summary summary;
    sonde_error err = {0};
    (void)state;
    write_text_file(PROMPTS, three_prompts);
    assert_int_equal(job_capture(MODEL, PROMPTS, OUT, words, 2, &summary, &err), SONDE_TOO_BIG);
    assert_non_null(strstr(err.message, "--memory"));
}

static int setup(void **state)
{
    (void)state;
    use_built_probes();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_points_with_their_own_expressions),
        cmocka_unit_test(test_last_rows_before_one_sampled_token),
        cmocka_unit_test(test_rows_among_rows_known_at_the_end),
        cmocka_unit_test(test_rows_known_at_the_end_hold_the_same_values),
        cmocka_unit_test(test_sequences_say_how_they_ended),
        cmocka_unit_test(test_a_small_window_changes_no_content),
        cmocka_unit_test(test_rows_placed_while_a_sequence_runs),
        cmocka_unit_test(test_nothing_kept_leaves_no_file),
        cmocka_unit_test(test_an_interrupted_run_seals_what_is_finished),
        cmocka_unit_test(test_a_bad_prompt_seals_those_before_it),
        cmocka_unit_test(test_an_estimate_is_what_the_run_does),
        cmocka_unit_test(test_an_estimate_bounds_generated_rows),
        cmocka_unit_test(test_an_early_block_leaves_later_steps_out),
        cmocka_unit_test(test_memory_over_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
