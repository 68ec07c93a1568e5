/* steps_scalar.c - the row-wise steps and attention: the definition, in plain C. */
#include "kernels/steps_rows.inc.h"

#include "kernels/steps_cache.inc.h"

#include "kernels/steps_attend.inc.h"
#include "kernels/steps_experts.inc.h"

SONDE_CPU_TABLE(scalar);
SONDE_BLAS_TABLE(scalar);
SONDE_INT_TABLE(scalar, sonde_linear_scratch, NULL, NULL);
