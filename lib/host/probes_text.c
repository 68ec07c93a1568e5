/* probes_text.c - what a person types after --probe: NAME[=INSTANCE][:key=value,...]. */
#include "probes_internal.h"

#include <ctype.h>
#include <string.h>

#define MAX_NAME 64

/* ---- owned memory ---------------------------------------------------------------------------- */

void *sonde_probe_own(sonde_probe_owner *owner, size_t count, size_t bytes_each)
{
    if (!sonde_grow(&owner->items, &owner->capacity, owner->count + 1, sizeof *owner->items))
        return NULL;
    void *block = sonde_alloc(count, bytes_each);
    if (block) owner->items[owner->count++] = block;
    return block;
}

char *sonde_probe_own_text(sonde_probe_owner *owner, const char *text, size_t length)
{
    char *copy = sonde_probe_own(owner, length + 1, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

void sonde_probe_owner_reset(sonde_probe_owner *owner)
{
    for (size_t i = 0; i < owner->count; i++) sonde_free(owner->items[i]);
    sonde_free(owner->items);
    memset(owner, 0, sizeof *owner);
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

static bool instance_good(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME || name[0] == '.' || name[0] == '-') return false;
    for (size_t i = 0; i < n; i++)
        if (!name_char(name[i])) return false;
    return true;
}

bool sonde_probe_path_good(const char *name)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > 255) return false;
    for (const char *part = name;; part++) {
        size_t n = strcspn(part, "/");
        if (n == 0 || part[0] == '.') return false;
        for (size_t i = 0; i < n; i++)
            if (!name_char(part[i])) return false;
        part += n;
        if (!*part) return true;
    }
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* Length of NAME: up to the first '=' or ':', but a path goes on to its ".so". */
static size_t name_length(const char *typed)
{
    size_t plain = strcspn(typed, "=:");
    for (const char *at = strstr(typed, ".so"); at; at = strstr(at + 1, ".so"))
        if (!at[3] || at[3] == '=' || at[3] == ':') {
            size_t path = (size_t)(at + 3 - typed);
            bool in_name = path <= plain || memchr(typed, '/', plain) != NULL;
            return in_name ? path : plain;
        }
    return plain;
}

static sonde_status parse_pair(sonde_probe_owner *owner, const char *piece, sonde_probe_pair *pair,
                               sonde_error *err)
{
    size_t key = strcspn(piece, "=");
    if (key == 0)
        return sonde_fail(err, SONDE_USAGE, "expected key=value, got '%s'", piece);
    pair->key = sonde_probe_own_text(owner, piece, key);
    if (piece[key])
        pair->value = sonde_probe_own_text(owner, piece + key + 1, strlen(piece + key + 1));
    if (!pair->key || (piece[key] && !pair->value))
        return sonde_no_memory(err, "probe options", strlen(piece));
    return SONDE_OK;
}

static sonde_status parse_pairs(sonde_probe_owner *owner, const char *list, sonde_probe_text *text,
                                sonde_error *err)
{
    char **pieces = NULL;
    int64_t count = 0;
    SONDE_TRY(sonde_split_commas(list, &pieces, &count, err));
    sonde_status status = SONDE_OK;
    text->pairs = sonde_probe_own(owner, (size_t)count, sizeof *text->pairs);
    if (!text->pairs) status = sonde_no_memory(err, "probe options", strlen(list));
    for (int64_t i = 0; i < count; i++) {
        if (status == SONDE_OK) status = parse_pair(owner, pieces[i], &text->pairs[i], err);
        sonde_free(pieces[i]);
    }
    sonde_free(pieces);
    text->n_pairs = count;
    return status;
}

sonde_status sonde_probe_parse(sonde_probe_owner *owner, const char *typed,
                               sonde_probe_text *text, sonde_error *err)
{
    memset(text, 0, sizeof *text);
    size_t name = name_length(typed), instance = 0;
    const char *rest = typed + name;
    if (name == 0)
        return sonde_fail(err, SONDE_USAGE, "probe '%s': expected NAME[=INSTANCE][:key=value,...]",
                          typed);
    text->name = sonde_probe_own_text(owner, typed, name);
    if (!text->name) return sonde_no_memory(err, "a probe's name", name);
    text->is_file = strchr(text->name, '/') ||
                    (name > 3 && strcmp(text->name + name - 3, ".so") == 0);
    if (*rest == '=') {
        instance = strcspn(rest + 1, ":");
        text->instance = sonde_probe_own_text(owner, rest + 1, instance);
        if (!text->instance) return sonde_no_memory(err, "a probe's name", instance);
        if (!instance_good(text->instance))
            return sonde_fail(err, SONDE_USAGE, "probe %s: instance '%s': expected 1 to %d "
                              "letters, digits, '_', '-' or '.'", text->name,
                              text->instance, MAX_NAME);
        rest += 1 + instance;
    }
    if (!*rest) return SONDE_OK;
    sonde_status status = parse_pairs(owner, rest + 1, text, err);
    if (status != SONDE_OK) sonde_error_prefix(err, "probe %s", text->name);
    return status;
}
