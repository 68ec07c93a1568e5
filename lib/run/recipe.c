/* recipe.c - the life of a recipe and its reading of the configuration. */
#include "recipe_internal.h"

#include "weights/config.h"

#include <math.h>
#include <string.h>

bool sonde_recipe_good(const sonde_recipe *r)
{
    return r->error.status == SONDE_OK;
}

void sonde_recipe_fail(sonde_recipe *r, sonde_status status, const char *format, ...)
{
    if (!sonde_recipe_good(r)) return;
    va_list args;
    va_start(args, format);
    vsnprintf(r->error.message, sizeof r->error.message, format, args);
    va_end(args);
    r->error.status = status;
}

void sonde_refuse(sonde_recipe *r, const char *format, ...)
{
    char message[384];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    sonde_recipe_fail(r, SONDE_BAD_MODEL, "%s: not supported: %s", sonde_config_source(r->config),
                      message);
}

sonde_status sonde_recipe_status(const sonde_recipe *r, sonde_error *err)
{
    if (sonde_recipe_good(r)) return SONDE_OK;
    return sonde_fail(err, r->error.status, "%s", r->error.message);
}

void sonde_recipe_honour(sonde_recipe *r, const char *key)
{
    for (int64_t i = 0; i < r->n_honoured; i++)
        if (strcmp(r->honoured[i], key) == 0) return;
    if (r->n_honoured < (int64_t)SONDE_COUNT(r->honoured)) r->honoured[r->n_honoured++] = key;
}

void sonde_ignore_keys(sonde_recipe *r, const char *const *keys)
{
    for (; *keys; keys++) sonde_recipe_honour(r, *keys);
}

static const json_t *find(sonde_recipe *r, const char *key)
{
    sonde_recipe_honour(r, key);
    return sonde_config_find(r->config, key);
}

static void missing(sonde_recipe *r, const char *key)
{
    sonde_recipe_fail(r, SONDE_BAD_MODEL, "%s: key '%s' is missing", sonde_config_source(r->config),
                      key);
}

static const char *json_kind(const json_t *value)
{
    static const char *const names[] = {"an object", "a list", "a text", "an integer", "a number",
                                        "true", "false", "null"};
    return names[json_typeof(value)];
}

static void wrong_type(sonde_recipe *r, const char *key, const char *expected, const json_t *value)
{
    sonde_recipe_fail(r, SONDE_BAD_MODEL, "%s: key '%s': expected %s, got %s",
                      sonde_config_source(r->config), key, expected, json_kind(value));
}

int64_t sonde_get_int(sonde_recipe *r, const char *key, int64_t fallback, int64_t min, int64_t max)
{
    const json_t *value = find(r, key);
    if (!value) {
        if (fallback == SONDE_REQUIRED) missing(r, key);
        return fallback == SONDE_REQUIRED ? min : fallback;
    }
    if (!json_is_integer(value)) {
        wrong_type(r, key, "an integer", value);
        return min;
    }
    int64_t number = json_integer_value(value);
    if (number >= min && number <= max) return number;
    sonde_recipe_fail(r, SONDE_BAD_MODEL, "%s: key '%s': expected %lld to %lld, got %lld",
                      sonde_config_source(r->config), key, (long long)min, (long long)max,
                      (long long)number);
    return min;
}

double sonde_get_float(sonde_recipe *r, const char *key, double fallback)
{
    const json_t *value = find(r, key);
    if (!value) {
        bool required = fallback == SONDE_REQUIRED_FLOAT;
        if (required) missing(r, key);
        return required ? 1.0 : fallback;
    }
    if (json_is_number(value) && isfinite(json_number_value(value))) return json_number_value(value);
    wrong_type(r, key, "a finite number", value);
    return 1.0;
}

bool sonde_get_bool(sonde_recipe *r, const char *key, bool fallback)
{
    const json_t *value = find(r, key);
    if (!value) return fallback;
    if (!json_is_boolean(value)) wrong_type(r, key, "true or false", value);
    return json_is_true(value);
}

const char *sonde_get_text(sonde_recipe *r, const char *key, const char *fallback)
{
    const json_t *value = find(r, key);
    if (!value) return fallback;
    if (json_is_string(value)) return json_string_value(value);
    wrong_type(r, key, "a text", value);
    return fallback;
}

static const json_t *find_list(sonde_recipe *r, const char *key)
{
    const json_t *value = find(r, key);
    if (!value || json_is_array(value)) return value;
    wrong_type(r, key, "a list", value);
    return NULL;
}

const char *sonde_get_list_text(sonde_recipe *r, const char *key, int64_t index)
{
    return json_string_value(json_array_get(find_list(r, key), (size_t)index));
}

int64_t sonde_list_length(sonde_recipe *r, const char *key)
{
    return (int64_t)json_array_size(find_list(r, key));
}

