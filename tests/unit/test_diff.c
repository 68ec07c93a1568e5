/* analysis: whole comparisons of captures in memory; its parts on their own: test_diff_values.c. */
#include "analysis/diff_internal.h"
#include "unit/diff_fake_reader.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- captures --- */

/* Two sequences of 3 and 2 rows; p of shape [2, 2], ragged g of 2 heads; one probe table. */
static void make_capture(sonde_reader *r, const char *path)
{
    static const uint32_t positions[] = {0, 1, 2, 0, 1}, tokens[] = {10, 11, 12, 20, 21};
    memset(r, 0, sizeof *r);
    r->path = path;
    r->model_hash = "aa";
    r->vocabulary = "1";
    r->n_rows = 5;
    r->n_sequences = 2;
    for (int i = 0; i < 5; i++) {
        r->sequence[i] = i < 3 ? 0 : 1;
        r->position[i] = positions[i];
        r->token[i] = tokens[i];
        r->logprob[i] = positions[i] ? -1.5f : NAN;
        r->run[i < 3 ? 0 : 1][positions[i]] = tokens[i];
    }
    r->run_length[0] = 3;
    r->run_length[1] = 2;
    r->sequences[0] = (sonde_sequence_info){.sequence = 0, .xxh3 = 100, .id = "0"};
    r->sequences[1] = (sonde_sequence_info){.sequence = 1, .xxh3 = 200, .id = "1"};
    r->n_points = 2;
    fake_point *p = &r->points[0], *g = &r->points[1];
    p->info = (sonde_point_info){.name = "blocks.0.attn.q", .stored = SONDE_DTYPE_BF16,
                                 .n_dims = 2, .shape = {2, 2}, .width = 4, .rows = 5};
    for (int i = 0; i < 20; i++) p->values[i] = (float)(i + 1);
    g->info = (sonde_point_info){.name = "blocks.0.attn.pattern", .stored = SONDE_DTYPE_F32,
                                 .n_dims = 1, .shape = {2}, .rows = 5, .ragged = true,
                                 .elements = 18};
    for (int i = 0; i < 5; i++) g->indptr[i + 1] = g->indptr[i] + 2 * (positions[i] + 1);
    for (int i = 0; i < 18; i++) g->values[i] = 0.5f + (float)i;
    r->n_tables = 1;
    r->tables[0].info = (sonde_table_info){
        .path = "moments/mean", .dtype = SONDE_DTYPE_F64, .n_dims = 1, .dims = {3}};
    r->tables[0].values[1] = 2.0;
}

static int make_files(void **state)
{
    fake_files = calloc(1, sizeof *fake_files);
    *state = fake_files;
    if (!fake_files) return -1;
    make_capture(&fake_files->a, "a");
    make_capture(&fake_files->b, "b");
    return 0;
}

static int free_files(void **state)
{
    free(*state);
    fake_files = NULL;
    return 0;
}

/* Runs a comparison, expects a status, and gives the report. */
static sonde_diff_report *run(const sonde_diff_options *options, sonde_status expected)
{
    sonde_diff_report *report = NULL;
    sonde_error err = {0};
    sonde_status status = sonde_diff_run("a", "b", options, &report, &err);
    if (status != expected) print_error("%s\n", err.message);
    assert_int_equal(status, expected);
    assert_non_null(report);
    assert_int_equal(sonde_diff_report_status(report), expected);
    return report;
}

static void expect(const char *waive, sonde_status expected, const char *reason)
{
    sonde_diff_options options;
    sonde_diff_options_init(&options);
    options.waive = waive;
    sonde_diff_report *report = run(&options, expected);
    assert_string_equal(report->reason, reason);
    sonde_diff_report_destroy(&report);
    assert_null(report);
}

static void test_run_identical(void **state)
{
    (void)state;
    sonde_diff_report *report = run(NULL, SONDE_OK);
    assert_int_equal(sonde_diff_report_point_count(report), 2);
    for (int64_t i = 0; i < 2; i++) {
        const sonde_diff_point *p = sonde_diff_report_point(report, i);
        assert_int_equal(p->verdict, SONDE_DIFF_IDENTICAL);
        assert_int_equal(p->rows, 5);
        assert_int_equal(p->metrics.elements, i == 0 ? 20 : 18);
        assert_false(p->first.present);
        assert_true(p->metrics.cosine == 1.0 || fabs(p->metrics.cosine - 1.0) < 1e-15);
    }
    assert_int_equal(sonde_diff_report_table(report, 0)->verdict, SONDE_DIFF_IDENTICAL);
    assert_int_equal(report->matching.by_tokens, 2);
    assert_string_equal(diff_verdict_text(report), "identical");
    sonde_diff_report_destroy(&report);
}

