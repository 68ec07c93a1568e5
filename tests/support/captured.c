#include "captured.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_NEW 6

static const int64_t lengths[CASE_SEQUENCES] = {1, 17, 64, 2, 70, 5, 63, 40};
static const int64_t long_lengths[CASE_SEQUENCES] = {70, 72, 66, 30, 70, 69, 74, 65};

sonde_model *case_model(const char *family, const char *backend, const char *level, uint32_t off)
{
    char folder[128];
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.backend = backend, .cpu_level = level, .threads = 1, .off = off};
    snprintf(folder, sizeof folder, "tests/goldens/families/%s", family);
    if (sonde_model_open(folder, &options, &model, &err) != SONDE_OK) fail_msg("%s", err.message);
    return model;
}

static uint8_t *case_wants(const sonde_model *model, const run_case *how)
{
    int64_t n = sonde_model_point_count(model);
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    uint8_t *wants = sonde_alloc((size_t)n, 1);
    for (int64_t i = 0; wants && i < n; i++) {
        const sonde_hook_point *point = sonde_model_point(model, i);
        bool here = !how->last_block || point->layer == info.n_layers - 1;
        if (!how->only || (here && strcmp(point->local_name, how->only) == 0))
            wants[i] = SONDE_WANT_READ;
        if (how->writes && strcmp(point->name, "blocks.0.resid_post") == 0)
            wants[i] |= SONDE_WANT_WRITE;
    }
    return wants;
}

static int64_t or_else(int64_t value, int64_t fallback)
{
    return value ? value : fallback;
}

sonde_plan *case_plan(const sonde_model *model, const run_case *how, sonde_error *err)
{
    sonde_plan *plan = NULL;
    uint8_t *wants = case_wants(model, how);
    sonde_plan_options options = {.wants = wants,
                                  .want_logits = true,
                                  .want_labels = !how->no_labels,
                                  .batch_rows = or_else(how->batch_tokens, 256),
                                  .max_sequences = or_else(how->batch_sequences, 64),
                                  .max_positions = or_else(how->positions, CASE_POSITIONS),
                                  .ragged_bytes = how->ragged_bytes,
                                  .kv_dtype = how->kv_dtype,
                                  .off = how->off};
    if (!wants) sonde_no_memory(err, "wants of a test", 1);
    else sonde_plan_create(model, &options, &plan, err);
    sonde_free(wants);
    return plan;
}

/* ---- callbacks ------------------------------------------------------------------------------------ */

static sonde_status give_next(void *context, sonde_request *request, sonde_next *what,
                              sonde_error *err)
{
    static const sonde_sampling sampled = {.temperature = 1.5, .top_k = 50, .top_p = 0.95,
                                           .min_p = 0.01};
    captured *c = context;
    (void)err;
    if (c->next == CASE_SEQUENCES) {
        *what = SONDE_NEXT_END;
        return SONDE_OK;
    }
    kept_sequence *s = &c->sequences[c->next++];
    *request = (sonde_request){.index = (uint64_t)s->index, .tokens = s->prompt,
                               .n_tokens = s->n_prompt, .max_new = N_NEW, .seed = 5,
                               .keep = s->first_kept > 0 ? s->keep : NULL, .keep_generated = true,
                               .label_next = true, .user = s};
    if (s->index % 2) request->sampling = sampled;
    *what = SONDE_NEXT_GIVEN;
    return SONDE_OK;
}

/* Rows before `first` may come or not. */
static sonde_status keep_row(kept_rows *rows, int64_t first, const sonde_tap_view *view, int64_t r,
                             sonde_error *err)
{
    const float *from = view->indptr ? view->data + view->indptr[r] : view->data + r * view->stride;
    int64_t n = view->indptr ? view->indptr[r + 1] - view->indptr[r] : view->width;
    if (rows->next_position == 0) rows->next_position = first;
    if (view->rows[r].position < first) return SONDE_OK;
    if (view->rows[r].position != rows->next_position)
        return sonde_fail(err, SONDE_INTERNAL, "position %lld came where %lld was due",
                          (long long)view->rows[r].position, (long long)rows->next_position);
    if (!sonde_grow(&rows->data, &rows->capacity, (size_t)(rows->count + n), sizeof *rows->data))
        return sonde_no_memory(err, "a kept row", (size_t)n * 4);
    memcpy(rows->data + rows->count, from, (size_t)n * sizeof *from);
    rows->count += n;
    rows->next_position++;
    return SONDE_OK;
}

static void change_row(const sonde_tap_view *view, int64_t r)
{
    float *row = view->data + r * view->stride;
    for (int64_t c = 0; c < view->width; c++)
        row[c] += 0.125f * (float)((view->rows[r].position * 3 + c) % 7 - 3);
}

static sonde_status keep_point(void *context, int worker, const sonde_tap_view *view,
                               sonde_error *err)
{
    (void)context;
    (void)worker;
    for (int64_t i = 0; i < view->n_spans; i++) {
        const sonde_tap_span *span = &view->spans[i];
        kept_sequence *s = view->users[span->item];
        for (int64_t r = span->first; view->writable && r < span->first + span->count; r++)
            change_row(view, r);
        for (int64_t r = span->first; r < span->first + span->count; r++)
            SONDE_TRY(keep_row(&s->points[view->point], s->first_kept, view, r, err));
    }
    return SONDE_OK;
}

static sonde_status keep_labels(void *context, void *user, int64_t first, int64_t count,
                                const sonde_row_labels *labels, sonde_error *err)
{
    kept_sequence *s = user;
    (void)context;
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(s->logprobs[first + i + 1]))
            return sonde_fail(err, SONDE_INTERNAL, "position %lld was labelled twice",
                              (long long)(first + i + 1));
        s->logprobs[first + i + 1] = labels[i].logprob;
    }
    return SONDE_OK;
}

