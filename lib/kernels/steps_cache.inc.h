/* steps_cache.inc.h - rows of keys and values into the pages of the KV cache, included once per level. */

#define PAGE SONDE_PAGE_POSITIONS

SONDE_INLINE void store_element(void *base, int64_t index, float value, const sonde_dtype dtype)
{
    if (dtype == SONDE_DTYPE_F32) ((float *)base)[index] = value;
    else if (dtype == SONDE_DTYPE_BF16) ((uint16_t *)base)[index] = sonde_f32_to_bf16(value);
    else ((uint16_t *)base)[index] = sonde_f32_to_f16(value);
}

/* Rows [first, first + n) of a span, of one page, for one KV head: keys are turned a line of the page
 * (up to 16 positions) at a time, while their rows stay in the first cache. */
SONDE_INLINE void cache_rows(const sonde_cache_args *a, const sonde_span *span, int64_t first,
                             int64_t n, int64_t head, const sonde_dtype dtype)
{
    const sonde_kv_layout *l = &a->layout;
    int64_t position = span->position + first, slot = position % PAGE, row = span->row + first;
    void *page = span->pages[position / PAGE];
    const float *k = (const float *)a->k + row * a->k_stride + head * l->head_dim;
    const float *v = (const float *)a->v + row * a->v_stride + head * l->value_dim;
    int64_t k_at = head * (l->head_dim + l->value_dim) * PAGE + slot;
    int64_t v_at = k_at - slot + l->head_dim * PAGE + slot * l->value_dim;
    for (int64_t i = 0; i < l->head_dim; i++)
        for (int64_t r = 0; r < n; r++)
            store_element(page, k_at + i * PAGE + r, k[r * a->k_stride + i], dtype);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < l->value_dim; i++)
            store_element(page, v_at + r * l->value_dim + i, v[r * a->v_stride + i], dtype);
}

/* A unit: all rows of one span for one KV head. */
static void cache(const sonde_cache_args *a, int64_t begin, int64_t end)
{
    sonde_dtype dtype = a->layout.dtype;
    for (int64_t unit = begin; unit < end; unit++) {
        const sonde_span *span = &a->spans[unit / a->layout.n_kv_heads];
        int64_t head = unit % a->layout.n_kv_heads, n;
        for (int64_t r = 0; r < span->n_rows; r += n) {
            n = SONDE_MIN(span->n_rows - r, 16 - (span->position + r) % 16);
            if (dtype == SONDE_DTYPE_F32) cache_rows(a, span, r, n, head, SONDE_DTYPE_F32);
            else if (dtype == SONDE_DTYPE_BF16) cache_rows(a, span, r, n, head, SONDE_DTYPE_BF16);
            else cache_rows(a, span, r, n, head, SONDE_DTYPE_F16);
        }
    }
}
