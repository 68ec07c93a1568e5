/*
 * probes_load.c - finding plugin files, opening them, checking the entry and the descriptors.
 *
 * Nothing of a plugin is called before its ABI version is known to be ours, and nothing is read of
 * a struct beyond the size that it states.
 */
#include "probes_internal.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIN_DESCRIPTOR offsetof(sonde_probe, done) /* v1 up to the last member that must be there */

/* ---- folders --------------------------------------------------------------------------------- */

static sonde_status own_folder(sonde_probe_owner *folders, const char *text, size_t n,
                               const char *below, sonde_error *err)
{
    char *head = sonde_strndup(text, n);
    char *path = head ? sonde_path_join(head, below) : NULL;
    bool good = path && sonde_probe_own_text(folders, path, strlen(path));
    sonde_free(path);
    sonde_free(head);
    return good ? SONDE_OK : sonde_no_memory(err, "the folders of probes", n);
}

static sonde_status find_folders(sonde_probe_owner *folders, sonde_error *err)
{
    const char *at = getenv("SONDE_PROBE_PATH");
    while (at && *at) {
        size_t n = strcspn(at, ":");
        if (n > 0 && !sonde_probe_own_text(folders, at, n))
            return sonde_no_memory(err, "the folders of probes", n);
        at += n + (at[n] == ':');
    }
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program);
    while (length > 0 && program[length - 1] != '/') length--;
    if (length <= 1) return SONDE_OK;
    SONDE_TRY(own_folder(folders, program, (size_t)length - 1, "probes", err));
    return own_folder(folders, program, (size_t)length - 1, "../lib/sonde/probes", err);
}

sonde_status sonde_probe_folders_text(sonde_string *text, sonde_error *err)
{
    sonde_probe_owner folders = {0};
    sonde_status status = find_folders(&folders, err);
    for (size_t i = 0; i < folders.count; i++)
        sonde_string_format(text, "%s%s", i ? ", " : "", (const char *)folders.items[i]);
    sonde_probe_owner_reset(&folders);
    if (status == SONDE_OK && text->failed) return sonde_no_memory(err, "a message", 256);
    return status;
}

static bool is_plugin_name(const char *name)
{
    size_t n = strlen(name);
    return n > 3 && name[0] != '.' && strcmp(name + n - 3, ".so") == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static sonde_status files_of_folder(sonde_probe_owner *files, const char *folder, sonde_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir) return SONDE_OK;
    size_t first = files->count;
    sonde_status status = SONDE_OK;
    for (struct dirent *entry; status == SONDE_OK && (entry = readdir(dir));) {
        if (!is_plugin_name(entry->d_name)) continue;
        char *path = sonde_path_join(folder, entry->d_name);
        if (!path || !sonde_probe_own_text(files, path, strlen(path)))
            status = sonde_no_memory(err, "the list of plugins", 256);
        sonde_free(path);
    }
    closedir(dir);
    if (files->count > first)
        qsort(files->items + first, files->count - first, sizeof *files->items, by_text);
    return status;
}

sonde_status sonde_probe_files(sonde_probe_owner *files, sonde_error *err)
{
    sonde_probe_owner folders = {0};
    sonde_status status = find_folders(&folders, err);
    for (size_t i = 0; i < folders.count && status == SONDE_OK; i++)
        status = files_of_folder(files, folders.items[i], err);
    sonde_probe_owner_reset(&folders);
    return status;
}

/* ---- one file -------------------------------------------------------------------------------- */

static sonde_status check_entry(const char *file, const sonde_probe_entry_v1 *entry,
                                sonde_error *err)
{
    if (!entry)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: it does not export '%s'; it is no probe of "
                          "sonde", file, SONDE_PROBE_ENTRY_SYMBOL);
    if (entry->abi_major != SONDE_PROBE_ABI_MAJOR)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: made for probe ABI %u.%u, this program "
                          "speaks %u.%u; build the plugin again with this program's sonde/probe.h",
                          file, entry->abi_major, entry->abi_minor, SONDE_PROBE_ABI_MAJOR,
                          SONDE_PROBE_ABI_MINOR);
    if (entry->struct_size < sizeof *entry)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: its entry has %u bytes, ABI 1 needs %zu",
                          file, entry->struct_size, sizeof *entry);
    if (entry->count == 0 || entry->count > SONDE_PROBE_MAX_COUNT)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: it says that it holds %u probes; expected "
                          "1 to %u", file, entry->count, SONDE_PROBE_MAX_COUNT);
    if (!entry->get)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: its entry has no `get`", file);
    return SONDE_OK;
}

