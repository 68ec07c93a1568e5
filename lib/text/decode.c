/*
 * decode.c - ids to text: the bytes of all pieces joined, then every maximal subpart that is no
 * UTF-8 replaced by U+FFFD. The streaming form holds back an incomplete character at the end.
 */
#include "text_internal.h"

#include <string.h>

struct sonde_decoder {
    const sonde_tokenizer *tokenizer;
    bool skip_special;
    char held[8]; /* bytes of a character that is not complete */
    size_t n_held;
    sonde_string out;
};

/* Bytes of the maximal subpart at bytes[0..n): the longest start of a valid character. *whole: it
 * is one; *open: more bytes could complete it. */
static size_t subpart(const unsigned char *b, size_t n, bool *whole, bool *open)
{
    *whole = *open = false;
    if (b[0] < 0x80) {
        *whole = true;
        return 1;
    }
    size_t need = b[0] >= 0xF0 ? 4 : b[0] >= 0xE0 ? 3 : 2;
    if (b[0] < 0xC2 || b[0] > 0xF4) return 1;
    size_t length = 1;
    while (length < need && length < n) {
        unsigned char low = 0x80, high = 0xBF;
        if (length == 1 && b[0] == 0xE0) low = 0xA0;
        if (length == 1 && b[0] == 0xED) high = 0x9F;
        if (length == 1 && b[0] == 0xF0) low = 0x90;
        if (length == 1 && b[0] == 0xF4) high = 0x8F;
        if (b[length] < low || b[length] > high) return length;
        length++;
    }
    *whole = length == need;
    *open = length < need;
    return length;
}

size_t sonde_utf8_lossy(const char *bytes, size_t n, bool more, sonde_string *out)
{
    size_t at = 0;
    while (at < n) {
        size_t valid = sonde_utf8_valid_prefix(bytes + at, n - at);
        sonde_string_append(out, bytes + at, valid);
        at += valid;
        if (at == n) break;
        bool whole, open;
        size_t length = subpart((const unsigned char *)bytes + at, n - at, &whole, &open);
        if (open && more) break;
        sonde_string_text(out, "\xEF\xBF\xBD");
        at += length;
    }
    return at;
}

static sonde_status piece_of(const sonde_tokenizer *t, uint32_t id, bool skip_special,
                             const sonde_piece **piece, sonde_error *err)
{
    if (id >= t->n_pieces)
        return sonde_fail(err, SONDE_BAD_PROMPT, "token id %u is out of range: the tokenizer has %zu",
                          id, t->n_pieces);
    const sonde_piece *p = &t->pieces[id];
    *piece = p->present && !(skip_special && p->special) ? p : NULL;
    return SONDE_OK;
}

static sonde_status join(const sonde_tokenizer *t, const uint32_t *ids, size_t count,
                         bool skip_special, sonde_string *raw, sonde_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const sonde_piece *p;
        SONDE_TRY(piece_of(t, ids[i], skip_special, &p, err));
        if (p) sonde_string_append(raw, p->bytes, p->length);
    }
    return SONDE_OK;
}

sonde_status sonde_tokenizer_decode(const sonde_tokenizer *tokenizer, const uint32_t *ids,
                                    size_t count, bool skip_special, char **text, size_t *bytes,
                                    sonde_error *err)
{
    sonde_string raw = {0}, out = {0};
    sonde_status status = join(tokenizer, ids, count, skip_special, &raw, err);
    sonde_string_append(&out, "", 0);
    if (status == SONDE_OK && raw.length > 0) sonde_utf8_lossy(raw.data, raw.length, false, &out);
    if (status == SONDE_OK && (raw.failed || out.failed))
        status = sonde_no_memory(err, "decoded text", raw.length);
    sonde_string_reset(&raw);
    if (status != SONDE_OK) {
        sonde_string_reset(&out);
        return status;
    }
    *text = out.data;
    *bytes = out.length;
    return SONDE_OK;
}

void sonde_text_free(char *text)
{
    sonde_free(text);
}

sonde_status sonde_decoder_create(const sonde_tokenizer *tokenizer, bool skip_special,
                                  sonde_decoder **decoder, sonde_error *err)
{
    sonde_decoder *d = sonde_alloc(1, sizeof *d);
    if (!d) return sonde_no_memory(err, "a decoder", sizeof *d);
    d->tokenizer = tokenizer;
    d->skip_special = skip_special;
    *decoder = d;
    return SONDE_OK;
}

void sonde_decoder_destroy(sonde_decoder **decoder)
{
    if (!*decoder) return;
    sonde_string_reset(&(*decoder)->out);
    sonde_free(*decoder);
    *decoder = NULL;
}

static sonde_status emit(sonde_decoder *d, const char *bytes, size_t n, bool more,
                         const char **text, size_t *length, sonde_error *err)
{
    sonde_string joined = {0};
    sonde_string_append(&joined, d->held, d->n_held);
    sonde_string_append(&joined, bytes, n);
    d->out.length = 0;
    sonde_string_append(&d->out, "", 0);
    size_t used = joined.failed ? 0 : sonde_utf8_lossy(joined.data, joined.length, more, &d->out);
    d->n_held = joined.failed ? 0 : joined.length - used;
    if (d->n_held > 0) memcpy(d->held, joined.data + used, d->n_held);
    bool failed = joined.failed || d->out.failed;
    sonde_string_reset(&joined);
    if (failed) return sonde_no_memory(err, "decoded text", n);
    *text = d->out.data;
    *length = d->out.length;
    return SONDE_OK;
}

sonde_status sonde_decoder_push(sonde_decoder *decoder, uint32_t id, const char **text,
                                size_t *bytes, sonde_error *err)
{
    const sonde_piece *p;
    SONDE_TRY(piece_of(decoder->tokenizer, id, decoder->skip_special, &p, err));
    return emit(decoder, p ? p->bytes : "", p ? p->length : 0, true, text, bytes, err);
}

sonde_status sonde_decoder_finish(sonde_decoder *decoder, const char **text, size_t *bytes,
                                  sonde_error *err)
{
    return emit(decoder, "", 0, false, text, bytes, err);
}
