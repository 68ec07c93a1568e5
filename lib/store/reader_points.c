/* reader_points.c - which points a file holds, in which order. */
#include "reader_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- one point --- */

static sonde_status load_member(const sonde_reader *reader, const char *path, const char *member,
                                bool integers, sonde_set *set, sonde_error *err)
{
    char full[4 * READER_MAX_NAME + 16];
    snprintf(full, sizeof full, "%s/%s", path, member);
    return sonde_set_column(reader, full, integers, set, err);
}

/* Offsets begin at 0 and end at the length of the data; those between are checked when read. */
static sonde_status check_ends(sonde_reader *reader, reader_point *point, sonde_error *err)
{
    uint64_t first, last, most = (uint64_t)point->data.rows;
    int64_t entries = point->indptr.rows;
    if (!reader->sealed || entries == 0) return SONDE_OK;
    SONDE_TRY(sonde_set_read_u64(reader, &point->indptr, 0, 1, most, &first, err));
    SONDE_TRY(sonde_set_read_u64(reader, &point->indptr, entries - 1, 1, most, &last, err));
    if (first == 0 && last == most) return SONDE_OK;
    return sonde_reader_bad(
        reader, point->indptr.path, err,
        "expected offsets from 0 to %llu (the length of data), found %llu to %llu",
        (unsigned long long)most, (unsigned long long)first, (unsigned long long)last);
}

static sonde_status load_ragged(sonde_reader *reader, const char *path, reader_point *point,
                                sonde_error *err)
{
    char full[4 * READER_MAX_NAME + 16];
    bool found;
    SONDE_TRY(load_member(reader, path, "data", false, &point->data, err));
    SONDE_TRY(load_member(reader, path, "indptr", true, &point->indptr, err));
    point->rows = SONDE_MAX(point->indptr.rows - 1, 0);
    snprintf(full, sizeof full, "%s/first_key", path);
    if (sonde_reader_kind(reader, full) != READER_ABSENT) {
        SONDE_TRY(load_member(reader, path, "first_key", true, &point->first_key, err));
        if (reader->sealed && point->first_key.rows != point->rows)
            return sonde_reader_bad(reader, full, err,
                                    "expected %lld entries as indptr says, found %lld",
                                    (long long)point->rows, (long long)point->first_key.rows);
        point->rows = SONDE_MIN(point->rows, point->first_key.rows);
    }
    SONDE_TRY(sonde_reader_attr_int(reader, path, "heads", &found, &point->heads, err));
    if (found && (point->heads < 1 || point->heads > INT32_MAX))
        return sonde_reader_bad(reader, path, err, "attribute heads is %lld",
                                (long long)point->heads);
    return check_ends(reader, point, err);
}

static sonde_status load_dense(sonde_reader *reader, const char *path, reader_point *point,
                               sonde_error *err)
{
    SONDE_TRY(sonde_set_describe(reader, path, &point->data, err));
    if (point->data.n_dims < 1)
        return sonde_reader_bad(reader, path, err, "expected [rows, ...], found one number");
    point->rows = point->data.rows;
    return SONDE_OK;
}

static sonde_status load_rowmap(sonde_reader *reader, reader_point *point, sonde_error *err)
{
    char path[4 * READER_MAX_NAME + 16];
    snprintf(path, sizeof path, "/rowmap/%s", point->name);
    if (sonde_reader_kind(reader, path) == READER_ABSENT) return SONDE_OK;
    SONDE_TRY(sonde_set_column(reader, path, true, &point->rowmap, err));
    if (reader->sealed && point->rowmap.rows != point->rows)
        return sonde_reader_bad(reader, path, err,
                                "expected %lld entries, as many as the point has "
                                "rows, found %lld",
                                (long long)point->rows, (long long)point->rowmap.rows);
    point->rows = SONDE_MIN(point->rows, point->rowmap.rows);
    return SONDE_OK;
}

