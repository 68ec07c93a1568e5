/* steps_common.c - unit counting and rope tables, the same for every level. */
#include "steps.h"

#include "functions.h"

#include <string.h>

int64_t sonde_cache_units(const sonde_cache_args *args)
{
    return args->n_spans * args->layout.n_kv_heads;
}

/* Rows whose queries of one group fill a tile. */
static int64_t rows_of_unit(const sonde_attend_args *args)
{
    return SONDE_MAX(1, SONDE_ATTEND_QUERIES * args->layout.n_kv_heads / args->n_heads);
}

/* Parts that a group of heads is cut into: one tile each. */
static int64_t parts_of_group(const sonde_attend_args *args)
{
    int64_t group = args->n_heads / args->layout.n_kv_heads;
    return (group + SONDE_ATTEND_QUERIES - 1) / SONDE_ATTEND_QUERIES;
}

int64_t sonde_attend_units(const sonde_attend_args *args)
{
    int64_t tiles = 0, rows = rows_of_unit(args);
    for (int64_t i = 0; i < args->n_spans; i++) tiles += (args->spans[i].n_rows + rows - 1) / rows;
    return tiles * args->layout.n_kv_heads * parts_of_group(args);
}

sonde_attend_unit sonde_attend_unit_at(const sonde_attend_args *args, int64_t unit)
{
    int64_t kv_heads = args->layout.n_kv_heads, parts = parts_of_group(args);
    int64_t group = args->n_heads / kv_heads, part = unit % parts;
    int64_t tile = unit / parts / kv_heads, at = 0, rows = rows_of_unit(args);
    const sonde_span *span = args->spans;
    for (;; span++) {
        int64_t tiles = (span->n_rows + rows - 1) / rows;
        if (tile < at + tiles) break;
        at += tiles;
    }
    int64_t first = (tile - at) * rows, kv_head = unit / parts % kv_heads;
    int64_t head = group * part / parts, end = group * (part + 1) / parts;
    return (sonde_attend_unit){.span = span, .first = first,
                               .n_rows = SONDE_MIN(rows, span->n_rows - first), .kv_head = kv_head,
                               .first_head = kv_head * group + head, .n_heads = end - head};
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

/* Scores of a tile's queries, and the sums of z: see steps_attend.inc.h. */
size_t sonde_attend_scratch(const sonde_attend_args *args)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < args->n_spans; i++)
        longest = SONDE_MAX(longest, args->spans[i].position + args->spans[i].n_rows);
    int64_t elements = sonde_attend_stride(longest) + args->layout.value_dim;
    return (size_t)(SONDE_ATTEND_QUERIES * elements) * sizeof(float);
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
