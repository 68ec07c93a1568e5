/*
 * rows.c - rows expressions evaluated over sets of rows.
 *
 * Every node maps the set of rows it is given to a subset: a conjunction hands each term what the
 * terms before it left, so `prompt&last:1` is the last row of the prompt; a disjunction gives every
 * branch the same set and joins the results; `!x` is what x would take away.
 */
#include "rows_internal.h"

#include <stdlib.h>
#include <string.h>

#define PHASE_GENERATED 1 /* of storage.md */

static bool in_sample(const sonde_rows_node *n, const sonde_rows_context *c, int64_t row)
{
    uint64_t key[3] = {c->seed, c->index, (uint64_t)row};
    return (double)(sonde_hash64(key, sizeof key) >> 11) * 0x1p-53 < n->share;
}

int sonde_token_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool in_tokens(const sonde_rows_node *n, uint32_t token)
{
    return bsearch(&token, n->tokens, (size_t)n->n_listed, sizeof token, sonde_token_compare) !=
           NULL;
}

int sonde_listed_row_compare(const void *a, const void *b)
{
    const sonde_listed_row *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    if (order != 0) return order;
    return x->position < y->position ? -1 : x->position > y->position;
}

static bool is_listed(const sonde_rows_node *n, const char *id, int64_t row)
{
    sonde_listed_row wanted = {.position = row};
    memcpy(&wanted.id, &id, sizeof id);
    return n->n_listed > 0 && bsearch(&wanted, n->listed, (size_t)n->n_listed, sizeof wanted,
                                      sonde_listed_row_compare) != NULL;
}

static bool in_list(const sonde_rows_node *n, const sonde_rows_context *c, int64_t row)
{
    char index[24];
    snprintf(index, sizeof index, "%llu", (unsigned long long)c->index);
    return is_listed(n, index, row) || (c->id && is_listed(n, c->id, row));
}

/* Is row `row` kept by a term that looks at that row alone? */
static bool term_keeps(const sonde_rows_node *n, const sonde_rows_context *c, int64_t row)
{
    switch (n->kind) {
    case SONDE_ROWS_ALL: return true;
    case SONDE_ROWS_PHASE: return (c->phase ? c->phase[row] : 0) == n->a;
    case SONDE_ROWS_SEGMENT: return c->segment && c->segment[row] == n->a;
    case SONDE_ROWS_SPECIAL: return c->special && c->special[row];
    case SONDE_ROWS_BOS: return c->bos >= 0 && c->tokens[row] == c->bos;
    case SONDE_ROWS_MARKED: return c->marked && c->marked[row];
    case SONDE_ROWS_POS: return row >= n->a && row < n->b;
    case SONDE_ROWS_SAMPLE: return in_sample(n, c, row);
    case SONDE_ROWS_TOKEN: return in_tokens(n, c->tokens[row]);
    default: return in_list(n, c, row);
    }
}

static void keep_counted(const sonde_rows_node *n, int64_t n_rows, uint8_t *set)
{
    int64_t total = 0, seen = 0;
    for (int64_t i = 0; i < n_rows; i++) total += set[i];
    for (int64_t i = 0; i < n_rows; i++) {
        if (!set[i]) continue;
        bool keep = n->kind == SONDE_ROWS_FIRST  ? seen < n->a
                    : n->kind == SONDE_ROWS_LAST ? seen >= total - n->a
                                                 : seen % n->a == 0;
        seen++;
        if (!keep) set[i] = 0;
    }
}

static sonde_status evaluate(const sonde_rows_node *n, const sonde_rows_context *c, uint8_t *set,
                             sonde_error *err);

/* Takes from the set what the operand would keep of it. */
static sonde_status evaluate_not(const sonde_rows_node *n, const sonde_rows_context *c,
                                 uint8_t *set, sonde_error *err)
{
    uint8_t *taken = sonde_alloc((size_t)c->n_rows, 1);
    if (!taken) return sonde_no_memory(err, "a rows expression", (size_t)c->n_rows);
    memcpy(taken, set, (size_t)c->n_rows);
    sonde_status status = evaluate(n->left, c, taken, err);
    for (int64_t i = 0; status == SONDE_OK && i < c->n_rows; i++) set[i] &= !taken[i];
    sonde_free(taken);
    return status;
}

