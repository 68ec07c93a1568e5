/*
 * rows.c - rows expressions: a small recursive-descent parser and an evaluator over sets of rows.
 *
 * Every node maps the set of rows it is given to a subset: a conjunction hands each term what the
 * terms before it left, so `prompt&last:1` is the last row of the prompt; a disjunction gives every
 * branch the same set and joins the results; `!x` is what x would take away.
 */
#include "select.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef enum node_kind {
    NODE_ALL,
    NODE_PHASE,
    NODE_SEGMENT,
    NODE_SPECIAL,
    NODE_BOS,
    NODE_MARKED,
    NODE_FIRST,
    NODE_LAST,
    NODE_EVERY,
    NODE_POS,
    NODE_SAMPLE,
    NODE_TOKEN,
    NODE_FILE,
    NODE_AND,
    NODE_OR,
    NODE_NOT,
} node_kind;

typedef struct listed_row {
    char *id;
    int64_t position;
} listed_row;

typedef struct node {
    node_kind kind;
    int64_t a, b; /* numbers of a term: code, N, first and end position */
    double share; /* sample:P */
    uint32_t *tokens;
    listed_row *listed;
    int64_t n_listed; /* tokens or listed rows */
    struct node *left, *right;
} node;

struct sonde_rows_expr {
    node *root;
};

#define MAX_DEPTH 64
#define MAX_TEXT 16384
#define MAX_LIST_BYTES ((size_t)256 << 20)

typedef struct parser {
    const char *text, *at;
    int depth;
    bool no_files; /* file:LIST is refused */
    sonde_error *err;
} parser;

static sonde_status parse_or(parser *p, node **out);

static void node_destroy(node *n)
{
    if (!n) return;
    node_destroy(n->left);
    node_destroy(n->right);
    for (int64_t i = 0; n->listed && i < n->n_listed; i++) sonde_free(n->listed[i].id);
    sonde_free(n->listed);
    sonde_free(n->tokens);
    sonde_free(n);
}

static sonde_status new_node(parser *p, node_kind kind, node **out)
{
    *out = sonde_alloc(1, sizeof **out);
    if (!*out) return sonde_no_memory(p->err, "a rows expression", sizeof **out);
    (*out)->kind = kind;
    return SONDE_OK;
}

static sonde_status syntax(parser *p, const char *expected)
{
    return sonde_fail(p->err, SONDE_USAGE, "rows expression '%s': expected %s at character %zu, got %s%.20s%s",
                      p->text, expected, (size_t)(p->at - p->text) + 1, *p->at ? "'" : "the end",
                      p->at, *p->at ? "'" : "");
}

static void skip_space(parser *p)
{
    while (isspace((unsigned char)*p->at)) p->at++;
}

/* ---- terms ----------------------------------------------------------------------------------------- */

typedef struct term {
    const char *name;
    node_kind kind;
    int64_t code; /* phase or segment code */
    bool takes_value;
} term;

static const term terms[] = {
    {"all", NODE_ALL, 0, false},          {"prompt", NODE_PHASE, 0, false},
    {"generated", NODE_PHASE, 1, false},  {"continuation", NODE_PHASE, 2, false},
    {"system", NODE_SEGMENT, 1, false},   {"user", NODE_SEGMENT, 2, false},
    {"assistant", NODE_SEGMENT, 3, false}, {"reasoning", NODE_SEGMENT, 4, false},
    {"tool", NODE_SEGMENT, 5, false},     {"markup", NODE_SEGMENT, 6, false},
    {"special", NODE_SPECIAL, 0, false},  {"bos", NODE_BOS, 0, false},
    {"marked", NODE_MARKED, 0, false},    {"first", NODE_FIRST, 0, true},
    {"last", NODE_LAST, 0, true},         {"every", NODE_EVERY, 0, true},
    {"pos", NODE_POS, 0, true},           {"sample", NODE_SAMPLE, 0, true},
    {"token", NODE_TOKEN, 0, true},       {"file", NODE_FILE, 0, true},
};
static const char *const term_names[] = {
    "all", "prompt", "generated", "continuation", "system", "user", "assistant", "reasoning", "tool",
    "markup", "special", "bos", "marked", "first", "last", "every", "pos", "sample", "token", "file",
    NULL};

