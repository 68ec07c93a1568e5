/* bench_machine.c - the machine's own rates, and who else uses it. */
#include "cli/bench.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 20)
#define PEAK_SECONDS 0.05

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

const bench_loops *bench_loops_find(const char *level)
{
    const bench_loops *const all[] = {&bench_loops_avx512, &bench_loops_avx2};
    for (size_t i = 0; level && i < CLI_COUNT(all); i++)
        if (strcmp(all[i]->level, level) == 0) return all[i];
    return &bench_loops_scalar;
}

sonde_status bench_memory_create(bench_memory *memory, sonde_error *err)
{
    memory->n = READ_BYTES / sizeof(float);
    memory->data = malloc(READ_BYTES);
    if (!memory->data)
        return sonde_fail(err, SONDE_NO_MEMORY, "bench: no memory to measure its rate");
    for (size_t i = 0; i < memory->n; i++) memory->data[i] = 1.0f;
    return SONDE_OK;
}

void bench_memory_destroy(bench_memory *memory)
{
    free(memory->data);
    memory->data = NULL;
}

/* One thread's share of a measurement. */
typedef struct share {
    const bench_loops *loops;
    const float *data; /* NULL: multiply-adds */
    size_t n;
    int64_t iterations;
    volatile float result;
} share;

static void *run_share(void *argument)
{
    share *s = argument;
    s->result = s->data ? s->loops->read(s->data, s->n) : s->loops->multiply_add(s->iterations);
    return NULL;
}

/* Seconds that all shares take side by side; the caller's thread runs the last. */
static double run_shares(share *shares, int n)
{
    pthread_t threads[BENCH_MAX_THREADS];
    bool started[BENCH_MAX_THREADS];
    double start = bench_now();
    for (int i = 0; i + 1 < n; i++) {
        started[i] = pthread_create(&threads[i], NULL, run_share, &shares[i]) == 0;
        if (!started[i]) run_share(&shares[i]);
    }
    run_share(&shares[n - 1]);
    for (int i = 0; i + 1 < n; i++)
        if (started[i]) pthread_join(threads[i], NULL);
    return bench_now() - start;
}

double bench_gflops(const bench_loops *loops, int threads)
{
    share shares[BENCH_MAX_THREADS];
    int64_t iterations = 100000;
    for (;;) {
        for (int i = 0; i < threads; i++)
            shares[i] = (share){.loops = loops, .iterations = iterations};
        double seconds = run_shares(shares, threads);
        if (seconds >= PEAK_SECONDS)
            return loops->flops_per_iteration * (double)iterations * threads / seconds * 1e-9;
        iterations *= 4;
    }
}

double bench_read_gbs(const bench_loops *loops, int threads, const bench_memory *memory)
{
    share shares[BENCH_MAX_THREADS];
    size_t each = memory->n / (size_t)threads / 128 * 128;
    for (int i = 0; i < threads; i++)
        shares[i] = (share){.loops = loops, .data = memory->data + (size_t)i * each, .n = each};
    double seconds = run_shares(shares, threads);
    return (double)(each * (size_t)threads * sizeof(float)) / seconds * 1e-9;
}

/* "model name : AMD EPYC ..." of /proc/cpuinfo. */
static void read_cpu_name(char *text, size_t bytes)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(text, bytes, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(text, bytes, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file) fclose(file);
}

void bench_machine_look(bench_machine *machine)
{
    struct utsname os;
    cpu_set_t set;
    *machine = (bench_machine){.cores = 1};
    read_cpu_name(machine->cpu, sizeof machine->cpu);
    if (uname(&os) == 0)
        snprintf(machine->system, sizeof machine->system, "%s %s %s", os.sysname, os.release,
                 os.machine);
    if (sched_getaffinity(0, sizeof set, &set) == 0) machine->cores = CPU_COUNT(&set);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) machine->memory_bytes = (uint64_t)pages * (uint64_t)page;
}

/* The first line of /proc/stat: user nice system idle iowait irq softirq steal, in clock ticks. */
void bench_load_look(bench_load *load)
{
    *load = (bench_load){.all = -1};
    struct rusage usage;
    unsigned long long ticks[8] = {0};
    FILE *file = fopen("/proc/stat", "r");
    int n = file ? fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &ticks[0], &ticks[1],
                          &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7])
                 : 0;
    if (file) fclose(file);
    if (n != 8 || getrusage(RUSAGE_SELF, &usage) != 0) return;
    double second = (double)sysconf(_SC_CLK_TCK), all = 0;
    for (int i = 0; i < 8; i++) all += (double)ticks[i];
    load->all = all / second;
    load->idle = (double)(ticks[3] + ticks[4]) / second;
    load->own = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

double bench_load_others(const bench_load *before, const bench_load *after)
{
    double all = after->all - before->all;
    if (before->all < 0 || after->all < 0 || all <= 0) return -1;
    double others = all - (after->idle - before->idle) - (after->own - before->own);
    return fmax(0.0, others / all);
}
