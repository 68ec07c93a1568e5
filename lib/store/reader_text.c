/* reader_text.c - texts of a file: attributes, text datasets, lists of names. */
#include "reader_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MOST_ATTRIBUTES 1024
#define MOST_NAMES ((int64_t)1 << 20)

/* Where texts come from: an attribute or a dataset; lock held for all of it. */
typedef struct text_source {
    hid_t id, type, space;
    bool is_attribute;
    int64_t count;
} text_source;

static bool source_init(text_source *s, hid_t id, bool is_attribute)
{
    *s = (text_source){.id = id, .is_attribute = is_attribute};
    s->type = is_attribute ? H5Aget_type(id) : H5Dget_type(id);
    s->space = is_attribute ? H5Aget_space(id) : H5Dget_space(id);
    s->count = s->space >= 0 ? H5Sget_simple_extent_npoints(s->space) : -1;
    return s->type >= 0 && s->count >= 0;
}

static void source_reset(text_source *s)
{
    if (s->type >= 0) H5Tclose(s->type);
    if (s->space >= 0) H5Sclose(s->space);
}

static bool source_read(const text_source *s, void *dst)
{
    herr_t result = s->is_attribute ? H5Aread(s->id, s->type, dst)
                                    : H5Dread(s->id, s->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, dst);
    return result >= 0;
}

/* Texts of variable length; values[i] is NULL where one is empty. */
static bool read_variable(const text_source *s, char **texts)
{
    char **values = sonde_alloc((size_t)s->count, sizeof *values);
    bool good = values && source_read(s, values);
    for (int64_t i = 0; good && i < s->count; i++) {
        texts[i] = sonde_strdup(values[i] ? values[i] : "");
        good = texts[i] != NULL;
    }
    for (int64_t i = 0; values && i < s->count; i++) H5free_memory(values[i]);
    sonde_free(values);
    return good;
}

/* Texts of one length, padded with NUL or spaces. */
static bool read_fixed(const text_source *s, char **texts)
{
    size_t bytes = H5Tget_size(s->type), total;
    bool spaces = H5Tget_strpad(s->type) == H5T_STR_SPACEPAD;
    if (!sonde_mul_size((size_t)s->count, bytes, &total) || total > READER_MAX_TEXT) return false;
    char *flat = sonde_alloc(total, 1);
    bool good = flat && source_read(s, flat);
    for (int64_t i = 0; good && i < s->count; i++) {
        const char *text = flat + (size_t)i * bytes;
        size_t length = strnlen(text, bytes);
        while (spaces && length > 0 && text[length - 1] == ' ') length--;
        texts[i] = sonde_strndup(text, length);
        good = texts[i] != NULL;
    }
    sonde_free(flat);
    return good;
}

/* All texts of a source into texts[count] (given, also on failure); false when they are no texts
 * or cannot be read. */
static bool read_texts(const text_source *s, char **texts)
{
    if (H5Tget_class(s->type) != H5T_STRING) return false;
    return H5Tis_variable_str(s->type) > 0 ? read_variable(s, texts) : read_fixed(s, texts);
}

/* --- text datasets --- */

sonde_status sonde_reader_load_text(const sonde_reader *reader, const char *path, char **text,
                                    sonde_error *err)
{
    *text = NULL;
    reader_kind kind = sonde_reader_kind(reader, path);
    if (kind == READER_ABSENT) return SONDE_OK;
    if (kind != READER_DATASET)
        return sonde_reader_bad(reader, path, err, "expected a text dataset, found %s",
                                kind == READER_GROUP ? "a group" : "what cannot be opened");
    sonde_h5_lock();
    hid_t id = H5Oopen(reader->file, path, reader->links);
    text_source source;
    bool good = id >= 0 && source_init(&source, id, false);
    if (good) good = source.count == 1 && read_texts(&source, text);
    if (id >= 0) source_reset(&source);
    if (id >= 0) H5Oclose(id);
    sonde_h5_unlock();
    if (good) return SONDE_OK;
    sonde_free(*text);
    *text = NULL;
    return sonde_reader_bad(reader, path, err, "expected one text");
}

/* --- attributes --- */

/* Number as text: whole ones in full, others with all their digits. */
static char *number_text(const text_source *s)
{
    char text[64];
    H5T_class_t class = H5Tget_class(s->type);
    if (class == H5T_INTEGER || class == H5T_ENUM) {
        int64_t value = 0;
        if (H5Aread(s->id, H5T_NATIVE_INT64, &value) < 0) return NULL;
        snprintf(text, sizeof text, "%" PRId64, value);
    } else {
        double value = 0;
        if (class != H5T_FLOAT || H5Aread(s->id, H5T_NATIVE_DOUBLE, &value) < 0) return NULL;
        snprintf(text, sizeof text, "%.17g", value);
    }
    return sonde_strdup(text);
}

