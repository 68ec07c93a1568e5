/*
 * jinja_lex.c - a template as tokens. White space around tags goes as Jinja's trim_blocks and
 * lstrip_blocks have it: the newline after a block goes, and so do blanks before a block that
 * begins its line; a dash takes all white space on its side, a plus keeps it.
 */
#include "jinja_internal.h"

#include <ctype.h>
#include <stdlib.h>

sonde_status jinja_unexpected(const jinja_lexer *l, const char *expected)
{
    int n = (int)SONDE_MIN(l->length, (size_t)30);
    return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: expected %s, got '%.*s'", l->line,
                      expected, l->kind == JINJA_END ? 0 : n, l->text);
}

/* ---- text between tags ------------------------------------------------------------------------ */

static size_t space_before(const char *text, size_t n)
{
    while (n > 0 && isspace((unsigned char)text[n - 1])) n--;
    return n;
}

/* The length of `text` without the blanks before a tag, if nothing else stands on their line. */
static size_t strip_line(const char *text, size_t n, bool begins_line)
{
    size_t at = n;
    while (at > 0 && (text[at - 1] == ' ' || text[at - 1] == '\t')) at--;
    return at > 0 ? (text[at - 1] == '\n' ? at : n) : begins_line ? 0 : n;
}

static const char *find_tag(const char *at, const char *end)
{
    for (; end - at >= 2; at++)
        if (*at == '{' && strchr("{%#", at[1])) return at;
    return end;
}

static void count_lines(jinja_lexer *l, const char *from, const char *to)
{
    for (; from < to; from++) l->line += *from == '\n';
}

/* Passes over what the end of the tag before takes; true when that ends in a newline. */
static bool skip_after_tag(jinja_lexer *l)
{
    const char *from = l->at;
    if (l->trim_space)
        while (l->at < l->end && isspace((unsigned char)*l->at)) l->at++;
    else if (l->trim_newline && l->at < l->end && *l->at == '\n')
        l->at++;
    l->trim_space = l->trim_newline = false;
    count_lines(l, from, l->at);
    return l->at > from && l->at[-1] == '\n';
}

static sonde_status skip_comment(jinja_lexer *l)
{
    const char *from = l->at;
    for (; l->end - l->at >= 2 && memcmp(l->at, "#}", 2) != 0; l->at++) continue;
    if (l->end - l->at < 2)
        return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: a comment without an end", l->line);
    l->trim_space = l->at > from && l->at[-1] == '-';
    l->trim_newline = true;
    l->at += 2;
    count_lines(l, from, l->at);
    return SONDE_OK;
}

/* Reads text up to a tag; sets kind to DATA, or to the tag's opening when there is no text. */
static sonde_status next_outside(jinja_lexer *l)
{
    for (;;) {
        bool fresh = l->text == NULL, begins_line = skip_after_tag(l) || fresh;
        const char *tag = find_tag(l->at, l->end), *text = l->at;
        size_t n = (size_t)(tag - text);
        char what = tag < l->end ? tag[1] : '\0', mark = tag + 2 < l->end ? tag[2] : '\0';
        if (what && mark == '-') n = space_before(text, n);
        else if (what && what != '{' && mark != '+') n = strip_line(text, n, begins_line);
        l->text = text;
        l->length = n;
        if (n > 0) { /* the tag is read next: its white space is gone already */
            l->at = tag;
            count_lines(l, text, tag);
            l->kind = JINJA_DATA;
            return SONDE_OK;
        }
        count_lines(l, text, tag);
        l->at = tag + (what ? 2 : 0);
        if (what == '#') {
            SONDE_TRY(skip_comment(l));
            continue;
        }
        l->kind = !what ? JINJA_END : what == '{' ? JINJA_OPEN_OUTPUT : JINJA_OPEN_BLOCK;
        l->inside = what != '\0';
        l->braces = 0;
        if (what && (mark == '-' || mark == '+')) l->at++;
        return SONDE_OK;
    }
}

/* ---- inside a tag ----------------------------------------------------------------------------- */

static sonde_status read_literal(jinja_lexer *l)
{
    char quote = *l->at++;
    const char *begin = l->at;
    while (l->at < l->end && *l->at != quote) l->at += *l->at == '\\' ? 2 : 1;
    if (l->at >= l->end)
        return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: a text without an end", l->line);
    char *bytes = jinja_arena_alloc(l->arena, (size_t)(l->at - begin) + 1);
    if (!bytes) return sonde_no_memory(l->err, "a chat template", (size_t)(l->at - begin));
    size_t n = 0;
    for (const char *c = begin; c < l->at; c++) {
        if (*c != '\\') {
            bytes[n++] = *c;
            continue;
        }
        static const char from[] = "ntrbf\\'\"\n", to[] = "\n\t\r\b\f\\'\"";
        const char *known = strchr(from, *++c);
        if (!known || !*known)
            return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: the escape \\%c in a text",
                              l->line, *c);
        if (*c != '\n') bytes[n++] = to[known - from];
    }
    count_lines(l, begin, l->at);
    l->at++;
    l->kind = JINJA_LITERAL;
    l->value = jinja_text(l->arena, bytes, n, NULL);
    return l->value ? SONDE_OK : sonde_no_memory(l->err, "a chat template", n);
}

