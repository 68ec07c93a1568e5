/* text_case.c - golden lines of tokenizers. */
#include "text_case.h"

#include "core/core.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define LINE_BYTES (4u << 20)

static void report(text_case_counts *t, const char *name, const char *what, int64_t line)
{
    if (t->bad++ < 5) print_error("%s line %lld: %s differs\n", name, (long long)line, what);
}

static bool same_ids(const sonde_tokens *got, const json_t *want)
{
    if (got->count != json_array_size(want)) return false;
    for (size_t i = 0; i < got->count; i++)
        if (got->ids[i] != (uint32_t)json_integer_value(json_array_get(want, i))) return false;
    return true;
}

static bool same_text(const sonde_tokenizer *t, const uint32_t *ids, size_t n, bool skip,
                      const json_t *want)
{
    char *text = NULL;
    size_t bytes;
    sonde_error err = {0};
    if (sonde_tokenizer_decode(t, ids, n, skip, &text, &bytes, &err) != SONDE_OK) return false;
    bool same =
        bytes == json_string_length(want) && memcmp(text, json_string_value(want), bytes) == 0;
    sonde_string streamed = {0};
    sonde_decoder *decoder = NULL;
    assert_int_equal(sonde_decoder_create(t, skip, &decoder, &err), SONDE_OK);
    for (size_t i = 0; i <= n; i++) {
        const char *piece;
        size_t length;
        sonde_status status = i < n ? sonde_decoder_push(decoder, ids[i], &piece, &length, &err)
                                    : sonde_decoder_finish(decoder, &piece, &length, &err);
        assert_int_equal(status, SONDE_OK);
        assert_int_equal(sonde_utf8_valid_prefix(piece, length), length);
        sonde_string_append(&streamed, piece, length);
    }
    same = same && streamed.length == bytes && memcmp(streamed.data, text, bytes) == 0;
    sonde_decoder_destroy(&decoder);
    sonde_string_reset(&streamed);
    sonde_text_free(text);
    return same;
}

void text_case_line(const sonde_tokenizer *t, const json_t *line, const char *name,
                    text_case_counts *tally)
{
    const json_t *text = json_object_get(line, "text"), *ids = json_object_get(line, "ids");
    const json_t *special = json_object_get(line, "ids_special");
    const json_t *decoded = json_object_get(line, "decoded");
    const json_t *decoded_special = json_object_get(line, "decoded_special");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    sonde_encode_options literal = {.literal_special = 1, .bos = SONDE_BOS_NO};
    size_t bytes = json_string_length(text);
    sonde_tokenizer_encode(t, json_string_value(text), bytes, &literal, &tokens, &err);
    if (!same_ids(&tokens, ids)) report(tally, name, "ids", tally->lines);
    if (!decoded) decoded = text;
    if (!same_text(t, tokens.ids, tokens.count, false, decoded))
        report(tally, name, "decoded", tally->lines);
    for (size_t i = 0; i < tokens.count; i++)
        if (tokens.text_start[i] > tokens.text_end[i] || tokens.text_end[i] > bytes)
            report(tally, name, "a byte span", tally->lines);
    sonde_tokenizer_encode(t, json_string_value(text), bytes, NULL, &tokens, &err);
    if (special && !same_ids(&tokens, special)) report(tally, name, "ids_special", tally->lines);
    if (!decoded_special) decoded_special = decoded;
    if (special && !same_text(t, tokens.ids, tokens.count, true, decoded_special))
        report(tally, name, "decoded_special", tally->lines);
    sonde_tokens_reset(&tokens);
}

void text_case_decode_line(const sonde_tokenizer *t, const json_t *line, const char *name,
                           text_case_counts *tally)
{
    const json_t *list = json_object_get(line, "ids"), *text = json_object_get(line, "text");
    const json_t *skip = json_object_get(line, "text_skip");
    size_t n = json_array_size(list);
    uint32_t *ids = sonde_alloc(n, sizeof *ids);
    for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    if (!same_text(t, ids, n, false, text)) report(tally, name, "text", tally->lines);
    if (!same_text(t, ids, n, true, skip ? skip : text))
        report(tally, name, "text_skip", tally->lines);
    sonde_free(ids);
}

void text_case_check(const sonde_tokenizer *t, const char *path, text_case_function *check)
{
    gzFile file = gzopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    char *buffer = sonde_alloc_raw(LINE_BYTES, 1);
    text_case_counts tally = {0, 0};
    while (gzgets(file, buffer, LINE_BYTES)) {
        json_t *line = json_loads(buffer, JSON_ALLOW_NUL, NULL);
        if (!line) fail_msg("%s: a line is not JSON", path);
        tally.lines++;
        check(t, line, path, &tally);
        json_decref(line);
    }
    sonde_free(buffer);
    gzclose(file);
    assert_true(tally.lines > 0);
    if (tally.bad)
        fail_msg("%s: %lld of %lld lines differ", path, (long long)tally.bad,
                 (long long)tally.lines);
}

sonde_tokenizer *text_case_open(const char *folder)
{
    sonde_tokenizer *t = NULL;
    sonde_error err = {0};
    if (sonde_tokenizer_open(folder, &t, &err) != SONDE_OK) fail_msg("%s", err.message);
    return t;
}

static bool is_nfc(const json_t *text)
{
    sonde_chars chars = {0}, same = {0};
    const char *bytes = json_string_value(text);
    size_t n = json_string_length(text);
    assert_true(sonde_chars_append(&chars, bytes, 0, n) && sonde_chars_append(&same, bytes, 0, n));
    assert_true(sonde_chars_normalize(&chars, SONDE_FORM_C));
    bool equal = chars.count == same.count;
    for (size_t i = 0; i < chars.count && equal; i++)
        equal = chars.data[i].code_point == same.data[i].code_point;
    sonde_free(chars.data);
    sonde_free(same.data);
    return equal;
}

void text_case_check_ids(const sonde_tokenizer *t, const char *path, const char *model,
                         bool nfc_only)
{
    gzFile file = gzopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    char *buffer = sonde_alloc_raw(LINE_BYTES, 1);
    sonde_encode_options options = {.literal_special = 1, .bos = SONDE_BOS_NO};
    sonde_tokens tokens = {0};
    text_case_counts tally = {0, 0};
    while (gzgets(file, buffer, LINE_BYTES)) {
        json_t *line = json_loads(buffer, JSON_ALLOW_NUL, NULL);
        const json_t *text = json_object_get(line, "text");
        if (strcmp(json_string_value(json_object_get(line, "model")), model) == 0 &&
            (!nfc_only || is_nfc(text))) {
            tally.lines++;
            sonde_tokenizer_encode(t, json_string_value(text), json_string_length(text), &options,
                                   &tokens, NULL);
            if (!same_ids(&tokens, json_object_get(line, "ids")))
                report(&tally, model, json_string_value(text), tally.lines);
        }
        json_decref(line);
    }
    sonde_tokens_reset(&tokens);
    sonde_free(buffer);
    gzclose(file);
    assert_true(tally.lines > 0);
    assert_int_equal(tally.bad, 0);
}
