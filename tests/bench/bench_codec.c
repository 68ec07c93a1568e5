/*
 * bench_codec [MIB]: rates and ratios of the chunk codecs on one core, on made-up activations: rows of
 * bf16, normal with channels of other sizes and a few outliers. GB/s counts bytes before the codec.
 */
#include "store/codec.h"

#include <libdeflate.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#define WIDTH 576
#define CHUNK_BYTES ((size_t)1024 * WIDTH * 2)

typedef struct bench_memory {
    uint8_t *data, *scratch, *out;
    size_t chunks;
} bench_memory;

static double uniform(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = (*state ^ *state >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(uint64_t *state)
{
    double radius = sqrt(-2.0 * log(uniform(state)));
    return radius * cos(6.283185307179586 * uniform(state));
}

static void fill(uint8_t *data, size_t bytes)
{
    uint64_t state = 1;
    double scale[WIDTH];
    for (int c = 0; c < WIDTH; c++)
        scale[c] = c % 97 == 5 ? 40.0 : exp(0.4 * normal(&state));
    for (size_t i = 0; i < bytes / 2; i++) {
        float value = (float)(scale[i % WIDTH] * normal(&state));
        uint32_t bits;
        memcpy(&bits, &value, 4);
        uint16_t half = (uint16_t)(bits >> 16);
        memcpy(data + 2 * i, &half, 2);
    }
}

typedef size_t encode_function(const uint8_t *data, uint8_t *scratch, uint8_t *out);

static size_t encode_planar(const uint8_t *data, uint8_t *scratch, uint8_t *out)
{
    sonde_shuffle(data, CHUNK_BYTES / 2, 2, CHUNK_BYTES / 2, scratch);
    return sonde_deflate_encode(scratch, CHUNK_BYTES, CHUNK_BYTES, 2, out);
}

static size_t encode_libdeflate(const uint8_t *data, uint8_t *scratch, uint8_t *out)
{
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(1);
    sonde_shuffle(data, CHUNK_BYTES / 2, 2, CHUNK_BYTES / 2, scratch);
    size_t n = libdeflate_zlib_compress(compressor, scratch, CHUNK_BYTES, out, 2 * CHUNK_BYTES);
    libdeflate_free_compressor(compressor);
    return n;
}

static size_t encode_zlib(const uint8_t *data, uint8_t *scratch, uint8_t *out)
{
    uLongf n = 2 * CHUNK_BYTES;
    sonde_shuffle(data, CHUNK_BYTES / 2, 2, CHUNK_BYTES / 2, scratch);
    compress2(out, &n, scratch, CHUNK_BYTES, 1);
    return n;
}

static size_t encode_shuffle(const uint8_t *data, uint8_t *scratch, uint8_t *out)
{
    (void)scratch;
    sonde_shuffle(data, CHUNK_BYTES / 2, 2, CHUNK_BYTES / 2, out);
    return CHUNK_BYTES;
}

static size_t encode_copy(const uint8_t *data, uint8_t *scratch, uint8_t *out)
{
    (void)scratch;
    memcpy(out, data, CHUNK_BYTES);
    return CHUNK_BYTES;
}

/* Processor time, so that other programs do not count. */
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The best of several passes. */
static void measure(const char *name, encode_function *encode, const bench_memory *m, int passes)
{
    double best = 1e30;
    size_t stored = 0, bytes = m->chunks * CHUNK_BYTES;
    for (int pass = 0; pass < passes; pass++) {
        uint64_t begin = now_ns();
        stored = 0;
        for (size_t i = 0; i < m->chunks; i++)
            stored += encode(m->data + i * CHUNK_BYTES, m->scratch, m->out);
        double took = (double)(now_ns() - begin);
        best = SONDE_MIN(best, took);
    }
    printf("%-28s %7.3f GB/s   ratio %.3f\n", name, (double)bytes / best,
           (double)bytes / (double)stored);
}

int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 32;
    bench_memory m = {.chunks = SONDE_MAX((mib << 20) / CHUNK_BYTES, 1)};
    m.data = sonde_alloc_raw(m.chunks, CHUNK_BYTES);
    m.scratch = sonde_alloc_raw(CHUNK_BYTES, 1);
    m.out = sonde_alloc_raw(2, CHUNK_BYTES);
    if (!m.data || !m.scratch || !m.out) return 1;
    fill(m.data, m.chunks * CHUNK_BYTES);
    measure("copy", encode_copy, &m, 7);
    measure("shuffle", encode_shuffle, &m, 7);
    measure("planar deflate", encode_planar, &m, 7);
    measure("shuffle, libdeflate level 1", encode_libdeflate, &m, 2);
    measure("shuffle, zlib level 1", encode_zlib, &m, 1);
    sonde_free(m.data);
    sonde_free(m.scratch);
    sonde_free(m.out);
    return 0;
}
