/* What GGUF metadata becomes in the keys of Hugging Face. */
#include "weights/config.h"
#include "weights/container.h"
#include "support/gguf_image.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- GGUF: a writer of metadata -----------------------------------------------------------------
 */

typedef struct metadata {
    sonde_string values, tensors;
    uint64_t count, n_tensors, data;
} metadata;

static void put_key(metadata *m, const char *key, gguf_kind kind)
{
    m->count++;
    gguf_put_int(&m->values, strlen(key), 8);
    sonde_string_text(&m->values, key);
    gguf_put_int(&m->values, kind, 4);
}

static void put_text(metadata *m, const char *key, const char *text)
{
    put_key(m, key, GGUF_STRING);
    gguf_put_int(&m->values, strlen(text), 8);
    sonde_string_text(&m->values, text);
}

static void put_u32(metadata *m, const char *key, uint32_t value)
{
    put_key(m, key, GGUF_U32);
    gguf_put_int(&m->values, value, 4);
}

static void put_f32(metadata *m, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, key, GGUF_F32);
    gguf_put_int(&m->values, bits, 4);
}

static void put_list(metadata *m, const char *key, const uint32_t *values, size_t n)
{
    put_key(m, key, GGUF_ARRAY);
    gguf_put_int(&m->values, GGUF_U32, 4);
    gguf_put_int(&m->values, n, 8);
    for (size_t i = 0; i < n; i++) gguf_put_int(&m->values, values[i], 4);
}

static void put_bool(metadata *m, const char *key, bool value)
{
    put_key(m, key, GGUF_BOOL);
    gguf_put_int(&m->values, value, 1);
}

/* A tensor of n float rows of 32; all of them zeros. */
static void put_tensor(metadata *m, const char *name, uint64_t n)
{
    gguf_put_int(&m->tensors, strlen(name), 8);
    sonde_string_text(&m->tensors, name);
    gguf_put_int(&m->tensors, 2, 4);
    gguf_put_int(&m->tensors, 32, 8);
    gguf_put_int(&m->tensors, n, 8);
    gguf_put_int(&m->tensors, 0, 4);
    gguf_put_int(&m->tensors, m->data, 8);
    m->data += 128 * n;
    m->n_tensors++;
}

/* What the metadata and tensors of a file become; frees them. */
static sonde_status config_of(metadata *m, json_t **root, sonde_error *err)
{
    sonde_string image = {0};
    sonde_gguf *gguf;
    sonde_string_text(&image, "GGUF");
    gguf_put_int(&image, 3, 4);
    gguf_put_int(&image, m->n_tensors, 8);
    gguf_put_int(&image, m->count, 8);
    sonde_string_append(&image, m->values.data, m->values.length);
    if (m->n_tensors > 0) sonde_string_append(&image, m->tensors.data, m->tensors.length);
    while (m->n_tensors > 0 && image.length % 32 != 0) gguf_put_int(&image, 0, 1);
    for (uint64_t i = 0; i < m->data; i++) gguf_put_int(&image, 0, 1);
    if (sonde_gguf_parse(image.data, image.length, "m.gguf", &gguf, err) != SONDE_OK)
        fail_msg("%s", err->message);
    sonde_status status = sonde_config_from_gguf(gguf, root, err);
    sonde_gguf_close(&gguf);
    sonde_string_reset(&image);
    sonde_string_reset(&m->values);
    sonde_string_reset(&m->tensors);
    return status;
}

