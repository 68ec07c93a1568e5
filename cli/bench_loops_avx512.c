/* bench_loops_avx512.c - the loops for AVX512. */
#define LOOPS_NAME bench_loops_avx512
#define LOOPS_LEVEL "avx512"
#include "cli/bench_loops.inc.h"
