/* One set of keys: what older and newer config.json files become (GGUF: test_config_gguf.c). */
#include "weights/config.h"
#include "weights/container.h"

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
        {"{\"a\":null,\"b\":1}", "{\"a\":null,\"b\":1}"},
        {"{\"n_embd\":48,\"n_layer\":2,\"n_head\":4,\"n_positions\":80,\"n_inner\":null}",
         "{\"hidden_size\":48,\"intermediate_size\":null,\"max_position_embeddings\":80,"
         "\"num_attention_heads\":4,\"num_hidden_layers\":2}"},
        {"{\"n_embd\":48,\"hidden_size\":48}", "{\"hidden_size\":48}"},
        {"{\"n_inner\":70}", "{\"intermediate_size\":70}"},
        {"{\"torch_dtype\":\"float16\"}", "{\"dtype\":\"float16\"}"},
        {"{\"torch_dtype\":\"float16\",\"dtype\":\"bfloat16\"}", "{\"dtype\":\"bfloat16\"}"},
        {"{\"num_experts\":6}", "{\"num_local_experts\":6}"},
        {"{\"model_type\":\"gemma3\",\"x\":1,\"text_config\":{\"model_type\":\"gemma3_text\","
         "\"y\":2,\"z\":null}}",
         "{\"model_type\":\"gemma3_text\",\"x\":1,\"y\":2,\"z\":null}"},
        /* rope: old spelling, none, new spelling */
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

/* A type is written where the file has a dictionary: families tell by it whose defaults apply. */
static void test_rope_without_a_dictionary_has_no_type(void **state)
{
    (void)state;
    static const struct {
        const char *given, *expected;
    } cases[] = {
        {"{\"rope_theta\":1e4}", "{\"rope_parameters\":{\"rope_theta\":10000.0}}"},
        {"{\"rope_theta\":500,\"rope_scaling\":null}", "{\"rope_parameters\":{\"rope_theta\":500}}"},
        {"{\"rotary_pct\":0.25,\"rotary_emb_base\":10000}",
         "{\"rope_parameters\":{\"partial_rotary_factor\":0.25,\"rope_theta\":10000}}"},
        {"{\"rope_theta\":500,\"rope_scaling\":{}}",
         "{\"rope_parameters\":{\"rope_theta\":500,\"rope_type\":\"default\"}}"},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char got[512];
        normalised(cases[i].given, got, sizeof got);
        assert_string_equal(got, cases[i].expected);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_folds_spellings),
        cmocka_unit_test(test_rope_without_a_dictionary_has_no_type),
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_find_walks_dotted_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
