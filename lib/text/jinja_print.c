/* jinja_print.c - values as text: Python's str() and repr(), and json.dumps(ensure_ascii=False). */
#include "jinja_internal.h"

#include "unicode.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

static void add(jinja_buffer *b, const char *text)
{
    jinja_buffer_add(b, text, strlen(text), 0);
}

/* Python's repr(float): the shortest digits that read back as the same number, as 1.5, 1e+16 or
 * 1e-05 (a point below 1e16 and from 1e-4 on). */
static void print_float(jinja_buffer *b, double value)
{
    char digits[40], text[64];
    if (!isfinite(value)) {
        add(b, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 1;
    for (; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
        if (strtod(digits, NULL) == value) break;
    }
    snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(text, sizeof text, "%s", digits);
    } else {
        int decimals = precision - 1 - exponent;
        snprintf(text, sizeof text, "%.*f", decimals < 1 ? 1 : decimals, value);
    }
    add(b, text);
}

/* ---- str and repr ----------------------------------------------------------------------------- */

/* What str.isprintable() says: no control, format, private, unassigned or separating character. */
static bool is_printable(uint32_t c)
{
    uint32_t category = sonde_unicode_class(c) & SONDE_CLASS_CATEGORY;
    return category != SONDE_CATEGORY_OTHER && (category != SONDE_CATEGORY_ZS || c == ' ');
}

/* Characters that Python escapes; true when this one was written. */
static bool print_escape(jinja_buffer *b, uint32_t c, char quote, uint8_t tag)
{
    char text[12] = "";
    if (c == '\n') strcpy(text, "\\n");
    else if (c == '\r') strcpy(text, "\\r");
    else if (c == '\t') strcpy(text, "\\t");
    else if (c == '\\' || c == (uint32_t)quote) snprintf(text, sizeof text, "\\%c", (char)c);
    else if (is_printable(c)) return false;
    else if (c <= 0xFF) snprintf(text, sizeof text, "\\x%02x", c);
    else snprintf(text, sizeof text, c <= 0xFFFF ? "\\u%04x" : "\\U%08x", c);
    jinja_buffer_add(b, text, strlen(text), tag);
    return true;
}

static void print_repr_text(jinja_buffer *b, const jinja_value *v)
{
    const char *bytes = v->as.text.bytes;
    bool apostrophe = v->count > 0 && memchr(bytes, '\'', v->count);
    char quote[2] = {apostrophe && !memchr(bytes, '"', v->count) ? '"' : '\'', '\0'};
    add(b, quote);
    for (size_t at = 0, n; at < v->count; at += n) {
        uint32_t c;
        uint8_t tag = v->as.text.tags ? v->as.text.tags[at] : 0;
        n = sonde_utf8_get(bytes + at, &c);
        if (!print_escape(b, c, quote[0], tag)) jinja_buffer_add(b, bytes + at, n, tag);
    }
    add(b, quote);
}

static void print_repr(jinja_buffer *b, const jinja_value *v)
{
    if (v->kind == JINJA_STRING) print_repr_text(b, v);
    else if (v->kind == JINJA_UNDEFINED) add(b, "Undefined");
    else jinja_print(b, v);
}

static void print_collection(jinja_buffer *b, const jinja_value *v)
{
    bool dict = v->kind == JINJA_DICT;
    add(b, dict ? "{" : "[");
    for (size_t i = 0; i < v->count; i++) {
        if (i > 0) add(b, ", ");
        print_repr(b, v->as.list.items[dict ? 2 * i : i]);
        if (!dict) continue;
        add(b, ": ");
        print_repr(b, v->as.list.items[2 * i + 1]);
    }
    add(b, dict ? "}" : "]");
}

void jinja_print(jinja_buffer *b, const jinja_value *v)
{
    char text[32];
    switch (v->kind) {
    case JINJA_UNDEFINED: return;
    case JINJA_NONE: add(b, "None"); return;
    case JINJA_BOOL: add(b, v->as.integer ? "True" : "False"); return;
    case JINJA_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->as.integer);
        add(b, text);
        return;
    case JINJA_FLOAT: print_float(b, v->as.real); return;
    case JINJA_STRING: jinja_buffer_add_text(b, v); return;
    case JINJA_LIST:
    case JINJA_DICT: print_collection(b, v); return;
    default: add(b, "<function>");
    }
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static void print_json_text(jinja_buffer *b, const jinja_value *v)
{
    static const char plain[] = "\"\\\n\r\t\f\b", escaped[] = "\"\\nrtfb";
    jinja_buffer_add(b, "\"", 1, v->as.text.tags && v->count ? v->as.text.tags[0] : 0);
    for (size_t i = 0; i < v->count; i++) {
        char c = v->as.text.bytes[i], text[8] = {c, '\0'};
        uint8_t tag = v->as.text.tags ? v->as.text.tags[i] : 0;
        const char *found = c ? strchr(plain, c) : NULL;
        if (found) snprintf(text, sizeof text, "\\%c", escaped[found - plain]);
        else if ((unsigned char)c < 0x20) snprintf(text, sizeof text, "\\u%04x", (unsigned char)c);
        jinja_buffer_add(b, text, strlen(text), tag);
    }
    jinja_buffer_add(b, "\"", 1, v->as.text.tags && v->count ? v->as.text.tags[0] : 0);
}

static void new_line(jinja_buffer *b, int indent, int depth)
{
    static const char spaces[] = "                                ";
    add(b, "\n");
    for (int left = indent * depth; left > 0; left -= (int)sizeof spaces - 1)
        jinja_buffer_add(b, spaces, SONDE_MIN((size_t)left, sizeof spaces - 1), 0);
}

static void print_json(jinja_buffer *b, const jinja_value *v, int indent, int depth)
{
    bool dict = v->kind == JINJA_DICT;
    if (v->kind == JINJA_STRING) {
        print_json_text(b, v);
        return;
    }
    if (v->kind == JINJA_NONE || v->kind == JINJA_UNDEFINED) {
        add(b, "null");
        return;
    }
    if (v->kind == JINJA_BOOL) {
        add(b, v->as.integer ? "true" : "false");
        return;
    }
    if (!dict && v->kind != JINJA_LIST) {
        jinja_print(b, v);
        return;
    }
    add(b, dict ? "{" : "[");
    for (size_t i = 0; i < v->count; i++) {
        if (i > 0) add(b, indent < 0 ? ", " : ",");
        if (indent >= 0) new_line(b, indent, depth + 1);
        if (dict) {
            print_json(b, v->as.list.items[2 * i], indent, depth + 1);
            add(b, ": ");
        }
        print_json(b, v->as.list.items[dict ? 2 * i + 1 : i], indent, depth + 1);
    }
    if (indent >= 0 && v->count > 0) new_line(b, indent, depth);
    add(b, dict ? "}" : "]");
}

void jinja_print_json(jinja_buffer *b, const jinja_value *v, int indent)
{
    print_json(b, v, indent, 0);
}
