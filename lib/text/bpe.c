/*
 * bpe.c - BPE of one piece. What a short piece becomes is kept for the rest of the text; a piece
 * whose own text is known to become one id costs one look-up; short ones are merged by scanning,
 * long ones by a heap of mergeable pairs by (rank, position) over a linked list, so that a long run
 * costs n log n. A pair that no longer stands is skipped when it comes up.
 */
#include "text_internal.h"

#include <string.h>

typedef struct symbol {
    int32_t previous, next; /* -1: none */
    uint32_t id;            /* UINT32_MAX: merged away */
    uint32_t first, last;   /* characters of the piece it stands for */
} symbol;

typedef struct pair {
    uint32_t rank, result;
    int32_t at; /* left symbol */
    uint32_t left, right;
} pair;

#define KEPT_BYTES 26
#define KEPT_IDS 6
#define MOST_KEPT 16384 /* pieces: a power of two */

/* A piece and what it became: one line of a cache. */
typedef struct kept_piece {
    uint8_t n_bytes, n_ids;                  /* n_bytes 0: nothing */
    uint8_t first[KEPT_IDS], last[KEPT_IDS]; /* characters of each id */
    char bytes[KEPT_BYTES];
    uint32_t ids[KEPT_IDS];
} kept_piece;

struct sonde_bpe_scratch {
    kept_piece *kept;    /* [MOST_KEPT] by hash; NULL until enough text came */
    uint64_t text_bytes; /* that came so far */
    symbol *symbols;
    size_t n_symbols, symbol_capacity;
    pair *heap;
    size_t n_heap, heap_capacity;
    const char *piece; /* n_bytes of it, in the text or in `bytes` */
    size_t n_bytes;
    char *bytes;
    size_t byte_capacity;
};

static _Thread_local uint64_t merge_steps;

uint64_t sonde_tokenizer_merge_steps(void)
{
    return merge_steps;
}

#define SHORT_TEXT 4096 /* bytes of text that keeping pieces would cost more than it saves */
#define MOST_IDLE_BYTES ((size_t)1 << 20) /* of a scratch beside its pieces */

static void destroy(sonde_bpe_scratch *s)
{
    if (!s) return;
    sonde_free(s->kept);
    sonde_free(s->symbols);
    sonde_free(s->heap);
    sonde_free(s->bytes);
    sonde_free(s);
}

sonde_bpe_scratch *sonde_bpe_scratch_take(const sonde_tokenizer *t, size_t text_bytes)
{
    sonde_bpe_scratch *s = NULL;
    for (size_t i = 0; i < SONDE_BPE_MOST_IDLE && !s; i++)
        s = atomic_exchange_explicit(&t->model.idle->scratches[i], NULL, memory_order_acquire);
    if (!s) s = sonde_alloc(1, sizeof *s);
    if (!s) return NULL;
    s->text_bytes += text_bytes;
    if (!s->kept && s->text_bytes > SHORT_TEXT) s->kept = sonde_alloc(MOST_KEPT, sizeof *s->kept);
    if (s->kept || s->text_bytes <= SHORT_TEXT) return s;
    destroy(s);
    return NULL;
}

void sonde_bpe_scratch_give(const sonde_tokenizer *t, sonde_bpe_scratch **scratch)
{
    sonde_bpe_scratch *s = *scratch;
    *scratch = NULL;
    if (!s) return;
    bool small = s->symbol_capacity * sizeof *s->symbols + s->heap_capacity * sizeof *s->heap +
                     s->byte_capacity <=
                 MOST_IDLE_BYTES;
    for (size_t i = 0; i < SONDE_BPE_MOST_IDLE && small; i++) {
        sonde_bpe_scratch *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&t->model.idle->scratches[i], &none, s,
                                                    memory_order_release, memory_order_relaxed))
            return;
    }
    destroy(s);
}

void sonde_bpe_idle_reset(sonde_tokenizer *t)
{
    for (size_t i = 0; t->model.idle && i < SONDE_BPE_MOST_IDLE; i++)
        destroy(atomic_load(&t->model.idle->scratches[i]));
    sonde_free(t->model.idle);
    t->model.idle = NULL;
}

/* ---- the heap -------------------------------------------------------------------------------- */

static bool before(const pair *a, const pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static bool heap_push(sonde_bpe_scratch *s, pair added)
{
    if (!sonde_grow(&s->heap, &s->heap_capacity, s->n_heap + 1, sizeof *s->heap)) return false;
    size_t at = s->n_heap++;
    for (; at > 0 && before(&added, &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = added;
    return true;
}

static pair heap_pop(sonde_bpe_scratch *s)
{
    pair top = s->heap[0], last = s->heap[--s->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->n_heap) break;
        if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child])) child++;
        if (!before(&s->heap[child], &last)) break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    if (s->n_heap > 0) s->heap[at] = last;
    return top;
}

