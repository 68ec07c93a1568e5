/* tokenizer.c - the life of a tokenizer, its tables and queries. */
#include "text_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- byte-level alphabet ------------------------------------------------------------------------------ */

/* Bytes 33-126, 161-172, 174-255 stand for themselves; the 68 others, in order, for U+0100 up. */
static bool stands_for_itself(uint32_t c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

/* The byte that a character of the alphabet stands for, or -1. */
static int byte_of_char(uint32_t c)
{
    if (c < 256) return stands_for_itself(c) ? (int)c : -1;
    if (c >= 0x100 + 68) return -1;
    uint32_t left = c - 0x100;
    for (uint32_t byte = 0; byte < 256; byte++)
        if (!stands_for_itself(byte) && left-- == 0) return (int)byte;
    return -1;
}

char *sonde_unmap_bytes(const char *text, size_t bytes, size_t *length)
{
    char *raw = sonde_alloc_raw(bytes + 1, 1);
    if (!raw) return NULL;
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        at += sonde_utf8_get(text + at, &c);
        int byte = byte_of_char(c);
        if (byte < 0) {
            memcpy(raw, text, bytes);
            n = bytes;
            break;
        }
        raw[n++] = (char)byte;
    }
    raw[n] = '\0';
    *length = n;
    return raw;
}

/* ---- pieces ------------------------------------------------------------------------------------------- */

#define MAX_ID (1u << 24)

sonde_status sonde_tokenizer_add_piece(sonde_tokenizer *t, uint32_t id, const char *text,
                                       size_t bytes, sonde_error *err)
{
    if (id >= MAX_ID)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "token id %u is above %u", id, MAX_ID - 1);
    if (sonde_utf8_valid_prefix(text, bytes) != bytes)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "token id %u: its text is not valid UTF-8", id);
    if (!sonde_grow(&t->pieces, &t->piece_capacity, (size_t)id + 1, sizeof *t->pieces))
        return sonde_no_memory(err, "the vocabulary", (size_t)id * sizeof *t->pieces);
    size_t length;
    char *raw = sonde_unmap_bytes(text, bytes, &length);
    if (!raw) return sonde_no_memory(err, "the vocabulary", bytes);
    sonde_free(t->pieces[id].bytes);
    t->pieces[id].bytes = raw;
    t->pieces[id].length = (uint32_t)length;
    t->pieces[id].present = true;
    t->n_pieces = SONDE_MAX(t->n_pieces, (size_t)id + 1);
    return SONDE_OK;
}

static sonde_status add_token(sonde_tokenizer *t, const sonde_added *token, sonde_error *err)
{
    SONDE_TRY(sonde_tokenizer_add_piece(t, token->id, token->text, token->length, err));
    t->pieces[token->id].special = token->special;
    t->pieces[token->id].added = true;
    if (token->length == 0) return SONDE_OK;
    sonde_matcher *m = token->normalized ? &t->normalized : &t->raw;
    if (!sonde_grow(&m->tokens, &m->capacity, m->count + 1, sizeof *m->tokens))
        return sonde_no_memory(err, "added tokens", m->count * sizeof *m->tokens);
    sonde_added *copy = &m->tokens[m->count];
    *copy = *token;
    copy->text = sonde_strndup(token->text, token->length);
    if (!copy->text) return sonde_no_memory(err, "added tokens", token->length);
    m->count++;
    return SONDE_OK;
}

/* Tokens that match normalised text are themselves normalised, for matching and for decoding. */
sonde_status sonde_tokenizer_add_token(sonde_tokenizer *t, const sonde_added *token,
                                       sonde_error *err)
{
    if (sonde_utf8_valid_prefix(token->text, token->length) != token->length)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "added token %u: its text is not valid UTF-8",
                          token->id);
    if (!token->normalized || !t->nfc) return add_token(t, token, err);
    sonde_chars chars = {0};
    sonde_string text = {0};
    bool good = sonde_chars_append(&chars, token->text, 0, token->length) &&
                sonde_chars_nfc(&chars, 0);
    sonde_string_append(&text, "", 0);
    for (size_t i = 0; good && i < chars.count; i++) {
        char utf8[4];
        sonde_string_append(&text, utf8, sonde_utf8_put(chars.data[i].code_point, utf8));
    }
    sonde_added normal = *token;
    normal.text = text.data;
    normal.length = (uint32_t)text.length;
    sonde_status status = good && !text.failed ? add_token(t, &normal, err)
                                               : sonde_no_memory(err, "added tokens", token->length);
    sonde_free(chars.data);
    sonde_string_reset(&text);
    return status;
}

