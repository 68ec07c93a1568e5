/*
 * test_dequantised.c - a model of quantised weights computes the bits of the same model with its
 * weights dequantised beforehand: every kind that a GGUF file or a safetensors file may store, packed
 * and left in the file. In mode int it has bits of its own, one set of them.
 */
#include "support/captured.h"
#include "support/checkpoint_file.h"
#include "support/linear_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HIDDEN = 256, FFN = 256, HEADS = 2, HEAD = 8, VOCAB = 211, LAYERS = 3, MOST = FFN * HIDDEN };

static const char config[] =
    "{\"model_type\":\"llama\",\"vocab_size\":211,\"hidden_size\":256,\"intermediate_size\":256,"
    "\"num_hidden_layers\":3,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"
    "\"max_position_embeddings\":96,\"rms_norm_eps\":0.001,\"rope_theta\":10000.0,"
    "\"tie_word_embeddings\":false%s}";

/* ---- weights ------------------------------------------------------------------------------------------- */

typedef struct weight_name {
    const char *gguf, *folder;
    int64_t rows, cols;
    bool permuted; /* rows of a head interleaved in GGUF */
} weight_name;

static const weight_name of_layer[] = {
    {"blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", HEADS * HEAD, HIDDEN, true},
    {"blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", HEAD, HIDDEN, true},
    {"blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", HEAD, HIDDEN, false},
    {"blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", FFN, HIDDEN, false},
    {"blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", FFN, HIDDEN, false},
    {"blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", HIDDEN, FFN, false},
    {"blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", HIDDEN, HEADS * HEAD, false},
};
static const weight_name of_model[] = {
    {"token_embd.weight", "model.embed_tokens.weight", VOCAB, HIDDEN, false},
    {"output.weight", "lm_head.weight", VOCAB, HIDDEN, false},
};

/* A pair of checkpoints: one quantised (either form), one of plain fp32. */
typedef struct twins {
    test_random random;
    gguf_file gguf;
    safetensors_file scaled, plain;
    uint8_t raw[4 * MOST];
    float values[MOST], turned[MOST];
} twins;

/* A block of random bytes whose values are all in [-2, 2] and not all zero. */
static void random_block(twins *t, sonde_dtype dtype, uint8_t *block)
{
    float values[256];
    int64_t n = sonde_dtype_block_elements(dtype), bytes = sonde_dtype_block_bytes(dtype);
    for (bool good = false; !good;) {
        double sum = 0.0;
        for (int64_t i = 0; i < bytes; i++) block[i] = (uint8_t)test_random_u64(&t->random);
        if (dtype == SONDE_DTYPE_MXFP4) block[0] = (uint8_t)(120 + block[0] % 6);
        sonde_decode_f32(dtype, block, values, n);
        good = true;
        for (int64_t i = 0; i < n; i++) {
            good = good && fabsf(values[i]) <= 2.0f;
            sum += fabs((double)values[i]);
        }
        good = good && sum > 1e-3;
    }
}

static void random_matrix(twins *t, sonde_dtype dtype, int64_t n)
{
    int64_t block = sonde_dtype_block_elements(dtype), bytes = sonde_dtype_block_bytes(dtype);
    for (int64_t i = 0; i < n / block; i++) random_block(t, dtype, t->raw + i * bytes);
    sonde_decode_f32(dtype, t->raw, t->values, n);
}

/* Rows of each head from GGUF's order to Hugging Face's. */
static void unpermute(twins *t, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t within = r % HEAD, from = r - within + 2 * (within % (HEAD / 2)) + within / (HEAD / 2);
        memcpy(t->turned + r * cols, t->values + from * cols, (size_t)cols * sizeof *t->values);
    }
    memcpy(t->values, t->turned, (size_t)(rows * cols) * sizeof *t->values);
}

static void add_plain(twins *t, const char *name, const float *values, int64_t rows, int64_t cols)
{
    const int64_t shape[] = {rows, cols};
    safetensors_add(&t->plain, name, "F32", shape, cols > 0 ? 2 : 1, values,
                    (size_t)(rows * SONDE_MAX(cols, 1)) * sizeof *values);
}

static void add_norm(twins *t, const char *gguf, const char *folder)
{
    const int64_t shape[] = {HIDDEN};
    for (int64_t i = 0; i < HIDDEN; i++) t->values[i] = 1.0f + 0.1f * test_random_normal(&t->random);
    gguf_add_tensor(&t->gguf, gguf, 0, shape, 1, t->values, HIDDEN * sizeof *t->values);
    safetensors_add(&t->scaled, folder, "F32", shape, 1, t->values, HIDDEN * sizeof *t->values);
    add_plain(t, folder, t->values, HIDDEN, 0);
}

