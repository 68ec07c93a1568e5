/* rope.c - reading rope parameters and making inv_freq (model-families.md 2.3). */
#include "recipe_internal.h"

#include "kernels/functions.h"

#include <math.h>
#include <string.h>

#define TWO_PI 6.283185307179586476925286766559

typedef struct rope_type_name {
    const char *name;
    sonde_rope_type type;
} rope_type_name;

static const rope_type_name type_names[] = {
    {"default", SONDE_ROPE_DEFAULT}, {"linear", SONDE_ROPE_LINEAR}, {"dynamic", SONDE_ROPE_DYNAMIC},
    {"llama3", SONDE_ROPE_LLAMA3},   {"yarn", SONDE_ROPE_YARN},
};

static const char *key_in(sonde_recipe *r, const char *section, const char *name)
{
    static const char *const known[] = {
        "rope_parameters.rope_type", "rope_parameters.rope_theta", "rope_parameters.factor",
        "rope_parameters.original_max_position_embeddings", "rope_parameters.low_freq_factor",
        "rope_parameters.high_freq_factor", "rope_parameters.beta_fast", "rope_parameters.beta_slow",
        "rope_parameters.truncate", "rope_parameters.attention_factor", "rope_parameters.mscale",
        "rope_parameters.mscale_all_dim"};
    size_t head = strlen("rope_parameters.");
    for (size_t i = 0; !section && i < SONDE_COUNT(known); i++)
        if (strcmp(known[i] + head, name) == 0) return known[i];
    sonde_refuse(r, "rope section %s", section ? section : name);
    return known[0];
}

static sonde_rope_type read_type(sonde_recipe *r, const char *section)
{
    const char *name = sonde_get_text(r, key_in(r, section, "rope_type"), "default");
    for (size_t i = 0; i < SONDE_COUNT(type_names); i++)
        if (strcmp(type_names[i].name, name) == 0) return type_names[i].type;
    sonde_refuse(r, "rope type '%s' (known: default, linear, dynamic, llama3, yarn)", name);
    return SONDE_ROPE_DEFAULT;
}

static double mscale_of(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * sonde_log64(factor) + 1.0;
}

/* attention_factor when given, else the ratio of mscales, else 0.1 ln f + 1. */
static double yarn_scaling(sonde_recipe *r, const char *section, double factor)
{
    double given = sonde_get_float(r, key_in(r, section, "attention_factor"), 0.0);
    double m = sonde_get_float(r, key_in(r, section, "mscale"), 0.0);
    double all = sonde_get_float(r, key_in(r, section, "mscale_all_dim"), 0.0);
    if (given != 0.0) return given;
    if (m != 0.0 && all != 0.0) return mscale_of(factor, m) / mscale_of(factor, all);
    return mscale_of(factor, 1.0);
}

static void check_rope(sonde_recipe *r, const sonde_rope_spec *s)
{
    if (!sonde_recipe_good(r)) return;
    if (s->rotary_dims < 2 || s->rotary_dims % 2 != 0 || s->rotary_dims > SONDE_ROPE_DIMS_MAX)
        sonde_refuse(r, "%lld rotary dims (an even number from 2 to 1024 is needed)",
                     (long long)s->rotary_dims);
    if (!(s->theta > 0.0)) sonde_refuse(r, "rope_theta %g", s->theta);
    if (s->type != SONDE_ROPE_DEFAULT && !(s->factor > 0.0))
        sonde_refuse(r, "rope factor %g", s->factor);
    if (s->type == SONDE_ROPE_YARN && !(s->theta > 1.0))
        sonde_refuse(r, "yarn rope with rope_theta %g", s->theta);
}

sonde_rope_spec sonde_get_rope(sonde_recipe *r, const char *section, int64_t rotary_dims,
                               double default_theta)
{
    sonde_rope_spec s = {.type = read_type(r, section),
                         .pairing = SONDE_ROPE_HALF,
                         .rotary_dims = rotary_dims,
                         .max_positions = r->dims.max_positions,
                         .attention_scaling = 1.0,
                         .factor = 1.0,
                         .freq_divisors = SONDE_ROLE_NONE};
    s.theta = sonde_get_float(r, key_in(r, section, "rope_theta"), default_theta);
    s.original_max_positions =
        sonde_get_int(r, key_in(r, section, "original_max_position_embeddings"), s.max_positions, 1,
                      INT32_MAX);
    if (s.type != SONDE_ROPE_DEFAULT)
        s.factor = sonde_get_float(r, key_in(r, section, "factor"), SONDE_REQUIRED_FLOAT);
    if (s.type == SONDE_ROPE_LLAMA3) {
        s.low_freq_factor =
            sonde_get_float(r, key_in(r, section, "low_freq_factor"), SONDE_REQUIRED_FLOAT);
        s.high_freq_factor =
            sonde_get_float(r, key_in(r, section, "high_freq_factor"), SONDE_REQUIRED_FLOAT);
    }
    if (s.type == SONDE_ROPE_YARN) {
        s.beta_fast = sonde_get_float(r, key_in(r, section, "beta_fast"), 32.0);
        s.beta_slow = sonde_get_float(r, key_in(r, section, "beta_slow"), 1.0);
        s.truncate = sonde_get_bool(r, key_in(r, section, "truncate"), true);
        s.attention_scaling = yarn_scaling(r, section, s.factor);
    }
    check_rope(r, &s);
    return s;
}

