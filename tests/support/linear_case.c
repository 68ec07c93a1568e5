#include "support/linear_case.h"

#include <stdlib.h>
#include <string.h>

uint64_t test_random_u64(test_random *random)
{
    uint64_t z = random->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

float test_random_normal(test_random *random)
{
    double sum = 0.0;
    for (int i = 0; i < 4; i++) sum += (double)(test_random_u64(random) >> 40) * 0x1p-24;
    return (float)((sum - 2.0) * 1.7320508075688772);
}

void test_fill_normal(test_random *random, float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) values[i] = test_random_normal(random);
}

/* Where blocks have their f16 scales. */
static const struct {
    sonde_dtype dtype;
    int at[2]; /* the second: -1, or of a minimum */
} half_scales[] = {
    {SONDE_DTYPE_Q4_0, {0, -1}}, {SONDE_DTYPE_Q4_1, {0, 2}}, {SONDE_DTYPE_Q5_0, {0, -1}},
    {SONDE_DTYPE_Q5_1, {0, 2}},  {SONDE_DTYPE_Q8_0, {0, -1}}, {SONDE_DTYPE_Q4_K, {0, 2}},
    {SONDE_DTYPE_Q5_K, {0, 2}},  {SONDE_DTYPE_Q6_K, {208, -1}},
};

/* Random integers, scales of about 0.02 (less where small integers multiply them). */
static void random_blocks(test_random *random, sonde_dtype dtype, uint8_t *bytes, int64_t n)
{
    size_t kind = 0;
    while (half_scales[kind].dtype != dtype) kind++;
    int64_t elements = sonde_dtype_block_elements(dtype), size = sonde_dtype_block_bytes(dtype);
    float about = elements == 256 ? 0.001f : 0.02f;
    for (int64_t at = 0; at < n; at += elements, bytes += size) {
        for (int64_t i = 0; i < size; i++) bytes[i] = (uint8_t)test_random_u64(random);
        for (int i = 0; i < 2 && half_scales[kind].at[i] >= 0; i++) {
            uint16_t scale = sonde_f32_to_f16(about * test_random_normal(random));
            memcpy(bytes + half_scales[kind].at[i], &scale, 2);
        }
    }
}

static void random_stored(test_random *random, sonde_dtype dtype, void *bytes, int64_t n)
{
    if (sonde_dtype_block_elements(dtype) > 1) {
        random_blocks(random, dtype, bytes, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float x = test_random_normal(random);
        sonde_encode_f32(dtype, &x, (char *)bytes + sonde_dtype_bytes(dtype, i), 1);
    }
}

static bool pack_weight(linear_weight *w, const sonde_backend *backend, sonde_dtype packed)
{
    int64_t rows = w->source.rows, cols = w->source.cols;
    w->packed = (sonde_packed){.dtype = packed, .rows = rows, .cols = cols};
    w->packed.bytes = backend->packed_bytes(packed, rows, cols);
    w->packed.data = sonde_alloc_raw(1, w->packed.bytes);
    float *scratch = sonde_alloc(sonde_pack_scratch_floats(cols), sizeof *scratch);
    bool good = w->packed.data && scratch;
    if (good)
        backend->pack(&w->source, &w->packed, 0, (rows + SONDE_PANEL - 1) / SONDE_PANEL, scratch);
    sonde_free(scratch);
    return good;
}

bool linear_weight_init(linear_weight *w, const sonde_backend *backend, sonde_dtype dtype,
                        int64_t rows, int64_t cols, test_random *random)
{
    *w = (linear_weight){.stored = sonde_alloc(1, sonde_dtype_bytes(dtype, rows * cols))};
    if (!w->stored) return false;
    random_stored(random, dtype, w->stored, rows * cols);
    w->source = (sonde_matrix_source){.dtype = dtype, .data = w->stored, .rows = rows, .cols = cols,
                                      .stored_cols = cols};
    bool kept = backend->keeps && backend->keeps(&w->source);
    return pack_weight(w, backend, kept ? dtype : backend->packed_dtype(dtype));
}

sonde_packed linear_weight_mapped(const linear_weight *w)
{
    sonde_packed mapped = w->packed;
    mapped.data = NULL;
    mapped.mapped = true;
    mapped.source = w->source;
    return mapped;
}

void linear_weight_reset(linear_weight *w)
{
    sonde_free(w->stored);
    sonde_free(w->packed.data);
    *w = (linear_weight){0};
}

void linear_run(const sonde_backend *backend, const sonde_linear_args *args)
{
    void *scratch = sonde_alloc_raw(1, backend->linear_scratch(args));
    if (!scratch) abort();
    backend->linear(args, 0, backend->linear_units(args), scratch);
    sonde_free(scratch);
}
