/* weights.c - a checkpoint: a Hugging Face folder or a GGUF file behind one set of queries. */
#include "weights.h"

#include "config.h"
#include "container.h"

#include <pthread.h>
#include <string.h>

#define MAX_CONFIG_BYTES (16u << 20)

typedef struct tensor_hash {
    bool known;
    sonde_hash128_value value;
} tensor_hash;

struct sonde_weights {
    sonde_container container;
    char *path;
    sonde_config *config;
    sonde_gguf_parts parts;
    const sonde_gguf *gguf; /* the first part */
    sonde_shards shards;
    const sonde_tensor *stored; /* of the files; sorted by name */
    int64_t n_stored;
    sonde_joined joined;         /* safetensors */
    const sonde_tensor *tensors; /* as the model sees them; sorted by name */
    int64_t count;
    pthread_mutex_t lock;     /* guards the hashes */
    tensor_hash *hashes;      /* [n_stored] */
    char hash[33];            /* empty until asked for */
};

static sonde_status open_folder(sonde_weights *w, bool config_only, sonde_error *err)
{
    json_t *root = NULL;
    w->container = SONDE_CONTAINER_SAFETENSORS;
    char *path = sonde_path_join(w->path, "config.json");
    if (!path) return sonde_no_memory(err, w->path, strlen(w->path));
    sonde_status status =
        sonde_path_exists(path)
            ? sonde_json_load(path, MAX_CONFIG_BYTES, SONDE_BAD_MODEL, &root, err)
            : sonde_fail(err, SONDE_BAD_MODEL, "%s: no model here: it has no config.json", w->path);
    if (status == SONDE_OK) status = sonde_config_create(root, path, &w->config, err);
    sonde_free(path);
    if (status != SONDE_OK || config_only) return status;
    SONDE_TRY(sonde_shards_open(w->path, &w->shards, err));
    w->stored = w->shards.tensors;
    w->n_stored = w->shards.n_tensors;
    SONDE_TRY(sonde_tensors_join(w->config, w->stored, w->n_stored, &w->joined, err));
    w->tensors = w->joined.tensors;
    w->count = w->joined.count;
    return SONDE_OK;
}

static sonde_status open_gguf(sonde_weights *w, bool config_only, sonde_error *err)
{
    json_t *root = NULL;
    w->container = SONDE_CONTAINER_GGUF;
    SONDE_TRY(sonde_gguf_open(w->path, &w->parts, err));
    w->gguf = w->parts.files[0].gguf;
    SONDE_TRY(sonde_config_from_gguf(w->gguf, &root, err));
    SONDE_TRY(sonde_config_create(root, w->path, &w->config, err));
    if (config_only) return SONDE_OK;
    w->count = sonde_gguf_count(w->gguf);
    w->tensors = w->count > 0 ? sonde_gguf_at(w->gguf, 0) : NULL;
    w->stored = w->tensors;
    w->n_stored = w->count;
    if (sonde_weights_find(w, "token_embd.weight")) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: no tensor token_embd.weight among its %lld",
                      w->path, (long long)w->count);
}

static sonde_status open_any(const char *path, bool config_only, sonde_weights **weights,
                             sonde_error *err)
{
    *weights = NULL;
    sonde_weights *w = sonde_alloc(1, sizeof *w);
    if (!w) return sonde_no_memory(err, path, sizeof *w);
    if (pthread_mutex_init(&w->lock, NULL) != 0) {
        sonde_free(w);
        return sonde_fail(err, SONDE_NO_MEMORY, "%s: cannot make a lock", path);
    }
    sonde_status status = sonde_model_path(path, &w->path, err);
    if (status == SONDE_OK)
        status = sonde_path_is_dir(w->path) ? open_folder(w, config_only, err)
                                            : open_gguf(w, config_only, err);
    if (status == SONDE_OK && !(w->hashes = sonde_alloc((size_t)w->n_stored + 1, sizeof *w->hashes)))
        status = sonde_no_memory(err, path, (size_t)w->n_stored * sizeof *w->hashes);
    if (status != SONDE_OK) sonde_weights_close(&w);
    *weights = w;
    return status;
}

sonde_status sonde_weights_open(const char *path, sonde_weights **weights, sonde_error *err)
{
    return open_any(path, false, weights, err);
}

