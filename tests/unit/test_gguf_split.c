/* Split GGUF files: whichever part is opened, all are; a part that is missing or says otherwise is
 * named. */
#include "support/checkpoint_file.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PART(n) "build/split/m-0000" n "-of-00003.gguf"

static const char *const names[] = {"token_embd.weight", "blk.0.attn_norm.weight", "output_norm.weight",
                                    "output.weight", "a"};

/* How the parts are written, where they differ from a good set. */
typedef struct split_case {
    int parts_said;     /* split.count of the last part; 0: 3 */
    int tensors_said;   /* 0: as there are */
    bool twice;         /* a tensor stands in two parts */
    int no_said;        /* split.no of the second part; 0: 1 */
    const char *after;  /* a command that is run then */
    const char *opened; /* NULL: the first part */
    const char *message;
} split_case;

static void describe(gguf_file *f)
{
    gguf_add_text(f, "general.architecture", "llama");
    gguf_add_u32(f, "llama.block_count", 1);
    gguf_add_u32(f, "llama.embedding_length", 8);
}

static void add_tensor(gguf_file *f, size_t i)
{
    const int64_t shape[] = {2 + (int64_t)i, 8};
    float values[64];
    for (size_t k = 0; k < SONDE_COUNT(values); k++) values[k] = (float)(100 * i + k);
    gguf_add_tensor(f, names[i], 0, shape, 2, values, (size_t)shape[0] * 8 * sizeof *values);
}

/* Tensors 0 and 1, 2, and 3 and 4; the second part has nothing but its number. */
static void write_parts(const split_case *c)
{
    assert_int_equal(system("mkdir -p build/split && rm -f build/split/*"), 0);
    for (int part = 0; part < 3; part++) {
        gguf_file f = {0};
        char path[64];
        if (part == 0) describe(&f);
        gguf_add_u16(&f, "split.no", (uint16_t)(part == 1 && c->no_said ? c->no_said : part));
        gguf_add_u16(&f, "split.count", (uint16_t)(part == 2 && c->parts_said ? c->parts_said : 3));
        gguf_add_u32(&f, "split.tensors.count", c->tensors_said ? (uint32_t)c->tensors_said : 5);
        if (part != 1) add_tensor(&f, part == 0 ? 0 : 3);
        add_tensor(&f, part == 0 ? 1 : part == 1 ? 2 : c->twice ? 0 : 4);
        snprintf(path, sizeof path, "build/split/m-%05d-of-00003.gguf", part + 1);
        gguf_write(&f, path);
    }
    if (c->after) assert_int_equal(system(c->after), 0);
}

static void hash_of_whole(char hex[33])
{
    gguf_file f = {0};
    sonde_weights *w;
    const char *found;
    describe(&f);
    for (size_t i = 0; i < SONDE_COUNT(names); i++) add_tensor(&f, i);
    gguf_write(&f, "build/split/whole.gguf");
    assert_int_equal(sonde_weights_open("build/split/whole.gguf", &w, NULL), SONDE_OK);
    assert_int_equal(sonde_weights_hash(w, &found, NULL), SONDE_OK);
    memcpy(hex, found, 33);
    sonde_weights_close(&w);
}

static void test_any_part_opens_all(void **state)
{
    static const split_case good = {0};
    static const char *const paths[] = {PART("1"), PART("2"), PART("3")};
    char whole[33];
    (void)state;
    write_parts(&good);
    hash_of_whole(whole);
    for (size_t i = 0; i < SONDE_COUNT(paths); i++) {
        sonde_weights *w;
        const char *hex;
        sonde_error err = {0};
        if (sonde_weights_open(paths[i], &w, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(sonde_weights_count(w), 5);
        for (size_t n = 0; n < SONDE_COUNT(names); n++) {
            const sonde_tensor *t = sonde_weights_find(w, names[n]);
            assert_non_null(t);
            assert_true(*(const float *)t->data == (float)(100 * n));
        }
        assert_non_null(strstr(sonde_weights_find(w, "a")->file, "00003-of"));
        assert_int_equal(sonde_weights_hash(w, &hex, NULL), SONDE_OK);
        assert_string_equal(hex, whole);
        sonde_weights_close(&w);
        assert_int_equal(sonde_weights_open_config(paths[i], &w, &err), SONDE_OK);
        sonde_weights_close(&w);
    }
}

static const split_case bad[] = {
    {.after = "rm " PART("2"), .message = "part 2 of 3: cannot open " PART("2")},
    {.after = "rm " PART("1"), .opened = PART("3"), .message = "part 1 of 3: cannot open"},
    {.after = "mv " PART("1") " build/split/x.gguf", .opened = "build/split/x.gguf",
     .message = "x.gguf: it is part 1 of 3: expected a name that ends in -00001-of-00003.gguf"},
    {.parts_said = 4, .message = "expected part 3 of 3, its split.no and split.count say part 3 of 4"},
    {.no_said = 2, .message = "expected part 2 of 3, its split.no and split.count say part 3 of 3"},
    {.tensors_said = 6, .message = "split.tensors.count is 6, the 3 parts have 5 tensors"},
    {.twice = true, .message = "tensor token_embd.weight is in"},
    {.after = "cp " PART("1") " " PART("2"), .message = "expected part 2 of 3"},
    {.after = "head -c 40 " PART("1") " > " PART("2"), .message = "00002-of-00003.gguf: "},
    {.no_said = 7, .opened = PART("2"), .message = "split.no 7 and split.count 3 name no part"},
};

static void test_parts_that_do_not_fit_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(bad); i++) {
        sonde_weights *w = NULL;
        sonde_error err = {0};
        write_parts(&bad[i]);
        sonde_status status = sonde_weights_open(bad[i].opened ? bad[i].opened : PART("1"), &w, &err);
        assert_int_equal(sonde_status_exit_code(status), 3);
        if (!strstr(err.message, bad[i].message)) fail_msg("%zu: %s", i, err.message);
        assert_null(w);
    }
    assert_int_equal(system("rm -rf build/split"), 0);
}

/* Every allocation fails once: a clear end, nothing lost (the sanitizer sees). */
static void test_memory_may_end_anywhere(void **state)
{
    static const split_case good = {0};
    sonde_status status = SONDE_NO_MEMORY;
    (void)state;
    write_parts(&good);
    for (long n = 0; status != SONDE_OK && n < 10000; n++) {
        sonde_weights *w = NULL;
        sonde_alloc_fail_after(n);
        status = sonde_weights_open(PART("2"), &w, NULL);
        sonde_alloc_fail_after(-1);
        sonde_weights_close(&w);
    }
    assert_int_equal(status, SONDE_OK);
    assert_int_equal(system("rm -rf build/split"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_part_opens_all),
        cmocka_unit_test(test_parts_that_do_not_fit_are_named),
        cmocka_unit_test(test_memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
