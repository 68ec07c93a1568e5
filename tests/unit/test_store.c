/* The store: rows from any thread in any order, chunks of every layout, whole datasets, what is asked. */
#include "store/h5.h"
#include "tests/support/h5_file.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS 3000
#define WIDTH 7
#define THREADS 4

static char path[256], part[300];

static int make_path(void **state)
{
    (void)state;
    h5_fresh("store.h5", path, part);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    h5_remove(path, part);
    return 0;
}

static void good(sonde_status status, const sonde_error *err)
{
    if (status != SONDE_OK) fail_msg("status %d: %s", (int)status, err->message);
}

static sonde_store *create(int32_t codec_threads, uint64_t queue_bytes)
{
    sonde_error err = {0};
    sonde_store *store = NULL;
    sonde_store_options options = {.path = path, .codec_threads = codec_threads, .no_sync = true,
                                   .queue_bytes = queue_bytes, .overwrite = true};
    good(sonde_store_create(&options, &store, &err), &err);
    return store;
}

static int32_t declare(sonde_store *store, const char *name, sonde_dtype dtype, sonde_codec codec,
                       int64_t chunk_rows)
{
    sonde_error err = {0};
    int32_t id = -1;
    sonde_dataset_spec spec = {.path = name, .dtype = dtype, .n_dims = 1, .shape = {WIDTH},
                               .codec = codec, .chunk_rows = chunk_rows};
    good(sonde_store_declare(store, &spec, &id, &err), &err);
    return id;
}

