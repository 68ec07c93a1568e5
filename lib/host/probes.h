/*
 * probes.h - probe plugins as the host holds them: found, loaded, checked, set up.
 *
 * A set is all --probe instances of one job. Opening it loads each plugin, refuses another ABI by
 * name, fills in the options, resolves the instance's points, calls setup and checks what setup
 * declared. What happens while rows flow (views, sinks, states) is pipeline.h's.
 *
 * Messages start with "probe NAME (instance INSTANCE): ..." and have status PROBE where the plugin
 * is at fault, USAGE / UNKNOWN_NAME where the person is.
 */
#ifndef SONDE_HOST_PROBES_H
#define SONDE_HOST_PROBES_H

#include "select.h"
#include "sonde/job.h"
#include "sonde/probe.h"

typedef struct sonde_probe_instance {
    const char *name; /* of the instance: "capture", "m2" */
    sonde_probe probe; /* copy of the plugin's descriptor; members that it does not have are NULL */
    const char *file; /* of the plugin */
    void *memory;     /* instance memory, options filled in, set up */
    sonde_points_selection selection; /* what `points` gave, in execution order, with parts */
    uint32_t n_points;
    sonde_probe_point *points; /* [n_points] after parts, as the plugin sees them */
    uint32_t *access;          /* [n_points] SONDE_ACCESS_* */
    const char *rows; /* the instance's own rows expression, or NULL. A point's own
                         (selection.points[i].rows) goes before it, the job's --rows behind it */
    sonde_probe_output *outputs; /* [n_outputs] copies as declared, checked */
    uint32_t n_outputs;
    uint64_t state_bytes, scratch_bytes, scratch_bytes_per_row;
    const char *options_json; /* {"key": value, ...} of every option incl. defaults and points */
    bool writes;              /* some access has WRITE */
    void *host;               /* of probes.c */
} sonde_probe_instance;

typedef struct sonde_probe_set {
    sonde_probe_instance *instances; /* [count] in order of calls: writers first, else as given */
    int32_t count;
    void *loaded; /* of probes.c: handles of the shared objects */
} sonde_probe_set;

typedef struct sonde_probe_set_spec {
    const sonde_model *model;
    const char *const *probes; /* [n_probes] as typed: NAME[=INSTANCE][:key=value,...]; commas
                                  inside {} [] () do not split; 0 probes: "capture" */
    int64_t n_probes;
    const char *const *points; /* [n_points] --points as typed: default of every instance's points;
                                  none: the probe's own default, or blocks.*.resid_post */
    int64_t n_points;
} sonde_probe_set_spec;

/* Fills *set (zero-initialised by the caller); on failure it is reset. [setup thread] */
sonde_status sonde_probe_set_open(const sonde_probe_set_spec *spec, sonde_probe_set *set,
                                  sonde_error *err);
/* Calls every instance's reset and unloads the plugins. */
void sonde_probe_set_reset(sonde_probe_set *set);

/* The message of a callback that failed: "probe moments (instance m): <what the plugin said>" with
 * status PROBE. `pe` is made printable; empty: "failed without a message". */
sonde_status sonde_probe_failed(const sonde_probe_instance *instance, const char *callback,
                                const sonde_probe_error *pe, sonde_error *err);
/* True for a name that an output or a table may have below /probes/<instance>: parts of letters,
 * digits, '_', '-', '.', joined with '/', none empty or beginning with '.'; NULL: false. */
bool sonde_probe_path_good(const char *name);
/* dtype of a SONDE_ELEMENT_*, or NONE. */
sonde_dtype sonde_probe_element_dtype(uint32_t element);

#endif
