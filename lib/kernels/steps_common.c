/* steps_common.c - unit counting and rope tables, the same for every level. */
#include "steps.h"

#include "functions.h"

#include <string.h>

/* Scores of a unit fill most of a second cache, but are of at least so many queries. */
#define ATTEND_SCORE_BYTES ((int64_t)448 << 10)
#define ATTEND_FEWEST 12

int64_t sonde_cache_units(const sonde_cache_args *args)
{
    return args->n_spans * args->layout.n_kv_heads;
}

/* Most keys that a unit's scores reach over, from the begin of a page. */
static int64_t most_keys(const sonde_attend_args *args)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < args->n_spans; i++)
        longest = SONDE_MAX(longest, args->spans[i].position + args->spans[i].n_rows);
    if (args->mask == SONDE_MASK_FULL) return longest;
    return SONDE_MIN(longest, args->window + SONDE_ATTEND_QUERIES + SONDE_PAGE_POSITIONS);
}

/* Queries of a unit: as many as keep their scores in the second cache, so that keys and values are
 * read from behind it as seldom as can be. No bit depends on it. */
static int64_t queries_of_unit(const sonde_attend_args *args)
{
    int64_t row_bytes = sonde_attend_row(most_keys(args)) * (int64_t)sizeof(float);
    int64_t fit = ATTEND_SCORE_BYTES / row_bytes / ATTEND_FEWEST * ATTEND_FEWEST;
    return SONDE_MAX(ATTEND_FEWEST, SONDE_MIN(fit, SONDE_ATTEND_QUERIES));
}

static int64_t rows_of_unit(const sonde_attend_args *args, int64_t queries)
{
    return SONDE_MAX(1, queries * args->layout.n_kv_heads / args->n_heads);
}

/* Parts that a group of heads is cut into: one unit each. */
static int64_t parts_of_group(const sonde_attend_args *args, int64_t queries)
{
    int64_t group = args->n_heads / args->layout.n_kv_heads;
    return (group + queries - 1) / queries;
}

int64_t sonde_attend_units(const sonde_attend_args *args)
{
    int64_t tiles = 0, queries = queries_of_unit(args), rows = rows_of_unit(args, queries);
    for (int64_t i = 0; i < args->n_spans; i++) tiles += (args->spans[i].n_rows + rows - 1) / rows;
    return tiles * args->layout.n_kv_heads * parts_of_group(args, queries);
}

sonde_attend_unit sonde_attend_unit_at(const sonde_attend_args *args, int64_t unit)
{
    int64_t queries = queries_of_unit(args), rows = rows_of_unit(args, queries);
    int64_t kv_heads = args->layout.n_kv_heads, parts = parts_of_group(args, queries);
    int64_t group = args->n_heads / kv_heads, part, tiles;
    const sonde_span *span = args->spans;
    for (;; span++) {
        tiles = (span->n_rows + rows - 1) / rows;
        if (unit < tiles * kv_heads * parts) break;
        unit -= tiles * kv_heads * parts;
    }
    part = unit % parts;
    int64_t first = unit / parts % tiles * rows, kv_head = unit / parts / tiles;
    int64_t head = group * part / parts, end = group * (part + 1) / parts;
    return (sonde_attend_unit){.span = span,
                               .first = first,
                               .n_rows = SONDE_MIN(rows, span->n_rows - first),
                               .kv_head = kv_head,
                               .first_head = kv_head * group + head,
                               .n_heads = end - head};
}

void sonde_join_rows(const sonde_join_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        float *y = (float *)a->y + m * a->y_stride;
        for (int64_t h = 0; h < a->n_heads; h++)
            for (int i = 0; i < 2; i++) {
                const sonde_join_part *p = &a->part[i];
                const float *x = (const float *)p->x + m * p->x_stride + h * p->head_stride;
                memcpy(y, x, (size_t)p->dims * sizeof *y);
                y += p->dims;
            }
    }
}

/* See steps_attend.inc.h. */
size_t sonde_attend_scratch(const sonde_attend_args *args)
{
    int64_t dims = args->layout.value_dim + args->layout.head_dim;
    int64_t elements = sonde_attend_row(most_keys(args)) + 16 + dims;
    return (size_t)(sonde_attend_kept(args) + queries_of_unit(args) * elements) * sizeof(float);
}

void sonde_rope_entry(const float *inv_freq, int64_t rotary_dims, int64_t position,
                      double attention_scaling, void *cosines, void *sines)
{
    float *c = cosines, *s = sines, factor = (float)attention_scaling;
    for (int64_t i = 0; i < rotary_dims / 2; i++) {
        double sine, cosine;
        float angle = (float)position * inv_freq[i];
        sonde_sincos64((double)angle, &sine, &cosine);
        c[i] = (float)cosine * factor;
        s[i] = (float)sine * factor;
    }
}
