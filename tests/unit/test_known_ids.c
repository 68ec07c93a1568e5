/* test_known_ids.c - ids of very many prompts: every one is known, no other is, wherever they are. */
#include "host/prompts_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

#define MANY 300000u /* two runs in the file, and a table */

static sonde_hash128_value hash_of_number(uint32_t number)
{
    return sonde_hash128(&number, sizeof number);
}

static bool is_known(const sonde_known_ids *known, uint32_t number)
{
    sonde_error err = {0};
    bool found = false;
    if (sonde_known_ids_find(known, hash_of_number(number), &found, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    return found;
}

static void check_many(void)
{
    sonde_error err = {0};
    sonde_known_ids *known = sonde_known_ids_create();
    assert_non_null(known);
    for (uint32_t i = 0; i < MANY; i++) {
        if (i % 97 == 0) assert_false(is_known(known, i));
        if (sonde_known_ids_add(known, hash_of_number(i), &err) != SONDE_OK)
            fail_msg("%s", err.message);
        if (i % 97 == 0) assert_true(is_known(known, i));
    }
    for (uint32_t i = 0; i < MANY; i += 3) assert_true(is_known(known, i));
    for (uint32_t i = 0; i < MANY; i += 3) assert_false(is_known(known, MANY + i));
    sonde_known_ids_destroy(&known);
    assert_null(known);
}

static void test_many_ids(void **state)
{
    (void)state;
    check_many();
}

/* Where there can be no file, or none of that size, ids stay in memory. */
static void test_many_ids_without_a_file(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR");
    char *before = folder ? sonde_strdup(folder) : NULL;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    check_many();
    if (before) setenv("TMPDIR", before, 1);
    else unsetenv("TMPDIR");
    sonde_free(before);
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_many();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_ids),
        cmocka_unit_test(test_many_ids_without_a_file),
    };
    return cmocka_run_group_tests_name("known ids", tests, NULL, NULL);
}
