/* reader_walk.c - everything below a group, bounded in depth and number. */
#include "reader_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct name_list {
    char **names;
    size_t count, capacity;
    bool failed;
} name_list;

typedef struct walk {
    sonde_reader *reader;
    const char *root;
    reader_visit *visit;
    int64_t links; /* seen so far */
} walk;

static herr_t take_name(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    name_list *list = context;
    (void)group;
    (void)info;
    char *copy = list->count < READER_MAX_LINKS ? sonde_strdup(name) : NULL;
    if (!copy || !sonde_grow(&list->names, &list->capacity, list->count + 1, sizeof *list->names)) {
        sonde_free(copy);
        list->failed = true;
        return -1;
    }
    list->names[list->count++] = copy;
    return 0;
}

static void free_list(name_list *list)
{
    for (size_t i = 0; i < list->count; i++) sonde_free(list->names[i]);
    sonde_free(list->names);
}

static int compare_names(const void *pa, const void *pb)
{
    const char *const *a = pa, *const *b = pb;
    return strcmp(*a, *b);
}

/* Names in order. HDF5 gives them as they lie in the file: sorting them itself, it releases a table
 * that a damaged group left half filled. */
static sonde_status list_names(const sonde_reader *reader, const char *path, name_list *list,
                               sonde_error *err)
{
    char reason[160] = "it cannot be listed";
    sonde_h5_lock();
    hid_t group = H5Oopen(reader->file, path, reader->links);
    herr_t result = -1;
    if (group >= 0)
        result = H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, take_name, list);
    if (result < 0 && !list->failed) sonde_reader_reason(reason);
    if (group >= 0) H5Oclose(group);
    sonde_h5_unlock();
    if (result < 0)
        return sonde_reader_bad(reader, path, err, "%s",
                                list->failed ? "it has too many members to list" : reason);
    if (list->count > 1) qsort(list->names, list->count, sizeof *list->names, compare_names);
    return SONDE_OK;
}

/* Names reach terminals and messages: valid UTF-8 without control characters, of bounded length. */
static bool name_is_good(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F) return false;
    return length > 0 && length <= READER_MAX_NAME &&
           sonde_utf8_valid_prefix(name, length) == length;
}

static bool is_ragged(const sonde_reader *reader, const char *path)
{
    char member[4 * READER_MAX_NAME + 16];
    snprintf(member, sizeof member, "%s/data", path);
    if (sonde_reader_kind(reader, member) == READER_ABSENT) return false;
    snprintf(member, sizeof member, "%s/indptr", path);
    return sonde_reader_kind(reader, member) != READER_ABSENT;
}

static sonde_status walk_group(walk *w, const char *path, int depth, sonde_error *err);

static sonde_status walk_member(walk *w, const char *path, int depth, sonde_error *err)
{
    char name[4 * READER_MAX_NAME];
    reader_kind kind = sonde_reader_kind(w->reader, path);
    if (kind == READER_ABSENT || kind == READER_BROKEN)
        return sonde_reader_bad(w->reader, path, err,
                                "it leads nowhere, into another file, or to what cannot be opened");
    bool take = kind == READER_DATASET || is_ragged(w->reader, path);
    if (!take) return walk_group(w, path, depth + 1, err);
    snprintf(name, sizeof name, "%s", path + strlen(w->root) + 1);
    for (char *slash = name; (slash = strchr(slash, '/'));) *slash = '.';
    return w->visit(w->reader, path, name, kind == READER_GROUP, err);
}

static sonde_status walk_names(walk *w, const char *path, const name_list *list, int depth,
                               sonde_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        sonde_string member = {0};
        if (!name_is_good(list->names[i]))
            return sonde_reader_bad(w->reader, path, err, "a name in it is no readable text: %s",
                                    list->names[i]);
        sonde_string_format(&member, "%s/%s", path, list->names[i]);
        sonde_status status = SONDE_OK;
        if (member.failed) status = sonde_no_memory(err, path, strlen(path));
        else if (++w->links > READER_MAX_LINKS || member.length >= 4 * READER_MAX_NAME)
            status = sonde_reader_bad(w->reader, path, err, "too many objects, or too long a path");
        else status = walk_member(w, member.data, depth, err);
        sonde_string_reset(&member);
        if (status != SONDE_OK) return status;
    }
    return SONDE_OK;
}

static sonde_status walk_group(walk *w, const char *path, int depth, sonde_error *err)
{
    name_list list = {0};
    if (depth > READER_MAX_DEPTH)
        return sonde_reader_bad(w->reader, path, err,
                                "groups are nested more than %d deep (a circle of links?)",
                                READER_MAX_DEPTH);
    sonde_status status = list_names(w->reader, path, &list, err);
    if (status == SONDE_OK) status = walk_names(w, path, &list, depth, err);
    free_list(&list);
    return status;
}

sonde_status sonde_reader_walk(sonde_reader *reader, const char *group, reader_visit *visit,
                               sonde_error *err)
{
    walk w = {.reader = reader, .root = group, .visit = visit};
    return walk_group(&w, group, 0, err);
}
