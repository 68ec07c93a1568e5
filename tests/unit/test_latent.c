/*
 * test_latent.c - latent attention: what the absorbed form computes is what the heads' own keys and
 * values give, and the matrices of the heads come to the same bits from every file: kv_b whole, split
 * and transposed as GGUF has it, quantised, with scales apart; packed and left in the file.
 */
#include "support/captured.h"
#include "support/checkpoint_file.h"
#include "support/linear_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    HIDDEN = 40, HEADS = 3, Q_RANK = 24, RANK = 32, NOPE = 32, ROPE = 8, VALUE = 10, FFN = 36,
    VOCAB = 211, LAYERS = 2, HEAD = NOPE + ROPE, BOTH = NOPE + VALUE
};

static const char config[] =
    "{\"model_type\":\"deepseek_v3\",\"vocab_size\":211,\"hidden_size\":40,\"intermediate_size\":36,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":3,\"q_lora_rank\":24,\"kv_lora_rank\":32,"
    "\"qk_nope_head_dim\":32,\"qk_rope_head_dim\":8,\"v_head_dim\":10,\"first_k_dense_replace\":2,"
    "\"n_routed_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_size\":16,"
    "\"n_shared_experts\":1,\"routed_scaling_factor\":2.5,\"n_group\":1,\"topk_group\":1,"
    "\"max_position_embeddings\":96,\"rms_norm_eps\":0.001,\"rope_theta\":100.0,"
    "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"beta_fast\":2,\"beta_slow\":1,\"mscale\":1.0,"
    "\"mscale_all_dim\":1.0,\"original_max_position_embeddings\":24}%s}";

#define SCORE_SCALE (1.0 / sqrt(HEAD) * pow(0.1 * log(4.0) + 1.0, 2.0))

/* ---- checkpoints ---------------------------------------------------------------------------------------- */

typedef enum kv_form {
    KV_SPLIT,  /* GGUF: k_b [N, R, nope] and v_b [N, v, R], Q8_0 */
    KV_WHOLE,  /* GGUF before that: kv_b, Q8_0 */
    KV_SCALED, /* safetensors: kv_b in fp8, scales of blocks that heads do not begin with */
} kv_form;

/* The same model twice: `plain` in fp32, and in the form under test. */
typedef struct twins {
    kv_form form;
    test_random random;
    safetensors_file plain, scaled;
    gguf_file gguf;
} twins;

static void add(twins *t, const char *gguf, const char *folder, int layer, int64_t rows, int64_t cols)
{
    static float values[VOCAB * HIDDEN];
    char name[2][96];
    int64_t n = rows * SONDE_MAX(cols, 1), shape[] = {rows, cols};
    char of_gguf[16] = "", of_folder[32] = "";
    if (layer >= 0) snprintf(of_gguf, sizeof of_gguf, "blk.%d.", layer);
    if (layer >= 0) snprintf(of_folder, sizeof of_folder, "model.layers.%d.", layer);
    snprintf(name[0], sizeof name[0], "%s%s", of_gguf, gguf);
    snprintf(name[1], sizeof name[1], "%s%s", of_folder, folder);
    for (int64_t i = 0; i < n; i++) {
        float x = test_random_normal(&t->random);
        values[i] = cols > 0 ? 1.5f * x / sqrtf((float)cols) : 1.0f + 0.2f * x;
    }
    size_t bytes = (size_t)n * sizeof *values;
    int32_t n_dims = cols > 0 ? 2 : 1;
    safetensors_add(&t->plain, name[1], "F32", shape, n_dims, values, bytes);
    if (t->form == KV_SCALED) safetensors_add(&t->scaled, name[1], "F32", shape, n_dims, values, bytes);
    else gguf_add_tensor(&t->gguf, name[0], 0, shape, n_dims, values, bytes);
}

/* Blocks of Q8_0 and their values. */
static void random_blocks(twins *t, uint8_t *raw, float *values, int64_t n)
{
    for (int64_t b = 0; b < n / 32; b++, raw += 34) {
        uint16_t d = sonde_f32_to_f16(0.002f + 0.001f * fabsf(test_random_normal(&t->random)));
        memcpy(raw, &d, sizeof d);
        for (int i = 2; i < 34; i++) raw[i] = (uint8_t)test_random_u64(&t->random);
        sonde_decode_f32(SONDE_DTYPE_Q8_0, raw, values + 32 * b, 32);
    }
}

