/*
 * steps_group.inc.h - the queries that attention works on together: which keys they see, where their
 * scores lie. Included by steps_attend.inc.h.
 *
 * Scratch: what a tile keeps for the others (sonde_attend_kept), scores [pages][queries][64], lanes
 * [queries][16], block sums [queries][value_dim], the queries [queries][head_dim].
 */

#define QUERIES SONDE_ATTEND_QUERIES
/* Queries of a tile in registers, and times 16 keys or dims; up to FEW queries take 32. The plain level
 * has no registers of 16: one query, soon compiled. */
#if defined(__AVX512F__)
#define TILE 12
#define FEW 12
#elif defined(__AVX2__)
#define TILE 6
#define FEW 3
#else
#define TILE 1
#define FEW 0
#endif

/* Queries that run through registers together. */
typedef struct tile {
    int64_t first, n;
    int64_t lo, hi;         /* keys [lo, hi) that any of them sees */
    int64_t all_lo, all_hi; /* that all of them see; empty: all_lo >= all_hi */
} tile;

typedef struct group {
    const sonde_attend_args *args;
    const sonde_span *span;
    int64_t kv_head, n; /* queries */
    int64_t row[QUERIES], head[QUERIES];
    int64_t lo[QUERIES], hi[QUERIES];         /* keys [lo, hi) each query sees */
    float *q;                                 /* [n][head_dim] */
    float largest[QUERIES], inverse[QUERIES]; /* m; 1 / l */
    int64_t n_tiles;
    tile tiles[(QUERIES + TILE - 1) / TILE];
    int64_t base, max_hi; /* first key of the first page; behind the last key of all queries */
    float *kept;          /* keys or values as fp32: [head_dim or 64][16 KEPT_WIDE] */
    float *scores, *lanes, *sums; /* [pages][n][64], [n][16], [n][value_dim] */
    bool normalised;              /* scores are p already */
} group;

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

SONDE_INLINE float *score_at(const group *g, int64_t query, int64_t key)
{
    return g->scores + ((key - g->base) / PAGE * g->n + query) * PAGE + key % PAGE;
}

/* The keys [from, to) of a page that a query sees, counted from the page's first; none: from >= to. */
typedef struct seen {
    float *s; /* of the page's first key */
    int64_t from, to;
} seen;

SONDE_INLINE seen seen_of(const group *g, int64_t query, int64_t page)
{
    return (seen){score_at(g, query, page), SONDE_MAX(g->lo[query] - page, 0),
                  SONDE_MIN(g->hi[query] - page, PAGE)};
}

/* Element of the page of `key` where the group's keys begin, and its values. */
SONDE_INLINE int64_t keys_at(const group *g)
{
    const sonde_kv_layout *l = &g->args->layout;
    return g->kv_head * (l->head_dim + l->value_dim) * PAGE;
}

SONDE_INLINE int64_t values_at(const group *g)
{
    return keys_at(g) + g->args->layout.head_dim * PAGE;
}

/* The page behind that of `key`, or the last one. */
SONDE_INLINE const char *next_page(const group *g, int64_t key)
{
    int64_t last = (g->max_hi - 1) / PAGE;
    return g->span->pages[SONDE_MIN(key / PAGE + 1, last)];
}

static void set_tiles(group *g)
{
    g->n_tiles = (g->n + TILE - 1) / TILE;
    for (int64_t i = 0; i < g->n_tiles; i++) {
        tile *t = &g->tiles[i];
        t->first = g->n * i / g->n_tiles;
        t->n = g->n * (i + 1) / g->n_tiles - t->first;
        t->lo = t->all_hi = INT64_MAX;
        t->hi = t->all_lo = 0;
        for (int64_t r = t->first; r < t->first + t->n; r++) {
            t->lo = SONDE_MIN(t->lo, g->lo[r]);
            t->all_lo = SONDE_MAX(t->all_lo, g->lo[r]);
            t->hi = SONDE_MAX(t->hi, g->hi[r]);
            t->all_hi = SONDE_MIN(t->all_hi, g->hi[r]);
        }
    }
}

/* The queries of a unit: its rows in order, each with all heads of the unit. */
static void group_init(group *g, const sonde_attend_args *a, const sonde_attend_unit *u,
                       float *scratch)
{
    int64_t lo = INT64_MAX;
    g->args = a, g->span = u->span, g->kv_head = u->kv_head, g->n = u->n_rows * u->n_heads;
    g->max_hi = 0;
    for (int64_t r = 0; r < g->n; r++) {
        int64_t row = u->first + r / u->n_heads, position = u->span->position + row;
        g->row[r] = u->span->row + row;
        g->head[r] = u->first_head + r % u->n_heads;
        g->lo[r] = sonde_first_visible(a->mask, a->window, position);
        g->hi[r] = position + 1;
        lo = SONDE_MIN(lo, g->lo[r]);
        g->max_hi = SONDE_MAX(g->max_hi, g->hi[r]);
    }
    set_tiles(g);
    g->base = lo & ~(int64_t)(PAGE - 1);
    int64_t pages = (g->max_hi - g->base + PAGE - 1) / PAGE;
    g->kept = scratch;
    g->scores = g->kept + sonde_attend_kept(a);
    g->lanes = g->scores + pages * g->n * PAGE;
    g->sums = g->lanes + 16 * g->n;
    g->q = g->sums + g->n * a->layout.value_dim;
    for (int64_t i = 0; i < 16 * g->n; i++) g->lanes[i] = -INFINITY;
}

/* Queries side by side, as a tile reads them. */
static void gather_queries(const group *g)
{
    const sonde_attend_args *a = g->args;
    int64_t dims = a->layout.head_dim;
    for (int64_t r = 0; r < g->n; r++)
        memcpy(g->q + r * dims, (const float *)a->q + g->row[r] * a->q_stride + g->head[r] * dims,
               (size_t)dims * sizeof *g->q);
}
