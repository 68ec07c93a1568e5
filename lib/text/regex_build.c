/*
 * regex_build.c - a split rule's tree as a program, and its alphabet: characters that no set of the
 * rule tells apart share a class, so that a set is a row of bytes.
 */
#include "regex_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct builder {
    sonde_regex_tree tree;
    sonde_regex *regex;
    const char *pattern;
    size_t bytes;
    sonde_error *err;
} builder;

static sonde_status refuse(const builder *b, const char *what)
{
    char shown[SONDE_PRINTABLE_BYTES];
    return sonde_fail(b->err, SONDE_BAD_TOKENIZER, "split rule '%s': %s",
                      sonde_printable(b->pattern, b->bytes, shown), what);
}

static const sonde_node *node_at(const builder *b, int32_t at)
{
    return &b->tree.nodes[at];
}

/* ---- what a node can begin with -------------------------------------------------------------- */

/* Adds the characters that a match of the node can begin with; true: it may take none at all. */
static bool add_firsts(const builder *b, int32_t at, sonde_ranges *set)
{
    const sonde_node *n = node_at(b, at);
    bool empty = false;
    switch (n->kind) {
    case SONDE_NODE_SET: sonde_ranges_add_all(set, &b->tree.sets[n->set]); return false;
    case SONDE_NODE_CAT:
        for (int32_t c = n->child; c >= 0; c = node_at(b, c)->next)
            if (!add_firsts(b, c, set)) return false;
        return true;
    case SONDE_NODE_ALT:
        for (int32_t c = n->child; c >= 0; c = node_at(b, c)->next) empty |= add_firsts(b, c, set);
        return empty;
    case SONDE_NODE_REPEAT: return n->max == 0 || add_firsts(b, n->child, set) || n->min == 0;
    case SONDE_NODE_ATOMIC: return add_firsts(b, n->child, set);
    default: return true;
    }
}

/* Index of the set of a node's first characters; -1: it may be empty. */
static sonde_status first_set(builder *b, int32_t at, int *index)
{
    sonde_ranges set = {0};
    bool empty = add_firsts(b, at, &set);
    sonde_ranges_sort(&set);
    *index = -1;
    if (empty && !set.failed) {
        sonde_ranges_reset(&set);
        return SONDE_OK;
    }
    bool failed = set.failed;
    *index = sonde_regex_add_set(&b->tree, &set);
    if (failed) return sonde_no_memory(b->err, "a split rule", b->bytes);
    return *index < 0 ? refuse(b, "too many sets of characters") : SONDE_OK;
}

/* ---- program --------------------------------------------------------------------------------- */

static sonde_status emit(builder *b, sonde_instruction instruction, uint32_t *where)
{
    sonde_regex *r = b->regex;
    if (r->n_program == SONDE_REGEX_PROGRAM) return refuse(b, "too long");
    if (!sonde_grow(&r->program, &r->capacity, r->n_program + 1, sizeof *r->program))
        return sonde_no_memory(b->err, "a split rule", r->n_program);
    if (where) *where = (uint32_t)r->n_program;
    r->program[r->n_program++] = instruction;
    return SONDE_OK;
}

/* The jump at `where` leads to what comes next. */
static void land(builder *b, uint32_t where)
{
    b->regex->program[where].to = (uint32_t)b->regex->n_program;
}

static sonde_status build(builder *b, int32_t at);

/* FILTER keeps an alternative from being tried where its first character cannot stand. */
static sonde_status build_alternatives(builder *b, const sonde_node *n)
{
    uint32_t ends = UINT32_MAX; /* the jumps to the end, linked through `to` */
    for (int32_t c = n->child; c >= 0; c = node_at(b, c)->next) {
        uint32_t filter = UINT32_MAX, split = 0, jump = 0;
        bool last = node_at(b, c)->next < 0;
        int first = -1;
        if (!last) SONDE_TRY(first_set(b, c, &first));
        if (first >= 0)
            SONDE_TRY(emit(b, (sonde_instruction){.op = SONDE_OP_FILTER, .set = (uint16_t)first},
                           &filter));
        if (!last) SONDE_TRY(emit(b, (sonde_instruction){.op = SONDE_OP_SPLIT}, &split));
        SONDE_TRY(build(b, c));
        if (last) break;
        SONDE_TRY(emit(b, (sonde_instruction){.op = SONDE_OP_JUMP, .to = ends}, &jump));
        ends = jump;
        land(b, split);
        if (filter != UINT32_MAX) land(b, filter);
    }
    while (ends != UINT32_MAX) {
        uint32_t before = b->regex->program[ends].to;
        land(b, ends);
        ends = before;
    }
    return SONDE_OK;
}

/* A program of its own up to ACCEPT, entered by `op`. */
static sonde_status build_inner(builder *b, sonde_op op, bool negated, int32_t child)
{
    uint32_t enter = 0;
    SONDE_TRY(emit(b, (sonde_instruction){.op = (uint8_t)op, .mode = negated}, &enter));
    SONDE_TRY(build(b, child));
    SONDE_TRY(emit(b, (sonde_instruction){.op = SONDE_OP_ACCEPT}, NULL));
    land(b, enter);
    return SONDE_OK;
}

