/* run.c - the life of a run, and one step of it. */
#include "run_internal.h"

#include <string.h>

/* ---- creation --------------------------------------------------------------------------------------- */

static sonde_status alloc_rows(sonde_run *run, sonde_error *err)
{
    size_t rows = (size_t)run->plan->batch_rows + 1;
    size_t items = SONDE_MAX(rows, (size_t)run->plan->options.max_sequences + 1);
    sonde_row_set *set = &run->set;
    set->rows = sonde_alloc(rows, sizeof *set->rows);
    set->origin = sonde_alloc(rows, sizeof *set->origin);
    set->spans = sonde_alloc(rows, sizeof *set->spans);
    set->span_item = sonde_alloc(rows, sizeof *set->span_item);
    set->taps = sonde_alloc(rows, sizeof *set->taps);
    run->token_ids = sonde_alloc(rows, sizeof *run->token_ids);
    run->position_ids = sonde_alloc(rows, sizeof *run->position_ids);
    run->entries = sonde_alloc(rows, sizeof *run->entries);
    run->factors = sonde_alloc(rows, run->plan->model->backend->real_bytes);
    run->indptr = sonde_alloc(rows, sizeof *run->indptr);
    run->first_key = sonde_alloc(rows, sizeof *run->first_key);
    run->logits_rows = sonde_alloc(rows, sizeof *run->logits_rows);
    run->item_logits = sonde_alloc(items, sizeof *run->item_logits);
    run->users = sonde_alloc(items, sizeof *run->users);
    size_t products = (size_t)run->plan->most_products;
    run->products.args = sonde_alloc(products, sizeof *run->products.args);
    run->products.first_unit = sonde_alloc(products + 1, sizeof *run->products.first_unit);
    size_t lists = (rows - 1) * (size_t)run->plan->most_slots;
    run->experts.most = run->plan->most_experts;
    run->experts.first = sonde_alloc((size_t)run->experts.most + 1, sizeof(int32_t));
    run->experts.x_rows = sonde_alloc(lists, sizeof(int32_t));
    run->experts.y_rows = sonde_alloc(lists, sizeof(int32_t));
    if (run->plan->options.want_labels) run->labels = sonde_alloc(rows, sizeof *run->labels);
    bool good = set->rows && set->origin && set->spans && set->span_item && set->taps &&
                run->token_ids && run->position_ids && run->entries && run->factors && run->indptr &&
                run->first_key && run->logits_rows && run->item_logits && run->users &&
                run->products.args && run->products.first_unit && run->experts.first &&
                run->experts.x_rows && run->experts.y_rows &&
                (run->labels || !run->plan->options.want_labels);
    return good ? SONDE_OK : sonde_no_memory(err, "the rows of a step", rows * 128);
}

/* A table row for every batch row, where the plan has no table of all positions. */
static sonde_status alloc_ropes(sonde_run *run, sonde_error *err)
{
    const sonde_recipe *r = run->plan->model->recipe;
    size_t n = (size_t)r->n_ropes, real = run->plan->model->backend->real_bytes;
    run->rope_cos = sonde_alloc(n, sizeof *run->rope_cos);
    run->rope_sin = sonde_alloc(n, sizeof *run->rope_sin);
    if (!run->rope_cos || !run->rope_sin) return sonde_no_memory(err, "rope tables", n * 16);
    for (size_t i = 0; i < n; i++) {
        if (!run->plan->ropes[i].by_row) continue;
        size_t elements = (size_t)(run->plan->batch_rows * r->ropes[i].rotary_dims / 2);
        run->rope_cos[i] = sonde_alloc(elements, real);
        run->rope_sin[i] = sonde_alloc(elements, real);
        if (!run->rope_cos[i] || !run->rope_sin[i])
            return sonde_no_memory(err, "rope tables", elements * real * 2);
    }
    return SONDE_OK;
}

static sonde_status alloc_run(sonde_run *run, sonde_error *err)
{
    const sonde_plan *plan = run->plan;
    SONDE_TRY(sonde_pool_create(run->options.threads, &run->pool, err));
    if (!run->options.kv) SONDE_TRY(sonde_kv_create(plan, 0, &run->own_kv, err));
    run->kv = run->own_kv ? run->own_kv : run->options.kv;
    run->arena = sonde_alloc_raw(plan->arena_bytes, 1);
    run->ragged = sonde_alloc_raw(plan->ragged_bytes, 1);
    run->convert = sonde_alloc_raw((size_t)plan->convert_elements, sizeof(float));
    if (!run->arena || !run->ragged || !run->convert)
        return sonde_no_memory(err, "a run's buffers", plan->arena_bytes + plan->ragged_bytes);
    SONDE_TRY(alloc_rows(run, err));
    return alloc_ropes(run, err);
}

