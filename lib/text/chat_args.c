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
    const int day = parts.tm_mday; /* the 31st of February becomes a day of March */
    *seconds = (int64_t)timegm(&parts);
    return parts.tm_mday == day;
}

bool sonde_chat_date(const json_t *args, int64_t *seconds)
{
    const char *text = json_string_value(json_object_get(args, "date"));
    return text && read_date(text, seconds);
}

const char *sonde_chat_check_args(const json_t *args)
{
    const json_t *tools = json_object_get(args, "tools");
    int64_t seconds;
    if (!json_is_object(args)) return "expected an object of template arguments";
    if (json_object_get(args, "date") && !sonde_chat_date(args, &seconds))
        return "date: expected \"YYYY-MM-DD\" or \"YYYY-MM-DDTHH:MM:SS\"";
    if (tools && !json_is_array(tools) && !json_is_null(tools)) return "tools: expected a list";
    if (json_object_get(args, "messages")) return "messages are no argument: they belong to the prompt";
    if (json_object_get(args, "add_generation_prompt"))
        return "add_generation_prompt: --chat-open says whether the assistant's turn is begun";
    return NULL;
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
    *args = text ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why) : json_object();
    if (!*args && text)
        return sonde_fail(err, SONDE_USAGE, "--chat-args: expected a JSON object, got '%.60s': %s", text,
                          why.text);
    if (!*args) return sonde_no_memory(err, "--chat-args", 64);
    const char *wrong = json_is_object(*args) ? sonde_chat_check_args(*args) : NULL;
    sonde_status status = SONDE_OK;
    if (!json_is_object(*args))
        status = sonde_fail(err, SONDE_USAGE, "--chat-args: expected a JSON object, got '%.60s'", text);
    else if (wrong)
        status = sonde_fail(err, SONDE_USAGE, "--chat-args: %s", wrong);
    else if (!json_object_get(*args, "date") && json_object_set_new(*args, "date", today()) != 0)
        status = sonde_no_memory(err, "--chat-args", 64);
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
