/*
 * test_family_configs.c - what families make of configurations as published: sparse ones, nulls that
 * are not absence, older spellings. Only recipes are made; there are no weights.
 */
#include "core/core.h"
#include "run/model_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER "build/goldens/family_configs"
#define HEADED "build/family_configs_head"
#define SIZES                                                                                      \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4," \
    "\"num_key_value_heads\":2,\"vocab_size\":50,\"max_position_embeddings\":160"

static int warnings;

static void hear(void *context, sonde_log_level level, const char *line)
{
    (void)context;
    (void)level;
    print_message("%s\n", line);
    warnings++;
}

static sonde_model *open_config(const char *json, sonde_error *err)
{
    assert_int_equal(system("mkdir -p " FOLDER), 0);
    FILE *f = fopen(FOLDER "/config.json", "w");
    assert_non_null(f);
    fputs(json, f);
    assert_int_equal(fclose(f), 0);
    sonde_model *model = NULL;
    sonde_model_options options = {.shape_only = true};
    warnings = 0;
    sonde_log_set(hear, NULL, SONDE_LOG_WARN);
    sonde_model_open(FOLDER, &options, &model, err);
    sonde_log_set(NULL, NULL, SONDE_LOG_WARN);
    return model;
}

static sonde_model *must_open(const char *json)
{
    sonde_error err = {0};
    sonde_model *model = open_config(json, &err);
    if (!model) fail_msg("%s", err.message);
    assert_int_equal(warnings, 0);
    return model;
}

static const sonde_attend_spec *attend_of(const sonde_model *model, int64_t layer)
{
    for (int64_t i = 0; i < model->recipe->n_steps; i++) {
        const sonde_step *s = &model->recipe->steps[i];
        if (s->kind == SONDE_STEP_ATTEND && s->layer == layer) return &s->u.attend;
    }
    fail_msg("no attention in block %d", (int)layer);
    return NULL;
}

static int64_t window_of(const sonde_model *model, int64_t layer)
{
    const sonde_attend_spec *a = attend_of(model, layer);
    return a->mask == SONDE_MASK_SLIDING ? a->window : 0;
}

static void check_window(const char *json, int64_t expected)
{
    sonde_model *model = must_open(json);
    assert_int_equal(window_of(model, 0), expected);
    sonde_model_close(&model);
}

static void check_refused(const char *json, const char *part)
{
    sonde_error err = {0};
    sonde_model *model = open_config(json, &err);
    assert_null(model);
    assert_int_equal(err.status, SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, part));
}

static void test_null_is_told_from_absent(void **state)
{
    (void)state;
    check_window("{\"model_type\":\"mistral\"," SIZES "}", 4096);
    check_window("{\"model_type\":\"mistral\",\"sliding_window\":null," SIZES "}", 0);
    check_window("{\"model_type\":\"starcoder2\"," SIZES "}", 0);
    check_window("{\"model_type\":\"starcoder2\",\"sliding_window\":9," SIZES "}", 9);
    check_window("{\"model_type\":\"gemma2\"," SIZES "}", 4096);
#define SLIDING "\"use_sliding_window\":true,\"max_window_layers\":0,"
    check_window("{\"model_type\":\"qwen2\"," SLIDING SIZES "}", 4096);
    check_window("{\"model_type\":\"qwen2\",\"sliding_window\":null," SLIDING SIZES "}", 0);
    check_window("{\"model_type\":\"qwen3\",\"sliding_window\":null," SLIDING SIZES "}", 0);
    check_window("{\"model_type\":\"mixtral\",\"sliding_window\":null," SIZES "}", 0);
    check_refused("{\"model_type\":\"gemma2\",\"sliding_window\":null," SIZES "}", "sliding_window");
    check_refused("{\"model_type\":\"qwen3\",\"sliding_window\":null,\"layer_types\":["
                  "\"sliding_attention\"]," SIZES "}", "sliding_window");
    sonde_model *model = must_open("{\"model_type\":\"gemma2\"," SIZES "}");
    assert_true(attend_of(model, 0)->softcap > 49.0);
    sonde_model_close(&model);
    model = must_open("{\"model_type\":\"gemma2\",\"attn_logit_softcapping\":null," SIZES "}");
    assert_true(attend_of(model, 0)->softcap < 1.0);
    sonde_model_close(&model);
}

