/* shards.c - the safetensors files of a folder: model.safetensors, or the shards that
 * model.safetensors.index.json lists. */
#include "container.h"

#include <string.h>

#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"
#define MAX_INDEX_BYTES 100000000u

static sonde_status open_shard(sonde_shards *shards, const char *folder, const char *name,
                               sonde_shard **out, sonde_error *err)
{
    if (!sonde_grow(&shards->files, &shards->capacity, shards->n_files + 1, sizeof **out))
        return sonde_no_memory(err, name, sizeof **out);
    sonde_shard *shard = &shards->files[shards->n_files];
    memset(shard, 0, sizeof *shard);
    shard->path = sonde_path_join(folder, name);
    if (!shard->path) return sonde_no_memory(err, name, strlen(name));
    shard->name = shard->path + strlen(shard->path) - strlen(name);
    shards->n_files++;
    SONDE_TRY(sonde_mapping_open(shard->path, &shard->mapping, err));
    *out = shard;
    return sonde_safetensors_parse(shard->mapping.data, shard->mapping.bytes, shard->path,
                                   &shard->container, err);
}

/* A shard lies in the folder or below it: no absolute path, no "..". */
static bool stays_inside(const char *name)
{
    if (!sonde_name_is_clean(name, strlen(name)) || name[0] == '/') return false;
    for (const char *part = name; *part; part += part[strcspn(part, "/")] == '/') {
        size_t length = strcspn(part, "/");
        if (length == 0 || (length == 2 && memcmp(part, "..", 2) == 0)) return false;
        part += length;
    }
    return true;
}

static sonde_status find_shard(sonde_shards *shards, const char *folder, const char *name,
                               sonde_shard **out, sonde_error *err)
{
    char shown[SONDE_PRINTABLE_BYTES];
    if (!stays_inside(name))
        return sonde_fail(err, SONDE_BAD_MODEL,
                          "%s/" INDEX_NAME ": shard '%s' does not lie in the folder", folder,
                          sonde_printable(name, strlen(name), shown));
    for (size_t i = shards->n_files; i-- > 0;) {
        *out = &shards->files[i];
        if (strcmp((*out)->name, name) == 0) return SONDE_OK;
    }
    return open_shard(shards, folder, name, out, err);
}

static sonde_status add_tensor(sonde_shards *shards, const char *folder, const char *name,
                               const json_t *file, sonde_error *err)
{
    sonde_shard *shard = NULL;
    char shown[SONDE_PRINTABLE_BYTES];
    sonde_printable(name, strlen(name), shown);
    if (!json_is_string(file))
        return sonde_fail(err, SONDE_BAD_MODEL,
                          "%s/" INDEX_NAME ": expected a file name for tensor %s", folder, shown);
    SONDE_TRY(find_shard(shards, folder, json_string_value(file), &shard, err));
    const sonde_safetensors *st = shard->container;
    const sonde_tensor *tensor =
        sonde_tensors_find(sonde_safetensors_at(st, 0), sonde_safetensors_count(st), name);
    if (!tensor)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: no tensor %s, which " INDEX_NAME " puts there",
                          shard->path, shown);
    shards->tensors[shards->n_tensors++] = *tensor;
    return SONDE_OK;
}

static sonde_status open_index(const char *folder, const char *path, sonde_shards *shards,
                               sonde_error *err)
{
    json_t *root;
    SONDE_TRY(sonde_json_load(path, MAX_INDEX_BYTES, SONDE_BAD_MODEL, &root, err));
    json_t *map = json_object_get(root, "weight_map");
    sonde_status status = SONDE_OK;
    if (!json_is_object(map))
        status = sonde_fail(err, SONDE_BAD_MODEL, "%s: expected an object \"weight_map\"", path);
    else if (!(shards->tensors = sonde_alloc(json_object_size(map) + 1, sizeof(sonde_tensor))))
        status = sonde_no_memory(err, path, json_object_size(map) * sizeof(sonde_tensor));
    void *at = status == SONDE_OK ? json_object_iter(map) : NULL;
    for (; at && status == SONDE_OK; at = json_object_iter_next(map, at))
        status =
            add_tensor(shards, folder, json_object_iter_key(at), json_object_iter_value(at), err);
    json_decref(root);
    if (status == SONDE_OK) sonde_tensors_sort_by_name(shards->tensors, shards->n_tensors);
    return status;
}

static sonde_status open_single(const char *folder, sonde_shards *shards, sonde_error *err)
{
    sonde_shard *shard = NULL;
    SONDE_TRY(open_shard(shards, folder, SINGLE_NAME, &shard, err));
    int64_t count = sonde_safetensors_count(shard->container);
    shards->tensors = sonde_alloc((size_t)count + 1, sizeof *shards->tensors);
    if (!shards->tensors) return sonde_no_memory(err, folder, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        shards->tensors[i] = *sonde_safetensors_at(shard->container, i);
    shards->n_tensors = count;
    return SONDE_OK;
}

sonde_status sonde_shards_open(const char *folder, sonde_shards *shards, sonde_error *err)
{
    memset(shards, 0, sizeof *shards);
    char *single = sonde_path_join(folder, SINGLE_NAME),
         *index = sonde_path_join(folder, INDEX_NAME);
    sonde_status status;
    if (!single || !index)
        status = sonde_no_memory(err, folder, strlen(folder));
    else if (sonde_path_exists(single))
        status = open_single(folder, shards, err);
    else if (sonde_path_exists(index))
        status = open_index(folder, index, shards, err);
    else
        status = sonde_fail(err, SONDE_BAD_MODEL,
                            "%s: no weights: expected " SINGLE_NAME " or " INDEX_NAME
                            " (pickled .bin files are not read)",
                            folder);
    sonde_free(single);
    sonde_free(index);
    return status;
}

void sonde_shards_reset(sonde_shards *shards)
{
    for (size_t i = 0; i < shards->n_files; i++) {
        sonde_safetensors_close(&shards->files[i].container);
        sonde_mapping_close(&shards->files[i].mapping);
        sonde_free(shards->files[i].path);
    }
    sonde_free(shards->files);
    sonde_free(shards->tensors);
    memset(shards, 0, sizeof *shards);
}
