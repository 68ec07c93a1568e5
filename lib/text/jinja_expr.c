/* jinja_expr.c - expressions of templates, by recursive descent in Jinja's order of binding. */
#include "jinja_internal.h"

static sonde_status parse_unary(jinja_lexer *l, int depth, jinja_node **out);

static sonde_status too_deep(const jinja_lexer *l)
{
    return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: nested too deeply", l->line);
}

static sonde_status combine(jinja_lexer *l, jinja_node_kind kind, jinja_op op, jinja_node *a,
                            jinja_node *b, jinja_node **out)
{
    jinja_node *node;
    SONDE_TRY(jinja_new_node(l, kind, &node));
    node->op = op;
    node->a = a;
    node->b = b;
    *out = node;
    return SONDE_OK;
}

/* ---- arguments and suffixes --------------------------------------------------------------------- */

/* Is the current word the name of a named argument (`indent=4`)? */
static bool names_argument(const jinja_lexer *l)
{
    const char *c = l->at;
    while (c < l->end && (*c == ' ' || *c == '\n')) c++;
    return l->kind == JINJA_WORD && c < l->end && *c == '=' && (c + 1 == l->end || c[1] != '=');
}

/* The arguments after "(", up to and with ")". */
static sonde_status parse_arguments(jinja_lexer *l, int depth, jinja_node *call)
{
    bool done;
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, ")", &done));
    while (!done) {
        jinja_node *argument;
        jinja_value *name = NULL;
        if (names_argument(l)) {
            SONDE_TRY(jinja_word(l, &name));
            SONDE_TRY(jinja_next(l));
            SONDE_TRY(jinja_expect(l, JINJA_SIGN, "="));
        }
        SONDE_TRY(jinja_parse_expression(l, depth, &argument));
        jinja_node *holder;
        SONDE_TRY(combine(l, JINJA_ARGUMENT, JINJA_ADD, argument, NULL, &holder));
        holder->name = name;
        SONDE_TRY(jinja_add_node(l, call, holder));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ",", &done));
        if (!done || jinja_at(l, JINJA_SIGN, ")")) {
            SONDE_TRY(jinja_expect(l, JINJA_SIGN, ")"));
            return SONDE_OK;
        }
        done = false;
    }
    return SONDE_OK;
}

static sonde_status none_node(jinja_lexer *l, jinja_node **out)
{
    SONDE_TRY(jinja_new_node(l, JINJA_CONSTANT, out));
    (*out)->value = jinja_new(l->arena, JINJA_NONE);
    return (*out)->value ? SONDE_OK : sonde_no_memory(l->err, "a chat template", 64);
}

/* After "[": an index, or begin:end:step. */
static sonde_status parse_subscript(jinja_lexer *l, int depth, jinja_node **node)
{
    jinja_node *parts[3] = {NULL, NULL, NULL};
    int n = 0;
    bool colon = false, sliced = false;
    do {
        if (!jinja_at(l, JINJA_SIGN, ":") && !jinja_at(l, JINJA_SIGN, "]"))
            SONDE_TRY(jinja_parse_expression(l, depth, &parts[n]));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ":", &colon));
        sliced = sliced || colon;
    } while (colon && ++n < 3);
    if (!sliced && parts[0]) {
        SONDE_TRY(jinja_expect(l, JINJA_SIGN, "]"));
        return combine(l, JINJA_ITEM, JINJA_ADD, *node, parts[0], node);
    }
    if (!sliced || n == 3) return jinja_unexpected(l, "an index");
    SONDE_TRY(combine(l, JINJA_SLICE, JINJA_ADD, *node, NULL, node));
    for (int i = 0; i < 3; i++) {
        if (!parts[i]) SONDE_TRY(none_node(l, &parts[i]));
        SONDE_TRY(jinja_add_node(l, *node, parts[i]));
    }
    return jinja_expect(l, JINJA_SIGN, "]");
}

