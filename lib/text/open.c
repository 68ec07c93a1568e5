/* open.c - tokenizers of folders (tokenizer.json, or vocab.json with merges.txt) and of GGUF. */
#include "text_internal.h"

#include <string.h>

#define MAX_FILE ((size_t)512 << 20)

static sonde_status create(sonde_tokenizer **out, sonde_error *err)
{
    *out = sonde_alloc(1, sizeof **out);
    if (!*out) return sonde_no_memory(err, "a tokenizer", sizeof **out);
    (*out)->bos = (*out)->eos = -1;
    return SONDE_OK;
}

/* ---- tokenizer_config.json -------------------------------------------------------------------------------- */

/* bos_token and the like are a text or {"content": text}; -1 when absent or unknown. */
static int64_t named_id(const sonde_tokenizer *t, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_string(value) ? sonde_tokenizer_find(t, json_string_value(value)) : -1;
}

static sonde_status read_tokenizer_config(sonde_tokenizer *t, const char *folder, sonde_error *err)
{
    char *path = sonde_path_join(folder, "tokenizer_config.json");
    if (!path) return sonde_no_memory(err, "a path", strlen(folder));
    json_t *root = NULL;
    sonde_status status = SONDE_OK;
    if (sonde_path_exists(path))
        status = sonde_json_load_flags(path, MAX_FILE, JSON_DECODE_INT_AS_REAL, SONDE_BAD_TOKENIZER,
                                       &root, err);
    if (root) {
        t->bos = named_id(t, root, "bos_token");
        t->eos = named_id(t, root, "eos_token");
    }
    if (t->bos < 0 && t->n_prefix > 0) t->bos = t->prefix[0];
    json_decref(root);
    sonde_free(path);
    return status;
}

/* ---- vocab.json with merges.txt --------------------------------------------------------------------------- */

/* merges.txt as the list that tokenizer.json would hold: comment lines left out. */
static json_t *merges_list(char *text)
{
    json_t *list = json_array();
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r') line[n - 1] = '\0';
        if (*line && strncmp(line, "#version", 8) != 0) json_array_append_new(list, json_string(line));
    }
    return list;
}

/* GPT-2's files say nothing of their special token: it is the piece of this name. */
static void add_end_of_text(json_t *root, const json_t *vocab)
{
    const json_t *id = json_object_get(vocab, "<|endoftext|>");
    json_t *added = json_array();
    if (id)
        json_array_append_new(added, json_pack("{s:I, s:s, s:b}", "id", json_integer_value(id),
                                               "content", "<|endoftext|>", "special", 1));
    json_object_set_new(root, "added_tokens", added);
}

static sonde_status load_pair(sonde_tokenizer *t, const char *vocab_path, const char *merges_path,
                              sonde_error *err)
{
    json_t *vocab = NULL;
    char *text = NULL;
    size_t bytes;
    sonde_status status = sonde_json_load(vocab_path, MAX_FILE, SONDE_BAD_TOKENIZER, &vocab, err);
    if (status == SONDE_OK) status = sonde_read_file(merges_path, MAX_FILE, &text, &bytes, err);
    if (status == SONDE_OK) {
        json_t *root = json_pack("{s:{s:s, s:b}, s:{s:s}, s:{s:O, s:o}}", "pre_tokenizer", "type",
                                 "ByteLevel", "add_prefix_space", 0, "decoder", "type", "ByteLevel",
                                 "model", "vocab", vocab, "merges", merges_list(text));
        if (root) {
            add_end_of_text(root, vocab);
            status = sonde_tokenizer_load_json(t, root, vocab_path, err);
        } else {
            status = sonde_no_memory(err, vocab_path, bytes);
        }
        json_decref(root);
    }
    json_decref(vocab);
    sonde_free(text);
    if (status == SONDE_OK) t->bos = t->eos = sonde_tokenizer_find(t, "<|endoftext|>");
    return status;
}