int32_t sonde_rope_table(sonde_recipe *r, const sonde_rope_spec *spec)
{
    if (!sonde_recipe_good(r)) return 0;
    if (!sonde_grow(&r->ropes, &r->rope_capacity, (size_t)r->n_ropes + 1, sizeof *r->ropes)) {
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's rope tables");
        return 0;
    }
    r->ropes[r->n_ropes] = *spec;
    return (int32_t)r->n_ropes++;
}

bool sonde_rope_depends_on_length(const sonde_rope_spec *spec)
{
    return spec->type == SONDE_ROPE_DYNAMIC;
}

double sonde_rope_attention_scaling(const sonde_rope_spec *spec)
{
    return spec->attention_scaling;
}

/* The fp32 value of base^(-2i/r): rounded once. */
static float plain_frequency(double base, int64_t i, int64_t r)
{
    return (float)sonde_pow64(base, -(double)(2 * i) / (double)r);
}

static float llama3_frequency(const sonde_rope_spec *s, float inv)
{
    double original = (double)s->original_max_positions, wavelength = TWO_PI / (double)inv;
    if (wavelength > original / s->low_freq_factor) return (float)((double)inv / s->factor);
    if (wavelength < original / s->high_freq_factor) return inv;
    double smooth = (original / wavelength - s->low_freq_factor) /
                    (s->high_freq_factor - s->low_freq_factor);
    return (float)((1.0 - smooth) * (double)inv / s->factor + smooth * (double)inv);
}

/* The dimension whose wave turns `rotations` times over the original length. */
static double yarn_dimension(const sonde_rope_spec *s, double rotations)
{
    double turns = (double)s->original_max_positions / (rotations * TWO_PI);
    return (double)s->rotary_dims * sonde_log64(turns) / (2.0 * sonde_log64(s->theta));
}

static float yarn_frequency(const sonde_rope_spec *s, float inv, int64_t i)
{
    double low = yarn_dimension(s, s->beta_fast), high = yarn_dimension(s, s->beta_slow);
    if (s->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = SONDE_MAX(low, 0.0);
    high = SONDE_MIN(high, (double)(s->rotary_dims - 1));
    if (low == high) high += 0.001;
    double ramp = SONDE_MIN(SONDE_MAX(((double)i - low) / (high - low), 0.0), 1.0);
    double extrapolated = (double)inv, interpolated = extrapolated / s->factor;
    return (float)(interpolated * ramp + extrapolated * (1.0 - ramp));
}

/* dynamic: a larger base once the sequence is longer than the model was trained for. */
static double dynamic_base(const sonde_rope_spec *s, int64_t rope_length)
{
    if (rope_length <= s->max_positions) return s->theta;
    double r = (double)s->rotary_dims;
    double stretch = s->factor * (double)rope_length / (double)s->max_positions - (s->factor - 1.0);
    return s->theta * sonde_pow64(stretch, r / (r - 2.0));
}

void sonde_rope_frequencies(const sonde_rope_spec *s, int64_t rope_length, const float *divisors,
                            float *inv_freq)
{
    double base = s->type == SONDE_ROPE_DYNAMIC ? dynamic_base(s, rope_length) : s->theta;
    for (int64_t i = 0; i < s->rotary_dims / 2; i++) {
        float inv = plain_frequency(base, i, s->rotary_dims);
        if (s->type == SONDE_ROPE_LINEAR) inv = inv / (float)s->factor;
        if (s->type == SONDE_ROPE_LLAMA3) inv = llama3_frequency(s, inv);
        if (s->type == SONDE_ROPE_YARN) inv = yarn_frequency(s, inv, i);
        inv_freq[i] = divisors ? inv / divisors[i] : inv;
    }
}
