/*
 * conformance.c - can this plugin be trusted with rows? Runs against any plugin:
 *
 *   conformance [--model FOLDER] PLUGIN.so[=INSTANCE][:key=value,...]
 *
 * Loads it as sonde does, drives it with made-up rows cut into blocks in several ways, and prints a
 * line per check. Exit: 0 all good, 1 a check failed, 2 it could not be loaded or set up. Built
 * with CONFIG=asan (and the plugin with -fsanitize=address) it finds reads out of bounds too.
 */
#include "conformance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const way ways[] = {
    {.name = "whole sequences"},
    {.name = "whole sequences again", .padding = 3},
    {.name = "one row a block", .block_rows = 1, .padding = 1},
    {.name = "sequences in reverse order", .block_rows = 4, .reversed = true},
    {.name = "sequences interleaved in uneven blocks", .block_rows = 3, .interleaved = true,
     .padding = 2},
    {.name = "states saved, loaded and moved", .block_rows = 5, .interleaved = true,
     .moving = true},
    {.name = "two threads", .block_rows = 2, .threads = true},
    {.name = "states merged by groups, to 1e-6", .regrouped = true},
};

/* ---- comparing ------------------------------------------------------------------------------- */

static bool same_bytes(const sonde_string *a, const sonde_string *b)
{
    return a->length == b->length && (a->length == 0 || memcmp(a->data, b->data, a->length) == 0);
}

static size_t record_bytes; /* of qsort's records; one thread compares */

static int by_position_and_bytes(const void *a, const void *b)
{
    int64_t at_a, at_b;
    memcpy(&at_a, a, sizeof at_a);
    memcpy(&at_b, b, sizeof at_b);
    return at_a != at_b ? (at_a < at_b ? -1 : 1) : memcmp(a, b, record_bytes);
}

static void sort_sparse(const sonde_probe_output *output, sonde_string *rows)
{
    record_bytes = sonde_dtype_bytes(sonde_probe_element_dtype(output->element), 1);
    for (uint32_t i = 0; i < output->n_dims; i++) record_bytes *= (size_t)output->shape[i];
    record_bytes += sizeof(int64_t);
    if (rows->length)
        qsort(rows->data, rows->length / record_bytes, record_bytes, by_position_and_bytes);
}

static double value_at(const result_table *t, size_t i)
{
    float f;
    double d;
    int64_t whole;
    int32_t id;
    switch (t->element) {
    case SONDE_ELEMENT_F32: memcpy(&f, t->data.data + i * 4, 4); return (double)f;
    case SONDE_ELEMENT_F64: memcpy(&d, t->data.data + i * 8, 8); return d;
    case SONDE_ELEMENT_I64: memcpy(&whole, t->data.data + i * 8, 8); return (double)whole;
    case SONDE_ELEMENT_I32: memcpy(&id, t->data.data + i * 4, 4); return id;
    default: return (double)(unsigned char)t->data.data[i];
    }
}

static bool near_tables(const result_table *a, const result_table *b)
{
    size_t bytes = sonde_dtype_bytes(sonde_probe_element_dtype(a->element), 1);
    if (a->data.length != b->data.length) return false;
    for (size_t i = 0; i < a->data.length / bytes; i++) {
        double x = value_at(a, i), y = value_at(b, i);
        bool same = x == y || (isnan(x) && isnan(y));
        if (!same && !(fabs(x - y) <= 1e-6 * fmax(1, fmax(fabs(x), fabs(y))))) return false;
    }
    return true;
}

static void compare_tables(outcome *a, outcome *b, bool exactly)
{
    if (a->n_tables != b->n_tables) {
        breach(b, "it wrote %zu tables, then %zu", a->n_tables, b->n_tables);
        return;
    }
    for (size_t i = 0; i < a->n_tables; i++) {
        const result_table *x = &a->tables[i], *y = &b->tables[i];
        bool same = strcmp(x->name, y->name) == 0 && x->element == y->element &&
                    x->n_dims == y->n_dims && memcmp(x->dims, y->dims, sizeof x->dims) == 0 &&
                    (exactly ? same_bytes(&x->data, &y->data) : near_tables(x, y));
        if (!same) breach(b, "table %s is another one than with whole sequences", y->name);
    }
    if (exactly && !same_bytes(&a->notes, &b->notes)) breach(b, "its notes are others");
}

