/* stages.c - the lists of normalisers and pre-tokenizers, each with its rule in words for the
 * hash. */
#include "text_internal.h"

#include <string.h>

static void normalizer_reset(sonde_normalizer *n)
{
    sonde_regex_destroy(&n->regex);
    sonde_free(n->text.data);
}

sonde_status sonde_add_normalizer(sonde_tokenizer *t, sonde_normalizer *stage, const char *rule,
                                  sonde_error *err)
{
    if (t->n_normalizers == SONDE_MAX_STAGES) {
        normalizer_reset(stage);
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "more than %d normalizers", SONDE_MAX_STAGES);
    }
    t->normalizers[t->n_normalizers++] = *stage;
    sonde_string_format(&t->rules, "normalize %s\n", rule);
    return SONDE_OK;
}

sonde_status sonde_add_form(sonde_tokenizer *t, sonde_normal_form form, sonde_error *err)
{
    static const char *const names[] = {"NFD", "NFC", "NFKD", "NFKC"};
    sonde_normalizer stage = {.kind = SONDE_NORMALIZE_FORM, .form = form};
    return sonde_add_normalizer(t, &stage, names[form], err);
}

static sonde_status with_text(sonde_tokenizer *t, sonde_normalizer *stage, const char *text,
                              size_t bytes, const char *rule, sonde_error *err)
{
    if (!sonde_chars_append(&stage->text, text, 0, bytes)) {
        normalizer_reset(stage);
        return sonde_no_memory(err, "a normalizer", bytes);
    }
    sonde_string words = {0};
    sonde_string_text(&words, rule);
    sonde_string_json(&words, text, bytes);
    sonde_status status = sonde_add_normalizer(t, stage, words.data ? words.data : "", err);
    sonde_string_reset(&words);
    return status;
}

sonde_status sonde_add_prepend(sonde_tokenizer *t, const char *text, size_t bytes, sonde_error *err)
{
    sonde_normalizer stage = {.kind = SONDE_NORMALIZE_PREPEND};
    return with_text(t, &stage, text, bytes, "prepend ", err);
}

static bool is_char(const char *text, size_t bytes)
{
    uint32_t c;
    return bytes > 0 && sonde_utf8_get(text, &c) == bytes;
}

/* A rule that sonde_regex_quote made of one character. */
static bool is_quoted_char(const char *regex, size_t bytes, uint32_t *c)
{
    int used = 0;
    return sscanf(regex, "\\x{%X}%n", c, &used) == 1 && (size_t)used == bytes;
}

sonde_status sonde_add_replace(sonde_tokenizer *t, const char *regex, size_t bytes,
                               const char *text, size_t text_bytes, sonde_error *err)
{
    sonde_normalizer stage = {.kind = SONDE_NORMALIZE_REPLACE};
    SONDE_TRY(sonde_regex_compile(regex, bytes, &stage.regex, err));
    sonde_string_format(&t->rules, "by %.*s ", (int)bytes, regex);
    if (is_quoted_char(regex, bytes, &stage.from) && is_char(text, text_bytes)) {
        stage.kind = SONDE_NORMALIZE_MAP;
        sonde_regex_destroy(&stage.regex);
    }
    return with_text(t, &stage, text, text_bytes, "replace ", err);
}

static sonde_status add_pretokenizer(sonde_tokenizer *t, sonde_pretokenizer *stage,
                                     sonde_error *err)
{
    if (t->n_pretokenizers == SONDE_MAX_STAGES) {
        sonde_regex_destroy(&stage->regex);
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "more than %d pre-tokenizers",
                          SONDE_MAX_STAGES);
    }
    t->pretokenizers[t->n_pretokenizers++] = *stage;
    return SONDE_OK;
}

sonde_status sonde_add_split(sonde_tokenizer *t, const char *regex, size_t bytes,
                             sonde_split_behaviour behaviour, bool invert, sonde_error *err)
{
    sonde_pretokenizer stage = {.behaviour = behaviour, .invert = invert};
    SONDE_TRY(sonde_regex_compile(regex, bytes, &stage.regex, err));
    sonde_string_format(&t->rules, "split %d %d %.*s\n", (int)behaviour, invert, (int)bytes, regex);
    return add_pretokenizer(t, &stage, err);
}

sonde_status sonde_add_spaces(sonde_tokenizer *t, uint32_t space, sonde_prepend prepend,
                              sonde_error *err)
{
    sonde_pretokenizer stage = {.space = space, .prepend = prepend};
    sonde_string_format(&t->rules, "spaces %x %d\n", space, (int)prepend);
    return add_pretokenizer(t, &stage, err);
}

sonde_status sonde_add_bytes(sonde_tokenizer *t, sonde_error *err)
{
    sonde_pretokenizer stage = {.bytes = true};
    t->model.mapped = true;
    sonde_string_text(&t->rules, "bytes\n");
    return add_pretokenizer(t, &stage, err);
}

void sonde_stages_reset(sonde_tokenizer *t)
{
    for (size_t i = 0; i < t->n_normalizers; i++) normalizer_reset(&t->normalizers[i]);
    for (size_t i = 0; i < t->n_pretokenizers; i++) sonde_regex_destroy(&t->pretokenizers[i].regex);
    for (size_t i = 0; i < t->decoding.n_replace; i++) {
        sonde_free(t->decoding.replace[i].from);
        sonde_free(t->decoding.replace[i].to);
    }
    sonde_string_reset(&t->rules);
}