/* kv [N, nope + v, R] from k [N, R, nope] and v [N, v, R]. */
static void put_together(const float *k, const float *v, float *kv)
{
    for (int64_t h = 0; h < HEADS; h++)
        for (int64_t i = 0; i < BOTH; i++)
            for (int64_t r = 0; r < RANK; r++)
                kv[(h * BOTH + i) * RANK + r] = i < NOPE ? k[(h * RANK + r) * NOPE + i]
                                                         : v[(h * VALUE + i - NOPE) * RANK + r];
}

static void add_split(twins *t, int layer, float *kv)
{
    static uint8_t raw[HEADS * RANK * NOPE / 32 * 34];
    static float k[HEADS * RANK * NOPE], v[HEADS * VALUE * RANK];
    const int64_t k_shape[] = {HEADS, RANK, NOPE}, v_shape[] = {HEADS, VALUE, RANK};
    char name[64];
    random_blocks(t, raw, k, HEADS * RANK * NOPE);
    snprintf(name, sizeof name, "blk.%d.attn_k_b.weight", layer);
    gguf_add_tensor(&t->gguf, name, 8, k_shape, 3, raw, HEADS * RANK * NOPE / 32 * 34);
    random_blocks(t, raw, v, HEADS * VALUE * RANK);
    snprintf(name, sizeof name, "blk.%d.attn_v_b.weight", layer);
    gguf_add_tensor(&t->gguf, name, 8, v_shape, 3, raw, HEADS * VALUE * RANK / 32 * 34);
    put_together(k, v, kv);
}

static void add_whole(twins *t, int layer, float *kv)
{
    static uint8_t raw[HEADS * BOTH * RANK / 32 * 34];
    const int64_t shape[] = {HEADS * BOTH, RANK};
    char name[64];
    random_blocks(t, raw, kv, HEADS * BOTH * RANK);
    snprintf(name, sizeof name, "blk.%d.attn_kv_b.weight", layer);
    gguf_add_tensor(&t->gguf, name, 8, shape, 2, raw, sizeof raw);
}

/* Blocks of 20 x 12: [126, 32] has 7 x 3 of them. */
static void add_scaled(twins *t, const char *name, float *kv)
{
    static uint8_t raw[HEADS * BOTH * RANK];
    const int64_t shape[] = {HEADS * BOTH, RANK}, blocks[] = {7, 3};
    float scales[21];
    char part[128];
    for (int i = 0; i < 21; i++) scales[i] = 0.002f + 0.001f * fabsf(test_random_normal(&t->random));
    for (int64_t i = 0; i < HEADS * BOTH * RANK; i++) {
        raw[i] = (uint8_t)(test_random_u64(&t->random) % 0x78 | (i % 3 ? 0x80 : 0));
        sonde_decode_f32(SONDE_DTYPE_F8_E4M3, raw + i, kv + i, 1);
        kv[i] *= scales[i / RANK / 20 * 3 + i % RANK / 12];
    }
    safetensors_add(&t->scaled, name, "F8_E4M3", shape, 2, raw, sizeof raw);
    snprintf(part, sizeof part, "%s_scale_inv", name);
    safetensors_add(&t->scaled, part, "F32", blocks, 2, scales, sizeof scales);
}

static void add_layer(twins *t, int layer)
{
    static float kv[HEADS * BOTH * RANK];
    const int64_t shape[] = {HEADS * BOTH, RANK};
    char name[96];
    add(t, "attn_norm.weight", "input_layernorm.weight", layer, HIDDEN, 0);
    add(t, "attn_q_a.weight", "self_attn.q_a_proj.weight", layer, Q_RANK, HIDDEN);
    add(t, "attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", layer, Q_RANK, 0);
    add(t, "attn_q_b.weight", "self_attn.q_b_proj.weight", layer, HEADS * HEAD, Q_RANK);
    add(t, "attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", layer, RANK + ROPE, HIDDEN);
    add(t, "attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", layer, RANK, 0);
    add(t, "attn_output.weight", "self_attn.o_proj.weight", layer, HIDDEN, HEADS * VALUE);
    add(t, "ffn_norm.weight", "post_attention_layernorm.weight", layer, HIDDEN, 0);
    add(t, "ffn_gate.weight", "mlp.gate_proj.weight", layer, FFN, HIDDEN);
    add(t, "ffn_up.weight", "mlp.up_proj.weight", layer, FFN, HIDDEN);
    add(t, "ffn_down.weight", "mlp.down_proj.weight", layer, HIDDEN, FFN);
    snprintf(name, sizeof name, "model.layers.%d.self_attn.kv_b_proj.weight", layer);
    if (t->form == KV_SPLIT) add_split(t, layer, kv);
    else if (t->form == KV_WHOLE) add_whole(t, layer, kv);
    else add_scaled(t, name, kv);
    safetensors_add(&t->plain, name, "F32", shape, 2, kv, sizeof kv);
}

