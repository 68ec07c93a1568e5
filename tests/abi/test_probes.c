/*
 * test_probes.c - finding, loading and setting up plugins, and the message of everything that is
 * refused. The plugins are those of tests/abi/plugins; each says there what is wrong with it.
 */
#include "sonde/job.h"
#include "support/plugins.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the ABI is frozen: a changed number here is another major version ----------------------- */

#define AT(type, member, offset)                                                                   \
    _Static_assert(offsetof(type, member) == (offset), #type "." #member " has moved")
AT(sonde_probe_entry_v1, get, 16);
AT(sonde_probe, name, 8);
AT(sonde_probe, instance_bytes, 48);
AT(sonde_probe, rows, 64);
AT(sonde_probe, reset, 96);
AT(sonde_probe, state_load, 112);
AT(sonde_probe_option, choices, 56);
AT(sonde_probe_point, width, 64);
AT(sonde_probe_output, shape, 32);
AT(sonde_probe_setup, host, 96);
AT(sonde_probe_setup, scratch_bytes_per_row, 120);
AT(sonde_probe_host, log, 32);
AT(sonde_probe_view, scratch, 128);
AT(sonde_probe_sink, note, 40);
AT(sonde_probe_sequence, meta, 48);
AT(sonde_probe_tensor, source, 48);
_Static_assert(sizeof(sonde_probe_option) == 64, "tables of options have no struct_size");

/* ---- fixture --------------------------------------------------------------------------------- */

static sonde_model *model;

static int set_up(void **state)
{
    (void)state;
    test_use_plugins();
    model = test_model_shape("llama");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sonde_model_close(&model);
    return 0;
}

static sonde_status open_set(sonde_probe_set *set, int64_t n, const char *const *probes,
                             sonde_error *err)
{
    memset(set, 0, sizeof *set);
    sonde_probe_set_spec spec = {.model = model, .probes = probes, .n_probes = n};
    return sonde_probe_set_open(&spec, set, err);
}

static void open_good(sonde_probe_set *set, int64_t n, const char *const *probes)
{
    sonde_error err = {0};
    if (open_set(set, n, probes, &err) != SONDE_OK) fail_msg("%s", err.message);
}

static void refuse(sonde_status status, const char *typed, const char *message)
{
    sonde_probe_set set;
    sonde_error err = {0};
    sonde_status got = open_set(&set, 1, &typed, &err);
    sonde_probe_set_reset(&set);
    if (got != status) fail_msg("%s: status %d: %s", typed, got, err.message);
    if (!strstr(err.message, message)) fail_msg("%s: no '%s' in: %s", typed, message, err.message);
}

/* ---- refused --------------------------------------------------------------------------------- */

typedef struct refusal {
    sonde_status status;
    const char *typed, *message;
} refusal;

static void refuse_all(const refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) refuse(cases[i].status, cases[i].typed, cases[i].message);
}

static void test_load_refuses_bad_plugins(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {SONDE_PROBE, "other_major", "other_major.so: made for probe ABI 2.7, this program speaks "
                                     "1.0; build the plugin again with this program's "
                                     "sonde/probe.h"},
        {SONDE_PROBE, "small_entry", "its entry has 16 bytes, ABI 1 needs 24"},
        {SONDE_PROBE, "empty", "it says that it holds 0 probes; expected 1 to 256"},
        {SONDE_PROBE, "gives_none", "it says that it holds 2 probes, but get(1) gives none"},
        {SONDE_PROBE, "small_descriptor", "its probe 0 has 32 bytes, ABI 1 needs at least 72"},
        {SONDE_PROBE, "no_rows", "no_rows: it has no `rows`"},
        {SONDE_PROBE, "bad_name", "its name '../Bad' is not [a-z][a-z0-9_]*"},
        {SONDE_PROBE, "half_saved", "it has only one of state_save and state_load"},
        {SONDE_PROBE, "far_option", "option far lies at bytes 8..64 of the instance memory, which "
                                    "has 16"},
        {SONDE_PROBE, "no_entry", "it does not export 'sonde_probe_entry'"},
        {SONDE_UNKNOWN_NAME, "./nowhere/x.so:a=b", "plugin ./nowhere/x.so: there is no such file"},
        {SONDE_UNKNOWN_NAME, "capturr", "there is none of this name; did you mean 'capture'? "
                                        "(searched "},
        {SONDE_UNKNOWN_NAME, "nothing_like_it", "probe 'nothing_like_it': there is none of this "
                                                "name (searched "},
    };
    refuse_all(cases, SONDE_COUNT(cases));
}

