/* normalize.c - text through the normalisers; every character keeps the bytes it came from. */
#include "text_internal.h"

#include <string.h>

static bool append(sonde_chars *to, const sonde_char *from, size_t n)
{
    if (n == 0) return true;
    if (!sonde_grow(&to->data, &to->capacity, to->count + n, sizeof *from)) return false;
    memcpy(to->data + to->count, from, n * sizeof *from);
    to->count += n;
    return true;
}

/* `text` with the bytes [start, end) as its origin. */
static bool append_text(sonde_chars *to, const sonde_chars *text, uint32_t start, uint32_t end)
{
    bool good = true;
    for (size_t i = 0; i < text->count && good; i++)
        good = sonde_chars_push(to, text->data[i].code_point, start, end);
    return good;
}

static bool prepend(const sonde_normalizer *stage, sonde_chars *chars)
{
    sonde_chars out = {0};
    if (chars->count == 0) return true;
    uint32_t start = chars->data[0].start;
    bool good = sonde_chars_room(&out, chars->count + stage->text.count) &&
                append_text(&out, &stage->text, start, start) &&
                append(&out, chars->data, chars->count);
    if (!good) {
        sonde_free(out.data);
        return false;
    }
    sonde_free(chars->data);
    *chars = out;
    return true;
}

/* The bytes that the match [start, end) came from. */
static void origin(const sonde_chars *chars, size_t start, size_t end, uint32_t *from, uint32_t *to)
{
    if (end > start) {
        *from = chars->data[start].start;
        *to = chars->data[end - 1].end;
    } else {
        *from = *to = start < chars->count ? chars->data[start].start : chars->data[start - 1].end;
    }
}

static sonde_regex_result replace(const sonde_normalizer *stage, sonde_regex_work *work,
                                  sonde_chars *chars)
{
    sonde_chars out = {0};
    sonde_regex_cursor cursor = {0};
    size_t done = 0, start, end;
    bool good = sonde_chars_room(&out, chars->count);
    sonde_regex_result result;
    while ((result = sonde_regex_next(stage->regex, work, chars->data, chars->count, &cursor,
                                      &start, &end)) == SONDE_REGEX_FOUND &&
           good) {
        uint32_t from, to;
        origin(chars, start, end, &from, &to);
        good = append(&out, chars->data + done, start - done) &&
               append_text(&out, &stage->text, from, to);
        done = end;
    }
    good = good && append(&out, chars->data + done, chars->count - done);
    if (!good || result != SONDE_REGEX_NONE) {
        sonde_free(out.data);
        return good ? result : SONDE_REGEX_NO_MEMORY;
    }
    sonde_free(chars->data);
    *chars = out;
    return SONDE_REGEX_NONE;
}

static void map_char(const sonde_normalizer *stage, sonde_chars *chars)
{
    uint32_t to = stage->text.data[0].code_point;
    for (size_t i = 0; i < chars->count; i++)
        if (chars->data[i].code_point == stage->from) chars->data[i].code_point = to;
}

static bool is_space(const sonde_char *c)
{
    return (sonde_unicode_class(c->code_point) & SONDE_CLASS_SPACE) != 0;
}

static void strip(const sonde_normalizer *stage, sonde_chars *chars)
{
    size_t begin = 0, end = chars->count;
    while (stage->left && begin < end && is_space(&chars->data[begin])) begin++;
    while (stage->right && end > begin && is_space(&chars->data[end - 1])) end--;
    if (begin > 0) memmove(chars->data, chars->data + begin, (end - begin) * sizeof *chars->data);
    chars->count = end - begin;
}

bool sonde_is_normalized(const sonde_tokenizer *t, const sonde_char *chars, size_t n)
{
    for (size_t i = 0; i < t->n_normalizers; i++)
        if (t->normalizers[i].kind != SONDE_NORMALIZE_FORM ||
            !sonde_chars_are_normal(chars, n, t->normalizers[i].form))
            return false;
    return true;
}

/* One stage of the normalisers on what is there. */
static sonde_regex_result run_stage(const sonde_normalizer *stage, sonde_regex_work *work,
                                    sonde_chars *chars)
{
    bool good = true;
    switch (stage->kind) {
    case SONDE_NORMALIZE_FORM: good = sonde_chars_normalize(chars, stage->form); break;
    case SONDE_NORMALIZE_LOWER: good = sonde_chars_lower(chars); break;
    case SONDE_NORMALIZE_PREPEND: good = prepend(stage, chars); break;
    case SONDE_NORMALIZE_REPLACE: return replace(stage, work, chars);
    case SONDE_NORMALIZE_MAP: map_char(stage, chars); break;
    case SONDE_NORMALIZE_STRIP: strip(stage, chars); break;
    }
    return good ? SONDE_REGEX_NONE : SONDE_REGEX_NO_MEMORY;
}

sonde_status sonde_normalize(const sonde_tokenizer *t, sonde_regex_work *work,
                             const sonde_char *chars, size_t n, sonde_chars *out, sonde_error *err)
{
    const sonde_normalizer *first = t->normalizers;
    bool form = t->n_normalizers > 0 && first->kind == SONDE_NORMALIZE_FORM;
    bool good = form ? sonde_chars_normalized(chars, n, first->form, out)
                     : sonde_chars_room(out, n) && append(out, chars, n);
    sonde_regex_result result = good ? SONDE_REGEX_NONE : SONDE_REGEX_NO_MEMORY;
    for (size_t i = form ? 1 : 0; i < t->n_normalizers && result == SONDE_REGEX_NONE; i++)
        if (out->count > 0) result = run_stage(&t->normalizers[i], work, out);
    if (result == SONDE_REGEX_NO_MEMORY)
        return sonde_no_memory(err, "normalising text", n * sizeof *chars);
    return result == SONDE_REGEX_NONE ? SONDE_OK : sonde_regex_failed(result, err);
}
