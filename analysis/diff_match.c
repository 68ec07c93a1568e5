/* Which sequences and rows of two captures are the same ones. */
#include "analysis/diff_internal.h"

#include <stdlib.h>
#include <string.h>

sonde_status diff_alloc(size_t count, size_t bytes_each, const char *what, void *pointer,
                        sonde_error *err)
{
    void *block = calloc(count ? count : 1, bytes_each);
    if (!block)
        return sonde_fail(err, SONDE_NO_MEMORY, "diff: no memory for %s (%zu x %zu bytes)", what,
                          count, bytes_each);
    memcpy(pointer, &block, sizeof block);
    return SONDE_OK;
}

static int compare_sequences(const void *x, const void *y)
{
    const diff_sequence *a = x, *b = y;
    if (a->sequence != b->sequence) return a->sequence < b->sequence ? -1 : 1;
    return (a->entry < b->entry) - (a->entry > b->entry);
}

void diff_sequences_unique(diff_side *side)
{
    diff_sequence *list = side->sequences;
    int64_t kept = 0;
    if (side->n_sequences == 0) return;
    qsort(list, (size_t)side->n_sequences, sizeof *list, compare_sequences);
    for (int64_t i = 1; i < side->n_sequences; i++) {
        if (list[i].sequence == list[kept].sequence)
            free(list[i].id);
        else
            list[++kept] = list[i];
    }
    side->n_sequences = kept + 1;
}

