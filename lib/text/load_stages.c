/* load_stages.c - the normaliser, pre-tokenizer and decoder of a tokenizer.json. A component that
 * is not known is refused by name. */
#include "text_internal.h"

#include <string.h>

/* A text of one key; false: it is no text. */
static bool text_of(const json_t *object, const char *key, const char **text, size_t *n)
{
    const json_t *value = json_object_get(object, key);
    *text = json_string_value(value);
    *n = json_string_length(value);
    return *text != NULL;
}

/* A pattern {"String": ..} or {"Regex": ..} as a split rule. */
static sonde_status read_pattern(const sonde_loader *l, const json_t *component, sonde_string *rule)
{
    const json_t *pattern = json_object_get(component, "pattern");
    const char *text;
    size_t n;
    sonde_string_append(rule, "", 0);
    if (text_of(pattern, "String", &text, &n) && n > 0) sonde_regex_quote(text, n, rule);
    else if (text_of(pattern, "Regex", &text, &n)) sonde_string_append(rule, text, n);
    else return sonde_loader_refuse(l, "pattern of", sonde_loader_type(component));
    return rule->failed ? sonde_no_memory(l->err, "a split rule", n) : SONDE_OK;
}

/* The single character of a text; false: it is not one. */
static bool single_char(const json_t *value, uint32_t *c)
{
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    return text && n > 0 && sonde_utf8_get(text, c) == n;
}

/* ---- normaliser ------------------------------------------------------------------------------ */

static sonde_status read_replace(sonde_loader *l, const json_t *n)
{
    const char *content;
    size_t bytes;
    sonde_string rule = {0};
    if (!text_of(n, "content", &content, &bytes))
        return sonde_loader_refuse(l, "content of", "Replace");
    sonde_status status = read_pattern(l, n, &rule);
    if (status == SONDE_OK)
        status = sonde_add_replace(l->t, rule.data, rule.length, content, bytes, l->err);
    sonde_string_reset(&rule);
    return status;
}

static sonde_status read_normalizer(sonde_loader *l, const json_t *n);

static sonde_status read_normalizers(sonde_loader *l, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        SONDE_TRY(read_normalizer(l, json_array_get(list, i)));
    return SONDE_OK;
}

static sonde_status read_normalizer(sonde_loader *l, const json_t *n)
{
    static const char *const forms[] = {"NFD", "NFC", "NFKD", "NFKC"};
    const char *type = sonde_loader_type(n), *text;
    size_t bytes;
    for (int i = 0; i < 4; i++)
        if (strcmp(type, forms[i]) == 0) return sonde_add_form(l->t, (sonde_normal_form)i, l->err);
    if (strcmp(type, "Sequence") == 0)
        return read_normalizers(l, json_object_get(n, "normalizers"));
    if (strcmp(type, "Replace") == 0) return read_replace(l, n);
    if (strcmp(type, "Prepend") == 0 && text_of(n, "prepend", &text, &bytes))
        return sonde_add_prepend(l->t, text, bytes, l->err);
    if (strcmp(type, "Lowercase") == 0) {
        sonde_normalizer lower = {.kind = SONDE_NORMALIZE_LOWER};
        return sonde_add_normalizer(l->t, &lower, "lowercase", l->err);
    }
    if (strcmp(type, "Strip") == 0) {
        sonde_normalizer strip = {.kind = SONDE_NORMALIZE_STRIP,
                                  .left = sonde_loader_flag(n, "strip_left", true),
                                  .right = sonde_loader_flag(n, "strip_right", true)};
        const char *rule = strip.left ? strip.right ? "strip both" : "strip left" : "strip right";
        return sonde_add_normalizer(l->t, &strip, rule, l->err);
    }
    return sonde_loader_refuse(l, "normalizer", type);
}

sonde_status sonde_load_normalizer(sonde_tokenizer *t, const json_t *json, const char *path,
                                   sonde_error *err)
{
    sonde_loader l = {t, path, err};
    return json && !json_is_null(json) ? read_normalizer(&l, json) : SONDE_OK;
}

/* ---- pre-tokenizer --------------------------------------------------------------------------- */

