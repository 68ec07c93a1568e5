/* regex_parse.c - a split rule as a tree of nodes and sets of characters. */
#include "regex_internal.h"

#include <string.h>

typedef struct parser {
    const char *text;
    size_t bytes, at;
    size_t depth;
    bool fold;            /* inside (?i: ) */
    uint32_t last_folded; /* the literal before, inside (?i: ); 0: none */
    sonde_regex_tree *tree;
    sonde_error *err;
    sonde_status status;
} parser;

static int32_t refuse(parser *p, const char *what)
{
    if (p->status != SONDE_OK) return -1;
    char shown[SONDE_PRINTABLE_BYTES];
    p->status = sonde_fail(p->err, SONDE_BAD_TOKENIZER, "split rule '%s': %s at byte %zu",
                           sonde_printable(p->text, p->bytes, shown), what, p->at);
    return -1;
}

static int32_t no_memory(parser *p)
{
    if (p->status == SONDE_OK) p->status = sonde_no_memory(p->err, "a split rule", p->bytes);
    return -1;
}

static bool peek_is(const parser *p, const char *text)
{
    size_t n = strlen(text);
    return p->bytes - p->at >= n && memcmp(p->text + p->at, text, n) == 0;
}

static bool take(parser *p, const char *text)
{
    if (!peek_is(p, text)) return false;
    p->at += strlen(text);
    return true;
}

static uint32_t take_char(parser *p)
{
    uint32_t c;
    p->at += sonde_utf8_get(p->text + p->at, &c);
    return c;
}

static int32_t add_node(parser *p, sonde_node node)
{
    sonde_regex_tree *t = p->tree;
    if (p->status != SONDE_OK) return -1;
    if (!sonde_grow(&t->nodes, &t->capacity, t->count + 1, sizeof *t->nodes)) return no_memory(p);
    t->nodes[t->count] = node;
    return (int32_t)t->count++;
}

int sonde_regex_add_set(sonde_regex_tree *tree, sonde_ranges *set)
{
    for (size_t i = 0; i < tree->n_sets && !set->failed; i++) {
        if (!sonde_ranges_equal(&tree->sets[i], set)) continue;
        sonde_ranges_reset(set);
        return (int)i;
    }
    if (set->failed || tree->n_sets == SONDE_REGEX_SETS) {
        sonde_ranges_reset(set);
        return -1;
    }
    tree->sets[tree->n_sets] = *set;
    memset(set, 0, sizeof *set);
    return (int)tree->n_sets++;
}

/* A node of a set, which is taken over. */
static int32_t set_node(parser *p, sonde_ranges *set)
{
    bool failed = set->failed;
    int index = sonde_regex_add_set(p->tree, set);
    if (index < 0) return failed ? no_memory(p) : refuse(p, "too many sets of characters");
    return add_node(
        p, (sonde_node){.kind = SONDE_NODE_SET, .set = (uint16_t)index, .child = -1, .next = -1});
}

/* ---- escapes and classes --------------------------------------------------------------------- */

static bool hex_digits(parser *p, size_t least, size_t most, uint32_t *value)
{
    size_t n = 0;
    for (*value = 0; n < most && p->at < p->bytes; n++, p->at++) {
        char c = p->text[p->at];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) break;
        *value = *value << 4 | digit;
    }
    return n >= least && *value < SONDE_UNICODE_END;
}

/* The character of an escape whose letter is `c`; false: it stands for none. */
static bool escaped_char(parser *p, uint32_t c, uint32_t *out)
{
    static const char letters[] = "nrtfvae", values[] = "\n\r\t\f\v\a\x1B";
    const char *found = c && c < 128 ? strchr(letters, (int)c) : NULL;
    if (found) {
        *out = (unsigned char)values[found - letters];
        return true;
    }
    if (c == 'x' && take(p, "{")) return hex_digits(p, 1, 6, out) && take(p, "}");
    if (c == 'x') return hex_digits(p, 1, 2, out) && *out < 0x80;
    if (c == 'u') return hex_digits(p, 4, 4, out);
    *out = c;
    return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'));
}

/* \p{Name}, \p{^Name}, \P{Name} behind its letter. */
static bool add_property(parser *p, bool negated, sonde_ranges *set)
{
    if (!take(p, "{")) return false;
    if (take(p, "^")) negated = !negated;
    const char *end = memchr(p->text + p->at, '}', p->bytes - p->at);
    size_t n = end ? (size_t)(end - p->text) - p->at : 0;
    sonde_ranges named = {0};
    if (!end || !sonde_ranges_add_property(&named, p->text + p->at, n)) return false;
    p->at += n + 1;
    sonde_ranges_sort(&named);
    if (negated) sonde_ranges_negate(&named);
    sonde_ranges_add_all(set, &named);
    sonde_ranges_reset(&named);
    return true;
}

