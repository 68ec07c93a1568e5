/* loop_avx512.c - the peak loop of AVX-512. */
#define LOOP_NAME bench_peak_avx512
#include "loop.inc.h"
