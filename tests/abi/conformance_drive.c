/*
 * conformance_drive.c - one way through a plugin: setup, rows in blocks, done, merge, finish.
 * Around every callback stands what it must not touch: guards between rows, before and after states
 * and scratch, copies of labels and of read-only rows.
 */
#include "conformance.h"

#include <stdlib.h>
#include <string.h>

typedef struct driver {
    const target *target;
    const way *way;
    outcome *outcome;
    const sonde_probe_instance *instance;
    guarded states[N_SEQUENCES];
    int64_t next[N_SEQUENCES]; /* kept rows given so far */
    guarded scratch[N_SEQUENCES];
    bool refuse;
} driver;

/* ---- a view ---------------------------------------------------------------------------------- */

#define MAX_ROWS 96
#define GUARD_BITS UINT32_C(0x7FC0DEAD) /* a NaN: whoever adds a guard up shows it */

typedef struct labels {
    int64_t offset[MAX_ROWS], length[MAX_ROWS], first_key[MAX_ROWS], position[MAX_ROWS];
    uint32_t token[MAX_ROWS];
    uint8_t phase[MAX_ROWS], segment[MAX_ROWS];
} labels;

/* The rows of a view, and copies of all that must stay as it is. */
typedef struct rows_memory {
    float *data, *before;
    int64_t elements;
    labels labels, labels_before;
} rows_memory;

static void fill_labels(const driver *d, int64_t s, uint32_t point, int64_t begin, int64_t n,
                        rows_memory *m)
{
    const sonde_probe_point *p = &d->instance->points[point];
    const sonde_hook_point *hook = sonde_model_point(
        d->target->model, d->instance->selection.points[point].point);
    labels *l = &m->labels;
    m->elements = d->way->padding;
    for (int64_t i = 0; i < n; i++) {
        int64_t position = synth[s].kept[begin + i];
        l->position[i] = position;
        l->token[i] = synth[s].tokens[position];
        l->phase[i] = position >= synth[s].n_prompt;
        l->length[i] = synth_row_length(hook, p, position, &l->first_key[i]);
        l->offset[i] = m->elements;
        m->elements += l->length[i] + d->way->padding;
    }
}

static void rows_make(const driver *d, int64_t s, uint32_t point, int64_t begin, int64_t n,
                      rows_memory *m)
{
    uint32_t guard = GUARD_BITS;
    memset(m, 0, sizeof *m);
    fill_labels(d, s, point, begin, n, m);
    m->labels_before = m->labels;
    size_t bytes = (size_t)m->elements * sizeof(float);
    m->data = malloc(bytes ? bytes : 1);
    m->before = malloc(bytes ? bytes : 1);
    if (!m->data || !m->before) abort();
    for (int64_t i = 0; i < m->elements; i++) memcpy(&m->data[i], &guard, sizeof guard);
    for (int64_t i = 0; i < n; i++)
        synth_row(d->instance->points[point].element, s, point, m->labels.position[i],
                  m->labels.length[i], m->data + m->labels.offset[i]);
    memcpy(m->before, m->data, bytes);
}

static void rows_check(const driver *d, uint32_t point, int64_t n, bool writable, rows_memory *m)
{
    const char *name = d->instance->points[point].name;
    if (memcmp(&m->labels, &m->labels_before, sizeof m->labels) != 0)
        breach(d->outcome, "rows of %s: it changed the labels of the view", name);
    /* What it may write is put back, so that one comparison does for both kinds. */
    for (int64_t i = 0; writable && i < n; i++)
        memcpy(m->data + m->labels_before.offset[i], m->before + m->labels_before.offset[i],
               (size_t)m->labels_before.length[i] * sizeof(float));
    if (memcmp(m->data, m->before, (size_t)m->elements * sizeof(float)) != 0)
        breach(d->outcome, writable ? "rows of %s: it wrote outside its rows"
                                    : "rows of %s: it wrote to a read-only view", name);
}

