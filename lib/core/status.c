/* status.c - status codes and error messages. */
#include "core.h"

#include <string.h>

typedef struct status_entry {
    sonde_status status;
    int exit_code;
    const char *text;
} status_entry;

static const status_entry entries[] = {
#define ENTRY(name, number, exit_code, text) {SONDE_##name, exit_code, text},
    SONDE_STATUS_LIST(ENTRY)
#undef ENTRY
};

static const status_entry *find_entry(sonde_status status)
{
    for (size_t i = 0; i < SONDE_COUNT(entries); i++)
        if (entries[i].status == status) return &entries[i];
    return NULL;
}

const char *sonde_status_text(sonde_status status)
{
    const status_entry *entry = find_entry(status);
    return entry ? entry->text : "unknown status";
}

int sonde_status_exit_code(sonde_status status)
{
    const status_entry *entry = find_entry(status);
    return entry ? entry->exit_code : 4;
}

/* Texts from files end up in messages: no escape sequence may reach a terminal, and the cut at the
 * end of the buffer must not leave half a character. */
static void clean_message(char *message)
{
    size_t length = strlen(message);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)message[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) message[i] = '?';
    }
    for (size_t i = 0; (i += sonde_utf8_valid_prefix(message + i, length - i)) < length; i++)
        message[i] = '?';
}

sonde_status sonde_fail(sonde_error *err, sonde_status status, const char *format, ...)
{
    if (!err) return status;
    /* The arguments may point into err->message itself (a message passed on). */
    char message[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    clean_message(message);
    err->status = status;
    memcpy(err->message, message, sizeof message);
    return status;
}

sonde_status sonde_error_prefix(sonde_error *err, const char *format, ...)
{
    if (!err) return SONDE_INTERNAL;
    char prefix[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    char old[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    int length = snprintf(err->message, sizeof err->message, "%.200s: %.300s", prefix, old);
    (void)length;
    return err->status;
}

sonde_status sonde_no_memory(sonde_error *err, const char *what, size_t bytes)
{
    return sonde_fail(err, SONDE_NO_MEMORY, "out of memory: %s needs %zu bytes", what, bytes);
}
