/*
 * config_gguf_arch.c - what is particular to an architecture of GGUF: its Hugging Face name, keys that
 * mean something else there, and what its files do not say because llama.cpp has it built in. Where
 * llama.cpp and Hugging Face differ (yarn's truncation in gpt-oss), Hugging Face's result counts.
 */
#include "config_gguf_internal.h"

#include <string.h>

static const struct {
    const char *arch, *model_type;
} names[] = {
    {"starcoder", "gpt_bigcode"}, {"gptneox", "gpt_neox"},     {"gemma3", "gemma3_text"},
    {"qwen3moe", "qwen3_moe"},    {"command-r", "cohere"},     {"gpt-oss", "gpt_oss"},
    {"llama4", "llama4_text"},    {"deepseek2", "deepseek_v2"}, {"phi2", "phi"},
};

const char *gguf_model_type(const char *arch)
{
    for (size_t i = 0; i < SONDE_COUNT(names); i++)
        if (strcmp(arch, names[i].arch) == 0) return names[i].model_type;
    return arch;
}

static const struct arch_map {
    const char *arch;
    key_map map;
} maps[] = {
    {"gpt2", {"attention.layer_norm_epsilon", "layer_norm_epsilon", FORM_FLOAT, 0, 0}},
    {"gpt2", {"attention.head_count_kv", NULL, FORM_INT, 1, 1 << 16}},
    {"starcoder", {"attention.layer_norm_epsilon", "layer_norm_epsilon", FORM_FLOAT, 0, 0}},
    {"starcoder2", {"attention.layer_norm_epsilon", "norm_epsilon", FORM_FLOAT, 0, 0}},
    {"falcon", {"attention.layer_norm_epsilon", "layer_norm_epsilon", FORM_FLOAT, 0, 0}},
    {"falcon", {"attention.head_count_kv", "num_kv_heads", FORM_INT, 1, 1 << 16}},
    {"bloom", {"attention.layer_norm_epsilon", "layer_norm_epsilon", FORM_FLOAT, 0, 0}},
    {"bloom", {"attention.head_count_kv", NULL, FORM_INT, 1, 1 << 16}},
    {"mpt", {"attention.layer_norm_epsilon", "layer_norm_epsilon", FORM_FLOAT, 0, 0}},
    {"mpt", {"attention.max_alibi_bias", "alibi_bias_max", FORM_FLOAT, 0, 0}},
    {"olmo", {"attention.layer_norm_epsilon", NULL, FORM_FLOAT, 0, 0}},
    {"gemma3", {"rope.global.freq_base", "rope_theta", FORM_FLOAT, 0, 0}}, /* Ollama's files */
    {"gemma3", {"rope.local.freq_base", "rope_local_base_freq", FORM_FLOAT, 0, 0}},
    {"granite", {"logit_scale", "logits_scaling", FORM_FLOAT, 0, 0}},
    {"llama4", {"feed_forward_length", "intermediate_size_mlp", FORM_INT, 0, 1 << 28}},
    {"llama4", {"expert_feed_forward_length", "intermediate_size", FORM_INT, 0, 1 << 28}},
    {"llama4", {"interleave_moe_layer_step", NULL, FORM_INT, 1, 1 << 16}},
    {"gpt-oss", {"feed_forward_length", NULL, FORM_INT, 0, 1 << 28}},
    {"gpt-oss", {"expert_feed_forward_length", "intermediate_size", FORM_INT, 1, 1 << 28}},
    {"deepseek2", {"expert_count", "n_routed_experts", FORM_INT, 0, 1 << 16}},
    {"deepseek2", {"expert_shared_count", "n_shared_experts", FORM_INT, 0, 1 << 16}},
    {"deepseek2", {"expert_group_count", "n_group", FORM_INT, 1, 1 << 16}},
    {"deepseek2", {"expert_group_used_count", "topk_group", FORM_INT, 1, 1 << 16}},
    {"deepseek2", {"expert_weights_scale", "routed_scaling_factor", FORM_FLOAT, 0, 0}},
    {"deepseek2", {"expert_gating_func", NULL, FORM_INT, 0, 16}},
    {"deepseek2", {"leading_dense_block_count", "first_k_dense_replace", FORM_INT, 0, 1 << 16}},
    {"deepseek2", {"attention.q_lora_rank", "q_lora_rank", FORM_INT, 1, 1 << 24}},
    {"deepseek2", {"attention.kv_lora_rank", "kv_lora_rank", FORM_INT, 1, 1 << 24}},
    {"deepseek2", {"attention.head_count_kv", NULL, FORM_INT, 1, 1 << 16}},
    {"deepseek2", {"attention.key_length", NULL, FORM_INT, 1, 1 << 16}},
    {"deepseek2", {"attention.key_length_mla", NULL, FORM_INT, 1, 1 << 16}},
    {"deepseek2", {"attention.value_length_mla", NULL, FORM_INT, 1, 1 << 16}},
    {"deepseek2", {"nextn_predict_layers", NULL, FORM_INT, 0, 1 << 16}},
};

