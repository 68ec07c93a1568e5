/*
 * steps_rows.inc.h - norm, rope, map and labels, one row at a time. Included once per level by a
 * file that is compiled for that level. Reductions: 16 lanes, lane = index mod 16, then one tree
 * (kernels.md 3).
 */
#include "steps.h"
#include "vec16.h"

/* ---- reductions --------------------------------------------------------------------------------- */

static vec16 add_tail(vec16 lanes, const float *terms, int64_t n)
{
    float values[16];
    v_store(values, lanes);
    for (int64_t i = 0; i < n; i++) values[i] = values[i] + terms[i];
    return v_load(values);
}

static float sum_of(const float *x, int64_t n)
{
    vec16 lanes = v_set(0.0f);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) lanes = v_add(lanes, v_load(x + i));
    return v_tree(add_tail(lanes, x + i, n - i));
}

/* The maximum is exact in any order. Where there is a NaN it may be any of them, which no one sees:
 * whatever is made of a maximum and all its numbers is NaN then. */
static float largest_of(const float *x, int64_t n)
{
    float m = x[0], lanes[16];
    int64_t i = 0;
    if (n >= 16) {
        vec16 most = v_load(x);
        for (i = 16; i + 16 <= n; i += 16) most = v_max(v_load(x + i), most);
        v_store(lanes, most);
        for (int j = 0; j < 16; j++) m = lanes[j] > m ? lanes[j] : m;
    }
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

/* Sum of (x - mean)^2, each lane one chain of fma. */
static float sum_of_squares(const float *x, float mean, int64_t n)
{
    vec16 lanes = v_set(0.0f), minus = v_set(-mean);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vec16 d = v_add(v_load(x + i), minus);
        lanes = v_fma(d, d, lanes);
    }
    float values[16];
    v_store(values, lanes);
    for (int64_t j = 0; i + j < n; j++) {
        float d = x[i + j] - mean;
        values[j] = fmaf(d, d, values[j]);
    }
    return v_tree(v_load(values));
}

/* ---- norm ------------------------------------------------------------------------------------------ */

static void norm_group(const sonde_norm_args *a, const float *x, float *y, float *scale,
                       int64_t group)
{
    int64_t n = a->group, shift = a->weight_per_group ? group * n : 0;
    const float *w = a->weight, *b = a->bias;
    float mean = 0.0f;
    if (a->kind == SONDE_NORM_LAYER) mean = sum_of(x, n) / (float)n;
    float squares = sum_of_squares(x, mean, n) / (float)n;
    float divisor = sqrtf(squares + (float)a->eps);
    if (scale) scale[group] = divisor;
    float inverse = 1.0f / divisor;
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * inverse;
    for (int64_t i = 0; w && i < n; i++) y[i] = y[i] * w[shift + i];
    for (int64_t i = 0; b && i < n; i++) y[i] = y[i] + b[shift + i];
}

static void norm(const sonde_norm_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        const float *x = (const float *)a->x + m * a->x_stride;
        float *y = (float *)a->y + m * a->y_stride;
        float *scale = a->scale ? (float *)a->scale + m * a->scale_stride : NULL;
        for (int64_t g = 0; g < a->groups; g++)
            norm_group(a, x + g * a->group, y + g * a->group, scale, g);
    }
}

/* ---- rope ------------------------------------------------------------------------------------------- */

/* (a, b) -> (a cos - b sin, b cos + a sin), each one product and one fma. */
SONDE_INLINE void rotate(float a, float b, float c, float s, float *first, float *second)
{
    *first = fmaf(a, c, -(b * s));
    *second = fmaf(b, c, a * s);
}

static void rope_head(const sonde_rope_args *a, const float *x, float *y, const float *c,
                      const float *s)
{
    int64_t half = a->rotary_dims / 2;
    for (int64_t i = 0; i < a->offset; i++) y[i] = x[i];
    for (int64_t i = a->offset + a->rotary_dims; i < a->head_dim; i++) y[i] = x[i];
    x += a->offset;
    y += a->offset;
    if (a->pairing == SONDE_ROPE_HALF)
        for (int64_t i = 0; i < half; i++) rotate(x[i], x[i + half], c[i], s[i], y + i, y + i + half);
    else if (a->pairing == SONDE_ROPE_INTERLEAVED)
        for (int64_t i = 0; i < half; i++)
            rotate(x[2 * i], x[2 * i + 1], c[i], s[i], y + 2 * i, y + 2 * i + 1);
    else
        for (int64_t i = 0; i < half; i++)
            rotate(x[2 * i], x[2 * i + 1], c[i], s[i], y + i, y + i + half);
}

static void rope(const sonde_rope_args *a, int64_t begin, int64_t end)
{
    int64_t half = a->rotary_dims / 2;
    for (int64_t m = begin; m < end; m++) {
        const float *c = (const float *)a->cos + a->entry[m] * half;
        const float *s = (const float *)a->sin + a->entry[m] * half;
        for (int64_t h = 0; h < a->n_heads; h++)
            rope_head(a, (const float *)a->x + m * a->x_stride + h * a->head_dim,
                      (float *)a->y + m * a->y_stride + h * a->head_dim, c, s);
    }
}

