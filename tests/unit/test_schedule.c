/*
 * test_schedule.c - the scheduler's manners: order of callbacks, LATER and END, stopping, failing by
 * the lowest index, cancelling, memory. Bits of values are test_run_same_bits.c's; run this one under
 * CONFIG=tsan too.
 */
#include "run/schedule.h"
#include "support/captured.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MAX_SEQUENCES 40

typedef struct one {
    uint64_t index;
    uint32_t tokens[CASE_POSITIONS];
    uint32_t sampled[CASE_POSITIONS];
    int64_t n_sampled, rows;
    bool done;
    sonde_finish finish;
} one;

/* A source of sequences, what is done to them, and what came back. */
typedef struct play {
    int64_t n, n_tokens, max_new;
    const uint32_t *stop;
    int64_t n_stop;
    uint8_t keep[CASE_POSITIONS];
    bool keep_some, keep_generated;
    int64_t later_every;      /* `next` says LATER before each k-th sequence, twice */
    int64_t stop_at;          /* token callback asks to stop after so many, 0: never */
    uint64_t fail_token_of[2], fail_point_of; /* index + 1; 0: none */
    int64_t fail_next_at;     /* `next` fails at this sequence; 0: never */
    uint64_t kv_bytes;        /* limit of the cache */
    int64_t cancel_after;     /* steps of the cancelled callback; 0: never */
    int64_t given, laters;
    _Atomic int cancel_calls, token_calls;
    _Atomic int in_next;
    bool meet; /* two sequences in two workers, neither of which goes on alone */
    _Atomic int n_given, n_sampled[2];
    one sequences[MAX_SEQUENCES];
} play;

