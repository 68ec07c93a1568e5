/* jinja_ops.c - operators, indexes and slices of templates, with Python's rules. */
#include "jinja_internal.h"

#include "unicode.h"

#include <math.h>

static bool is_whole(const jinja_value *v)
{
    return v->kind == JINJA_INT || v->kind == JINJA_BOOL;
}

static sonde_status bad_operands(jinja_run *run, const char *sign, const jinja_value *a,
                                 const jinja_value *b)
{
    const jinja_value *missing = a->kind == JINJA_UNDEFINED ? a : b;
    if (missing->kind == JINJA_UNDEFINED)
        return jinja_fail(run, "'%.80s' is undefined (a message without it?)", missing->as.missing);
    return jinja_fail(run, "'%s' of a %s and a %s", sign, jinja_kind_name(a), jinja_kind_name(b));
}

/* ---- joining ---------------------------------------------------------------------------------- */

static sonde_status join(jinja_run *run, const jinja_value *a, const jinja_value *b,
                         jinja_value **out)
{
    jinja_buffer buffer = {0};
    jinja_print(&buffer, a);
    jinja_print(&buffer, b);
    sonde_status status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}

static sonde_status join_lists(jinja_run *run, const jinja_value *a, const jinja_value *b,
                               jinja_value **out)
{
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), out));
    for (size_t i = 0; i < a->count + b->count; i++) {
        jinja_value *item = i < a->count ? a->as.list.items[i] : b->as.list.items[i - a->count];
        if (!jinja_list_push(run->arena, *out, item)) return jinja_no_memory(run);
    }
    return SONDE_OK;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=",
                                    "in", "not in"};

static sonde_status give_real(jinja_run *run, double real, jinja_value **out)
{
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_FLOAT), out));
    (*out)->as.real = real;
    return SONDE_OK;
}

/* Whole numbers; false where 64 bits do not hold the result. */
static bool whole(jinja_op op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case JINJA_ADD: return !__builtin_add_overflow(a, b, out);
    case JINJA_SUBTRACT: return !__builtin_sub_overflow(a, b, out);
    case JINJA_MULTIPLY: return !__builtin_mul_overflow(a, b, out);
    default: break;
    }
    if (b == -1 && a == INT64_MIN) return false;
    int64_t quotient = a / b, rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) {
        quotient--;
        rest += b;
    }
    *out = op == JINJA_FLOOR ? quotient : rest;
    return true;
}

static sonde_status calculate(jinja_run *run, jinja_op op, const jinja_value *a,
                              const jinja_value *b, jinja_value **out)
{
    int64_t result;
    double x = jinja_number_of(a), y = jinja_number_of(b);
    bool divides = op == JINJA_DIVIDE || op == JINJA_FLOOR || op == JINJA_REMAINDER;
    if (divides && y == 0) return jinja_fail(run, "division by zero");
    if (is_whole(a) && is_whole(b) && op != JINJA_DIVIDE) {
        if (whole(op, a->as.integer, b->as.integer, &result))
            return jinja_give(run, jinja_int(run->arena, result), out);
        return jinja_fail(run, "a number too big for 64 bits");
    }
    switch (op) {
    case JINJA_ADD: return give_real(run, x + y, out);
    case JINJA_SUBTRACT: return give_real(run, x - y, out);
    case JINJA_MULTIPLY: return give_real(run, x * y, out);
    case JINJA_DIVIDE: return give_real(run, x / y, out);
    case JINJA_FLOOR: return give_real(run, floor(x / y), out);
    default: return give_real(run, x - y * floor(x / y), out);
    }
}

/* ---- comparing -------------------------------------------------------------------------------- */

static sonde_status compare(jinja_run *run, jinja_op op, const jinja_value *a, const jinja_value *b,
                            bool *good)
{
    double order;
    if (jinja_is_number(a) && jinja_is_number(b)) {
        order = jinja_number_of(a) - jinja_number_of(b);
    } else if (a->kind == JINJA_STRING && b->kind == JINJA_STRING) {
        size_t n = SONDE_MIN(a->count, b->count);
        int first = n ? memcmp(a->as.text.bytes, b->as.text.bytes, n) : 0;
        order = first ? first : (double)a->count - (double)b->count;
    } else {
        return bad_operands(run, signs[op], a, b);
    }
    *good = op == JINJA_LESS      ? order < 0
            : op == JINJA_AT_MOST ? order <= 0
            : op == JINJA_MORE    ? order > 0
                                  : order >= 0;
    return SONDE_OK;
}

