/* pipeline_slots.c - what a pipeline is made of: rows expressions, points as instances want them,
 * and the datasets of what they emit. */
#include "pipeline_internal.h"

#include <string.h>

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* ---- slots ------------------------------------------------------------------------------------------ */

static sonde_status add_slot(sonde_pipeline *p, const char *text, int32_t *slot, sonde_error *err)
{
    if (!sonde_grow(&p->slots, &p->slot_capacity, (size_t)p->n_slots + 1, sizeof *p->slots))
        return sonde_no_memory(err, "rows expressions", sizeof *p->slots);
    sonde_slot *made = &p->slots[p->n_slots];
    *made = (sonde_slot){0};
    if (text) SONDE_TRY(sonde_rows_compile(text, &made->expr, err));
    if (made->expr && sonde_rows_is_all(made->expr)) sonde_rows_destroy(&made->expr);
    made->text = text ? sonde_strdup(text) : NULL;
    *slot = p->n_slots++;
    return text && !made->text ? sonde_no_memory(err, text, strlen(text)) : SONDE_OK;
}

/* The slot of an expression; NULL text: the default slot. */
static sonde_status slot_of(sonde_pipeline *p, const char *text, int32_t *slot, sonde_error *err)
{
    *slot = 0;
    if (!text) return SONDE_OK;
    for (*slot = 1; *slot < p->n_slots; ++*slot)
        if (same_text(p->slots[*slot].text, text)) return SONDE_OK;
    return add_slot(p, text, slot, err);
}

static sonde_status class_of(sonde_pipeline *p, int32_t slot, const sonde_hook_point *point,
                             int32_t *index, sonde_error *err)
{
    for (*index = 0; *index < p->n_classes; ++*index) {
        const sonde_ragged_class *c = &p->classes[*index];
        bool same = c->point->mask == point->mask && c->point->window == point->window;
        if (c->slot == slot && same) return SONDE_OK;
    }
    if (!sonde_grow(&p->classes, &p->class_capacity, (size_t)p->n_classes + 1, sizeof *p->classes))
        return sonde_no_memory(err, "classes of ragged rows", sizeof *p->classes);
    p->classes[p->n_classes++] = (sonde_ragged_class){slot, point};
    return SONDE_OK;
}

/* ---- points ----------------------------------------------------------------------------------------- */

static sonde_status add_point(sonde_pipeline *p, int32_t instance_index, uint32_t index,
                              sonde_error *err)
{
    const sonde_probe_instance *instance = &p->spec.probes->instances[instance_index];
    const sonde_selected_point *selected = &instance->selection.points[index];
    sonde_pipe_point *made = &p->points[p->n_points];
    *made = (sonde_pipe_point){.instance = instance_index, .index = index, .selected = selected,
                               .point = sonde_model_point(p->spec.model, selected->point),
                               .writes = (instance->access[index] & SONDE_ACCESS_WRITE) != 0,
                               .next = -1};
    const char *rows = selected->rows ? selected->rows : instance->rows;
    SONDE_TRY(slot_of(p, rows, &made->slot, err));
    p->slots[made->slot].used = true;
    int32_t *last = &p->first_point[selected->point];
    while (*last >= 0) last = &p->points[*last].next;
    *last = p->n_points++;
    p->wants[selected->point] |= SONDE_WANT_READ | (made->writes ? SONDE_WANT_WRITE : 0u);
    return SONDE_OK;
}

static sonde_status add_points(sonde_pipeline *p, sonde_error *err)
{
    size_t n_model = (size_t)sonde_model_point_count(p->spec.model), n = 0;
    int32_t n_instances = p->spec.probes ? p->spec.probes->count : 0;
    for (int32_t i = 0; i < n_instances; i++) n += p->spec.probes->instances[i].n_points;
    p->points = sonde_alloc(n, sizeof *p->points);
    p->first_point = sonde_alloc(n_model, sizeof *p->first_point);
    p->wants = sonde_alloc(n_model, 1);
    if (!p->points || !p->first_point || !p->wants)
        return sonde_no_memory(err, "points of the probes", n * sizeof *p->points);
    for (size_t i = 0; i < n_model; i++) p->first_point[i] = -1;
    for (int32_t i = 0; i < n_instances; i++)
        for (uint32_t j = 0; j < p->spec.probes->instances[i].n_points; j++)
            SONDE_TRY(add_point(p, i, j, err));
    return SONDE_OK;
}

static const sonde_pipe_point *pipe_point(const sonde_pipeline *p, int32_t instance, uint32_t index)
{
    for (int32_t i = 0; i < p->n_points; i++)
        if (p->points[i].instance == instance && p->points[i].index == index) return &p->points[i];
    return NULL;
}

