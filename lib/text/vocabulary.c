/* vocabulary.c - pieces, the byte-level alphabet, and the tables that find pieces. */
#include "text_internal.h"

#include <string.h>

/* ---- texts that stay ------------------------------------------------------------------------- */

#define BLOCK_BYTES ((size_t)1 << 18)

char *sonde_arena_copy(sonde_arena *a, const char *bytes, size_t n)
{
    if (a->count == 0 || a->size - a->used < n + 1) {
        size_t size = SONDE_MAX(BLOCK_BYTES, n + 1);
        if (!sonde_grow(&a->blocks, &a->capacity, a->count + 1, sizeof *a->blocks)) return NULL;
        a->blocks[a->count] = sonde_alloc_raw(size, 1);
        if (!a->blocks[a->count]) return NULL;
        a->count++;
        a->used = 0;
        a->size = size;
    }
    char *to = a->blocks[a->count - 1] + a->used;
    if (n > 0) memcpy(to, bytes, n);
    to[n] = '\0';
    a->used += n + 1;
    return to;
}

void sonde_arena_reset(sonde_arena *a)
{
    for (size_t i = 0; i < a->count; i++) sonde_free(a->blocks[i]);
    sonde_free(a->blocks);
    memset(a, 0, sizeof *a);
}

/* ---- byte-level alphabet --------------------------------------------------------------------- */

/* Bytes 33-126, 161-172, 174-255 stand for themselves; the 68 others, in order, for U+0100 up. */
static bool stands_for_itself(uint32_t c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

int sonde_byte_of_char(uint32_t c)
{
    if (c < 256) return stands_for_itself(c) ? (int)c : -1;
    if (c >= 0x100 + 68) return -1;
    uint32_t left = c - 0x100;
    if (left <= 32) return (int)left;
    return left <= 66 ? (int)(left - 33 + 127) : 173;
}

uint32_t sonde_char_of_byte(unsigned char byte)
{
    if (stands_for_itself(byte)) return byte;
    if (byte <= 32) return 0x100u + byte;
    return byte == 173 ? 0x100u + 67 : 0x100u + 33 + (byte - 127u);
}

bool sonde_unmap_bytes(const char *text, size_t bytes, char *raw, size_t *length)
{
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        at += sonde_utf8_get(text + at, &c);
        int byte = sonde_byte_of_char(c);
        if (byte < 0) return false;
        raw[n++] = (char)byte;
    }
    *length = n;
    return true;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

#define MAX_ID (1u << 21)

sonde_status sonde_vocabulary_slot(sonde_tokenizer *t, uint32_t id, sonde_piece **piece,
                                   sonde_error *err)
{
    if (id >= MAX_ID)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "token id %u is above %u", id, MAX_ID - 1);
    if (!sonde_grow(&t->pieces, &t->piece_capacity, (size_t)id + 1, sizeof *t->pieces))
        return sonde_no_memory(err, "the vocabulary", (size_t)id * sizeof *t->pieces);
    t->n_pieces = SONDE_MAX(t->n_pieces, (size_t)id + 1);
    *piece = &t->pieces[id];
    return SONDE_OK;
}

sonde_status sonde_vocabulary_add(sonde_tokenizer *t, uint32_t id, const char *text, size_t bytes,
                                  sonde_error *err)
{
    sonde_piece *p = NULL;
    SONDE_TRY(sonde_vocabulary_slot(t, id, &p, err));
    if (p->in_model)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "token id %u stands for two pieces", id);
    if (bytes > UINT32_MAX / 8 || sonde_utf8_valid_prefix(text, bytes) != bytes)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "token id %u: its text is not valid UTF-8", id);
    char *copy = sonde_arena_copy(&t->arena, text, bytes);
    if (!copy) return sonde_no_memory(err, "the vocabulary", bytes);
    size_t length = bytes;
    bool mapped = t->model.byte_level && sonde_unmap_bytes(text, bytes, copy, &length);
    if (t->model.byte_level && !mapped) memcpy(copy, text, bytes);
    copy[length] = '\0';
    p->text = copy;
    p->length = (uint32_t)length;
    p->present = p->in_model = true;
    p->outside = t->model.byte_level && !mapped;
    return SONDE_OK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

size_t sonde_table_size(size_t n)
{
    size_t size = 64;
    while (size < 2 * n) size *= 2;
    return size;
}

/* The slot of a text: of the piece that has it, or the empty one where it would stand; *tag: what
 * that one is to get. */
static sonde_piece_slot *find_slot(const sonde_tokenizer *t, const char *text, size_t n,
                                   bool outside, uint32_t *tag)
{
    const sonde_piece_table *table = &t->model.by_text;
    uint64_t hash = sonde_hash64(text, n);
    size_t slot = (size_t)hash & table->mask;
    *tag = (uint32_t)(hash >> 32);
    for (; table->slots[slot].id; slot = (slot + 1) & table->mask) {
        if (table->slots[slot].tag != *tag) continue;
        const sonde_piece *p = &t->pieces[table->slots[slot].id - 1];
        if (p->length == n && p->outside == outside && memcmp(p->text, text, n) == 0) break;
    }
    return &table->slots[slot];
}