static sonde_status add_rule(sonde_loader *l, const char *regex, sonde_split_behaviour behaviour)
{
    return sonde_add_split(l->t, regex, strlen(regex), behaviour, false, l->err);
}

/* Of Split or Punctuation; missing in the latter it is Isolated. */
static sonde_status read_behaviour(const sonde_loader *l, const json_t *p,
                                   sonde_split_behaviour *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = json_string_value(json_object_get(p, "behavior"));
    for (size_t i = 0; name && i < SONDE_COUNT(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (sonde_split_behaviour)i;
        return SONDE_OK;
    }
    return sonde_loader_refuse(l, "behavior", name);
}

static sonde_status read_split(sonde_loader *l, const json_t *p)
{
    sonde_split_behaviour behaviour = SONDE_SPLIT_ISOLATED;
    sonde_string rule = {0};
    SONDE_TRY(read_behaviour(l, p, &behaviour));
    sonde_status status = read_pattern(l, p, &rule);
    if (status == SONDE_OK)
        status = sonde_add_split(l->t, rule.data, rule.length, behaviour,
                                 sonde_loader_flag(p, "invert", false), l->err);
    sonde_string_reset(&rule);
    return status;
}

static sonde_status read_punctuation(sonde_loader *l, const json_t *p)
{
    sonde_split_behaviour behaviour = SONDE_SPLIT_ISOLATED;
    if (json_object_get(p, "behavior")) SONDE_TRY(read_behaviour(l, p, &behaviour));
    return add_rule(l, "\\p{=punctuation}", behaviour);
}

static sonde_status read_byte_level(sonde_loader *l, const json_t *p)
{
    static const char gpt2[] =
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    if (sonde_loader_flag(p, "add_prefix_space", true))
        SONDE_TRY(sonde_add_spaces(l->t, ' ', SONDE_PREPEND_ALWAYS, l->err));
    return sonde_loader_flag(p, "use_regex", true) ? add_rule(l, gpt2, SONDE_SPLIT_ISOLATED)
                                                   : SONDE_OK;
}

/* "prepend_scheme", or the older "add_prefix_space". */
static bool prepend_scheme(const json_t *p, sonde_prepend *out)
{
    const char *scheme = json_string_value(json_object_get(p, "prepend_scheme"));
    if (!scheme) {
        *out = sonde_loader_flag(p, "add_prefix_space", true) ? SONDE_PREPEND_ALWAYS
                                                              : SONDE_PREPEND_NEVER;
        return true;
    }
    static const char *const names[] = {"never", "first", "always"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(scheme, names[i]) != 0) continue;
        *out = (sonde_prepend)i;
        return true;
    }
    return false;
}

static sonde_status read_metaspace(sonde_loader *l, const json_t *p)
{
    uint32_t space;
    sonde_prepend prepend;
    if (!single_char(json_object_get(p, "replacement"), &space))
        return sonde_loader_refuse(l, "replacement of", "Metaspace");
    if (!prepend_scheme(p, &prepend))
        return sonde_loader_refuse(l, "prepend_scheme of", "Metaspace");
    SONDE_TRY(sonde_add_spaces(l->t, space, prepend, l->err));
    if (!sonde_loader_flag(p, "split", true)) return SONDE_OK;
    char rule[16];
    snprintf(rule, sizeof rule, "\\x{%X}", space);
    return add_rule(l, rule, SONDE_SPLIT_MERGED_WITH_NEXT);
}

static sonde_status read_delimiter(sonde_loader *l, const json_t *p)
{
    uint32_t c;
    char rule[16];
    if (!single_char(json_object_get(p, "delimiter"), &c))
        return sonde_loader_refuse(l, "delimiter of", sonde_loader_type(p));
    snprintf(rule, sizeof rule, "\\x{%X}", c);
    return add_rule(l, rule, SONDE_SPLIT_REMOVED);
}

/* What splits text of any alphabet, or nothing: *known is false. */
static sonde_status read_splitter(sonde_loader *l, const json_t *p, bool *known)
{
    const char *type = sonde_loader_type(p);
    *known = true;
    if (strcmp(type, "Split") == 0) return read_split(l, p);
    if (strcmp(type, "Punctuation") == 0) return read_punctuation(l, p);
    if (strcmp(type, "Digits") == 0)
        return add_rule(l, "\\p{=numeric}",
                        sonde_loader_flag(p, "individual_digits", false) ? SONDE_SPLIT_ISOLATED
                                                                         : SONDE_SPLIT_CONTIGUOUS);
    *known = false;
    return SONDE_OK;
}

