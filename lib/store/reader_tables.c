/* reader_tables.c - what probes left below /probes. */
#include "reader_internal.h"

#include <string.h>

#define ROOT "/probes"

static bool holds_numbers(const sonde_reader *reader, const char *path)
{
    sonde_h5_lock();
    hid_t id = H5Oopen(reader->file, path, reader->links);
    hid_t type = id >= 0 ? H5Dget_type(id) : H5I_INVALID_HID;
    H5T_class_t class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    if (type >= 0) H5Tclose(type);
    if (id >= 0) H5Oclose(id);
    sonde_h5_unlock();
    return class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM;
}

static sonde_status add_table(sonde_reader *reader, const char *path, sonde_error *err)
{
    if (!holds_numbers(reader, path)) return SONDE_OK;
    if (!sonde_grow(&reader->tables, &reader->table_capacity, reader->n_tables + 1,
                    sizeof *reader->tables))
        return sonde_no_memory(err, path, sizeof *reader->tables);
    sonde_set *table = &reader->tables[reader->n_tables++];
    SONDE_TRY(sonde_set_describe(reader, path, table, err));
    if (table->n_dims > 4)
        return sonde_reader_bad(reader, path, err, "expected at most 4 dimensions, found %d",
                                table->n_dims);
    return SONDE_OK;
}

static sonde_status visit_table(sonde_reader *reader, const char *path, const char *name,
                                bool is_group, sonde_error *err)
{
    char full[4 * READER_MAX_NAME + 16];
    (void)name;
    if (!is_group) return add_table(reader, path, err);
    snprintf(full, sizeof full, "%s/data", path);
    SONDE_TRY(add_table(reader, full, err));
    snprintf(full, sizeof full, "%s/indptr", path);
    return add_table(reader, full, err);
}

sonde_status sonde_reader_load_tables(sonde_reader *reader, sonde_error *err)
{
    reader_kind kind = sonde_reader_kind(reader, ROOT);
    if (kind == READER_ABSENT) return SONDE_OK;
    if (kind != READER_GROUP)
        return sonde_reader_bad(reader, ROOT, err, "expected a group of tables, found no group");
    return sonde_reader_walk(reader, ROOT, visit_table, err);
}

int64_t sonde_reader_table_count(const sonde_reader *reader)
{
    return (int64_t)reader->n_tables;
}

sonde_status sonde_reader_table(const sonde_reader *reader, int64_t index, sonde_table_info *info,
                                sonde_error *err)
{
    SONDE_TRY(sonde_reader_check_range(reader, ROOT, index, 1, (int64_t)reader->n_tables, err));
    const sonde_set *table = &reader->tables[index];
    *info = (sonde_table_info){
        .path = table->path + strlen(ROOT) + 1, .dtype = table->dtype, .n_dims = table->n_dims};
    for (int32_t i = 0; i < table->n_dims; i++) info->dims[i] = table->dims[i];
    return SONDE_OK;
}

sonde_status sonde_reader_table_read(sonde_reader *reader, int64_t index, double *dst,
                                     sonde_error *err)
{
    SONDE_TRY(sonde_reader_check_range(reader, ROOT, index, 1, (int64_t)reader->n_tables, err));
    sonde_set *table = &reader->tables[index];
    return sonde_set_read_f64(reader, table, 0, table->rows, dst, err);
}
