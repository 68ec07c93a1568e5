/* Status codes, error messages, names of element types, the log. */
#include "core/core.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_status_codes_have_texts_and_exit_codes(void **state)
{
    static const struct {
        sonde_status status;
        int exit_code;
    } cases[] = {{SONDE_OK, 0}, {SONDE_DIFFERS, 1}, {SONDE_USAGE, 2}, {SONDE_UNKNOWN_NAME, 2},
                 {SONDE_NOTHING, 2}, {SONDE_TOO_BIG, 2}, {SONDE_BAD_FILE, 3}, {SONDE_BAD_PROMPT, 3},
                 {SONDE_BAD_CAPTURE, 3}, {SONDE_NO_MEMORY, 4}, {SONDE_DISK_FULL, 4},
                 {SONDE_PROBE, 5}, {SONDE_INTERRUPTED, 6}};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        assert_int_equal(sonde_status_exit_code(cases[i].status), cases[i].exit_code);
        assert_string_not_equal(sonde_status_text(cases[i].status), "unknown status");
    }
    assert_string_equal(sonde_status_text((sonde_status)999), "unknown status");
    assert_int_equal(sonde_status_exit_code((sonde_status)999), 4);
}

static void test_fail_fills_and_takes_null(void **state)
{
    sonde_error err = {0};
    (void)state;
    assert_int_equal(sonde_fail(&err, SONDE_BAD_FILE, "%s: %d", "a", 7), SONDE_BAD_FILE);
    assert_int_equal(err.status, SONDE_BAD_FILE);
    assert_string_equal(err.message, "a: 7");
    assert_int_equal(sonde_fail(NULL, SONDE_IO, "nobody"), SONDE_IO);
}

static void test_fail_passes_its_own_message_on(void **state)
{
    sonde_error err = {0};
    (void)state;
    sonde_fail(&err, SONDE_IO, "inner");
    sonde_fail(&err, SONDE_PROBE, "outer: %s", err.message);
    assert_string_equal(err.message, "outer: inner");
}

static void test_fail_cuts_between_characters(void **state)
{
    sonde_error err = {0};
    char text[2000];
    (void)state;
    for (size_t i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xC3\xA9", 3);
    for (int shift = 0; shift < 2; shift++) {
        sonde_fail(&err, SONDE_IO, "%s%s", shift ? "x" : "", text);
        size_t length = strlen(err.message);
        assert_true(length < sizeof err.message);
        assert_int_equal(sonde_utf8_valid_prefix(err.message, length), length);
    }
}

static void test_fail_hides_control_characters_and_broken_utf8(void **state)
{
    sonde_error err = {0};
    (void)state;
    sonde_fail(&err, SONDE_IO, "%s", "a\x1B[31mb\x7F\xFFz\n\t\xE2\x82");
    assert_string_equal(err.message, "a?[31mb??z\n\t??");
}

static void test_prefix_stands_before_the_message(void **state)
{
    sonde_error err = {0};
    (void)state;
    sonde_fail(&err, SONDE_BAD_MODEL, "no norm");
    assert_int_equal(sonde_error_prefix(&err, "block %d", 3), SONDE_BAD_MODEL);
    assert_string_equal(err.message, "block 3: no norm");
    assert_int_equal(sonde_error_prefix(NULL, "nobody"), SONDE_INTERNAL);
}

static void test_errno_of_full_disks(void **state)
{
    (void)state;
    assert_int_equal(sonde_status_of_errno(ENOSPC), SONDE_DISK_FULL);
    assert_int_equal(sonde_status_of_errno(EDQUOT), SONDE_DISK_FULL);
    assert_int_equal(sonde_status_of_errno(EFBIG), SONDE_DISK_FULL);
    assert_int_equal(sonde_status_of_errno(EIO), SONDE_IO);
}

static void test_dtype_names_and_sizes(void **state)
{
    (void)state;
    assert_string_equal(sonde_dtype_name(SONDE_DTYPE_BF16), "bf16");
    assert_int_equal(sonde_dtype_from_name("q4_1"), SONDE_DTYPE_Q4_1);
    assert_int_equal(sonde_dtype_from_name("F32"), SONDE_DTYPE_NONE);
    assert_string_equal(sonde_dtype_name(SONDE_DTYPE_NONE), "?");
    assert_int_equal(sonde_dtype_bytes(SONDE_DTYPE_F32, 5), 20);
    assert_int_equal(sonde_dtype_bytes(SONDE_DTYPE_Q4_1, 64), 40);
    assert_int_equal(sonde_dtype_bytes(SONDE_DTYPE_Q8_0, 0), 0);
    assert_true(sonde_dtype_bytes(SONDE_DTYPE_Q4_1, 31) == SIZE_MAX);
    assert_true(sonde_dtype_bytes(SONDE_DTYPE_F32, -1) == SIZE_MAX);
    assert_true(sonde_dtype_bytes(SONDE_DTYPE_F64, INT64_MAX) == SIZE_MAX);
    assert_true(sonde_dtype_bytes(SONDE_DTYPE_NONE, 1) == SIZE_MAX);
}

static void test_dtype_names_are_found_again(void **state)
{
    (void)state;
    for (int number = 0; number < 64; number++) {
        const char *name = sonde_dtype_name((sonde_dtype)number);
        if (strcmp(name, "?") != 0) assert_int_equal(sonde_dtype_from_name(name), number);
        else assert_int_equal(sonde_dtype_block_elements((sonde_dtype)number), 0);
    }
}

typedef struct log_lines {
    int count;
    char last[64];
} log_lines;

static void keep_line(void *context, sonde_log_level level, const char *line)
{
    log_lines *lines = context;
    (void)level;
    lines->count++;
    snprintf(lines->last, sizeof lines->last, "%s", line);
}

static void test_log_obeys_its_level(void **state)
{
    log_lines lines = {0};
    (void)state;
    sonde_log(SONDE_LOG_ERROR, "dropped");
    sonde_log_set(keep_line, &lines, SONDE_LOG_WARN);
    sonde_log(SONDE_LOG_INFO, "too quiet");
    sonde_log(SONDE_LOG_WARN, "%d rows", 3);
    sonde_log_set(NULL, NULL, SONDE_LOG_ERROR);
    sonde_log(SONDE_LOG_ERROR, "dropped");
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.last, "3 rows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_codes_have_texts_and_exit_codes),
        cmocka_unit_test(test_fail_fills_and_takes_null),
        cmocka_unit_test(test_fail_passes_its_own_message_on),
        cmocka_unit_test(test_fail_cuts_between_characters),
        cmocka_unit_test(test_fail_hides_control_characters_and_broken_utf8),
        cmocka_unit_test(test_prefix_stands_before_the_message),
        cmocka_unit_test(test_errno_of_full_disks),
        cmocka_unit_test(test_dtype_names_and_sizes),
        cmocka_unit_test(test_dtype_names_are_found_again),
        cmocka_unit_test(test_log_obeys_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
