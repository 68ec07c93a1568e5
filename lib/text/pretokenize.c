/*
 * pretokenize.c - a stretch of text through the pre-tokenizers: each cuts what the one before left
 * whole; the last pieces go to the model.
 */
#include "text_internal.h"

#include <string.h>

/* A piece that is not yet given on: the next match or gap may still join it. */
typedef struct cutter {
    sonde_encoder *e;
    const sonde_char *chars;
    size_t stage;
    size_t begin, end;
    bool open, was_match;
} cutter;

static sonde_status give_on(cutter *c)
{
    if (!c->open || c->begin == c->end) return SONDE_OK;
    return sonde_pretokenize(c->e, c->chars + c->begin, c->end - c->begin, c->stage + 1);
}

/* Does a match (or gap) join the piece before it? */
static bool joins(const cutter *c, sonde_split_behaviour behaviour, bool match)
{
    if (!c->open) return false;
    switch (behaviour) {
    case SONDE_SPLIT_MERGED_WITH_PREVIOUS: return match && !c->was_match;
    case SONDE_SPLIT_MERGED_WITH_NEXT: return !match && c->was_match;
    case SONDE_SPLIT_CONTIGUOUS: return match == c->was_match;
    default: return false;
    }
}

/* A match or a gap [begin, end), in order. */
static sonde_status take_event(cutter *c, size_t begin, size_t end, bool match)
{
    const sonde_pretokenizer *p = &c->e->t->pretokenizers[c->stage];
    if (p->invert) match = !match;
    if (p->behaviour == SONDE_SPLIT_REMOVED && match) return SONDE_OK;
    if (joins(c, p->behaviour, match)) {
        c->end = end;
        c->was_match = match;
        return SONDE_OK;
    }
    SONDE_TRY(give_on(c));
    c->begin = begin;
    c->end = end;
    c->open = true;
    c->was_match = match;
    return SONDE_OK;
}

/* Matches and the gaps between. */
static sonde_status split(sonde_encoder *e, const sonde_char *chars, size_t n, size_t stage)
{
    cutter c = {.e = e, .chars = chars, .stage = stage};
    const sonde_regex *regex = e->t->pretokenizers[stage].regex;
    sonde_regex_cursor cursor = {0};
    sonde_regex_result result;
    size_t done = 0, start, end;
    while ((result = sonde_regex_next(regex, &e->regex, chars, n, &cursor, &start, &end)) ==
           SONDE_REGEX_FOUND) {
        if (start > done) SONDE_TRY(take_event(&c, done, start, false));
        SONDE_TRY(take_event(&c, start, end, true));
        done = end;
    }
    if (result != SONDE_REGEX_NONE) return sonde_regex_failed(result, e->err);
    if (done < n) SONDE_TRY(take_event(&c, done, n, false));
    return give_on(&c);
}

static bool needs_space(const sonde_pretokenizer *p, const sonde_char *chars)
{
    uint32_t first = chars[0].code_point == ' ' ? p->space : chars[0].code_point;
    if (first == p->space || p->prepend == SONDE_PREPEND_NEVER) return false;
    return p->prepend == SONDE_PREPEND_ALWAYS || chars[0].start == 0;
}

/* Spaces written as the stage says, and one in front where it is missing. */
static sonde_status space(sonde_encoder *e, const sonde_char *chars, size_t n, size_t stage)
{
    const sonde_pretokenizer *p = &e->t->pretokenizers[stage];
    sonde_chars *out = &e->written[stage];
    bool front = needs_space(p, chars);
    if (!front && p->space == ' ') return sonde_pretokenize(e, chars, n, stage + 1);
    if (!sonde_grow(&out->data, &out->capacity, n + 1, sizeof *chars))
        return sonde_no_memory(e->err, "tokenizing", n * sizeof *chars);
    out->count = n + front;
    if (front) out->data[0] = (sonde_char){p->space, chars[0].start, chars[0].start};
    memcpy(out->data + front, chars, n * sizeof *chars);
    for (size_t i = 0; i < out->count; i++)
        if (out->data[i].code_point == ' ') out->data[i].code_point = p->space;
    return sonde_pretokenize(e, out->data, out->count, stage + 1);
}

/* Every byte as its character of the alphabet, each with the bytes of the whole character it is of. */
static sonde_status write_bytes(sonde_encoder *e, const sonde_char *chars, size_t n, size_t stage)
{
    sonde_chars *out = &e->written[stage];
    if (!sonde_grow(&out->data, &out->capacity, 4 * n, sizeof *chars))
        return sonde_no_memory(e->err, "tokenizing", 4 * n * sizeof *chars);
    out->count = 0;
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        size_t bytes = sonde_utf8_put(chars[i].code_point, utf8);
        for (size_t j = 0; j < bytes; j++)
            out->data[out->count++] = (sonde_char){sonde_char_of_byte((unsigned char)utf8[j]),
                                                   chars[i].start, chars[i].end};
    }
    return sonde_pretokenize(e, out->data, out->count, stage + 1);
}

sonde_status sonde_pretokenize(sonde_encoder *e, const sonde_char *chars, size_t n, size_t stage)
{
    if (n == 0) return SONDE_OK;
    if (stage < e->t->n_pretokenizers) {
        const sonde_pretokenizer *p = &e->t->pretokenizers[stage];
        if (p->regex) return split(e, chars, n, stage);
        return p->bytes ? write_bytes(e, chars, n, stage) : space(e, chars, n, stage);
    }
    return e->t->model.kind == SONDE_MODEL_BPE ? sonde_bpe_encode(e, chars, n)
                                               : sonde_unigram_encode(e, chars, n);
}
