/*
 * oracle.c - every step in double, in the plainest order: it measures the error of the others and
 * promises no bits. Reals are doubles, weights are widened to double, the cache holds doubles;
 * inv_freq stays the fp32 value that the other backends use, angles are double.
 */
#include "kernels/linear.h"

#include <math.h>
#include <string.h>

static sonde_dtype oracle_packed_dtype(sonde_dtype stored)
{
    (void)stored;
    return SONDE_DTYPE_F64;
}

static size_t oracle_packed_bytes(sonde_dtype packed, int64_t rows, int64_t cols)
{
    int64_t elements;
    return sonde_mul_i64(rows, cols, &elements) ? sonde_dtype_bytes(packed, elements) : SIZE_MAX;
}

static void oracle_pack(const sonde_matrix_source *source, const sonde_packed *packed,
                        int64_t begin, int64_t end, float *scratch)
{
    int64_t last = SONDE_MIN(end * SONDE_PANEL, source->rows);
    for (int64_t r = begin * SONDE_PANEL; r < last; r++) {
        sonde_matrix_row(source, r, scratch);
        double *row = (double *)packed->data + r * source->cols;
        for (int64_t k = 0; k < source->cols; k++) row[k] = (double)scratch[k];
    }
}

static int64_t oracle_linear_units(const sonde_linear_args *args)
{
    return args->m;
}

/* A row of W as doubles, and as the floats of a mapped one. */
static size_t oracle_linear_scratch(const sonde_linear_args *args)
{
    return (size_t)args->parts[0].weight->cols * (sizeof(double) + sizeof(float));
}

static const double *oracle_row(const sonde_packed *w, int64_t n, double *scratch)
{
    if (!w->mapped) return (const double *)w->data + n * w->cols;
    float *stored = (float *)(void *)(scratch + w->cols);
    sonde_matrix_row(&w->source, n, stored);
    for (int64_t k = 0; k < w->cols; k++) scratch[k] = (double)stored[k];
    return scratch;
}

static void oracle_output(const sonde_linear_part *p, const double *w, int64_t n, const double *x,
                          int64_t m)
{
    double sum = 0.0;
    for (int64_t k = 0; k < p->weight->cols; k++) sum += x[k] * w[k];
    if (p->bias) sum += ((const double *)p->bias)[n];
    if (p->residual) sum += ((const double *)p->residual)[m * p->residual_stride + n];
    ((double *)p->y)[m * p->y_stride + n] = sum;
}

static void oracle_linear(const sonde_linear_args *a, int64_t begin, int64_t end, void *scratch)
{
    for (int32_t i = 0; i < a->n_parts; i++)
        for (int64_t n = 0; n < a->parts[i].weight->rows; n++) {
            const double *w = oracle_row(a->parts[i].weight, n, scratch);
            for (int64_t m = begin; m < end; m++)
                oracle_output(&a->parts[i], w, n,
                              (const double *)a->x + (a->x_rows ? a->x_rows[m] : m) * a->x_stride,
                              sonde_linear_y_row(a, m));
        }
}

static void oracle_embed(const sonde_embed_args *a, int64_t begin, int64_t end)
{
    const sonde_packed *w = a->weight;
    for (int64_t m = begin; m < end; m++) {
        double *y = (double *)a->y + m * a->y_stride;
        for (int64_t k = 0; k < w->cols; k += SONDE_MATRIX_SLICE) {
            int64_t n = SONDE_MIN(SONDE_MATRIX_SLICE, w->cols - k);
            float stored[SONDE_MATRIX_SLICE];
            if (w->mapped) sonde_matrix_slice(&w->source, a->ids[m], k, n, stored);
            for (int64_t i = 0; i < n; i++)
                y[k + i] = w->mapped ? (double)stored[i]
                                     : ((const double *)w->data)[a->ids[m] * w->cols + k + i];
        }
    }
}

static void oracle_norm_group(const sonde_norm_args *a, const double *x, double *y, double *scale,
                              int64_t group)
{
    int64_t n = a->group, shift = a->weight_per_group ? group * n : 0;
    const double *w = a->weight, *b = a->bias;
    double mean = 0.0, squares = 0.0;
    for (int64_t i = 0; a->kind == SONDE_NORM_LAYER && i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean) / (double)n;
    double divisor = sqrt(squares + a->eps);
    if (scale) scale[group] = divisor;
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) / divisor * (w ? w[shift + i] : 1.0) + (b ? b[shift + i] : 0.0);
}

