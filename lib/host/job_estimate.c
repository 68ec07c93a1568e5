/*
 * job_estimate.c - what a capture would cost, from its prompts, its plan and the sizes of its
 * tensors; no weight is read and nothing runs.
 *
 * Memory is what this process holds already (libraries, tokenizer, prompts) plus what the run would
 * add: packed weights, arenas and KV pages of the workers as far as the prompts fill them, rows that
 * wait for earlier sequences, open chunks and the queue of the store.
 */
#include "job_internal.h"

#include "core/cpu.h"
#include "pipeline_internal.h"

#include <string.h>
#include <sys/statvfs.h>

#define PAGE_POSITIONS 64

/* The sequences that may be in flight together: a ring of the last `batch` of them. */
typedef struct flight_window {
    int64_t *pages, *rows; /* [size] */
    int64_t size, count, pages_sum, rows_sum, most_pages;
    int64_t all_pages, all_rows; /* of the whole run */
    int64_t longest;             /* rows of one sequence */
    double keys; /* that the rows of a step of one sequence's prompt see on average, at most */
    int64_t batch_rows;
} flight_window;

typedef struct estimate {
    sonde_job *job;
    sonde_pipeline *pipeline;
    sonde_plan *plan;
    sonde_job_cost *cost;
    uint64_t *output_rows, *output_units; /* [outputs] rows, and rows or keys */
    /* Rows that wait for the end of their sequence, where only that decides which are kept: as the
     * file would have them and, as they wait, in fp32: of the run, and the most of one sequence. */
    uint64_t deferred_stored, deferred, deferred_most, deferred_one;
    double flops;
    flight_window window;
    bool shares;    /* beginnings that nobody wants to see stay in the cache for a while */
    bool generates; /* rows of generated tokens: they may wait for those of earlier sequences */
} estimate;

/* ---- one prompt -------------------------------------------------------------------------------------------- */

/* Decode rows keep their sequences; prefill admits until the step is full. */
static void add_to_window(flight_window *w, int64_t pages, int64_t rows, bool generates)
{
    while (w->count > 0 &&
           (w->count == w->size || (!generates && w->rows_sum >= w->batch_rows))) {
        w->pages_sum -= w->pages[0];
        w->rows_sum -= w->rows[0];
        w->count--;
        memmove(w->pages, w->pages + 1, (size_t)w->count * sizeof *w->pages);
        memmove(w->rows, w->rows + 1, (size_t)w->count * sizeof *w->rows);
    }
    w->pages[w->count] = pages;
    w->rows[w->count++] = rows;
    w->pages_sum += pages;
    w->rows_sum += rows;
    w->most_pages = SONDE_MAX(w->most_pages, w->pages_sum);
    w->all_pages += pages;
}

/* Keys that rows [from, from + n) of a class see, an upper bound for rows not known yet. */
static uint64_t generated_keys(const sonde_ragged_class *c, int64_t from, int64_t n)
{
    uint64_t keys = 0;
    for (int64_t i = from; i < from + n; i++)
        keys += (uint64_t)(i + 1 - sonde_point_first_key(c->point, i));
    return keys;
}

static bool may_keep_generated(const sonde_line *line)
{
    return !line->expr || line->deferred || sonde_rows_may_keep_generated(line->expr);
}

static void count_output(estimate *e, const sonde_flow *flow, int32_t index, int64_t generated)
{
    const sonde_pipe_output *o = &e->pipeline->outputs[index];
    const sonde_line *line = &flow->lines[o->slot];
    int64_t n = flow->n_run;
    if (o->twin || o->declared->kind == SONDE_OUTPUT_SPARSE) return;
    bool more = generated > 0 && may_keep_generated(line);
    /* Expressions that look back are only bounded: every row. */
    bool all = line->deferred;
    uint64_t rows = (all ? (uint64_t)n : line->rank[n]) + (more ? (uint64_t)generated : 0);
    uint64_t units = rows;
    if (o->ragged_class >= 0) {
        const sonde_ragged_class *c = &e->pipeline->classes[o->ragged_class];
        units = all ? generated_keys(c, 0, n) : flow->visible[o->ragged_class][n];
        if (more) units += generated_keys(c, n, generated);
    }
    e->output_rows[index] += rows;
    e->output_units[index] += units;
    if (!all) return;
    e->deferred_stored += units * o->row_bytes;
    e->deferred_one += units * o->row_bytes / sonde_dtype_bytes(o->stored, 1) * sizeof(float);
}

