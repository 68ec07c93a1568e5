/*
 * config_gguf.c - GGUF metadata in Hugging Face's keys. The tables are the recipe: what a family
 * reads is the same whichever file it came from. What a file does not state stays absent, but for
 * what config_gguf_arch.c knows of an architecture. A key "sonde.X" says the Hugging Face key X
 * outright (dots for nested ones), over everything else: what GGUF has no key for can be told so.
 */
#include "config_gguf_internal.h"

#include <math.h>
#include <string.h>

/* Keys under "<architecture>."; "@eps" is layer_norm_eps as the family spells it. */
static const key_map key_maps[] = {
    {"embedding_length", "hidden_size", FORM_INT, 1, 1 << 24},
    {"block_count", "num_hidden_layers", FORM_INT, 1, 1 << 16},
    {"context_length", "max_position_embeddings", FORM_INT, 1, INT32_MAX},
    {"feed_forward_length", "intermediate_size", FORM_INT, 0, 1 << 28},
    {"vocab_size", "vocab_size", FORM_INT, 1, INT32_MAX},
    {"attention.head_count", "num_attention_heads", FORM_INT, 1, 1 << 16},
    {"attention.head_count_kv", "num_key_value_heads", FORM_INT, 1, 1 << 16},
    {"attention.key_length", "head_dim", FORM_INT, 1, 1 << 16},
    {"attention.value_length", NULL, FORM_INT, 1, 1 << 16},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", FORM_FLOAT, 0, 0},
    {"attention.layer_norm_epsilon", "layer_norm_eps", FORM_FLOAT, 0, 0},
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
    {"expert_weights_norm", "norm_topk_prob", FORM_BOOL, 0, 0},
    {"tensor_data_layout", NULL, FORM_TEXT, 0, 0},
};

/* Variants that no family has: any other value than this one is refused. */
static const struct {
    const char *gguf;
    double neutral;
} refused_keys[] = {
    {"attention.causal", 1},        {"attention.temperature_scale", 0},
    {"attention.output_scale", 1},  {"attention.shared_kv_layers", 0},
    {"router_logit_softcapping", 0}, {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.alpha", 0},      {"expert_group_scale", 1},
    {"embedding_length_per_layer_input", 0},
};

/* ---- values ---------------------------------------------------------------------------------------- */

sonde_status gguf_put(gguf_builder *b, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0) return SONDE_OK;
    return sonde_no_memory(b->err, key, 0);
}

sonde_status gguf_bad_kind(gguf_builder *b, const gguf_value *value, const char *expected)
{
    return GGUF_BAD(b, "%s: metadata key %.*s: expected %s, got %s", b->file, (int)value->key_bytes,
                    value->key, expected, gguf_kind_name(value->kind));
}

static sonde_status float_value(gguf_builder *b, const gguf_value *value, uint64_t index,
                                json_t **out)
{
    double number;
    if (!gguf_number(value, index, &number)) return gguf_bad_kind(b, value, "a number");
    if (!isfinite(number))
        return GGUF_BAD(b, "%s: metadata key %.*s is not finite", b->file, (int)value->key_bytes,
                        value->key);
    *out = json_real(number);
    return SONDE_OK;
}

static sonde_status int_value(gguf_builder *b, const gguf_value *value, uint64_t index,
                              const key_map *map, json_t **out)
{
    int64_t integer;
    if (!gguf_integer(value, index, &integer)) return gguf_bad_kind(b, value, "an integer");
    bool truth = map->form == FORM_BOOL;
    if (!truth && (integer < map->min || integer > map->max))
        return GGUF_BAD(b, "%s: metadata key %.*s: expected %lld to %lld, got %lld", b->file,
                        (int)value->key_bytes, value->key, (long long)map->min,
                        (long long)map->max, (long long)integer);
    *out = truth ? json_boolean(integer != 0) : json_integer(integer);
    return SONDE_OK;
}

