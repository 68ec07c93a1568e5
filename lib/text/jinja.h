/*
 * jinja.h - the part of the Jinja language that chat templates are written in.
 *
 * A program is parsed once and rendered any number of times, by any number of threads. Values live
 * in an arena that goes with the rendering. Every byte of a string remembers where it came from: 0,
 * the template's own text, or the tag that the caller gave to a piece of data; slicing, trimming,
 * joining and JSON keep the tags, so the caller can tell markup from content in what was rendered.
 * Semantics are those of Jinja2 with trim_blocks and lstrip_blocks and Python's str(), repr() and
 * json.dumps(ensure_ascii=False): what transformers renders with.
 */
#ifndef SONDE_TEXT_JINJA_H
#define SONDE_TEXT_JINJA_H

#include "core/json.h"

typedef struct jinja_arena jinja_arena;
typedef struct jinja_program jinja_program;
typedef struct jinja_node jinja_node;
typedef struct jinja_value jinja_value;

typedef enum jinja_kind {
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_DICT,     /* insertion order; a namespace is one that may be changed */
    JINJA_MACRO,    /* of the template */
    JINJA_FUNCTION, /* ours: namespace, range, raise_exception, strftime_now */
} jinja_kind;

/* Immutable but for namespaces; owned by the arena. */
struct jinja_value {
    jinja_kind kind;
    bool is_namespace;
    union {
        int64_t integer; /* INT, BOOL (0, 1), FUNCTION (which) */
        double real;
        struct {
            const char *bytes;   /* [count], UTF-8, not NUL-terminated */
            const uint8_t *tags; /* [count]; NULL: all 0 */
        } text;
        struct {
            jinja_value **items; /* LIST [count]; DICT [2 * count]: key, value, ... */
            size_t capacity;
        } list;
        const jinja_node *macro;
        const char *missing; /* UNDEFINED: its name, for messages */
    } as;
    size_t count;
};

/* ---- memory and values: jinja_value.c --------------------------------------------------------- */

/* The bound of an arena, and of a buffer with its tags: a template that joins what it joined before
 * takes the square of a conversation. */
#define JINJA_MOST_BYTES ((size_t)512 << 20)

jinja_arena *jinja_arena_create(void); /* NULL: no memory */
void jinja_arena_destroy(jinja_arena **arena);
/* Zeroed memory that lives as long as the arena; NULL: no memory, or the arena is full. */
void *jinja_arena_alloc(jinja_arena *arena, size_t bytes);
/* Was memory refused because of the bound? */
bool jinja_arena_is_full(const jinja_arena *arena);

/* Makers of values; NULL for no memory. */
jinja_value *jinja_new(jinja_arena *arena, jinja_kind kind);
jinja_value *jinja_int(jinja_arena *arena, int64_t value);
jinja_value *jinja_bool(jinja_arena *arena, bool value);
/* The bytes are kept, not copied; tags as in jinja_value. */
jinja_value *jinja_text(jinja_arena *arena, const char *bytes, size_t n, const uint8_t *tags);
/* Copies text; every byte gets the tag. */
jinja_value *jinja_tagged(jinja_arena *arena, const char *bytes, size_t n, uint8_t tag);
jinja_value *jinja_slice(jinja_arena *arena, const jinja_value *text, size_t begin, size_t end);
bool jinja_list_push(jinja_arena *arena, jinja_value *list, jinja_value *item);
/* Appends; the key is not there yet. */
bool jinja_dict_add(jinja_arena *arena, jinja_value *dict, jinja_value *key, jinja_value *value);
/* Replaces or appends. */
bool jinja_dict_set(jinja_arena *arena, jinja_value *dict, jinja_value *key, jinja_value *value);
bool jinja_dict_put(jinja_arena *arena, jinja_value *dict, const char *key, jinja_value *value);
jinja_value *jinja_dict_get(const jinja_value *dict, const char *key, size_t n); /* or NULL */
/* JSON as values; every text gets the tag. */
jinja_value *jinja_from_json(jinja_arena *arena, const json_t *json, uint8_t tag);

bool jinja_truth(const jinja_value *value);
bool jinja_equal(const jinja_value *a, const jinja_value *b);
bool jinja_is_text(const jinja_value *value, const char *text);
/* INT, FLOAT and, as in Python, BOOL. */
bool jinja_is_number(const jinja_value *value);
double jinja_number_of(const jinja_value *number);
const char *jinja_kind_name(const jinja_value *value); /* "str", "None" */
/* White space as Python's str.strip() knows it. */
bool jinja_is_space(uint32_t code_point);

/* Bytes with their tags, growing; `failed` and `full` (failed by the bound) are sticky. */
typedef struct jinja_buffer {
    sonde_string bytes, tags;
    bool full;
} jinja_buffer;
void jinja_buffer_reset(jinja_buffer *buffer);
void jinja_buffer_add(jinja_buffer *buffer, const char *bytes, size_t n, uint8_t tag);
void jinja_buffer_add_text(jinja_buffer *buffer, const jinja_value *text);
/* Copies what the buffer holds into the arena, which is full when the buffer is. */
jinja_value *jinja_buffer_take(jinja_arena *arena, jinja_buffer *buffer);

/* jinja_print.c: Python's str() and json.dumps; indent < 0: one line. */
void jinja_print(jinja_buffer *buffer, const jinja_value *value);
void jinja_print_json(jinja_buffer *buffer, const jinja_value *value, int indent);

/* ---- programs: jinja_parse.c, jinja_expr.c, jinja_lex.c ----------------------------------------- */

/* UNSUPPORTED or BAD_TOKENIZER with line for what cannot be parsed. The text is not kept. */
sonde_status jinja_parse(const char *text, size_t bytes, jinja_program **program, sonde_error *err);
void jinja_destroy(jinja_program **program);

typedef struct jinja_call {
    jinja_arena *arena;
    const jinja_value *globals; /* DICT: messages, tools, bos_token, ... */
    int64_t now;                /* seconds since 1970 of the local clock, for strftime_now */
} jinja_call;

/* Renders; *out is reset first and released by the caller. BAD_PROMPT with the template's own words
 * where it raises, or with what went wrong. [any thread] */
sonde_status jinja_render(const jinja_program *program, const jinja_call *call, jinja_buffer *out,
                          sonde_error *err);

#endif
