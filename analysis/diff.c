/* A comparison from its two paths to its verdict. */
#include "analysis/diff_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define OPTION(member, type_name, most, value, text)                                               \
    .type = SONDE_OPTION_##type_name, .offset = offsetof(sonde_diff_options, member), .max = most, \
    .flags = SONDE_OPTION_RUN, .value_name = value, .help = text

const sonde_option sonde_diff_options_table[] = {
    {.name = "waive",
     OPTION(waive, TEXT, 0, "NAMES",
            "let these pass: model, points, rows, tokens, dtype, vocabulary (commas)")},
    {.name = "points",
     OPTION(points, TEXT, 0, "SEL", "only points that match these globs (commas, {a,b})")},
    {.name = "atol",
     OPTION(limits.atol, FLOAT, 1e300, "X", "limit: every |a-b| <= atol + rtol |b|")},
    {.name = "rtol",
     OPTION(limits.rtol, FLOAT, 1e300, "X", "limit: every |a-b| <= atol + rtol |b|")},
    {.name = "max-rel-l2",
     OPTION(limits.max_rel_l2, FLOAT, 1e300, "X", "limit: |a-b| / |b| of every point")},
    {.name = "min-cosine",
     OPTION(limits.min_cosine, FLOAT, 1, "X", "limit: cosine of every point")},
    {.name = "max-ulp",
     OPTION(limits.max_ulp, FLOAT, 1e300, "X",
            "limit: every |a-b| in units in the last place of the coarser stored dtype")},
    {.name = "limit",
     OPTION(limit, LIST, 0, "SEL:KEY=X,...",
            "limits of some points, by the five names above (repeatable; the last that matches)")},
    {.name = "json", OPTION(json, FLAG, 0, NULL, "print JSON")},
    {.name = NULL},
};

void sonde_diff_options_init(sonde_diff_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = (uint32_t)sizeof *options;
}

static void set_fact(sonde_diff_report *report, const char *name, const char *a, const char *b,
                     unsigned waiver, bool decides)
{
    diff_fact *fact = &report->facts[report->n_facts++];
    fact->name = name;
    if (a) diff_printable(a, strlen(a), fact->a, sizeof fact->a);
    if (b) diff_printable(b, strlen(b), fact->b, sizeof fact->b);
    fact->same = !a || !b || strcmp(a, b) == 0;
    fact->waived = !fact->same && (report->waived & waiver);
    fact->fails = decides && !fact->same && !fact->waived;
}

/* What the root attributes say; `decides` is 0 for those that are told but not judged. */
static void collect_facts(diff_context *ctx)
{
    static const struct {
        const char *name, *attr;
        unsigned waiver;
        bool decides;
    } facts[] = {
        {"model", "model_hash", DIFF_WAIVE_MODEL, true},
        {"vocabulary", "hook_vocabulary", DIFF_WAIVE_VOCABULARY, true},
        {"model_name", "model", 0, false},
        {"tokenizer", "tokenizer_hash", 0, false},
        {"backend", "backend", 0, false},
        {"mode", "mode", 0, false},
    };
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
        set_fact(ctx->report, facts[i].name, sonde_reader_attr(ctx->a.reader, facts[i].attr),
                 sonde_reader_attr(ctx->b.reader, facts[i].attr), facts[i].waiver,
                 facts[i].decides);
}

static sonde_status match(diff_context *ctx, sonde_error *err)
{
    diff_matching *m = &ctx->report->matching;
    bool loose = ctx->report->waived & DIFF_WAIVE_TOKENS;
    SONDE_TRY(diff_side_load(&ctx->a, err));
    SONDE_TRY(diff_side_load(&ctx->b, err));
    SONDE_TRY(diff_match_sequences(&ctx->a, &ctx->b, loose, m, err));
    SONDE_TRY(diff_alloc((size_t)ctx->a.rows.count, sizeof *ctx->peer, "the pairs of rows",
                         &ctx->peer, err));
    SONDE_TRY(diff_match_rows(&ctx->a, &ctx->b, loose, ctx->peer, m, err));
    return diff_compare_runs(ctx, err);
}

static void add_reason(sonde_diff_report *report, const char *format, ...) SONDE_PRINTF(2, 3);
static void add_reason(sonde_diff_report *report, const char *format, ...)
{
    size_t used = strlen(report->reason), room = sizeof report->reason - used;
    va_list arguments;
    int n = used ? snprintf(report->reason + used, room, "; ") : 0;
    if (n < 0 || (size_t)n >= room) return;
    va_start(arguments, format);
    vsnprintf(report->reason + used + n, room - (size_t)n, format, arguments);
    va_end(arguments);
}

/* Counts of one list: failing, and with values that were compared. */
static void count_list(sonde_diff_report *report, const sonde_diff_point *list, int64_t n,
                       const char *what, int64_t *compared)
{
    int64_t fails = 0;
    for (int64_t i = 0; i < n; i++) {
        fails += list[i].fails;
        *compared += list[i].metrics.elements > 0 || list[i].rows_misfit > 0;
    }
    if (fails > 0) add_reason(report, "%lld of %lld %s fail", (long long)fails, (long long)n, what);
}

