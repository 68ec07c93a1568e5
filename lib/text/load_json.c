/* load_json.c - tokenizer.json: the model, added tokens and the template. What is not known is
 * refused by name. */
#include "text_internal.h"

#include <string.h>

sonde_status sonde_loader_refuse(const sonde_loader *l, const char *what, const char *got)
{
    return sonde_fail(l->err, SONDE_BAD_TOKENIZER, "%s: %s '%.80s' is not supported", l->path, what,
                      got ? got : "?");
}

static sonde_status broken(const sonde_loader *l, const char *what)
{
    return sonde_fail(l->err, SONDE_BAD_TOKENIZER, "%s: %s", l->path, what);
}

const char *sonde_loader_type(const json_t *component)
{
    const char *type = json_string_value(json_object_get(component, "type"));
    return type ? type : "?";
}

bool sonde_loader_flag(const json_t *object, const char *key, bool missing)
{
    const json_t *value = json_object_get(object, key);
    return value ? json_is_true(value) : missing;
}

/* ---- BPE ------------------------------------------------------------------------------------- */

static sonde_status read_vocab(sonde_loader *l, const json_t *vocab)
{
    const char *text;
    json_t *value;
    json_t *object = json_incref((json_t *)(uintptr_t)vocab);
    sonde_status status = SONDE_OK;
    json_object_foreach(object, text, value)
    {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id > UINT32_MAX)
            status = broken(l, "model.vocab: an id is no whole number in range");
        else status = sonde_vocabulary_add(l->t, (uint32_t)id, text, strlen(text), l->err);
        if (status != SONDE_OK) break;
    }
    json_decref(object);
    return status;
}

/* "a b" or ["a", "b"]: the parts as given in the file. */
static bool merge_parts(const json_t *merge, const char **a, size_t *n_a, const char **b,
                        size_t *n_b)
{
    if (json_is_array(merge)) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        *a = json_string_value(left);
        *b = json_string_value(right);
        *n_a = json_string_length(left);
        *n_b = json_string_length(right);
        return json_array_size(merge) == 2 && *a && *b;
    }
    *a = json_string_value(merge);
    const char *space = *a ? strchr(*a, ' ') : NULL;
    if (!space || strchr(space + 1, ' ')) return false;
    *n_a = (size_t)(space - *a);
    *b = space + 1;
    *n_b = strlen(*b);
    return *n_a > 0 && *n_b > 0;
}

static sonde_status resolve_merge(sonde_loader *l, const json_t *merge, sonde_ranked_merge *out)
{
    const char *a, *b;
    size_t n_a, n_b;
    if (!merge_parts(merge, &a, &n_a, &b, &n_b))
        return broken(l, "model.merges: expected 'a b' pairs");
    bool known;
    SONDE_TRY(sonde_merges_resolve(l->t, a, n_a, b, n_b, out, &known, l->err));
    if (known) return SONDE_OK;
    return sonde_fail(l->err, SONDE_BAD_TOKENIZER,
                      "%s: merge '%.40s' '%.40s': a part or the "
                      "result is not in the vocabulary",
                      l->path, a, b);
}

static sonde_status read_merges(sonde_loader *l, const json_t *merges)
{
    size_t n = json_array_size(merges);
    sonde_ranked_merge *rows = sonde_alloc(n, sizeof *rows);
    if (!rows) return sonde_no_memory(l->err, "the merges", n * sizeof *rows);
    sonde_status status = SONDE_OK;
    for (size_t i = 0; i < n && status == SONDE_OK; i++) {
        status = resolve_merge(l, json_array_get(merges, i), &rows[i]);
        rows[i].rank = (uint32_t)i;
    }
    if (status == SONDE_OK) status = sonde_merges_set(l->t, rows, n, l->err);
    sonde_free(rows);
    return status;
}

static bool empty_text(const json_t *value)
{
    return !value || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static sonde_status refuse_options(const sonde_loader *l, const json_t *model)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < SONDE_COUNT(texts); i++)
        if (!empty_text(json_object_get(model, texts[i])))
            return sonde_loader_refuse(l, "model option", texts[i]);
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && json_number_value(dropout) != 0.0)
        return sonde_loader_refuse(l, "model option", "dropout");
    return SONDE_OK;
}

/* A byte-level vocabulary with every byte never falls back. */
static sonde_status settle_fallback(const sonde_loader *l)
{
    sonde_model *m = &l->t->model;
    if (!m->byte_level || !m->byte_fallback) return SONDE_OK;
    m->byte_fallback = false;
    for (int i = 0; i < 256; i++)
        if (m->byte_ids[i] < 0)
            return sonde_loader_refuse(l, "model option for a byte-level vocabulary",
                                       "byte_fallback");
    return SONDE_OK;
}

