/*
 * chat_segments.c - which segment every byte of a rendered conversation, and every generated token,
 * belongs to. One small machine walks over both: marks open and close turns, headers name their
 * role. In a rendered text only the template's own bytes can be marks; content is labelled by the
 * message it came from, unless it stands inside reasoning or a tool call of the assistant's turn.
 */
#include "chat_internal.h"

#include <ctype.h>

const char *sonde_segment_name(int segment)
{
    static const char *const names[] = {"none",      "system", "user",  "assistant",
                                        "reasoning", "tool",   "markup"};
    return names[segment >= 0 && segment < 7 ? segment : 0];
}

sonde_segment sonde_role_segment(const char *role, size_t bytes)
{
    static const struct {
        const char *name;
        sonde_segment segment;
    } roles[] = {{"system", SONDE_SEGMENT_SYSTEM},     {"developer", SONDE_SEGMENT_SYSTEM},
                 {"user", SONDE_SEGMENT_USER},         {"assistant", SONDE_SEGMENT_ASSISTANT},
                 {"model", SONDE_SEGMENT_ASSISTANT},   {"tool", SONDE_SEGMENT_TOOL},
                 {"ipython", SONDE_SEGMENT_TOOL},      {"function", SONDE_SEGMENT_TOOL}};
    for (size_t i = 0; i < SONDE_COUNT(roles); i++)
        if (strlen(roles[i].name) == bytes && memcmp(roles[i].name, role, bytes) == 0)
            return roles[i].segment;
    return SONDE_SEGMENT_NONE;
}

/* ---- the machine ------------------------------------------------------------------------------- */

/* Harmony: analysis is reasoning, what is addressed to someone is a tool call. A role may be followed
 * by a name ("user:bob"); a first word that is no role is a tool. */
static sonde_segment harmony_segment(const char *text, size_t bytes)
{
    sonde_harmony_header h;
    size_t word = 0;
    bytes = sonde_utf8_valid_prefix(text, bytes); /* a long header is cut anywhere */
    while (word < bytes && !isspace((unsigned char)text[word]) && text[word] != '<') word++;
    const char *colon = memchr(text, ':', word);
    sonde_segment segment = sonde_role_segment(text, colon ? (size_t)(colon - text) : word);
    if (segment != SONDE_SEGMENT_NONE && segment != SONDE_SEGMENT_ASSISTANT) return segment;
    const char *role = segment ? "assistant" : NULL;
    size_t from = segment ? word : 0;
    if (sonde_harmony_read_header(text + from, bytes - from, role, &h, NULL) != SONDE_OK) return segment;
    segment = sonde_role_segment(h.role, strlen(h.role));
    if (segment == SONDE_SEGMENT_ASSISTANT && h.recipient && strcmp(h.recipient, "all") != 0)
        segment = SONDE_SEGMENT_TOOL;
    else if (segment == SONDE_SEGMENT_ASSISTANT && h.channel && strcmp(h.channel, "analysis") == 0)
        segment = SONDE_SEGMENT_REASONING;
    sonde_harmony_header_reset(&h);
    return segment;
}

static void end_header(sonde_segmenter *s)
{
    bool harmony = s->chat->known->marks->harmony;
    size_t begin = 0, end = s->header_bytes;
    while (begin < end && isspace((unsigned char)s->header[begin])) begin++;
    while (end > begin && isspace((unsigned char)s->header[end - 1])) end--;
    s->base = (uint8_t)(harmony ? harmony_segment(s->header + begin, end - begin)
                                : sonde_role_segment(s->header + begin, end - begin));
    s->in_header = s->inner = s->at_start = 0;
}

static void add_header(sonde_segmenter *s, const char *text, size_t n)
{
    size_t room = sizeof s->header - s->header_bytes;
    n = SONDE_MIN(n, room);
    memcpy(s->header + s->header_bytes, text, n);
    s->header_bytes = (uint8_t)(s->header_bytes + n);
}

