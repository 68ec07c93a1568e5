/* hostile.c - walks tests/goldens/hostile/cases.json. */
#include "hostile.h"

#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER "tests/goldens/hostile"

static const char *text(const json_t *entry, const char *key)
{
    const char *value = json_string_value(json_object_get(entry, key));
    assert_non_null(value);
    return value;
}

static void run_case(const char *path, hostile_case *c, void (*check)(const hostile_case *))
{
    sonde_error err = {0};
    char *data;
    if (sonde_read_file(path, 1 << 20, &data, &c->bytes, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    void *exact = malloc(c->bytes ? c->bytes : 1);
    assert_non_null(exact);
    memcpy(exact, data, c->bytes);
    sonde_free(data);
    c->path = path;
    c->data = exact;
    check(c);
    free(exact);
}

int hostile_each(const char *format, void (*check)(const hostile_case *))
{
    sonde_error err = {0};
    json_t *cases;
    int count = 0;
    if (sonde_json_load(FOLDER "/cases.json", 1 << 20, SONDE_BAD_FILE, &cases, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    bool index = strcmp(format, "index") == 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *entry = json_array_get(cases, i);
        if (strcmp(text(entry, "format"), format) != 0) continue;
        hostile_case c = {.file = text(entry, "file"),
                          .verdict = text(entry, "verdict"),
                          .level = text(entry, "level"),
                          .why = text(entry, "why")};
        char path[256];
        snprintf(path, sizeof path, "%s%s/%s", index ? FOLDER : "tests/fuzz/corpus/fuzz_",
                 index ? "" : format, c.file);
        run_case(path, &c, check);
        count++;
    }
    json_decref(cases);
    return count;
}

static void check_message(const hostile_case *c, const sonde_error *err)
{
    size_t length = strlen(err->message);
    if (length == 0) fail_msg("%s: refused without a message", c->file);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)err->message[i] < 0x20 || err->message[i] == 0x7F)
            fail_msg("%s: a control character in the message", c->file);
    if (sonde_utf8_valid_prefix(err->message, length) != length)
        fail_msg("%s: the message is no UTF-8", c->file);
}

void hostile_judge(const hostile_case *c, sonde_status status, const sonde_error *err)
{
    if (status != SONDE_OK) check_message(c, err);
    if (strcmp(c->verdict, "accept") == 0 && status != SONDE_OK)
        fail_msg("%s (%s): refused: %s", c->file, c->why, err->message);
    if (strcmp(c->verdict, "refuse") == 0 && status == SONDE_OK)
        fail_msg("%s (%s): accepted", c->file, c->why);
}
