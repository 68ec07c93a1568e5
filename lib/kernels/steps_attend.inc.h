/*
 * steps_attend.inc.h - the KV cache and attention (kernels.md 4), included once per level.
 *
 * A unit is up to four query rows of one sequence and one KV head. For each query head of its
 * group: scores page by page (each an fma chain over head_dim), exact maximum, e and its 16-lane
 * sum (lane = absolute position mod 16), p = e (1 / l), then z: chains over the visible keys of
 * each 256-key block counted from position 0, block sums added in order. Keys that a row does not
 * see may be multiplied but never enter a maximum, a sum or a chain.
 *
 * Scratch: scores [4][padded keys], then block sums [4][value_dim].
 */

#define PAGE SONDE_PAGE_POSITIONS
#define ROWS SONDE_ATTEND_ROWS
#define KEY_BLOCK 256

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
    int64_t first_row, n_rows;        /* rows of the batch */
    int64_t lo[ROWS], hi[ROWS];       /* keys [lo, hi) each row sees */
    int64_t min_lo, max_hi, padded;   /* over the tile; row length of the scores */
    int64_t kv_head, head;
    float *scores, *sums;             /* [ROWS][padded], [ROWS][value_dim] */
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

static const float *query(const tile *t, int64_t row)
{
    const sonde_attend_args *a = t->args;
    int64_t at = row < t->n_rows ? row : t->n_rows - 1;
    return (const float *)a->q + (t->first_row + at) * a->q_stride + t->head * a->layout.head_dim;
}

/* Dot products of four rows with 32 keys of a page: eight chains of 16 lanes. */
SONDE_INLINE void dot_half_page(const tile *t, const void *page, int64_t k_at, int64_t half,
                                int64_t key, float scale, sonde_dtype dtype)
{
    const float *q[ROWS];
    vec16 acc[ROWS][2];
    for (int r = 0; r < ROWS; r++) {
        q[r] = query(t, r);
        acc[r][0] = acc[r][1] = v_set(0.0f);
    }
    for (int64_t i = 0; i < t->args->layout.head_dim; i++) {
        int64_t at = k_at + i * PAGE + half * 32;
        vec16 k0 = load_kv(page, at, dtype), k1 = load_kv(page, at + 16, dtype);
        SONDE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            vec16 x = v_set(q[r][i]);
            acc[r][0] = v_fma(x, k0, acc[r][0]);
            acc[r][1] = v_fma(x, k1, acc[r][1]);
        }
    }
    vec16 by = v_set(scale);
    for (int r = 0; r < ROWS; r++) {
        v_store(t->scores + r * t->padded + key, v_mul(acc[r][0], by));
        v_store(t->scores + r * t->padded + key + 16, v_mul(acc[r][1], by));
    }
}

SONDE_INLINE void dot_pages(const tile *t, sonde_dtype dtype)
{
    const sonde_attend_args *a = t->args;
    int64_t per_head = (a->layout.head_dim + a->layout.value_dim) * PAGE;
    for (int64_t key = t->min_lo & ~(int64_t)31; key < t->max_hi; key += 32)
        dot_half_page(t, t->span->pages[key / PAGE], t->kv_head * per_head, key % PAGE / 32, key,
                      (float)a->scale, dtype);
}

static void compute_scores(const tile *t)
{
    sonde_dtype dtype = t->args->layout.dtype;
    if (dtype == SONDE_DTYPE_F32) dot_pages(t, SONDE_DTYPE_F32);
    else if (dtype == SONDE_DTYPE_BF16) dot_pages(t, SONDE_DTYPE_BF16);
    else dot_pages(t, SONDE_DTYPE_F16);
    float cap = (float)t->args->softcap;
    for (int64_t r = 0; cap != 0.0f && r < t->n_rows; r++) {
        float *s = t->scores + r * t->padded;
        for (int64_t key = t->lo[r]; key < t->hi[r]; key++) s[key] = cap * sonde_tanh_f32(s[key] / cap);
    }
}

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

static void softmax_row(const tile *t, int64_t row)
{
    const float *sinks = t->args->sinks;
    float *s = t->scores + row * t->padded;
    int64_t lo = t->lo[row], hi = t->hi[row];
    float m = s[lo];
    for (int64_t key = lo + 1; key < hi; key++) m = s[key] > m ? s[key] : m;
    if (sinks && sinks[t->head] > m) m = sinks[t->head];
    float l = exponentials(s, lo, hi, m);
    if (sinks) l = l + sonde_exp_f32(sinks[t->head] - m);
    float inverse = 1.0f / l;
    for (int64_t key = lo; key < hi; key++) s[key] = s[key] * inverse;
}

/* One key after another for one row: the edges of a tile and widths below 16. */
static void mix_keys_row(const tile *t, int64_t row, int64_t from, int64_t to, int64_t first_dim,
                         sonde_dtype dtype)
{
    const sonde_kv_layout *l = &t->args->layout;
    int64_t v_at = t->kv_head * (l->head_dim + l->value_dim) * PAGE + l->head_dim * PAGE;
    float *sum = t->sums + row * l->value_dim;
    for (int64_t key = from; key < to; key++) {
        const void *page = t->span->pages[key / PAGE];
        float p = t->scores[row * t->padded + key];
        int64_t at = v_at + key % PAGE * l->value_dim;
        for (int64_t i = first_dim; i < l->value_dim; i++)
            sum[i] = fmaf(p, load_kv_one(page, at + i, dtype), sum[i]);
    }
}

