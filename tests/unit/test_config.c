/* One set of keys: what older and newer config.json files and GGUF metadata become. */
#include "weights/config.h"
#include "weights/container.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The normalised config as compact text with sorted keys, or the message of its refusal. */
static void normalised(const char *text, char *out, size_t bytes)
{
    sonde_error err = {0};
    json_t *root;
    sonde_config *config;
    sonde_status status =
        sonde_json_parse(text, strlen(text), "c.json", SONDE_BAD_MODEL, &root, &err);
    if (status == SONDE_OK) status = sonde_config_create(root, "c.json", &config, &err);
    if (status != SONDE_OK) {
        assert_int_equal(status, SONDE_BAD_MODEL);
        snprintf(out, bytes, "%s", err.message);
        return;
    }
    char *dump = json_dumps(sonde_config_root(config), JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(dump);
    assert_string_equal(sonde_config_source(config), "c.json");
    snprintf(out, bytes, "%s", dump);
    free(dump);
    sonde_config_destroy(&config);
    assert_null(config);
}

static void test_create_folds_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *given, *expected;
    } cases[] = {
        {"{}", "{}"},
        {"{\"a\":null,\"b\":1}", "{\"b\":1}"},
        {"{\"n_embd\":48,\"n_layer\":2,\"n_head\":4,\"n_positions\":80,\"n_inner\":null}",
         "{\"hidden_size\":48,\"max_position_embeddings\":80,\"num_attention_heads\":4,"
         "\"num_hidden_layers\":2}"},
        {"{\"n_embd\":48,\"hidden_size\":48}", "{\"hidden_size\":48}"},
        {"{\"n_inner\":70}", "{\"intermediate_size\":70}"},
        {"{\"torch_dtype\":\"float16\"}", "{\"dtype\":\"float16\"}"},
        {"{\"torch_dtype\":\"float16\",\"dtype\":\"bfloat16\"}", "{\"dtype\":\"bfloat16\"}"},
        {"{\"num_experts\":6}", "{\"num_local_experts\":6}"},
        {"{\"model_type\":\"gemma3\",\"x\":1,\"text_config\":{\"model_type\":\"gemma3_text\","
         "\"y\":2,\"z\":null}}",
         "{\"model_type\":\"gemma3_text\",\"x\":1,\"y\":2}"},
        /* rope: old spelling, none, new spelling */
        {"{\"rope_theta\":1e4}",
         "{\"rope_parameters\":{\"rope_theta\":10000.0,\"rope_type\":\"default\"}}"},
        {"{\"rope_theta\":500,\"rope_scaling\":null}",
         "{\"rope_parameters\":{\"rope_theta\":500,\"rope_type\":\"default\"}}"},
        {"{\"rope_theta\":5,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.0}}",
         "{\"rope_parameters\":{\"factor\":2.0,\"rope_theta\":5,\"rope_type\":\"linear\"}}"},
        {"{\"rope_scaling\":{\"type\":\"su\",\"factor\":null}}",
         "{\"rope_parameters\":{\"rope_type\":\"longrope\"}}"},
        {"{\"rope_scaling\":{\"type\":\"yarn\",\"rope_type\":\"yarn\"}}",
         "{\"rope_parameters\":{\"rope_type\":\"yarn\"}}"},
        {"{\"rope_parameters\":{\"rope_type\":null,\"rope_theta\":7}}",
         "{\"rope_parameters\":{\"rope_theta\":7,\"rope_type\":\"default\"}}"},
        {"{\"rope_theta\":1,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7}}",
         "{\"rope_parameters\":{\"rope_theta\":7,\"rope_type\":\"default\"}}"},
        {"{\"rotary_pct\":0.25,\"rotary_emb_base\":10000}",
         "{\"rope_parameters\":{\"partial_rotary_factor\":0.25,\"rope_theta\":10000,"
         "\"rope_type\":\"default\"}}"},
        {"{\"original_max_position_embeddings\":40,\"rope_scaling\":{\"type\":\"longrope\"}}",
         "{\"rope_parameters\":{\"original_max_position_embeddings\":40,"
         "\"rope_type\":\"longrope\"}}"},
        {"{\"rope_theta\":20,\"rope_local_base_freq\":5,"
         "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}",
         "{\"rope_parameters\":{\"full_attention\":{\"factor\":8,\"rope_theta\":20,"
         "\"rope_type\":\"linear\"},\"sliding_attention\":{\"rope_theta\":5,"
         "\"rope_type\":\"default\"}}}"},
        {"{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":20},"
         "\"sliding_attention\":{\"type\":\"su\"}}}",
         "{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":20,\"rope_type\":\"default\"},"
         "\"sliding_attention\":{\"rope_type\":\"longrope\"}}}"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char got[512], again[512];
        normalised(cases[i].given, got, sizeof got);
        assert_string_equal(got, cases[i].expected);
        normalised(got, again, sizeof again); /* folding twice changes nothing */
        assert_string_equal(again, got);
    }
}

