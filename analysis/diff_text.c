/* Waivers, globs and text that is safe to print. */
#include "analysis/diff_internal.h"

#include <string.h>

const char *const diff_waive_names[] = {"model", "points", "rows", "tokens",
                                        "dtype", "vocabulary", NULL};

static unsigned waive_bit(const char *name, size_t n)
{
    for (unsigned i = 0; diff_waive_names[i]; i++)
        if (strlen(diff_waive_names[i]) == n && memcmp(diff_waive_names[i], name, n) == 0)
            return 1u << i;
    return 0;
}

sonde_status diff_waive_parse(const char *text, unsigned *waived, sonde_error *err)
{
    *waived = 0;
    for (const char *at = text; at && *at;) {
        size_t n = strcspn(at, ",");
        unsigned bit = waive_bit(at, n);
        if (!bit)
            return sonde_fail(err, SONDE_USAGE,
                              "--waive %s: '%.*s' is none of model, points, rows, tokens, dtype, "
                              "vocabulary",
                              text, (int)(n < 64 ? n : 64), at);
        *waived |= bit;
        at += n;
        if (*at == ',') at++;
    }
    return SONDE_OK;
}

/* The end of the brace list that opens at `open`, or NULL. */
static const char *brace_end(const char *open, const char *end)
{
    int depth = 0;
    for (const char *at = open; at < end; at++) {
        if (*at == '{') depth++;
        if (*at == '}' && --depth == 0) return at;
    }
    return NULL;
}

/* The comma (outside inner braces) or the end that closes an alternative which starts at `at`. */
static const char *piece_end(const char *at, const char *end)
{
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '{') depth++;
        if (*at == '}') depth--;
        if (*at == ',' && depth == 0) return at;
    }
    return end;
}

/* A pattern as a list of spans that are matched one after the other: what is left of an
 * alternative, then what follows its braces. Depth is bounded by DIFF_GLOB_DEPTH. */
typedef struct span {
    const char *at, *end;
    const struct span *next;
} span;
#define DIFF_GLOB_DEPTH 16

static bool match(const span *pattern, const char *name, int depth);

static bool match_braces(const span *p, const char *close, const char *name, int depth)
{
    const span rest = {close + 1, p->end, p->next};
    for (const char *at = p->at + 1;; at++) {
        const char *end = piece_end(at, close);
        const span piece = {at, end, &rest};
        if (match(&piece, name, depth + 1)) return true;
        if (end == close) return false;
        at = end;
    }
}

static bool match(const span *pattern, const char *name, int depth)
{
    span p = *pattern;
    for (;;) {
        while (p.at == p.end && p.next) p = *p.next;
        if (p.at == p.end) return *name == '\0';
        if (*p.at == '{') {
            const char *close = brace_end(p.at, p.end);
            return close && depth < DIFF_GLOB_DEPTH && match_braces(&p, close, name, depth);
        }
        if (*p.at == '*') {
            const span rest = {p.at + 1, p.end, p.next};
            do {
                if (match(&rest, name, depth)) return true;
            } while (*name++);
            return false;
        }
        if (*name == '\0' || (*p.at != '?' && *p.at != *name)) return false;
        p.at++;
        name++;
    }
}

bool diff_glob_match(const char *globs, const char *name)
{
    const char *end = globs + strlen(globs);
    for (const char *at = globs;; at++) {
        const char *stop = piece_end(at, end);
        const span pattern = {at, stop, NULL};
        if (match(&pattern, name, 0)) return true;
        if (stop == end) return false;
        at = stop;
    }
}

sonde_status diff_glob_check(const char *option, const char *globs, sonde_error *err)
{
    int depth = 0, stars = 0;
    for (const char *at = globs; *at; at++) {
        if (*at == '{') depth++;
        if (*at == '}') depth--;
        if (*at == '*') stars++;
        if (*at == ',' && depth == 0) stars = 0;
        if (depth < 0 || depth > DIFF_GLOB_DEPTH || stars > 8) break;
    }
    if (depth == 0 && stars <= 8) return SONDE_OK;
    return sonde_fail(err, SONDE_USAGE,
                      "%s %.200s: expected globs with paired braces (at most %d deep) and at most "
                      "8 stars each",
                      option, globs, DIFF_GLOB_DEPTH);
}

/* Length of the valid UTF-8 character at bytes[0..n), 0 when it is broken or a control. */
static size_t printable_length(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '\\';
    size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || want > n) return 0;
    for (size_t i = 1; i < want; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    bool bad = (s[0] == 0xc2 && s[1] < 0xa0) || (s[0] == 0xe0 && s[1] < 0xa0) ||
               (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
               (s[0] == 0xf4 && s[1] > 0x8f);
    return bad ? 0 : want;
}

void diff_printable(const char *bytes, size_t n, char *out, size_t out_bytes)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        size_t length = printable_length((const unsigned char *)bytes + i, n - i);
        size_t need = length ? length : 4;
        if (used + need + 1 > out_bytes) break;
        if (length) {
            memcpy(out + used, bytes + i, length);
        } else {
            unsigned char c = (unsigned char)bytes[i];
            const char escape[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
            memcpy(out + used, escape, 4);
            length = 1;
        }
        used += need;
        i += length;
    }
    out[used] = '\0';
}
