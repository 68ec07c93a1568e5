/*
 * test_shipped.c - what the shipped probes compute, against the definition: moments in fp64 from
 * all rows at once, and the rows that steer leaves behind, bit for bit.
 */
#include "support/npy.h"
#include "support/plugins.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WIDTH 48 /* of the model's residual stream */
#define ROWS 60
#define SEQUENCES 4 /* of 15 rows */

static sonde_model *model;
static char vector[256];
static float rows[ROWS][WIDTH], steering[WIDTH];

static int set_up(void **state)
{
    (void)state;
    int64_t dims[1] = {WIDTH};
    uint32_t seed = 1;
    test_use_plugins();
    model = test_model_shape("llama");
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < WIDTH; c++) {
            seed = seed * 1664525u + 1013904223u;
            rows[r][c] = ((float)(seed >> 8) * 0x1p-23f - 1) * (c == 3 ? 500 : 1) + (float)c;
        }
    rows[5][1] = -0.0f;
    for (int c = 0; c < WIDTH; c++) steering[c] = (float)(c - 17) / 16;
    npy_temporary("shipped.npy", vector);
    npy_write(vector, "<f4", 1, dims, steering, sizeof steering);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sonde_model_close(&model);
    unlink(vector);
    return 0;
}

/* ---- driving --------------------------------------------------------------------------------- */

typedef struct results {
    char names[16][80];
    double values[16][WIDTH];
    int count;
} results;

static int32_t take_table(void *self, const char *name, uint32_t element, uint32_t n_dims,
                          const int64_t *dims, const void *data, sonde_probe_error *err)
{
    results *r = self;
    (void)err;
    assert_int_equal(n_dims, 1);
    assert_true(dims[0] <= WIDTH && r->count < 16);
    snprintf(r->names[r->count], sizeof r->names[0], "%s", name);
    for (int64_t i = 0; i < dims[0]; i++)
        r->values[r->count][i] = element == SONDE_ELEMENT_I64 ? (double)((const int64_t *)data)[i]
                                                              : ((const double *)data)[i];
    r->count++;
    return 0;
}

static const double *table(const results *r, const char *name)
{
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->names[i], name) == 0) return r->values[i];
    fail_msg("no table %s", name);
    return NULL;
}

static void open_one(const char *typed, sonde_probe_set *set)
{
    sonde_error err = {0};
    sonde_probe_set_spec spec = {.model = model, .probes = &typed, .n_probes = 1};
    if (sonde_probe_set_open(&spec, set, &err) != SONDE_OK) fail_msg("%s", err.message);
}

/* Shows n rows of WIDTH floats at the instance's only point. */
static void show(const sonde_probe_instance *in, void *state, float *data, int64_t n)
{
    int64_t offset[ROWS], length[ROWS], position[ROWS];
    for (int64_t i = 0; i < n; i++) {
        offset[i] = i * WIDTH;
        length[i] = WIDTH;
        position[i] = i;
    }
    sonde_probe_view view = {.struct_size = sizeof view, .n_rows = n, .data = data,
                             .offset = offset, .length = length, .position = position,
                             .writable = in->writes};
    sonde_probe_sink sink = {.struct_size = sizeof sink};
    sonde_probe_error err = {{0}};
    if (in->probe.rows(in->memory, state, &view, &sink, &err) != 0) fail_msg("%s", err.message);
}

static void moments_of(int sequences, results *r)
{
    sonde_probe_set set = {0};
    sonde_probe_error err = {{0}};
    memset(r, 0, sizeof *r);
    open_one("moments:points=blocks.1.resid_post", &set);
    const sonde_probe_instance *in = &set.instances[0];
    void *total = sonde_alloc(1, (size_t)in->state_bytes);
    assert_non_null(total);
    for (int s = 0; s < sequences; s++) {
        void *state = sonde_alloc(1, (size_t)in->state_bytes);
        assert_non_null(state);
        int each = ROWS / sequences;
        show(in, state, rows[s * each], each);
        assert_int_equal(in->probe.merge(in->memory, total, state, &err), 0);
        sonde_free(state);
    }
    sonde_probe_sink sink = {.struct_size = sizeof sink, .self = r, .table = take_table};
    assert_int_equal(in->probe.finish(in->memory, total, &sink, &err), 0);
    sonde_free(total);
    sonde_probe_set_reset(&set);
}

