/* loop_avx2.c - the peak loop of AVX2. */
#define LOOP_NAME bench_peak_avx2
#include "loop.inc.h"
