/*
 * encode.c - text to ids. Added tokens that match the text as given are cut out first; what lies
 * between them is normalised, cut again at the added tokens that match normalised text, split into
 * pieces and merged.
 */
#include "text_internal.h"

#include <string.h>

typedef struct encoder {
    const sonde_tokenizer *t;
    const char *text;
    size_t bytes;
    bool literal;
    sonde_tokens *out;
    sonde_bpe_scratch *bpe;
    sonde_chars chars;
    sonde_error *err;
} encoder;

void sonde_tokens_reset(sonde_tokens *tokens)
{
    sonde_free(tokens->ids);
    sonde_free(tokens->text_start);
    sonde_free(tokens->text_end);
    memset(tokens, 0, sizeof *tokens);
}

static bool grow_tokens(sonde_tokens *tokens)
{
    size_t capacity = tokens->capacity, again = capacity, third = capacity, need = tokens->count + 1;
    bool good = sonde_grow(&tokens->ids, &capacity, need, 4) &&
                sonde_grow(&tokens->text_start, &again, need, 4) &&
                sonde_grow(&tokens->text_end, &third, need, 4);
    if (good) tokens->capacity = capacity;
    return good;
}

sonde_status sonde_tokens_push(sonde_tokens *tokens, uint32_t id, uint32_t start, uint32_t end,
                               sonde_error *err)
{
    if (tokens->count == tokens->capacity && !grow_tokens(tokens))
        return sonde_no_memory(err, "token ids", tokens->count * 12);
    tokens->ids[tokens->count] = id;
    tokens->text_start[tokens->count] = start;
    tokens->text_end[tokens->count++] = end;
    return SONDE_OK;
}

/* ---- splits --------------------------------------------------------------------------------------------- */

/* Splits chars[0, n) by the rules from `rule` on; the last pieces are merged. */
static sonde_status encode_pieces(encoder *e, const sonde_char *chars, size_t n, size_t rule)
{
    if (n == 0) return SONDE_OK;
    if (rule == e->t->n_splits) return sonde_bpe_encode(e->t, chars, n, e->bpe, e->out, e->err);
    for (size_t at = 0; at < n;) {
        size_t end = sonde_split_next(e->t->splits[rule], chars, n, at);
        SONDE_TRY(encode_pieces(e, chars + at, end - at, rule + 1));
        at = end;
    }
    return SONDE_OK;
}

static sonde_status encode_chars(encoder *e, const sonde_char *chars, size_t n)
{
    bool prefix = e->t->prefix_space && n > 0 && chars[0].code_point != ' ';
    if (!prefix) return encode_pieces(e, chars, n, 0);
    sonde_chars with = {0};
    bool good = sonde_chars_push(&with, ' ', chars[0].start, chars[0].start) &&
                sonde_grow(&with.data, &with.capacity, n + 1, sizeof *with.data);
    if (good) memcpy(with.data + 1, chars, n * sizeof *chars);
    sonde_status status = good ? encode_pieces(e, with.data, n + 1, 0)
                               : sonde_no_memory(e->err, "tokenizing", n * sizeof *chars);
    sonde_free(with.data);
    return status;
}

/* ---- added tokens ----------------------------------------------------------------------------------------- */

static bool is_word(uint32_t classes, uint32_t code_point)
{
    uint32_t word = SONDE_CLASS_LETTER | SONDE_CLASS_NUMBER | SONDE_CLASS_MARK;
    return (classes & word) != 0 || code_point == '_';
}

/* Does the token's text stand at chars[at]? Returns its length in characters, or 0. */
static size_t stands_at(const sonde_added *token, const sonde_char *chars, size_t n, size_t at)
{
    size_t count = 0;
    for (size_t i = 0; i < token->length; count++) {
        uint32_t c;
        i += sonde_utf8_get(token->text + i, &c);
        if (at + count >= n || chars[at + count].code_point != c) return 0;
    }
    return count;
}

/* Longest added token at chars[at], or NULL. */
static const sonde_added *match_at(const sonde_matcher *m, const sonde_char *chars, size_t n,
                                   size_t at, size_t *length)
{
    char utf8[4];
    sonde_utf8_put(chars[at].code_point, utf8);
    unsigned byte = (unsigned char)utf8[0];
    for (uint32_t i = m->first[byte]; i < m->first[byte + 1]; i++) {
        *length = stands_at(&m->tokens[i], chars, n, at);
        if (*length) return &m->tokens[i];
    }
    return NULL;
}

static bool accepted(const encoder *e, const sonde_added *token, const sonde_char *chars, size_t n,
                     size_t begin, size_t end)
{
    if (e->literal && token->special) return false;
    if (!token->single_word) return true;
    bool before = begin > 0 && is_word(chars[begin - 1].classes, chars[begin - 1].code_point);
    bool after = end < n && is_word(chars[end].classes, chars[end].code_point);
    return !before && !after;
}

