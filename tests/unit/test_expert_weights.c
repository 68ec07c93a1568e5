/*
 * test_expert_weights.c - the weights of experts in every form that files store them in compute the
 * same bits: a tensor for each expert, stacked with gate above up, MXFP4 blocks with outputs first
 * against numbers with inputs first. What is missing or misshaped is named.
 */
#include "support/captured.h"
#include "support/checkpoint_file.h"
#include "support/linear_case.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SCRATCH "build/expert_weights"
#define GOLDEN "tests/goldens/families/qwen3_moe"

static void make_folder(const char *name, const char *config)
{
    char path[160];
    snprintf(path, sizeof path, "mkdir -p " SCRATCH "/%s", name);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, SCRATCH "/%s/config.json", name);
    if (config) write_file_text(path, config);
    else {
        snprintf(path, sizeof path, "cp " GOLDEN "/config.json " SCRATCH "/%s/", name);
        assert_int_equal(system(path), 0);
    }
}

static void clear(void)
{
    assert_int_equal(system("rm -rf " SCRATCH), 0);
}

static sonde_model *open_model(const char *folder, uint32_t off)
{
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.threads = 2, .off = off};
    if (sonde_model_open(folder, &options, &model, &err) != SONDE_OK) fail_msg("%s", err.message);
    return model;
}