/* ---- tables ------------------------------------------------------------------------------------------- */

static size_t table_size(size_t n)
{
    size_t size = 64;
    while (size < 2 * n) size *= 2;
    return size;
}

static sonde_status index_pieces(sonde_tokenizer *t, sonde_error *err)
{
    size_t size = table_size(t->n_pieces);
    t->by_bytes.ids = sonde_alloc(size, sizeof *t->by_bytes.ids);
    if (!t->by_bytes.ids) return sonde_no_memory(err, "the vocabulary's index", size * 4);
    t->by_bytes.mask = size - 1;
    for (size_t id = 0; id < t->n_pieces; id++) {
        const sonde_piece *p = &t->pieces[id];
        if (!p->present || sonde_tokenizer_lookup(t, p->bytes, p->length) >= 0) continue;
        size_t slot = (size_t)sonde_hash64(p->bytes, p->length) & t->by_bytes.mask;
        while (t->by_bytes.ids[slot]) slot = (slot + 1) & t->by_bytes.mask;
        t->by_bytes.ids[slot] = (uint32_t)id + 1;
    }
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        t->byte_ids[byte] = sonde_tokenizer_lookup(t, &c, 1);
    }
    return SONDE_OK;
}

int64_t sonde_tokenizer_lookup(const sonde_tokenizer *t, const char *bytes, size_t n)
{
    size_t slot = (size_t)sonde_hash64(bytes, n) & t->by_bytes.mask;
    for (; t->by_bytes.ids[slot]; slot = (slot + 1) & t->by_bytes.mask) {
        const sonde_piece *p = &t->pieces[t->by_bytes.ids[slot] - 1];
        if (p->length == n && memcmp(p->bytes, bytes, n) == 0)
            return (int64_t)t->by_bytes.ids[slot] - 1;
    }
    return -1;
}

sonde_status sonde_tokenizer_set_merges(sonde_tokenizer *t, size_t n, const uint32_t (*pairs)[3],
                                        sonde_error *err)
{
    sonde_pair_table *m = &t->merges;
    size_t size = table_size(n);
    m->keys = sonde_alloc(size, sizeof *m->keys);
    m->ranks = sonde_alloc(size, sizeof *m->ranks);
    m->results = sonde_alloc(size, sizeof *m->results);
    m->mask = size - 1;
    if (!m->keys || !m->ranks || !m->results) return sonde_no_memory(err, "the merges", size * 16);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = ((uint64_t)pairs[i][0] << 32 | pairs[i][1]) + 1;
        uint64_t slot = ((key * 0x9E3779B97F4A7C15u) >> 20) & m->mask;
        while (m->keys[slot] && m->keys[slot] != key) slot = (slot + 1) & m->mask;
        m->keys[slot] = key; /* a pair listed twice: the later rank, as Hugging Face's map does */
        m->ranks[slot] = (uint32_t)i;
        m->results[slot] = pairs[i][2];
    }
    return SONDE_OK;
}

