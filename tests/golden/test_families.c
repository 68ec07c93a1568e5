/*
 * test_families.c - every hook point of every family against Hugging Face: all goldens of the tree,
 * and all shared ones when they are there, on every backend.
 */
#include "support/family_check.h"
#include "support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int check_backends(const char *folder, const char *expected, const char *name)
{
    static const char *const backends[] = {"cpu", "blas", "oracle"};
    family_report report = {0};
    for (size_t i = 0; i < SONDE_COUNT(backends); i++)
        family_check(folder, expected, name, backends[i], &report);
    return report.bad;
}

static int check_of_tree(const char *name)
{
    char folder[128], expected[160];
    snprintf(folder, sizeof folder, "tests/goldens/families/%s", name);
    snprintf(expected, sizeof expected, "%s/expected.bin", folder);
    if (!family_is_built(folder)) return 0;
    return check_backends(folder, expected, name);
}

static int check_shared(const char *name)
{
    char folder[512], expected[160], command[1400];
    snprintf(folder, sizeof folder, "%s/goldens/families/%s", test_shared(), name);
    if (!family_is_built(folder)) return 0;
    snprintf(expected, sizeof expected, "build/goldens/%s.bin", name);
    snprintf(command, sizeof command,
             "/usr/bin/python3 tests/golden/pack_goldens.py '%s/expected.h5' '%s'", folder, expected);
    assert_int_equal(system(command), 0);
    return check_backends(folder, expected, name);
}

static void test_families_of_the_tree(void **state)
{
    char **names;
    int64_t n = family_goldens("tests/goldens/families", &names);
    int bad = 0;
    (void)state;
    assert_true(n > 0);
    for (int64_t i = 0; i < n; i++) bad += check_of_tree(names[i]);
    family_goldens_free(names, n);
    assert_int_equal(bad, 0);
}

static void test_families_of_shared_goldens(void **state)
{
    char folder[512], **names;
    (void)state;
    if (!test_shared()) skip();
    assert_int_equal(system("mkdir -p build/goldens"), 0);
    snprintf(folder, sizeof folder, "%s/goldens/families", test_shared());
    int64_t n = family_goldens(folder, &names);
    int bad = 0;
    assert_true(n > 0);
    for (int64_t i = 0; i < n; i++) bad += check_shared(names[i]);
    family_goldens_free(names, n);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_of_the_tree),
        cmocka_unit_test(test_families_of_shared_goldens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
