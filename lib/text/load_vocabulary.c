/* load_vocabulary.c - tokenizers from plain arrays, as GGUF files keep them: byte-level BPE with
 * merges and the name of a split rule, or SentencePiece BPE by scores. Where llama.cpp and Hugging
 * Face differ this follows Hugging Face. */
#include "text_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6
};

/* ---- pieces ---------------------------------------------------------------------------------- */

static int32_t type_of(const sonde_vocabulary *v, int64_t id)
{
    return v->types ? v->types[id] : TYPE_NORMAL;
}

/* Hugging Face keeps SentencePiece's unknown piece as a special token. */
static bool is_special(const sonde_vocabulary *v, int64_t id, bool byte_level)
{
    return type_of(v, id) == TYPE_CONTROL || (type_of(v, id) == TYPE_UNKNOWN && !byte_level);
}

/* A user-defined run of spaces is kept in GGUF as it looks; the vocabulary has underlines there. */
static sonde_status with_underlines(const sonde_vocabulary *v, int64_t id, sonde_string *out,
                                    sonde_error *err)
{
    const char *text = v->tokens[id];
    size_t n = v->token_bytes[id], spaces = 0;
    while (spaces < n && text[spaces] == ' ') spaces++;
    if (type_of(v, id) != TYPE_USER || spaces < n || n == 0) {
        sonde_string_append(out, text, n);
    } else {
        for (size_t i = 0; i < n; i++) sonde_string_text(out, "\xE2\x96\x81");
    }
    return out->failed ? sonde_no_memory(err, "the vocabulary", n) : SONDE_OK;
}

static sonde_status add_piece(sonde_tokenizer *t, const sonde_vocabulary *v, int64_t id,
                              sonde_error *err)
{
    sonde_string text = {0};
    if (t->model.byte_level) /* control and user-defined tokens are no pieces of a list of merges */
        return is_special(v, id, true) || type_of(v, id) == TYPE_USER
                   ? SONDE_OK
                   : sonde_vocabulary_add(t, (uint32_t)id, v->tokens[id], v->token_bytes[id], err);
    sonde_string_append(&text, "", 0);
    sonde_status status = with_underlines(v, id, &text, err);
    if (status == SONDE_OK)
        status = sonde_vocabulary_add(t, (uint32_t)id, text.data, text.length, err);
    sonde_string_reset(&text);
    return status;
}

static sonde_status add_token(sonde_tokenizer *t, const sonde_vocabulary *v, int64_t id,
                              sonde_error *err)
{
    sonde_string text = {0};
    sonde_string_append(&text, "", 0);
    sonde_status status = SONDE_OK;
    if (t->model.byte_level) sonde_string_append(&text, v->tokens[id], v->token_bytes[id]);
    else status = with_underlines(v, id, &text, err);
    sonde_added token = {.text = text.data,
                         .length = (uint32_t)text.length,
                         .id = (uint32_t)id,
                         .special = is_special(v, id, t->model.byte_level)};
    if (status == SONDE_OK) status = sonde_added_add(t, &token, err);
    sonde_string_reset(&text);
    return status;
}

/* User-defined by its type, or a SentencePiece piece that no merge makes: some files call those normal
 * that were user-defined, and a learned piece is always a union. */
static bool is_user_defined(const sonde_tokenizer *t, const sonde_vocabulary *v, int64_t id)
{
    if (type_of(v, id) == TYPE_USER) return true;
    return v->types && !t->model.byte_level && type_of(v, id) == TYPE_NORMAL &&
           !sonde_merges_can_make(t, (uint32_t)id);
}

static sonde_status add_tokens(sonde_tokenizer *t, const sonde_vocabulary *v, sonde_error *err)
{
    for (int64_t id = 0; id < v->n_tokens; id++)
        if (is_special(v, id, t->model.byte_level)) SONDE_TRY(add_token(t, v, id, err));
    for (int64_t id = 0; id < v->n_tokens; id++)
        if (is_user_defined(t, v, id)) SONDE_TRY(add_token(t, v, id, err));
    return SONDE_OK;
}

/* ---- byte-level BPE -------------------------------------------------------------------------- */

static sonde_status resolve(sonde_tokenizer *t, const sonde_vocabulary *v, int64_t i,
                            sonde_ranked_merge *row, sonde_error *err)
{
    const char *merge = v->merges[i];
    size_t bytes = v->merge_bytes[i];
    const char *space = bytes > 0 ? memchr(merge + 1, ' ', bytes - 1) : NULL;
    size_t left = space ? (size_t)(space - merge) : 0;
    bool known = false;
    row->rank = (uint32_t)i;
    if (space && sonde_utf8_valid_prefix(merge, bytes) == bytes)
        SONDE_TRY(
            sonde_merges_resolve(t, merge, left, space + 1, bytes - left - 1, row, &known, err));
    if (known) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_TOKENIZER,
                      "tokenizer.ggml.merges[%lld] '%.60s': a part or the "
                      "result is not in the vocabulary",
                      (long long)i, merge);
}

