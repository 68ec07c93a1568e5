/*
 * points.c - the points selection: globs, brace lists, layers from the end, parts and rows.
 *
 * A selection text is split at top-level commas; each piece is cut into pattern, [parts] and @rows;
 * the pattern's brace lists are expanded, "blocks.-1" becomes the last block, and every point whose
 * name fits is selected.
 */
#include "select.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXPANSIONS 4096
#define MAX_TEXT 16384

typedef struct text_list {
    char **items;
    int64_t count;
    size_t capacity;
} text_list;

static void list_reset(text_list *list)
{
    for (int64_t i = 0; i < list->count; i++) sonde_free(list->items[i]);
    sonde_free(list->items);
    memset(list, 0, sizeof *list);
}

/* Takes over `item` (also on failure). */
static sonde_status list_add(text_list *list, char *item, sonde_error *err)
{
    if (item && sonde_grow(&list->items, &list->capacity, (size_t)list->count + 1, sizeof item)) {
        list->items[list->count++] = item;
        return SONDE_OK;
    }
    sonde_free(item);
    return sonde_no_memory(err, "a selection", 64);
}

/* ---- splitting ------------------------------------------------------------------------------------ */

static int nesting(char c)
{
    if (c == '{' || c == '[' || c == '(') return 1;
    return c == '}' || c == ']' || c == ')' ? -1 : 0;
}

sonde_status sonde_split_commas(const char *text, char ***pieces, int64_t *count, sonde_error *err)
{
    text_list list = {0};
    int depth = 0;
    const char *begin = text;
    sonde_status status = SONDE_OK;
    for (const char *at = text; status == SONDE_OK; at++) {
        depth += nesting(*at);
        if (*at && (*at != ',' || depth > 0)) continue;
        status = list_add(&list, sonde_strndup(begin, (size_t)(at - begin)), err);
        begin = at + 1;
        if (!*at) break;
    }
    if (status == SONDE_OK && depth != 0)
        status = sonde_fail(err, SONDE_USAGE, "selection '%s': brackets do not match", text);
    if (status != SONDE_OK) {
        list_reset(&list);
        return status;
    }
    *pieces = list.items;
    *count = list.count;
    return SONDE_OK;
}

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

/* Expands the brace lists of `pattern` into plain globs, outermost first. */
static sonde_status expand(const char *pattern, text_list *out, int depth, sonde_error *err)
{
    const char *open = strchr(pattern, '{');
    if (out->count >= MAX_EXPANSIONS || depth > 64)
        return sonde_fail(err, SONDE_USAGE, "selection '%.60s': its brace lists make more than %d "
                          "patterns", pattern, MAX_EXPANSIONS);
    if (!open) return list_add(out, sonde_strdup(pattern), err);
    const char *close = closing_brace(open);
    if (!close) return sonde_fail(err, SONDE_USAGE, "selection '%.60s': '{' without '}'", pattern);
    char *inside = sonde_strndup(open + 1, (size_t)(close - open - 1));
    char **choices = NULL;
    int64_t n_choices = 0;
    sonde_status status = inside ? sonde_split_commas(inside, &choices, &n_choices, err)
                                 : sonde_no_memory(err, "a selection", 64);
    for (int64_t i = 0; i < n_choices; i++) {
        sonde_string whole = {0};
        sonde_string_append(&whole, pattern, (size_t)(open - pattern));
        sonde_string_text(&whole, choices[i]);
        sonde_string_text(&whole, close + 1);
        if (status == SONDE_OK)
            status = whole.failed ? sonde_no_memory(err, "a selection", 64)
                                  : expand(whole.data, out, depth + 1, err);
        sonde_string_reset(&whole);
        sonde_free(choices[i]);
    }
    sonde_free(choices);
    sonde_free(inside);
    return status;
}

static bool glob_plain(const char *pattern, const char *text)
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
    text_list globs = {0};
    bool matches = false;
    if (expand(pattern, &globs, 0, NULL) == SONDE_OK)
        for (int64_t i = 0; i < globs.count && !matches; i++)
            matches = glob_plain(globs.items[i], text);
    list_reset(&globs);
    return matches;
}

