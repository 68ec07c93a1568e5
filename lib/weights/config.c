/* config.c - the configuration object and its look-up. */
#include "config.h"

#include "container.h"

#include <string.h>

struct sonde_config {
    json_t *root;
    char *source;
};

sonde_status sonde_config_create(json_t *root, const char *source, sonde_config **config,
                                 sonde_error *err)
{
    *config = NULL;
    sonde_status status = sonde_config_normalise(root, source, err);
    sonde_config *made = status == SONDE_OK ? sonde_alloc(1, sizeof *made) : NULL;
    char *copy = made ? sonde_strdup(source) : NULL;
    if (copy) {
        made->root = root;
        made->source = copy;
        *config = made;
        return SONDE_OK;
    }
    if (status == SONDE_OK) status = sonde_no_memory(err, source, sizeof *made);
    sonde_free(made);
    json_decref(root);
    return status;
}

void sonde_config_destroy(sonde_config **config)
{
    if (!config || !*config) return;
    json_decref((*config)->root);
    sonde_free((*config)->source);
    sonde_free(*config);
    *config = NULL;
}

const json_t *sonde_config_find(const sonde_config *config, const char *dotted_key)
{
    const json_t *at = config->root;
    for (const char *part = dotted_key; at; part += strcspn(part, ".") + 1) {
        size_t length = strcspn(part, ".");
        at = json_object_getn(at, part, length);
        if (part[length] == '\0') break;
    }
    return json_is_null(at) ? NULL : at;
}

const char *sonde_config_source(const sonde_config *config)
{
    return config->source;
}

const json_t *sonde_config_root(const sonde_config *config)
{
    return config->root;
}