static void oracle_norm(const sonde_norm_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++)
        for (int64_t g = 0; g < a->groups; g++)
            oracle_norm_group(a, (const double *)a->x + m * a->x_stride + g * a->group,
                              (double *)a->y + m * a->y_stride + g * a->group,
                              a->scale ? (double *)a->scale + m * a->scale_stride : NULL, g);
}

static void oracle_rope_head(const sonde_rope_args *a, const double *x, double *y, const double *c,
                             const double *s)
{
    int64_t half = a->rotary_dims / 2;
    memcpy(y, x, (size_t)a->head_dim * sizeof *y);
    x += a->offset;
    y += a->offset;
    for (int64_t i = 0; i < half; i++) {
        bool split_in = a->pairing == SONDE_ROPE_HALF, split_out = a->pairing != SONDE_ROPE_INTERLEAVED;
        double p = x[split_in ? i : 2 * i], q = x[split_in ? i + half : 2 * i + 1];
        y[split_out ? i : 2 * i] = p * c[i] - q * s[i];
        y[split_out ? i + half : 2 * i + 1] = q * c[i] + p * s[i];
    }
}

static void oracle_rope(const sonde_rope_args *a, int64_t begin, int64_t end)
{
    int64_t half = a->rotary_dims / 2;
    for (int64_t m = begin; m < end; m++)
        for (int64_t h = 0; h < a->n_heads; h++)
            oracle_rope_head(a, (const double *)a->x + m * a->x_stride + h * a->head_dim,
                             (double *)a->y + m * a->y_stride + h * a->head_dim,
                             (const double *)a->cos + a->entry[m] * half,
                             (const double *)a->sin + a->entry[m] * half);
}

static double oracle_act(sonde_act act, double x)
{
    switch (act) {
    case SONDE_ACT_SILU: return x / (1.0 + exp(-x));
    case SONDE_ACT_GELU: return 0.5 * x * (1.0 + erf(x * sqrt(0.5)));
    case SONDE_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case SONDE_ACT_QUICK_GELU: return x / (1.0 + exp(-1.702 * x));
    case SONDE_ACT_RELU: return x > 0.0 ? x : 0.0;
    }
    return x;
}

static double oracle_map_one(const sonde_map_args *a, double x, const double *b, int64_t i)
{
    switch (a->op) {
    case SONDE_MAP_ADD: return x + b[i];
    case SONDE_MAP_SCALE: return x * a->c;
    case SONDE_MAP_SOFTCAP: return a->c * tanh(x / a->c);
    case SONDE_MAP_ACTIVATE: return oracle_act(a->act, x);
    case SONDE_MAP_GLU: return oracle_act(a->act, x) * b[i];
    case SONDE_MAP_OFFSET: return x + a->c;
    case SONDE_MAP_CLAMP: return x < a->c ? a->c : x > a->d ? a->d : x;
    case SONDE_MAP_SCALE_BY_POSITION: return x * b[0];
    case SONDE_MAP_WEIGH: return x * b[i / (a->width / a->slots)];
    }
    return x;
}

static void oracle_map(const sonde_map_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        const double *x = (const double *)a->a + m * a->a_stride;
        const double *b = a->b ? (const double *)a->b + m * a->b_stride : NULL;
        double *y = (double *)a->y + m * a->y_stride;
        int64_t n = a->op == SONDE_MAP_WEIGH ? a->width / a->slots : a->width;
        for (int64_t i = 0; i < a->width; i++) y[i] = oracle_map_one(a, x[i % n], b, i);
    }
}

static void oracle_join(const sonde_join_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        double *y = (double *)a->y + m * a->y_stride;
        for (int64_t h = 0; h < a->n_heads; h++)
            for (int i = 0; i < 2; i++) {
                const sonde_join_part *p = &a->part[i];
                const double *x = (const double *)p->x + m * p->x_stride + h * p->head_stride;
                for (int64_t j = 0; j < p->dims; j++) *y++ = x[j];
            }
    }
}

