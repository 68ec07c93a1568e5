/*
 * steps_attend.inc.h - attention (kernels.md 4), included once per level.
 *
 * A unit is some query rows of one sequence and one KV head: with the heads of its group up to
 * SONDE_ATTEND_QUERIES queries (a larger group is cut into units). They pass together over the keys,
 * so that a page of keys, then of values, is read from far away once, by the first tile of TILE queries,
 * whose sums stay in registers; the other tiles read what it kept of 16 or 32 keys or dims.
 *
 * Scores page by page (each an fma chain over head_dim) and the largest of each query; then e and
 * its 16-lane sum (lane = absolute position mod 16); then block by block of 256 keys from position 0
 * p = e (1 / l) and z: chains over the visible keys of a block, block sums added in order. Keys that
 * a query does not see may be multiplied but never enter a maximum, a sum or a chain.
 */

#include "kernels/steps_tile.inc.h"

#define KEY_BLOCK 256

/* ---- scores */

/* Dot products of a tile's queries with 16 * wide keys from `key`. */
SONDE_INLINE void dot_keys(const group *g, const tile *t, int64_t key, const int n, const int wide,
                           const sonde_dtype dtype, const lines_from from)
{
    int64_t head_dim = g->args->layout.head_dim, part = key % PAGE / (16 * wide);
    lines keys = {.page = g->span->pages[key / PAGE],
                  .n = head_dim,
                  .at = keys_at(g) + key % PAGE,
                  .step = PAGE,
                  .ahead = part_ahead(g, key, keys_at(g), head_dim * 16 * wide, part),
                  .kept = g->kept};
    const float *q = g->q + t->first * head_dim;
    vec16 acc[TILE][2];
    SONDE_UNROLL
    for (int r = 0; r < n; r++) acc[r][0] = acc[r][1] = v_set(0.0f);
    multiply_all(acc, q, head_dim, &keys, n, wide, dtype, from);
    vec16 by = v_set((float)g->args->scale);
    float *s = score_at(g, t->first, key);
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) v_store(s + r * PAGE + 16 * j, v_mul(acc[r][j], by));
}

SONDE_INLINE void dot_span(const group *g, const tile *t, int64_t begin, int64_t end, const int n,
                           const int wide, const sonde_dtype dtype, const lines_from from)
{
    int64_t step = 16 * wide;
    for (int64_t key = begin & ~(step - 1); key < end; key += step)
        dot_keys(g, t, key, n, wide, dtype, from);
}

/* Keys [begin, end) of a page. */
static void dot_tile(const group *g, const tile *t, int64_t begin, int64_t end)
{
    FOR_DTYPE(g->args->layout.dtype, FOR_QUERIES, t->n, dot_span, g, t, begin, end)
}

/* 16 * KEPT_WIDE keys: the first tile that sees one, and those behind it. */
static void dot_first_tile(const group *g, const tile *t, int64_t key)
{
    FOR_DTYPE(g->args->layout.dtype, FOR_TILE, t->n, AND_KEEP, dot_keys, g, t, key)
}

static void dot_next_tile(const group *g, const tile *t, int64_t key)
{
    FOR_TILE(SONDE_DTYPE_F32, t->n, FROM_KEPT, dot_keys, g, t, key)
}

static void dot_page(const group *g, int64_t page)
{
    for (const tile *t = g->tiles; !KEEPS(g) && t < g->tiles + g->n_tiles; t++) {
        int64_t begin = SONDE_MAX(page, t->lo), end = SONDE_MIN(page + PAGE, t->hi);
        if (begin < end) dot_tile(g, t, begin, end);
    }
    for (int64_t key = page; KEEPS(g) && key < page + PAGE; key += 16 * KEPT_WIDE) {
        bool kept = false;
        for (const tile *t = g->tiles; t < g->tiles + g->n_tiles; t++) {
            if (t->lo >= key + 16 * KEPT_WIDE || t->hi <= key) continue;
            if (kept) dot_next_tile(g, t, key);
            else dot_first_tile(g, t, key);
            kept = true;
        }
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
        else of.s[i] = fmaf(slope, at, of.s[i]);
    }
}

static void cap_scores(const group *g, int64_t query, int64_t page)
{
    float cap = (float)g->args->softcap;
    seen of = seen_of(g, query, page);
    for (int64_t i = of.from; i < of.to; i++) of.s[i] = cap * sonde_tanh_f32(of.s[i] / cap);
}

