/* steps_avx2.c - the row-wise steps and attention, compiled for avx2. */
#include "kernels/steps_rows.inc.h"

#include "kernels/steps_cache.inc.h"

#include "kernels/steps_attend.inc.h"
#include "kernels/steps_experts.inc.h"

SONDE_CPU_TABLE(avx2);
SONDE_BLAS_TABLE(avx2);
SONDE_INT_TABLE(avx2, sonde_int_scratch, sonde_int_prepared_bytes, sonde_int_prepare_avx2);