sonde_status sonde_run_create(const sonde_plan *plan, const sonde_run_options *options,
                              sonde_run **out, sonde_error *err)
{
    if (plan->model->shape_only)
        return sonde_fail(err, SONDE_INTERNAL, "a run of a model opened without its weights");
    sonde_run *run = sonde_alloc(1, sizeof *run);
    if (!run) return sonde_no_memory(err, "a run", sizeof *run);
    run->plan = plan;
    run->options = *options;
    sonde_status status = alloc_run(run, err);
    if (status == SONDE_OK) *out = run;
    else sonde_run_destroy(&run);
    return status;
}

void sonde_run_destroy(sonde_run **out)
{
    sonde_run *run = *out;
    if (!run) return;
    for (int64_t i = 0; run->rope_cos && run->rope_sin && i < run->plan->model->recipe->n_ropes; i++) {
        sonde_free(run->rope_cos[i]);
        sonde_free(run->rope_sin[i]);
    }
    void *blocks[] = {run->rope_cos, run->rope_sin, run->set.rows, run->set.origin, run->set.spans,
                      run->set.span_item, run->set.taps, run->token_ids, run->position_ids,
                      run->entries, run->factors, run->indptr, run->first_key, run->logits_rows,
                      run->item_logits, run->users, run->labels, run->products.args,
                      run->products.first_unit, run->experts.first, run->experts.x_rows,
                      run->experts.y_rows, run->arena, run->ragged,
                      run->scratch, run->prepared, run->convert};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    sonde_kv_destroy(&run->own_kv);
    sonde_pool_destroy(&run->pool);
    sonde_free(run);
    *out = NULL;
}

sonde_status sonde_run_set_threads(sonde_run *run, int32_t threads, sonde_error *err)
{
    sonde_pool *pool;
    SONDE_TRY(sonde_pool_create(threads, &pool, err));
    sonde_pool_destroy(&run->pool);
    run->pool = pool;
    run->options.threads = threads;
    sonde_free(run->scratch);
    run->scratch = NULL;
    run->scratch_bytes = 0; /* the next call that needs some makes it for all threads */
    return SONDE_OK;
}

/* ---- a step ------------------------------------------------------------------------------------------ */

static const char *logits_row(const sonde_run *run, int64_t row)
{
    sonde_buf buf = run->plan->logits;
    size_t at = (size_t)(row * run->plan->buffers[buf].stride) * run->plan->model->backend->real_bytes;
    return (const char *)sonde_run_buffer(run, buf) + at;
}

typedef struct label_call {
    const sonde_backend *backend;
    sonde_label_args args;
} label_call;

static void label_units(void *context, int64_t begin, int64_t end, int thread)
{
    label_call *c = context;
    (void)thread;
    unsigned fpu = sonde_fpu_enter();
    c->backend->label(&c->args, begin, end);
    sonde_fpu_restore(fpu);
}

/* Labels of `m` logits rows for `tokens` into `out`, spread over the threads. */
static void make_labels(sonde_run *run, int64_t first_row, int64_t m, const int32_t *tokens,
                        sonde_row_labels *out)
{
    enum { PIECE = 64 };
    float logprob[PIECE], entropy[PIECE];
    int32_t rank[PIECE];
    for (int64_t at = 0; at < m; at += PIECE) {
        int64_t n = SONDE_MIN(PIECE, m - at);
        label_call c = {run->plan->model->backend,
                        {.logits = logits_row(run, first_row + at),
                         .logits_stride = run->plan->buffers[run->plan->logits].stride, .m = n,
                         .vocab = run->plan->model->recipe->dims.vocab, .tokens = tokens + at,
                         .logprob = logprob, .entropy = entropy, .rank = rank}};
        sonde_pool_for(run->pool, n, 1, label_units, &c);
        for (int64_t i = 0; i < n; i++)
            out[at + i] = (sonde_row_labels){logprob[i], entropy[i], rank[i]};
    }
}

