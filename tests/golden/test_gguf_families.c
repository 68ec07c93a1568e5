/*
 * test_gguf_families.c - every golden once more from a GGUF file: written by hf_to_gguf.py as llama.cpp's
 * converter writes it, compared with the same expected tensors.
 */
#include "support/family_check.h"
#include "support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Not zero: the folder's family is not in this build, or llama.cpp has no such architecture. */
static int convert(const char *folder, const char *name, char path[160])
{
    char command[1400];
    if (!family_is_built(folder)) return 1;
    snprintf(path, 160, "build/goldens/%s.gguf", name);
    snprintf(command, sizeof command,
             "/usr/bin/python3 tests/golden/hf_to_gguf.py '%s' '%s' 2>build/goldens/hf_to_gguf.txt",
             folder, path);
    if (system(command) == 0) return 0;
    int unknown = system("grep -q 'has no architecture' build/goldens/hf_to_gguf.txt");
    if (unknown != 0) fail_msg("%s: hf_to_gguf.py failed: build/goldens/hf_to_gguf.txt", name);
    return 1;
}

/* Keys that no family knows are a fault here: all of them are ours to map. */
static void count_unknown(void *context, sonde_log_level level, const char *line)
{
    (void)level;
    if (!strstr(line, "was not used")) return;
    print_error("%s\n", line);
    ++*(int *)context;
}

static int check_file(const char *path, const char *expected, const char *name)
{
    family_report report = {0};
    char label[96];
    snprintf(label, sizeof label, "%s.gguf", name);
    sonde_log_set(count_unknown, &report.bad, SONDE_LOG_WARN);
    family_check(path, expected, label, "cpu", &report);
    sonde_log_set(NULL, NULL, SONDE_LOG_WARN);
    return report.bad;
}

static int check_folder(const char *folder, bool of_tree)
{
    char **names, path[160], source[512], expected[600], command[1400];
    int64_t n = family_goldens(folder, &names);
    int bad = 0;
    assert_true(n > 0);
    for (int64_t i = 0; i < n; i++) {
        snprintf(source, sizeof source, "%s/%s", folder, names[i]);
        if (convert(source, names[i], path) != 0) continue;
        snprintf(expected, sizeof expected, "%s/expected.bin", source);
        if (!of_tree) {
            snprintf(expected, sizeof expected, "build/goldens/%s.gguf.bin", names[i]);
            snprintf(command, sizeof command,
                     "/usr/bin/python3 tests/golden/pack_goldens.py '%s/expected.h5' '%s'", source,
                     expected);
            assert_int_equal(system(command), 0);
        }
        bad += check_file(path, expected, names[i]);
    }
    family_goldens_free(names, n);
    return bad;
}

static void need_numpy(void)
{
    assert_int_equal(system("mkdir -p build/goldens"), 0);
    if (system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") == 0) return;
    print_message("python3-numpy is not there: no GGUF files to compare\n");
    skip();
}

static void test_gguf_of_the_tree(void **state)
{
    (void)state;
    need_numpy();
    assert_int_equal(check_folder("tests/goldens/families", true), 0);
}

static void test_gguf_of_shared_goldens(void **state)
{
    char folder[512];
    (void)state;
    if (!test_shared()) skip();
    need_numpy();
    snprintf(folder, sizeof folder, "%s/goldens/families", test_shared());
    assert_int_equal(check_folder(folder, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_of_the_tree),
        cmocka_unit_test(test_gguf_of_shared_goldens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