static void add_norms(twins *t)
{
    char gguf[64], folder[96];
    for (int layer = 0; layer < LAYERS; layer++) {
        snprintf(gguf, sizeof gguf, "blk.%d.attn_norm.weight", layer);
        snprintf(folder, sizeof folder, "model.layers.%d.input_layernorm.weight", layer);
        add_norm(t, gguf, folder);
        snprintf(gguf, sizeof gguf, "blk.%d.ffn_norm.weight", layer);
        snprintf(folder, sizeof folder, "model.layers.%d.post_attention_layernorm.weight", layer);
        add_norm(t, gguf, folder);
    }
    add_norm(t, "output_norm.weight", "model.norm.weight");
}

/* Calls `add` for every matrix of the model, the turn counting those with long rows. */
static void each_matrix(twins *t, void (*add)(twins *t, const weight_name *w, int layer, int turn))
{
    int turn = 0;
    for (size_t i = 0; i < SONDE_COUNT(of_model); i++) add(t, &of_model[i], -1, (int)i);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < SONDE_COUNT(of_layer); i++)
            add(t, &of_layer[i], layer, of_layer[i].cols == HIDDEN ? turn++ : layer);
}

static const char *layer_name(const char *pattern, int layer)
{
    static char name[96];
    const char *mark = strstr(pattern, "%d");
    if (!mark) return pattern;
    snprintf(name, sizeof name, "%.*s%d%s", (int)(mark - pattern), pattern, layer, mark + 2);
    return name;
}

/* ---- GGUF ---------------------------------------------------------------------------------------------- */

static const struct {
    sonde_dtype dtype;
    uint32_t type;
} block_kinds[] = {
    {SONDE_DTYPE_Q4_0, 2}, {SONDE_DTYPE_Q4_1, 3}, {SONDE_DTYPE_Q5_0, 6}, {SONDE_DTYPE_Q5_1, 7},
    {SONDE_DTYPE_Q8_0, 8}, {SONDE_DTYPE_Q2_K, 10}, {SONDE_DTYPE_Q3_K, 11}, {SONDE_DTYPE_Q4_K, 12},
    {SONDE_DTYPE_Q5_K, 13}, {SONDE_DTYPE_Q6_K, 14}, {SONDE_DTYPE_IQ4_NL, 20}, {SONDE_DTYPE_IQ4_XS, 23},
    {SONDE_DTYPE_TQ1_0, 34}, {SONDE_DTYPE_TQ2_0, 35}, {SONDE_DTYPE_MXFP4, 39}, {SONDE_DTYPE_F16, 1},
    {SONDE_DTYPE_BF16, 30}, {SONDE_DTYPE_F32, 0},
};

static void add_gguf(twins *t, const weight_name *w, int layer, int turn)
{
    const int64_t shape[] = {w->rows, w->cols};
    size_t n_kinds = SONDE_COUNT(block_kinds);
    /* rows of 16 hold no block: the last three kinds */
    size_t kind = w->cols == HIDDEN ? (size_t)turn % n_kinds : n_kinds - 3 + (size_t)turn % 3;
    sonde_dtype dtype = block_kinds[kind].dtype;
    random_matrix(t, dtype, w->rows * w->cols);
    gguf_add_tensor(&t->gguf, layer_name(w->gguf, layer), block_kinds[kind].type, shape, 2, t->raw,
                    sonde_dtype_bytes(dtype, w->rows * w->cols));
    if (w->permuted) unpermute(t, w->rows, w->cols);
    add_plain(t, layer_name(w->folder, layer), t->values, w->rows, w->cols);
}

static void describe_gguf(gguf_file *f)
{
    gguf_add_text(f, "general.architecture", "llama");
    gguf_add_u32(f, "llama.block_count", LAYERS);
    gguf_add_u32(f, "llama.context_length", 96);
    gguf_add_u32(f, "llama.embedding_length", HIDDEN);
    gguf_add_u32(f, "llama.feed_forward_length", FFN);
    gguf_add_u32(f, "llama.attention.head_count", HEADS);
    gguf_add_u32(f, "llama.attention.head_count_kv", 1);
    gguf_add_u32(f, "llama.attention.key_length", HEAD);
    gguf_add_u32(f, "llama.attention.value_length", HEAD);
    gguf_add_u32(f, "llama.rope.dimension_count", HEAD);
    gguf_add_f32(f, "llama.attention.layer_norm_rms_epsilon", 0.001f);
    gguf_add_f32(f, "llama.rope.freq_base", 10000.0f);
}

