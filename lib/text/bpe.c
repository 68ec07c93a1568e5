/*
 * bpe.c - byte-level BPE of one piece: a linked list of symbols and a heap of mergeable pairs by
 * (rank, position), so that a long run costs n log n. A pair that no longer stands is skipped when
 * it comes up.
 */
#include "text_internal.h"

#include <string.h>

typedef struct symbol {
    int64_t previous, next; /* -1: none */
    uint32_t id;            /* UINT32_MAX: merged away */
    uint32_t start, end;
} symbol;

typedef struct pair {
    uint32_t rank, result;
    int64_t at;        /* left symbol */
    uint32_t left, right;
} pair;

struct sonde_bpe_scratch {
    symbol *symbols;
    size_t n_symbols, symbol_capacity;
    pair *heap;
    size_t n_heap, heap_capacity;
    char *bytes;
    size_t n_bytes, byte_capacity;
};

static _Thread_local uint64_t merge_steps;

uint64_t sonde_tokenizer_merge_steps(void)
{
    return merge_steps;
}

sonde_bpe_scratch *sonde_bpe_scratch_create(void)
{
    return sonde_alloc(1, sizeof(sonde_bpe_scratch));
}

void sonde_bpe_scratch_destroy(sonde_bpe_scratch **scratch)
{
    if (!*scratch) return;
    sonde_free((*scratch)->symbols);
    sonde_free((*scratch)->heap);
    sonde_free((*scratch)->bytes);
    sonde_free(*scratch);
    *scratch = NULL;
}

/* ---- the heap ----------------------------------------------------------------------------------------- */

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

/* ---- merging ------------------------------------------------------------------------------------------ */

static bool find_merge(const sonde_pair_table *m, uint32_t left, uint32_t right, pair *found)
{
    if (!m->keys) return false;
    uint64_t key = ((uint64_t)left << 32 | right) + 1;
    uint64_t slot = (key * 0x9E3779B97F4A7C15u) >> 20;
    for (slot &= m->mask; m->keys[slot]; slot = (slot + 1) & m->mask) {
        if (m->keys[slot] != key) continue;
        found->rank = m->ranks[slot];
        found->result = m->results[slot];
        return true;
    }
    return false;
}

static bool offer(const sonde_tokenizer *t, sonde_bpe_scratch *s, int64_t at)
{
    if (at < 0 || s->symbols[at].next < 0) return true;
    pair p = {.at = at, .left = s->symbols[at].id, .right = s->symbols[s->symbols[at].next].id};
    return !find_merge(&t->merges, p.left, p.right, &p) || heap_push(s, p);
}

static bool merge_all(const sonde_tokenizer *t, sonde_bpe_scratch *s)
{
    s->n_heap = 0;
    for (size_t i = 0; i + 1 < s->n_symbols; i++)
        if (!offer(t, s, (int64_t)i)) return false;
    while (s->n_heap > 0) {
        pair p = heap_pop(s);
        symbol *left = &s->symbols[p.at];
        merge_steps++;
        if (left->id != p.left || left->next < 0) continue;
        symbol *right = &s->symbols[left->next];
        if (right->id != p.right) continue;
        left->id = p.result;
        left->end = right->end;
        left->next = right->next;
        right->id = UINT32_MAX;
        if (left->next >= 0) s->symbols[left->next].previous = p.at;
        if (!offer(t, s, left->previous) || !offer(t, s, p.at)) return false;
    }
    return true;
}

static bool add_symbol(sonde_bpe_scratch *s, uint32_t id, const sonde_char *from)
{
    if (!sonde_grow(&s->symbols, &s->symbol_capacity, s->n_symbols + 1, sizeof *s->symbols))
        return false;
    int64_t at = (int64_t)s->n_symbols++;
    s->symbols[at] = (symbol){at - 1, -1, id, from->start, from->end};
    if (at > 0) s->symbols[at - 1].next = at;
    return true;
}

/* The piece's bytes, and a symbol for every byte that the vocabulary has; others vanish. */
static bool set_symbols(const sonde_tokenizer *t, const sonde_char *chars, size_t n,
                        sonde_bpe_scratch *s)
{
    s->n_symbols = s->n_bytes = 0;
    if (!sonde_grow(&s->bytes, &s->byte_capacity, 4 * n, 1)) return false;
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        size_t length = sonde_utf8_put(chars[i].code_point, utf8);
        for (size_t j = 0; j < length; j++) {
            int64_t id = t->byte_ids[(unsigned char)utf8[j]];
            s->bytes[s->n_bytes++] = utf8[j];
            if (id >= 0 && !add_symbol(s, (uint32_t)id, &chars[i])) return false;
        }
    }
    return true;
}

sonde_status sonde_bpe_encode(const sonde_tokenizer *t, const sonde_char *chars, size_t n,
                              sonde_bpe_scratch *s, sonde_tokens *out, sonde_error *err)
{
    if (!set_symbols(t, chars, n, s)) return sonde_no_memory(err, "tokenizing", n * sizeof(symbol));
    if (t->ignore_merges) {
        int64_t whole = sonde_tokenizer_lookup(t, s->bytes, s->n_bytes);
        if (whole >= 0)
            return sonde_tokens_push(out, (uint32_t)whole, chars[0].start, chars[n - 1].end, err);
    }
    if (!merge_all(t, s)) return sonde_no_memory(err, "tokenizing", n * sizeof(pair));
    for (int64_t at = s->n_symbols > 0 ? 0 : -1; at >= 0; at = s->symbols[at].next)
        SONDE_TRY(sonde_tokens_push(out, s->symbols[at].id, s->symbols[at].start,
                                    s->symbols[at].end, err));
    return SONDE_OK;
}