const key_map *gguf_arch_map(const gguf_builder *b, const char *suffix, size_t n)
{
    for (size_t i = 0; i < SONDE_COUNT(maps); i++)
        if (strcmp(maps[i].arch, b->arch) == 0 && strlen(maps[i].map.gguf) == n &&
            memcmp(maps[i].map.gguf, suffix, n) == 0)
            return &maps[i].map;
    return NULL;
}

/* ---- what is built in ----------------------------------------------------------------------------- */

/* The published models' values, where they are not the default of the family. */
static const struct {
    const char *arch, *key, *json;
} constants[] = {
    {"starcoder", "activation_function", "\"gelu\""},
    {"starcoder2", "sliding_window", "4096"},
    {"gemma3", "rope_local_base_freq", "10000.0"},
    {"qwen3moe", "norm_topk_prob", "true"},
};

/* Whether a tensor is there is a key in Hugging Face. */
static const struct {
    const char *arch, *key, *tensor;
} presences[] = {
    {"granite", "attention_bias", "blk.0.attn_q.bias"},
    {"granite", "mlp_bias", "blk.0.ffn_gate.bias"},
    {"smollm3", "attention_bias", "blk.0.attn_q.bias"},
    {"smollm3", "mlp_bias", "blk.0.ffn_gate.bias"},
    {"qwen3", "attention_bias", "blk.0.attn_q.bias"},
    {"qwen3moe", "attention_bias", "blk.0.attn_q.bias"},
    {"starcoder2", "use_bias", "blk.0.attn_q.bias"},
    {"gptneox", "attention_bias", "blk.0.attn_qkv.bias"},
    {"command-r", "attention_bias", "blk.0.attn_q.bias"},
    {"olmo2", "attention_bias", "blk.0.attn_q.bias"},
    {"command-r", "use_qk_norm", "blk.0.attn_q_norm.weight"},
    {"stablelm", "use_qkv_bias", "blk.0.attn_q.bias"},
    {"stablelm", "qk_layernorm", "blk.0.attn_q_norm.weight"},
    {"falcon", "bias", "blk.0.attn_qkv.bias"},
};

/* Architectures whose converter writes 4 x hidden size whatever the width is. */
static const char *const width_from_tensor[] = {"gpt2", "starcoder", "falcon", "bloom", "mpt",
                                                "phi2"};

static sonde_status put_default(gguf_builder *b, const char *key, json_t *value)
{
    if (!json_object_get(b->root, key)) return gguf_put(b, b->root, key, value);
    json_decref(value);
    return SONDE_OK;
}

static sonde_status put_constants(gguf_builder *b)
{
    for (size_t i = 0; i < SONDE_COUNT(constants); i++)
        if (strcmp(constants[i].arch, b->arch) == 0)
            SONDE_TRY(put_default(b, constants[i].key,
                                  json_loads(constants[i].json, JSON_DECODE_ANY, NULL)));
    if (sonde_gguf_count(b->gguf) == 0) return SONDE_OK;
    for (size_t i = 0; i < SONDE_COUNT(presences); i++)
        if (strcmp(presences[i].arch, b->arch) == 0)
            SONDE_TRY(put_default(b, presences[i].key,
                                  json_boolean(gguf_find_tensor(b, presences[i].tensor, 0))));
    return SONDE_OK;
}

static sonde_status put_width(gguf_builder *b)
{
    const sonde_tensor *up = gguf_find_tensor(b, "blk.0.ffn_up.weight", 0);
    for (size_t i = 0; up && i < SONDE_COUNT(width_from_tensor); i++)
        if (strcmp(width_from_tensor[i], b->arch) == 0)
            return gguf_put(b, b->root, "intermediate_size", json_integer(up->shape[0]));
    return SONDE_OK;
}

