/*
 * prompts_tokens.c - token ids of a prompt.
 *
 * A text with a continuation is encoded as one text when the ids of the prompt alone are a prefix
 * of it: the continuation is then what a model would have read had it been written on. Where a
 * token spans the boundary the two are encoded on their own, so that the prompt's ids never depend
 * on what follows.
 */
#include "prompts_internal.h"

#include <string.h>

/* ---- arrays ---------------------------------------------------------------------------------- */

static sonde_status make_room(sonde_prompt *p, size_t n, bool with_text, sonde_error *err)
{
    p->tokens = sonde_alloc_raw(n, sizeof *p->tokens);
    if (with_text) {
        p->text_start = sonde_alloc_raw(n, sizeof *p->text_start);
        p->text_end = sonde_alloc_raw(n, sizeof *p->text_end);
    }
    if (!p->tokens || (with_text && (!p->text_start || !p->text_end)))
        return sonde_no_memory(err, "the tokens of a prompt", n * sizeof *p->tokens);
    p->n_tokens = (int64_t)n;
    return SONDE_OK;
}

/* Ids of a JSON array to `out`. */
static sonde_status read_ids(const json_t *array, const char *key, int64_t vocab, uint32_t *out,
                             sonde_error *err)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value))
            return sonde_fail(err, SONDE_BAD_PROMPT, "'%s'[%zu]: expected a token id", key, i);
        int64_t id = json_integer_value(value);
        if (id < 0 || id >= vocab)
            return sonde_fail(err, SONDE_BAD_PROMPT,
                              "'%s'[%zu]: token id %lld is out of range, the "
                              "model's vocabulary has 0 to %lld",
                              key, i, (long long)id, (long long)vocab - 1);
        out[i] = (uint32_t)id;
    }
    return SONDE_OK;
}

