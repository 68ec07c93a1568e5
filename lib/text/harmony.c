/*
 * harmony.c - the message format of GPT-OSS, parsed token by token.
 *
 * A message is <|start|>header<|message|>content and one of <|end|>, <|call|>, <|return|>. A header
 * is read as OpenAI's own library reads it: the channel is the word after <|channel|>; of the words
 * left, the first is the role where it is not known yet, one beginning with "to=" (or the only one)
 * is the recipient, and the last one otherwise is the content type. Goldens: chat/harmony.json. Only a
 * header with U+0000, which that library takes, is refused: its parts could not be told.
 */
#include "chat_internal.h"
#include "text_internal.h"

/* ---- headers ------------------------------------------------------------------------------------ */

void sonde_harmony_header_reset(sonde_harmony_header *h)
{
    sonde_free(h->role);
    sonde_free(h->name);
    sonde_free(h->channel);
    sonde_free(h->recipient);
    sonde_free(h->content_type);
    memset(h, 0, sizeof *h);
}

#define CHANNEL "<|channel|>"
#define CONSTRAIN "<|constrain|>"
#define MAX_WORDS 5 /* more than a header can hold */

/* White space as Rust's char::is_whitespace; *n: bytes of the character. */
static bool is_space(const char *at, size_t *n)
{
    uint32_t c;
    *n = sonde_utf8_get(at, &c);
    return (sonde_unicode_class(c) & SONDE_CLASS_SPACE) != 0;
}

/* Draws both ends of text[begin, end) in over white space. */
static void trim(const char *text, size_t *begin, size_t *end)
{
    size_t n;
    while (*begin < *end && is_space(text + *begin, &n)) *begin += n;
    for (size_t at; *end > *begin; *end = at) {
        for (at = *end - 1; at > *begin && (text[at] & 0xC0) == 0x80; at--) continue;
        if (!is_space(text + at, &n)) return;
    }
}

/* Takes the channel out of the text, and puts a space before each <|constrain|>. */
static sonde_status take_channel(const char *text, size_t bytes, sonde_string *rest, char **channel,
                                 sonde_error *err)
{
    const char *at = memmem(text, bytes, CHANNEL, strlen(CHANNEL)), *end = text + bytes;
    const char *from = at ? at + strlen(CHANNEL) : NULL, *to = from;
    for (size_t n; to && to < end && *to != '<' && !is_space(to, &n); to += n) continue;
    if (at && to == from)
        return sonde_fail(err, SONDE_BAD_PROMPT, "channel marker present but no channel value found "
                          "in header");
    if (at && !(*channel = sonde_strndup(from, (size_t)(to - from))))
        return sonde_no_memory(err, "a header", bytes);
    sonde_string joined = {0};
    sonde_string_append(&joined, text, at ? (size_t)(at - text) : bytes);
    if (at) sonde_string_append(&joined, to, (size_t)(end - to));
    size_t first = 0, last = joined.length;
    trim(joined.data, &first, &last);
    for (; first < last; first++) {
        if (strncmp(joined.data + first, CONSTRAIN, strlen(CONSTRAIN)) == 0) sonde_string_text(rest, " ");
        sonde_string_append(rest, joined.data + first, 1);
    }
    sonde_string_append(rest, "", 0);
    bool failed = joined.failed || rest->failed;
    sonde_string_reset(&joined);
    return failed ? sonde_no_memory(err, "a header", bytes) : SONDE_OK;
}

bool sonde_harmony_is_role(const char *word)
{
    static const char *const roles[] = {"user", "assistant", "system", "developer", "tool", NULL};
    for (const char *const *role = roles; *role; role++)
        if (strcmp(*role, word) == 0) return true;
    return false;
}

static const char *recipient_of(const char *word)
{
    return strncmp(word, "to=", 3) == 0 ? word + 3 : word;
}

