/* jinja_parse.c - statements of templates; a whole template becomes a program. */
#include "jinja_internal.h"

static sonde_status parse_body(jinja_lexer *l, int depth, const char *const *ends,
                               jinja_node **body);

/* "endif", "%}" and the like. */
static sonde_status end_block(jinja_lexer *l, const char *word)
{
    SONDE_TRY(jinja_expect(l, JINJA_WORD, word));
    return jinja_expect(l, JINJA_CLOSE_BLOCK, NULL);
}

static sonde_status parse_if(jinja_lexer *l, int depth, jinja_node **out)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    bool taken;
    SONDE_TRY(jinja_new_node(l, JINJA_IF, out));
    SONDE_TRY(jinja_parse_expression(l, depth, &(*out)->a));
    SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
    SONDE_TRY(parse_body(l, depth, ends, &(*out)->body));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "elif", &taken));
    if (taken) return depth > JINJA_MAX_DEPTH ? jinja_unexpected(l, "fewer branches")
                                              : parse_if(l, depth + 1, &(*out)->other);
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "else", &taken));
    if (taken) {
        SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
        SONDE_TRY(parse_body(l, depth, ends + 2, &(*out)->other));
    }
    return end_block(l, "endif");
}

static sonde_status parse_for(jinja_lexer *l, int depth, jinja_node **out)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    bool taken = true;
    SONDE_TRY(jinja_new_node(l, JINJA_FOR, out));
    while (taken) {
        jinja_node *name;
        SONDE_TRY(jinja_new_node(l, JINJA_NAME, &name));
        SONDE_TRY(jinja_word(l, &name->value));
        SONDE_TRY(jinja_next(l));
        SONDE_TRY(jinja_add_node(l, *out, name));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ",", &taken));
    }
    SONDE_TRY(jinja_expect(l, JINJA_WORD, "in"));
    SONDE_TRY(jinja_parse_or(l, depth, &(*out)->a));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "if", &taken));
    if (taken) SONDE_TRY(jinja_parse_expression(l, depth, &(*out)->b));
    SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
    SONDE_TRY(parse_body(l, depth, ends, &(*out)->body));
    SONDE_TRY(jinja_accept(l, JINJA_WORD, "else", &taken));
    if (taken) {
        SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
        SONDE_TRY(parse_body(l, depth, ends + 1, &(*out)->other));
    }
    return end_block(l, "endfor");
}

static sonde_status parse_set(jinja_lexer *l, int depth, jinja_node **out)
{
    static const char *const ends[] = {"endset", NULL};
    bool assigned;
    SONDE_TRY(jinja_new_node(l, JINJA_SET, out));
    SONDE_TRY(jinja_parse_target(l, &(*out)->a));
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, "=", &assigned));
    if (assigned) SONDE_TRY(jinja_parse_expression(l, depth, &(*out)->b));
    SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
    if (assigned) return SONDE_OK;
    SONDE_TRY(parse_body(l, depth, ends, &(*out)->body));
    return end_block(l, "endset");
}

static sonde_status parse_macro(jinja_lexer *l, int depth, jinja_node **out)
{
    static const char *const ends[] = {"endmacro", NULL};
    bool done, given;
    SONDE_TRY(jinja_new_node(l, JINJA_DEFINE, out));
    SONDE_TRY(jinja_word(l, &(*out)->value));
    SONDE_TRY(jinja_next(l));
    SONDE_TRY(jinja_expect(l, JINJA_SIGN, "("));
    SONDE_TRY(jinja_accept(l, JINJA_SIGN, ")", &done));
    while (!done) {
        jinja_node *parameter;
        SONDE_TRY(jinja_new_node(l, JINJA_NAME, &parameter));
        SONDE_TRY(jinja_word(l, &parameter->value));
        SONDE_TRY(jinja_next(l));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, "=", &given));
        if (given) SONDE_TRY(jinja_parse_expression(l, depth, &parameter->a));
        SONDE_TRY(jinja_add_node(l, *out, parameter));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ",", &given));
        SONDE_TRY(jinja_accept(l, JINJA_SIGN, ")", &done));
        if (!done && !given) return jinja_unexpected(l, ")");
    }
    SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
    SONDE_TRY(parse_body(l, depth, ends, &(*out)->body));
    return end_block(l, "endmacro");
}

/* {% generation %} marks what a model would be trained on; it renders what it holds. */
static sonde_status parse_generation(jinja_lexer *l, int depth, jinja_node **out)
{
    static const char *const ends[] = {"endgeneration", NULL};
    SONDE_TRY(jinja_new_node(l, JINJA_IF, out));
    SONDE_TRY(jinja_new_node(l, JINJA_CONSTANT, &(*out)->a));
    (*out)->a->value = jinja_bool(l->arena, true);
    if (!(*out)->a->value) return sonde_no_memory(l->err, "a chat template", 64);
    SONDE_TRY(jinja_expect(l, JINJA_CLOSE_BLOCK, NULL));
    SONDE_TRY(parse_body(l, depth, ends, &(*out)->body));
    return end_block(l, "endgeneration");
}