/* Row m's label is of the token that follows it in its item; the last row of an item has none. */
static void label_step(sonde_run *run)
{
    for (int64_t m = 0; m < run->n_logits; m++) {
        bool same = m + 1 < run->n_batch_rows && run->set.rows[m].item == run->set.rows[m + 1].item;
        run->entries[m] = same ? (int32_t)run->set.rows[m + 1].token : -1;
    }
    make_labels(run, 0, run->n_logits, run->entries, run->labels);
}

static sonde_status run_ops(sonde_run *run, sonde_error *err)
{
    for (int64_t i = 0; i < run->plan->n_ops; i++) {
        sonde_step_kind kind = (sonde_step_kind)run->plan->ops[i].kind;
        uint64_t begin = sonde_now_ns();
        SONDE_TRY(sonde_run_op(run, &run->plan->ops[i], err));
        if ((int)kind < (int)SONDE_COUNT(run->stats.step_ns))
            run->stats.step_ns[kind] += sonde_now_ns() - begin;
    }
    if (run->plan->options.want_labels && !run->muted) label_step(run);
    return SONDE_OK;
}

static void count_step(sonde_run *run, uint64_t ns)
{
    bool prefill = false;
    for (int32_t i = 0; i < run->n_items; i++) {
        sonde_sequence_advance(run->items[i].sequence, run->items[i].count);
        prefill = prefill || run->items[i].count > 1;
    }
    run->stats.steps++;
    run->stats.rows += (uint64_t)run->n_batch_rows;
    *(prefill ? &run->stats.prefill_ns : &run->stats.decode_ns) += ns;
}

sonde_status sonde_run_step(sonde_run *run, const sonde_batch_item *items, int32_t n_items,
                            sonde_error *err)
{
    uint64_t begin = sonde_now_ns();
    run->items = items;
    run->n_items = n_items;
    run->n_logits = 0;
    SONDE_TRY(sonde_run_set_rows(run, err));
    unsigned fpu = sonde_fpu_enter();
    sonde_status status = run_ops(run, err);
    sonde_fpu_restore(fpu);
    run->block_number++;
    if (status == SONDE_OK) count_step(run, sonde_now_ns() - begin);
    return status;
}

void sonde_run_mute(sonde_run *run, bool mute)
{
    run->muted = mute;
}

/* ---- after a step --------------------------------------------------------------------------------------- */

const float *sonde_run_logits(const sonde_run *run, int32_t item)
{
    const char *row = logits_row(run, run->item_logits[item]);
    if (run->plan->model->backend->real_bytes == sizeof(float)) return (const float *)(const void *)row;
    const double *wide = (const double *)(const void *)row;
    for (int64_t i = 0; i < run->plan->model->recipe->dims.vocab; i++) run->convert[i] = (float)wide[i];
    return run->convert;
}

const sonde_row_labels *sonde_run_labels(const sonde_run *run)
{
    return run->labels;
}

sonde_row_labels sonde_run_label_row(const sonde_run *run, int32_t item, uint32_t token)
{
    sonde_row_labels label = {0};
    int32_t asked = (int32_t)token;
    sonde_label_args args = {.logits = logits_row(run, run->item_logits[item]), .m = 1,
                             .vocab = run->plan->model->recipe->dims.vocab, .tokens = &asked,
                             .logprob = &label.logprob, .entropy = &label.entropy,
                             .rank = &label.rank};
    unsigned fpu = sonde_fpu_enter();
    run->plan->model->backend->label(&args, 0, 1);
    sonde_fpu_restore(fpu);
    return label;
}

sonde_kv *sonde_run_kv(const sonde_run *run)
{
    return run->kv;
}

void sonde_run_stats_get(const sonde_run *run, sonde_run_stats *stats)
{
    *stats = run->stats;
}

const char *sonde_step_name(int32_t kind)
{
    static const char *const names[SONDE_STEP_KINDS] = {
        [SONDE_STEP_EMBED] = "embed",    [SONDE_STEP_LINEAR] = "linear",
        [SONDE_STEP_NORM] = "norm",      [SONDE_STEP_ROPE] = "rope",
        [SONDE_STEP_CACHE] = "cache",    [SONDE_STEP_ATTEND] = "attend",
        [SONDE_STEP_MAP] = "map",        [SONDE_STEP_HOOK] = "hook",
        [SONDE_STEP_HEADS] = "heads",    [SONDE_STEP_JOIN] = "join",
        [SONDE_STEP_ROUTE] = "route",    [SONDE_STEP_EXPERTS] = "experts",
        [SONDE_STEP_COMBINE] = "combine"};
    return kind >= 0 && kind < SONDE_STEP_KINDS ? names[kind] : NULL;
}
