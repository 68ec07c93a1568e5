/* cmd_info.c - sonde info: what is in a capture file, or which of the two the name means. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const attributes[] = {"model", "model_hash", "tokenizer_hash", "backend", "mode",
                                         "format_version", "hook_vocabulary"};

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *dims_json(const int64_t *dims, int32_t n)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < n; i++) json_array_append_new(list, json_integer(dims[i]));
    return list;
}

static json_t *point_json(const sonde_point_info *p)
{
    json_t *value = json_object();
    json_object_set_new(value, "name", cli_json_string(p->name));
    json_object_set_new(value, "stored", json_string(sonde_dtype_name(p->stored)));
    json_object_set_new(value, "shape", dims_json(p->shape, p->n_dims));
    json_object_set_new(value, "ragged", json_boolean(p->ragged));
    json_object_set_new(value, "rows", json_integer(p->rows));
    json_object_set_new(value, "own_rows", json_boolean(p->has_rowmap));
    json_object_set_new(value, "elements", json_integer(p->elements));
    json_object_set_new(value, "stored_bytes", json_integer((json_int_t)p->stored_bytes));
    json_object_set_new(value, "codec", cli_json_string(p->codec));
    return value;
}

/* A JSON text of the file, or null where it has none or is no JSON. */
static json_t *embedded(const char *text)
{
    json_t *value = text ? json_loads(text, 0, NULL) : NULL;
    return value ? value : json_null();
}

static sonde_status lists_json(sonde_reader *reader, json_t *value, sonde_error *err)
{
    json_t *points = json_array(), *tables = json_array();
    json_object_set_new(value, "points", points);
    json_object_set_new(value, "tables", tables);
    for (int64_t i = 0; i < sonde_reader_point_count(reader); i++) {
        sonde_point_info p;
        SONDE_TRY(sonde_reader_point(reader, i, &p, err));
        json_array_append_new(points, point_json(&p));
    }
    for (int64_t i = 0; i < sonde_reader_table_count(reader); i++) {
        sonde_table_info t;
        SONDE_TRY(sonde_reader_table(reader, i, &t, err));
        json_array_append_new(tables, json_pack("{s:o, s:s, s:o}", "path", cli_json_string(t.path),
                                                "dtype", sonde_dtype_name(t.dtype), "shape",
                                                dims_json(t.dims, t.n_dims)));
    }
    return SONDE_OK;
}

static sonde_status capture_json(sonde_reader *reader, sonde_error *err)
{
    json_t *value = json_object();
    json_object_set_new(value, "kind", json_string("capture"));
    json_object_set_new(value, "path", cli_json_string(sonde_reader_path(reader)));
    json_object_set_new(value, "bytes", json_integer((json_int_t)sonde_reader_file_bytes(reader)));
    json_object_set_new(value, "minimal", json_boolean(sonde_reader_is_minimal(reader)));
    json_object_set_new(value, "sealed", json_boolean(sonde_reader_is_sealed(reader)));
    json_object_set_new(value, "complete", json_boolean(sonde_reader_is_complete(reader)));
    for (size_t i = 0; i < CLI_COUNT(attributes); i++)
        json_object_set_new(value, attributes[i],
                            cli_json_string(sonde_reader_attr(reader, attributes[i])));
    json_object_set_new(value, "rows", json_integer(sonde_reader_rows(reader)));
    json_object_set_new(value, "sequences", json_integer(sonde_reader_sequences(reader)));
    json_object_set_new(value, "manifest", embedded(sonde_reader_manifest(reader)));
    json_object_set_new(value, "run", embedded(sonde_reader_run(reader)));
    sonde_status status = lists_json(reader, value, err);
    if (status == SONDE_OK) return cli_print_json(value, true, err);
    json_decref(value);
    return status;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_name(const char *text, int width)
{
    int used = cli_print_clean(stdout, text, strlen(text));
    printf("%*s", used < width ? width - used : 0, "");
}

static void print_fact(const char *name, const char *text)
{
    if (!text || !text[0]) return;
    printf("%-11s ", name);
    cli_print_clean(stdout, text, strlen(text));
    putchar('\n');
}

static void print_head(sonde_reader *reader)
{
    char bytes[32], rows[32], sequences[48];
    print_fact("file", sonde_reader_path(reader));
    printf("%-11s %s, %s\n", "size", sonde_format_bytes(sonde_reader_file_bytes(reader), bytes),
           sonde_reader_is_minimal(reader)     ? "a minimal capture"
           : !sonde_reader_is_sealed(reader)   ? "NOT SEALED: the run that wrote it did not end"
           : !sonde_reader_is_complete(reader) ? "sealed, NOT COMPLETE: the run ended early"
                                               : "sealed, complete");
    print_fact("model", sonde_reader_attr(reader, "model"));
    print_fact("model hash", sonde_reader_attr(reader, "model_hash"));
    print_fact("tokenizer", sonde_reader_attr(reader, "tokenizer_hash"));
    print_fact("backend", sonde_reader_attr(reader, "backend"));
    print_fact("mode", sonde_reader_attr(reader, "mode"));
    printf("%-11s %s in %s\n", "rows", cli_format_count((uint64_t)sonde_reader_rows(reader), rows),
           cli_format_things((uint64_t)sonde_reader_sequences(reader), "sequence", sequences));
}

static void shape_text(const int64_t *dims, int32_t n, bool ragged, char text[96])
{
    size_t used = (size_t)snprintf(text, 96, "[");
    for (int32_t i = 0; i < n && used < 80; i++)
        used += (size_t)snprintf(text + used, 96 - used, "%s%lld", i ? ", " : "",
                                 (long long)dims[i]);
    snprintf(text + used, 96 - used, ragged ? ", T]" : "]");
}

static void print_point(const sonde_point_info *p, int width)
{
    char shape[96], rows[32], bytes[32];
    uint64_t raw = sonde_dtype_bytes(p->stored, p->elements);
    shape_text(p->shape, p->ragged ? 1 : p->n_dims, p->ragged, shape);
    print_name(p->name, width);
    printf(" %-14s %12s  %-6s %-8s %10s", shape, cli_format_count((uint64_t)p->rows, rows),
           sonde_dtype_name(p->stored), p->codec ? p->codec : "-",
           sonde_format_bytes(p->stored_bytes, bytes));
    if (p->stored_bytes > 0) printf("  %.2fx", (double)raw / (double)p->stored_bytes);
    if (p->has_rowmap) printf("  (rows of its own)");
    putchar('\n');
}

static sonde_status print_points(sonde_reader *reader, sonde_error *err)
{
    int width = 12;
    int64_t n = sonde_reader_point_count(reader);
    sonde_point_info p;
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(sonde_reader_point(reader, i, &p, err));
        if ((int)strlen(p.name) > width && strlen(p.name) < 64) width = (int)strlen(p.name);
    }
    if (n > 0)
        printf("\n%-*s %-14s %12s  %-6s %-8s %10s  %s\n", width, "point", "row", "rows", "stored",
               "codec", "bytes", "ratio");
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(sonde_reader_point(reader, i, &p, err));
        print_point(&p, width);
    }
    return SONDE_OK;
}

