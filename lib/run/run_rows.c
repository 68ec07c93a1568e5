/* run_rows.c - the rows of a step: labels, attention spans, narrowing, logits rows. */
#include "run_internal.h"

#include <string.h>

/* ---- spans from rows ----------------------------------------------------------------------------- */

static bool continues(const sonde_batch_row *before, const sonde_batch_row *row)
{
    return before->item == row->item && before->position + 1 == row->position;
}

static void make_spans(sonde_row_set *set)
{
    set->n_spans = set->n_taps = 0;
    for (int64_t i = 0; i < set->n_rows; i++) {
        const sonde_batch_row *row = &set->rows[i];
        if (i == 0 || !continues(row - 1, row)) {
            set->span_item[set->n_spans] = row->item;
            set->spans[set->n_spans++] = (sonde_span){.row = i, .position = row->position};
        }
        if (i == 0 || row[-1].item != row->item)
            set->taps[set->n_taps++] = (sonde_tap_span){.item = row->item, .first = i};
        set->spans[set->n_spans - 1].n_rows++;
        set->taps[set->n_taps - 1].count++;
    }
}

/* ---- all rows of a step ---------------------------------------------------------------------------- */

static sonde_status check_item(const sonde_run *run, const sonde_batch_item *item, sonde_error *err)
{
    int64_t vocab = run->plan->model->recipe->dims.vocab;
    if (item->count <= 0)
        return sonde_fail(err, SONDE_INTERNAL, "a batch item of %lld rows", (long long)item->count);
    if (item->want_logits && !run->plan->options.want_logits && !run->plan->options.want_labels)
        return sonde_fail(err, SONDE_INTERNAL, "logits of a plan that makes none");
    for (int64_t i = 0; i < item->count; i++)
        if (item->tokens[i] >= vocab)
            return sonde_fail(err, SONDE_BAD_PROMPT, "token id %u is out of range: the model's "
                              "vocabulary has %lld rows", item->tokens[i], (long long)vocab);
    return sonde_sequence_reserve(item->sequence, item->count, err);
}

static void add_rows(sonde_run *run, int32_t index)
{
    const sonde_batch_item *item = &run->items[index];
    for (int64_t i = 0; i < item->count; i++) {
        int64_t at = run->set.n_rows++;
        int64_t position = item->sequence->length + i;
        run->set.rows[at] = (sonde_batch_row){index, item->tokens[i], position};
        run->set.origin[at] = (int32_t)at;
        run->token_ids[at] = (int32_t)item->tokens[i];
        run->position_ids[at] = (int32_t)position;
    }
}

static void fill_rope_rows(sonde_run *run, int64_t table)
{
    const sonde_rope_spec *spec = &run->plan->model->recipe->ropes[table];
    const sonde_backend *backend = run->plan->model->backend;
    float inv_freq[SONDE_ROPE_DIMS_MAX / 2];
    const sonde_plan_rope *rope = &run->plan->ropes[table];
    bool lengths = sonde_rope_depends_on_length(spec);
    int64_t half = spec->rotary_dims / 2, known = -1;
    for (int64_t m = 0; m < run->set.n_rows; m++) {
        const sonde_batch_row *row = &run->set.rows[m];
        int64_t prompt = run->items[row->item].sequence->rope_length;
        int64_t length = lengths ? SONDE_MAX(prompt, row->position + 1) : 1;
        if (length != known)
            sonde_rope_frequencies(
                spec, length, sonde_rope_is_long(spec, length) ? rope->long_divisors : rope->divisors,
                inv_freq);
        known = length;
        size_t at = (size_t)(m * half) * backend->real_bytes;
        backend->rope_entry(inv_freq, spec->rotary_dims, row->position, spec->attention_scaling,
                            (char *)run->rope_cos[table] + at, (char *)run->rope_sin[table] + at);
    }
}