/* The largest scores of a page that each query sees, into its lanes. */
static void note_largest(const group *g, int64_t page)
{
    for (int64_t r = 0; r < g->n; r++) {
        seen of = seen_of(g, r, page);
        vec16 lanes = v_load(g->lanes + 16 * r), none = v_set(-INFINITY);
        if (of.from == 0 && of.to == PAGE) {
            SONDE_UNROLL
            for (int i = 0; i < PAGE; i += 16) lanes = v_max(v_load(of.s + i), lanes);
        } else {
            for (int64_t i = of.from & ~(int64_t)15; i < of.to; i += 16)
                lanes = v_max(v_keep(v_load(of.s + i), none, of.from - i, of.to - i), lanes);
        }
        v_store(g->lanes + 16 * r, lanes);
    }
}

static void compute_scores(const group *g)
{
    for (int64_t page = g->base; page < g->max_hi; page += PAGE) {
        dot_page(g, page);
        for (int64_t r = 0; r < g->n; r++) {
            if (g->args->slopes) add_alibi(g, r, page);
            if (g->args->softcap != 0.0) cap_scores(g, r, page);
        }
        note_largest(g, page);
    }
}

/* ---- softmax */

/* The largest score that each query sees, or its sink. Exact in any order; where there is a NaN it may
 * be that of the numbers alone, which no one sees: e and its sum are NaN then. */
static void find_largest(group *g)
{
    const float *sinks = g->args->sinks;
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

/* p = e (1 / l) of a page's keys. */
static void normalise(const group *g, int64_t page)
{
    float *s = score_at(g, 0, page);
    for (int64_t r = 0; r < g->n; r++) {
        vec16 inverse = v_set(g->inverse[r]);
        SONDE_UNROLL
        for (int i = 0; i < PAGE; i += 16, s += 16) v_store(s, v_mul(v_load(s), inverse));
    }
}

/* ---- values */

/* Chains of queries from `first` over keys [begin, end) of a page that all of them see, 16 * wide dims
 * from `dim`, in the sums. */
SONDE_INLINE void mix_dims(const group *g, int64_t first, int64_t begin, int64_t end, int64_t dim,
                           const int n, const int wide, const sonde_dtype dtype,
                           const lines_from from)
{
    int64_t dims = g->args->layout.value_dim;
    lines values = {.page = g->span->pages[begin / PAGE],
                    .n = end - begin,
                    .at = values_at(g) + begin % PAGE * dims + dim,
                    .step = dims,
                    .ahead = part_ahead(g, begin, values_at(g), PAGE * 16, dim / 16),
                    .kept = g->kept};
    const float *p = score_at(g, first, begin);
    float *sums = g->sums + first * dims + dim;
    vec16 acc[TILE][2];
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) acc[r][j] = v_load(sums + r * dims + 16 * j);
    multiply_all(acc, p, PAGE, &values, n, wide, dtype, from);
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) v_store(sums + r * dims + 16 * j, acc[r][j]);
}

/* Keys of a page one dim at a time, for the dims from `dim` that fill no vector. */
SONDE_INLINE void mix_last_dims(const group *g, int64_t query, int64_t from, int64_t to,
                                int64_t dim, const sonde_dtype dtype)
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

SONDE_INLINE void mix_span(const group *g, int64_t first, int64_t begin, int64_t end, const int n,
                           const int wide, const sonde_dtype dtype, const lines_from from)
{
    int64_t dims = g->args->layout.value_dim, dim = 0;
    for (; dim + 16 * wide <= dims; dim += 16 * wide)
        mix_dims(g, first, begin, end, dim, n, wide, dtype, from);
    for (; dim + 16 <= dims; dim += 16) mix_dims(g, first, begin, end, dim, n, 1, dtype, from);
    for (int64_t r = 0; r < n; r++) mix_last_dims(g, first + r, begin, end, dim, dtype);
}

/* Keys [begin, end) of a page that all of n queries from `first` see, all dims. */
static void mix_keys(const group *g, int64_t first, int64_t n, int64_t begin, int64_t end)
{
    if (begin < end)
        FOR_DTYPE(g->args->layout.dtype, FOR_QUERIES, n, mix_span, g, first, begin, end)
}

/* Keys [begin, end) of a page: those that every query of a tile sees together, those before and
 * behind query by query. */
