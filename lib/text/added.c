/* added.c - added tokens: how they are kept, and the longest that stands at a position. */
#include "text_internal.h"

#include <string.h>

/* The text that is matched: of a token that matches normalised text, its own normalised form. */
static sonde_status matched_text(const sonde_tokenizer *t, const sonde_added *token,
                                 sonde_string *out, sonde_error *err)
{
    sonde_string_append(out, token->text, token->length);
    if (!token->normalized || t->n_normalizers == 0) return SONDE_OK;
    sonde_chars given = {0}, chars = {0};
    sonde_regex_work work = {.budget = 1u << 24};
    sonde_status status = sonde_chars_append(&given, token->text, 0, token->length)
                              ? SONDE_OK
                              : sonde_no_memory(err, "added tokens", token->length);
    if (status == SONDE_OK && given.count > 0)
        status = sonde_normalize(t, &work, given.data, given.count, &chars, err);
    out->length = 0;
    for (size_t i = 0; i < chars.count && status == SONDE_OK; i++) {
        char utf8[4];
        sonde_string_append(out, utf8, sonde_utf8_put(chars.data[i].code_point, utf8));
    }
    sonde_free(given.data);
    sonde_free(chars.data);
    sonde_free(work.stack);
    return status;
}

static sonde_status keep_token(sonde_matcher *m, const sonde_added *token, const sonde_string *text,
                               sonde_error *err)
{
    if (!sonde_grow(&m->tokens, &m->capacity, m->count + 1, sizeof *m->tokens))
        return sonde_no_memory(err, "added tokens", m->count * sizeof *m->tokens);
    sonde_added *kept = &m->tokens[m->count++];
    *kept = *token;
    kept->length = (uint32_t)text->length;
    kept->text = sonde_strndup(text->data, text->length);
    kept->content = sonde_strndup(token->text, token->length);
    bool good = kept->text && kept->content;
    if (good && text->length > 0)
        good = sonde_trie_add(&m->trie, text->data, text->length, (uint32_t)m->count);
    return good ? SONDE_OK : sonde_no_memory(err, "added tokens", token->length);
}

sonde_status sonde_added_add(sonde_tokenizer *t, const sonde_added *token, sonde_error *err)
{
    sonde_piece *p = NULL;
    sonde_string text = {0};
    if (sonde_utf8_valid_prefix(token->text, token->length) != token->length)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "added token %u: its text is not valid UTF-8",
                          token->id);
    if (token->length > SONDE_MATCH_BYTES)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "added token %u: expected at most %d bytes, got %u",
                          token->id, SONDE_MATCH_BYTES, token->length);
    SONDE_TRY(sonde_vocabulary_slot(t, token->id, &p, err));
    sonde_status status = matched_text(t, token, &text, err);
    if (status == SONDE_OK && text.failed)
        status = sonde_no_memory(err, "added tokens", token->length);
    if (status == SONDE_OK)
        status = keep_token(token->normalized ? &t->normalized : &t->raw, token, &text, err);
    if (status == SONDE_OK) {
        char *shown = sonde_arena_copy(&t->arena, text.data, text.length);
        if (!shown) status = sonde_no_memory(err, "added tokens", text.length);
        p->shown = shown;
        p->shown_length = (uint32_t)text.length;
        p->present = p->added = true;
        /* Hugging Face knows special tokens by their text: one that normalising changed is none. */
        p->special = token->special && text.length == token->length &&
                     memcmp(text.data, token->text, text.length) == 0;
    }
    sonde_string_reset(&text);
    return status;
}

void sonde_matcher_reset(sonde_matcher *m)
{
    for (size_t i = 0; i < m->count; i++) {
        sonde_free(m->tokens[i].text);
        sonde_free(m->tokens[i].content);
    }
    sonde_free(m->tokens);
    sonde_trie_reset(&m->trie);
}

const sonde_added *sonde_matcher_at(const sonde_matcher *m, const sonde_char *chars, size_t n,
                                    size_t at, size_t *length)
{
    const sonde_added *found = NULL;
    uint32_t node = 0;
    for (size_t i = at; i < n; i++) {
        node = sonde_trie_child(&m->trie, node, chars[i].code_point);
        if (node == 0) break;
        if (m->trie.values[node] == 0) continue;
        found = &m->tokens[m->trie.values[node] - 1];
        *length = i + 1 - at;
    }
    return found;
}

size_t sonde_matcher_skip(const sonde_matcher *m, const sonde_char *chars, size_t n, size_t at)
{
    while (at < n && !sonde_trie_may_begin(&m->trie, chars[at].code_point)) at++;
    return at;
}
