/* bench_loops_scalar.c - the loops for any processor. */
#define LOOPS_NAME bench_loops_scalar
#define LOOPS_LEVEL "scalar"
#include "cli/bench_loops.inc.h"