static void pass_mark(sonde_segmenter *s, const sonde_chat_mark *mark)
{
    switch (mark->kind) {
    case SONDE_MARK_HEADER:
        s->base = s->inner = s->header_bytes = 0;
        s->in_header = 1;
        break;
    case SONDE_MARK_HEADER_END:
        if (s->in_header) end_header(s);
        break;
    case SONDE_MARK_FIELD:
        if (s->in_header) add_header(s, mark->text, strlen(mark->text));
        break;
    case SONDE_MARK_TURN:
        s->base = (uint8_t)mark->segment;
        s->inner = s->in_header = 0;
        break;
    case SONDE_MARK_END: s->base = s->inner = s->in_header = 0; break;
    case SONDE_MARK_OPEN:
        if (s->base != mark->within) break;
        s->inner = (uint8_t)mark->segment;
        s->at_start = 1;
        break;
    case SONDE_MARK_CLOSE:
        s->at_start = s->inner != 0;
        s->inner = 0;
        break;
    case SONDE_MARK_PLAIN: break;
    }
}

/* A byte of a header: true. */
static bool pass_header(sonde_segmenter *s, char c)
{
    if (!s->in_header) return false;
    if (c == '\n' && s->chat->known->marks->newline_ends_header) end_header(s);
    else add_header(s, &c, 1);
    return true;
}

static uint8_t current(const sonde_segmenter *s)
{
    return s->inner ? s->inner : s->base ? s->base : SONDE_SEGMENT_MARKUP;
}

/* ---- generated tokens --------------------------------------------------------------------------- */

/* White space that follows a mark at once (the newlines around reasoning) is part of the markup. */
static uint8_t pass_byte(sonde_segmenter *s, char c)
{
    if (pass_header(s, c)) return SONDE_SEGMENT_MARKUP;
    if (s->at_start && isspace((unsigned char)c)) return SONDE_SEGMENT_MARKUP;
    s->at_start = 0;
    return current(s);
}

sonde_segment sonde_segmenter_push(sonde_segmenter *s, uint32_t id)
{
    const char *piece;
    size_t n;
    uint8_t segment = SONDE_SEGMENT_MARKUP;
    if (!s->chat) return SONDE_SEGMENT_NONE;
    const sonde_chat_mark *list = s->chat->known->marks->list;
    for (size_t i = 0; list[i].text; i++) {
        if (s->chat->ids[i] != id) continue;
        pass_mark(s, &list[i]);
        return SONDE_SEGMENT_MARKUP;
    }
    if (sonde_tokenizer_piece(s->chat->tokenizer, id, &piece, &n, NULL) != SONDE_OK ||
        sonde_tokenizer_is_special(s->chat->tokenizer, id))
        return SONDE_SEGMENT_MARKUP;
    for (size_t i = 0; i < n; i++) {
        uint8_t next = pass_byte(s, piece[i]);
        if (segment == SONDE_SEGMENT_MARKUP) segment = next;
    }
    return (sonde_segment)segment;
}

/* ---- rendered texts ------------------------------------------------------------------------------ */

typedef enum kind { MARK, OWN, OWN_SPACE, DATA } kind; /* OWN: the template's text in a turn */

/* The longest mark of a list in the template's own bytes at text[at], or NULL. */
static const sonde_chat_mark *find_mark(const sonde_chat_mark *list, const uint8_t *tags,
                                        const sonde_chat_text *text, size_t at)
{
    const sonde_chat_mark *best = NULL;
    for (const sonde_chat_mark *m = list; m->text; m++) {
        size_t n = strlen(m->text);
        if (n > text->bytes - at || memcmp(text->text + at, m->text, n) != 0) continue;
        bool own = true;
        for (size_t i = 0; i < n; i++) own = own && tags[at + i] == 0;
        if (own && (!best || n > strlen(best->text))) best = m;
    }
    return best;
}