/* Sequences swapped in b, matched by ids: rows find each other. */
static void test_run_follows_ids_and_rowmaps(void **state)
{
    (void)state;
    static const int order[] = {3, 4, 0, 1, 2};
    sonde_reader saved = fake_files->b, *b = &fake_files->b;
    for (int i = 0; i < 5; i++) {
        b->sequence[i] = i < 2 ? 0 : 1;
        b->position[i] = saved.position[order[i]];
        b->token[i] = saved.token[order[i]];
        b->logprob[i] = saved.logprob[order[i]];
        memcpy(b->points[0].values + 4 * i, saved.points[0].values + 4 * order[i],
               4 * sizeof(float));
    }
    memcpy(b->run[0], saved.run[1], sizeof b->run[0]);
    memcpy(b->run[1], saved.run[0], sizeof b->run[1]);
    b->run_length[0] = 2;
    b->run_length[1] = 3;
    b->sequences[0].id = fake_files->a.sequences[1].id = "second";
    b->sequences[1].id = fake_files->a.sequences[0].id = "first";
    for (int i = 0; i < 2; i++)
        b->sequences[i].id_is_given = fake_files->a.sequences[i].id_is_given = true;
    fake_files->a.n_points = b->n_points = 1;
    sonde_diff_report *report = run(NULL, SONDE_OK);
    assert_int_equal(report->matching.by_id, 2);
    assert_int_equal(report->points[0].rows, 5);
    sonde_diff_report_destroy(&report);

    /* b keeps rows 4 and 1 of /rows only */
    fake_point *p = &b->points[0];
    p->info.has_rowmap = true;
    p->info.rows = 2;
    p->rowmap[0] = 4;
    p->rowmap[1] = 1;
    memcpy(p->values, fake_files->a.points[0].values + 8, 4 * sizeof(float));
    memcpy(p->values + 4, fake_files->a.points[0].values + 16, 4 * sizeof(float));
    expect(NULL, SONDE_DIFFERS, "1 of 1 points fail");
    expect("rows", SONDE_OK, "");
    p->values[5] += 1.0f;
    report = run(NULL, SONDE_DIFFERS);
    assert_int_equal(report->points[0].rows, 2);
    assert_int_equal(report->points[0].rows_only_a, 3);
    assert_int_equal(report->points[0].metrics.unequal, 1);
    assert_int_equal(report->points[0].first.sequence, 1);
    assert_int_equal(report->points[0].first.position, 1);
    sonde_diff_report_destroy(&report);

    p->rowmap[1] = 9; /* /rows has 5 */
    sonde_error err = {0};
    assert_int_equal(sonde_diff_run("a", "b", NULL, &report, &err), SONDE_BAD_CAPTURE);
    assert_null(report);
    assert_non_null(strstr(err.message, "row 9 of /rows"));
}

static void test_run_names_the_place(void **state)
{
    (void)state;
    fake_files->b.points[0].values[11] += 4.0f; /* row 2: 9 10 11 12, head 1, channel 1 */
    fake_files->b.points[0].values[19] += 0.5f;
    fake_files->b.points[1].values[9] = 0.0f;   /* row 2: 6..11, head 1, key 0 */
    fake_files->a.points[1].first_key[2] = fake_files->b.points[1].first_key[2] = 7;
    sonde_diff_report *report = run(NULL, SONDE_DIFFERS);
    const sonde_diff_point *p = sonde_diff_report_point(report, 0);
    assert_int_equal(p->metrics.unequal, 2);
    assert_int_equal(p->first.sequence, 0);
    assert_int_equal(p->first.position, 2);
    assert_int_equal(p->first.token, 12);
    assert_string_equal(p->first.piece, " the\\x0a");
    assert_int_equal(p->first.n_index, 2);
    assert_int_equal(p->first.index[0], 1);
    assert_int_equal(p->first.index[1], 1);
    assert_true(p->first.a == 12.0 && p->first.b == 16.0);
    assert_true(p->metrics.max_abs == 4.0);
    assert_int_equal(p->worst.position, 2);
    double expected = sqrt(16.0 / (81.0 + 100.0 + 121.0 + 256.0));
    assert_true(fabs(p->worst_rel_l2 - expected) < 1e-15);
    const sonde_diff_point *g = sonde_diff_report_point(report, 1);
    assert_int_equal(g->first.index[0], 1);
    assert_int_equal(g->first.index[1], 7);
    assert_true(g->first.a == 9.5 && g->first.b == 0.0);
    sonde_diff_report_destroy(&report);
}