static void oracle_label(const sonde_label_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        const double *x = (const double *)a->logits + m * a->logits_stride;
        double top = x[0], sum = 0.0, mean = 0.0;
        int64_t token = a->tokens[m], above = 0;
        for (int64_t i = 1; i < a->vocab; i++) top = fmax(top, x[i]);
        for (int64_t i = 0; i < a->vocab; i++) {
            double e = exp(x[i] - top);
            sum += e;
            mean += e > 0.0 ? e * (x[i] - top) : 0.0;
            if (token >= 0) above += x[i] > x[token] || (x[i] == x[token] && i < token);
        }
        if (a->logprob) a->logprob[m] = token < 0 ? NAN : (float)(x[token] - top - log(sum));
        if (a->entropy) a->entropy[m] = (float)(log(sum) - mean / sum);
        if (a->rank) a->rank[m] = token < 0 ? -1 : (int32_t)above;
    }
}

static int64_t oracle_cache_units(const sonde_cache_args *a)
{
    return a->n_spans;
}

/* K of a head and position: page[head][i][slot]; V: page[head] behind K, [slot][i]. */
static double *k_slot(const sonde_kv_layout *l, void *const *pages, int64_t head, int64_t position)
{
    double *page = pages[position / SONDE_PAGE_POSITIONS];
    return page + head * (l->head_dim + l->value_dim) * SONDE_PAGE_POSITIONS +
           position % SONDE_PAGE_POSITIONS;
}

static double *v_slot(const sonde_kv_layout *l, void *const *pages, int64_t head, int64_t position)
{
    double *page = pages[position / SONDE_PAGE_POSITIONS];
    return page + head * (l->head_dim + l->value_dim) * SONDE_PAGE_POSITIONS +
           l->head_dim * SONDE_PAGE_POSITIONS + position % SONDE_PAGE_POSITIONS * l->value_dim;
}

static void oracle_cache(const sonde_cache_args *a, int64_t begin, int64_t end)
{
    const sonde_kv_layout *l = &a->layout;
    for (const sonde_span *s = a->spans + begin; s < a->spans + end; s++)
        for (int64_t r = 0; r < s->n_rows; r++)
            for (int64_t h = 0; h < l->n_kv_heads; h++) {
                const double *k = (const double *)a->k + (s->row + r) * a->k_stride + h * l->head_dim;
                const double *v = (const double *)a->v + (s->row + r) * a->v_stride + h * l->value_dim;
                double *to_k = k_slot(l, s->pages, h, s->position + r);
                double *to_v = v_slot(l, s->pages, h, s->position + r);
                for (int64_t i = 0; i < l->head_dim; i++) to_k[i * SONDE_PAGE_POSITIONS] = k[i];
                for (int64_t i = 0; i < l->value_dim; i++) to_v[i] = v[i];
            }
}

/* A unit: one span. Scratch: one row of scores. */
static int64_t oracle_attend_units(const sonde_attend_args *a)
{
    return a->n_spans;
}

static size_t oracle_attend_scratch(const sonde_attend_args *a)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < a->n_spans; i++)
        longest = SONDE_MAX(longest, a->spans[i].position + a->spans[i].n_rows);
    return (size_t)longest * sizeof(double);
}

static double rounded_bf16(double x)
{
    return (double)sonde_bf16_to_f32(sonde_f32_to_bf16((float)x));
}

/* Falcon's rounding is part of the model, so it stays. */
static double oracle_alibi(const sonde_attend_args *a, int64_t h, int64_t key, int64_t query)
{
    if (!a->slopes) return 0.0;
    double slope = a->slopes[h];
    if (a->alibi == SONDE_ALIBI_RELATIVE) return slope * (double)(key - query);
    if (a->alibi == SONDE_ALIBI_KEY) return slope * (double)key;
    return a->scale * rounded_bf16(rounded_bf16(slope) * rounded_bf16((double)key));
}

/* Scores of head h, whose keys are those of a KV head, with keys [lo, lo + n). */
static void oracle_scores(const sonde_attend_args *a, const sonde_span *s, const double *q,
                          int64_t h, int64_t lo, int64_t n, double *scores)
{
    int64_t kv = h / (a->n_heads / a->layout.n_kv_heads);
    for (int64_t key = 0; key < n; key++) {
        const double *k = k_slot(&a->layout, s->pages, kv, lo + key);
        double sum = 0.0;
        for (int64_t i = 0; i < a->layout.head_dim; i++) sum += q[i] * k[i * SONDE_PAGE_POSITIONS];
        sum = sum * a->scale + oracle_alibi(a, h, lo + key, lo + n - 1);
        scores[key] = a->softcap != 0.0 ? a->softcap * tanh(sum / a->softcap) : sum;
    }
}

