/* plugins.c - see plugins.h. */
#include "plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The program is <build>/tests/<kind>/test_x. */
const char *test_built(const char *below)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ & 3];
    ssize_t n = readlink("/proc/self/exe", path, sizeof paths[0] - 1);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 3; i++) *strrchr(path, '/') = '\0';
    size_t root = strlen(path);
    snprintf(path + root, sizeof paths[0] - root, "/%s", below);
    return path;
}

void test_use_plugins(void)
{
    char text[4 * 4096];
    snprintf(text, sizeof text, "%s:%s:%s", test_built("probes"), test_built("probes/template"),
             test_built("tests/abi/plugins"));
    assert_int_equal(setenv("SONDE_PROBE_PATH", text, 1), 0);
}

sonde_model *test_model_shape(const char *name)
{
    char path[256];
    sonde_model *model = NULL;
    sonde_error err = {0};
    snprintf(path, sizeof path, "tests/goldens/families/%s", name);
    sonde_model_options options = {.shape_only = true};
    if (sonde_model_open(path, &options, &model, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    return model;
}