/* Role, recipient and content type from the words of a header without its channel. */
static sonde_status read_words(char *words[], size_t n, const char *role, sonde_harmony_header *h,
                               sonde_error *err)
{
    size_t first = 0;
    const char *type = NULL, *recipient = NULL, *name = NULL;
    if (!role) {
        if (n == 0) return sonde_fail(err, SONDE_BAD_PROMPT, "message header did not contain a role");
        role = words[0];
        if (!sonde_harmony_is_role(role)) { /* a tool's name */
            if (n < 2 && strncmp(role, "to=", 3) != 0)
                return sonde_fail(err, SONDE_BAD_PROMPT, "Unknown role: %.80s", role);
            role = "tool";
            first = 1;
        }
        if (strcmp(role, "tool") == 0) name = words[0];
    }
    if (first < n && strcmp(words[first], role) == 0) first++;
    size_t left = n - first;
    if (left == 1 || (left > 1 && strncmp(words[n - 1], "to=", 3) == 0)) {
        recipient = recipient_of(words[--n]);
    } else if (left > 1) {
        type = words[--n];
        recipient = recipient_of(words[--n]);
    }
    if (n > first)
        return sonde_fail(err, SONDE_BAD_PROMPT, "unexpected tokens remaining in message header: %.80s",
                          words[first]);
    h->role = sonde_strdup(role);
    h->name = name ? sonde_strdup(name) : NULL;
    h->recipient = recipient ? sonde_strdup(recipient) : NULL;
    h->content_type = type ? sonde_strdup(type) : NULL;
    bool good = h->role && !h->name == !name && !h->recipient == !recipient && !h->content_type == !type;
    return good ? SONDE_OK : sonde_no_memory(err, "a header", 64);
}

sonde_status sonde_harmony_read_header(const char *text, size_t bytes, const char *role,
                                       sonde_harmony_header *header, sonde_error *err)
{
    char *words[MAX_WORDS], *at, *word;
    sonde_string rest = {0};
    size_t n = 0;
    memset(header, 0, sizeof *header);
    if (sonde_utf8_valid_prefix(text, bytes) != bytes)
        return sonde_fail(err, SONDE_BAD_PROMPT, "could not decode header");
    if (memchr(text, '\0', bytes))
        return sonde_fail(err, SONDE_BAD_PROMPT, "message header with the character U+0000");
    sonde_status status = take_channel(text, bytes, &rest, &header->channel, err);
    at = rest.data;
    while (status == SONDE_OK && n < MAX_WORDS && (word = strsep(&at, " \t\n\r\f")) != NULL)
        if (*word) words[n++] = word;
    if (status == SONDE_OK) status = read_words(words, n, role, header, err);
    sonde_string_reset(&rest);
    if (status != SONDE_OK) sonde_harmony_header_reset(header);
    return status;
}

/* ---- the stream --------------------------------------------------------------------------------- */

typedef enum state { EXPECT_START, IN_HEADER, IN_CONTENT } state;

typedef struct message {
    sonde_harmony_header header;
    sonde_string content;
} message;

struct sonde_harmony {
    const sonde_tokenizer *tokenizer;
    int64_t start, message_id, ends[3];
    state state;
    char *next_role; /* of the header that the stream began in, or NULL */
    sonde_string header;
    sonde_string undecoded; /* bytes of the current content that are no whole character yet */
    message current;
    message *done; /* [count] */
    size_t count, capacity;
};

sonde_status sonde_harmony_create(const sonde_tokenizer *tokenizer, const char *role,
                                  sonde_harmony **harmony, sonde_error *err)
{
    static const char *const names[] = {"<|start|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"};
    int64_t ids[5];
    for (int i = 0; i < 5; i++)
        if ((ids[i] = sonde_tokenizer_find(tokenizer, names[i])) < 0)
            return sonde_fail(err, SONDE_BAD_TOKENIZER, "this tokenizer has no %s: harmony is the "
                              "format of GPT-OSS", names[i]);
    sonde_harmony *h = sonde_alloc(1, sizeof *h);
    char *copy = role ? sonde_strdup(role) : NULL;
    if (!h || (role && !copy)) {
        sonde_free(h);
        sonde_free(copy);
        return sonde_no_memory(err, "a harmony parser", sizeof *h);
    }
    *h = (sonde_harmony){.tokenizer = tokenizer, .start = ids[0], .message_id = ids[1],
                         .ends = {ids[2], ids[3], ids[4]}, .next_role = copy,
                         .state = role ? IN_HEADER : EXPECT_START};
    *harmony = h;
    return SONDE_OK;
}

static void message_reset(message *m)
{
    sonde_harmony_header_reset(&m->header);
    sonde_string_reset(&m->content);
}

void sonde_harmony_destroy(sonde_harmony **harmony)
{
    sonde_harmony *h = *harmony;
    if (!h) return;
    for (size_t i = 0; i < h->count; i++) message_reset(&h->done[i]);
    message_reset(&h->current);
    sonde_free(h->done);
    sonde_free(h->next_role);
    sonde_string_reset(&h->header);
    sonde_string_reset(&h->undecoded);
    sonde_free(h);
    *harmony = NULL;
}

