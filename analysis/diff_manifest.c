/* Which options that decide content differ between two captures. */
#include "analysis/diff_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Objects deeper than this are compared as one value. */
#define DIFF_MANIFEST_DEPTH 8

static void put_value(const json_t *value, char *out, size_t out_bytes)
{
    out[0] = '\0';
    if (!value) return;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    diff_printable(text ? text : "?", text ? strlen(text) : 1, out, out_bytes);
    free(text);
}

static void note(diff_manifest *m, const char *key, const json_t *a, const json_t *b)
{
    if (m->count < DIFF_OPTIONS) {
        diff_printable(key, strlen(key), m->first[m->count].key, sizeof m->first[0].key);
        put_value(a, m->first[m->count].a, sizeof m->first[0].a);
        put_value(b, m->first[m->count].b, sizeof m->first[0].b);
    }
    m->count++;
}

static void compare_values(diff_manifest *m, const char *prefix, const char *key, json_t *a,
                           json_t *b, int depth);

/* Keys of a in its order, then those of b alone. */
static void compare_objects(diff_manifest *m, const char *prefix, json_t *a, json_t *b, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach(a, key, value)
        compare_values(m, prefix, key, value, json_object_get(b, key), depth);
    json_object_foreach(b, key, value)
        if (!json_object_get(a, key)) compare_values(m, prefix, key, NULL, value, depth);
}

static void compare_values(diff_manifest *m, const char *prefix, const char *key, json_t *a,
                           json_t *b, int depth)
{
    char path[96];
    snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "." : "", key);
    if (json_is_object(a) && json_is_object(b) && depth < DIFF_MANIFEST_DEPTH)
        compare_objects(m, path, a, b, depth + 1);
    else if (!a || !b || !json_equal(a, b))
        note(m, path, a, b);
}

static sonde_status parse(const sonde_reader *reader, json_t **root, sonde_error *err)
{
    json_error_t problem;
    *root = json_loads(sonde_reader_manifest(reader), 0, &problem);
    if (json_is_object(*root)) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_CAPTURE, "%s: /manifest: expected a JSON object: %s",
                      sonde_reader_path(reader), *root ? "it is an array" : problem.text);
}

sonde_status diff_manifest_compare(const sonde_reader *a, const sonde_reader *b,
                                   diff_manifest *manifest, sonde_error *err)
{
    json_t *root_a = NULL, *root_b = NULL;
    if (!sonde_reader_manifest(a) || !sonde_reader_manifest(b)) return SONDE_OK;
    sonde_status status = parse(a, &root_a, err);
    if (status == SONDE_OK) status = parse(b, &root_b, err);
    if (status == SONDE_OK) {
        manifest->compared = true;
        compare_objects(manifest, "", root_a, root_b, 0);
    }
    json_decref(root_a);
    json_decref(root_b);
    return status;
}
