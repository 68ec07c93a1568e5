/* jinja_eval.c - a program run over values: statements, and the expressions that need no table. */
#include "jinja_internal.h"

#include "unicode.h"

#define MAX_CALLS 200 /* of macros and expressions inside each other */

sonde_status jinja_fail(jinja_run *run, const char *format, ...)
{
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return sonde_fail(run->err, SONDE_BAD_PROMPT, "the chat template, line %d: %s", run->line, text);
}

sonde_status jinja_no_memory(jinja_run *run)
{
    if (jinja_arena_is_full(run->arena) || run->out->full)
        return jinja_fail(run, "this conversation takes more than 512 MiB of memory");
    return sonde_no_memory(run->err, "rendering a chat", 64);
}

sonde_status jinja_give(jinja_run *run, jinja_value *made, jinja_value **out)
{
    *out = made;
    return made ? SONDE_OK : jinja_no_memory(run);
}

jinja_value *jinja_argument(const jinja_arguments *arguments, size_t place, const char *name)
{
    if (place < arguments->count) return arguments->items[place];
    return name ? jinja_dict_get(arguments->named, name, strlen(name)) : NULL;
}

/* ---- names ------------------------------------------------------------------------------------ */

static sonde_status undefined(jinja_run *run, const jinja_value *name, jinja_value **out)
{
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_UNDEFINED), out));
    char *text = jinja_arena_alloc(run->arena, name->count + 1);
    if (!text) return jinja_no_memory(run);
    if (name->kind == JINJA_STRING) memcpy(text, name->as.text.bytes, name->count);
    (*out)->as.missing = text;
    return SONDE_OK;
}

/* The variable `loop` of a frame, which keeps it for the round. */
static sonde_status make_loop(jinja_run *run, const jinja_frame *frame, jinja_value **loop)
{
    jinja_arena *a = run->arena;
    const jinja_value *list = frame->items;
    int64_t n = (int64_t)list->count, at = (int64_t)frame->at;
    SONDE_TRY(jinja_give(run, jinja_new(a, JINJA_DICT), loop));
    bool good = jinja_dict_put(a, *loop, "index", jinja_int(a, at + 1)) &&
                jinja_dict_put(a, *loop, "index0", jinja_int(a, at)) &&
                jinja_dict_put(a, *loop, "revindex", jinja_int(a, n - at)) &&
                jinja_dict_put(a, *loop, "revindex0", jinja_int(a, n - at - 1)) &&
                jinja_dict_put(a, *loop, "first", jinja_bool(a, at == 0)) &&
                jinja_dict_put(a, *loop, "last", jinja_bool(a, at + 1 == n)) &&
                jinja_dict_put(a, *loop, "length", jinja_int(a, n));
    if (good && at > 0)
        good = jinja_dict_put(a, *loop, "previtem", list->as.list.items[at - 1]);
    if (good && at + 1 < n)
        good = jinja_dict_put(a, *loop, "nextitem", list->as.list.items[at + 1]);
    good = good && jinja_dict_put(a, frame->names, "loop", *loop);
    return good ? SONDE_OK : jinja_no_memory(run);
}

static sonde_status look_up(jinja_run *run, const jinja_value *name, jinja_value **out)
{
    const char *text = name->as.text.bytes;
    for (const jinja_frame *f = run->frame; f; f = f->outer) {
        if ((*out = jinja_dict_get(f->names, text, name->count)) != NULL) return SONDE_OK;
        if (f->items && jinja_is_text(name, "loop")) return make_loop(run, f, out);
    }
    if ((*out = jinja_dict_get(run->call->globals, text, name->count)) != NULL) return SONDE_OK;
    if ((*out = jinja_function(run->arena, name)) != NULL) return SONDE_OK;
    return undefined(run, name, out);
}

static sonde_status push_frame(jinja_run *run, jinja_frame *frame, jinja_frame *outer)
{
    *frame = (jinja_frame){.outer = outer, .names = jinja_new(run->arena, JINJA_DICT)};
    if (!frame->names) return jinja_no_memory(run);
    run->frame = frame;
    return SONDE_OK;
}