static sonde_status read_bpe(sonde_loader *l, const json_t *model)
{
    const json_t *vocab = json_object_get(model, "vocab"),
                 *merges = json_object_get(model, "merges");
    const json_t *unknown = json_object_get(model, "unk_token");
    sonde_model *m = &l->t->model;
    SONDE_TRY(refuse_options(l, model));
    if (!json_is_object(vocab)) return broken(l, "model.vocab: expected an object");
    if (!json_is_array(merges)) return broken(l, "model.merges: expected a list");
    m->kind = SONDE_MODEL_BPE;
    m->ignore_merges = sonde_loader_flag(model, "ignore_merges", false);
    m->byte_fallback = sonde_loader_flag(model, "byte_fallback", false);
    m->fuse_unknown = sonde_loader_flag(model, "fuse_unk", false);
    SONDE_TRY(read_vocab(l, vocab));
    SONDE_TRY(sonde_vocabulary_index(l->t, l->err));
    SONDE_TRY(settle_fallback(l));
    if (json_is_string(unknown)) {
        m->unknown = sonde_vocabulary_find_written(l->t, json_string_value(unknown),
                                                   json_string_length(unknown));
        if (m->unknown < 0) return broken(l, "model.unk_token is not in the vocabulary");
    }
    return read_merges(l, merges);
}

/* ---- unigram --------------------------------------------------------------------------------- */

static sonde_status read_scored(sonde_loader *l, const json_t *vocab)
{
    sonde_model *m = &l->t->model;
    size_t n = json_array_size(vocab);
    m->scores = sonde_alloc(n + 1, sizeof *m->scores);
    if (!m->scores) return sonde_no_memory(l->err, "the vocabulary", n * sizeof *m->scores);
    for (size_t id = 0; id < n; id++) {
        const json_t *row = json_array_get(vocab, id);
        const json_t *text = json_array_get(row, 0), *score = json_array_get(row, 1);
        if (json_array_size(row) != 2 || !json_is_string(text) || !json_is_number(score))
            return broken(l, "model.vocab: expected [piece, score] pairs");
        if (json_string_length(text) > SONDE_MATCH_BYTES)
            return broken(l, "model.vocab: a piece of more than 4096 bytes");
        m->scores[id] = json_number_value(score);
        m->least_score = id == 0 ? m->scores[0] : SONDE_MIN(m->least_score, m->scores[id]);
        SONDE_TRY(sonde_vocabulary_add(l->t, (uint32_t)id, json_string_value(text),
                                       json_string_length(text), l->err));
    }
    for (size_t id = n; id-- > 0;) { /* of equal texts the last counts */
        const sonde_piece *p = &l->t->pieces[id];
        if (p->length > 0 && !sonde_trie_add(&m->trie, p->text, p->length, (uint32_t)id + 1))
            return sonde_no_memory(l->err, "the vocabulary", n);
    }
    return SONDE_OK;
}

static sonde_status read_unigram(sonde_loader *l, const json_t *model)
{
    const json_t *vocab = json_object_get(model, "vocab"),
                 *unknown = json_object_get(model, "unk_id");
    sonde_model *m = &l->t->model;
    if (m->byte_level)
        return sonde_loader_refuse(l, "model behind a ByteLevel pre-tokenizer", "Unigram");
    if (!json_is_array(vocab) || json_array_size(vocab) == 0)
        return broken(l, "model.vocab: expected a list of [piece, score] pairs");
    m->kind = SONDE_MODEL_UNIGRAM;
    m->byte_fallback = sonde_loader_flag(model, "byte_fallback", false);
    m->fuse_unknown = true;
    if (json_is_integer(unknown)) {
        m->unknown = json_integer_value(unknown);
        if (m->unknown < 0 || (size_t)m->unknown >= json_array_size(vocab))
            return broken(l, "model.unk_id is not in the vocabulary");
    }
    SONDE_TRY(read_scored(l, vocab));
    return sonde_vocabulary_index(l->t, l->err);
}

/* A file without the model's type has what a BPE model has. */
static sonde_status read_model(sonde_loader *l, const json_t *model)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type ? strcmp(type, "BPE") == 0 : json_object_get(model, "merges") != NULL)
        return read_bpe(l, model);
    if (type && strcmp(type, "Unigram") == 0) return read_unigram(l, model);
    return sonde_loader_refuse(l, "model type", type);
}

/* ---- added tokens, post-processor ------------------------------------------------------------ */