/* Packed and left in the file, against the first folder's. */
static void check_same(const char *first, const char *second)
{
    static const run_case how = {.name = "as stored", .chunk = 23, .threads = 2};
    static const uint32_t switches[] = {0, SONDE_OFF_PACK};
    captured want, got;
    sonde_error err = {0};
    sonde_model *model = open_model(first, 0);
    if (captured_run(model, &how, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < SONDE_COUNT(switches); i++) {
        sonde_model *other = open_model(second, switches[i]);
        if (captured_run(other, &how, &got, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(captured_differences(model, &want, &got, second), 0);
        captured_reset(&got);
        sonde_model_close(&other);
    }
    captured_reset(&want);
    sonde_model_close(&model);
}

/* ---- stacked -------------------------------------------------------------------------------------------- */

static bool is_expert(const char *name)
{
    return strstr(name, ".experts.") != NULL;
}

/* Stored f32 tensors of the golden that are not of experts; `skip` is left out as well. */
static void copy_others(const sonde_weights *w, safetensors_file *f, const char *skip)
{
    for (int64_t i = 0; i < sonde_weights_count(w); i++) {
        const sonde_tensor *t = sonde_weights_at(w, i);
        if (is_expert(t->name) || strcmp(t->name, skip) == 0) continue;
        safetensors_add(f, t->name, "F32", t->shape, t->n_dims, t->data, t->bytes);
    }
}

static void copy_experts(const sonde_weights *w, safetensors_file *f, const char *skip)
{
    for (int64_t i = 0; i < sonde_weights_count(w); i++) {
        const sonde_tensor *t = sonde_weights_at(w, i);
        if (!is_expert(t->name) || strcmp(t->name, skip) == 0) continue;
        safetensors_add(f, t->name, "F32", t->shape, t->n_dims, t->data, t->bytes);
    }
}

/* One tensor of all experts of a layer, the kinds one below the other inside each. */
static void add_stack(const sonde_weights *w, safetensors_file *f, const char *name, int layer,
                      int64_t experts, const char *const *kinds, int64_t n_kinds)
{
    sonde_string data = {0};
    int64_t shape[3] = {experts, 0, 0};
    char text[128];
    for (int64_t e = 0; e < experts; e++)
        for (int64_t k = 0; k < n_kinds; k++) {
            snprintf(text, sizeof text, "model.layers.%d.mlp.experts.%d.%s.weight", layer, (int)e,
                     kinds[k]);
            const sonde_tensor *t = sonde_weights_find(w, text);
            assert_non_null(t);
            sonde_string_append(&data, t->data, t->bytes);
            shape[1] = n_kinds * t->shape[0];
            shape[2] = t->shape[1];
        }
    snprintf(text, sizeof text, "model.layers.%d.mlp.experts.%s", layer, name);
    assert_false(data.failed);
    safetensors_add(f, text, "F32", shape, 3, data.data, data.length);
    sonde_string_reset(&data);
}

static sonde_weights *open_golden(void)
{
    sonde_weights *w = NULL;
    sonde_error err = {0};
    if (sonde_weights_open(GOLDEN, &w, &err) != SONDE_OK) fail_msg("%s", err.message);
    return w;
}

static void add_stacks(const sonde_weights *w, safetensors_file *f, int64_t experts)
{
    static const char *const both[] = {"gate_proj", "up_proj"}, *const down[] = {"down_proj"};
    add_stack(w, f, "gate_up_proj", 1, experts, both, 2);
    add_stack(w, f, "down_proj", 1, experts, down, 1);
}

static void test_stacked_experts_are_single_ones(void **state)
{
    (void)state;
    safetensors_file file = {0};
    sonde_weights *w = open_golden();
    make_folder("stacked", NULL);
    copy_others(w, &file, "");
    add_stacks(w, &file, 5);
    safetensors_write(&file, SCRATCH "/stacked/model.safetensors");
    sonde_weights_close(&w);
    check_same(GOLDEN, SCRATCH "/stacked");
    clear();
}

/* ---- blocks --------------------------------------------------------------------------------------------- */

enum { HIDDEN = 32, FFN = 64, EXPERTS = 3, LAYERS = 2 };

static const char oss_config[] =
    "{\"model_type\":\"gpt_oss\",\"vocab_size\":61,\"hidden_size\":32,\"intermediate_size\":64,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"
    "\"num_local_experts\":3,\"num_experts_per_tok\":2,\"max_position_embeddings\":96,"
    "\"sliding_window\":9,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"beta_fast\":4.0,"
    "\"beta_slow\":1.0,\"original_max_position_embeddings\":24,\"truncate\":false},"
    "\"rope_theta\":1000.0,\"tie_word_embeddings\":false%s}";

typedef struct twins {
    test_random random;
    safetensors_file blocks, numbers;
} twins;

/* The same tensor in both files. */
static void add_both(twins *t, const char *name, int64_t rows, int64_t cols, float scale, float shift)
{
    float values[64 * HIDDEN * 2];
    const int64_t shape[] = {rows, cols};
    int64_t n = rows * SONDE_MAX(cols, 1);
    assert_true(n <= (int64_t)SONDE_COUNT(values));
    for (int64_t i = 0; i < n; i++) values[i] = shift + scale * test_random_normal(&t->random);
    safetensors_file *files[] = {&t->blocks, &t->numbers};
    for (int i = 0; i < 2; i++)
        safetensors_add(files[i], name, "F32", shape, cols > 0 ? 2 : 1, values,
                        (size_t)n * sizeof *values);
}

static const float fp4[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};

/* Blocks [experts, rows, cols / 32, 16] with their scales, and the numbers as [experts, cols, rows]. */
static void add_blocks(twins *t, const char *name, int64_t rows, int64_t cols)
{
    static uint8_t blocks[EXPERTS * 2 * FFN * FFN / 2], scales[EXPERTS * 2 * FFN * FFN / 32];
    static float numbers[EXPERTS * 2 * FFN * FFN];
    char part[160];
    for (int64_t b = 0; b < EXPERTS * rows * cols / 32; b++) {
        scales[b] = (uint8_t)(121 + test_random_u64(&t->random) % 4);
        int64_t expert = b * 32 / (rows * cols), row = b * 32 / cols % rows, first = b * 32 % cols;
        for (int64_t i = 0; i < 16; i++) {
            uint8_t pair = (uint8_t)test_random_u64(&t->random);
            blocks[16 * b + i] = pair;
            float scale = 1.0f;
            for (int s = 127; s > scales[b]; s--) scale = scale * 0.5f;
            float *column = numbers + (expert * cols + first + 2 * i) * rows + row;
            column[0] = fp4[pair & 15] * scale;
            column[rows] = fp4[pair >> 4] * scale;
        }
    }
    const int64_t stored[] = {EXPERTS, rows, cols / 32, 16}, turned[] = {EXPERTS, cols, rows};
    size_t n = (size_t)(EXPERTS * rows * cols);
    snprintf(part, sizeof part, "%s_blocks", name);
    safetensors_add(&t->blocks, part, "U8", stored, 4, blocks, n / 2);
    snprintf(part, sizeof part, "%s_scales", name);
    safetensors_add(&t->blocks, part, "U8", stored, 3, scales, n / 32);
    safetensors_add(&t->numbers, name, "F32", turned, 3, numbers, n * sizeof *numbers);
}

static void add_layer(twins *t, int layer)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
        float scale, shift;
    } plain[] = {
        {"input_layernorm.weight", HIDDEN, 0, 0.1f, 1.0f},
        {"post_attention_layernorm.weight", HIDDEN, 0, 0.1f, 1.0f},
        {"self_attn.q_proj.weight", 16, HIDDEN, 0.3f, 0}, {"self_attn.q_proj.bias", 16, 0, 0.2f, 0},
        {"self_attn.k_proj.weight", 8, HIDDEN, 0.3f, 0}, {"self_attn.k_proj.bias", 8, 0, 0.2f, 0},
        {"self_attn.v_proj.weight", 8, HIDDEN, 0.3f, 0}, {"self_attn.v_proj.bias", 8, 0, 0.2f, 0},
        {"self_attn.o_proj.weight", HIDDEN, 16, 0.3f, 0}, {"self_attn.o_proj.bias", HIDDEN, 0, 0.2f, 0},
        {"self_attn.sinks", 2, 0, 0.5f, 0}, {"mlp.router.weight", EXPERTS, HIDDEN, 0.4f, 0},
        {"mlp.router.bias", EXPERTS, 0, 0.2f, 0},
        {"mlp.experts.gate_up_proj_bias", EXPERTS, 2 * FFN, 0.3f, 0},
        {"mlp.experts.down_proj_bias", EXPERTS, HIDDEN, 0.3f, 0},
    };
    char name[128];
    for (size_t i = 0; i < SONDE_COUNT(plain); i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, plain[i].name);
        add_both(t, name, plain[i].rows, plain[i].cols, plain[i].scale, plain[i].shift);
    }
    snprintf(name, sizeof name, "model.layers.%d.mlp.experts.gate_up_proj", layer);
    add_blocks(t, name, 2 * FFN, HIDDEN);
    snprintf(name, sizeof name, "model.layers.%d.mlp.experts.down_proj", layer);
    add_blocks(t, name, HIDDEN, FFN);
}

