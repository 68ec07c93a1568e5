/*
 * steps.h - the row-wise steps, the cache and attention. One source (steps_rows.inc.h,
 * steps_attend.inc.h) is compiled per instruction-set level by {ref,x86}/steps_<level>.c, which
 * also fill that level's tables; the scalar level is the definition.
 */
#ifndef SONDE_KERNELS_STEPS_H
#define SONDE_KERNELS_STEPS_H

#include "kernels/linear.h"
#include "kernels/quant_int.h"

extern const sonde_backend sonde_backend_cpu_scalar, sonde_backend_blas_scalar;
extern const sonde_backend sonde_backend_int_scalar;
#if defined(__x86_64__)
extern const sonde_backend sonde_backend_cpu_avx2, sonde_backend_blas_avx2;
extern const sonde_backend sonde_backend_cpu_avx512, sonde_backend_blas_avx512;
extern const sonde_backend sonde_backend_int_avx2, sonde_backend_int_avx512;
#endif

/* Shared by all levels (steps_common.c). */
int64_t sonde_cache_units(const sonde_cache_args *args);
int64_t sonde_attend_units(const sonde_attend_args *args);
size_t sonde_attend_scratch(const sonde_attend_args *args);
void sonde_join_rows(const sonde_join_args *args, int64_t begin, int64_t end);
void sonde_rope_entry(const float *inv_freq, int64_t rotary_dims, int64_t position,
                      double attention_scaling, void *cos, void *sin);

/* Most queries (rows times heads of a group) that attention works on together. */
#define SONDE_ATTEND_QUERIES 48
/* Scores of a query for `n` keys: whole pages. */
static inline int64_t sonde_attend_row(int64_t n)
{
    return (n + SONDE_PAGE_POSITIONS - 1) & ~(int64_t)(SONDE_PAGE_POSITIONS - 1);
}
/* Floats of the keys or values that a tile of queries keeps for the others: up to 32 a line. */
static inline int64_t sonde_attend_kept(const sonde_attend_args *args)
{
    return 32 * SONDE_MAX(args->layout.head_dim, SONDE_PAGE_POSITIONS);
}
/* Unit -> span, first row within it, number of rows, and the heads: several rows with all heads of
 * a KV head's group, or one row with a part of a group too large for a unit. The units of a KV head
 * follow each other, so that its keys and values are still near. */
typedef struct sonde_attend_unit {
    const sonde_span *span;
    int64_t first, n_rows, kv_head, first_head, n_heads;
} sonde_attend_unit;
sonde_attend_unit sonde_attend_unit_at(const sonde_attend_args *args, int64_t unit);

/* The tables of a level, for the end of its file. */
#define SONDE_STEP_SLOTS                                                                           \
    .real_bytes = sizeof(float), .norm = norm, .rope = rope, .map = map, .join = sonde_join_rows,  \
    .route = route, .combine = combine, .label = label,                                            \
    .cache_units = sonde_cache_units, .cache = cache, .attend_units = sonde_attend_units,          \
    .attend_scratch = sonde_attend_scratch, .attend = attend, .rope_entry = sonde_rope_entry
#define SONDE_CPU_TABLE(level_name)                                                                \
    const sonde_backend sonde_backend_cpu_##level_name = {                                         \
        .name = "cpu", .level = #level_name, .exact = true, .mode = "exact",                       \
        .integers = &sonde_backend_int_##level_name,                                               \
        .packed_dtype = sonde_packed_dtype, .keeps = sonde_quant_keeps,                            \
        .packed_bytes = sonde_packed_bytes,                                                        \
        .pack = sonde_pack, .linear_units = sonde_linear_units,                                    \
        .linear_scratch = sonde_linear_scratch,                                                    \
        .linear = sonde_linear_##level_name, .embed = sonde_embed_rows, SONDE_STEP_SLOTS}
/* The same with exact integer products; `prepared` and `prepare` are NULL for the definition. */
#define SONDE_INT_TABLE(level_name, linear_scratch_function, prepared, prepare)                    \
    const sonde_backend sonde_backend_int_##level_name = {                                         \
        .name = "cpu", .level = #level_name, .exact = false, .mode = "int",                        \
        .packed_dtype = sonde_packed_dtype, .keeps = sonde_quant_keeps,                            \
        .packed_bytes = sonde_packed_bytes, .pack = sonde_pack,                                    \
        .linear_units = sonde_linear_units, .linear_scratch = linear_scratch_function,             \
        .linear_prepared = prepared, .linear_prepare = prepare,                                    \
        .linear = sonde_linear_int_##level_name, .embed = sonde_embed_rows, SONDE_STEP_SLOTS}
#define SONDE_BLAS_TABLE(level_name)                                                               \
    const sonde_backend sonde_backend_blas_##level_name = {                                        \
        .name = "blas", .level = #level_name, .exact = false, .mode = "blas",                      \
        .packed_dtype = sonde_blas_packed_dtype, .packed_bytes = sonde_blas_packed_bytes,          \
        .pack = sonde_blas_pack, .linear_units = sonde_blas_linear_units,                          \
        .linear_scratch = sonde_blas_linear_scratch,                                               \
        .linear = sonde_blas_linear, .embed = sonde_blas_embed, SONDE_STEP_SLOTS}

#endif
