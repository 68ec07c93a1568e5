/*
 * test_honest_config.c - no key of a configuration is ignored in silence. Every key of every golden's
 * config.json (and of the dictionaries in it) is changed in turn: the model must then be refused, or
 * compute other logits, or say that it did not use the key; but for the keys of a table, which change
 * nothing by their meaning. A made-up key is warned about once; variants that a family lacks are refused
 * by name.
 */
#include "core/json.h"
#include "run/run.h"
#include "support/family_check.h"
#include "support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SCRATCH "build/goldens/honest"
#define MAX_TOKENS 64

/* ---- keys without an effect, and why ------------------------------------------------------------------ */

/* Of every family: notes on training, tokens and the file; sizes that only bound a run. */
static const char *const inert[] = {
    "architectures", "attention_dropout", "attn_pdrop", "bos_token_id", "classifier_dropout", "dtype",
    "embd_pdrop", "embedding_dropout", "eos_token_id", "hidden_dropout", "initializer_range",
    "is_decoder", "max_position_embeddings", "n_positions", "output_router_logits", "pad_token_id",
    "pretraining_tp", "reorder_and_upcast_attn", "resid_pdrop", "residual_dropout",
    "router_aux_loss_coef", "router_jitter_noise", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "torch_dtype",
    "transformers_version", "use_cache", "max_seq_len", "_name_or_path", "chunk_size_feed_forward",
    "is_encoder_decoder", "output_attentions", "output_hidden_states", "problem_type", "return_dict",
    "emb_pdrop", NULL};

/* Of a model_type, or of all (NULL). */
static const struct {
    const char *model_type, *key, *why;
} excused[] = {
    {NULL, "max_window_layers", "no layer slides, or layer_types names those that do"},
    {NULL, "rope_parameters.original_max_position_embeddings", "of a rope type without scaling"},
    {NULL, "original_max_position_embeddings", "of a rope type without scaling"},
    {"gpt_bigcode", "attention_softmax_in_fp32", "everything is fp32"},
    {"gpt_bigcode", "scale_attention_softmax_in_fp32", "everything is fp32"},
    {"qwen2", "sliding_window", "use_sliding_window is false"},
    {"qwen2", "use_sliding_window", "true: no layer is past max_window_layers"},
    {"qwen3", "sliding_window", "use_sliding_window is false"},
    {"qwen3", "use_sliding_window", "layer_types counts"},
    {"qwen3_moe", "sliding_window", "use_sliding_window is false"},
    {"qwen3_moe", "use_sliding_window", "true: the window is longer than the prompts"},
    {"qwen3_moe", "mlp_only_layers", "[0]: decoder_sparse_step leaves layer 0 out already"},
    {"llama4_text", "interleave_moe_layer_step", "moe_layers counts"},
    {"llama4_text", "no_rope_layer_interval", "no_rope_layers counts"},
    {"smollm3", "sliding_window", "layer_types counts"},
    {"smollm3", "use_sliding_window", "layer_types counts"},
    {"smollm3", "no_rope_layer_interval", "no_rope_layers counts"},
    {"deepseek_v2", "head_dim", "the rotated part's width, again"},
    {"deepseek_v2", "norm_topk_prob", "Hugging Face's code never reads it"},
    {"deepseek_v2", "qk_head_dim", "the sum of two others"},
    {"deepseek_v2", "num_key_value_heads", "latent attention has none"},
    {"deepseek_v3", "head_dim", "the rotated part's width, again"},
    {"deepseek_v3", "qk_head_dim", "the sum of two others"},
    {"deepseek_v3", "num_key_value_heads", "latent attention has none"},
    {"deepseek_v3", "num_nextn_predict_layers", "layers that predict more tokens are left alone"},
    {"bloom", "slow_but_exact", "sums in the order of several machines"},
    {"bloom", "seq_length", "the length it was trained for"},
    {"falcon", "multi_query", "new_decoder_architecture has groups of heads"},
    {"falcon", "parallel_attn", "new_decoder_architecture is parallel"},
    {"falcon", "rope_parameters.rope_theta", "alibi is true"},
    {"falcon", "rope_parameters.rope_type", "alibi is true"},
    {"mpt", "attn_config.attn_impl", "how, not what"},
    {"mpt", "attn_config.attn_uses_sequence_id", "a prompt is one sequence"},
    {"mpt", "attn_config.id2label.0", "a label"},
    {"mpt", "attn_config.id2label.1", "a label"},
    {"mpt", "attn_config.label2id.LABEL_0", "a label"},
    {"mpt", "attn_config.label2id.LABEL_1", "a label"},
    {"mpt", "attn_config.model_type", "of the dictionary"},
    {"mpt", "embedding_fraction", "of training"},
    {"mpt", "init_device", "of training"},
    {"mpt", "learned_pos_emb", "there are none where there is ALiBi"},
    {"gpt_oss", "hidden_act", "its activation is of its own kind"},
    {"gemma", "hidden_act", "Hugging Face always uses tanh-GELU"},
    {"phi3", "rope_parameters.short_factor", "the prompt is longer than the original length"},
    {"gemma3_text", "_sliding_window_pattern", "Hugging Face's code never reads it"},
    {"phi3", "rope_scaling.short_factor", "the prompt is longer than the original length"},
};

