/*
 * config_gguf.c - GGUF metadata in Hugging Face's keys. The tables are the recipe: what a family
 * reads is the same whichever file it came from. What a file does not state stays absent.
 */
#include "container.h"

#include <math.h>
#include <string.h>

typedef enum value_form { FORM_INT, FORM_FLOAT, FORM_BOOL, FORM_TEXT } value_form;

/* Keys under "<architecture>.", with the Hugging Face key ("@eps": by architecture). */
static const struct key_map {
    const char *gguf, *key;
    value_form form;
    int64_t min, max;
} key_maps[] = {
    {"embedding_length", "hidden_size", FORM_INT, 1, 1 << 24},
    {"block_count", "num_hidden_layers", FORM_INT, 1, 1 << 16},
    {"context_length", "max_position_embeddings", FORM_INT, 1, INT32_MAX},
    {"feed_forward_length", "intermediate_size", FORM_INT, 0, 1 << 28},
    {"vocab_size", "vocab_size", FORM_INT, 1, INT32_MAX},
    {"attention.head_count", "num_attention_heads", FORM_INT, 1, 1 << 16},
    {"attention.head_count_kv", "num_key_value_heads", FORM_INT, 1, 1 << 16},
    {"attention.key_length", "head_dim", FORM_INT, 1, 1 << 16},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", FORM_FLOAT, 0, 0},
    {"attention.layer_norm_epsilon", "@eps", FORM_FLOAT, 0, 0},
    {"attention.sliding_window", "sliding_window", FORM_INT, 0, INT32_MAX},
    {"attention.sliding_window_pattern", "sliding_window_pattern", FORM_INT, 0, 1 << 16},
    {"attention.scale", "attention_multiplier", FORM_FLOAT, 0, 0},
    {"attention.clamp_kqv", "clip_qkv", FORM_FLOAT, 0, 0},
    {"attn_logit_softcapping", "attn_logit_softcapping", FORM_FLOAT, 0, 0},
    {"final_logit_softcapping", "final_logit_softcapping", FORM_FLOAT, 0, 0},
    {"use_parallel_residual", "use_parallel_residual", FORM_BOOL, 0, 0},
    {"logit_scale", "logit_scale", FORM_FLOAT, 0, 0},
    {"embedding_scale", "embedding_multiplier", FORM_FLOAT, 0, 0},
    {"residual_scale", "residual_multiplier", FORM_FLOAT, 0, 0},
    {"rope.freq_base", "rope_theta", FORM_FLOAT, 0, 0},
    {"rope.freq_base_swa", "rope_local_base_freq", FORM_FLOAT, 0, 0},
    {"expert_count", "num_local_experts", FORM_INT, 0, 1 << 16},
    {"expert_used_count", "num_experts_per_tok", FORM_INT, 0, 1 << 16},
    {"expert_feed_forward_length", "moe_intermediate_size", FORM_INT, 0, 1 << 28},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", FORM_INT, 0, 1 << 28},
};

/* Keys that are read elsewhere, or that say nothing about the forward pass. */
static const char *const other_keys[] = {
    "rope.dimension_count",        "rope.scaling.type",
    "rope.scaling.factor",         "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow", "rope.scaling.finetuned",
    "rope.scale_linear",           "attention.value_length",
    "tensor_data_layout",
};

/* Architectures whose Hugging Face names differ; `eps` is the key of layer_norm_epsilon. */
static const struct arch_map {
    const char *arch, *model_type, *eps;
} arch_maps[] = {
    {"gpt2", "gpt2", "layer_norm_epsilon"},
    {"starcoder", "gpt_bigcode", "layer_norm_epsilon"},
    {"starcoder2", "starcoder2", "norm_epsilon"},
    {"gptj", "gptj", "layer_norm_epsilon"},
    {"gptneox", "gpt_neox", "layer_norm_eps"},
    {"gemma3", "gemma3_text", NULL},
    {"qwen3moe", "qwen3_moe", NULL},
    {"command-r", "cohere", "layer_norm_eps"},
    {"gpt-oss", "gpt_oss", NULL},
    {"llama4", "llama4_text", NULL},
};

typedef struct builder {
    const sonde_gguf *gguf;
    const char *file;
    char arch[SONDE_PRINTABLE_BYTES];
    json_t *root;
    sonde_error *err;
} builder;

#define BAD(b, ...) sonde_fail((b)->err, SONDE_BAD_MODEL, __VA_ARGS__)

static sonde_status put(builder *b, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0) return SONDE_OK;
    return sonde_no_memory(b->err, key, 0);
}

static sonde_status bad_kind(builder *b, const gguf_value *value, const char *expected)
{
    return BAD(b, "%s: metadata key %.*s: expected %s, got %s", b->file, (int)value->key_bytes,
               value->key, expected, gguf_kind_name(value->kind));
}