/* ---- safetensors in two parts ---------------------------------------------------------------------------- */

/* fp8 with blocks of 128 (lm_head and embeddings: bf16), every third matrix MXFP4. */
static void add_scaled(twins *t, const weight_name *w, int layer, int turn)
{
    const int64_t shape[] = {w->rows, w->cols};
    const char *name = layer_name(w->folder, layer);
    int64_t n = w->rows * w->cols;
    char part[128];
    if (layer < 0) {
        random_matrix(t, SONDE_DTYPE_BF16, n);
        safetensors_add(&t->scaled, name, "BF16", shape, 2, t->raw, (size_t)n * 2);
    } else if (turn % 3 == 2 && w->cols == HIDDEN) {
        const int64_t blocks[] = {w->rows, w->cols / 32, 16};
        random_matrix(t, SONDE_DTYPE_MXFP4, n);
        uint8_t *raw = t->raw + 2 * MOST; /* scale and nibbles apart, pairs instead of halves */
        for (int64_t b = 0; b < n / 32; b++)
            for (int j = 0; j < 16; j++) {
                const uint8_t *qs = t->raw + 17 * b + 1;
                int low = 2 * j < 16 ? qs[2 * j] & 15 : qs[2 * j - 16] >> 4;
                int high = 2 * j < 16 ? qs[2 * j + 1] & 15 : qs[2 * j - 15] >> 4;
                raw[16 * b + j] = (uint8_t)(low | high << 4);
                raw[n / 2 + b] = t->raw[17 * b];
            }
        snprintf(part, sizeof part, "%s_blocks", name);
        safetensors_add(&t->scaled, part, "U8", blocks, 3, raw, (size_t)n / 2);
        snprintf(part, sizeof part, "%s_scales", name);
        safetensors_add(&t->scaled, part, "U8", blocks, 2, raw + n / 2, (size_t)n / 32);
    } else {
        const int64_t blocks[] = {(w->rows + 127) / 128, (w->cols + 127) / 128};
        float scales[4];
        for (int i = 0; i < 4; i++) scales[i] = 0.03f + 0.02f * fabsf(test_random_normal(&t->random));
        random_matrix(t, SONDE_DTYPE_F8_E4M3, n);
        for (int64_t i = 0; i < n; i++)
            t->values[i] *= scales[i / w->cols / 128 * blocks[1] + i % w->cols / 128];
        safetensors_add(&t->scaled, name, "F8_E4M3", shape, 2, t->raw, (size_t)n);
        snprintf(part, sizeof part, "%s_scale_inv", name);
        safetensors_add(&t->scaled, part, "F32", blocks, 2, scales,
                        (size_t)(blocks[0] * blocks[1]) * sizeof *scales);
    }
    add_plain(t, name, t->values, w->rows, w->cols);
}

/* ---- comparing ------------------------------------------------------------------------------------------- */

static sonde_model *open_model(const char *path, uint32_t off)
{
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.threads = 2, .off = off};
    if (sonde_model_open(path, &options, &model, &err) != SONDE_OK) fail_msg("%s", err.message);
    return model;
}

static sonde_model *open_integers(const char *path, const char *level, uint32_t off)
{
    sonde_model *model = NULL;
    sonde_error err = {0};
    sonde_model_options options = {.threads = 2, .off = off, .cpu_level = level, .mode = "int"};
    if (sonde_model_open(path, &options, &model, &err) != SONDE_OK) fail_msg("%s", err.message);
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    assert_string_equal(info.mode, "int");
    assert_false(info.exact);
    return model;
}

