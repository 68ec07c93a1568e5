/* Any text as a selection of points (of a small model, its shape only) and as a rows expression:
 * what is accepted selects within bounds, and what is said of an expression holds where it is
 * evaluated. Runs in the root of the tree (a model of tests/goldens). */
#include "host/select.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROWS 40
#define PROMPT_ROWS 24

static sonde_model *model;

static void set_up(void)
{
    sonde_error err = {0};
    sonde_model_options options = {.struct_size = sizeof options, .shape_only = true};
    if (model ||
        sonde_model_open("tests/goldens/families/llama", &options, &model, &err) == SONDE_OK)
        return;
    fprintf(stderr, "%s\n", err.message);
    abort();
}

static void check_point(const sonde_selected_point *selected)
{
    const sonde_hook_point *point = sonde_model_point(model, selected->point);
    int64_t limit = selected->parts_are_heads ? point->shape[0] : point->width;
    if ((selected->parts == NULL) != (selected->n_parts == 0)) abort();
    for (int64_t i = 0; i < selected->n_parts; i++)
        if (selected->parts[i].begin < 0 || selected->parts[i].begin >= selected->parts[i].end ||
            selected->parts[i].end > limit)
            abort();
}

static void check_points(const char *text)
{
    sonde_error err = {0};
    sonde_points_selection selection;
    sonde_status status = sonde_points_select(model, &text, 1, &selection, &err);
    if (status != SONDE_OK) {
        if (err.status != status || err.message[0] == '\0') abort();
        return;
    }
    if (selection.count == 0) abort();
    for (int64_t i = 0; i < selection.count; i++) {
        check_point(&selection.points[i]);
        if (i > 0 && selection.points[i].point <= selection.points[i - 1].point) abort();
    }
    sonde_points_reset(&selection);
}

/* Rows of a prompt with a continuation, then generated ones. */
static void check_expression(const sonde_rows_expr *expr)
{
    uint32_t tokens[ROWS];
    uint8_t phase[ROWS], segment[ROWS], special[ROWS], marked[ROWS], keeps[ROWS], part[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        tokens[i] = i * 7 % 11;
        phase[i] = i < 18 ? 0 : i < PROMPT_ROWS ? 2 : 1;
        segment[i] = (uint8_t)(i / 6);
        special[i] = i % 9 == 0;
        marked[i] = i > 4 && i < 20 && i % 2;
    }
    sonde_rows_context context = {.n_rows = ROWS,
                                  .tokens = tokens,
                                  .phase = phase,
                                  .segment = segment,
                                  .special = special,
                                  .marked = marked,
                                  .bos = 0,
                                  .id = "p",
                                  .index = 3,
                                  .seed = 5};
    if (sonde_rows_evaluate(expr, &context, keeps, NULL) != SONDE_OK) abort();
    for (int i = 0; i < ROWS; i++) {
        if (keeps[i] > 1 || (sonde_rows_is_all(expr) && !keeps[i])) abort();
        if (keeps[i] && phase[i] == 1 && !sonde_rows_may_keep_generated(expr)) abort();
    }
    for (int n = PROMPT_ROWS; n < ROWS && sonde_rows_is_causal(expr); n++) {
        context.n_rows = n;
        if (sonde_rows_evaluate(expr, &context, part, NULL) != SONDE_OK) abort();
        if (memcmp(part, keeps, (size_t)n) != 0) abort();
    }
}

static void check_rows(const char *text)
{
    sonde_error err = {0};
    sonde_rows_expr *expr = NULL;
    sonde_status status = sonde_rows_compile_without_files(text, &expr, &err);
    if (status != SONDE_OK) {
        if (err.status != status || err.message[0] == '\0' || expr) abort();
        return;
    }
    check_expression(expr);
    sonde_rows_destroy(&expr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    char *text = sonde_strndup((const char *)data, size);
    char *name = strchr(text, '@');
    check_rows(text);
    if (!name || !strstr(name, "file")) check_points(text); /* rows may name files */
    sonde_free(text);
    return 0;
}
