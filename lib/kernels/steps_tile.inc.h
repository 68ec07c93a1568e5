/*
 * steps_tile.inc.h - the product of a tile's queries with lines of keys or values. Included by
 * steps_attend.inc.h.
 *
 * A line is 16 * wide keys at one dim, or dims of one key; the queries' sums with it stay in registers
 * over all lines. Where a unit has several tiles, the first one keeps the lines of a page as fp32, side
 * by side, and the others read those: a page is widened once, and its lines lie in the first cache in
 * whatever sets they lay in the page.
 */

#include "kernels/steps_group.inc.h"

/* Calls FUNCTION for n queries with the constants n, how many times 16 it takes, dtype and from. A
 * tile alone; */
#define WIDE(count) ((count) <= FEW ? 2 : 1)
#if TILE == 1
#define FOR_QUERIES(dtype, count, FUNCTION, ...)                                                   \
    (void)(count);                                                                                 \
    FUNCTION(__VA_ARGS__, 1, 1, dtype, FROM_PAGE);
#else
#if TILE > 6
#define WIDER_CASES(dtype, FUNCTION, ...)                                                          \
    case 7: FUNCTION(__VA_ARGS__, 7, 2, dtype, FROM_PAGE); break;                                  \
    case 8: FUNCTION(__VA_ARGS__, 8, 2, dtype, FROM_PAGE); break;                                  \
    case 9: FUNCTION(__VA_ARGS__, 9, 2, dtype, FROM_PAGE); break;                                  \
    case 10: FUNCTION(__VA_ARGS__, 10, 2, dtype, FROM_PAGE); break;                                \
    case 11: FUNCTION(__VA_ARGS__, 11, 2, dtype, FROM_PAGE); break;                                \
    case 12:                                                                                       \
        FUNCTION(__VA_ARGS__, 12, 2, dtype, FROM_PAGE);                                            \
        break;
#else
#define WIDER_CASES(dtype, FUNCTION, ...)
#endif
#define FOR_QUERIES(dtype, count, FUNCTION, ...)                                                   \
    switch (count) {                                                                               \
        WIDER_CASES(dtype, FUNCTION, __VA_ARGS__)                                                  \
    case 1: FUNCTION(__VA_ARGS__, 1, WIDE(1), dtype, FROM_PAGE); break;                            \
    case 2: FUNCTION(__VA_ARGS__, 2, WIDE(2), dtype, FROM_PAGE); break;                            \
    case 3: FUNCTION(__VA_ARGS__, 3, WIDE(3), dtype, FROM_PAGE); break;                            \
    case 4: FUNCTION(__VA_ARGS__, 4, WIDE(4), dtype, FROM_PAGE); break;                            \
    case 5: FUNCTION(__VA_ARGS__, 5, WIDE(5), dtype, FROM_PAGE); break;                            \
    default: FUNCTION(__VA_ARGS__, 6, WIDE(6), dtype, FROM_PAGE); break;                           \
    }
#endif
/* one of several, which have at least half of TILE queries each, and all of them KEPT_WIDE times 16; */
#define KEEPS(group) (TILE > 1 && (group)->n_tiles > 1)
#if TILE == 1
#define KEPT_WIDE 1
#define FOR_TILE(dtype, count, from, FUNCTION, ...)                                                \
    (void)(count);                                                                                 \
    FUNCTION(__VA_ARGS__, 1, 1, dtype, from);
#elif TILE == 6
#define KEPT_WIDE 1
#define FOR_TILE(dtype, count, from, FUNCTION, ...)                                                \
    switch (count) {                                                                               \
    case 3: FUNCTION(__VA_ARGS__, 3, 1, dtype, from); break;                                       \
    case 4: FUNCTION(__VA_ARGS__, 4, 1, dtype, from); break;                                       \
    case 5: FUNCTION(__VA_ARGS__, 5, 1, dtype, from); break;                                       \
    default: FUNCTION(__VA_ARGS__, 6, 1, dtype, from); break;                                      \
    }
