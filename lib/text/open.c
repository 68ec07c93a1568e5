/* open.c - tokenizers of folders: tokenizer.json, vocab.json with merges.txt, or tiktoken.model;
 * and the entry for vocabularies. */
#include "text_internal.h"

#include <string.h>

#define MAX_FILE ((size_t)512 << 20)

/* ---- tokenizer_config.json ------------------------------------------------------------------- */

/* bos_token and the like are a text or {"content": text}; -1 when absent or unknown. */
static int64_t named_id(const sonde_tokenizer *t, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_string(value) ? sonde_tokenizer_find(t, json_string_value(value)) : -1;
}

/* The folder's tokenizer_config.json, or NULL when it has none; given to the caller. */
static sonde_status open_config(const char *folder, json_t **config, sonde_error *err)
{
    char *path = sonde_path_join(folder, "tokenizer_config.json");
    if (!path) return sonde_no_memory(err, "a path", strlen(folder));
    sonde_status status = SONDE_OK;
    if (sonde_path_exists(path))
        status = sonde_json_load_flags(path, MAX_FILE, JSON_DECODE_INT_AS_REAL, SONDE_BAD_TOKENIZER,
                                       config, err);
    sonde_free(path);
    return status;
}

static void read_config(sonde_tokenizer *t, const json_t *config)
{
    int64_t bos = named_id(t, config, "bos_token"), eos = named_id(t, config, "eos_token");
    if (bos >= 0) t->bos = bos;
    if (eos >= 0) t->eos = eos;
    if (t->bos < 0 && t->n_prefix > 0) t->bos = t->prefix[0];
}

/* ---- vocab.json with merges.txt -------------------------------------------------------------- */

/* merges.txt as the list that tokenizer.json would hold: comment lines left out. */
static json_t *merges_list(char *text)
{
    json_t *list = json_array();
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r') line[n - 1] = '\0';
        if (*line && strncmp(line, "#version", 8) != 0)
            json_array_append_new(list, json_string(line));
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

static sonde_status load_json(sonde_tokenizer *t, const char *path, sonde_error *err)
{
    json_t *root = NULL;
    sonde_status status = sonde_json_load(path, MAX_FILE, SONDE_BAD_TOKENIZER, &root, err);
    if (status == SONDE_OK) status = sonde_tokenizer_load_json(t, root, path, err);
    json_decref(root);
    return status;
}

static sonde_status load_files(sonde_tokenizer *t, const char *folder, char *const paths[4],
                               const json_t *config, sonde_error *err)
{
    if (sonde_path_exists(paths[0])) return load_json(t, paths[0], err);
    if (sonde_path_exists(paths[1]) && sonde_path_exists(paths[2]))
        return load_pair(t, paths[1], paths[2], err);
    if (sonde_path_exists(paths[3])) return sonde_tokenizer_load_tiktoken(t, paths[3], config, err);
    return sonde_fail(err, SONDE_BAD_TOKENIZER,
                      "%s: no tokenizer.json, no vocab.json with merges.txt, "
                      "no tiktoken.model",
                      folder);
}

static sonde_status load_folder(sonde_tokenizer *t, const char *folder, sonde_error *err)
{
    static const char *const names[4] = {"tokenizer.json", "vocab.json", "merges.txt",
                                         "tiktoken.model"};
    char *paths[4];
    bool good = true;
    json_t *config = NULL;
    for (int i = 0; i < 4; i++) {
        paths[i] = sonde_path_join(folder, names[i]);
        good = good && paths[i];
    }
    sonde_status status =
        good ? open_config(folder, &config, err) : sonde_no_memory(err, "a path", strlen(folder));
    if (status == SONDE_OK) status = load_files(t, folder, paths, config, err);
    if (status == SONDE_OK) read_config(t, config);
    json_decref(config);
    for (int i = 0; i < 4; i++) sonde_free(paths[i]);
    return status;
}

sonde_status sonde_tokenizer_open(const char *folder, sonde_tokenizer **tokenizer, sonde_error *err)
{
    sonde_tokenizer *t;
    SONDE_TRY(sonde_tokenizer_new(&t, err));
    sonde_status status = load_folder(t, folder, err);
    if (status == SONDE_OK) *tokenizer = t;
    else sonde_tokenizer_destroy(&t);
    return status;
}

sonde_status sonde_tokenizer_create(const sonde_vocabulary *vocabulary, sonde_tokenizer **tokenizer,
                                    sonde_error *err)
{
    sonde_tokenizer *t;
    SONDE_TRY(sonde_tokenizer_new(&t, err));
    sonde_status status = sonde_tokenizer_load_vocabulary(t, vocabulary, err);
    if (status == SONDE_OK) *tokenizer = t;
    else sonde_tokenizer_destroy(&t);
    return status;
}
