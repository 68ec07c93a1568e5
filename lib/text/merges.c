/* merges.c - the table of merges, from a list or from the ranks of the pieces. */
#include "text_internal.h"

#include <string.h>

sonde_status sonde_merges_resolve(const sonde_tokenizer *t, const char *left, size_t n_left,
                                  const char *right, size_t n_right, sonde_ranked_merge *merge,
                                  bool *known, sonde_error *err)
{
    sonde_string joined = {0};
    sonde_string_append(&joined, left, n_left);
    sonde_string_append(&joined, right, n_right);
    if (joined.failed) return sonde_no_memory(err, "the merges", n_left + n_right);
    int64_t a = sonde_vocabulary_find_written(t, left, n_left);
    int64_t b = sonde_vocabulary_find_written(t, right, n_right);
    int64_t both = sonde_vocabulary_find_written(t, joined.data, joined.length);
    sonde_string_reset(&joined);
    merge->left = (uint32_t)a;
    merge->right = (uint32_t)b;
    merge->result = (uint32_t)both;
    *known = a >= 0 && b >= 0 && both >= 0;
    return SONDE_OK;
}

/* ---- where no merge goes across -------------------------------------------------------------- */

static bool has_char(const sonde_chars *chars, uint32_t c)
{
    for (size_t i = 0; i < chars->count; i++)
        if (chars->data[i].code_point == c) return true;
    return false;
}

#define MANY_JOINED 64

/* Notes which characters stand before an underline inside a union; many: such breaks are not
 * used. */
static sonde_status note_joined(sonde_tokenizer *t, const sonde_piece *p, sonde_error *err)
{
    uint32_t last = SONDE_UNDERLINE, c;
    for (size_t at = 0; at < p->length; last = c) {
        at += sonde_utf8_get(p->text + at, &c);
        if (c != SONDE_UNDERLINE || last == SONDE_UNDERLINE || has_char(&t->model.joined, last))
            continue;
        if (!sonde_chars_push(&t->model.joined, last, 0, 0))
            return sonde_no_memory(err, "the merges", 64);
    }
    t->model.breaks = t->model.breaks && t->model.joined.count <= MANY_JOINED;
    return SONDE_OK;
}

/* Breaks need every character to become tokens of its own accord: an unknown one may fuse. */
static sonde_status find_breaks(sonde_tokenizer *t, const sonde_ranked_merge *merges, size_t n,
                                sonde_error *err)
{
    bool complete = t->model.byte_fallback && !t->model.byte_level && !t->model.ignore_merges;
    for (int i = 0; i < 256; i++) complete = complete && t->model.fallback_ids[i] >= 0;
    t->model.breaks = complete;
    for (size_t i = 0; i < n && t->model.breaks; i++)
        SONDE_TRY(note_joined(t, &t->pieces[merges[i].result], err));
    return SONDE_OK;
}

sonde_status sonde_merges_set(sonde_tokenizer *t, const sonde_ranked_merge *merges, size_t n,
                              sonde_error *err)
{
    sonde_merge_table *m = &t->model.merges;
    size_t size = sonde_table_size(n);
    m->rows = sonde_alloc(size, sizeof *m->rows);
    m->mask = size - 1;
    if (!m->rows) return sonde_no_memory(err, "the merges", size * sizeof *m->rows);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = ((uint64_t)merges[i].left << 32 | merges[i].right) + 1;
        uint64_t slot = ((key * 0x9E3779B97F4A7C15u) >> 20) & m->mask;
        while (m->rows[slot].key && m->rows[slot].key != key) slot = (slot + 1) & m->mask;
        /* a pair listed twice: the later rank, as Hugging Face's map does */
        m->rows[slot] = (sonde_merge){key, merges[i].rank, merges[i].result};
    }
    return find_breaks(t, merges, n, err);
}

/* ---- from ranks ------------------------------------------------------------------------------ */

typedef struct merge_list {
    sonde_ranked_merge *rows;
    size_t count, capacity;
} merge_list;

/* Every cut of a piece (between characters, or bytes) into two pieces. */
static bool add_cuts(const sonde_tokenizer *t, uint32_t id, uint32_t rank, merge_list *list)
{
    const sonde_piece *p = &t->pieces[id];
    for (size_t cut = 1; cut < p->length; cut++) {
        if (!t->model.byte_level && ((unsigned char)p->text[cut] & 0xC0) == 0x80) continue;
        int64_t left = sonde_vocabulary_find(t, p->text, cut);
        int64_t right = left < 0 ? -1 : sonde_vocabulary_find(t, p->text + cut, p->length - cut);
        if (right < 0) continue;
        if (!sonde_grow(&list->rows, &list->capacity, list->count + 1, sizeof *list->rows))
            return false;
        list->rows[list->count++] = (sonde_ranked_merge){(uint32_t)left, (uint32_t)right, id, rank};
    }
    return true;
}

bool sonde_merges_can_make(const sonde_tokenizer *t, uint32_t id)
{
    const sonde_piece *p = &t->pieces[id];
    uint32_t c;
    if (p->length == 0 || sonde_utf8_get(p->text, &c) == p->length) return true;
    for (size_t cut = 1; cut < p->length; cut++)
        if (((unsigned char)p->text[cut] & 0xC0) != 0x80 &&
            sonde_vocabulary_find(t, p->text, cut) >= 0 &&
            sonde_vocabulary_find(t, p->text + cut, p->length - cut) >= 0)
            return true;
    return false;
}

#define LONGEST_UNION 1024 /* a longer piece would cost the square of its length */

sonde_status sonde_merges_from_ranks(sonde_tokenizer *t, const uint32_t *ranks, sonde_error *err)
{
    merge_list list = {0};
    sonde_status status = SONDE_OK;
    for (size_t id = 0; id < t->n_pieces && status == SONDE_OK; id++) {
        const sonde_piece *p = &t->pieces[id];
        if (!p->in_model || p->outside || ranks[id] == UINT32_MAX) continue;
        if (p->length > LONGEST_UNION)
            status = sonde_fail(err, SONDE_BAD_TOKENIZER,
                                "token id %zu has %u bytes: at most %d are "
                                "supported without a list of merges",
                                id, p->length, LONGEST_UNION);
        else if (!add_cuts(t, (uint32_t)id, ranks[id], &list))
            status = sonde_no_memory(err, "the merges", list.count * sizeof *list.rows);
    }
    if (status == SONDE_OK) status = sonde_merges_set(t, list.rows, list.count, err);
    sonde_free(list.rows);
    return status;
}
