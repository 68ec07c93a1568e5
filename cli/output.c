/* output.c - what goes to stdout and stderr, and how numbers and foreign texts are written. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void log_line(void *context, sonde_log_level level, const char *line)
{
    static const char *const names[] = {"error: ", "warning: ", "", ""};
    (void)context;
    fprintf(stderr, "sonde: %s%s\n", names[level], line);
}

void cli_log_start(const cli_call *call)
{
    sonde_log_level most = SONDE_LOG_WARN;
    if (call->job.quiet) most = SONDE_LOG_ERROR;
    if (call->job.verbose) most = SONDE_LOG_INFO;
    sonde_log_set(log_line, NULL, most);
}

/* True for a pipe that nobody reads any more. */
static bool reader_went_away(int fd)
{
    struct pollfd pipe_end = {.fd = fd, .events = POLLOUT};
    return poll(&pipe_end, 1, 0) == 1 && (pipe_end.revents & POLLERR);
}

/* errno of the first write to stdout that failed, UNTOLD where stdio kept none; 0: all is well. A
 * later flush would not tell it again. */
#define UNTOLD (-1)
static int stdout_error;

bool cli_stdout_works(void)
{
    if (stdout_error != 0) return false;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    stdout_error = errno ? errno : UNTOLD;
    return false;
}

sonde_status cli_flush(sonde_error *err)
{
    if (cli_stdout_works()) return SONDE_OK;
    if (stdout_error == EPIPE || reader_went_away(STDOUT_FILENO)) {
        err->message[0] = '\0';
        return SONDE_IO;
    }
    if (stdout_error == UNTOLD) return sonde_fail(err, SONDE_IO, "standard output took not all");
    bool full = stdout_error == ENOSPC || stdout_error == EFBIG || stdout_error == EDQUOT;
    return sonde_fail(err, full ? SONDE_DISK_FULL : SONDE_IO, "standard output: %s",
                      strerror(stdout_error));
}

/* Bytes of the character at text[0..n), 0 when it is none. */
static size_t character_bytes(const char *text, size_t n)
{
    for (size_t length = 1; length <= 4 && length <= n; length++)
        if (sonde_utf8_valid_prefix(text, length) == length) return length;
    return 0;
}

int cli_print_clean(FILE *out, const char *text, size_t bytes)
{
    int columns = 0;
    for (size_t i = 0, n; i < bytes; i += n) {
        unsigned char c = (unsigned char)text[i];
        n = character_bytes(text + i, bytes - i);
        bool control = c < 0x20 || c == 0x7F ||
                       (n == 2 && c == 0xC2 && (unsigned char)text[i + 1] < 0xA0);
        if (c == '\n' || c == '\t') {
            columns += fprintf(out, c == '\n' ? "\\n" : "\\t");
        } else if (n == 0 || control) {
            columns += fprintf(out, "\\x%02X", c);
            n = 1;
        } else {
            fwrite(text + i, 1, n, out);
            columns++;
        }
    }
    return columns;
}

sonde_status cli_print_json(json_t *value, bool document, sonde_error *err)
{
    if (!value) return sonde_fail(err, SONDE_NO_MEMORY, "out of memory for JSON output");
    size_t flags = JSON_REAL_PRECISION(9);
    json_dumpf(value, stdout, flags | (document ? JSON_INDENT(2) : 0));
    json_decref(value);
    putchar('\n');
    return SONDE_OK;
}

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *cli_json_text(const char *text, size_t bytes)
{
    if (!text) return json_null();
    if (sonde_utf8_valid_prefix(text, bytes) == bytes) return json_stringn(text, bytes);
    char *clean = malloc(bytes * 6 + 1);
    size_t used = 0;
    if (!clean) return NULL;
    for (size_t i = 0; i < bytes;) {
        size_t good = sonde_utf8_valid_prefix(text + i, bytes - i);
        memcpy(clean + used, text + i, good);
        used += good;
        i += good;
        if (i < bytes) used += (size_t)sprintf(clean + used, "<0x%02X>", (unsigned char)text[i++]);
    }
    json_t *value = json_stringn(clean, used);
    free(clean);
    return value;
}

json_t *cli_json_string(const char *text)
{
    return cli_json_text(text, text ? strlen(text) : 0);
}

const char *cli_format_seconds(double seconds, char buffer[32])
{
    if (seconds < 0.01)
        snprintf(buffer, 32, "under 0.01 s");
    else if (seconds < 10)
        snprintf(buffer, 32, "%.2f s", seconds);
    else if (seconds < 120)
        snprintf(buffer, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(buffer, 32, "%.0f min", seconds / 60);
    else
        snprintf(buffer, 32, "%.1f h", seconds / 3600);
    return buffer;
}

const char *cli_format_count(uint64_t n, char buffer[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) buffer[used++] = ',';
        buffer[used++] = digits[i];
    }
    buffer[used] = '\0';
    return buffer;
}

const char *cli_format_things(uint64_t n, const char *thing, char buffer[48])
{
    char count[32];
    snprintf(buffer, 48, "%s %.14s%s", cli_format_count(n, count), thing, n == 1 ? "" : "s");
    return buffer;
}