/* The one value of an attribute as text; NULL when it is a list or of another type. Lock held. */
static char *attribute_text(hid_t object, const char *name)
{
    hid_t id = H5Aopen(object, name, H5P_DEFAULT);
    if (id < 0) return NULL;
    text_source source;
    char *text = NULL;
    if (source_init(&source, id, true) && source.count == 1) {
        if (H5Tget_class(source.type) != H5T_STRING) {
            text = number_text(&source);
        } else if (!read_texts(&source, &text)) {
            sonde_free(text);
            text = NULL;
        }
    }
    source_reset(&source);
    H5Aclose(id);
    return text;
}

/* `text` is given to the reader; false (and text released) when there is no room. */
static bool add_attr(sonde_reader *reader, const char *name, char *text)
{
    char *copy = sonde_strdup(name);
    if (!copy || reader->n_attrs >= MOST_ATTRIBUTES ||
        !sonde_grow(&reader->attrs, &reader->attr_capacity, reader->n_attrs + 1,
                    sizeof *reader->attrs)) {
        sonde_free(copy);
        sonde_free(text);
        return false;
    }
    reader->attrs[reader->n_attrs++] = (reader_attr){.name = copy, .text = text};
    return true;
}

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    sonde_reader *reader = context;
    (void)info;
    char *text = attribute_text(object, name);
    return !text || add_attr(reader, name, text) ? 0 : -1;
}

sonde_status sonde_reader_load_attrs(sonde_reader *reader, sonde_error *err)
{
    hsize_t at = 0;
    sonde_h5_lock();
    herr_t result = H5Aiterate2(reader->file, H5_INDEX_NAME, H5_ITER_NATIVE, &at, visit_attribute,
                                reader);
    sonde_h5_unlock();
    if (result >= 0) return SONDE_OK;
    return sonde_reader_bad(reader, "/", err, "its attributes cannot be read");
}

static bool whole_number(const char *text, int64_t *value)
{
    double number;
    if (sonde_parse_i64(text, INT64_MIN, INT64_MAX, value)) return true;
    if (!sonde_parse_f64(text, -0x1p53, 0x1p53, &number) || number != floor(number)) return false;
    *value = (int64_t)number;
    return true;
}

sonde_status sonde_reader_attr_int(const sonde_reader *reader, const char *object, const char *name,
                                   bool *found, int64_t *value, sonde_error *err)
{
    char *text = NULL;
    sonde_h5_lock();
    hid_t id = H5Oopen(reader->file, object, reader->links);
    *found = id >= 0 && H5Aexists(id, name) > 0;
    if (*found) text = attribute_text(id, name);
    if (id >= 0) H5Oclose(id);
    sonde_h5_unlock();
    if (!*found) return SONDE_OK;
    bool good = text && whole_number(text, value);
    sonde_status status = good ? SONDE_OK
                               : sonde_reader_bad(reader, object, err,
                                                  "attribute %s: expected a whole number, found %s",
                                                  name, text ? text : "a list or another type");
    sonde_free(text);
    return status;
}

/* --- lists of names --- */

void sonde_reader_free_names(char **names, int64_t count)
{
    for (int64_t i = 0; names && i < count; i++) sonde_free(names[i]);
    sonde_free(names);
}

/* Opens the attribute, or the dataset of that name; lock held. */
static hid_t open_list(hid_t group, const char *name, bool *is_attribute)
{
    *is_attribute = H5Aexists(group, name) > 0;
    if (*is_attribute) return H5Aopen(group, name, H5P_DEFAULT);
    if (H5Lexists(group, name, H5P_DEFAULT) <= 0) return H5I_INVALID_HID;
    return H5Dopen2(group, name, H5P_DEFAULT);
}

static bool load_list(hid_t group, const char *name, char ***names, int64_t *count)
{
    bool is_attribute, good = true;
    text_source source;
    hid_t id = open_list(group, name, &is_attribute);
    if (id < 0) return true;
    good = source_init(&source, id, is_attribute) && source.count <= MOST_NAMES;
    if (good) {
        *names = sonde_alloc((size_t)source.count, sizeof **names);
        *count = *names ? source.count : 0;
        good = *names && (source.count == 0 || read_texts(&source, *names));
    }
    source_reset(&source);
    if (is_attribute) H5Aclose(id);
    else H5Dclose(id);
    return good;
}

sonde_status sonde_reader_load_names(const sonde_reader *reader, const char *group,
                                     const char *name, char ***names, int64_t *count,
                                     sonde_error *err)
{
    *names = NULL;
    *count = -1;
    sonde_h5_lock();
    hid_t id = H5Oopen(reader->file, group, reader->links);
    bool good = id >= 0 && load_list(id, name, names, count);
    if (id >= 0) H5Oclose(id);
    sonde_h5_unlock();
    if (good) return SONDE_OK;
    sonde_reader_free_names(*names, *count);
    *names = NULL;
    *count = -1;
    return sonde_reader_bad(reader, group, err, "%s: expected a list of texts", name);
}