/* ---- merging --------------------------------------------------------------------------------- */

static const sonde_merge *find_merge(const sonde_merge_table *m, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) + 1;
    uint64_t slot = ((key * 0x9E3779B97F4A7C15u) >> 20) & m->mask;
    for (; m->rows[slot].key; slot = (slot + 1) & m->mask)
        if (m->rows[slot].key == key) return &m->rows[slot];
    return NULL;
}

static bool offer(const sonde_tokenizer *t, sonde_bpe_scratch *s, int32_t at)
{
    if (at < 0 || s->symbols[at].next < 0) return true;
    uint32_t left = s->symbols[at].id, right = s->symbols[s->symbols[at].next].id;
    const sonde_merge *m = find_merge(&t->model.merges, left, right);
    return !m || heap_push(s, (pair){m->rank, m->result, at, left, right});
}

static void join(symbol *left, const symbol *right, uint32_t id)
{
    left->id = id;
    left->last = SONDE_MAX(left->last, right->last);
    left->next = right->next;
}

static bool merge_long(const sonde_tokenizer *t, sonde_bpe_scratch *s)
{
    s->n_heap = 0;
    for (size_t i = 0; i + 1 < s->n_symbols; i++)
        if (!offer(t, s, (int32_t)i)) return false;
    while (s->n_heap > 0) {
        pair p = heap_pop(s);
        symbol *left = &s->symbols[p.at];
        merge_steps++;
        if (left->id != p.left || left->next < 0) continue;
        symbol *right = &s->symbols[left->next];
        if (right->id != p.right) continue;
        join(left, right, p.result);
        right->id = UINT32_MAX;
        if (left->next >= 0) s->symbols[left->next].previous = p.at;
        if (!offer(t, s, left->previous) || !offer(t, s, p.at)) return false;
    }
    return true;
}

#define SHORT_SYMBOLS 24

/* The lowest rank, leftmost first, found by scanning; symbols move together as they are joined. */
static void merge_short(const sonde_tokenizer *t, sonde_bpe_scratch *s)
{
    const sonde_merge *merges[SHORT_SYMBOLS];
    symbol *symbols = s->symbols;
    size_t n = s->n_symbols;
    for (size_t i = 0; i + 1 < n; i++)
        merges[i] = find_merge(&t->model.merges, symbols[i].id, symbols[i + 1].id);
    for (;;) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++)
            if (merges[i] && (best == n || merges[i]->rank < merges[best]->rank)) best = i;
        if (best == n) break;
        merge_steps++;
        join(&symbols[best], &symbols[best + 1], merges[best]->result);
        n--;
        memmove(symbols + best + 1, symbols + best + 2, (n - best - 1) * sizeof *symbols);
        if (best + 1 < n)
            memmove(merges + best, merges + best + 1, (n - best - 1) * sizeof *merges);
        if (best + 1 < n)
            merges[best] = find_merge(&t->model.merges, symbols[best].id, symbols[best + 1].id);
        if (best > 0)
            merges[best - 1] = find_merge(&t->model.merges, symbols[best - 1].id, symbols[best].id);
    }
    for (size_t i = 0; i < n; i++) symbols[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    s->n_symbols = n;
}

/* ---- symbols --------------------------------------------------------------------------------- */

static bool add_symbol(sonde_bpe_scratch *s, int64_t id, size_t first, size_t last)
{
    if (!sonde_grow(&s->symbols, &s->symbol_capacity, s->n_symbols + 1, sizeof *s->symbols))
        return false;
    int32_t at = (int32_t)s->n_symbols++;
    s->symbols[at] = (symbol){at - 1, -1, (uint32_t)id, (uint32_t)first, (uint32_t)last};
    if (at > 0) s->symbols[at - 1].next = at;
    return true;
}

/* A character (or byte) without a piece: waits as the unknown token, which may grow; a known
 * character sends it off. Hugging Face's byte fallback does not. */
typedef struct unknown {
    bool waits;
    size_t first, last;
} unknown;

static bool send_unknown(const sonde_tokenizer *t, sonde_bpe_scratch *s, unknown *u)
{
    if (!u->waits) return true;
    u->waits = false;
    return add_symbol(s, t->model.unknown, u->first, u->last);
}

static bool add_unknown(const sonde_tokenizer *t, sonde_bpe_scratch *s, unknown *u, size_t at)
{
    if (t->model.unknown < 0) return true;
    if (u->waits && t->model.fuse_unknown) {
        u->last = at;
        return true;
    }
    bool good = send_unknown(t, s, u);
    *u = (unknown){true, at, at};
    return good;
}

