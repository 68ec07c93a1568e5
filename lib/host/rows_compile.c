/* rows_compile.c - a small recursive-descent parser of rows expressions. */
#include "rows_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64
#define MAX_TEXT 16384
#define MAX_LIST_BYTES ((size_t)256 << 20)

typedef struct parser {
    const char *text, *at;
    int depth;
    bool no_files; /* file:LIST is refused */
    sonde_error *err;
} parser;

static sonde_status parse_or(parser *p, sonde_rows_node **out);

static void node_destroy(sonde_rows_node *n)
{
    if (!n) return;
    node_destroy(n->left);
    node_destroy(n->right);
    for (int64_t i = 0; n->listed && i < n->n_listed; i++) sonde_free(n->listed[i].id);
    sonde_free(n->listed);
    sonde_free(n->tokens);
    sonde_free(n);
}

static sonde_status new_node(parser *p, sonde_rows_kind kind, sonde_rows_node **out)
{
    *out = sonde_alloc(1, sizeof **out);
    if (!*out) return sonde_no_memory(p->err, "a rows expression", sizeof **out);
    (*out)->kind = kind;
    return SONDE_OK;
}

/* The expression in a message: all of it, or its first 80 bytes. */
#define SHOWN "rows expression '%.80s%s'"
#define SHOW(p) (p)->text, strlen((p)->text) > 80 ? "..." : ""

static sonde_status syntax(parser *p, const char *expected)
{
    return sonde_fail(p->err, SONDE_USAGE, SHOWN ": expected %s at character %zu, got %s%.20s%s",
                      SHOW(p), expected, (size_t)(p->at - p->text) + 1, *p->at ? "'" : "the end",
                      p->at, *p->at ? "'" : "");
}

static void skip_space(parser *p)
{
    while (isspace((unsigned char)*p->at)) p->at++;
}

/* ---- terms ----------------------------------------------------------------------------------- */

typedef struct term {
    const char *name;
    sonde_rows_kind kind;
    int64_t code; /* phase or segment code */
    bool takes_value;
} term;

static const term terms[] = {
    {"all", SONDE_ROWS_ALL, 0, false},
    {"prompt", SONDE_ROWS_PHASE, 0, false},
    {"generated", SONDE_ROWS_PHASE, 1, false},
    {"continuation", SONDE_ROWS_PHASE, 2, false},
    {"system", SONDE_ROWS_SEGMENT, 1, false},
    {"user", SONDE_ROWS_SEGMENT, 2, false},
    {"assistant", SONDE_ROWS_SEGMENT, 3, false},
    {"reasoning", SONDE_ROWS_SEGMENT, 4, false},
    {"tool", SONDE_ROWS_SEGMENT, 5, false},
    {"markup", SONDE_ROWS_SEGMENT, 6, false},
    {"special", SONDE_ROWS_SPECIAL, 0, false},
    {"bos", SONDE_ROWS_BOS, 0, false},
    {"marked", SONDE_ROWS_MARKED, 0, false},
    {"first", SONDE_ROWS_FIRST, 0, true},
    {"last", SONDE_ROWS_LAST, 0, true},
    {"every", SONDE_ROWS_EVERY, 0, true},
    {"pos", SONDE_ROWS_POS, 0, true},
    {"sample", SONDE_ROWS_SAMPLE, 0, true},
    {"token", SONDE_ROWS_TOKEN, 0, true},
    {"file", SONDE_ROWS_FILE, 0, true},
};
static const char *const term_names[] = {
    "all",       "prompt", "generated", "continuation", "system", "user",   "assistant",
    "reasoning", "tool",   "markup",    "special",      "bos",    "marked", "first",
    "last",      "every",  "pos",       "sample",       "token",  "file",   NULL};

static sonde_status bad_value(parser *p, const char *name, const char *value, const char *expected)
{
    return sonde_fail(p->err, SONDE_USAGE, SHOWN ": %s:%.60s: expected %s", SHOW(p), name, value,
                      expected);
}

static sonde_status parse_range(parser *p, sonde_rows_node *n, const char *value)
{
    const char *dots = strstr(value, "..");
    char first[32] = "", end[32] = "";
    if (!dots || dots - value >= 32 || strlen(dots + 2) >= 32)
        return bad_value(p, "pos", value,
                         "A..B (rows with A <= position < B; either may be left out)");
    memcpy(first, value, (size_t)(dots - value));
    memcpy(end, dots + 2, strlen(dots + 2) + 1);
    n->a = 0;
    n->b = INT64_MAX;
    bool good = (!*first || sonde_parse_i64(first, 0, INT64_MAX, &n->a)) &&
                (!*end || sonde_parse_i64(end, 0, INT64_MAX, &n->b)) && n->a < n->b;
    if (good) return SONDE_OK;
    return bad_value(p, "pos", value, "A..B with 0 <= A < B");
}