static void test_load_refuses_a_file_that_is_no_object(void **state)
{
    (void)state;
    char path[] = "/tmp/sonde-probe-XXXXXX.so";
    int file = mkstemps(path, 3);
    assert_true(file >= 0);
    FILE *stream = fdopen(file, "w");
    assert_non_null(stream);
    fputs("not an object\n", stream);
    fclose(stream);
    refuse(SONDE_PROBE, path, "cannot be loaded: ");
    remove(path);
}

static void test_setup_refuses_bad_declarations(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {SONDE_PROBE, "setup_fails", "setup_fails (instance setup_fails): no luck today?[31m"},
        {SONDE_PROBE, "setup_silent=s", "probe setup_silent (instance s): setup failed without a "
                                        "message"},
        {SONDE_PROBE, "setup_unended", "probe setup_unended (instance setup_unended): xxxxxxxx"},
        {SONDE_PROBE, "huge_state", "it asks for 1152921504606846976 bytes of state; at most"},
        {SONDE_PROBE, "huge_scratch", "bytes of scratch per row; at most"},
        {SONDE_PROBE, "no_merge", "it has state (8 bytes) but no `merge`"},
        {SONDE_PROBE, "out_small", "an output has struct_size 8, ABI 1 needs 64"},
        {SONDE_PROBE, "out_kind", "an output has kind 9, which ABI 1.0 does not know"},
        {SONDE_PROBE, "out_element", "an output has element 77"},
        {SONDE_PROBE, "out_point", "an output follows point 1000; the instance has 3 points"},
        {SONDE_PROBE, "out_name", "output '../x': expected a name of letters"},
        {SONDE_PROBE, "out_zero", "output x: dimension 0 of a row is 0"},
        {SONDE_PROBE, "out_big", "output x: dimension 0 of a row is 9223372036854775807"},
        {SONDE_PROBE, "out_dims", "output x: a row has 5 dimensions; at most 4"},
        {SONDE_PROBE, "out_shape", "its rows have another shape than the point's"},
        {SONDE_PROBE, "out_id", "its elements are i64, the point's own are f32"},
        {SONDE_PROBE, "out_twice", "output x/y: x is declared already"},
        {SONDE_PROBE, "access_unsaid", "it asks to write blocks.0.resid_post, but its descriptor "
                                       "lacks the flag SONDE_PROBE_WRITES"},
        {SONDE_PROBE, "access_odd", "access 12 to blocks.0.resid_post; expected READ"},
        {SONDE_USAGE, "access_write:points=logits", "logits cannot be written: "},
        {SONDE_USAGE, "access_write:points=blocks.0.resid_post[0:4,2]", "a channel is named twice"},
        {SONDE_PROBE, "moments:points=blocks.0.attn.pattern", "its rows have no fixed channels"},
        {SONDE_PROBE, "steer", "mode=add needs vector="},
        {SONDE_PROBE, "steer:points=blocks.0.attn.pattern", "mode=add needs vector="},
    };
    refuse_all(cases, SONDE_COUNT(cases));
}

