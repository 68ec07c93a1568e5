/*
 * recipe_keys.c - keys of a configuration that no family read. One that changes the forward pass of
 * some family is refused by name where the family at hand has no such thing; any other is warned
 * about, once.
 */
#include "recipe_internal.h"

#include "weights/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Keys that no family's forward pass depends on. */
static const char *const neutral_keys[] = {
    "architectures", "model_type", "dtype", "torch_dtype", "transformers_version", "use_cache",
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id",
    "initializer_range", "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop",
    "resid_pdrop", "auto_map", "_name_or_path", "name_or_path", "output_attentions",
    "output_hidden_states", "return_dict", "task_specific_params", "pretraining_tp", "n_ctx",
    "gradient_checkpointing", "is_encoder_decoder", "is_decoder", "chunk_size_feed_forward",
    "id2label", "label2id", "problem_type", "vocab_size", "unsloth_version", "unsloth_fixed",
    "_attn_implementation_autoset", "_attn_implementation", "tokenizer_class",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "classifier_dropout", "embedding_dropout", "residual_dropout",
    "reorder_and_upcast_attn", "output_router_logits", "router_aux_loss_coef",
    "router_jitter_noise", "vision_config", "image_token_index", "boi_token_index",
    "eoi_token_index", "mm_tokens_per_image", "quantization_config", "language_model_only",
    NULL};

/* Keys that change the forward pass wherever they are known; `neutral` is the value that does not,
 * beside null, false, 0 and an empty list. */
static const struct {
    const char *key;
    double neutral;
} variants[] = {
    {"add_cross_attention", 0},      {"alibi", 0},
    {"attention_bias", 0},           {"attention_chunk_size", 0},
    {"attention_multiplier", 0},     {"attn_logit_softcapping", 0},
    {"attn_temperature_tuning", 0},  {"clip_qkv", 0},
    {"cross_attention_layers", 0},   {"embedding_multiplier", 1},
    {"final_logit_softcapping", 0},  {"is_causal", 1},
    {"kv_lora_rank", 0},             {"logit_scale", 1},
    {"logits_scaling", 1},           {"mlp_bias", 0},
    {"mrope_section", 0},            {"n_routed_experts", 0},
    {"new_decoder_architecture", 0}, {"num_kv_shared_layers", 0},
    {"num_local_experts", 0},        {"partial_rotary_factor", 1},
    {"qk_layernorm", 0},             {"qkv_bias", 0},
    {"query_pre_attn_scalar", 0},    {"residual_multiplier", 1},
    {"rotary_dim", 0},               {"scale_attn_by_inverse_layer_idx", 0},
    {"scale_depth", 0},              {"scale_emb", 1},
    {"sliding_window", 0},           {"swiglu_limit", 0},
    {"use_alibi", 0},                {"use_bidirectional_attention", 0},
    {"use_mrope", 0},                {"use_parallel_residual", 0},
    {"use_qk_norm", 0},              {"use_qkv_bias", 0},
    {"use_sliding_window", 0},
};

void sonde_recipe_ignore_neutral(sonde_recipe *r)
{
    sonde_ignore_keys(r, neutral_keys);
}

static bool is_neutral(const json_t *value, double neutral)
{
    if (json_is_null(value) || json_is_false(value)) return true;
    if (json_is_true(value)) return !(fabs(neutral - 1.0) > 0.0);
    if (json_is_array(value)) return json_array_size(value) == 0;
    double number = json_number_value(value);
    return json_is_number(value) && (!(fabs(number) > 0.0) || !(fabs(number - neutral) > 0.0));
}

static bool all_full(const json_t *types)
{
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, "full_attention") != 0) return false;
    }
    return true;
}

/* A window beside a false `use_sliding_window` is switched off. */
static bool is_switched_off(const sonde_recipe *r, const char *key)
{
    return strcmp(key, "sliding_window") == 0 &&
           json_is_false(sonde_config_find(r->config, "use_sliding_window"));
}

/* Layers of a kind with a rope of their own count among the variants. */
static bool changes_result(const sonde_recipe *r, const char *prefix, const char *key,
                           const json_t *value)
{
    if (strcmp(key, "layer_types") == 0) return !all_full(value);
    if (strcmp(prefix, "rope_parameters.") == 0 && json_is_object(value)) return true;
    for (size_t i = 0; i < SONDE_COUNT(variants); i++)
        if (strcmp(variants[i].key, key) == 0)
            return !is_neutral(value, variants[i].neutral) && !is_switched_off(r, key);
    return false;
}

static bool is_variant(const char *key)
{
    for (size_t i = 0; i < SONDE_COUNT(variants); i++)
        if (strcmp(variants[i].key, key) == 0) return true;
    return strcmp(key, "layer_types") == 0 || strcmp(key, "max_window_layers") == 0;
}

/* `prefix` is "" or the dotted name of the dictionary with its dot. A key counts as read when it is
 * honoured itself, or (whole dictionaries) something in it is. */
static bool was_read(const sonde_recipe *r, const char *prefix, const char *key, bool *inside)
{
    size_t head = strlen(prefix), n = strlen(key);
    bool whole = false;
    for (int64_t i = 0; i < r->n_honoured; i++) {
        const char *name = r->honoured[i];
        if (strncmp(name, prefix, head) != 0 || strncmp(name + head, key, n) != 0) continue;
        whole = whole || name[head + n] == '\0';
        *inside = *inside || name[head + n] == '.';
    }
    return whole;
}

static void judge(sonde_recipe *r, const char *prefix, const char *key, const json_t *value)
{
    if (changes_result(r, prefix, key, value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        sonde_refuse(r, "key '%s%s' is %.80s, and the %s family has no such thing", prefix, key,
                     text ? text : "set", r->family->name);
        free(text);
    } else if (!is_variant(key)) {
        sonde_log(SONDE_LOG_WARN, "%s: key '%s%s' is not known to the %s family and was not used",
                  sonde_config_source(r->config), prefix, key, r->family->name);
    }
}

/* Dictionaries that are configurations of their own repeat what says nothing. */
static bool says_nothing(const char *prefix, const char *key)
{
    for (const char *const *k = neutral_keys; *prefix && *k; k++)
        if (strcmp(*k, key) == 0) return true;
    return false;
}

static void check_keys(sonde_recipe *r, const json_t *object, const char *prefix)
{
    const char *key;
    json_t *value, *held = json_incref((json_t *)(uintptr_t)object);
    json_object_foreach(held, key, value) {
        bool inside = false;
        if (json_is_null(value) || was_read(r, prefix, key, &inside)) continue;
        if (says_nothing(prefix, key)) continue;
        char inner[128];
        int length = snprintf(inner, sizeof inner, "%s%s.", prefix, key);
        bool fits = length > 0 && length < (int)sizeof inner;
        if (inside && fits && json_is_object(value))
            check_keys(r, value, inner);
        else
            judge(r, prefix, key, value);
    }
    json_decref(held);
}

void sonde_recipe_check_keys(sonde_recipe *r)
{
    check_keys(r, sonde_config_root(r->config), "");
}
