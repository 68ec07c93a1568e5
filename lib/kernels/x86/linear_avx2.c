/* linear_avx2.c - tiles of 3 rows by 32 outputs or 6 by 16 in 12 of the 16 registers. */
#define LINEAR_NAME sonde_linear_avx2
#define LINEAR_WHOLE 3
#define LINEAR_STREAM 3
#define LINEAR_ROWS 6
#define LINEAR_WIDE 1
#define LINEAR_QUANT_FEW sonde_quant_few_avx2
#define LINEAR_QUANT_SLICE sonde_quant_slice_avx2
#include "kernels/linear.inc.h"
