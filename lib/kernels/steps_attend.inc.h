/*
 * steps_attend.inc.h - attention (kernels.md 4), included once per level.
 *
 * A unit is some query rows of one sequence and one KV head: with the heads of its group up to
 * SONDE_ATTEND_QUERIES queries (a larger group is cut into units). They pass together over the keys,
 * so that a page of keys, then of values, is read from far away once and from the first cache by
 * every tile of TILE queries, whose sums stay in registers.
 *
 * Scores page by page (each an fma chain over head_dim) and the largest of each query; then e and
 * its 16-lane sum (lane = absolute position mod 16); then block by block of 256 keys from position 0
 * p = e (1 / l) and z: chains over the visible keys of a block, block sums added in order. Keys that
 * a query does not see may be multiplied but never enter a maximum, a sum or a chain.
 */

#include "kernels/steps_group.inc.h"

#define KEY_BLOCK 256
/* Up to so many queries, and no other tile, wait for memory: the page that follows is fetched. */
#define LOOK_AHEAD 3

/* Calls FUNCTION for n queries with the constants n and how many times 16 it takes. */
#if TILE > 6
#define WIDER_CASES(FUNCTION, ...)                                                                 \
    case 7: FUNCTION(__VA_ARGS__, 7, 2, dtype); break;                                             \
    case 8: FUNCTION(__VA_ARGS__, 8, 2, dtype); break;                                             \
    case 9: FUNCTION(__VA_ARGS__, 9, 2, dtype); break;                                             \
    case 10: FUNCTION(__VA_ARGS__, 10, 2, dtype); break;                                           \
    case 11: FUNCTION(__VA_ARGS__, 11, 2, dtype); break;                                           \
    case 12: FUNCTION(__VA_ARGS__, 12, 2, dtype); break;
#else
#define WIDER_CASES(FUNCTION, ...)
#endif
#define WIDE(count) ((count) <= FEW ? 2 : 1)
#if TILE == 1
#define FOR_QUERIES(count, FUNCTION, ...) FUNCTION(__VA_ARGS__, 1, 1, dtype);
#else
#define FOR_QUERIES(count, FUNCTION, ...)                                                          \
    switch (count) {                                                                               \
        WIDER_CASES(FUNCTION, __VA_ARGS__)                                                         \
    case 1: FUNCTION(__VA_ARGS__, 1, 2, dtype); break;                                             \
    case 2: FUNCTION(__VA_ARGS__, 2, 2, dtype); break;                                             \
    case 3: FUNCTION(__VA_ARGS__, 3, WIDE(3), dtype); break;                                       \
    case 4: FUNCTION(__VA_ARGS__, 4, WIDE(4), dtype); break;                                       \
    case 5: FUNCTION(__VA_ARGS__, 5, WIDE(5), dtype); break;                                       \
    default: FUNCTION(__VA_ARGS__, 6, WIDE(6), dtype); break;                                      \
    }
#endif

/* acc[r][j] = fma(x[r stride], y[at + 16 j ..], acc[r][j]). */
SONDE_INLINE void multiply(vec16 acc[TILE][2], const float *x, int64_t stride, const void *y,
                           int64_t at, const int n, const int wide, const sonde_dtype dtype)
{
    if (wide == 1) {
        vec16 one = load_kv(y, at, dtype);
        SONDE_UNROLL
        for (int r = 0; r < n; r++) acc[r][0] = v_fma(v_set(x[r * stride]), one, acc[r][0]);
        return;
    }
    vec16 first = load_kv(y, at, dtype), second = load_kv(y, at + 16, dtype);
    SONDE_UNROLL
    for (int r = 0; r < n; r++) {
        vec16 factor = v_set(x[r * stride]);
        acc[r][0] = v_fma(factor, first, acc[r][0]);
        acc[r][1] = v_fma(factor, second, acc[r][1]);
    }
}

/* Fetches 32 elements of the page that follows. No call here: it would push the sums out of their
 * registers at every step. */
