/*
 * points.c - the points selection: globs, brace lists, layers from the end, parts and rows.
 *
 * A selection text is split at top-level commas; each piece is cut into pattern, [parts] and @rows;
 * the pattern's brace lists are expanded, "blocks.-1" becomes the last block, and every point whose
 * name fits is selected. With a prefix (tl: hf: vllm: gguf:) the names are another tool's.
 */
#include "select_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 16384

/* ---- one piece: PATTERN[parts]@rows ---------------------------------------------------------- */

typedef struct piece {
    sonde_naming naming;
    char *pattern, *parts, *rows; /* parts without brackets; NULL where not given */
} piece;

static void piece_reset(piece *p)
{
    sonde_free(p->pattern);
    sonde_free(p->parts);
    sonde_free(p->rows);
    memset(p, 0, sizeof *p);
}

static const char *skip_spaces(const char *text, size_t *length)
{
    while (*length > 0 && *text == ' ') {
        text++;
        --*length;
    }
    while (*length > 0 && text[*length - 1] == ' ') --*length;
    return text;
}

/* Rows are compiled once to be refused here, where the person wrote them. */
static sonde_status check_rows(const char *text, const char *rows, sonde_error *err)
{
    sonde_rows_expr *expr = NULL;
    sonde_error why = {0};
    sonde_status status = sonde_rows_compile(rows, &expr, &why);
    sonde_rows_destroy(&expr);
    if (status == SONDE_OK) return SONDE_OK;
    return sonde_fail(err, status, "selection '%.80s': %s", text, why.message);
}

/* NAME or NAME[parts] of `length` bytes; a Hugging Face name has brackets of its own. */
static sonde_status cut_name(const char *text, size_t length, piece *p, sonde_error *err)
{
    const char *own = p->naming == SONDE_NAMING_HF ? memchr(text, ']', length) : NULL;
    size_t begin = own ? (size_t)(own - text) : 0;
    const char *bracket = memchr(text + begin, '[', length - begin);
    size_t name = bracket ? (size_t)(bracket - text) : length;
    if (bracket && text[length - 1] != ']')
        return sonde_fail(err, SONDE_USAGE,
                          "selection '%.100s': expected ']' at the end of the parts", text);
    if (name == 0)
        return sonde_fail(err, SONDE_USAGE, "selection '%.100s': the name is empty", text);
    p->pattern = sonde_strndup(text, name);
    if (bracket) p->parts = sonde_strndup(bracket + 1, length - name - 2);
    if (p->pattern && (!bracket || p->parts)) return SONDE_OK;
    return sonde_no_memory(err, "a selection", length);
}

static sonde_status cut_piece(const char *text, piece *p, sonde_error *err)
{
    memset(p, 0, sizeof *p);
    const char *name, *at = strchr(text, '@');
    size_t length = at ? (size_t)(at - text) : strlen(text);
    text = skip_spaces(text, &length);
    p->naming = sonde_naming_of(text, &name);
    length -= SONDE_MIN(length, (size_t)(name - text));
    sonde_status status = cut_name(name, length, p, err);
    if (status == SONDE_OK && at) status = check_rows(text, at + 1, err);
    if (status == SONDE_OK && at && !(p->rows = sonde_strdup(at + 1)))
        status = sonde_no_memory(err, "a selection", strlen(at));
    if (status != SONDE_OK) piece_reset(p);
    return status;
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
        return sonde_fail(err, SONDE_UNKNOWN_NAME,
                          "selection '%.100s': the model has %lld blocks, from "
                          "blocks.-%lld to blocks.-1",
                          glob, (long long)n_layers, (long long)n_layers);
    sonde_string text = {0};
    sonde_string_format(&text, "blocks.%lld%s", (long long)(n_layers - back), digits + n);
    if (text.failed) return sonde_no_memory(err, "a selection", strlen(glob));
    *out = text.data;
    return SONDE_OK;
}

/* ---- parts ----------------------------------------------------------------------------------- */

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

