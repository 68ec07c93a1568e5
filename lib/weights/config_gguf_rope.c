/* config_gguf_rope.c - rope.* of GGUF metadata in the names that rope_scaling has. */
#include "config_gguf_internal.h"

#include <math.h>
#include <string.h>

static const key_map rope_maps[] = {
    {"rope.scaling.type", "rope_type", FORM_TEXT, 0, 0},
    {"rope.scaling.factor", "factor", FORM_FLOAT, 0, 0},
    {"rope.scaling.original_context_length", "original_max_position_embeddings", FORM_INT, 1,
     INT32_MAX},
    {"rope.scaling.yarn_beta_fast", "beta_fast", FORM_FLOAT, 0, 0},
    {"rope.scaling.yarn_beta_slow", "beta_slow", FORM_FLOAT, 0, 0},
    {"rope.scaling.yarn_attn_factor", "attention_factor", FORM_FLOAT, 0, 0},
};

/* Read by functions here, or without a meaning for the forward pass. */
static const char *const other_keys[] = {
    "rope.dimension_count", "rope.scaling.attn_factor", "rope.scaling.yarn_log_multiplier",
    "rope.scaling.finetuned", "rope.scale_linear"};

bool gguf_is_rope_key(const char *suffix, size_t n)
{
    for (size_t i = 0; i < SONDE_COUNT(rope_maps); i++)
        if (strlen(rope_maps[i].gguf) == n && memcmp(rope_maps[i].gguf, suffix, n) == 0) return true;
    for (size_t i = 0; i < SONDE_COUNT(other_keys); i++)
        if (strlen(other_keys[i]) == n && memcmp(other_keys[i], suffix, n) == 0) return true;
    return false;
}

static sonde_status finite_number(gguf_builder *b, const gguf_value *value, double *number)
{
    if (gguf_number(value, 0, number) && isfinite(*number)) return SONDE_OK;
    return gguf_bad_kind(b, value, "a finite number");
}

/* attn_factor: longrope's whole factor, but a multiplier of yarn's own 0.1 ln(factor) + 1. */
static sonde_status read_attention_factor(gguf_builder *b, json_t *rope, const char *type)
{
    const gguf_value *value = gguf_arch_key(b, "rope.scaling.attn_factor");
    double number = 1.0, factor = json_number_value(json_object_get(rope, "factor"));
    if (!value) return SONDE_OK;
    SONDE_TRY(finite_number(b, value, &number));
    if (strcmp(type, "yarn") == 0) {
        if (!(fabs(number - 1.0) > 0.0)) return SONDE_OK;
        number *= factor > 1.0 ? 0.1 * log(factor) + 1.0 : 1.0;
    }
    return gguf_put(b, rope, "attention_factor", json_real(number));
}

/* DeepSeek: 0.1 mscale_all_dim; its files never have an mscale that differs from it. */
static sonde_status read_log_multiplier(gguf_builder *b, json_t *rope)
{
    const gguf_value *value = gguf_arch_key(b, "rope.scaling.yarn_log_multiplier");
    double number = 0.0;
    if (!value) return SONDE_OK;
    SONDE_TRY(finite_number(b, value, &number));
    SONDE_TRY(gguf_put(b, rope, "mscale", json_real(number / 0.1)));
    return gguf_put(b, rope, "mscale_all_dim", json_real(number / 0.1));
}

/* The key of files from before 2023-09. */
static sonde_status read_old_linear(gguf_builder *b, json_t *rope)
{
    static const key_map map = {"rope.scale_linear", "factor", FORM_FLOAT, 0, 0};
    const gguf_value *linear = gguf_arch_key(b, map.gguf);
    if (!linear || json_object_get(rope, "factor")) return SONDE_OK;
    SONDE_TRY(gguf_put_value(b, rope, linear, &map));
    if (json_number_value(json_object_get(rope, "factor")) <= 1.0) return SONDE_OK;
    return gguf_put(b, rope, "rope_type", json_string("linear"));
}

static sonde_status fill_scaling(gguf_builder *b, json_t *rope)
{
    for (size_t i = 0; i < SONDE_COUNT(rope_maps); i++) {
        const gguf_value *value = gguf_arch_key(b, rope_maps[i].gguf);
        if (value) SONDE_TRY(gguf_put_value(b, rope, value, &rope_maps[i]));
    }
    SONDE_TRY(read_old_linear(b, rope));
    if (gguf_find_tensor(b, "rope_factors_long.weight", 0))
        SONDE_TRY(gguf_put(b, rope, "rope_type", json_string("longrope")));
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type || strcmp(type, "none") == 0) {
        json_object_clear(rope);
        return SONDE_OK;
    }
    if (strcmp(type, "yarn") == 0) SONDE_TRY(read_log_multiplier(b, rope));
    return read_attention_factor(b, rope, type);
}

static sonde_status read_scaling(gguf_builder *b)
{
    json_t *rope = json_object();
    sonde_status status = rope ? fill_scaling(b, rope) : sonde_no_memory(b->err, "rope", 0);
    if (status == SONDE_OK && json_object_size(rope) > 0)
        return gguf_put(b, b->root, "rope_scaling", rope);
    json_decref(rope);
    return status;
}

/* rope.dimension_count below the head's width is Hugging Face's partial_rotary_factor. Where keys
 * are latent (MLA) it is the width of the rotated part: config_gguf_arch.c. */
static sonde_status read_rotary_dims(gguf_builder *b)
{
    const gguf_value *value = gguf_arch_key(b, "rope.dimension_count");
    int64_t dims, heads = gguf_root_int(b, "num_attention_heads");
    int64_t head_dim = gguf_root_int(b, "head_dim");
    if (!value) return SONDE_OK;
    if (head_dim == 0 && heads > 0) head_dim = gguf_root_int(b, "hidden_size") / heads;
    if (!gguf_integer(value, 0, &dims) || dims < 0 || dims > 1 << 16)
        return gguf_bad_kind(b, value, "an integer from 0 to 65536");
    if (json_object_get(b->root, "kv_lora_rank"))
        return gguf_put(b, b->root, "qk_rope_head_dim", json_integer(dims));
    if (head_dim == 0 || dims == head_dim) return SONDE_OK;
    if (dims > head_dim)
        return GGUF_BAD(b, "%s: %s.rope.dimension_count is %lld, heads are only %lld wide", b->file,
                        b->arch, (long long)dims, (long long)head_dim);
    double factor = (double)dims / (double)head_dim;
    while ((int64_t)(factor * (double)head_dim) < dims) factor = nextafter(factor, 2.0);
    return gguf_put(b, b->root, "partial_rotary_factor", json_real(factor));
}

sonde_status gguf_read_rope(gguf_builder *b)
{
    SONDE_TRY(read_scaling(b));
    return read_rotary_dims(b);
}