static sonde_status check_count(const sonde_reader *reader, const char *path, reader_point *point,
                                sonde_error *err)
{
    if (point->rowmap.path) return SONDE_OK;
    if (reader->sealed && point->rows != reader->n_rows)
        return sonde_reader_bad(reader, path, err, "expected %lld rows as /rows has, found %lld",
                                (long long)reader->n_rows, (long long)point->rows);
    point->rows = SONDE_MIN(point->rows, reader->n_rows);
    return SONDE_OK;
}

/* The dataset of texts that holds a long `order` is no point. */
static bool is_order(const sonde_reader *reader, const char *path, bool is_group)
{
    if (is_group || strcmp(path, "/activations/order") != 0) return false;
    sonde_h5_lock();
    hid_t id = H5Oopen(reader->file, path, reader->links);
    hid_t type = id >= 0 ? H5Dget_type(id) : H5I_INVALID_HID;
    bool is_text = type >= 0 && H5Tget_class(type) == H5T_STRING;
    if (type >= 0) H5Tclose(type);
    if (id >= 0) H5Oclose(id);
    sonde_h5_unlock();
    return is_text;
}

static sonde_status visit_point(sonde_reader *reader, const char *path, const char *name,
                                bool is_group, sonde_error *err)
{
    if (is_order(reader, path, is_group)) return SONDE_OK;
    if (strlen(name) > READER_MAX_NAME)
        return sonde_reader_bad(reader, path, err, "its name is longer than %d bytes",
                                READER_MAX_NAME);
    if (!sonde_grow(&reader->points, &reader->point_capacity, reader->n_points + 1,
                    sizeof *reader->points))
        return sonde_no_memory(err, path, sizeof *reader->points);
    reader_point *point = sonde_alloc(1, sizeof *point);
    if (!point) return sonde_no_memory(err, path, sizeof *point);
    reader->points[reader->n_points++] = point;
    point->ragged = is_group;
    point->name = sonde_strdup(name);
    if (!point->name) return sonde_no_memory(err, path, strlen(name));
    SONDE_TRY(is_group ? load_ragged(reader, path, point, err)
                       : load_dense(reader, path, point, err));
    SONDE_TRY(load_rowmap(reader, point, err));
    return check_count(reader, path, point, err);
}

