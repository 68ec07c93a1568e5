/* load_json.c - tokenizer.json. A component that is not known is refused by name. */
#include "text_internal.h"

#include <string.h>

typedef struct loader {
    sonde_tokenizer *t;
    const char *path;
    sonde_error *err;
} loader;

static sonde_status bad(const loader *l, const char *what, const char *got)
{
    return sonde_fail(l->err, SONDE_BAD_TOKENIZER, "%s: %s '%.80s' is not supported", l->path, what,
                      got ? got : "?");
}

static sonde_status broken(const loader *l, const char *what)
{
    return sonde_fail(l->err, SONDE_BAD_TOKENIZER, "%s: %s", l->path, what);
}

static const char *type_of(const json_t *component)
{
    const char *type = json_string_value(json_object_get(component, "type"));
    return type ? type : "?";
}

static bool flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* ---- normaliser and pre-tokenizer --------------------------------------------------------------------- */

static sonde_status read_normalizer(loader *l, const json_t *n)
{
    if (!n || json_is_null(n)) return SONDE_OK;
    const char *type = type_of(n);
    if (strcmp(type, "NFC") == 0) {
        l->t->nfc = true;
        return SONDE_OK;
    }
    if (strcmp(type, "Sequence") != 0) return bad(l, "normalizer", type);
    const json_t *list = json_object_get(n, "normalizers");
    for (size_t i = 0; i < json_array_size(list); i++)
        SONDE_TRY(read_normalizer(l, json_array_get(list, i)));
    return SONDE_OK;
}

static sonde_status add_rule(loader *l, sonde_split_rule rule)
{
    if (l->t->n_splits == SONDE_MAX_SPLITS) return broken(l, "too many pre-tokenizers");
    l->t->splits[l->t->n_splits++] = rule;
    return SONDE_OK;
}

static sonde_status read_split(loader *l, const json_t *p)
{
    const char *regex = json_string_value(json_object_get(json_object_get(p, "pattern"), "Regex"));
    const char *behaviour = json_string_value(json_object_get(p, "behavior"));
    sonde_split_rule rule;
    if (!behaviour || strcmp(behaviour, "Isolated") != 0 || flag(p, "invert"))
        return bad(l, "Split behavior", behaviour);
    if (!regex || !sonde_split_of_regex(regex, &rule)) return bad(l, "split rule", regex);
    return add_rule(l, rule);
}

static sonde_status read_byte_level(loader *l, const json_t *p)
{
    const json_t *prefix = json_object_get(p, "add_prefix_space");
    const json_t *regex = json_object_get(p, "use_regex");
    if (!prefix || json_is_true(prefix)) {
        if (l->t->n_splits > 0)
            return bad(l, "pre-tokenizer", "ByteLevel with add_prefix_space behind another split");
        l->t->prefix_space = true;
    }
    return !regex || json_is_true(regex) ? add_rule(l, SONDE_SPLIT_GPT2) : SONDE_OK;
}

static sonde_status read_pre_tokenizer(loader *l, const json_t *p, bool *byte_level)
{
    const char *type = type_of(p);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(p, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            SONDE_TRY(read_pre_tokenizer(l, json_array_get(list, i), byte_level));
        return SONDE_OK;
    }
    if (*byte_level) return bad(l, "pre-tokenizer behind ByteLevel", type);
    if (strcmp(type, "Split") == 0) return read_split(l, p);
    if (strcmp(type, "Digits") == 0)
        return add_rule(l, flag(p, "individual_digits") ? SONDE_SPLIT_DIGITS : SONDE_SPLIT_DIGIT_RUNS);
    if (strcmp(type, "ByteLevel") != 0) return bad(l, "pre-tokenizer", type);
    *byte_level = true;
    return read_byte_level(l, p);
}

/* ---- model ---------------------------------------------------------------------------------------------- */

static sonde_status read_vocab(loader *l, const json_t *vocab)
{
    const char *text;
    json_t *value;
    json_t *object = json_incref((json_t *)(uintptr_t)vocab);
    sonde_status status = SONDE_OK;
    json_object_foreach(object, text, value) {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id > UINT32_MAX)
            status = broken(l, "model.vocab: an id is no whole number in range");
        else
            status = sonde_tokenizer_add_piece(l->t, (uint32_t)id, text, strlen(text), l->err);
        if (status != SONDE_OK) break;
    }
    json_decref(object);
    return status;
}