static const sonde_chat_mark *mark_at(const sonde_chat *chat, const uint8_t *tags,
                                      const sonde_chat_text *text, size_t at)
{
    const sonde_chat_mark *mark = find_mark(chat->known->marks->list, tags, text, at);
    return mark ? mark : find_mark(chat->ends, tags, text, at);
}

static uint8_t data_segment(const sonde_segmenter *s, uint8_t tag)
{
    if (tag == SONDE_TAG_UNKNOWN) return SONDE_SEGMENT_NONE;
    if (tag == SONDE_TAG_PLACE || (s->inner && tag == SONDE_SEGMENT_ASSISTANT)) return current(s);
    return tag;
}

/* Walks the machine over the text: a first label and kind of every byte. */
static void walk(const uint8_t *tags, sonde_chat_text *text, uint8_t *kinds)
{
    sonde_segmenter *s = &text->end;
    for (size_t at = 0; at < text->bytes; at++) {
        const sonde_chat_mark *mark = tags[at] == 0 ? mark_at(s->chat, tags, text, at) : NULL;
        char c = text->text[at];
        text->segments[at] = SONDE_SEGMENT_MARKUP;
        kinds[at] = MARK;
        if (mark) {
            size_t n = strlen(mark->text);
            memset(text->segments + at, SONDE_SEGMENT_MARKUP, n);
            memset(kinds + at, MARK, n);
            pass_mark(s, mark);
            at += n - 1;
        } else if (!pass_header(s, c)) {
            bool space = isspace((unsigned char)c);
            kinds[at] = tags[at] ? DATA : space ? OWN_SPACE : OWN;
            text->segments[at] = tags[at] ? data_segment(s, tags[at]) : current(s);
            if (tags[at] || !space) s->at_start = 0;
        }
    }
}

/* The template's white space is markup, but between words of its own text. */
static void label_space(sonde_chat_text *text, const uint8_t *kinds)
{
    for (size_t at = 0; at < text->bytes; at++) {
        size_t end = at;
        while (end < text->bytes && kinds[end] == OWN_SPACE) end++;
        if (end == at) continue;
        bool inside = at > 0 && end < text->bytes && kinds[at - 1] == OWN && kinds[end] == OWN;
        if (!inside) memset(text->segments + at, SONDE_SEGMENT_MARKUP, end - at);
        at = end - 1;
    }
}

/* The template's words around a tool call (`{"name": "`) are part of it, up to the next marks. */
static void label_calls(sonde_chat_text *text, const uint8_t *kinds)
{
    for (size_t at = 0; at < text->bytes; at++) {
        size_t end = at;
        bool call = false;
        for (; end < text->bytes && kinds[end] != MARK; end++)
            call = call || (kinds[end] == DATA && text->segments[end] == SONDE_SEGMENT_TOOL);
        for (size_t i = at; call && i < end; i++)
            if (kinds[i] != DATA && text->segments[i] == SONDE_SEGMENT_ASSISTANT)
                text->segments[i] = SONDE_SEGMENT_TOOL;
        at = end;
    }
}

sonde_status sonde_chat_label(const sonde_chat *chat, const uint8_t *tags, sonde_chat_text *text,
                              sonde_error *err)
{
    uint8_t *kinds = sonde_alloc(text->bytes + 1, 1);
    text->segments = sonde_alloc(text->bytes + 1, 1);
    text->end = (sonde_segmenter){.chat = chat};
    if (!kinds || !text->segments) {
        sonde_free(kinds);
        return sonde_no_memory(err, "the segments of a chat", text->bytes);
    }
    walk(tags, text, kinds);
    label_space(text, kinds);
    label_calls(text, kinds);
    sonde_free(kinds);
    return SONDE_OK;
}

sonde_segment sonde_segment_of(const uint8_t *segments, uint32_t start, uint32_t end)
{
    for (uint32_t i = start; i < end; i++)
        if (segments[i] != SONDE_SEGMENT_MARKUP) return (sonde_segment)segments[i];
    return SONDE_SEGMENT_MARKUP;
}
