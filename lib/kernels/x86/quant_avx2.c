/* quant_avx2.c - quantised panels of exact mode, compiled for avx2. */
#define QUANT_FEW sonde_quant_few_avx2
#define QUANT_SLICE sonde_quant_slice_avx2
#include "kernels/quant.inc.h"
