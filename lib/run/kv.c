/* kv.c - blocks of the cache: taken, held in common, given back, within a limit. */
#include "kv.h"

#include <string.h>

#define IDLE_BYTES ((uint64_t)64 << 20) /* at most for blocks that no sequence holds */

sonde_status sonde_kv_create(const sonde_plan *plan, uint64_t most_bytes, sonde_kv **out,
                             sonde_error *err)
{
    sonde_kv *kv = sonde_alloc(1, sizeof *kv);
    if (!kv) return sonde_no_memory(err, "the KV cache", sizeof *kv);
    kv->plan = plan;
    uint64_t bytes = SONDE_MAX(plan->kv_block_bytes, 1);
    kv->most = most_bytes ? most_bytes / bytes : UINT64_MAX;
    kv->most_idle = sonde_kv_idle_bytes(plan) / bytes;
    pthread_mutex_init(&kv->lock, NULL);
    *out = kv;
    return SONDE_OK;
}

void sonde_kv_destroy(sonde_kv **out)
{
    sonde_kv *kv = *out;
    if (!kv) return;
    while (sonde_kv_forget_oldest(kv)) continue;
    for (sonde_kv_block *block = kv->free_blocks, *next; block; block = next) {
        next = block->next;
        sonde_free(block);
    }
    pthread_mutex_destroy(&kv->lock);
    sonde_free(kv);
    *out = NULL;
}

void sonde_plan_wants(const sonde_plan *plan, bool *shows, bool *writes, bool *labels)
{
    uint32_t wants = 0;
    for (int64_t i = 0; i < plan->model->n_points; i++) wants |= plan->wants[i];
    *shows = wants != 0;
    *writes = (wants & SONDE_WANT_WRITE) != 0;
    *labels = plan->options.want_labels;
}

bool sonde_plan_shares_prefixes(const sonde_plan *plan)
{
    bool shows, writes, labels;
    sonde_plan_wants(plan, &shows, &writes, &labels);
    return !(plan->options.off & SONDE_OFF_PREFIX) && plan->kv_block_bytes > 0 && !writes;
}

uint64_t sonde_kv_idle_bytes(const sonde_plan *plan)
{
    return sonde_plan_shares_prefixes(plan) ? SONDE_MAX(IDLE_BYTES, plan->kv_block_bytes) : 0;
}

/* ---- taking ----------------------------------------------------------------------------------------- */

static sonde_kv_block *pop_free(sonde_kv *kv)
{
    sonde_kv_block *block = kv->free_blocks;
    if (!block) return NULL;
    kv->free_blocks = block->next;
    kv->n_free--;
    return block;
}

static sonde_kv_block *take(sonde_kv *kv)
{
    sonde_kv_block *block = pop_free(kv);
    if (block) return block;
    if (kv->n_live < kv->most) {
        block = sonde_alloc(1, SONDE_ALIGNMENT + kv->plan->kv_block_bytes);
        if (block) return block;
    }
    return sonde_kv_forget_oldest(kv) ? pop_free(kv) : NULL;
}

sonde_kv_block *sonde_kv_take(sonde_kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    sonde_kv_block *block = take(kv);
    if (block) {
        block->next = NULL;
        block->refs = 1;
        kv->n_live++;
        kv->stats.bytes_peak = SONDE_MAX(kv->stats.bytes_peak, kv->n_live * kv->plan->kv_block_bytes);
    }
    pthread_mutex_unlock(&kv->lock);
    return block;
}

/* ---- giving back ------------------------------------------------------------------------------------- */

void sonde_kv_drop(sonde_kv *kv, sonde_kv_block *block)
{
    block->refs--;
    if (block->refs == 1 && block->node) sonde_kv_rest(kv, block->node);
    if (block->refs > 0) return;
    block->next = kv->free_blocks;
    kv->free_blocks = block;
    kv->n_free++;
    kv->n_live--;
}

void sonde_kv_release(sonde_kv *kv, sonde_kv_block *const *blocks, int64_t n)
{
    pthread_mutex_lock(&kv->lock);
    for (int64_t i = n - 1; i >= 0; i--) sonde_kv_drop(kv, blocks[i]);
    while (kv->n_idle > kv->most_idle && sonde_kv_forget_oldest(kv)) continue;
    pthread_mutex_unlock(&kv->lock);
}

/* ---- room --------------------------------------------------------------------------------------------- */

uint64_t sonde_kv_limit(const sonde_kv *kv)
{
    return kv->most;
}

uint64_t sonde_kv_room(sonde_kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    uint64_t room = kv->most == UINT64_MAX ? UINT64_MAX : kv->most - kv->n_live + kv->n_idle;
    pthread_mutex_unlock(&kv->lock);
    return room;
}

uint64_t sonde_kv_held(sonde_kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    uint64_t held = kv->n_live - kv->n_idle;
    pthread_mutex_unlock(&kv->lock);
    return held;
}

bool sonde_kv_commit(sonde_kv *kv, int64_t blocks)
{
    pthread_mutex_lock(&kv->lock);
    bool good = kv->most - kv->committed >= (uint64_t)SONDE_MAX(blocks, 0);
    if (good) kv->committed += (uint64_t)blocks;
    pthread_mutex_unlock(&kv->lock);
    return good;
}

void sonde_kv_uncommit(sonde_kv *kv, int64_t blocks)
{
    pthread_mutex_lock(&kv->lock);
    kv->committed -= (uint64_t)blocks;
    pthread_mutex_unlock(&kv->lock);
}

void sonde_kv_stats_get(sonde_kv *kv, sonde_kv_stats *stats)
{
    pthread_mutex_lock(&kv->lock);
    *stats = kv->stats;
    pthread_mutex_unlock(&kv->lock);
}

/* ---- copying ------------------------------------------------------------------------------------------ */

static void copy_page(const sonde_kv_layout *l, char *to, const char *from, int64_t n)
{
    size_t element = sonde_dtype_bytes(l->dtype, 1), used = (size_t)n * element;
    size_t line = SONDE_PAGE_POSITIONS * element, value = (size_t)l->value_dim * element;
    for (int64_t head = 0; head < l->n_kv_heads; head++) {
        for (int64_t d = 0; d < l->head_dim; d++, to += line, from += line) memcpy(to, from, used);
        memcpy(to, from, (size_t)n * value);
        to += SONDE_PAGE_POSITIONS * value;
        from += SONDE_PAGE_POSITIONS * value;
    }
}

void sonde_kv_copy(const sonde_plan *plan, sonde_kv_block *to, sonde_kv_block *from, int64_t n)
{
    for (int64_t layer = 0; layer < plan->model->recipe->dims.n_layers; layer++)
        if (plan->kv_offset[layer] != SIZE_MAX)
            copy_page(&plan->kv_layouts[layer], sonde_kv_pages(to) + plan->kv_offset[layer],
                      sonde_kv_pages(from) + plan->kv_offset[layer], n);
}