static bool add_fallback(const sonde_tokenizer *t, sonde_bpe_scratch *s, const char *utf8, size_t n,
                         size_t at)
{
    bool good = true;
    for (size_t i = 0; i < n && good; i++)
        good = add_symbol(s, t->model.fallback_ids[(unsigned char)utf8[i]], at, at);
    return good;
}

static bool has_fallback(const sonde_tokenizer *t, const char *utf8, size_t n)
{
    if (!t->model.byte_fallback) return false;
    for (size_t i = 0; i < n; i++)
        if (t->model.fallback_ids[(unsigned char)utf8[i]] < 0) return false;
    return true;
}

/* The bytes that a character of the pre-tokenizers' text is to the model; returns how many. */
static size_t put_char(const sonde_model *m, uint32_t c, char bytes[4])
{
    if (!m->mapped) return sonde_utf8_put(c, bytes);
    bytes[0] = (char)sonde_byte_of_char(c);
    return 1;
}

/* The symbols of character `at`: of its bytes, or its own, or its byte tokens. */
static bool add_char(const sonde_tokenizer *t, sonde_bpe_scratch *s, unknown *u, uint32_t c,
                     size_t at)
{
    char utf8[4];
    size_t n = put_char(&t->model, c, utf8);
    bool good = true;
    for (size_t i = 0; t->model.byte_level && i < n && good; i++) {
        int64_t id = t->model.byte_ids[(unsigned char)utf8[i]];
        if (id < 0) good = add_unknown(t, s, u, at);
        else good = send_unknown(t, s, u) && add_symbol(s, id, at, at);
    }
    if (t->model.byte_level) return good;
    int64_t id = sonde_vocabulary_find_char(t, c);
    if (id >= 0) return send_unknown(t, s, u) && add_symbol(s, id, at, at);
    return has_fallback(t, utf8, n) ? add_fallback(t, s, utf8, n, at) : add_unknown(t, s, u, at);
}