static sonde_status read_added(sonde_loader *l, const json_t *list, bool special)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        const json_t *content = json_object_get(a, "content"), *id = json_object_get(a, "id");
        if (!json_is_string(content) || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > UINT32_MAX)
            return broken(l, "added_tokens: expected objects with content and id");
        if (sonde_loader_flag(a, "special", false) != special) continue;
        sonde_added token = {.length = (uint32_t)json_string_length(content),
                             .id = (uint32_t)json_integer_value(id),
                             .lstrip = sonde_loader_flag(a, "lstrip", false),
                             .rstrip = sonde_loader_flag(a, "rstrip", false),
                             .single_word = sonde_loader_flag(a, "single_word", false),
                             .normalized = sonde_loader_flag(a, "normalized", false),
                             .special = special};
        const char *text = json_string_value(content);
        memcpy(&token.text, &text, sizeof text);
        SONDE_TRY(sonde_added_add(l->t, &token, l->err));
    }
    return SONDE_OK;
}

static sonde_status add_template_id(sonde_loader *l, json_int_t id, bool before)
{
    uint32_t *list = before ? l->t->prefix : l->t->suffix;
    size_t *n = before ? &l->t->n_prefix : &l->t->n_suffix;
    if (*n == SONDE_COUNT(l->t->prefix))
        return broken(l, "post_processor: too many special tokens");
    if (id < 0 || (size_t)id >= l->t->n_pieces || !l->t->pieces[id].present)
        return broken(l, "post_processor: the id of a special token is not in the vocabulary");
    list[(*n)++] = (uint32_t)id;
    return SONDE_OK;
}

static sonde_status template_ids(sonde_loader *l, const json_t *p, const char *name, bool before)
{
    const json_t *entry = json_object_get(json_object_get(p, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    if (json_array_size(ids) == 0)
        return broken(l, "TemplateProcessing: a special token has no ids");
    for (size_t i = 0; i < json_array_size(ids); i++)
        SONDE_TRY(add_template_id(l, json_integer_value(json_array_get(ids, i)), before));
    return SONDE_OK;
}

static sonde_status read_template(sonde_loader *l, const json_t *p)
{
    const json_t *single = json_object_get(p, "single");
    bool before = true;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *special = json_object_get(item, "SpecialToken");
        if (!special) {
            if (!before)
                return sonde_loader_refuse(l, "post-processor with the text twice",
                                           "TemplateProcessing");
            before = false;
            continue;
        }
        const char *name = json_string_value(json_object_get(special, "id"));
        SONDE_TRY(template_ids(l, p, name ? name : "", before));
    }
    return before ? sonde_loader_refuse(l, "post-processor without the text", "TemplateProcessing")
                  : SONDE_OK;
}

/* "cls" in front and "sep" behind, each [text, id]. */
static sonde_status read_classifier(sonde_loader *l, const json_t *p)
{
    SONDE_TRY(
        add_template_id(l, json_integer_value(json_array_get(json_object_get(p, "cls"), 1)), true));
    return add_template_id(l, json_integer_value(json_array_get(json_object_get(p, "sep"), 1)),
                           false);
}

static sonde_status read_post(sonde_loader *l, const json_t *p)
{
    if (!p || json_is_null(p)) return SONDE_OK;
    const char *type = sonde_loader_type(p);
    if (strcmp(type, "ByteLevel") == 0) return SONDE_OK;
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(l, p);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return read_classifier(l, p);
    if (strcmp(type, "Sequence") != 0) return sonde_loader_refuse(l, "post-processor", type);
    const json_t *list = json_object_get(p, "processors");
    for (size_t i = 0; i < json_array_size(list); i++)
        SONDE_TRY(read_post(l, json_array_get(list, i)));
    return SONDE_OK;
}

/* Special tokens come first: of two added tokens with one text the first counts. */
sonde_status sonde_tokenizer_load_json(sonde_tokenizer *t, const json_t *root, const char *path,
                                       sonde_error *err)
{
    sonde_loader l = {t, path, err};
    if (!json_is_object(root)) return broken(&l, "expected an object");
    SONDE_TRY(sonde_load_normalizer(t, json_object_get(root, "normalizer"), path, err));
    SONDE_TRY(sonde_load_pretokenizer(t, json_object_get(root, "pre_tokenizer"), path,
                                      &t->model.byte_level, err));
    SONDE_TRY(sonde_load_decoder(t, json_object_get(root, "decoder"), path, err));
    SONDE_TRY(read_model(&l, json_object_get(root, "model")));
    SONDE_TRY(read_added(&l, json_object_get(root, "added_tokens"), true));
    SONDE_TRY(read_added(&l, json_object_get(root, "added_tokens"), false));
    SONDE_TRY(read_post(&l, json_object_get(root, "post_processor")));
    SONDE_TRY(sonde_decoding_prepare(t, err));
    return sonde_tokenizer_seal(t, err);
}
