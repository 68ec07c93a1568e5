/*
 * schema_seal.c - how many rows and sequences a file can be sealed with, and sealing.
 *
 * After a failure every dataset has a leading part in the file, of its own length (store.h). Rows
 * that count are those that every dataset still has; sequences that count have all of their rows.
 * Offsets and maps that decide this are read back from the file.
 */
#include "schema_internal.h"

#include <string.h>

/* ---- reading back ---------------------------------------------------------------------------- */

static sonde_status read_u64(sonde_schema *schema, int32_t id, int64_t row, uint64_t *value,
                             sonde_error *err)
{
    return sonde_store_read(schema->store, id, row, 1, value, err);
}

/* How many of the first `n` values of a rising u64 column are at most `most`. */
static sonde_status count_upto(sonde_schema *schema, int32_t id, int64_t n, uint64_t most,
                               int64_t *count, sonde_error *err)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        uint64_t value;
        SONDE_TRY(read_u64(schema, id, middle, &value, err));
        if (value <= most) low = middle + 1;
        else high = middle;
    }
    *count = low;
    return SONDE_OK;
}

/* Entries of lists that are whole: their offset is there, and what it points at. */
static sonde_status whole_lists(sonde_schema *schema, int32_t data, int32_t indptr,
                                int64_t *entries, sonde_error *err)
{
    int64_t n = sonde_store_whole_rows(schema->store, indptr);
    uint64_t elements = (uint64_t)sonde_store_whole_rows(schema->store, data);
    SONDE_TRY(count_upto(schema, indptr, n, elements, entries, err));
    *entries = SONDE_MAX(*entries - 1, 0);
    return SONDE_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A point's own leading rows. */
static sonde_status point_rows(sonde_schema *schema, const schema_point *point, int64_t *rows,
                               sonde_error *err)
{
    *rows = sonde_store_whole_rows(schema->store, point->data);
    if (point->indptr >= 0) {
        SONDE_TRY(whole_lists(schema, point->data, point->indptr, rows, err));
        *rows = SONDE_MIN(*rows, sonde_store_whole_rows(schema->store, point->first_key));
    }
    if (point->rowmap >= 0)
        *rows = SONDE_MIN(*rows, sonde_store_whole_rows(schema->store, point->rowmap));
    return SONDE_OK;
}

/* Rows that were put for a point, wherever they are. */
static int64_t point_rows_put(const sonde_schema *schema, const schema_point *point)
{
    int64_t data = point->indptr >= 0 ? sonde_store_rows_put(schema->store, point->first_key)
                                      : sonde_store_rows_put(schema->store, point->data);
    return point->rowmap >= 0 ? SONDE_MAX(data, sonde_store_rows_put(schema->store, point->rowmap))
                              : data;
}

/* Leading rows of /rows that a point has all of its rows of. */
static sonde_status rows_of_point(sonde_schema *schema, const schema_point *point, int64_t *rows,
                                  sonde_error *err)
{
    int64_t own, known;
    uint64_t missing;
    SONDE_TRY(point_rows(schema, point, &own, err));
    if (point->rowmap < 0) {
        *rows = SONDE_MIN(*rows, own);
        return SONDE_OK;
    }
    if (own == point_rows_put(schema, point)) return SONDE_OK;
    known = sonde_store_whole_rows(schema->store, point->rowmap);
    if (known == 0) {
        *rows = 0;
        return SONDE_OK;
    }
    SONDE_TRY(read_u64(schema, point->rowmap, SONDE_MIN(own, known - 1), &missing, err));
    *rows = SONDE_MIN(*rows, (int64_t)missing + (own < known ? 0 : 1));
    return SONDE_OK;
}

static sonde_status whole_rows(sonde_schema *schema, int64_t *rows, sonde_error *err)
{
    *rows = INT64_MAX;
    for (size_t i = 0; i < schema->n_sets; i++)
        if (schema->sets[i].length == SCHEMA_LENGTH_ROWS)
            *rows = SONDE_MIN(*rows, sonde_store_whole_rows(schema->store, schema->sets[i].id));
    for (int32_t i = 0; i < schema->n_points; i++)
        SONDE_TRY(rows_of_point(schema, &schema->points[i], rows, err));
    return SONDE_OK;
}

/* ---- sequences ------------------------------------------------------------------------------- */

static sonde_status whole_sequences(sonde_schema *schema, int64_t *sequences, sonde_error *err)
{
    const schema_lists *lists[] = {&schema->ids, &schema->texts, &schema->tokens};
    *sequences = schema->n_sequences;
    for (int i = 0; i < SEQUENCES_COLUMNS; i++)
        *sequences = SONDE_MIN(*sequences,
                               sonde_store_whole_rows(schema->store, schema->sequences[i]));
    int64_t spans = SONDE_MIN(sonde_store_whole_rows(schema->store, schema->text_start),
                              sonde_store_whole_rows(schema->store, schema->text_end));
    for (size_t i = 0; i < SONDE_COUNT(lists); i++) {
        int64_t entries;
        SONDE_TRY(whole_lists(schema, lists[i]->data, lists[i]->indptr, &entries, err));
        *sequences = SONDE_MIN(*sequences, entries);
    }
    SONDE_TRY(
        count_upto(schema, schema->tokens.indptr, *sequences + 1, (uint64_t)spans, &spans, err));
    *sequences = SONDE_MIN(*sequences, SONDE_MAX(spans - 1, 0));
    return SONDE_OK;
}

/* One past the last row of a sequence. */
static sonde_status end_of_sequence(sonde_schema *schema, int64_t sequence, int64_t *end,
                                    sonde_error *err)
{
    uint64_t start;
    uint32_t count;
    SONDE_TRY(read_u64(schema, schema->sequences[SEQUENCES_ROW_START], sequence, &start, err));
    SONDE_TRY(sonde_store_read(schema->store, schema->sequences[SEQUENCES_ROW_COUNT], sequence, 1,
                               &count, err));
    *end = (int64_t)start + count;
    return SONDE_OK;
}

/* Of the first *sequences those whose rows all lie below *rows, and then the rows of those. */
static sonde_status cut_to_sequences(sonde_schema *schema, int64_t *rows, int64_t *sequences,
                                     sonde_error *err)
{
    int64_t low = 0, high = *sequences, end = 0;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        SONDE_TRY(end_of_sequence(schema, middle, &end, err));
        if (end <= *rows) low = middle + 1;
        else high = middle;
    }
    *sequences = low;
    if (schema->n_sequences == 0) return SONDE_OK;
    *rows = 0;
    return low > 0 ? end_of_sequence(schema, low - 1, rows, err) : SONDE_OK;
}

