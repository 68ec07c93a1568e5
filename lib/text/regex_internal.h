/* regex_internal.h - the tree of a split rule and its program. */
#ifndef SONDE_TEXT_REGEX_INTERNAL_H
#define SONDE_TEXT_REGEX_INTERNAL_H

#include "ranges.h"
#include "regex.h"

#define SONDE_REGEX_SETS 64      /* distinct sets of one rule */
#define SONDE_REGEX_PROGRAM 8192 /* instructions */
#define SONDE_REGEX_DEPTH 64     /* nested groups */
#define SONDE_REGEX_FOREVER UINT32_MAX

typedef enum sonde_node_kind {
    SONDE_NODE_EMPTY,
    SONDE_NODE_SET,    /* one character of a set */
    SONDE_NODE_CAT,    /* children one after the other */
    SONDE_NODE_ALT,    /* the first child that leads to a match */
    SONDE_NODE_REPEAT, /* child, min to max times */
    SONDE_NODE_ATOMIC, /* child, never entered again */
    SONDE_NODE_LOOK,   /* child matches here (or not), nothing taken */
    SONDE_NODE_BEHIND, /* the character before is in the set (or not) */
    SONDE_NODE_ASSERT,
} sonde_node_kind;

typedef enum sonde_repeat_mode { SONDE_GREEDY, SONDE_LAZY, SONDE_POSSESSIVE } sonde_repeat_mode;

typedef enum sonde_assertion {
    SONDE_ASSERT_LINE_START,
    SONDE_ASSERT_LINE_END,
    SONDE_ASSERT_TEXT_START,
    SONDE_ASSERT_TEXT_END,
    SONDE_ASSERT_WORD_EDGE,
    SONDE_ASSERT_NO_WORD_EDGE,
} sonde_assertion;

typedef struct sonde_node {
    sonde_node_kind kind;
    uint16_t set;        /* SET, BEHIND */
    uint8_t mode;        /* REPEAT: sonde_repeat_mode; ASSERT: sonde_assertion */
    bool negated;        /* LOOK, BEHIND */
    uint32_t min, max;   /* REPEAT */
    int32_t child, next; /* first child and next sibling, -1: none */
} sonde_node;

typedef struct sonde_regex_tree {
    sonde_node *nodes;
    size_t count, capacity;
    sonde_ranges sets[SONDE_REGEX_SETS];
    size_t n_sets;
    int32_t root;
} sonde_regex_tree;

typedef enum sonde_op {
    SONDE_OP_SET, /* one character of `set` */
    SONDE_OP_SPAN, /* min to max characters of `set`, as many as can be; given back unless possessive */
    SONDE_OP_SPLIT,  /* go on; then try `to` */
    SONDE_OP_FORK,   /* go to `to`; then try the next */
    SONDE_OP_FILTER, /* to `to` unless the next character is in `set` */
    SONDE_OP_JUMP,
    SONDE_OP_ATOMIC, /* the program that follows, up to its ACCEPT, then `to` */
    SONDE_OP_LOOK,   /* the same, without taking anything */
    SONDE_OP_BEHIND,
    SONDE_OP_ASSERT,
    SONDE_OP_ACCEPT,
} sonde_op;

typedef struct sonde_instruction {
    uint8_t op;
    uint8_t mode; /* SPAN: possessive; ASSERT: which; LOOK, BEHIND: negated */
    uint16_t set;
    uint32_t min, max, to;
} sonde_instruction;

#define SONDE_REGEX_PAGE 128u

/* Characters fall into at most 255 classes that no set of the rule tells apart; pages[index[c
 * / 128] * 128 + c % 128] is the class of c, member[set * n_classes + class] whether the set
 * has it. */
struct sonde_regex {
    sonde_instruction *program;
    size_t n_program, capacity;
    uint8_t *pages;
    size_t n_pages, page_capacity;
    uint16_t index[SONDE_UNICODE_END / SONDE_REGEX_PAGE];
    uint8_t *member;
    size_t n_classes;
    uint64_t ascii[SONDE_REGEX_SETS][2];
    int32_t first; /* set of the characters that a match can begin with; -1: it may be empty */
};

typedef struct sonde_regex_entry {
    uint32_t pc, at, low; /* of a span: it may shrink from `at` down to `low` */
} sonde_regex_entry;

/* regex_parse.c: the tree of a pattern; release with sonde_regex_tree_reset, also on failure. */
sonde_status sonde_regex_parse(const char *pattern, size_t bytes, sonde_regex_tree *tree,
                               sonde_error *err);
void sonde_regex_tree_reset(sonde_regex_tree *tree);
/* Index of a set, added when it is new (taken over and emptied); -1: no memory or too many. */
int sonde_regex_add_set(sonde_regex_tree *tree, sonde_ranges *set);

#endif
