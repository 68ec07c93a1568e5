/* cpu.c - processor features by cpuid, and the floating-point state. */
#include "cpu.h"

#include <sched.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const char *const level_names[] = {"scalar", "avx2", "avx512"};

#if defined(__x86_64__)
static uint64_t enabled_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

sonde_cpu_level sonde_cpu_best(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return SONDE_CPU_SCALAR;
    bool base = (c & bit_FMA) && (c & bit_AVX) && (c & bit_F16C) && (c & bit_OSXSAVE);
    if (!base || (enabled_states() & 0x6) != 0x6) return SONDE_CPU_SCALAR;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return SONDE_CPU_SCALAR;
    unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    bool wide = (b & wanted) == wanted && (enabled_states() & 0xE6) == 0xE6;
    return wide ? SONDE_CPU_AVX512 : SONDE_CPU_AVX2;
}

unsigned sonde_fpu_enter(void)
{
    unsigned old = _mm_getcsr();
    _mm_setcsr(0x1F80);
    return old;
}

void sonde_fpu_restore(unsigned state)
{
    _mm_setcsr(state);
}
#else
sonde_cpu_level sonde_cpu_best(void)
{
    return SONDE_CPU_SCALAR;
}

unsigned sonde_fpu_enter(void)
{
    return 0;
}

void sonde_fpu_restore(unsigned state)
{
    (void)state;
}
#endif

const char *sonde_cpu_level_name(sonde_cpu_level level)
{
    return (size_t)level < SONDE_COUNT(level_names) ? level_names[level] : "?";
}

bool sonde_cpu_level_from_name(const char *name, sonde_cpu_level *level)
{
    for (size_t i = 0; i < SONDE_COUNT(level_names); i++) {
        if (strcmp(name, level_names[i]) != 0) continue;
        *level = (sonde_cpu_level)i;
        return true;
    }
    return false;
}

int sonde_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

void sonde_cpu_model_name(char *text, size_t bytes)
{
    snprintf(text, bytes, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(text, bytes, "%s", colon + 2);
        break;
    }
    if (file) fclose(file);
}