static sonde_status contains(jinja_run *run, const jinja_value *item, const jinja_value *in,
                             bool *good)
{
    *good = false;
    if (in->kind == JINJA_STRING) {
        if (item->kind != JINJA_STRING) return bad_operands(run, "in", item, in);
        *good = item->count == 0 || (in->count > 0 && memmem(in->as.text.bytes, in->count,
                                                             item->as.text.bytes, item->count));
        return SONDE_OK;
    }
    if (in->kind == JINJA_UNDEFINED) return SONDE_OK;
    if (in->kind != JINJA_LIST && in->kind != JINJA_DICT)
        return jinja_fail(run, "argument of type '%s' is not iterable", jinja_kind_name(in));
    size_t step = in->kind == JINJA_DICT ? 2 : 1;
    for (size_t i = 0; i < in->count && !*good; i++)
        *good = jinja_equal(item, in->as.list.items[step * i]);
    return SONDE_OK;
}

sonde_status jinja_operate(jinja_run *run, jinja_op op, jinja_value *a, jinja_value *b,
                           jinja_value **out)
{
    bool good = false;
    switch (op) {
    case JINJA_JOIN: return join(run, a, b, out);
    case JINJA_EQUAL: good = jinja_equal(a, b); break;
    case JINJA_UNEQUAL: good = !jinja_equal(a, b); break;
    case JINJA_LESS:
    case JINJA_AT_MOST:
    case JINJA_MORE:
    case JINJA_AT_LEAST: SONDE_TRY(compare(run, op, a, b, &good)); break;
    case JINJA_IN:
    case JINJA_NOT_IN:
        SONDE_TRY(contains(run, a, b, &good));
        good = good == (op == JINJA_IN);
        break;
    default:
        if (jinja_is_number(a) && jinja_is_number(b)) return calculate(run, op, a, b, out);
        if (op == JINJA_ADD && a->kind == JINJA_STRING && b->kind == JINJA_STRING)
            return join(run, a, b, out);
        if (op == JINJA_ADD && a->kind == JINJA_LIST && b->kind == JINJA_LIST)
            return join_lists(run, a, b, out);
        return bad_operands(run, signs[op], a, b);
    }
    return jinja_give(run, jinja_bool(run->arena, good), out);
}

/* ---- indexes and slices ------------------------------------------------------------------------ */

sonde_status jinja_item_at(jinja_run *run, jinja_value *value, jinja_value *index,
                           jinja_value **out)
{
    if (!is_whole(index) || (value->kind != JINJA_LIST && value->kind != JINJA_STRING))
        return jinja_member(run, value, index, out);
    jinja_value *list;
    SONDE_TRY(jinja_items(run, value, &list));
    int64_t n = (int64_t)list->count, i = index->as.integer;
    if (i < 0) i += n;
    if (i < 0 || i >= n) {
        SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_UNDEFINED), out));
        (*out)->as.missing = "an item beyond the end of a list";
        return SONDE_OK;
    }
    *out = list->as.list.items[i];
    return SONDE_OK;
}

/* A bound of a slice as Python clips it. */
static int64_t clip(const jinja_value *bound, int64_t n, int64_t fallback, bool down)
{
    if (!is_whole(bound)) return fallback;
    int64_t i = bound->as.integer;
    if (i < 0) i = i < -n ? -1 : i + n; /* -1: before the first */
    if (i < 0) return down ? -1 : 0;
    return i >= n ? (down ? n - 1 : n) : i;
}

sonde_status jinja_take_slice(jinja_run *run, jinja_value *value, jinja_value *const bounds[3],
                              jinja_value **out)
{
    jinja_value *list, *picked;
    if (value->kind != JINJA_LIST && value->kind != JINJA_STRING)
        return value->kind == JINJA_UNDEFINED
                   ? jinja_fail(run, "'%.80s' is undefined", value->as.missing)
                   : jinja_fail(run, "'%s' object is not a list", jinja_kind_name(value));
    int64_t step = is_whole(bounds[2]) ? bounds[2]->as.integer : 1;
    if (step == 0) return jinja_fail(run, "slice step cannot be zero");
    SONDE_TRY(jinja_items(run, value, &list));
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), &picked));
    int64_t n = (int64_t)list->count;
    int64_t from = clip(bounds[0], n, step > 0 ? 0 : n - 1, step < 0);
    int64_t to = clip(bounds[1], n, step > 0 ? n : -1, step < 0);
    step = step > n ? n + 1 : step < -n ? -n - 1 : step;
    if (step == 1 && to > from && value->kind == JINJA_LIST) { /* the items are shared */
        picked->count = picked->as.list.capacity = (size_t)(to - from);
        picked->as.list.items = list->as.list.items + from;
        *out = picked;
        return SONDE_OK;
    }
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        if (!jinja_list_push(run->arena, picked, list->as.list.items[i])) return jinja_no_memory(run);
    *out = picked;
    if (value->kind == JINJA_LIST) return SONDE_OK;
    jinja_buffer buffer = {0};
    for (size_t i = 0; i < picked->count; i++)
        jinja_buffer_add_text(&buffer, picked->as.list.items[i]);
    sonde_status status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}
