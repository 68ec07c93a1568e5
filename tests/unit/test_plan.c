/*
 * test_plan.c - which steps run, where buffers lie, what is refused. The llama golden has 3 blocks;
 * a block is 16 steps without hooks: norm, q, k, v, 2 ropes, cache, attend, out, add, norm, gate,
 * up, glu, down, add; around them embed, final norm and logits.
 */
#include "run/plan_internal.h"
#include "support/captured.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK_STEPS 16

/* ---- plans of one model --------------------------------------------------------------------------- */

static int open_model(void **state)
{
    *state = case_model("llama", "cpu", NULL, 0);
    return 0;
}

static int close_model(void **state)
{
    sonde_model *model = *state;
    sonde_model_close(&model);
    return 0;
}

typedef struct want {
    const char *points[4];
    uint8_t how;
    bool logits, labels;
    uint32_t off;
} want;

static sonde_plan *make(const sonde_model *model, const want *w)
{
    uint8_t wants[512] = {0};
    sonde_plan *plan = NULL;
    sonde_error err = {0};
    for (int i = 0; i < 4 && w->points[i]; i++) {
        int64_t point = sonde_model_find_point(model, w->points[i]);
        assert_true(point >= 0);
        wants[point] = w->how ? w->how : SONDE_WANT_READ;
    }
    sonde_plan_options options = {.wants = wants, .want_logits = w->logits, .want_labels = w->labels,
                                  .batch_rows = 32, .max_sequences = 4, .max_positions = 96,
                                  .off = w->off};
    if (sonde_plan_create(model, &options, &plan, &err) != SONDE_OK) fail_msg("%s", err.message);
    return plan;
}

static sonde_plan_info info_of(const sonde_model *model, const want *w)
{
    sonde_plan *plan = make(model, w);
    sonde_plan_info info;
    sonde_plan_info_get(plan, &info);
    sonde_plan_destroy(&plan);
    return info;
}

/* ---- dropping ------------------------------------------------------------------------------------- */

static void test_capture_of_a_block_stops_there(void **state)
{
    static const struct {
        const char *point;
        int64_t steps, last_layer; /* with every step on its own */
    } cases[] = {
        {"embed", 1, -1},
        {"blocks.0.resid_pre", 1, -1},
        {"blocks.0.attn_norm", 2, 0},
        {"blocks.0.attn.v", 3, 0},                  /* embed, norm, v: no q, no k */
        {"blocks.0.attn.k_rot", 4, 0},              /* no q, no v, no cache */
        {"blocks.0.attn.pattern", 9, 0},
        {"blocks.0.resid_post", 1 + BLOCK_STEPS, 0},
        {"blocks.1.resid_post", 1 + 2 * BLOCK_STEPS, 1},
        {"blocks.2.mlp.up", 1 + 2 * BLOCK_STEPS + 12, 2}, /* no gate, no glu */
        {"blocks.2.resid_post", 1 + 3 * BLOCK_STEPS, 2},
        {"final_norm", 2 + 3 * BLOCK_STEPS, 2},
        {"logits", 3 + 3 * BLOCK_STEPS, 2},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_plan_info info = info_of(*state, &(want){.points = {cases[i].point},
                                                       .off = SONDE_OFF_FUSE});
        if (info.planned_steps != cases[i].steps || info.last_layer != cases[i].last_layer)
            fail_msg("%s: %lld steps up to block %lld, expected %lld up to %lld", cases[i].point,
                     (long long)info.planned_steps, (long long)info.last_layer,
                     (long long)cases[i].steps, (long long)cases[i].last_layer);
        assert_int_equal(info.recipe_steps, 3 + 3 * BLOCK_STEPS);
    }
}

static void test_nothing_wanted_runs_nothing(void **state)
{
    sonde_plan_info info = info_of(*state, &(want){.points = {NULL}});
    assert_int_equal(info.planned_steps, 0);
    assert_int_equal(info.arena_bytes, 0);
    assert_int_equal(info.kv_bytes_per_page_all_layers, 0);
}