static bool is_excused(const char *type, const char *key)
{
    const char *leaf = strrchr(key, '.');
    for (const char *const *k = inert; *k; k++)
        if (strcmp(*k, leaf ? leaf + 1 : key) == 0) return true;
    for (size_t i = 0; i < SONDE_COUNT(excused); i++)
        if (strcmp(excused[i].key, key) == 0 &&
            (!excused[i].model_type || strcmp(excused[i].model_type, type) == 0))
            return true;
    return false;
}

/* ---- one model --------------------------------------------------------------------------------------- */

typedef struct outcome {
    sonde_error err; /* of opening or running; status OK: it ran */
    float *logits;   /* [n_tokens, vocab] */
    size_t count, capacity;
    int warnings;    /* lines of the log that name `watched` */
    const char *watched;
} outcome;

static void hear(void *context, sonde_log_level level, const char *line)
{
    outcome *o = context;
    (void)level;
    if (o->watched && strstr(line, o->watched)) o->warnings++;
}

static sonde_status collect(void *context, const sonde_tap_view *view, sonde_error *err)
{
    outcome *o = context;
    (void)err;
    for (int64_t r = 0; r < view->n_rows; r++) {
        size_t width = (size_t)view->width;
        assert_true(sonde_grow(&o->logits, &o->capacity, o->count + width, sizeof *o->logits));
        memcpy(o->logits + o->count, view->data + r * view->stride, width * sizeof(float));
        o->count += width;
    }
    return SONDE_OK;
}

static sonde_status run_model(const sonde_model *model, const golden_entry *tokens, outcome *o)
{
    sonde_plan *plan = NULL;
    sonde_run *run = NULL;
    sonde_sequence *s = NULL;
    int64_t n = sonde_model_point_count(model);
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    int64_t count = SONDE_MIN(tokens->count, MAX_TOKENS);
    bool learned = sonde_model_find_point(model, "pos_embed") >= 0;
    if (learned && info.max_positions < count) count = info.max_positions;
    uint8_t *wants = sonde_alloc((size_t)n, 1);
    wants[sonde_model_find_point(model, "logits")] = SONDE_WANT_READ;
    sonde_plan_options options = {.wants = wants, .want_logits = true, .batch_rows = MAX_TOKENS,
                                  .max_sequences = 1, .max_positions = count};
    sonde_run_options run_options = {.threads = 1, .tap = collect, .tap_context = o};
    sonde_status status = sonde_plan_create(model, &options, &plan, &o->err);
    if (status == SONDE_OK) status = sonde_run_create(plan, &run_options, &run, &o->err);
    if (status == SONDE_OK) status = sonde_sequence_create(run, count, count, NULL, &s, &o->err);
    sonde_batch_item item = {.sequence = s, .tokens = tokens->data, .count = count,
                             .want_logits = true};
    if (status == SONDE_OK) status = sonde_run_step(run, &item, 1, &o->err);
    sonde_sequence_destroy(&s);
    sonde_run_destroy(&run);
    sonde_plan_destroy(&plan);
    sonde_free(wants);
    return status;
}