static sonde_status keep_token(void *context, void *user, int64_t position, uint32_t token,
                               sonde_row_labels label, bool *stop, sonde_error *err)
{
    kept_sequence *s = user;
    (void)context;
    (void)stop;
    if (position != s->n_prompt + s->n_tokens)
        return sonde_fail(err, SONDE_INTERNAL, "a token for position %lld", (long long)position);
    s->tokens[s->n_tokens] = token;
    s->sampled_logprobs[s->n_tokens++] = label.logprob;
    return SONDE_OK;
}

static sonde_status keep_done(void *context, void *user, sonde_finish finish, sonde_error *err)
{
    kept_sequence *s = user;
    (void)context;
    if (s->done) return sonde_fail(err, SONDE_INTERNAL, "sequence %lld ended twice", (long long)s->index);
    s->done = true;
    s->finish = finish;
    return SONDE_OK;
}

/* ---- a run ------------------------------------------------------------------------------------------ */

static void make_prompt(kept_sequence *s, const run_case *how, uint32_t vocab, uint32_t *random)
{
    uint32_t common = 99;
    s->n_prompt = how->prefix ? long_lengths[s->index] : lengths[s->index];
    for (int64_t t = 0; t < s->n_prompt; t++) {
        *random = *random * 1664525u + 1013904223u;
        common = common * 1664525u + 1013904223u;
        s->prompt[t] = ((t < how->prefix ? common : *random) >> 8) % vocab;
    }
    s->first_kept = how->prefix ? s->n_prompt - 3 : 0;
    for (int64_t t = s->first_kept; t < s->n_prompt; t++) s->keep[t] = 1;
}

static bool captured_init(captured *c, const sonde_model *model, const run_case *how)
{
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    memset(c, 0, sizeof *c);
    c->n_points = sonde_model_point_count(model);
    uint32_t random = 12345;
    for (int64_t i = 0; i < CASE_SEQUENCES; i++) {
        kept_sequence *s = &c->sequences[i];
        s->captured = c;
        s->index = i;
        make_prompt(s, how, (uint32_t)info.vocab, &random);
        for (int64_t t = 0; t < CASE_POSITIONS; t++) s->logprobs[t] = NAN;
        s->points = sonde_alloc((size_t)c->n_points, sizeof *s->points);
        if (!s->points) return false;
    }
    return true;
}

sonde_status captured_run(const sonde_model *model, const run_case *how, captured *c,
                          sonde_error *err)
{
    if (!captured_init(c, model, how))
        return sonde_no_memory(err, "a kept run", sizeof *c);
    sonde_plan *plan = case_plan(model, how, err);
    if (!plan) return err->status;
    sonde_plan_info_get(plan, &c->plan);
    sonde_schedule_options options = {.workers = (int32_t)or_else(how->workers, 1),
                                      .threads = (int32_t)or_else(how->threads, 1),
                                      .batch_tokens = or_else(how->batch_tokens, 256),
                                      .batch_sequences = or_else(how->batch_sequences, 64),
                                      .chunk = or_else(how->chunk, 512),
                                      .kv_bytes = (uint64_t)how->kv_blocks *
                                                  c->plan.kv_bytes_per_page_all_layers};
    sonde_schedule_callbacks callbacks = {.context = c, .next = give_next, .point = keep_point,
                                          .labels = keep_labels, .token = keep_token,
                                          .done = keep_done};
    sonde_status status = sonde_schedule_run(plan, &options, &callbacks, &c->stats, err);
    sonde_plan_destroy(&plan);
    return status;
}

void captured_reset(captured *c)
{
    for (int64_t i = 0; i < CASE_SEQUENCES; i++) {
        kept_sequence *s = &c->sequences[i];
        for (int64_t p = 0; s->points && p < c->n_points; p++) sonde_free(s->points[p].data);
        sonde_free(s->points);
        s->points = NULL;
    }
}

/* ---- comparing -------------------------------------------------------------------------------------- */

static int differs(int seen, const char *name, int64_t sequence, const char *what)
{
    if (seen == 0) print_error("%s: sequence %lld: %s differs\n", name, (long long)sequence, what);
    return 1;
}

int captured_differences(const sonde_model *model, const captured *want, const captured *got,
                         const char *name)
{
    int n = 0;
    for (int64_t i = 0; i < CASE_SEQUENCES; i++) {
        const kept_sequence *a = &want->sequences[i], *b = &got->sequences[i];
        for (int64_t p = 0; p < want->n_points; p++) {
            const kept_rows *x = &a->points[p], *y = &b->points[p];
            if (y->count == 0) continue;
            if (x->count != y->count || memcmp(x->data, y->data, (size_t)x->count * 4) != 0)
                n += differs(n, name, i, sonde_model_point(model, p)->name);
        }
        if (a->n_tokens != b->n_tokens || memcmp(a->tokens, b->tokens, (size_t)a->n_tokens * 4) != 0)
            n += differs(n, name, i, "the generated text");
        if (memcmp(a->sampled_logprobs, b->sampled_logprobs, (size_t)a->n_tokens * 4) != 0)
            n += differs(n, name, i, "the logprob of a generated token");
        bool labelled = b->n_prompt > 1 && !isnan(b->logprobs[1]);
        if (labelled && memcmp(a->logprobs, b->logprobs, (size_t)a->n_prompt * 4) != 0)
            n += differs(n, name, i, "the logprob of a prompt token");
        if (!b->done || a->finish != b->finish) n += differs(n, name, i, "how it ended");
    }
    return n;
}