#else
#define KEPT_WIDE 2
#define FOR_TILE(dtype, count, from, FUNCTION, ...)                                                \
    switch (count) {                                                                               \
    case 6: FUNCTION(__VA_ARGS__, 6, 2, dtype, from); break;                                       \
    case 7: FUNCTION(__VA_ARGS__, 7, 2, dtype, from); break;                                       \
    case 8: FUNCTION(__VA_ARGS__, 8, 2, dtype, from); break;                                       \
    case 9: FUNCTION(__VA_ARGS__, 9, 2, dtype, from); break;                                       \
    case 10: FUNCTION(__VA_ARGS__, 10, 2, dtype, from); break;                                     \
    case 11: FUNCTION(__VA_ARGS__, 11, 2, dtype, from); break;                                     \
    default: FUNCTION(__VA_ARGS__, 12, 2, dtype, from); break;                                     \
    }
#endif
/* and either of them for the element of the cache. */
#define FOR_DTYPE(element, EXPANSION, ...)                                                         \
    switch (element) {                                                                             \
    case SONDE_DTYPE_F32: EXPANSION(SONDE_DTYPE_F32, __VA_ARGS__) break;                           \
    case SONDE_DTYPE_BF16: EXPANSION(SONDE_DTYPE_BF16, __VA_ARGS__) break;                         \
    default: EXPANSION(SONDE_DTYPE_F16, __VA_ARGS__) break;                                        \
    }

typedef enum lines_from {
    FROM_PAGE,
    AND_KEEP, /* from the page, and kept */
    FROM_KEPT
} lines_from;

typedef struct lines {
    const void *page;
    int64_t n, at, step; /* lines; elements: of the first one, from line to line */
    const char
        *ahead;  /* fetched meanwhile, as many bytes as are read: a part of the page that follows */
    float *kept; /* [n][16 wide] */
} lines;

/* The part number `part` of so many equal ones of the keys or values that lie at `first` in a page. */
SONDE_INLINE const char *part_ahead(const group *g, int64_t key, int64_t first,
                                    int64_t part_elements, int64_t part)
{
    const sonde_dtype dtype = g->args->layout.dtype;
    return next_page(g, key) + (dtype == SONDE_DTYPE_F32 ? 4 : 2) * (first + part * part_elements);
}

SONDE_INLINE vec16 line_at(const lines *l, int64_t i, int j, const int wide,
                           const sonde_dtype dtype, const lines_from from)
{
    float *kept = l->kept + (i * wide + j) * 16;
    if (from == FROM_KEPT) return v_load(kept);
    vec16 line = load_kv(l->page, l->at + i * l->step + 16 * j, dtype);
    if (from == AND_KEEP) v_store(kept, line);
    return line;
}

/* In the order of memory, whatever the order of lines. No call here: it would push the sums out of
 * their registers at every line. */
SONDE_INLINE void look_ahead(const lines *l, int64_t i, const int wide, const sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) {
        SONDE_PREFETCH(l->ahead + 64 * wide * i);
        if (wide > 1) SONDE_PREFETCH(l->ahead + 64 * wide * i + 64);
    } else {
        SONDE_PREFETCH(l->ahead + 32 * wide * i);
    }
}

/* acc[r][j] = fma(x[r stride], line i [16 j ..], acc[r][j]). */
SONDE_INLINE void multiply(vec16 acc[TILE][2], const float *x, int64_t stride, const lines *l,
                           int64_t i, const int n, const int wide, const sonde_dtype dtype,
                           const lines_from from)
{
    vec16 line[2];
    if (from != FROM_KEPT) look_ahead(l, i, wide, dtype);
    for (int j = 0; j < wide; j++) line[j] = line_at(l, i, j, wide, dtype, from);
    SONDE_UNROLL
    for (int r = 0; r < n; r++) {
        vec16 factor = v_set(x[r * stride]);
        for (int j = 0; j < wide; j++) acc[r][j] = v_fma(factor, line[j], acc[r][j]);
    }
}

/* The same over all lines, x[i + r stride] with line i. */
SONDE_INLINE void multiply_all(vec16 acc[TILE][2], const float *x, int64_t stride, const lines *l,
                               const int n, const int wide, const sonde_dtype dtype,
                               const lines_from from)
{
    for (int64_t i = 0; i < l->n; i++) multiply(acc, x + i, stride, l, i, n, wide, dtype, from);
}
