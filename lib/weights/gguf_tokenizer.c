/* gguf_tokenizer.c - the vocabulary of a GGUF file as plain, checked arrays. */
#include "container.h"

#include <string.h>

typedef struct strings {
    char *bytes; /* all texts, each with its NUL */
    const char **texts;
    size_t *lengths;
} strings;

typedef struct vocabulary_arrays {
    strings tokens, merges;
    float *scores;
    int32_t *types;
    char *model, *pre;
} vocabulary_arrays;

static void reset_strings(strings *s)
{
    sonde_free(s->bytes);
    sonde_free(s->texts);
    sonde_free(s->lengths);
}

static void reset_arrays(vocabulary_arrays *a)
{
    reset_strings(&a->tokens);
    reset_strings(&a->merges);
    sonde_free(a->scores);
    sonde_free(a->types);
    sonde_free(a->model);
    sonde_free(a->pre);
}

static sonde_status expect_array(const sonde_gguf *gguf, const gguf_value *value,
                                 const char *expected, bool good, sonde_error *err)
{
    if (value->kind == GGUF_ARRAY && good) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: metadata key %.*s: expected an array of %s",
                      gguf_file(gguf), (int)value->key_bytes, value->key, expected);
}

static sonde_status copy_strings(const sonde_gguf *gguf, const gguf_value *value, strings *out,
                                 sonde_error *err)
{
    size_t total = 0, n;
    const char *text;
    const uint8_t *at = NULL;
    SONDE_TRY(expect_array(gguf, value, "texts", value->element == GGUF_STRING, err));
    for (uint64_t i = 0; i < value->count; i++) {
        gguf_next_string(value, &at, &text, &n);
        total += n + 1;
    }
    out->bytes = sonde_alloc(total + 1, 1);
    out->texts = sonde_alloc((size_t)value->count + 1, sizeof *out->texts);
    out->lengths = sonde_alloc((size_t)value->count + 1, sizeof *out->lengths);
    if (!out->bytes || !out->texts || !out->lengths)
        return sonde_no_memory(err, gguf_file(gguf), total);
    char *to = out->bytes;
    at = NULL;
    for (uint64_t i = 0; i < value->count; i++) {
        gguf_next_string(value, &at, &text, &n);
        memcpy(to, text, n);
        out->texts[i] = to;
        out->lengths[i] = n;
        to += n + 1;
    }
    return SONDE_OK;
}

static sonde_status check_count(const sonde_gguf *gguf, const gguf_value *value, int64_t expected,
                                sonde_error *err)
{
    if (value->count == (uint64_t)expected) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_TOKENIZER,
                      "%s: metadata key %.*s: expected %lld values as there are tokens, got %llu",
                      gguf_file(gguf), (int)value->key_bytes, value->key, (long long)expected,
                      (unsigned long long)value->count);
}

static sonde_status read_scores(const sonde_gguf *gguf, int64_t n_tokens, float **out,
                                sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, "tokenizer.ggml.scores");
    if (!value) return SONDE_OK;
    SONDE_TRY(expect_array(gguf, value, "f32", value->element == GGUF_F32, err));
    SONDE_TRY(check_count(gguf, value, n_tokens, err));
    *out = sonde_alloc((size_t)n_tokens, sizeof **out);
    if (!*out) return sonde_no_memory(err, gguf_file(gguf), (size_t)n_tokens * sizeof **out);
    memcpy(*out, value->data, (size_t)n_tokens * sizeof **out);
    return SONDE_OK;
}

static sonde_status read_types(const sonde_gguf *gguf, int64_t n_tokens, int32_t **out,
                               sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, "tokenizer.ggml.token_type");
    if (!value) return SONDE_OK;
    bool good = value->element == GGUF_I32 || value->element == GGUF_U32;
    SONDE_TRY(expect_array(gguf, value, "i32", good, err));
    SONDE_TRY(check_count(gguf, value, n_tokens, err));
    *out = sonde_alloc((size_t)n_tokens, sizeof **out);
    if (!*out) return sonde_no_memory(err, gguf_file(gguf), (size_t)n_tokens * sizeof **out);
    memcpy(*out, value->data, (size_t)n_tokens * sizeof **out);
    return SONDE_OK;
}

/* A merge is two pieces around one space. */
static sonde_status read_merges(const sonde_gguf *gguf, strings *out, int64_t *count,
                                sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, "tokenizer.ggml.merges");
    if (!value) return SONDE_OK;
    SONDE_TRY(copy_strings(gguf, value, out, err));
    *count = (int64_t)value->count;
    for (int64_t i = 0; i < *count; i++) {
        const char *space =
            memchr(out->texts[i] + 1, ' ', out->lengths[i] ? out->lengths[i] - 1 : 0);
        if (space && space + 1 < out->texts[i] + out->lengths[i]) continue;
        char shown[SONDE_PRINTABLE_BYTES];
        return sonde_fail(err, SONDE_BAD_TOKENIZER,
                          "%s: merge %lld '%s': expected two pieces with a space between",
                          gguf_file(gguf), (long long)i,
                          sonde_printable(out->texts[i], out->lengths[i], shown));
    }
    return SONDE_OK;
}