SONDE_INLINE void look_ahead(const char *page, int64_t at, const sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) {
        SONDE_PREFETCH(page + 4 * at);
        SONDE_PREFETCH(page + 4 * at + 64);
    } else {
        SONDE_PREFETCH(page + 2 * at);
    }
}

/* ---- scores */

/* Scores of 16 keys from `key` into the lanes of the largest: those that the query sees. */
SONDE_INLINE void note_largest(const group *g, int64_t query, int64_t key, vec16 s)
{
    float *lanes = g->lanes + 16 * query;
    if (key < g->lo[query] || key + 16 > g->hi[query])
        s = v_keep(s, v_set(-INFINITY), g->lo[query] - key, g->hi[query] - key);
    v_store(lanes, v_max(s, v_load(lanes)));
}

/* Dot products of a tile's queries with 16 * wide keys from `key`. */
SONDE_INLINE void dot_keys(const group *g, const tile *t, int64_t key, const int n, const int wide,
                           const sonde_dtype dtype)
{
    const void *page = g->span->pages[key / PAGE];
    const char *ahead = next_page(g, key);
    int64_t at = keys_at(g) + key % PAGE, head_dim = g->args->layout.head_dim;
    const float *q = g->q + t->first * head_dim;
    vec16 acc[TILE][2];
    SONDE_UNROLL
    for (int r = 0; r < n; r++) acc[r][0] = acc[r][1] = v_set(0.0f);
    for (int64_t i = 0; i < head_dim; i++, at += PAGE) {
        if (n <= LOOK_AHEAD) look_ahead(ahead, at, dtype);
        multiply(acc, q + i, head_dim, page, at, n, wide, dtype);
    }
    vec16 by = v_set((float)g->args->scale);
    float *s = score_at(g, t->first, key);
    bool whole = key >= t->all_lo && key + 16 * wide <= t->all_hi;
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) {
            vec16 score = v_mul(acc[r][j], by);
            v_store(s + r * PAGE + 16 * j, score);
            float *lanes = g->lanes + 16 * (t->first + r);
            if (g->biased) continue;
            if (whole) v_store(lanes, v_max(score, v_load(lanes)));
            else note_largest(g, t->first + r, key + 16 * j, score);
        }
}

SONDE_INLINE void dot_tile(const group *g, const tile *t, int64_t begin, int64_t end, const int n,
                           const int wide, const sonde_dtype dtype)
{
    int64_t step = 16 * wide;
    for (int64_t key = begin & ~(step - 1); key < end; key += step)
        dot_keys(g, t, key, n, wide, dtype);
}

SONDE_INLINE void dot_pages(const group *g, const sonde_dtype dtype)
{
    for (int64_t page = g->base; page < g->max_hi; page += PAGE)
        for (const tile *t = g->tiles; t < g->tiles + g->n_tiles; t++) {
            int64_t begin = SONDE_MAX(page, t->lo), end = SONDE_MIN(page + PAGE, t->hi);
            if (begin < end) FOR_QUERIES(t->n, dot_tile, g, t, begin, end)
        }
}

static float rounded_bf16(float x)
{
    return sonde_bf16_to_f32(sonde_f32_to_bf16(x));
}

/* s = fma(u, v, s) with u and v as sonde_attend_args says. */
static void add_alibi(const group *g, int64_t query, int64_t page)
{
    const sonde_attend_args *a = g->args;
    float slope = (float)a->slopes[g->head[query]], scale = (float)a->scale;
    seen of = seen_of(g, query, page);
    int64_t from = a->alibi == SONDE_ALIBI_RELATIVE ? page - (g->hi[query] - 1) : page;
    if (a->alibi == SONDE_ALIBI_ROUNDED) slope = rounded_bf16(slope);
    for (int64_t i = of.from; i < of.to; i++) {
        float at = (float)(from + i);
        if (a->alibi == SONDE_ALIBI_ROUNDED)
            of.s[i] = fmaf(scale, rounded_bf16(slope * rounded_bf16(at)), of.s[i]);
        else
            of.s[i] = fmaf(slope, at, of.s[i]);
    }
}