/* The normalised config as text, or the message of its refusal. */
static void from_gguf(metadata *m, char *out, size_t bytes)
{
    sonde_error err = {0};
    json_t *root = NULL;
    sonde_config *config = NULL;
    sonde_status status = config_of(m, &root, &err);
    if (status == SONDE_OK) status = sonde_config_create(root, "m.gguf", &config, &err);
    if (status != SONDE_OK) {
        assert_int_equal(status, SONDE_BAD_MODEL);
        snprintf(out, bytes, "%s", err.message);
        return;
    }
    char *dump = json_dumps(sonde_config_root(config),
                            JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
    assert_non_null(dump);
    snprintf(out, bytes, "%s", dump);
    free(dump);
    sonde_config_destroy(&config);
}

static void test_gguf_keys_become_hugging_face_keys(void **state)
{
    (void)state;
    metadata m = {0};
    char got[1024];
    put_text(&m, "general.architecture", "llama");
    put_u32(&m, "llama.embedding_length", 48);
    put_u32(&m, "llama.block_count", 3);
    put_u32(&m, "llama.context_length", 96);
    put_u32(&m, "llama.feed_forward_length", 72);
    put_u32(&m, "llama.attention.head_count", 4);
    put_list(&m, "llama.attention.head_count_kv", (const uint32_t[]){2, 2, 2}, 3);
    put_f32(&m, "llama.attention.layer_norm_rms_epsilon", 0.5f);
    put_f32(&m, "llama.rope.freq_base", 1e4f);
    put_u32(&m, "llama.rope.dimension_count", 12);
    put_u32(&m, "llama.vocab_size", 211);
    put_u32(&m, "tokenizer.ggml.bos_token_id", 1);
    put_u32(&m, "tokenizer.ggml.eos_token_id", 2);
    from_gguf(&m, got, sizeof got);
    assert_string_equal(
        got, "{\"bos_token_id\":1,\"eos_token_id\":2,"
             "\"hidden_size\":48,\"intermediate_size\":72,\"max_position_embeddings\":96,"
             "\"model_type\":\"llama\",\"num_attention_heads\":4,\"num_hidden_layers\":3,"
             "\"num_key_value_heads\":2,\"rms_norm_eps\":0.5,"
             "\"rope_parameters\":{\"rope_theta\":10000.0},"
             "\"vocab_size\":211}");
}

static void test_gguf_rope_scaling(void **state)
{
    (void)state;
    metadata m = {0};
    char got[1024];
    put_text(&m, "general.architecture", "qwen2");
    put_u32(&m, "qwen2.attention.key_length", 20);
    put_u32(&m, "qwen2.rope.dimension_count", 6);
    put_f32(&m, "qwen2.rope.freq_base", 100.0f);
    put_text(&m, "qwen2.rope.scaling.type", "yarn");
    put_f32(&m, "qwen2.rope.scaling.factor", 4.0f);
    put_u32(&m, "qwen2.rope.scaling.original_context_length", 40);
    put_f32(&m, "qwen2.rope.scaling.yarn_beta_fast", 2.0f);
    put_f32(&m, "qwen2.rope.scaling.attn_factor", 1.0f);
    from_gguf(&m, got, sizeof got);
    assert_string_equal(got,
                        "{\"head_dim\":20,\"model_type\":\"qwen2\","
                        "\"rope_parameters\":{\"beta_fast\":2.0,\"factor\":4.0,"
                        "\"original_max_position_embeddings\":40,\"partial_rotary_factor\":0.3,"
                        "\"rope_theta\":100.0,\"rope_type\":\"yarn\"}}");
}

static void test_gguf_names_by_architecture(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *expected;
    } cases[] = {
        {"gpt2", "\"layer_norm_epsilon\":0.5,\"model_type\":\"gpt2\""},
        {"gptneox", "\"layer_norm_eps\":0.5,\"model_type\":\"gpt_neox\""},
        {"starcoder2", "\"model_type\":\"starcoder2\",\"norm_epsilon\":0.5"},
        {"phi3", "\"layer_norm_eps\":0.5,\"model_type\":\"phi3\""},
        {"new-arch", "\"model_type\":\"new-arch\""},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        metadata m = {0};
        char got[512], key[64];
        snprintf(key, sizeof key, "%s.attention.layer_norm_epsilon", cases[i].arch);
        put_text(&m, "general.architecture", cases[i].arch);
        put_f32(&m, key, 0.5f);
        from_gguf(&m, got, sizeof got);
        if (!strstr(got, cases[i].expected)) fail_msg("%s: got %s", cases[i].arch, got);
    }
}

static void test_gguf_keeps_what_it_does_not_know(void **state)
{
    (void)state;
    metadata m = {0};
    char got[512];
    put_text(&m, "general.architecture", "llama");
    put_u32(&m, "llama.strange_new_scale", 2);
    put_list(&m, "llama.feed_forward_length", (const uint32_t[]){8, 16}, 2);
    from_gguf(&m, got, sizeof got);
    assert_string_equal(got, "{\"intermediate_size\":[8,16],"
                             "\"llama.strange_new_scale\":\"u32\",\"model_type\":\"llama\"}");
}