static void test_caches_of_planned_blocks_only(void **state)
{
    sonde_plan_info one = info_of(*state, &(want){.points = {"blocks.0.resid_post"}});
    sonde_plan_info all = info_of(*state, &(want){.points = {"logits"}});
    assert_int_equal(all.kv_bytes_per_page_all_layers, 3 * one.kv_bytes_per_page_all_layers);
    /* 2 KV heads x (12 + 12) reals x 64 positions x 4 bytes */
    assert_int_equal(one.kv_bytes_per_page_all_layers, 2 * 24 * 64 * 4);
}

static void test_switching_dropping_off_runs_all(void **state)
{
    want w = {.points = {"embed"}, .off = SONDE_OFF_DROP | SONDE_OFF_FUSE};
    assert_int_equal(info_of(*state, &w).planned_steps, 2 + 3 * BLOCK_STEPS); /* but no logits */
    w.logits = true;
    assert_int_equal(info_of(*state, &w).planned_steps, 3 + 3 * BLOCK_STEPS);
}

/* ---- joining -------------------------------------------------------------------------------------- */

static void test_joining_saves_calls(void **state)
{
    /* per block: q, k, v in one (-2), out + add (-1), gate and up in one (-1), down + add (-1) */
    want w = {.logits = true};
    assert_int_equal(info_of(*state, &w).planned_steps, 3 + 3 * (BLOCK_STEPS - 5));
    w.off = SONDE_OFF_FUSE;
    assert_int_equal(info_of(*state, &w).planned_steps, 3 + 3 * BLOCK_STEPS);
}

static void test_a_wanted_hook_keeps_steps_apart(void **state)
{
    want w = {.points = {"blocks.1.attn.out"}, .logits = true};
    assert_int_equal(info_of(*state, &w).planned_steps, 3 + 3 * (BLOCK_STEPS - 5) + 1);
    w.points[0] = "blocks.1.resid_mid"; /* behind the sum: nothing to keep apart */
    assert_int_equal(info_of(*state, &w).planned_steps, 3 + 3 * (BLOCK_STEPS - 5));
}

static int64_t linear_calls(const sonde_plan *plan, int64_t layer)
{
    int64_t n = 0;
    for (int64_t i = 0; i < plan->n_ops; i++)
        n += plan->ops[i].kind == SONDE_OP_LINEAR && plan->ops[i].steps[0]->layer == layer;
    return n;
}

static void test_written_inputs_come_first(void **state)
{
    want w = {.points = {"blocks.0.attn_norm"}, .how = SONDE_WANT_WRITE, .logits = true};
    sonde_plan *plan = make(*state, &w);
    int64_t hook = -1, linear = -1;
    for (int64_t i = plan->n_ops - 1; i >= 0; i--) {
        if (plan->ops[i].kind == SONDE_OP_HOOK) hook = i;
        if (plan->ops[i].kind == SONDE_OP_LINEAR) linear = i;
    }
    assert_true(hook >= 0 && hook < linear);
    assert_true(plan->ops[hook].writable);
    assert_int_equal(linear_calls(plan, 0), 4); /* qkv, out, gate-up, down */
    sonde_plan_destroy(&plan);
}

static void test_written_patterns_split_the_attention(void **state)
{
    want w = {.points = {"blocks.1.attn.scores", "blocks.1.attn.pattern"},
              .how = SONDE_WANT_READ | SONDE_WANT_WRITE, .logits = true};
    uint32_t phases = 0;
    int n = 0, hooks = 0;
    sonde_plan *plan = make(*state, &w);
    for (int64_t i = 0; i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        if (op->kind == SONDE_OP_HOOK) assert_int_equal(n, ++hooks);
        if (op->kind != SONDE_OP_ATTEND || op->steps[0]->layer != 1) continue;
        assert_int_equal(phases & op->phases, 0);
        phases |= op->phases;
        n++;
    }
    assert_int_equal(n, 3);
    assert_int_equal(hooks, 2);
    assert_int_equal(phases, SONDE_ATTEND_SCORES | SONDE_ATTEND_SOFTMAX | SONDE_ATTEND_VALUES);
    sonde_plan_destroy(&plan);
}