static sonde_status build_loop(builder *b, const sonde_node *n)
{
    uint32_t top = 0, end = (uint32_t)b->regex->n_program;
    uint8_t op = n->mode == SONDE_LAZY ? SONDE_OP_FORK : SONDE_OP_SPLIT;
    SONDE_TRY(emit(b, (sonde_instruction){.op = op}, &top));
    SONDE_TRY(build(b, n->child));
    SONDE_TRY(emit(b, (sonde_instruction){.op = SONDE_OP_JUMP, .to = end}, NULL));
    land(b, top);
    return SONDE_OK;
}

/* Up to `count` more times, each only after the one before. */
static sonde_status build_optional(builder *b, const sonde_node *n, uint32_t count)
{
    uint32_t split = 0;
    uint8_t op = n->mode == SONDE_LAZY ? SONDE_OP_FORK : SONDE_OP_SPLIT;
    if (count == 0) return SONDE_OK;
    uint32_t *splits = sonde_alloc(count, sizeof *splits);
    sonde_status status = splits ? SONDE_OK : sonde_no_memory(b->err, "a split rule", count);
    uint32_t made = 0;
    for (; made < count && status == SONDE_OK; made++) {
        status = emit(b, (sonde_instruction){.op = op}, &split);
        if (status == SONDE_OK) {
            splits[made] = split;
            status = build(b, n->child);
        }
    }
    for (uint32_t i = 0; i < made && status == SONDE_OK; i++) land(b, splits[i]);
    sonde_free(splits);
    return status;
}

static sonde_status build_repeat(builder *b, const sonde_node *n)
{
    sonde_ranges none = {0};
    const sonde_node *child = node_at(b, n->child);
    if (child->kind == SONDE_NODE_SET && n->mode != SONDE_LAZY)
        return emit(b,
                    (sonde_instruction){.op = SONDE_OP_SPAN,
                                        .mode = n->mode == SONDE_POSSESSIVE,
                                        .set = child->set,
                                        .min = n->min,
                                        .max = n->max},
                    NULL);
    bool empty = add_firsts(b, n->child, &none);
    sonde_ranges_reset(&none);
    if (empty && n->max > 1) return refuse(b, "a repeat of what may be empty is not supported");
    for (uint32_t i = 0; i < n->min; i++) SONDE_TRY(build(b, n->child));
    return n->max == SONDE_REGEX_FOREVER ? build_loop(b, n) : build_optional(b, n, n->max - n->min);
}

static sonde_status build(builder *b, int32_t at)
{
    sonde_node n = *node_at(b, at);
    switch (n.kind) {
    case SONDE_NODE_EMPTY: return SONDE_OK;
    case SONDE_NODE_SET:
        return emit(b, (sonde_instruction){.op = SONDE_OP_SET, .set = n.set}, NULL);
    case SONDE_NODE_CAT:
        for (int32_t c = n.child; c >= 0; c = node_at(b, c)->next) SONDE_TRY(build(b, c));
        return SONDE_OK;
    case SONDE_NODE_ALT: return build_alternatives(b, &n);
    case SONDE_NODE_REPEAT:
        if (n.mode != SONDE_POSSESSIVE || node_at(b, n.child)->kind == SONDE_NODE_SET)
            return build_repeat(b, &n);
        b->tree.nodes[at].mode = SONDE_GREEDY;
        return build_inner(b, SONDE_OP_ATOMIC, false, at);
    case SONDE_NODE_ATOMIC: return build_inner(b, SONDE_OP_ATOMIC, false, n.child);
    case SONDE_NODE_LOOK: return build_inner(b, SONDE_OP_LOOK, n.negated, n.child);
    case SONDE_NODE_BEHIND:
        return emit(b, (sonde_instruction){.op = SONDE_OP_BEHIND, .mode = n.negated, .set = n.set},
                    NULL);
    case SONDE_NODE_ASSERT:
        return emit(b, (sonde_instruction){.op = SONDE_OP_ASSERT, .mode = n.mode}, NULL);
    }
    return SONDE_OK;
}

/* ---- alphabet -------------------------------------------------------------------------------- */

