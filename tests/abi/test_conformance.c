/*
 * test_conformance.c - the conformance program on the plugins that ship, on the template, on the
 * frozen one, and on plugins that break a rule quietly: those it must catch.
 */
#include "support/npy.h"
#include "support/plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char vector[256]; /* a .npy file of 48 values, the width of the model's residual stream */

static int set_up(void **state)
{
    (void)state;
    float values[48];
    int64_t dims[1] = {48};
    test_use_plugins();
    npy_temporary("conformance.npy", vector);
    for (int i = 0; i < 48; i++) values[i] = (float)(i - 20) / 8;
    npy_write(vector, "<f4", 1, dims, values, sizeof values);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(vector);
    return 0;
}

/* What the program printed, and its exit status. */
static int run(const char *typed, char *output, size_t bytes)
{
    char command[8192];
    snprintf(command, sizeof command, "'%s' '%s' 2>&1", test_built("tests/abi/conformance"), typed);
    FILE *stream = popen(command, "r");
    assert_non_null(stream);
    size_t n = fread(output, 1, bytes - 1, stream);
    output[n] = '\0';
    int status = pclose(stream);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void conforms(const char *typed)
{
    static char output[65536];
    if (run(typed, output, sizeof output) != 0) fail_msg("%s:\n%s", typed, output);
    assert_non_null(strstr(output, "it conforms"));
}

static void test_shipped_probes_conform(void **state)
{
    (void)state;
    char typed[512];
    conforms("capture");
    conforms("capture:points=blocks.*.attn.pattern[1,3],points=blocks.0.attn.q[1:3],"
             "points=blocks.1.mlp.post[0,5,7:9]");
    conforms("moments");
    conforms("moments:points=blocks.1.attn.{q,k,v},points=logits");
    conforms("steer:mode=scale,strength=0.5,points=blocks.0.attn.{pattern,q}");
    static const char *const modes[] = {"add", "replace", "project"};
    for (size_t i = 0; i < SONDE_COUNT(modes); i++) {
        snprintf(typed, sizeof typed, "steer:mode=%s,strength=0.7,vector=%s", modes[i], vector);
        conforms(typed);
    }
}

static void test_template_conforms(void **state)
{
    (void)state;
    conforms("row_norm");
    conforms("row_norm:norm=max,points=blocks.*.attn.{pattern,z}");
}

static void test_frozen_plugin_conforms(void **state)
{
    (void)state;
    conforms("frozen:flag,select=blocks.1.attn.q[0],text={a,b:c=d}");
}

static void test_quiet_breaches_are_caught(void **state)
{
    (void)state;
    static const struct {
        const char *typed, *message;
    } cases[] = {
        {"rows_scribble", "rows of blocks.0.resid_post: it wrote to a read-only view"},
        {"rows_outside:points=blocks.0.resid_post", "rows of blocks.0.resid_post: it wrote outside "
                                                    "its rows"},
        {"rows_remember", "it changed the instance memory after setup"},
        {"rows_blocks", "output 0: rows of sequence 0 are others than with whole sequences"},
        {"rows_swallow", "rows: the sink refused, but it returned 0"},
        {"rows_silent", "rows of blocks.0.resid_post: nothing was emitted to output 0 (x)"},
        {"rows_overrun", "it wrote outside the state"},
        {"rows_fail", "rows returned 1: position 3 is one too many"},
        {"finish_fail", "finish returned 1: nothing came of it"},
    };
    static char output[65536];
    /* One of them races with itself, which is for the program to say, not for the sanitizer. */
    assert_int_equal(setenv("TSAN_OPTIONS", "report_bugs=0", 1), 0);
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        assert_int_equal(run(cases[i].typed, output, sizeof output), 1);
        if (!strstr(output, cases[i].message) || !strstr(output, "it does not conform"))
            fail_msg("%s: no '%s' in:\n%s", cases[i].typed, cases[i].message, output);
    }
    unsetenv("TSAN_OPTIONS");
}

static void test_what_cannot_be_set_up_is_no_verdict(void **state)
{
    (void)state;
    static char output[65536];
    assert_int_equal(run("other_major", output, sizeof output), 2);
    assert_non_null(strstr(output, "made for probe ABI 2.7"));
    assert_int_equal(run("--help", output, sizeof output), 2);
    assert_non_null(strstr(output, "usage: conformance"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_probes_conform),
        cmocka_unit_test(test_template_conforms),
        cmocka_unit_test(test_frozen_plugin_conforms),
        cmocka_unit_test(test_quiet_breaches_are_caught),
        cmocka_unit_test(test_what_cannot_be_set_up_is_no_verdict),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