sonde_status sonde_weights_open_config(const char *path, sonde_weights **weights, sonde_error *err)
{
    return open_any(path, true, weights, err);
}

void sonde_weights_close(sonde_weights **weights)
{
    if (!weights || !*weights) return;
    sonde_weights *w = *weights;
    sonde_config_destroy(&w->config);
    sonde_joined_reset(&w->joined);
    sonde_shards_reset(&w->shards);
    sonde_gguf_parts_reset(&w->parts);
    pthread_mutex_destroy(&w->lock);
    sonde_free(w->hashes);
    sonde_free(w->path);
    sonde_free(w);
    *weights = NULL;
}

sonde_container sonde_weights_container(const sonde_weights *weights)
{
    return weights->container;
}

const char *sonde_weights_path(const sonde_weights *weights)
{
    return weights->path;
}

const sonde_config *sonde_weights_config(const sonde_weights *weights)
{
    return weights->config;
}

int64_t sonde_weights_count(const sonde_weights *weights)
{
    return weights->count;
}

const sonde_tensor *sonde_weights_at(const sonde_weights *weights, int64_t index)
{
    return &weights->tensors[index];
}

const sonde_tensor *sonde_weights_find(const sonde_weights *weights, const char *name)
{
    return sonde_tensors_find(weights->tensors, weights->count, name);
}

/* Of a stored tensor. Its pages go as they came, or the whole file would stay in memory beside the
 * packed weights. The lock is held. */
static sonde_hash128_value hash_stored(sonde_weights *w, int64_t index)
{
    tensor_hash *hash = &w->hashes[index];
    if (!hash->known) {
        hash->value = sonde_hash128(w->stored[index].data, w->stored[index].bytes);
        hash->known = true;
        sonde_pages_release(w->stored[index].data, w->stored[index].bytes);
    }
    return hash->value;
}

void sonde_weights_hash_tensor(sonde_weights *weights, const sonde_tensor *tensor)
{
    pthread_mutex_lock(&weights->lock);
    hash_stored(weights, tensor->stored);
    if (tensor->scales) hash_stored(weights, tensor->scales - weights->stored);
    pthread_mutex_unlock(&weights->lock);
}

/* One line a tensor, in name order: name, dtype, shape and the hash of its bytes. */
static sonde_status compute_hash(sonde_weights *w, sonde_error *err)
{
    sonde_string lines = {0};
    for (int64_t i = 0; i < w->n_stored; i++) {
        const sonde_tensor *tensor = &w->stored[i];
        char shape[SONDE_SHAPE_BYTES], hex[33];
        sonde_hash128_hex(hash_stored(w, i), hex);
        sonde_string_format(&lines, "%s %s %s %s\n", tensor->name, sonde_dtype_name(tensor->dtype),
                            sonde_shape_text(tensor, shape), hex);
    }
    bool failed = lines.failed;
    if (!failed) sonde_hash128_hex(sonde_hash128(lines.data, lines.length), w->hash);
    sonde_string_reset(&lines);
    return failed ? sonde_no_memory(err, w->path, 0) : SONDE_OK;
}

sonde_status sonde_weights_hash(sonde_weights *weights, const char **hex, sonde_error *err)
{
    pthread_mutex_lock(&weights->lock);
    sonde_status status = weights->hash[0] ? SONDE_OK : compute_hash(weights, err);
    pthread_mutex_unlock(&weights->lock);
    *hex = weights->hash;
    return status;
}

sonde_status sonde_weights_tokenizer(const sonde_weights *weights, sonde_tokenizer **tokenizer,
                                     sonde_error *err)
{
    if (weights->container == SONDE_CONTAINER_GGUF)
        return sonde_gguf_tokenizer(weights->gguf, tokenizer, err);
    return sonde_tokenizer_open(weights->path, tokenizer, err);
}

sonde_status sonde_weights_chat(const sonde_weights *weights, const sonde_tokenizer *tokenizer,
                                sonde_chat **chat, sonde_error *err)
{
    if (weights->container == SONDE_CONTAINER_GGUF)
        return sonde_gguf_chat(weights->gguf, tokenizer, chat, err);
    return sonde_chat_open(weights->path, tokenizer, chat, err);
}
