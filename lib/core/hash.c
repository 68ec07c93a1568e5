/* hash.c - XXH3 of a block. */
#include "core.h"

#include <xxhash.h>

uint64_t sonde_hash64(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

sonde_hash128_value sonde_hash128(const void *data, size_t bytes)
{
    XXH128_hash_t hash = XXH3_128bits(data, bytes);
    return (sonde_hash128_value){hash.low64, hash.high64};
}

void sonde_hash128_hex(sonde_hash128_value hash, char text[33])
{
    snprintf(text, 33, "%016llx%016llx", (unsigned long long)hash.high,
             (unsigned long long)hash.low);
}
