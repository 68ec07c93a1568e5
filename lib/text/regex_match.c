/* regex_match.c - runs a split rule's program. */
#include "regex_internal.h"

typedef struct matcher {
    const sonde_regex *r;
    sonde_regex_work *work;
    const sonde_char *chars;
    size_t n;
} matcher;

static bool in_set(const matcher *m, uint32_t set, size_t at)
{
    const sonde_regex *r = m->r;
    uint32_t c = m->chars[at].code_point;
    if (c < 128) return r->ascii[set][c >> 6] >> (c & 63) & 1;
    uint8_t class =
        r->pages[(size_t)r->index[c / SONDE_REGEX_PAGE] * SONDE_REGEX_PAGE + c % SONDE_REGEX_PAGE];
    return r->member[set * r->n_classes + class];
}

static bool is_word(const matcher *m, size_t at)
{
    return (sonde_unicode_class(m->chars[at].code_point) & SONDE_CLASS_REGEX_WORD) != 0;
}

static bool holds(const matcher *m, uint8_t assertion, size_t at)
{
    bool edge = (at > 0 && is_word(m, at - 1)) != (at < m->n && is_word(m, at));
    switch (assertion) {
    case SONDE_ASSERT_LINE_START:
        return at == 0 || (at < m->n && m->chars[at - 1].code_point == '\n');
    case SONDE_ASSERT_LINE_END: return at == m->n || m->chars[at].code_point == '\n';
    case SONDE_ASSERT_TEXT_START: return at == 0;
    case SONDE_ASSERT_TEXT_END: return at == m->n;
    case SONDE_ASSERT_WORD_EDGE: return edge;
    default: return !edge;
    }
}

static bool push(sonde_regex_work *w, size_t pc, size_t at, size_t low)
{
    if (!sonde_grow(&w->stack, &w->capacity, w->count + 1, sizeof *w->stack)) return false;
    w->stack[w->count++] = (sonde_regex_entry){(uint32_t)pc, (uint32_t)at, (uint32_t)low};
    return true;
}

/* Takes the last choice back: false when there is none above `base`. */
static bool step_back(sonde_regex_work *w, size_t base, size_t *pc, size_t *at)
{
    if (w->count == base) return false;
    sonde_regex_entry *e = &w->stack[w->count - 1];
    *pc = e->pc;
    *at = e->at;
    if (e->at > e->low) e->at--;
    else w->count--;
    return true;
}

static sonde_regex_result run(const matcher *m, size_t pc, size_t *at);

/* ATOMIC and LOOK: the inner program at *at. FOUND: go on. */
static sonde_regex_result run_inner(const matcher *m, const sonde_instruction *i, size_t pc,
                                    size_t *at)
{
    size_t inner = *at;
    sonde_regex_result result = run(m, pc + 1, &inner);
    if (result > SONDE_REGEX_FOUND) return result;
    if (i->op == SONDE_OP_LOOK)
        return (result == SONDE_REGEX_FOUND) != i->mode ? SONDE_REGEX_FOUND : SONDE_REGEX_NONE;
    *at = inner;
    return result;
}

/* Takes as many as it can; false: too few, or no memory (`work->capacity` 0 then). */
static sonde_regex_result span(const matcher *m, const sonde_instruction *i, size_t pc, size_t *at)
{
    size_t from = *at, most = m->n - from, end = from;
    if (i->max < most) most = i->max;
    while (end - from < most && in_set(m, i->set, end)) end++;
    if (end - from < i->min) return SONDE_REGEX_NONE;
    size_t low = from + i->min;
    if (!i->mode && end > low && !push(m->work, pc + 1, end - 1, low)) return SONDE_REGEX_NO_MEMORY;
    *at = end;
    return SONDE_REGEX_FOUND;
}