/* Behind ByteLevel text is in its alphabet, digits and punctuation of which are split (Falcon). */
static sonde_status read_behind_bytes(sonde_loader *l, const json_t *p)
{
    bool known;
    if (!l->t->model.mapped) SONDE_TRY(sonde_add_bytes(l->t, l->err));
    SONDE_TRY(read_splitter(l, p, &known));
    return known ? SONDE_OK
                 : sonde_loader_refuse(l, "pre-tokenizer behind ByteLevel", sonde_loader_type(p));
}

static sonde_status read_pre_tokenizer(sonde_loader *l, const json_t *p, bool *byte_level)
{
    const char *type = sonde_loader_type(p);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(p, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            SONDE_TRY(read_pre_tokenizer(l, json_array_get(list, i), byte_level));
        return SONDE_OK;
    }
    if (*byte_level) return read_behind_bytes(l, p);
    bool known;
    SONDE_TRY(read_splitter(l, p, &known));
    if (known) return SONDE_OK;
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(l, p);
    if (strcmp(type, "CharDelimiterSplit") == 0) return read_delimiter(l, p);
    if (strcmp(type, "WhitespaceSplit") == 0) return add_rule(l, "\\s", SONDE_SPLIT_REMOVED);
    if (strcmp(type, "Whitespace") == 0)
        return sonde_add_split(l->t, "\\p{=word}+|[^\\p{=word}\\s]+", 26, SONDE_SPLIT_REMOVED, true,
                               l->err);
    if (strcmp(type, "ByteLevel") != 0) return sonde_loader_refuse(l, "pre-tokenizer", type);
    *byte_level = true;
    return read_byte_level(l, p);
}

sonde_status sonde_load_pretokenizer(sonde_tokenizer *t, const json_t *json, const char *path,
                                     bool *byte_level, sonde_error *err)
{
    sonde_loader l = {t, path, err};
    *byte_level = false;
    return json && !json_is_null(json) ? read_pre_tokenizer(&l, json, byte_level) : SONDE_OK;
}

/* ---- decoder --------------------------------------------------------------------------------- */

/* What the chain has come to: pieces one by one, or one text. */
typedef enum chain_state { CHAIN_PIECES, CHAIN_BYTES, CHAIN_TEXT } chain_state;

static sonde_status read_decoder_replace(sonde_loader *l, const json_t *d, chain_state state)
{
    sonde_decoding *to = &l->t->decoding;
    const char *from, *content;
    size_t n, bytes;
    if (state != CHAIN_PIECES)
        return sonde_loader_refuse(l, "decoder behind ByteFallback or Fuse", "Replace");
    if (!text_of(json_object_get(d, "pattern"), "String", &from, &n) || n == 0 ||
        !text_of(d, "content", &content, &bytes))
        return sonde_loader_refuse(l, "decoder pattern of", "Replace");
    if (to->n_replace == SONDE_COUNT(to->replace))
        return sonde_loader_refuse(l, "decoder", "Replace so many times");
    sonde_replacement *r = &to->replace[to->n_replace++];
    r->from = sonde_strndup(from, n);
    r->to = sonde_strndup(content, bytes);
    return r->from && r->to ? SONDE_OK : sonde_no_memory(l->err, "a decoder", n);
}

static sonde_status read_decoder_strip(sonde_loader *l, const json_t *d, chain_state state)
{
    sonde_decoding *to = &l->t->decoding;
    json_int_t start = json_integer_value(json_object_get(d, "start"));
    json_int_t stop = json_integer_value(json_object_get(d, "stop"));
    if (state != CHAIN_TEXT) return sonde_loader_refuse(l, "decoder in front of Fuse", "Strip");
    if (to->strip_start || to->strip_stop) return sonde_loader_refuse(l, "second decoder", "Strip");
    if (!single_char(json_object_get(d, "content"), &to->strip) || start < 0 || stop < 0 ||
        start > 1000 || stop > 1000)
        return sonde_loader_refuse(l, "decoder option of", "Strip");
    to->strip_start = (uint32_t)start;
    to->strip_stop = (uint32_t)stop;
    return SONDE_OK;
}