/* Ten seconds at most. */
static void wait_until(_Atomic int *number, int n)
{
    for (int i = 0; i < 10000 && atomic_load(number) < n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static sonde_status next(void *context, sonde_request *request, sonde_next *what, sonde_error *err)
{
    play *p = context;
    assert_int_equal(atomic_fetch_add(&p->in_next, 1), 0);
    sonde_status status = SONDE_OK;
    if (p->fail_next_at && p->given == p->fail_next_at) {
        status = sonde_fail(err, SONDE_BAD_PROMPT, "line %lld is broken", (long long)p->given + 1);
    } else if (p->given == p->n) {
        *what = SONDE_NEXT_END;
    } else if (p->later_every && p->given % p->later_every == 0 && p->laters++ % 3 < 2) {
        *what = SONDE_NEXT_LATER;
    } else {
        one *s = &p->sequences[p->given];
        s->index = (uint64_t)p->given++;
        for (int64_t i = 0; i < p->n_tokens; i++)
            s->tokens[i] = (uint32_t)(s->index * 7 + (uint64_t)i * 3) % 211u;
        *request = (sonde_request){.index = s->index, .tokens = s->tokens, .n_tokens = p->n_tokens,
                                   .max_new = p->max_new, .stop = p->stop, .n_stop = p->n_stop,
                                   .keep = p->keep_some ? p->keep : NULL,
                                   .keep_generated = p->keep_generated, .user = s};
        *what = SONDE_NEXT_GIVEN;
        atomic_fetch_add(&p->n_given, 1);
    }
    atomic_fetch_sub(&p->in_next, 1);
    return status;
}

static sonde_status point(void *context, int worker, const sonde_tap_view *view, sonde_error *err)
{
    play *p = context;
    (void)worker;
    if (p->meet) wait_until(&p->n_given, 2);
    for (int64_t i = 0; i < view->n_spans; i++) {
        one *s = view->users[view->spans[i].item];
        s->rows += view->spans[i].count;
        if (p->fail_point_of == s->index + 1)
            return sonde_fail(err, SONDE_PROBE, "probe: sequence %llu", (unsigned long long)s->index);
    }
    return SONDE_OK;
}

static sonde_status token(void *context, void *user, int64_t position, uint32_t id,
                          sonde_row_labels label, bool *stop, sonde_error *err)
{
    play *p = context;
    one *s = user;
    atomic_fetch_add(&p->token_calls, 1);
    assert_int_equal(position, p->n_tokens + s->n_sampled);
    assert_true(isnan(label.logprob) && label.rank == -1); /* nobody asked */
    assert_false(s->done);
    s->sampled[s->n_sampled++] = id;
    if (p->meet) atomic_fetch_add(&p->n_sampled[s->index], 1);
    if (p->meet && s->n_sampled == 3) wait_until(&p->n_sampled[1 - s->index], 3);
    *stop = p->stop_at && s->n_sampled == p->stop_at;
    for (int i = 0; i < 2; i++)
        if (p->fail_token_of[i] == s->index + 1 && s->n_sampled == 2)
            return sonde_fail(err, SONDE_IO, "token: sequence %llu", (unsigned long long)s->index);
    return SONDE_OK;
}

static sonde_status done(void *context, void *user, sonde_finish finish, sonde_error *err)
{
    one *s = user;
    (void)context;
    (void)err;
    assert_false(s->done);
    s->done = true;
    s->finish = finish;
    return SONDE_OK;
}

static bool cancelled(void *context)
{
    play *p = context;
    return p->cancel_after && atomic_fetch_add(&p->cancel_calls, 1) >= p->cancel_after;
}

/* ---- running -------------------------------------------------------------------------------------- */

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

static sonde_plan *make_plan(const sonde_model *model)
{
    sonde_error err = {0};
    run_case how = {.only = "resid_post", .no_labels = true, .batch_tokens = 24, .batch_sequences = 4};
    sonde_plan *plan = case_plan(model, &how, &err);
    if (!plan) fail_msg("%s", err.message);
    return plan;
}

static sonde_status run_plan(const sonde_plan *plan, play *p, int workers,
                             sonde_schedule_stats *stats, sonde_error *err)
{
    sonde_schedule_options options = {.workers = workers, .threads = 1, .batch_tokens = 24,
                                      .batch_sequences = 4, .chunk = 8,
                                      .kv_bytes = p->kv_bytes};
    sonde_schedule_callbacks callbacks = {.context = p, .next = next, .point = point,
                                          .token = token, .done = done, .cancelled = cancelled};
    return sonde_schedule_run(plan, &options, &callbacks, stats, err);
}

static sonde_status run_play(const sonde_model *model, play *p, int workers, sonde_error *err)
{
    sonde_schedule_stats stats;
    sonde_plan *plan = make_plan(model);
    sonde_status status = run_plan(plan, p, workers, &stats, err);
    sonde_plan_destroy(&plan);
    return status;
}

static void check_all_done(const play *p, int64_t n_sampled, sonde_finish finish)
{
    for (int64_t i = 0; i < p->n; i++) {
        assert_true(p->sequences[i].done);
        assert_int_equal(p->sequences[i].finish, finish);
        assert_int_equal(p->sequences[i].n_sampled, n_sampled);
    }
}

/* ---- the plain way -------------------------------------------------------------------------------- */

static void test_all_sequences_end_and_are_counted(void **state)
{
    for (int workers = 1; workers <= 3; workers++) {
        play p = {.n = 17, .n_tokens = 11, .max_new = 3, .keep_generated = true};
        sonde_schedule_stats stats = {0};
        sonde_plan *plan = make_plan(*state);
        sonde_error err = {0};
        assert_int_equal(run_plan(plan, &p, workers, &stats, &err), SONDE_OK);
        check_all_done(&p, 3, SONDE_FINISH_DONE);
        assert_int_equal(stats.sequences, 17);
        assert_int_equal(stats.prompt_tokens, 17 * 11);
        assert_int_equal(stats.generated_tokens, 17 * 3);
        assert_int_equal(stats.run.rows, 17 * (11 + 2)); /* the last token is never run */
        for (int64_t i = 0; i < p.n; i++) assert_int_equal(p.sequences[i].rows, 3 * 13);
        sonde_plan_destroy(&plan);
    }
}

static void test_nothing_to_run(void **state)
{
    play p = {.n = 0};
    assert_int_equal(run_play(*state, &p, 2, NULL), SONDE_OK);
}

static void test_prompts_alone_sample_nothing(void **state)
{
    play p = {.n = 9, .n_tokens = 30};
    assert_int_equal(run_play(*state, &p, 2, NULL), SONDE_OK);
    check_all_done(&p, 0, SONDE_FINISH_DONE);
}

static void test_later_is_asked_again(void **state)
{
    for (int workers = 1; workers <= 2; workers++) {
        play p = {.n = 12, .n_tokens = 5, .max_new = 2, .later_every = 2};
        assert_int_equal(run_play(*state, &p, workers, NULL), SONDE_OK);
        check_all_done(&p, 2, SONDE_FINISH_DONE);
    }
}

/* Behind the last cache write only wanted rows go on: the last block's point sees those alone. */
static void test_rows_nobody_keeps_are_left_out(void **state)
{
    play p = {.n = 5, .n_tokens = 12, .max_new = 3, .keep_some = true};
    p.keep[3] = p.keep[7] = 1;
    assert_int_equal(run_play(*state, &p, 1, NULL), SONDE_OK);
    for (int64_t i = 0; i < p.n; i++) /* two blocks of 12 + 2 rows; the last: 2, and those of logits */
        assert_int_equal(p.sequences[i].rows, 2 * 14 + 2 + 1 + 2);
}

/* ---- ends ------------------------------------------------------------------------------------------- */

static void test_stop_tokens_end_generation(void **state)
{
    play free_run = {.n = 6, .n_tokens = 9, .max_new = 8};
    assert_int_equal(run_play(*state, &free_run, 1, NULL), SONDE_OK);
    uint32_t stop[2] = {free_run.sequences[2].sampled[3], 4711};
    play p = {.n = 6, .n_tokens = 9, .max_new = 8, .stop = stop, .n_stop = 2};
    assert_int_equal(run_play(*state, &p, 1, NULL), SONDE_OK);
    for (int64_t i = 0; i < p.n; i++) {
        const one *got = &p.sequences[i], *want = &free_run.sequences[i];
        int64_t n = 0;
        while (n < 8 && want->sampled[n++] != stop[0]) continue;
        bool stopped = want->sampled[n - 1] == stop[0];
        assert_int_equal(got->n_sampled, n); /* the stop token is recorded */
        assert_memory_equal(got->sampled, want->sampled, (size_t)n * 4);
        assert_int_equal(got->finish, stopped ? SONDE_FINISH_STOPPED : SONDE_FINISH_DONE);
    }
    assert_int_equal(p.sequences[2].finish, SONDE_FINISH_STOPPED);
}

static void test_the_callback_may_stop(void **state)
{
    play p = {.n = 6, .n_tokens = 9, .max_new = 8, .stop_at = 4};
    assert_int_equal(run_play(*state, &p, 2, NULL), SONDE_OK);
    check_all_done(&p, 4, SONDE_FINISH_STOPPED);
}

static void test_a_full_context_cuts(void **state)
{
    play p = {.n = 3, .n_tokens = CASE_POSITIONS - 2, .max_new = 50};
    assert_int_equal(run_play(*state, &p, 1, NULL), SONDE_OK);
    check_all_done(&p, 3, SONDE_FINISH_CUT); /* two are run, the third is only sampled */
    play full = {.n = 3, .n_tokens = CASE_POSITIONS, .max_new = 1};
    assert_int_equal(run_play(*state, &full, 1, NULL), SONDE_OK);
    check_all_done(&full, 1, SONDE_FINISH_DONE);
}

/* ---- failures --------------------------------------------------------------------------------------- */

static void test_the_lowest_failure_is_told(void **state)
{
    for (int workers = 1; workers <= 3; workers++) {
        play p = {.n = 30, .n_tokens = 6, .max_new = 5, .fail_token_of = {8, 4}};
        sonde_error err = {0};
        assert_int_equal(run_play(*state, &p, workers, &err), SONDE_IO);
        assert_string_equal(err.message, "token: sequence 3");
        for (int64_t i = 0; i < 3; i++) assert_true(p.sequences[i].done); /* those before are whole */
        assert_false(p.sequences[3].done);
        assert_true(p.given < 30);
    }
}

static void test_a_failing_probe_ends_the_run(void **state)
{
    play p = {.n = 30, .n_tokens = 6, .max_new = 2, .fail_point_of = 13};
    sonde_error err = {0};
    assert_int_equal(run_play(*state, &p, 2, &err), SONDE_PROBE);
    assert_string_equal(err.message, "probe: sequence 12");
    assert_false(p.sequences[12].done);
}

static void test_a_failing_source_lets_the_others_end(void **state)
{
    for (int workers = 1; workers <= 2; workers++) {
        play p = {.n = 30, .n_tokens = 6, .max_new = 2, .fail_next_at = 7};
        sonde_error err = {0};
        assert_int_equal(run_play(*state, &p, workers, &err), SONDE_BAD_PROMPT);
        assert_string_equal(err.message, "line 8 is broken");
        p.n = 7;
        check_all_done(&p, 2, SONDE_FINISH_DONE);
    }
}

static void test_bad_prompts_are_refused(void **state)
{
    sonde_error err = {0};
    play empty = {.n = 1, .n_tokens = 0};
    assert_int_equal(run_play(*state, &empty, 1, &err), SONDE_BAD_PROMPT);
    assert_string_equal(err.message, "sequence 0 has 0 tokens: expected 1 to 80");
    play id = {.n = 1, .n_tokens = 3, .max_new = 1};
    sonde_plan *plan = make_plan(*state);
    /* the made-up tokens are ids of the model; a wrong one comes in by hand */
    sonde_run *run;
    sonde_sequence *sequence;
    sonde_run_options options = {.threads = 1};
    uint32_t wrong[2] = {5, 211};
    assert_int_equal(sonde_run_create(plan, &options, &run, NULL), SONDE_OK);
    assert_int_equal(sonde_sequence_create(run, 4, 4, NULL, &sequence, NULL), SONDE_OK);
    sonde_batch_item item = {.sequence = sequence, .tokens = wrong, .count = 2};
    assert_int_equal(sonde_run_step(run, &item, 1, &err), SONDE_BAD_PROMPT);
    assert_string_equal(err.message,
                        "token id 211 is out of range: the model's vocabulary has 211 rows");
    assert_int_equal(sonde_sequence_length(sequence), 0);
    sonde_sequence_destroy(&sequence);
    sonde_run_destroy(&run);
    sonde_plan_destroy(&plan);
    assert_int_equal(run_play(*state, &id, 1, &err), SONDE_OK);
}

static void test_cancelling_winds_down(void **state)
{
    for (int workers = 1; workers <= 2; workers++) {
        play p = {.n = 40, .n_tokens = 40, .max_new = 30, .cancel_after = 9};
        sonde_error err = {0};
        assert_int_equal(run_play(*state, &p, workers, &err), SONDE_INTERRUPTED);
        assert_true(p.given < 40);
    }
}

/* Every allocation of a run fails once: an orderly end each time (and no leak, under ASan). */
static void test_failing_memory(void **state)
{
    sonde_status status = SONDE_NO_MEMORY;
    sonde_plan *plan = make_plan(*state);
    long n = 0;
    for (; n < 3000 && status == SONDE_NO_MEMORY; n++) {
        play p = {.n = 6, .n_tokens = 70, .max_new = 3};
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        status = run_plan(plan, &p, 1, NULL, &err);
        sonde_alloc_fail_after(-1);
        if (status != SONDE_OK) assert_non_null(strstr(err.message, "out of memory"));
    }
    assert_int_equal(status, SONDE_OK);
    assert_true(n > 30);
    sonde_plan_destroy(&plan);
}

static void test_auto_fills_the_cores(void **state)
{
    /* sequences, prompt, max_new, batch, cores; workers */
    static const struct {
        sonde_schedule_work work;
        int32_t workers;
        const char *why;
    } cases[] = {
        {{-1, 0, 0, 64, 2}, 2, "2 one-thread workers: many sequences on 2 cores"},
        {{1000, 200, 0, 64, 2}, 2, "2 one-thread workers: 1000 sequences on 2 cores"},
        {{1, 200, 0, 64, 2}, 1, "one worker of 2 threads: 1 sequence on 2 cores"},
        {{3, 200, 0, 64, 2}, 1, "one worker of 2 threads: 3 sequences on 2 cores"},
        {{4, 200, 0, 64, 2}, 2, "2 one-thread workers: 4 sequences on 2 cores"},
        {{41, 200, 0, 64, 2}, 2, "2 one-thread workers: 41 sequences on 2 cores"},
        {{16, 16, 64, 64, 2}, 1,
         "one worker of 2 threads: 16 sequences that generate read the weights together"},
        {{32, 2000, 64, 64, 2}, 2, "2 one-thread workers: 32 sequences on 2 cores"},
        {{1000, 16, 64, 64, 2}, 2, "2 one-thread workers: 1000 sequences on 2 cores"},
        {{32, 16, 64, 64, 2}, 2, "2 one-thread workers: 32 sequences on 2 cores"},
        {{1000, 16, 64, 8, 2}, 1,
         "one worker of 2 threads: 1000 sequences that generate read the weights together"},
        {{32, 16, 1, 64, 2}, 2, "2 one-thread workers: 32 sequences on 2 cores"},
        {{1, 16, 64, 64, 1}, 1, "1 one-thread worker: 1 sequence on 1 core"},
    };
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(cases); i++) {
        int32_t workers, threads;
        char why[160];
        sonde_schedule_auto(&cases[i].work, &workers, &threads, why);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(workers, cases[i].workers);
        assert_int_equal(workers * threads, cases[i].work.cores);
    }
}

/* A sequence that does not fit alone is refused; all others wait for each other. */
static void test_a_cache_too_small_for_one(void **state)
{
    sonde_error err = {0};
    sonde_plan_info info;
    sonde_schedule_stats stats;
    sonde_plan *plan = make_plan(*state);
    sonde_plan_info_get(plan, &info);
    uint64_t page = info.kv_bytes_per_page_all_layers;
    play p = {.n = 9, .n_tokens = 60, .max_new = 9, .kv_bytes = 2 * page - 1};
    assert_int_equal(run_plan(plan, &p, 2, NULL, &err), SONDE_TOO_BIG);
    assert_non_null(strstr(err.message, "sequence 0: a KV cache of 68 positions takes"));
    for (int workers = 1; workers <= 3; workers++) {
        play fits = {.n = 9, .n_tokens = 60, .max_new = 9, .kv_bytes = 3 * page};
        assert_int_equal(run_plan(plan, &fits, workers, &stats, &err), SONDE_OK);
        check_all_done(&fits, 9, SONDE_FINISH_DONE);
        assert_true(stats.kv.bytes_peak <= 3 * page);
        for (int64_t i = 0; i < fits.n; i++) /* no row is shown twice */
            assert_true(fits.sequences[i].rows <= 3 * 68);
    }
    sonde_plan_destroy(&plan);
}

static sonde_schedule_stats run_two(const sonde_plan *plan, play *p)
{
    sonde_error err = {0};
    sonde_schedule_stats stats;
    sonde_schedule_options options = {.workers = 2, .threads = 1, .batch_tokens = 8,
                                      .batch_sequences = 4, .chunk = 8};
    sonde_schedule_callbacks callbacks = {.context = p, .next = next, .point = point,
                                          .token = token, .done = done, .cancelled = cancelled};
    assert_int_equal(sonde_schedule_run(plan, &options, &callbacks, &stats, &err), SONDE_OK);
    check_all_done(p, 30, SONDE_FINISH_DONE);
    return stats;
}

/* Two sequences that only decode go on in one worker, with the same tokens; not when it is switched
 * off. */
static void test_few_that_decode_go_on_together(void **state)
{
    sonde_error err = {0};
    play together = {.n = 2, .n_tokens = 9, .max_new = 30, .meet = true}, apart = together;
    run_case off = {.only = "resid_post", .no_labels = true, .batch_tokens = 24, .batch_sequences = 4,
                    .off = SONDE_OFF_LEND};
    sonde_plan *lends = make_plan(*state), *keeps = case_plan(*state, &off, &err);
    assert_int_equal(run_two(lends, &together).handed, 1);
    assert_int_equal(run_two(keeps, &apart).handed, 0);
    for (int64_t s = 0; s < 2; s++)
        assert_memory_equal(together.sequences[s].sampled, apart.sequences[s].sampled,
                            30 * sizeof(uint32_t));
    sonde_plan_destroy(&lends);
    sonde_plan_destroy(&keeps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_sequences_end_and_are_counted),
        cmocka_unit_test(test_nothing_to_run),
        cmocka_unit_test(test_prompts_alone_sample_nothing),
        cmocka_unit_test(test_later_is_asked_again),
        cmocka_unit_test(test_rows_nobody_keeps_are_left_out),
        cmocka_unit_test(test_stop_tokens_end_generation),
        cmocka_unit_test(test_the_callback_may_stop),
        cmocka_unit_test(test_a_full_context_cuts),
        cmocka_unit_test(test_the_lowest_failure_is_told),
        cmocka_unit_test(test_a_failing_probe_ends_the_run),
        cmocka_unit_test(test_a_failing_source_lets_the_others_end),
        cmocka_unit_test(test_bad_prompts_are_refused),
        cmocka_unit_test(test_cancelling_winds_down),
        cmocka_unit_test(test_failing_memory),
        cmocka_unit_test(test_auto_fills_the_cores),
        cmocka_unit_test(test_a_cache_too_small_for_one),
        cmocka_unit_test(test_few_that_decode_go_on_together),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