static void test_gguf_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        gguf_kind kind; /* F32 with `number`, else U32 with `integer` */
        float number;
        uint32_t integer;
        const char *message;
    } cases[] = {
        {"llama.rope.freq_base", GGUF_F32, NAN, 0, "llama.rope.freq_base is not finite"},
        {"llama.attention.layer_norm_rms_epsilon", GGUF_F32, INFINITY, 0, "is not finite"},
        {"llama.rope.scaling.factor", GGUF_F32, -INFINITY, 0, "is not finite"},
        {"llama.block_count", GGUF_U32, 0, 0, "llama.block_count: expected 1 to 65536, got 0"},
        {"llama.block_count", GGUF_F32, 2, 0, "llama.block_count: expected an integer, got f32"},
        {"llama.context_length", GGUF_U32, 0, 0x80000000u, "got 2147483648"},
        {"llama.attention.head_count", GGUF_U32, 0, 5, "48 is no multiple of 5 heads"},
        {"llama.rope.dimension_count", GGUF_U32, 0, 70000, "llama.rope.dimension_count"},
        {"llama.rope.scaling.type", GGUF_U32, 0, 1, "expected a text, got u32"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        metadata m = {0};
        char got[512];
        put_text(&m, "general.architecture", "llama");
        put_u32(&m, "llama.embedding_length", 48);
        if (cases[i].kind == GGUF_F32)
            put_f32(&m, cases[i].key, cases[i].number);
        else
            put_u32(&m, cases[i].key, cases[i].integer);
        from_gguf(&m, got, sizeof got);
        if (!strstr(got, cases[i].message)) fail_msg("%s: got %s", cases[i].key, got);
        assert_non_null(strstr(got, "m.gguf"));
    }
}

/* int(head_dim * factor) must give back the dimension count, whatever the rounding of the factor.
 */
static void test_gguf_partial_rotary_factor_comes_back(void **state)
{
    (void)state;
    for (uint32_t head = 1; head <= 128; head++) {
        for (uint32_t dims = 1; dims < head; dims += 3) {
            metadata m = {0};
            json_t *root;
            put_text(&m, "general.architecture", "phi3");
            put_u32(&m, "phi3.attention.key_length", head);
            put_u32(&m, "phi3.rope.dimension_count", dims);
            assert_int_equal(config_of(&m, &root, NULL), SONDE_OK);
            double factor = json_real_value(json_object_get(root, "partial_rotary_factor"));
            assert_int_equal((int)(factor * head), dims);
            json_decref(root);
        }
    }
}

/* ---- single architectures -------------------------------------------------------------------------- */

/* A file of the architecture with two layers; tensors by the list, separated by spaces. */
static void begin(metadata *m, const char *arch, const char *tensors)
{
    char key[96], name[96];
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"embedding_length", 32}, {"block_count", 2}, {"attention.head_count", 2}};
    put_text(m, "general.architecture", arch);
    for (size_t i = 0; i < SONDE_COUNT(sizes); i++) {
        snprintf(key, sizeof key, "%s.%s", arch, sizes[i].key);
        put_u32(m, key, sizes[i].value);
    }
    for (const char *at = tensors; *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        put_tensor(m, name, 7);
        at += n;
    }
}

static void expect(metadata *m, const char *what, const char *const *parts)
{
    char got[2048];
    from_gguf(m, got, sizeof got);
    for (; *parts; parts++)
        if (!strstr(got, *parts)) fail_msg("%s: no %s in %s", what, *parts, got);
}

#define EXPECT(m, what, ...) expect(m, what, (const char *const[]){__VA_ARGS__, NULL})

static void test_gguf_tensors_tell_what_keys_do_not(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *tensors, *expected;
    } cases[] = {
        {"qwen2", "token_embd.weight", "\"tie_word_embeddings\":true,\"vocab_size\":7"},
        {"qwen2", "token_embd.weight output.weight", "\"tie_word_embeddings\":false"},
        {"gpt2", "blk.0.ffn_up.weight", "\"intermediate_size\":7"},
        {"command-r", "blk.0.attn_q_norm.weight", "\"use_qk_norm\":true"},
        {"command-r", "blk.0.attn_q.weight", "\"use_qk_norm\":false"},
        {"gptneox", "blk.0.attn_qkv.bias", "\"attention_bias\":true"},
        {"granite", "blk.0.attn_q.bias", "\"attention_bias\":true"},
        {"qwen3moe", "blk.1.ffn_gate_inp.weight", "\"mlp_only_layers\":[0]"},
        {"llama4", "blk.1.ffn_gate_inp.weight", "\"moe_layers\":[1]"},
        {"falcon", "blk.0.attn_norm_2.weight", "\"new_decoder_architecture\":true"},
        {"phi3", "rope_factors_long.weight", "\"rope_type\":\"longrope\""},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        metadata m = {0};
        begin(&m, cases[i].arch, cases[i].tensors);
        EXPECT(&m, cases[i].arch, cases[i].expected);
    }
}