static sonde_status read_decoder_metaspace(sonde_loader *l, const json_t *d, chain_state state)
{
    sonde_decoding *to = &l->t->decoding;
    sonde_prepend prepend;
    if (state != CHAIN_PIECES || to->n_replace > 0)
        return sonde_loader_refuse(l, "decoder behind another", "Metaspace");
    if (!single_char(json_object_get(d, "replacement"), &to->space) || !prepend_scheme(d, &prepend))
        return sonde_loader_refuse(l, "decoder option of", "Metaspace");
    char space[5] = "";
    sonde_utf8_put(to->space, space);
    to->drop_first = prepend != SONDE_PREPEND_NEVER;
    to->replace[0] = (sonde_replacement){sonde_strdup(space), sonde_strdup(" ")};
    to->n_replace = 1;
    return to->replace[0].from && to->replace[0].to ? SONDE_OK
                                                    : sonde_no_memory(l->err, "a decoder", 8);
}

static sonde_status read_decoder(sonde_loader *l, const json_t *d, chain_state *state)
{
    const char *type = sonde_loader_type(d);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(d, "decoders");
        for (size_t i = 0; i < json_array_size(list); i++)
            SONDE_TRY(read_decoder(l, json_array_get(list, i), state));
        return SONDE_OK;
    }
    if (l->t->decoding.kind == SONDE_DECODE_BYTES)
        return sonde_loader_refuse(l, "decoder behind ByteLevel", type);
    if (strcmp(type, "Replace") == 0) return read_decoder_replace(l, d, *state);
    if (strcmp(type, "Strip") == 0) return read_decoder_strip(l, d, *state);
    if (strcmp(type, "Metaspace") == 0) return read_decoder_metaspace(l, d, *state);
    if (strcmp(type, "Fuse") == 0) return *state = CHAIN_TEXT, SONDE_OK;
    if (strcmp(type, "ByteFallback") == 0 && *state == CHAIN_PIECES) {
        l->t->decoding.byte_fallback = true;
        *state = CHAIN_BYTES;
        return SONDE_OK;
    }
    if (strcmp(type, "ByteLevel") == 0 && *state == CHAIN_PIECES && l->t->decoding.n_replace == 0) {
        l->t->decoding.kind = SONDE_DECODE_BYTES;
        return SONDE_OK;
    }
    return sonde_loader_refuse(l, "decoder", type);
}

sonde_status sonde_load_decoder(sonde_tokenizer *t, const json_t *json, const char *path,
                                sonde_error *err)
{
    sonde_loader l = {t, path, err};
    chain_state state = CHAIN_PIECES;
    t->decoding.kind = json && !json_is_null(json) ? SONDE_DECODE_PIECES : SONDE_DECODE_SPACED;
    if (t->decoding.kind == SONDE_DECODE_SPACED) return SONDE_OK;
    SONDE_TRY(read_decoder(&l, json, &state));
    if (t->decoding.kind == SONDE_DECODE_BYTES && !t->model.byte_level)
        return sonde_loader_refuse(&l, "decoder without its pre-tokenizer", "ByteLevel");
    if (t->decoding.kind != SONDE_DECODE_BYTES && t->model.byte_level)
        return sonde_loader_refuse(&l, "decoder of a byte-level vocabulary",
                                   sonde_loader_type(json));
    return SONDE_OK;
}

sonde_status sonde_decode_like_sentencepiece(sonde_tokenizer *t, bool strip, sonde_error *err)
{
    sonde_decoding *d = &t->decoding;
    d->kind = SONDE_DECODE_PIECES;
    d->byte_fallback = true;
    d->replace[0] = (sonde_replacement){sonde_strdup("\xE2\x96\x81"), sonde_strdup(" ")};
    d->n_replace = 1;
    d->strip = ' ';
    d->strip_start = strip;
    return d->replace[0].from && d->replace[0].to ? SONDE_OK : sonde_no_memory(err, "a decoder", 8);
}
