/* plugins.h - where the build put probes and the plugins of tests, and the model they are tried on. */
#ifndef SONDE_TEST_PLUGINS_H
#define SONDE_TEST_PLUGINS_H

#include "core/core.h"
#include "host/probes.h"

/* "<build>/<below>" of the build that the running test belongs to; lives for the program. */
const char *test_built(const char *below);
/* Points SONDE_PROBE_PATH at the shipped probes, the template and the plugins of tests. */
void test_use_plugins(void);
/* The shape of a golden model (tests/goldens/families/<name>), without weights; fails the test
 * when it cannot be opened. */
sonde_model *test_model_shape(const char *name);

#endif
