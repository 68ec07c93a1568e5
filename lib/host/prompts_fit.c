/* prompts_fit.c - prompts that are too long: refused, cut, split or skipped. */
#include "prompts_internal.h"

#include <string.h>

void sonde_prompt_reset(sonde_prompt *prompt)
{
    sonde_free(prompt->why);
    sonde_free(prompt->id);
    sonde_free(prompt->text);
    sonde_free(prompt->tokens);
    sonde_free(prompt->text_start);
    sonde_free(prompt->text_end);
    sonde_free(prompt->rows);
    sonde_free(prompt->marked);
    sonde_free(prompt->segments);
    json_decref(prompt->meta);
    memset(prompt, 0, sizeof *prompt);
}

void sonde_prompt_empty(sonde_prompt *prompt)
{
    sonde_prompt kept = {.index = prompt->index,
                         .line = prompt->line,
                         .id = prompt->id,
                         .id_is_given = prompt->id_is_given,
                         .seed = prompt->seed,
                         .meta = prompt->meta};
    prompt->id = NULL;
    prompt->meta = NULL;
    sonde_prompt_reset(prompt);
    *prompt = kept;
    if (kept.meta) json_object_clear(kept.meta);
}

static sonde_status explain(sonde_prompt *prompt, const char *text, sonde_error *err)
{
    prompt->why = sonde_strdup(text);
    return prompt->why ? SONDE_OK : sonde_no_memory(err, "a note on a prompt", strlen(text));
}

/* Bytes of the text up to the end of the tokens [begin, end). */
static size_t text_end_of(const sonde_prompt *p, int64_t begin, int64_t end)
{
    size_t last = 0;
    for (int64_t i = begin; i < end; i++) last = SONDE_MAX(last, p->text_end[i]);
    return last;
}

static sonde_status cut(sonde_prompt *p, int64_t max_seq, const char *why, sonde_error *err)
{
    p->state = SONDE_PROMPT_CUT;
    p->n_tokens = max_seq;
    p->n_prompt = SONDE_MIN(p->n_prompt, max_seq);
    if (p->text) {
        p->text_bytes = text_end_of(p, 0, max_seq);
        p->text[p->text_bytes] = '\0';
    }
    return explain(p, why, err);
}

/* Tokens that can be made: each but the last is run on and takes a position. */
static sonde_status lower_max_new(sonde_prompt *p, int64_t max_seq, bool cutting, sonde_error *err)
{
    int64_t room = max_seq - p->n_tokens + 1;
    if (p->max_new <= room) return SONDE_OK;
    int64_t wanted = p->max_new;
    p->max_new = room;
    if (!cutting || p->state == SONDE_PROMPT_CUT) return SONDE_OK;
    char why[160];
    snprintf(why, sizeof why, "%lld tokens generated at most instead of %lld: the limit is %lld",
             (long long)room, (long long)wanted, (long long)max_seq);
    p->state = SONDE_PROMPT_CUT;
    return explain(p, why, err);
}

static sonde_status too_long(sonde_prompt *p, int64_t max_seq, sonde_too_long choice,
                             int64_t *pieces, sonde_error *err)
{
    char text[256];
    bool continued = p->n_prompt < p->n_tokens;
    const char *what = continued ? "the prompt with its continuation" : "the prompt";
    snprintf(text, sizeof text, "%s has %lld tokens, the limit is %lld", what,
             (long long)p->n_tokens, (long long)max_seq);
    if (choice == SONDE_TOO_LONG_CUT) return cut(p, max_seq, text, err);
    if (choice == SONDE_TOO_LONG_SKIP) {
        sonde_prompt_empty(p);
        p->state = SONDE_PROMPT_SKIPPED;
        return explain(p, text, err);
    }
    if (choice == SONDE_TOO_LONG_SPLIT && continued)
        return sonde_fail(err, SONDE_BAD_PROMPT,
                          "%s; a prompt with a continuation is not split: "
                          "--too-long cut or skip",
                          text);
    if (choice == SONDE_TOO_LONG_REFUSE)
        return sonde_fail(err, SONDE_BAD_PROMPT,
                          "%s (--max-seq); --too-long refuse, cut, split or "
                          "skip says what to do",
                          text);
    *pieces = (p->n_tokens + max_seq - 1) / max_seq;
    return SONDE_OK;
}

