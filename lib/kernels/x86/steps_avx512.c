/* steps_avx512.c - the row-wise steps and attention, compiled for avx512. */
#include "kernels/steps_rows.inc.h"

#include "kernels/steps_cache.inc.h"

#include "kernels/steps_attend.inc.h"
#include "kernels/steps_experts.inc.h"

SONDE_CPU_TABLE(avx512);
SONDE_BLAS_TABLE(avx512);
SONDE_INT_TABLE(avx512, sonde_int_scratch, sonde_int_prepared_bytes, sonde_int_prepare_avx2);