static sonde_status take_ids(sonde_prompt_encoder *e, const sonde_prompt_draft *d, sonde_prompt *p,
                             sonde_error *err)
{
    size_t n = json_array_size(d->tokens), more = json_array_size(d->continuation_tokens);
    SONDE_TRY(make_room(p, n + more, false, err));
    p->n_prompt = (int64_t)n;
    SONDE_TRY(read_ids(d->tokens, "tokens", e->vocab, p->tokens, err));
    if (more == 0) return SONDE_OK;
    return read_ids(d->continuation_tokens, "continuation", e->vocab, p->tokens + n, err);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* A conversation's template writes its own beginning: only where --add-bos yes finds none there is
 * one added. */
static bool lacks_bos(const sonde_prompt_encoder *e, const sonde_tokens *tokens)
{
    int64_t bos = sonde_tokenizer_bos(e->tokenizer);
    return e->options.bos == SONDE_BOS_YES && (tokens->count == 0 || tokens->ids[0] != bos);
}

/* The prompt's text [from, to). */
static sonde_status encode(sonde_prompt_encoder *e, const sonde_prompt *p, size_t from, size_t to,
                           sonde_tokens *out, sonde_error *err)
{
    sonde_encode_options options = e->options;
    if (from > 0 || e->plain) options.bos = SONDE_BOS_NO;
    if (e->plain) options.literal_special = 0;
    options.plain = e->plain ? e->plain + from : NULL;
    uint64_t start = sonde_now_ns();
    sonde_status status =
        sonde_tokenizer_encode(e->tokenizer, p->text + from, to - from, &options, out, err);
    if (status == SONDE_OK && e->plain && from == 0 && lacks_bos(e, out)) {
        options.bos = SONDE_BOS_YES;
        status = sonde_tokenizer_encode(e->tokenizer, p->text, to, &options, out, err);
    }
    e->tokenize_ns += sonde_now_ns() - start;
    return status;
}

static bool is_prefix(const sonde_tokens *head, const sonde_tokens *whole)
{
    return head->count <= whole->count &&
           (head->count == 0 ||
            memcmp(head->ids, whole->ids, head->count * sizeof *head->ids) == 0);
}

static void copy_tokens(sonde_prompt *p, size_t at, const sonde_tokens *from, uint32_t base)
{
    for (size_t i = 0; i < from->count; i++) {
        p->tokens[at + i] = from->ids[i];
        p->text_start[at + i] = from->text_start[i] + base;
        p->text_end[at + i] = from->text_end[i] + base;
    }
}

/* `head` holds the prompt's ids. */
static sonde_status append_continuation(sonde_prompt_encoder *e, size_t text_bytes, sonde_prompt *p,
                                        sonde_error *err)
{
    SONDE_TRY(encode(e, p, 0, p->text_bytes, &e->whole, err));
    if (is_prefix(&e->head, &e->whole)) {
        SONDE_TRY(make_room(p, e->whole.count, true, err));
        copy_tokens(p, 0, &e->whole, 0);
        return SONDE_OK;
    }
    SONDE_TRY(encode(e, p, text_bytes, p->text_bytes, &e->whole, err));
    SONDE_TRY(make_room(p, e->head.count + e->whole.count, true, err));
    copy_tokens(p, 0, &e->head, 0);
    copy_tokens(p, e->head.count, &e->whole, (uint32_t)text_bytes);
    return SONDE_OK;
}

static sonde_status copy_text(const sonde_prompt_draft *d, sonde_prompt *p, sonde_error *err)
{
    p->text_bytes = d->text_bytes + d->continuation_bytes;
    p->text = sonde_alloc_raw(p->text_bytes + 1, 1);
    if (!p->text) return sonde_no_memory(err, "the text of a prompt", p->text_bytes);
    memcpy(p->text, d->text, d->text_bytes);
    if (d->continuation) memcpy(p->text + d->text_bytes, d->continuation, d->continuation_bytes);
    p->text[p->text_bytes] = '\0';
    return SONDE_OK;
}

static sonde_status check_vocab(const sonde_prompt_encoder *e, const sonde_prompt *p,
                                sonde_error *err)
{
    for (int64_t i = 0; i < p->n_tokens; i++)
        if (p->tokens[i] >= e->vocab)
            return sonde_fail(err, SONDE_BAD_TOKENIZER,
                              "the tokenizer gives id %u, but the model's "
                              "vocabulary has 0 to %lld: they do not belong together",
                              p->tokens[i], (long long)e->vocab - 1);
    return SONDE_OK;
}

static sonde_status take_text(sonde_prompt_encoder *e, sonde_prompt_draft *d, sonde_prompt *p,
                              sonde_error *err)
{
    if (!e->tokenizer)
        return sonde_fail(err, SONDE_BAD_PROMPT,
                          "a text cannot be read: the model has no tokenizer; "
                          "give token ids ('tokens')");
    SONDE_TRY(sonde_prompt_render(e, d, err));
    SONDE_TRY(copy_text(d, p, err));
    SONDE_TRY(encode(e, p, 0, d->text_bytes, &e->head, err));
    if (e->head.count == 0) return sonde_fail(err, SONDE_BAD_PROMPT, "the text gives no token");
    p->n_prompt = (int64_t)e->head.count;
    if (d->continuation) {
        SONDE_TRY(append_continuation(e, d->text_bytes, p, err));
    } else {
        SONDE_TRY(make_room(p, e->head.count, true, err));
        copy_tokens(p, 0, &e->head, 0);
    }
    if (d->continuation && p->n_tokens == p->n_prompt)
        return sonde_fail(err, SONDE_BAD_PROMPT, "the continuation gives no token");
    SONDE_TRY(check_vocab(e, p, err));
    return sonde_prompt_label(e, p, err);
}

sonde_status sonde_prompt_encode(sonde_prompt_encoder *encoder, sonde_prompt_draft *draft,
                                 sonde_prompt *prompt, sonde_error *err)
{
    if (draft->tokens) return take_ids(encoder, draft, prompt, err);
    return take_text(encoder, draft, prompt, err);
}