static sonde_status bad_value(parser *p, const char *name, const char *value, const char *expected)
{
    return sonde_fail(p->err, SONDE_USAGE, "rows expression '%s': %s:%s: expected %s", p->text, name,
                      value, expected);
}

static sonde_status parse_range(parser *p, node *n, const char *value)
{
    const char *dots = strstr(value, "..");
    char first[32] = "", end[32] = "";
    if (!dots || dots - value >= 32 || strlen(dots + 2) >= 32)
        return bad_value(p, "pos", value, "A..B (rows with A <= position < B; either may be left out)");
    memcpy(first, value, (size_t)(dots - value));
    memcpy(end, dots + 2, strlen(dots + 2) + 1);
    n->a = 0;
    n->b = INT64_MAX;
    bool good = (!*first || sonde_parse_i64(first, 0, INT64_MAX, &n->a)) &&
                (!*end || sonde_parse_i64(end, 0, INT64_MAX, &n->b)) && n->a < n->b;
    if (good) return SONDE_OK;
    return bad_value(p, "pos", value, "A..B with 0 <= A < B");
}

static sonde_status parse_tokens(parser *p, node *n, char *value)
{
    size_t capacity = 0;
    char *rest = value, *piece;
    while ((piece = strsep(&rest, ",")) != NULL) {
        int64_t id;
        if (!sonde_parse_i64(piece, 0, UINT32_MAX, &id))
            return bad_value(p, "token", piece, "a token id");
        if (!sonde_grow(&n->tokens, &capacity, (size_t)n->n_listed + 1, sizeof *n->tokens))
            return sonde_no_memory(p->err, "token ids", capacity * sizeof *n->tokens);
        n->tokens[n->n_listed++] = (uint32_t)id;
    }
    return SONDE_OK;
}

static int compare_listed(const void *a, const void *b)
{
    const listed_row *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    if (order != 0) return order;
    return x->position < y->position ? -1 : x->position > y->position;
}

/* Lines "ID POSITION": ID is a prompt's id or its index; blank lines are skipped. */
static sonde_status parse_listed_lines(parser *p, node *n, const char *path, char *text)
{
    size_t capacity = 0;
    char *rest = text, *line;
    for (int64_t number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
        char *space = strrchr(line, ' ');
        int64_t position;
        if (!*line || strcmp(line, "\r") == 0) continue;
        if (space && space[1] && space[strlen(space) - 1] == '\r') space[strlen(space) - 1] = '\0';
        if (!space || space == line || !sonde_parse_i64(space + 1, 0, UINT32_MAX, &position))
            return sonde_fail(p->err, SONDE_USAGE, "%s: line %lld: expected 'ID POSITION', got '%.60s'",
                              path, (long long)number, line);
        if (!sonde_grow(&n->listed, &capacity, (size_t)n->n_listed + 1, sizeof *n->listed))
            return sonde_no_memory(p->err, path, capacity * sizeof *n->listed);
        listed_row *row = &n->listed[n->n_listed];
        row->position = position;
        row->id = sonde_strndup(line, (size_t)(space - line));
        if (!row->id) return sonde_no_memory(p->err, path, (size_t)(space - line));
        n->n_listed++;
    }
    if (n->n_listed > 1) qsort(n->listed, (size_t)n->n_listed, sizeof *n->listed, compare_listed);
    return SONDE_OK;
}

static sonde_status parse_listed(parser *p, node *n, const char *path)
{
    char *text = NULL;
    size_t bytes;
    if (p->no_files) return bad_value(p, "file", path, "no list: a prompt's rows do not read files");
    SONDE_TRY(sonde_read_file(path, MAX_LIST_BYTES, &text, &bytes, p->err));
    sonde_status status = parse_listed_lines(p, n, path, text);
    sonde_free(text);
    return status;
}

