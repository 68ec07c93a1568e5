/*
 * probes_internal.h - the parts of the probe host: typed text, loading, options, tensors, setup.
 * Private to probes*.c.
 */
#ifndef SONDE_HOST_PROBES_INTERNAL_H
#define SONDE_HOST_PROBES_INTERNAL_H

#include "core/core.h"
#include "probes.h"

/* Bounds of what a plugin may ask for: far above use, far below harm. */
#define SONDE_PROBE_MAX_OPTIONS 30 /* and the host's own two fill sonde_probe_listing */
#define SONDE_PROBE_MAX_COUNT 256u
#define SONDE_PROBE_MAX_OUTPUTS 65536u
#define SONDE_PROBE_MAX_ELEMENTS (INT64_C(1) << 28)
#define SONDE_PROBE_MAX_INSTANCE_BYTES (UINT64_C(1) << 28)
#define SONDE_PROBE_MAX_STATE_BYTES (UINT64_C(1) << 32)
#define SONDE_PROBE_MAX_ROW_BYTES (UINT64_C(1) << 24)

/* --- memory that lives as long as its owner --------------------------------------------------- */

typedef struct sonde_probe_owner {
    void **items;
    size_t count, capacity;
} sonde_probe_owner;
/* Zeroed memory; NULL when there is none. */
void *sonde_probe_own(sonde_probe_owner *owner, size_t count, size_t bytes_each);
char *sonde_probe_own_text(sonde_probe_owner *owner, const char *text, size_t length);
void sonde_probe_owner_reset(sonde_probe_owner *owner);

/* --- NAME[=INSTANCE][:key=value,...] ---------------------------------------------------------- */

typedef struct sonde_probe_pair {
    const char *key, *value; /* value NULL: a flag given alone */
} sonde_probe_pair;
typedef struct sonde_probe_text {
    const char *name, *instance; /* instance NULL: not given */
    bool is_file;                /* name is a path */
    sonde_probe_pair *pairs;
    int64_t n_pairs;
} sonde_probe_text;
sonde_status sonde_probe_parse(sonde_probe_owner *owner, const char *typed,
                               sonde_probe_text *text, sonde_error *err);

/* --- loading ---------------------------------------------------------------------------------- */

typedef struct sonde_probe_plugin {
    char *file;
    void *handle;
    const sonde_probe_entry_v1 *entry;
} sonde_probe_plugin;
typedef struct sonde_probe_plugins {
    sonde_probe_plugin *items;
    size_t count, capacity;
} sonde_probe_plugins;

/* The folders searched, in order, joined with ", ". */
sonde_status sonde_probe_folders_text(sonde_string *text, sonde_error *err);
/* Every plugin file that can be found, in the order of search; given (sonde_probe_owner_reset). */
sonde_status sonde_probe_files(sonde_probe_owner *files, sonde_error *err);
/* Loads a file once and checks its entry. */
sonde_status sonde_probe_plugin_open(sonde_probe_plugins *plugins, const char *file,
                                     sonde_probe_plugin *plugin, sonde_error *err);
/* A checked copy of descriptor `index`; members that a smaller one lacks are zero. */
sonde_status sonde_probe_descriptor(const sonde_probe_plugin *plugin, uint32_t index,
                                    sonde_probe *probe, sonde_error *err);
/* The probe of a name or file, loaded. `file` is borrowed from *plugins. */
sonde_status sonde_probe_find(sonde_probe_plugins *plugins, const sonde_probe_text *text,
                              sonde_probe *probe, const char **file, sonde_error *err);
void sonde_probe_plugins_reset(sonde_probe_plugins *plugins);

/* --- options ---------------------------------------------------------------------------------- */

int64_t sonde_probe_option_count(const sonde_probe *probe);
const char *sonde_probe_option_type_name(uint32_t type);
/* A plugin's options table: names, types, offsets within the instance memory. */
sonde_status sonde_probe_options_check(const sonde_probe *probe, sonde_error *err);
/* Every key is an option of the probe (or points, rows), and given once. */
sonde_status sonde_probe_keys_check(const sonde_probe *probe, const sonde_probe_text *text,
                                    sonde_error *err);
/* What was typed for an option, else its default, else NULL. */
const char *sonde_probe_option_text(const sonde_probe_option *option, const sonde_probe_text *text);
/* Reads a tensor option's file. */
sonde_status sonde_probe_tensor_load(sonde_probe_owner *owner, const char *source,
                                     sonde_probe_tensor *tensor, sonde_error *err);
sonde_status sonde_probe_capture_load(sonde_probe_owner *owner, const char *source,
                                      sonde_probe_tensor *tensor, sonde_error *err);
/* Elements of a shape; USAGE with `source` when it is empty or above the bound. */
sonde_status sonde_probe_shape_elements(const char *source, uint32_t n_dims, const int64_t *dims,
                                        int64_t *elements, sonde_error *err);

/* --- an instance ------------------------------------------------------------------------------ */

/* What instance->host points to. */
typedef struct sonde_probe_work {
    sonde_probe_owner owner;
    sonde_probe_host services;
    const char *label; /* "probe NAME (instance INSTANCE)" */
    const sonde_model *model;
    const sonde_points_selection *selection;
    const char *const *point_texts; /* [n_point_texts] what `points` was, as typed */
    int64_t n_point_texts;
    sonde_probe_text text;
    uint32_t flags; /* of the descriptor */
    uint32_t n_points;
    const sonde_probe_point *points;
    uint32_t *access;
    sonde_probe_output *outputs;
    uint32_t n_outputs;
    size_t outputs_capacity;
    sonde_error first; /* first failure of a service during setup */
    bool in_setup, was_set_up;
} sonde_probe_work;

/* Resolves `points`, `rows` and selection options into instance->selection and ->points. */
sonde_status sonde_probe_points_resolve(sonde_probe_instance *instance,
                                        const sonde_probe_set_spec *spec, sonde_error *err);
/* Fills the instance memory; the points are resolved. */
sonde_status sonde_probe_options_fill(sonde_probe_instance *instance, sonde_error *err);
/* Writes instance->options_json. */
sonde_status sonde_probe_options_json(sonde_probe_instance *instance, sonde_error *err);
/* Calls setup and checks what it declared. */
sonde_status sonde_probe_setup_call(sonde_probe_instance *instance, sonde_error *err);

#endif