/* \s and its like: adds the set of `c`; false: c is none of them. */
static bool add_shorthand(uint32_t c, sonde_ranges *set)
{
    static const struct {
        char letter;
        const char *property;
    } known[] = {{'s', "Space"}, {'d', "Nd"}, {'w', "Word"}, {'h', NULL}};
    for (size_t i = 0; i < SONDE_COUNT(known); i++) {
        bool negated = c == (uint32_t)(known[i].letter - 32);
        if (c != (uint32_t)known[i].letter && !negated) continue;
        sonde_ranges named = {0};
        if (known[i].property) {
            sonde_ranges_add_property(&named, known[i].property, strlen(known[i].property));
        } else {
            sonde_ranges_add(&named, '0', '9');
            sonde_ranges_add(&named, 'A', 'F');
            sonde_ranges_add(&named, 'a', 'f');
        }
        sonde_ranges_sort(&named);
        if (negated) sonde_ranges_negate(&named);
        sonde_ranges_add_all(set, &named);
        sonde_ranges_reset(&named);
        return true;
    }
    return false;
}

/* Adds what the other case of ASCII letters is; U+017F and U+212A fold to s and k. */
static void add_folds(sonde_ranges *set)
{
    sonde_ranges_sort(set);
    for (uint32_t c = 'a'; c <= 'z'; c++) {
        if (!sonde_ranges_has(set, c) && !sonde_ranges_has(set, c - 32)) continue;
        sonde_ranges_add(set, c, c);
        sonde_ranges_add(set, c - 32, c - 32);
        if (c == 's') sonde_ranges_add(set, 0x17F, 0x17F);
        if (c == 'k') sonde_ranges_add(set, 0x212A, 0x212A);
        sonde_ranges_sort(set);
    }
}

static bool parse_class(parser *p, sonde_ranges *out);

/* One member of a class, or the first end of a range; *single: it is a character. */
static bool class_item(parser *p, sonde_ranges *set, bool *single, uint32_t *c)
{
    *single = false;
    if (peek_is(p, "[:")) return refuse(p, "a POSIX bracket is not supported"), false;
    if (take(p, "[")) {
        sonde_ranges inner = {0};
        bool good = parse_class(p, &inner);
        sonde_ranges_add_all(set, &inner);
        sonde_ranges_reset(&inner);
        return good;
    }
    *c = take_char(p);
    *single = true;
    if (*c != '\\') return true;
    if (p->at >= p->bytes) return refuse(p, "an escape without its letter"), false;
    *c = take_char(p);
    if (add_shorthand(*c, set)) return *single = false, true;
    if (*c == 'p' || *c == 'P') {
        *single = false;
        return add_property(p, *c == 'P', set) || (refuse(p, "an unknown property"), false);
    }
    if (*c == 'b') return refuse(p, "\\b in a class is not supported"), false;
    return escaped_char(p, *c, c) || (refuse(p, "an unknown escape"), false);
}

/* The members up to the closing bracket or &&. */
static bool class_members(parser *p, sonde_ranges *set)
{
    for (bool first = true; p->at < p->bytes; first = false) {
        if (peek_is(p, "&&") || (peek_is(p, "]") && !first)) break;
        bool single, last_single;
        uint32_t from, to;
        if (!class_item(p, set, &single, &from)) return false;
        if (!single) continue;
        to = from;
        if (peek_is(p, "-") && !peek_is(p, "-]") && !peek_is(p, "-[") && !peek_is(p, "-&&")) {
            p->at++;
            if (p->at >= p->bytes) break;
            if (!class_item(p, set, &last_single, &to)) return false;
            if (!last_single) return refuse(p, "a range that ends in a class"), false;
            if (to < from) return refuse(p, "a range that ends before it begins"), false;
        }
        if (p->fold && to >= 0x80)
            return refuse(p, "(?i:) over other than ASCII is not supported"), false;
        sonde_ranges_add(set, from, to);
    }
    return true;
}

/* A class behind its opening bracket. && binds weakest; negation is of the whole. */
static bool parse_class(parser *p, sonde_ranges *out)
{
    if (++p->depth > SONDE_REGEX_DEPTH) return refuse(p, "too many nested groups"), false;
    bool negated = take(p, "^"), good = true;
    if (negated && p->fold) return refuse(p, "a negated class in (?i:) is not supported"), false;
    for (bool first = true; good; first = false) {
        sonde_ranges part = {0};
        good = class_members(p, &part);
        if (p->fold) add_folds(&part);
        sonde_ranges_sort(&part);
        if (first) sonde_ranges_add_all(out, &part);
        else sonde_ranges_intersect(out, &part);
        sonde_ranges_reset(&part);
        if (!take(p, "&&")) break;
    }
    p->depth--;
    if (good && !take(p, "]")) return refuse(p, "a class without its end"), false;
    if (negated) sonde_ranges_negate(out);
    return good;
}