/* ---- one piece: PATTERN[parts]@rows ---------------------------------------------------------------- */

typedef struct piece {
    char *pattern, *parts, *rows; /* parts without brackets; NULL where not given */
} piece;

static void piece_reset(piece *p)
{
    sonde_free(p->pattern);
    sonde_free(p->parts);
    sonde_free(p->rows);
}

static sonde_status cut_piece(const char *text, piece *p, sonde_error *err)
{
    memset(p, 0, sizeof *p);
    const char *at = strchr(text, '@');
    size_t length = at ? (size_t)(at - text) : strlen(text);
    size_t bracket = strcspn(text, "[");
    bool has_parts = bracket < length;
    if (has_parts && text[length - 1] != ']')
        return sonde_fail(err, SONDE_USAGE, "selection '%s': expected ']' at the end of the parts",
                          text);
    size_t name = has_parts ? bracket : length;
    if (name == 0) return sonde_fail(err, SONDE_USAGE, "selection '%s': the name is empty", text);
    p->pattern = sonde_strndup(text, name);
    if (has_parts) p->parts = sonde_strndup(text + bracket + 1, length - bracket - 2);
    if (at) p->rows = sonde_strdup(at + 1);
    if (p->pattern && (!has_parts || p->parts) && (!at || p->rows)) return SONDE_OK;
    piece_reset(p);
    return sonde_no_memory(err, "a selection", strlen(text));
}

/* "blocks.-2.x" -> "blocks.<n-2>.x"; other patterns are copied. */
static sonde_status resolve_layer(const char *glob, int64_t n_layers, char **out, sonde_error *err)
{
    static const char head[] = "blocks.-";
    *out = NULL;
    if (strncmp(glob, head, sizeof head - 1) != 0) {
        *out = sonde_strdup(glob);
        return *out ? SONDE_OK : sonde_no_memory(err, "a selection", strlen(glob));
    }
    const char *digits = glob + sizeof head - 1;
    size_t n = strspn(digits, "0123456789");
    char number[24];
    snprintf(number, sizeof number, "%.*s", (int)SONDE_MIN(n, 20), digits);
    int64_t back;
    if (!sonde_parse_i64(number, 1, n_layers, &back))
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "selection '%s': the model has %lld blocks, from "
                          "blocks.-%lld to blocks.-1", glob, (long long)n_layers,
                          (long long)n_layers);
    sonde_string text = {0};
    sonde_string_format(&text, "blocks.%lld%s", (long long)(n_layers - back), digits + n);
    if (text.failed) return sonde_no_memory(err, "a selection", strlen(glob));
    *out = text.data;
    return SONDE_OK;
}

/* ---- parts -------------------------------------------------------------------------------------------- */

static bool parse_part(const char *text, int64_t limit, sonde_part *part)
{
    const char *colon = strchr(text, ':');
    if (!colon) {
        if (!sonde_parse_i64(text, 0, limit - 1, &part->begin)) return false;
        part->end = part->begin + 1;
        return true;
    }
    char first[24];
    if (colon - text >= 24) return false;
    snprintf(first, sizeof first, "%.*s", (int)(colon - text), text);
    part->begin = 0;
    part->end = limit;
    bool good = (!*first || sonde_parse_i64(first, 0, limit - 1, &part->begin)) &&
                (!colon[1] || sonde_parse_i64(colon + 1, 1, limit, &part->end));
    return good && part->begin < part->end;
}