int64_t sonde_vocabulary_find(const sonde_tokenizer *t, const char *text, size_t n)
{
    uint32_t tag;
    if (!t->model.by_text.slots || n > t->model.by_text.longest) return -1;
    return (int64_t)find_slot(t, text, n, false, &tag)->id - 1;
}

int64_t sonde_vocabulary_find_written(const sonde_tokenizer *t, const char *text, size_t n)
{
    char small[256], *raw = n <= sizeof small ? small : sonde_alloc_raw(n, 1);
    size_t length = n;
    int64_t id = -1;
    bool mapped = raw && t->model.byte_level && sonde_unmap_bytes(text, n, raw, &length);
    uint32_t tag;
    if (t->model.by_text.slots)
        id =
            (int64_t)find_slot(t, mapped ? raw : text, length, t->model.byte_level && !mapped, &tag)
                ->id -
            1;
    if (raw != small) sonde_free(raw);
    return id;
}

static sonde_status index_texts(sonde_tokenizer *t, sonde_error *err)
{
    sonde_piece_table *table = &t->model.by_text;
    size_t size = sonde_table_size(t->n_pieces);
    table->slots = sonde_alloc(size, sizeof *table->slots);
    if (!table->slots) return sonde_no_memory(err, "the vocabulary's index", size * 8);
    table->mask = size - 1;
    for (size_t id = 0; id < t->n_pieces; id++) {
        const sonde_piece *p = &t->pieces[id];
        if (!p->in_model) continue;
        uint32_t tag;
        sonde_piece_slot *slot = find_slot(t, p->text, p->length, p->outside, &tag);
        /* Of two equal texts a unigram model keeps the last, a vocabulary by text has none. */
        if (!slot->id || t->model.kind == SONDE_MODEL_UNIGRAM)
            *slot = (sonde_piece_slot){(uint32_t)id + 1, tag};
        table->longest = SONDE_MAX(table->longest, p->length);
    }
    return SONDE_OK;
}

static size_t char_slot(const sonde_model *m, uint32_t c)
{
    size_t slot = (size_t)((c * (uint64_t)0x9E3779B97F4A7C15u) >> 24) & m->char_mask;
    while (m->char_keys[slot] && m->char_keys[slot] != c + 1) slot = (slot + 1) & m->char_mask;
    return slot;
}

int64_t sonde_vocabulary_find_char(const sonde_tokenizer *t, uint32_t c)
{
    size_t slot = char_slot(&t->model, c);
    return t->model.char_keys[slot] ? (int64_t)t->model.char_ids[slot] : -1;
}

/* True when the piece is one character, which is given. */
static bool single_char(const sonde_piece *p, uint32_t *c)
{
    return p->in_model && p->length > 0 && p->length <= 4 &&
           sonde_utf8_get(p->text, c) == p->length;
}

static sonde_status index_chars(sonde_tokenizer *t, sonde_error *err)
{
    sonde_model *m = &t->model;
    size_t n = 0;
    uint32_t c;
    for (size_t id = 0; id < t->n_pieces; id++) n += single_char(&t->pieces[id], &c);
    size_t size = sonde_table_size(n);
    m->char_keys = sonde_alloc(size, sizeof *m->char_keys);
    m->char_ids = sonde_alloc(size, sizeof *m->char_ids);
    if (!m->char_keys || !m->char_ids)
        return sonde_no_memory(err, "the vocabulary's index", size * 8);
    m->char_mask = size - 1;
    for (size_t id = 0; id < t->n_pieces; id++) {
        if (!single_char(&t->pieces[id], &c)) continue;
        size_t slot = char_slot(m, c);
        if (m->char_keys[slot]) continue;
        m->char_keys[slot] = c + 1;
        m->char_ids[slot] = (uint32_t)id;
    }
    return SONDE_OK;
}

static void index_bytes(sonde_tokenizer *t)
{
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte, name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        t->model.byte_ids[byte] = t->model.byte_level ? sonde_vocabulary_find(t, &c, 1) : -1;
        t->model.fallback_ids[byte] = sonde_vocabulary_find_written(t, name, 6);
    }
}

sonde_status sonde_vocabulary_index(sonde_tokenizer *t, sonde_error *err)
{
    SONDE_TRY(index_texts(t, err));
    if (!t->model.byte_level) SONDE_TRY(index_chars(t, err));
    index_bytes(t);
    t->model.whole = sonde_alloc(t->n_pieces + 1, sizeof *t->model.whole);
    return t->model.whole ? SONDE_OK : sonde_no_memory(err, "the vocabulary's index", t->n_pieces);
}