int64_t sonde_get_list_int(sonde_recipe *r, const char *key, int64_t index, int64_t fallback)
{
    const json_t *entry = json_array_get(find_list(r, key), (size_t)index);
    if (!entry) return fallback;
    if (json_is_integer(entry)) return json_integer_value(entry);
    wrong_type(r, key, "a list of integers", entry);
    return fallback;
}

double sonde_get_list_float(sonde_recipe *r, const char *key, int64_t index, double fallback)
{
    const json_t *entry = json_array_get(find_list(r, key), (size_t)index);
    if (!entry) return fallback;
    if (json_is_number(entry) && isfinite(json_number_value(entry))) return json_number_value(entry);
    wrong_type(r, key, "a list of finite numbers", entry);
    return fallback;
}

bool sonde_has(sonde_recipe *r, const char *key)
{
    return find(r, key) != NULL;
}

bool sonde_is_null(sonde_recipe *r, const char *key)
{
    sonde_recipe_honour(r, key);
    return json_is_null(json_object_get(sonde_config_root(r->config), key));
}

double *sonde_recipe_numbers(sonde_recipe *r, int64_t n)
{
    if (!sonde_recipe_good(r)) return NULL;
    double *numbers = sonde_alloc((size_t)n, sizeof *numbers);
    if (!numbers || !sonde_grow(&r->numbers, &r->numbers_capacity, (size_t)r->n_numbers + 1,
                                sizeof *r->numbers)) {
        sonde_free(numbers);
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a list of %lld numbers", (long long)n);
        return NULL;
    }
    r->numbers[r->n_numbers++] = numbers;
    return numbers;
}

bool sonde_from_gguf(const sonde_recipe *r)
{
    return r->gguf;
}

void sonde_set_dims(sonde_recipe *r, const sonde_dims *dims)
{
    r->dims = *dims;
    if (!sonde_recipe_good(r)) return;
    if (dims->n_heads % dims->n_kv_heads != 0)
        sonde_recipe_fail(r, SONDE_BAD_MODEL, "%s: %lld query heads are no multiple of %lld KV heads",
                          sonde_config_source(r->config), (long long)dims->n_heads,
                          (long long)dims->n_kv_heads);
}

sonde_act sonde_get_act(sonde_recipe *r, const char *key, const char *fallback)
{
    static const struct {
        const char *name;
        sonde_act act;
    } acts[] = {{"silu", SONDE_ACT_SILU}, {"swish", SONDE_ACT_SILU}, {"gelu", SONDE_ACT_GELU},
                {"gelu_new", SONDE_ACT_GELU_TANH}, {"gelu_pytorch_tanh", SONDE_ACT_GELU_TANH},
                {"gelu_fast", SONDE_ACT_GELU_TANH}, {"quick_gelu", SONDE_ACT_QUICK_GELU},
                {"relu", SONDE_ACT_RELU}};
    const char *name = sonde_get_text(r, key, fallback);
    for (size_t i = 0; i < SONDE_COUNT(acts); i++)
        if (strcmp(acts[i].name, name) == 0) return acts[i].act;
    sonde_refuse(r, "%s '%s' (known: silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, "
                 "quick_gelu, relu)", key, name);
    return SONDE_ACT_SILU;
}

sonde_status sonde_recipe_create(const sonde_family *family, const sonde_weights *weights,
                                 sonde_recipe **recipe, sonde_error *err)
{
    sonde_recipe *r = sonde_alloc(1, sizeof *r);
    if (!r) return sonde_no_memory(err, "a recipe", sizeof *r);
    r->family = family;
    r->weights = weights;
    r->config = sonde_weights_config(weights);
    r->gguf = sonde_weights_container(weights) == SONDE_CONTAINER_GGUF;
    sonde_recipe_ignore_neutral(r);
    sonde_status status = family->describe(r, err);
    if (status == SONDE_OK) sonde_recipe_check_keys(r);
    if (status == SONDE_OK) status = sonde_recipe_status(r, err);
    if (status != SONDE_OK) {
        sonde_recipe_destroy(&r);
        return status;
    }
    *recipe = r;
    return SONDE_OK;
}

void sonde_recipe_destroy(sonde_recipe **recipe)
{
    sonde_recipe *r = *recipe;
    if (!r) return;
    for (int64_t i = 0; i < r->n_hooks; i++) sonde_free(r->hooks[i].name);
    for (int64_t i = 0; i < r->n_numbers; i++) sonde_free(r->numbers[i]);
    sonde_free(r->numbers);
    sonde_free(r->hooks);
    sonde_free(r->steps);
    sonde_free(r->buffers);
    sonde_free(r->ropes);
    sonde_free(r);
    *recipe = NULL;
}
