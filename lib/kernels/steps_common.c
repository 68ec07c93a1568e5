/* steps_common.c - unit counting and rope tables, the same for every level. */
#include "steps.h"

#include "functions.h"

int64_t sonde_cache_units(const sonde_cache_args *args)
{
    return args->n_spans * args->layout.n_kv_heads;
}

int64_t sonde_attend_units(const sonde_attend_args *args)
{
    int64_t tiles = 0;
    for (int64_t i = 0; i < args->n_spans; i++)
        tiles += (args->spans[i].n_rows + SONDE_ATTEND_ROWS - 1) / SONDE_ATTEND_ROWS;
    return tiles * args->layout.n_kv_heads;
}

sonde_attend_unit sonde_attend_unit_at(const sonde_attend_args *args, int64_t unit)
{
    int64_t tile = unit / args->layout.n_kv_heads, at = 0;
    const sonde_span *span = args->spans;
    for (;; span++) {
        int64_t tiles = (span->n_rows + SONDE_ATTEND_ROWS - 1) / SONDE_ATTEND_ROWS;
        if (tile < at + tiles) break;
        at += tiles;
    }
    int64_t first = (tile - at) * SONDE_ATTEND_ROWS;
    return (sonde_attend_unit){span, first, SONDE_MIN(SONDE_ATTEND_ROWS, span->n_rows - first),
                               unit % args->layout.n_kv_heads};
}

/* Scores of a tile's rows, each padded to whole pages, and the sums of z: see steps_attend.inc.h. */
size_t sonde_attend_scratch(const sonde_attend_args *args)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < args->n_spans; i++)
        longest = SONDE_MAX(longest, args->spans[i].position + args->spans[i].n_rows);
    int64_t padded = (longest + SONDE_PAGE_POSITIONS) & ~(int64_t)(SONDE_PAGE_POSITIONS - 1);
    int64_t elements = SONDE_ATTEND_ROWS * (padded + args->layout.value_dim + 16);
    return (size_t)elements * sizeof(double);
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