static sonde_status parse_tokens(parser *p, sonde_rows_node *n, char *value)
{
    size_t capacity = 0;
    char *rest = value, *piece;
    while ((piece = strsep(&rest, ",")) != NULL) {
        int64_t id;
        if (!sonde_parse_i64(piece, 0, UINT32_MAX, &id))
            return bad_value(p, "token", piece, "token ids joined by commas, without spaces");
        if (!sonde_grow(&n->tokens, &capacity, (size_t)n->n_listed + 1, sizeof *n->tokens))
            return sonde_no_memory(p->err, "token ids", capacity * sizeof *n->tokens);
        n->tokens[n->n_listed++] = (uint32_t)id;
    }
    qsort(n->tokens, (size_t)n->n_listed, sizeof *n->tokens, sonde_token_compare);
    return SONDE_OK;
}

static sonde_status add_listed(parser *p, sonde_rows_node *n, size_t *capacity, const char *id,
                               size_t bytes, int64_t position)
{
    if (!sonde_grow(&n->listed, capacity, (size_t)n->n_listed + 1, sizeof *n->listed))
        return sonde_no_memory(p->err, "a list of rows", *capacity * sizeof *n->listed);
    sonde_listed_row *row = &n->listed[n->n_listed];
    row->position = position;
    row->id = sonde_strndup(id, bytes);
    if (!row->id) return sonde_no_memory(p->err, "a list of rows", bytes);
    n->n_listed++;
    return SONDE_OK;
}

static sonde_status parse_listed_lines(parser *p, sonde_rows_node *n, const char *path, char *text)
{
    size_t capacity = 0;
    char *rest = text, *line;
    for (int64_t number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == '\r') line[--length] = '\0';
        if (length == 0) continue;
        char *space = strrchr(line, ' ');
        int64_t position;
        if (!space || space == line || !sonde_parse_i64(space + 1, 0, UINT32_MAX, &position))
            return sonde_fail(p->err, SONDE_USAGE, "%s:%lld: expected 'ID POSITION', got '%.60s'",
                              path, (long long)number, line);
        SONDE_TRY(add_listed(p, n, &capacity, line, (size_t)(space - line), position));
    }
    if (n->n_listed > 1)
        qsort(n->listed, (size_t)n->n_listed, sizeof *n->listed, sonde_listed_row_compare);
    return SONDE_OK;
}

static sonde_status parse_listed(parser *p, sonde_rows_node *n, const char *path)
{
    char *text = NULL;
    size_t bytes;
    if (p->no_files)
        return bad_value(p, "file", path, "no list: a prompt's rows do not read files");
    SONDE_TRY(sonde_read_file(path, MAX_LIST_BYTES, &text, &bytes, p->err));
    sonde_status status = strlen(text) == bytes ? parse_listed_lines(p, n, path, text)
                                                : sonde_fail(p->err, SONDE_USAGE,
                                                             "%s: expected text, got a NUL at byte "
                                                             "%zu",
                                                             path, strlen(text) + 1);
    sonde_free(text);
    return status;
}

static sonde_status parse_value(parser *p, sonde_rows_node *n, const char *name, char *value)
{
    switch (n->kind) {
    case SONDE_ROWS_FIRST:
    case SONDE_ROWS_LAST:
    case SONDE_ROWS_EVERY:
        if (sonde_parse_i64(value, 1, INT64_MAX, &n->a)) return SONDE_OK;
        return bad_value(p, name, value, "a whole number of at least 1");
    case SONDE_ROWS_SAMPLE:
        if (sonde_parse_f64(value, 0.0, 1.0, &n->share) && n->share > 0.0) return SONDE_OK;
        return bad_value(p, name, value, "a share with 0 < P <= 1");
    case SONDE_ROWS_POS: return parse_range(p, n, value);
    case SONDE_ROWS_TOKEN: return parse_tokens(p, n, value);
    default: return parse_listed(p, n, value);
    }
}

static const term *find_term(const char *name)
{
    for (size_t i = 0; i < SONDE_COUNT(terms); i++)
        if (strcmp(terms[i].name, name) == 0) return &terms[i];
    return NULL;
}