static void test_open_refuses_what_was_typed(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {SONDE_USAGE, "=x", "probe '=x': expected NAME[=INSTANCE][:key=value,...]"},
        {SONDE_USAGE, "", "probe '': expected NAME"},
        {SONDE_USAGE, "capture=a/b", "probe capture: instance 'a/b': expected 1 to 64 letters"},
        {SONDE_USAGE, "capture=", "instance ''"},
        {SONDE_USAGE, "capture:", "probe capture: expected key=value, got ''"},
        {SONDE_USAGE, "capture:=3", "expected key=value, got '=3'"},
        {SONDE_USAGE, "capture:points=blocks.0.{x", "brackets do not match"},
        {SONDE_UNKNOWN_NAME, "capture:pionts=x", "probe capture (instance capture): no option "
                                                 "'pionts'; did you mean 'points'? (it has points, "
                                                 "rows)"},
        {SONDE_USAGE, "capture:points=", "option points: expected a value"},
        {SONDE_USAGE, "capture:rows=all,rows=all", "option rows: given twice"},
        {SONDE_USAGE, "capture:rows=frist:2", "no term 'frist'"},
        {SONDE_USAGE, "capture:points=blocks.0.resid_post@frist:2", "no term 'frist'"},
        {SONDE_UNKNOWN_NAME, "capture:points=blocks.0.resid_pots", "did you mean "
                                                                   "'blocks.0.resid_post'?"},
        {SONDE_USAGE, "frozen:whole=0", "option whole: expected a whole number from 1 to 100, got "
                                        "'0'"},
        {SONDE_USAGE, "frozen:whole", "option whole: expected a value"},
        {SONDE_USAGE, "frozen:number=1.5", "expected a number from 0 to 1, got '1.5'"},
        {SONDE_USAGE, "frozen:flag=maybe", "option flag: expected yes or no, got 'maybe'"},
        {SONDE_USAGE, "frozen:choice=secnd", "expected one of first, second; got 'secnd'; did you "
                                             "mean 'second'?"},
        {SONDE_UNKNOWN_NAME, "frozen:select=blocks.9.x", "the model has blocks 0 to 2"},
    };
    refuse_all(cases, SONDE_COUNT(cases));
}

static void test_open_refuses_what_does_not_go_together(void **state)
{
    (void)state;
    static const char *const same[] = {"capture", "moments=capture"};
    static const char *const both[] = {"capture", "capture=b:points=blocks.1.resid_post"};
    sonde_probe_set set;
    sonde_error err = {0};
    assert_int_equal(open_set(&set, 2, same, &err), SONDE_USAGE);
    assert_non_null(strstr(err.message, "there is an instance 'capture' already; name this one: "
                                        "moments=NAME"));
    assert_int_equal(open_set(&set, 2, both, &err), SONDE_USAGE);
    assert_non_null(strstr(err.message, "probes capture and b both store the rows of "
                                        "blocks.1.resid_post"));
    assert_null(set.instances);
}

static void test_file_with_several_probes_lists_them(void **state)
{
    (void)state;
    refuse(SONDE_USAGE, test_built("tests/abi/plugins/bad.so"),
           "it holds several probes (setup_fails, setup_silent, ");
}

/* ---- opened ---------------------------------------------------------------------------------- */

static void test_open_without_probes_captures(void **state)
{
    (void)state;
    sonde_probe_set set;
    open_good(&set, 0, NULL);
    assert_int_equal(set.count, 1);
    const sonde_probe_instance *c = &set.instances[0];
    assert_string_equal(c->name, "capture");
    assert_int_equal(c->n_points, 3);
    assert_string_equal(c->points[2].name, "blocks.2.resid_post");
    assert_int_equal(c->points[2].width, 48);
    assert_int_equal(c->points[2].layer, 2);
    assert_true(c->points[2].writable);
    assert_int_equal(c->n_outputs, 3);
    assert_int_equal(c->outputs[1].kind, SONDE_OUTPUT_POINT);
    assert_int_equal(c->outputs[1].point, 1);
    assert_int_equal(c->access[1], SONDE_ACCESS_READ);
    assert_false(c->writes);
    assert_null(c->rows);
    assert_string_equal(c->options_json, "{\"points\": [\"blocks.*.resid_post\"], \"rows\": null}");
    sonde_probe_set_reset(&set);
    assert_null(set.instances);
}

static void test_points_of_the_job_are_the_default(void **state)
{
    (void)state;
    static const char *const points[] = {"blocks.0.attn.q[1:3]", "blocks.-1.attn.pattern[0,2]"};
    static const char *const probes[] = {"capture", "moments:points=final_norm,rows=last:1"};
    sonde_probe_set set = {0};
    sonde_error err = {0};
    sonde_probe_set_spec spec = {.model = model, .probes = probes, .n_probes = 2, .points = points,
                                 .n_points = 2};
    if (sonde_probe_set_open(&spec, &set, &err) != SONDE_OK) fail_msg("%s", err.message);
    const sonde_probe_point *q = &set.instances[0].points[0];
    assert_int_equal(q->n_dims, 2);
    assert_int_equal(q->shape[0], 2);
    assert_int_equal(q->width, 2 * q->shape[1]);
    const sonde_probe_point *pattern = &set.instances[0].points[1];
    assert_string_equal(pattern->name, "blocks.2.attn.pattern");
    assert_true(pattern->ragged);
    assert_int_equal(pattern->width, 2);
    assert_int_equal(pattern->shape[1], 0);
    assert_int_equal(set.instances[1].n_points, 1);
    assert_string_equal(set.instances[1].rows, "last:1");
    sonde_probe_set_reset(&set);
}

