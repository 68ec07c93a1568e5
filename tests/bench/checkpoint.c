#include "checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const bench_shape bench_smollm2 = {30, 576, 9, 3, 1536, 49152};

typedef struct writer {
    FILE *file;      /* NULL: the header is being made */
    char *header;
    size_t length, bytes; /* of the header, and of the data so far */
    uint64_t random;
} writer;

static const char config[] =
    "{\"model_type\": \"llama\", \"num_hidden_layers\": %lld, \"hidden_size\": %lld,\n"
    " \"num_attention_heads\": %lld, \"num_key_value_heads\": %lld, \"intermediate_size\": %lld,\n"
    " \"vocab_size\": %lld, \"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-5,\n"
    " \"rope_theta\": 100000.0, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true}\n";

/* Uniform of variance 1 / cols, so that activations keep their size. */
static void write_values(writer *w, int64_t n, float size)
{
    float block[1024];
    while (n > 0) {
        int64_t count = SONDE_MIN(n, 1024);
        for (int64_t i = 0; i < count; i++) {
            w->random = w->random * 6364136223846793005u + 1442695040888963407u;
            block[i] = size * ((float)(w->random >> 40) * 0x1p-23f - 1.0f);
        }
        fwrite(block, sizeof *block, (size_t)count, w->file);
        n -= count;
    }
}

/* cols 0: a vector near one. */
static void tensor(writer *w, const char *name, int64_t rows, int64_t cols)
{
    int64_t n = rows * (cols ? cols : 1);
    if (w->file) {
        write_values(w, n, cols ? 1.7f / sqrtf((float)cols) : 1.0f);
        return;
    }
    char shape[48];
    if (cols) snprintf(shape, sizeof shape, "[%lld,%lld]", (long long)rows, (long long)cols);
    else snprintf(shape, sizeof shape, "[%lld]", (long long)rows);
    size_t end = w->bytes + (size_t)n * 4;
    w->length += (size_t)sprintf(
        w->header + w->length, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
        w->bytes ? "," : "{", name, shape, w->bytes, end);
    w->bytes = end;
}

static void layer_tensor(writer *w, int64_t layer, const char *name, int64_t rows, int64_t cols)
{
    char full[96];
    snprintf(full, sizeof full, "model.layers.%lld.%s.weight", (long long)layer, name);
    tensor(w, full, rows, cols);
}

static void tensors(writer *w, const bench_shape *s)
{
    int64_t kv = s->hidden / s->heads * s->kv_heads;
    tensor(w, "model.embed_tokens.weight", s->vocab, s->hidden);
    for (int64_t i = 0; i < s->layers; i++) {
        layer_tensor(w, i, "input_layernorm", s->hidden, 0);
        layer_tensor(w, i, "self_attn.q_proj", s->hidden, s->hidden);
        layer_tensor(w, i, "self_attn.k_proj", kv, s->hidden);
        layer_tensor(w, i, "self_attn.v_proj", kv, s->hidden);
        layer_tensor(w, i, "self_attn.o_proj", s->hidden, s->hidden);
        layer_tensor(w, i, "post_attention_layernorm", s->hidden, 0);
        layer_tensor(w, i, "mlp.gate_proj", s->ffn, s->hidden);
        layer_tensor(w, i, "mlp.up_proj", s->ffn, s->hidden);
        layer_tensor(w, i, "mlp.down_proj", s->hidden, s->ffn);
    }
    tensor(w, "model.norm.weight", s->hidden, 0);
}

static bool write_config(const char *folder, const bench_shape *s)
{
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "we");
    if (!file) return false;
    fprintf(file, config, (long long)s->layers, (long long)s->hidden, (long long)s->heads,
            (long long)s->kv_heads, (long long)s->ffn, (long long)s->vocab);
    return fclose(file) == 0;
}

static bool write_tensors(const char *path, const bench_shape *s)
{
    writer w = {.random = 1};
    w.header = malloc((size_t)(s->layers * 9 + 2) * 200);
    w.file = NULL;
    if (!w.header) return false;
    tensors(&w, s);
    w.header[w.length++] = '}';
    while (w.length % 8 != 0) w.header[w.length++] = ' ';
    w.file = fopen(path, "we");
    bool good = w.file != NULL;
    if (good) {
        uint64_t length = w.length;
        fwrite(&length, sizeof length, 1, w.file);
        fwrite(w.header, 1, w.length, w.file);
        tensors(&w, s);
        good = !ferror(w.file);
        good = fclose(w.file) == 0 && good;
    }
    free(w.header);
    return good;
}

bool bench_checkpoint(const char *folder, const bench_shape *shape)
{
    char path[512], part[520], command[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(part, sizeof part, "%s.part", path);
    if (stat(path, &st) == 0) return true;
    snprintf(command, sizeof command, "mkdir -p '%s'", folder);
    fprintf(stderr, "writing a checkpoint of random weights to %s\n", folder);
    if (system(command) == 0 && write_config(folder, shape) && write_tensors(part, shape) &&
        rename(part, path) == 0)
        return true;
    fprintf(stderr, "%s: cannot write a checkpoint\n", folder);
    return false;
}