sonde_status sonde_prompt_fit(sonde_prompt *prompt, int64_t max_seq, sonde_too_long choice,
                              int64_t *pieces, sonde_error *err)
{
    *pieces = 1;
    if (prompt->n_tokens > max_seq) {
        SONDE_TRY(too_long(prompt, max_seq, choice, pieces, err));
        if (*pieces > 1 || prompt->state == SONDE_PROMPT_SKIPPED) return SONDE_OK;
    }
    return lower_max_new(prompt, max_seq, choice == SONDE_TOO_LONG_CUT, err);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void *copy(const void *from, size_t bytes, bool *good)
{
    void *to = sonde_alloc_raw(bytes, 1);
    if (to) memcpy(to, from, bytes);
    else *good = false;
    return to;
}

/* The stretch of text that the piece's tokens come from; the first piece begins with the text, the
 * last ends with it. */
static bool copy_text(const sonde_prompt *whole, int64_t begin, int64_t end, sonde_prompt *piece)
{
    bool good = true;
    size_t first = begin == 0 ? 0 : whole->text_bytes, n = (size_t)(end - begin);
    size_t last = end == whole->n_tokens ? whole->text_bytes : text_end_of(whole, begin, end);
    for (int64_t i = begin; i < end; i++) first = SONDE_MIN(first, whole->text_start[i]);
    piece->text_bytes = last - first;
    piece->text = sonde_strndup(whole->text + first, last - first);
    piece->text_start = copy(whole->text_start + begin, n * sizeof *piece->text_start, &good);
    piece->text_end = copy(whole->text_end + begin, n * sizeof *piece->text_end, &good);
    for (size_t i = 0; good && i < n; i++) {
        piece->text_start[i] -= (uint32_t)first;
        piece->text_end[i] -= (uint32_t)first;
    }
    return good && piece->text;
}

static char *piece_id(const char *id, int64_t number)
{
    sonde_string text = {0};
    sonde_string_format(&text, "%s#%lld", id, (long long)number);
    if (text.failed) sonde_string_reset(&text);
    return text.data;
}

sonde_status sonde_prompt_piece(const sonde_prompt *whole, int64_t max_seq, int64_t number,
                                sonde_prompt *piece, sonde_error *err)
{
    int64_t begin = number * max_seq, end = SONDE_MIN(begin + max_seq, whole->n_tokens);
    size_t n = (size_t)(end - begin);
    bool good = true;
    *piece = (sonde_prompt){.index = whole->index,
                            .line = whole->line,
                            .seed = whole->seed,
                            .id_is_given = whole->id_is_given,
                            .n_tokens = end - begin,
                            .n_prompt = end - begin,
                            .meta = json_incref(whole->meta)};
    piece->id = piece_id(whole->id, number);
    piece->tokens = copy(whole->tokens + begin, n * sizeof *piece->tokens, &good);
    if (whole->marked) piece->marked = copy(whole->marked + begin, n, &good);
    if (whole->segments) piece->segments = copy(whole->segments + begin, n, &good);
    piece->segmenter = whole->segmenter;
    if (whole->rows) good = (piece->rows = sonde_strdup(whole->rows)) && good;
    if (whole->text) good = copy_text(whole, begin, end, piece) && good;
    if (!good || !piece->id) return sonde_no_memory(err, "a piece of a prompt", n * 12);
    if (end < whole->n_tokens) return SONDE_OK;
    piece->max_new = whole->max_new;
    return lower_max_new(piece, max_seq, false, err);
}