static int compare_points(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Where any set begins or ends, in order; given to the caller. */
static uint32_t *set_edges(const sonde_regex_tree *tree, size_t *count)
{
    size_t total = 1, n = 0;
    for (size_t i = 0; i < tree->n_sets; i++) total += 2 * tree->sets[i].count;
    uint32_t *edges = sonde_alloc(total + 1, sizeof *edges);
    if (!edges) return NULL;
    edges[n++] = 0;
    for (size_t i = 0; i < tree->n_sets; i++)
        for (size_t j = 0; j < tree->sets[i].count; j++) {
            edges[n++] = tree->sets[i].list[j][0];
            edges[n++] = tree->sets[i].list[j][1] + 1;
        }
    qsort(edges, n, sizeof *edges, compare_points);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (edges[i] < SONDE_UNICODE_END && (*count == 0 || edges[*count - 1] != edges[i]))
            edges[(*count)++] = edges[i];
    return edges;
}

/* Gives the classes of code points [from, to) to the pages; pages of one class alone are shared. */
static bool fill_pages(sonde_regex *r, uint32_t from, uint32_t to, uint8_t class, uint16_t *uniform)
{
    while (from < to) {
        uint32_t page = from / SONDE_REGEX_PAGE, offset = from % SONDE_REGEX_PAGE;
        uint32_t n = SONDE_MIN(SONDE_REGEX_PAGE - offset, to - from);
        bool whole = n == SONDE_REGEX_PAGE;
        if (offset == 0 && whole && uniform[class]) {
            r->index[page] = (uint16_t)(uniform[class] - 1);
        } else {
            if (offset == 0) {
                if (!sonde_grow(&r->pages, &r->page_capacity, (r->n_pages + 1) * SONDE_REGEX_PAGE,
                                1))
                    return false;
                r->index[page] = (uint16_t)r->n_pages++;
                if (whole) uniform[class] = (uint16_t)(r->index[page] + 1);
            }
            memset(r->pages + (size_t)r->index[page] * SONDE_REGEX_PAGE + offset, class, n);
        }
        from += n;
    }
    return true;
}

/* Which sets hold a code point, one bit each. `cursor` goes on from the point before. */
static uint64_t membership(const sonde_regex_tree *tree, uint32_t point, size_t *cursor)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < tree->n_sets; i++) {
        const sonde_ranges *s = &tree->sets[i];
        while (cursor[i] < s->count && s->list[cursor[i]][1] < point) cursor[i]++;
        if (cursor[i] < s->count && s->list[cursor[i]][0] <= point) bits |= (uint64_t)1 << i;
    }
    return bits;
}

static void note_ascii(sonde_regex *r, size_t n_sets)
{
    const uint8_t *classes = r->pages + (size_t)r->index[0] * SONDE_REGEX_PAGE;
    for (size_t set = 0; set < n_sets; set++)
        for (size_t c = 0; c < 128; c++)
            r->ascii[set][c >> 6] |= (uint64_t)r->member[set * r->n_classes + classes[c]] << (c & 63);
}

static sonde_status build_alphabet(builder *b)
{
    size_t n_edges = 0, n_classes = 0, cursor[SONDE_REGEX_SETS] = {0};
    uint64_t classes[255];
    uint16_t uniform[256] = {0};
    uint32_t *edges = set_edges(&b->tree, &n_edges);
    bool good = edges != NULL;
    for (size_t i = 0; i < n_edges && good; i++) {
        uint64_t bits = membership(&b->tree, edges[i], cursor);
        size_t class = 0;
        while (class < n_classes && classes[class] != bits) class ++;
        if (class == SONDE_COUNT(classes)) {
            sonde_free(edges);
            return refuse(b, "too many sets of characters");
        }
        if (class == n_classes) classes[n_classes++] = bits;
        uint32_t end = i + 1 < n_edges ? edges[i + 1] : SONDE_UNICODE_END;
        good = fill_pages(b->regex, edges[i], end, (uint8_t) class, uniform);
    }
    sonde_free(edges);
    b->regex->n_classes = n_classes;
    b->regex->member = good ? sonde_alloc(SONDE_MAX(b->tree.n_sets, 1u) * n_classes, 1) : NULL;
    if (!b->regex->member) return sonde_no_memory(b->err, "a split rule", n_edges);
    for (size_t set = 0; set < b->tree.n_sets; set++)
        for (size_t class = 0; class < n_classes; class ++)
            b->regex->member[set * n_classes + class] = classes[class] >> set & 1;
    note_ascii(b->regex, b->tree.n_sets);
    return SONDE_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static sonde_status compile(builder *b)
{
    SONDE_TRY(sonde_regex_parse(b->pattern, b->bytes, &b->tree, b->err));
    int first;
    SONDE_TRY(first_set(b, b->tree.root, &first));
    b->regex->first = first;
    SONDE_TRY(build(b, b->tree.root));
    SONDE_TRY(emit(b, (sonde_instruction){.op = SONDE_OP_ACCEPT}, NULL));
    return build_alphabet(b);
}

sonde_status sonde_regex_compile(const char *pattern, size_t bytes, sonde_regex **regex,
                                 sonde_error *err)
{
    builder b = {.pattern = pattern, .bytes = bytes, .err = err};
    b.regex = sonde_alloc(1, sizeof *b.regex);
    if (!b.regex) return sonde_no_memory(err, "a split rule", sizeof *b.regex);
    sonde_status status = compile(&b);
    sonde_regex_tree_reset(&b.tree);
    if (status != SONDE_OK) sonde_regex_destroy(&b.regex);
    *regex = b.regex;
    return status;
}

void sonde_regex_destroy(sonde_regex **regex)
{
    if (!*regex) return;
    sonde_free((*regex)->program);
    sonde_free((*regex)->pages);
    sonde_free((*regex)->member);
    sonde_free(*regex);
    *regex = NULL;
}

void sonde_regex_quote(const char *text, size_t bytes, sonde_string *out)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        at += sonde_utf8_get(text + at, &c);
        sonde_string_format(out, "\\x{%X}", c);
    }
}
