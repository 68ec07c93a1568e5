/*
 * family_table.c - the table of families of the root README, from the code: names and formats from
 * the descriptors, features from the recipes of the goldens, errors from comparing the goldens.
 *
 *     family_table        prints the table as Markdown; exit 1 when a comparison fails
 *
 * Errors are of the exact backend, so that the table is the same on every machine.
 */
#include "run/model_internal.h"
#include "support/family_check.h"

#include <stdio.h>
#include <string.h>

#define GOLDENS "tests/goldens/families"

/* What the goldens of one family showed. */
typedef struct entry {
    family_report report;
    int64_t n_goldens;
    sonde_string features; /* "rope, grouped queries" */
} entry;

static bool is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at; at = strstr(at, ", ") ? strstr(at, ", ") + 2 : NULL)
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0')) return true;
    return false;
}

static void feature(entry *e, bool has, const char *name)
{
    if (!has || is_listed(e->features.data, name)) return;
    sonde_string_format(&e->features, "%s%s", e->features.length ? ", " : "", name);
}

static bool has_point(const sonde_model *model, const char *local_name)
{
    return sonde_model_absent(model, local_name) == NULL;
}

static void rope_features(entry *e, const sonde_recipe *r)
{
    static const char *const types[] = {"rope", "linear rope", "dynamic rope", "llama3 rope",
                                        "yarn rope", "longrope"};
    for (int64_t i = 0; i < r->n_ropes; i++) feature(e, true, types[r->ropes[i].type]);
}

static void attend_features(entry *e, const sonde_attend_spec *a, bool latent)
{
    feature(e, a->n_kv_heads < a->n_heads && !latent, "grouped queries");
    feature(e, a->mask == SONDE_MASK_SLIDING, "sliding window");
    feature(e, a->mask == SONDE_MASK_CHUNKED, "chunks");
    feature(e, a->sinks != SONDE_ROLE_NONE, "sinks");
    feature(e, a->softcap > 0.0, "soft-caps");
    feature(e, a->slopes != NULL, "ALiBi");
}

static void add_features(entry *e, const sonde_model *model)
{
    const sonde_recipe *r = model->recipe;
    bool latent = has_point(model, "attn.kv_latent");
    feature(e, has_point(model, "pos_embed"), "learned positions");
    rope_features(e, r);
    feature(e, latent, "latent attention");
    for (int64_t i = 0; i < r->n_steps; i++)
        if (r->steps[i].kind == SONDE_STEP_ATTEND)
            attend_features(e, &r->steps[i].u.attend, latent);
    feature(e, has_point(model, "attn.q_normed"), "qk-norm");
    feature(e, has_point(model, "attn.out_normed"), "post-norms");
    feature(e, !has_point(model, "resid_mid"), "parallel block");
    feature(e, has_point(model, "moe.router_logits"), "experts");
    feature(e, has_point(model, "moe.shared_out"), "shared expert");
}

static void add_golden(entry *e, const sonde_family *family, const char *name)
{
    char folder[256], expected[300];
    sonde_error err = {0};
    sonde_model *model = NULL;
    sonde_model_options options = {.shape_only = true};
    snprintf(folder, sizeof folder, GOLDENS "/%s", name);
    snprintf(expected, sizeof expected, "%s/expected.bin", folder);
    if (sonde_model_open(folder, &options, &model, &err) != SONDE_OK || model->family != family) {
        sonde_model_close(&model);
        return;
    }
    add_features(e, model);
    sonde_model_close(&model);
    e->n_goldens++;
    family_check(folder, expected, name, "cpu", &e->report);
}

static void print_row(const sonde_family *f, const entry *e)
{
    printf("| `%s` | %s | safetensors%s", f->name, f->title, f->gguf_archs ? ", GGUF" : "");
    for (const char *const *arch = f->gguf_archs; arch && *arch; arch++)
        printf("%s`%s`", arch == f->gguf_archs ? " " : " ", *arch);
    printf(" | %s | %lld x %lld points | %.1e (%.2f) |\n", e->features.data ? e->features.data : "",
           (long long)e->n_goldens,
           (long long)(e->n_goldens ? e->report.n_compared / e->n_goldens : 0),
           e->report.worst_error, e->report.worst_share);
}

int main(void)
{
    char **names;
    int64_t n = family_goldens(GOLDENS, &names);
    int bad = 0;
    printf("| family | covers | formats | features | goldens | worst error (of its bound) |\n");
    printf("|---|---|---|---|---|---|\n");
    for (int64_t i = 0; sonde_families[i]; i++) {
        entry e = {.n_goldens = 0};
        for (int64_t j = 0; j < n; j++) add_golden(&e, sonde_families[i], names[j]);
        print_row(sonde_families[i], &e);
        bad += e.report.bad + (e.n_goldens == 0);
        sonde_string_reset(&e.features);
    }
    family_goldens_free(names, n);
    return bad ? 1 : 0;
}