static sonde_status parse_leave(jinja_lexer *l, jinja_node_kind kind, jinja_node **out)
{
    SONDE_TRY(jinja_new_node(l, kind, out));
    return jinja_expect(l, JINJA_CLOSE_BLOCK, NULL);
}

/* The block whose first word is the current token. */
static sonde_status parse_block(jinja_lexer *l, int depth, jinja_node **out)
{
    static const char *const words[] = {"if",    "for",      "set",        "macro",
                                        "break", "continue", "generation", NULL};
    int which = 0;
    while (words[which] && !jinja_at(l, JINJA_WORD, words[which])) which++;
    if (!words[which]) return jinja_unexpected(l, "if, for, set, macro, break or continue");
    SONDE_TRY(jinja_next(l));
    switch (which) {
    case 0: return parse_if(l, depth, out);
    case 1: return parse_for(l, depth, out);
    case 2: return parse_set(l, depth, out);
    case 3: return parse_macro(l, depth, out);
    case 4: return parse_leave(l, JINJA_BREAK, out);
    case 5: return parse_leave(l, JINJA_CONTINUE, out);
    default: return parse_generation(l, depth, out);
    }
}

static sonde_status parse_statement(jinja_lexer *l, int depth, jinja_node **out)
{
    if (l->kind == JINJA_DATA) {
        SONDE_TRY(jinja_new_node(l, JINJA_TEXT, out));
        (*out)->value = jinja_text(l->arena, l->text, l->length, NULL);
        if (!(*out)->value) return sonde_no_memory(l->err, "a chat template", l->length);
        return jinja_next(l);
    }
    if (l->kind == JINJA_OPEN_OUTPUT) {
        SONDE_TRY(jinja_next(l));
        SONDE_TRY(jinja_new_node(l, JINJA_OUTPUT, out));
        SONDE_TRY(jinja_parse_expression(l, depth, &(*out)->a));
        return jinja_expect(l, JINJA_CLOSE_OUTPUT, NULL);
    }
    return parse_block(l, depth, out);
}

static bool ends_here(const jinja_lexer *l, const char *const *ends)
{
    for (; *ends; ends++)
        if (jinja_at(l, JINJA_WORD, *ends)) return true;
    return false;
}

/* Statements up to a block that begins with one of the words (then the current token is that word),
 * or, without words, up to the end. */
static sonde_status parse_body(jinja_lexer *l, int depth, const char *const *ends,
                               jinja_node **body)
{
    jinja_node **tail = body;
    if (depth > JINJA_MAX_DEPTH)
        return sonde_fail(l->err, SONDE_UNSUPPORTED, "line %d: nested too deeply", l->line);
    for (;;) {
        if (l->kind == JINJA_END) return ends[0] ? jinja_unexpected(l, ends[0]) : SONDE_OK;
        if (l->kind == JINJA_OPEN_BLOCK) {
            SONDE_TRY(jinja_next(l));
            if (ends_here(l, ends)) return SONDE_OK;
        }
        SONDE_TRY(parse_statement(l, depth + 1, tail));
        tail = &(*tail)->next;
    }
}

/* The text with newlines as "\n" and without a single one at the end. */
static char *normalised(jinja_arena *arena, const char *text, size_t bytes, size_t *n)
{
    char *copy = jinja_arena_alloc(arena, bytes + 1);
    *n = 0;
    for (size_t i = 0; copy && i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') continue;
        copy[(*n)++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (*n > 0 && copy[*n - 1] == '\n') --*n;
    return copy;
}

sonde_status jinja_parse(const char *text, size_t bytes, jinja_program **program, sonde_error *err)
{
    static const char *const none[] = {NULL};
    jinja_arena *arena = jinja_arena_create();
    jinja_program *p = arena ? jinja_arena_alloc(arena, sizeof *p) : NULL;
    size_t n;
    char *copy = p ? normalised(arena, text, bytes, &n) : NULL;
    sonde_status status = SONDE_OK;
    if (!copy) {
        status = sonde_no_memory(err, "a chat template", bytes);
    } else {
        jinja_lexer l = {.arena = arena, .at = copy, .end = copy + n, .line = 1, .err = err};
        p->arena = arena;
        status = jinja_next(&l);
        if (status == SONDE_OK) status = parse_body(&l, 0, none, &p->body);
    }
    if (status == SONDE_OK) *program = p;
    else jinja_arena_destroy(&arena);
    return status;
}

void jinja_destroy(jinja_program **program)
{
    if (!*program) return;
    jinja_arena *arena = (*program)->arena;
    jinja_arena_destroy(&arena);
    *program = NULL;
}