/* ---- outputs: /activations/<point> ------------------------------------------------------------------- */

static void parts_text(const sonde_selected_point *selected, sonde_string *text)
{
    if (selected->n_parts == 0) return;
    for (int64_t i = 0; i < selected->n_parts; i++) {
        const sonde_part *part = &selected->parts[i];
        sonde_string_text(text, i ? "," : "[");
        if (part->end == part->begin + 1) sonde_string_format(text, "%lld", (long long)part->begin);
        else sonde_string_format(text, "%lld:%lld", (long long)part->begin, (long long)part->end);
    }
    sonde_string_text(text, "]");
}

static bool same_parts(const sonde_selected_point *a, const sonde_selected_point *b)
{
    return a->n_parts == b->n_parts &&
           (a->n_parts == 0 ||
            memcmp(a->parts, b->parts, (size_t)a->n_parts * sizeof *a->parts) == 0);
}

/* An earlier output of the same instance that holds the same values under the other name of the
 * buffer, or NULL. */
static const sonde_pipe_output *twin(const sonde_pipeline *p, const sonde_pipe_output *o,
                                     const sonde_pipe_point *at)
{
    if (at->point->same_as < 0 || !(o->declared->flags & SONDE_OUTPUT_UNCHANGED)) return NULL;
    if (p->wants[at->selected->point] & SONDE_WANT_WRITE) return NULL;
    const char *other = sonde_model_point(p->spec.model, at->point->same_as)->name;
    for (int32_t i = p->first_output[o->instance]; i < p->n_outputs; i++) {
        const sonde_pipe_output *seen = &p->outputs[i];
        if (seen == o || seen->declared->kind != SONDE_OUTPUT_POINT || seen->twin) continue;
        const sonde_pipe_point *there = pipe_point(p, o->instance, seen->declared->point);
        bool same = strcmp(there->point->name, other) == 0 && there->slot == at->slot &&
                    seen->stored == o->stored && (seen->declared->flags & SONDE_OUTPUT_UNCHANGED) &&
                    same_parts(there->selected, at->selected);
        if (same) return seen;
    }
    return NULL;
}

static sonde_status declare_point(sonde_pipeline *p, sonde_pipe_output *o, sonde_error *err)
{
    const sonde_probe_instance *instance = &p->spec.probes->instances[o->instance];
    const sonde_probe_point *shown = &instance->points[o->declared->point];
    const sonde_pipe_point *at = pipe_point(p, o->instance, o->declared->point);
    bool real = o->declared->element == SONDE_ELEMENT_F32;
    const sonde_pipe_output *other = twin(p, o, at);
    if (other) {
        o->twin = true;
        if (!p->spec.schema) return SONDE_OK;
        return sonde_schema_link_point(p->spec.schema, other->dataset, at->point->name, err);
    }
    if (!p->spec.schema) return SONDE_OK;
    sonde_string parts = {0};
    parts_text(at->selected, &parts);
    sonde_schema_point spec = {.name = at->point->name, .layer = at->point->layer,
                               .stored = o->stored, .logical = real ? "f32" : "i32",
                               .ragged = shown->ragged != 0, .n_dims = (int32_t)o->declared->n_dims,
                               .rowmap = o->rowmap, .parts = parts.data};
    const int64_t *shape = shown->ragged ? shown->shape : o->declared->shape;
    memcpy(spec.shape, shape, sizeof spec.shape);
    if (spec.n_dims == 1 && spec.shape[0] == 1 && at->point->width == 1) spec.n_dims = 0;
    sonde_status status = parts.failed ? sonde_no_memory(err, "parts", 64)
                                       : sonde_schema_add_point(p->spec.schema, &spec, &o->dataset, err);
    sonde_string_reset(&parts);
    return status;
}

/* ---- outputs: /probes/<instance>/<name> --------------------------------------------------------------- */

static sonde_status declare_rows(sonde_pipeline *p, sonde_pipe_output *o, sonde_error *err)
{
    const char *instance = p->spec.probes->instances[o->instance].name;
    int32_t n_dims = (int32_t)o->declared->n_dims;
    if (o->declared->kind == SONDE_OUTPUT_ROWS)
        return sonde_schema_add_rows(p->spec.schema, instance, o->declared->name,
                                     o->rowmap ? -2 : -1, o->stored, n_dims, o->declared->shape,
                                     &o->dataset, err);
    char name[160];
    snprintf(name, sizeof name, "%s/data", o->declared->name);
    SONDE_TRY(sonde_schema_add_rows(p->spec.schema, instance, name, -2, o->stored, n_dims,
                                    o->declared->shape, &o->dataset, err));
    snprintf(name, sizeof name, "%s/sequence", o->declared->name);
    SONDE_TRY(sonde_schema_add_rows(p->spec.schema, instance, name, -2, SONDE_DTYPE_U64, 0, NULL,
                                    &o->sequence_column, err));
    snprintf(name, sizeof name, "%s/position", o->declared->name);
    return sonde_schema_add_rows(p->spec.schema, instance, name, -2, SONDE_DTYPE_U32, 0, NULL,
                                 &o->position_column, err);
}

