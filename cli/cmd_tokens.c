/* cmd_tokens.c - sonde tokens: text to token ids, pieces and back. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a line needs; the growing arrays are kept from line to line. */
typedef struct work {
    const cli_call *call;
    sonde_model *model; /* owns the tokenizer when it is a model's, else NULL */
    sonde_tokenizer *own;
    const sonde_tokenizer *tokenizer;
    sonde_tokens tokens; /* of a text */
    uint32_t *typed;     /* [capacity] ids read with --decode */
    size_t capacity;
    const uint32_t *ids; /* [count] of the line: one of the two above */
    size_t count;
    bool *keeps; /* [count] */
    const sonde_chat *chat; /* opened at the first conversation */
    sonde_chat *own_chat;   /* of a folder */
    sonde_chat_text rendered; /* of the line, when it is a conversation: `in_chat` */
    bool in_chat;
    uint8_t *segments; /* [count] of a conversation */
    int64_t shown;
    uint64_t blank_lines;
} work;

/* ---- one text, once it is tokens ------------------------------------------------------------- */

static sonde_status mark_rows(work *w, sonde_error *err)
{
    const char *rows = w->call->job.rows;
    free(w->keeps);
    w->keeps = calloc(w->count + 1, sizeof *w->keeps);
    if (!w->keeps) return sonde_fail(err, SONDE_NO_MEMORY, "out of memory for the rows");
    if (!rows) return SONDE_OK;
    return sonde_rows_match(rows, w->ids, w->in_chat ? w->segments : NULL, (int64_t)w->count,
                            w->tokenizer, w->keeps, err);
}

static sonde_status print_json(const work *w, const char *text, size_t bytes, sonde_error *err)
{
    json_t *ids = json_array(), *pieces = json_array(), *kept = json_array();
    json_t *segments = json_array();
    for (size_t i = 0; i < w->count; i++) {
        const char *piece = NULL;
        size_t n = 0;
        if (sonde_tokenizer_piece(w->tokenizer, w->ids[i], &piece, &n, NULL) != SONDE_OK)
            piece = NULL;
        json_array_append_new(ids, json_integer((json_int_t)w->ids[i]));
        json_array_append_new(pieces, cli_json_text(piece, n));
        if (w->in_chat)
            json_array_append_new(segments, json_string(sonde_segment_name(w->segments[i])));
        if (w->keeps[i]) json_array_append_new(kept, json_integer((json_int_t)i));
    }
    json_t *value = json_object();
    json_object_set_new(value, "tokens", ids);
    json_object_set_new(value, "pieces", pieces);
    json_object_set_new(value, "text", w->in_chat ? cli_json_text(w->rendered.text, w->rendered.bytes)
                                                  : cli_json_text(text, bytes));
    if (w->in_chat)
        json_object_set(value, "segments", segments);
    json_decref(segments);
    if (w->call->job.rows)
        json_object_set_new(value, "kept", kept);
    else
        json_decref(kept);
    return cli_print_json(value, false, err);
}

static void print_table(work *w)
{
    const char *rows = w->call->job.rows;
    int64_t n_kept = 0;
    char text[48];
    if (w->shown > 0) putchar('\n');
    printf("%8s %8s%s%s  piece\n", "position", "id", w->in_chat ? "  segment  " : "",
           rows ? "  row" : "");
    for (size_t i = 0; i < w->count; i++) {
        const char *piece = "";
        size_t n = 0;
        uint32_t id = w->ids[i];
        if (sonde_tokenizer_piece(w->tokenizer, id, &piece, &n, NULL) != SONDE_OK) n = 0;
        printf("%8zu %8u", i, id);
        if (w->in_chat) printf("  %-9s", sonde_segment_name(w->segments[i]));
        printf("%s  '", !rows ? "" : w->keeps[i] ? " kept" : "    -");
        cli_print_clean(stdout, piece, n);
        printf("'%s\n", sonde_tokenizer_is_special(w->tokenizer, id) ? "  special" : "");
        n_kept += w->keeps[i];
    }
    printf("%s", cli_format_things(w->count, "token", text));
    if (rows) printf(", %lld kept", (long long)n_kept);
    putchar('\n');
}

