/* model.c - opening a checkpoint: family, recipe, hook points, weights. */
#include "model_internal.h"

#include "weights/config.h"

#include <string.h>
#include <sys/stat.h>

static bool listed(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

static sonde_status unknown_family(const char *source, const char *type, sonde_error *err)
{
    sonde_string known = {0};
    const char *names[128] = {NULL};
    size_t n = 0;
    for (int64_t i = 0; sonde_families[i]; i++) {
        sonde_string_format(&known, "%s%s", i ? ", " : "", sonde_families[i]->name);
        if (n + 1 < SONDE_COUNT(names)) names[n++] = sonde_families[i]->name;
    }
    const char *near = sonde_near_name(type, names);
    sonde_status status = sonde_fail(err, SONDE_BAD_MODEL, "%s: unknown family '%s'; this build has "
                                     "%s%s%s%s", source, type, known.failed ? "others" : known.data,
                                     near ? " (the nearest is " : "", near ? near : "",
                                     near ? ")" : "");
    sonde_string_reset(&known);
    return status;
}

static sonde_status find_family(sonde_model *model, sonde_error *err)
{
    const sonde_config *config = sonde_weights_config(model->weights);
    const char *source = sonde_config_source(config);
    const char *type = json_string_value(sonde_config_find(config, "model_type"));
    bool gguf = sonde_weights_container(model->weights) == SONDE_CONTAINER_GGUF;
    if (!type)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: key 'model_type' is missing: the family is not "
                          "known", source);
    for (int64_t i = 0; sonde_families[i] && !model->family; i++) {
        const sonde_family *f = sonde_families[i];
        if (listed(f->model_types, type) && (!gguf || f->gguf_archs)) model->family = f;
    }
    return model->family ? SONDE_OK : unknown_family(source, type, err);
}

/* ---- facts ------------------------------------------------------------------------------------------- */

static void add_eos(sonde_model *model, const json_t *value)
{
    if (json_is_integer(value) && model->n_eos < (int64_t)SONDE_COUNT(model->eos)) {
        for (int64_t i = 0; i < model->n_eos; i++)
            if (model->eos[i] == json_integer_value(value)) return;
        model->eos[model->n_eos++] = json_integer_value(value);
    }
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++)
        add_eos(model, json_array_get(value, i));
}

static void read_eos(sonde_model *model)
{
    add_eos(model, sonde_config_find(sonde_weights_config(model->weights), "eos_token_id"));
    if (sonde_weights_container(model->weights) == SONDE_CONTAINER_GGUF) return;
    char *path = sonde_path_join(sonde_weights_path(model->weights), "generation_config.json");
    json_t *root = NULL;
    if (path && sonde_path_exists(path) &&
        sonde_json_load(path, 1 << 20, SONDE_BAD_MODEL, &root, NULL) == SONDE_OK) {
        add_eos(model, json_object_get(root, "eos_token_id"));
        json_decref(root);
    }
    sonde_free(path);
}

typedef struct dtype_use {
    sonde_dtype dtype;
    uint64_t bytes;
} dtype_use;

static void list_dtypes(sonde_model *model)
{
    dtype_use uses[32] = {{0}};
    size_t n = 0;
    for (int64_t i = 0; i < sonde_weights_count(model->weights); i++) {
        const sonde_tensor *tensor = sonde_weights_at(model->weights, i);
        size_t at = 0;
        while (at < n && uses[at].dtype != tensor->dtype) at++;
        if (at == SONDE_COUNT(uses)) continue;
        if (at == n) uses[n++].dtype = tensor->dtype;
        size_t bytes = tensor->bytes + (tensor->scales ? tensor->scales->bytes : 0);
        uses[at].bytes += bytes;
        model->file_bytes += bytes;
    }
    for (size_t left = n; left > 0; left--) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (uses[i].bytes > uses[best].bytes) best = i;
        const char *name = sonde_dtype_name(uses[best].dtype);
        size_t used = strlen(model->stored_dtypes);
        snprintf(model->stored_dtypes + used, sizeof model->stored_dtypes - used, "%s%s",
                 used ? " " : "", name);
        uses[best].bytes = 0;
        uses[best].dtype = SONDE_DTYPE_NONE;
    }
}

/* ---- open and close ------------------------------------------------------------------------------------ */

static sonde_status open_backend(sonde_model *model, const sonde_model_options *options,
                                 sonde_error *err)
{
    sonde_cpu_level level = SONDE_CPU_AVX512;
    if (options->cpu_level && !sonde_cpu_level_from_name(options->cpu_level, &level))
        return sonde_fail(err, SONDE_USAGE, "cpu level '%s': expected avx512, avx2 or scalar",
                          options->cpu_level);
    SONDE_TRY(sonde_backend_get(options->backend ? options->backend : "cpu", level, &model->backend,
                                err));
    if (!options->mode || strcmp(options->mode, "exact") == 0) return SONDE_OK;
    if (strcmp(options->mode, "int") != 0)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "no mode '%s' (exact, int)", options->mode);
    if (!model->backend->integers)
        return sonde_fail(err, SONDE_UNSUPPORTED, "mode int: backend %s has no products of integers, "
                          "cpu has", model->backend->name);
    model->backend = model->backend->integers;
    return SONDE_OK;
}

/* --mode int says what is computed: a model that it does not change is a mistake. */
static sonde_status check_mode(const sonde_model *model, sonde_error *err)
{
    if (strcmp(model->backend->mode, "int") != 0) return SONDE_OK;
    for (int64_t i = 0; i < model->n_bound; i++)
        for (int64_t j = 0; j < model->bound[i].n_matrices; j++)
            if (model->backend->keeps(&model->bound[i].matrices[j].source)) return SONDE_OK;
    return sonde_fail(err, SONDE_UNSUPPORTED, "%s: mode int multiplies weights of q4_0, q4_1, q5_0, q5_1, "
                      "q8_0, q4_k, q5_k and q6_k, this model has none: it stores %s",
                      sonde_weights_path(model->weights), model->stored_dtypes);
}