/* One element in the form that the table asks for; given to the caller. */
static sonde_status one_value(builder *b, const gguf_value *value, uint64_t index,
                              const struct key_map *map, json_t **out)
{
    int64_t integer;
    double number;
    if (map->form == FORM_FLOAT) {
        if (!gguf_number(value, index, &number)) return bad_kind(b, value, "a number");
        if (!isfinite(number))
            return BAD(b, "%s: metadata key %.*s is not finite", b->file, (int)value->key_bytes,
                       value->key);
        *out = json_real(number);
    } else if (map->form == FORM_TEXT) {
        if (value->kind != GGUF_STRING) return bad_kind(b, value, "a text");
        *out = json_stringn((const char *)value->data, (size_t)value->count);
        if (!*out) return bad_kind(b, value, "UTF-8");
    } else {
        if (!gguf_integer(value, index, &integer)) return bad_kind(b, value, "an integer");
        bool truth = map->form == FORM_BOOL;
        if (!truth && (integer < map->min || integer > map->max))
            return BAD(b, "%s: metadata key %.*s: expected %lld to %lld, got %lld", b->file,
                       (int)value->key_bytes, value->key, (long long)map->min, (long long)map->max,
                       (long long)integer);
        *out = truth ? json_boolean(integer != 0) : json_integer(integer);
    }
    return *out ? SONDE_OK : sonde_no_memory(b->err, map->key, 0);
}

/* A per-layer array: one value when all are equal, else a list. */
static sonde_status array_value(builder *b, const gguf_value *value, const struct key_map *map,
                                json_t **out)
{
    bool equal = true;
    json_t *list = json_array(), *element = NULL;
    sonde_status status = list ? SONDE_OK : sonde_no_memory(b->err, map->key, 0);
    if (status == SONDE_OK && (value->count == 0 || value->count > 1 << 16))
        status = BAD(b, "%s: metadata key %.*s: %llu values are no list of layers", b->file,
                     (int)value->key_bytes, value->key, (unsigned long long)value->count);
    for (uint64_t i = 0; status == SONDE_OK && i < value->count; i++) {
        status = one_value(b, value, i, map, &element);
        if (status != SONDE_OK) break;
        if (json_array_append_new(list, element) != 0)
            status = sonde_no_memory(b->err, map->key, 0);
        else
            equal = equal && json_equal(json_array_get(list, 0), element);
    }
    if (status == SONDE_OK) *out = json_incref(equal ? json_array_get(list, 0) : list);
    json_decref(list);
    return status;
}

static sonde_status put_value(builder *b, json_t *object, const gguf_value *value,
                              const struct key_map *map, const char *key)
{
    json_t *made = NULL;
    SONDE_TRY(value->kind == GGUF_ARRAY ? array_value(b, value, map, &made)
                                        : one_value(b, value, 0, map, &made));
    return put(b, object, key, made);
}

static const gguf_value *find_arch_key(const builder *b, const char *suffix)
{
    char key[2 * SONDE_PRINTABLE_BYTES];
    snprintf(key, sizeof key, "%s.%s", b->arch, suffix);
    return gguf_find(b->gguf, key);
}

static const struct arch_map *arch_entry(const builder *b)
{
    for (size_t i = 0; i < SONDE_COUNT(arch_maps); i++)
        if (strcmp(b->arch, arch_maps[i].arch) == 0) return &arch_maps[i];
    return NULL;
}

static sonde_status read_architecture(builder *b)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    const gguf_value *value = gguf_find(b->gguf, "general.architecture");
    if (!value) return BAD(b, "%s: no metadata key general.architecture", b->file);
    if (value->kind != GGUF_STRING) return bad_kind(b, value, "a text");
    sonde_printable((const char *)value->data, (size_t)value->count, b->arch);
    if (value->count == 0 || strspn(b->arch, allowed) != value->count)
        return BAD(b, "%s: unknown architecture '%s'", b->file, b->arch);
    const struct arch_map *entry = arch_entry(b);
    return put(b, b->root, "model_type", json_string(entry ? entry->model_type : b->arch));
}

static sonde_status read_mapped_keys(builder *b)
{
    const struct arch_map *entry = arch_entry(b);
    const char *eps = entry && entry->eps ? entry->eps : "layer_norm_eps";
    for (size_t i = 0; i < SONDE_COUNT(key_maps); i++) {
        const struct key_map *map = &key_maps[i];
        const gguf_value *value = find_arch_key(b, map->gguf);
        if (!value) continue;
        const char *key = strcmp(map->key, "@eps") == 0 ? eps : map->key;
        SONDE_TRY(put_value(b, b->root, value, map, key));
    }
    return SONDE_OK;
}