static sonde_status show(work *w, sonde_error *err)
{
    char *text;
    size_t bytes;
    SONDE_TRY(mark_rows(w, err));
    SONDE_TRY(sonde_tokenizer_decode(w->tokenizer, w->ids, w->count,
                                     w->call->own.skip_special, &text, &bytes, err));
    sonde_status status = SONDE_OK;
    if (w->call->job.json) {
        status = print_json(w, text, bytes, err);
    } else if (w->call->own.decode && !w->call->job.rows) {
        fwrite(text, 1, bytes, stdout);
        putchar('\n');
    } else {
        print_table(w);
    }
    w->shown++;
    sonde_text_free(text);
    return status;
}

/* ---- conversations --------------------------------------------------------------------------- */

static sonde_status open_chat(work *w, sonde_error *err)
{
    if (w->chat) return SONDE_OK;
    if (w->model) return sonde_model_chat(w->model, &w->chat, err);
    SONDE_TRY(sonde_chat_open(w->call->words[0], w->tokenizer, &w->own_chat, err));
    w->chat = w->own_chat;
    return SONDE_OK;
}

/* The tokens of the rendered text; a beginning is added only where --add-bos yes finds none. */
static sonde_status encode_chat(work *w, sonde_error *err)
{
    const sonde_chat_text *r = &w->rendered;
    int64_t bos = sonde_tokenizer_bos(w->tokenizer);
    sonde_encode_options options = {.struct_size = (uint32_t)sizeof options,
                                    .bos = SONDE_BOS_NO,
                                    .plain = r->plain};
    SONDE_TRY(sonde_tokenizer_encode(w->tokenizer, r->text, r->bytes, &options, &w->tokens, err));
    if (w->call->job.add_bos != SONDE_BOS_YES || (w->tokens.count > 0 && w->tokens.ids[0] == bos))
        return SONDE_OK;
    options.bos = SONDE_BOS_YES;
    return sonde_tokenizer_encode(w->tokenizer, r->text, r->bytes, &options, &w->tokens, err);
}

/* JSON with messages, as sonde_chat_render takes it. */
static sonde_status show_chat(work *w, const char *json, size_t bytes, sonde_error *err)
{
    sonde_chat_options options = {.struct_size = (uint32_t)sizeof options,
                                  .open = w->call->job.chat_open,
                                  .args = w->call->job.chat_args};
    SONDE_TRY(open_chat(w, err));
    SONDE_TRY(sonde_chat_render(w->chat, json, bytes, &options, &w->rendered, err));
    SONDE_TRY(encode_chat(w, err));
    free(w->segments);
    w->segments = calloc(w->tokens.count + 1, 1);
    if (!w->segments) return sonde_fail(err, SONDE_NO_MEMORY, "out of memory for the segments");
    for (size_t i = 0; i < w->tokens.count; i++)
        w->segments[i] = (uint8_t)sonde_segment_of(w->rendered.segments, w->tokens.text_start[i],
                                                   w->tokens.text_end[i]);
    w->ids = w->tokens.ids;
    w->count = w->tokens.count;
    w->in_chat = true;
    sonde_status status = show(w, err);
    w->in_chat = false;
    return status;
}

/* A plain text under --chat; `line` has the line's tools and arguments, or NULL. */
static sonde_status show_user(work *w, const char *text, size_t bytes, const json_t *line,
                              sonde_error *err)
{
    json_t *value = json_pack("{s:[{s:s, s:s%}]}", "messages", "role", "user", "content", text, bytes);
    static const char *const keys[] = {"tools", "chat"};
    for (size_t i = 0; value && i < CLI_COUNT(keys); i++)
        if (json_object_get(line, keys[i]))
            json_object_set(value, keys[i], json_object_get(line, keys[i]));
    char *json = value ? json_dumps(value, 0) : NULL;
    json_decref(value);
    if (!json) return sonde_fail(err, SONDE_BAD_PROMPT, "not valid UTF-8");
    sonde_status status = show_chat(w, json, strlen(json), err);
    free(json);
    return status;
}

