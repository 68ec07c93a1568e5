/* linear_avx2.c - tiles of up to 3 rows by 32 outputs in 12 of the 16 registers. */
#define LINEAR_NAME sonde_linear_avx2
#define LINEAR_ROWS 3
#include "kernels/linear.inc.h"