/* "a b" or ["a", "b"]: the parts as given in the file. */
static bool merge_parts(const json_t *merge, const char **a, size_t *n_a, const char **b, size_t *n_b)
{
    if (json_is_array(merge)) {
        *a = json_string_value(json_array_get(merge, 0));
        *b = json_string_value(json_array_get(merge, 1));
        if (json_array_size(merge) != 2 || !*a || !*b) return false;
        *n_a = strlen(*a);
        *n_b = strlen(*b);
        return true;
    }
    *a = json_string_value(merge);
    const char *space = *a ? strchr(*a, ' ') : NULL;
    if (!space || strchr(space + 1, ' ')) return false;
    *n_a = (size_t)(space - *a);
    *b = space + 1;
    *n_b = strlen(*b);
    return *n_a > 0 && *n_b > 0;
}

static int64_t id_of_text(const sonde_tokenizer *t, const char *text, size_t n, char **raw, size_t *length)
{
    *raw = sonde_unmap_bytes(text, n, length);
    return *raw ? sonde_tokenizer_lookup(t, *raw, *length) : -1;
}

static sonde_status resolve_merge(loader *l, const json_t *merge, uint32_t out[3])
{
    const char *a, *b;
    size_t n_a, n_b, raw_a = 0, raw_b = 0;
    char *left = NULL, *right = NULL;
    if (!merge_parts(merge, &a, &n_a, &b, &n_b)) return broken(l, "model.merges: expected 'a b' pairs");
    int64_t ids[3] = {id_of_text(l->t, a, n_a, &left, &raw_a), -1, -1};
    ids[1] = id_of_text(l->t, b, n_b, &right, &raw_b);
    sonde_string joined = {0};
    if (left && right) {
        sonde_string_append(&joined, left, raw_a);
        sonde_string_append(&joined, right, raw_b);
    }
    if (joined.data) ids[2] = sonde_tokenizer_lookup(l->t, joined.data, joined.length);
    bool failed = !left || !right || joined.failed;
    sonde_string_reset(&joined);
    sonde_free(left);
    sonde_free(right);
    if (failed) return sonde_no_memory(l->err, "the merges", n_a + n_b);
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return sonde_fail(l->err, SONDE_BAD_TOKENIZER, "%s: merge '%.40s' '%.40s': a part or the "
                          "result is not in the vocabulary", l->path, a, b);
    for (int i = 0; i < 3; i++) out[i] = (uint32_t)ids[i];
    return SONDE_OK;
}

static sonde_status read_merges(loader *l, const json_t *merges)
{
    size_t n = json_array_size(merges);
    uint32_t(*pairs)[3] = sonde_alloc(n, sizeof *pairs);
    if (!pairs) return sonde_no_memory(l->err, "the merges", n * sizeof *pairs);
    sonde_status status = SONDE_OK;
    for (size_t i = 0; i < n && status == SONDE_OK; i++)
        status = resolve_merge(l, json_array_get(merges, i), pairs[i]);
    if (status == SONDE_OK)
        status = sonde_tokenizer_set_merges(l->t, n, (const uint32_t(*)[3])pairs, l->err);
    sonde_free(pairs);
    return status;
}

static bool empty_text(const json_t *value)
{
    return !value || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static sonde_status read_model(loader *l, const json_t *model)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "BPE") != 0) return bad(l, "model type", type);
    if (flag(model, "byte_fallback")) return bad(l, "model option", "byte_fallback");
    if (!empty_text(json_object_get(model, "continuing_subword_prefix")))
        return bad(l, "model option", "continuing_subword_prefix");
    if (!empty_text(json_object_get(model, "end_of_word_suffix")))
        return bad(l, "model option", "end_of_word_suffix");
    if (!empty_text(json_object_get(model, "unk_token"))) return bad(l, "model option", "unk_token");
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && json_number_value(dropout) != 0.0) return bad(l, "model option", "dropout");
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    if (!json_is_object(vocab)) return broken(l, "model.vocab: expected an object");
    if (!json_is_array(merges)) return broken(l, "model.merges: expected a list");
    l->t->ignore_merges = flag(model, "ignore_merges");
    SONDE_TRY(read_vocab(l, vocab));
    SONDE_TRY(sonde_tokenizer_finish(l->t, l->err));
    return read_merges(l, merges);
}

