/*
 * encode.c - text to ids. Added tokens that match the text as given are cut out first; what lies
 * between them is normalised, cut again at the added tokens that match normalised text, split into
 * pieces and given to the model.
 */
#include "text_internal.h"

#include <string.h>

void sonde_tokens_reset(sonde_tokens *tokens)
{
    sonde_free(tokens->ids);
    sonde_free(tokens->text_start);
    sonde_free(tokens->text_end);
    memset(tokens, 0, sizeof *tokens);
}

static bool grow_tokens(sonde_tokens *tokens)
{
    size_t capacity = tokens->capacity, again = capacity, third = capacity,
           need = tokens->count + 1;
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

sonde_status sonde_regex_failed(sonde_regex_result result, sonde_error *err)
{
    if (result == SONDE_REGEX_NO_MEMORY) return sonde_no_memory(err, "a split rule", 1 << 16);
    return sonde_fail(err, SONDE_BAD_PROMPT,
                      "a split rule of the tokenizer takes too many steps on "
                      "this text");
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static bool has_class(const sonde_char *c, uint32_t class)
{
    return (sonde_unicode_class(c->code_point) & class) != 0;
}

/* A token that is ordinary writing: white space, or an element of HTML (Gemma has both). */
static bool is_ordinary(const sonde_added *token)
{
    static const char *const elements[] = {
        "a",     "b",  "blockquote", "br",     "caption", "code", "del", "em",    "h1",
        "h2",    "h3", "h4",         "h5",     "h6",      "hr",   "i",   "img",   "li",
        "ol",    "p",  "pre",        "strong", "strike",  "sub",  "sup", "table", "td",
        "tbody", "th", "tfoot",      "tr",     "thead",   "u",    "ul"};
    const char *text = token->content, *end = text + strlen(text);
    size_t n;
    while ((n = strspn(text, " \t\n\r")) > 0 || strncmp(text, "\xE2\x96\x81", 3) == 0)
        text += n > 0 ? n : 3;
    if (text == end) return true;
    if (*text++ != '<' || end[-1] != '>') return false;
    text += *text == '/';
    for (size_t i = 0; i < SONDE_COUNT(elements); i++)
        if (strlen(elements[i]) == (size_t)(end - 1 - text) &&
            memcmp(elements[i], text, strlen(elements[i])) == 0)
            return true;
    return false;
}

/* Is a byte of these characters content that must not become this token? */
static bool is_plain(const sonde_encoder *e, const sonde_added *token, const sonde_char *chars,
                     size_t begin, size_t end)
{
    if (!e->plain || end == begin) return false;
    uint32_t from = chars[begin].start, to = chars[end - 1].end;
    return memchr(e->plain + from, 1, to - from) && (token->special || !is_ordinary(token));
}

static bool accepted(const sonde_encoder *e, const sonde_added *token, const sonde_char *chars,
                     size_t n, size_t begin, size_t end)
{
    if (e->literal && token->special) return false;
    if (is_plain(e, token, chars, begin, end)) return false;
    if (!token->single_word) return true;
    bool before = begin > 0 && has_class(&chars[begin - 1], SONDE_CLASS_WORD);
    bool after = end < n && has_class(&chars[end], SONDE_CLASS_WORD);
    return !before && !after;
}

typedef sonde_status gap_function(sonde_encoder *e, const sonde_char *chars, size_t n);

/* Cuts chars at the matcher's tokens; what lies between goes to `gap`. Space that rstrip swallowed
 * may still begin the next token, as in Hugging Face. */
static sonde_status cut_at_tokens(sonde_encoder *e, const sonde_matcher *m, const sonde_char *chars,
                                  size_t n, gap_function *gap)
{
    size_t done = 0, length;
    for (size_t at = 0; m->count > 0 && (at = sonde_matcher_skip(m, chars, n, at)) < n;) {
        const sonde_added *token = sonde_matcher_at(m, chars, n, at, &length);
        if (!token) {
            at++;
            continue;
        }
        size_t begin = at, end = at + length;
        at = end;
        if (!accepted(e, token, chars, n, begin, end)) continue;
        while (token->lstrip && begin > done && has_class(&chars[begin - 1], SONDE_CLASS_SPACE))
            begin--;
        while (token->rstrip && end < n && has_class(&chars[end], SONDE_CLASS_SPACE)) end++;
        if (begin > done) SONDE_TRY(gap(e, chars + done, begin - done));
        SONDE_TRY(
            sonde_tokens_push(e->out, token->id, chars[begin].start, chars[end - 1].end, e->err));
        done = end;
    }
    return gap(e, chars + done, n - done);
}

static sonde_status encode_chars(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    return sonde_pretokenize(e, chars, n, 0);
}

/* No pre-tokenizer writes anything into the text. */
static bool only_splits(const sonde_tokenizer *t)
{
    for (size_t i = 0; i < t->n_pretokenizers; i++)
        if (!t->pretokenizers[i].regex) return false;
    return true;
}

/* A stretch of the text as given: normalise it, then cut at normalised tokens. */
static sonde_status encode_gap(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    if (n == 0) return SONDE_OK;
    bool same = sonde_is_normalized(e->t, chars, n);
    e->as_given = same && only_splits(e->t);
    if (same) return cut_at_tokens(e, &e->t->normalized, chars, n, encode_chars);
    sonde_chars copy = {0};
    sonde_status status = sonde_normalize(e->t, &e->regex, chars, n, &copy, e->err);
    if (status == SONDE_OK)
        status = cut_at_tokens(e, &e->t->normalized, copy.data, copy.count, encode_chars);
    sonde_free(copy.data);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Where the part that begins at `from` ends, by the tokenizer's own limits. */
static size_t part_end(const sonde_encoder *e, size_t from)
{
    const sonde_chars *c = &e->chars;
    size_t limit = SONDE_MIN(c->count, (from / e->t->most_chars + 1) * e->t->most_chars);
    size_t run = 0;
    bool space = false;
    for (size_t at = from; at < limit; at++) {
        bool is_space = has_class(&c->data[at], SONDE_CLASS_SPACE);
        run = at > from && is_space == space ? run + 1 : 1;
        space = is_space;
        if (run > e->t->most_run) return at;
    }
    return limit;
}

static sonde_status encode_parts(sonde_encoder *e)
{
    const sonde_chars *c = &e->chars;
    if (e->t->most_chars == 0) return cut_at_tokens(e, &e->t->raw, c->data, c->count, encode_gap);
    for (size_t from = 0, end; from < c->count; from = end) {
        end = part_end(e, from);
        SONDE_TRY(cut_at_tokens(e, &e->t->raw, c->data + from, end - from, encode_gap));
    }
    return SONDE_OK;
}

static sonde_status add_template(sonde_encoder *e, const uint32_t *ids, size_t n, uint32_t at)
{
    for (size_t i = 0; i < n; i++) SONDE_TRY(sonde_tokens_push(e->out, ids[i], at, at, e->err));
    return SONDE_OK;
}

static sonde_status encode_all(sonde_encoder *e, sonde_bos_mode bos)
{
    bool unigram = e->t->model.kind == SONDE_MODEL_UNIGRAM;
    if (!sonde_chars_append(&e->chars, e->text, 0, e->bytes))
        return sonde_no_memory(e->err, "tokenizing", e->bytes * sizeof *e->chars.data);
    if (unigram) e->unigram = sonde_unigram_scratch_create();
    else e->bpe = sonde_bpe_scratch_take(e->t, e->bytes);
    if (!e->unigram && !e->bpe) return sonde_no_memory(e->err, "tokenizing", 64);
    uint32_t forced = (uint32_t)e->t->bos;
    if (bos == SONDE_BOS_AUTO) SONDE_TRY(add_template(e, e->t->prefix, e->t->n_prefix, 0));
    if (bos == SONDE_BOS_YES) {
        if (e->t->bos < 0)
            return sonde_fail(e->err, SONDE_USAGE,
                              "a beginning-of-sequence token was asked for, but "
                              "the tokenizer has none");
        SONDE_TRY(add_template(e, &forced, 1, 0));
    }
    SONDE_TRY(encode_parts(e));
    if (bos == SONDE_BOS_NO) return SONDE_OK;
    return add_template(e, e->t->suffix, e->t->n_suffix, (uint32_t)e->bytes);
}

static void encoder_reset(sonde_encoder *e)
{
    sonde_bpe_scratch_give(e->t, &e->bpe);
    sonde_unigram_scratch_destroy(&e->unigram);
    sonde_free(e->regex.stack);
    sonde_free(e->chars.data);
    for (size_t i = 0; i < SONDE_MAX_STAGES; i++) sonde_free(e->written[i].data);
}

/* What split rules may spend: real ones take a few steps a character. */
#define STEPS_AT_LEAST ((uint64_t)1 << 26)
#define STEPS_PER_BYTE 256u

sonde_status sonde_tokenizer_encode(const sonde_tokenizer *tokenizer, const char *text,
                                    size_t bytes, const sonde_encode_options *options,
                                    sonde_tokens *tokens, sonde_error *err)
{
    size_t valid = sonde_utf8_valid_prefix(text, bytes);
    if (valid != bytes)
        return sonde_fail(err, SONDE_BAD_PROMPT, "text is not valid UTF-8 from byte %zu on", valid);
    if (bytes > INT32_MAX / 4)
        return sonde_fail(err, SONDE_BAD_PROMPT, "a text of %zu bytes: at most 512 MiB", bytes);
    sonde_encoder e = {.t = tokenizer,
                       .text = text,
                       .bytes = bytes,
                       .out = tokens,
                       .err = err,
                       .regex.budget = STEPS_AT_LEAST + bytes * STEPS_PER_BYTE,
                       .literal = options && options->literal_special,
                       .plain = options ? options->plain : NULL};
    tokens->count = 0;
    sonde_status status = encode_all(&e, options ? options->bos : SONDE_BOS_AUTO);
    encoder_reset(&e);
    return status;
}