/* One element in the form that the map asks for; given to the caller. */
static sonde_status one_value(gguf_builder *b, const gguf_value *value, uint64_t index,
                              const key_map *map, json_t **out)
{
    *out = NULL;
    if (map->form == FORM_FLOAT) {
        SONDE_TRY(float_value(b, value, index, out));
    } else if (map->form == FORM_TEXT) {
        if (value->kind != GGUF_STRING) return gguf_bad_kind(b, value, "a text");
        *out = json_stringn((const char *)value->data, (size_t)value->count);
        if (!*out) return gguf_bad_kind(b, value, "UTF-8");
    } else {
        SONDE_TRY(int_value(b, value, index, map, out));
    }
    return *out ? SONDE_OK : sonde_no_memory(b->err, map->gguf, 0);
}

static sonde_status list_value(gguf_builder *b, const gguf_value *value, const key_map *map,
                               json_t *list)
{
    if (value->count == 0 || value->count > 1 << 16)
        return GGUF_BAD(b, "%s: metadata key %.*s: %llu values are no list of layers", b->file,
                        (int)value->key_bytes, value->key, (unsigned long long)value->count);
    for (uint64_t i = 0; i < value->count; i++) {
        json_t *element;
        SONDE_TRY(one_value(b, value, i, map, &element));
        if (json_array_append_new(list, element) != 0) return sonde_no_memory(b->err, map->gguf, 0);
    }
    return SONDE_OK;
}

static bool all_equal(const json_t *list)
{
    for (size_t i = 1; i < json_array_size(list); i++)
        if (!json_equal(json_array_get(list, 0), json_array_get(list, i))) return false;
    return true;
}

sonde_status gguf_put_value(gguf_builder *b, json_t *object, const gguf_value *value,
                            const key_map *map)
{
    json_t *made = NULL;
    if (value->kind != GGUF_ARRAY) {
        SONDE_TRY(one_value(b, value, 0, map, &made));
        return gguf_put(b, object, map->key, made);
    }
    json_t *list = json_array();
    sonde_status status = list ? list_value(b, value, map, list)
                               : sonde_no_memory(b->err, map->gguf, 0);
    if (status == SONDE_OK)
        status = gguf_put(b, object, map->key,
                          json_incref(all_equal(list) ? json_array_get(list, 0) : list));
    json_decref(list);
    return status;
}

const gguf_value *gguf_arch_key(const gguf_builder *b, const char *suffix)
{
    char key[2 * SONDE_PRINTABLE_BYTES];
    snprintf(key, sizeof key, "%s.%s", b->arch, suffix);
    return gguf_find(b->gguf, key);
}

int64_t gguf_root_int(const gguf_builder *b, const char *key)
{
    return json_integer_value(json_object_get(b->root, key));
}

const sonde_tensor *gguf_find_tensor(const gguf_builder *b, const char *name, int64_t layer)
{
    char filled[SONDE_PRINTABLE_BYTES];
    int64_t count = sonde_gguf_count(b->gguf);
    const char *number = strstr(name, "%d");
    if (count == 0) return NULL;
    if (number)
        snprintf(filled, sizeof filled, "%.*s%lld%s", (int)(number - name), name, (long long)layer,
                 number + 2);
    return sonde_tensors_find(sonde_gguf_at(b->gguf, 0), count, number ? filled : name);
}

/* ---- keys of the architecture -------------------------------------------------------------------------- */

static sonde_status read_architecture(gguf_builder *b)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    const gguf_value *value = gguf_find(b->gguf, "general.architecture");
    if (!value) return GGUF_BAD(b, "%s: no metadata key general.architecture", b->file);
    if (value->kind != GGUF_STRING) return gguf_bad_kind(b, value, "a text");
    sonde_printable((const char *)value->data, (size_t)value->count, b->arch);
    if (value->count == 0 || strspn(b->arch, allowed) != value->count)
        return GGUF_BAD(b, "%s: unknown architecture '%s'", b->file, b->arch);
    return gguf_put(b, b->root, "model_type", json_string(gguf_model_type(b->arch)));
}

static const key_map *find_map(const gguf_builder *b, const char *suffix, size_t n)
{
    const key_map *map = gguf_arch_map(b, suffix, n);
    for (size_t i = 0; !map && i < SONDE_COUNT(key_maps); i++)
        if (strlen(key_maps[i].gguf) == n && memcmp(key_maps[i].gguf, suffix, n) == 0)
            map = &key_maps[i];
    return map;
}