static sonde_status load_folder(sonde_tokenizer *t, const char *folder, sonde_error *err)
{
    char *json = sonde_path_join(folder, "tokenizer.json");
    char *vocab = sonde_path_join(folder, "vocab.json");
    char *merges = sonde_path_join(folder, "merges.txt");
    sonde_status status;
    json_t *root = NULL;
    if (!json || !vocab || !merges) {
        status = sonde_no_memory(err, "a path", strlen(folder));
    } else if (sonde_path_exists(json)) {
        status = sonde_json_load(json, MAX_FILE, SONDE_BAD_TOKENIZER, &root, err);
        if (status == SONDE_OK) status = sonde_tokenizer_load_json(t, root, json, err);
        if (status == SONDE_OK) status = read_tokenizer_config(t, folder, err);
    } else if (sonde_path_exists(vocab) && sonde_path_exists(merges)) {
        status = load_pair(t, vocab, merges, err);
    } else {
        status = sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: no tokenizer.json, and no vocab.json with "
                            "merges.txt", folder);
    }
    json_decref(root);
    sonde_free(json);
    sonde_free(vocab);
    sonde_free(merges);
    return status;
}

sonde_status sonde_tokenizer_open(const char *folder, sonde_tokenizer **tokenizer, sonde_error *err)
{
    sonde_tokenizer *t;
    SONDE_TRY(create(&t, err));
    sonde_status status = load_folder(t, folder, err);
    if (status == SONDE_OK) *tokenizer = t;
    else sonde_tokenizer_destroy(&t);
    return status;
}

/* ---- GGUF ---------------------------------------------------------------------------------------------------- */

typedef struct pre_rule {
    const char *name;
    bool digits, nfc, ignore_merges, bos;
    sonde_split_rule rule;
} pre_rule;

static const pre_rule pre_rules[] = {
    {"gpt-2", false, false, false, false, SONDE_SPLIT_GPT2},
    {"default", false, false, false, false, SONDE_SPLIT_GPT2},
    {"smollm", true, false, false, false, SONDE_SPLIT_GPT2},
    {"starcoder", true, false, false, false, SONDE_SPLIT_GPT2},
    {"llama-bpe", false, false, true, true, SONDE_SPLIT_LLAMA3},
    {"llama3", false, false, true, true, SONDE_SPLIT_LLAMA3},
    {"llama-v3", false, false, true, true, SONDE_SPLIT_LLAMA3},
    {"qwen2", false, true, false, false, SONDE_SPLIT_QWEN},
};

static sonde_status set_pre(sonde_tokenizer *t, const sonde_vocabulary *v, sonde_error *err)
{
    const char *pre = v->pre ? v->pre : "default";
    if (!v->model || strcmp(v->model, "gpt2") != 0)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "tokenizer.ggml.model '%s' is not supported (gpt2)",
                          v->model ? v->model : "");
    for (size_t i = 0; i < SONDE_COUNT(pre_rules); i++) {
        const pre_rule *r = &pre_rules[i];
        if (strcmp(r->name, pre) != 0) continue;
        t->nfc = r->nfc;
        t->ignore_merges = r->ignore_merges;
        if (r->digits) t->splits[t->n_splits++] = SONDE_SPLIT_DIGITS;
        t->splits[t->n_splits++] = r->rule;
        if (v->bos_id >= 0 && (v->add_bos == 1 || (v->add_bos < 0 && r->bos)))
            t->prefix[t->n_prefix++] = (uint32_t)v->bos_id;
        if (v->eos_id >= 0 && v->add_eos == 1) t->suffix[t->n_suffix++] = (uint32_t)v->eos_id;
        t->bos = v->bos_id;
        t->eos = v->eos_id;
        return SONDE_OK;
    }
    return sonde_fail(err, SONDE_BAD_TOKENIZER, "tokenizer.ggml.pre '%s': this split rule is not "
                      "supported", pre);
}

#define TYPE_CONTROL 3
#define TYPE_USER 4

static bool is_added(const sonde_vocabulary *v, int64_t id)
{
    return v->types && (v->types[id] == TYPE_CONTROL || v->types[id] == TYPE_USER);
}