sonde_status sonde_schema_safe_rows(sonde_schema *schema, int64_t *rows, int64_t *sequences,
                                    sonde_error *err)
{
    sonde_store_finish(schema->store);
    SONDE_TRY(whole_rows(schema, rows, err));
    SONDE_TRY(whole_sequences(schema, sequences, err));
    return cut_to_sequences(schema, rows, sequences, err);
}

/* ---- lengths --------------------------------------------------------------------------------- */

typedef struct seal_plan {
    int64_t rows, sequences;
    bool cut; /* less than what was put */
    int64_t *lengths; /* by dataset id; -1: as put */
} seal_plan;

static sonde_status plan_point(sonde_schema *schema, const schema_point *point, seal_plan *plan,
                               sonde_error *err)
{
    int64_t rows = plan->rows;
    if (point->rowmap >= 0) {
        SONDE_TRY(point_rows(schema, point, &rows, err));
        if (plan->rows == 0) rows = 0;
        else
            SONDE_TRY(
                count_upto(schema, point->rowmap, rows, (uint64_t)plan->rows - 1, &rows, err));
        plan->lengths[point->rowmap] = rows;
    }
    plan->lengths[point->data] = rows;
    if (point->indptr < 0) return SONDE_OK;
    uint64_t elements;
    SONDE_TRY(read_u64(schema, point->indptr, rows, &elements, err));
    plan->lengths[point->data] = (int64_t)elements;
    plan->lengths[point->indptr] = rows + 1;
    plan->lengths[point->first_key] = rows;
    return SONDE_OK;
}

static sonde_status plan_lists(sonde_schema *schema, const schema_lists *lists, seal_plan *plan,
                               sonde_error *err)
{
    uint64_t elements;
    SONDE_TRY(read_u64(schema, lists->indptr, plan->sequences, &elements, err));
    plan->lengths[lists->data] = (int64_t)elements;
    plan->lengths[lists->indptr] = plan->sequences + 1;
    return SONDE_OK;
}