/* ---- atoms ----------------------------------------------------------------------------------- */

static int32_t parse_alternatives(parser *p);

/* One literal. Some pairs fold to a single character (ss is also U+00DF): none is in a known
 * rule. */
static int32_t literal(parser *p, uint32_t c)
{
    sonde_ranges set = {0};
    sonde_ranges_add(&set, c, c);
    if (p->fold) {
        static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
        uint32_t low = c >= 'A' && c <= 'Z' ? c + 32 : c;
        for (size_t i = 0; i < SONDE_COUNT(pairs) && p->status == SONDE_OK; i++)
            if (p->last_folded == (uint32_t)pairs[i][0] && low == (uint32_t)pairs[i][1])
                refuse(p, "letters that fold to one character are not supported");
        if (c >= 0x80) refuse(p, "(?i:) over other than ASCII is not supported");
        p->last_folded = low;
        add_folds(&set);
    }
    return set_node(p, &set);
}

static int32_t assertion(parser *p, sonde_assertion which)
{
    return add_node(
        p,
        (sonde_node){.kind = SONDE_NODE_ASSERT, .mode = (uint8_t)which, .child = -1, .next = -1});
}

static int32_t parse_escape(parser *p)
{
    sonde_ranges set = {0};
    if (p->at >= p->bytes) return refuse(p, "an escape without its letter");
    uint32_t c = take_char(p);
    switch (c) {
    case 'A': return assertion(p, SONDE_ASSERT_TEXT_START);
    case 'z': return assertion(p, SONDE_ASSERT_TEXT_END);
    case 'b': return assertion(p, SONDE_ASSERT_WORD_EDGE);
    case 'B': return assertion(p, SONDE_ASSERT_NO_WORD_EDGE);
    case 'p':
    case 'P':
        if (p->fold) return refuse(p, "a property in (?i:) is not supported");
        if (!add_property(p, c == 'P', &set)) return refuse(p, "an unknown property");
        sonde_ranges_sort(&set);
        return set_node(p, &set);
    default: break;
    }
    if (add_shorthand(c, &set)) {
        sonde_ranges_sort(&set);
        return set_node(p, &set);
    }
    if (!escaped_char(p, c, &c)) return refuse(p, "an unknown escape");
    return literal(p, c);
}

/* The rest of a group whose opening is read; `fold` holds inside. */
static int32_t group_rest(parser *p, bool fold)
{
    bool before = p->fold;
    p->fold = fold;
    p->last_folded = 0;
    if (++p->depth > SONDE_REGEX_DEPTH) return refuse(p, "too many nested groups");
    int32_t node = parse_alternatives(p);
    p->depth--;
    p->fold = before;
    p->last_folded = 0;
    if (node >= 0 && !take(p, ")")) return refuse(p, "a group without its end");
    return node;
}

/* A group that is wrapped in a node of its own. */
static int32_t wrap(parser *p, sonde_node_kind kind, bool negated, int32_t child)
{
    if (child < 0) return -1;
    return add_node(p, (sonde_node){.kind = kind, .negated = negated, .child = child, .next = -1});
}

static int32_t lookbehind(parser *p, bool negated)
{
    int32_t child = group_rest(p, p->fold);
    if (child < 0) return -1;
    sonde_node node = p->tree->nodes[child];
    if (node.kind != SONDE_NODE_SET)
        return refuse(p, "lookbehind of other than one character is not supported");
    node.kind = SONDE_NODE_BEHIND;
    node.negated = negated;
    return add_node(p, node);
}

static int32_t parse_group(parser *p)
{
    if (!take(p, "?")) return group_rest(p, p->fold);
    if (take(p, ":")) return group_rest(p, p->fold);
    if (take(p, "i:")) return group_rest(p, true);
    if (take(p, "-i:")) return group_rest(p, false);
    if (take(p, ">")) return wrap(p, SONDE_NODE_ATOMIC, false, group_rest(p, p->fold));
    if (take(p, "=")) return wrap(p, SONDE_NODE_LOOK, false, group_rest(p, p->fold));
    if (take(p, "!")) return wrap(p, SONDE_NODE_LOOK, true, group_rest(p, p->fold));
    if (take(p, "<=")) return lookbehind(p, false);
    if (take(p, "<!")) return lookbehind(p, true);
    return refuse(p, "an unknown kind of group");
}