static sonde_status parse_parts(const char *text, const sonde_hook_point *point,
                                sonde_selected_point *selected, sonde_error *err)
{
    char **pieces;
    int64_t count;
    bool heads = point->n_dims == 2;
    int64_t limit = heads ? point->shape[0] : point->width;
    SONDE_TRY(sonde_split_commas(text, &pieces, &count, err));
    sonde_status status = SONDE_OK;
    selected->parts_are_heads = heads;
    selected->parts = sonde_alloc((size_t)count, sizeof *selected->parts);
    if (!selected->parts) status = sonde_no_memory(err, "parts of a selection", 64);
    for (int64_t i = 0; i < count; i++) {
        if (status == SONDE_OK && !parse_part(pieces[i], limit, &selected->parts[i]))
            status = sonde_fail(err, SONDE_USAGE, "selection '%s[%s]': '%s' is no %s of 0..%lld or "
                                "range A:B of them", point->name, text, pieces[i],
                                heads ? "head" : "channel", (long long)limit - 1);
        sonde_free(pieces[i]);
    }
    sonde_free(pieces);
    selected->n_parts = count;
    return status;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_parts(const sonde_selected_point *a, const sonde_selected_point *b)
{
    return a->n_parts == b->n_parts &&
           (a->n_parts == 0 ||
            memcmp(a->parts, b->parts, (size_t)a->n_parts * sizeof *a->parts) == 0);
}

/* ---- matching ---------------------------------------------------------------------------------------- */

typedef struct builder {
    const sonde_model *model;
    sonde_selected_point *by_point; /* [n_points]; point == -1: not selected */
    int64_t n_points;
    sonde_error *err;
} builder;

static void selected_reset(sonde_selected_point *selected)
{
    sonde_free(selected->parts);
    sonde_free(selected->rows);
    memset(selected, 0, sizeof *selected);
    selected->point = -1;
}

static sonde_status select_point(builder *b, int64_t index, const piece *p)
{
    const sonde_hook_point *point = sonde_model_point(b->model, index);
    sonde_selected_point made = {.point = index};
    sonde_status status = SONDE_OK;
    if (p->rows && !(made.rows = sonde_strdup(p->rows)))
        status = sonde_no_memory(b->err, "a selection", strlen(p->rows));
    if (status == SONDE_OK && p->parts) status = parse_parts(p->parts, point, &made, b->err);
    sonde_selected_point *slot = &b->by_point[index];
    bool taken = status == SONDE_OK && slot->point >= 0;
    if (taken && !(same_parts(slot, &made) && same_text(slot->rows, made.rows)))
        status = sonde_fail(b->err, SONDE_USAGE, "selection: %s is selected twice with different "
                            "parts or rows; use a second probe instance", point->name);
    if (status != SONDE_OK || taken) selected_reset(&made);
    else *slot = made;
    return status;
}

/* "blocks.7.attn.q" or "blocks.*.attn.q" -> "attn.q"; others as they are. */
static const char *local_part(const char *name)
{
    if (strncmp(name, "blocks.", 7) != 0) return name;
    const char *dot = strchr(name + 7, '.');
    return dot ? dot + 1 : name;
}

static const char *nearest_point(builder *b, const char *pattern, char buffer[128])
{
    const char *best = NULL;
    size_t best_distance = strlen(pattern) / 3 + 1;
    bool in_block = strncmp(pattern, "blocks.", 7) == 0;
    for (int64_t i = 0; i < b->n_points; i++) {
        const sonde_hook_point *point = sonde_model_point(b->model, i);
        const char *candidate = in_block && point->layer >= 0 ? point->local_name : point->name;
        const char *typed = in_block && point->layer >= 0 ? local_part(pattern) : pattern;
        size_t distance = sonde_edit_distance(typed, candidate, best_distance);
        if (distance >= best_distance) continue;
        best_distance = distance;
        bool block = in_block && point->layer >= 0;
        int head = block ? (int)(local_part(pattern) - pattern) : 0;
        snprintf(buffer, 128, "%.*s%s", head, pattern, candidate);
        best = buffer;
    }
    return best;
}

static sonde_status nothing_matches(builder *b, const char *pattern)
{
    sonde_model_info info;
    sonde_model_info_get(b->model, &info);
    const char *why = sonde_model_absent(b->model, local_part(pattern));
    if (why)
        return sonde_fail(b->err, SONDE_UNKNOWN_NAME, "hook point '%s': %s models have none: %s",
                          pattern, info.family, why);
    int64_t layer = -1;
    char number[24] = "";
    if (strncmp(pattern, "blocks.", 7) == 0)
        snprintf(number, sizeof number, "%.*s", (int)strspn(pattern + 7, "0123456789"), pattern + 7);
    if (sonde_parse_i64(number, 0, INT64_MAX, &layer) && layer >= info.n_layers)
        return sonde_fail(b->err, SONDE_UNKNOWN_NAME, "hook point '%s': the model has blocks 0 to "
                          "%lld", pattern, (long long)info.n_layers - 1);
    char buffer[128];
    const char *near = nearest_point(b, pattern, buffer);
    return sonde_fail(b->err, SONDE_UNKNOWN_NAME, "hook point '%s': nothing of this name%s%s%s",
                      pattern, near ? "; did you mean '" : "; see `sonde points MODEL`",
                      near ? near : "", near ? "'?" : "");
}

static sonde_status select_glob(builder *b, const char *glob, const piece *p)
{
    sonde_model_info info;
    sonde_model_info_get(b->model, &info);
    char *resolved;
    SONDE_TRY(resolve_layer(glob, info.n_layers, &resolved, b->err));
    int64_t matched = 0;
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < b->n_points && status == SONDE_OK; i++) {
        if (!glob_plain(resolved, sonde_model_point(b->model, i)->name)) continue;
        status = select_point(b, i, p);
        matched++;
    }
    if (status == SONDE_OK && matched == 0) status = nothing_matches(b, resolved);
    sonde_free(resolved);
    return status;
}

