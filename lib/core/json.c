/* json.c - jansson with bounded input and messages that name the place. */
#include "json.h"

sonde_status sonde_json_parse_flags(const char *text, size_t bytes, size_t flags, const char *name,
                                    sonde_status status, json_t **root, sonde_error *err)
{
    json_error_t error;
    *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | flags, &error);
    if (*root) return SONDE_OK;
    return sonde_fail(err, status, "%s: not valid JSON at line %d, column %d: %s", name, error.line,
                      error.column, error.text);
}

sonde_status sonde_json_parse(const char *text, size_t bytes, const char *name, sonde_status status,
                              json_t **root, sonde_error *err)
{
    return sonde_json_parse_flags(text, bytes, 0, name, status, root, err);
}

sonde_status sonde_json_load_flags(const char *path, size_t max_bytes, size_t flags,
                                   sonde_status status, json_t **root, sonde_error *err)
{
    char *text;
    size_t bytes;
    SONDE_TRY(sonde_read_file(path, max_bytes, &text, &bytes, err));
    sonde_status parsed =
        bytes == 0 ? sonde_fail(err, status, "%s: the file is empty", path)
                   : sonde_json_parse_flags(text, bytes, flags, path, status, root, err);
    sonde_free(text);
    return parsed;
}

sonde_status sonde_json_load(const char *path, size_t max_bytes, sonde_status status, json_t **root,
                             sonde_error *err)
{
    return sonde_json_load_flags(path, max_bytes, 0, status, root, err);
}