static bool set_symbols(const sonde_tokenizer *t, const sonde_char *chars, size_t n,
                        sonde_bpe_scratch *s)
{
    unknown u = {0};
    s->n_symbols = 0;
    for (size_t i = 0; i < n; i++)
        if (!add_char(t, s, &u, chars[i].code_point, i)) return false;
    return send_unknown(t, s, &u);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* The piece's bytes; false when it is longer than any piece of the vocabulary, or there is no
 * memory for a look-up. */
static bool set_bytes(const sonde_encoder *e, const sonde_char *chars, size_t n)
{
    sonde_bpe_scratch *s = e->bpe;
    s->n_bytes = 0;
    if (n > SONDE_MAX(e->t->model.by_text.longest, KEPT_BYTES)) return false;
    if (e->as_given) {
        s->piece = e->text + chars[0].start;
        s->n_bytes = chars[n - 1].end - chars[0].start;
        return true;
    }
    if (!sonde_grow(&s->bytes, &s->byte_capacity, 4 * n, 1)) return false;
    s->piece = s->bytes;
    for (size_t i = 0; i < n; i++) {
        if (chars[i].code_point < 0x80) s->bytes[s->n_bytes++] = (char)chars[i].code_point;
        else s->n_bytes += put_char(&e->t->model, chars[i].code_point, s->bytes + s->n_bytes);
    }
    return true;
}

/* A token over n characters; normalising may have put them out of the order of their bytes. */
static sonde_status push_id(sonde_encoder *e, uint32_t id, const sonde_char *chars, size_t n)
{
    uint32_t start = chars[0].start, end = chars[e->as_given ? n - 1 : 0].end;
    for (size_t i = 1; i < n && !e->as_given; i++) {
        start = SONDE_MIN(start, chars[i].start);
        end = SONDE_MAX(end, chars[i].end);
    }
    return sonde_tokens_push(e->out, id, start, end, e->err);
}

static uint64_t load_bytes(const char *bytes, size_t n)
{
    uint64_t value = 0;
    memcpy(&value, bytes, n);
    return value;
}

/* A hash of 1 to KEPT_BYTES bytes. */
static size_t hash_piece(const char *bytes, size_t n)
{
    uint64_t a, b = 0, c = 0;
    if (n >= 8) {
        a = load_bytes(bytes, 8);
        b = load_bytes(bytes + n - 8, 8);
        if (n > 16) c = load_bytes(bytes + n / 2 - 4, 8);
    } else if (n >= 4) {
        a = load_bytes(bytes, 4) | load_bytes(bytes + n - 4, 4) << 32;
    } else {
        a = (uint64_t)(uint8_t)bytes[0] | (uint64_t)(uint8_t)bytes[n / 2] << 8 |
            (uint64_t)(uint8_t)bytes[n - 1] << 16;
    }
    a = (a ^ n) * 0x9E3779B97F4A7C15u;
    b = (b ^ c * 0xD6E8FEB86659FD93u) * 0xC2B2AE3D27D4EB4Fu;
    a ^= b ^ a >> 29;
    return (size_t)(a * 0x165667B19E3779F9u >> 40);
}

/* The place of the piece in hand among the kept pieces, or NULL. */
static kept_piece *kept_at(const sonde_bpe_scratch *s)
{
    if (!s->kept || s->n_bytes == 0 || s->n_bytes > KEPT_BYTES) return NULL;
    return &s->kept[hash_piece(s->piece, s->n_bytes) & (MOST_KEPT - 1)];
}

static void keep(const sonde_bpe_scratch *s, kept_piece *kept)
{
    kept->n_bytes = 0;
    size_t n = 0;
    for (int32_t at = 0; at >= 0; at = s->symbols[at].next, n++) {
        if (n == KEPT_IDS) return;
        kept->ids[n] = s->symbols[at].id;
        kept->first[n] = (uint8_t)s->symbols[at].first;
        kept->last[n] = (uint8_t)s->symbols[at].last;
    }
    kept->n_ids = (uint8_t)n;
    kept->n_bytes = (uint8_t)s->n_bytes;
    memcpy(kept->bytes, s->piece, s->n_bytes);
}

enum { WHOLE_UNTRIED, WHOLE_YES, WHOLE_NO };

/* The piece as symbols of the scratch, merged. What a vocabulary's own text becomes is noted
 * once. */
static bool merge_word(sonde_encoder *e, const sonde_char *chars, size_t n, bool has_bytes)
{
    const sonde_model *m = &e->t->model;
    sonde_bpe_scratch *s = e->bpe;
    int64_t whole = has_bytes ? sonde_vocabulary_find(e->t, s->piece, s->n_bytes) : -1;
    unsigned char known =
        whole < 0 ? WHOLE_NO : atomic_load_explicit(&m->whole[whole], memory_order_relaxed);
    if (whole >= 0 && (m->ignore_merges || known == WHOLE_YES)) {
        s->n_symbols = 0;
        return add_symbol(s, whole, 0, n - 1);
    }
    if (!set_symbols(e->t, chars, n, s)) return false;
    if (s->n_symbols <= SHORT_SYMBOLS) merge_short(e->t, s);
    else if (!merge_long(e->t, s)) return false;
    if (known == WHOLE_UNTRIED) {
        bool one = s->n_symbols > 0 && s->symbols[0].next < 0 && s->symbols[0].id == whole;
        atomic_store_explicit(&m->whole[whole], one ? WHOLE_YES : WHOLE_NO, memory_order_relaxed);
    }
    return true;
}

/* A piece that no merge crosses the ends of. */
static sonde_status encode_word(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    sonde_bpe_scratch *s = e->bpe;
    bool has_bytes = set_bytes(e, chars, n);
    kept_piece *kept = has_bytes ? kept_at(s) : NULL;
    if (kept && kept->n_bytes == s->n_bytes && memcmp(kept->bytes, s->piece, s->n_bytes) == 0) {
        for (size_t i = 0; i < kept->n_ids; i++)
            SONDE_TRY(push_id(e, kept->ids[i], chars + kept->first[i],
                              (size_t)(kept->last[i] - kept->first[i]) + 1));
        return SONDE_OK;
    }
    if (!merge_word(e, chars, n, has_bytes))
        return sonde_no_memory(e->err, "tokenizing", n * (sizeof(symbol) + sizeof(pair)));
    if (s->n_symbols == 0) return SONDE_OK;
    if (kept) keep(s, kept);
    for (int32_t at = 0; at >= 0; at = s->symbols[at].next) {
        const symbol *done = &s->symbols[at];
        SONDE_TRY(push_id(e, done->id, chars + done->first, done->last - done->first + 1));
    }
    return SONDE_OK;
}

/* No merge joins `last` with an underline behind it. */
static bool breaks_behind(const sonde_model *m, uint32_t last)
{
    if (last == SONDE_UNDERLINE) return false;
    for (size_t i = 0; i < m->joined.count; i++)
        if (m->joined.data[i].code_point == last) return false;
    return true;
}

sonde_status sonde_bpe_encode(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    const sonde_model *m = &e->t->model;
    size_t begin = 0;
    for (size_t at = 1; m->breaks && at < n; at++) {
        if (chars[at].code_point != SONDE_UNDERLINE || !breaks_behind(m, chars[at - 1].code_point))
            continue;
        SONDE_TRY(encode_word(e, chars + begin, at - begin));
        begin = at;
    }
    return encode_word(e, chars + begin, n - begin);
}
