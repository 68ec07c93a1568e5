/*
 * test_off_switches.c - the table of --off, walked: every switch leaves every byte of what a capture
 * file holds as it is, alone and with all others, and is told in lib/run/README.md.
 *
 * A new line of SONDE_OFF_LIST is covered without a change here. Models: dense, experts, a sliding
 * window, latent attention, and blocks of 4 to 8 bits in a GGUF file. Prompts begin alike for more
 * than a page of the cache and go on with generated tokens, or not, so that logits are made for
 * their hook alone; rows are wanted all, and so few that most may be skipped.
 */
#include "sonde/model.h"
#include "support/checkpoint_file.h"
#include "support/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PROMPTS "build/off_switches.jsonl"
#define STILL "build/off_switches_still.jsonl"
#define BLOCKS "build/off_switches.gguf"
enum { HIDDEN = 64, FFN = 96, HEAD = 16, VOCAB = 67, LAYERS = 2, COMMON = 66 };

static const struct {
    const char *name, *help;
    uint32_t bit;
} switches[] = {
#define SWITCH(name, bit, text, help) {text, help, SONDE_OFF_##name},
    SONDE_OFF_LIST(SWITCH)
#undef SWITCH
};

static const char *const models[] = {"data/model",
                                     "tests/goldens/families/llama",
                                     "tests/goldens/families/qwen2_sliding",
                                     "tests/goldens/families/gpt_oss",
                                     "tests/goldens/families/qwen3_moe",
                                     "tests/goldens/families/deepseek_v2",
                                     BLOCKS};

/* ---- a model of blocks ----------------------------------------------------------------------- */

/* A matrix of blocks of 32: a scale (Q4_1: and a least value) in f16, then the whole numbers. */
static void add_matrix(gguf_file *f, uint32_t *state, const char *name, int64_t rows, int64_t cols,
                       uint32_t type)
{
    enum { Q4_1 = 3 };
    const int64_t shape[] = {rows, cols};
    size_t head = type == Q4_1 ? 4 : 2, body = type == Q4_1 ? 16 : 32;
    const uint8_t scales[4] = {0x1e, type == Q4_1 ? 0x2c : 0x18, 0x1e,
                               0xb8}; /* 0.06, 0.002; -0.5 */
    sonde_string bytes = {0};
    for (int64_t i = 0; i < rows * cols / 32; i++) {
        char numbers[32];
        for (size_t j = 0; j < body; j++) {
            *state = *state * 1664525u + 1013904223u;
            numbers[j] = (char)(*state >> 24);
        }
        sonde_string_append(&bytes, (const char *)scales, head);
        sonde_string_append(&bytes, numbers, body);
    }
    gguf_add_tensor(f, name, type, shape, 2, bytes.data, bytes.length);
    sonde_string_reset(&bytes);
}

static void add_layer(gguf_file *f, uint32_t *state, int layer, const float *ones)
{
    enum { Q4_1 = 3, Q8_0 = 8, F32 = 0 };
    static const struct {
        const char *name;
        int64_t rows, cols;
        uint32_t type;
    } parts[] = {{"attn_q", 2 * HEAD, HIDDEN, Q4_1}, {"attn_k", HEAD, HIDDEN, Q8_0},
                 {"attn_v", HEAD, HIDDEN, Q4_1},     {"attn_output", HIDDEN, 2 * HEAD, Q8_0},
                 {"ffn_gate", FFN, HIDDEN, Q4_1},    {"ffn_up", FFN, HIDDEN, Q4_1},
                 {"ffn_down", HIDDEN, FFN, Q8_0}};
    const int64_t width[] = {HIDDEN};
    char name[48];
    for (size_t i = 0; i < SONDE_COUNT(parts); i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].name);
        add_matrix(f, state, name, parts[i].rows, parts[i].cols, parts[i].type);
    }
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
    gguf_add_tensor(f, name, F32, width, 1, ones, HIDDEN * sizeof *ones);
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
    gguf_add_tensor(f, name, F32, width, 1, ones, HIDDEN * sizeof *ones);
}

static void write_blocks(void)
{
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"llama.block_count", LAYERS},         {"llama.context_length", 128},
                   {"llama.embedding_length", HIDDEN},    {"llama.feed_forward_length", FFN},
                   {"llama.attention.head_count", 2},     {"llama.attention.head_count_kv", 1},
                   {"llama.rope.dimension_count", HEAD},  {"llama.attention.key_length", HEAD},
                   {"llama.attention.value_length", HEAD}};
    const int64_t width[] = {HIDDEN};
    gguf_file f = {0};
    float ones[HIDDEN];
    uint32_t state = 3;
    for (int i = 0; i < HIDDEN; i++) ones[i] = 1.0f;
    gguf_add_text(&f, "general.architecture", "llama");
    for (size_t i = 0; i < SONDE_COUNT(numbers); i++)
        gguf_add_u32(&f, numbers[i].key, numbers[i].value);
    gguf_add_f32(&f, "llama.attention.layer_norm_rms_epsilon", 0.001f);
    gguf_add_f32(&f, "llama.rope.freq_base", 10000.0f);
    add_matrix(&f, &state, "token_embd.weight", VOCAB, HIDDEN, 8);
    for (int layer = 0; layer < LAYERS; layer++) add_layer(&f, &state, layer, ones);
    gguf_add_tensor(&f, "output_norm.weight", 0, width, 1, ones, sizeof ones);
    gguf_write(&f, BLOCKS);
}