static void test_run_refuses_and_waives(void **state)
{
    (void)state;
    sonde_reader *b = &fake_files->b;
    b->model_hash = "bb";
    expect(NULL, SONDE_DIFFERS, "model differs");
    expect("model", SONDE_OK, "");
    b->model_hash = NULL; /* absent: no mismatch */
    expect(NULL, SONDE_OK, "");
    b->vocabulary = "2";
    expect("model", SONDE_DIFFERS, "vocabulary differs");
    expect("model,vocabulary", SONDE_OK, "");
    b->vocabulary = "1";
    b->points[0].info.stored = SONDE_DTYPE_F32;
    expect(NULL, SONDE_DIFFERS, "1 of 2 points fail");
    expect("dtype", SONDE_OK, "");
    b->points[0].info.stored = SONDE_DTYPE_BF16;
    b->n_points = 1;
    b->n_tables = 0;
    expect(NULL, SONDE_DIFFERS, "1 of 2 points fail; 1 of 1 probe tables fail");
    expect("points", SONDE_OK, "");
    b->points[0].info.shape[0] = 4;
    b->points[0].info.shape[1] = 1;
    expect("points", SONDE_NOTHING, "");
}

static void test_run_tokens(void **state)
{
    (void)state;
    fake_files->b.token[1] = 99;
    fake_files->b.run[0][1] = 99;
    expect("rows", SONDE_DIFFERS, "token ids differ");
    expect("tokens", SONDE_OK, "");
    /* the same runs, another last token */
    fake_files->b.token[1] = 11;
    fake_files->b.run[0][1] = 11;
    fake_files->b.sequences[1].last_token = 5;
    expect(NULL, SONDE_DIFFERS, "token ids differ");
    fake_files->b.sequences[1].last_token = 0;
    fake_files->b.sequences[1].xxh3 = 201;
    expect("rows", SONDE_OK, "");
    expect(NULL, SONDE_DIFFERS, "2 of 2 points fail; unmatched sequences");
}

static void test_run_ragged_and_nonfinite(void **state)
{
    (void)state;
    sonde_diff_options options;
    sonde_diff_options_init(&options);
    options.limits.atol = 1e30;
    fake_files->b.points[1].first_key[4] = 1;
    sonde_diff_report *report = run(&options, SONDE_DIFFERS);
    assert_int_equal(report->points[1].rows_misfit, 1);
    assert_int_equal(report->points[1].metrics.elements, 14);
    sonde_diff_report_destroy(&report);
    fake_files->b.points[1].first_key[4] = 0;
    fake_files->b.points[0].values[3] = NAN;
    report = run(&options, SONDE_DIFFERS);
    assert_int_equal(report->points[0].metrics.nonfinite, 1);
    assert_string_equal(report->points[0].why, "NaN or infinity on one side");
    sonde_diff_report_destroy(&report);
    fake_files->a.points[0].values[3] = NAN;
    fake_files->b.points[0].values[4] += 1.0f;
    report = run(&options, SONDE_OK);
    assert_int_equal(report->points[0].verdict, SONDE_DIFF_WITHIN);
    sonde_diff_report_destroy(&report);
}

/* Rows beyond fp32's integers: i32 points are compared by their own values. */
static void test_run_minimal_and_selection(void **state)
{
    (void)state;
    fake_files->b.minimal = true;
    fake_files->b.n_sequences = fake_files->b.n_tables = 0;
    fake_files->b.model_hash = fake_files->b.vocabulary = NULL;
    fake_files->a.points[0].info.stored = fake_files->b.points[0].info.stored = SONDE_DTYPE_I32;
    fake_files->a.points[1].values[0] = 7.0f;
    expect(NULL, SONDE_DIFFERS, "1 of 2 points fail; 1 of 1 probe tables fail");
    sonde_diff_options options;
    sonde_diff_options_init(&options);
    options.points = "x,blocks.{1,0}.*.q";
    sonde_diff_report *report = run(&options, SONDE_OK);
    assert_int_equal(report->n_points, 1);
    assert_int_equal(report->n_tables, 0);
    assert_int_equal(report->matching.by_index, 2);
    sonde_diff_report_destroy(&report);
    options.points = "nothing";
    report = run(&options, SONDE_NOTHING);
    sonde_diff_report_destroy(&report);
}

