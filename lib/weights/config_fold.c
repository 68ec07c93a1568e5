/*
 * config_fold.c - one spelling for what transformers has written in several ways: text_config laid
 * over a multimodal wrapper, GPT-2's names, torch_dtype, and the rope keys.
 */
#include "container.h"

#include <string.h>

static const struct {
    const char *old, *now;
} aliases[] = {
    {"n_embd", "hidden_size"},          {"n_layer", "num_hidden_layers"},
    {"n_head", "num_attention_heads"},  {"n_positions", "max_position_embeddings"},
    {"d_model", "hidden_size"},         {"n_layers", "num_hidden_layers"},
    {"n_heads", "num_attention_heads"}, {"max_seq_len", "max_position_embeddings"},
    {"n_embed", "hidden_size"},         {"n_inner", "intermediate_size"},
    {"num_experts", "num_local_experts"}, {"n_routed_experts", "num_local_experts"},
    {"experts_per_token", "num_experts_per_tok"},
    {"rotary_emb_base", "rope_theta"},  {"rotary_pct", "partial_rotary_factor"},
};

/* Keys that rope_parameters holds and that older files put beside it. */
static const char *const rope_keys[] = {"rope_theta", "partial_rotary_factor",
                                        "original_max_position_embeddings"};

static void drop_nulls(json_t *object)
{
    void *next;
    for (void *at = json_object_iter(object); at; at = next) {
        next = json_object_iter_next(object, at);
        if (json_is_null(json_object_iter_value(at)))
            json_object_del(object, json_object_iter_key(at));
    }
}

/* Nulls of the root stay, for families where null is not what absence means. */
static json_t *get(const json_t *root, const char *key)
{
    json_t *value = json_object_get(root, key);
    return json_is_null(value) ? NULL : value;
}

static sonde_status expect_object(const json_t *value, const char *key, const char *source,
                                  sonde_error *err)
{
    if (!value || json_is_object(value)) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: expected \"%s\" to be an object", source, key);
}

/* A null of the text model says nothing where the wrapper says something. */
static void drop_nulls_under(json_t *object, const json_t *outer)
{
    void *next;
    for (void *at = json_object_iter(object); at; at = next) {
        const char *key = json_object_iter_key(at);
        next = json_object_iter_next(object, at);
        if (json_is_null(json_object_iter_value(at)) && get(outer, key)) json_object_del(object, key);
    }
}

static sonde_status lay_text_config(json_t *root, const char *source, sonde_error *err)
{
    json_t *text = get(root, "text_config");
    SONDE_TRY(expect_object(text, "text_config", source, err));
    if (!text) return SONDE_OK;
    json_object_del(text, "text_config");
    drop_nulls_under(text, root);
    json_incref(text);
    json_object_del(root, "text_config");
    int failed = json_object_update(root, text);
    json_decref(text);
    return failed ? sonde_no_memory(err, source, 0) : SONDE_OK;
}

/* Moves `old` to `now`; where both stand they must agree. */
static sonde_status rename_key(json_t *root, const char *old, const char *now, const char *source,
                               sonde_error *err)
{
    json_t *value = json_object_get(root, old), *other = get(root, now);
    if (!value) return SONDE_OK;
    if (other && !json_is_null(value) && !json_equal(value, other))
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: \"%s\" and \"%s\" disagree", source, old, now);
    if (!other && json_object_set(root, now, value) != 0) return sonde_no_memory(err, source, 0);
    json_object_del(root, old);
    return SONDE_OK;
}

/* A dictionary of rope parameters that the file has: rope_type is always there. */
static sonde_status tidy_rope(json_t *rope, const char *source, sonde_error *err)
{
    drop_nulls(rope);
    if (json_object_get(rope, "rope_type")) json_object_del(rope, "type");
    SONDE_TRY(rename_key(rope, "type", "rope_type", source, err));
    json_t *type = json_object_get(rope, "rope_type");
    if (type && !json_is_string(type))
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: expected \"rope_type\" to be a text", source);
    const char *name = type ? json_string_value(type) : "default";
    if (strcmp(name, "su") == 0) name = "longrope";
    if (type && strcmp(name, json_string_value(type)) == 0) return SONDE_OK;
    if (json_object_set_new(rope, "rope_type", json_string(name)) != 0)
        return sonde_no_memory(err, source, 0);
    return SONDE_OK;
}

static sonde_status expect_number(const json_t *value, const char *key, const char *source,
                                  sonde_error *err)
{
    if (json_is_number(value)) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: expected \"%s\" to be a number", source, key);
}