static sonde_status parse_value(parser *p, node *n, const char *name, char *value)
{
    switch (n->kind) {
    case NODE_FIRST:
    case NODE_LAST:
    case NODE_EVERY:
        if (sonde_parse_i64(value, 1, INT64_MAX, &n->a)) return SONDE_OK;
        return bad_value(p, name, value, "a whole number of at least 1");
    case NODE_SAMPLE:
        if (sonde_parse_f64(value, 0.0, 1.0, &n->share) && n->share > 0.0) return SONDE_OK;
        return bad_value(p, name, value, "a share with 0 < P <= 1");
    case NODE_POS: return parse_range(p, n, value);
    case NODE_TOKEN: return parse_tokens(p, n, value);
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
    return sonde_fail(p->err, SONDE_USAGE, "rows expression '%s': no term '%s'%s%s%s", p->text, name,
                      near ? "; did you mean '" : "; terms are all prompt generated continuation "
                      "system user assistant reasoning tool markup special bos marked first:N last:N "
                      "pos:A..B every:N sample:P token:ID,... file:LIST", near ? near : "",
                      near ? "'?" : "");
}

static sonde_status parse_term(parser *p, node **out)
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

/* ---- operators ---------------------------------------------------------------------------------------- */

static sonde_status parse_unary(parser *p, node **out)
{
    skip_space(p);
    if (++p->depth > MAX_DEPTH) return syntax(p, "fewer nested parentheses");
    sonde_status status;
    if (*p->at == '!') {
        p->at++;
        status = new_node(p, NODE_NOT, out);
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

typedef sonde_status parse_function(parser *p, node **out);

static sonde_status parse_joined(parser *p, node **out, char operator, node_kind kind,
                                 parse_function *operand)
{
    SONDE_TRY(operand(p, out));
    while (*p->at == operator) {
        p->at++;
        node *joined;
        SONDE_TRY(new_node(p, kind, &joined));
        joined->left = *out;
        *out = joined;
        SONDE_TRY(operand(p, &joined->right));
    }
    return SONDE_OK;
}

static sonde_status parse_and(parser *p, node **out)
{
    return parse_joined(p, out, '&', NODE_AND, parse_unary);
}

static sonde_status parse_or(parser *p, node **out)
{
    return parse_joined(p, out, '|', NODE_OR, parse_and);
}

static sonde_status compile(const char *text, bool no_files, sonde_rows_expr **expr,
                            sonde_error *err)
{
    if (strlen(text) > MAX_TEXT)
        return sonde_fail(err, SONDE_USAGE, "rows expression '%.40s...': longer than %d bytes; put "
                          "long lists into a file (file:LIST)", text, MAX_TEXT);
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

/* ---- evaluation ------------------------------------------------------------------------------------ */

static bool in_sample(const node *n, const sonde_rows_context *c, int64_t row)
{
    uint64_t key[3] = {c->seed, c->index, (uint64_t)row};
    return (double)(sonde_hash64(key, sizeof key) >> 11) * 0x1p-53 < n->share;
}

static bool in_tokens(const node *n, uint32_t token)
{
    for (int64_t i = 0; i < n->n_listed; i++)
        if (n->tokens[i] == token) return true;
    return false;
}

static bool in_list(const node *n, const sonde_rows_context *c, int64_t row)
{
    char index[24];
    snprintf(index, sizeof index, "%llu", (unsigned long long)c->index);
    const char *names[2] = {c->id, index};
    for (size_t i = 0; i < 2 && n->n_listed > 0; i++) {
        if (!names[i]) continue;
        char *id = NULL;
        memcpy(&id, &names[i], sizeof id);
        listed_row wanted = {id, row};
        if (bsearch(&wanted, n->listed, (size_t)n->n_listed, sizeof wanted, compare_listed))
            return true;
    }
    return false;
}

/* Is row `row` kept by a term that looks at that row alone? */
static bool term_keeps(const node *n, const sonde_rows_context *c, int64_t row)
{
    switch (n->kind) {
    case NODE_ALL: return true;
    case NODE_PHASE: return (c->phase ? c->phase[row] : 0) == n->a;
    case NODE_SEGMENT: return c->segment && c->segment[row] == n->a;
    case NODE_SPECIAL: return c->special && c->special[row];
    case NODE_BOS: return c->bos >= 0 && c->tokens[row] == c->bos;
    case NODE_MARKED: return c->marked && c->marked[row];
    case NODE_POS: return row >= n->a && row < n->b;
    case NODE_SAMPLE: return in_sample(n, c, row);
    case NODE_TOKEN: return in_tokens(n, c->tokens[row]);
    default: return in_list(n, c, row);
    }
}

static void keep_counted(const node *n, int64_t n_rows, uint8_t *set)
{
    int64_t total = 0, seen = 0;
    for (int64_t i = 0; i < n_rows; i++) total += set[i];
    for (int64_t i = 0; i < n_rows; i++) {
        if (!set[i]) continue;
        bool keep = n->kind == NODE_FIRST  ? seen < n->a
                    : n->kind == NODE_LAST ? seen >= total - n->a
                                           : seen % n->a == 0;
        seen++;
        if (!keep) set[i] = 0;
    }
}

static sonde_status evaluate(const node *n, const sonde_rows_context *c, uint8_t *set,
                             sonde_error *err);

/* set = set without (or joined with) what branches make of it: needs a copy of the set. */
static sonde_status evaluate_branches(const node *n, const sonde_rows_context *c, uint8_t *set,
                                      sonde_error *err)
{
    uint8_t *copy = sonde_alloc((size_t)c->n_rows, 1);
    if (!copy) return sonde_no_memory(err, "a rows expression", (size_t)c->n_rows);
    memcpy(copy, set, (size_t)c->n_rows);
    sonde_status status = evaluate(n->left, c, copy, err);
    if (status == SONDE_OK && n->kind == NODE_OR) status = evaluate(n->right, c, set, err);
    for (int64_t i = 0; status == SONDE_OK && i < c->n_rows; i++)
        set[i] = n->kind == NODE_OR ? set[i] | copy[i] : set[i] & !copy[i];
    sonde_free(copy);
    return status;
}

static sonde_status evaluate(const node *n, const sonde_rows_context *c, uint8_t *set,
                             sonde_error *err)
{
    switch (n->kind) {
    case NODE_AND:
        SONDE_TRY(evaluate(n->left, c, set, err));
        return evaluate(n->right, c, set, err);
    case NODE_OR:
    case NODE_NOT: return evaluate_branches(n, c, set, err);
    case NODE_FIRST:
    case NODE_LAST:
    case NODE_EVERY: keep_counted(n, c->n_rows, set); return SONDE_OK;
    default:
        for (int64_t i = 0; i < c->n_rows; i++)
            if (set[i] && !term_keeps(n, c, i)) set[i] = 0;
        return SONDE_OK;
    }
}

sonde_status sonde_rows_evaluate(const sonde_rows_expr *expr, const sonde_rows_context *context,
                                 uint8_t *keeps, sonde_error *err)
{
    memset(keeps, 1, (size_t)context->n_rows);
    return evaluate(expr->root, context, keeps, err);
}

bool sonde_rows_is_all(const sonde_rows_expr *expr)
{
    return expr->root->kind == NODE_ALL;
}

/* A conjunct that only keeps other phases rules generated rows out; anything else may keep them. */
static bool may_keep_generated(const node *n)
{
    switch (n->kind) {
    case NODE_PHASE: return n->a == 1;
    case NODE_AND: return may_keep_generated(n->left) && may_keep_generated(n->right);
    case NODE_OR: return may_keep_generated(n->left) || may_keep_generated(n->right);
    default: return true;
    }
}

bool sonde_rows_may_keep_generated(const sonde_rows_expr *expr)
{
    return may_keep_generated(expr->root);
}

/* Does a `last` count rows that are not made yet? Not where the rows it counts within are known to
 * be of the prompt. */
static bool needs_end(const node *n, bool prompt_only)
{
    switch (n->kind) {
    case NODE_LAST: return !prompt_only;
    case NODE_AND:
        return needs_end(n->left, prompt_only) ||
               needs_end(n->right, prompt_only || !may_keep_generated(n->left));
    case NODE_OR: return needs_end(n->left, prompt_only) || needs_end(n->right, prompt_only);
    case NODE_NOT: return needs_end(n->left, prompt_only);
    default: return false;
    }
}

bool sonde_rows_is_causal(const sonde_rows_expr *expr)
{
    return !needs_end(expr->root, false);
}
