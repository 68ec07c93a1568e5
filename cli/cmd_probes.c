/* cmd_probes.c - sonde probes: the plugins that can be found and their options. */
#include "cli/cli.h"

#include <string.h>

#define MAX_NAMES 256

/* What the listing has shown so far. */
typedef struct listing {
    const char *only; /* name asked for, or NULL */
    bool verbose, found;
    json_t *json; /* array; NULL: a table is printed */
    char names[MAX_NAMES][64];
    int32_t n_names;
} listing;

static json_t *probe_json(const sonde_probe_listing *probe)
{
    json_t *options = json_array();
    for (int64_t i = 0; i < probe->n_options; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "name", cli_json_string(probe->options[i].name));
        json_object_set_new(o, "type", cli_json_string(probe->options[i].type));
        json_object_set_new(o, "help", cli_json_string(probe->options[i].help));
        json_object_set_new(o, "default", cli_json_string(probe->options[i].fallback));
        json_object_set_new(o, "bounds", cli_json_string(probe->options[i].bounds));
        json_array_append_new(options, o);
    }
    json_t *value = json_object();
    json_object_set_new(value, "name", cli_json_string(probe->name));
    json_object_set_new(value, "version", cli_json_string(probe->version));
    json_object_set_new(value, "help", cli_json_string(probe->help));
    json_object_set_new(value, "file", cli_json_string(probe->file));
    json_object_set_new(value, "points", cli_json_string(probe->default_points));
    json_object_set_new(value, "writes", json_boolean(probe->writes));
    json_object_set_new(value, "options", options);
    return value;
}

static void print_text(const char *label, const char *text)
{
    if (!text || !text[0]) return;
    printf("%s", label);
    cli_print_clean(stdout, text, strlen(text));
}

static void print_probe(const sonde_probe_listing *probe, bool all)
{
    print_text("", probe->name);
    print_text(" ", probe->version);
    print_text(": ", probe->help);
    printf("%s\n", probe->writes ? " (writes)" : "");
    if (!all) return;
    print_text("  file    ", probe->file);
    putchar('\n');
    if (probe->default_points) print_text("  points  ", probe->default_points), putchar('\n');
    for (int64_t i = 0; i < probe->n_options; i++) {
        printf("  %-14s", probe->options[i].name);
        print_text(" ", probe->options[i].type);
        print_text(", ", probe->options[i].bounds);
        print_text("; ", probe->options[i].help);
        if (probe->options[i].fallback) print_text(" [", probe->options[i].fallback), putchar(']');
        putchar('\n');
    }
}

static void each_probe(void *context, const sonde_probe_listing *probe)
{
    listing *list = context;
    if (list->n_names < MAX_NAMES)
        snprintf(list->names[list->n_names++], sizeof list->names[0], "%s", probe->name);
    if (list->only && strcmp(list->only, probe->name) != 0) return;
    list->found = true;
    if (list->json)
        json_array_append_new(list->json, probe_json(probe));
    else
        print_probe(probe, list->only || list->verbose);
}

static sonde_status not_found(const listing *list, sonde_error *err)
{
    const char *names[MAX_NAMES + 1] = {NULL};
    for (int32_t i = 0; i < list->n_names; i++) names[i] = list->names[i];
    const char *near = list->only ? sonde_near_name(list->only, names) : NULL;
    if (!list->only)
        return sonde_fail(err, SONDE_NOTHING, "no probes found; SONDE_PROBE_PATH names folders of "
                          "plugins");
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "no probe '%s'%s%s%s", list->only,
                      near ? "; did you mean '" : " (sonde probes lists them)", near ? near : "",
                      near ? "'?" : "");
}

sonde_status cmd_probes(cli_call *call, sonde_error *err)
{
    static listing list;
    list.only = call->n_words > 0 ? call->words[0] : NULL;
    list.verbose = call->job.verbose;
    list.json = call->job.json ? json_array() : NULL;
    sonde_status status = sonde_probes_list(each_probe, &list, err);
    if (status == SONDE_OK && !list.found) status = not_found(&list, err);
    if (status == SONDE_OK && call->job.json) return cli_print_json(list.json, true, err);
    json_decref(list.json);
    return status;
}
