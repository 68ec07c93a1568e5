/* memory.c - the one allocator door and checked sizes. */
#include "core.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Allocations that may still succeed; negative: no limit. A test hook, off in normal life. */
static _Atomic long allocations_left = -1;

void sonde_alloc_fail_after(long n)
{
    atomic_store(&allocations_left, n);
}

static bool may_allocate(void)
{
    long left = atomic_load_explicit(&allocations_left, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak(&allocations_left, &left, left - 1)) return true;
    return left < 0;
}

bool sonde_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool sonde_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

bool sonde_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

void *sonde_alloc_raw(size_t count, size_t bytes_each)
{
    size_t bytes, rounded;
    if (!sonde_mul_size(count, bytes_each, &bytes)) return NULL;
    if (!sonde_add_size(bytes ? bytes : 1, SONDE_ALIGNMENT - 1, &rounded)) return NULL;
    if (!may_allocate()) return NULL;
    return aligned_alloc(SONDE_ALIGNMENT, rounded & ~(size_t)(SONDE_ALIGNMENT - 1));
}

void *sonde_alloc(size_t count, size_t bytes_each)
{
    void *block = sonde_alloc_raw(count, bytes_each);
    if (block) memset(block, 0, count * bytes_each);
    return block;
}

void *sonde_realloc(void *block, size_t old_bytes, size_t count, size_t bytes_each)
{
    void *bigger = sonde_alloc_raw(count, bytes_each);
    if (!bigger) return NULL;
    size_t bytes = count * bytes_each, kept = SONDE_MIN(old_bytes, bytes);
    if (kept) memcpy(bigger, block, kept);
    memset((char *)bigger + kept, 0, bytes - kept);
    sonde_free(block);
    return bigger;
}

void sonde_free(void *block)
{
    free(block);
}

char *sonde_strndup(const char *text, size_t length)
{
    if (!text) return NULL;
    char *copy = sonde_alloc_raw(length + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *sonde_strdup(const char *text)
{
    return text ? sonde_strndup(text, strlen(text)) : NULL;
}

bool sonde_grow(void *array_pointer, size_t *capacity, size_t need, size_t bytes_each)
{
    if (need <= *capacity) return true;
    size_t wanted = *capacity ? *capacity : 16;
    while (wanted < need)
        if (!sonde_mul_size(wanted, 2, &wanted)) return false;
    void *old;
    memcpy(&old, array_pointer, sizeof old);
    void *bigger = sonde_realloc(old, *capacity * bytes_each, wanted, bytes_each);
    if (!bigger) return false;
    memcpy(array_pointer, &bigger, sizeof bigger);
    *capacity = wanted;
    return true;
}