static void keep_written(const driver *d, int64_t s, uint32_t point, int64_t n,
                         const rows_memory *m)
{
    sonde_string *rows = &d->outcome->written[point * N_SEQUENCES + (uint32_t)s];
    for (int64_t i = 0; i < n; i++)
        sonde_string_append(rows, (const char *)(m->data + m->labels_before.offset[i]),
                            (size_t)m->labels_before.length[i] * sizeof(float));
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static void check_result(const driver *d, const taker *t, const char *callback, int32_t result,
                         const sonde_probe_error *err)
{
    bool ended = memchr(err->message, 0, sizeof err->message) != NULL;
    if (!ended) breach(d->outcome, "%s: its message has no end", callback);
    if (t && t->refuse) {
        if (t->refused && result == 0)
            breach(d->outcome, "%s: the sink refused, but it returned 0", callback);
        return;
    }
    if (result != 0)
        breach(d->outcome, "%s returned %d: %s", callback, (int)result, ended ? err->message : "");
}

static void check_emitted(const driver *d, const taker *t)
{
    for (uint32_t i = 0; i < d->instance->n_outputs; i++) {
        const sonde_probe_output *o = &d->instance->outputs[i];
        if (o->kind != SONDE_OUTPUT_SPARSE && o->point == t->view->point && !t->emitted[i])
            breach(d->outcome, "rows of %s: nothing was emitted to output %u (%s)",
                   d->instance->points[o->point].name, i, o->name);
    }
}

static void call_rows(driver *d, int64_t s, uint32_t point, int64_t n, uint64_t block)
{
    const sonde_probe_instance *in = d->instance;
    rows_memory *m = malloc(sizeof *m);
    uint8_t *emitted = calloc(in->n_outputs + 1, 1);
    if (!m || !emitted) abort();
    bool writable = (in->access[point] & SONDE_ACCESS_WRITE) != 0;
    rows_make(d, s, point, d->next[s], n, m);
    const labels *l = &m->labels;
    sonde_probe_view view = {
        .struct_size = sizeof view, .point = point, .block = block, .n_rows = n, .data = m->data,
        .offset = l->offset, .length = l->length,
        .first_key = in->points[point].ragged ? l->first_key : NULL, .writable = writable,
        .position = l->position, .token = l->token, .phase = l->phase, .segment = l->segment,
        .sequence = (uint64_t)s, .n_prompt = synth[s].n_prompt, .id = synth[s].id, .meta = "{}",
        .scratch = d->scratch[s].data};
    taker t = {.outcome = d->outcome, .instance = in, .stage = STAGE_ROWS, .sequence = s,
               .view = &view, .emitted = emitted, .refuse = d->refuse};
    sonde_probe_sink sink = taker_sink(&t);
    sonde_probe_error err = {{0}};
    int32_t result = in->probe.rows(in->memory, d->states[s].data, &view, &sink, &err);
    check_result(d, &t, "rows", result, &err);
    if (result == 0 && !d->refuse) check_emitted(d, &t);
    if (writable) keep_written(d, s, point, n, m);
    rows_check(d, point, n, writable, m);
    free(m->data);
    free(m->before);
    free(m);
    free(emitted);
}

static void call_done(driver *d, int64_t s)
{
    const sonde_probe_instance *in = d->instance;
    if (!in->probe.done) return;
    sonde_probe_sequence sequence = {
        .struct_size = sizeof sequence, .sequence = (uint64_t)s, .n_prompt = synth[s].n_prompt,
        .n_tokens = synth[s].n_tokens, .tokens = synth[s].tokens, .id = synth[s].id, .meta = "{}"};
    taker t = {.outcome = d->outcome, .instance = in, .stage = STAGE_DONE, .sequence = s,
               .refuse = d->refuse};
    sonde_probe_sink sink = taker_sink(&t);
    sonde_probe_error err = {{0}};
    check_result(d, &t, "done",
                 in->probe.done(in->memory, d->states[s].data, &sequence, &sink, &err), &err);
}

/* ---- states ---------------------------------------------------------------------------------- */

static guarded saved(const driver *d, const guarded *state)
{
    const sonde_probe_instance *in = d->instance;
    sonde_probe_error err = {{0}};
    uint64_t bytes = 0, written;
    check_result(d, NULL, "state_save", in->probe.state_save(in->memory, state->data, NULL, &bytes,
                                                             &err), &err);
    if (bytes > UINT64_C(1) << 32) {
        breach(d->outcome, "state_save: it says %llu bytes", (unsigned long long)bytes);
        bytes = 0;
    }
    guarded out = guarded_alloc((size_t)bytes);
    written = bytes;
    check_result(d, NULL, "state_save", in->probe.state_save(in->memory, state->data, out.data,
                                                             &written, &err), &err);
    if (written > bytes || !guarded_intact(&out))
        breach(d->outcome, "state_save: it wrote more than the %llu bytes it said",
               (unsigned long long)bytes);
    return out;
}

/* Saves, loads into other memory and drops the first: as a checkpoint does. */
static void move_state(const driver *d, guarded *state)
{
    const sonde_probe_instance *in = d->instance;
    guarded moved = guarded_alloc(state->bytes);
    if (!in->probe.state_save) {
        if (moved.data) memcpy(moved.data, state->data, state->bytes);
    } else if (moved.data) {
        sonde_probe_error err = {{0}};
        guarded first = saved(d, state);
        check_result(d, NULL, "state_load", in->probe.state_load(in->memory, moved.data, first.data,
                                                                 first.bytes, &err), &err);
        guarded second = saved(d, &moved);
        if (first.bytes != second.bytes ||
            (first.bytes && memcmp(first.data, second.data, first.bytes) != 0))
            breach(d->outcome, "state_save after state_load gives other bytes");
        guarded_free(&first);
        guarded_free(&second);
    }
    if (state->data) memset(state->data, 0xA5, state->bytes);
    guarded_free(state);
    *state = moved;
}

static void check_guards(const driver *d, int64_t s)
{
    if (!guarded_intact(&d->states[s])) breach(d->outcome, "it wrote outside the state");
    if (d->scratch[s].raw && !guarded_intact(&d->scratch[s]))
        breach(d->outcome, "it wrote outside the scratch");
}

/* ---- the order of things --------------------------------------------------------------------- */

static int64_t block_size(const driver *d, int64_t s)
{
    int64_t left = synth[s].n_kept - d->next[s];
    if (!d->way->block_rows) return left;
    return SONDE_MIN(left, d->way->block_rows + (d->way->interleaved ? s % 3 : 0));
}

/* One step over the sequences marked: point after point, as the model runs. */
static void step(driver *d, const bool *marked, uint64_t block)
{
    const sonde_probe_instance *in = d->instance;
    int64_t n[N_SEQUENCES];
    for (int64_t s = 0; s < N_SEQUENCES; s++) {
        n[s] = marked[s] ? block_size(d, s) : 0;
        if (n[s])
            d->scratch[s] = guarded_alloc((size_t)in->scratch_bytes +
                                          (size_t)in->scratch_bytes_per_row * (size_t)n[s]);
    }
    for (uint32_t point = 0; point < in->n_points; point++)
        for (int64_t s = 0; s < N_SEQUENCES; s++)
            if (n[s]) call_rows(d, s, point, n[s], block);
    for (int64_t s = 0; s < N_SEQUENCES; s++) {
        if (!n[s]) continue;
        check_guards(d, s);
        guarded_free(&d->scratch[s]);
        d->next[s] += n[s];
        if (d->way->moving) move_state(d, &d->states[s]);
    }
}

static bool unfinished(const driver *d, int64_t s)
{
    return d->next[s] < synth[s].n_kept;
}

/* Runs the sequences s with s % of == which. */
static void run_share(driver *d, int64_t which, int64_t of)
{
    uint64_t block = (uint64_t)which << 32;
    for (bool more = true; more; block++) {
        bool marked[N_SEQUENCES] = {false};
        more = false;
        for (int64_t i = 0; i < N_SEQUENCES; i++) {
            int64_t s = d->way->reversed ? N_SEQUENCES - 1 - i : i;
            if (s % of != which || !unfinished(d, s) || (more && !d->way->interleaved)) continue;
            more = marked[s] = true;
        }
        if (more) step(d, marked, block);
    }
    for (int64_t s = 0; s < N_SEQUENCES; s++)
        if (s % of == which) call_done(d, s);
}

typedef struct share {
    driver *driver;
    int64_t which;
} share;

static void *run_thread(void *argument)
{
    const share *mine = argument;
    run_share(mine->driver, mine->which, 2);
    return NULL;
}

static void run_all(driver *d)
{
    pthread_t other;
    share second = {.driver = d, .which = 1};
    if (!d->way->threads) {
        run_share(d, 0, 1);
        return;
    }
    if (pthread_create(&other, NULL, run_thread, &second) != 0) abort();
    run_share(d, 0, 2);
    pthread_join(other, NULL);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void merge_one(const driver *d, guarded *total, const guarded *state)
{
    const sonde_probe_instance *in = d->instance;
    sonde_probe_error err = {{0}};
    if (!in->probe.merge || !in->state_bytes) return;
    uint8_t *before = malloc(state->bytes);
    if (!before) abort();
    memcpy(before, state->data, state->bytes);
    check_result(d, NULL, "merge",
                 in->probe.merge(in->memory, total->data, state->data, &err), &err);
    if (memcmp(before, state->data, state->bytes) != 0) breach(d->outcome, "merge: it changed src");
    if (!guarded_intact(total) || !guarded_intact(state))
        breach(d->outcome, "merge: it wrote outside a state");
    free(before);
}

static guarded merge_all(const driver *d)
{
    guarded total = guarded_alloc((size_t)d->instance->state_bytes);
    if (!d->way->regrouped) {
        for (int64_t s = 0; s < N_SEQUENCES; s++) {
            merge_one(d, &total, &d->states[s]);
            if (d->way->moving) move_state(d, &total);
        }
        return total;
    }
    for (int64_t first = 0; first < N_SEQUENCES; first += 3) {
        guarded group = guarded_alloc((size_t)d->instance->state_bytes);
        for (int64_t s = first; s < SONDE_MIN(first + 3, N_SEQUENCES); s++)
            merge_one(d, &group, &d->states[s]);
        merge_one(d, &total, &group);
        guarded_free(&group);
    }
    return total;
}

static void call_finish(const driver *d, guarded *total)
{
    const sonde_probe_instance *in = d->instance;
    if (!in->probe.finish) return;
    taker t = {.outcome = d->outcome, .instance = in, .stage = STAGE_FINISH, .refuse = d->refuse};
    sonde_probe_sink sink = taker_sink(&t);
    sonde_probe_error err = {{0}};
    check_result(d, &t, "finish", in->probe.finish(in->memory, total->data, &sink, &err), &err);
    if (!guarded_intact(total)) breach(d->outcome, "finish: it wrote outside the state");
}

static void drive_instance(driver *d)
{
    const sonde_probe_instance *in = d->instance;
    size_t bytes = (size_t)in->probe.instance_bytes;
    uint8_t *memory = malloc(bytes ? bytes : 1);
    if (!memory) abort();
    if (bytes) memcpy(memory, in->memory, bytes);
    for (int64_t s = 0; s < N_SEQUENCES; s++) d->states[s] = guarded_alloc((size_t)in->state_bytes);
    run_all(d);
    if (bytes && memcmp(memory, in->memory, bytes) != 0)
        breach(d->outcome, "it changed the instance memory after setup");
    guarded total = merge_all(d);
    call_finish(d, &total);
    guarded_free(&total);
    for (int64_t s = 0; s < N_SEQUENCES; s++) guarded_free(&d->states[s]);
    free(memory);
}

static bool drive_with(const target *t, const way *w, bool refuse, outcome *o)
{
    sonde_probe_set set = {0};
    sonde_error err = {0};
    sonde_probe_set_spec spec = {.model = t->model, .probes = &t->typed, .n_probes = 1};
    sonde_status status = sonde_probe_set_open(&spec, &set, &err);
    outcome_init(o, status == SONDE_OK ? &set.instances[0] : &(sonde_probe_instance){0});
    if (status != SONDE_OK) {
        breach(o, "%s", err.message);
        return false;
    }
    driver d = {.target = t, .way = w, .outcome = o, .instance = &set.instances[0],
                .refuse = refuse};
    drive_instance(&d);
    sonde_probe_set_reset(&set);
    return o->n_breaches == 0;
}

bool drive(const target *t, const way *w, outcome *o)
{
    return drive_with(t, w, false, o);
}

bool drive_refusing(const target *t, outcome *o)
{
    static const way plain = {.name = "refusing"};
    return drive_with(t, &plain, true, o);
}
