/* cpu.h - what this processor can do, found once by cpuid. */
#ifndef SONDE_CORE_CPU_H
#define SONDE_CORE_CPU_H

#include "core.h"

typedef enum sonde_cpu_level {
    SONDE_CPU_SCALAR = 0, /* plain C, the definition */
    SONDE_CPU_AVX2 = 1,   /* AVX2, FMA, F16C */
    SONDE_CPU_AVX512 = 2, /* and AVX-512 F, BW, DQ, VL */
} sonde_cpu_level;

/* The highest level that processor and operating system support. [any thread] */
sonde_cpu_level sonde_cpu_best(void);
const char *sonde_cpu_level_name(sonde_cpu_level level); /* "scalar", "avx2", "avx512" */
bool sonde_cpu_level_from_name(const char *name, sonde_cpu_level *level);
int sonde_cpu_count(void); /* processors this process may run on, >= 1 */
/* "AMD EPYC ..." as the kernel names it; "unknown" where it does not. */
void sonde_cpu_model_name(char *text, size_t bytes);
/* Sets round to nearest, no flush to zero, exceptions masked; returns the old state for restore. */
unsigned sonde_fpu_enter(void);
void sonde_fpu_restore(unsigned state);

#endif
