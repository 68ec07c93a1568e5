/* rope.c - reading rope parameters and making inv_freq (model-families.md 2.3). */
#include "recipe_internal.h"

#include "kernels/functions.h"
#include "weights/config.h"

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
    {"longrope", SONDE_ROPE_LONGROPE},
};

/* Names of keys are kept by the recipe, so each is a literal: plain, and in the two sections. */
#define ROPE_KEY(name)                                                                             \
    {"rope_parameters." name, "rope_parameters.full_attention." name,                              \
     "rope_parameters.sliding_attention." name}

/* Which of a key's names applies: where a file has no sections, its plain dictionary is that of the
 * full layers, and sliding layers have none. */
static int section_index(sonde_recipe *r, const char *section)
{
    if (!section) return 0;
    bool full = strcmp(section, "full_attention") == 0;
    if (!full && strcmp(section, "sliding_attention") != 0) sonde_refuse(r, "rope section %s", section);
    if (!full) return 2;
    return sonde_config_find(r->config, "rope_parameters.full_attention") ? 1 : 0;
}

static const char *key_in(sonde_recipe *r, const char *section, const char *name)
{
    static const char *const known[][3] = {
        ROPE_KEY("rope_type"), ROPE_KEY("rope_theta"), ROPE_KEY("factor"),
        ROPE_KEY("original_max_position_embeddings"), ROPE_KEY("low_freq_factor"),
        ROPE_KEY("high_freq_factor"), ROPE_KEY("beta_fast"), ROPE_KEY("beta_slow"),
        ROPE_KEY("truncate"), ROPE_KEY("attention_factor"), ROPE_KEY("mscale"),
        ROPE_KEY("mscale_all_dim"), ROPE_KEY("short_factor"), ROPE_KEY("long_factor")};
    size_t head = strlen("rope_parameters."), at = 0;
    while (at + 1 < SONDE_COUNT(known) && strcmp(known[at][0] + head, name) != 0) at++;
    return known[at][section_index(r, section)];
}

static sonde_rope_type read_type(sonde_recipe *r, const char *section)
{
    const char *name = sonde_get_text(r, key_in(r, section, "rope_type"), "default");
    bool lists = sonde_has(r, key_in(r, section, "long_factor"));
    if (lists && strcmp(name, "yarn") == 0) return SONDE_ROPE_LONGROPE; /* an older name: Phi-3 */
    for (size_t i = 0; i < SONDE_COUNT(type_names); i++)
        if (strcmp(type_names[i].name, name) == 0) return type_names[i].type;
    sonde_refuse(r, "rope type '%s' (known: default, linear, dynamic, llama3, yarn, longrope)", name);
    return SONDE_ROPE_DEFAULT;
}

double sonde_yarn_mscale(double factor, double mscale)
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
    if (m != 0.0 && all != 0.0) return sonde_yarn_mscale(factor, m) / sonde_yarn_mscale(factor, all);
    return sonde_yarn_mscale(factor, 1.0);
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

static void read_llama3(sonde_recipe *r, const char *section, sonde_rope_spec *s)
{
    s->low_freq_factor = sonde_get_float(r, key_in(r, section, "low_freq_factor"), SONDE_REQUIRED_FLOAT);
    s->high_freq_factor =
        sonde_get_float(r, key_in(r, section, "high_freq_factor"), SONDE_REQUIRED_FLOAT);
}

static void read_yarn(sonde_recipe *r, const char *section, sonde_rope_spec *s)
{
    s->beta_fast = sonde_get_float(r, key_in(r, section, "beta_fast"), 32.0);
    s->beta_slow = sonde_get_float(r, key_in(r, section, "beta_slow"), 1.0);
    s->truncate = sonde_get_bool(r, key_in(r, section, "truncate"), true);
    s->attention_scaling = yarn_scaling(r, section, s->factor);
}

static const double *read_factors(sonde_recipe *r, const char *key, int64_t n)
{
    if (sonde_recipe_good(r) && sonde_list_length(r, key) != n)
        sonde_refuse(r, "%s of %lld numbers (half of the rotary dims, %lld, is needed)", key,
                     (long long)sonde_list_length(r, key), (long long)n);
    double *factors = sonde_recipe_numbers(r, SONDE_MAX(n, 1));
    for (int64_t i = 0; factors && i < n; i++) {
        factors[i] = sonde_get_list_float(r, key, i, 1.0);
        if (!(factors[i] > 0.0)) sonde_refuse(r, "%s with %g in it", key, factors[i]);
    }
    return factors;
}