/* Layers that have (or have not) a router, as a list of their indices. */
static sonde_status put_layers(gguf_builder *b, const char *key, bool with_router)
{
    json_t *list = json_array();
    if (!list) return sonde_no_memory(b->err, key, 0);
    for (int64_t i = 0; i < gguf_root_int(b, "num_hidden_layers"); i++) {
        bool has = gguf_find_tensor(b, "blk.%d.ffn_gate_inp.weight", i) != NULL;
        if (has == with_router && json_array_append_new(list, json_integer(i)) != 0) {
            json_decref(list);
            return sonde_no_memory(b->err, key, 0);
        }
    }
    return put_default(b, key, list);
}

/* A list of true and false for the layers becomes Hugging Face's names of them, also where all are
 * equal, which elsewhere is one value. */
static sonde_status put_layer_types(gguf_builder *b)
{
    const gguf_value *pattern = gguf_arch_key(b, "attention.sliding_window_pattern");
    bool known = !gguf_root_int(b, "sliding_window") || json_object_get(b->root, "layer_types");
    if (!pattern || pattern->kind != GGUF_ARRAY) return SONDE_OK;
    json_object_del(b->root, "sliding_window_pattern");
    if (known) return SONDE_OK;
    json_t *types = json_array();
    int64_t slides;
    for (uint64_t i = 0; gguf_integer(pattern, i, &slides); i++)
        json_array_append_new(types, json_string(slides ? "sliding_attention" : "full_attention"));
    return gguf_put(b, b->root, "layer_types", types);
}

/* ---- single architectures ------------------------------------------------------------------------------ */

/* `llama` holds Mistral and Mixtral too. A window is not among what its converter writes. */
static sonde_status finish_llama(gguf_builder *b)
{
    if (gguf_root_int(b, "num_local_experts") > 0)
        return gguf_put(b, b->root, "model_type", json_string("mixtral"));
    if (gguf_root_int(b, "sliding_window") > 0)
        return gguf_put(b, b->root, "model_type", json_string("mistral"));
    return SONDE_OK;
}

/* The scores' scale: d^-1/2, but for the 27B models, known by their layers. */
static sonde_status finish_gemma(gguf_builder *b)
{
    int64_t hidden = gguf_root_int(b, "hidden_size"), heads = gguf_root_int(b, "num_attention_heads");
    int64_t layers = gguf_root_int(b, "num_hidden_layers"), scalar = gguf_root_int(b, "head_dim");
    int64_t largest = strcmp(b->arch, "gemma2") == 0 ? 46 : 62;
    if (layers == largest && heads > 0) scalar = hidden / heads;
    return scalar > 0 ? put_default(b, "query_pre_attn_scalar", json_integer(scalar)) : SONDE_OK;
}

static sonde_status finish_starcoder(gguf_builder *b)
{
    bool many = gguf_root_int(b, "num_key_value_heads") != 1;
    return put_default(b, "multi_query", json_boolean(!many));
}

static sonde_status finish_gpt_oss(gguf_builder *b)
{
    json_t *rope = json_object_get(b->root, "rope_scaling");
    if (!rope || json_object_get(rope, "truncate")) return SONDE_OK;
    return gguf_put(b, rope, "truncate", json_false());
}

/* Maverick (128 experts) has no norm of q and k. */
static sonde_status finish_llama4(gguf_builder *b)
{
    SONDE_TRY(put_default(b, "use_qk_norm",
                          json_boolean(gguf_root_int(b, "num_local_experts") != 128)));
    return put_layers(b, "moe_layers", true);
}

static sonde_status finish_olmo2(gguf_builder *b)
{
    if (gguf_root_int(b, "sliding_window") == 0) return SONDE_OK;
    return gguf_put(b, b->root, "model_type", json_string("olmo3"));
}