static int32_t parse_atom(parser *p)
{
    sonde_ranges set = {0};
    uint32_t c = take_char(p);
    uint32_t last = p->last_folded;
    p->last_folded = 0;
    switch (c) {
    case '(': return parse_group(p);
    case '\\': p->last_folded = last; return parse_escape(p);
    case '^': return assertion(p, SONDE_ASSERT_LINE_START);
    case '$': return assertion(p, SONDE_ASSERT_LINE_END);
    case '.':
        sonde_ranges_add(&set, '\n', '\n');
        sonde_ranges_negate(&set);
        return set_node(p, &set);
    case '[':
        if (!parse_class(p, &set)) {
            sonde_ranges_reset(&set);
            return -1;
        }
        return set_node(p, &set);
    case '*':
    case '+':
    case '?':
    case ')': return refuse(p, "an operator without its operand");
    default: p->last_folded = last; return literal(p, c);
    }
}

/* ---- repeats, sequences, alternatives -------------------------------------------------------- */

static bool take_number(parser *p, uint32_t *value)
{
    size_t from = p->at;
    for (*value = 0; p->at < p->bytes && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++)
        *value = SONDE_MIN(*value * 10 + (uint32_t)(p->text[p->at] - '0'), 100000u);
    return p->at > from;
}

/* {n}, {n,}, {,m}, {n,m}; otherwise nothing is taken: the brace is a literal. */
static bool take_interval(parser *p, uint32_t *min, uint32_t *max)
{
    size_t from = p->at;
    if (!take(p, "{")) return false;
    bool low = take_number(p, min), comma = take(p, ","), high = comma && take_number(p, max);
    if (!comma) *max = *min;
    else if (!high) *max = SONDE_REGEX_FOREVER;
    if ((low || high) && take(p, "}")) return true;
    p->at = from;
    return false;
}

/* A repeat of `child`. In Ruby's syntax {n,m}+ is no possessive but a repeat of a repeat. */
static int32_t parse_repeat(parser *p, int32_t child)
{
    for (uint32_t min, max; child >= 0;) {
        sonde_repeat_mode mode = SONDE_GREEDY;
        bool interval = false;
        if (take(p, "*")) min = 0, max = SONDE_REGEX_FOREVER;
        else if (take(p, "+")) min = 1, max = SONDE_REGEX_FOREVER;
        else if (take(p, "?")) min = 0, max = 1;
        else if ((interval = take_interval(p, &min, &max))) {
            if (max < min) return refuse(p, "an interval that ends before it begins");
            if (min == max && peek_is(p, "?")) return refuse(p, "{n}? is not supported");
        } else break;
        if (take(p, "?")) mode = SONDE_LAZY;
        else if (!interval && take(p, "+")) mode = SONDE_POSSESSIVE;
        p->last_folded = 0;
        child = add_node(p, (sonde_node){.kind = SONDE_NODE_REPEAT,
                                         .mode = (uint8_t)mode,
                                         .min = min,
                                         .max = max,
                                         .child = child,
                                         .next = -1});
    }
    return child;
}

static int32_t parse_sequence(parser *p)
{
    int32_t cat = add_node(p, (sonde_node){.kind = SONDE_NODE_CAT, .child = -1, .next = -1});
    int32_t last = -1;
    while (p->status == SONDE_OK && p->at < p->bytes && !peek_is(p, "|") && !peek_is(p, ")")) {
        int32_t node = parse_repeat(p, parse_atom(p));
        if (node < 0) return -1;
        if (last < 0) p->tree->nodes[cat].child = node;
        else p->tree->nodes[last].next = node;
        last = node;
    }
    if (p->status != SONDE_OK) return -1;
    if (last < 0) p->tree->nodes[cat].kind = SONDE_NODE_EMPTY;
    return last >= 0 && p->tree->nodes[cat].child == last ? last : cat;
}

static int32_t parse_alternatives(parser *p)
{
    int32_t first = parse_sequence(p), last = first, alt = -1;
    while (first >= 0 && last >= 0 && take(p, "|")) {
        if (alt < 0)
            alt = add_node(p, (sonde_node){.kind = SONDE_NODE_ALT, .child = first, .next = -1});
        p->last_folded = 0;
        int32_t node = parse_sequence(p);
        if (alt < 0 || node < 0) return -1;
        p->tree->nodes[last].next = node;
        last = node;
    }
    return alt >= 0 ? alt : first;
}

sonde_status sonde_regex_parse(const char *pattern, size_t bytes, sonde_regex_tree *tree,
                               sonde_error *err)
{
    parser p = {.text = pattern, .bytes = bytes, .tree = tree, .err = err, .status = SONDE_OK};
    tree->root = parse_alternatives(&p);
    if (p.status == SONDE_OK && p.at < bytes) refuse(&p, "a closing bracket without its group");
    return p.status;
}

void sonde_regex_tree_reset(sonde_regex_tree *tree)
{
    for (size_t i = 0; i < tree->n_sets; i++) sonde_ranges_reset(&tree->sets[i]);
    sonde_free(tree->nodes);
    memset(tree, 0, sizeof *tree);
}
