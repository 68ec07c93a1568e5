/*
 * cli.h - what the verbs of the program share.
 *
 * A verb is an entry of cli_verbs (verbs.c): its words, which options of which tables it takes, and
 * a function. main.c finds the verb, args.c parses its line into a cli_call by those tables, the
 * function runs, and main.c turns its status into one message on stderr and an exit code. A verb
 * writes to stdout only what a program may want to read; all else goes to stderr.
 */
#ifndef SONDE_CLI_H
#define SONDE_CLI_H

#include "analysis/analysis.h"
#include "sonde/job.h"
#include "sonde/reader.h"

#include <jansson.h>
#include <stdio.h>

#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CLI_WORDS 8 /* positional words of a line, more than any verb takes */

/* Options of the program itself; those of jobs and of diff have tables of their own. */
typedef struct cli_options {
    sonde_option_list prompt; /* -p */
    const char *output;       /* -o */
    bool help, decode, skip_special;
    int64_t rounds;           /* bench */
    const char *bench_threads;
    int64_t bench_tokens;
} cli_options;
extern const sonde_option cli_options_table[];

typedef struct cli_verb cli_verb;

/* One line of the program, parsed. Texts are argv's. */
typedef struct cli_call {
    const cli_verb *verb;
    int32_t n_words;
    const char *words[CLI_WORDS];
    cli_options own;
    sonde_job_options job;
    sonde_diff_options diff;
} cli_call;

struct cli_verb {
    const char *name;
    const char *words;   /* "MODEL [PROMPTS]"; NULL: the verb is not built yet */
    int32_t min_words, max_words;
    const char *summary; /* one line */
    const char *about;   /* paragraphs of --help, or NULL */
    const char *example; /* lines of --help, or NULL */
    const char *own, *job, *diff; /* names of options in each table, spaces between; "*": all */
    const char *defaults; /* "NAME=VALUE ...": defaults that are not the table's; or NULL */
    sonde_status (*run)(cli_call *call, sonde_error *err);
};
/* All verbs, in the order of --help; the last has no name. */
extern const cli_verb cli_verbs[];

sonde_status cmd_capture(cli_call *call, sonde_error *err);
sonde_status cmd_generate(cli_call *call, sonde_error *err);
sonde_status cmd_points(cli_call *call, sonde_error *err);
sonde_status cmd_plan(cli_call *call, sonde_error *err);
sonde_status cmd_info(cli_call *call, sonde_error *err);
sonde_status cmd_tokens(cli_call *call, sonde_error *err);
sonde_status cmd_probes(cli_call *call, sonde_error *err);
sonde_status cmd_diff(cli_call *call, sonde_error *err);
sonde_status cmd_bench(cli_call *call, sonde_error *err);
sonde_status cli_model_info(const cli_call *call, sonde_error *err); /* sonde info MODEL */

/* --- args.c, help.c --------------------------------------------------------------------------- */

/* The option tables of a verb, with where each one's values go. */
#define CLI_TABLES 3
typedef struct cli_table {
    const sonde_option *options;
    const char *names; /* that the verb takes */
    void *target;
} cli_table;
void cli_verb_tables(cli_call *call, cli_table tables[CLI_TABLES]);
/* True when the verb takes this option of the table. */
bool cli_takes(const cli_table *table, const sonde_option *option);
/* The option's letter, or 0. */
char cli_letter(const sonde_option *option);
/* The verb's own default of an option in `buffer`, or the table's; NULL: none. */
const char *cli_default(const cli_verb *verb, const sonde_option *option, char buffer[64]);

/* Parses what follows the verb into *call. USAGE, UNKNOWN_NAME, UNSUPPORTED as options.h says. With
 * --help nothing else is checked. */
sonde_status cli_parse(const cli_verb *verb, int argc, char **argv, cli_call *call,
                       sonde_error *err);
const cli_verb *cli_find_verb(const char *name); /* or NULL */
void cli_print_help(FILE *out);
void cli_print_verb_help(const cli_verb *verb, FILE *out);

/* --- output.c --------------------------------------------------------------------------------- */

/* Sends the library's warnings (-v: also what it tells) to stderr. */
void cli_log_start(const cli_call *call);
/* Flushes stdout; false when it takes no more. */
bool cli_stdout_works(void);
/* The same as a status, IO or DISK_FULL; the message is empty where stdout's reader went away. */
sonde_status cli_flush(sonde_error *err);
/* Writes bytes that came from a file or a model so that a terminal can do nothing but show them:
 * control characters and broken UTF-8 as \n, \t or \xNN. Returns the columns used, about. */
int cli_print_clean(FILE *out, const char *text, size_t bytes);
/* Prints a JSON value to stdout, indented for documents, on one line for records; releases it.
 * NULL: NO_MEMORY. */
sonde_status cli_print_json(json_t *value, bool document, sonde_error *err);
/* Numbers that JSON has no word for become null. */
json_t *cli_json_real(double value);
/* Text with broken UTF-8 bytes as <0xNN>; NULL becomes null. */
json_t *cli_json_text(const char *text, size_t bytes);
json_t *cli_json_string(const char *text);
const char *cli_format_seconds(double seconds, char buffer[32]);
const char *cli_format_count(uint64_t n, char buffer[32]); /* 1234567 as 1,234,567 */
/* "1 row", "2,000 rows". */
const char *cli_format_things(uint64_t n, const char *thing, char buffer[48]);

/* --- job.c ------------------------------------------------------------------------------------ */

/* The job of a line: MODEL, and PROMPTS or -p. USAGE when there are both or neither. */
sonde_status cli_job_spec(const cli_call *call, sonde_job_spec *spec, sonde_error *err);
/* On stderr: prompts that were not run as they are; where the time went. */
void cli_print_notes(const sonde_job_summary *summary);
void cli_print_timings(const sonde_job_summary *summary);
json_t *cli_summary_json(const sonde_job_summary *summary); /* given to the caller */

/* --- progress.c ------------------------------------------------------------------------------- */

/* Progress on stderr and the first Ctrl-C, for one job. A terminal gets one line that is refreshed,
 * anything else a line every few seconds. A second Ctrl-C ends the process at once. */
typedef struct cli_progress {
    bool quiet, terminal, shown;
    double last;
    bool stopped; /* a callback of the verb wants the job to end */
    sonde_job_progress latest;
} cli_progress;
void cli_progress_start(cli_progress *progress, bool quiet);
void cli_progress_stop(cli_progress *progress);
/* The callbacks of sonde_job_watch; their context is a cli_progress. */
void cli_progress_show(void *context, const sonde_job_progress *progress);
bool cli_progress_cancelled(void *context);
bool cli_was_interrupted(void);

#endif
