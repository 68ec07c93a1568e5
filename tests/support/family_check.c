/*
 * family_check.c - see family_check.h. Bound: max|a - b| / rms(b) below max(1e-5, 4 x the noise floor
 * that the golden states for the point). The three .scale points have no golden; they are recomputed
 * in float64 from the norm's input. Decode: /points_decode likewise, /generated token for token, and
 * every other point equal bit for bit to a prefill of the same tokens (dynamic rope and longrope
 * excepted: their keys keep the rotation of the length they were made at).
 */
#include "support/family_check.h"

#include "core/json.h"
#include "run/model_internal.h"
#include "run/run.h"
#include "weights/config.h"
#include "support/golden.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct series {
    float *data;
    int64_t count;
    size_t capacity;
} series;

typedef struct collector {
    const sonde_model *model;
    series *points;
} collector;

static void append(series *s, const float *data, int64_t n)
{
    assert_true(sonde_grow(&s->data, &s->capacity, (size_t)(s->count + n), sizeof *data));
    memcpy(s->data + s->count, data, (size_t)n * sizeof *data);
    s->count += n;
}

static sonde_status collect(void *context, const sonde_tap_view *view, sonde_error *err)
{
    collector *c = context;
    (void)err;
    if (view->indptr) {
        append(&c->points[view->point], view->data, view->indptr[view->n_rows]);
        return SONDE_OK;
    }
    for (int64_t r = 0; r < view->n_rows; r++)
        append(&c->points[view->point], view->data + r * view->stride, view->width);
    return SONDE_OK;
}

static void collector_init(collector *c, const sonde_model *model)
{
    c->model = model;
    c->points = sonde_alloc((size_t)sonde_model_point_count(model), sizeof *c->points);
}

static void collector_reset(collector *c)
{
    for (int64_t i = 0; i < sonde_model_point_count(c->model); i++) sonde_free(c->points[i].data);
    sonde_free(c->points);
}

/* ---- one model ------------------------------------------------------------------------------------ */

typedef struct fixture {
    sonde_model *model;
    sonde_plan *plan;
    golden g;
    bool by_length; /* a rope depends on the sequence's length */
    family_report *report;
} fixture;