sonde_status sonde_run_set_rows(sonde_run *run, sonde_error *err)
{
    int64_t rows = 0;
    for (int32_t i = 0; i < run->n_items; i++) rows += run->items[i].count;
    if (rows > run->plan->batch_rows || run->n_items > run->plan->options.max_sequences)
        return sonde_fail(err, SONDE_INTERNAL, "a step of %lld rows and %d sequences; the plan holds "
                          "%lld and %lld", (long long)rows, run->n_items,
                          (long long)run->plan->batch_rows,
                          (long long)run->plan->options.max_sequences);
    run->set.n_rows = 0;
    for (int32_t i = 0; i < run->n_items; i++) {
        SONDE_TRY(check_item(run, &run->items[i], err));
        run->users[i] = run->items[i].sequence->user;
    }
    for (int32_t i = 0; i < run->n_items; i++) add_rows(run, i);
    run->n_batch_rows = run->set.n_rows;
    make_spans(&run->set);
    for (int64_t t = 0; t < run->plan->model->recipe->n_ropes; t++)
        if (run->rope_cos[t]) fill_rope_rows(run, t);
    return SONDE_OK;
}

/* ---- narrowing ------------------------------------------------------------------------------------- */

static bool is_last_row(const sonde_run *run, const sonde_batch_row *row)
{
    const sonde_batch_item *item = &run->items[row->item];
    return row->position == item->sequence->length + item->count - 1;
}

static bool goes_on(const sonde_run *run, const sonde_batch_row *row)
{
    const sonde_plan *plan = run->plan;
    const sonde_batch_item *item = &run->items[row->item];
    if (run->muted) return false;
    if (plan->options.want_labels) return true;
    if (item->want_logits && is_last_row(run, row)) return true;
    if (!plan->points_after_narrow) return false;
    return !item->keep || item->keep[row->position - item->sequence->length];
}

static void compact_buffer(const sonde_run *run, sonde_buf buf, const int32_t *from, int64_t n)
{
    const sonde_plan_buffer *b = &run->plan->buffers[buf];
    size_t row_bytes = (size_t)b->stride * run->plan->model->backend->real_bytes;
    char *base = sonde_run_buffer(run, buf);
    for (int64_t i = 0; i < n; i++)
        if (from[i] != i) memcpy(base + (size_t)i * row_bytes, base + (size_t)from[i] * row_bytes, row_bytes);
}

/* Moves the needed rows of every live buffer to the front: rows only ever move down. */
void sonde_run_narrow(sonde_run *run)
{
    const sonde_plan *plan = run->plan;
    sonde_row_set *set = &run->set;
    int64_t n = 0;
    for (int64_t i = 0; i < set->n_rows; i++)
        if (goes_on(run, &set->rows[i])) run->entries[n++] = (int32_t)i;
    if (n == set->n_rows) return;
    for (int64_t b = 0; b < plan->model->recipe->n_buffers; b++) {
        const sonde_plan_buffer *buffer = &plan->buffers[b];
        bool live = buffer->used && !buffer->logits && !plan->model->recipe->buffers[b].ragged &&
                    buffer->first_op < plan->narrow_op && buffer->last_op > plan->narrow_op;
        if (live) compact_buffer(run, (sonde_buf)b, run->entries, n);
    }
    for (int64_t i = 0; i < n; i++) {
        set->rows[i] = set->rows[run->entries[i]];
        set->origin[i] = set->origin[run->entries[i]];
    }
    set->n_rows = n;
    make_spans(set);
}

void sonde_run_set_logits(sonde_run *run)
{
    run->n_logits = 0;
    for (int32_t i = 0; i < run->n_items; i++) run->item_logits[i] = -1;
    for (int64_t m = 0; m < run->set.n_rows; m++) {
        const sonde_batch_row *row = &run->set.rows[m];
        bool last = is_last_row(run, row);
        if (!run->plan->all_logits && !(last && run->items[row->item].want_logits)) continue;
        if (last) run->item_logits[row->item] = (int32_t)run->n_logits;
        run->logits_rows[run->n_logits++] = (int32_t)m;
    }
}