/* ---- captures -------------------------------------------------------------------------------- */

static void add_tokens(sonde_string *text, uint32_t state, int n, const char *before)
{
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        sonde_string_format(text, "%s%u", i ? ", " : before, 1 + (state >> 16) % 60);
    }
}

/* Four that begin with COMMON tokens alike, one of nothing else, two of their own: at most 72
 * tokens, the context of the goldens. */
static void write_prompts(const char *path, bool generate)
{
    static const struct {
        int common, own, more;
    } prompts[] = {{COMMON, 3, 2}, {COMMON, 1, 3}, {0, 9, 4},     {COMMON, 2, 0},
                   {COMMON, 0, 1}, {0, 1, 6},      {COMMON, 3, 3}};
    sonde_string text = {0};
    for (size_t i = 0; i < SONDE_COUNT(prompts); i++) {
        sonde_string_text(&text, "{\"tokens\": [");
        add_tokens(&text, 7, prompts[i].common, "");
        add_tokens(&text, 100 + (uint32_t)i, prompts[i].own, prompts[i].common ? ", " : "");
        if (generate) sonde_string_format(&text, "], \"max_new_tokens\": %d}\n", prompts[i].more);
        else sonde_string_text(&text, "]}\n");
    }
    write_text_file(path, text.data);
    sonde_string_reset(&text);
}

/* What is wanted of a run. */
typedef struct wish {
    const char *points, *rows, *prompts;
} wish;
static const wish wishes[] = {{"*", "all", PROMPTS},
                              {"blocks.*.resid_post", "last:2", PROMPTS},
                              {"blocks.*.{attn.k,resid_post}", "first:1|last:1", PROMPTS},
                              {"blocks.0.attn.z,blocks.-1.mlp.out", "generated", PROMPTS},
                              {"logits", "last:2", STILL},
                              {"blocks.0.attn.pattern,logits", "all", STILL}};

static void capture(const char *model, const wish *w, const char *off, const char *workers,
                    char hex[33])
{
    const char *words[] = {"--points",  w->points, "--rows",    w->rows, "--temperature", "0.7",
                           "--workers", workers,   "--threads", "1",     "--off",         off};
    sonde_job_summary summary;
    sonde_error err = {0};
    if (job_capture(model, w->prompts, "build/off_switches.h5", words, SONDE_COUNT(words), &summary,
                    &err) != SONDE_OK)
        fail_msg("%s --off %s: %s", model, off, err.message);
    capture_hash("build/off_switches.h5", hex);
}

static int check(const char *model, const wish *w, const char *off, const char *workers,
                 const char *plainest)
{
    char hex[33];
    capture(model, w, off, workers, hex);
    if (strcmp(hex, plainest) == 0) return 0;
    print_error("%s: %s of rows %s differ with --off '%s' and %s workers\n", model, w->points,
                w->rows, off, workers);
    return 1;
}

static int check_model(const char *model, const wish *w)
{
    char plainest[33];
    capture(model, w, "all", "1", plainest);
    int bad = check(model, w, "", "1", plainest) + check(model, w, "", "2", plainest);
    for (size_t i = 0; i < SONDE_COUNT(switches); i++) {
        sonde_string others = {0};
        for (size_t j = 0; j < SONDE_COUNT(switches); j++)
            if (j != i)
                sonde_string_format(&others, "%s%s", others.length ? "," : "", switches[j].name);
        bad += check(model, w, switches[i].name, i % 2 ? "1" : "2", plainest);
        if (w == wishes) bad += check(model, w, others.data, i % 2 ? "2" : "1", plainest);
        sonde_string_reset(&others);
    }
    return bad;
}

static void test_no_switch_changes_a_byte(void **state)
{
    int bad = 0;
    (void)state;
    write_prompts(PROMPTS, true);
    write_prompts(STILL, false);
    write_blocks();
    for (size_t m = 0; m < SONDE_COUNT(models); m++)
        for (size_t w = 0; w < SONDE_COUNT(wishes); w++) bad += check_model(models[m], &wishes[w]);
    assert_int_equal(bad, 0);
}

/* ---- the table itself ------------------------------------------------------------------------ */

static void test_the_table_is_sound_and_documented(void **state)
{
    static char readme[1 << 16];
    uint32_t all = 0;
    (void)state;
    FILE *file = fopen("lib/run/README.md", "rb");
    assert_non_null(file);
    readme[fread(readme, 1, sizeof readme - 1, file)] = '\0';
    fclose(file);
    for (size_t i = 0; i < SONDE_COUNT(switches); i++) {
        char quoted[48];
        snprintf(quoted, sizeof quoted, "| `%s` |", switches[i].name);
        if (!strstr(readme, quoted)) fail_msg("lib/run/README.md: no row %s", quoted);
        assert_int_equal(all & switches[i].bit, 0);
        assert_true(switches[i].help[0] != '\0');
        all |= switches[i].bit;
    }
    assert_int_equal(all, SONDE_OFF_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_is_sound_and_documented),
        cmocka_unit_test(test_no_switch_changes_a_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
