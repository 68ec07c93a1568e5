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

/* One row of q8_0: a half scale, then 32 bytes, a block at a time. */
static void random_q8_0(test_random *random, uint8_t *bytes, int64_t n)
{
    for (int64_t at = 0; at < n; at += 32, bytes += 34) {
        uint16_t scale = sonde_f32_to_f16(0.02f * test_random_normal(random));
        memcpy(bytes, &scale, 2);
        for (int i = 0; i < 32; i++) bytes[2 + i] = (uint8_t)test_random_u64(random);
    }
}

static void random_stored(test_random *random, sonde_dtype dtype, void *bytes, int64_t n)
{
    if (dtype == SONDE_DTYPE_Q8_0) {
        random_q8_0(random, bytes, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float x = test_random_normal(random);
        sonde_encode_f32(dtype, &x, (char *)bytes + sonde_dtype_bytes(dtype, i), 1);
    }
}

bool linear_weight_init(linear_weight *w, const sonde_backend *backend, sonde_dtype dtype,
                        int64_t rows, int64_t cols, test_random *random)
{
    *w = (linear_weight){.packed = {.dtype = backend->packed_dtype(dtype), .rows = rows, .cols = cols}};
    w->packed.bytes = backend->packed_bytes(w->packed.dtype, rows, cols);
    w->stored = sonde_alloc(1, sonde_dtype_bytes(dtype, rows * cols));
    w->packed.data = sonde_alloc_raw(1, w->packed.bytes);
    float *scratch = sonde_alloc(sonde_pack_scratch_floats(cols), sizeof *scratch);
    if (!w->stored || !w->packed.data || !scratch) {
        sonde_free(scratch);
        return false;
    }
    random_stored(random, dtype, w->stored, rows * cols);
    w->source = (sonde_matrix_source){.dtype = dtype, .data = w->stored, .rows = rows, .cols = cols,
                                      .stored_cols = cols};
    backend->pack(&w->source, &w->packed, 0, (rows + SONDE_PANEL - 1) / SONDE_PANEL, scratch);
    sonde_free(scratch);
    return true;
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