sonde_status jinja_member(jinja_run *run, jinja_value *value, jinja_value *name, jinja_value **out)
{
    if (value->kind == JINJA_UNDEFINED)
        return jinja_fail(run, "'%.80s' is undefined", value->as.missing);
    *out = NULL;
    if (value->kind == JINJA_DICT && name->kind == JINJA_STRING)
        *out = jinja_dict_get(value, name->as.text.bytes, name->count);
    return *out ? SONDE_OK : undefined(run, name, out);
}

/* ---- calls ------------------------------------------------------------------------------------ */

static sonde_status evaluate_arguments(jinja_run *run, const jinja_node *node,
                                       jinja_arguments *arguments)
{
    arguments->count = 0;
    arguments->items = jinja_arena_alloc(run->arena, (node->n_list + 1) * sizeof(jinja_value *));
    arguments->named = jinja_new(run->arena, JINJA_DICT);
    if (!arguments->items || !arguments->named) return jinja_no_memory(run);
    for (size_t i = 0; i < node->n_list; i++) {
        jinja_value *value;
        SONDE_TRY(jinja_evaluate(run, node->list[i]->a, &value));
        if (!node->list[i]->name) arguments->items[arguments->count++] = value;
        else if (!jinja_dict_set(run->arena, arguments->named, node->list[i]->name, value))
            return jinja_no_memory(run);
    }
    return SONDE_OK;
}

static sonde_status bind_parameters(jinja_run *run, const jinja_node *macro,
                                    const jinja_arguments *arguments, jinja_value *names)
{
    for (size_t i = 0; i < macro->n_list; i++) {
        const jinja_node *parameter = macro->list[i];
        const jinja_value *name = parameter->value;
        jinja_value *given = i < arguments->count ? arguments->items[i]
                                                  : jinja_dict_get(arguments->named,
                                                                   name->as.text.bytes, name->count);
        if (!given && parameter->a) SONDE_TRY(jinja_evaluate(run, parameter->a, &given));
        if (!given) SONDE_TRY(undefined(run, name, &given));
        if (!jinja_dict_set(run->arena, names, parameter->value, given)) return jinja_no_memory(run);
    }
    return SONDE_OK;
}

/* What a body writes, as a text. */
static sonde_status capture(jinja_run *run, const jinja_node *body, jinja_value **out)
{
    jinja_buffer *outer = run->out, buffer = {0};
    run->out = &buffer;
    sonde_status status = jinja_execute(run, body);
    run->out = outer;
    if (status == SONDE_OK) status = jinja_give(run, jinja_buffer_take(run->arena, &buffer), out);
    jinja_buffer_reset(&buffer);
    return status;
}

static sonde_status call_macro(jinja_run *run, const jinja_node *macro,
                               const jinja_arguments *arguments, jinja_value **out)
{
    jinja_frame frame, *caller = run->frame;
    SONDE_TRY(push_frame(run, &frame, run->globals));
    sonde_status status = bind_parameters(run, macro, arguments, frame.names);
    if (status == SONDE_OK) status = capture(run, macro->body, out);
    run->frame = caller;
    return status;
}

static sonde_status call_member(jinja_run *run, const jinja_node *node,
                                const jinja_arguments *arguments, bool *known, jinja_value **out)
{
    jinja_value *object;
    *known = false;
    SONDE_TRY(jinja_evaluate(run, node->a, &object));
    if (object->kind == JINJA_UNDEFINED)
        return jinja_fail(run, "'%.80s' is undefined", object->as.missing);
    return jinja_method(run, object, node->value, arguments, known, out);
}