/* ---- added tokens, post-processor, decoder -------------------------------------------------------------- */

static sonde_status read_added(loader *l, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        const json_t *content = json_object_get(a, "content"), *id = json_object_get(a, "id");
        if (!json_is_string(content) || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > UINT32_MAX)
            return broken(l, "added_tokens: expected objects with content and id");
        sonde_added token = {.length = (uint32_t)json_string_length(content),
                             .id = (uint32_t)json_integer_value(id),
                             .lstrip = flag(a, "lstrip"), .rstrip = flag(a, "rstrip"),
                             .single_word = flag(a, "single_word"),
                             .normalized = flag(a, "normalized"), .special = flag(a, "special")};
        const char *text = json_string_value(content);
        memcpy(&token.text, &text, sizeof text);
        SONDE_TRY(sonde_tokenizer_add_token(l->t, &token, l->err));
    }
    return SONDE_OK;
}

static sonde_status template_id(loader *l, const json_t *p, const char *name, bool before)
{
    const json_t *entry = json_object_get(json_object_get(p, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    if (json_array_size(ids) == 0) return broken(l, "TemplateProcessing: a special token has no ids");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        uint32_t *list = before ? l->t->prefix : l->t->suffix;
        size_t *n = before ? &l->t->n_prefix : &l->t->n_suffix;
        json_int_t id = json_integer_value(json_array_get(ids, i));
        if (*n == SONDE_COUNT(l->t->prefix))
            return broken(l, "TemplateProcessing: too many special tokens");
        if (id < 0 || (size_t)id >= l->t->n_pieces || !l->t->pieces[id].present)
            return broken(l, "TemplateProcessing: the id of a special token is not in the vocabulary");
        list[(*n)++] = (uint32_t)id;
    }
    return SONDE_OK;
}

static sonde_status read_template(loader *l, const json_t *p)
{
    const json_t *single = json_object_get(p, "single");
    bool before = true;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *special = json_object_get(item, "SpecialToken");
        if (!special) {
            before = false;
            continue;
        }
        const char *name = json_string_value(json_object_get(special, "id"));
        SONDE_TRY(template_id(l, p, name ? name : "", before));
    }
    return SONDE_OK;
}

static sonde_status read_post(loader *l, const json_t *p)
{
    if (!p || json_is_null(p)) return SONDE_OK;
    const char *type = type_of(p);
    if (strcmp(type, "ByteLevel") == 0) return SONDE_OK;
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(l, p);
    if (strcmp(type, "Sequence") != 0) return bad(l, "post-processor", type);
    const json_t *list = json_object_get(p, "processors");
    for (size_t i = 0; i < json_array_size(list); i++) SONDE_TRY(read_post(l, json_array_get(list, i)));
    return SONDE_OK;
}

static sonde_status read_decoder(loader *l, const json_t *d)
{
    const char *type = type_of(d);
    if (strcmp(type, "Sequence") == 0 && json_array_size(json_object_get(d, "decoders")) == 1)
        type = type_of(json_array_get(json_object_get(d, "decoders"), 0));
    return strcmp(type, "ByteLevel") == 0 ? SONDE_OK : bad(l, "decoder", type);
}

sonde_status sonde_tokenizer_load_json(sonde_tokenizer *t, const json_t *root, const char *path,
                                       sonde_error *err)
{
    loader l = {t, path, err};
    bool byte_level = false;
    if (!json_is_object(root)) return broken(&l, "expected an object");
    SONDE_TRY(read_normalizer(&l, json_object_get(root, "normalizer")));
    SONDE_TRY(read_pre_tokenizer(&l, json_object_get(root, "pre_tokenizer"), &byte_level));
    if (!byte_level) return bad(&l, "pre-tokenizer", "without ByteLevel");
    SONDE_TRY(read_model(&l, json_object_get(root, "model")));
    SONDE_TRY(read_added(&l, json_object_get(root, "added_tokens")));
    SONDE_TRY(read_post(&l, json_object_get(root, "post_processor")));
    SONDE_TRY(read_decoder(&l, json_object_get(root, "decoder")));
    return sonde_tokenizer_finish(t, err);
}