static sonde_status plan_sequences(sonde_schema *schema, seal_plan *plan, sonde_error *err)
{
    for (int i = 0; i < SEQUENCES_COLUMNS; i++)
        plan->lengths[schema->sequences[i]] = plan->sequences;
    SONDE_TRY(plan_lists(schema, &schema->ids, plan, err));
    SONDE_TRY(plan_lists(schema, &schema->texts, plan, err));
    SONDE_TRY(plan_lists(schema, &schema->tokens, plan, err));
    plan->lengths[schema->text_start] = plan->lengths[schema->tokens.data];
    plan->lengths[schema->text_end] = plan->lengths[schema->tokens.data];
    return SONDE_OK;
}

/* Bound of an own-length dataset that says which rows or sequences its entries belong to. */
static sonde_status own_bound(sonde_schema *schema, const schema_set *set, const seal_plan *plan,
                              int64_t *length, sonde_error *err)
{
    uint64_t last = (uint64_t)plan->rows;
    if (!plan->cut || !(set->by_row || set->by_sequence)) return SONDE_OK;
    if (set->by_sequence && plan->sequences > 0)
        SONDE_TRY(read_u64(schema, schema->sequences[SEQUENCES_SEQUENCE], plan->sequences - 1,
                           &last, err));
    if (set->by_row ? plan->rows == 0 : plan->sequences == 0) {
        *length = 0;
        return SONDE_OK;
    }
    return count_upto(schema, set->id, *length, set->by_row ? last - 1 : last, length, err);
}

/* Datasets of one group get the length that all of them have. */
static sonde_status plan_own(sonde_schema *schema, const schema_set *set, seal_plan *plan,
                             sonde_error *err)
{
    int64_t length = INT64_MAX;
    for (size_t i = 0; i < schema->n_sets; i++)
        if (schema->sets[i].group && strcmp(schema->sets[i].group, set->group) == 0)
            length = SONDE_MIN(length,
                               sonde_store_whole_rows(schema->store, schema->sets[i].id));
    for (size_t i = 0; i < schema->n_sets; i++)
        if (schema->sets[i].group && strcmp(schema->sets[i].group, set->group) == 0)
            SONDE_TRY(own_bound(schema, &schema->sets[i], plan, &length, err));
    plan->lengths[set->id] = length;
    return SONDE_OK;
}

static sonde_status plan_lengths(sonde_schema *schema, seal_plan *plan, sonde_error *err)
{
    for (int32_t i = 0; i < schema->n_points; i++)
        SONDE_TRY(plan_point(schema, &schema->points[i], plan, err));
    for (size_t i = 0; i < schema->n_sets; i++) {
        const schema_set *set = &schema->sets[i];
        if (set->length == SCHEMA_LENGTH_ROWS) plan->lengths[set->id] = plan->rows;
        else if (set->length == SCHEMA_LENGTH_OWN) SONDE_TRY(plan_own(schema, set, plan, err));
        else {
            const schema_point *point = &schema->points[set->point];
            plan->lengths[set->id] =
                plan->lengths[point->indptr >= 0 ? point->first_key : point->data];
        }
    }
    return plan_sequences(schema, plan, err);
}

/* ---- sealing --------------------------------------------------------------------------------- */

static sonde_status write_tables(sonde_schema *schema, const seal_plan *plan, sonde_error *err)
{
    const char *names[5] = {"position", "token", "phase", "segment", "logprob"};
    int64_t n = (int64_t)schema->n_columns + 5;
    const char **all = sonde_alloc((size_t)n, sizeof *all);
    if (!all) return sonde_no_memory(err, "columns of /rows", (size_t)n * sizeof *all);
    for (int64_t i = 0; i < n; i++) all[i] = i < 5 ? names[i] : schema->columns[i - 5];
    sonde_status status =
        sonde_store_attr_texts(schema->store, "rows", "column-order", all, n, err);
    sonde_free(all);
    SONDE_TRY(status);
    SONDE_TRY(sonde_store_attr_text(schema->store, "rows", "_index", "sequence", err));
    SONDE_TRY(sonde_schema_encoding(schema, "rows", "dataframe", "0.2.0", err));
    return sonde_schema_meta_write(schema, plan->sequences, err);
}