/* ROWS of a point that keeps other rows than /rows say which: <name>_row beside the values. */
static sonde_status declare_rows_map(sonde_pipeline *p, sonde_pipe_output *o, sonde_error *err)
{
    if (o->declared->kind != SONDE_OUTPUT_ROWS || !o->rowmap) return SONDE_OK;
    char name[160];
    snprintf(name, sizeof name, "%s_row", o->declared->name);
    return sonde_schema_add_rows(p->spec.schema, p->spec.probes->instances[o->instance].name, name,
                                 -2, SONDE_DTYPE_U64, 0, NULL, &o->sequence_column, err);
}

static int64_t elements_of(const sonde_probe_output *declared)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < declared->n_dims; i++) n *= declared->shape[i];
    return n;
}

static int32_t slots_used(const sonde_pipeline *p)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_slots; i++) n += p->slots[i].used;
    return n;
}

/* Slot, class and width of an output; several slots in use: /rows is their union, so maps. */
static sonde_status shape_output(sonde_pipeline *p, sonde_pipe_output *o, sonde_error *err)
{
    const sonde_probe_instance *instance = &p->spec.probes->instances[o->instance];
    o->ragged_class = -1;
    o->width = elements_of(o->declared);
    o->slot = 0;
    o->stored = sonde_probe_element_dtype(o->declared->element);
    if (o->declared->kind == SONDE_OUTPUT_SPARSE) return SONDE_OK;
    const sonde_pipe_point *at = pipe_point(p, o->instance, o->declared->point);
    o->slot = at->slot;
    o->rowmap = slots_used(p) > 1;
    if (o->declared->kind == SONDE_OUTPUT_POINT && o->declared->element == SONDE_ELEMENT_F32)
        o->stored = sonde_as_dtype(p->spec.options->as, at->point);
    bool ragged = o->declared->kind == SONDE_OUTPUT_POINT && at->point->ragged;
    if (!ragged) return SONDE_OK;
    o->width = instance->points[o->declared->point].shape[0];
    return class_of(p, o->slot, at->point, &o->ragged_class, err);
}

static sonde_status add_output(sonde_pipeline *p, int32_t instance, uint32_t index, sonde_error *err)
{
    sonde_pipe_output *o = &p->outputs[p->n_outputs++];
    *o = (sonde_pipe_output){.declared = &p->spec.probes->instances[instance].outputs[index],
                             .instance = instance, .dataset = -1};
    SONDE_TRY(shape_output(p, o, err));
    if (o->declared->kind == SONDE_OUTPUT_POINT) SONDE_TRY(declare_point(p, o, err));
    else if (p->spec.schema) SONDE_TRY(declare_rows(p, o, err));
    if (p->spec.schema) SONDE_TRY(declare_rows_map(p, o, err));
    size_t element = sonde_dtype_bytes(o->stored, 1);
    o->row_bytes = element * (size_t)o->width;
    return SONDE_OK;
}

static sonde_status add_outputs(sonde_pipeline *p, sonde_error *err)
{
    int32_t n_instances = p->spec.probes ? p->spec.probes->count : 0;
    size_t n = 0;
    for (int32_t i = 0; i < n_instances; i++) n += p->spec.probes->instances[i].n_outputs;
    p->outputs = sonde_alloc(n, sizeof *p->outputs);
    p->first_output = sonde_alloc((size_t)n_instances + 1, sizeof *p->first_output);
    if (!p->outputs || !p->first_output)
        return sonde_no_memory(err, "outputs of the probes", n * sizeof *p->outputs);
    for (int32_t i = 0; i < n_instances; i++) {
        p->first_output[i] = p->n_outputs;
        for (uint32_t j = 0; j < p->spec.probes->instances[i].n_outputs; j++)
            SONDE_TRY(add_output(p, i, j, err));
    }
    p->first_output[n_instances] = p->n_outputs;
    return SONDE_OK;
}

/* ---- all ----------------------------------------------------------------------------------------------- */

