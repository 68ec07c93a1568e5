/* prompts_ids.c - ids that were used, and the hash of what decides the sequences given. */
#include "prompts_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- ids ------------------------------------------------------------------------------------- */

static size_t slot_of(const sonde_prompt_ids *ids, sonde_hash128_value hash)
{
    size_t slot = (size_t)hash.low & (ids->slots - 1);
    while (ids->given[slot].low || ids->given[slot].high) {
        if (ids->given[slot].low == hash.low && ids->given[slot].high == hash.high) break;
        slot = (slot + 1) & (ids->slots - 1);
    }
    return slot;
}

static bool is_given(const sonde_prompt_ids *ids, sonde_hash128_value hash)
{
    if (ids->slots == 0) return false;
    size_t slot = slot_of(ids, hash);
    return ids->given[slot].low != 0 || ids->given[slot].high != 0;
}

/* Keeps the table at most half full. */
static bool grow_table(sonde_prompt_ids *ids)
{
    if (2 * (ids->count + 1) <= ids->slots) return true;
    sonde_prompt_ids bigger = *ids;
    bigger.slots = ids->slots ? 2 * ids->slots : 64;
    bigger.given = sonde_alloc(bigger.slots, sizeof *bigger.given);
    if (!bigger.given) return false;
    for (size_t i = 0; i < ids->slots; i++)
        if (ids->given[i].low || ids->given[i].high)
            bigger.given[slot_of(&bigger, ids->given[i])] = ids->given[i];
    sonde_free(ids->given);
    *ids = bigger;
    return true;
}

/* Does an earlier prompt without an id of its own have this one? */
static bool is_an_index(const sonde_prompt_ids *ids, const char *id)
{
    int64_t index;
    char canonical[24];
    if (!sonde_parse_i64(id, 0, INT64_MAX, &index)) return false;
    snprintf(canonical, sizeof canonical, "%lld", (long long)index);
    if (strcmp(canonical, id) != 0) return false;
    size_t low = 0, high = ids->n_runs;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ids->runs[middle].end <= (uint64_t)index) low = middle + 1;
        else high = middle;
    }
    return low < ids->n_runs && ids->runs[low].begin <= (uint64_t)index;
}

static bool add_index(sonde_prompt_ids *ids, uint64_t index)
{
    if (ids->n_runs > 0 && ids->runs[ids->n_runs - 1].end == index) {
        ids->runs[ids->n_runs - 1].end++;
        return true;
    }
    if (!sonde_grow(&ids->runs, &ids->runs_capacity, ids->n_runs + 1, sizeof *ids->runs))
        return false;
    ids->runs[ids->n_runs].begin = index;
    ids->runs[ids->n_runs++].end = index + 1;
    return true;
}

sonde_status sonde_prompt_ids_claim(sonde_prompt_ids *ids, const char *id, bool given,
                                    uint64_t index, sonde_error *err)
{
    sonde_hash128_value hash = sonde_hash128(id, strlen(id));
    if (is_given(ids, hash) || (given && is_an_index(ids, id)))
        return sonde_fail(err, SONDE_BAD_PROMPT, "id '%.80s' is the id of an earlier prompt", id);
    bool good = given ? grow_table(ids) : add_index(ids, index);
    if (!good) return sonde_no_memory(err, "the ids of prompts", 32 * ids->count);
    if (!given) return SONDE_OK;
    ids->given[slot_of(ids, hash)] = hash;
    ids->count++;
    return SONDE_OK;
}

void sonde_prompt_ids_reset(sonde_prompt_ids *ids)
{
    sonde_free(ids->given);
    sonde_free(ids->runs);
    memset(ids, 0, sizeof *ids);
}

/* ---- hash ------------------------------------------------------------------------------------ */

typedef struct record {
    sonde_hash128_value before, id, text, tokens, rows, marked, meta;
    uint64_t index, state, n_tokens, n_prompt, max_new, seed;
} record;

/* Nothing and an empty block differ. */
static sonde_hash128_value hash_of(const void *data, size_t bytes)
{
    return data ? sonde_hash128(data, bytes) : (sonde_hash128_value){0, 0};
}

sonde_status sonde_prompt_hash(sonde_hash128_value *hash, const sonde_prompt *p, sonde_error *err)
{
    size_t n = (size_t)p->n_tokens;
    char *meta = json_dumps(p->meta, JSON_COMPACT | JSON_SORT_KEYS);
    if (!meta) return sonde_no_memory(err, "metadata of a prompt", 64);
    record r;
    memset(&r, 0, sizeof r);
    r.before = *hash;
    r.id = hash_of(p->id, strlen(p->id));
    r.text = hash_of(p->text, p->text_bytes);
    r.tokens = hash_of(p->tokens, n * sizeof *p->tokens);
    r.rows = hash_of(p->rows, p->rows ? strlen(p->rows) : 0);
    r.marked = hash_of(p->marked, n);
    r.meta = hash_of(meta, strlen(meta));
    r.index = p->index;
    r.state = (uint64_t)p->state;
    r.n_tokens = (uint64_t)p->n_tokens;
    r.n_prompt = (uint64_t)p->n_prompt;
    r.max_new = (uint64_t)p->max_new;
    r.seed = p->seed;
    *hash = sonde_hash128(&r, sizeof r);
    free(meta);
    return SONDE_OK;
}
