/* reader.c - opening a capture file, and the facts of it. */
#include "reader_internal.h"

#include "schema.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* --- opening --- */

static herr_t refuse_link(const char *parent_file, const char *parent_group, const char *child_file,
                          const char *child_object, unsigned *flags, hid_t access, void *context)
{
    (void)parent_file;
    (void)parent_group;
    (void)child_file;
    (void)child_object;
    (void)flags;
    (void)access;
    (void)context;
    return -1;
}

static sonde_status check_file(sonde_reader *reader, sonde_error *err)
{
    struct stat info;
    if (stat(reader->path, &info) != 0)
        return sonde_fail(err, SONDE_BAD_FILE, "cannot open %s: %s", reader->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return sonde_fail(err, SONDE_BAD_FILE, "%s: expected a regular file, got %s", reader->path,
                          S_ISDIR(info.st_mode) ? "a folder" : "something else");
    if (info.st_size == 0)
        return sonde_fail(err, SONDE_BAD_CAPTURE, "%s: expected a capture, the file is empty",
                          reader->path);
    reader->file_bytes = (uint64_t)info.st_size;
    return SONDE_OK;
}

static sonde_status open_file(sonde_reader *reader, sonde_error *err)
{
    char reason[160] = "";
    SONDE_TRY(check_file(reader, err));
    sonde_h5_lock();
    reader->links = H5Pcreate(H5P_LINK_ACCESS);
    bool guarded = reader->links >= 0 && H5Pset_elink_cb(reader->links, refuse_link, NULL) >= 0;
    if (guarded) reader->file = H5Fopen(reader->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (reader->file < 0) sonde_reader_reason(reason);
    sonde_h5_unlock();
    if (reader->file >= 0) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_CAPTURE, "%s: HDF5 cannot open it: %s", reader->path, reason);
}

/* format_version: an attribute of the root, or a dataset as some write it. */
static sonde_status check_version(sonde_reader *reader, sonde_error *err)
{
    bool found;
    int64_t version = 0;
    SONDE_TRY(sonde_reader_attr_int(reader, "/", "format_version", &found, &version, err));
    if (!found && sonde_reader_kind(reader, "/format_version") == READER_DATASET) {
        sonde_set set;
        double value = 0.0;
        sonde_status status = sonde_set_describe(reader, "/format_version", &set, err);
        if (status == SONDE_OK && set.rows == 1 && set.width == 1)
            status = sonde_set_read_f64(reader, &set, 0, 1, &value, err);
        version = value >= 1.0 && value <= 1e6 ? (int64_t)value : 0;
        found = true;
        sonde_h5_lock();
        sonde_set_reset(reader, &set);
        sonde_h5_unlock();
        SONDE_TRY(status);
    }
    if (!found)
        return sonde_reader_bad(reader, "/", err,
                                "expected the attribute format_version, found none: "
                                "no capture of sonde");
    if (version >= 1 && version <= SONDE_FORMAT_VERSION) return SONDE_OK;
    return sonde_reader_bad(reader, "/", err, "format_version is %lld: this build reads 1 to %d",
                            (long long)version, SONDE_FORMAT_VERSION);
}

static sonde_status check_format(sonde_reader *reader, sonde_error *err)
{
    bool found;
    int64_t sealed = 1, complete = 1;
    const char *format = sonde_reader_attr(reader, "format");
    reader->minimal = format == NULL;
    if (format && strcmp(format, SONDE_FORMAT) != 0)
        return sonde_reader_bad(reader, "/", err, "attribute format is %.60s: expected %s", format,
                                SONDE_FORMAT);
    SONDE_TRY(sonde_reader_attr_int(reader, "/", "sealed", &found, &sealed, err));
    SONDE_TRY(sonde_reader_attr_int(reader, "/", "complete", &found, &complete, err));
    reader->sealed = sealed == 1;
    reader->complete = reader->sealed && complete == 1;
    return SONDE_OK;
}

static sonde_status load_all(sonde_reader *reader, sonde_error *err)
{
    SONDE_TRY(open_file(reader, err));
    SONDE_TRY(sonde_reader_load_attrs(reader, err));
    SONDE_TRY(check_version(reader, err));
    SONDE_TRY(check_format(reader, err));
    SONDE_TRY(sonde_reader_load_text(reader, "/manifest", &reader->manifest, err));
    SONDE_TRY(sonde_reader_load_text(reader, "/run", &reader->run, err));
    SONDE_TRY(sonde_reader_load_rows(reader, err));
    SONDE_TRY(sonde_reader_load_points(reader, err));
    SONDE_TRY(sonde_reader_load_sequences(reader, err));
    return sonde_reader_load_tables(reader, err);
}

sonde_status sonde_reader_open(const char *path, sonde_reader **reader, sonde_error *err)
{
    *reader = NULL;
    sonde_reader *r = sonde_alloc(1, sizeof *r);
    if (!r) return sonde_no_memory(err, "a reader", sizeof *r);
    r->file = r->links = H5I_INVALID_HID;
    r->path = sonde_strdup(path);
    sonde_status status = r->path ? load_all(r, err) : sonde_no_memory(err, path, strlen(path));
    if (status != SONDE_OK) {
        sonde_reader_close(&r);
        return status;
    }
    *reader = r;
    return SONDE_OK;
}

/* --- closing --- */

static void close_handles(sonde_reader *r)
{
    sonde_h5_lock();
    for (size_t i = 0; i < READER_OPEN_SETS; i++)
        if (r->open_sets[i]) sonde_set_close(r->open_sets[i]);
    if (r->links >= 0) H5Pclose(r->links);
    if (r->file >= 0) H5Fclose(r->file);
    sonde_h5_unlock();
}

static void free_runs(reader_runs *runs)
{
    sonde_free(runs->data.path);
    sonde_free(runs->indptr.path);
}

static void free_points(sonde_reader *r)
{
    for (size_t i = 0; i < r->n_points; i++) {
        reader_point *point = r->points[i];
        sonde_free(point->name);
        sonde_free(point->data.path);
        sonde_free(point->indptr.path);
        sonde_free(point->first_key.path);
        sonde_free(point->rowmap.path);
        sonde_free(point);
    }
    sonde_free(r->points);
    sonde_free(r->by_name);
}

static void free_columns(sonde_reader *r)
{
    for (int i = 0; i < ROWS_COUNT; i++) sonde_free(r->rows[i].path);
    for (int i = 0; i < SEQ_COUNT; i++) sonde_free(r->sequences[i].path);
    for (size_t i = 0; i < r->n_tables; i++) sonde_free(r->tables[i].path);
    free_runs(&r->ids);
    free_runs(&r->texts);
    free_runs(&r->tokens);
    free_runs(&r->vocab);
    sonde_free(r->vocab_id.path);
    sonde_free(r->vocab_order);
    sonde_free(r->tables);
}

void sonde_reader_close(sonde_reader **reader)
{
    sonde_reader *r = reader ? *reader : NULL;
    if (!r) return;
    close_handles(r);
    free_points(r);
    free_columns(r);
    for (size_t i = 0; i < r->n_attrs; i++) {
        sonde_free(r->attrs[i].name);
        sonde_free(r->attrs[i].text);
    }
    sonde_free(r->attrs);
    if (r->inflate) libdeflate_free_decompressor(r->inflate);
    void *const blocks[] = {r->manifest, r->run,           r->encoded,    r->shuffled, r->id_text,
                            r->piece,    r->sequence_text, r->run_tokens, r->path};
    for (size_t i = 0; i < SONDE_COUNT(blocks); i++) sonde_free(blocks[i]);
    sonde_free(r);
    *reader = NULL;
}

/* --- facts --- */

const char *sonde_reader_path(const sonde_reader *reader)
{
    return reader->path;
}

bool sonde_reader_is_minimal(const sonde_reader *reader)
{
    return reader->minimal;
}

bool sonde_reader_is_sealed(const sonde_reader *reader)
{
    return reader->sealed;
}

bool sonde_reader_is_complete(const sonde_reader *reader)
{
    return reader->complete;
}

const char *sonde_reader_attr(const sonde_reader *reader, const char *name)
{
    for (size_t i = 0; i < reader->n_attrs; i++)
        if (strcmp(reader->attrs[i].name, name) == 0) return reader->attrs[i].text;
    return NULL;
}

const char *sonde_reader_manifest(const sonde_reader *reader)
{
    return reader->manifest;
}

const char *sonde_reader_run(const sonde_reader *reader)
{
    return reader->run;
}

int64_t sonde_reader_rows(const sonde_reader *reader)
{
    return reader->n_rows;
}

int64_t sonde_reader_sequences(const sonde_reader *reader)
{
    return reader->n_sequences;
}

uint64_t sonde_reader_file_bytes(const sonde_reader *reader)
{
    return reader->file_bytes;
}