static void cap_scores(const group *g, int64_t query, int64_t page)
{
    float cap = (float)g->args->softcap;
    seen of = seen_of(g, query, page);
    for (int64_t i = of.from; i < of.to; i++) of.s[i] = cap * sonde_tanh_f32(of.s[i] / cap);
}

static void compute_scores(const group *g)
{
    sonde_dtype dtype = g->args->layout.dtype;
    if (dtype == SONDE_DTYPE_F32) dot_pages(g, SONDE_DTYPE_F32);
    else if (dtype == SONDE_DTYPE_BF16) dot_pages(g, SONDE_DTYPE_BF16);
    else dot_pages(g, SONDE_DTYPE_F16);
    for (int64_t page = g->base; g->biased && page < g->max_hi; page += PAGE)
        for (int64_t r = 0; r < g->n; r++) {
            if (g->args->slopes) add_alibi(g, r, page);
            if (g->args->softcap != 0.0) cap_scores(g, r, page);
        }
}

/* ---- softmax */

/* The largest score that each query sees, or its sink. Exact in any order; where there is a NaN it may
 * be that of the numbers alone, which no one sees: e and its sum are NaN then. */
static void find_largest(group *g)
{
    const float *sinks = g->args->sinks;
    for (int64_t page = g->base; g->biased && page < g->max_hi; page += PAGE)
        for (int64_t r = 0; r < g->n; r++) {
            seen of = seen_of(g, r, page);
            for (int64_t i = of.from & ~(int64_t)15; i < of.to; i += 16)
                note_largest(g, r, page + i, v_load(of.s + i));
        }
    for (int64_t r = 0; r < g->n; r++) {
        float *lanes = g->lanes + 16 * r, m = lanes[0];
        for (int j = 1; j < 16; j++) m = lanes[j] > m ? lanes[j] : m;
        g->largest[r] = sinks && sinks[g->head[r]] > m ? sinks[g->head[r]] : m;
    }
}

/* e = exp(s - m) in place over the keys of a page that a query sees, added to its lanes. */
static void exponentials(const group *g, int64_t query, int64_t page)
{
    seen of = seen_of(g, query, page);
    vec16 lanes = v_load(g->lanes + 16 * query), minus = v_set(-g->largest[query]);
    if (of.from == 0 && of.to == PAGE) {
        SONDE_UNROLL
        for (int i = 0; i < PAGE; i += 16) {
            vec16 e = v_exp_negative(v_add(v_load(of.s + i), minus));
            v_store(of.s + i, e);
            lanes = v_add(lanes, e);
        }
    } else {
        for (int64_t i = of.from & ~(int64_t)15; i < of.to; i += 16) {
            vec16 e = v_exp_negative(v_add(v_load(of.s + i), minus));
            v_store(of.s + i, e);
            lanes = v_keep(v_add(lanes, e), lanes, of.from - i, of.to - i);
        }
    }
    v_store(g->lanes + 16 * query, lanes);
}

static void compute_softmax(group *g)
{
    const float *sinks = g->args->sinks;
    find_largest(g);
    memset(g->lanes, 0, (size_t)(16 * g->n) * sizeof *g->lanes);
    for (int64_t page = g->base; page < g->max_hi; page += PAGE)
        for (int64_t r = 0; r < g->n; r++) exponentials(g, r, page);
    for (int64_t r = 0; r < g->n; r++) {
        float l = v_tree(v_load(g->lanes + 16 * r));
        if (sinks) l = l + sonde_exp_f32(sinks[g->head[r]] - g->largest[r]);
        g->inverse[r] = 1.0f / l;
    }
}