static uint32_t value_at(int64_t row, int64_t column)
{
    return (uint32_t)(row * 2654435761 + column * 40503) >> (row / 97 % 3 * 10);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct putter {
    sonde_store *store;
    int32_t id;
    int64_t first, step;
    sonde_status status;
} putter;

/* Pieces of rising length, every THREADS-th of them, from the last to the first. */
static void *put_pieces(void *argument)
{
    putter *p = argument;
    uint32_t rows[64][WIDTH];
    int64_t starts[200], n = 0;
    for (int64_t at = 0; at < ROWS && n < 200; at += 1 + n * 7 % 40, n++) starts[n] = at;
    for (int64_t i = n - 1; i >= 0 && p->status == SONDE_OK; i--) {
        if (i % p->step != p->first) continue;
        int64_t end = i + 1 < n ? starts[i + 1] : ROWS;
        for (int64_t at = starts[i]; at < end && p->status == SONDE_OK; at += 64) {
            int64_t count = end - at < 64 ? end - at : 64;
            for (int64_t r = 0; r < count; r++)
                for (int64_t c = 0; c < WIDTH; c++) rows[r][c] = value_at(at + r, c);
            p->status = sonde_store_put(p->store, p->id, at, count, rows, NULL);
        }
    }
    return NULL;
}

static void check_values(const char *name)
{
    static uint32_t rows[ROWS][WIDTH];
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT),
          set = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(set);
    hsize_t dims[2];
    assert_int_equal(H5Sget_simple_extent_dims(space, dims, NULL), 2);
    assert_int_equal(dims[0], ROWS);
    assert_true(H5Dread(set, H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < WIDTH; c++) assert_int_equal(rows[r][c], value_at(r, c));
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
}

static void test_threads_put_in_any_order(void **state)
{
    (void)state;
    const int64_t chunks[] = {1, 8, 100, 4096};
    for (size_t k = 0; k < SONDE_COUNT(chunks); k++) {
        sonde_error err = {0};
        sonde_store *store = create((int32_t)k, k % 2 ? 4096 : 0);
        int32_t ids[2] = {
            declare(store, "a/coded", SONDE_DTYPE_U32, SONDE_CODEC_DEFLATE, chunks[k]),
            declare(store, "a/raw", SONDE_DTYPE_U32, SONDE_CODEC_RAW, chunks[k])};
        pthread_t threads[2 * THREADS];
        putter putters[2 * THREADS];
        for (int i = 0; i < 2 * THREADS; i++) {
            putters[i] = (putter){store, ids[i % 2], i / 2, THREADS, SONDE_OK};
            assert_int_equal(pthread_create(&threads[i], NULL, put_pieces, &putters[i]), 0);
        }
        for (int i = 0; i < 2 * THREADS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(putters[i].status, SONDE_OK);
        }
        good(sonde_store_seal(store, true, NULL, &err), &err);
        sonde_store_destroy(&store, true);
        check_values("a/coded");
        check_values("a/raw");
    }
}

/* ---- what is asked --------------------------------------------------------------------------- */

/* ---- back-pressure --------------------------------------------------------------------------- */

/* A fill: the values of rows from *context on, row by row. */
static void make_rows(void *context, int64_t row, int64_t n_rows, const sonde_store_place *place)
{
    const int64_t *first = context;
    for (int64_t r = 0; r < n_rows; r++) {
        uint32_t values[WIDTH];
        for (int64_t c = 0; c < WIDTH; c++) values[c] = value_at(*first + row + r, c);
        sonde_store_place_copy(place, (size_t)(r * WIDTH), WIDTH, values);
    }
}

#define PIECE 50

static void *make_pieces(void *argument)
{
    putter *p = argument;
    for (int64_t at = p->first * PIECE; at < ROWS && p->status == SONDE_OK; at += p->step * PIECE)
        p->status = sonde_store_put_from(p->store, p->id, at, PIECE, make_rows, &at, NULL);
    return NULL;
}

/* While the disk takes nothing, puts stop: what waits is the queue's bound and, for each thread, the
 * chunks that its one put has filled since it looked. */
static void test_a_slow_disk_holds_puts_back(void **state)
{
    (void)state;
    const uint64_t bound = 4096, chunk = 8 * WIDTH * 4;
    const sonde_codec codecs[] = {SONDE_CODEC_DEFLATE, SONDE_CODEC_RAW};
    for (size_t k = 0; k < SONDE_COUNT(codecs); k++) {
        sonde_error err = {0};
        sonde_store_stats stats, later;
        sonde_store *store = create(2, bound);
        int32_t id = declare(store, "a/rows", SONDE_DTYPE_U32, codecs[k], 8);
        pthread_t threads[THREADS];
        putter putters[THREADS];
        sonde_h5_lock();
        for (int i = 0; i < THREADS; i++) {
            putters[i] = (putter){store, id, i, THREADS, SONDE_OK};
            assert_int_equal(pthread_create(&threads[i], NULL, make_pieces, &putters[i]), 0);
        }
        do {
            usleep(20000);
            sonde_store_stats_get(store, &stats);
            usleep(20000);
            sonde_store_stats_get(store, &later);
        } while (stats.peak_queue_bytes <= bound ||
                 stats.peak_queue_bytes != later.peak_queue_bytes);
        assert_int_equal(later.chunks, 0);
        sonde_h5_unlock();
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(putters[i].status, SONDE_OK);
        }
        good(sonde_store_seal(store, true, NULL, &err), &err);
        sonde_store_stats_get(store, &stats);
        assert_true(stats.peak_queue_bytes <= bound + THREADS * (PIECE / 8 + 2) * chunk);
        assert_true(stats.wait_ns > 0);
        sonde_store_destroy(&store, true);
        check_values("a/rows");
    }
}