typedef sonde_status gap_function(encoder *e, const sonde_char *chars, size_t n);

/* Cuts chars at the matcher's tokens; what lies between goes to `gap`. Space that rstrip swallowed
 * may still begin the next token, as in Hugging Face. */
static sonde_status cut_at_tokens(encoder *e, const sonde_matcher *m, const sonde_char *chars,
                                  size_t n, gap_function *gap)
{
    size_t done = 0, length;
    for (size_t at = 0; m->count > 0 && at < n;) {
        const sonde_added *token = match_at(m, chars, n, at, &length);
        if (!token) {
            at++;
            continue;
        }
        size_t begin = at, end = at + length;
        at = end;
        if (!accepted(e, token, chars, n, begin, end)) continue;
        while (token->lstrip && begin > done && (chars[begin - 1].classes & SONDE_CLASS_SPACE)) begin--;
        while (token->rstrip && end < n && (chars[end].classes & SONDE_CLASS_SPACE)) end++;
        if (begin > done) SONDE_TRY(gap(e, chars + done, begin - done));
        SONDE_TRY(sonde_tokens_push(e->out, token->id, chars[begin].start, chars[end - 1].end, e->err));
        done = end;
    }
    return gap(e, chars + done, n - done);
}

/* A stretch of the text as given: normalise it, then cut at normalised tokens. */
static sonde_status encode_gap(encoder *e, const sonde_char *chars, size_t n)
{
    if (n == 0) return SONDE_OK;
    if (!e->t->nfc) return cut_at_tokens(e, &e->t->normalized, chars, n, encode_chars);
    sonde_chars copy = {0};
    bool good = sonde_grow(&copy.data, &copy.capacity, n, sizeof *chars);
    if (good) {
        memcpy(copy.data, chars, n * sizeof *chars);
        copy.count = n;
        good = sonde_chars_nfc(&copy, 0);
    }
    sonde_status status = good ? cut_at_tokens(e, &e->t->normalized, copy.data, copy.count, encode_chars)
                               : sonde_no_memory(e->err, "normalising text", n * sizeof *chars);
    sonde_free(copy.data);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------ */

static sonde_status add_template(encoder *e, const uint32_t *ids, size_t n, uint32_t at)
{
    for (size_t i = 0; i < n; i++) SONDE_TRY(sonde_tokens_push(e->out, ids[i], at, at, e->err));
    return SONDE_OK;
}

static sonde_status encode_all(encoder *e, sonde_bos_mode bos)
{
    if (!sonde_chars_append(&e->chars, e->text, 0, e->bytes))
        return sonde_no_memory(e->err, "tokenizing", e->bytes * sizeof *e->chars.data);
    e->bpe = sonde_bpe_scratch_create();
    if (!e->bpe) return sonde_no_memory(e->err, "tokenizing", 64);
    uint32_t forced = (uint32_t)e->t->bos;
    if (bos == SONDE_BOS_AUTO) SONDE_TRY(add_template(e, e->t->prefix, e->t->n_prefix, 0));
    if (bos == SONDE_BOS_YES) {
        if (e->t->bos < 0)
            return sonde_fail(e->err, SONDE_USAGE, "a beginning-of-sequence token was asked for, but "
                              "the tokenizer has none");
        SONDE_TRY(add_template(e, &forced, 1, 0));
    }
    SONDE_TRY(cut_at_tokens(e, &e->t->raw, e->chars.data, e->chars.count, encode_gap));
    if (bos == SONDE_BOS_NO) return SONDE_OK;
    return add_template(e, e->t->suffix, e->t->n_suffix, (uint32_t)e->bytes);
}

sonde_status sonde_tokenizer_encode(const sonde_tokenizer *tokenizer, const char *text,
                                    size_t bytes, const sonde_encode_options *options,
                                    sonde_tokens *tokens, sonde_error *err)
{
    size_t valid = sonde_utf8_valid_prefix(text, bytes);
    if (valid != bytes)
        return sonde_fail(err, SONDE_BAD_PROMPT, "text is not valid UTF-8 from byte %zu on", valid);
    if (bytes > UINT32_MAX / 2)
        return sonde_fail(err, SONDE_BAD_PROMPT, "a text of %zu bytes: at most 2 GiB", bytes);
    encoder e = {.t = tokenizer, .text = text, .bytes = bytes, .out = tokens, .err = err,
                 .literal = options && options->literal_special};
    tokens->count = 0;
    sonde_status status = encode_all(&e, options ? options->bos : SONDE_BOS_AUTO);
    sonde_bpe_scratch_destroy(&e.bpe);
    sonde_free(e.chars.data);
    return status;
}
