/* chat_args.c - --chat-args: variables of the template, with the date that it is rendered on. */
#include "chat_internal.h"

#include <time.h>

/* "2024-07-26" or "2024-07-26T09:30:00" (a space may stand for the T). */
static bool read_date(const char *text, int64_t *seconds)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%d", &parts);
    if (end && (*end == 'T' || *end == ' ')) end = strptime(end + 1, "%H:%M:%S", &parts);
    if (!end || *end) return false;
    *seconds = (int64_t)timegm(&parts);
    return true;
}

bool sonde_chat_date(const json_t *args, int64_t *seconds)
{
    const char *text = json_string_value(json_object_get(args, "date"));
    return text && read_date(text, seconds);
}

/* Today on this machine's calendar. */
static json_t *today(void)
{
    char text[32];
    time_t now = time(NULL);
    struct tm parts;
    localtime_r(&now, &parts);
    strftime(text, sizeof text, "%Y-%m-%d", &parts);
    return json_string(text);
}

sonde_status sonde_chat_read_args(const char *text, json_t **args, sonde_error *err)
{
    json_error_t why;
    int64_t seconds;
    *args = text ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why) : json_object();
    if (!*args && text)
        return sonde_fail(err, SONDE_USAGE, "--chat-args: expected a JSON object, got '%.60s': %s", text,
                          why.text);
    if (!*args) return sonde_no_memory(err, "--chat-args", 64);
    const json_t *date = json_object_get(*args, "date"), *tools = json_object_get(*args, "tools");
    sonde_status status = SONDE_OK;
    if (!json_is_object(*args))
        status = sonde_fail(err, SONDE_USAGE, "--chat-args: expected a JSON object, got '%.60s'", text);
    else if (date && !sonde_chat_date(*args, &seconds))
        status = sonde_fail(err, SONDE_USAGE, "--chat-args: date: expected \"YYYY-MM-DD\" or "
                            "\"YYYY-MM-DDTHH:MM:SS\"");
    else if (tools && !json_is_array(tools) && !json_is_null(tools))
        status = sonde_fail(err, SONDE_USAGE, "--chat-args: tools: expected a list");
    else if (json_object_get(*args, "messages"))
        status = sonde_fail(err, SONDE_USAGE, "--chat-args: messages belong to the prompts");
    else if (!date)
        json_object_set_new(*args, "date", today());
    if (status != SONDE_OK) {
        json_decref(*args);
        *args = NULL;
    }
    return status;
}

json_t *sonde_chat_user(const char *text, size_t bytes)
{
    return json_pack("[{s:s, s:s%}]", "role", "user", "content", text, bytes);
}
