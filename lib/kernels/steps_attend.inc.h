/*
 * steps_attend.inc.h - the KV cache and attention (kernels.md 4), included once per level.
 *
 * A unit is some query rows of one sequence and one KV head: with the heads of its group up to
 * twelve queries (a larger group is cut into units), which share every key and value that is loaded.
 * Scores page by page (each an fma chain over head_dim), exact maximum, e and its 16-lane sum (lane
 * = absolute position mod 16), p = e (1 / l), then z: chains over the visible keys of each 256-key
 * block counted from position 0, block sums added in order. Keys that a query does not see may be
 * multiplied but never enter a maximum, a sum or a chain.
 *
 * Scratch: scores [12][stride], then block sums [12][value_dim].
 */

#define PAGE SONDE_PAGE_POSITIONS
#define QUERIES SONDE_ATTEND_QUERIES
#define KEY_BLOCK 256
/* Queries of a tile in registers, and times 16 keys or dims; up to FEW queries take 32. */
#if defined(__AVX512F__)
#define TILE 12
#define FEW 12
#else
#define TILE 6
#define FEW 2
#endif

/* ---- cache ------------------------------------------------------------------------------------------- */

static void store_element(sonde_dtype dtype, void *base, int64_t index, float value)
{
    if (dtype == SONDE_DTYPE_F32) ((float *)base)[index] = value;
    else if (dtype == SONDE_DTYPE_BF16) ((uint16_t *)base)[index] = sonde_f32_to_bf16(value);
    else ((uint16_t *)base)[index] = sonde_f32_to_f16(value);
}

/* A unit: all rows of one span for one KV head. */
static void cache(const sonde_cache_args *a, int64_t begin, int64_t end)
{
    const sonde_kv_layout *l = &a->layout;
    int64_t per_head = (l->head_dim + l->value_dim) * PAGE;
    for (int64_t unit = begin; unit < end; unit++) {
        const sonde_span *span = &a->spans[unit / l->n_kv_heads];
        int64_t head = unit % l->n_kv_heads;
        for (int64_t r = 0; r < span->n_rows; r++) {
            int64_t position = span->position + r, slot = position % PAGE;
            void *page = span->pages[position / PAGE];
            const float *k = (const float *)a->k + (span->row + r) * a->k_stride + head * l->head_dim;
            const float *v = (const float *)a->v + (span->row + r) * a->v_stride + head * l->value_dim;
            int64_t k_at = head * per_head, v_at = k_at + l->head_dim * PAGE + slot * l->value_dim;
            for (int64_t i = 0; i < l->head_dim; i++)
                store_element(l->dtype, page, k_at + i * PAGE + slot, k[i]);
            for (int64_t i = 0; i < l->value_dim; i++)
                store_element(l->dtype, page, v_at + i, v[i]);
        }
    }
}

/* ---- attention --------------------------------------------------------------------------------------- */

typedef struct tile {
    const sonde_attend_args *args;
    const sonde_span *span;
    int64_t kv_head, n;               /* queries */
    int64_t row[QUERIES], head[QUERIES];
    int64_t lo[QUERIES], hi[QUERIES]; /* keys [lo, hi) each query sees */
    const float *q[QUERIES];
    int64_t min_lo, max_hi, stride;   /* over the tile; row length of the scores */
    float *scores, *sums;             /* [QUERIES][stride], [QUERIES][value_dim] */
} tile;

SONDE_INLINE vec16 load_kv(const void *base, int64_t index, sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) return v_load((const float *)base + index);
    if (dtype == SONDE_DTYPE_BF16) return v_load_bf16((const uint16_t *)base + index);
    return v_load_f16((const uint16_t *)base + index);
}

SONDE_INLINE float load_kv_one(const void *base, int64_t index, sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) return ((const float *)base)[index];
    if (dtype == SONDE_DTYPE_BF16) return sonde_bf16_to_f32(((const uint16_t *)base)[index]);
    return sonde_f16_to_f32(((const uint16_t *)base)[index]);
}

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

/* ---- scores */