static sonde_status evaluate_call(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    jinja_arguments arguments;
    jinja_value *called;
    bool known = false;
    SONDE_TRY(evaluate_arguments(run, node, &arguments));
    if (node->a->kind == JINJA_ATTRIBUTE)
        SONDE_TRY(call_member(run, node->a, &arguments, &known, out));
    if (known) return SONDE_OK;
    SONDE_TRY(jinja_evaluate(run, node->a, &called));
    if (called->kind == JINJA_MACRO) return call_macro(run, called->as.macro, &arguments, out);
    if (called->kind == JINJA_FUNCTION)
        return jinja_call_function(run, called, &arguments, out);
    if (called->kind == JINJA_UNDEFINED)
        return jinja_fail(run, "'%.80s' is undefined", called->as.missing);
    return jinja_fail(run, "'%s' object is not callable", jinja_kind_name(called));
}

/* ---- expressions ------------------------------------------------------------------------------ */

static sonde_status evaluate_collection(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    bool dict = node->kind == JINJA_MAKE_DICT;
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, dict ? JINJA_DICT : JINJA_LIST), out));
    for (size_t i = 0; i < node->n_list; i++) {
        jinja_value *item, *value;
        SONDE_TRY(jinja_evaluate(run, node->list[i], &item));
        if (dict) SONDE_TRY(jinja_evaluate(run, node->list[++i], &value));
        if (dict ? !jinja_dict_set(run->arena, *out, item, value)
                 : !jinja_list_push(run->arena, *out, item))
            return jinja_no_memory(run);
    }
    return SONDE_OK;
}

static sonde_status evaluate_slice(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    jinja_value *value, *bounds[3];
    SONDE_TRY(jinja_evaluate(run, node->a, &value));
    for (int i = 0; i < 3; i++) SONDE_TRY(jinja_evaluate(run, node->list[i], &bounds[i]));
    return jinja_take_slice(run, value, bounds, out);
}

static sonde_status evaluate_applied(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    jinja_arguments arguments;
    jinja_value *value;
    bool good;
    SONDE_TRY(jinja_evaluate(run, node->a, &value));
    SONDE_TRY(evaluate_arguments(run, node, &arguments));
    if (node->kind == JINJA_FILTER) return jinja_filter(run, node->value, value, &arguments, out);
    SONDE_TRY(jinja_test(run, node->value, value, &arguments, &good));
    return jinja_give(run, jinja_bool(run->arena, good), out);
}

static sonde_status evaluate_minus(jinja_run *run, jinja_value *value, jinja_value **out)
{
    if (value->kind != JINJA_INT && value->kind != JINJA_FLOAT)
        return jinja_fail(run, "bad operand type for unary -: '%s'", jinja_kind_name(value));
    if (value->kind == JINJA_INT && value->as.integer != INT64_MIN)
        return jinja_give(run, jinja_int(run->arena, -value->as.integer), out);
    double real = value->kind == JINJA_INT ? (double)value->as.integer : value->as.real;
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_FLOAT), out));
    (*out)->as.real = -real;
    return SONDE_OK;
}

/* and, or and the choice look at one operand first. */
static sonde_status evaluate_lazy(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    jinja_value *first;
    SONDE_TRY(jinja_evaluate(run, node->kind == JINJA_CHOICE ? node->b : node->a, &first));
    bool truth = jinja_truth(first);
    if (node->kind == JINJA_CHOICE) {
        if (truth) return jinja_evaluate(run, node->a, out);
        if (node->other) return jinja_evaluate(run, node->other, out);
        jinja_value *name = jinja_text(run->arena, "if", 2, NULL);
        return name ? undefined(run, name, out) : jinja_no_memory(run);
    }
    *out = first;
    return truth == (node->kind == JINJA_AND) ? jinja_evaluate(run, node->b, out) : SONDE_OK;
}

