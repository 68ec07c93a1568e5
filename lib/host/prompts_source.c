/* prompts_source.c - the lines of a prompt source, read block by block, one held at a time. */
#include "prompts_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)64 << 10)

/* ---- opening --------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n > m && strcasecmp(text + n - m, suffix) == 0;
}

static sonde_status open_path(sonde_line_source *s, const char *path, sonde_error *err)
{
    struct stat info;
    s->jsonl = ends_with(path, ".jsonl");
    if (!s->jsonl && !ends_with(path, ".txt"))
        return sonde_fail(err, SONDE_USAGE,
                          "prompts '%s': expected a file .jsonl (one JSON object a "
                          "line) or .txt (one text a line), or - (JSON lines from standard input)",
                          path);
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return sonde_fail(err, SONDE_BAD_FILE, "cannot open prompts %s: %s", path, strerror(errno));
    s->owns_fd = true;
    if (fstat(s->fd, &info) == 0 && S_ISDIR(info.st_mode))
        return sonde_fail(err, SONDE_BAD_FILE, "prompts %s: expected a file, got a folder", path);
    return SONDE_OK;
}

static sonde_status open_stream(sonde_line_source *s, const char *path, sonde_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    s->name = sonde_strdup(standard ? "standard input" : path);
    s->buffer = sonde_alloc_raw(BUFFER_BYTES, 1);
    if (!s->name || !s->buffer) return sonde_no_memory(err, "reading prompts", BUFFER_BYTES);
    if (!standard) return open_path(s, path, err);
    s->jsonl = true;
    s->fd = STDIN_FILENO;
    return SONDE_OK;
}

sonde_status sonde_line_source_open(const sonde_prompts_spec *spec, sonde_line_source *source,
                                    sonde_error *err)
{
    *source = (sonde_line_source){.fd = -1,
                                  .inline_texts = spec->inline_texts,
                                  .n_inline_texts = spec->path ? 0 : spec->n_inline_texts};
    sonde_status status = spec->path ? open_stream(source, spec->path, err) : SONDE_OK;
    if (status != SONDE_OK) sonde_line_source_close(source);
    return status;
}

void sonde_line_source_close(sonde_line_source *source)
{
    if (source->owns_fd) close(source->fd);
    sonde_free(source->name);
    sonde_free(source->buffer);
    sonde_free(source->line);
    *source = (sonde_line_source){.fd = -1};
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Fills the empty buffer; `ended` when there is nothing more. */
static sonde_status refill(sonde_line_source *s, sonde_error *err)
{
    ssize_t n;
    do n = read(s->fd, s->buffer, BUFFER_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return sonde_fail(err, SONDE_IO, "reading prompts from %s: %s", s->name, strerror(errno));
    s->at = 0;
    s->filled = (size_t)n;
    s->ended = n == 0;
    return SONDE_OK;
}

/* Adds bytes to the line; beyond the bound they are dropped and the line is marked. */
static sonde_status extend(sonde_line_source *s, const char *bytes, size_t n, sonde_error *err)
{
    if (n > SONDE_PROMPT_MAX_LINE - s->length) {
        s->over = true;
        return SONDE_OK;
    }
    if (!sonde_grow(&s->line, &s->capacity, s->length + n + 1, 1))
        return sonde_no_memory(err, "a line of the prompts", s->length + n + 1);
    memcpy(s->line + s->length, bytes, n);
    s->length += n;
    s->line[s->length] = '\0';
    return SONDE_OK;
}

/* Passes over a byte order mark at the beginning, and takes CR off the end. */
static void trim(sonde_line_source *s)
{
    s->mark_bytes = 0;
    if (!s->began && s->length >= 3 && memcmp(s->line, "\xEF\xBB\xBF", 3) == 0) s->mark_bytes = 3;
    s->began = true;
    if (s->length > s->mark_bytes && s->line[s->length - 1] == '\r') s->line[--s->length] = '\0';
}

/* The next line as it stands into s->line. A last line needs no newline; an empty rest is none. */
static sonde_status read_line(sonde_line_source *s, bool *end, sonde_error *err)
{
    bool complete = false, any = false;
    s->length = 0;
    s->over = false;
    SONDE_TRY(extend(s, "", 0, err));
    while (!complete && !s->ended) {
        if (s->at == s->filled) {
            SONDE_TRY(refill(s, err));
            continue;
        }
        const char *begin = s->buffer + s->at, *newline = memchr(begin, '\n', s->filled - s->at);
        size_t n = newline ? (size_t)(newline - begin) : s->filled - s->at;
        if (!s->over) SONDE_TRY(extend(s, begin, n, err));
        s->at += n + (newline != NULL);
        complete = newline != NULL;
        any = true;
    }
    *end = !any;
    if (any) s->number++;
    trim(s);
    return SONDE_OK;
}

static bool is_blank(const sonde_line_source *s)
{
    const char *text = s->line + s->mark_bytes;
    return !s->over && text[strspn(text, " \t")] == '\0' &&
           strlen(text) == s->length - s->mark_bytes;
}

static sonde_status next_inline(sonde_line_source *s, sonde_source_line *line, bool *end)
{
    *end = (int64_t)s->number >= s->n_inline_texts;
    if (*end) return SONDE_OK;
    const char *text = s->inline_texts[s->number++];
    *line = (sonde_source_line){.text = text, .bytes = strlen(text), .number = s->number};
    return SONDE_OK;
}

/* Reads on to a line that is not blank; blank ones in between are counted in *blanks. */
static sonde_status read_filled(sonde_line_source *s, uint64_t *blanks, bool *end, sonde_error *err)
{
    *blanks = 0;
    for (;;) {
        SONDE_TRY(read_line(s, end, err));
        if (*end || !is_blank(s)) return SONDE_OK;
        ++*blanks;
    }
}

sonde_status sonde_line_source_next(sonde_line_source *s, sonde_source_line *line, bool *end,
                                    sonde_error *err)
{
    if (!s->name) return next_inline(s, line, end);
    *end = false;
    bool held = s->held_blanks > 0;
    if (held) {
        s->held_blanks--;
    } else {
        uint64_t blanks;
        SONDE_TRY(read_filled(s, &blanks, end, err));
        bool bad = s->jsonl && !*end;
        s->blank_lines += bad ? 0 : blanks;
        s->held_blanks = bad ? blanks : 0;
        if (*end) return SONDE_OK;
    }
    *line = (sonde_source_line){
        .number = s->number - s->held_blanks, .blank = s->held_blanks > 0, .text = ""};
    if (line->blank) return SONDE_OK;
    line->text = s->line + s->mark_bytes;
    line->bytes = s->length - s->mark_bytes;
    line->mark_bytes = s->mark_bytes;
    line->over = s->over;
    return SONDE_OK;
}