static sonde_status show_text(work *w, const char *text, size_t bytes, sonde_error *err)
{
    if (w->call->job.chat) return show_user(w, text, bytes, NULL, err);
    sonde_encode_options options = {.struct_size = (uint32_t)sizeof options,
                                    .literal_special = w->call->job.special,
                                    .bos = (sonde_bos_mode)w->call->job.add_bos};
    SONDE_TRY(sonde_tokenizer_encode(w->tokenizer, text, bytes, &options, &w->tokens, err));
    w->ids = w->tokens.ids;
    w->count = w->tokens.count;
    return show(w, err);
}

/* ---- ids, as a person or this program writes them -------------------------------------------- */

static sonde_status push_id(work *w, long long id, sonde_error *err)
{
    if (id < 0 || id >= sonde_tokenizer_size(w->tokenizer))
        return sonde_fail(err, SONDE_BAD_PROMPT, "token id %lld: expected 0 to %lld", id,
                          (long long)sonde_tokenizer_size(w->tokenizer) - 1);
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 64;
        uint32_t *typed = realloc(w->typed, capacity * sizeof *typed);
        if (!typed)
            return sonde_fail(err, SONDE_NO_MEMORY, "out of memory for %zu tokens", capacity);
        w->typed = typed;
        w->capacity = capacity;
    }
    w->typed[w->count++] = (uint32_t)id;
    return SONDE_OK;
}

static sonde_status ids_of_json(work *w, const json_t *list, sonde_error *err)
{
    if (!json_is_array(list))
        return sonde_fail(err, SONDE_BAD_PROMPT, "expected \"tokens\": a list of ids");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id))
            return sonde_fail(err, SONDE_BAD_PROMPT, "entry %zu of the ids is no whole number", i);
        SONDE_TRY(push_id(w, json_integer_value(id), err));
    }
    return SONDE_OK;
}

static sonde_status ids_of_words(work *w, const char *text, sonde_error *err)
{
    while (*text) {
        char *end;
        text += strspn(text, " ,\t\r");
        if (!*text) break;
        errno = 0;
        long long id = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : -1;
        if (id < 0 || errno != 0 || !strchr(" ,\t\r", *end))
            return sonde_fail(err, SONDE_BAD_PROMPT, "'%.40s' is no token id", text);
        SONDE_TRY(push_id(w, id, err));
        text = end;
    }
    return SONDE_OK;
}

static sonde_status read_ids(work *w, const char *text, sonde_error *err)
{
    w->count = 0;
    if (*text != '{' && *text != '[') return ids_of_words(w, text, err);
    json_error_t why;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!root) return sonde_fail(err, SONDE_BAD_PROMPT, "no JSON: %s", why.text);
    const json_t *list = json_is_object(root) ? json_object_get(root, "tokens") : root;
    sonde_status status = ids_of_json(w, list, err);
    json_decref(root);
    return status;
}