sonde_status sonde_probe_plugin_open(sonde_probe_plugins *plugins, const char *file,
                                     sonde_probe_plugin *plugin, sonde_error *err)
{
    for (size_t i = 0; i < plugins->count; i++)
        if (strcmp(plugins->items[i].file, file) == 0) {
            *plugin = plugins->items[i];
            return SONDE_OK;
        }
    if (!sonde_grow(&plugins->items, &plugins->capacity, plugins->count + 1,
                    sizeof *plugins->items))
        return sonde_no_memory(err, "a plugin", sizeof *plugin);
    if (!sonde_path_exists(file))
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "plugin %s: there is no such file", file);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        return sonde_fail(err, SONDE_PROBE, "plugin %s: cannot be loaded: %s", file,
                          why ? why : "no reason given");
    }
    const sonde_probe_entry_v1 *entry = dlsym(handle, SONDE_PROBE_ENTRY_SYMBOL);
    sonde_status status = check_entry(file, entry, err);
    *plugin = (sonde_probe_plugin){.file = sonde_strdup(file), .handle = handle, .entry = entry};
    if (status == SONDE_OK && !plugin->file) status = sonde_no_memory(err, "a plugin", 64);
    if (status == SONDE_OK) {
        plugins->items[plugins->count++] = *plugin;
    } else {
        sonde_free(plugin->file);
        dlclose(handle);
    }
    return status;
}

void sonde_probe_plugins_reset(sonde_probe_plugins *plugins)
{
    for (size_t i = 0; i < plugins->count; i++) {
        dlclose(plugins->items[i].handle);
        sonde_free(plugins->items[i].file);
    }
    sonde_free(plugins->items);
    memset(plugins, 0, sizeof *plugins);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static bool probe_name_good(const char *name)
{
    if (!name || !(name[0] >= 'a' && name[0] <= 'z')) return false;
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return !name[n] && n <= 64;
}

static sonde_status check_members(const sonde_probe *probe, sonde_error *err)
{
    if (!probe_name_good(probe->name))
        return sonde_fail(err, SONDE_PROBE, "its name '%.80s' is not [a-z][a-z0-9_]*",
                          probe->name ? probe->name : "");
    const char *lacks = !probe->setup ? "setup" : !probe->rows ? "rows" : NULL;
    if (lacks) return sonde_fail(err, SONDE_PROBE, "%s: it has no `%s`", probe->name, lacks);
    if (!probe->state_save != !probe->state_load)
        return sonde_fail(err, SONDE_PROBE, "%s: it has only one of state_save and state_load",
                          probe->name);
    if (probe->instance_bytes > SONDE_PROBE_MAX_INSTANCE_BYTES)
        return sonde_fail(err, SONDE_PROBE, "%s: it asks for %llu bytes of instance memory; at "
                          "most %llu are given", probe->name,
                          (unsigned long long)probe->instance_bytes,
                          (unsigned long long)SONDE_PROBE_MAX_INSTANCE_BYTES);
    return sonde_probe_options_check(probe, err);
}

sonde_status sonde_probe_descriptor(const sonde_probe_plugin *plugin, uint32_t index,
                                    sonde_probe *probe, sonde_error *err)
{
    const sonde_probe *given = plugin->entry->get(index);
    memset(probe, 0, sizeof *probe);
    if (!given)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: it says that it holds %u probes, but "
                          "get(%u) gives none", plugin->file, plugin->entry->count, index);
    if (given->struct_size < MIN_DESCRIPTOR)
        return sonde_fail(err, SONDE_PROBE, "plugin %s: the descriptor of its probe %u has %u "
                          "bytes, ABI 1 needs at least %zu", plugin->file, index,
                          given->struct_size, MIN_DESCRIPTOR);
    memcpy(probe, given, SONDE_MIN(given->struct_size, sizeof *probe));
    sonde_error why = {0};
    sonde_status status = check_members(probe, &why);
    if (status != SONDE_OK) return sonde_fail(err, status, "plugin %s: %s", plugin->file,
                                              why.message);
    if (!probe->version) probe->version = "";
    if (!probe->help) probe->help = "";
    return SONDE_OK;
}

/* ---- by name --------------------------------------------------------------------------------- */

/* UNKNOWN_NAME when the plugin holds no probe of this name. */
static sonde_status find_in_plugin(const sonde_probe_plugin *plugin, const char *name,
                                   sonde_probe *probe, sonde_error *err)
{
    for (uint32_t i = 0; i < plugin->entry->count; i++) {
        SONDE_TRY(sonde_probe_descriptor(plugin, i, probe, err));
        if (strcmp(probe->name, name) == 0) return SONDE_OK;
    }
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "plugin %s: it holds no probe '%s'", plugin->file,
                      name);
}

