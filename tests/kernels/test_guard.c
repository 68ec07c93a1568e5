/* The floating-point state of the caller changes no bit: a run sets its own (kernels.md 10) on every
 * thread and gives the caller's back. Subnormal numbers written to the first block show it. */
#include "core/cpu.h"
#include "run/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cmocka.h>

#define MODEL "tests/goldens/families/llama"
#define TOKENS 12

/* Everything that a run shows, in the order it shows it. */
typedef struct record {
    char *bytes;
    size_t length, capacity;
} record;

static void keep(record *r, const void *data, size_t bytes)
{
    assert_true(sonde_grow(&r->bytes, &r->capacity, r->length + bytes, 1));
    memcpy(r->bytes + r->length, data, bytes);
    r->length += bytes;
}

/* Makes the first block's input tiny: 1e-39 times what it was. */
static sonde_status tap(void *context, const sonde_tap_view *view, sonde_error *err)
{
    record *r = context;
    (void)err;
    for (int64_t m = 0; m < view->n_rows; m++) {
        float *row = view->data + m * view->stride;
        for (int64_t i = 0; view->writable && i < view->width; i++) row[i] = row[i] * 1e-30f * 1e-9f;
        keep(r, row, (size_t)view->width * sizeof *row);
    }
    return SONDE_OK;
}

static void run_once(const sonde_model *model, const sonde_plan *plan, int threads, record *r)
{
    sonde_error err = {0};
    sonde_run *run = NULL;
    sonde_sequence *sequence = NULL;
    uint32_t tokens[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = i * 5 + 1;
    sonde_run_options options = {.threads = threads, .tap = tap, .tap_context = r};
    *r = (record){0};
    assert_int_equal(sonde_run_create(plan, &options, &run, &err), SONDE_OK);
    assert_int_equal(sonde_sequence_create(run, TOKENS, TOKENS, NULL, &sequence, &err), SONDE_OK);
    sonde_batch_item item = {.sequence = sequence, .tokens = tokens, .count = TOKENS,
                             .want_logits = true};
    if (sonde_run_step(run, &item, 1, &err) != SONDE_OK) fail_msg("%s", err.message);
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    keep(r, sonde_run_logits(run, 0), (size_t)info.vocab * sizeof(float));
    sonde_row_labels label = sonde_run_label_row(run, 0, 3);
    keep(r, &label, sizeof label);
    sonde_sequence_destroy(&sequence);
    sonde_run_destroy(&run);
}

static void check_state(const sonde_model *model, const sonde_plan *plan, const record *expected,
                        unsigned state)
{
#if defined(__x86_64__)
    for (int threads = 1; threads <= 2; threads++) {
        record r;
        unsigned before = _mm_getcsr();
        _mm_setcsr(state);
        run_once(model, plan, threads, &r);
        unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        assert_int_equal(after & 0xFFC0u, state & 0xFFC0u); /* but for the sticky flags */
        assert_int_equal(r.length, expected->length);
        assert_memory_equal(r.bytes, expected->bytes, r.length);
        sonde_free(r.bytes);
    }
#else
    (void)model, (void)plan, (void)expected, (void)state;
#endif
}

static void test_state_of_the_caller_changes_no_bit(void **state)
{
    (void)state;
    static const unsigned states[] = {0x9FC0, /* flush to zero, subnormals read as zero */
                                      0x3F80, /* rounds down */ 0x5F80, /* rounds up */ 0x7F80};
    sonde_error err = {0};
    sonde_model *model = NULL;
    sonde_plan *plan = NULL;
    sonde_model_options options = {.threads = 1};
    assert_int_equal(sonde_model_open(MODEL, &options, &model, &err), SONDE_OK);
    int64_t n = sonde_model_point_count(model);
    uint8_t *wants = sonde_alloc((size_t)n, 1);
    assert_non_null(wants);
    for (int64_t i = 0; i < n; i++)
        if (!sonde_model_point(model, i)->ragged) wants[i] = SONDE_WANT_READ;
    int64_t first = sonde_model_find_point(model, "blocks.0.resid_pre");
    assert_true(first >= 0);
    wants[first] |= SONDE_WANT_WRITE;
    sonde_plan_options plan_options = {.wants = wants, .want_logits = true, .batch_rows = TOKENS,
                                       .max_sequences = 1, .max_positions = TOKENS};
    assert_int_equal(sonde_plan_create(model, &plan_options, &plan, &err), SONDE_OK);
    record expected;
    run_once(model, plan, 1, &expected);
    for (size_t i = 0; i < SONDE_COUNT(states); i++) check_state(model, plan, &expected, states[i]);
    sonde_free(expected.bytes);
    sonde_plan_destroy(&plan);
    sonde_model_close(&model);
    sonde_free(wants);
}

/* The same through the doors alone: what enter sets is what a fresh thread has. */
static void test_enter_and_restore(void **state)
{
    (void)state;
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(0x9FC0);
    unsigned old = sonde_fpu_enter();
    volatile float tiny = 1e-39f, half = tiny * 0.5f;
    bool kept = half > 0.0f && (_mm_getcsr() & 0xFFC0u) == 0x1F80u;
    sonde_fpu_restore(old);
    unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    assert_true(kept);
    assert_int_equal(after, 0x9FC0u);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_of_the_caller_changes_no_bit),
        cmocka_unit_test(test_enter_and_restore),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