static sonde_status add_vocabulary(sonde_tokenizer *t, const sonde_vocabulary *v, bool added,
                                   sonde_error *err)
{
    for (int64_t id = 0; id < v->n_tokens; id++) {
        if (is_added(v, id) != added) continue;
        if (!added) {
            SONDE_TRY(sonde_tokenizer_add_piece(t, (uint32_t)id, v->tokens[id], v->token_bytes[id],
                                                err));
            continue;
        }
        sonde_added token = {.length = (uint32_t)v->token_bytes[id], .id = (uint32_t)id,
                             .special = v->types[id] == TYPE_CONTROL};
        memcpy(&token.text, &v->tokens[id], sizeof token.text);
        SONDE_TRY(sonde_tokenizer_add_token(t, &token, err));
    }
    return SONDE_OK;
}

/* Ids of "a b" and of their union; false when one is not a piece. */
static bool resolve(const sonde_tokenizer *t, const char *merge, size_t bytes, uint32_t out[3])
{
    const char *space = memchr(merge + 1, ' ', bytes > 0 ? bytes - 1 : 0);
    if (!space || sonde_utf8_valid_prefix(merge, bytes) != bytes) return false;
    size_t left = (size_t)(space - merge), n[2];
    char *parts[2] = {sonde_unmap_bytes(merge, left, &n[0]),
                      sonde_unmap_bytes(space + 1, bytes - left - 1, &n[1])};
    sonde_string joined = {0};
    int64_t ids[3] = {-1, -1, -1};
    for (int i = 0; i < 2; i++) {
        if (!parts[i]) continue;
        ids[i] = sonde_tokenizer_lookup(t, parts[i], n[i]);
        sonde_string_append(&joined, parts[i], n[i]);
    }
    if (joined.data) ids[2] = sonde_tokenizer_lookup(t, joined.data, joined.length);
    sonde_string_reset(&joined);
    for (int i = 0; i < 2; i++) sonde_free(parts[i]);
    for (int i = 0; i < 3; i++) out[i] = (uint32_t)ids[i];
    return ids[0] >= 0 && ids[1] >= 0 && ids[2] >= 0;
}

static sonde_status add_merges(sonde_tokenizer *t, const sonde_vocabulary *v, sonde_error *err)
{
    uint32_t(*pairs)[3] = sonde_alloc((size_t)v->n_merges, sizeof *pairs);
    if (!pairs) return sonde_no_memory(err, "the merges", (size_t)v->n_merges * sizeof *pairs);
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < v->n_merges && status == SONDE_OK; i++)
        if (!resolve(t, v->merges[i], v->merge_bytes[i], pairs[i]))
            status = sonde_fail(err, SONDE_BAD_TOKENIZER, "tokenizer.ggml.merges[%lld] '%.60s': a part "
                                "or the result is not in the vocabulary", (long long)i, v->merges[i]);
    if (status == SONDE_OK)
        status = sonde_tokenizer_set_merges(t, (size_t)v->n_merges, (const uint32_t(*)[3])pairs, err);
    sonde_free(pairs);
    return status;
}

static sonde_status load_vocabulary(sonde_tokenizer *t, const sonde_vocabulary *v, sonde_error *err)
{
    SONDE_TRY(set_pre(t, v, err));
    SONDE_TRY(add_vocabulary(t, v, false, err));
    SONDE_TRY(sonde_tokenizer_finish(t, err));
    SONDE_TRY(add_merges(t, v, err));
    SONDE_TRY(add_vocabulary(t, v, true, err));
    return sonde_tokenizer_finish(t, err);
}

sonde_status sonde_tokenizer_create(const sonde_vocabulary *vocabulary, sonde_tokenizer **tokenizer,
                                    sonde_error *err)
{
    sonde_tokenizer *t;
    SONDE_TRY(create(&t, err));
    sonde_status status = load_vocabulary(t, vocabulary, err);
    if (status == SONDE_OK) *tokenizer = t;
    else sonde_tokenizer_destroy(&t);
    return status;
}
