/* The allocator door: alignment, zeroes, overflow, failure of the n-th call; growing arrays. */
#include "core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_alloc_is_aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300; bytes += 7) {
        unsigned char *block = sonde_alloc(bytes, 1);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % SONDE_ALIGNMENT, 0);
        for (size_t i = 0; i < bytes; i++) assert_int_equal(block[i], 0);
        sonde_free(block);
    }
}

static void test_alloc_refuses_overflow(void **state)
{
    (void)state;
    assert_null(sonde_alloc(SIZE_MAX, 2));
    assert_null(sonde_alloc(SIZE_MAX / 2 + 1, 2));
    assert_null(sonde_alloc_raw(SIZE_MAX, 1));
    assert_null(sonde_alloc_raw(SIZE_MAX - 10, 1));
    void *block = sonde_alloc(4, 1);
    assert_null(sonde_realloc(block, 4, SIZE_MAX, 8));
    sonde_free(block);
}

static void test_realloc_keeps_and_zeroes(void **state)
{
    (void)state;
    unsigned char *block = sonde_alloc(4, 1);
    memcpy(block, "abcd", 4);
    block = sonde_realloc(block, 4, 100, 1);
    assert_memory_equal(block, "abcd", 4);
    for (int i = 4; i < 100; i++) assert_int_equal(block[i], 0);
    block = sonde_realloc(block, 100, 2, 1);
    assert_memory_equal(block, "ab", 2);
    sonde_free(block);
    block = sonde_realloc(NULL, 0, 3, 1);
    assert_non_null(block);
    sonde_free(block);
}

static void test_strings_are_copied(void **state)
{
    (void)state;
    char *whole = sonde_strdup("sonde"), *part = sonde_strndup("sonde", 2);
    assert_string_equal(whole, "sonde");
    assert_string_equal(part, "so");
    assert_null(sonde_strdup(NULL));
    assert_null(sonde_strndup(NULL, 3));
    sonde_free(whole);
    sonde_free(part);
    sonde_free(NULL);
}

static void test_fail_after_lets_n_calls_pass(void **state)
{
    void *blocks[3];
    (void)state;
    sonde_alloc_fail_after(2);
    for (int i = 0; i < 3; i++) blocks[i] = sonde_alloc(1, 1);
    void *again = sonde_alloc(1, 1);
    sonde_alloc_fail_after(-1);
    assert_non_null(blocks[0]);
    assert_non_null(blocks[1]);
    assert_null(blocks[2]);
    assert_null(again);
    sonde_free(blocks[0]);
    sonde_free(blocks[1]);
    blocks[0] = sonde_alloc(1, 1);
    assert_non_null(blocks[0]);
    sonde_free(blocks[0]);
}

static void test_checked_sizes(void **state)
{
    size_t size;
    int64_t number;
    (void)state;
    assert_true(sonde_mul_size(SIZE_MAX / 2, 2, &size));
    assert_true(size == SIZE_MAX - 1);
    assert_false(sonde_mul_size(SIZE_MAX, 2, &size));
    assert_true(sonde_add_size(SIZE_MAX - 1, 1, &size));
    assert_false(sonde_add_size(SIZE_MAX, 1, &size));
    assert_true(sonde_mul_i64(-3, 7, &number));
    assert_int_equal(number, -21);
    assert_false(sonde_mul_i64(INT64_MAX, 2, &number));
    assert_false(sonde_mul_i64(INT64_MIN, -1, &number));
}

static void test_grow_doubles_and_keeps_on_failure(void **state)
{
    int *numbers = NULL;
    size_t capacity = 0;
    (void)state;
    for (size_t n = 0; n < 1000; n++) {
        assert_true(sonde_grow(&numbers, &capacity, n + 1, sizeof *numbers));
        numbers[n] = (int)n;
    }
    assert_int_equal(capacity, 1024);
    sonde_alloc_fail_after(0);
    assert_false(sonde_grow(&numbers, &capacity, 2000, sizeof *numbers));
    sonde_alloc_fail_after(-1);
    assert_false(sonde_grow(&numbers, &capacity, SIZE_MAX, sizeof *numbers));
    assert_int_equal(capacity, 1024);
    for (int n = 0; n < 1000; n++) assert_int_equal(numbers[n], n);
    sonde_free(numbers);
}

static void test_no_memory_says_what_for(void **state)
{
    sonde_error err = {0};
    (void)state;
    assert_int_equal(sonde_no_memory(&err, "a plan", 64), SONDE_NO_MEMORY);
    assert_string_equal(err.message, "out of memory: a plan needs 64 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_is_aligned_and_zeroed),
        cmocka_unit_test(test_alloc_refuses_overflow),
        cmocka_unit_test(test_realloc_keeps_and_zeroes),
        cmocka_unit_test(test_strings_are_copied),
        cmocka_unit_test(test_fail_after_lets_n_calls_pass),
        cmocka_unit_test(test_checked_sizes),
        cmocka_unit_test(test_grow_doubles_and_keeps_on_failure),
        cmocka_unit_test(test_no_memory_says_what_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
