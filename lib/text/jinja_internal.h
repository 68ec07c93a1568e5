/*
 * jinja_internal.h - a template as a tree, and what the files that evaluate it share.
 */
#ifndef SONDE_TEXT_JINJA_INTERNAL_H
#define SONDE_TEXT_JINJA_INTERNAL_H

#include "jinja.h"

#include <string.h>

typedef enum jinja_node_kind {
    /* statements; `next` chains a body */
    JINJA_TEXT,     /* value */
    JINJA_OUTPUT,   /* a */
    JINJA_IF,       /* a; body, other */
    JINJA_FOR,      /* names in list; a iterates, b filters or NULL; body, other */
    JINJA_SET,      /* a: NAME or ATTRIBUTE of a namespace; b, or body of a block set */
    JINJA_DEFINE,   /* macro: value its name, list of parameters (NAME, default in a); body */
    JINJA_BREAK,
    JINJA_CONTINUE,
    /* expressions */
    JINJA_CONSTANT, /* value */
    JINJA_NAME,     /* value */
    JINJA_MAKE_LIST, /* list */
    JINJA_MAKE_DICT, /* list: key, value, ... */
    JINJA_ATTRIBUTE, /* a . value */
    JINJA_ITEM,      /* a [ b ] */
    JINJA_SLICE,     /* a [ list: begin, end, step; NULL parts are CONSTANT none ] */
    JINJA_CALL,      /* a ( list of ARGUMENT ) */
    JINJA_ARGUMENT,  /* a, with a name or not */
    JINJA_FILTER,    /* a | value ( list ) */
    JINJA_TEST,      /* a is value ( list ) */
    JINJA_NOT,       /* a */
    JINJA_MINUS,     /* a */
    JINJA_AND,
    JINJA_OR,
    JINJA_BINARY,    /* a op b */
    JINJA_CHOICE,    /* a if b else other (or NULL) */
} jinja_node_kind;

typedef enum jinja_op {
    JINJA_ADD,
    JINJA_SUBTRACT,
    JINJA_MULTIPLY,
    JINJA_DIVIDE,
    JINJA_FLOOR,
    JINJA_REMAINDER,
    JINJA_JOIN, /* ~ */
    JINJA_EQUAL,
    JINJA_UNEQUAL,
    JINJA_LESS,
    JINJA_AT_MOST,
    JINJA_MORE,
    JINJA_AT_LEAST,
    JINJA_IN,
    JINJA_NOT_IN,
} jinja_op;

struct jinja_node {
    jinja_node_kind kind;
    jinja_op op;
    int line;
    jinja_node *a, *b, *body, *other, *next;
    jinja_node **list;
    size_t n_list;
    jinja_value *value;
    jinja_value *name; /* of a named argument */
};

struct jinja_program {
    jinja_arena *arena;
    jinja_node *body;
};

/* ---- jinja_lex.c ------------------------------------------------------------------------------ */

typedef enum jinja_token_kind {
    JINJA_END, /* of the template */
    JINJA_DATA, /* text between tags */
    JINJA_OPEN_OUTPUT,
    JINJA_CLOSE_OUTPUT,
    JINJA_OPEN_BLOCK,
    JINJA_CLOSE_BLOCK,
    JINJA_WORD,
    JINJA_LITERAL, /* text in quotes, unescaped: value */
    JINJA_NUMBER,  /* value */
    JINJA_SIGN,    /* operator or bracket */
} jinja_token_kind;

typedef struct jinja_lexer {
    jinja_arena *arena;
    const char *at, *end;
    int line;
    bool inside;        /* of a tag */
    int braces;         /* open ones of dictionaries in this tag */
    bool trim_newline;  /* the tag before ended a block: a newline after it goes */
    bool trim_space;    /* the tag before ended with a dash */
    jinja_token_kind kind; /* of the current token */
    const char *text;   /* [length] of WORD, SIGN and DATA */
    size_t length;
    jinja_value *value; /* LITERAL, NUMBER */
    sonde_error *err;
} jinja_lexer;

/* Goes on to the next token. */
sonde_status jinja_next(jinja_lexer *lexer);
bool jinja_at(const jinja_lexer *lexer, jinja_token_kind kind, const char *text);
/* Takes the token if it is this one. */
sonde_status jinja_accept(jinja_lexer *lexer, jinja_token_kind kind, const char *text, bool *taken);
sonde_status jinja_expect(jinja_lexer *lexer, jinja_token_kind kind, const char *text);
sonde_status jinja_unexpected(const jinja_lexer *lexer, const char *expected);
sonde_status jinja_new_node(jinja_lexer *lexer, jinja_node_kind kind, jinja_node **node);
sonde_status jinja_add_node(jinja_lexer *lexer, jinja_node *node, jinja_node *item);
/* The current WORD as a value. */
sonde_status jinja_word(jinja_lexer *lexer, jinja_value **value);