static int compare_added(const void *a, const void *b)
{
    const sonde_added *x = a, *y = b;
    unsigned char p = (unsigned char)x->text[0], q = (unsigned char)y->text[0];
    if (p != q) return p < q ? -1 : 1;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void index_matcher(sonde_matcher *m)
{
    if (m->count > 1) qsort(m->tokens, m->count, sizeof *m->tokens, compare_added);
    size_t at = 0;
    for (unsigned byte = 0; byte < 257; byte++) {
        while (at < m->count && (unsigned char)m->tokens[at].text[0] < byte) at++;
        m->first[byte] = (uint32_t)at;
    }
}

static void hash_matcher(const sonde_matcher *m, sonde_string *text)
{
    for (size_t i = 0; i < m->count; i++)
        sonde_string_format(text, "a%u %d%d%d%d%d %s\n", m->tokens[i].id, m->tokens[i].lstrip,
                            m->tokens[i].rstrip, m->tokens[i].single_word,
                            m->tokens[i].normalized, m->tokens[i].special, m->tokens[i].text);
}

/* Everything that decides an id: pieces, merges in order of their slots' keys, rules, added. */
static sonde_status make_hash(sonde_tokenizer *t, sonde_error *err)
{
    sonde_string text = {0};
    for (size_t id = 0; id < t->n_pieces; id++) {
        sonde_string_format(&text, "p%zu ", id);
        sonde_string_append(&text, t->pieces[id].present ? t->pieces[id].bytes : "",
                            t->pieces[id].present ? t->pieces[id].length : 0);
    }
    uint64_t merges = 0;
    for (size_t i = 0; t->merges.keys && i <= t->merges.mask; i++) {
        uint64_t row[2] = {t->merges.keys[i], (uint64_t)t->merges.ranks[i] << 32 | t->merges.results[i]};
        if (row[0]) merges += sonde_hash64(row, sizeof row);
    }
    sonde_string_format(&text, "m%llx n%d x%d i%d", (unsigned long long)merges, t->nfc,
                        t->prefix_space, t->ignore_merges);
    for (size_t i = 0; i < t->n_splits; i++) sonde_string_format(&text, " s%d", (int)t->splits[i]);
    for (size_t i = 0; i < t->n_prefix; i++) sonde_string_format(&text, " b%u", t->prefix[i]);
    for (size_t i = 0; i < t->n_suffix; i++) sonde_string_format(&text, " e%u", t->suffix[i]);
    sonde_string_text(&text, "\n");
    hash_matcher(&t->raw, &text);
    hash_matcher(&t->normalized, &text);
    if (text.failed) {
        sonde_string_reset(&text);
        return sonde_no_memory(err, "the tokenizer's hash", 1 << 20);
    }
    sonde_hash128_hex(sonde_hash128(text.data, text.length), t->hash);
    sonde_string_reset(&text);
    return SONDE_OK;
}

sonde_status sonde_tokenizer_finish(sonde_tokenizer *t, sonde_error *err)
{
    index_matcher(&t->raw);
    index_matcher(&t->normalized);
    if (!t->by_bytes.ids) SONDE_TRY(index_pieces(t, err));
    return make_hash(t, err);
}

/* ---- life and queries ----------------------------------------------------------------------------------- */

static void matcher_reset(sonde_matcher *m)
{
    for (size_t i = 0; i < m->count; i++) sonde_free(m->tokens[i].text);
    sonde_free(m->tokens);
}

void sonde_tokenizer_destroy(sonde_tokenizer **tokenizer)
{
    sonde_tokenizer *t = *tokenizer;
    if (!t) return;
    for (size_t i = 0; i < t->n_pieces; i++) sonde_free(t->pieces[i].bytes);
    sonde_free(t->pieces);
    matcher_reset(&t->raw);
    matcher_reset(&t->normalized);
    sonde_free(t->merges.keys);
    sonde_free(t->merges.ranks);
    sonde_free(t->merges.results);
    sonde_free(t->by_bytes.ids);
    sonde_free(t);
    *tokenizer = NULL;
}

sonde_status sonde_tokenizer_piece(const sonde_tokenizer *t, uint32_t id, const char **bytes,
                                   size_t *n, sonde_error *err)
{
    if (id >= t->n_pieces || !t->pieces[id].present)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "token id %u has no piece", id);
    *bytes = t->pieces[id].bytes;
    *n = t->pieces[id].length;
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

int64_t sonde_tokenizer_find(const sonde_tokenizer *t, const char *piece)
{
    size_t bytes = strlen(piece), length;
    if (sonde_utf8_valid_prefix(piece, bytes) != bytes) return -1;
    char *raw = sonde_unmap_bytes(piece, bytes, &length);
    int64_t id = raw ? sonde_tokenizer_lookup(t, raw, length) : -1;
    sonde_free(raw);
    return id;
}

const char *sonde_tokenizer_hash(const sonde_tokenizer *t)
{
    return t->hash;
}