/* ---- moments --------------------------------------------------------------------------------- */

/* Welford's and Chan's formulas in fp64 stay within a few units of 2^-53 per row added: 60 rows. */
static void near(double got, double expected, const char *what, int channel)
{
    if (!(fabs(got - expected) <= 1e-13 * fabs(expected) + 1e-300))
        fail_msg("%s of channel %d: %.17g, expected %.17g", what, channel, got, expected);
}

static void check_channel(const results *r, int c)
{
    double sum = 0, squares = 0, away = 0, min = HUGE_VAL, max = -HUGE_VAL;
    for (int i = 0; i < ROWS; i++) {
        double x = (double)rows[i][c];
        sum += x;
        squares += x * x;
        min = fmin(min, x);
        max = fmax(max, x);
    }
    for (int i = 0; i < ROWS; i++)
        away += ((double)rows[i][c] - sum / ROWS) * ((double)rows[i][c] - sum / ROWS);
    near(table(r, "blocks.1.resid_post/mean")[c], sum / ROWS, "mean", c);
    near(table(r, "blocks.1.resid_post/variance")[c], away / ROWS, "variance", c);
    near(table(r, "blocks.1.resid_post/norm")[c], sqrt(squares), "norm", c);
    assert_true(table(r, "blocks.1.resid_post/min")[c] == min);
    assert_true(table(r, "blocks.1.resid_post/max")[c] == max);
}

static void test_moments_are_the_definition(void **state)
{
    (void)state;
    results r;
    for (int sequences = 1; sequences <= SEQUENCES; sequences += SEQUENCES - 1) {
        moments_of(sequences, &r);
        double norm_sum = 0, norm_max = 0;
        for (int i = 0; i < ROWS; i++) {
            double squares = 0;
            for (int c = 0; c < WIDTH; c++) squares += (double)rows[i][c] * (double)rows[i][c];
            norm_sum += sqrt(squares);
            norm_max = fmax(norm_max, sqrt(squares));
        }
        for (int c = 0; c < WIDTH; c++) check_channel(&r, c);
        assert_true(table(&r, "blocks.1.resid_post/count")[0] == ROWS);
        near(table(&r, "blocks.1.resid_post/row_norm_mean")[0], norm_sum / ROWS, "row norm", 0);
        near(table(&r, "blocks.1.resid_post/row_norm_max")[0], norm_max, "row norm", 0);
        assert_int_equal(r.count, 8);
    }
}

static void test_moments_of_nothing_and_of_nan(void **state)
{
    (void)state;
    results r;
    float kept = rows[20][7];
    moments_of(0, &r);
    assert_true(table(&r, "blocks.1.resid_post/count")[0] == 0);
    assert_true(isnan(table(&r, "blocks.1.resid_post/mean")[0]) != 0);
    assert_true(isnan(table(&r, "blocks.1.resid_post/variance")[0]) != 0);
    assert_true(table(&r, "blocks.1.resid_post/min")[0] == HUGE_VAL);
    assert_true(table(&r, "blocks.1.resid_post/max")[0] == -HUGE_VAL);
    rows[20][7] = NAN;
    moments_of(SEQUENCES, &r);
    rows[20][7] = kept;
    assert_true(isnan(table(&r, "blocks.1.resid_post/mean")[7]) != 0);
    assert_true(isnan(table(&r, "blocks.1.resid_post/mean")[8]) == 0);
    assert_true(isfinite(table(&r, "blocks.1.resid_post/max")[7]) != 0);
}