static int compare_parts(const void *a, const void *b)
{
    const sonde_part *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* False when a head or channel is named twice. */
static bool parts_are_disjoint(const sonde_part *parts, int64_t n, sonde_part *sorted)
{
    memcpy(sorted, parts, (size_t)n * sizeof *parts);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_parts);
    for (int64_t i = 1; i < n; i++)
        if (sorted[i].begin < sorted[i - 1].end) return false;
    return true;
}

static sonde_status read_parts(const char *text, char *const *pieces, int64_t count,
                               const sonde_hook_point *point, sonde_selected_point *selected,
                               sonde_error *err)
{
    const char *what = selected->parts_are_heads ? "head" : "channel";
    int64_t limit = selected->parts_are_heads ? point->shape[0] : point->width;
    selected->n_parts = count;
    selected->parts = sonde_alloc((size_t)count, sizeof *selected->parts);
    sonde_part *sorted = sonde_alloc((size_t)count, sizeof *sorted);
    sonde_status status = selected->parts && sorted
                              ? SONDE_OK
                              : sonde_no_memory(err, "parts of a selection", (size_t)count * 16);
    for (int64_t i = 0; i < count && status == SONDE_OK; i++)
        if (!parse_part(pieces[i], limit, &selected->parts[i]))
            status = sonde_fail(err, SONDE_USAGE,
                                "selection '%s[%.60s]': '%.20s' is no %s of 0..%lld or "
                                "range A:B of them",
                                point->name, text, pieces[i], what, (long long)limit - 1);
    if (status == SONDE_OK && !parts_are_disjoint(selected->parts, count, sorted))
        status = sonde_fail(err, SONDE_USAGE, "selection '%s[%.60s]': a %s is named twice",
                            point->name, text, what);
    sonde_free(sorted);
    return status;
}