/* What may follow a test's name as its argument without brackets. */
static bool begins_operand(const jinja_lexer *l)
{
    static const char *const words[] = {"and", "or", "not", "is", "in", "if", "else", "for", NULL};
    if (l->kind == JINJA_LITERAL || l->kind == JINJA_NUMBER) return true;
    if (l->kind == JINJA_WORD) {
        for (const char *const *word = words; *word; word++)
            if (jinja_at(l, JINJA_WORD, *word)) return false;
        return true;
    }
    return jinja_at(l, JINJA_SIGN, "[") || jinja_at(l, JINJA_SIGN, "{");
}

static sonde_status parse_test(jinja_lexer *l, int depth, jinja_node **node)
{
    bool negated, bracket;
    jinja_node *test;
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "not", &negated));
    SONDE_TRY(combine(l, JINJA_TEST, JINJA_ADD, *node, NULL, &test));
    SONDE_TRY(jinja_word(l, &test->value));
    if (!jinja_test_is_known(test->value)) return jinja_unexpected(l, "a test that is known");
    SONDE_TRY(jinja_next(l));
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "(", &bracket));
    if (bracket) {
        SONDE_TRY(parse_arguments(l, depth, test));
    } else if (begins_operand(l)) {
        jinja_node *operand, *holder;
        SONDE_TRY(parse_unary(l, depth + 1, &operand));
        SONDE_TRY(combine(l, JINJA_ARGUMENT, JINJA_ADD, operand, NULL, &holder));
        SONDE_TRY(jinja_add_node(l, test, holder));
    }
    *node = test;
    return negated ? combine(l, JINJA_NOT, JINJA_ADD, test, NULL, node) : SONDE_OK;
}

static sonde_status parse_filter(jinja_lexer *l, int depth, jinja_node **node)
{
    bool bracket;
    SONDE_TRY(combine(l, JINJA_FILTER, JINJA_ADD, *node, NULL, node));
    SONDE_TRY(jinja_word(l, &(*node)->value));
    if (!jinja_filter_is_known((*node)->value)) return jinja_unexpected(l, "a filter that is known");
    SONDE_TRY(jinja_next(l));
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "(", &bracket));
    return bracket ? parse_arguments(l, depth, *node) : SONDE_OK;
}

/* .name, [index], (arguments); with `all`, also filters and tests. */
static sonde_status parse_suffixes(jinja_lexer *l, int depth, bool all, jinja_node **node)
{
    for (int n = 0;; n++) {
        bool taken;
        if (n > JINJA_MAX_DEPTH) return too_deep(l);
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ".", &taken));
        if (taken) {
            SONDE_TRY(combine(l, JINJA_ATTRIBUTE, JINJA_ADD, *node, NULL, node));
            SONDE_TRY(jinja_word(l, &(*node)->value));
            SONDE_TRY(jinja_next(l));
            continue;
        }
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, "[", &taken));
        if (taken) {
            SONDE_TRY(parse_subscript(l, depth, node));
            continue;
        }
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, "(", &taken));
        if (taken) {
            SONDE_TRY(combine(l, JINJA_CALL, JINJA_ADD, *node, NULL, node));
            SONDE_TRY(parse_arguments(l, depth, *node));
            continue;
        }
        if (!all) return SONDE_OK;
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, "|", &taken));
        if (taken) {
            SONDE_TRY(parse_filter(l, depth, node));
            continue;
        }
        SONDE_TRY(jinja_accept(l, JINJA_WORD, "is", &taken));
        if (!taken) return SONDE_OK;
        SONDE_TRY(parse_test(l, depth, node));
    }
}

/* ---- primaries ---------------------------------------------------------------------------------- */

/* Expressions up to the closing sign; with `pairs`, key: value. */
static sonde_status parse_collection(jinja_lexer *l, int depth, const char *close, bool pairs,
                                     jinja_node **out)
{
    bool done, comma;
    SONDE_TRY(jinja_new_node(l, pairs ? JINJA_MAKE_DICT : JINJA_MAKE_LIST, out));
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, close, &done));
    while (!done) {
        for (int i = 0; i < (pairs ? 2 : 1); i++) {
            jinja_node *item;
            SONDE_TRY(jinja_parse_expression(l, depth, &item));
            SONDE_TRY(jinja_add_node(l, *out, item));
            if (pairs && i == 0) SONDE_TRY(jinja_expect(l, JINJA_SIGN, ":"));
        }
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ",", &comma));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, close, &done));
        if (!done && !comma) return jinja_unexpected(l, close);
    }
    return SONDE_OK;
}