/* ---- map -------------------------------------------------------------------------------------------- */

#define EACH(expression)                                                                           \
    for (int64_t i = 0; i < n; i++) y[i] = (expression);                                           \
    break

static void activate_row(sonde_act act, const float *x, float *y, int64_t n)
{
    switch (act) {
    case SONDE_ACT_SILU: EACH(sonde_act_silu(x[i]));
    case SONDE_ACT_GELU: EACH(sonde_act_gelu(x[i]));
    case SONDE_ACT_GELU_TANH: EACH(sonde_act_gelu_tanh(x[i]));
    case SONDE_ACT_QUICK_GELU: EACH(sonde_act_quick_gelu(x[i]));
    case SONDE_ACT_RELU: EACH(sonde_act_relu(x[i]));
    }
}

static void glu_row(sonde_act act, const float *x, const float *up, float *y, int64_t n)
{
    switch (act) {
    case SONDE_ACT_SILU: EACH(sonde_act_silu(x[i]) * up[i]);
    case SONDE_ACT_GELU: EACH(sonde_act_gelu(x[i]) * up[i]);
    case SONDE_ACT_GELU_TANH: EACH(sonde_act_gelu_tanh(x[i]) * up[i]);
    case SONDE_ACT_QUICK_GELU: EACH(sonde_act_quick_gelu(x[i]) * up[i]);
    case SONDE_ACT_RELU: EACH(sonde_act_relu(x[i]) * up[i]);
    }
}

static void weigh_row(const float *x, const float *weights, float *y, int64_t slots, int64_t n)
{
    for (int64_t j = 0; j < slots; j++)
        for (int64_t i = 0; i < n; i++) y[j * n + i] = weights[j] * x[i];
}

static void map_row(const sonde_map_args *a, const float *x, const float *b, float *y)
{
    int64_t n = a->width;
    float c = (float)a->c, d = (float)a->d;
    switch (a->op) {
    case SONDE_MAP_ADD: EACH(x[i] + b[i]);
    case SONDE_MAP_SCALE: EACH(x[i] * c);
    case SONDE_MAP_SOFTCAP: EACH(c * sonde_tanh_f32(x[i] / c));
    case SONDE_MAP_ACTIVATE: activate_row(a->act, x, y, n); break;
    case SONDE_MAP_GLU: glu_row(a->act, x, b, y, n); break;
    case SONDE_MAP_OFFSET: EACH(x[i] + c);
    case SONDE_MAP_CLAMP: EACH(x[i] < c ? c : x[i] > d ? d : x[i]);
    case SONDE_MAP_SCALE_BY_POSITION: EACH(x[i] * b[0]);
    case SONDE_MAP_WEIGH: weigh_row(x, b, y, a->slots, n / a->slots); break;
    }
}

static void map(const sonde_map_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++)
        map_row(a, (const float *)a->a + m * a->a_stride,
                a->b ? (const float *)a->b + m * a->b_stride : NULL,
                (float *)a->y + m * a->y_stride);
}

/* ---- labels ----------------------------------------------------------------------------------------- */


/* log sum e^(x - m), and with `weighted` the sum of e^(x - m) (x - m). */
static float log_sum(const float *x, float m, int64_t n, float *weighted)
{
    float lanes[16] = {0}, mixed[16] = {0};
    int64_t whole = n & ~(int64_t)15;
    for (int64_t i = 0; i < whole; i += 16)
        for (int j = 0; j < 16; j++) {
            float d = x[i + j] - m, e = sonde_exp_f32(d);
            lanes[j] = lanes[j] + e;
            mixed[j] = fmaf(e, e > 0.0f ? d : 0.0f, mixed[j]);
        }
    for (int64_t i = whole; i < n; i++) {
        float d = x[i] - m, e = sonde_exp_f32(d);
        lanes[i - whole] = lanes[i - whole] + e;
        mixed[i - whole] = fmaf(e, e > 0.0f ? d : 0.0f, mixed[i - whole]);
    }
    float sum = v_tree(v_load(lanes));
    *weighted = v_tree(v_load(mixed)) / sum;
    return sonde_log_f32(sum);
}

static int32_t rank_of(const float *x, int64_t n, int64_t token)
{
    int32_t above = 0;
    float asked = x[token];
    for (int64_t i = 0; i < token; i++) above += x[i] >= asked;
    for (int64_t i = token + 1; i < n; i++) above += x[i] > asked;
    return above;
}

static void label(const sonde_label_args *a, int64_t begin, int64_t end)
{
    for (int64_t m = begin; m < end; m++) {
        const float *x = (const float *)a->logits + m * a->logits_stride;
        bool asked = a->tokens[m] >= 0;
        float top = largest_of(x, a->vocab), mean;
        float log_total = log_sum(x, top, a->vocab, &mean);
        if (a->logprob)
            a->logprob[m] = asked ? (x[a->tokens[m]] - top) - log_total : sonde_bits_float(0x7FC00000u);
        if (a->entropy) a->entropy[m] = log_total - mean;
        if (a->rank) a->rank[m] = asked ? rank_of(x, a->vocab, a->tokens[m]) : -1;
    }
}