static void test_gguf_constants_of_architectures(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *key;
        uint32_t value;
        const char *expected;
    } cases[] = {
        {"starcoder", "attention.head_count_kv", 1, "\"activation_function\":\"gelu\""},
        {"starcoder", "attention.head_count_kv", 1, "\"multi_query\":true"},
        {"starcoder2", "context_length", 9, "\"sliding_window\":4096"},
        {"qwen3moe", "expert_count", 4, "\"norm_topk_prob\":true"},
        {"gemma2", "attention.key_length", 20, "\"query_pre_attn_scalar\":20"},
        {"gemma3", "attention.key_length", 20, "\"rope_theta\":10000.0"},
        {"llama4", "expert_count", 16, "\"use_qk_norm\":true"},
        {"llama4", "expert_count", 128, "\"use_qk_norm\":false"},
        {"llama4", "expert_feed_forward_length", 24, "\"intermediate_size\":24"},
        {"llama4", "feed_forward_length", 56, "\"intermediate_size_mlp\":56"},
        {"llama", "expert_count", 4, "\"model_type\":\"mixtral\""},
        {"llama", "attention.sliding_window", 12, "\"model_type\":\"mistral\""},
        {"olmo2", "attention.sliding_window", 12, "\"model_type\":\"olmo3\""},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        metadata m = {0};
        char key[96];
        begin(&m, cases[i].arch, "token_embd.weight");
        snprintf(key, sizeof key, "%s.%s", cases[i].arch, cases[i].key);
        put_u32(&m, key, cases[i].value);
        EXPECT(&m, cases[i].arch, cases[i].expected);
    }
}

static void test_gguf_largest_gemma_scales_by_the_width_of_a_head_of_the_row(void **state)
{
    (void)state;
    metadata m = {0};
    put_text(&m, "general.architecture", "gemma3");
    put_u32(&m, "gemma3.embedding_length", 5376);
    put_u32(&m, "gemma3.attention.head_count", 32);
    put_u32(&m, "gemma3.attention.key_length", 128);
    put_u32(&m, "gemma3.block_count", 62);
    EXPECT(&m, "gemma3 27B", "\"query_pre_attn_scalar\":168");
}

static void test_gguf_yarn_of_gpt_oss_is_not_truncated(void **state)
{
    (void)state;
    metadata m = {0};
    begin(&m, "gpt-oss", "token_embd.weight");
    put_text(&m, "gpt-oss.rope.scaling.type", "yarn");
    put_f32(&m, "gpt-oss.rope.scaling.factor", 32.0f);
    put_f32(&m, "gpt-oss.rope.scaling.yarn_attn_factor", 1.5f);
    EXPECT(&m, "gpt-oss", "\"truncate\":false", "\"attention_factor\":1.5");
}

static void put_deepseek(metadata *m)
{
    put_u32(m, "deepseek2.attention.kv_lora_rank", 20);
    put_u32(m, "deepseek2.rope.dimension_count", 8);
    put_u32(m, "deepseek2.expert_count", 160);
    put_text(m, "deepseek2.rope.scaling.type", "yarn");
    put_f32(m, "deepseek2.rope.scaling.factor", 4.0f);
    put_f32(m, "deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
}

static void test_gguf_latent_attention(void **state)
{
    (void)state;
    metadata now = {0}, old = {0}, third = {0}, wrong = {0};
    begin(&now, "deepseek2", "token_embd.weight");
    put_deepseek(&now);
    put_u32(&now, "deepseek2.attention.key_length", 28);
    put_u32(&now, "deepseek2.attention.key_length_mla", 20);
    put_u32(&now, "deepseek2.attention.value_length_mla", 10);
    EXPECT(&now, "V2", "\"model_type\":\"deepseek_v2\"", "\"qk_nope_head_dim\":12",
           "\"qk_rope_head_dim\":8", "\"v_head_dim\":10", "\"mscale_all_dim\":0.707",
           "\"n_group\":8", "\"topk_group\":3", "\"topk_method\":\"group_limited_greedy\"");
    begin(&old, "deepseek2", "token_embd.weight");
    put_deepseek(&old);
    put_u32(&old, "deepseek2.attention.key_length", 20);
    put_u32(&old, "deepseek2.attention.value_length", 11);
    EXPECT(&old, "old V2", "\"qk_nope_head_dim\":12", "\"v_head_dim\":11");
    begin(&third, "deepseek2", "blk.1.exp_probs_b.bias");
    put_deepseek(&third);
    put_u32(&third, "deepseek2.attention.key_length", 20);
    put_u32(&third, "deepseek2.attention.value_length", 11);
    put_bool(&third, "deepseek2.expert_weights_norm", true);
    EXPECT(&third, "V3", "\"model_type\":\"deepseek_v3\"", "\"norm_topk_prob\":true",
           "\"n_group\":1");
    begin(&wrong, "deepseek2", "token_embd.weight");
    put_deepseek(&wrong);
    put_u32(&wrong, "deepseek2.attention.key_length", 8);
    EXPECT(&wrong, "no room", "heads of 8 and 0 dims with 8 rotated ones");
}

static void put_slides(metadata *m, const char *arch, bool first, bool second)
{
    char key[64];
    begin(m, arch, "token_embd.weight");
    snprintf(key, sizeof key, "%s.attention.sliding_window", arch);
    put_u32(m, key, 12);
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch);
    put_key(m, key, GGUF_ARRAY);
    gguf_put_int(&m->values, GGUF_BOOL, 4);
    gguf_put_int(&m->values, 2, 8);
    gguf_put_int(&m->values, first, 1);
    gguf_put_int(&m->values, second, 1);
}

