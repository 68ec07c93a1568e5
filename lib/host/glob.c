/* glob.c - commas, brace lists and globs of selections. */
#include "select_internal.h"

#include <string.h>

#define MAX_EXPANSIONS 4096
#define MAX_GROUPS 64

void sonde_text_list_reset(sonde_text_list *list)
{
    for (int64_t i = 0; i < list->count; i++) sonde_free(list->items[i]);
    sonde_free(list->items);
    memset(list, 0, sizeof *list);
}

/* Takes over `item` (also on failure). */
static sonde_status list_add(sonde_text_list *list, char *item, sonde_error *err)
{
    if (item && sonde_grow(&list->items, &list->capacity, (size_t)list->count + 1, sizeof item)) {
        list->items[list->count++] = item;
        return SONDE_OK;
    }
    sonde_free(item);
    return sonde_no_memory(err, "a selection", 64);
}

/* ---- splitting ------------------------------------------------------------------------------- */

static int nesting(char c)
{
    if (c == '{' || c == '[' || c == '(') return 1;
    return c == '}' || c == ']' || c == ')' ? -1 : 0;
}

sonde_status sonde_split_commas(const char *text, char ***pieces, int64_t *count, sonde_error *err)
{
    sonde_text_list list = {0};
    int depth = 0;
    const char *begin = text;
    sonde_status status = SONDE_OK;
    for (const char *at = text; status == SONDE_OK && depth >= 0; at++) {
        depth += nesting(*at);
        if (*at && (*at != ',' || depth > 0)) continue;
        status = list_add(&list, sonde_strndup(begin, (size_t)(at - begin)), err);
        begin = at + 1;
        if (!*at) break;
    }
    if (status == SONDE_OK && depth != 0)
        status = sonde_fail(err, SONDE_USAGE, "selection '%.100s': brackets do not match", text);
    if (status != SONDE_OK) {
        sonde_text_list_reset(&list);
        return status;
    }
    *pieces = list.items;
    *count = list.count;
    return SONDE_OK;
}

/* ---- brace lists ----------------------------------------------------------------------------- */

/* The closing brace of the group that opens at `open`, or NULL. */
static const char *closing_brace(const char *open)
{
    int depth = 0;
    for (const char *at = open; *at; at++) {
        if (*at == '{') depth++;
        if (*at == '}' && --depth == 0) return at;
    }
    return NULL;
}

typedef struct expansion {
    const char *whole; /* as typed, for messages */
    sonde_text_list *out;
    sonde_error *err;
} expansion;

static sonde_status expand(expansion *e, const char *pattern, int depth);

/* `pattern` with the group [open, close] replaced by each of its choices. */
static sonde_status expand_group(expansion *e, const char *pattern, const char *open,
                                 const char *close, int depth)
{
    char **choices = NULL;
    int64_t n_choices = 0;
    char *inside = sonde_strndup(open + 1, (size_t)(close - open - 1));
    if (!inside) return sonde_no_memory(e->err, "a selection", 64);
    sonde_status status = sonde_split_commas(inside, &choices, &n_choices, e->err);
    for (int64_t i = 0; i < n_choices; i++) {
        sonde_string text = {0};
        sonde_string_append(&text, pattern, (size_t)(open - pattern));
        sonde_string_text(&text, choices[i]);
        sonde_string_text(&text, close + 1);
        if (status == SONDE_OK)
            status = text.failed ? sonde_no_memory(e->err, "a selection", 64)
                                 : expand(e, text.data, depth + 1);
        sonde_string_reset(&text);
        sonde_free(choices[i]);
    }
    sonde_free(choices);
    sonde_free(inside);
    return status;
}

static sonde_status expand(expansion *e, const char *pattern, int depth)
{
    const char *open = strchr(pattern, '{');
    if (e->out->count >= MAX_EXPANSIONS || depth > MAX_GROUPS)
        return sonde_fail(e->err, SONDE_USAGE,
                          "selection '%.60s': its brace lists make more than %d "
                          "patterns, or are more than %d",
                          e->whole, MAX_EXPANSIONS, MAX_GROUPS);
    if (!open) return list_add(e->out, sonde_strdup(pattern), e->err);
    const char *close = closing_brace(open);
    if (close) return expand_group(e, pattern, open, close, depth);
    return sonde_fail(e->err, SONDE_USAGE, "selection '%.60s': '{' without '}'", e->whole);
}

sonde_status sonde_expand_braces(const char *pattern, sonde_text_list *globs, sonde_error *err)
{
    expansion e = {.whole = pattern, .out = globs, .err = err};
    return expand(&e, pattern, 0);
}

bool sonde_glob_plain(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

bool sonde_glob_match(const char *pattern, const char *text)
{
    sonde_text_list globs = {0};
    bool matches = false;
    if (sonde_expand_braces(pattern, &globs, NULL) == SONDE_OK)
        for (int64_t i = 0; i < globs.count && !matches; i++)
            matches = sonde_glob_plain(globs.items[i], text);
    sonde_text_list_reset(&globs);
    return matches;
}