static sonde_status add_merges(sonde_tokenizer *t, const sonde_vocabulary *v, sonde_error *err)
{
    sonde_ranked_merge *rows = sonde_alloc((size_t)v->n_merges, sizeof *rows);
    if (!rows) return sonde_no_memory(err, "the merges", (size_t)v->n_merges * sizeof *rows);
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < v->n_merges && status == SONDE_OK; i++)
        status = resolve(t, v, i, &rows[i], err);
    if (status == SONDE_OK) status = sonde_merges_set(t, rows, (size_t)v->n_merges, err);
    sonde_free(rows);
    return status;
}

/* How Hugging Face reads the model that the rule was named for. */
static sonde_status load_byte_level(sonde_tokenizer *t, const sonde_vocabulary *v, bool *bos,
                                    sonde_error *err)
{
    const char *pre = v->pre ? v->pre : "default";
    SONDE_TRY(sonde_named_rule_apply(t, pre, bos, err));
    for (int64_t id = 0; id < v->n_tokens; id++) SONDE_TRY(add_piece(t, v, id, err));
    SONDE_TRY(sonde_vocabulary_index(t, err));
    return add_merges(t, v, err);
}

/* ---- SentencePiece by scores ----------------------------------------------------------------- */

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int compare_scores(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return x->score > y->score ? -1 : x->score < y->score;
}

/* Rank of each piece as a union: the place of its score from above; equal scores share one. Pieces
 * that are no text of their own take no part. */
static sonde_status rank_pieces(const sonde_vocabulary *v, uint32_t *ranks, sonde_error *err)
{
    size_t n = 0;
    scored *list = sonde_alloc((size_t)v->n_tokens, sizeof *list);
    if (!list) return sonde_no_memory(err, "the vocabulary", (size_t)v->n_tokens * sizeof *list);
    for (int64_t id = 0; id < v->n_tokens; id++) {
        int32_t type = type_of(v, id);
        ranks[id] = UINT32_MAX;
        if (type == TYPE_UNKNOWN || type == TYPE_CONTROL || type == TYPE_BYTE) continue;
        list[n++] = (scored){v->scores[id], (uint32_t)id};
    }
    qsort(list, n, sizeof *list, compare_scores);
    for (size_t i = 0, rank = 0; i < n; i++) {
        if (i > 0 && list[i].score < list[i - 1].score) rank = i;
        ranks[list[i].id] = (uint32_t)rank;
    }
    sonde_free(list);
    return SONDE_OK;
}

static sonde_status check_scores(const sonde_vocabulary *v, sonde_error *err)
{
    if (!v->scores)
        return sonde_fail(err, SONDE_BAD_TOKENIZER,
                          "a SentencePiece vocabulary without "
                          "tokenizer.ggml.scores");
    for (int64_t id = 0; id < v->n_tokens; id++)
        if (v->scores[id] != v->scores[id])
            return sonde_fail(err, SONDE_BAD_TOKENIZER,
                              "tokenizer.ggml.scores[%lld] is not a number", (long long)id);
    return SONDE_OK;
}

static sonde_status load_scored(sonde_tokenizer *t, const sonde_vocabulary *v, sonde_error *err)
{
    bool prefix = v->add_space_prefix != 0;
    SONDE_TRY(check_scores(v, err));
    t->model.byte_fallback = t->model.fuse_unknown = true;
    t->model.unknown = v->unknown_id;
    if (prefix) SONDE_TRY(sonde_add_prepend(t, "\xE2\x96\x81", 3, err));
    SONDE_TRY(sonde_add_replace(t, "\\x{20}", 6, "\xE2\x96\x81", 3, err));
    for (int64_t id = 0; id < v->n_tokens; id++) SONDE_TRY(add_piece(t, v, id, err));
    SONDE_TRY(sonde_vocabulary_index(t, err));
    uint32_t *ranks = sonde_alloc((size_t)v->n_tokens, sizeof *ranks);
    sonde_status status = ranks ? rank_pieces(v, ranks, err)
                                : sonde_no_memory(err, "the vocabulary", (size_t)v->n_tokens * 4);
    if (status == SONDE_OK) status = sonde_merges_from_ranks(t, ranks, err);
    sonde_free(ranks);
    return status == SONDE_OK ? sonde_decode_like_sentencepiece(t, prefix, err) : status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

sonde_status sonde_tokenizer_load_vocabulary(sonde_tokenizer *t, const sonde_vocabulary *v,
                                             sonde_error *err)
{
    const char *model = v->model ? v->model : "";
    bool bos = true;
    if (strcmp(model, "gpt2") == 0) SONDE_TRY(load_byte_level(t, v, &bos, err));
    else if (strcmp(model, "llama") == 0) SONDE_TRY(load_scored(t, v, err));
    else
        return sonde_fail(err, SONDE_BAD_TOKENIZER,
                          "tokenizer.ggml.model '%s' is not supported (gpt2, "
                          "llama)",
                          model);
    SONDE_TRY(add_tokens(t, v, err));
    if (v->bos_id >= 0 && (v->add_bos == 1 || (v->add_bos < 0 && bos)))
        t->prefix[t->n_prefix++] = (uint32_t)v->bos_id;
    if (v->eos_id >= 0 && v->add_eos == 1) t->suffix[t->n_suffix++] = (uint32_t)v->eos_id;
    t->bos = v->bos_id;
    t->eos = v->eos_id;
    SONDE_TRY(sonde_decoding_prepare(t, err));
    return sonde_tokenizer_seal(t, err);
}
