/* Planar deflate: a plane of every kind behind every other, at every place of the bit buffer. */
#include "store/codec.h"

#include <libdeflate.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define MOST_ELEMENTS 5000
#define MOST_BYTES (4 * MOST_ELEMENTS)

typedef enum plane_kind {
    PLANE_CONSTANT, /* a run, which ends at any bit */
    PLANE_NOISE,    /* stored, from a byte border on */
    PLANE_SKEWED,   /* Huffman */
    PLANE_KINDS
} plane_kind;

static void fill_plane(plane_kind kind, uint32_t seed, uint8_t *data, size_t n,
                       size_t element_bytes)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint8_t noise = (uint8_t)(seed >> 24);
        data[i * element_bytes] = kind == PLANE_CONSTANT ? (uint8_t)(element_bytes * 61)
                                  : kind == PLANE_NOISE  ? noise
                                                         : (uint8_t)(120 + (noise & noise >> 4));
    }
}

/* What is decoded are the first `filled` bytes, and zeros. */
static void check_filled(const uint8_t *data, size_t bytes, size_t filled, size_t element_bytes)
{
    static uint8_t planes[MOST_BYTES], encoded[2 * MOST_BYTES + 65536], shuffled[MOST_BYTES];
    static uint8_t plain[MOST_BYTES], zeros[MOST_BYTES];
    size_t elements = bytes / element_bytes;
    memset(planes, 0xAA, bytes);
    sonde_shuffle(data, filled / element_bytes, element_bytes, elements, planes);
    size_t n = sonde_deflate_encode(planes, bytes, filled, element_bytes, encoded);
    if (n == 0) return;
    struct libdeflate_decompressor *inflate = libdeflate_alloc_decompressor();
    assert_int_equal(libdeflate_zlib_decompress(inflate, encoded, n, shuffled, bytes, NULL),
                     LIBDEFLATE_SUCCESS);
    libdeflate_free_decompressor(inflate);
    sonde_unshuffle(shuffled, elements, element_bytes, elements, plain);
    assert_memory_equal(plain, data, filled);
    assert_memory_equal(plain + filled, zeros, bytes - filled);
    uLongf length = sizeof shuffled;
    assert_int_equal(uncompress(shuffled, &length, encoded, (uLong)n), Z_OK);
    assert_int_equal(length, bytes);
    sonde_unshuffle(shuffled, elements, element_bytes, elements, plain);
    assert_memory_equal(plain, data, filled);
    assert_memory_equal(plain + filled, zeros, bytes - filled);
}

static void check(const uint8_t *data, size_t bytes, size_t element_bytes)
{
    check_filled(data, bytes, bytes, element_bytes);
}

static void test_every_sequence_of_planes(void **state)
{
    (void)state;
    static uint8_t data[MOST_BYTES];
    for (size_t n = 600; n < 640; n++)
        for (int kinds = 0; kinds < 81; kinds++) {
            int left = kinds;
            for (size_t plane = 0; plane < 4; plane++, left /= PLANE_KINDS)
                fill_plane((plane_kind)(left % PLANE_KINDS), (uint32_t)(n + plane), data + plane, n,
                           4);
            check(data, 4 * n, 4);
        }
}

static void test_short_and_constant_planes(void **state)
{
    (void)state;
    static uint8_t data[MOST_BYTES];
    for (int value = 0; value < 256; value += 5)
        for (size_t n = 1; n < 800; n += 1 + n / 9) {
            memset(data, value, 2 * n);
            check(data, 2 * n, 2);
            for (size_t i = 0; i < n; i++) data[2 * i] = (uint8_t)(i * 167u + i / 3u);
            check(data, 2 * n, 2);
        }
}

static void test_what_is_not_filled_counts_as_zeros(void **state)
{
    (void)state;
    static uint8_t data[MOST_BYTES];
    for (size_t n = 1000; n <= MOST_ELEMENTS; n += 500)
        for (int kinds = 0; kinds < 9; kinds++)
            for (size_t filled = 0; filled <= n; filled += n / 7) {
                memset(data, 0xAA, sizeof data);
                fill_plane((plane_kind)(kinds % 3), (uint32_t)n, data, filled, 2);
                fill_plane((plane_kind)(kinds / 3), (uint32_t)n + 1, data + 1, filled, 2);
                check_filled(data, 2 * n, 2 * filled, 2);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sequence_of_planes),
        cmocka_unit_test(test_short_and_constant_planes),
        cmocka_unit_test(test_what_is_not_filled_counts_as_zeros),
    };
    return cmocka_run_group_tests_name("codec, planes", tests, NULL, NULL);
}