static sonde_status read_number(jinja_lexer *l)
{
    char text[40];
    size_t n = 0;
    bool real = false;
    for (const char *c = l->at; c + n < l->end && n < sizeof text - 1; n++) {
        bool point = c[n] == '.' && c + n + 1 < l->end && isdigit((unsigned char)c[n + 1]);
        if (!isdigit((unsigned char)c[n]) && !point) break;
        real = real || point;
        text[n] = c[n];
    }
    text[n] = '\0';
    l->kind = JINJA_NUMBER;
    l->length = n;
    l->at += n;
    int64_t whole = 0;
    if (!real && !sonde_parse_i64(text, 0, INT64_MAX, &whole)) return jinja_unexpected(l, "a number");
    l->value = real ? jinja_new(l->arena, JINJA_FLOAT) : jinja_int(l->arena, whole);
    if (!l->value) return sonde_no_memory(l->err, "a chat template", n);
    if (real) l->value->as.real = strtod(text, NULL);
    return SONDE_OK;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* An operator or bracket: the longest that is known. */
static sonde_status read_sign(jinja_lexer *l)
{
    static const char *const signs[] = {"//", "**", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{",
                                        "}",  ",",  ".",  ":",  "|",  "=",  "<", ">", "+", "-", "*",
                                        "/",  "%",  "~",  NULL};
    for (const char *const *sign = signs; *sign; sign++) {
        size_t n = strlen(*sign);
        if ((size_t)(l->end - l->at) < n || memcmp(l->at, *sign, n) != 0) continue;
        l->kind = JINJA_SIGN;
        l->length = n;
        l->at += n;
        l->braces += (**sign == '{') - (**sign == '}');
        return SONDE_OK;
    }
    l->length = 1;
    return jinja_unexpected(l, "a part of an expression");
}

/* Is this the end of the tag ("%}", "}}", each with a dash or plus before it)? Takes it. */
static bool close_tag(jinja_lexer *l)
{
    const char *c = l->at;
    char mark = *c == '-' || *c == '+' ? *c++ : '\0';
    bool block = l->end - c >= 2 && memcmp(c, "%}", 2) == 0;
    bool output = l->end - c >= 2 && memcmp(c, "}}", 2) == 0 && l->braces == 0;
    if (!block && !output) return false;
    l->kind = block ? JINJA_CLOSE_BLOCK : JINJA_CLOSE_OUTPUT;
    l->length = (size_t)(c + 2 - l->at);
    l->at = c + 2;
    l->inside = false;
    l->trim_space = mark == '-';
    l->trim_newline = block && mark != '+';
    return true;
}

static sonde_status next_inside(jinja_lexer *l)
{
    const char *from = l->at;
    while (l->at < l->end && isspace((unsigned char)*l->at)) l->at++;
    count_lines(l, from, l->at);
    l->text = l->at;
    l->length = 0;
    if (l->at == l->end)
        return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: a tag without an end", l->line);
    if (*l->at == '\'' || *l->at == '"') return read_literal(l);
    if (isdigit((unsigned char)*l->at)) return read_number(l);
    if (is_word(*l->at)) {
        while (l->at < l->end && is_word(*l->at)) l->at++;
        l->length = (size_t)(l->at - l->text);
        l->kind = JINJA_WORD;
        return SONDE_OK;
    }
    return read_sign(l);
}

sonde_status jinja_next(jinja_lexer *l)
{
    if (!l->inside) return next_outside(l);
    const char *at = l->at;
    while (at < l->end && isspace((unsigned char)*at)) at++;
    jinja_lexer peek = *l;
    peek.at = at;
    if (at < l->end && close_tag(&peek)) {
        count_lines(l, l->at, at);
        peek.line = l->line;
        peek.text = at;
        *l = peek;
        return SONDE_OK;
    }
    return next_inside(l);
}

/* ---- what parsers ask --------------------------------------------------------------------------- */

bool jinja_at(const jinja_lexer *l, jinja_token_kind kind, const char *text)
{
    if (l->kind != kind) return false;
    return !text || (l->length == strlen(text) && memcmp(l->text, text, l->length) == 0);
}

sonde_status jinja_accept(jinja_lexer *l, jinja_token_kind kind, const char *text, bool *taken)
{
    *taken = jinja_at(l, kind, text);
    return *taken ? jinja_next(l) : SONDE_OK;
}

sonde_status jinja_expect(jinja_lexer *l, jinja_token_kind kind, const char *text)
{
    if (jinja_at(l, kind, text)) return jinja_next(l);
    return jinja_unexpected(l, text ? text : kind == JINJA_CLOSE_OUTPUT ? "}}" : "%}");
}

sonde_status jinja_new_node(jinja_lexer *l, jinja_node_kind kind, jinja_node **node)
{
    *node = jinja_arena_alloc(l->arena, sizeof **node);
    if (!*node) return sonde_no_memory(l->err, "a chat template", sizeof **node);
    (*node)->kind = kind;
    (*node)->line = l->line;
    return SONDE_OK;
}

sonde_status jinja_add_node(jinja_lexer *l, jinja_node *node, jinja_node *item)
{
    size_t bytes = (node->n_list + 1) * sizeof(jinja_node *);
    if ((node->n_list & (node->n_list - 1)) == 0 || node->n_list < 2) {
        jinja_node **list = jinja_arena_alloc(l->arena, 2 * bytes);
        if (!list) return sonde_no_memory(l->err, "a chat template", bytes);
        if (node->n_list) memcpy(list, node->list, node->n_list * sizeof *list);
        node->list = list;
    }
    node->list[node->n_list++] = item;
    return SONDE_OK;
}

sonde_status jinja_word(jinja_lexer *l, jinja_value **value)
{
    if (l->kind != JINJA_WORD) return jinja_unexpected(l, "a name");
    *value = jinja_tagged(l->arena, l->text, l->length, 0);
    return *value ? SONDE_OK : sonde_no_memory(l->err, "a chat template", l->length);
}
