/* Limits by name: "GLOBS:atol=1e-5,max-ulp=2". */
#include "analysis/diff_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} keys[] = {
    {"atol", offsetof(sonde_diff_limits, atol)},
    {"rtol", offsetof(sonde_diff_limits, rtol)},
    {"max-rel-l2", offsetof(sonde_diff_limits, max_rel_l2)},
    {"min-cosine", offsetof(sonde_diff_limits, min_cosine)},
    {"max-ulp", offsetof(sonde_diff_limits, max_ulp)},
};
#define N_KEYS (sizeof keys / sizeof keys[0])

static double *value_at(sonde_diff_limits *limits, size_t key)
{
    return (double *)(void *)((char *)limits + keys[key].offset);
}

/* One "key=number" of n bytes. */
static sonde_status parse_pair(const char *text, size_t n, const char *whole, diff_limit *limit,
                               sonde_error *err)
{
    const char *equals = memchr(text, '=', n);
    size_t length = equals ? (size_t)(equals - text) : n, key = 0;
    while (key < N_KEYS && !(strlen(keys[key].name) == length &&
                             memcmp(keys[key].name, text, length) == 0))
        key++;
    if (!equals || key == N_KEYS)
        return sonde_fail(err, SONDE_USAGE,
                          "--limit %.200s: '%.*s' is none of atol=X, rtol=X, max-rel-l2=X, "
                          "min-cosine=X, max-ulp=X",
                          whole, (int)(n < 64 ? n : 64), text);
    char *end;
    double value = strtod(equals + 1, &end);
    if (end != text + n || end == equals + 1 || !isfinite(value) || value < 0)
        return sonde_fail(err, SONDE_USAGE,
                          "--limit %.200s: expected a number of 0 or more after '%s=', got '%.*s'",
                          whole, keys[key].name, (int)(n < 64 ? n - length - 1 : 64), equals + 1);
    *value_at(&limit->limits, key) = value;
    limit->set |= 1u << key;
    return SONDE_OK;
}

static sonde_status parse_limit(const char *text, diff_limit *limit, sonde_error *err)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return sonde_fail(err, SONDE_USAGE, "--limit %.200s: expected GLOBS:KEY=X[,KEY=X]", text);
    size_t length = (size_t)(colon - text);
    SONDE_TRY(diff_alloc(length + 1, 1, "a limit", &limit->globs, err));
    memcpy(limit->globs, text, length);
    SONDE_TRY(diff_glob_check("--limit", limit->globs, err));
    for (const char *at = colon + 1;; at++) {
        size_t n = strcspn(at, ",");
        SONDE_TRY(parse_pair(at, n, text, limit, err));
        at += n;
        if (*at == '\0') return SONDE_OK;
    }
}

sonde_status diff_limits_parse(const sonde_option_list *texts, diff_limit **list, int64_t *n,
                               sonde_error *err)
{
    *n = texts->count;
    SONDE_TRY(diff_alloc((size_t)texts->count, sizeof **list, "the limits", list, err));
    for (int32_t i = 0; i < texts->count; i++)
        SONDE_TRY(parse_limit(texts->values[i], &(*list)[i], err));
    return SONDE_OK;
}

void diff_limits_free(diff_limit *list, int64_t n)
{
    for (int64_t i = 0; list && i < n; i++) free(list[i].globs);
    free(list);
}

void diff_limits_of(const sonde_diff_limits *base, const diff_limit *list, int64_t n,
                    const char *name, sonde_diff_limits *limits)
{
    *limits = *base;
    for (int64_t i = 0; i < n; i++) {
        sonde_diff_limits given = list[i].limits;
        if (!diff_glob_match(list[i].globs, name)) continue;
        for (size_t key = 0; key < N_KEYS; key++)
            if (list[i].set & (1u << key)) *value_at(limits, key) = *value_at(&given, key);
    }
}