static void open_fixture(fixture *f, const char *folder, const char *expected, const char *backend)
{
    sonde_error err = {0};
    sonde_model_options options = {.backend = backend, .threads = 1};
    if (sonde_model_open(folder, &options, &f->model, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_true(golden_load(expected, &f->g));
    int64_t n = sonde_model_point_count(f->model);
    uint8_t *wants = sonde_alloc((size_t)n, 1);
    memset(wants, SONDE_WANT_READ, (size_t)n);
    sonde_model_info info;
    sonde_model_info_get(f->model, &info);
    sonde_plan_options plan_options = {.wants = wants, .want_logits = true, .batch_rows = 256,
                                       .max_sequences = 4,
                                       .max_positions = 256};
    bool learned = sonde_model_find_point(f->model, "pos_embed") >= 0;
    if (learned) plan_options.max_positions = SONDE_MIN(info.max_positions, 256);
    if (sonde_plan_create(f->model, &plan_options, &f->plan, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    sonde_free(wants);
    const sonde_recipe *r = f->model->recipe;
    for (int64_t i = 0; i < r->n_ropes; i++)
        f->by_length = f->by_length || sonde_rope_depends_on_length(&r->ropes[i]);
}

static void close_fixture(fixture *f)
{
    golden_reset(&f->g);
    sonde_plan_destroy(&f->plan);
    sonde_model_close(&f->model);
}

static const golden_entry *entry_of(const fixture *f, const char *group, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", group, name);
    return golden_find(&f->g, path);
}

static void run_tokens(sonde_run *run, sonde_sequence *s, const uint32_t *tokens, int64_t n)
{
    sonde_error err = {0};
    sonde_batch_item item = {.sequence = s, .tokens = tokens, .count = n, .want_logits = true};
    if (sonde_run_step(run, &item, 1, &err) != SONDE_OK) fail_msg("%s", err.message);
}

static sonde_run *make_run(fixture *f, collector *c)
{
    sonde_error err = {0};
    sonde_run *run = NULL;
    sonde_run_options options = {.threads = 1, .tap = collect, .tap_context = c};
    if (sonde_run_create(f->plan, &options, &run, &err) != SONDE_OK) fail_msg("%s", err.message);
    return run;
}

static sonde_sequence *make_sequence(sonde_run *run, int64_t positions, int64_t prompt)
{
    sonde_error err = {0};
    sonde_sequence *s = NULL;
    if (sonde_sequence_create(run, positions, prompt, NULL, &s, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    return s;
}

static uint32_t argmax(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

/* ---- comparisons ------------------------------------------------------------------------------------ */

static void note(family_report *report, const char *name, double error, double bound)
{
    report->n_compared++;
    if (error / bound < report->worst_share) return;
    report->worst_share = error / bound;
    report->worst_error = error;
    snprintf(report->worst_point, sizeof report->worst_point, "%s", name);
}

static int check_close(const fixture *f, const char *family, const char *name, const series *got,
                       const golden_entry *want)
{
    double bound = fmax(1e-5, 4.0 * want->floor), error;
    if (got->count != want->count) {
        print_error("%s %s: %lld values, expected %lld\n", family, name, (long long)got->count,
                    (long long)want->count);
        return 1;
    }
    if (want->kind == 1)
        error = memcmp(got->data, want->data, (size_t)want->count * 4) == 0 ? 0.0 : INFINITY;
    else
        error = relative_error(got->data, want->data, want->count);
    note(f->report, name, error, bound);
    if (error <= bound) return 0;
    print_error("%s %s: error %.3g above %.3g\n", family, name, error, bound);
    return 1;
}

static int check_points(const fixture *f, const char *family, const collector *c, const char *group)
{
    int bad = 0;
    for (int64_t i = 0; i < sonde_model_point_count(f->model); i++) {
        const char *name = sonde_model_point(f->model, i)->name;
        const golden_entry *want = entry_of(f, group, name);
        bool decode = strcmp(group, "points_decode") == 0;
        size_t length = strlen(name);
        bool scale = length > 6 && strcmp(name + length - 6, ".scale") == 0;
        if (!want && !decode && !scale) {
            print_error("%s %s: the golden has no such point\n", family, name);
            bad++;
        }
        if (want) bad += check_close(f, family, name, &c->points[i], want);
    }
    for (int64_t i = 0; i < f->g.count; i++) {
        const char *name = f->g.entries[i].name;
        size_t head = strlen(group) + 1;
        if (strncmp(name, group, head - 1) != 0 || name[head - 1] != '/') continue;
        if (sonde_model_find_point(f->model, name + head) >= 0) continue;
        print_error("%s: the model has no point %s\n", family, name);
        bad++;
    }
    return bad;
}

static double eps_of(const fixture *f)
{
    static const char *const keys[] = {"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps",
                                       "norm_epsilon", "norm_eps"};
    const sonde_config *config = sonde_weights_config(f->model->weights);
    for (size_t i = 0; i < SONDE_COUNT(keys); i++)
        if (sonde_config_find(config, keys[i]))
            return json_number_value(sonde_config_find(config, keys[i]));
    return 1e-5;
}

static bool scale_fits(const series *s, const series *x, int64_t width, bool centred, double eps)
{
    for (int64_t r = 0; r < s->count; r++) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; centred && i < width; i++)
            mean += (double)x->data[r * width + i] / (double)width;
        for (int64_t i = 0; i < width; i++)
            squares += pow((double)x->data[r * width + i] - mean, 2) / (double)width;
        double want = sqrt(squares + eps);
        if (!(fabs((double)s->data[r] - want) <= 1e-6 * want)) return false;
    }
    return true;
}

/* sqrt(mean square or variance + eps) of the norm's input; a family that has no such norm is
 * excused. Whether it is centred shows in the normed point itself. */
static int check_scale(const fixture *f, const char *family, const collector *c, const char *scale,
                       const char *input)
{
    int64_t at = sonde_model_find_point(f->model, scale), in = sonde_model_find_point(f->model, input);
    if (at < 0) return 0;
    assert_true(in >= 0);
    const series *s = &c->points[at], *x = &c->points[in];
    int64_t width = sonde_model_point(f->model, in)->width;
    double eps = eps_of(f);
    if (scale_fits(s, x, width, false, eps) || scale_fits(s, x, width, true, eps)) return 0;
    print_error("%s %s is not what its norm divides by\n", family, scale);
    return 1;
}

static int check_scales(const fixture *f, const char *family, const collector *c)
{
    char scale[64], input[64];
    int bad = 0;
    sonde_model_info info;
    sonde_model_info_get(f->model, &info);
    for (int64_t i = 0; i < info.n_layers; i++) {
        snprintf(scale, sizeof scale, "blocks.%lld.attn_norm.scale", (long long)i);
        snprintf(input, sizeof input, "blocks.%lld.resid_pre", (long long)i);
        bad += check_scale(f, family, c, scale, input);
        snprintf(scale, sizeof scale, "blocks.%lld.mlp_norm.scale", (long long)i);
        bool parallel = sonde_model_absent(f->model, "resid_mid") != NULL;
        snprintf(input, sizeof input, "blocks.%lld.%s", (long long)i,
                 parallel ? "resid_pre" : "resid_mid");
        bad += check_scale(f, family, c, scale, input);
    }
    snprintf(input, sizeof input, "blocks.%lld.resid_post", (long long)info.n_layers - 1);
    return bad + check_scale(f, family, c, "final_norm.scale", input);
}

/* ---- prefill and decode -------------------------------------------------------------------------------- */

static int check_prefill(fixture *f, const char *family)
{
    collector c;
    collector_init(&c, f->model);
    sonde_run *run = make_run(f, &c);
    for (int i = 0; i < 3; i++) {
        char name[24];
        snprintf(name, sizeof name, "tokens/%d", i);
        const golden_entry *tokens = golden_find(&f->g, name);
        sonde_sequence *s = make_sequence(run, tokens->count, tokens->count);
        run_tokens(run, s, tokens->data, tokens->count);
        sonde_sequence_destroy(&s);
    }
    int bad = check_points(f, family, &c, "points") + check_scales(f, family, &c);
    sonde_run_destroy(&run);
    collector_reset(&c);
    return bad;
}

/* Prefill, then the golden's own tokens one by one; every argmax must be the golden's next token. */
static int decode_sequence(fixture *f, const char *family, int index, collector *c)
{
    char name[24];
    snprintf(name, sizeof name, "tokens/%d", index);
    const golden_entry *prompt = golden_find(&f->g, name);
    snprintf(name, sizeof name, "generated/%d", index);
    const golden_entry *generated = golden_find(&f->g, name);
    sonde_model_info info;
    sonde_model_info_get(f->model, &info);
    collector skipped;
    collector_init(&skipped, f->model);
    collector active = skipped;
    sonde_run *run = make_run(f, &active);
    sonde_sequence *s = make_sequence(run, prompt->count + 16, prompt->count);
    run_tokens(run, s, prompt->data, prompt->count);
    series *prompt_points = active.points;
    active.points = c->points;
    int bad = 0;
    for (int64_t j = 0; j < generated->count; j++) {
        uint32_t token = ((const uint32_t *)generated->data)[j];
        uint32_t best = argmax(sonde_run_logits(run, 0), info.vocab);
        if (best != token && bad++ == 0)
            print_error("%s sequence %d: generated token %lld is %u, expected %u\n", family, index,
                        (long long)j, best, token);
        run_tokens(run, s, &token, 1);
    }
    active.points = prompt_points;
    sonde_sequence_destroy(&s);
    sonde_run_destroy(&run);
    collector_reset(&active);
    return bad;
}

/* All tokens of a decode at once: rows behind the prompt must have the bits of the decode. */
static int check_same_bits(fixture *f, const char *family, int index, const collector *decoded)
{
    char name[24];
    snprintf(name, sizeof name, "tokens/%d", index);
    const golden_entry *prompt = golden_find(&f->g, name);
    snprintf(name, sizeof name, "generated/%d", index);
    const golden_entry *generated = golden_find(&f->g, name);
    int64_t n = prompt->count + generated->count;
    uint32_t *tokens = sonde_alloc((size_t)n, sizeof *tokens);
    memcpy(tokens, prompt->data, (size_t)prompt->count * 4);
    memcpy(tokens + prompt->count, generated->data, (size_t)generated->count * 4);
    collector c;
    collector_init(&c, f->model);
    sonde_run *run = make_run(f, &c);
    sonde_sequence *s = make_sequence(run, n, n);
    run_tokens(run, s, tokens, n);
    int bad = 0;
    for (int64_t i = 0; i < sonde_model_point_count(f->model); i++) {
        const series *all = &c.points[i], *tail = &decoded->points[i];
        int64_t from = all->count - tail->count;
        if (from < 0 || memcmp(all->data + from, tail->data, (size_t)tail->count * 4) != 0) {
            print_error("%s sequence %d %s: decode and prefill differ\n", family, index,
                        sonde_model_point(f->model, i)->name);
            bad++;
        }
    }
    sonde_sequence_destroy(&s);
    sonde_run_destroy(&run);
    collector_reset(&c);
    sonde_free(tokens);
    return bad;
}

static int check_decode(fixture *f, const char *family, bool exact)
{
    collector all;
    collector_init(&all, f->model);
    int bad = 0;
    for (int i = 0; i < 3; i++) {
        collector one;
        collector_init(&one, f->model);
        bad += decode_sequence(f, family, i, &one);
        if (exact && !f->by_length) bad += check_same_bits(f, family, i, &one);
        for (int64_t p = 0; p < sonde_model_point_count(f->model); p++)
            append(&all.points[p], one.points[p].data, one.points[p].count);
        collector_reset(&one);
    }
    bad += check_points(f, family, &all, "points_decode");
    collector_reset(&all);
    return bad;
}

/* ---- models and folders of them --------------------------------------------------------------------- */

void family_check(const char *model, const char *expected, const char *name, const char *backend,
                  family_report *report)
{
    fixture f = {.report = report};
    char label[96];
    snprintf(label, sizeof label, "%s (%s)", name, backend);
    open_fixture(&f, model, expected, backend);
    report->bad += check_prefill(&f, label);
    report->bad += check_decode(&f, label, strcmp(backend, "cpu") == 0);
    close_fixture(&f);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int64_t family_goldens(const char *folder, char ***names)
{
    size_t capacity = 0, n = 0;
    char **found = NULL;
    DIR *dir = opendir(folder);
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        assert_true(sonde_grow(&found, &capacity, n + 1, sizeof *found));
        found[n++] = sonde_strndup(entry->d_name, strlen(entry->d_name));
    }
    if (dir) closedir(dir);
    if (n > 0) qsort(found, n, sizeof *found, by_name);
    *names = found;
    return (int64_t)n;
}

void family_goldens_free(char **names, int64_t n)
{
    for (int64_t i = 0; i < n; i++) sonde_free(names[i]);
    sonde_free(names);
}

bool family_is_built(const char *folder)
{
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.shape_only = true};
    sonde_status status = sonde_model_open(folder, &options, &model, &err);
    sonde_model_close(&model);
    return status == SONDE_OK || !strstr(err.message, "unknown family");
}
