/* string.c - growing strings, numbers, near names, UTF-8. */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void sonde_string_append(sonde_string *s, const char *bytes, size_t n)
{
    size_t need;
    if (s->failed) return;
    if (!sonde_add_size(s->length, n + 1, &need) ||
        !sonde_grow(&s->data, &s->capacity, need, 1)) {
        s->failed = true;
        return;
    }
    if (n) memcpy(s->data + s->length, bytes, n);
    s->length += n;
    s->data[s->length] = '\0';
}

void sonde_string_text(sonde_string *s, const char *text)
{
    sonde_string_append(s, text, strlen(text));
}

void sonde_string_format(sonde_string *s, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || s->failed ||
        !sonde_grow(&s->data, &s->capacity, s->length + (size_t)length + 1, 1)) {
        s->failed = true;
    } else {
        vsnprintf(s->data + s->length, (size_t)length + 1, format, again);
        s->length += (size_t)length;
    }
    va_end(again);
}

static void json_char(sonde_string *s, unsigned char c)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = c ? strchr(named, c) : NULL;
    if (at) sonde_string_format(s, "\\%c", letters[at - named]);
    else if (c < 0x20) sonde_string_format(s, "\\u%04x", c);
    else sonde_string_append(s, (const char *)&c, 1);
}

void sonde_string_json(sonde_string *s, const char *bytes, size_t n)
{
    sonde_string_text(s, "\"");
    while (n > 0) {
        size_t valid = sonde_utf8_valid_prefix(bytes, n);
        for (size_t i = 0; i < valid; i++) json_char(s, (unsigned char)bytes[i]);
        if (valid < n) {
            sonde_string_text(s, "\xEF\xBF\xBD");
            valid++;
        }
        bytes += valid;
        n -= valid;
    }
    sonde_string_text(s, "\"");
}

void sonde_string_reset(sonde_string *s)
{
    sonde_free(s->data);
    memset(s, 0, sizeof *s);
}

bool sonde_parse_i64(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    if (!((*text >= '0' && *text <= '9') || *text == '-')) return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < min || value > max) return false;
    *out = value;
    return true;
}

bool sonde_parse_f64(const char *text, double min, double max, double *out)
{
    char *end;
    if (!strchr("0123456789-.", *text) || !*text || strpbrk(text, "xXnNiI")) return false;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < min || value > max) return false;
    *out = value;
    return true;
}

bool sonde_parse_bytes(const char *text, uint64_t *out)
{
    char *end;
    size_t digits = strspn(text, "0123456789.");
    if (*text < '0' || *text > '9') return false;
    double value = strtod(text, &end);
    if (end != text + digits) return false; /* hexadecimal, exponents, two points */
    static const char units[] = "KkMmGgTt";
    double factor = 1;
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u += 2) factor *= 1024;
        end++;
    }
    if (unit && *end == 'i') end++;
    if (*end == 'B') end++;
    if (*end || !isfinite(value) || value * factor >= 0x1p63) return false;
    *out = (uint64_t)(value * factor);
    return true;
}

const char *sonde_format_bytes(uint64_t bytes, char buffer[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < SONDE_COUNT(units)) {
        value /= 1000;
        unit++;
    }
    snprintf(buffer, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buffer;
}

#define NAME_LIMIT 128

size_t sonde_edit_distance(const char *a, const char *b, size_t limit)
{
    size_t n = strlen(a), m = strlen(b), row[NAME_LIMIT + 1];
    if (m > NAME_LIMIT || (n > m ? n - m : m - n) > limit) return limit + 1;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = SONDE_MIN(replaced, SONDE_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return SONDE_MIN(row[m], limit + 1);
}

const char *sonde_near_name(const char *text, const char *const *names)
{
    const char *best = NULL;
    size_t limit = strlen(text) / 3 + 1, best_distance = limit + 1;
    for (; *names; names++) {
        size_t distance = sonde_edit_distance(text, *names, limit);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = *names;
    }
    return best;
}

/* Bytes of the UTF-8 character at bytes[0..n), or 0 when it is none. */
static size_t utf8_length(const unsigned char *bytes, size_t n)
{
    unsigned char c = bytes[0];
    if (c < 0x80) return 1;
    size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || n < length) return 0;
    for (size_t i = 1; i < length; i++)
        if ((bytes[i] & 0xC0) != 0x80) return 0;
    bool overlong = (c == 0xE0 && bytes[1] < 0xA0) || (c == 0xF0 && bytes[1] < 0x90);
    bool surrogate = c == 0xED && bytes[1] > 0x9F;
    bool above = c == 0xF4 && bytes[1] > 0x8F;
    return overlong || surrogate || above ? 0 : length;
}

size_t sonde_utf8_valid_prefix(const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n) {
        size_t length = utf8_length((const unsigned char *)bytes + at, n - at);
        if (length == 0) break;
        at += length;
    }
    return at;
}

/* ---- texts of others in messages ------------------------------------------------------------ */

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7F;
}

const char *sonde_printable(const char *bytes, size_t n, char buffer[SONDE_PRINTABLE_BYTES])
{
    size_t used = 0, at = 0;
    while (at < n) {
        size_t valid = sonde_utf8_valid_prefix(bytes + at, n - at);
        for (size_t end = at + valid; at < end && used < SONDE_PRINTABLE_BYTES - 5; at++)
            buffer[used++] = is_control((unsigned char)bytes[at]) ? '?' : bytes[at];
        if (used >= SONDE_PRINTABLE_BYTES - 5) break;
        if (at < n) {
            buffer[used++] = '?';
            at++;
        }
    }
    /* A cut may have split a character: drop its pieces. */
    used = sonde_utf8_valid_prefix(buffer, used);
    memcpy(buffer + used, at < n ? "..." : "", at < n ? 4 : 1);
    return buffer;
}