/* p = e (1 / l) of a page's keys, for queries [first, first + n). */
static void normalise(const group *g, int64_t first, int64_t n, int64_t page)
{
    float *s = score_at(g, first, page);
    for (int64_t r = first; r < first + n; r++) {
        vec16 inverse = v_set(g->inverse[r]);
        SONDE_UNROLL
        for (int i = 0; i < PAGE; i += 16, s += 16) v_store(s, v_mul(v_load(s), inverse));
    }
}

/* ---- values */

/* Chains of a tile's queries over keys [from, to) of a page that all of them see, 16 * wide dims from
 * `dim`, in the sums. */
SONDE_INLINE void mix_dims(const group *g, int64_t first, int64_t from, int64_t to, int64_t dim,
                           const int n, const int wide, const sonde_dtype dtype)
{
    int64_t dims = g->args->layout.value_dim;
    const void *page = g->span->pages[from / PAGE];
    const char *ahead = next_page(g, from);
    const float *p = score_at(g, first, from);
    float *sums = g->sums + first * dims + dim;
    vec16 acc[TILE][2];
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) acc[r][j] = v_load(sums + r * dims + 16 * j);
    int64_t at = values_at(g) + from % PAGE * dims + dim;
    for (int64_t i = 0; i < to - from; i++, at += dims) {
        if (n <= LOOK_AHEAD) look_ahead(ahead, at, dtype);
        multiply(acc, p + i, PAGE, page, at, n, wide, dtype);
    }
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) v_store(sums + r * dims + 16 * j, acc[r][j]);
}

/* Keys of a page one dim at a time, for the dims from `dim` that fill no vector. */
SONDE_INLINE void mix_last_dims(const group *g, int64_t query, int64_t from, int64_t to, int64_t dim,
                                const sonde_dtype dtype)
{
    int64_t dims = g->args->layout.value_dim;
    float *sum = g->sums + query * dims;
    const void *page = g->span->pages[from / PAGE];
    for (int64_t key = from; dim < dims && key < to; key++) {
        float p = *score_at(g, query, key);
        int64_t at = values_at(g) + key % PAGE * dims;
        for (int64_t i = dim; i < dims; i++)
            sum[i] = fmaf(p, load_kv_one(page, at + i, dtype), sum[i]);
    }
}

SONDE_INLINE void mix_keys(const group *g, int64_t first, int64_t from, int64_t to, const int n,
                           const int wide, const sonde_dtype dtype)
{
    int64_t dims = g->args->layout.value_dim, dim = 0;
    if (from >= to) return;
    for (; dim + 16 * wide <= dims; dim += 16 * wide)
        mix_dims(g, first, from, to, dim, n, wide, dtype);
    for (; dim + 16 <= dims; dim += 16) mix_dims(g, first, from, to, dim, n, 1, dtype);
    for (int64_t r = 0; r < n; r++) mix_last_dims(g, first + r, from, to, dim, dtype);
}

/* A page of keys [begin, end): those that every query of a tile sees together, those before and
 * behind query by query. */
SONDE_INLINE void mix_tile(const group *g, const tile *t, int64_t begin, int64_t end,
                           const sonde_dtype dtype)
{
    int64_t from = SONDE_MAX(begin, t->all_lo), to = SONDE_MIN(end, t->all_hi);
    if (from >= to) from = to = end;
    for (int64_t r = t->first; from > begin && r < t->first + t->n; r++)
        mix_keys(g, r, SONDE_MAX(begin, g->lo[r]), SONDE_MIN(from, g->hi[r]), 1, 2, dtype);
    FOR_QUERIES(t->n, mix_keys, g, t->first, from, to)
    for (int64_t r = t->first; to < end && r < t->first + t->n; r++)
        mix_keys(g, r, to, SONDE_MIN(end, g->hi[r]), 1, 2, dtype);
}

