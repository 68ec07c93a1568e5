/*
 * sonde/options.h - options that a person types, from one table.
 *
 * A table of `sonde_option` drives parsing, bounds, --help, near-name help and what a capture file
 * records, so that they never disagree. The same table type serves the command line and the
 * options of probes. A table ends with an entry whose name is NULL. Values are written into a plain
 * struct at `offset`.
 */
#ifndef SONDE_OPTIONS_H
#define SONDE_OPTIONS_H

#include "sonde/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sonde_option_type {
    SONDE_OPTION_FLAG = 0,  /* bool at offset */
    SONDE_OPTION_INT = 1,   /* int64_t */
    SONDE_OPTION_FLOAT = 2, /* double */
    SONDE_OPTION_TEXT = 3,  /* const char *: borrowed from the argument that was parsed */
    SONDE_OPTION_CHOICE = 4, /* int32_t: index into choices */
    SONDE_OPTION_BYTES = 5, /* uint64_t: "64M", "1.5G" */
    SONDE_OPTION_LIST = 6,  /* sonde_option_list: repeatable text */
} sonde_option_type;

/* Values of a repeatable option, in order; the strings are borrowed. */
#define SONDE_OPTION_LIST_MAX 256
typedef struct sonde_option_list {
    int32_t count;
    const char *values[SONDE_OPTION_LIST_MAX];
} sonde_option_list;

#define SONDE_OPTION_CONTENT 1u /* decides what is in the file: recorded in /manifest */
#define SONDE_OPTION_RUN 2u     /* does not: recorded in /run */
#define SONDE_OPTION_LATER 4u   /* known by name, refused until it is built */

typedef struct sonde_option {
    const char *name; /* long name without dashes */
    const char *help; /* one line */
    sonde_option_type type;
    size_t offset;       /* of the value in the options struct */
    const char *fallback; /* default as a person would type it; NULL: leave zero */
    double min, max;     /* bounds of INT and FLOAT, inclusive; both 0: none */
    const char *const *choices; /* NULL-terminated, for CHOICE; the first is the default */
    uint32_t flags;
    const char *value_name; /* for --help: "N", "FILE", "SEL" */
} sonde_option;

/* Fills every option's default into *target. [any thread] */
SONDE_API sonde_status sonde_options_defaults(const sonde_option *table, void *target,
                                              sonde_error *err);
/* Sets one option from text (NULL text: a flag given alone). Errors are USAGE and name the option,
 * the bounds or choices, and what was given; an unknown name gives UNKNOWN_NAME and the nearest
 * one; an option marked LATER gives UNSUPPORTED. TEXT and LIST values are kept as pointers: `text`
 * must outlive *target. [one thread at a time per object] */
SONDE_API sonde_status sonde_options_set(const sonde_option *table, void *target, const char *name,
                                         const char *text, sonde_error *err);
/* The entry of a name, or NULL. */
SONDE_API const sonde_option *sonde_options_find(const sonde_option *table, const char *name);
/* Formats the present value of an option as a person would type it into buffer (always
 * terminated); lists are joined with " ". Returns buffer. */
SONDE_API const char *sonde_options_format(const sonde_option *option, const void *target,
                                           char *buffer, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
