/* steps_cache.inc.h - rows of keys and values into the pages of the KV cache, included once per level. */

#define PAGE SONDE_PAGE_POSITIONS

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