static sonde_status find_by_file(sonde_probe_plugins *plugins, const char *name,
                                 sonde_probe *probe, const char **file, sonde_error *err)
{
    char path[4096];
    sonde_probe_plugin plugin;
    int n = snprintf(path, sizeof path, "%s%s", strchr(name, '/') ? "" : "./", name);
    if (n < 0 || (size_t)n >= sizeof path)
        return sonde_fail(err, SONDE_USAGE, "plugin %.60s...: its path is too long", name);
    SONDE_TRY(sonde_probe_plugin_open(plugins, path, &plugin, err));
    *file = plugin.file;
    if (plugin.entry->count == 1) return sonde_probe_descriptor(&plugin, 0, probe, err);
    sonde_string names = {0};
    for (uint32_t i = 0; i < plugin.entry->count; i++) {
        sonde_status status = sonde_probe_descriptor(&plugin, i, probe, err);
        if (status != SONDE_OK) {
            sonde_string_reset(&names);
            return status;
        }
        sonde_string_format(&names, "%s%s", i ? ", " : "", probe->name);
    }
    sonde_status status =
        sonde_fail(err, SONDE_USAGE, "plugin %s: it holds several probes (%s); put its folder into "
                   "SONDE_PROBE_PATH and name one of them", path, names.failed ? "" : names.data);
    sonde_string_reset(&names);
    return status;
}

static bool file_is_called(const char *file, const char *name)
{
    const char *base = strrchr(file, '/');
    size_t n = strlen(name);
    base = base ? base + 1 : file;
    return strncmp(base, name, n) == 0 && strcmp(base + n, ".so") == 0;
}

/* Tries the files called <name>.so, or all others; those others may be broken for their own
 * reasons, which do not matter here. */
static sonde_status find_in_files(sonde_probe_plugins *plugins, const sonde_probe_owner *files,
                                  bool called, const char *name, sonde_probe *probe,
                                  const char **file, sonde_error *err)
{
    for (size_t i = 0; i < files->count; i++) {
        sonde_probe_plugin plugin;
        sonde_error why = {0};
        if (file_is_called(files->items[i], name) != called) continue;
        sonde_status status = sonde_probe_plugin_open(plugins, files->items[i], &plugin, &why);
        if (status == SONDE_OK) status = find_in_plugin(&plugin, name, probe, &why);
        if (status == SONDE_OK) *file = plugin.file;
        if (status == SONDE_OK) return SONDE_OK;
        bool matters = called ? status != SONDE_UNKNOWN_NAME : status == SONDE_NO_MEMORY;
        if (matters) return sonde_fail(err, status, "%s", why.message);
    }
    return SONDE_UNKNOWN_NAME;
}

static sonde_status nothing_found(const sonde_probe_plugins *plugins, const char *name,
                                  sonde_error *err)
{
    char near[80] = "";
    size_t limit = strlen(name) / 3 + 1, best = limit + 1;
    for (size_t i = 0; i < plugins->count; i++)
        for (uint32_t k = 0; k < plugins->items[i].entry->count; k++) {
            sonde_probe probe;
            if (sonde_probe_descriptor(&plugins->items[i], k, &probe, NULL) != SONDE_OK) continue;
            size_t distance = sonde_edit_distance(name, probe.name, limit);
            if (distance >= best) continue;
            best = distance;
            snprintf(near, sizeof near, "%s", probe.name);
        }
    sonde_string folders = {0};
    sonde_status status = sonde_probe_folders_text(&folders, err);
    if (status == SONDE_OK)
        status = sonde_fail(err, SONDE_UNKNOWN_NAME, "probe '%s': there is none of this name%s%s%s "
                            "(searched %s)", name, *near ? "; did you mean '" : "", near,
                            *near ? "'?" : "", folders.length ? folders.data : "nothing");
    sonde_string_reset(&folders);
    return status;
}

sonde_status sonde_probe_find(sonde_probe_plugins *plugins, const sonde_probe_text *text,
                              sonde_probe *probe, const char **file, sonde_error *err)
{
    if (text->is_file) return find_by_file(plugins, text->name, probe, file, err);
    sonde_probe_owner files = {0};
    sonde_status status = sonde_probe_files(&files, err);
    if (status == SONDE_OK)
        status = find_in_files(plugins, &files, true, text->name, probe, file, err);
    if (status == SONDE_UNKNOWN_NAME)
        status = find_in_files(plugins, &files, false, text->name, probe, file, err);
    if (status == SONDE_UNKNOWN_NAME) status = nothing_found(plugins, text->name, err);
    sonde_probe_owner_reset(&files);
    return status;
}