static void test_gguf_layers_that_slide(void **state)
{
    (void)state;
    metadata mixed = {0}, all = {0}, none = {0};
    put_slides(&mixed, "olmo2", true, false);
    EXPECT(&mixed, "olmo3", "\"layer_types\":[\"sliding_attention\",\"full_attention\"]");
    put_slides(&all, "gemma3", true, true);
    EXPECT(&all, "gemma3", "\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]");
    put_slides(&none, "gemma3", false, false);
    EXPECT(&none, "gemma3", "\"layer_types\":[\"full_attention\",\"full_attention\"]");
}

static void test_gguf_keys_of_our_own_win(void **state)
{
    (void)state;
    metadata m = {0}, bad = {0};
    begin(&m, "llama", "token_embd.weight");
    put_u32(&m, "sonde.sliding_window", 12);
    put_text(&m, "sonde.hidden_act", "gelu");
    put_bool(&m, "sonde.tie_word_embeddings", false);
    put_text(&m, "sonde.rope_scaling.rope_type", "dynamic");
    put_f32(&m, "sonde.rope_scaling.factor", 3.0f);
    put_list(&m, "sonde.no_rope_layers", (const uint32_t[]){1, 0}, 2);
    EXPECT(&m, "own keys", "\"sliding_window\":12", "\"model_type\":\"mistral\"",
           "\"hidden_act\":\"gelu\"", "\"tie_word_embeddings\":false",
           "\"rope_parameters\":{\"factor\":3.0,\"rope_type\":\"dynamic\"}",
           "\"no_rope_layers\":[1,0]");
    begin(&bad, "llama", "token_embd.weight");
    put_f32(&bad, "sonde.attn_scale", INFINITY);
    EXPECT(&bad, "infinite", "sonde.attn_scale: expected numbers, texts, true or false");
}

static void test_gguf_refuses_variants_by_name(void **state)
{
    (void)state;
    metadata bidirectional = {0}, neutral = {0};
    begin(&bidirectional, "gemma3", "token_embd.weight");
    put_bool(&bidirectional, "gemma3.attention.causal", false);
    EXPECT(&bidirectional, "causal", "not supported: metadata key gemma3.attention.causal");
    begin(&neutral, "llama", "token_embd.weight");
    put_bool(&neutral, "llama.attention.causal", true);
    EXPECT(&neutral, "causal", "\"model_type\":\"llama\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_keys_become_hugging_face_keys),
        cmocka_unit_test(test_gguf_rope_scaling),
        cmocka_unit_test(test_gguf_names_by_architecture),
        cmocka_unit_test(test_gguf_keeps_what_it_does_not_know),
        cmocka_unit_test(test_gguf_refuses),
        cmocka_unit_test(test_gguf_partial_rotary_factor_comes_back),
        cmocka_unit_test(test_gguf_tensors_tell_what_keys_do_not),
        cmocka_unit_test(test_gguf_constants_of_architectures),
        cmocka_unit_test(test_gguf_largest_gemma_scales_by_the_width_of_a_head_of_the_row),
        cmocka_unit_test(test_gguf_yarn_of_gpt_oss_is_not_truncated),
        cmocka_unit_test(test_gguf_latent_attention),
        cmocka_unit_test(test_gguf_layers_that_slide),
        cmocka_unit_test(test_gguf_keys_of_our_own_win),
        cmocka_unit_test(test_gguf_refuses_variants_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