static sonde_status evaluate_node(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    jinja_value *a = NULL, *b = NULL;
    switch (node->kind) {
    case JINJA_CONSTANT: *out = node->value; return SONDE_OK;
    case JINJA_NAME: return look_up(run, node->value, out);
    case JINJA_MAKE_LIST:
    case JINJA_MAKE_DICT: return evaluate_collection(run, node, out);
    case JINJA_SLICE: return evaluate_slice(run, node, out);
    case JINJA_CALL: return evaluate_call(run, node, out);
    case JINJA_FILTER:
    case JINJA_TEST: return evaluate_applied(run, node, out);
    case JINJA_AND:
    case JINJA_OR:
    case JINJA_CHOICE: return evaluate_lazy(run, node, out);
    default: break;
    }
    SONDE_TRY(jinja_evaluate(run, node->a, &a));
    if (node->b) SONDE_TRY(jinja_evaluate(run, node->b, &b));
    switch (node->kind) {
    case JINJA_ATTRIBUTE: return jinja_member(run, a, node->value, out);
    case JINJA_ITEM: return jinja_item_at(run, a, b, out);
    case JINJA_NOT: return jinja_give(run, jinja_bool(run->arena, !jinja_truth(a)), out);
    case JINJA_MINUS: return evaluate_minus(run, a, out);
    default: return jinja_operate(run, node->op, a, b, out);
    }
}

sonde_status jinja_evaluate(jinja_run *run, const jinja_node *node, jinja_value **out)
{
    run->line = node->line;
    if (++run->depth > MAX_CALLS * 10) return jinja_fail(run, "nested too deeply");
    sonde_status status = evaluate_node(run, node, out);
    run->depth--;
    return status;
}

/* ---- statements ------------------------------------------------------------------------------- */

static sonde_status write_out(jinja_run *run, const jinja_value *value)
{
    jinja_print(run->out, value);
    return run->out->bytes.failed || run->out->tags.failed ? jinja_no_memory(run) : SONDE_OK;
}

sonde_status jinja_items(jinja_run *run, jinja_value *value, jinja_value **list)
{
    *list = value;
    if (value->kind == JINJA_LIST) return SONDE_OK;
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), list));
    if (value->kind == JINJA_UNDEFINED) return SONDE_OK;
    if (value->kind == JINJA_DICT) {
        for (size_t i = 0; i < value->count; i++)
            if (!jinja_list_push(run->arena, *list, value->as.list.items[2 * i]))
                return jinja_no_memory(run);
        return SONDE_OK;
    }
    if (value->kind != JINJA_STRING)
        return jinja_fail(run, "'%s' object is not iterable", jinja_kind_name(value));
    for (size_t at = 0, n; at < value->count; at += n) {
        uint32_t code_point;
        n = sonde_utf8_get(value->as.text.bytes + at, &code_point);
        if (!jinja_list_push(run->arena, *list, jinja_slice(run->arena, value, at, at + n)))
            return jinja_no_memory(run);
    }
    return SONDE_OK;
}

/* Gives the loop's names their values in the current frame. */
static sonde_status bind_item(jinja_run *run, const jinja_node *node, jinja_value *item)
{
    jinja_value *parts = item;
    if (node->n_list > 1) {
        SONDE_TRY(jinja_items(run, item, &parts));
        if (parts->count != node->n_list)
            return jinja_fail(run, "expected %zu values to unpack, got %zu", node->n_list,
                              parts->count);
    }
    for (size_t i = 0; i < node->n_list; i++) {
        jinja_value *part = node->n_list > 1 ? parts->as.list.items[i] : item;
        if (!jinja_dict_set(run->arena, run->frame->names, node->list[i]->value, part))
            return jinja_no_memory(run);
    }
    return SONDE_OK;
}

/* The items that the loop's own `if` keeps. */
static sonde_status filter_items(jinja_run *run, const jinja_node *node, jinja_value **list)
{
    jinja_value *all = *list, *good;
    SONDE_TRY(jinja_give(run, jinja_new(run->arena, JINJA_LIST), list));
    for (size_t i = 0; i < all->count; i++) {
        SONDE_TRY(bind_item(run, node, all->as.list.items[i]));
        SONDE_TRY(jinja_evaluate(run, node->b, &good));
        if (jinja_truth(good) && !jinja_list_push(run->arena, *list, all->as.list.items[i]))
            return jinja_no_memory(run);
    }
    return SONDE_OK;
}