static sonde_status read_text(const sonde_gguf *gguf, const char *key, char **out, sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, key);
    if (!value) return SONDE_OK;
    if (value->kind != GGUF_STRING)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: metadata key %s: expected a text, got %s",
                          gguf_file(gguf), key, gguf_kind_name(value->kind));
    char shown[SONDE_PRINTABLE_BYTES];
    *out = sonde_strdup(sonde_printable((const char *)value->data, (size_t)value->count, shown));
    return *out ? SONDE_OK : sonde_no_memory(err, key, (size_t)value->count);
}

static sonde_status read_id(const sonde_gguf *gguf, const char *key, int64_t n_tokens, int64_t *out,
                            sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, key);
    *out = -1;
    if (!value) return SONDE_OK;
    if (gguf_integer(value, 0, out) && *out >= 0 && *out < n_tokens) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_TOKENIZER,
                      "%s: metadata key %s: expected the id of one of %lld tokens, got %lld",
                      gguf_file(gguf), key, (long long)n_tokens, (long long)*out);
}

static int32_t read_flag(const sonde_gguf *gguf, const char *key)
{
    const gguf_value *value = gguf_find(gguf, key);
    int64_t flag;
    if (!value || !gguf_integer(value, 0, &flag)) return -1;
    return flag != 0;
}

static sonde_status read_tokens(const sonde_gguf *gguf, strings *out, int64_t *count,
                                sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, "tokenizer.ggml.tokens");
    if (!value)
        return sonde_fail(err, SONDE_BAD_TOKENIZER,
                          "%s: no tokenizer: no metadata key tokenizer.ggml.tokens",
                          gguf_file(gguf));
    SONDE_TRY(copy_strings(gguf, value, out, err));
    *count = (int64_t)value->count;
    if (*count > 0) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: the vocabulary has no tokens",
                      gguf_file(gguf));
}

static sonde_status read_vocabulary(const sonde_gguf *gguf, vocabulary_arrays *a,
                                    sonde_vocabulary *v, sonde_error *err)
{
    SONDE_TRY(read_tokens(gguf, &a->tokens, &v->n_tokens, err));
    SONDE_TRY(read_scores(gguf, v->n_tokens, &a->scores, err));
    SONDE_TRY(read_types(gguf, v->n_tokens, &a->types, err));
    SONDE_TRY(read_merges(gguf, &a->merges, &v->n_merges, err));
    SONDE_TRY(read_text(gguf, "tokenizer.ggml.model", &a->model, err));
    SONDE_TRY(read_text(gguf, "tokenizer.ggml.pre", &a->pre, err));
    SONDE_TRY(read_id(gguf, "tokenizer.ggml.bos_token_id", v->n_tokens, &v->bos_id, err));
    SONDE_TRY(read_id(gguf, "tokenizer.ggml.eos_token_id", v->n_tokens, &v->eos_id, err));
    SONDE_TRY(read_id(gguf, "tokenizer.ggml.unknown_token_id", v->n_tokens, &v->unknown_id, err));
    if (!a->model)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: no metadata key tokenizer.ggml.model",
                          gguf_file(gguf));
    v->model = a->model;
    v->pre = a->pre;
    v->tokens = a->tokens.texts;
    v->token_bytes = a->tokens.lengths;
    v->scores = a->scores;
    v->types = a->types;
    v->merges = a->merges.texts;
    v->merge_bytes = a->merges.lengths;
    v->add_bos = read_flag(gguf, "tokenizer.ggml.add_bos_token");
    v->add_eos = read_flag(gguf, "tokenizer.ggml.add_eos_token");
    v->add_space_prefix = read_flag(gguf, "tokenizer.ggml.add_space_prefix");
    return SONDE_OK;
}

sonde_status sonde_gguf_tokenizer(const sonde_gguf *gguf, sonde_tokenizer **tokenizer,
                                  sonde_error *err)
{
    vocabulary_arrays arrays = {0};
    sonde_vocabulary vocabulary = {0};
    *tokenizer = NULL;
    sonde_status status = read_vocabulary(gguf, &arrays, &vocabulary, err);
    if (status == SONDE_OK) {
        status = sonde_tokenizer_create(&vocabulary, tokenizer, err);
        if (status != SONDE_OK) sonde_error_prefix(err, "%s", gguf_file(gguf));
    }
    reset_arrays(&arrays);
    return status;
}

sonde_status sonde_gguf_chat(const sonde_gguf *gguf, const sonde_tokenizer *tokenizer,
                             sonde_chat **chat, sonde_error *err)
{
    const gguf_value *value = gguf_find(gguf, "tokenizer.chat_template");
    if (!value || value->kind != GGUF_STRING)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: this model has no chat template (no metadata key "
                          "tokenizer.chat_template); render the conversation elsewhere and give it as "
                          "\"text\"", gguf_file(gguf));
    sonde_status status = sonde_chat_create((const char *)value->data, (size_t)value->count, tokenizer,
                                            chat, err);
    return status == SONDE_OK ? status : sonde_error_prefix(err, "%s", gguf_file(gguf));
}