/* Dot products of n queries from `first` with 16 * wide keys from `key`. */
SONDE_INLINE void dot_keys(const tile *t, int64_t first, int64_t key, const int n, const int wide,
                           const sonde_dtype dtype)
{
    const sonde_kv_layout *l = &t->args->layout;
    const void *page = t->span->pages[key / PAGE];
    int64_t at = t->kv_head * (l->head_dim + l->value_dim) * PAGE + key % PAGE;
    const float *q[TILE];
    vec16 acc[TILE][2];
    SONDE_UNROLL
    for (int r = 0; r < n; r++) {
        q[r] = t->q[first + r];
        acc[r][0] = acc[r][1] = v_set(0.0f);
    }
    for (int64_t i = 0; i < l->head_dim; i++, at += PAGE) {
        vec16 k0 = load_kv(page, at, dtype), k1 = k0;
        if (wide > 1) k1 = load_kv(page, at + 16, dtype);
        SONDE_UNROLL
        for (int r = 0; r < n; r++) {
            vec16 x = v_set(q[r][i]);
            acc[r][0] = v_fma(x, k0, acc[r][0]);
            if (wide > 1) acc[r][1] = v_fma(x, k1, acc[r][1]);
        }
    }
    vec16 by = v_set((float)t->args->scale);
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++)
            v_store(t->scores + (first + r) * t->stride + key + 16 * j, v_mul(acc[r][j], by));
}

SONDE_INLINE void dot_tile(const tile *t, int64_t first, const int n, const int wide,
                           const sonde_dtype dtype)
{
    int64_t step = 16 * wide;
    for (int64_t key = t->min_lo & ~(step - 1); key < t->max_hi; key += step)
        dot_keys(t, first, key, n, wide, dtype);
}

SONDE_INLINE void dot_all(const tile *t, const sonde_dtype dtype)
{
    for (int64_t first = 0; first < t->n; first += TILE)
        FOR_QUERIES(SONDE_MIN(TILE, t->n - first), dot_tile, t, first)
}

static float rounded_bf16(float x)
{
    return sonde_bf16_to_f32(sonde_f32_to_bf16(x));
}

/* s = fma(u, v, s) with u and v as sonde_attend_args says. */
static void add_alibi(const tile *t, int64_t query)
{
    const sonde_attend_args *a = t->args;
    float slope = (float)a->slopes[t->head[query]], scale = (float)a->scale;
    float *s = t->scores + query * t->stride;
    int64_t lo = t->lo[query], hi = t->hi[query];
    int64_t from = a->alibi == SONDE_ALIBI_RELATIVE ? hi - 1 : 0;
    if (a->alibi == SONDE_ALIBI_ROUNDED) {
        slope = rounded_bf16(slope);
        for (int64_t key = lo; key < hi; key++)
            s[key] = fmaf(scale, rounded_bf16(slope * rounded_bf16((float)key)), s[key]);
        return;
    }
    for (int64_t key = lo; key < hi; key++) s[key] = fmaf(slope, (float)(key - from), s[key]);
}

static void compute_scores(const tile *t)
{
    sonde_dtype dtype = t->args->layout.dtype;
    if (dtype == SONDE_DTYPE_F32) dot_all(t, SONDE_DTYPE_F32);
    else if (dtype == SONDE_DTYPE_BF16) dot_all(t, SONDE_DTYPE_BF16);
    else dot_all(t, SONDE_DTYPE_F16);
    for (int64_t r = 0; t->args->slopes && r < t->n; r++) add_alibi(t, r);
    float cap = (float)t->args->softcap;
    for (int64_t r = 0; cap != 0.0f && r < t->n; r++) {
        float *s = t->scores + r * t->stride;
        for (int64_t key = t->lo[r]; key < t->hi[r]; key++) s[key] = cap * sonde_tanh_f32(s[key] / cap);
    }
}

/* ---- softmax */

/* e = exp(s - m) in place over the visible keys, and their 16-lane sum. */
static float exponentials(float *s, int64_t lo, int64_t hi, float m)
{
    float lanes[16] = {0};
    int64_t key = lo;
    for (; key < hi && key % 16 != 0; key++) {
        s[key] = sonde_exp_f32(s[key] - m);
        lanes[key % 16] = lanes[key % 16] + s[key];
    }
    for (; key + 16 <= hi; key += 16)
        for (int j = 0; j < 16; j++) {
            s[key + j] = sonde_exp_f32(s[key + j] - m);
            lanes[j] = lanes[j] + s[key + j];
        }
    for (; key < hi; key++) {
        s[key] = sonde_exp_f32(s[key] - m);
        lanes[key % 16] = lanes[key % 16] + s[key];
    }
    return v_tree(v_load(lanes));
}