/* One instruction: FOUND goes on at *pc and *at, NONE steps back. */
static sonde_regex_result step(const matcher *m, size_t *pc, size_t *at)
{
    const sonde_instruction *i = &m->r->program[*pc];
    sonde_regex_result result = SONDE_REGEX_FOUND;
    size_t next = *pc + 1;
    switch (i->op) {
    case SONDE_OP_SET:
        if (*at == m->n || !in_set(m, i->set, *at)) return SONDE_REGEX_NONE;
        ++*at;
        break;
    case SONDE_OP_SPAN: result = span(m, i, *pc, at); break;
    case SONDE_OP_SPLIT:
        if (!push(m->work, i->to, *at, *at)) return SONDE_REGEX_NO_MEMORY;
        break;
    case SONDE_OP_FORK:
        if (!push(m->work, next, *at, *at)) return SONDE_REGEX_NO_MEMORY;
        next = i->to;
        break;
    case SONDE_OP_FILTER:
        if (*at == m->n || !in_set(m, i->set, *at)) next = i->to;
        break;
    case SONDE_OP_JUMP: next = i->to; break;
    case SONDE_OP_ATOMIC:
    case SONDE_OP_LOOK:
        result = run_inner(m, i, *pc, at);
        next = i->to;
        break;
    case SONDE_OP_BEHIND:
        if ((*at > 0 && in_set(m, i->set, *at - 1)) == i->mode) return SONDE_REGEX_NONE;
        break;
    default:
        if (!holds(m, i->mode, *at)) return SONDE_REGEX_NONE;
    }
    *pc = next;
    return result;
}

/* Runs the program from `pc` to its ACCEPT; FOUND leaves the end in *at. */
static sonde_regex_result run(const matcher *m, size_t pc, size_t *at)
{
    sonde_regex_work *w = m->work;
    size_t base = w->count, from = *at;
    while (m->r->program[pc].op != SONDE_OP_ACCEPT) {
        sonde_regex_result result = step(m, &pc, at);
        if (result == SONDE_REGEX_FOUND) continue;
        if (result != SONDE_REGEX_NONE) return result;
        if (!step_back(w, base, &pc, at)) return SONDE_REGEX_NONE;
        if (w->budget == 0) return SONDE_REGEX_SPENT;
        w->budget--;
    }
    w->count = base;
    size_t taken = *at - from;
    w->budget -= SONDE_MIN(w->budget, taken);
    return SONDE_REGEX_FOUND;
}

/* Where the search goes on after a failure at `at`. A rule that begins with a run without limit fails
 * everywhere in a run at whose start it failed: from there it has tried the same ends and more. */
static size_t behind_failure(const matcher *m, size_t at)
{
    const sonde_instruction *i = &m->r->program[0];
    size_t next = at + 1;
    if (i->op != SONDE_OP_SPAN || i->max != SONDE_REGEX_FOREVER || at == m->n) return next;
    if (!in_set(m, i->set, at)) return next;
    while (next < m->n && in_set(m, i->set, next)) next++;
    return next;
}

/* The leftmost match that begins at or after `from`. */
static sonde_regex_result find(const matcher *m, size_t from, size_t *start, size_t *end)
{
    for (size_t at = from; at <= m->n; at = behind_failure(m, at)) {
        if (m->r->first >= 0) {
            while (at < m->n && !in_set(m, (uint32_t)m->r->first, at)) at++;
            if (at == m->n) return SONDE_REGEX_NONE;
        }
        m->work->count = 0;
        *start = *end = at;
        sonde_regex_result result = run(m, 0, end);
        if (result != SONDE_REGEX_NONE) return result;
        if (m->work->budget == 0) return SONDE_REGEX_SPENT;
        m->work->budget--;
    }
    return SONDE_REGEX_NONE;
}

sonde_regex_result sonde_regex_next(const sonde_regex *regex, sonde_regex_work *work,
                                    const sonde_char *chars, size_t n, sonde_regex_cursor *cursor,
                                    size_t *start, size_t *end)
{
    matcher m = {regex, work, chars, n};
    while (cursor->from <= n) {
        sonde_regex_result result = find(&m, cursor->from, start, end);
        if (result != SONDE_REGEX_FOUND) return result;
        cursor->from = *end;
        if (*start == *end && cursor->matched && *end == cursor->done) {
            cursor->from++;
            continue;
        }
        cursor->done = *end;
        cursor->matched = true;
        return result;
    }
    return SONDE_REGEX_NONE;
}
