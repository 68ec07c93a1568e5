/*
 * model_path.c - what a model's name means: a path, or "org/name" in the Hugging Face cache of this
 * user ($HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub).
 * The network is never asked.
 */
#include "container.h"

#include <stdlib.h>
#include <string.h>

/* "org/name": one slash, and only characters that the hub allows. */
static bool is_hub_id(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t org = strspn(text, allowed);
    if (org == 0 || text[org] != '/' || text[0] == '.') return false;
    const char *name = text + org + 1;
    size_t length = strspn(name, allowed);
    return length > 0 && name[length] == '\0' && name[0] != '.';
}

static void cache_folder(sonde_string *out)
{
    const char *hub = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME");
    const char *cache = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");
    if (hub && *hub)
        sonde_string_text(out, hub);
    else if (home && *home)
        sonde_string_format(out, "%s/hub", home);
    else if (cache && *cache)
        sonde_string_format(out, "%s/huggingface/hub", cache);
    else
        sonde_string_format(out, "%s/.cache/huggingface/hub", user ? user : "");
}

/* The commit that refs/main names: one path component, no "..". */
static sonde_status read_revision(const char *repository, char **revision, sonde_error *err)
{
    sonde_string path = {0};
    size_t bytes;
    sonde_string_format(&path, "%s/refs/main", repository);
    if (path.failed) return sonde_no_memory(err, repository, 0);
    sonde_status status = sonde_read_file(path.data, 256, revision, &bytes, err);
    sonde_string_reset(&path);
    if (status != SONDE_OK) return status;
    (*revision)[strcspn(*revision, " \r\n")] = '\0';
    if (**revision && strspn(*revision, "0123456789abcdef") == strlen(*revision)) return SONDE_OK;
    sonde_free(*revision);
    *revision = NULL;
    return sonde_fail(err, SONDE_BAD_FILE, "%s/refs/main: expected a commit of hexadecimal digits",
                      repository);
}

static sonde_status find_snapshot(const char *id, const char *cache, char **found, sonde_error *err)
{
    sonde_string repository = {0}, folder = {0};
    char *revision = NULL;
    size_t org = strcspn(id, "/");
    sonde_string_format(&repository, "%s/models--%.*s--%s", cache, (int)org, id, id + org + 1);
    sonde_status status = repository.failed ? sonde_no_memory(err, id, 0) : SONDE_OK;
    if (status == SONDE_OK && !sonde_path_is_dir(repository.data))
        status =
            sonde_fail(err, SONDE_BAD_FILE,
                       "%s: no such file or folder, and not in the Hugging Face cache %s "
                       "(nothing is downloaded: give a folder, a .gguf file or a cached model)",
                       id, cache);
    if (status == SONDE_OK) status = read_revision(repository.data, &revision, err);
    if (status == SONDE_OK) {
        sonde_string_format(&folder, "%s/snapshots/%s", repository.data, revision);
        if (folder.failed)
            status = sonde_no_memory(err, id, 0);
        else if (!sonde_path_is_dir(folder.data))
            status =
                sonde_fail(err, SONDE_BAD_FILE, "%s: the cache has no folder %s", id, folder.data);
    }
    sonde_free(revision);
    sonde_string_reset(&repository);
    if (status == SONDE_OK)
        *found = folder.data;
    else
        sonde_string_reset(&folder);
    return status;
}

sonde_status sonde_model_path(const char *path, char **found, sonde_error *err)
{
    *found = NULL;
    if (sonde_path_exists(path)) {
        *found = sonde_strdup(path);
        return *found ? SONDE_OK : sonde_no_memory(err, path, strlen(path));
    }
    if (!is_hub_id(path))
        return sonde_fail(err, SONDE_BAD_FILE, "%s: no such file or folder", path);
    sonde_string cache = {0};
    cache_folder(&cache);
    sonde_status status =
        cache.failed ? sonde_no_memory(err, path, 0) : find_snapshot(path, cache.data, found, err);
    sonde_string_reset(&cache);
    return status;
}