/* ---- steer ----------------------------------------------------------------------------------- */

static void steer(const char *options, float out[ROWS][WIDTH])
{
    char typed[512];
    sonde_probe_set set = {0};
    snprintf(typed, sizeof typed, "steer:points=blocks.1.resid_post,%s", options);
    if (!strstr(options, "mode=scale"))
        snprintf(typed + strlen(typed), sizeof typed - strlen(typed), ",vector=%s", vector);
    open_one(typed, &set);
    memcpy(out, rows, sizeof rows);
    show(&set.instances[0], NULL, out[0], ROWS);
    sonde_probe_set_reset(&set);
}

static void test_steer_without_effect_leaves_every_bit(void **state)
{
    (void)state;
    static const char *const nothing[] = {"strength=0", "mode=project,strength=0",
                                          "mode=scale,strength=1"};
    float out[ROWS][WIDTH];
    for (size_t i = 0; i < SONDE_COUNT(nothing); i++) {
        steer(nothing[i], out);
        assert_memory_equal(out, rows, sizeof rows);
    }
}

static void test_steer_modes(void **state)
{
    (void)state;
    float add[ROWS][WIDTH], replace[ROWS][WIDTH], project[ROWS][WIDTH], scale[ROWS][WIDTH];
    steer("strength=0.5", add);
    steer("strength=2,mode=replace", replace);
    steer("mode=project", project);
    steer("mode=scale,strength=0", scale);
    for (int r = 0; r < ROWS; r++) {
        double along = 0, size = 0;
        for (int c = 0; c < WIDTH; c++) {
            assert_true(add[r][c] == rows[r][c] + 0.5f * steering[c]);
            assert_true(replace[r][c] == 2 * steering[c]);
            assert_true(scale[r][c] == 0);
            along += (double)project[r][c] * (double)steering[c];
            size += fabs((double)rows[r][c] * (double)steering[c]);
        }
        /* Each element was rounded once: 2^-24 of what was added up. */
        assert_true(fabs(along) <= 0x1p-23 * size);
    }
}

static void refuse(const char *typed, const char *message)
{
    sonde_probe_set set = {0};
    sonde_error err = {0};
    sonde_probe_set_spec spec = {.model = model, .probes = &typed, .n_probes = 1};
    if (sonde_probe_set_open(&spec, &set, &err) != SONDE_PROBE) fail_msg("%s", err.message);
    if (!strstr(err.message, message)) fail_msg("no '%s' in: %s", message, err.message);
}

static void test_steer_refuses_what_does_not_fit(void **state)
{
    (void)state;
    char typed[512];
    snprintf(typed, sizeof typed, "steer:points=blocks.0.attn.q[0],vector=%s", vector);
    refuse(typed, "it has 48 elements, a row of blocks.0.attn.q has 12");
    snprintf(typed, sizeof typed, "steer:points=blocks.0.attn.pattern,vector=%s", vector);
    refuse(typed, "only mode=scale can change them");
    float bad[WIDTH] = {NAN};
    int64_t dims[1] = {WIDTH};
    npy_write(vector, "<f4", 1, dims, bad, sizeof bad);
    snprintf(typed, sizeof typed, "steer:vector=%s", vector);
    refuse(typed, "it holds values that are not finite");
    memset(bad, 0, sizeof bad);
    npy_write(vector, "<f4", 1, dims, bad, sizeof bad);
    snprintf(typed, sizeof typed, "steer:mode=project,vector=%s", vector);
    refuse(typed, "it is zero and has no direction");
    npy_write(vector, "<f4", 1, dims, steering, sizeof steering);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments_are_the_definition),
        cmocka_unit_test(test_moments_of_nothing_and_of_nan),
        cmocka_unit_test(test_steer_without_effect_leaves_every_bit),
        cmocka_unit_test(test_steer_modes),
        cmocka_unit_test(test_steer_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
