#include "team.h"

#include <stdlib.h>

#define PEAK_MILLIONS 10
#define STREAM_PIECE ((size_t)1 << 18)

void bench_team_open(bench_team *team, int threads, sonde_cpu_level level)
{
    sonde_error err = {0};
    *team = (bench_team){.threads = threads, .level = level};
    if (sonde_pool_create(threads, &team->pool, &err) == SONDE_OK) return;
    fprintf(stderr, "%s\n", err.message);
    exit(1);
}

void bench_team_close(bench_team *team)
{
    sonde_pool_destroy(&team->pool);
}

double bench_team_clock(const bench_team *team)
{
    return team->threads == 1 ? bench_cpu() : bench_wall();
}

static void peak_share(void *context, int64_t begin, int64_t end, int thread)
{
    const bench_team *team = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) bench_peak(team->level, PEAK_MILLIONS);
}

double bench_team_peak(const bench_team *team)
{
    bench_team copy = *team;
    double begin = bench_team_clock(team);
    double flops = bench_peak(team->level, PEAK_MILLIONS);
    double one = (bench_team_clock(team) - begin) / flops;
    if (team->threads == 1) return one;
    begin = bench_team_clock(team);
    sonde_pool_for(team->pool, team->threads, 1, peak_share, &copy);
    return (bench_team_clock(team) - begin) / flops / team->threads;
}

typedef struct stream {
    const char *data;
    size_t bytes;
} stream;

static void stream_share(void *context, int64_t begin, int64_t end, int thread)
{
    const stream *s = context;
    (void)thread;
    size_t first = (size_t)begin * STREAM_PIECE;
    size_t last = SONDE_MIN((size_t)end * STREAM_PIECE, s->bytes);
    (void)bench_stream(s->data + first, last - first);
}

double bench_team_stream(const bench_team *team, const void *data, size_t bytes)
{
    stream s = {data, bytes};
    double begin = bench_team_clock(team);
    int64_t pieces = (int64_t)((bytes + STREAM_PIECE - 1) / STREAM_PIECE);
    sonde_pool_for(team->pool, pieces, sonde_pool_grain(team->pool, pieces), stream_share, &s);
    return bench_team_clock(team) - begin;
}

typedef struct product {
    const sonde_backend *backend;
    const sonde_linear_args *args;
    char *scratch;
    size_t scratch_bytes;
} product;

static void product_share(void *context, int64_t begin, int64_t end, int thread)
{
    const product *p = context;
    p->backend->linear(p->args, begin, end, p->scratch + (size_t)thread * p->scratch_bytes);
}

void bench_team_linear(const bench_team *team, const sonde_backend *backend,
                       const sonde_linear_args *args, char *scratch, size_t scratch_bytes)
{
    product p = {backend, args, scratch, scratch_bytes};
    int64_t units = backend->linear_units(args);
    sonde_pool_for(team->pool, units, sonde_pool_grain(team->pool, units), product_share, &p);
}
