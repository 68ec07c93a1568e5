/* cmd_points.c - sonde points: the hook points of a model, from its configuration alone. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

static void shape_text(const sonde_hook_point *p, char text[64])
{
    if (p->ragged)
        snprintf(text, 64, "[%lld, T]", (long long)p->shape[0]);
    else if (p->n_dims == 2)
        snprintf(text, 64, "[%lld, %lld]", (long long)p->shape[0], (long long)p->shape[1]);
    else
        snprintf(text, 64, "[%lld]", (long long)p->shape[0]);
}

static json_t *point_json(const sonde_model *model, const sonde_hook_point *p, const char *as)
{
    json_t *shape = json_array();
    json_array_append_new(shape, json_integer(p->shape[0]));
    if (p->ragged)
        json_array_append_new(shape, json_string("T"));
    else if (p->n_dims == 2)
        json_array_append_new(shape, json_integer(p->shape[1]));
    sonde_dtype stored = sonde_as_dtype(as, p);
    json_t *value = json_pack(
        "{s:s, s:o, s:b, s:s, s:I, s:b}", "name", p->name, "shape", shape, "ragged", p->ragged,
        "stored", sonde_dtype_name(stored), p->ragged ? "bytes_per_key" : "bytes_per_token",
        (json_int_t)sonde_dtype_bytes(stored, p->width), "writable", p->writable);
    json_object_set_new(value, "layer", p->layer < 0 ? json_null() : json_integer(p->layer));
    if (p->ragged)
        json_object_set_new(value, "window", p->window ? json_integer(p->window) : json_null());
    if (p->not_writable_why)
        json_object_set_new(value, "not_writable", json_string(p->not_writable_why));
    if (p->same_as >= 0)
        json_object_set_new(value, "same_as",
                            json_string(sonde_model_point(model, p->same_as)->name));
    return value;
}

static sonde_status print_json(const sonde_model *model, const bool *marks, const char *as,
                               sonde_error *err)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < sonde_model_point_count(model); i++)
        if (marks[i])
            json_array_append_new(list, point_json(model, sonde_model_point(model, i), as));
    return cli_print_json(list, true, err);
}

static void print_row(const sonde_model *model, const sonde_hook_point *p, const char *as,
                      int width)
{
    char shape[64], cost[48], layer[24] = "-";
    sonde_dtype stored = sonde_as_dtype(as, p);
    shape_text(p, shape);
    snprintf(cost, sizeof cost, "%zu%s", sonde_dtype_bytes(stored, p->width),
             p->ragged ? " T" : "");
    if (p->layer >= 0) snprintf(layer, sizeof layer, "%lld", (long long)p->layer);
    printf("%-*s %5s  %-14s %12s  %-6s %s", width, p->name, layer, shape, cost,
           sonde_dtype_name(stored), p->writable ? "yes" : "no");
    if (!p->writable && p->not_writable_why) printf(": %s", p->not_writable_why);
    if (p->same_as >= 0) printf(" (= %s)", sonde_model_point(model, p->same_as)->name);
    if (p->ragged && p->window > 0) printf(" (T <= %lld)", (long long)p->window);
    putchar('\n');
}

static void print_table(const sonde_model *model, const bool *marks, const char *as)
{
    int width = 12;
    char text[48];
    int64_t n = 0;
    uint64_t bytes = 0, per_key = 0;
    for (int64_t i = 0; i < sonde_model_point_count(model); i++) {
        const sonde_hook_point *p = sonde_model_point(model, i);
        if (!marks[i]) continue;
        if ((int)strlen(p->name) > width) width = (int)strlen(p->name);
        n++;
        if (p->same_as >= 0 && marks[p->same_as]) continue;
        *(p->ragged ? &per_key : &bytes) += sonde_dtype_bytes(sonde_as_dtype(as, p), p->width);
    }
    printf("%-*s %5s  %-14s %12s  %-6s %s\n", width, "point", "layer", "row", "bytes/token",
           "stored", "writable");
    for (int64_t i = 0; i < sonde_model_point_count(model); i++)
        if (marks[i]) print_row(model, sonde_model_point(model, i), as, width);
    printf("%s, %llu bytes a token", cli_format_things((uint64_t)n, "point", text),
           (unsigned long long)bytes);
    if (per_key > 0) printf(" + %llu T (T: visible keys)", (unsigned long long)per_key);
    printf("; points that are one buffer count once\n");
}

static sonde_status print_points(const cli_call *call, const sonde_model *model, bool *marks,
                                 sonde_error *err)
{
    const sonde_option_list *points = &call->job.points;
    SONDE_TRY(sonde_as_check(call->job.as, err));
    for (int64_t i = 0; i < sonde_model_point_count(model); i++) marks[i] = points->count == 0;
    if (points->count > 0)
        SONDE_TRY(sonde_points_match(model, points->values, points->count, marks, err));
    if (call->job.json) return print_json(model, marks, call->job.as, err);
    print_table(model, marks, call->job.as);
    if (!call->job.verbose) return SONDE_OK;
    char *recipe;
    SONDE_TRY(sonde_model_recipe_text(model, &recipe, err));
    printf("\nrecipe\n%s", recipe);
    sonde_text_free(recipe);
    return SONDE_OK;
}

sonde_status cmd_points(cli_call *call, sonde_error *err)
{
    sonde_model_options options = {.struct_size = (uint32_t)sizeof options, .shape_only = true};
    sonde_model *model;
    SONDE_TRY(sonde_model_open(call->words[0], &options, &model, err));
    bool *marks = calloc((size_t)sonde_model_point_count(model) + 1, sizeof *marks);
    sonde_status status = marks ? print_points(call, model, marks, err)
                                : sonde_fail(err, SONDE_NO_MEMORY, "out of memory for the points");
    free(marks);
    sonde_model_close(&model);
    return status;
}