static void run_folder(const char *folder, const golden_entry *tokens, outcome *o)
{
    sonde_model *model = NULL;
    sonde_model_options options = {.backend = "cpu", .threads = 1};
    sonde_log_set(hear, o, SONDE_LOG_WARN);
    sonde_status status = sonde_model_open(folder, &options, &model, &o->err);
    if (status == SONDE_OK) status = run_model(model, tokens, o);
    o->err.status = status;
    sonde_model_close(&model);
    sonde_log_set(NULL, NULL, SONDE_LOG_WARN);
}

/* ---- folders with a changed config ----------------------------------------------------------------------- */

static json_t *read_config(const char *folder)
{
    char path[600];
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *config = json_load_file(path, 0, NULL);
    assert_non_null(config);
    return config;
}

static void lay_folder(const char *folder)
{
    char command[2400];
    snprintf(command, sizeof command,
             "rm -rf " SCRATCH " && mkdir -p " SCRATCH
             " && for f in \"$(realpath '%s')\"/*.safetensors*; do ln -s \"$f\" " SCRATCH "/; done",
             folder);
    assert_int_equal(system(command), 0);
}

static void run_config(const json_t *config, const golden_entry *tokens, outcome *o)
{
    assert_int_equal(json_dump_file(config, SCRATCH "/config.json", 0), 0);
    run_folder(SCRATCH, tokens, o);
}

/* Another value of the same kind, near by, larger or smaller; a null becomes a number. */
enum { NEAR_BY, LARGER, SMALLER, HOW_COUNT };
static json_t *other_value(const json_t *value, int how)
{
    static const double factors[HOW_COUNT] = {1.5, 12.0, 0.2};
    int64_t integer = json_integer_value(value);
    switch (json_typeof(value)) {
    case JSON_INTEGER:
        return json_integer(how == NEAR_BY ? integer + 1 : how == LARGER ? integer + 40 : integer / 2);
    case JSON_REAL: return json_real(json_real_value(value) * factors[how] + 0.125);
    case JSON_TRUE: return json_false();
    case JSON_FALSE: return json_true();
    case JSON_STRING: return json_string("made_up");
    case JSON_NULL: return json_integer(3);
    case JSON_ARRAY: {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(list, other_value(json_array_get(value, i), how));
        if (json_array_size(value) == 0) json_array_append_new(list, json_integer(0));
        return list;
    }
    default: return NULL;
    }
}

static bool same_logits(const outcome *a, const outcome *b)
{
    return a->count == b->count && memcmp(a->logits, b->logits, a->count * sizeof(float)) == 0;
}

/* One changed value: is it silent? */
static bool is_silent(const char *label, json_t *config, json_t *object, const char *key, int how,
                      const golden_entry *tokens, const outcome *base)
{
    json_t *old = json_incref(json_object_get(object, key));
    outcome o = {.watched = key};
    json_object_set_new(object, key, other_value(old, how));
    run_config(config, tokens, &o);
    json_object_set_new(object, key, old);
    bool silent = o.err.status == SONDE_OK && o.warnings == 0 && same_logits(&o, base);
    if (o.err.status != SONDE_OK && o.err.status != SONDE_BAD_MODEL)
        fail_msg("%s: key %s: %s", label, key, o.err.message);
    sonde_free(o.logits);
    return silent;
}

/* Changes one key of `object` (part of `config`) and judges: a step near by may be too small to show. */
static int check_key(const char *label, json_t *config, json_t *object, const char *key,
                     const char *dotted, const golden_entry *tokens, const outcome *base)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (is_excused(type, dotted)) return 0;
    for (int how = 0; how < HOW_COUNT; how++)
        if (!is_silent(label, config, object, key, how, tokens, base)) return 0;
    print_error("%s: key %s changed and nothing happened\n", label, dotted);
    return 1;
}