static void softmax_query(const tile *t, int64_t query)
{
    const float *sinks = t->args->sinks;
    float *s = t->scores + query * t->stride;
    int64_t lo = t->lo[query], hi = t->hi[query], head = t->head[query];
    float m = largest_of(s + lo, hi - lo);
    if (sinks && sinks[head] > m) m = sinks[head];
    float l = exponentials(s, lo, hi, m);
    if (sinks) l = l + sonde_exp_f32(sinks[head] - m);
    float inverse = 1.0f / l;
    for (int64_t key = lo; key < hi; key++) s[key] = s[key] * inverse;
}

/* ---- values */

SONDE_INLINE int64_t value_at(const tile *t, int64_t key)
{
    const sonde_kv_layout *l = &t->args->layout;
    return t->kv_head * (l->head_dim + l->value_dim) * PAGE + l->head_dim * PAGE +
           key % PAGE * l->value_dim;
}

/* Chains of n queries from `first` over keys that all of them see, 16 * wide dims from `dim`. */
SONDE_INLINE void mix_dims(const tile *t, int64_t first, int64_t from, int64_t to, int64_t dim,
                           const int n, const int wide, const sonde_dtype dtype)
{
    int64_t dims = t->args->layout.value_dim;
    const float *p[TILE];
    float *sums = t->sums + first * dims + dim;
    vec16 acc[TILE][2];
    SONDE_UNROLL
    for (int r = 0; r < n; r++) {
        p[r] = t->scores + (first + r) * t->stride;
        for (int j = 0; j < wide; j++) acc[r][j] = v_load(sums + r * dims + 16 * j);
    }
    for (int64_t key = from; key < to;) {
        const void *page = t->span->pages[key / PAGE];
        int64_t at = value_at(t, key) + dim, end = SONDE_MIN(to, (key / PAGE + 1) * PAGE);
        for (; key < end; key++, at += dims) {
            vec16 v0 = load_kv(page, at, dtype), v1 = v0;
            if (wide > 1) v1 = load_kv(page, at + 16, dtype);
            SONDE_UNROLL
            for (int r = 0; r < n; r++) {
                vec16 x = v_set(p[r][key]);
                acc[r][0] = v_fma(x, v0, acc[r][0]);
                if (wide > 1) acc[r][1] = v_fma(x, v1, acc[r][1]);
            }
        }
    }
    SONDE_UNROLL
    for (int r = 0; r < n; r++)
        for (int j = 0; j < wide; j++) v_store(sums + r * dims + 16 * j, acc[r][j]);
}

/* Keys [from, to) one dim at a time, for the dims from `dim` that fill no vector. */
SONDE_INLINE void mix_last_dims(const tile *t, int64_t query, int64_t from, int64_t to, int64_t dim,
                                const sonde_dtype dtype)
{
    int64_t dims = t->args->layout.value_dim;
    float *sum = t->sums + query * dims;
    for (int64_t key = from; dim < dims && key < to; key++) {
        const void *page = t->span->pages[key / PAGE];
        float p = t->scores[query * t->stride + key];
        int64_t at = value_at(t, key);
        for (int64_t i = dim; i < dims; i++) sum[i] = fmaf(p, load_kv_one(page, at + i, dtype), sum[i]);
    }
}

SONDE_INLINE void mix_tile(const tile *t, int64_t first, int64_t from, int64_t to, const int n,
                           const int wide, const sonde_dtype dtype)
{
    int64_t dims = t->args->layout.value_dim, dim = 0;
    if (from >= to) return;
    for (; dim + 16 * wide <= dims; dim += 16 * wide)
        mix_dims(t, first, from, to, dim, n, wide, dtype);
    for (; dim + 16 <= dims; dim += 16) mix_dims(t, first, from, to, dim, n, 1, dtype);
    for (int64_t r = 0; r < n; r++) mix_last_dims(t, first + r, from, to, dim, dtype);
}

/* Chains over the visible keys of [begin, end), a part of one 256-key block, into the sums: keys
 * that every query of a tile sees together, those before and behind query by query. */
SONDE_INLINE void mix_block(const tile *t, int64_t begin, int64_t end, const sonde_dtype dtype)
{
    for (int64_t first = 0; first < t->n; first += TILE) {
        int64_t n = SONDE_MIN(TILE, t->n - first), from = begin, to = end;
        for (int64_t r = first; r < first + n; r++) {
            from = SONDE_MAX(from, t->lo[r]);
            to = SONDE_MIN(to, t->hi[r]);
        }
        if (from >= to) from = to = end;
        for (int64_t r = first; r < first + n; r++)
            mix_tile(t, r, SONDE_MAX(begin, t->lo[r]), SONDE_MIN(from, t->hi[r]), 1, 2, dtype);
        FOR_QUERIES(n, mix_tile, t, first, from, to)
        for (int64_t r = first; r < first + n; r++)
            mix_tile(t, r, to, SONDE_MIN(end, t->hi[r]), 1, 2, dtype);
    }
}

