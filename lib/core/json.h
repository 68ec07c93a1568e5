/*
 * json.h - jansson with sonde's manners: bounded input, no duplicate keys, errors that name the
 * file, line and column. json_t comes from <jansson.h>.
 */
#ifndef SONDE_CORE_JSON_H
#define SONDE_CORE_JSON_H

#include "core.h"

#include <jansson.h>

/* Parses a whole file (at most `max_bytes`). *root is given to the caller (json_decref). `status`
 * is what a malformed file means to the caller (BAD_MODEL, BAD_TOKENIZER, ...). [any thread] */
sonde_status sonde_json_load(const char *path, size_t max_bytes, sonde_status status, json_t **root,
                             sonde_error *err);
/* Parses `bytes` of text; `name` stands for the file in messages. NaN and infinities are refused
 * by the JSON grammar, duplicate keys and nesting over 2048 by jansson. */
sonde_status sonde_json_parse(const char *text, size_t bytes, const char *name, sonde_status status,
                              json_t **root, sonde_error *err);
/* The same with jansson's decoding flags added: JSON_ALLOW_NUL for texts of people,
 * JSON_DECODE_INT_AS_REAL for files whose integers may be huge and do not matter. */
sonde_status sonde_json_parse_flags(const char *text, size_t bytes, size_t flags, const char *name,
                                    sonde_status status, json_t **root, sonde_error *err);
sonde_status sonde_json_load_flags(const char *path, size_t max_bytes, size_t flags,
                                   sonde_status status, json_t **root, sonde_error *err);

#endif