static void test_create_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *given, *message;
    } cases[] = {
        {"[]", "c.json: expected a JSON object"},
        {"", "not valid JSON"},
        {"{\"a\":1,\"a\":1}", "duplicate object key"},
        {"{\"a\":NaN}", "invalid token near 'NaN'"},
        {"{\"a\":Infinity}", "invalid token near 'Infinity'"},
        {"{\"a\":99999999999999999999}", "too big integer near '99999999999999999999'"},
        {"{\"a\":1e999}", "real number overflow near '1e999'"},
        {"{} x", "end of file expected"},
        {"{\"n_embd\":48,\"hidden_size\":64}", "\"n_embd\" and \"hidden_size\" disagree"},
        {"{\"text_config\":[]}", "expected \"text_config\" to be an object"},
        {"{\"rope_scaling\":3}", "expected \"rope_scaling\" to be an object"},
        {"{\"rope_theta\":{\"a\":1}}", "expected \"rope_theta\" to be a number"},
        {"{\"rope_local_base_freq\":\"1\"}", "expected \"rope_local_base_freq\" to be a number"},
        {"{\"rope_parameters\":[]}", "expected \"rope_parameters\" to be an object"},
        {"{\"rope_parameters\":{\"rope_type\":4}}", "expected \"rope_type\" to be a text"},
        {"{\"rope_parameters\":{\"full_attention\":{},\"b\":1}}", "expected \"b\" to be an object"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char got[512];
        normalised(cases[i].given, got, sizeof got);
        if (!strstr(got, cases[i].message)) fail_msg("%s: got %s", cases[i].given, got);
        assert_non_null(strstr(got, "c.json"));
    }
}

static void test_find_walks_dotted_keys(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":{\"b\":{\"c\":3,\"n\":null}},\"d\":[1]}";
    sonde_error err = {0};
    json_t *root;
    sonde_config *config;
    assert_int_equal(sonde_json_parse(text, strlen(text), "c.json", SONDE_BAD_MODEL, &root, &err),
                     SONDE_OK);
    assert_int_equal(sonde_config_create(root, "c.json", &config, &err), SONDE_OK);
    assert_int_equal(json_integer_value(sonde_config_find(config, "a.b.c")), 3);
    assert_true(json_is_object(sonde_config_find(config, "a.b")));
    static const char *const absent[] = {"", "x", "a.b.c.d", "a.b.n", "a.", "d.0", ".a"};
    for (size_t i = 0; i < SONDE_COUNT(absent); i++)
        assert_null(sonde_config_find(config, absent[i]));
    sonde_config_destroy(&config);
}

/* --- GGUF: a writer of metadata -----------------------------------------------------------------
 */

typedef struct metadata {
    sonde_string values;
    uint64_t count;
} metadata;

static void put_int(sonde_string *s, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char byte = (char)(unsigned char)(value >> (8 * i));
        sonde_string_append(s, &byte, 1);
    }
}

static void put_key(metadata *m, const char *key, gguf_kind kind)
{
    m->count++;
    put_int(&m->values, strlen(key), 8);
    sonde_string_text(&m->values, key);
    put_int(&m->values, kind, 4);
}

static void put_text(metadata *m, const char *key, const char *text)
{
    put_key(m, key, GGUF_STRING);
    put_int(&m->values, strlen(text), 8);
    sonde_string_text(&m->values, text);
}

static void put_u32(metadata *m, const char *key, uint32_t value)
{
    put_key(m, key, GGUF_U32);
    put_int(&m->values, value, 4);
}

static void put_f32(metadata *m, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, key, GGUF_F32);
    put_int(&m->values, bits, 4);
}

static void put_list(metadata *m, const char *key, const uint32_t *values, size_t n)
{
    put_key(m, key, GGUF_ARRAY);
    put_int(&m->values, GGUF_U32, 4);
    put_int(&m->values, n, 8);
    for (size_t i = 0; i < n; i++) put_int(&m->values, values[i], 4);
}

/* What the metadata of a file without tensors becomes; frees the metadata. */
static sonde_status config_of(metadata *m, json_t **root, sonde_error *err)
{
    sonde_string image = {0};
    sonde_gguf *gguf;
    sonde_string_text(&image, "GGUF");
    put_int(&image, 3, 4);
    put_int(&image, 0, 8);
    put_int(&image, m->count, 8);
    sonde_string_append(&image, m->values.data, m->values.length);
    if (sonde_gguf_parse(image.data, image.length, "m.gguf", &gguf, err) != SONDE_OK)
        fail_msg("%s", err->message);
    sonde_status status = sonde_config_from_gguf(gguf, root, err);
    sonde_gguf_close(&gguf);
    sonde_string_reset(&image);
    sonde_string_reset(&m->values);
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
             "\"rope_parameters\":{\"rope_theta\":10000.0,\"rope_type\":\"default\"},"
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
        {"split.count", GGUF_U32, 0, 3, "one of 3 parts of a split GGUF"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_folds_spellings),
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_find_walks_dotted_keys),
        cmocka_unit_test(test_gguf_keys_become_hugging_face_keys),
        cmocka_unit_test(test_gguf_rope_scaling),
        cmocka_unit_test(test_gguf_names_by_architecture),
        cmocka_unit_test(test_gguf_keeps_what_it_does_not_know),
        cmocka_unit_test(test_gguf_refuses),
        cmocka_unit_test(test_gguf_partial_rotary_factor_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