/* z is the first block's sum, then each later one is added. */
static void add_block(const tile *t, int64_t query, int64_t block)
{
    const sonde_attend_args *a = t->args;
    int64_t dims = a->layout.value_dim;
    bool first = t->lo[query] >= block;
    const float *sum = t->sums + query * dims;
    float *z = (float *)a->z + t->row[query] * a->z_stride + t->head[query] * dims;
    for (int64_t i = 0; i < dims; i++) z[i] = first ? sum[i] : z[i] + sum[i];
}

static void compute_values(const tile *t)
{
    size_t sums_bytes = (size_t)(t->n * t->args->layout.value_dim) * sizeof *t->sums;
    sonde_dtype dtype = t->args->layout.dtype;
    for (int64_t block = t->min_lo & ~(int64_t)(KEY_BLOCK - 1); block < t->max_hi;
         block += KEY_BLOCK) {
        int64_t end = SONDE_MIN(block + KEY_BLOCK, t->max_hi);
        memset(t->sums, 0, sums_bytes);
        if (dtype == SONDE_DTYPE_F32) mix_block(t, block, end, SONDE_DTYPE_F32);
        else if (dtype == SONDE_DTYPE_BF16) mix_block(t, block, end, SONDE_DTYPE_BF16);
        else mix_block(t, block, end, SONDE_DTYPE_F16);
        for (int64_t r = 0; r < t->n; r++)
            if (t->hi[r] > block && t->lo[r] < end) add_block(t, r, block);
    }
}

/* ---- a tile of queries */

/* Copies the visible scores of a tile to or from a ragged buffer. */
static void exchange(const tile *t, void *ragged, bool out)
{
    for (int64_t r = 0; r < t->n; r++) {
        int64_t n = t->hi[r] - t->lo[r];
        float *there = (float *)ragged + t->args->ragged[t->row[r]] + t->head[r] * n;
        float *here = t->scores + r * t->stride + t->lo[r];
        memcpy(out ? there : here, out ? here : there, (size_t)n * sizeof *here);
    }
}

static void run_phases(const tile *t)
{
    const sonde_attend_args *a = t->args;
    if (a->phases & SONDE_ATTEND_SCORES) {
        compute_scores(t);
        if (a->scores) exchange(t, a->scores, true);
    } else {
        bool softmax = (a->phases & SONDE_ATTEND_SOFTMAX) != 0;
        exchange(t, softmax ? a->scores : a->pattern, false);
    }
    if (a->phases & SONDE_ATTEND_SOFTMAX) {
        for (int64_t r = 0; r < t->n; r++) softmax_query(t, r);
        if (a->pattern) exchange(t, a->pattern, true);
    }
    if (a->phases & SONDE_ATTEND_VALUES) compute_values(t);
}

/* Queries [begin, end) of a unit: its rows in order, each with all heads of the unit. */
static tile tile_of(const sonde_attend_args *a, const sonde_attend_unit *u, int64_t begin,
                    int64_t end, float *scratch)
{
    tile t = {.args = a, .span = u->span, .kv_head = u->kv_head, .n = end - begin,
              .min_lo = INT64_MAX};
    for (int64_t r = 0; r < t.n; r++) {
        int64_t row = u->first + (begin + r) / u->n_heads, position = u->span->position + row;
        t.row[r] = u->span->row + row;
        t.head[r] = u->first_head + (begin + r) % u->n_heads;
        t.q[r] = (const float *)a->q + t.row[r] * a->q_stride + t.head[r] * a->layout.head_dim;
        t.lo[r] = sonde_first_visible(a->mask, a->window, position);
        t.hi[r] = position + 1;
        t.min_lo = SONDE_MIN(t.min_lo, t.lo[r]);
        t.max_hi = SONDE_MAX(t.max_hi, t.hi[r]);
    }
    t.stride = sonde_attend_stride(t.max_hi);
    t.scores = scratch;
    t.sums = t.scores + QUERIES * t.stride;
    return t;
}

static void attend(const sonde_attend_args *a, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_attend_unit u = sonde_attend_unit_at(a, unit);
        int64_t queries = u.n_rows * u.n_heads;
        for (int64_t first = 0; first < queries; first += QUERIES) {
            tile t = tile_of(a, &u, first, SONDE_MIN(queries, first + QUERIES), scratch);
            run_phases(&t);
        }
    }
}
