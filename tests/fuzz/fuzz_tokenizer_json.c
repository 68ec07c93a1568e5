/* Any text as tokenizer.json: refused, or a tokenizer. What stands behind the last newline is then
 * encoded: ids lie in the vocabulary, spans in the text, and the ids decode the same in one piece
 * and one by one. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sonde_tokenizer *load(const char *json, size_t bytes)
{
    sonde_error err = {0};
    json_t *root;
    if (sonde_json_parse(json, bytes, "fuzz", SONDE_BAD_TOKENIZER, &root, &err) != SONDE_OK)
        return NULL;
    sonde_tokenizer *t;
    if (sonde_tokenizer_new(&t, &err) != SONDE_OK) abort();
    sonde_status status = sonde_tokenizer_load_json(t, root, "fuzz", &err);
    json_decref(root);
    if (status == SONDE_OK) return t;
    if (err.status != status || err.message[0] == '\0') abort();
    sonde_tokenizer_destroy(&t);
    return NULL;
}

static void check_spans(const sonde_tokenizer *t, const sonde_tokens *tokens, size_t bytes)
{
    for (size_t i = 0; i < tokens->count; i++) {
        const char *piece;
        size_t n;
        if (tokens->ids[i] >= sonde_tokenizer_size(t)) abort();
        if (tokens->text_start[i] > tokens->text_end[i] || tokens->text_end[i] > bytes) abort();
        if (sonde_tokenizer_piece(t, tokens->ids[i], &piece, &n, NULL) != SONDE_OK) abort();
    }
}

static void check_decoding(const sonde_tokenizer *t, const sonde_tokens *tokens, bool skip_special)
{
    char *whole;
    const char *part;
    size_t bytes, n;
    sonde_decoder *decoder;
    sonde_string joined = {0};
    if (sonde_tokenizer_decode(t, tokens->ids, tokens->count, skip_special, &whole, &bytes, NULL) !=
            SONDE_OK ||
        sonde_decoder_create(t, skip_special, &decoder, NULL) != SONDE_OK)
        abort();
    for (size_t i = 0; i <= tokens->count; i++) {
        bool last = i == tokens->count;
        sonde_status status = last ? sonde_decoder_finish(decoder, &part, &n, NULL)
                                   : sonde_decoder_push(decoder, tokens->ids[i], &part, &n, NULL);
        if (status != SONDE_OK) abort();
        sonde_string_append(&joined, part, n);
    }
    if (joined.length != bytes || memcmp(joined.data, whole, bytes) != 0) abort();
    sonde_decoder_destroy(&decoder);
    sonde_string_reset(&joined);
    sonde_text_free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char plain[] = "Hello, the w\xC3\xB6rld 12345 <x>  aaaa\r\n";
    const uint8_t *newline = size ? memrchr(data, '\n', size) : NULL;
    const char *text = newline ? (const char *)newline + 1 : plain;
    size_t bytes = newline ? (size_t)(data + size - newline - 1) : sizeof plain - 1;
    sonde_tokenizer *t = load((const char *)data, newline ? (size_t)(newline - data) : size);
    if (!t) return 0;
    for (int literal = 0; literal < 2; literal++) {
        sonde_tokens tokens = {0};
        sonde_encode_options options = {sizeof options, literal, SONDE_BOS_AUTO, NULL};
        if (sonde_tokenizer_encode(t, text, bytes, &options, &tokens, NULL) == SONDE_OK) {
            check_spans(t, &tokens, bytes);
            check_decoding(t, &tokens, literal);
        }
        sonde_tokens_reset(&tokens);
    }
    sonde_tokenizer_destroy(&t);
    return 0;
}