/* factor: longest length over the original one, where it is not given; attention_factor: sqrt(1 + ln
 * f / ln original), likewise. GGUF has the two lists as tensors. */
static void read_longrope(sonde_recipe *r, const char *section, sonde_rope_spec *s)
{
    double original = (double)s->original_max_positions;
    s->factor = sonde_get_float(r, key_in(r, section, "factor"), (double)s->max_positions / original);
    double given = sonde_get_float(r, key_in(r, section, "attention_factor"), 0.0);
    if (given != 0.0) s->attention_scaling = given;
    else if (s->factor > 1.0 && original > 1.0)
        s->attention_scaling = sqrt(1.0 + sonde_log64(s->factor) / sonde_log64(original));
    if (sonde_from_gguf(r) && sonde_has_weight(r, SONDE_ROLE_ROPE_LONG, SONDE_GLOBAL)) {
        s->short_divisors = SONDE_ROLE_ROPE_SHORT;
        s->long_divisors = SONDE_ROLE_ROPE_LONG;
        return;
    }
    s->short_factors = read_factors(r, key_in(r, section, "short_factor"), s->rotary_dims / 2);
    s->long_factors = read_factors(r, key_in(r, section, "long_factor"), s->rotary_dims / 2);
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
                         .freq_divisors = SONDE_ROLE_NONE,
                         .short_divisors = SONDE_ROLE_NONE,
                         .long_divisors = SONDE_ROLE_NONE};
    s.theta = sonde_get_float(r, key_in(r, section, "rope_theta"), default_theta);
    s.original_max_positions =
        sonde_get_int(r, key_in(r, section, "original_max_position_embeddings"), s.max_positions, 1,
                      INT32_MAX);
    if (s.type != SONDE_ROPE_DEFAULT && s.type != SONDE_ROPE_LONGROPE)
        s.factor = sonde_get_float(r, key_in(r, section, "factor"), SONDE_REQUIRED_FLOAT);
    if (s.type == SONDE_ROPE_LLAMA3) read_llama3(r, section, &s);
    if (s.type == SONDE_ROPE_YARN) read_yarn(r, section, &s);
    if (s.type == SONDE_ROPE_LONGROPE) read_longrope(r, section, &s);
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
    return spec->type == SONDE_ROPE_DYNAMIC || spec->type == SONDE_ROPE_LONGROPE;
}

bool sonde_rope_is_long(const sonde_rope_spec *spec, int64_t rope_length)
{
    return spec->type == SONDE_ROPE_LONGROPE && rope_length > spec->original_max_positions;
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

/* longrope: 1 / (factor base^(2i/r)), rounded once whichever file the factors came from. */
static float longrope_frequency(const sonde_rope_spec *s, bool is_long, const float *divisors,
                                int64_t i)
{
    const double *factors = is_long ? s->long_factors : s->short_factors;
    double factor = divisors ? (double)divisors[i] : factors ? (double)(float)factors[i] : 1.0;
    double power = sonde_pow64(s->theta, -(double)(2 * i) / (double)s->rotary_dims);
    return (float)(power / factor);
}

void sonde_rope_frequencies(const sonde_rope_spec *s, int64_t rope_length, const float *divisors,
                            float *inv_freq)
{
    double base = s->type == SONDE_ROPE_DYNAMIC ? dynamic_base(s, rope_length) : s->theta;
    bool is_long = sonde_rope_is_long(s, rope_length);
    for (int64_t i = 0; i < s->rotary_dims / 2; i++) {
        if (s->type == SONDE_ROPE_LONGROPE) {
            inv_freq[i] = longrope_frequency(s, is_long, divisors, i);
            continue;
        }
        float inv = plain_frequency(base, i, s->rotary_dims);
        if (s->type == SONDE_ROPE_LINEAR) inv = inv / (float)s->factor;
        if (s->type == SONDE_ROPE_LLAMA3) inv = llama3_frequency(s, inv);
        if (s->type == SONDE_ROPE_YARN) inv = yarn_frequency(s, inv, i);
        inv_freq[i] = divisors ? inv / divisors[i] : inv;
    }
}