static void test_blocks_of_experts_are_their_numbers(void **state)
{
    (void)state;
    twins t = {.random = {91}};
    char config[1024];
    snprintf(config, sizeof config, oss_config, "");
    make_folder("numbers", config);
    snprintf(config, sizeof config, oss_config, ",\"quantization_config\":{\"quant_method\":\"mxfp4\"}");
    make_folder("blocks", config);
    add_both(&t, "model.embed_tokens.weight", 61, HIDDEN, 0.5f, 0);
    add_both(&t, "lm_head.weight", 61, HIDDEN, 0.5f, 0);
    add_both(&t, "model.norm.weight", HIDDEN, 0, 0.1f, 1.0f);
    for (int layer = 0; layer < LAYERS; layer++) add_layer(&t, layer);
    safetensors_write(&t.numbers, SCRATCH "/numbers/model.safetensors");
    safetensors_write(&t.blocks, SCRATCH "/blocks/model.safetensors");
    check_same(SCRATCH "/numbers", SCRATCH "/blocks");
    clear();
}

/* ---- refusals ------------------------------------------------------------------------------------------- */

static void expect_refused(safetensors_file *file, const char *message)
{
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.threads = 1};
    make_folder("wrong", NULL);
    safetensors_write(file, SCRATCH "/wrong/model.safetensors");
    assert_int_equal(sonde_model_open(SCRATCH "/wrong", &options, &model, &err), SONDE_BAD_MODEL);
    if (!strstr(err.message, message)) fail_msg("%s\ndoes not say: %s", err.message, message);
    clear();
}

static void test_wrong_experts_are_named(void **state)
{
    (void)state;
    static const char missing[] = "model.layers.1.mlp.experts.3.up_proj.weight";
    sonde_weights *w = open_golden();
    safetensors_file one = {0}, few = {0}, many = {0}, none = {0};
    copy_others(w, &one, "");
    copy_experts(w, &one, missing);
    expect_refused(&one, "tensor model.layers.1.mlp.experts.3.up_proj.weight is missing");
    copy_others(w, &few, "");
    add_stacks(w, &few, 4);
    expect_refused(&few, "gate_up_proj: expected [5, 24, 28], file has [4, 24, 28]");
    copy_others(w, &many, "");
    copy_experts(w, &many, "");
    const sonde_tensor *t = sonde_weights_find(w, missing);
    safetensors_add(&many, "model.layers.1.mlp.experts.5.up_proj.weight", "F32", t->shape, 2, t->data,
                    t->bytes);
    expect_refused(&many, "model.layers.1.mlp.experts.5.up_proj.weight");
    copy_others(w, &none, "model.layers.1.mlp.gate.weight");
    copy_experts(w, &none, "");
    expect_refused(&none, "tensor model.layers.1.mlp.gate.weight is missing");
    sonde_weights_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stacked_experts_are_single_ones),
        cmocka_unit_test(test_blocks_of_experts_are_their_numbers),
        cmocka_unit_test(test_wrong_experts_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
