/* The pool: every item once, whatever the threads and the grain; meant for CONFIG=tsan too. Cpu
 * levels and the floating-point state stand here because the pool's threads depend on them. */
#include "core/cpu.h"
#include "core/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#define ITEMS 1000

typedef struct counts {
    _Atomic int seen[ITEMS];
    _Atomic int calls;
    int n_threads;
    int64_t sum_of_thread[8]; /* plain: a thread's own */
} counts;

static void count_items(void *context, int64_t begin, int64_t end, int thread)
{
    counts *c = context;
    atomic_fetch_add(&c->calls, 1);
    if (thread < 0 || thread >= c->n_threads) return;
    for (int64_t i = begin; i < end; i++) {
        atomic_fetch_add(&c->seen[i], 1);
        c->sum_of_thread[thread] += i;
    }
}

static void check_loop(sonde_pool *pool, int64_t n, int64_t grain)
{
    counts c = {.n_threads = sonde_pool_threads(pool)};
    sonde_pool_for(pool, n, grain, count_items, &c);
    int64_t sum = 0;
    for (int64_t i = 0; i < ITEMS; i++) assert_int_equal(c.seen[i], i < n ? 1 : 0);
    for (int t = 0; t < 8; t++) sum += c.sum_of_thread[t];
    assert_int_equal(sum, n * (n - 1) / 2);
}

static void test_every_item_runs_once(void **state)
{
    static const int64_t sizes[] = {0, 1, 2, 7, 100, ITEMS}, grains[] = {1, 3, 64, 2 * ITEMS};
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        sonde_pool *pool;
        assert_int_equal(sonde_pool_create(threads, &pool, NULL), SONDE_OK);
        assert_int_equal(sonde_pool_threads(pool), threads);
        for (size_t i = 0; i < SONDE_COUNT(sizes); i++)
            for (size_t g = 0; g < SONDE_COUNT(grains); g++) check_loop(pool, sizes[i], grains[g]);
        sonde_pool_destroy(&pool);
        assert_null(pool);
    }
}

static void test_no_pool_is_the_calling_thread(void **state)
{
    counts c = {.n_threads = 1};
    (void)state;
    assert_int_equal(sonde_pool_threads(NULL), 1);
    sonde_pool_for(NULL, 10, 1, count_items, &c);
    assert_int_equal(c.calls, 1);
    sonde_pool *none = NULL;
    sonde_pool_destroy(&none);
}

static void add_one(void *context, int64_t begin, int64_t end, int thread)
{
    int64_t *values = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) values[i]++;
}

/* What one loop wrote the next one reads, hundreds of times, with sleeps and wake-ups between. */
static void test_loops_follow_each_other(void **state)
{
    int64_t values[16] = {0};
    sonde_pool *pool;
    (void)state;
    assert_int_equal(sonde_pool_create(3, &pool, NULL), SONDE_OK);
    for (int loop = 0; loop < 500; loop++) sonde_pool_for(pool, 16, 1, add_one, values);
    for (int i = 0; i < 16; i++) assert_int_equal(values[i], 500);
    sonde_pool_destroy(&pool);
}

static void test_create_survives_failing_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 5; n++) {
        sonde_pool *pool = NULL;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        sonde_status status = sonde_pool_create(4, &pool, &err);
        sonde_alloc_fail_after(-1);
        assert_int_equal(status, SONDE_NO_MEMORY);
        assert_null(pool);
    }
}

static void test_cpu_levels(void **state)
{
    sonde_cpu_level level;
    char name[128];
    (void)state;
    for (int i = SONDE_CPU_SCALAR; i <= SONDE_CPU_AVX512; i++) {
        assert_true(sonde_cpu_level_from_name(sonde_cpu_level_name((sonde_cpu_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_false(sonde_cpu_level_from_name("sse", &level));
    assert_true(sonde_cpu_best() <= SONDE_CPU_AVX512);
    assert_true(sonde_cpu_count() >= 1);
    sonde_cpu_model_name(name, sizeof name);
    assert_true(strlen(name) > 0);
}

static void test_fpu_state_comes_back(void **state)
{
    (void)state;
    unsigned old = sonde_fpu_enter();
    volatile float tiny = 1e-38f;
    assert_true(tiny / 16.0f > 0.0f); /* subnormals live */
    sonde_fpu_restore(old);
    assert_int_equal(sonde_fpu_enter(), old);
    sonde_fpu_restore(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_runs_once),
        cmocka_unit_test(test_no_pool_is_the_calling_thread),
        cmocka_unit_test(test_loops_follow_each_other),
        cmocka_unit_test(test_create_survives_failing_memory),
        cmocka_unit_test(test_cpu_levels),
        cmocka_unit_test(test_fpu_state_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
