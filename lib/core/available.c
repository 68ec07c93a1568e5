/* available.c - how much memory this process has, and may still take. */
#include "core.h"

#include <inttypes.h>
#include <malloc.h>
#include <string.h>

/* The number that follows `key` in a file of lines "key number", or the file's only number. */
static bool read_number(const char *path, const char *key, uint64_t *number)
{
    char line[256];
    bool found = false;
    FILE *file = fopen(path, "r");
    if (!file) return false;
    while (!found && fgets(line, sizeof line, file)) {
        size_t skip = key ? strlen(key) : 0;
        if (key && strncmp(line, key, skip) != 0) continue;
        found = sscanf(line + skip, " %" SCNu64, number) == 1;
    }
    fclose(file);
    return found;
}

/* What a control group leaves: its limit less what it holds, pages of files not counted as held. */
static uint64_t left_in_group(const char *limit_path, const char *used_path, const char *stat_path,
                              const char *cache_key)
{
    uint64_t limit, used, cache = 0;
    if (!read_number(limit_path, NULL, &limit) || !read_number(used_path, NULL, &used))
        return UINT64_MAX;
    if (!read_number(stat_path, cache_key, &cache)) cache = 0;
    used -= SONDE_MIN(used, cache);
    return limit > used ? limit - used : 0;
}

uint64_t sonde_memory_available(void)
{
    uint64_t kilobytes, bytes;
    if (!read_number("/proc/meminfo", "MemAvailable:", &kilobytes)) return 0;
    bytes = kilobytes * 1024;
    bytes = SONDE_MIN(bytes, left_in_group("/sys/fs/cgroup/memory.max",
                                           "/sys/fs/cgroup/memory.current",
                                           "/sys/fs/cgroup/memory.stat", "file "));
    return SONDE_MIN(bytes, left_in_group("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                          "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                                          "/sys/fs/cgroup/memory/memory.stat", "total_cache "));
}

uint64_t sonde_memory_resident(void)
{
    uint64_t kilobytes;
    return read_number("/proc/self/status", "VmRSS:", &kilobytes) ? kilobytes * 1024 : 0;
}

void sonde_memory_trim(void)
{
    malloc_trim(0);
}
