/* job_options_check.c - option texts to what they mean, and a first look at the prompts' file. */
#include "job_internal.h"

#include "core/cpu.h"
#include "text/chat.h"

#include <string.h>

/* ---- lists of words ------------------------------------------------------------------------------------ */

typedef struct word {
    const char *name;
    uint32_t bit;
} word;

static const word label_words[] = {{"logprob", SONDE_LABEL_LOGPROB},
                                   {"entropy", SONDE_LABEL_ENTROPY},
                                   {"rank", SONDE_LABEL_RANK},
                                   {NULL, 0}};
#define OFF_WORD(name, bit, text, help) {text, SONDE_OFF_##name},
static const word off_words[] = {{"all", SONDE_OFF_ALL}, SONDE_OFF_LIST(OFF_WORD){NULL, 0}};
#undef OFF_WORD

static sonde_status unknown_word(const char *option, const char *given, const word *words,
                                 sonde_error *err)
{
    const char *names[SONDE_COUNT(off_words)] = {NULL};
    sonde_string list = {0};
    for (size_t i = 0; words[i].name; i++) {
        names[i] = words[i].name;
        sonde_string_format(&list, "%s%s", i ? ", " : "", words[i].name);
    }
    const char *near = sonde_near_name(given, names);
    sonde_status status = sonde_fail(err, SONDE_USAGE, "--%s: '%s': expected %s%s%s%s", option, given,
                                     list.failed ? "another" : list.data,
                                     near ? "; did you mean '" : "", near ? near : "",
                                     near ? "'?" : "");
    sonde_string_reset(&list);
    return status;
}

static sonde_status read_words(const char *option, const char *text, const word *words,
                               uint32_t *bits, sonde_error *err)
{
    char **pieces;
    int64_t count;
    *bits = 0;
    if (!text || !*text) return SONDE_OK;
    SONDE_TRY(sonde_split_commas(text, &pieces, &count, err));
    sonde_status status = SONDE_OK;
    for (int64_t i = 0; i < count; i++) {
        const word *w = words;
        while (w->name && strcmp(w->name, pieces[i]) != 0) w++;
        if (status == SONDE_OK && !w->name) status = unknown_word(option, pieces[i], words, err);
        *bits |= w->bit;
        sonde_free(pieces[i]);
    }
    sonde_free(pieces);
    return status;
}

/* ---- single values ------------------------------------------------------------------------------------- */

