/* Comparisons of files: the writer's and plain HDF5's, through the reader. */
#include "analysis/analysis.h"

#include "tests/support/capture_file.h"
#include "tests/support/h5_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char a[256], b[256];

static int make_paths(void **state)
{
    (void)state;
    h5_temporary("diff-a.h5", a);
    h5_temporary("diff-b.h5", b);
    return 0;
}

static int remove_paths(void **state)
{
    (void)state;
    unlink(a);
    unlink(b);
    return 0;
}

static void write_file(const char *path, capture_file_options options)
{
    sonde_error err = {0};
    options.path = path;
    if (capture_file_write(&options, &err) != SONDE_OK) fail_msg("%s", err.message);
}

/* Compares, expects a status and a part of the message ("" for OK); gives the text for people. */
static void expect(const char *waive, sonde_status expected, const char *part, char text[8192])
{
    sonde_error err = {0};
    sonde_diff_report *report = NULL;
    sonde_diff_options options;
    sonde_diff_options_init(&options);
    options.waive = waive;
    sonde_status status = sonde_diff_run(a, b, &options, &report, &err);
    if (status != expected) fail_msg("status %d: %s", status, err.message);
    if (!strstr(err.message, part)) fail_msg("no '%s' in: %s", part, err.message);
    text[0] = '\0';
    if (!report) return;
    FILE *out = fmemopen(text, 8192, "w");
    assert_non_null(out);
    assert_int_equal(sonde_diff_print_text(report, out, NULL), SONDE_OK);
    fclose(out);
    sonde_diff_report_destroy(&report);
}

static void test_written_captures(void **state)
{
    (void)state;
    char text[8192];
    write_file(a, (capture_file_options){.times = 3});
    write_file(
        b, (capture_file_options){.times = 3, .codec = SONDE_CODEC_RAW, .chunk_target_bytes = 512});
    expect(NULL, SONDE_OK, "", text);
    assert_non_null(strstr(text, "verdict: identical"));
    assert_null(strstr(text, "nan"));

    write_file(b, (capture_file_options){.times = 3, .shift = 0.5f});
    expect(NULL, SONDE_DIFFERS, "2 of 9 points fail", text);
    assert_non_null(strstr(text, "first point that fails: blocks.0.resid_post\n"
                                 "  first difference at sequence 8"));

    write_file(b, (capture_file_options){.times = 2});
    expect(NULL, SONDE_DIFFERS, "unmatched sequences", text);
    expect("rows", SONDE_DIFFERS, "1 of 2 probe tables fail", text);
    assert_non_null(strstr(text, "moments/count\n  first difference: 39 against 26"));
}

static void test_minimal_captures(void **state)
{
    (void)state;
    char text[8192];
    h5_minimal(a, 10);
    h5_minimal(b, 10);
    expect(NULL, SONDE_OK, "", text);
    h5_minimal(b, 5);
    expect(NULL, SONDE_DIFFERS, "1 of 1 points fail", text);
    expect("rows", SONDE_OK, "", text);
    write_file(b, (capture_file_options){0});
    expect("rows,points,tokens", SONDE_NOTHING, "nothing", text);
}

static void test_bad_captures(void **state)
{
    (void)state;
    char text[8192];
    h5_minimal(a, 10);
    h5_minimal(b, 10);
    assert_int_equal(truncate(b, 700), 0);
    expect(NULL, SONDE_BAD_CAPTURE, b, text);
    unlink(b);
    expect(NULL, SONDE_BAD_FILE, b, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_captures),
        cmocka_unit_test(test_minimal_captures),
        cmocka_unit_test(test_bad_captures),
    };
    return cmocka_run_group_tests_name("diff, captures", tests, make_paths, remove_paths);
}
