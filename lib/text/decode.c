/*
 * decode.c - ids to text, piece by piece. Byte-level: the bytes of all pieces joined, then every
 * maximal subpart that is no UTF-8 replaced by U+FFFD. SentencePiece: the texts of the pieces, a
 * run of byte tokens being a text of its own, and spaces stripped from the ends. Decoding a list
 * and pushing its ids one by one are the same code.
 */
#include "text_internal.h"

#include <string.h>

struct sonde_decoder {
    const sonde_tokenizer *tokenizer;
    bool skip_special;
    size_t n_pieces;   /* that were not skipped */
    sonde_string held; /* bytes of a character, or of a run of byte tokens, that is not complete */
    sonde_string tail; /* text that `strip_stop` may yet take */
    uint32_t stripped; /* characters taken from the start; UINT32_MAX: no more */
    sonde_string out;
};

size_t sonde_utf8_subpart(const char *bytes, size_t n, bool *open)
{
    const unsigned char *b = (const unsigned char *)bytes;
    *open = false;
    if (b[0] < 0x80) return 1;
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
    *open = length < need;
    return length;
}

#define REPLACEMENT "\xEF\xBF\xBD"

size_t sonde_utf8_lossy(const char *bytes, size_t n, bool more, sonde_string *out)
{
    size_t at = 0;
    while (at < n) {
        size_t valid = sonde_utf8_valid_prefix(bytes + at, n - at);
        sonde_string_append(out, bytes + at, valid);
        at += valid;
        if (at == n) break;
        bool open;
        size_t length = sonde_utf8_subpart(bytes + at, n - at, &open);
        if (open && more) break;
        sonde_string_text(out, REPLACEMENT);
        at += length;
    }
    return at;
}

/* ---- what a piece shows ---------------------------------------------------------------------- */