static void count_prompt(estimate *e, const sonde_flow *flow)
{
    sonde_job_cost *cost = e->cost;
    int64_t n = flow->n_run, max_new = flow->prompt.max_new;
    int64_t generated = SONDE_MAX(max_new - 1, 0);
    cost->sequences++;
    if (flow->prompt.state == SONDE_PROMPT_SKIPPED) {
        cost->skipped_sequences++;
        return;
    }
    cost->prompt_tokens += (uint64_t)n;
    cost->generated_tokens_max += (uint64_t)max_new;
    e->deferred_one = 0;
    for (int32_t i = 0; i < e->pipeline->n_outputs; i++) count_output(e, flow, i, generated);
    e->deferred += e->deferred_one;
    e->deferred_most = SONDE_MAX(e->deferred_most, e->deferred_one);
    bool more = generated > 0 && sonde_flow_wants_generated(flow), all = false;
    for (int32_t s = 0; s < e->pipeline->n_slots; s++) all = all || flow->lines[s].deferred;
    int64_t kept = all ? n : (int64_t)flow->union_rank[n];
    cost->rows += (uint64_t)(kept + (more ? generated : 0));
    if (more) cost->rows_exact = false;
    if (flow->union_rank[n] == 0 && max_new == 0) return;
    add_to_window(&e->window, (n + generated + PAGE_POSITIONS - 1) / PAGE_POSITIONS, n, max_new > 1);
    e->window.all_rows += n + generated;
    e->window.longest = SONDE_MAX(e->window.longest, n + generated);
    double keys = (double)n - (double)SONDE_MIN(n, e->window.batch_rows) / 2.0;
    e->window.keys = SONDE_MAX(e->window.keys, keys);
    sonde_plan_sequence rows = {n, kept, generated, max_new > 0};
    e->flops += sonde_plan_flops(e->plan, &rows);
    e->generates = e->generates || more;
    e->shares = e->shares || n == 0 || !flow->keep[0] || e->pipeline->n_points == 0;
}