static void test_writers_come_first(void **state)
{
    (void)state;
    static const char *const probes[] = {"moments", "steer=b:mode=scale", "row_norm",
                                         "steer=a:mode=scale,points=blocks.1.mlp.out"};
    static const char *const order[] = {"b", "a", "moments", "row_norm"};
    sonde_probe_set set;
    open_good(&set, 4, probes);
    for (int i = 0; i < 4; i++) assert_string_equal(set.instances[i].name, order[i]);
    assert_true(set.instances[1].writes);
    assert_int_equal(set.instances[1].access[0], SONDE_ACCESS_READ | SONDE_ACCESS_WRITE);
    assert_false(set.instances[2].writes);
    sonde_probe_set_reset(&set);
}

static void test_smaller_descriptor_has_no_later_members(void **state)
{
    (void)state;
    static const char *const probes[] = {"old_size"};
    sonde_probe_set set;
    open_good(&set, 1, probes);
    assert_null(set.instances[0].probe.merge);
    assert_null(set.instances[0].probe.reset);
    assert_string_equal(set.instances[0].probe.version, "");
    sonde_probe_set_reset(&set);
}

static void test_found_by_file_and_by_what_a_file_holds(void **state)
{
    (void)state;
    sonde_probe_set set;
    char typed[4200];
    const char *probes[] = {typed, "frozen", "rows_fail"};
    snprintf(typed, sizeof typed, "%s=one:points=blocks.0.resid_post",
             test_built("probes/capture.so"));
    open_good(&set, 3, probes);
    assert_string_equal(set.instances[0].name, "one");
    assert_non_null(strstr(set.instances[1].file, "/frozen_v1.so"));
    assert_non_null(strstr(set.instances[2].file, "/bad.so"));
    sonde_probe_set_reset(&set);
}

static int32_t resets(void *handle)
{
    return *(int32_t *)dlsym(handle, "bad_resets");
}