/* ---- memory --------------------------------------------------------------------------------------- */

static bool overlap(int64_t a, int64_t a_end, int64_t b, int64_t b_end)
{
    return a < b_end && b < a_end;
}

static int64_t end_of(const sonde_plan *plan, const sonde_plan_buffer *b)
{
    int64_t rows = b->logits ? plan->logits_rows : plan->batch_rows;
    return (int64_t)b->offset + rows * b->stride * (int64_t)plan->model->backend->real_bytes;
}

static void check_arena(const sonde_plan *plan)
{
    int64_t n = plan->model->recipe->n_buffers;
    for (int64_t i = 0; i < n; i++) {
        const sonde_plan_buffer *a = &plan->buffers[i];
        if (!a->used || plan->model->recipe->buffers[i].ragged) continue;
        assert_int_equal(a->offset % SONDE_ALIGNMENT, 0);
        assert_true(end_of(plan, a) <= (int64_t)plan->arena_bytes);
        for (int64_t j = 0; j < i; j++) {
            const sonde_plan_buffer *b = &plan->buffers[j];
            if (!b->used || plan->model->recipe->buffers[j].ragged) continue;
            bool time = overlap(a->first_op, a->last_op + 1, b->first_op, b->last_op + 1);
            bool place = overlap((int64_t)a->offset, end_of(plan, a), (int64_t)b->offset,
                                 end_of(plan, b));
            assert_false(time && place);
        }
    }
}

static void test_buffers_alive_together_lie_apart(void **state)
{
    static const want cases[] = {
        {.logits = true},
        {.labels = true},
        {.logits = true, .off = SONDE_OFF_FUSE},
        {.logits = true, .off = SONDE_OFF_ALIAS},
        {.logits = true, .off = SONDE_OFF_DROP | SONDE_OFF_NARROW},
        {.points = {"blocks.0.resid_mid", "blocks.2.attn.pattern", "blocks.1.mlp.up", "logits"}},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        sonde_plan *plan = make(*state, &cases[i]);
        check_arena(plan);
        sonde_plan_destroy(&plan);
    }
}

static void test_sharing_memory_saves_some(void **state)
{
    want w = {.logits = true};
    uint64_t shared = info_of(*state, &w).arena_bytes;
    w.off = SONDE_OFF_ALIAS;
    assert_true(shared * 3 < info_of(*state, &w).arena_bytes);
}

static void test_ragged_points_lower_the_rows(void **state)
{
    uint8_t wants[512] = {0};
    sonde_plan *plan;
    sonde_plan_info info;
    wants[sonde_model_find_point(*state, "blocks.0.attn.pattern")] = SONDE_WANT_READ;
    /* a row: 96 keys x 4 heads x 4 bytes = 1536, and as much again for the scores */
    sonde_plan_options options = {.wants = wants, .batch_rows = 32, .max_sequences = 4,
                                  .max_positions = 96, .ragged_bytes = 14 * 1536 + 100};
    for (int ports = 1; ports <= 2; ports++) {
        assert_int_equal(sonde_plan_create(*state, &options, &plan, NULL), SONDE_OK);
        sonde_plan_info_get(plan, &info);
        assert_int_equal(info.batch_rows, 14 / ports);
        assert_int_equal(info.ragged_bytes, 14 * 1536);
        sonde_plan_destroy(&plan);
        wants[sonde_model_find_point(*state, "blocks.2.attn.scores")] = SONDE_WANT_READ;
    }
    options.ragged_bytes = 1; /* one row must fit whatever was asked for */
    assert_int_equal(sonde_plan_create(*state, &options, &plan, NULL), SONDE_OK);
    sonde_plan_info_get(plan, &info);
    assert_int_equal(info.batch_rows, 1);
    sonde_plan_destroy(&plan);
}