/* ( expression ), or a tuple, which is a list here. */
static sonde_status parse_bracket(jinja_lexer *l, int depth, jinja_node **out)
{
    jinja_node *first, *rest;
    bool comma;
    SONDE_TRY(jinja_parse_expression(l, depth, &first));
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, ",", &comma));
    *out = first;
    if (!comma) return jinja_expect(l, JINJA_SIGN, ")");
    SONDE_TRY(parse_collection(l, depth, ")", false, &rest));
    SONDE_TRY(jinja_new_node(l, JINJA_MAKE_LIST, out));
    SONDE_TRY(jinja_add_node(l, *out, first));
    for (size_t i = 0; i < rest->n_list; i++) SONDE_TRY(jinja_add_node(l, *out, rest->list[i]));
    return SONDE_OK;
}

static sonde_status parse_word(jinja_lexer *l, jinja_node **out)
{
    static const struct {
        const char *name;
        jinja_kind kind;
        int64_t value;
    } words[] = {{"true", JINJA_BOOL, 1}, {"True", JINJA_BOOL, 1},  {"false", JINJA_BOOL, 0},
                 {"False", JINJA_BOOL, 0}, {"none", JINJA_NONE, 0}, {"None", JINJA_NONE, 0}};
    SONDE_TRY(jinja_new_node(l, JINJA_NAME, out));
    SONDE_TRY(jinja_word(l, &(*out)->value));
    for (size_t i = 0; i < SONDE_COUNT(words); i++) {
        if (!jinja_at(l, JINJA_WORD, words[i].name)) continue;
        (*out)->kind = JINJA_CONSTANT;
        (*out)->value->kind = words[i].kind;
        (*out)->value->count = 0;
        (*out)->value->as.integer = words[i].value;
    }
    return jinja_next(l);
}

static sonde_status parse_primary(jinja_lexer *l, int depth, jinja_node **out)
{
    bool taken;
    if (l->kind == JINJA_WORD) return parse_word(l, out);
    if (l->kind == JINJA_LITERAL || l->kind == JINJA_NUMBER) {
        SONDE_TRY(jinja_new_node(l, JINJA_CONSTANT, out));
        (*out)->value = l->value;
        return jinja_next(l);
    }
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "(", &taken));
    if (taken) return parse_bracket(l, depth, out);
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "[", &taken));
    if (taken) return parse_collection(l, depth, "]", false, out);
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "{", &taken));
    if (taken) return parse_collection(l, depth, "}", true, out);
    return jinja_unexpected(l, "an expression");
}

/* ---- operators ---------------------------------------------------------------------------------- */

static sonde_status parse_unary(jinja_lexer *l, int depth, jinja_node **out)
{
    bool minus;
    if (depth > JINJA_MAX_DEPTH) return too_deep(l);
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "-", &minus));
    if (minus) {
        SONDE_TRY(parse_unary(l, depth + 1, out));
        return combine(l, JINJA_MINUS, JINJA_ADD, *out, NULL, out);
    }
    SONDE_TRY(parse_primary(l, depth + 1, out));
    return parse_suffixes(l, depth + 1, true, out);
}

typedef struct operator {
    const char *text;
    jinja_op op;
} operator;

/* Binary operators by binding, tightest last; each level is left to right. */
static const operator levels[][6] = {
    {{"==", JINJA_EQUAL}, {"!=", JINJA_UNEQUAL}, {"<=", JINJA_AT_MOST}, {">=", JINJA_AT_LEAST},
     {"<", JINJA_LESS}, {">", JINJA_MORE}},
    {{"+", JINJA_ADD}, {"-", JINJA_SUBTRACT}},
    {{"~", JINJA_JOIN}},
    {{"*", JINJA_MULTIPLY}, {"//", JINJA_FLOOR}, {"/", JINJA_DIVIDE}, {"%", JINJA_REMAINDER}},
};

