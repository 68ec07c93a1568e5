/* quant_avx512.c - quantised panels of exact mode, compiled for avx512. */
#define QUANT_FEW sonde_quant_few_avx512
#define QUANT_SLICE sonde_quant_slice_avx512
#include "kernels/quant.inc.h"