/* --- order --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Runs of digits compare as numbers: blocks.2 comes before blocks.10. */
static int natural_order(const char *a, const char *b)
{
    while (*a && *b) {
        if (is_digit(*a) && is_digit(*b)) {
            while (*a == '0' && is_digit(a[1])) a++;
            while (*b == '0' && is_digit(b[1])) b++;
            size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
            int order = na != nb ? (na < nb ? -1 : 1) : strncmp(a, b, na);
            if (order) return order;
            a += na;
            b += nb;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return *a ? 1 : *b ? -1 : 0;
}

static int compare_points(const void *pa, const void *pb)
{
    const reader_point *const *a = pa, *const *b = pb;
    int order = natural_order((*a)->name, (*b)->name);
    return order ? order : strcmp((*a)->name, (*b)->name);
}

typedef struct named_index {
    const char *name;
    int64_t index;
} named_index;

static int compare_named(const void *pa, const void *pb)
{
    const named_index *a = pa, *b = pb;
    return strcmp(a->name, b->name);
}

/* by_name for the points as they lie now; two of one name are refused. */
static sonde_status index_names(sonde_reader *reader, sonde_error *err)
{
    size_t n = reader->n_points;
    named_index *named = sonde_alloc(n, sizeof *named);
    sonde_free(reader->by_name);
    reader->by_name = sonde_alloc(n, sizeof *reader->by_name);
    if (!named || !reader->by_name) {
        sonde_free(named);
        return sonde_no_memory(err, "the names of the points", n * sizeof *named);
    }
    for (size_t i = 0; i < n; i++) named[i] = (named_index){reader->points[i]->name, (int64_t)i};
    qsort(named, n, sizeof *named, compare_named);
    const char *doubled = NULL;
    for (size_t i = 0; i < n; i++) {
        reader->by_name[i] = named[i].index;
        if (i > 0 && strcmp(named[i].name, named[i - 1].name) == 0) doubled = named[i].name;
    }
    sonde_free(named);
    if (!doubled) return SONDE_OK;
    return sonde_reader_bad(reader, "/activations", err, "two points are called %s", doubled);
}

/* Points in the order of the list; those that it does not name follow as they are. */
static sonde_status follow_order(sonde_reader *reader, char **names, int64_t count,
                                 sonde_error *err)
{
    size_t n = reader->n_points, at = 0;
    reader_point **ordered = sonde_alloc(n, sizeof *ordered);
    bool *taken = sonde_alloc(n, sizeof *taken);
    sonde_status status = ordered && taken
                              ? SONDE_OK
                              : sonde_no_memory(err, "the points", n * sizeof *ordered);
    for (int64_t i = 0; status == SONDE_OK && i < count; i++) {
        int64_t index = sonde_reader_find(reader, names[i]);
        if (index < 0 || taken[index]) {
            status = sonde_reader_bad(reader, "/activations", err,
                                      "its order names %s, which is %s", names[i],
                                      index < 0 ? "not there" : "named twice");
            break;
        }
        taken[index] = true;
        ordered[at++] = reader->points[index];
    }
    for (size_t i = 0; status == SONDE_OK && i < n; i++)
        if (!taken[i]) ordered[at++] = reader->points[i];
    sonde_free(taken);
    if (status != SONDE_OK) {
        sonde_free(ordered);
        return status;
    }
    sonde_free(reader->points);
    reader->points = ordered;
    reader->point_capacity = n;
    return SONDE_OK;
}

sonde_status sonde_reader_load_points(sonde_reader *reader, sonde_error *err)
{
    char **names;
    int64_t count;
    reader_kind kind = sonde_reader_kind(reader, "/activations");
    if (kind == READER_ABSENT && !reader->minimal) return SONDE_OK;
    if (kind != READER_GROUP)
        return sonde_reader_bad(reader, "/activations", err, "expected a group of points, found %s",
                                kind == READER_ABSENT ? "nothing" : "no group");
    SONDE_TRY(sonde_reader_walk(reader, "/activations", visit_point, err));
    if (reader->n_points > 1)
        qsort(reader->points, reader->n_points, sizeof *reader->points, compare_points);
    SONDE_TRY(index_names(reader, err));
    SONDE_TRY(sonde_reader_load_names(reader, "/activations", "order", &names, &count, err));
    sonde_status status = count > 0 ? follow_order(reader, names, count, err) : SONDE_OK;
    sonde_reader_free_names(names, SONDE_MAX(count, 0));
    SONDE_TRY(status);
    return index_names(reader, err);
}

/* --- queries --- */

int64_t sonde_reader_point_count(const sonde_reader *reader)
{
    return (int64_t)reader->n_points;
}

int64_t sonde_reader_find(const sonde_reader *reader, const char *name)
{
    size_t low = 0, high = reader->n_points;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int64_t index = reader->by_name[middle];
        int order = strcmp(reader->points[index]->name, name);
        if (order == 0) return index;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return -1;
}

sonde_status sonde_reader_point(const sonde_reader *reader, int64_t index, sonde_point_info *info,
                                sonde_error *err)
{
    SONDE_TRY(sonde_reader_check_range(reader, "points", index, 1, (int64_t)reader->n_points, err));
    const reader_point *point = reader->points[index];
    *info = (sonde_point_info){.name = point->name,
                               .stored = point->data.dtype,
                               .rows = point->rows,
                               .ragged = point->ragged,
                               .has_rowmap = point->rowmap.path != NULL,
                               .stored_bytes = point->data.stored_bytes,
                               .codec = point->data.codec};
    if (point->ragged) {
        info->n_dims = point->heads > 0 ? 1 : 0;
        info->shape[0] = point->heads;
        info->elements = point->data.rows;
        info->stored_bytes += point->indptr.stored_bytes + point->first_key.stored_bytes;
        return SONDE_OK;
    }
    info->n_dims = point->data.n_dims - 1;
    for (int32_t i = 0; i < info->n_dims; i++) info->shape[i] = point->data.dims[i + 1];
    info->width = point->data.width;
    info->elements = point->rows * point->data.width;
    return SONDE_OK;
}