static sonde_status parse_parts(const char *text, const sonde_hook_point *point,
                                sonde_selected_point *selected, sonde_error *err)
{
    char **pieces;
    int64_t count;
    SONDE_TRY(sonde_split_commas(text, &pieces, &count, err));
    selected->parts_are_heads = point->n_dims == 2;
    sonde_status status = read_parts(text, pieces, count, point, selected, err);
    for (int64_t i = 0; i < count; i++) sonde_free(pieces[i]);
    sonde_free(pieces);
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

/* ---- matching -------------------------------------------------------------------------------- */

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
        status = sonde_fail(b->err, SONDE_USAGE,
                            "selection: %s is selected twice with different "
                            "parts or rows; use a second probe instance",
                            point->name);
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

/* A name to suggest and how far it is from what was typed. */
typedef struct suggestion {
    char name[SONDE_POINT_NAME_BYTES];
    size_t distance; /* candidates must be nearer */
} suggestion;

static void suggest(suggestion *best, const char *typed, const char *candidate, const char *head,
                    int head_length)
{
    size_t distance = sonde_edit_distance(typed, candidate, best->distance);
    if (distance >= best->distance) return;
    best->distance = distance;
    snprintf(best->name, sizeof best->name, "%.*s%s", head_length, head, candidate);
}

/* Names inside a block are compared without the block, so that a typo is not weighed against a
 * digit; a name that lacks its block is found too. */
static void suggest_point(const sonde_model *model, int64_t index, const char *pattern,
                          suggestion *best)
{
    const sonde_hook_point *point = sonde_model_point(model, index);
    const char *local = local_part(pattern);
    if (point->layer >= 0 && local != pattern) {
        if (strcmp(local, point->local_name) != 0) /* else it is the block that is wrong */
            suggest(best, local, point->local_name, pattern, (int)SONDE_MIN(local - pattern, 64));
    } else if (point->layer >= 0) {
        suggest(best, pattern, point->local_name, "blocks.*.", 9);
    }
    suggest(best, pattern, point->name, "", 0);
}

static void suggest_names(const builder *b, sonde_naming naming, const char *pattern,
                          suggestion *best)
{
    char names[2][SONDE_POINT_NAME_BYTES];
    best->distance = strlen(pattern) / 3 + 1;
    for (int64_t i = 0; i < b->n_points; i++) {
        if (naming == SONDE_NAMING_OWN) suggest_point(b->model, i, pattern, best);
        else if (sonde_point_names(b->model, i, naming, names) > 0)
            suggest(best, pattern, names[0], "", 0);
    }
}

/* "blocks.30.x" of a model with fewer blocks; then *err is filled. */
static bool names_no_block(const builder *b, const char *prefix, const char *pattern,
                           const sonde_model_info *info)
{
    int64_t layer;
    char number[24] = "";
    if (strncmp(pattern, "blocks.", 7) == 0)
        snprintf(number, sizeof number, "%.*s",
                 (int)SONDE_MIN(strspn(pattern + 7, "0123456789"), 20), pattern + 7);
    if (!sonde_parse_i64(number, 0, INT64_MAX, &layer) || layer < info->n_layers) return false;
    sonde_fail(b->err, SONDE_UNKNOWN_NAME, "hook point '%s%.100s': the model has blocks 0 to %lld",
               prefix, pattern, (long long)info->n_layers - 1);
    return true;
}

static sonde_status nothing_matches(const builder *b, sonde_naming naming, const char *pattern)
{
    sonde_model_info info;
    suggestion near = {0};
    const char *prefix = sonde_naming_prefix(naming);
    bool own = naming == SONDE_NAMING_OWN;
    sonde_model_info_get(b->model, &info);
    const char *why = own ? sonde_model_absent(b->model, local_part(pattern))
                          : sonde_naming_refusal(b->model, naming, pattern);
    if (why)
        return sonde_fail(b->err, SONDE_UNKNOWN_NAME,
                          "hook point '%s%.100s': %s models have none: %s", prefix, pattern,
                          info.family, why);
    if (names_no_block(b, prefix, pattern, &info)) return SONDE_UNKNOWN_NAME;
    if (*pattern && strspn(pattern, "0123456789") == strlen(pattern) && own)
        return sonde_fail(b->err, SONDE_UNKNOWN_NAME,
                          "hook point '%.100s': a number is no name; commas "
                          "in rows need parentheses: SEL@(token:1,2)",
                          pattern);
    suggest_names(b, naming, pattern, &near);
    if (near.name[0])
        return sonde_fail(b->err, SONDE_UNKNOWN_NAME,
                          "hook point '%s%.100s': nothing of this name; did "
                          "you mean '%s%s'?",
                          prefix, pattern, prefix, near.name);
    return sonde_fail(b->err, SONDE_UNKNOWN_NAME,
                      "hook point '%s%.100s': nothing of this name; see "
                      "`sonde points MODEL`",
                      prefix, pattern);
}

static bool has_name(const builder *b, int64_t index, sonde_naming naming, const char *glob)
{
    char names[2][SONDE_POINT_NAME_BYTES];
    if (naming == SONDE_NAMING_OWN)
        return sonde_glob_plain(glob, sonde_model_point(b->model, index)->name);
    int n = sonde_point_names(b->model, index, naming, names);
    for (int i = 0; i < n; i++)
        if (sonde_glob_plain(glob, names[i])) return true;
    return false;
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
        if (!has_name(b, i, p->naming, resolved)) continue;
        status = select_point(b, i, p);
        matched++;
    }
    if (status == SONDE_OK && matched == 0) status = nothing_matches(b, p->naming, resolved);
    sonde_free(resolved);
    return status;
}

static sonde_status select_piece(builder *b, const char *text)
{
    piece p;
    sonde_text_list globs = {0};
    SONDE_TRY(cut_piece(text, &p, b->err));
    sonde_status status = sonde_expand_braces(p.pattern, &globs, b->err);
    for (int64_t i = 0; i < globs.count && status == SONDE_OK; i++)
        status = select_glob(b, globs.items[i], &p);
    sonde_text_list_reset(&globs);
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