/* Joins what the branches make of the same set; a | b | c is a chain to the left, walked here so
 * that memory does not grow with its length. */
static sonde_status evaluate_or(const sonde_rows_node *n, const sonde_rows_context *c, uint8_t *set,
                                sonde_error *err)
{
    size_t rows = (size_t)c->n_rows;
    uint8_t *given = sonde_alloc(2, rows);
    if (!given) return sonde_no_memory(err, "a rows expression", 2 * rows);
    uint8_t *branch = given + rows;
    memcpy(given, set, rows);
    memset(set, 0, rows);
    sonde_status status = SONDE_OK;
    for (; n && status == SONDE_OK; n = n->kind == SONDE_ROWS_OR ? n->left : NULL) {
        memcpy(branch, given, rows);
        status = evaluate(n->kind == SONDE_ROWS_OR ? n->right : n, c, branch, err);
        for (size_t i = 0; i < rows; i++) set[i] |= branch[i];
    }
    sonde_free(given);
    return status;
}

static sonde_status evaluate(const sonde_rows_node *n, const sonde_rows_context *c, uint8_t *set,
                             sonde_error *err)
{
    switch (n->kind) {
    case SONDE_ROWS_AND:
        SONDE_TRY(evaluate(n->left, c, set, err));
        return evaluate(n->right, c, set, err);
    case SONDE_ROWS_OR: return evaluate_or(n, c, set, err);
    case SONDE_ROWS_NOT: return evaluate_not(n, c, set, err);
    case SONDE_ROWS_FIRST:
    case SONDE_ROWS_LAST:
    case SONDE_ROWS_EVERY: keep_counted(n, c->n_rows, set); return SONDE_OK;
    default:
        for (int64_t i = 0; i < c->n_rows; i++)
            if (set[i] && !term_keeps(n, c, i)) set[i] = 0;
        return SONDE_OK;
    }
}

sonde_status sonde_rows_evaluate(const sonde_rows_expr *expr, const sonde_rows_context *context,
                                 uint8_t *keeps, sonde_error *err)
{
    memset(keeps, 1, (size_t)context->n_rows);
    return evaluate(expr->root, context, keeps, err);
}

bool sonde_rows_is_all(const sonde_rows_expr *expr)
{
    return expr->root->kind == SONDE_ROWS_ALL;
}

/* A conjunct that only keeps other phases, or what a prompt's spans mark, rules generated rows out;
 * anything else may keep them. */
static bool may_keep_generated(const sonde_rows_node *n)
{
    switch (n->kind) {
    case SONDE_ROWS_PHASE: return n->a == PHASE_GENERATED;
    case SONDE_ROWS_MARKED: return false;
    case SONDE_ROWS_NOT: return n->left->kind != SONDE_ROWS_PHASE || n->left->a != PHASE_GENERATED;
    case SONDE_ROWS_AND: return may_keep_generated(n->left) && may_keep_generated(n->right);
    case SONDE_ROWS_OR: return may_keep_generated(n->left) || may_keep_generated(n->right);
    default: return true;
    }
}

bool sonde_rows_may_keep_generated(const sonde_rows_expr *expr)
{
    return may_keep_generated(expr->root);
}

/* Does a `last` count rows that are not made yet? Not where the rows it counts within are known to
 * be of the prompt. */
static bool needs_end(const sonde_rows_node *n, bool prompt_only)
{
    switch (n->kind) {
    case SONDE_ROWS_LAST: return !prompt_only;
    case SONDE_ROWS_AND:
        return needs_end(n->left, prompt_only) ||
               needs_end(n->right, prompt_only || !may_keep_generated(n->left));
    case SONDE_ROWS_OR: return needs_end(n->left, prompt_only) || needs_end(n->right, prompt_only);
    case SONDE_ROWS_NOT: return needs_end(n->left, prompt_only);
    default: return false;
    }
}

bool sonde_rows_is_causal(const sonde_rows_expr *expr)
{
    return !needs_end(expr->root, false);
}