static void test_run_tables(void **state)
{
    (void)state;
    fake_files->b.tables[0].values[1] = 2.5;
    sonde_diff_report *report = run(NULL, SONDE_DIFFERS);
    const sonde_diff_point *t = sonde_diff_report_table(report, 0);
    assert_true(t->metrics.max_abs == 0.5);
    assert_int_equal(t->first.index[0], 1);
    sonde_diff_report_destroy(&report);
    fake_files->b.tables[0].info.dims[0] = 2;
    expect(NULL, SONDE_DIFFERS, "1 of 1 probe tables fail");
}

static void test_run_columns(void **state)
{
    (void)state;
    fake_files->b.logprob[4] = -1.25f;
    fake_files->b.phase[2] = 1;
    expect(NULL, SONDE_DIFFERS, "2 of 3 columns of /rows fail");
    sonde_diff_options options;
    sonde_diff_options_init(&options);
    options.limits.atol = 0.25;
    options.limit = (sonde_option_list){1, {"/rows/phase:atol=1"}};
    sonde_diff_report *report = run(&options, SONDE_OK);
    assert_int_equal(report->n_tables, 4);
    const sonde_diff_point *t = sonde_diff_report_table(report, 3);
    assert_string_equal(t->name, "/rows/logprob");
    assert_int_equal(t->metrics.unequal, 1);
    assert_int_equal(t->first.sequence, 1);
    assert_int_equal(t->first.position, 1);
    assert_true(t->first.a == -1.5 && t->first.b == -1.25);
    sonde_diff_report_destroy(&report);
    options.points = "blocks.*,moments/*";
    options.limits.atol = 0;
    report = run(&options, SONDE_OK);
    assert_int_equal(report->n_tables, 1);
    sonde_diff_report_destroy(&report);

    fake_files->b.phase[2] = 0;
    for (int i = 0; i < 5; i++) fake_files->b.logprob[i] = NAN; /* not computed: no mismatch */
    expect(NULL, SONDE_OK, "");
    fake_files->a.n_points = fake_files->a.n_tables = 0; /* columns alone are nothing */
    expect("points", SONDE_NOTHING, "");
}

static void test_run_manifest(void **state)
{
    (void)state;
    fake_files->a.manifest = "{\"model\": \"m\", \"options\": {\"seed\": 1, \"as\": [\"f32\"]}}";
    fake_files->b.manifest =
        "{\"options\": {\"as\": [\"f32\"], \"seed\": 2, \"k\": 3}, \"model\": \"m\"}";
    sonde_diff_report *report = run(NULL, SONDE_OK);
    const diff_manifest *m = &report->manifest;
    assert_true(m->compared);
    assert_int_equal(m->count, 2);
    assert_string_equal(m->first[0].key, "options.seed");
    assert_string_equal(m->first[0].a, "1");
    assert_string_equal(m->first[0].b, "2");
    assert_string_equal(m->first[1].key, "options.k");
    assert_string_equal(m->first[1].a, "");
    sonde_diff_report_destroy(&report);
    fake_files->b.manifest = "[]";
    sonde_error err = {0};
    assert_int_equal(sonde_diff_run("a", "b", NULL, &report, &err), SONDE_BAD_CAPTURE);
    assert_non_null(strstr(err.message, "b: /manifest: expected a JSON object"));
}

static void test_print_json_has_the_schema(void **state)
{
    (void)state;
    fake_files->b.points[0].values[11] = INFINITY;
    fake_files->b.n_tables = 0;
    sonde_diff_report *report = run(NULL, SONDE_DIFFERS);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(sonde_diff_print_json(report, out, NULL), SONDE_OK);
    fclose(out);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    free(text);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")), "differs");
    json_t *point = json_array_get(json_object_get(root, "points"), 0);
    assert_true(json_is_null(json_object_get(json_object_get(point, "first"), "b")));
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(point, "metrics"), "nonfinite")), 1);
    json_t *table = json_array_get(json_object_get(root, "tables"), 0);
    assert_true(json_is_null(json_object_get(table, "metrics")));
    json_decref(root);
    out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(sonde_diff_print_text(report, out, NULL), SONDE_OK);
    fclose(out);
    assert_non_null(strstr(text, "first point that fails: blocks.0.attn.q"));
    assert_non_null(strstr(text, "sequence 0 (0) position 2 token 12 ' the\\x0a' [1, 1]"));
    free(text);
    sonde_diff_report_destroy(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_run_identical, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_follows_ids_and_rowmaps, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_names_the_place, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_refuses_and_waives, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_tokens, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_ragged_and_nonfinite, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_minimal_and_selection, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_tables, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_columns, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_run_manifest, make_files, free_files),
        cmocka_unit_test_setup_teardown(test_print_json_has_the_schema, make_files, free_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
