/* ranges.c - sets of code points. */
#include "ranges.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void sonde_ranges_reset(sonde_ranges *set)
{
    sonde_free(set->list);
    memset(set, 0, sizeof *set);
}

void sonde_ranges_add(sonde_ranges *set, uint32_t first, uint32_t last)
{
    if (set->failed) return;
    set->failed = !sonde_grow(&set->list, &set->capacity, set->count + 1, sizeof *set->list);
    if (set->failed) return;
    set->list[set->count][0] = first;
    set->list[set->count++][1] = last;
}

void sonde_ranges_add_all(sonde_ranges *set, const sonde_ranges *other)
{
    for (size_t i = 0; i < other->count; i++)
        sonde_ranges_add(set, other->list[i][0], other->list[i][1]);
    set->failed = set->failed || other->failed;
}

static int compare_firsts(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return x[0] < y[0] ? -1 : x[0] > y[0];
}

void sonde_ranges_sort(sonde_ranges *set)
{
    if (set->count < 2) return;
    qsort(set->list, set->count, sizeof *set->list, compare_firsts);
    size_t kept = 0;
    for (size_t i = 1; i < set->count; i++) {
        if (set->list[i][0] <= set->list[kept][1] + 1) {
            set->list[kept][1] = SONDE_MAX(set->list[kept][1], set->list[i][1]);
        } else {
            kept++;
            set->list[kept][0] = set->list[i][0];
            set->list[kept][1] = set->list[i][1];
        }
    }
    set->count = kept + 1;
}

void sonde_ranges_negate(sonde_ranges *set)
{
    sonde_ranges out = {.failed = set->failed};
    uint32_t next = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->list[i][0] > next) sonde_ranges_add(&out, next, set->list[i][0] - 1);
        next = set->list[i][1] + 1;
    }
    if (next < SONDE_UNICODE_END) sonde_ranges_add(&out, next, SONDE_UNICODE_END - 1);
    sonde_free(set->list);
    *set = out;
}

void sonde_ranges_intersect(sonde_ranges *set, const sonde_ranges *other)
{
    sonde_ranges out = {.failed = set->failed || other->failed};
    for (size_t i = 0, j = 0; i < set->count && j < other->count;) {
        uint32_t first = SONDE_MAX(set->list[i][0], other->list[j][0]);
        uint32_t last = SONDE_MIN(set->list[i][1], other->list[j][1]);
        if (first <= last) sonde_ranges_add(&out, first, last);
        if (set->list[i][1] < other->list[j][1]) i++;
        else j++;
    }
    sonde_free(set->list);
    *set = out;
}

bool sonde_ranges_has(const sonde_ranges *set, uint32_t code_point)
{
    for (size_t i = 0; i < set->count; i++)
        if (code_point >= set->list[i][0] && code_point <= set->list[i][1]) return true;
    return false;
}

bool sonde_ranges_equal(const sonde_ranges *a, const sonde_ranges *b)
{
    return a->count == b->count &&
           (a->count == 0 || memcmp(a->list, b->list, a->count * sizeof *a->list) == 0);
}

/* ---- properties ------------------------------------------------------------------------------ */

#define BIT(category) (1u << SONDE_CATEGORY_##category)

typedef struct property {
    const char *name;
    uint32_t categories, flag; /* any of these categories, or this flag of a class */
} property;

static const property properties[] = {
    {"L", BIT(LU) | BIT(LL) | BIT(LT) | BIT(LM) | BIT(LO), 0},
    {"M", BIT(MN) | BIT(MC) | BIT(ME), 0},
    {"N", BIT(ND) | BIT(NL) | BIT(NO), 0},
    {"Letter", BIT(LU) | BIT(LL) | BIT(LT) | BIT(LM) | BIT(LO), 0},
    {"Mark", BIT(MN) | BIT(MC) | BIT(ME), 0},
    {"Number", BIT(ND) | BIT(NL) | BIT(NO), 0},
    {"Punctuation", BIT(P), 0},
    {"Symbol", BIT(S), 0},
    {"P", BIT(P), 0},
    {"S", BIT(S), 0},
    {"Lu", BIT(LU), 0},
    {"Ll", BIT(LL), 0},
    {"Lt", BIT(LT), 0},
    {"Lm", BIT(LM), 0},
    {"Lo", BIT(LO), 0},
    {"Mn", BIT(MN), 0},
    {"Mc", BIT(MC), 0},
    {"Me", BIT(ME), 0},
    {"Nd", BIT(ND), 0},
    {"Nl", BIT(NL), 0},
    {"No", BIT(NO), 0},
    {"Zs", BIT(ZS), 0},
    {"Han", 0, SONDE_CLASS_HAN},
    {"Space", 0, SONDE_CLASS_SPACE},
    {"Digit", BIT(ND), 0},
    {"Word", 0, SONDE_CLASS_REGEX_WORD},
    {"=numeric", 0, SONDE_CLASS_DIGIT},
    {"=word", 0, SONDE_CLASS_WORD},
    {"=punctuation", 0, SONDE_CLASS_PUNCTUATION},
};

static void add_classes(sonde_ranges *set, const property *p)
{
    for (size_t i = 0; i < sonde_unicode_n_segments; i++) {
        uint32_t class = sonde_unicode_segments[i] & 0x7FFu;
        if (!(p->categories >> (class & SONDE_CLASS_CATEGORY) & 1) && !(class & p->flag)) continue;
        bool last = i + 1 == sonde_unicode_n_segments;
        uint32_t end = last ? SONDE_UNICODE_END : sonde_unicode_segments[i + 1] >> 11;
        sonde_ranges_add(set, sonde_unicode_segments[i] >> 11, end - 1);
    }
}

bool sonde_ranges_add_property(sonde_ranges *set, const char *name, size_t bytes)
{
    for (size_t i = 0; i < SONDE_COUNT(properties); i++) {
        if (strlen(properties[i].name) != bytes ||
            strncasecmp(properties[i].name, name, bytes) != 0)
            continue;
        add_classes(set, &properties[i]);
        return true;
    }
    return false;
}