static sonde_status check_refused(gguf_builder *b, const gguf_value *value, const char *suffix,
                                  size_t n, bool *known)
{
    double number;
    for (size_t i = 0; i < SONDE_COUNT(refused_keys); i++) {
        if (strlen(refused_keys[i].gguf) != n || memcmp(refused_keys[i].gguf, suffix, n) != 0)
            continue;
        *known = gguf_number(value, 0, &number) && !(fabs(number - refused_keys[i].neutral) > 0.0);
        if (*known) return SONDE_OK;
        return GGUF_BAD(b, "%s: not supported: metadata key %.*s (only %g)", b->file,
                        (int)value->key_bytes, value->key, refused_keys[i].neutral);
    }
    return SONDE_OK;
}

/* Keys that no table knows keep their name, so that whoever checks that every key was honoured sees
 * them. */
static sonde_status read_arch_key(gguf_builder *b, const gguf_value *value, const char *suffix,
                                  size_t n)
{
    const key_map *map = find_map(b, suffix, n);
    bool known = gguf_is_rope_key(suffix, n);
    if (map) return map->key ? gguf_put_value(b, b->root, value, map) : SONDE_OK;
    if (!known) SONDE_TRY(check_refused(b, value, suffix, n, &known));
    if (known) return SONDE_OK;
    char key[SONDE_PRINTABLE_BYTES];
    sonde_printable(value->key, value->key_bytes, key);
    return gguf_put(b, b->root, key, json_string(gguf_kind_name(value->kind)));
}

static sonde_status read_arch_keys(gguf_builder *b)
{
    size_t prefix = strlen(b->arch);
    for (int64_t i = 0; i < gguf_value_count(b->gguf); i++) {
        const gguf_value *value = gguf_value_at(b->gguf, i);
        if (value->key_bytes <= prefix || memcmp(value->key, b->arch, prefix) != 0) continue;
        if (value->key[prefix] != '.') continue;
        SONDE_TRY(read_arch_key(b, value, value->key + prefix + 1, value->key_bytes - prefix - 1));
    }
    return SONDE_OK;
}

/* ---- keys of our own -------------------------------------------------------------------------------------- */

static bool scalar_json(const gguf_value *value, uint64_t index, json_t **out)
{
    gguf_kind kind = value->kind == GGUF_ARRAY ? value->element : value->kind;
    int64_t integer;
    double number;
    *out = NULL;
    if (kind == GGUF_BOOL && gguf_integer(value, index, &integer))
        *out = json_boolean(integer != 0);
    else if (kind == GGUF_STRING && value->kind == GGUF_STRING)
        *out = json_stringn((const char *)value->data, (size_t)value->count);
    else if (gguf_integer(value, index, &integer))
        *out = json_integer(integer);
    else if (gguf_number(value, index, &number) && isfinite(number))
        *out = json_real(number);
    return *out != NULL;
}

static sonde_status any_json(gguf_builder *b, const gguf_value *value, json_t **out)
{
    bool good = true;
    if (value->kind != GGUF_ARRAY) {
        good = scalar_json(value, 0, out);
    } else {
        *out = json_array();
        for (uint64_t i = 0; good && i < value->count && value->count <= 1 << 16; i++) {
            json_t *element;
            good = scalar_json(value, i, &element) && json_array_append_new(*out, element) == 0;
        }
    }
    if (good && *out) return SONDE_OK;
    json_decref(*out);
    return gguf_bad_kind(b, value, "numbers, texts, true or false");
}

/* "rope_scaling.factor": the object that holds the last part, made when it is absent. */
static json_t *parent_of(json_t *object, const char **key)
{
    for (const char *dot = strchr(*key, '.'); dot && object; dot = strchr(*key, '.')) {
        json_t *inner = json_object_getn(object, *key, (size_t)(dot - *key));
        if (!json_is_object(inner)) {
            json_object_setn_new(object, *key, (size_t)(dot - *key), json_object());
            inner = json_object_getn(object, *key, (size_t)(dot - *key));
        }
        object = inner;
        *key = dot + 1;
    }
    return object;
}

