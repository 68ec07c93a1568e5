/*
 * load_tiktoken.c - tiktoken files: lines of base64(bytes) and a rank. Pairs merge by the rank of
 * their union; the file holds neither split rule nor special tokens. Kimi's tokenizer_config.json
 * names the latter; its split rule and limits are its own code's, and the only ones known.
 */
#include "text_internal.h"

#include <string.h>

#define MAX_FILE ((size_t)256 << 20)
#define N_SPECIAL 256 /* Kimi's reserve behind the ranks */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes in place; false: no base64 of at least one byte. */
static bool decode_base64(char *text, size_t n, size_t *length)
{
    uint32_t bits = 0;
    size_t have = 0;
    if (n == 0 || n % 4 != 0) return false;
    while (n > 0 && text[n - 1] == '=' && have++ < 2) n--;
    have = *length = 0;
    for (size_t i = 0; i < n; i++) {
        int value = base64_value(text[i]);
        if (value < 0) return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        text[(*length)++] = (char)(bits >> have & 0xFF);
    }
    return *length > 0;
}

static sonde_status add_piece(sonde_tokenizer *t, uint32_t id, const char *bytes, size_t n,
                              sonde_error *err)
{
    sonde_piece *p = NULL;
    SONDE_TRY(sonde_vocabulary_slot(t, id, &p, err));
    if (p->in_model)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "rank %u stands for two pieces", id);
    p->text = sonde_arena_copy(&t->arena, bytes, n);
    if (!p->text) return sonde_no_memory(err, "the vocabulary", n);
    p->length = (uint32_t)n;
    p->present = p->in_model = true;
    return SONDE_OK;
}

static sonde_status read_ranks(sonde_tokenizer *t, char *text, const char *path, sonde_error *err)
{
    char *rest = text, *line;
    for (size_t number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
        size_t n = strlen(line), length;
        int64_t rank;
        if (n > 0 && line[n - 1] == '\r') line[n - 1] = '\0';
        if (*line == '\0') continue;
        char *space = strchr(line, ' ');
        if (!space || !sonde_parse_i64(space + 1, 0, UINT32_MAX, &rank) ||
            !decode_base64(line, (size_t)(space - line), &length))
            return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: line %zu: expected base64 and a rank",
                              path, number);
        SONDE_TRY(add_piece(t, (uint32_t)rank, line, length, err));
    }
    for (size_t id = 0; id < t->n_pieces; id++)
        if (!t->pieces[id].in_model)
            return sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: rank %zu is missing", path, id);
    return t->n_pieces > 0 ? SONDE_OK : sonde_fail(err, SONDE_BAD_TOKENIZER, "%s: no ranks", path);
}

static sonde_status set_merges(sonde_tokenizer *t, sonde_error *err)
{
    uint32_t *ranks = sonde_alloc(t->n_pieces, sizeof *ranks);
    if (!ranks) return sonde_no_memory(err, "the vocabulary", t->n_pieces * sizeof *ranks);
    for (size_t id = 0; id < t->n_pieces; id++) ranks[id] = (uint32_t)id;
    sonde_status status = sonde_merges_from_ranks(t, ranks, err);
    sonde_free(ranks);
    return status;
}

/* The reserve behind the ranks: named by added_tokens_decoder, else <|reserved_token_N|>. */
static sonde_status add_specials(sonde_tokenizer *t, const json_t *config, sonde_error *err)
{
    const json_t *named = json_object_get(config, "added_tokens_decoder");
    size_t first = t->n_pieces;
    for (size_t id = first; id < first + N_SPECIAL; id++) {
        char number[24], reserved[48];
        snprintf(number, sizeof number, "%zu", id);
        snprintf(reserved, sizeof reserved, "<|reserved_token_%zu|>", id);
        const json_t *content = json_object_get(json_object_get(named, number), "content");
        const char *text = json_is_string(content) ? json_string_value(content) : reserved;
        sonde_added token = {.length = (uint32_t)strlen(text), .id = (uint32_t)id, .special = true};
        memcpy(&token.text, &text, sizeof text);
        SONDE_TRY(sonde_added_add(t, &token, err));
    }
    return SONDE_OK;
}

static sonde_status load(sonde_tokenizer *t, char *text, const char *path, const json_t *config,
                         sonde_error *err)
{
    bool bos;
    SONDE_TRY(sonde_named_rule_apply(t, "kimi-k2", &bos, err));
    t->most_chars = 400000;
    t->most_run = 25000;
    SONDE_TRY(read_ranks(t, text, path, err));
    SONDE_TRY(sonde_vocabulary_index(t, err));
    SONDE_TRY(set_merges(t, err));
    SONDE_TRY(add_specials(t, config, err));
    SONDE_TRY(sonde_decoding_prepare(t, err));
    return sonde_tokenizer_seal(t, err);
}

sonde_status sonde_tokenizer_load_tiktoken(sonde_tokenizer *t, const char *path,
                                           const json_t *config, sonde_error *err)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    char *text;
    size_t bytes;
    if (!class || strcmp(class, "TikTokenTokenizer") != 0)
        return sonde_fail(err, SONDE_BAD_TOKENIZER,
                          "%s: a tiktoken file holds no split rule, and "
                          "tokenizer_class '%.60s' in tokenizer_config.json is not known "
                          "(TikTokenTokenizer)",
                          path, class ? class : "");
    SONDE_TRY(sonde_read_file(path, MAX_FILE, &text, &bytes, err));
    sonde_status status = load(t, text, path, config, err);
    sonde_free(text);
    return status;
}