/* gpt2_layer_scale has an output matrix of its own; without the key its class ties it to the embedding. */
static void test_another_head_is_told(void **state)
{
    (void)state;
    static const char *const golden = "tests/goldens/families/gpt2_layer_scale";
    char command[512];
    snprintf(command, sizeof command, "rm -rf %s && mkdir -p %s && cp %s/model.safetensors %s && "
             "sed '/tie_word_embeddings/d' %s/config.json > %s/config.json", HEADED, HEADED, golden,
             HEADED, golden, HEADED);
    assert_int_equal(system(command), 0);
    const char *folders[2] = {golden, HEADED};
    for (int i = 0; i < 2; i++) {
        sonde_model *model = NULL;
        sonde_error err = {0};
        sonde_model_options options = {.threads = 1};
        warnings = 0;
        sonde_log_set(hear, NULL, SONDE_LOG_WARN);
        sonde_status status = sonde_model_open(folders[i], &options, &model, &err);
        sonde_log_set(NULL, NULL, SONDE_LOG_WARN);
        if (status != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(warnings, i);
        sonde_model_close(&model);
    }
}

static void test_sparse_wrapper_has_the_defaults_of_its_class(void **state)
{
    (void)state;
    sonde_model *model = must_open(
        "{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"mm_tokens_per_image\":256,"
        "\"image_token_index\":262144,\"vision_config\":{\"hidden_size\":1152},\"text_config\":{"
        "\"model_type\":\"gemma3_text\",\"hidden_size\":2560,\"intermediate_size\":10240,"
        "\"num_hidden_layers\":7,\"sliding_window\":1024,"
        "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"}}}");
    const sonde_dims *d = &model->recipe->dims;
    assert_int_equal(d->n_heads, 8);
    assert_int_equal(d->n_kv_heads, 4);
    assert_int_equal(d->head_dim, 256);
    assert_int_equal(d->vocab, 262208);
    assert_int_equal(window_of(model, 4), 1024);
    assert_int_equal(window_of(model, 5), 0);
    const sonde_rope_spec *full = &model->recipe->ropes[0], *local = &model->recipe->ropes[1];
    assert_int_equal(full->type, SONDE_ROPE_LINEAR);
    assert_int_equal((int64_t)full->theta, 1000000);
    assert_int_equal(local->type, SONDE_ROPE_DEFAULT);
    assert_int_equal((int64_t)local->theta, 10000);
    assert_int_equal(model->n_eos, 2);
    sonde_model_close(&model);
}

static void test_longrope_under_its_older_names(void **state)
{
    static const char *const names[] = {"su", "yarn", "longrope"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        char json[1024];
        snprintf(json, sizeof json,
                 "{\"model_type\":\"phi3\",\"original_max_position_embeddings\":40,"
                 "\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"type\":\"%s\","
                 "\"short_factor\":[1.0,1.5],\"long_factor\":[1.0,4.0]}," SIZES "}", names[i]);
        sonde_model *model = must_open(json);
        const sonde_rope_spec *rope = &model->recipe->ropes[0];
        float near[2], far[2];
        assert_int_equal(rope->type, SONDE_ROPE_LONGROPE);
        assert_int_equal(rope->rotary_dims, 4);
        sonde_rope_frequencies(rope, 40, NULL, near);
        sonde_rope_frequencies(rope, 41, NULL, far);
        assert_true(near[1] > 2.6f * far[1] && near[1] < 2.7f * far[1]);
        /* sqrt(1 + ln 4 / ln 40) */
        assert_true(rope->attention_scaling > 1.172946 && rope->attention_scaling < 1.172947);
        sonde_model_close(&model);
    }
}

static void test_longrope_needs_lists_of_the_right_length(void **state)
{
    sonde_error err = {0};
    (void)state;
    sonde_model *model =
        open_config("{\"model_type\":\"phi3\",\"rope_scaling\":{\"type\":\"longrope\","
                    "\"short_factor\":[1.0],\"long_factor\":[1.0,4.0]}," SIZES "}", &err);
    assert_null(model);
    assert_int_equal(err.status, SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, "rope_parameters.short_factor of 1 numbers"));
}