static void describe_gguf(gguf_file *f, bool split)
{
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        {"block_count", LAYERS}, {"context_length", 96}, {"embedding_length", HIDDEN},
        {"feed_forward_length", FFN}, {"attention.head_count", HEADS},
        {"attention.q_lora_rank", Q_RANK}, {"attention.kv_lora_rank", RANK},
        {"rope.dimension_count", ROPE}, {"leading_dense_block_count", LAYERS}, {"expert_count", 4},
        {"expert_used_count", 2}, {"expert_feed_forward_length", 16}, {"expert_shared_count", 1},
        {"expert_group_count", 1}, {"expert_group_used_count", 1}, {"expert_gating_func", 2},
        {"rope.scaling.original_context_length", 24}};
    char key[64];
    gguf_add_text(f, "general.architecture", "deepseek2");
    gguf_add_text(f, "deepseek2.rope.scaling.type", "yarn");
    for (size_t i = 0; i < SONDE_COUNT(keys); i++) {
        snprintf(key, sizeof key, "deepseek2.%s", keys[i].key);
        gguf_add_u32(f, key, keys[i].value);
    }
    gguf_add_u32(f, "deepseek2.attention.head_count_kv", split ? 1 : HEADS);
    gguf_add_u32(f, "deepseek2.attention.key_length", split ? RANK + ROPE : HEAD);
    gguf_add_u32(f, "deepseek2.attention.value_length", split ? RANK : VALUE);
    if (split) gguf_add_u32(f, "deepseek2.attention.key_length_mla", HEAD);
    if (split) gguf_add_u32(f, "deepseek2.attention.value_length_mla", VALUE);
    gguf_add_f32(f, "deepseek2.attention.layer_norm_rms_epsilon", 0.001f);
    gguf_add_f32(f, "deepseek2.expert_weights_scale", 2.5f);
    gguf_add_f32(f, "deepseek2.rope.freq_base", 100.0f);
    gguf_add_f32(f, "deepseek2.rope.scaling.factor", 4.0f);
    gguf_add_f32(f, "deepseek2.rope.scaling.yarn_beta_fast", 2.0f);
    gguf_add_f32(f, "deepseek2.rope.scaling.yarn_beta_slow", 1.0f);
    gguf_add_f32(f, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
}

static void write_folder(const char *name, safetensors_file *f, const char *more)
{
    char path[96], text[1024];
    snprintf(path, sizeof path, "mkdir -p build/latent/%s", name);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "build/latent/%s/config.json", name);
    snprintf(text, sizeof text, config, more);
    write_file_text(path, text);
    snprintf(path, sizeof path, "build/latent/%s/model.safetensors", name);
    safetensors_write(f, path);
}

/* build/latent/plain and, by form, build/latent/scaled or build/latent/model.gguf; `more` names a
 * vector that no step reads, or is NULL. */
static void write_twins_with(kv_form form, const char *more)
{
    twins t = {.form = form, .random = {91}};
    if (form != KV_SCALED) describe_gguf(&t.gguf, form == KV_SPLIT);
    add(&t, "token_embd.weight", "model.embed_tokens.weight", -1, VOCAB, HIDDEN);
    add(&t, "output_norm.weight", "model.norm.weight", -1, HIDDEN, 0);
    add(&t, "output.weight", "lm_head.weight", -1, VOCAB, HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++) add_layer(&t, layer);
    if (more) add(&t, "", more, -1, HIDDEN, 0);
    write_folder("plain", &t.plain, "");
    if (form == KV_SCALED)
        write_folder("scaled", &t.scaled, ",\"quantization_config\":{\"quant_method\":\"fp8\","
                                          "\"weight_block_size\":[20,12]}");
    else
        gguf_write(&t.gguf, "build/latent/model.gguf");
}

static void write_twins(kv_form form)
{
    write_twins_with(form, NULL);
}