static sonde_status select_piece(builder *b, const char *text)
{
    static const char *const aliases[] = {"tl:", "hf:", "vllm:", "gguf:"};
    for (size_t i = 0; i < SONDE_COUNT(aliases); i++)
        if (strncmp(text, aliases[i], strlen(aliases[i])) == 0)
            return sonde_fail(b->err, SONDE_UNSUPPORTED, "selection '%s': names of other tools "
                              "(%s) are not built yet; see `sonde points MODEL`", text, aliases[i]);
    piece p;
    text_list globs = {0};
    SONDE_TRY(cut_piece(text, &p, b->err));
    sonde_status status = expand(p.pattern, &globs, 0, b->err);
    for (int64_t i = 0; i < globs.count && status == SONDE_OK; i++)
        status = select_glob(b, globs.items[i], &p);
    list_reset(&globs);
    piece_reset(&p);
    return status;
}

static sonde_status select_text(builder *b, const char *text)
{
    char **pieces;
    int64_t count;
    if (strlen(text) > MAX_TEXT)
        return sonde_fail(b->err, SONDE_USAGE, "selection '%.40s...': longer than %d bytes", text,
                          MAX_TEXT);
    SONDE_TRY(sonde_split_commas(text, &pieces, &count, b->err));
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < count; i++) {
        if (status == SONDE_OK) status = select_piece(b, pieces[i]);
        sonde_free(pieces[i]);
    }
    sonde_free(pieces);
    return status;
}

sonde_status sonde_points_select(const sonde_model *model, const char *const *texts, int64_t count,
                                 sonde_points_selection *selection, sonde_error *err)
{
    builder b = {.model = model, .n_points = sonde_model_point_count(model), .err = err};
    memset(selection, 0, sizeof *selection);
    b.by_point = sonde_alloc((size_t)b.n_points, sizeof *b.by_point);
    if (!b.by_point)
        return sonde_no_memory(err, "a selection", (size_t)b.n_points * sizeof *b.by_point);
    for (int64_t i = 0; i < b.n_points; i++) b.by_point[i].point = -1;
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < count && status == SONDE_OK; i++) status = select_text(&b, texts[i]);
    int64_t kept = 0;
    for (int64_t i = 0; i < b.n_points; i++) {
        if (status != SONDE_OK) selected_reset(&b.by_point[i]);
        else if (b.by_point[i].point >= 0) b.by_point[kept++] = b.by_point[i];
    }
    if (status != SONDE_OK) {
        sonde_free(b.by_point);
        return status;
    }
    selection->points = b.by_point;
    selection->count = kept;
    return SONDE_OK;
}

void sonde_points_reset(sonde_points_selection *selection)
{
    for (int64_t i = 0; i < selection->count; i++) selected_reset(&selection->points[i]);
    sonde_free(selection->points);
    memset(selection, 0, sizeof *selection);
}
