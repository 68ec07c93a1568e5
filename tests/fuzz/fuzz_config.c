/* Any text as config.json: refused, or folded into one spelling that folding again leaves alone, but
 * for one thing: only a dictionary of rope parameters that the file has is given a rope_type. */
#include "weights/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {"hidden_size", "rope_parameters.rope_type", "a.b.c", "",
                                   "rope_parameters.full_attention.rope_theta"};

static void complete_rope(json_t *root)
{
    json_t *rope = json_object_get(root, "rope_parameters");
    if (!json_is_object(rope) || json_object_get(rope, "rope_type")) return;
    for (void *at = json_object_iter(rope); at; at = json_object_iter_next(rope, at))
        if (json_is_object(json_object_iter_value(at))) return;
    json_object_set_new(rope, "rope_type", json_string("default"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sonde_error err = {0};
    json_t *root;
    sonde_config *config, *again;
    if (sonde_json_parse((const char *)data, size, "fuzz", SONDE_BAD_MODEL, &root, &err) !=
        SONDE_OK)
        return 0;
    if (sonde_config_create(root, "fuzz", &config, &err) != SONDE_OK) {
        if (err.message[0] == '\0') abort();
        return 0;
    }
    for (size_t i = 0; i < SONDE_COUNT(keys); i++)
        if (json_is_null(sonde_config_find(config, keys[i]))) abort();
    json_t *copy = json_deep_copy(sonde_config_root(config));
    if (sonde_config_create(copy, "fuzz", &again, &err) != SONDE_OK) abort();
    json_t *expected = json_deep_copy(sonde_config_root(config));
    complete_rope(expected);
    if (!json_equal(expected, sonde_config_root(again))) abort();
    json_decref(expected);
    sonde_config_destroy(&again);
    sonde_config_destroy(&config);
    return 0;
}