static int check_object(const char *label, json_t *config, json_t *object, const char *prefix,
                        const golden_entry *tokens, const outcome *base)
{
    const char *key;
    json_t *value, *copy = json_deep_copy(object);
    char dotted[256];
    int bad = 0;
    json_object_foreach(copy, key, value)
    {
        snprintf(dotted, sizeof dotted, "%s%s", prefix, key);
        if (json_is_object(value)) {
            size_t n = strlen(dotted);
            snprintf(dotted + n, sizeof dotted - n, ".");
            bad += check_object(label, config, json_object_get(object, key), dotted, tokens, base);
        } else {
            bad += check_key(label, config, object, key, dotted, tokens, base);
        }
    }
    json_decref(copy);
    return bad;
}

static int check_made_up(const char *label, json_t *config, const golden_entry *tokens,
                         const outcome *base)
{
    outcome o = {.watched = "'entirely_made_up'"};
    json_object_set_new(config, "entirely_made_up", json_integer(7));
    run_config(config, tokens, &o);
    json_object_del(config, "entirely_made_up");
    bool good = o.err.status == SONDE_OK && o.warnings == 1 && same_logits(&o, base);
    if (!good) print_error("%s: a made-up key: %d warnings %s\n", label, o.warnings, o.err.message);
    sonde_free(o.logits);
    return !good;
}

/* The longest prompt of the golden, whose positions show windows and scaling. */
static int check_golden(const char *folder, const char *expected, const char *label)
{
    golden g;
    int bad = 0;
    if (!family_is_built(folder)) return 0;
    assert_true(golden_load(expected, &g));
    const golden_entry *tokens = golden_find(&g, "tokens/2");
    json_t *config = read_config(folder);
    outcome base = {.watched = "was not used"};
    lay_folder(folder);
    run_config(config, tokens, &base);
    if (base.err.status != SONDE_OK) fail_msg("%s: %s", label, base.err.message);
    if (base.warnings > 0) print_error("%s: its own config is warned about\n", label);
    bad += base.warnings > 0;
    bad += check_object(label, config, config, "", tokens, &base);
    bad += check_made_up(label, config, tokens, &base);
    json_decref(config);
    sonde_free(base.logits);
    golden_reset(&g);
    return bad;
}

static void test_keys_of_the_goldens_of_the_tree(void **state)
{
    char **names, folder[128], expected[160];
    int64_t n = family_goldens("tests/goldens/families", &names);
    int bad = 0;
    (void)state;
    assert_true(n > 0);
    for (int64_t i = 0; i < n; i++) {
        snprintf(folder, sizeof folder, "tests/goldens/families/%s", names[i]);
        snprintf(expected, sizeof expected, "%s/expected.bin", folder);
        bad += check_golden(folder, expected, names[i]);
    }
    family_goldens_free(names, n);
    assert_int_equal(bad, 0);
}

static void test_keys_of_the_shared_goldens(void **state)
{
    char folder[512], golden_folder[600], expected[160], command[1400], **names;
    int bad = 0;
    (void)state;
    if (!test_shared()) skip();
    assert_int_equal(system("mkdir -p build/goldens"), 0);
    snprintf(folder, sizeof folder, "%s/goldens/families", test_shared());
    int64_t n = family_goldens(folder, &names);
    for (int64_t i = 0; i < n; i++) {
        snprintf(golden_folder, sizeof golden_folder, "%s/%s", folder, names[i]);
        if (!family_is_built(golden_folder)) continue;
        snprintf(expected, sizeof expected, "build/goldens/%s.keys.bin", names[i]);
        snprintf(command, sizeof command,
                 "/usr/bin/python3 tests/golden/pack_goldens.py '%s/expected.h5' '%s'", golden_folder,
                 expected);
        assert_int_equal(system(command), 0);
        bad += check_golden(golden_folder, expected, names[i]);
    }
    family_goldens_free(names, n);
    assert_int_equal(bad, 0);
}

