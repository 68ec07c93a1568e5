/* linear_avx2.c - tiles of up to 6 rows by 16 outputs in 12 of the 16 registers. */
#define LINEAR_NAME sonde_linear_avx2
#define LINEAR_ROWS 6
#define LINEAR_WIDE 1
#define LINEAR_WHOLE 2
#define LINEAR_QUANT_FEW sonde_quant_few_avx2
#define LINEAR_QUANT_SLICE sonde_quant_slice_avx2
#include "kernels/linear.inc.h"
