/* The report as a table for people. */
#include "analysis/diff_internal.h"

#include <inttypes.h>
#include <string.h>

static const char *stored_name(const sonde_diff_point *p, char text[32])
{
    const char *a = p->stored_a == SONDE_DTYPE_NONE ? "-" : sonde_dtype_name(p->stored_a);
    const char *b = p->stored_b == SONDE_DTYPE_NONE ? "-" : sonde_dtype_name(p->stored_b);
    snprintf(text, 32, p->stored_a == p->stored_b ? "%.12s" : "%.12s/%.12s", a, b);
    return text;
}

static void print_facts(const sonde_diff_report *report, FILE *out)
{
    for (int32_t i = 0; i < report->n_facts; i++) {
        const diff_fact *f = &report->facts[i];
        if (!f->a[0] && !f->b[0]) continue;
        if (f->same && f->a[0] && f->b[0])
            fprintf(out, "%-11s same (%s)\n", f->name, f->a);
        else if (f->same)
            fprintf(out, "%-11s only in one file (%s)\n", f->name, f->a[0] ? f->a : f->b);
        else
            fprintf(out, "%-11s %s against %s: %s\n", f->name, f->a, f->b,
                    f->fails ? "FAILS" : f->waived ? "waived" : "told, not judged");
    }
}

static void print_manifest(const diff_manifest *m, FILE *out)
{
    if (!m->compared) return;
    if (m->count == 0) {
        fprintf(out, "%-11s same\n", "manifest");
        return;
    }
    fprintf(out, "%-11s %" PRId64 " options differ (told, not judged)\n", "manifest", m->count);
    for (int64_t i = 0; i < m->count && i < DIFF_OPTIONS; i++)
        fprintf(out, "  %s: %s against %s\n", m->first[i].key,
                m->first[i].a[0] ? m->first[i].a : "nothing",
                m->first[i].b[0] ? m->first[i].b : "nothing");
}

static void print_matching(const sonde_diff_report *report, FILE *out)
{
    const diff_matching *m = &report->matching;
    fprintf(out, "%-11s", "sequences");
    if (m->by_id > 0) fprintf(out, " %" PRId64 " matched by id;", m->by_id);
    if (m->by_tokens > 0)
        fprintf(out, " %" PRId64 " matched by hash of tokens;", m->by_tokens);
    if (m->by_index > 0) fprintf(out, " %" PRId64 " matched by index;", m->by_index);
    fprintf(out, " %" PRId64 " only in a, %" PRId64 " only in b\n", m->sequences_only_a,
            m->sequences_only_b);
    fprintf(out, "%-11s %" PRId64 " matched; %" PRId64 " only in a, %" PRId64 " only in b\n",
            "rows", m->rows, m->rows_only_a, m->rows_only_b);
    if (m->tokens_differ + m->runs_differ == 0) return;
    fprintf(out, "%-11s %" PRId64 " rows and %" PRId64 " token runs differ", "tokens",
            m->tokens_differ, m->runs_differ);
    if (m->token_place.present)
        fprintf(out, ", first at sequence %" PRIu64 " position %" PRIu32 ": %" PRIu32
                     " against %" PRIu32,
                m->token_place.sequence, m->token_place.position, m->token_place.token,
                m->token_b);
    fputc('\n', out);
}

static void print_place(const sonde_diff_place *place, FILE *out)
{
    if (place->has_row) {
        fprintf(out, "sequence %" PRIu64, place->sequence);
        if (place->id[0]) fprintf(out, " (%s)", place->id);
        fprintf(out, " position %" PRIu32 " token %" PRIu32, place->position, place->token);
        if (place->piece[0]) fprintf(out, " '%s'", place->piece);
    }
    if (place->n_index == 0) return;
    fprintf(out, "%s[", place->has_row ? " " : "");
    for (int32_t d = 0; d < place->n_index; d++)
        fprintf(out, "%s%" PRId64, d ? ", " : "", place->index[d]);
    fputc(']', out);
}