static sonde_status count_prompts(estimate *e, sonde_error *err)
{
    sonde_prompts *prompts = NULL;
    sonde_prompt prompt = {0};
    sonde_status status = sonde_job_prompts(e->job, &prompts, err);
    bool end = false;
    while (status == SONDE_OK) {
        status = sonde_prompts_next(prompts, &prompt, &end, err);
        if (status != SONDE_OK || end) break;
        sonde_flow *flow = NULL;
        status = sonde_flow_create(e->pipeline, &prompt, &flow, err);
        if (status != SONDE_OK) break;
        count_prompt(e, flow);
        sonde_flow_destroy(flow);
    }
    sonde_prompt_reset(&prompt);
    sonde_prompts_close(&prompts);
    return status;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

/* Planar codecs take the redundancy of the exponents: what storage.md measured on activations. */
static double coded_share(sonde_codec codec, sonde_dtype dtype)
{
    if (codec == SONDE_CODEC_RAW) return 1.0;
    return dtype == SONDE_DTYPE_BF16 ? 1.0 / 1.47 : dtype == SONDE_DTYPE_F32 ? 1.0 / 1.19 : 1.0 / 1.17;
}

static sonde_status list_costs(estimate *e, sonde_error *err)
{
    const sonde_pipeline *p = e->pipeline;
    double coded = 0.0;
    sonde_free(e->job->costs);
    e->job->costs = sonde_alloc((size_t)p->n_outputs, sizeof *e->job->costs);
    if (!e->job->costs) return sonde_no_memory(err, "costs of points", (size_t)p->n_outputs * 32);
    for (int32_t i = 0; i < p->n_outputs; i++) {
        const sonde_pipe_output *o = &p->outputs[i];
        bool point = o->declared->kind == SONDE_OUTPUT_POINT;
        uint64_t bytes = e->output_units[i] * o->row_bytes;
        if (o->ragged_class >= 0) bytes += e->output_rows[i] * (sizeof(uint64_t) + sizeof(uint32_t));
        e->cost->bytes_raw += bytes;
        coded += (double)bytes * coded_share(e->job->codec, o->stored);
        if (o->twin || o->declared->kind == SONDE_OUTPUT_SPARSE) continue;
        const sonde_probe_instance *instance = &e->job->probes.instances[o->instance];
        e->job->costs[e->cost->n_points++] = (sonde_point_cost){
            .name = point ? instance->points[o->declared->point].name : o->declared->name,
            .stored = sonde_dtype_name(o->stored), .rows = e->output_rows[i], .bytes = bytes};
    }
    e->cost->points = e->job->costs;
    e->cost->bytes_stored_estimate = (uint64_t)coded;
    return SONDE_OK;
}

/* What an open file takes beside its points: HDF5's own records, columns of rows and sequences. */
#define STORE_FIXED_BYTES ((uint64_t)3 << 20)
#define STORE_CHUNK_BYTES ((uint64_t)1 << 20)
#define STORE_CHUNK_ROWS 4096u /* at most, of rows that are no lists */

/* Rows of generating sequences that wait to be numbered, and those that wait for their end. */
static uint64_t waiting_bytes(const estimate *e, uint64_t whole)
{
    uint64_t flying = (uint64_t)e->job->workers * (uint64_t)e->window.size;
    uint64_t deferred = SONDE_MIN(e->deferred, flying * e->deferred_most);
    uint64_t others = whole - SONDE_MIN(whole, e->deferred_stored);
    return deferred + (e->generates ? SONDE_MIN(others, SONDE_JOB_WINDOW_BYTES) : 0);
}

/* Open chunks of every dataset (rows of several workers are apart by more than one), what waits for
 * codec and disk, and rows that wait to be numbered: then they fill one chunk after the other. */
static uint64_t store_bytes(const estimate *e)
{
    uint64_t chunks = 0, whole = 0, together = e->job->workers > 1 && !e->generates ? 2 : 1;
    for (int32_t i = 0; i < e->pipeline->n_outputs; i++) {
        const sonde_pipe_output *o = &e->pipeline->outputs[i];
        uint64_t bytes = e->output_units[i] * o->row_bytes, chunk = STORE_CHUNK_BYTES;
        if (o->ragged_class < 0) chunk = SONDE_MIN(chunk, STORE_CHUNK_ROWS * o->row_bytes);
        chunks += SONDE_MIN(bytes, together * chunk);
        whole += bytes;
    }
    uint64_t fixed = STORE_FIXED_BYTES + SONDE_MIN(whole / 4, (uint64_t)8 << 20);
    return fixed + chunks + waiting_bytes(e, whole);
}

/* States of the probes: of the sequences in flight, and the total. */
static uint64_t state_bytes(const estimate *e)
{
    uint64_t one = 0;
    for (int32_t i = 0; i < e->job->probes.count; i++) one += e->job->probes.instances[i].state_bytes;
    uint64_t flying = (uint64_t)e->job->workers * (uint64_t)e->window.size;
    return one * (SONDE_MIN(e->cost->sequences, flying) + 1);
}

/* Scores and patterns of a step lie one behind the other, as many keys of a row as it sees:
 * of a step full of a prompt's last rows, or of a generated row of every sequence. */
static double ragged_bytes(const estimate *e, const sonde_plan_info *plan)
{
    const flight_window *w = &e->window;
    double together = (double)SONDE_MIN((uint64_t)w->size, e->cost->sequences);
    double decode = e->generates ? together * (double)w->longest / (double)plan->batch_rows : 0.0;
    double keys = SONDE_MAX(w->keys, decode), room = (double)plan->ragged_keys;
    return room > 0.0 ? (double)plan->ragged_bytes * SONDE_MIN(keys / room, 1.0) : 0.0;
}

/* Memory of arenas is taken as rows first fill it, and no more rows fill it than the run has. */
static uint64_t run_bytes(const estimate *e, const sonde_plan_info *plan)
{
    uint64_t workers = (uint64_t)e->job->workers;
    uint64_t one = sonde_plan_run_bytes(e->plan, e->job->threads);
    uint64_t scratch = sonde_plan_run_bytes(e->plan, 2 * e->job->threads) - one;
    double filled = (double)e->window.all_rows / ((double)workers * (double)plan->batch_rows);
    double rows = (double)(one - scratch - plan->ragged_bytes) + ragged_bytes(e, plan);
    return workers * (scratch + (uint64_t)(rows * SONDE_MIN(filled, 1.0))) + plan->rope_bytes;
}

/* The cache of all sequences in flight, and of beginnings that may come again. */
static uint64_t cache_bytes(const estimate *e, uint64_t page)
{
    uint64_t flying = (uint64_t)e->job->workers * (uint64_t)e->window.most_pages * page;
    if (e->shares && e->job->labels == 0) flying += sonde_kv_idle_bytes(e->plan);
    return SONDE_MIN(flying, (uint64_t)e->window.all_pages * page);
}

/* --memory may leave less than that for the cache: sequences wait, as long as the longest fits. */
static void hold_cache_back(estimate *e, uint64_t page)
{
    sonde_job_cost *cost = e->cost;
    uint64_t pages = (uint64_t)(e->window.longest + PAGE_POSITIONS - 1) / PAGE_POSITIONS;
    uint64_t memory = e->job->options.memory, rest = cost->memory_peak - cost->memory_kv;
    cost->memory_kv_least = SONDE_MIN(pages * page, cost->memory_kv);
    if (memory > 0 && cost->memory_peak > memory && cost->memory_kv > 0) {
        uint64_t left = memory > rest ? memory - rest : 0;
        cost->memory_kv = SONDE_MAX(left, cost->memory_kv_least);
        cost->memory_peak = rest + cost->memory_kv;
        cost->kv_held_back = true;
    }
    e->job->kv_bytes = cost->kv_held_back ? cost->memory_kv : 0;
}

static void sum_memory(estimate *e)
{
    sonde_job_cost *cost = e->cost;
    const sonde_job *job = e->job;
    sonde_model_info model;
    sonde_plan_info plan;
    sonde_model_info_get(job->model, &model);
    sonde_plan_info_get(e->plan, &plan);
    cost->memory_weights = model.packed_bytes;
    cost->mapped_weights = model.mapped_bytes;
    cost->memory_run = run_bytes(e, &plan);
    cost->memory_kv = cache_bytes(e, plan.kv_bytes_per_page_all_layers);
    cost->memory_store = store_bytes(e) + SONDE_MIN(state_bytes(e), SONDE_JOB_WINDOW_BYTES);
    sonde_memory_trim();
    cost->memory_peak =
        sonde_memory_resident() + cost->memory_run + cost->memory_kv + cost->memory_store;
    if (job->spec.shape_only) cost->memory_peak += cost->memory_weights; /* else they are here */
    hold_cache_back(e, plan.kv_bytes_per_page_all_layers);
    cost->steps_recipe = plan.recipe_steps;
    cost->steps_planned = plan.planned_steps;
    cost->last_layer = plan.last_layer;
    cost->batch_rows = plan.batch_rows;
    cost->workers = job->workers;
    cost->threads = job->threads;
    cost->why = job->why;
}

/* Products and attention at the rate just measured, nine tenths of it; decode steps also read their
 * weights once each (of the experts those that some row chooses), at 10 bytes a nanosecond; what is
 * captured costs a processor two nanoseconds a byte to copy, code and write. */
static void guess_time(const estimate *e)
{
    sonde_job_cost *cost = e->cost;
    sonde_plan_info plan;
    sonde_plan_info_get(e->plan, &plan);
    double rate = 0.9 * sonde_model_flops_per_second(e->job->model);
    double cores = (double)(cost->workers * cost->threads);
    double together = (double)SONDE_MIN(cost->sequences, (uint64_t)e->window.size);
    double reads = together > 0 ? (double)cost->generated_tokens_max / together : 0.0;
    double experts = SONDE_MIN(together * plan.expert_bytes_per_row, plan.expert_bytes);
    if (rate > 0.0)
        cost->seconds_estimate =
            e->flops / (rate * cores) + reads * (plan.weight_bytes + experts) / 1e10 +
            (double)cost->bytes_raw * 2e-9 / (double)sonde_cpu_count();
}

static void find_disk(const char *output, sonde_job_cost *cost)
{
    struct statvfs disk;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", output ? output : ".");
    char *slash = strrchr(folder, '/');
    if (!slash) snprintf(folder, sizeof folder, ".");
    else slash[slash == folder] = '\0';
    if (statvfs(folder, &disk) == 0) cost->disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
}

static sonde_status refuse_too_big(const estimate *e, sonde_error *err)
{
    const sonde_job_cost *cost = e->cost;
    char needed[32], there[32];
    if (e->job->options.memory > 0 && cost->memory_peak > e->job->options.memory)
        return sonde_fail(err, SONDE_TOO_BIG, "the run needs about %s of memory, --memory allows %s; a "
                          "smaller --batch-tokens, --batch or --workers needs less",
                          sonde_format_bytes(cost->memory_peak, needed),
                          sonde_format_bytes(e->job->options.memory, there));
    if (cost->disk_free > 0 && cost->bytes_stored_estimate > cost->disk_free)
        return sonde_fail(err, SONDE_TOO_BIG, "the capture needs about %s of disk, %s are free",
                          sonde_format_bytes(cost->bytes_stored_estimate, needed),
                          sonde_format_bytes(cost->disk_free, there));
    return SONDE_OK;
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static sonde_status open_estimate(estimate *e, sonde_error *err)
{
    sonde_job *job = e->job;
    sonde_pipeline_spec spec = {.model = job->model, .tokenizer = job->tokenizer,
                                .probes = &job->probes, .options = &job->options,
                                .labels = job->labels, .codec = job->codec, .workers = job->workers};
    SONDE_TRY(sonde_pipeline_open(&spec, &e->pipeline, err));
    SONDE_TRY(sonde_job_plan(job, sonde_pipeline_wants(e->pipeline), &e->plan, err));
    size_t outputs = (size_t)e->pipeline->n_outputs, batch = (size_t)job->options.batch;
    e->output_rows = sonde_alloc(outputs, sizeof *e->output_rows);
    e->output_units = sonde_alloc(outputs, sizeof *e->output_units);
    e->window.pages = sonde_alloc(batch, sizeof *e->window.pages);
    e->window.rows = sonde_alloc(batch, sizeof *e->window.rows);
    if (!e->output_rows || !e->output_units || !e->window.pages || !e->window.rows)
        return sonde_no_memory(err, "an estimate", (outputs + batch) * 16);
    e->window.size = (int64_t)batch;
    e->window.batch_rows = sonde_job_schedule(job, e->plan).batch_tokens;
    return SONDE_OK;
}

sonde_status sonde_job_estimate(sonde_job *job, const char *output, sonde_job_cost *cost,
                                sonde_error *err)
{
    estimate e = {.job = job, .cost = cost};
    *cost = (sonde_job_cost){.rows_exact = true};
    sonde_status status = open_estimate(&e, err);
    if (status == SONDE_OK) status = count_prompts(&e, err);
    if (status == SONDE_OK) status = list_costs(&e, err);
    if (status == SONDE_OK) {
        sum_memory(&e);
        guess_time(&e);
        find_disk(output, cost);
        status = refuse_too_big(&e, err);
    }
    sonde_free(e.output_rows);
    sonde_free(e.output_units);
    sonde_free(e.window.pages);
    sonde_free(e.window.rows);
    sonde_plan_destroy(&e.plan);
    sonde_pipeline_close(&e.pipeline);
    return status;
}

sonde_status sonde_job_check_memory(sonde_job *job, const char *output, sonde_error *err)
{
    sonde_job_cost cost;
    if (job->options.memory == 0 || !job->scan.known) return SONDE_OK;
    return sonde_job_estimate(job, output, &cost, err);
}