static sonde_status open_parts(sonde_model *model, const char *path,
                               const sonde_model_options *options, sonde_error *err)
{
    SONDE_TRY(open_backend(model, options, err));
    SONDE_TRY(options->shape_only ? sonde_weights_open_config(path, &model->weights, err)
                                  : sonde_weights_open(path, &model->weights, err));
    SONDE_TRY(find_family(model, err));
    SONDE_TRY(sonde_recipe_create(model->family, model->weights, &model->recipe, err));
    SONDE_TRY(sonde_model_make_points(model, err));
    read_eos(model);
    if (options->shape_only) return SONDE_OK;
    list_dtypes(model);
    int threads = options->threads > 0 ? options->threads : sonde_cpu_count();
    SONDE_TRY(sonde_model_bind(model, err));
    SONDE_TRY(check_mode(model, err));
    return sonde_model_pack(model, threads, err);
}

sonde_status sonde_model_open(const char *path, const sonde_model_options *options,
                              sonde_model **out, sonde_error *err)
{
    static const sonde_model_options defaults = {0};
    sonde_model *model = sonde_alloc(1, sizeof *model);
    if (!model) return sonde_no_memory(err, "a model", sizeof *model);
    if (!options) options = &defaults;
    pthread_mutex_init(&model->lock, NULL);
    model->shape_only = options->shape_only || options->measure;
    model->memory = options->memory;
    model->off = options->off;
    model->hash_early = options->hash;
    sonde_status status = open_parts(model, path, options, err);
    if (status == SONDE_OK) *out = model;
    else sonde_model_close(&model);
    return status;
}

void sonde_model_close(sonde_model **out)
{
    sonde_model *model = *out;
    if (!model) return;
    sonde_model_unbind(model);
    sonde_free(model->points);
    sonde_recipe_destroy(&model->recipe);
    sonde_chat_destroy(&model->chat);
    sonde_tokenizer_destroy(&model->tokenizer);
    sonde_weights_close(&model->weights);
    pthread_mutex_destroy(&model->lock);
    sonde_free(model);
    *out = NULL;
}

/* ---- queries --------------------------------------------------------------------------------------------- */

void sonde_model_info_get(const sonde_model *model, sonde_model_info *info)
{
    const sonde_dims *d = &model->recipe->dims;
    bool gguf = sonde_weights_container(model->weights) == SONDE_CONTAINER_GGUF;
    *info = (sonde_model_info){
        .path = sonde_weights_path(model->weights), .family = model->family->name,
        .title = model->family->title, .container = gguf ? "gguf" : "safetensors",
        .backend = model->backend->name, .level = model->backend->level,
        .exact = model->backend->exact, .mode = model->backend->mode,
        .stored_dtypes = model->stored_dtypes,
        .packed_note = model->packed_note, .n_layers = d->n_layers, .hidden = d->hidden,
        .n_heads = d->n_heads, .n_kv_heads = d->n_kv_heads, .head_dim = d->head_dim,
        .value_dim = d->value_dim, .ffn = d->ffn, .vocab = d->vocab,
        .max_positions = d->max_positions, .n_parameters = model->n_parameters,
        .file_bytes = model->file_bytes, .packed_bytes = model->packed_bytes,
        .mapped_bytes = model->mapped_bytes, .kept = model->kept, .n_kept = model->n_kept,
        .n_points = model->n_points};
}

sonde_status sonde_model_hash(sonde_model *model, const char **hex, sonde_error *err)
{
    pthread_mutex_lock(&model->lock);
    sonde_status status = sonde_weights_hash(model->weights, hex, err);
    pthread_mutex_unlock(&model->lock);
    return status;
}

sonde_status sonde_model_tokenizer(sonde_model *model, const sonde_tokenizer **tokenizer,
                                   sonde_error *err)
{
    pthread_mutex_lock(&model->lock);
    sonde_status status = SONDE_OK;
    if (!model->tokenizer)
        status = sonde_weights_tokenizer(model->weights, &model->tokenizer, err);
    if (status == SONDE_OK && sonde_tokenizer_size(model->tokenizer) > model->recipe->dims.vocab)
        status = sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: the tokenizer has ids up to %lld, the "
                            "model's vocabulary has %lld rows",
                            sonde_weights_path(model->weights),
                            (long long)sonde_tokenizer_size(model->tokenizer) - 1,
                            (long long)model->recipe->dims.vocab);
    *tokenizer = model->tokenizer;
    pthread_mutex_unlock(&model->lock);
    return status;
}

sonde_status sonde_model_chat(sonde_model *model, const sonde_chat **chat, sonde_error *err)
{
    const sonde_tokenizer *tokenizer;
    SONDE_TRY(sonde_model_tokenizer(model, &tokenizer, err));
    pthread_mutex_lock(&model->lock);
    sonde_status status = SONDE_OK;
    if (!model->chat) status = sonde_weights_chat(model->weights, tokenizer, &model->chat, err);
    *chat = model->chat;
    pthread_mutex_unlock(&model->lock);
    return status;
}

int64_t sonde_model_eos(const sonde_model *model, const int64_t **ids)
{
    *ids = model->eos;
    return model->n_eos;
}

int64_t sonde_family_count(void)
{
    int64_t n = 0;
    while (sonde_families[n]) n++;
    return n;
}

const char *sonde_family_name(int64_t index)
{
    return sonde_families[index]->name;
}

const char *sonde_family_title(int64_t index)
{
    return sonde_families[index]->title;
}