static sonde_status read_own_keys(gguf_builder *b)
{
    static const char prefix[] = "sonde.";
    for (int64_t i = 0; i < gguf_value_count(b->gguf); i++) {
        const gguf_value *value = gguf_value_at(b->gguf, i);
        size_t n = sizeof prefix - 1;
        json_t *made;
        if (value->key_bytes <= n || memcmp(value->key, prefix, n) != 0) continue;
        char text[SONDE_PRINTABLE_BYTES];
        const char *key = sonde_printable(value->key + n, value->key_bytes - n, text);
        json_t *object = parent_of(b->root, &key);
        if (!object) return sonde_no_memory(b->err, text, 0);
        SONDE_TRY(any_json(b, value, &made));
        SONDE_TRY(gguf_put(b, object, key, made));
    }
    return SONDE_OK;
}

/* ---- tensors and vocabulary ---------------------------------------------------------------------------------- */

/* What only the tensors tell: the rows of the embedding and whether there is an output matrix. */
static sonde_status read_tensors(gguf_builder *b)
{
    if (sonde_gguf_count(b->gguf) == 0) return SONDE_OK;
    const sonde_tensor *embed = gguf_find_tensor(b, "token_embd.weight", 0);
    bool tied = !gguf_find_tensor(b, "output.weight", 0);
    SONDE_TRY(gguf_put(b, b->root, "tie_word_embeddings", json_boolean(tied)));
    if (!embed) return SONDE_OK;
    char shape[SONDE_SHAPE_BYTES];
    int64_t hidden = gguf_root_int(b, "hidden_size");
    if (embed->n_dims != 2 || (hidden > 0 && embed->shape[1] != hidden))
        return GGUF_BAD(b, "%s: tensor token_embd.weight: expected [vocabulary, %lld], file has %s",
                        b->file, (long long)hidden, sonde_shape_text(embed, shape));
    return gguf_put(b, b->root, "vocab_size", json_integer(embed->shape[0]));
}

static sonde_status read_vocabulary(gguf_builder *b)
{
    static const key_map ids[] = {
        {"tokenizer.ggml.bos_token_id", "bos_token_id", FORM_INT, 0, INT32_MAX},
        {"tokenizer.ggml.eos_token_id", "eos_token_id", FORM_INT, 0, INT32_MAX},
    };
    const gguf_value *tokens = gguf_find(b->gguf, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < SONDE_COUNT(ids); i++) {
        const gguf_value *value = gguf_find(b->gguf, ids[i].gguf);
        if (value) SONDE_TRY(gguf_put_value(b, b->root, value, &ids[i]));
    }
    if (!tokens || tokens->kind != GGUF_ARRAY || json_object_get(b->root, "vocab_size"))
        return SONDE_OK;
    return gguf_put(b, b->root, "vocab_size", json_integer((json_int_t)tokens->count));
}

/* ---- the whole --------------------------------------------------------------------------------------------- */

static sonde_status check(gguf_builder *b)
{
    int64_t hidden = gguf_root_int(b, "hidden_size"), heads = gguf_root_int(b, "num_attention_heads");
    bool own_width = json_object_get(b->root, "head_dim") || json_object_get(b->root, "kv_lora_rank");
    if (heads > 0 && hidden % heads != 0 && !own_width)
        return GGUF_BAD(b, "%s: embedding length %lld is no multiple of %lld heads", b->file,
                        (long long)hidden, (long long)heads);
    return SONDE_OK;
}

static sonde_status build(gguf_builder *b)
{
    SONDE_TRY(read_architecture(b));
    SONDE_TRY(read_arch_keys(b));
    SONDE_TRY(gguf_read_rope(b));
    SONDE_TRY(read_tensors(b));
    SONDE_TRY(read_vocabulary(b));
    SONDE_TRY(read_own_keys(b));
    SONDE_TRY(gguf_finish_arch(b));
    return check(b);
}

sonde_status sonde_config_from_gguf(const sonde_gguf *gguf, json_t **root, sonde_error *err)
{
    gguf_builder b = {.gguf = gguf, .file = gguf_file(gguf), .err = err};
    *root = NULL;
    b.root = json_object();
    sonde_status status = b.root ? build(&b) : sonde_no_memory(err, b.file, 0);
    if (status == SONDE_OK)
        *root = b.root;
    else
        json_decref(b.root);
    return status;
}