static void compare(outcome *a, outcome *b, bool exactly)
{
    if (a->n_outputs != b->n_outputs || a->n_points != b->n_points) {
        breach(b, "it declared %u outputs, then %u", a->n_outputs, b->n_outputs);
        return;
    }
    for (uint32_t i = 0; i < a->n_outputs * N_SEQUENCES; i++)
        if (!same_bytes(&a->emitted[i], &b->emitted[i]))
            breach(b, "output %u: rows of sequence %u are others than with whole sequences",
                   i / N_SEQUENCES, i % N_SEQUENCES);
    for (uint32_t i = 0; i < a->n_points * N_SEQUENCES; i++)
        if (!same_bytes(&a->written[i], &b->written[i]))
            breach(b, "point %u: rows written for sequence %u are others than with whole sequences",
                   i / N_SEQUENCES, i % N_SEQUENCES);
    compare_tables(a, b, exactly);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int report(const char *what, const outcome *o)
{
    printf("%s %s\n%s", o->n_breaches ? "FAIL" : "ok  ", what,
           o->n_breaches ? o->breaches.data : "");
    if (o->n_breaches > 8) printf("     and %d more\n", o->n_breaches - 8);
    return o->n_breaches != 0;
}

static void sort_all(const sonde_probe_instance *instance, outcome *o)
{
    for (uint32_t i = 0; i < o->n_outputs; i++)
        for (uint32_t s = 0; s < N_SEQUENCES; s++)
            if (instance->outputs[i].kind == SONDE_OUTPUT_SPARSE)
                sort_sparse(&instance->outputs[i], &o->emitted[i * N_SEQUENCES + s]);
}

static int run_ways(const target *t, const sonde_probe_instance *instance)
{
    outcome first = {0};
    int failed = 0;
    for (size_t i = 0; i < SONDE_COUNT(ways); i++) {
        outcome other = {0}, *o = i == 0 ? &first : &other;
        bool good = drive(t, &ways[i], o);
        sort_all(instance, o);
        if (good && i > 0) compare(&first, o, !ways[i].regrouped);
        failed += report(ways[i].name, o);
        if (i > 0) outcome_reset(o);
    }
    outcome_reset(&first);
    outcome refused = {0};
    drive_refusing(t, &refused);
    failed += report("failures of the sink are passed on", &refused);
    outcome_reset(&refused);
    return failed;
}

static int check(const target *t)
{
    sonde_probe_set set = {0};
    sonde_error err = {0};
    sonde_probe_set_spec spec = {.model = t->model, .probes = &t->typed, .n_probes = 1};
    if (sonde_probe_set_open(&spec, &set, &err) != SONDE_OK) {
        fprintf(stderr, "conformance: %s\n", err.message);
        return 2;
    }
    const sonde_probe_instance *in = &set.instances[0];
    printf("     %s %s: %u points, %u outputs, %llu bytes of state, %s\n", in->probe.name,
           in->probe.version, in->n_points, in->n_outputs, (unsigned long long)in->state_bytes,
           in->writes ? "writes" : "reads");
    int failed = run_ways(t, in);
    sonde_probe_set_reset(&set);
    printf("%s\n", failed ? "it does not conform" : "it conforms");
    return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *folder = "tests/goldens/families/llama";
    target t = {0};
    sonde_model *model = NULL;
    sonde_error err = {0};
    if (argc == 4 && strcmp(argv[1], "--model") == 0) folder = argv[2];
    if (argc == 2 || argc == 4) t.typed = argv[argc - 1];
    if (!t.typed || t.typed[0] == '-') {
        fprintf(stderr, "usage: conformance [--model FOLDER] PLUGIN.so[=NAME][:key=value,...]\n");
        return 2;
    }
    if (sonde_model_open(folder, &(sonde_model_options){.shape_only = true}, &model, &err) !=
        SONDE_OK) {
        fprintf(stderr, "conformance: %s\n", err.message);
        return 2;
    }
    t.model = model;
    synth_init();
    int result = check(&t);
    sonde_model_close(&model);
    return result;
}
