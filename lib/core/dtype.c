/* dtype.c - names and sizes of element types. */
#include "core.h"

#include <string.h>

typedef struct dtype_entry {
    sonde_dtype dtype;
    const char *name;
    int64_t block, bytes;
} dtype_entry;

static const dtype_entry entries[] = {
#define ENTRY(constant, number, name, block, bytes) {SONDE_DTYPE_##constant, name, block, bytes},
    SONDE_DTYPE_LIST(ENTRY)
#undef ENTRY
};

static const dtype_entry *find_entry(sonde_dtype dtype)
{
    for (size_t i = 0; i < SONDE_COUNT(entries); i++)
        if (entries[i].dtype == dtype) return &entries[i];
    return NULL;
}

const char *sonde_dtype_name(sonde_dtype dtype)
{
    const dtype_entry *entry = find_entry(dtype);
    return entry ? entry->name : "?";
}

sonde_dtype sonde_dtype_from_name(const char *name)
{
    for (size_t i = 0; i < SONDE_COUNT(entries); i++)
        if (strcmp(entries[i].name, name) == 0) return entries[i].dtype;
    return SONDE_DTYPE_NONE;
}

int64_t sonde_dtype_block_elements(sonde_dtype dtype)
{
    const dtype_entry *entry = find_entry(dtype);
    return entry ? entry->block : 0;
}

int64_t sonde_dtype_block_bytes(sonde_dtype dtype)
{
    const dtype_entry *entry = find_entry(dtype);
    return entry ? entry->bytes : 0;
}

size_t sonde_dtype_bytes(sonde_dtype dtype, int64_t n_elements)
{
    const dtype_entry *entry = find_entry(dtype);
    size_t bytes;
    if (!entry || n_elements < 0 || n_elements % entry->block != 0) return SIZE_MAX;
    if (!sonde_mul_size((size_t)(n_elements / entry->block), (size_t)entry->bytes, &bytes))
        return SIZE_MAX;
    return bytes;
}