static void print_point(const sonde_diff_point *p, int width, FILE *out)
{
    char stored[32];
    const sonde_diff_metrics *m = &p->metrics;
    fprintf(out, "%-*s %-9s", width, p->name, stored_name(p, stored));
    if (m->elements > 0 || p->rows > 0)
        fprintf(out, " %8" PRId64 " %12" PRId64 " %11" PRId64 " %10.3g %10.3g %10.3g %10.7f",
                p->rows, m->elements, m->unequal, m->max_abs, m->max_ulp, m->rel_l2, m->cosine);
    else
        fprintf(out, " %8s %12s %11s %10s %10s %10s %10s", "-", "-", "-", "-", "-", "-", "-");
    fprintf(out, "  %s", sonde_diff_verdict_name(p->verdict));
    if (p->why[0]) fprintf(out, " (%s)", p->why);
    fputc('\n', out);
}

static void print_list(const char *title, const sonde_diff_point *list, int64_t n, FILE *out)
{
    int width = (int)strlen(title);
    if (n == 0) return;
    for (int64_t i = 0; i < n; i++)
        if (strlen(list[i].name) < 60 && (int)strlen(list[i].name) > width)
            width = (int)strlen(list[i].name);
    fprintf(out, "\n%-*s %-9s %8s %12s %11s %10s %10s %10s %10s  %s\n", width, title, "stored",
            "rows", "elements", "unequal", "max|a-b|", "max ULP", "rel L2", "cosine", "verdict");
    for (int64_t i = 0; i < n; i++) print_point(&list[i], width, out);
}

/* Where the first failing one of a list differs, and how far from rounding it is. */
static void print_first(const sonde_diff_point *list, int64_t n, const char *what, FILE *out)
{
    int64_t i = 0;
    while (i < n && !(list[i].fails && list[i].first.present)) i++;
    if (i == n) return;
    const sonde_diff_point *p = &list[i];
    bool has_place = p->first.has_row || p->first.n_index > 0;
    fprintf(out, "\nfirst %s that fails: %s\n  first difference%s", what, p->name,
            has_place ? " at " : "");
    print_place(&p->first, out);
    fprintf(out, ": %.9g against %.9g\n", p->first.a, p->first.b);
    if (p->worst.present) {
        fprintf(out, "  worst row: ");
        print_place(&p->worst, out);
        fprintf(out, ", relative L2 %.3g\n", p->worst_rel_l2);
    }
    if (p->floor > 0)
        fprintf(out, "  relative L2 is %.3g rounding floors (%.3g, %s)\n",
                p->metrics.rel_l2 / p->floor, p->floor,
                sonde_dtype_name(diff_coarser(p->stored_a, p->stored_b)));
    if (p->metrics.max_ulp > 0)
        fprintf(out, "  units in the last place: mean %.3g, most %.6g, above 1: %" PRId64 "\n",
                p->metrics.mean_ulp, p->metrics.max_ulp, p->metrics.ulp_above_1);
    if (p->metrics.nonfinite > 0)
        fprintf(out, "  NaN or infinity on one side only: %" PRId64 " elements\n",
                p->metrics.nonfinite);
}

/* The best verdict that all of a list share. */
static bool all_identical(const sonde_diff_point *list, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (list[i].verdict != SONDE_DIFF_IDENTICAL) return false;
    return true;
}

const char *diff_verdict_text(const sonde_diff_report *report)
{
    if (report->status == SONDE_NOTHING) return "nothing compared";
    if (report->status == SONDE_DIFFERS) return "differs";
    return all_identical(report->points, report->n_points) &&
                   all_identical(report->tables, report->n_tables)
               ? "identical"
               : "within limits";
}

sonde_status sonde_diff_print_text(const sonde_diff_report *report, FILE *out, sonde_error *err)
{
    fprintf(out, "a           %s\nb           %s (reference)\n", report->path_a, report->path_b);
    print_facts(report, out);
    print_manifest(&report->manifest, out);
    print_matching(report, out);
    print_list("point", report->points, report->n_points, out);
    print_list("table", report->tables, report->n_tables, out);
    print_first(report->points, report->n_points, "point", out);
    print_first(report->tables, report->n_tables, "table", out);
    fprintf(out, "\nverdict: %s%s%s\n", diff_verdict_text(report), report->reason[0] ? ": " : "",
            report->reason);
    if (ferror(out)) return sonde_fail(err, SONDE_IO, "diff: the report could not be written");
    return SONDE_OK;
}
