/* The report as JSON: the schema of README.md. */
#include "analysis/diff_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* JSON has no NaN and no infinity: null. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *dtype_or_null(sonde_dtype dtype)
{
    return dtype == SONDE_DTYPE_NONE ? json_null() : json_string(sonde_dtype_name(dtype));
}

static json_t *printable(const char *text)
{
    char buffer[1024];
    size_t n = 0;
    while (text[n]) n++;
    diff_printable(text, n, buffer, sizeof buffer);
    return json_string(buffer);
}

static json_t *facts_json(const sonde_diff_report *report)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < report->n_facts; i++) {
        const diff_fact *f = &report->facts[i];
        const char *verdict = f->fails    ? "fails"
                              : f->waived ? "waived"
                              : !f->same  ? "told"
                              : f->a[0] && f->b[0] ? "same"
                                                   : "absent";
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:s}", "name", f->name, "a",
                                              text_or_null(f->a), "b", text_or_null(f->b),
                                              "verdict", verdict));
    }
    return list;
}

static json_t *manifest_json(const diff_manifest *m)
{
    json_t *list = json_array();
    if (!m->compared) {
        json_decref(list);
        return json_null();
    }
    for (int64_t i = 0; i < m->count && i < DIFF_OPTIONS; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "key", m->first[i].key, "a",
                                              text_or_null(m->first[i].a), "b",
                                              text_or_null(m->first[i].b)));
    return json_pack("{s:I, s:o}", "differences", (json_int_t)m->count, "first", list);
}

static json_t *place_json(const sonde_diff_place *place)
{
    json_t *index, *object;
    if (!place->present) return json_null();
    object = json_object();
    if (place->has_row) {
        json_object_set_new(object, "sequence", json_integer((json_int_t)place->sequence));
        json_object_set_new(object, "id", text_or_null(place->id));
        json_object_set_new(object, "position", json_integer(place->position));
        json_object_set_new(object, "token", json_integer(place->token));
        json_object_set_new(object, "piece", text_or_null(place->piece));
    }
    index = json_array();
    for (int32_t d = 0; d < place->n_index; d++)
        json_array_append_new(index, json_integer(place->index[d]));
    json_object_set_new(object, "index", index);
    return object;
}

static json_t *first_json(const sonde_diff_place *place)
{
    json_t *object = place_json(place);
    if (!place->present) return object;
    json_object_set_new(object, "a", number(place->a));
    json_object_set_new(object, "b", number(place->b));
    return object;
}

static json_t *worst_json(const sonde_diff_point *p)
{
    json_t *object = place_json(&p->worst);
    if (!p->worst.present) return object;
    json_object_del(object, "index");
    json_object_set_new(object, "rel_l2", number(p->worst_rel_l2));
    return object;
}

static json_t *limits_json(const sonde_diff_limits *l)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "atol", number(l->atol), "rtol", number(l->rtol),
                     "max_rel_l2", number(l->max_rel_l2), "min_cosine", number(l->min_cosine),
                     "max_ulp", number(l->max_ulp));
}

static json_t *metrics_json(const sonde_diff_metrics *m)
{
    if (m->elements == 0) return json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "elements",
                     (json_int_t)m->elements, "unequal", (json_int_t)m->unequal, "nonfinite",
                     (json_int_t)m->nonfinite, "over", (json_int_t)m->over, "max_abs",
                     number(m->max_abs), "rel_l2", number(m->rel_l2), "cosine", number(m->cosine),
                     "max_ulp", number(m->max_ulp), "mean_ulp", number(m->mean_ulp), "ulp_above_1",
                     (json_int_t)m->ulp_above_1);
}

static json_t *point_json(const sonde_diff_point *p)
{
    return json_pack("{s:o, s:s, s:b, s:o, s:b, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, "
                     "s:o}",
                     "name", json_string(p->name), "verdict", sonde_diff_verdict_name(p->verdict),
                     "fails", p->fails, "why", text_or_null(p->why), "ragged", p->ragged,
                     "stored_a", dtype_or_null(p->stored_a), "stored_b",
                     dtype_or_null(p->stored_b), "floor", number(p->floor), "limits",
                     limits_json(&p->limits), "rows", (json_int_t)p->rows, "rows_only_a",
                     (json_int_t)p->rows_only_a, "rows_only_b", (json_int_t)p->rows_only_b,
                     "rows_misfit", (json_int_t)p->rows_misfit, "metrics",
                     metrics_json(&p->metrics), "first", first_json(&p->first), "worst",
                     worst_json(p));
}

static json_t *list_json(const sonde_diff_point *list, int64_t n)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(array, point_json(&list[i]));
    return array;
}

static json_t *matching_json(const diff_matching *m)
{
    json_t *first = place_json(&m->token_place);
    if (m->token_place.present) {
        json_object_del(first, "index");
        json_object_del(first, "piece");
        json_object_set_new(first, "token_b", json_integer(m->token_b));
    }
    return json_pack("{s:{s:I, s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:o}}",
                     "sequences", "by_id", (json_int_t)m->by_id, "by_tokens",
                     (json_int_t)m->by_tokens, "by_index", (json_int_t)m->by_index, "only_a",
                     (json_int_t)m->sequences_only_a, "only_b", (json_int_t)m->sequences_only_b,
                     "rows", "matched", (json_int_t)m->rows, "only_a", (json_int_t)m->rows_only_a,
                     "only_b", (json_int_t)m->rows_only_b, "tokens", "rows_differ",
                     (json_int_t)m->tokens_differ, "runs_differ", (json_int_t)m->runs_differ,
                     "first", first);
}

static json_t *waived_json(unsigned waived)
{
    json_t *list = json_array();
    for (unsigned i = 0; diff_waive_names[i]; i++)
        if (waived & (1u << i)) json_array_append_new(list, json_string(diff_waive_names[i]));
    return list;
}

static json_t *report_json(const sonde_diff_report *r)
{
    return json_pack("{s:s, s:i, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "format", "sonde-diff", "version", 1, "a", printable(r->path_a), "b",
                     printable(r->path_b), "verdict", diff_verdict_text(r), "reason",
                     text_or_null(r->reason), "limits", limits_json(&r->options.limits), "waived",
                     waived_json(r->waived), "facts", facts_json(r), "manifest",
                     manifest_json(&r->manifest), "matching", matching_json(&r->matching),
                     "points", list_json(r->points, r->n_points), "tables",
                     list_json(r->tables, r->n_tables));
}

sonde_status sonde_diff_print_json(const sonde_diff_report *report, FILE *out, sonde_error *err)
{
    json_t *root = report_json(report);
    if (!root) return sonde_fail(err, SONDE_NO_MEMORY, "diff: no memory for the JSON report");
    int failed = json_dumpf(root, out, JSON_INDENT(1));
    json_decref(root);
    if (failed || fputc('\n', out) == EOF)
        return sonde_fail(err, SONDE_IO, "diff: the report could not be written");
    return SONDE_OK;
}
