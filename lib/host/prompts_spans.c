/* prompts_spans.c - the tokens that a prompt's spans mark. */
#include "prompts_internal.h"

#include <string.h>

static bool begins_character(char byte)
{
    return ((unsigned char)byte & 0xC0) != 0x80;
}

static int64_t count_characters(const char *text, size_t bytes)
{
    int64_t n = 0;
    for (size_t i = 0; i < bytes; i++) n += begins_character(text[i]);
    return n;
}

/* level[i] += 1 where a span begins, -= 1 where it ends: [n_units + 1]. */
static sonde_status add_span(const json_t *span, size_t number, int64_t n_units, const char *unit,
                             int32_t *level, sonde_error *err)
{
    const json_t *first = json_array_get(span, 0), *last = json_array_get(span, 1);
    if (json_array_size(span) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return sonde_fail(err, SONDE_BAD_PROMPT, "'spans'[%zu]: expected [begin, end]", number);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || begin >= end || end > n_units)
        return sonde_fail(err, SONDE_BAD_PROMPT,
                          "'spans'[%zu]: expected 0 <= begin < end <= %lld %s, "
                          "got [%lld, %lld]",
                          number, (long long)n_units, unit, (long long)begin, (long long)end);
    level[begin]++;
    level[end]--;
    return SONDE_OK;
}

/* In how many spans each unit (character or token) lies, in new memory. */
static sonde_status make_levels(const json_t *spans, int64_t n_units, const char *unit,
                                int32_t **levels, sonde_error *err)
{
    int32_t *level = sonde_alloc((size_t)n_units + 1, sizeof *level);
    if (!level)
        return sonde_no_memory(err, "the spans of a prompt", (size_t)n_units * sizeof *level);
    sonde_status status = SONDE_OK;
    for (size_t i = 0; i < json_array_size(spans) && status == SONDE_OK; i++)
        status = add_span(json_array_get(spans, i), i, n_units, unit, level, err);
    for (int64_t i = 1; i < n_units; i++) level[i] += level[i - 1];
    *levels = level;
    return status;
}

/* Levels of characters become levels of bytes: bytes[i] is 1 inside a span. */
static void mark_bytes(const sonde_prompt *p, const int32_t *level, uint8_t *bytes)
{
    int64_t character = -1;
    for (size_t i = 0; i < p->text_bytes; i++) {
        character += begins_character(p->text[i]);
        bytes[i] = level[character] > 0;
    }
}

static void mark_tokens(sonde_prompt *p, const uint8_t *bytes)
{
    for (int64_t i = 0; i < p->n_tokens; i++) {
        size_t n = p->text_end[i] - p->text_start[i];
        p->marked[i] = n > 0 && memchr(bytes + p->text_start[i], 1, n) != NULL;
    }
}

sonde_status sonde_prompt_mark(const json_t *spans, sonde_prompt *p, sonde_error *err)
{
    int64_t n_units = p->text ? count_characters(p->text, p->text_bytes) : p->n_tokens;
    int32_t *level = NULL;
    uint8_t *bytes = p->text ? sonde_alloc_raw(p->text_bytes, 1) : NULL;
    p->marked = sonde_alloc((size_t)p->n_tokens, 1);
    sonde_status status = SONDE_OK;
    if (!p->marked || (p->text && !bytes))
        status = sonde_no_memory(err, "the spans of a prompt", p->text_bytes);
    if (status == SONDE_OK)
        status = make_levels(spans, n_units, p->text ? "characters" : "tokens", &level, err);
    if (status == SONDE_OK && p->text) {
        mark_bytes(p, level, bytes);
        mark_tokens(p, bytes);
    }
    for (int64_t i = 0; status == SONDE_OK && !p->text && i < p->n_tokens; i++)
        p->marked[i] = level[i] > 0;
    sonde_free(level);
    sonde_free(bytes);
    return status;
}