/* `in` and `not in`, which bind as comparisons do. */
static sonde_status accept_membership(jinja_lexer *l, jinja_op *op, bool *found)
{
    *op = JINJA_IN;
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "in", found));
    if (*found || !jinja_at(l, JINJA_WORD, "not")) return SONDE_OK;
    jinja_lexer ahead = *l;
    SONDE_TRY(jinja_next(&ahead));
    if (!jinja_at(&ahead, JINJA_WORD, "in")) return SONDE_OK;
    *op = JINJA_NOT_IN;
    *found = true;
    *l = ahead;
    return jinja_next(l);
}

static sonde_status parse_level(jinja_lexer *l, int depth, size_t level, jinja_node **out)
{
    if (level == SONDE_COUNT(levels)) return parse_unary(l, depth, out);
    SONDE_TRY(parse_level(l, depth, level + 1, out));
    for (bool found = true; found;) {
        jinja_op op = JINJA_ADD;
        found = false;
        for (size_t i = 0; i < 6 && levels[level][i].text && !found; i++) {
            op = levels[level][i].op;
            SONDE_TRY(jinja_accept(l, JINJA_SIGN, levels[level][i].text, &found));
        }
        if (!found && level == 0) SONDE_TRY(accept_membership(l, &op, &found));
        if (!found) break;
        jinja_node *right;
        SONDE_TRY(parse_level(l, depth, level + 1, &right));
        SONDE_TRY(combine(l, JINJA_BINARY, op, *out, right, out));
    }
    return SONDE_OK;
}

static sonde_status parse_not(jinja_lexer *l, int depth, jinja_node **out)
{
    bool negated;
    if (depth > JINJA_MAX_DEPTH) return too_deep(l);
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "not", &negated));
    if (!negated) return parse_level(l, depth, 0, out);
    SONDE_TRY(parse_not(l, depth + 1, out));
    return combine(l, JINJA_NOT, JINJA_ADD, *out, NULL, out);
}

static sonde_status parse_and(jinja_lexer *l, int depth, jinja_node **out)
{
    bool found;
    SONDE_TRY(parse_not(l, depth, out));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "and", &found));
    while (found) {
        jinja_node *right;
        SONDE_TRY(parse_not(l, depth, &right));
        SONDE_TRY(combine(l, JINJA_AND, JINJA_ADD, *out, right, out));
        SONDE_TRY(jinja_accept(l, JINJA_WORD, "and", &found));
    }
    return SONDE_OK;
}

sonde_status jinja_parse_or(jinja_lexer *l, int depth, jinja_node **out)
{
    bool found;
    SONDE_TRY(parse_and(l, depth, out));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "or", &found));
    while (found) {
        jinja_node *right;
        SONDE_TRY(parse_and(l, depth, &right));
        SONDE_TRY(combine(l, JINJA_OR, JINJA_ADD, *out, right, out));
        SONDE_TRY(jinja_accept(l, JINJA_WORD, "or", &found));
    }
    return SONDE_OK;
}

sonde_status jinja_parse_expression(jinja_lexer *l, int depth, jinja_node **out)
{
    bool found;
    if (depth > JINJA_MAX_DEPTH) return too_deep(l);
    SONDE_TRY(jinja_parse_or(l, depth + 1, out));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "if", &found));
    if (!found) return SONDE_OK;
    jinja_node *condition, *other = NULL;
    SONDE_TRY(jinja_parse_or(l, depth + 1, &condition));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "else", &found));
    if (found) SONDE_TRY(jinja_parse_expression(l, depth + 1, &other));
    SONDE_TRY(combine(l, JINJA_CHOICE, JINJA_ADD, *out, condition, out));
    (*out)->other = other;
    return SONDE_OK;
}

sonde_status jinja_parse_target(jinja_lexer *l, jinja_node **node)
{
    SONDE_TRY(parse_word(l, node));
    if ((*node)->kind != JINJA_NAME) return jinja_unexpected(l, "a name to set");
    return parse_suffixes(l, 1, false, node);
}