SONDE_INLINE void mix_page(const group *g, int64_t page, const sonde_dtype dtype)
{
    for (const tile *t = g->tiles; t < g->tiles + g->n_tiles; t++) {
        int64_t begin = SONDE_MAX(page, t->lo), end = SONDE_MIN(page + PAGE, t->hi);
        if (begin >= end) continue;
        if (!g->normalised) normalise(g, t->first, t->n, page);
        mix_tile(g, t, begin, end, dtype);
    }
}

/* z is the first block's sum, then each later one is added. */
static void add_block(const group *g, int64_t query, int64_t block)
{
    const sonde_attend_args *a = g->args;
    int64_t dims = a->layout.value_dim;
    const float *sum = g->sums + query * dims;
    float *z = (float *)a->z + g->row[query] * a->z_stride + g->head[query] * dims;
    if (g->lo[query] >= block) memcpy(z, sum, (size_t)dims * sizeof *z);
    else for (int64_t i = 0; i < dims; i++) z[i] = z[i] + sum[i];
}

static void compute_values(const group *g)
{
    size_t sums_bytes = (size_t)(g->n * g->args->layout.value_dim) * sizeof *g->sums;
    sonde_dtype dtype = g->args->layout.dtype;
    for (int64_t block = g->base & ~(int64_t)(KEY_BLOCK - 1); block < g->max_hi; block += KEY_BLOCK) {
        int64_t end = SONDE_MIN(block + KEY_BLOCK, g->max_hi);
        memset(g->sums, 0, sums_bytes);
        for (int64_t page = SONDE_MAX(block, g->base); page < end; page += PAGE) {
            if (dtype == SONDE_DTYPE_F32) mix_page(g, page, SONDE_DTYPE_F32);
            else if (dtype == SONDE_DTYPE_BF16) mix_page(g, page, SONDE_DTYPE_BF16);
            else mix_page(g, page, SONDE_DTYPE_F16);
        }
        for (int64_t r = 0; r < g->n; r++)
            if (g->hi[r] > block && g->lo[r] < end) add_block(g, r, block);
    }
}

/* ---- the queries of a unit */

/* Copies the visible scores of all queries to or from a ragged buffer. */
static void exchange(const group *g, void *ragged, bool out)
{
    for (int64_t r = 0; r < g->n; r++) {
        float *there = (float *)ragged + g->args->ragged[g->row[r]] +
                       g->head[r] * (g->hi[r] - g->lo[r]);
        for (int64_t page = g->base; page < g->max_hi; page += PAGE) {
            seen of = seen_of(g, r, page);
            if (of.from >= of.to) continue;
            float *here = of.s + of.from;
            memcpy(out ? there : here, out ? here : there, (size_t)(of.to - of.from) * sizeof *here);
            there += of.to - of.from;
        }
    }
}

static void run_phases(group *g)
{
    const sonde_attend_args *a = g->args;
    if (a->phases & SONDE_ATTEND_SCORES) {
        compute_scores(g);
        if (a->scores) exchange(g, a->scores, true);
    } else {
        bool softmax = (a->phases & SONDE_ATTEND_SOFTMAX) != 0;
        exchange(g, softmax ? a->scores : a->pattern, false);
    }
    g->normalised = (a->phases & SONDE_ATTEND_SOFTMAX) == 0 || a->pattern;
    if (a->phases & SONDE_ATTEND_SOFTMAX) {
        compute_softmax(g);
        for (int64_t page = g->base; g->normalised && page < g->max_hi; page += PAGE)
            normalise(g, 0, g->n, page);
        if (a->pattern) exchange(g, a->pattern, true);
    }
    if (a->phases & SONDE_ATTEND_VALUES) compute_values(g);
}

static void attend(const sonde_attend_args *a, int64_t begin, int64_t end, void *scratch)
{
    group g;
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_attend_unit u = sonde_attend_unit_at(a, unit);
        group_init(&g, a, &u, scratch);
        if (a->phases & SONDE_ATTEND_SCORES) gather_queries(&g);
        run_phases(&g);
    }
}