static void oracle_softmax(double *scores, int64_t n, const double *sink)
{
    double top = sink ? *sink : scores[0], sum = 0.0;
    for (int64_t key = 0; key < n; key++) top = fmax(top, scores[key]);
    for (int64_t key = 0; key < n; key++) sum += scores[key] = exp(scores[key] - top);
    if (sink) sum += exp(*sink - top);
    for (int64_t key = 0; key < n; key++) scores[key] /= sum;
}

static void oracle_row_head(const sonde_attend_args *a, const sonde_span *s, int64_t row, int64_t h,
                            double *scores)
{
    const sonde_kv_layout *l = &a->layout;
    int64_t m = s->row + row, position = s->position + row;
    int64_t lo = sonde_first_visible(a->mask, a->window, position), n = position + 1 - lo;
    int64_t kv = h / (a->n_heads / l->n_kv_heads), at = a->ragged ? a->ragged[m] + h * n : 0;
    const double *q = (const double *)a->q + m * a->q_stride + h * l->head_dim;
    size_t bytes = (size_t)n * sizeof *scores;
    if (a->phases & SONDE_ATTEND_SCORES) {
        oracle_scores(a, s, q, h, lo, n, scores);
        if (a->scores) memcpy((double *)a->scores + at, scores, bytes);
    } else {
        bool softmax = (a->phases & SONDE_ATTEND_SOFTMAX) != 0;
        memcpy(scores, (double *)(softmax ? a->scores : a->pattern) + at, bytes);
    }
    if (a->phases & SONDE_ATTEND_SOFTMAX) {
        oracle_softmax(scores, n, a->sinks ? (const double *)a->sinks + h : NULL);
        if (a->pattern) memcpy((double *)a->pattern + at, scores, bytes);
    }
    if (!(a->phases & SONDE_ATTEND_VALUES)) return;
    double *z = (double *)a->z + m * a->z_stride + h * l->value_dim;
    memset(z, 0, (size_t)l->value_dim * sizeof *z);
    for (int64_t key = 0; key < n; key++) {
        const double *v = v_slot(l, s->pages, kv, lo + key);
        for (int64_t i = 0; i < l->value_dim; i++) z[i] += scores[key] * v[i];
    }
}

static void oracle_attend(const sonde_attend_args *a, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t i = begin; i < end; i++)
        for (int64_t row = 0; row < a->spans[i].n_rows; row++)
            for (int64_t h = 0; h < a->n_heads; h++)
                oracle_row_head(a, &a->spans[i], row, h, scratch);
}

static void oracle_rope_entry(const float *inv_freq, int64_t rotary_dims, int64_t position,
                              double attention_scaling, void *cosines, void *sines)
{
    for (int64_t i = 0; i < rotary_dims / 2; i++) {
        double angle = (double)position * (double)inv_freq[i];
        ((double *)cosines)[i] = cos(angle) * attention_scaling;
        ((double *)sines)[i] = sin(angle) * attention_scaling;
    }
}

const sonde_backend sonde_backend_oracle = {
    .name = "oracle", .level = "double", .real_bytes = sizeof(double), .exact = false,
    .mode = "oracle",
    .packed_dtype = oracle_packed_dtype, .packed_bytes = oracle_packed_bytes, .pack = oracle_pack,
    .linear_units = oracle_linear_units, .linear_scratch = oracle_linear_scratch,
    .linear = oracle_linear, .embed = oracle_embed, .norm = oracle_norm, .rope = oracle_rope,
    .map = oracle_map, .join = oracle_join, .route = sonde_oracle_route,
    .combine = sonde_oracle_combine, .label = oracle_label, .cache_units = oracle_cache_units,
    .cache = oracle_cache, .attend_units = oracle_attend_units,
    .attend_scratch = oracle_attend_scratch, .attend = oracle_attend,
    .rope_entry = oracle_rope_entry,
};