static bool is_known_suffix(const char *suffix, size_t n)
{
    for (size_t i = 0; i < SONDE_COUNT(key_maps); i++)
        if (strlen(key_maps[i].gguf) == n && memcmp(key_maps[i].gguf, suffix, n) == 0) return true;
    for (size_t i = 0; i < SONDE_COUNT(other_keys); i++)
        if (strlen(other_keys[i]) == n && memcmp(other_keys[i], suffix, n) == 0) return true;
    return false;
}

/* Keys of the architecture that no table knows keep their name, so that whoever checks that every
 * key was honoured sees them. */
static sonde_status read_unknown_keys(builder *b)
{
    size_t prefix = strlen(b->arch);
    for (int64_t i = 0; i < gguf_value_count(b->gguf); i++) {
        const gguf_value *value = gguf_value_at(b->gguf, i);
        if (value->key_bytes <= prefix || memcmp(value->key, b->arch, prefix) != 0) continue;
        if (value->key[prefix] != '.') continue;
        if (is_known_suffix(value->key + prefix + 1, value->key_bytes - prefix - 1)) continue;
        char key[SONDE_PRINTABLE_BYTES];
        sonde_printable(value->key, value->key_bytes, key);
        SONDE_TRY(put(b, b->root, key, json_string(gguf_kind_name(value->kind))));
    }
    return SONDE_OK;
}

/* Scaling keys, in the names that rope_scaling has. */
static const struct key_map rope_maps[] = {
    {"rope.scaling.type", "rope_type", FORM_TEXT, 0, 0},
    {"rope.scaling.factor", "factor", FORM_FLOAT, 0, 0},
    {"rope.scaling.original_context_length", "original_max_position_embeddings", FORM_INT, 1,
     INT32_MAX},
    {"rope.scaling.yarn_beta_fast", "beta_fast", FORM_FLOAT, 0, 0},
    {"rope.scaling.yarn_beta_slow", "beta_slow", FORM_FLOAT, 0, 0},
};

/* attn_factor: longrope's whole factor, but a multiplier of yarn's own 0.1 ln(factor) + 1. */
static sonde_status read_attention_factor(builder *b, json_t *rope, const char *type)
{
    const gguf_value *value = find_arch_key(b, "rope.scaling.attn_factor");
    double number, factor = json_number_value(json_object_get(rope, "factor"));
    if (!value) return SONDE_OK;
    if (!gguf_number(value, 0, &number) || !isfinite(number))
        return bad_kind(b, value, "a finite number");
    if (strcmp(type, "yarn") == 0) {
        if (!(fabs(number - 1.0) > 0.0)) return SONDE_OK;
        number *= factor > 1.0 ? 0.1 * log(factor) + 1.0 : 1.0;
    }
    return put(b, rope, "attention_factor", json_real(number));
}

static sonde_status fill_rope_scaling(builder *b, json_t *rope)
{
    for (size_t i = 0; i < SONDE_COUNT(rope_maps); i++) {
        const gguf_value *value = find_arch_key(b, rope_maps[i].gguf);
        if (value) SONDE_TRY(put_value(b, rope, value, &rope_maps[i], rope_maps[i].key));
    }
    const gguf_value *linear = find_arch_key(b, "rope.scale_linear"); /* before 2023-09 */
    static const struct key_map linear_map = {"rope.scale_linear", "factor", FORM_FLOAT, 0, 0};
    if (linear && !json_object_get(rope, "factor")) {
        SONDE_TRY(put_value(b, rope, linear, &linear_map, "factor"));
        if (json_number_value(json_object_get(rope, "factor")) > 1.0)
            SONDE_TRY(put(b, rope, "rope_type", json_string("linear")));
    }
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type || strcmp(type, "none") == 0) {
        json_object_clear(rope);
        return SONDE_OK;
    }
    return read_attention_factor(b, rope, type);
}

static sonde_status read_rope_scaling(builder *b)
{
    json_t *rope = json_object();
    sonde_status status = rope ? fill_rope_scaling(b, rope) : sonde_no_memory(b->err, "rope", 0);
    if (status == SONDE_OK && json_object_size(rope) > 0)
        return put(b, b->root, "rope_scaling", rope);
    json_decref(rope);
    return status;
}

static int64_t root_int(const builder *b, const char *key)
{
    return json_integer_value(json_object_get(b->root, key));
}