static void test_holes_are_seen(void **state)
{
    (void)state;
    sonde_error err = {0};
    uint32_t rows[40][WIDTH] = {{1}};
    sonde_store *store = create(1, 0);
    int32_t id = declare(store, "d", SONDE_DTYPE_U32, SONDE_CODEC_DEFLATE, 8);
    good(sonde_store_put(store, id, 0, 19, rows, &err), &err);
    good(sonde_store_put(store, id, 21, 10, rows, &err), &err);
    sonde_store_finish(store);
    assert_int_equal(sonde_store_rows_put(store, id), 31);
    assert_int_equal(sonde_store_whole_rows(store, id), 19);
    assert_int_equal(sonde_store_first_hole(store), id);
    good(sonde_store_read(store, id, 0, 19, rows, &err), &err);
    assert_int_equal(rows[0][0], 1);
    assert_int_equal(sonde_store_read(store, id, 18, 2, rows, &err), SONDE_IO);
    assert_int_equal(sonde_store_put(store, id, 19, 2, rows, &err), SONDE_INTERNAL);
    sonde_store_destroy(&store, true);
}

static void test_rows_put_twice_are_refused(void **state)
{
    (void)state;
    sonde_error err = {0};
    uint32_t rows[40][WIDTH] = {{0}};
    const int64_t again[][2] = {{0, 1}, {4, 2}, {9, 1}, {7, 8}, {18, 3}};
    for (size_t i = 0; i < SONDE_COUNT(again); i++) {
        sonde_store *store = create(1, 0);
        int32_t id = declare(store, "d", SONDE_DTYPE_U32, SONDE_CODEC_DEFLATE, 8);
        good(sonde_store_put(store, id, 10, 10, rows, &err), &err);
        good(sonde_store_put(store, id, 0, 10, rows, &err), &err);
        assert_int_equal(sonde_store_put(store, id, again[i][0], again[i][1], rows, &err),
                         SONDE_INTERNAL);
        assert_non_null(strstr(err.message, "put twice"));
        sonde_store_destroy(&store, true);
    }
}

static void test_statistics(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_store_stats stats;
    uint32_t rows[40][WIDTH] = {{0}};
    sonde_store *store = create(1, 0);
    int32_t id = declare(store, "d", SONDE_DTYPE_U32, SONDE_CODEC_DEFLATE, 8);
    good(sonde_store_put(store, id, 0, 40, rows, &err), &err);
    sonde_store_finish(store);
    sonde_store_stats_get(store, &stats);
    assert_int_equal(stats.chunks, 5);
    assert_int_equal(stats.raw_bytes, sizeof rows);
    assert_true(stats.stored_bytes < stats.raw_bytes);
    assert_int_equal(stats.open_bytes, 0);
    sonde_store_destroy(&store, true);
}

static void test_bad_shapes_are_refused(void **state)
{
    (void)state;
    sonde_error err = {0};
    int32_t id;
    sonde_store *store = create(1, 0);
    const sonde_dataset_spec bad[] = {
        {.path = "a", .dtype = SONDE_DTYPE_F32, .n_dims = 1, .shape = {0}},
        {.path = "b", .dtype = SONDE_DTYPE_F32, .n_dims = 5},
        {.path = "c", .dtype = SONDE_DTYPE_Q4_0},
        {.path = "d", .dtype = SONDE_DTYPE_F64, .n_dims = 2, .shape = {INT64_MAX, 8}},
        {.path = "e", .dtype = SONDE_DTYPE_F64, .chunk_rows = INT64_C(1) << 30},
    };
    for (size_t i = 0; i < SONDE_COUNT(bad); i++)
        assert_int_equal(sonde_store_declare(store, &bad[i], &id, &err), SONDE_INTERNAL);
    assert_int_equal(sonde_store_write(store, "f", SONDE_DTYPE_F32, 1, (int64_t[]){-1}, "", &err),
                     SONDE_INTERNAL);
    good(sonde_store_seal(store, true, NULL, &err), &err);
    sonde_store_destroy(&store, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)
    const struct CMUnitTest tests[] = {
        TEST(test_threads_put_in_any_order), TEST(test_holes_are_seen),
        TEST(test_rows_put_twice_are_refused), TEST(test_statistics),
        TEST(test_bad_shapes_are_refused), TEST(test_a_slow_disk_holds_puts_back),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