/* ---- tests ---------------------------------------------------------------------------------------------- */

static sonde_model *open_model(const char *path, const char *backend, uint32_t off)
{
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.backend = backend, .threads = 2, .off = off};
    if (sonde_model_open(path, &options, &model, &err) != SONDE_OK) fail_msg("%s", err.message);
    return model;
}

static void check_same_bits(kv_form form, const char *path)
{
    static const run_case how = {.name = "latent", .chunk = 23, .threads = 2};
    static const uint32_t switches[] = {0, SONDE_OFF_PACK};
    captured want, got;
    sonde_error err = {0};
    write_twins(form);
    sonde_model *model = open_model("build/latent/plain", "cpu", 0);
    if (captured_run(model, &how, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < SONDE_COUNT(switches); i++) {
        sonde_model *other = open_model(path, "cpu", switches[i]);
        if (captured_run(other, &how, &got, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(captured_differences(model, &want, &got, path), 0);
        captured_reset(&got);
        sonde_model_close(&other);
    }
    captured_reset(&want);
    sonde_model_close(&model);
    assert_int_equal(system("rm -rf build/latent"), 0);
}

static void test_heads_from_split_and_quantised_gguf(void **state)
{
    (void)state;
    check_same_bits(KV_SPLIT, "build/latent/model.gguf");
}

static void test_heads_from_older_gguf(void **state)
{
    (void)state;
    check_same_bits(KV_WHOLE, "build/latent/model.gguf");
}

static void test_heads_from_fp8_with_scales(void **state)
{
    (void)state;
    check_same_bits(KV_SCALED, "build/latent/scaled");
}

static const float *point(const sonde_model *model, const kept_sequence *s, int layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blocks.%d.%s", layer, name);
    int64_t at = sonde_model_find_point(model, full);
    assert_true(at >= 0 && s->points[at].count > 0);
    return s->points[at].data;
}

/* Scores and z of a row from the heads' own queries, keys and values, in double. */
static void check_row(const sonde_model *model, const kept_sequence *s, int layer, int64_t row)
{
    const float *q = point(model, s, layer, "attn.q_rot"), *k = point(model, s, layer, "attn.k_rot");
    const float *v = point(model, s, layer, "attn.v"), *z = point(model, s, layer, "attn.z");
    int64_t n = row + 1, at = HEADS * row * (row + 1) / 2;
    const float *scores = point(model, s, layer, "attn.scores") + at;
    const float *pattern = point(model, s, layer, "attn.pattern") + at;
    for (int64_t h = 0; h < HEADS; h++) {
        for (int64_t t = 0; t < n; t++) {
            double sum = 0.0;
            for (int64_t i = 0; i < HEAD; i++)
                sum += (double)q[(row * HEADS + h) * HEAD + i] * (double)k[(t * HEADS + h) * HEAD + i];
            assert_true(fabs(sum * SCORE_SCALE - (double)scores[h * n + t]) < 2e-5);
        }
        for (int64_t i = 0; i < VALUE; i++) {
            double sum = 0.0;
            for (int64_t t = 0; t < n; t++)
                sum += (double)pattern[h * n + t] * (double)v[(t * HEADS + h) * VALUE + i];
            assert_true(fabs(sum - (double)z[(row * HEADS + h) * VALUE + i]) < 2e-5);
        }
    }
}

/* Products of 32 and sums of a few keys of size one: two orders of them differ by some 1e-6. */
static void test_absorbed_attention_is_that_of_the_heads(void **state)
{
    (void)state;
    static const char *const backends[] = {"cpu", "blas", "oracle"};
    write_twins(KV_WHOLE);
    for (size_t b = 0; b < SONDE_COUNT(backends); b++) {
        run_case how = {.name = "latent", .chunk = 7};
        captured c;
        sonde_error err = {0};
        sonde_model *model = open_model("build/latent/plain", backends[b], 0);
        if (captured_run(model, &how, &c, &err) != SONDE_OK) fail_msg("%s", err.message);
        const kept_sequence *s = &c.sequences[1];
        for (int layer = 0; layer < LAYERS; layer++)
            for (int64_t row = 0; row < s->n_prompt; row++) check_row(model, s, layer, row);
        captured_reset(&c);
        sonde_model_close(&model);
    }
    assert_int_equal(system("rm -rf build/latent"), 0);
}

/* Every way of running gives the bits of one row at a time, at the scalar level, with nothing left
 * out or joined. */
static void test_ways_of_running_keep_the_bits(void **state)
{
    (void)state;
    static const run_case ways[] = {
        {.name = "as planned"},
        {.name = "chunks of 7, two sequences", .chunk = 7, .batch_sequences = 2},
        {.name = "two workers of two threads", .workers = 2, .threads = 2, .chunk = 11},
        {.name = "z alone", .only = "attn.z"},
        {.name = "keys of the heads alone", .only = "attn.k_rot"},
        {.name = "no alias", .off = SONDE_OFF_ALIAS},
    };
    run_case plainest = {.name = "plainest", .batch_sequences = 1, .batch_tokens = 1,
                         .off = SONDE_OFF_DROP | SONDE_OFF_FUSE | SONDE_OFF_NARROW | SONDE_OFF_ALIAS};
    sonde_model_options scalar_level = {.cpu_level = "scalar", .threads = 1};
    sonde_model *scalar = NULL, *model;
    captured want, got;
    sonde_error err = {0};
    write_twins(KV_WHOLE);
    assert_int_equal(sonde_model_open("build/latent/plain", &scalar_level, &scalar, &err), SONDE_OK);
    model = open_model("build/latent/plain", "cpu", 0);
    if (captured_run(scalar, &plainest, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < SONDE_COUNT(ways); i++) {
        if (captured_run(model, &ways[i], &got, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(captured_differences(model, &want, &got, ways[i].name), 0);
        captured_reset(&got);
    }
    captured_reset(&want);
    sonde_model_close(&scalar);
    sonde_model_close(&model);
    assert_int_equal(system("rm -rf build/latent"), 0);
}

static void test_latents_are_written_instead_of_keys(void **state)
{
    (void)state;
    static const char *const unread[] = {"attn.k", "attn.v", "attn.k_rot"};
    write_twins(KV_WHOLE);
    sonde_model *model = open_model("build/latent/plain", "cpu", 0);
    char name[64];
    for (size_t i = 0; i < SONDE_COUNT(unread); i++) {
        snprintf(name, sizeof name, "blocks.1.%s", unread[i]);
        const sonde_hook_point *p = sonde_model_point(model, sonde_model_find_point(model, name));
        assert_false(p->writable);
        assert_non_null(strstr(p->not_writable_why, "write attn.kv_latent and attn.k_pe"));
    }
    assert_true(sonde_model_point(model, sonde_model_find_point(model, "blocks.1.attn.kv_latent"))->writable);
    assert_true(sonde_model_point(model, sonde_model_find_point(model, "blocks.1.attn.k_pe"))->writable);
    sonde_model_close(&model);
    assert_int_equal(system("rm -rf build/latent"), 0);
}

/* The layer behind the last predicts more tokens; a further one is not known. */
static void test_layers_that_predict_more_are_left_alone(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_model *model = NULL;
    write_twins_with(KV_SCALED, "model.layers.2.enorm.weight");
    model = open_model("build/latent/plain", "cpu", 0);
    sonde_model_close(&model);
    write_twins_with(KV_SCALED, "model.layers.3.enorm.weight");
    assert_int_equal(sonde_model_open("build/latent/plain", NULL, &model, &err), SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, "model.layers.3.enorm.weight"));
    assert_int_equal(system("rm -rf build/latent"), 0);
}

static void test_misshaped_heads_are_named(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_model *model = NULL;
    write_twins(KV_WHOLE);
    assert_int_equal(system("sed -i 's/\"v_head_dim\":10/\"v_head_dim\":11/' build/latent/plain/config.json"),
                     0);
    assert_int_equal(sonde_model_open("build/latent/plain", NULL, &model, &err), SONDE_BAD_MODEL);
    assert_non_null(strstr(err.message, "self_attn.kv_b_proj.weight: expected [129, 32], file has"));
    assert_int_equal(system("rm -rf build/latent"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_from_split_and_quantised_gguf),
        cmocka_unit_test(test_heads_from_older_gguf),
        cmocka_unit_test(test_heads_from_fp8_with_scales),
        cmocka_unit_test(test_absorbed_attention_is_that_of_the_heads),
        cmocka_unit_test(test_ways_of_running_keep_the_bits),
        cmocka_unit_test(test_latents_are_written_instead_of_keys),
        cmocka_unit_test(test_layers_that_predict_more_are_left_alone),
        cmocka_unit_test(test_misshaped_heads_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