static void judge(sonde_diff_report *report)
{
    const diff_matching *m = &report->matching;
    bool rows = !(report->waived & DIFF_WAIVE_ROWS), tokens = !(report->waived & DIFF_WAIVE_TOKENS);
    int64_t compared = 0, no_values = 0, tables = report->n_tables - report->n_columns;
    count_list(report, report->points, report->n_points, "points", &compared);
    count_list(report, report->tables, tables, "probe tables", &compared);
    count_list(report, report->tables + tables, report->n_columns, "columns of /rows", &no_values);
    for (int32_t i = 0; i < report->n_facts; i++)
        if (report->facts[i].fails) add_reason(report, "%s differs", report->facts[i].name);
    if (rows && (m->sequences_only_a > 0 || m->sequences_only_b > 0))
        add_reason(report, "unmatched sequences");
    if (rows && report->n_points == 0 && (m->rows_only_a > 0 || m->rows_only_b > 0))
        add_reason(report, "unmatched rows");
    if (tokens && (m->tokens_differ > 0 || m->runs_differ > 0))
        add_reason(report, "token ids differ");
    report->status = compared == 0 ? SONDE_NOTHING : report->reason[0] ? SONDE_DIFFERS : SONDE_OK;
}

static sonde_status copy_text(const char *text, char **copy, sonde_error *err)
{
    size_t bytes = strlen(text) + 1;
    SONDE_TRY(diff_alloc(bytes, 1, "a path", copy, err));
    memcpy(*copy, text, bytes);
    return SONDE_OK;
}

static sonde_status compare(diff_context *ctx, const char *a, const char *b, sonde_error *err)
{
    SONDE_TRY(copy_text(a, &ctx->report->path_a, err));
    SONDE_TRY(copy_text(b, &ctx->report->path_b, err));
    SONDE_TRY(diff_waive_parse(ctx->options->waive, &ctx->report->waived, err));
    if (ctx->options->points) SONDE_TRY(diff_glob_check("--points", ctx->options->points, err));
    SONDE_TRY(diff_limits_parse(&ctx->options->limit, &ctx->limit, &ctx->n_limit, err));
    SONDE_TRY(sonde_reader_open(a, &ctx->a.reader, err));
    SONDE_TRY(sonde_reader_open(b, &ctx->b.reader, err));
    collect_facts(ctx);
    SONDE_TRY(diff_manifest_compare(ctx->a.reader, ctx->b.reader, &ctx->report->manifest, err));
    SONDE_TRY(match(ctx, err));
    SONDE_TRY(diff_points(ctx, err));
    SONDE_TRY(diff_tables(ctx, err));
    SONDE_TRY(diff_columns(ctx, err));
    judge(ctx->report);
    return SONDE_OK;
}

static void context_reset(diff_context *ctx)
{
    diff_side_reset(&ctx->a);
    diff_side_reset(&ctx->b);
    diff_limits_free(ctx->limit, ctx->n_limit);
    free(ctx->peer);
    free(ctx->inverse);
    free(ctx->values_a);
    free(ctx->values_b);
    free(ctx->staging);
}

sonde_status sonde_diff_run(const char *a, const char *b, const sonde_diff_options *options,
                            sonde_diff_report **report, sonde_error *err)
{
    sonde_diff_options defaults;
    diff_context ctx = {0};
    *report = NULL;
    sonde_diff_options_init(&defaults);
    SONDE_TRY(diff_alloc(1, sizeof *ctx.report, "the report", &ctx.report, err));
    ctx.options = options ? options : &defaults;
    ctx.report->options = *ctx.options;
    ctx.report->options.waive = ctx.report->options.points = NULL;
    ctx.report->options.limit.count = 0;
    sonde_status status = compare(&ctx, a, b, err);
    context_reset(&ctx);
    if (status != SONDE_OK) {
        sonde_diff_report_destroy(&ctx.report);
        return status;
    }
    *report = ctx.report;
    if (ctx.report->status == SONDE_OK) return SONDE_OK;
    return sonde_fail(err, ctx.report->status, "%s and %s: %s%s%s", a, b,
                      sonde_status_text(ctx.report->status), ctx.report->reason[0] ? ": " : "",
                      ctx.report->reason);
}

static void free_list(sonde_diff_point *list, int64_t n)
{
    for (int64_t i = 0; list && i < n; i++) free(list[i].name);
    free(list);
}

void sonde_diff_report_destroy(sonde_diff_report **report)
{
    if (!report || !*report) return;
    free_list((*report)->points, (*report)->n_points);
    free_list((*report)->tables, (*report)->n_tables);
    free((*report)->path_a);
    free((*report)->path_b);
    free(*report);
    *report = NULL;
}

sonde_status sonde_diff_report_status(const sonde_diff_report *report)
{
    return report->status;
}

int64_t sonde_diff_report_point_count(const sonde_diff_report *report)
{
    return report->n_points;
}

const sonde_diff_point *sonde_diff_report_point(const sonde_diff_report *report, int64_t index)
{
    return index >= 0 && index < report->n_points ? &report->points[index] : NULL;
}

int64_t sonde_diff_report_table_count(const sonde_diff_report *report)
{
    return report->n_tables;
}

const sonde_diff_point *sonde_diff_report_table(const sonde_diff_report *report, int64_t index)
{
    return index >= 0 && index < report->n_tables ? &report->tables[index] : NULL;
}