/* jinja_expr.c: an expression from the current token on; `depth` bounds nesting. */
#define JINJA_MAX_DEPTH 100
sonde_status jinja_parse_expression(jinja_lexer *lexer, int depth, jinja_node **node);
/* The operand of an `in` in a for, which a following `if` ends. */
sonde_status jinja_parse_or(jinja_lexer *lexer, int depth, jinja_node **node);
/* A name, or an attribute of a name: what set assigns to. */
sonde_status jinja_parse_target(jinja_lexer *lexer, jinja_node **node);

/* ---- evaluating --------------------------------------------------------------------------------- */

/* Names of a scope. A loop's is used again in every round; `loop` is made when it is asked for. */
typedef struct jinja_frame {
    struct jinja_frame *outer;
    jinja_value *names;       /* DICT */
    const jinja_value *items; /* LIST of a loop, now at `at`; NULL: no loop */
    size_t at;
} jinja_frame;

typedef enum jinja_flow { JINJA_GO, JINJA_DO_BREAK, JINJA_DO_CONTINUE } jinja_flow;

typedef struct jinja_run {
    jinja_arena *arena;
    const jinja_call *call;
    jinja_frame *globals, *frame;
    jinja_buffer *out;
    jinja_flow flow;
    int depth, line;
    sonde_error *err;
} jinja_run;

/* Arguments of a call, evaluated. */
typedef struct jinja_arguments {
    jinja_value **items; /* [count] by place */
    size_t count;
    jinja_value *named; /* DICT */
} jinja_arguments;

sonde_status jinja_fail(jinja_run *run, const char *format, ...) SONDE_PRINTF(2, 3);
/* NO_MEMORY; BAD_PROMPT where the arena or what is written is full. */
sonde_status jinja_no_memory(jinja_run *run);
/* The place-th argument, else the one of this name, else NULL. */
jinja_value *jinja_argument(const jinja_arguments *arguments, size_t place, const char *name);
/* *out = made, or the error of memory. */
sonde_status jinja_give(jinja_run *run, jinja_value *made, jinja_value **out);

sonde_status jinja_evaluate(jinja_run *run, const jinja_node *node, jinja_value **out);
sonde_status jinja_execute(jinja_run *run, const jinja_node *body);
/* Items of anything that can be iterated: lists, keys of dicts, characters. */
sonde_status jinja_items(jinja_run *run, jinja_value *value, jinja_value **list);
/* An attribute or item by name; undefined where there is none. */
sonde_status jinja_member(jinja_run *run, jinja_value *value, jinja_value *name, jinja_value **out);

/* jinja_ops.c */
sonde_status jinja_operate(jinja_run *run, jinja_op op, jinja_value *a, jinja_value *b,
                           jinja_value **out);
sonde_status jinja_take_slice(jinja_run *run, jinja_value *value, jinja_value *const bounds[3],
                              jinja_value **out);
sonde_status jinja_item_at(jinja_run *run, jinja_value *value, jinja_value *index,
                           jinja_value **out);
/* jinja_filters.c */
sonde_status jinja_filter(jinja_run *run, const jinja_value *name, jinja_value *value,
                          const jinja_arguments *arguments, jinja_value **out);
sonde_status jinja_test(jinja_run *run, const jinja_value *name, jinja_value *value,
                        const jinja_arguments *arguments, bool *out);
/* Known at parse time, so that a template with another is refused as a whole. */
bool jinja_filter_is_known(const jinja_value *name);
bool jinja_test_is_known(const jinja_value *name);
/* jinja_methods.c: value.name(arguments) of texts and dicts; *known false: no such method. */
sonde_status jinja_method(jinja_run *run, jinja_value *value, const jinja_value *name,
                          const jinja_arguments *arguments, bool *known, jinja_value **out);
/* Both ends, or one, of a text without white space or the characters given (NULL: white space). */
jinja_value *jinja_strip(jinja_arena *arena, const jinja_value *text, const jinja_value *chars,
                         bool left, bool right);
/* jinja_functions.c */
jinja_value *jinja_function(jinja_arena *arena, const jinja_value *name); /* or NULL */
sonde_status jinja_call_function(jinja_run *run, const jinja_value *function,
                                 const jinja_arguments *arguments, jinja_value **out);

#endif
