/* schema_meta_categories.c - the distinct texts of a column of metadata, sorted. */
#include "schema_meta.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS (2 * (size_t)META_MOST_CATEGORIES)

/* A text: where it is in the pool, later (sorted) a pointer to it. */
typedef struct category {
    size_t offset, bytes;
    const char *text;
} category;

struct meta_categories {
    uint32_t *slots; /* [SLOTS] number of a text + 1, by hash; 0: none */
    category *texts;
    size_t n, capacity;
    char *pool;
    size_t used, pool_capacity;
};

static int compare(const void *a, const void *b)
{
    const category *x = a, *y = b;
    size_t n = SONDE_MIN(x->bytes, y->bytes);
    int order = n ? memcmp(x->text, y->text, n) : 0;
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The slot where a text is, or would be. */
static uint32_t *slot_of(const meta_categories *c, const meta_value *value)
{
    size_t at = (size_t)sonde_hash64(value->bytes ? value->text : "", value->bytes) % SLOTS;
    for (; c->slots[at]; at = (at + 1) % SLOTS) {
        const category *text = &c->texts[c->slots[at] - 1];
        if (text->bytes == value->bytes &&
            (!value->bytes || memcmp(c->pool + text->offset, value->text, value->bytes) == 0))
            break;
    }
    return &c->slots[at];
}

static bool is_full(const meta_categories *c, const meta_value *value)
{
    return c->n == META_MOST_CATEGORIES || c->used + value->bytes > META_MOST_CATEGORY_BYTES;
}

/* A text that is new. false: no memory. */
static bool add_text(meta_categories *c, uint32_t *slot, const meta_value *value)
{
    if (!sonde_grow(&c->texts, &c->capacity, c->n + 1, sizeof *c->texts) ||
        !sonde_grow(&c->pool, &c->pool_capacity, c->used + value->bytes + 1, 1))
        return false;
    if (value->bytes > 0) memcpy(c->pool + c->used, value->text, value->bytes);
    c->texts[c->n++] = (category){.offset = c->used, .bytes = value->bytes};
    c->used += value->bytes;
    *slot = (uint32_t)c->n;
    return true;
}

static void sort(meta_categories *c)
{
    for (size_t i = 0; i < c->n; i++) c->texts[i].text = c->pool + c->texts[i].offset;
    if (c->n > 0) qsort(c->texts, c->n, sizeof *c->texts, compare);
}

/* *full: there are too many. */
static sonde_status collect(meta_categories *c, meta_cursor *at, bool *full)
{
    *full = false;
    while (sonde_schema_meta_next(at)) {
        uint32_t *slot = slot_of(c, &at->value);
        if (*slot) continue;
        *full = is_full(c, &at->value);
        if (*full) return SONDE_OK;
        if (!add_text(c, slot, &at->value))
            return sonde_no_memory(at->err, "metadata of prompts", c->used);
    }
    return at->status;
}

sonde_status sonde_schema_meta_distinct(sonde_store *store, const meta_column *column, int64_t end,
                                        meta_categories **out, sonde_error *err)
{
    bool full = true;
    meta_cursor at;
    meta_categories *c = sonde_alloc(1, sizeof *c);
    if (c) c->slots = sonde_alloc(SLOTS, sizeof *c->slots);
    *out = c;
    if (!c || !c->slots) {
        sonde_schema_meta_categories_destroy(out);
        return sonde_no_memory(err, "metadata of prompts", SLOTS * sizeof(uint32_t));
    }
    sonde_schema_meta_start(&at, store, column, end, err);
    sonde_status status = collect(c, &at, &full);
    sonde_schema_meta_stop(&at);
    if (status != SONDE_OK || full) sonde_schema_meta_categories_destroy(out);
    else sort(c);
    return status;
}

void sonde_schema_meta_categories_destroy(meta_categories **out)
{
    meta_categories *c = *out;
    if (!c) return;
    sonde_free(c->slots);
    sonde_free(c->texts);
    sonde_free(c->pool);
    sonde_free(c);
    *out = NULL;
}

int32_t sonde_schema_meta_code(const meta_categories *c, const meta_value *value)
{
    category key = {.text = value->text, .bytes = value->bytes};
    const category *at = bsearch(&key, c->texts, c->n, sizeof *c->texts, compare);
    return at ? (int32_t)(at - c->texts) : -1;
}

sonde_status sonde_schema_meta_sorted(const meta_categories *c, sonde_store *store,
                                      meta_column *column, int64_t *n, sonde_error *err)
{
    *n = (int64_t)c->n;
    for (size_t i = 0; i < c->n; i++) {
        meta_value value = {.sequence = (uint32_t)i,
                            .kind = META_TEXT,
                            .text = c->texts[i].text,
                            .bytes = c->texts[i].bytes};
        SONDE_TRY(sonde_schema_meta_append(store, column, &value, err));
    }
    return SONDE_OK;
}