/* Mode int has bits of its own, the same for every level, split and switch. */
static void compare_integers(const char *quantised)
{
    static const struct {
        const char *level;
        uint32_t off;
        run_case how;
    } ways[] = {
        {NULL, 0, {.name = "one thread, chunks of 7", .chunk = 7, .batch_tokens = 31}},
        {NULL, 0, {.name = "two workers, one sequence each", .workers = 2, .batch_sequences = 1}},
        {NULL, SONDE_OFF_PACK, {.name = "left in the file", .chunk = 23, .threads = 2}},
        {NULL, SONDE_OFF_QUANT, {.name = "no widening", .threads = 2}},
        {NULL, 0, {.name = "no optimisations", .off = SONDE_OFF_DROP | SONDE_OFF_FUSE | SONDE_OFF_NARROW |
                                                      SONDE_OFF_ALIAS}},
        {"avx2", 0, {.name = "avx2"}},
        {"scalar", 0, {.name = "scalar", .threads = 2}},
    };
    captured want, exact, got;
    sonde_error err = {0};
    sonde_model *model = open_integers(quantised, NULL, 0), *other = open_model(quantised, 0);
    if (captured_run(model, &(run_case){.name = "int"}, &want, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    if (captured_run(other, &(run_case){.name = "exact"}, &exact, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    assert_true(captured_differences(model, &want, &exact, "int beside exact, as it should be") > 0);
    captured_reset(&exact);
    sonde_model_close(&other);
    for (size_t i = 0; i < SONDE_COUNT(ways); i++) {
        other = open_integers(quantised, ways[i].level, ways[i].off);
        if (captured_run(other, &ways[i].how, &got, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(captured_differences(model, &want, &got, ways[i].how.name), 0);
        captured_reset(&got);
        sonde_model_close(&other);
    }
    captured_reset(&want);
    sonde_model_close(&model);
}

/* Where it would change nothing it is refused. */
static void refuse_integers(const char *plain)
{
    static const char *const backends[] = {"cpu", "blas", "oracle"};
    static const char *const words[] = {"it stores f32", "backend blas has no", "backend oracle has no"};
    for (size_t i = 0; i < SONDE_COUNT(backends); i++) {
        sonde_model *model = NULL;
        sonde_error err = {0};
        sonde_model_options options = {.backend = backends[i], .mode = "int", .measure = true};
        assert_int_equal(sonde_model_open(plain, &options, &model, &err), SONDE_UNSUPPORTED);
        assert_non_null(strstr(err.message, words[i]));
    }
}

static void compare(const char *plain, const char *quantised)
{
    static const run_case how = {.name = "quantised", .chunk = 23, .threads = 2};
    static const uint32_t switches[] = {0, SONDE_OFF_PACK, SONDE_OFF_QUANT};
    captured want, got;
    sonde_error err = {0};
    sonde_model *model = open_model(plain, 0);
    if (captured_run(model, &how, &want, &err) != SONDE_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < SONDE_COUNT(switches); i++) {
        sonde_model *other = open_model(quantised, switches[i]);
        sonde_model_info info;
        sonde_model_info_get(other, &info);
        assert_int_equal(info.packed_bytes == 0, i == 1);
        assert_int_equal(info.mapped_bytes == 0, i != 1);
        if (captured_run(other, &how, &got, &err) != SONDE_OK) fail_msg("%s", err.message);
        assert_int_equal(captured_differences(model, &want, &got, quantised), 0);
        captured_reset(&got);
        sonde_model_close(&other);
    }
    captured_reset(&want);
    sonde_model_close(&model);
}

static twins *make_twins(void)
{
    twins *t = sonde_alloc(1, sizeof *t);
    assert_non_null(t);
    t->random.state = 77;
    return t;
}

static void write_config(const char *folder, const char *more)
{
    char path[96], text[512];
    snprintf(path, sizeof path, "mkdir -p %s", folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    snprintf(text, sizeof text, config, more);
    write_file_text(path, text);
}

static void clear(void)
{
    assert_int_equal(system("rm -rf build/dequantised"), 0);
}

static void test_gguf_blocks_are_their_dequantised_values(void **state)
{
    (void)state;
    twins *t = make_twins();
    write_config("build/dequantised/plain", "");
    describe_gguf(&t->gguf);
    add_norms(t);
    each_matrix(t, add_gguf);
    gguf_write(&t->gguf, "build/dequantised/blocks.gguf");
    safetensors_write(&t->plain, "build/dequantised/plain/model.safetensors");
    sonde_string_reset(&t->scaled.header);
    sonde_string_reset(&t->scaled.data);
    sonde_free(t);
    compare("build/dequantised/plain", "build/dequantised/blocks.gguf");
    compare_integers("build/dequantised/blocks.gguf");
    refuse_integers("build/dequantised/plain");
    clear();
}

static void test_scaled_tensors_are_their_dequantised_values(void **state)
{
    (void)state;
    twins *t = make_twins();
    write_config("build/dequantised/plain", "");
    write_config("build/dequantised/scaled", ",\"quantization_config\":{\"quant_method\":\"fp8\"}");
    add_norms(t);
    each_matrix(t, add_scaled);
    safetensors_write(&t->scaled, "build/dequantised/scaled/model.safetensors");
    safetensors_write(&t->plain, "build/dequantised/plain/model.safetensors");
    sonde_string_reset(&t->gguf.infos);
    sonde_string_reset(&t->gguf.data);
    sonde_free(t);
    compare("build/dequantised/plain", "build/dequantised/scaled");
    clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_blocks_are_their_dequantised_values),
        cmocka_unit_test(test_scaled_tensors_are_their_dequantised_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