static sonde_status end_header(sonde_harmony *h, sonde_error *err)
{
    const char *text = h->header.data ? h->header.data : "";
    SONDE_TRY(sonde_harmony_read_header(text, h->header.length, h->next_role, &h->current.header, err));
    sonde_free(h->next_role);
    h->next_role = NULL;
    sonde_string_reset(&h->header);
    h->state = IN_CONTENT;
    return SONDE_OK;
}

/* Moves whole characters from the undecoded bytes to the content, bad ones as U+FFFD. As OpenAI's
 * library has it, what follows a bad one waits for the next token; without `more` to come, nothing. */
static sonde_status decode_content(sonde_harmony *h, bool more, sonde_error *err)
{
    sonde_string *bytes = &h->undecoded;
    size_t n = bytes->length, valid = n > 0 ? sonde_utf8_valid_prefix(bytes->data, n) : 0;
    if (more && valid < n) n = valid + sonde_utf8_subpart(bytes->data + valid, n - valid, &more);
    size_t taken = n > 0 ? sonde_utf8_lossy(bytes->data, n, more, &h->current.content) : 0;
    if (bytes->failed || h->current.content.failed) return sonde_no_memory(err, "harmony content", bytes->length);
    if (taken > 0) memmove(bytes->data, bytes->data + taken, bytes->length - taken);
    bytes->length -= taken;
    return SONDE_OK;
}

static sonde_status end_message(sonde_harmony *h, sonde_error *err)
{
    SONDE_TRY(decode_content(h, false, err));
    if (!sonde_grow(&h->done, &h->capacity, h->count + 1, sizeof *h->done))
        return sonde_no_memory(err, "harmony messages", h->capacity * sizeof *h->done);
    h->done[h->count++] = h->current;
    memset(&h->current, 0, sizeof h->current);
    h->state = EXPECT_START;
    return SONDE_OK;
}

static sonde_status add_content(sonde_harmony *h, const char *piece, size_t n,
                                sonde_harmony_step *step, sonde_error *err)
{
    size_t before = h->current.content.length;
    sonde_string_append(&h->undecoded, piece, n);
    SONDE_TRY(decode_content(h, true, err));
    step->delta_bytes = h->current.content.length - before;
    step->delta = step->delta_bytes > 0 ? h->current.content.data + before : NULL;
    return SONDE_OK;
}

sonde_status sonde_harmony_push(sonde_harmony *h, uint32_t id, sonde_harmony_step *step,
                                sonde_error *err)
{
    const char *piece;
    size_t n;
    memset(step, 0, sizeof *step);
    SONDE_TRY(sonde_tokenizer_piece(h->tokenizer, id, &piece, &n, err));
    if (h->state == EXPECT_START) {
        if (id != h->start)
            return sonde_fail(err, SONDE_BAD_PROMPT, "Unexpected token %u while expecting start token "
                              "%lld", id, (long long)h->start);
        h->state = IN_HEADER;
    } else if (h->state == IN_HEADER && id == h->message_id) {
        SONDE_TRY(end_header(h, err));
    } else if (h->state == IN_HEADER) {
        sonde_string_append(&h->header, piece, n);
        if (h->header.failed) return sonde_no_memory(err, "a header", n);
    } else if (id == h->ends[0] || id == h->ends[1] || id == h->ends[2]) {
        SONDE_TRY(end_message(h, err));
    } else {
        SONDE_TRY(add_content(h, piece, n, step, err));
    }
    if (h->state == IN_HEADER) step->role = h->next_role;
    if (h->state != IN_CONTENT) return SONDE_OK;
    step->role = h->current.header.role;
    step->channel = h->current.header.channel;
    step->recipient = h->current.header.recipient;
    step->content_type = h->current.header.content_type;
    return SONDE_OK;
}

sonde_status sonde_harmony_finish(sonde_harmony *h, sonde_error *err)
{
    if (h->state == IN_HEADER)
        return sonde_fail(err, SONDE_BAD_PROMPT, "Unexpected EOS while waiting for message header to "
                          "complete");
    return h->state == IN_CONTENT ? end_message(h, err) : SONDE_OK;
}

int64_t sonde_harmony_count(const sonde_harmony *h)
{
    return (int64_t)h->count;
}

sonde_harmony_message sonde_harmony_get(const sonde_harmony *h, int64_t index)
{
    const message *m = &h->done[index];
    return (sonde_harmony_message){.role = m->header.role,
                                   .name = m->header.name,
                                   .channel = m->header.channel,
                                   .recipient = m->header.recipient,
                                   .content_type = m->header.content_type,
                                   .content = m->content.data ? m->content.data : "",
                                   .content_bytes = m->content.length};
}
