/*
 * test_gguf_models.c - the shared GGUF files of llama.cpp's own converter and quantiser against what
 * Hugging Face computes from their dequantised weights: embed, every resid_post, logits.
 *
 * Bound: max|a - b| / rms(b) below 2e-5. The files state no noise floor; the double-precision oracle
 * is up to 7.3e-6 away from them, and ours may add as much again.
 */
#include "run/run.h"
#include "support/family_check.h"
#include "support/golden.h"

#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BOUND 2e-5

typedef struct wanted {
    const sonde_model *model;
    float **rows; /* by point: [n_tokens, width], NULL: not compared */
    int64_t n_tokens;
} wanted;

static sonde_status collect(void *context, const sonde_tap_view *view, sonde_error *err)
{
    wanted *w = context;
    (void)err;
    if (!w->rows[view->point]) return SONDE_OK;
    assert_int_equal(view->n_rows, w->n_tokens);
    for (int64_t r = 0; r < view->n_rows; r++)
        memcpy(w->rows[view->point] + r * view->width, view->data + r * view->stride,
               (size_t)view->width * sizeof(float));
    return SONDE_OK;
}

/* A dataset of the file's group as floats or ints; given to the caller. */
static void *read_dataset(hid_t file, const char *group, const char *name, hid_t type, size_t *count)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", group, name);
    hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    assert_true(dataset >= 0);
    hid_t space = H5Dget_space(dataset);
    *count = (size_t)H5Sget_simple_extent_npoints(space);
    void *data = sonde_alloc(*count, 4);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    H5Dclose(dataset);
    return data;
}

static int compare(const wanted *w, const char *file, const char *point, const float *want)
{
    int64_t at = sonde_model_find_point(w->model, point);
    assert_true(at >= 0);
    int64_t n = w->n_tokens * sonde_model_point(w->model, at)->width;
    double error = relative_error(w->rows[at], want, n);
    if (error <= BOUND) return 0;
    print_error("%s %s: error %.3g above %.3g\n", file, point, error, BOUND);
    return 1;
}

static int compare_all(const wanted *w, hid_t h5, const char *file)
{
    char point[64];
    size_t n;
    int bad = 0;
    sonde_model_info info;
    sonde_model_info_get(w->model, &info);
    float *embed = read_dataset(h5, file, "embed", H5T_NATIVE_FLOAT, &n);
    bool learned = sonde_model_find_point(w->model, "pos_embed") >= 0;
    bad += compare(w, file, learned ? "blocks.0.resid_pre" : "embed", embed);
    float *resid = read_dataset(h5, file, "resid_post", H5T_NATIVE_FLOAT, &n);
    assert_int_equal(n, info.n_layers * w->n_tokens * info.hidden);
    for (int64_t i = 0; i < info.n_layers; i++) {
        snprintf(point, sizeof point, "blocks.%lld.resid_post", (long long)i);
        bad += compare(w, file, point, resid + i * w->n_tokens * info.hidden);
    }
    float *logits = read_dataset(h5, file, "logits", H5T_NATIVE_FLOAT, &n);
    bad += compare(w, file, "logits", logits);
    sonde_free(embed);
    sonde_free(resid);
    sonde_free(logits);
    return bad;
}

static void run_tokens(const sonde_model *model, const uint32_t *tokens, wanted *w)
{
    sonde_error err = {0};
    sonde_plan *plan = NULL;
    sonde_run *run = NULL;
    sonde_sequence *s = NULL;
    int64_t n_points = sonde_model_point_count(model);
    uint8_t *wants = sonde_alloc((size_t)n_points, 1);
    for (int64_t i = 0; i < n_points; i++) wants[i] = w->rows[i] ? SONDE_WANT_READ : 0;
    sonde_plan_options options = {.wants = wants, .want_logits = true, .batch_rows = 64,
                                  .max_sequences = 1, .max_positions = w->n_tokens};
    sonde_run_options run_options = {.threads = 1, .tap = collect, .tap_context = w};
    sonde_batch_item item = {.tokens = tokens, .count = w->n_tokens, .want_logits = true};
    sonde_status status = sonde_plan_create(model, &options, &plan, &err);
    if (status == SONDE_OK) status = sonde_run_create(plan, &run_options, &run, &err);
    if (status == SONDE_OK)
        status = sonde_sequence_create(run, w->n_tokens, w->n_tokens, NULL, &s, &err);
    item.sequence = s;
    if (status == SONDE_OK) status = sonde_run_step(run, &item, 1, &err);
    if (status != SONDE_OK) fail_msg("%s", err.message);
    sonde_sequence_destroy(&s);
    sonde_run_destroy(&run);
    sonde_plan_destroy(&plan);
    sonde_free(wants);
}

static void want_points(wanted *w)
{
    int64_t n = sonde_model_point_count(w->model);
    w->rows = sonde_alloc((size_t)n, sizeof *w->rows);
    for (int64_t i = 0; i < n; i++) {
        const char *name = sonde_model_point(w->model, i)->name;
        bool wants = strcmp(name, "embed") == 0 || strcmp(name, "logits") == 0 ||
                     strcmp(name, "blocks.0.resid_pre") == 0 || strstr(name, "resid_post");
        size_t values = (size_t)(w->n_tokens * sonde_model_point(w->model, i)->width);
        if (wants) w->rows[i] = sonde_alloc(values, sizeof(float));
    }
}

static int check_file(hid_t h5, const char *folder, const char *file)
{
    char path[600];
    size_t n;
    sonde_error err = {0};
    sonde_model *model = NULL;
    sonde_model_options options = {.backend = "cpu", .threads = 1};
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (!family_is_built(path)) return 0;
    if (sonde_model_open(path, &options, &model, &err) != SONDE_OK) fail_msg("%s", err.message);
    int32_t *tokens = read_dataset(h5, file, "tokens", H5T_NATIVE_INT32, &n);
    wanted w = {.model = model, .n_tokens = (int64_t)n};
    want_points(&w);
    run_tokens(model, (const uint32_t *)tokens, &w);
    int bad = compare_all(&w, h5, file);
    for (int64_t i = 0; i < sonde_model_point_count(model); i++) sonde_free(w.rows[i]);
    sonde_free(w.rows);
    sonde_free(tokens);
    sonde_model_close(&model);
    return bad;
}

static void test_models_of_llama_cpp(void **state)
{
    static const char *const files[] = {
        "gemma3-q8_0.gguf", "gpt2-f16.gguf", "gpt2-q8_0.gguf", "llama-bf16.gguf", "llama-f16.gguf",
        "llama-f32.gguf", "llama-q4_k_m.gguf", "llama-q8_0.gguf", "qwen2-f16.gguf",
        "qwen2-iq4_nl.gguf", "qwen2-q4_0.gguf", "qwen2-q5_1.gguf", "qwen2-q8_0.gguf"};
    char folder[512], path[600];
    int bad = 0;
    (void)state;
    if (!test_shared()) skip();
    snprintf(folder, sizeof folder, "%s/goldens/gguf/models", test_shared());
    snprintf(path, sizeof path, "%s/expect.h5", folder);
    hid_t h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(h5 >= 0);
    for (size_t i = 0; i < SONDE_COUNT(files); i++) bad += check_file(h5, folder, files[i]);
    H5Fclose(h5);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models_of_llama_cpp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
