/*
 * prompts_known.c - hashes of the ids given so far: some in a table in memory, the others in sorted
 * runs in a file without a name, each with a filter in memory (2 bytes an id) that says which runs
 * need not be looked at.
 */
#include "prompts_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_MEMORY ((size_t)1 << 17)    /* hashes of the table when it becomes a run */
#define FILTER_BYTES ((size_t)1 << 18) /* of a run: 16 bits a hash */
#define BLOCK_WORDS 8u                 /* u64 of a filter that one hash has its bits in */

typedef struct known_run {
    uint64_t at; /* of IN_MEMORY hashes in the file */
    uint64_t *filter;
} known_run;

struct sonde_known_ids {
    sonde_hash128_value *table; /* open addressing; {0, 0}: free */
    size_t slots, count;
    known_run *runs;
    size_t n_runs, run_capacity;
    int scratch; /* -1: none yet, or none can be */
};

sonde_known_ids *sonde_known_ids_create(void)
{
    sonde_known_ids *known = sonde_alloc(1, sizeof *known);
    if (known) known->scratch = -1;
    return known;
}

void sonde_known_ids_destroy(sonde_known_ids **out)
{
    sonde_known_ids *known = *out;
    if (!known) return;
    for (size_t i = 0; i < known->n_runs; i++) sonde_free(known->runs[i].filter);
    if (known->scratch >= 0) close(known->scratch);
    sonde_free(known->runs);
    sonde_free(known->table);
    sonde_free(known);
    *out = NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

static bool is_free(sonde_hash128_value hash)
{
    return hash.low == 0 && hash.high == 0;
}

static int compare(const void *a, const void *b)
{
    const sonde_hash128_value *x = a, *y = b;
    if (x->low != y->low) return x->low < y->low ? -1 : 1;
    return (x->high > y->high) - (x->high < y->high);
}

static size_t slot_of(const sonde_known_ids *known, sonde_hash128_value hash)
{
    size_t slot = (size_t)hash.low & (known->slots - 1);
    while (!is_free(known->table[slot]) && compare(&known->table[slot], &hash) != 0)
        slot = (slot + 1) & (known->slots - 1);
    return slot;
}

/* Keeps the table at most half full. */
static bool grow_table(sonde_known_ids *known)
{
    if (2 * (known->count + 1) <= known->slots) return true;
    sonde_known_ids bigger = *known;
    bigger.slots = known->slots ? 2 * known->slots : 64;
    bigger.table = sonde_alloc(bigger.slots, sizeof *bigger.table);
    if (!bigger.table) return false;
    for (size_t i = 0; i < known->slots; i++)
        if (!is_free(known->table[i]))
            bigger.table[slot_of(&bigger, known->table[i])] = known->table[i];
    sonde_free(known->table);
    *known = bigger;
    return true;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* Four bits of one block of a filter. */
static void bits_of(sonde_hash128_value hash, size_t *block, uint64_t bits[BLOCK_WORDS])
{
    *block = (size_t)hash.low % (FILTER_BYTES / (8 * BLOCK_WORDS)) * BLOCK_WORDS;
    memset(bits, 0, BLOCK_WORDS * sizeof *bits);
    for (unsigned i = 0; i < 4; i++) {
        unsigned bit = (unsigned)(hash.high >> 9 * i) & 511u;
        bits[bit / 64] |= UINT64_C(1) << bit % 64;
    }
}

static void add_to_filter(uint64_t *filter, sonde_hash128_value hash)
{
    uint64_t bits[BLOCK_WORDS];
    size_t block;
    bits_of(hash, &block, bits);
    for (size_t i = 0; i < BLOCK_WORDS; i++) filter[block + i] |= bits[i];
}

static bool may_have(const uint64_t *filter, sonde_hash128_value hash)
{
    uint64_t bits[BLOCK_WORDS], missing = 0;
    size_t block;
    bits_of(hash, &block, bits);
    for (size_t i = 0; i < BLOCK_WORDS; i++) missing |= bits[i] & ~filter[block + i];
    return missing == 0;
}

/* The table's hashes to its front, sorted. */
static void sort_table(sonde_known_ids *known)
{
    size_t n = 0;
    for (size_t i = 0; i < known->slots; i++)
        if (!is_free(known->table[i])) known->table[n++] = known->table[i];
    qsort(known->table, n, sizeof *known->table, compare);
    memset(known->table + n, 0, (known->slots - n) * sizeof *known->table);
}

/* After sort_table: back into their slots. false: no memory. */
static bool restore_table(sonde_known_ids *known)
{
    sonde_known_ids again = *known;
    again.table = sonde_alloc(again.slots, sizeof *again.table);
    if (!again.table) return false;
    for (size_t i = 0; i < known->count; i++)
        again.table[slot_of(&again, known->table[i])] = known->table[i];
    sonde_free(known->table);
    *known = again;
    return true;
}

static bool open_scratch(sonde_known_ids *known)
{
    const char *folder = getenv("TMPDIR");
    if (known->scratch < 0)
        known->scratch = sonde_scratch_open(folder && *folder ? folder : "/tmp");
    return known->scratch >= 0;
}

/* Makes a run of a full table. Where there can be no file, the table goes on growing. */
static bool put_table_away(sonde_known_ids *known)
{
    if (known->count != IN_MEMORY || !open_scratch(known)) return true;
    known_run run = {.at = known->n_runs * IN_MEMORY * sizeof *known->table};
    run.filter = sonde_alloc(FILTER_BYTES, 1);
    if (!run.filter ||
        !sonde_grow(&known->runs, &known->run_capacity, known->n_runs + 1, sizeof run)) {
        sonde_free(run.filter);
        return false;
    }
    sort_table(known);
    if (!sonde_scratch_write(known->scratch, run.at, known->table,
                             IN_MEMORY * sizeof *known->table)) {
        sonde_free(run.filter);
        return restore_table(known);
    }
    for (size_t i = 0; i < IN_MEMORY; i++) add_to_filter(run.filter, known->table[i]);
    known->runs[known->n_runs++] = run;
    memset(known->table, 0, known->slots * sizeof *known->table);
    known->count = 0;
    return true;
}

static sonde_status find_in_run(const sonde_known_ids *known, const known_run *run,
                                sonde_hash128_value hash, bool *found, sonde_error *err)
{
    size_t low = 0, high = IN_MEMORY;
    while (low < high && !*found) {
        size_t middle = (low + high) / 2;
        sonde_hash128_value there;
        if (!sonde_scratch_read(known->scratch, run->at + middle * sizeof there, &there,
                                sizeof there))
            return sonde_fail(err, SONDE_IO, "ids of earlier prompts cannot be read back: %s",
                              strerror(errno));
        int order = compare(&hash, &there);
        *found = order == 0;
        if (order > 0) low = middle + 1;
        else high = middle;
    }
    return SONDE_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

sonde_status sonde_known_ids_find(const sonde_known_ids *known, sonde_hash128_value hash,
                                  bool *found, sonde_error *err)
{
    *found = known->slots > 0 && !is_free(known->table[slot_of(known, hash)]);
    for (size_t i = 0; i < known->n_runs && !*found; i++)
        if (may_have(known->runs[i].filter, hash))
            SONDE_TRY(find_in_run(known, &known->runs[i], hash, found, err));
    return SONDE_OK;
}

sonde_status sonde_known_ids_add(sonde_known_ids *known, sonde_hash128_value hash, sonde_error *err)
{
    if (!grow_table(known)) return sonde_no_memory(err, "the ids of prompts", 32 * known->count);
    known->table[slot_of(known, hash)] = hash;
    known->count++;
    return put_table_away(known) ? SONDE_OK
                                 : sonde_no_memory(err, "the ids of prompts", 32 * known->count);
}
