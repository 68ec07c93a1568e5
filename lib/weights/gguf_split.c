/*
 * gguf_split.c - a GGUF file, or all parts of one that was split: NAME-00001-of-00003.gguf and so on,
 * each with keys split.no (from 0), split.count and split.tensors.count. Whichever part is opened, all
 * are; metadata are those of the first.
 */
#include "gguf_internal.h"

#include <string.h>

#define MAX_PARTS 9999
#define ENDING_BYTES 64

static int64_t integer_of(const sonde_gguf *gguf, const char *key, int64_t fallback)
{
    const gguf_value *value = gguf_find(gguf, key);
    int64_t number;
    return value && gguf_integer(value, 0, &number) ? number : fallback;
}

static void ending_of(int64_t part, int64_t n, char ending[ENDING_BYTES])
{
    snprintf(ending, ENDING_BYTES, "-%05lld-of-%05lld.gguf", (long long)(part + 1), (long long)n);
}

static sonde_status open_part(const char *path, sonde_gguf_part *part, sonde_error *err)
{
    part->path = sonde_strdup(path);
    if (!part->path) return sonde_no_memory(err, path, strlen(path));
    SONDE_TRY(sonde_mapping_open(path, &part->mapping, err));
    return sonde_gguf_parse(part->mapping.data, part->mapping.bytes, part->path, &part->gguf, err);
}

/* Part `index` of `n`: does the file say the same of itself? */
static sonde_status check_part(const sonde_gguf_part *part, int64_t index, int64_t n, sonde_error *err)
{
    int64_t no = integer_of(part->gguf, "split.no", -1), count = integer_of(part->gguf, "split.count", 1);
    if (no == index && count == n) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: expected part %lld of %lld, its split.no and split.count "
                      "say part %lld of %lld", part->path, (long long)index + 1, (long long)n,
                      (long long)no + 1, (long long)count);
}

/* Part `index`, whose path begins as that of `opened` does. */
static sonde_status open_sibling(const sonde_gguf_part *opened, size_t prefix, int64_t index, int64_t n,
                                 sonde_gguf_part *part, sonde_error *err)
{
    sonde_string path = {0};
    char ending[ENDING_BYTES];
    ending_of(index, n, ending);
    sonde_string_append(&path, opened->path, prefix);
    sonde_string_text(&path, ending);
    sonde_status status = path.failed ? sonde_no_memory(err, opened->path, prefix)
                                      : open_part(path.data, part, err);
    sonde_string_reset(&path);
    if (status != SONDE_BAD_FILE) return status;
    return sonde_error_prefix(err, "part %lld of %lld", (long long)index + 1, (long long)n);
}

/* The other parts lie beside the one that was opened, and are named like it. */
static sonde_status open_others(sonde_gguf_parts *parts, sonde_gguf_part *opened, sonde_error *err)
{
    char ending[ENDING_BYTES];
    int64_t n = integer_of(opened->gguf, "split.count", 1), no = integer_of(opened->gguf, "split.no", -1);
    if (n > MAX_PARTS || no < 0 || no >= n)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: split.no %lld and split.count %lld name no part",
                          opened->path, (long long)no, (long long)n);
    ending_of(no, n, ending);
    size_t length = strlen(opened->path), tail = strlen(ending);
    if (length <= tail || strcmp(opened->path + length - tail, ending) != 0)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: it is part %lld of %lld: expected a name that ends in "
                          "%s, as those of the other parts", opened->path, (long long)no + 1,
                          (long long)n, ending);
    sonde_gguf_part *files = sonde_alloc((size_t)n, sizeof *files);
    if (!files) return sonde_no_memory(err, opened->path, (size_t)n * sizeof *files);
    files[no] = *opened;
    *opened = (sonde_gguf_part){0};
    sonde_free(parts->files);
    parts->files = files;
    parts->count = n;
    for (int64_t i = 0; i < n; i++) {
        if (i != no) SONDE_TRY(open_sibling(&files[no], length - tail, i, n, &files[i], err));
        SONDE_TRY(check_part(&files[i], i, n, err));
    }
    return SONDE_OK;
}

/* All tensors into the first part's table; their names stay where they are. */
static sonde_status join_tensors(sonde_gguf_parts *parts, sonde_error *err)
{
    sonde_gguf *first = parts->files[0].gguf;
    int64_t sum = 0, said = integer_of(first, "split.tensors.count", -1);
    for (int64_t i = 0; i < parts->count; i++) sum += parts->files[i].gguf->count;
    if (said >= 0 && said != sum)
        return sonde_fail(err, SONDE_BAD_MODEL, "%s: split.tensors.count is %lld, the %lld parts have %lld "
                          "tensors", first->file, (long long)said, (long long)parts->count,
                          (long long)sum);
    sonde_tensor *all = sonde_alloc((size_t)sum + 1, sizeof *all);
    if (!all) return sonde_no_memory(err, first->file, (size_t)sum * sizeof *all);
    int64_t n = 0;
    for (int64_t i = 0; i < parts->count; i++) {
        const sonde_gguf *part = parts->files[i].gguf;
        if (part->count > 0) memcpy(all + n, part->tensors, (size_t)part->count * sizeof *all);
        n += part->count;
    }
    sonde_free(first->tensors);
    first->tensors = all;
    first->count = n;
    sonde_tensors_sort_by_name(all, n);
    for (int64_t i = 0; i < n; i++) {
        all[i].stored = i;
        if (i > 0 && strcmp(all[i - 1].name, all[i].name) == 0)
            return sonde_fail(err, SONDE_BAD_MODEL, "%s: tensor %s is in %s too", all[i].file, all[i].name,
                              all[i - 1].file);
    }
    return SONDE_OK;
}

sonde_status sonde_gguf_open(const char *path, sonde_gguf_parts *parts, sonde_error *err)
{
    *parts = (sonde_gguf_parts){.files = sonde_alloc(1, sizeof *parts->files)};
    if (!parts->files) return sonde_no_memory(err, path, sizeof *parts->files);
    parts->count = 1;
    SONDE_TRY(open_part(path, &parts->files[0], err));
    if (integer_of(parts->files[0].gguf, "split.count", 1) <= 1) return SONDE_OK;
    SONDE_TRY(open_others(parts, &parts->files[0], err));
    return join_tensors(parts, err);
}

void sonde_gguf_parts_reset(sonde_gguf_parts *parts)
{
    for (int64_t i = 0; i < parts->count; i++) {
        sonde_gguf_close(&parts->files[i].gguf);
        sonde_mapping_close(&parts->files[i].mapping);
        sonde_free(parts->files[i].path);
    }
    sonde_free(parts->files);
    *parts = (sonde_gguf_parts){0};
}
