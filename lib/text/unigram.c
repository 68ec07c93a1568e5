/*
 * unigram.c - the best path of pieces through a text by the sum of their scores, as Hugging Face's
 * Unigram finds it: shorter pieces first, a later path only when it is strictly better.
 */
#include "text_internal.h"

#include <string.h>

#define UNKNOWN_PENALTY 10.0

typedef struct best {
    double score;
    int64_t from; /* where the last piece of the best path to here begins; -1: not reached */
    int64_t id;
} best;

typedef struct segment {
    size_t end;
    int64_t id; /* -1: unknown characters, to be looked up */
} segment;

struct sonde_unigram_scratch {
    best *best; /* [n + 1], by characters */
    size_t capacity;
    segment *segments; /* last first */
    size_t n_segments, segment_capacity;
    sonde_string text;
};

sonde_unigram_scratch *sonde_unigram_scratch_create(void)
{
    return sonde_alloc(1, sizeof(sonde_unigram_scratch));
}

void sonde_unigram_scratch_destroy(sonde_unigram_scratch **scratch)
{
    if (!*scratch) return;
    sonde_free((*scratch)->best);
    sonde_free((*scratch)->segments);
    sonde_string_reset(&(*scratch)->text);
    sonde_free(*scratch);
    *scratch = NULL;
}

static void offer(best *to, double score, size_t from, int64_t id)
{
    if (to->from >= 0 && !(score > to->score)) return;
    *to = (best){score, (int64_t)from, id};
}

static sonde_status search(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    const sonde_model *m = &e->t->model;
    sonde_unigram_scratch *s = e->unigram;
    if (!sonde_grow(&s->best, &s->capacity, n + 1, sizeof *s->best))
        return sonde_no_memory(e->err, "tokenizing", n * sizeof *s->best);
    for (size_t i = 0; i <= n; i++) s->best[i] = (best){0, i == 0 ? 0 : -1, -1};
    for (size_t at = 0; at < n; at++) {
        double till_here = s->best[at].score;
        bool single = false;
        uint32_t node = 0;
        for (size_t end = at; end < n; end++) {
            node = sonde_trie_child(&m->trie, node, chars[end].code_point);
            if (node == 0) break;
            if (m->trie.values[node] == 0) continue;
            int64_t id = (int64_t)m->trie.values[node] - 1;
            offer(&s->best[end + 1], m->scores[id] + till_here, at, id);
            single = single || end == at;
        }
        if (single) continue;
        if (m->unknown < 0)
            return sonde_fail(e->err, SONDE_BAD_PROMPT,
                              "character U+%04X has no piece, and the "
                              "tokenizer no unknown token",
                              chars[at].code_point);
        offer(&s->best[at + 1], m->least_score - UNKNOWN_PENALTY + till_here, at, m->unknown);
    }
    return SONDE_OK;
}

/* The ids of unknown characters: a piece all the same, or byte tokens, or the unknown token. */
static sonde_status push_unknown(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    const sonde_model *m = &e->t->model;
    sonde_string *text = &e->unigram->text;
    text->length = 0;
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        sonde_string_append(text, utf8, sonde_utf8_put(chars[i].code_point, utf8));
    }
    if (text->failed) return sonde_no_memory(e->err, "tokenizing", n);
    uint32_t start = chars[0].start, end = chars[n - 1].end;
    int64_t id = sonde_vocabulary_find(e->t, text->data, text->length);
    if (id >= 0) return sonde_tokens_push(e->out, (uint32_t)id, start, end, e->err);
    bool fallback = m->byte_fallback;
    for (size_t i = 0; i < text->length && fallback; i++)
        fallback = m->fallback_ids[(unsigned char)text->data[i]] >= 0;
    if (!fallback) return sonde_tokens_push(e->out, (uint32_t)m->unknown, start, end, e->err);
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        size_t bytes = sonde_utf8_put(chars[i].code_point, utf8);
        for (size_t j = 0; j < bytes; j++)
            SONDE_TRY(sonde_tokens_push(e->out, (uint32_t)m->fallback_ids[(unsigned char)utf8[j]],
                                        chars[i].start, chars[i].end, e->err));
    }
    return SONDE_OK;
}

/* The best path's segments, last first; unknown ones side by side are one. */
static sonde_status collect(sonde_encoder *e, size_t n)
{
    const sonde_model *m = &e->t->model;
    sonde_unigram_scratch *s = e->unigram;
    bool last_unknown = false;
    s->n_segments = 0;
    for (size_t end = n; end > 0; end = (size_t)s->best[end].from) {
        bool unknown = s->best[end].id == m->unknown;
        bool fused = unknown && last_unknown && m->fuse_unknown;
        last_unknown = unknown;
        if (fused) continue;
        if (!sonde_grow(&s->segments, &s->segment_capacity, s->n_segments + 1, sizeof *s->segments))
            return sonde_no_memory(e->err, "tokenizing", s->n_segments * sizeof *s->segments);
        s->segments[s->n_segments++] = (segment){end, unknown ? -1 : s->best[end].id};
    }
    return SONDE_OK;
}

sonde_status sonde_unigram_encode(sonde_encoder *e, const sonde_char *chars, size_t n)
{
    sonde_unigram_scratch *s = e->unigram;
    SONDE_TRY(search(e, chars, n));
    SONDE_TRY(collect(e, n));
    for (size_t begin = 0; s->n_segments > 0;) {
        segment next = s->segments[--s->n_segments];
        if (next.id >= 0)
            SONDE_TRY(sonde_tokens_push(e->out, (uint32_t)next.id, chars[begin].start,
                                        chars[next.end - 1].end, e->err));
        else SONDE_TRY(push_unknown(e, chars + begin, next.end - begin));
        begin = next.end;
    }
    return SONDE_OK;
}
