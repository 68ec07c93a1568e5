/* probes_list.c - every probe that can be found, for `sonde probes`. */
#include "probes_internal.h"
#include "sonde/job.h"

#include <string.h>

typedef struct lister {
    sonde_probe_plugins plugins;
    sonde_probe_owner names;  /* seen so far: an earlier file hides later probes of its name */
    sonde_probe_owner bounds; /* texts of the listing at hand */
    void (*each)(void *context, const sonde_probe_listing *listing);
    void *context;
} lister;

/* "0..10", "add, replace" or NULL. */
static sonde_status bounds_text(lister *l, const sonde_probe_option *o, const char **out,
                                sonde_error *err)
{
    sonde_string text = {0};
    bool number = o->type == SONDE_PROBE_OPTION_INT || o->type == SONDE_PROBE_OPTION_FLOAT;
    if (number && (o->min != 0 || o->max != 0))
        sonde_string_format(&text, "%g..%g", o->min, o->max);
    if (o->type == SONDE_PROBE_OPTION_CHOICE)
        for (int i = 0; o->choices[i]; i++)
            sonde_string_format(&text, "%s%s", i ? ", " : "", o->choices[i]);
    *out = NULL;
    bool wanted = text.length > 0 || text.failed;
    if (wanted && !text.failed) *out = sonde_probe_own_text(&l->bounds, text.data, text.length);
    sonde_string_reset(&text);
    return wanted && !*out ? sonde_no_memory(err, "the list of probes", 64) : SONDE_OK;
}

static sonde_status fill_listing(lister *l, const sonde_probe *probe, const char *file,
                                 sonde_probe_listing *listing, sonde_error *err)
{
    int64_t n = sonde_probe_option_count(probe);
    *listing = (sonde_probe_listing){
        .name = probe->name, .version = probe->version, .help = probe->help, .file = file,
        .default_points = probe->points ? probe->points : "blocks.*.resid_post",
        .writes = (probe->flags & SONDE_PROBE_WRITES) != 0, .n_options = n + 2};
    for (int64_t i = 0; i < n; i++) {
        const sonde_probe_option *o = &probe->options[i];
        listing->options[i].name = o->name;
        listing->options[i].type = sonde_probe_option_type_name(o->type);
        listing->options[i].help = o->help ? o->help : "";
        listing->options[i].fallback = o->fallback;
        SONDE_TRY(bounds_text(l, o, &listing->options[i].bounds, err));
    }
    listing->options[n].name = "points";
    listing->options[n].type = "points";
    listing->options[n].help = "hook points it sees, as SEL[parts]@ROWS (repeatable)";
    listing->options[n].fallback = listing->default_points;
    listing->options[n + 1].name = "rows";
    listing->options[n + 1].type = "rows";
    listing->options[n + 1].help = "rows it sees; default --rows";
    return SONDE_OK;
}

static bool seen(const lister *l, const char *name)
{
    for (size_t i = 0; i < l->names.count; i++)
        if (strcmp(l->names.items[i], name) == 0) return true;
    return false;
}

static sonde_status list_probe(lister *l, const sonde_probe *probe, const char *file,
                               sonde_error *err)
{
    sonde_probe_listing listing;
    if (seen(l, probe->name)) return SONDE_OK;
    if (!sonde_probe_own_text(&l->names, probe->name, strlen(probe->name)))
        return sonde_no_memory(err, "the list of probes", 64);
    sonde_status status = fill_listing(l, probe, file, &listing, err);
    if (status == SONDE_OK) l->each(l->context, &listing);
    sonde_probe_owner_reset(&l->bounds);
    return status;
}

static sonde_status list_file(lister *l, const char *file, sonde_error *err)
{
    sonde_probe_plugin plugin;
    sonde_probe probe;
    sonde_error why = {0};
    sonde_status status = sonde_probe_plugin_open(&l->plugins, file, &plugin, &why);
    for (uint32_t i = 0; status == SONDE_OK && i < plugin.entry->count; i++) {
        status = sonde_probe_descriptor(&plugin, i, &probe, &why);
        if (status == SONDE_OK) SONDE_TRY(list_probe(l, &probe, file, err));
    }
    if (status == SONDE_NO_MEMORY) return sonde_fail(err, status, "%s", why.message);
    if (status != SONDE_OK) sonde_log(SONDE_LOG_WARN, "%s", why.message);
    return SONDE_OK;
}

sonde_status sonde_probes_list(void (*each)(void *context, const sonde_probe_listing *listing),
                               void *context, sonde_error *err)
{
    lister l = {.each = each, .context = context};
    sonde_probe_owner files = {0};
    sonde_status status = sonde_probe_files(&files, err);
    for (size_t i = 0; i < files.count && status == SONDE_OK; i++)
        status = list_file(&l, files.items[i], err);
    sonde_probe_owner_reset(&files);
    sonde_probe_owner_reset(&l.names);
    sonde_probe_owner_reset(&l.bounds);
    sonde_probe_plugins_reset(&l.plugins);
    return status;
}