int64_t diff_sequence_find(const diff_side *side, uint64_t sequence)
{
    int64_t low = 0, high = side->n_sequences;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (side->sequences[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low < side->n_sequences && side->sequences[low].sequence == sequence ? low : -1;
}

static void pair_sequences(diff_side *a, int64_t i, diff_side *b, int64_t j, int64_t *count)
{
    a->sequences[i].peer = j;
    b->sequences[j].peer = i;
    ++*count;
}

/* One sequence in a sorted list of keys: an id, or a hash. */
typedef struct key {
    const char *id;
    uint64_t hash;
    int64_t index;
} key;

static int compare_values(const key *a, const key *b)
{
    if (a->id && b->id) return strcmp(a->id, b->id);
    return (a->hash > b->hash) - (a->hash < b->hash);
}

static int compare_keys(const void *x, const void *y)
{
    const key *a = x, *b = y;
    int order = compare_values(a, b);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

static bool has_given_ids(const diff_side *side)
{
    for (int64_t i = 0; i < side->n_sequences; i++)
        if (side->sequences[i].id_is_given) return true;
    return false;
}

/* Keys of the sequences that are still free; by id, or by hash without those `skip_given` leaves
 * to their ids. */
static int64_t collect_keys(const diff_side *side, bool by_id, bool skip_given, key *keys)
{
    int64_t n = 0;
    for (int64_t i = 0; i < side->n_sequences; i++) {
        const diff_sequence *s = &side->sequences[i];
        if (s->peer >= 0) continue;
        if (by_id && s->id_is_given) keys[n++] = (key){s->id, 0, i};
        if (!by_id && s->xxh3 && !(skip_given && s->id_is_given))
            keys[n++] = (key){NULL, s->xxh3, i};
    }
    qsort(keys, (size_t)n, sizeof *keys, compare_keys);
    return n;
}

static sonde_status pair_by_keys(diff_side *a, diff_side *b, bool by_id, bool skip_given,
                                 int64_t *count, sonde_error *err)
{
    key *keys = NULL;
    size_t total = (size_t)(a->n_sequences + b->n_sequences);
    SONDE_TRY(diff_alloc(total, sizeof *keys, "the sequences' keys", &keys, err));
    int64_t na = collect_keys(a, by_id, skip_given, keys);
    const key *other = keys + na;
    int64_t nb = collect_keys(b, by_id, skip_given, keys + na);
    for (int64_t i = 0, j = 0; i < na && j < nb;) {
        int order = compare_values(&keys[i], &other[j]);
        if (order == 0) pair_sequences(a, keys[i].index, b, other[j].index, count);
        i += order <= 0;
        j += order >= 0;
    }
    free(keys);
    return SONDE_OK;
}

typedef enum index_rule { INDEX_SAME_HASH, INDEX_NO_HASH, INDEX_ANY } index_rule;

/* Pairs free sequences of equal input index, if what is known of their tokens allows it. */
static void pair_by_index(diff_side *a, diff_side *b, index_rule rule, bool skip_given,
                          int64_t *count)
{
    for (int64_t i = 0; i < a->n_sequences; i++) {
        const diff_sequence *s = &a->sequences[i];
        int64_t j = s->peer < 0 ? diff_sequence_find(b, s->sequence) : -1;
        const diff_sequence *t = j >= 0 ? &b->sequences[j] : NULL;
        if (!t || t->peer >= 0 || (skip_given && s->id_is_given && t->id_is_given)) continue;
        bool known = s->xxh3 && t->xxh3;
        if (rule == INDEX_ANY || (rule == INDEX_NO_HASH && !known) ||
            (rule == INDEX_SAME_HASH && known && s->xxh3 == t->xxh3))
            pair_sequences(a, i, b, j, count);
    }
}

sonde_status diff_match_sequences(diff_side *a, diff_side *b, bool loose, diff_matching *m,
                                  sonde_error *err)
{
    bool ids = has_given_ids(a) && has_given_ids(b);
    for (int64_t i = 0; i < a->n_sequences; i++) a->sequences[i].peer = -1;
    for (int64_t i = 0; i < b->n_sequences; i++) b->sequences[i].peer = -1;
    SONDE_TRY(pair_by_keys(a, b, true, false, &m->by_id, err));
    /* Of equal prompts those at the same index belong together: their seeds may differ. */
    pair_by_index(a, b, INDEX_SAME_HASH, ids, &m->by_tokens);
    SONDE_TRY(pair_by_keys(a, b, false, ids, &m->by_tokens, err));
    pair_by_index(a, b, loose ? INDEX_ANY : INDEX_NO_HASH, ids, &m->by_index);
    int64_t pairs = m->by_id + m->by_tokens + m->by_index;
    m->sequences_only_a = a->n_sequences - pairs;
    m->sequences_only_b = b->n_sequences - pairs;
    return SONDE_OK;
}

/* A row under the name both files share: the index of its sequence in a's list. */
typedef struct place {
    int64_t sequence;
    uint32_t position;
    int64_t row;
} place;

static int compare_places(const void *x, const void *y)
{
    const place *a = x, *b = y;
    if (a->sequence != b->sequence) return a->sequence < b->sequence ? -1 : 1;
    if (a->position != b->position) return a->position < b->position ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

/* Places of the rows whose sequence has a partner, sorted; returns how many. */
static int64_t collect_places(const diff_side *side, bool is_b, place *places)
{
    int64_t n = 0, last = -1;
    bool sorted = true;
    for (int64_t row = 0; row < side->rows.count; row++) {
        uint64_t sequence = side->rows.sequence[row];
        if (last < 0 || side->sequences[last].sequence != sequence)
            last = diff_sequence_find(side, sequence);
        if (last < 0 || side->sequences[last].peer < 0) continue;
        places[n] = (place){is_b ? side->sequences[last].peer : last, side->rows.position[row],
                            row};
        if (n > 0 && compare_places(&places[n - 1], &places[n]) > 0) sorted = false;
        n++;
    }
    if (!sorted) qsort(places, (size_t)n, sizeof *places, compare_places);
    return n;
}

static void note_tokens(const diff_side *a, const diff_side *b, int64_t ra, int64_t rb,
                        diff_matching *m)
{
    if (m->tokens_differ++ == 0 && !m->token_place.present) {
        m->token_place.present = m->token_place.has_row = true;
        m->token_place.sequence = a->rows.sequence[ra];
        m->token_place.position = a->rows.position[ra];
        m->token_place.token = a->rows.token[ra];
        m->token_b = b->rows.token[rb];
    }
}

sonde_status diff_match_rows(const diff_side *a, const diff_side *b, bool loose, int64_t *peer,
                             diff_matching *m, sonde_error *err)
{
    place *pa = NULL;
    size_t total = (size_t)(a->rows.count + b->rows.count);
    for (int64_t i = 0; i < a->rows.count; i++) peer[i] = -1;
    SONDE_TRY(diff_alloc(total, sizeof *pa, "the order of the rows", &pa, err));
    int64_t na = collect_places(a, false, pa), met = 0;
    place *pb = pa + na;
    int64_t nb = collect_places(b, true, pb);
    for (int64_t i = 0, j = 0; i < na && j < nb;) {
        place x = pa[i], y = pb[j];
        x.row = y.row = 0;
        int order = compare_places(&x, &y);
        if (order == 0) {
            bool same = a->rows.token[pa[i].row] == b->rows.token[pb[j].row];
            met++;
            if (!same) note_tokens(a, b, pa[i].row, pb[j].row, m);
            if (same || loose) {
                peer[pa[i].row] = pb[j].row;
                m->rows++;
            }
        }
        i += order <= 0;
        j += order >= 0;
    }
    m->rows_only_a = a->rows.count - met;
    m->rows_only_b = b->rows.count - met;
    free(pa);
    return SONDE_OK;
}
