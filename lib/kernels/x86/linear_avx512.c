/* linear_avx512.c - tiles of up to 12 rows by 32 outputs in 24 of the 32 registers. */
#define LINEAR_NAME sonde_linear_avx512
#define LINEAR_WHOLE 12
#define LINEAR_STREAM 6
#define LINEAR_ROWS 12
#define LINEAR_WIDE 2
#define LINEAR_QUANT_FEW sonde_quant_few_avx512
#define LINEAR_QUANT_SLICE sonde_quant_slice_avx512
#include "kernels/linear.inc.h"
