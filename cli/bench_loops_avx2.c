/* bench_loops_avx2.c - the loops for AVX2. */
#define LOOPS_NAME bench_loops_avx2
#define LOOPS_LEVEL "avx2"
#include "cli/bench_loops.inc.h"
