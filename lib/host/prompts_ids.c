/* prompts_ids.c - ids that were used, and the hash of what decides the sequences given. */
#include "prompts_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- ids ------------------------------------------------------------------------------------- */

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
    bool taken = false;
    if (!ids->given && !(ids->given = sonde_known_ids_create()))
        return sonde_no_memory(err, "the ids of prompts", 64);
    SONDE_TRY(sonde_known_ids_find(ids->given, hash, &taken, err));
    if (taken || (given && is_an_index(ids, id)))
        return sonde_fail(err, SONDE_BAD_PROMPT, "id '%.80s' is the id of an earlier prompt", id);
    if (given) return sonde_known_ids_add(ids->given, hash, err);
    return add_index(ids, index) ? SONDE_OK
                                 : sonde_no_memory(err, "the ids of prompts", 16 * ids->n_runs);
}

void sonde_prompt_ids_reset(sonde_prompt_ids *ids)
{
    sonde_known_ids_destroy(&ids->given);
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