/* rope.dimension_count below the head's width is Hugging Face's partial_rotary_factor. */
static sonde_status read_rotary_dims(builder *b)
{
    const gguf_value *value = find_arch_key(b, "rope.dimension_count");
    int64_t dims, heads = root_int(b, "num_attention_heads"), head_dim = root_int(b, "head_dim");
    if (!value) return SONDE_OK;
    if (head_dim == 0 && heads > 0) head_dim = root_int(b, "hidden_size") / heads;
    if (!gguf_integer(value, 0, &dims) || dims < 0 || dims > 1 << 16)
        return bad_kind(b, value, "an integer from 0 to 65536");
    if (head_dim == 0 || dims == head_dim) return SONDE_OK;
    if (dims > head_dim)
        return BAD(b, "%s: %s.rope.dimension_count is %lld, heads are only %lld wide", b->file,
                   b->arch, (long long)dims, (long long)head_dim);
    double factor = (double)dims / (double)head_dim;
    while ((int64_t)(factor * (double)head_dim) < dims) factor = nextafter(factor, 2.0);
    return put(b, b->root, "partial_rotary_factor", json_real(factor));
}

/* What only the tensors tell: the rows of the embedding and whether there is an output matrix. */
static sonde_status read_tensors(builder *b)
{
    int64_t count = sonde_gguf_count(b->gguf);
    if (count == 0) return SONDE_OK;
    const sonde_tensor *tensors = sonde_gguf_at(b->gguf, 0);
    const sonde_tensor *embed = sonde_tensors_find(tensors, count, "token_embd.weight");
    bool tied = !sonde_tensors_find(tensors, count, "output.weight");
    SONDE_TRY(put(b, b->root, "tie_word_embeddings", json_boolean(tied)));
    if (!embed) return SONDE_OK;
    char shape[SONDE_SHAPE_BYTES];
    int64_t hidden = root_int(b, "hidden_size");
    if (embed->n_dims != 2 || (hidden > 0 && embed->shape[1] != hidden))
        return BAD(b, "%s: tensor token_embd.weight: expected [vocabulary, %lld], file has %s",
                   b->file, (long long)hidden, sonde_shape_text(embed, shape));
    return put(b, b->root, "vocab_size", json_integer(embed->shape[0]));
}

static sonde_status read_vocabulary(builder *b)
{
    static const struct key_map ids[] = {
        {"tokenizer.ggml.bos_token_id", "bos_token_id", FORM_INT, 0, INT32_MAX},
        {"tokenizer.ggml.eos_token_id", "eos_token_id", FORM_INT, 0, INT32_MAX},
    };
    const gguf_value *tokens = gguf_find(b->gguf, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < SONDE_COUNT(ids); i++) {
        const gguf_value *value = gguf_find(b->gguf, ids[i].gguf);
        if (value) SONDE_TRY(put_value(b, b->root, value, &ids[i], ids[i].key));
    }
    if (!tokens || tokens->kind != GGUF_ARRAY || json_object_get(b->root, "vocab_size"))
        return SONDE_OK;
    return put(b, b->root, "vocab_size", json_integer((json_int_t)tokens->count));
}

/* The sum of what files of several architectures share; families check the rest. */
static sonde_status check(builder *b)
{
    int64_t hidden = root_int(b, "hidden_size"), heads = root_int(b, "num_attention_heads");
    if (heads > 0 && hidden % heads != 0 && !json_object_get(b->root, "head_dim"))
        return BAD(b, "%s: embedding length %lld is no multiple of %lld heads", b->file,
                   (long long)hidden, (long long)heads);
    if (strcmp(b->arch, "llama") == 0 && root_int(b, "num_local_experts") > 0)
        return put(b, b->root, "model_type", json_string("mixtral"));
    const gguf_value *split = gguf_find(b->gguf, "split.count");
    int64_t parts;
    if (split && gguf_integer(split, 0, &parts) && parts > 1)
        return BAD(b, "%s: one of %lld parts of a split GGUF: join them first (gguf-split --merge)",
                   b->file, (long long)parts);
    return SONDE_OK;
}

static sonde_status build(builder *b)
{
    SONDE_TRY(read_architecture(b));
    SONDE_TRY(read_mapped_keys(b));
    SONDE_TRY(read_unknown_keys(b));
    SONDE_TRY(read_rope_scaling(b));
    SONDE_TRY(read_rotary_dims(b));
    SONDE_TRY(read_tensors(b));
    SONDE_TRY(read_vocabulary(b));
    return check(b);
}

sonde_status sonde_config_from_gguf(const sonde_gguf *gguf, json_t **root, sonde_error *err)
{
    builder b = {.gguf = gguf, .file = gguf_file(gguf), .err = err};
    *root = NULL;
    b.root = json_object();
    sonde_status status = b.root ? build(&b) : sonde_no_memory(err, b.file, 0);
    if (status == SONDE_OK)
        *root = b.root;
    else
        json_decref(b.root);
    return status;
}