static sonde_status read_codec(const char *text, sonde_codec *codec, sonde_error *err)
{
    static const char *const names[] = {"deflate", "raw", "zstd", "zstd-lz", NULL};
    *codec = SONDE_CODEC_DEFLATE;
    if (!text || strcmp(text, "deflate") == 0) return SONDE_OK;
    *codec = SONDE_CODEC_RAW;
    if (strcmp(text, "raw") == 0) return SONDE_OK;
    bool later = strncmp(text, "zstd", 4) == 0 || strstr(text, "round:") != NULL;
    if (later)
        return sonde_fail(err, SONDE_UNSUPPORTED, "--codec %s is not built yet; there are deflate and "
                          "raw", text);
    const char *near = sonde_near_name(text, names);
    return sonde_fail(err, SONDE_USAGE, "--codec: '%s': expected deflate or raw%s%s%s", text,
                      near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static sonde_status read_count(const char *option, const char *text, int32_t *count,
                               sonde_error *err)
{
    int64_t value;
    *count = 0;
    if (!text || strcmp(text, "auto") == 0) return SONDE_OK;
    if (!sonde_parse_i64(text, 1, 256, &value))
        return sonde_fail(err, SONDE_USAGE, "--%s: '%s': expected auto or a number from 1 to 256",
                          option, text);
    *count = (int32_t)value;
    return SONDE_OK;
}

/* About four bytes of text are a token. */
static sonde_schedule_work work_at_hand(const sonde_job *job)
{
    const sonde_job_options *o = &job->options;
    const sonde_source_scan *scan = &job->scan;
    sonde_schedule_work work = {.n_sequences = scan->known ? scan->lines : -1,
                                .max_new = o->max_new_tokens, .batch_sequences = o->batch};
    if (o->limit > 0 && (work.n_sequences < 0 || o->limit < work.n_sequences))
        work.n_sequences = o->limit;
    if (scan->known && scan->lines > 0)
        work.prompt_tokens = (int64_t)(scan->bytes / (4 * (uint64_t)scan->lines)) + 1;
    if (scan->own_max_new > 0 && scan->own_max_new < UINT32_MAX)
        work.max_new = SONDE_MAX(work.max_new, (int64_t)scan->own_max_new);
    return work;
}

/* auto where nothing was given; one of the two given: the other gets the cores that are left. */
static sonde_status read_workers(sonde_job *job, sonde_error *err)
{
    const sonde_job_options *o = &job->options;
    int32_t workers, threads, cores = sonde_cpu_count();
    SONDE_TRY(read_count("workers", o->workers, &workers, err));
    SONDE_TRY(read_count("threads", o->threads, &threads, err));
    sonde_schedule_work work = work_at_hand(job);
    job->n_sequences = SONDE_MAX(work.n_sequences, 0);
    sonde_schedule_auto(&work, &job->workers, &job->threads, job->why);
    if (workers == 0 && threads == 0) return SONDE_OK;
    job->workers = workers ? workers : SONDE_MAX(1, cores / threads);
    job->threads = threads ? threads : SONDE_MAX(1, cores / workers);
    snprintf(job->why, sizeof job->why, "as asked for, on %d core%s", cores, cores == 1 ? "" : "s");
    return SONDE_OK;
}

sonde_status sonde_job_options_read(sonde_job *job, sonde_error *err)
{
    const sonde_job_options *o = &job->options;
    sonde_rows_expr *rows = NULL;
    SONDE_TRY(read_words("labels", o->labels, label_words, &job->labels, err));
    SONDE_TRY(read_words("off", o->off, off_words, &job->off, err));
    SONDE_TRY(read_codec(o->codec, &job->codec, err));
    SONDE_TRY(sonde_as_check(o->as, err));
    SONDE_TRY(sonde_chat_read_args(o->chat_args, &job->chat_args, err));
    if (o->rows) SONDE_TRY(sonde_rows_compile(o->rows, &rows, err));
    sonde_rows_destroy(&rows);
    return read_workers(job, err);
}

/* ---- the source ------------------------------------------------------------------------------------------ */

/* The number behind a key of max_new_tokens, at least 1; UINT64_MAX where it is spelled otherwise. */
static uint64_t own_number(const char *at, const char *end)
{
    uint64_t number = 0;
    if (at < end && *at == '"') at++;
    while (at < end && (*at == ' ' || *at == ':')) at++;
    if (at == end || *at < '0' || *at > '9') return UINT64_MAX;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        number = number < UINT32_MAX ? 10 * number + (uint64_t)(*at - '0') : UINT32_MAX;
    return SONDE_MAX(number, 1);
}

static void scan_line(sonde_source_scan *scan, const char *line, size_t bytes)
{
    static const char own[] = "max_new_tokens";
    const char *at = line, *end = line + bytes;
    scan->lines++;
    scan->bytes += bytes;
    scan->longest_line = SONDE_MAX(scan->longest_line, bytes);
    while ((at = memmem(at, (size_t)(end - at), own, sizeof own - 1)) != NULL) {
        at += sizeof own - 1;
        scan->own_max_new = SONDE_MAX(scan->own_max_new, own_number(at, end));
    }
    if (!scan->messages && memmem(line, bytes, "\"messages\"", 10)) scan->messages = true;
}

#define SCAN_BYTES ((size_t)4 << 20) /* of a mapped file that stay in memory while it is read */

static void scan_text(sonde_source_scan *scan, const char *text, size_t bytes)
{
    size_t kept = 0;
    for (size_t at = 0; at < bytes;) {
        if (at - kept > SCAN_BYTES) {
            sonde_pages_release(text + kept, at - kept);
            kept = at;
        }
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t n = end ? (size_t)(end - (text + at)) : bytes - at;
        scan_line(scan, text + at, n);
        at += n + 1;
    }
}

/* Lines and the longest of them: bounds for the plan, known before a prompt is read. */
sonde_status sonde_job_scan(sonde_job *job, sonde_error *err)
{
    const sonde_job_spec *spec = &job->spec;
    sonde_source_scan *scan = &job->scan;
    scan->known = true;
    if (!spec->prompts) {
        for (int64_t i = 0; i < spec->n_inline_texts; i++)
            scan_line(scan, spec->inline_texts[i], strlen(spec->inline_texts[i]));
        scan->own_max_new = 0;
        scan->messages = false;
        return SONDE_OK;
    }
    scan->known = strcmp(spec->prompts, "-") != 0;
    if (!scan->known) return SONDE_OK;
    sonde_mapping mapping;
    SONDE_TRY(sonde_mapping_open(spec->prompts, &mapping, err));
    scan_text(scan, (const char *)mapping.data, mapping.bytes);
    sonde_mapping_close(&mapping);
    return SONDE_OK;
}