static sonde_status unknown_term(parser *p, const char *name)
{
    const char *near = sonde_near_name(name, term_names);
    return sonde_fail(
        p->err, SONDE_USAGE, SHOWN ": no term '%s'%s%s%s", SHOW(p), name,
        near ? "; did you mean '"
             : "; terms are all prompt generated continuation "
               "system user assistant reasoning tool markup special bos marked first:N last:N "
               "pos:A..B every:N sample:P token:ID,... file:LIST",
        near ? near : "", near ? "'?" : "");
}

static sonde_status parse_term(parser *p, sonde_rows_node **out)
{
    const char *begin = p->at;
    while (isalpha((unsigned char)*p->at)) p->at++;
    if (p->at == begin) return syntax(p, "a term");
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)SONDE_MIN(p->at - begin, 31), begin);
    const term *t = find_term(name);
    if (!t) return unknown_term(p, name);
    if (t->takes_value != (*p->at == ':'))
        return syntax(p, t->takes_value ? "':' and a value" : "no value");
    SONDE_TRY(new_node(p, t->kind, out));
    (*out)->a = t->code;
    if (!t->takes_value) return SONDE_OK;
    const char *value_begin = ++p->at;
    p->at += strcspn(p->at, "&|()! \t");
    char *value = sonde_strndup(value_begin, (size_t)(p->at - value_begin));
    if (!value) return sonde_no_memory(p->err, "a rows expression", 64);
    sonde_status status = parse_value(p, *out, name, value);
    sonde_free(value);
    return status;
}

/* ---- operators ------------------------------------------------------------------------------- */

static sonde_status parse_unary(parser *p, sonde_rows_node **out)
{
    skip_space(p);
    if (++p->depth > MAX_DEPTH) return syntax(p, "fewer nested parentheses");
    sonde_status status;
    if (*p->at == '!') {
        p->at++;
        status = new_node(p, SONDE_ROWS_NOT, out);
        if (status == SONDE_OK) status = parse_unary(p, &(*out)->left);
    } else if (*p->at == '(') {
        p->at++;
        status = parse_or(p, out);
        if (status == SONDE_OK && *p->at != ')') status = syntax(p, "')'");
        if (status == SONDE_OK) p->at++;
    } else {
        status = parse_term(p, out);
    }
    p->depth--;
    skip_space(p);
    return status;
}

typedef sonde_status parse_function(parser *p, sonde_rows_node **out);

static sonde_status parse_joined(parser *p, sonde_rows_node **out, char operator,
                                 sonde_rows_kind kind, parse_function *operand)
{
    SONDE_TRY(operand(p, out));
    while (*p->at == operator) {
        p->at++;
        sonde_rows_node *joined;
        SONDE_TRY(new_node(p, kind, &joined));
        joined->left = *out;
        *out = joined;
        SONDE_TRY(operand(p, &joined->right));
    }
    return SONDE_OK;
}

static sonde_status parse_and(parser *p, sonde_rows_node **out)
{
    return parse_joined(p, out, '&', SONDE_ROWS_AND, parse_unary);
}

static sonde_status parse_or(parser *p, sonde_rows_node **out)
{
    return parse_joined(p, out, '|', SONDE_ROWS_OR, parse_and);
}

static sonde_status compile(const char *text, bool no_files, sonde_rows_expr **expr,
                            sonde_error *err)
{
    if (strlen(text) > MAX_TEXT)
        return sonde_fail(err, SONDE_USAGE,
                          "rows expression '%.40s...': longer than %d bytes; put "
                          "long lists into a file (file:LIST)",
                          text, MAX_TEXT);
    sonde_rows_expr *e = sonde_alloc(1, sizeof *e);
    if (!e) return sonde_no_memory(err, "a rows expression", sizeof *e);
    parser p = {.text = text, .at = text, .no_files = no_files, .err = err};
    sonde_status status = parse_or(&p, &e->root);
    if (status == SONDE_OK && *p.at) status = syntax(&p, "'&', '|' or the end");
    if (status != SONDE_OK) {
        sonde_rows_destroy(&e);
        return status;
    }
    *expr = e;
    return SONDE_OK;
}

sonde_status sonde_rows_compile(const char *text, sonde_rows_expr **expr, sonde_error *err)
{
    return compile(text, false, expr, err);
}

sonde_status sonde_rows_compile_without_files(const char *text, sonde_rows_expr **expr,
                                              sonde_error *err)
{
    return compile(text, true, expr, err);
}

void sonde_rows_destroy(sonde_rows_expr **expr)
{
    if (!*expr) return;
    node_destroy((*expr)->root);
    sonde_free(*expr);
    *expr = NULL;
}