static sonde_status show_ids(work *w, const char *text, sonde_error *err)
{
    SONDE_TRY(read_ids(w, text, err));
    w->ids = w->typed;
    return show(w, err);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static sonde_status show_object(work *w, const char *line, size_t bytes, sonde_error *err)
{
    json_error_t why;
    json_t *root = json_loadb(line, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!root) return sonde_fail(err, SONDE_BAD_PROMPT, "no JSON: %s", why.text);
    const json_t *text = json_object_get(root, "text");
    sonde_status status;
    if (json_is_string(text) && w->call->job.chat)
        status = show_user(w, json_string_value(text), json_string_length(text), root, err);
    else if (json_is_string(text))
        status = show_text(w, json_string_value(text), json_string_length(text), err);
    else if (json_object_get(root, "messages"))
        status = show_chat(w, line, bytes, err);
    else
        status = sonde_fail(err, SONDE_BAD_PROMPT, "expected an object with \"text\" or \"messages\"");
    json_decref(root);
    return status;
}

static bool is_blank(const char *line, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (line[i] != ' ' && line[i] != '\t') return false;
    return true;
}

static sonde_status show_line(work *w, char *line, size_t bytes, bool jsonl, sonde_error *err)
{
    if (bytes > 0 && line[bytes - 1] == '\n') bytes--;
    if (bytes > 0 && line[bytes - 1] == '\r') bytes--;
    if (is_blank(line, bytes)) {
        w->blank_lines++;
        return SONDE_OK;
    }
    if (w->call->own.decode) {
        line[bytes] = '\0';
        return show_ids(w, line, err);
    }
    return jsonl ? show_object(w, line, bytes, err) : show_text(w, line, bytes, err);
}

static sonde_status show_lines(work *w, FILE *in, const char *name, bool jsonl, sonde_error *err)
{
    char *line = NULL;
    size_t capacity = 0;
    char blank[48];
    long long number = 0;
    ssize_t n;
    sonde_status status = SONDE_OK;
    while (status == SONDE_OK && (n = getline(&line, &capacity, in)) >= 0) {
        size_t mark = ++number == 1 && n >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        status = show_line(w, line + mark, (size_t)n - mark, jsonl, err);
        if (status != SONDE_OK) sonde_error_prefix(err, "%s:%lld", name, number);
    }
    if (status == SONDE_OK && ferror(in))
        status = sonde_fail(err, SONDE_IO, "%s: %s", name, strerror(errno));
    free(line);
    if (status == SONDE_OK && w->blank_lines > 0)
        fprintf(stderr, "sonde: %s: %s left out\n", name,
                cli_format_things(w->blank_lines, "blank line", blank));
    return status;
}

static sonde_status show_file(work *w, const char *path, sonde_error *err)
{
    if (strcmp(path, "-") == 0) return show_lines(w, stdin, "standard input", true, err);
    const char *dot = strrchr(path, '.');
    bool jsonl = dot && strcmp(dot, ".jsonl") == 0;
    if (!jsonl && !(dot && strcmp(dot, ".txt") == 0))
        return sonde_fail(err, SONDE_USAGE, "%s: expected a .txt or .jsonl file, or -", path);
    FILE *in = fopen(path, "r");
    if (!in) return sonde_fail(err, SONDE_BAD_FILE, "%s: %s", path, strerror(errno));
    sonde_status status = show_lines(w, in, path, jsonl, err);
    fclose(in);
    return status;
}

/* A folder's tokenizer files need no model; a .gguf file or a cached model is opened as one. */
static sonde_status open_tokenizer(work *w, const char *path, sonde_error *err)
{
    struct stat facts;
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        SONDE_TRY(sonde_tokenizer_open(path, &w->own, err));
        w->tokenizer = w->own;
        return SONDE_OK;
    }
    sonde_model_options options = {.struct_size = (uint32_t)sizeof options, .shape_only = true};
    SONDE_TRY(sonde_model_open(path, &options, &w->model, err));
    return sonde_model_tokenizer(w->model, &w->tokenizer, err);
}

static sonde_status show_all(work *w, sonde_error *err)
{
    const sonde_option_list *prompts = &w->call->own.prompt;
    const char *rows = w->call->job.rows;
    bool keep;
    SONDE_TRY(open_tokenizer(w, w->call->words[0], err));
    if (rows) SONDE_TRY(sonde_rows_match(rows, NULL, NULL, 0, w->tokenizer, &keep, err));
    if (prompts->count == 0) return show_file(w, w->call->words[1], err);
    for (int32_t i = 0; i < prompts->count; i++) {
        const char *text = prompts->values[i];
        sonde_status status = w->call->own.decode ? show_ids(w, text, err)
                                                  : show_text(w, text, strlen(text), err);
        if (status != SONDE_OK) return sonde_error_prefix(err, "prompt %d", i + 1);
    }
    return SONDE_OK;
}

sonde_status cmd_tokens(cli_call *call, sonde_error *err)
{
    bool file = call->n_words == 2, given = call->own.prompt.count > 0;
    if (file == given)
        return sonde_fail(err, SONDE_USAGE, file ? "tokens: expected a file or -p TEXT, got both"
                                                 : "tokens: expected a file or -p TEXT");
    work w = {.call = call};
    sonde_status status = show_all(&w, err);
    free(w.keeps);
    free(w.typed);
    free(w.segments);
    sonde_chat_text_reset(&w.rendered);
    sonde_chat_destroy(&w.own_chat);
    sonde_tokens_reset(&w.tokens);
    sonde_tokenizer_destroy(&w.own);
    sonde_model_close(&w.model);
    return status;
}
