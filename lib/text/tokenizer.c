/* tokenizer.c - the life of a tokenizer, its hash and queries. */
#include "text_internal.h"

#include <string.h>

sonde_status sonde_tokenizer_new(sonde_tokenizer **tokenizer, sonde_error *err)
{
    sonde_tokenizer *t = sonde_alloc(1, sizeof *t);
    *tokenizer = t;
    if (!t) return sonde_no_memory(err, "a tokenizer", sizeof *t);
    t->model.idle = sonde_alloc(1, sizeof *t->model.idle);
    if (!t->model.idle) {
        sonde_tokenizer_destroy(tokenizer);
        return sonde_no_memory(err, "a tokenizer", sizeof *t->model.idle);
    }
    t->bos = t->eos = t->model.unknown = -1;
    return SONDE_OK;
}

static void model_reset(sonde_model *m)
{
    sonde_free(m->merges.rows);
    sonde_free(m->by_text.slots);
    sonde_free(m->char_keys);
    sonde_free(m->char_ids);
    sonde_free(m->whole);
    sonde_free(m->joined.data);
    sonde_free(m->scores);
    sonde_trie_reset(&m->trie);
}

void sonde_tokenizer_destroy(sonde_tokenizer **tokenizer)
{
    sonde_tokenizer *t = *tokenizer;
    if (!t) return;
    sonde_arena_reset(&t->arena);
    sonde_free(t->pieces);
    sonde_matcher_reset(&t->raw);
    sonde_matcher_reset(&t->normalized);
    sonde_bpe_idle_reset(t);
    model_reset(&t->model);
    sonde_stages_reset(t);
    sonde_free(t);
    *tokenizer = NULL;
}

/* ---- hash ------------------------------------------------------------------------------------ */

static void hash_matcher(const sonde_matcher *m, sonde_string *text)
{
    for (size_t i = 0; i < m->count; i++) {
        const sonde_added *a = &m->tokens[i];
        sonde_string_format(text, "a%u %d%d%d%d%d ", a->id, a->lstrip, a->rstrip, a->single_word,
                            a->normalized, a->special);
        sonde_string_append(text, a->text, a->length);
    }
}

static void hash_decoding(const sonde_decoding *d, sonde_string *text)
{
    sonde_string_format(text, " d%d %d %d %u %u %u %u", (int)d->kind, d->byte_fallback,
                        d->drop_first, d->space, d->strip, d->strip_start, d->strip_stop);
    for (size_t i = 0; i < d->n_replace; i++)
        sonde_string_format(text, " r%s>%s", d->replace[i].from, d->replace[i].to);
}

static void hash_model(const sonde_tokenizer *t, sonde_string *text)
{
    const sonde_model *m = &t->model;
    uint64_t merges = 0;
    for (size_t i = 0; m->merges.rows && i <= m->merges.mask; i++) {
        const sonde_merge *row = &m->merges.rows[i];
        uint64_t words[2] = {row->key, (uint64_t)row->rank << 32 | row->result};
        if (row->key) merges += sonde_hash64(words, sizeof words);
    }
    sonde_string_format(text, "m%llx k%d b%d i%d f%d u%d %lld", (unsigned long long)merges,
                        (int)m->kind, m->byte_level, m->ignore_merges, m->byte_fallback,
                        m->fuse_unknown, (long long)m->unknown);
    for (size_t id = 0; m->scores && id < t->n_pieces; id++) /* added tokens have none */
        if (t->pieces[id].in_model)
            sonde_string_append(text, (const char *)&m->scores[id], sizeof *m->scores);
}

/* Everything that decides an id or a text: pieces, model, stages, added tokens, template. */
sonde_status sonde_tokenizer_seal(sonde_tokenizer *t, sonde_error *err)
{
    sonde_string text = {0};
    for (size_t id = 0; id < t->n_pieces; id++) {
        const sonde_piece *p = &t->pieces[id];
        sonde_string_format(&text, "p%zu ", id);
        if (p->in_model) sonde_string_append(&text, p->text, p->length);
    }
    hash_model(t, &text);
    hash_decoding(&t->decoding, &text);
    if (t->rules.data) sonde_string_append(&text, t->rules.data, t->rules.length);
    for (size_t i = 0; i < t->n_prefix; i++) sonde_string_format(&text, " b%u", t->prefix[i]);
    for (size_t i = 0; i < t->n_suffix; i++) sonde_string_format(&text, " e%u", t->suffix[i]);
    hash_matcher(&t->raw, &text);
    hash_matcher(&t->normalized, &text);
    bool failed = text.failed || t->rules.failed;
    if (!failed) sonde_hash128_hex(sonde_hash128(text.data, text.length), t->hash);
    sonde_string_reset(&text);
    return failed ? sonde_no_memory(err, "the tokenizer's hash", 1 << 20) : SONDE_OK;
}

/* ---- queries --------------------------------------------------------------------------------- */

sonde_status sonde_tokenizer_piece(const sonde_tokenizer *t, uint32_t id, const char **bytes,
                                   size_t *n, sonde_error *err)
{
    if (id >= t->n_pieces || !t->pieces[id].present)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "token id %u has no piece", id);
    *bytes = t->pieces[id].shown;
    *n = t->pieces[id].shown_length;
    return SONDE_OK;
}

int64_t sonde_tokenizer_size(const sonde_tokenizer *t)
{
    return (int64_t)t->n_pieces;
}

bool sonde_tokenizer_is_special(const sonde_tokenizer *t, uint32_t id)
{
    return id < t->n_pieces && t->pieces[id].special;
}

int64_t sonde_tokenizer_bos(const sonde_tokenizer *t)
{
    return t->bos;
}

int64_t sonde_tokenizer_eos(const sonde_tokenizer *t)
{
    return t->eos;
}

static int64_t find_added(const sonde_matcher *m, const char *content)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->tokens[i].content, content) == 0) return m->tokens[i].id;
    return -1;
}

int64_t sonde_tokenizer_find(const sonde_tokenizer *t, const char *piece)
{
    size_t bytes = strlen(piece);
    if (sonde_utf8_valid_prefix(piece, bytes) != bytes) return -1;
    int64_t id = find_added(&t->raw, piece);
    if (id < 0) id = find_added(&t->normalized, piece);
    return id >= 0 ? id : sonde_vocabulary_find_written(t, piece, bytes);
}

const char *sonde_tokenizer_hash(const sonde_tokenizer *t)
{
    return t->hash;
}