static sonde_status execute_for(jinja_run *run, const jinja_node *node)
{
    jinja_value *list;
    jinja_frame frame, *outer = run->frame;
    SONDE_TRY(jinja_evaluate(run, node->a, &list));
    SONDE_TRY(jinja_items(run, list, &list));
    SONDE_TRY(push_frame(run, &frame, outer));
    sonde_status status = node->b ? filter_items(run, node, &list) : SONDE_OK;
    frame.items = list;
    for (; frame.at < list->count && status == SONDE_OK; frame.at++) {
        frame.names->count = 0;
        status = bind_item(run, node, list->as.list.items[frame.at]);
        if (status == SONDE_OK) status = jinja_execute(run, node->body);
        bool leave = run->flow == JINJA_DO_BREAK;
        run->flow = JINJA_GO;
        if (leave) break;
    }
    run->frame = outer;
    if (status == SONDE_OK && list->count == 0) status = jinja_execute(run, node->other);
    return status;
}

static sonde_status execute_set(jinja_run *run, const jinja_node *node)
{
    jinja_value *value, *space;
    if (node->b) SONDE_TRY(jinja_evaluate(run, node->b, &value));
    else SONDE_TRY(capture(run, node->body, &value));
    const jinja_node *target = node->a;
    if (target->kind == JINJA_NAME)
        return jinja_dict_set(run->arena, run->frame->names, target->value, value)
                   ? SONDE_OK
                   : jinja_no_memory(run);
    if (target->kind != JINJA_ATTRIBUTE)
        return jinja_fail(run, "only names and attributes of a namespace can be set");
    SONDE_TRY(jinja_evaluate(run, target->a, &space));
    if (!space->is_namespace) return jinja_fail(run, "cannot assign attribute on non-namespace object");
    return jinja_dict_set(run->arena, space, target->value, value) ? SONDE_OK : jinja_no_memory(run);
}

static sonde_status define_macro(jinja_run *run, const jinja_node *node)
{
    jinja_value *macro = jinja_new(run->arena, JINJA_MACRO);
    if (!macro) return jinja_no_memory(run);
    macro->as.macro = node;
    return jinja_dict_set(run->arena, run->frame->names, node->value, macro) ? SONDE_OK
                                                                              : jinja_no_memory(run);
}

static sonde_status execute_node(jinja_run *run, const jinja_node *node)
{
    jinja_value *value;
    run->line = node->line;
    switch (node->kind) {
    case JINJA_TEXT: return write_out(run, node->value);
    case JINJA_OUTPUT:
        SONDE_TRY(jinja_evaluate(run, node->a, &value));
        return write_out(run, value);
    case JINJA_IF:
        SONDE_TRY(jinja_evaluate(run, node->a, &value));
        return jinja_execute(run, jinja_truth(value) ? node->body : node->other);
    case JINJA_FOR: return execute_for(run, node);
    case JINJA_SET: return execute_set(run, node);
    case JINJA_DEFINE: return define_macro(run, node);
    default: run->flow = node->kind == JINJA_BREAK ? JINJA_DO_BREAK : JINJA_DO_CONTINUE;
    }
    return SONDE_OK;
}

sonde_status jinja_execute(jinja_run *run, const jinja_node *body)
{
    if (++run->depth > MAX_CALLS * 10) return jinja_fail(run, "nested too deeply");
    sonde_status status = SONDE_OK;
    for (; body && status == SONDE_OK && run->flow == JINJA_GO; body = body->next)
        status = execute_node(run, body);
    run->depth--;
    return status;
}

sonde_status jinja_render(const jinja_program *program, const jinja_call *call, jinja_buffer *out,
                          sonde_error *err)
{
    jinja_buffer_reset(out);
    jinja_frame top;
    jinja_run run = {.arena = call->arena, .call = call, .out = out, .err = err};
    SONDE_TRY(push_frame(&run, &top, NULL));
    run.globals = &top;
    return jinja_execute(&run, program->body);
}