static sonde_status add_label_columns(sonde_pipeline *p, sonde_error *err)
{
    p->entropy_column = p->rank_column = -1;
    if (!p->spec.schema) return SONDE_OK;
    if (p->spec.labels & SONDE_LABEL_ENTROPY)
        SONDE_TRY(sonde_schema_add_column(p->spec.schema, "entropy", SONDE_DTYPE_F32,
                                          &p->entropy_column, err));
    if (p->spec.labels & SONDE_LABEL_RANK)
        SONDE_TRY(sonde_schema_add_column(p->spec.schema, "rank", SONDE_DTYPE_I32, &p->rank_column,
                                          err));
    return SONDE_OK;
}

/* /rows is the union of all slots in use. */
sonde_status sonde_pipeline_declare(sonde_pipeline *p, sonde_error *err)
{
    int32_t slot;
    SONDE_TRY(add_slot(p, p->spec.options->rows, &slot, err));
    SONDE_TRY(add_points(p, err));
    if (p->n_points == 0) p->slots[0].used = true;
    SONDE_TRY(add_outputs(p, err));
    return add_label_columns(p, err);
}

void sonde_pipeline_undeclare(sonde_pipeline *p)
{
    for (int32_t i = 0; i < p->n_slots; i++) {
        sonde_free(p->slots[i].text);
        sonde_rows_destroy(&p->slots[i].expr);
    }
    void *blocks[] = {p->slots, p->classes, p->points, p->first_point, p->wants, p->outputs,
                      p->first_output};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
}

/* ---- --as ----------------------------------------------------------------------------------------------- */

static bool wants_f32(const sonde_hook_point *point)
{
    static const char *const precise[] = {"attn.scores", "attn.pattern", "logits",
                                          "moe.router_logits", "moe.expert_weights"};
    for (size_t i = 0; i < SONDE_COUNT(precise); i++)
        if (strcmp(point->local_name, precise[i]) == 0) return true;
    return point->width == 1 && !point->ragged;
}

static bool parse_as(const char *text, sonde_dtype *dtype)
{
    static const sonde_dtype known[] = {SONDE_DTYPE_F32, SONDE_DTYPE_BF16, SONDE_DTYPE_F16};
    *dtype = SONDE_DTYPE_NONE;
    if (strcmp(text, "auto") == 0) return true;
    for (size_t i = 0; i < SONDE_COUNT(known); i++)
        if (strcmp(text, sonde_dtype_name(known[i])) == 0) *dtype = known[i];
    return *dtype != SONDE_DTYPE_NONE;
}

static sonde_status check_as_piece(const char *piece, bool first, sonde_error *err)
{
    sonde_dtype dtype;
    const char *equals = strrchr(piece, '=');
    bool good = equals ? equals > piece && parse_as(equals + 1, &dtype)
                       : first && parse_as(piece, &dtype);
    if (good) return SONDE_OK;
    return sonde_fail(err, SONDE_USAGE, "--as: '%s': expected auto, f32, bf16 or f16, then "
                      "POINT=DTYPE of these", piece);
}

sonde_status sonde_as_check(const char *as, sonde_error *err)
{
    char **pieces;
    int64_t count;
    if (!as) return SONDE_OK;
    SONDE_TRY(sonde_split_commas(as, &pieces, &count, err));
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < count; i++) {
        if (status == SONDE_OK) status = check_as_piece(pieces[i], i == 0, err);
        sonde_free(pieces[i]);
    }
    sonde_free(pieces);
    return status;
}

/* "POINT=DTYPE" that matches the point: true. */
static bool named_as(char *piece, const sonde_hook_point *point, sonde_dtype *dtype)
{
    char *equals = strrchr(piece, '=');
    if (!equals) return parse_as(piece, dtype);
    *equals = '\0';
    return sonde_glob_match(piece, point->name) && parse_as(equals + 1, dtype);
}

/* The last piece that matches wins. */
sonde_dtype sonde_as_dtype(const char *as, const sonde_hook_point *point)
{
    char **pieces = NULL;
    int64_t count = 0;
    sonde_dtype chosen = SONDE_DTYPE_NONE;
    if (point->element != SONDE_DTYPE_F32) return point->element;
    if (as && sonde_split_commas(as, &pieces, &count, NULL) != SONDE_OK) count = 0;
    for (int64_t i = 0; i < count; i++) {
        sonde_dtype dtype;
        if (named_as(pieces[i], point, &dtype)) chosen = dtype;
        sonde_free(pieces[i]);
    }
    sonde_free(pieces);
    if (chosen != SONDE_DTYPE_NONE) return chosen;
    return wants_f32(point) ? SONDE_DTYPE_F32 : SONDE_DTYPE_BF16;
}