static sonde_status print_tables(sonde_reader *reader, sonde_error *err)
{
    char shape[96];
    int64_t n = sonde_reader_table_count(reader);
    if (n > 0) printf("\n%-28s %-20s %s\n", "table", "shape", "stored");
    for (int64_t i = 0; i < n; i++) {
        sonde_table_info t;
        SONDE_TRY(sonde_reader_table(reader, i, &t, err));
        shape_text(t.dims, t.n_dims, false, shape);
        print_name(t.path, 28);
        printf(" %-20s %s\n", shape, sonde_dtype_name(t.dtype));
    }
    return SONDE_OK;
}

/* The manifest and the facts of the run, as the file has them. */
static void print_texts(const sonde_reader *reader)
{
    const char *const texts[][2] = {{"manifest", sonde_reader_manifest(reader)},
                                    {"run", sonde_reader_run(reader)}};
    for (size_t i = 0; i < CLI_COUNT(texts); i++) {
        json_t *value = texts[i][1] ? json_loads(texts[i][1], 0, NULL) : NULL;
        char *text = value ? json_dumps(value, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
        if (text) printf("\n%s\n%s\n", texts[i][0], text);
        free(text);
        json_decref(value);
    }
}

static sonde_status capture_info(const cli_call *call, sonde_error *err)
{
    sonde_reader *reader;
    SONDE_TRY(sonde_reader_open(call->words[0], &reader, err));
    sonde_status status;
    if (call->job.json) {
        status = capture_json(reader, err);
    } else {
        print_head(reader);
        status = print_points(reader, err);
        if (status == SONDE_OK) status = print_tables(reader, err);
        if (status == SONDE_OK && call->job.verbose) print_texts(reader);
    }
    sonde_reader_close(&reader);
    return status;
}

/* A regular file that is no GGUF file is a capture; a folder, a .gguf file and a name that is no
 * file (a cached model's) are models. */
static bool is_capture(const char *path)
{
    struct stat facts;
    char magic[4] = "";
    size_t length = strlen(path);
    if (stat(path, &facts) != 0)
        return (length > 3 && strcmp(path + length - 3, ".h5") == 0) ||
               (length > 8 && strcmp(path + length - 8, ".h5.part") == 0);
    if (!S_ISREG(facts.st_mode)) return false;
    if (length > 5 && strcmp(path + length - 5, ".gguf") == 0) return false;
    FILE *file = fopen(path, "rb");
    bool gguf = file && fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (file) fclose(file);
    return !gguf;
}

sonde_status cmd_info(cli_call *call, sonde_error *err)
{
    return is_capture(call->words[0]) ? capture_info(call, err) : cli_model_info(call, err);
}