static void test_first_gemma_always_has_tanh_gelu(void **state)
{
    (void)state;
    sonde_model *model = must_open("{\"model_type\":\"gemma\",\"hidden_act\":\"gelu\","
                                   "\"hidden_activation\":null," SIZES "}");
    int found = 0;
    for (int64_t i = 0; i < model->recipe->n_steps; i++) {
        const sonde_step *s = &model->recipe->steps[i];
        if (s->kind == SONDE_STEP_MAP && s->in[1] != SONDE_NO_BUF && s->u.map.act != SONDE_ACT_SILU) {
            assert_int_equal(s->u.map.act, SONDE_ACT_GELU_TANH);
            found++;
        }
    }
    assert_int_equal(found, 4);
    sonde_model_close(&model);
}

static void test_layers_without_rope_and_layers_that_slide(void **state)
{
    (void)state;
    sonde_model *model = must_open("{\"model_type\":\"smollm3\",\"use_sliding_window\":true,"
                                   "\"sliding_window\":8," SIZES "}");
    assert_int_equal(window_of(model, 2), 0);
    assert_int_equal(window_of(model, 3), 8); /* the fourth has no rope */
    sonde_model_close(&model);
    model = must_open("{\"model_type\":\"olmo3\",\"rope_theta\":500000.0,\"rope_scaling\":{"
                      "\"rope_type\":\"yarn\",\"factor\":8.0}," SIZES "}");
    assert_int_equal(window_of(model, 2), 4096);
    assert_int_equal(window_of(model, 3), 0);
    assert_int_equal(model->recipe->ropes[0].type, SONDE_ROPE_YARN);
    assert_int_equal(model->recipe->ropes[1].type, SONDE_ROPE_DEFAULT);
    assert_int_equal((int64_t)model->recipe->ropes[1].theta, 500000);
    sonde_model_close(&model);
}

/* Only a dictionary of rope parameters, even an empty one, replaces the class's yarn. */
static void test_gpt_oss_without_rope_scaling_has_the_yarn_of_its_class(void **state)
{
    static const struct {
        const char *keys;
        sonde_rope_type type;
        int64_t theta;
    } cases[] = {
        {"\"use_cache\":true", SONDE_ROPE_YARN, 150000},
        {"\"rope_theta\":5000.0", SONDE_ROPE_YARN, 5000},
        {"\"rope_theta\":5000.0,\"rope_scaling\":null", SONDE_ROPE_YARN, 5000},
        {"\"rope_parameters\":null", SONDE_ROPE_YARN, 150000},
        {"\"rope_theta\":5000.0,\"rope_parameters\":{}", SONDE_ROPE_DEFAULT, 5000},
        {"\"rope_parameters\":{\"rope_theta\":5000.0}", SONDE_ROPE_DEFAULT, 5000},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char json[1024];
        snprintf(json, sizeof json,
                 "{\"model_type\":\"gpt_oss\",\"num_local_experts\":4,\"num_experts_per_tok\":2,"
                 "\"head_dim\":16,%s," SIZES "}", cases[i].keys);
        sonde_model *model = must_open(json);
        const sonde_rope_spec *rope = &model->recipe->ropes[0];
        assert_int_equal(rope->type, cases[i].type);
        assert_int_equal((int64_t)rope->theta, cases[i].theta);
        bool yarn = rope->type == SONDE_ROPE_YARN;
        assert_int_equal(rope->original_max_positions, yarn ? 4096 : 160);
        assert_int_equal((int64_t)rope->factor, yarn ? 32 : 1);
        sonde_model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_is_told_from_absent),
        cmocka_unit_test(test_another_head_is_told),
        cmocka_unit_test(test_sparse_wrapper_has_the_defaults_of_its_class),
        cmocka_unit_test(test_longrope_under_its_older_names),
        cmocka_unit_test(test_longrope_needs_lists_of_the_right_length),
        cmocka_unit_test(test_first_gemma_always_has_tanh_gelu),
        cmocka_unit_test(test_layers_without_rope_and_layers_that_slide),
        cmocka_unit_test(test_gpt_oss_without_rope_scaling_has_the_yarn_of_its_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