static void test_reset_is_called_once_per_setup(void **state)
{
    (void)state;
    static const char *const probes[] = {"rows_fail", "finish_fail", "out_twice"};
    sonde_probe_set set;
    void *handle = dlopen(test_built("tests/abi/plugins/bad.so"), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    int32_t before = resets(handle);
    open_good(&set, 2, probes);
    assert_int_equal(resets(handle), before);
    sonde_probe_set_reset(&set);
    assert_int_equal(resets(handle), before + 2);
    assert_int_equal(open_set(&set, 3, probes, NULL), SONDE_PROBE);
    assert_int_equal(resets(handle), before + 5);
    static const char *const typo[] = {"rows_fail:x=1"};
    assert_int_equal(open_set(&set, 1, typo, NULL), SONDE_UNKNOWN_NAME);
    assert_int_equal(resets(handle), before + 5);
    dlclose(handle);
}

static void test_failed_says_who_and_what(void **state)
{
    (void)state;
    static const char *const probes[] = {"moments=m"};
    sonde_probe_set set;
    sonde_error err = {0};
    sonde_probe_error said = {"it is too warm"}, silent = {""};
    open_good(&set, 1, probes);
    assert_int_equal(sonde_probe_failed(&set.instances[0], "rows", &said, &err), SONDE_PROBE);
    assert_string_equal(err.message, "probe moments (instance m): it is too warm");
    sonde_probe_failed(&set.instances[0], "rows", &silent, &err);
    assert_string_equal(err.message, "probe moments (instance m): rows failed without a message");
    sonde_probe_set_reset(&set);
}

static void test_paths_of_outputs(void **state)
{
    (void)state;
    static const char *const good[] = {"mean", "blocks.3.attn.q/mean", "a/b/c", "A_1-x"};
    static const char *const bad[] = {"",   "/",      "/a", "a/",  "a//b",
                                      "..", "a/../b", ".a", "a b", "a\n"};
    for (size_t i = 0; i < SONDE_COUNT(good); i++) assert_true(sonde_probe_path_good(good[i]));
    for (size_t i = 0; i < SONDE_COUNT(bad); i++) assert_false(sonde_probe_path_good(bad[i]));
    assert_false(sonde_probe_path_good(NULL));
}

/* ---- listing --------------------------------------------------------------------------------- */

typedef struct listed {
    int capture, steer, warned;
} listed;

static void take_listing(void *context, const sonde_probe_listing *l)
{
    listed *got = context;
    if (strcmp(l->name, "capture") == 0) {
        got->capture++;
        assert_int_equal(l->n_options, 2);
        assert_string_equal(l->options[0].name, "points");
        assert_string_equal(l->default_points, "blocks.*.resid_post");
        assert_false(l->writes);
    }
    if (strcmp(l->name, "steer") != 0) return;
    got->steer++;
    assert_true(l->writes);
    assert_int_equal(l->n_options, 5);
    assert_string_equal(l->options[0].type, "tensor");
    assert_null(l->options[0].bounds);
    assert_string_equal(l->options[1].bounds, "-1e+06..1e+06");
    assert_string_equal(l->options[2].bounds, "add, replace, project, scale");
    assert_string_equal(l->options[2].fallback, "add");
}

static void count_warning(void *context, sonde_log_level level, const char *line)
{
    listed *got = context;
    if (level == SONDE_LOG_WARN && strstr(line, "other_major.so: made for probe ABI 2.7"))
        got->warned++;
}

static void test_list_gives_each_name_once_and_warns(void **state)
{
    (void)state;
    listed got = {0};
    sonde_error err = {0};
    char twice[16384];
    snprintf(twice, sizeof twice, "%s::%s", getenv("SONDE_PROBE_PATH"), test_built("probes"));
    setenv("SONDE_PROBE_PATH", twice, 1);
    sonde_log_set(count_warning, &got, SONDE_LOG_WARN);
    if (sonde_probes_list(take_listing, &got, &err) != SONDE_OK) fail_msg("%s", err.message);
    sonde_log_set(NULL, NULL, SONDE_LOG_WARN);
    test_use_plugins();
    assert_int_equal(got.capture, 1);
    assert_int_equal(got.steer, 1);
    assert_int_equal(got.warned, 1);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_open_without_memory(void **state)
{
    (void)state;
    static const char *const probes[] = {"moments:points={blocks.0.attn.q,embed}",
                                         "steer:mode=scale",
                                         "frozen:select=blocks.1.resid_post,text=abc"};
    sonde_status status = SONDE_NO_MEMORY;
    for (long n = 0; status != SONDE_OK; n++) {
        sonde_probe_set set;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        status = open_set(&set, 3, probes, &err);
        sonde_alloc_fail_after(-1);
        if (status != SONDE_OK && status != SONDE_NO_MEMORY)
            fail_msg("after %ld allocations: status %d: %s", n, status, err.message);
        sonde_probe_set_reset(&set);
        assert_true(n < 5000);
    }
}

static void ignore_listing(void *context, const sonde_probe_listing *listing)
{
    (void)context;
    (void)listing;
}

static void test_list_without_memory(void **state)
{
    (void)state;
    sonde_status status = SONDE_NO_MEMORY;
    for (long n = 0; status != SONDE_OK; n++) {
        sonde_alloc_fail_after(n);
        status = sonde_probes_list(ignore_listing, NULL, NULL);
        sonde_alloc_fail_after(-1);
        assert_true(status == SONDE_OK || status == SONDE_NO_MEMORY);
        assert_true(n < 20000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_refuses_bad_plugins),
        cmocka_unit_test(test_load_refuses_a_file_that_is_no_object),
        cmocka_unit_test(test_setup_refuses_bad_declarations),
        cmocka_unit_test(test_open_refuses_what_was_typed),
        cmocka_unit_test(test_open_refuses_what_does_not_go_together),
        cmocka_unit_test(test_file_with_several_probes_lists_them),
        cmocka_unit_test(test_open_without_probes_captures),
        cmocka_unit_test(test_points_of_the_job_are_the_default),
        cmocka_unit_test(test_writers_come_first),
        cmocka_unit_test(test_smaller_descriptor_has_no_later_members),
        cmocka_unit_test(test_found_by_file_and_by_what_a_file_holds),
        cmocka_unit_test(test_reset_is_called_once_per_setup),
        cmocka_unit_test(test_failed_says_who_and_what),
        cmocka_unit_test(test_paths_of_outputs),
        cmocka_unit_test(test_list_gives_each_name_once_and_warns),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_list_without_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