static void replace_text(sonde_string *text, const char *from, const char *to)
{
    sonde_string out = {0};
    size_t n = strlen(from);
    sonde_string_append(&out, "", 0);
    for (size_t at = 0; at < text->length;) {
        bool here = n > 0 && text->length - at >= n && memcmp(text->data + at, from, n) == 0;
        if (here) sonde_string_text(&out, to);
        else sonde_string_append(&out, text->data + at, 1);
        at += here ? n : 1;
    }
    out.failed = out.failed || text->failed;
    sonde_string_reset(text);
    *text = out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of a token <0xXX>, or -1. */
static int byte_of(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* An added token of a byte-level tokenizer is written in the alphabet too, if it can be. */
static sonde_status unmap_added(sonde_piece *p, sonde_arena *arena, sonde_error *err)
{
    size_t length;
    char *raw = sonde_arena_copy(arena, p->shown, p->shown_length);
    if (!raw) return sonde_no_memory(err, "the vocabulary", p->shown_length);
    if (!sonde_unmap_bytes(p->shown, p->shown_length, raw, &length)) return SONDE_OK;
    raw[length] = '\0';
    p->shown = raw;
    p->shown_length = (uint32_t)length;
    return SONDE_OK;
}

static sonde_status prepare_piece(sonde_tokenizer *t, sonde_piece *p, sonde_error *err)
{
    const sonde_decoding *d = &t->decoding;
    if (!p->added) {
        p->shown = p->text;
        p->shown_length = p->length;
    } else if (d->kind == SONDE_DECODE_BYTES) {
        SONDE_TRY(unmap_added(p, &t->arena, err));
    }
    bool plain = true;
    for (size_t i = 0; i < d->n_replace; i++)
        plain = plain && !strstr(p->shown, d->replace[i].from);
    if (!plain) {
        sonde_string text = {0};
        sonde_string_append(&text, p->shown, p->shown_length);
        for (size_t i = 0; i < d->n_replace; i++)
            replace_text(&text, d->replace[i].from, d->replace[i].to);
        p->shown = text.failed ? NULL : sonde_arena_copy(&t->arena, text.data, text.length);
        p->shown_length = (uint32_t)text.length;
        sonde_string_reset(&text);
        if (!p->shown) return sonde_no_memory(err, "the vocabulary", p->length);
    }
    int byte = d->byte_fallback ? byte_of(p->shown, p->shown_length) : -1;
    if (byte < 0) return SONDE_OK;
    char c = (char)byte;
    p->is_byte = true;
    p->shown_length = 1;
    p->shown = sonde_arena_copy(&t->arena, &c, 1);
    return p->shown ? SONDE_OK : sonde_no_memory(err, "the vocabulary", 1);
}

sonde_status sonde_decoding_prepare(sonde_tokenizer *t, sonde_error *err)
{
    for (size_t id = 0; id < t->n_pieces; id++)
        if (t->pieces[id].present) SONDE_TRY(prepare_piece(t, &t->pieces[id], err));
    return SONDE_OK;
}

/* ---- the ends of the text -------------------------------------------------------------------- */

/* Text of the result: the start loses the stripped character, the end holds back what it may
 * lose. */
static void put(sonde_decoder *d, const char *text, size_t n)
{
    const sonde_decoding *rule = &d->tokenizer->decoding;
    char strip[4];
    size_t width = sonde_utf8_put(rule->strip, strip);
    while (n > 0 && d->stripped < rule->strip_start) {
        bool same = n >= width && memcmp(text, strip, width) == 0;
        d->stripped = same ? d->stripped + 1 : UINT32_MAX;
        if (same) text += width, n -= width;
    }
    if (rule->strip_stop == 0) {
        sonde_string_append(&d->out, text, n);
        return;
    }
    sonde_string_append(&d->tail, text, n);
    size_t keep = d->tail.length, held = 0;
    while (held < rule->strip_stop && keep >= width &&
           memcmp(d->tail.data + keep - width, strip, width) == 0)
        keep -= width, held++;
    sonde_string_append(&d->out, d->tail.data, keep);
    if (d->tail.data) memmove(d->tail.data, d->tail.data + keep, d->tail.length - keep);
    d->tail.length -= keep;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void put_bytes(sonde_decoder *d, const char *bytes, size_t n, bool more)
{
    sonde_string_append(&d->held, bytes, n);
    size_t used =
        d->held.failed ? 0 : sonde_utf8_lossy(d->held.data, d->held.length, more, &d->out);
    if (d->held.length > used) memmove(d->held.data, d->held.data + used, d->held.length - used);
    d->held.length -= used;
}

/* A run of byte tokens is over: its text, or one U+FFFD for each byte when it is not UTF-8. */
static void put_run(sonde_decoder *d)
{
    size_t n = d->held.length;
    if (n == 0) return;
    bool good = sonde_utf8_valid_prefix(d->held.data, n) == n;
    if (good) put(d, d->held.data, n);
    for (size_t i = 0; !good && i < n; i++) put(d, REPLACEMENT, 3);
    d->held.length = 0;
}

/* The added token of an id: its text is what the decoder is given, nothing replaced. */
static const sonde_added *added_of(const sonde_matcher *m, uint32_t id)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->tokens[i].id == id) return &m->tokens[i];
    return NULL;
}

/* The first piece without the character that stands for a space. */
static void put_first(sonde_decoder *d, uint32_t id)
{
    char space[4];
    const sonde_tokenizer *t = d->tokenizer;
    const sonde_added *added = NULL;
    if (t->pieces[id].added) added = added_of(&t->raw, id);
    if (t->pieces[id].added && !added) added = added_of(&t->normalized, id);
    const char *text = added ? added->text : t->pieces[id].text;
    size_t n = added ? added->length : t->pieces[id].length;
    size_t width = sonde_utf8_put(t->decoding.space, space);
    for (size_t at = 0; at < n;) {
        bool here = n - at >= width && memcmp(text + at, space, width) == 0;
        if (!here) put(d, text + at, 1);
        at += here ? width : 1;
    }
}

static void put_piece(sonde_decoder *d, uint32_t id)
{
    const sonde_decoding *rule = &d->tokenizer->decoding;
    const sonde_piece *p = &d->tokenizer->pieces[id];
    bool first = d->n_pieces++ == 0;
    if (rule->kind == SONDE_DECODE_BYTES) {
        put_bytes(d, p->shown, p->shown_length, true);
    } else if (p->is_byte) {
        sonde_string_append(&d->held, p->shown, 1);
    } else {
        put_run(d);
        if (rule->kind == SONDE_DECODE_SPACED && !first) put(d, " ", 1);
        if (first && rule->drop_first) put_first(d, id);
        else put(d, p->shown, p->shown_length);
    }
}

static sonde_status take_id(sonde_decoder *d, uint32_t id, sonde_error *err)
{
    const sonde_tokenizer *t = d->tokenizer;
    if (id >= t->n_pieces)
        return sonde_fail(err, SONDE_BAD_PROMPT,
                          "token id %u is out of range: the tokenizer has %zu", id, t->n_pieces);
    const sonde_piece *p = &t->pieces[id];
    if (p->present && !(d->skip_special && p->special)) put_piece(d, id);
    return SONDE_OK;
}

static void finish(sonde_decoder *d)
{
    if (d->tokenizer->decoding.kind == SONDE_DECODE_BYTES) put_bytes(d, "", 0, false);
    else put_run(d);
    d->tail.length = 0;
}

static bool failed(const sonde_decoder *d)
{
    return d->held.failed || d->tail.failed || d->out.failed;
}

static void reset(sonde_decoder *d)
{
    sonde_string_reset(&d->held);
    sonde_string_reset(&d->tail);
    sonde_string_reset(&d->out);
}

/* ---- interface ------------------------------------------------------------------------------- */

sonde_status sonde_tokenizer_decode(const sonde_tokenizer *tokenizer, const uint32_t *ids,
                                    size_t count, bool skip_special, char **text, size_t *bytes,
                                    sonde_error *err)
{
    sonde_decoder d = {.tokenizer = tokenizer, .skip_special = skip_special};
    sonde_status status = SONDE_OK;
    sonde_string_append(&d.out, "", 0);
    for (size_t i = 0; i < count && status == SONDE_OK; i++) status = take_id(&d, ids[i], err);
    finish(&d);
    if (status == SONDE_OK && failed(&d)) status = sonde_no_memory(err, "decoded text", count);
    if (status == SONDE_OK) {
        *text = d.out.data;
        *bytes = d.out.length;
        memset(&d.out, 0, sizeof d.out);
    }
    reset(&d);
    return status;
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
    reset(*decoder);
    sonde_free(*decoder);
    *decoder = NULL;
}

static sonde_status give(sonde_decoder *d, const char **text, size_t *bytes, sonde_error *err)
{
    if (failed(d)) return sonde_no_memory(err, "decoded text", d->out.length);
    *text = d->out.data;
    *bytes = d->out.length;
    return SONDE_OK;
}

static void start_output(sonde_decoder *d)
{
    d->out.length = 0;
    sonde_string_append(&d->out, "", 0);
}

sonde_status sonde_decoder_push(sonde_decoder *decoder, uint32_t id, const char **text,
                                size_t *bytes, sonde_error *err)
{
    start_output(decoder);
    SONDE_TRY(take_id(decoder, id, err));
    return give(decoder, text, bytes, err);
}

sonde_status sonde_decoder_finish(sonde_decoder *decoder, const char **text, size_t *bytes,
                                  sonde_error *err)
{
    start_output(decoder);
    finish(decoder);
    return give(decoder, text, bytes, err);
}