/* Keys that all four rows see, 32 or 16 dims at a time in registers. */
SONDE_INLINE void mix_keys_tile(const tile *t, int64_t from, int64_t to, int64_t dim, int wide,
                                sonde_dtype dtype)
{
    const sonde_kv_layout *l = &t->args->layout;
    int64_t v_at = t->kv_head * (l->head_dim + l->value_dim) * PAGE + l->head_dim * PAGE;
    vec16 acc[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < wide; j++) acc[r][j] = v_load(t->sums + r * l->value_dim + dim + 16 * j);
    for (int64_t key = from; key < to; key++) {
        const void *page = t->span->pages[key / PAGE];
        int64_t at = v_at + key % PAGE * l->value_dim + dim;
        vec16 v0 = load_kv(page, at, dtype), v1 = v0;
        if (wide > 1) v1 = load_kv(page, at + 16, dtype);
        SONDE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            vec16 p = v_set(t->scores[r * t->padded + key]);
            acc[r][0] = v_fma(p, v0, acc[r][0]);
            if (wide > 1) acc[r][1] = v_fma(p, v1, acc[r][1]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < wide; j++) v_store(t->sums + r * l->value_dim + dim + 16 * j, acc[r][j]);
}

/* Chains over the visible keys of [begin, end), a part of one 256-key block, into the sums. */
SONDE_INLINE void mix_block(const tile *t, int64_t begin, int64_t end, sonde_dtype dtype)
{
    int64_t dims = t->args->layout.value_dim, dim = 0, from = begin, to = end;
    for (int64_t r = 0; r < t->n_rows; r++) {
        from = SONDE_MAX(from, t->lo[r]);
        to = SONDE_MIN(to, t->hi[r]);
    }
    bool common = t->n_rows == ROWS && from < to;
    if (!common) from = to = end;
    for (int64_t r = 0; r < t->n_rows; r++)
        mix_keys_row(t, r, SONDE_MAX(begin, t->lo[r]), SONDE_MIN(from, t->hi[r]), 0, dtype);
    if (!common) return;
    for (; dim + 32 <= dims; dim += 32) mix_keys_tile(t, from, to, dim, 2, dtype);
    for (; dim + 16 <= dims; dim += 16) mix_keys_tile(t, from, to, dim, 1, dtype);
    for (int64_t r = 0; r < ROWS; r++) {
        if (dim < dims) mix_keys_row(t, r, from, to, dim, dtype);
        mix_keys_row(t, r, to, SONDE_MIN(end, t->hi[r]), 0, dtype);
    }
}

static float *output(const tile *t, int64_t row)
{
    const sonde_attend_args *a = t->args;
    return (float *)a->z + (t->first_row + row) * a->z_stride + t->head * a->layout.value_dim;
}

static void compute_values(const tile *t)
{
    int64_t dims = t->args->layout.value_dim;
    sonde_dtype dtype = t->args->layout.dtype;
    for (int64_t block = t->min_lo & ~(int64_t)(KEY_BLOCK - 1); block < t->max_hi;
         block += KEY_BLOCK) {
        int64_t end = SONDE_MIN(block + KEY_BLOCK, t->max_hi);
        memset(t->sums, 0, (size_t)(ROWS * dims) * sizeof *t->sums);
        if (dtype == SONDE_DTYPE_F32) mix_block(t, block, end, SONDE_DTYPE_F32);
        else if (dtype == SONDE_DTYPE_BF16) mix_block(t, block, end, SONDE_DTYPE_BF16);
        else mix_block(t, block, end, SONDE_DTYPE_F16);
        for (int64_t r = 0; r < t->n_rows; r++) {
            if (t->hi[r] <= block || t->lo[r] >= end) continue;
            bool first = t->lo[r] >= block;
            float *z = output(t, r), *sum = t->sums + r * dims;
            for (int64_t i = 0; i < dims; i++) z[i] = first ? sum[i] : z[i] + sum[i];
        }
    }
}

/* Copies the visible scores of a tile to or from a ragged buffer. */
static void exchange(const tile *t, void *ragged, bool out)
{
    for (int64_t r = 0; r < t->n_rows; r++) {
        int64_t n = t->hi[r] - t->lo[r];
        float *there = (float *)ragged + t->args->ragged[t->first_row + r] + t->head * n;
        float *here = t->scores + r * t->padded + t->lo[r];
        memcpy(out ? there : here, out ? here : there, (size_t)n * sizeof *here);
    }
}

static void attend_head(const tile *t)
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
        for (int64_t r = 0; r < t->n_rows; r++) softmax_row(t, r);
        if (a->pattern) exchange(t, a->pattern, true);
    }
    if (a->phases & SONDE_ATTEND_VALUES) compute_values(t);
}

static void attend(const sonde_attend_args *a, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t unit = begin; unit < end; unit++) {
        sonde_attend_unit u = sonde_attend_unit_at(a, unit);
        int64_t group = a->n_heads / a->layout.n_kv_heads;
        tile t = {.args = a, .span = u.span, .first_row = u.span->row + u.first,
                  .n_rows = u.n_rows, .kv_head = u.kv_head, .min_lo = INT64_MAX};
        for (int64_t r = 0; r < ROWS; r++) {
            int64_t position = u.span->position + u.first + SONDE_MIN(r, u.n_rows - 1);
            t.lo[r] = sonde_first_visible(a->mask, a->window, position);
            t.hi[r] = position + 1;
            t.min_lo = SONDE_MIN(t.min_lo, t.lo[r]);
            t.max_hi = SONDE_MAX(t.max_hi, t.hi[r]);
        }
        t.padded = (t.max_hi + PAGE - 1) & ~(int64_t)(PAGE - 1);
        t.scores = scratch;
        t.sums = t.scores + ROWS * t.padded;
        for (t.head = u.kv_head * group; t.head < (u.kv_head + 1) * group; t.head++) attend_head(&t);
    }
}