static void test_a_run_costs_what_was_said(void **state)
{
    sonde_plan *plan = make(*state, &(want){.logits = true});
    sonde_plan_info info;
    sonde_plan_info_get(plan, &info);
    assert_true(sonde_plan_run_bytes(plan, 2) >= info.arena_bytes + info.ragged_bytes +
                                                     2 * info.scratch_bytes_per_thread);
    assert_true(sonde_plan_run_bytes(plan, 2) > sonde_plan_run_bytes(plan, 1));
    sonde_plan_destroy(&plan);
}

/* ---- words ---------------------------------------------------------------------------------------- */

/* ---- what rows cost ------------------------------------------------------------------------------- */

static double flops_of(const sonde_model *model, const want *w, const sonde_plan_sequence *sequence)
{
    sonde_plan *plan = make(model, w);
    double flops = sonde_plan_flops(plan, sequence);
    sonde_plan_destroy(&plan);
    return flops;
}

static void test_rows_behind_the_last_cache_write_cost_when_they_go_on(void **state)
{
    const sonde_dims *d = &((const sonde_model *)*state)->recipe->dims;
    double h = (double)d->hidden, q = (double)(d->n_heads * d->head_dim), key = 4 * q;
    double qkv = 2 * h * (q + 2 * (double)(d->n_kv_heads * d->head_dim));
    double rest = 2 * q * h + 6 * h * (double)d->ffn, logits = 2 * h * (double)d->vocab;
    want none = {.logits = true}, post = {.points = {"blocks.2.resid_post"}}, labels = {.labels = true};
    want wide = {.logits = true, .off = SONDE_OFF_NARROW};
    sonde_plan_sequence s = {.prompt = 7, .kept = 2, .samples = true};
    double whole = 3 * 7 * qkv + 2 * (7 * rest + 28 * key); /* of the last block q, k, v only */
    assert_true(flops_of(*state, &none, &s) == whole + rest + 7 * key + logits);
    assert_true(flops_of(*state, &post, &s) == whole + 2 * rest + (6 + 7) * key);
    double all = 3 * (7 * (qkv + rest) + 28 * key) + 7 * logits;
    assert_true(flops_of(*state, &labels, &s) == all);
    assert_true(flops_of(*state, &wide, &s) == all);
    s = (sonde_plan_sequence){.prompt = 5, .generated = 2, .samples = true};
    assert_true(flops_of(*state, &none, &s) == whole + 3 * (rest + logits) + (5 + 6 + 7) * key);
}

/* Attention of all rows is that of their visible keys, counted one by one. */
static void test_windows_and_chunks_cost_what_they_show(void **state)
{
    static const char *const names[] = {"mistral", "llama4"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(names); i++) {
        sonde_model *model = case_model(names[i], "cpu", NULL, 0);
        const sonde_recipe *r = model->recipe;
        want w = {.labels = true};
        for (int64_t n = 1; n < 90; n += 11) {
            double more = 0.0;
            sonde_plan_sequence s = {.prompt = n}, next = {.prompt = n + 1};
            double products = flops_of(model, &w, &(sonde_plan_sequence){.prompt = 1});
            for (int64_t j = 0; j < r->n_steps; j++) {
                if (r->steps[j].kind != SONDE_STEP_ATTEND) continue;
                const sonde_attend_spec *a = &r->steps[j].u.attend;
                int64_t keys = n - sonde_first_visible(a->mask, a->window, n); /* but the first */
                more += 2.0 * (double)(a->n_heads * (a->head_dim + a->value_dim) * keys);
            }
            assert_true(flops_of(model, &w, &next) - flops_of(model, &w, &s) == products + more);
        }
        sonde_model_close(&model);
    }
}