static sonde_status take_outer_keys(json_t *root, json_t *rope, const char *source,
                                    sonde_error *err)
{
    for (size_t i = 0; i < SONDE_COUNT(rope_keys); i++) {
        json_t *outer = get(root, rope_keys[i]);
        if (!outer) continue;
        SONDE_TRY(expect_number(outer, rope_keys[i], source, err));
        if (!json_object_get(rope, rope_keys[i]) && json_object_set(rope, rope_keys[i], outer) != 0)
            return sonde_no_memory(err, source, 0);
        json_object_del(root, rope_keys[i]);
    }
    return SONDE_OK;
}

static bool has_sections(json_t *rope)
{
    for (void *at = json_object_iter(rope); at; at = json_object_iter_next(rope, at))
        if (json_is_object(json_object_iter_value(at))) return true;
    return false;
}

/* Gemma 3's old form: rope_local_base_freq is the base of the sliding layers; scaling is for the
 * full ones. Gives {"full_attention": rope, "sliding_attention": {...}}; takes over `rope`. */
static json_t *split_sections(json_t *root, json_t *rope)
{
    json_t *local = get(root, "rope_local_base_freq");
    if (!local) return rope;
    json_t *both = json_pack("{s:o, s:{s:s, s:O}}", "full_attention", rope, "sliding_attention",
                             "rope_type", "default", "rope_theta", local);
    json_object_del(root, "rope_local_base_freq");
    return both;
}

static sonde_status tidy_sections(json_t *rope, const char *source, sonde_error *err)
{
    drop_nulls(rope);
    for (void *at = json_object_iter(rope); at; at = json_object_iter_next(rope, at)) {
        SONDE_TRY(expect_object(json_object_iter_value(at), json_object_iter_key(at), source, err));
        SONDE_TRY(tidy_rope(json_object_iter_value(at), source, err));
    }
    return SONDE_OK;
}

static bool mentions_rope(json_t *root)
{
    for (size_t i = 0; i < SONDE_COUNT(rope_keys); i++)
        if (get(root, rope_keys[i])) return true;
    return get(root, "rope_local_base_freq") != NULL;
}

static sonde_status fold_rope(json_t *root, const char *source, sonde_error *err)
{
    json_t *now = get(root, "rope_parameters");
    json_t *old = get(root, "rope_scaling");
    SONDE_TRY(expect_object(now, "rope_parameters", source, err));
    SONDE_TRY(expect_object(old, "rope_scaling", source, err));
    if (!now && !old && !mentions_rope(root)) return SONDE_OK;
    json_t *local = get(root, "rope_local_base_freq");
    if (local) SONDE_TRY(expect_number(local, "rope_local_base_freq", source, err));
    json_t *rope = now ? now : old;
    rope = rope ? json_deep_copy(rope) : json_object();
    json_object_del(root, "rope_scaling");
    sonde_status status = rope ? SONDE_OK : sonde_no_memory(err, source, 0);
    if (status == SONDE_OK && has_sections(rope)) {
        status = tidy_sections(rope, source, err);
    } else if (status == SONDE_OK) {
        status = take_outer_keys(root, rope, source, err);
        if (status == SONDE_OK && (now || old)) status = tidy_rope(rope, source, err);
        if (status == SONDE_OK) rope = split_sections(root, rope);
    }
    if (status != SONDE_OK) {
        json_decref(rope);
        return status;
    }
    if (json_object_set_new(root, "rope_parameters", rope) != 0)
        return sonde_no_memory(err, source, 0);
    return SONDE_OK;
}

/* Early files of Llama 4 switch its temperature on by a number. */
static sonde_status make_boolean(json_t *root, const char *key, sonde_error *err)
{
    const json_t *value = json_object_get(root, key);
    if (!json_is_integer(value)) return SONDE_OK;
    json_t *flag = json_boolean(json_integer_value(value) != 0);
    return json_object_set_new(root, key, flag) == 0 ? SONDE_OK : sonde_no_memory(err, key, 0);
}

sonde_status sonde_config_normalise(json_t *root, const char *source, sonde_error *err)
{
    if (!json_is_object(root))
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: expected a JSON object", source);
    SONDE_TRY(lay_text_config(root, source, err));
    for (size_t i = 0; i < SONDE_COUNT(aliases); i++)
        SONDE_TRY(rename_key(root, aliases[i].old, aliases[i].now, source, err));
    if (get(root, "dtype")) json_object_del(root, "torch_dtype");
    SONDE_TRY(rename_key(root, "torch_dtype", "dtype", source, err));
    SONDE_TRY(make_boolean(root, "attn_temperature_tuning", err));
    return fold_rope(root, source, err);
}