/* ---- variants ---------------------------------------------------------------------------------------------- */

static void test_variants_that_a_family_lacks_are_refused(void **state)
{
    static const struct {
        const char *golden, *key, *value, *message;
    } cases[] = {
        {"qwen2", "attn_logit_softcapping", "50.0",
         "key 'attn_logit_softcapping' is 50.0, and the qwen2 family has no such thing"},
        {"qwen2", "use_bidirectional_attention", "true", "'use_bidirectional_attention' is true"},
        {"qwen2", "attention_bias", "true", "'attention_bias' is true"},
        {"qwen2", "num_experts", "8", "'num_local_experts' is 8"},
        {"qwen2", "partial_rotary_factor", "0.5", "'rope_parameters.partial_rotary_factor' is 0.5"},
        {"gpt2", "sliding_window", "5", "'sliding_window' is 5, and the gpt2 family"},
        {"gpt2", "activation_function", "\"mish\"", "activation_function 'mish'"},
        {"gpt2", "add_cross_attention", "true", "add_cross_attention"},
        {"llama", "layer_types", "[\"sliding_attention\"]", "'layer_types' is"},
        {"llama", "rope_scaling", "{\"rope_type\":\"ntk\",\"factor\":2.0}", "rope type 'ntk'"},
        {"llama", "rope_parameters", "{\"sliding_attention\":{\"rope_theta\":5.0}}",
         "key 'rope_parameters.sliding_attention' is"},
        {"llama", "hidden_act", "\"xielu\"", "hidden_act 'xielu'"},
        {"llama", "quantization_config", "{\"quant_method\":\"gptq\"}", "quantised by 'gptq'"},
        {"llama", "embedding_multiplier", "12.0", "'embedding_multiplier' is 12.0"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        char folder[128], expected[160];
        golden g;
        snprintf(folder, sizeof folder, "tests/goldens/families/%s", cases[i].golden);
        snprintf(expected, sizeof expected, "%s/expected.bin", folder);
        assert_true(golden_load(expected, &g));
        json_t *config = read_config(folder);
        json_object_del(config, "rope_parameters");
        json_object_set_new(config, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        outcome o = {0};
        lay_folder(folder);
        run_config(config, golden_find(&g, "tokens/1"), &o);
        assert_int_equal(o.err.status, SONDE_BAD_MODEL);
        if (!strstr(o.err.message, cases[i].message))
            fail_msg("%s %s: %s", cases[i].golden, cases[i].key, o.err.message);
        json_decref(config);
        golden_reset(&g);
        sonde_free(o.logits);
    }
}

static void test_neutral_values_of_variants_pass(void **state)
{
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"attn_logit_softcapping", "null"}, {"use_bidirectional_attention", "false"},
        {"attention_bias", "false"},        {"num_experts", "0"},
        {"embedding_multiplier", "1.0"},    {"is_causal", "true"},
        {"layer_types", "[\"full_attention\", \"full_attention\"]"},
    };
    golden g;
    (void)state;
    assert_true(golden_load("tests/goldens/families/qwen2/expected.bin", &g));
    lay_folder("tests/goldens/families/qwen2");
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        json_t *config = read_config("tests/goldens/families/qwen2");
        json_object_set_new(config, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        outcome o = {.watched = "was not used"};
        run_config(config, golden_find(&g, "tokens/1"), &o);
        if (o.err.status != SONDE_OK) fail_msg("%s: %s", cases[i].key, o.err.message);
        assert_int_equal(o.warnings, 0);
        json_decref(config);
        sonde_free(o.logits);
    }
    golden_reset(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_of_the_goldens_of_the_tree),
        cmocka_unit_test(test_keys_of_the_shared_goldens),
        cmocka_unit_test(test_variants_that_a_family_lacks_are_refused),
        cmocka_unit_test(test_neutral_values_of_variants_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