static sonde_status describe(sonde_schema *schema, const seal_plan *plan, sonde_error *err)
{
    char path[300];
    for (int32_t i = 0; i < schema->n_points; i++) {
        const schema_point *point = &schema->points[i];
        int32_t id = point->indptr >= 0 ? point->first_key : point->data;
        snprintf(path, sizeof path, "activations/%s", point->name);
        SONDE_TRY(sonde_store_attr_int(schema->store, path, "valid_rows", plan->lengths[id], err));
    }
    SONDE_TRY(sonde_schema_write_order(schema, err));
    return write_tables(schema, plan, err);
}

/* The first dataset of rows that lacks some of what was put, of a run that lost nothing. */
static sonde_status check_whole(sonde_schema *schema, sonde_error *err)
{
    int32_t id = sonde_store_first_hole(schema->store);
    if (id < 0) return SONDE_OK;
    return sonde_fail(err, SONDE_INTERNAL, "/%s: row %lld of %lld was never put",
                      sonde_store_path_of(schema->store, id),
                      (long long)sonde_store_whole_rows(schema->store, id),
                      (long long)sonde_store_rows_put(schema->store, id));
}

/* Without a failure all datasets of /rows and of the points must have the same rows. */
static sonde_status check_equal(sonde_schema *schema, int64_t rows, sonde_error *err)
{
    for (size_t i = 0; i < schema->n_sets; i++) {
        const schema_set *set = &schema->sets[i];
        int64_t put = sonde_store_rows_put(schema->store, set->id);
        if (set->length == SCHEMA_LENGTH_ROWS && put != rows)
            return sonde_fail(err, SONDE_INTERNAL, "/%s has %lld rows, other datasets of rows %lld",
                              sonde_store_path_of(schema->store, set->id), (long long)put,
                              (long long)rows);
    }
    for (int32_t i = 0; i < schema->n_points; i++) {
        const schema_point *point = &schema->points[i];
        int64_t put = point_rows_put(schema, point);
        if (point->rowmap < 0 && put != rows)
            return sonde_fail(err, SONDE_INTERNAL, "point %.80s has %lld rows, /rows %lld",
                              point->name, (long long)put, (long long)rows);
    }
    return SONDE_OK;
}

static sonde_status make_plan(sonde_schema *schema, bool complete, int64_t rows, int64_t sequences,
                              seal_plan *plan, sonde_status *lost, sonde_error *err)
{
    int32_t n = sonde_store_count(schema->store);
    plan->lengths = sonde_alloc((size_t)n, sizeof *plan->lengths);
    if (!plan->lengths) return sonde_no_memory(err, "lengths of datasets", (size_t)n * 8);
    for (int32_t i = 0; i < n; i++) plan->lengths[i] = -1;
    SONDE_TRY(whole_rows(schema, &plan->rows, err));
    SONDE_TRY(whole_sequences(schema, &plan->sequences, err));
    if (complete && sonde_store_failure(schema->store, NULL) == SONDE_OK) {
        *lost = check_whole(schema, err);
        if (*lost == SONDE_OK) *lost = check_equal(schema, plan->rows, err);
    }
    plan->cut = rows >= 0 || sequences >= 0 || *lost != SONDE_OK ||
                sonde_store_failure(schema->store, NULL) != SONDE_OK;
    if (rows >= 0) plan->rows = SONDE_MIN(plan->rows, rows);
    if (sequences >= 0) plan->sequences = SONDE_MIN(plan->sequences, sequences);
    if (plan->cut) SONDE_TRY(cut_to_sequences(schema, &plan->rows, &plan->sequences, err));
    return plan_lengths(schema, plan, err);
}

sonde_status sonde_schema_seal(sonde_schema *schema, bool complete, int64_t rows, int64_t sequences,
                               sonde_error *err)
{
    seal_plan plan = {0};
    sonde_status lost = SONDE_OK;
    sonde_store_finish(schema->store);
    sonde_status status = make_plan(schema, complete, rows, sequences, &plan, &lost, err);
    if (status == SONDE_OK) {
        sonde_error described = {0};
        sonde_status told = describe(schema, &plan, &described);
        if (lost == SONDE_OK && told != SONDE_OK)
            lost = sonde_fail(err, told, "%s", described.message);
        status = sonde_store_seal(schema->store, complete && lost == SONDE_OK, plan.lengths,
                                  lost == SONDE_OK ? err : NULL);
    }
    sonde_free(plan.lengths);
    return lost != SONDE_OK ? lost : status;
}