static void test_plan_reads_as_text(void **state)
{
    char *text;
    sonde_plan *plan = make(*state, &(want){.points = {"blocks.0.resid_post"}});
    assert_int_equal(sonde_plan_text(plan, &text, NULL), SONDE_OK);
    assert_non_null(strstr(text, "linear  ATTN_Q ATTN_K ATTN_V block 0"));
    assert_non_null(strstr(text, "MLP_DOWN+add"));
    assert_non_null(strstr(text, "hook    blocks.0.resid_post"));
    assert_null(strstr(text, "block 1"));
    sonde_text_free(text);
    sonde_plan_destroy(&plan);
}

static void check_refused(const sonde_model *model, const sonde_plan_options *options,
                          const char *message)
{
    sonde_plan *plan = NULL;
    sonde_error err = {0};
    assert_int_equal(sonde_plan_create(model, options, &plan, &err), SONDE_USAGE);
    assert_string_equal(err.message, message);
    assert_null(plan);
}

static void test_what_is_refused(void **state)
{
    uint8_t wants[512] = {0};
    sonde_plan_options good = {.wants = wants, .batch_rows = 8, .max_sequences = 1,
                               .max_positions = 96};
    sonde_plan_options bad = good;
    bad.kv_dtype = SONDE_DTYPE_Q8_0;
    check_refused(*state, &bad, "KV cache of type q8_0: expected f32, bf16 or f16");
    bad = good;
    bad.batch_rows = 0;
    check_refused(*state, &bad, "a plan of 0 rows and 96 positions: expected at least 1 of each");
    sonde_model *gpt2 = case_model("gpt2", "cpu", NULL, 0);
    check_refused(gpt2, &good,
                  "a context of 96 positions: the model has learned embeddings for 80");
    sonde_model_close(&gpt2);
    wants[sonde_model_find_point(*state, "logits")] = SONDE_WANT_WRITE;
    const sonde_hook_point *logits =
        sonde_model_point(*state, sonde_model_find_point(*state, "logits"));
    if (!logits->writable)
        check_refused(*state, &good, "hook point logits cannot be written: no later step reads it");
}

static void test_create_survives_failing_memory(void **state)
{
    want w = {.points = {"blocks.1.attn.pattern", "logits"}, .logits = true};
    uint8_t wants[512] = {0};
    sonde_status status = SONDE_NO_MEMORY;
    wants[sonde_model_find_point(*state, w.points[0])] = SONDE_WANT_READ;
    sonde_plan_options options = {.wants = wants, .want_logits = true, .batch_rows = 8,
                                  .max_sequences = 1, .max_positions = 96};
    long n = 0;
    for (; n < 1000 && status == SONDE_NO_MEMORY; n++) {
        sonde_plan *plan = NULL;
        sonde_alloc_fail_after(n);
        status = sonde_plan_create(*state, &options, &plan, NULL);
        sonde_alloc_fail_after(-1);
        sonde_plan_destroy(&plan);
    }
    assert_int_equal(status, SONDE_OK);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capture_of_a_block_stops_there),
        cmocka_unit_test(test_nothing_wanted_runs_nothing),
        cmocka_unit_test(test_caches_of_planned_blocks_only),
        cmocka_unit_test(test_switching_dropping_off_runs_all),
        cmocka_unit_test(test_joining_saves_calls),
        cmocka_unit_test(test_a_wanted_hook_keeps_steps_apart),
        cmocka_unit_test(test_written_inputs_come_first),
        cmocka_unit_test(test_written_patterns_split_the_attention),
        cmocka_unit_test(test_buffers_alive_together_lie_apart),
        cmocka_unit_test(test_sharing_memory_saves_some),
        cmocka_unit_test(test_ragged_points_lower_the_rows),
        cmocka_unit_test(test_a_run_costs_what_was_said),
        cmocka_unit_test(test_rows_behind_the_last_cache_write_cost_when_they_go_on),
        cmocka_unit_test(test_windows_and_chunks_cost_what_they_show),
        cmocka_unit_test(test_plan_reads_as_text),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_create_survives_failing_memory),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
