/* unicode.c - classes, UTF-8, normal forms and lower case over the generated tables. */
#include "unicode.h"

#include <stdlib.h>
#include <string.h>

#define HANGUL_S 0xAC00u
#define HANGUL_L 0x1100u
#define HANGUL_V 0x1161u
#define HANGUL_T 0x11A7u
#define HANGUL_N (21u * 28u)

uint32_t sonde_unicode_class(uint32_t code_point)
{
    size_t low = 0, high = sonde_unicode_n_segments;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (sonde_unicode_segments[middle] >> 11 <= code_point) low = middle;
        else high = middle;
    }
    return sonde_unicode_segments[low] & 0x7FFu;
}

size_t sonde_utf8_get(const char *bytes, uint32_t *code_point)
{
    const unsigned char *b = (const unsigned char *)bytes;
    if (b[0] < 0x80) {
        *code_point = b[0];
        return 1;
    }
    size_t length = b[0] >= 0xF0 ? 4 : b[0] >= 0xE0 ? 3 : 2;
    uint32_t value = b[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) value = value << 6 | (b[i] & 0x3Fu);
    *code_point = value;
    return length;
}

size_t sonde_utf8_put(uint32_t c, char bytes[4])
{
    if (c < 0x80) {
        bytes[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char heads[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length; i-- > 1; c >>= 6) bytes[i] = (char)(0x80u | (c & 0x3Fu));
    bytes[0] = (char)(heads[length] | c);
    return length;
}

bool sonde_chars_push(sonde_chars *chars, uint32_t code_point, uint32_t start, uint32_t end)
{
    if (!sonde_grow(&chars->data, &chars->capacity, chars->count + 1, sizeof *chars->data))
        return false;
    chars->data[chars->count++] = (sonde_char){code_point, start, end};
    return true;
}

bool sonde_chars_room(sonde_chars *chars, size_t n)
{
    chars->data = sonde_alloc_raw(n, sizeof *chars->data);
    chars->capacity = chars->data ? n : 0;
    chars->count = 0;
    if (chars->data) sonde_pages_huge(chars->data, n * sizeof *chars->data);
    return chars->data != NULL;
}

bool sonde_chars_append(sonde_chars *chars, const char *text, size_t begin, size_t end)
{
    if (end == begin) return true;
    if (!chars->data && !sonde_chars_room(chars, end - begin)) return false;
    if (!sonde_grow(&chars->data, &chars->capacity, chars->count + (end - begin),
                    sizeof *chars->data))
        return false;
    sonde_char *to = chars->data + chars->count;
    for (size_t at = begin; at < end; to++) {
        size_t length = sonde_utf8_get(text + at, &to->code_point);
        to->start = (uint32_t)at;
        to->end = (uint32_t)(at += length);
    }
    chars->count = (size_t)(to - chars->data);
    return true;
}

/* ---- normal forms ---------------------------------------------------------------------------- */

static uint32_t combining_class(uint32_t c)
{
    size_t low = 0, high = sonde_unicode_n_ccc;
    while (low < high) {
        size_t middle = (low + high) / 2;
        uint32_t at = sonde_unicode_ccc[middle] >> 8;
        if (at == c) return sonde_unicode_ccc[middle] & 0xFFu;
        if (at < c) low = middle + 1;
        else high = middle;
    }
    return 0;
}

static int compare_rows(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return x[0] != y[0] ? (x[0] < y[0] ? -1 : 1) : 0;
}

static int compare_pairs(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    if (x[0] != y[0]) return x[0] < y[0] ? -1 : 1;
    return x[1] != y[1] ? (x[1] < y[1] ? -1 : 1) : 0;
}

static bool decompose_hangul(sonde_chars *out, const sonde_char *c)
{
    uint32_t s = c->code_point - HANGUL_S;
    bool good = sonde_chars_push(out, HANGUL_L + s / HANGUL_N, c->start, c->end) &&
                sonde_chars_push(out, HANGUL_V + s % HANGUL_N / 28, c->start, c->end);
    if (good && s % 28 != 0) good = sonde_chars_push(out, HANGUL_T + s % 28, c->start, c->end);
    return good;
}

/* The row of c in a table of expansions, or NULL. */
static const uint32_t *expansion(const uint32_t (*rows)[2], size_t n, uint32_t c)
{
    return c < 'A' ? NULL : bsearch(&c, rows, n, sizeof *rows, compare_rows);
}

static bool push_expansion(sonde_chars *out, const uint32_t *row, const sonde_char *c)
{
    bool good = true;
    for (size_t i = 0; i < (row[1] & 0xFF) && good; i++)
        good = sonde_chars_push(out, sonde_unicode_pool[(row[1] >> 8) + i], c->start, c->end);
    return good;
}

static bool decompose(sonde_chars *out, const sonde_char *c, bool compat)
{
    const uint32_t *full =
        compat ? expansion(sonde_unicode_compat, sonde_unicode_n_compat, c->code_point) : NULL;
    if (full) return push_expansion(out, full, c);
    if (c->code_point >= HANGUL_S && c->code_point < HANGUL_S + 19 * HANGUL_N)
        return decompose_hangul(out, c);
    const uint32_t *row =
        c->code_point < 0xC0
            ? NULL
            : bsearch(&c->code_point, sonde_unicode_decompose, sonde_unicode_n_decompose,
                      sizeof *sonde_unicode_decompose, compare_rows);
    if (!row) return sonde_chars_push(out, c->code_point, c->start, c->end);
    for (size_t i = 1; i < 4 && row[i] != 0; i++) {
        sonde_char part = {row[i], c->start, c->end};
        if (!decompose(out, &part, compat)) return false;
    }
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Orders n marks by combining class, equal ones as they stood: n log n, for hostile runs. */
static bool reorder_run(sonde_char *marks, size_t n)
{
    uint64_t *keys = sonde_alloc_raw(n, sizeof *keys);
    sonde_char *copy = sonde_alloc_raw(n, sizeof *copy);
    if (keys && copy) {
        memcpy(copy, marks, n * sizeof *copy);
        for (size_t i = 0; i < n; i++)
            keys[i] = (uint64_t)combining_class(marks[i].code_point) << 32 | i;
        qsort(keys, n, sizeof *keys, compare_keys);
        for (size_t i = 0; i < n; i++) marks[i] = copy[(uint32_t)keys[i]];
    }
    bool good = keys && copy;
    sonde_free(keys);
    sonde_free(copy);
    return good;
}

/* Stable order of marks by combining class, between starters. */
static bool reorder(sonde_chars *chars)
{
    for (size_t i = 0, end; i < chars->count; i = end) {
        uint32_t class = combining_class(chars->data[i].code_point);
        bool ordered = true;
        for (end = i + 1; class != 0 && end < chars->count; end++) {
            uint32_t next = combining_class(chars->data[end].code_point);
            if (next == 0) break;
            ordered = ordered && next >= class;
            class = next;
        }
        if (!ordered && !reorder_run(chars->data + i, end - i)) return false;
    }
    return true;
}

/* The composition of a and b, or 0. */
static uint32_t composed(uint32_t a, uint32_t b)
{
    if (a - HANGUL_L < 19 && b - HANGUL_V < 21)
        return HANGUL_S + ((a - HANGUL_L) * 21 + (b - HANGUL_V)) * 28;
    bool open = a - HANGUL_S < 19 * HANGUL_N && (a - HANGUL_S) % 28 == 0;
    if (open && b - HANGUL_T - 1 < 27) return a + (b - HANGUL_T);
    uint32_t pair[2] = {a, b};
    const uint32_t *row = bsearch(pair, sonde_unicode_compose, sonde_unicode_n_compose,
                                  sizeof *sonde_unicode_compose, compare_pairs);
    return row ? row[2] : 0;
}

static void compose(sonde_chars *chars)
{
    size_t kept = 0, starter = SIZE_MAX;
    uint32_t last_class = 0;
    for (size_t i = 0; i < chars->count; i++) {
        sonde_char c = chars->data[i];
        uint32_t class = combining_class(c.code_point);
        bool adjacent = starter != SIZE_MAX && kept == starter + 1;
        bool blocked = starter == SIZE_MAX || (!adjacent && last_class >= class);
        uint32_t joined = blocked ? 0 : composed(chars->data[starter].code_point, c.code_point);
        if (joined) {
            sonde_char *base = &chars->data[starter];
            base->code_point = joined;
            base->start = SONDE_MIN(base->start, c.start);
            base->end = SONDE_MAX(base->end, c.end);
            continue;
        }
        if (class == 0) starter = kept;
        last_class = class;
        chars->data[kept++] = c;
    }
    chars->count = kept;
}

/* Characters that a form leaves alone, that begin what a mark may join, and that join none before
 * them. Below U+00A0 (compatibility) or U+00C0 (canonical) all are; composing also leaves Latin
 * letters up to the marks, the general punctuation but its two quads, currencies, and Han. */
static bool is_stable(uint32_t c, sonde_normal_form form)
{
    if (c < 0xA0) return true;
    if (form == SONDE_FORM_D) return c < 0xC0;
    if (form != SONDE_FORM_C) return false;
    return c < 0x300 || (c >= 0x2002 && c < 0x20D0) || (c >= 0x3400 && c < 0xA000);
}

static size_t stable_run(const sonde_char *chars, size_t n, sonde_normal_form form)
{
    size_t end = 0;
    while (end < n && is_stable(chars[end].code_point, form)) end++;
    return end;
}

bool sonde_chars_are_normal(const sonde_char *chars, size_t n, sonde_normal_form form)
{
    return stable_run(chars, n, form) == n;
}

static bool copy_run(sonde_chars *out, const sonde_char *run, size_t n)
{
    if (n == 0) return true;
    if (!sonde_grow(&out->data, &out->capacity, out->count + n, sizeof *run)) return false;
    memcpy(out->data + out->count, run, n * sizeof *run);
    out->count += n;
    return true;
}

/* A part that nothing behind it joins. */
static bool normalize_part(sonde_chars *out, const sonde_char *run, size_t n,
                           sonde_normal_form form)
{
    size_t from = out->count;
    bool good = true;
    for (size_t i = 0; i < n && good; i++)
        good = decompose(out, &run[i], form == SONDE_FORM_KD || form == SONDE_FORM_KC);
    if (!good) return false;
    sonde_chars part = {.data = out->data + from, .count = out->count - from};
    if (!reorder(&part)) return false;
    if (form == SONDE_FORM_C || form == SONDE_FORM_KC) compose(&part);
    out->count = from + part.count;
    return true;
}

bool sonde_chars_normalized(const sonde_char *chars, size_t n, sonde_normal_form form,
                            sonde_chars *out)
{
    size_t plain = stable_run(chars, n, form), at = 0;
    if (n == 0) return true;
    bool good = sonde_chars_room(out, n);
    while (at < n && good) {
        /* the last stable character may be joined by what follows */
        size_t alone = at + plain < n ? plain - (plain > 0) : plain, end = at + plain;
        while (end < n && !is_stable(chars[end].code_point, form)) end++;
        good = copy_run(out, chars + at, alone) &&
               normalize_part(out, chars + at + alone, end - at - alone, form);
        at = end;
        plain = stable_run(chars + at, n - at, form);
    }
    return good;
}

bool sonde_chars_normalize(sonde_chars *chars, sonde_normal_form form)
{
    sonde_chars out = {0};
    if (sonde_chars_are_normal(chars->data, chars->count, form)) return true;
    if (!sonde_chars_normalized(chars->data, chars->count, form, &out)) {
        sonde_free(out.data);
        return false;
    }
    sonde_free(chars->data);
    *chars = out;
    return true;
}

bool sonde_chars_lower(sonde_chars *chars)
{
    sonde_chars out = {0};
    if (chars->count == 0) return true;
    bool good = sonde_chars_room(&out, chars->count);
    for (size_t i = 0; i < chars->count && good; i++) {
        const sonde_char *c = &chars->data[i];
        const uint32_t *row = expansion(sonde_unicode_lower, sonde_unicode_n_lower, c->code_point);
        good = row ? push_expansion(&out, row, c)
                   : sonde_chars_push(&out, c->code_point, c->start, c->end);
    }
    if (!good) {
        sonde_free(out.data);
        return false;
    }
    sonde_free(chars->data);
    *chars = out;
    return true;
}
