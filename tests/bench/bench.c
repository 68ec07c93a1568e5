#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_wall(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double bench_cpu(void)
{
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

void bench_add(bench_times *times, double seconds)
{
    if (times->n < BENCH_MOST) times->seconds[times->n++] = seconds;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double bench_median(const bench_times *times)
{
    bench_times sorted = *times;
    if (sorted.n == 0) return 0.0;
    qsort(sorted.seconds, (size_t)sorted.n, sizeof(double), compare);
    return sorted.seconds[sorted.n / 2];
}

/* Seconds that all processors together were busy: user, nice, system, irq, softirq and steal. */
static double busy_seconds(void)
{
    FILE *file = fopen("/proc/stat", "re");
    double t[8] = {0};
    if (!file) return 0.0;
    if (fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", t, t + 1, t + 2, t + 3, t + 4, t + 5,
               t + 6, t + 7) != 8)
        memset(t, 0, sizeof t);
    fclose(file);
    return (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
}

void bench_load_begin(bench_load *load)
{
    *load = (bench_load){bench_wall(), busy_seconds(), seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
}

double bench_load_others(const bench_load *load)
{
    double wall = bench_wall() - load->wall;
    double own = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - load->own;
    double others = busy_seconds() - load->busy - own;
    return wall > 0.0 && others > 0.0 ? others / wall : 0.0;
}

void bench_load_say(const bench_load *load)
{
    double others = bench_load_others(load);
    printf("others used %.0f %% of a core meanwhile%s\n", 100.0 * others,
           others > 0.08 ? ": the machine was not quiet, do not quote these figures" : "");
}

static double peak_scalar(int64_t millions, volatile float *out)
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int64_t i = 0; i < millions * 125000; i++)
        for (int j = 0; j < 8; j++) x[j] = x[j] * 0.999f + 0.001f;
    for (int j = 0; j < 8; j++) *out += x[j];
    return 2e6 * (double)millions;
}

double bench_peak(sonde_cpu_level level, int64_t millions)
{
    static volatile float sink;
    float out = 0.0f;
    double flops;
#if defined(__x86_64__)
    if (level == SONDE_CPU_AVX512) flops = bench_peak_avx512(millions, &out);
    else if (level == SONDE_CPU_AVX2) flops = bench_peak_avx2(millions, &out);
    else
#endif
        flops = peak_scalar(millions, &sink);
    sink = out;
    return flops;
}

uint64_t bench_stream(const void *data, size_t bytes)
{
    const uint64_t *p = data;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes / 64; i++)
        for (int j = 0; j < 8; j++) sum[j] += p[8 * i + (size_t)j];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

const char *bench_text(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    return NULL;
}

int64_t bench_option(int argc, char **argv, const char *name, int64_t fallback)
{
    const char *text = bench_text(argc, argv, name);
    return text ? strtoll(text, NULL, 10) : fallback;
}