/* Groups of heads are the new architecture, also with one norm for attention and MLP (11B). */
static sonde_status finish_falcon(gguf_builder *b)
{
    bool sequential = gguf_find_tensor(b, "blk.0.ffn_norm.weight", 0) != NULL;
    bool two_norms = gguf_find_tensor(b, "blk.0.attn_norm_2.weight", 0) != NULL;
    int64_t kv_heads = gguf_root_int(b, "num_kv_heads");
    bool one_head = kv_heads == 1;
    bool groups = kv_heads > 1 && kv_heads < gguf_root_int(b, "num_attention_heads");
    SONDE_TRY(put_default(b, "new_decoder_architecture", json_boolean(two_norms || groups)));
    SONDE_TRY(put_default(b, "num_ln_in_parallel_attn", json_integer(two_norms ? 2 : 1)));
    SONDE_TRY(put_default(b, "parallel_attn", json_boolean(!sequential)));
    return put_default(b, "multi_query", json_boolean(one_head));
}

static int64_t arch_int(const gguf_builder *b, const char *suffix)
{
    const gguf_value *value = gguf_arch_key(b, suffix);
    int64_t number;
    bool good = value && gguf_integer(value, 0, &number) && number > 0 && number <= 1 << 24;
    return good ? number : 0;
}

/* Widths of a head. Files from before the latent cache give them as key_length and value_length. */
static sonde_status put_latent_widths(gguf_builder *b)
{
    int64_t key = arch_int(b, "attention.key_length_mla"), rope = gguf_root_int(b, "qk_rope_head_dim");
    int64_t value = arch_int(b, "attention.value_length_mla");
    if (key == 0) key = arch_int(b, "attention.key_length");
    if (value == 0) value = arch_int(b, "attention.value_length");
    if (key <= rope || value == 0)
        return GGUF_BAD(b, "%s: heads of %lld and %lld dims with %lld rotated ones", b->file,
                        (long long)key, (long long)value, (long long)rope);
    SONDE_TRY(put_default(b, "qk_nope_head_dim", json_integer(key - rope)));
    return put_default(b, "v_head_dim", json_integer(value));
}

/* Groups are not in files from before 2025-11; only the two big models have them. */
static sonde_status put_groups(gguf_builder *b, bool v3)
{
    int64_t experts = gguf_root_int(b, "n_routed_experts");
    bool grouped = experts == (v3 ? 256 : 160);
    SONDE_TRY(put_default(b, "n_group", json_integer(grouped ? 8 : 1)));
    SONDE_TRY(put_default(b, "topk_group", json_integer(!grouped ? 1 : v3 ? 4 : 3)));
    if (v3) return SONDE_OK;
    bool limited = gguf_root_int(b, "n_group") > 1;
    return put_default(b, "topk_method", json_string(limited ? "group_limited_greedy" : "greedy"));
}

static sonde_status finish_deepseek2(gguf_builder *b)
{
    bool corrected = false;
    for (int64_t i = 0; !corrected && i < gguf_root_int(b, "num_hidden_layers"); i++)
        corrected = gguf_find_tensor(b, "blk.%d.exp_probs_b.bias", i) != NULL;
    bool v3 = corrected || arch_int(b, "expert_gating_func") == 2;
    if (v3) SONDE_TRY(gguf_put(b, b->root, "model_type", json_string("deepseek_v3")));
    SONDE_TRY(put_default(b, "norm_topk_prob", json_boolean(false)));
    SONDE_TRY(put_default(b, "scoring_func", json_string(v3 ? "sigmoid" : "softmax")));
    SONDE_TRY(put_groups(b, v3));
    return put_latent_widths(b);
}

static sonde_status finish_qwen3moe(gguf_builder *b)
{
    return put_layers(b, "mlp_only_layers", false);
}

static const struct {
    const char *arch;
    sonde_status (*finish)(gguf_builder *b);
} finishes[] = {
    {"llama", finish_llama},       {"gemma2", finish_gemma},   {"gemma3", finish_gemma},
    {"starcoder", finish_starcoder}, {"gpt-oss", finish_gpt_oss}, {"llama4", finish_llama4},
    {"olmo2", finish_olmo2},       {"falcon", finish_falcon},  {"deepseek2", finish_deepseek2},
    {"qwen3moe", finish_qwen3moe},
};

sonde_status gguf_finish_arch(gguf_builder *b)
{
    SONDE_TRY(put_constants(b));
    SONDE_TRY(put_width(b));
    SONDE_TRY(put_layer_types(b));
    for (size_t i = 0; i < SONDE_COUNT(finishes); i++)
        if (strcmp(finishes[i].arch, b->arch) == 0) return finishes[i].finish(b);
    return SONDE_OK;
}
