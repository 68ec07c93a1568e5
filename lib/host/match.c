/* match.c - selections on their own: which points, which tokens. */
#include "select.h"

#include "sonde/job.h"

#include <string.h>

sonde_status sonde_points_match(const sonde_model *model, const char *const *selections,
                                int64_t count, bool *marks, sonde_error *err)
{
    sonde_points_selection selection;
    SONDE_TRY(sonde_points_select(model, selections, count, &selection, err));
    memset(marks, 0, (size_t)sonde_model_point_count(model) * sizeof *marks);
    for (int64_t i = 0; i < selection.count; i++) marks[selection.points[i].point] = true;
    sonde_points_reset(&selection);
    return SONDE_OK;
}

static sonde_status evaluate(const sonde_rows_expr *expr, const uint32_t *tokens,
                             const uint8_t *segments, int64_t n, const sonde_tokenizer *tokenizer,
                             uint8_t *keeps, sonde_error *err)
{
    uint8_t *special = sonde_alloc((size_t)n, 1);
    if (!special) return sonde_no_memory(err, "a rows expression", (size_t)n);
    for (int64_t i = 0; tokenizer && i < n; i++)
        special[i] = sonde_tokenizer_is_special(tokenizer, tokens[i]);
    sonde_rows_context context = {.n_rows = n,
                                  .tokens = tokens,
                                  .segment = segments,
                                  .special = special,
                                  .bos = tokenizer ? sonde_tokenizer_bos(tokenizer) : -1};
    sonde_status status = sonde_rows_evaluate(expr, &context, keeps, err);
    sonde_free(special);
    return status;
}

sonde_status sonde_rows_match(const char *expression, const uint32_t *tokens,
                              const uint8_t *segments, int64_t n,
                              const sonde_tokenizer *tokenizer, bool *keeps, sonde_error *err)
{
    sonde_rows_expr *expr = NULL;
    SONDE_TRY(sonde_rows_compile(expression, &expr, err));
    uint8_t *kept = sonde_alloc((size_t)n, 1);
    sonde_status status = kept ? evaluate(expr, tokens, segments, n, tokenizer, kept, err)
                               : sonde_no_memory(err, "a rows expression", (size_t)n);
    for (int64_t i = 0; status == SONDE_OK && i < n; i++) keeps[i] = kept[i] != 0;
    sonde_free(kept);
    sonde_rows_destroy(&expr);
    return status;
}