static void mix_tile(const group *g, const tile *t, int64_t begin, int64_t end)
{
    int64_t from = SONDE_MAX(begin, t->all_lo), to = SONDE_MIN(end, t->all_hi);
    if (from >= to) from = to = end;
    for (int64_t r = t->first; from > begin && r < t->first + t->n; r++)
        mix_keys(g, r, 1, SONDE_MAX(begin, g->lo[r]), SONDE_MIN(from, g->hi[r]));
    mix_keys(g, t->first, t->n, from, to);
    for (int64_t r = t->first; to < end && r < t->first + t->n; r++)
        mix_keys(g, r, 1, to, SONDE_MIN(end, g->hi[r]));
}

/* 16 * KEPT_WIDE dims of keys that all tiles see: the first tile, and those behind it. */
static void mix_first_tile(const group *g, const tile *t, int64_t begin, int64_t end, int64_t dim)
{
    FOR_DTYPE(g->args->layout.dtype, FOR_TILE, t->n, AND_KEEP, mix_dims, g, t->first, begin, end,
              dim)
}

static void mix_next_tile(const group *g, const tile *t, int64_t begin, int64_t end, int64_t dim)
{
    FOR_TILE(SONDE_DTYPE_F32, t->n, FROM_KEPT, mix_dims, g, t->first, begin, end, dim)
}

/* A page that all tiles see whole, where dims fill 16 * KEPT_WIDE. */
static void mix_whole(const group *g, int64_t page)
{
    for (int64_t dim = 0; dim < g->args->layout.value_dim; dim += 16 * KEPT_WIDE) {
        mix_first_tile(g, g->tiles, page, page + PAGE, dim);
        for (const tile *t = g->tiles + 1; t < g->tiles + g->n_tiles; t++)
            mix_next_tile(g, t, page, page + PAGE, dim);
    }
}

static void mix_page(const group *g, int64_t page)
{
    bool whole = KEEPS(g) && g->args->layout.value_dim % (16 * KEPT_WIDE) == 0;
    for (const tile *t = g->tiles; t < g->tiles + g->n_tiles; t++)
        whole = whole && t->all_lo <= page && t->all_hi >= page + PAGE;
    if (!g->normalised) normalise(g, page);
    if (whole) {
        mix_whole(g, page);
        return;
    }
    for (const tile *t = g->tiles; t < g->tiles + g->n_tiles; t++) {
        int64_t begin = SONDE_MAX(page, t->lo), end = SONDE_MIN(page + PAGE, t->hi);
        if (begin < end) mix_tile(g, t, begin, end);
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
    else
        for (int64_t i = 0; i < dims; i++) z[i] = z[i] + sum[i];
}

static void compute_values(const group *g)
{
    size_t sums_bytes = (size_t)(g->n * g->args->layout.value_dim) * sizeof *g->sums;
    for (int64_t block = g->base & ~(int64_t)(KEY_BLOCK - 1); block < g->max_hi;
         block += KEY_BLOCK) {
        int64_t end = SONDE_MIN(block + KEY_BLOCK, g->max_hi);
        memset(g->sums, 0, sums_bytes);
        for (int64_t page = SONDE_MAX(block, g->base); page < end; page += PAGE) mix_page(g, page);
        for (int64_t r = 0; r < g->n; r++)
            if (g->hi[r] > block && g->lo[r] < end) add_block(g, r, block);
    }
}

/* ---- the queries of a unit */

/* Copies the visible scores of all queries to or from a ragged buffer. */
static void exchange(const group *g, void *ragged, bool out)
{
    for (int64_t r = 0; r < g->n; r++) {
        float *there =
            (float *)ragged + g->args->ragged[g->row[r]] + g->head[r] * (g->hi[r] - g->lo[r]);
        for (int64_t page = g->base; page < g->max_hi; page += PAGE) {
            seen of = seen_of(g, r, page);
            if (of.from >= of.to) continue;
            float *here = of.s + of.from;
            memcpy(out ? there : here, out ? here : there,
                   (size_t)(of.to - of.from) * sizeof *here);
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
        for (int64_t page = g->base; softmax && page < g->max_hi; page += PAGE)
            note_largest(g, page);
    }
    g->normalised = (a->phases & SONDE_ATTEND_SOFTMAX) == 0 || a->pattern;
    if (a->phases & SONDE_ATTEND_SOFTMAX) {
        compute_softmax(g);
        for (int64_t page = g->base; g->normalised && page < g->max_hi; page += PAGE)
            normalise(g, page);
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
